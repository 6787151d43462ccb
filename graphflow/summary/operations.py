"""Operations that make summaries."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.graph import (
    GraphKeys,
    Tensor,
    add_to_collections,
    get_collection,
    name_scope,
)
from graphflow.opdef import convert_to_tensor, emit
from graphflow.serialization import events

_ILLEGAL = re.compile(r"[^-/\w\.]")
_log = logging.getLogger("graphflow")


def clean_tag(name: str | None) -> str | None:
    """Returns a name that an operation can have: what is illegal becomes an underscore, leading slashes go."""
    if name is None:
        return None
    cleaned = _ILLEGAL.sub("_", name).lstrip("/")
    if cleaned != name:
        _log.info("Summary name %s is illegal; using %s instead.", name, cleaned)
    return cleaned


@contextlib.contextmanager
def _scope(
    name: str | None, family: str | None, default_name: str, values: Sequence[Any]
) -> Iterator[tuple[str, str]]:
    """The tag of a summary, and the name scope that its operation takes."""
    name, family = clean_tag(name), clean_tag(family)
    # A family is a scope of its own in the graph, and the first part of the tag.
    base = name if family is None else f"{family}/{name}"
    with name_scope(base, default_name, values) as scope:
        tag = scope.rstrip("/") if family is None else f"{family}/{scope.rstrip('/')}"
        yield tag, scope


def _collected(summary: Tensor, collections: Any) -> Tensor:
    # An empty list means none.
    add_to_collections([GraphKeys.SUMMARIES] if collections is None else collections, summary)
    return summary


def scalar(name: str, tensor: Any, collections: Any = None, family: str | None = None) -> Tensor:
    """Returns the summary of one number.

    Args:
      name: the tag, and the operation's name.
      tensor: a real scalar.
      collections: where the summary is put; default `GraphKeys.SUMMARIES`.
      family: a first part of the tag, under which TensorBoard groups.

    Returns:
      A string scalar: a serialized `Summary`.
    """
    with _scope(name, family, "ScalarSummary", [tensor]) as (tag, scope):
        return _collected(emit.ScalarSummary(tag, tensor, name=scope), collections)


def histogram(name: str, values: Any, collections: Any = None, family: str | None = None) -> Tensor:
    """Returns the summary of how numbers are spread; running it fails where one is not finite.

    Args:
      name, collections, family: see `scalar`.
      values: a real tensor of any shape.
    """
    with _scope(name, family, "HistogramSummary", [values]) as (tag, scope):
        return _collected(emit.HistogramSummary(tag, values, name=scope), collections)


def image(
    name: str, tensor: Any, max_outputs: int = 3, collections: Any = None, family: str | None = None
) -> Tensor:
    """Returns the summary of the first images of a batch.

    Args:
      name, collections, family: see `scalar`.
      tensor: uint8 or float [batch, height, width, channels] with 1, 3 or 4 channels. Floats are scaled, each image by
        itself, so that the largest becomes 255; where there are negative ones, zero becomes 128.
      max_outputs: how many images.
    """
    with _scope(name, family, "ImageSummary", [tensor]) as (tag, scope):
        return _collected(emit.ImageSummary(tag, tensor, max_images=max_outputs, name=scope), collections)


def audio(
    name: str,
    tensor: Any,
    sample_rate: Any,
    max_outputs: int = 3,
    collections: Any = None,
    family: str | None = None,
) -> Tensor:
    """Returns the summary of the first sounds of a batch.

    Args:
      name, collections, family: see `scalar`.
      tensor: float32 [batch, frames, channels] or [batch, frames] in [-1, 1].
      sample_rate: samples per second; a float scalar.
      max_outputs: how many sounds.
    """
    with _scope(name, family, "AudioSummary", [tensor]) as (tag, scope):
        rate = convert_to_tensor(sample_rate, dtypes.float32, name="sample_rate")
        return _collected(
            emit.AudioSummaryV2(tag, tensor, rate, max_outputs=max_outputs, name=scope), collections
        )


def text(name: str, tensor: Any, collections: Any = None) -> Tensor:
    """Returns the summary of texts, which TensorBoard shows as Markdown.

    Args:
      name, collections: see `scalar`.
      tensor: a string tensor.

    Raises:
      ValueError: for another dtype.
    """
    value = convert_to_tensor(tensor)
    if value.dtype is not dtypes.string:
        raise ValueError(f"Expected tensor {value.name} to have dtype string, got {value.dtype.name}")
    return _tensor_summary(name, value, events.summary_metadata(plugin_name="text"), collections, None)


def tensor_summary(
    name: str,
    tensor: Any,
    summary_description: str | None = None,
    collections: Any = None,
    summary_metadata: Any = None,
    family: str | None = None,
    display_name: str | None = None,
) -> Tensor:
    """Returns the summary of a tensor as it is.

    Args:
      name, collections, family: see `scalar`.
      tensor: any tensor.
      summary_description: a longer text.
      summary_metadata: a `SummaryMetadata` that says which plugin of TensorBoard shows it.
      display_name: a name to show instead of the tag.
    """
    metadata = events.summary_metadata(summary_metadata, display_name, summary_description)
    return _tensor_summary(name, tensor, metadata, collections, family)


def _tensor_summary(name: str, tensor: Any, metadata: bytes, collections: Any, family: str | None) -> Tensor:
    with _scope(name, family, "TensorSummary", [tensor]) as (tag, scope):
        return _collected(emit.TensorSummaryV2(tag, tensor, metadata, name=scope), collections)


def merge(inputs: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """Returns one summary of several; running it fails where two have one tag.

    Args:
      inputs: string tensors with serialized summaries.
      collections: where the summary is put; default nowhere.
      name: a name.

    Raises:
      ValueError: if there are none.
    """
    items = list(inputs)
    for item in items:
        clean_tag(getattr(getattr(item, "op", None), "name", ""))
    if not items:
        raise ValueError("merge takes at least one summary, got an empty list")
    with name_scope(name, "Merge", items):
        merged: Tensor = emit.MergeSummary(items, name=name)
        add_to_collections(collections or [], merged)
        return merged


def merge_all(
    key: str = GraphKeys.SUMMARIES, scope: str | None = None, name: str | None = None
) -> Tensor | None:
    """Returns one summary of all in a collection, None if there are none.

    Args:
      key: the collection.
      scope: a regular expression that names must begin with.
      name: a name.
    """
    found = get_collection(key, scope)
    return merge(found, name=name) if found else None


def get_summary_description(node_def: Any) -> Any:
    """Returns the `SummaryDescription` in a node of type TensorSummary.

    Raises:
      ValueError: for another type.
    """
    if node_def.op != "TensorSummary":
        raise ValueError(f"Can't get_summary_description on {node_def.op}")
    return events.summary_description(node_def.attr["description"].s)


def all_v2_summary_ops() -> None:
    """Returns None: there are no summaries of TensorFlow 2's kind."""


