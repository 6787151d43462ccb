"""The oracle matrix: every op type against its NumPy body, from one table of samples (`tests/samples`).

For every sample: the static shape contains the actual one, with constants known and with everything fed; the
reference run and the compiled session give what the body gives; what was written as protobuf comes back the same; the
gradient, and its gradient, agree with central differences of random projections in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphflow.ops  # noqa: F401 - registers the ops
from graphflow import dtypes, reference
from graphflow.dtypes import as_dtype
from graphflow.gradients import gradients, indexed_slices_to_tensor
from graphflow.graph import Graph, IndexedSlices, Operation, Tensor
from graphflow.opdef import OpDef, constant, emit, emit_operation, gradient_rule, registered_ops
from graphflow.program import freeze
from graphflow.session import Session, SessionState
from graphflow.shapes import TensorShape
from tests.samples import Array, Sample, all_samples

TABLE = all_samples()
OPS = registered_ops()

QUEUE_OPS = (
    "FIFOQueueV2", "PaddingFIFOQueueV2", "PriorityQueueV2", "QueueCloseV2", "QueueDequeueManyV2",
    "QueueDequeueUpToV2", "QueueDequeueV2", "QueueEnqueueManyV2", "QueueEnqueueV2", "QueueIsClosedV2", "QueueSizeV2",
    "RandomShuffleQueueV2",
)  # fmt: skip
STAGING_OPS = ("Stage", "StageClear", "StagePeek", "StageSize", "Unstage")
SESSION_TENSOR_OPS = ("DeleteSessionTensor", "GetSessionHandle", "GetSessionTensor")
READER_OPS = (
    "FixedLengthRecordReaderV2", "IdentityReaderV2", "ReaderNumRecordsProducedV2", "ReaderNumWorkUnitsCompletedV2",
    "ReaderReadUpToV2", "ReaderReadV2", "ReaderResetV2", "ReaderRestoreStateV2", "ReaderSerializeStateV2",
    "TFRecordReaderV2", "TextLineReaderV2", "WholeFileReaderV2",
)  # fmt: skip
TABLE_OPS = (
    "HashTableV2", "InitializeTableFromTextFileV2", "InitializeTableV2", "LookupTableExportV2", "LookupTableFindV2",
    "LookupTableImportV2", "LookupTableInsertV2", "LookupTableRemoveV2", "LookupTableSizeV2",
    "MutableDenseHashTableV2", "MutableHashTableOfTensorsV2", "MutableHashTableV2",
)  # fmt: skip

# What has no meaning outside a run of its own kind is tested where it lives.
NOT_IN_THE_MATRIX = {
    "Placeholder": "it is what every other test feeds",
    "PlaceholderV2": "the same under its old name",
    "GraphflowFeed": "it only stands in programs, and in every one that is fed: tests/test_program.py",
    "GraphflowVariable": "likewise, in every program that reads a variable",
    **dict.fromkeys(
        (
            "If",
            "StatelessIf",
            "Case",
            "StatelessCase",
            "While",
            "StatelessWhile",
            "PartitionedCall",
            "StatefulPartitionedCall",
            "GraphflowCase",
            "GraphflowStatefulCase",
            "GraphflowWhile",
            "GraphflowStatefulWhile",
        ),
        "they hold functions or programs: tests/test_control_flow.py",
    ),
    **dict.fromkeys((name for name in OPS if "TensorList" in name), "lists: tests/test_tensor_lists.py"),
    **dict.fromkeys(
        ("OptionalFromValue", "OptionalGetValue", "OptionalHasValue", "OptionalNone"),
        "no array holds their values: tests/test_optional.py",
    ),
    **dict.fromkeys(
        ("GraphflowLoopRow", "GraphflowSetLoopRow", "GraphflowAssumed"),
        "they only stand in loops that are being lowered: tests/test_native_loops.py",
    ),
    **dict.fromkeys(
        (name for name in OPS if "Dataset" in name or "Iterator" in name or name == "DummySeedGenerator"),
        "input pipelines: tests/data",
    ),
    **dict.fromkeys(
        ("GraphflowTakeCounter", "GraphflowGiveCounter"),
        "they are between a loop and its session: tests/test_native_loops.py",
    ),
    "GraphflowCheck": "it gives nothing: tests/test_native_loops.py",
    "GraphflowUnread": "it takes a list: tests/test_array_misuse.py",
    "GraphflowWritten": "it gives nothing: tests/test_array_misuse.py",
    "GraphflowVariableOrZeros": "likewise: tests/test_control_flow.py",
    "GraphflowVariableIsInitialized": "it asks the session: tests/test_variables.py",
    **dict.fromkeys((name for name in OPS if "Accumulator" in name), "likewise: tests/test_accumulators.py"),
    **dict.fromkeys((name for name in OPS if name.startswith("Barrier")), "likewise: tests/test_barriers.py"),
    **dict.fromkeys(
        ("LearnedUnigramCandidateSampler", "ThreadUnsafeUnigramCandidateSampler"),
        "they learn from run to run: tests/test_seeds_against_tensorflow.py",
    ),
    "DestroyResourceOp": "likewise: tests/test_accumulators.py",
    **dict.fromkeys(QUEUE_OPS, "queues live in a session: tests/test_queues.py"),
    **dict.fromkeys(STAGING_OPS, "likewise staging areas: tests/contrib/test_rarer_parts.py"),
    **dict.fromkeys(
        (name for name in OPS if "TensorsMap" in name),
        "likewise maps of sparse tensors: tests/serialization/test_graphs_of_tensorflow.py",
    ),
    **dict.fromkeys(SESSION_TENSOR_OPS, "they say what a session keeps: tests/test_session.py"),
    **dict.fromkeys(READER_OPS, "likewise readers: tests/test_readers.py"),
    **dict.fromkeys(TABLE_OPS, "likewise tables: tests/test_lookup.py"),
}
CASES = [
    pytest.param(op_type, sample, id=f"{op_type}-{i}-{sample.name}" if sample.name else f"{op_type}-{i}")
    for op_type, listed in sorted(TABLE.items())
    for i, sample in enumerate(listed)
]
STATEFUL = [case for case in CASES if OPS[case.values[0]].reads]
RANDOM = [case for case in CASES if OPS[case.values[0]].effects == "random"]
PURE = [case for case in CASES if OPS[case.values[0]].effects == ""]
DIFFERENTIABLE = [
    case
    for case in PURE
    if case.values[1].differentiable is not False
    and not case.values[1].narrow
    and gradient_rule(case.values[0]) is not None
]


def over(cases: Sequence[Any]) -> Callable[[Callable[[str, Sample], None]], Callable[[str], None]]:
    """Makes one test for each op type of a check for each sample: thousands of tests cost more than what they do."""
    of_type: dict[str, list[Any]] = {}
    for case in cases:
        of_type.setdefault(case.values[0], []).append(case)

    def decorate(check: Callable[[str, Sample], None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("op_type", of_type)
        @functools.wraps(check, assigned=("__module__", "__name__", "__qualname__", "__doc__"), updated=())
        def test(op_type: str) -> None:
            failed = []
            for case in of_type[op_type]:
                try:
                    check(*case.values)
                except Exception as error:
                    error.add_note(f"the sample is {case.id}")
                    failed.append(error)
            if failed:
                raise ExceptionGroup(f"{len(failed)} of {len(of_type[op_type])} samples of {op_type}", failed)

        del test.__wrapped__  # pytest would take its arguments for fixtures
        return test

    return decorate


# Relative and absolute difference allowed between a body and compiled code.
TOLERANCE = {"float16": (2e-3, 2e-3), "bfloat16": (2e-2, 2e-2), "float32": (3e-6, 1e-6), "float64": (1e-12, 1e-13),
             "complex64": (3e-6, 1e-6), "complex128": (1e-12, 1e-13)}  # fmt: skip


def test_every_op_has_samples() -> None:
    missing = sorted(set(OPS) - set(TABLE) - set(NOT_IN_THE_MATRIX) - {n for n in OPS if n.startswith("_")})
    assert not missing, f"{len(missing)} op types have no samples: {', '.join(missing)}"


def test_every_op_says_whether_it_is_differentiable() -> None:
    silent = [
        name
        for name, op in OPS.items()
        if op.differentiable and op.outputs and gradient_rule(name) is None and name not in NOT_IN_THE_MATRIX
    ]
    assert not silent, f"neither a gradient nor differentiable=False: {', '.join(sorted(silent))}"


def nested(op: OpDef, flat: Sequence[Any], sample: Sample) -> list[Any]:
    """Flat values grouped as the sample's inputs are."""
    values = iter(flat)
    return [
        [next(values) for _ in item] if isinstance(item, list) else next(values) for item in sample.inputs
    ]


