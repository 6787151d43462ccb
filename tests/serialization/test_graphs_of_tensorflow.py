"""Graphs that TensorFlow writes run here as there, also when they have gone through here: branches, loops, arrays,
functions and models that learn. `graphs_of_tensorflow.py` has them; TensorFlow runs it once for the whole file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.referee import Array, Case, Referee, Verdict, difference
from tests.tensorflow_process import TensorFlowProcess

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

PROGRAM = Path(__file__).with_name("graphs_of_tensorflow.py")
NAMES = re.findall(r"^@graph\ndef (\w+)|^graph\((\w+)\)", PROGRAM.read_text(), re.M)
NAMES = [first or second for first, second in NAMES]
LEFT_FROM_TF1 = frozenset(
    "Switch Merge Enter Exit NextIteration LoopCond VariableV2 StackV2 TensorArrayV3".split()
)


class Written:
    """What TensorFlow wrote of one graph, and what it made of it."""

    def __init__(self, folder: Path, name: str, values: Any) -> None:
        self.path = str(folder / f"{name}.pb")
        told = json.loads((folder / f"{name}.json").read_text())
        self.initializer: str = told["initializer"]
        self.has_threads: bool = told.get("starts", False)
        self.runs = [[told["fetches"][j] for j in run] for run in told["runs"]]
        self.feeds: list[dict[str, Any]] = [
            told["feeds"][i % len(told["feeds"])] for i in range(len(self.runs))
        ]
        self.values = [[values.get(f"{name}/{i}/{j}") for j in run] for i, run in enumerate(told["runs"])]

    def load(self) -> gf.Graph:
        graph = gf.Graph()
        with graph.as_default():
            gf.train.import_meta_graph(self.path)
        return graph

    def typed(self, graph: gf.Graph, feed: dict[str, Any]) -> dict[str, Array]:
        return {
            key: np.array(value, graph.get_tensor_by_name(key).dtype.as_numpy_dtype)
            for key, value in feed.items()
        }

    def differences(self, run: int, got: list[Any]) -> list[str]:
        pairs = zip(self.runs[run], got, self.values[run], strict=True)
        return [
            f"run {run}, {name}: {text}"
            for name, mine, theirs in pairs
            if theirs is not None and (text := difference(np.asarray(mine), theirs, 1e-4, 1e-5))
        ]


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, tensorflow_process: TensorFlowProcess
) -> dict[str, Written]:
    folder = tmp_path_factory.mktemp("graphs")
    tensorflow_process.run(PROGRAM.read_text(), folder, folder=folder)
    values = dict(np.load(folder / "values.npz"))
    return {name: Written(folder, name, values) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_it_means_here_what_it_means_there(name: str, written: dict[str, Written]) -> None:
    case = written[name]
    graph = case.load()
    assert not {operation.type for operation in graph.get_operations()} & LEFT_FROM_TF1
    problems: list[str] = []
    with gf.Session(graph=graph) as session, Running(case, session):
        for i, names in enumerate(case.runs):
            problems += case.differences(i, session.run(names, case.feeds[i]))
    assert not problems, "\n".join(problems[:10])


class Running:
    """Initialised variables, and threads that fill queues while it lasts, where a graph has any."""

    def __init__(self, case: Written, session: gf.Session) -> None:
        self.case = case
        self.session = session

    def __enter__(self) -> None:
        self.session.run(self.case.initializer)
        if self.case.has_threads:
            self.coordinator = gf.train.Coordinator()
            self.threads = gf.train.start_queue_runners(self.session, self.coordinator)

    def __exit__(self, *_: Any) -> None:
        if self.case.has_threads:
            self.coordinator.request_stop()
            self.session.close()
            self.coordinator.join(self.threads)


def judged(case: Written, graph: gf.Graph, initializer: str, runs: list[list[str]]) -> Case:
    """A graph with its feeds for TensorFlow: the initializer, then the runs, with queues filled beforehand."""
    steps = [[initializer]]
    feeds: list[dict[str, Array]] = [{}]
    for i, names in enumerate(runs):
        if case.has_threads and i % 4 == 0:
            steps.append(["fill"])  # four batches of six are what it puts in at once
            feeds.append({})
        steps.append(names)
        feeds.append(case.typed(graph, case.feeds[i]))
    return Case(graph, steps, feeds)


def compared(name: str, case: Written, verdict: Verdict) -> list[str]:
    """What differs between what TensorFlow made of a case of `judged` and of its own graph."""
    if verdict.error:
        return [f"{name}: TensorFlow refuses it: {verdict.message}"]
    values = [got for i, got in enumerate(verdict.values[1:]) if not case.has_threads or i % 5]
    return [f"{name}: {text}" for i, got in enumerate(values) for text in case.differences(i, got)]


def test_tensorflow_takes_back_what_it_wrote(written: dict[str, Written], referee: Referee) -> None:
    cases = {name: judged(case, case.load(), case.initializer, case.runs) for name, case in written.items()}
    problems = [
        text
        for name, verdict in referee.ask(cases).items()
        for text in compared(name, written[name], verdict)
    ]
    assert not problems, "\n".join(problems[:20])


LEARNING = ("perceptron", "convolutions", "lstm", "transformer", "a_queue_feeds_a_model")


def test_tensorflow_trains_models_that_we_write(written: dict[str, Written], referee: Referee) -> None:
    """The same models built here, with our gradients, optimizers and loops: the losses are those of TensorFlow's."""
    ours: dict[str, Any] = {"__name__": "written_here"}
    exec(PROGRAM.read_text().replace("import tensorflow.compat.v1 as tf", "import graphflow as tf"), ours)
    cases: dict[str, Case] = {}
    for name in LEARNING:
        with gf.Graph().as_default() as graph:
            fetches, _, runs, *_ = ours["GRAPHS"][name]()
            initializer = gf.global_variables_initializer().name
        assert len(runs) > 20
        names = [[fetches[j].name for j in run] for run in runs]
        cases[name] = judged(written[name], graph, initializer, names)
    problems = [
        text
        for name, verdict in referee.ask(cases).items()
        for text in compared(name, written[name], verdict)
    ]
    assert not problems, "\n".join(problems[:20])
