"""Plans for several GPUs: what is copied between them, that one graph holds all, and that numbers are those of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu.bound_together import BoundTogether
from graphflow.backends.gpu.nccl import Reductions
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.recording_device import RecordingDevice
from graphflow.backends.gpu.steps import AllReduce, Transfer, device_of

STEPS = 4
ROWS = np.random.RandomState(0).randn(STEPS, 8, 8).astype(np.float32)
LABELS = np.random.RandomState(1).dirichlet(np.ones(4), (STEPS, 8)).astype(np.float32)


def loss_of(x: Any, y: Any) -> Any:
    w, v = gf.get_variable("w", [8, 16]), gf.get_variable("v", [16, 4])
    logits = gf.tanh(x @ w) @ v
    return gf.reduce_mean(gf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))


class Towers:
    """A model on a share of the batch on each of some devices; `kind`: how gradients come together."""

    def __init__(self, count: int, gpus: int, kind: str = "averaged") -> None:
        gf.reset_default_graph()
        self.x, self.y = gf.placeholder(gf.float32, [None, 8]), gf.placeholder(gf.float32, [None, 4])
        optimizer = gf.train.MomentumOptimizer(0.1, 0.9)
        xs, ys = gf.split(self.x, count), gf.split(self.y, count)
        losses, gradients = [], []
        for number in range(count):
            own = kind == "reduced"  # each device has the variables
            scope = gf.variable_scope(f"own{number}" if own else "shared", reuse=number > 0 and not own)
            with gf.device(f"/gpu:{number}"), scope:
                losses.append(loss_of(xs[number], ys[number]))
                mine = gf.trainable_variables(scope=f"own{number}/") if own else None
                gradients.append(optimizer.compute_gradients(losses[-1], mine))
        if kind == "reduced":
            columns = [gf.contrib.nccl.all_sum([g for g, _ in row]) for row in zip(*gradients, strict=True)]
            steps = []
            for number in range(count):
                with gf.device(f"/gpu:{number}"):
                    pairs = [
                        (column[number] / count, v)
                        for column, (_, v) in zip(columns, gradients[number], strict=True)
                    ]
                    steps.append(optimizer.apply_gradients(pairs))
            self.step = gf.group(*steps)
        else:
            with gf.device("/gpu:0"):
                means = [
                    (gf.add_n([g for g, _ in row]) / count, row[0][1]) for row in zip(*gradients, strict=True)
                ]
            self.step = optimizer.apply_gradients(means)
        with gf.device("/gpu:0"):
            self.loss = gf.add_n(losses) / count
        self.session = gf.Session(config=gf.ConfigProto(device_count={"GPU": gpus}))
        for variable in gf.global_variables():
            rng, shape = np.random.RandomState(len(variable.shape.as_list()) + 3), variable.shape.as_list()
            value = np.zeros(shape) if "Momentum" in variable.name else rng.randn(*shape) * 0.3
            self.session.load_variable(variable, value)

    def losses(self) -> list[float]:
        return [
            float(self.session.run([self.loss, self.step], {self.x: ROWS[i], self.y: LABELS[i]})[0])
            for i in range(STEPS)
        ]

    def plan(self) -> DevicePlan:
        plan = self.session.plan([self.loss, self.step], {self.x: ROWS[0], self.y: LABELS[0]})
        assert isinstance(plan, DevicePlan)
        return plan


def test_towers_train_as_one_model_with_the_joined_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    wanted = Towers(1, 0).losses()
    towers = Towers(2, 2)
    np.testing.assert_allclose(towers.losses(), wanted, rtol=1e-6)
    plan = towers.plan()
    assert {device_of(step) for step in plan.device_steps} == {0, 1}
    # Each device has its own steps; what goes between them is the variables there, and gradients and loss back.
    moved = [
        (step.args[1].place.device, step.args[0].place.device, step.nbytes)
        for step in plan.device_steps
        if isinstance(step, Transfer)
    ]
    there, back = (
        [row[2] for row in moved if row[:2] == (0, 1)],
        [row[2] for row in moved if row[:2] == (1, 0)],
    )
    assert sorted(there) == [4 * 16 * 4, 8 * 16 * 4]
    assert sorted(back)[-2:] == [4 * 16 * 4, 8 * 16 * 4] and sum(back) <= sum(there) + 32
    towers.session.close()
    three = Towers(4, 4)
    np.testing.assert_allclose(three.losses(), wanted, rtol=1e-6)


def test_what_several_devices_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    towers = Towers(2, 2)
    feeds = {towers.x: ROWS[0], towers.y: LABELS[0]}
    for _ in range(3):
        towers.session.run(towers.step, feeds)
    plan = towers.session.plan(towers.step, feeds)
    assert isinstance(plan, DevicePlan)
    with plan._turn(towers.session._state) as bound:
        assert isinstance(bound, BoundTogether)
        devices = [side.device for side in bound.sides]
        (piece,) = bound.pieces
    first, second = devices
    assert isinstance(first, RecordingDevice) and isinstance(second, RecordingDevice)
    assert first.index == 0 and second.index == 1
    # One graph of both devices' work, in which each copy waits for its source, and this for the copy.
    records = piece.graph.records  # type: ignore[union-attr]
    assert {record.device for record in records} == {0, 1}
    copies = [at for at, record in enumerate(records) if record.call == "d2d"]
    between = [at for at in copies if records[at - 1].call == "after"]
    transfers = [step for step in plan.device_steps if isinstance(step, Transfer)]
    assert len(between) == len(transfers)
    for at in between:
        target, source = records[at].device, records[at - 2].device
        assert {target, source} == {0, 1}
        calls = [(record.call, record.device) for record in records[at - 2 : at + 3]]
        assert calls == [
            ("mark", source), ("after", target), ("d2d", target), ("mark", target), ("after", source),
        ]  # fmt: skip
        assert records[at - 1].args == (source, records[at - 2].args[0])
    last = [[record.call for record in device.records[-8:]] for device in devices]
    assert last[0][-5:] == ["event", "after", "replay", "mark", "event"]
    assert last[1][-3:] == ["mark", "after", "event"]
    taken = [device.taken for device in (first, second)]
    assert all(taken)
    towers.session.close()
    assert first.taken == second.taken == 0


def test_loops_checks_and_host_steps_on_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    table = gf.Variable(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    ids, limit = gf.placeholder(gf.int32, [2]), gf.placeholder(gf.float32, [])
    with gf.device("/gpu:1"):
        rows = gf.nn.embedding_lookup(table, ids)
        _, total = gf.while_loop(
            lambda i, v: gf.reduce_sum(v) < limit, lambda i, v: (i + 1, v + rows), [0, rows]
        )
    with gf.device("/cpu:0"):
        there = gf.sqrt(total)
    with gf.device("/gpu:0"):
        here = there * 2.0 + gf.reduce_sum(total)
        change = table.assign_add(gf.ones([3, 2]) * here[0, 0])
    with gf.Session(config=gf.ConfigProto(device_count={"GPU": 2})) as session:
        session.run(gf.global_variables_initializer())
        for _ in range(3):
            np.testing.assert_allclose(
                session.run(here, {ids: [0, 2], limit: 25.0}),
                2.0 * np.sqrt(np.array([[0.0, 3.0], [12.0, 15.0]])) + 30.0, rtol=1e-6,
            )  # fmt: skip
        for _ in range(3):
            with pytest.raises(gf.errors.InvalidArgumentError, match="= 7 is not in"):
                session.run(change, {ids: [0, 7], limit: 1.0})
        assert session.run(table).tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
        session.run(change, {ids: [1, 2], limit: 1.0})
        assert session.run(table)[0, 0] == pytest.approx(14.0 + 2.0 * np.sqrt(2.0))
        one = session.run(here, {ids: [1, 1], limit: 1.0}, device_outputs=True)
        assert one.shape == (2, 2)


def test_reduced_gradients_train_as_one_model_with_the_joined_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    wanted = Towers(1, 0).losses()
    for count, gpus in ((2, 2), (2, 0), (4, 4)):  # without GPUs the same graph adds
        towers = Towers(count, gpus, "reduced")
        np.testing.assert_allclose(towers.losses(), wanted, rtol=1e-6)
        every = [towers.session.variable_value(v) for v in gf.trainable_variables()]
        for number in range(1, count):
            for mine, first in zip(every[2 * number : 2 * number + 2], every[:2], strict=True):
                np.testing.assert_array_equal(mine, first)
        if gpus:
            steps = towers.plan().device_steps
            reduced = [step for step in steps if isinstance(step, AllReduce)]
            assert sorted(step.count for step in reduced) == [16 * 4, 8 * 16]
            assert all([use.place.device for use in step.args] == [*range(count)] * 2 for step in reduced)
            # But for the losses nothing else goes from device to device.
            assert sum(step.nbytes for step in steps if isinstance(step, Transfer)) <= 64 * count
        towers.session.close()


def test_a_reduction_is_part_of_the_graph_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    towers = Towers(2, 2, "reduced")
    feeds = {towers.x: ROWS[0], towers.y: LABELS[0]}
    for _ in range(3):
        towers.session.run(towers.step, feeds)
    plan = towers.session.plan(towers.step, feeds)
    assert isinstance(plan, DevicePlan)
    with plan._turn(towers.session._state) as bound:
        (piece,) = bound.pieces
        sides = bound.sides  # type: ignore[union-attr]
    calls = [record for record in piece.graph.records if record.call == "all_reduce"]  # type: ignore[union-attr]
    assert [record.device for record in calls] == [0, 1] * 2
    for record in calls:
        reduction, dtype, count, source, target = record.args
        assert (reduction, dtype) == ("sum", "f32") and count in (64, 128)
        slabs = [sides[record.device].arena, sides[record.device].io]
        for address in (source, target):
            assert any(slab.address <= address < slab.address + slab.nbytes for slab in slabs)


def test_reductions_of_a_graph() -> None:
    x, y = gf.placeholder(gf.float32, [3]), gf.placeholder(gf.float32, [3])
    with gf.device("/gpu:0"):
        a = x * 2.0
    with gf.device("/gpu:1"):
        b = gf.identity(y)
    sums, greatest = gf.contrib.nccl.all_sum([a, b]), gf.contrib.nccl.all_max([a, b])
    products = gf.contrib.nccl.all_prod([a, b])
    with gf.device("/gpu:1"):
        one = gf.contrib.nccl.reduce_sum([a, b]) + gf.contrib.nccl.broadcast(a)
    slopes = gf.gradients([sums[0] * 3.0, sums[1] * 5.0], [x, y])
    assert [s.device for s in sums] == ["/device:GPU:0", "/device:GPU:1"]
    feeds = {x: [1.0, 2.0, 3.0], y: [5.0, 1.0, 1.0]}
    with gf.Session() as session:
        found = session.run([*sums, *greatest, products[1], one, *slopes], feeds)
        assert [row.tolist() for row in found] == [
            [7.0, 5.0, 7.0], [7.0, 5.0, 7.0], [5.0, 4.0, 6.0], [5.0, 4.0, 6.0], [10.0, 4.0, 6.0],
            [9.0, 9.0, 13.0], [16.0] * 3, [8.0] * 3,
        ]  # fmt: skip
        with pytest.raises(LookupError, match="No gradient defined.*it is no sum"):
            gf.gradients(greatest[0], x)
        with pytest.raises(ValueError, match="Device assignment required"):
            gf.contrib.nccl.all_sum([x])
        with pytest.raises(ValueError, match=">0 tensors"):
            gf.contrib.nccl.all_sum([])
        alone = gf.raw_ops.NcclAllReduce(input=a, reduction="sum", num_devices=2, shared_name="alone")
        with pytest.raises(gf.errors.InvalidArgumentError, match="reduces 2 tensors together as 'alone'"):
            session.run(alone, feeds)


def test_nccl_is_asked_as_a_group() -> None:
    calls: list[tuple[Any, ...]] = []

    class Communicator:
        def __init__(self, device: int) -> None:
            self.device = device

        @staticmethod
        def initAll(devices: list[int]) -> list[Any]:
            return [Communicator(device) for device in devices]

        def allReduce(self, *args: Any) -> None:
            calls.append((self.device, *args))

    library = SimpleNamespace(
        NcclCommunicator=Communicator,
        NCCL_FLOAT32="float32",
        NCCL_SUM="sum",
        groupStart=lambda: calls.append(("begin",)),
        groupEnd=lambda: calls.append(("end",)),
    )
    Reductions(library, [3, 1]).all_reduce({3: 70, 1: 80}, "sum", "f32", 9, [1000, 2000], [1500, 2500])
    assert calls == [
        ("begin",),
        (3, 1000, 1500, 9, "float32", "sum", 70),
        (1, 2000, 2500, 9, "float32", "sum", 80),
        ("end",),
    ]
