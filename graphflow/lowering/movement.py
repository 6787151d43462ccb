"""Nodes that only move data into a result made of blocks: concatenation, stacking, padding, tiling.

Each block is one small kernel that writes a strided part of the result, so nothing is computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphflow.loops import ir
from graphflow.loops.build import Builder
from graphflow.lowering.forms import rule_attrs
from graphflow.lowering.kernels import FLAT_TURN
from graphflow.lowering.sizes import Size, affine, row_major, value_sizes
from graphflow.opdef import get_op
from graphflow.program import SPECIALIZED, Node, Value
from graphflow.records import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """`result[offset + i * into] = source[i * out_of]` for i over the extents; a fill where `source` is a number."""

    source: Value | float
    extents: tuple[Size, ...]
    out_of: tuple[Size, ...]
    into: tuple[Size, ...]
    offset: Size


def _axis(node: Node, index: int, rank: int) -> int | None:
    value = node.inputs[index].constant
    return None if value is None else int(value.reshape(-1)[0]) % max(1, rank)


def _along(sources: Sequence[Value], result: Value, axis: int, stacked: bool) -> list[Block]:
    strides = row_major(value_sizes(result))
    blocks = []
    at = Size(0)
    for source in sources:
        sizes = value_sizes(source)
        into = strides[:axis] + strides[axis + 1 :] if stacked else strides
        blocks.append(Block(source, sizes, row_major(sizes), into, at.times(strides[axis])))
        step = Size(1) if stacked else sizes[axis]
        at = Size(at.value + step.value, at.dynamic or step.dynamic)
    return blocks


def concat(node: Node) -> list[Block] | None:
    """`ConcatV2(values..., axis)`."""
    rank = len(node.outputs[0].sizes or ())
    axis = _axis(node, len(node.inputs) - 1, rank)
    return None if axis is None else _along(node.inputs[:-1], node.outputs[0], axis, False)


def pack(node: Node) -> list[Block] | None:
    """`Pack(values..., axis=)`."""
    rank = len(node.outputs[0].sizes or ())
    return _along(node.inputs, node.outputs[0], int(node.attrs["axis"]) % rank, True)


def pad(node: Node) -> list[Block] | None:
    """`Pad(input, paddings)` and `PadV2(input, paddings, constant_values)`."""
    paddings = node.inputs[1].constant
    if paddings is None or SPECIALIZED in node.inputs[1].node.attrs:
        return None
    fill = 0.0
    if len(node.inputs) > 2:
        value = node.inputs[2].constant
        if value is None:
            return None
        fill = value.reshape(-1)[0].item()
    result = node.outputs[0]
    strides = row_major(value_sizes(result))
    offset = Size(0)
    for (before, _), stride in zip(paddings.tolist(), strides, strict=True):
        step = Size(before).times(stride)
        offset = Size(offset.value + step.value, offset.dynamic or (step.dynamic and step.value != 0))
    source = node.inputs[0]
    return [
        _filled(result, fill),
        Block(source, value_sizes(source), row_major(value_sizes(source)), strides, offset),
    ]


def tile(node: Node) -> list[Block] | None:
    """`Tile(input, multiples)`."""
    multiples = node.inputs[1].constant
    if multiples is None:
        return None
    fixed = SPECIALIZED not in node.inputs[1].node.attrs
    source = node.inputs[0]
    sizes, strides = value_sizes(source), row_major(value_sizes(node.outputs[0]))
    own = row_major(sizes)
    extents: list[Size] = []
    out_of: list[Size] = []
    into: list[Size] = []
    for size, stride, target, count in zip(sizes, own, strides, multiples.reshape(-1).tolist(), strict=True):
        extents += [Size(count, not fixed), size]
        out_of += [Size(0), stride]
        into += [size.times(target), target]
    return [Block(source, tuple(extents), tuple(out_of), tuple(into), Size(0))]


def strided_slice_grad(node: Node) -> list[Block] | None:
    """`StridedSliceGrad(shape, begin, end, strides, dy)`: zeros, and `dy` where the slice reads."""
    bounds = [value.constant for value in node.inputs[1:4]]
    rule = get_op("StridedSlice").index
    if rule is None or any(bound is None for bound in bounds):
        return None
    result, source = node.outputs[0], node.inputs[4]
    sizes = value_sizes(result)
    strides = row_major(sizes)
    found = rule([s.value for s in sizes], [s.value for s in strides], *bounds, **rule_attrs(rule, node))
    fixed = not any(SPECIALIZED in value.node.attrs for value in node.inputs[1:4])
    offset, into = affine(found, sizes, strides, fixed)
    own = value_sizes(source)
    return [_filled(result, 0), Block(source, own, row_major(own), into, offset)]


def _filled(result: Value, number: float) -> Block:
    sizes = value_sizes(result)
    total = Size(math.prod(s.value for s in sizes), any(s.dynamic for s in sizes))
    return Block(number, (total,), (Size(0),), (Size(1),), Size(0))


MOVES: dict[str, Callable[[Node], list[Block] | None]] = {
    "concat": concat,
    "pack": pack,
    "pad": pad,
    "tile": tile,
    "strided_slice_grad": strided_slice_grad,
}


def blocks_of(node: Node) -> list[Block] | None:
    """Returns the blocks of a node's result, or None if it has no such form."""
    rule = MOVES.get(node.op_def.lowering)
    if rule is None or any(0 in (value.sizes or ()) for value in (*node.inputs, *node.outputs)):
        return None
    return rule(node)


