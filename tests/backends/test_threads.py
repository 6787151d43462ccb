"""Teams: who takes part, barriers, busy teams, forks, ends."""

import ctypes
import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from graphflow.backends.cpu import threads as threads_module
from graphflow.backends.cpu.backend import CpuBackend
from graphflow.backends.cpu.driver import HEADER_WORDS, TEAM_BYTES, driver_text
from graphflow.backends.cpu.llvm import emit_object
from graphflow.backends.cpu.target import cross_target
from graphflow.backends.cpu.threads import Team, TeamCell, driver, process_jit, team_cell
from graphflow.memory import aligned_empty
from graphflow.plan import COPY, arrangement, read, write
from tests.native_kernels import PARTS, REVERSE


def pointer(array):
    return array.__array_interface__["data"][0]


def run(records, team_address, sleep=None, patience=10):
    """Walks records (function, args array, shared, barrier) with the team at an address."""
    table = np.array([(f, pointer(a), shared, barrier) for f, a, shared, barrier in records], np.int64)
    cell = np.array([team_address], np.int64)
    header = np.array([pointer(table), len(records), pointer(cell), patience, 0, 0], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(driver(sleep).segment)(pointer(header))


def code(kernel):
    return process_jit().compile([(kernel.symbol, kernel.text)])[kernel.symbol]


@pytest.fixture(
    params=[(1, None, None), (2, None, None), (5, None, None), (3, "condition", None), (2, None, "python")],
    ids=lambda p: f"{p[0]}-{p[1] or 'default'}-{p[2] or 'native'}",
)
def team(request):
    size, sleep, start = request.param
    team = Team(size, sleep, threads_module._start_python if start else None)
    team.size, team.sleep = size, sleep
    yield team
    team.stop()


def test_every_thread_takes_part_once(team):
    seen = np.zeros(8, np.int64)
    args = np.array([pointer(seen)], np.int64)
    for _ in range(50):
        seen[:] = 0
        run([(code(PARTS), args, 1, 0)], team.address, team.sleep)
        assert seen.tolist() == [team.size] * team.size + [0] * (8 - team.size)
    seen[:] = 0
    run([(code(PARTS), args, 0, 1)], team.address, team.sleep)
    assert seen.tolist() == [1] + [0] * 7


def test_barriers_hold(team):
    count = 4099
    x, y = np.arange(count, dtype=np.float32), np.zeros(count, np.float32)
    forth = np.array([pointer(x), pointer(y), count], np.int64)
    back = np.array([pointer(y), pointer(x), count], np.int64)
    for turn in range(20):
        if turn % 5 == 0:
            time.sleep(0.002)  # long enough for workers without patience to fall asleep
        run(
            [(code(REVERSE), forth, 1, 1), (code(REVERSE), back, 1, 1)] * 50,
            team.address,
            team.sleep,
            patience=0,
        )
        np.testing.assert_array_equal(x, np.arange(count))


def test_sleepers_wake(team):
    seen = np.zeros(8, np.int64)
    args = np.array([pointer(seen)], np.int64)
    for patience in (0, 0, 1, 100):
        time.sleep(0.01)
        seen[:] = 0
        run([(code(PARTS), args, 1, 0)], team.address, team.sleep, patience)
        assert seen.sum() == team.size**2


def test_a_busy_team_leaves_the_caller_alone_with_the_work(team):
    seen = np.zeros(8, np.int64)
    args = np.array([pointer(seen)], np.int64)
    if not team.address:
        pytest.skip("one thread is no team")
    busy = np.frombuffer((ctypes.c_int32 * 1).from_address(team.address + 384), np.int32)
    busy[0] = 1
    run([(code(PARTS), args, 1, 1)], team.address, team.sleep)
    assert seen.tolist() == [1] + [0] * 7
    busy[0] = 0


def test_many_callers_at_once():
    team = Team(3)
    count, wrong = 1001, []

    def work(seed):
        x = np.random.RandomState(seed).rand(count).astype(np.float32)
        want, y = x.copy(), np.zeros(count, np.float32)
        forth = np.array([pointer(x), pointer(y), count], np.int64)
        back = np.array([pointer(y), pointer(x), count], np.int64)
        for _ in range(300):
            run([(code(REVERSE), forth, 1, 1), (code(REVERSE), back, 1, 1)] * 3, team.address)
            if not np.array_equal(x, want):
                wrong.append(seed)
                return

    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    team.stop()
    assert not wrong


def test_a_stopped_or_missing_team_is_no_team():
    seen = np.zeros(8, np.int64)
    args = np.array([pointer(seen)], np.int64)
    run([(code(PARTS), args, 1, 1)], 0)
    assert seen.tolist() == [1] + [0] * 7
    cell = TeamCell(2)
    cell.start()
    cell.start()
    cell.stop()
    cell.stop()
    assert team_cell(1) is None and team_cell(2) is team_cell(2)


def test_a_system_without_threads_to_give():
    team = Team(4, start=lambda worker, argument: None)
    assert team.address == 0


def test_a_team_that_gets_only_some_of_its_threads_ends_them():
    given = []

    def start(worker, argument):
        if given:
            return None
        given.append(threads_module._start_native(worker, argument))
        return given[-1]

    before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    team = Team(4, start=start)
    assert team.address == 0 and len(given) == 1
    if before:
        assert len(os.listdir("/proc/self/task")) <= before


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 123_457])
def test_copies(size):
    source = np.random.RandomState(0).bytes(size)
    data, target = np.frombuffer(source, np.uint8), np.zeros(size + 2, np.uint8)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(driver().copy)
    args = np.array([pointer(target), pointer(data), size], np.int64)
    for part in range(3):
        kernel(pointer(args), part, 3)
    assert target[:size].tobytes() == source and not target[size:].any()
    assert CpuBackend(threads=1).addresses([COPY]) == [driver().copy]


