"""Writes a diagram in Graphviz's language."""

from __future__ import annotations

import json

from graphflow.visualize.diagram import Box, Diagram, Frame
from graphflow.visualize.svg import COLORS


def dot_text(diagram: Diagram) -> str:
    """Returns a diagram as a `digraph`, with clusters for frames."""
    lines = [
        "digraph graphflow {",
        "  rankdir=TB;",
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=8, color="#8a94a3"];',
    ]
    names: dict[Box, str] = {}
    clusters = 0
    # (what to write, its indent); a plain string closes a cluster. A stack of its own: scopes may be deep.
    waiting: list[tuple[Box | Frame | str, str]] = [(item, "  ") for item in reversed(diagram.root.items)]
    while waiting:
        item, indent = waiting.pop()
        if isinstance(item, str):
            lines.append(f"{indent}{item}")
        elif isinstance(item, Box):
            names[item] = f"n{len(names)}"
            fill, edge = COLORS[item.kind]
            label = json.dumps(f"{item.title}\n{item.name}")
            lines.append(f'{indent}{names[item]} [label={label}, fillcolor="{fill}", color="{edge}"];')
        else:
            lines.append(f"{indent}subgraph cluster_{clusters} {{")
            lines.append(f"{indent}  label={json.dumps(item.name)};")
            clusters += 1
            waiting.append(("}", indent))
            waiting += [(inner, indent + "  ") for inner in reversed(item.items)]
    for link in diagram.links:
        style = ", style=dashed" if link.control else ""
        label = json.dumps(link.label)
        lines.append(f"  {names[link.source]} -> {names[link.target]} [label={label}{style}];")
    lines.append("}")
    return "\n".join(lines) + "\n"
