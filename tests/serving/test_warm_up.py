"""A version's first runs: recorded requests, those of the version before, made-up ones; and whether it fits at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphflow import tfrecord
from graphflow.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from graphflow.serialization.proto import example_pb2, prediction_log_pb2
from graphflow.serialization.tensor_proto import array_to_proto
from graphflow.serving import memory_check, warm_up
from graphflow.serving.manager import ModelManager
from graphflow.serving.memory_check import MemoryCheck, needed_bytes
from graphflow.serving.model import Model
from graphflow.serving.server_config import ModelConfig
from tests.serving.models import save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "1"
    save_model(folder)
    return folder


@pytest.fixture
def base(tmp_path: Path, saved: Path) -> Path:
    shutil.copytree(saved, tmp_path / "1")
    return tmp_path


def logs() -> list[Any]:
    """A record of each kind."""
    found = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    predict = found[0].predict_log.request
    predict.model_spec.signature_name = "total"
    predict.inputs["x"].CopyFrom(array_to_proto(np.ones((5, 3), np.float32)))
    example = example_pb2.Example()
    example.features.feature["x"].float_list.value.extend([1, 2, 3])
    for log, kind in ((found[1], "classify"), (found[2], "regress")):
        request = getattr(log, f"{kind}_log").request
        request.model_spec.signature_name = kind
        request.input.example_list.examples.append(example)
    several = found[3].multi_inference_log.request
    several.input.example_list.examples.append(example)
    for kind in ("classify", "regress"):
        task = several.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.signature_name = kind
    return found


def write(folder: Path, records: list[bytes]) -> Path:
    file = folder / warm_up.FILE
    file.parent.mkdir(exist_ok=True)
    with tfrecord.TFRecordWriter(file) as writer:
        for record in records:
            writer.write(record)
    return file


def test_recorded_requests_run(base: Path) -> None:
    write(base / "1", [log.SerializeToString() for log in logs()])
    model = Model(base / "1")
    ran: list[tuple[str, int]] = []
    run = model.run

    def seen(name: str, inputs: Any, deadline: float | None = None) -> Any:
        ran.append((name, len(next(iter(inputs.values())))))
        return run(name, inputs, deadline)

    model.run = seen  # type: ignore[method-assign]
    warm_up.warm_up(model)
    assert ran == [("total", 5), ("classify", 1), ("regress", 1), ("classify", 1), ("regress", 1)]
    model.close()


def test_a_record_that_fails_is_the_versions_error(base: Path, saved: Path) -> None:
    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0, warm_up=warm_up.warm_up)
    models.start()
    wrong = logs()[0]
    wrong.predict_log.request.model_spec.signature_name = "nothing"
    shutil.copytree(saved, base / "2")
    write(base / "2", [wrong.SerializeToString()])
    models.look()
    error = models.status("m", 2)[0].error
    assert (
        isinstance(error, FailedPreconditionError)
        and 'fails: Serving signature name: "nothing"' in error.message
    )
    with models.hold("m") as model:
        assert model.version == 1
    models.close()


def test_files_of_records_that_are_none(base: Path) -> None:
    file = write(base / "1", [b"\xff\xff\xff"])
    with pytest.raises(InvalidArgumentError, match="record 0 is no PredictionLog"):
        list(warm_up.recorded(base / "1"))
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(DataLossError):
        list(warm_up.recorded(base / "1"))
    write(base / "1", [b""] * (warm_up.MOST_RECORDS + 1))
    with pytest.raises(InvalidArgumentError, match="more than 1000 records"):
        list(warm_up.recorded(base / "1"))


def test_a_new_version_is_warmed_with_what_the_old_one_was_last_asked(base: Path, saved: Path) -> None:
    given: list[dict[str, Any]] = []
    models = ModelManager(
        [ModelConfig("m", str(base))], poll_seconds=0, warm_up=lambda model, last: given.append(dict(last))
    )
    models.start()
    with models.hold("m") as model:
        model.run("", {"x": np.full((7, 3), 2, np.float32)})
        model.run("total", {"x": np.zeros((90_000, 3), np.float32)})  # too large to be kept
    shutil.copytree(saved, base / "2")
    models.look()
    assert given[0] == {} and list(given[1]) == ["serving_default"]
    assert given[1]["serving_default"][0].shape == (7, 3)
    models.close()


def test_bits_that_depend_on_the_batch_end_batching(base: Path) -> None:
    model = Model(base / "1")
    signature = model.signatures["serving_default"]
    run = signature.function
    warm_up.warm_up(model)
    assert signature.batcher is not None
    signature.function = lambda x: [y + np.float32(1e-6 * (len(x) > 1)) for y in run(x)]
    warm_up.warm_up(model)
    assert signature.batcher is None and "depend on how many rows run together" in signature.alone
    model.close()


def test_a_process_starts_with_single_requests(base: Path) -> None:
    """What runs together is tried when the first requests may be answered; of later versions, before."""
    warming = warm_up.WarmUp()
    first, second = Model(base / "1"), Model(base / "1")
    warming(first, {})
    signature = first.signatures["serving_default"]
    assert signature.batcher is None and "not been run with several" in signature.alone
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    alone = first.run("", {"x": x})
    warming.finish()
    assert signature.batcher is not None and not signature.alone
    together = first.run("", {"x": x})
    assert all(together[name].tobytes() == alone[name].tobytes() for name in alone)
    warming(second, {})
    assert second.signatures["serving_default"].batcher is not None
    first.close()
    second.close()


def test_memory_is_computed_before_loading(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = needed_bytes(saved, 1), needed_bytes(saved, 1 << 20)
    assert 0 < few < 1 << 20
    assert many - few >= (3 + 2) * 4 * ((1 << 20) - 1000)  # x and y of so many rows
    monkeypatch.setattr(memory_check, "RESERVE", 0)
    free = few + 10
    assert MemoryCheck(free=lambda: free)(str(saved), 0) is False
    free = few - 10
    with pytest.raises(ResourceExhaustedError, match="would fit if the old version went first"):
        MemoryCheck(free=lambda: free)(str(saved), 100)
    assert MemoryCheck(True, free=lambda: free)(str(saved), 100) is True
    with pytest.raises(ResourceExhaustedError, match="MiB$"):
        MemoryCheck(True, free=lambda: free)(str(saved), 0)
    assert memory_check.free_bytes() > 0
