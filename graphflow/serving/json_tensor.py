"""JSON bodies of TensorFlow Serving's REST interface as arrays, and arrays as JSON."""

from __future__ import annotations

import array as packed
import base64
import binascii
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson

from graphflow import dtypes
from graphflow.backends.cpu.number_text import read_numbers
from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError, UnimplementedError
from graphflow.records import dataclass
from graphflow.serving.json_limits import check_json, may_be_too_many
from graphflow.serving.model import Signature

Array = np.ndarray[Any, Any]

_MOST_SHOWN = 200
# The names of DataType that differ from ours.
_TYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}
_WITHOUT_JSON = (dtypes.float16, dtypes.bfloat16, dtypes.complex64, dtypes.complex128)
_KINDS = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}


def _invalid(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def _type_name(dtype: DType) -> str:
    return _TYPE_NAMES.get(dtype.name, dtype.name)


def _shown(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "Bool"
    return _KINDS[type(value)]


def parse_request(body: bytes) -> dict[str, Any]:
    """Returns the JSON object of a request; `NaN`, `Infinity` and `-Infinity` are numbers.

    Raises:
      InvalidArgumentError: if the body is no JSON, no object, or beyond the limits of `json_limits`.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    check_json(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # It may hold the bare tokens that JSON proper lacks.
        try:
            value = json.loads(body)
        except json.JSONDecodeError as error:
            raise _invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
        except (ValueError, RecursionError) as error:
            raise _invalid(f"JSON Parse error: {error}") from None
    if not isinstance(value, dict):
        raise _invalid(f"JSON Value: {_shown(value)} Is not object")
    return value


def signature_name(request: Mapping[str, Any]) -> str:
    """Returns the signature that a request names, "" for the default one.

    Raises:
      InvalidArgumentError: if it is no text.
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid(
            f"JSON Value: {_shown(request)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def may_have_booleans(body: bytes) -> bool:
    """Whether `true` or `false` stands anywhere in a JSON text."""
    return b"true" in body or b"false" in body


def numbers(items: list[Any]) -> Array | None:
    """The numbers of a list that has no booleans, as float64; None if it holds anything else, or what float64 lacks."""
    try:
        return np.frombuffer(packed.array("d", items))
    except (OverflowError, TypeError):
        return None


_TOKEN = os.urandom(16).hex()
# Shorter texts are read as soon without.
_LIFTED_FROM = 1 << 8


@dataclass(slots=True)
class Lifted:
    """A JSON text from which lists of numbers have been taken: read each by itself, straight into an array.

    Attributes:
      text: the text, with a token in the place of each list, which no client can know.
      arrays: the lists, by their tokens.
    """

    text: bytes
    arrays: dict[str, Array]


def lift(text: bytes, key: bytes, dtype: np.dtype[Any], largest: float) -> Lifted | None:
    """Takes the lists of numbers out of a JSON text that stand behind a key; None if there are none.

    Where the key is not one, as within other text, what is left is no JSON: then nothing of this holds.

    Args:
      text: the text.
      key: in its quotes.
      dtype: float32 or float64.
      largest: lists with numbers that are larger, without their sign, stay in the text.
    """
    if len(text) < _LIFTED_FROM or may_be_too_many(text):
        return None
    parts: list[bytes] = []
    arrays: dict[str, Array] = {}
    done, at = 0, text.find(key)
    while at >= 0:
        at += len(key)
        opened = _OPENED.match(text, at)
        if opened is not None:
            begin = opened.end() - 1
            found = read_numbers(text, begin, dtype, largest)
            if found is None:
                return None
            token = f"{_TOKEN}{len(arrays)}"
            arrays[token], at = found
            parts += (text[done:begin], b'"', token.encode(), b'"')
            done = at
        at = text.find(key, at)
    return Lifted(b"".join([*parts, text[done:]]), arrays) if arrays else None


_OPENED = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\[")


def read_rows(body: bytes, signature_of: Callable[[str], Signature]) -> tuple[str, dict[str, Array]] | None:
    """Reads the request that most are: rows of numbers for the one input of a signature.

    Args:
      body: the text.
      signature_of: gives the signature of a name.

    Returns:
      The signature's name, and the input; None for all other requests, those that are wrong among them.
    """
    at = body.find(_INSTANCES, 0, _LIFTED_FROM)
    if at < 0:
        return None
    # Its numbers are read as those of the default signature; another one may come behind them.
    try:
        ((_, spec),) = signature_of("").inputs.items()
        if spec.dtype not in _MOST_INT:
            return None
        lifted = lift(body, _INSTANCES, np.dtype(spec.dtype.numpy), _MOST_INT[spec.dtype])
        if lifted is None:
            return None
        request = parse_request(lifted.text)
        array = lifted.arrays.get(request["instances"])
        name = signature_name(request)
        ((key, named),) = signature_of(name).inputs.items()
    except (InvalidArgumentError, KeyError, TypeError, ValueError):
        return None
    if array is None or "inputs" in request or named.dtype is not spec.dtype:
        return None
    return name, {key: array}


_INSTANCES = b'"instances"'


def inputs_of(
    request: Mapping[str, Any], signature: Signature, booleans: bool = True
) -> tuple[dict[str, Array], bool]:
    """Returns `(array per input, whether the request is in row form)`.

    Args:
      request: the JSON object.
      signature: what the inputs are.
      booleans: False promises that there are none in it, which saves looking at each number.

    Raises:
      InvalidArgumentError: if the request does not fit the signature.
      UnimplementedError: for an input whose dtype has no JSON form.
    """
    if not signature.inputs:
        raise _invalid("Failed to get input map for signature: it has no inputs")
    if "instances" in request:
        instances = request["instances"]
        if "inputs" in request:
            raise _invalid(
                f"JSON Value: {_shown(request)} Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist "
            )
        if not isinstance(instances, list):
            raise _invalid(f"JSON Value: {_shown(request)} Excepting 'instances' to be an list/array")
        if not instances:
            raise _invalid(f"JSON Value: {_shown(request)} No values in 'instances' array")
        return _rows(instances, signature, booleans), True
    if "inputs" in request:
        return _columns(request["inputs"], signature, booleans), False
    raise _invalid("Missing 'inputs' or 'instances' key")


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _rows(instances: list[Any], signature: Signature, booleans: bool) -> dict[str, Array]:
    names = list(signature.inputs)
    are_objects = isinstance(instances[0], dict) and not _is_base64(instances[0])
    if not are_objects and len(names) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for i, item in enumerate(instances):
        is_object = isinstance(item, dict) and not _is_base64(item)
        if are_objects and not is_object:
            raise _invalid(f"Expecting object but got list at item {i} of input list")
        if not are_objects and is_object:
            raise _invalid(f"Expecting value/list but got object at item {i} of input list")
        if not are_objects:
            columns[names[0]].append(item)
            continue
        for name in item:
            if name not in columns:
                raise _invalid(
                    f"Failed to process element: {i} key: {name} of 'instances' list. Error: "
                    f"INVALID_ARGUMENT: JSON object: does not have named input: {name}"
                )
        if len(item) != len(names):
            raise _invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {_shown(item)} keys must be "
                f"equal to: {','.join(names)}"
            )
        for name, value in item.items():
            columns[name].append(value)
    arrays = {}
    for name, column in columns.items():
        found = _fast(column, signature.inputs[name].dtype, booleans)
        arrays[name] = found if found is not None else _each_row(column, name, signature, are_objects)
    return arrays


def _each_row(column: list[Any], name: str, signature: Signature, are_objects: bool) -> Array:
    """Converts row by row, to say which one is wrong."""
    rows: list[Array] = []
    for i, item in enumerate(column):
        try:
            row = to_array(item, signature.inputs[name].dtype)
            if rows and row.size != rows[0].size:
                raise _invalid(f"Expecting tensor size: {rows[0].size} but got: {row.size}")
            if rows and row.shape != rows[0].shape:
                raise _invalid(
                    f"Expecting shape [{','.join(map(str, rows[0].shape))}] but got: "
                    f"[{','.join(map(str, row.shape))}]"
                )
        except InvalidArgumentError as error:
            key = f" key: {name}" if are_objects else ""
            raise _invalid(
                f"Failed to process element: {i}{key} of 'instances' list. Error: INVALID_ARGUMENT: "
                f"{error.message}"
            ) from None
        rows.append(row)
    return np.stack(rows)


def _columns(value: Any, signature: Signature, booleans: bool) -> dict[str, Array]:
    names = list(signature.inputs)
    if not isinstance(value, dict) or _is_base64(value):
        if len(names) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {names[0]: to_array(value, signature.inputs[names[0]].dtype, booleans)}
    arrays = {}
    for name, spec in signature.inputs.items():
        if name not in value:
            raise _invalid(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = to_array(value[name], spec.dtype, booleans)
    return arrays


def to_array(value: Any, dtype: DType, booleans: bool = True) -> Array:
    """Returns a JSON value (nested lists of equal length, or one leaf) as an array.

    Args:
      value: the value.
      dtype: the array's.
      booleans: as for `inputs_of`.

    Raises:
      InvalidArgumentError: for ragged lists and leaves of another type; shows the value.
      UnimplementedError: for a dtype that has no JSON form.
    """
    found = _fast(value, dtype, booleans)
    if found is not None:
        return found
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    leaves: list[Any] = []
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, level = stack.pop()
        if not isinstance(item, list):
            if level != len(shape):
                raise _invalid(
                    f"JSON Value: {_shown(item)} found at incorrect level: {level + 1} in the JSON DOM. Expected "
                    f"at level: {len(shape)}"
                )
            leaves.append(_leaf(item, dtype))
        elif level >= len(shape):
            raise _invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        elif len(item) != shape[level]:
            raise _invalid(
                f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: "
                f"{shape[level]}"
            )
        else:
            stack.extend((inner, level + 1) for inner in reversed(item))
    if dtype is dtypes.string:
        strings: Array = np.empty(len(leaves), object)
        strings[:] = leaves
        return strings.reshape(shape)
    return np.array(leaves, dtype.numpy).reshape(shape)


def _fast(value: Any, dtype: DType, booleans: bool = True) -> Array | None:
    """The array of a value in which all is as it should be; None where something needs a closer look."""
    items = [value]
    shape: list[int] = []
    while type(items[0]) is list:
        size = len(items[0])
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        shape.append(size)
        items = list(chain.from_iterable(items))
        if not items:
            break
    if not booleans and dtype in _MOST_INT:
        wide = numbers(items)
        # What is no larger than the whole numbers that it holds exactly needs no closer look; NaN compares as smaller.
        if wide is not None and not (np.abs(wide) > _MOST_INT[dtype]).any():
            return wide.astype(dtype.numpy).reshape(shape)
    kinds = set(map(type, items))
    if dtype in _MOST_INT:
        if not kinds <= {int, float}:
            return None
        if int in kinds and any(type(item) is int and abs(item) > _MOST_INT[dtype] for item in items):
            return None
        wide = np.array(items, np.float64)
        if dtype is dtypes.float32:
            finite = np.abs(wide[np.isfinite(wide)])
            if finite.size and finite.max() > dtypes.float32.max:
                return None
        return wide.astype(dtype.numpy).reshape(shape)
    if dtype is dtypes.bool_:
        return np.array(items, np.bool_).reshape(shape) if kinds <= {bool} else None
    if dtype.is_integer:
        if not kinds <= {int} or (items and not dtype.min <= min(items) <= max(items) <= dtype.max):
            return None
        return np.array(items, dtype.numpy).reshape(shape)
    if dtype is dtypes.string and kinds <= {str}:
        strings: Array = np.empty(len(items), object)
        strings[:] = [item.encode() for item in items]
        return strings.reshape(shape)
    return None


# Whole numbers that a floating-point type holds exactly, as TensorFlow Serving bounds them.
_MOST_INT = {dtypes.float32: (1 << 24) - 1, dtypes.float64: (1 << 53) - 1}


def _leaf(value: Any, dtype: DType) -> Any:
    if dtype in _WITHOUT_JSON:
        raise UnimplementedError(
            None, None, f"Conversion of JSON Value: {_shown(value)} to type: {_type_name(dtype)}"
        )
    if dtype is dtypes.string:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if isinstance(value, dict):
            return _decode_base64(value)
    elif dtype.is_bool:
        if isinstance(value, bool):
            return value
    elif isinstance(value, int) and not isinstance(value, bool):
        if dtype.is_integer and dtype.min <= value <= dtype.max:
            return value
        if dtype.is_floating:
            if abs(value) > _MOST_INT[dtype]:
                raise _lossy(value, dtype)
            return float(value)
    elif isinstance(value, float) and dtype.is_floating:
        if math.isfinite(value) and abs(value) > float(dtype.max):
            raise _lossy(value, dtype)
        return value
    raise _invalid(
        f"JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: {_type_name(dtype)}"
    )


def _lossy(value: Any, dtype: DType) -> InvalidArgumentError:
    return _invalid(
        f"Cannot convert JSON value: {_shown(value)} to {_type_name(dtype)} without loss of precision."
    )


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise _invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("Unable to base64 decode") from None


# ---------------------------------------------------------------------------------------------------- answers


def write_answer(outputs: Mapping[str, Array], rows: bool) -> bytes:
    """Returns the body of an answer: `{"predictions": …}` in row form, else `{"outputs": …}`.

    Floating-point numbers are written so that reading them back gives the same bits.

    Raises:
      InvalidArgumentError: if an output has no JSON form, or in row form no rows.
    """
    for name, array in outputs.items():
        dtype = dtypes.as_dtype(array.dtype)
        if dtype in _WITHOUT_JSON:
            raise _invalid(
                f"Failed to write JSON value for tensor type: {_type_name(dtype)} (output {name!r})"
            )
    if not rows:
        parts = [_write(array, name) for name, array in outputs.items()]
        if len(parts) == 1:
            return b'{"outputs":' + parts[0] + b"}"
        named = b",".join(orjson.dumps(name) + b":" + part for name, part in zip(outputs, parts, strict=True))
        return b'{"outputs":{' + named + b"}}"
    count: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if count is not None and array.shape[0] != count:
            raise _invalid(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {count}"
            )
        count = array.shape[0]
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return b'{"predictions":' + _write(array, name) + b"}"
    keys = [orjson.dumps(name) + b":" for name in outputs]
    items = [
        b"{" + b",".join(key + _write(array[i], name) for key, (name, array) in zip(keys, outputs.items(), strict=True))
        + b"}"
        for i in range(count or 0)
    ]  # fmt: skip
    return b'{"predictions":[' + b",".join(items) + b"]}"


def _write(value: Any, name: str) -> bytes:
    array = np.asarray(value)
    if array.dtype == object:
        return orjson.dumps(_texts(array, as_bytes=name.endswith("_bytes")))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _tokens(array).encode()
    if array.ndim == 0:
        return orjson.dumps(array[()], option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)


def _texts(array: Array, as_bytes: bool) -> Any:
    def one(item: bytes) -> Any:
        if not as_bytes:
            try:
                return item.decode()
            except UnicodeDecodeError:
                pass  # Not text: only base64 keeps it.
        return {"b64": base64.b64encode(item).decode()}

    flat: Array = np.empty(array.size, object)
    flat[:] = [one(item) for item in array.reshape(-1).tolist()]
    return flat.reshape(array.shape).tolist()


def _tokens(array: Array) -> str:
    """Numbers with NaN and infinities as the bare tokens that TensorFlow Serving writes and reads."""
    if array.ndim:
        return "[" + ",".join(_tokens(item) for item in array) + "]"
    if np.isnan(array):
        return "NaN"
    if np.isinf(array):
        return "Infinity" if array > 0 else "-Infinity"
    return orjson.dumps(array[()], option=orjson.OPT_SERIALIZE_NUMPY).decode()
