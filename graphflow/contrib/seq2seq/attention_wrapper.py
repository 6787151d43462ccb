"""Attention: mechanisms that weigh the rows of a memory, and the wrapper that gives them to a cell."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, nest
from graphflow.dtypes import as_dtype
from graphflow.functional_ops import scan
from graphflow.graph import Tensor, control_dependencies, name_scope
from graphflow.initializers import constant_initializer, ones_initializer, zeros_initializer
from graphflow.keras.base_layer import Layer
from graphflow.layers import Dense
from graphflow.nn.rnn_cell import RNNCell, _zero_state_tensors, assert_like_rnncell
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops.control import assert_equal, assert_positive
from graphflow.ops.elementwise import (
    cast,
    clip_by_value,
    exp,
    log,
    rsqrt,
    sigmoid,
    square,
    tanh,
    where_v2,
)  # fmt: skip
from graphflow.ops.layout import concat, expand_dims, one_hot, reshape, sequence_mask, squeeze, transpose
from graphflow.ops.linalg import matmul
from graphflow.ops.nn import softmax
from graphflow.ops.random import random_normal
from graphflow.ops.reduction import argmax, cumprod, cumsum, reduce_sum
from graphflow.ops.source import identity, ones, shape, zeros
from graphflow.shapes import TensorShape
from graphflow.tensor_array import TensorArray
from graphflow.variable_scope import get_variable, variable_scope


class AttentionMechanism:
    """Gives for a query how much each row of a memory counts: `mechanism(query, state)`."""

    @property
    def alignments_size(self) -> Any:
        """How many rows the memory of an example has."""
        raise NotImplementedError

    @property
    def state_size(self) -> Any:
        """The size of what goes from step to step."""
        raise NotImplementedError


def _prepare_memory(
    memory: Any, memory_sequence_length: Any = None, check_inner_dims_defined: bool = True
) -> Any:
    """The memory as tensors, zero past the ends of its sequences."""
    values = nest.map_structure(lambda m: convert_to_tensor(m, name="memory"), memory)
    for m in nest.flatten(values):
        if check_inner_dims_defined and (m.shape.rank is None or not m.shape[2:].is_fully_defined()):
            raise ValueError(
                f"Expected memory {m.name} to have fully defined inner dims, but saw shape: {m.shape}"
            )
    if memory_sequence_length is None:
        return values
    first = nest.flatten(values)[0]
    mask = sequence_mask(memory_sequence_length, maxlen=shape(first)[1], dtype=first.dtype)
    return nest.map_structure(lambda m: _masked(m, mask), values)


def _masked(m: Any, mask: Any) -> Any:
    missing = int(m.shape.rank) - 2
    spread = reshape(mask, concat([shape(mask), ones([missing], dtypes.int32)], 0)) if missing else mask
    result = m * cast(spread, m.dtype)
    result.set_shape(m.shape)
    return result


def _maybe_mask_score(score: Any, memory_sequence_length: Any, score_mask_value: Any) -> Any:
    """Scores [batch, time], with a value of their own past the ends of sequences."""
    if memory_sequence_length is None:
        return score
    mask = sequence_mask(memory_sequence_length, maxlen=shape(score)[1])
    return where_v2(mask, score, convert_to_tensor(score_mask_value, score.dtype))


def _size_of(x: Any, axis: int) -> Any:
    """A size: a number if it is known, else a scalar tensor."""
    known = x.shape.as_list()[axis] if x.shape.rank is not None else None
    return shape(x)[axis] if known is None else known


class _BaseAttentionMechanism(AttentionMechanism):
    """What mechanisms have in common: keys and values of a memory, and layers for queries and memory.

    Args:
      query_layer: the layer for queries; None: they are taken as they are.
      memory: [batch, time, …].
      probability_fn: `(scores, state) -> alignments`.
      memory_sequence_length: int [batch]: how many rows of the memory count; None: all.
      memory_layer: the layer that makes keys of the memory; None: it is taken as it is.
      check_inner_dims_defined: whether the sizes after the second must be known.
      score_mask_value: the score of rows that do not count; default minus infinity.
      custom_key_value_fn: makes keys and values of keys and values.
      name: a name scope.

    Raises:
      TypeError: for layers that are none.
      ValueError: if sizes are missing.
    """

    _probability_fn: Callable[[Any, Any], Any]

    def __init__(
        self, query_layer: Any, memory: Any, probability_fn: Callable[[Any, Any], Any],
        memory_sequence_length: Any = None, memory_layer: Any = None, check_inner_dims_defined: bool = True,
        score_mask_value: Any = None, custom_key_value_fn: Callable[[Any, Any], Any] | None = None,
        name: str | None = None,
    ) -> None:  # fmt: skip
        for layer, what in ((query_layer, "query_layer"), (memory_layer, "memory_layer")):
            if layer is not None and not isinstance(layer, Layer):
                raise TypeError(f"{what} is not a Layer: {type(layer).__name__}")
        if not callable(probability_fn):
            raise TypeError(f"probability_fn must be callable, saw type: {type(probability_fn).__name__}")
        self._query_layer = query_layer
        self._memory_layer = memory_layer
        with name_scope(name, "BaseAttentionMechanismInit", nest.flatten(memory)):
            lengths = memory_sequence_length
            if lengths is not None:
                lengths = convert_to_tensor(lengths, name="memory_sequence_length")
                # Looked at once, here, and not in every step.
                check = assert_positive(
                    lengths, message="All values in memory_sequence_length must greater than zero."
                )
                with control_dependencies([check]):
                    lengths = identity(lengths)
            self._memory_sequence_length = lengths
            self._values = _prepare_memory(memory, lengths, check_inner_dims_defined)
            self._keys = self._values if memory_layer is None else memory_layer(self._values)
            if custom_key_value_fn is not None:
                self._keys, self._values = custom_key_value_fn(self._keys, self._values)
            first = nest.flatten(self._keys)[0]
            masked = -np.inf if score_mask_value is None else score_mask_value
            self._probability_fn = lambda score, previous: probability_fn(
                _maybe_mask_score(score, lengths, masked), previous
            )
            self._batch_size = _size_of(first, 0)
            self._alignments_size = _size_of(first, 1)

    @property
    def memory_layer(self) -> Any:
        """The layer that makes keys of the memory."""
        return self._memory_layer

    @property
    def query_layer(self) -> Any:
        """The layer for queries."""
        return self._query_layer

    @property
    def values(self) -> Any:
        """The memory, zero where it does not count."""
        return self._values

    @property
    def keys(self) -> Any:
        """What queries are compared with."""
        return self._keys

    @property
    def batch_size(self) -> Any:
        """How many examples the memory has."""
        return self._batch_size

    @property
    def alignments_size(self) -> Any:
        """How many rows the memory of an example has."""
        return self._alignments_size

    @property
    def state_size(self) -> Any:
        """The size of what goes from step to step: that of alignments."""
        return self._alignments_size

    def initial_alignments(self, batch_size: Any, dtype: Any) -> Any:
        """Returns zeros of [batch_size, alignments_size]."""
        return _empty(self._alignments_size, batch_size, dtype)

    def initial_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns the first state: the first alignments."""
        return self.initial_alignments(batch_size, dtype)


