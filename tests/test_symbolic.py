"""Sizes as symbols: arithmetic and guards, and plans that are made for other sizes than those they were decided by."""

from __future__ import annotations

import math
import operator
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

import graphflow as gf
from graphflow import compiler
from graphflow.backends.cpu.jit import Jit
from graphflow.compiler import CompileOptions, Executable
from graphflow.plan import RECORD_WORDS, HostStep, Launch, Plan, Ref, arrangement
from graphflow.symbolic import Derived, Formulas, Sizes, about, ceil_div, greatest, is_symbolic, least
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
        question = chosen.choice(
            (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)
        )
        answers.append(bool(question(chosen.choice(numbers), chosen.choice(numbers))))
    return numbers, answers


@settings(max_examples=100, deadline=None, derandomize=True)
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
            assert Formulas(numbers, np.float64).at(at).tolist() == pytest.approx(others)
            whole = [number for number, other in zip(numbers, others, strict=True) if type(other) is int]
            assert Formulas(whole).at(at).tolist() == [at(number) for number in whole]


def test_numbers_evaluated_together_do_not_overflow_on_the_way():
    sizes = Sizes()
    n, m = sizes.symbol(10, 1), sizes.symbol(3, 1)
    large = n * n * 40 - m * m * 40 + 1
    assert Formulas([]).at(sizes.evaluation((1, 1))).tolist() == []
    for values in ((7, 2), (1 << 25, 1 << 20), (1 << 29, 1 << 29)):
        at = sizes.evaluation(values)
        found = Formulas([large, 3, n, large, n * m // 8, n // 3]).at(at)
        assert found.dtype == np.int64
        assert found.tolist() == [at(large), 3, at(n), at(large), values[0] * values[1] // 8, values[0] // 3]
    with pytest.raises(OverflowError):
        Formulas([n * n * n]).at(sizes.evaluation((1 << 40, 1)))


def test_equal_formulas_are_one_object():
    sizes = Sizes()
    n, m = sizes.symbol(4), sizes.symbol(4)
    assert n * 512 // 4 is n * 128 and (n + m) * 2 - m is 2 * n + m and n * m // n is m
    assert (n - n, n * 0, n * 6 % 3) == (0, 0, 0)
    assert n * 2 is not n * 2.0 and type(sizes.at([3, 4])(n * 2)) is int  # type: ignore[misc]


@pytest.mark.parametrize(
    "taken", [int, operator.index, float, round, lambda n: np.zeros(n), lambda n: range(n)]
)
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


def test_what_is_known_to_divide_divides_to_one_form():
    sizes = Sizes()
    n = sizes.symbol(36, 1)
    assert n // 9 * 9 is not n
    assert n * 8 % 72 == 0
    assert n * 8 // 72 * 9 is n and n * 8 // 72 * 3 + n is n * 8 // 72 * 12
    assert sizes.at([37]) is None
    at = sizes.at([18])
    assert at is not None and at(n * 8 // 72) == 2 and type(at(n * 8 // 72)) is int


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


def test_what_is_right_by_degrees_holds_for_sizes_of_a_kind():
    sizes = Sizes()
    n = sizes.symbol(100)
    assert about(n * 4, 300) and not about(n, 300) and about(300, 300) and not about(299, 300)
    assert sizes.at([300 // 16 + 1]) is not None and sizes.at([2000]) is not None
    assert sizes.at([4]) is None and sizes.at([300 * 16]) is None


def test_scalars_made_of_a_size():
    sizes = Sizes()
    n = sizes.symbol(8)
    assert Derived.made_of(8, math.sqrt, np.float32) == np.float32(math.sqrt(8))
    made = Derived.made_of(n + 1, math.sqrt, np.float64)
    assert made.hint == 3.0 and made.make(sizes.at([15])) == 4.0
    assert made.key == Derived.made_of(n + 1, math.sqrt, np.float64).key
    assert made.key != Derived.made_of(n + 2, math.sqrt, np.float64).key


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
    kernels = plan._words[: RECORD_WORDS * len(plan.records)].reshape(-1, RECORD_WORDS)[:, [0, 2]].tolist()
    return [listed, constants, steps, [slot(s) for s in plan.feeds], plan._output_specs, kernels]


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


def _check_waits(plan: Plan) -> None:
    """Raises AssertionError if a thread may touch what another one still touches, in a plan without regions."""
    build = plan._template.build
    assert not build.places
    records = plan._words[: RECORD_WORDS * len(plan.records)].reshape(-1, RECORD_WORDS)
    opened: list[Any] = []
    for record, launch in zip(records, plan.launches, strict=True):
        mine = []
        for ref in (arg for arg in launch.args if isinstance(arg, Ref)):
            root, home = ref.slot.root, build.home(ref.slot)
            if root.kind == "constant" or root.index in build.lasting:
                continue
            arena = home.place == "arena"
            start = ref.slot.offset + (plan.layout.offsets[home.number] if arena else 0)
            where = (home.place, 0 if arena else home.number)
            mine.append((where, range(start, start + ref.slot.nbytes), ref, bool(record[2])))
        for where, here, ref, shared in mine:
            for other_where, there, other, other_shared in opened:
                if where != other_where or "r" == ref.access == other.access or not (shared or other_shared):
                    continue
                alike = ref.share is not None and repr(ref.share) == repr(other.share)
                alike = alike and ref.offset == other.offset and here == there
                apart = here.stop <= there.start or there.stop <= here.start
                assert apart or (alike and shared and other_shared), (launch.name, ref, other)
        opened = [] if record[3] else opened + mine


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
        known = [t.plans for templates in executable._templates.values() for t in templates]
        plan = executable.bind(shapes, state).plan
        assert executable.without_template is None, executable.without_template
        taken += any(plan._template is one for one in known)
        anew = Executable(program, CompileOptions()).bind(shapes, state).plan
        got, other = plan.run(tuple(fed), TestState()), anew.run(tuple(fed), TestState())
        for a, b in zip(got, other, strict=True):
            assert a.tobytes() == b.tobytes() and a.shape == b.shape
        check_same(got, wanted, 2e-3)
        assert _listed(plan) == _listed(anew)
        _check_layout(plan)
    return taken


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # what is found is short, and shrinking it takes minutes
)
@given(programs(), st.lists(st.sampled_from([2, 3, 7, 16, 33, 64, 90]), min_size=1, max_size=3))
def test_a_template_gives_the_plan_that_is_made_from_nothing(case, sizes):
    program, arrays = case
    assume(any(None in (value.static_shape.as_tuple() or ()) for value in program.feeds))
    note(program_text(program))
    check_other_sizes(program, arrays, sizes)


def _weights(name: str, *shape: int) -> Any:
    return gf.get_variable(name, shape, initializer=gf.random_normal_initializer(0.0, 0.2, seed=len(name)))


def _mlp() -> Any:
    x, y = gf.placeholder(gf.float32, [None, 12]), gf.placeholder(gf.int32, [None])
    hidden = gf.nn.relu(gf.matmul(x, _weights("first", 12, 32)) + _weights("bias", 32))
    hidden = gf.nn.dropout(hidden, rate=0.25, seed=3)
    logits = gf.matmul(hidden, _weights("second", 32, 10))
    loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    train = gf.train.AdamOptimizer(0.01).minimize(loss)
    hits = gf.reduce_mean(gf.cast(gf.equal(gf.argmax(logits, 1, output_type=gf.int32), y), gf.float32))
    return [x, y], [loss, train, hits]


def _convolutions() -> Any:
    x, y = gf.placeholder(gf.float32, [None, 8, 8, 3]), gf.placeholder(gf.float32, [None, 4])
    h = gf.nn.relu(gf.nn.conv2d(x, _weights("filters", 3, 3, 3, 8), [1, 1, 1, 1], "SAME"))
    h = gf.nn.max_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    h = gf.reshape(h, gf.stack([gf.shape(x)[0], 4 * 4 * 8]))
    mean, variance = gf.nn.moments(h, [0])
    h = (h - mean) * gf.rsqrt(variance + 1e-3)
    out = gf.matmul(h, _weights("out", 4 * 4 * 8, 4))
    loss = gf.reduce_sum(gf.square(out - y)) / gf.cast(gf.shape(x)[0], gf.float32)
    return [x, y], [loss, gf.train.MomentumOptimizer(0.01, 0.9).minimize(loss), out]


def _images_of_any_size() -> Any:
    x, y = (
        gf.placeholder(gf.float32, [None, None, None, 2]),
        gf.placeholder(gf.float32, [None, None, None, 2]),
    )
    h = gf.nn.conv2d(x, _weights("first", 3, 3, 2, 8), [1, 2, 2, 1], "SAME") + _weights("bias", 8)
    h = gf.nn.max_pool(gf.nn.relu(h), [1, 3, 3, 1], [1, 1, 1, 1], "SAME")
    sizes = gf.stack([gf.shape(x)[0], gf.shape(x)[1], gf.shape(x)[2], 2])
    out = gf.nn.conv2d_transpose(h, _weights("up", 2, 2, 2, 8), sizes, [1, 2, 2, 1], "SAME")
    loss = gf.reduce_mean(gf.square(out - y)) + gf.reduce_mean(
        gf.nn.avg_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    )
    return [x, y], [loss, gf.train.MomentumOptimizer(0.01, 0.9).minimize(loss), out]


def _sequence() -> Any:
    words = gf.placeholder(gf.int32, [None, None])
    table = gf.get_variable("table", [50, 16], initializer=gf.random_normal_initializer(seed=1))
    h = gf.gather(table, words)
    batch, time = gf.shape(words)[0], gf.shape(words)[1]
    heads = gf.transpose(gf.reshape(h, gf.stack([batch, time, 4, 4])), [0, 2, 1, 3])
    scores = gf.nn.softmax(gf.matmul(heads, heads, transpose_b=True) * 0.5)
    mixed = gf.reshape(gf.transpose(gf.matmul(scores, heads), [0, 2, 1, 3]), gf.stack([batch, time, 16]))
    loss = gf.reduce_mean(gf.square(mixed - h))
    return [words], [loss, gf.train.GradientDescentOptimizer(0.1).minimize(loss), gf.shape(mixed)]


def _joined() -> Any:
    x = gf.placeholder(gf.float32, [None, 6])
    state, states = gf.zeros(gf.stack([gf.shape(x)[0], 4])), []
    weights, scale = _weights("turn", 6, 4), _weights("scale", 4)
    for share in gf.split(x, 3, axis=1):
        state = gf.tanh(gf.matmul(gf.concat([share, state], 1), weights))
        states.append(state)
    images = gf.reshape(gf.concat(states, 0), [-1, 1, 1, 4])
    out, mean, variance = gf.nn.fused_batch_norm(images, scale, scale, is_training=True)
    loss = gf.reduce_mean(gf.square(out - 0.1))
    return [x], [loss, mean, variance, *gf.gradients(loss, [x, weights, scale])]


def _recurrent() -> Any:
    x = gf.placeholder(gf.float32, [None, None, 6])
    out, state = gf.nn.dynamic_rnn(gf.nn.rnn_cell.GRUCell(8), x, dtype=gf.float32, scope="steps")
    loss = gf.reduce_mean(gf.square(out[:, -1] - 0.1)) + gf.reduce_mean(out[:, 1:, ::2])
    return [x], [loss, state, gf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def _lists_of_any_batch() -> Any:
    """The gradients of the rows read go into a list that is made of the one they are read from."""
    x = gf.placeholder(gf.float32, [None, None, 6])
    steps, batch = gf.shape(x)[0], gf.shape(x)[1]
    w = gf.Variable(gf.random_uniform([6, 12], -0.5, 0.5, seed=1))
    u = gf.Variable(gf.random_uniform([4, 12], -0.5, 0.5, seed=2))
    given = gf.reshape(gf.matmul(gf.reshape(x, [-1, 6]), w), [-1, batch, 12])
    rows = gf.TensorArray(gf.float32, steps, element_shape=[None, 12]).unstack(given)
    made = gf.TensorArray(gf.float32, steps, element_shape=[None, 4])

    def turn(t: Any, h: Any, made: Any) -> Any:
        i, o, n = gf.split(rows.read(t) + gf.matmul(h, u), 3, axis=1)
        h = gf.sigmoid(o) * gf.tanh(gf.sigmoid(i) * n + h)
        return t + 1, h, made.write(t, h)

    *_, made = gf.while_loop(lambda t, *_: t < steps, turn, [0, gf.zeros([batch, 4]), made])
    loss = gf.reduce_mean(gf.square(made.stack() - 0.1))
    return [x], [loss, gf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def _counted() -> Any:
    x = gf.placeholder(gf.float32, [None, 4])
    rows = gf.shape(x)[0]

    def turn(i: Any, total: Any, most: Any) -> Any:
        row = gf.gather(x, i)
        largest = gf.cond(gf.reduce_sum(row) > 0.5, lambda: gf.maximum(most, row), lambda: most - 0.25)
        return i + 1, total + gf.tanh(row * total), largest

    i, total, most = gf.while_loop(lambda i, *_: i < rows, turn, [0, gf.ones([4]), gf.zeros([4])])
    halves, _ = gf.while_loop(lambda n, _: n > 1.0, lambda n, s: (n / 2, s + 1), [gf.reduce_sum(x) + 9.0, 0])
    return [x], [i, total, most, halves]


@pytest.mark.parametrize(
    ("model", "sizes", "templates"),
    [
        (_mlp, [(16,), (12,), (5,), (1,), (33,), (32,), (10,), (2,)], 1),
        (_convolutions, [(8,), (6,), (3,), (16,), (4,)], 1),
        (_images_of_any_size, [(3, 8, 12), (3, 9, 15), (2, 12, 7), (4, 6, 6)], 1),
        (_sequence, [(4, 7), (3, 9), (5, 6), (2, 12), (7, 3)], 1),
        (_joined, [(8,), (5,), (13,), (64,)], 1),
        (_recurrent, [(4, 7), (3, 9), (5, 8), (2, 12), (7, 3), (6, 30)], 1),
        (_lists_of_any_batch, [(5, 5), (3, 6), (7, 3)], 1),
        (_counted, [(8,), (5,), (13,), (64,)], 1),
    ],
    ids=["mlp", "convolutions", "images", "sequence", "joined", "recurrent", "lists", "counted"],
)
def test_models_take_new_sizes_by_one_template(model, sizes, templates, monkeypatch):
    compiled: list[int] = []
    compile_ = Jit.compile

    def counting(jit: Jit, modules: Any) -> Any:
        compiled.append(len(modules))
        return compile_(jit, modules)

    monkeypatch.setattr(Jit, "compile", counting)
    with gf.Graph().as_default():
        gf.set_random_seed(1)
        feeds, fetches = model()
        initialize = gf.global_variables_initializer()
        rng = np.random.RandomState(0)
        with gf.Session() as session, gf.Session() as other:
            session.run(initialize)
            other.run(initialize)
            for size in sizes:
                first = size is sizes[0]
                values = {}
                for feed in feeds:
                    shape = [*size, *feed.shape.as_list()[len(size) :]]
                    wide = rng.randint(0, 4, shape) if feed.dtype.is_integer else rng.rand(*shape)
                    values[feed] = wide.astype(feed.dtype.as_numpy_dtype)
                before = len(compiled)
                got = session.run(fetches, values)
                assert first or len(compiled) == before, "a new size has compiled something"
                for runner in other._warm.values():  # makes each plan from nothing
                    runner._bound.clear()
                    runner.executable._bound.clear()
                    runner.executable._templates.clear()
                wanted = other.run(fetches, values)
                for a, b in zip(got, wanted, strict=True):
                    assert a is b is None or a.tobytes() == b.tobytes()
            executable = next(
                r.executable for r in session._warm.values() if len(r.feeds.tensors) == len(feeds)
            )
            assert executable.without_template is None
            plans = [bound.plan for bound in executable._bound.values()]
            # Nothing is left to the host but the drawing of random numbers.
            hosts = [step for plan in plans for step in plan.steps if isinstance(step, HostStep)]
            assert all(step.with_store for step in hosts), hosts
            assert sum(map(len, executable._templates.values())) == templates


def test_threads_wait_for_each_other_in_plans_of_other_sizes(monkeypatch):
    # Even the shortest launch is shared.
    monkeypatch.setattr(arrangement, "_PARALLEL_LAUNCH_NS", 0.0)
    monkeypatch.setattr(arrangement, "_TEAM_NS", 0.0)
    kept = []
    holds_for = arrangement.Laid.holds_for
    monkeypatch.setattr(
        arrangement.Laid, "holds_for", lambda *args: kept.append(holds_for(*args)) or kept[-1]
    )
    for model, sizes in ((_mlp, [16, 12, 33, 32, 5, 2]), (_joined, [8, 13, 5, 64, 12])):
        with gf.Graph().as_default():
            gf.set_random_seed(1)
            feeds, fetches = model()
            initialize = gf.global_variables_initializer()
            with gf.Session(config=gf.ConfigProto(intra_op_parallelism_threads=2)) as session:
                session.run(initialize)
                for size in sizes:
                    values = {
                        f: np.ones([size, *f.shape.as_list()[1:]], f.dtype.as_numpy_dtype) for f in feeds
                    }
                    session.run(fetches, values)
                executable = next(
                    r.executable for r in session._warm.values() if len(r.feeds.tensors) == len(feeds)
                )
                plans = [bound.plan for bound in executable._bound.values()]
                assert len({id(plan._template) for plan in plans}) == 1 < len(plans)
                for plan in plans:
                    _check_layout(plan)
                    _check_waits(plan)
                waits = [plan._words[3 : RECORD_WORDS * len(plan.records) : RECORD_WORDS] for plan in plans]
                assert all(words.any() for words in waits)
    assert kept.count(True) >= 4


def test_sizes_that_do_not_fit_are_refused_with_their_numbers():
    with gf.Graph().as_default(), gf.Session() as session:
        a, b = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.float32, [None])
        total = a + b
        assert session.run(total, {a: np.ones(4), b: np.ones(4)}).tolist() == [2] * 4
        with pytest.raises(gf.errors.InvalidArgumentError, match=r"\(4,\) and \(3,\)"):
            session.run(total, {a: np.ones(4), b: np.ones(3)})
        assert session.run(total, {a: np.ones(4), b: np.ones(1)}).tolist() == [2] * 4
        assert session.run(total, {a: np.ones(7), b: np.ones(7)}).tolist() == [2] * 7


def test_a_fault_of_symbolic_sizes_is_told(monkeypatch, caplog):
    lower_open = compiler.lower_open

    def failing(program, *more):
        if any(is_symbolic(size) for feed in program.feeds for size in feed.sizes):
            raise TypeError("a fault")
        return lower_open(program, *more)

    monkeypatch.setattr(compiler, "lower_open", failing)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        y = gf.exp(x * 0.0)
        with caplog.at_level("INFO", "graphflow"):
            assert session.run(y, {x: np.ones(4)}).tolist() == [1] * 4
        assert "planned anew for each size of its feeds: TypeError: a fault" in caplog.text
        assert session.run(y, {x: np.ones(3)}).tolist() == [1] * 3
