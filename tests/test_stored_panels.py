"""Variables stored in panels by the plan that trains them: all others see the logical layout."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.cpu.backend import CpuBackend
from graphflow.compiler import compile_graph
from graphflow.plan import Plan
from graphflow.variable_store import Panels, VariableSpec, VariableStore

F4 = np.dtype(np.float32)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


# -- the layout and the store ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (5, 16), (7, 33), (3, 2, 40), (4, 0), (0, 5), (2, 31)], ids=str)
@pytest.mark.parametrize("width", [16, 32, 48])
def test_panels_hold_every_element_once(shape: tuple[int, ...], width: int) -> None:
    panels = Panels(width)
    value = numbers(*shape)
    stored = panels.pack(value)
    assert stored.shape == panels.stored_shape(shape) and stored.ctypes.data % 64 == 0
    assert np.abs(stored).sum(dtype=np.float64) == pytest.approx(np.abs(value).sum(dtype=np.float64))
    np.testing.assert_array_equal(panels.unpack(stored, shape), value)


def spec(reads: bool, writes: bool, storage: Panels | None, key: str = "w") -> VariableSpec:
    return VariableSpec(key, (5, 40), F4, reads, writes, storage)


def run(store: VariableStore, wanted: VariableSpec, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What a plan does: binds, writes in its layout, says so."""
    buffer = store.bind(wanted)
    watched, seen = store.watched([wanted]), store.version
    logical = np.array(buffer) if wanted.storage is None else wanted.storage.unpack(buffer, (5, 40))
    if wanted.writes:
        made = change(logical)
        buffer[...] = made if wanted.storage is None else wanted.storage.pack(made)
    if watched:
        store.touch(watched, seen)
    return logical


def test_plans_of_different_layouts_see_each_other() -> None:
    store = VariableStore()
    store.set("w", numbers(5, 40))
    trains, looks, adds = spec(True, True, Panels(16)), spec(True, False, None), spec(True, True, None)
    other, puts = spec(True, True, Panels(32)), spec(False, True, None)
    wanted = numbers(5, 40)
    order = [
        trains,
        trains,
        looks,
        trains,
        looks,
        adds,
        looks,
        trains,
        adds,
        adds,
        looks,
        trains,
        trains,
        other,
        puts,
    ]
    for step, who in enumerate([*order, looks, trains, other, looks, adds]):
        found = run(store, who, lambda value: value + 1)
        if who.reads:
            np.testing.assert_array_equal(found, wanted, err_msg=str(step))
        if who.writes:
            wanted = found + 1
        np.testing.assert_array_equal(store.get("w"), wanted, err_msg=str(step))
        if step % 4 == 3:
            wanted = numbers(5, 40, seed=step)
            store.set("w", wanted)
    assert store.describe("w") == ((5, 40), F4)


def test_the_layout_follows_who_writes_twice_and_nobody_else() -> None:
    store = VariableStore()
    store.set("w", numbers(5, 40))
    packed, plain = spec(True, True, Panels(16)), spec(True, True, None)
    cell = store._cells["w"]
    for who, layout in [
        (packed, Panels(16)), (plain, Panels(16)), (packed, Panels(16)), (plain, Panels(16)), (plain, None),
        (packed, None), (plain, None), (packed, None), (packed, Panels(16)),
    ]:  # fmt: skip
        run(store, who, lambda value: value + 1)
        assert cell.storage == layout
    np.testing.assert_allclose(store.get("w"), numbers(5, 40) + 9, atol=1e-6)


# -- training --------------------------------------------------------------------------------------------------


class Model:
    """Dense layers over `sizes`, trained towards zero."""

    def __init__(self, sizes: list[int], optimizer: Any, batch: int | None = None) -> None:
        self.graph = gf.Graph()
        with self.graph.as_default():
            self.x = gf.placeholder(gf.float32, [batch, sizes[0]])
            self.weights = [
                gf.Variable(numbers(a, b, seed=i) / a**0.5, name=f"w{i}")
                for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
            ]
            h = self.x
            for w in self.weights:
                h = gf.tanh(gf.matmul(h, w))
            self.y = h
            self.loss = gf.reduce_mean(gf.square(h - 0.5))
            self.train = optimizer().minimize(self.loss)
            self.initialize = gf.global_variables_initializer()
            self.value = gf.placeholder(gf.float32, [sizes[0], sizes[1]])
            self.assign = self.weights[0].assign(self.value)
            self.scale = self.weights[0].assign(self.weights[0] * 0.5)
            self.saver = gf.train.Saver()
            self.variables = gf.global_variables()

    def plan(self, batch: int) -> Plan:
        with self.graph.as_default():
            bound = compile_graph([self.loss, self.train], [self.x]).bind(
                ((batch, self.x.shape[1].value),), VariableStore()
            )
        return bound.plan


