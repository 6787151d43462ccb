"""A device that is the processor: what the steps of a plan compute can be held against anything, without a GPU.

Addresses are those of the host's memory, kernels and library calls the processor's own code. What a GPU would refuse
while a graph is captured is refused here too, and a graph does again what was written down.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphflow.backends.base import Backend, load
from graphflow.backends.cuda.steering import ROW
from graphflow.backends.gpu.attentions import AttentionPlan, usual
from graphflow.backends.gpu.convolutions import ConvPlan, names_of
from graphflow.backends.gpu.device import NodeKind, Properties, Slab, Table, Uncapturable
from graphflow.backends.gpu.products import GemmPlan, Tail, reach
from graphflow.loops.ir import Const, Expr, Op, Var, numpy_dtype
from graphflow.loops.library import Conv2D, Epilogue, EpilogueOperand, Gemm, element_bytes
from graphflow.memory import aligned_empty
from graphflow.records import dataclass, field

__all__ = ["HostArray", "HostDevice"]

Array = np.ndarray[Any, Any]

_BYTES = 16 << 30
_REDUCTIONS: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


@dataclass(eq=False, slots=True)
class HostGraph:
    """What was captured, as calls."""

    calls: list[Callable[[], None]] = field(default_factory=list)

    @property
    def nodes(self) -> int:
        """How many things it does."""
        return len(self.calls)

    def run(self) -> None:
        """Does them."""
        for call in self.calls:
            call()


class _Done:
    """All is done at once."""

    def wait(self) -> None:
        """Returns."""


_DONE = _Done()


@dataclass(frozen=True, eq=False, slots=True)
class HostFunction:
    """The processor's code of a kernel, and how many parameters it has."""

    call: Callable[[Any, int, int], None]
    count: int


class HostJoined:
    """Functions that are called one after the other, with the arguments that a table holds."""

    def __init__(self, functions: Sequence[HostFunction]) -> None:
        self.functions = functions
        # For each how many words follow, then these: addresses and numbers.
        self.words = sum(1 + function.count for function in functions)

    def table(self, arguments: Sequence[Sequence[int]]) -> Table:
        """See `JoinedFunction`."""
        return np.array([word for one in arguments for word in (len(one), *one)], np.int64)

    def run(self, address: int) -> None:
        """Does them all."""
        for function in self.functions:
            count = ctypes.c_int64.from_address(address).value
            function.call(address + 8, 0, 1)
            address += 8 * (1 + count)