class Built:
    """A sample as one operation of a graph of its own; values at the places of handles are those of `variables`."""

    def __init__(self, op_type: str, sample: Sample, *, known: bool = True) -> None:
        self.op_def = OPS[op_type]
        self.arrays = sample.flat()
        self.graph = Graph()
        self.feeds: dict[Tensor, Array] = {}
        self.variables: dict[str, Array] = {}
        with self.graph.as_default():
            tensors = [self._input(i, array, sample, known) for i, array in enumerate(self.arrays)]
            emit_operation(self.op_def, nested(self.op_def, tensors, sample), dict(sample.attrs), "tested")
            self.operation: Operation = self.graph.get_operation_by_name("tested")
        self.tensors = tensors

    def _input(self, i: int, array: Array, sample: Sample, known: bool) -> Tensor:
        if i in self.op_def.reads:
            self.variables[f"v{i}"] = array
            handle: Tensor = emit.VarHandleOp(
                dtype=as_dtype(array.dtype), shape=TensorShape(array.shape), shared_name=f"v{i}", name=f"v{i}"
            )
            return handle
        if known and i in sample.constant:
            return constant(array, as_dtype(array.dtype))
        shape = TensorShape(sample.shapes.get(i, array.shape)) if known else TensorShape(None)
        dtype = as_dtype(array.dtype)
        op_def = OPS["Placeholder"]
        tensor: Tensor = emit_operation(op_def, (), {"dtype": dtype, "shape": shape}, f"x{i}")
        self.feeds[tensor] = array
        return tensor


