"""Versions on disk and in memory: which are served, when they change places, and what is said of those that fail."""

from __future__ import annotations

import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphflow.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
)
from graphflow.serving import manager, versions
from graphflow.serving.manager import ModelManager, State
from graphflow.serving.model import Model
from graphflow.serving.server_config import ALL_VERSIONS, ModelConfig, VersionPolicy
from tests.serving.models import save_model


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder)
    return folder


@pytest.fixture
def base(tmp_path: Path, saved: Path) -> Path:
    shutil.copytree(saved, tmp_path / "base" / "1")
    return tmp_path / "base"


def managed(config: ModelConfig, **arguments: Any) -> ModelManager:
    models = ModelManager([config], poll_seconds=0, **arguments)
    models.start()
    return models


def states(models: ModelManager, name: str = "m") -> dict[int, str]:
    return {servable.version: servable.state.name for servable in models.status(name)}


def served(models: ModelManager, **which: Any) -> int:
    with models.hold("m", **which) as model:
        return model.version


def test_versions_on_disk(base: Path, tmp_path: Path) -> None:
    for name in ("007x", "temporary", "²"):
        (base / name).mkdir()
    (base / "9").write_text("no folder")
    assert versions.versions_in(base) == {1: str(base / "1")}
    with pytest.raises(NotFoundError, match="Could not find base path"):
        versions.versions_in(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    for folder, text in (
        (tmp_path / "empty", "No versions of servable found"),
        (base / "1", "is a model itself"),
    ):
        with pytest.raises(NotFoundError, match=text):
            managed(ModelConfig("m", str(folder)))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(), [3]),
        (VersionPolicy(latest=2), [3, 2]),
        (ALL_VERSIONS, [3, 2, 1]),
        (VersionPolicy(latest=None, specific=(1, 7)), [1]),
    ],
)
def test_policies(base: Path, saved: Path, policy: VersionPolicy, expected: list[int]) -> None:
    for version in ("2", "3"):
        shutil.copytree(saved, base / version)
    models = managed(ModelConfig("m", str(base), policy))
    assert list(states(models)) == expected
    assert served(models) == expected[0]
    models.close()


def test_a_new_version_takes_over_while_the_old_one_is_held(base: Path, saved: Path) -> None:
    models = managed(ModelConfig("m", str(base)))
    with models.hold("m") as old:
        shutil.copytree(saved, base / "2")
        models.look()
        assert states(models) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert served(models) == 2
        with pytest.raises(NotFoundError, match=r"Servable not found for request: Specific\(m, 1\)"):
            served(models, version=1)
        # Whoever holds it goes on with it.
        assert old.run("", {"x": np.ones((1, 3), np.float32)})["y"].shape == (1, 2)
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    graph = weakref.ref(old._graph)
    del old
    models.look()
    assert graph() is None  # its memory is not left for later
    shutil.rmtree(base / "2")
    models.look()  # what was taken back gives way to what is there
    assert served(models) == 1
    models.close()
    with pytest.raises(NotFoundError):
        served(models)


def test_the_old_version_serves_until_the_new_one_is_warm(base: Path, saved: Path) -> None:
    seen: list[tuple[int, dict[int, str]]] = []

    def warm_up(model: Model, last: Any) -> None:
        if model.version == 2:
            seen.append((served(models), states(models)))

    models = managed(ModelConfig("m", str(base)), warm_up=warm_up)
    shutil.copytree(saved, base / "2")
    models.look()
    assert seen == [(1, {2: "LOADING", 1: "AVAILABLE"})]
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    models.close()


def test_a_version_that_is_being_copied_waits(base: Path, saved: Path) -> None:
    clock = Clock()
    models = managed(ModelConfig("m", str(base)), clock=clock)
    variables = sorted((saved / "variables").iterdir())
    data = next(path for path in variables if ".data-" in path.name)
    (base / "2" / "variables").mkdir(parents=True)
    steps = [
        ("saved_model.pb", lambda: None),
        ("variables.index", lambda: shutil.copy(saved / "saved_model.pb", base / "2")),
        (
            "variables.data",
            lambda: shutil.copy(saved / "variables" / "variables.index", base / "2" / "variables"),
        ),
        (
            "bytes of variables",
            lambda: (base / "2" / "variables" / data.name).write_bytes(data.read_bytes()[:-5]),
        ),
    ]
    for lacks, copy in steps:
        copy()
        models.look()
        found = models.status("m", 2)[0]
        assert found.state is State.START and found.error is not None and lacks in found.error.message
        assert served(models) == 1
        clock.now += 1
    shutil.copy(data, base / "2" / "variables")
    models.look()
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    models.close()


