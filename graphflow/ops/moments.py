"""Moments of each column's shares of rows, at one read of the rows: what a batch norm in training begins with."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.opdef import op
from graphflow.ops.rules import Array, rank_exactly
from graphflow.shapes import TensorShape


def _shape(node: Any) -> list[TensorShape]:
    rows, columns = rank_exactly(node, 0, 2, "x").as_list()
    shares = None if rows is None else -(-rows // node.attrs["rows"])
    return [TensorShape([shares, columns]), TensorShape([shares, columns]), TensorShape([shares, 1])]


@op("GraphflowShareMoments", "x:T", "means:T; squares:T; weights:T", "rows:int>=1; T:type{float32|float64}",
    infer=_shape, lowering="share_moments", differentiable=False)  # fmt: skip
def share_moments_op(x: Array, *, rows: int) -> tuple[Array, ...]:
    """Moments of shares of so many rows, which together are those of all rows.

    Returns:
      Of each share and column the mean, and the sum of squared differences from that over the number of all rows;
      and how much of all rows each share is.
    """
    starts = np.arange(0, len(x), rows)
    counts = np.minimum(rows, len(x) - starts)[:, np.newaxis]
    means, squares = (np.empty((len(starts), x.shape[1]), x.dtype) for _ in range(2))
    for share, start in enumerate(starts):
        own = x[start : start + rows]
        means[share] = np.mean(own, axis=0)
        squares[share] = np.sum(np.square(own - means[share]), axis=0) / x.dtype.type(len(x))
    return means, squares, (counts / max(1, len(x))).astype(x.dtype)
