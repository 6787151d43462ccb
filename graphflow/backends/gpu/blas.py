"""Matrix products by cuBLASLt, called directly: CuPy refuses its own cuBLAS while a graph is captured.

Row-major `c = a @ b` is column-major `c^T = b^T @ a^T`: the operands change places, and what was a row of the result is
a column, along which a bias then lies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graphflow.backends.cache import ObjectCache, default_cache, digest
from graphflow.backends.gpu.products import GemmPlan
from graphflow.loops.library import element_bytes
from graphflow.records import dataclass

__all__ = ["WORKSPACE", "BlasLt", "Heuristic", "load_library"]

WORKSPACE = 32 << 20
"""Bytes of scratch that products may take: what NVIDIA recommends for Hopper."""

_CANDIDATES = 8

_TYPES = {"f32": 0, "f64": 1, "f16": 2, "bf16": 14}  # cudaDataType
_COMPUTE_F32, _COMPUTE_F64, _COMPUTE_TF32 = 68, 70, 77  # cublasComputeType_t
_EPILOGUES = {"": 1, "relu": 2, "bias": 4, "relu_bias": 6}  # cublasLtEpilogue_t
# cublasLtMatmulDescAttributes_t
_TRANSPOSE_A, _TRANSPOSE_B, _EPILOGUE, _BIAS = 3, 4, 7, 8
# cublasLtMatrixLayoutAttribute_t
_BATCH_COUNT, _BATCH_STEP = 5, 6
# cublasLtMatmulPreferenceAttributes_t
_MOST_WORKSPACE = 1
_ALIGNED_A, _ALIGNED_B, _ALIGNED_C, _ALIGNED_D = 5, 6, 7, 8


class Heuristic(ctypes.Structure):
    """An algorithm that the library proposes (cublasLtMatmulHeuristicResult_t)."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


