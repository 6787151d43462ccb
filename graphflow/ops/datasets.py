"""Datasets and iterators: input pipelines as operations, as TensorFlow's tf.data writes them into a graph.

A dataset is a value (dtype variant): a scalar array that holds a `Dataset`, which knows how to begin a pass over its
elements and owns nothing. An element is a row, one array per component. An iterator is a resource: it owns one pass at
a time. Functions of elements are compiled like any other slice of the graph (`Run.function`).

Whatever runs ahead (`prefetch`, parallel calls) does so on threads that end when their pass is closed: when the
iterator is made anew, when the dataset ends, when the session is closed.
"""

from __future__ import annotations

import builtins
import collections
import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import numpy as np

from graphflow import config
from graphflow.dtypes import DType
from graphflow.errors import (
    CancelledError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    OpError,
    OutOfRangeError,
    UnimplementedError,
)
from graphflow.opdef import op
from graphflow.ops import rules
from graphflow.ops.optional import optional_of
from graphflow.ops.random import philox
from graphflow.resources import Array, Resource, Run, resource_of
from graphflow.shapes import TensorShape
from graphflow.tfrecord import RecordReader, open_decompressed

Row = tuple[Array, ...]
Call = Callable[[Sequence[Array]], list[Array]]

AUTOTUNE = -1
_UNKNOWN_SIZE = -2
_INFINITE = -1
_AUTOTUNED_PREFETCH = 2  # elements; a pipeline that is slower than its consumer gains nothing from more


# ---------------------------------------------------------------------------- datasets and passes


class Pass:
    """One pass over the elements of a dataset: not shared by threads without a lock.

    Args:
      step: returns the next row, or None at the end. It may raise and be called again.
      close: called once, when the pass is over or given up.
    """

    def __init__(self, step: Callable[[Run], Row | None], close: Callable[[], None] | None = None) -> None:
        self._step: Callable[[Run], Row | None] | None = step
        self._close = close

    def next(self, run: Run) -> Row | None:
        """Returns the next row; None at the end and ever after."""
        if self._step is None:
            return None
        row = self._step(run)
        if row is None:
            self.close()
        return row

    def close(self) -> None:
        """Gives up what is left."""
        self._step = None
        close, self._close = self._close, None
        if close is not None:
            close()


class Dataset:
    """What the value of a dataset holds.

    Args:
      begin: begins a pass.
      size: how many elements there are; `_INFINITE` or `_UNKNOWN_SIZE` otherwise.
    """

    def __init__(self, begin: Callable[[Run], Pass], size: int = _UNKNOWN_SIZE) -> None:
        self.begin = begin
        self.size = size

    def value(self) -> Array:
        """The scalar array that stands for the dataset in a run."""
        array: Array = np.empty((), object)
        array[()] = self
        return array


def dataset_of(value: Array) -> Dataset:
    """Returns the dataset behind a value.

    Raises:
      InvalidArgumentError: if it is something else.
    """
    found = value[()] if value.ndim == 0 else None
    if not isinstance(found, Dataset):
        raise InvalidArgumentError(None, None, f"expected a dataset, got {found!r}")
    return found


def _scalar(value: Array, what: str) -> Any:
    if value.ndim:
        raise InvalidArgumentError(None, None, f"{what} must be a scalar, got shape {list(value.shape)}")
    return value.item()


def _from(rows: Callable[[], Iterator[Row]], size: int = _UNKNOWN_SIZE) -> Array:
    """A dataset whose elements come from a Python generator."""

    def begin(run: Run) -> Pass:
        made = rows()
        close = getattr(made, "close", None)
        return Pass(lambda run: next(made, None), close)

    return Dataset(begin, size).value()


def _component_shapes(node: Any) -> list[TensorShape]:
    return list(node.attrs["output_shapes"])


# Every dataset tells the dtypes and shapes of its components.
_TYPES = "output_types:list(type)>=1; output_shapes:list(shape)>=1; metadata:string="
_SOURCE = "Toutput_types:list(type)>=1; output_shapes:list(shape)>=1; metadata:string="
_BARE = "output_types:list(type)>=1; output_shapes:list(shape)>=1"
_CALLED = f"Targuments:list(type)>=0; {_TYPES}"


F = TypeVar("F", bound=Callable[..., Any])


def dataset_op(name: str, inputs: str, attrs: str) -> Callable[[F], Any]:
    """Declares an op that makes a dataset."""
    return op(name, inputs, "handle:variant", attrs, infer=rules.scalar, effects="host", differentiable=False)


# ---------------------------------------------------------------------------- sources


@dataset_op("TensorDataset", "components:list(Toutput_types)", _SOURCE)
def tensor_dataset_op(components: list[Array]) -> Array:
    """One element: the components."""
    row = tuple(np.array(component) for component in components)
    return _from(lambda: iter((row,)), 1)


@dataset_op("TensorSliceDataset", "components:list(Toutput_types)",
             f"{_SOURCE}; is_files:bool=false; replicate_on_split:bool=false")  # fmt: skip
def tensor_slice_dataset_op(components: list[Array]) -> Array:
    """The slices of the components along their first axis."""
    counts = {component.shape[0] if component.ndim else None for component in components}
    if None in counts or len(counts) != 1:
        raise InvalidArgumentError(
            None,
            None,
            "All components must have the same size in the 0th dimension, got "
            + ", ".join(str(list(component.shape)) for component in components),
        )
    own = [np.array(component) for component in components]
    count = own[0].shape[0]
    return _from(
        lambda: (tuple(component[i, ...] for component in own) for i in builtins.range(count)), count
    )


@dataset_op("SparseTensorSliceDataset", "indices:int64; values:Tvalues; dense_shape:int64", "Tvalues:type")
def sparse_tensor_slice_dataset_op(indices: Array, values: Array, dense_shape: Array) -> Array:
    """The slices of a sparse tensor along its first axis: indices, values and shape of each."""
    if indices.ndim != 2 or len(indices) != len(values) or indices.shape[1] != len(dense_shape):
        raise InvalidArgumentError(
            None,
            None,
            f"indices {list(indices.shape)}, values {list(values.shape)} and dense_shape "
            f"{list(dense_shape.shape)} make no sparse tensor",
        )
    if np.any(np.diff(indices[:, 0]) < 0):
        raise InvalidArgumentError(None, None, "indices must be in order of their first axis")
    own, numbers, rest = np.array(indices), np.array(values), np.array(dense_shape[1:])
    starts = np.searchsorted(own[:, 0], np.arange(int(dense_shape[0]) + 1))

    def rows() -> Iterator[Row]:
        for first, last in itertools.pairwise(starts.tolist()):
            yield own[first:last, 1:], numbers[first:last], rest

    return _from(rows, int(dense_shape[0]))


@dataset_op("RangeDataset", "start:int64; stop:int64; step:int64",
             f"{_TYPES}; replicate_on_split:bool=false")  # fmt: skip
def range_dataset_op(start: Array, stop: Array, step: Array, *, output_types: Sequence[DType]) -> Array:
    """The numbers from `start` to `stop`, exclusive, in steps of `step`."""
    if not step:
        raise InvalidArgumentError(None, None, "step must be a non-zero integer.")
    numbers = builtins.range(int(start), int(stop), int(step))
    kind = output_types[0].numpy
    return _from(lambda: ((np.array(i, kind),) for i in numbers), len(numbers))


@dataset_op("RandomDataset", "seed:int64; seed2:int64", _TYPES)
def random_dataset_op(seed: Array, seed2: Array) -> Array:
    """Random words without end."""
    seeds = given_or_drawn(int(seed), int(seed2))

    def rows() -> Iterator[Row]:
        words = _Words(seeds)
        while True:
            yield (np.array(words.next(), np.int64),)

    return _from(rows, _INFINITE)


_GENERATOR_ATTRS = (
    "init_func:func; next_func:func; finalize_func:func; Tinit_func_args:list(type)>=0; "
    f"Tnext_func_args:list(type)>=0; Tfinalize_func_args:list(type)>=0; {_TYPES}"
)


