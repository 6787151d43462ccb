"""Matrices known by what they do: `tf.linalg.LinearOperator` and its kin.

Each says how it multiplies, solves and measures itself; what it does not say is worked out from the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.graph import Operation, Tensor, name_scope
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops.control import group
from graphflow.ops.diagonals import matrix_band_part, matrix_diag, matrix_diag_part, matrix_set_diag
from graphflow.ops.elementwise import log, real
from graphflow.ops.factorizations import (
    cholesky,
    matrix_determinant,
    matrix_inverse,
    matrix_solve,
    matrix_triangular_solve,
    self_adjoint_eigvals,
    slogdet,
    svd,
)
from graphflow.ops.layout import broadcast_to, concat, expand_dims, pad, reshape, split, squeeze
from graphflow.ops.linalg import adjoint as _adjoint
from graphflow.ops.linalg import eye, matmul
from graphflow.ops.reduction import reduce_max, reduce_min, reduce_prod, reduce_sum
from graphflow.ops.rules import conjugate
from graphflow.ops.source import broadcast_dynamic_shape, zeros
from graphflow.ops.source import shape as _shape
from graphflow.shapes import TensorShape


class LinearOperator:
    """A batch of matrices.

    Args:
      dtype: of its elements.
      graph_parents: the tensors it is made of.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square: what is promised of it; None: nothing.
      name: a name.
      parameters: what it was made with.

    Raises:
      ValueError: for promises that contradict each other.
    """

    def __init__(
        self,
        dtype: Any,
        graph_parents: Sequence[Any] | None = None,
        is_non_singular: bool | None = None,
        is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None,
        is_square: bool | None = None,
        name: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        if is_positive_definite and is_non_singular is False:
            raise ValueError("A positive definite matrix is always non-singular.")
        if (is_non_singular or is_self_adjoint) and is_square is False:
            raise ValueError("A non-singular or self-adjoint operator is always square.")
        self._dtype = dtypes.as_dtype(dtype)
        self._graph_parents = list(graph_parents or [])
        self._is_non_singular = True if is_positive_definite else is_non_singular
        self._is_self_adjoint = is_self_adjoint
        self._is_positive_definite = is_positive_definite
        self._is_square = True if (is_non_singular or is_self_adjoint) else is_square
        self._name = name or type(self).__name__
        self._parameters = parameters or {}

    # What a kind of operator says of itself.

    def _shape(self) -> TensorShape:
        return self.to_dense().shape

    def _shape_tensor(self) -> Tensor:
        known = self._shape()
        if known.is_fully_defined():
            return convert_to_tensor(known.as_list(), dtypes.int32)
        return _shape(self.to_dense())

    def _to_dense(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say what its matrix is")

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        return matmul(self.to_dense(), x, adjoint_a=adjoint)

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        return matrix_solve(*_of_one_batch(self.to_dense(), rhs), adjoint=adjoint)

    def _determinant(self) -> Tensor:
        return matrix_determinant(self.to_dense())

    def _log_abs_determinant(self) -> Tensor:
        found: Tensor = real(slogdet(self.to_dense())[1])
        return found

    def _diag_part(self) -> Tensor:
        return matrix_diag_part(self.to_dense())

    # What is asked of it.

    @property
    def dtype(self) -> DType:
        """The dtype of its elements."""
        return self._dtype

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def graph_parents(self) -> list[Any]:
        """The tensors it is made of."""
        return self._graph_parents

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was made with."""
        return dict(self._parameters)

    @property
    def is_non_singular(self) -> bool | None:
        """Whether it is promised to have an inverse."""
        return self._is_non_singular

    @property
    def is_self_adjoint(self) -> bool | None:
        """Whether it is promised to be its own adjoint."""
        return self._is_self_adjoint

    @property
    def is_positive_definite(self) -> bool | None:
        """Whether it is promised to be positive definite."""
        return self._is_positive_definite

    @property
    def is_square(self) -> bool | None:
        """Whether it has as many rows as columns, as far as that is known."""
        rows, columns = self._ends()
        if rows is not None and columns is not None:
            return rows == columns
        return self._is_square

    def _ends(self) -> tuple[int | None, int | None]:
        known = self._shape()
        if known.rank is None:
            return None, None
        rows, columns = known.as_list()[-2:]
        return rows, columns

    @property
    def shape(self) -> TensorShape:
        """What is known of its shape, [..., rows, columns]."""
        return self._shape()

    @property
    def batch_shape(self) -> TensorShape:
        """What is known of the shape of the batch."""
        found: TensorShape = self._shape()[:-2]
        return found

    @property
    def tensor_rank(self) -> int | None:
        """The rank of its matrix, batch included."""
        return self._shape().rank

    @property
    def domain_dimension(self) -> Any:
        """How many columns it has."""
        return self._shape()[-1:].dims[0] if self._shape().rank is not None else None

    @property
    def range_dimension(self) -> Any:
        """How many rows it has."""
        return self._shape()[-2:].dims[0] if self._shape().rank is not None else None

    @property
    def H(self) -> LinearOperator:  # TensorFlow's name
        """Its adjoint."""
        return self.adjoint()

    def shape_tensor(self, name: str = "shape_tensor") -> Tensor:
        """Returns its shape in the run; int32 vector."""
        with name_scope(f"{self._name}/{name}"):
            return self._shape_tensor()

    def batch_shape_tensor(self, name: str = "batch_shape_tensor") -> Tensor:
        """Returns the shape of the batch in the run; int32 vector."""
        return self.shape_tensor(name)[:-2]

    def tensor_rank_tensor(self, name: str = "tensor_rank_tensor") -> Tensor:
        """Returns the rank of its matrix in the run; int32 scalar."""
        return _shape(self.shape_tensor(name))[0]

    def domain_dimension_tensor(self, name: str = "domain_dimension_tensor") -> Tensor:
        """Returns how many columns it has in the run; int32 scalar."""
        return self.shape_tensor(name)[-1]

    def range_dimension_tensor(self, name: str = "range_dimension_tensor") -> Tensor:
        """Returns how many rows it has in the run; int32 scalar."""
        return self.shape_tensor(name)[-2]

    def to_dense(self, name: str = "to_dense") -> Tensor:
        """Returns its matrix, [..., rows, columns]."""
        with name_scope(f"{self._name}/{name}"):
            return self._to_dense()

    def matmul(self, x: Any, adjoint: bool = False, adjoint_arg: bool = False, name: str = "matmul") -> Any:
        """Returns its product with matrices, or with another operator.

        Args:
          x: [..., columns, n]; or an operator.
          adjoint: whether its adjoint multiplies.
          adjoint_arg: whether the adjoint of `x` is multiplied.
          name: a name.

        Raises:
          ShapeError: if the sizes do not fit.
        """
        if isinstance(x, LinearOperator):
            left = self.adjoint() if adjoint else self
            return LinearOperatorComposition([left, x.adjoint() if adjoint_arg else x])
        with name_scope(f"{self._name}/{name}"):
            value = convert_to_tensor(x, self._dtype)
            return self._matmul(_adjoint(value) if adjoint_arg else value, adjoint)

    def __matmul__(self, other: Any) -> Any:
        return self.matmul(other)

    def matvec(self, x: Any, adjoint: bool = False, name: str = "matvec") -> Tensor:
        """Returns its product with vectors, [..., columns]."""
        found: Tensor = squeeze(
            self.matmul(expand_dims(convert_to_tensor(x, self._dtype), -1), adjoint, name=name), [-1]
        )
        return found

    def solve(
        self, rhs: Any, adjoint: bool = False, adjoint_arg: bool = False, name: str = "solve"
    ) -> Tensor:
        """Returns what it has to multiply to give `rhs`, [..., rows, n].

        Raises:
          NotImplementedError: if it is known to be singular or not to be square.
        """
        self._invertible("solve")
        with name_scope(f"{self._name}/{name}"):
            value = convert_to_tensor(rhs, self._dtype)
            return self._solve(_adjoint(value) if adjoint_arg else value, adjoint)

    def solvevec(self, rhs: Any, adjoint: bool = False, name: str = "solve") -> Tensor:
        """Returns what it has to multiply to give vectors, [..., rows]."""
        found: Tensor = squeeze(
            self.solve(expand_dims(convert_to_tensor(rhs, self._dtype), -1), adjoint, name=name), [-1]
        )
        return found

    def _invertible(self, what: str) -> None:
        if self.is_square is False:
            raise NotImplementedError(f"{what}: this operator is not square: {self.shape}")
        if self._is_non_singular is False:
            raise NotImplementedError(f"{what}: this operator is expected to be singular")

    def determinant(self, name: str = "det") -> Tensor:
        """Returns the determinants, one for each of the batch.

        Raises:
          NotImplementedError: if it is known not to be square.
        """
        if self.is_square is False:
            raise NotImplementedError(f"determinant: this operator is not square: {self.shape}")
        with name_scope(f"{self._name}/{name}"):
            return self._determinant()

    def log_abs_determinant(self, name: str = "log_abs_det") -> Tensor:
        """Returns the logarithms of the determinants' absolute values."""
        if self.is_square is False:
            raise NotImplementedError(f"log_abs_determinant: this operator is not square: {self.shape}")
        with name_scope(f"{self._name}/{name}"):
            return self._log_abs_determinant()

    def diag_part(self, name: str = "diag_part") -> Tensor:
        """Returns the diagonals, [..., min(rows, columns)]."""
        with name_scope(f"{self._name}/{name}"):
            return self._diag_part()

    def trace(self, name: str = "trace") -> Tensor:
        """Returns the sums of the diagonals."""
        return reduce_sum(self.diag_part(name), -1)

    def add_to_tensor(self, x: Any, name: str = "add_to_tensor") -> Tensor:
        """Returns its matrix plus a tensor of the same shape."""
        with name_scope(f"{self._name}/{name}"):
            return self._to_dense() + convert_to_tensor(x, self._dtype)

    def eigvals(self, name: str = "eigvals") -> Tensor:
        """Returns the eigenvalues in ascending order.

        Raises:
          NotImplementedError: unless it is promised to be self-adjoint.
        """
        if not self._is_self_adjoint:
            raise NotImplementedError("Only self-adjoint matrices are supported.")
        with name_scope(f"{self._name}/{name}"):
            return self_adjoint_eigvals(self._to_dense())

    def cond(self, name: str = "cond") -> Tensor:
        """Returns the condition numbers: the largest singular value by the smallest."""
        with name_scope(f"{self._name}/{name}"):
            values = svd(self._to_dense(), compute_uv=False)
            return reduce_max(values, -1) / reduce_min(values, -1)

    def adjoint(self, name: str = "adjoint") -> LinearOperator:
        """Returns its adjoint."""
        return self if self._is_self_adjoint else LinearOperatorAdjoint(self, name=name)

    def inverse(self, name: str = "inverse") -> LinearOperator:
        """Returns its inverse.

        Raises:
          ValueError: if it is known to be singular or not to be square.
        """
        if self.is_square is False or self._is_non_singular is False:
            raise ValueError("Cannot get the Inverse of a non-square or singular operator.")
        return LinearOperatorInversion(self, name=name)

    def cholesky(self, name: str = "cholesky") -> LinearOperator:
        """Returns its Cholesky factor.

        Raises:
          ValueError: unless it is promised to be positive definite and self-adjoint.
        """
        if not (self._is_positive_definite and self._is_self_adjoint):
            raise ValueError(
                "Cannot take the Cholesky decomposition: not a positive definite self adjoint matrix."
            )
        with name_scope(f"{self._name}/{name}"):
            return LinearOperatorLowerTriangular(cholesky(self._to_dense()), is_non_singular=True)

    def assert_non_singular(self, name: str = "assert_non_singular") -> Operation:
        """Returns an operation that fails if it is as good as singular in its dtype."""
        eps = np.finfo(self._dtype.as_numpy_dtype).eps
        return _asserted(self.cond(name) < 1 / eps, "Singular matrix up to precision epsilon.")

    def assert_positive_definite(self, name: str = "assert_positive_definite") -> Operation:
        """Returns an operation that fails if it is not positive definite; needs it to be self-adjoint."""
        with name_scope(f"{self._name}/{name}"):
            values = self_adjoint_eigvals(self._to_dense())
            return _asserted(real(values) > 0, "Matrix was not positive definite.")

    def assert_self_adjoint(self, name: str = "assert_self_adjoint") -> Operation:
        """Returns an operation that fails if it is not its own adjoint."""
        with name_scope(f"{self._name}/{name}"):
            dense = self._to_dense()
            return _asserted(emit.Equal(dense, _adjoint(dense)), "Matrix was not equal to its adjoint.")

    def __repr__(self) -> str:
        return f"<gf.linalg.{type(self).__name__} {self._name!r} shape={self.shape} dtype={self._dtype.name}>"


