"""What a decoder reads next: the given inputs, what it said itself, or a mixture of both."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from graphflow import dtypes, nest
from graphflow.contrib.rnn.cells import transpose_batch_time
from graphflow.contrib.seq2seq.decoder import rows_chosen
from graphflow.control_flow import cond
from graphflow.dtypes import as_dtype
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.elementwise import cast, maximum, minimum, where_v2
from graphflow.ops.layout import concat, tile
from graphflow.ops.nn import embedding_lookup
from graphflow.ops.random import categorical, random_uniform
from graphflow.ops.reduction import argmax, reduce_all
from graphflow.ops.source import fill, shape, size, zeros_like
from graphflow.shapes import TensorShape
from graphflow.tensor_array import TensorArray


class Helper(abc.ABC):
    """Says for each step of a decoder which symbols it chose, and what it reads next."""

    @property
    @abc.abstractmethod
    def batch_size(self) -> Any:
        """How many sequences there are: int32 scalar."""

    @property
    @abc.abstractmethod
    def sample_ids_shape(self) -> TensorShape:
        """The shape of what is chosen, without the batch."""

    @property
    @abc.abstractmethod
    def sample_ids_dtype(self) -> Any:
        """The dtype of what is chosen."""

    @abc.abstractmethod
    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs)`; `finished` is bool [batch]."""

    @abc.abstractmethod
    def sample(self, time: Any, outputs: Any, state: Any, name: str | None = None) -> Any:
        """Returns what is chosen, [batch, …], of the outputs of a step."""

    @abc.abstractmethod
    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, next state)` after a step."""


class CustomHelper(Helper):
    """A helper of three functions.

    Args:
      initialize_fn: `() -> (finished, first inputs)`.
      sample_fn: `(time, outputs, state) -> sample_ids`.
      next_inputs_fn: `(time, outputs, state, sample_ids) -> (finished, next inputs, next state)`.
      sample_ids_shape: the shape of what is chosen, without the batch; default that of a scalar.
      sample_ids_dtype: its dtype; default int32.
    """

    def __init__(
        self, initialize_fn: Callable[[], Any], sample_fn: Callable[..., Any], next_inputs_fn: Callable[..., Any],
        sample_ids_shape: Any = None, sample_ids_dtype: Any = None,
    ) -> None:  # fmt: skip
        self._initialize_fn = initialize_fn
        self._sample_fn = sample_fn
        self._next_inputs_fn = next_inputs_fn
        self._batch_size: Any = None
        self._sample_ids_shape = TensorShape(sample_ids_shape or [])
        self._sample_ids_dtype = as_dtype(sample_ids_dtype or dtypes.int32)

    @property
    def batch_size(self) -> Any:
        """How many sequences there are.

        Raises:
          ValueError: before `initialize`.
        """
        if self._batch_size is None:
            raise ValueError("batch_size accessed before initialize was called")
        return self._batch_size

    @property
    def sample_ids_shape(self) -> TensorShape:
        """The shape of what is chosen, without the batch."""
        return self._sample_ids_shape

    @property
    def sample_ids_dtype(self) -> Any:
        """The dtype of what is chosen."""
        return self._sample_ids_dtype

    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs)`."""
        with name_scope(name, f"{type(self).__name__}Initialize"):
            finished, first = self._initialize_fn()
            if self._batch_size is None:
                self._batch_size = size(finished)
            return finished, first

    def sample(self, time: Any, outputs: Any, state: Any, name: str | None = None) -> Any:
        """Returns what is chosen."""
        with name_scope(name, f"{type(self).__name__}Sample"):
            return self._sample_fn(time=time, outputs=outputs, state=state)

    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, next state)`."""
        with name_scope(name, f"{type(self).__name__}NextInputs"):
            return self._next_inputs_fn(time=time, outputs=outputs, state=state, sample_ids=sample_ids)


class _Symbols(Helper):
    """A helper that chooses one int32 symbol for each sequence."""

    _batch_size: Any

    @property
    def batch_size(self) -> Any:
        """How many sequences there are: int32 scalar."""
        return self._batch_size

    @property
    def sample_ids_shape(self) -> TensorShape:
        """That of a scalar."""
        return TensorShape([])

    @property
    def sample_ids_dtype(self) -> Any:
        """int32."""
        return dtypes.int32


def _rows(x: Any) -> TensorArray:
    # The first row is read again when all sequences are finished.
    return TensorArray(x.dtype, shape(x)[0], clear_after_read=False, element_shape=x.shape[1:]).unstack(x)