def _empty(width: Any, batch_size: Any, dtype: Any) -> Any:
    """Zeros of [batch_size, width]; the width may be a tensor."""
    if not isinstance(width, Tensor):
        return _zero_state_tensors(width, batch_size, dtype)
    made = zeros(emit.Pack([convert_to_tensor(batch_size), width]), dtype)
    known = constant_value(convert_to_tensor(batch_size))
    made.set_shape([None if known is None else int(known), None])
    return made


def _softmax_of(probability_fn: Callable[[Any], Any] | None) -> Callable[[Any, Any], Any]:
    chosen = softmax if probability_fn is None else probability_fn
    return lambda score, _: chosen(score)


def _luong_score(query: Any, keys: Any, scale: Any) -> Any:
    """The products of queries [batch, depth] and keys [batch, time, depth], times a factor if there is one."""
    depth, own = query.shape.as_list()[-1], keys.shape.as_list()[-1]
    if depth != own:
        raise ValueError(
            f"Incompatible or unknown inner dimensions between query and keys. Query ({query.name}) has units: {depth}."
            f"  Keys ({keys.name}) have units: {own}. Perhaps you need to set num_units to the keys' dimension"
            f" ({own})?"
        )
    score = squeeze(matmul(expand_dims(query, 1), keys, transpose_b=True), [1])
    return score if scale is None else scale * score


