"""Functions on arrays and numbers: values, gradients, static shapes and names as TensorFlow's, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.errors import InvalidArgumentError
from tests.samples import apart, integers, uniform

INPUTS: dict[str, Any] = {
    "x": uniform(4, 5),
    "y": uniform(4, 5, seed=8),
    "pos": uniform(4, 5, low=0.2, high=2, seed=9),
    "row": uniform(5, seed=10),
    "v": uniform(3, 4, 5, seed=11),
    "one": uniform(1, 4, 1, seed=12),
    "far": apart(4, 5, dtype=np.float32),
    "s": np.array(1.5, np.float32),
    "i": integers(4, 5, low=1, high=9, dtype=np.int32),
    "j": np.array([2, 0, 3], np.int32),
    "k": np.array(2, np.int32),
    "wide": np.array([7, -3, 5], np.int64),
    "mask": uniform(4, 5, dtype=bool),
    "rows": np.array([True, False, True, True]),
    "z": uniform(3, 2, dtype=np.complex64),
}

# `p` [?, 5], `q` of unknown rank and `n` an unknown int32 scalar are placeholders, fed with x, x and 2.
FED = {"p": ("float32", [None, 5], "x"), "q": ("float32", None, "x"), "n": ("int32", [], "k")}

EXPRESSIONS = (
    # operators
    "x + y", "x - 1", "2 * x", "x / y", "x // 2.0", "x % 0.7", "pos ** 2", "2.0 ** x", "-x", "abs(x)",
    "1 - row", "i / 2", "i // 2", "i % 3", "i + k", "x > 0", "x >= y", "x < 1.0", "x <= y", "~mask",
    "mask & (x > 0)", "mask | (x > 0)", "mask ^ (x > 0)", "x + np.ones((4, 5), np.float32)",
    "np.ones((4, 5), np.float32) - x", "p + row", "q * 2.0", "p * p", "s * x",
    # elementwise functions
    "tf.add(x, y)", "tf.subtract(x, row)", "tf.multiply(x, 2)", "tf.divide(x, y)", "tf.div(i, 2)",
    "tf.div(x, 2)", "tf.truediv(i, 4)", "tf.floordiv(i, 2)", "tf.floor_div(i, 2)", "tf.mod(i, 3)",
    "tf.floormod(x, 0.7)", "tf.truncatemod(i, 4)", "tf.truncatediv(i, 4)", "tf.realdiv(x, y)",
    "tf.negative(x)", "tf.abs(x)", "tf.sign(x)", "tf.square(x)", "tf.sqrt(pos)", "tf.rsqrt(pos)",
    "tf.reciprocal(pos)", "tf.exp(x)", "tf.expm1(x)", "tf.log(pos)", "tf.log1p(pos)", "tf.sin(x)", "tf.cos(x)",
    "tf.tan(x)", "tf.asin(x / 3.0)", "tf.acos(x / 3.0)", "tf.atan(x)", "tf.atan2(x, pos)", "tf.sinh(x)",
    "tf.cosh(x)", "tf.tanh(x)", "tf.asinh(x)", "tf.acosh(pos + 1.0)", "tf.atanh(x / 3.0)", "tf.sigmoid(x)",
    "tf.log_sigmoid(x)", "tf.erf(x)", "tf.erfc(x)", "tf.lgamma(pos)", "tf.digamma(pos)",
    "tf.polygamma(2.0, pos)", "tf.zeta(2.5, pos)", "tf.floor(x)", "tf.ceil(x)", "tf.round(x)", "tf.rint(x)",
    "tf.pow(pos, y)", "tf.pow(i, 3)", "tf.maximum(x, y)", "tf.minimum(x, 0.1)", "tf.squared_difference(x, row)",
    "tf.div_no_nan(x, tf.zeros_like(x))", "tf.scalar_mul(2.0, x)", "tf.add_n([x, y, x])",
    "tf.accumulate_n([x, y])", "tf.clip_by_value(far, -0.3, 0.8)", "tf.cast(x, tf.int32)",
    "tf.cast(i, tf.float32)", "tf.cast(x, tf.bool)", "tf.to_float(i)", "tf.to_int32(x)", "tf.to_double(x)",
    "tf.saturate_cast(x * 200.0, tf.int8)", "tf.bitcast(x, tf.int32)", "tf.equal(i, 3)", "tf.not_equal(i, k)",
    "tf.logical_and(mask, True)", "tf.logical_or(mask, False)", "tf.logical_xor(mask, x > 0)",
    "tf.logical_not(mask)", "tf.is_finite(x)", "tf.is_nan(x)", "tf.is_inf(x)", "tf.where(mask, x, y)",
    "tf.where(rows, x, y)", "tf.where(mask)", "tf.complex(x, y)", "tf.real(z)", "tf.imag(z)", "tf.conj(z)",
    "tf.angle(z)", "tf.abs(z)", "tf.bitwise.bitwise_and(i, 3)", "tf.bitwise.left_shift(i, 2)",
    "tf.bitwise.invert(i)", "tf.nn.relu(far)", "tf.nn.relu6(far)", "tf.nn.leaky_relu(far)",
    "tf.nn.leaky_relu(far, alpha=0.3)", "tf.nn.elu(x)", "tf.nn.selu(x)", "tf.nn.softplus(x)",
    "tf.nn.softsign(x)", "tf.nn.tanh(x)", "tf.nn.sigmoid(x)",
    # sources
    "tf.identity(x)", "tf.identity_n([x, i])", "tf.stop_gradient(x) * x", "tf.zeros([2, 3])",
    "tf.zeros([2], tf.int32)", "tf.ones((3,), dtype=tf.float64)", "tf.zeros(tf.stack([k, 3]))",
    "tf.zeros([40, 40])", "tf.zeros([n, 3])", "tf.zeros_like(x)", "tf.ones_like(x)", "tf.zeros_like(p)",
    "tf.ones_like(p)", "tf.zeros_like(x, dtype=tf.int32)", "tf.fill([2, 3], s)", "tf.fill(tf.stack([n, 3]), 7)",
    "tf.range(5)", "tf.range(1, 10, 3)", "tf.range(n)", "tf.range(1.0, 2.0, 0.25)",
    "tf.range(0, 5, dtype=tf.float32)", "tf.linspace(0.0, 1.0, 5)", "tf.shape(x)", "tf.shape(p)",
    "tf.shape(x, out_type=tf.int64)", "tf.shape_n([x, row])", "tf.size(x)", "tf.size(p)", "tf.rank(x)",
    "tf.rank(q)", "tf.broadcast_dynamic_shape(tf.shape(x), tf.shape(row))", "tf.constant(3)",
    "tf.constant([1, 2], shape=[4])", "tf.placeholder_with_default(x, [None, 5])", "tf.ensure_shape(p, [4, 5])",
    # reductions
    "tf.reduce_sum(x)", "tf.reduce_sum(x, 1)", "tf.reduce_sum(x, [0, 1], keepdims=True)",
    "tf.reduce_mean(x, axis=0)", "tf.reduce_mean(x, reduction_indices=[1])", "tf.reduce_mean(i)",
    "tf.reduce_prod(x, 1)", "tf.reduce_max(far, axis=-1)", "tf.reduce_min(far, keep_dims=True)",
    "tf.reduce_any(mask, 0)", "tf.reduce_all(mask)", "tf.reduce_logsumexp(x, 1)", "tf.reduce_logsumexp(x)",
    "tf.math.reduce_variance(x, 1)", "tf.math.reduce_std(x)", "tf.count_nonzero(i, 1)", "tf.argmax(x, 1)",
    "tf.argmin(x)", "tf.argmax(x, axis=-1, output_type=tf.int32)", "tf.cumsum(x, 1)",
    "tf.cumsum(x, exclusive=True, reverse=True)", "tf.cumprod(pos, 1)", "tf.reduce_sum(p)",
    "tf.reduce_sum(p, 0)", "tf.reduce_mean(p, 1)", "tf.reduce_sum(q)", "tf.reduce_max(q, 0)",
    "tf.reduce_sum(v, [-1, 0])", "tf.math.reduce_euclidean_norm(x, 1)",
    "tf.arg_max(x, 1)", "tf.sort(far, 0)", "tf.sort(i, direction='DESCENDING')", "tf.sort(wide)",
    "tf.argsort(far)", "tf.argsort(far, axis=0, direction='DESCENDING')",
    # indexing
    "x[0]", "x[1:3]", "x[:, 2]", "x[..., -1]", "x[::2, ::-1]", "x[tf.newaxis, 1]", "v[1, ..., :2]",
    "v[:, None, 0]", "x[k]", "x[k:, 1]", "x[:n]", "p[0]", "p[:, 1:3]", "p[-1, n]", "q[0]", "x[rows]", "wide[0]",
    "x[n:n + 1]", "tf.shape(p)[1]", "tf.shape(p)[0]", "tf.shape(v)[1:]", "tf.slice(x, [1, 0], [2, -1])",
    "tf.slice(p, [0, 1], [n, 2])", "tf.strided_slice(x, [0, 1], [4, 5], [2, 3])", "tf.boolean_mask(x, rows)",
    "tf.boolean_mask(x, mask)", "tf.boolean_mask(v, rows, axis=1)",
    # layout
    "tf.reshape(x, [2, 10])", "tf.reshape(x, [-1])", "tf.reshape(p, [-1, 1, 5])", "tf.reshape(p, tf.shape(p))",
    "tf.reshape(p, [tf.shape(p)[0], 5, 1])", "tf.reshape(q, [-1, 5])",
    "tf.reshape(v, tf.concat([tf.shape(v)[:1], [20]], 0))", "tf.expand_dims(x, 1)",
    "tf.expand_dims(x, axis=-1)", "tf.expand_dims(x, dim=0)", "tf.squeeze(one)", "tf.squeeze(one, [0])",
    "tf.squeeze(one, axis=2)", "tf.squeeze(one, squeeze_dims=[0, 2])", "tf.transpose(x)",
    "tf.transpose(v, [2, 0, 1])", "tf.transpose(p)", "tf.transpose(q)", "tf.matrix_transpose(v)",
    "tf.broadcast_to(row, [4, 5])", "tf.tile(x, [2, 1])", "tf.tile(p, [1, 2])", "tf.tile(p, [n, 1])",
    "tf.concat([x, y], 0)", "tf.concat([x, y], axis=-1)", "tf.concat([x], 1)", "tf.concat([p, x], 1)",
    "tf.concat([p, q], 0)", "tf.concat([x, y], k - 2)", "tf.stack([x, y])", "tf.stack([x, y], axis=1)",
    "tf.stack([k, 1, n])", "tf.stack([1.0, 2.0])", "tf.unstack(x)", "tf.unstack(v, axis=1)",
    "tf.unstack(p, num=5, axis=1)", "tf.split(x, 2)", "tf.split(x, [1, 4], 1)", "tf.split(x, [2, -1], axis=1)",
    "tf.split(p, 5, axis=1)", "tf.pad(x, [[1, 0], [0, 2]])", "tf.pad(x, [[1, 1], [1, 1]], 'REFLECT')",
    "tf.pad(x, [[1, 1], [2, 0]], mode='SYMMETRIC')", "tf.pad(x, [[0, 1], [0, 0]], constant_values=3.0)",
    "tf.pad(p, [[0, 1], [2, 0]])", "tf.gather(x, j)", "tf.gather(x, j, axis=1)",
    "tf.gather(v, [[1, 0], [0, 2], [1, 1]], axis=1, batch_dims=1)", "tf.gather(p, [0, 1], axis=0)",
    "tf.batch_gather(x, [[0, 1], [1, 1], [2, 0], [4, 4]])", "tf.gather_nd(x, [[0, 1], [3, 2]])",
    "tf.gather_nd(v, [[[0, 1]], [[2, 0]], [[3, 4]]], batch_dims=1)", "tf.scatter_nd([[1], [3]], x[:2], [6, 5])",
    "tf.tensor_scatter_update(x, [[0, 1], [2, 2]], row[:2])",
    "tf.tensor_scatter_add(x, [[0, 1], [0, 1]], row[:2])", "tf.one_hot(j, 4)",
    "tf.one_hot(j, depth=3, axis=0, dtype=tf.int32)", "tf.one_hot(j, n, on_value=2.0, off_value=-1.0)",
    "tf.reverse(x, [1])", "tf.reverse_sequence(x, [1, 3, 5, 2], seq_axis=1, batch_axis=0)", "tf.roll(x, 2, 1)",
    "tf.invert_permutation([2, 0, 1])", "tf.unique(j)", "tf.unique_with_counts(i[0])",
    "tf.setdiff1d(j, [0, 5])", "tf.diag(row)", "tf.diag_part(x[:, :4])", "tf.matrix_band_part(x, 1, 0)",
    "tf.space_to_depth(tf.reshape(x, [1, 2, 2, 5]), 2)", "tf.depth_to_space(tf.reshape(x, [1, 1, 1, 20]), 2)",
    "tf.space_to_batch_nd(v, [2], [[0, 0]])", "tf.segment_sum(x, [0, 0, 1, 3])",
    "tf.segment_mean(x, [0, 0, 1, 1])", "tf.segment_max(far, [0, 0, 1, 1])",
    "tf.unsorted_segment_sum(x, [1, 0, 1, 2], 3)", "tf.unsorted_segment_mean(x, [1, 0, 1, 2], 3)",
    "tf.unsorted_segment_max(far, [1, 0, 1, 0], 2)", "tf.unsorted_segment_sqrt_n(x, [1, 0, 1, 2], 3)",
    "tf.dynamic_partition(x, [1, 0, 1, 0], 2)", "tf.dynamic_stitch([[0, 2], [1, 3]], [x[:2], x[2:]])",
    "tf.meshgrid(row, x[:, 0])", "tf.meshgrid(row, x[:, 0], indexing='ij')", "tf.sequence_mask([1, 3, 2])",
    "tf.sequence_mask([1, 3], 4, tf.float32)",
)  # fmt: skip

# Where TensorFlow 2 names the operation otherwise than TensorFlow 1 did, or builds it of more parts than we do.
OTHER_NAME = {
    "tf.accumulate_n([x, y])": "AccumulateNV2",
    "tf.linspace(0.0, 1.0, 5)": "LinSpace",
    "tf.batch_gather(x, [[0, 1], [1, 1], [2, 0], [4, 4]])": "BatchGather/GatherV2",
    "tf.gather_nd(v, [[[0, 1]], [[2, 0]], [[3, 4]]], batch_dims=1)": "BatchGatherND/GatherNd",
    "tf.sort(far, 0)": "sort/Transpose_1",
    "tf.sort(wide)": "sort/Invert_1",
    "tf.argsort(far, axis=0, direction='DESCENDING')": "argsort/Transpose_1",
    "tf.meshgrid(row, x[:, 0])": "meshgrid/BroadcastTo",
    "tf.meshgrid(row, x[:, 0], indexing='ij')": "meshgrid/BroadcastTo",
}

REFEREE = r"""
import json, sys
import numpy as np
import tensorflow as real
tf = real.compat.v1
tf.disable_v2_behavior()
inputs, fed, expressions = dict(np.load(sys.argv[1])), json.load(open(sys.argv[2])), json.load(open(sys.argv[3]))
results, described, errors = {}, {}, {}
for number, text in enumerate(expressions):
    with tf.Graph().as_default(), tf.Session() as session:
        made = {name: tf.constant(value) for name, value in inputs.items()}
        feeds = {}
        for name, (dtype, shape, source) in fed.items():
            made[name] = tf.placeholder(dtype, shape)
            feeds[made[name]] = inputs[source]
        try:
            outputs = eval(text, {"tf": tf, "np": np} | made)
            outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
            floating = {n: t for n, t in made.items() if t.dtype.is_floating}
            ys = [o for o in outputs if o.dtype.is_floating]
            grads = tf.gradients(ys, list(floating.values())) if ys else []
            present = {n: tf.convert_to_tensor(g) for n, g in zip(floating, grads) if g is not None}
            values, gradients = session.run([outputs, present], feeds)
        except Exception as error:
            errors[text] = f"{type(error).__name__}: {error}"
            continue
        for i, value in enumerate(values):
            results[f"{number} value {i}"] = value
        for name, value in gradients.items():
            results[f"{number} gradient {name}"] = value
        shapes = [None if o.shape.rank is None else o.shape.as_list() for o in outputs]
        described[number] = [outputs[0].op.name, shapes]