class TrainingHelper(_Symbols):
    """Feeds the given inputs, whatever the decoder says.

    Args:
      inputs: [batch, time, …], or [time, batch, …] if `time_major`; or a structure of such.
      sequence_length: int32 [batch]: how long each sequence is.
      time_major: see `inputs`.
      name: a name scope.

    Raises:
      ValueError: if `sequence_length` is no vector.
    """

    def __init__(
        self, inputs: Any, sequence_length: Any, time_major: bool = False, name: str | None = None
    ) -> None:
        with name_scope(name, "TrainingHelper"):
            inputs = nest.map_structure(convert_to_tensor, inputs)
            self._inputs = inputs
            if not time_major:
                inputs = nest.map_structure(transpose_batch_time, inputs)
            self._input_tas = nest.map_structure(_rows, inputs)
            self._steps = shape(nest.flatten(inputs)[0])[0]
            self._sequence_length = convert_to_tensor(sequence_length, name="sequence_length")
            if self._sequence_length.shape.rank != 1:
                raise ValueError(
                    f"Expected sequence_length to be a vector, but received shape: {self._sequence_length.shape}"
                )
            self._zero_inputs = nest.map_structure(lambda x: zeros_like(x[0]), inputs)
            self._batch_size = size(self._sequence_length)

    @property
    def inputs(self) -> Any:
        """The inputs as they were given."""
        return self._inputs

    @property
    def sequence_length(self) -> Tensor:
        """How long each sequence is."""
        return self._sequence_length

    def _read(self, time: Any, finished: Any) -> Any:
        """The inputs of a step; zeros once all sequences are finished, so that nothing is read past the end."""
        over = reduce_all(finished)
        at = where_v2(over, zeros_like(time), time)
        return nest.map_structure(
            lambda array, zero: where_v2(over, zero, array.read(at)), self._input_tas, self._zero_inputs
        )

    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs)`: sequences of length zero are finished."""
        with name_scope(name, "TrainingHelperInitialize"):
            finished = emit.Equal(zeros_like(self._sequence_length), self._sequence_length)
            return finished, self._read(convert_to_tensor(0), finished)

    def sample(self, time: Any, outputs: Any, state: Any = None, name: str | None = None) -> Any:
        """Returns the likeliest symbols."""
        with name_scope(name, "TrainingHelperSample", [time, outputs]):
            return argmax(outputs, axis=-1, output_type=dtypes.int32)

    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any = None, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, state)`."""
        with name_scope(name, "TrainingHelperNextInputs", [time, outputs]):
            later = convert_to_tensor(time) + 1
            finished = emit.GreaterEqual(cast(later, self._sequence_length.dtype), self._sequence_length)
            return finished, self._read(later, finished), state


def _lookup(embedding: Any) -> Callable[[Any], Any]:
    return embedding if callable(embedding) else lambda ids: embedding_lookup(embedding, ids)


def _probability(given: Any) -> Tensor:
    probability = convert_to_tensor(given, name="sampling_probability")
    if probability.shape.rank not in (0, 1):
        raise ValueError(
            f"sampling_probability must be either a scalar or a vector. saw shape: {probability.shape}"
        )
    return probability


def _drawn(probability: Tensor, count: Any, seed: int | None) -> Tensor:
    """bool [count]: whether each came up."""
    uniform = random_uniform(emit.ExpandDims(count, 0), dtype=probability.dtype, seed=seed)
    result: Tensor = emit.Less(uniform, probability)
    return result


class ScheduledEmbeddingTrainingHelper(TrainingHelper):
    """Feeds the given inputs, and now and then the rows of symbols drawn of what the decoder says.

    Args:
      inputs, sequence_length, time_major, name: see `TrainingHelper`.
      embedding: a table of rows, or a function from int32 ids to rows.
      sampling_probability: how likely a symbol is drawn; a scalar, or [batch].
      seed: of the symbols.
      scheduling_seed: of the choice between inputs and symbols.

    Raises:
      ValueError: if `sampling_probability` has more axes.
    """

    def __init__(
        self, inputs: Any, sequence_length: Any, embedding: Any, sampling_probability: Any, time_major: bool = False,
        seed: int | None = None, scheduling_seed: int | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        with name_scope(name, "ScheduledEmbeddingSamplingWrapper"):
            self._embedding_fn = _lookup(embedding)
            self._sampling_probability = _probability(sampling_probability)
            self._seed = seed
            self._scheduling_seed = scheduling_seed
            super().__init__(inputs, sequence_length, time_major, name)

    def sample(self, time: Any, outputs: Any, state: Any = None, name: str | None = None) -> Any:
        """Returns the symbols drawn, and -1 where none was."""
        with name_scope(name, "ScheduledEmbeddingTrainingHelperSample", [time, outputs]):
            chosen = _drawn(self._sampling_probability, self._batch_size, self._scheduling_seed)
            drawn = categorical(outputs, 1, dtypes.int32, self._seed)[:, 0]
            return where_v2(chosen, drawn, fill(emit.ExpandDims(self._batch_size, 0), -1))

    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any = None, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, state)`."""
        with name_scope(name, "ScheduledEmbeddingTrainingHelperNextInputs", [time, outputs]):
            finished, given, state = super().next_inputs(time, outputs, state, sample_ids)
            chosen = emit.LogicalAnd(emit.Greater(sample_ids, -1), emit.LogicalNot(reduce_all(finished)))
            own = self._embedding_fn(maximum(sample_ids, 0))
            return finished, rows_chosen(chosen, own, given), state


