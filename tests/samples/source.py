"""Samples of the ops in `graphflow/ops/source.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from graphflow.shapes import TensorShape
from tests.samples import (
    COMPLEX,
    FLOATS,
    HALVES,
    INTEGERS,
    Sample,
    integers,
    samples,
    special,
    strided,
    uniform,
)


def vector(*values: int, dtype: type = np.int32) -> np.ndarray:
    return np.array(values, dtype)


@samples("Const")
def const() -> Iterator[Sample]:
    for value in (uniform(2, 3), integers(4), np.array(b"text", object), np.array(True), uniform(0, 2),
                  uniform(3, dtype=np.complex64), special()):  # fmt: skip
        yield Sample(attrs={"value": value, "dtype": dtypes.as_dtype(value.dtype)}, differentiable=False)


@samples("Identity", "Snapshot", "DeepCopy", "StopGradient", "PreventGradient", "GuaranteeConst")
def handed_through() -> Iterator[Sample]:
    yield Sample([uniform(2, 3)], differentiable=False)
    yield Sample([strided(uniform(2, 3))], differentiable=False, name="strided")
    yield Sample([np.array([b"a", b"b"], object)], differentiable=False, name="string")
    for dtype in (*INTEGERS, *HALVES, *COMPLEX, np.dtype(bool)):
        yield Sample([uniform(3, dtype=dtype)], differentiable=False)
    yield Sample([uniform(0, 2)], differentiable=False, name="empty")


@samples("GraphflowFence")
def fences() -> Iterator[Sample]:
    for dtype in (*FLOATS, *HALVES, *INTEGERS, *COMPLEX, np.dtype(bool)):
        yield Sample([uniform(5, 7, dtype=dtype)])


@samples("Identity", "Snapshot", "DeepCopy")
def differentiable_identity() -> Iterator[Sample]:
    yield Sample([uniform(2, 3, dtype=np.float64)])


@samples("IdentityN")
def identity_n() -> Iterator[Sample]:
    yield Sample([[uniform(2), uniform(3, 1, seed=2)]])
    yield Sample([[uniform(2), integers(3), np.array(b"x", object)]], differentiable=False, name="mixed")


@samples("PlaceholderWithDefault")
def placeholder_with_default() -> Iterator[Sample]:
    yield Sample([uniform(2, 3)], attrs={"shape": TensorShape([None, 3])})
    yield Sample([integers(2)], attrs={"shape": TensorShape(None)}, differentiable=False)


@samples("EnsureShape")
def ensure_shape() -> Iterator[Sample]:
    yield Sample([uniform(2, 3)], attrs={"shape": TensorShape([None, 3])})
    yield Sample([uniform(2, 3)], attrs={"shape": TensorShape([2, None])}, shapes={0: None}, name="unknown")


@samples("NoOp", "ControlTrigger")
def no_op() -> Iterator[Sample]:
    yield Sample(differentiable=False)


@samples("Fill")
def fill() -> Iterator[Sample]:
    yield Sample([vector(2, 3), uniform(dtype=np.float64)], constant=(0,), differentiable=(1,))
    yield Sample([vector(2, 3, dtype=np.int64), integers()], constant=(0,), differentiable=False)
    yield Sample([vector(0, 3), uniform()], constant=(0,), differentiable=False, name="empty")
    yield Sample([np.zeros(0, np.int32), uniform()], constant=(0,), differentiable=False, name="scalar")
    yield Sample([vector(2), np.array(b"a", object)], constant=(0,), differentiable=False, name="string")


@samples("Empty")
def empty() -> Iterator[Sample]:
    yield Sample(
        [vector(2, 3)], attrs={"dtype": dtypes.float32, "init": True}, constant=(0,), differentiable=False
    )


@samples("ZerosLike", "OnesLike")
def like() -> Iterator[Sample]:
    for dtype in (*FLOATS, *INTEGERS, *HALVES, *COMPLEX, np.dtype(bool)):
        yield Sample([uniform(2, 3, dtype=dtype)], differentiable=False)
    yield Sample([special()], differentiable=False, name="special")
    yield Sample([uniform(2, 3)], differentiable=False, shapes={0: [None, 3]}, name="unknown")
    yield Sample([uniform(0)], differentiable=False, name="empty")


@samples("ZerosLike")
def zeros_like_strings() -> Iterator[Sample]:
    yield Sample([np.array([b"a"], object)], differentiable=False)


@samples("Range")
def range_() -> Iterator[Sample]:
    def three(start: float, limit: float, delta: float, dtype: type, name: str = "") -> Sample:
        values = [np.array(value, dtype) for value in (start, limit, delta)]
        return Sample(values, constant=(0, 1, 2), differentiable=False, name=name)

    yield three(0, 7, 1, np.int32)
    yield three(3, -8, -3, np.int64, "down")
    yield three(5, 5, 1, np.int32, "none")
    yield three(0, 1, 0.3, np.float32, "float")
    yield three(2, 0, -0.5, np.float64, "float_down")


@samples("LinSpace")
def lin_space() -> Iterator[Sample]:
    for dtype in FLOATS:
        yield Sample(
            [np.array(-1, dtype), np.array(2, dtype), np.array(5, np.int32)],
            constant=(2,),
            differentiable=False,
        )
    yield Sample(
        [np.array(3, np.float32), np.array(9, np.float32), np.array(1, np.int64)],
        constant=(2,),
        differentiable=False,
    )


@samples("Shape", "Size")
def shapes() -> Iterator[Sample]:
    for out_type in (dtypes.int32, dtypes.int64):
        yield Sample([uniform(2, 3)], attrs={"out_type": out_type}, differentiable=False)
        yield Sample([uniform(2, 3)], attrs={"out_type": out_type}, shapes={0: [None, 3]}, differentiable=False,
                     name="unknown")  # fmt: skip
    yield Sample([uniform()], differentiable=False, name="scalar")
    yield Sample([np.array([b"a"], object)], differentiable=False, name="string")
    yield Sample([uniform(0, 2)], differentiable=False, name="empty")


@samples("Rank")
def rank() -> Iterator[Sample]:
    yield Sample([uniform(2, 3)], differentiable=False)
    yield Sample([uniform(2, 3)], shapes={0: None}, differentiable=False, name="unknown")
    yield Sample([uniform()], differentiable=False, name="scalar")


@samples("ShapeN")
def shape_n() -> Iterator[Sample]:
    yield Sample([[uniform(2, 3), uniform(4)]], differentiable=False)
    yield Sample([[uniform(2, 3), uniform()]], attrs={"out_type": dtypes.int64}, shapes={0: None},
                 differentiable=False)  # fmt: skip


@samples("BroadcastGradientArgs")
def broadcast_gradient_args() -> Iterator[Sample]:
    for a, b in (
        ((2, 3), (3,)),
        ((2, 1), (2, 3)),
        ((1, 1), (1, 1)),
        ((1,), (2, 3)),
        ((), (2,)),
        ((2, 1), (1, 1)),
    ):
        yield Sample([vector(*a), vector(*b)], differentiable=False, name=f"{a}_{b}")


@samples("BroadcastArgs")
def broadcast_args() -> Iterator[Sample]:
    yield Sample([vector(2, 1), vector(3)], differentiable=False)
    yield Sample([vector(2, 1, dtype=np.int64), vector(dtype=np.int64)], differentiable=False)
