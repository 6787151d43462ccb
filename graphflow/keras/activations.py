"""`keras.activations`: functions between layers."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras.identifiers import found
from graphflow.ops import elementwise, nn
from graphflow.ops.reduction import reduce_max, reduce_sum


def linear(x: Any) -> Any:
    """Returns its argument."""
    return x


def softmax(x: Any, axis: int = -1) -> Tensor:
    """Softmax along an axis."""
    if x.shape.rank == 1:
        raise ValueError("Cannot apply softmax to a tensor that is 1D")
    if x.shape.rank == 2 or axis == -1:
        return nn.softmax(x, axis=axis)
    e = elementwise.exp(x - reduce_max(x, axis=axis, keepdims=True))
    return e / reduce_sum(e, axis=axis, keepdims=True)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x` above zero, `alpha * (exp(x) - 1)` below."""
    y = elementwise.elu(x)
    return y if alpha == 1 else elementwise.where_v2(x > 0, y, alpha * y)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """`x` above the threshold, `alpha * (x - threshold)` below, at most `max_value`."""
    if alpha == 0.0 and threshold == 0.0:
        y = elementwise.relu(x)
    elif alpha and threshold == 0.0:
        y = elementwise.leaky_relu(x, alpha=alpha)
    else:
        y = elementwise.where_v2(x > threshold, x, alpha * (x - threshold))
    return y if max_value is None else elementwise.minimum(y, float(max_value))


def hard_sigmoid(x: Any) -> Tensor:
    """`0.2 x + 0.5`, kept between 0 and 1."""
    return elementwise.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


exponential = elementwise.exp
selu = elementwise.selu
sigmoid = elementwise.sigmoid
softplus = elementwise.softplus
softsign = elementwise.softsign
swish = nn.swish
tanh = elementwise.tanh

_KNOWN = {
    "elu": elu, "exponential": exponential, "hard_sigmoid": hard_sigmoid, "linear": linear, "relu": relu,
    "relu6": elementwise.relu6, "selu": selu, "sigmoid": sigmoid, "softmax": softmax, "softplus": softplus,
    "softsign": softsign, "swish": swish, "tanh": tanh,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """Returns an activation by name, or as it is; the linear one for None."""
    return linear if identifier is None else found(identifier, _KNOWN, "activation")


__all__ = [
    "elu", "exponential", "get", "hard_sigmoid", "linear", "relu", "selu", "sigmoid", "softmax", "softplus",
    "softsign", "swish", "tanh",
]  # fmt: skip
