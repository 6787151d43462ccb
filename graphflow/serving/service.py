"""What the process serves, whatever the protocol: which model a request means, and what it makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from graphflow import errors
from graphflow.records import dataclass
from graphflow.serving.access import Access
from graphflow.serving.manager import ModelManager
from graphflow.serving.metrics import Metrics
from graphflow.serving.model import Model
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.tracing import Tracing

Array = np.ndarray[Any, Any]

LARGEST_VERSION = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Target:
    """Which model a request means.

    Attributes:
      name: its name.
      version: its number; None is the newest.
      label: instead of a number.
    """

    name: str
    version: int | None = None
    label: str | None = None


def version_number(text: str | None) -> int | None:
    """Returns the version that a path spells.

    Raises:
      InvalidArgumentError: if it is none, or larger than any.
    """
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else LARGEST_VERSION + 1
    if number > LARGEST_VERSION:
        raise errors.InvalidArgumentError(None, None, f"Failed to convert version: {text} to numeric.")
    return number


# Requests in the process at once, of all protocols; one that comes on top is turned away before it is read.
MOST_REQUESTS = 512


class Service:
    """The models of a process, behind every protocol.

    Args:
      models: the models.
      metrics: what counts requests; None counts in a place of its own.
      most_requests: so many requests may be in the process at once.
      reload: serves exactly these models from now on, here and in whatever other processes serve the same; None is
        `models.reload`.
      access: who may ask; health is told to everybody.
      tracing: what makes spans of requests; None makes none.

    Attributes:
      models: the models.
      metrics: what has been counted.
      draining: whether the process is about to end: it takes no new work, and says so.
    """

    def __init__(
        self,
        models: ModelManager,
        metrics: Metrics | None = None,
        most_requests: int = MOST_REQUESTS,
        reload: Callable[[Sequence[ModelConfig]], None] | None = None,
        access: Access = Access(),  # noqa: B008 - it is immutable
        tracing: Tracing | None = None,
    ) -> None:
        self.reload = reload or models.reload
        self.tracing = tracing
        self.access = access
        self.models = models
        self.metrics = metrics or Metrics(models.state)
        self.most_requests = most_requests
        self.draining = False
        self._requests = 0
        self._lock = threading.Lock()

    @property
    def requests(self) -> int:
        """How many requests are in the process now."""
        return self._requests

    def admitted(self) -> AbstractContextManager[None]:
        """Lets a request in for the time of the context.

        Raises:
          ResourceExhaustedError: at once, if there are too many already.
        """
        return _Admitted(self)

    def enter(self) -> None:
        """Counts a request that comes in; raises as `admitted`."""
        with self._lock:
            if self._requests >= self.most_requests:
                raise errors.ResourceExhaustedError(
                    None, None, f"{self._requests} requests are under way; try again when some have ended"
                )
            self._requests += 1

    def leave(self) -> None:
        """Counts a request that has ended."""
        with self._lock:
            self._requests -= 1

    def ready(self) -> bool:
        """Whether requests are welcome: every model can be served, and the process is not about to end."""
        return not self.draining and self.models.ready()

    def hold(self, target: Target) -> AbstractContextManager[Model]:
        """Gives the model that a request means for the time of a context; raises as `ModelManager.hold`."""
        return self.models.hold(target.name, target.version, target.label)

    def available(self, target: Target) -> bool:
        """Whether a request for this model would find it."""
        try:
            with self.hold(target):
                return not self.draining
        except errors.OpError:
            return False


class _Admitted(AbstractContextManager[None]):
    """`Service.admitted`; a generator would take several times as long, for each request."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        self._service.enter()

    def __exit__(self, *error: object) -> None:
        self._service.leave()


def selected(outputs: dict[str, Array], names: Sequence[str]) -> Mapping[str, Array]:
    """Returns the outputs that a request names, all if it names none.

    Raises:
      InvalidArgumentError: for a name that is no output, or comes twice.
    """
    if not names:
        return outputs
    for name in names:
        if name not in outputs:
            raise errors.InvalidArgumentError(
                None, None, f"output tensor alias not found in signature: {name}"
            )
    if len(set(names)) != len(names):
        raise errors.InvalidArgumentError(None, None, f"duplicate output tensor alias in {list(names)}")
    return {name: outputs[name] for name in names}