def _bahdanau_score(
    processed_query: Any, keys: Any, attention_v: Any, attention_g: Any = None, attention_b: Any = None
) -> Any:
    """The scores [batch, time] of queries [batch, units] and keys [batch, time, units]; g and b normalize v."""
    both = keys + expand_dims(processed_query, 1)
    if attention_g is None or attention_b is None:
        return reduce_sum(attention_v * tanh(both), [2])
    normed = attention_g * attention_v * rsqrt(reduce_sum(square(attention_v)))
    return reduce_sum(normed * tanh(both + attention_b), [2])


class _Luong(_BaseAttentionMechanism):
    """Scores that are products of queries and keys."""

    _scope: str
    _num_units: int
    _scale: bool
    _name: str

    def _score(self, query: Any) -> Any:
        factor = None
        if self._scale:
            factor = get_variable("attention_g", dtype=query.dtype, initializer=ones_initializer(), shape=())
        return _luong_score(query, self._keys, factor)


class _Bahdanau(_BaseAttentionMechanism):
    """Scores that are sums over units of a tanh."""

    _scope: str
    _num_units: int
    _normalize: bool
    _name: str

    def _score(self, query: Any) -> Any:
        processed = query if self._query_layer is None else self._query_layer(query)
        v = get_variable("attention_v", [self._num_units], dtype=query.dtype)
        if not self._normalize:
            return _bahdanau_score(processed, self._keys, v)
        first = constant_initializer(math.sqrt(1.0 / self._num_units))
        g = get_variable("attention_g", dtype=query.dtype, initializer=first, shape=())
        b = get_variable("attention_b", [self._num_units], dtype=query.dtype, initializer=zeros_initializer())
        return _bahdanau_score(processed, self._keys, v, g, b)


class LuongAttention(_Luong):
    """Attention by products of queries and keys, after Luong et al.

    Args:
      num_units: the size of the keys, which must be that of the queries.
      memory: [batch, time, …].
      memory_sequence_length: int [batch]: how many rows of the memory count; None: all.
      scale: whether scores have a factor that is learnt.
      probability_fn: makes alignments of scores; default softmax.
      score_mask_value: the score of rows that do not count; default minus infinity.
      dtype: the dtype of the layer's weights; default float32.
      custom_key_value_fn: makes keys and values of keys and values.
      name: a name scope.
    """

    def __init__(
        self, num_units: int, memory: Any, memory_sequence_length: Any = None, scale: bool = False,
        probability_fn: Callable[[Any], Any] | None = None, score_mask_value: Any = None, dtype: Any = None,
        custom_key_value_fn: Callable[[Any, Any], Any] | None = None, name: str = "LuongAttention",
    ) -> None:  # fmt: skip
        kind = as_dtype(dtype or dtypes.float32)
        super().__init__(
            query_layer=None, memory=memory, probability_fn=_softmax_of(probability_fn),
            memory_sequence_length=memory_sequence_length,
            memory_layer=Dense(num_units, name="memory_layer", use_bias=False, dtype=kind),
            score_mask_value=score_mask_value, custom_key_value_fn=custom_key_value_fn, name=name,
        )  # fmt: skip
        self._num_units = num_units
        self._scale = scale
        self._name = name

    def __call__(self, query: Any, state: Any) -> tuple[Any, Any]:
        """Returns the alignments [batch, time] of queries [batch, depth], which are the next state too."""
        with variable_scope(None, "luong_attention", [query]):
            alignments: Any = self._probability_fn(self._score(query), state)
        return alignments, alignments


