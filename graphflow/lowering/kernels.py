"""One fused group becomes one loop kernel, or two where a long fold is cut into shares.

The members' bodies are put together to one expression per result, over leaves (elements of operands) and marks of
folds. From there on ops are forgotten. Three loop forms are enough:

- *elements*: no fold; the innermost axis is a vector loop.
- *rows*: the last axis is folded. For each row, folds are computed in stages (a fold that needs another one waits for
  the next pass over the row), and results are stored as soon as they are known. Softmax, layer norm and cross entropy
  are this, at one read and one write.
- *columns*: the last axis is kept. Vector lanes are columns; the folded axes run inside.

Beside a fold over the last axis, or none, there may be folds over all axes but the last: the gradients of a scale and
a bias beside that of what they were applied to. Rows then add to memory of one row's length, in shares whose number
depends on the sizes alone; a second kernel combines the shares in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from dataclasses import replace

from graphflow.loops import ir
from graphflow.loops.build import Builder, RowIndex, RowReduce, RowSize
from graphflow.lowering.forms import DEAR, Form, row_body, rule_attrs, window_source
from graphflow.lowering.fuse import Fusion, Group, folds_in_shares
from graphflow.lowering.reads import read_of
from graphflow.lowering.sizes import Size, SizeOf, row_major, value_sizes
from graphflow.lowering.windows import mapped, view_of
from graphflow.program import SPECIALIZED, Node, Value
from graphflow.records import dataclass, field
from graphflow.symbolic import ceil_div, greatest, least

FLAT_TURN = 4096  # elements that one turn of a flat parallel loop does
_FLOPS_PER_ELEMENT = 8  # of a body that takes no longer than the elements' way through memory
COLUMN_TURN = 64  # columns that one turn of a parallel column loop does
SHARE = 4096  # folded elements per share of a long fold, at least
MOST_SHARES, MOST_SHARES_OF_MANY = (
    64,
    512,
)  # of a long fold: on processors, and on what has thousands of threads
_NARROW = 64
_SMALL_SUMS = 1 << 16  # elements
COLUMN_SHARES = 16  # of rows, where their sum is kept in memory; of no less rows each
MOST_LOCAL = 1 << 15  # bytes of a row that a kernel keeps for itself between passes
# Large results that only whoever fetches them reads go past the caches, so that operands may stay there, and so do
# those that would push each other out; but only where memory is what a kernel waits for (in operations per byte).
STREAM_FROM = 8 << 20
STREAM_ALL = 16 << 20
_LEAST_AHEAD, _MOST_AHEAD = 1 << 10, 1 << 13  # bytes of operands per row that are asked for a row ahead
_STREAM_FLOPS = 3.5
_STREAM_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Leaf:
    """Elements of an operand, addressed by the axes of the space.

    Without a value it is the address itself, as a number. `gathered`: an index that the body computes is added.
    """

    value: Value | None
    offset: Size
    strides: tuple[Size, ...]
    gathered: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A value that the group hands out."""

    value: Value
    expr: ir.Expr
    inner: bool  # one element per point of the space, else one per fold
    column: bool = False  # one per fold over all axes but the last
    streaming: bool = False  # nobody reads it soon
    strides: tuple[Size, ...] | None = None  # where it lies among other values' elements


@dataclass(slots=True)
class Body:
    """A group's meaning, free of ops: leaves by name, and one expression per result."""

    builder: Builder
    space: tuple[Size, ...]
    axes: tuple[int, ...]
    leaves: dict[str, Leaf]
    results: list[Result]
    most_shares: int = MOST_SHARES  # into which a long fold is cut


@dataclass(frozen=True, slots=True, eq=False)
class Across(ir.Expr):
    """Mark of a fold over all axes but the last."""

    op: str
    value: ir.Expr
    dtype: str


@dataclass(frozen=True, slots=True)
class Argument:
    """A kernel argument: a value to read or write (with the bytes each parallel turn touches), a temporary, an int."""

    kind: str  # "read", "write", "partial", "int"
    value: Value | None = None
    number: int = 0
    share: Hashable = None


@dataclass(slots=True)
class Lowered:
    """A kernel and what it is called with.

    Attributes:
      kernel: the loops.
      arguments: one per parameter.
      parallel: whether turns may be shared among threads.
      inplace: (result, operand) pairs that may be the same memory.
      partial: elements and dtype of each temporary between a kernel and the next.
      flops: a rough count.
    """

    kernel: ir.Kernel
    arguments: list[Argument]
    parallel: bool
    inplace: list[tuple[Value, Value]] = field(default_factory=list)
    partial: list[tuple[int, str]] = field(default_factory=list)
    flops: float = 0.0


# -- from nodes to expressions ---------------------------------------------------------------------------------


class _Leaves:
    """The leaves of a body while it is put together; what reading rules are handed (`reads.Operands`)."""

    def __init__(self, fusion: Fusion) -> None:
        self.b = Builder()
        self.fusion = fusion
        self.leaves: dict[str, Leaf] = {}
        self._names: dict[Leaf, str] = {}
        self._sizes: dict[Size, ir.Expr] = {}
        self._across: dict[tuple[str, int], Across] = {}

    def name(self, leaf: Leaf) -> str:
        found = self._names.get(leaf)
        if found is None:
            found = self._names[leaf] = f"x{len(self.leaves)}"
            self.leaves[found] = leaf
        return found

    def number(self, value: Value) -> ir.Expr | None:
        """The one number that a value is everywhere, if code may hold it."""
        known = self.fusion.numbers.get(value.node)
        if known is not None:
            return self.b.const(known, value.dtype.name)
        constant = None if SPECIALIZED in value.node.attrs else value.constant
        if constant is None or constant.size != 1:
            return None
        return self.b.const(constant.reshape(-1)[0].item(), value.dtype.name)

    def at(self, value: Value, offset: Size, strides: tuple[Size, ...]) -> ir.Expr:
        """An element of memory, or the number that is the same everywhere and takes none."""
        number = self.number(value)
        if number is not None:
            return number
        return self.b.var(self.name(Leaf(value, offset, strides)), value.dtype.name)

    def view(self, value: Value, axes: Sequence[int | None], space: tuple[int, ...]) -> ir.Expr:
        """An element of a value, whose axes are these of the space; an axis of size 1 stretches along the space's."""
        number = self.number(value)
        if number is not None:
            return number
        base, offset, own = view_of(value, self.fusion.forms)
        strides = [Size(0)] * len(space)
        for axis, size, stride in zip(axes, value_sizes(value), own, strict=True):
            # An open size that happens to be 1 does not stretch where the space's is the same one.
            if axis is not None and (size.value != 1 or (size.dynamic and space[axis] == 1)):
                strides[axis] = stride
        return self.at(base, offset, tuple(strides))

    def turned(self, value: Value, order: Sequence[int]) -> ir.Expr:
        """An element of a value whose axes stand in another order in the space."""
        number = self.number(value)
        if number is not None:
            return number
        base, offset, strides = view_of(value, self.fusion.forms)
        return self.at(base, offset, tuple(strides[i] for i in order))

    # What reading rules ask for.

    def strides(self, value: Value) -> tuple[Size, ...]:
        """How far apart a value's elements lie in memory."""
        return view_of(value, self.fusion.forms)[2]

    def element(self, value: Value, strides: tuple[Size, ...]) -> ir.Expr:
        """The element at the sum of position times stride."""
        number = self.number(value)
        if number is not None:
            return number
        base, offset, _ = view_of(value, self.fusion.forms)
        return self.at(base, offset, strides)

    def gathered(self, value: Value, strides: tuple[Size, ...], index: ir.Expr) -> ir.Expr:
        """The element `index` further on."""
        number = self.number(value)
        if number is not None:
            return number
        base, offset, _ = view_of(value, self.fusion.forms)
        return ir.Load(self.name(Leaf(base, offset, strides, True)), index, ir.dtype_name(value.dtype.name))

    def position(self, strides: tuple[Size, ...]) -> ir.Expr:
        """The sum of position times stride itself."""
        return self.b.var(self.name(Leaf(None, Size(0), strides)), "i64")

    def across(self, fold: Across) -> Across:
        """The mark itself, once for equal folds."""
        return self._across.setdefault((fold.op, id(fold.value)), fold)

    def size(self, size: Size) -> ir.Expr:
        """A size as an i64."""
        if not size.dynamic:
            return self.b.const(size.value, "i64")
        return self._sizes.setdefault(size, SizeOf(size))