@dataset_op(
    "GeneratorDataset",
    "init_func_other_args:list(Tinit_func_args); next_func_other_args:list(Tnext_func_args); "
    "finalize_func_other_args:list(Tfinalize_func_args)",
    _GENERATOR_ATTRS,
)
def generator_dataset_op(
    init_args: list[Array], next_args: list[Array], finalize_args: list[Array], *, init_func: Any,
    next_func: Any, finalize_func: Any,
) -> Array:  # fmt: skip
    """What `next_func` gives for the state that `init_func` made, until it raises OutOfRangeError."""

    def begin(run: Run) -> Pass:
        state = run.function(init_func)(init_args)
        step, last = run.function(next_func), run.function(finalize_func)

        def following(run: Run) -> Row | None:
            try:
                return tuple(step([*state, *next_args]))
            except OutOfRangeError:
                return None

        return Pass(following, lambda: _quietly(lambda: last([*state, *finalize_args])))

    return Dataset(begin).value()


def _quietly(act: Callable[[], Any]) -> None:
    """Does what need not succeed: nobody waits for it any more."""
    with contextlib.suppress(OpError, RuntimeError):
        act()


# ---------------------------------------------------------------------------- files


class _Records(Protocol):
    """A file that is read record by record."""

    def read(self) -> bytes | None:
        """Returns the next record, None at the end."""

    def close(self) -> None:
        """Closes the file."""


def _as_text(record: bytes) -> Row:
    return (np.array(record, object),)


def from_files(
    filenames: Array, opened: Callable[[str], _Records], decoded: Callable[[bytes], Row] = _as_text
) -> Array:
    """The records of files, one file after the other; a file is opened when it is its turn."""
    paths = [os.fsdecode(name) for name in filenames.reshape(-1)]

    def begin(run: Run) -> Pass:
        left, current = iter(paths), list[_Records]()

        def step(run: Run) -> Row | None:
            while True:
                if current:
                    record = current[0].read()
                    if record is not None:
                        return decoded(record)
                    current.pop().close()
                path = next(left, None)
                if path is None:
                    return None
                current.append(opened(path))

        def close() -> None:
            for one in current:
                one.close()

        return Pass(step, close)

    return Dataset(begin).value()


def compression_of(value: Array) -> str:
    """The name of a compression, which has to be known."""
    kind: str = os.fsdecode(_scalar(value, "compression_type"))
    if kind not in ("", "ZLIB", "GZIP"):
        raise InvalidArgumentError(None, None, f"Unsupported compression_type: {kind}.")
    return kind


@dataset_op(
    "TFRecordDataset", "filenames:string; compression_type:string; buffer_size:int64", "metadata:string="
)
def tf_record_dataset_op(filenames: Array, compression_type: Array, buffer_size: Array) -> Array:
    """The records of TFRecord files."""
    kind = compression_of(compression_type)
    return from_files(filenames, lambda path: RecordReader(path, kind))


@dataset_op(
    "TFRecordDatasetV2",
    "filenames:string; compression_type:string; buffer_size:int64; byte_offsets:int64",
    "metadata:string=",
)
def tf_record_dataset_v2_op(
    filenames: Array, compression_type: Array, buffer_size: Array, byte_offsets: Array
) -> Array:
    """The records of TFRecord files from their beginning; other offsets are refused."""
    if byte_offsets.any():
        raise UnimplementedError(
            None, None, f"files are read from their beginning, got byte_offsets {byte_offsets.tolist()}"
        )
    made: Array = tf_record_dataset_op.body(filenames, compression_type, buffer_size)
    return made


@dataset_op(
    "TextLineDataset", "filenames:string; compression_type:string; buffer_size:int64", "metadata:string="
)
def text_line_dataset_op(filenames: Array, compression_type: Array, buffer_size: Array) -> Array:
    """The lines of text files, without their ends."""
    kind = compression_of(compression_type)
    return from_files(filenames, lambda path: _Lines(path, kind))


class _Lines:
    def __init__(self, path: str, compression: str) -> None:
        self._file = open_decompressed(path, compression)

    def read(self) -> bytes | None:
        """Returns the next line, None at the end."""
        line = self._file.readline()
        return line.removesuffix(b"\n").removesuffix(b"\r") if line else None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@dataset_op("FixedLengthRecordDatasetV2",
             "filenames:string; header_bytes:int64; record_bytes:int64; footer_bytes:int64; buffer_size:int64; "
             "compression_type:string", "metadata:string=")  # fmt: skip
def fixed_length_record_dataset_op(
    filenames: Array, header_bytes: Array, record_bytes: Array, footer_bytes: Array, buffer_size: Array,
    compression_type: Array,
) -> Array:  # fmt: skip
    """The records of files that have a head, records of one size, and a foot."""
    kind, head, size, foot = (
        compression_of(compression_type),
        int(header_bytes),
        int(record_bytes),
        int(footer_bytes),
    )
    if head < 0 or foot < 0 or size < 1:
        raise InvalidArgumentError(
            None,
            None,
            f"header_bytes and footer_bytes must be >= 0, record_bytes > 0, got {head}, {foot}, {size}",
        )
    return from_files(filenames, lambda path: _FixedLength(path, kind, head, size, foot))


@dataset_op("FixedLengthRecordDataset",
             "filenames:string; header_bytes:int64; record_bytes:int64; footer_bytes:int64; buffer_size:int64",
             "metadata:string=")  # fmt: skip
def plain_fixed_length_record_dataset_op(
    filenames: Array, header_bytes: Array, record_bytes: Array, footer_bytes: Array, buffer_size: Array
) -> Array:
    """As FixedLengthRecordDatasetV2, of files that are not compressed."""
    made: Array = fixed_length_record_dataset_op.body(
        filenames, header_bytes, record_bytes, footer_bytes, buffer_size, np.array(b"", object)
    )
    return made


class _FixedLength:
    def __init__(self, path: str, compression: str, head: int, size: int, foot: int) -> None:
        self._path, self._size, self._foot = path, size, foot
        self._file = open_decompressed(path, compression)
        if len(self._file.read(head)) < head:
            raise InvalidArgumentError(None, None, f"{path!r} is shorter than its header of {head} bytes")
        self._ahead = self._file.read(foot)

    def read(self) -> bytes | None:
        """Returns the next record, None at the end."""
        # What is read ahead may be the foot.
        data = self._ahead + self._file.read(self._size)
        record, self._ahead = data[: self._size], data[self._size :]
        if len(data) == self._size + self._foot:
            return record
        if len(data) > self._foot:
            raise InvalidArgumentError(
                None,
                None,
                f"{self._path!r} has {len(data) - self._foot} bytes after its last record of {self._size}",
            )
        return None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


# ---------------------------------------------------------------------------- order and number


@dataset_op("ZipDataset", "input_datasets:N*variant", f"{_TYPES}; N:int>=1")
def zip_dataset_op(input_datasets: list[Array]) -> Array:
    """Elements side by side, as long as every dataset has one."""
    sources = [dataset_of(value) for value in input_datasets]

    def begin(run: Run) -> Pass:
        passes = [source.begin(run) for source in sources]

        def step(run: Run) -> Row | None:
            row: list[Array] = []
            for one in passes:
                found = one.next(run)
                if found is None:
                    return None
                row += found
            return tuple(row)

        return Pass(step, lambda: _close_all(passes))

    finite = [source.size for source in sources if source.size != _INFINITE]
    size = _UNKNOWN_SIZE if _UNKNOWN_SIZE in finite else min(finite, default=_INFINITE)
    return Dataset(begin, size).value()


def _close_all(passes: Sequence[Pass]) -> None:
    for one in passes:
        one.close()


@dataset_op("ConcatenateDataset", "input_dataset:variant; another_dataset:variant", _TYPES)
def concatenate_dataset_op(input_dataset: Array, another_dataset: Array) -> Array:
    """The elements of one dataset, then those of the other."""
    first, second = dataset_of(input_dataset), dataset_of(another_dataset)
    sizes = (first.size, second.size)
    size = _INFINITE if _INFINITE in sizes else _UNKNOWN_SIZE if _UNKNOWN_SIZE in sizes else sum(sizes)
    return Dataset(lambda run: _chained(iter((first, second)), run), size).value()


def _chained(sources: Iterator[Dataset], run: Run) -> Pass:
    """A pass through one dataset after the other."""
    current: list[Pass] = []

    def step(run: Run) -> Row | None:
        while True:
            if current:
                row = current[0].next(run)
                if row is not None:
                    return row
                current.clear()
            source = next(sources, None)
            if source is None:
                return None
            current.append(source.begin(run))

    return Pass(step, lambda: _close_all(current))


