"""Which rows of a batch a result is made of: the rules that ops name with `OpDef.by_row`.

A rule is handed a program's node and, for each of its inputs, where the rows of the batch lie in it (`Along`), or None
where the value is the same whatever the rows are, or `ByCount` where it follows from how many rows there are. It says
the same of each output. It may only give an axis where row i of the output is made of row i of the inputs alone, by
the same steps wherever the row stands and however many there are; else it gives or raises `NotByRow` with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from graphflow.symbolic import is_symbolic


class Along(NamedTuple):
    """Where the rows of a batch lie in a value.

    Attributes:
      axis: along this axis.
      each: so many elements of the axis, one after another, belong to one row.
    """

    axis: int
    each: Any = 1


class ByCount(NamedTuple):
    """Stands for a value that the number of rows decides, such as a shape.

    Attributes:
      count: that number, as sizes hold it.
    """

    count: Any


class NotByRow(Exception):
    """Rows are mixed, or nobody knows that they are not; says why."""


Given = Along | ByCount | NotByRow | None
Found = Sequence[Given]


def same(a: Any, b: Any) -> bool:
    """Whether two sizes are the same for every number of rows."""
    difference = a - b
    return not is_symbolic(difference) and difference == 0


def _sizes(value: Any) -> tuple[Any, ...]:
    sizes = value.shape.as_tuple()
    if sizes is None or None in sizes:
        raise NotByRow("has a shape that only the run knows")
    return tuple(sizes)


def _only(given: Sequence[Given], *positions: int) -> None:
    """Refuses rows in any other input than these."""
    for i, found in enumerate(given):
        if isinstance(found, Along) and i not in positions:
            raise NotByRow(f"takes rows of the batch as its input {i}, which decides about all of its result")


def plain_axis(value: Any, what: str, rank: int) -> int:
    """The axis that a constant names.

    Raises:
      NotByRow: if it is no constant.
    """
    number = value.constant
    if number is None or number.size != 1:
        raise NotByRow(f"has {what} that only the run knows")
    axis = int(number.reshape(-1)[0])
    return axis + rank if axis < 0 else axis


def first_axis(node: Any, given: Sequence[Given]) -> Found:
    """For ops that do the same for each item along the first axis of the first input: images, lines, records."""
    _only(given, 0)
    found = given[0]
    if not isinstance(found, Along) or found.axis != 0:
        raise NotByRow("takes the batch along another axis than the first")
    return [found] * len(node.outputs)


def first_output_only(node: Any, given: Sequence[Given]) -> Found:
    """As `first_axis`; the other outputs are as the other inputs."""
    return [first_axis(node, given)[0], *[None] * (len(node.outputs) - 1)]


def same_places(node: Any, given: Sequence[Given]) -> Found:
    """For ops whose result has an element for each of the first input's, made of that alone."""
    _only(given, 0)
    return [given[0]] * len(node.outputs)


def element_wise(node: Any, given: Sequence[Given]) -> Found:
    """For ops whose result has an element for each set of elements that broadcasting brings together."""
    rank = len(_sizes(node.outputs[0]))
    wanted: Along | None = None
    for value, found in zip(node.inputs, given, strict=True):
        if isinstance(found, Along):
            moved = Along(found.axis + rank - len(_sizes(value)), found.each)
            if wanted is None:
                wanted = moved
            elif wanted.axis != moved.axis or not same(wanted.each, moved.each):
                raise NotByRow("brings rows of the batch together along different axes")
    assert wanted is not None
    for value, found in zip(node.inputs, given, strict=True):
        if found is None:
            axis = wanted.axis - rank + len(_sizes(value))
            if axis >= 0 and not same(_sizes(value)[axis], 1):
                raise NotByRow("brings the batch together with a size of its own")
    return [wanted] * len(node.outputs)


def along_last(node: Any, given: Sequence[Given]) -> Found:
    """For ops that go through the last axis, for each place before it by itself."""
    found: Along | None = None
    for value, item in zip(node.inputs, given, strict=True):
        if not isinstance(item, Along):
            if item is None and value.shape.rank:
                raise NotByRow("brings the batch together with a value that is no part of it")
            continue
        if item.axis >= len(_sizes(node.inputs[0])) - 1 or (found is not None and item != found):
            raise NotByRow("goes through the axis of the batch")
        found = item
    return [found] * len(node.outputs)


