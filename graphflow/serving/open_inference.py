"""Tensors of the Open Inference Protocol, version 2: JSON with binary tails, and gRPC's raw contents, as arrays."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError
from graphflow.records import dataclass, field
from graphflow.saved_model.signature_constants import DEFAULT_SERVING_SIGNATURE_DEF_KEY
from graphflow.serving import json_tensor
from graphflow.serving.json_limits import DEEPEST, check_json
from graphflow.serving.model import Model, Signature, TensorSpec
from graphflow.version import __version__

Array = np.ndarray[Any, Any]

PLATFORM = "tensorflow_savedmodel"
EXTENSIONS = ("binary_tensor_data", "model_repository")
SERVER = {"name": "graphflow", "version": __version__, "extensions": list(EXTENSIONS)}

_DATATYPES: dict[DType, str] = {
    dtypes.bool_: "BOOL", dtypes.uint8: "UINT8", dtypes.uint16: "UINT16", dtypes.uint32: "UINT32",
    dtypes.uint64: "UINT64", dtypes.int8: "INT8", dtypes.int16: "INT16", dtypes.int32: "INT32",
    dtypes.int64: "INT64", dtypes.float16: "FP16", dtypes.bfloat16: "BF16", dtypes.float32: "FP32",
    dtypes.float64: "FP64", dtypes.string: "BYTES",
}  # fmt: skip
_BY_NAME = {name: dtype for dtype, name in _DATATYPES.items()}
# The field of InferTensorContents that carries a datatype; FP16 and BF16 travel raw only.
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_MOST_ELEMENTS = 1 << 40
_LARGEST = {dtypes.float32: float(dtypes.float32.max), dtypes.float64: float(dtypes.float64.max)}


def _invalid(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def datatype(dtype: DType) -> str:
    """Returns the protocol's name of a dtype.

    Raises:
      InvalidArgumentError: for complex numbers and others that it has no name for.
    """
    if dtype not in _DATATYPES:
        raise _invalid(f"{dtype.name} has no datatype in this protocol")
    return _DATATYPES[dtype]


def signature_of(model: Model, parameters: Mapping[str, Any]) -> tuple[str, Signature]:
    """Returns the signature that a request means: the parameter `signature_name`, else the default one."""
    name = parameters.get("signature_name", DEFAULT_SERVING_SIGNATURE_DEF_KEY)
    if not isinstance(name, str):
        raise _invalid("the parameter signature_name is no text")
    return name, model.signature(name)


def metadata(model: Model, versions: Sequence[int]) -> dict[str, Any]:
    """Returns what is said of a model: its tensors, -1 for sizes that vary."""
    signature = model.signature()
    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [_described(name, spec) for name, spec in signature.inputs.items()],
        "outputs": [_described(name, spec) for name, spec in signature.outputs.items()],
    }


def _described(name: str, spec: TensorSpec) -> dict[str, Any]:
    sizes = spec.shape.as_tuple()
    shape = [-1] if sizes is None else [-1 if size is None else size for size in sizes]
    return {"name": name, "datatype": datatype(spec.dtype), "shape": shape}


@dataclass(slots=True)
class InferRequest:
    """An infer request, read.

    Attributes:
      id: what the client calls it; given back.
      signature_name: the signature.
      inputs: an array per input.
      outputs: the outputs asked for, and whether each goes back as bytes behind the JSON; empty asks for all.
      binary: whether outputs go back so where nothing is said of them.
      heads: what stands before tensors that go back as bytes, by what they are: of requests like this one.
    """

    id: str
    signature_name: str
    inputs: dict[str, Array]
    outputs: dict[str, bool] = field(default_factory=dict)
    binary: bool = False
    heads: dict[Any, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Tensor:
    """What a request says of an input; `size` bytes of it stand behind the JSON, or it is `data`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    size: int | None
    data: Any


@dataclass(slots=True)
class Layout:
    """The JSON of a request: what it asks for, but for the bytes behind it."""

    id: str
    signature_name: str
    tensors: list[_Tensor]
    outputs: dict[str, bool]
    binary: bool
    booleans: bool
    heads: dict[Any, bytes] = field(default_factory=dict)


# Clients send the same few bytes of JSON around or before their tensors, again and again: what they say is kept.
_LONGEST_KEPT, _MOST_KEPT = 1 << 10, 256


