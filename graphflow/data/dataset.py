"""Datasets: sequences of elements, described by operations of the graph that makes them."""

from __future__ import annotations

import builtins
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.data import structure
from graphflow.data.iterator import Iterator, made_iterator
from graphflow.data.structure import DatasetSpec, SparseTensorSpec, TensorSpec, Traced
from graphflow.dtypes import DType
from graphflow.function import FuncGraph, finished, unique_function_name
from graphflow.graph import Operation, Tensor, get_seed, name_scope
from graphflow.opdef import constant_value_as_shape, convert_to_tensor, emit
from graphflow.ops.control import py_func
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.shapes import TensorShape, as_shape

AUTOTUNE = -1  # lets graphflow choose how many
INFINITE_CARDINALITY = -1  # the cardinality of a dataset without end
UNKNOWN_CARDINALITY = -2  # the cardinality of a dataset that tells only by being gone through


class Options:
    """Accepted for programs that tune TensorFlow's pipelines: elements and their order do not depend on options."""

    def __init__(self) -> None:
        self.__dict__["_given"] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.__dict__["_given"].setdefault(name, Options())

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["_given"][name] = value

    def merge(self, options: Options) -> Options:
        """Returns the options of both; those of `options` count."""
        made = Options()
        made.__dict__["_given"].update(self.__dict__["_given"] | options.__dict__["_given"])
        return made


def _int64(value: Any, name: str) -> Tensor:
    return convert_to_tensor(value, dtypes.int64, name=name)


def _seeds(seed: int | None) -> tuple[Tensor, Tensor]:
    """The two seeds of a random dataset, by the rule of TensorFlow's tf.data."""
    first, second = get_seed(seed, "shuffle")
    if first is None or second is None:
        first = second = 0
    elif (first, second) == (0, 0):
        second = 2**31 - 1
    return _int64(first, "seed"), _int64(second, "seed2")


