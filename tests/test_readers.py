"""Readers, files as ops, files of records, and `gf.gfile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors

ONE, TWO = b"h1\na\nb\r\nc", b"h2\nd\n\ne\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.txt").write_bytes(ONE)
    (tmp_path / "two.txt").write_bytes(TWO)
    (tmp_path / "runs.bin").write_bytes(b"HHabcdefghijFF")
    for name, options in (("plain", None), ("gzip", "GZIP"), ("zlib", "ZLIB")):
        with gf.python_io.TFRecordWriter(tmp_path / name, options) as writer:
            for record in (b"first", b"", b"x" * 100_000):
                writer.write(record)
    return tmp_path


def all_of(reader: gf.ReaderBase, *paths: Path) -> tuple[list[tuple[str, bytes]], list[int]]:
    """All records of files, with the file's folder cut off keys; how many records, how many files."""
    queue = gf.FIFOQueue(10, gf.string, shapes=[[]])
    key, value = reader.read(queue)
    found = []
    with gf.Session() as session:
        session.run(queue.enqueue_many([[str(path) for path in paths]]))
        session.run(queue.close())
        with pytest.raises(errors.OutOfRangeError, match="closed and has insufficient elements"):
            while True:
                name, record = session.run([key, value])
                found.append((name.decode().rpartition("/")[2], record))
        counts = session.run([reader.num_records_produced(), reader.num_work_units_completed()])
    return found, [int(count) for count in counts]


def test_each_reader_gives_its_records(folder: Path) -> None:
    lines, counts = all_of(gf.TextLineReader(skip_header_lines=1), folder / "one.txt", folder / "two.txt")
    assert lines == [
        ("one.txt:2", b"a"), ("one.txt:3", b"b"), ("one.txt:4", b"c"), ("two.txt:2", b"d"), ("two.txt:3", b""),
        ("two.txt:4", b"e"),
    ]  # fmt: skip
    assert counts == [6, 2]
    assert all_of(gf.WholeFileReader(), folder / "one.txt") == ([("one.txt", ONE)], [1, 1])
    runs, _ = all_of(gf.FixedLengthRecordReader(4, 2, 2, 3), folder / "runs.bin")
    assert runs == [("runs.bin:0", b"abcd"), ("runs.bin:1", b"defg"), ("runs.bin:2", b"ghij")]
    runs, _ = all_of(gf.FixedLengthRecordReader(4, header_bytes=2, footer_bytes=2), folder / "runs.bin")
    assert [record for _, record in runs] == [b"abcd", b"efgh"]
    same, _ = all_of(gf.IdentityReader(), folder / "one.txt")
    assert same == [("one.txt", str(folder / "one.txt").encode())]
    for name, options in (("plain", ""), ("gzip", "GZIP"), ("zlib", "ZLIB")):
        chosen = gf.python_io.TFRecordOptions(options)
        records, _ = all_of(gf.TFRecordReader(options=chosen), folder / name)
        assert records == [(f"{name}:0", b"first"), (f"{name}:21", b""), (f"{name}:37", b"x" * 100_000)]


def test_states_of_readers_that_open_no_files() -> None:
    reader, other, lines = gf.IdentityReader(), gf.IdentityReader(), gf.TextLineReader()
    assert reader.supports_serialize and not lines.supports_serialize
    queue = gf.FIFOQueue(10, gf.string, shapes=[[]])
    record, state, given = reader.read(queue), reader.serialize_state(), gf.placeholder(gf.string, [])
    restore, count = other.restore_state(given), other.num_records_produced()
    with gf.Session() as session:
        assert session.run(state) == b""
        session.run(queue.enqueue_many([["a", "b"]]))
        for _ in range(2):
            session.run(record)
        assert session.run(state) == b'\x08\x02\x10\x02\x18\x02"\x01b'  # as TensorFlow's, byte by byte
        session.run(restore, {given: session.run(state)})
        assert session.run(count) == 2
        for nonsense in (
            b"\x08",
            b"\x08\x05",
            b"\x22\x7fx",
            b"nonsense",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ):
            with pytest.raises(errors.InvalidArgumentError, match="state"):
                session.run(restore, {given: nonsense})
        with pytest.raises(errors.UnimplementedError, match="Reader SerializeState"):
            session.run(lines.serialize_state())
        with pytest.raises(errors.UnimplementedError, match="Reader RestoreState"):
            session.run(lines.restore_state(b""))


def test_several_records_at_once_and_from_the_beginning(folder: Path) -> None:
    reader = gf.TextLineReader()
    queue = gf.train.string_input_producer([str(folder / "one.txt")], num_epochs=2, shuffle=False)
    keys, values = reader.read_up_to(queue, 6)
    with gf.Session() as session:
        session.run(gf.local_variables_initializer())
        coordinator = gf.train.Coordinator()
        threads = gf.train.start_queue_runners(session, coordinator)
        assert session.run(values)[:4].tolist() == [b"h1", b"a", b"b", b"c"]
        session.run(reader.reset())
        assert session.run(reader.num_records_produced()) == 0
        coordinator.request_stop()
        coordinator.join(threads)


