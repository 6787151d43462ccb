"""Pipelines as functions of a package: the same text makes them in graphflow and in TensorFlow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

PIPELINES: dict[str, Callable[[Any], Any]] = {}


def pipeline(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    PIPELINES[function.__name__] = function
    return function


@pipeline
def slices_of_structures(tf: Any) -> Any:
    x = {"b": np.arange(12, dtype=np.float32).reshape(6, 2), "a": (np.arange(6), np.array(list("abcdef")))}
    return tf.data.Dataset.from_tensor_slices(x).batch(4)


def _values_file() -> str:
    file = tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False)
    with file:
        file.write('a,b,c,d\n1,2.5,x,9\n2,,"y\nz, ""q""",8\n3,4,NA,7\n5000000000,-1e3,w,6\n')
    return file.name


@pipeline
def records_of_values(tf: Any) -> Any:
    defaults = [tf.int64, [0.5], tf.constant(["none"])]
    made = tf.data.experimental.CsvDataset(
        _values_file(), defaults, header=True, na_value="NA", select_cols=[0, 1, 2]
    )
    return made.concatenate(
        tf.data.experimental.CsvDataset([_values_file()] * 2, defaults, header=True, select_cols=[0, 1, 2])
    )


@pipeline
def batches_of_records_of_values(tf: Any) -> Any:
    made = tf.data.experimental.make_csv_dataset(
        [_values_file()], 3, label_name="c", select_columns=["a", "b", "c"], num_epochs=2, shuffle_seed=4
    )
    return made.map(lambda features, label: (features["a"], features["b"], label))


@pipeline
def records_of_values_with_errors_left_out(tf: Any) -> Any:
    return tf.data.experimental.make_csv_dataset(
        _values_file(), 2, column_names=["p", "q", "r", "s"], column_defaults=[1, 0.0, "", 5], num_epochs=1,
        shuffle=False, ignore_errors=True,
    )  # fmt: skip


def _sparse(tf: Any) -> Any:
    return tf.SparseTensor([[0, 1], [1, 0], [2, 2], [2, 3]], ["one", "two", "three", "four"], [3, 4])


@pipeline
def rows_of_a_sparse_tensor(tf: Any) -> Any:
    rows = tf.data.Dataset.from_tensor_slices({"sparse": _sparse(tf), "dense": [1, 2, 3]})
    return rows.concatenate(rows.skip(1)).cache().batch(2)


@pipeline
def a_sparse_tensor_unbatched(tf: Any) -> Any:
    whole = tf.data.Dataset.from_tensors((_sparse(tf), [1.0, 2.0, 3.0])).repeat(2)
    return whole.apply(tf.data.experimental.unbatch()).shuffle(3, seed=5)


@pipeline
def sparse_tensors_from_functions(tf: Any) -> Any:
    numbers = tf.data.Dataset.range(5).map(lambda i: tf.SparseTensor(tf.reshape(i, [1, 1]), [i], [5]))
    return numbers.filter(lambda x: x.values[0] > 0).batch(3).map(lambda x: (x, tf.sparse.to_dense(x)))


@pipeline
def one_element(tf: Any) -> Any:
    return tf.data.Dataset.from_tensors((1.5, [[1, 2], [3, 4]])).repeat(2)


@pipeline
def map_batch_repeat(tf: Any) -> Any:
    return tf.data.Dataset.range(10).map(lambda i: (i * i, tf.cast(i, tf.float32) / 2)).batch(4).repeat(2)


@pipeline
def map_in_parallel(tf: Any) -> Any:
    return tf.data.Dataset.range(50).map(lambda i: i + 1, num_parallel_calls=3).prefetch(4).batch(7, True)


@pipeline
def shuffled(tf: Any) -> Any:
    return tf.data.Dataset.range(20).shuffle(7, seed=3)


@pipeline
def shuffled_each_time_anew(tf: Any) -> Any:
    return tf.data.Dataset.range(10).shuffle(100, seed=5).repeat(3)


@pipeline
def shuffled_always_alike(tf: Any) -> Any:
    return tf.data.Dataset.range(10).shuffle(4, seed=5, reshuffle_each_iteration=False).repeat(3)


@pipeline
def shuffled_with_a_graph_seed(tf: Any) -> Any:
    tf.set_random_seed(11)
    return tf.data.Dataset.range(30).shuffle(8, seed=2).batch(5)


@pipeline
def shuffled_across_epochs(tf: Any) -> Any:
    return tf.data.Dataset.range(6).apply(tf.data.experimental.shuffle_and_repeat(4, 3, seed=9))


@pipeline
def zipped(tf: Any) -> Any:
    a, b = tf.data.Dataset.range(5), tf.data.Dataset.range(100, 103)
    return tf.data.Dataset.zip({"x": a, "y": (b, a.skip(1))})


@pipeline
def joined_cut_and_sharded(tf: Any) -> Any:
    a = tf.data.Dataset.range(7).concatenate(tf.data.Dataset.range(50, 60))
    return a.skip(2).take(12).shard(3, 1).concatenate(a.take(0)).enumerate(4)


