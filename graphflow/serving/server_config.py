"""Which models to serve: TensorFlow Serving's text files, and the same as YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphflow.errors import InvalidArgumentError
from graphflow.records import dataclass, field
from graphflow.serialization.proto import model_service_pb2

PLATFORMS = ("", "tensorflow", "graphflow")


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions on disk to serve.

    Attributes:
      latest: this many of the newest; None where another rule holds.
      specific: these; empty where another rule holds. With neither, all are served.
    """

    latest: int | None = 1
    specific: tuple[int, ...] = ()

    def choose(self, versions: Mapping[int, Any]) -> list[int]:
        """Returns the versions to serve of those there are, newest first."""
        found = sorted(versions, reverse=True)
        if self.specific:
            return [version for version in found if version in self.specific]
        return found if self.latest is None else found[: self.latest]


ALL_VERSIONS = VersionPolicy(latest=None)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve.

    Attributes:
      name: the name in requests.
      base_path: the folder whose numbered subfolders are its versions.
      policy: which of them are served; default the newest.
      labels: other names for some versions.
    """

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise _invalid(f"a model's name is not empty and has no slash, got {self.name!r}")
        if not self.base_path:
            raise _invalid(f"the model {self.name!r} has no base_path")
        if self.policy.latest is not None and self.policy.latest < 1:
            raise _invalid(f"the model {self.name!r}: latest.num_versions must be at least 1")


def _invalid(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def models_of(proto: Any) -> list[ModelConfig]:
    """Returns the models that a ModelServerConfig message lists.

    Raises:
      InvalidArgumentError: for a name that comes twice, a missing path, another platform, a custom config.
    """
    if proto.WhichOneof("config") == "custom_model_config":
        raise _invalid("custom_model_config is not understood; use model_config_list")
    found: dict[str, ModelConfig] = {}
    for config in proto.model_config_list.config:
        if config.model_platform not in PLATFORMS:
            raise _invalid(
                f"the model {config.name!r} has the platform {config.model_platform!r}; only 'tensorflow' is served"
            )
        if config.name in found:
            raise _invalid(f"Illegal to list model {config.name} multiple times in config list")
        found[config.name] = ModelConfig(
            config.name,
            config.base_path,
            _policy(config.model_version_policy),
            dict(config.version_labels),
        )
    return list(found.values())


def _policy(proto: Any) -> VersionPolicy:
    which = proto.WhichOneof("policy_choice")
    if which == "all":
        return ALL_VERSIONS
    if which == "specific":
        if not proto.specific.versions:
            raise _invalid("model_version_policy: specific names no versions")
        return VersionPolicy(latest=None, specific=tuple(proto.specific.versions))
    return VersionPolicy(latest=proto.latest.num_versions or 1)


def read_models(path: str | os.PathLike[str]) -> list[ModelConfig]:
    """Returns the models that a file lists.

    Files that end in `.yaml`, `.yml` or `.json` hold the fields of TensorFlow Serving's ModelServerConfig as
    mappings; all others are its text format. A relative `base_path` counts from the file's folder.

    Raises:
      InvalidArgumentError: if the file is not understood; says where.
      OSError: if it cannot be read.
    """
    proto = _read(path, model_service_pb2.ModelServerConfig())
    folder = Path(path).parent
    for config in proto.model_config_list.config:
        if config.base_path:
            config.base_path = str(folder / config.base_path)
    return models_of(proto)


def _read(path: str | os.PathLike[str], proto: Any) -> Any:
    # A server of one model needs none of these.
    import yaml
    from google.protobuf import json_format, text_format

    data = Path(path).read_bytes()
    try:
        text = data.decode()
        if os.fspath(path).endswith((".yaml", ".yml", ".json")):
            json_format.ParseDict(yaml.safe_load(text) or {}, proto)
        else:
            text_format.Parse(text, proto)
    except (
        text_format.ParseError, json_format.ParseError, yaml.YAMLError, TypeError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise _invalid(f"{os.fspath(path)} is not understood: {error}") from None
    return proto