def initialize(graph: Any = None, session: Any = None) -> None:
    """Accepted: there are no summaries of TensorFlow 2's kind to prepare for."""


# As they were before TensorFlow 1.0: the tag is used as it is given, and may be a tensor.


def scalar_summary(tags: Any, values: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """Returns the summary of numbers, one tag each; see `scalar`."""
    return _old("ScalarSummary", tags, values, collections, name)


def histogram_summary(tag: Any, values: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """Returns the summary of how numbers are spread; see `histogram`."""
    return _old("HistogramSummary", tag, values, collections, name)


def image_summary(
    tag: Any, tensor: Any, max_images: int = 3, collections: Any = None, name: str | None = None
) -> Tensor:
    """Returns the summary of the first images of a batch; see `image`."""
    return _old("ImageSummary", tag, tensor, collections, name, max_images=max_images)


def audio_summary(
    tag: Any,
    tensor: Any,
    sample_rate: float,
    max_outputs: int = 3,
    collections: Any = None,
    name: str | None = None,
) -> Tensor:
    """Returns the summary of the first sounds of a batch; see `audio`."""
    return _old(
        "AudioSummary", tag, tensor, collections, name, sample_rate=sample_rate, max_outputs=max_outputs
    )


def _old(op_type: str, tag: Any, tensor: Any, collections: Any, name: str | None, **attrs: Any) -> Tensor:
    with name_scope(name, op_type, [tag, tensor]) as scope:
        return _collected(getattr(emit, op_type)(tag, tensor, name=scope, **attrs), collections)


def merge_summary(inputs: Any, collections: Any = None, name: str | None = None) -> Tensor:
    """Returns one summary of several; see `merge`."""
    return merge(inputs, collections, name)


def merge_all_summaries(key: str = GraphKeys.SUMMARIES) -> Tensor | None:
    """Returns one summary of all in a collection; see `merge_all`."""
    return merge_all(key)