def from_json(body: bytes, json_size: int | None, model: Model) -> InferRequest:
    """Reads the body of an infer request: JSON, and behind it the tensors that say their size in bytes.

    Args:
      body: all of it.
      json_size: how many bytes of it are JSON; None means all.
      model: whose signature gives the dtypes.

    Raises:
      InvalidArgumentError: if it is not of that form, or does not fit the signature.
    """
    size = len(body) if json_size is None else json_size
    if not 0 <= size <= len(body):
        raise _invalid(f"Inference-Header-Content-Length is {size}, the body has {len(body)} bytes")
    text, tail = body[:size], memoryview(body)[size:]
    dtype = _lifted_as(model) if size > _LONGEST_KEPT else None
    if dtype is not None:
        lifted = json_tensor.lift(text, b'"data"', np.dtype(dtype.numpy), _LARGEST[dtype])
        # What is wrong with a request is told by its own words.
        with contextlib.suppress(InvalidArgumentError):
            if lifted is not None:
                return _filled(_layout(lifted.text, model), tail, lifted.arrays)
    return _filled(_layout(text, model), tail)


def _filled(layout: Layout, tail: memoryview, arrays: Mapping[str, Array] | None = None) -> InferRequest:
    """The request of this layout, with what stands behind its JSON, and lists of numbers that were taken out of it."""
    inputs: dict[str, Array] = {}
    for tensor in layout.tensors:
        key, count = tensor.name, tensor.size
        if count is not None:
            if count > len(tail):
                raise _invalid(
                    f"input '{key}': binary_data_size {count!r}, but {len(tail)} bytes are left of the body"
                )
            inputs[key], tail = from_bytes(key, tensor.kind, tensor.shape, tail[:count]), tail[count:]
        elif arrays is None:
            inputs[key] = _from_json_data(key, tensor.kind, tensor.shape, tensor.data, layout.booleans)
        else:
            inputs[key] = _lifted(tensor, arrays)
    if len(tail):
        raise _invalid(f"unexpected additional input data: {len(tail)} bytes behind the last input")
    return InferRequest(layout.id, layout.signature_name, inputs, layout.outputs, layout.binary, layout.heads)


def _lifted_as(model: Model) -> DType | None:
    """What a request's numbers are read as straight from the text, by the signature that most mean."""
    signature = model.signatures.get(DEFAULT_SERVING_SIGNATURE_DEF_KEY)
    for spec in () if signature is None else signature.inputs.values():
        if spec.dtype is dtypes.float32 or spec.dtype is dtypes.float64:
            return spec.dtype
    return None


def _lifted(tensor: _Tensor, arrays: Mapping[str, Array]) -> Array:
    array = arrays.get(tensor.data) if isinstance(tensor.data, str) else None
    if array is None or array.dtype != _BY_NAME[tensor.kind].numpy or array.size != _count(tensor.shape):
        raise _invalid(f"input '{tensor.name}' is not of numbers alone")
    return array.reshape(tensor.shape)


def _layout(text: bytes, model: Model) -> Layout:
    """What the JSON of an infer request says, read once if it is short; raises as `from_json`."""
    if len(text) > _LONGEST_KEPT:
        return _read_layout(text, model)
    found: Layout | None = model.layouts.get(text)
    if found is None:
        found = _read_layout(text, model)
        if len(model.layouts) >= _MOST_KEPT:
            model.layouts.clear()
        model.layouts[text] = found
    return found


def _read_layout(text: bytes, model: Model) -> Layout:
    check_json(text)
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"failed to parse the request JSON buffer: {error}") from None
    if not isinstance(request, dict):
        raise _invalid("the request is no JSON object")
    parameters = _object(request.get("parameters", {}), "parameters")
    name, signature = signature_of(model, parameters)
    given = request.get("inputs")
    if not isinstance(given, list):
        raise _invalid("Unable to parse 'inputs': an array of tensors is expected")
    tensors: dict[str, _Tensor] = {}
    for item in given:
        tensor = _object(item, "an input")
        key, kind, shape = _header(tensor.get("name"), tensor.get("datatype"), tensor.get("shape"), signature)
        if key in tensors:
            raise _invalid(f"input '{key}' comes twice")
        count = _object(tensor.get("parameters", {}), f"parameters of '{key}'").get("binary_data_size")
        if count is not None and (not isinstance(count, int) or count < 0):
            raise _invalid(f"input '{key}': binary_data_size {count!r} is no number of bytes")
        tensors[key] = _Tensor(key, kind, shape, count, tensor.get("data"))
    binary = parameters.get("binary_data_output", False) is True
    outputs = {}
    for item in request.get("outputs") or ():
        wanted = _object(item, "an output")
        asked = _object(wanted.get("parameters", {}), "parameters of an output").get("binary_data", binary)
        outputs[_output(wanted.get("name"), signature)] = asked is True
    booleans = json_tensor.may_have_booleans(text)
    return Layout(str(request.get("id", "")), name, list(tensors.values()), outputs, binary, booleans)


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{what}: an object is expected")
    return value


