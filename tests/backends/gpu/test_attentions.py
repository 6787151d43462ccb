"""Attention of factors of 16 bits: one call of the device's library, or its products where it does not do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks import gpu
from graphflow.backends.gpu import dnn
from graphflow.backends.gpu.attentions import AttentionPlan, usual
from graphflow.backends.gpu.host_device import HostDevice
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.recording_device import RecordingDevice
from graphflow.backends.gpu.steps import Attention, Gemm, Kernel, walk
from tests.backends.gpu.test_convolutions import _DEVICE

BATCH, HEADS, QUERIES, KEYS = 2, 3, 10, 6


def _attentions(plan: Any) -> list[Attention]:
    assert isinstance(plan, DevicePlan)
    found: list[Any] = []
    walk(plan.device_steps, found.append)
    return [step for step in found if isinstance(step, Attention)]


def _session() -> Any:
    config = gf.ConfigProto()
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1
    return gf.Session(config=config)


def _heads(x: Any, rows: int, depth: int) -> Any:
    return gf.transpose(gf.reshape(x, [-1, rows, HEADS, depth]), [0, 2, 1, 3])


def _mixed(case: str, depth: int = 8, width: int = 16, keys: int = KEYS) -> tuple[Any, list[Any], Any]:
    """An attention whose heads lie beside each other, its operands, and the shares of its keys."""
    q = gf.placeholder(gf.float32, [None, QUERIES, HEADS * depth])
    k = gf.placeholder(gf.float32, [None, keys, HEADS * depth])
    v = gf.placeholder(gf.float32, [None, keys, HEADS * width])
    mask = gf.placeholder(gf.float32, [None, keys] if case == "mask" else [1, HEADS, QUERIES, keys])
    scores = gf.matmul(_heads(q, QUERIES, depth), _heads(k, keys, depth), transpose_b=True)
    scores = scores / 2.0 if case == "divided" else scores * 0.5
    if case == "mask":
        scores += (1.0 - mask[:, None, None, :]) * -1e4
    elif case == "bias":
        scores += mask
    shares = gf.nn.softmax(scores)
    mixed = gf.transpose(gf.matmul(shares, _heads(v, keys, width)), [0, 2, 1, 3])
    operands = [q, k, v, mask] if case in ("mask", "bias") else [q, k, v]
    return gf.reshape(mixed, [-1, QUERIES, HEADS * width]), operands, shares


def _numbers(operands: list[Any], random: np.random.Generator, batch: int = BATCH) -> dict[Any, Any]:
    feed = {}
    for operand in operands:
        shape = [batch if extent is None else extent for extent in operand.shape.as_list()]
        feed[operand] = random.standard_normal(shape).astype(np.float32)
        if len(shape) == 2:  # which keys there are
            feed[operand] = np.float32(random.random(shape) < 0.6)
            feed[operand][:, 0] = 1
    return feed


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("case", ["plain", "divided", "mask", "bias"])
def test_numbers_are_the_processors(
    case: str, library: bool, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    if not library:
        monkeypatch.setattr(HostDevice, "attention", lambda self, plan: None)
    mixed, operands, _ = _mixed(case)
    # One result goes on as it is, the other into a product, for which it is rounded.
    further = gf.matmul(mixed, gf.constant(random.standard_normal((48, 4)), gf.float32))
    feed, values = _numbers(operands, random), []
    plans: list[Any] = []
    for kind in ("off", "host"):
        monkeypatch.setenv("GRAPHFLOW_GPU", kind)
        with _session() as session:
            values.append([session.run(one, feed) for one in (mixed, further) for _ in range(3)])
            plans = [session.plan(one, feed) for one in (mixed, further)]
    for one, other in zip(*values, strict=True):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(other, one, atol=2**-6 * np.abs(one).max())
    for plan in plans:
        (step,) = _attentions(plan)
        assert (step.plan is not None) == library != bool(step.instead)
        added = {"mask": (BATCH, 1), "bias": (1, HEADS)}.get(case)
        if step.plan is not None:
            assert step.plan.added == added and step.plan.scale == 0.5
            assert step.plan.strides_q == (QUERIES * HEADS * 8, 8, HEADS * 8)
            assert len(step.before) == (added is not None)
        else:
            assert [type(one) for one in step.instead[:3]] == [Gemm, Kernel, Gemm]
    # What is handed out is float32: a kernel widens it. What is rounded anyway lies where it is wanted.
    ends = [len(step.after) for plan in plans for step in _attentions(plan)]
    assert ends == ([1, 0] if library else [0, 0])


def test_one_plan_for_all_sizes_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    mixed, operands, _ = _mixed("mask")
    with _session() as session:
        for batch in (1, 3, 0, 2, 5):
            feed = _numbers(operands, random, batch)
            wanted = session.interpreted(mixed, feed)
            np.testing.assert_allclose(session.run(mixed, feed), wanted, atol=0.03)
            plans = [step.plan for step in _attentions(session.plan(mixed, feed))]
            # What holds nothing needs no library.
            assert [plan.batch for plan in plans if plan is not None] == ([batch] if batch else [])


def test_scores_take_memory_only_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    mixed, operands, _ = _mixed("plain", keys=500)
    feed = _numbers(operands, random)
    sizes = []
    for library in (True, False):
        if not library:
            monkeypatch.setattr(HostDevice, "attention", lambda self, plan: None)
        with _session() as session:
            sizes.append(session.plan(mixed, feed).arena_bytes)
    assert sizes[1] - sizes[0] >= 4 * BATCH * HEADS * QUERIES * 500


@pytest.mark.parametrize(("depth", "width"), [(12, 8), (8, 20), (136, 8)])
def test_what_no_library_takes_is_made_of_products(
    depth: int, width: int, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    mixed, operands, _ = _mixed("plain", depth, width)
    feed = _numbers(operands, random)
    with _session() as session:
        found, wanted = session.run(mixed, feed), session.interpreted(mixed, feed)
        (step,) = _attentions(session.plan(mixed, feed))
    np.testing.assert_allclose(found, wanted, atol=0.05)
    assert step.plan is None and step.instead


def test_what_is_wanted_of_the_middle_keeps_the_products_apart(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    mixed, operands, shares = _mixed("plain")
    feed = _numbers(operands, random)
    gradients = gf.gradients(gf.reduce_sum(mixed * mixed), operands)
    for fetches in ([mixed, shares], [mixed, *gradients]):
        with _session() as session:
            assert not _attentions(session.plan(fetches, feed))
    with gf.Session() as session:  # and so does float32
        assert not _attentions(session.plan(mixed, feed))


def test_an_encoder_has_one_for_each_layer_in_one_captured_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    asked: list[tuple[AttentionPlan, int, bool]] = []
    attend = RecordingDevice.attend

    def seen(self: RecordingDevice, plan: AttentionPlan, pointers: Any, workspace: int) -> None:
        asked.append((plan, workspace, self._capture is not None))
        assert len(set(pointers)) == len(pointers) == 4
        attend(self, plan, pointers, workspace)

    monkeypatch.setattr(RecordingDevice, "attend", seen)
    gf.reset_default_graph()
    with gpu.sized(gpu.SMALL | {"TRANSFORMER_LAYERS": 2}):
        resident = gpu.Resident()
        resident.transformer_b8_bf16()
        run = resident.latest
        plan = run.session.plan(run.fetches, run.feed())
    steps = _attentions(plan)
    assert len(steps) == 2
    for step in steps:
        assert step.plan is not None and usual(step.plan)
        # Queries, keys and values are cut out of one product where they lie.
        assert step.plan.strides_q[2] == 3 * step.plan.heads * step.plan.depth
    for _ in range(3):
        run.session.run(run.fetches, run.feed())
    # Ids are checked in the graph, so the first run is captured.
    assert [captured for _, _, captured in asked] == [True] * 2
    assert all(workspace for _, workspace, _ in asked)
    device = plan.template.backend.residents(run.session._state).device
    work = [record.call for record in device.records if record.call in ("gemm", "attend")]
    assert work == ["gemm", "attend", "gemm", "gemm", "gemm"] * 2 + ["gemm"]
    run.session.close()


def test_the_librarys_graphs_are_made_without_a_device() -> None:
    library = dnn.load_library()
    if library is None:
        pytest.skip("nvidia-cudnn-frontend and nvidia-cudnn-cu13 are not installed")
    try:
        cudnn = dnn.CuDnn(library, "tf32", device=(_DEVICE, 900, 132))
    except RuntimeError as error:
        pytest.skip(f"this cuDNN plans nothing without a driver: {error}")

    def plan(depth: int = 64, dtype: str = "bf16", added: tuple[int, int] | None = None) -> AttentionPlan:
        row = 3 * 12 * depth
        lies, made = (128 * row, depth, row), (128 * 12 * depth, depth, 12 * depth)
        return AttentionPlan(dtype, 8, 12, 128, 128, depth, depth, lies, lies, lies, made, 0.125, added)

    for one in (plan(), plan(128), plan(dtype="f16"), plan(added=(8, 1)), plan(added=(1, 12))):
        graph = cudnn.attention(one)
        graph.validate()
        graph.build_operation_graph()
        # Which way it is done depends on the driver: without one there is none, and nothing is raised.
        scratch = cudnn.prepare(one)
        assert scratch is None or scratch <= dnn.WORKSPACE
    assert not usual(plan(20)) and not usual(plan(136))
    with pytest.raises(library.cudnnGraphNotSupportedError):
        cudnn.attention(plan(20)).validate()
    cudnn.close()
