"""What generated CUDA C computes, run on the processor by an emulator of blocks and threads.

Nothing here is a run on a GPU: it shows that the source means what the loops mean, at odd sizes, with NaN, with nothing
to do, with 32-bit and 64-bit indices, whichever thread comes first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import tests.test_ops_matrix as matrix
from graphflow.backends.cuda.contraction import BufferArgument, library
from graphflow.backends.cuda.printer import print_kernel
from graphflow.loops.build import Builder
from graphflow.loops.interpret import interpret
from graphflow.loops.ir import Buffer, Kernel, Store, numpy_dtype, walk_statements
from graphflow.loops.library import Call, Conv2D, Epilogue, EpilogueOperand, Gemm, Pool2D
from graphflow.loops.verify import verify
from graphflow.lowering import nests
from graphflow.session import Session
from tests.backends import cuda_emulator
from tests.backends.cuda_emulator import EmulatedBackend, Emulator, as_processor
from tests.backends.cuda_kernels import KERNELS, columns
from tests.backends.library_calls import Runner

pytestmark = pytest.mark.skipif(bool(cuda_emulator.WHY_NOT), reason=cuda_emulator.WHY_NOT)

EVERYTHING = os.environ.get("GRAPHFLOW_CUDA_OPS") == "all"


# Those whose indices are computed in all the ways that there are; the others take 32 bits.
WIDE = ("elements", "softmax", "transposed", "scatter")


def widths(name: str) -> tuple[bool, ...]:
    """Whether a kernel's indices have 64 bits, for each of its printings."""
    return (False, True) if EVERYTHING or name in WIDE else (False,)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    made = Emulator(tmp_path_factory.mktemp("cuda"))
    kernels = [print_kernel(make(), wide=wide) for name, make in KERNELS.items() for wide in widths(name)]
    kernels += [print_kernel(columns(), wide=wide, indirect=INDIRECT) for wide in (False, True)]
    # All at once: most of a compiler's time goes for what the units have in common.
    made.compile(
        [*kernels, *(print_kernel(step.loops) for call, _ in CALLS for step in library(call).launches)]
    )
    yield made


# name: sizes by parameter, for each run
SIZES: dict[str, list[dict[str, int]]] = {
    "elements": [{"n": n} for n in (0, 1, 3, 1029, 4100)],
    "halves": [{"n": 3, "m": m} for m in (0, 1, 7, 16)],
    "softmax": [{"n": n} for n in (0, 1, 11)],
    "long_softmax": [{"n": 5, "m": m} for m in (1, 700)],
    "columns": [{"n": n, "m": m} for n, m in ((0, 3), (5, 1), (4, 130))],
    "whole_sum": [{"n": n} for n in (0, 1, 1000)],
    "transposed": [{"n": n, "m": m} for n, m in ((0, 4), (1, 1), (33, 65), (40, 5))],
    "kept_rows": [{"n": n} for n in (1, 9)],
    "scatter": [{"n": 7, "limit": 3}],
    "numbers": [{"n": n} for n in (1, 6)],
    "running": [{"n": n, "m": 9} for n in (1, 300)],
}
ELEMENTS = {"softmax": 300, "kept_rows": 200, "scatter": 40}