class Dataset:
    """A sequence of elements: tuples and dicts of tensors of the same dtypes throughout.

    Each method adds an operation to the graph and returns a new dataset. An `Iterator` goes through one.
    """

    def __init__(self, variant_tensor: Tensor, element_spec: Any, inputs: Sequence[Dataset] = ()) -> None:
        self._variant_tensor = variant_tensor
        self._element_spec = element_spec
        self._sources = list(inputs)
        self._options = Options()
        for source in inputs:
            self._options = self._options.merge(source._options)

    # -- looking ------------------------------------------------------------------------------

    @property
    def element_spec(self) -> Any:
        """What the elements are made of."""
        return self._element_spec

    @property
    def output_types(self) -> Any:
        """The dtype of each leaf of an element."""
        return structure.types(self._element_spec)

    @property
    def output_shapes(self) -> Any:
        """The shape of each leaf of an element."""
        return structure.shapes(self._element_spec)

    @property
    def output_classes(self) -> Any:
        """The class of each leaf of an element."""
        return structure.classes(self._element_spec)

    def options(self) -> Options:
        """The options that were given."""
        return self._options

    def with_options(self, options: Options) -> Dataset:
        """Returns the same dataset with further options, which change neither elements nor order."""
        made = Dataset(self._variant_tensor, self._element_spec, [self])
        made._options = self._options.merge(options)
        return made

    def cardinality(self) -> Tensor:
        """Returns the number of elements as an int64 tensor; -1 if there is no end, -2 if it is not known."""
        made: Tensor = emit.DatasetCardinality(self._variant_tensor)
        return made

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {structure.describe(self._element_spec)}>"

    def __iter__(self) -> Any:
        raise RuntimeError(
            "A dataset of a graph gives its elements to Session.run: fetch what "
            "`dataset.make_one_shot_iterator().get_next()` returns in a loop, until errors.OutOfRangeError."
        )

    def __len__(self) -> int:
        raise TypeError("a dataset of a graph has no length; `cardinality()` returns a tensor that tells it")

    def __bool__(self) -> bool:
        return True

    # -- sources ------------------------------------------------------------------------------

    @staticmethod
    def from_tensors(tensors: Any) -> Dataset:
        """Returns a dataset of one element."""
        with name_scope(None, "tensors"):
            element = structure.normalized(tensors)
            spec = structure.spec_of(element)
            flat = structure.flat_tensors(element)
            return Dataset(emit.TensorDataset(flat, output_shapes=structure.flat_shapes(spec)), spec)

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """Returns a dataset of the slices of tensors along their first axis, which is as long in all of them."""
        with name_scope(None, "tensors"):
            element = structure.normalized(tensors)
            flat: list[Tensor] = []
            specs: list[structure.Spec] = []
            for leaf in structure.leaves(element):
                if isinstance(leaf, SparseTensor):
                    rows = emit.SerializeManySparse(
                        leaf.indices, leaf.values, leaf.dense_shape, out_type=dtypes.variant
                    )
                    flat.append(rows)
                    specs.append(SparseTensorSpec(leaf.shape[1:], leaf.dtype))
                else:
                    if leaf.shape.rank == 0:
                        raise ValueError(f"Unbatching a tensor is only supported for rank >= 1, got {leaf!r}")
                    flat.append(leaf)
                    specs.append(TensorSpec(leaf.shape[1:], leaf.dtype))
            first = TensorShape([None])
            for tensor in flat:
                first = first.merge_with(tensor.shape[:1])
            spec = structure.packed(structure.spec_of(element), specs)
            shapes = [tensor.shape[1:] for tensor in flat]
            return Dataset(emit.TensorSliceDataset(flat, output_shapes=shapes), spec)

    @staticmethod
    def from_sparse_tensor_slices(sparse_tensor: Any) -> Dataset:
        """Returns a dataset of the slices of a sparse tensor: `(indices, values, dense_shape)` each."""
        if not isinstance(sparse_tensor, SparseTensor):
            raise TypeError(f"`sparse_tensor` must be a `SparseTensor` object, got {sparse_tensor!r}")
        rank = sparse_tensor.dense_shape.shape[0].value
        rest = None if rank is None else rank - 1
        spec = (
            TensorSpec([None, rest], dtypes.int64),
            TensorSpec([None], sparse_tensor.dtype),
            TensorSpec([rest], dtypes.int64),
        )
        made = emit.SparseTensorSliceDataset(
            sparse_tensor.indices, sparse_tensor.values, sparse_tensor.dense_shape
        )
        return Dataset(made, spec)

    @staticmethod
    def from_generator(
        generator: Callable[..., Any], output_types: Any, output_shapes: Any = None, args: Any = None
    ) -> Dataset:
        """Returns a dataset of what a Python generator yields.

        Args:
          generator: returns an iterable; called anew for each pass, with `args` as arrays.
          output_types: the dtype of each leaf that is yielded.
          output_shapes: their shapes; unknown by default.
          args: tensors.

        Raises:
          TypeError: if `generator` cannot be called.
          InvalidArgumentError: in a run, for a yielded value of another form, dtype or shape.
        """
        if not callable(generator):
            raise TypeError("`generator` must be callable.")
        spec = structure.spec_from(output_types, output_shapes)
        given = () if args is None else tuple(convert_to_tensor(item) for item in args)
        passes = _Passes(generator, spec)
        kinds = structure.flat_types(spec)
        shapes = structure.flat_shapes(spec)

        def began(*values: Tensor) -> Tensor:
            made: Tensor = py_func(passes.begin, list(values), dtypes.int64)
            made.set_shape(())
            return made

        def following(number: Tensor) -> Any:
            tensors = py_func(passes.next, [number], kinds)
            for tensor, shape in zip(tensors, shapes, strict=True):
                tensor.set_shape(shape)
            return structure.packed(spec, tensors)

        def over(number: Tensor) -> Tensor:
            made: Tensor = py_func(passes.end, [number], dtypes.int64)
            return made

        number = TensorSpec((), dtypes.int64)
        starts = Traced(began, tuple(structure.spec_of(value) for value in given), "generator_begin")
        steps = Traced(following, number, "generator_next")
        ends = Traced(over, number, "generator_end")
        made = emit.GeneratorDataset(
            [*given, *starts.captured], steps.captured, ends.captured, init_func=starts.function,
            next_func=steps.function, finalize_func=ends.function, output_types=kinds, output_shapes=shapes,
        )  # fmt: skip
        return Dataset(made, spec)

    @staticmethod
    def range(*args: Any) -> Dataset:
        """Returns a dataset of int64 numbers: `range(stop)`, `range(start, stop)` or `range(start, stop, step)`."""
        if not 1 <= len(args) <= 3:
            raise ValueError(f"Invalid args: {args!r}; a range takes one to three numbers")
        start, stop, step = (0, args[0], 1) if len(args) == 1 else (*args, 1)[:3]
        spec = TensorSpec((), dtypes.int64)
        made = emit.RangeDataset(
            _int64(start, "start"), _int64(stop, "stop"), _int64(step, "step"), output_types=[dtypes.int64],
            output_shapes=[TensorShape(())],
        )  # fmt: skip
        return Dataset(made, spec)

    @staticmethod
    def zip(datasets: Any) -> Dataset:
        """Returns a dataset whose elements are structures of the elements of several datasets."""
        parts = structure.leaves(datasets)
        if isinstance(datasets, list) or not all(isinstance(part, Dataset) for part in parts) or not parts:
            raise TypeError(
                "The argument to `Dataset.zip()` must be a nested structure of `Dataset` objects (tuples and dicts), "
                f"got {datasets!r}"
            )
        spec = structure.mapped(lambda part: part.element_spec, datasets)
        made = emit.ZipDataset(
            [part._variant_tensor for part in parts], output_types=structure.flat_types(spec),
            output_shapes=structure.flat_shapes(spec),
        )  # fmt: skip
        return Dataset(made, spec, parts)

    # -- from one dataset to another ------------------------------------------------------------

    def _then(self, op_type: str, *inputs: Any, spec: Any = None, **attrs: Any) -> Dataset:
        """A dataset made of this one by an operation."""
        spec = self._element_spec if spec is None else spec
        made = getattr(emit, op_type)(
            self._variant_tensor, *inputs, output_types=structure.flat_types(spec),
            output_shapes=structure.flat_shapes(spec), **attrs,
        )  # fmt: skip
        return Dataset(made, spec, [self])

    def concatenate(self, dataset: Dataset) -> Dataset:
        """Returns this dataset's elements, then those of another one.

        Raises:
          TypeError: if dtypes or structures differ.
        """
        mine, theirs = structure.leaves(self.element_spec), structure.leaves(dataset.element_spec)
        if str(self.output_types) != str(dataset.output_types):
            raise TypeError(
                f"Two datasets to concatenate have different types {self.output_types} and {dataset.output_types}"
            )
        spec = structure.packed(self.element_spec, [_common(a, b) for a, b in zip(mine, theirs, strict=True)])
        made = self._then("ConcatenateDataset", dataset._variant_tensor, spec=spec)
        made._sources.append(dataset)
        return made

    def prefetch(self, buffer_size: Any) -> Dataset:
        """Returns the same elements, `buffer_size` of them made ahead of their use, on a thread of its own."""
        return self._then("PrefetchDataset", _int64(buffer_size, "buffer_size"))

    def repeat(self, count: Any = None) -> Dataset:
        """Returns the elements `count` times over; without end for None or -1."""
        return self._then("RepeatDataset", _int64(-1 if count is None else count, "count"))

    def enumerate(self, start: int = 0) -> Dataset:
        """Returns pairs of a number, from `start` on, and an element."""
        return Dataset.zip((Dataset.range(start, np.iinfo(np.int64).max), self))

    def shuffle(
        self, buffer_size: Any, seed: int | None = None, reshuffle_each_iteration: bool | None = None
    ) -> Dataset:
        """Returns the elements in random order: each is drawn from a buffer that is kept full.

        Args:
          buffer_size: how many elements the buffer holds.
          seed: with it the order is that of TensorFlow for the same seed.
          reshuffle_each_iteration: whether each pass has an order of its own; default True.
        """
        first, second = _seeds(seed)
        again = True if reshuffle_each_iteration is None else bool(reshuffle_each_iteration)
        return self._then(
            "ShuffleDataset",
            _int64(buffer_size, "buffer_size"),
            first,
            second,
            reshuffle_each_iteration=again,
        )

    def cache(self, filename: Any = "") -> Dataset:
        """Returns the same elements; after the first pass they come from memory, or from a file if one is named."""
        return self._then("CacheDataset", convert_to_tensor(filename, dtypes.string, name="filename"))

    def take(self, count: Any) -> Dataset:
        """Returns the first `count` elements, all for -1."""
        return self._then("TakeDataset", _int64(count, "count"))

    def skip(self, count: Any) -> Dataset:
        """Returns all but the first `count` elements, none for -1."""
        return self._then("SkipDataset", _int64(count, "count"))

    def shard(self, num_shards: Any, index: Any) -> Dataset:
        """Returns every `num_shards`-th element, from element `index` on."""
        return self._then("ShardDataset", _int64(num_shards, "num_shards"), _int64(index, "index"))

    def batch(self, batch_size: Any, drop_remainder: Any = False, **ignored: Any) -> Dataset:
        """Returns elements stacked, `batch_size` at a time.

        Args:
          batch_size: how many.
          drop_remainder: whether a last batch that is smaller is left out.
          **ignored: `num_parallel_calls`, `deterministic` and `name`, which change no element.
        """
        _only(ignored, "num_parallel_calls", "deterministic", "name")
        spec = _batched_spec(self._element_spec, batch_size, drop_remainder)
        return self._then(
            "BatchDatasetV2", _int64(batch_size, "batch_size"),
            convert_to_tensor(drop_remainder, dtypes.bool_, name="drop_remainder"), spec=spec,
        )  # fmt: skip

    def padded_batch(
        self,
        batch_size: Any,
        padded_shapes: Any = None,
        padding_values: Any = None,
        drop_remainder: Any = False,
    ) -> Dataset:
        """Returns elements filled up to one shape and stacked.

        Args:
          batch_size: how many make a batch.
          padded_shapes: the shapes, in the elements' structure; None and -1 stand for the largest size of the batch.
            Default: those that are known of the elements.
          padding_values: what is filled up with, in the elements' structure; default zeros and empty strings.
          drop_remainder: whether a last batch that is smaller is left out.

        Raises:
          ValueError: for a shape that elements do not fit into.
          TypeError: for a padding value of another dtype, or a sparse element.
        """
        kinds = structure.leaves(self._element_spec)
        if not all(isinstance(kind, TensorSpec) for kind in kinds):
            raise TypeError("Batching of padded sparse tensors is not currently supported")
        wanted: list[Any]
        if padded_shapes is None:
            if any(kind.shape.rank is None for kind in kinds):
                raise ValueError(
                    "You must provide `padded_shapes` because the rank of an element is not known: "
                    f"{self.output_shapes}"
                )
            wanted = [kind.shape for kind in kinds]
        else:
            wanted = structure.leaves(_shape_structure(self.output_types, padded_shapes))
        shapes = [_padded_shape(kind, shape) for kind, shape in zip(kinds, wanted, strict=True)]
        values = [
            _padding(kind, value)
            for kind, value in zip(kinds, _padding_leaves(self._element_spec, padding_values), strict=True)
        ]
        known = [constant_value_as_shape(shape) for shape in shapes]
        spec = structure.packed(
            self._element_spec,
            [TensorSpec(shape, kind.dtype) for kind, shape in zip(kinds, known, strict=True)],
        )
        spec = _batched_spec(spec, batch_size, drop_remainder)
        made = emit.PaddedBatchDatasetV2(
            self._variant_tensor, _int64(batch_size, "batch_size"), shapes, values,
            convert_to_tensor(drop_remainder, dtypes.bool_, name="drop_remainder"),
            output_shapes=structure.flat_shapes(spec),
        )  # fmt: skip
        return Dataset(made, spec, [self])

    def _called(
        self, op_type: str, function: Traced, *inputs: Any, spec: Any = None, **attrs: Any
    ) -> Dataset:
        """A dataset made of this one by an operation that calls a function."""
        return self._then(op_type, function.captured, *inputs, spec=spec, **attrs)

    def map(
        self, map_func: Callable[..., Any], num_parallel_calls: Any = None, deterministic: bool | None = None
    ) -> Dataset:
        """Returns what `map_func` gives for each element.

        Args:
          map_func: takes an element's tensors and returns an element; it is traced once and then runs compiled.
          num_parallel_calls: how many elements are worked on at once, `AUTOTUNE` for as many as there are threads; one
            after the other by default. The order stays.
          deterministic: accepted: the order stays in any case.
        """
        traced = Traced(map_func, self._element_spec, "map")
        if num_parallel_calls is None:
            return self._called("MapDataset", traced, spec=traced.spec, f=traced.function)
        calls = _int64(num_parallel_calls, "num_parallel_calls")
        return self._called("ParallelMapDatasetV2", traced, calls, spec=traced.spec, f=traced.function)

    map_with_legacy_function = map

    def flat_map(self, map_func: Callable[..., Any]) -> Dataset:
        """Returns the elements of the datasets that `map_func` returns, one after the other."""
        traced, spec = self._datasets(map_func, "flat_map")
        return self._called("FlatMapDataset", traced, spec=spec, f=traced.function)

    def interleave(
        self,
        map_func: Callable[..., Any],
        cycle_length: Any = AUTOTUNE,
        block_length: Any = 1,
        num_parallel_calls: Any = None,
        deterministic: bool | None = None,
    ) -> Dataset:
        """Returns elements of `cycle_length` of the datasets that `map_func` returns, `block_length` of each in turn.

        Args:
          map_func: takes an element's tensors and returns a dataset.
          cycle_length: how many datasets are open at once.
          block_length: how many elements of one come together.
          num_parallel_calls: whether open datasets are read ahead, each on a thread of its own.
          deterministic: accepted: the order stays in any case.
        """
        traced, spec = self._datasets(map_func, "interleave")
        cycle, block = _int64(cycle_length, "cycle_length"), _int64(block_length, "block_length")
        if num_parallel_calls is None:
            return self._called("InterleaveDataset", traced, cycle, block, spec=spec, f=traced.function)
        calls = _int64(num_parallel_calls, "num_parallel_calls")
        return self._called(
            "ParallelInterleaveDatasetV2", traced, cycle, block, calls, spec=spec, f=traced.function
        )

    def _datasets(self, function: Callable[..., Any], name: str) -> tuple[Traced, Any]:
        """A traced function that returns a dataset, and the specs of that one's elements."""

        def form(made: Any) -> Any:
            if not isinstance(made, Dataset):
                raise TypeError(f"`map_func` must return a `Dataset` object, got {made!r}")
            return made

        traced = Traced(function, self._element_spec, name, form=form)
        return traced, traced.spec.element_spec

    def filter(self, predicate: Callable[..., Any]) -> Dataset:
        """Returns the elements for which `predicate` returns a true scalar."""
        traced = Traced(predicate, self._element_spec, "filter")
        _check_predicate(traced)
        return self._called("FilterDataset", traced, predicate=traced.function)

    filter_with_legacy_function = filter

    def take_while(self, predicate: Callable[..., Any]) -> Dataset:
        """Returns the elements before the first one for which `predicate` returns false."""
        traced = Traced(predicate, self._element_spec, "take_while")
        _check_predicate(traced)
        return self._called("TakeWhileDataset", traced, predicate=traced.function)

    def apply(self, transformation_func: Callable[[Dataset], Dataset]) -> Dataset:
        """Returns what a function of this dataset gives."""
        made = transformation_func(self)
        if not isinstance(made, Dataset):
            raise TypeError(f"`transformation_func` must return a Dataset. Got {made!r}")
        return made

    def window(self, size: Any, shift: Any = None, stride: Any = 1, drop_remainder: Any = False) -> Dataset:
        """Returns datasets of `size` elements each.

        Args:
          size: how many elements a window has.
          shift: how far a window begins after the one before; default `size`.
          stride: how far apart the elements of a window are.
          drop_remainder: whether last windows that are smaller are left out.
        """
        spec = structure.mapped(DatasetSpec, self._element_spec)
        return self._then(
            "WindowDataset", _int64(size, "size"), _int64(size if shift is None else shift, "shift"),
            _int64(stride, "stride"), convert_to_tensor(drop_remainder, dtypes.bool_, name="drop_remainder"),
            spec=spec,
        )  # fmt: skip

    def unbatch(self) -> Dataset:
        """Returns the rows of each element, one by one."""

        def row(kind: Any) -> Any:
            if isinstance(kind, SparseTensorSpec):
                return SparseTensorSpec(kind.shape[1:], kind.dtype)
            if isinstance(kind, DatasetSpec) or kind.shape.rank == 0:
                raise ValueError(f"Unbatching takes tensors of rank 1 or more, got {kind!r}")
            return TensorSpec(kind.shape[1:], kind.dtype)

        rows = structure.mapped(row, self._element_spec)
        return self._in_rows()._then("UnbatchDataset", spec=rows)

    def _in_rows(self) -> Dataset:
        """The same elements; sparse tensors are serialized row by row."""
        if not any(isinstance(leaf, SparseTensorSpec) for leaf in structure.leaves(self._element_spec)):
            return self

        def serialized(*parts: Any) -> Any:
            return tuple(
                emit.SerializeManySparse(leaf.indices, leaf.values, leaf.dense_shape, out_type=dtypes.variant)
                if isinstance(leaf, SparseTensor)
                else leaf
                for leaf in structure.leaves(parts)
            )

        return self.map(serialized)

    def reduce(self, initial_state: Any, reduce_func: Callable[..., Any]) -> Any:
        """Returns the state after `reduce_func` has been applied to it and each element in turn.

        Args:
          initial_state: a structure of tensors.
          reduce_func: takes a state and an element, `(state, element)`, and returns the next state.

        Raises:
          TypeError: if the next state has other dtypes or another structure.
        """
        state = structure.normalized(initial_state)
        spec = structure.spec_of(state)
        for _ in builtins.range(2):  # shapes that change from turn to turn are not known
            traced = Traced(reduce_func, (spec, self._element_spec), "reduce")
            if str(structure.types(traced.spec)) != str(structure.types(spec)):
                raise TypeError(
                    f"The element types for the new state must match the initial state. Expected "
                    f"{structure.types(spec)}; got {structure.types(traced.spec)}."
                )
            before = spec
            spec = structure.packed(
                spec,
                [
                    _common(a, b)
                    for a, b in zip(structure.leaves(spec), structure.leaves(traced.spec), strict=True)
                ],
            )
            if spec == before:
                break
        made = emit.ReduceDataset(
            self._variant_tensor, structure.flat_tensors(state), traced.captured, f=traced.function,
            output_types=structure.flat_types(spec), output_shapes=structure.flat_shapes(spec),
        )  # fmt: skip
        return structure.element_of(spec, made)

    # -- iterators ----------------------------------------------------------------------------

    def make_initializable_iterator(self, shared_name: str | None = None) -> Iterator:
        """Returns an iterator whose `initializer` begins this dataset."""
        resource = made_iterator(self._element_spec, shared_name)
        initializer = emit.MakeIterator(self._variant_tensor, resource)
        return Iterator(resource, initializer, self._element_spec)

    def make_one_shot_iterator(self) -> Iterator:
        """Returns an iterator that goes through this dataset once, without being initialized.

        Raises:
          ValueError: if the dataset depends on placeholders, variables or tables.
        """
        graph = FuncGraph(unique_function_name("make_dataset"), self._variant_tensor.graph)
        with graph.as_default():
            made = _copied(self._variant_tensor, graph)
        function = finished(graph, [made])
        resource = emit.OneShotIterator(
            dataset_factory=function, output_types=structure.flat_types(self._element_spec),
            output_shapes=structure.flat_shapes(self._element_spec),
        )  # fmt: skip
        return Iterator(resource, None, self._element_spec)

    # -- files --------------------------------------------------------------------------------

    @staticmethod
    def list_files(file_pattern: Any, shuffle: bool | None = None, seed: int | None = None) -> Dataset:
        """Returns a dataset of the names of files that match patterns.

        Args:
          file_pattern: a pattern or a vector of them.
          shuffle: whether their order is random; default True, else they come sorted.
          seed: the seed of the order.

        Raises:
          InvalidArgumentError: in a run, if no file matches.
        """
        pattern = convert_to_tensor(file_pattern, dtypes.string, name="file_pattern")
        with name_scope("list_files"):
            matching = emit.MatchingFiles(pattern)
            found = emit.Greater(emit.Size(matching), 0)
            check = emit.Assert(found, [convert_to_tensor("No files matched pattern:"), pattern])
            with matching.graph.control_dependencies([check]):
                matching = emit.Identity(matching)
        dataset = Dataset.from_tensor_slices(matching)
        if shuffle is not False:
            size = emit.Maximum(
                emit.Shape(matching, out_type=dtypes.int64)[0], convert_to_tensor(1, dtypes.int64)
            )
            dataset = dataset.shuffle(size, seed=seed)
        return dataset


