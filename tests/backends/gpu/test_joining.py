"""An optimizer's updates as one launch: which steps are joined, what code that is, what it computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.cache import ObjectCache
from graphflow.backends.cuda import nvrtc
from graphflow.backends.cuda.compiler import Compiler
from graphflow.backends.cuda.joined import JoinedKernel, join
from graphflow.backends.cuda.printer import print_kernel
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.steps import Joined, Kernel, walk
from graphflow.loops.build import Builder
from tests.backends.cuda_emulator import COMPILER, WHY_NOT, Emulator, launch
from tests.backends.cuda_kernels import KERNELS

OPTIMIZERS = {
    "sgd": lambda: gf.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: gf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda: gf.train.AdamOptimizer(0.1),
    "rmsprop": lambda: gf.train.RMSPropOptimizer(0.1, momentum=0.5),
    "adagrad": lambda: gf.train.AdagradOptimizer(0.1),
}


def _trained(optimizer: str) -> tuple[Any, Any, dict[Any, Any]]:
    """A small network with its step, and what it is fed."""
    gf.reset_default_graph()
    x = gf.placeholder(gf.float32, [None, 6])
    h = x
    for width in (8, 5, 3):
        h = gf.layers.dense(
            h, width, gf.tanh, kernel_initializer=gf.random_uniform_initializer(-0.5, 0.5, seed=width)
        )
    loss = gf.reduce_sum(gf.square(h))
    step = OPTIMIZERS[optimizer]().minimize(loss)
    return loss, step, {x: np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_one_launch(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[list[Any]] = []
    for kind in ("off", "host"):
        monkeypatch.setenv("GRAPHFLOW_GPU", kind)
        loss, step, feed = _trained(optimizer)
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            losses = [session.run([loss, step], feed)[0] for _ in range(4)]
            values.append([*losses, *(session.variable_value(v) for v in gf.global_variables())])
            plan = session.plan([loss, step], feed)
    for one, other in zip(*values, strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)
    assert isinstance(plan, DevicePlan)
    joined = [one for one in plan.device_steps if isinstance(one, Joined)]
    inside = {id(part) for one in joined for part in one.parts}
    alone: list[Kernel] = []
    walk(
        plan.device_steps,
        lambda s: alone.append(s) if isinstance(s, Kernel) and id(s) not in inside else None,
    )
    written = [use for s in alone for use in s.args if getattr(use, "access", "r") != "r"]
    assert not [use for use in written if isinstance(use.place.slab, tuple)], plan.summary()
    # Adam's powers are read by all others, and change after them.
    assert [len(one.parts) for one in joined] == ([6, 2] if optimizer == "adam" else [6])


def test_what_reads_an_updated_variable_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    a, b = gf.Variable([1.0, 2.0]), gf.Variable([3.0, 4.0])
    first = a.assign_add([1.0, 1.0])
    second = b.assign(first * 10.0)  # of the new value
    third = gf.Variable(0.0).assign(gf.reduce_sum(second))
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        assert session.run([third, second]) == [50.0, pytest.approx([20.0, 30.0])]
        assert session.run([third, first])[0] == 70.0


def _numbers(kernels: list[Any], seed: int) -> list[list[Any]]:
    """Arguments for kernels: 77 rows of softmax, 700 elements of others."""
    random = np.random.RandomState(seed)
    return [
        [
            77 if param.kind == "int" else random.standard_normal(77 * 300).astype(np.float32)
            for param in kernel.params
        ]
        for kernel in kernels
    ]


def _scaled(factor: int) -> Any:
    """A kernel whose whole numbers stand in its code."""
    b = Builder("scaled")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    with b.loop("i", 0, 130 * factor, "vector") as i:
        b.store(y, i, b.mul(b.load(x, i), 2.5))
    return b.kernel()


def test_kernels_that_differ_in_numbers_are_one_piece_of_code() -> None:
    made = join([print_kernel(_scaled(factor)) for factor in (1, 2, 3)])
    assert set(made.kinds) == {0} and [list(n) for n in made.numbers] == [[130], [260], [390]]
    mixed = join([print_kernel(_scaled(1)), print_kernel(KERNELS["elements"]()), print_kernel(_scaled(9))])
    assert mixed.kinds == (0, 1, 0)
    # What shared memory has other sizes is other code.
    with pytest.raises(ValueError, match="too much for a kernel"):
        join([print_kernel(KERNELS["transposed"]())] + [_tile(n) for n in range(16)])


def _tile(number: int) -> Any:
    kernel = print_kernel(KERNELS["transposed"]())
    return replace(kernel, body=kernel.body.replace("[32][33]", f"[32][{34 + number}]"))


@pytest.mark.skipif(COMPILER is None, reason=WHY_NOT)
def test_joined_kernels_do_what_each_does(tmp_path: Any) -> None:
    kernels = [print_kernel(_scaled(1)), print_kernel(KERNELS["elements"]()), print_kernel(_scaled(5))]
    kernels += [print_kernel(KERNELS["softmax"]())]
    joined = join(kernels)
    emulator = Emulator(tmp_path)
    emulator.compile([joined.kernel, *kernels])
    emulator.set(descending=False)
    alone, together = _numbers(kernels, 3), _numbers(kernels, 3)
    for kernel, given in zip(kernels, alone, strict=True):
        launch(emulator, kernel, given)
    words = [[a.ctypes.data if isinstance(a, np.ndarray) else a for a in given] for given in together]
    table = joined.table(words)
    assert joined.blocks(table) == sum(k.geometry(w)[0] for k, w in zip(kernels, words, strict=True))
    emulator.set(descending=True, grid=joined.blocks(table))
    launch(emulator, joined.kernel, [table, len(kernels)])
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not nvrtc.available(), reason=f"no CUDA compiler: {nvrtc.why_not()}")
def test_joined_updates_compile_without_spills(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    _, step, feed = _trained("adam")
    with gf.Session() as session:
        for v in gf.global_variables():
            session.load_variable(v, np.zeros(v.shape.as_list(), np.float32))
        session.run(step, feed)
        (residents,) = session._state.holders
        device: Any = residents.device
        launches = [record.args for record in device.records if record.call == "joined"]
        plan = session.plan(step, feed)
        functions = device.functions(plan.template.kernels, plan.wide)
    steps = [one for one in plan.device_steps if isinstance(one, Joined)]
    made: list[JoinedKernel] = [join([functions[part.function] for part in one.parts]) for one in steps]
    assert [args[0] for args in launches] == [one.kernel.symbol for one in made]
    # Three matrices are one piece of code, and three vectors another.
    assert [len(set(one.kinds)) for one in made] == [2, 2]
    cubins = Compiler(cache=ObjectCache(tmp_path)).compile([one.kernel for one in made])
    for one in made:
        taken = cubins[one.kernel.symbol].resources[one.kernel.symbol]
        assert taken.spilled == 0 and taken.stack == 0 and taken.registers <= 128
