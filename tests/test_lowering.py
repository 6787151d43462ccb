"""Lowering: the form of each node, which nodes share a kernel, checks, places in memory, and no needless compiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import reference
from graphflow.backends.base import load
from graphflow.compiler import CompileOptions, compile_graph
from graphflow.errors import InvalidArgumentError
from graphflow.loops.ir import Kernel, Prefetch, walk_statements
from graphflow.loops.library import Gemm
from graphflow.loops.text import kernel_text
from graphflow.loops.verify import verify as verify_kernel
from graphflow.lowering.calls import call_of
from graphflow.lowering.forms import Form
from graphflow.lowering.fuse import Fusion, Group, fuse
from graphflow.lowering.kernels import body_of, lower_group
from graphflow.lowering.movement import blocks_of
from graphflow.lowering.nests import nest_of
from graphflow.lowering.sizes import Size, reshaped
from graphflow.opdef import emit
from graphflow.optimizer_passes.manager import run_passes
from graphflow.optimizer_passes.pipeline import SPECIALIZED
from graphflow.plan import HostStep, Plan
from graphflow.program import Node, Program, specialize
from graphflow.testing import TestState, check_same, run_reference


def has_call(node: Node) -> bool:
    return call_of(node) is not None or nest_of(node) is not None or blocks_of(node) is not None


def specialized(fetches: Sequence[Any], feeds: Sequence[Any] = (), arrays: Sequence[Any] = ()) -> Program:
    """The program of some tensors for these arrays, after all passes."""
    program = specialize(compile_graph(fetches, feeds).program, [np.shape(a) for a in arrays], {})
    return run_passes(program, SPECIALIZED, frozenset(), frozenset(), [])


def fused(fetches: Sequence[Any], feeds: Sequence[Any] = (), arrays: Sequence[Any] = ()) -> Fusion:
    return fuse(specialized(fetches, feeds, arrays), has_call)


def form(tensor: Any, feeds: Sequence[Any] = (), arrays: Sequence[Any] = ()) -> Form:
    """The form of the node that a tensor has become."""
    program = specialized([tensor], feeds, arrays)
    return fuse(program, has_call).forms[program.fetches[0].node]


def plan_of(fetches: Sequence[Any], feeds: Sequence[Any] = (), arrays: Sequence[Any] = ()) -> Plan:
    state = TestState()
    return compile_graph(fetches, feeds).bind(tuple(np.shape(a) for a in arrays), state).plan


def hosts(plan: Plan) -> list[str]:
    """The types of the nodes that run as Python."""
    return [step.origin.type for step in plan.steps if isinstance(step, HostStep)]


def check_run(
    fetches: Sequence[Any], feeds: Sequence[Any] = (), arrays: Sequence[Any] = (), tolerance: float = 0
) -> Plan:
    """Runs compiled and with the NumPy bodies, compares, and returns the plan, which must be all native."""
    executable = compile_graph(fetches, feeds)
    bound = executable.bind(tuple(np.shape(a) for a in arrays), TestState())
    got = bound.run(tuple(arrays), TestState())
    check_same(got, run_reference(executable.program, arrays), tolerance)
    return bound.plan


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = numbers(30, 40)
INDEX = np.random.default_rng(1).integers(0, 10, 30).astype(np.int32)


@pytest.fixture
def x() -> Any:
    return gf.placeholder("float32", [None, 40], name="x")


@pytest.fixture
def index() -> Any:
    return gf.placeholder("int32", [None], name="index")


# -- forms -----------------------------------------------------------------------------------------------------


def test_forms_of_nodes(x: Any) -> None:
    def of(tensor: Any) -> Form:
        return form(tensor, [x], [X])

    assert of(gf.tanh(x)) is Form.MAP
    assert of(gf.nn.softmax(x)) is Form.ROW
    assert of(gf.argmax(x, 0)) is of(gf.argmax(x, 1)) is Form.ROW
    assert of(gf.reduce_sum(x, 0)) is Form.REDUCE
    assert of(gf.matmul(x, x, transpose_b=True)) is Form.CALL
    assert of(gf.concat([x, x], 0)) is Form.CALL
    assert of(gf.cumsum(x, 1)) is Form.CALL
    assert of(gf.random_uniform([4], seed=1)) is Form.MAP
    assert of(gf.reshape(x, [-1, 4])) is Form.ALIAS
    assert of(gf.gather(x, [1, 2])) is Form.READ
    assert of(gf.one_hot([1, 2], 3)) in (Form.READ, Form.SOURCE)
    assert of(gf.transpose(x)) is Form.READ
    assert of(x[1:5, 2:4]) is Form.WINDOW
    assert of(gf.expand_dims(x[:, 3:5], 1)) is Form.WINDOW
    assert of(gf.broadcast_to(x[:1], [7, 40])) is Form.WINDOW
    assert of(gf.split(x, 4, 1)[2]) is Form.WINDOW
    assert of(gf.reverse(x, [1])) is Form.WINDOW
    assert of(gf.zeros_like(x)) is of(gf.ones_like(x)) is Form.UNIFORM
    assert of(gf.reshape(gf.fill([gf.shape(x)[0], 2], 3.0), [-1])) is Form.UNIFORM
    assert of(gf.gather_nd(x, [[1, 2], [0, 3]])) is Form.READ
    assert of(gf.scatter_nd([[1], [4]], x[:2], [6, 40])) is Form.CALL
    assert of(gf.nn.top_k(x, 3)[0]) is Form.CALL
    assert of(gf.unique(x[0])[0]) is Form.HOST
    assert of(gf.cast(x, "complex64")) is Form.HOST


def test_reshapes_of_strided_memory() -> None:
    def through(sizes: Sequence[int], strides: Sequence[int], wanted: Sequence[int]) -> list[int] | None:
        found = reshaped(*([Size(n) for n in numbers_] for numbers_ in (sizes, strides, wanted)))
        return None if found is None else [size.value for size in found]

    assert through([3, 4], [4, 1], [12]) == [1]
    assert through([12], [1], [3, 1, 4]) == [4, 0, 1]
    assert through([3, 4], [8, 1], [3, 2, 2]) == [8, 2, 1]
    assert through([3, 4], [8, 1], [12]) is None
    assert through([3, 4], [8, 1], [4, 3]) is None
    assert through([5, 4], [0, 0], [20]) == [0]
    assert through([1, 1], [9, 9], []) == []
    assert through([], [], [1]) == [0]


# -- everything hot runs natively, with the reference's numbers -----------------------------------------------------


def _layouts(x: Any, index: Any) -> list[Any]:
    return [
        x[1:5, 3:9] * 2.0, x[::2], x[:, ::-1] + 1.0, x[:, 3], x[gf.newaxis, ..., 2:30:3],
        gf.reverse(x, [0, 1]), gf.transpose(x) + 1.0, *gf.split(x, [10, 10, 20], 1), *gf.unstack(x, axis=1)[:3],
        gf.expand_dims(x[:, 2:4], 0) * 2.0, gf.reshape(x[:, 3], [1, -1]) * 2.0, gf.squeeze(x[:, 3:4], [1]) * 2.0,
    ]  # fmt: skip


def _made(x: Any, index: Any) -> list[Any]:
    rows = gf.shape(x)[0]
    return [
        gf.fill([3, 4], 2.0) + 1.0, gf.zeros_like(x), gf.ones_like(x) * x, gf.fill([rows, 40], 5.0) * x,
        gf.broadcast_to(x[:1], [5, 40]) * 2.0, gf.range(rows), gf.range(3, rows, 4) * 2,
        gf.where(x > 0, x, gf.zeros_like(x)), gf.one_hot(index, 10), gf.one_hot(index, 7, 3.0, -1.0, axis=0),
    ]  # fmt: skip


def _moved(x: Any, index: Any) -> list[Any]:
    return [
        gf.concat([x, x * 2.0], 1), gf.stack([x, x], 1), gf.pad(x, [[1, 2], [0, 3]]), gf.tile(x, [2, 3]),
        *(gf.gradients(y, x)[0] for y in (x[1:5, 3:9:2] * 2.0, x[:, ::-1] ** 2, x[:, 3] ** 2, x[::-3, gf.newaxis])),
    ]  # fmt: skip


def _indexed(x: Any, index: Any) -> list[Any]:
    table = gf.constant(numbers(10, 7))
    return [
        gf.gather(table, index) * 2.0, gf.gather(table, [1, 3, 3], axis=1) + 1.0, gf.gather(x, [[1, 3], [2, 0]]),
        gf.gather(x, index, axis=1), gf.gather(x, gf.reshape(index, [-1, 1]), axis=1, batch_dims=1),
        gf.gather(x[:, 3:20], index, axis=1), gf.gather(table[:, 2], index), gf.unsorted_segment_sum(x, index, 12),
        gf.unsorted_segment_sum(x, index - 3, 12), gf.argmax(x, 1), gf.argmin(x, -1, output_type="int32"),
        gf.argmax(x, 0), gf.cast(gf.equal(gf.argmax(x, 1), gf.cast(index, "int64")), "float32"),
    ]  # fmt: skip


def _running(x: Any, index: Any) -> list[Any]:
    return [
        fold(x, axis, exclusive=exclusive, reverse=reverse)
        for fold in (gf.cumsum, gf.cumprod)
        for axis in (0, 1)
        for exclusive in (False, True)
        for reverse in (False, True)
    ]


def _drawn(x: Any, index: Any) -> list[Any]:
    found = [
        gf.random_uniform([1003], seed=7, dtype=d) for d in ("float16", "bfloat16", "float32", "float64")
    ]
    found += [gf.random_normal([5001], seed=7, dtype=d) for d in ("float16", "bfloat16", "float32")]
    found += [gf.random_uniform([37, 11], -5, 1000, seed=7, dtype="int32")]
    found += [gf.random_uniform([6], -5, 10**12, seed=3, dtype="int64"), gf.nn.dropout(x, 0.5, seed=1)]
    return found


@pytest.mark.parametrize("made", [_layouts, _made, _moved, _indexed, _running, _drawn])
@pytest.mark.parametrize("threads", [1, 2])
def test_runs_natively_with_the_bits_of_the_bodies(
    made: Callable[..., list[Any]], threads: int, x: Any, index: Any
) -> None:
    fetches = made(x, index)
    executable = compile_graph(fetches, [x, index], CompileOptions(threads=threads))
    for rows in (30, 1, 7):
        arrays = (np.resize(X, (rows, 40)), np.resize(INDEX, rows))
        if rows != 30 and made in (_layouts, _moved, _indexed, _made):
            continue  # these cut out parts that fewer rows do not have
        bound = executable.bind(tuple(a.shape for a in arrays), TestState())
        wanted = run_reference(executable.program, arrays)
        for got, want, tensor in zip(bound.run(arrays, TestState()), wanted, fetches, strict=True):
            assert got.dtype == want.dtype and got.tobytes() == want.tobytes(), tensor
        steps = [step for step in bound.plan.steps if isinstance(step, HostStep)]
        assert [step.name for step in steps] == (["random counters"] if made is _drawn else [])


def test_random_numbers_go_on_from_run_to_run() -> None:
    drawn = gf.random_uniform([300_001], seed=3)
    executable = compile_graph([drawn])
    state, other = TestState(), TestState()
    bound = executable.bind((), state)
    runs = [bound.run((), state)[0] for _ in range(3)]
    for got in runs:
        (want,) = reference.run(executable.program, (), other)
        assert got.tobytes() == want.tobytes()
    assert runs[0].tobytes() != runs[1].tobytes()


def test_argmax_of_rows_with_nan_and_equal_elements(x: Any) -> None:
    array = np.zeros((4, 40), np.float32)
    array[1, 3] = np.nan
    array[2] = np.nan
    array[3, [5, 9]] = 2
    check_run([gf.argmax(x, 1), gf.argmin(x, 1), gf.argmax(x, 0), gf.argmin(-x, 0)], [x], [array])
    flags = gf.constant(array[:, :7] > 1)
    check_run([gf.argmax(gf.logical_or(flags, x[:, :7] > 5), 1)], [x], [array])


# -- groups ------------------------------------------------------------------------------------------------------------


def kernels(fusion: Fusion) -> list[list[str]]:
    """The op types of each group that is a kernel."""
    return [[node.type for node in entry.nodes] for entry in fusion.order if isinstance(entry, Group)]


def launches(plan: Plan) -> Counter[str]:
    return Counter(step.origin.type for step in plan.launches if step.origin is not None)


def test_softmax_layer_norm_and_cross_entropy_are_one_kernel_each(x: Any, index: Any) -> None:
    assert len(kernels(fused([gf.nn.softmax(x * 2.0) + 1.0], [x], [X]))) == 1
    exps = gf.exp(x - gf.reduce_max(x, 1, keepdims=True))
    spelled = exps / gf.reduce_sum(exps, 1, keepdims=True)
    assert len(kernels(fused([spelled], [x], [X]))) == 1
    mean, variance = gf.nn.moments(x, [1], keep_dims=True)
    scale, offset = gf.constant(numbers(40)), gf.constant(numbers(40))
    normal = gf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-5)
    assert len(plan_of([normal], [x], [X]).launches) == 1
    loss = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=index, logits=x)
    plan = plan_of([gf.reduce_mean(loss)], [x, index], [X, INDEX])
    assert [step.name.rpartition("/")[2] for step in plan.launches] == [
        "check", "SparseSoftmaxCrossEntropyWithLogits", "Mean",
    ]  # fmt: skip
    hot = gf.nn.softmax_cross_entropy_with_logits(labels=gf.one_hot(index, 40), logits=x)
    assert len(kernels(fused([hot], [x, index], [X, INDEX]))) <= 2


def test_large_results_that_are_only_fetched_go_past_the_caches() -> None:
    x = gf.placeholder("float32", [None, 1024])
    array = numbers(2048, 1024)

    def text(*fetches: Any) -> str:
        plan = check_run(list(fetches), [x], [array], 1e-5)
        return "".join(kernel_text(step.kernel) for step in plan.launches if isinstance(step.kernel, Kernel))

    assert "stream y0" in text(gf.nn.softmax(x))
    assert "stream y0" in text(x * 2.0 + 1.0)
    assert "stream" not in text(gf.tanh(gf.erf(gf.exp(x))))  # waits for arithmetic
    assert "stream" not in text(gf.nn.softmax(x)[:1024])
    doubled = x * 2.0
    assert text(doubled, gf.matmul(doubled, gf.ones([1024, 1]) / 1024.0)).count("stream") == 0


def test_results_that_no_cache_holds_go_past_them() -> None:
    x = gf.placeholder("float32", [None, 64])
    array = numbers(70000, 64)
    weights = gf.constant(numbers(64, 64) / 64)
    product = gf.matmul(x, weights)
    y = gf.nn.softmax(product)
    total = gf.reduce_sum(gf.matmul(y, weights), 0) / 70000.0

    def texts(*fetches: Any) -> str:
        plan = check_run(list(fetches), [x], [array], 1e-4)
        return "".join(kernel_text(step.kernel) for step in plan.launches if isinstance(step.kernel, Kernel))

    assert "stream" not in texts(total)  # over the product, where it is in the caches
    assert "stream" in texts(total, product)


def layer_norm(x: Any, scale: Any, offset: Any) -> Any:
    mean, variance = gf.nn.moments(x, [-1], keep_dims=True)
    return gf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-5)


@pytest.mark.parametrize(
    "rows, columns", [(1, 3), (5, 70), (30, 40), (33, 64), (70, 129), (600, 96), (300, 1024)]
)
def test_gradients_of_layer_norm_are_one_pass_over_the_rows(rows: int, columns: int) -> None:
    x, dy = (gf.placeholder("float32", [None, columns]) for _ in range(2))
    scale, offset = gf.constant(numbers(columns)), gf.constant(numbers(columns, seed=1))
    y = layer_norm(x, scale, offset)
    grads = gf.gradients(y, [x, scale, offset], dy)
    arrays = [numbers(rows, columns), numbers(rows, columns, seed=2)]
    plan = check_run(grads, [x, dy], arrays, 2e-4)
    assert len(plan.launches) <= (2 if rows > 1 else 8)


@pytest.mark.parametrize("rows", [1, 7, 16, 129, 1000])
@pytest.mark.parametrize("columns", [2, 10, 63, 64, 100, 515])
def test_folds_over_columns_beside_folds_over_rows(rows: int, columns: int) -> None:
    x = gf.placeholder("float32", [None, columns])
    y = gf.nn.softmax(x)
    masked = gf.where(y > 0.01, y, gf.zeros_like(y))
    fetches = [
        masked, gf.reduce_sum(masked, 0), gf.reduce_mean(y * x, 0, keepdims=True) * 2.0 + gf.ones([1, columns]),
        gf.reduce_max(y, 0), gf.reduce_min(x, 0) - 1.0, gf.reduce_sum(y, 1), gf.reduce_any(y > 0.3, 0),
    ]  # fmt: skip
    check_run(fetches, [x], [numbers(rows, columns)], 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_folds_over_columns_of_other_dtypes(dtype: str) -> None:
    x = gf.placeholder(dtype, [None, 3, 80])
    array = (numbers(50, 3, 80) * 8).astype(dtype)
    fetches = [x * 2, gf.reduce_sum(x * 2, [0, 1]), gf.reduce_max(x, [0, 1], keepdims=True)]
    plan = check_run(fetches, [x], [array], 2e-3)
    assert len(plan.launches) <= 2


def test_sums_over_columns_for_other_sizes_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gf.placeholder("float32", [None, 200])
    y = gf.nn.softmax(x)
    executable = compile_graph([gf.reduce_sum(y, 0), gf.reduce_max(x * y, 0)], [x])
    executable.bind(((40, 200),), TestState())
    monkeypatch.setattr("graphflow.backends.cpu.codegen.kernel_to_llvm", lambda *_: pytest.fail("compiles"))
    for rows in (17, 300, 5000):
        array = numbers(rows, 200)
        bound = executable.bind(((rows, 200),), TestState())
        check_same(bound.run((array,), TestState()), run_reference(executable.program, [array]), 1e-4)


def test_folds_over_columns_have_the_same_bits_on_any_number_of_threads() -> None:
    x, dy = (gf.placeholder("float32", [None, 200]) for _ in range(2))
    scale = gf.constant(numbers(200))
    grads = gf.gradients(layer_norm(x, scale, scale), [x, scale], dy)
    feed = {x: numbers(777, 200), dy: numbers(777, 200, seed=1)}
    found = []
    for threads in (1, 2, 3):
        with gf.Session(config=gf.ConfigProto(intra_op_parallelism_threads=threads)) as session:
            found.append([array.tobytes() for array in session.run(grads, feed)])
    assert found[0] == found[1] == found[2]


def test_a_loss_with_its_gradient_and_that_of_the_bias_are_one_kernel(x: Any, index: Any) -> None:
    logits = x + gf.constant(numbers(40))
    loss = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=index, logits=logits)
    total = gf.reduce_sum(loss)
    plan = check_run([total, *gf.gradients(total, [x, logits.op.inputs[1]])], [x, index], [X, INDEX], 1e-5)
    assert (
        len([step for step in plan.launches if not step.name.endswith("/check")]) <= 3
    )  # with a sum of losses


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_softmax_of_a_row_with_a_special_value(bad: float, x: Any) -> None:
    array = numbers(30, 40)
    array[3, 7] = array[4, :] = bad
    with np.errstate(invalid="ignore"):
        check_run([gf.nn.softmax(x), gf.nn.log_softmax(x)], [x], [array], 1e-5)


@pytest.mark.parametrize("classes", [1, 7, 33])
def test_a_label_picks_its_element_whatever_the_others_are(classes: int) -> None:
    logits, labels = numbers(8, classes), np.arange(8, dtype=np.int64) % classes
    logits[1, labels[1]] = -np.inf
    logits[2, (labels[2] + 1) % classes] = -np.inf
    logits[3, labels[3]] = np.nan
    logits[4, (labels[4] + 1) % classes] = np.inf
    x, y = gf.placeholder("float32", logits.shape), gf.placeholder("int64", labels.shape)
    loss = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x)
    with np.errstate(invalid="ignore", divide="ignore"):
        check_run([loss, gf.gradients(loss, x)[0]], [x, y], [logits, labels], 1e-5)


def test_batch_norm_takes_statistics_and_normalises() -> None:
    image = gf.placeholder("float32", [None, 8, 8, 16])
    scale, offset = gf.constant(numbers(16)), gf.constant(numbers(16))
    array = numbers(32, 8, 8, 16)
    y, mean, variance = gf.nn.fused_batch_norm(image, scale, offset)
    plan = check_run([gf.nn.relu(y), mean, variance], [image], [array], 2e-4)
    # Mean, and deviation from it: each a fold in shares and its combination; then one kernel for the rest.
    assert len(plan.launches) <= 5
    two = [gf.reduce_sum(image, [0, 1, 2]), gf.reduce_sum(gf.square(image), [0, 1, 2])]
    assert len(kernels(fused([two[0] + two[1]], [image], [array]))) == 1


def test_gradients_of_batch_norm_write_no_image_but_their_result() -> None:
    image, residual, dy = (gf.placeholder("float32", [None, 9, 7, 64]) for _ in range(3))
    scale, offset = gf.constant(numbers(64)), gf.constant(numbers(64, seed=1))
    y, _, _ = gf.nn.fused_batch_norm(image, scale, offset)
    grads = gf.gradients(gf.nn.relu(y + residual), [image, scale, offset], dy)
    arrays = [numbers(12, 9, 7, 64, seed=i) for i in range(3)]
    plan = check_run(grads, [image, residual, dy], arrays, 2e-4)
    assert plan.layout.peak < arrays[0].nbytes
    # Also where somebody else takes what the two have in common.
    check_run([*grads, gf.nn.relu(y + residual)], [image, residual, dy], arrays, 2e-4)


def test_gradients_of_stacked_batch_norms() -> None:
    image = gf.placeholder("float32", [None, 5, 5, 64])
    scale, offset = gf.constant(numbers(64)), gf.constant(numbers(64, seed=1))
    x = image
    for _ in range(3):
        y, _, _ = gf.nn.fused_batch_norm(x, scale, offset)
        z, _, _ = gf.nn.fused_batch_norm(gf.nn.relu(y) * 0.5 + x, scale, offset)
        x = gf.nn.relu(x + z)
    total = gf.reduce_mean(gf.reduce_mean(x, [1, 2]) ** 2)
    check_run([total, *gf.gradients(total, [image, scale])], [image], [numbers(6, 5, 5, 64)], 2e-3)


def test_a_cell_of_an_lstm_is_one_kernel_behind_its_product() -> None:
    z, c = gf.placeholder("float32", [None, 80]), gf.placeholder("float32", [None, 20])
    i, j, f, o = gf.split(z, 4, 1)
    c_new = c * gf.sigmoid(f + 1.0) + gf.sigmoid(i) * gf.tanh(j)
    h = gf.tanh(c_new) * gf.sigmoid(o)
    arrays = [numbers(8, 80), numbers(8, 20)]
    plan = check_run([c_new, h], [z, c], arrays, 1e-5)
    assert len(plan.launches) == 1


def test_uniform_values_take_no_memory_and_close_no_group(x: Any) -> None:
    y = gf.tanh(x)
    zeros = gf.zeros_like(y)
    plan = check_run([gf.where(y > zeros, y, zeros) + gf.ones_like(y)], [x], [X], 1e-6)
    assert len(plan.launches) == 1


def test_a_part_that_is_one_stretch_is_no_step(x: Any) -> None:
    y = gf.matmul(x[2:20], gf.constant(numbers(40, 8)))
    plan = check_run([y], [x], [X], 1e-4)
    assert len(plan.launches) == 1


def test_a_training_step_with_dropout_is_one_segment(x: Any, index: Any) -> None:
    weights, bias = gf.Variable(numbers(40, 16)), gf.Variable(numbers(16))
    hidden = gf.nn.dropout(gf.nn.relu(gf.matmul(x, weights) + bias), 0.5, seed=2)
    last = gf.Variable(numbers(16, 10))
    losses = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=index, logits=gf.matmul(hidden, last))
    loss = gf.reduce_mean(losses)
    train = gf.train.AdamOptimizer(0.01).minimize(loss)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        first = session.run([loss, train], {x: X, index: INDEX})[0]
        for _ in range(60):
            again = session.run([loss, train], {x: X, index: INDEX})[0]
        assert again < first
    plan = plan_of([loss, train], [x, index], [X, INDEX])
    assert [type(step).__name__ for step in plan.steps] == ["HostStep", "Segment"]
    assert hosts(plan) == ["GraphflowRandomAtLeast"]  # not the numbers: whether they are great enough
    assert not any(step.name.startswith("copy") for step in plan.launches)


def test_an_embedding_learns_natively(index: Any) -> None:
    table = gf.Variable(numbers(10, 6), name="table")
    wanted = gf.constant(numbers(30, 6, seed=3))
    loss = gf.reduce_sum(gf.square(gf.nn.embedding_lookup(table, index) - wanted))
    train = gf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        start = session.run(table)
        session.run(train, {index: INDEX})
        got = session.run(table)
    gradient = np.zeros((10, 6), np.float32)
    np.add.at(gradient, INDEX, 2 * (start[INDEX] - numbers(30, 6, seed=3)))
    np.testing.assert_allclose(got, start - 0.1 * gradient, rtol=1e-5, atol=1e-5)
    assert hosts(plan_of([loss, train], [index], [INDEX])) == []


def test_products_of_bfloat16_are_calls_and_round_at_the_end() -> None:
    bf16 = gf.bfloat16.as_numpy_dtype
    a, b = gf.placeholder(gf.bfloat16, [None, 33]), gf.placeholder(gf.bfloat16, [33, 40])
    fed_a, fed_b = numbers(20, 33).astype(bf16), numbers(33, 40, seed=1).astype(bf16)
    product = gf.matmul(a, b)
    rounded = gf.cast(gf.nn.relu(gf.cast(product, gf.float32) + 1.0), gf.bfloat16)
    plan = plan_of([rounded], [a, b], [fed_a, fed_b])
    assert hosts(plan) == [] and len(plan.launches) == 1
    exact = fed_a.astype(np.float32) @ fed_b.astype(np.float32)
    with gf.Session() as session:
        got, after = session.run([product, rounded], {a: fed_a, b: fed_b})
        alone = session.run(rounded, {a: fed_a, b: fed_b})
    # One place in eight bits, where sums in another order fall on the other side of a half.
    np.testing.assert_allclose(got.astype(np.float32), exact, rtol=2**-7, atol=1e-5)
    expected = np.maximum(got.astype(np.float32) + 1, 0).astype(bf16)
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(alone, expected)


# -- checks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [10, -1])
def test_indices_that_name_nothing_are_refused_before_anything_is_written(
    bad: int, x: Any, index: Any
) -> None:
    table = gf.Variable(numbers(10, 40), name="table")
    rows = gf.gather(table, index)
    labels = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=index, logits=x[:, :10])
    step = gf.train.MomentumOptimizer(0.1, 0.9).minimize(gf.reduce_sum(rows) + gf.reduce_sum(labels))
    wrong = INDEX.copy()
    wrong[7] = bad
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        before = session.run(table)
        for fetches, message in (
            (rows, rf"indices\[7\] = {bad} is not in \[0, 10\)"),
            (labels, f"Received a label value of {bad} which is outside"),
            (step, rf"= {bad} is not in|label value of {bad}"),
            (gf.scatter_add(table, index, x), rf"= {bad} is not in"),
        ):
            with pytest.raises(InvalidArgumentError, match=message) as caught:
                session.run(fetches, {x: X, index: wrong})
            assert caught.value.op is not None
            np.testing.assert_array_equal(session.run(table), before)
        session.run([rows, step], {x: X, index: INDEX})
        assert (session.run(table) != before).any()


def test_constant_indices_are_checked_while_compiling(x: Any) -> None:
    plan = check_run([gf.gather(x, [0, 3], axis=1)], [x], [X])
    assert len(plan.launches) == 1
    wrong = gf.gather(x, [0, 40], axis=1)
    assert form(wrong, [x], [X]) is Form.HOST
    with (
        gf.Session() as session,
        pytest.raises(InvalidArgumentError, match=r"indices\[1\] = 40 is not in \[0, 40\)"),
    ):
        session.run(wrong, {x: X})


def test_an_operand_is_checked_once(x: Any, index: Any) -> None:
    both = gf.gather(x, index) + gf.gather(x * 2.0, index)
    plan = check_run([both], [x, index], [X, INDEX])
    assert sum(step.name.endswith("/check") for step in plan.launches) == 1


# -- memory -----------------------------------------------------------------------------------------------------------


def _run_twice(fetches: Sequence[Any], feeds: dict[Any, Any], variables: Sequence[Any]) -> list[np.ndarray]:
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(fetches, feeds)
        session.run(fetches, feeds)
        return session.run(list(variables))


def test_variables_are_updated_in_place(x: Any) -> None:
    v, w = gf.Variable(numbers(40), name="v"), gf.Variable(numbers(40, seed=1), name="w")
    column = gf.reduce_sum(x, 0)
    train = gf.group(gf.assign_add(v, column), gf.assign_sub(w, 2.0 * column))
    plan = plan_of([train], [x], [X])
    assert not any(step.name.startswith("copy") for step in plan.launches)
    got = _run_twice([train], {x: X}, [v, w])
    np.testing.assert_allclose(got[0], numbers(40) + 2 * X.sum(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[1], numbers(40, seed=1) - 4 * X.sum(0), rtol=1e-4, atol=1e-4)


def test_a_variable_that_is_read_later_keeps_its_value_until_then(x: Any) -> None:
    v = gf.Variable(numbers(40, 40), name="v")
    old = gf.matmul(x, v)
    with gf.control_dependencies([old]):
        bump = gf.assign(v, gf.transpose(v) + 1.0)
    value = v.read_value()
    (after,) = _run_twice([bump.op, old, value], {x: X}, [v])
    np.testing.assert_allclose(after, numbers(40, 40) + 2.0, rtol=1e-6)


def test_two_results_over_one_operand(x: Any) -> None:
    y = gf.matmul(x, gf.constant(numbers(40, 40)))
    check_run([gf.exp(-gf.square(y)), gf.tanh(y), y[:, ::-1] + y], [x], [X], 1e-4)


def test_gathers_and_turned_reads_do_not_run_over_what_they_read(x: Any) -> None:
    y = gf.matmul(x, gf.constant(numbers(40, 40)))
    square = gf.matmul(y, y, transpose_a=True)
    chain = square + gf.transpose(square) + gf.gather(square, np.arange(39, -1, -1))
    check_run([chain * 2.0], [x], [X], 1e-3)
    check_run([gf.cumsum(square, 0, reverse=True) + square], [x], [X], 1e-3)


def test_a_chain_of_square_products_with_epilogues(x: Any) -> None:
    weights = [gf.constant(numbers(40, 40, seed=i) * 0.2) for i in range(4)]
    value = x
    for weight in weights:
        value = gf.nn.relu(gf.matmul(value, weight) + value)
    last = gf.matmul(value, value, transpose_b=True)
    plan = check_run([last + gf.transpose(last), value], [x], [X], 1e-3)
    assert hosts(plan) == []


def test_swapping_two_variables() -> None:
    v, w = gf.Variable(numbers(9), name="v"), gf.Variable(numbers(9, seed=1), name="w")
    old_v, old_w = v.read_value(), w.read_value()
    with gf.control_dependencies([old_v, old_w]):
        swap = gf.group(gf.assign(v, old_w), gf.assign(w, old_v))
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(swap)
        got = session.run([v, w])
    np.testing.assert_array_equal(got[0], numbers(9, seed=1))
    np.testing.assert_array_equal(got[1], numbers(9))


# -- sizes -----------------------------------------------------------------------------------------------------------


def _model(x: Any, index: Any) -> list[Any]:
    weights, bias = gf.Variable(numbers(40, 16)), gf.Variable(numbers(16))
    hidden = gf.nn.dropout(gf.nn.relu(gf.matmul(x, weights) + bias), 0.5, seed=2)
    mean, variance = gf.nn.moments(hidden, [0])
    hidden = (hidden - mean) * gf.rsqrt(variance + 1e-3) + gf.gather(gf.Variable(numbers(10, 16)), index)
    logits = gf.concat([gf.matmul(hidden, gf.Variable(numbers(16, 5))), hidden[:, :5]], 1)
    loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=index, logits=logits))
    right = gf.reduce_mean(gf.cast(gf.equal(gf.argmax(logits, 1, output_type="int32"), index), "float32"))
    return [loss, right, gf.train.AdamOptimizer(0.01).minimize(loss)]


def test_a_new_batch_size_compiles_nothing(x: Any, index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jit = load("cpu").jit  # type: ignore[attr-defined]
    compiled: list[str] = []
    original = jit.compile

    def counting(texts: Sequence[tuple[str, str]]) -> dict[str, int]:
        compiled.extend(symbol for symbol, _ in texts if symbol not in known)
        known.update(symbol for symbol, _ in texts)
        found: dict[str, int] = original(texts)
        return found

    known: set[str] = set()
    monkeypatch.setattr(jit, "compile", counting)
    executable = compile_graph(_model(x, index), [x, index])
    executable.bind(((32, 40), (32,)), TestState())
    assert compiled
    compiled.clear()
    for rows in (33, 100, 128, 7, 1000):
        executable.bind(((rows, 40), (rows,)), TestState())
        assert compiled == [], f"{rows} rows"


@pytest.mark.parametrize("rows", [1, 2, 33, 500])
def test_open_sizes_give_the_right_numbers(rows: int, x: Any, index: Any) -> None:
    mean, variance = gf.nn.moments(x, [0])
    logits = gf.nn.softmax((x - mean) * gf.rsqrt(variance + 1e-3))
    fetches = [
        logits,
        gf.reduce_sum(logits, 0),
        gf.one_hot(index, 10),
        gf.concat([x, logits], 0),
        logits[:, 3:9],
    ]
    check_run(fetches, [x, index], [np.resize(X, (rows, 40)), np.resize(INDEX, rows)], 1e-4)


# -- golden loops ------------------------------------------------------------------------------------------------------


def group_texts(fetches: Sequence[Any], feeds: Sequence[Any], arrays: Sequence[Any]) -> str:
    """The loops of all groups, in print."""
    program = specialized(fetches, feeds, arrays)
    fusion = fuse(program, has_call)
    users = program.users()
    texts = []
    for entry in fusion.order:
        if isinstance(entry, Group):
            members = set(entry.nodes)
            results = [
                value
                for node in entry.nodes
                for value in node.outputs
                if value in program.roots or any(user not in members for user in users.get(value, ()))
            ]
            for lowered in lower_group(body_of(entry, fusion, results), "fused"):
                verify_kernel(lowered.kernel)
                texts.append(kernel_text(lowered.kernel))
    return "\n".join(texts)


def test_loops_of_typical_groups(x: Any, index: Any, golden: Callable[[str, str], None]) -> None:
    static = gf.placeholder("float32", [6, 10])
    six = numbers(6, 10)
    golden("lowering/elements.txt", group_texts([gf.nn.relu(x * 2.0 + 1.0)], [x], [X]))
    golden("lowering/softmax.txt", group_texts([gf.nn.softmax(static)], [static], [six]))
    golden("lowering/column_sum.txt", group_texts([gf.reduce_sum(static * 2.0, 0)], [static], [six]))
    golden("lowering/gather.txt", group_texts([gf.gather(x, index) + 1.0], [x, index], [X, INDEX]))
    loss = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=index[:6], logits=static)
    golden("lowering/cross_entropy.txt", group_texts([loss], [static, index], [six, INDEX]))
    golden("lowering/one_hot.txt", group_texts([gf.one_hot(index, 10)], [x, index], [X, INDEX]))
    golden("lowering/windows.txt", group_texts([static[:, 1:4] * static[:, ::-1][:, :3]], [static], [six]))


def test_loops_of_nests(x: Any, index: Any, golden: Callable[[str, str], None]) -> None:
    def text(tensor: Any) -> str:
        program = specialized([tensor], [x, index], [X, INDEX])
        (nest,) = (found for node in program.nodes if (found := nest_of(node)) is not None)
        verify_kernel(nest.kernel)
        return kernel_text(nest.kernel)

    golden("lowering/cumsum.txt", text(gf.cumsum(x, 1, exclusive=True)))
    golden("lowering/segment_sum.txt", text(gf.unsorted_segment_sum(x, index, 12)))
    shape = np.array([30, 7], np.int32)
    golden("lowering/random_uniform.txt", text(emit.RandomUniform(shape, dtype="float32", seed=1, seed2=2)))


# -- matrix products in place ---------------------------------------------------------------------------------


def heads(x: Any, batch: int, length: int, count: int) -> Any:
    return gf.transpose(gf.reshape(x, [batch, length, count, int(x.shape[1]) // count]), [0, 2, 1, 3])


@pytest.mark.parametrize("open_batch", [False, True])
@pytest.mark.parametrize("sizes", [(2, 9, 3, 8), (1, 5, 1, 4), (3, 1, 2, 1)], ids=str)
def test_heads_of_attention_are_cut_out_and_put_together_without_copies(
    sizes: tuple[int, int, int, int], open_batch: bool
) -> None:
    batch, length, count, depth = sizes
    width = count * depth
    lead = -1 if open_batch else batch
    x = gf.placeholder(gf.float32, [None if open_batch else batch * length, width])
    w = gf.placeholder(gf.float32, [width, 3 * width])
    q, k, v = (heads(part, lead, length, count) for part in gf.split(gf.matmul(x, w), 3, axis=1))
    scores = gf.matmul(q, k, transpose_b=True) * 0.3
    mixed = gf.reshape(gf.transpose(gf.matmul(gf.tanh(scores), v), [0, 2, 1, 3]), [-1, width])
    arrays = [numbers(batch * length, width), numbers(width, 3 * width, seed=1)]
    plan = check_run([gf.matmul(mixed, w)], [x, w], arrays, 1e-3)
    assert {launch.origin.type for launch in plan.launches} == {"MatMul", "BatchMatMulV2"}


def test_a_swap_of_the_last_axes_is_a_transposed_operand() -> None:
    x, y = gf.placeholder(gf.float32, [3, 7, 5]), gf.placeholder(gf.float32, [3, 7, 6])
    product = gf.matmul(gf.transpose(x, [0, 2, 1]), y)
    plan = check_run([product], [x, y], [numbers(3, 7, 5), numbers(3, 7, 6)], 1e-5)
    assert len(plan.launches) == 1


def test_a_transpose_that_is_asked_for_is_made_as_well() -> None:
    x = gf.placeholder(gf.float32, [7, 5])
    turned = gf.transpose(x)
    check_run([gf.matmul(turned, x), turned], [x], [numbers(7, 5)], 1e-5)
    product = gf.matmul(x, turned)
    check_run([gf.transpose(product), product], [x], [numbers(7, 5)], 1e-5)


def test_an_operand_whose_elements_lie_apart_is_copied() -> None:
    x = gf.placeholder(gf.float32, [12, 10])
    check_run([gf.matmul(x[::2, ::2], x[1:6, 3:9])], [x], [numbers(12, 10)], 1e-5)
    check_run([gf.matmul(x[:, ::-1], x, transpose_b=True)], [x], [numbers(12, 10)], 1e-5)


def test_a_slice_of_a_matrix_is_an_operand() -> None:
    x = gf.placeholder(gf.float32, [12, 10])
    plan = check_run([gf.matmul(x[1:7, 2:8], x[::2, 3:9])], [x], [numbers(12, 10)], 1e-5)
    assert len(plan.launches) == 1
    check_run([gf.matmul(gf.reverse(x, [0]), x, transpose_a=True)], [x], [numbers(12, 10)], 1e-5)


@pytest.mark.parametrize("open_batch", [False, True])
def test_matrices_that_meet_one_factor_are_one_tall_matrix(open_batch: bool) -> None:
    x = gf.placeholder(gf.float32, [None if open_batch else 4, 6, 5])
    w, bias = gf.placeholder(gf.float32, [5, 8]), gf.placeholder(gf.float32, [8])
    y = gf.nn.relu(gf.einsum("bsd,dn->bsn", x, w) + bias)
    arrays = [numbers(4, 6, 5), numbers(5, 8, seed=1), numbers(8, seed=2)]
    assert len(check_run([y], [x, w, bias], arrays, 1e-5).launches) == 1
    broadcast = gf.matmul(x, gf.expand_dims(w, 0))
    assert len(check_run([gf.transpose(broadcast, [1, 0, 2])], [x, w], arrays[:2], 1e-5).launches) <= 2


@pytest.mark.parametrize("open_batch", [False, True])
def test_a_convolution_by_single_taps_is_a_matrix_product(open_batch: bool) -> None:
    x = gf.placeholder(gf.float32, [None if open_batch else 3, 5, 4, 6])
    w, bias = gf.placeholder(gf.float32, [1, 1, 6, 8]), gf.placeholder(gf.float32, [8])
    y = gf.nn.relu(gf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME") + bias)
    fetches = [y, *gf.gradients(y, [x, w, bias])]
    arrays = [numbers(3, 5, 4, 6), numbers(1, 1, 6, 8, seed=1), numbers(8, seed=2)]
    check_run(fetches, [x, w, bias], arrays, 1e-4)
    nodes = [
        node for node in specialized(fetches, [x, w, bias], arrays).nodes if "Conv2D" in node.op_def.name
    ]
    calls = [call_of(node) for node in nodes]
    assert len(calls) == 3
    assert all(found is not None and isinstance(found.call, Gemm) for found in calls)
    wide = gf.nn.conv2d(x, w, strides=[1, 2, 2, 1], padding="SAME")
    check_run([wide, *gf.gradients(wide, [x, w])], [x, w], arrays[:2], 1e-4)


def test_a_product_with_an_epilogue_leaves_its_result_transposed() -> None:
    x, y = gf.placeholder(gf.float32, [2, 3, 7, 5]), gf.placeholder(gf.float32, [2, 3, 5, 6])
    old = gf.placeholder(gf.float32, [2, 3, 7, 6])
    arrays = [numbers(2, 3, 7, 5), numbers(2, 3, 5, 6, seed=1), numbers(2, 3, 7, 6, seed=2)]
    turned = gf.transpose(gf.nn.relu(gf.matmul(x, y) + 0.5), [0, 2, 1, 3])
    plan = check_run([gf.reshape(turned, [14, 18])], [x, y], arrays[:2], 1e-5)
    assert len(plan.launches) == 1
    check_run([gf.transpose(gf.matmul(x, y) + old, [0, 2, 1, 3])], [x, y, old], arrays, 1e-5)
    check_run([gf.transpose(gf.matmul(x, y), [0, 1, 3, 2])], [x, y], arrays[:2], 1e-5)


def test_what_comes_before_a_fold_runs_in_the_product_that_feeds_it() -> None:
    x, w = gf.placeholder(gf.float32, [20, 12]), gf.placeholder(gf.float32, [12, 40])
    mask, bias = gf.placeholder(gf.float32, [20, 40]), gf.placeholder(gf.float32, [40])
    arrays = [numbers(20, 12), numbers(12, 40, seed=1), numbers(20, 40, seed=2), numbers(40, seed=3)]
    masked = gf.matmul(x, w) * gf.tanh(mask)
    plan = check_run([masked, gf.reduce_sum(masked, 0)], [x, w, mask], arrays[:3], 1e-5)
    assert len(plan.launches) == 2
    y = gf.matmul(x, w) + bias + mask
    mean, variance = gf.nn.moments(y, [-1], keep_dims=True)
    plan = check_run([(y - mean) * gf.rsqrt(variance + 1e-5)], [x, w, mask, bias], arrays, 1e-4)
    assert len(plan.launches) == 2
    # Two values that the folds need, where one product was: the kernel of the folds computes both again.
    two = [gf.reduce_sum(gf.exp(masked)), gf.reduce_sum(gf.sin(masked))]
    check_run(two, [x, w, mask], arrays[:3], 1e-4)


def test_a_product_that_is_needed_after_the_fold_too_is_stored() -> None:
    x, w = gf.placeholder(gf.float32, [20, 12]), gf.placeholder(gf.float32, [12, 40])
    y = gf.placeholder(gf.float32, [20, 40])
    product = gf.matmul(x, w)
    total = gf.reduce_sum(product * y, -1, keepdims=True)
    arrays = [numbers(20, 12), numbers(12, 40, seed=1), numbers(20, 40, seed=2)]
    check_run([(product - total) * y], [x, w, y], arrays, 1e-4)


# -- rows by index -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "height,width",
    [*((50, width) for width in (1, 7, 16, 33, 64, 96, 128, 200)), (9400, 7), (3000, 33), (600, 128)],
)
def test_sparse_rows_are_computed_where_they_are_added(height: int, width: int) -> None:
    """Gather and segment sum are one kernel, and so are the gradient's rows and their addition to the table.

    Both ask for the rows of a large table before they need them.
    """
    table = gf.get_variable(f"table{width}", initializer=numbers(height, width))
    ids, segments = gf.placeholder("int32", [300]), gf.placeholder("int32", [300])
    rows = gf.nn.embedding_lookup(table, ids)
    loss = gf.reduce_sum(gf.square(gf.unsorted_segment_sum(rows * 0.5, segments, 12)))
    train = gf.train.GradientDescentOptimizer(0.01).minimize(loss)
    random = np.random.default_rng(2)
    arrays = [random.integers(0, height, 300).astype(np.int32), random.integers(-1, 12, 300).astype(np.int32)]
    executable = compile_graph([loss, train], [ids, segments])
    results = []
    for threads in (1, 2, 3):
        state = TestState(**{f"table{width}": numbers(height, width)})
        bound = compile_graph([loss, train], [ids, segments], CompileOptions(threads=threads)).bind(
            ((300,), (300,)), state
        )
        assert not hosts(bound.plan)
        kernels = [launch.kernel for launch in bound.plan.launches if isinstance(launch.kernel, Kernel)]
        ahead = [any(isinstance(s, Prefetch) for s in walk_statements(k.body)) for k in kernels]
        assert sum(ahead) == (2 if height > 50 else 0)
        if height == 50:
            assert not any(launch.bytes > 300 * width * 4 * 4 + 65536 for launch in bound.plan.launches)
        results.append((bound.run(tuple(arrays), state)[0], state.get(f"table{width}")))
    state = TestState(**{f"table{width}": numbers(height, width)})
    wanted = reference.run(executable.program, arrays, state)[0]
    for loss_value, after in results:
        assert loss_value.tobytes() == results[0][0].tobytes()
        assert after.tobytes() == results[0][1].tobytes()
        np.testing.assert_allclose(loss_value, wanted, rtol=1e-4)
        np.testing.assert_allclose(after, state.get(f"table{width}"), rtol=1e-4, atol=1e-5)


def test_rows_that_read_the_table_itself_are_put_down_first() -> None:
    """Each row sees the table before the update, though ids repeat."""
    table = gf.get_variable("own", initializer=numbers(8, 5))
    ids = np.array([1, 1, 3, 7, 1], np.int32)
    step = table.scatter_add(gf.IndexedSlices(gf.gather(table, ids[::-1].copy()) * 2.0, gf.constant(ids)))
    executable = compile_graph([step.op])
    before = numbers(8, 5)
    state = TestState(own=before)
    executable.bind((), state).run((), state)
    wanted = before.copy()
    np.add.at(wanted, ids, before[ids[::-1]] * 2)
    np.testing.assert_allclose(state.get("own"), wanted, rtol=1e-6)


# -- attention ------------------------------------------------------------------------------------------------


def attentions(plan: Plan) -> int:
    return sum(getattr(launch.kernel, "symbol", "").startswith("attention_") for launch in plan.launches)


@pytest.mark.parametrize("open_batch", [False, True])
@pytest.mark.parametrize("masked", ["", "keys", "pairs", "all"])
def test_attention_is_one_launch(open_batch: bool, masked: str) -> None:
    batch, length, count, depth = 2, 19, 3, 8
    lead = None if open_batch else batch
    x = gf.placeholder(gf.float32, [lead, length, 3 * count * depth])
    shapes: dict[str, list[int | None]] = {
        "keys": [lead, 1, 1, length], "pairs": [1, 1, length, length], "all": [lead, count, length, length]
    }  # fmt: skip
    hidden = shapes.get(masked)
    parts = gf.split(gf.reshape(x, [-1, length, 3, count, depth]), 3, axis=2)
    q, k, v = (gf.transpose(gf.squeeze(part, [2]), [0, 2, 1, 3]) for part in parts)
    scores = gf.matmul(q, k, transpose_b=True) / depth**0.5
    feeds, arrays = [x], [numbers(batch, length, 3 * count * depth)]
    if hidden is not None:
        mask = gf.placeholder(gf.float32, hidden)
        scores += (1.0 - mask) * -9.0
        feeds.append(mask)
        arrays.append(np.round(np.abs(numbers(*(size or batch for size in hidden), seed=1))))
    mixed = gf.transpose(gf.matmul(gf.nn.softmax(scores), v), [0, 2, 1, 3])
    plan = check_run([gf.reshape(mixed, [-1, length, count * depth])], feeds, arrays, 1e-5)
    assert attentions(plan) == 1
    assert len(plan.launches) <= (2 if masked else 1)


def test_what_else_takes_the_weights_keeps_them() -> None:
    q, k = gf.placeholder(gf.float32, [3, 20, 8]), gf.placeholder(gf.float32, [3, 30, 8])
    scores = gf.matmul(q, k, transpose_b=True)
    weights = gf.nn.softmax(scores)
    mixed = gf.matmul(weights, k)
    arrays = [numbers(3, 20, 8), numbers(3, 30, 8, seed=1)]
    assert attentions(check_run([mixed], [q, k], arrays, 1e-5)) == 1
    assert attentions(check_run([mixed, weights], [q, k], arrays, 1e-5)) == 0
    assert attentions(check_run([mixed, scores], [q, k], arrays, 1e-4)) == 0
    check_run(gf.gradients(mixed, [q, k]), [q, k], arrays, 1e-4)


def test_softmax_by_hand_and_a_bias_of_each_query_are_attention_too() -> None:
    q, k = gf.placeholder(gf.float32, [20, 8]), gf.placeholder(gf.float32, [30, 8])
    bias = gf.placeholder(gf.float32, [20, 1])
    scores = gf.tanh(gf.matmul(q, k, transpose_b=True) * bias)
    grown = gf.exp(scores - gf.reduce_max(scores, -1, keepdims=True))
    mixed = gf.matmul(grown / gf.reduce_sum(grown, -1, keepdims=True), k)
    arrays = [numbers(20, 8), numbers(30, 8, seed=1), numbers(20, 1, seed=2)]
    assert attentions(check_run([mixed], [q, k, bias], arrays, 1e-5)) == 1


def test_what_only_looks_like_attention_is_not() -> None:
    q, k = gf.placeholder(gf.float32, [20, 8]), gf.placeholder(gf.float32, [20, 8])
    scores = gf.matmul(q, k, transpose_b=True)
    arrays = [numbers(20, 8), numbers(20, 8, seed=1)]
    other = gf.nn.softmax(scores)
    for product in (
        gf.matmul(other, k, transpose_a=True),
        gf.matmul(other, gf.transpose(scores)),
        gf.matmul(k, other, transpose_a=True),
    ):
        assert attentions(check_run([product], [q, k], arrays, 1e-3)) == 0
    few = gf.placeholder(gf.float32, [2, 8])
    mixed = gf.matmul(gf.nn.softmax(gf.matmul(few, k, transpose_b=True)), k)
    assert attentions(check_run([mixed], [few, k], [numbers(2, 8), arrays[1]], 1e-5)) == 0


@pytest.mark.parametrize("case", ["open", "masked", "dropped", "by hand", "dropped and open"])
def test_gradients_of_attention_are_one_launch(case: str) -> None:
    batch, length, count, depth = 2, 19, 3, 8
    x = gf.placeholder(gf.float32, [None if "open" in case else batch, length, 3 * count * depth])
    parts = gf.split(gf.reshape(x, [-1, length, 3, count, depth]), 3, axis=2)
    q, k, v = (gf.transpose(gf.squeeze(part, [2]), [0, 2, 1, 3]) for part in parts)
    if case == "by hand":
        q = q * depth**-0.5
    scores = gf.matmul(q, k, transpose_b=True)
    feeds, arrays = [x], [numbers(batch, length, 3 * count * depth)]
    if case == "masked":
        mask = gf.placeholder(gf.float32, [batch, 1, 1, length])
        scores = scores * depth**-0.5 + (1.0 - mask) * -9.0
        feeds.append(mask)
        arrays.append(np.round(np.abs(numbers(batch, 1, 1, length, seed=1))))
    weights = gf.nn.softmax(scores)
    if "dropped" in case:
        noise = gf.placeholder(gf.float32, [None if "open" in case else batch, count, length, length])
        weights = gf.where(noise >= 0.25, weights * 1.25, gf.zeros_like(weights))
        feeds.append(noise)
        arrays.append(np.abs(numbers(batch, count, length, length, seed=2)))
    mixed = gf.transpose(gf.matmul(weights, v), [0, 2, 1, 3])
    loss = gf.reduce_sum(gf.tanh(gf.reshape(mixed, [-1, length, count * depth])))
    plan = check_run([loss, *gf.gradients(loss, [x])], feeds, arrays, 1e-4)
    assert attentions(plan) == 2
    assert all("attention" in launch.kernel.symbol for launch in plan.launches if "MatMul" in launch.name)


def test_what_else_takes_the_slopes_keeps_them() -> None:
    q, k = gf.placeholder(gf.float32, [3, 20, 8]), gf.placeholder(gf.float32, [3, 30, 8])
    bias = gf.placeholder(gf.float32, [30])
    scores = gf.matmul(q, k, transpose_b=True) + bias
    mixed = gf.matmul(gf.nn.softmax(scores), k)
    arrays = [numbers(3, 20, 8), numbers(3, 30, 8, seed=1), numbers(30, seed=2)]
    loss = gf.reduce_sum(gf.tanh(mixed))
    assert attentions(check_run([loss, *gf.gradients(loss, [q, k, bias])], [q, k, bias], arrays, 1e-4)) == 0
    assert attentions(check_run([loss, *gf.gradients(loss, [q, k])], [q, k, bias], arrays, 1e-4)) == 2


# -- parts that are made in their places -------------------------------------------------------------------------------


def copies(plan: Plan) -> int:
    """How many launches merely move a block."""
    return sum(
        launch.origin is not None and launch.origin.type in ("ConcatV2", "Pack") for launch in plan.launches
    )


def test_a_value_that_is_concatenated_with_itself_lies_in_one_piece() -> None:
    x = gf.placeholder(gf.float32, [2, None, 40])
    check_run([gf.concat([gf.tanh(x)] * 2, 1)], [x], [numbers(2, 30, 40)], 1e-5)


@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("widths", [(3, 5), (16, 16, 1), (70, 7, 64)], ids=str)
def test_parts_of_a_concatenation_are_made_there(rows: int, widths: tuple[int, ...]) -> None:
    x = gf.placeholder("float32", [rows, sum(widths)])
    parts = [gf.tanh(part * 2.0) + 1.0 for part in gf.split(x, list(widths), axis=1)]
    array = numbers(rows, sum(widths))
    plan = check_run([gf.exp(gf.concat(parts, 1))], [x], [array], 1e-5)
    assert copies(plan) == 0
    below = [gf.reduce_sum(part, 1) for part in parts]
    plan = check_run([gf.concat(below, 0) * 2.0, gf.add_n(below)], [x], [array], 1e-4)
    assert copies(plan) == (1 in widths)  # the sum of one column is that column


def test_parts_inside_parts() -> None:
    x = gf.placeholder("float32", [6, 8])
    weights = gf.constant(numbers(8, 8))
    states, state = [], x
    for _ in range(4):
        left, right = gf.split(gf.matmul(state, weights), 2, axis=1)
        state = gf.concat([gf.tanh(right), gf.sigmoid(left) * left], 1)
        states.append(state)
    plan = check_run([gf.stack(states) * 3.0, gf.concat(states, 0) - 1.0], [x], [numbers(6, 8)], 1e-4)
    assert copies(plan) <= 4  # each state lies in one of the two


def test_parts_that_cannot_lie_there_are_copied() -> None:
    x, rows = gf.placeholder("float32", [5, 4]), gf.placeholder("int32", [None])
    y = gf.tanh(x)
    twice = gf.concat([y, x, y], 1) + 1.0
    padded = gf.pad(gf.exp(x), [[1, 2], [0, 3]]) * 2.0
    fetched = gf.concat([y, gf.cos(x)], 0)
    counted = gf.concat([gf.gather(y, rows) * 2.0, y[:2]], 0) * 1.5
    check_run(
        [twice, padded, fetched, y, counted], [x, rows], [numbers(5, 4), np.array([3, 0, 3], np.int32)], 1e-5
    )


def test_a_part_may_be_a_new_state() -> None:
    v = gf.get_variable("whole", initializer=numbers(4, 6))
    w = gf.get_variable("part", initializer=numbers(4, 3))
    part = gf.tanh(w * 2.0)
    steps = [gf.assign(v, gf.concat([part, gf.exp(w)], 1)).op, gf.assign(w, part).op]
    before = {"whole": numbers(4, 6), "part": numbers(4, 3)}
    state = TestState(**before)
    compile_graph(steps).bind((), state).run((), state)
    made = np.tanh(before["part"] * 2)
    np.testing.assert_allclose(state.get("part"), made, rtol=1e-5)
    np.testing.assert_allclose(
        state.get("whole"), np.concatenate([made, np.exp(before["part"])], 1), rtol=1e-5
    )


def test_epilogues_read_from_the_middle_of_an_operand() -> None:
    x, inputs = gf.placeholder("float32", [7, 9]), gf.placeholder("float32", [5, 7, 11])
    weights = gf.constant(numbers(9, 11))
    fetches = [gf.nn.relu(gf.matmul(x, weights) + part) for part in gf.unstack(inputs * 2.0, 5)]
    plan = check_run(fetches, [x, inputs], [numbers(7, 9), numbers(5, 7, 11)], 1e-4)
    assert not any(launch.origin.type == "Relu" and launch.flops == 0 for launch in plan.launches)


# -- stacked products -----------------------------------------------------------------------------------------------


def _sum_of_products(
    steps: int, rows: int | None, extra: bool = False
) -> tuple[list[Any], list[Any], list[np.ndarray]]:
    random = np.random.default_rng(4)
    a = [gf.placeholder("float32", [rows, 6]) for _ in range(steps)]
    b = [gf.placeholder("float32", [rows, 40]) for _ in range(steps)]
    products = [gf.matmul(x, y, transpose_a=True) for x, y in zip(a, b, strict=True)]
    if extra:
        products.append(gf.ones([6, 40]))
    arrays = [random.standard_normal((rows or 3 + i, 6)).astype(np.float32) for i in range(steps)]
    arrays += [random.standard_normal((rows or 3 + i, 40)).astype(np.float32) for i in range(steps)]
    return [gf.add_n(products)], [*a, *b], arrays


@pytest.mark.parametrize("rows", [1, 3, None])
@pytest.mark.parametrize("extra", [False, True])
def test_a_sum_of_products_is_one_product(rows: int | None, extra: bool) -> None:
    fetches, feeds, arrays = _sum_of_products(4, rows, extra)
    executable = compile_graph(fetches, feeds)
    types = [node.type for node in executable.program.nodes]
    assert types.count("MatMul") == 1
    assert types.count("AddN") == extra
    got = executable.bind(tuple(a.shape for a in arrays), TestState()).run(tuple(arrays), TestState())
    check_same(got, run_reference(executable.frozen, arrays), 1e-5)


def test_products_that_stay_apart() -> None:
    """Tall operands of a small result, a product that is used elsewhere, and whole numbers."""
    fetches, feeds, _ = _sum_of_products(4, 60)
    assert [n.type for n in compile_graph(fetches, feeds).program.nodes].count("MatMul") == 4
    fetches, feeds, _ = _sum_of_products(3, 2)
    used = fetches[0].op.inputs[1]
    assert [n.type for n in compile_graph([*fetches, used], feeds).program.nodes].count("MatMul") == 2
    whole = gf.placeholder("int32", [2, 9])
    total = gf.add_n([gf.matmul(whole, whole + i, transpose_a=True) for i in range(2)])
    assert [n.type for n in compile_graph([total], [whole]).program.nodes].count("MatMul") == 2


# -- sparse gradients ---------------------------------------------------------------------------------------------


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: gf.train.AdamOptimizer(0.05),
    "momentum": lambda: gf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adagrad": lambda: gf.train.AdagradOptimizer(0.1),
    "adadelta": lambda: gf.train.AdadeltaOptimizer(1.0),
    "rms": lambda: gf.train.RMSPropOptimizer(0.01, momentum=0.5),
    "centered": lambda: gf.train.RMSPropOptimizer(0.01, momentum=0.5, centered=True),
    "ftrl": lambda: gf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
    "proximal": lambda: gf.train.ProximalAdagradOptimizer(0.1, l1_regularization_strength=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("open_size", [False, True])
def test_sparse_updates_are_native(name: str, open_size: bool) -> None:
    table = gf.get_variable("t", initializer=numbers(30, 12))
    ids = gf.placeholder("int32", [None if open_size else 40])
    rows = gf.nn.embedding_lookup(table, ids)
    loss = gf.reduce_sum(gf.square(rows - 0.5))
    train = OPTIMIZERS[name]().minimize(loss)
    names = [variable.op.name for variable in gf.global_variables()]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        before = dict(zip(names, session.run(gf.global_variables()), strict=True))
    array = np.random.default_rng(5).integers(0, 30, 40).astype(np.int32)
    executable = compile_graph([loss, train], [ids])
    assert "Unique" not in [node.type for node in executable.program.nodes]
    wanted = TestState(**before)
    reference.run(executable.frozen, [array], wanted)
    results = []
    for threads in (1, 2):
        state = TestState(**before)
        bound = compile_graph([loss, train], [ids], CompileOptions(threads=threads)).bind(((40,),), state)
        assert not hosts(bound.plan)
        bound.run((array,), state)
        results.append([state.get(key).tobytes() for key in names])
        for key in names:
            np.testing.assert_allclose(state.get(key), wanted.get(key), rtol=2e-5, atol=1e-6)
    assert results[0] == results[1]


def test_a_sparse_update_of_rows_that_are_not_there_is_refused() -> None:
    table = gf.get_variable("t", initializer=numbers(30, 12))
    ids, rows = gf.placeholder("int32", [3]), gf.placeholder("float32", [3, 12])
    train = gf.train.MomentumOptimizer(0.1, 0.9).apply_gradients(
        [(gf.IndexedSlices(rows, ids, gf.constant([30, 12])), table)]
    )
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for bad in ([0, 30, 1], [-1, 2, 2]):
            with pytest.raises(gf.errors.InvalidArgumentError, match="is not in"):
                session.run(train, {ids: bad, rows: numbers(3, 12)})
        np.testing.assert_array_equal(session.run(table), numbers(30, 12))
        session.run(train, {ids: [4, 4, 4], rows: np.ones((3, 12), np.float32)})
        after = numbers(30, 12)
        after[4] -= 0.1 * 3
        np.testing.assert_allclose(session.run(table), after, rtol=1e-6)


def test_unique_indices_that_are_used_elsewhere_stay() -> None:
    table = gf.get_variable("t", initializer=numbers(30, 12))
    ids = gf.placeholder("int32", [5])
    unique, places = gf.unique(ids)
    count = gf.shape(unique)[0]
    sums = gf.unsorted_segment_sum(gf.nn.embedding_lookup(table, ids), places, count)
    step = table.scatter_add(gf.IndexedSlices(sums, unique))
    types = [node.type for node in compile_graph([step.op, unique], [ids]).program.nodes]
    assert "Unique" in types
    types = [node.type for node in compile_graph([step.op, gf.reduce_sum(sums)], [ids]).program.nodes]
    assert "Unique" in types


def test_cheap_values_between_kernels_are_computed_again() -> None:
    x, w = gf.placeholder(gf.float32, [70, 12]), gf.placeholder(gf.float32, [12, 80])
    bias = gf.placeholder(gf.float32, [80])
    arrays = [numbers(70, 12), numbers(12, 80, seed=1), numbers(80, seed=2)]
    y = gf.matmul(x, w) + bias
    z = 0.5 * y * (1.0 + gf.erf(y * 0.7))
    total = gf.reduce_sum(gf.square(gf.matmul(z, w, transpose_b=True)))
    plan = check_run([total, *gf.gradients(total, [x, w, bias])], [x, w, bias], arrays, 1e-2)
    stored = {slot.name for slot in plan.slots if slot.kind == "buffer" and slot.shape == (70, 80)}
    assert {y.op.name, z.op.name} <= stored
    assert not stored & {"mul", "mul_1"}  # multiples of y


def test_what_is_computed_again_of_a_product_finds_it_in_memory() -> None:
    x = gf.placeholder(gf.float32, [16, 2])
    weights, offset = gf.Variable([[1.0], [2.0]]), gf.Variable([0.5])
    loss = gf.reduce_mean(gf.square(gf.matmul(x, weights) + offset - 1.0))
    step = gf.train.GradientDescentOptimizer(0.1).minimize(loss)
    fed = np.linspace(-1, 1, 32, dtype=np.float32).reshape(16, 2)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        value, _ = session.run([loss, step], {x: fed})
        error = fed @ [[1.0], [2.0]] - 0.5
        np.testing.assert_allclose(value, np.mean(error**2), rtol=1e-5)
        np.testing.assert_allclose(session.run(offset), [0.5 - 0.2 * error.mean()], rtol=1e-5)


def test_products_of_rows_and_columns_are_computed_again() -> None:
    x, gamma = gf.placeholder(gf.float32, [70, 80]), gf.placeholder(gf.float32, [80])
    rows = gf.rsqrt(gf.reduce_sum(gf.square(x), 1, keepdims=True))
    scale = rows * gamma
    y = x * scale
    loss = gf.reduce_sum(gf.square(y) * gf.exp(y))
    check_run(
        [loss, *gf.gradients(loss, [x, gamma])],
        [x, gamma],
        [numbers(70, 80) * 0.1, numbers(80, seed=1)],
        1e-3,
    )


@pytest.mark.parametrize("open_batch", [False, True])
def test_products_write_into_the_parts_of_a_concatenation(open_batch: bool) -> None:
    batch, length, count, depth = 2, 9, 3, 8
    lead = None if open_batch else batch
    x = gf.placeholder(gf.float32, [lead, count, length, depth])
    y, w = gf.placeholder(gf.float32, [lead, count, depth, depth]), gf.placeholder(gf.float32, [depth, 5])

    def rows(product: Any) -> Any:
        return gf.reshape(gf.transpose(product, [0, 2, 1, 3]), [-1, count * depth])

    parts = [rows(gf.matmul(x, y)), rows(gf.nn.relu(gf.matmul(x, y, transpose_b=True) + 1.0))]
    parts.append(gf.matmul(gf.reshape(x, [-1, depth]), w)[: 2 * length])
    arrays = [numbers(batch, count, length, depth), numbers(batch, count, depth, depth, seed=1)]
    plan = check_run([gf.concat(parts[:2], axis=1)], [x, y], arrays, 1e-4)
    assert {launch.origin.type for launch in plan.launches} <= {"BatchMatMulV2"}
    check_run([gf.concat([*parts, parts[1]], axis=1)], [x, y, w], [*arrays, numbers(depth, 5)], 1e-4)
    check_run([gf.concat(parts[:2], axis=1), parts[0]], [x, y], arrays, 1e-4)
    flat = gf.matmul(gf.reshape(x, [-1, depth]), w)
    both = gf.concat([flat, gf.tanh(flat), gf.matmul(gf.reshape(x, [-1, depth]), w)], axis=1)
    check_run([both], [x, w], [arrays[0], numbers(depth, 5)], 1e-4)
    stacked = gf.stack([gf.matmul(x, y), gf.matmul(x, y, transpose_b=True)], axis=3)
    check_run([stacked], [x, y], arrays, 1e-4)
    old = gf.placeholder(gf.float32, [lead, count, length, depth])
    added = gf.concat([rows(gf.matmul(x, y) + old), parts[0]], axis=1)
    check_run([added], [x, y, old], [*arrays, numbers(batch, count, length, depth, seed=3)], 1e-4)


def test_a_sum_of_repeated_elements_counts_each() -> None:
    """The operand of a fold repeats what its group has: the fold's space is not the group's."""
    x = gf.placeholder(gf.float32, [None, None])
    total = gf.reduce_sum(gf.constant([1.5, 3.0]) + gf.reduce_sum(x), None, keepdims=True)
    (slope,) = gf.gradients(gf.tanh(gf.segment_sum(total, gf.range(gf.shape(total)[0]) // 2)), [x])
    with gf.Session() as session:
        np.testing.assert_allclose(
            session.run(slope, {x: [[-0.5]]}), [[2 * (1 - np.tanh(3.5) ** 2)]], rtol=1e-3
        )
    one = gf.placeholder(gf.float32, [1])
    flat = gf.reduce_sum(gf.broadcast_to(one + 1.0, [2]))
    square = gf.gather(gf.reshape(one + one, [1, 1]), [0])
    rows = gf.reduce_sum(gf.broadcast_to(square, [4, 3]), 1)
    with gf.Session() as session:
        assert session.run(flat, {one: [1.0]}) == 4
        assert session.run(rows, {one: [1.0]}).tolist() == [6, 6, 6, 6]
