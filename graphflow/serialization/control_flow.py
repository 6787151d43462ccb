"""Control flow of TensorFlow 1 (Switch, Merge, Enter, Exit, NextIteration, LoopCond) as If and While.

A graph of TF1 runs by tokens. `Switch` sends its input down one of two ways and a dead token down the other; `Merge`
passes on the one of its inputs that lives. Loops are *frames*: `Enter` carries a value into one, `NextIteration` into
its next turn, `Exit` out of it.

Loops are found by their frames, the innermost first. Of each frame two regions are made: what decides (all that
`LoopCond` needs) and what one turn does (all that the NextIterations need); they become the bodies of one While, which
stands in the frame around it. What is left in a region are Switches and Merges without loops. There every node is
given the path of decisions under which it lives; a `Merge` ends the last decision of its inputs' paths. All Merges that
end one decision, and that can be computed by then, become one If, which takes along what they need of both sides. The
gradient of a branch uses values from inside the branch: such a value becomes one more output of the first If (with a
zero on the other side) and an input of the second.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence

from graphflow.serialization import list_objects
from graphflow.serialization.proto import function_pb2, node_def_pb2, types_pb2
from graphflow.serialization.regions import (
    ARG,
    MOST_NESTED,
    Names,
    Node,
    Ref,
    Region,
    Writer,
    constant_integer,
    integers,
    is_next,
    is_stateful,
    read_function,
    read_graph,
    sorted_nodes,
    sources,
    type_attr,
    types_attr,
    zeros,
)

FRAME_OPS = frozenset({"Enter", "Exit", "NextIteration", "LoopCond"})
BRANCH_OPS = frozenset({"Switch", "Merge", "ControlTrigger"})
_OPS = FRAME_OPS | BRANCH_OPS | list_objects.OPS


def structured(
    nodes: Sequence[node_def_pb2.NodeDef],
    library: function_pb2.FunctionDefLibrary,
    outside: Mapping[str, int] | None = None,
) -> tuple[list[node_def_pb2.NodeDef], list[function_pb2.FunctionDef]]:
    """Returns the nodes of a graph, and all functions, with If and While in place of TF1's control flow.

    Args:
      nodes: the nodes of the graph.
      library: the functions of the graph.
      outside: the element types of inputs that will be taken from elsewhere, by their text.

    Raises:
      ValueError: if the graph is not one that tf.cond, tf.while_loop and their gradients make; names the node.
    """
    functions = {function.signature.name: function for function in library.function}
    writer = Writer([*functions, *(node.op for node in nodes)], functions)
    kept: list[function_pb2.FunctionDef] = []
    for function in library.function:
        if any(node.op in _OPS for node in function.node_def):
            region = read_function(function, functions)
            try:
                _Structure(region, functions, is_graph=False).run()
                writer.function(region, "", like=function)
            except ValueError as error:
                raise ValueError(f"function {function.signature.name!r}: {error}") from None
        else:
            kept.append(function)
    if not any(node.op in _OPS for node in nodes):
        return list(nodes), [*kept, *writer.made]
    region = read_graph(nodes, functions, outside or {})
    _Structure(region, functions, is_graph=True).run()
    return writer.graph(region), [*kept, *writer.made]


class _Structure:
    """The conversion of one flat region, in place."""

    def __init__(
        self, region: Region, functions: Mapping[str, function_pb2.FunctionDef], is_graph: bool
    ) -> None:
        self.region = region
        self.functions = functions
        self.is_graph = is_graph
        self.names = Names(node.name for node in region.nodes)

    def run(self) -> None:
        if any(node.op in FRAME_OPS for node in self.region.nodes):
            _Loops(self).run()
        _Branches(self.region, self).run(keeps_effects=True)
        list_objects.thread(self.region, self.names)
        self.region.nodes = sorted_nodes(self.region.nodes)


# -- loops --------------------------------------------------------------------------------------------


class _Frame:
    __slots__ = ("depth", "enters", "exits", "members", "name", "parent")

    def __init__(self, name: str, parent: _Frame | None) -> None:
        self.name = name
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.members: list[Node] = []
        self.enters: list[Node] = []
        self.exits: list[Node] = []


class _Loops:
    """Turns the frames of a region into While nodes."""

    def __init__(self, structure: _Structure) -> None:
        self.structure = structure
        self.region = structure.region
        self.root = _Frame("", None)

    def run(self) -> None:
        frames = self.find_frames()
        for frame in sorted(frames, key=lambda f: -f.depth):
            self.close(frame)
        self.region.nodes = self.root.members

    def find_frames(self) -> list[_Frame]:
        """Sorts the nodes into frames; returns the frames."""
        frames: dict[tuple[_Frame, str], _Frame] = {}
        lives_in: dict[Node, _Frame] = {}  # the frame in which a node's outputs are used
        for node in sorted_nodes(self.region.nodes, is_next):
            frame: _Frame | None = None
            first: Node | None = None
            for source in sources(node):
                if is_next(source, node):
                    continue
                other = lives_in.get(source, self.root)
                if frame is not None and other is not frame:
                    assert first is not None
                    raise ValueError(
                        f"node {node.name!r} ({node.op}) joins two frames: {first.name!r} is in "
                        f"{_of_frame(frame)}, {source.name!r} in {_of_frame(other)}"
                    )
                frame, first = other, source
            frame = frame or self.root
            if node.op in FRAME_OPS and len(node.inputs) != 1:
                raise ValueError(
                    f"node {node.name!r} ({node.op}) has {len(node.inputs)} inputs, it takes one"
                )
            frame.members.append(node)
            lives_in[node] = frame
            if node.op == "Enter":
                name = (
                    node.attrs["frame_name"].s.decode("utf-8", "replace")
                    if "frame_name" in node.attrs
                    else ""
                )
                if not name:
                    raise ValueError(f"node {node.name!r} (Enter): it lacks the attribute 'frame_name'")
                child = frames.get((frame, name))
                if child is None:
                    child = frames[frame, name] = _Frame(name, frame)
                    if child.depth > MOST_NESTED:
                        raise ValueError(
                            f"node {node.name!r} (Enter): loops are nested more than {MOST_NESTED} deep"
                        )
                child.enters.append(node)
                lives_in[node] = child
            elif node.op in FRAME_OPS and frame is self.root:
                raise ValueError(f"node {node.name!r} ({node.op}) is in no loop: no Enter leads to it")
            elif node.op == "Exit":
                assert frame.parent is not None
                frame.exits.append(node)
                lives_in[node] = frame.parent
        for frame in frames.values():
            for node in frame.members:
                for before, _ in node.inputs if node.op == "Merge" else ():
                    if is_next(before, node) and lives_in[before] is not frame:
                        raise ValueError(
                            f"node {node.name!r} (Merge) of {_of_frame(frame)} gets its next value from "
                            f"{before.name!r}, which is in {_of_frame(lives_in[before])}"
                        )
        return list(frames.values())

    def close(self, frame: _Frame) -> None:
        """Makes a While of a frame whose inner frames are While nodes by now."""
        parent = frame.parent
        assert parent is not None
        gone = set(frame.enters)
        variables, enter_of = self.variables(frame)
        if not variables:
            raise ValueError(f"{_of_frame(frame)} has no variables: nothing goes from one turn to the next")
        deciders = [node for node in frame.members if node.op == "LoopCond"]
        if len(deciders) != 1:
            names = ", ".join(repr(node.name) for node in deciders[:3])
            raise ValueError(
                f"{_of_frame(frame)} has {len(deciders)} LoopConds{f' ({names})' if names else ''}, a loop has one"
            )
        decider = deciders[0]
        invariants = [enter for enter in frame.enters if enter not in enter_of]
        enters = [enter for enter, _, _ in variables] + invariants
        body = Region()
        value: dict[Ref, Ref] = {}
        for enter in enters:
            value[enter, 0] = body.add_arg(enter.types[0], enter.name)
        for enter, merge, _ in variables:
            value[merge, 0] = value[enter, 0]
        exit_of: dict[Node, int] = {}
        index = {merge: i for i, (_, merge, _) in enumerate(variables)}
        for node in frame.members:
            if node.op == "Switch" and _behind(node.inputs[1], ("Identity",))[0] is decider:
                data = _behind(node.inputs[0], ("Identity",))
                if data[0] not in index or data[1]:
                    raise ValueError(
                        f"node {node.name!r} (Switch) of {_of_frame(frame)} switches {node.inputs[0][0].name!r}, "
                        "which is no variable of the loop"
                    )
                value[node, 1] = value[data]
                exit_of[node] = index[data[0]]
        members = {n for n in frame.members if n.op not in FRAME_OPS and n not in exit_of and n not in index}
        always = zeros(self.structure.names.new(f"{decider.name}/true"), types_pb2.DT_BOOL)
        always.attrs["value"].tensor.bool_val.append(True)
        value[decider, 0] = (always, 0)
        cond = self.cond_region(frame, decider, members, body.args, value)
        # What one turn does: all that the next values need. The rest has no effect on the loop.
        nexts = [following for _, _, following in variables]
        wanted = _needed(
            [ref for node in nexts for ref in node.inputs],
            [control for node in nexts for control in node.controls],
            members,
            value,
        )
        shared = {copied.name for copied in cond.nodes}
        for node in wanted:
            if node.name in shared and is_stateful(node, self.structure.functions):
                raise ValueError(
                    f"node {node.name!r} ({node.op}) has an effect or a state, and {_of_frame(frame)} uses it both to "
                    "decide and in its turn"
                )
        body.nodes = wanted
        for node in wanted:
            self.rebind(node, members, value, frame)
        body.results = [value.get(ref, ref) for node in nexts for ref in node.inputs]
        body.results += [value[enter, 0] for enter in invariants]
        body.waits = [c for node in nexts for c in node.controls if c in members]
        if any(ref[0] is always for ref in body.results) or any(
            source is always for node in wanted for source, _ in node.inputs
        ):
            body.nodes = [always, *body.nodes]
        for region in (cond, body):
            _Branches(region, self.structure).run(keeps_effects=False)
        loop = Node(
            self.structure.names.new(_scope_of(enters)),
            "While",
            [enter.inputs[0] for enter in enters],
            [enter.types[0] for enter in enters],
            device=enters[0].device,
        )
        loop.controls = list(dict.fromkeys(c for enter in enters for c in enter.controls))
        loop.bodies = (cond, body)
        if "parallel_iterations" in enters[0].attrs:
            loop.attrs["parallel_iterations"] = enters[0].attrs["parallel_iterations"]
        parent.members = [node for node in parent.members if node not in gone]
        parent.members.append(loop)
        for node in frame.exits:
            source, output = _behind(node.inputs[0], ("Identity",))
            if source not in exit_of or output:
                raise ValueError(
                    f"node {node.name!r} (Exit) of {_of_frame(frame)} takes {node.inputs[0][0].name!r}, "
                    "which is not the way out of one of its variables"
                )
            node.become("Identity", [(loop, exit_of[source])], node.types, {"T": type_attr(node.types[0])})
            node.controls = []
            parent.members.append(node)

    def variables(self, frame: _Frame) -> tuple[list[tuple[Node, Node, Node]], dict[Node, Node]]:
        """The variables of a loop as (Enter, Merge, NextIteration), and the Merge that each Enter leads to."""
        found: list[tuple[Node, Node, Node]] = []
        enter_of: dict[Node, Node] = {}
        own = set(frame.enters)
        for node in frame.members:
            if node.op != "Merge":
                continue
            nexts = [source for source, _ in node.inputs if source.op == "NextIteration"]
            enters = [source for source, _ in node.inputs if source in own]
            if not nexts and not enters:
                continue
            if len(nexts) != 1 or len(enters) != 1 or len(node.inputs) != 2:
                raise ValueError(
                    f"node {node.name!r} (Merge) of {_of_frame(frame)} has {len(enters)} Enters and {len(nexts)} "
                    f"NextIterations among its {len(node.inputs)} inputs, a variable of a loop has one of each"
                )
            if enters[0] in enter_of:
                raise ValueError(
                    f"node {enters[0].name!r} (Enter) begins two variables of {_of_frame(frame)}"
                )
            found.append((enters[0], node, nexts[0]))
            enter_of[enters[0]] = node
        used = {source for node in frame.members for source in sources(node)}
        # The gradient of a loop leaves some behind that lead nowhere.
        frame.enters = [enter for enter in frame.enters if enter in used]
        for enter in frame.enters:
            constant = "is_constant" in enter.attrs and enter.attrs["is_constant"].b
            if enter not in enter_of and not constant:
                raise ValueError(
                    f"node {enter.name!r} (Enter) of {_of_frame(frame)} is neither constant nor merged with a next "
                    "value"
                )
        return found, enter_of

    def cond_region(
        self, frame: _Frame, decider: Node, members: set[Node], args: Sequence[Node], value: Mapping[Ref, Ref]
    ) -> Region:
        """A copy of what a loop decides by; it has the same arguments as the body."""
        cond = Region()
        twin = {arg: cond.add_arg(arg.types[0], arg.name)[0] for arg in args}
        wanted = _needed(decider.inputs, decider.controls, members, value)
        for node in wanted:
            twin[node] = node.copy()
        for node in wanted:
            copied = twin[node]
            self.rebind(copied, members, value, frame)
            copied.inputs = [(twin[source], output) for source, output in copied.inputs]
            copied.controls = [twin[control] for control in copied.controls]
        cond.nodes = [twin[node] for node in wanted]
        source, output = value.get(decider.inputs[0], decider.inputs[0])
        if source not in twin:
            raise ValueError(
                f"node {decider.name!r} (LoopCond) decides by {source.name!r}, which is not in the loop"
            )
        cond.results = [(twin[source], output)]
        return cond

    def rebind(self, node: Node, members: set[Node], value: Mapping[Ref, Ref], frame: _Frame) -> None:
        """Lets a node of a loop take the loop's arguments; waits for what is no member fall away."""
        inputs = [value.get(ref, ref) for ref in node.inputs]
        for (source, _), (old, output) in zip(inputs, node.inputs, strict=True):
            if source not in members and source.op != ARG and (old, output) not in value:
                raise ValueError(
                    f"node {node.name!r} ({node.op}) of {_of_frame(frame)} takes output {output} of {old.name!r} "
                    f"({old.op}), which is none of the loop's values"
                )
        node.inputs = inputs
        node.controls = [c for c in node.controls if c in members and not _only_passes_on(c, value)]


