"""`keras.preprocessing.sequence`: sequences of different lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def pad_sequences(
    sequences: Sequence[Any], maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre",
    truncating: str = "pre", value: Any = 0.0,
) -> Array:  # fmt: skip
    """Returns sequences as an array, [count, maxlen, …], the shorter ones filled up.

    Args:
      sequences: lists of numbers, or of vectors of one size.
      maxlen: the length; default that of the longest.
      dtype: the dtype.
      padding: "pre" fills up before, "post" after.
      truncating: "pre" cuts off the beginning of what is too long, "post" its end.
      value: what fills up.

    Raises:
      ValueError: if a sequence is none, vectors differ in shape, or for other words.
    """
    if padding not in ("pre", "post"):
        raise ValueError(f'Padding type "{padding}" not understood')
    if truncating not in ("pre", "post"):
        raise ValueError(f'Truncating type "{truncating}" not understood')
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    lengths = []
    for sequence in sequences:
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {sequence}")
        lengths.append(len(sequence))
    size = (max(lengths) if lengths else 0) if maxlen is None else maxlen
    inner: tuple[int, ...] = next((np.shape(s)[1:] for s in sequences if len(s)), ())
    kind = np.dtype(dtype)
    if isinstance(value, str) and kind.kind != "O" and not np.issubdtype(kind, np.str_):
        raise ValueError(f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}")
    result = np.full((len(lengths), size, *inner), value, dtype=kind)
    for i, sequence in enumerate(sequences):
        if not len(sequence):
            continue
        kept = np.asarray(sequence[-size:] if truncating == "pre" else sequence[:size], dtype=kind)
        if size == 0:
            continue
        if kept.shape[1:] != inner:
            raise ValueError(
                f"Shape of sample {kept.shape[1:]} of sequence at position {i} is different from expected shape {inner}"
            )
        if padding == "post":
            result[i, : len(kept)] = kept
        else:
            result[i, -len(kept) :] = kept
    return result


__all__ = ["pad_sequences"]
