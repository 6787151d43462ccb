"""What gives items, by name, of one example each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class DataProvider:
    """Items by name.

    Args:
      items_to_tensors: the tensors by name.
      num_samples: how many examples there are.
    """

    def __init__(self, items_to_tensors: Mapping[str, Any], num_samples: int) -> None:
        self._items_to_tensors = dict(items_to_tensors)
        self._num_samples = num_samples

    def get(self, items: Sequence[str]) -> list[Any]:
        """Returns the tensors of items.

        Raises:
          ValueError: for a name that is none.
        """
        for item in items:
            if item not in self._items_to_tensors:
                raise ValueError(f"Item [{item}] is invalid; items are {self.list_items()}")
        return [self._items_to_tensors[item] for item in items]

    def list_items(self) -> list[str]:
        """Returns the names of the items."""
        return list(self._items_to_tensors)

    def num_samples(self) -> int:
        """Returns how many examples there are."""
        return self._num_samples
