"""The command line: what it prints, writes, and answers to bad input."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import graphflow as gf
from graphflow import cli, show
from graphflow.backends.gpu import found
from graphflow.version import __version__

RUNNER = CliRunner()


def run(*arguments: str | Path) -> tuple[int, str]:
    """Returns exit code and all output of `graphflow …`."""
    result = RUNNER.invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def build() -> tuple[gf.Tensor, gf.Tensor]:
    x = gf.placeholder(gf.float32, [None, 4], name="x")
    weights = gf.Variable(np.ones((4, 3), np.float32), name="weights")
    y = gf.identity(gf.nn.relu(gf.matmul(x, weights) * 1.0), name="y")
    return x, y


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    build()
    gf.train.write_graph(gf.get_default_graph(), str(tmp_path), "net.pb", as_text=False)
    return tmp_path / "net.pb"


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    x, y = build()
    gf.exp(y)  # no output of the signature
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": y})
    return tmp_path / "model"


def test_help_and_version() -> None:
    code, text = run("--help")
    assert code == 0
    for command in ("show", "serve", "demo", "bench"):
        assert command in text
    assert run("--version") == (0, f"{__version__}\n")


def test_devices_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        found, "driver", lambda: found.Driver("13.0", (found.FoundDevice(0, "A GPU", 1 << 34, (9, 0)),), "")
    )
    monkeypatch.setattr(found, "_in_toolkit", lambda file: "")
    monkeypatch.setattr(found.importlib.metadata, "version", lambda name: {"nvidia-cublas": "13.1"}[name])
    monkeypatch.setattr(found.importlib.metadata, "PackageNotFoundError", KeyError)
    found.missing.cache_clear()
    code, text = run("devices")
    found.missing.cache_clear()
    assert code == 0
    assert "GPU:0  A GPU, 16.0 GiB, compute capability 9.0" in text
    assert "nvidia-cublas 13.1" in text and "cupy-cuda13x: missing" in text
    assert "nothing runs on a GPU here: cupy-cuda13x is not installed" in text
    assert "pip install 'graphflow[gpu]'" in text


def test_module_is_the_command_line(fresh_python: Callable[..., str]) -> None:
    program = (
        "import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module('graphflow', run_name='__main__')"
    )
    assert fresh_python(program).strip() == __version__


def test_show_summarizes_a_graph(graph_file: Path) -> None:
    code, text = run("show", graph_file)
    assert code == 0, text
    assert "12 parameters" in text
    assert "MatMul" in text and "takes x:0" in text and "y:0" in text


def test_show_tells_passes_and_draws_each_stage(graph_file: Path, tmp_path: Path) -> None:
    code, text = run(
        "show", graph_file, "--passes", "--fetch", "y", "--svg", tmp_path / "net.svg", "--size", "5"
    )
    assert code == 0, text
    for words in ("simplify", "drop_identity", "peak", "float32[5,4]"):
        assert words in text, words
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert "net.svg" in drawn and "net-0-frozen.svg" in drawn and len(drawn) > 2
    for name in drawn:
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("}svg")


def test_show_takes_feeds_and_fetches_of_the_signature(saved_model: Path) -> None:
    code, text = run("show", saved_model, "--passes")
    assert code == 0, text
    assert "takes x:0" in text and "gives y:0" in text
    opened = show.open_model(saved_model)
    assert [feed.name for feed in opened.feeds] == ["x:0"]


def test_show_reads_meta_graphs_and_text(tmp_path: Path) -> None:
    build()
    gf.train.export_meta_graph(str(tmp_path / "net.meta"))
    gf.train.write_graph(gf.get_default_graph(), str(tmp_path), "net.pbtxt")
    for name in ("net.meta", "net.pbtxt"):
        code, text = run("show", tmp_path / name)
        assert code == 0, text
        assert "MatMul" in text


def test_show_writes_dot(graph_file: Path, tmp_path: Path) -> None:
    assert run("show", graph_file, "--dot", tmp_path / "net.dot")[0] == 0
    assert (tmp_path / "net.dot").read_text().startswith("digraph")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "no such file"), (b"", "empty"), (b"\xff\x00\xffgarbage", "GraphDef")],
)
def test_show_refuses_bad_files_in_one_line(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "bad.pb"
    if content is not None:
        path.write_bytes(content)
    code, text = run("show", path)
    assert code == 1
    assert text.startswith("graphflow show: ") and complaint in text
    assert "Traceback" not in text and len(text.splitlines()) == 1


def test_show_refuses_unknown_names(graph_file: Path) -> None:
    code, text = run("show", graph_file, "--passes", "--fetch", "z")
    assert code == 1 and "'z'" in text and "Traceback" not in text
    code, text = run("show", graph_file, "--passes", "--feed", "z")
    assert code == 1 and "z" in text and "Traceback" not in text


def test_serve_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    code, text = run("serve", "--model_base_path", tmp_path / "nothing")
    assert code == 1 and text.startswith("graphflow serve: ") and "nothing" in text


def test_bench_passes_its_arguments_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphflow", "bench", "report", "no-such-race"],
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "no-such-race.json" in done.stderr


def test_show_measures_a_model(saved_model: Path) -> None:
    code, text = run("show", saved_model, "--profile", "--size", "7")
    assert code == 0, text
    assert "GFLOP/s" in text and "MatMul" in text and "medians of 10 runs" in text
