"""Queues: resources that hold tuples of tensors; enqueuing and dequeuing wait for room and for elements.

As in TensorFlow, those who wait are served in the order in which they came: a `dequeue_many` takes what is there and
keeps it until it has all; closing a queue waits its turn behind those who still enqueue.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import CancelledError, InvalidArgumentError, OpError, OutOfRangeError
from graphflow.graph import Graph, Operation, Tensor, get_seed, name_scope
from graphflow.opdef import constant_value, convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.random import philox
from graphflow.resources import Array, Resource, Run, resource_of
from graphflow.shapes import UNKNOWN, TensorShape, as_shape

Row = tuple[Array, ...]  # one element of a queue: an array per component


# ---------------------------------------------------------------------------- what a session keeps


class _Turn(Enum):
    """What an attempt could do: nothing, a part of what it wants, or all of it."""

    NOTHING = 0
    SOME = 1
    ALL = 2


class _Attempt:
    """One operation that stands in line. `step` moves what it can; `error` or `rows` is what came of it."""

    __slots__ = ("done", "error", "first", "rows", "step", "wanted")

    def __init__(self, step: Callable[[_Attempt], _Turn], wanted: int = 0) -> None:
        self.step = step
        self.wanted = wanted  # how many elements are still to come
        self.first = 0  # how many have gone
        self.rows: list[Row] = []
        self.done = False
        self.error: OpError | None = None

    def fail(self, error: OpError) -> _Turn:
        self.error = error
        return _Turn.ALL


class Queue(Resource):
    """A queue of tuples, first in, first out; `PaddingQueue` and others differ in what they hand out.

    Attributes:
      type_name: TensorFlow's name of the kind, for messages.
      capacity: how many elements it holds at most; negative: as many as come.
      types: the dtype of each component.
      shapes: the shape of each component; None where nothing is known.
      shut: whether nobody may enqueue any more.
    """

    kind = "queue"
    type_name: ClassVar[str] = "FIFOQueue"

    def __init__(
        self, capacity: int, types: Sequence[DType], shapes: Sequence[TensorShape], least: int = 0
    ) -> None:
        super().__init__()
        self.capacity = capacity
        self.types = tuple(types)
        self.shapes = tuple(shapes) or None
        self.least = least
        self.shut = False
        self._entering: deque[_Attempt] = deque()
        self._leaving: deque[_Attempt] = deque()
        if shapes and len(shapes) != len(types):
            raise InvalidArgumentError(
                None,
                None,
                "Different number of component types and shapes: "
                f"{len(types)} types versus {len(shapes)} shapes",
            )

    # What a kind of queue is: how it keeps its elements.

    def _count(self) -> int:
        raise NotImplementedError

    def _put(self, row: Row) -> None:
        raise NotImplementedError

    def _take(self) -> Row:
        raise NotImplementedError

    def _put_back(self, rows: Iterable[Row]) -> None:
        raise NotImplementedError

    def _stack(self, rows: Sequence[Row]) -> list[Array]:
        """One array per component; all rows have the same shapes."""
        return [_stacked([row[i] for row in rows]) for i in range(len(self.types))]

    # What operations do.

    def enqueue(self, run: Run, components: Sequence[Array]) -> None:
        """Adds one element; waits for room."""
        self._check([component.shape for component in components])
        self._enter(run, [tuple(np.array(component) for component in components)])

    def enqueue_many(self, run: Run, components: Sequence[Array]) -> None:
        """Adds the rows of the components one by one."""
        if any(component.ndim == 0 for component in components):
            raise InvalidArgumentError(
                None,
                None,
                f"enqueue_many takes components with a 0th dimension; queue {self.name!r} got a scalar",
            )
        count = components[0].shape[0]
        for i, component in enumerate(components):
            if component.shape[0] != count:
                raise InvalidArgumentError(
                    None,
                    None,
                    "All input tensors must have the same size in the 0th dimension. Component "
                    f"{i} has {component.shape[0]}, and should have {count}",
                )
        self._check([component.shape[1:] for component in components], (count,))
        own = [np.array(component) for component in components]
        self._enter(run, [tuple(component[i, ...] for component in own) for i in range(count)])

    def dequeue(self, run: Run) -> list[Array]:
        """Takes one element; waits for it."""

        def step(attempt: _Attempt) -> _Turn:
            if self.shut and not self._count():
                return attempt.fail(self._too_few(1, 0))
            if self._free() <= 0:
                return _Turn.NOTHING
            attempt.rows.append(self._take())
            return _Turn.ALL

        return [np.array(array) for array in self._leave(run, _Attempt(step))[0]]

    def dequeue_many(self, run: Run, count: int, fewer: bool) -> list[Array]:
        """Takes `count` elements, waiting for them one by one; fewer if the queue is closed and `fewer` allows it."""
        if self.shapes is None:
            raise InvalidArgumentError(
                None,
                None,
                f"{self.type_name}'s DequeueMany and DequeueUpTo require the components to have specified shapes.",
            )
        if count < 0:
            raise InvalidArgumentError(None, None, f"DequeueManyOp requested {count} < 0 elements")
        if count == 0:
            sizes = [[0 if size is None else size for size in shape.as_list()] for shape in self.shapes]
            return [np.empty((0, *s), t.numpy) for s, t in zip(sizes, self.types, strict=True)]

        def step(attempt: _Attempt) -> _Turn:
            there = self._count()
            if self.shut and there < attempt.wanted:
                wanted = attempt.wanted
                self._put_back(attempt.rows)
                attempt.rows.clear()
                there_now = self._count()
                if not (fewer and there_now):
                    if fewer and self._entering:
                        return _Turn.SOME  # what comes may be enough
                    return attempt.fail(self._too_few(wanted, there))
                attempt.wanted = there_now
            turn = _Turn.NOTHING
            while self._free() > 0:
                attempt.rows.append(self._take())
                attempt.wanted -= 1
                turn = _Turn.SOME
                if not attempt.wanted:
                    return _Turn.ALL
            return turn

        return self._stack(self._leave(run, _Attempt(step, count)))

    def shut_down(self, run: Run, cancel: bool) -> None:
        """Lets nobody enqueue any more: at once if `cancel`, else when those who wait have done so."""
        if cancel:
            with self.changed:
                self.shut = True
                for attempt in self._entering:
                    attempt.error = CancelledError(None, None, "Enqueue operation was cancelled")
                    attempt.done = True
                self._entering.clear()
                self._advance()
                self.changed.notify_all()
            return

        def step(attempt: _Attempt) -> _Turn:
            if self.shut:
                return attempt.fail(CancelledError(None, None, f"Queue '{self.name}' is already closed."))
            self.shut = True
            return _Turn.ALL

        self._stand(run, self._entering, _Attempt(step), "Close operation")

    def size(self) -> int:
        """How many elements there are."""
        with self.changed:
            return self._count()

    # Standing in line.

    def _free(self) -> int:
        """How many elements may be taken now."""
        return self._count() - (0 if self.shut else self.least)

    def _enter(self, run: Run, rows: list[Row]) -> None:
        if not rows:
            return

        def step(attempt: _Attempt) -> _Turn:
            if self.shut:
                return attempt.fail(CancelledError(None, None, f"{self.type_name} '{self.name}' is closed."))
            turn = _Turn.NOTHING
            while self.capacity < 0 or self._count() < self.capacity:
                self._put(rows[attempt.first])
                attempt.first += 1
                turn = _Turn.SOME
                if attempt.first == len(rows):
                    return _Turn.ALL
            return turn

        self._stand(run, self._entering, _Attempt(step), "Enqueue operation")

    def _leave(self, run: Run, attempt: _Attempt) -> list[Row]:
        self._stand(run, self._leaving, attempt, "Dequeue operation")
        return attempt.rows

    def _stand(self, run: Run, line: deque[_Attempt], attempt: _Attempt, what: str) -> None:
        """Stands in line until the attempt is done; raises what came of it."""
        with self.changed:
            if self.ended:
                raise CancelledError(None, None, f"{what} was cancelled")
            line.append(attempt)
            self._advance()
        try:
            self.wait(run, lambda: attempt.done, what)
        finally:
            with self.changed:
                if not attempt.done:
                    line.remove(attempt)
                    self._put_back(attempt.rows)
                    self._advance()
        if attempt.error is not None:
            raise attempt.error

    def _advance(self) -> None:
        """Serves those who wait, in turns, until nobody gets any further."""
        moved, anybody = True, False
        while moved:
            moved = self._serve(self._entering)
            moved = self._serve(self._leaving) or moved
            anybody = anybody or moved
        if anybody:
            self.changed.notify_all()

    @staticmethod
    def _serve(line: deque[_Attempt]) -> bool:
        moved = False
        while line:
            turn = line[0].step(line[0])
            moved = moved or turn is not _Turn.NOTHING
            if turn is not _Turn.ALL:
                break
            line.popleft().done = True
        return moved

    def _check(self, given: Sequence[tuple[int, ...]], batch: tuple[int, ...] = ()) -> None:
        if self.shapes is None:
            return
        for i, (shape, found) in enumerate(zip(self.shapes, given, strict=True)):
            if not shape.is_compatible_with(found):
                wanted = ",".join("?" if size is None else str(size) for size in (*batch, *shape.as_list()))
                got = ",".join(map(str, (*batch, *found)))
                raise InvalidArgumentError(
                    None, None, f"Shape mismatch in tuple component {i}. Expected [{wanted}], got [{got}]"
                )

    def _too_few(self, wanted: int, there: int) -> OutOfRangeError:
        return OutOfRangeError(
            None,
            None,
            f"{self.type_name} '{self.name}' is closed and has insufficient elements (requested {wanted}, current "
            f"size {there})",
        )


def _stacked(arrays: Sequence[Array]) -> Array:
    result: Array = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for i, array in enumerate(arrays):
        result[i, ...] = array
    return result


class FirstInFirstOut(Queue):
    """Elements leave in the order in which they came."""

    def __init__(self, capacity: int, types: Sequence[DType], shapes: Sequence[TensorShape]) -> None:
        super().__init__(capacity, types, shapes)
        self._rows: deque[Row] = deque()

    def _count(self) -> int:
        return len(self._rows)

    def _put(self, row: Row) -> None:
        self._rows.append(row)

    def _take(self) -> Row:
        return self._rows.popleft()

    def _put_back(self, rows: Iterable[Row]) -> None:
        self._rows.extendleft(reversed(list(rows)))


class Padding(FirstInFirstOut):
    """Likewise; the elements of a batch may differ in sizes, and are filled up with zeros at their ends."""

    type_name = "PaddingFIFOQueue"

    def _stack(self, rows: Sequence[Row]) -> list[Array]:
        result = []
        for i, dtype in enumerate(self.types):
            arrays = [row[i] for row in rows]
            sizes = tuple(max(array.shape[axis] for array in arrays) for axis in range(arrays[0].ndim))
            batch: Array = np.zeros((len(arrays), *sizes), dtype.numpy)
            if dtype is dtypes.string:
                batch.fill(b"")
            for place, array in zip(batch, arrays, strict=True) if sizes else ():
                place[tuple(map(slice, array.shape))] = array
            result.append(batch if sizes else _stacked(arrays))
        return result


class Shuffling(Queue):
    """Elements leave in random order, and only while more than `least` of them are left."""

    type_name = "RandomShuffleQueue"

    def __init__(
        self,
        capacity: int,
        types: Sequence[DType],
        shapes: Sequence[TensorShape],
        least: int,
        seeds: tuple[int, int],
    ) -> None:
        super().__init__(capacity, types, shapes, least)
        if 0 <= capacity < least:
            raise InvalidArgumentError(
                None, None, f"min_after_dequeue {least} must be at most the capacity {capacity}"
            )
        self._rows: list[Row] = []
        self._seeds = seeds
        if seeds == (0, 0):
            drawn = int.from_bytes(os.urandom(16), "little")
            self._seeds = drawn & (2**64 - 1), drawn >> 64
        self._drawn = 0
        self._words: list[int] = []

    def _random(self) -> int:
        if not self._words:
            # A few hundred at a time: drawing one costs as much as drawing many.
            self._words = philox(self._seeds, self._drawn, 64).reshape(-1)[::-1].tolist()
            self._drawn += 64
        return self._words.pop()

    def _count(self) -> int:
        return len(self._rows)

    def _put(self, row: Row) -> None:
        self._rows.append(row)

    def _take(self) -> Row:
        at = self._random() % len(self._rows)
        row, self._rows[at] = self._rows[at], self._rows[-1]
        self._rows.pop()
        return row

    def _put_back(self, rows: Iterable[Row]) -> None:
        self._rows.extend(reversed(list(rows)))


class Priority(Queue):
    """The element with the smallest first component leaves first; among equals, the one that came first."""

    type_name = "PriorityQueue"

    def __init__(self, capacity: int, types: Sequence[DType], shapes: Sequence[TensorShape]) -> None:
        super().__init__(capacity, types, shapes)
        self._heap: list[tuple[int, int, Row]] = []
        self._came = itertools.count()

    def _count(self) -> int:
        return len(self._heap)

    def _put(self, row: Row) -> None:
        heapq.heappush(self._heap, (int(row[0]), next(self._came), row))

    def _take(self) -> Row:
        return heapq.heappop(self._heap)[2]

    def _put_back(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._put(row)


# ---------------------------------------------------------------------------- ops that make queues

_MADE = "capacity:int=-1; container:string=; shared_name:string="


def _queue(
    kind: type[Queue], make: Callable[[], Queue], run: Any, container: str, shared_name: str, node_name: str
) -> Array:
    found = run.resources.get(kind, make, container=container, shared_name=shared_name, node_name=node_name)
    return found.handle()


@op("FIFOQueueV2", "", "handle:resource", f"component_types:list(type)>=1; shapes:list(shape)>=0=[]; {_MADE}",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def fifo_queue_op(
    *, component_types: Sequence[DType], shapes: Sequence[TensorShape], capacity: int, container: str,
    shared_name: str, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a queue whose elements leave in the order in which they came."""
    return _queue(
        FirstInFirstOut, lambda: FirstInFirstOut(capacity, component_types, shapes), context, container,
        shared_name, node_name,
    )  # fmt: skip


