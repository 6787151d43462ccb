"""Random programs: reference = optimised = compiled, with verification between all passes.

A failure prints the shrunken program as text that can be pasted into a test.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import graphflow.ops  # noqa: F401 - fills the registry
from graphflow import dtypes
from graphflow.compiler import CompileOptions, Executable
from graphflow.program import FEED, Program, ProgramBuilder, TensorType, Value, verify
from graphflow.shapes import TensorShape
from graphflow.testing import TestState, check_same, run_reference
from graphflow.text import program_text

UNARY = ["Neg", "Tanh", "Exp", "Abs", "Square", "Sigmoid", "Relu", "Floor", "Sign", "Softplus"]
BINARY = ["AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference"]
FOLDS = ["Sum", "Mean", "Max", "Min"]


@pytest.fixture(autouse=True)
def _verify_each_pass(monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, list[np.ndarray]]:
    """A program of some nodes over some feeds whose first dimension may be open, and arrays to feed."""
    builder = ProgramBuilder()
    values: list[Value] = []
    arrays = []
    rank = draw(st.integers(1, 3))
    sizes = [draw(st.sampled_from([1, 2, 3, 5, 17, 40])) for _ in range(rank)]
    for i in range(draw(st.integers(1, 3))):
        # Feeds are the full shape or stretch along some axes.
        own = [1 if draw(st.integers(0, 4)) == 0 else size for size in sizes][
            draw(st.integers(0, rank - 1)) :
        ]
        is_open = draw(st.booleans()) and len(own) == rank and own[0] == sizes[0]
        shape = TensorShape([None, *own[1:]] if is_open else own)
        attrs = {"dtype": dtypes.float32, "shape": shape, "feed": f"x{i}:0"}
        kind = TensorType(dtypes.float32, shape, shape)
        values.append(builder.node(FEED, (), attrs, types=(kind,), name=f"x{i}").outputs[0])
        seed = draw(st.integers(0, 1000))
        arrays.append(np.random.default_rng(seed).uniform(-2, 2, own).astype(np.float32))
    feeds = tuple(values)
    for _ in range(draw(st.integers(1, 12))):
        x = draw(st.sampled_from(values))
        dims = x.shape.as_tuple() or ()
        choice = draw(st.integers(0, 9))
        try:
            if choice <= 2:
                values.append(builder.emit(draw(st.sampled_from(UNARY)), x))
            elif choice <= 5:
                y = draw(st.sampled_from(values))
                values.append(builder.emit(draw(st.sampled_from(BINARY)), x, y))
            elif choice == 6 and dims:
                axes = draw(st.lists(st.integers(0, len(dims) - 1), min_size=1, unique=True))
                keep = draw(st.booleans())
                constant = builder.constant(np.array(sorted(axes), np.int32))
                values.append(builder.emit(draw(st.sampled_from(FOLDS)), x, constant, keep_dims=keep))
            elif choice == 7 and dims:
                perm = draw(st.permutations(range(len(dims))))
                values.append(builder.emit("Transpose", x, builder.constant(np.array(perm, np.int32))))
            elif choice == 8 and dims:
                y = draw(st.sampled_from(values))
                if y.shape.as_tuple() == dims:
                    axis = builder.constant(np.array(draw(st.integers(0, len(dims) - 1)), np.int32))
                    values.append(builder.emit("ConcatV2", x, y, axis, N=2))
            elif choice == 9 and len(dims) == 2:
                other = builder.emit("Transpose", x, builder.constant(np.array([1, 0], np.int32)))
                values.append(builder.emit("MatMul", x, other))
        except ValueError:
            continue  # sizes that do not fit
    fetches = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
    return Program(feeds, (*fetches, values[-1])), arrays


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_compiled_equals_reference(case):
    program, arrays = case
    note(program_text(program))
    verify(program)
    try:
        wanted = run_reference(program, arrays)
    except Exception:
        return  # an open size turned out not to fit
    executable = Executable(program, CompileOptions())
    state = TestState()
    check_same(run_reference(executable.program, arrays), wanted, 1e-4)
    bound = executable.bind(tuple(a.shape for a in arrays), state)
    first = bound.run(tuple(arrays), state)
    check_same(first, wanted, 2e-3)
    again = bound.run(tuple(arrays), state)
    for a, b in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes(), "the same run gave other bits"
    one = Executable(program, CompileOptions(threads=1)).bind(tuple(a.shape for a in arrays), state)
    for a, b in zip(first, one.run(tuple(arrays), state), strict=True):
        assert a.tobytes() == b.tobytes(), "one thread gave other bits"
