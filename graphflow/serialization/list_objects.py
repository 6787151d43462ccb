"""Stacks and TensorArrays of TensorFlow 1 as lists that are values.

TF1 keeps them behind handles: `StackPushV2` and `TensorArrayWriteV3` change what a handle names, and scalars called
*flow* order the writes of an array. Here each such object becomes a TensorList, and every change a new list. A region
changes its objects in the order of its nodes; a While or an If that is handed an object takes its list as one more
input and, where it changes it, gives the new one back as one more output.

The gradient of an array, `TensorArrayGradV3`, is an object of its own beside the array, one for each `source`; what is
written to it adds up. A handle may be put on a stack itself (the gradient of nested loops does that): then the list
that it names at the end of the region goes there, and what is taken off again is a new object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphflow.serialization.proto import attr_value_pb2, tensor_shape_pb2, types_pb2
from graphflow.serialization.regions import (
    ARG,
    Names,
    Node,
    Ref,
    Region,
    constant_integer,
    integers,
    sorted_nodes,
    type_attr,
    zeros,
)

_VARIANT = int(types_pb2.DT_VARIANT)
_INT32 = int(types_pb2.DT_INT32)
_NEW_STACK, _NEW_ARRAY, _ABSENT = "StackV2", "TensorArrayV3", "_AbsentList"
_GRADIENTS = ("TensorArrayGradV3", "TensorArrayGradWithShape")
OPS = frozenset(
    {_NEW_STACK, "StackPushV2", "StackPopV2", "StackCloseV2", _NEW_ARRAY, *_GRADIENTS, "TensorArrayCloseV3"}
    | {f"TensorArray{verb}V3" for verb in ("Write", "Read", "Gather", "Scatter", "Concat", "Split", "Size")}
)


class _Kind:
    """What is known of an object before the graph runs.

    Attributes:
      node: the node that makes it.
      dtype: the type of its elements.
      shape: the shape of its elements, as far as it is known.
      grows: whether a write behind its end makes it longer.
      clears: whether an element may be read once only.
      element: the kind of the objects that its elements name, for a stack of handles.
      holds_flows: whether its elements are flows, so that nothing need be kept.
    """

    def __init__(self, node: Node) -> None:
        attrs = node.attrs
        key = "elem_type" if node.op == _NEW_STACK else "dtype"
        self.node = node
        self.dtype = int(attrs[key].type) if key in attrs else 0
        self.shape = tensor_shape_pb2.TensorShapeProto(unknown_rank=True)
        if "element_shape" in attrs:
            self.shape.CopyFrom(attrs["element_shape"].shape)
        self.grows = node.op == _NEW_STACK or ("dynamic_size" in attrs and attrs["dynamic_size"].b)
        self.clears = "clear_after_read" not in attrs or attrs["clear_after_read"].b
        self.alike = "identical_element_shapes" in attrs and attrs["identical_element_shapes"].b
        self.element: _Kind | None = None
        self.holds_flows = False

    @property
    def list_dtype(self) -> int:
        """The type of the elements of its list: a handle's is a list."""
        return _VARIANT if self.dtype == types_pb2.DT_RESOURCE else self.dtype

    @property
    def is_shape_known(self) -> bool:
        """Whether every size of an element is known."""
        return not self.shape.unknown_rank and all(dim.size >= 0 for dim in self.shape.dim)


class _Object:
    """An object in one region; `lists` holds its list and those of its gradients by source."""

    def __init__(self, kind: _Kind, is_own: bool) -> None:
        self.kind = kind
        self.is_own = is_own
        self.lists: dict[str, Ref] = {}
        self.fresh: set[str] = set()  # lists that nothing was written to
        self.written: set[str] = set()
        self.args: dict[str, Node] = {}  # what a region is handed, by source


_Handle = tuple[_Object, str]  # an object, or its gradient for a source


