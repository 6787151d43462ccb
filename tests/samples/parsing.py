"""Samples of parsing. What examples hold is tested in tests/test_parsing.py too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.serialization.messages import serialize_tensor
from graphflow.serialization.proto import example_pb2, feature_pb2
from graphflow.shapes import TensorShape
from tests.samples import Array, Sample, samples, uniform
from tests.samples.io import texts
from tests.samples.strings import text


@samples("DecodeRaw")
def raw_samples() -> Iterator[Sample]:
    data = texts(bytes(range(16)), bytes(range(16, 32)))
    for dtype in (dtypes.uint8, dtypes.int16, dtypes.float32, dtypes.float64, dtypes.int64, dtypes.complex64):
        yield Sample([data], {"out_type": dtype}, name=dtype.name)
    yield Sample([data], {"out_type": dtypes.int32, "little_endian": False})
    yield Sample([text(b"\1\0\1")], {"out_type": dtypes.bool_})
    yield Sample([texts(b"", b"")], {"out_type": dtypes.float32}, name="nothing in them")


@samples("DecodePaddedRaw")
def padded_samples() -> Iterator[Sample]:
    yield Sample([texts(b"ab", b"abcdef", b""), np.int32(4)], {"out_type": dtypes.uint8})
    yield Sample([texts(b"ab", b"abcdef"), np.int32(4)], {"out_type": dtypes.int16, "little_endian": False})


@samples("DecodeCompressed")
def compressed_samples() -> Iterator[Sample]:
    yield Sample([texts(b"x\x9cKLJ\x06\x00\x02M\x01'")], {"compression_type": "ZLIB"})
    yield Sample([texts(b"plain")])


@samples("SerializeTensor")
def serialize_samples() -> Iterator[Sample]:
    yield Sample([uniform(2, 3)])
    yield Sample([texts(b"a", b"")])


@samples("ParseTensor")
def parse_tensor_samples() -> Iterator[Sample]:
    yield Sample([text(serialize_tensor(uniform(2, 3)))], {"out_type": dtypes.float32})
    yield Sample([text(serialize_tensor(texts(b"a", b"b")))], {"out_type": dtypes.string})


@samples("DecodeJSONExample")
def json_samples() -> Iterator[Sample]:
    yield Sample([texts(b'{"features": {"feature": {"a": {"int64List": {"value": [1, 2]}}}}}', b"{}")])


@samples("DecodeCSV")
def csv_samples() -> Iterator[Sample]:
    lines = texts(b"1,2.5,a", b",,b c", b'-3,1e3,"q,""x"""')
    defaults: list[Array] = [np.array([7], np.int32), np.array([0.5], np.float32), texts()]
    yield Sample([lines, defaults])
    wide: list[Array] = [np.zeros(1, np.int64), np.zeros(1)]
    yield Sample([texts(b"1;NA", b"2;3.5"), wide], {"field_delim": ";", "na_value": "NA"})
    yield Sample([text(b"1,x,2"), [np.array(0, np.int32)]], {"select_cols": [2]})
    yield Sample([texts(b'a"b,c'), [texts(b""), texts(b"")]], {"use_quote_delim": False})


def example(**features: Any) -> bytes:
    made = example_pb2.Example()
    for name, values in features.items():
        feature = made.features.feature[name]
        if values is None:
            continue
        if values and isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif values and isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return made.SerializeToString()


FIRST = example(size=[3, 4], name=[b"one"], weights=[0.5, 1.5, 2.5], tags=[b"x", b"y"])
SECOND = example(size=[5, 6], weights=[], tags=None, rows=[1, 2, 3, 4])
DENSE: list[Array] = [texts(b"nobody"), np.zeros(0, np.int64), np.array([0], np.int64)]
TYPES = [dtypes.string, dtypes.int64, dtypes.int64]
SHAPES = [TensorShape([]), TensorShape([2]), TensorShape([None, 2])]


@samples("ParseExample")
def parse_samples() -> Iterator[Sample]:
    keys = [text(b"tags"), text(b"weights")]
    yield Sample(
        [texts(FIRST, SECOND.replace(b"weights", b"weightz")), texts(), keys,
         [text(b"name"), text(b"size"), text(b"rows")], [DENSE[0].reshape(()), *DENSE[1:]]],
        {"sparse_types": [dtypes.string, dtypes.float32], "dense_shapes": SHAPES},
    )  # fmt: skip


@samples("ParseExampleV2")
def parse_v2_samples() -> Iterator[Sample]:
    attrs = {
        "num_sparse": 1, "sparse_types": [dtypes.string], "ragged_value_types": [], "ragged_split_types": [],
        "dense_shapes": SHAPES,
    }  # fmt: skip
    rest = [
        texts(),
        texts(b"tags"),
        texts(b"name", b"size", b"rows"),
        texts(),
        [DENSE[0].reshape(()), *DENSE[1:]],
    ]
    yield Sample([texts(FIRST, SECOND), *rest], attrs)
    yield Sample([text(FIRST), *rest], attrs, name="one")
    yield Sample([texts(), *rest], attrs, name="empty")


