"""`tf.contrib.legacy_seq2seq`: decoders over lists of steps, with and without attention, and their losses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphflow import nest, nn
from graphflow.contrib import deep as _deep
from graphflow.contrib.rnn.cells import EmbeddingWrapper, OutputProjectionWrapper, linear
from graphflow.control_flow import cond
from graphflow.graph import Tensor, name_scope
from graphflow.namespace import lazy
from graphflow.opdef import emit
from graphflow.ops.elementwise import add_n, cast, tanh
from graphflow.ops.layout import concat, reshape
from graphflow.ops.nn import embedding_lookup, softmax, sparse_softmax_cross_entropy_with_logits
from graphflow.ops.reduction import argmax, reduce_sum
from graphflow.ops.source import shape, stop_gradient, zeros
from graphflow.variable_scope import get_variable, get_variable_scope, variable_scope

Loop = Callable[[Any, int], Any]


def rnn_decoder(
    decoder_inputs: Sequence[Any],
    initial_state: Any,
    cell: Any,
    loop_function: Loop | None = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """Runs a cell over steps; returns its outputs and last state.

    Args:
      decoder_inputs: a list of [batch, size].
      initial_state: the first state.
      cell: the cell.
      loop_function: makes the next input of an output and the number of the step, in place of the given one.
      scope: the variable scope; default "rnn_decoder".
    """
    with variable_scope(scope or "rnn_decoder"):
        state, outputs, previous = initial_state, [], None
        for i, given in enumerate(decoder_inputs):
            if loop_function is not None and previous is not None:
                with variable_scope("loop_function", reuse=True):
                    given = loop_function(previous, i)
            if i > 0:
                get_variable_scope().reuse_variables()
            output, state = cell(given, state)
            outputs.append(output)
            previous = output if loop_function is not None else None
    return outputs, state


def basic_rnn_seq2seq(
    encoder_inputs: Sequence[Any],
    decoder_inputs: Sequence[Any],
    cell: Any,
    dtype: Any = "float32",
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """An encoder whose last state is the decoder's first; both have weights of their own."""
    with variable_scope(scope or "basic_rnn_seq2seq"):
        _, state = nn.static_rnn(copy.deepcopy(cell), encoder_inputs, dtype=dtype)
        return rnn_decoder(decoder_inputs, state, cell)


def tied_rnn_seq2seq(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], cell: Any, loop_function: Loop | None = None,
    dtype: Any = "float32", scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Likewise with the same weights in both."""
    with variable_scope("combined_tied_rnn_seq2seq"):
        name = scope or "tied_rnn_seq2seq"
        _, state = nn.static_rnn(cell, encoder_inputs, dtype=dtype, scope=name)
        get_variable_scope().reuse_variables()
        return rnn_decoder(decoder_inputs, state, cell, loop_function=loop_function, scope=name)


def _extract_argmax_and_embed(
    embedding: Any, output_projection: Any = None, update_embedding: bool = True
) -> Loop:
    def loop(previous: Any, _: int) -> Any:
        if output_projection is not None:
            previous = nn.xw_plus_b(previous, output_projection[0], output_projection[1])
        found = embedding_lookup(embedding, argmax(previous, 1))
        return found if update_embedding else stop_gradient(found)

    return loop


def _check_projection(projection: Any, size: int, num_symbols: int) -> None:
    if projection is not None:
        projection[0].shape.assert_is_compatible_with([size, num_symbols])
        projection[1].shape.assert_is_compatible_with([num_symbols])


def embedding_rnn_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, cell: Any, num_symbols: int, embedding_size: int,
    output_projection: Any = None, feed_previous: bool = False, update_embedding_for_previous: bool = True,
    scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`rnn_decoder` over ids, with a table of rows.

    Args:
      decoder_inputs: a list of int32 [batch].
      initial_state: the first state.
      cell: the cell.
      num_symbols, embedding_size: the sizes of the table.
      output_projection: (weights, biases) that make logits of outputs.
      feed_previous: whether the likeliest symbol of the last step is the next input.
      update_embedding_for_previous: whether gradients go through that.
      scope: the variable scope; default "embedding_rnn_decoder".
    """
    with variable_scope(scope or "embedding_rnn_decoder"):
        _check_projection(output_projection, cell.output_size, num_symbols)
        table = get_variable("embedding", [num_symbols, embedding_size])
        loop = (
            _extract_argmax_and_embed(table, output_projection, update_embedding_for_previous)
            if feed_previous else None
        )  # fmt: skip
        rows = [embedding_lookup(table, ids) for ids in decoder_inputs]
        return rnn_decoder(rows, initial_state, cell, loop_function=loop)


