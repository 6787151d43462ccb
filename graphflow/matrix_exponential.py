"""`tf.linalg.expm`: the exponential of matrices, by Padé's fractions and repeated squaring."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.control_flow import cond, while_loop
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops.elementwise import where_v2
from graphflow.ops.factorizations import matrix_solve
from graphflow.ops.layout import concat, reshape
from graphflow.ops.linalg import eye, matmul
from graphflow.ops.reduction import reduce_max, reduce_sum
from graphflow.ops.source import shape

# Orders of the fractions, and the 1-norms up to which each but the last is as exact as the numbers are; the last is
# taken of the matrix over a power of two, which brings the norm near the last bound (Higham 2005).
_SINGLE = ((3, 0.4258730016922831), (5, 1.880152677804762), (7, 3.92572478313866))
_DOUBLE = (
    (3, 0.01495585217958292), (5, 0.253939833006323), (7, 0.9504178996162932), (9, 2.097847961257068),
    (13, 5.371920351148152),
)  # fmt: skip
_FRACTIONS = {
    dtypes.float16: _SINGLE, dtypes.float32: _SINGLE, dtypes.complex64: _SINGLE,
    dtypes.float64: _DOUBLE, dtypes.complex128: _DOUBLE,
}  # fmt: skip


def _fraction(matrix: Tensor, order: int) -> tuple[Any, Any]:
    """The odd and the even part of the numerator; with the odd one negated they make the denominator."""
    weights = [
        math.comb(order, k) / math.perm(2 * order, k) for k in range(order + 1)
    ]  # of the powers, that of none being 1: so the numbers stay small enough for float16
    unit = eye(shape(matrix)[-1], dtype=matrix.dtype)
    squared = matmul(matrix, matrix)
    odd, even = (weights[k] * squared + weights[k - 2] * unit for k in (order, order - 1))
    for k in range(order - 4, 0, -2):
        odd = matmul(odd, squared) + weights[k] * unit
        even = matmul(even, squared) + weights[k - 1] * unit
    return matmul(matrix, odd), even


def expm(input: Any, name: str | None = None) -> Tensor:
    """Returns the exponentials of square matrices, the sums of `input ** n / n!`.

    If one of the matrices has a norm that is not finite, all results are NaN.

    Args:
      input: [..., M, M], of floats or complex numbers.
      name: a name scope.

    Raises:
      ValueError: if the input is of another dtype, or has no square matrices.
    """
    with name_scope(name, "matrix_exponential", [input]):
        whole = convert_to_tensor(input, name="input")
        fractions = _FRACTIONS.get(whole.dtype)
        if fractions is None:
            raise ValueError(
                f"linalg.expm takes floats or complex numbers, not {whole.dtype.name}: {whole!r}"
            )
        sizes = whole.shape.as_tuple()
        if sizes is not None and (len(sizes) < 2 or None not in sizes[-2:] and sizes[-2] != sizes[-1]):
            raise ShapeError(f"linalg.expm takes square matrices [..., M, M], not {whole.shape}: {whole!r}")
        if sizes is not None and sizes[-1] == 0:
            return whole
        matrix = reshape(whole, concat([[-1], shape(whole)[-2:]], 0))
        sums = reduce_sum(emit.ComplexAbs(matrix, Tout=matrix.dtype.real_dtype) if matrix.dtype.is_complex
                          else emit.Abs(matrix), -2, keepdims=True)  # fmt: skip
        norm = reduce_max(sums, -1, keepdims=True)
        *smaller, (last, most) = fractions
        halvings = emit.Maximum(emit.Floor(emit.Log(norm / most) / math.log(2.0)), constant(0, norm.dtype))
        odd, even = _fraction(
            matrix / emit.Cast(emit.Pow(constant(2, norm.dtype), halvings), DstT=matrix.dtype), last
        )
        for order, bound in reversed(smaller):
            its_odd, its_even = _fraction(matrix, order)
            odd = where_v2(norm < bound, its_odd, odd)
            even = where_v2(norm < bound, its_even, even)
        is_finite = emit.IsFinite(reduce_max(norm))
        start = cond(
            is_finite,
            lambda: matrix_solve(even - odd, even + odd),
            lambda: emit.Fill(shape(matrix), constant(np.nan, matrix.dtype)),
        )
        turns = where_v2(is_finite, reduce_max(halvings), constant(0, norm.dtype))

        def squared(i: Tensor, power: Tensor) -> list[Any]:
            next_power = where_v2(i < halvings, matmul(power, power), power)
            next_power.set_shape(power.shape)
            return [i + 1.0, next_power]

        _, result = while_loop(lambda i, _: i < turns, squared, [constant(0, norm.dtype), start])
        restored: Tensor = reshape(result, shape(whole))
        restored.set_shape(whole.shape)
        return restored


__all__ = ["expm"]
