"""Gives items of a data set's examples, one example each run."""

from __future__ import annotations

from typing import Any

from graphflow.contrib.slim.data.data_provider import DataProvider
from graphflow.contrib.slim.data.parallel_reader import parallel_read


class DatasetDataProvider(DataProvider):
    """Items of a data set's examples.

    Args:
      dataset: the data set.
      num_readers: how many readers read at a time.
      reader_kwargs: their arguments.
      shuffle: whether files and examples are shuffled.
      num_epochs: how often each file is read; None: for ever.
      common_queue_capacity: how many records the queue of the readers holds.
      common_queue_min: how many stay in it, to be shuffled.
      record_key: the item that names the record.
      seed: of the shuffling.
      scope: the name scope.

    Raises:
      ValueError: if an item of the data set is called like `record_key`.
    """

    def __init__(
        self, dataset: Any, num_readers: int = 1, reader_kwargs: Any = None, shuffle: bool = True,
        num_epochs: int | None = None, common_queue_capacity: int = 256, common_queue_min: int = 128,
        record_key: str = "record_key", seed: int | None = None, scope: Any = None,
    ) -> None:  # fmt: skip
        key, data = parallel_read(
            dataset.data_sources, reader_class=dataset.reader, num_epochs=num_epochs, num_readers=num_readers,
            reader_kwargs=reader_kwargs, shuffle=shuffle, capacity=common_queue_capacity,
            min_after_dequeue=common_queue_min, seed=seed, scope=scope,
        )  # fmt: skip
        items = dataset.decoder.list_items()
        if record_key in items:
            raise ValueError(
                f"The item name used for `record_key` cannot also be used for a item: {record_key}"
            )
        tensors = dict(zip(items, dataset.decoder.decode(data, items), strict=True))
        super().__init__({**tensors, record_key: key}, dataset.num_samples)