def crossing_plan(monkeypatch, threads):
    monkeypatch.setattr(arrangement, "_PARALLEL_LAUNCH_NS", 0.0)
    monkeypatch.setattr(arrangement, "_TEAM_NS", 0.0)
    b = CpuBackend(threads=threads).builder()
    y = b.feed((5000,), np.float32)
    for _ in range(4):
        x, y = y, b.buffer((5000,), np.float32)
        b.launch(REVERSE, [read(x), write(y), 5000], parallel=True)
    out = b.buffer((8,), np.int64)
    b.launch(PARTS, [write(out)], parallel=True)
    b.fetch(y)
    b.fetch(out)
    return b.build()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_fork_makes_its_own_team(monkeypatch):
    plan = crossing_plan(monkeypatch, 2)
    fed = np.arange(5000, dtype=np.float32)
    plan.run([fed])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of threads, which is the point
        child = os.fork()
    if child == 0:
        code = 1
        try:
            good = True
            for _ in range(20):
                out, parts = plan.run([fed])
                good = good and np.array_equal(out, fed) and parts[:2].tolist() == [2, 2]
            code = 0 if good else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    out, parts = plan.run([fed])
    assert parts[:2].tolist() == [2, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_inside_a_host_step(monkeypatch):
    """The child goes on with a workspace bound to its parent's threads: it must do their work itself."""
    monkeypatch.setattr(arrangement, "_PARALLEL_LAUNCH_NS", 0.0)
    monkeypatch.setattr(arrangement, "_TEAM_NS", 0.0)
    parent = os.getpid()
    children = []

    def fork(a):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            children.append(os.fork())
        return a

    b = CpuBackend(threads=2).builder()
    x = b.feed((5000,), np.float32)
    y, z = b.buffer((5000,), np.float32), b.buffer((5000,), np.float32)
    b.launch(REVERSE, [read(x), write(y), 5000], parallel=True)
    (h,) = b.host(fork, [y], [((5000,), np.float32)])
    b.launch(REVERSE, [read(h), write(z), 5000], parallel=True)
    b.fetch(z)
    fed = np.arange(5000, dtype=np.float32)
    status = 1
    try:
        (out,) = b.build().run([fed])
        status = 0 if np.array_equal(out, fed) else 2
    finally:
        if os.getpid() != parent:
            os._exit(status)
    assert status == 0 and os.waitpid(children[0], 0)[1] == 0


@pytest.mark.parametrize("how", ["", "import threading; threading.Thread(target=loop, daemon=True).start()"])
def test_processes_end_quietly(how):
    """At exit the team ends, even if a daemon thread is still running plans."""
    script = f"""
import numpy as np
from graphflow.plan import arrangement
arrangement._PARALLEL_LAUNCH_NS = arrangement._TEAM_NS = 0.0
from graphflow.backends.base import load
from graphflow.plan import read, write
from tests.native_kernels import REVERSE
b = load("cpu", threads=2).builder()
x, y = b.feed((100,), np.float32), b.buffer((100,), np.float32)
b.launch(REVERSE, [read(x), write(y), 100], parallel=True)
b.fetch(y)
plan = b.build()
def loop():
    while True:
        plan.run([np.zeros(100, np.float32)])
plan.run([np.zeros(100, np.float32)])
{how}
import time; time.sleep(0.05)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True, text=True, timeout=240, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("isa", ["avx512", "avx2", "generic", "neon"])
@pytest.mark.parametrize("sleep", ["futex", "condition"])
def test_the_driver_compiles_for_every_target(isa, sleep):
    target = cross_target(isa)
    assert len(emit_object(driver_text(target, sleep)[1], target)) > 1000


def test_layout_of_a_team():
    assert aligned_empty(TEAM_BYTES).nbytes >= 640 + 64 and HEADER_WORDS == 6