def body_results(op_type: str, sample: Sample) -> list[Array]:
    built = Built(op_type, sample)
    with np.errstate(all="ignore"):
        return built.op_def.run(sample.flat(), built.operation.attrs)


def assert_same(actual: Array, expected: Array, sample: Sample, what: str) -> None:
    if expected.dtype.names:  # a quantized type: a session gives the integers
        expected = expected[expected.dtype.names[0]]
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, not {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if not sample.exact:
        return
    if expected.dtype == object or expected.dtype.kind in "iub":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    rtol, atol = TOLERANCE[expected.dtype.name]
    rtol = rtol if sample.rtol is None else max(rtol, sample.rtol)
    atol = atol if sample.atol is None else max(atol, sample.atol)
    if expected.dtype.kind not in "fc":
        actual, expected = actual.astype(np.float32), expected.astype(np.float32)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True, err_msg=what)


@over(PURE)
def test_shape_rule(op_type: str, sample: Sample) -> None:
    results = body_results(op_type, sample)
    for known in (True, False):
        built = Built(op_type, sample, known=known)
        for output, result in zip(built.operation.outputs, results, strict=True):
            assert output.shape.is_compatible_with(result.shape), (
                f"{'known' if known else 'fed'}: the rule says {output.shape}, the body gives {result.shape}"
            )
            assert output.dtype.numpy == result.dtype


def run_reference(built: Built, fetches: Sequence[Tensor]) -> list[Array]:
    feeds = list(built.feeds)
    program = freeze(fetches or [built.operation], feeds)
    return reference.run(program, [built.feeds[t] for t in feeds], SessionState())


@over(PURE)
def test_reference(op_type: str, sample: Sample) -> None:
    built = Built(op_type, sample)
    actual = run_reference(built, built.operation.outputs)
    for i, (mine, body) in enumerate(zip(actual, body_results(op_type, sample), strict=True)):
        np.testing.assert_array_equal(mine, body, err_msg=f"output {i}")
        assert mine.dtype == body.dtype


@over(PURE)
def test_compiled(op_type: str, sample: Sample) -> None:
    expected = body_results(op_type, sample)
    for known in (True, False):
        built = Built(op_type, sample, known=known)
        with Session(graph=built.graph) as session:
            if not built.operation.outputs:
                session.run(built.operation, built.feeds)
                continue
            actual = session.run(list(built.operation.outputs), built.feeds)
        for i, (mine, body) in enumerate(zip(actual, expected, strict=True)):
            assert_same(as_array(mine, body), body, sample, f"output {i}, {'known' if known else 'all fed'}")


def as_array(value: Any, like: Array) -> Array:
    return np.asarray(value, object) if like.dtype == object else np.asarray(value)