def test_a_missing_or_damaged_file_is_told(folder: Path) -> None:
    with pytest.raises(errors.NotFoundError, match="No such file"):
        list(gf.python_io.tf_record_iterator(folder / "none"))
    data = (folder / "plain").read_bytes()
    for damaged, message in ((data[:-2], "truncated"), (data[:30] + b"\1" + data[31:], "corrupted")):
        (folder / "bad").write_bytes(damaged)
        with pytest.raises(errors.DataLossError, match=message):
            list(gf.python_io.tf_record_iterator(folder / "bad"))
    with pytest.raises(errors.DataLossError, match="decompressed"):
        list(gf.python_io.tf_record_iterator(folder / "plain", "GZIP"))
    queue = gf.FIFOQueue(1, gf.string, shapes=[[]])
    key, _ = gf.TextLineReader().read(queue)
    with gf.Session() as session:
        session.run(queue.enqueue(str(folder / "none")))
        with pytest.raises(errors.NotFoundError, match="No such file"):
            session.run(key)


def test_files_as_operations(folder: Path) -> None:
    with gf.Session() as session:
        assert session.run(gf.read_file(str(folder / "one.txt"))) == ONE
        session.run(gf.write_file(str(folder / "new" / "file"), "text"))
        assert (folder / "new" / "file").read_bytes() == b"text"
        names = session.run(gf.matching_files([str(folder / "*.txt"), str(folder / "*.bin")]))
        assert [Path(name.decode()).name for name in names] == ["one.txt", "runs.bin", "two.txt"]
        assert session.run(gf.matching_files(str(folder / "zzz*"))).tolist() == []
        with pytest.raises(errors.NotFoundError, match="No such file"):
            session.run(gf.read_file(str(folder / "none")))
        once = gf.train.match_filenames_once(str(folder / "t*.txt"))
        session.run(once.initializer)
        assert session.run(once).tolist() == [str(folder / "two.txt").encode()]


def test_gfile(folder: Path) -> None:
    gfile = gf.gfile
    path = str(folder / "deep" / "er")
    assert not gfile.Exists(path)
    gfile.MakeDirs(path)
    gfile.MakeDirs(path)
    assert gfile.IsDirectory(path) and gf.io.gfile.isdir(path)
    name = path + "/x.txt"
    with gfile.GFile(name, "w") as file:
        file.write("line1\n")
        file.write("ümlaut\n")
    with gfile.Open(name) as file:
        assert [file.readline(), file.tell(), file.size()] == ["line1\n", 6, 14]
        file.seek(0)
        assert file.readlines() == ["line1\n", "ümlaut\n"]
    assert gfile.FastGFile(name, "rb").read(8) == b"line1\n\xc3\xbc"
    with gfile.GFile(name, "a") as file:
        file.write("more")
    assert list(gfile.GFile(name))[-1] == "more"
    gfile.Copy(name, path + "/y.txt")
    with pytest.raises(errors.AlreadyExistsError):
        gfile.Copy(name, path + "/y.txt")
    gfile.Copy(name, path + "/y.txt", overwrite=True)
    gfile.Rename(path + "/y.txt", path + "/z.txt")
    assert gfile.ListDirectory(path) == ["x.txt", "z.txt"]
    assert [Path(p).name for p in gfile.Glob([path + "/x*", path + "/z*"])] == ["x.txt", "z.txt"]
    assert list(gfile.Walk(str(folder / "deep"))) == [
        (str(folder / "deep"), ["er"], []), (path, [], ["x.txt", "z.txt"]),
    ]  # fmt: skip
    assert gfile.Stat(name).length == 18 and gfile.Stat(path).is_directory
    gfile.Remove(path + "/z.txt")
    cases: list[tuple[Any, type[Exception]]] = [
        (lambda: gfile.Remove(path + "/z.txt"), errors.NotFoundError),
        (lambda: gfile.Remove(path), errors.FailedPreconditionError),
        (lambda: gfile.GFile(path + "/none").read(), errors.NotFoundError),
        (lambda: gfile.GFile(name).write("x"), errors.PermissionDeniedError),
        (lambda: gfile.GFile(name, "w").read(), errors.PermissionDeniedError),
        (lambda: gfile.GFile(name, "q"), errors.InvalidArgumentError),
        (lambda: gfile.ListDirectory(name), errors.NotFoundError),
        (lambda: gfile.MkDir(path + "/a/b"), errors.NotFoundError),
        (lambda: gfile.Stat(path + "/none"), errors.NotFoundError),
    ]
    for call, kind in cases:
        with pytest.raises(kind):
            call()
    gfile.DeleteRecursively(str(folder / "deep"))
    with pytest.raises(errors.NotFoundError, match="not found"):
        gfile.DeleteRecursively(str(folder / "deep"))


def test_compressed_records_shrink(folder: Path) -> None:
    assert np.all([(folder / name).stat().st_size < 2000 for name in ("gzip", "zlib")])
    with pytest.raises(ValueError, match="compression_type"):
        gf.python_io.TFRecordOptions("BZIP")
