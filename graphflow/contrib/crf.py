"""`tf.contrib.crf`: linear chains of tags: scores, likelihoods, and the best sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow import dtypes
from graphflow.functional_ops import scan
from graphflow.graph import Tensor, name_scope
from graphflow.namespace import lazy
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.elementwise import cast, maximum, where, where_v2
from graphflow.ops.layout import (
    concat,
    expand_dims,
    gather,
    one_hot,
    reshape,
    reverse,
    sequence_mask,
    transpose,
)  # fmt: skip
from graphflow.ops.reduction import argmax, reduce_logsumexp, reduce_max, reduce_sum
from graphflow.ops.source import identity, shape
from graphflow.variable_scope import get_variable

Array = np.ndarray[Any, Any]


def _mask(sequence_lengths: Any, length: Any, dtype: Any) -> Tensor:
    return sequence_mask(sequence_lengths, length, dtype=dtype)


def crf_unary_score(tag_indices: Any, sequence_lengths: Any, inputs: Any) -> Tensor:
    """Returns the sum of the scores of tags by themselves, [batch].

    Args:
      tag_indices: int [batch, length].
      sequence_lengths: int [batch].
      inputs: [batch, length, tags].
    """
    inputs = convert_to_tensor(inputs)
    picked = reduce_sum(inputs * one_hot(tag_indices, shape(inputs)[2], dtype=inputs.dtype), 2)
    return reduce_sum(picked * _mask(sequence_lengths, shape(inputs)[1], inputs.dtype), 1)


def crf_binary_score(tag_indices: Any, sequence_lengths: Any, transition_params: Any) -> Tensor:
    """Returns the sum of the scores of pairs of tags, [batch]; see `crf_unary_score`."""
    transitions = convert_to_tensor(transition_params)
    tags = convert_to_tensor(tag_indices)
    count = shape(transitions)[0]
    pairs = tags[:, :-1] * cast(count, tags.dtype) + tags[:, 1:]
    picked = gather(reshape(transitions, [-1]), pairs)
    lengths = maximum(convert_to_tensor(sequence_lengths) - 1, 0)
    return reduce_sum(picked * _mask(lengths, shape(tags)[1] - 1, picked.dtype), 1)


def crf_sequence_score(
    inputs: Any, tag_indices: Any, sequence_lengths: Any, transition_params: Any
) -> Tensor:
    """Returns the score of sequences of tags, [batch]; those of length 0 score 0."""
    return crf_unary_score(tag_indices, sequence_lengths, inputs) + crf_binary_score(
        tag_indices, sequence_lengths, transition_params
    )


def _alphas(inputs: Any, sequence_lengths: Any, step: Any) -> Tensor:
    """What a recursion over steps gives last, [batch, tags]: it stops where a sequence ends."""
    steps = transpose(inputs, [1, 0, 2])
    times = emit.Range(0, shape(steps)[0], 1)
    lengths = cast(convert_to_tensor(sequence_lengths), dtypes.int32)

    def turn(state: Any, given: Any) -> Any:
        # The first turn only takes the scores: so there is at least one, however short the sequences are.
        scores, time = given
        alive = expand_dims(time < lengths, 1)
        return where_v2(time > 0, where_v2(alive, step(state, scores), state), scores)

    last: Tensor = scan(turn, (steps, times), initializer=emit.ZerosLike(steps[0]))[-1]
    return last


def crf_log_norm(inputs: Any, sequence_lengths: Any, transition_params: Any) -> Tensor:
    """Returns the logarithm of the sum over all sequences of tags, [batch]; that of an empty one is 0."""
    inputs = convert_to_tensor(inputs)
    transitions = expand_dims(convert_to_tensor(transition_params), 0)

    def step(state: Any, scores: Any) -> Any:
        return scores + reduce_logsumexp(expand_dims(state, 2) + transitions, [1])

    found = reduce_logsumexp(_alphas(inputs, sequence_lengths, step), [1])
    empty = convert_to_tensor(sequence_lengths) <= 0
    return where(empty, emit.ZerosLike(found), found)


def crf_log_likelihood(
    inputs: Any, tag_indices: Any, sequence_lengths: Any, transition_params: Any = None
) -> tuple[Tensor, Any]:
    """Returns the log-likelihood of sequences of tags, [batch], and the scores of pairs.

    Args:
      inputs: [batch, length, tags].
      tag_indices: int [batch, length].
      sequence_lengths: int [batch].
      transition_params: [tags, tags]; default a variable "transitions".
    """
    inputs = convert_to_tensor(inputs)
    if transition_params is None:
        count = inputs.shape.as_list()[2]
        transition_params = get_variable("transitions", [count, count])
    with name_scope("crf_log_likelihood"):
        score = crf_sequence_score(inputs, tag_indices, sequence_lengths, transition_params)
        return score - crf_log_norm(inputs, sequence_lengths, transition_params), transition_params


def viterbi_decode(score: Array, transition_params: Array) -> tuple[list[int], float]:
    """Returns the best sequence of tags and its score, in NumPy.

    Args:
      score: [length, tags].
      transition_params: [tags, tags].
    """
    trellis = np.asarray(score[0])
    back = []
    for step in np.asarray(score)[1:]:
        v = trellis[:, None] + transition_params
        back.append(v.argmax(0))
        trellis = step + v.max(0)
    best = [int(trellis.argmax())]
    for pointers in reversed(back):
        best.append(int(pointers[best[-1]]))
    return best[::-1], float(trellis.max())


def crf_decode(potentials: Any, transition_params: Any, sequence_length: Any) -> tuple[Tensor, Tensor]:
    """Returns the best sequences of tags, int32 [batch, length] (0 past their ends), and their scores [batch]."""
    inputs = convert_to_tensor(potentials)
    transitions = expand_dims(convert_to_tensor(transition_params), 0)
    lengths = cast(convert_to_tensor(sequence_length), dtypes.int32)
    steps = transpose(inputs, [1, 0, 2])
    times = emit.Range(1, shape(steps)[0], 1)
    tags = shape(inputs)[2]

    def forward(state: Any, given: Any) -> Any:
        scores, time = given
        alive = expand_dims(time < lengths, 1)
        pairs = expand_dims(state[0], 2) + transitions
        pointers = cast(argmax(pairs, 1), dtypes.int32)
        stay = expand_dims(emit.Range(0, tags, 1), 0) + emit.ZerosLike(pointers)
        return (
            emit.SelectV2(alive, scores + reduce_max(pairs, [1]), state[0]),
            emit.SelectV2(alive, pointers, stay),
        )

    first = (steps[0], cast(emit.ZerosLike(steps[0]), dtypes.int32))
    scores, pointers = scan(forward, (steps[1:], times), initializer=first)
    last = concat([steps[:1], scores], 0)[-1]
    best = cast(argmax(last, 1), dtypes.int32)

    def backward(state: Any, given: Any) -> Any:
        return reduce_sum(given * one_hot(state, tags, dtype=dtypes.int32), 1)

    earlier = reverse(scan(backward, reverse(pointers, [0]), initializer=best), [0])
    decoded = transpose(concat([earlier, expand_dims(best, 0)], 0), [1, 0])
    mask = _mask(lengths, shape(inputs)[1], dtypes.int32)
    return identity(decoded * mask), reduce_max(last, [1])


__all__ = [
    "crf_binary_score", "crf_decode", "crf_log_likelihood", "crf_log_norm", "crf_sequence_score", "crf_unary_score",
    "viterbi_decode",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
