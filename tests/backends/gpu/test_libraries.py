"""Names and numbers of NVIDIA's libraries and of CuPy, held against their packages where these are installed.

No driver is needed: headers are read, descriptors are made, and CuPy is only looked at.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from graphflow.backends.gpu import blas, dnn


def _header(name: str) -> str:
    found = importlib.util.find_spec("nvidia")
    for folder in () if found is None else found.submodule_search_locations or ():
        for path in sorted(Path(folder).glob(f"*/include/{name}")):
            return path.read_text()
    pytest.skip(f"{name} is not installed: it comes with nvidia-cublas and nvidia-cuda-runtime")


def _number(text: str, name: str) -> int:
    found = re.search(rf"\b{name}\s*=\s*([^,/]+)", text)
    assert found is not None, name
    # An enumerator may be made of others.
    return eval(re.sub(r"\b[A-Z_]\w+", lambda other: str(_number(text, other[0])), found[1]), {})


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        (
            "library_types.h",
            {
                "CUDA_R_32F": blas._TYPES["f32"],
                "CUDA_R_64F": blas._TYPES["f64"],
                "CUDA_R_16F": blas._TYPES["f16"],
                "CUDA_R_16BF": blas._TYPES["bf16"],
            },
        ),
        (
            "cublas_api.h",
            {
                "CUBLAS_OP_N": 0,
                "CUBLAS_OP_T": 1,
                "CUBLAS_COMPUTE_32F": blas._COMPUTE_F32,
                "CUBLAS_COMPUTE_64F": blas._COMPUTE_F64,
                "CUBLAS_COMPUTE_32F_FAST_TF32": blas._COMPUTE_TF32,
            },
        ),
        (
            "cublasLt.h",
            {
                "CUBLASLT_EPILOGUE_DEFAULT": blas._EPILOGUES[""],
                "CUBLASLT_EPILOGUE_RELU": blas._EPILOGUES["relu"],
                "CUBLASLT_EPILOGUE_BIAS": blas._EPILOGUES["bias"],
                "CUBLASLT_EPILOGUE_RELU_BIAS": blas._EPILOGUES["relu_bias"],
                "CUBLASLT_MATMUL_DESC_TRANSA": blas._TRANSPOSE_A,
                "CUBLASLT_MATMUL_DESC_TRANSB": blas._TRANSPOSE_B,
                "CUBLASLT_MATMUL_DESC_EPILOGUE": blas._EPILOGUE,
                "CUBLASLT_MATMUL_DESC_BIAS_POINTER": blas._BIAS,
                "CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT": blas._BATCH_COUNT,
                "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET": blas._BATCH_STEP,
                "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": blas._MOST_WORKSPACE,
                "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": blas._ALIGNED_A,
                "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": blas._ALIGNED_B,
                "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": blas._ALIGNED_C,
                "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": blas._ALIGNED_D,
            },
        ),
    ],
)
def test_numbers_are_the_headers(header: str, numbers: dict[str, int]) -> None:
    text = _header(header)
    assert {name: _number(text, name) for name in numbers} == numbers


def test_descriptors_hold_what_they_are_given() -> None:
    # Without a device the library makes descriptors, but no handle.
    try:
        library = blas.load_library()
    except OSError as error:
        pytest.skip(f"nvidia-cublas is not installed: {error}")
    operation = ctypes.c_void_p()
    assert library.cublasLtMatmulDescCreate(ctypes.byref(operation), blas._COMPUTE_TF32, 0) == 0
    layout, preference = ctypes.c_void_p(), ctypes.c_void_p()
    assert library.cublasLtMatrixLayoutCreate(
        ctypes.byref(layout), blas._TYPES["f32"], ctypes.c_uint64(3), ctypes.c_uint64(4), ctypes.c_int64(8)
    ) == 0  # fmt: skip
    assert library.cublasLtMatmulPreferenceCreate(ctypes.byref(preference)) == 0
    given: list[tuple[str, Any, int, Any]] = [
        ("MatmulDesc", operation, blas._TRANSPOSE_A, ctypes.c_int32(1)),
        ("MatmulDesc", operation, blas._TRANSPOSE_B, ctypes.c_int32(1)),
        ("MatmulDesc", operation, blas._EPILOGUE, ctypes.c_uint32(blas._EPILOGUES["relu_bias"])),
        ("MatmulDesc", operation, blas._BIAS, ctypes.c_void_p(4096)),
        ("MatrixLayout", layout, blas._BATCH_COUNT, ctypes.c_int32(5)),
        ("MatrixLayout", layout, blas._BATCH_STEP, ctypes.c_int64(1 << 33)),
        ("MatmulPreference", preference, blas._MOST_WORKSPACE, ctypes.c_uint64(blas.WORKSPACE)),
        ("MatmulPreference", preference, blas._ALIGNED_D, ctypes.c_uint32(16)),
    ]
    for what, owner, attribute, value in given:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        put = getattr(library, f"cublasLt{what}SetAttribute")
        assert put(owner, attribute, ctypes.byref(value), size) == 0
        back, written = type(value)(), ctypes.c_size_t()
        take = getattr(library, f"cublasLt{what}GetAttribute")
        assert take(owner, attribute, ctypes.byref(back), size, ctypes.byref(written)) == 0
        assert (back.value, written.value) == (value.value, size.value)
        # One byte less is refused: the size is looked at.
        assert put(owner, attribute, ctypes.byref(value), ctypes.c_size_t(size.value - 1)) != 0


def test_a_proposed_algorithm_is_as_large_as_the_headers() -> None:
    text = _header("cublasLt.h")
    found = re.search(r"typedef struct \{\s*uint64_t data\[(\d+)\];\s*\} cublasLtMatmulAlgo_t", text)
    assert found is not None
    algorithm = 8 * int(found[1])
    rest = re.search(r"cublasLtMatmulAlgo_t algo;.*?\} cublasLtMatmulHeuristicResult_t", text, re.S)
    assert rest is not None
    kinds = re.findall(r"^\s*(size_t|cublasStatus_t|float|int) \w+(?:\[(\d+)\])?;", rest[0], re.M)
    sizes = {"size_t": 8, "cublasStatus_t": 4, "float": 4, "int": 4}
    assert [kind for kind, _ in kinds] == ["size_t", "cublasStatus_t", "float", "int"]
    assert ctypes.sizeof(blas.Heuristic) == algorithm + sum(
        sizes[kind] * int(count or 1) for kind, count in kinds
    )


def test_names_are_cudnns() -> None:
    cudnn: Any = pytest.importorskip("cudnn")
    used = {
        cudnn: "backend_version create_handle set_stream destroy_handle create_device_properties pygraph"
        " cudnnGraphNotSupportedError",
        cudnn.data_type: "FLOAT BFLOAT16 HALF",
        cudnn.heur_mode: "A FALLBACK",
        cudnn.numerical_note: " ".join(("NONDETERMINISTIC", *dnn._INEXACT)),
        cudnn.pygraph: "tensor conv_fprop conv_dgrad conv_wgrad bias relu sdpa validate build_operation_graph"
        " create_execution_plans deselect_numeric_notes deselect_workspace_greater_than check_support build_plans"
        " get_workspace_size execute",
    }
    missing = [
        f"{owner}.{name}"
        for owner, names in used.items()
        for name in names.split()
        if not hasattr(owner, name)
    ]
    assert not missing


def test_names_are_cupys() -> None:
    cupy: Any = pytest.importorskip("cupy")
    cuda = cupy.cuda
    runtime = cuda.runtime
    assert (
        runtime.memcpyHostToDevice,
        runtime.memcpyDeviceToHost,
        runtime.memcpyDeviceToDevice,
    ) == (1, 2, 3)
    used = {
        runtime: "memcpyAsync memsetAsync eventRecord driverGetVersion getDeviceProperties deviceGetAttribute"
        " cudaDevAttrClockRate cudaDevAttrMemoryClockRate cudaDevAttrGlobalMemoryBusWidth",
        cuda: "Device Stream MemoryPool Event alloc_pinned_memory get_elapsed_time",
        cuda.Stream: "begin_capture end_capture wait_event synchronize",
        cuda.Graph: "launch upload",
        cuda.MemoryPool: "malloc free_all_blocks",
        cuda.function.Module: "load get_function",
        cuda.Event: "record synchronize",
        cuda.memory: "OutOfMemoryError",
    }
    missing = [
        f"{owner}.{name}"
        for owner, names in used.items()
        for name in names.split()
        if not hasattr(owner, name)
    ]
    assert not missing
    assert "int attrib, int device" in runtime.deviceGetAttribute.__doc__
    assert "start_event, end_event" in cuda.get_elapsed_time.__doc__
    assert "disable_timing=False" in cuda.Event.__init__.__doc__
    assert "size_t size, int kind, intptr_t stream" in runtime.memcpyAsync.__doc__
    assert "intptr_t ptr, int value, size_t size, intptr_t stream" in runtime.memsetAsync.__doc__
