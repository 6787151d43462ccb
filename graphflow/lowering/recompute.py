"""Values that are cheaper to compute again than to read: products of a row and a column, a multiple of what is stored.

A gradient takes again what the forward pass had between two kernels. Where that is one or two additions and products of
something smaller, or of something that is in memory anyway, the kernel that takes it computes it, and nobody stores it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from graphflow.loops import ir
from graphflow.lowering.forms import Form, bounds_of, row_body, scalar_of
from graphflow.lowering.fuse import Group
from graphflow.program import Node, Value

_MOST_OPERATIONS = 2
_CHEAP = frozenset("add sub mul neg max min abs select eq ne lt le gt ge and or not cast".split())


def recomputed(
    groups: Iterable[Group],
    group_of: Mapping[Node, Group],
    forms: Mapping[Node, Form],
    uses: Mapping[Value, list[Node]],
    roots: Set[Value],
    absorbed: Set[Node],
) -> dict[Value, list[Node]]:
    """Returns the values that other groups compute again, each with the nodes there that take it.

    Args:
      groups: the groups, in order.
      group_of: the group of each member.
      forms: the form of each node.
      uses: who takes each value.
      roots: the values that are handed out.
      absorbed: library calls whose own results never reach memory.
    """
    chosen: dict[Value, list[Node]] = {}
    groups = list(groups)
    held = {value for group in groups for node in group.copies for value in node.inputs}
    for group in groups:
        members = set(group.nodes)
        found: list[tuple[Value, list[Node], Value | None]] = []
        for node in group.nodes:
            (value, *others) = node.outputs
            if (
                others
                or forms[node] is not Form.MAP
                or value in roots
                or value in held
                or not _is_cheap(node)
            ):
                continue
            outside = [
                user
                for user in uses.get(value, ())
                if user not in members and (user not in group_of or node not in group_of[user].copies)
            ]
            if not outside or not all(_takes(user, value, group_of, forms) for user in outside):
                continue
            large = {other for other in node.inputs if other.sizes == value.sizes}
            if len(large) <= 1:
                found.append((value, outside, next(iter(large), None)))
        sharing = Counter(source for _, _, source in found)
        for value, outside, source in found:
            if source is not None:
                if source in chosen or source.node in absorbed:
                    continue
                own = source.node in members and source not in roots
                stored = not own or any(user not in members for user in uses.get(source, ()))
                if not stored and sharing[source] < 2:
                    continue
            chosen[value] = outside
    return chosen


def _is_cheap(node: Node) -> bool:
    expr = scalar_of(node)
    operations: set[int] = set()
    stack = [expr] if isinstance(expr, ir.Expr) else []
    if not stack:
        return False
    while stack:
        one = stack.pop()
        if isinstance(one, ir.Op) and id(one) not in operations:
            if one.name not in _CHEAP or len(operations) == _MOST_OPERATIONS:
                return False
            operations.add(id(one))
            stack.extend(one.args)
    return True


def _takes(user: Node, value: Value, group_of: Mapping[Node, Group], forms: Mapping[Node, Form]) -> bool:
    """Whether a node takes a value element by element, in a group of the value's own sizes."""
    group = group_of.get(user)
    if group is None or group.space != value.sizes or forms[user] not in (Form.MAP, Form.REDUCE, Form.ROW):
        return False
    if forms[user] is Form.ROW:
        body = row_body(user)
        if body is None or not body.in_order:
            return False
    return not any(user.inputs[position] is value for position in bounds_of(user))


__all__ = ["recomputed"]