@dataclass(slots=True)
class Move:
    """The kernel of a block: parameters are the source (unless a number is filled in), the result, then ints."""

    kernel: ir.Kernel
    ints: list[int]
    parallel: bool


def block_kernel(block: Block, dtype: str) -> Move:
    """Returns the kernel that writes a block."""
    b = Builder("move")
    source = b.buffer("x", dtype) if isinstance(block.source, Value) else None
    target = b.buffer("y", dtype)
    ints: list[int] = []
    names: dict[int, ir.Expr] = {}

    def size(value: Size) -> ir.Expr:
        if not value.dynamic or value.value == 0:
            return b.const(value.value, "i64")
        if value.value not in names:
            names[value.value] = b.int_param("n")
            ints.append(value.value)
        return names[value.value]

    axes = _merged(block)
    points = math.prod(extent.value for extent, _, _ in axes)
    # Open sizes always get the parallel form, so that a new size needs no new code.
    parallel = any(extent.dynamic for extent, _, _ in axes) or points > FLAT_TURN
    variables: list[ir.Expr] = []

    def index(offset: Size, which: int) -> ir.Expr:
        total = size(offset)
        for axis, variable in zip(axes, variables, strict=True):
            stride = axis[which]
            if stride.value:
                total = b.add(total, variable if stride.value == 1 else b.mul(variable, size(stride)))
        return total

    def row(start: ir.Expr | int, stop: ir.Expr) -> None:
        with b.loop("i", start, stop, "vector") as i:
            variables.append(i)
            if source is not None:
                b.store(target, index(block.offset, 2), b.load(source, index(Size(0), 1)))
            else:
                assert not isinstance(block.source, Value)
                b.store(target, index(block.offset, 2), b.const(block.source, dtype))
            variables.pop()

    def nest(depth: int) -> None:
        extent = size(axes[depth][0])
        if depth == len(axes) - 1:
            row(0, extent)
            return
        with b.loop("i", 0, extent, "parallel" if depth == 0 and parallel else "serial") as i:
            variables.append(i)
            nest(depth + 1)
            variables.pop()

    if len(axes) == 1 and parallel:
        extent, turn = size(axes[0][0]), b.const(FLAT_TURN, "i64")
        with b.loop("turn", 0, b.floordiv(b.add(extent, FLAT_TURN - 1), turn), "parallel") as number:
            start = b.let("start", b.mul(number, turn))
            row(start, b.let("stop", b.min(b.add(start, turn), extent)))
    else:
        nest(0)
    return Move(b.kernel(), ints, parallel)


def _merged(block: Block) -> list[tuple[Size, Size, Size]]:
    """The axes (extent, source stride, result stride) with neighbours merged where both walk on."""
    result: list[tuple[Size, Size, Size]] = []
    for extent, out_of, into in zip(block.extents, block.out_of, block.into, strict=True):
        if extent.value == 1 and not extent.dynamic:
            continue
        if result:
            before = result[-1]
            if (
                before[1].value == out_of.value * extent.value
                and before[2].value == into.value * extent.value
            ):
                result[-1] = (before[0].times(extent), out_of, into)
                continue
        result.append((extent, out_of, into))
    return result or [(Size(1), Size(0), Size(0))]