def test_a_broken_version_leaves_the_old_one_and_says_why(base: Path, saved: Path) -> None:
    clock = Clock()
    models = managed(ModelConfig("m", str(base)), clock=clock)
    shutil.copytree(saved, base / "2")
    broken = base / "2" / "saved_model.pb"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    models.look()
    clock.now += manager.SETTLE  # nobody writes there any more
    models.look()
    found = models.status("m", 2)[0]
    assert found.state is State.END and found.attempts == 1
    assert isinstance(found.error, DataLossError) and "saved_model.pb" in found.error.message
    assert served(models) == 1
    models.look()  # not before its time
    assert models.status("m", 2)[0].attempts == 1
    for _ in range(10):
        clock.now += manager.RETRY_SECONDS
        models.look()
    assert models.status("m", 2)[0].attempts == 1 + manager.LOAD_RETRIES
    assert (manager.LOAD_RETRIES, manager.RETRY_SECONDS) == (5, 60)  # as TensorFlow Serving does
    broken.write_bytes(whole)  # mended: tried at once
    models.look()
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    models.close()


def test_labels(base: Path, saved: Path) -> None:
    shutil.copytree(saved, base / "2")
    config = ModelConfig("m", str(base), ALL_VERSIONS, {"stable": 1, "canary": 2})
    models = managed(config)
    assert served(models, label="stable") == 1 and served(models, label="canary") == 2
    assert served(models, version=0) == 2  # how some clients spell the newest
    with pytest.raises(InvalidArgumentError, match="Unrecognized servable version label: old"):
        served(models, label="old")
    with pytest.raises(InvalidArgumentError, match="not both"):
        served(models, version=1, label="stable")
    with pytest.raises(FailedPreconditionError, match="assign label to 3 of model m"):
        models.reload([ModelConfig("m", str(base), ALL_VERSIONS, {"stable": 3})])
    assert served(models, label="stable") == 1
    models.reload([ModelConfig("m", str(base), ALL_VERSIONS, {"stable": 2})])
    assert served(models, label="stable") == 2
    models._allow_labels_for_unavailable = True
    models.reload([ModelConfig("m", str(base), ALL_VERSIONS, {"stable": 3})])
    with pytest.raises(NotFoundError, match=r"Specific\(m, 3\)"):
        served(models, label="stable")
    models.close()


def test_reload_serves_exactly_what_it_says(base: Path, tmp_path: Path, saved: Path) -> None:
    models = managed(ModelConfig("m", str(base)))
    shutil.copytree(saved, tmp_path / "other" / "5")
    other = ModelConfig("n", str(tmp_path / "other"))
    models.reload([other])
    assert models.names() == ["n"] and states(models, "n") == {5: "AVAILABLE"}
    with pytest.raises(NotFoundError, match=r"Latest\(m\)"):
        served(models)
    with pytest.raises(NotFoundError, match="Could not find base path"):
        models.reload([ModelConfig("k", str(tmp_path / "nowhere")), other])
    assert states(models, "n") == {5: "AVAILABLE"} and not models.ready()
    models.close()


def test_an_old_version_is_served_where_the_newest_cannot_be(base: Path) -> None:
    (base / "2").mkdir()
    models = managed(ModelConfig("m", str(base)))
    assert states(models) == {2: "START", 1: "AVAILABLE"} and models.ready()
    models.close()


def test_where_there_is_no_room_for_two(base: Path, saved: Path) -> None:
    asked: list[str] = []

    def fits(path: str, freed: int) -> bool:
        assert bool(freed) == bool(asked)
        asked.append(path)
        return True  # the old one goes first

    models = managed(ModelConfig("m", str(base)), fits=fits)
    shutil.copytree(saved, base / "2")
    models.look()
    assert states(models)[2] == "AVAILABLE" and asked == [str(base / "1"), str(base / "2")]

    def never(path: str, freed: int) -> bool:
        raise OpError(None, None, "too large", 8)

    models._fits = never
    shutil.copytree(saved, base / "3")
    models.look()
    found = models.status("m", 3)[0]
    assert found.error is not None and found.error.message == "too large" and served(models) == 2
    models.close()


def test_swaps_under_load_fail_no_request(base: Path, saved: Path) -> None:
    models = managed(ModelConfig("m", str(base)))
    x = np.ones((2, 3), np.float32)
    wrong: list[str] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                with models.hold("m") as model:
                    model.run("", {"x": x})
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 5):
        shutil.copytree(saved, base / str(version))
        models.look()
    ended.set()
    for thread in threads:
        thread.join()
    assert not wrong and served(models) == 4
    models.close()


def test_the_thread_finds_new_versions(base: Path, saved: Path) -> None:
    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0.01)
    models.start()
    loaded = threading.Event()
    load = models._load

    def seen(path: str, name: str, version: int) -> Model:
        model = load(path, name, version)
        loaded.set()
        return model

    models._load = seen
    shutil.copytree(saved, base / "2.copy")
    (base / "2.copy").rename(base / "2")
    assert loaded.wait(20)
    models.close()
