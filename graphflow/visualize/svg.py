"""Draws a laid-out diagram as SVG, without any drawing program."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from graphflow.visualize.diagram import Box, Diagram, Frame, Link
from graphflow.visualize.layout import Layout, Place, lay_out

# (fill, edge) per kind; dark text reads well on all of them.
COLORS: dict[str, tuple[str, str]] = {
    "feed": ("#fff3c4", "#c99a00"),
    "constant": ("#eeeeee", "#9e9e9e"),
    "state": ("#ffe0cc", "#d9733a"),
    "random": ("#e8d5f5", "#8e5cc0"),
    "contraction": ("#cfe3ff", "#2f6fd0"),
    "reduction": ("#d5f0ee", "#23938a"),
    "elementwise": ("#daf1d7", "#4b9a40"),
    "layout": ("#f2e8dc", "#a1805a"),
    "host": ("#fbd5dc", "#cc4b66"),
    "other": ("#e3e8ef", "#76859b"),
    "scope": ("#ffffff", "#5f6b7a"),
}
_MARGIN = 10.0
_LEGEND = 26.0
_FONT = "font-family='Helvetica, Arial, sans-serif'"


def svg_text(diagram: Diagram, title: str = "") -> str:
    """Returns a diagram as an SVG document."""
    layout = lay_out(diagram)
    kinds = sorted({item.kind for item in layout.places if isinstance(item, Box)}, key=list(COLORS).index)
    legend = sum(len(kind) * 6.2 + 34 for kind in kinds)
    width = max(layout.width, legend, len(title) * 8.0) + 2 * _MARGIN
    top = _MARGIN + (24.0 if title else 0.0)
    height = layout.height + top + _LEGEND + _MARGIN
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' {_FONT} font-size='11'>",
        f"<rect width='{width:.0f}' height='{height:.0f}' fill='#ffffff'/>",
        "<defs><marker id='arrow' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='6' markerHeight='6' "
        "orient='auto'><path d='M0,0 L8,4 L0,8 z' fill='#8a94a3'/></marker></defs>",
    ]
    if title:
        lines.append(f"<text x='{_MARGIN:.0f}' y='24' font-size='15' fill='#222222'>{escape(title)}</text>")
    lines.append(f"<g transform='translate({_MARGIN:.0f},{top:.0f})'>")
    for item, place in layout.places.items():
        if isinstance(item, Frame) and item is not diagram.root:
            lines += _frame(item, place)
    ports = _ports(diagram, layout)
    lines += [_link(link, layout, ports[link]) for link in diagram.links]
    for item, place in layout.places.items():
        if isinstance(item, Box):
            lines += _box(item, place)
    lines.append("</g>")
    lines += _legend(kinds, height - _LEGEND)
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _frame(frame: Frame, place: Place) -> list[str]:
    return [
        f"<rect x='{place.x:.1f}' y='{place.y:.1f}' width='{place.width:.1f}' height='{place.height:.1f}' rx='8' "
        "fill='#5f6b7a' fill-opacity='0.06' stroke='#b6bfca'/>",
        f"<text x='{place.x + 8:.1f}' y='{place.y + 15:.1f}' fill='#5f6b7a'>{escape(frame.name)}</text>",
    ]


def _box(box: Box, place: Place) -> list[str]:
    fill, edge = COLORS[box.kind]
    dashes = " stroke-dasharray='4 2'" if box.kind == "scope" else ""
    middle = place.centre
    return [
        f"<g><title>{escape(box.tooltip)}</title>",
        f"<rect x='{place.x:.1f}' y='{place.y:.1f}' width='{place.width:.1f}' height='{place.height:.1f}' rx='5' "
        f"fill={quoteattr(fill)} stroke={quoteattr(edge)}{dashes}/>",
        f"<text x='{middle:.1f}' y='{place.y + 16:.1f}' text-anchor='middle' fill='#111111'>"
        f"{escape(box.title)}</text>",
        f"<text x='{middle:.1f}' y='{place.y + 30:.1f}' text-anchor='middle' font-size='9' fill='#555555'>"
        f"{escape(box.name)}</text>",
        f"<text x='{middle + 8:.1f}' y='{place.y + place.height + 10:.1f}' font-size='8' fill='#76859b'>"
        f"{escape(box.gives)}</text></g>",
    ]


def _ports(diagram: Diagram, layout: Layout) -> dict[Link, tuple[float, float]]:
    """Returns where each link leaves its source and enters its target, from left to right without crossing."""
    leaving: dict[Box, list[Link]] = {}
    entering: dict[Box, list[Link]] = {}
    for link in diagram.links:
        leaving.setdefault(link.source, []).append(link)
        entering.setdefault(link.target, []).append(link)
    starts: dict[Link, float] = {}
    ends: dict[Link, float] = {}
    for ports, sides, last in ((starts, leaving, False), (ends, entering, True)):
        for box, links in sides.items():
            place = layout.places[box]

            def neighbour(link: Link, last: bool = last) -> float:
                lanes = layout.routes[link]
                if lanes:
                    return lanes[-1 if last else 0][0]
                return layout.places[link.source if last else link.target].centre

            links.sort(key=neighbour)
            # Where all go the same way they leave from the middle.
            width = place.width * (0.6 if last else 0.3)
            for at, link in enumerate(links):
                ports[link] = place.centre + width * ((at + 0.5) / len(links) - 0.5)
    return {link: (starts[link], ends[link]) for link in diagram.links}


def _link(link: Link, layout: Layout, ports: tuple[float, float]) -> str:
    source, target = layout.places[link.source], layout.places[link.target]
    x, y = ports[0], source.y + source.height
    path = f"M{x:.1f},{y:.1f}"
    if target.y < y:
        # Against the flow: around the side, so that it is seen to go up.
        side = max(source.x + source.width, target.x + target.width) + 14
        path += f" C{side:.1f},{y + 40:.1f} {side:.1f},{target.y - 40:.1f} {ports[1]:.1f},{target.y:.1f}"
    else:
        for lane, begin, end in (*layout.routes[link], (ports[1], target.y, target.y)):
            bend = (begin - y) * 0.45
            path += f" C{x:.1f},{y + bend:.1f} {lane:.1f},{begin - bend:.1f} {lane:.1f},{begin:.1f}"
            if end > begin:
                path += f" L{lane:.1f},{end:.1f}"
            x, y = lane, end
    dashes = " stroke-dasharray='3 3'" if link.control else ""
    tooltip = f"<title>{escape(link.label)}</title>" if link.label else ""
    return (
        f"<path d='{path}' fill='none' stroke='#8a94a3' stroke-opacity='0.8'{dashes} marker-end='url(#arrow)'>"
        f"{tooltip}</path>"
    )


def _legend(kinds: list[str], y: float) -> list[str]:
    lines = []
    x = _MARGIN
    for kind in kinds:
        fill, edge = COLORS[kind]
        lines.append(
            f"<rect x='{x:.1f}' y='{y:.1f}' width='12' height='12' rx='3' fill='{fill}' stroke='{edge}'/>"
            f"<text x='{x + 17:.1f}' y='{y + 10:.1f}' font-size='10' fill='#555555'>{kind}</text>"
        )
        x += len(kind) * 6.2 + 34
    return lines
