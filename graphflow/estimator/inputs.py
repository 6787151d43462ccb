"""Input functions from arrays and data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphflow.data.dataset import Dataset
from graphflow.dtypes import as_dtype, string
from graphflow.graph import GraphKeys, add_to_collection, get_default_graph

__all__ = ["numpy_input_fn", "pandas_input_fn"]

_TARGET = "__target_key__"


def numpy_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
) -> Callable[[], Any]:
    """Returns an input function that feeds arrays in batches.

    Args:
      x: the features: an array, or a dict of arrays of the same length.
      y: the labels: an array, or a dict of them, of the same length; None: no labels.
      batch_size: rows of a batch; the last one of an epoch runs on into the next.
      num_epochs: how often to go over the data; None: for ever.
      shuffle: whether to take the rows of each epoch in a random order; must be given.
      queue_capacity: rows that are prepared ahead, at most.
      num_threads: more of them prepare more batches ahead.

    Raises:
      ValueError: `shuffle` is not a bool, lengths differ, or the dict is empty.
      TypeError: `x` is of another kind.
    """
    if not isinstance(shuffle, bool):
        raise ValueError(
            "shuffle must be provided and explicitly set as boolean (it is recommended to set it as True for "
            f"training); got {shuffle}"
        )

    def input_fn() -> Any:
        if not isinstance(x, (dict, np.ndarray)):
            raise TypeError(f"x must be a dict or array; got {type(x).__name__}")
        if isinstance(x, dict) and not x:
            raise ValueError("x cannot be an empty dict")
        columns: dict[Any, Any] = dict(x) if isinstance(x, dict) else {None: x}
        if isinstance(y, dict):
            if not y:
                raise ValueError("y cannot be empty dict, use None instead.")
            if taken := [key for key in y if key in columns]:
                raise ValueError(f"{len(taken)} duplicate keys are found in both x and y: {taken}")
        labels: dict[Any, Any] = {} if y is None else dict(y) if isinstance(y, dict) else {_TARGET: y}
        lengths = {key: len(column) for key, column in {**columns, **labels}.items()}
        if len(set(lengths.values())) != 1:
            said = {("x" if k is None else "y" if k == _TARGET else k): n for k, n in lengths.items()}
            raise ValueError(
                f"Length of tensors in x and y is mismatched. All elements must be the same: {said}"
            )
        batch = _batches({**columns, **labels}, batch_size, num_epochs, shuffle, queue_capacity, num_threads)
        features = {key: batch[key] for key in columns} if isinstance(x, dict) else batch[None]
        if y is None:
            return features
        return features, {key: batch[key] for key in labels} if isinstance(y, dict) else batch[_TARGET]

    return input_fn


def pandas_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
    target_column: str = "target",
) -> Callable[[], Any]:
    """Returns an input function that feeds the columns of a pandas DataFrame in batches.

    Args:
      x: a DataFrame.
      y: a Series or DataFrame of labels with the same index; None: no labels.
      batch_size: rows of a batch.
      num_epochs: how often to go over the data; None: for ever.
      shuffle: whether to take the rows of each epoch in a random order; must be given.
      queue_capacity: rows that are prepared ahead, at most.
      num_threads: more of them prepare more batches ahead.
      target_column: a name for the labels that no column of `x` has.

    Raises:
      ValueError: `shuffle` is not a bool, a name is taken, or the indices differ.
    """
    if not isinstance(shuffle, bool):
        raise ValueError(
            "shuffle must be provided and explicitly set as boolean (it is recommended to set it as True for "
            f"training); got {shuffle}"
        )
    columns: dict[Any, Any] = {name: x[name].to_numpy() for name in x.columns}
    several = y is not None and hasattr(y, "columns")
    if y is not None:
        if target_column in columns and not several:
            raise ValueError(
                f"Cannot use name {target_column} for target column: DataFrame already has a column of it"
            )
        if not np.array_equal(x.index, y.index):
            raise ValueError("Index for x and y are mismatched.")
    labels: dict[Any, Any] = (
        {}
        if y is None
        else {name: y[name].to_numpy() for name in y.columns}
        if several
        else {target_column: y.to_numpy()}
    )
    if taken := [name for name in labels if name in columns]:
        raise ValueError(f"columns {taken} are in both x and y")

    def input_fn() -> Any:
        batch = _batches({**columns, **labels}, batch_size, num_epochs, shuffle, queue_capacity, num_threads)
        features = {name: batch[name] for name in columns}
        if y is None:
            return features
        return features, {name: batch[name] for name in labels} if several else batch[target_column]

    return input_fn


def _batches(
    columns: Mapping[Any, Any],
    batch_size: int,
    num_epochs: int | None,
    shuffle: bool,
    capacity: int,
    threads: int,
) -> dict[Any, Any]:
    """Returns the tensors of the next batch of each column. Strings of any kind become byte strings.

    The arrays stay outside of the graph: rows are taken from them as they are needed.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    arrays = [np.asarray(column) for column in columns.values()]
    seed = get_default_graph().seed

    def rows() -> Iterator[tuple[Any, ...]]:
        generator = np.random.default_rng(seed)
        for chosen in _chosen_rows(len(arrays[0]), batch_size, num_epochs, generator if shuffle else None):
            yield tuple(array[chosen] for array in arrays)

    dataset = Dataset.from_generator(
        rows,
        tuple(string if array.dtype.kind in "OUS" else as_dtype(array.dtype) for array in arrays),
        tuple([None, *array.shape[1:]] for array in arrays),
    )
    iterator = dataset.prefetch(
        max(1, min(capacity // batch_size, 2 * threads))
    ).make_initializable_iterator()
    add_to_collection(GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return dict(zip(columns, iterator.get_next(), strict=True))


def _chosen_rows(
    count: int, batch_size: int, num_epochs: int | None, generator: np.random.Generator | None
) -> Iterator[Any]:
    """Yields the numbers of the rows of each batch; a batch may begin in one epoch and end in the next."""
    epoch = 0
    waiting = np.empty(0, np.int64)
    while count and (num_epochs is None or epoch < num_epochs):
        epoch += 1
        order = np.arange(count) if generator is None else generator.permutation(count)
        waiting = np.concatenate([waiting, order])
        full = len(waiting) // batch_size * batch_size
        yield from waiting[:full].reshape(-1, batch_size)
        waiting = waiting[full:]
    if len(waiting):
        yield waiting