def absent(name: str) -> Node:
    """Returns a node that stands for the handle of an object that a branch does not make."""
    return Node(name, _ABSENT, types=[types_pb2.DT_RESOURCE])


def thread(region: Region, names: Names) -> None:
    """Turns the stacks and arrays of a region, and of all regions in it, into lists.

    Raises:
      ValueError: if a handle goes where no list can follow it.
    """
    _Threader(region, names, {}).run()


class _Threader:
    """One region."""

    def __init__(
        self, region: Region, names: Names, handles: Mapping[Ref, _Handle], flows: Iterable[Ref] = ()
    ) -> None:
        self.region = region
        self.names = names
        self.handles: dict[Ref, _Handle] = dict(handles)
        self.flows: set[Ref] = set(flows)
        self.instead: dict[Ref, Ref] = {}
        self.replaced: dict[Node, Node] = {}
        self.order: list[Node] = []
        self.pushed: list[tuple[Node, _Object, _Handle]] = []
        self.lengths: dict[_Object, set[Node]] = {}
        self.popped: dict[_Kind, _Object] = {}
        self.no_flow: Node | None = None
        self.given: dict[int, _Kind] = {}  # the results that are objects made here
        self.rules: dict[str, Callable[[Node], None]] = {
            _NEW_STACK: self.stack, "StackPushV2": self.push, "StackPopV2": self.pop, _NEW_ARRAY: self.array,
            "TensorArrayGradV3": self.gradient, "TensorArrayGradWithShape": self.gradient,
            "TensorArrayWriteV3": self.write, "TensorArrayReadV3": self.read, "TensorArrayGatherV3": self.gather,
            "TensorArrayScatterV3": self.scatter, "TensorArrayConcatV3": self.concat,
            "TensorArraySplitV3": self.split, "TensorArraySizeV3": self.size, "TensorArrayCloseV3": self.close,
            "StackCloseV2": self.close, "While": self.loop, "If": self.branch,
        }  # fmt: skip

    # Making nodes.

    def new(self, like: Node, what: str, op: str, inputs: list[Ref], types: list[int], **attrs: Any) -> Ref:
        """Adds a node before the one that is looked at."""
        node = Node(self.names.new(f"{like.name}/{what}"), op, inputs, types, attrs, like.device)
        self.order.append(node)
        return node, 0

    def constant(self, like: Node, what: str, values: list[int] | int) -> Ref:
        node = integers(self.names.new(f"{like.name}/{what}"), values)
        self.order.append(node)
        return node, 0

    def shape_of_elements(self, node: Node, kind: _Kind) -> Ref:
        """What is known of the shape of an object's elements, as a tensor."""
        sizes: list[int] | int = -1 if kind.shape.unknown_rank else [int(dim.size) for dim in kind.shape.dim]
        if kind.list_dtype == _VARIANT:
            sizes = []
        return self.constant(node, "element_shape", sizes)

    def empty(self, node: Node, kind: _Kind) -> None:
        """Turns a node into the list of an empty stack."""
        size = self.constant(node, "max_num_elements", -1)
        shape = self.shape_of_elements(node, kind)
        attrs = {"element_dtype": type_attr(kind.list_dtype), "shape_type": type_attr(_INT32)}
        node.become("EmptyTensorList", [shape, size], [_VARIANT], attrs)

    # What a handle names.

    def handle(self, node: Node, i: int = 0) -> _Handle:
        if i >= len(node.inputs) or node.inputs[i] not in self.handles:
            raise ValueError(
                f"node {node.name!r} ({node.op}): its input {i} is no handle of a stack or a TensorArray that can be "
                "followed to where it is made"
            )
        return self.handles[node.inputs[i]]

    def list_of(self, node: Node, handle: _Handle) -> Ref:
        """The list that a handle names now."""
        holder, source = handle
        if source not in holder.lists:
            if holder.is_own:
                holder.lists[source] = self.reserve(node, holder)
                holder.fresh.add(source)
            else:
                holder.args[source] = Node("list", ARG, types=[_VARIANT])
                holder.lists[source] = holder.args[source], 0
        return holder.lists[source]

    def reserve(self, node: Node, holder: _Object) -> Ref:
        """The list of a gradient: as long as the array, of zeros."""
        kind = holder.kind
        length = self.new(node, "length", "TensorListLength", [holder.lists[""]], [_INT32])
        shape = self.shape_of_elements(node, kind)
        return self.new(
            node, "gradient", "TensorListReserve", [shape, length], [_VARIANT],
            element_dtype=type_attr(kind.dtype), shape_type=type_attr(_INT32),
        )  # fmt: skip

    def set(self, handle: _Handle, ref: Ref) -> None:
        holder, source = handle
        holder.lists[source] = ref
        holder.written.add(source)
        holder.fresh.discard(source)

    # The walk.

    def run(self) -> None:
        for node in sorted_nodes(self.region.nodes):
            node.inputs = [self.instead.get(ref, ref) for ref in node.inputs]
            rule = self.rules.get(node.op)
            if rule is not None:
                rule(node)
                if node in self.replaced:
                    continue
            elif node.op == _ABSENT:
                self.handles[node, 0] = _Object(_Kind(node), True), ""
                continue
            elif any(ref in self.handles for ref in node.inputs):
                if node.op != "Identity":
                    raise ValueError(
                        f"node {node.name!r} ({node.op}) takes a handle of a stack or a TensorArray, which only their "
                        "own operations may"
                    )
                self.handles[node, 0] = self.handles[node.inputs[0]]
                continue
            elif any(ref in self.flows for ref in node.inputs):
                if node.op in ("Identity", "Add", "AddV2", "AddN"):
                    self.flows.add((node, 0))
                    continue
                node.inputs = [self.without_flow(ref) for ref in node.inputs]
            self.order.append(node)
        for node, holder, handle in self.pushed:
            self.put(node, holder, self.list_of(node, handle))
        self.region.results = [self.result(i, ref) for i, ref in enumerate(self.region.results)]
        made = set(self.order)
        gone = {node for node, _ in [*self.handles, *self.flows] if node not in made}
        for node in self.order:
            node.controls = [
                self.replaced.get(c, c) for c in node.controls if c not in gone or c in self.replaced
            ]
        self.region.waits = [
            self.replaced.get(c, c) for c in self.region.waits if c not in gone or c in self.replaced
        ]
        self.region.nodes = self.order

    def result(self, i: int, ref: Ref) -> Ref:
        ref = self.instead.get(ref, ref)
        handle = self.handles.get(ref)
        if handle is None or not handle[0].is_own:
            return ref
        if handle[0].kind.node.op == _ABSENT:
            return ref
        self.given[i] = handle[0].kind
        return self.list_of(handle[0].kind.node, handle)

    def without_flow(self, ref: Ref) -> Ref:
        return self.flow_of_none() if ref in self.flows else ref

    def flow_of_none(self) -> Ref:
        """A number in place of a flow that orders nothing any more."""
        if self.no_flow is None:
            self.no_flow = zeros(self.names.new("flow"), types_pb2.DT_FLOAT)
            self.order.append(self.no_flow)
        return self.no_flow, 0

    def vanish(self, node: Node) -> None:
        node.become("NoOp", [], [])

    # Stacks.

    def stack(self, node: Node) -> None:
        holder = _Object(_Kind(node), True)
        self.handles[node, 0] = holder, ""
        self.empty(node, holder.kind)
        holder.lists[""] = node, 0
        holder.fresh.add("")

    def push(self, node: Node) -> None:
        handle = self.handle(node)
        element = node.inputs[1]
        if element in self.flows:
            handle[0].kind.holds_flows = True
            self.flows.add((node, 0))
            self.vanish(node)
            return
        self.instead[node, 0] = element
        if element in self.handles:
            pushed = self.handles[element]
            if pushed[1]:
                raise ValueError(f"node {node.name!r} ({node.op}) puts the handle of a gradient on a stack")
            handle[0].kind.element = pushed[0].kind
            self.pushed.append((node, handle[0], pushed))
            self.vanish(node)
        else:
            self.list_of(node, handle)
            before = handle[0].lists[""]
            node.become(
                "TensorListPushBack", [before, element], [_VARIANT],
                {"element_dtype": type_attr(handle[0].kind.list_dtype)},
            )  # fmt: skip
            self.set(handle, (node, 0))

    def put(self, node: Node, holder: _Object, element: Ref) -> None:
        """Pushes the list that a handle names in the end."""
        before = self.list_of(node, (holder, ""))
        ref = self.new(
            node,
            "push",
            "TensorListPushBack",
            [before, element],
            [_VARIANT],
            element_dtype=type_attr(_VARIANT),
        )
        self.set((holder, ""), ref)

    def pop(self, node: Node) -> None:
        handle = self.handle(node)
        kind = handle[0].kind
        if kind.holds_flows:
            self.flows.add((node, 0))
            self.vanish(node)
            return
        before = self.list_of(node, handle)
        shape = self.shape_of_elements(node, kind)
        waits = node.controls
        popped = self.new(
            node, "pop", "TensorListPopBack", [before, shape], [_VARIANT, kind.list_dtype],
            element_dtype=type_attr(kind.list_dtype),
        )[0]  # fmt: skip
        popped.controls = list(waits)
        self.set(handle, (popped, 0))
        node.become("Identity", [(popped, 1)], [kind.list_dtype], {"T": type_attr(kind.list_dtype)})
        if kind.list_dtype == _VARIANT:
            if kind.element is None:
                raise ValueError(f"node {node.name!r} ({node.op}) takes a handle off a stack that got none")
            # Two stacks that got the handle of one object in a turn give it back in one turn.
            holder = self.popped.get(kind.element)
            if holder is None:
                holder = self.popped[kind.element] = _Object(kind.element, True)
                holder.lists[""] = node, 0
            self.handles[node, 0] = holder, ""

    def close(self, node: Node) -> None:
        self.vanish(node)

    # Arrays.

    def array(self, node: Node) -> None:
        holder = _Object(_Kind(node), True)
        self.handles[node, 0] = holder, ""
        self.flows.add((node, 1))
        size = node.inputs[0]
        shape = self.shape_of_elements(node, holder.kind)
        attrs = {"element_dtype": type_attr(holder.kind.dtype), "shape_type": type_attr(_INT32)}
        node.become("TensorListReserve", [shape, size], [_VARIANT], attrs)
        holder.lists[""] = node, 0
        holder.fresh.add("")

    def gradient(self, node: Node) -> None:
        holder, source = self.handle(node)
        name = node.attrs["source"].s.decode("utf-8", "replace") if "source" in node.attrs else ""
        self.handles[node, 0] = holder, f"{source}/{name}"
        self.flows.add((node, 1))
        self.vanish(node)

    def element_attrs(self, kind: _Kind) -> dict[str, attr_value_pb2.AttrValue]:
        return {"element_dtype": type_attr(kind.dtype)}

    def reads(self, handle: _Handle) -> dict[str, attr_value_pb2.AttrValue]:
        """The attributes of what reads elements; whether they may be read again is a matter of the array."""
        kind, source = handle[0].kind, handle[1]
        noted = _accesses(kind, "reads") if kind.clears and not source else {}
        strict = {} if source or kind.alike or kind.is_shape_known else _STRICT
        return self.element_attrs(kind) | noted | strict

    def writes(self, handle: _Handle) -> dict[str, attr_value_pb2.AttrValue]:
        """The attributes of what writes elements: once, but to a gradient, where it adds up."""
        kind, source = handle[0].kind, handle[1]
        noted = {} if source else _accesses(kind, "writes")
        return self.element_attrs(kind) | noted | (_STRICT if kind.alike and not source else {})

    def element_shape(self, node: Node, handle: _Handle, index: Ref) -> Ref:
        """The shape of the element of a gradient, which may not have been written: that of the array's own."""
        holder, source = handle
        if not source or holder.kind.is_shape_known:
            return self.shape_of_elements(node, holder.kind)
        shape = self.shape_of_elements(node, holder.kind)
        own = self.new(
            node, "element", "TensorListGetItem", [self.list_of(node, (holder, "")), index, shape],
            [holder.kind.dtype], **self.element_attrs(holder.kind),
        )  # fmt: skip
        return self.shape(node, own, holder.kind.dtype)

    def shape(self, node: Node, ref: Ref, dtype: int) -> Ref:
        return self.new(
            node, "shape", "Shape", [ref], [_INT32], T=type_attr(dtype), out_type=type_attr(_INT32)
        )

    def write(self, node: Node) -> None:
        handle = self.handle(node)
        kind = handle[0].kind
        index, value = node.inputs[1], node.inputs[2]
        before = self.list_of(node, handle)
        if handle[1]:
            shape = self.shape(node, value, kind.dtype)
            own = self.new(
                node, "before", "TensorListGetItem", [before, index, shape], [kind.dtype],
                **self.element_attrs(kind),
            )  # fmt: skip
            value = self.new(node, "sum", "AddV2", [own, value], [kind.dtype], T=type_attr(kind.dtype))
        attrs = self.writes(handle)
        if kind.grows:
            attrs["resize_if_index_out_of_bounds"] = attr_value_pb2.AttrValue(b=True)
        node.become("TensorListSetItem", [before, index, value], [_VARIANT], attrs)
        self.flows.add((node, 0))
        self.set(handle, (node, 0))

    def read(self, node: Node) -> None:
        handle = self.handle(node)
        kind = handle[0].kind
        index = node.inputs[1]
        held = self.list_of(node, handle)
        shape = self.element_shape(node, handle, index)
        node.become("TensorListGetItem", [held, index, shape], [kind.dtype], self.reads(handle))

    def size(self, node: Node) -> None:
        handle = self.handle(node)
        held = self.list_of(node, handle)
        node.become("TensorListLength", [held], [_INT32])
        self.lengths.setdefault(handle[0], set()).add(node)

    def is_whole(self, ref: Ref, handle: _Handle) -> bool:
        """Whether indices are 0, 1, 2, … up to the size of the array, as `stack` and `unstack` make them."""
        node = ref[0]
        if node.op != "Range" or len(node.inputs) != 3:
            return False
        start, limit, step = (source for source, _ in node.inputs)
        if constant_integer(start) != 0 or constant_integer(step) != 1:
            return False
        made = handle[0].kind.node
        if limit.op == "TensorListLength":
            return limit in self.lengths.get(handle[0], ())
        return made.op == "TensorListReserve" and handle[0].is_own and _same(made.inputs[1], node.inputs[1])

    def gather(self, node: Node) -> None:
        handle = self.handle(node)
        kind = handle[0].kind
        indices = node.inputs[1]
        held = self.list_of(node, handle)
        attrs = self.element_attrs(kind)
        shape = self.shape_of_elements(node, kind)
        if handle[1] and not kind.is_shape_known:
            own = self.new(
                node, "elements", "TensorListGather", [self.list_of(node, (handle[0], "")), indices, shape],
                [kind.dtype], **attrs,
            )  # fmt: skip
            shape = self.tail(node, self.shape(node, own, kind.dtype))
        attrs = self.reads(handle)
        if self.is_whole(indices, handle):
            attrs["num_elements"] = attr_value_pb2.AttrValue(i=-1)
            node.become("TensorListStack", [held, shape], [kind.dtype], attrs)
        else:
            node.become("TensorListGather", [held, indices, shape], [kind.dtype], attrs)

    def tail(self, node: Node, shape: Ref) -> Ref:
        """A shape without its first size."""
        one, none = self.constant(node, "one", [1]), self.constant(node, "none", [0])
        mask = {key: attr_value_pb2.AttrValue(i=i) for key, i in (
            ("begin_mask", 0), ("end_mask", 1), ("ellipsis_mask", 0), ("new_axis_mask", 0), ("shrink_axis_mask", 0),
        )}  # fmt: skip
        return self.new(
            node, "tail", "StridedSlice", [shape, one, none, one], [_INT32],
            T=type_attr(_INT32), Index=type_attr(_INT32), **mask,
        )  # fmt: skip

    def scatter(self, node: Node) -> None:
        handle = self.handle(node)
        holder, source = handle
        kind = holder.kind
        indices, value = node.inputs[1], node.inputs[2]
        before = self.list_of(node, handle)
        attrs = self.element_attrs(kind)
        whole = self.is_whole(indices, handle)
        if source and not (whole and source in holder.fresh):
            if not whole:
                # What is written twice adds up.
                length = self.new(node, "length", "TensorListLength", [before], [_INT32])
                value = self.new(
                    node, "sums", "UnsortedSegmentSum", [value, indices, length], [kind.dtype],
                    T=type_attr(kind.dtype), Tindices=type_attr(_INT32), Tnumsegments=type_attr(_INT32),
                )  # fmt: skip
            if source not in holder.fresh:
                shape = self.tail(node, self.shape(node, value, kind.dtype))
                own = self.new(
                    node, "before", "TensorListStack", [before, shape], [kind.dtype],
                    **attrs, num_elements=attr_value_pb2.AttrValue(i=-1),
                )  # fmt: skip
                value = self.new(node, "sum", "AddV2", [own, value], [kind.dtype], T=type_attr(kind.dtype))
            whole = True
        attrs = self.writes(handle)
        if whole and (source or (not source and source in holder.fresh)):
            shape = self.shape_of_elements(node, kind)
            attrs["shape_type"] = type_attr(_INT32)
            node.become("TensorListFromTensor", [value, shape], [_VARIANT], attrs)
        else:
            node.become("TensorListScatterIntoExistingList", [before, value, indices], [_VARIANT], attrs)
        self.flows.add((node, 0))
        self.set(handle, (node, 0))

    def concat(self, node: Node) -> None:
        handle = self.handle(node)
        kind = handle[0].kind
        held = self.list_of(node, handle)
        shape = self.shape_with_rows(node, kind)
        none = integers(self.names.new(f"{node.name}/leading_dims"), [], types_pb2.DT_INT64)
        self.order.append(none)
        attrs = self.reads(handle) | {"shape_type": type_attr(_INT32)}
        node.become(
            "TensorListConcatV2", [held, shape, (none, 0)], [kind.dtype, int(types_pb2.DT_INT64)], attrs
        )

    def shape_with_rows(self, node: Node, kind: _Kind) -> Ref:
        """The shape of elements whose numbers of rows differ."""
        if kind.shape.unknown_rank:
            return self.constant(node, "element_shape", -1)
        return self.constant(node, "element_shape", [-1, *(int(dim.size) for dim in kind.shape.dim[1:])])

    def split(self, node: Node) -> None:
        handle = self.handle(node)
        kind = handle[0].kind
        value, lengths = node.inputs[1], node.inputs[2]
        before = self.list_of(node, handle)
        shape = self.shape_with_rows(node, kind)
        attrs = self.element_attrs(kind) | {"shape_type": type_attr(_INT32)}
        if handle[1] and handle[1] not in handle[0].fresh:
            parts = self.new(node, "parts", "TensorListSplit", [value, shape, lengths], [_VARIANT], **attrs)
            count = attr_value_pb2.AttrValue(i=2)
            node.become("AddN", [before, parts], [_VARIANT], {"T": type_attr(_VARIANT), "N": count})
        else:
            attrs |= self.writes(handle)
            node.become("TensorListSplit", [value, shape, lengths], [_VARIANT], attrs)
        self.flows.add((node, 0))
        self.set(handle, (node, 0))

    # Loops and branches.

    def loop(self, node: Node) -> None:
        node.inputs, inside = self.enter(node, 0)
        cond, body = inside
        count = len(node.inputs)
        for i, ref in enumerate(node.inputs):
            if ref in self.handles and body.threader.handles.get(body.region.results[i]) != body.handles[i]:
                raise ValueError(
                    f"node {node.name!r} (While) changes which stack or TensorArray its variable {i} names"
                )
        for holder, stand_in in cond.stand_ins.items():
            if stand_in.written:
                raise ValueError(
                    f"node {node.name!r} (While) changes {holder.kind.node.name!r} where it only decides"
                )
        dropped = {
            i for i, ref in enumerate(node.inputs)
            if ref in self.handles or ref in self.flows or body.region.results[i] in body.threader.flows
        }  # fmt: skip
        kept = [i for i in range(count) if i not in dropped]
        keys = self.keys(inside)
        lists = [self.list_of(node, key) for key in keys]
        for part in inside:
            part.hand(keys, kept, dropped)
        body.region.results = [body.region.results[i] for i in kept] + [body.list_of(key) for key in keys]
        made = Node(
            node.name, node.op, [node.inputs[i] for i in kept] + lists,
            [node.types[i] for i in kept] + [_VARIANT] * len(keys), node.attrs, node.device,
        )  # fmt: skip
        self.put_in_place(node, made, kept)
        for i in dropped:
            if node.inputs[i] in self.handles:
                self.handles[node, i] = self.handles[node.inputs[i]]
            else:
                self.flows.add((node, i))
        for i, key in enumerate(keys):
            if any(key[1] in part.stand_ins[key[0]].written for part in inside if key[0] in part.stand_ins):
                self.set(key, (made, len(kept) + i))

    def branch(self, node: Node) -> None:
        node.inputs, inside = self.enter(node, 1)
        inputs = node.inputs[1:]
        dropped_in = {i for i, ref in enumerate(inputs) if ref in self.handles or ref in self.flows}
        kept_in = [i for i in range(len(inputs)) if i not in dropped_in]
        keys = self.keys(inside)
        lists = [self.list_of(node, key) for key in keys]
        kept: list[int] = []
        types: list[int] = []
        objects: dict[int, _Kind] = {}
        for i, type_ in enumerate(node.types):
            kinds = [part.threader.given[i] for part in inside if i in part.threader.given]
            if any(part.region.results[i] in part.threader.flows for part in inside):
                self.flows.add((node, i))
                continue
            if kinds:
                objects[i] = kinds[0]
                type_ = _VARIANT
                for part in inside:
                    if i not in part.threader.given:
                        part.give_none(i, kinds[0])
            kept.append(i)
            types.append(type_)
        written = [key for key in keys if any(key[1] in part.stand_ins[key[0]].written for part in inside)]
        for part in inside:
            part.hand(keys, kept_in, dropped_in)
            part.region.results = [part.region.results[i] for i in kept] + [
                part.list_of(key) for key in written
            ]
        made = Node(
            node.name, node.op, [node.inputs[0], *(inputs[i] for i in kept_in), *lists],
            types + [_VARIANT] * len(written), node.attrs, node.device,
        )  # fmt: skip
        self.put_in_place(node, made, kept)
        for at, i in enumerate(kept):
            if i in objects:
                holder = _Object(objects[i], True)
                holder.lists[""] = made, at
                self.handles[made, at] = holder, ""
        for i, key in enumerate(written):
            self.set(key, (made, len(kept) + i))

    def enter(self, node: Node, first: int) -> tuple[list[Ref], list[_Inside]]:
        """Threads the bodies of a node; returns its inputs and what became of the bodies."""
        handed = [(i, ref) for i, ref in enumerate(node.inputs[first:])]
        return node.inputs, [_Inside(self, body, handed) for body in node.bodies]

    def keys(self, inside: list[_Inside]) -> list[_Handle]:
        """The lists that bodies ask for."""
        found: dict[_Handle, None] = {}
        for part in inside:
            for holder, stand_in in part.stand_ins.items():
                found.update(dict.fromkeys((holder, source) for source in stand_in.args))
        return list(found)

    def put_in_place(self, node: Node, made: Node, kept: list[int]) -> None:
        made.controls = node.controls
        made.bodies = node.bodies
        self.replaced[node] = made
        self.order.append(made)
        for at, i in enumerate(kept):
            self.instead[node, i] = made, at


