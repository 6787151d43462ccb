"""Library calls as launches of a device's plan: what the libraries take goes to them, what is left to kernels.

A product or a convolution whose epilogue no library knows is made plain, and the epilogue is a kernel of its own, over
the result or, where it reads operands element by element that may lie where the result does, over scratch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from graphflow.backends.gpu.products import Tail, tail_of, taken_by_library
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr, Kernel, Op, Var
from graphflow.loops.library import (
    ACCUMULATOR,
    Attention,
    AttentionGradient,
    Call,
    Conv2D,
    Epilogue,
    Gemm,
    Pool2D,
    Size,
    element_bytes,
)
from graphflow.records import dataclass

__all__ = ["CallLaunch", "LibraryCode", "code_of"]


@dataclass(frozen=True, slots=True)
class BufferArgument:
    """The address of an operand, result or workspace, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class SizeArgument:
    """A number computed from run-time sizes."""

    size: Size


@dataclass(frozen=True, slots=True)
class Workspace:
    """Scratch memory of a call."""

    name: str
    bytes: Size


@dataclass(frozen=True, eq=False, slots=True)
class CallLaunch:
    """One step of a library call.

    Attributes:
      kind: "gemm" and "conv" go to a library, "call" is a call by kernels of our own, "kernel" a kernel of loops.
      call: what is called; of a "kernel", None.
      kernel: the kernel, if it is one.
      code: the launches of a "call".
      names: the buffers, then the sizes, by name, in the order of the arguments.
      buffers: how many of the names are buffers.
      arguments: the same, as lowering wants them.
    """

    kind: str
    call: Any
    kernel: Kernel | None
    code: Any
    names: tuple[str, ...]
    buffers: int
    arguments: tuple[BufferArgument | SizeArgument, ...]
    parallel: bool = True

    @property
    def tail(self) -> Tail:
        """What a library does at the end of a product."""
        found = tail_of(self.call.epilogue)
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class LibraryCode:
    """A library call as steps of a device's plan, and the scratch that they share."""

    launches: tuple[CallLaunch, ...]
    workspaces: tuple[Workspace, ...] = ()
    packs: tuple[Any, ...] = ()


def code_of(call: Call, convolves: Callable[[Conv2D], bool], own: Callable[[Call], Any]) -> LibraryCode:
    """The steps of a library call.

    Args:
      call: the call.
      convolves: whether a library takes a convolution.
      own: the launches and workspaces of a call by kernels of our own.
    """
    epilogue = getattr(call, "epilogue", None)
    if isinstance(call, Gemm) and taken_by_library(call):
        if tail_of(epilogue) is not None and _stores_sums(call):
            return LibraryCode((_launch("gemm", call, [*_operands(call), *_results(call)]),))
        return _plain_and_epilogue("gemm", call)
    if isinstance(call, Conv2D) and call.prologue is None and call.panels_w is None and convolves(call):
        if epilogue is None:
            return LibraryCode((_launch("conv", call, [*_operands(call), *_results(call)]),))
        return _plain_and_epilogue("conv", call)
    code = own(call)
    spaces = tuple([Workspace(space.name, space.bytes) for space in code.workspaces])
    names = [*_operands(call), *_results(call), *(space.name for space in spaces)]
    return LibraryCode((_launch("call", call, names, code),), spaces)


def _launch(kind: str, call: Call, buffers: list[str], code: Any = None) -> CallLaunch:
    sizes = size_names(call)
    arguments: list[BufferArgument | SizeArgument] = [
        *map(BufferArgument, buffers),
        *(SizeArgument(Size.of(1, name)) for name in sizes),
    ]
    return CallLaunch(kind, call, None, code, (*buffers, *sizes), len(buffers), tuple(arguments))


def _stores_sums(call: Gemm) -> bool:
    return call.epilogue is None or call.epilogue.results[0][1].dtype == call.dtype