def _output(name: Any, signature: Signature) -> str:
    if name not in signature.outputs:
        raise _invalid(f"unexpected inference output '{name}'; there are {list(signature.outputs)}")
    return str(name)


def _header(name: Any, kind: Any, shape: Any, signature: Signature) -> tuple[str, str, tuple[int, ...]]:
    """Checks what a tensor says of itself."""
    if not isinstance(name, str) or name not in signature.inputs:
        raise _invalid(f"unexpected inference input '{name}'; there are {list(signature.inputs)}")
    expected = datatype(signature.inputs[name].dtype)
    if kind != expected:
        raise _invalid(f"inference input '{name}' data-type is '{kind}', but the model expects '{expected}'")
    sizes = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else None
    if sizes is None or any(
        not isinstance(size, int) or isinstance(size, bool) or size < 0 for size in sizes
    ):
        raise _invalid(f"input '{name}': shape must be a list of sizes, got {shape!r}")
    if len(sizes) > DEEPEST:
        raise _invalid(f"input '{name}': {len(sizes)} axes; {DEEPEST} are the limit")
    count = 1
    for size in sizes:
        count *= max(size, 1)
        if count > _MOST_ELEMENTS:
            raise _invalid(f"input '{name}': a tensor of shape {sizes} is too large")
    return name, expected, tuple(sizes)


def _count(shape: Sequence[int]) -> int:
    return math.prod(shape)


def _from_json_data(name: str, kind: str, shape: tuple[int, ...], data: Any, booleans: bool) -> Array:
    if not isinstance(data, list):
        data = [data]
    flat = _flattened(data)
    if len(flat) != _count(shape):
        raise _invalid(f"input '{name}': {len(flat)} elements for the shape {list(shape)}")
    dtype = _BY_NAME[kind]
    if not booleans and dtype in (dtypes.float32, dtypes.float64):
        wide = json_tensor.numbers(flat)
        if wide is not None and not (np.abs(wide) > dtype.max).any():
            return wide.astype(dtype.numpy).reshape(shape)
    accepted: tuple[type, ...] = (int, float)
    if kind == "BYTES":
        accepted = (str,)
    elif kind == "BOOL":
        accepted = (bool,)
    elif not dtype.is_floating:
        accepted = (int,)
    for item in flat:
        if not isinstance(item, accepted) or (isinstance(item, bool) and kind != "BOOL"):
            raise _invalid(f"input '{name}': {item!r} is no {kind}")
    if kind == "BYTES":
        texts = np.empty(len(flat), object)
        texts[:] = [item.encode() for item in flat]
        return texts.reshape(shape)
    try:
        return np.array(flat, dtype.numpy).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise _invalid(f"input '{name}': {error}") from None


def _flattened(data: list[Any]) -> list[Any]:
    """The elements of nested lists, row by row; deep nests end where lists end."""
    while data and isinstance(data[0], list):
        if not all(isinstance(item, list) for item in data):
            raise _invalid("data: lists and elements stand side by side")
        data = [element for item in data for element in item]
    return data


def from_bytes(name: str, kind: str, shape: Sequence[int], data: Any) -> Array:
    """Returns the tensor of raw little-endian contents; BYTES have each element's length (u32) before it.

    Raises:
      InvalidArgumentError: if the bytes are too few or too many.
    """
    count = _count(shape)
    if kind != "BYTES":
        dtype = np.dtype(_BY_NAME[kind].numpy)
        if len(data) != count * dtype.itemsize:
            raise _invalid(
                f"input '{name}': {len(data)} bytes for {count} elements of {kind} ({count * dtype.itemsize} expected)"
            )
        return np.frombuffer(data, dtype).reshape(shape)
    found: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        if end - position < 4:
            raise _invalid(f"input '{name}': the bytes end within a length")
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
        if length > end - position:
            raise _invalid(f"input '{name}': an element of {length} bytes, but {end - position} are left")
        found.append(bytes(data[position : position + length]))
        position += length
    if len(found) != count:
        raise _invalid(f"input '{name}': {len(found)} elements for the shape {list(shape)}")
    texts = np.empty(count, object)
    texts[:] = found
    return texts.reshape(tuple(shape))


