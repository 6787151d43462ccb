"""`keras.utils`: labels as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float32") -> Array:
    """Returns rows with a one at each label's place, [..., num_classes]."""
    labels = np.array(y, dtype="int")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels.reshape(labels.shape[:-1])
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    rows: Array = np.eye(count, dtype=dtype)[labels]
    return rows


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """Returns an array with norms of one along an axis."""
    norms = np.atleast_1d(np.linalg.norm(x, order, axis))
    norms[norms == 0] = 1
    result: Array = np.asarray(x) / np.expand_dims(norms, axis)
    return result


__all__ = ["normalize", "to_categorical"]
