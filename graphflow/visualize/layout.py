"""Gives every box and frame of a diagram a place: layers from top to bottom, frame within frame.

The classical way (Sugiyama): items sink to the layer below all they depend on; a link that passes layers holds a lane
open in each of them; a few sweeps up and down order the layers and draw each item towards its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphflow.visualize.diagram import Box, Diagram, Frame, Link

_BOX_HEIGHT = 38.0
_LETTER_WIDTH = 6.6
_LANE_WIDTH = 6.0
_GAP_ACROSS = 18.0
_GAP_DOWN = 44.0
_FRAME_MARGIN = 14.0
_FRAME_TITLE = 18.0
_SWEEPS = 8
# Beyond this many lanes in one frame links go straight, behind the boxes: a picture of that size is a map at best.
_MOST_LANES = 4000

Item = Box | Frame


@dataclass
class Place:
    """Where an item stands: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> float:
        """The middle from left to right."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Layout:
    """The places of all items, the way of each link, and the size of the whole.

    Attributes:
      routes: for each link the lanes it passes, each a vertical stretch (x, top, bottom), from source to target.
    """

    places: dict[Item, Place]
    routes: dict[Link, list[tuple[float, float, float]]]
    width: float
    height: float


class _Lane:
    """Room for links in a layer that they pass."""


@dataclass(frozen=True)
class _Span:
    """What links within one frame: two of its items; None is the world above or below the frame."""

    source: Item | None
    target: Item | None


@dataclass
class _Arranged:
    """The inside of one frame: corners of its items, and the lanes of each span, all from its upper left corner."""

    corners: dict[Item, tuple[float, float]]
    lanes: dict[_Span, list[tuple[float, float, float]]]
    width: float
    height: float


def lay_out(diagram: Diagram) -> Layout:
    """Places a diagram."""
    # Inner frames first: the outer ones need to know how large they are.
    order: list[Frame] = []
    waiting = [diagram.root]
    holder: dict[Item, Frame] = {}
    while waiting:
        frame = waiting.pop()
        order.append(frame)
        for item in frame.items:
            holder[item] = frame
            if isinstance(item, Frame):
                waiting.append(item)
    ways = {link: _way(link, holder) for link in diagram.links}
    spans: dict[Frame, dict[_Span, None]] = {frame: {} for frame in order}
    for way in ways.values():
        for frame, span in way:
            spans[frame][span] = None
    sizes: dict[Item, tuple[float, float]] = {}
    inside: dict[Frame, _Arranged] = {}
    for frame in reversed(order):
        for item in frame.items:
            if isinstance(item, Box):
                letters = max(len(item.title), len(item.name))
                sizes[item] = (max(46.0, letters * _LETTER_WIDTH + 16), _BOX_HEIGHT)
        arranged = inside[frame] = _arrange(frame, list(spans[frame]), sizes)
        title = len(frame.name) * _LETTER_WIDTH + 12
        sizes[frame] = (
            max(arranged.width, title) + 2 * _FRAME_MARGIN,
            arranged.height + 2 * _FRAME_MARGIN + _FRAME_TITLE,
        )
    places: dict[Item, Place] = {diagram.root: Place(0.0, 0.0, *sizes[diagram.root])}
    for frame in order:
        left, top = _inner_corner(places[frame])
        for item, (x, y) in inside[frame].corners.items():
            places[item] = Place(left + x, top + y, *sizes[item])
    routes: dict[Link, list[tuple[float, float, float]]] = {}
    for link, way in ways.items():
        routes[link] = []
        for frame, span in way:
            left, top = _inner_corner(places[frame])
            lanes = inside[frame].lanes.get(span, [])
            routes[link] += [(left + x, top + begin, top + end) for x, begin, end in lanes]
    whole = places[diagram.root]
    return Layout(places, routes, whole.width, whole.height)


def _inner_corner(place: Place) -> tuple[float, float]:
    return place.x + _FRAME_MARGIN, place.y + _FRAME_MARGIN + _FRAME_TITLE


def _way(link: Link, holder: dict[Item, Frame]) -> list[tuple[Frame, _Span]]:
    """Returns the frames that a link passes, from source to target, and its span in each."""

    def chain(item: Item) -> list[Item]:
        found = [item]
        while found[-1] in holder:
            found.append(holder[found[-1]])
        return found

    up, down = chain(link.source), chain(link.target)
    while len(up) > 1 and len(down) > 1 and up[-2] is down[-2]:
        up.pop()
        down.pop()
    meeting = up[-1]
    assert isinstance(meeting, Frame)
    way: list[tuple[Frame, _Span]] = []
    for item, outer in zip(up[:-2], up[1:-1], strict=True):
        assert isinstance(outer, Frame)
        way.append((outer, _Span(item, None)))
    way.append((meeting, _Span(up[-2], down[-2])))
    for item, outer in zip(reversed(down[:-2]), reversed(down[1:-1]), strict=True):
        assert isinstance(outer, Frame)
        way.append((outer, _Span(None, item)))
    return way


def _first(item: Item) -> int:
    """Returns when the first operation of an item was made."""
    while isinstance(item, Frame):
        item = item.items[0]
    return item.order


def _arrange(frame: Frame, spans: list[_Span], sizes: dict[Item, tuple[float, float]]) -> _Arranged:
    """Places the items of one frame."""
    levels = _levels(frame.items, spans)
    depth = max(levels.values(), default=-1) + 1
    layers: list[list[Item | _Lane]] = [[] for _ in range(depth)]
    for item in sorted(frame.items, key=_first):
        layers[levels[item]].append(item)
    near: dict[Item | _Lane, list[Item | _Lane]] = {item: [] for item in frame.items}
    level: dict[Item | _Lane, int] = {}
    level.update(levels.items())
    passed: dict[_Span, list[_Lane]] = {}
    count = 0
    for span in spans:
        begin = -1 if span.source is None else levels[span.source]
        end = depth if span.target is None else levels[span.target]
        between = range(begin + 1, end)
        count += len(between)
        before: Item | _Lane | None = span.source
        if count <= _MOST_LANES:
            passed[span] = []
            for at in between:
                lane = _Lane()
                layers[at].append(lane)
                passed[span].append(lane)
                level[lane] = at
                near[lane] = []
                _join(near, before, lane)
                before = lane
        _join(near, before, span.target)
    widths = {one: sizes[one][0] if not isinstance(one, _Lane) else _LANE_WIDTH for one in level}
    centre = _spread_layers(layers, near, level, widths)
    left = min((centre[one] - widths[one] / 2 for one in level), default=0.0)
    right = max((centre[one] + widths[one] / 2 for one in level), default=0.0)
    arranged = _Arranged({}, {}, right - left, 0.0)
    stretch: dict[_Lane, tuple[float, float, float]] = {}
    y = 0.0
    for layer in layers:
        height = max((sizes[one][1] for one in layer if not isinstance(one, _Lane)), default=0.0)
        for one in layer:
            if isinstance(one, _Lane):
                stretch[one] = (centre[one] - left, y, y + height)
            else:
                corner = (centre[one] - widths[one] / 2 - left, y + (height - sizes[one][1]) / 2)
                arranged.corners[one] = corner
        y += height + _GAP_DOWN
    arranged.lanes = {span: [stretch[lane] for lane in lanes] for span, lanes in passed.items()}
    arranged.height = max(0.0, y - _GAP_DOWN)
    return arranged


def _join(
    near: dict[Item | _Lane, list[Item | _Lane]], a: Item | _Lane | None, b: Item | _Lane | None
) -> None:
    if a is not None and b is not None:
        near[a].append(b)
        near[b].append(a)


def _levels(items: list[Item], spans: list[_Span]) -> dict[Item, int]:
    """Sorts items into layers so that links point down, but for those that close a circle of frames."""
    import networkx  # it takes longer to load than most pictures to draw

    order = {item: _first(item) for item in items}
    links: networkx.DiGraph[Item] = networkx.DiGraph()
    links.add_nodes_from(items)
    links.add_edges_from(
        (span.source, span.target) for span in spans if span.source is not None and span.target is not None
    )
    circle = {
        item: at for at, group in enumerate(networkx.strongly_connected_components(links)) for item in group
    }
    graph: networkx.DiGraph[Item] = networkx.DiGraph()
    graph.add_nodes_from(sorted(items, key=lambda item: order[item]))
    graph.add_edges_from(
        (source, target)
        for source, target in links.edges
        if circle[source] != circle[target] or order[source] < order[target]
    )
    layers = networkx.topological_generations(graph)
    level = {item: at for at, layer in enumerate(layers) for item in layer}
    # Constants and the like stand just above those who need them, not all in the first row.
    for item in items:
        if graph.in_degree(item) == 0 and graph.out_degree(item):
            level[item] = min(level[target] for target in graph.successors(item)) - 1
    return level


def _spread_layers(
    layers: list[list[Item | _Lane]],
    near: dict[Item | _Lane, list[Item | _Lane]],
    level: dict[Item | _Lane, int],
    widths: dict[Item | _Lane, float],
) -> dict[Item | _Lane, float]:
    """Orders each layer and returns the centre of everything in it."""
    centre: dict[Item | _Lane, float] = {}
    for layer in layers:
        x = 0.0
        for item in layer:
            centre[item] = x + widths[item] / 2
            x += widths[item] + _GAP_ACROSS
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        for layer in layers if downwards else reversed(layers):
            wish = {}
            for item in layer:
                others = [
                    centre[other]
                    for other in near[item]
                    if (level[other] < level[item] if downwards else level[other] > level[item])
                ]
                wish[item] = sum(others) / len(others) if others else centre[item]
            layer.sort(key=lambda item: wish[item])
            _spread(layer, wish, widths, centre)
    return centre


def _spread(
    layer: list[Item | _Lane],
    wish: dict[Item | _Lane, float],
    widths: dict[Item | _Lane, float],
    centre: dict[Item | _Lane, float],
) -> None:
    """Puts a layer's items as near to where they wish as their widths allow, in the order of the list."""
    # Blocks of touching items: (left edge, width, items). A block stands where the mean of its wishes puts it.
    blocks: list[tuple[float, float, list[Item | _Lane]]] = []
    for item in layer:
        block = (wish[item] - widths[item] / 2, widths[item], [item])
        while blocks and blocks[-1][0] + blocks[-1][1] + _GAP_ACROSS > block[0]:
            left, span, members = blocks.pop()
            shifted = block[0] - span - _GAP_ACROSS
            joined = len(members) + len(block[2])
            block = (
                (left * len(members) + shifted * len(block[2])) / joined,
                span + _GAP_ACROSS + block[1],
                members + block[2],
            )
        blocks.append(block)
    for left, _, members in blocks:
        x = left
        for item in members:
            centre[item] = x + widths[item] / 2
            x += widths[item] + _GAP_ACROSS
