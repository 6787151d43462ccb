"""Loops and choices in plans: what moves with the turns, what lasts through them, barriers, checks, traces."""

import numpy as np
import pytest

from graphflow.backends.cpu.backend import CpuBackend
from graphflow.loops.build import Builder
from graphflow.plan import COPY, Count, arrangement, read, update, write
from graphflow.variable_store import VariableStore
from tests.native_kernels import ADD, REVERSE, SCALE

F4 = np.dtype(np.float32)
N = 1000


@pytest.fixture(params=[1, 2, 3])
def backend(request, monkeypatch):
    """A back end that shares everything among its threads, however small."""
    monkeypatch.setattr(arrangement, "_PARALLEL_LAUNCH_NS", 0.0)
    monkeypatch.setattr(arrangement, "_TEAM_NS", 0.0)
    return CpuBackend(threads=request.param)


def vector(seed=0):
    return np.random.RandomState(seed).rand(N).astype(F4)


def copy(b, target, source):
    b.launch(COPY, [write(target), read(source), source.nbytes], parallel=True, name="copy")


def scale(b, x, factor, y):
    b.launch(SCALE, [read(x), write(y), np.float32(factor), x.shape[0]], parallel=True, name="scale")


def add(b, x, y, z):
    b.launch(ADD, [read(x), read(y), write(z), x.shape[0]], parallel=True, name="add")


def reverse(b, x, y):
    b.launch(REVERSE, [read(x), write(y), x.shape[0]], parallel=True, name="reverse")


def pair(b, loop, memory):
    """A carried value: where it lies in a turn, and where the next turn finds it."""
    size = memory.nbytes // 2
    here = b.moving(memory, loop, (N,), swing=size)
    return here, b.moving(memory, loop, (N,), offset=size, swing=-size)


def number_kernel(make, *params):
    """A kernel (ints..., y) that stores one number."""
    b = Builder("number")
    ints = [b.int_param(name) for name in params]
    b.store(b.buffer("y", "i64"), 0, make(b, *ints))
    return b.kernel()


def below_kernel(limit):
    """A kernel (x, y): y = x[0] < limit."""
    b = Builder("below")
    x, y = b.buffer("x", "f32"), b.buffer("y", "i1")
    b.store(y, 0, b.lt(b.load(x, 0), b.const(limit, "f32")))
    return b.kernel()


@pytest.mark.parametrize("turns", [0, 1, 2, 7])
def test_a_loop_carries_values_and_reads_and_writes_rows(backend, turns):
    b = backend.builder("loop")
    x, given = b.feed((N,), F4, "x"), b.feed((turns, N), F4, "rows")
    memory, rows = b.buffer((2, N), F4, "state"), b.buffer((turns, N), F4, "out")
    if not turns:
        rows = b.buffer((1, N), F4, "out")
        copy(b, rows, x)
    copy(b, b.view(memory, (N,)), x)
    with b.loop(turns, name="steps") as loop:
        here, there = pair(b, loop.region, memory)
        turned = b.buffer((N,), F4)
        reverse(b, here, turned)
        back = b.moving(given, loop.region, (N,), offset=4 * N * (turns - 1), step=-4 * N)
        add(b, turned, back, there)
        scale(b, there, 2, b.moving(rows, loop.region, (N,), step=4 * N))
        loop.finish()
        last = b.buffer((N,), F4)
        copy(b, last, here)
    b.fetch(last)
    b.fetch(rows)
    plan = b.build()
    state, data, wanted = vector(), np.random.RandomState(1).rand(turns, N).astype(F4), []
    for turn in range(turns):
        state = state[::-1] + data[turns - 1 - turn]
        wanted.append(2 * state)
    for _ in range(3):
        out, made = plan.run([vector(), data])
        np.testing.assert_array_equal(out, state)
        if turns:
            np.testing.assert_array_equal(made, wanted)
    assert f"loop steps, {turns} turns" in plan.summary()


def test_the_number_of_turns_may_be_data(backend):
    b = backend.builder()
    limit, x = b.feed((1,), np.int64, "limit"), b.feed((N,), F4)
    memory = b.buffer((2, N), F4)
    copy(b, b.view(memory, (N,)), x)
    with b.loop(limit) as loop:
        here, there = pair(b, loop.region, memory)
        scale(b, here, 2, there)
        loop.finish()
        last = b.buffer((N,), F4)
        copy(b, last, here)
    b.fetch(last)
    plan = b.build()
    for turns in (0, 1, 5, -3, 8):
        (out,) = plan.run([np.array([turns]), vector()])
        np.testing.assert_array_equal(out, vector() * 2 ** max(0, turns))


