"""Where a plan turns or forks: regions of its steps that are repeated, or of which one is chosen.

Marks in the list of steps delimit them. A loop is

    enter  turn  ...  leave  ...  again  last  ...  left

where what stands between `turn` and `again` runs in every turn, `leave` goes to `last` when a condition no longer
holds, and what stands between `last` and `left` runs once. A choice is

    case  ...  go  case  ...  go  otherwise  ...  join

Each turn, branch and end begins with a mark of its own, at which threads can wait for each other whichever way they
came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from graphflow.records import dataclass, field

__all__ = ["GUESSED_TURNS", "Mark", "MarkKind", "Region", "Term", "Tree", "region_tree"]

MarkKind = Literal["enter", "turn", "leave", "again", "last", "left", "case", "go", "otherwise", "join"]

# What an unknown number of turns counts as where costs are weighed. Results never depend on it.
GUESSED_TURNS = 16


@dataclass(eq=False, slots=True)
class Region:
    """A loop or a choice.

    Attributes:
      kind: which of the two.
      name: what it stands for.
      origin: as that of a launch.
      most: a loop's greatest number of turns, None if only the run knows it.
    """

    kind: Literal["loop", "choice"]
    name: str = ""
    origin: Any = None
    most: int | None = None

    @property
    def turns(self) -> int:
        """How many turns to expect."""
        return GUESSED_TURNS if self.most is None else self.most


class Term(NamedTuple):
    """How memory moves with the turns of a loop: by `step` bytes in each, and by `swing` more in odd ones.

    In all of them it lies `ends` bytes further for each turn that the loop may have.
    """

    loop: Region
    step: int
    swing: int = 0
    ends: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Mark:
    """A place in the list of steps where a region begins, forks or ends.

    Attributes:
      kind: see the module.
      region: the region.
      slot: what is looked at: the limit of a loop (i64), the condition of `leave` (bool), of a case (bool or i32).
      number: of a case, which number the slot is to hold; None for a condition.
    """

    kind: MarkKind
    region: Region
    slot: Any = None
    number: int | None = None


@dataclass(eq=False, slots=True)
class Tree:
    """A region in a list of steps: where its marks stand, what it lies in."""

    region: Region | None
    parent: Tree | None
    depth: int
    marks: dict[MarkKind, list[int]] = field(default_factory=dict)

    def at(self, kind: MarkKind) -> int:
        """Where the one mark of a kind stands."""
        (position,) = self.marks[kind]
        return position

    @property
    def begin(self) -> int:
        """Its first step."""
        return min(positions[0] for positions in self.marks.values())

    @property
    def end(self) -> int:
        """Its last step."""
        return max(positions[-1] for positions in self.marks.values())

    def upwards(self) -> Iterator[Tree]:
        """Itself, and what it lies in."""
        tree: Tree | None = self
        while tree is not None:
            yield tree
            tree = tree.parent


def region_tree(steps: Sequence[Any]) -> tuple[list[Tree], dict[Region, Tree]]:
    """Returns the innermost region of each step, whose marks count as inside, and the place of each region.

    What runs once after the turns of a loop counts as outside of it.
    """
    top = now = Tree(None, None, 0)
    inner: list[Tree] = []
    places: dict[Region, Tree] = {}
    for at, step in enumerate(steps):
        if not isinstance(step, Mark):
            outside = now.region is not None and "last" in now.marks
            inner.append(now.parent or top if outside else now)
            continue
        if step.region not in places:
            now = places[step.region] = Tree(step.region, now, now.depth + 1)
        if now.region is not step.region:
            raise ValueError(f'region "{step.region.name}" ends inside another')
        now.marks.setdefault(step.kind, []).append(at)
        inner.append(now)
        if step.kind in ("left", "join"):
            assert now.parent is not None
            now = now.parent
    if now is not top:
        raise ValueError(f'region "{now.region.name if now.region else ""}" has no end')
    return inner, places