def _of_one_batch(matrix: Tensor, rhs: Tensor) -> tuple[Tensor, Tensor]:
    """Both, with batches stretched to one shape."""
    batches = [tensor.shape[:-2] for tensor in (matrix, rhs)]
    if batches[0].is_fully_defined() and batches[1].is_fully_defined() and batches[0] == batches[1]:
        return matrix, rhs
    batch = broadcast_dynamic_shape(_shape(matrix)[:-2], _shape(rhs)[:-2])
    stretched = [broadcast_to(tensor, concat([batch, _shape(tensor)[-2:]], 0)) for tensor in (matrix, rhs)]
    return stretched[0], stretched[1]


def _asserted(right: Tensor, message: str) -> Operation:
    condition = emit.All(right, np.arange(right.shape.rank or 0, dtype=np.int32), keep_dims=False)
    return group(emit.Assert(condition, [convert_to_tensor(message)]))


class LinearOperatorFullMatrix(LinearOperator):
    """A matrix as it stands.

    Args:
      matrix: [..., rows, columns].
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.

    Raises:
      ValueError: for fewer than two axes.
    """

    def __init__(
        self, matrix: Any, is_non_singular: bool | None = None, is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None, is_square: bool | None = None,
        name: str = "LinearOperatorFullMatrix",
    ) -> None:  # fmt: skip
        self._matrix = _matrix(matrix, "matrix")
        super().__init__(
            self._matrix.dtype,
            [self._matrix],
            is_non_singular,
            is_self_adjoint,
            is_positive_definite,
            is_square,
            name,
        )

    def _shape(self) -> TensorShape:
        return self._matrix.shape

    def _to_dense(self) -> Tensor:
        return self._matrix


