"""Sizes as symbols: arithmetic and guards, and plans that are made for other sizes than those they were decided by."""

from __future__ import annotations

import operator
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

import graphflow as gf
from graphflow.compiler import CompileOptions, Executable, compile_graph
from graphflow.plan import Launch, Plan, Ref
from graphflow.symbolic import Derived, Sizes, Symbolic, ceil_div, greatest, least
from graphflow.testing import TestState, check_same, run_reference
from graphflow.text import program_text
from tests.test_random_programs import programs

# ---------------------------------------------------------------------------- numbers

OPERATIONS = (
    operator.add, operator.sub, operator.mul, least, greatest,
    lambda a, b: a // b if b != 0 else a,
    lambda a, b: a % b if b != 0 else b,
    lambda a, b: ceil_div(a, b) if a >= 0 and b > 0 else a,
    lambda a, b: a if a < b else b,
    lambda a, b: a * 0.25 + b if a >= b else a - b,
)  # fmt: skip


def _calculated(seed: int, sizes: list[Any]) -> tuple[list[Any], list[bool]]:
    """Numbers made of sizes in ways that a seed decides, and answers to questions about them."""
    chosen = random.Random(seed)
    numbers = [*sizes, 1, 2, 3, 64, 100]
    answers = []
    for _ in range(30):
        a, b = chosen.choice(numbers), chosen.choice(numbers)
        made = chosen.choice(OPERATIONS)(a, b)
        if not isinstance(made, float) or abs(made) < 1e12:
            numbers.append(made)
        question = chosen.choice((operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge))
        answers.append(bool(question(chosen.choice(numbers), chosen.choice(numbers))))
    return numbers, answers


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 200), min_size=1, max_size=3), st.data())
def test_numbers_and_answers_hold_for_other_sizes(seed, hints, data):
    sizes = Sizes()
    numbers, answers = _calculated(seed, [sizes.symbol(hint, 1) for hint in hints])
    wanted, wanted_answers = _calculated(seed, hints)
    assert answers == wanted_answers
    at = sizes.at(hints)
    assert at is not None, "the guards keep out the very sizes they were made for"
    assert [at(number) for number in numbers] == pytest.approx(wanted)
    for _ in range(8):
        values = [data.draw(st.integers(max(1, hint - 3), 2 * hint)) for hint in hints]
        at = sizes.at(values)
        if at is not None:
            others, other_answers = _calculated(seed, values)
            assert other_answers == answers
            assert [at(number) for number in numbers] == pytest.approx(others)


def test_equal_formulas_are_one_object():
    sizes = Sizes()
    n, m = sizes.symbol(4), sizes.symbol(4)
    assert n * 512 // 4 is n * 128 and (n + m) * 2 - m is 2 * n + m and n * m // n is m
    assert (n - n, n * 0, n * 6 % 3) == (0, 0, 0)
    assert n * 2 is not n * 2.0 and type(sizes.at([3, 4])(n * 2)) is int  # type: ignore[misc]


@pytest.mark.parametrize("taken", [int, operator.index, float, round, lambda n: np.zeros(n), lambda n: range(n)])
def test_whoever_takes_a_plain_number_pins_the_size(taken):
    sizes = Sizes()
    n = sizes.symbol(4)
    taken(n)
    assert sizes.at([4]) is not None and sizes.at([5]) is None and sizes.at([3]) is None


