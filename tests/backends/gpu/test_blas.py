"""How products are told to cuBLASLt: a stand-in for the library does, in NumPy, what its descriptors say."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from graphflow.backends.cache import ObjectCache
from graphflow.backends.gpu.blas import BlasLt, Heuristic
from graphflow.backends.gpu.products import GemmPlan, Tail, aligned_as, gemm_plan
from graphflow.loops.library import Gemm

F32 = np.dtype(np.float32)


def _number(pointer: Any, kind: Any) -> int:
    return int(ctypes.cast(pointer, ctypes.POINTER(kind)).contents.value)


class Lt:
    """The functions that are used of the library, over descriptors in dicts; matrices are column-major."""

    def __init__(self) -> None:
        self.made: dict[int, dict[Any, Any]] = {}
        self.asked = 0
        self.aligned: tuple[int, ...] = ()
        self.cublasLtGetVersion = _Version()
        for what in ("MatmulDesc", "MatrixLayout", "MatmulPreference"):
            setattr(self, f"cublasLt{what}Destroy", self.cublasLtDestroy)
            setattr(self, f"cublasLt{what}SetAttribute", self.set_attribute)

    def _new(self, pointer: Any, fields: dict[Any, Any]) -> int:
        number = len(self.made) + 1
        self.made[number] = fields
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_void_p))[0] = number
        return 0

    def cublasLtCreate(self, handle: Any) -> int:
        return self._new(handle, {})

    def cublasLtDestroy(self, handle: Any) -> int:
        del self.made[handle.value]
        return 0

    def cublasLtMatmulDescCreate(self, desc: Any, compute: int, scale: int) -> int:
        return self._new(desc, {"compute": compute, "scale": scale})

    def set_attribute(self, desc: Any, attribute: int, value: Any, size: Any) -> int:
        kind = {4: ctypes.c_int32, 8: ctypes.c_uint64}[size.value]
        self.made[desc.value][attribute] = _number(value, kind)
        return 0

    def cublasLtMatrixLayoutCreate(
        self, layout: Any, kind: int, rows: Any, columns: Any, between: Any
    ) -> int:
        fields = {"type": kind, "rows": rows.value, "columns": columns.value, "between": between.value}
        return self._new(layout, fields)

    def cublasLtMatmulPreferenceCreate(self, preference: Any) -> int:
        return self._new(preference, {})

    def cublasLtMatmulAlgoGetHeuristic(self, *args: Any) -> int:
        self.asked += 1
        preference, most, found, count = args[6:]
        wishes = self.made[preference.value]
        assert wishes[1] == 32 << 20
        self.aligned = tuple(wishes[number] for number in (5, 6, 7, 8))
        for number in range(3):
            found[number].algorithm[0] = 70 + number
            found[number].workspace = 1000 * number
            found[number].state = 7 if number == 0 else 0
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = 3
        return 0

    def _matrix(self, pointer: Any, layout: Any, number: int) -> np.ndarray:
        fields = self.made[layout.value]
        assert fields["between"] >= fields["rows"]
        start = pointer.value + 4 * number * fields.get(6, 0)
        span = (fields["columns"] - 1) * fields["between"] + fields["rows"]
        memory = np.ctypeslib.as_array((ctypes.c_float * span).from_address(start))
        return np.lib.stride_tricks.as_strided(
            memory, (fields["rows"], fields["columns"]), (4, 4 * fields["between"])
        )

    def cublasLtMatmul(
        self, handle: Any, desc: Any, one: Any, a: Any, a_: Any, b: Any, b_: Any, *rest: Any
    ) -> int:
        zero, c, _, d, d_, algorithm, workspace, size, stream = rest
        assert c.value == d.value and _number(zero, ctypes.c_int32) == 0
        chosen = ctypes.cast(algorithm, ctypes.POINTER(Heuristic)).contents
        assert chosen.algorithm[0] in (71, 72) and size.value == chosen.workspace
        operation = self.made[desc.value]
        for number in range(self.made[d_.value].get(5, 1)):
            first, second = self._matrix(a, a_, number), self._matrix(b, b_, number)
            product = (first.T if operation[3] else first) @ (second.T if operation[4] else second)
            result = self._matrix(d, d_, number)
            if operation[7] & 4:
                rows = result.shape[0]
                bias = np.ctypeslib.as_array((ctypes.c_float * rows).from_address(operation[8]))
                product = product + bias[:, None]
            result[...] = np.maximum(product, 0) if operation[7] & 2 else product
        return 0


class _Version:
    restype: Any = None

    def __call__(self) -> int:
        return 130000


def _run(plan: GemmPlan, a: np.ndarray, b: np.ndarray, c: np.ndarray, bias: np.ndarray | None = None) -> Lt:
    library = Lt()
    blas = BlasLt(library, "nothing", "tf32", ObjectCache(None))
    assert blas.prepare(plan) == 1000
    arrays = [a, b, c] if bias is None else [a, b, c, bias]
    blas.run(plan, [array.__array_interface__["data"][0] for array in arrays], 0, 0)
    (compute,) = {fields["compute"] for fields in library.made.values() if "compute" in fields}
    assert compute == 77
    blas.close()
    assert not library.made
    return library


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("tail", ["", "bias", "relu", "relu_bias"])
def test_products(transpose_a: bool, transpose_b: bool, tail: Tail, random: np.random.Generator) -> None:
    m, n, k = 3, 5, 4
    call = Gemm(dtype="f32", m=None, n=n, k=k, transpose_a=transpose_a, transpose_b=transpose_b)
    plan = gemm_plan(call, {"m": m}, tail)
    a = random.standard_normal((k, m) if transpose_a else (m, k), F32)
    b = random.standard_normal((n, k) if transpose_b else (k, n), F32)
    bias = random.standard_normal(n, F32) if "bias" in tail else None
    c = np.full((m, n), np.nan, F32)
    _run(plan, a, b, c, bias)
    wanted = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
    wanted = wanted if bias is None else wanted + bias
    np.testing.assert_allclose(c, np.maximum(wanted, 0) if "relu" in tail else wanted, rtol=1e-5)


def test_batches_that_lie_anyhow(random: np.random.Generator) -> None:
    # Heads beside each other in rows: [batch, rows, heads, width], as attention has them; all of a batch share b.
    call = Gemm(
        dtype="f32", m=3, n=6, k=4, batch=(2, 5), stride_a=20, steps_a=(60, 4), stride_c=30, steps_c=(90, 6),
        batch_b=(False, True), stride_b="dense", steps_b=(0, 24),
    )  # fmt: skip
    plan = gemm_plan(call, {}, "")
    assert (plan.batch, len(plan.outer)) == (5, 2)
    a, b = random.standard_normal((2, 3, 5, 4), F32), random.standard_normal((5, 4, 6), F32)
    c = np.full((2, 3, 5, 6), np.nan, F32)
    _run(plan, a, b, c)
    np.testing.assert_allclose(c, np.einsum("brhk,hkn->brhn", a, b), rtol=1e-4, atol=1e-6)
    # Where the second half of the operands begins, counts too.
    assert aligned_as(plan, [256, 256, 64]).alignments == (16, 256, 8)
    dense = gemm_plan(Gemm(dtype="f32", m=3, n=6, k=4, batch=(2, 5)), {}, "")
    assert (dense.batch, dense.step_a, dense.step_b, dense.step_c, dense.outer) == (
        10,
        12,
        24,
        18,
        ((0, 0, 0),),
    )


def test_the_fastest_algorithm_is_kept(tmp_path: Any) -> None:
    plan = gemm_plan(Gemm(dtype="f32", m=2, n=2, k=2), {}, "")
    cache = ObjectCache(tmp_path)
    times = iter((2.0, 1.0))
    first = Lt()
    assert BlasLt(first, "a GPU", "tf32", cache).prepare(plan, lambda _: next(times)) == 2000
    second = Lt()
    assert BlasLt(second, "a GPU", "tf32", cache).prepare(plan) == 2000
    assert (first.asked, second.asked) == (1, 0)
    assert first.aligned == (256, 256, 256, 256)
    odd = Lt()
    BlasLt(odd, "a GPU", "tf32", cache).prepare(aligned_as(plan, [4, 16, 8]))
    assert odd.aligned == (16, 4, 8, 8)
    third = Lt()
    assert BlasLt(third, "another GPU", "tf32", cache).prepare(plan) == 1000
    assert ctypes.sizeof(Heuristic) == 96