np.savez(sys.argv[4], **results)
json.dump([described, errors], open(sys.argv[5], "w"))
"""


def evaluated(text: str) -> tuple[dict[str, Any], str, list[Any]]:
    """Values and gradients by key, the name of the first output's operation, and the static shapes."""
    with gf.Graph().as_default() as graph:
        made = {name: gf.constant(value) for name, value in INPUTS.items()}
        feeds = {}
        for name, (dtype, shape, source) in FED.items():
            made[name] = gf.placeholder(dtype, shape)
            feeds[made[name]] = INPUTS[source]
        outputs = eval(text, {"tf": gf, "np": np} | made)
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        floating = {name: t for name, t in made.items() if t.dtype.is_floating}
        ys = [o for o in outputs if o.dtype.is_floating]
        grads = gf.gradients(ys, list(floating.values())) if ys else []
        present = {n: gf.convert_to_tensor(g) for n, g in zip(floating, grads, strict=False) if g is not None}
        with gf.Session(graph=graph) as session:
            values, gradients = session.run([outputs, present], feeds)
    for output, value in zip(outputs, values, strict=True):
        assert output.shape.is_compatible_with(value.shape)
    result = {f"value {i}": value for i, value in enumerate(values)}
    result |= {f"gradient {name}": value for name, value in gradients.items()}
    return result, outputs[0].op.name, [None if o.shape.rank is None else o.shape.as_list() for o in outputs]