def body_of(group: Group, fusion: Fusion, results: Iterable[Value], streamed: Container[Value] = ()) -> Body:
    """Puts the bodies of a group's members together.

    Args:
      group: the group.
      fusion: the form of each node, and the numbers that uniform ones stand for.
      results: the members' values that are needed outside.
      streamed: those of them that nobody reads soon.
    """
    leaves = _Leaves(fusion)
    builder = leaves.b
    axes = group.axes or ()
    space = group.extents
    nodes = sorted([*group.nodes, *group.copies], key=lambda node: node.serial)
    members = set(nodes)
    exprs: dict[Value, ir.Expr] = {}

    def space_axes(sizes: tuple[int, ...], column: bool) -> tuple[int, ...]:
        """The axis of the space that each axis of a member's result stands for."""
        if len(sizes) == len(space):
            return tuple(range(len(sizes)))
        if column:
            return group.row_axes
        return group.kept[: len(sizes)] if len(sizes) == len(group.kept) else ()

    def operand(value: Value, result_sizes: tuple[int, ...], column: bool = False) -> ir.Expr:
        source = fusion.stretched.get(value, value)
        if source.node in members:
            return exprs[source]
        places = space_axes(result_sizes, column)
        lead = len(places) - len(value.sizes or ())
        own_axes = (
            places[lead:] if lead >= 0 else [None] * len(value.sizes or ())
        )  # a single element of any rank
        return leaves.view(value, own_axes, group.space)

    for node in nodes:
        form = fusion.forms[node]
        sizes = node.outputs[0].sizes
        assert sizes is not None
        outputs: object
        if form is Form.UNIFORM:
            outputs = leaves.number(node.outputs[0])
        elif form is Form.MAP:
            rule = node.op_def.scalar
            assert rule is not None
            args = [operand(value, sizes, node in group.columns) for value in node.inputs]
            if _scales_a_draw(node):
                # Adding nothing keeps the product's own rounding: what is added to it must not be fused with it.
                x, y = args
                outputs = builder.fma(x, y, -0.0)
            else:
                outputs = rule(builder, *node.op_def.nest(args, node.attrs), **rule_attrs(rule, node))
        elif form is Form.ROW:
            row = row_body(node)
            assert row is not None
            if row.in_order:
                args = [operand(v, row.space if v.sizes == row.space else row.space[:-1]) for v in row.inputs]
            else:
                args = [leaves.turned(value, row.order) for value in row.inputs]
            outputs = row.apply(builder, args)
        elif form is Form.REDUCE:
            x = operand(node.inputs[0], group.space)
            outputs = (
                _column_fold(leaves, node.op_def.reduction, x, group.extents[:-1])
                if node in group.columns
                else _reduction(builder, node.op_def.reduction, x)
            )
        elif form is Form.ALIAS:
            outputs = exprs[node.inputs[0]]
        elif form is Form.WINDOW or node.op_def.index is not None:
            source = window_source(node)
            base, offset, strides = view_of(source, fusion.forms)
            found = mapped(node, value_sizes(source), strides)
            outputs = [leaves.at(base, offset.plus(more), own) for more, own in found]
        else:
            read = read_of(node)
            assert read is not None
            outputs = read.expr(node, leaves)
        listed = outputs if isinstance(outputs, tuple | list) else (outputs,)
        for value, expr in zip(node.outputs, listed, strict=True):
            exprs[value] = builder.expr(expr, ir.dtype_name(value.dtype.name))
    wanted = []
    for value in results:
        column = value.node in group.columns
        inner = not column and group.is_inner(value.sizes or ())
        wanted.append(Result(value, exprs[value], inner, column, value in streamed))
    return Body(builder, space, axes, leaves.leaves, wanted)


def _scales_a_draw(node: Node) -> bool:
    """Whether a node multiplies random numbers: from the same seeds come TensorFlow's, to the last bit."""
    return (
        node.op_def.name == "Mul"
        and node.outputs[0].dtype.name in ("float32", "float64")
        and any(value.node.op_def.effects == "random" for value in node.inputs)
    )


def _reduction(b: Builder, kind: str, x: ir.Expr) -> ir.Expr:
    if kind == "mean":
        return b.div(b.reduce_sum(x), b.cast(b.row_size(), x.dtype))
    rule: Callable[[ir.Expr], ir.Expr] = getattr(b, f"reduce_{kind}")
    return rule(x)


def _column_fold(leaves: _Leaves, kind: str, x: ir.Expr, over: Sequence[Size]) -> ir.Expr:
    """A fold over all axes but the last, which have these extents."""
    b = leaves.b
    mean = kind == "mean"
    row = _reduction(b, "sum" if mean else kind, x)
    assert isinstance(row, RowReduce)
    folded = leaves.across(Across(row.op, row.value, row.dtype))
    if not mean:
        return folded
    count = Size(1)
    for size in over:
        count = count.times(size)
    return b.div(folded, b.cast(leaves.size(count), x.dtype))


# -- looking at expressions ----------------------------------------------------------------------------------------


def _children(expr: ir.Expr) -> tuple[ir.Expr, ...]:
    if isinstance(expr, RowReduce | Across):
        return (expr.value,)
    return ir.children(expr)


def _post_order(roots: Iterable[ir.Expr]) -> list[ir.Expr]:
    """All expressions below the roots, each after its parts; a stack of our own, for bodies may be deep."""
    seen: set[int] = set()
    order: list[ir.Expr] = []
    stack: list[tuple[ir.Expr, bool]] = [(root, False) for root in roots]
    while stack:
        expr, ready = stack.pop()
        if ready:
            order.append(expr)
            continue
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        stack.append((expr, True))
        stack.extend((child, False) for child in _children(expr))
    return order


def leaf_name(expr: ir.Expr, body: Body) -> str | None:
    """Returns the leaf that an expression reads itself, if any."""
    name = expr.name if isinstance(expr, ir.Var) else expr.buffer if isinstance(expr, ir.Load) else None
    return name if name in body.leaves else None


class _Analysis:
    """What the loop forms need to know of a body's expressions."""

    def __init__(self, body: Body) -> None:
        self.order = _post_order(result.expr for result in body.results)
        self.inner: set[int] = set()  # ids of what has a value per point, not per fold
        self.stage: dict[int, int] = {}  # id -> in which pass at the earliest it is known
        self.folds: list[RowReduce] = []
        self.across: list[Across] = []
        for expr in self.order:
            if isinstance(expr, Across):
                self.stage[id(expr)] = self.stage[id(expr.value)]
                self.across.append(expr)
                continue
            if isinstance(expr, RowReduce):
                self.stage[id(expr)] = self.stage[id(expr.value)] + 1
                self.folds.append(expr)
                continue
            children = _children(expr)
            self.stage[id(expr)] = max((self.stage[id(c)] for c in children), default=0)
            name = leaf_name(expr, body)
            if name is not None and any(body.leaves[name].strides[axis].value for axis in body.axes):
                self.inner.add(id(expr))
            elif isinstance(expr, RowIndex) or any(id(c) in self.inner for c in children):
                self.inner.add(id(expr))

    def flops(self, points: int) -> float:
        """A rough number of operations."""
        weights = sum(12 if e.name in DEAR else 1 for e in self.order if isinstance(e, ir.Op))
        return points * float(weights + len(self.folds) + len(self.across))


# -- loops ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Axis:
    """A loop after neighbouring axes have been merged: its extent, and each operand's stride along it."""

    extent: Size
    strides: list[Size]  # one per access, in the order of `_Kernel.accesses`


def _merge(axes: list[_Axis]) -> list[_Axis]:
    """Merges neighbours that every operand walks as one, and drops axes of one turn."""
    result: list[_Axis] = []
    for axis in axes:
        if axis.extent.value == 1 and not axis.extent.dynamic:
            continue
        if result:
            outer = result[-1]
            if all(
                o.value == i.value * axis.extent.value
                for o, i in zip(outer.strides, axis.strides, strict=True)
            ):
                result[-1] = _Axis(outer.extent.times(axis.extent), axis.strides)
                continue
        result.append(axis)
    return result


