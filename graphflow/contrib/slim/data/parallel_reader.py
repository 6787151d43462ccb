"""Several readers at a time that fill one queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow import dtypes as types
from graphflow import gfile, summary
from graphflow.graph import Tensor, name_scope
from graphflow.ops import queues
from graphflow.ops.elementwise import add_n, cast
from graphflow.train.input import string_input_producer
from graphflow.train.queue_runner import QueueRunner, add_queue_runner


class ParallelReader:
    """Readers that all put records into one queue.

    Args:
      reader_class: the class of the readers.
      common_queue: the queue of keys and values.
      num_readers: how many read at a time.
      reader_kwargs: arguments of the readers.
    """

    def __init__(
        self, reader_class: Any, common_queue: Any, num_readers: int = 4, reader_kwargs: Any = None
    ) -> None:
        self._readers = [reader_class(**(reader_kwargs or {})) for _ in range(num_readers)]
        self._common_queue = common_queue

    @property
    def num_readers(self) -> int:
        """How many read at a time."""
        return len(self._readers)

    @property
    def common_queue(self) -> Any:
        """The queue of keys and values."""
        return self._common_queue

    def read(self, queue: Any, name: str | None = None) -> Any:
        """Returns the key and the value of the next record of files whose names a queue holds."""
        self._fill([self._common_queue.enqueue(reader.read(queue)) for reader in self._readers])
        return self._common_queue.dequeue(name=name)

    def read_up_to(self, queue: Any, num_records: int, name: str | None = None) -> Any:
        """Returns keys and values of at most so many records."""
        many = [reader.read_up_to(queue, num_records) for reader in self._readers]
        self._fill([self._common_queue.enqueue_many(each) for each in many])
        return self._common_queue.dequeue_up_to(num_records, name=name)

    def _fill(self, enqueue_ops: Sequence[Any]) -> None:
        add_queue_runner(QueueRunner(self._common_queue, list(enqueue_ops)))

    def num_records_produced(self, name: str | None = None) -> Tensor:
        """Returns how many records the readers have read, all together."""
        return add_n([reader.num_records_produced() for reader in self._readers], name=name)

    def num_work_units_completed(self, name: str | None = None) -> Tensor:
        """Returns how many files the readers have finished, all together."""
        return add_n([reader.num_work_units_completed() for reader in self._readers], name=name)


def parallel_read(
    data_sources: Any, reader_class: Any, num_epochs: int | None = None, num_readers: int = 4,
    reader_kwargs: Any = None, shuffle: bool = True, dtypes: Sequence[Any] | None = None, capacity: int = 256,
    min_after_dequeue: int = 128, seed: int | None = None, scope: Any = None,
) -> Any:  # fmt: skip
    """Returns the key and the value of the next record of files, which several readers read at a time.

    Args:
      data_sources: a file, a pattern, or a list of them.
      reader_class, reader_kwargs: the class of the readers, and its arguments.
      num_epochs: how often each file is read; None: for ever.
      num_readers: how many read at a time.
      shuffle: whether files and records are shuffled.
      dtypes: of keys and values; default two strings.
      capacity: how many records the queue holds.
      min_after_dequeue: how many stay in it, to be shuffled.
      seed: of the shuffling.
      scope: the name scope.

    Raises:
      ValueError: if there are no such files.
    """
    files = get_data_files(data_sources)
    with name_scope(scope, "parallel_read"):
        names = string_input_producer(
            files, num_epochs=num_epochs, shuffle=shuffle, seed=seed, name="filenames"
        )
        held = list(dtypes) if dtypes else [types.string, types.string]
        common: Any
        if shuffle:
            common = queues.RandomShuffleQueue(
                capacity, min_after_dequeue, dtypes=held, seed=seed, name="common_queue"
            )
        else:
            common = queues.FIFOQueue(capacity, dtypes=held, name="common_queue")
        full = cast(common.size(), types.float32) * (1.0 / capacity)
        summary.scalar(f"fraction_of_{capacity}_full", full)
        return ParallelReader(reader_class, common, num_readers, reader_kwargs).read(names)


def single_pass_read(
    data_sources: Any, reader_class: Any, reader_kwargs: Any = None, scope: Any = None
) -> Any:
    """Returns the key and the value of the next record of files, each read once and in order."""
    files = get_data_files(data_sources)
    with name_scope(scope, "single_pass_read"):
        names = string_input_producer(files, num_epochs=1, shuffle=False, capacity=1, name="filenames")
        return reader_class(**(reader_kwargs or {})).read(names)


def get_data_files(data_sources: Any) -> list[str]:
    """Returns the files that a name, a pattern or a list of them stands for.

    Raises:
      ValueError: if there are none.
    """
    if isinstance(data_sources, list | tuple):
        found = [file for source in data_sources for file in get_data_files(source)]
    elif any(mark in data_sources for mark in "*?["):
        found = list(gfile.Glob(data_sources))
    else:
        found = [data_sources]
    if not found:
        raise ValueError(f"No data files found in {data_sources}")
    return found
