"""Graphs as GraphDef and back, and files that do not hold together."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as gf
from graphflow.errors import DataLossError, NotFoundError
from graphflow.serialization import preparation
from graphflow.serialization.graph_import import read_message
from graphflow.serialization.proto import graph_pb2, op_def_pb2, types_pb2
from graphflow.serialization.regions import parse_input


def example() -> gf.Graph:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None, 3], name="x")
        w = gf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2), name="w")
        with gf.device("/gpu:0"), gf.name_scope("layer"):
            y = gf.matmul(x, w) + gf.constant([0.5, np.inf], name="b")
        with gf.control_dependencies([gf.no_op(name="first")]):
            gf.identity(y, name="out")
        gf.split(y, 2, axis=1, name="halves")
        gf.constant(["text", b"\xff\x00"], name="strings")
        gf.cast(x, gf.bfloat16, name="half")
    return graph


def nodes(graph: gf.Graph) -> dict[str, Any]:
    return {node.name: node for node in graph.as_graph_def().node}


def test_round_trip() -> None:
    graph = example()
    with gf.Graph().as_default() as again:
        assert gf.import_graph_def(graph.as_graph_def(), name="") is None
    assert nodes(again) == nodes(graph)
    for one, other in zip(graph.get_operations(), again.get_operations(), strict=True):
        assert one.name == other.name and one.device == other.device
        assert [t.shape for t in one.outputs] == [t.shape for t in other.outputs]
        assert [op.name for op in one.control_inputs] == [op.name for op in other.control_inputs]


def test_bytes_and_text_round_trip(tmp_path: Path) -> None:
    graph = example()
    for as_text in (True, False):
        path = gf.write_graph(graph, str(tmp_path / "deep"), "graph", as_text=as_text)
        with gf.Graph().as_default() as again:
            gf.import_graph_def(read_message(path, graph_pb2.GraphDef, text=as_text), name="")
        assert nodes(again) == nodes(graph)
    with gf.Graph().as_default() as again:
        gf.import_graph_def(Path(path).read_bytes(), name="")
    assert nodes(again) == nodes(graph)


def test_node_def() -> None:
    graph = example()
    node = graph.get_operation_by_name("layer/MatMul").node_def
    assert (node.op, node.device, list(node.input)) == (
        "MatMul",
        "/device:GPU:0",
        ["x", "layer/MatMul/ReadVariableOp"],
    )
    assert node.attr["T"].type == types_pb2.DT_FLOAT
    assert list(graph.get_operation_by_name("out").node_def.input) == ["layer/add", "^first"]
    shapes = {n.name: n.attr["_output_shapes"].list.shape for n in graph.as_graph_def(add_shapes=True).node}
    assert [dim.size for dim in shapes["x"][0].dim] == [-1, 3]


def test_a_new_process_writes_graphs() -> None:
    program = (
        "import graphflow as gf; gf.constant(1.0, name='c'); print(gf.get_default_graph().as_graph_def())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 'name: "c"' in done.stdout


def test_names_scopes_and_return_elements() -> None:
    definition = example().as_graph_def()
    with gf.Graph().as_default() as graph:
        y, op = gf.import_graph_def(definition, return_elements=["halves:1", "out"]) or []
        assert (y.name, op.name) == ("import/halves:1", "import/out")
        gf.import_graph_def(definition)
        assert graph.get_operation_by_name("import_1/out").control_inputs[0].name == "import_1/first"
        with gf.name_scope("outer"):
            gf.import_graph_def(definition, name="inner")
        assert graph.get_tensor_by_name("outer/inner/x:0").dtype is gf.float32
        gf.import_graph_def(definition, name="")
        gf.import_graph_def(definition, name="")
        assert graph.get_tensor_by_name("x_1:0").op.type == "Placeholder"
        assert gf.constant(1.0, name="x").op.name == "x_2"
        for wanted in ("nothing", "out:7"):
            with pytest.raises(
                ValueError, match=f"Requested return_element '{wanted}' not found in graph_def"
            ):
                gf.import_graph_def(definition, return_elements=[wanted])


def test_input_map() -> None:
    definition = example().as_graph_def()
    with gf.Graph().as_default(), gf.Session() as sess:
        mine = gf.constant(np.ones((2, 3), np.float32))
        (out,) = (
            gf.import_graph_def(
                definition,
                input_map={"x": mine, "layer/b": [1.0, 2.0], "^first": mine.op},
                return_elements=["out"],
            )
            or []
        )
        sess.run("import/w/Assign")
        assert sess.run(out.outputs[0]).tolist() == [[7, 11]] * 2
        assert out.control_inputs == [mine.op]
        with pytest.raises(
            ValueError, match=r"Attempted to map inputs that were not found in graph_def: \[u:3\]"
        ):
            gf.import_graph_def(definition, input_map={"u:3": mine})
        with pytest.raises(TypeError):
            gf.import_graph_def(definition, input_map={mine: mine})
        with pytest.raises(TypeError, match="must be a GraphDef"):
            gf.import_graph_def([1])


def test_defaults_of_reader_and_writer() -> None:
    text = """
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "y" op: "MatMul" input: "x" input: "x" attr { key: "T" value { type: DT_FLOAT } }
               attr { key: "from_the_future" value { b: false } } }"""
    definition = text_format.Parse(text, gf.GraphDef())
    with (
        gf.Graph().as_default(),
        pytest.raises(ValueError, match="attribute 'from_the_future' that the op lacks"),
    ):
        gf.import_graph_def(definition)
    ops = text_format.Parse(
        """op { name: "MatMul" attr { name: "from_the_future" type: "bool" default_value { b: false } }
                attr { name: "transpose_b" type: "bool" default_value { b: true } } }""",
        op_def_pb2.OpList(),
    )
    with gf.Graph().as_default() as graph:
        gf.import_graph_def(definition, name="", producer_op_list=ops)
        attrs = graph.get_operation_by_name("y").attrs
        assert (
            attrs["transpose_b"] is True and attrs["transpose_a"] is False and "from_the_future" not in attrs
        )


CONST = """node { name: "%s" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
           attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape {} float_val: 1 } } } }"""
FLOAT = 'attr { key: "T" value { type: DT_FLOAT } }'
BAD = {
    "unknown ops, all at once": (
        'node { name: "a" op: "Nope" } node { name: "b" op: "Nope" } node { name: "c" op: "Neither" }',
        r"2 unknown op types: Nope \(2: a, b\); Neither \(1: c\)",
    ),
    "a cycle": (
        f'node {{ name: "a" op: "Neg" input: "c" {FLOAT} }} node {{ name: "b" op: "Neg" input: "a" {FLOAT} }} '
        f'node {{ name: "c" op: "Neg" input: "b" {FLOAT} }}',
        "has a cycle: .*a → b → c|has a cycle: .*b → c → a|has a cycle: .*c → a → b",
    ),
    "a cycle of control": (
        'node { name: "a" op: "NoOp" input: "^b" } node { name: "b" op: "NoOp" input: "^a" }', "has a cycle"
    ),
    "itself": (f'node {{ name: "a" op: "Neg" input: "a" {FLOAT} }}', "has a cycle: a → a"),
    "dangling": (
        f'node {{ name: "a" op: "Neg" input: "gone:2" {FLOAT} }} node {{ name: "b" op: "NoOp" input: "^lost" }}',
        "inputs from nodes that it lacks: 'a' takes 'gone:2'; 'b' takes '\\^lost'",
    ),
    "no such output": (CONST % "c" + f'node {{ name: "a" op: "Neg" input: "c:1" {FLOAT} }}', "output 1 of 'c'"),
    "two of a name": (CONST % "c" + CONST % "c", "two nodes called 'c'"),
    "a bad name": (CONST % "a b", "not a valid node name"),
    "an empty name": (CONST % "", "not a valid node name"),
    "too few inputs": (f'node {{ name: "a" op: "Neg" {FLOAT} }}', "it has 0 inputs, the op takes 1"),
    "too many inputs": (CONST % "c" + f'node {{ name: "a" op: "Neg" input: "c" input: "c" {FLOAT} }}', "2 inputs"),
    "wrong dtype": (
        CONST % "c" + 'node { name: "a" op: "Neg" input: "c" attr { key: "T" value { type: DT_INT32 } } }',
        "input 0 is 'import/c:0', float32.*expected int32",
    ),
    "dtype not allowed": (
        CONST % "c" + 'node { name: "a" op: "Neg" input: "c" attr { key: "T" value { type: DT_STRING } } }',
        "T must be one of",
    ),
    "no dtype": (CONST % "c" + 'node { name: "a" op: "Neg" input: "c" }', "lacks the attribute 'T'"),
    "an attr of another kind": (
        CONST % "c" + 'node { name: "a" op: "Neg" input: "c" attr { key: "T" value { i: 1 } } }',
        "attribute 'T': it is of kind int, expected type",
    ),
    "an empty attr": (CONST % "c" + 'node { name: "a" op: "Neg" input: "c" attr { key: "T" value { } } }', "no value"),
    "a dtype that we lack": (
        'node { name: "a" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT8_E5M2 } } }',
        "DT_FLOAT8_E5M2 is not supported",
    ),
    "a negative size": (
        'node { name: "a" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } '
        'attr { key: "shape" value { shape { dim { size: -7 } } } } }',
        "size -7",
    ),
    "an absurd constant": (
        'node { name: "a" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "value" value { '
        "tensor { dtype: DT_FLOAT tensor_shape { dim { size: 1000000000000 } } float_val: 1 } } } }",
        "claims the shape",
    ),
    "a constant of another dtype": (
        'node { name: "a" op: "Const" attr { key: "dtype" value { type: DT_INT32 } } attr { key: "value" value { '
        "tensor { dtype: DT_FLOAT tensor_shape { } float_val: 1 } } } }",
        "its value is float32, its dtype int32",
    ),
    "an absurd count of inputs": (
        CONST % "c" + f'node {{ name: "a" op: "AddN" input: "c" {FLOAT} '
        'attr { key: "N" value { i: 1000000000000 } } }',
        "N is 1000000000000, but it has 1 inputs",
    ),
    "an absurd count of outputs": (
        CONST % "c" + f'node {{ name: "a" op: "Unpack" input: "c" {FLOAT} '
        'attr { key: "num" value { i: 1000000000000 } } }',
        "num is 1000000000000",
    ),
    "data after control": (CONST % "c" + f'node {{ name: "a" op: "Neg" input: "^c" input: "c" {FLOAT} }}', "follows"),
    "shapes that do not fit": (
        CONST % "c" + f'node {{ name: "a" op: "MatMul" input: "c" input: "c" {FLOAT} }}', "node 'a' \\(MatMul\\)"
    ),
    "a bad device": (CONST % "c" + 'node { name: "n" op: "NoOp" device: "/nonsense:x:y" }', "/nonsense"),
    "a newer reader": ("versions { min_consumer: 100000 }", "needs a reader of version 100000"),
    "a function that is missing": (
        'node { name: "a" op: "PartitionedCall" attr { key: "f" value { func { name: "f" } } } }',
        "calls the function 'f', which the library lacks",
    ),
    "a function that calls itself": (
        'node { name: "a" op: "f" } library { function { signature { name: "f" } node_def { name: "b" op: "f" } } }',
        "the function 'f' calls itself",
    ),
    "a function with other arguments": (
        CONST % "c" + 'node { name: "a" op: "f" input: "c" } library { function { signature { name: "f" } } }',
        "gives 1 inputs to the function 'f', which takes 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_hold_together(case: str) -> None:
    text, message = BAD[case]
    definition = text_format.Parse(text, gf.GraphDef())
    with gf.Graph().as_default() as graph:
        kept = gf.constant(1.0, name="kept")
        before = nodes(graph)
        with pytest.raises(ValueError, match=message):
            gf.import_graph_def(definition)
        assert nodes(graph) == before and not kept.consumers()


def test_functions_that_unfold_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    library = [
        f'function {{ signature {{ name: "f{i}" }} '
        + "".join(f'node_def {{ name: "n{k}" op: "f{i + 1}" }} ' for k in range(10))
        + "}"
        for i in range(40)
    ]
    library.append('function { signature { name: "f40" } }')
    text = 'node { name: "a" op: "f0" } library { ' + " ".join(library) + "}"
    definition = text_format.Parse(text, gf.GraphDef())
    monkeypatch.setattr(preparation, "_MOST_NODES", 2000)
    with gf.Graph().as_default(), pytest.raises(ValueError, match="unfold to more than 2000 nodes"):
        gf.import_graph_def(definition)


def test_functions_stay_functions() -> None:
    definition = text_format.Parse(
        CONST % "x"
        + """
        node { name: "call" op: "PartitionedCall" input: "x" input: "^x"
               attr { key: "f" value { func { name: "f" attr { key: "T" value { type: DT_FLOAT } } } } }
               attr { key: "Tin" value { list { type: DT_FLOAT } } }
               attr { key: "Tout" value { list { type: [DT_FLOAT, DT_FLOAT] } } } }
        node { name: "y" op: "Neg" input: "call:1" attr { key: "T" value { type: DT_FLOAT } } }
        library { function {
          signature { name: "f" input_arg { name: "a" type_attr: "T" } output_arg { name: "p" type_attr: "T" }
                      output_arg { name: "q" type_attr: "T" } attr { name: "T" type: "type" } }
          node_def { name: "two" op: "AddV2" input: "a" input: "a" attr { key: "T" value { placeholder: "T" } } }
          node_def { name: "three" op: "AddV2" input: "two:z:0" input: "a"
                     attr { key: "T" value { placeholder: "T" } } }
          ret { key: "p" value: "two:z:0" } ret { key: "q" value: "three:z:0" } } }""",
        gf.GraphDef(),
    )
    with gf.Graph().as_default() as graph, gf.Session() as sess:
        gf.import_graph_def(definition, name="")
        assert sess.run(["call:0", "call:1", "y:0"]) == [2, 3, -3]
        assert graph.get_operation_by_name("call").type == "PartitionedCall"
        assert graph.get_tensor_by_name("call:1").shape == []


@given(st.binary(min_size=1, max_size=400))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused(data: bytes) -> None:
    with gf.Graph().as_default():
        try:
            gf.import_graph_def(data)
        except ValueError:
            pass


def test_damaged_files_never_crash() -> None:
    data = example().as_graph_def().SerializeToString()
    rng = random.Random(7)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with gf.Graph().as_default():
            try:
                gf.import_graph_def(bytes(damaged[: rng.randrange(1, len(damaged) + 1)]))
            except ValueError:
                pass


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    with pytest.raises(NotFoundError):
        read_message(str(path), graph_pb2.GraphDef)
    for contents in (b"", b"\xff" * 20, example().as_graph_def().SerializeToString()[:-3]):
        path.write_bytes(contents)
        with pytest.raises(DataLossError, match="graph.pb"):
            read_message(str(path), graph_pb2.GraphDef)
    path.write_text("node { nonsense")
    with pytest.raises(DataLossError, match="graph.pb"):
        read_message(str(path), graph_pb2.GraphDef, text=True)


def test_inputs_of_nodes() -> None:
    assert [parse_input(text) for text in ("a", "a:2", "^a", "a/b:0")] == [
        ("a", 0),
        ("a", 2),
        ("a", -1),
        ("a/b", 0),
    ]


def chain(length: int) -> Any:
    definition = gf.GraphDef()
    text_format.Parse(CONST % "n0", definition)
    for i in range(1, length):
        node = definition.node.add(name=f"n{i}", op="Neg", input=[f"n{i - 1}"])
        node.attr["T"].type = types_pb2.DT_FLOAT
    # The worst order for a reader that recurses or searches.
    ordered = list(definition.node)[::-1]
    shuffled = gf.GraphDef()
    shuffled.node.extend(ordered)
    return shuffled


def test_a_deep_chain_in_the_wrong_order() -> None:
    with gf.Graph().as_default() as graph:
        gf.import_graph_def(chain(20_000), name="")
        assert [op.name for op in graph.get_operations()[:3]] == ["n0", "n1", "n2"]
        assert len(graph.as_graph_def().node) == 20_000
