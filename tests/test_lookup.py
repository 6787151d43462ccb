"""Lookup tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from graphflow.graph import Graph
from tests.referee import Case, Referee, difference


def test_a_table_is_filled_once() -> None:
    table = gf.lookup.StaticHashTable(
        gf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2], value_dtype=gf.int64), -1
    )
    found, size = table.lookup(gf.constant(["b", "x", "a"])), table.size()
    with gf.Session() as session:
        with pytest.raises(errors.FailedPreconditionError, match="Table not initialized"):
            session.run(found)
        session.run(gf.tables_initializer())
        session.run(gf.tables_initializer())
        assert session.run(found).tolist() == [2, -1, 1]
        assert session.run(size) == 2
        keys, values = session.run(table.export())
        assert dict(zip(keys, values, strict=True)) == {b"a": 1, b"b": 2}
    with pytest.raises(TypeError, match="Keys must be dtype string"):
        table.lookup(gf.constant([1]))


def test_a_mutable_table_changes_in_the_order_of_control_edges() -> None:
    table = gf.lookup.MutableHashTable(gf.int64, gf.float32, 0.5)
    insert = table.insert([1, 2], [10.0, 20.0])
    with gf.control_dependencies([insert]):
        after = table.lookup(gf.constant([[2, 3]], gf.int64))
    with gf.Session() as session:
        assert session.run(after).tolist() == [[20.0, 0.5]]
        session.run(table.remove([2]))
        assert session.run(table.size()) == 1
    with gf.Session() as session:
        assert session.run(table.size()) == 0


def test_tables_of_files_and_of_unknown_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("zero\none\r\ntwo\n")
    columns = tmp_path / "columns.txt"
    columns.write_text("a 1\nb 2\n")
    numbers = gf.lookup.index_table_from_file(str(path), num_oov_buckets=3)
    words = gf.lookup.index_to_string_table_from_file(str(path), default_value="?")
    listed = gf.lookup.index_table_from_tensor(["x", "y"])
    named = gf.lookup.index_to_string_table_from_tensor(["x", "y"])
    second = gf.lookup.StaticHashTable(
        gf.lookup.TextFileInitializer(str(columns), gf.string, 0, gf.int64, 1, delimiter=" "), -1
    )
    vocabulary = gf.lookup.StaticVocabularyTable(
        gf.lookup.KeyValueTensorInitializer(["p"], [0], value_dtype=gf.int64), 2
    )
    with gf.Session() as session:
        session.run(gf.tables_initializer())
        got = session.run(numbers.lookup(gf.constant(["two", "zero", "unknown"])))
        assert got[:2].tolist() == [2, 0] and 3 <= got[2] < 6
        assert session.run(words.lookup(gf.constant([1, 7], gf.int64))).tolist() == [b"one", b"?"]
        assert session.run(listed.lookup(gf.constant(["y", "z"]))).tolist() == [1, -1]
        assert session.run(named.lookup(gf.constant([0], gf.int64))).tolist() == [b"x"]
        assert session.run(second.lookup(gf.constant(["b"]))).tolist() == [2]
        assert session.run(vocabulary.lookup(gf.constant(["p", "q"])))[0] == 0
        assert session.run(vocabulary.size()) == 3
        short = gf.lookup.index_table_from_file(str(path), vocab_size=9)
        with pytest.raises(errors.InvalidArgumentError, match="expected 9 but got 3"):
            session.run(short.initializer)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_tables_mean_what_tensorflows_mean(referee: Referee, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("zero\none\ntwo\n")
    with Graph().as_default() as graph:
        numbers = gf.lookup.index_table_from_file(str(tmp_path / "words.txt"), num_oov_buckets=1000)
        found = numbers.lookup(gf.constant(["two", "zero", "unknown", "another one"]))
        mutable = gf.lookup.MutableHashTable(gf.string, gf.int64, -1)
        insert = mutable.insert(["a", "b"], [1, 2])
        runs = [[gf.tables_initializer()], [found, numbers.size()], [insert]]
        runs.append([mutable.lookup(gf.constant(["b", "c"])), mutable.size()])
        rows = gf.lookup.MutableHashTable(gf.int64, gf.float32, [-1.0, -2.0])
        runs.append([rows.insert([5, 7], [[1.0, 2.0], [3.0, 4.0]])])
        runs.append([rows.lookup(gf.constant([[7, 8]], gf.int64)), rows.size()])
        runs += [[rows.remove([7])], [*rows.export()]]
        dense = gf.lookup.DenseHashTable(
            gf.int64, gf.float32, [-1.0, -2.0], [0, 0], [-1, 0], initial_num_buckets=4
        )
        runs.append([dense.insert([[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]])])
        runs.append([dense.lookup(gf.constant([[3, 4], [4, 3]], gf.int64)), dense.size()])
        runs += [[dense.erase([[1, 2]])], [dense.size()]]  # TensorFlow exports its empty buckets, too
        with gf.Session() as session:
            mine = [session.run(fetches) for fetches in runs]
        with pytest.raises(errors.InvalidArgumentError, match="Using the empty_key as a table key"):
            gf.Session().run(dense.insert([[0, 0]], [[1.0, 2.0]]))
        assert rows.lookup(gf.constant([5], gf.int64)).shape.as_list() == [1, 2]
    verdict = referee.ask({"tables": Case(graph, [[item.name for item in run] for run in runs])})["tables"]
    assert not verdict.error, verdict.message
    for got, wanted in zip(mine, verdict.values, strict=True):
        for a, b in zip(got, wanted, strict=True):
            assert a is None or not difference(np.asarray(a), b, 0.0)
