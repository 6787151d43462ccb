"""Files that mean harm or nonsense: each is refused in bounded time and memory, and the error says where."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.serialization.attr_value import attr_to_proto

HUGE = 1 << 40


class File:
    """A GraphDef that is written node by node."""

    def __init__(self) -> None:
        self.proto = gf.GraphDef()

    def node(self, name: str, op_type: str, *inputs: str, into: Any = None, **attrs: Any) -> str:
        node = (self.proto.node if into is None else into.node_def).add(name=name, op=op_type, input=inputs)
        for key, value in attrs.items():
            if isinstance(value, Function):
                node.attr[key].func.name = value.name
            elif isinstance(value, list | tuple) and not value:
                node.attr[key].list.SetInParent()
            else:
                node.attr[key].CopyFrom(attr_to_proto(value))
        return name

    def const(self, value: Any, dtype: Any = np.float32, name: str = "") -> str:
        array = np.array(value, dtype)
        return self.node(name or f"c{len(self.proto.node)}", "Const", dtype=gf.as_dtype(dtype), value=array)

    def ints(self, *values: int) -> str:
        """A vector of integers, of 64 bits where they need them."""
        return self.const(values, np.int64 if any(abs(v) > 2**31 - 1 for v in values) else np.int32)

    def image(self) -> str:
        return self.const(np.ones((1, 4, 4, 1)))

    def function(self, name: str, takes: list[str], gives: dict[str, str], dtype: Any = gf.float32) -> Any:
        function = self.proto.library.function.add()
        function.signature.name = name
        for arg in takes:
            function.signature.input_arg.add(name=arg, type=dtype.as_datatype_enum)
        for result, source in gives.items():
            function.signature.output_arg.add(name=result, type=dtype.as_datatype_enum)
            function.ret[result] = source
        return function


class Function:
    def __init__(self, name: str) -> None:
        self.name = name


F, INT, LONG = {"T": gf.float32}, gf.int32, gf.int64
CASES: dict[str, tuple[Callable[[File], Any], str]] = {}


def case(what: str, message: str) -> Callable[[Callable[[File], Any]], Any]:
    """Registers a file, and what the error has to say; the node at fault is called `bad`."""

    def register(write: Callable[[File], Any]) -> Any:
        CASES[what] = write, message
        return write

    return register


def one(what: str, message: str, op_type: str, inputs: Callable[[File], list[str]], **attrs: Any) -> None:
    case(what, message)(lambda f: f.node("bad", op_type, *inputs(f), **attrs))


CONV = {**F, "strides": [1, 1, 1, 1], "padding": "SAME"}
WINDOW = {**F, "ksize": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "padding": "SAME"}


def filtered(f: File) -> list[str]:
    return [f.image(), f.const(np.ones((2, 2, 1, 1)))]


def vector(f: File) -> str:
    return f.const([1.0, 2.0, 3.0])


one("a stride of zero", "strides must be positive", "Conv2D", filtered, **CONV | {"strides": [1, 0, 1, 1]})
one("a negative stride", "strides must be positive", "Conv2D", filtered, **CONV | {"strides": [1, -1, 1, 1]})
one(
    "a stride of 2^62", "strides must fit int32", "Conv2D", filtered, **CONV | {"strides": [1, 1 << 62, 1, 1]}
)
one(
    "a radius of -1",
    r"depth_radius must be in \[0, 2\^31\)",
    "LRN",
    lambda f: [f.image()],
    **F,
    depth_radius=-1,
)
one("too few strides", "strides must have 4", "Conv2D", filtered, **CONV | {"strides": [1, 1]})
one("a dilation of zero", "dilations must be positive", "Conv2D", filtered, **CONV, dilations=[1, 0, 1, 1])
one("a padding of no kind", "padding must be one of", "Conv2D", filtered, **CONV | {"padding": "ODD"})
one("a negative margin", "none negative", "Conv2D", filtered, **CONV | {"padding": "EXPLICIT"},
    explicit_paddings=[0, 0, -5, 0, 0, 0, 0, 0])  # fmt: skip
one(
    "a window of zero",
    "ksize must be 4 positive",
    "MaxPool",
    lambda f: [f.image()],
    **WINDOW | {"ksize": [1, 0, 1, 1]},
)
one("a window of 10^12", "ksize must fit int32", "AvgPool", lambda f: [f.image()],
    **WINDOW | {"ksize": [1, HUGE, 1, 1], "padding": "VALID"})  # fmt: skip
one("a window of 2^31 - 1", "window of 2147483647 is larger", "AvgPool", lambda f: [f.image()],
    **WINDOW | {"ksize": [1, 2**31 - 1, 1, 1], "padding": "VALID"})  # fmt: skip
one("sizes whose product overflows", "cannot reshape 3 elements", "Reshape",
    lambda f: [vector(f), f.ints(1 << 30, 1 << 30, 1 << 30)], **F, Tshape=INT)  # fmt: skip
one(
    "two open sizes",
    "at most one size may be -1",
    "Reshape",
    lambda f: [vector(f), f.ints(-1, -1)],
    **F,
    Tshape=INT,
)
one("a filling of 10^12 elements", "needs .* of memory", "Fill",
    lambda f: [f.ints(10**6, 10**6), f.const(1.0)], **F, index_type=INT)  # fmt: skip
one("a filling that overflows", "the result would have shape", "Fill",
    lambda f: [f.ints(*[1 << 31] * 4), f.const(1.0)], **F, index_type=LONG)  # fmt: skip
one(
    "a negative size",
    "must not have negative sizes",
    "Fill",
    lambda f: [f.ints(-3), f.const(1.0)],
    **F,
    index_type=INT,
)
one("10^12 copies", "needs .* of memory", "Tile", lambda f: [vector(f), f.ints(HUGE)], **F, Tmultiples=LONG)
one("a stretch of 10^12", "needs .* of memory", "BroadcastTo",
    lambda f: [f.const(1.0), f.ints(1 << 20, 1 << 20)], **F, Tidx=INT)  # fmt: skip
one("a range of 10^18", "the result would have shape", "Range",
    lambda f: [f.const(v, np.int64) for v in (0, 1 << 60, 1)], Tidx=LONG)  # fmt: skip
one(
    "a range without steps",
    "delta != 0",
    "Range",
    lambda f: [f.const(v, np.int32) for v in (0, 5, 0)],
    Tidx=INT,
)
one("a margin of 10^12", "needs .* of memory", "Pad",
    lambda f: [vector(f), f.const([[HUGE, 0]], np.int64)], **F, Tpaddings=LONG)  # fmt: skip
one("a slice from outside", "does not reach from 5", "Slice",
    lambda f: [vector(f), f.ints(5), f.ints(3)], **F, Index=INT)  # fmt: skip
one("a slice without steps", "must be non-zero", "StridedSlice",
    lambda f: [vector(f), f.ints(0), f.ints(1), f.ints(0)], **F, Index=INT)  # fmt: skip
one("a gradient that is larger than its slice", r"dy has shape \(3,\), the slice of \(3,\) has \(2,\)",
    "StridedSliceGrad", lambda f: [f.ints(3), f.ints(0), f.ints(2), f.ints(1), vector(f)], **F, Index=INT)  # fmt: skip
one("a gradient of too low a rank", "dy has shape", "StridedSliceGrad",
    lambda f: [f.ints(3, 4), f.ints(0), f.ints(2), f.ints(1), vector(f)], **F, Index=INT)  # fmt: skip
one("an index outside", r"indices\[0\] = 7 is not in \[0, 3\)", "GatherV2",
    lambda f: [vector(f), f.ints(7), f.const(0, np.int32)], Tparams=gf.float32, Tindices=INT, Taxis=INT)  # fmt: skip
one("an axis outside", r"axis 4 is outside \[-1, 1\)", "ConcatV2",
    lambda f: [vector(f), vector(f), f.const(4, np.int32)], **F, Tidx=INT, N=2)  # fmt: skip
one("no permutation", "is no permutation", "Transpose",
    lambda f: [f.const([[1.0]]), f.ints(0, 0)], **F, Tperm=INT)  # fmt: skip
one(
    "no parts",
    "num_split must be at least 1",
    "Split",
    lambda f: [f.const(0, np.int32), vector(f)],
    **F,
    num_split=0,
)
one("parts that do not add up", "do not add up to 3", "SplitV",
    lambda f: [vector(f), f.ints(1, 7), f.const(0, np.int32)], **F, Tlen=INT, num_split=2)  # fmt: skip
one("a division by zero", "Integer division by zero", "FloorDiv", lambda f: [f.ints(1), f.ints(0)], T=INT)
one("a remainder by zero", "Integer division by zero", "FloorMod", lambda f: [f.ints(1), f.ints(0)], T=INT)
one("a negative power", "negative integer powers", "Pow", lambda f: [f.ints(2), f.ints(-1)], T=INT)
one("a block of zero", "block sizes must be positive", "SpaceToBatchND",
    lambda f: [f.image(), f.ints(0, 0), f.const([[0, 0], [0, 0]], np.int32)],
    **F, Tblock_shape=INT, Tpaddings=INT)  # fmt: skip
one("a block of 10^18", "is no multiple of", "SpaceToDepth", lambda f: [f.image()], **F, block_size=1 << 62)
one("an image of 10^18", "the result would have shape", "ResizeBilinear",
    lambda f: [f.image(), f.ints(2**31 - 1, 2**31 - 1)], **F)  # fmt: skip
one("10^12 random numbers", "needs .* of memory", "RandomUniform",
    lambda f: [f.ints(1 << 20, 1 << 20)], T=INT, dtype=gf.float32)  # fmt: skip
one("10^15 segments", "needs .* of memory", "UnsortedSegmentSum",
    lambda f: [f.const([1.0]), f.ints(0), f.const(1 << 50, np.int64)],
    **F, Tindices=INT, Tnumsegments=LONG)  # fmt: skip
for kind in ("Sum", "Max", "Min", "Prod"):
    one(f"a segment outside of {kind}", "segment_ids must be below num_segments = 2", f"UnsortedSegment{kind}",
        lambda f: [vector(f), f.ints(0, 7, 1), f.const(2, np.int32)],
        **F, Tindices=INT, Tnumsegments=INT)  # fmt: skip
one("scattering outside", "does not index into shape", "ScatterNd",
    lambda f: [f.const([[9]], np.int32), f.const([1.0]), f.ints(3)], **F, Tindices=INT)  # fmt: skip
one("a product of 10^12", "needs .* of memory", "MatMul",
    lambda f: [f.node("fill", "Fill", f.ints(1 << 20, 8), f.const(1.0), **F, index_type=INT)] * 2,
    **F, transpose_b=True)  # fmt: skip
one("an equation of no sense", "Equation", "Einsum", lambda f: [vector(f)], **F, N=1, equation="a,b->zz")
one("bits that do not fit", "last size must be 2", "Bitcast", lambda f: [vector(f)], **F, type=gf.float64)
one(
    "more of the best than there are",
    "last dimension >= k",
    "TopKV2",
    lambda f: [vector(f), f.const(9, np.int32)],
    **F,
)
one("a lie about a shape", "incompatible|must", "MatMul", lambda f: [vector(f), vector(f)], **F)
one("a lie about a dtype", "expected int32", "Neg", lambda f: [vector(f)], T=INT)
one("a dtype that the op lacks", "T must be one of", "Neg", lambda f: [f.const(True, np.bool_)], T=gf.bool)
one(
    "a handle that is none",
    "input 0 is .*expected resource",
    "ReadVariableOp",
    lambda f: [vector(f)],
    dtype=gf.float32,
)


@case("a constant of 10^12 equal elements", "claims the shape")
def _(f: File) -> None:
    f.const([1.0], name="bad")
    tensor = f.proto.node[0].attr["value"].tensor
    tensor.Clear()
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=10**12)
    tensor.float_val.append(1.0)


@case("a constant that is cut off", "needs 16 bytes, its content has 3")
def _(f: File) -> None:
    f.const([1.0, 2, 3, 4], name="bad")
    f.proto.node[0].attr["value"].tensor.tensor_content = b"abc"


# Control flow.


def loop(f: File, frame: str, start: str, prefix: str = "", has_condition: bool = True) -> str:
    """A loop of TF1; returns its exit."""
    n = prefix
    f.node(f"{n}enter", "Enter", start, **F, frame_name=frame)
    f.node(f"{n}merge", "Merge", f"{n}enter", f"{n}next", **F, N=2)
    f.node(f"{n}limit", "Const", f"^{n}merge", dtype=gf.float32, value=np.array(10.0, np.float32))
    f.node(f"{n}less", "Less", f"{n}merge", f"{n}limit", **F)
    decider = f.node(f"{n}cond", "LoopCond", f"{n}less") if has_condition else f"{n}less"
    f.node(f"{n}switch", "Switch", f"{n}merge", decider, **F)
    f.node(f"{n}add", "Add", f"{n}switch:1", f"{n}switch:1", **F)
    f.node(f"{n}next", "NextIteration", f"{n}add", **F)
    return f.node(f"{n}exit", "Exit", f"{n}switch", **F)


@case("a loop without a condition", "the loop 'bad' has 0 LoopConds")
def _(f: File) -> None:
    loop(f, "bad", f.const(1.0), has_condition=False)


@case("a loop without an entrance", r"'bad' \(NextIteration\) is in no loop")
def _(f: File) -> None:
    f.node("merge", "Merge", f.const(1.0), "bad", **F, N=2)
    f.node("bad", "NextIteration", "merge", **F)


@case("an exit from nowhere", r"'bad' \(Exit\) is in no loop")
def _(f: File) -> None:
    f.node("bad", "Exit", f.const(1.0), **F)


@case("a node in two loops", r"'bad' \(Add\) joins two frames")
def _(f: File) -> None:
    start = f.const(1.0)
    loop(f, "one", start, "a/")
    loop(f, "two", start, "b/")
    f.node("bad", "Add", "a/add", "b/add", **F)


@case("a value that leaves a loop by no exit", r"'bad' \(Add\) joins two frames")
def _(f: File) -> None:
    start = f.const(1.0)
    loop(f, "one", start)
    f.node("bad", "Add", "add", start, **F)


@case("an exit from the middle of a loop", r"'bad' \(Exit\).* is not the way out")
def _(f: File) -> None:
    loop(f, "one", f.const(1.0))
    f.node("bad", "Exit", "add", **F)


@case("a variable that does not go on", r"'bad' \(Enter\).*neither constant nor merged")
def _(f: File) -> None:
    loop(f, "one", f.const(1.0))
    f.node("bad", "Enter", f.const(1.0), **F, frame_name="one")
    f.node("other", "Add", "bad", "merge", **F)


@case("loops nested without end", r"loops are nested more than \d+ deep")
def _(f: File) -> None:
    at = f.const(1.0)
    for i in range(2000):
        at = f.node(f"bad{i}", "Enter", at, **F, frame_name=f"frame{i}", is_constant=True)


@case("branches nested without end", r"branches nested more than \d+ deep")
def _(f: File) -> None:
    at = f.const(1.0)
    for i in range(2000):
        p = f.node(f"p{i}", "Placeholder", dtype=gf.bool)
        at = f"{f.node(f'bad{i}', 'Switch', at, p, **F)}:1"


@case("a merge of one side", r"'bad' \(Merge\) does not join the two sides")
def _(f: File) -> None:
    p, q = (f.node(name, "Placeholder", dtype=gf.bool) for name in "pq")
    first, second = (f.node(f"switch_{x}", "Switch", f.const(1.0), x, **F) for x in (p, q))
    f.node("bad", "Merge", f"{first}:1", second, **F, N=2)


@case("a cycle through no loop", "cycle: ")
def _(f: File) -> None:
    f.node("bad", "Neg", "worse", **F)
    f.node("worse", "Neg", "bad", **F)


@case("a stack that is none", r"'bad' \(StackPopV2\).*no handle of a stack")
def _(f: File) -> None:
    f.node("queue", "Placeholder", dtype=gf.resource)
    f.node("bad", "StackPopV2", "queue", elem_type=gf.float32)


# Functions.


@case("functions that call each other", "'bad': the function 'a' calls itself")
def _(f: File) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        function = f.function(name, ["x"], {"y": "call:output:0"})
        f.node(
            "call",
            "PartitionedCall",
            "x",
            into=function,
            Tin=[gf.float32],
            Tout=[gf.float32],
            f=Function(other),
        )
    f.node("bad", "PartitionedCall", f.const(1.0), Tin=[gf.float32], Tout=[gf.float32], f=Function("a"))


@case("functions nested without end", r"more than \d+ deep")
def _(f: File) -> None:
    for i in range(1000):
        function = f.function(f"f{i}", ["x"], {"y": "call:output:0" if i < 999 else "x"})
        if i < 999:
            f.node(
                "call", "PartitionedCall", "x", into=function,
                Tin=[gf.float32], Tout=[gf.float32], f=Function(f"f{i + 1}"),
            )  # fmt: skip
    f.node("bad", "PartitionedCall", f.const(1.0), Tin=[gf.float32], Tout=[gf.float32], f=Function("f0"))


@case("functions that unfold to 2^60 nodes", "unfold to more than")
def _(f: File) -> None:
    for i in range(60):
        function = f.function(f"f{i}", ["x"], {"y": "two:output:0" if i < 59 else "x"})
        for name, source in (("one", "x"), ("two", "one:output:0")) if i < 59 else ():
            f.node(
                name, "PartitionedCall", source, into=function,
                Tin=[gf.float32], Tout=[gf.float32], f=Function(f"f{i + 1}"),
            )  # fmt: skip
    f.node("bad", "PartitionedCall", f.const(1.0), Tin=[gf.float32], Tout=[gf.float32], f=Function("f0"))


@case("a body of another type", r"node 'bad' \(StatelessWhile\)")
def _(f: File) -> None:
    f.function("cond", ["x"], {"y": "x"})
    f.function("body", ["x"], {})
    f.node(
        "bad", "StatelessWhile", f.const(1.0), T=[gf.float32], cond=Function("cond"), body=Function("body")
    )


@case("a branch of another type", r"node 'bad' \(StatelessIf\).*argument 'x' is int32")
def _(f: File) -> None:
    f.function("then", ["x"], {"y": "x"})
    f.function("otherwise", ["x"], {"y": "x"}, gf.int32)
    f.node(
        "bad", "StatelessIf", f.const(True, np.bool_), f.const(1.0), Tcond=gf.bool, Tin=[gf.float32],
        Tout=[gf.float32], then_branch=Function("then"), else_branch=Function("otherwise"),
    )  # fmt: skip


@case("a function that returns what it lacks", "which it does not define")
def _(f: File) -> None:
    f.function("f", ["x"], {"y": "gone:output:0"})
    f.node("bad", "PartitionedCall", f.const(1.0), Tin=[gf.float32], Tout=[gf.float32], f=Function("f"))


@case("two functions of a name", "two functions called 'f'")
def _(f: File) -> None:
    f.function("f", ["x"], {"y": "x"})
    f.function("f", ["x"], {"y": "x"})


@case("a file of the future", "needs a reader of version")
def _(f: File) -> None:
    f.proto.versions.min_consumer = 10**6


@case("a file that bars this reader", "readers of this version must not")
def _(f: File) -> None:
    f.proto.versions.bad_consumers.append(134)


@pytest.mark.parametrize("what", CASES)
def test_it_is_refused(what: str) -> None:
    write, message = CASES[what]
    file = File()
    write(file)
    began, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with gf.Graph().as_default() as graph, gf.Session() as session:
        with pytest.raises((ValueError, gf.errors.OpError), match=message) as caught:
            gf.import_graph_def(file.proto, name="")
            bad = graph.get_operation_by_name("bad")
            session.run(bad.outputs or bad)
    if "bad" in {node.name for node in file.proto.node}:
        assert "bad" in str(caught.value)
    assert time.process_time() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 1 << 20  # KiB
