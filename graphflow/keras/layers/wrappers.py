"""Layers around a layer: at each step of a sequence, or along it in both directions."""

from __future__ import annotations

import copy
from typing import Any

from graphflow import nest
from graphflow.keras.base_layer import Layer, takes
from graphflow.ops.elementwise import cast
from graphflow.ops.layout import concat, reshape, reverse
from graphflow.ops.source import shape


class Wrapper(Layer):
    """A layer around a layer, whose weights it has.

    Args:
      layer: the inner layer.
      **kwargs: see `Layer`.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"{type(self).__name__} takes a Layer, not {layer!r}")
        super().__init__(**kwargs)
        self.layer = layer

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, the inner layer as class and configuration."""
        told = {"class_name": type(self.layer).__name__, "config": self.layer.get_config()}
        return {**super().get_config(), "layer": told}


class TimeDistributed(Wrapper):
    """A layer at each step of a sequence [batch, steps, …], with the same weights."""

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns the layer's outputs, [batch, steps, …]."""
        del mask
        sizes = inputs.shape.as_list()
        if len(sizes) < 3:
            raise ValueError(
                f"TimeDistributed takes inputs of rank 3 at least, [batch, steps, …], not {sizes}"
            )
        given = shape(inputs)
        rows = reshape(inputs, concat([[-1], given[2:]], 0))
        rows.set_shape([None, *sizes[2:]])
        told = {"training": training} if training is not None and takes(self.layer.call, "training") else {}
        made = self.layer(rows, **told)
        result = reshape(made, concat([given[:2], shape(made)[1:]], 0))
        result.set_shape([*sizes[:2], *made.shape.as_list()[1:]])
        return result


class Bidirectional(Wrapper):
    """A recurrent layer along a sequence in both directions.

    Args:
      layer: the layer; a copy of it goes backwards.
      merge_mode: "concat", "sum", "mul", "ave", or None: both outputs.
      weights: initial values, those of the forward layer first.
      backward_layer: another layer for the other direction.
      **kwargs: see `Layer`.

    Raises:
      ValueError: if the mode is unknown, or both layers go in the same direction.
    """

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", weights: Any = None, backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            raise ValueError(
                f'Invalid merge mode: {merge_mode}. Merge mode should be one of "sum", "mul", "ave", "concat", None'
            )
        if layer._batch_input_shape is not None and "batch_input_shape" not in kwargs:
            kwargs["batch_input_shape"] = layer._batch_input_shape
        super().__init__(layer, weights=weights, **kwargs)
        self.merge_mode = merge_mode
        told = copy.copy(layer.get_config())
        told.pop("batch_input_shape", None)
        self.forward_layer = type(layer).from_config({**told, "name": f"forward_{layer.name}"})
        if backward_layer is None:
            back = {**told, "name": f"backward_{layer.name}", "go_backwards": not layer.go_backwards}
            backward_layer = type(layer).from_config(back)
        elif backward_layer.go_backwards == layer.go_backwards:
            raise ValueError("forward layer and backward layer go in the same direction")
        self.backward_layer = backward_layer
        # Masked steps of the two directions would be added to one another.
        self.forward_layer.zero_output_for_mask = bool(layer.return_sequences)
        self.backward_layer.zero_output_for_mask = bool(layer.return_sequences)
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True

    def _parts(self) -> Any:
        # The layer that was given only told what the two are to be like.
        yield from (self.forward_layer, self.backward_layer)

    def __call__(self, inputs: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        """Returns the merged outputs; `initial_state` has the states of the forward layer first."""
        if initial_state is not None:
            inputs = [inputs, *nest.flatten(initial_state)]
        return super().__call__(inputs, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask of the outputs."""
        first = nest.flatten(mask)[0] if mask is not None else None
        own = first if self.return_sequences else None
        merged = [own, own] if self.merge_mode is None else own
        if not self.return_state:
            return merged
        count = len(self.forward_layer.states) + len(self.backward_layer.states)
        return [*nest.flatten([merged]), *([None] * count)]

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns what both directions give, merged."""
        states = None
        if isinstance(inputs, list | tuple):
            inputs, *states = inputs
            mask = nest.flatten(mask)[0] if mask is not None else None
        half = len(states) // 2 if states else 0
        made = [
            layer(inputs, initial_state=own, training=training, mask=mask)
            for layer, own in (
                (self.forward_layer, states[:half] if states else None),
                (self.backward_layer, states[half:] if states else None),
            )
        ]
        ends: list[Any] = []
        if self.return_state:
            ends = [*made[0][1:], *made[1][1:]]
            made = [made[0][0], made[1][0]]
        there, back = made
        if self.return_sequences:
            back = reverse(back, [1])
        if self.merge_mode is None:
            return [there, back, *ends]
        if self.merge_mode == "concat":
            merged = concat([there, back], -1)
        elif self.merge_mode == "mul":
            merged = there * back
        else:
            merged = there + back
        if self.merge_mode == "ave":
            merged = merged / cast(2.0, there.dtype)
        return [merged, *ends] if self.return_state else merged

    def reset_states(self) -> None:
        """Sets the states of stateful layers to zero."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "merge_mode": self.merge_mode}


__all__ = ["Bidirectional", "TimeDistributed", "Wrapper"]