def test_a_condition_ends_a_loop_before_the_turn_that_it_forbids(backend):
    b = backend.builder()
    x = b.feed((N,), F4)
    memory, holds = b.buffer((2, N), F4), b.buffer((), np.bool_)
    copy(b, b.view(memory, (N,)), x)
    with b.loop(name="while") as loop:
        here, there = pair(b, loop.region, memory)
        b.launch(below_kernel(100.0), [read(here), write(holds)], name="below")
        loop.leave_unless(holds)
        scale(b, here, 3, there)
        loop.finish()
        count, last = b.buffer((1,), np.int64), b.buffer((N,), F4)
        b.launch(number_kernel(lambda k, n: n, "n"), [Count(loop.region), write(count)])
        copy(b, last, here)
    b.fetch(last)
    b.fetch(count)
    plan = b.build()
    for start in (0.5, 40.0, 1e6):
        x = vector() + F4.type(start)
        turns, wanted = 0, x
        while wanted[0] < 100:
            wanted, turns = wanted * F4.type(3), turns + 1
        out, counted = plan.run([x])
        np.testing.assert_array_equal(out, wanted)
        assert counted.tolist() == [turns]


def test_loops_nest_and_count(backend):
    outer, inner = 4, 3
    b = backend.builder()
    x, table = b.feed((N,), F4), b.buffer((outer, inner), np.int64)
    rows = b.buffer((outer, N), F4)
    kernel = number_kernel(lambda k, i, j: k.add(k.mul(i, 10), j), "i", "j")
    with b.loop(outer, name="outer") as i:
        memory = b.buffer((2, N), F4)
        copy(b, b.view(memory, (N,)), x)
        line = b.moving(table, i.region, (inner,), step=8 * inner)
        with b.loop(inner, name="inner") as j:
            here, there = pair(b, j.region, memory)
            scale(b, here, 2, there)
            cell = b.moving(line, j.region, (1,), step=8)
            b.launch(kernel, [Count(i.region), Count(j.region, 5, -1), write(cell)])
            j.finish()
            copy(b, b.moving(rows, i.region, (N,), step=4 * N), here)
    last = b.buffer((outer, N), F4)
    b.launch(SCALE, [read(rows), write(last), np.float32(1), outer * N], parallel=True)
    b.fetch(table)
    b.fetch(last)
    plan = b.build()
    table, rows = plan.run([vector()])
    assert table.tolist() == [[10 * i + 5 - j for j in range(inner)] for i in range(outer)]
    np.testing.assert_array_equal(rows, [8 * vector()] * outer)


@pytest.mark.parametrize("others", [False, True])
def test_a_choice_does_one_branch(backend, others):
    b = backend.builder()
    which, x = b.feed((), np.int32, "which"), b.feed((N,), F4)
    y = b.buffer((N,), F4)
    copy(b, y, x)
    z = b.buffer((N,), F4)
    reverse(b, y, z)
    with b.choice("branches") as choice:
        choice.case(which, 0)
        scale(b, x, 2, y)
        scale(b, y, 2, z)
        choice.case(which, 1)
        reverse(b, x, y)
        reverse(b, y, z)
        if others:
            choice.otherwise()
            scale(b, x, 7, z)
    out = b.buffer((N,), F4)
    reverse(b, z, out)
    b.fetch(out)
    plan = b.build()
    for number in (0, 1, 2, -1):
        wanted = {0: 4 * vector()[::-1], 1: vector()[::-1]}.get(number)
        if wanted is None:
            wanted = 7 * vector()[::-1] if others else vector()
        np.testing.assert_array_equal(plan.run([np.array(number, np.int32), vector()])[0], wanted)


def test_a_choice_in_a_loop_follows_what_the_turns_compute(backend):
    b = backend.builder()
    x = b.feed((N,), F4)
    memory, small = b.buffer((2, N), F4), b.buffer((), np.bool_)
    copy(b, b.view(memory, (N,)), x)
    with b.loop(9) as loop:
        here, there = pair(b, loop.region, memory)
        b.launch(below_kernel(50.0), [read(here), write(small)])
        with b.choice() as choice:
            choice.case(small)
            scale(b, here, 3, there)
            choice.otherwise()
            halved = b.buffer((N,), F4)
            scale(b, here, 0.125, halved)
            reverse(b, halved, there)
        loop.finish()
        last = b.buffer((N,), F4)
        copy(b, last, here)
    b.fetch(last)
    plan = b.build()
    state = vector() + 1
    (out,) = plan.run([state])
    for _ in range(9):
        state = state * F4.type(3) if state[0] < 50 else state[::-1] * F4.type(0.125)
    np.testing.assert_array_equal(out, state)


def test_memory_within_a_turn_is_shared_and_what_lasts_is_not(backend):
    b = backend.builder()
    x = b.feed((N,), F4)
    doubled, memory = b.buffer((N,), F4), b.buffer((2, N), F4)
    scale(b, x, 2, doubled)
    copy(b, b.view(memory, (N,)), x)
    with b.loop(3) as loop:
        here, there = pair(b, loop.region, memory)
        steps = [b.buffer((N,), F4) for _ in range(6)]
        add(b, here, doubled, steps[0])
        for source, target in zip(steps[:-1], steps[1:], strict=True):
            reverse(b, source, target)
        copy(b, there, steps[-1])
        loop.finish()
        last = b.buffer((N,), F4)
        copy(b, last, here)
    b.fetch(last)
    plan = b.build()
    # The invariant, two of the state, two that the chain takes turns with.
    assert plan.arena_bytes <= 6 * 4096
    state, doubled = vector(), vector() * F4.type(2)
    for _ in range(3):
        state = (state + doubled)[::-1]
    np.testing.assert_array_equal(plan.run([vector()])[0], state)