def _common(a: Any, b: Any) -> Any:
    """What is known of both of two leaves."""
    if isinstance(a, DatasetSpec):
        return a
    mine, theirs = a.shape.as_tuple(), b.shape.as_tuple()
    shape = None
    if mine is not None and theirs is not None and len(mine) == len(theirs):
        shape = [x if x == y else None for x, y in zip(mine, theirs, strict=True)]
    return type(a)(shape, a.dtype) if isinstance(a, TensorSpec) else SparseTensorSpec(shape, a.dtype)


def _only(given: dict[str, Any], *names: str) -> None:
    if unknown := sorted(set(given).difference(names)):
        raise TypeError(f"batch() got an unexpected keyword argument {unknown[0]!r}")


def _batched_spec(spec: Any, batch_size: Any, drop_remainder: Any) -> Any:
    """The specs of batches: their first size is known only if smaller ones are left out."""
    size = batch_size if isinstance(batch_size, int | np.integer) and drop_remainder is True else None
    first = TensorShape([None if size is None else int(size)])

    def leaf(kind: Any) -> Any:
        if isinstance(kind, DatasetSpec):
            raise TypeError("datasets cannot be batched; batch their elements, in a flat_map")
        made = first.concatenate(kind.shape)
        return (
            TensorSpec(made, kind.dtype)
            if isinstance(kind, TensorSpec)
            else SparseTensorSpec(made, kind.dtype)
        )

    return structure.mapped(leaf, spec)