def _matrix(value: Any, what: str, least: int = 2, dtype: DType | None = None) -> Tensor:
    tensor = convert_to_tensor(value, dtype, name=what)
    if tensor.shape.rank is not None and tensor.shape.rank < least:
        raise ValueError(f"Argument {what} must have at least {least} dimensions.  Found: {tensor.shape}")
    return tensor


class LinearOperatorLowerTriangular(LinearOperator):
    """The lower triangle of a matrix; what stands above is not looked at.

    Args:
      tril: [..., n, n].
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.

    Raises:
      ValueError: for fewer than two axes, or if it is said not to be square.
    """

    def __init__(
        self, tril: Any, is_non_singular: bool | None = None, is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None, is_square: bool | None = None,
        name: str = "LinearOperatorLowerTriangular",
    ) -> None:  # fmt: skip
        if is_square is False:
            raise ValueError("Only square lower triangular operators supported at this time.")
        self._given = _matrix(tril, "tril")
        super().__init__(
            self._given.dtype,
            [self._given],
            is_non_singular,
            is_self_adjoint,
            is_positive_definite,
            True,
            name,
        )

    def _shape(self) -> TensorShape:
        return self._given.shape

    def _to_dense(self) -> Tensor:
        return matrix_band_part(self._given, -1, 0)

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        matrix, right = _of_one_batch(self._given, rhs)
        return matrix_triangular_solve(matrix, right, lower=True, adjoint=adjoint)

    def _diag_part(self) -> Tensor:
        return matrix_diag_part(self._given)

    def _determinant(self) -> Tensor:
        return reduce_prod(self._diag_part(), -1)

    def _log_abs_determinant(self) -> Tensor:
        return reduce_sum(log(abs(self._diag_part())), -1)


