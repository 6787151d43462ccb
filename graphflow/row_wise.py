"""Whether row i of what a program gives is made of row i of what it takes: what batching of requests rests on.

The sizes of the feeds are left open, the first one of all of them being one and the same symbol. Then each node's rule
(`ops/row_rules.py`, or what the op declares of itself) says where the rows lie in its outputs. What no rule speaks of
counts as mixed: the answer is a proof or a reason, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Protocol

from graphflow.opdef import describe
from graphflow.ops import row_rules
from graphflow.ops.row_rules import Along, ByCount, Given, NotByRow
from graphflow.optimizer_passes.manager import run_passes
from graphflow.optimizer_passes.pipeline import SPECIALIZED
from graphflow.program import CASES, FEED, VARIABLE, WHILES, Node, Program, Value, specialize
from graphflow.records import dataclass
from graphflow.symbolic import Sizes, Symbolic

_HINT = 1009  # of the number of rows: prime, and no size that a model is likely to have
_OTHER_HINTS = 1013  # of other open sizes, and upward

Shapes = Sequence[Sequence[int | None] | None]


@dataclass(frozen=True, slots=True)
class RowWise:
    """What is known of a program's rows.

    Attributes:
      reason: why rows cannot be put together; "" where they can.
      node: the name of the operation that the reason is about, or "".
    """

    reason: str = ""
    node: str = ""
    _sizes: Sizes | None = None

    def __bool__(self) -> bool:
        return not self.reason

    def holds(self, rows: int, others: Sequence[int] = ()) -> bool:
        """Whether it is proved for so many rows.

        Args:
          rows: their number.
          others: what the other open sizes of the feeds are, in order.
        """
        return not self.reason and self._sizes is not None and self._sizes.at((rows, *others)) is not None


class _Switches(Protocol):
    """Which passes run."""

    @property
    def disabled_passes(self) -> Set[str]:
        """Those that do not."""

    @property
    def enabled_passes(self) -> Set[str]:
        """Those that do though they do not by default."""


def prove(program: Program, shapes: Shapes, options: _Switches) -> RowWise:
    """Returns whether a program's fetches have a row for each row of its feeds, made of that alone.

    Args:
      program: after the passes that leave sizes open.
      shapes: the shapes that the feeds may have; None for a size that is open, and for what has an open rank.
      options: how it is compiled.
    """
    sizes = Sizes()
    count = sizes.symbol(_HINT, 1)
    feeds = []
    hint = _OTHER_HINTS
    for value, shape in zip(program.feeds, shapes, strict=True):
        name = value.node.attrs["feed"]
        if shape is None:
            return RowWise(f"the input {name} may have any number of axes")
        if not shape or shape[0] is not None:
            return RowWise(f"the input {name} has no open first axis")
        rest: list[Any] = []
        for size in shape[1:]:
            rest.append(sizes.symbol(hint, 1) if size is None else size)
            hint += 2
        feeds.append((count, *rest))
    if not feeds:
        return RowWise("there are no inputs")
    if program.commits:
        return RowWise(f"it writes the variable {program.commits[0][0]!r}")
    sizes.by_form = True
    try:
        sized = specialize(program, feeds, {})
        sized = run_passes(sized, SPECIALIZED, options.disabled_passes, options.enabled_passes, [])
        found = _Rows(count).of(sized, [Along(0)] * len(feeds))
        for value, place in zip(sized.fetches, found, strict=True):
            if isinstance(place, NotByRow):
                raise place
            if not isinstance(place, Along) or place.axis != 0 or not row_rules.same(place.each, 1):
                raise _about(value.node, NotByRow("gives no row for each row of the batch"))
    except NotByRow as reason:
        return RowWise(*reason.args)
    except Exception as error:  # what the compiler cannot do with open sizes it does for each size by itself
        return RowWise(f"its sizes cannot be left open ({type(error).__name__}: {error})")
    sizes.close()
    return RowWise("", "", sizes)


def _about(node: Node, reason: NotByRow) -> NotByRow:
    """The reason, told of a node; one that is told of another already stays."""
    if len(reason.args) > 1:
        return reason
    shown = ", ".join(describe(value) for value in node.inputs[:3])
    return NotByRow(f'{node.type} "{node.name}" {reason} (it takes {shown})', node.name)


class _Rows:
    """Walks programs; `count` is the number of rows."""

    def __init__(self, count: Any) -> None:
        self.count = count

    def of(self, program: Program, feeds: Sequence[Given]) -> list[Given]:
        """Where the rows lie in what a program gives, if they lie so in what it is fed with."""
        places: dict[Value, Given] = dict(zip(program.feeds, feeds, strict=True))
        for node in program.nodes:
            if node.op_def is FEED:
                continue
            if node.op_def is VARIABLE:
                places[node.outputs[0]] = None
            elif node.type == "Const":
                places[node.outputs[0]] = self._constant(node.outputs[0])
            else:
                for value, place in zip(node.outputs, self._node(node, places), strict=True):
                    places[value] = place
        return [places[value] for value in program.fetches]

    def _constant(self, value: Value) -> Given:
        derived = value.derived
        if derived is None:
            return None
        if derived.numbers is not None and not any(map(self._counts, derived.numbers.reshape(-1).tolist())):
            return None
        return ByCount(self.count)

    def _counts(self, number: Any) -> bool:
        """Whether the number of rows may be in a number."""
        if type(number) is not Symbolic:
            return False
        ((mine,),) = (atoms for atoms, _ in self.count.terms)
        return any(
            number.sizes.is_computed(atom) or atom == mine for atoms, _ in number.terms for atom in atoms
        )

    def _node(self, node: Node, places: dict[Value, Given]) -> Sequence[Given]:
        given = [places[value] for value in node.inputs]
        for place in given:
            if isinstance(place, NotByRow):
                if not node.outputs:
                    raise place  # nobody takes what it gives, and yet it is there for what it does
                return [place] * len(node.outputs)
        try:
            found = self._found(node, given)
        except NotByRow as reason:
            if not node.outputs:
                raise _about(node, reason) from None
            return [_about(node, reason)] * len(node.outputs)
        return [_about(node, place) if isinstance(place, NotByRow) else place for place in found]

    def _found(self, node: Node, given: list[Given]) -> Sequence[Given]:
        op_def = node.op_def
        if node.op_def in WHILES:
            return self._loop(node, given)
        if node.op_def in CASES:
            return self._choice(node, given)
        if op_def.effects == "random":
            raise NotByRow("draws random numbers, which go on from run to run")
        if op_def.effects == "host" and op_def.row_rule is None and not _only_names(node):
            raise NotByRow("acts on the world, once for all rows of the batch")
        if all(place is None for place in given):
            return [None] * len(node.outputs)
        rule = op_def.row_rule or _declared_rule(op_def)
        if rule is None:
            raise NotByRow("has no rule that says which rows its result is made of")
        for i, place in enumerate(given):
            if isinstance(place, ByCount) and i not in op_def.row_count_inputs and not (op_def.view and i):
                raise NotByRow("computes with the number of rows")
        if op_def.view and not any(isinstance(place, Along) for place in given):
            raise NotByRow("computes with the number of rows")
        found = rule(node, given)
        if len(found) != len(node.outputs):
            raise NotByRow("has a rule for another number of results")
        return found

    def _loop(self, node: Node, given: list[Given]) -> Sequence[Given]:
        """A loop whose variables have their rows where they had them before, and whose turns no row decides about."""
        if any(isinstance(place, ByCount) for place in given):
            raise NotByRow("computes with the number of rows")
        (turns,) = self.of(node.attrs["cond"], given)
        if isinstance(turns, NotByRow):
            raise turns
        if turns is not None:
            raise NotByRow("turns as often as the rows of the batch decide")
        after = self.of(node.attrs["body"], given)
        for before, place in zip(given, after, strict=True):
            if isinstance(place, NotByRow):
                raise place
            if not _alike(before, place):
                raise NotByRow("moves the rows of the batch from turn to turn")
        return given

    def _choice(self, node: Node, given: list[Given]) -> Sequence[Given]:
        if any(isinstance(place, ByCount) for place in given):
            raise NotByRow("computes with the number of rows")
        if given[0] is not None:
            raise NotByRow("chooses once for all rows of the batch, by what stands in them")
        made = [self.of(branch, given[1:]) for branch in node.attrs["branches"]]
        found = []
        for places in zip(*made, strict=True):
            for place in places:
                if isinstance(place, NotByRow):
                    raise place
                if not _alike(place, places[0]):
                    raise NotByRow("has branches with the rows of the batch at different places")
            found.append(places[0])
        return found


def _only_names(node: Node) -> bool:
    """Whether a node gives nothing but handles of what the session keeps, such as tables."""
    return bool(node.outputs) and all(value.dtype.name == "resource" for value in node.outputs)


def _alike(a: Given, b: Given) -> bool:
    if isinstance(a, Along) and isinstance(b, Along):
        return a.axis == b.axis and row_rules.same(a.each, b.each)
    return a is None and b is None


def _declared_rule(op_def: Any) -> Any:
    """The rule that follows from what an op declares of itself for other purposes."""
    if op_def.view:
        return row_rules.reshaped
    if op_def.reduction:
        return row_rules.reduced
    if op_def.row is not None:
        return row_rules.along_last if op_def.row_axis is None else None
    if op_def.scalar is not None or (op_def.broadcasting and not op_def.lowering):
        return row_rules.element_wise
    return None
