"""TensorBoard itself reads what a `FileWriter` wrote: by its HTTP interface, and its graph page in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOSSES = [3.5, 2.25, 1.125]
RAMP = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)


def write(folder: Path) -> None:
    """Trains a little layer and writes a summary of each kind, the graph, and the metadata of one run."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None, 4], name="x")
        with gf.variable_scope("layer"):
            kernel = gf.get_variable("kernel", [4, 2], initializer=gf.ones_initializer())
            hidden = gf.nn.relu(gf.matmul(x, kernel), name="hidden")
        loss = gf.reduce_mean(hidden, name="loss")
        shown = gf.placeholder(gf.float32, [], name="shown")
        gf.summary.scalar("training/loss", shown)
        gf.summary.histogram("kernel", kernel)
        gf.summary.image("ramp", gf.constant(RAMP))
        gf.summary.text("note", gf.constant("# graphs *stay*"))
        gf.summary.audio("tone", gf.sin(gf.linspace(0.0, 500.0, 800))[gf.newaxis, :, gf.newaxis], 8000.0)
        merged = gf.summary.merge_all()
        with gf.Session() as session, gf.summary.FileWriter(str(folder), graph) as writer:
            session.run(gf.global_variables_initializer())
            for step, value in enumerate(LOSSES):
                writer.add_summary(session.run(merged, {shown: value}), step)
            metadata = gf.RunMetadata()
            options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
            session.run(loss, {x: np.ones([3, 4])}, options=options, run_metadata=metadata)
            writer.add_run_metadata(metadata, "traced", 2)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard that shows one run."""
    pytest.importorskip("tensorboard")
    logs = tmp_path_factory.mktemp("logs")
    write(logs / "first")
    # The address is printed once the server answers; its own writer threads log beside it. No TensorFlow is looked for.
    program = (
        "import sys, types; sys.modules['tensorboard.compat.notf'] = types.ModuleType('notf');"
        "from tensorboard.main import run_main; run_main()"
    )
    command = [sys.executable, "-c", program, "--logdir", str(logs), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--load_fast", "false"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        address = None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                address = found[0]
                break
        assert address, "".join(lines)
        yield address
    finally:
        process.kill()
        process.communicate()


def ask(board: str, path: str, **parameters: Any) -> Any:
    """Returns what TensorBoard answers: JSON taken apart, other things as bytes."""
    url = f"{board}data/{path}" + (f"?{urllib.parse.urlencode(parameters)}" if parameters else "")
    with urllib.request.urlopen(url) as answer:
        body = answer.read()
        return json.loads(body) if "json" in answer.headers["Content-Type"] else body


def test_tensorboard_reads_every_kind_of_summary(board: str) -> None:
    deadline = time.monotonic() + 120
    while not (plugins := ask(board, "plugins_listing"))["graphs"]["enabled"]:  # the folder is read meanwhile
        assert time.monotonic() < deadline, plugins
        time.sleep(0.1)
    for plugin in ("scalars", "histograms", "images", "text", "audio", "graphs"):
        assert plugins[plugin]["enabled"], plugin

    assert ask(board, "runs") == ["first"]
    scalars = ask(board, "plugin/scalars/scalars", run="first", tag="training/loss")
    assert [point[1:] for point in scalars] == [[step, value] for step, value in enumerate(LOSSES)]

    histograms = ask(board, "plugin/histograms/histograms", run="first", tag="kernel")
    assert [step for _, step, _ in histograms] == [0, 1, 2]
    for _, _, buckets in histograms:
        assert sum(count for _, _, count in buckets) == 8  # all ones, in the bucket around 1
        assert all(left <= 1 <= right for left, right, count in buckets if count)

    (tag,) = ask(board, "plugin/images/tags")["first"]
    assert tag == "ramp/image/0"
    images = ask(board, "plugin/images/images", run="first", tag=tag, sample=0)
    assert [image["step"] for image in images] == [0, 1, 2]
    picture = ask(board, "plugin/images/individualImage?" + images[0]["query"])
    assert picture.startswith(b"\x89PNG")

    assert "graphs <em>stay</em>" in ask(board, "plugin/text/text", run="first", tag="note")[0]["text"]

    (tag,) = ask(board, "plugin/audio/tags")["first"]
    sound = ask(board, "plugin/audio/audio", run="first", tag=tag, sample=0)[0]
    assert sound["contentType"] == "audio/wav"
    assert ask(board, "plugin/audio/individualAudio?" + sound["query"]).startswith(b"RIFF")


def test_tensorboard_reads_the_graph_and_the_metadata_of_a_run(board: str) -> None:
    assert ask(board, "plugin/graphs/info")["first"]["run_graph"]
    graph = ask(board, "plugin/graphs/graph", run="first").decode()
    for name in ("layer/hidden", "layer/kernel", "loss"):
        assert f'name: "{name}"' in graph
    assert list(ask(board, "plugin/graphs/info")["first"]["tags"]) == ["traced"]
    traced = ask(board, "plugin/graphs/run_metadata", run="first", tag="traced").decode()
    assert "step_stats" in traced
    assert 'node_name: "loss"' in traced


class Browser:
    """A browser without a window, spoken to over two pipes."""

    def __init__(self, folder: Path) -> None:
        # The browser reads from its descriptor 3 and writes to its 4.
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe"
        command = f'exec "$0" {options} --user-data-dir="$1" about:blank 3<&{theirs_in} 4>&{theirs_out}'
        assert CHROMIUM is not None
        self.process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, str(folder)],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read = b""
        self._count = 0

    def call(self, method: str, session: str = "", **parameters: Any) -> Any:
        """Returns what the browser answers to a command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                part = os.read(self._in, 1 << 16)
                assert part, "the browser has ended"
                self._read += part
            one, _, self._read = self._read.partition(b"\0")
            answer = json.loads(one)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._in)
        os.close(self._out)


# The names of the nodes that are drawn, wherever in the page's nested parts they stand.
DRAWN = """
(function names(root) {
  let found = [];
  for (const part of root.querySelectorAll("*")) {
    if (part.matches("g.node[data-name]")) found.push(part.getAttribute("data-name"));
    if (part.shadowRoot) found = found.concat(names(part.shadowRoot));
  }
  return found;
})(document)
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_graph_page_draws_the_graph(board: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    try:
        target = browser.call("Target.createTarget", url=f"{board}?darkMode=false#graphs&run=first")[
            "targetId"
        ]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        drawn: list[str] = []
        deadline = time.monotonic() + 120
        while "layer" not in drawn and time.monotonic() < deadline:
            time.sleep(0.2)
            value = browser.call("Runtime.evaluate", session, expression=DRAWN, returnByValue=True)
            drawn = value["result"].get("value") or []
    finally:
        browser.close()
    assert {"x", "layer", "loss"} <= set(drawn)
