"""Texts as letters of Unicode, and rows of words as n-grams. Ragged results are flat values and row splits."""

from __future__ import annotations

import base64
import codecs
import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import ShapeError, UnimplementedError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.rules import Array, refuse
from graphflow.ops.unicode_scripts import STARTS_AND_SCRIPTS
from graphflow.shapes import TensorShape

_LAST = 0x10FFFF
_OUT = {"UTF-8": "utf-8", "UTF-16-BE": "utf-16-be", "UTF-32-BE": "utf-32-be"}
_ENCODINGS = "output_encoding:string{UTF-8|UTF-16-BE|UTF-32-BE}"
_ERRORS = "errors:string{strict|replace|ignore}=replace; replacement_char:int=65533"
_CONTROLS = "replace_control_characters:bool=false"


def _codec(name: str) -> str:
    """Python's name of an encoding."""
    plain = name.lower().replace("_", "-").replace(" ", "-")
    try:
        codec = codecs.lookup("ascii" if plain in ("us-ascii", "ascii-7-bit") else plain).name
    except LookupError:
        raise refuse(f"Could not create converter for input encoding: {name}") from None
    # What comes first in a text says nothing about the order of bytes: it is the highest one first.
    return f"{codec}-be" if codec in ("utf-16", "utf-32") else codec


def _letters(text: bytes, encoding: str) -> Iterator[tuple[int, int]]:
    """The letters of a text, each with where it begins; -1 for bytes that are none."""
    codec, at = _codec(encoding), 0
    while at < len(text):
        try:
            good, bad = text[at:].decode(codec), None
        except UnicodeDecodeError as error:
            good, bad = text[at : at + error.start].decode(codec), error
        for letter in good:
            yield ord(letter), at
            at += len(letter.encode(codec))
        if bad is not None:
            yield -1, at
            at += max(1, bad.end - bad.start)


def _mender(errors: str, replacement: int, controls: bool) -> Callable[[int], int | None]:
    """What becomes of a letter, -1 if it is none; None: nothing."""
    if not 0 <= replacement <= _LAST:
        raise refuse("replacement_char out of unicode codepoint range")

    def mend(code: int) -> int | None:
        if 0x1F < code <= _LAST and not 0xD800 <= code <= 0xDFFF or 0 <= code <= 0x1F and not controls:
            return code
        if code < 0 or code > 0x1F:
            if errors == "strict":
                raise refuse("Invalid formatting on input string")
            if errors == "ignore":
                return None
        return replacement

    return mend


def _text(codes: Sequence[int], encoding: str) -> bytes:
    return "".join(map(chr, codes)).encode(_OUT[encoding], "replace")