def _only_passes_on(node: Node, value: Mapping[Ref, Ref]) -> bool:
    """Whether a node is one of those that TF1 hangs the constants of a loop on."""
    return node.op == "Identity" and (node.inputs[0] in value or node.inputs[0][0].op == ARG)


def _needed(
    refs: Iterable[Ref], controls: Iterable[Node], members: set[Node], value: Mapping[Ref, Ref]
) -> list[Node]:
    """The members that some values and nodes need, in the order found."""
    stack = [ref[0] for ref in refs if ref not in value] + list(controls)
    found: dict[Node, None] = {}
    while stack:
        node = stack.pop()
        if node in found or node not in members:
            continue
        found[node] = None
        stack.extend(source for source, output in node.inputs if (source, output) not in value)
        stack.extend(c for c in node.controls if not _only_passes_on(c, value))
    return list(found)


def _of_frame(frame: _Frame) -> str:
    return f"the loop {frame.name!r}" if frame.parent is not None else "no loop"


def _scope_of(enters: Sequence[Node]) -> str:
    """A name for a loop, beside the nodes that lead into it."""
    scope = enters[0].name.rpartition("/")[0]
    return f"{scope}/While" if scope else "While"


# -- branches -----------------------------------------------------------------------------------------


class _Path:
    """A list of decisions, the last one here, those before it in `parent`; the empty path has no decision."""

    __slots__ = ("branch", "children", "depth", "parent", "pred")

    def __init__(self, parent: _Path | None, pred: Ref | None, branch: int) -> None:
        self.parent = parent
        self.pred = pred
        self.branch = branch
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: dict[tuple[Ref, int], _Path] = {}

    def child(self, pred: Ref, branch: int) -> _Path | None:
        """This path and one decision more; None for one that contradicts it."""
        at: _Path | None = self
        while at is not None and at.pred is not None:
            if at.pred == pred:
                return self if at.branch == branch else None
            at = at.parent
        found = self.children.get((pred, branch))
        if found is None:
            found = self.children[pred, branch] = _Path(self, pred, branch)
        return found


