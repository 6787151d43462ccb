"""Reading sequences out of a beam search: following each beam's parents from its end to its beginning."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Tensor
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.rules import Array, rank_exactly
from graphflow.shapes import TensorShape


def _tree_shape(node: Any) -> TensorShape:
    steps = rank_exactly(node, 0, 3, "step_ids").merge_with(rank_exactly(node, 1, 3, "parent_ids"))
    batch = steps[1:2].merge_with(rank_exactly(node, 2, 1, "max_sequence_lengths"))
    rank_exactly(node, 3, 0, "end_token")
    return steps[:1].concatenate(batch).concatenate(steps[2:])


@op("GatherTree", "step_ids:T; parent_ids:T; max_sequence_lengths:int32; end_token:T", "beams:T", "T:type{int32}",
    infer=_tree_shape, differentiable=False)  # fmt: skip
def gather_tree_op(
    step_ids: Array, parent_ids: Array, max_sequence_lengths: Array, end_token: Array
) -> Array:
    """The sequences [time, batch, beams] that end in each beam; the end token fills them up."""
    if step_ids.shape != parent_ids.shape or max_sequence_lengths.shape != step_ids.shape[1:2]:
        raise InvalidArgumentError(
            None, None,
            f"step_ids {list(step_ids.shape)} and parent_ids {list(parent_ids.shape)} must be of one shape, with"
            f" a batch of as many as max_sequence_lengths {list(max_sequence_lengths.shape)}",
        )  # fmt: skip
    time, _, width = step_ids.shape
    beams = np.full(step_ids.shape, end_token, step_ids.dtype)
    for batch, length in enumerate(np.minimum(max_sequence_lengths, time).tolist()):
        at = np.arange(width)
        for level in range(length - 1, -1, -1):
            if ((at < 0) | (at >= width)).any():
                beam = int(np.flatnonzero((at < 0) | (at >= width))[0])
                raise InvalidArgumentError(
                    None, None,
                    f"Saw invalid parent id {at[beam]} at (batch, time, beam) == ({batch}, {level}, {beam}): there are"
                    f" {width} beams",
                )  # fmt: skip
            beams[level, batch] = step_ids[level, batch, at]
            at = parent_ids[level, batch, at]
        if length > 0:
            ended = np.logical_or.accumulate(beams[:length, batch] == end_token, axis=0)
            beams[:length, batch][ended] = end_token
    return beams


def gather_tree(
    step_ids: Any, parent_ids: Any, max_sequence_lengths: Any, end_token: Any, name: str | None = None
) -> Tensor:
    """Returns the sequences that end in each beam of a beam search, int32 [time, batch, beams].

    Args:
      step_ids: int32 [time, batch, beams]: the symbol of each beam at each step.
      parent_ids: int32 [time, batch, beams]: which beam of the step before it goes on from.
      max_sequence_lengths: int32 [batch]: how many steps of an example count.
      end_token: int32 scalar: what sequences are filled up with, from their first end token on.
      name: a name.

    Raises:
      InvalidArgumentError: when run, for a parent that is no beam.
    """
    result: Tensor = emit.GatherTree(
        convert_to_tensor(step_ids, dtypes.int32), convert_to_tensor(parent_ids, dtypes.int32),
        convert_to_tensor(max_sequence_lengths, dtypes.int32), convert_to_tensor(end_token, dtypes.int32), name=name,
    )  # fmt: skip
    return result


__all__ = ["gather_tree"]
