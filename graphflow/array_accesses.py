"""Elements of TensorArrays are read once and written once, as in TF1: what a run would do twice is refused.

An array is a value here, of which old versions stay what they are; TF1's is an object, whose elements go when they are
read. What is known of an access when a run is put together is looked at: accesses of one body to the same known
element, to that of the same index tensor, or to all. What turns of loops do is looked at in `turn_accesses`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError
from graphflow.graph import Operation, Tensor
from graphflow.opdef import constant_value
from graphflow.records import dataclass

__all__ = [
    "Access", "access_of", "is_strict", "note_access", "note_strict", "refusal", "refuse_second_accesses",
    "second_access",
]  # fmt: skip

_KEY, _STRICT = "array_accesses", "strict_array_accesses"


@dataclass(frozen=True, slots=True)
class Access:
    """An access to an array: its elements at an index, or at all if None."""

    array: object
    writes: bool
    index: Tensor | None


def note_access(tensor: Tensor, array: object, index: Tensor | None, writes: bool) -> None:
    """Notes that an operation accesses an array.

    Args:
      tensor: what the operation makes.
      array: stands for the array: the same for all its versions.
      index: of which elements, a scalar or a vector; None: of all.
      writes: whether it writes.
    """
    accesses = tensor.graph.registries.setdefault(_KEY, {})
    accesses[tensor.op] = Access(array, writes, index)


def access_of(operation: Operation | None) -> Access | None:
    """What is noted of an operation."""
    if operation is None:
        return None
    noted: dict[Operation, Access] = operation.graph.registries.get(_KEY, {})
    return noted.get(operation)


def note_strict(tensor: Tensor) -> None:
    """Notes that an operation asks more of an array than of a list.

    If it reads, that the elements have been written: there are no zeros where no shape is known. If it writes, that
    elements are of one shape.

    Args:
      tensor: what the operation makes.
    """
    tensor.graph.registries.setdefault(_STRICT, set()).add(tensor.op)


def is_strict(operation: Operation) -> bool:
    """Whether that is noted of an operation, or a graph of TensorFlow's says so."""
    noted: set[Operation] = operation.graph.registries.get(_STRICT, set())
    return operation in noted or bool(operation.attrs.get("_array_strict"))


def second_access(writes: bool, place: int | str) -> str:
    """What TF1 says of a second access to an element."""
    if writes:
        return f"Could not write to TensorArray index {place} because it has already been written to."
    return (
        f"Could not read index {place} twice because it was cleared after a previous read "
        "(perhaps try setting clear_after_read = false?)."
    )


def refusal(operation: Operation, writes: bool, place: int | None) -> InvalidArgumentError:
    """What TF1 raises for a second access to an element; None: that at the same tensor."""
    text = second_access(writes, "of the same tensor" if place is None else place)
    made = f" (made at {operation.user_line})" if operation.user_line else ""
    return InvalidArgumentError(None, operation, f'{operation.type} "{operation.name}": {text}{made}')


def refuse_second_accesses(operations: Sequence[Operation]) -> None:
    """Looks at operations of one graph that will run together.

    Raises:
      InvalidArgumentError: if two of them read or write the same element.
    """
    if not operations or _KEY not in operations[0].graph.registries:
        return
    noted: dict[Operation, Access] = operations[0].graph.registries[_KEY]
    seen: dict[tuple[int, bool], _Seen] = {}
    for operation in operations:
        access = noted.get(operation)
        if access is not None:
            seen.setdefault((id(access.array), access.writes), _Seen(access.writes)).add(operation, access)


class _Seen:
    """The accesses of one kind to one array."""

    def __init__(self, writes: bool) -> None:
        self.writes = writes
        self.places: set[int] = set()
        self.tensors: set[Tensor] = set()
        self.any = self.all = False

    def add(self, operation: Operation, access: Access) -> None:
        """Takes in another one."""
        if self.all:
            raise refusal(operation, self.writes, 0)
        if access.index is None:
            if self.any:
                raise refusal(operation, self.writes, min(self.places, default=0))
            self.all = True
        else:
            known = constant_value(access.index)
            for place in () if known is None else _flat(known):
                if place in self.places:
                    raise refusal(operation, self.writes, place)
                self.places.add(place)
            if known is None and access.index in self.tensors:
                raise refusal(operation, self.writes, None)
            self.tensors.add(access.index)
        self.any = True


def _flat(known: np.ndarray[Any, Any]) -> Iterable[int]:
    places: list[int] = known.reshape(-1).tolist()
    return places
