"""Recurrent layers: cells, and `RNN`, which takes one along the steps of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import nest
from graphflow.graph import Tensor, name_scope
from graphflow.initializers import ones_initializer
from graphflow.keras import activations, backend, constraints, initializers, regularizers
from graphflow.keras.base_layer import Layer
from graphflow.keras.layers.core import config_of
from graphflow.keras.session import get_session
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.layout import concat, split
from graphflow.ops.linalg import matmul
from graphflow.ops.source import fill, shape
from graphflow.shapes import TensorShape
from graphflow.variables import Variable

_PARTS = ("kernel", "recurrent", "bias")


class _Cell(Layer):
    """What the cells share: their arguments, their weights, their dropout.

    The kernel is [in, gates * units], the recurrent kernel [units, gates * units]; the gates stand side by side.
    """

    _gates = 1

    def __init__(
        self, units: int, activation: Any, recurrent_activation: Any, use_bias: bool, kernel_initializer: Any,
        recurrent_initializer: Any, bias_initializer: Any, kernel_regularizer: Any, recurrent_regularizer: Any,
        bias_regularizer: Any, kernel_constraint: Any, recurrent_constraint: Any, bias_constraint: Any,
        dropout: float, recurrent_dropout: float, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.units = int(units)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = min(1.0, max(0.0, float(dropout)))
        self.recurrent_dropout = min(1.0, max(0.0, float(recurrent_dropout)))
        self.state_size: Any = self.units
        self.output_size = self.units
        self.bias: Any = None

    def _bias_shape(self) -> list[int]:
        return [self._gates * self.units]

    def _first_bias(self) -> Any:
        return self.bias_initializer

    def build(self, input_shape: Any) -> None:
        """Makes the weights, for inputs [batch, in]."""
        width = TensorShape(input_shape).as_list()[-1]
        wide = self._gates * self.units
        self.kernel = self.add_weight(
            "kernel", (width, wide), initializer=self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )  # fmt: skip
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (self.units, wide), initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer, constraint=self.recurrent_constraint,
        )  # fmt: skip
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", self._bias_shape(), initializer=self._first_bias(), regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )  # fmt: skip
        self.built = True

    def masks(self, x: Tensor, state: Tensor, training: Any) -> tuple[list[Any], list[Any]]:
        """What each gate's inputs and states are multiplied by in all steps: ones where nothing is dropped."""

        def drawn(like: Tensor, rate: float) -> list[Any]:
            if not rate:
                return [None] * self._gates
            ones = emit.OnesLike(like)
            return [
                backend.in_train_phase(lambda: backend.dropout(ones, rate), ones, training)
                for _ in range(self._gates)
            ]

        return drawn(x, self.dropout), drawn(state, self.recurrent_dropout)

    def _product(self, x: Tensor, kernel: Any, masks: Sequence[Any]) -> list[Tensor]:
        """`x @ kernel` by gate; one product where the gates see the same."""
        if masks[0] is None:
            return split(matmul(x, kernel), self._gates, axis=-1)
        kernels = split(kernel, self._gates, axis=-1)
        return [matmul(x * mask, part) for mask, part in zip(masks, kernels, strict=True)]

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Tensor]:
        """Returns zeros, [batch, size], one for each state."""
        if inputs is not None:
            batch_size, dtype = shape(inputs)[0], inputs.dtype
        sizes = nest.flatten(self.state_size)
        zero = np.zeros(
            [], (dtype or np.float32) if not hasattr(dtype, "as_numpy_dtype") else dtype.as_numpy_dtype
        )
        return [fill([batch_size, size], zero) for size in sizes]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        told = {"units": self.units, "activation": config_of(self.activation), "use_bias": self.use_bias}
        if self._gates > 1:
            told["recurrent_activation"] = config_of(self.recurrent_activation)
        for part in _PARTS:
            for what in ("initializer", "regularizer", "constraint"):
                told[f"{part}_{what}"] = config_of(getattr(self, f"{part}_{what}"))
        return {
            **super().get_config(),
            **told,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }


