"""Library calls as launches of a device's plan: products, convolutions and attention of factors of 16 bits go to
libraries, all else to our kernels.

A convolution's filters are turned for the library, before or after it; what it does where there is no library for it
is part of the same launch. Of bfloat16 factors the library's convolutions make bfloat16 results, as TensorFlow's do;
where float32 is wanted, what is rounded so is widened. A product whose epilogue the library does not know is made
plain, and the epilogue is a kernel of its own, over the result or, where it reads operands element by element that may
lie where the result does, over scratch. An attention is one launch with the products that it is where the library does
not do it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from graphflow.backends.gpu import attentions, convolutions
from graphflow.backends.gpu.products import Tail, tail_of, taken_by_library
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr, Kernel, Op, Var
from graphflow.loops.library import (
    ACCUMULATOR,
    Attention,
    Call,
    Conv2D,
    Epilogue,
    Gemm,
    Mask,
    Size,
    element_bytes,
)
from graphflow.records import dataclass

__all__ = ["BufferArgument", "CallLaunch", "LibraryCode", "SizeArgument", "Workspace", "code_of"]


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
    """One step of a library call: a kernel, or a product, convolution or attention that a library makes.

    Attributes:
      arguments: what it takes, as lowering wants them; of what a library makes first the buffers, then the sizes, then
        what the kernels before, after and instead take.
      kernel: the kernel; None for what a library makes.
      call: what the library makes.
      tail: what the library does at the end of it.
      sizes: the names of its sizes.
      before, after: kernels that run before and after the library's part.
      instead: kernels that do the same as all of it, for devices without a library that does.
      operands: of an attention, the buffers that the library takes.
      parts: of an attention, the launches that do the same as all of it.
      scratch: the workspaces that the library's way alone needs, and those that these alone need.
    """

    arguments: tuple[Any, ...]
    kernel: Kernel | None = None
    call: Gemm | Conv2D | Attention | None = None
    tail: Tail = ""
    sizes: tuple[str, ...] = ()
    before: tuple[Kernel, ...] = ()
    after: tuple[Kernel, ...] = ()
    instead: tuple[Kernel, ...] = ()
    operands: tuple[str, ...] = ()
    parts: tuple[CallLaunch, ...] = ()
    scratch: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    parallel: bool = True

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels of the launch, in the order of their arguments."""
        own = (() if self.kernel is None else (self.kernel,)) + self.before + self.after + self.instead
        return own + tuple([kernel for part in self.parts for kernel in part.kernels])


@dataclass(frozen=True, slots=True)
class LibraryCode:
    """A library call as steps of a device's plan, and the scratch that they share."""

    launches: tuple[CallLaunch, ...]
    workspaces: tuple[Workspace, ...] = ()
    packs: tuple[Any, ...] = ()


def code_of(call: Call, own: Callable[[Call], Any]) -> LibraryCode:
    """The steps of a library call.

    Args:
      call: the call.
      own: the launches of a call by kernels of our own: `loops` and `arguments` of each.
    """
    if isinstance(call, Conv2D) and convolutions.taken_by_library(call):
        return _convolution(call, own)
    if isinstance(call, Attention) and call.operand_dtype is not None:
        return _attention(call, own)
    if not isinstance(call, Gemm) or not taken_by_library(call):
        launches = [CallLaunch(tuple(launch.arguments), launch.loops) for launch in own(call).launches]
        return LibraryCode(tuple(launches))
    epilogue = call.epilogue
    if epilogue is None:
        return LibraryCode((_product(call, ["c"]),))
    made, dtype = epilogue.results[0][0], epilogue.results[0][1].dtype
    if tail_of(epilogue) is not None and dtype == call.dtype:
        return LibraryCode((_product(call, [*(operand.name for operand in epilogue.operands), made]),))
    over = _may_lie_there(call.dtype, epilogue)
    plain = dataclasses.replace(call, epilogue=None)
    if not over:  # what is scratch lies without gaps
        plain = dataclasses.replace(plain, stride_c="dense", steps_c=None)
    sums = made if over else "sums"
    rows, columns = _extents(call)
    kernel, arguments = _epilogue_kernel(call.dtype, rows, columns, epilogue, sums, gaps=call)
    launches_ = (_product(plain, [sums]), CallLaunch(tuple(arguments), kernel))
    if over:
        return LibraryCode(launches_)
    return LibraryCode(launches_, (Workspace("sums", Size.of(element_bytes(call.dtype), *rows, columns)),))