@dataset_op("RepeatDataset", "input_dataset:variant; count:int64", _TYPES)
def repeat_dataset_op(input_dataset: Array, count: Array) -> Array:
    """The elements again and again: `count` times, without end if negative."""
    return _repeated(dataset_of(input_dataset), int(_scalar(count, "count"))).value()


def _repeated(source: Dataset, times: int) -> Dataset:
    def begin(run: Run) -> Pass:
        left, current, empty = times, [source.begin(run)] if times else [], True

        def step(run: Run) -> Row | None:
            nonlocal left, empty
            while current:
                row = current[0].next(run)
                if row is not None:
                    empty = False
                    return row
                left -= 1
                current.clear()
                # Nothing repeated without end is nothing.
                if left and not (empty and times < 0):
                    empty = True
                    current.append(source.begin(run))
            return None

        return Pass(step, lambda: _close_all(current))

    if not times or not source.size:
        size = 0
    elif times < 0:
        size = _INFINITE
    else:
        size = source.size * times if source.size > 0 else source.size
    return Dataset(begin, size)


@dataset_op("TakeDataset", "input_dataset:variant; count:int64", _TYPES)
def take_dataset_op(input_dataset: Array, count: Array) -> Array:
    """The first `count` elements, all if negative."""
    source, most = dataset_of(input_dataset), int(_scalar(count, "count"))
    if most < 0:
        return source.value()

    def begin(run: Run) -> Pass:
        rows, left = source.begin(run), most

        def step(run: Run) -> Row | None:
            nonlocal left
            left -= 1
            return rows.next(run) if left >= 0 else None

        return Pass(step, rows.close)

    size = most if source.size == _INFINITE else min(most, source.size)
    return Dataset(begin, size).value()


@dataset_op("SkipDataset", "input_dataset:variant; count:int64", _TYPES)
def skip_dataset_op(input_dataset: Array, count: Array) -> Array:
    """What comes after the first `count` elements; nothing if negative."""
    source, fewest = dataset_of(input_dataset), int(_scalar(count, "count"))

    def begin(run: Run) -> Pass:
        rows, left = source.begin(run), fewest

        def step(run: Run) -> Row | None:
            nonlocal left
            if fewest < 0:
                return None
            while left:
                left -= 1
                if rows.next(run) is None:
                    return None
            return rows.next(run)

        return Pass(step, rows.close)

    size = 0 if fewest < 0 else source.size if source.size < 0 else max(0, source.size - fewest)
    return Dataset(begin, size).value()


@dataset_op("ShardDataset", "input_dataset:variant; num_shards:int64; index:int64",
             f"require_non_empty:bool=false; {_TYPES}")  # fmt: skip
def shard_dataset_op(input_dataset: Array, num_shards: Array, index: Array) -> Array:
    """Every `num_shards`-th element, from element `index` on."""
    source, shards, first = dataset_of(input_dataset), int(num_shards), int(index)
    if shards < 1 or not 0 <= first < shards:
        raise InvalidArgumentError(
            None, None, f"index must be between 0 and {shards - 1} (num_shards {shards}), got {first}"
        )

    def begin(run: Run) -> Pass:
        rows, at = source.begin(run), -1

        def step(run: Run) -> Row | None:
            nonlocal at
            while True:
                row = rows.next(run)
                at += 1
                if row is None or at % shards == first:
                    return row

        return Pass(step, rows.close)

    size = source.size if source.size < 0 else len(builtins.range(first, source.size, shards))
    return Dataset(begin, size).value()


# ---------------------------------------------------------------------------- random order


class _Words:
    """32-bit words of a Philox generator, one after the other, as TensorFlow's input pipelines draw them."""

    _BLOCK = 256

    def __init__(self, seeds: tuple[int, int]) -> None:
        self._seeds = seeds
        self._block = 0
        self._words: list[int] = []
        self._at = 0

    def next(self) -> int:
        """Returns the next word."""
        if self._at == len(self._words):
            self._words = philox(self._seeds, self._block, self._BLOCK).reshape(-1).tolist()
            self._block += self._BLOCK
            self._at = 0
        self._at += 1
        return self._words[self._at - 1]


def given_or_drawn(seed: int, seed2: int) -> tuple[int, int]:
    """The seeds, or random ones where both are zero."""
    if seed or seed2:
        return seed, seed2
    words = np.frombuffer(os.urandom(16), np.uint64)
    return int(words[0]), int(words[1])


class _Seeds:
    """Two seeds for each pass of a dataset that is shuffled anew."""

    def __init__(self, seeds: tuple[int, int]) -> None:
        self._words = _Words(seeds)
        self._lock = threading.Lock()

    def next(self) -> tuple[int, int]:
        """Returns the seeds of the next pass."""
        with self._lock:
            return self._words.next(), self._words.next()


def _shuffled(source: Dataset, buffer_size: int, seeds: Callable[[], tuple[int, int]]) -> Dataset:
    """The elements in random order: a buffer is kept full, and each draw takes one of its elements."""
    if buffer_size < 1 and buffer_size != _INFINITE:
        raise InvalidArgumentError(None, None, f"buffer_size must be greater than zero, got {buffer_size}")

    def begin(run: Run) -> Pass:
        rows, words = source.begin(run), _Words(seeds())
        # A ring: the elements stand from `first` on, the next one drawn goes from its place to that of the first.
        buffer: list[Row | None] = []
        first, last, ended = 0, 0, False

        def fill(run: Run) -> None:
            nonlocal last, ended
            while not ended and (last - first < buffer_size or buffer_size < 0):
                row = rows.next(run)
                if row is None:
                    ended = True
                elif len(buffer) < buffer_size or buffer_size < 0:
                    buffer.append(row)
                    last += 1
                else:
                    buffer[last % buffer_size] = row
                    last += 1

        def step(run: Run) -> Row | None:
            nonlocal first
            fill(run)
            if first == last:
                return None
            at = (first + words.next() % (last - first)) % len(buffer)
            row, buffer[at] = buffer[at], buffer[first % len(buffer)]
            buffer[first % len(buffer)] = None
            first += 1
            return row

        return Pass(step, rows.close)

    return Dataset(begin, source.size)


def _order(seed: Array, seed2: Array, again: bool) -> Callable[[], tuple[int, int]]:
    """The seeds of each pass."""
    seeds = given_or_drawn(int(seed), int(seed2))
    return _Seeds(seeds).next if again else lambda: seeds


_SHUFFLE = f"reshuffle_each_iteration:bool=true; {_TYPES}"


@dataset_op("ShuffleDataset", "input_dataset:variant; buffer_size:int64; seed:int64; seed2:int64", _SHUFFLE)
def shuffle_dataset_op(
    input_dataset: Array, buffer_size: Array, seed: Array, seed2: Array, *, reshuffle_each_iteration: bool
) -> Array:
    """The elements in random order, drawn from a buffer."""
    order = _order(seed, seed2, reshuffle_each_iteration)
    return _shuffled(dataset_of(input_dataset), int(buffer_size), order).value()


@dataset_op("ShuffleAndRepeatDataset",
             "input_dataset:variant; buffer_size:int64; seed:int64; seed2:int64; count:int64",
             f"{_TYPES}; reshuffle_each_iteration:bool=true")  # fmt: skip
def shuffle_and_repeat_dataset_op(
    input_dataset: Array, buffer_size: Array, seed: Array, seed2: Array, count: Array,
    *, reshuffle_each_iteration: bool,
) -> Array:  # fmt: skip
    """The elements of several epochs, each in a random order of its own."""
    order = _order(seed, seed2, reshuffle_each_iteration)
    return _repeated(_shuffled(dataset_of(input_dataset), int(buffer_size), order), int(count)).value()


class _SeedGenerator(Resource):
    kind = "seed generator"

    def __init__(self, seeds: _Seeds) -> None:
        super().__init__()
        self.seeds = seeds


@op("DummySeedGenerator", "", "handle:resource", "", infer=rules.scalar, effects="host", differentiable=False)
def dummy_seed_generator_op(*, context: Any, node_name: str) -> Array:
    """A handle for where newer graphs keep the seeds of a shuffle; the shuffle makes its own."""
    found = context.resources.get(
        _SeedGenerator,
        lambda: _SeedGenerator(_Seeds((0, 0))),
        container="",
        shared_name="",
        node_name=node_name,
    )
    return found.handle()