@over(PURE)
def test_protobuf_round_trip(op_type: str, sample: Sample) -> None:
    from graphflow.serialization.graph_def import graph_to_graph_def
    from graphflow.serialization.graph_import import import_graph_def

    built = Built(op_type, sample)
    definition = graph_to_graph_def(built.graph).SerializeToString()
    again = Graph()
    with again.as_default():
        import_graph_def(definition, name="")
    mine, theirs = again.get_operation_by_name("tested"), built.operation
    assert mine.type == theirs.type
    assert [t.name for t in mine.inputs] == [t.name for t in theirs.inputs]
    assert [(t.dtype, t.shape) for t in mine.outputs] == [(t.dtype, t.shape) for t in theirs.outputs]
    assert set(mine.attrs) == set(theirs.attrs)
    for name, value in theirs.attrs.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(mine.attrs[name], value)
        else:
            assert mine.attrs[name] == value, name


@over(STATEFUL)
def test_variables(op_type: str, sample: Sample) -> None:
    built = Built(op_type, sample)
    op_def, operation = built.op_def, built.operation
    with np.errstate(all="ignore"):
        expected = op_def.run(sample.flat(), operation.attrs)
    states = {f"v{i}": value for i, value in zip(op_def.updates, expected, strict=False)}
    states = {**built.variables, **states}
    outputs = expected[len(op_def.updates) :]

    store = SessionState()
    for name, array in built.variables.items():
        store.set(name, array)
    feeds = list(built.feeds)
    program = freeze(operation.outputs or [operation], feeds)
    actual = reference.run(program, [built.feeds[t] for t in feeds], store)
    for mine, body in zip(actual, outputs, strict=False):
        np.testing.assert_array_equal(mine, body)
    for name, body in states.items():
        np.testing.assert_array_equal(store.get(name), body, err_msg=f"reference: {name}")

    handles = {t.op.name: t for t in built.tensors if t.op.type == "VarHandleOp"}
    with built.graph.as_default():
        assigns = [emit.AssignVariableOp(handles[name], array) for name, array in built.variables.items()]
        reads = {
            name: emit.ReadVariableOp(handles[name], dtype=handles[name].handle_dtype) for name in states
        }
    with Session(graph=built.graph) as session:
        session.run(assigns)
        if operation.outputs:
            actual = session.run(list(operation.outputs), built.feeds)
        else:
            session.run(operation, built.feeds)
        values = session.run(reads)
    for i, body in enumerate(outputs):
        assert_same(as_array(actual[i], body), body, sample, f"output {i}")
    for name, body in states.items():
        assert_same(values[name], body, sample, name)


@over(RANDOM)
def test_random_numbers(op_type: str, sample: Sample) -> None:
    built = Built(op_type, sample)
    outputs = list(built.operation.outputs)
    feeds = list(built.feeds)
    state = SessionState()
    program = freeze(outputs, feeds)
    with Session(graph=built.graph) as session:
        for turn in range(2):
            expected = reference.run(program, [built.feeds[t] for t in feeds], state)
            actual = session.run(outputs, built.feeds)
            for output, mine, body in zip(outputs, actual, expected, strict=True):
                assert output.shape.is_compatible_with(mine.shape)
                assert (mine.shape, mine.dtype) == (body.shape, body.dtype)
                if sample.attrs.get("seed") or sample.attrs.get("seed2"):
                    np.testing.assert_allclose(
                        mine.astype(np.float64),
                        body.astype(np.float64),
                        rtol=1e-5,
                        atol=1e-6,
                        err_msg=f"turn {turn}",
                    )


# ---------------------------------------------------------------------------- gradients


WIDE = {"float16": np.float64, "bfloat16": np.float64, "float32": np.float64, "complex64": np.complex128}
WIDE_DTYPES = {dtypes.float32: dtypes.float64, dtypes.complex64: dtypes.complex128}


def widen(array: Array) -> Array:
    return array.astype(WIDE.get(array.dtype.name, array.dtype))


def wide_sample(sample: Sample) -> Sample:
    """The sample in double precision."""
    inputs = [[widen(a) for a in item] if isinstance(item, list) else widen(item) for item in sample.inputs]
    attrs = {
        name: WIDE_DTYPES.get(value, value) if isinstance(value, dtypes.DType) else value
        for name, value in sample.attrs.items()
    }
    return Sample(inputs, attrs, sample.differentiable, sample.second, sample.constant, sample.shapes)