def is_weaker(mine: Any, theirs: Any) -> bool:
    """Whether a static shape says less than another."""
    if theirs is None:
        return False
    if mine is None or len(mine) != len(theirs):
        return True
    return any(b is not None and a != b for a, b in zip(mine, theirs, strict=True))


@pytest.mark.tensorflow
@pytest.mark.slow
def test_values_gradients_shapes_and_names_are_tensorflows(
    tensorflow: Callable[..., str], tmp_path: Path
) -> None:
    files = [
        tmp_path / name
        for name in ("inputs.npz", "fed.json", "expressions.json", "results.npz", "described.json")
    ]
    np.savez(files[0], **INPUTS)
    files[1].write_text(json.dumps(FED))
    files[2].write_text(json.dumps(EXPRESSIONS))
    tensorflow(REFEREE, *files)
    theirs = np.load(files[3])
    described, refused = json.loads(files[4].read_text())
    assert refused == {}, "TensorFlow refuses some of the expressions"
    keys: dict[int, list[str]] = {}
    for key in theirs.files:
        keys.setdefault(int(key.split(" ", 1)[0]), []).append(key.split(" ", 1)[1])
    problems = []
    for number, text in enumerate(EXPRESSIONS):
        mine, name, shapes = evaluated(text)
        their_name, their_shapes = described[str(number)]
        if name != OTHER_NAME.get(text, their_name):
            problems.append(f"{text}: is named {name}, TensorFlow's {their_name}")
        if any(is_weaker(a, b) for a, b in zip(shapes, their_shapes, strict=True)):
            problems.append(f"{text}: static shapes {shapes}, TensorFlow's {their_shapes}")
        for key in sorted({*mine, *keys[number]}):
            if key not in mine or key not in keys[number]:
                problems.append(f"{text}: only one of us has {key}")
                continue
            a, b = np.asarray(mine[key]), theirs[f"{number} {key}"]
            if a.shape != b.shape or a.dtype != b.dtype or not np.allclose(a, b, rtol=2e-4, atol=2e-5):
                problems.append(
                    f"{text}: {key}: {a.dtype}{a.shape} {a.ravel()[:4]}, {b.dtype}{b.shape} {b.ravel()[:4]}"
                )
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expression_runs(text: str) -> None:
    evaluated(text)


