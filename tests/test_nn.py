"""Functions of neural networks, convolution and linear algebra: values and gradients as TensorFlow's, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import ops
from graphflow.opdef import emit, get_op
from tests.samples import all_samples, apart, uniform

assert ops

# What expressions may name, besides `tf` and `np`. Gradients are taken with respect to the floating ones.
INPUTS: dict[str, Any] = {
    "x": uniform(4, 5),
    "y": uniform(5, 3, seed=8),
    "z": uniform(4, 5, low=0.1, high=0.9, seed=9),
    "b": uniform(5, seed=10),
    "v": uniform(3, 4, 5, seed=11),
    "u": uniform(3, 5, 2, seed=12),
    "image": uniform(2, 7, 6, 3, seed=13),
    "planes": uniform(2, 3, 7, 6, seed=13),
    "steps": apart(2, 7, 6, 3, dtype=np.float32),
    "kernel": uniform(3, 2, 3, 4, seed=14),
    "deep": uniform(3, 2, 3, 2, seed=15),
    "points": uniform(1, 1, 6, 5, seed=16),
    "back": uniform(3, 3, 2, 3, seed=17),
    "line": uniform(3, 3, 4, seed=18),
    "table": uniform(6, 3, seed=19),
    "square": uniform(3, 3, seed=20) + 3 * np.eye(3, dtype=np.float32),
    "labels": np.array([0, 4, 2, 2], np.int32),
    "ids": np.array([[5, 0], [3, 3]], np.int64),
}

# One output (or a list of them) each.
EXPRESSIONS = (
    # products
    "tf.matmul(x, y)",
    "tf.matmul(x, z, transpose_b=True)",
    "tf.matmul(x, z, transpose_a=True, name='product')",
    "tf.matmul(v, u)",
    "tf.matmul(v, y[:5, :2])",
    "tf.nn.xw_plus_b(x, y, b[:3])",
    "tf.tensordot(v, u, [[0, 2], [0, 1]])",
    "tf.tensordot(x, y, 1)",
    "tf.tensordot(x, b, 0)",
    "tf.tensordot(v, y, [[2], [0]])",
    "tf.einsum('ij,jk->ik', x, y)",
    "tf.einsum('bij,bjk->bki', v, u)",
    "tf.einsum('ij,kj->ik', x, z)",
    "tf.einsum('bij,jk->bik', v, y)",
    "tf.einsum('ij,ij->i', x, z)",
    "tf.einsum('ij,ij->', x, z)",
    "tf.einsum('ij,j->ij', x, b)",
    "tf.einsum('bij->bji', v)",
    "tf.einsum('bij,bjk,kl->bil', v, u, y[:2])",
    "tf.einsum('i,jk->jik', b, x)",
    "tf.einsum('...ij,...jk->...ik', v, u)",
    "tf.einsum('ii->i', square)",
    "tf.trace(square)",
    "tf.norm(x)",
    "tf.norm(x, axis=1)",
    "tf.norm(x, ord=1, axis=0, keepdims=True)",
    "tf.norm(x, ord=np.inf, axis=[0, 1])",
    "tf.norm(v, ord='fro', axis=[1, 2])",
    "tf.nn.l2_normalize(x, 1)",
    "tf.nn.l2_normalize(x, dim=0, epsilon=0.5)",
    "tf.clip_by_norm(x, 1.5)",
    "tf.clip_by_norm(x, 1.5, axes=[1])",
    "tf.clip_by_average_norm(x, 0.1)",
    "tf.clip_by_global_norm([x, None, y], 2.0)[0][2]",
    "tf.clip_by_global_norm([x, y], 200.0)[1]",
    "tf.global_norm([x, y, None])",
    "tf.eye(3, 4, batch_shape=[2])",
    "tf.cross(v[:, :, :3], v[:, :, 2:])",
    "tf.matrix_inverse(square)",
    "tf.matrix_determinant(square)",
    "tf.matrix_solve(square, u[0, :3])",
    "tf.cholesky(tf.matmul(square, square, transpose_b=True))",
    "tf.matrix_transpose(v)",
    # activations and losses
    "tf.nn.bias_add(x, b)",
    "tf.nn.bias_add(planes, b[:3], data_format='NCHW')",
    "tf.nn.softmax(x)",
    "tf.nn.softmax(v, axis=1)",
    "tf.nn.softmax(v, dim=0)",
    "tf.nn.log_softmax(x)",
    "tf.nn.softmax_cross_entropy_with_logits(labels=z, logits=x)",
    "tf.nn.softmax_cross_entropy_with_logits_v2(labels=z, logits=x)",
    "tf.nn.softmax_cross_entropy_with_logits_v2(labels=v * 0.5, logits=v, axis=1)",
    "tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x)",
    "tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant([[0, 1, 2, 3]] * 3), logits=v)",
    "tf.nn.sigmoid_cross_entropy_with_logits(labels=z, logits=x)",
    "tf.nn.weighted_cross_entropy_with_logits(labels=z, logits=x, pos_weight=2.5)",
    "tf.nn.log_poisson_loss(z, x)",
    "tf.nn.l2_loss(v)",
    "tf.nn.crelu(x)",
    "tf.nn.relu_layer(x, y, b[:3])",
    "tf.nn.swish(x)",
    "tf.nn.zero_fraction(tf.nn.relu(x))",
    # normalisation
    "tf.nn.moments(image, [0, 1, 2])",
    "tf.nn.moments(x, [1], keep_dims=True)",
    "tf.nn.weighted_moments(x, [0], z)",
    "tf.nn.normalize_moments(*tf.nn.sufficient_statistics(x, [0]))",
    "tf.nn.sufficient_statistics(x, [1], shift=0.5)[:3]",
    "tf.nn.batch_normalization(x, b, b * b, b, None, 0.001)",
    "tf.nn.batch_normalization(x, b, b * b, None, z, 0.001)",
    "tf.nn.fused_batch_norm(image, b[:3], b[2:])[0]",
    "tf.nn.fused_batch_norm(image, b[:3], b[2:], b[1:4], b[:3] * b[:3], is_training=False)[0]",
    "tf.stop_gradient(tf.nn.fused_batch_norm(image, b[:3], b[2:])[1])",
    "tf.stop_gradient(tf.nn.fused_batch_norm(image, b[:3], b[2:])[2])",
    "tf.nn.lrn(image, depth_radius=1, bias=2.0, alpha=0.3, beta=0.75)",
    "tf.nn.dropout(x, keep_prob=0.4, seed=3)",
    "tf.nn.dropout(x, rate=tf.constant(0.4), seed=3, noise_shape=[4, 1])",
    "tf.nn.dropout(x, rate=0.4, seed=3, noise_shape=[tf.shape(x)[0], 1])",
    # ranking and tables
    "tf.nn.top_k(x, 3)[0]",
    "tf.cast(tf.nn.in_top_k(x, labels, 2), tf.float32)",
    "tf.nn.embedding_lookup(table, ids)",
    "tf.nn.embedding_lookup(table, ids, max_norm=1.0)",
    "tf.nn.embedding_lookup([table[:3], table[3:]], ids)",
    "tf.nn.embedding_lookup([table[:3], table[3:]], ids, partition_strategy='div')",
    # convolution
    "tf.nn.conv2d(image, kernel, [1, 1, 1, 1], 'SAME')",
    "tf.nn.conv2d(image, kernel, strides=[1, 2, 1, 1], padding='VALID')",
    "tf.nn.conv2d(image, filters=kernel, strides=2, padding=[[0, 0], [1, 2], [0, 3], [0, 0]])",
    "tf.nn.conv2d_transpose(image, back, [2, 14, 12, 2], [1, 2, 2, 1])",
    "tf.nn.conv2d_transpose(image, back, [2, 9, 8, 2], 1, 'VALID')",
    "tf.nn.depthwise_conv2d(image, deep, [1, 1, 1, 1], 'SAME')",
    "tf.nn.depthwise_conv2d(image, deep, [1, 2, 2, 1], 'VALID')",
    "tf.nn.separable_conv2d(image, deep, points, [1, 1, 1, 1], 'SAME')",
    "tf.nn.conv1d(v, y[None, :, :], 1, 'SAME')",
    "tf.nn.conv1d(tf.transpose(v, [0, 2, 1])[:, :, :3], line, 2, 'VALID')",
    "tf.stop_gradient(tf.nn.atrous_conv2d(image, kernel, 2, 'SAME'))",
    "tf.stop_gradient(tf.nn.convolution(image, kernel, 'VALID', dilation_rate=[2, 1]))",
    "tf.nn.max_pool(steps, [1, 2, 2, 1], [1, 2, 2, 1], 'SAME')",
    "tf.nn.max_pool(steps, 3, 2, 'VALID')",
    "tf.nn.avg_pool(image, [1, 3, 2, 1], [1, 1, 2, 1], 'SAME')",
    "tf.nn.pool(image, [2, 2], 'AVG', 'VALID', strides=[2, 2])",
    "tf.gradients(tf.nn.conv2d(image, kernel, 1, 'SAME') ** 2.0, kernel)",
    "tf.gradients(tf.nn.max_pool(steps, 2, 2, 'SAME') ** 2.0, steps)",
    "tf.gradients(tf.nn.softmax(x) ** 2.0, x)",
    "tf.gradients(tf.nn.fused_batch_norm(image, b[:3], b[2:])[0] ** 2.0 * image, image)",
)

REFEREE = r"""
import json, sys
import numpy as np
import tensorflow as real
tf = real.compat.v1
tf.disable_eager_execution()
inputs, expressions = dict(np.load(sys.argv[1])), json.load(open(sys.argv[2]))
results, errors = {}, {}
for number, text in enumerate(expressions):
    with tf.Graph().as_default(), tf.Session() as session:
        made = {name: tf.constant(value) for name, value in inputs.items()}
        try:
            outputs = eval(text, {"tf": tf, "np": np} | made)
            outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
            names = [t for t in made.values() if t.dtype.is_floating]
            grads = tf.gradients(outputs, names)
            values = session.run([outputs, [tf.convert_to_tensor(g) for g in grads if g is not None]])
        except Exception as error:
            errors[number] = f"{type(error).__name__}: {error}"
            continue
        for i, value in enumerate(values[0]):
            results[f"{number} value {i}"] = value
        rest = iter(values[1])
        for name, grad in zip([n for n, t in made.items() if t.dtype.is_floating], grads):
            if grad is not None:
                results[f"{number} gradient {name}"] = next(rest)
        results[f"{number} name"] = np.array(outputs[0].op.name)
