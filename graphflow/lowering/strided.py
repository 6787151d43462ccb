"""Matrix products that take their operands, and leave their result, where they lie.

Slices, transposes and reshapes around a product (heads of attention cut out of one projection and put together again)
are strides to it: no kernel moves data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence

from graphflow.loops.library import Attention, AttentionGradient, Gemm, Lies
from graphflow.lowering.calls import CallNode
from graphflow.lowering.forms import Form, window_source
from graphflow.lowering.sizes import Size, reshaped, row_major, value_sizes
from graphflow.lowering.windows import mapped
from graphflow.program import Node, Value
from graphflow.records import dataclass

Strides = tuple[Size, ...]
Product = Gemm | Attention | AttentionGradient


def strided_view(
    value: Value, forms: Mapping[Node, Form], fused: Container[Node]
) -> tuple[Value, Size, Strides]:
    """Returns where a value's elements lie, reads of other orders looked through as well.

    Args:
      value: the value.
      forms: the form of each node.
      fused: the nodes that share a kernel: what they only reshape is not in memory as it was before.
    """
    chain: list[Value] = []
    while True:
        node = value.node
        form = forms.get(node)
        affine = form is Form.WINDOW or (form is Form.READ and node.op_def.index is not None)
        if not affine and (form is not Form.ALIAS or node in fused):
            break
        chain.append(value)
        value = window_source(node)
    offset, sizes = Size(0), value_sizes(value)
    strides = row_major(sizes)
    for made in reversed(chain):
        if not made.node.op_def.view:
            further, strides = mapped(made.node, sizes, strides)[made.index]
            offset = offset.plus(further)
        elif (same := reshaped(sizes, strides, value_sizes(made))) is not None:
            strides = same
        else:  # elements in this order lie at no strides: from here on they are memory of their own
            value, offset, strides = made, Size(0), row_major(value_sizes(made))
        sizes = value_sizes(made)
    return value, offset, strides


@dataclass(frozen=True, slots=True)
class Side:
    """How an operand lies: whether its last two axes are swapped, its row stride, its step along each batch axis."""

    transposed: bool
    stride: Size
    steps: Strides


def _side(sizes: Sequence[Size], strides: Strides, batch: Sequence[Size], transposed: bool) -> Side | None:
    """The operand, or None if neither of its last two axes lies side by side."""
    if any(stride.value < 0 for stride in strides):
        return None
    (rows, columns), (down, across) = sizes[-2:], strides[-2:]
    if across.value == 1 or columns.value == 1:
        stride = columns if rows.value == 1 else down
    elif down.value == 1 or rows.value == 1:
        transposed, stride = not transposed, across
    else:
        return None
    steps = [Size(0)] * len(batch)
    lead = len(batch) - (len(sizes) - 2)
    for axis, (size, step) in enumerate(zip(sizes[:-2], strides[:-2], strict=True)):
        if size.value != 1 or batch[lead + axis].value == 1:
            steps[lead + axis] = step
    return Side(transposed, stride, tuple(steps))


def _as_matrix(sizes: Strides, strides: Strides) -> tuple[Strides, Strides | None]:
    """Sizes and strides with all leading axes made one; no strides where they do not lie so."""
    rows = Size(1)
    for size in sizes[:-1]:
        rows = rows.times(size)
    wanted = (rows, sizes[-1])
    return wanted, reshaped(sizes, strides, wanted)


def named(sizes: dict[str, int], name: str, size: Size) -> int | None:
    """A number of a call: fixed, or noted among its run-time sizes."""
    if not size.dynamic:
        return size.value
    sizes[name] = size.value
    return None


def side_of(found: CallNode, name: str) -> Side | None:
    """Returns how an operand of a product lies, or None if it is no plain matrix."""
    call = found.call
    assert isinstance(call, Gemm)
    stride, steps = getattr(call, f"stride_{name}"), getattr(call, f"steps_{name}")
    transposed = getattr(call, f"transpose_{name}")

    def size(known: int | None, key: str) -> Size:
        return Size(found.sizes[key], True) if known is None else Size(known)

    if stride != "dense":
        along = tuple(size(step, f"step_{name}{axis}") for axis, step in enumerate(steps or ()))
        return Side(transposed, size(stride, f"stride_{name}"), along) if steps is not None else None
    sizes = value_sizes(found.operands[name])
    if len(sizes) > 2 and not call.batch:
        return None
    batch = [size(extent, f"batch{axis}") for axis, extent in enumerate(call.batch)]
    return _side(sizes, row_major(sizes), batch, transposed)


def with_operands_in_place(
    found: CallNode, batch: Sequence[Size], forms: Mapping[Node, Form], fused: Container[Node]
) -> CallNode | None:
    """Returns a product that reads its operands where they lie, or None where they are memory of their own.

    Args:
      found: a product of dense operands.
      batch: the leading sizes of its result.
      forms: the form of each node.
      fused: the nodes that share a kernel.
    """
    call = found.call
    if not isinstance(call, Gemm):
        return None
    changes: dict[str, object] = {}
    sizes, operands, offsets = dict(found.sizes), dict(found.operands), dict(found.offsets)
    for name in ("a", "b"):
        value = found.operands[name]
        if getattr(call, f"stride_{name}") != "dense":
            continue
        base, offset, strides = strided_view(value, forms, fused)
        if base is value or forms.get(base.node) is Form.UNIFORM:
            continue
        extents, lie = value_sizes(value), strides
        if not call.batch and len(strides) > 2:
            extents, found_strides = _as_matrix(extents, strides)
            if found_strides is None:
                continue
            lie = found_strides
        side = _side(extents, lie, batch if call.batch else (), getattr(call, f"transpose_{name}"))
        if side is None:
            continue
        operands[name], offsets[name] = base, offset.value * value.dtype.size
        changes[f"transpose_{name}"] = side.transposed
        changes[f"stride_{name}"] = named(sizes, f"stride_{name}", side.stride)
        changes[f"steps_{name}"] = tuple(
            named(sizes, f"step_{name}{axis}", step) for axis, step in enumerate(side.steps)
        )
    if not changes:
        return None
    return CallNode(dataclasses.replace(call, **changes), operands, found.result, sizes, offsets)  # type: ignore[arg-type]


def before_transpose(value: Value, user: Node, strides: Strides | None = None) -> Strides | None:
    """Returns how far apart a value's elements lie in the result of the transpose that takes it.

    Args:
      value: the value.
      user: the node that takes it.
      strides: how far apart the elements of the node's result lie; dense by default.

    Returns:
      The strides, or None where the node is something else.
    """
    if user.op_def.index is None or user.op_def.view or len(user.outputs) != 1:
        return None
    sizes, made = value_sizes(value), value_sizes(user.outputs[0])
    own = row_major(sizes)
    ((offset, moves),) = mapped(user, sizes, own)
    place = {
        stride.value: axis
        for axis, (size, stride) in enumerate(zip(sizes, own, strict=True))
        if size.value != 1
    }
    result = [Size(0)] * len(sizes)
    for size, move, lies in zip(made, moves, strides or row_major(made), strict=True):
        if size.value == 1:
            continue
        axis = place.pop(move.value, None)
        if axis is None or sizes[axis].value != size.value:
            return None
        result[axis] = lies
    return None if offset.value or place else tuple(result)


def product_strides(call: Product, value: Value, strides: Strides) -> Strides | None:
    """Returns a product's strides for a result whose elements lie so, or None where rows are torn apart."""
    sizes = value_sizes(value)
    if len(sizes) < 2 or (sizes[-1].value != 1 and strides[-1].value != 1):
        return None
    if not call.batch:
        sizes, matrix = _as_matrix(sizes, strides)
        if matrix is None:
            return None
        strides = matrix
    return (*strides[:-2], sizes[-1], strides[-1]) if sizes[-2].value == 1 else strides


def with_result_at(call: Product, name: str, strides: Strides, sizes: dict[str, int]) -> Product:
    """Returns a product whose result of a name lies at these strides; what of them is open is added to the sizes."""
    stride = named(sizes, f"stride_{name}", strides[-2])
    steps = tuple(named(sizes, f"step_{name}{axis}", step) for axis, step in enumerate(strides[:-2]))
    if not isinstance(call, AttentionGradient):
        return dataclasses.replace(call, stride_c=stride, steps_c=steps)
    operands = tuple(Lies(name, stride, steps) if one.name == name else one for one in call.operands)
    return dataclasses.replace(call, operands=operands)


__all__ = [
    "Product",
    "Side",
    "Strides",
    "before_transpose",
    "named",
    "product_strides",
    "side_of",
    "strided_view",
    "with_operands_in_place",
    "with_result_at",
]
