"""The projector of TensorBoard: which tensors of a checkpoint it shows, with which labels and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_CONFIG = "projector_config.pbtxt"


def _text(value: str) -> str:
    escaped = "".join(
        c if 32 <= ord(c) < 127 and c not in '"\\' else "".join(f"\\{byte:03o}" for byte in c.encode())
        for c in value
    )
    return f'"{escaped}"'


@dataclass
class SpriteMetadata:
    """One picture that holds the pictures of all rows, and the size of each."""

    image_path: str = ""
    single_image_dim: list[int] = field(default_factory=list)


@dataclass
class EmbeddingInfo:
    """A tensor to show: its name, and files with labels."""

    tensor_name: str = ""
    metadata_path: str = ""
    bookmarks_path: str = ""
    tensor_shape: list[int] = field(default_factory=list)
    sprite: SpriteMetadata = field(default_factory=SpriteMetadata)
    tensor_path: str = ""

    def lines(self) -> list[str]:
        """The message in protobuf's text form."""
        made = ["embeddings {"]
        for name in ("tensor_name", "metadata_path", "bookmarks_path", "tensor_path"):
            if getattr(self, name):
                made.append(f"  {name}: {_text(getattr(self, name))}")
        made += [f"  tensor_shape: {size}" for size in self.tensor_shape]
        if self.sprite.image_path or self.sprite.single_image_dim:
            made.append("  sprite {")
            if self.sprite.image_path:
                made.append(f"    image_path: {_text(self.sprite.image_path)}")
            made += [f"    single_image_dim: {size}" for size in self.sprite.single_image_dim]
            made.append("  }")
        return [*made, "}"]


class _Repeated(list[EmbeddingInfo]):
    def add(self, **values: Any) -> EmbeddingInfo:
        """Adds an element and returns it."""
        made = EmbeddingInfo(**values)
        self.append(made)
        return made


class ProjectorConfig:
    """What the projector shows.

    Attributes:
      model_checkpoint_path: the checkpoint; empty: the newest of the folder.
      embeddings: the tensors; `embeddings.add()` gives one more.
    """

    def __init__(self, model_checkpoint_path: str = "", embeddings: Sequence[EmbeddingInfo] = ()) -> None:
        self.model_checkpoint_path = model_checkpoint_path
        self.model_checkpoint_dir = ""
        self.embeddings = _Repeated(embeddings)

    def __str__(self) -> str:
        made = []
        for name in ("model_checkpoint_path", "model_checkpoint_dir"):
            if getattr(self, name):
                made.append(f"{name}: {_text(getattr(self, name))}")
        for info in self.embeddings:
            made += info.lines()
        return "\n".join(made) + "\n"


def visualize_embeddings(summary_writer: Any, config: ProjectorConfig) -> None:
    """Writes the settings where TensorBoard looks for them.

    Args:
      summary_writer: a FileWriter, whose folder it is.
      config: the settings.

    Raises:
      ValueError: if the writer has no folder.
    """
    folder = summary_writer.get_logdir()
    if not folder:
        raise ValueError("Expected logdir to be set on the summary writer")
    with open(os.path.join(folder, _CONFIG), "w", encoding="utf-8") as file:
        file.write(str(config))


__all__ = ["EmbeddingInfo", "ProjectorConfig", "SpriteMetadata", "visualize_embeddings"]
