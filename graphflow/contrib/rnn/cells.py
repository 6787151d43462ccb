"""Cells that `nn.rnn_cell` lacks, and loops over stacks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphflow import nest, nn
from graphflow.contrib.layers.layers import layer_norm
from graphflow.graph import Tensor
from graphflow.initializers import constant_initializer, random_uniform_initializer, zeros_initializer
from graphflow.nn.rnn_cell import BasicLSTMCell, GRUCell, LSTMStateTuple, RNNCell, assert_like_rnncell
from graphflow.opdef import emit
from graphflow.ops.elementwise import sigmoid, tanh
from graphflow.ops.layout import concat, expand_dims, reshape, split, transpose
from graphflow.ops.linalg import matmul
from graphflow.ops.nn import bias_add, embedding_lookup, softmax
from graphflow.ops.reduction import reduce_sum
from graphflow.shapes import TensorShape
from graphflow.variable_scope import get_variable, get_variable_scope, variable_scope


def linear(
    args: Any, output_size: int, bias: bool, bias_initializer: Any = None, kernel_initializer: Any = None
) -> Any:
    """Returns `concat(args, 1) @ kernel + bias`, with variables of these names in the scope in force.

    Args:
      args: a tensor [batch, size], or a list of such.
      output_size: how many columns.
      bias: whether a bias is added.
      bias_initializer, kernel_initializer: default zeros, and that of the scope.
    """
    parts = [args] if not nest.is_nested(args) else list(args)
    size = sum(int(part.shape.as_list()[1]) for part in parts)
    x = parts[0] if len(parts) == 1 else concat(parts, 1)
    kernel = get_variable("kernel", [size, output_size], dtype=x.dtype, initializer=kernel_initializer)
    product = matmul(x, kernel)
    if not bias:
        return product
    first = zeros_initializer(dtype=x.dtype) if bias_initializer is None else bias_initializer
    return bias_add(product, get_variable("bias", [output_size], dtype=x.dtype, initializer=first))


class LayerNormBasicLSTMCell(RNNCell):
    """An LSTM whose gates and state are normalised, with dropout of what is new.

    Args:
      num_units: the size of the output.
      forget_bias: added to the forget gate.
      input_size: accepted, unused.
      activation: default tanh.
      layer_norm: whether gates and state are normalised.
      norm_gain, norm_shift: the first values of gamma and beta.
      dropout_keep_prob: the probability that an element of what is new stays.
      dropout_prob_seed: the op's seed.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self, num_units: int, forget_bias: float = 1.0, input_size: Any = None, activation: Any = tanh,
        layer_norm: bool = True, norm_gain: float = 1.0, norm_shift: float = 0.0, dropout_keep_prob: Any = 1.0,
        dropout_prob_seed: int | None = None, reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse)
        self._num_units = num_units
        self._activation = activation
        self._forget_bias = forget_bias
        self._keep_prob = dropout_keep_prob
        self._seed = dropout_prob_seed
        self._layer_norm = layer_norm
        self._norm_gain = norm_gain
        self._norm_shift = norm_shift

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        return LSTMStateTuple(self._num_units, self._num_units)

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def _norm(self, x: Any, scope: str) -> Any:
        shape = x.shape[-1:]
        with variable_scope(scope):
            get_variable(
                "gamma", shape=shape, initializer=constant_initializer(self._norm_gain), dtype=x.dtype
            )
            get_variable(
                "beta", shape=shape, initializer=constant_initializer(self._norm_shift), dtype=x.dtype
            )
        return layer_norm(x, reuse=True, scope=scope)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        c, h = state
        gates = linear([inputs, h], 4 * self._num_units, bias=not self._layer_norm)
        i, j, f, o = split(gates, num_or_size_splits=4, axis=1)
        if self._layer_norm:
            i, j = self._norm(i, "input"), self._norm(j, "transform")
            f, o = self._norm(f, "forget"), self._norm(o, "output")
        g = self._activation(j)
        if not isinstance(self._keep_prob, float) or self._keep_prob < 1:
            g = nn.dropout(g, self._keep_prob, seed=self._seed)
        new_c = c * sigmoid(f + self._forget_bias) + sigmoid(i) * g
        if self._layer_norm:
            new_c = self._norm(new_c, "state")
        new_h = self._activation(new_c) * sigmoid(o)
        return new_h, LSTMStateTuple(new_c, new_h)