def _shape_structure(types: Any, shapes: Any) -> Any:
    """Shapes in the structure of the dtypes; whether a tuple is one shape or several, the dtypes tell."""
    if isinstance(types, dict):
        return {key: _shape_structure(types[key], shapes[key]) for key in types}
    if isinstance(types, tuple):
        if len(shapes) != len(types):
            raise ValueError(f"padded_shapes has {len(shapes)} parts, the elements have {len(types)}")
        parts = [_shape_structure(kind, shape) for kind, shape in zip(types, shapes, strict=True)]
        return type(types)(*parts) if hasattr(types, "_fields") else tuple(parts)
    return _Leaf(shapes)


class _Leaf:
    """Keeps a tuple from being taken for a structure."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _padded_shape(kind: TensorSpec, shape: Any) -> Tensor:
    """A shape as an int64 vector, -1 for the largest size of a batch."""
    value = shape.value if isinstance(shape, _Leaf) else shape
    if isinstance(value, Tensor):
        return value if value.dtype is dtypes.int64 else emit.Cast(value, DstT=dtypes.int64)
    sizes = [
        None if size is None or int(size) < 0 else int(size)
        for size in (value.as_list() if isinstance(value, TensorShape) else list(value))
    ]
    wanted = as_shape(sizes)
    if kind.shape.rank not in (None, wanted.rank):
        raise ValueError(
            f"The padded shape {tuple(sizes)} is not compatible with the shape {kind.shape} of the corresponding input "
            "component."
        )
    for have, room in zip(kind.shape.as_list() if kind.shape.rank is not None else [], sizes, strict=False):
        if have is not None and room is not None and room < have:
            raise ValueError(
                f"The padded shape {tuple(sizes)} is not compatible with the shape {kind.shape} of the corresponding "
                "input component."
            )
    return _int64([-1 if size is None else size for size in sizes], "padded_shape")


def _padding_leaves(spec: Any, values: Any) -> list[Any]:
    if values is None:
        return [None for _ in structure.leaves(spec)]
    if not isinstance(values, tuple | dict):
        return [values for _ in structure.leaves(spec)]
    return structure.leaves(structure.mapped(lambda kind, value: value, spec, values))


def _padding(kind: TensorSpec, value: Any) -> Tensor:
    if value is None:
        value = "" if kind.dtype is dtypes.string else np.zeros((), kind.dtype.numpy)
    tensor = convert_to_tensor(value, name="padding_value")
    if tensor.dtype is not kind.dtype and not isinstance(value, Tensor | np.ndarray | np.generic):
        tensor = convert_to_tensor(value, kind.dtype, name="padding_value")
    if tensor.dtype is not kind.dtype:
        raise TypeError(
            f"The padding value of type {tensor.dtype.name} is not compatible with the component type "
            f"{kind.dtype.name}"
        )
    if tensor.shape.rank not in (None, 0):
        raise ValueError(f"The padding value should be a scalar, but its shape is {tensor.shape}.")
    return tensor


def _check_predicate(traced: Traced) -> None:
    spec = traced.spec
    if not isinstance(spec, TensorSpec) or spec.dtype is not dtypes.bool_ or spec.shape.rank not in (None, 0):
        raise ValueError(f"`predicate` must return a scalar boolean tensor, returned {spec!r}")


def _copied(tensor: Tensor, graph: FuncGraph) -> Tensor:
    """A copy of a tensor in a function that captures nothing, and of all that it is made of."""
    known: dict[Tensor, Tensor] = {}
    copies: dict[Operation, Operation] = {}
    stack: list[Tensor] = [tensor]
    while stack:
        current = stack[-1]
        operation = current.op
        if operation in copies:
            known[current] = copies[operation].outputs[current.value_index]
            stack.pop()
            continue
        missing = [value for value in operation.inputs if value not in known]
        if missing:
            stack.extend(missing)
            continue
        acting = operation.op_def.effects in ("reads", "writes", "random", "host")
        fixed = operation.type in ("Placeholder", "PlaceholderWithDefault", "VarHandleOp")
        if fixed or (acting and not _makes_dataset(operation) and operation.type not in _COPIED):
            made = f", made at {operation.user_line}" if operation.user_line else ""
            raise ValueError(
                f"Failed to create a one-shot iterator for a dataset: it depends on {operation.name!r} "
                f"({operation.type}{made}), whose value is not fixed. `make_initializable_iterator()` takes such "
                "datasets: run its `initializer` first."
            )
        copies[operation] = graph.add_operation(
            operation.op_def, [known[value] for value in operation.inputs], dict(operation.attrs),
            [value.dtype for value in operation.outputs], [value.shape for value in operation.outputs],
            graph.operation_name(operation.name.replace("/", "_")),
        )  # fmt: skip
    return known[tensor]


_COPIED = frozenset({"MatchingFiles", "Assert", "PyFunc", "DummySeedGenerator"})


def _makes_dataset(operation: Operation) -> bool:
    return any(output.dtype is dtypes.variant for output in operation.outputs)


class _Passes:
    """The passes of a Python generator that are under way, by number."""

    def __init__(self, generator: Callable[..., Any], spec: Any) -> None:
        self._generator = generator
        self._spec = spec
        self._types = structure.flat_types(spec)
        self._shapes = structure.flat_shapes(spec)
        self._numbers = itertools.count()
        self._under_way: dict[int, Any] = {}
        self._lock = threading.Lock()

    def begin(self, *args: Any) -> np.int64:
        """Calls the generator; returns the number of the pass."""
        rows = iter(self._generator(*args))
        with self._lock:
            number = next(self._numbers)
            self._under_way[number] = rows
        return np.int64(number)

    def next(self, number: Any) -> list[Any]:
        """Returns the next element's components."""
        value = next(self._under_way[int(number)])  # StopIteration is the end
        if isinstance(value, list):
            value = tuple(value) if isinstance(self._spec, tuple) else np.asarray(value)
        try:
            found = structure.leaves(structure.mapped(lambda kind, item: _Leaf(item), self._spec, value))
        except (TypeError, ValueError, KeyError) as error:
            raise TypeError(
                f"`generator` yielded an element that did not match the expected structure. The expected structure "
                f"was {structure.types(self._spec)!r}, but the yielded element was {value!r}."
            ) from error
        return [
            _yielded(item.value, kind, shape)
            for item, kind, shape in zip(found, self._types, self._shapes, strict=True)
        ]

    def end(self, number: Any) -> np.int64:
        """Lets go of a pass."""
        with self._lock:
            rows = self._under_way.pop(int(number), None)
        close = getattr(rows, "close", None)
        if close is not None:
            close()
        return np.int64(0)