BAD = (
    ("x + gf.zeros([3])", "cannot be broadcast"),
    ("x + k", "expected float32"),
    ("gf.reshape(x, [3, 7])", "cannot reshape 20 elements"),
    ("gf.reshape(x, [-1, -1])", "at most one size"),
    ("gf.concat([x, v], 0)", "one rank"),
    ("gf.concat([x, x[:, :3]], 0)", "axis 0"),
    ("gf.transpose(x, [0, 0])", "no permutation"),
    ("gf.squeeze(x, [0])", "not 1"),
    ("gf.split(x, 3)", "equal parts"),
    ("gf.stack([x, v])", "one shape"),
    ("gf.unstack(gf.placeholder(gf.float32))", "Cannot infer num"),
    ("gf.slice(x, [0, 3], [1, 4])", "does not reach"),
    ("x[7]", "out of bounds"),
    ("x[0, 0, 0]", "too many indices"),
    ("x['a']", "valid indices"),
    ("x[::0]", "non-zero"),
    ("gf.expand_dims(x, 4)", "outside"),
    ("gf.reduce_sum(x, 2)", "outside"),
    ("gf.reduce_sum(x, axis=0, reduction_indices=1)", "Cannot specify both"),
    ("gf.where(x > 0, x)", "both be non-None"),
    ("gf.boolean_mask(x, [True, False])", "incompatible"),
    ("gf.gather(x, j, axis=2)", "outside"),
    ("gf.pad(x, [[1, 1]])", "rows"),
    ("gf.pad(x, [[0, 0], [0, 0]], mode='WRAP')", "Unknown padding mode"),
    ("gf.tile(x, [2])", "multiples"),
    ("gf.broadcast_to(x, [4, 6])", "cannot be broadcast"),
    ("gf.range(0, 5, 0)", "delta != 0"),
    ("gf.add_n([])", "at least one"),
    ("gf.cast(gf.constant('a'), gf.int32)", "as_string or string_to_number"),
    ("gf.clip_by_value(row, 0.0, x)", "not compatible"),
    ("gf.meshgrid(row, indexing='xx')", "indexing"),
)


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_input_is_refused_while_building(text: str, message: str) -> None:
    made = {name: gf.constant(value) for name, value in INPUTS.items()}
    with pytest.raises((ValueError, TypeError), match=message):
        eval(text, {"gf": gf} | made)


