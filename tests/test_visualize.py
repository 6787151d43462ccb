"""Pictures: what is shown, that nothing lies on anything else, that large graphs stay small pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import graphflow as gf
from graphflow import visualize
from graphflow.program import freeze
from graphflow.visualize.diagram import Box, Frame, diagram_of
from graphflow.visualize.layout import lay_out


def small_net() -> tuple[gf.Tensor, gf.Tensor]:
    x = gf.placeholder(gf.float32, [None, 4], name="x")
    with gf.name_scope("first"):
        y = gf.tanh(gf.matmul(x, gf.Variable(np.ones((4, 3), np.float32), name="weights")) * 2.0)
    with gf.name_scope("second"):
        y = gf.reduce_mean(gf.exp(-y * y), name="mean")
    return x, y


def texts(svg: str) -> list[str]:
    return [
        element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")
    ]


def test_svg_shows_operations_scopes_and_shapes() -> None:
    small_net()
    svg = visualize.to_svg(gf.get_default_graph(), title="a <net>")
    shown = texts(svg)
    assert "a <net>" in shown
    for word in ("Placeholder", "MatMul", "Tanh", "Mean", "first", "second", "?×4", "?×3", "scalar"):
        assert word in shown, word


def test_notebooks_show_graphs_and_programs() -> None:
    x, y = small_net()
    for thing in (gf.get_default_graph(), freeze([y], [x])):
        assert ElementTree.fromstring(thing._repr_svg_()).tag.endswith("}svg")


def test_boxes_do_not_overlap_and_stay_inside_their_frames() -> None:
    x, y = small_net()
    gf.train.MomentumOptimizer(0.1, 0.9).minimize(y)
    diagram = diagram_of(gf.get_default_graph(), 200)
    places = lay_out(diagram).places

    def check(frame: Frame) -> None:
        outer = places[frame]
        for item in frame.items:
            inner = places[item]
            assert outer.x <= inner.x and inner.x + inner.width <= outer.x + outer.width + 1e-6
            assert outer.y <= inner.y and inner.y + inner.height <= outer.y + outer.height + 1e-6
            for other in frame.items:
                if other is not item:
                    there = places[other]
                    apart = (
                        inner.x + inner.width <= there.x
                        or there.x + there.width <= inner.x
                        or inner.y + inner.height <= there.y
                        or there.y + there.height <= inner.y
                    )
                    assert apart, f"{item} lies on {other}"
            if isinstance(item, Frame):
                check(item)

    check(diagram.root)


def test_links_point_down_outside_of_loops() -> None:
    small_net()
    diagram = diagram_of(gf.get_default_graph(), 200)
    places = lay_out(diagram).places
    for link in diagram.links:
        assert places[link.source].y + places[link.source].height <= places[link.target].y


@pytest.mark.parametrize("scoped", [True, False])
def test_a_large_graph_is_a_small_picture(scoped: bool) -> None:
    y = gf.placeholder(gf.float32, [4], name="x")
    for layer in range(200):
        with gf.name_scope(f"block_{layer % 10}/layer_{layer}" if scoped else ""):
            for _ in range(10):
                y = gf.tanh(y)
    diagram = diagram_of(gf.get_default_graph(), 50)
    boxes: list[Box] = []
    frames = [diagram.root]
    while frames:
        for item in frames.pop().items:
            (boxes if isinstance(item, Box) else frames).append(item)  # type: ignore[arg-type]
    assert 2 <= len(boxes) <= 60
    assert sum(box.size for box in boxes) == len(gf.get_default_graph().get_operations())
    assert len(visualize.to_svg(gf.get_default_graph(), 50)) < 200_000


def test_a_deep_chain_of_scopes_needs_no_recursion() -> None:
    with gf.name_scope("/".join(["deep"] * 1100)):
        gf.constant(1.0)
        gf.constant(2.0)
    assert "Const" in visualize.to_svg(gf.get_default_graph())
    assert visualize.to_dot(gf.get_default_graph()).count("{") == visualize.to_dot(
        gf.get_default_graph()
    ).count("}")


def test_dot_has_clusters_and_edges() -> None:
    small_net()
    dot = visualize.to_dot(gf.get_default_graph())
    assert dot.startswith("digraph graphflow {") and dot.endswith("}\n")
    assert 'label="first"' in dot and "MatMul" in dot and " -> " in dot


def test_summary_counts() -> None:
    x = gf.placeholder(gf.float32, [8, 4])
    weights = gf.Variable(np.ones((4, 3), np.float32), name="weights")
    y = gf.reduce_sum(gf.nn.relu(gf.matmul(x, weights)))
    program = visualize.summarize(freeze([y], [x]))
    # 2·8·4·3 for the product, 24 for relu, 24 for the sum.
    assert program.flops == 192 + 24 + 24
    assert program.parameters == 12
    assert program.variables == (("weights", "float32", "(4, 3)"),)
    graph = visualize.summarize(gf.get_default_graph())
    assert graph.parameters == 12 and graph.unknown == 0
    assert graph.operations["MatMul"] == 1
    assert "12 parameters" in str(graph)
