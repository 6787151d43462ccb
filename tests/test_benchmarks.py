"""The race itself: workers answer, wrong results are caught, tables and plots show what was measured."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks import __main__ as commands
from benchmarks import gpu, peak, race, report, roofline, scaling, serving, sizes
from benchmarks.peers import PEERS
from benchmarks.workloads import BY_NAME
from graphflow.serving.manager import ModelManager
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from tests.serving.models import rest


def quiet(text: str) -> None:
    """Says nothing."""


def cell(*rounds: float, note: str = "") -> race.Cell:
    return race.Cell(rounds_ms=list(rounds), least_ms=min(rounds, default=0.0), note=note)


RESULTS: dict[str, Any] = {
    "date": "2026-01-31",
    "machine": {"processor": "abacus", "system": "Linux x86_64", "python": "3.11.7"},
    "threads": 2,
    "rounds": 3,
    "versions": {"graphflow": "0.1.0", "torch": "2.13.0+cpu", "jax": "0.10.2"},
    "workloads": {
        "mlp": {
            "peers": {
                "graphflow": {"median_ms": 0.7},
                "jax": {"median_ms": 1.234},
                "torch": {"median_ms": 123.4},
            },
            "best_peer": "jax",
            "ratio": 0.567,
        },
        "softmax": {
            "peers": {"graphflow": {"median_ms": 0.05}, "jax": {"note": "wrong: far away"}},
            "best_peer": None,
            "ratio": None,
        },
    },
    "startup": {
        "graphflow": {
            "import_s": 0.0521,
            "first_step_cold_s": 0.5,
            "first_step_warm_s": 0.25,
            "peak_rss_mb": 90.4,
            "installed_mb": 263.0,
        }
    },
}


def test_table_names_the_best_peer_and_the_ratio() -> None:
    lines = report.table(RESULTS).splitlines()
    assert lines[0] == "| ms | graphflow 0.1.0 | torch 2.13.0 | jax 0.10.2 | ratio to best peer |"
    assert lines[2] == "| mlp | 0.700 | 123 | *1.23* | **0.57** |"
    assert lines[3] == "| softmax | 0.0500 | – | – | – |"
    assert report.startup_table(RESULTS).splitlines()[2] == "| graphflow | 0.052 | 0.50 | 0.25 | 90 | 263 |"
    assert "abacus, 2 threads" in report.describe(RESULTS)


def test_first_steps_are_compared_with_the_fastest_peer_at_the_same() -> None:
    rows = {
        "graphflow": {"workload": "mlp", "first_step_cold_s": 0.5, "first_step_warm_s": 0.3},
        "jax": {"workload": "mlp", "first_step_cold_s": 1.0, "first_step_warm_s": 0.9},
        "torch": {"workload": "mlp", "first_step_cold_s": 2.0, "first_step_warm_s": 0.6},
        "onnxruntime": {"workload": "softmax", "first_step_cold_s": 0.1, "first_step_warm_s": 0.1},
    }
    assert report.startup_ratios({"startup": rows}) == (
        "First mlp step, cold: 0.50 of jax's time.\n"
        "First mlp step, with what is kept on disk: 0.50 of torch's time.\n"
    )


def test_plot_is_drawn(tmp_path: Path) -> None:
    report.plot(RESULTS, tmp_path / "race")
    assert ElementTree.parse(tmp_path / "race.svg").getroot().tag.endswith("}svg")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")


def test_ratio_is_taken_round_by_round() -> None:
    # The machine is twice as slow in the second round: the ratio does not notice.
    outcome = race._ratio(
        {"graphflow": cell(1.0, 2.0, 1.1), "jax": cell(2.0, 4.0, 2.0), "torch": cell(9.0, 9.0, 9.0)}
    )
    assert outcome == {"best_peer": "jax", "ratio": 0.5, "ratio_range": [0.5, 0.55]}
    assert race._ratio({"graphflow": cell(1.0), "jax": cell(note="wrong")}) == {
        "best_peer": None,
        "ratio": None,
    }


def test_a_result_far_from_the_others_is_seen() -> None:
    good = np.linspace(0.0, 1.0, 5)
    found = race.deviations(BY_NAME["softmax"], {"a": good, "b": good + 1e-7, "c": good * 2.0})
    assert found["a"] <= 1e-6 and found["b"] <= 1e-6 and found["c"] > 0.5
    with pytest.raises(ValueError, match="different sizes"):
        race.deviations(BY_NAME["softmax"], {"a": good, "b": good[:3]})


def test_unknown_peers_are_refused() -> None:
    assert race.available([]) == list(PEERS)
    with pytest.raises(ValueError, match="no such peer: theano; there are graphflow, "):
        race.available(["theano"])


def test_a_race_of_one_runs_every_small_workload() -> None:
    names = ["dispatch_scalar", "dispatch_vector", "softmax_regression"]
    results = race.race(names, ["graphflow"], threads=1, rounds=2, seconds=0.01, patience=0.0, say=quiet)
    for name in names:
        found = results["workloads"][name]["peers"]["graphflow"]
        assert found["median_ms"] > 0 and len(found["rounds_ms"]) == 2, found
        assert found["deviation"] == 0.0


@pytest.mark.tensorflow
@pytest.mark.slow
def test_tensorflow_gets_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = os.environ.get("GRAPHFLOW_TF_PYTHON")
    if not interpreter:
        pytest.skip("GRAPHFLOW_TF_PYTHON names no interpreter with TensorFlow; `make test` makes one")
    monkeypatch.setenv("BENCH_PYTHON", interpreter)
    # One of each kind: every race compares all of them before it times any.
    names = [
        "dispatch_scalar", "softmax_regression", "mlp", "lenet", "softmax", "layer_norm", "resnet18_b1", "lstm_while",
        "small_loop", "transformer_train", "embedding",
    ]  # fmt: skip
    results = race.race(
        names, ["graphflow", "tensorflow"], threads=2, rounds=0, seconds=0.0, patience=0.0, say=quiet
    )
    for name in names:
        for peer in ("graphflow", "tensorflow"):
            found = results["workloads"][name]["peers"][peer]
            assert "note" not in found, f"{name}, {peer}: {found}"
            assert found["deviation"] <= BY_NAME[name].tolerance


def test_scaling_measures_each_stage() -> None:
    found = scaling.stages(400)
    assert set(found) >= {
        "build",
        "differentiate",
        "compile and first run",
        "second run",
        "save",
        "operations",
    }
    assert 200 < found["operations"] < 800


def test_growth_of_graphs_is_drawn(tmp_path: Path) -> None:
    rows = {"100": {"build": 0.1, "operations": 90}, "1000": {"build": 1.1, "operations": 1001}}
    scaling.plot({"sizes": rows}, tmp_path / "scaling")
    assert ElementTree.parse(tmp_path / "scaling.svg").getroot().tag.endswith("}svg")


def test_new_batches_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MODELS", (("mlp_train", (8,), ((5,), (12,))),))
    with gf.Graph().as_default():
        rows = sizes.new_batches("mlp_train", 1)
    assert [row["batch"] for row in rows] == ["5", "12"]
    assert all(row["first_ms"] > 0 and row["later_ms"] > 0 for row in rows)
    lines = sizes.table(
        {
            "new_batches": {
                "mlp": {"compiled_for": 8, "rows": [{"batch": 5, "first_ms": 9.0, "later_ms": 1.0}]}
            }
        }
    ).splitlines()
    assert lines[2] == "| mlp | 8 | 5 | 9.00 | 1.00 | **8.00** |"


def test_growing_batches_and_tensors_are_timed_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "BATCHES", (1, 3))
    monkeypatch.setattr(sizes, "ELEMENTS", (10, 1000))
    found = sizes.growth(1, ["graphflow"], 0.0, quiet)
    assert set(found["mlp_of_batch"]["graphflow"]) == {"1", "3"}
    assert set(found["elements"]["graphflow"]) == {"10", "1000"}
    sizes.plot({"growth": found}, tmp_path / "sizes")
    assert ElementTree.parse(tmp_path / "sizes.svg").getroot().tag.endswith("}svg")


def test_shares_of_the_peak_are_measured_and_shown(tmp_path: Path) -> None:
    weights = np.ones((64, 64), np.float32)
    row = peak.Meter(1).measure("64", 2.0 * 64**3, (64, 64), weights, gf.matmul)
    assert row["ms"] > 0 and row["gflops"] == pytest.approx(2e-6 * 64**3 / row["ms"])
    assert 0 < row["share"] < 2
    results = {
        "threads": {"1": {name: [row | {"share": 0.84}, row | {"share": 1.5}] for name in peak.GROUPS}}
    }
    lines = peak.table(results).splitlines()
    assert lines[0].startswith("| 1 thread |") and len(lines) == 2 + 2 * len(peak.GROUPS)
    assert lines[2].endswith("| **84.0%** |") and lines[3].endswith("| 150.0% |")
    peak.plot(results, tmp_path / "peak")
    assert ElementTree.parse(tmp_path / "peak.svg").getroot().tag.endswith("}svg")


def test_resnet50_has_23_convolutions_each_once() -> None:
    assert len(set(peak.RESNET50)) == len(peak.RESNET50) == 23


def test_steps_lie_under_the_roofline(tmp_path: Path) -> None:
    with gf.Graph().as_default():
        found = roofline.steps("softmax_regression", 1)
    product = max(found["steps"], key=lambda step: step["flops"])
    # [128, 784] by [784, 10], and what the epilogue adds.
    assert 2 * 128 * 784 * 10 <= product["flops"] < 2.1 * 128 * 784 * 10
    assert found["seconds"] > 0 and found["machine"]["gflops"] > 0
    roofline.plot({"workloads": {"softmax_regression": found}}, tmp_path / "roofline")
    assert ElementTree.parse(tmp_path / "roofline.svg").getroot().tag.endswith("}svg")


def test_servers_answer_under_load(tmp_path: Path) -> None:
    """What is sent is understood, and what comes back is the session's bit for bit."""
    wanted = serving.write_models(tmp_path, ["mlp"])["mlp"]
    models = ModelManager([ModelConfig("m", str(tmp_path / "mlp"))], poll_seconds=0)
    models.start()
    load = serving.Load()
    throughput: dict[str, Any] = {}
    try:
        with rest(Service(models)) as port:
            for wire in ("json", "binary"):
                found = load(serving.SERVERS[0], port, wire, 2, 0.02)
                answer = bytes.fromhex(found["answer"])
                assert serving.numbers_of("graphflow", wire, answer).tobytes() == wanted.tobytes()
                throughput[wire] = {"2": {"graphflow": found, "triton": {**found, "per_second": 1e9}}}
    finally:
        load.close()
        models.close()
    servers = {"mlp": {"graphflow": {"first_answer_s": 1.0, "rss_mb": 2.0, "pss_mb": 1.0}}}
    results = {"throughput": {"mlp": throughput}, "servers": servers}
    assert serving.ratios(throughput["json"]["2"]) == (found_rate(throughput, "json") / 1e9, 1.0)
    assert "| mlp binary, 2 clients |" in serving.table(results)
    serving.plot(results, tmp_path / "serving")
    assert (tmp_path / "serving.png").stat().st_size > 0


