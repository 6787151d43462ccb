"""Layers that cut, fill up or repeat sequences and volumes; images have theirs beside the convolutions."""

from __future__ import annotations

from typing import Any

from graphflow.keras.backend import repeat_elements
from graphflow.keras.base_layer import InputSpec, Layer
from graphflow.keras.layers.convolutional import data_format_of
from graphflow.keras.layers.core import numbers
from graphflow.ops import layout


def _pairs(sides: Any, name: str) -> list[list[int]]:
    if isinstance(sides, int):
        return [[sides, sides]] * 3
    return [[side, side] if isinstance(side, int) else list(numbers(side, 2, name)) for side in sides]


class Cropping1D(Layer):
    """Sequences [batch, steps, channels] without some steps: one number, or a pair for both ends."""

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = numbers(cropping, 2, "cropping")
        self.input_spec = InputSpec(ndim=3)

    def call(self, inputs: Any) -> Any:
        """Returns the shorter sequences."""
        before, after = self.cropping
        return inputs[:, before : -after if after else None, :]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "cropping": self.cropping}


class _OfVolumes(Layer):
    """What layers for volumes share: where their three axes begin."""

    def __init__(self, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)
        self._first = 2 if self.data_format == "channels_first" else 1
        self.input_spec = InputSpec(ndim=5)


class Cropping3D(_OfVolumes):
    """Volumes without some of their borders: one number, one per axis, or a pair per axis."""

    def __init__(
        self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.cropping = _pairs(cropping, "cropping")

    def call(self, inputs: Any) -> Any:
        """Returns the smaller volumes."""
        kept = [slice(before, -after if after else None) for before, after in self.cropping]
        every = slice(None)
        return inputs[(every, every, *kept) if self._first == 2 else (every, *kept, every)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class ZeroPadding3D(_OfVolumes):
    """Zeros around volumes: one number, one per axis, or a pair per axis."""

    def __init__(self, padding: Any = (1, 1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = _pairs(padding, "padding")

    def call(self, inputs: Any) -> Any:
        """Returns the larger volumes."""
        none = [0, 0]
        return layout.pad(
            inputs, [none, none, *self.padding] if self._first == 2 else [none, *self.padding, none]
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class UpSampling1D(Layer):
    """Sequences [batch, steps, channels] in which each step stands `size` times."""

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = int(size)
        self.input_spec = InputSpec(ndim=3)

    def call(self, inputs: Any) -> Any:
        """Returns the longer sequences."""
        return repeat_elements(inputs, self.size, 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "size": self.size}


class UpSampling3D(_OfVolumes):
    """Volumes that are repeated along their three axes."""

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.size = numbers(size, 3, "size")

    def call(self, inputs: Any) -> Any:
        """Returns the larger volumes."""
        for i, times in enumerate(self.size):
            inputs = repeat_elements(inputs, times, self._first + i)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


__all__ = ["Cropping1D", "Cropping3D", "UpSampling1D", "UpSampling3D", "ZeroPadding3D"]
