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


def stretches(node: Node) -> bool:
    """Whether a node repeats the elements of its operand along axes of size 1 or new ones, as broadcasting does."""
    if node.op_def.view or len(node.outputs) != 1:
        return False
    sizes, made = window_source(node).sizes or (), node.outputs[0].sizes or ()
    lead = len(made) - len(sizes)
    if lead < 0 or any(size not in (1, made[lead + axis]) for axis, size in enumerate(sizes)):
        return False
    dense = [size.value for size in row_major(value_sizes(window_source(node)))]
    ((offset, strides),) = index_maps(node, sizes, dense)
    wanted = [0] * lead + [0 if n == 1 else stride for n, stride in zip(sizes, dense, strict=True)]
    return offset == 0 and all(
        stride == own or n == 1 for stride, own, n in zip(strides, wanted, made, strict=True)
    )
