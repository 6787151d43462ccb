"""Cells of research papers with gates of their own: coupled, grouped, over frequencies, and open now and then."""

from __future__ import annotations

import math
from typing import Any

from graphflow.contrib.layers.layers import layer_norm
from graphflow.contrib.rnn.cells import linear
from graphflow.initializers import constant_initializer, random_uniform_initializer, zeros_initializer
from graphflow.nn.rnn_cell import LSTMStateTuple, RNNCell
from graphflow.ops.elementwise import cast, clip_by_value, exp, mod, sigmoid, tanh, where
from graphflow.ops.layout import concat, reshape, slice, split
from graphflow.ops.linalg import matmul
from graphflow.ops.nn import bias_add
from graphflow.ops.random import random_uniform
from graphflow.ops.source import shape, stop_gradient, zeros
from graphflow.variable_scope import get_variable, get_variable_scope, variable_scope


class CoupledInputForgetGateLSTMCell(RNNCell):
    """An LSTM that takes in as much as it forgets.

    Args:
      num_units: the size of c.
      use_peepholes: whether the gates see c.
      initializer: of the weights.
      num_proj: the size that the output is projected to.
      proj_clip: what the projection is clipped to, both ways.
      num_unit_shards, num_proj_shards: must be 1: variables are never split.
      forget_bias: added to the forget gate.
      state_is_tuple: False keeps c and h in one tensor.
      activation: default tanh.
      reuse: whether its weights must exist already.
      layer_norm: whether gates and c are normalised.
      norm_gain, norm_shift: the first values of gamma and beta.
    """

    def __init__(
        self, num_units: int, use_peepholes: bool = False, initializer: Any = None, num_proj: int | None = None,
        proj_clip: float | None = None, num_unit_shards: int = 1, num_proj_shards: int = 1, forget_bias: float = 1.0,
        state_is_tuple: bool = True, activation: Any = tanh, reuse: Any = None, layer_norm: bool = False,
        norm_gain: float = 1.0, norm_shift: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse)
        _one_shard(num_unit_shards, num_proj_shards)
        self._num_units = num_units
        self._use_peepholes = use_peepholes
        self._initializer = initializer
        self._num_proj = num_proj
        self._proj_clip = proj_clip
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = activation
        self._layer_norm = layer_norm
        self._norm_gain = norm_gain
        self._norm_shift = norm_shift

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        sizes = LSTMStateTuple(self._num_units, self.output_size)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        """The size of h."""
        return self._num_proj or self._num_units

    def _norm(self, x: Any, scope: str) -> Any:
        with variable_scope(scope):
            for name, first in (("gamma", self._norm_gain), ("beta", self._norm_shift)):
                get_variable(name, shape=x.shape[-1:], dtype=x.dtype, initializer=constant_initializer(first))
        return layer_norm(x, reuse=True, scope=scope)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        units = self._num_units
        c, h = state if self._state_is_tuple else split(state, [units, self.output_size], axis=1)
        with variable_scope(get_variable_scope(), initializer=self._initializer):
            x = concat([inputs, h], 1)
            weights = get_variable("W_0", [int(x.shape[1]), 3 * units], dtype=x.dtype)
            biases = get_variable("B", [3 * units], dtype=x.dtype, initializer=zeros_initializer())
            gates = matmul(x, weights)
            j, f, o = split(gates if self._layer_norm else bias_add(gates, biases), 3, axis=1)
            if self._layer_norm:
                j, f, o = self._norm(j, "transform"), self._norm(f, "forget"), self._norm(o, "output")
            if self._use_peepholes:
                f = f + get_variable("W_F_diag", [units], dtype=x.dtype) * c
            keep = sigmoid(f + self._forget_bias)
            new_c = keep * c + (1 - keep) * self._activation(j)
            if self._layer_norm:
                new_c = self._norm(new_c, "state")
            if self._use_peepholes:
                o = o + get_variable("W_O_diag", [units], dtype=x.dtype) * new_c
            new_h = sigmoid(o) * self._activation(new_c)
            if self._num_proj is not None:
                new_h = matmul(new_h, get_variable("W_P_0", [units, self._num_proj], dtype=x.dtype))
                if self._proj_clip is not None:
                    new_h = clip_by_value(new_h, -self._proj_clip, self._proj_clip)
        return new_h, LSTMStateTuple(new_c, new_h) if self._state_is_tuple else concat([new_c, new_h], 1)


