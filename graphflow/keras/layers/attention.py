"""Attention: each query takes a mean of values, weighted by how well it fits their keys."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras.base_layer import Layer
from graphflow.opdef import emit
from graphflow.ops import elementwise, layout, nn
from graphflow.ops.linalg import matmul
from graphflow.ops.reduction import reduce_sum
from graphflow.shapes import TensorShape

# What is taken from the score of a value that a query must not see.
_FAR = 1e9


class _Attention(Layer):
    def __init__(self, causal: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.causal = causal
        self.supports_masking = True

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        raise NotImplementedError

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Returns what each query takes of the values.

        Args:
          inputs: query [batch, Tq, dim], value [batch, Tv, dim] and, if it is another one, key [batch, Tv, dim].
          mask: which queries and which values are input, [batch, Tq] and [batch, Tv] or None.

        Returns:
          [batch, Tq, dim].

        Raises:
          ValueError: unless there are two or three inputs.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) not in (2, 3):
            raise ValueError(
                f"{type(self).__name__} layer must be called on a list of inputs, namely [query, value] or"
                f" [query, value, key], not {inputs!r}"
            )
        query, value, key = inputs[0], inputs[1], inputs[-1]
        query_mask, value_mask = (None, None) if mask is None else (mask[0], mask[1])
        scores = self._scores(query, key)
        if value_mask is not None:
            scores -= _FAR * (1.0 - layout.expand_dims(elementwise.cast(value_mask, scores.dtype), 1))
        if self.causal:
            sizes = emit.Shape(scores)
            rows = layout.expand_dims(emit.Range(0, sizes[1], 1), 1)
            later = elementwise.greater(layout.expand_dims(emit.Range(0, sizes[2], 1), 0), rows)
            scores -= _FAR * elementwise.cast(later, scores.dtype)
        taken = matmul(nn.softmax(scores), value)
        if query_mask is not None:
            taken *= layout.expand_dims(elementwise.cast(query_mask, taken.dtype), -1)
        return taken

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask of the queries."""
        return None if mask is None else mask[0]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "causal": self.causal}


class Attention(_Attention):
    """Attention by products of queries and keys.

    Args:
      use_scale: whether a trained number scales the scores.
      **kwargs: `causal`: whether a query sees only values up to its own place; and see `Layer`.
    """

    def __init__(self, use_scale: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_scale = use_scale
        self.scale: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the scale."""
        if self.use_scale:
            self.scale = self.add_weight("scale", (), initializer="ones", dtype=self.dtype)
        super().build(input_shape)

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        scores = matmul(query, key, transpose_b=True)
        return scores if self.scale is None else scores * self.scale

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "use_scale": self.use_scale}


class AdditiveAttention(_Attention):
    """Attention by sums of queries and keys: `sum(scale * tanh(query + key))`.

    Args:
      use_scale: whether `scale` is trained, else it is one.
      **kwargs: as of `Attention`.
    """

    def __init__(self, use_scale: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_scale = use_scale
        self.scale: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the scale, [dim]."""
        if self.use_scale:
            width = TensorShape(input_shape[1]).as_list()[-1]
            self.scale = self.add_weight("scale", (width,), initializer="glorot_uniform", dtype=self.dtype)
        super().build(input_shape)

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        joined = elementwise.tanh(layout.expand_dims(query, 2) + layout.expand_dims(key, 1))
        return reduce_sum(joined if self.scale is None else joined * self.scale, -1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "use_scale": self.use_scale}


__all__ = ["AdditiveAttention", "Attention"]