class LinearOperatorDiag(LinearOperator):
    """A diagonal matrix.

    Args:
      diag: the diagonal, [..., n].
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.

    Raises:
      ValueError: for a scalar, or if it is said not to be square.
    """

    def __init__(
        self, diag: Any, is_non_singular: bool | None = None, is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None, is_square: bool | None = None, name: str = "LinearOperatorDiag",
    ) -> None:  # fmt: skip
        if is_square is False:
            raise ValueError("Only square diagonal operators currently supported.")
        self._diag = _matrix(diag, "diag", 1)
        own = None if self._diag.dtype.is_complex else True
        super().__init__(
            self._diag.dtype,
            [self._diag],
            is_non_singular,
            own or is_self_adjoint,
            is_positive_definite,
            True,
            name,
        )

    @property
    def diag(self) -> Tensor:
        """The diagonal."""
        return self._diag

    def _shape(self) -> TensorShape:
        known = self._diag.shape
        return known.concatenate(known[-1:]) if known.rank is not None else known

    def _to_dense(self) -> Tensor:
        return matrix_diag(self._diag)

    def _column(self, adjoint: bool) -> Tensor:
        return expand_dims(conjugate(self._diag) if adjoint else self._diag, -1)

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        return self._column(adjoint) * x

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        return rhs / self._column(adjoint)

    def _diag_part(self) -> Tensor:
        return self._diag

    def _determinant(self) -> Tensor:
        return reduce_prod(self._diag, -1)

    def _log_abs_determinant(self) -> Tensor:
        return reduce_sum(log(abs(self._diag)), -1)

    def inverse(self, name: str = "inverse") -> LinearOperator:
        """Returns its inverse, which is diagonal too."""
        return LinearOperatorDiag(1 / self._diag, is_non_singular=True, name=name)