@op("UnicodeTranscode", "input:string", "output:string",
    f"input_encoding:string; {_ENCODINGS}; {_ERRORS}; {_CONTROLS}", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def unicode_transcode_op(
    input: Array, *, input_encoding: str, output_encoding: str, errors: str, replacement_char: int,
    replace_control_characters: bool,
) -> Array:  # fmt: skip
    """Each text in another encoding."""
    _codec(input_encoding)
    mend = _mender(errors, replacement_char, replace_control_characters)
    result: Array = np.empty(input.shape, object)
    result.reshape(-1)[:] = [
        _text(
            [c for code, _ in _letters(text, input_encoding) if (c := mend(code)) is not None],
            output_encoding,
        )
        for text in input.reshape(-1).tolist()
    ]
    return result


def _splits_shape(node: Any, flat: int) -> list[TensorShape]:
    count = node.inputs[0].shape.num_elements()
    return [TensorShape([None if count is None else count + 1]), *[TensorShape([None])] * flat]


def _decoded(
    input: Array, encoding: str, errors: str, replacement: int, controls: bool, splits: DType
) -> tuple[Array, Array, Array]:
    """Where the letters of each text end, the letters, and where they begin in it."""
    _codec(encoding)
    mend = _mender(errors, replacement, controls)
    codes: list[int] = []
    starts: list[int] = []
    ends = [0]
    for text in input.reshape(-1).tolist():
        for code, start in _letters(text, encoding):
            mended = mend(code)
            if mended is not None:
                codes.append(mended)
                starts.append(start)
        ends.append(len(codes))
    return np.array(ends, splits.numpy), np.array(codes, np.int32), np.array(starts, np.int64)


_DECODES = f"input_encoding:string; {_ERRORS}; {_CONTROLS}; Tsplits:type{{int32|int64}}=int64"


@op("UnicodeDecode", "input:string", "row_splits:Tsplits; char_values:int32", _DECODES,
    infer=lambda node: _splits_shape(node, 1), differentiable=False)  # fmt: skip
def unicode_decode_op(
    input: Array, *, input_encoding: str, errors: str, replacement_char: int, replace_control_characters: bool,
    Tsplits: DType,
) -> tuple[Array, Array]:  # fmt: skip
    """The letters of each text, as numbers."""
    return _decoded(input, input_encoding, errors, replacement_char, replace_control_characters, Tsplits)[:2]


@op("UnicodeDecodeWithOffsets", "input:string", "row_splits:Tsplits; char_values:int32; char_to_byte_starts:int64",
    _DECODES, infer=lambda node: _splits_shape(node, 2), differentiable=False)  # fmt: skip
def unicode_decode_with_offsets_op(
    input: Array, *, input_encoding: str, errors: str, replacement_char: int, replace_control_characters: bool,
    Tsplits: DType,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The letters of each text, as numbers, and the bytes at which they begin."""
    return _decoded(input, input_encoding, errors, replacement_char, replace_control_characters, Tsplits)


def rows_of(splits: Array, count: int, what: str) -> list[tuple[int, int]]:
    """Where each row begins and ends."""
    bounds = splits.reshape(-1).tolist()
    if bounds and bounds[0] != 0:
        raise refuse(f"First value in {what} must be zero, got {bounds[0]}")
    rows = list(zip(bounds, bounds[1:], strict=False))
    if any(start > stop or stop > count for start, stop in rows):
        raise refuse(f"Values in {what} must be nondecreasing and at most {count}, got {bounds[:20]}")
    if bounds and bounds[-1] != count:
        raise refuse(f"Last value in {what} must be {count}, the number of values, got {bounds[-1]}")
    return rows


def _encoded_shape(node: Any) -> TensorShape:
    rules.rank_exactly(node, 0, 1, "input_values")
    splits = rules.rank_exactly(node, 1, 1, "input_splits").as_list()[0]
    if splits == 0:
        raise ShapeError("input_splits must not be empty")
    return TensorShape([None if splits is None else splits - 1])


@op("UnicodeEncode", "input_values:int32; input_splits:Tsplits", "output:string",
    f"{_ERRORS}; {_ENCODINGS}; Tsplits:type{{int32|int64}}=int64", infer=_encoded_shape,
    differentiable=False)  # fmt: skip
def unicode_encode_op(
    input_values: Array, input_splits: Array, *, errors: str, output_encoding: str, replacement_char: int
) -> Array:
    """Rows of letters as texts."""
    mend = _mender(errors, replacement_char, False)
    if not input_splits.size:
        raise refuse("input_splits must not be empty")
    rows = rows_of(input_splits, input_values.size, "input_splits")
    result: Array = np.empty(len(rows), object)
    codes = input_values.reshape(-1).tolist()
    for i, (start, stop) in enumerate(rows):
        kept = [mended for code in codes[start:stop] if (mended := mend(code)) is not None]
        result[i] = _text(kept, output_encoding)
    return result


@functools.cache
def _scripts() -> tuple[Array, Array]:
    """Where runs of letters of one script begin, and their numbers."""
    starts, scripts = [], []
    at = 0
    packed = iter(zlib.decompress(base64.b85decode(STARTS_AND_SCRIPTS)))
    for byte in packed:
        step, shift = byte & 127, 7
        while byte & 128:
            byte = next(packed)
            step |= (byte & 127) << shift
            shift += 7
        at += step
        starts.append(at)
        scripts.append(next(packed))
    return np.array(starts), np.array(scripts, np.int32)


@op("UnicodeScript", "input:int32", "output:int32", "", infer=rules.same_as_first, differentiable=False)
def unicode_script_op(input: Array) -> Array:
    """The script that each letter belongs to, by ICU's numbers; -1 for what is no letter."""
    starts, scripts = _scripts()
    inside = (input >= 0) & (input <= _LAST)
    found = scripts[np.searchsorted(starts, np.where(inside, input, 0), side="right") - 1]
    return np.asarray(np.where(inside, found, -1), np.int32)


# ---------------------------------------------------------------------------- public functions


def unicode_transcode(
    input: Any,
    input_encoding: str,
    output_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    replace_control_characters: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns texts in another encoding.

    Args:
      input: string tensor.
      input_encoding: what they are in, such as "UTF-8", "UTF-16" or "ISO-8859-1".
      output_encoding: "UTF-8", "UTF-16-BE" or "UTF-32-BE".
      errors: what is made of bytes that are no letters: "strict" refuses them, "replace" puts `replacement_char` in
        their place, "ignore" leaves them out.
      replacement_char: a letter, as its number.
      replace_control_characters: whether letters below 32 are replaced as well.
      name: a name.

    Raises:
      InvalidArgumentError: when it runs, for an encoding that is not known.
    """
    result: Tensor = emit.UnicodeTranscode(
        input, input_encoding=input_encoding, output_encoding=output_encoding, errors=errors,
        replacement_char=replacement_char, replace_control_characters=replace_control_characters, name=name,
    )  # fmt: skip
    return result


def unicode_script(input: Any, name: str | None = None) -> Tensor:
    """Returns the number, by ICU's count, of the script of each letter of an int32 tensor; -1 for what is none."""
    result: Tensor = emit.UnicodeScript(input, name=name)
    return result


def _one_text(input: Any, name: str) -> Tensor:
    """A text as a vector of one; ragged rows of letters, which several texts would be, are not to be had."""
    text = convert_to_tensor(input, dtypes.string)
    if text.shape.rank != 0:
        raise UnimplementedError(
            None, None,
            f"{name} takes one text, a scalar, got shape {text.shape}: of several the result would be a RaggedTensor, "
            f"which there is none of; gf.raw_ops.UnicodeDecode gives "
            "its values and row splits",
        )  # fmt: skip
    return emit.Reshape(text, [1])


def unicode_decode(
    input: Any, input_encoding: str, errors: str = "replace", replacement_char: int = 65533,
    replace_control_characters: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the letters of a text, as numbers; int32 [letters].

    Args:
      input: string scalar; of more the result would be ragged.
      input_encoding, errors, replacement_char, replace_control_characters: see `unicode_transcode`.
      name: a name.

    Raises:
      UnimplementedError: if `input` is no scalar.
    """
    with name_scope(name, "UnicodeDecode", [input]):
        text = _one_text(input, "unicode_decode")
        letters: Tensor = emit.UnicodeDecode(
            text, input_encoding=input_encoding, errors=errors, replacement_char=replacement_char,
            replace_control_characters=replace_control_characters,
        )[1]  # fmt: skip
        return letters


def unicode_decode_with_offsets(
    input: Any, input_encoding: str, errors: str = "replace", replacement_char: int = 65533,
    replace_control_characters: bool = False, name: str | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns the letters of a text, and the bytes at which they begin; int32 and int64 [letters].

    Args:
      input, input_encoding, errors, replacement_char, replace_control_characters, name: see `unicode_decode`.

    Raises:
      UnimplementedError: if `input` is no scalar.
    """
    with name_scope(name, "UnicodeDecodeWithOffsets", [input]):
        text = _one_text(input, "unicode_decode_with_offsets")
        _, letters, starts = emit.UnicodeDecodeWithOffsets(
            text, input_encoding=input_encoding, errors=errors, replacement_char=replacement_char,
            replace_control_characters=replace_control_characters,
        )  # fmt: skip
        return letters, starts


def unicode_encode(
    input: Any,
    output_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    name: str | None = None,
) -> Tensor:
    """Returns rows of letters as texts.

    Args:
      input: int32 [..., letters].
      output_encoding: "UTF-8", "UTF-16-BE" or "UTF-32-BE".
      errors, replacement_char: see `unicode_transcode`.
      name: a name.

    Raises:
      ValueError: if the rank of `input` is unknown or zero.
    """
    with name_scope(name, "UnicodeEncode", [input]):
        letters = convert_to_tensor(input, dtypes.int32)
        if letters.shape.rank is None:
            raise ValueError("Rank of `input` must be statically known.")
        if letters.shape.rank == 0:
            raise ValueError("input_tensor's rank must be at least 1.")
        shape = emit.Shape(letters)
        outer, length = (
            emit.StridedSlice(shape, [0], [-1], [1]),
            emit.GatherV2(shape, -1 + emit.Size(shape), 0),
        )
        splits = emit.Mul(emit.Range(0, emit.AddV2(emit.Prod(outer, [0]), 1), 1), length)
        texts = emit.UnicodeEncode(
            emit.Reshape(letters, [-1]), splits, output_encoding=output_encoding, errors=errors,
            replacement_char=replacement_char,
        )  # fmt: skip
        result: Tensor = emit.Reshape(texts, outer)
        result.set_shape(letters.shape[:-1])
        return result


def unicode_split(
    input: Any,
    input_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    name: str | None = None,
) -> Tensor:
    """Returns the letters of a text, each as a text in the same encoding; string [letters].

    Args:
      input, input_encoding, errors, replacement_char, name: see `unicode_decode`.

    Raises:
      UnimplementedError: if `input` is no scalar.
    """
    with name_scope(name, "UnicodeSplit", [input]):
        _one_text(input, "unicode_split")
        letters = unicode_decode(input, input_encoding, errors, replacement_char)
        return unicode_encode(emit.ExpandDims(letters, -1), input_encoding, errors, replacement_char)


def unicode_split_with_offsets(
    input: Any,
    input_encoding: str,
    errors: str = "replace",
    replacement_char: int = 65533,
    name: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the letters of a text as `unicode_split` does, and the bytes at which they begin, int64.

    Args:
      input, input_encoding, errors, replacement_char, name: see `unicode_decode`.

    Raises:
      UnimplementedError: if `input` is no scalar.
    """
    with name_scope(name, "UnicodeSplitWithOffsets", [input]):
        _one_text(input, "unicode_split_with_offsets")
        letters, starts = unicode_decode_with_offsets(input, input_encoding, errors, replacement_char)
        texts = unicode_encode(emit.ExpandDims(letters, -1), input_encoding, errors, replacement_char)
        return texts, starts


__all__ = [
    "unicode_decode", "unicode_decode_with_offsets", "unicode_encode", "unicode_script", "unicode_split",
    "unicode_split_with_offsets", "unicode_transcode",
]  # fmt: skip
