"""Checkpoints, models, records and summaries that mean harm: read or refused by an error, in bounded time and memory.

More of them by hand: GRAPHFLOW_MUTATIONS=20000. Checksums are made anew after each change, so that what is behind them
is tried as well; some files are only damaged.
"""

from __future__ import annotations

import functools
import gzip
import os
import random
import struct
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import checksum
from graphflow.serialization import table, varint
from graphflow.serialization.proto import saved_model_pb2, saved_tensor_slice_pb2, tensor_bundle_pb2
from graphflow.serialization.slice_file import Slice, slice_file_bytes, slice_key
from graphflow.serialization.tensor_bundle import BundleWriter, open_checkpoint
from graphflow.tfrecord import RecordReader, TFRecordWriter
from tests.serialization.mutations import changed, damaged
from tests.shares import seeds

FILES = int(os.environ.get("GRAPHFLOW_MUTATIONS", "240")) // 6
PATIENCE = 20.0
REFUSALS = (ValueError, OSError, RuntimeError, gf.errors.OpError)
DATA = "variables.data-00000-of-00001"


def found_wanting(seed: int, read: Callable[[], Any]) -> Iterator[str]:
    """Says what is wrong with how something is read, if anything."""
    began = time.process_time()
    try:
        read()
    except REFUSALS as error:
        if not str(error):
            yield f"seed {seed}: {type(error).__name__} without a word"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-3:]
        yield f"seed {seed}: {type(error).__name__}: {str(error)[:300]} {[f'{f.name}:{f.lineno}' for f in where]}"
    if time.process_time() - began > PATIENCE:
        yield f"seed {seed}: {time.process_time() - began:.0f} s"


def tell(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


# ---------------------------------------------------------------------------- checkpoints


def checkpoint(prefix: Path) -> None:
    with BundleWriter(prefix) as writer:
        writer.add("w", np.arange(12, dtype=np.float32).reshape(3, 4))
        writer.add("texts", np.array([b"one", b"", b"three"], object))
        writer.add("none", np.zeros((0, 3), np.int64))
        for start in (0, 2):
            piece = Slice((4, 2), ((start, 2), (0, 2)))
            writer.add_slice("parts", piece, np.full((2, 2), start, np.float64))


def read_all(prefix: Path) -> None:
    reader = open_checkpoint(prefix)
    errors = []
    for name in reader.keys():
        try:
            entry, value = reader.entry(name), reader.read(name)
            assert value.shape == entry.shape and value.dtype == entry.dtype.numpy
        except REFUSALS as error:
            errors.append(error)
    if errors:
        raise errors[0]


def rewritten(index: bytes, chance: random.Random) -> bytes:
    """A checkpoint's index that tells something else, with sound checksums."""
    rows = dict(table.read_table(index))
    key = chance.choice(sorted(rows))
    kind: Any = tensor_bundle_pb2.BundleEntryProto if key else tensor_bundle_pb2.BundleHeaderProto
    message = kind.FromString(rows[key])
    changed(message, chance, chance.choice((1, 1, 2, 4)))
    rows[key] = message.SerializeToString()
    return table.write_table(sorted(rows.items()))


def test_checkpoints(tmp_path: Path) -> None:
    prefix = tmp_path / "variables"
    checkpoint(prefix)
    index, data = (tmp_path / "variables.index").read_bytes(), (tmp_path / DATA).read_bytes()
    problems = []
    for seed in seeds(FILES):
        chance = random.Random(seed)
        what = seed % 4
        (tmp_path / "variables.index").write_bytes(
            damaged(index, chance) if what == 0 else index if what == 1 else rewritten(index, chance)
        )
        (tmp_path / DATA).write_bytes(damaged(data, chance) if what == 1 else data)
        problems += found_wanting(seed, lambda: read_all(prefix))
    tell(problems)


def test_checkpoints_of_the_first_format(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    halves = [Slice((4, 2), ((start, 2), (0, 2))) for start in (0, 2)]
    arrays = [np.full((2, 2), 1.0), np.full((2, 2), 2.0), np.arange(3)]
    sound = slice_file_bytes(["parts", "parts", "w"], [*halves, None], arrays)
    problems = []
    for seed in seeds(FILES):
        chance = random.Random(seed)
        if seed % 3 == 0:
            data = damaged(sound, chance)
        else:
            rows = dict(table.read_table(sound))
            key = chance.choice(sorted(rows))
            message = saved_tensor_slice_pb2.SavedTensorSlices.FromString(rows[key])
            changed(message, chance, chance.choice((1, 1, 2, 4)))
            rows[key] = message.SerializeToString()
            data = table.write_table(sorted(rows.items()))
        path.write_bytes(data)
        problems += found_wanting(seed, lambda: read_all(path))
    tell(problems)


def crafted(prefix: Path, data: bytes, **entries: tensor_bundle_pb2.BundleEntryProto) -> Path:
    """A checkpoint whose index is written by hand."""
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1)
    rows = [(b"", header.SerializeToString())]
    rows += [(name.encode(), entries[name].SerializeToString()) for name in sorted(entries)]
    prefix.with_suffix(".index").write_bytes(table.write_table(rows))
    prefix.with_suffix(".data-00000-of-00001").write_bytes(data)
    return prefix


def entry(
    sizes: list[int], size: int, data: bytes = b"", dtype: int = 1
) -> tensor_bundle_pb2.BundleEntryProto:
    made = tensor_bundle_pb2.BundleEntryProto(dtype=dtype, size=size, crc32c=checksum.masked(data))
    for length in sizes:
        made.shape.dim.add(size=length)
    return made


def test_parts_that_overlap_leave_nothing_unread(tmp_path: Path) -> None:
    prefix = tmp_path / "variables"
    checkpoint(prefix)
    index = prefix.with_suffix(".index")
    rows = dict(table.read_table(index.read_bytes()))
    whole = tensor_bundle_pb2.BundleEntryProto.FromString(rows[b"parts"])
    whole.slices[1].CopyFrom(whole.slices[0])
    rows[b"parts"] = whole.SerializeToString()
    index.write_bytes(table.write_table(sorted(rows.items())))
    with pytest.raises(gf.errors.DataLossError, match='tensor "parts" is damaged: .* overlaps another'):
        open_checkpoint(prefix).read("parts")


def test_sizes_that_are_not_there(tmp_path: Path) -> None:
    data = b"\0" * 64
    for sizes, size in (
        ([1 << 40], 4 << 40),
        ([1 << 62, 4], 0),
        ([1 << 31, 1 << 31, 1 << 31], 64),
        ([-1], 64),
        ([1] * 200, 4),
    ):
        prefix = crafted(tmp_path / "v", data, w=entry(sizes, size, data))
        with pytest.raises(gf.errors.DataLossError, match='"w" is damaged'):
            open_checkpoint(prefix).read("w")
    texts = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + data
    prefix = crafted(tmp_path / "t", texts, w=entry([1], len(texts), texts, dtype=7))
    with pytest.raises(gf.errors.DataLossError, match='"w" is damaged'):
        open_checkpoint(prefix).read("w")


def test_one_piece_of_data_is_not_the_whole_many_times(tmp_path: Path) -> None:
    """A thousand slices that all lie at the same bytes would make a tensor of a thousand times their size."""
    count, data = 1000, b"\0" * 4096
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1)
    whole = entry([count, 1024], 0)
    rows = {b"": header.SerializeToString()}
    for i in range(count):
        piece = whole.slices.add()
        piece.extent.add(start=i, length=1)
        piece.extent.add(start=0, length=1024)
        rows[slice_key("w", [(i, 1), (0, 1024)])] = entry([1, 1024], 4096, data).SerializeToString()
    rows[b"w"] = whole.SerializeToString()
    (tmp_path / "v.index").write_bytes(table.write_table(sorted(rows.items())))
    (tmp_path / "v.data-00000-of-00001").write_bytes(data)
    with pytest.raises(gf.errors.DataLossError, match="claim 4096000 bytes of the 4096 that there are"):
        open_checkpoint(tmp_path / "v").read("w")


