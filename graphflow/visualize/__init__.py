"""Pictures and summaries of graphs and programs: SVG, DOT, notebook display, text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphflow.graph import Graph
from graphflow.program import Program
from graphflow.visualize.diagram import Diagram, diagram_of
from graphflow.visualize.dot import dot_text
from graphflow.visualize.summary import Summary, summarize
from graphflow.visualize.svg import svg_text

__all__ = ["Diagram", "Summary", "diagram_of", "summarize", "to_dot", "to_svg", "write_svg"]

# A picture with more boxes than this tells nobody anything; scopes are shown closed beyond it.
MOST_BOXES = 120


def to_svg(source: Graph | Program, most_boxes: int = MOST_BOXES, title: str = "") -> str:
    """Returns a picture of a graph or program as SVG.

    Name scopes are frames; the largest ones are closed into one box each where there would be more than `most_boxes`
    boxes.
    """
    return svg_text(diagram_of(source, most_boxes), title)


def to_dot(source: Graph | Program, most_boxes: int = 10**9) -> str:
    """Returns a graph or program in Graphviz's language, scopes as clusters."""
    return dot_text(diagram_of(source, most_boxes))


def write_svg(
    source: Graph | Program, path: str | Path, most_boxes: int = MOST_BOXES, title: str = ""
) -> None:
    """Writes a picture of a graph or program to a file."""
    Path(path).write_text(to_svg(source, most_boxes, title), encoding="utf-8")


def _repr_svg_(self: Any) -> str:
    """What a notebook shows."""
    return to_svg(self)


# Notebooks ask the object itself; the classes stand on floors that know nothing of pictures.
Graph._repr_svg_ = _repr_svg_  # type: ignore[attr-defined]
Program._repr_svg_ = _repr_svg_  # type: ignore[attr-defined]
