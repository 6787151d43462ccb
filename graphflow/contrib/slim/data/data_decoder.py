"""What a decoder of records is."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any


class DataDecoder(abc.ABC):
    """Makes named items of a record."""

    @abc.abstractmethod
    def decode(self, data: Any, items: Sequence[str] | None = None) -> list[Any]:
        """Returns the items named, of one record."""

    @abc.abstractmethod
    def list_items(self) -> list[str]:
        """Returns the names of the items."""
