"""Rewriting by rules: a rule looks at one node and gives the value that takes its place, or None.

The driver walks bottom up, tries the rules of the node's op until none fires, refuses a result of another type, stamps
what is new with the origin of what it replaces (the builder does that), and counts firings by rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild

Rule = Callable[[ProgramBuilder, Node], Value | None]

_MOST_FIRINGS_PER_NODE = 50


class RuleSet:
    """Rules by the op type of the node they look at."""

    def __init__(self) -> None:
        self._by_op: dict[str, list[tuple[str, Rule]]] = {}

    def rule(self, *op_types: str) -> Callable[[Rule], Rule]:
        """Registers a rule for nodes of these op types with one output."""

        def register(function: Rule) -> Rule:
            name = getattr(function, "__name__", "rule")
            for op_type in op_types:
                self._by_op.setdefault(op_type, []).append((name, function))
            return function

        return register

    def apply(self, program: Program, counts: Counter[str]) -> Program:
        """Rewrites a program until no rule fires.

        Raises:
          ValueError: if a rule gives a value of another dtype or shape.
        """

        if not any(node.type in self._by_op for node in program.nodes):
            return program

        def replace(
            builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
        ) -> Replacement:
            if node.type not in self._by_op or controls:
                return None
            current = builder.again(node, inputs, ())
            result = current.outputs[0]
            for _ in range(_MOST_FIRINGS_PER_NODE):
                found = self._once(builder, result.node, counts)
                if found is None:
                    break
                if found.dtype is not result.dtype or not found.shape.is_compatible_with(result.shape):
                    raise ValueError(f"a rule replaced {result!r} by {found!r}")
                result = found
                if len(result.node.outputs) != 1:
                    break
            return None if result is current.outputs[0] else [result]

        return rebuild(program, replace)

    def _once(self, builder: ProgramBuilder, node: Node, counts: Counter[str]) -> Value | None:
        for name, rule in self._by_op.get(node.type, ()):
            result = rule(builder, node)
            if result is not None:
                counts[name] += 1
                return result
        return None