def test_a_failed_check_ends_the_turn_and_the_run(backend):
    k = Builder("above")
    values, status, n = k.buffer("x", "f32"), k.buffer("status", "i64"), k.int_param("n")
    with k.loop("i", 0, n, "parallel") as i:
        with k.where(k.gt(k.load(values, i), k.const(20.0, "f32"))):
            k.store(status, 0, 1)
    kernel = k.kernel()

    def blame(x):
        raise ValueError(f"above: {x.max()}")

    b = backend.builder()
    x = b.feed((N,), F4)
    memory, seen, count = b.buffer((2, N), F4), b.buffer((N,), F4), b.buffer((1,), np.int64)
    copy(b, b.view(memory, (N,)), x)
    with b.loop(1000) as loop:
        here, there = pair(b, loop.region, memory)
        scale(b, here, 1, seen)
        status = b.check([seen], blame, name="check")
        b.launch(kernel, [read(seen), write(status), N], parallel=True)
        scale(b, here, 2, there)
        b.launch(number_kernel(lambda k, n: n, "n"), [Count(loop.region), update(count)])
    b.fetch(count)
    plan = b.build()
    small = np.zeros(N, F4)
    assert plan.run([small])[0].tolist() == [999]
    for _ in range(2):
        with pytest.raises(ValueError, match="above: 32.0"):
            plan.run([np.ones(N, F4)])
    assert plan.run([small])[0].tolist() == [999]


def test_variables_are_set_by_loops(backend):
    b = backend.builder()
    w = b.variable("w", (N,), F4)
    memory, new = b.buffer((2, N), F4), b.buffer((N,), F4)
    copy(b, b.view(memory, (N,)), w)
    with b.loop(3) as loop:
        here, there = pair(b, loop.region, memory)
        add(b, here, w, there)
        loop.finish()
        copy(b, new, here)
    b.assign(w, new)
    plan = b.build()
    store = VariableStore()
    store.set("w", vector())
    plan.run(store=store)
    np.testing.assert_array_equal(store.get("w"), 4 * vector())


def test_a_trace_counts_turns(backend):
    b = backend.builder()
    x, y, z = b.feed((N,), F4), b.buffer((N,), F4), b.buffer((N,), F4)
    with b.loop(5, name="steps"):
        scale(b, x, 2, y)
        reverse(b, y, z)
    b.fetch(z)
    plan = b.build()
    _, events = plan.run_traced([vector()])
    assert {(event.name, event.turns) for event in events} == {("scale", 5), ("reverse", 5)}
    assert sum(event.duration_us for event in events) > 0
    assert plan.cost.written == 2 * 5 * 4 * N


def test_what_does_not_fit_into_a_region_is_refused(backend):
    b = backend.builder()
    x = b.feed((N,), F4)
    with pytest.raises(ValueError, match="no word"):
        b.loop(x)
    loop = b.loop(3)
    with loop:
        moving = b.moving(b.buffer((3, N), F4), loop.region, (N,), step=4 * N)
        with pytest.raises(ValueError, match="in turn 2"):
            b.moving(x, loop.region, (10,), step=4 * 500)
        with pytest.raises(ValueError, match="in the region"):
            b.host(lambda: 0, [], [((), F4)])
        with pytest.raises(ValueError, match="moves"):
            b.fetch(moving)
        with pytest.raises(ValueError, match="moves"):
            b.check([moving], print)
        scale(b, x, 1, moving)
    with pytest.raises(ValueError, match="around something else"):
        scale(b, x, 1, moving)
    with pytest.raises(ValueError, match="not in the loop"):
        b.launch(SCALE, [read(x), write(b.buffer((N,), F4)), np.float32(1), Count(loop.region)])


def test_the_result_does_not_depend_on_the_threads(monkeypatch):
    monkeypatch.setattr(arrangement, "_PARALLEL_LAUNCH_NS", 0.0)
    monkeypatch.setattr(arrangement, "_TEAM_NS", 0.0)
    outs = []
    for threads in (1, 2, 5):
        b = CpuBackend(threads=threads).builder()
        x = b.feed((N,), F4)
        memory = b.buffer((2, N), F4)
        copy(b, b.view(memory, (N,)), x)
        with b.loop(2000) as loop:
            here, there = pair(b, loop.region, memory)
            turned, sums = b.buffer((N,), F4), b.buffer((N,), F4)
            reverse(b, here, turned)
            add(b, turned, x, sums)
            scale(b, sums, 0.75, there)
            loop.finish()
            last = b.buffer((N,), F4)
            copy(b, last, here)
        b.fetch(last)
        outs.append(b.build().run([vector()])[0])
    assert outs[0].tobytes() == outs[1].tobytes() == outs[2].tobytes()
