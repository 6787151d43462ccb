"""The way in: right arrays pass, wrong ones never reach native code, with the builtin and with its twin."""

import sys

import numpy as np
import pytest

from graphflow.backends.cpu import entry as entry_module
from graphflow.backends.cpu.backend import CpuBackend
from graphflow.backends.cpu.entry import builtin_available, make_entry
from graphflow.plan import Check, read, write
from tests.native_kernels import SCALE

F4 = np.dtype(np.float32)


def patches(*rows):
    return np.array(rows, np.int64).reshape(-1, 2)


@pytest.fixture(params=["builtin", "twin"])
def fast(request):
    if request.param == "builtin" and not builtin_available():
        pytest.skip("this Python's structs are not what the builtin expects")
    return request.param == "builtin"


def test_the_builtin_works_on_common_pythons():
    if sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)():
        assert builtin_available()


def test_addresses_go_where_they_should(fast):
    table = np.zeros(8, np.int64)
    feeds = [
        Check((2, 3), F4, False, patches([1, 0], [5, 12])),
        Check((), np.dtype(np.int64), False, patches()),
    ]
    outputs = [Check((4,), F4, True, patches([2, 4]))]
    enter = make_entry(table, feeds, outputs, None, fast)
    for _ in range(3):
        x, out = np.zeros((2, 3), F4), np.zeros(4, F4)
        assert enter((x, np.array(3)), [out]) is None
        assert table.tolist() == [0, x.ctypes.data, out.ctypes.data + 4, 0, 0, x.ctypes.data + 12, 0, 0]


class Sub(np.ndarray):
    """A subclass may keep its data anywhere."""


def wrong_feeds():
    good = np.zeros((2, 3), F4)
    locked = np.zeros(4, F4)
    locked.flags.writeable = False
    return {
        "dtype": ((good.astype(np.float64),), [np.zeros(4, F4)], 0),
        "byte order": ((good.astype(">f4"),), [np.zeros(4, F4)], 0),
        "same size, other kind": ((good.view(np.int32),), [np.zeros(4, F4)], 0),
        "shape": ((np.zeros((3, 2), F4),), [np.zeros(4, F4)], 0),
        "too short": ((np.zeros((1, 3), F4),), [np.zeros(4, F4)], 0),
        "rank": ((np.zeros(6, F4),), [np.zeros(4, F4)], 0),
        "order": ((np.zeros((3, 2), F4).T,), [np.zeros(4, F4)], 0),
        "strides": ((np.zeros((2, 6), F4)[:, ::2],), [np.zeros(4, F4)], 0),
        "alignment": ((np.zeros(25, np.uint8)[1:].view(F4).reshape(2, 3),), [np.zeros(4, F4)], 0),
        "subclass": ((good.view(Sub),), [np.zeros(4, F4)], 0),
        "no array": ((1.0,), [np.zeros(4, F4)], 0),
        "None": ((None,), [np.zeros(4, F4)], 0),
        "scalar": ((np.float32(1),), [np.zeros(4, F4)], 0),
        "list": (([[0.0] * 3] * 2,), [np.zeros(4, F4)], 0),
        "locked output": ((good,), [locked], 1),
        "short output": ((good,), [np.zeros(3, F4)], 1),
        "too few": ((), [np.zeros(4, F4)], -1),
        "too many": ((good, good), [np.zeros(4, F4)], -1),
        "no outputs": ((good,), [], -1),
    }


@pytest.mark.parametrize("case", wrong_feeds())
def test_what_does_not_fit_is_named_and_nothing_runs(fast, case):
    feeds, outputs, number = wrong_feeds()[case]
    table = np.zeros(3, np.int64)
    enter = make_entry(
        table,
        [Check((2, 3), F4, False, patches([0, 0]))],
        [Check((4,), F4, True, patches([1, 0]))],
        None,
        fast,
    )
    assert enter(feeds, outputs) == number


def test_the_builtin_takes_exactly_a_tuple_and_a_list():
    if not builtin_available():
        pytest.skip("no builtin here")
    enter = make_entry(np.zeros(1, np.int64), [], [], None, True)
    assert enter((), []) is None
    for args in [([], []), ((), ()), ((),), ((), [], ()), (1, 2), (), (None, None)]:
        assert enter(*args) == -1


def test_references_are_kept_even(fast):
    """A thousand entries leave every reference count as it was."""
    table = np.zeros(1, np.int64)
    enter = make_entry(table, [Check((2,), F4, False, patches([0, 0]))], [], None, fast)
    x, bad = np.zeros(2, F4), np.zeros(3, F4)
    feeds, wrong, outputs = (x,), (bad,), []
    counts = [sys.getrefcount(thing) for thing in (x, bad, feeds, wrong, outputs, F4)]
    for _ in range(1000):
        enter(feeds, outputs)
        enter(wrong, outputs)
    assert [sys.getrefcount(thing) for thing in (x, bad, feeds, wrong, outputs, F4)] == counts


def test_an_entry_keeps_what_it_needs_alive(fast):
    import gc

    entries = []
    for number in range(50):
        table = np.zeros(4, np.int64)
        check = Check((number,), np.dtype([("a", np.int32), ("b", np.float32)]), False, patches([1, number]))
        entries.append((table, make_entry(table, [check], [], None, fast), check.dtype))
        del check
    gc.collect()
    for number, (table, enter, dtype) in enumerate(entries):
        x = np.zeros(number, dtype)
        assert enter((x,), []) is None and table[1] == x.ctypes.data + number


def scaled_plan(monkeypatch, builtin):
    if not builtin:
        monkeypatch.setattr(entry_module, "_builtins", lambda: None)
    b = CpuBackend(threads=2).builder()
    x = b.feed((50_000,), np.float32)
    y, z = b.buffer((50_000,), np.float32), b.buffer((50_000,), np.float32)
    b.launch(SCALE, [read(x), write(y), np.float32(2), 50_000], parallel=True, flops=1e8)
    b.launch(SCALE, [read(y), write(z), np.float32(2), 50_000], parallel=True, flops=1e8)
    b.host(np.sum, [z], [((), np.float32)])
    b.fetch(z)
    return b.build()


@pytest.mark.parametrize("builtin", [True, False])
def test_whole_plans_both_ways(monkeypatch, builtin):
    plan = scaled_plan(monkeypatch, builtin)
    assert plan.steps[0].release and plan.steps[0].team
    x = np.random.RandomState(0).rand(50_000).astype(np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(plan.run([x])[0], 4 * x)
        np.testing.assert_array_equal(plan.run([x[::-1]])[0], 4 * x[::-1])
    assert len(plan.run_traced([x])[1]) == 5
    with pytest.raises(ValueError, match="shape"):
        plan.run([x[1:]])


def test_a_python_with_other_structs_gets_the_twin(monkeypatch):
    for name in ("_DATA", "_SIZES", "_DESCR", "_FLAGS", "_ITEMS", "_RANK"):
        with monkeypatch.context() as patch:
            patch.setattr(entry_module, name, getattr(entry_module, name) + 8)
            assert not entry_module._layout_fits()
    with monkeypatch.context() as patch:
        patch.setattr(entry_module.platform, "python_implementation", lambda: "PyPy")
        assert not entry_module._layout_fits()