@dataset_op("ShuffleDatasetV3",
             "input_dataset:variant; buffer_size:int64; seed:int64; seed2:int64; seed_generator:resource",
             _SHUFFLE)  # fmt: skip
def shuffle_dataset_v3_op(
    input_dataset: Array, buffer_size: Array, seed: Array, seed2: Array, seed_generator: Array,
    *, reshuffle_each_iteration: bool,
) -> Array:  # fmt: skip
    """As ShuffleDataset; the resource is where TensorFlow 2 keeps the generator of seeds."""
    order = _order(seed, seed2, reshuffle_each_iteration)
    return _shuffled(dataset_of(input_dataset), int(buffer_size), order).value()


# ---------------------------------------------------------------------------- functions of elements


def _mapped(source: Dataset, function: Any, others: Sequence[Array]) -> Array:
    def begin(run: Run) -> Pass:
        rows, call = source.begin(run), run.function(function)

        def step(run: Run) -> Row | None:
            row = rows.next(run)
            return None if row is None else tuple(call([*row, *others]))

        return Pass(step, rows.close)

    return Dataset(begin, source.size).value()


@dataset_op("MapDataset", "input_dataset:variant; other_arguments:list(Targuments)",
             f"f:func; {_CALLED}; use_inter_op_parallelism:bool=true; preserve_cardinality:bool=false; "
             "force_synchronous:bool=false")  # fmt: skip
def map_dataset_op(input_dataset: Array, other_arguments: list[Array], *, f: Any) -> Array:
    """What `f` gives for each element."""
    return _mapped(dataset_of(input_dataset), f, other_arguments)


def _parallel(calls: int) -> int:
    return config.num_threads() if calls == AUTOTUNE else calls


def _mapped_in_parallel(source: Dataset, function: Any, others: Sequence[Array], calls: int) -> Array:
    """The same as `_mapped`, in the same order, with several calls under way."""
    if calls < 1 and calls != AUTOTUNE:
        raise InvalidArgumentError(None, None, f"num_parallel_calls must be greater than zero, got {calls}")
    most = _parallel(calls)
    if most == 1:
        return _mapped(source, function, others)

    def begin(run: Run) -> Pass:
        rows, call, team = source.begin(run), run.function(function), _Team(most)
        pending: collections.deque[Future[Row]] = collections.deque()
        ended = False

        def one(row: Row) -> Row:
            return tuple(call([*row, *others]))

        def step(run: Run) -> Row | None:
            nonlocal ended
            while not ended and len(pending) < most:
                row = rows.next(run)
                if row is None:
                    ended = True
                else:
                    pending.append(team.submit(functools.partial(one, row)))
            return team.result(pending.popleft(), run) if pending else None

        def close() -> None:
            team.close()
            rows.close()

        return Pass(step, close)

    return Dataset(begin, source.size).value()


class _Team:
    """Threads that make calls; none of them keeps the process from ending."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads: list[threading.Thread] = []
        self._jobs: collections.deque[tuple[Callable[[], Row], Future[Row]]] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, job: Callable[[], Row]) -> Future[Row]:
        """Puts a call in line."""
        future: Future[Row] = Future()
        with self._changed:
            self._jobs.append((job, future))
            if len(self._threads) < min(self._size, len(self._jobs) + len(self._threads)):
                thread = threading.Thread(target=self._work, name="graphflow dataset", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self._closed:
                        return
                    self._changed.wait()
                job, future = self._jobs.popleft()
            try:
                future.set_result(job())
            except BaseException as error:  # it is raised where the result is taken
                future.set_exception(error)

    def result(self, future: Future[Row], run: Run) -> Row:
        """Returns what a call gave; looks at the session while it waits."""
        while True:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                if future.done():
                    raise
                run.between_steps()

    def close(self) -> None:
        """Ends the threads once what they do now is done."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()


_LOOK = 0.5  # seconds between looks at the session while waiting


@dataset_op("ParallelMapDataset",
             "input_dataset:variant; other_arguments:list(Targuments); num_parallel_calls:int32",
             f"f:func; {_CALLED}; use_inter_op_parallelism:bool=true; sloppy:bool=false; "
             "preserve_cardinality:bool=false")  # fmt: skip
def parallel_map_dataset_op(
    input_dataset: Array, other_arguments: list[Array], num_parallel_calls: Array, *, f: Any
) -> Array:
    """What `f` gives for each element, several at a time, in the elements' order."""
    return _mapped_in_parallel(dataset_of(input_dataset), f, other_arguments, int(num_parallel_calls))


@dataset_op("ParallelMapDatasetV2",
             "input_dataset:variant; other_arguments:list(Targuments); num_parallel_calls:int64",
             f"f:func; {_CALLED}; use_inter_op_parallelism:bool=true; deterministic:string=default; "
             "preserve_cardinality:bool=false; use_unbounded_threadpool:bool=false")  # fmt: skip
def parallel_map_dataset_v2_op(
    input_dataset: Array, other_arguments: list[Array], num_parallel_calls: Array, *, f: Any
) -> Array:
    """What `f` gives for each element, several at a time, in the elements' order."""
    return _mapped_in_parallel(dataset_of(input_dataset), f, other_arguments, int(num_parallel_calls))


@dataset_op("MapAndBatchDataset",
             "input_dataset:variant; other_arguments:list(Targuments); batch_size:int64; "
             "num_parallel_calls:int64; drop_remainder:bool",
             f"f:func; {_CALLED}; preserve_cardinality:bool=false")  # fmt: skip
def map_and_batch_dataset_op(
    input_dataset: Array, other_arguments: list[Array], batch_size: Array, num_parallel_calls: Array,
    drop_remainder: Array, *, f: Any,
) -> Array:  # fmt: skip
    """Batches of what `f` gives for each element."""
    mapped = _mapped_in_parallel(dataset_of(input_dataset), f, other_arguments, int(num_parallel_calls))
    return _batched(dataset_of(mapped), int(batch_size), bool(drop_remainder), _stacked)


def _filtered(source: Dataset, function: Any, others: Sequence[Array], stop: bool) -> Array:
    def begin(run: Run) -> Pass:
        rows, call = source.begin(run), run.function(function)

        def step(run: Run) -> Row | None:
            while True:
                row = rows.next(run)
                if row is None or bool(call([*row, *others])[0]):
                    return row
                if stop:
                    return None

        return Pass(step, rows.close)

    return Dataset(begin, _INFINITE if source.size == _INFINITE and not stop else _UNKNOWN_SIZE).value()


@dataset_op("FilterDataset", "input_dataset:variant; other_arguments:list(Targuments)",
             f"predicate:func; {_CALLED}")  # fmt: skip
def filter_dataset_op(input_dataset: Array, other_arguments: list[Array], *, predicate: Any) -> Array:
    """The elements for which the predicate holds."""
    return _filtered(dataset_of(input_dataset), predicate, other_arguments, False)


@dataset_op("TakeWhileDataset", "input_dataset:variant; other_arguments:list(Targuments)",
             f"predicate:func; {_CALLED}")  # fmt: skip
def take_while_dataset_op(input_dataset: Array, other_arguments: list[Array], *, predicate: Any) -> Array:
    """The elements before the first one for which the predicate does not hold."""
    return _filtered(dataset_of(input_dataset), predicate, other_arguments, True)


@dataset_op("FlatMapDataset", "input_dataset:variant; other_arguments:list(Targuments)", f"f:func; {_CALLED}")
def flat_map_dataset_op(input_dataset: Array, other_arguments: list[Array], *, f: Any) -> Array:
    """The elements of the datasets that `f` gives, one dataset after the other."""
    return _interleaved(dataset_of(input_dataset), f, other_arguments, 1, 1, 0)


