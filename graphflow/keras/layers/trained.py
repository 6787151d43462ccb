"""Activations with weights of their own, and normalization of each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.keras import constraints, initializers, regularizers
from graphflow.keras.base_layer import Layer
from graphflow.keras.layers.core import config_of
from graphflow.ops import nn
from graphflow.ops.elementwise import cast, relu, rsqrt
from graphflow.ops.layout import reshape
from graphflow.shapes import TensorShape


class PReLU(Layer):
    """`x` where it is positive, else `alpha * x` with a trained `alpha` for each place.

    Args:
      alpha_initializer: of alpha.
      alpha_regularizer: a penalty on alpha.
      alpha_constraint: applied to alpha after each step.
      shared_axes: axes along which there is one alpha; the first one behind the batch is 1.
      **kwargs: see `Layer`.
    """

    def __init__(
        self, alpha_initializer: Any = "zeros", alpha_regularizer: Any = None, alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.supports_masking = True
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else list(shared_axes or ())

    def build(self, input_shape: Any) -> None:
        """Makes alpha."""
        sizes = TensorShape(input_shape).as_list()[1:]
        for axis in self.shared_axes:
            sizes[axis - 1] = 1
        self.alpha = self.add_weight(
            "alpha", sizes, initializer=self.alpha_initializer, regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )  # fmt: skip
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the activation."""
        return relu(inputs) - self.alpha * relu(-inputs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        told = {
            name: config_of(getattr(self, name))
            for name in ("alpha_initializer", "alpha_regularizer", "alpha_constraint")
        }
        return {**super().get_config(), **told, "shared_axes": self.shared_axes or None}


class ThresholdedReLU(Layer):
    """`x` where it is above a threshold, else zero."""

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.theta = float(theta)

    def call(self, inputs: Any) -> Any:
        """Returns the activation."""
        return inputs * cast(inputs > self.theta, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "theta": self.theta}


class LayerNormalization(Layer):
    """Brings each example to mean zero and variance one along some axes; then scales and shifts.

    Args:
      axis: the axis, or several.
      epsilon: added to the variance.
      center: whether beta is added.
      scale: whether it is multiplied by gamma.
      beta_initializer: of beta.
      gamma_initializer: of gamma.
      beta_regularizer: a penalty on beta.
      gamma_regularizer: a penalty on gamma.
      beta_constraint: applied to beta after each step.
      gamma_constraint: applied to gamma after each step.
      **kwargs: see `Layer`.
    """

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", beta_regularizer: Any = None,
        gamma_regularizer: Any = None, beta_constraint: Any = None, gamma_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon, self.center, self.scale = epsilon, center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma: Any = None
        self.beta: Any = None

    def _axes(self, rank: int) -> list[int]:
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        return sorted(axis % rank for axis in axes)

    def build(self, input_shape: Any) -> None:
        """Makes gamma and beta."""
        sizes = TensorShape(input_shape).as_list()
        own = [sizes[axis] for axis in self._axes(len(sizes))]
        if self.scale:
            self.gamma = self.add_weight(
                "gamma", own, initializer=self.gamma_initializer, regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                "beta", own, initializer=self.beta_initializer, regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )  # fmt: skip
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the normalized inputs."""
        sizes = inputs.shape.as_list()
        axes = self._axes(len(sizes))
        wide = [size if axis in axes else 1 for axis, size in enumerate(sizes)]
        mean, variance = nn.moments(inputs, axes, keep_dims=True)
        result = (inputs - mean) * rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            result = result * reshape(self.gamma, wide)
        return result if self.beta is None else result + reshape(self.beta, wide)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"axis": self.axis, "epsilon": self.epsilon, "center": self.center, "scale": self.scale}
        told = {
            f"{part}_{what}": config_of(getattr(self, f"{part}_{what}"))
            for part in ("beta", "gamma")
            for what in ("initializer", "regularizer", "constraint")
        }
        return {**super().get_config(), **own, **told}


__all__ = ["LayerNormalization", "PReLU", "ThresholdedReLU"]