def _fed(
    decode: Callable[[bool], tuple[list[Any], Any]], feed_previous: Any, like: Any
) -> tuple[list[Any], Any]:
    """What a decoder gives as a bool tensor says; both ways have the same weights."""

    def way(feeds: bool) -> list[Any]:
        with variable_scope(get_variable_scope(), reuse=None if feeds else True):
            outputs, state = decode(feeds)
            return [*outputs, *nest.flatten(state)]

    found = cond(feed_previous, lambda: way(True), lambda: way(False))
    count = like["steps"]
    state = found[count:]
    return list(found[:count]), nest.pack_sequence_as(like["state"], state)


def embedding_rnn_seq2seq(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], cell: Any, num_encoder_symbols: int,
    num_decoder_symbols: int, embedding_size: int, output_projection: Any = None, feed_previous: Any = False,
    dtype: Any = None, scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Encoder and decoder over ids; see `embedding_rnn_decoder`. `feed_previous` may be a bool tensor."""
    with variable_scope(scope or "embedding_rnn_seq2seq", dtype=dtype) as opened:
        encoder = EmbeddingWrapper(copy.deepcopy(cell), num_encoder_symbols, embedding_size)
        _, state = nn.static_rnn(encoder, encoder_inputs, dtype=dtype or opened.dtype)
        if output_projection is None:
            cell = OutputProjectionWrapper(cell, num_decoder_symbols)

        def decode(feeds: bool) -> tuple[list[Any], Any]:
            return embedding_rnn_decoder(
                decoder_inputs, state, cell, num_decoder_symbols, embedding_size, output_projection, feeds
            )

        if isinstance(feed_previous, bool):
            return decode(feed_previous)
        return _fed(decode, feed_previous, {"steps": len(decoder_inputs), "state": state})


def attention_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, attention_states: Any, cell: Any, output_size: int | None = None,
    num_heads: int = 1, loop_function: Loop | None = None, dtype: Any = None, scope: Any = None,
    initial_state_attention: bool = False,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`rnn_decoder` that looks at states by attention.

    Args:
      decoder_inputs: a list of [batch, size].
      initial_state: the first state.
      attention_states: [batch, length, size].
      cell: the cell.
      output_size: the size of outputs; default the cell's.
      num_heads: how many means of states are read at each step.
      loop_function: makes the next input of an output.
      dtype: the dtype of the first means.
      scope: the variable scope; default "attention_decoder".
      initial_state_attention: whether the first mean is that of the first state, else zeros.

    Raises:
      ValueError: if there are no inputs or heads, or the size of the states is unknown.
    """
    if not decoder_inputs:
        raise ValueError("Must provide at least 1 input to attention decoder.")
    if num_heads < 1:
        raise ValueError("With less than 1 heads, use a non-attention decoder.")
    if attention_states.shape.as_list()[2] is None:
        raise ValueError(f"Shape[2] of attention_states must be known: {attention_states.shape}")
    output_size = cell.output_size if output_size is None else output_size
    with variable_scope(scope or "attention_decoder", dtype=dtype) as opened:
        kind = opened.dtype
        batch = shape(decoder_inputs[0])[0]
        length = attention_states.shape.as_list()[1]
        if length is None:
            length = shape(attention_states)[1]
        size = int(attention_states.shape.as_list()[2])
        hidden = reshape(attention_states, [-1, length, 1, size])
        features, vectors = [], []
        for a in range(num_heads):
            k = get_variable(f"AttnW_{a}", [1, 1, size, size], dtype=kind)
            features.append(nn.conv2d(hidden, k, [1, 1, 1, 1], "SAME"))
            vectors.append(get_variable(f"AttnV_{a}", [size], dtype=kind))

        def attention(query: Any) -> list[Any]:
            found = []
            parts = nest.flatten(query)
            joined = concat(parts, 1) if len(parts) > 1 else parts[0]
            for a in range(num_heads):
                with variable_scope(f"Attention_{a}"):
                    y = reshape(cast(linear(joined, size, True), kind), [-1, 1, 1, size])
                    scores = reduce_sum(vectors[a] * tanh(features[a] + y), [2, 3])
                    weights = reshape(softmax(scores), [-1, length, 1, 1])
                    found.append(reshape(reduce_sum(weights * hidden, [1, 2]), [-1, size]))
            return found

        state, outputs, previous = initial_state, [], None
        attns = [zeros(emit.Pack([batch, size]), dtype=kind) for _ in range(num_heads)]
        for each in attns:
            each.set_shape([None, size])
        if initial_state_attention:
            attns = attention(initial_state)
        for i, given in enumerate(decoder_inputs):
            if i > 0:
                get_variable_scope().reuse_variables()
            if loop_function is not None and previous is not None:
                with variable_scope("loop_function", reuse=True):
                    given = loop_function(previous, i)
            width = given.shape.as_list()[1]
            if width is None:
                raise ValueError(f"Could not infer input size from input: {given.name}")
            x = linear([cast(given, kind), *attns], int(width), True)
            cell_output, state = cell(x, state)
            if i == 0 and initial_state_attention:
                with variable_scope(get_variable_scope(), reuse=True):
                    attns = attention(state)
            else:
                attns = attention(state)
            with variable_scope("AttnOutputProjection"):
                output = linear([cast(cell_output, kind), *attns], output_size, True)
            previous = output if loop_function is not None else None
            outputs.append(output)
    return outputs, state


