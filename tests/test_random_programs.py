"""Random programs: reference = optimised = compiled, with verification between all passes.

A failure prints the shrunken program as text that can be pasted into a test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import graphflow.ops  # noqa: F401 - fills the registry
from graphflow import dtypes
from graphflow.compiler import CompileOptions, Executable
from graphflow.opdef import get_op
from graphflow.program import FEED, Program, ProgramBuilder, TensorType, Value, verify
from graphflow.shapes import TensorShape
from graphflow.testing import TestState, check_same, run_reference
from graphflow.text import program_text

UNARY = ["Neg", "Tanh", "Exp", "Abs", "Square", "Sigmoid", "Relu", "Floor", "Sign", "Softplus"]
LARGEST_INDEX = 6
Dims = tuple[int | None, ...]
BINARY = ["AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference"]
FOLDS = ["Sum", "Mean", "Max", "Min"]


@pytest.fixture(autouse=True)
def _verify_each_pass(monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")


def _feed(draw: st.DrawFn, builder: ProgramBuilder, name: str, sizes: list[int], array: np.ndarray) -> Value:
    is_open = draw(st.booleans()) and bool(sizes)
    shape = TensorShape([None, *sizes[1:]] if is_open else sizes)
    dtype = dtypes.as_dtype(array.dtype)
    attrs = {"dtype": dtype, "shape": shape, "feed": f"{name}:0"}
    return builder.node(FEED, (), attrs, types=(TensorType(dtype, shape, shape),), name=name).outputs[0]


def _ints(builder: ProgramBuilder, numbers: Any) -> Value:
    return builder.constant(np.array(numbers, np.int32))


def _elementwise(draw: st.DrawFn, builder: ProgramBuilder, values: list[Value]) -> Value:
    x = draw(st.sampled_from(values[-6:]))
    if draw(st.booleans()):
        return builder.emit(draw(st.sampled_from(UNARY)), x)
    return builder.emit(draw(st.sampled_from(BINARY)), x, draw(st.sampled_from(values)))


def _fold(draw: st.DrawFn, builder: ProgramBuilder, x: Value, dims: Dims) -> Value:
    axes = draw(st.lists(st.integers(0, len(dims) - 1), min_size=1, unique=True))
    return builder.emit(
        draw(st.sampled_from(FOLDS)), x, _ints(builder, sorted(axes)), keep_dims=draw(st.booleans())
    )


def _row(draw: st.DrawFn, builder: ProgramBuilder, x: Value, dims: Dims) -> Value:
    kind = draw(st.sampled_from(["Softmax", "LogSoftmax", "ArgMax", "Cumsum", "Cumprod"]))
    if kind in ("Softmax", "LogSoftmax"):
        return builder.emit(kind, x)
    axis = _ints(builder, draw(st.integers(0, len(dims) - 1)))
    if kind == "ArgMax":
        return builder.emit("Cast", builder.emit(kind, x, axis), DstT=dtypes.float32)
    return builder.emit(kind, x, axis, exclusive=draw(st.booleans()), reverse=draw(st.booleans()))


def _layout(draw: st.DrawFn, builder: ProgramBuilder, x: Value, dims: Dims) -> Value:
    rank = len(dims)
    kind = draw(
        st.sampled_from(["Transpose", "ReverseV2", "Tile", "Pad", "ExpandDims", "Reshape", "BroadcastTo"])
    )
    if kind == "Transpose":
        return builder.emit(kind, x, _ints(builder, draw(st.permutations(range(rank)))))
    if kind == "ReverseV2":
        return builder.emit(kind, x, _ints(builder, draw(st.lists(st.integers(0, rank - 1), unique=True))))
    if kind == "Tile":
        return builder.emit(kind, x, _ints(builder, draw(st.tuples(*[st.integers(1, 2)] * rank))))
    if kind == "Pad":
        return builder.emit(
            kind, x, _ints(builder, [draw(st.tuples(*[st.integers(0, 2)] * 2)) for _ in dims])
        )
    if kind == "ExpandDims":
        return builder.emit(kind, x, _ints(builder, draw(st.integers(0, rank))))
    if kind == "Reshape":
        return builder.emit(
            kind, x, _ints(builder, [-1, *(dims[1:] if draw(st.booleans()) and None not in dims[1:] else [])])
        )
    return builder.emit(
        kind, x, _ints(builder, [2, *[draw(st.integers(1, 3)) if d is None else d for d in dims]])
    )


def _slice(draw: st.DrawFn, builder: ProgramBuilder, x: Value, dims: Dims) -> Value:
    begin, end, step = [], [], []
    for size in dims:
        limit = size or 2
        begin.append(draw(st.integers(0, limit - 1)))
        end.append(draw(st.integers(begin[-1], limit)) + 1)
        step.append(draw(st.sampled_from([1, 1, 1, 2])))
    masks = {"begin_mask": draw(st.integers(0, 3)), "end_mask": draw(st.integers(0, 3))}
    masks["shrink_axis_mask"] = draw(st.sampled_from([0, 0, 1, 2 if len(dims) > 1 else 0]))
    bounds = [_ints(builder, v) for v in (begin, end, step)]
    kept = {"ellipsis_mask": 0, "new_axis_mask": 0, **masks}
    y = builder.emit("StridedSlice", x, *bounds, **kept)
    if draw(st.booleans()) or None in dims:
        return y
    return builder.emit("StridedSliceGrad", _ints(builder, dims), *bounds, builder.emit("Square", y), **kept)


def _parts(draw: st.DrawFn, builder: ProgramBuilder, x: Value, dims: Dims) -> list[Value]:
    axis = draw(st.integers(0, len(dims) - 1))
    size = dims[axis]
    if size is None or size > 8:
        return []
    T = {"T": x.dtype}
    if draw(st.booleans()):
        node = builder.node(get_op("Unpack"), (x,), {"num": size, "axis": axis, **T})
    else:
        node = builder.node(get_op("Split"), (_ints(builder, axis), x), {"num_split": size, **T})
    return list(node.outputs)[:3]


def _joined(
    draw: st.DrawFn, builder: ProgramBuilder, values: list[Value], x: Value, dims: Dims
) -> Value | None:
    y = draw(st.sampled_from(values))
    if y.shape.as_tuple() != dims:
        return None
    axis = draw(st.integers(0, len(dims) - 1))
    if draw(st.booleans()):
        return builder.emit("Pack", x, y, N=2, axis=axis)
    return builder.emit("ConcatV2", x, y, _ints(builder, axis), N=2)


def _by_index(draw: st.DrawFn, builder: ProgramBuilder, indices: list[Value], x: Value, dims: Dims) -> Value:
    index = draw(st.sampled_from(indices))
    kind = draw(st.sampled_from(["GatherV2", "OneHot", "UnsortedSegmentSum", "Sparse"]))
    if kind == "GatherV2":
        axes = [axis for axis, size in enumerate(dims) if size is None or size > LARGEST_INDEX]
        axis = _ints(builder, draw(st.sampled_from(axes)) if axes else 0)
        return builder.emit(kind, x, index, axis, Taxis=dtypes.int32)
    if kind == "OneHot":
        on, off = builder.constant(np.float32(2)), builder.constant(np.float32(-1))
        return builder.emit(
            kind, index, _ints(builder, LARGEST_INDEX), on, off, axis=draw(st.sampled_from([-1, 0]))
        )
    if kind == "UnsortedSegmentSum":
        return builder.emit(kind, x, index, _ints(builder, LARGEST_INDEX + 1))
    node = builder.emit("SparseSoftmaxCrossEntropyWithLogits", x, index).node
    return node.outputs[draw(st.integers(0, 1))]


def _drawn(draw: st.DrawFn, builder: ProgramBuilder, x: Value, dims: Dims) -> Value:
    if draw(st.booleans()):
        shape = builder.emit("Shape", x, out_type=dtypes.int32)
    else:
        shape = _ints(builder, [draw(st.integers(1, 9)), *[1 if d is None else d for d in dims[1:]]])
    kind = draw(st.sampled_from(["RandomUniform", "RandomStandardNormal", "Fill"]))
    if kind == "Fill":
        return builder.emit(kind, shape, builder.constant(np.float32(draw(st.sampled_from([0.0, 1.5])))))
    attrs = {"seed": draw(st.integers(1, 9)), "seed2": 5, "dtype": dtypes.float32, "T": dtypes.int32}
    return builder.node(get_op(kind), (shape,), attrs, name=f"random{draw(st.integers(0, 10**6))}").outputs[0]


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, list[np.ndarray]]:
    """A program of some nodes over some feeds whose first dimension may be open, and arrays to feed."""
    builder = ProgramBuilder()
    values: list[Value] = []
    indices: list[Value] = []
    arrays = []
    rank = draw(st.integers(1, 3))
    sizes = [draw(st.sampled_from([1, 2, 3, 5, 17, 40])) for _ in range(rank)]
    for i in range(draw(st.integers(1, 3))):
        # Feeds are the full shape or stretch along some axes.
        own = [1 if draw(st.integers(0, 4)) == 0 else size for size in sizes][
            draw(st.integers(0, rank - 1)) :
        ]
        rng = np.random.default_rng(draw(st.integers(0, 1000)))
        arrays.append(rng.uniform(-2, 2, own).astype(np.float32))
        values.append(_feed(draw, builder, f"x{i}", own, arrays[-1]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    arrays.append(rng.integers(0, LARGEST_INDEX, sizes[:1]).astype(np.int32))
    indices.append(_feed(draw, builder, "index", sizes[:1], arrays[-1]))
    feeds = (*values, *indices)
    for _ in range(draw(st.integers(1, 6)) * 4):
        x = draw(st.sampled_from(values[-6:]))
        dims = x.shape.as_tuple() or ()
        choice = draw(st.integers(0, 15)) if dims else 0
        try:
            made: Value | list[Value] | None
            if choice <= 5:
                made = _elementwise(draw, builder, values)
            elif choice <= 7:
                made = _fold(draw, builder, x, dims)
            elif choice == 8:
                made = _row(draw, builder, x, dims)
            elif choice == 9:
                made = _layout(draw, builder, x, dims)
            elif choice == 10:
                made = _slice(draw, builder, x, dims)
            elif choice == 11:
                made = _parts(draw, builder, x, dims)
            elif choice == 12:
                made = _joined(draw, builder, values, x, dims)
            elif choice == 13:
                made = _by_index(draw, builder, indices, x, dims)
            elif choice == 14:
                made = _drawn(draw, builder, x, dims)
            elif len(dims) == 2:
                other = builder.emit("Transpose", x, _ints(builder, [1, 0]))
                made = builder.emit("MatMul", x, other)
            else:
                made = None
        except ValueError:
            continue  # sizes that do not fit
        values += made if isinstance(made, list) else [made] if made is not None else []
        if len(values) > 60 or sum(v.shape.num_elements() or 0 for v in values) > 10**6:
            break
    fetches = draw(st.lists(st.sampled_from(values[-12:]), min_size=1, max_size=4, unique=True))
    return Program(feeds, (*fetches, values[-1])), arrays


def check_program(program: Program, arrays: list[np.ndarray]) -> None:
    """Raises AssertionError unless all ways to run a program agree."""
    verify(program)
    try:
        wanted = run_reference(program, arrays)
    except Exception:
        return  # an open size turned out not to fit
    shapes = tuple(a.shape for a in arrays)
    executable = Executable(program, CompileOptions())
    check_same(run_reference(executable.program, arrays), wanted, 1e-4)
    bound = executable.bind(shapes, TestState())
    first = bound.run(tuple(arrays), TestState())
    check_same(first, wanted, 2e-3)
    for a, b in zip(first, bound.run(tuple(arrays), TestState()), strict=True):
        assert a.tobytes() == b.tobytes(), "the same run gave other bits"
    one = Executable(program, CompileOptions(threads=1)).bind(shapes, TestState())
    for a, b in zip(first, one.run(tuple(arrays), TestState()), strict=True):
        assert a.tobytes() == b.tobytes(), "one thread gave other bits"


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_compiled_equals_reference(case):
    program, arrays = case
    note(program_text(program))
    check_program(program, arrays)
