"""`tf.nn.rnn_cell`: one step of a recurrent network, and wrappers around it."""

from __future__ import annotations

import hashlib
import numbers
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

from graphflow import nest
from graphflow.graph import Tensor, device, name_scope
from graphflow.initializers import Constant, Zeros
from graphflow.keras import activations
from graphflow.layers.base import InputSpec, Layer
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.ops import layout, linalg, nn, random, source
from graphflow.ops.elementwise import clip_by_value, floor, sigmoid, tanh
from graphflow.shapes import TensorShape
from graphflow.variable_scope import get_variable_scope, variable_scope

_KERNEL, _BIAS = "kernel", "bias"


class LSTMStateTuple(namedtuple("LSTMStateTuple", ("c", "h"))):
    """The state of an LSTM: `c`, what it keeps, and `h`, its output."""

    __slots__ = ()

    @property
    def dtype(self) -> Any:
        """The dtype of both.

        Raises:
          TypeError: if they differ.
        """
        c, h = self
        if c.dtype is not h.dtype:
            raise TypeError(f"Inconsistent dtypes for internal state: {c.dtype} vs {h.dtype}")
        return c.dtype


def _zero_state_tensors(state_size: Any, batch_size: Any, dtype: Any) -> Any:
    """Zeros of [batch_size, *size] for each size of a structure."""
    return nest.map_structure(lambda size: _zeros(size, batch_size, dtype), state_size)


def _zeros(size: Any, batch_size: Any, dtype: Any) -> Tensor:
    sizes = TensorShape(size if not isinstance(size, int) else [size]).as_list()
    known = batch_size if isinstance(batch_size, int) else None
    if isinstance(batch_size, Tensor):
        value = constant_value(batch_size)
        known = None if value is None else int(value)
    if known is not None:
        return source.zeros([known, *sizes], dtype)
    zeros = source.zeros(layout.stack([batch_size, *sizes]), dtype)
    zeros.set_shape([None, *sizes])
    return zeros