class SimpleRNNCell(_Cell):
    """`activation(x @ kernel + h @ recurrent_kernel + bias)`."""

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, None, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout, **kwargs,
        )  # fmt: skip

    def step(self, x: Tensor, states: Sequence[Tensor], masks: Any) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and the new states of one step."""
        (h,) = states
        (own,), (recurrent,) = (
            self._product(x, self.kernel, masks[0]),
            self._product(h, self.recurrent_kernel, masks[1]),
        )
        total = own + recurrent if self.bias is None else own + self.bias + recurrent
        output = self.activation(total)
        return output, [output]

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """Returns the output and the new states."""
        return self.step(inputs, states, self.masks(inputs, states[0], training))


class GRUCell(_Cell):
    """A gated recurrent unit: gates z (how much of the state stays), r (how much of it is seen), and the candidate.

    With `reset_after` the gate r is applied to the product of the state, not to the state.
    """

    _gates = 3

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "hard_sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
        bias_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
        bias_constraint: Any = None, dropout: float = 0.0, recurrent_dropout: float = 0.0, implementation: int = 1,
        reset_after: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, dropout, recurrent_dropout, **kwargs,
        )  # fmt: skip
        self.implementation = implementation
        self.reset_after = reset_after

    def _bias_shape(self) -> list[int]:
        # The state's product has a bias of its own where r is applied to it.
        return [2, 3 * self.units] if self.reset_after else [3 * self.units]

    def step(self, x: Tensor, states: Sequence[Tensor], masks: Any) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and the new states of one step."""
        (h,) = states
        xz, xr, xh = self._product(x, self.kernel, masks[0])
        own: list[Any] = [0.0, 0.0, 0.0]
        inner: list[Any] = [0.0, 0.0, 0.0]
        if self.bias is not None:
            bias = convert_to_tensor(self.bias)
            if self.reset_after:
                own, inner = (split(bias[i], 3, axis=-1) for i in range(2))
            else:
                own = split(bias, 3, axis=-1)
        if self.reset_after:
            hz, hr, hh = self._product(h, self.recurrent_kernel, masks[1])
            hz, hr, hh = hz + inner[0], hr + inner[1], hh + inner[2]
        else:
            kernels = split(self.recurrent_kernel, 3, axis=-1)
            kept = [h if mask is None else h * mask for mask in masks[1]]
            hz, hr = matmul(kept[0], kernels[0]), matmul(kept[1], kernels[1])
        z = self.recurrent_activation(xz + own[0] + hz)
        r = self.recurrent_activation(xr + own[1] + hr)
        seen = r * hh if self.reset_after else matmul(r * kept[2], kernels[2])
        output = z * h + (1.0 - z) * self.activation(xh + own[2] + seen)
        return output, [output]

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """Returns the output and the new states."""
        return self.step(inputs, states, self.masks(inputs, states[0], training))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"implementation": self.implementation, "reset_after": self.reset_after}
        return {**super().get_config(), **own}