def _join(a: _Path, b: _Path) -> _Path | None:
    """The decisions of both paths; None if they contradict each other."""
    if a.depth < b.depth:
        a, b = b, a
    low: _Path | None = a
    while low is not None and low.depth > b.depth:
        low = low.parent
    if low is b:
        return a
    tail: list[_Path] = []
    at: _Path | None = b
    while at is not None and at.pred is not None:
        tail.append(at)
        at = at.parent
    result: _Path | None = a
    for step in reversed(tail):
        if result is None:
            return None
        assert step.pred is not None
        result = result.child(step.pred, step.branch)
    return result


class _End:
    """Where a decision ends: a Merge, or the wait for something that only one side does."""

    __slots__ = ("before", "node", "path", "pred", "roots", "waits")

    def __init__(self, path: _Path, pred: Ref, node: Node) -> None:
        self.path = path  # without the decision
        self.pred = pred
        self.node = node
        self.roots: dict[int, Ref] = {}  # what a Merge takes of either side
        self.waits: dict[int, list[Node]] = {0: [], 1: []}
        self.before: list[Node] = []

    def sources(self) -> list[Node]:
        """The nodes that must be there."""
        waits = [node for listed in self.waits.values() for node in listed]
        return [ref[0] for ref in self.roots.values()] + waits + self.before + [self.pred[0]]


