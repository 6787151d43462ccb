"""Loops, choices and checks inside captured graphs: which nodes there are, and that they compute what the host does."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.cache import ObjectCache
from graphflow.backends.cuda import nvrtc
from graphflow.backends.cuda.compiler import Compiler
from graphflow.backends.cuda.steering import ROW, STEERING
from graphflow.backends.gpu import putting
from graphflow.backends.gpu.bound import Bound
from graphflow.backends.gpu.conditional_nodes import ConditionalNodes
from graphflow.backends.gpu.host_device import HostDevice
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.recording_device import Record, RecordingDevice
from graphflow.backends.gpu.residents import Residents
from tests.backends import cuda_emulator
from tests.backends.gpu.models import Trained, feeds_of


def bound_of(session: gf.Session, fetches: Any, feeds: Any) -> Bound:
    plan = session.plan(fetches, feeds)
    assert isinstance(plan, DevicePlan)
    return plan.bound(plan.template.backend.residents(session._state))


def lines(records: Sequence[Record], indent: str = "") -> Iterator[str]:
    """A graph's nodes, and those of its conditional nodes' bodies."""
    for record in records:
        if record.call == "branch":
            kind, condition, bodies = record.args
            yield f"{indent}{kind} {condition}"
            for body in bodies:
                yield f"{indent}  body"
                yield from lines(body, indent + "    ")
        elif record.call == "launch" and record.args[0].startswith("gf_steer_"):
            name = record.args[0].removeprefix("gf_steer_")
            names = [param.name for param in STEERING[name].params]
            shown = {"handle", "inner", "outer", "site", "loop", "limit", "count", "inside", "words"}
            told = [f"{n}={v}" for n, v in zip(names, record.args[2], strict=True) if n in shown and v < 1000]
            yield f"{indent}{name} {' '.join(told)}"
        else:
            yield f"{indent}{record.call}"


def a_search() -> tuple[Any, dict[Any, Any]]:
    """A loop that the device alone knows the end of, with products of what moves, a choice, and a loop inside it."""
    w, xs = gf.placeholder(gf.float32, [3, 3]), gf.placeholder(gf.float32, [6, 2, 3])

    def body(i: Any, h: Any, seen: Any) -> Any:
        h = gf.tanh(gf.matmul(xs[i], w) + h)
        _, h = gf.while_loop(
            lambda k, v: (k < 5) & (gf.reduce_sum(v) < 3.0),
            lambda k, v: (k + 1, v + 0.25 * xs[k] + 0.125 * xs[i]),
            [0, h],
        )
        h = gf.cond(gf.reduce_sum(h) > 2.0, lambda: h * 0.5, lambda: h - 1.0)
        return i + 1, h, seen.write(i, h)

    seen = gf.TensorArray(gf.float32, 6, element_shape=[2, 3])
    limit = gf.placeholder(gf.float32, [])
    i, h, seen = gf.while_loop(
        lambda i, h, _: (i < 6) & (gf.reduce_max(gf.abs(h)) < limit), body, [0, gf.zeros([2, 3]), seen]
    )
    rng = np.random.RandomState(0)
    return [i, h, seen.stack()], {w: np.eye(3), xs: rng.rand(6, 2, 3), limit: 100.0}


def test_a_loop_is_one_graph(monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    fetches, feeds = a_search()
    with gf.Session() as session:
        for _ in range(3):
            with pytest.raises(gf.errors.ResourceExhaustedError, match="computes nothing"):
                session.run(fetches, feeds)
        bound = bound_of(session, fetches, feeds)
        device = bound.device
        assert isinstance(device, RecordingDevice)
        (piece,) = bound.pieces
        assert piece.graph is not None
        golden("gpu/search.txt", "\n".join(lines(piece.graph.records)) + "\n")
        calls = [record.call for record in device.records]
        assert calls[-5:] == ["h2d", "event", "replay", "d2h", "event"]
        # No node waits for a condition that belongs to another one.
        taken = [record.args[1] for record in device.records if record.call == "branch"]
        given = [record.args[0] for record in device.records if record.call == "condition"]
        assert sorted(taken) == given


@pytest.mark.parametrize("unrolled", [512, 0])
def test_a_loop_on_the_device_computes_the_same(monkeypatch: pytest.MonkeyPatch, unrolled: int) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    monkeypatch.setattr(putting, "MOST_UNROLLED", unrolled)
    fetches, feeds = a_search()
    xs = next(key for key in feeds if key.shape.rank == 3)
    fixed = gf.scan(lambda h, x: gf.tanh(h @ gf.ones([3, 3]) * 0.5 + x), xs)
    fetches = [*fetches, fixed]
    limit = next(key for key in feeds if key.shape.rank == 0)
    with gf.Session(config=gf.ConfigProto(device_count={"GPU": 0})) as session:
        wanted = [session.run(fetches, {**feeds, limit: number}) for number in (100.0, 0.43, 0.0)]
    assert [int(row[0]) for row in wanted][::2] == [6, 0] and 0 < wanted[1][0] < 6
    with gf.Session() as session:
        for _ in range(2):
            session.run(fetches, feeds)
        (piece,) = bound_of(session, fetches, feeds).pieces
        assert piece.graph is not None

        def no(*_: Any) -> int:
            raise AssertionError("the host steers")

        monkeypatch.setattr(Residents, "word", no)
        for number, row in zip((100.0, 0.43, 0.0), wanted, strict=True):
            for ours, theirs in zip(session.run(fetches, {**feeds, limit: number}), row, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("where", ["graph", "host"])
@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_runs_together(monkeypatch: pytest.MonkeyPatch, name: str, where: str) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    monkeypatch.setenv("GRAPHFLOW_GPU_LOOPS", where)
    feeds = feeds_of(name, 7)
    one = Trained(name, 1)
    losses = [one.session.run([one.loss, one.step], one.feed(feeds, i))[0] for i in range(7)]
    values = one.values()
    monkeypatch.setattr("graphflow.backends.gpu.bound._STAGED", 8192)  # some at a time
    many = Trained(name, 1)
    fed = dict(zip(many.keys, feeds, strict=True))
    got, _ = many.session.run_steps([many.loss, many.step], 7, fed)
    np.testing.assert_array_equal(got, losses)
    for a, b in zip(many.values(), values, strict=True):
        np.testing.assert_array_equal(a, b)


def test_many_runs_are_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    feeds = feeds_of("mlp", 6)
    model = Trained("mlp", 1)
    fed = dict(zip(model.keys, feeds, strict=True))
    residents = bound_of(model.session, model.step, model.feed(feeds, 0)).residents
    device = residents.device
    assert isinstance(device, RecordingDevice)
    for _ in range(2):
        before = len(device.records)
        assert model.session.run_steps(model.step, 6, fed) is None
    calls = [record.call for record in device.records[before:]]
    assert calls == ["h2d", "replay", "d2h", "event"]
    (graph,) = [
        record.args for record in device.records if record.call == "branch" and record.args[0] == "while"
    ]
    inside = graph[2][0]
    steers = [record.args[0] for record in inside if record.call == "launch"]
    # Feeds are taken from their place, and what can be refused is looked at before a variable changes.
    assert steers[0] == "gf_steer_copy" and steers[-1] == "gf_steer_judge"
    assert [record.args[0] for record in inside if record.call == "branch"] == ["if"]
    (rest,) = inside[-1].args[2]
    assert [record.args[0] for record in rest][-2:] == ["gf_steer_copy", "gf_steer_next"]
    model.session.close()
    assert device.taken == 0


def test_a_bad_run_among_many_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    table = gf.Variable(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    ids = gf.placeholder(gf.int32, [1])
    train = gf.train.GradientDescentOptimizer(1.0).minimize(gf.reduce_sum(gf.nn.embedding_lookup(table, ids)))
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        with pytest.raises(gf.errors.InvalidArgumentError, match="= 7 is not in"):
            session.run_steps(train, 5, {ids: [[0], [1], [0], [7], [2]]})
        assert session.run(table).tolist() == [[-2.0, -1.0], [1.0, 2.0], [4.0, 5.0]]
        session.run_steps(train, 3, {ids: [[2], [2], [2]]})
        assert session.run(table).tolist() == [[-2.0, -1.0], [1.0, 2.0], [1.0, 2.0]]


def test_steering_compiles(tmp_path: Path) -> None:
    if not nvrtc.available():
        pytest.skip(f"no CUDA compiler: {nvrtc.why_not()}")
    cubins = Compiler(cache=ObjectCache(tmp_path)).compile(list(STEERING.values()))
    for kernel in STEERING.values():
        taken = cubins[kernel.symbol].resources[kernel.symbol]
        assert taken.spilled == 0 and taken.stack == 0, kernel.symbol
        sets = b"cudaGraphSetConditional" in cubins[kernel.symbol].data
        assert sets or "cudaGraphSetConditional" not in kernel.body


@pytest.mark.skipif(bool(cuda_emulator.WHY_NOT), reason=cuda_emulator.WHY_NOT or "there is one")
def test_steering_kernels_do_what_the_host_does(tmp_path: Path) -> None:
    emulator = cuda_emulator.Emulator(tmp_path, before=_CONDITIONS)
    addresses = emulator.compile(list(STEERING.values()))
    emulator.set(descending=False, grid=3)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    theirs = {name: call(addresses[kernel.symbol]) for name, kernel in STEERING.items()}
    set_by_kernels = (ctypes.c_uint * 8).in_dll(emulator.libraries[0], "emu_conditions")
    host = HostDevice()
    conditions = [host.condition() for _ in range(8)]
    ours = host.steering()
    rng = np.random.RandomState(3)
    memory = np.zeros(40 + 1 + 12 * ROW, np.int64)
    for number in range(12):
        terms = [[rng.randint(2), *rng.randint(-99, 99, 3)] for _ in range(rng.randint(1, 3))]
        row = [1 + number % 2, 4 + number, rng.randint(1000), len(terms), *sum(terms, [])]
        memory[41 + number * ROW : 41 + number * ROW + len(row)] = row
    memory[40] = 12
    data = np.zeros(64, np.uint8)
    data[8:16] = np.frombuffer(np.int64(3).tobytes(), np.uint8)  # a limit
    data[16:20] = np.frombuffer(np.int32(2).tobytes(), np.uint8)  # a number of a case
    source, target = rng.randint(0, 255, 5000).astype(np.uint8), np.zeros(5000, np.uint8)
    seen = []
    for steers, looks in ((ours, host._conditions), (theirs, set_by_kernels)):
        table, cases, words = memory.copy(), np.zeros(6, np.int64), np.zeros(2, np.int64)
        at = data.ctypes.data
        rows, log = table.ctypes.data + 8 * 40, []
        copied = target.copy()
        pointers = np.array([copied.ctypes.data + 3, source.ctypes.data + 1], np.int64)

        def steer(name: str, *args: int, steers: Any = steers, looks: Any = looks, log: Any = log) -> None:
            getattr(steers[name], "call", steers[name])((ctypes.c_int64 * len(args))(*args), 0, 1)
            log.append((name, [int(looks[one]) for one in conditions]))

        where = table.ctypes.data
        for limit_at, limit in ((0, 5), (at + 8, 0), (0, -1), (0, 0)):
            steer("begin", where, rows, 1, 0, limit_at, limit, 0)
            log.append(table.tolist())
        steer("begin", where, rows, 2, 1, at + 8, 0, 1)
        for bounded in (1, 1, 1, 0):
            steer("next", where, rows, 2, 1, bounded, 1)
            log.append(table.tolist())
        steer("last", where, rows, 1)
        log.append(table.tolist())
        for word in (at, at + 8):  # false, true
            steer("begin", where, rows, 1, 0, 0, 2, 2)
            steer("leave", word, 2, 3)
        for wanted in (2, 4):
            cases[:] = [at, 0, 0, at + 16, 1, wanted]
            steer("select", cases.ctypes.data, 2, 4)
        for bad in (0, 1):
            words[1] = bad
            steer("begin", where, rows, 1, 0, 0, 2, 5)
            steer("judge", words.ctypes.data, 2, 6, 0, 0)
            steer("judge", words.ctypes.data, 2, 6, 1, 5)
        steer("copy", pointers.ctypes.data, pointers.ctypes.data + 8, 1001, 3)
        steer("copy", copied.ctypes.data + 1024, source.ctypes.data, 2048, 0)
        steer("copy", copied.ctypes.data + 4004, pointers.ctypes.data + 8, 100, 2)
        steer("fill", pointers.ctypes.data, 7, 11)
        for entry in log:  # addresses differ between the two, tables do not
            if isinstance(entry, list):
                assert len(entry) == memory.size
        seen.append((log, copied.tolist()))
    assert seen[0] == seen[1]


_CONDITIONS = """
extern "C" { unsigned int emu_conditions[8]; }
extern "C" void cudaGraphSetConditional(unsigned long long handle, unsigned int value) {
  emu_conditions[handle] = value;
}
"""


def test_conditional_nodes_are_asked_of_the_driver_in_order() -> None:
    driver = _Driver()
    nodes = ConditionalNodes(driver)
    condition = nodes.condition(7)
    assert nodes.branch(7, "switch", condition, 2) == ["body 0", "body 1"]
    nodes.begin(8, "body 0")
    nodes.end(8)
    assert [call[0] for call in driver.calls] == [
        "cuCtxGetCurrent",
        "cuStreamGetCaptureInfo",
        "cuGraphConditionalHandleCreate",
        "cuStreamGetCaptureInfo",
        "cuCtxGetCurrent",
        "cuGraphAddNode",
        "cuStreamUpdateCaptureDependencies",
        "cuStreamBeginCaptureToGraph",
        "cuStreamEndCapture",
    ]
    added = driver.calls[5][1]
    assert added[:4] == ("graph of 7", ["node before"], None, 1)
    assert (added[4].conditional.handle, added[4].conditional.size) == ((1 << 64) - 5, 2)
    assert driver.calls[6][1] == (7, ["the node"], None, 1, 1)
    driver.fails = True
    with pytest.raises(gf.errors.InternalError, match="cuStreamEndCapture failed: CUDA_ERROR"):
        nodes.end(8)


class _Named:
    """Whatever is asked of it, by name."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        return name


