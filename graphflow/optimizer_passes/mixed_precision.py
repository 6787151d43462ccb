"""Products of bfloat16 factors with float32 sums, where the user has asked for them.

After TensorFlow's auto_mixed_precision with its lists for oneDNN (auto_mixed_precision_lists.h), but more careful:

- The ops of TensorFlow's allow list, matrix products and convolutions with their gradients, take their factors rounded
  to bfloat16. TensorFlow rounds their results to bfloat16 too; here sums *and results* are float32.
- What comes between two such ops (the infer and clear lists: biases, activations, normalizations) is computed in
  float32 and rounded once, as the next product's factor. It is bfloat16 in memory all the same, if nothing else takes
  it, since the rounding is fused into what computes it.
- The deny list (exponentials, sums, losses) and the optimizers never see a rounded number: variables and their slots
  stay float32. A variable is rounded by one node for all of its products.

Errors: a factor has 8 significant bits, so a product of two is off by at most 2^-8 (relative), and a sum of k products
of random signs by about 2^-9 of its terms' root mean square times the square root of k. Numbers of any float32 size
are representable; below 2^-126 they may become zero.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from graphflow import dtypes
from graphflow.opdef import get_op
from graphflow.program import SPECIALIZED, Node, Program, ProgramBuilder, Replacement, Value, rebuild

# The op that takes rounded factors, and which inputs those are.
_PRODUCTS = {
    "MatMul": ("GraphflowMixedMatMul", (0, 1)),
    "BatchMatMul": ("GraphflowMixedBatchMatMul", (0, 1)),
    "BatchMatMulV2": ("GraphflowMixedBatchMatMul", (0, 1)),
    "Conv2D": ("GraphflowMixedConv2D", (0, 1)),
    "Conv2DBackpropInput": ("GraphflowMixedConv2DBackpropInput", (1, 2)),
    "Conv2DBackpropFilter": ("GraphflowMixedConv2DBackpropFilter", (0, 2)),
}

# Which input these take their elements from. Not those that leave most of them behind: slices, gathers.
_MOVES = {
    "Reshape": 0,
    "Transpose": 0,
    "ExpandDims": 0,
    "Squeeze": 0,
    "Split": 1,
    "SplitV": 0,
    "Unpack": 0,
}


def mixed_precision(program: Program, counts: Counter[str]) -> Program:
    """Rounds the factors of float32 products to bfloat16."""

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        found = _PRODUCTS.get(node.type)
        if found is None or controls or node.outputs[0].dtype is not dtypes.float32:
            return None
        op_type, factors = found
        op_def = get_op(op_type)
        operands = list(inputs)
        for position in factors:
            operands[position] = _rounded(builder, operands[position])
        attrs = {name: value for name, value in node.attrs.items() if name in op_def.attrs}
        counts[node.type] += 1
        return builder.node(
            op_def,
            operands,
            {**attrs, "T": dtypes.bfloat16, "U": dtypes.float32},
            origin=node.origin,
            name=node.name,
        )

    return rebuild(program, replace)


def _rounded(builder: ProgramBuilder, value: Value) -> Value:
    """The value in bfloat16; the same node for every product that it is a factor of.

    What merely moves elements then moves rounded ones, so that the rounding is fused into what computes them.
    """
    moves = []
    while value.node.type in _MOVES and not value.node.controls and value.constant is None:
        moves.append(value)
        value = value.node.inputs[_MOVES[value.node.type]]
    node = value.node
    if node.type == "Cast" and node.inputs[0].dtype is dtypes.bfloat16:
        result = node.inputs[0]
    elif value.constant is not None:
        rounded = np.asarray(value.constant).astype(dtypes.bfloat16.numpy)
        result = builder.constant(rounded, SPECIALIZED in node.attrs)
    else:
        attrs = {"SrcT": value.dtype, "DstT": dtypes.bfloat16, "Truncate": False}
        cast = builder.node(get_op("Cast"), (value,), attrs, origin=node.origin, name=node.name)
        result = cast.outputs[0]
    for moved in reversed(moves):
        node = moved.node
        inputs = list(node.inputs)
        inputs[_MOVES[node.type]] = result
        attrs = {**node.attrs, "T": dtypes.bfloat16}
        again = builder.node(node.op_def, inputs, attrs, origin=node.origin, name=node.name)
        result = again.outputs[moved.index]
    return result
