"""The messages inside tensors of strings, for the ops that make and read them; see `ops.messages`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from graphflow.errors import InvalidArgumentError
from graphflow.serialization.proto import example_pb2, feature_pb2, summary_pb2, tensor_pb2
from graphflow.serialization.tensor_proto import array_to_proto, make_ndarray

Array = np.ndarray[Any, Any]


def _tag(tag: bytes) -> str:
    try:
        return tag.decode()
    except UnicodeDecodeError:
        raise InvalidArgumentError(None, None, f"the tag {tag!r} is not UTF-8") from None


def scalar_summary(tags: Sequence[bytes], values: Sequence[float]) -> bytes:
    """A Summary of numbers."""
    summary = summary_pb2.Summary()
    for tag, value in zip(tags, values, strict=True):
        with np.errstate(over="ignore"):
            summary.value.add(tag=_tag(tag), simple_value=float(np.float32(value)))
    return summary.SerializeToString()


def histogram_summary(tag: bytes, statistics: Mapping[str, Any]) -> bytes:
    """A Summary of one histogram, given by the fields of a HistogramProto."""
    summary = summary_pb2.Summary()
    summary.value.add(tag=_tag(tag), histo=summary_pb2.HistogramProto(**statistics))
    return summary.SerializeToString()


def image_summary(tags: Sequence[str], images: Sequence[tuple[int, int, int, bytes]]) -> bytes:
    """A Summary of images: height, width, channels, and what a PNG file holds."""
    summary = summary_pb2.Summary()
    for tag, (height, width, channels, encoded) in zip(tags, images, strict=False):
        image = summary_pb2.Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encoded
        )
        summary.value.add(tag=tag, image=image)
    return summary.SerializeToString()


def audio_summary(tags: Sequence[str], rate: float, clips: Sequence[tuple[int, int, bytes]]) -> bytes:
    """A Summary of sounds: channels, frames, and what a WAV file holds."""
    summary = summary_pb2.Summary()
    for tag, (channels, frames, encoded) in zip(tags, clips, strict=False):
        audio = summary_pb2.Summary.Audio(
            sample_rate=rate,
            num_channels=channels,
            length_frames=frames,
            encoded_audio_string=encoded,
            content_type="audio/wav",
        )
        summary.value.add(tag=tag, audio=audio)
    return summary.SerializeToString()


def tensor_summary(tag: bytes, value: Array, metadata: bytes) -> bytes:
    """A Summary of an array, with a serialized SummaryMetadata."""
    summary = summary_pb2.Summary()
    held = summary.value.add(tag=_tag(tag), tensor=array_to_proto(value))
    try:
        held.metadata.ParseFromString(metadata)
    except DecodeError:
        raise InvalidArgumentError(None, None, "serialized_summary_metadata is no SummaryMetadata") from None
    return summary.SerializeToString()


def described_summary(node_name: str, value: Array) -> bytes:
    """A Summary of an array as TensorFlow made them before 1.4: under the name of the node."""
    summary = summary_pb2.Summary()
    summary.value.add(node_name=node_name, tensor=array_to_proto(value))
    return summary.SerializeToString()


def merge_summaries(summaries: Sequence[bytes]) -> bytes:
    """One Summary of several.

    Raises:
      InvalidArgumentError: for what is no Summary, and for a tag that comes twice.
    """
    merged = summary_pb2.Summary()
    tags: set[str] = set()
    for data in summaries:
        part = _parsed(summary_pb2.Summary(), data, "Summary")
        for value in part.value:
            # Those that go by the name of their node have no tag.
            if value.tag and value.tag in tags:
                raise InvalidArgumentError(None, None, f"Duplicate tag {value.tag} found in summary inputs")
            tags.add(value.tag)
        merged.MergeFrom(part)
    return merged.SerializeToString()


def _parsed(message: Any, data: bytes, what: str) -> Any:
    try:
        message.ParseFromString(data)
    except DecodeError:
        shown = data[:80]
        raise InvalidArgumentError(None, None, f"Could not parse {what} from {shown!r}") from None
    return message


def serialize_tensor(value: Array) -> bytes:
    """A TensorProto."""
    return array_to_proto(value).SerializeToString()


def parse_tensor(data: bytes) -> Array:
    """The array in a TensorProto.

    Raises:
      InvalidArgumentError: if there is none.
    """
    proto = _parsed(tensor_pb2.TensorProto(), data, "TensorProto")
    try:
        return make_ndarray(proto)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(None, None, f"the TensorProto holds no tensor: {error}") from None


_KINDS = {"bytes_list": "string", "float_list": "float32", "int64_list": "int64", None: ""}


def _feature(feature: feature_pb2.Feature) -> tuple[str, Any]:
    kind = feature.WhichOneof("kind")
    return _KINDS[kind], getattr(feature, kind).value if kind else ()


def _features(features: feature_pb2.Features) -> dict[str, Any]:
    return {name: _feature(feature) for name, feature in features.feature.items()}


def parse_features(data: bytes) -> dict[str, Any]:
    """The features of an Example, as (dtype, values) by name; the dtype of an empty one is "".

    Raises:
      InvalidArgumentError: if this is no Example.
    """
    return _features(_parsed(example_pb2.Example(), data, "example").features)


def parse_sequence(data: bytes) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Context and feature lists of a SequenceExample, as in `parse_features`.

    Raises:
      InvalidArgumentError: if this is no SequenceExample.
    """
    example = _parsed(example_pb2.SequenceExample(), data, "SequenceExample")
    lists = {
        name: [_feature(feature) for feature in held.feature]
        for name, held in example.feature_lists.feature_list.items()
    }
    return _features(example.context), lists


def example_from_json(text: bytes) -> bytes:
    """A serialized Example of its JSON form.

    Raises:
      InvalidArgumentError: if this is none.
    """
    example = example_pb2.Example()
    try:
        json_format.Parse(text, example)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(None, None, f"Error while parsing JSON: {error}") from None
    return example.SerializeToString()
