"""Checkpoints: what is written is read, damage is found and named, and nothing half-written counts."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as gf
from graphflow.errors import DataLossError, InvalidArgumentError, NotFoundError
from graphflow.opdef import emit
from graphflow.serialization import table, varint
from graphflow.serialization.slice_file import Slice, parse_slice
from graphflow.serialization.tensor_bundle import (
    BundleReader,
    BundleWriter,
    merge_bundles,
    read_bundle,
    write_bundle,
)
from graphflow.tfrecord import TFRecordWriter


def strings(*items: bytes) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), object)
    array[:] = items
    return array


TENSORS: dict[str, np.ndarray[Any, Any]] = {
    "float": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "double": np.array([np.nan, np.inf, -0.0]),
    "half": np.arange(5, dtype=np.float16),
    "bfloat16": np.arange(5).astype(ml_dtypes.bfloat16),
    "int8": np.array([-128, 127], np.int8),
    "uint16": np.array([[65535]], np.uint16),
    "int64": np.array(2**62),
    "uint64": np.array([2**64 - 1], np.uint64),
    "complex": np.array([1 + 2j], np.complex64),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "scope/with/slashes": np.zeros((), np.int32),
    "strings": strings(b"", b"one", b"\x00\xff" * 200),
    "no strings": np.empty((0,), object),
    "ünïcode": np.ones(2, np.float32),
}


def assert_same(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape
    assert got.tolist() == want.tolist() if want.dtype == object else got.tobytes() == want.tobytes()


def test_round_trip(tmp_path: Path) -> None:
    prefix = tmp_path / "deep" / "model.ckpt"
    write_bundle(prefix, TENSORS)
    assert sorted(os.listdir(prefix.parent)) == ["model.ckpt.data-00000-of-00001", "model.ckpt.index"]
    got = read_bundle(prefix)
    assert list(got) == sorted(TENSORS, key=str.encode)
    for name, array in TENSORS.items():
        assert_same(got[name], array)
    entry = BundleReader(prefix).entry("float")
    assert (entry.dtype.name, entry.shape) == ("float32", (3, 4))


def masked(data: bytes) -> int:
    """TensorFlow's checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_bytes_of_records_and_tables_are_as_the_formats_say(tmp_path: Path) -> None:
    crc = 0xE3069283  # of CRC-32C's own example
    assert masked(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    with TFRecordWriter(tmp_path / "records") as writer:
        writer.write(b"123456789")
    size = struct.pack("<Q", 9)
    record = size + struct.pack("<I", masked(size)) + b"123456789" + struct.pack("<I", masked(b"123456789"))
    assert (tmp_path / "records").read_bytes() == record
    array = np.float32([1, 2])
    write_bundle(tmp_path / "c", {"a": array})
    assert (tmp_path / "c.data-00000-of-00001").read_bytes() == array.tobytes()
    index = (tmp_path / "c.index").read_bytes()
    assert index.endswith(bytes.fromhex("57fb808b247547db"))
    # shard and offset are zero, so they are not written: the type, the shape, the size, and the fixed checksum.
    entry = b"\x08\x01\x12\x04\x12\x02\x08\x02\x28\x08\x35" + struct.pack("<I", masked(array.tobytes()))
    assert entry in index


def test_many_names_span_many_blocks(tmp_path: Path) -> None:
    names = {f"layer_{i:05d}/weights/Adam_{i % 3}": np.array(i) for i in range(20_000)}
    write_bundle(tmp_path / "c", names)
    reader = BundleReader(tmp_path / "c")
    assert len(reader.keys()) == 20_000
    assert reader.read("layer_12345/weights/Adam_0") == 12345


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no"):
        BundleReader(tmp_path / "nothing")
    write_bundle(tmp_path / "c", {"a": np.zeros(1)})
    with pytest.raises(NotFoundError, match='"b" not found'):
        BundleReader(tmp_path / "c").read("b")


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), BundleWriter(tmp_path / "c") as writer:
        writer.add("a", np.ones(3))
        writer.add("b", np.array([{}], object))
    assert os.listdir(tmp_path) == []
    with pytest.raises(InvalidArgumentError, match="twice"), BundleWriter(tmp_path / "c") as writer:
        writer.add("a", np.ones(3))
        writer.add("a", np.ones(3))
    assert os.listdir(tmp_path) == []