def arguments_of(kernel: Kernel, sizes: dict[str, int], random: np.random.Generator) -> list[Any]:
    """Arrays with room for all sizes, NaN and infinity among their numbers."""
    room = ELEMENTS.get(kernel.name, 1)
    for size in sizes.values():
        room *= max(1, size)
    made: list[Any] = []
    for param in kernel.params:
        if not isinstance(param, Buffer):
            made.append(sizes[param.name])
            continue
        dtype = numpy_dtype(param.dtype)
        array = random.uniform(-3, 3, room).astype(dtype)
        if array.dtype.kind == "f" and room > 900:
            array[room // 2], array[room // 3] = np.nan, np.inf
        made.append(array)
    return made


@pytest.mark.parametrize("name", KERNELS)
def test_loops_and_cuda_agree(name: str, emulator: Emulator, random: np.random.Generator) -> None:
    kernel = KERNELS[name]()
    verify(kernel)
    for sizes in SIZES[name]:
        given = arguments_of(kernel, sizes, random)
        expected = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
        interpret(kernel, expected)
        results = []
        for wide, descending, grid in ((False, False, 3), (False, True, 1), (widths(name)[-1], False, 5)):
            emulator.set(descending=descending, grid=grid)
            actual = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
            cuda_emulator.launch(emulator, print_kernel(kernel, wide=wide), actual)
            results.append(actual)
            for mine, wanted in zip(actual, expected, strict=True):
                if isinstance(wanted, np.ndarray) and wanted.dtype.kind == "f":
                    tolerance = 1e-3 if wanted.dtype.itemsize == 2 else 2e-6
                    np.testing.assert_allclose(
                        mine, wanted, rtol=tolerance, atol=tolerance, err_msg=f"{sizes}"
                    )
                elif isinstance(wanted, np.ndarray):
                    np.testing.assert_array_equal(mine, wanted, err_msg=f"{sizes}")
        for other in results[1:]:  # neither the number of blocks nor the order of threads changes a bit
            for one, two in zip(results[0], other, strict=True):
                assert not isinstance(one, np.ndarray) or one.tobytes() == two.tobytes()


INDIRECT = ("x", "y", "n")


def test_arguments_may_lie_in_memory(emulator: Emulator, random: np.random.Generator) -> None:
    loops = columns()
    given = arguments_of(loops, {"n": 5, "m": 130}, random)
    expected = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
    interpret(loops, expected)
    names = [param.name for param in loops.params]
    assert set(INDIRECT) < set(names)
    for wide in (False, True):
        kernel = print_kernel(loops, wide=wide, indirect=INDIRECT)
        assert [p.name for p in kernel.params if p.indirect] == [name for name in names if name in INDIRECT]
        actual = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
        words = [np.array([a.ctypes.data if isinstance(a, np.ndarray) else a], np.int64) for a in actual]
        passed = [w if name in INDIRECT else a for name, w, a in zip(names, words, actual, strict=True)]
        cuda_emulator.launch(emulator, kernel, passed)
        for mine, wanted in zip(actual, expected, strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=2e-6)


def relu_of_sum(dtype: str, result: str) -> Epilogue:
    """`max(acc + bias, 0) + other * scale`: an operand of each kind."""
    b = Builder()
    total = b.max(b.add(b.var("acc", dtype), b.var("bias", dtype)), 0.0)
    total = b.add(total, b.mul(b.var("other", dtype), b.add(b.var("scale", dtype), b.var("line", dtype))))
    over = {"bias": "column", "other": "element", "scale": "scalar", "line": "row"}
    return Epilogue(
        ((result, total),),
        tuple(EpilogueOperand(n, dtype, kind) for n, kind in over.items()),  # type: ignore[arg-type]
    )


def scaled(dtype: str) -> Epilogue:
    """What a first factor becomes."""
    b = Builder()
    value = b.mul(b.add(b.var("acc", dtype), b.var("more", dtype)), b.var("times", dtype))
    return Epilogue(
        (("a", value),),
        (EpilogueOperand("more", dtype, "column"), EpilogueOperand("times", dtype, "element")),
    )


_CONV = dict(dtype="f32", batch=2, height=7, width=6, in_channels=3, out_channels=6, kernel=(3, 2))
_ODD = dict(strides=(2, 1), dilations=(1, 2), padding=((1, 2), (0, 1)))
_POOL = dict(
    dtype="f32",
    batch=2,
    height=7,
    width=6,
    channels=3,
    window=(3, 2),
    strides=(2, 2),
    padding=((1, 1), (0, 1)),
)
_CALLS: list[tuple[Call, dict[str, int]]] = [
    (Gemm(dtype="f32", m=None, n=7, k=9, epilogue=relu_of_sum("f32", "c")), {"m": 5}),
    (Gemm(dtype="f64", m=5, n=3, k=40, transpose_a=True, transpose_b=True), {}),
    (Gemm(dtype="f32", m=4, n=6, k=5, batch=(2, 3), batch_b=(False, True), stride_a=8, transpose_b=True), {}),
    (Gemm(dtype="f32", m=6, n=5, k=4, prologue=scaled("f32")), {}),
    (Conv2D(direction="forward", epilogue=relu_of_sum("f32", "y"), **_CONV, **_ODD), {}),  # type: ignore[arg-type]
    (Conv2D(direction="input", **_CONV, **_ODD), {}),  # type: ignore[arg-type]
    (Conv2D(direction="filter", **_CONV, **_ODD), {}),  # type: ignore[arg-type]
    (Conv2D(direction="forward", depthwise=True, **_CONV), {}),  # type: ignore[arg-type]
    (Conv2D(direction="input", depthwise=True, **_CONV, **_ODD), {}),  # type: ignore[arg-type]
    (Conv2D(direction="filter", depthwise=True, **_CONV), {}),  # type: ignore[arg-type]
    (Pool2D(kind="max", gradient=False, **_POOL), {}),  # type: ignore[arg-type]
    (Pool2D(kind="mean", gradient=False, **{**_POOL, "batch": None}), {"batch": 3}),  # type: ignore[arg-type]
    (Pool2D(kind="max", gradient=True, **_POOL), {}),  # type: ignore[arg-type]
    (Pool2D(kind="mean", gradient=True, **_POOL), {}),  # type: ignore[arg-type]
]
CALLS = _CALLS if EVERYTHING else _CALLS[::3]


def test_library_calls_as_on_the_processor(emulator: Emulator, random: np.random.Generator) -> None:
    emulator.set(descending=False)
    for call, sizes in CALLS:
        (step,) = library(call).launches
        verify(step.loops)
        written = {s.buffer for s in walk_statements(step.loops.body) if isinstance(s, Store)}
        buffers: dict[str, np.ndarray] = {}
        arguments: list[Any] = []
        for param, argument in zip(step.loops.params, step.arguments, strict=True):
            if isinstance(argument, BufferArgument):
                assert isinstance(param, Buffer)
                array = random.integers(-8, 8, 4096).astype(numpy_dtype(param.dtype)) / 4
                buffers[argument.name] = np.zeros_like(array) if param.name in written else array
                arguments.append(buffers[argument.name])
            else:
                arguments.append(argument.size.evaluate(sizes))
        expected = {name: array.copy() for name, array in buffers.items()}
        Runner(call)(expected, sizes)
        cuda_emulator.launch(emulator, print_kernel(step.loops), arguments)
        for name, array in buffers.items():
            np.testing.assert_allclose(
                array, expected[name], rtol=1e-5, atol=1e-5, err_msg=f"{name} of {call}"
            )


# Ops whose kernels are of all kinds; `GRAPHFLOW_CUDA_OPS=all` takes every op that there are samples of.
OPS = ("ConcatV2", "Cumsum", "ScatterNd", "Softmax", "TopKV2", "Transpose", "UnsortedSegmentSum")


def cases() -> list[tuple[str, matrix.Sample]]:
    chosen = []
    seen: dict[str, int] = {}
    for case in matrix.PURE:
        op_type, sample = case.values
        seen[op_type] = seen.get(op_type, 0) + 1
        if EVERYTHING or (op_type in OPS and seen[op_type] <= 1):
            chosen.append((op_type, sample))
    share, shares = (int(n) for n in os.environ.get("GRAPHFLOW_CUDA_SHARE", "0/1").split("/"))
    return [case for case in chosen if crc32(case[0].encode()) % shares == share]


def run_all(backend: EmulatedBackend, *, check: bool) -> None:
    with as_processor(backend):
        for op_type, sample in cases():
            expected = matrix.body_results(op_type, sample) if check else []
            for known in (True, False):
                built = matrix.Built(op_type, sample, known=known)
                with Session(graph=built.graph) as session:
                    actual = session.run(list(built.operation.outputs), built.feeds)
                for i, (mine, body) in enumerate(zip(actual, expected, strict=False)):
                    matrix.assert_same(mine, body, sample, f"{op_type}, known={known}, output {i}")


def test_ops_through_sessions(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nests, "_LINKED_FROM", 2)  # samples are short
    first = EmulatedBackend(emulator)
    run_all(first, check=False)
    first.compile_missing()
    for descending in (False, True):
        emulator.set(descending=descending)
        backend = EmulatedBackend(emulator)
        run_all(backend, check=True)
        assert not backend.missing and len(backend.emulated) > 5