class LSTMBlockCell(BasicLSTMCell):
    """The LSTM under the name of the fused one: its weights are those of `BasicLSTMCell`, its scope `lstm_cell`.

    Args:
      num_units: the size of the output.
      forget_bias: added to the forget gate.
      cell_clip: must be None.
      use_peephole: must be False.
      dtype: the dtype of the weights.
      reuse: whether its weights must exist already.
      name: its variable scope.

    Raises:
      ValueError: for clipping or peepholes: `LSTMCell` has them.
    """

    def __init__(
        self, num_units: int, forget_bias: float = 1.0, cell_clip: float | None = None, use_peephole: bool = False,
        dtype: Any = None, reuse: Any = None, name: str = "lstm_cell",
    ) -> None:  # fmt: skip
        if use_peephole or (cell_clip is not None and cell_clip > 0):
            raise ValueError("LSTMBlockCell: for clipping and peepholes use nn.rnn_cell.LSTMCell")
        super().__init__(num_units, forget_bias, dtype=dtype, reuse=reuse, name=name)


class GRUBlockCellV2(GRUCell):
    """The GRU under the name of the fused one: its weights are those of `GRUCell`.

    Args:
      num_units: the size of the output.
      cell_size: the old name of it.
      reuse: whether its weights must exist already.
      name: its variable scope.
    """

    def __init__(
        self,
        num_units: int | None = None,
        cell_size: int | None = None,
        reuse: Any = None,
        name: str = "gru_cell",
    ) -> None:
        size = cell_size if num_units is None else num_units
        if size is None:
            raise ValueError("num_units or cell_size must be specified.")
        super().__init__(size, reuse=reuse, name=name)


class UGRNNCell(RNNCell):
    """A cell with one gate between the old state and the new.

    Args:
      num_units: the size of the state.
      initializer: of the weights.
      forget_bias: added to the gate.
      activation: default tanh.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self, num_units: int, initializer: Any = None, forget_bias: float = 1.0, activation: Any = tanh,
        reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse)
        self._num_units = num_units
        self._initializer = initializer
        self._forget_bias = forget_bias
        self._activation = activation

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._num_units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the new state twice."""
        with variable_scope(get_variable_scope(), initializer=self._initializer):
            g, c = split(linear([inputs, state], 2 * self._num_units, True), num_or_size_splits=2, axis=1)
        gate = sigmoid(g + self._forget_bias)
        new = gate * state + (1.0 - gate) * self._activation(c)
        return new, new


