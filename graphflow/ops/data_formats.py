"""Axes and sizes of one order of axes written for another, as graphs hold them whose layouts TensorFlow has changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.opdef import op
from graphflow.ops.rules import Array, refuse, same_as_first
from graphflow.shapes import TensorShape

_ATTRS = "T:type{int32|int64}=int32; src_format:string=NHWC; dst_format:string=NCHW"


def _checked(attrs: Any) -> tuple[str, str]:
    source, target = str(attrs["src_format"]), str(attrs["dst_format"])
    if len(source) not in (4, 5) or len(source) != len(set(source)) or sorted(source) != sorted(target):
        raise ShapeError(
            f"src_format and dst_format must be orders of the same 4 or 5 axes, are {source!r} and {target!r}"
        )
    return source, target


def _map_shape(node: Any) -> TensorShape:
    _checked(node.attrs)
    return same_as_first(node)


@op("DataFormatDimMap", "x:T", "y:T", _ATTRS, infer=_map_shape, differentiable=False)
def data_format_dim_map_op(x: Array, *, src_format: str = "NHWC", dst_format: str = "NCHW") -> Array:
    """Where the axes x of one order lie in the other."""
    rank = len(src_format)
    if x.size and not (-rank <= x.min() and x.max() < rank):
        raise refuse(f"the axes x must lie in [{-rank}, {rank}), are {x.ravel()[:10].tolist()}")
    table = np.array([dst_format.index(axis) for axis in src_format], x.dtype)
    return np.asarray(table[x % rank if x.size else x.astype(np.int64)])


def _permuted_shape(node: Any) -> TensorShape:
    source, _ = _checked(node.attrs)
    shape: TensorShape = node.inputs[0].shape
    if shape.rank is None:
        return shape
    sizes = shape.as_list()
    if shape.rank not in (1, 2) or (sizes[0] is not None and sizes[0] not in (len(source), len(source) - 2)):
        raise ShapeError(
            f"x must be a vector or matrix of {len(source) - 2} or {len(source)} rows, has shape {shape}"
        )
    if shape.rank == 2 and sizes[1] not in (None, 2):
        raise ShapeError(f"a matrix x must have 2 columns, has shape {shape}")
    return shape


def _order(rows: int, source: str, target: str) -> list[int]:
    if rows == len(source) - 2:  # of the image alone
        source, target = (text.replace("N", "").replace("C", "") for text in (source, target))
    if rows != len(source):
        raise refuse(f"x must have {len(source)} rows, has {rows}")
    return [source.index(axis) for axis in target]


@op("DataFormatVecPermute", "x:T", "y:T", _ATTRS, infer=_permuted_shape, differentiable=False)
def data_format_vec_permute_op(x: Array, *, src_format: str = "NHWC", dst_format: str = "NCHW") -> Array:
    """What x says of each axis, in the other order."""
    if x.ndim not in (1, 2):
        raise refuse(f"x must be a vector or a matrix, has shape {list(x.shape)}")
    return x[_order(len(x), src_format, dst_format)]
