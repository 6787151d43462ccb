"""Barriers: resources in which values gather under keys, component by component; complete ones are taken in order.

The order is that of the insertions that first named a key: each insertion that names a new key has the next number,
from the least int64 on. In TensorFlow the handle is a reference to a string; a file does not tell the difference.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import CancelledError, OutOfRangeError
from graphflow.opdef import op
from graphflow.ops import rules
from graphflow.ops.rules import refuse
from graphflow.resources import Array, Resource, Run, resource_of
from graphflow.shapes import UNKNOWN, TensorShape, as_shape

_FIRST = -(2**63)


class Barrier(Resource):
    """Values that wait under their keys until all their components are there."""

    kind = "barrier"

    def __init__(self, types: Sequence[DType], shapes: Sequence[TensorShape]) -> None:
        super().__init__()
        self.types = tuple(types)
        self.shapes = tuple(shapes) or (UNKNOWN,) * len(self.types)
        self._incomplete: dict[bytes, tuple[int, list[Array | None]]] = {}
        self._ready: list[tuple[int, int, bytes, list[Array]]] = []  # a heap: insertion, order of completion
        self._insertions = 0
        self._completed = 0
        self._closed = self._cancelled = False

    def insert(self, component: int, keys: Array, values: Array) -> None:
        """Sets one component of some keys."""
        if not 0 <= component < len(self.types):
            raise refuse(
                f"The component ID is out of range {component} > num_components  (= {len(self.types)})"
            )
        if not values.ndim or keys.ndim != 1 or len(values) != len(keys):
            raise refuse(f"{list(keys.shape)} keys do not fit values of shape {list(values.shape)}")
        if not self.shapes[component].is_compatible_with(values.shape[1:]):
            raise refuse(
                f"Shape mismatch in barrier {self.name!r}: expected {self.shapes[component]},"
                f" got {list(values.shape[1:])}"
            )
        with self.changed:
            named = keys.tolist()
            new = [key for key in named if key not in self._incomplete]
            if new and self._closed:
                raise CancelledError(
                    None, None,
                    f"Barrier {self.name} is closed, but attempted to insert a brand new key: {new[0]!r}",
                )  # fmt: skip
            if self._cancelled:
                raise CancelledError(
                    None, None, f"Barrier {self.name} is closed: no value is completed any more"
                )
            for key, value in zip(named, values, strict=True):
                at, parts = self._incomplete.setdefault(
                    key, (_FIRST + self._insertions, [None] * len(self.types))
                )
                if parts[component] is not None:
                    raise refuse(
                        f"Key {key.decode(errors='replace')} already has a value for component {component} in"
                        f" barrier {self.name}"
                    )
                parts[component] = np.array(value)
                whole = [part for part in parts if part is not None]
                if len(whole) == len(parts):
                    del self._incomplete[key]
                    heapq.heappush(self._ready, (at, self._completed, key, whole))
                    self._completed += 1
            self._insertions += bool(new)
            self.changed.notify_all()

    def take(self, run: Run, count: int, small: bool, wait: bool) -> tuple[Array, Array, list[Array]]:
        """Waits for so many complete values, and takes them: insertions, keys, components."""
        if count < 0:
            raise refuse(f"num_elements must not be negative, got {count}")

        def enough() -> bool:
            ready, rest = len(self._ready), 0 if self._cancelled else len(self._incomplete)
            if ready >= count or not self._closed:
                return ready >= count
            if small:
                return not wait or not rest
            return ready + rest < count

        while True:
            self.wait(run, enough, "TakeMany operation")
            with self.changed:
                if not enough():
                    continue
                taken = min(count, len(self._ready)) if self._closed and small else count
                if (count and not taken) or len(self._ready) < taken:
                    held = len(self._ready) + len(self._incomplete)
                    raise OutOfRangeError(
                        None, None,
                        f"Barrier '{self.name}' is closed and has insufficient elements (requested {count}, total"
                        f" size {held})",
                    )  # fmt: skip
                found = [heapq.heappop(self._ready) for _ in range(taken)]
                self.changed.notify_all()
                break
        keys: Array = np.empty(taken, object)
        keys[:] = [key for _, _, key, _ in found]
        parts = [self._together(i, [value[i] for _, _, _, value in found]) for i in range(len(self.types))]
        return np.array([at for at, *_ in found], np.int64), keys, parts

    def _together(self, component: int, values: list[Array]) -> Array:
        if values:
            return np.stack(values)
        sizes = self.shapes[component].as_tuple() or ()
        return np.zeros((0, *(size or 0 for size in sizes)), self.types[component].numpy)

    def close(self, cancel: bool) -> None:
        """Takes no new keys from here on; with `cancel`, no more components of the others either."""
        with self.changed:
            self._closed = True
            self._cancelled = self._cancelled or cancel
            self.changed.notify_all()

    @property
    def ready(self) -> int:
        """How many values are complete."""
        return len(self._ready)

    @property
    def incomplete(self) -> int:
        """How many keys wait for components."""
        return len(self._incomplete)


_TYPES = "component_types:list(type)>=1"


@op("Barrier", "", "handle:resource",
    f"{_TYPES}; shapes:list(shape)=[]; capacity:int=-1; container:string=; shared_name:string=", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def barrier_op(
    *, component_types: Sequence[DType], shapes: Sequence[Any], container: str, shared_name: str, context: Any,
    node_name: str,
) -> Array:  # fmt: skip
    """The handle of a barrier."""
    found = context.resources.get(
        Barrier, lambda: Barrier(component_types, [as_shape(shape) for shape in shapes]), container=container,
        shared_name=shared_name, node_name=node_name,
    )  # fmt: skip
    handle: Array = found.handle()
    return handle


@op("BarrierInsertMany", "handle:resource; keys:string; values:T", "", "T:type; component_index:int",
    infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def barrier_insert_many_op(handle: Array, keys: Array, values: Array, *, component_index: int) -> None:
    """Sets a component of the values under some keys."""
    resource_of(handle, Barrier).insert(component_index, keys, values)


def _taken_shapes(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 1, 0, "num_elements")
    count = None if node.attrs["allow_small_batch"] else node.constant(1)
    rows = TensorShape([None if count is None else int(count)])
    return [rows, rows, *(UNKNOWN for _ in node.attrs["component_types"])]


@op("BarrierTakeMany", "handle:resource; num_elements:int32",
    "indices:int64; keys:string; values:list(component_types)",
    f"{_TYPES}; allow_small_batch:bool=false; wait_for_incomplete:bool=false; timeout_ms:int=-1",
    infer=_taken_shapes, effects="host", differentiable=False)  # fmt: skip
def barrier_take_many_op(
    handle: Array, num_elements: Array, *, allow_small_batch: bool, wait_for_incomplete: bool, context: Any
) -> tuple[Array, ...]:
    """Complete values: the insertions that first named their keys, the keys, and the components."""
    found = resource_of(handle, Barrier).take(
        context, int(num_elements), allow_small_batch, wait_for_incomplete
    )
    return (found[0], found[1], *found[2])


@op("BarrierClose", "handle:resource", "", "cancel_pending_enqueues:bool=false", infer=rules.no_output,
    effects="host", differentiable=False)  # fmt: skip
def barrier_close_op(handle: Array, *, cancel_pending_enqueues: bool) -> None:
    """Says that no new keys will come."""
    resource_of(handle, Barrier).close(cancel_pending_enqueues)


@op("BarrierReadySize", "handle:resource", "size:int32", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def barrier_ready_size_op(handle: Array) -> Array:
    """How many values of a barrier are complete."""
    return np.asarray(resource_of(handle, Barrier).ready, np.int32)


@op("BarrierIncompleteSize", "handle:resource", "size:int32", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def barrier_incomplete_size_op(handle: Array) -> Array:
    """How many keys of a barrier wait for components."""
    return np.asarray(resource_of(handle, Barrier).incomplete, np.int32)


__all__: list[str] = []
