"""Everything the README shows is true: its programs run and print what it says, its commands work, its tables are
those of the code. `--update-golden` rewrites the parts between `begin` and `end`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import graphflow as gf
from benchmarks import report
from graphflow import config, demo

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Returns (language, content) of every block."""
    return [(match[1], match[2]) for match in FENCE.finditer(README.read_text())]


def programs() -> list[tuple[str, str]]:
    """Returns each Python block with the text block that follows it at once."""
    text = README.read_text()
    found = []
    for match in FENCE.finditer(text):
        if match[1] == "python":
            output = re.match(r"\s*```text\n(.*?)^```$", text[match.end() :], re.MULTILINE | re.DOTALL)
            found.append((match[2], output[1] if output else ""))
    return found


def commands() -> list[str]:
    """Returns every line of every shell block, without its comment."""
    lines = [
        line.partition("#")[0].strip()
        for kind, content in blocks()
        if kind == "sh"
        for line in content.splitlines()
    ]
    return [line for line in lines if line]


@pytest.mark.parametrize(("program", "output"), programs(), ids=lambda value: value.split("\n")[0][:30])
def test_programs_print_what_is_shown(program: str, output: str, fresh_python: Callable[..., str]) -> None:
    assert output, "a program without its output"
    assert fresh_python(program) == output


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {kind for kind, _ in blocks()} <= {"python", "text", "sh"}
    heads = {line.split()[0] for line in commands()}
    assert heads == {"make", "python", ".venv/bin/pip", ".venv/bin/graphflow", "graphflow", "curl"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands():
        if line.startswith("make "):
            assert line.split()[1] in targets, line


def test_pip_lines_name_what_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in commands():
        if "/pip " in line:
            words = shlex.split(line)
            assert (ROOT / words[words.index("--constraint") + 1]).exists()
            for wanted in re.findall(r"\[(.+?)\]", line):
                assert set(wanted.split(",")) <= set(extras), line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's model in it, untrained."""
    path = tmp_path_factory.mktemp("readme")
    with gf.Graph().as_default() as graph, gf.Session(graph=graph) as session:
        net = demo.build()
        session.run(gf.global_variables_initializer())
        outputs = {"probabilities": net.probabilities, "digit": net.digit}
        gf.saved_model.simple_save(
            session, str(path / "demo-output/model/1"), {"images": net.images}, outputs
        )
    return path


def command_line(line: str) -> list[str]:
    """Returns what a line that begins with `graphflow` runs, in this interpreter."""
    return [sys.executable, "-m", "graphflow", *shlex.split(line)[1:]]


def test_show_lines_work(folder: Path) -> None:
    lines = [line for line in commands() if line.startswith("graphflow show")]
    assert lines
    for line in lines:
        done = subprocess.run(
            command_line(line),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "fold_constants" in done.stdout
        assert (folder / "reader.svg").read_text().startswith("<svg")


def test_the_check_line_works(folder: Path) -> None:
    (line,) = [line for line in commands() if line.startswith("graphflow serve --check")]
    done = subprocess.run(
        command_line(line),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "runs in batches" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    """The server of the README's `serve` line, on a free port; gives the address up to the port."""
    (line,) = [line for line in commands() if line.startswith("graphflow serve") and "--check" not in line]
    command = command_line(line.replace("8500", "0").replace("8501", "0"))
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield re.search(r"http://[^/]+", server.stdout.readline())[0]  # type: ignore[index]
        finally:
            server.terminate()
            assert server.wait(120) == 0


def test_curl_lines_are_answered(served: str) -> None:
    lines = [line for line in commands() if line.startswith("curl")]
    assert lines
    for line in lines:
        url = shlex.split(line)[-1].replace("http://localhost:8501", served)
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(url, timeout=120) as answer:
                    assert json.loads(answer.read())
                break
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def benchmark_part() -> str:
    """Returns the measured part of the README, from the committed results."""
    results = json.loads((ROOT / "benchmarks" / "results" / "cpu.json").read_text())
    return (
        f"{report.table(results)}\n{report.describe(results)}\n\n"
        '<img src="benchmarks/results/cpu.svg" width="760" alt="times relative to graphflow">\n\n'
        f"Before the first result:\n\n{report.startup_table(results)}"
    )


def environment_part() -> str:
    """Returns the table of environment variables."""
    lines = ["| | default | |", "|---|---|---|"]
    lines += [f"| `{entry.name}` | `{entry.default}` | {entry.meaning} |" for entry in config.VARIABLES]
    return "\n".join(lines).replace("| `` |", "| |") + "\n"


@pytest.mark.parametrize(
    ("name", "make"), [("benchmarks", benchmark_part), ("environment", environment_part)]
)
def test_generated_parts(name: str, make: Callable[[], str], request: pytest.FixtureRequest) -> None:
    text = README.read_text()
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, _, rest = text.partition(begin)
    shown, _, after = rest.partition(end)
    if request.config.getoption("--update-golden"):
        README.write_text(before + begin + make() + end + after)
    else:
        assert shown == make(), f"renew the README's {name} with --update-golden"


def test_the_op_types_are_counted(fresh_python: Callable[..., str]) -> None:
    """TensorFlow's op types under public names; those of passes and of its optimized graphs are left out."""
    count = fresh_python(
        "import graphflow.ops\n"
        "from graphflow.opdef import registered_ops\n"
        "names = [str(getattr(item, 'name', item)) for item in registered_ops()]\n"
        "print(sum(not name.startswith(('Graphflow', '_')) for name in names))"
    )
    assert f"{count.strip()} op types" in README.read_text()


def test_dependencies_are_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    section = README.read_text().partition("## Dependencies")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    explained: dict[str, set[str]] = {"": set()}
    for row in rows[1:]:
        extra, _, names = row.rpartition(":")
        explained.setdefault(extra.strip(" *"), set()).update(
            name.strip() for name in names.split(",") if name.strip()
        )
    declared = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in declared.items():
        names = {re.match(r"[A-Za-z0-9_-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
        assert explained[extra] == names - {"graphflow"}, extra


def test_paths_in_the_text_exist() -> None:
    text = FENCE.sub("", README.read_text())
    named = re.findall(
        r"`((?:graphflow|tests|benchmarks|docs)/[\w./]+)`|\]\(([\w./]+)\)|src=\"([\w./]+)\"", text
    )
    paths = {path for group in named for path in group if path}
    assert len(paths) > 5
    missing = [path for path in sorted(paths) if not (ROOT / path).exists()]
    assert not missing, missing