@samples("ParseSingleExample")
def parse_single_samples() -> Iterator[Sample]:
    attrs = {
        "num_sparse": 1, "sparse_keys": ["tags"], "dense_keys": ["name", "size", "rows"],
        "sparse_types": [dtypes.string], "dense_shapes": SHAPES,
    }  # fmt: skip
    for data in (FIRST, SECOND):
        yield Sample([text(data), [DENSE[0].reshape(()), *DENSE[1:]]], attrs)


def sequence() -> bytes:
    made = example_pb2.SequenceExample()
    made.context.feature["length"].int64_list.value.append(2)
    for step in range(2):
        one: feature_pb2.Feature = made.feature_lists.feature_list["steps"].feature.add()
        one.float_list.value.extend([step, step + 0.5])
        other = made.feature_lists.feature_list["words"].feature.add()
        other.bytes_list.value.extend([b"w"] * step)
    return made.SerializeToString()


@samples("ParseSingleSequenceExample")
def parse_sequence_samples() -> Iterator[Sample]:
    yield Sample(
        [text(sequence()), texts(b"absent"), [text(b"length")], [text(b"length")], [text(b"words")],
         [text(b"steps"), text(b"absent")], [np.zeros(0, np.int64)], text(b"name")],
        {"context_sparse_types": [dtypes.int64], "context_dense_shapes": [TensorShape([])],
         "feature_list_sparse_types": [dtypes.string], "feature_list_dense_types": [dtypes.float32, dtypes.int64],
         "feature_list_dense_shapes": [TensorShape([2]), TensorShape([])]},
    )  # fmt: skip


def sequences() -> Array:
    long, empty = example_pb2.SequenceExample.FromString(sequence()), example_pb2.SequenceExample()
    long.feature_lists.feature_list["words"].feature.add().bytes_list.value.extend([b"x", b"yy"])
    long.feature_lists.feature_list["steps"].feature.add().float_list.value.extend([7, 8])
    long.context.feature["length"].int64_list.value.append(3)
    long.context.feature["one"].int64_list.value.append(5)
    long.context.feature["ragged"].int64_list.value.extend([4, 5])
    for step in ([b"p", b"q"], [], [b"r"]):
        long.feature_lists.feature_list["letters"].feature.add().bytes_list.value.extend(step)
    empty.feature_lists.feature_list["steps"].SetInParent()
    return texts(sequence(), long.SerializeToString(), empty.SerializeToString())


@samples("ParseSequenceExample")
def parse_sequences_samples() -> Iterator[Sample]:
    yield Sample(
        [sequences(), texts(), [np.array(4, np.int64)]],
        {"feature_list_dense_missing_assumed_empty": ["absent"], "context_sparse_keys": ["length"],
         "context_dense_keys": ["one"], "feature_list_sparse_keys": ["words"],
         "feature_list_dense_keys": ["steps", "absent"], "context_sparse_types": [dtypes.int64],
         "Ncontext_sparse": 1, "Ncontext_dense": 1, "Nfeature_list_sparse": 1, "Nfeature_list_dense": 2,
         "context_dense_shapes": [TensorShape([])], "feature_list_sparse_types": [dtypes.string],
         "feature_list_dense_types": [dtypes.float32, dtypes.int64],
         "feature_list_dense_shapes": [TensorShape([2]), TensorShape([])]},
    )  # fmt: skip


@samples("ParseSequenceExampleV2")
def parse_sequences_v2_samples() -> Iterator[Sample]:
    yield Sample(
        [sequences(), texts(b"a", b"b", b"c"), texts(b"length"), texts(b"one"), texts(b"ragged", b"absent"),
         texts(b"words"), texts(b"steps", b"absent"), texts(b"letters"), np.array([False, True]),
         [np.array(4, np.int64)]],
        {"context_sparse_types": [dtypes.int64], "Ncontext_sparse": 1, "Nfeature_list_sparse": 1,
         "Nfeature_list_dense": 2, "context_dense_shapes": [TensorShape([])],
         "feature_list_sparse_types": [dtypes.string], "feature_list_dense_types": [dtypes.float32, dtypes.int64],
         "feature_list_dense_shapes": [TensorShape([2]), TensorShape([])],
         "context_ragged_value_types": [dtypes.int64, dtypes.float32],
         "context_ragged_split_types": [dtypes.int32, dtypes.int64],
         "feature_list_ragged_value_types": [dtypes.string], "feature_list_ragged_split_types": [dtypes.int64]},
    )  # fmt: skip
