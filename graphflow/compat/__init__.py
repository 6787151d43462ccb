"""`tf.compat`: bytes and text, dimensions, graphflow under TensorFlow's other names, and what of TF1 is here.

`compat.v1` is graphflow itself. `compat.status(name)` tells of any name of TF1 whether it is here, planned or out of
scope, and the way round; `compat.install_as_tensorflow()` makes `import tensorflow` give graphflow.
"""

from __future__ import annotations

import importlib
import numbers
import os
from typing import Any

import numpy as np

from graphflow.compat.importer import install_as_tensorflow
from graphflow.compat.paths import public_path
from graphflow.compat.symbols import Status, status
from graphflow.namespace import MissingNameError
from graphflow.shapes import Dimension, TensorShape

integral_types = (numbers.Integral, np.integer)
real_types = (numbers.Real, np.integer, np.floating)
complex_types = (numbers.Complex, np.number)
bytes_or_text_types = (bytes, str)


def as_bytes(bytes_or_text: Any, encoding: str = "utf-8") -> bytes:
    """Returns text as bytes, and bytes as they are.

    Raises:
      TypeError: for anything else.
    """
    if isinstance(bytes_or_text, bytearray):
        return bytes(bytes_or_text)
    if isinstance(bytes_or_text, str):
        return bytes_or_text.encode(encoding)
    if isinstance(bytes_or_text, bytes):
        return bytes_or_text
    raise TypeError(f"Expected binary or unicode string, got {bytes_or_text!r}")


def as_text(bytes_or_text: Any, encoding: str = "utf-8") -> str:
    """Returns bytes as text, and text as it is.

    Raises:
      TypeError: for anything else.
    """
    if isinstance(bytes_or_text, str):
        return bytes_or_text
    if isinstance(bytes_or_text, bytes):
        return bytes_or_text.decode(encoding)
    raise TypeError(f"Expected binary or unicode string, got {bytes_or_text!r}")


as_str = as_text


def as_str_any(value: Any, encoding: str = "utf-8") -> str:
    """Returns anything as text: bytes decoded, all else by `str`."""
    return as_text(value, encoding) if isinstance(value, bytes) else str(value)


def path_to_str(path: Any) -> Any:
    """Returns a path as text; what is no path is returned as it is."""
    return as_str_any(os.fspath(path)) if hasattr(path, "__fspath__") else path


def dimension_value(dimension: Any) -> int | None:
    """Returns the size that a Dimension, number or None stands for."""
    return dimension.value if isinstance(dimension, Dimension) else dimension


def dimension_at_index(shape: Any, index: int) -> Dimension:
    """Returns the Dimension of an axis, unknown where the rank is."""
    whole = TensorShape(shape)
    return Dimension(None) if whole.rank is None else Dimension(whole.as_list()[index])


def forward_compatible(year: int, month: int, day: int) -> bool:
    """Whether what was released by a day may be relied on: always."""
    del year, month, day
    return True


def __getattr__(name: str) -> Any:
    if name == "v1":
        return importlib.import_module("graphflow")
    raise MissingNameError(__name__, name)


__all__ = [
    "Status", "as_bytes", "as_str", "as_str_any", "as_text", "bytes_or_text_types", "complex_types",
    "dimension_at_index", "dimension_value", "forward_compatible", "install_as_tensorflow", "integral_types",
    "path_to_str", "public_path", "real_types", "status",
]  # fmt: skip
