"""Library calls: contractions and sliding windows, each described by data; a back end turns a call into
code.

A call names its buffers and says which extents are fixed (`int`) and which are handed over at run time
(`None`), so that one piece of code serves every batch size. What happens to an element on its way to memory
(bias, activation, residual, an optimizer's update) is an `Epilogue`: loop-language expressions over the
contraction's value `acc`.

All buffers are row-major and images are NHWC. A `None` extent is the run-time size of the field's name
("m", "batch").
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Literal

from graphflow.loops.ir import Const, Expr, Load, Op, Var, bits
from graphflow.records import dataclass
from graphflow.symbolic import greatest, least

__all__ = [
    "ACCUMULATOR",
    "CHANGE",
    "TOTAL",
    "WEIGHT",
    "Attention",
    "AttentionGradient",
    "Call",
    "Conv2D",
    "Epilogue",
    "EpilogueOperand",
    "Gemm",
    "Lies",
    "Mask",
    "Pool2D",
    "Size",
    "WindowAxis",
    "digest",
    "digest_of",
    "element_bytes",
]

ACCUMULATOR = "acc"
"""Name of the variable that holds the contraction's value in an epilogue's expressions."""

Extent = int | None
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Size:
    """A sum of products of run-time sizes: what a launch is handed as an i64, or a number of bytes.

    `terms`: one (factor, names of sizes) each. The size "parts" is the number of threads that share a launch.
    """

    terms: tuple[tuple[int, tuple[str, ...]], ...]

    @classmethod
    def of(cls, factor: int, *extents: int | str) -> Size:
        """The product of a factor, known extents and named run-time sizes."""
        names = []
        for extent in extents:
            if isinstance(extent, str):
                names.append(extent)
            else:
                factor *= extent
        return cls(((factor, tuple(names)),))

    def times(self, factor: int, *names: str) -> Size:
        """This, so many times, and times named run-time sizes."""
        return Size(tuple((factor * own, (*known, *names)) for own, known in self.terms))

    def __add__(self, other: Size) -> Size:
        return Size(self.terms + other.terms)

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The number, given every named size."""
        total = 0
        for factor, names in self.terms:
            for name in names:
                factor *= sizes[name]
            total += factor
        return total


@dataclass(frozen=True, slots=True)
class EpilogueOperand:
    """A further buffer that an epilogue reads.

    `over`: "element" has the result's shape, "column" one value per column (last axis), "row" one per row
    (all other axes, row-major), "scalar" a single value.
    """

    name: str
    dtype: str
    over: Literal["element", "row", "column", "scalar"]


@dataclass(frozen=True, slots=True, eq=False)
class Epilogue:
    """What is stored for each element: named results, each an expression over `acc` and the operands' names.

    A result may share its memory with an element operand: each element is read before it is written.
    """

    results: tuple[tuple[str, Expr], ...]
    operands: tuple[EpilogueOperand, ...] = ()

    @classmethod
    def plain(cls, name: str, dtype: str) -> Epilogue:
        """Stores the contraction's value itself as result `name`."""
        return cls(((name, Var(ACCUMULATOR, dtype)),))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Gemm:
    """`c[..., m, n] = a[..., m, k] @ b[..., k, n]`, each operand perhaps stored with its last two axes
    swapped.

    Buffers: `a`, `b`, the epilogue's operands, the epilogue's results (`c` where none is given). `batch`
    are the leading extents of the result; `batch_a` and `batch_b` say which of them the operand has (the
    others are broadcast; all by default). `stride_a`, `stride_b`, `stride_c`: elements from one stored row
    to the next, "dense" where rows touch, `None` for a run-time size of that name; `stride_c` is that of
    every result and element operand. `steps_a`, `steps_b`, `steps_c`: elements from one matrix to the next
    along each of the `batch` axes, where matrices do not simply follow each other; zero along an axis that
    an operand has not (`batch_a` and `batch_b` are not looked at then), `None` for a run-time size.
    Run-time sizes: "m", "n", "k", "batch0", "batch1", ..., "stride_a", "stride_b", "stride_c", "step_a0",
    "step_a1", ... where `None`.

    `operand_dtype`: "bf16" or "f16" where `a` and `b` hold such numbers, whose products are summed in f32, the call's
    dtype; a processor takes bfloat16 alone. Its dot products may take numbers below 2^-126 for zero and round each
    pair of products.

    `prepack_b` asks for the panels of `b` as a pack of their own, for others to share or to keep, where the
    product reads panels at all.

    `prologue`: what the elements of `a` become before they are multiplied: one result, an expression over `acc`, such
    an element; its operands lie "element" by element as `a` does, one for each "column" of `a`, or are "scalar". Only
    where `a` is one dense matrix that is not transposed, of a known number of columns, and there are no batches.

    `panels_b`, `panels_c`: the stored `b`, and every result and element operand, lie in panels of so many
    columns, one panel after the other, each with all its rows (`[panel][row][column]`), the last one padded.
    There are no batches, strides or steps then.
    """

    dtype: str
    m: Extent
    n: Extent
    k: Extent
    transpose_a: bool = False
    transpose_b: bool = False
    batch: tuple[Extent, ...] = ()
    batch_a: tuple[bool, ...] | None = None
    batch_b: tuple[bool, ...] | None = None
    stride_a: Extent | Literal["dense"] = "dense"
    stride_b: Extent | Literal["dense"] = "dense"
    stride_c: Extent | Literal["dense"] = "dense"
    steps_a: tuple[Extent, ...] | None = None
    steps_b: tuple[Extent, ...] | None = None
    steps_c: tuple[Extent, ...] | None = None
    operand_dtype: str | None = None
    prepack_b: bool = False
    panels_b: int | None = None
    panels_c: int | None = None
    prologue: Epilogue | None = None
    epilogue: Epilogue | None = None

    def flops(self, sizes: Mapping[str, int]) -> int:
        """Floating-point operations of the product, a multiply-add being two."""
        total = 2
        for name, extent in (("m", self.m), ("n", self.n), ("k", self.k)):
            total *= sizes[name] if extent is None else extent
        for axis, extent in enumerate(self.batch):
            total *= sizes[f"batch{axis}"] if extent is None else extent
        return total