def _operands(call: Call) -> list[str]:
    """The buffers that a call reads, in order."""
    if isinstance(call, Attention | AttentionGradient):
        own = ["q", "k", "v"] + (["g"] if isinstance(call, AttentionGradient) else [])
        return own + [mask.name for mask in call.masks]
    if isinstance(call, Gemm):
        own = ["a", "b"]
    elif isinstance(call, Conv2D):
        own = {"forward": ["x", "w"], "input": ["dy", "w"], "filter": ["x", "dy"]}[call.direction]
    else:
        own = ["x", "dy"] if call.gradient and call.kind == "max" else ["dy" if call.gradient else "x"]
    prologue = getattr(call, "prologue", None)
    for more in (prologue, call.epilogue):
        own += [operand.name for operand in more.operands] if more is not None else []
    return own


def _results(call: Call) -> list[str]:
    """The buffers that a call writes, in order."""
    if isinstance(call, AttentionGradient):
        return ["dq", "dk", "dv"]
    if isinstance(call, Attention):
        return ["c"]
    if call.epilogue is not None:
        return [name for name, _ in call.epilogue.results]
    if isinstance(call, Gemm):
        return ["c"]
    if isinstance(call, Conv2D):
        return [{"forward": "y", "input": "dx", "filter": "dw"}[call.direction]]
    return ["dx" if call.gradient else "y"]


def size_names(call: Call) -> list[str]:
    """The run-time sizes of a call, in order."""
    if isinstance(call, Conv2D | Pool2D):
        found = ["batch"] if call.batch is None else []
        turned = isinstance(call, Conv2D) and call.direction == "input"
        for windows in call.axes:
            if windows.extent is None:
                found += list(windows.sizes(windows.window, 1, 0, turned))
        return found
    named = [name for name in ("m", "n", "k", "width") if getattr(call, name, 0) is None]
    named += [f"batch{axis}" for axis, extent in enumerate(call.batch) if extent is None]
    if isinstance(call, Gemm):
        for which in "abc":
            if getattr(call, f"stride_{which}") is None:
                named.append(f"stride_{which}")
            for axis, step in enumerate(getattr(call, f"steps_{which}") or ()):
                if step is None:
                    named.append(f"step_{which}{axis}")
        return named
    if isinstance(call, Attention):
        rows = [
            (which, getattr(call, f"stride_{which}"), getattr(call, f"steps_{which}")) for which in "qkvc"
        ]
    else:
        rows = [(one.name, one.stride, one.steps) for one in call.operands]
    rows += [(mask.name, mask.row, mask.steps) for mask in call.masks]
    for which, stride, steps in rows:
        named += [f"stride_{which}"] if stride is None else []
        named += [f"step_{which}{axis}" for axis, step in enumerate(steps) if step is None]
    return named


# What a library does not know: a kernel over its result.


def _plain_and_epilogue(kind: str, call: Gemm | Conv2D) -> LibraryCode:
    epilogue = call.epilogue
    assert epilogue is not None
    plain = dataclasses.replace(call, epilogue=None)
    made, dtype = epilogue.results[0][0], epilogue.results[0][1].dtype
    own = _operands(plain)
    # Over the result itself, unless an operand may lie there that is read element by element.
    over = dtype == call.dtype and not any(operand.over == "element" for operand in epilogue.operands)
    sums = made if over else "sums"
    if isinstance(plain, Gemm) and not over:
        # What is scratch lies without gaps.
        plain = dataclasses.replace(plain, stride_c="dense", steps_c=None)
    first = _launch(kind, plain, [*own, sums])
    kernel, arguments = _epilogue_kernel(call, epilogue, sums)
    second = CallLaunch("kernel", None, kernel, None, (), 0, tuple(arguments))
    if over:
        return LibraryCode((first, second))
    rows, columns = _extents(call)
    return LibraryCode(
        (first, second), (Workspace("sums", Size.of(element_bytes(call.dtype), *rows, columns)),)
    )


def _extents(call: Gemm | Conv2D) -> tuple[list[int | str], int | str]:
    """The extents of a result's rows, and that of its columns."""

    def extent(value: int | None, name: str) -> int | str:
        return name if value is None else value

    if isinstance(call, Gemm):
        batch = [extent(value, f"batch{axis}") for axis, value in enumerate(call.batch)]
        return [*batch, extent(call.m, "m")], extent(call.n, "n")
    if call.direction == "filter":
        inside = 1 if call.depthwise else call.in_channels
        return [*call.kernel, inside], call.out_channels
    rows, columns = call.axes
    batch_size = extent(call.batch, "batch")
    if call.direction == "input":
        return [batch_size, rows.image, columns.image], call.in_channels
    return [batch_size, rows.count, columns.count], call.out_channels


