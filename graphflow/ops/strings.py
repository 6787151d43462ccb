"""Texts: cut, joined, searched, hashed, and as numbers. A text is a string of bytes."""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError, UnimplementedError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import row_rules, rules
from graphflow.ops.hashing import farm_hash, murmur_hash, sip_hash
from graphflow.ops.patterns import pattern_of
from graphflow.ops.rules import Array
from graphflow.ops.segments import unsorted_shape
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape, broadcast_shapes

_SPACE = b" \t\n\r\f\v"


def _fail(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def _mapped(array: Array, function: Callable[[bytes], Any], dtype: Any = object) -> Array:
    """A function of each text."""
    result: Array = np.empty(array.shape, dtype)
    result.reshape(-1)[:] = [function(item) for item in array.reshape(-1).tolist()]
    return result


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


# ---------------------------------------------------------------------------- single texts


@op("StringLength", "input:string", "output:int32", "unit:string{BYTE|UTF8_CHAR}=BYTE", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def string_length_op(input: Array, *, unit: str) -> Array:
    """How many bytes, or letters, each text has."""
    if unit == "BYTE":
        return _mapped(input, len, np.int32)
    # A letter begins with each byte that does not go on with one.
    return _mapped(input, lambda text: sum(byte & 0xC0 != 0x80 for byte in text), np.int32)


string_length_op.by_row(row_rules.same_places)


def _in_case(change: str) -> Callable[..., Array]:
    def body(input: Array, *, encoding: str) -> Array:
        if encoding == "":
            return _mapped(input, lambda text: getattr(text, change)())
        return _mapped(input, lambda text: getattr(text.decode(errors="replace"), change)().encode())

    return body


@op("StringLower", "input:string", "output:string", "encoding:string{|utf-8}=", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def string_lower_op(input: Array, *, encoding: str) -> Array:
    """Each text in small letters."""
    return _in_case("lower")(input, encoding=encoding)


string_lower_op.by_row(row_rules.same_places)


@op("StringUpper", "input:string", "output:string", "encoding:string{|utf-8}=", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def string_upper_op(input: Array, *, encoding: str) -> Array:
    """Each text in capitals."""
    return _in_case("upper")(input, encoding=encoding)


string_upper_op.by_row(row_rules.same_places)


@op("StringStrip", "input:string", "output:string", "", infer=rules.same_as_first, differentiable=False)
def string_strip_op(input: Array) -> Array:
    """Each text without the white space at its ends."""
    return _mapped(input, lambda text: text.strip(_SPACE))


string_strip_op.by_row(row_rules.same_places)


@op("EncodeBase64", "input:string", "output:string", "pad:bool=false", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def encode_base64_op(input: Array, *, pad: bool) -> Array:
    """Each text in the letters of base 64 that may stand in addresses."""
    encode = base64.urlsafe_b64encode
    return _mapped(input, encode if pad else lambda text: encode(text).rstrip(b"="))


encode_base64_op.by_row(row_rules.same_places)


@op("DecodeBase64", "input:string", "output:string", "", infer=rules.same_as_first, differentiable=False)
def decode_base64_op(input: Array) -> Array:
    """Each text out of the letters of base 64."""

    def decode(text: bytes) -> bytes:
        bare = text.rstrip(b"=")
        if re.fullmatch(rb"[A-Za-z0-9_-]*", bare) is None or len(bare) % 4 == 1:
            raise _fail(f"Invalid character found in base64: {text!r}")
        try:
            return base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
        except binascii.Error as error:
            raise _fail(f"{text!r} is not base64: {error}") from None

    return _mapped(input, decode)


decode_base64_op.by_row(row_rules.same_places)


# ---------------------------------------------------------------------------- parts of texts


def _substr_shape(node: Any) -> TensorShape:
    pos, length = node.inputs[1].shape, node.inputs[2].shape
    try:
        pos.assert_is_compatible_with(length)
    except ValueError:
        raise ValueError(f"pos and len must have the same shape: {pos} and {length}") from None
    return broadcast_shapes(node.inputs[0].shape, pos)


@op("Substr", "input:string; pos:T; len:T", "output:string",
    "T:type{int32|int64}; unit:string{BYTE|UTF8_CHAR}=BYTE", infer=_substr_shape, differentiable=False)  # fmt: skip
def substr_op(input: Array, pos: Array, len: Array, *, unit: str) -> Array:
    """A part of each text, from a place on (counted from the end if negative), at most so long."""
    texts, places, lengths = np.broadcast_arrays(input, pos, len)
    result: Array = np.empty(texts.shape, object)
    made = []
    for at, (text, place, count) in enumerate(
        zip(
            texts.reshape(-1).tolist(), places.reshape(-1).tolist(), lengths.reshape(-1).tolist(), strict=True
        )
    ):
        units: Any = text if unit == "BYTE" else text.decode(errors="surrogateescape")
        size = units.__len__()
        if not -size <= place <= size:
            shown = text.decode(errors="replace")
            where = f"string at index {at}" if texts.ndim else "string"
            raise _fail(f"pos {place} out of range for {where}: {shown!r}")
        start = place + size if place < 0 else place
        # A negative length is a large one for bytes and none for characters.
        stop = size if count < 0 and unit == "BYTE" else start + max(count, 0)
        part = units[start:stop]
        made.append(part if unit == "BYTE" else part.encode(errors="surrogateescape"))
    result.reshape(-1)[:] = made
    return result


def _ragged_shapes(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 0, 1, "the input")
    rules.rank_exactly(node, 1, 0, "the separator")
    return [TensorShape([None, 2]), TensorShape([None]), TensorShape([2])]


def _as_sparse(rows: Sequence[Sequence[bytes]]) -> tuple[Array, Array, Array]:
    indices = [(i, j) for i, row in enumerate(rows) for j in range(len(row))]
    values: Array = np.empty(len(indices), object)
    values[:] = [item for row in rows for item in row]
    widest = max((len(row) for row in rows), default=0)
    return np.array(indices, np.int64).reshape(-1, 2), values, np.array([len(rows), widest], np.int64)


@op("StringSplit", "input:string; delimiter:string", "indices:int64; values:string; shape:int64",
    "skip_empty:bool=true", infer=_ragged_shapes, differentiable=False)  # fmt: skip
def string_split_op(input: Array, delimiter: Array, *, skip_empty: bool) -> tuple[Array, Array, Array]:
    """The parts of texts between any of the letters of the delimiter; without one, each byte is a part."""
    letters = bytes(delimiter[()])
    pattern = re.compile(b"[" + re.escape(letters) + b"]") if letters else None
    rows = []
    for text in input.tolist():
        parts = pattern.split(text) if pattern and text else [text[i : i + 1] for i in range(len(text))]
        rows.append([part for part in parts if part] if skip_empty else parts)
    return _as_sparse(rows)


@op("StringSplitV2", "input:string; sep:string", "indices:int64; values:string; shape:int64", "maxsplit:int=-1",
    infer=_ragged_shapes, differentiable=False)  # fmt: skip
def string_split_v2_op(input: Array, sep: Array, *, maxsplit: int) -> tuple[Array, Array, Array]:
    """The parts of texts as Python's `split` gives them; an empty separator stands for white space."""
    between = bytes(sep[()]) or None
    return _as_sparse([text.split(between, maxsplit) for text in input.tolist()])


@op("ReduceJoin", "inputs:string; reduction_indices:int32", "output:string",
    "keep_dims:bool=false; separator:string=",
    infer=lambda node: _joined_shape(node), differentiable=False)  # fmt: skip
def reduce_join_op(inputs: Array, reduction_indices: Array, *, keep_dims: bool, separator: str) -> Array:
    """Texts joined along axes: first along the first axis that is named, what comes of it along the next."""
    axes = rules.canonical_axes(reduction_indices, inputs.ndim)
    if len(axes) != reduction_indices.size:
        raise _fail(f"Duplicate reduction dimension in {reduction_indices.tolist()}")
    rest = [axis for axis in range(inputs.ndim) if axis not in axes]
    turned = inputs.transpose([*rest, *reversed(axes)])
    kept = [inputs.shape[axis] for axis in rest]
    count = int(np.prod([inputs.shape[axis] for axis in axes], dtype=np.int64))
    between = _bytes(separator)
    rows = turned.reshape(int(np.prod(kept, dtype=np.int64)), count)
    result: Array = np.empty(len(rows), object)
    result[:] = [between.join(row) for row in rows.tolist()]
    if keep_dims:
        kept = [1 if axis in axes else size for axis, size in enumerate(inputs.shape)]
    return result.reshape(kept)


def _joined_shape(node: Any) -> TensorShape:
    rules.rank_at_most(node, 1, 1, "reduction_indices")
    if node.constant(1) is not None and node.constant(1).size == 0:
        shape: TensorShape = node.inputs[0].shape
        return shape
    return rules.reduction(node)


@op("UnsortedSegmentJoin", "inputs:string; segment_ids:Tindices; num_segments:Tnumsegments", "output:string",
    "separator:string=; Tindices:type{int32|int64}; Tnumsegments:type{int32|int64}=int32",
    infer=lambda node: _segments_shape(node), differentiable=False)  # fmt: skip
def unsorted_segment_join_op(
    inputs: Array, segment_ids: Array, num_segments: Array, *, separator: str
) -> Array:
    """The texts of each segment joined, in the order in which they come."""
    count, ids = int(num_segments), segment_ids.reshape(-1)
    if not segment_ids.ndim:
        raise _fail("segment_ids must have at least one axis")
    if count < 0:
        raise _fail(f"num_segments must not be negative, got {count}")
    if inputs.shape[: segment_ids.ndim] != segment_ids.shape:
        raise _fail(
            f"segment_ids {list(segment_ids.shape)} are no leading part of inputs' {list(inputs.shape)}"
        )
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise _fail(f"segment_ids must be in [0, {count}), are from {int(ids.min())} to {int(ids.max())}")
    inner = inputs.shape[segment_ids.ndim :]
    width = math.prod(inner)
    parts: list[list[bytes]] = [[] for _ in range(count * width)]
    for segment, row in zip(ids.tolist(), inputs.reshape(ids.size, width).tolist(), strict=True):
        for i, text in enumerate(row):
            parts[segment * width + i].append(text)
    return _from_texts([_bytes(separator).join(texts) for texts in parts], (count, *inner))


def _segments_shape(node: Any) -> TensorShape:
    rules.rank_at_least(node, 1, 1, "segment_ids")
    return unsorted_shape(node)


# ---------------------------------------------------------------------------- patterns


@functools.lru_cache(maxsize=256)
def _rewrite(text: bytes, groups: int) -> tuple[bytes | int, ...]:
    """A replacement taken apart: texts, and numbers of groups."""
    parts: list[bytes | int] = []
    at = 0
    while at < len(text):
        if text[at : at + 1] != b"\\":
            parts.append(text[at : at + 1])
            at += 1
            continue
        follows = text[at + 1 : at + 2]
        if follows.isdigit() and int(follows) <= groups:
            parts.append(int(follows))
        elif follows == b"\\":
            parts.append(b"\\")
        else:
            raise _fail(f"Invalid rewrite: {text.decode(errors='replace')!r}")
        at += 2
    return tuple(parts)


def _replaced(input: Array, pattern: bytes, rewrite: bytes, everywhere: bool) -> Array:
    found = pattern_of(pattern)
    parts = _rewrite(rewrite, found.groups)
    return _mapped(input, lambda text: found.replaced(text, parts, everywhere))


def _scalar_pattern(node: Any) -> TensorShape:
    for position in range(1, len(node.inputs)):
        rules.rank_exactly(node, position, 0, "a pattern")
    return rules.same_as_first(node)


@op("RegexReplace", "input:string; pattern:string; rewrite:string", "output:string", "replace_global:bool=true",
    infer=_scalar_pattern, differentiable=False)  # fmt: skip
def regex_replace_op(input: Array, pattern: Array, rewrite: Array, *, replace_global: bool) -> Array:
    """Each text with what matches a pattern replaced."""
    return _replaced(input, bytes(pattern[()]), bytes(rewrite[()]), replace_global)


regex_replace_op.by_row(row_rules.same_places)


@op("StaticRegexReplace", "input:string", "output:string",
    "pattern:string; rewrite:string; replace_global:bool=true", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def static_regex_replace_op(input: Array, *, pattern: str, rewrite: str, replace_global: bool) -> Array:
    """Each text with what matches a pattern replaced."""
    return _replaced(input, _bytes(pattern), _bytes(rewrite), replace_global)


static_regex_replace_op.by_row(row_rules.same_places)


@op("RegexFullMatch", "input:string; pattern:string", "output:bool", "", infer=_scalar_pattern,
    differentiable=False)  # fmt: skip
def regex_full_match_op(input: Array, pattern: Array) -> Array:
    """Whether each text as a whole matches a pattern."""
    return _mapped(input, pattern_of(bytes(pattern[()])).matches, np.bool_)


regex_full_match_op.by_row(row_rules.same_places)


@op("StaticRegexFullMatch", "input:string", "output:bool", "pattern:string", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def static_regex_full_match_op(input: Array, *, pattern: str) -> Array:
    """Whether each text as a whole matches a pattern."""
    return _mapped(input, pattern_of(_bytes(pattern)).matches, np.bool_)


static_regex_full_match_op.by_row(row_rules.same_places)


# ---------------------------------------------------------------------------- numbers


@op("StringToNumber", "string_tensor:string", "output:out_type",
    "out_type:type{float32|float64|int32|int64|uint32|uint64}=float32", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def string_to_number_op(string_tensor: Array, *, out_type: DType) -> Array:
    """The number that each text spells."""
    low, high = (out_type.min, out_type.max) if out_type.is_integer else (0, 0)

    def number(text: bytes) -> Any:
        try:
            if b"_" in text:
                raise ValueError
            if out_type.is_integer:
                value = int(text)
                if not low <= value <= high:
                    raise ValueError
                return value
            return float(text)
        except ValueError:
            shown = text.decode(errors="replace")
            raise _fail(f"StringToNumberOp could not correctly convert string: {shown}") from None

    with np.errstate(over="ignore"):
        return _mapped(string_tensor, number, np.float64 if out_type.is_floating else out_type.numpy).astype(
            out_type.numpy
        )


string_to_number_op.by_row(row_rules.same_places)


@op("AsString", "input:T", "output:string",
    f"T:type{{{rules.NUMBERS}|bool|string}}; precision:int=-1; scientific:bool=false; shortest:bool=false; "
    "width:int=-1; fill:string=",
    infer=rules.same_as_first, differentiable=False)  # fmt: skip
def as_string_op(
    input: Array, *, T: DType, precision: int, scientific: bool, shortest: bool, width: int, fill: str
) -> Array:
    """Each number in print."""
    inexact = T.is_floating or T.is_complex
    if scientific and shortest:
        raise _fail("Cannot select both scientific and shortest notation")
    if precision >= 0 and not inexact:
        raise _fail(f"Precision can only be specified for floating types, not {T.name}")
    if (scientific or shortest) and not inexact:
        raise _fail(f"scientific and shortest formats can only be specified for floating types, not {T.name}")
    if fill not in ("", " ", "+", "-", "0", "#"):
        raise _fail(f"Fill string must be one of ' ', '+', '-', '0' and '#', got {fill!r}")
    form = "%" + fill + (str(width) if width > -1 else "")
    if inexact:
        form += (f".{precision}" if precision > -1 else "") + (
            "e" if scientific else "g" if shortest else "f"
        )
    flat = input.reshape(-1)
    if T is dtypes.string:
        texts = [(form + "s") % item.decode("latin-1") for item in flat.tolist()]
        return _from_texts([text.encode("latin-1") for text in texts], input.shape)
    if T is dtypes.bool_:
        texts = [(form + "s") % ("true" if item else "false") for item in flat.tolist()]
    elif T.is_complex:
        texts = [f"({form % item.real},{form % item.imag})" for item in flat.tolist()]
    elif T.is_floating:
        texts = [form % float(item) for item in flat]
    else:
        texts = [(form + "d") % int(item) for item in flat.tolist()]
    return _from_texts([text.encode() for text in texts], input.shape)


as_string_op.by_row(row_rules.same_places)


def _from_texts(texts: list[bytes], shape: tuple[int, ...]) -> Array:
    result: Array = np.empty(shape, object)
    result.reshape(-1)[:] = texts
    return result


# ---------------------------------------------------------------------------- hashes


@op("StringToHashBucket", "string_tensor:string", "output:int64", "num_buckets:int>=1",
    infer=rules.same_as_first, differentiable=False)  # fmt: skip
def string_to_hash_bucket_op(string_tensor: Array, *, num_buckets: int) -> Array:
    """A bucket for each text."""
    return _mapped(string_tensor, lambda text: murmur_hash(text) % num_buckets, np.int64)


string_to_hash_bucket_op.by_row(row_rules.same_places)


@op("StringToHashBucketFast", "input:string", "output:int64", "num_buckets:int>=1", infer=rules.same_as_first,
    differentiable=False)  # fmt: skip
def string_to_hash_bucket_fast_op(input: Array, *, num_buckets: int) -> Array:
    """A bucket for each text."""
    return _mapped(input, lambda text: farm_hash(text) % num_buckets, np.int64)


string_to_hash_bucket_fast_op.by_row(row_rules.same_places)


@op("StringToHashBucketStrong", "input:string", "output:int64", "num_buckets:int>=1; key:list(int)",
    infer=rules.same_as_first, differentiable=False)  # fmt: skip
def string_to_hash_bucket_strong_op(input: Array, *, num_buckets: int, key: Sequence[int]) -> Array:
    """A bucket for each text, which nobody can foretell who does not know the key."""
    if len(key) != 2:
        raise _fail(f"Key must have 2 elements, got {len(key)}")
    return _mapped(input, lambda text: sip_hash(text, key[0], key[1]) % num_buckets, np.int64)


string_to_hash_bucket_strong_op.by_row(row_rules.same_places)


@op("Fingerprint", "data:T; method:string", "fingerprint:uint8", "T:type",
    infer=lambda node: _fingerprint_shape(node), differentiable=False)  # fmt: skip
def fingerprint_op(data: Array, method: Array) -> Array:
    """Eight bytes for each row, by FarmHash."""
    if method.ndim or bytes(method.item()) != b"farmhash64":
        raise _fail(f"Unsupported fingerprint method: {method.tolist()!r}; there is farmhash64")
    if not data.ndim:
        raise _fail("data must have at least one axis")
    if data.dtype == object:
        rows = [[farm_hash(text) for text in row] for row in data.reshape(len(data), -1).tolist()]
        # The fingerprints of a row's texts are what a row of several has its own of.
        found = [
            row[0] if data.size == len(data) else farm_hash(np.array(row, "<u8").tobytes()) for row in rows
        ]
    else:
        found = [farm_hash(row.tobytes()) for row in np.ascontiguousarray(data)]
    return np.array(found, "<u8").view(np.uint8).reshape(len(data), 8)


def _fingerprint_shape(node: Any) -> TensorShape:
    rules.rank_exactly(node, 1, 0, "method")
    sizes = rules.rank_at_least(node, 0, 1, "data").as_tuple()
    return TensorShape([None if sizes is None else sizes[0], 8])


# ---------------------------------------------------------------------------- functions


def string_length(input: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    """Returns how many bytes each text has; with unit "UTF8_CHAR" how many letters; int32."""
    return emit.StringLength(input, unit=unit, name=name)


def string_lower(input: Any, encoding: str = "", name: str | None = None) -> Tensor:
    """Returns each text in small letters; beyond ASCII only with encoding "utf-8"."""
    return emit.StringLower(input, encoding=encoding, name=name)


def string_upper(input: Any, encoding: str = "", name: str | None = None) -> Tensor:
    """Returns each text in capitals; beyond ASCII only with encoding "utf-8"."""
    return emit.StringUpper(input, encoding=encoding, name=name)


def string_strip(input: Any, name: str | None = None) -> Tensor:
    """Returns each text without the white space at its ends."""
    return emit.StringStrip(input, name=name)


def encode_base64(input: Any, pad: bool = False, name: str | None = None) -> Tensor:
    """Returns each text in base 64 with the letters that may stand in addresses.

    Args:
      input: string tensor.
      pad: whether it is filled up with "=".
      name: a name.
    """
    return emit.EncodeBase64(input, pad=pad, name=name)


def decode_base64(input: Any, name: str | None = None) -> Tensor:
    """Returns each text out of base 64; see `encode_base64`."""
    return emit.DecodeBase64(input, name=name)


def substr(input: Any, pos: Any, len: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    """Returns a part of each text.

    Args:
      input: string tensor.
      pos: where it begins; from the end if negative. An integer tensor that broadcasts against `input`.
      len: how long it is at most; of the dtype and shape of `pos`.
      name: a name.
      unit: "BYTE" or "UTF8_CHAR".
    """
    return emit.Substr(input, pos, len, unit=unit, name=name)


def string_join(inputs: Sequence[Any], separator: str = "", name: str | None = None) -> Tensor:
    """Returns texts put one behind the other, element by element; scalars go with every element.

    Args:
      inputs: string tensors of one shape, or scalars.
      separator: what comes between.
      name: a name.
    """
    return emit.StringJoin(list(inputs), separator=separator, name=name)


def reduce_join(
    inputs: Any,
    axis: Any = None,
    keep_dims: bool | None = None,
    separator: str = "",
    name: str | None = None,
    reduction_indices: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Returns texts joined along axes.

    Args:
      inputs: string tensor.
      axis: an axis or a list of them: joined along the first one first; default all, from the last to the first.
      keep_dims: the old name of `keepdims`.
      separator: what comes between.
      name: a name.
      reduction_indices: the old name of `axis`.
      keepdims: whether the axes stay, with size one.
    """
    texts = convert_to_tensor(inputs, dtypes.string)
    axes = reduction_indices if axis is None else axis
    keep = keep_dims if keepdims is None else keepdims
    if axes is None:
        rank = texts.shape.rank
        axes = (
            emit.Range(emit.Rank(texts) - 1, -1, -1)
            if rank is None
            else np.arange(rank - 1, -1, -1, dtype=np.int32)
        )
    return emit.ReduceJoin(texts, axes, keep_dims=bool(keep), separator=separator, name=name)


def unsorted_segment_join(
    inputs: Any, segment_ids: Any, num_segments: Any, separator: str = "", name: str | None = None
) -> Tensor:
    """Returns the texts of each segment joined; string [num_segments, ...].

    Args:
      inputs: string tensor.
      segment_ids: int32 or int64: of a leading part of the shape of `inputs`, the segment of each text or row of
        texts.
      num_segments: how many segments there are; those without a text are empty texts.
      separator: what comes between.
      name: a name.

    Raises:
      InvalidArgumentError: if a segment is not in [0, num_segments).
    """
    texts = convert_to_tensor(inputs, dtypes.string)
    return emit.UnsortedSegmentJoin(texts, segment_ids, num_segments, separator=separator, name=name)


def string_bytes_split(input: Any, name: str | None = None) -> Tensor:
    """Returns the bytes of a text, each as a text; string [bytes].

    Args:
      input: string scalar; of more the result would be ragged.
      name: a name.

    Raises:
      UnimplementedError: if `input` is no scalar.
    """
    with name_scope(name, "StringsByteSplit", [input]):
        text = convert_to_tensor(input, dtypes.string)
        if text.shape.rank != 0:
            raise UnimplementedError(
                None, None,
                f"bytes_split takes one text, a scalar, got shape {text.shape}: of several the result would be a "
                "RaggedTensor, which there is none of; gf.string_split with delimiter=\"\" gives it as a SparseTensor",
            )  # fmt: skip
        result: Tensor = emit.StringSplit(emit.ExpandDims(text, 0), "", skip_empty=False)[1]
        return result


def fingerprint(data: Any, method: Any = "farmhash64", name: str | None = None) -> Tensor:
    """Returns eight bytes that tell the rows of a tensor apart; uint8 [rows, 8].

    Args:
      data: a tensor of rank one or more.
      method: "farmhash64", the only one.
      name: a name.
    """
    return emit.Fingerprint(data, convert_to_tensor(method, dtypes.string), name=name)


def string_split(
    source: Any,
    sep: Any = None,
    skip_empty: bool = True,
    delimiter: Any = None,
    result_type: str = "SparseTensor",
    name: str | None = None,
) -> SparseTensor:
    """Returns the parts of texts between any of some letters.

    Args:
      source: string vector.
      sep: the letters; default a space. Empty: each byte is a part.
      skip_empty: whether empty parts are left out.
      delimiter: the old name of `sep`.
      result_type: "SparseTensor".
      name: a name.

    Returns:
      A SparseTensor [texts, parts].

    Raises:
      ValueError: for another result type.
    """
    _only_sparse(result_type)
    letters = delimiter if sep is None else sep
    with name_scope(name, "StringSplit", [source]):
        given = " " if letters is None else letters
        texts = convert_to_tensor(source, dtypes.string)
        indices, values, shape = emit.StringSplit(
            texts, convert_to_tensor(given, dtypes.string), skip_empty=skip_empty
        )
        return SparseTensor(indices, values, shape)


def string_split_v2(
    input: Any = None,
    sep: Any = None,
    maxsplit: int = -1,
    result_type: str = "SparseTensor",
    source: Any = None,
    name: str | None = None,
) -> SparseTensor:
    """Returns the parts of texts as Python's `split` gives them.

    Args:
      input: string vector.
      sep: what stands between parts; default any white space.
      maxsplit: how often a text is cut at most; -1: as often as possible.
      result_type: "SparseTensor".
      source: the old name of `input`.
      name: a name.

    Returns:
      A SparseTensor [texts, parts].

    Raises:
      ValueError: for another result type.
    """
    _only_sparse(result_type)
    given = source if input is None else input
    with name_scope(name, "StringSplit", [given]):
        texts = convert_to_tensor(given, dtypes.string)
        if texts.shape.rank == 0:
            texts = emit.ExpandDims(texts, 0)
        between = convert_to_tensor("" if sep is None else sep, dtypes.string)
        indices, values, shape = emit.StringSplitV2(texts, between, maxsplit=maxsplit)
        return SparseTensor(indices, values, shape)


def _only_sparse(result_type: str) -> None:
    if result_type != "SparseTensor":
        raise ValueError(
            f"result_type must be 'SparseTensor', got {result_type!r}: there are no ragged tensors"
        )


def regex_replace(
    input: Any, pattern: Any, rewrite: Any, replace_global: bool = True, name: str | None = None
) -> Tensor:
    r"""Returns each text with what matches a pattern replaced.

    Args:
      input: string tensor.
      pattern: a regular expression; a text or a string scalar.
      rewrite: what comes in its place; `\1` stands for the first group.
      replace_global: whether all matches are replaced, or the first only.
      name: a name.
    """
    if isinstance(pattern, str | bytes) and isinstance(rewrite, str | bytes):
        return emit.StaticRegexReplace(
            input, pattern=pattern, rewrite=rewrite, replace_global=replace_global, name=name
        )
    return emit.RegexReplace(input, pattern, rewrite, replace_global=replace_global, name=name)


def regex_full_match(input: Any, pattern: Any, name: str | None = None) -> Tensor:
    """Returns whether each text as a whole matches a pattern; bool.

    Args:
      input: string tensor.
      pattern: a regular expression; a text or a string scalar.
      name: a name.
    """
    if isinstance(pattern, str | bytes):
        return emit.StaticRegexFullMatch(input, pattern=pattern, name=name)
    return emit.RegexFullMatch(input, pattern, name=name)


def as_string(
    input: Any,
    precision: int = -1,
    scientific: bool = False,
    shortest: bool = False,
    width: int = -1,
    fill: str = "",
    name: str | None = None,
) -> Tensor:
    """Returns each number in print.

    Args:
      input: a tensor of numbers, booleans or texts.
      precision: how many digits after the point; the default of C's `printf` if negative.
      scientific: whether with an exponent.
      shortest: whether in the shorter of both forms.
      width: how wide at least.
      fill: what fills it up: "0", " ", "+" or "-", as in C.
      name: a name.
    """
    return emit.AsString(
        input,
        precision=precision,
        scientific=scientific,
        shortest=shortest,
        width=width,
        fill=fill,
        name=name,
    )


def string_to_number(
    string_tensor: Any = None, out_type: Any = dtypes.float32, name: str | None = None, input: Any = None
) -> Tensor:
    """Returns the number that each text spells.

    Args:
      string_tensor: string tensor.
      out_type: float32, float64, int32 or int64.
      name: a name.
      input: another name of `string_tensor`.
    """
    given = input if string_tensor is None else string_tensor
    return emit.StringToNumber(given, out_type=as_dtype(out_type), name=name)


def string_to_hash_bucket(
    string_tensor: Any = None, num_buckets: int | None = None, name: str | None = None, input: Any = None
) -> Tensor:
    """Returns a bucket for each text, in [0, num_buckets); int64. `string_to_hash_bucket_fast` is better."""
    given = input if string_tensor is None else string_tensor
    return emit.StringToHashBucket(given, num_buckets=num_buckets, name=name)


def string_to_hash_bucket_fast(input: Any, num_buckets: int, name: str | None = None) -> Tensor:
    """Returns a bucket for each text, in [0, num_buckets); int64."""
    return emit.StringToHashBucketFast(input, num_buckets=num_buckets, name=name)


def string_to_hash_bucket_strong(
    input: Any, num_buckets: int, key: Sequence[int], name: str | None = None
) -> Tensor:
    """Returns a bucket for each text that nobody can foretell without the key, two integers; int64."""
    return emit.StringToHashBucketStrong(input, num_buckets=num_buckets, key=list(key), name=name)


__all__ = [
    "as_string", "decode_base64", "encode_base64", "fingerprint", "reduce_join", "regex_full_match",
    "regex_replace", "string_bytes_split", "string_join", "string_length", "string_lower", "string_split",
    "string_split_v2", "string_strip", "string_to_hash_bucket", "string_to_hash_bucket_fast",
    "string_to_hash_bucket_strong", "string_to_number", "string_upper", "substr", "unsorted_segment_join",
]  # fmt: skip