class _Inside:
    """A body of a While or an If, threaded."""

    def __init__(self, outer: _Threader, region: Region, handed: list[tuple[int, Ref]]) -> None:
        self.region = region
        self.stand_ins: dict[_Object, _Object] = {}
        self.handles: dict[int, _Handle] = {}
        flows = []
        for i, ref in handed:
            if ref in outer.handles:
                holder, source = outer.handles[ref]
                stand_in = self.stand_ins.setdefault(holder, _Object(holder.kind, False))
                self.handles[i] = stand_in, source
            elif ref in outer.flows:
                flows.append((region.args[i], 0))
        args = {(region.args[i], 0): handle for i, handle in self.handles.items()}
        self.threader = _Threader(region, outer.names, args, flows)
        self.threader.run()

    def hand(self, keys: list[_Handle], kept: list[int], dropped: set[int]) -> None:
        """Gives the body its arguments: those that are kept, and lists."""
        gone = {self.region.args[i] for i in dropped}
        for node in self.region.nodes:
            node.inputs = [self.threader.flow_of_none() if ref[0] in gone else ref for ref in node.inputs]
        args = [self.region.args[i] for i in kept]
        for holder, source in keys:
            stand_in = self.stand_ins.setdefault(holder, _Object(holder.kind, False))
            if source not in stand_in.args:
                stand_in.args[source] = Node("list", ARG, types=[_VARIANT])
                stand_in.lists.setdefault(source, (stand_in.args[source], 0))
            args.append(stand_in.args[source])
        self.region.args = args

    def list_of(self, key: _Handle) -> Ref:
        """The list that an object of the node around has in the end."""
        return self.stand_ins[key[0]].lists[key[1]]

    def give_none(self, i: int, kind: _Kind) -> None:
        """Returns an empty list in place of an object that the body does not make."""
        ref = self.region.results[i]
        node = ref[0]
        self.threader.empty(node, kind)
        self.region.nodes.append(node)
        self.region.results[i] = node, 0


_STRICT = {"_array_strict": attr_value_pb2.AttrValue(b=True)}


def _accesses(kind: _Kind, what: str) -> dict[str, attr_value_pb2.AttrValue]:
    return {f"_array_{what}": attr_value_pb2.AttrValue(s=kind.node.name.encode())}


def _same(a: Ref, b: Ref, depth: int = 6) -> bool:
    """Whether two values are computed in the same way of the same values."""
    if a == b:
        return True
    (left, i), (right, j) = a, b
    if (
        depth == 0
        or i != j
        or left.op != right.op
        or left.op not in ("Const", "Shape", "StridedSlice", "Identity")
    ):
        return False
    attrs = (
        {key: value for key, value in node.attrs.items() if not key.startswith("_")} for node in (left, right)
    )
    return (
        next(attrs) == next(attrs)
        and len(left.inputs) == len(right.inputs)
        and all(_same(x, y, depth - 1) for x, y in zip(left.inputs, right.inputs, strict=True))
    )
