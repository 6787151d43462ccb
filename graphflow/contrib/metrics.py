"""`tf.contrib.metrics`: streaming metrics under the names they have there."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes
from graphflow import sets as _sets
from graphflow.contrib import deep as _deep
from graphflow.contrib.slim import metrics as _metrics
from graphflow.graph import Tensor
from graphflow.namespace import MissingNameError
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.elementwise import equal, multiply
from graphflow.ops.reduction import reduce_mean, reduce_sum


def accuracy(predictions: Any, labels: Any, weights: Any = None, name: str | None = None) -> Tensor:
    """Returns the share of predictions that equal their labels, of this batch alone.

    Args:
      predictions: of an integer, bool or string dtype.
      labels: of the same dtype and shape.
      weights: of each.
      name: a name.

    Raises:
      ValueError: for another dtype.
    """
    x, y = convert_to_tensor(predictions), convert_to_tensor(labels)
    if not (x.dtype.is_integer or x.dtype in (dtypes.bool_, dtypes.string)) or x.dtype is not y.dtype:
        raise ValueError(
            f"predictions and labels must be of one integer, bool or string dtype: {x.dtype}, {y.dtype}"
        )
    right = emit.Cast(equal(x, y), DstT=dtypes.float32)
    if weights is None:
        return reduce_mean(right, name=name)
    factors = emit.Cast(convert_to_tensor(weights), DstT=dtypes.float32)
    total = multiply(factors, emit.OnesLike(right))
    result: Tensor = emit.RealDiv(reduce_sum(multiply(right, factors)), reduce_sum(total), name=name)
    return result


__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "metrics")


def __getattr__(name: str) -> Any:
    # Sets, besides: `set_difference`, `set_intersection`, `set_size`, `set_union`.
    found = getattr(_sets if name.startswith("set_") else _metrics, name, None)
    if found is None or name.startswith("_"):
        raise MissingNameError(__name__, name)
    return found


def __dir__() -> list[str]:
    return sorted({"accuracy", *(name for name in dir(_metrics) if not name.startswith("_"))})