@pipeline
def filtered(tf: Any) -> Any:
    return tf.data.Dataset.range(30).filter(lambda i: tf.equal(i % 3, 1)).map(lambda i: -i)


@pipeline
def flat_mapped(tf: Any) -> Any:
    return tf.data.Dataset.range(5).flat_map(lambda i: tf.data.Dataset.from_tensors(i).repeat(i))


@pipeline
def interleaved(tf: Any) -> Any:
    return tf.data.Dataset.range(1, 6).interleave(
        lambda i: tf.data.Dataset.from_tensors(i).repeat(i + 1), cycle_length=2, block_length=2
    )


@pipeline
def interleaved_ahead(tf: Any) -> Any:
    return tf.data.Dataset.range(4).apply(
        tf.data.experimental.parallel_interleave(lambda i: tf.data.Dataset.range(i, i + 3), cycle_length=2)
    )


@pipeline
def padded(tf: Any) -> Any:
    rows = tf.data.Dataset.range(1, 8).map(lambda i: (tf.fill([i], i), tf.fill([2, i], "ab")))
    return rows.padded_batch(3, ([None], [2, 8]), (np.int64(-1), "?"))


@pipeline
def windows(tf: Any) -> Any:
    return tf.data.Dataset.range(10).window(3, shift=2, stride=2).flat_map(lambda w: w.batch(3))


@pipeline
def windows_apart(tf: Any) -> Any:
    return tf.data.Dataset.range(12).window(2, shift=5, drop_remainder=True).flat_map(lambda w: w.batch(2))


@pipeline
def unbatched(tf: Any) -> Any:
    rows = np.arange(12).reshape(3, 2, 2)
    return tf.data.Dataset.from_tensor_slices((rows, rows * 2.0)).apply(tf.data.experimental.unbatch())


@pipeline
def scanned(tf: Any) -> Any:
    step = tf.data.experimental.scan(np.int64(1), lambda s, x: (s + x, s * x))
    return tf.data.Dataset.range(6).apply(step)


@pipeline
def grouped(tf: Any) -> Any:
    group = tf.data.experimental.group_by_window(
        lambda i: i % 3, lambda key, rows: rows.batch(4), window_size=4
    )
    return tf.data.Dataset.range(23).apply(group)


@pipeline
def in_buckets(tf: Any) -> Any:
    bucket = tf.data.experimental.bucket_by_sequence_length(lambda x: tf.shape(x)[0], [3, 6], [2, 3, 2])
    return tf.data.Dataset.range(1, 12).map(lambda i: tf.fill([i], i)).apply(bucket)


@pipeline
def mapped_into_batches(tf: Any) -> Any:
    return tf.data.Dataset.range(11).apply(
        tf.data.experimental.map_and_batch(lambda i: (i, tf.square(i)), 4, drop_remainder=True)
    )


@pipeline
def cached(tf: Any) -> Any:
    return tf.data.Dataset.range(5).map(lambda i: i * 2).cache().repeat(3).batch(6)


@pipeline
def without_errors(tf: Any) -> Any:
    values = tf.data.Dataset.from_tensor_slices(np.array([1.0, 2.0, 0.0, 4.0], np.float32))
    checked = values.map(lambda x: tf.check_numerics(1.0 / x, "zero"))
    return checked.apply(tf.data.experimental.ignore_errors())


@pipeline
def chosen(tf: Any) -> Any:
    parts = [tf.data.Dataset.from_tensors(word).repeat(3) for word in ("a", "b", "c")]
    choice = tf.data.Dataset.range(3).repeat(4)
    return tf.data.experimental.choose_from_datasets(parts, choice)


@pipeline
def taken_while(tf: Any) -> Any:
    return tf.data.Dataset.range(10).apply(tf.data.experimental.take_while(lambda i: i < 6))


@pipeline
def nothing_without_end(tf: Any) -> Any:
    return tf.data.Dataset.range(0).repeat()


@pipeline
def branches_inside(tf: Any) -> Any:
    def grown(i: Any) -> Any:
        return tf.while_loop(lambda k: k < 20, lambda k: k * 3, [i])

    return tf.data.Dataset.range(6).map(
        lambda i: tf.cond(tf.equal(i % 2, 0), lambda: i * 10, lambda: grown(i))
    )


def elements(tf: Any, make: Callable[[Any], Any], most: int = 200) -> list[list[np.ndarray[Any, Any]]]:
    """Every element of a pipeline: its components in the order of their leaves."""
    with tf.Graph().as_default(), tf.Session() as session:
        dataset = make(tf)
        iterator = tf.data.make_initializable_iterator(dataset)
        leaf = tf.nest.flatten(iterator.get_next(), expand_composites=True)
        session.run(iterator.initializer)
        found: list[list[np.ndarray[Any, Any]]] = []
        try:
            while len(found) < most:
                found.append([np.asarray(value) for value in session.run(leaf)])
        except tf.errors.OutOfRangeError:
            pass
        return found
