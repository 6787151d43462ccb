"""Samples of ops on files and their names. Those that touch files are run in tests/test_saver.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow import dtypes
from tests.samples import Array, Sample, samples, uniform


def texts(*items: bytes) -> Array:
    array: np.ndarray[Any, Any] = np.empty(len(items), object)
    array[:] = items
    return array


PREFIX = np.array(b"prefix", object)


@samples("StringJoin")
def string_join_samples() -> Iterator[Sample]:
    yield Sample([[PREFIX, np.array(b"\xff\0", object)]])
    yield Sample([[texts(b"a", b""), PREFIX, texts(b"c", b"d")]], {"separator": ", "})
    yield Sample([[texts(), PREFIX]], name="empty")


@samples("ShardedFilename")
def sharded_filename_samples() -> Iterator[Sample]:
    yield Sample([PREFIX, np.int32(3), np.int32(12)])


@samples("SaveV2")
def save_samples() -> Iterator[Sample]:
    yield Sample(
        [PREFIX, texts(b"a", b"b"), texts(b"", b""), [uniform(2, 3), texts(b"x")]], differentiable=False
    )


@samples("RestoreV2")
def restore_samples() -> Iterator[Sample]:
    yield Sample(
        [PREFIX, texts(b"a"), texts(b"")], {"dtypes": [dtypes.float32]}, differentiable=False, exact=False
    )


@samples("MergeV2Checkpoints")
def merge_samples() -> Iterator[Sample]:
    yield Sample([texts(b"one", b"two"), PREFIX], differentiable=False)


@samples("Save")
def old_save_samples() -> Iterator[Sample]:
    yield Sample([PREFIX, texts(b"a", b"b"), [uniform(2, 3), texts(b"x")]], differentiable=False)


@samples("SaveSlices")
def save_slices_samples() -> Iterator[Sample]:
    yield Sample([PREFIX, texts(b"a"), texts(b"4 3 0,2:-"), [uniform(2, 3)]], differentiable=False)


@samples("Restore")
def old_restore_samples() -> Iterator[Sample]:
    yield Sample([PREFIX, np.array(b"a", object)], {"dt": dtypes.float32}, differentiable=False, exact=False)


@samples("RestoreSlice")
def restore_slice_samples() -> Iterator[Sample]:
    inputs = [PREFIX, np.array(b"a", object), np.array(b"4 3 0,2:-", object)]
    yield Sample(inputs, {"dt": dtypes.float32}, differentiable=False, exact=False)


@samples("ShardedFilespec")
def sharded_filespec_samples() -> Iterator[Sample]:
    yield Sample([PREFIX, np.int32(12)])
