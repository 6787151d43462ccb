"""`tf.train.experimental`: training with fewer bits."""

from __future__ import annotations

from typing import Any

from graphflow.train.loss_scale import (
    DynamicLossScale as DynamicLossScale,
)
from graphflow.train.loss_scale import (
    FixedLossScale as FixedLossScale,
)
from graphflow.train.loss_scale import (
    LossScale as LossScale,
)
from graphflow.train.loss_scale import (
    MixedPrecisionLossScaleOptimizer as MixedPrecisionLossScaleOptimizer,
)
from graphflow.train.optimizer import Optimizer


def enable_mixed_precision_graph_rewrite(opt: Optimizer, loss_scale: Any = "dynamic") -> Optimizer:
    """Returns an optimizer that scales the loss, as training in float16 needs it.

    TensorFlow's rewrite itself changes what runs on a GPU only; here as there, what runs on the CPU stays float32.

    Args:
      opt: the optimizer.
      loss_scale: a LossScale, a fixed factor, or "dynamic".

    Raises:
      ValueError: it is one already, no optimizer, or there is no such loss scale.
    """
    if isinstance(opt, MixedPrecisionLossScaleOptimizer):
        raise ValueError(
            f'"opt" must not already be an instance of a MixedPrecisionLossScaleOptimizer: {opt!r}'
        )
    return MixedPrecisionLossScaleOptimizer(opt, loss_scale)


def disable_mixed_precision_graph_rewrite() -> None:
    """Does nothing more: optimizers that were made stay as they are."""


__all__ = [
    "DynamicLossScale", "FixedLossScale", "LossScale", "MixedPrecisionLossScaleOptimizer",
    "disable_mixed_precision_graph_rewrite", "enable_mixed_precision_graph_rewrite",
]  # fmt: skip
