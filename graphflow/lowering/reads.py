"""Ops whose results are expressions over any elements of their operands: slices, gathers, one-hot rows, fills.

Nothing is computed here twice and nothing carries over, so what uses such a result can share its kernel.
"""

from __future__ import annotations

from graphflow.loops.ir import Expr
from graphflow.lowering.read_forms import Operands, Read, Strides
from graphflow.lowering.rearrangements import REARRANGEMENTS
from graphflow.lowering.sizes import Size, value_sizes
from graphflow.program import Node, Value


def _is_scalar(value: Value) -> bool:
    return value.sizes == ()


def _fill(node: Node, operands: Operands) -> Expr:
    """`Fill(dims, value)`."""
    return operands.element(node.inputs[1], _nowhere(node))


def _nowhere(node: Node) -> Strides:
    return (Size(0),) * len(node.outputs[0].sizes or ())


def _one_hot(node: Node, operands: Operands) -> Expr:
    """`OneHot(indices, depth, on_value, off_value, axis=)`."""
    indices, _, on, off = node.inputs
    own = operands.strides(indices)
    axis = int(node.attrs["axis"]) % (len(own) + 1)
    place = operands.position(tuple(Size(int(i == axis)) for i in range(len(own) + 1)))
    index = operands.element(indices, (*own[:axis], Size(0), *own[axis:]))
    b = operands.b
    hit = b.eq(b.cast(index, "i64"), place)
    return b.select(hit, operands.element(on, _nowhere(node)), operands.element(off, _nowhere(node)))


def _placed(node: Node, operands: Operands) -> Expr:
    """`GraphflowPlaced(part, index, size, axis=)`."""
    part, index, _ = node.inputs
    axis, own = int(node.attrs["axis"]), operands.strides(part)
    place = operands.position(tuple(Size(int(i == axis)) for i in range(len(own) + 1)))
    value = operands.element(part, (*own[:axis], Size(0), *own[axis:]))
    b = operands.b
    hit = b.eq(b.cast(operands.element(index, _nowhere(node)), "i64"), place)
    return b.select(hit, value, b.const(0, value.dtype))


def _batch_dims(node: Node) -> int:
    batch = int(node.attrs.get("batch_dims", 0))
    return batch + len(node.inputs[1].sizes or ()) if batch < 0 else batch


def _gather_axis(node: Node) -> int | None:
    if len(node.inputs) < 3:
        return _batch_dims(node)
    axis = node.inputs[2].constant
    return None if axis is None else int(axis) % max(1, len(node.inputs[0].sizes or ()))


def _gather(node: Node, operands: Operands) -> Expr:
    """`GatherV2(params, indices, axis, batch_dims=)` and `ResourceGather(state, indices, batch_dims=)`."""
    params, indices = node.inputs[:2]
    axis, batch = _gather_axis(node), _batch_dims(node)
    assert axis is not None
    sizes = value_sizes(params)
    across, along = operands.strides(params), operands.strides(indices)
    nothing = (Size(0),)
    count = len(along) - batch
    from_params = (*across[:axis], *nothing * count, *across[axis + 1 :])
    from_indices = (
        *along[:batch],
        *nothing * (axis - batch),
        *along[batch:],
        *nothing * (len(sizes) - axis - 1),
    )
    b = operands.b
    index = b.cast(operands.element(indices, from_indices), "i64")
    # A wrong index is reported by a check of its own; here it only must not read outside.
    index = b.max(b.min(index, b.sub(operands.size(sizes[axis]), 1)), 0)
    return operands.gathered(params, from_params, b.mul(index, operands.size(across[axis])))


def _takes_vectors(node: Node) -> bool:
    params, indices = node.inputs[0].sizes, node.inputs[1].sizes
    return params is not None and indices is not None and 0 < (indices or (0,))[-1] <= len(params)


def _gather_nd(node: Node, operands: Operands) -> Expr:
    """`GatherNd(params, indices)` and `ResourceGatherNd(state, indices)`."""
    params, indices = node.inputs[:2]
    depth = (indices.sizes or ())[-1]
    sizes, across, along = value_sizes(params), operands.strides(params), operands.strides(indices)
    lead, rest = along[:-1], across[depth:]
    from_indices = (*lead, *(Size(0),) * len(rest))
    b = operands.b
    place: Expr | None = None
    for axis in range(depth):
        step = b.mul(b.const(axis, "i64"), operands.size(along[-1]))
        index = b.cast(operands.gathered(indices, from_indices, step), "i64")
        # As for a gather: a wrong index is reported elsewhere.
        index = b.max(b.min(index, b.sub(operands.size(sizes[axis]), 1)), 0)
        part = b.mul(index, operands.size(across[axis]))
        place = part if place is None else b.add(place, part)
    assert place is not None
    return operands.gathered(params, (*(Size(0),) * len(lead), *rest), place)


def _takes_range(node: Node) -> bool:
    return node.inputs[0].dtype.is_integer and all(_is_scalar(value) for value in node.inputs)


def _range(node: Node, operands: Operands) -> Expr:
    """`Range(start, limit, delta)` of integers."""
    start, _, delta = (operands.element(value, (Size(0),)) for value in node.inputs)
    b = operands.b
    return b.add(start, b.mul(b.cast(operands.position((Size(1),)), start.dtype), delta))


def _reverse_sequence(node: Node, operands: Operands) -> Expr:
    """`ReverseSequence(input, seq_lengths, seq_dim=, batch_dim=)`."""
    given, lengths = node.inputs
    sizes, across = value_sizes(given), operands.strides(given)
    along, over = (int(node.attrs[name]) % len(sizes) for name in ("seq_dim", "batch_dim"))
    axes = range(len(sizes))
    each = tuple(operands.strides(lengths)[0] if axis == over else Size(0) for axis in axes)
    b = operands.b
    length = b.cast(operands.element(lengths, each), "i64")
    place = operands.position(tuple(Size(int(axis == along)) for axis in axes))
    index = b.select(b.lt(place, length), b.sub(b.sub(length, 1), place), place)
    # As for a gather: a wrong length is reported elsewhere.
    index = b.max(b.min(index, b.sub(operands.size(sizes[along]), 1)), 0)
    others = tuple(Size(0) if axis == along else across[axis] for axis in axes)
    return operands.gathered(given, others, b.mul(index, operands.size(across[along])))


def _takes_sequences(node: Node) -> bool:
    sizes = node.inputs[0].sizes or ()
    along, over = (int(node.attrs[name]) % max(1, len(sizes)) for name in ("seq_dim", "batch_dim"))
    return along != over and node.inputs[1].sizes == (sizes[over],)


READS: dict[str, Read] = {
    "fill": Read(lambda node: _is_scalar(node.inputs[1]), _fill),
    "one_hot": Read(lambda node: _is_scalar(node.inputs[2]) and _is_scalar(node.inputs[3]), _one_hot),
    "placed": Read(lambda node: _is_scalar(node.inputs[1]), _placed),
    "range": Read(_takes_range, _range),
    "gather_nd": Read(_takes_vectors, _gather_nd),
    "reverse_sequence": Read(_takes_sequences, _reverse_sequence),
    "gather": Read(lambda node: _gather_axis(node) is not None, _gather),
    **REARRANGEMENTS,
}


def read_of(node: Node) -> Read | None:
    """Returns how a node's result is read, or None if it has no such form."""
    rule = READS.get(node.op_def.lowering)
    return rule if rule is not None and rule.takes(node) else None
