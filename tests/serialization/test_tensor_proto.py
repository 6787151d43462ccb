"""Arrays as TensorProto: every element type, both encodings, and claims that memory could not hold."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from graphflow.serialization.proto import tensor_pb2, types_pb2
from graphflow.serialization.tensor_proto import array_to_proto, make_ndarray, make_tensor_proto

NUMBERS = [
    np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.int8, np.int16, np.int32, np.int64, np.uint8,
    np.uint16, np.uint32, np.uint64, np.bool_, np.complex64, np.complex128,
]  # fmt: skip


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    "values", [np.arange(6).reshape(2, 3), np.ones((2, 2)), np.array(1), np.zeros((0, 4))]
)
def test_round_trip(dtype: Any, values: np.ndarray[Any, Any]) -> None:
    array = values.astype(dtype)
    got = make_ndarray(tensor_pb2.TensorProto.FromString(array_to_proto(array).SerializeToString()))
    assert got.dtype == array.dtype and got.shape == array.shape
    assert got.tobytes() == array.tobytes()


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, min_side=0)))
@settings(deadline=None)
def test_all_floats_keep_their_value(array: np.ndarray[Any, Any]) -> None:
    got = make_ndarray(array_to_proto(array))
    assert np.array_equal(got, array, equal_nan=True) and np.array_equal(np.signbit(got), np.signbit(array))


def test_equal_elements_are_stored_once() -> None:
    assert array_to_proto(np.full((100, 100), 2.5, np.float32)).ByteSize() < 30
    assert len(array_to_proto(np.array([0.0, -0.0])).tensor_content) == 16


def test_strings() -> None:
    proto = make_tensor_proto([[b"a\0", b"\xff"]], shape=[2, 2])
    assert proto.dtype == types_pb2.DT_STRING
    assert make_ndarray(proto).tolist() == [[b"a\0", b"\xff"], [b"\xff", b"\xff"]]


@pytest.mark.parametrize("kind", ["float_val", "half_val", "scomplex_val", "int_val", "string_val"])
def test_short_lists_repeat_their_last_value(kind: str) -> None:
    dtype, values, want = {
        "float_val": (types_pb2.DT_FLOAT, [1.0, 2.0], [1, 2, 2, 2]),
        "half_val": (types_pb2.DT_BFLOAT16, [0x3F80], [1, 1, 1, 1]),
        "scomplex_val": (types_pb2.DT_COMPLEX64, [1.0, 2.0], [1 + 2j] * 4),
        "int_val": (types_pb2.DT_INT8, [-1], [-1] * 4),
        "string_val": (types_pb2.DT_STRING, [b"x"], [b"x"] * 4),
    }[kind]
    proto = tensor_pb2.TensorProto(dtype=dtype, **{kind: values})
    proto.tensor_shape.dim.add(size=4)
    assert make_ndarray(proto).tolist() == want
    proto.ClearField(kind)  # type: ignore[arg-type]
    assert make_ndarray(proto).tolist() == [b"" if kind == "string_val" else 0] * 4


@pytest.mark.parametrize("sizes", [[1 << 40], [-1], [-5], [1 << 62, 1 << 62], [1] * 40, [3]])
def test_claims_that_do_not_hold(sizes: list[int]) -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    content = tensor_pb2.TensorProto()
    content.CopyFrom(proto)
    content.tensor_content = b"\0" * 8
    for bad in (proto, content) if sizes != [3] else (content,):
        with pytest.raises(ValueError):
            make_ndarray(bad)


def test_other_nonsense() -> None:
    for bad in (
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2]),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_UINT8, int_val=[256]),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_COMPLEX64, scomplex_val=[1]),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT8_E5M2),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE),
        tensor_pb2.TensorProto(dtype=77),  # type: ignore[arg-type]
        tensor_pb2.TensorProto(),
    ):
        with pytest.raises(ValueError):
            make_ndarray(bad)
    with pytest.raises(TypeError):
        make_tensor_proto([1.5], dtype="int32")
    with pytest.raises(ValueError):
        make_tensor_proto([1, 2, 3], shape=[2])


def test_python_numbers_get_tensorflows_types() -> None:
    assert make_tensor_proto(1.0).dtype == types_pb2.DT_FLOAT
    assert make_tensor_proto([1, 2]).dtype == types_pb2.DT_INT32
    assert make_tensor_proto(1 << 40).dtype == types_pb2.DT_INT64
    assert make_tensor_proto(np.arange(2.0)).dtype == types_pb2.DT_DOUBLE
    assert make_tensor_proto([1, 2], dtype="float32").dtype == types_pb2.DT_FLOAT