class NASCell(RNNCell):
    """The cell that a search over architectures found.

    Args:
      num_units: the size of c.
      num_proj: the size of the output; default that of c.
      use_bias: whether there are biases.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self,
        num_units: int,
        num_proj: int | None = None,
        use_bias: bool = False,
        reuse: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(_reuse=reuse, **kwargs)
        self._num_units = num_units
        self._num_proj = num_proj
        self._use_bias = use_bias

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        return LSTMStateTuple(self._num_units, self._num_proj or self._num_units)

    @property
    def output_size(self) -> Any:
        """The size of h."""
        return self._num_proj or self._num_units

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        c, m = state
        units, size = self._num_units, int(inputs.shape.as_list()[1])
        width = self._num_proj or units
        of_m = get_variable("recurrent_kernel", [width, 8 * units])
        of_x = get_variable("kernel", [size, 8 * units])
        from_m, from_x = matmul(m, of_m), matmul(inputs, of_x)
        if self._use_bias:
            from_m = bias_add(from_m, get_variable("bias", [8 * units], initializer=zeros_initializer()))
        ms = split(from_m, num_or_size_splits=8, axis=1)
        xs = split(from_x, num_or_size_splits=8, axis=1)
        relu = nn.relu
        one = [
            sigmoid(xs[0] + ms[0]), relu(xs[1] + ms[1]), sigmoid(xs[2] + ms[2]), relu(xs[3] * ms[3]),
            tanh(xs[4] + ms[4]), sigmoid(xs[5] + ms[5]), tanh(xs[6] + ms[6]), sigmoid(xs[7] + ms[7]),
        ]  # fmt: skip
        two = [tanh(one[0] * one[1]), tanh(one[2] + one[3]), tanh(one[4] * one[5]), sigmoid(one[6] + one[7])]
        first = tanh(two[0] + c)
        new_c = first * two[1]
        new_m = tanh(new_c * tanh(two[2] + two[3]))
        if self._num_proj is not None:
            new_m = matmul(new_m, get_variable("projection_weights", [units, self._num_proj]))
        return new_m, LSTMStateTuple(new_c, new_m)


class _Wrapping(RNNCell):
    """A cell around a cell, with a scope of its own."""

    def __init__(self, cell: Any, reuse: Any = None) -> None:
        super().__init__(_reuse=reuse)
        assert_like_rnncell("cell", cell)
        self._cell = cell

    @property
    def state_size(self) -> Any:
        """That of the cell inside."""
        return self._cell.state_size

    @property
    def output_size(self) -> Any:
        """That of the cell inside."""
        return self._cell.output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """That of the cell inside."""
        return self._cell.zero_state(batch_size, dtype)


class OutputProjectionWrapper(_Wrapping):
    """A cell whose outputs go through a product.

    Args:
      cell: the cell.
      output_size: the size of the result.
      activation: a function of it.
      reuse: whether its weights must exist already.
    """

    def __init__(self, cell: Any, output_size: int, activation: Any = None, reuse: Any = None) -> None:
        super().__init__(cell, reuse)
        if output_size < 1:
            raise ValueError(f"Parameter output_size must be > 0: {output_size}.")
        self._output_size = output_size
        self._activation = activation

    @property
    def output_size(self) -> Any:
        """The size of the result."""
        return self._output_size

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the product and the cell's state."""
        output, new_state = self._cell(inputs, state)
        made = linear(output, self._output_size, True)
        return (self._activation(made) if self._activation else made), new_state


class InputProjectionWrapper(_Wrapping):
    """A cell whose inputs go through a product first.

    Args:
      cell: the cell.
      num_proj: the size of what the cell gets.
      activation: a function of it.
      input_size: accepted, unused.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self, cell: Any, num_proj: int, activation: Any = None, input_size: Any = None, reuse: Any = None
    ) -> None:
        super().__init__(cell, reuse)
        self._num_proj = num_proj
        self._activation = activation

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns what the cell gives."""
        made = linear(inputs, self._num_proj, True)
        return self._cell(self._activation(made) if self._activation else made, state)