def test_questions_about_quotients_become_bounds():
    sizes = Sizes()
    n = sizes.symbol(100, 1)
    assert n * 3 // 7 < 50 and not n * 3 // 7 <= 40
    assert [v for v in range(1, 200) if sizes.at([v])] == [v for v in range(1, 200) if 40 < v * 3 // 7 < 50]
    assert "s1" not in sizes.describe()


def test_by_form_a_size_equals_no_number_that_it_need_not_be():
    sizes = Sizes()
    n = sizes.symbol(8, 1)
    sizes.by_form = True
    assert n != 8 and n != 1 and not n == 0 and sizes.at([1]) and sizes.at([8])
    sizes.by_form = False
    assert n == 8
    sizes.by_form = True
    assert n == 8 and n * 2 == 16 and sizes.at([9]) is None


def test_a_closed_set_takes_no_more_questions():
    sizes = Sizes()
    n = sizes.symbol(8)
    assert n < 10
    sizes.close()
    assert n < 10
    with pytest.raises(RuntimeError, match="when all has been decided"):
        bool(n < 9)


def test_arrays_that_sizes_decide():
    sizes = Sizes()
    n = sizes.symbol(8)
    array = Derived.of(sizes, [n, 3], np.int32)
    assert array.hint.tolist() == [8, 3] and array.known[0] is n
    assert array.make(sizes.at([5])).tolist() == [5, 3] and array.make(sizes.at([5])).dtype == np.int32
    other = Derived(sizes, np.float32([0.125]), lambda at: np.float32([1 / at(n)]), None, "inverse")
    assert other.known.tolist() == [0.125]
    assert sizes.at([5]) is None and sizes.at([8]) is not None


# ---------------------------------------------------------------------------- plans


def _listed(plan: Plan) -> list[Any]:
    """What a plan does, but for where in the arena."""
    numbers: dict[Any, int] = {}

    def slot(one: Any) -> Any:
        root = one.root
        number = numbers.setdefault(root.index, len(numbers))
        return number, root.kind, one.shape, one.dtype, one.offset

    def launch(one: Launch) -> Any:
        args = [(slot(a.slot), a.access, a.offset) if isinstance(a, Ref) else a for a in one.args]
        return one.name, one.parallel, args

    listed = [launch(one) for one in plan.launches]
    constants = sorted((a.dtype.str, a.shape, a.tobytes()) for a in plan.constants.values())
    steps = [(type(step), getattr(step, "name", "")) for step in plan.steps]
    return [listed, constants, steps, [slot(s) for s in plan.feeds], plan._output_specs, plan._template.launches and [
        kernel for kernel in plan._table[: 4 * len(listed) : 4].tolist()
    ]]  # fmt: skip


def _check_layout(plan: Plan) -> None:
    """Raises AssertionError if two values that live at the same time share bytes of the arena."""
    build = plan._template.build
    placed = [
        (plan._at(r.size), r.first, r.last, o)
        for r, o in zip(build.requests, plan.layout.offsets, strict=True)
    ]
    for number, (size, first, last, offset) in enumerate(placed):
        assert offset + size <= plan.layout.peak
        for other_size, other_first, other_last, other in placed[:number]:
            if first <= other_last and other_first <= last and size and other_size:
                assert offset + size <= other or other + other_size <= offset


def check_other_sizes(program: Any, arrays: list[np.ndarray], found: list[int]) -> int:
    """Runs a program for other sizes by one executable; returns how often a template could be taken.

    Raises AssertionError unless each plan is the one that is made from nothing, and gives the same bits.
    """
    executable = Executable(program, CompileOptions())
    taken = 0
    state = TestState()
    for size in (None, *found):
        fed = []
        for value, array in zip(program.feeds, arrays, strict=True):
            dims = value.static_shape.as_tuple() or ()
            if size is not None and dims and dims[0] is None and array.shape[0] > 1:
                array = np.resize(array, (size, *array.shape[1:]))
            fed.append(array)
        shapes = tuple(a.shape for a in fed)
        try:
            wanted = run_reference(program, fed)
        except Exception:
            continue
        known = {id(t) for ts in executable._templates.values() for t in ts}
        plan = executable.bind(shapes, state).plan
        assert executable.without_template is None, executable.without_template
        taken += id(plan._template) in {id(t.plans) for ts in executable._templates.values() for t in ts if id(t) in known}
        anew = Executable(program, CompileOptions()).bind(shapes, state).plan
        got, other = plan.run(tuple(fed), TestState()), anew.run(tuple(fed), TestState())
        for a, b in zip(got, other, strict=True):
            assert a.tobytes() == b.tobytes() and a.shape == b.shape
        check_same(got, wanted, 2e-3)
        assert _listed(plan) == _listed(anew)
        _check_layout(plan)
    return taken


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs(), st.lists(st.sampled_from([2, 3, 7, 16, 33, 64, 90]), min_size=1, max_size=3))
def test_a_template_gives_the_plan_that_is_made_from_nothing(case, sizes):
    program, arrays = case
    assume(any(None in (value.static_shape.as_tuple() or ()) for value in program.feeds))
    note(program_text(program))
    check_other_sizes(program, arrays, sizes)