def _yielded(value: Any, kind: DType, shape: TensorShape) -> Any:
    try:
        if kind is dtypes.string:
            array = np.asarray(value, object)
        else:
            given = np.asarray(value)
            array = given.astype(
                kind.numpy, casting="same_kind" if isinstance(value, np.ndarray) else "unsafe"
            )
            if kind.is_integer and given.dtype.kind == "f" and not isinstance(value, np.ndarray):
                raise TypeError(f"{value!r} is no integer")
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`generator` yielded an element that could not be converted to the expected type. The expected type was "
            f"{kind.name}, but the yielded element was {value!r}."
        ) from error
    if not shape.is_compatible_with(array.shape):
        raise ValueError(
            f"`generator` yielded an element of shape {array.shape} where an element of shape {shape} was expected."
        )
    return array


class _FileDataset(Dataset):
    """A dataset of the strings that files hold."""

    def __init__(self, op_type: str, filenames: Any, *sizes: tuple[Any, DType]) -> None:
        names = filenames
        if not isinstance(filenames, Dataset):
            names = Dataset.from_tensor_slices(
                emit.Reshape(convert_to_tensor(filenames, dtypes.string, name="filenames"), [-1])
            )
        if names.output_types is not dtypes.string:
            raise TypeError(f"`filenames` must be a `Dataset` of `gf.string` elements, got {names!r}")
        made = names.flat_map(
            lambda name: Dataset(
                getattr(emit, op_type)(name, *[convert_to_tensor(v, t) for v, t in sizes]),
                TensorSpec((), dtypes.string),
            )
        )
        super().__init__(made._variant_tensor, made.element_spec, [names])


