"""The demo reaches its goal, leaves what it promises, and nothing running, however it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import graphflow as gf
from graphflow import demo

ROOT = Path(__file__).resolve().parent.parent


def processes_about(folder: Path) -> list[str]:
    """Returns the command lines of live processes that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and entry.name != str(os.getpid()):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """A whole run of the demo: its folder, what it printed, its exit code."""
    folder = tmp_path_factory.mktemp("demo")
    text = io.StringIO()
    code = demo.run(folder, console=Console(file=text, width=120))
    return folder, text.getvalue(), code


def test_it_reads_held_out_digits_and_serves_the_same_bits(finished: tuple[Path, str, int]) -> None:
    folder, text, code = finished
    assert code == 0, text
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["accuracy"] >= 0.98
    assert summary["same_bits"]
    assert "equal the session's bit for bit" in text


def test_it_says_what_the_passes_did(finished: tuple[Path, str, int]) -> None:
    _, text, _ = finished
    for words in ("fold_constants", "→", "peak", "bytes", "known before the first run"):
        assert words in text, words


def test_it_leaves_pictures_a_trace_and_a_model(finished: tuple[Path, str, int]) -> None:
    folder, _, _ = finished
    for name in ("graph.svg", "loss.svg"):
        assert ElementTree.parse(folder / name).getroot().tag.endswith("}svg")
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "timeline.json").read_text())["traceEvents"]
    digits = demo.load()
    with gf.Session(graph=gf.Graph()) as session:
        gf.saved_model.loader.load(
            session, [gf.saved_model.tag_constants.SERVING], str(folder / "model" / "1")
        )
        (images,) = (op for op in session.graph.get_operations() if op.name == "images")
        answers = session.run("serving/digit:0", {images.outputs[0]: digits.test_images})
    assert np.mean(answers == digits.test_labels) >= 0.98


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_nothing_is_left_running(finished: tuple[Path, str, int]) -> None:
    folder, _, _ = finished
    assert processes_about(folder) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_stops_the_server(tmp_path: Path, number: int) -> None:
    program = f"""
import time
from pathlib import Path
from graphflow import demo
from rich.console import Console

demo.GOAL = 0.0

class Slow(demo.Client):
    def predict(self, *arguments, **named):
        print("serving", flush=True)
        time.sleep(60)

demo.Client = Slow
raise SystemExit(demo.run(Path({str(tmp_path)!r}), 1, Console(quiet=True)))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "serving" not in line:
            pass
        assert line, process.communicate()[1]
        assert any("serve" in command for command in processes_about(tmp_path))
        process.send_signal(number)
        assert process.wait(120) == 130
    deadline = time.monotonic() + 120
    while processes_about(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_about(tmp_path) == []


def test_a_server_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before it served"), demo.serving(tmp_path / "nothing"):
        pass