class _Branches:
    """Turns the Switches and Merges of a region without frames into If nodes."""

    def __init__(self, region: Region, structure: _Structure) -> None:
        self.region = region
        self.names = structure.names
        self.functions = structure.functions
        self.empty = _Path(None, None, 0)
        self.path: dict[Node, _Path | None] = {}  # None: never runs
        self.assumed: dict[Ref, int] = {}
        self.ends: list[_End] = []
        self.end_of: dict[Node, _End] = {}  # of a Merge
        self.sure: dict[Node, Ref] = {}  # what Merges take that have no choice
        self.order: list[Node] = []
        self.indexed: set[Node] = set()  # the Merges of which it is asked which input they took
        self.taken: dict[Node, tuple[Node, int]] = {}  # the If that a node stands in, and on which side
        self.handed_out: dict[Ref, int] = {}

    def run(self, keeps_effects: bool) -> None:
        if not any(node.op in BRANCH_OPS for node in self.region.nodes):
            return
        self.order = sorted_nodes(self.region.nodes)
        used = [ref for node in self.order for ref in node.inputs] + self.region.results
        self.indexed = {source for source, output in used if output == 1 and source.op == "Merge"}
        self.find_paths()
        if not keeps_effects:
            self.assume_results()
        for node, ref in self.sure.items():
            index = integers(self.names.new(f"{node.name}/index"), node.inputs.index(ref))
            self.path[index] = self.empty
            self.pass_on(node, [ref, (index, 0)])
        renamed = self.keep_effects() if keeps_effects else []
        self.keep_triggers()
        self.fire_all()
        self.finish()
        for node, stand_in in renamed:
            # What is run by its name still is.
            stand_in.name, node.name = node.name, stand_in.name

    # Paths.

    def find_paths(self) -> None:
        self.path.clear()
        self.ends.clear()
        self.sure.clear()
        for node in self.order:
            self.path[node] = self.find_path(node)

    def assume_results(self) -> None:
        """Takes for granted the decisions under which the results live.

        A loop inside of a branch decides once more, in each turn, for the branch that it is in.
        """
        needed: _Path | None = self.empty
        for ref in self.region.results:
            path = self.path_of(ref)
            needed = None if needed is None or path is None else _join(needed, path)
        if needed is None:
            raise ValueError(
                f"the results of {self.region.results[0][0].name!r} and others are never there together"
            )
        while needed is not self.empty:
            assert needed is not None and needed.pred is not None
            self.assumed[needed.pred] = needed.branch
            needed = needed.parent
        if self.assumed:
            self.find_paths()

    def path_of(self, ref: Ref) -> _Path | None:
        """The path of an output."""
        node, output = ref
        path = self.path.get(node, self.empty)
        if node.op == "Switch" and path is not None:
            pred, branch = self.decision(node.inputs[1], output)
            if pred in self.assumed:
                return path if self.assumed[pred] == branch else None
            return path.child(pred, branch)
        return path

    def decision(self, ref: Ref, branch: int) -> tuple[Ref, int]:
        """What a Switch decides by, in its simplest form, and which way that goes."""
        ref = _behind(ref, ("Switch", "Identity"))
        node = ref[0]
        if node.op == "Equal" and len(node.inputs) == 2 and node.inputs[0][1] == 1:
            # The gradient of a Merge asks which of its inputs it took.
            end, index = self.end_of.get(node.inputs[0][0]), constant_integer(node.inputs[1][0])
            if end is not None and index is not None and 0 <= index < len(end.node.inputs):
                taken = next((b for b, root in end.roots.items() if root == end.node.inputs[index]), None)
                if taken is not None:
                    return end.pred, taken if branch else 1 - taken
        return ref, branch

    def find_path(self, node: Node) -> _Path | None:
        if node.op == "Switch" and len(node.inputs) != 2:
            raise ValueError(f"node {node.name!r} (Switch) has {len(node.inputs)} inputs, it takes two")
        waits = [self.path.get(control, self.empty) for control in node.controls]
        if node.op == "ControlTrigger":
            return self.empty  # it runs whether what it waits for is alive or dead
        if node.op == "Merge":
            paths = [self.find_end(node), *waits]
        else:
            paths = [*(self.path_of(ref) for ref in node.inputs), *waits]
        result: _Path | None = self.empty
        for path in paths:
            result = None if result is None or path is None else _join(result, path)
        if result is not None and result.depth > MOST_NESTED:
            raise ValueError(
                f"node {node.name!r} ({node.op}) is in branches nested more than {MOST_NESTED} deep"
            )
        return result

    def find_end(self, node: Node) -> _Path | None:
        """The path of a Merge, which joins the two sides of a decision."""
        alive = [(ref, path) for ref in node.inputs if (path := self.path_of(ref)) is not None]
        if not alive:
            return None
        (ref, a), (_, b) = alive[0], alive[-1]
        if len(alive) == 1:
            self.sure[node] = ref
            return a
        if len(alive) > 2 or a.parent is None or a.parent is not b.parent or a.pred != b.pred or a is b:
            raise ValueError(
                f"node {node.name!r} (Merge) does not join the two sides of one decision: "
                f"{node.inputs[0][0].name!r} lives under {_told(a)}, {node.inputs[-1][0].name!r} under {_told(b)}"
            )
        assert a.pred is not None
        end = _End(a.parent, a.pred, node)
        end.roots = {a.branch: alive[0][0], b.branch: alive[1][0]}
        end.before = list(node.controls)
        self.ends.append(end)
        self.end_of[node] = end
        return a.parent

    def pass_on(self, merge: Node, inputs: Sequence[Ref]) -> None:
        """Turns a Merge into an Identity."""
        if merge in self.indexed:
            merge.become("IdentityN", inputs, merge.types, {"T": types_attr(merge.types)})
        else:
            merge.become("Identity", inputs[:1], merge.types[:1], {"T": type_attr(merge.types[0])})

    # What has an effect on one side only and no Merge behind it.

    def keep_effects(self) -> list[tuple[Node, Node]]:
        """Lets the whole graph wait for what runs on one side only and does more than compute.

        Returns:
          Such nodes, each with the node that takes its name.
        """
        needed: set[Node] = set()

        def need(node: Node) -> None:
            stack = [node]
            while stack:
                for source in sources(stack.pop()):
                    if source not in needed:
                        needed.add(source)
                        stack.append(source)

        for node in self.order:
            if self.path[node] is self.empty:
                need(node)
        result = []
        for node in reversed(self.order):
            path = self.path[node]
            if path is None or path is self.empty or node in needed:
                continue
            if node.op == "NoOp" or is_stateful(node, self.functions):
                need(node)
                result.append((node, self.wait_for(node)))
        return result[::-1]

    def keep_triggers(self) -> None:
        """Lets what runs in any case wait for what runs on one side only."""
        for node in self.order:
            if node.op != "ControlTrigger":
                continue
            if not any(self.path.get(c, self.empty) is not self.empty for c in node.controls):
                continue
            alive = [c for c in node.controls if self.path.get(c, self.empty) is not None]
            node.controls = [self.wait_for(c) if c in self.path else c for c in alive]
            node.become("NoOp", [], [])

    def wait_for(self, node: Node) -> Node:
        """Returns a node that runs in any case and waits for one that may not, where that runs."""
        path = self.path[node]
        while path is not self.empty:
            assert path is not None and path.pred is not None and path.parent is not None
            stand_in = Node(self.names.new(f"{node.name}/done"), "NoOp", device=node.device)
            end = _End(path.parent, path.pred, stand_in)
            end.waits[path.branch].append(node)
            self.ends.append(end)
            node, path = stand_in, path.parent
            self.path[node] = path
        return node

    # Ifs.

    def fire_all(self) -> None:
        """Makes the Ifs, in an order in which all that one needs from outside is there."""
        held = {end.node: end for end in self.ends}
        waiting: dict[Node, int] = {}
        followers: dict[Node, list[Node]] = {}
        for node in self.path:
            end = held.get(node)
            wanted = set(sources(node) if end is None else end.sources())
            wanted &= self.path.keys()
            waiting[node] = len(wanted)
            for source in wanted:
                followers.setdefault(source, []).append(node)
        ready = [node for node, missing in waiting.items() if not missing]
        groups: dict[tuple[_Path, Ref], list[_End]] = {}
        queue: list[tuple[int, int, tuple[_Path, Ref]]] = []
        count = itertools.count()

        def release(node: Node) -> None:
            for follower in followers.get(node, ()):
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)

        while ready or queue:
            while ready:
                node = ready.pop()
                end = held.get(node)
                if end is None:
                    release(node)
                    continue
                key = end.path, end.pred
                if key not in groups:
                    groups[key] = []
                    # The innermost first, so that the outer ones find them whole.
                    heapq.heappush(queue, (-end.path.depth, next(count), key))
                groups[key].append(end)
            if queue:
                group = groups.pop(heapq.heappop(queue)[2])
                self.fire(group)
                for end in group:
                    release(end.node)

    def fire(self, ends: Sequence[_End]) -> None:
        """Makes one If of ends of one decision."""
        pred, first = ends[0].pred, ends[0].node
        scope = first.name.rpartition("/")[0]
        node = Node(self.names.new(f"{scope}/If" if scope else "If"), "If", [pred], device=first.device)
        self.path[node] = ends[0].path
        then, otherwise = Region(), Region()
        node.bodies = (then, otherwise)
        merges = [end for end in ends if end.node.op == "Merge"]
        _Taker(self, node, ends[0].path).run(ends, merges)
        for end in ends:
            if end.node.op != "Merge":
                end.node.controls = [node]
        for i, end in enumerate(merges):
            refs: list[Ref] = [(node, i)]
            if end.node in self.indexed:
                for branch, region in ((1, then), (0, otherwise)):
                    index = end.node.inputs.index(end.roots[branch])
                    constant = integers(self.names.new(f"{end.node.name}/index"), index)
                    region.nodes.append(constant)
                    region.results.append((constant, 0))
                refs.append((node, len(node.types)))
                node.types.append(types_pb2.DT_INT32)
            end.node.controls = []
            self.pass_on(end.node, refs)

    def hand_out(self, ref: Ref) -> Ref:
        """Returns the output of an If that hands out a value from inside of it."""
        node, branch = self.taken[ref[0]]
        if ref not in self.handed_out:
            type_ = ref[0].types[ref[1]]
            for side, region in ((1, node.bodies[0]), (0, node.bodies[1])):
                if side == branch:
                    region.results.append(ref)
                    continue
                name = self.names.new(f"{ref[0].name}/absent")
                none = list_objects.absent(name) if type_ == types_pb2.DT_RESOURCE else zeros(name, type_)
                region.nodes.append(none)
                region.results.append((none, 0))
            self.handed_out[ref] = len(node.types)
            node.types.append(type_)
        return node, self.handed_out[ref]

    def finish(self) -> None:
        """Keeps what runs in any case."""
        kept = [n for n, path in self.path.items() if path is self.empty and n.op != "Switch"]
        members = set(kept)
        for node in kept:
            node.inputs = [self.outer(ref, f"node {node.name!r}") for ref in node.inputs]
            node.controls = [_behind((c, 0), ("Switch",))[0] for c in node.controls]
            node.controls = [c for c in node.controls if c in members]
        self.region.results = [self.outer(ref, "a result") for ref in self.region.results]
        self.region.waits = [c for c in self.region.waits if c in members]
        self.region.nodes = kept

    def outer(self, ref: Ref, user: str) -> Ref:
        path = self.path_of(ref)
        if path is not self.empty:
            where = "never runs" if path is None else f"only lives under {_told(path)}"
            raise ValueError(f"{user} takes {ref[0].name!r}, which {where}")
        return _behind(ref, ("Switch",))