class BahdanauAttention(_Bahdanau):
    """Attention by a sum over units, after Bahdanau et al.

    Args:
      num_units: how many units queries and keys are turned into.
      memory: [batch, time, …].
      memory_sequence_length: int [batch]: how many rows of the memory count; None: all.
      normalize: whether the weights of the sum are normalized, with a factor and a bias that are learnt.
      probability_fn: makes alignments of scores; default softmax.
      score_mask_value: the score of rows that do not count; default minus infinity.
      dtype: the dtype of the layers' weights; default float32.
      custom_key_value_fn: makes keys and values of keys and values.
      name: a name scope.
    """

    def __init__(
        self, num_units: int, memory: Any, memory_sequence_length: Any = None, normalize: bool = False,
        probability_fn: Callable[[Any], Any] | None = None, score_mask_value: Any = None, dtype: Any = None,
        custom_key_value_fn: Callable[[Any, Any], Any] | None = None, name: str = "BahdanauAttention",
    ) -> None:  # fmt: skip
        kind = as_dtype(dtype or dtypes.float32)
        super().__init__(
            query_layer=Dense(num_units, name="query_layer", use_bias=False, dtype=kind), memory=memory,
            probability_fn=_softmax_of(probability_fn), memory_sequence_length=memory_sequence_length,
            memory_layer=Dense(num_units, name="memory_layer", use_bias=False, dtype=kind),
            score_mask_value=score_mask_value, custom_key_value_fn=custom_key_value_fn, name=name,
        )  # fmt: skip
        self._num_units = num_units
        self._normalize = normalize
        self._name = name

    def __call__(self, query: Any, state: Any) -> tuple[Any, Any]:
        """Returns the alignments [batch, time] of queries [batch, depth], which are the next state too."""
        with variable_scope(None, "bahdanau_attention", [query]):
            alignments: Any = self._probability_fn(self._score(query), state)
        return alignments, alignments


