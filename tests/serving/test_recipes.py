"""docs/serving.md: each recipe is what its tool takes, and starts the server as `graphflow serve` understands it."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from graphflow.serving.command import parser
from graphflow.serving.manager import ModelManager
from graphflow.serving.model import Model
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from tests.serving.models import client_at, rest, save_model

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text()


def blocks(heading: str) -> list[str]:
    """The indented blocks below a heading."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^(?:    .*|[ ]*)\n)+", section + "\n", re.MULTILINE)
    return [
        re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") + "\n" for block in found if block.strip()
    ]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What `graphflow serve` makes of these arguments."""
    return vars(parser().parse_args(arguments))


def test_commands() -> None:
    commands = [
        shlex.split(line)
        for line in TEXT.replace("\\\n", " ").splitlines()
        if line.startswith("    graphflow serve")
    ]
    assert len(commands) == 3
    checked, replayed, allowed = (parsed(words[2:]) for words in commands)
    assert checked["check"] and str(checked["model_base_path"]) == "/models/digits"
    assert str(replayed["replay"]) == "requests.tfrecord"
    assert allowed["allow_op"] == ["InitializeTableFromTextFileV2"]


def test_systemd(tmp_path: Path) -> None:
    (unit,) = blocks("systemd")
    (line,) = re.findall(r"ExecStart=(.*?[^\\])\n", unit, re.DOTALL)
    words = shlex.split(line.replace("\\\n", " "))
    assert words[0].endswith("/graphflow") and words[1] == "serve"
    found = parsed(words[2:])
    assert found["workers"] == 2 and found["log_json"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    file = tmp_path / "graphflow.service"
    # Whether the program is there is no question of the recipe.
    file.write_text(unit.replace(words[0], sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    ours = [text for text in done.stderr.splitlines() if "graphflow" in text]
    assert not ours, done.stderr


def test_docker(tmp_path: Path) -> None:
    (block,) = blocks("Docker")
    dockerfile, _, command = block.partition("\n\n")
    lists = dict(re.findall(r"^(ENTRYPOINT|CMD) \[(.*)\]$", dockerfile, re.MULTILINE))
    entry, more = (
        [word.strip().strip('"') for word in text.split(",")] for text in (lists["ENTRYPOINT"], lists["CMD"])
    )
    assert entry[:2] == ["graphflow", "serve"]
    found = parsed([*entry[2:], *more])
    assert found["host"] == "0.0.0.0" and {str(found["port"]), str(found["rest_api_port"])} == set(
        re.findall(r"EXPOSE (\d+) (\d+)", dockerfile)[0]
    )
    assert "USER 1000" in dockerfile and int(shlex.split(command)[3]) > 30
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not there")
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile + "\n")
    done = subprocess.run(
        [linter, "--ignore", "DL3013", "--ignore", "DL3042", str(file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes(tmp_path: Path) -> None:
    pod, service = (yaml.safe_load(block) for block in blocks("Kubernetes, KServe"))
    (container,) = pod["containers"]
    assert parsed(container["args"])["model_name"] == "digits"
    assert pod["terminationGracePeriodSeconds"] > 30
    # A mount without its volume is refused by Kubernetes, though no schema says so.
    assert [mount["name"] for mount in container["volumeMounts"]] == [item["name"] for item in pod["volumes"]]
    (mount,) = container["volumeMounts"]
    assert parsed(container["args"])["model_base_path"].startswith(mount["mountPath"] + "/")
    assert {port["containerPort"] for port in container["ports"]} == {8500, 8501}
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    (predictor,) = service["spec"]["predictor"]["containers"]
    assert predictor["name"] == "kserve-container"  # KServe looks for it
    assert parsed(predictor["args"])["rest_api_port"] == predictor["ports"][0]["containerPort"]
    save_model(tmp_path / "1")
    models = ModelManager([ModelConfig("m", str(tmp_path))], poll_seconds=0)
    models.start()
    with rest(Service(models)) as port, client_at(port) as client:
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] == 8501
            assert client.get(container[probe]["httpGet"]["path"]).status_code == 200
        assert client.get("/monitoring/prometheus/metrics").status_code == 200
    models.close()


def test_ray_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployment's class answers; of Ray there is only what the recipe names."""
    (program,) = blocks("Ray Serve")
    save_model(tmp_path / "1")

    class Deployment:
        def __init__(self, kind: Any) -> None:
            self.kind = kind

        def bind(self) -> Any:
            return self.kind()

    def deployment(**options: Any) -> Any:
        assert options == {"max_ongoing_requests": 64}
        return Deployment

    ray, serve = types.ModuleType("ray"), types.ModuleType("ray.serve")
    ray.serve, serve.deployment = serve, deployment  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.serve", serve)
    names: dict[str, Any] = {}
    exec(program.replace("/models/digits/1", str(tmp_path / "1")).replace('"images"', '"x"'), names)
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

    class Request:
        async def json(self) -> Any:
            return {"instances": rows}

    answer = asyncio.run(names["app"](Request()))
    model = Model(tmp_path / "1")
    want = model.run("", {"x": np.array(rows, np.float32)})["y"]
    assert np.array(answer["y"], np.float32).tobytes() == want.tobytes()
    model.close()
    names["app"].threads.shutdown()
    names["app"].model.close()
