"""Linear operators: each says what its matrix would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.errors import InvalidArgumentError

L = gf.linalg
RANDOM = np.random.RandomState(3)
FULL = RANDOM.randn(2, 4, 4) + 4 * np.eye(4)
LOWER = np.tril(FULL)
DIAGONAL = RANDOM.rand(2, 4) + 1
SMALL = RANDOM.randn(2, 2) + 3 * np.eye(2)
U, V = RANDOM.randn(4, 2), RANDOM.randn(4, 2)
AXIS = np.array([1.0, -2.0, 0.5, 1.5])


def dense_of_kronecker() -> Any:
    return np.kron(SMALL, FULL[0])


def dense_of_blocks() -> Any:
    whole = np.zeros((6, 6))
    whole[:2, :2], whole[2:, 2:] = SMALL, FULL[0]
    return whole


CASES: dict[str, tuple[Callable[[], Any], Any]] = {
    "full": (lambda: L.LinearOperatorFullMatrix(FULL), FULL),
    "lower": (lambda: L.LinearOperatorLowerTriangular(FULL), LOWER),
    "diag": (lambda: L.LinearOperatorDiag(DIAGONAL), np.eye(4) * DIAGONAL[:, None, :]),
    "identity": (lambda: L.LinearOperatorIdentity(4, dtype=gf.float64), np.eye(4)),
    "scaled": (
        lambda: L.LinearOperatorScaledIdentity(4, np.array([2.0, -3.0])),
        np.eye(4) * [[[2.0]], [[-3.0]]],
    ),
    "householder": (
        lambda: L.LinearOperatorHouseholder(AXIS),
        np.eye(4) - 2 * np.outer(AXIS, AXIS) / AXIS.dot(AXIS),
    ),
    "composition": (
        lambda: L.LinearOperatorComposition(
            [L.LinearOperatorFullMatrix(FULL[0]), L.LinearOperatorDiag(DIAGONAL[0])]
        ),
        FULL[0] * DIAGONAL[0],
    ),
    "kronecker": (
        lambda: L.LinearOperatorKronecker(
            [L.LinearOperatorFullMatrix(SMALL), L.LinearOperatorFullMatrix(FULL[0])]
        ),
        dense_of_kronecker(),
    ),
    "blocks": (
        lambda: L.LinearOperatorBlockDiag(
            [L.LinearOperatorFullMatrix(SMALL), L.LinearOperatorFullMatrix(FULL[0])]
        ),
        dense_of_blocks(),
    ),
    "update": (
        lambda: L.LinearOperatorLowRankUpdate(L.LinearOperatorDiag(DIAGONAL[0]), U, [2.0, 3.0], V),
        np.diag(DIAGONAL[0]) + U @ np.diag([2.0, 3.0]) @ V.T,
    ),
    "adjoint": (lambda: L.LinearOperatorFullMatrix(FULL).adjoint(), FULL.swapaxes(-1, -2)),
    "inverse": (lambda: L.LinearOperatorFullMatrix(FULL).inverse(), np.linalg.inv(FULL)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_does_what_its_matrix_does(name: str) -> None:
    make, matrix = CASES[name]
    operator = make()
    size = matrix.shape[-1]
    x = np.random.RandomState(1).randn(size, 3)
    turned = matrix.swapaxes(-1, -2)
    sign, logarithm = np.linalg.slogdet(matrix)
    wanted = {
        "dense": (operator.to_dense(), matrix),
        "shape": (operator.shape_tensor(), matrix.shape),
        "matmul": (operator.matmul(x), matrix @ x),
        "adjoint": (operator.matmul(x, adjoint=True), turned @ x),
        "argument": (operator.matmul(x.T, adjoint_arg=True), matrix @ x),
        "matvec": (operator.matvec(x[:, 0]), matrix @ x[:, 0]),
        "solve": (
            operator.solve(x),
            np.linalg.solve(matrix, np.broadcast_to(x, (*matrix.shape[:-2], size, 3))),
        ),
        "solved": (operator.solve(x, adjoint=True), np.linalg.inv(turned) @ x),
        "determinant": (operator.determinant(), sign * np.exp(logarithm)),
        "logarithm": (operator.log_abs_determinant(), logarithm),
        "diagonal": (operator.diag_part(), np.diagonal(matrix, axis1=-2, axis2=-1)),
        "trace": (operator.trace(), np.trace(matrix, axis1=-2, axis2=-1)),
        "sum": (operator.add_to_tensor(np.ones((size, size))), matrix + 1),
        "product": ((operator @ operator.H).to_dense(), matrix @ turned),
    }
    with gf.Session() as session:
        found = session.run({key: tensor for key, (tensor, _) in wanted.items()})
    for key, (_, value) in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-8, atol=1e-8, err_msg=key)
    assert operator.shape.is_compatible_with(matrix.shape)
    assert operator.is_square is not False


def test_what_operators_promise_and_refuse() -> None:
    zeros = L.LinearOperatorZeros(2, 3)
    with pytest.raises(NotImplementedError, match="not square"):
        zeros.solve(np.ones([2, 1]))
    with pytest.raises(ValueError, match="singular"):
        L.LinearOperatorZeros(2).inverse()
    with pytest.raises(ValueError, match="square"):
        L.LinearOperatorLowerTriangular(np.eye(2), is_square=False)
    with pytest.raises(ValueError, match="2 dimensions"):
        L.LinearOperatorFullMatrix([1.0])
    with pytest.raises(TypeError, match="same dtype"):
        L.LinearOperatorComposition([L.LinearOperatorIdentity(2), L.LinearOperatorFullMatrix(np.eye(2))])
    spd = L.LinearOperatorFullMatrix(FULL[0] @ FULL[0].T, is_self_adjoint=True, is_positive_definite=True)
    assert spd.is_non_singular and spd.is_square
    singular = L.LinearOperatorFullMatrix(np.ones([2, 2]))
    with gf.Session() as session:
        np.testing.assert_array_equal(session.run(zeros.matmul(np.ones([3, 1], np.float32))), [[0], [0]])
        factor = session.run(spd.cholesky().to_dense())
        np.testing.assert_allclose(factor @ factor.T, FULL[0] @ FULL[0].T)
        np.testing.assert_allclose(session.run(spd.eigvals()), np.linalg.eigvalsh(FULL[0] @ FULL[0].T))
        np.testing.assert_allclose(session.run(spd.cond()), np.linalg.cond(FULL[0] @ FULL[0].T))
        session.run([spd.assert_non_singular(), spd.assert_positive_definite()])
        with pytest.raises(InvalidArgumentError, match="Singular matrix"):
            session.run(singular.assert_non_singular())
        with pytest.raises(InvalidArgumentError, match="adjoint"):
            session.run(L.LinearOperatorFullMatrix(FULL).assert_self_adjoint())