def _interleaved(
    source: Dataset, function: Any, others: Sequence[Array], cycle: int, block: int, ahead: int
) -> Array:
    """Elements of `cycle` datasets at a time, `block` of each in turn, in an order that does not depend on timing.

    Args:
      source: what the datasets are made of.
      function: gives a dataset for each element.
      others: its further arguments.
      cycle: how many datasets are open.
      block: how many elements of a dataset come together.
      ahead: how many elements of each open dataset are got ready on a thread of its own; 0: none.
    """
    if cycle == AUTOTUNE:
        cycle = config.num_threads()
    if cycle < 1 or block < 1:
        raise InvalidArgumentError(
            None, None, f"cycle_length and block_length must be greater than zero, got {cycle} and {block}"
        )

    def begin(run: Run) -> Pass:
        outer, call = source.begin(run), run.function(function)
        slots: list[Pass | None] = [None] * cycle
        at, done, ended = 0, 0, False

        def advance() -> None:
            nonlocal at, done
            at, done = (at + 1) % cycle, 0

        def step(run: Run) -> Row | None:
            nonlocal done, ended
            while not ended or any(slots):
                current = slots[at]
                if current is None:
                    if ended:
                        advance()
                        continue
                    row = outer.next(run)
                    if row is None:
                        ended = True
                        continue
                    made = dataset_of(call([*row, *others])[0])
                    current = slots[at] = _ahead(made, ahead, run) if ahead else made.begin(run)
                found = current.next(run)
                if found is None:
                    slots[at] = None
                    advance()
                    continue
                done += 1
                if done == block:
                    advance()
                return found
            return None

        def close() -> None:
            _close_all([one for one in slots if one is not None])
            outer.close()

        return Pass(step, close)

    return Dataset(begin).value()


@dataset_op("InterleaveDataset",
             "input_dataset:variant; other_arguments:list(Targuments); cycle_length:int64; block_length:int64",
             f"f:func; {_CALLED}")  # fmt: skip
def interleave_dataset_op(
    input_dataset: Array, other_arguments: list[Array], cycle_length: Array, block_length: Array, *, f: Any
) -> Array:
    """Elements of several of the datasets that `f` gives, in turn."""
    return _interleaved(
        dataset_of(input_dataset), f, other_arguments, int(cycle_length), int(block_length), 0
    )


@dataset_op("ParallelInterleaveDatasetV2",
             "input_dataset:variant; other_arguments:list(Targuments); cycle_length:int64; block_length:int64; "
             "num_parallel_calls:int64",
             f"f:func; {_CALLED}; sloppy:bool=false")  # fmt: skip
def parallel_interleave_dataset_v2_op(
    input_dataset: Array, other_arguments: list[Array], cycle_length: Array, block_length: Array,
    num_parallel_calls: Array, *, f: Any,
) -> Array:  # fmt: skip
    """As InterleaveDataset, with the open datasets read ahead."""
    return _interleaved(
        dataset_of(input_dataset), f, other_arguments, int(cycle_length), int(block_length), int(block_length)
    )


@dataset_op("ParallelInterleaveDatasetV4",
             "input_dataset:variant; other_arguments:list(Targuments); cycle_length:int64; block_length:int64; "
             "buffer_output_elements:int64; prefetch_input_elements:int64; num_parallel_calls:int64",
             f"f:func; deterministic:string=default; {_CALLED}")  # fmt: skip
def parallel_interleave_dataset_v4_op(
    input_dataset: Array, other_arguments: list[Array], cycle_length: Array, block_length: Array,
    buffer_output_elements: Array, prefetch_input_elements: Array, num_parallel_calls: Array, *, f: Any,
) -> Array:  # fmt: skip
    """As InterleaveDataset, with the open datasets read ahead."""
    ahead = max(int(buffer_output_elements), int(block_length))
    return _interleaved(
        dataset_of(input_dataset), f, other_arguments, int(cycle_length), int(block_length), ahead
    )


@dataset_op("LegacyParallelInterleaveDatasetV2",
             "input_dataset:variant; other_arguments:list(Targuments); cycle_length:int64; block_length:int64; "
             "buffer_output_elements:int64; prefetch_input_elements:int64",
             f"f:func; deterministic:string=default; {_CALLED}")  # fmt: skip
def legacy_parallel_interleave_dataset_v2_op(
    input_dataset: Array, other_arguments: list[Array], cycle_length: Array, block_length: Array,
    buffer_output_elements: Array, prefetch_input_elements: Array, *, f: Any,
) -> Array:  # fmt: skip
    """As InterleaveDataset, with the open datasets read ahead."""
    ahead = max(int(buffer_output_elements), int(block_length))
    return _interleaved(
        dataset_of(input_dataset), f, other_arguments, int(cycle_length), int(block_length), ahead
    )


@dataset_op("ParallelInterleaveDataset",
             "input_dataset:variant; other_arguments:list(Targuments); cycle_length:int64; block_length:int64; "
             "sloppy:bool; buffer_output_elements:int64; prefetch_input_elements:int64",
             f"f:func; {_CALLED}")  # fmt: skip
def parallel_interleave_dataset_op(
    input_dataset: Array, other_arguments: list[Array], cycle_length: Array, block_length: Array,
    sloppy: Array, buffer_output_elements: Array, prefetch_input_elements: Array, *, f: Any,
) -> Array:  # fmt: skip
    """As InterleaveDataset, with the open datasets read ahead."""
    ahead = max(int(buffer_output_elements), int(block_length))
    return _interleaved(
        dataset_of(input_dataset), f, other_arguments, int(cycle_length), int(block_length), ahead
    )


@dataset_op("ScanDataset",
             "input_dataset:variant; initial_state:list(Tstate); other_arguments:list(Targuments)",
             f"f:func; Tstate:list(type)>=1; {_CALLED}; preserve_cardinality:bool=false; "
             "use_default_device:bool=true")  # fmt: skip
def scan_dataset_op(
    input_dataset: Array, initial_state: list[Array], other_arguments: list[Array], *, f: Any
) -> Array:
    """What `f` gives for a state and each element, besides the next state."""
    source, count = dataset_of(input_dataset), len(initial_state)

    def begin(run: Run) -> Pass:
        rows, call, state = source.begin(run), run.function(f), list(initial_state)

        def step(run: Run) -> Row | None:
            row = rows.next(run)
            if row is None:
                return None
            made = call([*state, *row, *other_arguments])
            state[:] = made[:count]
            return tuple(made[count:])

        return Pass(step, rows.close)

    return Dataset(begin, source.size).value()


_BY_KEY = (
    "key_func:func; reduce_func:func; window_size_func:func; Tkey_func_other_arguments:list(type)>=0; "
    "Treduce_func_other_arguments:list(type)>=0; Twindow_size_func_other_arguments:list(type)>=0"
)


@dataset_op(
    "GroupByWindowDataset",
    "input_dataset:variant; key_func_other_arguments:list(Tkey_func_other_arguments); "
    "reduce_func_other_arguments:list(Treduce_func_other_arguments); "
    "window_size_func_other_arguments:list(Twindow_size_func_other_arguments)",
    f"{_BY_KEY}; {_TYPES}",
)
def group_by_window_dataset_op(
    input_dataset: Array, key_args: list[Array], reduce_args: list[Array], window_args: list[Array],
    *, key_func: Any, reduce_func: Any, window_size_func: Any,
) -> Array:  # fmt: skip
    """The datasets that `reduce_func` makes of elements with one key, as soon as there are enough of them."""
    source = dataset_of(input_dataset)

    def begin(run: Run) -> Pass:
        rows = source.begin(run)
        key_of, reduce_, size_of = (run.function(f) for f in (key_func, reduce_func, window_size_func))
        groups: dict[int, tuple[int, list[Row]]] = {}
        current: list[Pass] = []
        ended = False

        def ready(key: int, group: list[Row], run: Run) -> None:
            made = _from(lambda: iter(group), len(group))
            found = dataset_of(reduce_([np.array(key, np.int64), made, *reduce_args])[0])
            current.append(found.begin(run))

        def step(run: Run) -> Row | None:
            nonlocal ended
            while True:
                if current:
                    row = current[0].next(run)
                    if row is not None:
                        return row
                    current.pop(0)
                elif ended:
                    if not groups:
                        return None
                    key = next(iter(groups))
                    ready(key, groups.pop(key)[1], run)
                else:
                    row = rows.next(run)
                    if row is None:
                        ended = True
                        continue
                    key = int(key_of([*row, *key_args])[0])
                    if key not in groups:
                        size = int(size_of([np.array(key, np.int64), *window_args])[0])
                        if size <= 0:
                            raise InvalidArgumentError(
                                None, None, f"Window size must be greater than zero, but got {size}."
                            )
                        groups[key] = size, []
                    size, group = groups[key]
                    group.append(row)
                    if len(group) == size:
                        del groups[key]
                        ready(key, group, run)

        def close() -> None:
            _close_all(current)
            rows.close()

        return Pass(step, close)

    return Dataset(begin).value()


# ---------------------------------------------------------------------------- batches