class LinearOperatorScaledIdentity(LinearOperator):
    """A multiple of the identity.

    Args:
      num_rows: how many rows; int scalar, a tensor too.
      multiplier: the factor, one for each of the batch, [...].
      is_non_singular, is_self_adjoint, is_positive_definite, is_square: as in `LinearOperator`.
      assert_proper_shapes: accepted; shapes are always looked at.
      name: a name.
    """

    def __init__(
        self, num_rows: Any, multiplier: Any, is_non_singular: bool | None = None,
        is_self_adjoint: bool | None = None, is_positive_definite: bool | None = None, is_square: bool | None = True,
        assert_proper_shapes: bool = False, name: str = "LinearOperatorScaledIdentity",
    ) -> None:  # fmt: skip
        del assert_proper_shapes
        if is_square is False:
            raise ValueError("A ScaledIdentity operator is always square.")
        self._rows = num_rows
        self._multiplier = convert_to_tensor(multiplier)
        own = None if self._multiplier.dtype.is_complex else True
        super().__init__(
            self._multiplier.dtype, [self._multiplier], is_non_singular, own or is_self_adjoint, is_positive_definite,
            True, name,
        )  # fmt: skip

    @property
    def multiplier(self) -> Tensor:
        """The factor."""
        return self._multiplier

    def _known_rows(self) -> int | None:
        known = constant_value(convert_to_tensor(self._rows, dtypes.int32))
        return None if known is None else int(known)

    def _shape(self) -> TensorShape:
        rows = self._known_rows()
        return self._multiplier.shape.concatenate(TensorShape([rows, rows]))

    def _factor(self, adjoint: bool = False) -> Tensor:
        factor = conjugate(self._multiplier) if adjoint else self._multiplier
        return expand_dims(expand_dims(factor, -1), -1)

    def _to_dense(self) -> Tensor:
        return self._factor() * eye(self._rows, dtype=self._dtype)

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        return self._factor(adjoint) * x

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        return rhs / self._factor(adjoint)

    def _determinant(self) -> Tensor:
        return reduce_prod(self._diag_part(), -1)

    def _log_abs_determinant(self) -> Tensor:
        return reduce_sum(log(abs(self._diag_part())), -1)


class LinearOperatorIdentity(LinearOperatorScaledIdentity):
    """The identity.

    Args:
      num_rows: how many rows; int scalar, a tensor too.
      batch_shape: the shape of the batch; default none.
      dtype: default float32.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, assert_proper_shapes, name: as in
        `LinearOperatorScaledIdentity`.
    """

    def __init__(
        self, num_rows: Any, batch_shape: Any = None, dtype: Any = None, is_non_singular: bool | None = True,
        is_self_adjoint: bool | None = True, is_positive_definite: bool | None = True, is_square: bool | None = True,
        assert_proper_shapes: bool = False, name: str = "LinearOperatorIdentity",
    ) -> None:  # fmt: skip
        one = convert_to_tensor(1, dtypes.as_dtype(dtype or dtypes.float32))
        super().__init__(
            num_rows, one if batch_shape is None else broadcast_to(one, batch_shape), is_non_singular,
            is_self_adjoint, is_positive_definite, is_square, assert_proper_shapes, name,
        )  # fmt: skip


class LinearOperatorZeros(LinearOperator):
    """The zero matrix.

    Args:
      num_rows: how many rows; int.
      num_columns: how many columns; default as many.
      batch_shape: the shape of the batch; default none.
      dtype: default float32.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square: as in `LinearOperator`.
      assert_proper_shapes: accepted.
      name: a name.

    Raises:
      ValueError: if it is said to be non-singular.
    """

    def __init__(
        self, num_rows: int, num_columns: int | None = None, batch_shape: Any = None, dtype: Any = None,
        is_non_singular: bool | None = False, is_self_adjoint: bool | None = True,
        is_positive_definite: bool | None = False, is_square: bool | None = True,
        assert_proper_shapes: bool = False, name: str = "LinearOperatorZeros",
    ) -> None:  # fmt: skip
        del assert_proper_shapes
        if is_non_singular or is_positive_definite:
            raise ValueError("A zero operator is always singular.")
        self._sizes = [*(batch_shape or ()), num_rows, num_rows if num_columns is None else num_columns]
        square = num_columns in (None, num_rows)
        super().__init__(
            dtype or dtypes.float32,
            None,
            False,
            is_self_adjoint if square else None,
            False,
            square and is_square,
            name,
        )

    def _shape(self) -> TensorShape:
        return TensorShape(self._sizes)

    def _to_dense(self) -> Tensor:
        return zeros(self._sizes, self._dtype)


