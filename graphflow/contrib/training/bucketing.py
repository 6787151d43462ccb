"""Batches of elements of one kind, such as sentences of similar length: a queue per kind, and one for the batches."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, errors
from graphflow.control_flow import cond
from graphflow.graph import Operation, Tensor, name_scope
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops.control import group
from graphflow.ops.elementwise import equal, logical_and
from graphflow.ops.queues import FIFOQueue, PaddingFIFOQueue, QueueBase
from graphflow.shapes import TensorShape, as_shape
from graphflow.summary import scalar as _scalar_summary
from graphflow.train.queue_runner import QueueRunner, add_queue_runner


def bucket(
    tensors: Any,
    which_bucket: Any,
    batch_size: Any,
    num_buckets: int,
    num_threads: int = 1,
    capacity: int = 32,
    bucket_capacities: Sequence[int] | None = None,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    keep_input: Any = True,
    shared_name: str | None = None,
    name: str | None = None,
) -> tuple[Tensor, Any]:
    """Returns batches of tensors that belong to one bucket; queue runners fill the buckets.

    Args:
      tensors: a list or dict of tensors, one element.
      which_bucket: the number of its bucket; int32 scalar.
      batch_size: the size of a batch: an int, an int32 scalar, or one int per bucket.
      num_buckets: how many buckets there are.
      num_threads: how many threads fill them.
      capacity: how many batches wait at most, and elements in each bucket.
      bucket_capacities: how many elements wait at most in each bucket; default `capacity`.
      shapes: the shapes of the tensors; default what is known of them.
      dynamic_pad: whether tensors of one batch are filled up with zeros to one size.
      allow_smaller_final_batch: whether the last batches may be smaller.
      keep_input: whether this element is kept; bool scalar.
      shared_name: buckets that share one name are one set of the session.
      name: a name.

    Returns:
      The number of the bucket, int32 scalar, and the batch in the structure of `tensors`.

    Raises:
      ValueError: for no tensors, other numbers of capacities or sizes than buckets, or shapes that are not known.
    """
    names = sorted(tensors) if isinstance(tensors, Mapping) else None
    listed = [tensors[key] for key in names] if names is not None else list(tensors)
    sizes = list(batch_size) if isinstance(batch_size, list | tuple) else [batch_size] * num_buckets
    if len(sizes) != num_buckets:
        raise ValueError(f"If batch_size is a list it must have num_buckets elements: {num_buckets}")
    capacities = [capacity] * num_buckets if bucket_capacities is None else list(bucket_capacities)
    if len(capacities) != num_buckets:
        raise ValueError(
            f"The list bucket_capacities ({capacities}) must have exactly num_buckets ({num_buckets}) elements."
        )
    if not listed:
        raise ValueError("Must provide at least one tensor")
    with name_scope(name, "bucket", listed):
        values = [convert_to_tensor(tensor) for tensor in listed]
        which = convert_to_tensor(which_bucket, dtypes.int32)
        keep = convert_to_tensor(keep_input, dtypes.bool_)
        types = [value.dtype for value in values]
        known = [value.shape for value in values] if shapes is None else [as_shape(shape) for shape in shapes]
        queue_type = PaddingFIFOQueue if dynamic_pad else FIFOQueue
        buckets: list[QueueBase] = [
            queue_type(
                capacity=capacities[i],
                dtypes=types,
                shapes=known,
                shared_name=None if shared_name is None else f"{shared_name}_{i}",
                name=f"bucket_queue_{i}",
            )
            for i in range(num_buckets)
        ]
        static = [constant_value(convert_to_tensor(size)) for size in sizes]
        same = {None if size is None else int(size) for size in static}
        rows = next(iter(same)) if len(same) == 1 and not allow_smaller_final_batch else None
        # Batches of one size and shape need no filling up; others have sizes of their own.
        top_shapes = [TensorShape([]), *(TensorShape([rows]).concatenate(shape) for shape in known)]
        open_sizes = any(not shape.is_fully_defined() for shape in top_shapes)
        top: QueueBase = (PaddingFIFOQueue if open_sizes else FIFOQueue)(
            capacity=capacity,
            dtypes=[dtypes.int32, *types],
            shapes=top_shapes,
            shared_name=shared_name,
            name="top_queue",
        )

        def enqueue() -> Operation:
            """Puts the element into the one bucket that it belongs to."""
            into = [functools.partial(_entered, queue, values) for queue in buckets]
            return group(
                *(cond(logical_and(keep, equal(which, i)), enter, _nothing) for i, enter in enumerate(into))
            )

        def batch(i: int) -> Operation:
            """Moves a batch of a bucket to the batches."""
            take = buckets[i].dequeue_up_to if allow_smaller_final_batch else buckets[i].dequeue_many
            taken = take(sizes[i])
            parts = list(taken) if isinstance(taken, list | tuple) else [taken]
            return top.enqueue([np.int32(i), *parts])

        add_queue_runner(
            QueueRunner(
                buckets[0],
                [enqueue()] * num_threads,
                close_op=group(*(queue.close() for queue in buckets)),
                cancel_op=group(*(queue.close(cancel_pending_enqueues=True) for queue in buckets)),
                queue_closed_exception_types=(errors.OutOfRangeError, errors.CancelledError),
            )
        )
        add_queue_runner(
            QueueRunner(
                top,
                [batch(i) for i in range(num_buckets)],
                close_op=top.close(),
                cancel_op=top.close(cancel_pending_enqueues=True),
                queue_closed_exception_types=(errors.OutOfRangeError, errors.CancelledError),
            )
        )
        for queue in buckets:
            _scalar_summary(f"bucket/{queue.name}/size", emit.Cast(queue.size(), DstT=dtypes.float32))
        _scalar_summary(
            f"bucket/{top.name}/fraction_of_{capacity}_full",
            emit.Cast(top.size(), DstT=dtypes.float32) * (1.0 / capacity),
        )
        number, *outputs = top.dequeue(name="dequeue_top")
        return number, dict(zip(names, outputs, strict=True)) if names is not None else outputs


def _entered(queue: QueueBase, values: Sequence[Tensor]) -> Tensor:
    made = queue.enqueue(list(values))
    with made.graph.control_dependencies([made]):
        return convert_to_tensor(True)


def _nothing() -> Tensor:
    return convert_to_tensor(False)


def bucket_by_sequence_length(
    input_length: Any,
    tensors: Any,
    batch_size: Any,
    bucket_boundaries: Sequence[int],
    num_threads: int = 1,
    capacity: int = 32,
    bucket_capacities: Sequence[int] | None = None,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    keep_input: Any = True,
    shared_name: str | None = None,
    name: str | None = None,
) -> tuple[Tensor, Any]:
    """Returns batches of sequences of similar length; see `bucket`.

    Args:
      input_length: the length of the sequence; int32 scalar.
      tensors: a list or dict of tensors, one element.
      batch_size: as in `bucket`; one more size than boundaries.
      bucket_boundaries: increasing lengths: a bucket has those from one, inclusive, to the next, exclusive.
      num_threads, capacity, bucket_capacities, shapes, dynamic_pad, allow_smaller_final_batch, keep_input,
        shared_name, name: as in `bucket`.

    Returns:
      The lengths, int32 [batch], and the batch in the structure of `tensors`.

    Raises:
      TypeError: if the boundaries are no list of ints.
      ValueError: if there are none, or they do not increase.
    """
    if not isinstance(bucket_boundaries, list | tuple):
        raise TypeError(f"bucket_boundaries must be a list or tuple, but received: {bucket_boundaries}")
    if not bucket_boundaries:
        raise ValueError("bucket_boundaries must not be empty")
    for least, most in zip(bucket_boundaries[:-1], bucket_boundaries[1:], strict=True):
        if not isinstance(least, int) or not isinstance(most, int):
            raise TypeError(f"bucket boundaries must be integers, but saw: {least} and {most}")
        if least >= most:
            raise ValueError(
                f"Buckets must contain sequential increasing lengths, but saw: {least} before {most}"
            )
    with name_scope(name, "bucket_by_sequence_length", [input_length]) as scope:
        length = convert_to_tensor(input_length, dtypes.int32)
        # As many boundaries as the length has reached.
        reached = emit.Cast(
            emit.GreaterEqual(length, np.array(bucket_boundaries, np.int32)), DstT=dtypes.int32
        )
        which = emit.Sum(reached, np.array([0], np.int32), keep_dims=False)
        named = isinstance(tensors, Mapping)
        keys = sorted(tensors) if named else []
        values = [tensors[key] for key in keys] if named else list(tensors)
        _, (lengths, *outputs) = bucket(
            [length, *values],
            which,
            batch_size,
            len(bucket_boundaries) + 1,
            num_threads=num_threads,
            capacity=capacity,
            bucket_capacities=bucket_capacities,
            shapes=None if shapes is None else [TensorShape([]), *shapes],
            dynamic_pad=dynamic_pad,
            allow_smaller_final_batch=allow_smaller_final_batch,
            keep_input=keep_input,
            shared_name=shared_name,
            name=scope,
        )
        return lengths, dict(zip(keys, outputs, strict=True)) if named else outputs


__all__ = ["bucket", "bucket_by_sequence_length"]