def _may_lie_there(dtype: str, epilogue: Epilogue) -> bool:
    """Whether plain sums may lie where the first result will: no operand does that is read element by element."""
    return epilogue.results[0][1].dtype == dtype and not any(
        operand.over == "element" for operand in epilogue.operands
    )


def _only_rounds(epilogue: Epilogue, dtype: str) -> bool:
    """Whether sums become nothing but numbers of a dtype."""
    expr = epilogue.results[0][1]
    return (
        len(epilogue.results) == 1
        and isinstance(expr, Op)
        and expr.name == "cast"
        and expr.dtype == dtype
        and isinstance(expr.args[0], Var)
        and expr.args[0].name == ACCUMULATOR
    )


def _convolution(call: Conv2D, own: Callable[[Call], Any]) -> LibraryCode:
    """A convolution by the library, in one launch with what turns its filters and what does it otherwise."""
    first, second, made = convolutions.names_of(call)
    epilogue = call.epilogue or Epilogue.plain(made, call.dtype)
    taps, outs = call.kernel[0] * call.kernel[1] * call.in_channels, call.out_channels
    images: list[int | str] = ["batch" if call.batch is None else call.batch]
    if call.direction == "forward":
        rows, columns = [*images, call.out_height, call.out_width], outs
    else:
        rows, columns = [*images, *(axis.image for axis in call.axes)], call.in_channels
    held = call.operand_dtype or call.dtype  # by filters and images, and by what the library makes of them
    size = element_bytes(held)
    scratch = [Workspace("turned", Size.of(size, taps, outs))]
    tail: Tail = ""
    more: list[str] = []
    before: list[tuple[Kernel, list[BufferArgument | SizeArgument]]] = []
    after: list[tuple[Kernel, list[BufferArgument | SizeArgument]]] = []
    target = epilogue.results[0][0]
    if call.direction == "filter":
        after.append(_epilogue_kernel(held, [taps], outs, epilogue, "turned", across=True, dtype=call.dtype))
        target = "turned"
    else:
        before.append(_turning_kernel(held, taps, outs))
        second = "turned"
        known = tail_of(epilogue) if call.direction == "forward" or call.epilogue is None else None
        if known is not None and epilogue.results[0][1].dtype == held:
            tail, more = known, [operand.name for operand in epilogue.operands]
        elif not _only_rounds(epilogue, held):
            if not _may_lie_there(held, epilogue):
                target = "sums"
                scratch.append(Workspace("sums", Size.of(size, *rows, columns)))
            after.append(_epilogue_kernel(held, rows, columns, epilogue, target, dtype=call.dtype))
    sizes = convolutions.size_names(call)
    arguments: list[Any] = [*map(BufferArgument, (first, second, *more, target))]
    arguments += [SizeArgument(Size.of(1, name)) for name in sizes]
    for _, its in (*before, *after):
        arguments += its
    instead = own(call).launches
    for launch in instead:
        arguments += launch.arguments
    one = CallLaunch(
        tuple(arguments),
        call=call,
        tail=tail,
        sizes=tuple(sizes),
        before=tuple(kernel for kernel, _ in before),
        after=tuple(kernel for kernel, _ in after),
        instead=tuple(launch.loops for launch in instead),
    )
    return LibraryCode((one,), tuple(scratch))


def _attention(call: Attention, own: Callable[[Call], Any]) -> LibraryCode:
    """An attention by the library, in one launch with what it adds to scores and its products."""
    held = call.operand_dtype
    assert held is not None and call.scaled is not None
    epilogue = call.epilogue or Epilogue.plain("c", call.dtype)
    batch = [f"batch{axis}" if extent is None else extent for axis, extent in enumerate(call.batch)]
    queries, keys, width = call.m or "m", call.n or "n", call.width or "width"
    scratch: list[Workspace] = []
    more: list[str] = []
    before: list[tuple[Kernel, list[BufferArgument | SizeArgument]]] = []
    after: list[tuple[Kernel, list[BufferArgument | SizeArgument]]] = []
    if call.scaled[1] is not None:
        (mask,) = (one for one in call.masks if one.name == call.scaled[1])
        extents = [1 if step == 0 else extent for step, extent in zip(mask.steps, batch, strict=True)]
        before.append(_adding_kernel(held, mask, extents, queries, keys))
        scratch.append(Workspace("added", Size.of(element_bytes(held), *extents, queries, keys)))
        more.append("added")
    target = epilogue.results[0][0]
    if not _only_rounds(epilogue, held):
        target = "mixed"
        scratch.append(Workspace("mixed", Size.of(element_bytes(held), *batch, queries, width)))
        rows = [*batch, queries]
        after.append(_epilogue_kernel(held, rows, width, epilogue, "mixed", gaps=call, dtype=call.dtype))
    sizes = attentions.size_names(call)
    operands = ("q", "k", "v", *more, target)
    arguments: list[Any] = [*map(BufferArgument, operands)]
    arguments += [SizeArgument(Size.of(1, name)) for name in sizes]
    for _, its in (*before, *after):
        arguments += its
    parts, apart = _products_of(call, own)
    for part in parts:
        arguments += part.arguments
    one = CallLaunch(
        tuple(arguments),
        call=call,
        sizes=tuple(sizes),
        before=tuple(kernel for kernel, _ in before),
        after=tuple(kernel for kernel, _ in after),
        operands=operands,
        parts=tuple(parts),
        scratch=(frozenset(space.name for space in scratch), frozenset(space.name for space in apart)),
    )
    return LibraryCode((one,), (*scratch, *apart))