def _one_shard(*counts: int) -> None:
    if any(count != 1 for count in counts):
        raise ValueError("variables are not split here: the number of shards must be 1")


class TimeFreqLSTMCell(RNNCell):
    """An LSTM that goes over windows of its input, each of which also sees the output of the window before.

    The state of an input with n windows is [batch, n * 2 * num_units], the output [batch, n * num_units].

    Args:
      num_units: the size of c.
      use_peepholes: whether the gates see c.
      cell_clip: what c is clipped to, both ways.
      initializer: of the weights.
      num_unit_shards: must be 1.
      forget_bias: added to the forget gate.
      feature_size: the size of a window.
      frequency_skip: by how much the next window begins later.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self, num_units: int, use_peepholes: bool = False, cell_clip: float | None = None, initializer: Any = None,
        num_unit_shards: int = 1, forget_bias: float = 1.0, feature_size: int | None = None, frequency_skip: int = 1,
        reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse)
        _one_shard(num_unit_shards)
        self._num_units = num_units
        self._use_peepholes = use_peepholes
        self._cell_clip = cell_clip
        self._initializer = initializer
        self._forget_bias = forget_bias
        self._feature_size = feature_size
        self._frequency_skip = frequency_skip

    @property
    def state_size(self) -> Any:
        """The size of the state of one window."""
        return 2 * self._num_units

    @property
    def output_size(self) -> Any:
        """The size of the output of one window."""
        return self._num_units

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        units, whole = self._num_units, inputs.shape.as_list()[-1]
        if whole is None:
            raise ValueError("Cannot infer input_size from static shape inference.")
        width = self._feature_size or whole
        windows = int((whole - width) / self._frequency_skip) + 1
        outputs, states, below = [], [], zeros([shape(inputs)[0], units], inputs.dtype)
        with variable_scope(get_variable_scope(), initializer=self._initializer):
            weights = get_variable("W_0", [width + 2 * units, 4 * units], dtype=inputs.dtype)
            biases = get_variable("B", [4 * units], dtype=inputs.dtype, initializer=zeros_initializer())
            diagonals = [
                get_variable(f"W_{gate}_diag", [units], dtype=inputs.dtype) for gate in "FIO"
            ] if self._use_peepholes else [0.0, 0.0, 0.0]  # fmt: skip
        w_f, w_i, w_o = diagonals
        for number in range(windows):
            c = slice(state, [0, 2 * number * units], [-1, units])
            h = slice(state, [0, (2 * number + 1) * units], [-1, units])
            x = slice(inputs, [0, number * self._frequency_skip], [-1, width])
            gates = bias_add(matmul(concat([x, h, below], 1), weights), biases)
            i, j, f, o = split(gates, 4, axis=1)
            c = sigmoid(f + self._forget_bias + w_f * c) * c + sigmoid(i + w_i * c) * tanh(j)
            if self._cell_clip is not None:
                c = clip_by_value(c, -self._cell_clip, self._cell_clip)
            below = sigmoid(o + w_o * c) * tanh(c)
            outputs.append(below)
            states += [c, below]
        return concat(outputs, 1), concat(states, 1)


class GLSTMCell(RNNCell):
    """An LSTM in groups: each part of the input and the output has products of its own.

    Args:
      num_units: the size of c.
      initializer: of the weights.
      num_proj: the size that the output is projected to.
      number_of_groups: how many groups; the sizes must be multiples of it.
      forget_bias: added to the forget gate.
      activation: default tanh.
      reuse: whether its weights must exist already.

    Raises:
      ValueError: if sizes cannot be divided.
    """

    def __init__(
        self, num_units: int, initializer: Any = None, num_proj: int | None = None, number_of_groups: int = 1,
        forget_bias: float = 1.0, activation: Any = tanh, reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse)
        for what, size in (("num_units", num_units), ("num_proj", num_proj or num_units)):
            if size % number_of_groups:
                raise ValueError(f"{what} must be divisible by number_of_groups: {size}, {number_of_groups}")
        self._num_units = num_units
        self._initializer = initializer
        self._num_proj = num_proj
        self._groups = number_of_groups
        self._forget_bias = forget_bias
        self._activation = activation

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        return LSTMStateTuple(self._num_units, self.output_size)

    @property
    def output_size(self) -> Any:
        """The size of h."""
        return self._num_proj or self._num_units

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        c, h = state
        size = inputs.shape.as_list()[1]
        if size is None or size % self._groups:
            raise ValueError(
                f"the size of the input must be known, and divisible by {self._groups}: {inputs.shape}"
            )
        parts = []
        with variable_scope(get_variable_scope(), initializer=self._initializer):
            pairs = zip(split(inputs, self._groups, axis=1), split(h, self._groups, axis=1), strict=True)
            for number, (x, own) in enumerate(pairs):
                with variable_scope(f"group{number}"):
                    gates = linear([x, own], 4 * self._num_units // self._groups, bias=False)
                parts.append(split(gates, 4, axis=1))
            i, j, f, o = (
                bias_add(
                    concat(list(of_gate), 1),
                    get_variable(
                        f"bias_{gate}", [self._num_units], dtype=c.dtype, initializer=zeros_initializer()
                    ),
                )
                for gate, of_gate in zip("ijfo", zip(*parts, strict=True), strict=True)
            )
            new_c = sigmoid(f + self._forget_bias) * c + sigmoid(i) * self._activation(j)
            new_h = sigmoid(o) * self._activation(new_c)
            if self._num_proj is not None:
                with variable_scope("projection"):
                    new_h = linear(new_h, self._num_proj, bias=False)
        return new_h, LSTMStateTuple(new_c, new_h)


def _exponential_initializer(low: float, high: float) -> Any:
    def first(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        return exp(random_uniform(shape, math.log(low), math.log(high), dtype=dtype))

    return first


class PhasedLSTMCell(RNNCell):
    """An LSTM whose units are open for a part of a period of their own; inputs are `(time, x)`, time [batch, 1].

    Args:
      num_units: the size of the output.
      use_peepholes: whether the gates see c.
      leak: how far a closed unit is open.
      ratio_on: the share of a period that a unit is open, at first.
      trainable_ratio_on: whether that is learnt.
      period_init_min, period_init_max: between which periods lie at first.
      reuse: whether its weights must exist already.
    """

    def __init__(
        self, num_units: int, use_peepholes: bool = False, leak: float = 0.001, ratio_on: float = 0.1,
        trainable_ratio_on: bool = True, period_init_min: float = 1.0, period_init_max: float = 1000.0,
        reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse)
        self._num_units = num_units
        self._use_peepholes = use_peepholes
        self._leak = leak
        self._ratio_on = ratio_on
        self._trainable_ratio_on = trainable_ratio_on
        self._period = period_init_min, period_init_max

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        return LSTMStateTuple(self._num_units, self._num_units)

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def _opening(self, time: Any) -> Any:
        """How far each unit is open at a time, [batch, units]."""
        units, (low, high) = [self._num_units], self._period
        period = get_variable("period", units, initializer=_exponential_initializer(low, high))
        phase = get_variable("phase", units, initializer=random_uniform_initializer(0.0, low))
        on = get_variable(
            "ratio_on",
            units,
            initializer=constant_initializer(self._ratio_on),
            trainable=self._trainable_ratio_on,
        )
        shifted = reshape(time, [-1, 1]) - cast(phase, time.dtype)
        length = cast(period, time.dtype)
        # The remainder, whose slope is that of the time itself.
        rest = stop_gradient(mod(shifted, length) - shifted) + shifted
        at = cast(rest / length, on.dtype)
        up = 2 * at / on
        k = where(at < on + 0 * at, 2 - up, self._leak * at)
        return where(at < 0.5 * on + 0 * at, up, k)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output and the new state."""
        time, x = inputs
        c, h = state
        units, peep = self._num_units, self._use_peepholes
        with variable_scope("mask_gates"):
            gates = sigmoid(linear([x, h, c] if peep else [x, h], 2 * units, True))
        take, keep = split(gates, 2, axis=1)
        with variable_scope("new_input"):
            fresh = tanh(linear([x, h], units, True))
        new_c = c * keep + take * fresh
        with variable_scope("output_gate"):
            out = sigmoid(linear([x, h, new_c] if peep else [x, h], units, True))
        new_h = tanh(new_c) * out
        k = self._opening(time)
        new_c, new_h = k * new_c + (1 - k) * c, k * new_h + (1 - k) * h
        return new_h, LSTMStateTuple(new_c, new_h)


__all__ = ["CoupledInputForgetGateLSTMCell", "GLSTMCell", "PhasedLSTMCell", "TimeFreqLSTMCell"]
