"""`tf.contrib.distributions.bijectors`: functions with an inverse and the determinant of their derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphflow.contrib.distributions.univariate import softplus_inverse
from graphflow.distributions.univariate import numbers
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor
from graphflow.ops import layout, source
from graphflow.ops.diagonals import matrix_band_part, matrix_diag_part
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import atanh, cast, exp, log, log1p, sigmoid, softplus, tanh
from graphflow.ops.factorizations import matrix_triangular_solve
from graphflow.ops.reduction import reduce_sum


class Bijector:
    """A function with an inverse.

    One of one's own overrides `_forward`, `_inverse` and `_forward_log_det_jacobian` (or that of the inverse).

    Args:
      forward_min_event_ndims: how many of the last axes make up one point; 0: each number for itself.
      validate_args: whether values are checked when they run.
      name: a name.
    """

    def __init__(
        self, forward_min_event_ndims: int = 0, validate_args: bool = False, name: str | None = None, **kwargs: Any
    ) -> None:  # fmt: skip
        # Older ones say it under another name, and pass what is of no use here.
        self.forward_min_event_ndims = kwargs.get("event_ndims", forward_min_event_ndims) or 0
        self.inverse_min_event_ndims = kwargs.get("inverse_min_event_ndims", self.forward_min_event_ndims)
        self.validate_args = validate_args
        self.name = name or type(self).__name__

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("forward not implemented")

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError("inverse not implemented")

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        if type(self)._inverse_log_det_jacobian is Bijector._inverse_log_det_jacobian:
            raise NotImplementedError("log_det_jacobian not implemented")
        return -self._inverse_log_det_jacobian(self._forward(x))

    def _inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        if type(self)._forward_log_det_jacobian is Bijector._forward_log_det_jacobian:
            raise NotImplementedError("log_det_jacobian not implemented")
        return -self._forward_log_det_jacobian(self._inverse(y))

    def forward(self, x: Any, name: str = "forward") -> Tensor:
        """Returns the function's value."""
        with name_scope(f"{self.name}/{name}"):
            return self._forward(convert_to_tensor(x))

    def inverse(self, y: Any, name: str = "inverse") -> Tensor:
        """Returns what the function makes `y` of."""
        with name_scope(f"{self.name}/{name}"):
            return self._inverse(convert_to_tensor(y))

    def _over_events(self, value: Tensor, like: Tensor, event_ndims: int | None, least: int) -> Tensor:
        """The sum over the axes of an event that the bijector takes number by number."""
        more = (least if event_ndims is None else int(event_ndims)) - least
        if more < 0:
            raise ValueError(f"event_ndims must be at least {least} for {self.name}, not {event_ndims}")
        if not more:
            return value
        if least == 0:
            value = value + source.zeros_like(like)
        return reduce_sum(value, list(range(-more, 0)))

    def forward_log_det_jacobian(
        self, x: Any, event_ndims: int | None = None, name: str = "forward_log_det_jacobian"
    ) -> Tensor:  # fmt: skip
        """Returns the logarithm of the derivative's absolute determinant at `x`.

        Args:
          x: where.
          event_ndims: how many of the last axes make up one event; their determinants are multiplied.
          name: a name.
        """
        with name_scope(f"{self.name}/{name}"):
            x = convert_to_tensor(x)
            found = self._forward_log_det_jacobian(x)
            return self._over_events(found, x, event_ndims, self.forward_min_event_ndims)

    def inverse_log_det_jacobian(
        self, y: Any, event_ndims: int | None = None, name: str = "inverse_log_det_jacobian"
    ) -> Tensor:  # fmt: skip
        """Returns the logarithm of the absolute determinant of the inverse's derivative at `y`."""
        with name_scope(f"{self.name}/{name}"):
            y = convert_to_tensor(y)
            found = self._inverse_log_det_jacobian(y)
            return self._over_events(found, y, event_ndims, self.inverse_min_event_ndims)