def _products_of(call: Attention, own: Callable[[Call], Any]) -> tuple[list[CallLaunch], list[Workspace]]:
    """An attention as two products with a kernel between them."""
    held = call.operand_dtype
    assert held is not None
    scores = Gemm(
        dtype=call.dtype, m=call.m, n=call.n, k=call.k, transpose_b=True, batch=call.batch, stride_a=call.stride_q,
        stride_b=call.stride_k, steps_a=call.steps_q, steps_b=call.steps_k, operand_dtype=held,
    )  # fmt: skip
    mixed = Gemm(
        dtype=call.dtype, m=call.m, n=call.width, k=call.n, batch=call.batch, stride_b=call.stride_v,
        stride_c=call.stride_c, steps_b=call.steps_v, steps_c=call.steps_c, operand_dtype=held, epilogue=call.epilogue,
    )  # fmt: skip
    first, second = code_of(scores, own), code_of(mixed, own)
    kernel, arguments = _shares_kernel(call, held)
    axes = range(len(call.batch))
    of_first = {"a": "q", "b": "k", "c": "scores", "stride_a": "stride_q", "stride_b": "stride_k"}
    of_first |= {f"step_a{axis}": f"step_q{axis}" for axis in axes}
    of_first |= {f"step_b{axis}": f"step_k{axis}" for axis in axes}
    of_second = {"a": "shares", "b": "v", "n": "width", "k": "n", "stride_b": "stride_v"}
    of_second |= {f"step_b{axis}": f"step_v{axis}" for axis in axes}
    launches = [
        *(_renamed(launch, of_first) for launch in first.launches),
        CallLaunch(tuple(arguments), kernel),
        *(_renamed(launch, of_second) for launch in second.launches),
    ]
    extents = [f"batch{axis}" if extent is None else extent for axis, extent in enumerate(call.batch)]
    extents += [call.m or "m", call.n or "n"]
    spaces = [
        Workspace("scores", Size.of(element_bytes(call.dtype), *extents)),
        Workspace("shares", Size.of(element_bytes(held), *extents)),
    ]
    for space in second.workspaces:
        spaces.append(Workspace(space.name, _sizes_renamed(space.bytes, of_second)))
    return launches, spaces


def _sizes_renamed(size: Size, names: Mapping[str, str]) -> Size:
    return Size(
        tuple([(factor, tuple([names.get(name, name) for name in row])) for factor, row in size.terms])
    )


def _renamed(launch: CallLaunch, names: Mapping[str, str]) -> CallLaunch:
    """A launch whose buffers and sizes are called otherwise."""
    arguments: list[BufferArgument | SizeArgument] = []
    for argument in launch.arguments:
        if isinstance(argument, BufferArgument):
            arguments.append(BufferArgument(names.get(argument.name, argument.name)))
        else:
            arguments.append(SizeArgument(_sizes_renamed(argument.size, names)))
    return dataclasses.replace(launch, arguments=tuple(arguments))


_LARGEST_HALF = 65504.0


def _adding_kernel(
    held: str, mask: Mask, extents: list[int | str], queries: int | str, keys: int | str
) -> tuple[Kernel, list[BufferArgument | SizeArgument]]:
    """The kernel that lays what is added to scores out row by row, rounded as the library wants it."""
    b = Builder("add")
    source, target = b.buffer("mask_", mask.dtype), b.buffer("added_", held)
    given = _Given(b, [BufferArgument(mask.name), BufferArgument("added")])
    lines = [given.size(extent) for extent in (*extents, queries)]
    wide = given.size(keys)
    steps = [given.stride(step, f"step_{mask.name}{axis}") for axis, step in enumerate(mask.steps)]
    steps.append(given.stride(mask.row, f"stride_{mask.name}"))
    with b.loop("row", 0, _all(b, lines), "parallel") as row:
        base = b.let("base", _place(b, row, lines, steps))
        with b.loop("i", 0, wide, "vector") as i:
            value = b.load(source, b.add(base, i) if mask.column else base)
            if held == "f16":
                value = b.clamp(value, -_LARGEST_HALF, _LARGEST_HALF)
            b.store(target, b.add(b.mul(row, wide), i), b.cast(value, held))
    return b.kernel(), given.arguments