def embedding_attention_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, attention_states: Any, cell: Any, num_symbols: int,
    embedding_size: int, num_heads: int = 1, output_size: int | None = None, output_projection: Any = None,
    feed_previous: bool = False, update_embedding_for_previous: bool = True, dtype: Any = None, scope: Any = None,
    initial_state_attention: bool = False,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`attention_decoder` over ids, with a table of rows; see `embedding_rnn_decoder`."""
    output_size = cell.output_size if output_size is None else output_size
    _check_projection(output_projection, output_size, num_symbols)
    with variable_scope(scope or "embedding_attention_decoder", dtype=dtype):
        table = get_variable("embedding", [num_symbols, embedding_size])
        loop = (
            _extract_argmax_and_embed(table, output_projection, update_embedding_for_previous)
            if feed_previous else None
        )  # fmt: skip
        rows = [embedding_lookup(table, ids) for ids in decoder_inputs]
        return attention_decoder(
            rows, initial_state, attention_states, cell, output_size=output_size, num_heads=num_heads,
            loop_function=loop, initial_state_attention=initial_state_attention,
        )  # fmt: skip


def embedding_attention_seq2seq(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], cell: Any, num_encoder_symbols: int,
    num_decoder_symbols: int, embedding_size: int, num_heads: int = 1, output_projection: Any = None,
    feed_previous: Any = False, dtype: Any = None, scope: Any = None, initial_state_attention: bool = False,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Encoder and decoder over ids, with attention over the encoder's outputs. `feed_previous` may be a tensor."""
    with variable_scope(scope or "embedding_attention_seq2seq", dtype=dtype) as opened:
        encoder = EmbeddingWrapper(copy.deepcopy(cell), num_encoder_symbols, embedding_size)
        outputs, state = nn.static_rnn(encoder, encoder_inputs, dtype=dtype or opened.dtype)
        tops = [reshape(output, [-1, 1, cell.output_size]) for output in outputs]
        states = concat(tops, 1)
        output_size = None
        if output_projection is None:
            cell = OutputProjectionWrapper(cell, num_decoder_symbols)
            output_size = num_decoder_symbols

        def decode(feeds: bool) -> tuple[list[Any], Any]:
            return embedding_attention_decoder(
                decoder_inputs, state, states, cell, num_decoder_symbols, embedding_size, num_heads, output_size,
                output_projection, feeds, initial_state_attention=initial_state_attention,
            )  # fmt: skip

        if isinstance(feed_previous, bool):
            return decode(feed_previous)
        return _fed(decode, feed_previous, {"steps": len(decoder_inputs), "state": state})