def test_keys_that_unfold(tmp_path: Path) -> None:
    """Each key of a table repeats the one before and adds a letter: the keys come to the square of the bytes."""
    block = bytearray(varint.write(0) * 3)
    for i in range(30_000):
        block += varint.write(i) + varint.write(1) + varint.write(0) + b"a"
    block += struct.pack("<2I", 0, 1) + b"\0"

    def closed(contents: bytes) -> bytes:
        return contents + struct.pack("<I", checksum.masked(contents))

    file = closed(bytes(block))
    handle = varint.write(0) + varint.write(len(block) - 1)
    empty = struct.pack("<2I", 0, 1) + b"\0"
    at = [len(file), len(file) + len(closed(empty))]
    index = varint.write(0) + varint.write(1) + varint.write(len(handle)) + b"z" + handle + empty
    file += closed(empty) + closed(index)
    footer = b"".join(map(varint.write, (at[0], len(empty) - 1, at[1], len(index) - 1)))
    (tmp_path / "v.index").write_bytes(file + footer.ljust(40, b"\0") + struct.pack("<Q", table.MAGIC))
    with pytest.raises(gf.errors.DataLossError, match="its keys come to more than 256 MB"):
        open_checkpoint(tmp_path / "v")


# ---------------------------------------------------------------------------- models