def _stacked(rows: Sequence[Row], component: int) -> Array:
    arrays = [row[component] for row in rows]
    first = arrays[0]
    for number, array in enumerate(arrays):
        if array.shape != first.shape:
            raise InvalidArgumentError(
                None, None,
                f"Cannot batch tensors with different shapes in component {component}. First element had shape "
                f"{list(first.shape)} and element {number} had shape {list(array.shape)}.",
            )  # fmt: skip
    result = np.empty((len(arrays), *first.shape), first.dtype)
    for number, array in enumerate(arrays):
        result[number, ...] = array if first.dtype != object or array.ndim else array[()]
    return result


def _batched(source: Dataset, size: int, whole: bool, stack: Callable[[Sequence[Row], int], Array]) -> Array:
    if size < 1:
        raise InvalidArgumentError(None, None, f"Batch size must be greater than zero, got {size}")

    def begin(run: Run) -> Pass:
        rows = source.begin(run)

        def step(run: Run) -> Row | None:
            batch: list[Row] = []
            while len(batch) < size:
                row = rows.next(run)
                if row is None:
                    break
                batch.append(row)
            if not batch or (whole and len(batch) < size):
                return None
            return tuple(stack(batch, component) for component in builtins.range(len(batch[0])))

        return Pass(step, rows.close)

    count = source.size if source.size < 0 else source.size // size if whole else -(-source.size // size)
    return Dataset(begin, count).value()


@dataset_op("BatchDataset", "input_dataset:variant; batch_size:int64", _TYPES)
def batch_dataset_op(input_dataset: Array, batch_size: Array) -> Array:
    """Elements stacked, `batch_size` at a time; the last batch may be smaller."""
    return _batched(dataset_of(input_dataset), int(batch_size), False, _stacked)


@dataset_op("BatchDatasetV2", "input_dataset:variant; batch_size:int64; drop_remainder:bool",
             f"parallel_copy:bool=false; {_TYPES}")  # fmt: skip
def batch_dataset_v2_op(input_dataset: Array, batch_size: Array, drop_remainder: Array) -> Array:
    """Elements stacked, `batch_size` at a time; the last batch may be smaller, or be left out."""
    return _batched(dataset_of(input_dataset), int(batch_size), bool(drop_remainder), _stacked)


@dataset_op("ParallelBatchDataset",
             "input_dataset:variant; batch_size:int64; num_parallel_calls:int64; drop_remainder:bool",
             f"parallel_copy:bool=false; {_TYPES}; deterministic:string=default")  # fmt: skip
def parallel_batch_dataset_op(
    input_dataset: Array, batch_size: Array, num_parallel_calls: Array, drop_remainder: Array
) -> Array:
    """As BatchDatasetV2, whose batches are made one after another."""
    return _batched(dataset_of(input_dataset), int(batch_size), bool(drop_remainder), _stacked)


_PADDED = (
    "parallel_copy:bool=false; Toutput_types:list(type)>=1; output_shapes:list(shape)>=1; N:int>=1; "
    "metadata:string="
)


@dataset_op("PaddedBatchDataset",
             "input_dataset:variant; batch_size:int64; padded_shapes:N*int64; padding_values:list(Toutput_types)",
             _PADDED.partition("; ")[2])  # fmt: skip
def padded_batch_dataset_op(
    input_dataset: Array, batch_size: Array, padded_shapes: list[Array], padding_values: list[Array]
) -> Array:
    """As PaddedBatchDatasetV2; the last batch may be smaller."""
    made: Array = padded_batch_dataset_v2_op.body(
        input_dataset, batch_size, padded_shapes, padding_values, np.array(False)
    )
    return made


@dataset_op("PaddedBatchDatasetV2",
             "input_dataset:variant; batch_size:int64; padded_shapes:N*int64; "
             "padding_values:list(Toutput_types); drop_remainder:bool", _PADDED)  # fmt: skip
def padded_batch_dataset_v2_op(
    input_dataset: Array, batch_size: Array, padded_shapes: list[Array], padding_values: list[Array],
    drop_remainder: Array,
) -> Array:  # fmt: skip
    """Elements filled up to one shape and stacked; -1 in a shape stands for the largest size of the batch."""
    wanted = [shape.tolist() for shape in padded_shapes]

    def stack(rows: Sequence[Row], component: int) -> Array:
        arrays = [row[component] for row in rows]
        sizes = wanted[component]
        for array in arrays:
            if array.ndim != len(sizes):
                raise InvalidArgumentError(
                    None, None,
                    f"All elements in a batch must have the same rank as the padded shape for component {component}: "
                    f"expected rank {len(sizes)} but got element with rank {array.ndim}",
                )  # fmt: skip
        shape = [
            max(array.shape[axis] for array in arrays) if size < 0 else size
            for axis, size in enumerate(sizes)
        ]
        result = np.empty((len(arrays), *shape), arrays[0].dtype)
        result[...] = padding_values[component][()]
        for number, array in enumerate(arrays):
            if any(have > room for have, room in zip(array.shape, shape, strict=True)):
                raise DataLossError(
                    None, None,
                    "Attempted to pad to a smaller size than the input element: "
                    f"{list(array.shape)} to {shape} in component {component}",
                )  # fmt: skip
            place: tuple[Any, ...] = (number, *[slice(0, size) for size in array.shape])
            result[place] = array
        return result

    return _batched(dataset_of(input_dataset), int(batch_size), bool(drop_remainder), stack)


@dataset_op("UnbatchDataset", "input_dataset:variant", _TYPES)
def unbatch_dataset_op(input_dataset: Array) -> Array:
    """The rows of each element, one by one."""
    source = dataset_of(input_dataset)

    def begin(run: Run) -> Pass:
        rows = source.begin(run)
        current: Row = ()
        at, count = 0, 0

        def step(run: Run) -> Row | None:
            nonlocal current, at, count
            while at == count:
                row = rows.next(run)
                if row is None:
                    return None
                sizes = {array.shape[0] if array.ndim else None for array in row}
                if None in sizes or len(sizes) != 1:
                    raise InvalidArgumentError(
                        None, None,
                        "unbatch takes components with the same size along the first axis, got "
                        + ", ".join(str(list(array.shape)) for array in row),
                    )  # fmt: skip
                current, at, count = row, 0, row[0].shape[0]
            at += 1
            return tuple(np.array(array[at - 1, ...]) for array in current)

        return Pass(step, rows.close)

    return Dataset(begin).value()


@dataset_op(
    "WindowDataset",
    "input_dataset:variant; size:int64; shift:int64; stride:int64; drop_remainder:bool",
    _TYPES,
)
def window_dataset_op(
    input_dataset: Array, size: Array, shift: Array, stride: Array, drop_remainder: Array
) -> Array:
    """Datasets of `size` elements each, `stride` apart; each window begins `shift` elements after the last."""
    source = dataset_of(input_dataset)
    length, move, apart = int(size), int(shift), int(stride)
    for what, number in (("size", length), ("shift", move), ("stride", apart)):
        if number < 1:
            raise InvalidArgumentError(None, None, f"Window {what} must be greater than zero, got {number}.")
    reach = (length - 1) * apart + 1

    def begin(run: Run) -> Pass:
        rows = source.begin(run)
        seen: collections.deque[Row] = collections.deque()
        skip = 0

        def step(run: Run) -> Row | None:
            nonlocal skip
            while len(seen) < reach:
                row = rows.next(run)
                if row is None:
                    break
                if skip:
                    skip -= 1
                    continue
                seen.append(row)
            window = [seen[i] for i in builtins.range(0, len(seen), apart)][:length]
            if not window or (bool(drop_remainder) and len(seen) < reach):
                return None
            for _ in builtins.range(min(move, len(seen))):
                seen.popleft()
            skip = max(0, move - reach)
            return tuple(_window(window, i) for i in builtins.range(len(window[0])))

        return Pass(step, rows.close)

    return Dataset(begin).value()


def _window(rows: Sequence[Row], component: int) -> Array:
    return _from(lambda: iter([(row[component],) for row in rows]), len(rows))


# ---------------------------------------------------------------------------- running ahead, keeping, errors