class EmbeddingWrapper(_Wrapping):
    """A cell that gets rows of a table in place of ids.

    Args:
      cell: the cell.
      embedding_classes: how many rows.
      embedding_size: their size.
      initializer: of the table; default uniform in [-sqrt(3), sqrt(3)).
      reuse: whether the table must exist already.
    """

    def __init__(
        self,
        cell: Any,
        embedding_classes: int,
        embedding_size: int,
        initializer: Any = None,
        reuse: Any = None,
    ) -> None:
        super().__init__(cell, reuse)
        if embedding_classes <= 0 or embedding_size <= 0:
            raise ValueError(
                f"Both embedding_classes and embedding_size must be > 0: {embedding_classes}, {embedding_size}."
            )
        self._classes = embedding_classes
        self._size = embedding_size
        self._initializer = initializer

    def _converted(self, inputs: Any) -> Any:
        return inputs

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns what the cell gives for the rows."""
        reach = math.sqrt(3)
        first = (
            self._initializer or get_variable_scope().initializer or random_uniform_initializer(-reach, reach)
        )
        kept = nest.flatten(state)[0].dtype
        table = get_variable("embedding", [self._classes, self._size], initializer=first, dtype=kept)
        return self._cell(embedding_lookup(table, reshape(inputs, [-1])), state)


class AttentionCellWrapper(_Wrapping):
    """A cell that also sees a mean of its last states, weighed by attention.

    Args:
      cell: the cell; its state must be a tuple where this one's is.
      attn_length: over how many steps.
      attn_size: the size of what attention gives; default that of the output.
      attn_vec_size: the size in which states are compared; default `attn_size`.
      input_size: the size of what the cell gets; default that of the inputs.
      state_is_tuple: whether the state is a tuple.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self, cell: Any, attn_length: int, attn_size: int | None = None, attn_vec_size: int | None = None,
        input_size: int | None = None, state_is_tuple: bool = True, reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(cell, reuse)
        if nest.is_nested(cell.state_size) and not state_is_tuple:
            raise ValueError(
                "Cell returns tuple of states, but the flag state_is_tuple is not set. State size is: "
                f"{cell.state_size}"
            )
        if attn_length <= 0:
            raise ValueError(f"attn_length should be greater than zero, got {attn_length}")
        self._attn_length = attn_length
        self._attn_size = attn_size or cell.output_size
        self._attn_vec_size = attn_vec_size or self._attn_size
        self._input_size = input_size
        self._state_is_tuple = state_is_tuple

    @property
    def state_size(self) -> Any:
        """The sizes of the cell's state, of what attention gave last, and of the states that are kept."""
        size = (self._cell.state_size, self._attn_size, self._attn_size * self._attn_length)
        return size if self._state_is_tuple else sum(size)

    @property
    def output_size(self) -> Any:
        """What attention is put out as."""
        return self._attn_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Zeros."""
        return RNNCell.zero_state(self, batch_size, dtype)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        if self._state_is_tuple:
            state, attns, attn_states = state
        else:
            sizes = [self._cell.state_size, self._attn_size, self._attn_size * self._attn_length]
            state, attns, attn_states = split(state, num_or_size_splits=sizes, axis=1)
        attn_states = reshape(attn_states, [-1, self._attn_length, self._attn_size])
        size = self._input_size or int(inputs.shape.as_list()[1])
        output, new_state = self._cell(linear([inputs, attns], size, True), state)
        flat = concat(nest.flatten(new_state), 1) if self._state_is_tuple else new_state
        new_attns, new_states = self._attention(flat, attn_states)
        with variable_scope("attn_output_projection"):
            made = linear([output, new_attns], self._attn_size, True)
        new_states = concat([new_states, expand_dims(made, 1)], 1)
        new_states = reshape(new_states, [-1, self._attn_length * self._attn_size])
        parts = (new_state, new_attns, new_states)
        return made, parts if self._state_is_tuple else concat(list(parts), 1)

    def _attention(self, query: Any, states: Any) -> tuple[Any, Any]:
        with variable_scope("attention"):
            k = get_variable("attn_w", [1, 1, self._attn_size, self._attn_vec_size])
            v = get_variable("attn_v", [self._attn_vec_size])
            hidden = reshape(states, [-1, self._attn_length, 1, self._attn_size])
            features = nn.conv2d(hidden, k, [1, 1, 1, 1], "SAME")
            y = reshape(linear(query, self._attn_vec_size, True), [-1, 1, 1, self._attn_vec_size])
            weights = softmax(reduce_sum(v * tanh(features + y), [2, 3]))
            seen = reduce_sum(reshape(weights, [-1, self._attn_length, 1, 1]) * hidden, [1, 2])
            return reshape(seen, [-1, self._attn_size]), states[:, 1:, :]


class HighwayWrapper(_Wrapping):
    """A cell whose inputs partly go past it.

    Args:
      cell: the cell, whose outputs are of the size of its inputs.
      couple_carry_transform_gates: whether what is carried and what is new make up one.
      carry_bias_init: the first bias of what is carried.
    """

    def __init__(
        self, cell: Any, couple_carry_transform_gates: bool = True, carry_bias_init: float = 1.0
    ) -> None:
        super().__init__(cell)
        self._couple = couple_carry_transform_gates
        self._bias = carry_bias_init

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the mixture and the cell's state."""
        output, new_state = self._cell(inputs, state)
        size = int(inputs.shape.as_list()[-1])

        def gate(name: str, bias: float) -> Any:
            weights = get_variable(f"{name}_w", [size, size])
            biases = get_variable(f"{name}_b", [size], initializer=constant_initializer(bias))
            return sigmoid(matmul(inputs, weights) + biases)

        carry = gate("carry", self._bias)
        transform = 1 - carry if self._couple else gate("transform", -self._bias)
        return inputs * carry + output * transform, new_state


