"""`keras.constraints`: functions that put weights back into bounds after a step."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras.identifiers import found
from graphflow.ops.elementwise import cast, clip_by_value, greater_equal, sqrt, square
from graphflow.ops.reduction import reduce_sum

_EPSILON = 1e-7


class Constraint:
    """A function of a weight that returns its new value."""

    def __call__(self, w: Any) -> Any:
        """Returns the new value."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {}


def _norms(w: Any, axis: Any) -> Tensor:
    return sqrt(reduce_sum(square(w), axis=axis, keepdims=True))


class MaxNorm(Constraint):
    """Norms along an axis of at most `max_value`."""

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Returns the new value."""
        norms = _norms(w, self.axis)
        return w * (clip_by_value(norms, 0.0, float(self.max_value)) / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """No element below zero."""

    def __call__(self, w: Any) -> Any:
        """Returns the new value."""
        return w * cast(greater_equal(w, 0.0), w.dtype)


class UnitNorm(Constraint):
    """Norms of one along an axis."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Returns the new value."""
        return w / (_EPSILON + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Norms along an axis between two bounds, approached at a rate."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Returns the new value."""
        norms = _norms(w, self.axis)
        wanted = self.rate * clip_by_value(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis,
        }  # fmt: skip


max_norm = MaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
min_max_norm = MinMaxNorm

_KNOWN = {
    "MaxNorm": MaxNorm, "MinMaxNorm": MinMaxNorm, "NonNeg": NonNeg, "UnitNorm": UnitNorm, "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm, "non_neg": NonNeg, "unit_norm": UnitNorm,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """Returns a constraint by name or configuration, or as it is; None for None."""
    return found(identifier, _KNOWN, "constraint")


__all__ = [
    "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "get", "max_norm", "min_max_norm", "non_neg",
    "unit_norm",
]  # fmt: skip