class _Line:
    """Rows that one thread makes and another takes; errors stand in line like rows."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: collections.deque[Row | BaseException | None] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Row | BaseException | None) -> bool:
        """Adds an item when there is room; False if nobody takes it any more."""
        with self._changed:
            while len(self._items) >= self._most and not self._closed:
                self._changed.wait()
            self._items.append(item)
            self._changed.notify_all()
            return not self._closed

    def take(self, run: Run) -> Row | None:
        """Takes the next row when it is there."""
        with self._changed:
            while not self._items:
                if self._closed:
                    raise CancelledError(None, None, "The dataset was closed")
                if not self._changed.wait(_LOOK):
                    run.between_steps()
            item = self._items.popleft()
            self._changed.notify_all()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Lets nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _ahead(source: Dataset, count: int, run: Run) -> Pass:
    """A pass whose next `count` rows are made on a thread of its own."""
    line = _Line(count)

    def work() -> None:
        rows: Pass | None = None
        try:
            rows = source.begin(run)
            going = True
            while going:
                try:
                    row = rows.next(run)
                    going = line.put(row) and row is not None
                except (
                    Exception
                ) as error:  # it is raised where the row is taken, and the next one may be right
                    going = line.put(error)
        except BaseException as error:  # the same
            line.put(error)
        finally:
            if rows is not None:
                rows.close()

    threading.Thread(target=work, name="graphflow prefetch", daemon=True).start()
    return Pass(line.take, line.close)


@dataset_op("PrefetchDataset", "input_dataset:variant; buffer_size:int64",
             f"{_TYPES}; slack_period:int=0; legacy_autotune:bool=true; buffer_size_min:int=0")  # fmt: skip
def prefetch_dataset_op(input_dataset: Array, buffer_size: Array) -> Array:
    """The same elements, made ahead of their use on a thread of its own."""
    source, count = dataset_of(input_dataset), int(buffer_size)
    if count < 0 and count != AUTOTUNE:
        raise InvalidArgumentError(None, None, f"buffer_size must be >= 0 or set to -1 (tuned), got {count}")
    if count == 0:
        return source.value()
    ahead = _AUTOTUNED_PREFETCH if count == AUTOTUNE else count
    return Dataset(lambda run: _ahead(source, ahead, run), source.size).value()


@dataset_op("CacheDataset", "input_dataset:variant; filename:string", _TYPES)
def cache_dataset_op(input_dataset: Array, filename: Array) -> Array:
    """The same elements; after one whole pass they come from memory, or from a file if one is named."""
    source, path = dataset_of(input_dataset), os.fsdecode(_scalar(filename, "filename"))
    kept: list[list[Row]] = []

    def begin(run: Run) -> Pass:
        if path and not kept and os.path.exists(f"{path}.rows"):
            kept.append(_read_rows(f"{path}.rows"))
        if kept:
            rows_again = iter(kept[0])
            return Pass(lambda run: next(rows_again, None))
        rows, seen = source.begin(run), []

        def step(run: Run) -> Row | None:
            row = rows.next(run)
            if row is not None:
                seen.append(row)
            elif not kept:
                if path:
                    _write_rows(f"{path}.rows", seen)
                kept.append(seen)
            return row

        return Pass(step, rows.close)

    return Dataset(begin, source.size).value()


def _write_rows(path: str, rows: Sequence[Row]) -> None:
    """Writes rows to a file, whole or not at all: arrays one after the other in NumPy's own format."""
    temporary = f"{path}.{os.getpid()}.new"
    with open(temporary, "wb") as file:
        np.save(file, np.array([len(rows), len(rows[0]) if rows else 0]))
        for row in rows:
            for array in row:
                texts = array.dtype == object
                np.save(file, np.array(texts))
                if texts:
                    items = [bytes(item) for item in array.reshape(-1)]
                    np.save(file, np.array(array.shape, np.int64))
                    np.save(file, np.array([len(item) for item in items], np.int64))
                    array = np.frombuffer(b"".join(items), np.uint8)
                np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read_rows(path: str) -> list[Row]:
    def array(file: Any) -> Array:
        if not np.load(file, allow_pickle=False):
            return np.load(file, allow_pickle=False)
        shape, lengths, joined = (np.load(file, allow_pickle=False) for _ in builtins.range(3))
        ends = np.cumsum(lengths)
        items = [joined[end - size : end].tobytes() for end, size in zip(ends, lengths, strict=True)]
        result = np.empty(len(items), object)
        result[:] = items
        return result.reshape(shape)

    try:
        with open(path, "rb") as file:
            count, width = np.load(file, allow_pickle=False).tolist()
            return [tuple(array(file) for _ in builtins.range(width)) for _ in builtins.range(count)]
    except (OSError, ValueError, EOFError) as error:
        raise DataLossError(None, None, f"{path}: not the cache of a dataset: {error}") from None


@dataset_op("IgnoreErrorsDataset", "input_dataset:variant", f"{_BARE}; log_warning:bool=false")
def ignore_errors_dataset_op(input_dataset: Array) -> Array:
    """The elements that can be made; those that raise are left out."""
    source = dataset_of(input_dataset)

    def begin(run: Run) -> Pass:
        rows = source.begin(run)

        def step(run: Run) -> Row | None:
            while True:
                try:
                    return rows.next(run)
                except CancelledError:
                    raise
                except OpError:
                    run.between_steps()

        return Pass(step, rows.close)

    return Dataset(begin).value()


@dataset_op("UniqueDataset", "input_dataset:variant", _TYPES)
def unique_dataset_op(input_dataset: Array) -> Array:
    """Each element once, where it comes first."""
    source = dataset_of(input_dataset)

    def begin(run: Run) -> Pass:
        rows, seen = source.begin(run), set()

        def step(run: Run) -> Row | None:
            while True:
                row = rows.next(run)
                if row is None:
                    return None
                key = tuple(
                    (a.shape, tuple(a.reshape(-1).tolist()) if a.dtype == object else a.tobytes())
                    for a in row
                )
                if key not in seen:
                    seen.add(key)
                    return row

        return Pass(step, rows.close)

    return Dataset(begin).value()


@dataset_op("DirectedInterleaveDataset", "selector_input_dataset:variant; data_input_datasets:N*variant",
             f"{_BARE}; N:int>=1; stop_on_empty_dataset:bool=false")  # fmt: skip
def directed_interleave_dataset_op(
    selector_input_dataset: Array, data_input_datasets: list[Array], *, stop_on_empty_dataset: bool
) -> Array:
    """The next element of the dataset that each element of the selector names."""
    selector, sources = dataset_of(selector_input_dataset), [dataset_of(v) for v in data_input_datasets]

    def begin(run: Run) -> Pass:
        choices, passes = selector.begin(run), [source.begin(run) for source in sources]
        live = set(builtins.range(len(passes)))

        def step(run: Run) -> Row | None:
            while live:
                choice = choices.next(run)
                if choice is None:
                    return None
                number = int(choice[0])
                if not 0 <= number < len(passes):
                    raise InvalidArgumentError(
                        None, None, f"Selector index out of range: {number} >= {len(passes)}"
                    )
                if number not in live:
                    continue
                row = passes[number].next(run)
                if row is not None:
                    return row
                live.discard(number)
                if stop_on_empty_dataset:
                    return None
            return None

        def close() -> None:
            choices.close()
            _close_all(passes)

        return Pass(step, close)

    return Dataset(begin).value()


def _unchanged(name: str, inputs: str, attrs: str, meaning: str) -> None:
    """Declares a dataset that only tells TensorFlow how to run another one."""

    def body(input_dataset: Array, *rest: Array) -> Array:
        return dataset_of(input_dataset).value()

    body.__doc__ = meaning
    dataset_op(name, inputs, attrs)(body)


_unchanged("OptionsDataset", "input_dataset:variant", f"serialized_options:string; {_TYPES}",
           "The same elements; options about speed are accepted.")  # fmt: skip
_unchanged("ModelDataset", "input_dataset:variant",
           f"algorithm:int=0; cpu_budget:int=0; ram_budget:int=0; {_BARE}",
           "The same elements; TensorFlow tunes their pipeline.")  # fmt: skip


# ---------------------------------------------------------------------------- results without an iterator


@op("ReduceDataset", "input_dataset:variant; initial_state:list(Tstate); other_arguments:list(Targuments)",
    "components:list(output_types)",
    f"f:func; Tstate:list(type)>=1; {_CALLED}; use_inter_op_parallelism:bool=true",
    infer=_component_shapes, effects="host", differentiable=False)  # fmt: skip
