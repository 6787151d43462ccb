"""Arrays that lie on a device, as feeds: known by the protocols that libraries share, whoever made them."""

from __future__ import annotations

from typing import Any

__all__ = ["is_device_array", "pointer_of", "stream_of"]


def is_device_array(value: Any) -> bool:
    """Whether a value is an array on a device, of which the protocol says where it lies."""
    return hasattr(value, "__cuda_array_interface__")


def pointer_of(value: Any) -> int:
    """Where an array begins. Raises ValueError for one whose rows do not follow each other."""
    interface = value.__cuda_array_interface__
    strides = interface.get("strides")
    if strides is not None:
        size = value.dtype.itemsize
        for extent, stride in zip(reversed(interface["shape"]), reversed(strides), strict=True):
            if extent > 1 and stride != size:
                raise ValueError("an array of the device that is fed must be row-major; copy it first")
            size *= extent
    return int(interface["data"][0])


def stream_of(value: Any) -> int | None:
    """The handle of the stream that may still be writing an array; None: nobody is."""
    stream = value.__cuda_array_interface__.get("stream")
    return None if stream is None else int(stream)
