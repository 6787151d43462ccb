"""Samples of sparse tensors as messages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from graphflow.ops.sparse_messages import serialize_many_sparse_op, serialize_sparse_op
from tests.samples import Array, Sample, samples, uniform
from tests.samples.io import texts

INDICES = np.array([[0, 1], [2, 0], [2, 3]], np.int64)
SHAPE = np.array([3, 4], np.int64)
NUMBERS = uniform(3)


@samples("SerializeSparse", "SerializeManySparse")
def serialize_samples() -> Iterator[Sample]:
    yield Sample([INDICES, NUMBERS, SHAPE])
    yield Sample([INDICES, texts(b"a", b"", b"c"), SHAPE], constant=(2,))


@samples("DeserializeSparse")
def deserialize_samples() -> Iterator[Sample]:
    one: Array = serialize_sparse_op.body(INDICES, NUMBERS, SHAPE, out_type=dtypes.string)
    yield Sample([one], {"dtype": dtypes.float32})
    yield Sample([np.stack([one, one])], {"dtype": dtypes.float32}, name="two")


@samples("DeserializeManySparse")
def deserialize_many_samples() -> Iterator[Sample]:
    many: Array = serialize_many_sparse_op.body(INDICES, NUMBERS, SHAPE, out_type=dtypes.string)
    yield Sample([many], {"dtype": dtypes.float32})
