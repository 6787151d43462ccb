"""Products of bfloat16 factors: what the pass writes, who asks for it, and what it costs in exactness."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import dtypes
from graphflow.compiler import CompileOptions, compile_graph
from graphflow.dtypes import bfloat16
from graphflow.program import Program

ON = CompileOptions(enabled_passes={"mixed_precision"})


def compiled(fetches: list[Any], feeds: list[gf.Tensor], options: CompileOptions = ON) -> Program:
    return compile_graph(fetches, feeds, options).program


def rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(bfloat16.as_numpy_dtype).astype(np.float32)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def test_a_product_takes_rounded_factors_and_gives_an_unrounded_result() -> None:
    x = gf.placeholder(gf.float32, [None, 33])
    w = numbers(33, 17, seed=1)
    y = gf.matmul(x, gf.constant(w)) + 1.0
    fed = numbers(5, 33)
    with gf.Session(compile_options=ON) as session:
        got = session.run(y, {x: fed})
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, rounded(fed) @ rounded(w) + 1.0, rtol=1e-5, atol=1e-5)
    exact = fed @ w + 1.0
    error = np.abs(got - exact).max()
    assert 1e-4 < error < 2**-8 * np.abs(fed).max() * np.abs(w).max() * np.sqrt(33)


def test_each_value_is_rounded_once_for_all_its_products() -> None:
    x = gf.placeholder(gf.float32, [8, 16])
    weights = gf.Variable(numbers(16, 16))
    hidden = gf.matmul(x, weights)
    y = gf.matmul(hidden, weights) + gf.matmul(hidden, weights, transpose_b=True) + gf.matmul(x, weights)
    program = compiled([y], [x])
    casts = [node for node in program.nodes if node.type == "Cast"]
    assert len(casts) == 3  # x, the weights, and the hidden values
    assert {node.inputs[0].node.type for node in casts} == {
        "GraphflowFeed",
        "GraphflowVariable",
        "GraphflowMixedMatMul",
    }
    assert all(
        value.dtype is dtypes.float32 for node in program.nodes if node.type.startswith("GraphflowMixed")
        for value in node.outputs
    )  # fmt: skip


def test_constants_are_rounded_when_the_program_is_made() -> None:
    x = gf.placeholder(gf.float32, [4, 8])
    program = compiled([gf.matmul(x, gf.constant(numbers(8, 3)))], [x])
    (product,) = (node for node in program.nodes if node.type == "GraphflowMixedMatMul")
    assert product.inputs[1].constant is not None and product.inputs[1].dtype is bfloat16
    assert Counter(node.type for node in program.nodes)["Cast"] == 1


def test_what_only_moves_elements_moves_rounded_ones() -> None:
    x = gf.placeholder(gf.float32, [2, 6, 8])
    left, right = gf.split(gf.tanh(x), 2, axis=1)
    y = gf.matmul(gf.reshape(left, [6, 8]), gf.transpose(gf.reshape(right, [6, 8])))
    program = compiled([y], [x])
    (cast,) = (node for node in program.nodes if node.type == "Cast")
    assert cast.inputs[0].node.type == "Tanh"
    with gf.Session(compile_options=ON) as session:
        fed = numbers(2, 6, 8)
        got = session.run(y, {x: fed})
    t = rounded(np.tanh(fed))
    wanted = t[:, :3].reshape(6, 8) @ t[:, 3:].reshape(6, 8).T
    np.testing.assert_allclose(got, wanted, rtol=2e-2, atol=2e-2)


def test_other_dtypes_and_other_ops_stay_as_they_are() -> None:
    x = gf.placeholder(gf.float64, [4, 4])
    program = compiled([gf.matmul(x, x), gf.nn.softmax(x)], [x])
    assert not any("Mixed" in node.type or node.type == "Cast" for node in program.nodes)


def test_bfloat16_factors_of_the_users_own_are_not_rounded_again() -> None:
    x = gf.placeholder(gf.bfloat16, [4, 4])
    y = gf.matmul(gf.cast(x, gf.float32), gf.cast(x, gf.float32))
    assert not any(node.type == "Cast" for node in compiled([y], [x]).nodes)


@pytest.mark.parametrize("switch", ["auto_mixed_precision_onednn_bfloat16", "auto_mixed_precision_mkl"])
def test_tensorflows_switches_ask_for_it(switch: str) -> None:
    from graphflow.serialization.proto.rewriter_config_pb2 import RewriterConfig

    for value, wanted in (
        (RewriterConfig.ON, True),
        (RewriterConfig.OFF, False),
        (RewriterConfig.DEFAULT, False),
    ):
        rewrites = RewriterConfig(**{switch: value})
        config = gf.ConfigProto(graph_options=gf.GraphOptions(rewrite_options=rewrites))
        assert (gf.Session(config=config)._options.enabled_passes == {"mixed_precision"}) is wanted
    assert not gf.Session()._options.enabled_passes


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs: a class is a place."""
    random = np.random.RandomState(3)
    labels = random.randint(0, 4, count)
    pictures = random.rand(count, 8, 8, 1).astype(np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        picture[row : row + 4, column : column + 4] += 0.5
    return pictures, labels.astype(np.int32)


def losses(options: CompileOptions | None, steps: int, convolutional: bool) -> tuple[list[float], Any]:
    """The loss curve of a small network, and what its variables have become."""
    gf.reset_default_graph()
    x = gf.placeholder(gf.float32, [None, 8, 8, 1])
    labels = gf.placeholder(gf.int32, [None])
    h = x
    if convolutional:
        filters = gf.Variable(0.3 * numbers(3, 3, 1, 8, seed=2))
        h = gf.nn.relu(gf.nn.conv2d(h, filters, strides=[1, 1, 1, 1], padding="SAME"))
        again = gf.Variable(0.1 * numbers(3, 3, 8, 8, seed=5))
        h = gf.nn.relu(gf.nn.conv2d(h, again, strides=[1, 2, 2, 1], padding="SAME"))
    h = gf.reshape(h, [-1, 4 * 4 * 8 if convolutional else 64])
    w1, b1 = gf.Variable(0.1 * numbers(int(h.shape[1]), 48, seed=3)), gf.Variable(np.zeros(48, np.float32))
    w2 = gf.Variable(0.1 * numbers(48, 4, seed=4))
    logits = gf.matmul(gf.nn.relu(gf.matmul(h, w1) + b1), w2)
    loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    train = gf.train.AdamOptimizer(0.01).minimize(loss)
    pictures, wanted = images(64)
    with gf.Session(compile_options=options) as session:
        session.run(gf.global_variables_initializer())
        curve = [float(session.run([loss, train], {x: pictures, labels: wanted})[0]) for _ in range(steps)]
        return curve, session.run(gf.trainable_variables())


@pytest.mark.parametrize("convolutional", [False, True], ids=["dense", "convolutional"])
def test_training_goes_down_the_same_way(convolutional: bool) -> None:
    steps = 25 if convolutional else 60
    exact, _ = losses(None, steps, convolutional)
    mixed, variables = losses(ON, steps, convolutional)
    assert all(value.dtype == np.float32 for value in variables)
    assert not np.array_equal(mixed, exact)
    assert mixed[0] == pytest.approx(exact[0], rel=5e-3)
    assert mixed[-1] < 0.5 * mixed[0]
    # The curves lie within 2 % of the first loss of each other, all the way down.
    np.testing.assert_allclose(mixed, exact, atol=0.02 * exact[0])
    # Master weights are float32: most of them are no bfloat16 numbers.
    assert np.mean(variables[-1] == rounded(variables[-1])) < 0.1


def test_verification_holds_mixed_programs_against_mixed_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    assert losses(ON, 3, True)[0][-1] > 0
