"""Values that are read where another value's memory is: slices, parts, broadcasts, and reshapes of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphflow.lowering.forms import Form, index_constants, index_maps, window_source
from graphflow.lowering.sizes import Size, affine, reshaped, row_major, value_sizes
from graphflow.program import SPECIALIZED, Node, Value


def view_of(value: Value, forms: Mapping[Node, Form]) -> tuple[Value, Size, tuple[Size, ...]]:
    """Returns where a value's elements lie: in the memory of which value, from where, how far apart per axis."""
    chain: list[Value] = []
    while forms.get(value.node) is Form.WINDOW:
        chain.append(value)
        value = window_source(value.node)
    offset, sizes = Size(0), value_sizes(value)
    strides = row_major(sizes)
    for made in reversed(chain):
        further, strides = mapped(made.node, sizes, strides)[made.index]
        offset, sizes = offset.plus(further), value_sizes(made)
    return value, offset, strides


def mapped(node: Node, sizes: Sequence[Size], strides: Sequence[Size]) -> list[tuple[Size, tuple[Size, ...]]]:
    """Returns offset and strides of each output of an affine read of memory with these sizes and strides."""
    if node.op_def.view:
        same = reshaped(sizes, strides, value_sizes(node.outputs[0]))
        assert same is not None
        return [(Size(0), same)]
    found = index_maps(node, [s.value for s in sizes], [s.value for s in strides])
    fixed = not any(value.node.attrs.get(SPECIALIZED) for value in index_constants(node))
    return [affine(one, sizes, strides, fixed) for one in found]


def is_window(node: Node, forms: Mapping[Node, Form]) -> bool:
    """Whether a node that only changes the shape of a window gives a window again."""
    source = node.inputs[0]
    if forms.get(source.node) is not Form.WINDOW:
        return False
    return reshaped(value_sizes(source), view_of(source, forms)[2], value_sizes(node.outputs[0])) is not None
