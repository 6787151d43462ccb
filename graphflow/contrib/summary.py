"""`tf.contrib.summary`: the summaries that graphs can have; those of eager execution need `gf.summary`."""

from __future__ import annotations

from typing import Any

from graphflow.namespace import MissingNameError
from graphflow.summary import operations as summary


def scalar(name: str, tensor: Any, family: str | None = None, step: Any = None) -> Any:
    """Returns the summary of a scalar; `gf.summary.merge_all` finds it, and a FileWriter writes it."""
    return summary.scalar(name, tensor, family=family)


def histogram(name: str, tensor: Any, family: str | None = None, step: Any = None) -> Any:
    """Returns the summary of how values are distributed."""
    return summary.histogram(name, tensor, family=family)


def image(
    name: str,
    tensor: Any,
    bad_color: Any = None,
    max_images: int = 3,
    family: str | None = None,
    step: Any = None,
) -> Any:
    """Returns the summary of images [batch, height, width, channels]."""
    return summary.image(name, tensor, max_outputs=max_images, family=family)


def __getattr__(name: str) -> Any:
    raise MissingNameError(__name__, name)