class LinearOperatorHouseholder(LinearOperator):
    """A reflection: the identity less twice the outer product of a unit vector.

    Args:
      reflection_axis: the vector, of any length, [..., n].
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.
    """

    def __init__(
        self, reflection_axis: Any, is_non_singular: bool | None = None, is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None, is_square: bool | None = None,
        name: str = "LinearOperatorHouseholder",
    ) -> None:  # fmt: skip
        if is_positive_definite:
            raise ValueError("Householder operator is always indefinite.")
        self._axis = _matrix(reflection_axis, "reflection_axis", 1)
        super().__init__(self._axis.dtype, [self._axis], True, True, False, True, name)

    def _shape(self) -> TensorShape:
        known = self._axis.shape
        return known.concatenate(known[-1:]) if known.rank is not None else known

    def _unit(self) -> Tensor:
        column = expand_dims(self._axis, -1)
        squares = reduce_sum(column * conjugate(column), -2, keepdims=True)
        found: Tensor = column / squares**0.5
        return found

    def _to_dense(self) -> Tensor:
        unit = self._unit()
        outer = matmul(unit, unit, adjoint_b=True)
        return matrix_set_diag(-2 * outer, 1 - 2 * matrix_diag_part(outer))

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        unit = self._unit()
        found: Tensor = x - 2 * unit * matmul(unit, x, adjoint_a=True)
        return found

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        return self._matmul(rhs, adjoint)

    def _log_abs_determinant(self) -> Tensor:
        return reduce_sum(self._axis * 0, -1)

    def _determinant(self) -> Tensor:
        return self._log_abs_determinant() - 1


