"""Lists of models, as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphflow.errors import InvalidArgumentError
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
