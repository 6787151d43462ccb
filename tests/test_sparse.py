"""Sparse tensors: the class, feeding and fetching, and the functions on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf

INDICES = np.array([[0, 1], [0, 3], [2, 0], [2, 2]], np.int64)
VALUES = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
SHAPE = np.array([3, 4], np.int64)
DENSE = np.zeros((3, 4), np.float32)
DENSE[tuple(INDICES.T)] = VALUES


@pytest.fixture(autouse=True)
def _graph() -> Any:
    with gf.Graph().as_default():
        yield


def run(fetch: Any, feeds: Any = None) -> Any:
    with gf.Session() as session:
        return session.run(fetch, feeds)


def dense_of(value: gf.SparseTensorValue) -> Any:
    result = np.zeros(tuple(value.dense_shape), value.values.dtype)
    result[tuple(value.indices.T)] = value.values
    return result


def sparse() -> gf.SparseTensor:
    return gf.SparseTensor(INDICES, VALUES, SHAPE)


def test_members() -> None:
    sp = sparse()
    assert sp.dtype is gf.float32
    assert sp.get_shape().as_list() == [3, 4]
    assert sp.op is sp.values.op
    assert sp.graph is gf.get_default_graph()
    value = run(sp)
    assert isinstance(value, gf.SparseTensorValue)
    np.testing.assert_array_equal(dense_of(value), DENSE)
    with pytest.raises(ValueError):
        gf.SparseTensor(INDICES, VALUES[:2], SHAPE)
    assert gf.convert_to_tensor_or_sparse_tensor(value).shape.as_list() == [3, 4]


def test_is_fed_as_a_value_or_a_tuple_and_fetched_in_structures() -> None:
    sp = gf.sparse_placeholder(gf.float32, [None, 4], name="sp")
    assert sp.shape.as_list() == [None, 4]
    assert [t.name for t in (sp.indices, sp.values, sp.dense_shape)] == [
        "sp/indices:0",
        "sp/values:0",
        "sp/shape:0",
    ]
    total = gf.sparse_reduce_sum(sp, 1)
    for feed in (gf.SparseTensorValue(INDICES, VALUES, SHAPE), (INDICES, VALUES, [3, 4])):
        found = run({"sp": sp, "both": [total, sp.values]}, {sp: feed})
        np.testing.assert_array_equal(dense_of(found["sp"]), DENSE)
        np.testing.assert_array_equal(found["both"][0], DENSE.sum(1))
    with pytest.raises(ValueError, match="SparseTensorValue"):
        run(total, {sp: (INDICES, VALUES)})


def test_product_with_a_dense_matrix_trains_and_is_native() -> None:
    sp = gf.sparse_placeholder(gf.float32, [3, 4])
    b = np.arange(8, dtype=np.float32).reshape(4, 2)
    w = gf.Variable(b)
    y = gf.sparse_tensor_dense_matmul(sp, w)
    dw, dv = gf.gradients(gf.reduce_sum(gf.square(y)), [w, sp.values])
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        feeds = {sp: (INDICES, VALUES, SHAPE)}
        out, grad_w, grad_v = session.run([y, dw, dv], feeds)
        parts = {sp.indices: INDICES, sp.values: VALUES, sp.dense_shape: SHAPE}
        assert "0 host steps" in session.plan(y, parts).summary()
    np.testing.assert_allclose(out, DENSE @ b)
    np.testing.assert_allclose(grad_w, DENSE.T @ (2 * DENSE @ b))
    np.testing.assert_allclose(grad_v, (2 * DENSE @ b @ b.T)[tuple(INDICES.T)])
    for left, right, expected in ((b, sparse(), b.T @ DENSE.T), (sparse(), b, DENSE @ b)):
        adjoint = not isinstance(left, gf.SparseTensor)
        found = gf.sparse.matmul(left, right, adjoint_a=adjoint, adjoint_b=adjoint)
        np.testing.assert_allclose(run(found), expected)


def test_a_row_outside_the_matrix_is_refused() -> None:
    sp = gf.sparse_placeholder(gf.float32, [3, 4])
    y = gf.sparse_tensor_dense_matmul(sp, np.ones((4, 2), np.float32))
    for row, column in ((3, 0), (-1, 0), (0, 4), (0, -1)):
        with pytest.raises(gf.errors.InvalidArgumentError):
            run(y, {sp: (np.array([[row, column]], np.int64), VALUES[:1], SHAPE)})


def test_functions() -> None:
    sp = sparse()
    other = gf.sparse.from_dense(np.eye(3, 4, dtype=np.float32))
    to_dense = {
        "add": (gf.sparse_add(sp, other), DENSE + np.eye(3, 4)),
        "transpose": (gf.sparse_transpose(sp), DENSE.T),
        "concat": (gf.sparse_concat(1, [sp, other]), np.concatenate([DENSE, np.eye(3, 4)], 1)),
        "expanding": (
            gf.sparse_concat(0, [sp, gf.sparse_reset_shape(other, [3, 5])], expand_nonconcat_dims=True),
            np.concatenate([np.pad(DENSE, ((0, 0), (0, 1))), np.eye(3, 5) * (np.arange(5) < 4)]),
        ),
        "reshape": (gf.sparse_reshape(sp, [2, -1]), DENSE.reshape(2, 6)),
        "slice": (gf.sparse_slice(sp, [1, 0], [2, 3]), DENSE[1:3, 0:3]),
        "retain": (gf.sparse_retain(sp, [True, False, False, True]), DENSE * ((DENSE == 1) | (DENSE == 4))),
        "smallest": (gf.sparse_reset_shape(sp), DENSE),
        "maximum": (gf.sparse_maximum(sp, other), np.maximum(DENSE, np.eye(3, 4))),
        "times": (sp * np.float32(2), DENSE * 2),
        "over": (sp / np.full(4, 2, np.float32), DENSE / 2),
        "cast": (gf.cast(sp, gf.int32), DENSE.astype(np.int32)),
        "deeper": (gf.sparse.expand_dims(sp, 1), DENSE[:, None]),
        "eye": (gf.sparse.eye(2, 3), np.eye(2, 3)),
        "mapped": (gf.sparse.map_values(gf.square, sp), DENSE**2),
        "filled": (gf.sparse_fill_empty_rows(sp, 9.0)[0], DENSE + 9 * np.eye(3, 4, -1) * [[0], [1], [0]]),
    }
    values = run({name: part for name, (part, _) in to_dense.items()})
    for name, (part, expected) in to_dense.items():
        np.testing.assert_allclose(dense_of(values[name]), expected, err_msg=name)
        assert part.shape.is_compatible_with(expected.shape), name
    halves = run(gf.sparse_split(sp_input=sp, num_split=2, axis=1))
    np.testing.assert_array_equal(np.concatenate([dense_of(half) for half in halves], 1), DENSE)
    np.testing.assert_array_equal(run(gf.sparse_add(sp, DENSE)), DENSE * 2)
    np.testing.assert_array_equal(run(gf.sparse_tensor_to_dense(sp, -1.0)), np.where(DENSE == 0, -1, DENSE))
    assert run([gf.size(sp), gf.rank(sp), gf.shape(sp)[1]]) == [12, 2, 4]


def test_ids_become_columns() -> None:
    ids = gf.SparseTensor([[0, 0], [0, 1], [2, 0]], np.array([3, 1, 0], np.int64), [3, 2])
    indicator = np.zeros((3, 5), np.bool_)
    indicator[[0, 0, 2], [3, 1, 0]] = True
    np.testing.assert_array_equal(run(gf.sparse_to_indicator(ids, 5)), indicator)
    merged = gf.sparse_merge(ids, ids.with_values(np.array([1, 2, 3], np.float32)), 5)
    expected = np.zeros((3, 5))
    expected[[0, 0, 2], [3, 1, 0]] = 1, 2, 3
    np.testing.assert_array_equal(dense_of(run(merged)), expected)


def test_mask_of_slices() -> None:
    slices = gf.IndexedSlices(gf.constant([[1.0], [2.0], [3.0]]), gf.constant([4, 0, 2]), gf.constant([5, 1]))
    kept = run(gf.sparse_mask(slices, [0, 3]))
    np.testing.assert_array_equal(kept.indices, [4, 2])
    np.testing.assert_array_equal(kept.values, [[1.0], [3.0]])
