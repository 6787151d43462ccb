"""Datasets and iterators in a session: ways to begin, errors, threads, files, functions with state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from tests.waiting import until, until_it_waits

Dataset = gf.data.Dataset


@pytest.fixture(autouse=True)
def graph() -> Iterator[None]:
    with gf.Graph().as_default():
        yield


def drained(session: gf.Session, fetch: Any, most: int = 1000) -> list[Any]:
    found = []
    try:
        for _ in range(most):
            found.append(session.run(fetch))
    except errors.OutOfRangeError:
        return found
    raise AssertionError("no end")


def values(dataset: Any) -> list[Any]:
    iterator = dataset.make_initializable_iterator()
    following = iterator.get_next()
    with gf.Session() as session:
        session.run(iterator.initializer)
        return drained(session, following)


def test_one_shot_iterators_begin_by_themselves() -> None:
    squares = Dataset.range(4).map(lambda i: i * i)
    following = squares.make_one_shot_iterator().get_next()
    for _ in range(2):
        with gf.Session() as session:
            assert drained(session, following) == [0, 1, 4, 9]
            with pytest.raises(errors.OutOfRangeError, match="End of sequence"):
                session.run(following)


def test_one_shot_iterators_refuse_what_is_not_fixed() -> None:
    limit = gf.placeholder(gf.int64, ())
    with pytest.raises(ValueError, match="Placeholder.*make_initializable_iterator"):
        Dataset.range(limit).make_one_shot_iterator()
    weight = gf.Variable(2.0)
    with pytest.raises(ValueError, match="VarHandleOp"):
        Dataset.from_tensors(1.0).map(lambda x: x * weight).make_one_shot_iterator()


def test_an_initializable_iterator_begins_anew_with_what_is_fed() -> None:
    limit = gf.placeholder(gf.int64, ())
    iterator = Dataset.range(limit).make_initializable_iterator()
    following = iterator.get_next()
    with gf.Session() as session:
        with pytest.raises(errors.FailedPreconditionError, match="has not been initialized"):
            session.run(following)
        for count in (3, 5, 0):
            session.run(iterator.initializer, {limit: count})
            assert drained(session, following) == list(range(count))


def test_one_iterator_for_two_datasets() -> None:
    train, held_out = Dataset.range(3), Dataset.from_tensor_slices(np.array([70, 71]))
    iterator = gf.data.Iterator.from_structure(train.output_types, train.output_shapes)
    following = iterator.get_next()
    begin = [iterator.make_initializer(dataset) for dataset in (train, held_out)]
    with gf.Session() as session:
        for number in (0, 1, 0):
            session.run(begin[number])
            assert drained(session, following) == [[0, 1, 2], [70, 71]][number]
    with pytest.raises(TypeError, match="Expected output types"):
        iterator.make_initializer(Dataset.from_tensors(1.0))
    with pytest.raises(ValueError, match="Expected output shapes"):
        iterator.make_initializer(Dataset.from_tensors(np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match="does not have an initializer"):
        _ = iterator.initializer


def test_a_string_chooses_among_iterators() -> None:
    a = Dataset.range(5).make_one_shot_iterator()
    b = Dataset.range(100, 105).make_initializable_iterator()
    handle = gf.placeholder(gf.string, ())
    following = gf.data.Iterator.from_string_handle(handle, gf.int64, ()).get_next()
    wrong = gf.data.Iterator.from_string_handle(handle, gf.float32, ()).get_next()
    with gf.Session() as session:
        names = session.run([a.string_handle(), b.string_handle()])
        session.run(b.initializer)
        assert [session.run(following, {handle: names[i % 2]}) for i in range(4)] == [0, 100, 1, 101]
        with pytest.raises(errors.InvalidArgumentError, match="float32"):
            session.run(wrong, {handle: names[0]})
        with pytest.raises(errors.NotFoundError):
            session.run(following, {handle: "nobody"})


def test_generators() -> None:
    calls: list[Any] = []

    def rows(count: Any) -> Iterator[Any]:
        calls.append(int(count))
        for i in range(int(count)):
            yield i, np.full([i], i, np.float32)

    dataset = Dataset.from_generator(rows, (gf.int64, gf.float32), ((), [None]), args=(3,))
    assert [(i, list(x)) for i, x in values(dataset.repeat(2))] == [(0, []), (1, [1.0]), (2, [2.0, 2.0])] * 2
    assert calls == [3, 3]


@pytest.mark.parametrize(
    ("item", "text"),
    [((1, 2), "element of shape"), ("word", "expected type"), ([1, 2], "element of shape")],
)
def test_generators_that_yield_something_else(item: Any, text: str) -> None:
    dataset = Dataset.from_generator(lambda: iter([item]), gf.int64, ())
    with pytest.raises(errors.InvalidArgumentError, match=text):
        values(dataset)


def test_generators_that_yield_other_structures() -> None:
    dataset = Dataset.from_generator(lambda: iter([(1, 2, 3)]), (gf.int64, gf.int64))
    with pytest.raises(errors.InvalidArgumentError, match="expected structure"):
        values(dataset)


def test_an_error_in_a_function_names_the_users_line_and_the_next_element_follows() -> None:
    dataset = Dataset.range(3).map(lambda i: gf.gather([10, 20], gf.cast(i, gf.int32) * 2 % 3))
    iterator = dataset.make_initializable_iterator()
    following = iterator.get_next()
    with gf.Session() as session:
        session.run(iterator.initializer)
        assert session.run(following) == 10
        with pytest.raises(errors.InvalidArgumentError, match="test_pipelines.py"):
            session.run(following)
        assert session.run(following) == 20


def test_functions_see_the_sessions_variables() -> None:
    weight = gf.Variable(2.0)
    iterator = Dataset.range(4).map(lambda i: gf.cast(i, gf.float32) * weight).make_initializable_iterator()
    following = iterator.get_next()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(iterator.initializer)
        assert session.run(following) == 0.0
        assert session.run(following) == 2.0
        session.run(weight.assign(10.0))
        assert session.run(following) == 20.0


def test_a_training_step_fed_by_an_iterator_follows_each_batch_size() -> None:
    x = np.random.RandomState(0).randn(22, 3).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)
    dataset = Dataset.from_tensor_slices((x, y)).shuffle(22, seed=1).batch(8).repeat(60).prefetch(2)
    iterator = dataset.make_one_shot_iterator()
    batch, wanted = iterator.get_next()
    weights = gf.Variable(gf.zeros([3, 1]))
    loss = gf.reduce_mean(gf.square(gf.matmul(batch, weights) - wanted))
    step = gf.train.GradientDescentOptimizer(0.2).minimize(loss)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        losses = drained(session, [loss, step])
        assert len(losses) == 180
        assert losses[-1][0] < 1e-6
        np.testing.assert_allclose(session.run(weights)[:, 0], [1.0, -2.0, 0.5], atol=1e-3)


def test_prefetching_works_while_the_session_does_something_else() -> None:
    made = threading.Event()

    def slow(i: Any) -> Any:
        if i == 2:
            made.set()
        return i

    mapped = Dataset.range(5).map(lambda i: gf.py_func(slow, [i], gf.int64)).prefetch(3)
    iterator = mapped.make_initializable_iterator()
    following = iterator.get_next()
    with gf.Session() as session:
        session.run(iterator.initializer)
        assert session.run(following) == 0
        assert made.wait(120)  # nobody asked for element 2 yet
        assert drained(session, following) == [1, 2, 3, 4]


def test_closing_the_session_ends_the_threads_and_wakes_who_waits() -> None:
    before = threading.active_count()
    gate = threading.Event()

    def blocked(i: Any) -> Any:
        if i == 3:
            gate.wait(120)
        return i

    dataset = Dataset.range(100).map(lambda i: gf.py_func(blocked, [i], gf.int64), 3).prefetch(2)
    iterator = dataset.make_initializable_iterator()
    following = iterator.get_next()
    taken: list[int] = []
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            while True:
                taken.append(session.run(following))
        except errors.OpError as error:
            raised.append(error)

    session = gf.Session()
    session.run(iterator.initializer)
    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: len(taken) == 3)
    until_it_waits(waiting)
    session.close()
    waiting.join(120)
    assert not waiting.is_alive()
    assert isinstance(raised[0], errors.CancelledError)
    gate.set()
    until(lambda: threading.active_count() <= before)


def test_several_threads_share_an_iterator() -> None:
    following = Dataset.range(400).make_one_shot_iterator().get_next()
    found: list[int] = []
    with gf.Session() as session:

        def take() -> None:
            found.extend(int(value) for value in drained(session, following))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == list(range(400))


def test_batches_of_unequal_elements_are_refused() -> None:
    dataset = Dataset.range(1, 4).map(lambda i: gf.fill([i], i)).batch(2)
    with pytest.raises(errors.InvalidArgumentError, match="different shapes.*component 0"):
        values(dataset)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Dataset.from_tensor_slices(1.0), ValueError, "rank >= 1"),
        (lambda: Dataset.zip([Dataset.range(1)]), TypeError, "tuples and dicts"),
        (lambda: Dataset.range(3).filter(lambda i: i), ValueError, "scalar boolean"),
        (lambda: Dataset.range(3).flat_map(lambda i: i), TypeError, "must return a `Dataset`"),
        (lambda: Dataset.range(3).concatenate(Dataset.from_tensors(1.0)), TypeError, "different types"),
        (lambda: Dataset.from_tensors([1, 2]).padded_batch(2, [1]), ValueError, "not compatible"),
        (lambda: Dataset.from_tensors([1]).padded_batch(2, [3], np.float32(0.5)), TypeError, "padding value"),
        (lambda: iter(Dataset.range(3)), RuntimeError, "make_one_shot_iterator"),
        (lambda: Dataset.from_generator(3, gf.int32), TypeError, "callable"),
        (lambda: gf.data.TFRecordDataset("a", "ZIP"), ValueError, "compression_type"),
        (lambda: Dataset.range(2).reduce(0.0, lambda s, i: i), TypeError, "new state"),
    ],
)
def test_refused_while_building(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda n: Dataset.range(4).batch(n), "Batch size"),
        (lambda n: Dataset.range(4).shuffle(n), "buffer_size"),
        (lambda n: Dataset.range(4).window(n), "Window size"),
        (lambda n: Dataset.range(0, 4, n), "step"),
        (lambda n: Dataset.range(4).shard(n, 0), "num_shards"),
        (lambda n: Dataset.range(4).interleave(Dataset.from_tensors, n), "cycle_length"),
    ],
)
def test_refused_in_the_run(make: Any, text: str) -> None:
    number = gf.placeholder(gf.int64, ())
    iterator = make(number).make_initializable_iterator()
    with gf.Session() as session, pytest.raises(errors.InvalidArgumentError, match=text):
        session.run(iterator.initializer, {number: 0})


def test_files(tmp_path: Path) -> None:
    names = []
    for number, kind in enumerate(("", "ZLIB", "GZIP")):
        path = str(tmp_path / f"records{number}")
        with gf.python_io.TFRecordWriter(path, kind) as writer:
            for i in range(3):
                writer.write(f"{kind}{i}".encode())
        assert values(gf.data.TFRecordDataset(path, kind)) == [f"{kind}{i}".encode() for i in range(3)]
        names.append(path)
    assert len(values(gf.data.TFRecordDataset([names[0], names[0]]))) == 6
    text = tmp_path / "text"
    text.write_bytes(b"one\ntwo\r\n\nlast")
    assert values(gf.data.TextLineDataset(str(text)).skip(1)) == [b"two", b"", b"last"]
    fixed = tmp_path / "fixed"
    fixed.write_bytes(b"HEaabbccF")
    assert values(gf.data.FixedLengthRecordDataset(str(fixed), 2, 2, 1)) == [b"aa", b"bb", b"cc"]
    with pytest.raises(errors.InvalidArgumentError, match="after its last record"):
        values(gf.data.FixedLengthRecordDataset(str(fixed), 4, 2, 1))
    with pytest.raises(errors.NotFoundError):
        values(gf.data.TextLineDataset(str(tmp_path / "absent")))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(Path(names[0]).read_bytes()[:-3])
    with pytest.raises(errors.DataLossError):
        values(gf.data.TFRecordDataset(str(damaged)))


def test_datasets_as_they_were_called_before(tmp_path: Path) -> None:
    """What older files hold: without a compression of records, without a choice for the last batch."""
    (tmp_path / "fixed").write_bytes(b"headaabbccf")
    with gf.python_io.TFRecordWriter(str(tmp_path / "records")) as writer:
        writer.write(b"one")
        writer.write(b"two")
    texts = {"output_types": [gf.string], "output_shapes": [[]]}
    fixed = gf.raw_ops.FixedLengthRecordDataset(
        filenames=str(tmp_path / "fixed"), header_bytes=4, record_bytes=2, footer_bytes=1, buffer_size=0
    )
    records, from_the_middle = (
        gf.raw_ops.TFRecordDatasetV2(
            filenames=str(tmp_path / "records"), compression_type="", buffer_size=0, byte_offsets=[offset]
        )
        for offset in (0, 5)
    )
    rows = gf.data.Dataset.range(3).map(lambda n: gf.fill([n], n))._variant_tensor
    padded = gf.raw_ops.PaddedBatchDataset(
        input_dataset=rows, batch_size=2, padded_shapes=[np.array([-1])], padding_values=[np.int64(9)],
        output_shapes=[[None, None]],
    )  # fmt: skip
    numbers = {"output_types": [gf.int64], "output_shapes": [[None, None]]}
    found = {}
    with gf.Session() as session:
        for name, handle, kind in (("fixed", fixed, texts), ("records", records, texts), ("padded", padded, numbers),
                                   ("middle", from_the_middle, texts)):  # fmt: skip
            iterator = gf.raw_ops.IteratorV2(shared_name=name, container="", **kind)
            (item,) = gf.raw_ops.IteratorGetNext(iterator=iterator, **kind)
            start = gf.raw_ops.MakeIterator(dataset=handle, iterator=iterator)
            if name == "middle":
                with pytest.raises(errors.UnimplementedError, match="byte_offsets"):
                    session.run(start)
                continue
            session.run(start)
            found[name] = []
            with pytest.raises(errors.OutOfRangeError):
                while True:
                    found[name].append(session.run(item))
    assert found["fixed"] == [b"aa", b"bb", b"cc"] and found["records"] == [b"one", b"two"]
    assert [batch.tolist() for batch in found["padded"]] == [[[9], [1]], [[2, 2]]]


def test_a_cache_in_a_file(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(i: Any) -> Any:
        calls.append(int(i))
        return np.float32(i), [b"a" * int(i), b""]

    path = str(tmp_path / "cache")

    def cached() -> Any:
        mapped = Dataset.range(4).map(lambda i: gf.py_func(counted, [i], [gf.float32, gf.string]))
        return mapped.cache(path)

    first = values(cached())
    again = values(cached())
    assert calls == [0, 1, 2, 3]
    for mine, theirs in zip(first, again, strict=True):
        assert mine[0] == theirs[0] and list(mine[1]) == list(theirs[1])
    Path(f"{path}.rows").write_bytes(b"nonsense")
    with pytest.raises(errors.DataLossError, match="not the cache"):
        values(cached())


def test_reduce_and_single_elements() -> None:
    total = Dataset.range(5).reduce(np.int64(100), lambda state, i: state + i)
    single = gf.data.experimental.get_single_element(Dataset.range(7).batch(10))
    count = Dataset.range(10).batch(4).repeat(3).cardinality()
    with gf.Session() as session:
        assert session.run(total) == 110
        assert session.run(single).tolist() == list(range(7))
        assert session.run(count) == 9
        with pytest.raises(errors.InvalidArgumentError, match="more than one"):
            session.run(gf.data.experimental.get_single_element(Dataset.range(2)))


def test_reference_backend_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_BACKEND", "reference")
    assert [list(row) for row in values(Dataset.range(5).map(lambda i: i + 1).batch(2))] == [
        [1, 2],
        [3, 4],
        [5],
    ]


def test_pipelines_survive_a_file() -> None:
    dataset = Dataset.range(6).map(lambda i: i * 3).filter(lambda i: gf.greater(i, 3)).batch(2)
    iterator = dataset.make_initializable_iterator()
    following = gf.identity(iterator.get_next(), name="following")
    definition = following.graph.as_graph_def()
    with gf.Graph().as_default() as other:
        gf.import_graph_def(definition, name="")
        with gf.Session() as session:
            session.run(iterator.initializer.name)
            assert [list(row) for row in drained(session, other.get_tensor_by_name("following:0"))] == [
                [6, 9],
                [12, 15],
            ]


def test_the_next_element_may_be_absent() -> None:
    iterator = Dataset.range(2).map(lambda i: {"i": i, "x": [i, i]}).make_one_shot_iterator()
    following = gf.data.experimental.get_next_as_optional(iterator)
    has = following.has_value()
    x = gf.cond(has, lambda: following.get_value()["x"], lambda: gf.constant([-1, -1], gf.int64))
    with gf.Session() as session:
        found = [session.run([has, x]) for _ in range(4)]
        assert [bool(has) for has, _ in found] == [True, True, False, False]
        assert [value.tolist() for _, value in found] == [[0, 0], [1, 1], [-1, -1], [-1, -1]]
        with pytest.raises(errors.InvalidArgumentError, match="does not have a value"):
            session.run(following.get_value()["i"])
    held = gf.data.experimental.Optional.from_value((gf.constant(1.5), gf.constant([b"a"])))
    none = gf.data.experimental.Optional.empty(held.element_spec)
    with gf.Session() as session:
        assert session.run([held.has_value(), none.has_value()]) == [True, False]
        value, text = session.run(held.get_value())
        assert value == 1.5 and text.tolist() == [b"a"]


def test_files_of_values_are_refused_where_they_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x,y\n1,2\n3,"4\n')
    make = gf.data.experimental.make_csv_dataset
    path = str(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="No files match"):
        make(str(tmp_path / "b.csv"), 1)
    with pytest.raises(ValueError, match="one of the columns, got 'z'"):
        make(path, 1, label_name="z", column_defaults=[1, 2])
    with pytest.raises(ValueError, match="2 columns and 1 defaults"):
        make(path, 1, column_defaults=[1])
    with pytest.raises(errors.InvalidArgumentError, match="without closing quoted field"):
        values(gf.data.experimental.CsvDataset(path, [gf.int32, gf.int32], header=True))
    with pytest.raises(errors.InvalidArgumentError, match="Expect 3 fields but have 2"):
        values(gf.data.experimental.CsvDataset(path, [gf.string] * 3))
    with pytest.raises(errors.InvalidArgumentError, match="strictly increasing"):
        values(gf.data.experimental.CsvDataset(path, [gf.string] * 2, select_cols=[1, 0]))
