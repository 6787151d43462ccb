"""Slices at numbers that only the run knows: compiled, with Python's results, gradients and refusals; also in loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.compiler import compile_graph
from graphflow.plan import HostStep

SLICES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "first": lambda x, i, j: x[i],
    "second": lambda x, i, j: x[:, j],
    "last": lambda x, i, j: x[..., j],
    "behind_dots": lambda x, i, j: x[..., j, 1],
    "both": lambda x, i, j: x[i, j],
    "with_known": lambda x, i, j: x[i, 1:, -1],
    "behind_known": lambda x, i, j: x[1:, j, ::2],
    "new_axis": lambda x, i, j: x[None, i, :, None],
    "one_after_another": lambda x, i, j: x[i][j],
}
X = np.random.RandomState(0).randn(3, 4, 4).astype(np.float32)


def hosts(session: gf.Session, fetches: Any, feeds: Any) -> list[str]:
    return [str(step) for step in session.plan(fetches, feeds).steps if isinstance(step, HostStep)]


@pytest.mark.parametrize("name", SLICES)
def test_slices_at_a_number_of_the_run(name: str) -> None:
    take = SLICES[name]
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, None, 4])
        i, j = gf.placeholder(gf.int32, []), gf.placeholder(gf.int32, [])
        part = take(x, i, j)
        loss = gf.reduce_sum(gf.square(part))
        fetches = [part, gf.gradients(loss, x)[0]]
        for places in ((2, 1), (0, -1), (-3, 3)):
            wanted = take(X, *places)
            slope = np.zeros_like(X)
            view = take(slope, *places)
            view[...] = 2 * wanted
            feeds = {x: X, i: places[0], j: places[1]}
            got = session.run(fetches, feeds)
            np.testing.assert_array_equal(got[0], wanted)
            np.testing.assert_allclose(got[1], slope, rtol=1e-6)
        assert hosts(session, fetches, feeds) == []
        with pytest.raises(
            gf.errors.InvalidArgumentError, match="slice index -?[45] of dimension . out of bounds"
        ):
            session.run(fetches, {x: X, i: 4, j: -5})


def test_loops_take_rows_by_their_number_and_give_them_gradients() -> None:
    """As users write recurrent networks: by time, by batch, and words of a table."""
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, None, 4])
        words = gf.placeholder(gf.int32, [None, None])
        table = gf.Variable(np.random.RandomState(1).randn(7, 4).astype(np.float32))
        steps = gf.shape(x)[0]

        def turn(t: Any, h: Any) -> Any:
            by_time, by_batch = x[t], words[:, t]
            return t + 1, gf.tanh(
                0.5 * h + by_time * gf.nn.embedding_lookup(table, by_batch) - x[steps - t - 1]
            )

        h = gf.zeros(gf.shape(x)[1:])
        h = gf.while_loop(lambda t, _: t < steps, turn, [0, h], maximum_iterations=20)[1]
        loss = gf.reduce_sum(gf.square(h))
        fetches = [loss, *gf.gradients(loss, [x, table])]
        # The same without a loop.
        known, g = 3, gf.zeros([2, 4])
        for t in range(known):
            g = gf.tanh(0.5 * g + x[t] * gf.nn.embedding_lookup(table, words[:, t]) - x[known - t - 1])
        plain = gf.reduce_sum(gf.square(g))
        by_hand = [plain, *gf.gradients(plain, [x, table])]
        session.run(gf.global_variables_initializer())
        feeds = {x: X[:, :2], words: [[1, 2, 1], [6, 0, 1]]}
        got, wanted = session.run(fetches, feeds), session.run(by_hand, feeds)
        dense = wanted[2]
        total = np.zeros((7, 4), np.float32)
        np.add.at(total, dense.indices, dense.values)
        for a, b in zip(got, [*wanted[:2], total], strict=True):
            a = a if isinstance(a, np.ndarray | np.generic) else _dense(a, (7, 4))
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert hosts(session, fetches, feeds) == []


def _dense(slices: Any, shape: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(shape, np.float32)
    np.add.at(total, slices.indices, slices.values)
    return total


COLUMNS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "one": lambda x, t, words: x[:, t],
    "from_behind": lambda x, t, words: x[..., 3 - t],
    "two": lambda x, t, words: x[:, t] * x[:, (t + 1) % 4],
    "chosen": lambda x, t, words: x[:, words[t]],
    "of_two_axes": lambda x, t, words: x[:, t] + x[:, :, t],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_gradients_of_columns_in_loops_move_what_each_turn_takes(name: str) -> None:
    take = COLUMNS[name]
    words = np.array([2, 0, 2, 3], np.int32)

    def turn(t: Any, state: Any) -> Any:
        return t + 1, gf.tanh(state * 0.5 + take(x, t, gf.constant(words)))

    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, None, 4])
        start = gf.zeros_like(take(x, 0, words))
        looped = gf.while_loop(lambda t, _: t < 4, turn, [0, start])[1]
        unrolled = start
        for t in range(4):
            _, unrolled = turn(t, unrolled)
        slopes = [gf.gradients(gf.reduce_sum(gf.square(state)), x)[0] for state in (looped, unrolled)]
        mine, wanted = session.run(slopes, {x: X})
        np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-6)
        assert hosts(session, slopes, {x: X}) == []
    done = {report.name: report.counts for report in compile_graph([slopes[0]], [x]).reports}
    assert done["indexed_rows"].get("turned", 0) == (name != "of_two_axes")