def test_a_damaged_value_is_named(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"a": np.ones(4), "b": np.ones(4), "s": strings(b"abc", b"de")})
    data = tmp_path / "c.data-00000-of-00001"
    good = data.read_bytes()
    data.write_bytes(good[:40] + b"\x55" + good[41:])
    reader = BundleReader(tmp_path / "c")
    assert reader.read("a").tolist() == [1, 1, 1, 1]
    with pytest.raises(DataLossError, match='tensor "b" is damaged: the checksum'):
        reader.read("b")
    for at in range(64, len(good)):
        data.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(DataLossError, match='tensor "s"'):
            reader.read("s")
    data.write_bytes(good[:50])
    with pytest.raises(DataLossError, match=r'tensor "b" is damaged: it ends at byte 64 of .* which has 50'):
        reader.read("b")
    data.unlink()
    with pytest.raises(DataLossError, match="there is no"):
        reader.read("a")


def test_every_damaged_index_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", TENSORS)
    index = tmp_path / "c.index"
    good = index.read_bytes()
    rng = random.Random(0)
    for length in (0, 1, 47, 48, len(good) // 2, len(good) - 1):
        index.write_bytes(good[:length])
        with pytest.raises(DataLossError, match="index"):
            BundleReader(tmp_path / "c")
    padding = range(len(good) - 48, len(good) - 8)
    for _ in range(300):
        at = rng.randrange(len(good))
        index.write_bytes(good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1 :])
        try:
            for name in BundleReader(tmp_path / "c").keys():
                BundleReader(tmp_path / "c").read(name)
        except DataLossError:
            continue
        assert at in padding
    index.write_bytes(rng.randbytes(500))
    with pytest.raises(DataLossError):
        BundleReader(tmp_path / "c")


def test_slices(tmp_path: Path) -> None:
    full = np.arange(200_000.0).reshape(20_000, 10)
    with BundleWriter(tmp_path / "c") as writer:
        for start, length in ((0, 64), (64, 9_000), (9_064, 10_936)):
            piece = Slice(full.shape, ((start, length), (0, 10)))
            writer.add_slice("w", piece, full[start : start + length])
    reader = BundleReader(tmp_path / "c")
    assert reader.keys() == ["w"]
    assert_same(reader.read("w"), full)
    wanted = parse_slice("20000 10 60,10:-")
    assert wanted is not None and wanted.shape == (10, 10)
    assert_same(reader.read("w", wanted), full[60:70])
    with pytest.raises(InvalidArgumentError, match="of shape"):
        reader.read("w", parse_slice("7 0,7"))


@pytest.mark.parametrize("text", ["x", "4", "4 0,9", "4 -1,2", "4 4 0,1", "4 0,1:0,1", "4 0"])
def test_malformed_slices(text: str) -> None:
    with pytest.raises(ValueError, match="describes no slice"):
        parse_slice(text)


def test_merge(tmp_path: Path) -> None:
    prefixes = [str(tmp_path / "part" / f"p-{i}") for i in range(2)]
    write_bundle(prefixes[0], {"a": np.arange(3)})
    write_bundle(prefixes[1], {"b": strings(b"x")})
    merge_bundles(prefixes, str(tmp_path / "whole"), delete_old_dirs=True)
    assert {name: array.tolist() for name, array in read_bundle(tmp_path / "whole").items()} == {
        "a": [0, 1, 2],
        "b": [b"x"],
    }
    assert not (tmp_path / "part").exists()


def test_snappy_blocks_are_read() -> None:
    # "abcd" as a literal, then eight bytes copied from four back: overlapping on purpose.
    assert (
        table._expand_snappy(b"\x0c" + bytes([3 << 2]) + b"abcd" + bytes([((8 - 4) << 2) | 1, 4]))
        == b"abcdabcdabcd"
    )
    for bad in (b"\x0c", b"\x04\x0cab", b"\x04\x01\x04", varint.write(1 << 40)):
        with pytest.raises(ValueError):
            table._expand_snappy(bad)


