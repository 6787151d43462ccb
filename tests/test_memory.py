"""The arena never lets two live requests overlap, and comes near the lower bound."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as gf
from benchmarks.peers import tf1_programs
from graphflow.backends.base import load
from graphflow.lowering.measure import uncompiled
from graphflow.memory import ALIGNMENT, Request, align, aligned_empty, plan_arena


def overlapping(requests, layout):
    """The first pair of requests that are alive together and share bytes, or None."""
    for i, a in enumerate(requests):
        for j in range(i):
            b = requests[j]
            if not (a.size and b.size) or a.first > b.last or b.first > a.last:
                continue
            x, y = layout.offsets[i], layout.offsets[j]
            if x < y + b.size and y < x + a.size:
                return j, i
    return None


lifetimes = st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 10)).map(
    lambda t: Request(t[0], t[1], t[1] + t[2])
)


@given(st.lists(lifetimes, max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_two_live_requests_overlap(requests):
    layout = plan_arena(requests)
    assert overlapping(requests, layout) is None
    assert all(offset % ALIGNMENT == 0 for offset in layout.offsets)
    assert layout.peak >= layout.lower_bound
    assert all(o + r.size <= layout.peak for o, r in zip(layout.offsets, requests, strict=True) if r.size)


def test_a_chain_needs_two_buffers():
    layout = plan_arena([Request(1000, i, i + 1) for i in range(50)])
    assert layout.peak == layout.lower_bound == 2048


def test_nothing_and_empty():
    assert plan_arena([]).peak == 0
    assert plan_arena([Request(0, 0, 5)]).peak == 0


def test_refuses_lifetimes_that_end_before_they_begin():
    with pytest.raises(ValueError, match="lifetime"):
        plan_arena([Request(8, 3, 2)])


def test_many_requests_take_little_time_and_space():
    rng = np.random.RandomState(0)
    starts = np.sort(rng.randint(0, 50_000, 100_000))
    lengths = rng.geometric(0.2, 100_000)
    sizes = rng.randint(1, 1 << 20, 100_000)
    requests = [Request(int(s), int(f), int(f + n)) for s, f, n in zip(sizes, starts, lengths, strict=True)]
    began = time.process_time()
    layout = plan_arena(requests)
    assert time.process_time() - began < 10  # quadratic would take minutes
    assert layout.peak < 1.6 * layout.lower_bound


def test_large_arrays_get_the_memory_of_those_that_are_gone():
    shape = (1 << 24) + 5
    first = aligned_empty(shape, np.float32)
    address = first.ctypes.data
    assert address % ALIGNMENT == 0
    part = first[10:20].reshape(2, 5)
    del first
    other = aligned_empty(shape, np.float32)
    assert other.ctypes.data != address  # somebody still looks at a part
    other[:] = 1.0
    part[:] = 2.0
    assert other.min() == 1.0
    del part
    again = aligned_empty(shape, np.float32)
    assert again.ctypes.data == address
    sizes = {aligned_empty(shape + i, np.float32).nbytes for i in range(9)}  # more than is kept
    assert len(sizes) == 9


def test_aligned_empty():
    for shape, dtype in [((3, 5), np.float32), (7, np.int8), ((), np.float64), ((0, 4), np.int32)]:
        array = aligned_empty(shape, dtype)
        assert array.ctypes.data % ALIGNMENT == 0 and array.dtype == dtype and array.flags.c_contiguous
    assert aligned_empty((2,), object).dtype == object


@given(st.lists(lifetimes, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_lower_bound_is_the_most_that_lives_at_one_step(requests):
    most = max(
        (
            sum(align(r.size) for r in requests if r.first <= step <= r.last)
            for step in range(max((r.last for r in requests), default=0) + 1)
        ),
        default=0,
    )
    assert plan_arena(requests).lower_bound == most


@pytest.mark.parametrize(
    "workload",
    ["mlp", "lenet", "resnet18_b1", "lstm", "transformer_b1", "transformer_train"],
)
def test_plans_of_the_benchmarks_come_near_the_lower_bound(workload, monkeypatch):
    packed = []

    def pack(requests, waste):
        wanted = list(requests)
        packed.append((wanted, plan_arena(wanted, waste)))
        return packed[-1][1]

    monkeypatch.setattr("graphflow.plan.arrangement.plan_arena", pack)
    plans = []

    class Programs(tf1_programs.Programs):
        def _function(self, fetches, feeds, arguments, *more):
            fed = dict(zip(feeds, arguments(), strict=True))
            plans.append(gf.Session().plan(fetches, fed))
            return lambda: [0]

    # What the code would be does not matter here: none is made.
    monkeypatch.setattr("graphflow.compiler.load", lambda *chosen: uncompiled(load(*chosen)))
    getattr(Programs(gf, 2), workload)()
    (plan,) = plans
    layout, requests = plan.layout, next(wanted for wanted, made in packed if made is plan.layout)
    assert layout.peak <= 1.2 * layout.lower_bound
    assert overlapping(requests, layout) is None
