"""Multivariate normal distributions."""

from __future__ import annotations

import math
from typing import Any

from graphflow.distributions.distribution import FULLY_REPARAMETERIZED, Distribution, RegisterKL
from graphflow.distributions.univariate import numbers, positive, together
from graphflow.graph import Tensor, name_scope
from graphflow.ops import layout, source
from graphflow.ops.diagonals import matrix_band_part, matrix_diag, matrix_diag_part
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import log, softplus, square
from graphflow.ops.factorizations import cholesky, matrix_triangular_solve
from graphflow.ops.linalg import matmul
from graphflow.ops.random import random_normal
from graphflow.ops.reduction import reduce_sum

_LOG_TWO_PI = math.log(2.0 * math.pi)


class _MultivariateNormal(Distribution):
    """`loc + scale @ z`, where `scale` is a diagonal or a lower triangle.

    `_diagonal` is the diagonal of the scale, [*batch, k]; `_triangle` the triangle, None where there is the
    diagonal only.
    """

    loc: Tensor
    _diagonal: Tensor
    _triangle: Tensor | None

    def _begin(self, arguments: dict[str, Any]) -> None:
        super().__init__(
            self._diagonal.dtype, FULLY_REPARAMETERIZED, arguments["validate_args"], arguments["allow_nan_stats"],
            arguments, (self.loc, self._diagonal), arguments["name"],
        )  # fmt: skip

    @property
    def scale(self) -> Tensor:
        """The scale as a matrix, [*batch, k, k]."""
        return matrix_diag(self._diagonal) if self._triangle is None else self._triangle

    def _full_shape(self) -> Any:
        return together(self.loc, self._diagonal)

    def _batch_shape_tensor(self) -> Any:
        return self._full_shape()[:-1]

    def _event_shape_tensor(self) -> Any:
        return self._full_shape()[-1:]

    def _scaled(self, z: Tensor) -> Tensor:
        if self._triangle is None:
            return z * self._diagonal
        return reduce_sum(self._triangle * layout.expand_dims(z, -2), -1)

    def _unscaled(self, y: Tensor) -> Tensor:
        if self._triangle is None:
            return y / self._diagonal
        shape = together(y, self._diagonal)
        columns = layout.expand_dims(layout.broadcast_to(y, shape), -1)
        matrices = layout.broadcast_to(
            self._triangle, layout.concat([shape, source.shape(self._triangle)[-1:]], 0)
        )
        return layout.squeeze(matrix_triangular_solve(matrices, columns), [-1])

    def log_det_covariance(self, name: str = "log_det_covariance") -> Tensor:
        """The logarithm of the determinant of the covariance, [*batch]."""
        with name_scope(f"{self._name}/{name}"):
            return 2.0 * self._log_det()

    def _log_det(self) -> Tensor:
        return reduce_sum(log(absolute(self._diagonal)), -1)

    def _size(self) -> int:
        size = self._diagonal.shape.as_list()[-1] or self.loc.shape.as_list()[-1]
        if size is None:
            raise ValueError(f"the size of an event of {self._name} must be known while building")
        return int(size)

    def _sample_n(self, n: Any, seed: int | None) -> Tensor:
        shape = layout.concat([layout.reshape(n, [1]), self._full_shape()], 0)
        return self.loc + self._scaled(random_normal(shape, dtype=self.dtype, seed=seed))

    def _log_prob(self, x: Tensor) -> Tensor:
        distance = reduce_sum(square(self._unscaled(x - self.loc)), -1)
        return -0.5 * (distance + self._size() * _LOG_TWO_PI) - self._log_det()

    def _entropy(self) -> Tensor:
        value = 0.5 * self._size() * (1.0 + _LOG_TWO_PI) + self._log_det()
        return layout.broadcast_to(value, self._batch_shape_tensor())

    def _mean(self) -> Tensor:
        return layout.broadcast_to(self.loc, self._full_shape())

    def _mode(self) -> Tensor:
        return self._mean()

    def _variance(self) -> Tensor:
        own = (
            square(self._diagonal) if self._triangle is None else reduce_sum(square(self._triangle), -1)
        )  # fmt: skip
        return layout.broadcast_to(own, self._full_shape())

    def _covariance(self) -> Tensor:
        if self._triangle is None:
            return matrix_diag(self._variance())
        own = matmul(self._triangle, self._triangle, transpose_b=True)
        shape = self._full_shape()
        return layout.broadcast_to(own, layout.concat([shape, shape[-1:]], 0))