def _compression(compression_type: str | None) -> tuple[str, DType]:
    kind = compression_type or ""
    if kind not in ("", "ZLIB", "GZIP"):
        raise ValueError(f'compression_type must be None, "", "ZLIB" or "GZIP", got {compression_type!r}')
    return kind, dtypes.string


def _bytes(value: int | None) -> tuple[int, DType]:
    return value or 0, dtypes.int64


class TFRecordDataset(_FileDataset):
    """The records of TFRecord files, as scalar strings.

    Args:
      filenames: a string, a vector of strings or a dataset of them.
      compression_type: None or "", "ZLIB" or "GZIP".
      buffer_size: accepted.
      num_parallel_reads: accepted: the files' records come one file after the other.
    """

    def __init__(
        self,
        filenames: Any,
        compression_type: str | None = None,
        buffer_size: int | None = None,
        num_parallel_reads: int | None = None,
    ) -> None:
        super().__init__("TFRecordDataset", filenames, _compression(compression_type), _bytes(buffer_size))


class TextLineDataset(_FileDataset):
    """The lines of text files, as scalar strings without line ends.

    Args:
      filenames: a string, a vector of strings or a dataset of them.
      compression_type: None or "", "ZLIB" or "GZIP".
      buffer_size: accepted.
    """

    def __init__(
        self, filenames: Any, compression_type: str | None = None, buffer_size: int | None = None
    ) -> None:
        super().__init__("TextLineDataset", filenames, _compression(compression_type), _bytes(buffer_size))


