"""Runs of words: n-grams of the rows of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.rules import Array, refuse
from graphflow.ops.unicode import rows_of
from graphflow.shapes import TensorShape


def _ngrams_shape(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 0, 1, "data")
    return [TensorShape([None]), rules.rank_exactly(node, 1, 1, "data_splits")]


@op("StringNGrams", "data:string; data_splits:Tsplits", "ngrams:string; ngrams_splits:Tsplits",
    "separator:string; ngram_widths:list(int)>=0; left_pad:string; right_pad:string; pad_width:int; "
    "preserve_short_sequences:bool; Tsplits:type{int32|int64}=int64",
    infer=_ngrams_shape, differentiable=False)  # fmt: skip
def string_ngrams_op(
    data: Array, data_splits: Array, *, separator: str | bytes, ngram_widths: Sequence[int],
    left_pad: str | bytes, right_pad: str | bytes, pad_width: int, preserve_short_sequences: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """All runs of so many words of each row, joined; rows are padded in front and behind."""
    if any(width < 1 for width in ngram_widths):
        raise refuse(f"ngram_widths must be positive, are {list(ngram_widths)}")
    glue, left, right = (
        text.encode() if isinstance(text, str) else text for text in (separator, left_pad, right_pad)
    )
    words = data.reshape(-1).tolist()
    found: list[bytes] = []
    ends = [0] if data_splits.size else []
    for start, stop in rows_of(data_splits, len(words), "data_splits"):
        row = words[start:stop]
        before = len(found)
        for width in ngram_widths:
            pad = width - 1 if pad_width < 0 else min(pad_width, width - 1)
            padded = [left] * pad + row + [right] * pad
            found += [glue.join(padded[i : i + width]) for i in range(len(padded) - width + 1)]
        if preserve_short_sequences and row and len(found) == before:
            pad = max(0, pad_width)
            found.append(glue.join([left] * pad + row + [right] * pad))
        ends.append(len(found))
    result: Array = np.empty(len(found), object)
    result[:] = found
    return result, np.array(ends, data_splits.dtype)


def _pads(values: Any) -> tuple[str | bytes, str | bytes]:
    """What stands in front of a row and what behind it."""
    pair = tuple(values) if isinstance(values, list | tuple) else (values, values)
    if len(pair) != 2 or not all(isinstance(text, str | bytes) for text in pair):
        raise TypeError(f"pad_values must be a string, a pair of strings, or None, got {values!r}")
    return pair[0], pair[1]


def ngrams(
    data: Any,
    ngram_width: int | Sequence[int],
    separator: str = " ",
    pad_values: Any = None,
    padding_width: int | None = None,
    preserve_short_sequences: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns all runs of so many neighbouring words of each row, joined.

    Args:
      data: string tensor [..., words], of a known rank of at least one.
      ngram_width: how many words; a list: all runs of the first number, then of the second, and so on.
      separator: what stands between the words of a run.
      pad_values: what is put in front of each row and behind it: a text, or a pair of them; None: nothing.
      padding_width: how often, at most one time less than a run is long; None: as often as that.
      preserve_short_sequences: whether a row that is too short for all runs gives one run of what it has.
      name: a name.

    Returns:
      A string tensor [..., runs].

    Raises:
      TypeError: if `pad_values` is no text and no pair of them.
      ValueError: for widths below one, a `padding_width` without `pad_values`, or data of rank zero or unknown.
    """
    with name_scope(name, "StringNGrams", [data]):
        left, right = ("", "") if pad_values is None else _pads(pad_values)
        if padding_width is not None and (padding_width < 1 or pad_values is None):
            raise ValueError(
                f"padding_width must be greater than 0 and come with pad_values, got padding_width={padding_width}, "
                f"pad_values={pad_values!r}"
            )
        widths = [ngram_width] if isinstance(ngram_width, int) else list(ngram_width)
        if any(width < 1 for width in widths):
            raise ValueError(f"All ngram_widths must be greater than 0, got {ngram_width}")
        words = convert_to_tensor(data, dtypes.string)
        rank = words.shape.rank
        if not rank:
            raise ValueError(f"data must have a known rank of at least 1, has shape {words.shape}")
        # The rows one behind the other, all of one length.
        sizes = emit.Shape(words, out_type=dtypes.int64)
        outer = emit.Slice(sizes, [0], [rank - 1])
        length = emit.GatherV2(sizes, rank - 1, 0)
        splits = emit.Mul(
            emit.Range(np.int64(0), emit.AddV2(emit.Prod(outer, [0]), np.int64(1)), np.int64(1)), length
        )
        pad_width = 0 if pad_values is None else -1 if padding_width is None else padding_width
        runs = emit.StringNGrams(
            emit.Reshape(words, [-1]), splits, separator=separator, ngram_widths=widths, left_pad=left,
            right_pad=right, pad_width=pad_width, preserve_short_sequences=preserve_short_sequences,
        )[0]  # fmt: skip
        if rank == 1:
            vector: Tensor = runs
            return vector
        result: Tensor = emit.Reshape(runs, emit.ConcatV2([outer, np.array([-1], np.int64)], 0))
        result.set_shape(words.shape[:-1].concatenate([None]))
        return result


__all__ = ["ngrams"]
