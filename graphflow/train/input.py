"""Input pipelines of queues: producers of file names and indices, and batches that threads fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.graph import GraphKeys, Operation, Tensor, control_dependencies, name_scope
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops.control import Assert
from graphflow.ops.queues import FIFOQueue, PaddingFIFOQueue, QueueBase, RandomShuffleQueue
from graphflow.ops.random import random_shuffle
from graphflow.ops.sparse_messages import (
    deserialize_many_sparse,
    serialize_many_sparse,
    serialize_sparse,
)
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape, as_shape
from graphflow.summary import operations as summary
from graphflow.train.queue_runner import QueueRunner, add_queue_runner
from graphflow.variables import Variable


def match_filenames_once(pattern: Any, name: str | None = None) -> Variable:
    """Returns a local variable with the names of the files that match, looked up when it is initialized.

    Args:
      pattern: a pattern, or a vector of them.
      name: a name.
    """
    with name_scope(name, "matching_filenames", [pattern]) as scope:
        return Variable(
            name=scope,
            initial_value=emit.MatchingFiles(pattern),
            trainable=False,
            validate_shape=False,
            collections=[GraphKeys.LOCAL_VARIABLES],
        )


def limit_epochs(tensor: Any, num_epochs: int | None = None, name: str | None = None) -> Any:
    """Returns the tensor, which can be run so often before it raises OutOfRangeError.

    Args:
      tensor: a tensor.
      num_epochs: how often; None: without end. A local variable counts: initialize local variables.
      name: a name.

    Raises:
      ValueError: unless `num_epochs` is positive.
    """
    if num_epochs is None:
        return tensor
    if num_epochs <= 0:
        raise ValueError(f"num_epochs must be > 0 not {num_epochs}.")
    with name_scope(name, "limit_epochs", [tensor]) as scope:
        epochs = Variable(
            constant(0, dtypes.int64),
            name="epochs",
            trainable=False,
            collections=[GraphKeys.LOCAL_VARIABLES],
        )
        counter = epochs.count_up_to(num_epochs)
        with control_dependencies([counter]):
            return emit.Identity(convert_to_tensor(tensor), name=scope)


def input_producer(
    input_tensor: Any,
    element_shape: Any = None,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    summary_name: str | None = None,
    name: str | None = None,
    cancel_op: Operation | None = None,
) -> FIFOQueue:
    """Returns a queue of the rows of a tensor, which a `QueueRunner` fills again and again.

    Args:
      input_tensor: [rows, ...].
      element_shape: the shape of a row, where the tensor's is not fully known.
      num_epochs: how often each row comes; None: without end.
      shuffle: whether the rows come in random order, anew each time.
      seed: a seed for the order.
      capacity: how many rows the queue holds.
      shared_name: see `FIFOQueue`.
      summary_name: the name of a summary that tells how full the queue is.
      name: a name.
      cancel_op: see `QueueRunner`.

    Raises:
      ValueError: if the shape of a row is not known.
    """
    with name_scope(name, "input_producer", [input_tensor]) as scope:
        rows = convert_to_tensor(input_tensor, name="input_tensor")
        shape = rows.shape[1:].merge_with(as_shape(element_shape))
        if not shape.is_fully_defined():
            raise ValueError(
                "Either `input_tensor` must have a fully defined shape or `element_shape` must be specified"
            )
        if shuffle:
            rows = random_shuffle(rows, seed=seed)
        rows = limit_epochs(rows, num_epochs)
        queue = FIFOQueue(capacity, [rows.dtype], [shape], shared_name=shared_name, name=scope)
        add_queue_runner(QueueRunner(queue, [queue.enqueue_many([rows])], cancel_op=cancel_op))
        if summary_name is not None:
            summary.scalar(summary_name, emit.Cast(queue.size(), DstT=dtypes.float32) * (1.0 / capacity))
        return queue


def string_input_producer(
    string_tensor: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
    cancel_op: Operation | None = None,
) -> FIFOQueue:
    """Returns a queue of texts, such as the names of files; see `input_producer`.

    Args:
      string_tensor: a vector of texts.
      num_epochs, shuffle, seed, capacity, shared_name, name, cancel_op: see `input_producer`.

    Raises:
      ValueError: if there are none.
    """
    refusal = "string_input_producer requires a non-null input tensor"
    if not isinstance(string_tensor, Tensor | Variable) and not len(string_tensor):
        raise ValueError(refusal)
    with name_scope(name, "input_producer", [string_tensor]) as scope:
        texts = convert_to_tensor(string_tensor, dtypes.string)
        with control_dependencies([Assert(emit.Greater(emit.Size(texts), 0), [refusal])]):
            texts = emit.Identity(texts)
        return input_producer(
            texts, [], num_epochs, shuffle, seed, capacity, shared_name, f"fraction_of_{capacity}_full",
            scope, cancel_op,
        )  # fmt: skip


def range_input_producer(
    limit: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
) -> FIFOQueue:
    """Returns a queue of the numbers from 0 to `limit` - 1; see `input_producer`."""
    with name_scope(name, "input_producer", [limit]) as scope:
        numbers = emit.Range(0, limit, 1)
        return input_producer(
            numbers,
            [],
            num_epochs,
            shuffle,
            seed,
            capacity,
            shared_name,
            f"fraction_of_{capacity}_full",
            scope,
        )


def slice_input_producer(
    tensor_list: Sequence[Any],
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
) -> list[Tensor]:
    """Returns one row of each tensor, the same of all; a queue says which, see `input_producer`.

    Args:
      tensor_list: tensors with the same number of rows.
      num_epochs, shuffle, seed, capacity, shared_name, name: see `input_producer`.

    Raises:
      ValueError: if there are none.
    """
    with name_scope(name, "input_producer", list(tensor_list)):
        tensors = [convert_to_tensor(tensor) for tensor in tensor_list]
        if not tensors:
            raise ValueError("Expected at least one tensor in slice_input_producer().")
        count = tensors[0].shape.as_list()[0] if tensors[0].shape.rank else None
        limit = emit.Shape(tensors[0])[0] if count is None else count
        queue = range_input_producer(limit, num_epochs, shuffle, seed, capacity, shared_name)
        index = queue.dequeue()
        return [emit.GatherV2(tensor, index, 0) for tensor in tensors]


# ---------------------------------------------------------------------------- batches


class _Fields:
    """The tensors of one example: a list, tuple, dict or single tensor, taken apart and put together again.

    Sparse tensors stand in the queue as texts.
    """

    def __init__(self, tensors: Any) -> None:
        self._given = tensors
        self.keys = sorted(tensors, key=str) if isinstance(tensors, dict) else None
        if self.keys is not None:
            items = [tensors[key] for key in self.keys]
        else:
            items = list(tensors) if isinstance(tensors, list | tuple) else [tensors]
        if not items:
            raise ValueError("Expected at least one tensor in batch().")
        self.items: list[Any] = [
            item if isinstance(item, SparseTensor) else convert_to_tensor(item) for item in items
        ]

    def dense(self, enqueue_many: bool) -> list[Tensor]:
        made = []
        for item in self.items:
            if not isinstance(item, SparseTensor):
                made.append(item)
                continue
            made.append(serialize_many_sparse(item) if enqueue_many else serialize_sparse(item))
        return made

    def restored(self, dequeued: Any, enqueue_many: bool) -> Any:
        tensors = dequeued if isinstance(dequeued, list) else [dequeued]
        parts = []
        for tensor, item in zip(tensors, self.items, strict=True):
            if not isinstance(item, SparseTensor):
                parts.append(tensor)
                continue
            rank = item.dense_shape.shape.num_elements()
            alone = None if rank is None else rank - 1 if enqueue_many else rank
            parts.append(deserialize_many_sparse(tensor, item.dtype, alone))
        if self.keys is not None:
            return dict(zip(self.keys, parts, strict=True))
        # A queue of one component gives a tensor, also where a list was put in.
        return parts if len(parts) > 1 else parts[0]


def _common_shapes(lists: Sequence[Sequence[Tensor]], given: Any, enqueue_many: bool) -> list[TensorShape]:
    if given is not None:
        return [as_shape(shape) for shape in given]
    result = []
    for column in zip(*lists, strict=True):
        merged: TensorShape | None = None
        for tensor in column:
            if tensor.shape.rank is None:
                raise ValueError(f"Cannot infer Tensor's rank: {tensor!r}")
            shape = tensor.shape.with_rank_at_least(1)[1:] if enqueue_many else tensor.shape
            merged = shape if merged is None else merged.merge_with(shape)
        assert merged is not None
        result.append(merged)
    return result


def _types(lists: Sequence[Sequence[Tensor]]) -> list[DType]:
    types = [tensor.dtype for tensor in lists[0]]
    for other in lists[1:]:
        found = [tensor.dtype for tensor in other]
        if found != types:
            raise TypeError(
                f"Expected types to be consistent: {', '.join(t.name for t in types)} vs. "
                f"{', '.join(t.name for t in found)}."
            )
    return types


def _enqueue(queue: QueueBase, tensors: list[Tensor], keep_input: Any, enqueue_many: bool) -> Operation:
    """The operation that adds what is to be kept."""
    if isinstance(keep_input, bool):
        if keep_input:
            return queue.enqueue_many(tensors) if enqueue_many else queue.enqueue(tensors)
        return emit.NoOp()  # type: ignore[no-any-return]
    keep = convert_to_tensor(keep_input, dtypes.bool_)
    if keep.shape.rank is None:
        raise ValueError("`keep_input` dimensions must be known at graph construction.")
    if not enqueue_many and keep.shape.rank == 1:
        raise ValueError("`keep_input` cannot be a vector when `enqueue_many=False`.")
    if keep.shape.rank > 1:
        raise ValueError("`keep_input` must be 0 or 1 dimensions.")
    if not enqueue_many:
        tensors = [emit.ExpandDims(tensor, 0) for tensor in tensors]
    which = emit.Cast(keep, DstT=dtypes.int32)
    if keep.shape.rank == 0:
        which = emit.Fill(emit.Shape(tensors[0])[:1], which)
    return queue.enqueue_many(
        [emit.DynamicPartition(tensor, which, num_partitions=2)[1] for tensor in tensors]
    )


def _batched(
    lists: Sequence[Any],
    keep_input: Any,
    batch_size: Any,
    threads: int,
    enqueue_many: bool,
    shapes: Any,
    smaller: bool,
    make: Callable[[list[DType], list[TensorShape]], QueueBase],
    fullness: Callable[[QueueBase], tuple[str, Tensor]],
    name: str | None,
    default_name: str,
) -> Any:
    fields = [_Fields(item) for item in lists]
    flat = [item for field in fields for item in field.items]
    with name_scope(name, default_name, [t for t in flat if isinstance(t, Tensor)]) as scope:
        if len({len(field.items) for field in fields}) > 1:
            raise ValueError("all lists of tensors must have the same length")
        dense = [field.dense(enqueue_many) for field in fields]
        types = _types(dense)
        queue = make(types, _common_shapes(dense, shapes, enqueue_many))
        operations = [_enqueue(queue, tensors, keep_input, enqueue_many) for tensors in dense]
        add_queue_runner(QueueRunner(queue, operations * threads))
        label, full = fullness(queue)
        summary.scalar(label, full)
        taken = queue.dequeue_up_to if smaller else queue.dequeue_many
        return fields[0].restored(taken(batch_size, name=scope), enqueue_many)


def _in_order(
    lists: Sequence[Any], keep_input: Any, batch_size: Any, threads: int, capacity: int, enqueue_many: bool,
    shapes: Any, pad: bool, smaller: bool, shared_name: str | None, name: str | None, default_name: str,
) -> Any:  # fmt: skip
    kind = PaddingFIFOQueue if pad else FIFOQueue

    def fullness(queue: QueueBase) -> tuple[str, Tensor]:
        size = emit.Cast(queue.size(), DstT=dtypes.float32)
        return f"fraction_of_{capacity}_full", size * (1.0 / capacity)

    return _batched(
        lists, keep_input, batch_size, threads, enqueue_many, shapes, smaller,
        lambda types, sizes: kind(capacity, types, sizes, shared_name=shared_name), fullness, name, default_name,
    )  # fmt: skip


def _in_random_order(
    lists: Sequence[Any], keep_input: Any, batch_size: Any, threads: int, capacity: int, least: int,
    seed: int | None, enqueue_many: bool, shapes: Any, smaller: bool, shared_name: str | None, name: str | None,
    default_name: str,
) -> Any:  # fmt: skip
    if capacity <= least:
        raise ValueError(f"capacity {capacity} must be bigger than min_after_dequeue {least}.")

    def fullness(queue: QueueBase) -> tuple[str, Tensor]:
        over = emit.Cast(emit.Maximum(0, queue.size() - least), DstT=dtypes.float32)
        return f"fraction_over_{least}_of_{capacity}_full", over * (1.0 / (capacity - least))

    return _batched(
        lists, keep_input, batch_size, threads, enqueue_many, shapes, smaller,
        lambda types, sizes: RandomShuffleQueue(
            capacity, least, types, sizes, seed=seed, shared_name=shared_name
        ),
        fullness, name, default_name,
    )  # fmt: skip


def _joined(tensors_list: Any) -> list[Any]:
    lists = list(tensors_list)
    if not lists:
        raise ValueError("Expected at least one set of tensors")
    first = lists[0]
    if any(isinstance(item, dict) != isinstance(first, dict) for item in lists):
        raise ValueError("all sets of tensors must be dicts, or none")
    if isinstance(first, dict) and any(set(item) != set(first) for item in lists):
        raise ValueError("all dicts of tensors must have the same keys")
    return lists


def batch(
    tensors: Any, batch_size: Any, num_threads: int = 1, capacity: int = 32, enqueue_many: bool = False,
    shapes: Any = None, dynamic_pad: bool = False, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches of tensors, which threads of a `QueueRunner` fill.

    Args:
      tensors: a tensor, or a list, tuple or dict of them; sparse ones too.
      batch_size: how many make a batch; int or int32 scalar.
      num_threads: how many threads fill the queue.
      capacity: how many examples it holds.
      enqueue_many: whether the tensors are batches already, of any size.
      shapes: the shapes of one example, where they are not fully known.
      dynamic_pad: whether sizes may differ within a batch, to be filled up with zeros.
      allow_smaller_final_batch: whether the last batch may be smaller.
      shared_name: see `FIFOQueue`.
      name: a name.

    Returns:
      The structure of `tensors`, each with a new first axis.

    Raises:
      ValueError: if shapes are not known.
    """
    return _in_order(
        [tensors], True, batch_size, num_threads, capacity, enqueue_many, shapes, dynamic_pad,
        allow_smaller_final_batch, shared_name, name, "batch",
    )  # fmt: skip