# ---------------------------------------------------------------------------- losses


def _check_lengths(logits: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any]) -> None:
    if not len(logits) == len(targets) == len(weights):
        raise ValueError(
            "Lengths of logits, weights, and targets must be the same "
            f"{len(logits)}, {len(weights)}, {len(targets)}."
        )


def sequence_loss_by_example(
    logits: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any], average_across_timesteps: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the cross entropy of each sequence, [batch].

    Args:
      logits: a list of [batch, symbols].
      targets: a list of int [batch].
      weights: a list of [batch].
      average_across_timesteps: whether the sum is over the weights'.
      softmax_loss_function: `(labels, logits) -> losses` in place of the softmax's.
      name: a name.

    Raises:
      ValueError: if the lists differ in length.
    """
    _check_lengths(logits, targets, weights)
    with name_scope(name, "sequence_loss_by_example", [*logits, *targets, *weights]):
        losses = []
        for logit, target, weight in zip(logits, targets, weights, strict=True):
            if softmax_loss_function is None:
                target = reshape(target, [-1])
                loss = sparse_softmax_cross_entropy_with_logits(labels=target, logits=logit)
            else:
                loss = softmax_loss_function(labels=target, logits=logit)
            losses.append(loss * weight)
        total = add_n(losses)
        return total / (add_n(list(weights)) + 1e-12) if average_across_timesteps else total


def sequence_loss(
    logits: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any], average_across_timesteps: bool = True,
    average_across_batch: bool = True, softmax_loss_function: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the sum (or mean) of `sequence_loss_by_example`, a scalar."""
    with name_scope(name, "sequence_loss", [*logits, *targets, *weights]):
        losses = sequence_loss_by_example(
            logits, targets, weights, average_across_timesteps, softmax_loss_function
        )
        cost = reduce_sum(losses)
        return cost / cast(shape(targets[0])[0], cost.dtype) if average_across_batch else cost


def model_with_buckets(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any],
    buckets: Sequence[tuple[int, int]], seq2seq: Callable[[Any, Any], tuple[Any, Any]],
    softmax_loss_function: Callable[..., Any] | None = None, per_example_loss: bool = False, name: str | None = None,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """Makes one model per pair of lengths, with the same weights; returns their outputs and losses.

    Args:
      encoder_inputs, decoder_inputs, targets, weights: lists of tensors, as long as the longest bucket.
      buckets: pairs of lengths, from short to long.
      seq2seq: makes outputs and state of lists of inputs.
      softmax_loss_function: as in `sequence_loss`.
      per_example_loss: whether losses are [batch].
      name: a name.

    Raises:
      ValueError: if a list is too short.
    """
    for given, at, what in (
        (encoder_inputs, 0, "encoder_inputs"),
        (targets, 1, "targets"),
        (weights, 1, "weights"),
    ):
        if len(given) < buckets[-1][at]:
            raise ValueError(
                f"Length of {what} ({len(given)}) must be at least that of last bucket ({buckets[-1][at]})."
            )
    losses, outputs = [], []
    with name_scope(name, "model_with_buckets", [*encoder_inputs, *decoder_inputs, *targets, *weights]):
        for j, (first, second) in enumerate(buckets):
            with variable_scope(get_variable_scope(), reuse=True if j > 0 else None):
                made, _ = seq2seq(encoder_inputs[:first], decoder_inputs[:second])
                outputs.append(made)
                loss = sequence_loss_by_example if per_example_loss else sequence_loss
                losses.append(
                    loss(
                        made, targets[:second], weights[:second], softmax_loss_function=softmax_loss_function
                    )
                )
    return outputs, losses


# Long paths lead through this module as through a package.
__path__: list[str] = []
python = _deep(f"{__name__}.python", "legacy_seq2seq")

__all__ = [
    "attention_decoder", "basic_rnn_seq2seq", "embedding_attention_decoder", "embedding_attention_seq2seq",
    "embedding_rnn_decoder", "embedding_rnn_seq2seq", "model_with_buckets", "rnn_decoder", "sequence_loss",
    "sequence_loss_by_example", "tied_rnn_seq2seq",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