class RNNCell(Layer):
    """One step: `output, new_state = cell(input, state)`.

    A cell of one's own gives `state_size` and `output_size` and overrides `call(inputs, state)` (or `__call__`).
    Sizes are numbers, TensorShapes, or nested tuples of them; inputs and states are [batch, size].
    """

    def __init__(
        self, trainable: bool = True, name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(trainable=trainable, name=name, dtype=dtype, **kwargs)
        self._opened: Any = None

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """Returns `(output, new_state)`.

        Args:
          inputs: [batch, size].
          state: [batch, size], or nested as `state_size` is.
          scope: a variable scope, or its name; default that of the class, inside the one in force.
        """
        if scope is not None:
            with variable_scope(scope, custom_getter=self._own_getter) as opened:
                return super().__call__(inputs, state, scope=opened)
        if self._opened is None:
            self._opened = variable_scope(get_variable_scope(), custom_getter=self._own_getter)
        with self._opened:
            return super().__call__(inputs, state)

    def _own_getter(self, getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `call` gets by `get_variable` is a weight of the cell."""
        variable = getter(*args, **kwargs)
        trainable = getattr(variable, "trainable", False)
        own = self._trainable_weights if trainable else self._non_trainable_weights
        if not any(variable is other for other in [*self._trainable_weights, *self._non_trainable_weights]):
            own.append(variable)
        return variable

    def _record(self, inputs: Any, outputs: Any, arguments: Any) -> None:
        """Keeps nothing: cells are called once per step, and in bodies of loops."""

    def build(self, input_shape: Any) -> None:
        """Makes nothing: weights are made by the first call."""
        self.built = True

    @property
    def state_size(self) -> Any:
        """The size of the state."""
        raise NotImplementedError("Abstract method")

    @property
    def output_size(self) -> Any:
        """The size of the output."""
        raise NotImplementedError("Abstract method")

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns a state of zeros, nested as `state_size` is.

        Args:
          batch_size: a number or a scalar tensor.
          dtype: the dtype.
        """
        with name_scope(type(self).__name__ + "ZeroState", values=[batch_size]):
            return _zero_state_tensors(self.state_size, batch_size, dtype)

    def get_initial_state(self, inputs: Any = None, batch_size: Any = None, dtype: Any = None) -> Any:
        """Returns a state of zeros; batch size and dtype are those of `inputs` where it is given.

        Raises:
          ValueError: if they are not known, or two are given that differ.
        """
        if inputs is not None:
            inputs = convert_to_tensor(inputs, name="inputs")
            if dtype is not None and inputs.dtype is not dtype:
                raise ValueError(f"dtype {dtype} and inputs.dtype {inputs.dtype} must be the same")
            dtype = inputs.dtype
            static = inputs.shape.as_list()[0] if inputs.shape.rank else None
            batch_size = emit.Shape(inputs)[0] if static is None else static
        if batch_size is None or dtype is None:
            raise ValueError(
                f"batch_size and dtype cannot be None while constructing initial state: {batch_size=}, {dtype=}"
            )
        return self.zero_state(batch_size, dtype)


class LayerRNNCell(RNNCell):
    """A cell whose weights are made by `build`."""

    def __call__(self, inputs: Any, state: Any, scope: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns `(output, new_state)`; see `RNNCell`."""
        if scope is not None:
            kwargs["scope"] = scope
        return Layer.__call__(self, inputs, state, *args, **kwargs)

    def _input_size(self, input_shape: Any) -> int:
        shape = TensorShape(input_shape)
        size = None if shape.rank is None else shape.as_list()[-1]
        if size is None:
            raise ValueError(f"Expected inputs.shape[-1] to be known, saw shape: {shape}")
        return int(size)


def _activation(given: Any) -> Any:
    return activations.get(given) if given is not None else tanh


class BasicRNNCell(LayerRNNCell):
    """`activation(inputs @ W + state @ U + b)`.

    Args:
      num_units: the size of the output.
      activation: default tanh.
      reuse: whether its weights must exist already.
      name: its variable scope.
      dtype: the dtype of the weights; default that of the input.
      **kwargs: see `layers.Layer`.
    """

    def __init__(
        self, num_units: int, activation: Any = None, reuse: Any = None, name: str | None = None, dtype: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **kwargs)
        self.input_spec = InputSpec(ndim=2)
        self._num_units = num_units
        self._activation = _activation(activation)

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._num_units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        depth = self._input_size(input_shape)
        self._kernel = self.add_variable(_KERNEL, shape=[depth + self._num_units, self._num_units])
        self._bias = self.add_variable(
            _BIAS, shape=[self._num_units], initializer=Zeros(self._dtype or "float32")
        )
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, which is the new state too."""
        product = linalg.matmul(layout.concat([inputs, state], 1), self._kernel)
        output = self._activation(nn.bias_add(product, self._bias))
        return output, output

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_units": self._num_units, "activation": self._activation.__name__}


class GRUCell(LayerRNNCell):
    """The gated recurrent unit of Cho et al.

    Args:
      num_units: the size of the output.
      activation: default tanh.
      reuse: whether its weights must exist already.
      kernel_initializer: of both kernels.
      bias_initializer: of both biases; default ones for the gates, zeros for the candidate.
      name: its variable scope.
      dtype: the dtype of the weights; default that of the input.
      **kwargs: see `layers.Layer`.
    """

    def __init__(
        self, num_units: int, activation: Any = None, reuse: Any = None, kernel_initializer: Any = None,
        bias_initializer: Any = None, name: str | None = None, dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **kwargs)
        self.input_spec = InputSpec(ndim=2)
        self._num_units = num_units
        self._activation = _activation(activation)
        self._kernel_initializer = kernel_initializer
        self._bias_initializer = bias_initializer

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._num_units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def build(self, input_shape: Any) -> None:
        """Makes kernels and biases of the gates and the candidate."""
        depth, units, kind = (
            self._input_size(input_shape) + self._num_units,
            self._num_units,
            self._dtype or "float32",
        )
        first = Constant(1.0, dtype=kind) if self._bias_initializer is None else self._bias_initializer
        second = Zeros(kind) if self._bias_initializer is None else self._bias_initializer
        own = self._kernel_initializer
        self._gate_kernel = self.add_variable(f"gates/{_KERNEL}", shape=[depth, 2 * units], initializer=own)
        self._gate_bias = self.add_variable(f"gates/{_BIAS}", shape=[2 * units], initializer=first)
        self._candidate_kernel = self.add_variable(
            f"candidate/{_KERNEL}", shape=[depth, units], initializer=own
        )
        self._candidate_bias = self.add_variable(f"candidate/{_BIAS}", shape=[units], initializer=second)
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, which is the new state too."""
        gates = linalg.matmul(layout.concat([inputs, state], 1), self._gate_kernel)
        r, u = layout.split(sigmoid(nn.bias_add(gates, self._gate_bias)), num_or_size_splits=2, axis=1)
        candidate = linalg.matmul(layout.concat([inputs, r * state], 1), self._candidate_kernel)
        c = self._activation(nn.bias_add(candidate, self._candidate_bias))
        output = u * state + (1 - u) * c
        return output, output

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_units": self._num_units, "activation": self._activation.__name__}


class BasicLSTMCell(LayerRNNCell):
    """The LSTM without peepholes, clipping or projection.

    Args:
      num_units: the size of the output.
      forget_bias: added to the forget gate.
      state_is_tuple: False keeps c and h in one tensor, [batch, 2 * num_units].
      activation: default tanh.
      reuse: whether its weights must exist already.
      name: its variable scope.
      dtype: the dtype of the weights; default that of the input.
      **kwargs: see `layers.Layer`.
    """

    def __init__(
        self, num_units: int, forget_bias: float = 1.0, state_is_tuple: bool = True, activation: Any = None,
        reuse: Any = None, name: str | None = None, dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **kwargs)
        self.input_spec = InputSpec(ndim=2)
        self._num_units = num_units
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = _activation(activation)

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        units = self._num_units
        return LSTMStateTuple(units, units) if self._state_is_tuple else 2 * units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        depth, units = self._input_size(input_shape), self._num_units
        self._kernel = self.add_variable(_KERNEL, shape=[depth + units, 4 * units])
        self._bias = self.add_variable(_BIAS, shape=[4 * units], initializer=Zeros(self._dtype or "float32"))
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, [batch, num_units], and the new state."""
        c, h = state if self._state_is_tuple else layout.split(state, num_or_size_splits=2, axis=1)
        gates = nn.bias_add(linalg.matmul(layout.concat([inputs, h], 1), self._kernel), self._bias)
        i, j, f, o = layout.split(gates, num_or_size_splits=4, axis=1)
        new_c = c * sigmoid(f + self._forget_bias) + sigmoid(i) * self._activation(j)
        new_h = self._activation(new_c) * sigmoid(o)
        new_state = LSTMStateTuple(new_c, new_h) if self._state_is_tuple else layout.concat([new_c, new_h], 1)
        return new_h, new_state

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"num_units": self._num_units, "forget_bias": self._forget_bias, "state_is_tuple": self._state_is_tuple,
               "activation": self._activation.__name__}  # fmt: skip
        return {**super().get_config(), **own}


class LSTMCell(LayerRNNCell):
    """The LSTM with all that it may have.

    Args:
      num_units: the size of c.
      use_peepholes: whether the gates see c.
      cell_clip: what c is clipped to, both ways.
      initializer: of the kernels.
      num_proj: the size that the output is projected to.
      proj_clip: what the projection is clipped to, both ways.
      num_unit_shards: accepted; variables are never split.
      num_proj_shards: likewise.
      forget_bias: added to the forget gate.
      state_is_tuple: False keeps c and h in one tensor.
      activation: default tanh.
      reuse: whether its weights must exist already.
      name: its variable scope.
      dtype: the dtype of the weights; default that of the input.
      **kwargs: see `layers.Layer`.
    """

    def __init__(
        self, num_units: int, use_peepholes: bool = False, cell_clip: float | None = None, initializer: Any = None,
        num_proj: int | None = None, proj_clip: float | None = None, num_unit_shards: int | None = None,
        num_proj_shards: int | None = None, forget_bias: float = 1.0, state_is_tuple: bool = True,
        activation: Any = None, reuse: Any = None, name: str | None = None, dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **kwargs)
        del num_unit_shards, num_proj_shards
        self.input_spec = InputSpec(ndim=2)
        self._num_units = num_units
        self._use_peepholes = use_peepholes
        self._cell_clip = cell_clip
        self._initializer = initializer
        self._num_proj = num_proj
        self._proj_clip = proj_clip
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = _activation(activation)
        self._proj_kernel: Any = None

    @property
    def state_size(self) -> Any:
        """The sizes of c and h."""
        sizes = self._num_units, self._num_proj or self._num_units
        return LSTMStateTuple(*sizes) if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        """The size of the projection, else the number of units."""
        return self._num_proj or self._num_units

    def build(self, input_shape: Any) -> None:
        """Makes the kernels, the bias and the peepholes' diagonals."""
        depth, units, own = self._input_size(input_shape), self._num_units, self._initializer
        self._kernel = self.add_variable(
            _KERNEL, shape=[depth + self.output_size, 4 * units], initializer=own
        )
        self._bias = self.add_variable(_BIAS, shape=[4 * units], initializer=Zeros(self._dtype or "float32"))
        if self._use_peepholes:
            self._w_f = self.add_variable("w_f_diag", shape=[units], initializer=own)
            self._w_i = self.add_variable("w_i_diag", shape=[units], initializer=own)
            self._w_o = self.add_variable("w_o_diag", shape=[units], initializer=own)
        if self._num_proj is not None:
            self._proj_kernel = self.add_variable(
                f"projection/{_KERNEL}", shape=[units, self._num_proj], initializer=own
            )
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, [batch, output_size], and the new state."""
        if self._state_is_tuple:
            c, h = state
        else:
            c = layout.slice(state, [0, 0], [-1, self._num_units])
            h = layout.slice(state, [0, self._num_units], [-1, self.output_size])
        gates = nn.bias_add(linalg.matmul(layout.concat([inputs, h], 1), self._kernel), self._bias)
        i, j, f, o = layout.split(gates, num_or_size_splits=4, axis=1)
        forget = f + self._forget_bias
        if self._use_peepholes:
            forget, i = forget + self._w_f * c, i + self._w_i * c
        new_c = sigmoid(forget) * c + sigmoid(i) * self._activation(j)
        if self._cell_clip is not None:
            new_c = clip_by_value(new_c, -self._cell_clip, self._cell_clip)
        if self._use_peepholes:
            o = o + self._w_o * new_c
        new_h = sigmoid(o) * self._activation(new_c)
        if self._proj_kernel is not None:
            new_h = linalg.matmul(new_h, self._proj_kernel)
            if self._proj_clip is not None:
                new_h = clip_by_value(new_h, -self._proj_clip, self._proj_clip)
        new_state = LSTMStateTuple(new_c, new_h) if self._state_is_tuple else layout.concat([new_c, new_h], 1)
        return new_h, new_state

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, f"_{name}") for name in (
            "num_units", "use_peepholes", "cell_clip", "num_proj", "proj_clip", "forget_bias", "state_is_tuple",
        )}  # fmt: skip
        return {**super().get_config(), **own, "activation": self._activation.__name__}


def assert_like_rnncell(cell_name: str, cell: Any) -> None:
    """Raises TypeError for what cannot be used as a cell."""
    missing = [
        f"'{name}' property is missing" for name in ("output_size", "state_size") if not hasattr(cell, name)
    ]
    if not hasattr(cell, "zero_state") and not hasattr(cell, "get_initial_state"):
        missing.append("either 'zero_state' or 'get_initial_state' method is required")
    if not callable(cell):
        missing.append("is not callable")
    if missing:
        raise TypeError(f"The argument {cell_name!r} ({cell}) is not an RNNCell: {', '.join(missing)}.")


class _Wrapper(RNNCell):
    """A cell around a cell; it opens no variable scope of its own."""

    def __init__(self, cell: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        assert_like_rnncell("cell", cell)
        self._cell = cell

    @property
    def wrapped_cell(self) -> Any:
        """The cell inside."""
        return self._cell

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
        with name_scope(type(self).__name__ + "ZeroState", values=[batch_size]):
            return self._cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """Returns `(output, new_state)`."""
        return self._step(inputs, state, scope)

    def _step(self, inputs: Any, state: Any, scope: Any) -> Any:
        raise NotImplementedError

    def _inner(self, inputs: Any, state: Any, scope: Any) -> Any:
        return self._cell(inputs, state) if scope is None else self._cell(inputs, state, scope=scope)


def _keeps_c(state: Any) -> Any:
    """Whether each part of a state may be dropped: all but the c of an LSTM."""
    return LSTMStateTuple(False, True) if isinstance(state, LSTMStateTuple) else True


class DropoutWrapper(_Wrapper):
    """Dropout of a cell's inputs, outputs and state.

    Args:
      cell: the cell.
      input_keep_prob: the share of the inputs that is kept; a number between 0 and 1, or a scalar tensor.
      output_keep_prob: likewise for the outputs.
      state_keep_prob: likewise for the new state.
      variational_recurrent: whether the same elements are dropped at every step.
      input_size: the size of the inputs, needed for `variational_recurrent`.
      dtype: the dtype of inputs, states and outputs, needed for `variational_recurrent`.
      seed: of the masks.
      dropout_state_filter_visitor: takes a part of the state and says whether it may be dropped, or a structure of
        that; default all but the c of an LSTM.
      **kwargs: see `layers.Layer`.

    Raises:
      TypeError: if `cell` is no cell.
      ValueError: for a probability outside [0, 1], or if what `variational_recurrent` needs is missing.
    """

    def __init__(
        self, cell: Any, input_keep_prob: Any = 1.0, output_keep_prob: Any = 1.0, state_keep_prob: Any = 1.0,
        variational_recurrent: bool = False, input_size: Any = None, dtype: Any = None, seed: int | None = None,
        dropout_state_filter_visitor: Callable[[Any], Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(cell, dtype=dtype, **kwargs)
        if dropout_state_filter_visitor is not None and not callable(dropout_state_filter_visitor):
            raise TypeError("dropout_state_filter_visitor must be callable")
        self._visitor = dropout_state_filter_visitor or _keeps_c
        given = {"input": input_keep_prob, "state": state_keep_prob, "output": output_keep_prob}
        self._keep: dict[str, Any] = {}
        for what, probability in given.items():
            chosen = convert_to_tensor(probability)
            value = constant_value(chosen)
            if value is not None and not 0 <= float(value) <= 1:
                raise ValueError(
                    f"Parameter {what}_keep_prob must be between 0 and 1, but is {float(value):g}"
                )
            self._keep[what] = probability if value is None else float(value)
        self._seed = seed
        self._variational = variational_recurrent
        self._noise: dict[str, list[Tensor]] = {}
        if variational_recurrent:
            if dtype is None:
                raise ValueError("When variational_recurrent=True, dtype must be provided")
            sizes = {"state": cell.state_size, "output": cell.output_size}
            if self._drops("input"):
                if input_size is None:
                    raise ValueError(
                        "When variational_recurrent=True and input_keep_prob < 1.0 or is unknown, input_size must be"
                        " provided"
                    )
                sizes["input"] = input_size
            for what, structure in sizes.items():
                self._noise[what] = [
                    random.random_uniform(
                        [1, *TensorShape([size] if isinstance(size, int) else size).as_list()],
                        seed=self._seed_of(what, i), dtype=dtype,
                    )
                    for i, size in enumerate(nest.flatten(structure))
                ]  # fmt: skip

    def _drops(self, what: str) -> bool:
        keep = self._keep[what]
        return not isinstance(keep, numbers.Real) or float(keep) < 1

    def _seed_of(self, what: str, index: int) -> int | None:
        if self._seed is None:
            return None
        text = f"{self._seed}{what}_{index}".encode()
        return int(hashlib.md5(text, usedforsecurity=False).hexdigest()[:8], 16) & 0x7FFFFFFF

    def _dropped(self, what: str, values: Any, may: Any) -> Any:
        keep = self._keep[what]
        flat, allowed = nest.flatten(values), nest.flatten(may)
        results = []
        for i, (value, drop) in enumerate(zip(flat, allowed, strict=True)):
            if not drop:
                results.append(value)
            elif self._variational:
                scale = convert_to_tensor(keep, value.dtype)
                kept = value / scale * floor(scale + self._noise[what][i])
                kept.set_shape(value.shape)
                results.append(kept)
            else:
                results.append(nn.dropout(value, keep_prob=keep, seed=self._seed_of(what, i)))
        return nest.pack_sequence_as(values, results)

    def _may(self, state: Any) -> Any:
        """For each tensor of a state whether it may be dropped."""
        verdict = self._visitor(state)
        if nest.is_nested(verdict):
            return verdict
        if verdict and nest.is_nested(state):
            parts = [self._may(part) for part in (state.values() if isinstance(state, dict) else state)]
            return [leaf for part in parts for leaf in nest.flatten(part)]
        return [bool(verdict)] * len(nest.flatten(state))

    def _step(self, inputs: Any, state: Any, scope: Any) -> Any:
        if self._drops("input"):
            inputs = self._dropped("input", inputs, [True] * len(nest.flatten(inputs)))
        output, new_state = self._inner(inputs, state, scope)
        if self._drops("state"):
            new_state = self._dropped("state", new_state, self._may(new_state))
        if self._drops("output"):
            output = self._dropped("output", output, [True] * len(nest.flatten(output)))
        return output, new_state


class ResidualWrapper(_Wrapper):
    """Adds the inputs of a cell to its outputs; `residual_fn(inputs, outputs)` joins them otherwise."""

    def __init__(
        self, cell: Any, residual_fn: Callable[[Any, Any], Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(cell, **kwargs)
        self._residual_fn = residual_fn

    def _step(self, inputs: Any, state: Any, scope: Any) -> Any:
        outputs, new_state = self._inner(inputs, state, scope)
        if self._residual_fn is not None:
            result = self._residual_fn(inputs, outputs)
        else:
            nest.assert_same_structure(inputs, outputs)
            for x, y in zip(nest.flatten(inputs), nest.flatten(outputs), strict=True):
                x.shape.assert_is_compatible_with(y.shape)
            result = nest.map_structure(lambda x, y: x + y, inputs, outputs)
        nest.assert_same_structure(outputs, result)
        for y, z in zip(nest.flatten(outputs), nest.flatten(result), strict=True):
            y.shape.assert_is_compatible_with(z.shape)
        return result, new_state


class DeviceWrapper(_Wrapper):
    """A cell whose operations are made for a device."""

    def __init__(self, cell: Any, device: Any, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        self._device = device

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """That of the cell inside, on the device."""
        with device(self._device):
            return super().zero_state(batch_size, dtype)

    def _step(self, inputs: Any, state: Any, scope: Any) -> Any:
        with device(self._device):
            return self._inner(inputs, state, scope)


class MultiRNNCell(RNNCell):
    """Cells one upon another: the output of each is the input of the next.

    Args:
      cells: the cells, the first one first.
      state_is_tuple: False joins the states to one tensor.

    Raises:
      ValueError: if there are none, or a state is nested while `state_is_tuple` is False.
      TypeError: if `cells` is no list or tuple.
    """

    def __init__(self, cells: Sequence[Any], state_is_tuple: bool = True) -> None:
        super().__init__()
        if not cells:
            raise ValueError("Must specify at least one cell for MultiRNNCell.")
        if not isinstance(cells, list | tuple):
            raise TypeError(f"cells must be a list or tuple, but saw: {cells}.")
        for number, cell in enumerate(cells):
            assert_like_rnncell(f"cells[{number}]", cell)
        self._cells = list(cells)
        self._state_is_tuple = state_is_tuple
        if not state_is_tuple and any(nest.is_nested(cell.state_size) for cell in cells):
            raise ValueError(
                f"Some cells return tuples of states, but the flag state_is_tuple is not set. State sizes are:"
                f" {[cell.state_size for cell in cells]}"
            )

    @property
    def state_size(self) -> Any:
        """The sizes of the states, the first cell's first."""
        sizes = tuple(cell.state_size for cell in self._cells)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        """That of the last cell."""
        return self._cells[-1].output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns states of zeros."""
        with name_scope(type(self).__name__ + "ZeroState", values=[batch_size]):
            if self._state_is_tuple:
                return tuple(cell.zero_state(batch_size, dtype) for cell in self._cells)
            return _zeros(self.state_size, batch_size, dtype)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output of the last cell and the new states."""
        current, new_states, start = inputs, [], 0
        if self._state_is_tuple:
            if not nest.is_nested(state) or len(state) != len(self._cells):
                raise ValueError(
                    f"Expected state to be a tuple of length {len(self._cells)}, but received: {state}"
                )
        for i, cell in enumerate(self._cells):
            with variable_scope(f"cell_{i}"):
                if self._state_is_tuple:
                    own = state[i]
                else:
                    own = layout.slice(state, [0, start], [-1, cell.state_size])
                    start += cell.state_size
                current, new_state = cell(current, own)
                new_states.append(new_state)
        return current, tuple(new_states) if self._state_is_tuple else layout.concat(new_states, 1)


__all__ = [
    "BasicLSTMCell", "BasicRNNCell", "DeviceWrapper", "DropoutWrapper", "GRUCell", "LSTMCell", "LSTMStateTuple",
    "MultiRNNCell", "RNNCell", "ResidualWrapper",
]  # fmt: skip