def maybe_batch(
    tensors: Any, keep_input: Any, batch_size: Any, num_threads: int = 1, capacity: int = 32,
    enqueue_many: bool = False, shapes: Any = None, dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False, shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches of what is to be kept; see `batch`.

    Args:
      tensors, batch_size and the rest: see `batch`.
      keep_input: bool scalar, or with `enqueue_many` one per row.
    """
    return _in_order(
        [tensors], keep_input, batch_size, num_threads, capacity, enqueue_many, shapes, dynamic_pad,
        allow_smaller_final_batch, shared_name, name, "batch",
    )  # fmt: skip


def batch_join(
    tensors_list: Any, batch_size: Any, capacity: int = 32, enqueue_many: bool = False, shapes: Any = None,
    dynamic_pad: bool = False, allow_smaller_final_batch: bool = False, shared_name: str | None = None,
    name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches of tensors from several sources, one thread each; see `batch`.

    Args:
      tensors_list: what `batch` takes, once per source.
      batch_size and the rest: see `batch`.
    """
    return _in_order(
        _joined(tensors_list), True, batch_size, 1, capacity, enqueue_many, shapes, dynamic_pad,
        allow_smaller_final_batch, shared_name, name, "batch_join",
    )  # fmt: skip


def maybe_batch_join(
    tensors_list: Any, keep_input: Any, batch_size: Any, capacity: int = 32, enqueue_many: bool = False,
    shapes: Any = None, dynamic_pad: bool = False, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches of what is to be kept from several sources; see `batch_join` and `maybe_batch`."""
    return _in_order(
        _joined(tensors_list), keep_input, batch_size, 1, capacity, enqueue_many, shapes, dynamic_pad,
        allow_smaller_final_batch, shared_name, name, "batch_join",
    )  # fmt: skip


def shuffle_batch(
    tensors: Any, batch_size: Any, capacity: int, min_after_dequeue: int, num_threads: int = 1,
    seed: int | None = None, enqueue_many: bool = False, shapes: Any = None,
    allow_smaller_final_batch: bool = False, shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches in random order, which threads of a `QueueRunner` fill; see `batch`.

    Args:
      tensors, batch_size and the rest: see `batch`.
      min_after_dequeue: how many examples stay in the queue, so that they mix well.
      seed: a seed for the order.
    """
    return _in_random_order(
        [tensors], True, batch_size, num_threads, capacity, min_after_dequeue, seed, enqueue_many, shapes,
        allow_smaller_final_batch, shared_name, name, "shuffle_batch",
    )  # fmt: skip


def maybe_shuffle_batch(
    tensors: Any, batch_size: Any, capacity: int, min_after_dequeue: int, keep_input: Any, num_threads: int = 1,
    seed: int | None = None, enqueue_many: bool = False, shapes: Any = None,
    allow_smaller_final_batch: bool = False, shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches in random order of what is to be kept; see `shuffle_batch` and `maybe_batch`."""
    return _in_random_order(
        [tensors], keep_input, batch_size, num_threads, capacity, min_after_dequeue, seed, enqueue_many, shapes,
        allow_smaller_final_batch, shared_name, name, "shuffle_batch",
    )  # fmt: skip


def shuffle_batch_join(
    tensors_list: Any, batch_size: Any, capacity: int, min_after_dequeue: int, seed: int | None = None,
    enqueue_many: bool = False, shapes: Any = None, allow_smaller_final_batch: bool = False,
    shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches in random order from several sources; see `shuffle_batch` and `batch_join`."""
    return _in_random_order(
        _joined(tensors_list), True, batch_size, 1, capacity, min_after_dequeue, seed, enqueue_many, shapes,
        allow_smaller_final_batch, shared_name, name, "shuffle_batch_join",
    )  # fmt: skip


def maybe_shuffle_batch_join(
    tensors_list: Any, batch_size: Any, capacity: int, min_after_dequeue: int, keep_input: Any,
    seed: int | None = None, enqueue_many: bool = False, shapes: Any = None,
    allow_smaller_final_batch: bool = False, shared_name: str | None = None, name: str | None = None,
) -> Any:  # fmt: skip
    """Returns batches in random order of what is to be kept from several sources; see `shuffle_batch_join`."""
    return _in_random_order(
        _joined(tensors_list), keep_input, batch_size, 1, capacity, min_after_dequeue, seed, enqueue_many, shapes,
        allow_smaller_final_batch, shared_name, name, "shuffle_batch_join",
    )  # fmt: skip


__all__ = [
    "batch", "batch_join", "input_producer", "limit_epochs", "match_filenames_once", "maybe_batch",
    "maybe_batch_join", "maybe_shuffle_batch", "maybe_shuffle_batch_join", "range_input_producer",
    "shuffle_batch", "shuffle_batch_join", "slice_input_producer", "string_input_producer",
]  # fmt: skip
