"""Layers that disturb their inputs in training, or penalize them."""

from __future__ import annotations

import math
from typing import Any

from graphflow.graph import Tensor
from graphflow.keras import regularizers
from graphflow.keras.base_layer import Layer
from graphflow.keras.session import learning_phase
from graphflow.keras.smart_cond import smart_cond
from graphflow.ops.elementwise import cast
from graphflow.ops.random import random_normal, random_uniform
from graphflow.ops.source import identity, shape


class _InTraining(Layer):
    """A layer that passes its inputs on, but in training."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def _disturbed(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns the inputs, disturbed in training."""
        phase = learning_phase() if training is None else training
        return smart_cond(phase, lambda: self._disturbed(inputs), lambda: identity(inputs))


class GaussianNoise(_InTraining):
    """Adds normal noise of a standard deviation in training."""

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = stddev

    def _disturbed(self, inputs: Tensor) -> Tensor:
        return inputs + random_normal(shape(inputs), 0.0, self.stddev, dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(_InTraining):
    """Multiplies by normal noise around one, as strong as dropout of a rate, in training."""

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def _disturbed(self, inputs: Tensor) -> Tensor:
        if not 0 < self.rate < 1:
            return identity(inputs)
        deviation = math.sqrt(self.rate / (1.0 - self.rate))
        return inputs * random_normal(shape(inputs), 1.0, deviation, dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}


class AlphaDropout(_InTraining):
    """Dropout that keeps mean and variance of what `selu` gives."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def _disturbed(self, inputs: Tensor) -> Tensor:
        if not 0 < self.rate < 1:
            return identity(inputs)
        lowest = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946
        sizes = shape(inputs) if self.noise_shape is None else self.noise_shape
        kept = cast(random_uniform(sizes, seed=self.seed, dtype=inputs.dtype) >= self.rate, inputs.dtype)
        scale = ((1 - self.rate) * (1 + self.rate * lowest**2)) ** -0.5
        return scale * (inputs * kept + lowest * (1 - kept)) - scale * lowest * self.rate

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


class ActivityRegularization(Layer):
    """Passes its inputs on, and adds a penalty on them to the losses."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.supports_masking = True
        self.l1, self.l2 = l1, l2

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}


__all__ = ["ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise"]
