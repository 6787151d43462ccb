"""Elements one after another several times: `tf.repeat`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit
from graphflow.ops.elementwise import cast
from graphflow.ops.layout import (
    boolean_mask,
    broadcast_to,
    concat,
    expand_dims,
    gather,
    reshape,
    sequence_mask,
    tile,
)
from graphflow.ops.source import shape


def repeat(input: Any, repeats: Any, axis: int | None = None, name: str | None = None) -> Tensor:
    """Returns the slices along an axis, each as often as told.

    Args:
      input: a tensor of any dtype; a scalar counts as a vector of one.
      repeats: integers, [the size of the axis], or one for all; those below zero count as zero.
      axis: the axis; None takes all elements in a row.
      name: a name scope.

    Raises:
      TypeError: if `axis` is no int, or `repeats` are no integers.
      ValueError: if there is no such axis, or `repeats` do not fit its size.
    """
    if axis is None:
        input, axis = reshape(input, [-1]), 0
    if not isinstance(axis, int):
        raise TypeError(f"repeat: `axis` must be an int, got {axis!r}")
    with name_scope(name, "Repeat", [input, repeats]):
        data = convert_to_tensor(input, name="data")
        counts = convert_to_tensor(repeats, name="repeats")
        if not counts.dtype.is_integer:
            raise TypeError(f"repeat: `repeats` must be integers, got {counts!r}")
        counts = cast(counts, dtypes.int32)
        if counts.shape.rank is not None and counts.shape.rank > 1:
            raise ShapeError(f"repeat: `repeats` must be a scalar or a vector, has shape {counts.shape}")
        if data.shape.rank is None:
            # The last one of 1 and all sizes for a scalar, all sizes for anything else.
            data = reshape(data, concat([[1], shape(data)], 0)[emit.Minimum(emit.Rank(data), 1) :])
        elif data.shape.rank == 0:
            data = expand_dims(data, 0)
        rank = data.shape.rank
        if (rank is None and axis < 0) or (rank is not None and not -rank <= axis < rank):
            raise ValueError(f"repeat: there is no axis {axis} in {data!r}")
        at = axis if rank is None else axis % rank
        size = None if rank is None else data.shape.as_list()[at]
        known = constant_value(counts)
        given = counts.shape.num_elements()
        if counts.shape.rank == 1 and None not in (size, given) and given not in (1, size):
            raise ShapeError(f"repeat: {given} repeats for {size} slices along axis {axis} of {data!r}")
        length = shape(data)[at] if size is None else constant(size, dtypes.int32)
        if given == 1 and rank is not None:
            # Copies in a new axis behind this one, which is then counted to it.
            count = reshape(counts, [])
            copies = tile(expand_dims(data, at + 1), [1] * (at + 1) + [count] + [1] * (rank - at - 1))
            sizes = [
                shape(data)[i] if known is None else known for i, known in enumerate(data.shape.as_list())
            ]
            return reshape(copies, [*sizes[:at], sizes[at] * count, *sizes[at + 1 :]])
        counts = emit.Maximum(broadcast_to(counts, [length]), 0)
        most = emit.Max(emit.ConcatV2([counts, [0]], 0), 0)
        places = expand_dims(emit.Range(0, length, 1), 1)
        chosen = boolean_mask(broadcast_to(places, [length, most]), sequence_mask(counts, most))
        result = gather(data, chosen, axis=at)
        if known is not None and size is not None:
            total = int(np.broadcast_to(np.maximum(known, 0), [size]).sum())
            result.set_shape([*data.shape[:at].as_list(), total, *data.shape[at + 1 :].as_list()])
        return result


__all__ = ["repeat"]