def model(folder: Path) -> None:
    words = folder.parent / "words.txt"
    words.write_text("one\ntwo\n")
    with gf.Graph().as_default(), gf.Session() as sess:
        x = gf.placeholder(gf.float32, [None, 2], name="x")
        w = gf.get_variable(
            "w", [2, 3], partitioner=gf.fixed_size_partitioner(2), initializer=gf.ones_initializer()
        )
        step = gf.train.get_or_create_global_step()
        y = gf.while_loop(lambda i, v: i < 2, lambda i, v: (i + 1, gf.tanh(v)), [0, gf.matmul(x, w)])[1]
        z = gf.cond(step > 0, lambda: y * 2, lambda: y, name="chosen")
        table_ = gf.lookup.StaticVocabularyTable(
            gf.lookup.TextFileInitializer(
                str(words), gf.string, gf.lookup.TextFileIndex.WHOLE_LINE, gf.int64,
                gf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            1,
        )  # fmt: skip
        found = table_.lookup(gf.constant(["two"]))
        gf.add_to_collection("kept", z)
        gf.add_to_collection("numbers", 3)
        sess.run([gf.global_variables_initializer(), gf.tables_initializer()])
        gf.saved_model.simple_save(
            sess, str(folder), {"x": x}, {"z": z, "found": found}, legacy_init_op=gf.tables_initializer()
        )


def use(folder: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        proto = gf.saved_model.load(sess, ["serve"], str(folder))
        signature = proto.signature_def["serving_default"]
        outputs = [info.name for _, info in sorted(signature.outputs.items())]
        sess.run(outputs, {info.name: np.ones((1, 2)) for info in signature.inputs.values()})


PARTS = ("collection_def", "signature_def", "saver_def", "asset_file_def", "meta_info_def")


def changed_part(whole: Any, part: str, chance: random.Random) -> None:
    """Changes one field of a MetaGraphDef."""
    alone = type(whole)()
    alone.MergeFrom(whole)
    for field, _ in alone.ListFields():
        if field.name != part:
            alone.ClearField(field.name)
    changed(alone, chance)
    whole.ClearField(part)
    whole.MergeFrom(alone)


def test_models(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model(folder)
    use(folder)
    file = folder / "saved_model.pb"
    sound = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    problems = []
    for seed in seeds(FILES):
        chance = random.Random(seed)
        proto = saved_model_pb2.SavedModel()
        proto.CopyFrom(sound)
        if seed % 2:
            changed(proto, chance, chance.choice((1, 2, 4)))
        else:  # what stands beside the graph
            for _ in range(chance.choice((1, 2, 4))):
                changed_part(proto.meta_graphs[0], chance.choice(PARTS), chance)
        file.write_bytes(proto.SerializeToString())
        problems += found_wanting(seed, lambda: use(folder))
    tell(problems)


# ---------------------------------------------------------------------------- records


def record_file(path: Path, records: list[bytes], compression: str = "") -> None:
    with TFRecordWriter(path, compression) as writer:
        for record in records:
            writer.write(record)


def example() -> bytes:
    features = {
        "a": gf.train.Feature(float_list=gf.train.FloatList(value=[1.0, 2.0])),
        "b": gf.train.Feature(int64_list=gf.train.Int64List(value=[3])),
        "c": gf.train.Feature(bytes_list=gf.train.BytesList(value=[b"x", b"yz"])),
    }
    proto: bytes = gf.train.Example(features=gf.train.Features(feature=features)).SerializeToString()
    return proto


def read_records(path: Path, compression: str) -> None:
    with RecordReader(str(path), compression) as reader:
        while reader.read() is not None:
            pass


@pytest.mark.parametrize("compression", ["", "ZLIB", "GZIP"])
def test_records(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "records"
    record_file(path, [example()] * 20, compression)
    sound = path.read_bytes()
    problems = []
    for seed in seeds(FILES // 3):
        path.write_bytes(damaged(sound, random.Random(seed)))
        problems += found_wanting(seed, lambda: read_records(path, compression))
    tell(problems)


@pytest.mark.parametrize("compression", ["", "ZLIB", "GZIP"])
def test_a_record_that_claims_more_than_there_is(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "records"
    for length in (1 << 30, 1 << 40, (1 << 64) - 1):
        head = struct.pack("<Q", length)
        data = head + struct.pack("<I", checksum.masked(head)) + b"x" * 100
        pack = {"": bytes, "ZLIB": zlib.compress, "GZIP": gzip.compress}[compression]
        path.write_bytes(pack(data))
        with RecordReader(str(path), compression) as reader:
            with pytest.raises(gf.errors.DataLossError, match="truncated record at 0 of"):
                reader.read()


def test_examples() -> None:
    """Examples that are damaged, or tell other kinds and numbers than the ones asked for."""
    sound = example()
    spec = {
        "a": gf.FixedLenFeature([2], gf.float32),
        "b": gf.VarLenFeature(gf.int64),
        "c": gf.FixedLenSequenceFeature([], gf.string, allow_missing=True),
    }
    problems = []
    with gf.Graph().as_default(), gf.Session() as sess:
        texts = gf.placeholder(gf.string, [None])
        parsed = gf.parse_example(texts, spec)
        run = sess.make_callable(parsed, [texts])
        for seed in seeds(FILES):
            chance = random.Random(seed)
            if seed % 2:
                proto = gf.train.Example.FromString(sound)
                changed(proto, chance, 2)
                data = proto.SerializeToString()
            else:
                data = damaged(sound, chance)
            both = np.array([sound, data], object)
            problems += found_wanting(seed, functools.partial(run, both))
    tell(problems)