def along_given(position: int) -> Any:
    """The rule of ops that go through the axis that the constant input `position` names, and keep the shape."""

    def rule(node: Any, given: Sequence[Given]) -> Found:
        _only(given, 0)
        found = given[0]
        rank = len(_sizes(node.inputs[0]))
        axes = node.inputs[position].constant
        if axes is None:
            raise NotByRow("goes through axes that only the run knows")
        if not isinstance(found, Along) or found.axis in {int(axis) % rank for axis in axes.reshape(-1)}:
            raise NotByRow("goes through the axis of the batch")
        return [found] * len(node.outputs)

    return rule


def reduced(node: Any, given: Sequence[Given]) -> Found:
    """For folds over the axes that the second input names."""
    _only(given, 0)
    found, axes = given[0], node.inputs[1].constant
    assert isinstance(found, Along)
    if axes is None:
        raise NotByRow("folds axes that only the run knows")
    rank = len(_sizes(node.inputs[0]))
    gone = {int(axis) % rank for axis in axes.reshape(-1)}
    if found.axis in gone:
        raise NotByRow("folds the rows of the batch into one")
    kept = node.attrs.get("keep_dims", False)
    below = 0 if kept else sum(axis < found.axis for axis in gone)
    return [Along(found.axis - below, found.each)] * len(node.outputs)


def reshaped(node: Any, given: Sequence[Given]) -> Found:
    """For ops that give the same elements in the same order under another shape."""
    _only(given, 0)
    found = given[0]
    if not isinstance(found, Along):
        raise NotByRow("gives a value a shape that the number of rows decides")
    before, after = _sizes(node.inputs[0]), _sizes(node.outputs[0])
    if before == after:
        return [found]
    whole = before[found.axis]
    count = whole // found.each
    ahead = math.prod(before[: found.axis])
    for axis, size in enumerate(after):
        if is_symbolic(size) and same(math.prod(after[:axis]), ahead):
            each = size // count
            if same(each * count, size):
                return [Along(axis, each)]
    raise NotByRow("gives the elements a shape in which the rows of the batch lie along no axis")


def product(transposes: tuple[str, str]) -> Any:
    """The rule of a product of matrices, with the names of the attributes that turn the operands."""

    def rule(node: Any, given: Sequence[Given]) -> Found:
        ranks = [len(_sizes(value)) for value in node.inputs[:2]]
        rank = len(_sizes(node.outputs[0]))
        _only(given, 0, 1)
        found: Along | None = None
        for side, item in enumerate(given[:2]):
            if not isinstance(item, Along):
                continue
            back = ranks[side] - 1 - item.axis  # 0: the last axis
            if back < 2:
                turned = bool(node.attrs.get(transposes[side], False))
                if (back == 0) == ((side == 0) != turned):
                    raise NotByRow("sums over the rows of the batch")
                if rank > 2 and any(not same(size, 1) for size in _sizes(node.inputs[1 - side])[:-2]):
                    raise NotByRow("multiplies the rows of the batch with several matrices")
                back = 1 - side
            elif given[1 - side] is None:
                other = _sizes(node.inputs[1 - side])
                if back < len(other) and not same(other[len(other) - 1 - back], 1):
                    raise NotByRow("brings the batch together with a size of its own")
            at = Along(rank - 1 - back, item.each)
            if found is not None and (found.axis != at.axis or back < 2 or not same(found.each, at.each)):
                raise NotByRow("multiplies rows of the batch with each other")
            found = at
        return [found]

    return rule


def transposed(node: Any, given: Sequence[Given]) -> Found:
    """For permutations of the axes by the second input."""
    _only(given, 0)
    found, order = given[0], node.inputs[1].constant
    if order is None or not isinstance(found, Along):
        raise NotByRow("has an order of axes that only the run knows")
    return [Along([int(axis) for axis in order].index(found.axis), found.each)]


def joined(axis_input: int) -> Any:
    """The rule of values laid one behind the other along the axis that input `axis_input` names."""

    def rule(node: Any, given: Sequence[Given]) -> Found:
        place = axis_input % len(node.inputs)
        parts = [(v, g) for i, (v, g) in enumerate(zip(node.inputs, given, strict=True)) if i != place]
        axis = plain_axis(node.inputs[place], "an axis", len(_sizes(node.outputs[0])))
        return [_together([found for _, found in parts], axis)]

    return rule


def _together(parts: Sequence[Given], axis: int) -> Along:
    found = next(item for item in parts if isinstance(item, Along))
    if found.axis == axis:
        raise NotByRow("lays values behind the rows of the batch")
    for item in parts:
        if not isinstance(item, Along) or item.axis != found.axis or not same(item.each, found.each):
            raise NotByRow("brings rows of the batch together with what is none, or lies along another axis")
    return found


