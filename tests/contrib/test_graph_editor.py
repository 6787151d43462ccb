"""Walks through graphs and choices from them."""

from __future__ import annotations

import pytest

import graphflow as gf
from graphflow.contrib import graph_editor as ge


def names(items: list) -> list[str]:  # type: ignore[type-arg]
    return [item.name for item in items]


def test_walks_and_choices() -> None:
    x = gf.placeholder(gf.float32, [2], name="x")
    a = gf.square(x, name="a")
    with gf.control_dependencies([gf.no_op("late")]):
        b = gf.exp(a, name="b")
    c = gf.add(a, b, name="c")
    gf.negative(x, name="side")
    assert names(ge.get_backward_walk_ops(c)) == ["c", "a", "b", "x"]
    assert names(ge.get_backward_walk_ops([c.op], inclusive=False, control_inputs=True)) == [
        "a",
        "b",
        "x",
        "late",
    ]
    assert names(ge.get_backward_walk_ops(c.op, stop_at_ts=[a])) == ["c", "b"]
    assert names(ge.get_backward_walk_ops(c.op, within_ops=[c.op, b.op])) == ["c", "b"]
    assert names(ge.get_forward_walk_ops(x.op)) == ["x", "a", "side", "b", "c"]
    assert names(ge.get_forward_walk_ops(x, within_ops_fn=lambda op: op.name != "side")) == ["a", "b", "c"]
    late = x.graph.get_operation_by_name("late")
    assert names(ge.get_forward_walk_ops(late, control_outputs=True)) == ["late", "b", "c"]
    assert names(ge.get_forward_walk_ops(late)) == ["late"]
    assert names(ge.get_walks_intersection_ops(x.op, b.op)) == ["x", "a", "b"]
    assert names(ge.filter_ts([c.op], lambda t: t.op.type != "Exp")) == ["a:0", "c:0"]
    assert names(ge.filter_ts_from_regex(x.graph, "^b")) == ["b:0"]
    assert names(ge.filter_ops_from_regex(x.graph, "side|late")) == ["late", "side"]
    assert names(ge.select_ops("^[ab]$", c.op, "(?#ts)x", graph=x.graph)) == ["a", "b", "c", "x"]
    assert names(ge.select_ops("(?#ops)^[ab]$", "x", graph=x.graph, restrict_ops_regex=True)) == ["a", "b"]
    assert names(ge.select_ts("^c", graph=x.graph)) == ["c:0"]
    assert names(ge.get_consuming_ops(a)) == ["b", "c"] and names(ge.get_generating_ops([a, b])) == ["a", "b"]


def test_refusals() -> None:
    x = gf.constant(1.0)
    with gf.Graph().as_default():
        y = gf.constant(2.0)
    with pytest.raises(ValueError, match="different graphs"):
        ge.make_list_of_t([x, y])
    with pytest.raises(TypeError, match="expected a gf.Operation"):
        ge.make_list_of_op([x])
    with pytest.raises(ValueError, match="'graph'"):
        ge.select_ops("x")
    with pytest.raises(AttributeError, match="no attribute 'reroute_ts'"):
        ge.reroute_ts  # noqa: B018
