"""What a plan asks of a GPU, written down: order, addresses, what lies where, what a captured graph may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu.device import Uncapturable
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.recording_device import Record, RecordingDevice
from graphflow.plan import Slot
from graphflow.plan.steps import refs_of
from tests.backends.gpu.models import MODELS, Trained, feeds_of

# A loop that only the device knows the end of cannot be steered from here by a device that computes nothing, and
# what moves in one is not followed.
PLAIN = [name for name in MODELS if name != "lstm"]
WORK = ("launch", "gemm", "d2d", "memset")


@pytest.fixture(autouse=True)
def _recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")


class Runs:
    """A model's training step, run a few times, and what each run asked for."""

    def __init__(self, name: str, steps: int = 4) -> None:
        self.model = Trained(name, 1)
        feeds = feeds_of(name, steps)
        self.runs: list[list[Record]] = []
        plan = self.model.session.plan(self.model.step, self.model.feed(feeds, 0))
        assert isinstance(plan, DevicePlan)
        self.plan = plan
        # The session's memory is made at the first run; here already, so that this is seen from its beginning.
        self.residents = plan.template.backend.residents(self.model.session._state)
        self.device = self.residents.device
        assert isinstance(self.device, RecordingDevice)
        for turn in range(steps):
            before = len(self.device.records)
            self.model.session.run(self.model.step, self.model.feed(feeds, turn))
            self.runs.append(self.device.records[before:])


@pytest.mark.parametrize("name", PLAIN)
def test_runs_whose_checks_the_host_looks_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU_LOOPS", "host")
    found = Runs(name)
    first, second, third, fourth = found.runs
    work = [[record for record in run if record.call in WORK] for run in found.runs]
    # The first run goes step by step, the second writes the same down, all later ones replay.
    assert work[0] and work[1] == work[0]
    assert not work[2] and third == fourth
    assert "functions" in [record.call for record in first]
    captures = [record.call for record in second if "capture" in record.call]
    assert captures == ["begin_capture", "end_capture"] * (len(captures) // 2)
    # What is sent goes in one copy, what is brought home besides the words of checks in none: nothing is fetched.
    assert [record.call for record in third].count("h2d") == 1
    assert all(record.args[1] == 8 for record in third if record.call == "d2h")
    assert found.device.taken == found.residents.taken > 0
    found.model.session.close()
    assert found.device.taken == 0


@pytest.mark.parametrize("name", MODELS)
def test_runs(name: str) -> None:
    found = Runs(name)
    # In the end a run is one copy of the feeds, one launch of one graph, and one copy of the words of checks.
    assert [record.call for record in found.runs[-1]] in (
        ["h2d", "event", "replay", "event"],
        ["h2d", "event", "replay", "d2h", "event"],
    )
    assert found.runs[-1] == found.runs[-2]
    calls = [record.call for run in found.runs for record in run]
    assert calls.count("begin_capture") == calls.count("end_capture") == 1


@pytest.mark.parametrize("name", PLAIN)
def test_no_step_writes_what_somebody_still_wants(name: str) -> None:
    # Who wrote each byte last, by the number of the value; variables are there from the beginning.
    plan = Runs(name, 1).plan
    owners: dict[Any, np.ndarray] = {}

    def part(slot: Slot, offset: int) -> np.ndarray:
        place = plan.place(slot)
        size = (1 << 16) if isinstance(place.slab, tuple) else max(plan.places.io, plan.places.arena_bytes)
        found = owners.setdefault(place.slab, np.full(size, -1))
        return found[place.offset + offset : place.offset + offset + place.nbytes]

    for slot in plan.build.slots:
        if slot.kind == "variable" and slot.parent is None:
            part(slot, 0)[:] = slot.index
    reads = 0
    for step in plan.build.steps:
        for ref in refs_of(step):
            if ref.access == "r" and ref.slot.root.kind in ("buffer", "variable"):
                reads += 1
                assert (part(ref.slot, plan._at(ref.offset)) == ref.slot.root.index).all(), (
                    step.name,
                    ref.slot,
                )
        for ref in refs_of(step):
            if ref.access != "r":
                part(ref.slot, plan._at(ref.offset))[:] = ref.slot.root.index
    assert reads >= 10


def test_one_copy_in_and_one_out() -> None:
    x, y = gf.placeholder(gf.float32, [4, 8]), gf.placeholder(gf.float32, [8, 3])
    results = [gf.matmul(x, y), gf.reduce_sum(x, 1), gf.exp(y)]
    with gf.Session() as session:
        feeds = {x: [[0.0] * 8] * 4, y: [[0.0] * 3] * 8}
        for _ in range(3):
            with pytest.raises(gf.errors.ResourceExhaustedError, match="computes nothing"):
                session.run(results, feeds)
        plan = session.plan(results, feeds)
        assert isinstance(plan, DevicePlan)
        bound = plan.bound(plan.template.backend.residents(session._state))
        device = bound.device
        assert isinstance(device, RecordingDevice)
        calls = [record.call for record in device.records]
        last = calls[len(calls) - 1 - calls[::-1].index("h2d") :]
        assert last == ["h2d", "event", "replay", "d2h", "event"]
        # All lies in the plan's slabs, and these are as large as the plan has said.
        sizes = {record.args[0] for record in device.records if record.call == "alloc"}
        assert {plan.places.io, max(256, plan.constant_bytes)} <= sizes


def test_a_step_that_no_graph_can_hold_is_seen() -> None:
    device = RecordingDevice()
    device.begin_capture()
    with pytest.raises(Uncapturable):
        device.synchronize()


def test_what_has_no_room_is_refused_before_anything_is_done() -> None:
    x = gf.placeholder(gf.float32, [1 << 20])
    y = gf.cumsum(gf.exp(x), name="running") * gf.reduce_sum(gf.sin(x))
    share = (10 << 20) / (141 << 30)
    with gf.Session(
        config=gf.ConfigProto(gpu_options=gf.GPUOptions(per_process_gpu_memory_fraction=share))
    ) as session:
        with pytest.raises(
            gf.errors.ResourceExhaustedError, match=r"of the 10\.00 MiB that this(.|\n)*4\.00 MiB"
        ):
            session.run(y, {x: np.zeros(1 << 20)})
        (residents,) = session._state.holders
        device = residents.device
        assert isinstance(device, RecordingDevice)
        # Neither memory was taken nor a kernel launched, nor is there any of it left.
        assert not {record.call for record in device.records} & {"alloc", "launch", "h2d", "functions"}
        assert device.taken == residents.taken == 0
    # Without a share a session grows as its plans need, slab by slab.
    with gf.Session() as session:
        small = gf.exp(x[:256])
        with pytest.raises(gf.errors.ResourceExhaustedError, match="computes nothing"):
            session.run(small, {x: np.zeros(1 << 20)})
        (residents,) = session._state.holders
        plan = session.plan(small, {x: np.zeros(1 << 20)})
        assert isinstance(plan, DevicePlan) and residents.taken <= plan.peak_bytes + 3 * 256
