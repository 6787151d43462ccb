"""The interface of decoders, and the loop that runs one."""

from __future__ import annotations

import abc
from typing import Any

from graphflow import dtypes, nest
from graphflow.contrib.rnn.cells import transpose_batch_time
from graphflow.control_flow import while_loop
from graphflow.graph import Tensor
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit
from graphflow.ops.elementwise import where_v2
from graphflow.ops.layout import concat, reshape
from graphflow.ops.reduction import reduce_all
from graphflow.ops.source import fill, ones, rank, shape, zeros, zeros_like
from graphflow.shapes import TensorShape, as_shape
from graphflow.tensor_array import TensorArray
from graphflow.variable_scope import variable_scope


class Decoder(abc.ABC):
    """What `dynamic_decode` runs step by step.

    Inputs, outputs and states are structures of tensors that begin with the batch.
    """

    @property
    def batch_size(self) -> Any:
        """How many sequences there are: a number or an int32 scalar."""
        raise NotImplementedError

    @property
    def output_size(self) -> Any:
        """The shapes of an output, without the batch, in the structure of outputs."""
        raise NotImplementedError

    @property
    def output_dtype(self) -> Any:
        """The dtypes of an output, in the structure of outputs."""
        raise NotImplementedError

    @abc.abstractmethod
    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs, first state)`; `finished` is bool [batch]."""
        raise NotImplementedError

    @abc.abstractmethod
    def step(self, time: Any, inputs: Any, state: Any, name: str | None = None) -> Any:
        """Returns `(outputs, next state, next inputs, finished)` of a step; `time` is an int32 scalar."""
        raise NotImplementedError

    def finalize(self, outputs: Any, final_state: Any, sequence_lengths: Any) -> Any:
        """Returns `(outputs, final state)` for the whole; outputs are [time, batch, …].

        Raises:
          NotImplementedError: if there is nothing to do.
        """
        raise NotImplementedError

    @property
    def tracks_own_finished(self) -> bool:
        """Whether `step` itself says what is finished; else a sequence once finished stays so."""
        return False


def rows_chosen(condition: Any, a: Any, b: Any) -> Any:
    """Returns `a` in the rows where the condition holds, and `b` elsewhere; the condition has as many axes or fewer."""
    missing = (
        None if a.shape.rank is None or condition.shape.rank is None else a.shape.rank - condition.shape.rank
    )
    if missing is None:
        axes = concat([shape(condition), ones([rank(a) - rank(condition)], dtypes.int32)], 0)
        return where_v2(reshape(condition, axes), a, b)
    for _ in range(missing):
        condition = emit.ExpandDims(condition, -1)
    chosen = where_v2(condition, a, b)
    chosen.set_shape(b.shape)
    return chosen


def _zero_outputs(size: Any, dtype: Any, batch_size: Any) -> Any:
    """Zeros in the structure of outputs, [batch, …]."""

    def zero(sizes: Any, kind: Any) -> Tensor:
        whole = concat([reshape(convert_to_tensor(batch_size), [1]), _as_sizes(sizes)], 0)
        made = zeros(whole, kind)
        made.set_shape(_with_batch(batch_size, sizes))
        return made

    return nest.map_structure(zero, size, dtype)


def _as_sizes(size: Any) -> Any:
    if isinstance(size, Tensor):
        return reshape(size, [-1])
    return constant(as_shape([size] if isinstance(size, int) else size).as_list(), dtypes.int32)


def _with_batch(batch_size: Any, size: Any) -> TensorShape:
    """What is known of the shape of outputs; a tensor says nothing of sizes."""
    if isinstance(size, Tensor):
        return TensorShape(None)
    known = constant_value(convert_to_tensor(batch_size))
    own = as_shape([size] if isinstance(size, int) else size)
    return TensorShape([None if known is None else int(known)]).concatenate(own)


def dynamic_decode(
    decoder: Any, output_time_major: bool = False, impute_finished: bool = False, maximum_iterations: Any = None,
    parallel_iterations: int = 32, swap_memory: bool = False, scope: Any = None, **kwargs: Any,
) -> tuple[Any, Any, Tensor]:  # fmt: skip
    """Runs a decoder until all sequences are finished.

    Args:
      decoder: a `Decoder`.
      output_time_major: whether outputs are [time, batch, …] in place of [batch, time, …].
      impute_finished: whether the outputs of finished sequences are zero and their states stay; `final_state` is
        then that of each sequence's last step.
      maximum_iterations: int32 scalar: how many steps there are at most.
      parallel_iterations: accepted.
      swap_memory: accepted.
      scope: the variable scope; default "decoder".
      **kwargs: handed to `decoder.initialize`.

    Returns:
      `(final_outputs, final_state, final_sequence_lengths)`; lengths are int32 [batch].

    Raises:
      TypeError: if `decoder` is none.
      ValueError: if `maximum_iterations` is no scalar.
    """
    if not isinstance(decoder, Decoder):
        raise TypeError(f"Expected decoder to be type Decoder, but saw: {type(decoder)}")
    with variable_scope(scope, "decoder"):
        most = None
        if maximum_iterations is not None:
            most = convert_to_tensor(maximum_iterations, dtypes.int32, name="maximum_iterations")
            if most.shape.rank != 0:
                raise ValueError(f"maximum_iterations must be a scalar, but is of shape {most.shape}")
        finished, inputs, state = decoder.initialize(**kwargs)
        size, kinds = decoder.output_size, decoder.output_dtype
        blank = _zero_outputs(size, kinds, decoder.batch_size) if impute_finished else None
        if most is not None:
            finished = emit.LogicalOr(finished, emit.GreaterEqual(0, most))
        arrays = nest.map_structure(
            lambda s, kind: TensorArray(
                kind, size=0, dynamic_size=True, element_shape=_with_batch(decoder.batch_size, s)
            ),
            size, kinds,
        )  # fmt: skip

        def condition(time: Any, arrays: Any, state: Any, inputs: Any, finished: Any, lengths: Any) -> Any:
            return emit.LogicalNot(reduce_all(finished))

        def body(time: Any, arrays: Any, state: Any, inputs: Any, finished: Any, lengths: Any) -> Any:
            outputs, next_state, next_inputs, done = decoder.step(time, inputs, state)
            if not decoder.tracks_own_finished:
                done = emit.LogicalOr(done, finished)
            next_lengths = where_v2(finished, lengths, fill(shape(lengths), time + 1))
            nest.assert_same_structure(state, next_state)
            nest.assert_same_structure(arrays, outputs)
            nest.assert_same_structure(inputs, next_inputs)
            if impute_finished:
                outputs = nest.map_structure(
                    lambda out, zero: rows_chosen(finished, zero, out), outputs, blank
                )
                next_state = nest.map_structure(lambda new, old: _kept(finished, new, old), next_state, state)
            written = nest.map_structure(lambda array, out: array.write(time, out), arrays, outputs)
            return time + 1, written, next_state, next_inputs, done, next_lengths

        _, arrays, final_state, _, _, lengths = while_loop(
            condition, body,
            (constant(0, dtypes.int32), arrays, state, inputs, finished, zeros_like(finished, dtype=dtypes.int32)),
            parallel_iterations=parallel_iterations, maximum_iterations=most, swap_memory=swap_memory,
        )  # fmt: skip
        outputs = nest.map_structure(lambda array: array.stack(), arrays)
        try:
            outputs, final_state = decoder.finalize(outputs, final_state, lengths)
        except NotImplementedError:
            pass
        if not output_time_major:
            outputs = nest.map_structure(transpose_batch_time, outputs)
    return outputs, final_state, lengths


def _kept(finished: Any, new: Any, old: Any) -> Any:
    """The new state, but the old one where a sequence is finished; lists and scalars belong to no sequence."""
    if isinstance(old, TensorArray):
        return new
    new.set_shape(old.shape)
    return new if new.shape.rank == 0 else rows_chosen(finished, old, new)


__all__ = ["Decoder", "dynamic_decode"]
