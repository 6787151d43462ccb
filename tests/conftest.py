"""What every test gets: a fresh default graph, a private object cache, fixed seeds, doors to the referees."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.referee import Referee
    from tests.tensorflow_process import TensorFlowProcess

SEED = 20151109
ROOT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile(
    "graphflow",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("graphflow")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the files under tests/golden/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes runs when it is asked for, by `-m zoo` and `-m soak`."""
    asked = config.option.markexpr or ""
    left = {mark for mark in ("zoo", "soak") if mark not in asked}
    # By its marks alone: keywords hold the names of folders too, and a clone may lie in one of that name.
    late = [item for item in items if any(item.get_closest_marker(mark) for mark in left)]
    if late:
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in late]


def pytest_report_header() -> str:
    return f"seed: {SEED}"


@pytest.fixture(autouse=True, scope="session")
def private_object_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps compiled code of tests out of the user's cache, and the user's cache out of the tests."""
    if "GRAPHFLOW_CACHE_DIR" in os.environ:
        yield
        return
    # The processes of one run share it, as the user's do.
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["GRAPHFLOW_CACHE_DIR"] = str(folder / "object-cache")
    yield
    del os.environ["GRAPHFLOW_CACHE_DIR"]


@pytest.fixture(autouse=True)
def fresh_start() -> None:
    """Every test begins with an empty default graph and the same random numbers."""
    np.random.seed(SEED)
    # Tests of the machine column work without the graph; they are not made to load it.
    graph = sys.modules.get("graphflow.graph")
    if graph is not None:
        graph.reset_default_graph()


@pytest.fixture
def random() -> np.random.Generator:
    """A generator with the fixed seed."""
    return np.random.default_rng(SEED)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with `tests/golden/<name>`; `--update-golden` rewrites the file instead."""

    def check(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"{path} is missing; make it with --update-golden and review it"
        assert text == path.read_text(), f"{path.name} differs; if that is meant, use --update-golden"

    return check


@pytest.fixture(scope="session")
def referee(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Referee]:
    """A TensorFlow process for all tests that have it run graphs of ours, see `tests/referee.py`."""
    interpreter = os.environ.get("GRAPHFLOW_TF_PYTHON")
    if not interpreter:
        pytest.skip("GRAPHFLOW_TF_PYTHON names no interpreter with TensorFlow; `make test` makes one")
    from tests.referee import Referee

    process = Referee(interpreter, tmp_path_factory.mktemp("referee"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def tensorflow_process() -> Iterator[TensorFlowProcess]:
    """A process in which TensorFlow is loaded, for all programs that tests run there."""
    interpreter = os.environ.get("GRAPHFLOW_TF_PYTHON")
    if not interpreter:
        pytest.skip("GRAPHFLOW_TF_PYTHON names no interpreter with TensorFlow; `make test` makes one")
    from tests.tensorflow_process import TensorFlowProcess

    process = TensorFlowProcess(interpreter)
    yield process
    process.close()


@pytest.fixture
def tensorflow(tensorflow_process: TensorFlowProcess, tmp_path: Path) -> Callable[..., str]:
    """Runs a Python program where TensorFlow is loaded and returns what it printed.

    The program finds its arguments in `sys.argv[1:]` and works in the test's own folder.
    """
    return functools.partial(tensorflow_process.run, folder=tmp_path)


@pytest.fixture
def fresh_python(tmp_path: Path) -> Callable[..., str]:
    """Runs a Python program in a new process of this interpreter and returns what it printed."""

    def run(program: str, *arguments: str | Path, timeout: float = 600.0, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"the program failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