def load_library() -> Any:
    """cuBLASLt: that of the wheel, else the system's. Raises OSError if there is none."""
    names = ("cublasLt64_13.dll",) if sys.platform == "win32" else ("libcublasLt.so.13", "libcublasLt.so")
    folders = [Path(entry) / "nvidia" / "cu13" / "lib" for entry in sys.path if entry]
    home = os.environ.get("CUDA_PATH") or os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    folders.append(Path(home) / "lib64")
    for folder in folders:
        for name in names:
            if (folder / name).exists():
                with contextlib.suppress(OSError):
                    return ctypes.CDLL(str(folder / name))
    return ctypes.CDLL(names[0])


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A product as the library has it: descriptors, and the algorithm that was chosen."""

    operation: ctypes.c_void_p
    first: ctypes.c_void_p
    second: ctypes.c_void_p
    result: ctypes.c_void_p
    algorithm: Heuristic


class BlasLt:
    """The library for one device.

    Args:
      library: the loaded library, or what stands for it.
      device: what the choice of algorithms is kept under: the device's name.
      precision: "tf32" rounds factors of float32 to 10 bits of fraction, "highest" does not.
      cache: where the choices are kept.
    """

    def __init__(self, library: Any, device: str, precision: str, cache: ObjectCache | None = None) -> None:
        self._library = library
        self._precision = precision
        self._device = device
        self._cache = default_cache() if cache is None else cache
        self._handle = ctypes.c_void_p()
        self._check(library.cublasLtCreate(ctypes.byref(self._handle)), "cublasLtCreate")
        library.cublasLtGetVersion.restype = ctypes.c_size_t
        self.version = int(library.cublasLtGetVersion())
        self._products: dict[GemmPlan, Product] = {}

    def prepare(self, plan: GemmPlan, seconds: Callable[[GemmPlan], float] | None = None) -> int:
        """Chooses an algorithm, once for each device, version and product; returns the bytes of scratch it takes.

        Args:
          plan: the product.
          seconds: how long `run` takes with the algorithm that is tried; None takes the library's first proposal.
        """
        found = self._products.get(plan)
        if found is not None:
            return int(found.algorithm.workspace)
        product = self._products[plan] = self._made(plan)
        kept = self._cache.get(self._key(plan))
        if kept is not None and len(kept) == ctypes.sizeof(Heuristic):
            self._choose(product, Heuristic.from_buffer_copy(kept))
            return int(product.algorithm.workspace)
        proposed = self._proposed(product, plan.alignments)
        times = []
        for one in proposed if seconds is not None and len(proposed) > 1 else ():
            self._choose(product, one)
            times.append(seconds(plan) if seconds is not None else 0.0)
        best = proposed[times.index(min(times))] if times else proposed[0]
        self._choose(product, best)
        self._cache.put(self._key(plan), bytes(best))
        return int(best.workspace)

    @staticmethod
    def _choose(product: Product, one: Heuristic) -> None:
        ctypes.memmove(ctypes.byref(product.algorithm), ctypes.byref(one), ctypes.sizeof(Heuristic))

    def run(self, plan: GemmPlan, pointers: Sequence[int], workspace: int, stream: int) -> None:
        """Puts a product on a stream: `a`, `b`, `c`, and the bias if it has one."""
        product = self._products[plan]
        a, b, c, *bias = pointers
        if bias:
            self._set(product.operation, _BIAS, ctypes.c_void_p(bias[0]))
        size, made = element_bytes(plan.factors), element_bytes(plan.dtype)
        number = ctypes.c_double if plan.dtype == "f64" else ctypes.c_float
        one, zero = number(1.0), number(0.0)
        for skip_a, skip_b, skip_c in plan.outer:
            status = self._library.cublasLtMatmul(
                self._handle, product.operation, ctypes.byref(one),
                ctypes.c_void_p(b + skip_b * size), product.first,
                ctypes.c_void_p(a + skip_a * size), product.second, ctypes.byref(zero),
                ctypes.c_void_p(c + skip_c * made), product.result,
                ctypes.c_void_p(c + skip_c * made), product.result,
                ctypes.byref(product.algorithm), ctypes.c_void_p(workspace),
                ctypes.c_size_t(product.algorithm.workspace), ctypes.c_void_p(stream),
            )  # fmt: skip
            self._check(status, f"cublasLtMatmul of {plan}")

    def close(self) -> None:
        """Lets go of the library's memory."""
        for product in self._products.values():
            self._library.cublasLtMatmulDescDestroy(product.operation)
            for layout in (product.first, product.second, product.result):
                self._library.cublasLtMatrixLayoutDestroy(layout)
        self._products.clear()
        if self._handle:
            self._library.cublasLtDestroy(self._handle)
            self._handle = ctypes.c_void_p()

    # making

    def _made(self, plan: GemmPlan) -> Product:
        compute = _COMPUTE_F64 if plan.dtype == "f64" else _COMPUTE_F32
        if plan.factors == plan.dtype == "f32" and self._precision == "tf32":
            compute = _COMPUTE_TF32
        operation = ctypes.c_void_p()
        scale = _TYPES[plan.dtype]
        self._check(
            self._library.cublasLtMatmulDescCreate(ctypes.byref(operation), compute, scale),
            "cublasLtMatmulDescCreate",
        )
        # The second factor comes first, and columns are rows.
        self._set(operation, _TRANSPOSE_A, ctypes.c_int32(plan.transpose_b))
        self._set(operation, _TRANSPOSE_B, ctypes.c_int32(plan.transpose_a))
        self._set(operation, _EPILOGUE, ctypes.c_uint32(_EPILOGUES[plan.tail]))
        n, m, k = plan.n, plan.m, plan.k
        first = self._layout(
            plan.factors, *((k, n) if plan.transpose_b else (n, k)), plan.ldb, plan.batch, plan.step_b
        )
        second = self._layout(
            plan.factors, *((m, k) if plan.transpose_a else (k, m)), plan.lda, plan.batch, plan.step_a
        )
        result = self._layout(plan.dtype, n, m, plan.ldc, plan.batch, plan.step_c)
        return Product(operation, first, second, result, Heuristic())

    def _key(self, plan: GemmPlan) -> str:
        return digest("cublasLt", self._device, str(self.version), self._precision, repr(plan))

    def _layout(
        self, dtype: str, rows: int, columns: int, between: int, batch: int, step: int
    ) -> ctypes.c_void_p:
        layout = ctypes.c_void_p()
        self._check(
            self._library.cublasLtMatrixLayoutCreate(
                ctypes.byref(layout), _TYPES[dtype], ctypes.c_uint64(rows), ctypes.c_uint64(columns),
                ctypes.c_int64(max(between, rows)),
            ),
            "cublasLtMatrixLayoutCreate",
        )  # fmt: skip
        if batch > 1:
            for attribute, value in (
                (_BATCH_COUNT, ctypes.c_int32(batch)),
                (_BATCH_STEP, ctypes.c_int64(step)),
            ):
                self._check(
                    self._library.cublasLtMatrixLayoutSetAttribute(
                        layout, attribute, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))
                    ),
                    "cublasLtMatrixLayoutSetAttribute",
                )
        return layout

    def _proposed(self, product: Product, alignments: Sequence[int]) -> list[Heuristic]:
        """The algorithms that the library proposes for operands that are aligned so, the best first."""
        if len(alignments) > 3:  # of the bias, the pointer is what is looked at
            self._set(product.operation, _BIAS, ctypes.c_void_p(alignments[3]))
        with self._preference(alignments) as preference:
            found = (Heuristic * _CANDIDATES)()
            count = ctypes.c_int()
            status = self._library.cublasLtMatmulAlgoGetHeuristic(
                self._handle, product.operation, product.first, product.second, product.result, product.result,
                preference, _CANDIDATES, found, ctypes.byref(count),
            )  # fmt: skip
            self._check(status, "cublasLtMatmulAlgoGetHeuristic")
        good = [one for one in found[: count.value] if one.state == 0]
        if not good:
            raise RuntimeError("cuBLASLt proposes no algorithm")
        return good

    @contextlib.contextmanager
    def _preference(self, alignments: Sequence[int]) -> Iterator[ctypes.c_void_p]:
        preference = ctypes.c_void_p()
        self._check(
            self._library.cublasLtMatmulPreferenceCreate(ctypes.byref(preference)),
            "cublasLtMatmulPreferenceCreate",
        )
        try:
            # The second factor comes first here too.
            a, b, c = map(ctypes.c_uint32, alignments[:3])
            wishes = (
                (_MOST_WORKSPACE, ctypes.c_uint64(WORKSPACE)),
                (_ALIGNED_A, b),
                (_ALIGNED_B, a),
                (_ALIGNED_C, c),
                (_ALIGNED_D, c),
            )
            for attribute, value in wishes:
                self._check(
                    self._library.cublasLtMatmulPreferenceSetAttribute(
                        preference, attribute, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))
                    ),
                    "cublasLtMatmulPreferenceSetAttribute",
                )
            yield preference
        finally:
            self._library.cublasLtMatmulPreferenceDestroy(preference)

    def _set(self, operation: ctypes.c_void_p, attribute: int, value: Any) -> None:
        self._check(
            self._library.cublasLtMatmulDescSetAttribute(
                operation, attribute, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))
            ),
            "cublasLtMatmulDescSetAttribute",
        )

    @staticmethod
    def _check(status: int, what: str) -> None:
        if status:
            raise RuntimeError(f"{what} returned {status}")
