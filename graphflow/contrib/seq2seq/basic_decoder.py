"""The decoder that goes one way: a cell, a helper, and perhaps a layer on top."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from graphflow import nest
from graphflow.contrib.seq2seq.decoder import Decoder
from graphflow.contrib.seq2seq.helper import Helper
from graphflow.graph import name_scope
from graphflow.keras.base_layer import Layer
from graphflow.nn.rnn_cell import assert_like_rnncell
from graphflow.shapes import TensorShape


class BasicDecoderOutput(namedtuple("BasicDecoderOutput", ("rnn_output", "sample_id"))):
    """What a step gives: the output of cell and layer, [batch, size], and the symbols, [batch]."""

    __slots__ = ()


def output_shapes(cell: Any, output_layer: Any) -> Any:
    """Returns the shapes, without the batch, of what a layer makes of a cell's outputs."""
    size = cell.output_size
    if output_layer is None:
        return size
    whole = nest.map_structure(
        lambda s: TensorShape([None]).concatenate(TensorShape([s] if isinstance(s, int) else s)), size
    )
    made = output_layer.compute_output_shape(whole)
    return nest.map_structure(lambda s: TensorShape(s)[1:], made)


def check_output_layer(output_layer: Any) -> None:
    """Raises TypeError for what is no layer."""
    if output_layer is not None and not isinstance(output_layer, Layer):
        raise TypeError(f"output_layer must be a Layer, received: {type(output_layer)}")


class BasicDecoder(Decoder):
    """Runs a cell over what a helper gives it.

    Args:
      cell: an `RNNCell`.
      helper: a `Helper`.
      initial_state: the cell's first state.
      output_layer: a layer that is put on the cell's outputs before symbols are chosen, such as `layers.Dense`.

    Raises:
      TypeError: for arguments of other kinds.
    """

    def __init__(self, cell: Any, helper: Any, initial_state: Any, output_layer: Any = None) -> None:
        assert_like_rnncell("cell", cell)
        if not isinstance(helper, Helper):
            raise TypeError(f"helper must be a Helper, received: {type(helper)}")
        check_output_layer(output_layer)
        self._cell = cell
        self._helper = helper
        self._initial_state = initial_state
        self._output_layer = output_layer

    @property
    def batch_size(self) -> Any:
        """That of the helper."""
        return self._helper.batch_size

    @property
    def output_size(self) -> Any:
        """The shapes of a step's output, without the batch."""
        return BasicDecoderOutput(
            output_shapes(self._cell, self._output_layer), self._helper.sample_ids_shape
        )

    @property
    def output_dtype(self) -> Any:
        """The dtypes of a step's output: that of the first state, and of what is chosen."""
        kind = nest.flatten(self._initial_state)[0].dtype
        shapes = output_shapes(self._cell, self._output_layer)
        return BasicDecoderOutput(nest.map_structure(lambda _: kind, shapes), self._helper.sample_ids_dtype)

    def initialize(self, name: str | None = None) -> Any:
        """Returns `(finished, first inputs, first state)`."""
        finished, inputs = self._helper.initialize()
        return finished, inputs, self._initial_state

    def step(self, time: Any, inputs: Any, state: Any, name: str | None = None) -> Any:
        """Returns `(outputs, next state, next inputs, finished)`."""
        with name_scope(name, "BasicDecoderStep", [time]):
            outputs, new_state = self._cell(inputs, state)
            if self._output_layer is not None:
                outputs = self._output_layer(outputs)
            chosen = self._helper.sample(time=time, outputs=outputs, state=new_state)
            finished, following, new_state = self._helper.next_inputs(
                time=time, outputs=outputs, state=new_state, sample_ids=chosen
            )
        return BasicDecoderOutput(outputs, chosen), new_state, following, finished


__all__ = ["BasicDecoder", "BasicDecoderOutput"]