class ConvLSTMCell(RNNCell):
    """An LSTM whose products are convolutions.

    Args:
      conv_ndims: over how many axes.
      input_shape: the shape of an input, without the batch.
      output_channels: how many channels the output has.
      kernel_shape: the sizes of the filters.
      use_bias: whether there is a bias.
      skip_connection: whether the input is put beside the output.
      forget_bias: added to the forget gate.
      initializers: a dict with "kernel" and "bias".
      name: its variable scope.
    """

    def __init__(
        self, conv_ndims: int, input_shape: Sequence[int], output_channels: int, kernel_shape: Sequence[int],
        use_bias: bool = True, skip_connection: bool = False, forget_bias: float = 1.0, initializers: Any = None,
        name: str = "conv_lstm_cell",
    ) -> None:  # fmt: skip
        super().__init__(name=name)
        if conv_ndims != len(input_shape) - 1:
            raise ValueError(f"Invalid input_shape {input_shape} for conv_ndims={conv_ndims}.")
        self._axes = conv_ndims
        self._input_shape = list(input_shape)
        self._channels = output_channels
        self._kernel_shape = list(kernel_shape)
        self._use_bias = use_bias
        self._skip = skip_connection
        self._forget_bias = forget_bias
        self._initializers = initializers or {}

    @property
    def output_size(self) -> Any:
        """The shape of the output, without the batch."""
        channels = self._channels + (self._input_shape[-1] if self._skip else 0)
        return TensorShape([*self._input_shape[:-1], channels])

    @property
    def state_size(self) -> Any:
        """The shapes of c and h."""
        shape = TensorShape([*self._input_shape[:-1], self._channels])
        return LSTMStateTuple(shape, shape)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        cell, hidden = state
        x = concat([inputs, hidden], self._axes + 1)
        shape = [*self._kernel_shape, x.shape.as_list()[-1], 4 * self._channels]
        kernel = get_variable("kernel", shape, dtype=x.dtype, initializer=self._initializers.get("kernel"))
        gates = nn.convolution(x, kernel, "SAME")
        if self._use_bias:
            first = self._initializers.get("bias") or zeros_initializer()
            gates = gates + get_variable("biases", [4 * self._channels], dtype=x.dtype, initializer=first)
        i, j, f, o = split(gates, num_or_size_splits=4, axis=self._axes + 1)
        new_cell = sigmoid(f + self._forget_bias) * cell + sigmoid(i) * tanh(j)
        output = tanh(new_cell) * sigmoid(o)
        if self._skip:
            return concat([output, inputs], self._axes + 1), LSTMStateTuple(new_cell, output)
        return output, LSTMStateTuple(new_cell, output)


def _check_stacks(cells_fw: Any, cells_bw: Any) -> None:
    for cells, which in ((cells_fw, "forward"), (cells_bw, "backward")):
        if not isinstance(cells, list) or not cells:
            raise ValueError(f"Must specify at least one {which} cell for the network, in a list.")
    if len(cells_fw) != len(cells_bw):
        raise ValueError("Forward and Backward cells must have the same depth.")


