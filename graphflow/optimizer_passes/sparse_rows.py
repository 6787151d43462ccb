"""Keeps the rows of sparse gradients where they are: sums of equal indices without a result of unknown size.

An optimizer adds up the rows of equal indices (`Unique`, `UnsortedSegmentSum`) before it applies them, and how many
different ones there are only the run knows. Here each index takes the place of its first mention instead: there are as
many rows as before, the sum stands at the first of equals, and the others are marked with an index that names no row.
What scatters rows leaves those out. With each row named once, the update of some rows of a variable and its slots is
that of a whole variable, on rows that are read and put back.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.opdef import OpDef, get_op, op
from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild
from graphflow.shapes import TensorShape

Array = np.ndarray[Any, Any]
Users = dict[Value, list[Node]]

_SCATTERS = {"ResourceScatterAdd": "Add", "ResourceScatterSub": "Sub", "ResourceScatterUpdate": "Update"}
_ROWS = "dtype:type; Tindices:type{int32|int64}"


def _ids_shape(node: Any) -> TensorShape:
    shape: TensorShape = node.inputs[0].shape
    if shape.rank not in (None, 1):
        raise ShapeError(f"indices must be a vector, have shape {shape}")
    return shape


@op("GraphflowRowIds", "ids:T", "output:T", "limit:int; T:type{int32|int64}", infer=_ids_shape, view=True,
    differentiable=False)  # fmt: skip
def row_ids_op(ids: Array, *, limit: int) -> Array:
    """The indices themselves, which must be those of rows."""
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < limit:
        position = int(np.argmax((ids < 0) | (ids >= limit)))
        raise InvalidArgumentError(
            None, None, f"indices[{position}] = {int(ids[position])} is not in [0, {limit})"
        )
    return ids


@row_ids_op.bounds
def _row_ids_bounds(node: Any) -> dict[int, tuple[int, int]]:
    return {0: (0, int(node.attrs["limit"]))}


def _scatter_op(which: str, write: Any) -> OpDef:
    def body(state: Array, indices: Array, updates: Array) -> Array:
        result = np.array(state)
        kept = indices >= 0
        write(result, indices[kept], updates[kept])
        return result

    body.__doc__ = "Changes rows of a variable; negative indices name none."
    return op(f"GraphflowScatter{which}", "resource:resource; indices:Tindices; updates:dtype", "", _ROWS,
              infer=lambda node: [], effects="writes", updates=(0,), differentiable=False,
              lowering=f"scatter_{which.lower()}")(body)  # fmt: skip


def _set_rows(state: Array, indices: Array, updates: Array) -> None:
    state[indices] = updates


_scatter_op("Add", np.add.at)
_scatter_op("Sub", np.subtract.at)
_scatter_op("Update", _set_rows)


def sparse_rows(program: Program, counts: Counter[str]) -> Program:
    """Replaces sums over equal indices, and what applies them."""
    users = program.users()
    roots = set(program.roots)
    limits = {
        node: limit
        for node in program.nodes
        if node.type == "Unique" and (limit := _limit(node, users, roots)) is not None
    }
    if not limits:
        return program
    checked: dict[Value, Value] = {}  # indices with the repeated ones marked -> as they were

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node in limits:
            counts["sums"] += 1
            ids = b.emit("GraphflowRowIds", inputs[0], limit=limits[node])
            places = b.emit("Range", _number(b, 0), b.emit("Size", ids), _number(b, 1))
            limit = b.constant(np.asarray(limits[node], np.int32))
            first = b.emit("GatherV2", b.emit("UnsortedSegmentMin", places, ids, limit), ids, _number(b, 0))
            none = b.constant(np.asarray(-1, ids.dtype.numpy))
            marked = b.emit("SelectV2", b.emit("Equal", first, places), ids, none)
            checked[marked] = ids
            wanted = node.outputs[1].dtype
            return [marked, first if first.dtype is wanted else b.emit("Cast", first, DstT=wanted)]
        position = _indices_of(node)
        if position is None or inputs[position] not in checked:
            return None
        marked = inputs[position]
        if node.type in _SCATTERS:
            kind = get_op(f"GraphflowScatter{_SCATTERS[node.type]}")
            return b.node(kind, inputs, _row_attrs(inputs[0], marked))
        counts["updates"] += 1
        return _updated(b, node, inputs, checked[marked], position)

    return rebuild(program, replace)


def _number(b: ProgramBuilder, value: int) -> Value:
    return b.constant(np.asarray(value, np.int32))


def _row_attrs(state: Value, indices: Value) -> dict[str, Any]:
    return {"dtype": state.dtype, "Tindices": indices.dtype}


def _updated(
    b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], ids: Value, position: int
) -> list[Value]:
    """The new states: their rows taken out, updated as if they were all, and put back."""
    dense = get_op(node.type.replace("Sparse", ""))
    states = inputs[: len(node.op_def.updates)]
    rows = [
        b.emit("ResourceGather", state, ids, dtype=state.dtype, batch_dims=0, validate_indices=True)
        for state in states
    ]
    rest = [value for i, value in enumerate(inputs) if i >= len(states) and i != position]
    attrs = {name: node.attrs[name] for name in dense.attrs if name in node.attrs}
    updated = b.node(dense, [*rows, *rest], attrs).outputs
    put = get_op("GraphflowScatterUpdate")
    marked = inputs[position]
    return [
        b.node(put, (state, marked, new), _row_attrs(state, marked)).outputs[0]
        for state, new in zip(states, updated, strict=True)
    ]


def _indices_of(node: Node) -> int | None:
    """Which operand of a node that applies rows is their indices; None for all other nodes."""
    if node.controls:
        return None
    if node.type in _SCATTERS:
        return 1
    if not node.type.startswith("ResourceSparseApply"):
        return None
    dense = get_op(node.type.replace("Sparse", ""))
    names = [arg.name for arg in node.op_def.inputs]
    if [name for name in names if name != "indices"] != [arg.name for arg in dense.inputs]:
        return None
    return names.index("indices") if dense.scalar is not None else None


def _limit(unique: Node, users: Users, roots: set[Value]) -> int | None:
    """How many rows there are, if all that is done with unique indices is to add up rows and apply the sums."""
    ids, places = unique.outputs
    if unique.controls or ids in roots or places in roots or ids.dtype.name not in ("int32", "int64"):
        return None
    sums = users.get(places, [])
    if not sums or any(n.type != "UnsortedSegmentSum" or n.inputs[1] is not places for n in sums):
        return None
    ends = [n for n in users.get(ids, []) if _indices_of(n) is not None]
    for shape in (n for n in users.get(ids, []) if n not in ends):
        if shape.type != "Shape" or shape.outputs[0] in roots:
            return None
        for part in users.get(shape.outputs[0], []):
            if part.type != "StridedSlice" or part.outputs[0] in roots:
                return None
            if any(
                n not in sums or n.inputs[2] is not part.outputs[0] for n in users.get(part.outputs[0], [])
            ):
                return None
    rows = _by_row([n.outputs[0] for n in sums], ends, users, roots)
    if rows is None or not ends:
        return None
    limits = set()
    for end in ends:
        position = _indices_of(end)
        assert position is not None
        taken = [value for i, value in enumerate(end.inputs) if i != position and value in rows]
        if end.inputs[position] is not ids or len(taken) != 1:
            return None
        limits.add((end.inputs[0].static_shape.as_tuple() or (None,))[0])
    limit = limits.pop()
    return None if limits or limit is None or limit >= 2**31 else limit


def _by_row(sums: list[Value], ends: list[Node], users: Users, roots: set[Value]) -> set[Value] | None:
    """The sums and what is computed of them row by row; None if anything but `ends` takes these in another way."""
    found = set(sums)
    stack = list(sums)
    while stack:
        value = stack.pop()
        if value in roots or value.shape.rank is None:
            return None
        for user in users.get(value, []):
            if user in ends:
                continue
            if user.op_def.scalar is None or user.op_def.stateful or user.controls:
                return None
            rank = value.shape.rank
            for other in user.inputs:
                if other not in found and (other.shape.rank is None or other.shape.rank >= rank):
                    return None
            for made in user.outputs:
                if made not in found:
                    found.add(made)
                    stack.append(made)
    return found