_TURN = 4096  # elements of one turn


def _epilogue_kernel(
    call: Gemm | Conv2D, epilogue: Epilogue, sums: str
) -> tuple[Kernel, list[BufferArgument | SizeArgument]]:
    """The kernel that makes an epilogue's results of plain sums, and its arguments."""
    b = Builder("epilogue")
    rows, columns = _extents(call)
    arguments: list[BufferArgument | SizeArgument] = []
    buffers = {}
    written = {name: expr.dtype for name, expr in epilogue.results}
    held = {operand.name: operand.dtype for operand in epilogue.operands}
    for name, dtype in {sums: call.dtype, **held, **written}.items():
        buffers[name] = b.buffer(f"{name}_", dtype)
        arguments.append(BufferArgument(name))

    def size(extent: int | str | None, name: str) -> Expr:
        """A size that is known is a constant of the kernel; one that is not, an argument."""
        if isinstance(extent, int):
            return b.expr(extent, "i64")
        arguments.append(SizeArgument(Size.of(1, extent or name)))
        return b.int_param(extent or name)

    known: dict[str, Expr] = {}
    lines = [size(extent, "") for extent in rows]
    wide = size(columns, "")
    gaps = isinstance(call, Gemm) and (call.stride_c != "dense" or call.steps_c is not None)

    def element(dense: Expr, lies: Expr, row: Expr, column: Expr) -> None:
        for name, buffer in buffers.items():
            if name in held:
                over = next(operand.over for operand in epilogue.operands if operand.name == name)
                index: Any = {"element": lies, "row": row, "column": column, "scalar": 0}[over]
                known[name] = b.let(name, b.load(buffer, index))
        at = lies if sums in written else dense
        known[ACCUMULATOR] = b.let(ACCUMULATOR, b.load(buffers[sums], at))
        memo: dict[int, Expr] = {}
        values = [(name, _with(expr, known, memo)) for name, expr in epilogue.results]
        for name, value in values:
            b.store(buffers[name], lies, value)

    if not gaps:
        count: Expr = wide
        for line in lines:
            count = b.mul(count, line)
        turn_size = b.const(_TURN, "i64")
        with b.loop("turn", 0, b.floordiv(b.add(count, _TURN - 1), turn_size), "parallel") as turn:
            start = b.let("start", b.mul(turn, turn_size))
            stop = b.let("stop", b.min(b.add(start, turn_size), count))
            with b.loop("i", start, stop, "vector") as i:
                element(i, i, b.floordiv(i, wide), b.floormod(i, wide))
        return b.kernel(), arguments
    assert isinstance(call, Gemm)
    between = size(call.stride_c, "stride_c") if call.stride_c != "dense" else wide
    if call.steps_c is not None:
        steps = [size(step, f"step_c{axis}") for axis, step in enumerate(call.steps_c)]
    else:
        steps = []
        span = b.mul(between, lines[-1])
        for line in lines[-2::-1]:
            steps.insert(0, span)
            span = b.mul(span, line)
    total = lines[0]
    for line in lines[1:]:
        total = b.mul(total, line)
    with b.loop("row", 0, total, "parallel") as row:
        rest = row
        base: Expr = b.expr(0, "i64")
        for line, step in zip(reversed(lines), [between, *reversed(steps)], strict=True):
            base = b.add(base, b.mul(b.floormod(rest, line), step))
            rest = b.floordiv(rest, line)
        base = b.let("base", base)
        with b.loop("i", 0, wide, "vector") as i:
            element(b.add(b.mul(row, wide), i), b.add(base, i), row, i)
    return b.kernel(), arguments


def _with(expr: Expr, known: dict[str, Expr], memo: dict[int, Expr]) -> Expr:
    """An expression with other expressions in place of names; what is shared stays so."""
    stack = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in memo:
            continue
        if isinstance(node, Op) and not ready:
            stack.append((node, True))
            stack.extend((arg, False) for arg in node.args)
        elif isinstance(node, Op):
            memo[id(node)] = Op(node.name, tuple([memo[id(arg)] for arg in node.args]), node.dtype)
        else:
            memo[id(node)] = known[node.name] if isinstance(node, Var) else node
    return memo[id(expr)]
