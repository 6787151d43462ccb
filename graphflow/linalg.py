"""`tf.linalg`: matrices.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.diagonals import (
    diag as _diag, diag_part as _diag_part, matrix_band_part as _matrix_band_part,
    matrix_diag as _matrix_diag, matrix_diag_part as _matrix_diag_part, matrix_set_diag as _matrix_set_diag,
)
from graphflow.ops.factorizations import (
    cholesky as cholesky, cholesky_solve as cholesky_solve, logdet as logdet, lu as lu,
    lu_matrix_inverse as lu_matrix_inverse, lu_reconstruct as lu_reconstruct, lu_solve as lu_solve,
    matrix_determinant as _matrix_determinant, matrix_inverse as _matrix_inverse,
    matrix_logarithm as _matrix_logarithm, matrix_rank as matrix_rank, matrix_solve as _matrix_solve,
    matrix_solve_ls as _matrix_solve_ls, matrix_square_root as _matrix_square_root,
    matrix_triangular_solve as _matrix_triangular_solve, pinv as pinv, qr as qr,
    self_adjoint_eig as _self_adjoint_eig, self_adjoint_eigvals as _self_adjoint_eigvals, slogdet as slogdet,
    svd as svd, tridiagonal_matmul as tridiagonal_matmul, tridiagonal_solve as tridiagonal_solve,
)
from graphflow.ops.layout import matrix_transpose as matrix_transpose
from graphflow.ops.linalg import (
    adjoint as adjoint, cross as cross, einsum as einsum, eye as eye, global_norm as global_norm,
    l2_normalize as l2_normalize, matmul as matmul, matvec as matvec, norm as norm, normalize as normalize,
    tensordot as tensordot, trace as trace,
)
from graphflow.namespace import lazy

# Other names of the same.
band_part = _matrix_band_part
det = _matrix_determinant
diag = _matrix_diag
diag_part = _matrix_diag_part
eigh = _self_adjoint_eig
eigvalsh = _self_adjoint_eigvals
inv = _matrix_inverse
logm = _matrix_logarithm
lstsq = _matrix_solve_ls
set_diag = _matrix_set_diag
solve = _matrix_solve
sqrtm = _matrix_square_root
tensor_diag = _diag
tensor_diag_part = _diag_part
transpose = matrix_transpose
triangular_solve = _matrix_triangular_solve

# Loaded when first asked for.
_OPERATORS = (
    "LinearOperator", "LinearOperatorAdjoint", "LinearOperatorBlockDiag", "LinearOperatorComposition",
    "LinearOperatorDiag", "LinearOperatorFullMatrix", "LinearOperatorHouseholder", "LinearOperatorIdentity",
    "LinearOperatorInversion", "LinearOperatorKronecker", "LinearOperatorLowRankUpdate",
    "LinearOperatorLowerTriangular", "LinearOperatorScaledIdentity", "LinearOperatorZeros",
)

if TYPE_CHECKING:
    from graphflow.linear_operators import *  # noqa: F403
    from graphflow.matrix_exponential import expm as expm
else:
    __getattr__, __dir__ = lazy(
        __name__,
        attributes={
            **dict.fromkeys(_OPERATORS, "graphflow.linear_operators"), "expm": "graphflow.matrix_exponential",
        },
    )