@dataclass(frozen=True, slots=True)
class WindowAxis:
    """The windows of a convolution or a pool along one axis.

    Where `extent` is `None`, it and what follows from it are run-time sizes; `sizes` says what they are. `padding` is
    `None` where how much lies before the image is one of them.
    """

    name: str
    extent: Extent
    window: int
    stride: int
    dilation: int
    padding: Pair | None

    @property
    def image(self) -> int | str:
        """Positions of the image, or the name of that size."""
        return self.name if self.extent is None else self.extent

    @property
    def count(self) -> int | str:
        """Windows, or the name of that size."""
        if self.extent is None:
            return f"out_{self.name}"
        assert self.padding is not None
        return window_count(self.extent, self.window, self.stride, self.dilation, self.padding)

    @property
    def before(self) -> int | str:
        """Positions before the image, or the name of that size."""
        return f"before_{self.name}" if self.padding is None else self.padding[0]

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """Which taps reach the positions whose distance from the first window's start has each rest by the stride.

        The last tap comes first.
        """
        return tuple(
            tuple(t for t in reversed(range(self.window)) if (rest - t * self.dilation) % self.stride == 0)
            for rest in range(self.stride)
        )

    def first(self, rest: int) -> int | str:
        """The first position of the image with a rest."""
        return f"first{rest}_{self.name}" if self.padding is None else (rest - self.padding[0]) % self.stride

    def positions(self, rest: int) -> int | str:
        """How many positions of the image have a rest."""
        if self.extent is None:
            return f"positions{rest}_{self.name}"
        first = self.first(rest)
        assert isinstance(first, int)
        return -(-(self.extent - first) // self.stride)

    def reached(self, rest: int) -> int | str:
        """Which window reaches the first position with a rest by its last tap."""
        if self.padding is None:
            return f"reached{rest}_{self.name}"
        taps, first = self.classes[rest], self.first(rest)
        assert isinstance(first, int)
        return (first + self.padding[0] - taps[0] * self.dilation) // self.stride if taps else 0

    def sizes(self, extent: int, count: int, before: int, turned: bool) -> dict[str, int]:
        """The run-time sizes of an open axis.

        Args:
          extent: positions of the image.
          count: windows.
          before: positions before the image.
          turned: whether windows are read, and positions of the image made, and not the other way round.
        """
        found = {self.name: extent, f"out_{self.name}": count, f"before_{self.name}": before}
        lows, highs = [-before], [(count - 1) * self.stride + (self.window - 1) * self.dilation - before]
        if turned:
            lows, highs = [], []
            for rest, taps in enumerate(self.classes):
                first = (rest - before) % self.stride
                positions = (extent + (self.stride - 1) - first) // self.stride
                found |= {f"first{rest}_{self.name}": first, f"positions{rest}_{self.name}": positions}
                if taps:
                    reached = (first + before - taps[0] * self.dilation) // self.stride
                    found[f"reached{rest}_{self.name}"] = reached
                    lows.append(reached)
                    highs.append(reached + positions - 1 + (len(taps) - 1) * self.step)
        found[f"read_first_{self.name}"] = least(*lows)
        found[f"read_{self.name}"] = greatest(*highs) - least(*lows) + 1
        return found

    @property
    def step(self) -> int:
        """From the window that reaches a position by one tap to that which does by the next of its class."""
        return self.dilation // math.gcd(self.stride, self.dilation)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Conv2D:
    """A convolution of images `x[batch, height, width, in]` by filters `w[kh, kw, in, out]`, or one of its
    gradients.

    `direction` says what is computed from what: "forward" `x, w -> y`, "input" `dy, w -> dx`, "filter" `x,
    dy -> dw`. Buffers: those two in that order, the epilogue's operands, the epilogue's results (`y`, `dx`
    or `dw` where none is given). `padding`: rows above and below, columns left and right (explicit
    numbers). Run-time sizes: "batch" where `None`; where `height` or `width` is `None`, what `WindowAxis.sizes`
    names. `depthwise`: filters are `w[kh, kw, in, multiplier]`, `out_channels = in_channels * multiplier`.
    `winograd`: of how many results a side blocks may be at most where 3x3 and 5x5 filters of
    stride one are applied by Winograd's products, if these pay: 4, 2, or 0 for the direct way. For "filter" the
    result's rows are (kh, kw, in) and its columns are the output
    channels. `panels_w`: the filters, and for "filter" every result and element operand, lie in panels of so many
    output channels, one after the other, each with all rows (`[panel][kh, kw, in][column]`), the last one padded; not
    with `depthwise` or `operand_dtype`. `operand_dtype`: "bf16" or "f16" where both operands hold such numbers, as in
    `Gemm`; Winograd's products then round what the operands are transformed into as well. `prologue`: what the
    elements of the images that are read (`x`, or `dy` for "input") become first, as in `Gemm`; zeros around them stay
    zeros; not with `depthwise` or `operand_dtype`.
    """

    direction: Literal["forward", "input", "filter"]
    dtype: str
    batch: Extent
    height: Extent
    width: Extent
    in_channels: int
    out_channels: int
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    padding: tuple[Pair | None, Pair | None] = ((0, 0), (0, 0))
    depthwise: bool = False
    winograd: int = 4
    panels_w: int | None = None
    prologue: Epilogue | None = None
    epilogue: Epilogue | None = None
    operand_dtype: str | None = None

    @property
    def axes(self) -> tuple[WindowAxis, WindowAxis]:
        """The windows along rows and columns."""
        return (
            WindowAxis(
                "height", self.height, self.kernel[0], self.strides[0], self.dilations[0], self.padding[0]
            ),
            WindowAxis(
                "width", self.width, self.kernel[1], self.strides[1], self.dilations[1], self.padding[1]
            ),
        )

    @property
    def out_height(self) -> int | str:
        """Rows of the output images, or the name of that size."""
        return self.axes[0].count

    @property
    def out_width(self) -> int | str:
        """Columns of the output images, or the name of that size."""
        return self.axes[1].count

    def flops(self, sizes: Mapping[str, int]) -> int:
        """Floating-point operations, padding counted as work."""
        batch = sizes["batch"] if self.batch is None else self.batch
        taps = self.kernel[0] * self.kernel[1] * (1 if self.depthwise else self.in_channels)
        pixels = _number(self.out_height, sizes) * _number(self.out_width, sizes)
        return 2 * batch * pixels * self.out_channels * taps


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pool2D:
    """The greatest or mean value of each window of `x[batch, height, width, channels]`, or the gradient of
    that.

    Buffers: `x` (mean gradient: `dy`; max gradient: `x, dy`), the epilogue's operands, its results (`y` or
    `dx` where none is given). The mean leaves padding out; the max gradient goes to the first greatest
    element of a window. Run-time sizes: "batch" where `None`, and those of `WindowAxis.sizes` where `height` or
    `width` is `None`.
    """

    kind: Literal["max", "mean"]
    gradient: bool
    dtype: str
    batch: Extent
    height: Extent
    width: Extent
    channels: int
    window: Pair
    strides: Pair
    padding: tuple[Pair | None, Pair | None] = ((0, 0), (0, 0))
    epilogue: Epilogue | None = None

    @property
    def axes(self) -> tuple[WindowAxis, WindowAxis]:
        """The windows along rows and columns."""
        return (
            WindowAxis("height", self.height, self.window[0], self.strides[0], 1, self.padding[0]),
            WindowAxis("width", self.width, self.window[1], self.strides[1], 1, self.padding[1]),
        )

    @property
    def out_height(self) -> int | str:
        """Rows of the output images, or the name of that size."""
        return self.axes[0].count

    @property
    def out_width(self) -> int | str:
        """Columns of the output images, or the name of that size."""
        return self.axes[1].count

    def flops(self, sizes: Mapping[str, int]) -> int:
        """Floating-point operations: one for each element of each window."""
        batch = sizes["batch"] if self.batch is None else self.batch
        pixels = _number(self.out_height, sizes) * _number(self.out_width, sizes)
        return batch * pixels * self.channels * self.window[0] * self.window[1]


@dataclass(frozen=True, slots=True)
class Mask:
    """A further operand of an attention's scores: a buffer that is read at `column` (0 or 1) elements from
    one key to the next, `row` from one query to the next, `steps` along each batch axis.
    """

    name: str
    dtype: str
    row: Extent
    column: Literal[0, 1]
    steps: tuple[Extent, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Attention:
    """`c[..., m, width] = weight(softmax(score(q[..., m, k] @ k[..., n, k]^T))) @ v[..., n, width]`, the softmax
    taken over the n keys.

    Buffers: `q`, `k`, `v`, the masks, `c`. `score`: one result, an expression over `acc` (a product of a
    query and a key) and the masks' names; its operands are empty. `weight` is one over `weight`, a share of the
    softmax, and the masks' names; `None` leaves it as it is. `stride_q`, ...: elements from one row to
    the next; `steps_q`, ...: from one matrix to the next along each of the `batch` axes, zero where the
    operand has one for all. The elements of a row lie side by side. Run-time sizes where `None`: "m", "n",
    "k", "width", "batch0", ..., "stride_q", ..., "step_q0", ..., and "stride_MASK", "step_MASK0".

    `operand_dtype`: "bf16" or "f16" where `q`, `k` and `v` hold such numbers, to which the softmax is rounded as well;
    both products are summed in f32, the call's dtype. There is no `weight` then, and each `epilogue`, over `acc`, a sum
    of the second product, is as in `Gemm`; the results lie as `c` does. A processor takes no such call.
    """

    dtype: str
    m: Extent
    n: Extent
    k: Extent
    width: Extent
    batch: tuple[Extent, ...]
    stride_q: Extent
    stride_k: Extent
    stride_v: Extent
    stride_c: Extent
    steps_q: tuple[Extent, ...]
    steps_k: tuple[Extent, ...]
    steps_v: tuple[Extent, ...]
    steps_c: tuple[Extent, ...]
    score: Epilogue
    masks: tuple[Mask, ...] = ()
    weight: Epilogue | None = None
    operand_dtype: str | None = None
    epilogue: Epilogue | None = None

    @property
    def scaled(self) -> tuple[float, str | None] | None:
        """What products are multiplied by and the mask that is then added, where the scores are no more than that."""
        return _scaled(
            self.score.results[0][1], {mask.name for mask in self.masks if mask.dtype == self.dtype}
        )

    def flops(self, sizes: Mapping[str, int]) -> int:
        """Floating-point operations of the two products, a multiply-add being two."""
        total = 2 * (self.m or sizes["m"]) * (self.n or sizes["n"])
        total *= (self.k or sizes["k"]) + (self.width or sizes["width"])
        for axis, extent in enumerate(self.batch):
            total *= sizes[f"batch{axis}"] if extent is None else extent
        return total


@dataclass(frozen=True, slots=True)
class Lies:
    """How an operand or a result lies: elements from row to row, and from matrix to matrix along each batch axis."""

    name: str
    stride: Extent
    steps: tuple[Extent, ...]


WEIGHT = "weight"
"""What an attention's `weight` calls a key's share of a query: the softmax of its scores."""

CHANGE = "change"
"""What `slope` and `summed` call the product of a row of the result's gradient and one of the values."""

TOTAL = "total"
"""What `slope` calls the sum of `summed` over the keys."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AttentionGradient:
    """The gradients of an attention, which see the result's gradient `g[..., m, width]`.

    With `w` the softmax of the scores: `dv = weight(w)^T @ g`; with `s = slope(w, g @ v^T, total)`, `dq = s @ k` and
    `dk = s^T @ q`. Buffers: `q`, `k`, `v`, `g`, the masks, `dq`, `dk`, `dv`. `operands`: how these seven lie, in this
    order. `slope`, `summed`: one result each, expressions over `weight`, `change`, the masks' names, and, in `slope`
    alone, `total`. Everything else as in `Attention`.
    """

    dtype: str
    m: Extent
    n: Extent
    k: Extent
    width: Extent
    batch: tuple[Extent, ...]
    operands: tuple[Lies, ...]
    score: Epilogue
    weight: Epilogue | None
    summed: Epilogue
    slope: Epilogue
    masks: tuple[Mask, ...] = ()

    def flops(self, sizes: Mapping[str, int]) -> int:
        """Floating-point operations of the five products, a multiply-add being two."""
        total = 2 * (self.m or sizes["m"]) * (self.n or sizes["n"])
        total *= 3 * (self.k or sizes["k"]) + 2 * (self.width or sizes["width"])
        for axis, extent in enumerate(self.batch):
            total *= sizes[f"batch{axis}"] if extent is None else extent
        return total


Call = Gemm | Conv2D | Pool2D | Attention | AttentionGradient


def _scaled(score: Expr, masks: set[str]) -> tuple[float, str | None] | None:
    if isinstance(score, Var):
        return (1.0, None) if score.name == ACCUMULATOR else None
    if not isinstance(score, Op) or len(score.args) != 2:
        return None
    one, other = score.args
    for left, right in ((one, other), (other, one)):
        if score.name == "add" and isinstance(right, Var) and right.name in masks:
            found = _scaled(left, set())
            return None if found is None else (found[0], right.name)
        if score.name == "mul" and isinstance(right, Const):
            found = _scaled(left, set())
            return None if found is None else (found[0] * float(right.value), None)
    if score.name == "div" and isinstance(other, Const) and other.value:
        found = _scaled(one, set())
        return None if found is None else (found[0] / float(other.value), None)
    return None


def _number(size: int | str, sizes: Mapping[str, int]) -> int:
    return sizes[size] if isinstance(size, str) else size


def window_count(extent: int, window: int, stride: int, dilation: int, padding: Pair) -> int:
    """How many windows fit along one axis (zero where none does)."""
    span = dilation * (window - 1) + 1
    return max(0, (extent + padding[0] + padding[1] - span) // stride + 1)


def element_bytes(dtype: str) -> int:
    """Bytes of one element."""
    return bits(dtype) // 8


def digest(call: Call, *more: object) -> str:
    """Sixteen hexadecimal digits that stand for a call's meaning (and anything printed beside it)."""
    fields = [type(call).__name__]
    for field in dataclasses.fields(call):
        value = getattr(call, field.name)
        fields.append(f"{field.name}={_epilogue_text(value) if isinstance(value, Epilogue) else value!r}")
    return hashlib.sha256("\n".join([*fields, *map(repr, more)]).encode()).hexdigest()[:16]


def digest_of(*parts: object) -> str:
    """Sixteen hexadecimal digits that stand for plain values."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()[:16]


def _epilogue_text(epilogue: Epilogue) -> str:
    """An epilogue in print, shared sub-expressions once."""
    lines = [repr(operand) for operand in epilogue.operands]
    numbers: dict[int, int] = {}

    def visit(expr: Expr) -> str:
        # Children first, with a stack of our own: update rules of optimizers are deep.
        stack = [(expr, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in numbers:
                continue
            if isinstance(node, Op) and not ready:
                stack.append((node, True))
                stack.extend((arg, False) for arg in node.args)
                continue
            if isinstance(node, Op):
                body = f"{node.name}({', '.join(f'%{numbers[id(a)]}' for a in node.args)})"
            elif isinstance(node, Const):
                body = repr(node.value)
            elif isinstance(node, Var):
                body = node.name
            else:
                kind = "a load" if isinstance(node, Load) else type(node).__name__
                raise TypeError(f"an epilogue's expression holds {kind}; operands are read by name")
            numbers[id(node)] = len(numbers)
            lines.append(f"%{numbers[id(node)]} = {body}: {node.dtype}")
        return f"%{numbers[id(expr)]}"

    for name, expr in epilogue.results:
        lines.append(f"{name} = {visit(expr)}")
    return "; ".join(lines)