class LinearOperatorAdjoint(LinearOperator):
    """The adjoint of an operator.

    Args:
      operator: the operator.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square: default those of the operator.
      name: a name.
    """

    def __init__(
        self, operator: LinearOperator, is_non_singular: bool | None = None, is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None, is_square: bool | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        self._operator = operator
        super().__init__(
            operator.dtype, operator.graph_parents, is_non_singular or operator.is_non_singular,
            is_self_adjoint or operator.is_self_adjoint, is_positive_definite or operator.is_positive_definite,
            operator.is_square if is_square is None else is_square, name or f"{operator.name}_adjoint",
        )  # fmt: skip

    @property
    def operator(self) -> LinearOperator:
        """The operator it is the adjoint of."""
        return self._operator

    def _shape(self) -> TensorShape:
        known = self._operator.shape
        if known.rank is None:
            return known
        sizes = known.as_list()
        return TensorShape([*sizes[:-2], sizes[-1], sizes[-2]])

    def _to_dense(self) -> Tensor:
        return _adjoint(self._operator.to_dense())

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        found: Tensor = self._operator.matmul(x, adjoint=not adjoint)
        return found

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        return self._operator.solve(rhs, adjoint=not adjoint)

    def _determinant(self) -> Tensor:
        found: Tensor = conjugate(self._operator.determinant())
        return found

    def _log_abs_determinant(self) -> Tensor:
        return self._operator.log_abs_determinant()

    def adjoint(self, name: str = "adjoint") -> LinearOperator:
        """Returns the operator itself."""
        return self._operator


class LinearOperatorInversion(LinearOperator):
    """The inverse of an operator: multiplying with it is solving with the operator.

    Args:
      operator: the operator.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square: default those of the operator.
      name: a name.
    """

    def __init__(
        self, operator: LinearOperator, is_non_singular: bool | None = None, is_self_adjoint: bool | None = None,
        is_positive_definite: bool | None = None, is_square: bool | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        if is_non_singular is False:
            raise ValueError("Operator inverse is always non-singular.")
        self._operator = operator
        super().__init__(
            operator.dtype, operator.graph_parents, True, is_self_adjoint or operator.is_self_adjoint,
            is_positive_definite or operator.is_positive_definite, True, name or f"{operator.name}_inv",
        )  # fmt: skip

    @property
    def operator(self) -> LinearOperator:
        """The operator it is the inverse of."""
        return self._operator

    def _shape(self) -> TensorShape:
        return self._operator.shape

    def _to_dense(self) -> Tensor:
        return matrix_inverse(self._operator.to_dense())

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        return self._operator.solve(x, adjoint=adjoint)

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        found: Tensor = self._operator.matmul(rhs, adjoint=adjoint)
        return found

    def _determinant(self) -> Tensor:
        return 1 / self._operator.determinant()

    def _log_abs_determinant(self) -> Tensor:
        return -self._operator.log_abs_determinant()

    def inverse(self, name: str = "inverse") -> LinearOperator:
        """Returns the operator itself."""
        return self._operator


class _Several(LinearOperator):
    """What is made of several operators."""

    def __init__(
        self, operators: Sequence[LinearOperator], is_non_singular: bool | None, is_self_adjoint: bool | None,
        is_positive_definite: bool | None, is_square: bool | None, name: str | None, between: str,
    ) -> None:  # fmt: skip
        self._operators = list(operators)
        if not self._operators:
            raise ValueError("Expected a non-empty list of operators. Found: []")
        if len({operator.dtype for operator in self._operators}) > 1:
            kinds = ", ".join(f"{operator.name} {operator.dtype.name}" for operator in self._operators)
            raise TypeError(f"Expected all operators to have the same dtype.  Found {kinds}")
        if all(operator.is_non_singular for operator in self._operators):
            if is_non_singular is False:
                raise ValueError("Operators that are all non-singular make a non-singular one.")
            is_non_singular = True
        parents = [parent for operator in self._operators for parent in operator.graph_parents]
        super().__init__(
            self._operators[0].dtype, parents, is_non_singular, is_self_adjoint, is_positive_definite, is_square,
            name or between.join(operator.name for operator in self._operators),
        )  # fmt: skip

    @property
    def operators(self) -> list[LinearOperator]:
        """What it is made of."""
        return self._operators


class LinearOperatorComposition(_Several):
    """The product of operators: the last one comes first.

    Args:
      operators: whose sizes fit.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.

    Raises:
      ValueError: for no operators.
      TypeError: for several dtypes.
    """

    def __init__(
        self, operators: Sequence[LinearOperator], is_non_singular: bool | None = None,
        is_self_adjoint: bool | None = None, is_positive_definite: bool | None = None, is_square: bool | None = None,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            operators, is_non_singular, is_self_adjoint, is_positive_definite, is_square, name, "_o_"
        )

    def _shape(self) -> TensorShape:
        first, last = self._operators[0].shape, self._operators[-1].shape
        if first.rank is None or last.rank is None or any(o.batch_shape.as_list() for o in self._operators):
            return self.to_dense().shape
        return TensorShape([first.as_list()[-2], last.as_list()[-1]])

    def _to_dense(self) -> Tensor:
        dense = self._operators[-1].to_dense()
        for operator in reversed(self._operators[:-1]):
            dense = operator.matmul(dense)
        return dense

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        for operator in self._operators if adjoint else reversed(self._operators):
            x = operator.matmul(x, adjoint=adjoint)
        return x

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        for operator in reversed(self._operators) if adjoint else self._operators:
            rhs = operator.solve(rhs, adjoint=adjoint)
        return rhs

    def _determinant(self) -> Tensor:
        found = self._operators[0].determinant()
        for operator in self._operators[1:]:
            found = found * operator.determinant()
        return found

    def _log_abs_determinant(self) -> Tensor:
        found = self._operators[0].log_abs_determinant()
        for operator in self._operators[1:]:
            found = found + operator.log_abs_determinant()
        return found


class LinearOperatorKronecker(_Several):
    """The Kronecker product of operators.

    Args:
      operators: square ones, or others.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.
    """

    def __init__(
        self, operators: Sequence[LinearOperator], is_non_singular: bool | None = None,
        is_self_adjoint: bool | None = None, is_positive_definite: bool | None = None, is_square: bool | None = None,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            operators, is_non_singular, is_self_adjoint, is_positive_definite, is_square, name, "_x_"
        )

    def _to_dense(self) -> Tensor:
        dense = self._operators[0].to_dense()
        for operator in self._operators[1:]:
            other = operator.to_dense()
            outer = expand_dims(expand_dims(dense, -1), -3) * expand_dims(expand_dims(other, -2), -4)
            rows = _shape(dense)[-2] * _shape(other)[-2]
            columns = _shape(dense)[-1] * _shape(other)[-1]
            ends = [
                None if one is None or two is None else one * two
                for one, two in zip(dense.shape.as_list()[-2:], other.shape.as_list()[-2:], strict=True)
            ]
            batch = _shape(outer)[:-4]
            dense = reshape(outer, concat([batch, [rows], [columns]], 0))
            if outer.shape.rank is not None:
                dense.set_shape([*outer.shape.as_list()[:-4], *ends])
        return dense


class LinearOperatorBlockDiag(_Several):
    """Operators along the diagonal, zeros elsewhere.

    Args:
      operators: the blocks.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.
    """

    def __init__(
        self, operators: Sequence[LinearOperator], is_non_singular: bool | None = None,
        is_self_adjoint: bool | None = None, is_positive_definite: bool | None = None, is_square: bool | None = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            operators, is_non_singular, is_self_adjoint, is_positive_definite, is_square, name, "_ds_"
        )

    def _to_dense(self) -> Tensor:
        rows = []
        width = sum(operator.domain_dimension_tensor() for operator in self._operators)
        before: Any = 0
        for operator in self._operators:
            dense = operator.to_dense()
            own = _shape(dense)[-1]
            margins = [[0, 0]] * ((dense.shape.rank or 2) - 1) + [[before, width - before - own]]
            rows.append(pad(dense, margins))
            before = before + own
        return concat(rows, -2)

    def _cut(self, x: Tensor, adjoint: bool) -> list[Tensor]:
        sizes = [
            o.range_dimension_tensor() if adjoint else o.domain_dimension_tensor() for o in self._operators
        ]
        return split(x, sizes, -2)

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        parts = self._cut(x, adjoint)
        return concat([o.matmul(p, adjoint=adjoint) for o, p in zip(self._operators, parts, strict=True)], -2)

    def _solve(self, rhs: Tensor, adjoint: bool) -> Tensor:
        parts = self._cut(rhs, not adjoint)
        return concat([o.solve(p, adjoint=adjoint) for o, p in zip(self._operators, parts, strict=True)], -2)


class LinearOperatorLowRankUpdate(LinearOperator):
    """An operator plus U D V^H, of low rank.

    Args:
      base_operator: the operator.
      u: [..., rows, k].
      diag_update: the diagonal of D, [..., k]; default ones.
      v: [..., columns, k]; default `u`.
      is_diag_update_positive: whether the diagonal is promised to be positive.
      is_non_singular, is_self_adjoint, is_positive_definite, is_square, name: as in `LinearOperator`.
    """

    def __init__(
        self, base_operator: LinearOperator, u: Any, diag_update: Any = None, v: Any = None,
        is_diag_update_positive: bool | None = None, is_non_singular: bool | None = None,
        is_self_adjoint: bool | None = None, is_positive_definite: bool | None = None, is_square: bool | None = None,
        name: str = "LinearOperatorLowRankUpdate",
    ) -> None:  # fmt: skip
        self._base = base_operator
        kind = base_operator.dtype
        self._u = _matrix(u, "u", dtype=kind)
        self._v = self._u if v is None else _matrix(v, "v", dtype=kind)
        self._update = None if diag_update is None else _matrix(diag_update, "diag_update", 1, kind)
        self._positive = is_diag_update_positive
        parents = [*base_operator.graph_parents, self._u, self._v]
        super().__init__(
            base_operator.dtype,
            parents,
            is_non_singular,
            is_self_adjoint,
            is_positive_definite,
            is_square,
            name,
        )

    @property
    def base_operator(self) -> LinearOperator:
        """The operator that is added to."""
        return self._base

    @property
    def u(self) -> Tensor:
        """U."""
        return self._u

    @property
    def v(self) -> Tensor:
        """V."""
        return self._v

    @property
    def diag_update(self) -> Tensor | None:
        """The diagonal of D, or None."""
        return self._update

    @property
    def is_diag_update_positive(self) -> bool | None:
        """Whether the diagonal of D is promised to be positive."""
        return self._positive

    def _scaled(self, x: Tensor, adjoint: bool) -> Tensor:
        if self._update is None:
            return x
        return expand_dims(conjugate(self._update) if adjoint else self._update, -1) * x

    def _to_dense(self) -> Tensor:
        return self._base.to_dense() + matmul(self._u, self._scaled(_adjoint(self._v), False))

    def _matmul(self, x: Tensor, adjoint: bool) -> Tensor:
        left, right = (self._v, self._u) if adjoint else (self._u, self._v)
        found: Tensor = self._base.matmul(x, adjoint=adjoint) + matmul(
            left, self._scaled(matmul(right, x, adjoint_a=True), adjoint)
        )
        return found


__all__ = [
    "LinearOperator", "LinearOperatorAdjoint", "LinearOperatorBlockDiag", "LinearOperatorComposition",
    "LinearOperatorDiag", "LinearOperatorFullMatrix", "LinearOperatorHouseholder", "LinearOperatorIdentity",
    "LinearOperatorInversion", "LinearOperatorKronecker", "LinearOperatorLowRankUpdate",
    "LinearOperatorLowerTriangular", "LinearOperatorScaledIdentity", "LinearOperatorZeros",
]  # fmt: skip