class _Kernel:
    """One kernel being written: parameters with their arguments, and accesses by loop variables."""

    def __init__(self, body: Body, name: str) -> None:
        self.b = Builder(name)
        self.body = body
        self.arguments: list[Argument] = []
        self.buffers: dict[str, tuple[ir.Buffer, Leaf | None]] = {}
        self._ints: dict[tuple[int, str], ir.Expr] = {}

    def size(self, size: Size, use: str = "") -> ir.Expr:
        """A size as an expression: a constant, or a parameter where it depends on the feeds.

        Equal ones share a parameter. What is equal by chance names its use, and gets one of its own.
        """
        if not size.dynamic or size.value == 0:
            return self.b.const(size.value, "i64")
        found = self._ints.get((size.value, use))
        if found is None:
            found = self._ints[size.value, use] = self.b.int_param("n")
            self.arguments.append(Argument("int", number=size.value))
        return found

    def buffer(self, name: str, value: Value, kind: str, share: Hashable = None) -> ir.Buffer:
        buffer = self.b.buffer(name, value.dtype.name)
        self.arguments.append(Argument(kind, value, share=share))
        return buffer

    def operand(self, name: str, share: Callable[[Value, tuple[Size, ...]], Hashable]) -> ir.Buffer:
        """The buffer of a leaf."""
        leaf = self.body.leaves[name]
        assert leaf.value is not None
        return self.buffer(
            name, leaf.value, "read", None if leaf.gathered else share(leaf.value, leaf.strides)
        )

    def partial(self, name: str, number: int, dtype: str) -> ir.Buffer:
        buffer = self.b.buffer(name, dtype)
        self.arguments.append(Argument("partial", number=number))
        return buffer

    def index(self, offset: Size, terms: Sequence[tuple[Size, ir.Expr]]) -> ir.Expr:
        """`offset + sum of stride * variable`."""
        total = self.size(offset)
        for stride, variable in terms:
            if stride.value:
                step = variable if stride.value == 1 else self.b.mul(variable, self.size(stride))
                total = self.b.add(total, step)
        return total


# Gives a leaf's element at the present place; an index that was computed is added to the address.
_Loader = Callable[[str, ir.Expr | None], ir.Expr]


class _Writer:
    """Writes expressions into the kernel at one place of the loops."""

    def __init__(
        self, kernel: _Kernel, analysis: _Analysis, load: _Loader, known: dict[int, ir.Expr]
    ) -> None:
        self.kernel = kernel
        self.analysis = analysis
        self.load = load
        self.known = known  # what has a name already: folds, hoisted values
        self.row_index: ir.Expr | None = None
        self.row_size: ir.Expr | None = None

    def write(self, root: ir.Expr) -> ir.Expr:
        memo = self.known
        stack: list[tuple[ir.Expr, bool]] = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if id(expr) in memo:
                continue
            if not ready:
                stack.append((expr, True))
                if isinstance(expr, RowReduce):
                    raise AssertionError("a fold is used before it is computed")
                stack.extend((child, False) for child in ir.children(expr))
                continue
            memo[id(expr)] = self._one(expr)
        return memo[id(root)]

    def _one(self, expr: ir.Expr) -> ir.Expr:
        if isinstance(expr, ir.Var):
            return self.load(expr.name, None) if expr.name in self.kernel.body.leaves else expr
        if isinstance(expr, ir.Load):
            return self.load(expr.buffer, self.known[id(expr.index)])
        if isinstance(expr, SizeOf):
            return self.kernel.size(expr.size)
        if isinstance(expr, RowIndex):
            assert self.row_index is not None
            return self.row_index
        if isinstance(expr, RowSize):
            assert self.row_size is not None
            return self.row_size
        if isinstance(expr, ir.Op):
            return ir.Op(expr.name, tuple(self.known[id(arg)] for arg in expr.args), expr.dtype)
        return expr


def lower_group(body: Body, name: str) -> list[Lowered]:
    """Returns the kernels of a body, in the order in which they run."""
    analysis = _Analysis(body)
    if analysis.flops(1) > _STREAM_FLOPS * _bytes_per_point(body):
        body.results = [replace(result, streaming=False) for result in body.results]
    if analysis.across:
        if not _is_narrow(body, analysis):
            return _rows_and_columns(body, name)
        body = _in_column_form(body, analysis)
        analysis = _Analysis(body)
    if not body.axes:
        return [_elements(body, analysis, name)]
    if folds_in_shares(body.space, body.axes) and _single_stage(body, analysis):
        return _in_shares(body, analysis, name)
    # Where the kept axes have but one element, there are no columns to put side by side.
    in_rows = len(body.space) - 1 in body.axes or all(
        size.value == 1 for axis, size in enumerate(body.space) if axis not in body.axes
    )
    return [_rows(body, analysis, name) if in_rows else _columns(body, analysis, name)]


def _single_stage(body: Body, analysis: _Analysis) -> bool:
    """Whether no fold, and no result per point, waits for another fold."""
    return all(analysis.stage[id(fold.value)] == 0 for fold in analysis.folds) and all(
        not result.inner or analysis.stage[id(result.expr)] == 0 for result in body.results
    )


def _bytes_per_point(body: Body) -> int:
    moved = [result.value for result in body.results if result.inner]
    moved += [leaf.value for leaf in body.leaves.values() if leaf.value is not None and any(
        stride.value for stride in leaf.strides[-1:])]  # fmt: skip
    return max(1, sum(value.dtype.size for value in moved))


def _accesses(body: Body) -> tuple[list[str], list[tuple[Size, ...]]]:
    """Leaves by name and their strides, then one entry per result with its own strides."""
    names = list(body.leaves)
    strides = [leaf.strides for leaf in body.leaves.values()]
    for result in body.results:
        own = result.strides or row_major(value_sizes(result.value))
        if result.inner:
            strides.append(own)
            continue
        if result.column:
            strides.append((*(Size(0) for _ in body.space[:-1]), own[-1]))
            continue
        spread = [Size(0)] * len(body.space)
        kept = [a for a in range(len(body.space)) if a not in body.axes]
        places = kept if len(own) == len(kept) else list(range(len(own)))
        for axis, stride in zip(places, own, strict=True):
            if axis not in body.axes:
                spread[axis] = stride
        strides.append(tuple(spread))
    return names, strides


def _streams(result: Result, position: int, axes: Sequence[_Axis]) -> bool:
    """Whether a result goes past the caches: one that may, and whose every run begins where a vector may."""
    size = result.value.dtype.size
    return (
        result.streaming
        and axes[-1].strides[position].value == 1
        and all(
            not axis.strides[position].dynamic
            and axis.strides[position].value * size % _STREAM_ALIGNMENT == 0
            for axis in axes[:-1]
        )
    )


def _axes_of(body: Body, strides: list[tuple[Size, ...]], which: Iterable[int]) -> list[_Axis]:
    return _merge([_Axis(body.space[axis], [s[axis] for s in strides]) for axis in which])


def _inplace(body: Body, last_only: set[int]) -> list[tuple[Value, Value]]:
    """Pairs (result, operand) of equal layout; results in `last_only` are stored too early for it."""
    pairs = []
    for number, result in enumerate(body.results):
        if not result.inner or number in last_only or result.strides is not None:
            continue
        own = tuple(s.value for s in row_major(value_sizes(result.value)))
        for leaf in body.leaves.values():
            if (
                leaf.value is not None
                and not leaf.gathered
                and leaf.value.dtype is result.value.dtype
                and leaf.value.sizes == result.value.sizes
                and leaf.offset.value == 0
                and all(
                    s.value == o or n.value == 1
                    for s, o, n in zip(leaf.strides, own, body.space, strict=True)
                )
            ):
                pairs.append((result.value, leaf.value))
    return pairs