class Identity(Bijector):
    """What it is given."""

    def __init__(self, validate_args: bool = False, event_ndims: int = 0, name: str = "identity") -> None:
        super().__init__(event_ndims, validate_args, name)

    def _forward(self, x: Tensor) -> Tensor:
        return source.identity(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return source.identity(y)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return source.zeros_like(reduce_sum(x, list(range(-self.forward_min_event_ndims, 0))))


class Exp(Bijector):
    """The exponential."""

    def __init__(self, event_ndims: int = 0, validate_args: bool = False, name: str = "exp") -> None:
        super().__init__(0, validate_args, name)
        del event_ndims

    def _forward(self, x: Tensor) -> Tensor:
        return exp(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return log(y)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return source.identity(x)

    def _inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        return -log(y)


class Sigmoid(Bijector):
    """The sigmoid."""

    def __init__(self, validate_args: bool = False, name: str = "sigmoid") -> None:
        super().__init__(0, validate_args, name)

    def _forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return log(y) - log1p(-y)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return -softplus(-x) - softplus(x)

    def _inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        return -log(y) - log1p(-y)


class Tanh(Bijector):
    """The hyperbolic tangent."""

    def __init__(self, validate_args: bool = False, name: str = "tanh") -> None:
        super().__init__(0, validate_args, name)

    def _forward(self, x: Tensor) -> Tensor:
        return tanh(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return atanh(y)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        # log(1 - tanh(x)^2), without the loss of digits where tanh(x) is nearly one.
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))


class Softplus(Bijector):
    """`hinge_softness * log(1 + exp(x / hinge_softness))`."""

    def __init__(
        self, event_ndims: int = 0, hinge_softness: Any = None, validate_args: bool = False, name: str = "softplus",
    ) -> None:  # fmt: skip
        super().__init__(0, validate_args, name)
        del event_ndims
        self.hinge_softness = 1.0 if hinge_softness is None else hinge_softness

    def _soft(self, like: Tensor) -> Tensor:
        return cast(convert_to_tensor(self.hinge_softness), like.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        soft = self._soft(x)
        return soft * softplus(x / soft)

    def _inverse(self, y: Tensor) -> Tensor:
        soft = self._soft(y)
        return soft * softplus_inverse(y / soft)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return -softplus(-x / self._soft(x))


def _of_one_dtype(*values: Any) -> list[Tensor | None]:
    """Those of some parameters that are given, as tensors of one dtype."""
    tensors = iter(numbers(*(value for value in values if value is not None)))
    return [None if value is None else next(tensors) for value in values]


class AffineScalar(Bijector):
    """`shift + scale * x`, number by number."""

    def __init__(
        self, shift: Any = None, scale: Any = None, validate_args: bool = False, name: str = "affine_scalar"
    ) -> None:  # fmt: skip
        super().__init__(0, validate_args, name)
        with name_scope(self.name):
            self.shift, self.scale = _of_one_dtype(shift, scale)

    def _forward(self, x: Tensor) -> Tensor:
        y = source.identity(x) if self.scale is None else x * self.scale
        return y if self.shift is None else y + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        x = source.identity(y) if self.shift is None else y - self.shift
        return x if self.scale is None else x / self.scale

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        flat = source.zeros_like(x)
        return flat if self.scale is None else flat + log(absolute(self.scale))


class Affine(Bijector):
    """`shift + scale @ x` for vectors, with the sum of what is given as the scale.

    Args:
      shift: [*batch, k].
      scale_identity_multiplier: a multiple of the identity, [*batch].
      scale_diag: a diagonal, [*batch, k].
      scale_tril: a lower triangle, [*batch, k, k].
      validate_args: whether values are checked when they run.
      name: a name.
    """

    def __init__(
        self, shift: Any = None, scale_identity_multiplier: Any = None, scale_diag: Any = None, scale_tril: Any = None,
        validate_args: bool = False, name: str = "affine",
    ) -> None:  # fmt: skip
        super().__init__(1, validate_args, name)
        with name_scope(self.name):
            given = _of_one_dtype(shift, scale_identity_multiplier, scale_diag, scale_tril)
            self.shift, self._multiple, self._diagonal, triangle = given
            self._triangle = None if triangle is None else matrix_band_part(triangle, -1, 0)

    def _whole_diagonal(self) -> Tensor | None:
        """The diagonal of the scale; None: it is one everywhere."""
        parts = [
            self._diagonal,
            None if self._multiple is None else layout.expand_dims(self._multiple, -1),
            None if self._triangle is None else matrix_diag_part(self._triangle),
        ]
        given = [part for part in parts if part is not None]
        return sum(given[1:], given[0]) if given else None

    def _scale(self) -> Tensor:
        """The scale as a triangle."""
        assert self._triangle is not None
        diagonal = self._whole_diagonal()
        assert diagonal is not None
        below = self._triangle - matrix_band_part(self._triangle, 0, 0)
        size = source.shape(self._triangle)[-1]
        on = layout.one_hot(source.range(size), size, dtype=self._triangle.dtype)
        return below + on * layout.expand_dims(diagonal, -1)

    def _forward(self, x: Tensor) -> Tensor:
        diagonal = self._whole_diagonal()
        if self._triangle is not None:
            x = reduce_sum(self._scale() * layout.expand_dims(x, -2), -1)
        elif diagonal is not None:
            x = x * diagonal
        return source.identity(x) if self.shift is None else x + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        y = source.identity(y) if self.shift is None else y - self.shift
        diagonal = self._whole_diagonal()
        if self._triangle is not None:
            scale = self._scale()
            shape = source.broadcast_dynamic_shape(
                layout.concat([source.shape(y), [1]], 0), source.shape(scale)
            )
            columns = layout.broadcast_to(layout.expand_dims(y, -1), layout.concat([shape[:-1], [1]], 0))
            return layout.squeeze(matrix_triangular_solve(layout.broadcast_to(scale, shape), columns), [-1])
        return y if diagonal is None else y / diagonal

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        diagonal = self._whole_diagonal()
        flat = source.zeros_like(x)
        return reduce_sum(flat if diagonal is None else flat + log(absolute(diagonal)), -1)


class Permute(Bijector):
    """The numbers of an event in another order.

    Args:
      permutation: where each comes from, [k] int32.
      validate_args: whether values are checked when they run.
      name: a name.
    """

    def __init__(self, permutation: Any, validate_args: bool = False, name: str | None = None) -> None:
        super().__init__(1, validate_args, name or "permute")
        with name_scope(self.name):
            self.permutation = convert_to_tensor(permutation)

    def _forward(self, x: Tensor) -> Tensor:
        return layout.gather(x, self.permutation, axis=-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return layout.gather(y, layout.invert_permutation(self.permutation), axis=-1)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return reduce_sum(source.zeros_like(x), -1)


class Invert(Bijector):
    """The inverse of a bijector."""

    def __init__(self, bijector: Bijector, validate_args: bool = False, name: str | None = None) -> None:
        super().__init__(bijector.inverse_min_event_ndims, validate_args, name or f"invert_{bijector.name}")
        self.bijector = bijector

    def _forward(self, x: Tensor) -> Tensor:
        return self.bijector._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.bijector._forward(y)

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return self.bijector._inverse_log_det_jacobian(x)

    def _inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        return self.bijector._forward_log_det_jacobian(y)


class Chain(Bijector):
    """Several one after another, the last first: `Chain([f, g]).forward(x)` is `f(g(x))`."""

    def __init__(
        self, bijectors: Sequence[Bijector] | None = None, validate_args: bool = False, name: str | None = None
    ) -> None:  # fmt: skip
        self.bijectors = list(bijectors or ())
        most = max((b.forward_min_event_ndims for b in self.bijectors), default=0)
        super().__init__(
            most, validate_args, name or "_of_".join(b.name for b in self.bijectors) or "identity"
        )

    def _forward(self, x: Tensor) -> Tensor:
        for bijector in reversed(self.bijectors):
            x = bijector._forward(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for bijector in self.bijectors:
            y = bijector._inverse(y)
        return y

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        total = reduce_sum(source.zeros_like(x), list(range(-self.forward_min_event_ndims, 0)))
        for bijector in reversed(self.bijectors):
            total = total + bijector.forward_log_det_jacobian(x, self.forward_min_event_ndims)
            x = bijector._forward(x)
        return total


__all__ = [
    "Affine", "AffineScalar", "Bijector", "Chain", "Exp", "Identity", "Invert", "Permute", "Sigmoid", "Softplus",
    "Tanh",
]  # fmt: skip
