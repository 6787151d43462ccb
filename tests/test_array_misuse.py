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
from tests import array_misuse
from tests.tensorflow_process import TensorFlowProcess

SECOND = re.compile(r"index \d+ (?=twice|because it has already been written)")


def answer(session: Session, fetch: Any, number: int, feeds: dict[str, Any]) -> Any:
    """A value, or what is said of a second access."""
    try:
        return session.run(fetch, {f"case{number}/{name}:0": value for name, value in feeds.items()}).tolist()
    except gf.errors.InvalidArgumentError as error:
        found = SECOND.search(str(error))
        return str(error) if found is None else found.group()


def test_second_accesses_are_refused_by_the_run() -> None:
    with gf.Graph().as_default(), Session() as session:
        for number, case in enumerate(array_misuse.cases(gf)):
            with gf.name_scope(f"case{number}"):
                got = answer(session, case.make(), number, case.feeds)
            assert str(got).startswith("index") is case.refused, f"{case.name}: {got}"


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
            found = SECOND.search(said.get("error", ""))
            assert (found is not None) is case.refused
            wanted = said["value"] if found is None else found.group()
            got = answer(session, graph.get_tensor_by_name(said["fetch"]), number, case.feeds)
            assert got == wanted, case.name