BAD_RUNS = (
    ("i // fed", {"fed": np.zeros((4, 5), np.int32)}, "division by zero"),
    ("i % fed", {"fed": np.zeros((4, 5), np.int32)}, "division by zero"),
    ("gf.pow(i, fed)", {"fed": np.full((4, 5), -1, np.int32)}, "negative integer powers"),
    ("gf.gather(x, fed)", {"fed": np.array([4], np.int32)}, r"not in \[0, 4\)"),
    ("gf.gather_nd(x, fed)", {"fed": np.array([[0, 9]], np.int32)}, "does not index"),
    ("gf.reshape(x, fed)", {"fed": np.array([3, 9], np.int32)}, "reshape"),
    ("x[fed]", {"fed": np.array(9, np.int32)}, "out of bounds"),
    ("gf.unsorted_segment_sum(x, fed, 2)", {"fed": np.array([0, 1, 2, 0], np.int32)}, "below num_segments"),
)


@pytest.mark.parametrize(("text", "feeds", "message"), BAD_RUNS)
def test_bad_values_are_refused_in_the_run(text: str, feeds: dict[str, Any], message: str) -> None:
    made = {name: gf.constant(value) for name, value in INPUTS.items()}
    fed = gf.placeholder(feeds["fed"].dtype)
    result = eval(text, {"gf": gf, "fed": fed} | made)
    with gf.Session() as session, pytest.raises(InvalidArgumentError, match=message):
        session.run(result, {fed: feeds["fed"]})


def test_indices_become_constants_under_tensorflows_names() -> None:
    x = gf.placeholder(gf.float32, [4, 5])
    x[1:3, 0]
    names = [op.name for op in gf.get_default_graph().get_operations()]
    assert names[1:] == [
        "strided_slice/stack",
        "strided_slice/stack_1",
        "strided_slice/stack_2",
        "strided_slice",
    ]


def test_numbers_become_constants_under_tensorflows_names() -> None:
    x = gf.placeholder(gf.float32, [4])
    1.0 + x * 2
    names = [op.name for op in gf.get_default_graph().get_operations()]
    assert names[1:] == ["mul/y", "mul", "add/x", "add"]


def test_gathers_have_sparse_gradients() -> None:
    params = gf.placeholder(gf.float32, [6, 3])
    (grad,) = gf.gradients(gf.gather(params, [[1, 4], [1, 0]]), [params])
    assert isinstance(grad, gf.IndexedSlices)
    with gf.Session() as session:
        dense = session.run(gf.convert_to_tensor(grad), {params: np.zeros((6, 3))})
    np.testing.assert_array_equal(dense[:, 0], [1, 2, 0, 0, 1, 0])