@op("PaddingFIFOQueueV2", "", "handle:resource",
    f"component_types:list(type)>=1; shapes:list(shape)>=0=[]; {_MADE}",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def padding_fifo_queue_op(
    *, component_types: Sequence[DType], shapes: Sequence[TensorShape], capacity: int, container: str,
    shared_name: str, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a queue that fills the elements of a batch up to one size."""
    return _queue(
        Padding,
        lambda: Padding(capacity, component_types, shapes),
        context,
        container,
        shared_name,
        node_name,
    )


@op("RandomShuffleQueueV2", "", "handle:resource",
    "component_types:list(type)>=1; shapes:list(shape)>=0=[]; capacity:int=-1; min_after_dequeue:int=0; "
    "seed:int=0; seed2:int=0; container:string=; shared_name:string=",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def random_shuffle_queue_op(
    *, component_types: Sequence[DType], shapes: Sequence[TensorShape], capacity: int, min_after_dequeue: int,
    seed: int, seed2: int, container: str, shared_name: str, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a queue whose elements leave in random order."""
    return _queue(
        Shuffling,
        lambda: Shuffling(capacity, component_types, shapes, min_after_dequeue, (seed, seed2)),
        context, container, shared_name, node_name,
    )  # fmt: skip


@op("PriorityQueueV2", "", "handle:resource",
    f"component_types:list(type)>=0=[]; shapes:list(shape)>=0; {_MADE}",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def priority_queue_op(
    *, component_types: Sequence[DType], shapes: Sequence[TensorShape], capacity: int, container: str,
    shared_name: str, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of a queue whose elements leave by the int64 that stands first in each."""
    types = (dtypes.int64, *component_types)
    return _queue(
        Priority, lambda: Priority(capacity, types, (TensorShape(()), *shapes)), context, container,
        shared_name, node_name,
    )  # fmt: skip


# ---------------------------------------------------------------------------- ops that use them


def _maker(handle: Any) -> Any:
    """The operation or node that made a handle, as far as it can be seen from its attributes."""
    value = getattr(handle, "value", handle)
    return getattr(value, "op", None) or getattr(value, "node", None)


def _component_shapes(node: Any) -> list[TensorShape]:
    """What is known of the components' shapes from the operation that made the queue."""
    made = _maker(node.inputs[0])
    types = node.attrs["component_types"]
    shapes = list(made.attrs.get("shapes", ())) if made is not None else []
    if made is not None and made.type == "PriorityQueueV2":
        shapes = [TensorShape(()), *shapes]
    return shapes if len(shapes) == len(types) else [UNKNOWN] * len(types)


def _batch_shapes(node: Any, known: bool) -> list[TensorShape]:
    count = node.constant(1) if known else None
    if count is not None and int(count) < 0:
        raise ValueError(f"cannot dequeue {int(count)} elements")
    batch = TensorShape([None if count is None else int(count)])
    return [batch.concatenate(shape) for shape in _component_shapes(node)]


_USED = "timeout_ms:int=-1"


@op("QueueEnqueueV2", "handle:resource; components:list(Tcomponents)", "",
    f"Tcomponents:list(type)>=1; {_USED}", infer=rules.no_output, effects="host",
    differentiable=False)  # fmt: skip
def queue_enqueue_op(handle: Array, components: list[Array], *, context: Any) -> None:
    """Adds one element to a queue; waits for room."""
    _typed(handle, components).enqueue(context, components)


@op("QueueEnqueueManyV2", "handle:resource; components:list(Tcomponents)", "",
    f"Tcomponents:list(type)>=1; {_USED}", infer=rules.no_output, effects="host",
    differentiable=False)  # fmt: skip
def queue_enqueue_many_op(handle: Array, components: list[Array], *, context: Any) -> None:
    """Adds the rows of tensors to a queue, one element each; waits for room."""
    _typed(handle, components).enqueue_many(context, components)


def _typed(handle: Array, components: Sequence[Array]) -> Queue:
    queue = resource_of(handle, Queue)
    given = [as_dtype(component.dtype) for component in components]
    if given != list(queue.types):
        raise InvalidArgumentError(
            None,
            None,
            f"{queue.type_name} '{queue.name}' holds ({', '.join(t.name for t in queue.types)}), got "
            f"({', '.join(t.name for t in given)})",
        )
    return queue


@op("QueueDequeueV2", "handle:resource", "components:list(component_types)",
    f"component_types:list(type)>=1; {_USED}", infer=_component_shapes, effects="host",
    differentiable=False)  # fmt: skip
def queue_dequeue_op(handle: Array, *, context: Any) -> list[Array]:
    """Takes one element out of a queue; waits for it."""
    return resource_of(handle, Queue).dequeue(context)


@op("QueueDequeueManyV2", "handle:resource; n:int32", "components:list(component_types)",
    f"component_types:list(type)>=1; {_USED}", infer=lambda node: _batch_shapes(node, True), effects="host",
    differentiable=False)  # fmt: skip
def queue_dequeue_many_op(handle: Array, n: Array, *, context: Any) -> list[Array]:
    """Takes `n` elements out of a queue as the rows of tensors; waits for them."""
    return resource_of(handle, Queue).dequeue_many(context, int(n), False)


@op("QueueDequeueUpToV2", "handle:resource; n:int32", "components:list(component_types)",
    f"component_types:list(type)>=1; {_USED}", infer=lambda node: _batch_shapes(node, False), effects="host",
    differentiable=False)  # fmt: skip
def queue_dequeue_up_to_op(handle: Array, n: Array, *, context: Any) -> list[Array]:
    """Takes `n` elements out of a queue, or what is left when it is closed."""
    return resource_of(handle, Queue).dequeue_many(context, int(n), True)


@op("QueueCloseV2", "handle:resource", "", "cancel_pending_enqueues:bool=false", infer=rules.no_output,
    effects="host", differentiable=False)  # fmt: skip
def queue_close_op(handle: Array, *, cancel_pending_enqueues: bool, context: Any) -> None:
    """Lets nobody enqueue any more."""
    resource_of(handle, Queue).shut_down(context, cancel_pending_enqueues)


@op("QueueIsClosedV2", "handle:resource", "is_closed:bool", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def queue_is_closed_op(handle: Array) -> Array:
    """Whether a queue is closed."""
    return np.asarray(resource_of(handle, Queue).shut)


@op("QueueSizeV2", "handle:resource", "size:int32", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def queue_size_op(handle: Array) -> Array:
    """How many elements a queue holds."""
    return np.asarray(resource_of(handle, Queue).size(), np.int32)


# ---------------------------------------------------------------------------- classes


def _type_list(types: Any) -> list[DType]:
    if isinstance(types, list | tuple):
        return [as_dtype(t) for t in types]
    return [as_dtype(types)]


def _shape_list(shapes: Any, types: Sequence[DType], open_sizes: bool = False) -> list[TensorShape] | None:
    if shapes is None:
        return None
    if isinstance(shapes, TensorShape) or not isinstance(shapes, list | tuple):
        shapes = [shapes]
    # One shape by itself: a list of numbers.
    elif shapes and all(isinstance(size, int | np.integer) or size is None for size in shapes):
        shapes = [shapes]
    elif not shapes and len(types) == 1:
        shapes = [shapes]
    made = [as_shape(shape) for shape in shapes]
    if not open_sizes and any(not shape.is_fully_defined() for shape in made):
        raise ValueError(f"All shapes must be fully defined: {made}")
    if open_sizes and any(shape.rank is None for shape in made):
        raise ValueError(f"All shapes must have a defined rank: {made}")
    return made


def _name_list(names: Any, types: Sequence[DType]) -> list[str] | None:
    if names is None:
        return None
    made = list(names) if isinstance(names, list | tuple) else [names]
    if any(not isinstance(name, str) for name in made):
        raise TypeError(f"Names of a queue's components must be strings, got {names!r}")
    return made


class QueueBase:
    """A queue of tuples of tensors that a session keeps.

    Args:
      dtypes: the dtype of each component.
      shapes: the shape of each component; None where nothing is known.
      names: names of the components, which then come and go as dicts; or None.
      queue_ref: the handle.

    Raises:
      ValueError: if the numbers of dtypes, shapes and names differ.
    """

    def __init__(
        self,
        dtypes: Sequence[Any],
        shapes: Sequence[Any] | None,
        names: Sequence[str] | None,
        queue_ref: Tensor,
    ) -> None:
        self._dtypes = _type_list(dtypes)
        if shapes is not None:
            if len(shapes) != len(self._dtypes):
                raise ValueError(
                    "Queue shapes must have the same length as dtypes, "
                    f"received {len(shapes)} shapes, {len(self._dtypes)} dtypes"
                )
            self._shapes = [as_shape(shape) for shape in shapes]
        else:
            self._shapes = [UNKNOWN for _ in self._dtypes]
        if names is not None and len(names) != len(self._dtypes):
            raise ValueError(
                "Queue names must have the same length as dtypes, "
                f"received {len(names)} names, {len(self._dtypes)} dtypes"
            )
        self._names = list(names) if names else None
        self._queue_ref = queue_ref
        self._name = queue_ref.op.name.split("/")[-1]

    @staticmethod
    def from_list(index: Any, queues: Sequence[QueueBase]) -> QueueBase:
        """Returns the queue of a list that an integer tensor says in the run; all must be of the same dtypes and names.

        Args:
          index: int32 scalar.
          queues: the queues.

        Raises:
          TypeError: if these are no queues, or differ.
        """
        if not isinstance(queues, list | tuple) or not queues:
            raise TypeError("A list of queues expected")
        if any(not isinstance(queue, QueueBase) for queue in queues):
            raise TypeError("A list of queues expected")
        first = queues[0]
        if any(queue.dtypes != first.dtypes for queue in queues):
            raise TypeError("Queues do not have matching component dtypes.")
        if any(queue.names != first.names for queue in queues):
            raise TypeError("Queues do not have matching component names.")
        refs = emit.Pack([queue.queue_ref for queue in queues])
        chosen = emit.GatherV2(refs, convert_to_tensor(index, dtypes.int32), 0)
        shapes = [_common_shape([queue.shapes[i] for queue in queues]) for i in range(len(first.dtypes))]
        return QueueBase(first.dtypes, shapes, first.names, chosen)

    @property
    def queue_ref(self) -> Tensor:
        """The handle: resource scalar."""
        return self._queue_ref

    @property
    def name(self) -> str:
        """The name of the operation that makes the queue, without scopes."""
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
    def _graph(self) -> Graph:
        return self._queue_ref.graph

    def enqueue(self, vals: Any, name: str | None = None) -> Operation:
        """Returns the operation that adds one element, and waits for room.

        Args:
          vals: a tensor, a list or tuple of them, or a dict where the components have names.
          name: a name.

        Raises:
          ValueError: if the number of tensors, their dtypes or shapes do not fit.
        """
        with name_scope(name, f"{self._name}_enqueue", self._inputs(vals)) as scope:
            tensors = self._checked(vals)
            for tensor, shape in zip(tensors, self._shapes, strict=True):
                tensor.shape.assert_is_compatible_with(shape)
            result: Operation = emit.QueueEnqueueV2(self._queue_ref, tensors, name=scope)
            return result

    def enqueue_many(self, vals: Any, name: str | None = None) -> Operation:
        """Returns the operation that adds the rows of tensors, one element each, and waits for room.

        Args:
          vals: a tensor, a list or tuple of them, or a dict where the components have names; all of one length.
          name: a name.

        Raises:
          ValueError: if the number of tensors, their dtypes or shapes do not fit.
        """
        with name_scope(name, f"{self._name}_EnqueueMany", self._inputs(vals)) as scope:
            tensors = self._checked(vals)
            batch = tensors[0].shape.with_rank_at_least(1)[:1]
            for tensor, shape in zip(tensors, self._shapes, strict=True):
                batch = batch.merge_with(tensor.shape.with_rank_at_least(1)[:1])
                tensor.shape[1:].assert_is_compatible_with(shape)
            result: Operation = emit.QueueEnqueueManyV2(self._queue_ref, tensors, name=scope)
            return result

    def dequeue(self, name: str | None = None) -> Any:
        """Returns the tensors of one element, which is taken out when they are run; waits for it.

        Returns:
          A tensor if there is one component, a list if there are several, a dict if they have names.
        """
        name = name or f"{self._name}_Dequeue"
        outputs = emit.QueueDequeueV2(self._queue_ref, component_types=self._dtypes, name=name)
        for output, shape in zip(outputs, self._shapes, strict=True):
            output.set_shape(shape)
        return self._returned(outputs)

    def dequeue_many(self, n: Any, name: str | None = None) -> Any:
        """Returns tensors whose rows are `n` elements; waits for them. See `dequeue`.

        Running them raises OutOfRangeError if the queue is closed and holds fewer.
        """
        name = name or f"{self._name}_DequeueMany"
        return self._batch("QueueDequeueManyV2", n, name)

    def dequeue_up_to(self, n: Any, name: str | None = None) -> Any:
        """Returns tensors whose rows are `n` elements, or those that are left when the queue is closed."""
        name = name or f"{self._name}_DequeueUpTo"
        return self._batch("QueueDequeueUpToV2", n, name)

    def _batch(self, op_type: str, n: Any, name: str) -> Any:
        count = convert_to_tensor(n, dtypes.int32, name="n")
        outputs = getattr(emit, op_type)(self._queue_ref, count, component_types=self._dtypes, name=name)
        known = constant_value(count) if op_type == "QueueDequeueManyV2" else None
        batch = TensorShape([None if known is None else int(known)])
        for output, shape in zip(outputs, self._shapes, strict=True):
            output.set_shape(batch.concatenate(shape))
        return self._returned(outputs)

    def close(self, cancel_pending_enqueues: bool = False, name: str | None = None) -> Operation:
        """Returns the operation after which nobody may enqueue any more, and who dequeues does not wait.

        Args:
          cancel_pending_enqueues: whether those who wait for room are turned away.
          name: a name.
        """
        name = name or f"{self._name}_Close"
        result: Operation = emit.QueueCloseV2(
            self._queue_ref, cancel_pending_enqueues=cancel_pending_enqueues, name=name
        )
        return result

    def is_closed(self, name: str | None = None) -> Tensor:
        """Returns whether the queue is closed; bool scalar."""
        result: Tensor = emit.QueueIsClosedV2(self._queue_ref, name=name or f"{self._name}_Is_Closed")
        return result

    def size(self, name: str | None = None) -> Tensor:
        """Returns how many elements there are; int32 scalar."""
        result: Tensor = emit.QueueSizeV2(self._queue_ref, name=name or f"{self._name}_Size")
        return result

    def _inputs(self, vals: Any) -> list[Any]:
        return (
            list(vals)
            if isinstance(vals, list | tuple)
            else list(vals.values())
            if isinstance(vals, dict)
            else [vals]
        )

    def _checked(self, vals: Any) -> list[Tensor]:
        if isinstance(vals, Mapping):
            if not self._names:
                raise ValueError("Queue must have names to enqueue a dictionary")
            if sorted(self._names, key=str) != sorted(vals.keys(), key=str):
                raise ValueError(
                    "Keys in dictionary to enqueue do not match names of Queue.  "
                    f"Dictionary: {sorted(vals.keys())}, Queue: {sorted(self._names)}"
                )
            vals = [vals[name] for name in self._names]
        else:
            if self._names:
                raise ValueError("You must enqueue a dictionary in a Queue with names")
            if not isinstance(vals, list | tuple):
                vals = [vals]
        if len(vals) != len(self._dtypes):
            raise ValueError(
                f"Queue {self._name!r} holds {len(self._dtypes)} components, got {len(vals)} to enqueue"
            )
        return [
            convert_to_tensor(value, dtype, name=f"component_{i}")
            for i, (value, dtype) in enumerate(zip(vals, self._dtypes, strict=True))
        ]

    def _returned(self, tensors: list[Tensor]) -> Any:
        if self._names:
            return dict(zip(self._names, tensors, strict=True))
        return tensors[0] if len(tensors) == 1 else tensors


def _common_shape(shapes: Sequence[TensorShape]) -> TensorShape:
    """What holds of all of some shapes."""
    if any(shape.rank is None or shape.rank != shapes[0].rank for shape in shapes):
        return UNKNOWN
    sizes = zip(*(shape.as_list() for shape in shapes), strict=True)
    return TensorShape([group[0] if len(set(group)) == 1 else None for group in sizes])


class FIFOQueue(QueueBase):
    """A queue whose elements leave in the order in which they came.

    Args:
      capacity: how many elements it holds at most; negative: as many as come.
      dtypes: a dtype, or one per component.
      shapes: a fully known shape per component, which `dequeue_many` needs; or None.
      names: names of the components, which then come and go as dicts.
      shared_name: queues that share one name are one queue of the session.
      name: a name.
    """

    def __init__(
        self,
        capacity: int,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "fifo_queue",
    ) -> None:
        types = _type_list(dtypes)
        sizes = _shape_list(shapes, types)
        ref = emit.FIFOQueueV2(
            component_types=types, shapes=sizes, capacity=capacity, shared_name=shared_name, name=name
        )
        super().__init__(types, sizes, _name_list(names, types), ref)


class RandomShuffleQueue(QueueBase):
    """A queue whose elements leave in random order.

    Args:
      capacity: how many elements it holds at most; negative: as many as come.
      min_after_dequeue: how many elements stay behind until the queue is closed, so that they mix well.
      dtypes: a dtype, or one per component.
      shapes: a fully known shape per component, which `dequeue_many` needs; or None.
      names: names of the components, which then come and go as dicts.
      seed: a seed for the order, which is TensorFlow's for the same seeds.
      shared_name: queues that share one name are one queue of the session.
      name: a name.
    """

    def __init__(
        self,
        capacity: int,
        min_after_dequeue: int,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        seed: int | None = None,
        shared_name: str | None = None,
        name: str = "random_shuffle_queue",
    ) -> None:
        types = _type_list(dtypes)
        sizes = _shape_list(shapes, types)
        seed1, seed2 = get_seed(seed, name)
        if seed1 is None and seed2 is None:
            seed1, seed2 = 0, 0
        elif seed is None and shared_name is not None:
            # All who share the queue must mean the same one, whatever the operation is called.
            text = f"{seed1}{shared_name}".encode()
            seed2 = int(hashlib.md5(text).hexdigest()[:8], 16) & 0x7FFFFFFF
        ref = emit.RandomShuffleQueueV2(
            component_types=types, shapes=sizes, capacity=capacity, min_after_dequeue=min_after_dequeue,
            seed=seed1, seed2=seed2, shared_name=shared_name, name=name,
        )  # fmt: skip
        super().__init__(types, sizes, _name_list(names, types), ref)


class PaddingFIFOQueue(QueueBase):
    """A queue whose elements may differ in sizes: a batch is filled up with zeros (and empty texts) at the ends.

    Args:
      capacity: how many elements it holds at most; negative: as many as come.
      dtypes: a dtype, or one per component.
      shapes: a shape of known rank per component; sizes of None may differ.
      names: names of the components, which then come and go as dicts.
      shared_name: queues that share one name are one queue of the session.
      name: a name.

    Raises:
      ValueError: if there is not one shape per component.
    """

    def __init__(
        self,
        capacity: int,
        dtypes: Any,
        shapes: Any,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "padding_fifo_queue",
    ) -> None:
        types = _type_list(dtypes)
        sizes = _shape_list(shapes, types, open_sizes=True) or []
        if len(types) != len(sizes):
            raise ValueError(
                f"Shapes must be provided for all components, but received {len(types)} dtypes and "
                f"{len(sizes)} shapes."
            )
        ref = emit.PaddingFIFOQueueV2(
            component_types=types, shapes=sizes, capacity=capacity, shared_name=shared_name, name=name
        )
        super().__init__(types, sizes, _name_list(names, types), ref)


class PriorityQueue(QueueBase):
    """A queue whose elements leave by an int64 that stands first in each, the smallest first.

    Args:
      capacity: how many elements it holds at most; negative: as many as come.
      types: a dtype, or one per component, without the priority.
      shapes: a fully known shape per component, without the priority's; or None.
      names: names of the components.
      shared_name: queues that share one name are one queue of the session.
      name: a name.
    """

    def __init__(
        self,
        capacity: int,
        types: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "priority_queue",
    ) -> None:
        made = _type_list(types)
        sizes = _shape_list(shapes, made)
        ref = emit.PriorityQueueV2(
            component_types=made, shapes=sizes or [], capacity=capacity, shared_name=shared_name, name=name
        )
        whole = [TensorShape(()), *sizes] if sizes else [TensorShape(())]
        super().__init__([dtypes.int64, *made], whole, _name_list(names, made), ref)


__all__ = ["FIFOQueue", "PaddingFIFOQueue", "PriorityQueue", "QueueBase", "RandomShuffleQueue"]