def packed(node: Any, given: Sequence[Given]) -> Found:
    """For values stacked along a new axis."""
    found = _together(given, -1)
    axis = node.attrs["axis"] % len(_sizes(node.outputs[0]))
    return [Along(found.axis + (axis <= found.axis), found.each)]


def unpacked(node: Any, given: Sequence[Given]) -> Found:
    """For the slices along an axis, which is gone from each."""
    found = given[0]
    axis = node.attrs["axis"] % len(_sizes(node.inputs[0]))
    assert isinstance(found, Along)
    if axis == found.axis:
        raise NotByRow("takes the rows of the batch apart")
    return [Along(found.axis - (axis < found.axis), found.each)] * len(node.outputs)


def split(value: int, axis_input: int) -> Any:
    """The rule of parts along the axis that input `axis_input` names, of input `value`."""

    def rule(node: Any, given: Sequence[Given]) -> Found:
        _only(given, value)
        found = given[value]
        axis = plain_axis(node.inputs[axis_input], "an axis", len(_sizes(node.inputs[value])))
        if not isinstance(found, Along) or found.axis == axis:
            raise NotByRow("takes the rows of the batch apart")
        return [found] * len(node.outputs)

    return rule


def gathered(axis_input: int | None) -> Any:
    """The rule of slices of the first input, picked by the second one along the axis that a third may name."""

    def rule(node: Any, given: Sequence[Given]) -> Found:
        _only(given, 0, 1)
        rank, picked = len(_sizes(node.inputs[0])), len(_sizes(node.inputs[1]))
        shared = int(node.attrs.get("batch_dims", 0) or 0) % max(picked, 1)
        axis = shared if axis_input is None else plain_axis(node.inputs[axis_input], "an axis", rank)
        from_, by = given[0], given[1]
        if isinstance(from_, Along) and isinstance(by, Along):
            if from_ == by and by.axis < shared:
                return [by]
            raise NotByRow("picks among the rows of the batch by what stands in it")
        if isinstance(by, Along):
            if by.axis < shared:
                raise NotByRow("brings the batch together with a size of its own")
            return [Along(axis + by.axis - shared, by.each)]
        assert isinstance(from_, Along)
        if from_.axis == axis or from_.axis < shared:
            raise NotByRow("picks among the rows of the batch")
        return [from_ if from_.axis < axis else Along(from_.axis + picked - shared - 1, from_.each)]

    return rule


def picked_by_vectors(node: Any, given: Sequence[Given]) -> Found:
    """For slices of the first input, picked by vectors along the last axis of the second."""
    _only(given, 1)
    by = given[1]
    if not isinstance(by, Along) or by.axis >= len(_sizes(node.inputs[1])) - 1:
        raise NotByRow("picks by vectors that lie across the rows of the batch")
    return [by]


def sliced(node: Any, given: Sequence[Given]) -> Found:
    """For a window of the first input, from the second, as large as the third."""
    _only(given, 0)
    found = given[0]
    begin = node.inputs[1].constant
    if not isinstance(found, Along) or begin is None:
        raise NotByRow("takes a window that only the run knows")
    sizes, kept = _sizes(node.inputs[0]), _sizes(node.outputs[0])
    if not same(begin.reshape(-1)[found.axis], 0) or not same(kept[found.axis], sizes[found.axis]):
        raise NotByRow("takes some rows of the batch")
    return [found]


def untouched(position: int, value: int) -> Any:
    """The rule of ops that do to each axis what the constant input `position` says; `value` is nothing."""

    def rule(node: Any, given: Sequence[Given]) -> Found:
        _only(given, 0)
        found, amounts = given[0], node.inputs[position].constant
        if not isinstance(found, Along) or amounts is None:
            raise NotByRow("has amounts that only the run knows")
        for amount in amounts[found.axis].reshape(-1) if amounts.ndim > 1 else [amounts[found.axis]]:
            if not same(amount, value):
                raise NotByRow("adds to the rows of the batch")
        return [found]

    return rule


def selected(node: Any, given: Sequence[Given]) -> Found:
    """For a choice between two values, by conditions of their shape, one for each of their rows, or one."""
    conditions = _sizes(node.inputs[0])
    if len(conditions) == 0:
        if given[0] is not None:
            raise NotByRow("chooses by what all rows decide")
    elif len(conditions) != len(_sizes(node.inputs[1])) and given[0] is None:
        raise NotByRow("chooses rows of the batch")
    return [_together(given[1:] if len(conditions) == 0 else given, -1)]


def one_hot(node: Any, given: Sequence[Given]) -> Found:
    """For a new axis in which one element is another."""
    _only(given, 0)
    found = given[0]
    assert isinstance(found, Along)
    axis = node.attrs["axis"] % len(_sizes(node.outputs[0]))
    return [Along(found.axis + (axis <= found.axis), found.each)]