np.savez(sys.argv[3], **results)
print(json.dumps(errors))
"""


def evaluated(text: str) -> dict[str, Any]:
    """Values, gradients and the name of the first output of one expression."""
    with gf.Graph().as_default() as graph:
        made = {name: gf.constant(value) for name, value in INPUTS.items()}
        outputs = eval(text, {"tf": gf, "np": np} | made)
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        floating = {name: t for name, t in made.items() if t.dtype.is_floating}
        grads = gf.gradients(outputs, list(floating.values()))
        present = {
            name: gf.convert_to_tensor(g) for name, g in zip(floating, grads, strict=True) if g is not None
        }
    with gf.Session(graph=graph) as session:
        values, gradients = session.run([outputs, present])
    result = {f"value {i}": value for i, value in enumerate(values)}
    result |= {f"gradient {name}": value for name, value in gradients.items()}
    return result | {"name": outputs[0].op.name}


@pytest.mark.tensorflow
def test_values_and_gradients_are_tensorflows(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", **INPUTS)
    (tmp_path / "expressions.json").write_text(json.dumps(EXPRESSIONS))
    printed = tensorflow(
        REFEREE, tmp_path / "inputs.npz", tmp_path / "expressions.json", tmp_path / "results.npz"
    )
    assert json.loads(printed.splitlines()[-1]) == {}, "TensorFlow refuses some of the expressions"
    theirs = np.load(tmp_path / "results.npz")
    differences = []
    for number, text in enumerate(EXPRESSIONS):
        mine = evaluated(text)
        wanted = {k.split(" ", 1)[1]: theirs[k] for k in theirs.files if k.split(" ", 1)[0] == str(number)}
        for key in sorted(set(mine) | set(wanted)):
            if key == "name":
                continue
            if key not in mine or key not in wanted:
                differences.append(f"{text}: only one of us has {key}")
                continue
            a, b = np.asarray(mine[key]), wanted[key]
            if a.shape != b.shape or a.dtype != b.dtype or not np.allclose(a, b, rtol=2e-4, atol=2e-5):
                shown = [f"{x.dtype}{x.shape} {x.ravel()[:4]}" for x in (a, b)]
                differences.append(f"{text}: {key} is {shown[0]}, should be {shown[1]}")
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expression_is_finite_and_shaped(text: str) -> None:
    for key, value in evaluated(text).items():
        if key != "name":
            assert np.isfinite(value).all(), key


# ---------------------------------------------------------------------------- what an expression cannot say


def run(fetch: Any, feeds: Any = None) -> Any:
    with gf.Session() as session:
        return session.run(fetch, feeds)


def test_matmul_by_rank() -> None:
    known = gf.placeholder(gf.float32, [2, 3])
    assert gf.matmul(known, np.ones((3, 4), np.float32)).op.type == "MatMul"
    assert gf.matmul(
        gf.placeholder(gf.float32, [None, 2, 3]), np.ones((3, 4), np.float32)
    ).shape.as_list() == [None, 2, 4]
    assert gf.matmul(gf.placeholder(gf.float32), known).op.type == "BatchMatMulV2"
    assert (known @ np.ones((3, 1), np.float32)).op.type == "MatMul"
    assert (np.ones((1, 2), np.float32) @ known).shape.as_list() == [1, 3]


def test_matmul_refuses_what_does_not_fit() -> None:
    a, b = gf.placeholder(gf.float32, [32, 100], name="a"), gf.placeholder(gf.float32, [128, 10], name="b")
    with pytest.raises(ValueError, match=r"inner sizes differ.*100 != 128.*float32\[32,100\].*test_nn.py"):
        gf.matmul(a, b)
    with pytest.raises(ValueError, match="transpose_a and adjoint_a"):
        gf.matmul(a, b, transpose_a=True, adjoint_a=True)
    with pytest.raises(TypeError, match="float32.*expected float64"):
        emit.MatMul(gf.constant(1.0, gf.float64, [1, 1]), gf.constant([[1.0]]))


def test_tensordot_of_open_ranks_and_axes() -> None:
    left, right = np.arange(24.0).reshape(2, 3, 4), np.arange(60.0).reshape(5, 4, 3)
    a, b = gf.placeholder(gf.float64), gf.placeholder(gf.float64, right.shape)
    axes = gf.placeholder(gf.int32, [2, None])
    results = [gf.tensordot(a, b, [[-1, 1], [1, -1]]), gf.tensordot(a, b, axes), gf.tensordot(a, left, 3)]
    (gradient,) = gf.gradients(results[0], a)
    with gf.Session() as session:
        whole = {a: left, b: right, axes: [[2, 1], [1, 2]]}
        found = session.run([*results, gradient], whole)
        assert session.run(results[1], {**whole, axes: [[2], [1]]}).shape == (2, 3, 5, 3)
    wanted = np.tensordot(left, right, [[2, 1], [1, 2]])
    for value in found[:2]:
        np.testing.assert_allclose(value, wanted)
    np.testing.assert_allclose(found[2], (left * left).sum())
    np.testing.assert_allclose(found[3], np.broadcast_to(right.sum(0).T, left.shape))
    with pytest.raises(ValueError, match="two lists of one length"):
        gf.tensordot(a, b, [[1], [0, 1]])


def test_einsum_and_tensordot_refuse_what_does_not_fit() -> None:
    x = gf.ones([2, 3])
    for equation, inputs in (
        ("ij,jk", [x]),
        ("ijk", [x]),
        ("ij->k", [x]),
        ("ij,jk->ik", [x, x]),
        ("i1->i", [x]),
    ):
        with pytest.raises(ValueError):
            gf.einsum(equation, *inputs)
    for axes in (3, [[0], [0, 1]], [[5], [0]], [[0], [1]]):
        with pytest.raises(ValueError):
            gf.tensordot(x, x, axes)


def test_einsum_with_open_sizes() -> None:
    a, b = gf.placeholder(gf.float32, [None, None, 4]), gf.placeholder(gf.float32, [None, 4, None])
    c = gf.einsum("bij,bjk->bik", a, b)
    d = gf.einsum("bij,bjk->bk", a, b)
    e = gf.tensordot(a, b, [[2], [1]])
    left, right = uniform(2, 3, 4), uniform(2, 4, 5, seed=8)
    values = run([c, d, e], {a: left, b: right})
    np.testing.assert_allclose(values[0], left @ right, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values[1], (left @ right).sum(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values[2], np.tensordot(left, right, [[2], [1]]), rtol=1e-5, atol=1e-5)


def test_clip_keeps_slices_sparse_and_spoils_all_for_nan() -> None:
    slices = gf.IndexedSlices(gf.constant([[3.0, 4.0]]), gf.constant([2]), gf.constant([5, 2]))
    clipped = gf.clip_by_norm(slices, 1.0)
    assert isinstance(clipped, gf.IndexedSlices)
    np.testing.assert_allclose(run(clipped.values), [[0.6, 0.8]], rtol=1e-6)
    (one, two), norm = gf.clip_by_global_norm([slices, gf.constant([float("nan")])], 1.0)
    assert isinstance(one, gf.IndexedSlices)
    values = run([one.values, two, norm])
    assert all(np.isnan(value).all() for value in values)


def test_gradient_of_clip_at_zero_is_finite() -> None:
    x = gf.zeros([3])
    (gradient,) = gf.gradients(gf.clip_by_norm(x, 1.0), x)
    np.testing.assert_allclose(run(gradient), 1.0)


def test_losses_check_their_arguments() -> None:
    logits, labels = gf.ones([4, 5]), gf.zeros([4, 5])
    with pytest.raises(ValueError, match="named arguments"):
        gf.nn.softmax_cross_entropy_with_logits(logits, labels)
    with pytest.raises(ValueError, match="must be provided"):
        gf.nn.sigmoid_cross_entropy_with_logits(labels=labels)
    with pytest.raises(ValueError, match="same shape"):
        gf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=gf.ones([4, 6]))
    with pytest.raises(ValueError, match="Rank mismatch"):
        gf.nn.sparse_softmax_cross_entropy_with_logits(labels=[[1]], logits=logits)
    with pytest.raises(ValueError, match="Shape mismatch"):
        gf.nn.sparse_softmax_cross_entropy_with_logits(labels=[1, 2], logits=logits)
    with pytest.raises(ValueError, match="must have one shape"):
        emit.SoftmaxCrossEntropyWithLogits(logits, gf.ones([4, 6]))


def test_sparse_labels_outside_the_classes() -> None:
    labels = gf.placeholder(gf.int32, [2])
    loss = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=gf.zeros([2, 3]))
    with pytest.raises(gf.errors.InvalidArgumentError, match=r"label value of 3.*\[0, 3\)"):
        get_op("SparseSoftmaxCrossEntropyWithLogits").run(
            [np.zeros((2, 3), np.float32), np.array([0, 3])], loss.op.attrs
        )
    # Compiled code cannot report it, so it spoils the loss.
    with gf.Session() as session:
        try:
            value = session.run(loss, {labels: [0, 3]})
        except gf.errors.InvalidArgumentError:
            return
    assert np.isfinite(value[0]) and np.isnan(value[1])


def test_softmax_axis() -> None:
    with pytest.raises(gf.errors.InvalidArgumentError, match="Dimension"):
        gf.nn.softmax(gf.ones([2, 3]), axis=2)
    with pytest.raises(ValueError, match="both 'axis' and 'dim'"):
        gf.nn.softmax(gf.ones([2, 3]), axis=0, dim=1)


def test_dropout() -> None:
    x = gf.ones([50, 40])
    kept = run(gf.nn.dropout(x, 0.25, seed=1))
    assert set(np.unique(kept)) == {0.0, 4.0}
    assert abs((kept > 0).mean() - 0.25) < 0.05
    assert gf.nn.dropout(x, rate=0) is x
    rows = run(gf.nn.dropout(x, rate=0.5, noise_shape=[None, 1], seed=1))
    assert all(len(set(row)) == 1 for row in rows.tolist())
    np.testing.assert_array_equal(np.isfinite(run(gf.nn.dropout(x * float("inf"), rate=0.5, seed=1))), run(
        gf.equal(gf.nn.dropout(x, rate=0.5, seed=1), 0.0)
    ))  # fmt: skip
    for arguments in (
        {},
        {"keep_prob": 0.5, "rate": 0.5},
        {"rate": 1.0},
        {"keep_prob": 0.0},
        {"keep_prob": "a"},
    ):
        with pytest.raises(ValueError):
            gf.nn.dropout(x, **arguments)
    with pytest.raises(ValueError, match="floating point"):
        gf.nn.dropout(gf.ones([2], gf.int32), 0.5)


def test_layer_normalization() -> None:
    x, scale, offset = uniform(4, 6), uniform(6, seed=8), uniform(6, seed=9)
    value = run(gf.nn.layer_normalization(gf.constant(x), scale, offset, epsilon=1e-3))
    centered = x - x.mean(1, keepdims=True)
    expected = centered / np.sqrt(x.var(1, keepdims=True) + 1e-3) * scale + offset
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 37, 5000, 40000])
def test_moments_of_a_batch_far_from_zero_are_exact(rows: int) -> None:
    values = np.random.default_rng(2).standard_normal((rows, 1, 1, 40)).astype(np.float32)
    values += np.linspace(-3000, 3000, 40, dtype=np.float32)
    values[0, ..., 3] = 1e5  # one that is far from all others
    x = gf.placeholder(gf.float32, [None, 1, 1, 40])
    _, mean, variance = gf.nn.fused_batch_norm(x, gf.ones([40]), gf.zeros([40]))
    with gf.Session() as session:
        got = session.run([mean, variance], {x: values})
    wide = values.astype(np.float64)
    np.testing.assert_allclose(got[0], wide.mean((0, 1, 2)), rtol=3e-6, atol=1e-3)
    wanted = wide.var((0, 1, 2)) * rows / max(1, rows - 1)
    # Beside one square of 1e10, a float32 sum keeps little of the others: where that stands, and nowhere else.
    np.testing.assert_allclose(np.delete(got[1], 3), np.delete(wanted, 3), rtol=1e-4)
    np.testing.assert_allclose(got[1][3], wanted[3], rtol=3e-4)


def test_batch_norm_of_a_batch_of_any_size() -> None:
    x = gf.placeholder(gf.float32, [None, 2, 2, 3])
    y, mean, variance = gf.nn.fused_batch_norm(x, gf.ones([3]), gf.zeros([3]))
    with gf.Session() as session:
        for batch in (1, 4, 7):
            image = uniform(batch, 2, 2, 3, seed=batch)
            values = session.run([y, mean, variance], {x: image})
            np.testing.assert_allclose(values[1], image.mean((0, 1, 2)), atol=1e-6)
            np.testing.assert_allclose(values[2], image.reshape(-1, 3).var(0, ddof=1), rtol=1e-4)
            np.testing.assert_allclose(values[0].mean((0, 1, 2)), 0, atol=1e-5)


def test_batch_norm_refuses_what_does_not_fit() -> None:
    x = gf.placeholder(gf.float32, [2, 4, 4, 3])
    with pytest.raises(ValueError, match="one element per channel"):
        gf.nn.fused_batch_norm(x, gf.ones([4]), gf.zeros([4]))
    with pytest.raises(ValueError, match="is_training"):
        gf.nn.fused_batch_norm(x, gf.ones([3]), gf.zeros([3]), is_training=False)


def test_top_k_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="last dimension >= k = 4"):
        gf.nn.top_k(gf.ones([2, 3]), 4)
    k = gf.placeholder(gf.int32, [])
    with pytest.raises(gf.errors.InvalidArgumentError, match="last dimension >= k = 4"):
        run(gf.nn.top_k(gf.ones([2, 3]), k)[0], {k: 4})


def test_embedding_of_a_variable_has_a_sparse_gradient() -> None:
    table = gf.Variable(uniform(6, 3), name="table")
    rows = gf.nn.embedding_lookup(table, [[1, 2], [1, 5]])
    assert rows.shape.as_list() == [2, 2, 3]
    (gradient,) = gf.gradients(rows, table)
    assert isinstance(gradient, gf.IndexedSlices)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(gradient.indices), [1, 2, 1, 5])
        dense = session.run(gf.convert_to_tensor(gradient))
    np.testing.assert_array_equal(dense[:, 0], [0, 2, 1, 0, 0, 1])
    with pytest.raises(ValueError, match="at least one"):
        gf.nn.embedding_lookup([], [1])
    with pytest.raises(ValueError, match="partition strategy"):
        gf.nn.embedding_lookup([table, table], [1], partition_strategy="round")


def test_convolution_refuses_what_does_not_fit() -> None:
    image = gf.placeholder(gf.float32, [None, 8, 8, 3])
    with pytest.raises(ValueError, match="3 channels.*for 4"):
        gf.nn.conv2d(image, gf.ones([3, 3, 4, 2]), 1, "SAME")
    with pytest.raises(ValueError, match="larger than the image"):
        gf.nn.conv2d(image, gf.ones([9, 9, 3, 2]), 1, "VALID")
    with pytest.raises(ValueError, match="batch and channel"):
        gf.nn.conv2d(image, gf.ones([3, 3, 3, 2]), [2, 1, 1, 1], "SAME")
    with pytest.raises(ValueError, match="length 1, 2 or 4"):
        gf.nn.conv2d(image, gf.ones([3, 3, 3, 2]), [1, 1, 1], "SAME")
    with pytest.raises(ValueError, match="padding must be one of"):
        gf.nn.conv2d(image, gf.ones([3, 3, 3, 2]), 1, "FULL")
    with pytest.raises(ValueError, match="Cannot specify both"):
        gf.nn.conv2d(image, gf.ones([3, 3, 3, 2]), 1, "SAME", filters=gf.ones([3, 3, 3, 2]))
    with pytest.raises(ValueError, match="input channels does not match"):
        gf.nn.conv2d_transpose(image, gf.ones([3, 3, 2, 4]), [1, 8, 8, 2], 1)
    with pytest.raises(ValueError, match="out_backprop has shape"):
        gf.nn.conv2d_backprop_input([1, 8, 8, 3], gf.ones([3, 3, 3, 2]), gf.ones([1, 5, 5, 2]), 1, "SAME")
    with pytest.raises(ValueError, match="height and width 1"):
        gf.nn.separable_conv2d(image, gf.ones([3, 3, 3, 1]), gf.ones([3, 3, 3, 2]), 1, "SAME")
    with pytest.raises(ValueError, match="pooling over the batch"):
        gf.nn.max_pool(image, [2, 1, 1, 1], 1, "SAME")
    with pytest.raises(ValueError, match="MAX"):
        gf.nn.pool(image, [2, 2], "MIN", "SAME")


def test_convolution_of_a_batch_of_any_size() -> None:
    image = gf.placeholder(gf.float32, [None, 6, 6, 2])
    kernel = gf.constant(uniform(3, 3, 2, 4))
    y = gf.nn.conv2d(image, kernel, 2, "SAME")
    up = gf.nn.conv2d_transpose(y, kernel, gf.stack([gf.shape(image)[0], 6, 6, 2]), 2)
    assert y.shape.as_list() == [None, 3, 3, 4]
    assert up.shape.as_list() == [None, 6, 6, 2]
    gradient = gf.gradients(up, image)[0]
    with gf.Session() as session:
        for batch in (1, 3):
            values = session.run([y, up, gradient], {image: uniform(batch, 6, 6, 2)})
            assert [v.shape[0] for v in values] == [batch] * 3


def test_dilated_filters_are_filters_with_gaps() -> None:
    image, kernel = uniform(1, 9, 9, 2), uniform(3, 3, 2, 3, seed=8)
    spread = np.zeros((5, 5, 2, 3), np.float32)
    spread[::2, ::2] = kernel
    for padding in ("SAME", "VALID"):
        got = run(gf.nn.atrous_conv2d(gf.constant(image), kernel, 2, padding))
        want = run(gf.nn.conv2d(gf.constant(image), spread, 1, padding))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_gradient_of_cholesky() -> None:
    half = uniform(3, 3, dtype=np.float64) + 3 * np.eye(3)
    weights = uniform(3, 3, dtype=np.float64, seed=8)
    x = gf.placeholder(gf.float64, [3, 3])
    y = gf.reduce_sum(gf.cholesky(gf.matmul(x, x, transpose_b=True)) * weights)
    (gradient,) = gf.gradients(y, x)
    way = uniform(3, 3, dtype=np.float64, seed=9)
    with gf.Session() as session:
        got = float((session.run(gradient, {x: half}) * way).sum())
        ends = [session.run(y, {x: half + step * way}) for step in (1e-6, -1e-6)]
    assert abs(got - (ends[0] - ends[1]) / 2e-6) < 1e-6


def test_gradient_of_local_response_normalization() -> None:
    x = uniform(2, 2, 2, 6)
    way = uniform(2, 2, 2, 6, seed=9)
    weights = uniform(2, 2, 2, 6, seed=8)
    body = get_op("LRN").body

    def value(at: Any) -> float:
        return float((body(at, depth_radius=2, alpha=0.3, beta=0.75) * weights).sum())

    t = gf.constant(x)
    (gradient,) = gf.gradients(gf.nn.lrn(t, 2, alpha=0.3, beta=0.75) * weights, t)
    wide = x.astype(np.float64)
    measured = (value(wide + 1e-5 * way) - value(wide - 1e-5 * way)) / 2e-5
    assert abs(float((run(gradient) * way).sum()) - measured) < 1e-4


@pytest.mark.parametrize("op_type", ["LSTMBlockCell", "BlockLSTM", "BlockLSTMV2", "GRUBlockCell"])
def test_gradients_of_block_cells(op_type: str) -> None:
    inputs = all_samples()[op_type][0 if op_type == "GRUBlockCell" else 1].flat()
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in inputs]
    attrs = {} if op_type == "GRUBlockCell" else {"use_peephole": True, "cell_clip": 0.0}
    names = [arg.name for arg in get_op(op_type).inputs]
    # The gates are outputs too, but nothing flows back from them.
    results = ["h"] if op_type == "GRUBlockCell" else ["cs", "h"]
    rng = np.random.default_rng(3)

    with gf.Graph().as_default(), gf.Session() as session:
        values = [gf.constant(a) for a in arrays]
        made = getattr(gf.raw_ops, op_type)(**dict(zip(names, values, strict=True)), **attrs)
        weights = [rng.normal(size=getattr(made, name).shape.as_list()) for name in results]
        loss = gf.add_n([gf.reduce_sum(getattr(made, n) * w) for n, w in zip(results, weights, strict=True)])
        wanted = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
        ways = {i: rng.normal(size=arrays[i].shape) for i in wanted}
        slopes = session.run(gf.gradients(loss, [values[i] for i in wanted]))
        step = 1e-6
        for i, slope in zip(wanted, slopes, strict=True):
            sides = [session.run(loss, {values[i]: arrays[i] + sign * step * ways[i]}) for sign in (1, -1)]
            expected = (sides[0] - sides[1]) / (2 * step)
            np.testing.assert_allclose(np.sum(slope * ways[i]), expected, rtol=1e-6, err_msg=names[i])