def reduce_dataset_op(
    input_dataset: Array, initial_state: list[Array], other_arguments: list[Array], *, f: Any, context: Any
) -> list[Array]:
    """The state after `f` has been applied to it and each element in turn."""
    with context.aside(), contextlib.closing(dataset_of(input_dataset).begin(context)) as rows:
        call, state = context.function(f), list(initial_state)
        while (row := rows.next(context)) is not None:
            context.between_steps()
            state = list(call([*state, *row, *other_arguments]))
        return state


@op("DatasetToSingleElement", "dataset:variant", "components:list(output_types)", _TYPES,
    infer=_component_shapes, effects="host", differentiable=False)  # fmt: skip
def dataset_to_single_element_op(dataset: Array, *, context: Any) -> list[Array]:
    """The only element of a dataset."""
    with context.aside(), contextlib.closing(dataset_of(dataset).begin(context)) as rows:
        row = rows.next(context)
        if row is None:
            raise InvalidArgumentError(None, None, "Dataset was empty.")
        if rows.next(context) is not None:
            raise InvalidArgumentError(None, None, "Dataset had more than one element.")
        return list(row)


@op("DatasetCardinality", "input_dataset:variant", "cardinality:int64", "cardinality_options:string=",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def dataset_cardinality_op(input_dataset: Array) -> Array:
    """How many elements a dataset has; -1: no end, -2: not known."""
    return np.array(dataset_of(input_dataset).size, np.int64)


# ---------------------------------------------------------------------------- iterators


class DatasetIterator(Resource):
    """A session's place in a dataset.

    Attributes:
      types: the dtype of each component.
      shapes: what is known of the shape of each component.
    """

    kind = "iterator"

    def __init__(self, types: Sequence[DType], shapes: Sequence[TensorShape]) -> None:
        super().__init__()
        self.types, self.shapes = tuple(types), tuple(shapes)
        self._rows: Pass | None = None
        self._taking = threading.Lock()

    def start(self, run: Run, dataset: Dataset) -> None:
        """Begins a pass in place of the one that was under way."""
        with self._turn(run):
            rows, self._rows = self._rows, None
            if rows is not None:
                rows.close()
            self._rows = dataset.begin(run)

    def next(self, run: Run) -> list[Array]:
        """Returns the next row; one thread at a time.

        Raises:
          FailedPreconditionError: if no pass was begun.
          OutOfRangeError: at the end.
        """
        with self._turn(run):
            if self._rows is None:
                raise FailedPreconditionError(
                    None, None,
                    "GetNext() failed because the iterator has not been initialized. Ensure that you have run the "
                    "initializer operation for this iterator before getting the next element.",
                )  # fmt: skip
            row = self._rows.next(run)
        if row is None:
            raise OutOfRangeError(None, None, "End of sequence")
        if len(row) != len(self.types):
            raise InvalidArgumentError(
                None, None, f"the dataset has {len(row)} components, the iterator {len(self.types)}"
            )
        for number, (array, dtype, shape) in enumerate(zip(row, self.types, self.shapes, strict=True)):
            same = array.dtype == (np.dtype(object) if not dtype.is_numpy_compatible else dtype.numpy)
            if not same or not shape.is_compatible_with(array.shape):
                raise InvalidArgumentError(
                    None, None,
                    f"component {number} of the dataset is {array.dtype}{list(array.shape)}, the iterator expects "
                    f"{dtype.name} of shape {shape}",
                )  # fmt: skip
        return list(row)

    @contextlib.contextmanager
    def _turn(self, run: Run) -> Iterator[None]:
        """Waits for the turn of this thread, and lets runs of others have the variables meanwhile."""
        with run.aside():
            while not self._taking.acquire(timeout=_LOOK):
                run.between_steps()
            try:
                if self.ended:
                    raise CancelledError(None, None, "The session of the iterator has been closed.")
                yield
            finally:
                self._leave()

    def _leave(self) -> None:
        """Ends this thread's turn, and the pass if the session has ended meanwhile."""
        try:
            if self.ended:
                rows, self._rows = self._rows, None
                if rows is not None:
                    rows.close()
        finally:
            self._taking.release()

    def release(self) -> None:
        """Ends the pass; while another thread takes a row, that one does when it has seen that the session ended."""
        if self._taking.acquire(timeout=_LOOK):
            self._leave()


_ITERATOR = f"shared_name:string; container:string; {_BARE}"


@op("IteratorV2", "", "handle:resource", _ITERATOR, infer=rules.scalar, effects="host", differentiable=False)
def iterator_v2_op(
    *, shared_name: str, container: str, output_types: Sequence[DType], output_shapes: Sequence[TensorShape],
    context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of an iterator that some MakeIterator starts."""
    found = context.resources.get(
        DatasetIterator, lambda: DatasetIterator(output_types, output_shapes), container=container,
        shared_name=shared_name, node_name=node_name,
    )  # fmt: skip
    handle: Array = found.handle()
    return handle


@op("OneShotIterator", "", "handle:resource",
    f"dataset_factory:func; {_BARE}; container:string=; shared_name:string=",
    infer=rules.scalar, effects="host", differentiable=False)  # fmt: skip
def one_shot_iterator_op(
    *, dataset_factory: Any, output_types: Sequence[DType], output_shapes: Sequence[TensorShape],
    container: str, shared_name: str, context: Any, node_name: str,
) -> Array:  # fmt: skip
    """The handle of an iterator that starts by itself, once."""

    def make() -> DatasetIterator:
        made = DatasetIterator(output_types, output_shapes)
        made.start(context, dataset_of(context.function(dataset_factory)([])[0]))
        return made

    found = context.resources.get(
        DatasetIterator, make, container=container, shared_name=shared_name, node_name=node_name
    )
    handle: Array = found.handle()
    return handle


@op("MakeIterator", "dataset:variant; iterator:resource", "", "", infer=rules.no_output, effects="host",
    differentiable=False)  # fmt: skip
def make_iterator_op(dataset: Array, iterator: Array, *, context: Any) -> None:
    """Starts an iterator at the beginning of a dataset."""
    resource_of(iterator, DatasetIterator).start(context, dataset_of(dataset))


def _next_op(name: str) -> None:
    def body(iterator: Array, *, context: Any) -> list[Array]:
        return resource_of(iterator, DatasetIterator).next(context)

    body.__doc__ = "The next element; OutOfRangeError at the end."
    op(name, "iterator:resource", "components:list(output_types)", _BARE, infer=_component_shapes,
       effects="host", differentiable=False)(body)  # fmt: skip


_next_op("IteratorGetNext")
_next_op("IteratorGetNextSync")


@op("IteratorGetNextAsOptional", "iterator:resource", "optional:variant", _BARE, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def iterator_get_next_as_optional_op(iterator: Array, *, context: Any) -> Array:
    """The next element as an optional, which holds nothing at the end."""
    try:
        return optional_of(resource_of(iterator, DatasetIterator).next(context))
    except OutOfRangeError:
        return optional_of(None)


@op("IteratorToStringHandle", "resource_handle:resource", "string_handle:string", "", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def iterator_to_string_handle_op(resource_handle: Array) -> Array:
    """The name by which IteratorFromStringHandle finds an iterator."""
    return np.array(resource_of(resource_handle, DatasetIterator).name.encode(), object)


@op("IteratorFromStringHandleV2", "string_handle:string", "resource_handle:resource",
    "output_types:list(type)>=0=[]; output_shapes:list(shape)>=0=[]", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def iterator_from_string_handle_op(
    string_handle: Array, *, output_types: Sequence[DType], output_shapes: Sequence[TensorShape], context: Any
) -> Array:
    """The iterator of a name."""
    name = _scalar(string_handle, "string_handle")
    found = context.resources.find(name.decode() if isinstance(name, bytes) else str(name))
    if not isinstance(found, DatasetIterator):
        raise InvalidArgumentError(None, None, f"{name!r} names a {found.kind}, no iterator")
    fits = len(output_shapes) in (0, len(found.shapes)) and all(
        shape.is_compatible_with(have) for shape, have in zip(output_shapes, found.shapes, strict=False)
    )
    if (output_types and tuple(output_types) != found.types) or not fits:
        raise InvalidArgumentError(
            None, None,
            f"the iterator {name!r} gives {[t.name for t in found.types]} of shapes {list(map(str, found.shapes))}, "
            f"expected {[t.name for t in output_types]} of shapes {list(map(str, output_shapes))}",
        )  # fmt: skip
    return found.handle()
