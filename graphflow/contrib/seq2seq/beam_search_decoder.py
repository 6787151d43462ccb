"""Beam search: the best few sequences, side by side."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, nest
from graphflow.contrib.seq2seq.attention_wrapper import AttentionWrapperState
from graphflow.contrib.seq2seq.basic_decoder import check_output_layer, output_shapes
from graphflow.contrib.seq2seq.decoder import Decoder
from graphflow.control_flow import cond
from graphflow.graph import Tensor, name_scope
from graphflow.logging import warning
from graphflow.nn.rnn_cell import assert_like_rnncell
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops.beams import gather_tree
from graphflow.ops.elementwise import cast, div, equal, floordiv, log, minimum, mod, where_v2
from graphflow.ops.layout import concat, expand_dims, gather, one_hot, reshape, sequence_mask, tile, transpose
from graphflow.ops.nn import embedding_lookup, log_softmax
from graphflow.ops.reduction import reduce_all, reduce_max, reduce_mean, reduce_sum
from graphflow.ops.scatter import gather_nd
from graphflow.ops.sorting import top_k
from graphflow.ops.source import identity, ones_like, shape, size, zeros
from graphflow.shapes import TensorShape, as_shape
from graphflow.tensor_array import TensorArray


class BeamSearchDecoderState(
    namedtuple(
        "BeamSearchDecoderState",
        ("cell_state", "log_probs", "finished", "lengths", "accumulated_attention_probs"),
    )
):
    """What a search keeps of each beam, [batch, beams, …].

    The cell's state, the log probability, whether it has ended, its length (int64), and what attention has added up to
    ((), where nobody asks).
    """

    __slots__ = ()


class BeamSearchDecoderOutput(
    namedtuple("BeamSearchDecoderOutput", ("scores", "predicted_ids", "parent_ids"))
):
    """What a step gives, [batch, beams]: scores, symbols, and which beams they go on from."""

    __slots__ = ()


class FinalBeamSearchDecoderOutput(
    namedtuple("FinalBeamSearchDecoderOutput", ("predicted_ids", "beam_search_decoder_output"))
):
    """What a search gives: the sequences, int32 [time, batch, beams], best first, and what its steps gave."""

    __slots__ = ()


def tile_batch(t: Any, multiplier: int, name: str | None = None) -> Any:
    """Returns tensors [batch * multiplier, …] with every example as often as there are beams, one behind the other.

    Args:
      t: a tensor [batch, …], or a structure of such.
      multiplier: how often.
      name: a name scope.

    Raises:
      ValueError: for a scalar, or if a rank is not known.
    """
    with name_scope(name, "tile_batch", nest.flatten(t)):
        return nest.map_structure(lambda x: _tiled(x, multiplier), t)


def _tiled(t: Any, multiplier: Any) -> Tensor:
    t = convert_to_tensor(t, name="t")
    if t.shape.rank is None or t.shape.rank < 1:
        raise ValueError(f"t must have statically known rank, of at least 1, but is of shape {t.shape}")
    times = convert_to_tensor(multiplier, dtypes.int32)
    repeats = concat([[1], reshape(times, [1]), [1] * (t.shape.rank - 1)], 0)
    sizes = shape(t)
    tiled = reshape(tile(expand_dims(t, 1), repeats), concat([sizes[:1] * times, sizes[1:]], 0))
    batch, known = t.shape.as_list()[0], constant_value(times)
    first = None if batch is None or known is None else batch * int(known)
    tiled.set_shape(TensorShape([first]).concatenate(t.shape[1:]))
    return tiled


def gather_tree_from_array(t: Any, parent_ids: Any, sequence_length: Any) -> Tensor:
    """Returns what each beam's own past gave, of what the beams gave step by step.

    Args:
      t: [time, batch, beams, …] or [time, batch * beams, …].
      parent_ids: int32 [time, batch, beams].
      sequence_length: [batch, beams]: how many steps of each beam count.

    Returns:
      In the shape of `t`.
    """
    t, parents = convert_to_tensor(t), convert_to_tensor(parent_ids, dtypes.int32)
    sizes = shape(parents)
    time, batch, width = sizes[0], sizes[1], sizes[2]
    here = emit.BroadcastTo(emit.Range(0, width, 1), sizes)
    longest = cast(reduce_max(sequence_length, axis=1), dtypes.int32)
    ancestors = gather_tree(here, parents, longest, width + 1)
    inside = transpose(sequence_mask(sequence_length, maxlen=time), [2, 0, 1])
    ancestors = where_v2(inside, ancestors, here)
    steps = emit.BroadcastTo(reshape(emit.Range(0, time, 1), [-1, 1, 1]), sizes)
    rows = emit.BroadcastTo(reshape(emit.Range(0, batch, 1), [-1, 1]), sizes)
    apart = reshape(t, concat([sizes, [-1]], 0))
    ordered = reshape(gather_nd(apart, emit.Pack([steps, rows, ancestors], axis=-1)), shape(t))
    ordered.set_shape(t.shape)
    return ordered


def _ranked(t: Any) -> None:
    if not isinstance(t, TensorArray) and t.shape.rank is None:
        raise ValueError(f"Expected tensor ({t.name}) to have known rank, but rank == None.")


class BeamSearchDecoder(Decoder):
    """Keeps the best sequences of each example. The cell's first state must be tiled, see `tile_batch`.

    Args:
      cell: an `RNNCell`.
      embedding: a table of rows, or a function from int32 ids to rows.
      start_tokens: int32 [batch]: the first symbols.
      end_token: int32 scalar: the symbol that ends a sequence.
      initial_state: the cell's first state, [batch * beam_width, …].
      beam_width: how many sequences are kept.
      output_layer: a layer that makes logits of the cell's outputs.
      length_penalty_weight: scores are divided by `((5 + length) / 6) ** weight`; 0: they are not.
      coverage_penalty_weight: how much it costs not to have looked at a row of the memory; 0: nothing.
      reorder_tensor_arrays: whether lists in the cell's state, such as the alignments, are put in the order of the
        sequences that are found at last.

    Raises:
      TypeError: for arguments of other kinds.
      ValueError: if `start_tokens` is no vector or `end_token` no scalar.
    """

    def __init__(
        self, cell: Any, embedding: Any, start_tokens: Any, end_token: Any, initial_state: Any, beam_width: int,
        output_layer: Any = None, length_penalty_weight: Any = 0.0, coverage_penalty_weight: Any = 0.0,
        reorder_tensor_arrays: bool = True,
    ) -> None:  # fmt: skip
        assert_like_rnncell("cell", cell)
        check_output_layer(output_layer)
        self._cell = cell
        self._output_layer = output_layer
        self._reorder_tensor_arrays = reorder_tensor_arrays
        self._embedding_fn = (
            embedding if callable(embedding) else lambda ids: embedding_lookup(embedding, ids)
        )
        self._start_tokens = convert_to_tensor(start_tokens, dtypes.int32, name="start_tokens")
        if self._start_tokens.shape.rank != 1:
            raise ValueError(f"start_tokens must be a vector, but is of shape {self._start_tokens.shape}")
        self._end_token = convert_to_tensor(end_token, dtypes.int32, name="end_token")
        if self._end_token.shape.rank != 0:
            raise ValueError(f"end_token must be a scalar, but is of shape {self._end_token.shape}")
        self._batch_size = size(self._start_tokens)
        self._beam_width = beam_width
        self._length_penalty_weight = length_penalty_weight
        self._coverage_penalty_weight = coverage_penalty_weight
        self._initial_cell_state = nest.map_structure(self._maybe_split, initial_state, cell.state_size)
        self._start_tokens = tile(expand_dims(self._start_tokens, 1), [1, beam_width])
        self._start_inputs = self._embedding_fn(self._start_tokens)
        # All beams are the same at first; only one of them takes part in the first step.
        self._finished = one_hot(
            zeros([self._batch_size], dtypes.int32),
            beam_width,
            on_value=False,
            off_value=True,
            dtype=dtypes.bool_,
        )

    @property
    def batch_size(self) -> Any:
        """How many examples there are: int32 scalar."""
        return self._batch_size

    @property
    def tracks_own_finished(self) -> bool:
        """True: beams are shuffled, and what is finished is of the new ones."""
        return True

    @property
    def output_size(self) -> Any:
        """The shapes of a step's output, without the batch."""
        width = TensorShape([self._beam_width])
        return BeamSearchDecoderOutput(scores=width, predicted_ids=width, parent_ids=width)

    @property
    def output_dtype(self) -> Any:
        """The dtypes of a step's output: that of the cell's state, and int32."""
        kind = nest.flatten(self._initial_cell_state)[0].dtype
        return BeamSearchDecoderOutput(scores=kind, predicted_ids=dtypes.int32, parent_ids=dtypes.int32)

    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs, first state)`."""
        kind = nest.flatten(self._initial_cell_state)[0].dtype
        log_probs = one_hot(
            zeros([self._batch_size], dtypes.int32),
            self._beam_width,
            on_value=0.0,
            off_value=-np.inf,
            dtype=kind,
        )
        attention = _attention_of(self._initial_cell_state, self._coverage_penalty_weight)
        state = BeamSearchDecoderState(
            cell_state=self._initial_cell_state,
            log_probs=log_probs,
            finished=self._finished,
            lengths=zeros([self._batch_size, self._beam_width], dtypes.int64),
            accumulated_attention_probs=() if attention is None else attention,
        )
        return self._finished, self._start_inputs, state

    def finalize(self, outputs: Any, final_state: Any, sequence_lengths: Any) -> Any:
        """Returns the sequences found, as a `FinalBeamSearchDecoderOutput`, and the last state."""
        del sequence_lengths
        longest = cast(reduce_max(final_state.lengths, axis=1), dtypes.int32)
        found = gather_tree(outputs.predicted_ids, outputs.parent_ids, longest, self._end_token)
        if self._reorder_tensor_arrays:
            ordered = nest.map_structure(
                lambda t: self._maybe_sort(t, outputs.parent_ids, final_state.lengths), final_state.cell_state
            )
            final_state = final_state._replace(cell_state=ordered)
        return FinalBeamSearchDecoderOutput(found, outputs), final_state

    def _maybe_sort(self, t: Any, parent_ids: Any, lengths: Any) -> Any:
        """A list of what steps gave, [batch * beams, …] each, as a tensor in the order of the final beams."""
        if not isinstance(t, TensorArray):
            return t
        known, batch, width = t.element_shape, self._static_batch(), self._beam_width
        whole = TensorShape([None if batch is None else batch * width])
        fits = known.rank is not None and known.rank >= 1 and (
            known[:1].is_compatible_with(whole) or known[:2].is_compatible_with(TensorShape([batch, width]))
        )  # fmt: skip
        if not fits:
            warning(
                "The TensorArray %s in the cell state is not amenable to sorting based on the beam search result: its"
                " elements must be of shape [batch * beams, ...] or [batch, beams, ...], but are of %s.",
                t.flow.name, known,
            )  # fmt: skip
            return t
        return gather_tree_from_array(t.stack(), parent_ids, lengths)

    def _static_batch(self) -> int | None:
        value = constant_value(self._batch_size)
        return None if value is None else int(value)

    def _merge(self, t: Any) -> Any:
        """[batch, beams, …] as [batch * beams, …]."""
        batch = self._static_batch()
        merged = reshape(t, concat([expand_dims(self._batch_size * self._beam_width, 0), shape(t)[2:]], 0))
        merged.set_shape(
            TensorShape([None if batch is None else batch * self._beam_width]).concatenate(t.shape[2:])
        )
        return merged

    def _split(self, t: Any, s: Any) -> Any:
        """[batch * beams, …] as [batch, beams, …], of which the last sizes are `s`."""
        known = TensorShape(None) if isinstance(s, Tensor) else as_shape([s] if isinstance(s, int) else s)
        if known.rank is None:
            known = TensorShape([None] * (t.shape.rank - 1))
        head = emit.Pack([self._batch_size, convert_to_tensor(self._beam_width)])
        split = reshape(t, concat([head, shape(t)[1:]], 0))
        wanted = TensorShape([self._static_batch(), self._beam_width]).concatenate(
            known.merge_with(t.shape[1:])
        )
        if not split.shape.is_compatible_with(wanted):
            raise ValueError(
                f"Unexpected behavior when reshaping between beam width and batch size. The reshaped tensor has shape:"
                f" {split.shape}. We expected it to have shape (batch_size, beam_width, depth) == {wanted}. Perhaps you"
                " forgot to create a zero_state with batch_size=encoder_batch_size * beam_width?"
            )
        split.set_shape(wanted)
        return split

    def _maybe_split(self, t: Any, s: Any) -> Any:
        _ranked(t)
        return t if isinstance(t, TensorArray) or t.shape.rank < 1 else self._split(t, s)

    def _maybe_merge(self, t: Any) -> Any:
        _ranked(t)
        return t if isinstance(t, TensorArray) or t.shape.rank < 2 else self._merge(t)

    def _rnn_output_size(self) -> Any:
        return output_shapes(self._cell, self._output_layer)

    def step(self, time: Any, inputs: Any, state: Any, name: str | None = None) -> Any:
        """Returns `(outputs, next state, next inputs, finished)`."""
        with name_scope(name, "BeamSearchDecoderStep", [time]):
            merged = nest.map_structure(self._merge, inputs)
            cell_state = nest.map_structure(self._maybe_merge, state.cell_state)
            outputs, next_state = self._cell(merged, cell_state)
            outputs = nest.map_structure(lambda out: self._split(out, out.shape[1:]), outputs)
            next_state = nest.map_structure(self._maybe_split, next_state, self._cell.state_size)
            if self._output_layer is not None:
                outputs = self._output_layer(outputs)
            output, after = _beam_search_step(
                time=time, logits=outputs, next_cell_state=next_state, beam_state=state, batch_size=self._batch_size,
                beam_width=self._beam_width, end_token=self._end_token,
                length_penalty_weight=self._length_penalty_weight,
                coverage_penalty_weight=self._coverage_penalty_weight,
            )  # fmt: skip
            following = cond(
                reduce_all(after.finished), lambda: self._start_inputs,
                lambda: self._embedding_fn(output.predicted_ids),
            )  # fmt: skip
        return output, after, following, after.finished


def _beam_search_step(
    time: Any, logits: Any, next_cell_state: Any, beam_state: Any, batch_size: Any, beam_width: int, end_token: Any,
    length_penalty_weight: Any, coverage_penalty_weight: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """One step of the search: the best continuations of all beams of an example.

    Args:
      time: int32 scalar.
      logits: [batch, beams, symbols].
      next_cell_state: the cell's state after the step, [batch, beams, …].
      beam_state: the `BeamSearchDecoderState` before it.
      batch_size: int32 scalar.
      beam_width: how many beams.
      end_token: the symbol that ends a sequence.
      length_penalty_weight, coverage_penalty_weight: see `BeamSearchDecoder`.

    Returns:
      `(BeamSearchDecoderOutput, BeamSearchDecoderState)`.
    """
    del time
    ended = beam_state.finished
    going = emit.LogicalNot(ended)
    known = constant_value(convert_to_tensor(batch_size))
    beams = TensorShape([None if known is None else int(known), beam_width])
    total = expand_dims(beam_state.log_probs, 2) + _mask_probs(log_softmax(logits), end_token, ended)
    symbols = shape(logits)[-1] if logits.shape.as_list()[-1] is None else logits.shape.as_list()[-1]

    # A beam that goes on gets longer by every symbol but the last.
    longer = one_hot(end_token, symbols, on_value=0, off_value=1, dtype=dtypes.int64)
    lengths = expand_dims(beam_state.lengths, 2) + longer * expand_dims(cast(going, dtypes.int64), 2)

    attended = _attention_of(next_cell_state, coverage_penalty_weight)
    if attended is not None:
        attended = beam_state.accumulated_attention_probs + attended * expand_dims(
            cast(going, attended.dtype), 2
        )
    scores = _get_scores(
        total, lengths, length_penalty_weight, coverage_penalty_weight, reduce_all(ended, axis=1, keepdims=True),
        attended,
    )  # fmt: skip

    flat = emit.Pack([convert_to_tensor(batch_size), convert_to_tensor(-1)])
    best, places = top_k(reshape(scores, flat), k=beam_width)
    best.set_shape(beams)
    places.set_shape(beams)
    words = identity(mod(places, symbols), name="next_beam_word_ids")
    parents = identity(floordiv(places, symbols), name="next_beam_parent_ids")

    ended = _of_beams(ended, parents)
    state = BeamSearchDecoderState(
        cell_state=nest.map_structure(lambda t: _maybe_of_beams(t, parents), next_cell_state),
        log_probs=gather(reshape(total, flat), places, batch_dims=1, axis=1),
        finished=emit.LogicalOr(ended, equal(words, end_token)),
        lengths=_of_beams(beam_state.lengths, parents) + cast(emit.LogicalNot(ended), dtypes.int64),
        accumulated_attention_probs=() if attended is None else _of_beams(attended, parents),
    )
    return BeamSearchDecoderOutput(scores=best, predicted_ids=words, parent_ids=parents), state


def _of_beams(t: Any, parents: Any) -> Any:
    """[batch, beams, …] in the order of the beams that are kept."""
    result = gather(t, parents, batch_dims=1, axis=1)
    result.set_shape(t.shape)
    return result


def _maybe_of_beams(t: Any, parents: Any) -> Any:
    _ranked(t)
    return t if isinstance(t, TensorArray) or t.shape.rank < 2 else _of_beams(t, parents)


def _attention_of(cell_state: Any, coverage_penalty_weight: Any) -> Any:
    """How much each row of the memory counts, [batch, beams, memory]; None where that costs nothing.

    Raises:
      ValueError: if the cell pays no attention.
    """
    if not isinstance(coverage_penalty_weight, Tensor) and float(coverage_penalty_weight) == 0:
        return None
    found = []
    for state in [cell_state] if isinstance(cell_state, AttentionWrapperState) else cell_state:
        if isinstance(state, AttentionWrapperState):
            alignments = state.alignments
            found.append(_mean(alignments) if isinstance(alignments, tuple) else alignments)
    if not found:
        raise ValueError(
            "coverage_penalty_weight must be 0.0 if no AttentionWrapper is used: no cell state is an"
            " AttentionWrapperState"
        )
    return _mean(found)


def _mean(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else reduce_mean(concat([expand_dims(p, -1) for p in parts], -1), -1)


def _get_scores(
    log_probs: Any, sequence_lengths: Any, length_penalty_weight: Any, coverage_penalty_weight: Any, finished: Any,
    accumulated_attention_probs: Any,
) -> Any:  # fmt: skip
    """The scores of continuations, [batch, beams, symbols]: log probabilities with both penalties."""
    penalty = _length_penalty(sequence_lengths, length_penalty_weight)
    scores = log_probs / (cast(penalty, log_probs.dtype) if isinstance(penalty, Tensor) else penalty)
    weight = convert_to_tensor(coverage_penalty_weight, name="coverage_penalty_weight")
    if weight.shape.rank != 0:
        raise ValueError(f"coverage_penalty_weight should be a scalar, but saw shape: {weight.shape}")
    if accumulated_attention_probs is None:
        return scores
    # Rows past the end of a memory have had no attention ever, and cost nothing.
    seen = where_v2(
        equal(accumulated_attention_probs, 0.0),
        ones_like(accumulated_attention_probs),
        accumulated_attention_probs,
    )
    missed = reduce_sum(log(minimum(seen, 1.0)), 2) * cast(finished, scores.dtype)
    return scores + expand_dims(missed * cast(weight, scores.dtype), 2)


def _length_penalty(sequence_lengths: Any, penalty_factor: Any) -> Any:
    """`((5 + length) / 6) ** factor`; the number 1 for the factor 0."""
    factor = convert_to_tensor(penalty_factor, name="penalty_factor")
    factor.set_shape(())
    static = constant_value(factor)
    if static is not None and float(static) == 0:
        return 1.0
    longer = 5.0 + cast(sequence_lengths, dtypes.float32)
    return div(longer**factor, (5.0 + 1.0) ** factor)


def _mask_probs(probs: Any, eos_token: Any, finished: Any) -> Any:
    """Log probabilities [batch, beams, symbols] of which those of finished beams are all on the end token."""
    only = one_hot(
        eos_token, shape(probs)[2], on_value=0.0, off_value=float(probs.dtype.min), dtype=probs.dtype
    )
    return where_v2(expand_dims(finished, 2), only, probs)


__all__ = [
    "BeamSearchDecoder", "BeamSearchDecoderOutput", "BeamSearchDecoderState", "FinalBeamSearchDecoderOutput",
    "gather_tree_from_array", "tile_batch",
]  # fmt: skip