def found_rate(throughput: dict[str, Any], wire: str) -> float:
    return float(throughput[wire]["2"]["graphflow"]["per_second"])


def test_what_fails_on_a_gpu_is_told_beside_what_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(workload: str) -> dict[str, float]:
        if workload == "mlp":
            raise OSError("an illegal address")
        return {"graphflow_feed": 3.0, "graphflow_device": 2.0}

    def no_limits(most: int = 0) -> dict[str, float]:
        raise OSError("no stream")

    def peer(workload: str) -> dict[str, float]:
        return {"torch_feed": 6.0, "torch_device": 2.0, "torch_graph_device": 4.0}

    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    monkeypatch.setattr(gpu, "ROWS", tuple(row for row in gpu.ROWS if row.name in ("softmax", "mlp")))
    peers = (("graphflow", "graphflow", broken), ("torch", "json", peer), ("jax", "no_such_package", peer))
    monkeypatch.setattr(gpu, "PEERS", peers)
    monkeypatch.setattr(gpu, "limits", no_limits)
    kept: list[dict[str, Any]] = []
    found = gpu.measure(60.0, quiet, lambda results: kept.append({**results["workloads"]}))
    assert [list(workloads) for workloads in kept] == [[], ["mlp"], *[["mlp", "softmax"]] * 3]
    text = gpu.table(found)
    assert "| softmax | 2 | 3 | 2 | 6 | 4 | 0.50 | 1.00 | – | – |" in text
    assert (
        "limits: OSError: no stream\njax: no_such_package is not installed\nmlp, graphflow: OSError: an illegal address"
        in text
    )
    late = gpu.measure(-1.0, quiet, lambda results: None)
    assert late["workloads"]["softmax"]["graphflow_failed"] == "the time was up"
    assert "of the floor |" in gpu.table(found | {"limits": {"copy_GB_per_s": 4300.0}})
    # All in all: three processes, of which the second is ended before it has found anything.
    ran: list[tuple[list[str], str]] = []

    def within(
        command: list[str], seconds: float, environment: dict[str, str], output: Any = None
    ) -> int | None:
        ran.append((command[2:], environment.get("GRAPHFLOW_MATMUL_PRECISION", "")))
        if command[2] != "pytest":
            return None
        output.write(
            "a.py::test_one[x] PASSED [ 50%]\na.py::test_two FAILED [100%]\n[gw0] [ 9%] PASSED a.py::test_3\n"
        )
        return 1

    monkeypatch.setattr(commands, "_within", within)
    monkeypatch.setattr(commands, "RESULTS", tmp_path)
    with pytest.raises(SystemExit) as end:
        commands.write_gpu("gpu", small=True)
    assert end.value.code == 1
    assert [command[0] for command, _ in ran] == ["pytest", "benchmarks", "pytest"]
    assert ran[2][1] == "highest" and "tests/test_ops_matrix.py" in ran[2][0]
    told = (tmp_path / "gpu.md").read_text()
    assert (
        "Tests on the GPU: 1 failed, 2 passed; pytest returned 1." in told
        and "Failed: `a.py::test_two`" in told
    )
    assert "measuring: the process was ended when its time was up" in told


def test_residents_of_a_device_take_no_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    monkeypatch.setattr(gpu, "SECONDS", 0.0)
    with gpu.sized(gpu.SMALL):
        resident = gpu.Resident()
        step = resident.mlp()
        for _ in range(3):
            step()
        resident.wait()
        assert resident.latest.feed() == {}
        before = [value.copy() for value in map(resident.session.variable_value, gf.trainable_variables())]
        step()
        assert any(
            (value != resident.session.variable_value(variable)).any()
            for value, variable in zip(before, gf.trainable_variables(), strict=True)
        )
    assert gpu.data.OPTIONS == 4_000_000


def test_a_command_is_ended_when_its_time_is_up() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert commands._within(command, 0.2) is None
    assert commands._within([sys.executable, "-c", "raise SystemExit(3)"], 60.0) == 3
