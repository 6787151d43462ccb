"""What only a GPU can show. Without one each test is skipped, and says what is missing.

With `GRAPHFLOW_GPU=host` and `GRAPHFLOW_TRY_GPU_TESTS=1` a processor stands for it: that tries the tests themselves.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu import dnn, found
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.steps import Attention
from tests.backends.gpu.models import MODELS, Trained, feeds_of

KIND = os.environ.get("GRAPHFLOW_GPU") or "auto"
TRIED = KIND == "host" and os.environ.get("GRAPHFLOW_TRY_GPU_TESTS") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        bool(found.missing()) and not TRIED, reason="; ".join(found.missing()) or "a GPU is here"
    ),
]


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", KIND)
    monkeypatch.setenv("GRAPHFLOW_MATMUL_PRECISION", "highest")


@pytest.mark.parametrize("name", MODELS)
def test_training_goes_as_on_the_processor(name: str) -> None:
    feeds = feeds_of(name, 8)
    losses = []
    for gpus in (0, 1):
        model = Trained(name, gpus)
        losses.append(
            [model.session.run([model.loss, model.step], model.feed(feeds, i))[0] for i in range(8)]
        )
        model.session.close()
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "lenet"])  # dropout draws anew
def test_replay_is_the_eager_run_bit_for_bit(name: str) -> None:
    feeds = feeds_of(name, 1)
    model = Trained(name, 1)
    start = model.values()
    found_: list[list[bytes]] = []
    for _ in range(4):  # step by step, captured, replayed twice
        for variable, value in zip(gf.global_variables(), start, strict=True):
            model.session.load_variable(variable, value)
        loss, _ = model.session.run([model.loss, model.step], model.feed(feeds, 0))
        after = model.values()
        found_.append([loss.tobytes(), *(value.tobytes() for value in after)])
    assert all(one == found_[0] for one in found_)


def test_memory_does_not_grow() -> None:
    feeds = feeds_of("mlp", 1)
    model = Trained("mlp", 1)
    model.session.run(model.step, model.feed(feeds, 0))
    (residents,) = model.session._state.holders
    before = residents.taken
    for _ in range(10_000 if KIND == "auto" else 100):
        model.session.run(model.step, model.feed(feeds, 0))
    assert residents.taken == before


@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_bfloat16_goes_as_on_the_processor(network: str) -> None:
    feeds = feeds_of(network, 6)
    config = gf.ConfigProto()
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1
    losses = []
    for gpus in (0, 1):
        model = Trained(network, gpus, graph_options=config.graph_options)
        losses.append(
            [model.session.run([model.loss, model.step], model.feed(feeds, i))[0] for i in range(6)]
        )
        model.session.close()
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)


@pytest.mark.parametrize("case", ["plain", "mask", "bias"])
def test_attention_is_the_librarys(case: str) -> None:
    random = np.random.default_rng(7)
    shapes = {"mask": [2, 1, 1, 72], "bias": [1, 4, 96, 72]}
    operands = [gf.placeholder(gf.float32, [2, 4, rows, 64]) for rows in (96, 72, 72)]
    scores = gf.matmul(operands[0], operands[1], transpose_b=True) * 0.125
    feed = {one: random.standard_normal(one.shape.as_list()).astype(np.float32) for one in operands}
    if case in shapes:
        added = gf.placeholder(gf.float32, shapes[case])
        scores += added
        feed[added] = random.standard_normal(shapes[case]).astype(np.float32)
        if case == "mask":
            feed[added] = np.float32(-1e4) * (feed[added] > 0)
    mixed = gf.matmul(gf.nn.softmax(scores), operands[2])
    config = gf.ConfigProto()
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1
    values = []
    for gpus in (0, 1):
        given = gf.ConfigProto(device_count={"GPU": gpus}, graph_options=config.graph_options)
        with gf.Session(config=given) as session:
            values.append([session.run(mixed, feed) for _ in range(3)])  # step by step, captured, replayed
            plan = session.plan(mixed, feed)
    np.testing.assert_allclose(values[1], values[0], atol=2**-6 * np.abs(values[0]).max())
    assert isinstance(plan, DevicePlan)
    (step,) = (one for one in plan.device_steps if isinstance(one, Attention))
    assert (step.plan is not None) == (TRIED or dnn.load_library() is not None)


def test_more_memory_than_there_is_says_what_is_large() -> None:
    big = gf.Variable(gf.ones([1 << 20]), name="big")
    options = gf.GPUOptions(per_process_gpu_memory_fraction=1e-9)
    with (
        gf.Session(config=gf.ConfigProto(gpu_options=options)) as session,
        pytest.raises(gf.errors.ResourceExhaustedError, match=r"that this session(.|\n)*big"),
    ):
        session.run(big.initializer)


def test_a_timeline_tells_of_the_device() -> None:
    x = gf.placeholder(gf.float32, [64, 64])
    y = gf.nn.softmax(gf.matmul(x, x, name="product"), name="shares")
    told = gf.RunMetadata()
    with gf.Session() as session:
        options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
        session.run(y, {x: np.eye(64)}, options, told)
    names = [node.node_name for stats in told.step_stats.dev_stats for node in stats.node_stats]
    assert "product" in names and "shares" in names


def test_arrays_of_other_libraries() -> None:
    cupy = pytest.importorskip("cupy")
    x = gf.placeholder(gf.float32, [None, 3])
    with gf.Session() as session:
        there = session.run(
            x * 2.0, {x: cupy.arange(6, dtype=cupy.float32).reshape(2, 3)}, device_outputs=True
        )
        assert isinstance(there, cupy.ndarray)
        assert session.run(x + 1.0, {x: there}).tolist() == [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]]
        assert isinstance(session.plan(x * 2.0, {x: np.zeros((2, 3))}), DevicePlan)