class FixedLengthRecordDataset(_FileDataset):
    """The records of files that have a head, records of one size and a foot, as scalar strings.

    Args:
      filenames: a string, a vector of strings or a dataset of them.
      record_bytes: bytes of a record.
      header_bytes: bytes to skip at the beginning of a file.
      footer_bytes: bytes to ignore at its end.
      buffer_size: accepted.
      compression_type: None or "", "ZLIB" or "GZIP".
    """

    def __init__(
        self,
        filenames: Any,
        record_bytes: int,
        header_bytes: int | None = None,
        footer_bytes: int | None = None,
        buffer_size: int | None = None,
        compression_type: str | None = None,
    ) -> None:
        super().__init__(
            "FixedLengthRecordDatasetV2", filenames, _bytes(header_bytes), _bytes(record_bytes),
            _bytes(footer_bytes), _bytes(buffer_size), _compression(compression_type),
        )  # fmt: skip


structure.set_dataset_maker(lambda spec, tensor: Dataset(tensor, spec.element_spec))


def make_one_shot_iterator(dataset: Dataset) -> Iterator:
    """Returns `dataset.make_one_shot_iterator()`."""
    return dataset.make_one_shot_iterator()


def make_initializable_iterator(dataset: Dataset, shared_name: str | None = None) -> Iterator:
    """Returns `dataset.make_initializable_iterator(shared_name)`."""
    return dataset.make_initializable_iterator(shared_name)


def get_output_types(dataset_or_iterator: Any) -> Any:
    """Returns the dtype of each leaf of an element."""
    return dataset_or_iterator.output_types


def get_output_shapes(dataset_or_iterator: Any) -> Any:
    """Returns the shape of each leaf of an element."""
    return dataset_or_iterator.output_shapes


def get_output_classes(dataset_or_iterator: Any) -> Any:
    """Returns the class of each leaf of an element."""
    return dataset_or_iterator.output_classes