class _Status(int):
    name = "CUDA_ERROR"


class _Driver:
    """Looks like `cuda.bindings.driver`, and writes down what it is asked for."""

    CU_GRAPH_COND_ASSIGN_DEFAULT = 1
    CUgraphNodeType = CUgraphConditionalNodeType = CUstreamCaptureMode = _Named()
    CUstreamUpdateCaptureDependencies_flags = _Named(CU_STREAM_SET_CAPTURE_DEPENDENCIES=1)
    CUgraphConditionalHandle = int

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.fails = False

    def CUgraphNodeParams(self) -> Any:
        return _Named(conditional=_Named())

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def call(*args: Any) -> tuple[Any, ...]:
            self.calls.append((name, args))
            results: dict[str, tuple[Any, ...]] = {
                "cuCtxGetCurrent": ("context",),
                "cuStreamGetCaptureInfo": (
                    1,
                    0,
                    f"graph of {args[0] if args else ''}",
                    ["node before"],
                    [],
                    1,
                ),
                "cuGraphConditionalHandleCreate": ((1 << 64) - 5,),
                "cuGraphAddNode": ("the node",),
            }
            if name == "cuGraphAddNode":
                args[4].conditional.phGraph_out = ["body 0", "body 1"]
            return _Status(1 if self.fails else 0), *results.get(name, ())

        return call