class _Taker:
    """Moves what an If computes into it."""

    def __init__(self, branches: _Branches, node: Node, path: _Path) -> None:
        self.branches = branches
        self.node = node
        self.outer = path
        self.regions = {1: node.bodies[0], 0: node.bodies[1]}
        self.captures: dict[Ref, dict[int, Node]] = {}
        self.controls: dict[Node, None] = {}

    def run(self, ends: Sequence[_End], merges: Sequence[_End]) -> None:
        for branch, region in self.regions.items():
            side = self.outer.child(ends[0].pred, branch)
            assert side is not None
            waits = [wait for end in ends for wait in end.waits[branch]]
            roots = [end.roots[branch] for end in merges]
            region.nodes = self.take([ref[0] for ref in roots] + waits, branch, side)
            for inner in region.nodes:
                inner.inputs = [self.bound(ref, branch, side) for ref in inner.inputs]
                inner.controls = self.waits_inside(inner.controls, side)
            region.results = [self.bound(ref, branch, side) for ref in roots]
            region.waits = self.waits_inside(waits, side)
        self.node.types = [end.node.types[0] for end in merges]
        for end in ends:
            self.controls.update(dict.fromkeys(end.before))
        self.node.controls = [
            c
            for c in self.controls
            if c.op != ARG and self.branches.taken.get(c, (None, 0))[0] is not self.node
        ]

    def take(self, stack: list[Node], branch: int, side: _Path) -> list[Node]:
        """The nodes that some nodes need of one side, as far as no If has them yet."""
        found: list[Node] = []
        taken, path = self.branches.taken, self.branches.path
        while stack:
            node = stack.pop()
            while node.op == "Switch":
                # What the way in waits for, the whole If waits for.
                self.controls.update((c, None) for c in node.controls if path.get(c) is not side)
                node = node.inputs[0][0]
            if node not in taken and path.get(node) is side:
                taken[node] = (self.node, branch)
                found.append(node)
                stack.extend(sources(node))
        return found

    def bound(self, ref: Ref, branch: int, side: _Path) -> Ref:
        """What stands for a value inside of the If: itself, or an argument."""
        ref = _behind(ref, ("Switch",))
        owner = self.branches.taken.get(ref[0])
        if owner is not None and owner[0] is self.node:
            return ref
        if owner is not None and self.branches.path.get(ref[0]) is side:
            ref = self.branches.hand_out(ref)
        if ref not in self.captures:
            name = ref[0].name.rpartition("/")[2]
            type_ = ref[0].types[ref[1]] if ref[1] < len(ref[0].types) else 0
            self.captures[ref] = {b: region.add_arg(type_, name)[0] for b, region in self.regions.items()}
            self.node.inputs.append(ref)
        return self.captures[ref][branch], 0

    def waits_inside(self, controls: Iterable[Node], side: _Path) -> list[Node]:
        """Of what a node inside waits for, what is inside; for the rest the If waits."""
        inside = []
        for control in controls:
            control = _behind((control, 0), ("Switch",))[0] if control.op == "Switch" else control
            owner = self.branches.taken.get(control)
            if owner is not None and owner[0] is self.node:
                if not (control.op == "Identity" and control.inputs[0][0].op in (ARG, "Switch")):
                    inside.append(control)
            elif owner is not None and self.branches.path.get(control) is side:
                self.controls[owner[0]] = None
            else:
                self.controls[control] = None
        return inside


def _behind(ref: Ref, ops: tuple[str, ...]) -> Ref:
    """The value that ops which pass on their first input pass on."""
    while ref[0].op in ops:
        ref = ref[0].inputs[0]
    return ref


def _told(path: _Path) -> str:
    parts: list[str] = []
    at: _Path | None = path
    while at is not None and at.pred is not None:
        parts.append(f"{at.pred[0].name} = {'true' if at.branch else 'false'}")
        at = at.parent
    return " and ".join(reversed(parts)) or "no decision"
