"""The loss of sequences of logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor
from graphflow.ops.elementwise import cast, div_no_nan
from graphflow.ops.layout import reshape
from graphflow.ops.nn import sparse_softmax_cross_entropy_with_logits
from graphflow.ops.reduction import count_nonzero, reduce_sum
from graphflow.ops.source import shape


def sequence_loss(
    logits: Any, targets: Any, weights: Any, average_across_timesteps: bool = True, average_across_batch: bool = True,
    sum_over_timesteps: bool = False, sum_over_batch: bool = False,
    softmax_loss_function: Callable[..., Any] | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the weighed cross entropy of sequences: a scalar, [batch], [time] or [batch, time].

    Args:
      logits: [batch, time, classes].
      targets: int [batch, time].
      weights: [batch, time]; 0 where a sequence has ended.
      average_across_timesteps: whether the losses of a sequence are added and divided by its weights' sum.
      average_across_batch: likewise for those of a step.
      sum_over_timesteps: whether they are divided by how many weights are not zero.
      sum_over_batch: likewise.
      softmax_loss_function: gives the loss of `labels` [n] and `logits` [n, classes]; default the sparse softmax
        cross entropy.
      name: a name scope.

    Raises:
      ValueError: for other ranks, or if both an average and a sum are asked for.
    """
    logits, targets, weights = (
        convert_to_tensor(logits),
        convert_to_tensor(targets),
        convert_to_tensor(weights),
    )
    for given, rank, what in ((logits, 3, "Logits"), (targets, 2, "Targets"), (weights, 2, "Weights")):
        if given.shape.rank != rank:
            sizes = (
                "[batch_size x sequence_length x logits]" if rank == 3 else "[batch_size x sequence_length]"
            )
            raise ValueError(f"{what} must be a {sizes} tensor, saw shape {given.shape}")
    for average, total, what in (
        (average_across_timesteps, sum_over_timesteps, "timesteps"),
        (average_across_batch, sum_over_batch, "batch"),
    ):
        if average and total:
            raise ValueError(f"average_across_{what} and sum_over_{what} cannot be set to True at same time.")
    with name_scope(name, "sequence_loss", [logits, targets, weights]):
        flat = reshape(logits, [-1, shape(logits)[2]])
        labels = reshape(targets, [-1])
        if softmax_loss_function is None:
            losses = sparse_softmax_cross_entropy_with_logits(labels=labels, logits=flat)
        else:
            losses = softmax_loss_function(labels=labels, logits=flat)
        losses = losses * reshape(weights, [-1])

        def counted(axis: int | None) -> Any:
            return cast(count_nonzero(weights, axis=axis), losses.dtype)

        if average_across_timesteps and average_across_batch:
            return div_no_nan(reduce_sum(losses), reduce_sum(weights))
        if sum_over_timesteps and sum_over_batch:
            return div_no_nan(reduce_sum(losses), counted(None))
        losses = reshape(losses, shape(logits)[:2])
        losses.set_shape(targets.shape)
        # An average over one axis comes before a sum over the other.
        if average_across_timesteps or average_across_batch:
            axis = 0 if average_across_batch else 1
            return div_no_nan(reduce_sum(losses, axis), reduce_sum(weights, axis))
        if sum_over_timesteps or sum_over_batch:
            axis = 0 if sum_over_batch else 1
            return div_no_nan(reduce_sum(losses, axis), counted(axis))
        result: Tensor = losses
        return result


__all__ = ["sequence_loss"]
