"""`keras.regularizers`: penalties on weights."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras.identifiers import found
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import square
from graphflow.ops.reduction import reduce_sum


class Regularizer:
    """A function of a weight that returns a scalar penalty."""

    def __call__(self, x: Any) -> Any:
        """Returns the penalty."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """Makes a regularizer from what `get_config` returned."""
        return cls(**config)


class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x ** 2)`."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = float(l1)
        self.l2 = float(l2)

    def __call__(self, x: Any) -> Any:
        """Returns the penalty, a scalar of the dtype of `x`."""
        terms: list[Tensor] = []
        if self.l1:
            terms.append(self.l1 * reduce_sum(absolute(x)))
        if self.l2:
            terms.append(self.l2 * reduce_sum(square(x)))
        return sum(terms[1:], terms[0]) if terms else None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"l1": self.l1, "l2": self.l2}


def l1(l: float = 0.01) -> L1L2:  # noqa: E741 - Keras's name
    """Returns `l * sum(|x|)` as a regularizer."""
    return L1L2(l1=l)


def l2(l: float = 0.01) -> L1L2:  # noqa: E741 - Keras's name
    """Returns `l * sum(x ** 2)` as a regularizer."""
    return L1L2(l2=l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Returns the sum of both as a regularizer."""
    return L1L2(l1=l1, l2=l2)


_KNOWN = {"L1L2": L1L2, "l1": L1L2(l1=0.01), "l2": L1L2(l2=0.01), "l1_l2": L1L2(0.01, 0.01)}


def get(identifier: Any) -> Any:
    """Returns a regularizer by name or configuration, or as it is; None for None."""
    return found(identifier, _KNOWN, "regularizer")


__all__ = ["L1L2", "Regularizer", "get", "l1", "l1_l2", "l2"]