class MultivariateNormalDiag(_MultivariateNormal):
    """The normal distribution of mean `loc` with independent parts.

    Args:
      loc: the mean, [*batch, k]; default zero.
      scale_diag: the standard deviations, [*batch, k]; default one.
      scale_identity_multiplier: what is added to all of them, [*batch].
      validate_args: whether parameters are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: if none of the three is given, or nothing tells the size of an event.
    """

    def __init__(
        self, loc: Any = None, scale_diag: Any = None, scale_identity_multiplier: Any = None,
        validate_args: bool = False, allow_nan_stats: bool = True, name: str = "MultivariateNormalDiag",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if loc is None and scale_diag is None:
            raise ValueError(
                "Must provide at least one of `loc` and `scale_diag`: they tell the size of an event."
            )
        with name_scope(name):
            given = [v for v in (loc, scale_diag, scale_identity_multiplier) if v is not None]
            tensors = iter(numbers(*given))
            mean = next(tensors) if loc is not None else None
            diagonal = next(tensors) if scale_diag is not None else None
            if scale_identity_multiplier is not None:
                every = layout.expand_dims(next(tensors), -1)
                if diagonal is None:
                    assert mean is not None
                    diagonal = every * source.ones_like(mean)
                else:
                    diagonal = diagonal + every
            elif diagonal is None:
                assert mean is not None
                diagonal = source.ones_like(mean)
            self._diagonal = positive(diagonal, validate_args)
            self.loc = source.zeros_like(self._diagonal) if mean is None else mean
            self._triangle = None
        self._begin(arguments)


class MultivariateNormalDiagWithSoftplusScale(MultivariateNormalDiag):
    """The normal distribution of mean `loc` with independent parts, of standard deviations `softplus(scale_diag)`."""

    def __init__(
        self, loc: Any, scale_diag: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "MultivariateNormalDiagWithSoftplusScale",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        with name_scope(name):
            mean, raw = numbers(loc, scale_diag)
            deviations = softplus(raw)
        super().__init__(mean, deviations, None, validate_args, allow_nan_stats, name)
        self.parameters = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}


class MultivariateNormalTriL(_MultivariateNormal):
    """The normal distribution of mean `loc` whose covariance is `scale_tril @ scale_tril^T`.

    Args:
      loc: the mean, [*batch, k]; default zero.
      scale_tril: a lower triangle with a diagonal that is not zero, [*batch, k, k].
      validate_args: whether parameters are checked when they run.
      allow_nan_stats: whether an undefined figure is NaN instead of an error.
      name: a name.

    Raises:
      ValueError: if neither is given.
    """

    def __init__(
        self, loc: Any = None, scale_tril: Any = None, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "MultivariateNormalTriL",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        if loc is None and scale_tril is None:
            raise ValueError("Must pass one or both of `loc`, `scale_tril`.")
        with name_scope(name):
            if scale_tril is None:
                (self.loc,) = numbers(loc)
                self._diagonal, self._triangle = source.ones_like(self.loc), None
            else:
                given = numbers(*([scale_tril] if loc is None else [scale_tril, loc]))
                self._triangle = matrix_band_part(given[0], -1, 0)
                self._diagonal = positive(matrix_diag_part(self._triangle), validate_args)
                self.loc = given[1] if loc is not None else source.zeros_like(self._diagonal)
        self._begin(arguments)


class MultivariateNormalFullCovariance(MultivariateNormalTriL):
    """The normal distribution of mean `loc` and a `covariance_matrix` [*batch, k, k]."""

    def __init__(
        self, loc: Any = None, covariance_matrix: Any = None, validate_args: bool = False,
        allow_nan_stats: bool = True, name: str = "MultivariateNormalFullCovariance",
    ) -> None:  # fmt: skip
        arguments = dict(locals())
        triangle = None
        if covariance_matrix is not None:
            with name_scope(name):
                triangle = cholesky(numbers(covariance_matrix)[0])
        super().__init__(loc, triangle, validate_args, allow_nan_stats, name)
        self.parameters = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}


@RegisterKL(_MultivariateNormal, _MultivariateNormal)
def _kl_multivariate_normals(
    a: _MultivariateNormal, b: _MultivariateNormal, name: str | None = None
) -> Tensor:
    if a._triangle is None and b._triangle is None:
        ratio = a._diagonal / b._diagonal
        spread = reduce_sum(square(ratio), -1)
    else:
        shape = together(a._diagonal, b._diagonal)
        matrices = layout.concat([shape, shape[-1:]], 0)
        left, right = (layout.broadcast_to(d.scale, matrices) for d in (b, a))
        mixed = matrix_triangular_solve(left, right)
        spread = reduce_sum(square(mixed), [-2, -1])
    apart = reduce_sum(square(b._unscaled(a.loc - b.loc)), -1)
    return 0.5 * (spread + apart - a._size()) + b._log_det() - a._log_det()


__all__ = [
    "MultivariateNormalDiag", "MultivariateNormalDiagWithSoftplusScale", "MultivariateNormalFullCovariance",
    "MultivariateNormalTriL",
]  # fmt: skip