class HostArray:
    """An array of a device whose memory is the host's, as other libraries' arrays look."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.ndim = array.ndim

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = dict(self._array.__array_interface__)
        interface["version"] = 3
        return interface

    def get(self) -> Array:
        """A copy on the host."""
        return self._array.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.get() if dtype is None else self.get().astype(dtype)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> HostArray:
        return HostArray(np.asarray(self._array[index]))


class HostDevice:
    """The steps of GPU plans on the processor; see `device.Device`."""

    computes = True

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.properties = Properties(f"the host as GPU {index}", _BYTES)
        self._cpu: Backend = load("cpu", 1)
        self._slabs: dict[int, Array] = {}
        self._graph: HostGraph | None = None
        self._around: list[HostGraph | None] = []
        self._conditions: list[int] = []
        self._calls: dict[Any, Any] = {}

    # memory

    def alloc(self, nbytes: int) -> Slab:
        """See `Device`."""
        self._refuse("memory is taken")
        memory = aligned_empty(nbytes + 256)
        memory[:] = 0xA5  # what is read before it is written shall be seen
        address = memory.__array_interface__["data"][0]
        start = -address % 256
        self._slabs[address + start] = memory
        return Slab(address + start, nbytes, memory)

    def free(self, slab: Slab) -> None:
        """See `Device`."""
        self._refuse("memory is given back")
        del self._slabs[slab.address]

    def pinned(self, nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """See `Device`."""
        return aligned_empty(nbytes)

    def h2d(self, target: int, source: Array, nbytes: int) -> None:
        """See `Device`."""
        self._refuse("memory of the host is read")
        ctypes.memmove(target, source.__array_interface__["data"][0], nbytes)

    def d2h(self, target: Array, source: int, nbytes: int) -> None:
        """See `Device`."""
        self._refuse("memory of the host is written")
        ctypes.memmove(target.__array_interface__["data"][0], source, nbytes)

    def d2d(self, target: int, source: int, nbytes: int) -> None:
        """See `Device`."""
        self._do(lambda: _moved(target, source, nbytes))

    def memset(self, target: int, value: int, nbytes: int) -> None:
        """See `Device`."""
        self._do(lambda: _set(target, value, nbytes))

    # work

    def functions(
        self, kernels: Sequence[Any], wide: Sequence[bool], indirect: Sequence[Collection[str]] = ()
    ) -> list[Any]:
        """See `Device`."""
        self._refuse("code is loaded")
        made = list(zip(kernels, self._cpu.addresses(kernels), strict=True))
        found = [HostFunction(_FUNCTION(address), len(kernel.params)) for kernel, address in made]
        for number, names in enumerate(indirect):
            if names:
                places = [at for at, param in enumerate(kernels[number].params) if param.name in names]
                found[number] = HostFunction(_looking_up(found[number].call, places), found[number].count)
        return found

    def join(self, functions: Sequence[HostFunction]) -> HostJoined:
        """See `Device`."""
        return HostJoined(functions)

    def load(self, functions: Sequence[Any]) -> None:
        """See `Device`."""
        self._refuse("code is loaded")

    def launch_joined(self, function: HostJoined, table: Table, address: int) -> None:
        """See `Device`."""
        self._do(lambda: function.run(address))

    def launch(self, function: HostFunction, args: Sequence[int]) -> None:
        """See `Device`."""
        table = (ctypes.c_int64 * max(1, len(args)))(*args)
        self._do(lambda: function.call(table, 0, 1))

    def steering(self) -> Mapping[str, Any]:
        """See `Device`: the same as the kernels do, step by step."""

        def as_function(steer: Callable[..., None]) -> HostFunction:
            return HostFunction(lambda table, part, parts: steer(*table), 0)

        return {
            "begin": as_function(self._begin),
            "next": as_function(self._next),
            "last": as_function(_site),
            "leave": as_function(self._leave),
            "select": as_function(self._select),
            "judge": as_function(self._judge),
            "copy": as_function(_copy),
            "fill": as_function(lambda target, value, nbytes: _set(_word(target), value, nbytes)),
        }

    def _begin(
        self, table: int, rows: int, site: int, loop: int, limit_at: int, limit: int, handle: int
    ) -> None:
        most = _word(limit_at) if limit_at else limit
        _put(table + 16 * loop, 0)
        _put(table + 16 * loop + 8, max(0, most))
        self._conditions[handle] = most > 0 or (not limit_at and limit < 0)
        _site(table, rows, site)

    def _next(self, table: int, rows: int, site: int, loop: int, bounded: int, handle: int) -> None:
        turn = _word(table + 16 * loop) + 1
        _put(table + 16 * loop, turn)
        self._conditions[handle] = not bounded or turn < _word(table + 16 * loop + 8)
        _site(table, rows, site)

    def _leave(self, word: int, outer: int, inner: int) -> None:
        holds = ctypes.c_uint8.from_address(word).value != 0
        self._conditions[inner] = holds
        if not holds:
            self._conditions[outer] = 0

    def _select(self, cases: int, count: int, handle: int) -> None:
        self._conditions[handle] = count
        for number in range(count):
            at, exact, wanted = (_word(cases + 24 * number + 8 * k) for k in range(3))
            kind = ctypes.c_int32 if exact else ctypes.c_uint8
            value = kind.from_address(at).value
            if value == wanted if exact else value != 0:
                self._conditions[handle] = number
                return

    def _judge(self, words: int, count: int, inner: int, inside: int, outer: int) -> None:
        fine = not any(_word(words + 8 * number) for number in range(count))
        self._conditions[inner] = fine
        if not fine and inside:
            self._conditions[outer] = 0

    def workspace(self, plan: GemmPlan) -> int:
        """See `Device`."""
        self._prepare(_gemm_of(replace(plan, factors="f32") if plan.factors == "f16" else plan))
        return 0

    def gemm(self, plan: GemmPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`."""
        a, b, c, *bias = pointers
        if plan.factors == "f16":
            # The processor's products have no such factors.
            wide = [self._widened(at, reach(plan, which)) for at, which in ((a, "a"), (b, "b"))]
            a, b = map(_pointer, wide)
            plan = replace(plan, factors="f32")
        size, size_c = element_bytes(plan.factors), element_bytes(plan.dtype)
        call = _gemm_of(plan)
        for skip_a, skip_b, skip_c in plan.outer:
            buffers = {"a": a + skip_a * size, "b": b + skip_b * size, "c": c + skip_c * size_c}
            if bias:
                buffers["bias"] = bias[0]
            self._library(call, {}, buffers)

    def _widened(self, address: int, count: int) -> Array:
        """What holds float16 numbers as float32 ones when the next thing is done."""
        wide = np.empty(count, np.float32)
        self._do(lambda: np.copyto(wide, _halves_at(address, count)))
        return wide

    def convolution(self, plan: ConvPlan) -> int | None:
        """See `Device`."""
        self._prepare(_conv_of(replace(plan, dtype="f32") if plan.dtype == "f16" else plan))
        return 0

    def conv(self, plan: ConvPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`. The processor's filters lie as in TensorFlow."""
        first, second, made, *bias = pointers
        if plan.dtype == "f16":
            # The processor's convolutions have no such factors.
            counts = _counts(plan)
            wide = [self._widened(at, count) for at, count in zip((first, second), counts, strict=False)]
            found = np.empty(counts[2], np.float32)
            self.conv(replace(plan, dtype="f32"), [*map(_pointer, (*wide, found))], workspace)
            self._do(lambda: np.copyto(_halves_at(made, counts[2]), found, casting="same_kind"))
            return
        taps, outs = plan.kernel[0] * plan.kernel[1] * plan.in_channels, plan.out_channels
        dtype: Any = np.float32 if plan.dtype == "f32" else np.uint16
        filters = np.empty((taps, outs), dtype)
        theirs = made if plan.direction == "filter" else second
        held = ctypes.c_float if plan.dtype == "f32" else ctypes.c_uint16
        turned = np.ctypeslib.as_array((held * (taps * outs)).from_address(theirs))
        turned = turned.reshape(outs, taps).T
        here = filters.__array_interface__["data"][0]
        call = _conv_of(plan)
        names = names_of(call)
        if plan.direction == "filter":
            self._library(call, {}, dict(zip(names, (first, second, here), strict=True)))
            self._do(lambda: np.copyto(turned, filters))
            return
        self._do(lambda: np.copyto(filters, turned))
        self._library(
            call,
            {},
            {**dict(zip(names, (first, here, made), strict=True)), **({"bias": bias[0]} if bias else {})},
        )

    def attention(self, plan: AttentionPlan) -> int | None:
        """See `Device`."""
        return 0 if usual(plan) else None

    def attend(self, plan: AttentionPlan, pointers: Sequence[int], workspace: int) -> None:
        """See `Device`. Shares are rounded as a GPU does it: before they are divided by their sum."""
        q, k, v, c, *added = pointers
        held = numpy_dtype(plan.dtype)

        def run() -> None:
            extents, wide = (plan.batch, plan.heads), np.float32
            queries = _matrices(q, held, (*extents, plan.queries, plan.depth), plan.strides_q).astype(wide)
            keys = _matrices(k, held, (*extents, plan.keys, plan.depth), plan.strides_k).astype(wide)
            values = _matrices(v, held, (*extents, plan.keys, plan.width), plan.strides_v).astype(wide)
            scores = np.float32(plan.scale) * (queries @ np.swapaxes(keys, 2, 3))
            if plan.added is not None:
                shape = (*plan.added, plan.queries, plan.keys)
                row = plan.queries * plan.keys
                scores += _matrices(added[0], held, shape, (plan.added[1] * row, row, plan.keys)).astype(wide)
            grown = np.exp(scores - scores.max(3, keepdims=True))
            mixed = grown.astype(held).astype(wide) @ values / grown.sum(3, keepdims=True)
            _matrices(c, held, (*extents, plan.queries, plan.width), plan.strides_c)[:] = mixed.astype(held)

        self._do(run)

    def _prepare(self, call: Any) -> Any:
        """The processor's code of a library call."""
        found = self._calls.get(call)
        if found is None:
            self._refuse("code is loaded")
            code = self._cpu.library(call)
            addresses = self._cpu.addresses(code.sequence)
            found = self._calls[call] = code, [_FUNCTION(address) for address in addresses]
        return found

    def _library(self, call: Any, sizes: Mapping[str, int], buffers: Mapping[str, int]) -> None:
        code, functions = self._prepare(call)
        named = {**sizes, "parts": 1}
        scratch = {
            space.name: aligned_empty(max(64, space.bytes.evaluate(named)))
            for space in (*code.workspaces, *code.packs)
        }
        where = {name: array.__array_interface__["data"][0] for name, array in scratch.items()} | dict(
            buffers
        )
        tables = []
        for launch in code.sequence:
            words = [
                where[name] if (name := getattr(one, "name", None)) is not None else one.size.evaluate(named)
                for one in launch.arguments
            ]
            tables.append((ctypes.c_int64 * max(1, len(words)))(*words))

        def run(kept: Any = scratch) -> None:
            for function, table in zip(functions, tables, strict=True):
                function(table, 0, 1)

        self._do(run)

    # order

    def event(self) -> _Done:
        """See `Device`."""
        self._refuse("an event is waited for")
        return _DONE

    def timer(self) -> float:
        """See `Device`."""
        self._refuse("a time is taken")
        return time.perf_counter()

    def microseconds(self, first: float, last: float) -> float:
        """See `Device`."""
        return 1e6 * (last - first)

    def wait_for(self, stream: int | None) -> None:
        """See `Device`: all is done at once."""

    def connect(self, others: Sequence[HostDevice]) -> None:
        """See `Device`: their memory is one."""

    def mark(self) -> int:
        """See `Device`: all is done in order."""
        return self.index

    def after(self, point: int) -> None:
        """See `Device`."""

    def all_reduce(
        self, others: Sequence[HostDevice], reduction: str, dtype: str, count: int,
        sources: Sequence[int], targets: Sequence[int],
    ) -> None:  # fmt: skip
        """See `Device`: in the order of the devices."""
        size = element_bytes(dtype) * count

        def array(address: int) -> Array:
            raw: Array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
            return raw.view(numpy_dtype(dtype))

        def run() -> None:
            reduced = functools.reduce(_REDUCTIONS[reduction], [array(source) for source in sources])
            for target in targets:
                array(target)[:] = reduced

        self._do(run)

    def begin_capture(self, others: Sequence[HostDevice] = ()) -> None:
        """See `Device`."""
        self._graph = HostGraph()
        for other in others:
            other._graph = self._graph

    conditional = True

    def condition(self) -> int:
        """See `Device`."""
        self._conditions.append(0)
        return len(self._conditions) - 1

    def branch(self, kind: NodeKind, condition: int, count: int = 1) -> list[HostGraph]:
        """See `Device`."""
        bodies = [HostGraph() for _ in range(count)]
        conditions = self._conditions

        def run() -> None:
            if kind == "switch":
                if 0 <= conditions[condition] < count:
                    bodies[conditions[condition]].run()
                return
            while conditions[condition]:
                bodies[0].run()
                if kind == "if":
                    return

        self._do(run)
        return bodies

    def begin_body(self, body: HostGraph) -> None:
        """See `Device`."""
        assert self._graph is not None
        self._around.append(self._graph)
        self._graph = body

    def end_body(self) -> None:
        """See `Device`."""
        self._graph = self._around.pop()

    def end_capture(self, others: Sequence[HostDevice] = ()) -> HostGraph:
        """See `Device`."""
        for other in others:
            other._graph = None
        graph, self._graph = (self._around or [self._graph])[0], None
        self._around.clear()
        assert graph is not None
        return graph

    def replay(self, graph: Any) -> None:
        """See `Device`."""
        graph.run()

    def synchronize(self) -> None:
        """See `Device`."""
        self._refuse("the stream is waited for")

    def array(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
        """See `Device`."""
        made = aligned_empty(shape, dtype)
        _moved(made.__array_interface__["data"][0], address, made.nbytes)
        return HostArray(made)

    def close(self) -> None:
        """See `Device`."""
        self._slabs.clear()

    def _do(self, call: Callable[[], None]) -> None:
        if self._graph is None:
            call()
        else:
            self._graph.calls.append(call)

    def _refuse(self, what: str) -> None:
        if self._graph is not None:
            raise Uncapturable(f"{what} while a graph is captured")


_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def _pointer(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _halves_at(address: int, count: int) -> Array:
    """Memory as float16 numbers."""
    return np.ctypeslib.as_array((ctypes.c_uint16 * count).from_address(address)).view(np.float16)


def _matrices(address: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Matrices in memory; strides: elements along all axes but the last."""
    count = 1 + sum((extent - 1) * stride for extent, stride in zip(shape, (*strides, 1), strict=True))
    raw = np.ctypeslib.as_array((ctypes.c_uint16 * count).from_address(address)).view(dtype)
    return np.lib.stride_tricks.as_strided(raw, shape, [2 * stride for stride in (*strides, 1)])


def _counts(plan: ConvPlan) -> tuple[int, int, int]:
    """How many elements a convolution's operands and its result have."""
    images = plan.batch * plan.height * plan.width * plan.in_channels
    outputs = plan.batch * plan.out_height * plan.out_width * plan.out_channels
    filters = plan.kernel[0] * plan.kernel[1] * plan.in_channels * plan.out_channels
    if plan.direction == "forward":
        return images, filters, outputs
    return (outputs, filters, images) if plan.direction == "input" else (images, outputs, filters)


def _moved(target: int, source: int, nbytes: int) -> None:
    ctypes.memmove(target, source, nbytes)


def _set(target: int, value: int, nbytes: int) -> None:
    ctypes.memset(target, value, nbytes)


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _put(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = value


def _copy(target: int, source: int, nbytes: int, words: int) -> None:
    _moved(_word(target) if words & 1 else target, _word(source) if words & 2 else source, nbytes)


def _site(table: int, rows: int, site: int) -> None:
    for number in range(_word(rows)):
        row = [_word(rows + 8 + 8 * (number * ROW + k)) for k in range(ROW)]
        if row[0] != site:
            continue
        value = row[2]
        for term in range(row[3]):
            loop, step, swing, ends = row[4 + 4 * term : 8 + 4 * term]
            turn, most = _word(table + 16 * loop), _word(table + 16 * loop + 8)
            value += turn * step + turn % 2 * swing + most * ends
        _put(table + 8 * row[1], value)


def _looking_up(function: Any, places: Sequence[int]) -> Callable[..., None]:
    """A function some of whose arguments are addresses of words that hold the arguments."""

    def call(table: Any, part: int, parts: int) -> None:
        found = type(table)(*table)
        for place in places:
            found[place] = _word(table[place])
        function(found, part, parts)

    return call


_gemms: dict[GemmPlan, Gemm] = {}


def _gemm_of(plan: GemmPlan) -> Gemm:
    """The library call that does what a product's plan says, but for its outer copies."""
    found = _gemms.get(plan)
    if found is not None:
        return found
    batched = plan.batch > 1
    found = _gemms[plan] = Gemm(
        dtype=plan.dtype,
        m=plan.m,
        n=plan.n,
        k=plan.k,
        transpose_a=plan.transpose_a,
        transpose_b=plan.transpose_b,
        batch=(plan.batch,) if batched else (),
        stride_a=plan.lda,
        stride_b=plan.ldb,
        stride_c=plan.ldc,
        steps_a=(plan.step_a,) if batched else None,
        steps_b=(plan.step_b,) if batched else None,
        steps_c=(plan.step_c,) if batched else None,
        operand_dtype=plan.factors if plan.factors != plan.dtype else None,
        epilogue=_epilogue_of(plan.tail, "c", plan.dtype),
    )
    return found


_convs: dict[ConvPlan, Conv2D] = {}


def _conv_of(plan: ConvPlan) -> Conv2D:
    """The library call that does what a convolution's plan says, with filters as in TensorFlow."""
    found = _convs.get(plan)
    if found is None:
        found = _convs[plan] = Conv2D(
            direction=plan.direction,
            dtype="f32",
            batch=plan.batch,
            height=plan.height,
            width=plan.width,
            in_channels=plan.in_channels,
            out_channels=plan.out_channels,
            kernel=plan.kernel,
            strides=plan.strides,
            dilations=plan.dilations,
            padding=plan.padding,
            winograd=0,
            epilogue=_epilogue_of(plan.tail, "y", "f32"),
        )
        if plan.dtype != "f32":
            rounded = Op("cast", (Var("acc", "f32"),), plan.dtype)
            found = replace(
                found, operand_dtype=plan.dtype, epilogue=Epilogue(((names_of(found)[2], rounded),))
            )
            _convs[plan] = found
    return found


def _epilogue_of(tail: Tail, made: str, dtype: str) -> Epilogue | None:
    """The epilogue that does what a tail says."""
    if not tail:
        return None
    value: Expr = Var("acc", dtype)
    operands: tuple[EpilogueOperand, ...] = ()
    if "bias" in tail:
        value = Op("add", (value, Var("bias", dtype)), dtype)
        operands = (EpilogueOperand("bias", dtype, "column"),)
    if "relu" in tail:
        value = Op("max", (value, Const(0.0, dtype)), dtype)
    return Epilogue(((made, value),), operands)