@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=60), max_size=60))
@settings(max_examples=60, deadline=None)
def test_tables_round_trip(entries: dict[bytes, bytes]) -> None:
    rows = sorted(entries.items())
    assert list(table.read_table(table.write_table(rows))) == rows


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_no_table(data: bytes) -> None:
    mark = table.MAGIC.to_bytes(8, "little")
    for contents in (data, data.ljust(40, b"\0") + mark):
        with pytest.raises(table.TableError):
            list(table.read_table(contents))


@given(st.integers(0, 2**64 - 1))
def test_varints_round_trip(value: int) -> None:
    encoded = varint.write(value)
    assert varint.read(encoded, 0) == (value, len(encoded))


def test_checkpoints_of_the_first_format(tmp_path: Path) -> None:
    """One tensor whole, one in slices, every type; what is cut short or claims too much is refused."""
    path = str(tmp_path / "old.ckpt")
    arrays = {
        "f": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32), "i": np.arange(5) - 2,
        "empty": np.zeros((0, 2)),
        "s": np.array([b"a", b"\0b"], object), "c": np.array([1 + 2j], np.complex64), "b": np.array(True),
        "h": np.array([1.5, -2], np.float16), "u": np.array([7, 255], np.uint8),
    }  # fmt: skip
    whole = np.arange(12.0).reshape(6, 2)
    with gf.Graph().as_default(), gf.Session() as session:
        names, values = [*arrays, "w", "w"], [*arrays.values(), whole[:4], whole[4:]]
        slices = [""] * len(arrays) + ["6 2 0,4:-", "6 2 4,2:-"]
        saved = emit.SaveSlices(path, names, slices, [gf.constant(value) for value in values])
        session.run(saved)
        assert gf.train.checkpoint_exists(path)
        reader = gf.train.NewCheckpointReader(path)
        assert reader.get_variable_to_shape_map() == {n: list(a.shape) for n, a in arrays.items()} | {
            "w": [6, 2]
        }
        for name, array in arrays.items():
            np.testing.assert_array_equal(reader.get_tensor(name), array)
            back = emit.Restore(path, name, dt=gf.as_dtype(array.dtype))
            np.testing.assert_array_equal(session.run(back), array)
        part = emit.RestoreSlice(path, "w", "6 2 3,2:-", dt=gf.float64)
        np.testing.assert_array_equal(session.run(part), whole[3:5])
    with gf.Graph().as_default(), gf.Session() as session:
        variable = gf.get_variable("f", [3, 4])
        gf.train.Saver().restore(session, path)
        np.testing.assert_array_equal(session.run(variable), arrays["f"])
    contents = Path(path).read_bytes()
    Path(path).write_bytes(contents[:200] + contents[-48:])
    with pytest.raises(gf.errors.DataLossError, match="damaged"):
        gf.train.NewCheckpointReader(path)


TENSORFLOW_READS = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
reader = tf.train.NewCheckpointReader(sys.argv[1])
print(sorted(reader.get_variable_to_shape_map()), reader.get_tensor("w").sum(), reader.get_tensor("s").tolist())
with tf.Session() as session:
    data = [tf.constant([1., 2.]), tf.constant([b"x"])]
    session.run(tf.raw_ops.Save(filename=sys.argv[2], tensor_names=["a", "b"], data=data))
"""


@pytest.mark.tensorflow
def test_tensorflow_reads_the_first_format_and_writes_it(
    tensorflow: Callable[..., str], tmp_path: Path
) -> None:
    mine, theirs = str(tmp_path / "mine"), str(tmp_path / "theirs")
    with gf.Graph().as_default(), gf.Session() as session:
        values = [gf.constant(np.ones((2, 3))), gf.constant([b"q"])]
        session.run(emit.Save(mine, ["w", "s"], values))
    assert "['s', 'w'] 6.0 [b'q']" in tensorflow(TENSORFLOW_READS, mine, theirs)
    reader = gf.train.NewCheckpointReader(theirs)
    assert reader.get_tensor("a").tolist() == [1, 2] and reader.get_tensor("b").tolist() == [b"x"]
