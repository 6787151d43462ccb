"""What a rule of a read is handed, and what it says: whether it takes a node, and the expression of a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.lowering.sizes import Size
from graphflow.program import Node, Value
from graphflow.records import dataclass

Strides = tuple[Size, ...]


class Operands(Protocol):
    """What a rule builds its expressions from."""

    @property
    def b(self) -> Builder:
        """The builder of the expressions."""

    def strides(self, value: Value) -> Strides:
        """How far apart a value's elements lie in memory, per axis of its own."""

    def element(self, value: Value, strides: Strides) -> Expr:
        """The element at the sum of position times stride over the axes of the result."""

    def gathered(self, value: Value, strides: Strides, index: Expr) -> Expr:
        """The element `index` further on; the index is inside whatever happens."""

    def position(self, strides: Strides) -> Expr:
        """The sum of position times stride itself, an i64."""

    def size(self, size: Size) -> Expr:
        """A size as an i64."""


@dataclass(frozen=True, slots=True)
class Read:
    """Whether a node has the form, and its one result."""

    takes: Callable[[Node], bool]
    expr: Callable[[Node, Operands], Expr]
