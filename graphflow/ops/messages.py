"""What ops ask of protobuf: the messages inside tensors of strings. Protobuf loads when the first one is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Messages(Protocol):
    """What the module that knows the messages does."""

    def scalar_summary(self, tags: Sequence[bytes], values: Sequence[float]) -> bytes:
        """A Summary of numbers."""

    def histogram_summary(self, tag: bytes, statistics: Mapping[str, Any]) -> bytes:
        """A Summary of one histogram, given by the fields of a HistogramProto."""

    def image_summary(self, tags: Sequence[str], images: Sequence[tuple[int, int, int, bytes]]) -> bytes:
        """A Summary of images: height, width, channels, and what a PNG file holds."""

    def audio_summary(
        self, tags: Sequence[str], rate: float, clips: Sequence[tuple[int, int, bytes]]
    ) -> bytes:
        """A Summary of sounds: channels, frames, and what a WAV file holds."""

    def tensor_summary(self, tag: bytes, value: Array, metadata: bytes) -> bytes:
        """A Summary of an array, with a serialized SummaryMetadata."""

    def described_summary(self, node_name: str, value: Array) -> bytes:
        """A Summary of an array as TensorFlow made them before 1.4: under the name of the node."""

    def merge_summaries(self, summaries: Sequence[bytes]) -> bytes:
        """One Summary of several."""

    def serialize_tensor(self, value: Array) -> bytes:
        """A TensorProto."""

    def parse_tensor(self, data: bytes) -> Array:
        """The array in a TensorProto."""

    def parse_features(self, data: bytes) -> dict[str, Any]:
        """The features of an Example, as (kind, values) by name."""

    def parse_sequence(self, data: bytes) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """Context and feature lists of a SequenceExample."""

    def example_from_json(self, text: bytes) -> bytes:
        """A serialized Example of its JSON form."""


_load: Callable[[], Messages] | None = None


def set_messages(load: Callable[[], Any]) -> None:
    """Says where the module comes from; called once by the package."""
    global _load
    _load = load


def messages() -> Messages:
    """Returns the module, loaded at the first call."""
    assert _load is not None
    return _load()


__all__: list[str] = []
