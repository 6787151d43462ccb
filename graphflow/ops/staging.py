"""Staging areas: resources that keep tuples of tensors for the next step, in no promised order (ours: as they came)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Operation, Tensor, get_default_graph, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.resources import Array, Resource
from graphflow.shapes import UNKNOWN, TensorShape, as_shape

_AREA = (
    "capacity:int>=0=0; memory_limit:int>=0=0; dtypes:list(type)>=1; container:string=; shared_name:string="
)


class Area(Resource):
    """What a staging area keeps.

    Attributes:
      capacity: how many elements it holds at most; 0: as many as come.
      limit: how many bytes it holds at most; 0: as many as come.
    """

    kind = "staging area"

    def __init__(self, capacity: int, limit: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.limit = limit
        self.rows: deque[list[Array]] = deque()
        self.bytes = 0

    def put(self, run: Any, row: list[Array]) -> None:
        """Adds an element; waits for room."""
        size = sum(array.nbytes for array in row)
        if self.limit and size > self.limit:
            raise InvalidArgumentError(
                None,
                None,
                f"Attempted to insert tensors with combined size of '{size}' bytes into Staging Area with a memory "
                f"limit of '{self.limit}'.",
            )

        def room() -> bool:
            few = not self.capacity or len(self.rows) < self.capacity
            return few and (not self.limit or self.bytes + size <= self.limit)

        while True:
            self.wait(run, room, "Stage")
            with self.changed:
                if room():
                    self.rows.append([np.array(array) for array in row])
                    self.bytes += size
                    self.changed.notify_all()
                    return

    def take(self, run: Any) -> list[Array]:
        """Takes the oldest element; waits for one."""
        while True:
            self.wait(run, lambda: bool(self.rows), "Unstage")
            with self.changed:
                if self.rows:
                    row = self.rows.popleft()
                    self.bytes -= sum(array.nbytes for array in row)
                    self.changed.notify_all()
                    return row

    def peek(self, run: Any, index: int) -> list[Array]:
        """Returns the element at a place, which stays; waits for it."""
        if index < 0:
            raise InvalidArgumentError(None, None, f"StagePeek needs an index of at least 0, got {index}")
        while True:
            self.wait(run, lambda: len(self.rows) > index, "StagePeek")
            with self.changed:
                if len(self.rows) > index:
                    return [np.array(array) for array in self.rows[index]]

    def clear(self) -> None:
        """Drops all elements."""
        with self.changed:
            self.rows.clear()
            self.bytes = 0
            self.changed.notify_all()


def _area(
    run: Any, capacity: int, memory_limit: int, container: str, shared_name: str, node_name: str
) -> Area:
    found: Area = run.resources.get(
        Area,
        lambda: Area(capacity, memory_limit),
        container=container,
        shared_name=shared_name,
        node_name=node_name,
    )
    return found


@op("Stage", "values:list(dtypes)", "", _AREA, infer=rules.no_output, effects="host", differentiable=False)
def stage_op(
    values: list[Array], *, capacity: int, memory_limit: int, container: str, shared_name: str, context: Any,
    node_name: str,
) -> None:  # fmt: skip
    """Puts a tuple into a staging area; waits for room."""
    _area(context, capacity, memory_limit, container, shared_name, node_name).put(context, list(values))


def _unknown(node: Any) -> list[TensorShape]:
    return [UNKNOWN] * len(node.attrs["dtypes"])


@op("Unstage", "", "values:list(dtypes)", _AREA, infer=_unknown, effects="host", differentiable=False)
def unstage_op(
    *, capacity: int, memory_limit: int, container: str, shared_name: str, context: Any, node_name: str
) -> list[Array]:
    """Takes a tuple out of a staging area; waits for one."""
    return _area(context, capacity, memory_limit, container, shared_name, node_name).take(context)


@op("StagePeek", "index:int32", "values:list(dtypes)", _AREA, infer=_unknown, effects="host",
    differentiable=False)  # fmt: skip
def stage_peek_op(
    index: Array, *, capacity: int, memory_limit: int, container: str, shared_name: str, context: Any,
    node_name: str,
) -> list[Array]:  # fmt: skip
    """The tuple at a place of a staging area, which stays there; waits for it."""
    area = _area(context, capacity, memory_limit, container, shared_name, node_name)
    return area.peek(context, int(index))


_ANY = _AREA.replace("dtypes:list(type)>=1", "dtypes:list(type)>=0")


@op("StageSize", "", "size:int32", _ANY, infer=rules.scalar, effects="host", differentiable=False)
def stage_size_op(
    *, capacity: int, memory_limit: int, container: str, shared_name: str, context: Any, node_name: str
) -> Array:
    """How many tuples a staging area holds."""
    area = _area(context, capacity, memory_limit, container, shared_name, node_name)
    return np.asarray(len(area.rows), np.int32)


@op("StageClear", "", "", _ANY, infer=rules.no_output, effects="host", differentiable=False)
def stage_clear_op(
    *, capacity: int, memory_limit: int, container: str, shared_name: str, context: Any, node_name: str
) -> None:
    """Empties a staging area."""
    _area(context, capacity, memory_limit, container, shared_name, node_name).clear()


class StagingArea:
    """A place where one step leaves tensors for the next; see `tf.contrib.staging.StagingArea`.

    Args:
      dtypes: the dtype of each component.
      shapes: a shape per component; None where nothing is known.
      names: names of the components, which then come and go as dicts.
      shared_name: areas that share one name are one area of the session.
      capacity: how many elements it holds at most; 0: as many as come.
      memory_limit: how many bytes it holds at most; 0: as many as come.

    Raises:
      ValueError: if the numbers of dtypes, shapes and names differ.
    """

    def __init__(
        self,
        dtypes: Sequence[Any],
        shapes: Sequence[Any] | None = None,
        names: Sequence[str] | None = None,
        shared_name: str | None = None,
        capacity: int = 0,
        memory_limit: int = 0,
    ) -> None:
        self._dtypes = [as_dtype(dtype) for dtype in dtypes]
        if shapes is not None and len(shapes) != len(self._dtypes):
            raise ValueError("StagingArea shapes must be the same length as dtypes")
        self._shapes = [UNKNOWN] * len(self._dtypes) if shapes is None else [as_shape(s) for s in shapes]
        if names is not None and len(names) != len(self._dtypes):
            raise ValueError("StagingArea names must be the same length as dtypes")
        self._names = list(names) if names else None
        self._name = get_default_graph().unique_name("StagingArea")
        self._where: dict[str, Any] = {
            "capacity": capacity,
            "memory_limit": memory_limit,
            "dtypes": self._dtypes,
            "shared_name": shared_name or self._name,
        }

    @property
    def name(self) -> str:
        """The name of the area."""
        return self._name

    @property
    def dtypes(self) -> list[DType]:
        """The dtypes of the components."""
        return self._dtypes

    @property
    def shapes(self) -> list[TensorShape]:
        """What is known of the shapes of the components."""
        return self._shapes

    @property
    def names(self) -> list[str] | None:
        """The names of the components, or None."""
        return self._names

    @property
    def capacity(self) -> int:
        """How many elements it holds at most; 0: as many as come."""
        return int(self._where["capacity"])

    @property
    def memory_limit(self) -> int:
        """How many bytes it holds at most; 0: as many as come."""
        return int(self._where["memory_limit"])

    def put(self, values: Any, name: str | None = None) -> Operation:
        """Returns the operation that adds an element, and waits for room.

        Args:
          values: a tensor, a list or tuple of them, or a dict where the components have names.
          name: a name.

        Raises:
          ValueError: if the number of tensors, their dtypes or shapes do not fit.
        """
        with name_scope(name, f"{self._name}_put") as scope:
            if isinstance(values, Mapping):
                if self._names is None or set(values) != set(self._names):
                    raise ValueError(f"this staging area has the names {self._names}, got {sorted(values)}")
                values = [values[key] for key in self._names]
            elif self._names is not None:
                raise ValueError(f"this staging area has names: put a dict of {self._names}")
            elif not isinstance(values, list | tuple):
                values = [values]
            if len(values) != len(self._dtypes):
                raise ValueError(f"this staging area holds {len(self._dtypes)} components, got {len(values)}")
            tensors = [convert_to_tensor(v, t) for v, t in zip(values, self._dtypes, strict=True)]
            for tensor, shape in zip(tensors, self._shapes, strict=True):
                tensor.shape.assert_is_compatible_with(shape)
            made: Operation = emit.Stage(tensors, **self._where, name=scope)
            return made

    def get(self, name: str | None = None) -> Any:
        """Returns the tensors of an element, which is taken out when they are run; waits for one.

        Returns:
          A list of tensors; a dict where the components have names.
        """
        return self._returned(emit.Unstage(**self._where, name=name or f"{self._name}_get"))

    def peek(self, index: Any, name: str | None = None) -> Any:
        """Returns the tensors of the element at a place, which stays; see `get`."""
        place = convert_to_tensor(index, dtypes.int32)
        return self._returned(emit.StagePeek(place, **self._where, name=name or f"{self._name}_peek"))

    def size(self, name: str | None = None) -> Tensor:
        """Returns how many elements there are; int32 scalar."""
        made: Tensor = emit.StageSize(**self._where, name=name or f"{self._name}_size")
        return made

    def clear(self, name: str | None = None) -> Operation:
        """Returns the operation that drops all elements."""
        made: Operation = emit.StageClear(**self._where, name=name or f"{self._name}_clear")
        return made

    def _returned(self, tensors: list[Tensor]) -> Any:
        for tensor, shape in zip(tensors, self._shapes, strict=True):
            tensor.set_shape(shape)
        return list(tensors) if self._names is None else dict(zip(self._names, tensors, strict=True))


__all__ = ["StagingArea"]