def einsum(node: Any, given: Sequence[Given]) -> Found:
    """For sums of products that a text of labels spells."""
    equation = node.attrs["equation"]
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    operands, arrow, result = text.partition("->")
    if "..." in text or not arrow:
        raise NotByRow("has axes without labels")
    labels = set()
    for operand, found in zip(operands.split(","), given, strict=True):
        if isinstance(found, Along):
            if not same(found.each, 1):
                raise NotByRow("takes several elements of a row along one axis")
            labels.add(operand[found.axis])
    if len(labels) != 1 or labels & set(
        "".join(o for o, g in zip(operands.split(","), given, strict=True) if not isinstance(g, Along))
    ):
        raise NotByRow("brings rows of the batch together")
    (label,) = labels
    if result.count(label) != 1 or any(operand.count(label) > 1 for operand in operands.split(",")):
        raise NotByRow("sums over the rows of the batch")
    return [Along(result.index(label))]


def row_of(node: Any, given: Sequence[Given]) -> Found:
    """For one slice along the first axis."""
    _only(given, 0)
    found = given[0]
    if not isinstance(found, Along) or found.axis == 0:
        raise NotByRow("takes one row of the batch")
    return [Along(found.axis - 1, found.each)]


def row_put(node: Any, given: Sequence[Given]) -> Found:
    """For one slice along the first axis put in the place of another."""
    rows, index, row = given
    if not isinstance(rows, Along) or not isinstance(row, Along) or index is not None or rows.axis == 0:
        raise NotByRow("puts something in the place of rows of the batch")
    if rows.axis - 1 != row.axis or not same(rows.each, row.each):
        raise NotByRow("brings rows of the batch together along different axes")
    return [rows]


def parsed(node: Any, given: Sequence[Given]) -> Found:
    """For records parsed into features; dense ones, the last outputs, have a row for each record."""
    found = first_axis(node, given)[0]
    count = len(node.attrs["Tdense"])
    sparse = NotByRow("gives features of any length, whose records stand in one list")
    return [*[sparse] * (len(node.outputs) - count), *[found] * count]


def looked_up(node: Any, given: Sequence[Given]) -> Found:
    """For what a table has for each of the keys, the second input."""
    _only(given, 1)
    return [given[1]]


def filled(node: Any, given: Sequence[Given]) -> Found:
    """For one value everywhere in a shape that the number of rows decides."""
    _only(given)
    return [_counted(node, given)]


def broadcast(node: Any, given: Sequence[Given]) -> Found:
    """For a value, the first input, stretched to a shape."""
    if given[0] is None:
        return [_counted(node, given, node.inputs[0])]
    return element_wise_first(node, given)


def element_wise_first(node: Any, given: Sequence[Given]) -> Found:
    """As `same_places`, where the result may have more axes in front."""
    _only(given, 0)
    found = given[0]
    assert isinstance(found, Along)
    more = len(_sizes(node.outputs[0])) - len(_sizes(node.inputs[0]))
    return [Along(found.axis + more, found.each)]


def tiled(node: Any, given: Sequence[Given]) -> Found:
    """For the first input again and again, as often along each axis as the second one says."""
    _only(given, 0)
    found, times = given[0], node.inputs[1].constant
    if times is None:
        raise NotByRow("is repeated as often as only the run knows")
    if isinstance(found, Along):
        if not same(times[found.axis], 1):
            raise NotByRow("repeats the rows of the batch")
        return [found]
    place = _counted(node, given)
    if not same(place.each, _sizes(node.inputs[0])[place.axis]):
        raise NotByRow("is not the same for each row of the batch")
    return [place]


def _counted(node: Any, given: Sequence[Given], value: Any = None) -> Along:
    """Where the rows lie in a value that is the same for all of them, and whose shape their number decides."""
    sizes = _sizes(node.outputs[0])
    count = next((item.count for item in given if isinstance(item, ByCount)), None)
    axes = (
        []
        if count is None
        else [
            axis for axis, size in enumerate(sizes) if is_symbolic(size) and same(size // count * count, size)
        ]
    )
    if len(axes) != 1:
        raise NotByRow("has a shape in which the rows of the batch are no axis")
    (axis,) = axes
    if value is not None:
        place = axis - len(sizes) + len(_sizes(value))
        if place >= 0 and not same(_sizes(value)[place], 1):
            raise NotByRow("brings the batch together with a size of its own")
    return Along(axis, sizes[axis] // count)
