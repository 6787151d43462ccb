"""What only the run can tell of reads and writes of TensorArrays is refused as TensorFlow 1 refuses it; see
`array_misuse`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import graphflow as gf
from graphflow import Session
from graphflow.compiler import compile_graph
from graphflow.functional_ops import Defun
from tests import array_misuse
from tests.tensorflow_process import TensorFlowProcess

REFUSED = re.compile(r"(?:index|element) (-?\d+)(?= twice| because|:|\.| but| in a list)")


def answer(session: Session, fetch: Any, number: int, feeds: dict[str, Any]) -> Any:
    """A value, or the element that is refused."""
    try:
        return session.run(fetch, {f"case{number}/{name}:0": value for name, value in feeds.items()}).tolist()
    except gf.errors.InvalidArgumentError as error:
        found = REFUSED.search(str(error))
        return str(error) if found is None else f"index {found[1]}"


def test_what_is_refused_by_the_run() -> None:
    with gf.Graph().as_default(), Session() as session:
        made = []
        for number, case in enumerate(array_misuse.cases(gf)):
            with gf.name_scope(f"case{number}"):
                made.append((number, case, case.make()))
        for number, case, fetch in made:
            got = answer(session, fetch, number, case.feeds)
            assert str(got).startswith("index") is case.refused, f"{case.name}: {got}"


def test_what_is_known_to_be_written_costs_nothing() -> None:
    n = gf.placeholder(gf.int32, [])
    for size, feeds in ((n, [n]), (gf.constant(4), [])):
        written = gf.while_loop(
            lambda i, _, size=size: i < size,
            lambda i, a: (i + 1, a.write(i, [1.0])),
            [0, gf.TensorArray(gf.float32, size, infer_shape=False)],
        )[1]
        program = compile_graph([written.stack()], feeds).program
        assert not program.effects
        assert not any(node.type == "GraphflowWritten" for node in program.nodes)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_tensorflow_refuses_the_same(tmp_path: Path, tensorflow_process: TensorFlowProcess) -> None:
    program = Path(array_misuse.__file__).read_text()
    tensorflow_process.run(program, tmp_path, folder=tmp_path)
    theirs = json.loads((tmp_path / "answers.json").read_text())
    message = gf.GraphDef()
    message.ParseFromString((tmp_path / "graph.pb").read_bytes())
    with gf.Graph().as_default() as graph, Session() as session:
        gf.import_graph_def(message, name="")
        for number, case in enumerate(array_misuse.cases(gf)):
            said = theirs[case.name]
            found = REFUSED.search(said.get("error", ""))
            assert (found is not None) is case.refused, case.name
            wanted = said["value"] if found is None else f"index {found[1]}"
            got = answer(session, graph.get_tensor_by_name(said["fetch"]), number, case.feeds)
            assert got == wanted, case.name


def test_each_call_of_a_function_has_its_own_arrays() -> None:
    @Defun(gf.float32, gf.int32, gf.int32)
    def read_two(x: Any, i: Any, j: Any) -> Any:
        array = gf.TensorArray(gf.float32, 3, element_shape=[]).unstack(x)
        return array.read(i) + array.read(j)

    i, j = gf.placeholder(gf.int32, []), gf.placeholder(gf.int32, [])
    total = read_two(gf.constant([1.0, 2.0, 3.0]), i, j) + read_two(gf.constant([4.0, 5.0, 6.0]), j, i)
    with Session() as session:
        assert session.run(total, {i: 0, j: 1}) == 12.0
        with pytest.raises(gf.errors.InvalidArgumentError, match="index 1 twice"):
            session.run(total, {i: 1, j: 1})
