"""Requests as arrays, arrays as answers: TensorFlow Serving's forms, and its words where they do not fit."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, UnimplementedError
from graphflow.serving.json_tensor import inputs_of, parse_request, read_rows, to_array, write_answer
from graphflow.serving.model import Signature, TensorSpec
from graphflow.shapes import TensorShape


def signature(**inputs: Any) -> Signature:
    specs = {
        name: TensorSpec(f"{name}:0", dtype, TensorShape(None)) for name, dtype in sorted(inputs.items())
    }
    return Signature(specs, {}, "", lambda: [])


ONE = signature(x=dtypes.float32)
TWO = signature(a=dtypes.float32, b=dtypes.string)


@pytest.mark.parametrize(
    ("request_", "of", "want"),
    [
        ({"instances": [1, 2.5]}, ONE, {"x": [1, 2.5]}),
        ({"instances": [[1], [2]]}, ONE, {"x": [[1], [2]]}),
        ({"instances": [{"x": [1]}, {"x": [2]}]}, ONE, {"x": [[1], [2]]}),
        ({"instances": [{"a": 1, "b": "s"}, {"b": {"b64": "/w=="}, "a": 2}]}, TWO,
         {"a": [1, 2], "b": [b"s", b"\xff"]}),
        ({"inputs": 3}, ONE, {"x": 3}),
        ({"inputs": [[1, 2]]}, ONE, {"x": [[1, 2]]}),
        ({"inputs": {"x": [[], []]}}, ONE, {"x": [[], []]}),
        ({"inputs": {"a": [1, 2, 3], "b": ["s"]}}, TWO, {"a": [1, 2, 3], "b": [b"s"]}),
        ({"inputs": {"b64": "aGk="}}, signature(s=dtypes.string), {"s": b"hi"}),
        ({"inputs": [True, False]}, signature(b=dtypes.bool_), {"b": [True, False]}),
        ({"inputs": [2**64 - 1]}, signature(u=dtypes.uint64), {"u": [2**64 - 1]}),
    ],
)  # fmt: skip
def test_requests(request_: dict[str, Any], of: Signature, want: dict[str, Any]) -> None:
    got, rows = inputs_of(parse_request(json.dumps(request_).encode()), of)
    assert {name: array.tolist() for name, array in got.items()} == want
    assert all(array.dtype == of.inputs[name].dtype.numpy for name, array in got.items())
    assert rows == ("instances" in request_)


NUMBERS = ", ".join(str(np.float32(1 / n)) for n in range(1, 60))


@pytest.mark.parametrize(
    ("body", "straight"),
    [
        ('{"instances": [%s]}', True),
        ('{"signature_name": "", "instances": [[%s], [%s]]}', True),
        ('{"instances": [[%s], [%s]], "signature_name": "", "more": [true, "[1]"]}', True),
        ('{"instances": [[[%s]]], "instances": [[%s]]}', True),  # of keys that come twice, the last
        ('{"instances": [{"x": [%s]}]}', False),
        ('{"inputs": [%s]}', False),
        ('{"instances": [1, %s], "inputs": 1}', False),
        ('{"instances": [true, %s]}', False),
        ('{"instances": [[1], [%s]]}', False),
        ('{"instances": [16777216, %s]}', False),
        ('{"instances": [1e30, %s]}', False),
        ('{"instances": [NaN, %s]}', False),
        ('{"instances": [%s]', False),
        ('{"instances": [%s]]}', False),
        ('["instances", [%s]]', False),
        ('{"more": {"instances": [%s]}, "instances": 1}', False),
        ('{"more": "\\"instances": [%s]", "instances": [1]}', False),
        ('{"instances": [%s], "signature_name": 1}', False),
        ('{"instances": [%s], "signature_name": "other"}', False),
    ],
)
def test_rows_straight_from_the_text_are_those_of_all_of_json(body: str, straight: bool) -> None:
    text = body.replace("%s", NUMBERS).encode()

    def signature_of(name: str) -> Signature:
        if name:
            raise InvalidArgumentError(None, None, f"no signature {name}")
        return ONE

    found = read_rows(text, signature_of)
    assert (found is not None) == straight
    if found is not None:
        wanted, _ = inputs_of(parse_request(text), ONE)
        assert found[0] == "" and found[1]["x"].dtype == wanted["x"].dtype
        np.testing.assert_array_equal(found[1]["x"], wanted["x"])
    assert read_rows(text, lambda _: TWO) is None
    assert read_rows(text, lambda _: signature(x=dtypes.int32)) is None


def test_bare_tokens_are_numbers() -> None:
    got, _ = inputs_of(parse_request(b'{"instances": [NaN, Infinity, -Infinity, 1e-3]}'), ONE)
    assert math.isnan(got["x"][0]) and got["x"].tolist()[1:3] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("body", "of", "text"),
    [
        (b"", ONE, "JSON Parse error: The document is empty"),
        (b"{", ONE, "JSON Parse error: .* at offset: 1"),
        (b"\xff\xfe", ONE, "JSON Parse error"),
        (b"[" * 100_000, ONE, "nested too deeply; 64 levels are the limit"),
        (b"[1]", ONE, r"JSON Value: \[1\] Is not object"),
        (b"{}", ONE, "Missing 'inputs' or 'instances' key"),
        (b'{"inputs": 1, "instances": [1]}', ONE, "expecting only one of 'inputs' or 'instances' keys"),
        (b'{"instances": 1}', ONE, "Excepting 'instances' to be an list/array"),
        (b'{"instances": []}', ONE, "No values in 'instances' array"),
        (b'{"instances": [1, 2]}', TWO, "instances is a plain list, but expecting list of objects"),
        (b'{"instances": [1, {"x": 1}]}', ONE, "Expecting value/list but got object at item 1"),
        (b'{"instances": [{"x": 1}, 1]}', ONE, "Expecting object but got list at item 1"),
        (b'{"instances": [{"y": 1}]}', ONE, "JSON object: does not have named input: y"),
        (b'{"instances": [{"a": 1}]}', TWO, "keys must be equal to: a,b"),
        (b'{"instances": [[1, 2], [1]]}', ONE, "element: 1 .*Expecting tensor size: 2 but got: 1"),
        (b'{"instances": [[[1, 2]], [[1], [2]]]}', ONE, r"Expecting shape \[1,2\] but got: \[2,1\]"),
        (b'{"instances": [[1, [2]]]}', ONE, "element: 0 .*unexpected level"),
        (b'{"instances": ["s"]}', ONE, 'JSON Value: "s" Type: String is not of expected type: float'),
        (b'{"instances": [true]}', ONE, "JSON Value: true Type: Bool is not of expected type: float"),
        (b'{"instances": [null]}', ONE, "JSON Value: null Type: Null is not of expected type: float"),
        (b'{"instances": [1e39]}', ONE, "Cannot convert JSON value: 1e\\+39 to float without loss"),
        (b'{"instances": [16777217]}', ONE, "to float without loss of precision"),
        (b'{"inputs": 1.0}', signature(i=dtypes.int32), "Type: Number is not of expected type: int32"),
        (b'{"inputs": 4294967296}', signature(i=dtypes.int32), "is not of expected type: int32"),
        (b'{"inputs": 1}', signature(i=dtypes.bool_), "is not of expected type: bool"),
        (b'{"inputs": {"b64": 3}}', signature(s=dtypes.string), "Missing named input: s"),
        (b'{"inputs": [{"b64": "*"}]}', signature(s=dtypes.string), "Unable to base64 decode"),
        (
            b'{"inputs": [{"b65": "aa"}]}',
            signature(s=dtypes.string),
            "not formatted correctly for base64 data",
        ),
        (b'{"inputs": [1]}', TWO, "inputs is a plain value/list"),
        (b'{"inputs": {"a": 1}}', TWO, "Missing named input: b in 'inputs' object"),
    ],
)
def test_what_does_not_fit(body: bytes, of: Signature, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        inputs_of(parse_request(body), of)


def test_types_without_json() -> None:
    for dtype, name in (
        (dtypes.float16, "half"),
        (dtypes.bfloat16, "bfloat16"),
        (dtypes.complex64, "complex64"),
    ):
        with pytest.raises(UnimplementedError, match=f"Conversion of JSON Value: 1 to type: {name}"):
            to_array([1], dtype)
        with pytest.raises(InvalidArgumentError, match=f"Failed to write JSON value for tensor type: {name}"):
            write_answer({"y": np.zeros(1, dtype.numpy)}, rows=False)


@given(arrays.arrays(st.sampled_from([np.float32, np.float64]), arrays.array_shapes(min_dims=1, min_side=0)))
@settings(deadline=None)
def test_numbers_survive_the_way_there_and_back(array: np.ndarray[Any, Any]) -> None:
    dtype = dtypes.as_dtype(array.dtype)
    answer = json.loads(write_answer({"y": array}, rows=True))["predictions"]
    got = np.array(answer, dtype.numpy).reshape(array.shape)
    finite = ~np.isnan(array)
    assert got[finite].tobytes() == array[finite].tobytes() and np.isnan(got[~finite]).all()
    back, _ = inputs_of(parse_request(write_answer({"y": array}, rows=False).replace(b"outputs", b"inputs")),
                        signature(y=dtype))  # fmt: skip
    assert np.array_equal(back["y"].reshape(array.shape), array, equal_nan=True)


def test_answers() -> None:
    two = {"a": np.float32([1, 2]), "b": np.array([[True], [False]])}
    assert json.loads(write_answer(two, rows=True)) == {
        "predictions": [{"a": 1.0, "b": [True]}, {"a": 2.0, "b": [False]}]
    }
    assert write_answer({"y": np.float32([1, 2])}, rows=True) == b'{"predictions":[1.0,2.0]}'
    assert json.loads(write_answer(two, rows=False))["outputs"]["b"] == [[True], [False]]
    assert json.loads(write_answer({"y": np.int64(2**62)}, rows=False)) == {"outputs": 2**62}
    texts = np.array([b"a", b"\xff"], object)
    assert json.loads(write_answer({"y": texts}, rows=True))["predictions"] == ["a", {"b64": "/w=="}]
    assert json.loads(write_answer({"y_bytes": texts}, rows=True))["predictions"][0] == {"b64": "YQ=="}
    assert write_answer({"y": np.array([np.nan, -np.inf])}, rows=True) == b'{"predictions":[NaN,-Infinity]}'
    with pytest.raises(InvalidArgumentError, match="Tensor name: y has no shape information"):
        write_answer({"y": np.float32(1)}, rows=True)
    with pytest.raises(InvalidArgumentError, match="inconsistent batch size: 3 expecting: 2"):
        write_answer({"a": np.zeros(2), "b": np.zeros(3)}, rows=True)
