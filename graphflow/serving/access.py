"""Who may ask, and over what: bearer tokens and TLS, for all interfaces of the process alike."""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path

from graphflow.errors import InvalidArgumentError, UnauthenticatedError
from graphflow.records import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """What a request has to bring along.

    Attributes:
      token: what must stand behind "Bearer" in its header `Authorization`; "" asks for nothing.
      certificate, key: the files (PEM) of the server's certificate and private key; "" talks without TLS.

    Raises:
      InvalidArgumentError: if there is a certificate without a key, or the other way round.
    """

    token: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise InvalidArgumentError(
                None, None, "TLS needs a certificate and its key; one of them is missing"
            )

    def check(self, header: str | None) -> None:
        """Looks at a request's header `Authorization`.

        Raises:
          UnauthenticatedError: if it has not the token.
        """
        if self.token and not hmac.compare_digest((header or "").encode(), f"Bearer {self.token}".encode()):
            raise UnauthenticatedError(
                None, None, "the header Authorization has to hold Bearer and the server's token"
            )

    def warning(self, host: str) -> str:
        """Returns what an operator should know of an address that others can reach; "" if it is all right."""
        try:
            own = ipaddress.ip_address(host).is_loopback
        except ValueError:
            own = host == "localhost"
        if own or (self.token and self.certificate):
            return ""
        if self.token:
            return f"listening at {host} without TLS: whoever is on the way can read requests, and the token"
        reach = "with TLS but without a token" if self.certificate else "without TLS and without a token"
        return f"listening at {host} {reach}: whoever reaches this address can use the models"


def read_token(path: str) -> str:
    """Returns the token that a file holds.

    Raises:
      InvalidArgumentError: if it holds none.
      OSError: if it cannot be read.
    """
    token = Path(path).read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise InvalidArgumentError(None, None, f"{path} holds no token: one word of ASCII is expected")
    return token