OPTIMIZERS = {
    "sgd": lambda: gf.train.GradientDescentOptimizer(0.3),
    "momentum": lambda: gf.train.MomentumOptimizer(0.1, 0.9),
    "adam": lambda: gf.train.AdamOptimizer(0.01),
    "rms": lambda: gf.train.RMSPropOptimizer(0.01),
}


def trained(model: Model, batches: list[int]) -> list[np.ndarray]:
    with gf.Session(graph=model.graph) as session:
        session.run(model.initialize)
        losses = [
            session.run([model.loss, model.train], {model.x: numbers(n, model.x.shape[1].value, seed=i)})[0]
            for i, n in enumerate(batches)
        ]
        return [np.array(losses), *session.run(model.variables)]


@pytest.mark.parametrize(
    "sizes", [[50, 70, 10], [33, 31, 33, 2], [128, 64, 64], [7, 200, 17], [3, 2, 5]], ids=str
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_the_same_as_without_panels(
    sizes: list[int], optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(sizes, OPTIMIZERS[optimizer])
    widths = {slot.key: layout.storage for slot, layout in zip(*stored(model.plan(20)), strict=True)}
    assert isinstance(widths["w0"], Panels)
    found = trained(model, [20, 6, 20, 1, 33])
    monkeypatch.setattr(CpuBackend, "panel_width", lambda self, dtype, columns: 0)
    plain = Model(sizes, OPTIMIZERS[optimizer])
    assert not any(layout.storage for layout in stored(plain.plan(20))[1])
    for left, right in zip(found, trained(plain, [20, 6, 20, 1, 33]), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("channels", [(3, 20, 40), (5, 16, 7)], ids=str)
def test_filters_lie_in_panels_too(channels: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained filters: strided, of single taps, and such as Winograd's products apply."""

    def train() -> tuple[list[np.ndarray], Plan]:
        with gf.Graph().as_default():
            x = gf.placeholder(gf.float32, [None, 9, 8, channels[0]])
            h = x
            shapes = [(3, 2, *channels[:2]), (3, 1, channels[1], channels[1]), (1, 1, *channels[1:])]
            for i, (size, stride, before, after) in enumerate(shapes):
                shape = (size, size, before, after)
                w = gf.Variable(numbers(*shape, seed=i) / (size * before**0.5), name=f"w{i}")
                h = gf.tanh(gf.nn.conv2d(h, w, strides=[1, stride, stride, 1], padding="SAME"))
            loss = gf.reduce_mean(gf.square(h - 0.5))
            train = gf.train.MomentumOptimizer(0.3, 0.9).minimize(loss)
            with gf.Session() as session:
                session.run(gf.global_variables_initializer())
                feeds = [{x: numbers(n, 9, 8, channels[0], seed=n)} for n in (4, 2, 4)]
                losses = [session.run([loss, train], feed)[0] for feed in feeds]
                values = [np.array(losses), *session.run(gf.global_variables())]
                return values, session.plan([loss, train], feeds[0])

    found, plan = train()
    layouts = {layout.key: layout.storage for layout in plan.variables}
    for name in ("w0", "w1", "w2"):
        assert isinstance(layouts[name], Panels)
        assert layouts[f"{name}/Momentum"] == layouts[name]
    monkeypatch.setattr(CpuBackend, "panel_width", lambda self, dtype, columns: 0)
    for left, right in zip(found, train()[0], strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


def stored(plan: Plan) -> tuple[Any, Any]:
    return plan._variable_slots, plan.variables


def test_the_slots_of_an_optimizer_lie_as_their_variable_does() -> None:
    plan = Model([50, 70, 10], OPTIMIZERS["adam"]).plan(20)
    layouts = {layout.key: layout.storage for layout in plan.variables}
    assert layouts["w0"] == layouts["w0/Adam"] == layouts["w0/Adam_1"] != None  # noqa: E711
    assert layouts["beta1_power"] is None
    assert "w0 read written in panels of" in plan.summary()
    assert not [launch.name for launch in plan.launches if "pack" in launch.name or "copy" in launch.name]


def test_another_reader_keeps_a_variable_row_major() -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [20, 50])
        w, u, v = (gf.Variable(numbers(50, 70, seed=i), name=n) for i, n in enumerate("wuv"))
        loss = gf.reduce_sum(gf.tanh(gf.matmul(x, w) + gf.matmul(2 * x, u) + gf.matmul(3 * x, v)))
        optimizer = gf.train.GradientDescentOptimizer(0.1)
        whole = loss + gf.nn.l2_loss(w)
        train = optimizer.minimize(whole)
        plan = compile_graph([train, whole, u], [x]).bind(((20, 50),), VariableStore()).plan
        layouts = {layout.key: layout.storage for layout in plan.variables}
        assert layouts["w"] is None and layouts["u"] is None and isinstance(layouts["v"], Panels)
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            fed = numbers(20, 50, seed=9)
            slope = 1 - np.tanh(fed @ sum((i + 1) * numbers(50, 70, seed=i) for i in range(3))) ** 2
            session.run([train, whole, u], {x: fed})
            for i, variable in enumerate((w, u, v)):
                before = numbers(50, 70, seed=i)
                wanted = before - 0.1 * ((i + 1) * fed.T @ slope + (before if variable is w else 0))
                np.testing.assert_allclose(session.run(variable), wanted, atol=1e-4)


@pytest.mark.parametrize("columns", [64, 70])
def test_penalties_and_norms_fold_panels_as_they_lie(columns: int) -> None:
    """Whole panels: what is folded whole needs no order. What fills the last panel up would be folded too."""
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [20, 50])
        w, u, v = (gf.Variable(numbers(50, columns, seed=i), name=n) for i, n in enumerate("wuv"))
        product = gf.matmul(x, w) + gf.matmul(2 * x, u) + gf.matmul(3 * x, v)
        # u and v are brought together element by element; the mean of v beside that keeps its order as well.
        loss = gf.reduce_sum(gf.tanh(product)) + 0.1 * gf.nn.l2_loss(w) + gf.reduce_sum(gf.square(u * v))
        largest = gf.reduce_max(gf.abs(w))
        train = gf.train.MomentumOptimizer(0.01, 0.9).minimize(loss)
        plan = compile_graph([train, loss, largest], [x]).bind(((20, 50),), VariableStore()).plan
        layouts = {layout.key: layout.storage for layout in plan.variables}
        assert isinstance(layouts["w"], Panels) == (columns == 64)
        assert layouts["w/Momentum"] == layouts["w"]
        assert layouts["u"] is None and layouts["v"] is None
        fed = numbers(20, 50, seed=9)
        values = [numbers(50, columns, seed=i).astype(np.float64) for i in range(3)]
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            for _ in range(2):
                found = session.run([loss, largest, train], {x: fed})
                products = fed @ sum((i + 1) * value for i, value in enumerate(values))
                wanted = np.tanh(products).sum() + 0.05 * (values[0] ** 2).sum()
                wanted += np.square(values[1] * values[2]).sum()
                np.testing.assert_allclose(found[0], wanted, rtol=1e-4)
                np.testing.assert_allclose(found[1], np.abs(values[0]).max(), rtol=1e-6)
                values = [value.astype(np.float64) for value in session.run([w, u, v])]


def test_everybody_else_speaks_the_logical_layout(tmp_path: Path) -> None:
    model = Model([50, 70, 10], OPTIMIZERS["adam"])
    fed = numbers(20, 50, seed=3)
    x = {model.x: fed}
    with gf.Session(graph=model.graph) as session, gf.Session(graph=model.graph) as other:
        session.run(model.initialize)
        for _ in range(3):
            session.run(model.train, x)
        w0, w1 = session.run(model.weights)
        assert w0.shape == (50, 70)
        np.testing.assert_allclose(session.run(model.y, x), np.tanh(np.tanh(fed @ w0) @ w1), atol=1e-5)
        path = model.saver.save(session, str(tmp_path / "model"))
        session.run(model.train, x)
        after = session.run(model.variables)
        # The same step again from the checkpoint, in another session.
        model.saver.restore(other, path)
        np.testing.assert_array_equal(other.run(model.weights[0]), w0)
        other.run(model.train, x)
        for left, right in zip(after, other.run(model.variables), strict=True):
            np.testing.assert_array_equal(left, right)
        # And in this one, over the panels.
        model.saver.restore(session, path)
        session.run(model.train, x)
        for left, right in zip(after, session.run(model.variables), strict=True):
            np.testing.assert_array_equal(left, right)
        session.run(model.assign, {model.value: w0})
        np.testing.assert_array_equal(session.run(model.weights[0]), w0)
        session.run(model.scale)
        np.testing.assert_array_equal(session.run(model.weights[0]), w0 * 0.5)
        np.testing.assert_allclose(
            session.run(model.y, x), np.tanh(np.tanh(fed @ w0 * 0.5) @ after[1]), atol=1e-5
        )
        model.weights[0].load(w0, session)
        np.testing.assert_array_equal(session.run(model.weights[0] + 0.0), w0)
        session.run(model.initialize)
        np.testing.assert_array_equal(session.run(model.weights[0]), numbers(50, 70) / np.float32(50**0.5))


def test_predictions_read_the_panels_that_training_left() -> None:
    """Nothing is packed or copied between a step and a prediction."""
    model = Model([40, 64, 20], OPTIMIZERS["adam"])
    fed = numbers(12, 40)
    with gf.Session(graph=model.graph) as session:
        session.run(model.initialize)
        first = session.run(model.y, {model.x: fed})
        for _ in range(3):
            session.run(model.train, {model.x: fed})
            again = session.run(model.y, {model.x: fed})
            assert np.abs(again - first).max() > 1e-4
            cells = [session._state._cells[w.op.name] for w in model.weights]
            assert all(isinstance(cell.storage, Panels) and not cell.shadows for cell in cells)
            first = again
        w0, w1 = session.run(model.weights)
        np.testing.assert_allclose(first, np.tanh(np.tanh(fed @ w0) @ w1), atol=1e-5)
        session.run(model.scale)
        session.run(model.scale)  # the layout follows
        wanted = np.tanh(np.tanh(fed @ w0 * 0.25) @ w1)
        np.testing.assert_allclose(session.run(model.y, {model.x: fed}), wanted, atol=1e-5)
        session.run(model.scale)
        wanted = np.tanh(np.tanh(fed @ w0 * 0.125) @ w1)
        np.testing.assert_allclose(session.run(model.y, {model.x: fed}), wanted, atol=1e-5)


def test_a_fetch_between_steps_changes_nothing() -> None:
    model = Model([40, 33, 20], OPTIMIZERS["sgd"])
    batches = [numbers(12, 40, seed=i) for i in range(8)]
    results = []
    for look in (False, True):
        with gf.Session(graph=model.graph) as session:
            session.run(model.initialize)
            for batch in batches:
                session.run(model.train, {model.x: batch})
                if look:
                    session.run([model.weights[0], model.y], {model.x: batch})
            results.append(session.run(model.variables))
    for left, right in zip(*results, strict=True):
        np.testing.assert_array_equal(left, right)


def test_unrolled_steps_share_panels_forward_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> tuple[gf.Graph, Any, Any, Any]:
        graph = gf.Graph()
        with graph.as_default():
            x = gf.placeholder(gf.float32, [20, 48])
            w = gf.Variable(numbers(48, 48) / 7)
            h = x
            for _ in range(5):
                h = gf.tanh(gf.matmul(h, w))
            train = gf.train.GradientDescentOptimizer(0.1).minimize(gf.reduce_sum(h))
        return graph, x, w, train

    def result() -> np.ndarray:
        graph, x, w, train = build()
        with gf.Session(graph=graph) as session:
            session.run(w.initializer)
            for seed in range(3):
                session.run(train, {x: numbers(20, 48, seed=seed)})
            return session.run(w)

    found = result()
    monkeypatch.setattr(CpuBackend, "panel_width", lambda self, dtype, columns: 0)
    np.testing.assert_allclose(found, result(), atol=1e-4)


def test_threads_train_and_look() -> None:
    model = Model([40, 64, 20], OPTIMIZERS["sgd"])
    fed = numbers(12, 40)
    with gf.Session(graph=model.graph) as session:
        session.run(model.initialize)
        stop = threading.Event()
        errors: list[BaseException] = []

        def look() -> None:
            try:
                while not stop.is_set():
                    w0, w1, y = session.run([*model.weights, model.y], {model.x: fed})
                    np.testing.assert_allclose(y, np.tanh(np.tanh(fed @ w0) @ w1), atol=1e-4)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            session.run(model.train, {model.x: fed})
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors, errors
