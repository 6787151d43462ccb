"""Lists of models, as files."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from graphflow.errors import InvalidArgumentError
from graphflow.serving.command import parser
from graphflow.serving.server import ServerOptions, _following
from graphflow.serving.server_config import (
    ALL_VERSIONS,
    ModelConfig,
    VersionPolicy,
    read_models,
)

TEXT = """
model_config_list {
  config {
    name: "m"
    base_path: "/models/m"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: "stable" value: 3 }
  }
  config { name: "n" base_path: "n" model_version_policy { all {} } }
  config { name: "o" base_path: "o" model_version_policy { latest { num_versions: 2 } } }
}
"""
YAML = """
model_config_list:
  config:
  - name: m
    base_path: /models/m
    model_platform: tensorflow
    model_version_policy: {specific: {versions: [3, 4]}}
    version_labels: {stable: 3}
  - {name: n, base_path: n, model_version_policy: {all: {}}}
  - {name: o, base_path: o, model_version_policy: {latest: {num_versions: 2}}}
"""


@pytest.mark.parametrize(("name", "text"), [("models.config", TEXT), ("models.yaml", YAML)])
def test_models(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_models(tmp_path / name) == [
        ModelConfig("m", "/models/m", VersionPolicy(None, (3, 4)), {"stable": 3}),
        ModelConfig("n", str(tmp_path / "n"), ALL_VERSIONS),
        ModelConfig("o", str(tmp_path / "o"), VersionPolicy(2)),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("model_config_list { config { nam: 3 } }", "not understood"),
        ('model_config_list { config { name: "m" } }', "has no base_path"),
        ('model_config_list { config { base_path: "m" } }', "name is not empty"),
        ('model_config_list { config { name: "m" base_path: "m" model_platform: "onnx" } }', "platform 'onnx'"),
        (
            'model_config_list { config { name: "m" base_path: "a" } config { name: "m" base_path: "b" } }',
            "multiple times",
        ),
        (
            'model_config_list { config { name: "m" base_path: "a" model_version_policy { specific {} } } }',
            "no versions",
        ),
        ("custom_model_config {}", "custom_model_config"),
    ],
)  # fmt: skip
def test_bad_lists_are_refused(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "models").write_text(text)
    with pytest.raises(InvalidArgumentError, match=error):
        read_models(tmp_path / "models")


@pytest.mark.parametrize(
    "text", ["[1, 2]", "3", "a: [", "model_config_list: 3", "- model_config_list", "? [a]"]
)
def test_yaml_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(InvalidArgumentError, match="not understood"):
        read_models(tmp_path / "models.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for name in ("models", "models.yaml"):
        (tmp_path / name).write_bytes(b"\xff\xfe{")
        with pytest.raises(InvalidArgumentError, match="not understood"):
            read_models(tmp_path / name)


def test_the_list_is_read_again_where_that_is_asked_for(tmp_path: Path) -> None:
    options = ServerOptions([ModelConfig("m", "m")])
    assert (options.poll_seconds, options.model_config_file_poll_seconds) == (1.0, 0.0)
    given = parser().parse_args([])
    assert (given.file_system_poll_wait_seconds, given.model_config_file_poll_wait_seconds) == (1.0, 0.0)
    file = tmp_path / "models"
    file.write_text(TEXT)
    reloads: queue.Queue[list[ModelConfig]] = queue.Queue()

    class Models:
        reload = reloads.put

    with _following(str(file), read_models(file), 0.01, Models):  # type: ignore[arg-type]
        replaced = tmp_path / "new"
        for number in range(2):
            # What is no list changes nothing, and the next one is read all the same.
            for text in (b"\xff{", TEXT.replace('"m"', f'"m{number}"').encode()):
                replaced.write_bytes(text)
                replaced.replace(file)
            assert reloads.get(timeout=120) == read_models(file)
    assert reloads.empty()