def is_inexact(array: Array) -> bool:
    return array.dtype.kind in "fc"


def direction(array: Array, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(array.shape)
    if array.dtype.kind == "c":
        values = values + 1j * generator.standard_normal(array.shape)
    return values.astype(array.dtype)


def inner(a: Array, b: Array) -> float:
    """The real inner product, under which TensorFlow's gradients of complex functions are gradients."""
    return float(np.real(np.sum(np.conj(a) * b)))


def check_gradient(
    built: Built,
    xs: list[Tensor],
    ys: list[Tensor],
    weights: list[Array],
    tolerance: float,
    step: float = 1e-6,
) -> list[Tensor]:
    """Holds the gradient of the weighted sum of `ys` against central differences along random directions."""
    with built.graph.as_default():
        grads = gradients(ys, xs, grad_ys=[constant(w) for w in weights])
        dense = [indexed_slices_to_tensor(g) if isinstance(g, IndexedSlices) else g for g in grads]
    existing = [g for g in dense if g is not None]
    values = iter(run_reference(built, existing) if existing else [])
    found = [
        np.zeros_like(built.feeds[x]) if g is None else next(values) for x, g in zip(xs, dense, strict=True)
    ]
    for x, grad in zip(xs, found, strict=True):
        assert grad.shape == built.feeds[x].shape
    saved = dict(built.feeds)
    for attempt in range(2):
        ways = [direction(saved[x], 100 * attempt + i) for i, x in enumerate(xs)]
        predicted = sum(inner(g, way) for g, way in zip(found, ways, strict=True))
        totals = []
        for sign in (1, -1):
            built.feeds = saved | {x: saved[x] + sign * step * way for x, way in zip(xs, ways, strict=True)}
            results = run_reference(built, ys)
            totals.append(sum(inner(w, y) for w, y in zip(weights, results, strict=True)))
        built.feeds = saved
        measured = (totals[0] - totals[1]) / (2 * step)
        size = sum(np.abs(g).sum() for g in found) + abs(measured) + 1e-3
        assert abs(predicted - measured) <= tolerance * size, f"predicted {predicted}, measured {measured}"
    return existing


def gradient_parts(op_type: str, sample: Sample) -> tuple[Built, list[Tensor], list[Tensor], list[Array]]:
    wide = wide_sample(sample)
    built = Built(op_type, wide)
    chosen = range(len(built.arrays)) if sample.differentiable is True else sample.differentiable
    assert not isinstance(chosen, bool)
    xs = [built.tensors[i] for i in chosen if is_inexact(built.arrays[i]) and built.tensors[i] in built.feeds]
    assert xs, "a differentiable sample needs a floating input that is not constant"
    results = body_results(op_type, wide)
    ys = [t for t, r in zip(built.operation.outputs, results, strict=True) if is_inexact(r)]
    weights = [direction(r, 7 + i) for i, r in enumerate(r for r in results if is_inexact(r))]
    return built, xs, ys, weights


@over(DIFFERENTIABLE)
def test_gradient(op_type: str, sample: Sample) -> None:
    built, xs, ys, weights = gradient_parts(op_type, sample)
    check_gradient(built, xs, ys, weights, sample.gradient_tolerance)


@over([case for case in DIFFERENTIABLE if case.values[1].second])
def test_second_gradient(op_type: str, sample: Sample) -> None:
    built, xs, ys, weights = gradient_parts(op_type, sample)
    with built.graph.as_default():
        # Fed cotangents: the second derivative goes through them as well.
        cotangents = []
        for i, weight in enumerate(weights):
            tensor = emit_operation(
                OPS["Placeholder"],
                (),
                {"dtype": as_dtype(weight.dtype), "shape": TensorShape(weight.shape)},
                f"dy{i}",
            )
            built.feeds[tensor] = weight
            cotangents.append(tensor)
        grads = gradients(ys, xs, grad_ys=cotangents)
        present = [g for g in grads if g is not None]
        firsts = [indexed_slices_to_tensor(g) if isinstance(g, IndexedSlices) else g for g in present]
    if not firsts:
        return
    values = run_reference(built, firsts)
    second_weights = [direction(value, 31 + i) for i, value in enumerate(values)]
    try:
        check_gradient(built, [*xs, *cotangents], firsts, second_weights, 10 * sample.gradient_tolerance)
    except LookupError as error:
        pytest.fail(f"no second gradient: {error}")
