"""Sums of matrix products become one product of stacked operands: `sum of aᵢᵀ bᵢ` is `[a₀; a₁; …]ᵀ [b₀; b₁; …]`.

This is what the gradient of a weight that an unrolled loop uses in every step comes to: many products of few rows,
each of which would go once through the whole result. The sum is taken in another order, as it is by any other way to
cut a product into pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild


def stack_products(program: Program, counts: Counter[str]) -> Program:
    """Replaces each `AddN` of products that nobody else takes."""
    users = program.users()
    roots = set(program.roots)

    def is_part(value: Value) -> bool:
        node = value.node
        return (
            node.type == "MatMul"
            and bool(node.attrs["transpose_a"])
            and not node.attrs["transpose_b"]
            and value.dtype.is_floating
            and len(users.get(value, ())) == 1
            and value not in roots
            and _pays(node)
        )

    def replace(
        b: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        if node.type != "AddN" or controls:
            return None
        # In the order in which their operands were made: another stack of these then is the same.
        parts = sorted(
            {
                i
                for i, old in enumerate(node.inputs)
                if is_part(old) and node.inputs.count(old) == 1 and _device(old.node) == _device(node)
            },
            key=lambda i: (node.inputs[i].node.inputs[0].node.serial, i),
        )
        if len(parts) < 2:
            return None
        products = [inputs[i].node for i in parts]
        a = _stacked(b, [product.inputs[0] for product in products])
        other = _stacked(b, [product.inputs[1] for product in products])
        if a is None or other is None:
            return None
        product = b.node(products[0].op_def, (a, other), products[0].attrs).outputs[0]
        counts["products"] += len(parts)
        rest = [value for i, value in enumerate(inputs) if i not in parts]
        return [b.emit("AddN", product, *rest, N=len(rest) + 1) if rest else product]

    return rebuild(program, replace)


def _device(node: Node) -> str:
    """Where a node was placed: what others have made is summed where it was made."""
    return "" if node.origin is None else node.origin.device


def _pays(node: Node) -> bool:
    """Whether stacking the operands moves less than adding the result to a sum would."""
    a, b = (value.shape.as_tuple() for value in node.inputs)
    if a is None or b is None or len(a) != 2 or len(b) != 2 or a[1] is None or b[1] is None:
        return False
    rows = a[0] if a[0] is not None else b[0]
    return rows is None or rows * (a[1] + b[1]) <= 2 * a[1] * b[1]


def _stacked(b: ProgramBuilder, parts: Sequence[Value]) -> Value | None:
    """The matrices one below the other."""
    shape = parts[0].shape
    columns = shape.as_list()[1]
    if any(part.shape.as_list()[1] != columns for part in parts):
        return None
    if shape.is_fully_defined() and all(part.shape == shape for part in parts):
        # What unstacked the operands before put them together again like this.
        packed = b.emit("Pack", *parts, N=len(parts), axis=0)
        sizes = np.array([len(parts) * (shape.as_list()[0] or 0), columns], np.int32)
        return b.emit("Reshape", packed, b.constant(sizes))
    return b.emit("ConcatV2", *parts, b.constant(np.asarray(0, np.int32)), N=len(parts))