class ScheduledOutputTrainingHelper(TrainingHelper):
    """Feeds the given inputs, and now and then the decoder's own outputs.

    Args:
      inputs, sequence_length, time_major, name: see `TrainingHelper`.
      sampling_probability: how likely an output is fed; a scalar, or [batch].
      seed: of the choice.
      next_inputs_fn: makes inputs of outputs; default: they are taken as they are.
      auxiliary_inputs: what is put beside all inputs along the last axis; shaped as `inputs`.

    Raises:
      ValueError: if `sampling_probability` has more axes.
    """

    def __init__(
        self, inputs: Any, sequence_length: Any, sampling_probability: Any, time_major: bool = False,
        seed: int | None = None, next_inputs_fn: Callable[[Any], Any] | None = None, auxiliary_inputs: Any = None,
        name: str | None = None,
    ) -> None:  # fmt: skip
        with name_scope(name, "ScheduledOutputTrainingHelper"):
            self._sampling_probability = _probability(sampling_probability)
            self._auxiliary_input_tas: Any = None
            if auxiliary_inputs is not None:
                beside = nest.map_structure(convert_to_tensor, auxiliary_inputs)
                inputs = nest.map_structure(lambda x, y: concat([x, y], -1), inputs, beside)
                if not time_major:
                    beside = nest.map_structure(transpose_batch_time, beside)
                self._auxiliary_input_tas = nest.map_structure(_rows, beside)
            self._seed = seed
            self._next_inputs_fn = next_inputs_fn
            super().__init__(inputs, sequence_length, time_major, name)

    def sample(self, time: Any, outputs: Any, state: Any = None, name: str | None = None) -> Any:
        """Returns 1 where the output is fed, and 0 elsewhere."""
        with name_scope(name, "ScheduledOutputTrainingHelperSample", [time, outputs]):
            return cast(_drawn(self._sampling_probability, self._batch_size, self._seed), dtypes.int32)

    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any = None, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, state)`."""
        with name_scope(name, "ScheduledOutputTrainingHelperNextInputs", [time, outputs]):
            finished, given, state = super().next_inputs(time, outputs, state, sample_ids)
            over = reduce_all(finished)
            chosen = emit.LogicalAnd(cast(sample_ids, dtypes.bool_), emit.LogicalNot(over))
            own = outputs if self._next_inputs_fn is None else self._next_inputs_fn(outputs)
            if self._auxiliary_input_tas is not None:
                later = minimum(convert_to_tensor(time) + 1, self._steps - 1)
                own = nest.map_structure(
                    lambda x, array: concat([x, array.read(later)], -1), own, self._auxiliary_input_tas
                )
            return finished, nest.map_structure(lambda x, y: rows_chosen(chosen, x, y), own, given), state


class GreedyEmbeddingHelper(_Symbols):
    """Feeds the row of the likeliest symbol, until that is the end token.

    Args:
      embedding: a table of rows, or a function from int32 ids to rows.
      start_tokens: int32 [batch]: the first symbols.
      end_token: int32 scalar: the symbol that ends a sequence.

    Raises:
      ValueError: if `start_tokens` is no vector or `end_token` no scalar.
    """

    def __init__(self, embedding: Any, start_tokens: Any, end_token: Any) -> None:
        self._embedding_fn = _lookup(embedding)
        self._start_tokens = convert_to_tensor(start_tokens, dtypes.int32, name="start_tokens")
        self._end_token = convert_to_tensor(end_token, dtypes.int32, name="end_token")
        if self._start_tokens.shape.rank != 1:
            raise ValueError(f"start_tokens must be a vector, but is of shape {self._start_tokens.shape}")
        self._batch_size = size(self._start_tokens)
        if self._end_token.shape.rank != 0:
            raise ValueError(f"end_token must be a scalar, but is of shape {self._end_token.shape}")
        self._start_inputs = self._embedding_fn(self._start_tokens)

    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs)`."""
        with name_scope(name, "GreedyEmbeddingHelperInitialize"):
            return tile([False], emit.ExpandDims(self._batch_size, 0)), self._start_inputs

    def sample(self, time: Any, outputs: Any, state: Any = None, name: str | None = None) -> Any:
        """Returns the likeliest symbols.

        Raises:
          TypeError: if the outputs are not one tensor.
        """
        del time, state
        if not isinstance(outputs, Tensor):
            raise TypeError(f"Expected outputs to be a single Tensor, got: {type(outputs)}")
        return argmax(outputs, axis=-1, output_type=dtypes.int32, name=name)

    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, state)`."""
        del time, outputs
        with name_scope(name, "GreedyEmbeddingHelperNextInputs"):
            finished = emit.Equal(sample_ids, self._end_token)
            following = cond(
                reduce_all(finished), lambda: self._start_inputs, lambda: self._embedding_fn(sample_ids)
            )
            return finished, following, state