def stack_bidirectional_rnn(
    cells_fw: Any, cells_bw: Any, inputs: Sequence[Any], initial_states_fw: Any = None, initial_states_bw: Any = None,
    dtype: Any = None, sequence_length: Any = None, scope: Any = None,
) -> tuple[list[Any], tuple[Any, ...], tuple[Any, ...]]:  # fmt: skip
    """Runs bidirectional layers one upon the other; see `static_bidirectional_rnn`.

    Returns:
      The outputs, and the last states of each layer, forwards and backwards.

    Raises:
      ValueError: if the cells are no lists of one length.
    """
    _check_stacks(cells_fw, cells_bw)
    states_fw, states_bw = [], []
    layer: Any = inputs
    with variable_scope(scope or "stack_bidirectional_rnn"):
        for i, (forwards, backwards) in enumerate(zip(cells_fw, cells_bw, strict=True)):
            first_fw = initial_states_fw[i] if initial_states_fw else None
            first_bw = initial_states_bw[i] if initial_states_bw else None
            with variable_scope(f"cell_{i}") as cell_scope:
                layer, state_fw, state_bw = nn.static_bidirectional_rnn(
                    forwards, backwards, layer, first_fw, first_bw, dtype, sequence_length, cell_scope
                )
            states_fw.append(state_fw)
            states_bw.append(state_bw)
    return layer, tuple(states_fw), tuple(states_bw)


def stack_bidirectional_dynamic_rnn(
    cells_fw: Any, cells_bw: Any, inputs: Any, initial_states_fw: Any = None, initial_states_bw: Any = None,
    dtype: Any = None, sequence_length: Any = None, parallel_iterations: int | None = None, time_major: bool = False,
    scope: Any = None, swap_memory: bool = False,
) -> tuple[Tensor, tuple[Any, ...], tuple[Any, ...]]:  # fmt: skip
    """Likewise with `bidirectional_dynamic_rnn`."""
    _check_stacks(cells_fw, cells_bw)
    states_fw, states_bw = [], []
    layer = inputs
    with variable_scope(scope or "stack_bidirectional_rnn"):
        for i, (forwards, backwards) in enumerate(zip(cells_fw, cells_bw, strict=True)):
            with variable_scope(f"cell_{i}"):
                outputs, (state_fw, state_bw) = nn.bidirectional_dynamic_rnn(
                    forwards, backwards, layer, sequence_length,
                    initial_states_fw[i] if initial_states_fw else None,
                    initial_states_bw[i] if initial_states_bw else None, dtype, parallel_iterations, swap_memory,
                    time_major,
                )  # fmt: skip
                layer = concat(list(outputs), 2)
            states_fw.append(state_fw)
            states_bw.append(state_bw)
    return layer, tuple(states_fw), tuple(states_bw)


def transpose_batch_time(x: Any) -> Any:
    """Returns [time, batch, ...] of [batch, time, ...], or the other way round."""
    if x.shape.rank is not None and x.shape.rank < 2:
        raise ValueError(f"Expected input tensor {x.name} to have rank at least 2, but saw shape: {x.shape}")
    rank = x.shape.rank
    if rank is not None:
        return transpose(x, [1, 0, *range(2, rank)])
    return transpose(x, concat([[1, 0], emit.Range(2, emit.Rank(x), 1)], 0))


__all__ = [
    "AttentionCellWrapper", "ConvLSTMCell", "EmbeddingWrapper", "GRUBlockCellV2", "HighwayWrapper",
    "InputProjectionWrapper", "LSTMBlockCell", "LayerNormBasicLSTMCell", "NASCell", "OutputProjectionWrapper",
    "UGRNNCell", "linear", "stack_bidirectional_dynamic_rnn", "stack_bidirectional_rnn", "transpose_batch_time",
]  # fmt: skip