def _shares_kernel(call: Attention, held: str) -> tuple[Kernel, list[BufferArgument | SizeArgument]]:
    """The kernel that makes shares, rounded, of an attention's products."""
    b = Builder("shares")
    scores, shares = b.buffer("scores_", call.dtype), b.buffer("shares_", held)
    given = _Given(b, [BufferArgument("scores"), BufferArgument("shares")])
    masks = {}
    for mask in call.masks:
        masks[mask] = b.buffer(f"{mask.name}_", mask.dtype)
        given.arguments.append(BufferArgument(mask.name))
    lines = [given.size(f"batch{axis}" if value is None else value) for axis, value in enumerate(call.batch)]
    lines.append(given.size(call.m or "m"))
    wide = given.size(call.n or "n")
    lies = {}
    for mask in call.masks:
        lies[mask] = [given.stride(step, f"step_{mask.name}{axis}") for axis, step in enumerate(mask.steps)]
        lies[mask].append(given.stride(mask.row, f"stride_{mask.name}"))
    with b.loop("row", 0, _all(b, lines), "parallel") as row:
        start = b.let("start", b.mul(row, wide))
        bases = {mask: b.let("base", _place(b, row, lines, steps)) for mask, steps in lies.items()}

        def score(i: Expr) -> Expr:
            known = {ACCUMULATOR: b.load(scores, b.add(start, i))}
            for mask, base in bases.items():
                known[mask.name] = b.load(masks[mask], b.add(base, i) if mask.column else base)
            return _with(call.score.results[0][1], known, {})

        top = b.carry("top", b.lowest(call.dtype), "maxnum")
        with b.loop("i", 0, wide, "vector", (top,)) as i:
            b.update(top, score(i))
        total = b.carry("total", b.const(0, call.dtype), "add")
        with b.loop("i", 0, wide, "vector", (total,)) as i:
            b.update(total, b.exp(b.sub(score(i), top)))
        share = b.let("share", b.reciprocal(total))
        with b.loop("i", 0, wide, "vector") as i:
            b.store(shares, b.add(start, i), b.cast(b.mul(b.exp(b.sub(score(i), top)), share), held))
    return b.kernel(), given.arguments


class _Given:
    """What a kernel is handed: a size that is known is a constant of it, one that is not an argument."""

    def __init__(self, builder: Builder, arguments: list[BufferArgument | SizeArgument]) -> None:
        self.builder = builder
        self.arguments = arguments

    def size(self, extent: int | str) -> Expr:
        """An extent, by its number or its name."""
        if isinstance(extent, int):
            return self.builder.expr(extent, "i64")
        self.arguments.append(SizeArgument(Size.of(1, extent)))
        return self.builder.int_param(extent)

    def stride(self, known: int | None, name: str) -> Expr:
        """How far apart elements lie."""
        return self.size(name if known is None else known)


def _all(b: Builder, lines: list[Expr]) -> Expr:
    count = lines[0]
    for line in lines[1:]:
        count = b.mul(count, line)
    return count


def _place(b: Builder, row: Expr, lines: list[Expr], steps: list[Expr]) -> Expr:
    """Where a row begins, counted along several axes."""
    base: Expr = b.expr(0, "i64")
    for line, step in zip(reversed(lines), reversed(steps), strict=True):
        base = b.add(base, b.mul(b.floormod(row, line), step))
        row = b.floordiv(row, line)
    return base


def _turning_kernel(dtype: str, taps: int, outs: int) -> tuple[Kernel, list[BufferArgument | SizeArgument]]:
    """The kernel that lays filters `[height, width, in, out]` out as `[out, height, width, in]`."""
    b = Builder("turn")
    filters, turned = b.buffer("w_", dtype), b.buffer("turned_", dtype)
    with b.loop("out", 0, outs, "parallel") as out, b.loop("tap", 0, taps, "vector") as tap:
        value = b.load(filters, b.add(b.mul(tap, b.const(outs, "i64")), out))
        b.store(turned, b.add(b.mul(out, b.const(taps, "i64")), tap), value)
    return b.kernel(), [BufferArgument("w"), BufferArgument("turned")]