class SampleEmbeddingHelper(GreedyEmbeddingHelper):
    """Likewise with symbols that are drawn.

    Args:
      embedding, start_tokens, end_token: see `GreedyEmbeddingHelper`.
      softmax_temperature: what logits are divided by; default 1.
      seed: of the symbols.
    """

    def __init__(
        self, embedding: Any, start_tokens: Any, end_token: Any, softmax_temperature: Any = None,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(embedding, start_tokens, end_token)
        self._softmax_temperature = softmax_temperature
        self._seed = seed

    def sample(self, time: Any, outputs: Any, state: Any = None, name: str | None = None) -> Any:
        """Returns symbols drawn of the logits.

        Raises:
          TypeError: if the outputs are not one tensor.
        """
        del time, state
        if not isinstance(outputs, Tensor):
            raise TypeError(f"Expected outputs to be a single Tensor, got: {type(outputs)}")
        logits = outputs if self._softmax_temperature is None else outputs / self._softmax_temperature
        return categorical(logits, 1, dtypes.int32, self._seed, name)[:, 0]


class InferenceHelper(Helper):
    """Feeds what a function draws of outputs, until another one says that it is the end.

    Args:
      sample_fn: makes `sample_ids` of outputs.
      sample_shape: the shape of what it gives, without the batch.
      sample_dtype: the dtype of what it gives.
      start_inputs: [batch, …]: the first inputs.
      end_fn: says of `sample_ids` whether each ends its sequence, bool [batch].
      next_inputs_fn: makes inputs of `sample_ids`; default: they are taken as they are.
    """

    def __init__(
        self, sample_fn: Callable[[Any], Any], sample_shape: Any, sample_dtype: Any, start_inputs: Any,
        end_fn: Callable[[Any], Any], next_inputs_fn: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        self._sample_fn = sample_fn
        self._end_fn = end_fn
        self._sample_shape = TensorShape(sample_shape)
        self._sample_dtype = as_dtype(sample_dtype)
        self._next_inputs_fn = next_inputs_fn
        self._start_inputs = convert_to_tensor(start_inputs, name="start_inputs")
        self._batch_size = shape(self._start_inputs)[0]

    @property
    def batch_size(self) -> Any:
        """How many sequences there are: int32 scalar."""
        return self._batch_size

    @property
    def sample_ids_shape(self) -> TensorShape:
        """The shape of what is drawn, without the batch."""
        return self._sample_shape

    @property
    def sample_ids_dtype(self) -> Any:
        """The dtype of what is drawn."""
        return self._sample_dtype

    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs)`."""
        return tile([False], emit.ExpandDims(self._batch_size, 0)), self._start_inputs

    def sample(self, time: Any, outputs: Any, state: Any = None, name: str | None = None) -> Any:
        """Returns what is drawn of the outputs."""
        return self._sample_fn(outputs)

    def next_inputs(
        self, time: Any, outputs: Any, state: Any, sample_ids: Any, name: str | None = None
    ) -> Any:
        """Returns `(finished, next inputs, state)`."""
        following = sample_ids if self._next_inputs_fn is None else self._next_inputs_fn(sample_ids)
        return self._end_fn(sample_ids), following, state


__all__ = [
    "CustomHelper", "GreedyEmbeddingHelper", "Helper", "InferenceHelper", "SampleEmbeddingHelper",
    "ScheduledEmbeddingTrainingHelper", "ScheduledOutputTrainingHelper", "TrainingHelper",
]  # fmt: skip