class LSTMCell(_Cell):
    """A long short-term memory: gates i, f, c, o; states h and c."""

    _gates = 4

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "hard_sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, implementation: int = 1, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, dropout, recurrent_dropout, **kwargs,
        )  # fmt: skip
        self.unit_forget_bias = unit_forget_bias
        self.implementation = implementation
        self.state_size = [self.units, self.units]

    def _first_bias(self) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer

        def forgetful(shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
            del shape, partition_info
            first = self.bias_initializer([self.units], dtype=dtype)
            ones = ones_initializer()([self.units], dtype=dtype)
            rest = self.bias_initializer([2 * self.units], dtype=dtype)
            return concat([first, ones, rest], 0)

        return forgetful

    def step(self, x: Tensor, states: Sequence[Tensor], masks: Any) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and the new states of one step."""
        h, c = states
        own, recurrent = (
            self._product(x, self.kernel, masks[0]),
            self._product(h, self.recurrent_kernel, masks[1]),
        )
        sums = [a + b for a, b in zip(own, recurrent, strict=True)]
        if self.bias is not None:
            parts = split(convert_to_tensor(self.bias), 4, axis=-1)
            sums = [total + part for total, part in zip(sums, parts, strict=True)]
        i, f, o = (self.recurrent_activation(sums[gate]) for gate in (0, 1, 3))
        c = f * c + i * self.activation(sums[2])
        h = o * self.activation(c)
        return h, [h, c]

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """Returns the output and the new states."""
        return self.step(inputs, states, self.masks(inputs, states[0], training))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"unit_forget_bias": self.unit_forget_bias, "implementation": self.implementation}
        return {**super().get_config(), **own}


class StackedRNNCells(Layer):
    """Cells on top of one another, as one cell."""

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for cell in cells:
            if not hasattr(cell, "call") or not hasattr(cell, "state_size"):
                raise ValueError(f"All cells must have a `call` method and a `state_size`, not {cell!r}")
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The sizes of the states of the cells in turn."""
        return [size for cell in self.cells for size in nest.flatten(cell.state_size)]

    @property
    def output_size(self) -> Any:
        """The size of the last cell's output."""
        last = self.cells[-1]
        return getattr(last, "output_size", nest.flatten(last.state_size)[0])

    def build(self, input_shape: Any) -> None:
        """Makes the weights of the cells."""
        sizes = TensorShape(input_shape).as_list()
        for cell in self.cells:
            if not cell.built:
                with name_scope(cell.name):
                    cell.build(TensorShape(sizes))
                cell.built = True
            sizes = [*sizes[:-1], getattr(cell, "output_size", nest.flatten(cell.state_size)[0])]
        self.built = True

    def call(self, inputs: Any, states: Any, training: Any = None, **kwargs: Any) -> Any:
        """Returns the output of the last cell and the new states of all."""
        found: list[Any] = []
        for cell in self.cells:
            count = len(nest.flatten(cell.state_size))
            own, states = list(states[:count]), states[count:]
            inputs, new = _called(cell, inputs, own, training)
            found += nest.flatten(new)
        return inputs, found

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        told = [{"class_name": type(cell).__name__, "config": cell.get_config()} for cell in self.cells]
        return {**super().get_config(), "cells": told}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes cells from what `get_config` returned."""
        cells = [_cell_of(told) for told in config["cells"]]
        return cls(cells, **{k: v for k, v in config.items() if k != "cells"})


def _cell_of(told: dict[str, Any]) -> Any:
    known: dict[str, Any] = {
        "SimpleRNNCell": SimpleRNNCell,
        "GRUCell": GRUCell,
        "LSTMCell": LSTMCell,
        "StackedRNNCells": StackedRNNCells,
    }
    if told["class_name"] not in known:
        raise ValueError(f"Unknown cell: {told['class_name']}; known are {', '.join(known)}")
    return known[told["class_name"]].from_config(told["config"])


def _called(cell: Any, inputs: Any, states: list[Any], training: Any) -> Any:
    try:
        return cell.call(inputs, states, training=training)
    except TypeError as error:
        if "training" not in str(error):
            raise
        return cell.call(inputs, states)


class RNN(Layer):
    """A cell taken along a sequence [batch, steps, …].

    Args:
      cell: a layer with `call(inputs, states)`, `state_size`, and perhaps `output_size`; or a list of such.
      return_sequences: whether the outputs of all steps are returned, not the last only.
      return_state: whether the last states are returned as well.
      go_backwards: whether the sequence is taken from its end.
      stateful: whether states go on from batch to batch; batches then need a fixed size.
      unroll: whether the steps are built one by one, not as a loop.
      time_major: whether inputs and outputs are [steps, batch, …].
      **kwargs: see `Layer`.
    """

    def __init__(
        self, cell: Any, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        stateful: bool = False, unroll: bool = False, time_major: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        if not hasattr(cell, "call") or not hasattr(cell, "state_size"):
            raise ValueError(
                f"`cell` must have a `call` method and a `state_size`. The RNN was passed: {cell!r}"
            )
        if kwargs.get("input_shape") is None and kwargs.get("input_dim") is not None:
            kwargs["input_shape"] = (kwargs.pop("input_length", None), kwargs.pop("input_dim"))
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.time_major = time_major
        self.supports_masking = True
        # What stands at masked steps of the output: zeros, or the last output before them.
        self.zero_output_for_mask = False
        self._kept: list[Variable] | None = None

    def __call__(self, inputs: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        """Returns the outputs; `initial_state` is a tensor per state.

        States that layers made are inputs of the layer, so that models find what made them.
        """
        if initial_state is not None:
            states = nest.flatten(initial_state)
            inputs = [inputs, *(convert_to_tensor(state) for state in states)]
        return super().__call__(inputs, **kwargs)

    @property
    def states(self) -> list[Any]:
        """The states that a stateful layer keeps, else a None for each."""
        return [None] * len(nest.flatten(self.cell.state_size)) if self._kept is None else list(self._kept)

    def build(self, input_shape: Any) -> None:
        """Makes the weights of the cell."""
        first = input_shape[0] if isinstance(input_shape, list) else input_shape
        sizes = TensorShape(first).as_list()
        batch = sizes[1] if self.time_major else sizes[0]
        if not getattr(self.cell, "built", False):
            if self._dtype is not None and getattr(self.cell, "_dtype", self) is None:
                self.cell._dtype = self._dtype
            self.cell.build(TensorShape([batch, *sizes[2:]]))
            self.cell.built = True
        if self.stateful:
            if batch is None:
                raise ValueError(
                    f"{self.name} is stateful: it needs to know the size of batches. Give `batch_input_shape` to the "
                    f"first layer, or `batch_shape` to Input"
                )
            kind = self._dtype.as_numpy_dtype if self._dtype is not None else np.float32
            self._kept = [
                Variable(np.zeros([batch, size], kind), trainable=False, name=f"state_{i}")
                for i, size in enumerate(nest.flatten(self.cell.state_size))
            ]
        self.built = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask of the outputs, where all of them are returned."""
        first = nest.flatten(mask)[0] if mask is not None else None
        own = first if self.return_sequences else None
        return [own, *([None] * len(nest.flatten(self.cell.state_size)))] if self.return_state else own

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """Returns the outputs, and the states if they are asked for."""
        given = None
        if isinstance(inputs, list | tuple):
            inputs, *given = inputs
            mask = nest.flatten(mask)[0] if mask is not None else None
        first = inputs[0] if self.time_major else inputs[:, 0]
        if given:
            states = list(given)
        elif self._kept is not None:
            states = [state.value() for state in self._kept]
        elif hasattr(self.cell, "get_initial_state"):
            states = nest.flatten(self.cell.get_initial_state(first))
        else:
            zero = np.zeros([], first.dtype.as_numpy_dtype)
            states = [fill([shape(first)[0], size], zero) for size in nest.flatten(self.cell.state_size)]
        masks = self.cell.masks(first, states[0], training) if isinstance(self.cell, _Cell) else None

        def step(x: Any, own: Any) -> Any:
            if masks is not None:
                return self.cell.step(x, own, masks)
            output, new = _called(self.cell, x, list(own), training)
            return output, nest.flatten(new)

        last, outputs, ends = backend.rnn(
            step, inputs, states, self.go_backwards, mask, None, self.unroll, inputs.shape.as_list()[1],
            self.time_major, self.zero_output_for_mask,
        )  # fmt: skip
        if self._kept is not None:
            self.state_updates = [kept.assign(end) for kept, end in zip(self._kept, ends, strict=True)]
        result = outputs if self.return_sequences else last
        return [result, *ends] if self.return_state else result

    def reset_states(self, states: Any = None) -> None:
        """Sets the states of a stateful layer to zero, or to given arrays."""
        if self._kept is None:
            raise AttributeError("Layer must be stateful and built.")
        session = get_session()
        given = [None] * len(self._kept) if states is None else nest.flatten(states)
        for kept, value in zip(self._kept, given, strict=True):
            sizes: Any = kept.shape.as_list()
            zeros = np.zeros(sizes, kept.dtype.as_numpy_dtype)
            kept.load(zeros if value is None else np.asarray(value, zeros.dtype), session)

    def _sequence_config(self) -> dict[str, Any]:
        names = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "time_major")
        return {name: getattr(self, name) for name in names}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        told = {"class_name": type(self.cell).__name__, "config": self.cell.get_config()}
        return {**super().get_config(), **self._sequence_config(), "cell": told}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes a layer from what `get_config` returned."""
        rest = {k: v for k, v in config.items() if k != "cell"}
        return cls(_cell_of(config["cell"]), **rest)


class _OfOneCell(RNN):
    """A recurrent layer that makes its cell itself and takes the cell's arguments for its own."""

    _cell_type: type[_Cell]

    def __init__(self, own: dict[str, Any], kwargs: dict[str, Any]) -> None:
        sequence = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "time_major")
        along = {name: own.pop(name) for name in sequence if name in own}
        own.pop("activity_regularizer", None)
        for name in ("self", "__class__", "kwargs"):
            own.pop(name, None)
        kwargs = dict(kwargs)
        if kwargs.get("activity_regularizer") is None:
            kwargs.pop("activity_regularizer", None)
        cell = self._cell_type(**own, name="cell", dtype=kwargs.get("dtype"))
        super().__init__(cell, **along, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # The cell's arguments are the layer's: layer.units, layer.activation, layer.kernel_initializer, …
        cell = self.__dict__.get("cell")
        if cell is None or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(cell, name)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {k: v for k, v in self.cell.get_config().items() if k not in ("name", "trainable", "dtype")}
        return {**Layer.get_config(self), **self._sequence_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes a layer from what `get_config` returned."""
        return cls(**config)


class SimpleRNN(_OfOneCell):
    """A `SimpleRNNCell` along a sequence [batch, steps, in]; see `RNN` for the further arguments."""

    _cell_type = SimpleRNNCell

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
        dropout: float = 0.0, recurrent_dropout: float = 0.0, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
        time_major: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(dict(locals()), {**kwargs, "activity_regularizer": activity_regularizer})


class GRU(_OfOneCell):
    """A `GRUCell` along a sequence [batch, steps, in]; see `RNN` for the further arguments."""

    _cell_type = GRUCell

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "hard_sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, implementation: int = 1, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
        reset_after: bool = False, time_major: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(dict(locals()), {**kwargs, "activity_regularizer": activity_regularizer})


class LSTM(_OfOneCell):
    """An `LSTMCell` along a sequence [batch, steps, in]; see `RNN` for the further arguments."""

    _cell_type = LSTMCell

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "hard_sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
        dropout: float = 0.0, recurrent_dropout: float = 0.0, implementation: int = 1,
        return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        stateful: bool = False, unroll: bool = False, time_major: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(dict(locals()), {**kwargs, "activity_regularizer": activity_regularizer})


__all__ = [
    "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "SimpleRNN", "SimpleRNNCell", "StackedRNNCells",
]  # fmt: skip