def _product(call: Gemm, more: list[str]) -> CallLaunch:
    """A product by the library: its factors, then what else it takes and its result."""
    sizes = size_names(call)
    arguments: list[BufferArgument | SizeArgument] = [*map(BufferArgument, ("a", "b", *more))]
    arguments += [SizeArgument(Size.of(1, name)) for name in sizes]
    tail = tail_of(call.epilogue)
    assert tail is not None
    return CallLaunch(tuple(arguments), call=call, tail=tail, sizes=tuple(sizes))


def size_names(call: Gemm) -> list[str]:
    """The run-time sizes of a product, in order."""
    named = [name for name in ("m", "n", "k") if getattr(call, name) is None]
    named += [f"batch{axis}" for axis, extent in enumerate(call.batch) if extent is None]
    for which in "abc":
        if getattr(call, f"stride_{which}") is None:
            named.append(f"stride_{which}")
        steps = getattr(call, f"steps_{which}") or ()
        named += [f"step_{which}{axis}" for axis, step in enumerate(steps) if step is None]
    return named


def _extents(call: Gemm) -> tuple[list[int | str], int | str]:
    """The extents of a result's rows, and that of its columns."""
    batch = [f"batch{axis}" if value is None else value for axis, value in enumerate(call.batch)]
    return [*batch, "m" if call.m is None else call.m], "n" if call.n is None else call.n


_TURN = 4096  # elements of one turn


def _epilogue_kernel(
    held: str,
    rows: list[int | str],
    columns: int | str,
    epilogue: Epilogue,
    sums: str,
    *,
    gaps: Gemm | Attention | None = None,
    across: bool = False,
    dtype: str = "",
) -> tuple[Kernel, list[BufferArgument | SizeArgument]]:
    """The kernel that makes an epilogue's results of plain sums, and its arguments.

    `held`: how sums lie in memory. `gaps`: the product that says where rows lie. `across`: the sums lie column by
    column, everything else row by row. `dtype`: what the epilogue takes sums for, if not for what they lie as.
    """
    b = Builder("epilogue")
    arguments: list[BufferArgument | SizeArgument] = []
    buffers = {}
    written = {name: expr.dtype for name, expr in epilogue.results}
    read = {operand.name: operand.dtype for operand in epilogue.operands}
    for name, kind in {sums: held, **read, **written}.items():
        buffers[name] = b.buffer(f"{name}_", kind)
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
    count: Expr = lines[0]
    for line in lines[1:]:
        count = b.mul(count, line)

    def element(dense: Expr, lies: Expr, row: Expr, column: Expr) -> None:
        for name, buffer in buffers.items():
            if name in read:
                over = next(operand.over for operand in epilogue.operands if operand.name == name)
                index: Any = {"element": lies, "row": row, "column": column, "scalar": 0}[over]
                known[name] = b.let(name, b.load(buffer, index))
        at = b.add(b.mul(column, count), row) if across else lies if sums in written else dense
        total = b.load(buffers[sums], at)
        known[ACCUMULATOR] = b.let(ACCUMULATOR, b.cast(total, dtype) if dtype not in ("", held) else total)
        memo: dict[int, Expr] = {}
        values = [(name, _with(expr, known, memo)) for name, expr in epilogue.results]
        for name, value in values:
            b.store(buffers[name], lies, value)

    if gaps is None or (gaps.stride_c == "dense" and gaps.steps_c is None):
        total = b.mul(count, wide)
        turn_size = b.const(_TURN, "i64")
        with b.loop("turn", 0, b.floordiv(b.add(total, _TURN - 1), turn_size), "parallel") as turn:
            start = b.let("start", b.mul(turn, turn_size))
            stop = b.let("stop", b.min(b.add(start, turn_size), total))
            with b.loop("i", start, stop, "vector") as i:
                element(i, i, b.floordiv(i, wide), b.floormod(i, wide))
        return b.kernel(), arguments
    between = size(gaps.stride_c, "stride_c") if gaps.stride_c != "dense" else wide
    if gaps.steps_c is not None:
        steps = [size(step, f"step_c{axis}") for axis, step in enumerate(gaps.steps_c)]
    else:
        steps = []
        span = b.mul(between, lines[-1])
        for line in lines[-2::-1]:
            steps.insert(0, span)
            span = b.mul(span, line)
    with b.loop("row", 0, count, "parallel") as row:
        base = b.let("base", _place(b, row, lines, [*steps, between]))
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