def as_bytes(array: Array) -> bytes:
    """Returns the raw contents of a tensor."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    parts = []
    for item in array.ravel():
        text = item if isinstance(item, bytes) else str(item).encode()
        parts += [struct.pack("<I", len(text)), text]
    return b"".join(parts)


def to_json(request: InferRequest, model: Model, results: Mapping[str, Array]) -> tuple[bytes, int]:
    """Returns the body of the answer and how many bytes of it are JSON."""
    wanted = request.outputs or dict.fromkeys(results, request.binary)
    tensors, tail = [], []
    for name, binary in wanted.items():
        array = results[name]
        if binary:
            data = as_bytes(array)
            tail.append(data)
            tensors.append(_head(request, name, array, len(data)))
        else:
            tensors.append(b"%b%b}" % (_head(request, name, array, None), _json_data(array)))
    key = (model.name, model.version, request.id)
    start = request.heads.get(key)
    if start is None:
        answer = {"model_name": model.name, "model_version": str(model.version)}
        start = orjson.dumps(answer | {"id": request.id} if request.id else answer)[:-1]
        request.heads[key] = start
    header = b'%b,"outputs":[%b]}' % (start, b",".join(tensors))
    return b"".join([header, *tail]), len(header)


def _head(request: InferRequest, name: str, array: Array, size: int | None) -> bytes:
    """What is said of an output: all where it goes back as so many bytes, else what stands before its elements."""
    key = (name, array.dtype, array.shape, size)
    found = request.heads.get(key)
    if found is None:
        kind = datatype(dtypes.as_dtype(array.dtype))
        tensor: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(array.shape)}
        if size is not None:
            tensor["parameters"] = {"binary_data_size": size}
        found = orjson.dumps(tensor)
        if size is None:
            found = found[:-1] + b',"data":'
        if len(request.heads) >= _MOST_KEPT:
            request.heads.clear()
        request.heads[key] = found
    return found


def _json_data(array: Array) -> bytes:
    """The elements of an output, row by row."""
    if array.dtype == object:
        texts = [
            item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
            for item in array.ravel()
        ]
        return orjson.dumps(texts)
    if dtypes.as_dtype(array.dtype) is dtypes.bfloat16:
        array = array.astype(np.float32)
    flat = np.ascontiguousarray(array).ravel()
    if array.dtype in _WRITTEN_STRAIGHT:
        found = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
        if array.dtype.kind != "f" or b"null" not in found:
            return found
    # What is not finite has no JSON proper; the standard library writes what Python's clients read.
    return json.dumps(flat.tolist(), separators=(",", ":")).encode()


# Arrays of these orjson writes by itself.
_WRITTEN_STRAIGHT = tuple(
    np.dtype(name)
    for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
)  # fmt: skip


def parameters_of(proto: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of InferParameter messages."""
    return {
        name: getattr(item, which) if (which := item.WhichOneof("parameter_choice")) else None
        for name, item in proto.items()
    }


def from_proto(request: Any, model: Model) -> InferRequest:
    """Reads a ModelInferRequest; raises as `from_json`."""
    name, signature = signature_of(model, parameters_of(request.parameters))
    raw = request.raw_input_contents
    if len(raw) and len(raw) != len(request.inputs):
        raise _invalid(
            f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs: all are raw, or none"
        )
    inputs: dict[str, Array] = {}
    for i, tensor in enumerate(request.inputs):
        key, kind, shape = _header(tensor.name, tensor.datatype, tensor.shape, signature)
        if key in inputs:
            raise _invalid(f"input '{key}' comes twice")
        if len(raw):
            if tensor.HasField("contents"):
                raise _invalid(f"input '{key}' has contents and raw_input_contents; one of them is expected")
            inputs[key] = from_bytes(key, kind, shape, raw[i])
        else:
            inputs[key] = _from_contents(key, kind, shape, tensor.contents)
    outputs = {_output(item.name, signature): True for item in request.outputs}
    return InferRequest(request.id, name, inputs, outputs, True)


def _from_contents(name: str, kind: str, shape: tuple[int, ...], contents: Any) -> Array:
    if kind not in _CONTENTS:
        raise _invalid(f"input '{name}': {kind} is sent as raw_input_contents")
    values = getattr(contents, _CONTENTS[kind])
    if len(values) != _count(shape):
        raise _invalid(f"input '{name}': {len(values)} elements for the shape {list(shape)}")
    if kind == "BYTES":
        texts = np.empty(len(values), object)
        texts[:] = list(values)
        return texts.reshape(shape)
    wide = np.array(values)
    narrow = wide.astype(_BY_NAME[kind].numpy)
    if kind not in ("FP32", "FP64") and not np.array_equal(narrow, wide):
        raise _invalid(f"input '{name}': a number does not fit into {kind}")
    return narrow.reshape(shape)