def _inplace_outer(body: Body, which: Iterable[int]) -> list[tuple[Value, Value]]:
    """Pairs (result per fold, operand) of equal layout: each turn reads its elements of both before it stores."""
    names, strides = _accesses(body)
    pairs = []
    for number in which:
        result = body.results[number].value
        own = strides[len(names) + number]
        for leaf in body.leaves.values():
            if (
                leaf.value is not None
                and not leaf.gathered
                and leaf.value.dtype is result.dtype
                and leaf.value.sizes == result.sizes
                and leaf.offset.value == 0
                and all(
                    s.value == o.value or n.value == 1
                    for s, o, n in zip(leaf.strides, own, body.space, strict=True)
                )
            ):
                pairs.append((result, leaf.value))
    return pairs


def _elements(body: Body, analysis: _Analysis, name: str) -> Lowered:
    """No fold: loops over the space, the innermost one in vectors."""
    names, strides = _accesses(body)
    axes = _axes_of(body, strides, range(len(body.space))) or [_Axis(Size(1), [Size(0)] * len(strides))]
    kernel = _Kernel(body, name)
    b = kernel.b
    points = math.prod(axis.extent.value for axis in axes)
    count = axes[0].extent.value
    flat = len(axes) == 1
    turn = FLAT_TURN if flat else points // greatest(count, 1)
    few = not axes[0].extent.dynamic and count < 8
    splits = flat or (few and len(axes) == 2 and axes[1].extent.value >= 4 * FLAT_TURN)
    share = _share_of(body, -(-count // FLAT_TURN) if flat else count, turn)
    loads = {n: kernel.operand(n, share) for n in names if body.leaves[n].value is not None}
    stores = [
        kernel.buffer(f"y{i}", result.value, "write", share(result.value, strides[len(names) + i]))
        for i, result in enumerate(body.results)
    ]
    variables: list[ir.Expr] = []

    def place(position: int, offset: Size) -> ir.Expr:
        return kernel.index(
            offset, [(axis.strides[position], v) for axis, v in zip(axes, variables, strict=True)]
        )

    def load(name: str, more: ir.Expr | None) -> ir.Expr:
        at = place(names.index(name), body.leaves[name].offset)
        at = at if more is None else b.add(more, at)
        return at if body.leaves[name].value is None else b.load(loads[name], at)

    def store_all() -> None:
        writer = _Writer(kernel, analysis, load, {})
        # All is read before anything is written: a result may lie over an operand.
        values = [b.let("v", writer.write(result.expr)) for result in body.results]
        for i, value in enumerate(values):
            at = len(names) + i
            b.store(stores[i], place(at, Size(0)), value, _streams(body.results[i], at, axes))

    # Open sizes always get the parallel form, so that a new size needs no new code.
    parallel = any(axis.extent.dynamic for axis in axes) or (
        max(points, analysis.flops(points) / _FLOPS_PER_ELEMENT) > FLAT_TURN
    )
    if splits:
        last = kernel.size(axes[-1].extent)
        if not parallel and flat:
            with b.loop("i", 0, last, "vector") as i:
                variables.append(i)
                store_all()
            return Lowered(
                b.kernel(), kernel.arguments, False, _inplace(body, set()), [], analysis.flops(points)
            )
        chunks = b.floordiv(b.add(last, FLAT_TURN - 1), b.const(FLAT_TURN, "i64"))
        with b.loop("turn", 0, chunks, "parallel") as t:
            start = b.let("start", b.mul(t, b.const(FLAT_TURN, "i64")))
            stop = b.let("stop", b.min(b.add(start, b.const(FLAT_TURN, "i64")), last))
            if flat:
                with b.loop("i", start, stop, "vector") as i:
                    variables.append(i)
                    store_all()
            else:
                with b.loop("o", 0, kernel.size(axes[0].extent)) as o:
                    variables.append(o)
                    with b.loop("i", start, stop, "vector") as i:
                        variables.append(i)
                        store_all()
        return Lowered(b.kernel(), kernel.arguments, True, _inplace(body, set()), [], analysis.flops(points))

    def nest(depth: int) -> None:
        kind = "vector" if depth == len(axes) - 1 else "parallel" if depth == 0 and parallel else "serial"
        with b.loop("i", 0, kernel.size(axes[depth].extent), kind) as i:  # type: ignore[arg-type]
            variables.append(i)
            if depth == len(axes) - 1:
                store_all()
            else:
                nest(depth + 1)

    nest(0)
    return Lowered(b.kernel(), kernel.arguments, parallel, _inplace(body, set()), [], analysis.flops(points))


def _share_of(body: Body, turns: int, elements: int) -> Callable[[Value, tuple[Size, ...]], Hashable]:
    """How a parallel loop cuts a value: known only where each turn touches the next stretch of memory."""

    def share(value: Value, strides: tuple[Size, ...]) -> Hashable:
        sizes = value.sizes
        if sizes is None or math.prod(sizes) != math.prod(s.value for s in body.space):
            return None
        own = tuple(s.value for s in row_major(value_sizes(value)))
        if len(own) != len(strides):
            return None
        if any(s.value != o and n.value != 1 for s, o, n in zip(strides, own, body.space, strict=True)):
            return None
        return "turns", turns, elements * value.dtype.size

    return share


_INITIAL: dict[str, Callable[[Builder, str], ir.Expr]] = {
    "add": lambda b, dtype: b.const(0, dtype),
    "mul": lambda b, dtype: b.const(1, dtype),
    "max": lambda b, dtype: b.lowest(dtype),
    "maxnum": lambda b, dtype: b.lowest(dtype),
    "min": lambda b, dtype: b.highest(dtype),
    "and": lambda b, dtype: b.const(True, dtype),
    "or": lambda b, dtype: b.const(False, dtype),
}


class _Folded:
    """Shared part of the two folding forms: buffers, loop axes, addresses."""

    def __init__(self, body: Body, analysis: _Analysis, name: str) -> None:
        self.body = body
        self.analysis = analysis
        self.names, self.strides = _accesses(body)
        self.kernel = _Kernel(body, name)
        self.b = self.kernel.b
        kept = [axis for axis in range(len(body.space)) if axis not in body.axes]
        self.outer = _axes_of(body, self.strides, kept)
        self.inner = _axes_of(body, self.strides, body.axes) or [
            _Axis(Size(1), [Size(0)] * len(self.strides))
        ]
        # A row's position is asked for: its axis must stay as it is.
        self.turns = math.prod(axis.extent.value for axis in self.outer)
        self.points = math.prod(size.value for size in body.space)
        # Open sizes always get the parallel form, so that a new size needs no new code.
        self.is_open = any(size.dynamic for size in body.space)

    def buffers(self, leaves: Iterable[str] | None = None, results: Iterable[int] | None = None) -> None:
        """Adds the parameters: all operands and results, or those given."""
        wanted = set(self.names if leaves is None else leaves)
        chosen = set(range(len(self.body.results)) if results is None else results)
        turns = self.outer[0].extent.value if self.outer else 1
        share = _share_of(self.body, turns, self.points // greatest(1, turns))
        self.loads = {
            n: self.kernel.operand(n, share)
            for n in self.names
            if n in wanted and self.body.leaves[n].value is not None
        }
        self.stores = {
            i: self.kernel.buffer(
                f"y{i}",
                r.value,
                "write",
                share(r.value, self.strides[len(self.names) + i]) if r.inner else None,
            )
            for i, r in enumerate(self.body.results)
            if i in chosen
        }

    def place(self, position: int, offset: Size, at: Sequence[tuple[_Axis, ir.Expr]]) -> ir.Expr:
        return self.kernel.index(offset, [(axis.strides[position], variable) for axis, variable in at])

    def loader(self, at: Sequence[tuple[_Axis, ir.Expr]]) -> _Loader:
        def load(name: str, more: ir.Expr | None) -> ir.Expr:
            place = self.place(self.names.index(name), self.body.leaves[name].offset, at)
            place = place if more is None else self.b.add(more, place)
            return place if self.body.leaves[name].value is None else self.b.load(self.loads[name], place)

        return load

    def row_size(self) -> ir.Expr:
        total: ir.Expr = self.b.const(1, "i64")
        for axis in self.inner:
            total = self.b.mul(total, self.kernel.size(axis.extent))
        return total


def _rows(body: Body, analysis: _Analysis, name: str) -> Lowered:
    """The last axis is folded: for each row, one pass per stage."""
    f = _Folded(body, analysis, name)
    f.buffers()
    row, inplace = _row(f, _no_columns)
    parallel = bool(f.outer) and (f.is_open or f.points > FLAT_TURN)
    _nest_outer(f, parallel, row)
    return Lowered(f.b.kernel(), f.kernel.arguments, parallel, inplace, [], analysis.flops(f.points))


_Place = list[tuple[_Axis, ir.Expr]]
# Takes in an element of a fold over all axes but the last, at a place.
_Column = Callable[[Across, ir.Expr, _Place], None]


def _no_columns(fold: Across, value: ir.Expr, at: _Place) -> None:
    raise AssertionError("there is no fold over other axes")


def _row(f: _Folded, take: _Column) -> tuple[Callable[[_Place], None], list[tuple[Value, Value]]]:
    """What is done for each row, and which results may lie over operands."""
    body, analysis, b = f.body, f.analysis, f.b
    last_pass = max((analysis.stage[id(r.expr)] for r in body.results if r.inner), default=-1)
    last_pass = max([last_pass, *(analysis.stage[id(fold)] for fold in analysis.across)])
    passes = max([analysis.stage[id(fold)] for fold in analysis.folds] + [last_pass + 1])
    spills = _spills(body, analysis, passes, f)
    held = {spill.result for spill in spills.values() if spill.result is not None}
    early = held | {
        i for i, r in enumerate(body.results) if r.inner and analysis.stage[id(r.expr)] < passes - 1
    }
    axes = [*f.outer, *f.inner]
    streams = {
        i
        for i, r in enumerate(body.results)
        if r.inner and i not in held and _streams(r, len(f.names) + i, axes)
    }

    ahead = _rows_ahead(f)

    def row(at: list[tuple[_Axis, ir.Expr]]) -> None:
        known: dict[int, ir.Expr] = {}  # values per row that have been computed
        outside = _Writer(f.kernel, analysis, f.loader(at), known)
        outside.row_size = f.row_size()
        kept: dict[int, _Spill] = {}  # what earlier passes have put by

        def writer_at(inside: list[tuple[_Axis, ir.Expr]]) -> _Writer:
            here = dict(known)
            for key, spill in kept.items():
                here[key] = b.load(*_kept_at(f, spill, inside))
            writer = _Writer(f.kernel, analysis, f.loader(inside), here)
            writer.row_index = inside[-1][1]
            writer.row_size = outside.row_size
            return writer

        def picked(fold: RowReduce, number: ir.Expr, element: ir.Expr) -> ir.Expr:
            """The element of that number, or zero where the row has none such."""
            carry = b.carry("picked", _INITIAL[fold.op](b, fold.dtype), fold.op)
            axis, index = f.inner[0], outside.write(number)
            stop = b.min(b.add(index, 1), f.kernel.size(axis.extent))
            with b.loop("c", b.max(index, 0), stop, "serial", [carry]) as c:
                b.update(carry, writer_at([*at, (axis, c)]).write(element))
            return b.var(carry.name, carry.dtype)

        def one_pass(number: int) -> None:
            folds = [fold for fold in analysis.folds if analysis.stage[id(fold.value)] == number]
            results = [
                i for i, r in enumerate(body.results) if r.inner and analysis.stage[id(r.expr)] == number
            ]
            spilled = {key: spill for key, spill in spills.items() if spill.made == number}
            columns = [fold for fold in analysis.across if analysis.stage[id(fold)] == number]
            exprs = [fold.value for fold in folds] + [fold.value for fold in columns]
            exprs += [body.results[i].expr for i in results]
            _hoist(exprs, analysis, outside, kept)
            picks = {fold: pick for fold in folds if (pick := _pick(f, analysis, fold)) is not None}
            for fold, pick in picks.items():
                known[id(fold)] = picked(fold, *pick)
            folds = [fold for fold in folds if fold not in picks]
            if not (folds or results or spilled or columns):
                return
            carries = [b.carry("fold", _INITIAL[fold.op](b, fold.dtype), fold.op) for fold in folds]
            self_at: list[tuple[_Axis, ir.Expr]] = list(at)

            def turn(inside: list[tuple[_Axis, ir.Expr]]) -> None:
                writer = writer_at(inside)
                for key, spill in spilled.items():
                    value = b.let("kept", writer.write(spill.expr))
                    writer.known[key] = value
                    b.store(*_kept_at(f, spill, inside), value)
                values = {i: b.let("v", writer.write(body.results[i].expr)) for i in results}
                if ahead and number == 1:
                    fetch_next(inside)
                for fold, carry in zip(folds, carries, strict=True):
                    b.update(carry, writer.write(fold.value))
                for column in columns:
                    take(column, writer.write(column.value), inside)
                for i, value in values.items():
                    b.store(f.stores[i], f.place(len(f.names) + i, Size(0), inside), value, i in streams)

            _nest_inner(f, carries, self_at, turn)
            for fold, carry in zip(folds, carries, strict=True):
                known[id(fold)] = b.var(carry.name, fold.dtype)
            kept.update(spilled)

        def fetch_next(inside: list[tuple[_Axis, ir.Expr]]) -> None:
            """The first pass over a row waits for memory, later ones do not: they ask for the row that follows."""
            row = f.outer[-1]
            for name in ahead:
                number = f.names.index(name)
                at = f.place(number, body.leaves[name].offset, inside)
                b.prefetch(f.loads[name], b.add(at, f.kernel.size(row.strides[number])))

        for number in range(passes):
            one_pass(number)
        _store_outer(f, at, outside, outer_results)

    outer_results = [i for i, r in enumerate(body.results) if not r.inner and not r.column]
    return row, _inplace(body, early) + _inplace_outer(body, outer_results)


def _pick(f: _Folded, analysis: _Analysis, fold: RowReduce) -> tuple[ir.Expr, ir.Expr] | None:
    """The number of the one element that a sum may differ from zero by, and that element.

    A sum over `index == number ? element : 0` is no work for every element of a row.
    """
    value = fold.value
    if fold.op != "add" or len(f.inner) != 1 or not isinstance(value, ir.Op) or value.name != "select":
        return None
    hit, element, other = value.args
    if not (isinstance(other, ir.Const) and other.value == 0 and isinstance(hit, ir.Op) and hit.name == "eq"):
        return None
    for index, number in (hit.args, hit.args[::-1]):
        if isinstance(index, RowIndex) and id(number) not in analysis.inner:
            return number, element
    return None


def _store_outer(f: _Folded, at: list[tuple[_Axis, ir.Expr]], writer: _Writer, results: list[int]) -> None:
    """Stores the results that have one value per fold, all computed before the first is stored."""
    values = [f.b.let("v", writer.write(f.body.results[i].expr)) for i in results]
    for i, value in zip(results, values, strict=True):
        f.b.store(f.stores[i], f.place(len(f.names) + i, Size(0), at), value)


def _nest_outer(
    f: _Folded,
    parallel: bool,
    inside: Callable[[list[tuple[_Axis, ir.Expr]]], None],
    first: tuple[ir.Expr, ir.Expr] | None = None,
) -> None:
    """The loops over the axes that are not folded; `first` bounds the outermost."""
    at: list[tuple[_Axis, ir.Expr]] = []

    def nest(depth: int) -> None:
        if depth == len(f.outer):
            inside(list(at))
            return
        kind = "parallel" if depth == 0 and parallel else "serial"
        start, stop = (
            first
            if depth == 0 and first is not None
            else (f.b.const(0, "i64"), f.kernel.size(f.outer[depth].extent))
        )
        with f.b.loop("r", start, stop, kind) as r:  # type: ignore[arg-type]
            at.append((f.outer[depth], r))
            nest(depth + 1)
            at.pop()

    nest(0)


def _nest_inner(
    f: _Folded,
    carries: list[ir.Carry],
    at: list[tuple[_Axis, ir.Expr]],
    turn: Callable[[list[tuple[_Axis, ir.Expr]]], None],
    first: tuple[ir.Expr, ir.Expr] | None = None,
) -> None:
    """The loops over the folded axes, the last one in vectors; `first` bounds the outermost."""
    inside = list(at)

    def nest(depth: int, outer: list[ir.Carry]) -> None:
        axis = f.inner[depth]
        start, stop = (
            first if depth == 0 and first is not None else (f.b.const(0, "i64"), f.kernel.size(axis.extent))
        )
        last = depth == len(f.inner) - 1
        # Each level folds into carries of its own, which the level above takes in.
        own = outer if last else [f.b.carry("part", c.init, c.op) for c in outer]
        with f.b.loop("c", start, stop, "vector" if last else "serial", outer) as c:
            inside.append((axis, c))
            if last:
                turn(list(inside))
            else:
                nest_below(depth + 1, own)
                for above, below in zip(outer, own, strict=True):
                    f.b.update(above, f.b.var(below.name, below.dtype))
            inside.pop()

    def nest_below(depth: int, own: list[ir.Carry]) -> None:
        nest(depth, own)

    nest(0, carries)


def _hoist(exprs: list[ir.Expr], analysis: _Analysis, outside: _Writer, kept: Container[int]) -> None:
    """Names what a pass needs of the row as a whole before the pass begins."""
    seen: set[int] = set()
    stack = list(exprs)
    while stack:
        expr = stack.pop()
        if id(expr) in seen or id(expr) in outside.known or id(expr) in kept:
            continue
        seen.add(id(expr))
        if id(expr) in analysis.inner:
            stack.extend(ir.children(expr))
        elif isinstance(expr, ir.Op) or leaf_name(expr, outside.kernel.body) is not None:
            outside.known[id(expr)] = outside.kernel.b.let("row", outside.write(expr))
        elif isinstance(expr, RowSize | SizeOf):
            outside.write(expr)


def _rows_ahead(f: _Folded) -> list[str]:
    """The leaves of which each row is a run of memory of its own, short enough to wait in the first cache."""
    if len(f.inner) != 1 or not f.outer:
        return []
    length = f.inner[0].extent.value
    found = []
    for number, name in enumerate(f.names):
        leaf = f.body.leaves[name]
        moving = f.outer[-1].strides[number].value and f.inner[0].strides[number].value == 1
        if leaf.value is not None and not leaf.gathered and moving:
            found.append(name)
    row = sum(length * leaf.value.dtype.size for n in found if (leaf := f.body.leaves[n]).value is not None)
    return found if _LEAST_AHEAD <= row <= _MOST_AHEAD else []


@dataclass(frozen=True, slots=True)
class _Spill:
    """An expression that one pass over a row leaves to later ones: in memory of the kernel's own, or a result's."""

    expr: ir.Expr
    made: int
    local: ir.Local | None
    result: int | None


def _kept_at(
    f: _Folded, spill: _Spill, inside: list[tuple[_Axis, ir.Expr]]
) -> tuple[ir.Buffer | ir.Local, ir.Expr]:
    """Where the element of a spilled expression at the present place lies."""
    if spill.local is None:
        assert spill.result is not None
        return f.stores[spill.result], f.place(len(f.names) + spill.result, Size(0), inside)
    place: ir.Expr = f.b.const(0, "i64")
    for axis, variable in inside[len(f.outer) :]:
        place = f.b.add(f.b.mul(place, axis.extent.value), variable)
    return spill.local, place


def _spills(body: Body, analysis: _Analysis, passes: int, f: _Folded) -> dict[int, _Spill]:
    """Dear expressions that several passes use, by id."""
    if passes < 2:
        return {}
    free = [i for i, r in enumerate(body.results) if r.inner and analysis.stage[id(r.expr)] == passes - 1]
    used: dict[int, set[int]] = {}
    for number in range(passes):
        roots = [fold.value for fold in analysis.folds if analysis.stage[id(fold.value)] == number]
        roots += [fold.value for fold in analysis.across if analysis.stage[id(fold)] == number]
        roots += [r.expr for r in body.results if r.inner and analysis.stage[id(r.expr)] == number]
        seen: set[int] = set()
        stack = list(roots)
        while stack:
            expr = stack.pop()
            if id(expr) in seen or isinstance(expr, RowReduce):
                continue
            seen.add(id(expr))
            used.setdefault(id(expr), set()).add(number)
            stack.extend(ir.children(expr))
    room = 0 if any(axis.extent.dynamic for axis in f.inner) else MOST_LOCAL
    count = math.prod(axis.extent.value for axis in f.inner)
    spills: dict[int, _Spill] = {}
    covered: set[int] = set()
    for expr in reversed(analysis.order):
        if not isinstance(expr, ir.Op) or id(expr) not in analysis.inner or id(expr) in covered:
            continue
        when = used.get(id(expr), set())
        if len(when) < 2 or not any(isinstance(e, ir.Op) and e.name in DEAR for e in _post_order([expr])):
            continue
        local, result = None, None
        size = count * ir.numpy_dtype(expr.dtype).itemsize
        if size <= room:
            room -= size
            local = f.b.local("row", expr.dtype, count)
        else:
            same = (i for i in free if ir.dtype_name(body.results[i].value.dtype.name) == expr.dtype)
            result = next(same, None)
            if result is None:
                continue
            free.remove(result)
        spills[id(expr)] = _Spill(expr, min(when), local, result)
        covered.update(id(e) for e in _post_order([expr]))
    return spills


def _rows_and_columns(body: Body, name: str) -> list[Lowered]:
    """Folds over all axes but the last, with whatever goes on along the last one."""
    last = len(body.space) - 1
    if not body.axes:
        body = replace(body, axes=(last,))
    analysis = _Analysis(body)
    columns = [i for i, r in enumerate(body.results) if r.column]
    width = body.space[last]
    rows = math.prod(size.value for size in body.space[:last])
    is_open = any(size.dynamic for size in body.space)
    bytes_ = width.value * sum(_sum_bytes(fold) for fold in analysis.across)
    if not is_open and rows * width.value <= FLAT_TURN and bytes_ <= MOST_LOCAL:
        return [_columns_at_once(body, analysis, name, columns)]
    per_row = [fold.value for fold in analysis.folds] + [fold.value for fold in analysis.across]
    per_row += [result.expr for result in body.results if not result.column]
    leaves = {leaf for e in _post_order(per_row) if (leaf := leaf_name(e, body)) is not None}
    f = _Folded(body, analysis, name)
    f.buffers(leaves, [i for i in range(len(body.results)) if i not in columns])
    b = f.b
    cut = f.outer[0] if f.outer else _Axis(Size(1), [Size(0)] * len(f.strides))
    # Of many rows more shares, as long as these are little to combine: each sum is the shorter and the more exact.
    # Machines that want more of them have the memory for it.
    at_once = body.most_shares // MOST_SHARES
    small = _SMALL_SUMS * at_once**2 // width.value
    most = greatest(COLUMN_SHARES * at_once, least(body.most_shares, rows // MOST_SHARES, small))
    shares = greatest(1, least(most, cut.extent.value, rows // COLUMN_SHARES))
    step = ceil_div(cut.extent.value, shares)
    shares = ceil_div(cut.extent.value, step)
    open_ = cut.extent.dynamic
    partials = [
        f.kernel.partial(f"p{i}", i, _sum_dtype(fold.dtype)) for i, fold in enumerate(analysis.across)
    ]
    held = {id(fold): buffer for fold, buffer in zip(analysis.across, partials, strict=True)}
    step_expr, total = f.kernel.size(Size(step, open_), "step"), f.kernel.size(cut.extent)
    length = f.kernel.size(width)
    with b.loop("share", 0, f.kernel.size(Size(shares, open_), "shares"), "parallel") as share:
        start = b.let("start", b.mul(share, step_expr))
        stop = b.let("stop", b.min(b.add(start, step_expr), total))
        base = b.let("base", b.mul(share, length))
        _clear(b, analysis, held, base, length)

        def take(fold: Across, value: ir.Expr, at: _Place) -> None:
            _take_in(b, held[id(fold)], fold, value, b.add(base, at[-1][1]))

        row, inplace = _row(f, take)
        _nest_outer(f, False, row, (start, stop))
    first = Lowered(
        b.kernel(), f.kernel.arguments, True, inplace,
        [(shares * width.value, _sum_dtype(fold.dtype)) for fold in analysis.across], analysis.flops(f.points),
    )  # fmt: skip
    return [first, _combine_columns(body, analysis, name, Size(shares, open_), columns)]


def _is_narrow(body: Body, analysis: _Analysis) -> bool:
    """Whether sums over columns are better kept in registers: so few columns that each row waits for the last."""
    return (
        not body.axes
        and body.space[-1].value < _NARROW
        and not any(isinstance(expr, RowIndex | RowSize) for expr in analysis.order)
    )


def _in_column_form(body: Body, analysis: _Analysis) -> Body:
    """The same body with the folds over all axes but the last as its only folds."""
    made: dict[int, ir.Expr] = {}
    for expr in analysis.order:
        if isinstance(expr, Across):
            made[id(expr)] = RowReduce(expr.op, made[id(expr.value)], expr.dtype)  # type: ignore[arg-type]
        elif isinstance(expr, ir.Op) and any(made[id(arg)] is not arg for arg in expr.args):
            made[id(expr)] = ir.Op(expr.name, tuple(made[id(arg)] for arg in expr.args), expr.dtype)
        else:
            made[id(expr)] = expr
    results = [replace(result, expr=made[id(result.expr)], column=False) for result in body.results]
    return replace(body, axes=tuple(range(len(body.space) - 1)), results=results)


def _sum_dtype(dtype: str) -> str:
    """What is kept in memory between rows: half floats would be rounded at each."""
    return "f32" if dtype in ("f16", "bf16") else dtype


def _sum_bytes(fold: Across) -> int:
    return ir.numpy_dtype(_sum_dtype(fold.dtype)).itemsize


def _clear(
    b: Builder,
    analysis: _Analysis,
    held: dict[int, ir.Buffer] | dict[int, ir.Local],
    base: ir.Expr,
    length: ir.Expr,
) -> None:
    """Sets what rows will be taken into to what folds begin with."""
    with b.loop("c", 0, length, "vector") as c:
        for fold in analysis.across:
            buffer = held[id(fold)]
            b.store(buffer, b.add(base, c), _INITIAL[fold.op](b, buffer.dtype))


def _take_in(b: Builder, buffer: ir.Buffer | ir.Local, fold: Across, value: ir.Expr, at: ir.Expr) -> None:
    """Combines one element into what has been folded of its column."""
    b.store(buffer, at, b.apply(fold.op, b.load(buffer, at), b.cast(value, buffer.dtype)))


def _columns_at_once(body: Body, analysis: _Analysis, name: str, columns: list[int]) -> Lowered:
    """So few points that one thread does all, rows and then columns."""
    f = _Folded(body, analysis, name)
    f.buffers()
    b = f.b
    width = body.space[-1].value
    zero, length = b.const(0, "i64"), b.const(width, "i64")
    held = {id(fold): b.local("sums", _sum_dtype(fold.dtype), width) for fold in analysis.across}
    _clear(b, analysis, held, zero, length)

    def take(fold: Across, value: ir.Expr, at: _Place) -> None:
        _take_in(b, held[id(fold)], fold, value, at[-1][1])

    row, inplace = _row(f, take)
    _nest_outer(f, False, row)
    axis = f.inner[-1]
    with b.loop("j", 0, length, "vector") as j:
        known = {id(fold): b.cast(b.load(held[id(fold)], j), fold.dtype) for fold in analysis.across}
        writer = _Writer(f.kernel, analysis, f.loader([(axis, j)]), known)
        _store_outer(f, [(axis, j)], writer, columns)
    inplace += _inplace_outer(body, columns)
    return Lowered(b.kernel(), f.kernel.arguments, False, inplace, [], analysis.flops(f.points))


def _combine_columns(body: Body, analysis: _Analysis, name: str, shares: Size, columns: list[int]) -> Lowered:
    """Combines the shares of each fold over columns in their order, and computes what follows."""
    f = _Folded(body, analysis, f"{name}_combine")
    b = f.b
    partials = [
        f.kernel.partial(f"p{i}", i, _sum_dtype(fold.dtype)) for i, fold in enumerate(analysis.across)
    ]
    below = _below([body.results[i].expr for i in columns])
    f.buffers({leaf for e in below if (leaf := leaf_name(e, body)) is not None}, columns)
    width = body.space[-1]
    length, count = f.kernel.size(width), f.kernel.size(shares, "shares")
    axis = f.inner[-1]
    # An open number of shares must not decide: a new size needs no new code.
    about = COLUMN_SHARES if shares.dynamic else shares.value
    parallel = width.value * about * len(partials) > FLAT_TURN or width.dynamic
    turns = b.floordiv(b.add(length, COLUMN_TURN - 1), b.const(COLUMN_TURN, "i64"))
    with b.loop("block", 0, turns, "parallel" if parallel else "serial") as block:
        start = b.let("start", b.mul(block, b.const(COLUMN_TURN, "i64")))
        stop = b.let("stop", b.min(b.add(start, b.const(COLUMN_TURN, "i64")), length))
        with b.loop("j", start, stop, "vector") as j:
            carries = [
                b.carry("fold", _INITIAL[fold.op](b, buffer.dtype), fold.op)
                for fold, buffer in zip(analysis.across, partials, strict=True)
            ]
            with b.loop("s", 0, count, "serial", carries) as s:
                at = b.add(b.mul(s, length), j)
                for carry, buffer in zip(carries, partials, strict=True):
                    b.update(carry, b.load(buffer, at))
            known = {
                id(fold): b.cast(b.var(carry.name, carry.dtype), fold.dtype)
                for fold, carry in zip(analysis.across, carries, strict=True)
            }
            writer = _Writer(f.kernel, analysis, f.loader([(axis, j)]), known)
            _store_outer(f, [(axis, j)], writer, columns)
    return Lowered(b.kernel(), f.kernel.arguments, parallel, _inplace_outer(body, columns))


def _columns(body: Body, analysis: _Analysis, name: str) -> Lowered:
    """The last axis is kept: lanes are columns, the folds run inside each."""
    f = _Folded(body, analysis, name)
    f.buffers()
    b = f.b
    columns = f.outer[-1] if f.outer else _Axis(Size(1), [Size(0)] * len(f.strides))
    above = f.outer[:-1]
    width = f.kernel.size(columns.extent)
    parallel = f.is_open or f.points > FLAT_TURN

    def lanes(at: list[tuple[_Axis, ir.Expr]], start: ir.Expr, stop: ir.Expr) -> None:
        with b.loop("j", start, stop, "vector") as j:
            here = [*at, (columns, j)]
            _column(f, here, None)

    blocks = b.floordiv(b.add(width, COLUMN_TURN - 1), b.const(COLUMN_TURN, "i64"))

    def body_at(at: list[tuple[_Axis, ir.Expr]]) -> None:
        if above and parallel:
            lanes(at, b.const(0, "i64"), width)
            return
        with b.loop("block", 0, blocks, "parallel" if parallel else "serial") as block:
            start = b.let("start", b.mul(block, b.const(COLUMN_TURN, "i64")))
            stop = b.let("stop", b.min(b.add(start, b.const(COLUMN_TURN, "i64")), width))
            lanes(at, start, stop)

    f.outer = above
    _nest_outer(f, parallel and bool(above), body_at)
    inplace = _inplace_outer(body, [i for i, r in enumerate(body.results) if not r.inner])
    return Lowered(b.kernel(), f.kernel.arguments, parallel, inplace, [], analysis.flops(f.points))


def _column(
    f: _Folded, at: list[tuple[_Axis, ir.Expr]], bounds: tuple[ir.Expr, ir.Expr] | None
) -> dict[int, ir.Expr]:
    """Folds under one column variable, then stores the results per column; returns the folds by id."""
    b, body, analysis = f.b, f.body, f.analysis
    known: dict[int, ir.Expr] = {}
    inner_results = [i for i, r in enumerate(body.results) if r.inner]
    carries = [b.carry("fold", _INITIAL[fold.op](b, fold.dtype), fold.op) for fold in analysis.folds]

    def nest(depth: int, inside: list[tuple[_Axis, ir.Expr]]) -> None:
        axis = f.inner[depth]
        start, stop = (
            bounds if depth == 0 and bounds is not None else (b.const(0, "i64"), f.kernel.size(axis.extent))
        )
        outermost = depth == 0
        own = carries if outermost else levels[depth]
        with b.loop("c", start, stop, "serial", own) as c:
            now = [*inside, (axis, c)]
            if depth == len(f.inner) - 1:
                writer = _Writer(f.kernel, analysis, f.loader(now), {})
                writer.row_size = f.row_size()
                for fold, carry in zip(analysis.folds, own, strict=True):
                    b.update(carry, writer.write(fold.value))
                for i in inner_results:
                    b.store(
                        f.stores[i],
                        f.place(len(f.names) + i, Size(0), now),
                        writer.write(body.results[i].expr),
                    )
            else:
                levels[depth + 1] = [b.carry("part", carry.init, carry.op) for carry in own]
                nest(depth + 1, now)
                for carry, below in zip(own, levels[depth + 1], strict=True):
                    b.update(carry, b.var(below.name, below.dtype))

    levels: dict[int, list[ir.Carry]] = {}
    nest(0, at)
    for fold, carry in zip(analysis.folds, carries, strict=True):
        known[id(fold)] = b.var(carry.name, fold.dtype)
    if bounds is None:
        writer = _Writer(f.kernel, analysis, f.loader(at), known)
        writer.row_size = f.row_size()
        _store_outer(f, at, writer, [i for i, r in enumerate(body.results) if not r.inner])
    return known


def _in_shares(body: Body, analysis: _Analysis, name: str) -> list[Lowered]:
    """A long fold into few values: shares of fixed size, then one kernel that combines them.

    The shares depend on the sizes alone, so the result has the same bits on any number of threads.
    """
    f = _Folded(body, analysis, name)
    per_point = [fold.value for fold in analysis.folds] + [r.expr for r in body.results if r.inner]
    points = {leaf for e in _below(per_point) if (leaf := leaf_name(e, body)) is not None}
    f.buffers(points, [i for i, r in enumerate(body.results) if r.inner])
    b = f.b
    kept_count = f.turns
    # The longest run of turns is cut: the outermost folded axis.
    length = f.inner[0].extent
    per_turn = greatest(1, f.points // greatest(1, length.value))
    shares = greatest(1, least(body.most_shares, length.value * per_turn // SHARE, length.value))
    step = ceil_div(length.value, shares)
    shares = ceil_div(length.value, step)
    dynamic = length.dynamic
    partials = [f.kernel.partial(f"p{i}", i, fold.dtype) for i, fold in enumerate(analysis.folds)]
    outer_results = [i for i, r in enumerate(body.results) if not r.inner]
    step_expr, total = f.kernel.size(Size(step, dynamic), "step"), f.kernel.size(length)
    row_form = len(body.space) - 1 in body.axes
    with b.loop("share", 0, f.kernel.size(Size(shares, dynamic), "shares"), "parallel") as share:
        start = b.let("start", b.mul(share, step_expr))
        stop = b.let("stop", b.min(b.add(start, step_expr), total))

        def position(at: list[tuple[_Axis, ir.Expr]]) -> ir.Expr:
            place: ir.Expr = share
            for axis, variable in at:
                place = b.add(b.mul(place, f.kernel.size(axis.extent)), variable)
            return place

        def keep(known: dict[int, ir.Expr], at: list[tuple[_Axis, ir.Expr]]) -> None:
            for fold, buffer in zip(analysis.folds, partials, strict=True):
                b.store(buffer, position(at), known[id(fold)])

        def rows(at: list[tuple[_Axis, ir.Expr]]) -> None:
            carries = [b.carry("fold", _INITIAL[fold.op](b, fold.dtype), fold.op) for fold in analysis.folds]

            def turn(inside: list[tuple[_Axis, ir.Expr]]) -> None:
                writer = _Writer(f.kernel, analysis, f.loader(inside), {})
                writer.row_size = f.row_size()
                writer.row_index = inside[-1][1]
                for fold, carry in zip(analysis.folds, carries, strict=True):
                    b.update(carry, writer.write(fold.value))
                for i, result in enumerate(body.results):
                    if result.inner:
                        b.store(
                            f.stores[i], f.place(len(f.names) + i, Size(0), inside), writer.write(result.expr)
                        )

            _nest_inner(f, carries, at, turn, (start, stop))
            keep(
                {
                    id(fold): b.var(c.name, fold.dtype)
                    for fold, c in zip(analysis.folds, carries, strict=True)
                },
                at,
            )

        # An axis of one element that is kept leaves no loop.
        if row_form or not f.outer:
            _nest_outer(f, False, rows)
        else:
            columns = f.outer[-1]
            f.outer = f.outer[:-1]

            def column_lanes(at: list[tuple[_Axis, ir.Expr]]) -> None:
                with b.loop("j", 0, f.kernel.size(columns.extent), "vector") as j:
                    here = [*at, (columns, j)]
                    keep(_column(f, here, (start, stop)), here)

            _nest_outer(f, False, column_lanes)
            f.outer = [*f.outer, columns]
    first = Lowered(
        b.kernel(), f.kernel.arguments, True, [], [(shares * kept_count, fold.dtype) for fold in analysis.folds],
        analysis.flops(f.points),
    )  # fmt: skip
    return [first, _combine(body, analysis, name, shares, dynamic, outer_results)]


def _combine(
    body: Body, analysis: _Analysis, name: str, shares: int, dynamic: bool, outer_results: list[int]
) -> Lowered:
    """Combines the shares of each fold in their order, and computes what follows the folds."""
    f = _Folded(body, analysis, f"{name}_combine")
    b = f.b
    partials = [f.kernel.partial(f"p{i}", i, fold.dtype) for i, fold in enumerate(analysis.folds)]
    below = _below([body.results[i].expr for i in outer_results])
    needed = {leaf for e in below if (leaf := leaf_name(e, body)) is not None}
    f.buffers(needed, outer_results)
    columns = f.outer[-1] if f.outer else None
    f.outer = f.outer[:-1]
    kept = [*f.outer, columns] if columns is not None else []
    stride = math.prod(axis.extent.value for axis in kept)
    kept_dynamic = any(axis.extent.dynamic for axis in kept)

    def one(at: list[tuple[_Axis, ir.Expr]]) -> None:
        place: ir.Expr = b.const(0, "i64")
        for axis, variable in at:
            place = b.add(b.mul(place, f.kernel.size(axis.extent)), variable)
        known: dict[int, ir.Expr] = {}
        carries = [b.carry("fold", _INITIAL[fold.op](b, fold.dtype), fold.op) for fold in analysis.folds]
        with b.loop("s", 0, f.kernel.size(Size(shares, dynamic), "shares"), "serial", carries) as s:
            at_share = b.add(b.mul(s, f.kernel.size(Size(stride, kept_dynamic))), place)
            for carry, buffer in zip(carries, partials, strict=True):
                b.update(carry, b.load(buffer, at_share))
        for fold, carry in zip(analysis.folds, carries, strict=True):
            known[id(fold)] = b.var(carry.name, fold.dtype)
        writer = _Writer(f.kernel, analysis, f.loader(at), known)
        writer.row_size = f.row_size()
        _store_outer(f, at, writer, outer_results)

    def body_at(at: list[tuple[_Axis, ir.Expr]]) -> None:
        if columns is None:
            one(at)
            return
        with b.loop("j", 0, f.kernel.size(columns.extent), "vector") as j:
            one([*at, (columns, j)])

    _nest_outer(f, False, body_at)
    return Lowered(b.kernel(), f.kernel.arguments, False, _inplace_outer(body, outer_results))


def _below(roots: Iterable[ir.Expr]) -> list[ir.Expr]:
    """The expressions below the roots, not looking into folds."""
    seen: set[int] = set()
    found: list[ir.Expr] = []
    stack = list(roots)
    while stack:
        expr = stack.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        found.append(expr)
        if not isinstance(expr, RowReduce | Across):
            stack.extend(ir.children(expr))
    return found


__all__ = [
    "FLAT_TURN",
    "STREAM_ALL",
    "STREAM_FROM",
    "Argument",
    "Body",
    "Leaf",
    "Lowered",
    "Result",
    "body_of",
    "lower_group",
]
