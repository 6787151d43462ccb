"""Lists of tensors and TensorArrays: each operation in both executors, and lists as values that never change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import dtypes
from graphflow.shapes import UNKNOWN, TensorShape
from graphflow.tensor_list import TensorList, added
from tests.test_control_flow import both


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def test_versions_of_a_list_stay_what_they_are() -> None:
    rng = np.random.default_rng(3)
    versions: list[tuple[TensorList, list[Any]]] = [(TensorList(dtypes.int32, UNKNOWN), [])]
    for turn in range(300):
        lst, wanted = versions[-1 if rng.random() < 0.6 else int(rng.integers(len(versions)))]
        kind = int(rng.integers(3))
        value = np.asarray(turn)
        if kind == 0 or not wanted:
            made = lst.with_last(value), [*wanted, turn]
        elif kind == 1:
            made = lst.without_last(), wanted[:-1]
        else:
            at = int(rng.integers(len(wanted)))
            made = lst.with_item(at, value), [*wanted[:at], turn, *wanted[at + 1 :]]
        versions.append(made)
        if turn % 10 == 0:
            for old, items in versions:
                assert [int(item) for item in old.items] == items


def test_sum_of_lists() -> None:
    one = np.ones(2, np.float32)
    a = TensorList(dtypes.float32, TensorShape([2]), [one, None, None])
    b = TensorList(dtypes.float32, TensorShape([2]), [one, one, None])
    assert added(a, b) == TensorList(dtypes.float32, UNKNOWN, [2 * one, one, None])
    with pytest.raises(ValueError, match="2 and 3 elements"):
        added(TensorList(dtypes.float32, UNKNOWN, [one, one]), a)


def test_tensor_array_in_a_loop() -> None:
    x = gf.placeholder(gf.float32, [None, 3])
    n = gf.shape(x)[0]
    rows = gf.TensorArray(gf.float32, size=n).unstack(x)

    def body(i: Any, total: Any, out: Any) -> Any:
        total = total + rows.read(i)
        return i + 1, total, out.write(i, 2 * total)

    start = [0, gf.zeros([3]), gf.TensorArray(gf.float32, size=n)]
    _, _, out = gf.while_loop(lambda i, total, out: i < n, body, start)
    assert out.element_shape.as_list() == [3]
    stacked = out.stack()
    assert stacked.shape.as_list() == [None, 3]
    array = np.arange(9, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(both(stacked, {x: array}), 2 * np.cumsum(array, 0))


def test_tensor_array_members() -> None:
    array = gf.TensorArray(gf.int32, size=0, dynamic_size=True, infer_shape=False, clear_after_read=False)
    array = array.write(0, [1, 2]).write(2, [3]).write(1, [4, 4, 4])
    fetched = both([array.concat(), array.size(), array.read(2)])
    for value, wanted in zip(fetched, ([1, 2, 4, 4, 4, 3], 3, [3]), strict=True):
        np.testing.assert_array_equal(value, wanted)
    split = gf.TensorArray(gf.float32, size=3).split(np.arange(5, dtype=np.float32), [2, 0, 3])
    scattered = gf.TensorArray(gf.float32, size=3).scatter([2, 0], [[1.0], [2.0]])
    fetched = both([split.read(2), scattered.gather([0, 2]), scattered.read(1)])
    for value, wanted in zip(fetched, ([2, 3, 4], [[2], [1]], [0]), strict=True):
        np.testing.assert_array_equal(value, wanted)
    with pytest.raises(ValueError, match=r"Inconsistent shapes: saw \(3,\)"):
        gf.TensorArray(gf.float32, size=2, element_shape=[2]).write(0, [1.0, 2.0, 3.0])


def _rows(clear: bool | None = None) -> gf.TensorArray:
    return gf.TensorArray(gf.float32, 2, clear_after_read=clear).unstack([[1.0], [2.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: a.read(0) + a.read(1), None),
        (lambda a: a.read(0) + a.read(0), "Could not read index 0 twice"),
        (lambda a: a.read(1) + a.stack(), "Could not read index 1 twice"),
        (lambda a: a.concat() + a.concat(), "Could not read index 0 twice"),
        (lambda a: a.gather([1]) + a.gather([0, 1]), "Could not read index 1 twice"),
        (lambda a: a.gather([0, 0]), "Could not read index 0 twice"),
        (lambda a: a.write(0, [3.0]).stack(), "Could not write to TensorArray index 0 because it has already"),
        (lambda a: _rows(False).read(0) + _rows(False).stack(), None),
        (lambda a: gf.scan(lambda s, i: s + a.read(i) * a.read(i), gf.range(2), gf.zeros([1])), "the same tensor"),
    ],
)  # fmt: skip
def test_elements_are_read_and_written_once(make: Any, message: str | None) -> None:
    with gf.Session() as session:
        if message is None:
            session.run(make(_rows()))
            return
        with pytest.raises(gf.errors.InvalidArgumentError, match=rf"{message}.*made at test_tensor_lists.py"):
            session.run(make(_rows()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: a.read(3), r"Trying to access element 3 in a list with 2 elements"),
        (lambda a: a.write(5, 1.0).stack(), r"Trying to modify element 5 in a list with 2 elements"),
        (lambda a: a.stack(), r"not fully defined"),
        (lambda a: a.write(0, [1.0]).write(1, [1.0, 2.0]).stack(), r"unequal shapes: \[1\] vs \[2\]"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    array = gf.TensorArray(gf.float32, size=2, infer_shape=False)
    with gf.Session() as session, pytest.raises(gf.errors.InvalidArgumentError, match=message):
        session.run(make(array))


def _written(places: Any, first: Any = None) -> Any:
    array = gf.TensorArray(gf.float32, 4)
    array = array if first is None else array.write(first, 7.0)
    return gf.while_loop(
        lambda i, _: i < 3, lambda i, array: (i + 1, array.write(places(i), 1.0)), [0, array]
    )[1].gather([2])


def _read(places: Any, clear: bool = True, loops: int = 1) -> Any:
    array = gf.TensorArray(gf.float32, 4, clear_after_read=clear).unstack([1.0, 2.0, 3.0, 4.0])
    total: Any = 0.0
    for _ in range(loops):
        total = gf.while_loop(
            lambda i, _: i < 3, lambda i, s: (i + 1, s + array.read(places(i))), [0, total]
        )[1]
    return total


def _fresh() -> Any:
    def body(i: Any, s: Any) -> Any:
        return i + 1, s + gf.TensorArray(gf.float32, 1).write(0, gf.cast(i, gf.float32)).read(0)

    return gf.while_loop(lambda i, _: i < 3, body, [0, 0.0])[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: _written(lambda i: i * 0 + 1), lambda: _written(lambda i: i // 2),
        lambda: _written(lambda i: gf.gather([3, 1, 3], i)), lambda: _written(lambda i: 3 - i, first=1),
        lambda: _read(lambda i: 2), lambda: _read(lambda i: gf.gather([1, 2, 1], i)),
        lambda: _read(lambda i: i + 1, loops=2),
    ],
)  # fmt: skip
def test_elements_that_turns_use_twice_are_refused(make: Any) -> None:
    with (
        gf.Session() as session,
        pytest.raises(gf.errors.InvalidArgumentError, match="written to|Could not read index"),
    ):
        session.run(make())


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: _written(lambda i: gf.gather([3, 1, 2], i), first=0), [1.0]),
        (lambda: _read(lambda i: 3 - i), 9.0), (lambda: _read(lambda i: 0, clear=False, loops=2), 6.0),
        (_fresh, 3.0),
    ],
)  # fmt: skip
def test_elements_that_turns_use_once_are_not_refused(make: Any, wanted: Any) -> None:
    with gf.Session() as session:
        assert session.run(make()).tolist() == wanted
