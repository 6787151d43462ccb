"""`tf.data.experimental`: transformations to be given to `Dataset.apply`, and some sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.data import structure
from graphflow.data.csv import CsvDataset as CsvDataset
from graphflow.data.csv import make_csv_dataset as make_csv_dataset
from graphflow.data.dataset import AUTOTUNE as AUTOTUNE
from graphflow.data.dataset import INFINITE_CARDINALITY as INFINITE_CARDINALITY
from graphflow.data.dataset import UNKNOWN_CARDINALITY as UNKNOWN_CARDINALITY
from graphflow.data.dataset import Dataset, _batched_spec, _int64, _seeds
from graphflow.data.optional import Optional as Optional
from graphflow.data.optional import get_next_as_optional as get_next_as_optional
from graphflow.data.structure import DatasetSpec, TensorSpec, Traced
from graphflow.graph import Tensor
from graphflow.opdef import constant, convert_to_tensor, emit

Transformation = Callable[[Dataset], Dataset]

__all__ = [
    "AUTOTUNE", "INFINITE_CARDINALITY", "UNKNOWN_CARDINALITY", "Counter", "CsvDataset", "Optional", "RandomDataset",
    "bucket_by_sequence_length", "cardinality", "choose_from_datasets", "copy_to_device", "enumerate_dataset",
    "get_next_as_optional", "get_single_element", "group_by_window", "ignore_errors", "make_csv_dataset",
    "map_and_batch", "parallel_interleave", "prefetch_to_device", "sample_from_datasets", "scan",
    "shuffle_and_repeat", "take_while", "unbatch", "unique",
]  # fmt: skip


def map_and_batch(
    map_func: Callable[..., Any],
    batch_size: Any,
    num_parallel_batches: Any = None,
    drop_remainder: Any = False,
    num_parallel_calls: Any = None,
) -> Transformation:
    """Batches of what `map_func` gives for each element; see `Dataset.map` and `Dataset.batch`.

    Args:
      map_func: the function.
      batch_size: how many make a batch.
      num_parallel_batches: how many batches are worked on at once.
      drop_remainder: whether a last batch that is smaller is left out.
      num_parallel_calls: how many elements are worked on at once; not together with `num_parallel_batches`.
    """
    if num_parallel_batches is not None and num_parallel_calls is not None:
        raise ValueError(
            "`map_and_batch` allows only one of `num_parallel_batches` and `num_parallel_calls` to be set, but both "
            "were given."
        )

    def apply(dataset: Dataset) -> Dataset:
        traced = Traced(map_func, dataset.element_spec, "map_and_batch")
        size = _int64(batch_size, "batch_size")
        calls = num_parallel_calls
        if calls is None:
            batches = 1 if num_parallel_batches is None else num_parallel_batches
            calls = emit.Mul(size, _int64(batches, "num_parallel_batches"))
        spec = _batched_spec(traced.spec, batch_size, drop_remainder)
        return dataset._called(
            "MapAndBatchDataset", traced, size, _int64(calls, "num_parallel_calls"),
            convert_to_tensor(drop_remainder, dtypes.bool_, name="drop_remainder"), spec=spec, f=traced.function,
        )  # fmt: skip

    return apply


def shuffle_and_repeat(buffer_size: Any, count: Any = None, seed: int | None = None) -> Transformation:
    """`Dataset.shuffle`, then `Dataset.repeat`."""
    return lambda dataset: dataset.shuffle(buffer_size, seed).repeat(count)


def parallel_interleave(
    map_func: Callable[..., Any],
    cycle_length: Any,
    block_length: Any = 1,
    sloppy: Any = False,
    buffer_output_elements: Any = None,
    prefetch_input_elements: Any = None,
) -> Transformation:
    """`Dataset.interleave` with the open datasets read ahead; the order does not depend on timing.

    Args:
      map_func: takes an element's tensors and returns a dataset.
      cycle_length: how many datasets are open at once.
      block_length: how many elements of one come together.
      sloppy: accepted: elements are not taken out of turn.
      buffer_output_elements: how many elements of a dataset are made ahead.
      prefetch_input_elements: accepted.
    """

    def apply(dataset: Dataset) -> Dataset:
        traced, spec = dataset._datasets(map_func, "parallel_interleave")
        ahead = 2 * block_length if buffer_output_elements is None else buffer_output_elements
        inputs = 2 * cycle_length if prefetch_input_elements is None else prefetch_input_elements
        return dataset._called(
            "ParallelInterleaveDataset", traced, _int64(cycle_length, "cycle_length"),
            _int64(block_length, "block_length"), convert_to_tensor(sloppy, dtypes.bool_, name="sloppy"),
            _int64(ahead, "buffer_output_elements"), _int64(inputs, "prefetch_input_elements"), spec=spec,
            f=traced.function,
        )  # fmt: skip

    return apply


def unbatch() -> Transformation:
    """See `Dataset.unbatch`."""
    return lambda dataset: dataset.unbatch()


def ignore_errors(log_warning: bool = False) -> Transformation:
    """Leaves out elements whose making raises an error."""
    return lambda dataset: dataset._then("IgnoreErrorsDataset", log_warning=log_warning)


def enumerate_dataset(start: int = 0) -> Transformation:
    """See `Dataset.enumerate`."""
    return lambda dataset: dataset.enumerate(start)


def take_while(predicate: Callable[..., Any]) -> Transformation:
    """See `Dataset.take_while`."""
    return lambda dataset: dataset.take_while(predicate)


def unique() -> Transformation:
    """Leaves out elements that came before."""
    return lambda dataset: dataset._then("UniqueDataset")


def scan(initial_state: Any, scan_func: Callable[..., Any]) -> Transformation:
    """What `scan_func(state, element)` gives besides the next state: it returns `(state, output)`."""

    def apply(dataset: Dataset) -> Dataset:
        state = structure.normalized(initial_state)
        spec = structure.spec_of(state)
        traced = Traced(scan_func, (spec, dataset.element_spec), "scan")
        if not isinstance(traced.spec, tuple) or len(traced.spec) != 2:
            raise TypeError(
                "The scan function must return a pair comprising the new state and the output value."
            )
        if str(structure.types(traced.spec[0])) != str(structure.types(spec)):
            raise TypeError(
                f"The element types for the new state must match the initial state. Expected "
                f"{structure.types(spec)}; got {structure.types(traced.spec[0])}."
            )
        made = traced.spec[1]
        result = emit.ScanDataset(
            dataset._variant_tensor, structure.flat_tensors(state), traced.captured, f=traced.function,
            output_types=structure.flat_types(made), output_shapes=structure.flat_shapes(made),
        )  # fmt: skip
        return Dataset(result, made, [dataset])

    return apply


def group_by_window(
    key_func: Callable[..., Any],
    reduce_func: Callable[..., Any],
    window_size: Any = None,
    window_size_func: Callable[..., Any] | None = None,
) -> Transformation:
    """The elements of the datasets that `reduce_func` makes of `window_size` elements that have one key.

    Args:
      key_func: takes an element's tensors and returns an int64 scalar.
      reduce_func: takes a key and a dataset of its elements, and returns a dataset.
      window_size: how many elements make a window.
      window_size_func: takes a key and returns the size; instead of `window_size`.
    """
    if (window_size is None) == (window_size_func is None):
        raise ValueError("Must pass either window_size or window_size_func, but not both.")

    def size_of(key: Tensor) -> Tensor:
        return _int64(window_size if window_size_func is None else window_size_func(key), "window_size")

    def apply(dataset: Dataset) -> Dataset:
        key = TensorSpec((), dtypes.int64)

        def window(made: Any) -> Any:
            if not isinstance(made, Dataset):
                raise TypeError(f"`reduce_func` must return a `Dataset` object, got {made!r}")
            return made

        def number(made: Any) -> Tensor:
            tensor = convert_to_tensor(made)
            if tensor.dtype is not dtypes.int64 or tensor.shape.rank not in (None, 0):
                raise ValueError(f"`key_func` must return a single int64 scalar, got {tensor!r}")
            return tensor

        keys = Traced(key_func, dataset.element_spec, "key", form=number)
        reduced = Traced(reduce_func, (key, DatasetSpec(dataset.element_spec)), "window", form=window)
        sizes = Traced(size_of, key, "window_size")
        spec = reduced.spec.element_spec
        made = emit.GroupByWindowDataset(
            dataset._variant_tensor, keys.captured, reduced.captured, sizes.captured, key_func=keys.function,
            reduce_func=reduced.function, window_size_func=sizes.function,
            output_types=structure.flat_types(spec), output_shapes=structure.flat_shapes(spec),
        )  # fmt: skip
        return Dataset(made, spec, [dataset])

    return apply


def bucket_by_sequence_length(
    element_length_func: Callable[..., Any],
    bucket_boundaries: Sequence[int],
    bucket_batch_sizes: Sequence[int],
    padded_shapes: Any = None,
    padding_values: Any = None,
    pad_to_bucket_boundary: bool = False,
    no_padding: bool = False,
    drop_remainder: bool = False,
) -> Transformation:
    """Batches of elements of about one length.

    Args:
      element_length_func: takes an element's tensors and returns its length.
      bucket_boundaries: upper bounds of lengths, exclusive, one fewer than buckets.
      bucket_batch_sizes: the batch size of each bucket.
      padded_shapes, padding_values: see `Dataset.padded_batch`.
      pad_to_bucket_boundary: whether batches are filled up to one below the bound rather than to their longest element.
      no_padding: whether elements are stacked as they are.
      drop_remainder: whether last batches that are smaller are left out.
    """
    if len(bucket_batch_sizes) != len(bucket_boundaries) + 1:
        raise ValueError("len(bucket_batch_sizes) must equal len(bucket_boundaries) + 1")
    bounds = np.array(bucket_boundaries, np.int64)
    sizes = np.array(bucket_batch_sizes, np.int64)

    def key(*element: Any) -> Tensor:
        length = emit.Cast(convert_to_tensor(element_length_func(*element)), DstT=dtypes.int64)
        below = emit.Cast(emit.GreaterEqual(length, constant(bounds)), DstT=dtypes.int64)
        found: Tensor = emit.Sum(below, 0)
        return found

    def size(bucket: Tensor) -> Tensor:
        found: Tensor = emit.GatherV2(constant(sizes), bucket, 0)
        return found

    def batch(bucket: Tensor, window: Dataset) -> Dataset:
        count = size(bucket)
        if no_padding:
            return window.batch(count, drop_remainder=drop_remainder)
        shapes = window.output_shapes if padded_shapes is None else padded_shapes
        if pad_to_bucket_boundary:
            bound = emit.Sub(
                emit.GatherV2(constant(np.append(bounds, np.int64(1))), bucket, 0), constant(np.int64(1))
            )
            check = emit.Assert(
                emit.Less(bucket, constant(np.int64(len(bounds)))),
                [
                    constant(
                        "When pad_to_bucket_boundary=True, elements must have length < max(bucket_boundaries)."
                    )
                ],
            )
            with check.graph.control_dependencies([check]):
                bound = emit.Identity(bound)

            def filled(shape: Any) -> Any:
                parts = [bound if s is None or s == -1 else constant(np.int64(s)) for s in shape.as_list()]
                return emit.Pack(parts) if parts else constant(np.zeros(0, np.int64))

            shapes = structure.mapped(filled, window.output_shapes)
        return window.padded_batch(count, shapes, padding_values, drop_remainder)

    return group_by_window(key, batch, window_size_func=size)


def _directed(selector: Dataset, datasets: Sequence[Dataset], stop: bool) -> Dataset:
    first = datasets[0]
    for other in datasets[1:]:
        if str(other.output_types) != str(first.output_types):
            raise TypeError(
                f"The datasets have different types: {first.output_types} and {other.output_types}"
            )
    made = emit.DirectedInterleaveDataset(
        selector._variant_tensor, [dataset._variant_tensor for dataset in datasets],
        output_types=structure.flat_types(first.element_spec),
        output_shapes=structure.flat_shapes(first.element_spec), stop_on_empty_dataset=stop,
    )  # fmt: skip
    return Dataset(made, first.element_spec, list(datasets))


def choose_from_datasets(
    datasets: Sequence[Dataset], choice_dataset: Dataset, stop_on_empty_dataset: bool = False
) -> Dataset:
    """Elements of the datasets that `choice_dataset` (of int64 scalars) names, one after the other."""
    if choice_dataset.output_types is not dtypes.int64:
        raise TypeError("`choice_dataset` must be a dataset of scalar `gf.int64` tensors.")
    return _directed(choice_dataset, datasets, stop_on_empty_dataset)


def sample_from_datasets(
    datasets: Sequence[Dataset],
    weights: Any = None,
    seed: int | None = None,
    stop_on_empty_dataset: bool = False,
) -> Dataset:
    """Elements of datasets that are drawn at random, by `weights` (uniform by default)."""
    shares = np.full(len(datasets), 1.0 / len(datasets)) if weights is None else weights
    if not isinstance(shares, Dataset | Tensor) and len(shares) != len(datasets):
        raise ValueError(f"`weights` must have a length equal to the number of `datasets`, got {len(shares)}")
    bounds = emit.Cumsum(emit.Cast(convert_to_tensor(shares), DstT=dtypes.float64), 0)

    def choice(word: Tensor) -> Tensor:
        share = emit.Mul(
            emit.RealDiv(emit.Cast(word, DstT=dtypes.float64), constant(2.0**32, dtypes.float64)), bounds[-1]
        )
        found: Tensor = emit.Sum(emit.Cast(emit.GreaterEqual(share, bounds), DstT=dtypes.int64), 0)
        return found

    return _directed(RandomDataset(seed).map(choice), datasets, stop_on_empty_dataset)


def Counter(start: int = 0, step: int = 1, dtype: Any = dtypes.int64) -> Dataset:
    """Returns a dataset of numbers without end."""
    kind = dtypes.as_dtype(dtype)
    limit = np.iinfo(np.int64).max if step >= 0 else np.iinfo(np.int64).min
    numbers = Dataset.range(start, limit, step)
    return numbers if kind is dtypes.int64 else numbers.map(lambda number: emit.Cast(number, DstT=kind))


def RandomDataset(seed: int | None = None) -> Dataset:
    """Returns a dataset of random 32-bit words, as int64 scalars, without end."""
    first, second = _seeds(seed)
    spec = TensorSpec((), dtypes.int64)
    made = emit.RandomDataset(first, second, output_types=[dtypes.int64], output_shapes=[spec.shape])
    return Dataset(made, spec)


def get_single_element(dataset: Dataset) -> Any:
    """Returns the only element of a dataset; a run raises InvalidArgumentError if there are none or more."""
    spec = dataset.element_spec
    made = emit.DatasetToSingleElement(
        dataset._variant_tensor,
        output_types=structure.flat_types(spec),
        output_shapes=structure.flat_shapes(spec),
    )
    return structure.element_of(spec, made)


def cardinality(dataset: Dataset) -> Tensor:
    """See `Dataset.cardinality`."""
    return dataset.cardinality()


def prefetch_to_device(device: Any, buffer_size: Any = None) -> Transformation:
    """See `Dataset.prefetch`; a session moves what a device needs."""
    return lambda dataset: dataset.prefetch(AUTOTUNE if buffer_size is None else buffer_size)


def copy_to_device(target_device: Any, source_device: str = "/cpu:0") -> Transformation:
    """The same elements; a session moves what a device needs."""
    return lambda dataset: dataset