def safe_cumprod(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns the cumulative product by way of logarithms, so that gradients are finite; x lies in [0, 1].

    Args:
      x: a floating tensor.
      *args, **kwargs: those of `cumsum`.
    """
    with name_scope(None, "SafeCumprod", [x]):
        x = convert_to_tensor(x, name="x")
        tiny = float(np.finfo(x.dtype.as_numpy_dtype).tiny)
        return exp(cumsum(log(clip_by_value(x, tiny, 1)), *args, **kwargs))


def monotonic_attention(p_choose_i: Any, previous_attention: Any, mode: str) -> Any:
    """Returns how likely each row is attended when attention only moves on, [batch, time].

    Args:
      p_choose_i: [batch, time]: how likely each row is chosen when it is reached.
      previous_attention: [batch, time]: how likely each row was attended in the step before.
      mode: "recursive": exact, row by row; "parallel": without a loop, less exact where products get small; "hard":
        exact where all of this is 0 or 1.

    Raises:
      ValueError: for another mode.
    """
    p = convert_to_tensor(p_choose_i, name="p_choose_i")
    previous = convert_to_tensor(previous_attention, name="previous_attention")
    if mode == "recursive":
        batch = shape(p)[:1]
        before = concat([ones(concat([batch, [1]], 0), p.dtype), 1 - p[:, :-1]], 1)
        reached = scan(
            lambda state, given: given[0] * state + given[1],
            [transpose(before), transpose(previous)], initializer=zeros(batch, p.dtype),
        )  # fmt: skip
        return p * transpose(reached)
    if mode == "parallel":
        past = safe_cumprod(1 - p, axis=1, exclusive=True)
        return p * past * cumsum(previous / clip_by_value(past, 1e-10, 1.0), axis=1)
    if mode == "hard":
        chosen = p * cumsum(previous, axis=1)
        return chosen * cumprod(1 - chosen, axis=1, exclusive=True)
    raise ValueError(f"mode must be 'recursive', 'parallel', or 'hard', not {mode!r}.")


def _monotonic_probability_fn(
    score: Any, previous_alignments: Any, sigmoid_noise: float, mode: str, seed: int | None = None
) -> Any:
    """The alignments of scores; noise makes the chances go to 0 and 1 while learning."""
    if sigmoid_noise > 0:
        score = score + sigmoid_noise * random_normal(shape(score), dtype=score.dtype, seed=seed)
    chance = cast(score > 0, score.dtype) if mode == "hard" else sigmoid(score)
    return monotonic_attention(chance, previous_alignments, mode)


class _Starting:
    """Mechanisms that begin with the first row."""

    _alignments_size: Any

    def initial_alignments(self, batch_size: Any, dtype: Any) -> Any:
        """Returns 1 for the first row and 0 for the others, [batch_size, alignments_size]."""
        first = zeros(reshape(convert_to_tensor(batch_size), [1]), dtypes.int32)
        made = one_hot(first, self._alignments_size, dtype=dtype)
        known = constant_value(convert_to_tensor(batch_size))
        width = None if isinstance(self._alignments_size, Tensor) else self._alignments_size
        made.set_shape([None if known is None else int(known), width])
        return made


def _noisy(sigmoid_noise: float, mode: str, seed: int | None) -> Callable[[Any, Any], Any]:
    return lambda score, previous: _monotonic_probability_fn(score, previous, sigmoid_noise, mode, seed)


def _biased(score: Any, first: float, dtype: Any) -> Any:
    bias = get_variable(
        "attention_score_bias", dtype=dtype, shape=(), initializer=constant_initializer(first)
    )
    return score + bias


class BahdanauMonotonicAttention(_Starting, _Bahdanau):
    """Attention that only moves on, with the scores of Bahdanau et al.

    Args:
      num_units: how many units queries and keys are turned into.
      memory: [batch, time, …].
      memory_sequence_length: int [batch]: how many rows of the memory count; None: all.
      normalize: whether the weights of the sum are normalized.
      score_mask_value: the score of rows that do not count; default minus infinity.
      sigmoid_noise: the standard deviation of noise that is added to scores.
      sigmoid_noise_seed: its seed.
      score_bias_init: the first value of a bias of the scores.
      mode: see `monotonic_attention`.
      dtype: the dtype of the layers' weights; default float32.
      name: a name scope.
    """

    def __init__(
        self, num_units: int, memory: Any, memory_sequence_length: Any = None, normalize: bool = False,
        score_mask_value: Any = None, sigmoid_noise: float = 0.0, sigmoid_noise_seed: int | None = None,
        score_bias_init: float = 0.0, mode: str = "parallel", dtype: Any = None,
        name: str = "BahdanauMonotonicAttention",
    ) -> None:  # fmt: skip
        kind = as_dtype(dtype or dtypes.float32)
        super().__init__(
            query_layer=Dense(num_units, name="query_layer", use_bias=False, dtype=kind), memory=memory,
            probability_fn=_noisy(sigmoid_noise, mode, sigmoid_noise_seed),
            memory_sequence_length=memory_sequence_length,
            memory_layer=Dense(num_units, name="memory_layer", use_bias=False, dtype=kind),
            score_mask_value=score_mask_value, name=name,
        )  # fmt: skip
        self._num_units = num_units
        self._normalize = normalize
        self._name = name
        self._score_bias_init = score_bias_init

    def __call__(self, query: Any, state: Any) -> tuple[Any, Any]:
        """Returns the alignments [batch, time] of queries [batch, depth], which are the next state too."""
        with variable_scope(None, "bahdanau_monotonic_attention", [query]):
            score = _biased(self._score(query), self._score_bias_init, query.dtype)
            alignments: Any = self._probability_fn(score, state)
        return alignments, alignments


class LuongMonotonicAttention(_Starting, _Luong):
    """Attention that only moves on, with the scores of Luong et al.

    Args:
      num_units: the size of the keys, which must be that of the queries.
      memory: [batch, time, …].
      memory_sequence_length: int [batch]: how many rows of the memory count; None: all.
      scale: whether scores have a factor that is learnt.
      score_mask_value, sigmoid_noise, sigmoid_noise_seed, score_bias_init, mode, dtype, name: see
        `BahdanauMonotonicAttention`.
    """

    def __init__(
        self, num_units: int, memory: Any, memory_sequence_length: Any = None, scale: bool = False,
        score_mask_value: Any = None, sigmoid_noise: float = 0.0, sigmoid_noise_seed: int | None = None,
        score_bias_init: float = 0.0, mode: str = "parallel", dtype: Any = None,
        name: str = "LuongMonotonicAttention",
    ) -> None:  # fmt: skip
        kind = as_dtype(dtype or dtypes.float32)
        super().__init__(
            query_layer=None, memory=memory, probability_fn=_noisy(sigmoid_noise, mode, sigmoid_noise_seed),
            memory_sequence_length=memory_sequence_length,
            memory_layer=Dense(num_units, name="memory_layer", use_bias=False, dtype=kind),
            score_mask_value=score_mask_value, name=name,
        )  # fmt: skip
        self._num_units = num_units
        self._scale = scale
        self._name = name
        self._score_bias_init = score_bias_init

    def __call__(self, query: Any, state: Any) -> tuple[Any, Any]:
        """Returns the alignments [batch, time] of queries [batch, depth], which are the next state too."""
        with variable_scope(None, "luong_monotonic_attention", [query]):
            score = _biased(self._score(query), self._score_bias_init, query.dtype)
            alignments: Any = self._probability_fn(score, state)
        return alignments, alignments


def hardmax(logits: Any, name: str | None = None) -> Any:
    """Returns 1 at the greatest element of each row and 0 elsewhere, [batch, …, depth]."""
    with name_scope(name, "Hardmax", [logits]):
        logits = convert_to_tensor(logits, name="logits")
        return one_hot(argmax(logits, -1), _size_of(logits, -1), dtype=logits.dtype)


class AttentionWrapperState(
    namedtuple(
        "AttentionWrapperState",
        ("cell_state", "attention", "time", "alignments", "alignment_history", "attention_state"),
    )
):
    """What an `AttentionWrapper` keeps.

    `cell_state` is the cell's; `attention` [batch, size] what it put out last; `time` an int32 scalar; `alignments`
    [batch, memory] how much each row counted last; `alignment_history` a `TensorArray` of all of them, or `()`;
    `attention_state` what the mechanism keeps. With several mechanisms the last three are tuples.
    """

    __slots__ = ()

    def clone(self, **kwargs: Any) -> AttentionWrapperState:
        """Returns a state with some parts replaced; tensors keep the shapes that are known.

        Raises:
          ValueError: for tensors of other shapes.
        """

        def alike(old: Any, new: Any) -> Any:
            if not (isinstance(old, Tensor) and isinstance(new, Tensor)):
                return new
            if not old.shape.is_compatible_with(new.shape):
                raise ValueError(
                    f"expected a tensor of shape {old.shape}, but {new.name} is of shape {new.shape}"
                )
            known = old.shape.merge_with(new.shape)
            if known == new.shape:
                return new
            result = identity(new)
            result.set_shape(known)
            return result

        return nest.map_structure(alike, self, super()._replace(**kwargs))  # type: ignore[no-any-return]


def _compute_attention(
    attention_mechanism: Any, cell_output: Any, attention_state: Any, attention_layer: Any
) -> tuple[Any, Any, Any]:
    """Attention, alignments, and the mechanism's next state."""
    alignments, next_state = attention_mechanism(cell_output, state=attention_state)
    context = squeeze(matmul(expand_dims(alignments, 1), attention_mechanism.values), [1])
    attention = context if attention_layer is None else attention_layer(concat([cell_output, context], 1))
    return attention, alignments, next_state


class AttentionWrapper(RNNCell):
    """A cell that sees, at each step, what attention to a memory gave in the step before.

    Args:
      cell: the cell.
      attention_mechanism: an `AttentionMechanism`, or a list of several.
      attention_layer_size: the size of a layer that mixes the cell's output and what is read of the memory; a list for
        several mechanisms; None: attention is what is read.
      alignment_history: whether the state keeps the alignments of all steps.
      cell_input_fn: makes the cell's inputs of inputs and attention; default: they are joined along the last axis.
      output_attention: whether attention is put out, else the cell's output.
      initial_cell_state: the cell's first state, in the place of zeros.
      name: its variable scope.
      attention_layer: layers in the place of `attention_layer_size`.
      attention_fn: `(mechanism, cell_output, attention_state, attention_layer) -> (attention, alignments, next
        attention_state)`.
      dtype: the dtype of the cell.

    Raises:
      TypeError: for arguments of other kinds.
      ValueError: if there are not as many layers as mechanisms, or both ways to give them are used.
    """

    def __init__(
        self, cell: Any, attention_mechanism: Any, attention_layer_size: Any = None, alignment_history: bool = False,
        cell_input_fn: Callable[[Any, Any], Any] | None = None, output_attention: bool = True,
        initial_cell_state: Any = None, name: str | None = None, attention_layer: Any = None,
        attention_fn: Callable[..., Any] | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(name=name, dtype=dtype)
        assert_like_rnncell("cell", cell)
        self._is_multi = isinstance(attention_mechanism, list | tuple)
        self._attention_mechanisms = tuple(attention_mechanism) if self._is_multi else (attention_mechanism,)
        for mechanism in self._attention_mechanisms:
            if not isinstance(mechanism, AttentionMechanism):
                only = " contain only instances of" if self._is_multi else " be an"
                raise TypeError(
                    f"attention_mechanism must{only} AttentionMechanism, saw type: {type(mechanism).__name__}"
                )
        if cell_input_fn is not None and not callable(cell_input_fn):
            raise TypeError(f"cell_input_fn must be callable, saw type: {type(cell_input_fn).__name__}")
        if attention_layer_size is not None and attention_layer is not None:
            raise ValueError("Only one of attention_layer_size and attention_layer should be set")
        self._cell = cell
        self._cell_input_fn = cell_input_fn or (lambda inputs, attention: concat([inputs, attention], -1))
        self._output_attention = output_attention
        self._alignment_history = alignment_history
        self._attention_fn = attention_fn or _compute_attention
        self._attention_layers = self._layers_of(attention_layer_size, attention_layer)
        self._attention_layer_size = sum(
            self._width(mechanism, None if self._attention_layers is None else self._attention_layers[i])
            for i, mechanism in enumerate(self._attention_mechanisms)
        )
        self._initial_cell_state = None
        if initial_cell_state is not None:
            with name_scope(name, "AttentionWrapperInit"):
                last = nest.flatten(initial_cell_state)[-1]
                self._initial_cell_state = self._checked(
                    _size_of(last, 0), initial_cell_state, "constructing AttentionWrapper"
                )

    def _layers_of(self, sizes: Any, given: Any) -> tuple[Any, ...] | None:
        if sizes is None and given is None:
            return None
        what = "attention_layer_size" if given is None else "attention_layer"
        chosen = sizes if given is None else given
        listed = tuple(chosen) if isinstance(chosen, list | tuple) else (chosen,)
        if len(listed) != len(self._attention_mechanisms):
            raise ValueError(
                f"If provided, {what} must contain exactly one integer per attention_mechanism, saw: {len(listed)} vs"
                f" {len(self._attention_mechanisms)}"
            )
        if given is not None:
            return listed
        return tuple(
            Dense(size, name="attention_layer", use_bias=False, dtype=self._kind_of(mechanism))
            for size, mechanism in zip(listed, self._attention_mechanisms, strict=True)
        )

    def _kind_of(self, mechanism: Any) -> Any:
        layer: Any = getattr(mechanism, "memory_layer", None)
        return layer.dtype if layer is not None else nest.flatten(mechanism.values)[0].dtype

    def _width(self, mechanism: Any, layer: Any) -> int:
        """The size of what a mechanism puts out."""
        depth = int(mechanism.values.shape.as_list()[-1])
        if layer is None:
            return depth
        shape_of = layer.compute_output_shape(TensorShape([None, self._cell.output_size + depth]))
        return int(TensorShape(shape_of)[-1])

    def _checked(self, batch_size: Any, state: Any, when: str) -> Any:
        """The state, after a check that the memories are of its batch.

        Raises:
          ValueError: if it is known that they are not.
        """
        message = (
            f"When {when} {self._base_name}: Non-matching batch sizes between the memory (encoder output) and the"
            " query (decoder output).  Are you using the BeamSearchDecoder?  You may need to tile your memory input via"
            " the tf.contrib.seq2seq.tile_batch function with argument multiple=beam_width."
        )
        checks = []
        for mechanism in self._attention_mechanisms:
            known = [constant_value(convert_to_tensor(size)) for size in (batch_size, mechanism.batch_size)]
            if known[0] is not None and known[1] is not None:
                if known[0] != known[1]:
                    raise ValueError(f"{message} ({known[0]} against {known[1]})")
                continue
            checks.append(assert_equal(batch_size, mechanism.batch_size, message=message))
        if not checks:
            return state
        with control_dependencies(checks):
            return nest.map_structure(lambda s: identity(s, name="checked_cell_state"), state)

    def _item_or_tuple(self, items: Sequence[Any]) -> Any:
        return tuple(items) if self._is_multi else items[0]

    @property
    def output_size(self) -> Any:
        """The size of attention, or of the cell's output."""
        return self._attention_layer_size if self._output_attention else self._cell.output_size

    @property
    def state_size(self) -> Any:
        """The sizes of the state: an `AttentionWrapperState`."""
        sizes = [mechanism.alignments_size for mechanism in self._attention_mechanisms]
        return AttentionWrapperState(
            cell_state=self._cell.state_size,
            time=TensorShape([]),
            attention=self._attention_layer_size,
            alignments=self._item_or_tuple(sizes),
            attention_state=self._item_or_tuple([m.state_size for m in self._attention_mechanisms]),
            alignment_history=self._item_or_tuple(
                [size if self._alignment_history else () for size in sizes]
            ),
        )

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns the first state; `clone(cell_state=…)` replaces that of the cell.

        Args:
          batch_size: a number or a scalar tensor; that of the memory (times the beams).
          dtype: the dtype.

        Raises:
          ValueError: if the memory is of another batch.
        """
        with name_scope(type(self).__name__ + "ZeroState", values=[batch_size]):
            if self._initial_cell_state is not None:
                cell_state = self._initial_cell_state
            elif hasattr(self._cell, "zero_state"):
                cell_state = self._cell.zero_state(batch_size, dtype)
            else:
                cell_state = self._cell.get_initial_state(batch_size=batch_size, dtype=dtype)
            cell_state = self._checked(batch_size, cell_state, "calling zero_state of AttentionWrapper")
            first = [m.initial_alignments(batch_size, dtype) for m in self._attention_mechanisms]
            return AttentionWrapperState(
                cell_state=cell_state,
                time=zeros([], dtypes.int32),
                attention=_zero_state_tensors(self._attention_layer_size, batch_size, dtype),
                alignments=self._item_or_tuple(first),
                attention_state=self._item_or_tuple(
                    [m.initial_state(batch_size, dtype) for m in self._attention_mechanisms]
                ),
                alignment_history=self._item_or_tuple([
                    TensorArray(dtype, size=0, dynamic_size=True, element_shape=alignment.shape)
                    if self._alignment_history else ()
                    for alignment in first
                ]),
            )  # fmt: skip

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the next state.

        Raises:
          TypeError: if the state is no `AttentionWrapperState`.
          ValueError: if the memory is known to be of another batch.
        """
        if not isinstance(state, AttentionWrapperState):
            raise TypeError(
                f"Expected state to be instance of AttentionWrapperState. Received type {type(state)} instead."
            )
        output, cell_state = self._cell(self._cell_input_fn(inputs, state.attention), state.cell_state)
        for mechanism in self._attention_mechanisms:
            own = nest.flatten(mechanism.values)[0].shape[:1]
            if output.shape.rank is not None and not output.shape[:1].is_compatible_with(own):
                self._checked(output.shape.as_list()[0], (), "applying AttentionWrapper")
        before = state.attention_state if self._is_multi else [state.attention_state]
        histories = state.alignment_history if self._is_multi else [state.alignment_history]
        attentions, alignments, states, written = [], [], [], []
        for i, mechanism in enumerate(self._attention_mechanisms):
            layer = None if self._attention_layers is None else self._attention_layers[i]
            attention, alignment, next_state = self._attention_fn(mechanism, output, before[i], layer)
            attentions.append(attention)
            alignments.append(alignment)
            states.append(next_state)
            written.append(histories[i].write(state.time, alignment) if self._alignment_history else ())
        attention = attentions[0] if len(attentions) == 1 else concat(attentions, 1)
        next_state = AttentionWrapperState(
            time=state.time + 1,
            cell_state=cell_state,
            attention=attention,
            attention_state=self._item_or_tuple(states),
            alignments=self._item_or_tuple(alignments),
            alignment_history=self._item_or_tuple(written),
        )
        return (attention if self._output_attention else output), next_state


__all__ = [
    "AttentionMechanism", "AttentionWrapper", "AttentionWrapperState", "BahdanauAttention",
    "BahdanauMonotonicAttention", "LuongAttention", "LuongMonotonicAttention", "hardmax", "monotonic_attention",
    "safe_cumprod",
]  # fmt: skip
