"""Which models to serve: TensorFlow Serving's text files, the same as YAML, and the settings of batching."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format, text_format
from google.protobuf.message import Message

from graphflow.errors import InvalidArgumentError
from graphflow.serialization.proto import batching_parameters_pb2, model_service_pb2

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
    text = Path(path).read_text(encoding="utf-8")
    try:
        if os.fspath(path).endswith((".yaml", ".yml", ".json")):
            json_format.ParseDict(yaml.safe_load(text) or {}, proto)
        else:
            text_format.Parse(text, proto)
    except (text_format.ParseError, json_format.ParseError, yaml.YAMLError, TypeError) as error:
        raise _invalid(f"{os.fspath(path)} is not understood: {error}") from None
    return proto


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """How requests for one signature are put together.

    Attributes:
      max_batch_size: the most rows of a batch.
      timeout: the longest a request waits for others, in seconds.
      max_queued_rows: rows that may wait; requests beyond are turned away at once.
      allowed_batch_sizes: sizes that batches are padded to, ascending; the last is `max_batch_size`. Empty: any size.
    """

    max_batch_size: int = 64
    timeout: float = 0.001
    max_queued_rows: int = 4096
    allowed_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or self.timeout < 0 or self.max_queued_rows < 1:
            raise _invalid("batching: max_batch_size and the queue are at least 1, the timeout at least 0")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise _invalid(
                f"allowed_batch_sizes {list(sizes)} must ascend and end with max_batch_size {self.max_batch_size}"
            )


def read_batching(path: str | os.PathLike[str]) -> BatchingOptions:
    """Returns the settings of a BatchingParameters file (text, or YAML by its ending).

    Raises:
      InvalidArgumentError: if the file is not understood, or says what cannot be.
      OSError: if it cannot be read.
    """
    proto: Message = _read(path, batching_parameters_pb2.BatchingParameters())
    return batching_of(proto)


def batching_of(proto: Any) -> BatchingOptions:
    """Returns the settings of a BatchingParameters message."""
    defaults = BatchingOptions()
    most = proto.max_batch_size.value if proto.HasField("max_batch_size") else defaults.max_batch_size
    if proto.allowed_batch_sizes and not proto.HasField("max_batch_size"):
        most = proto.allowed_batch_sizes[-1]
    wait = (
        proto.batch_timeout_micros.value / 1e6 if proto.HasField("batch_timeout_micros") else defaults.timeout
    )
    rows = defaults.max_queued_rows
    if proto.HasField("max_enqueued_batches"):
        rows = proto.max_enqueued_batches.value * most
    if proto.pad_variable_length_inputs:
        raise _invalid(
            "pad_variable_length_inputs is not done here: it changes what a model sees; pad in the client or the graph"
        )
    return BatchingOptions(most, wait, rows, tuple(proto.allowed_batch_sizes))
