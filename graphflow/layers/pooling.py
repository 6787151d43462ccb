"""`layers`: pools."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras.layers import pooling as keras_layers
from graphflow.layers import base


class AveragePooling1D(keras_layers.AveragePooling1D, base.Layer):
    """The mean of each window of sequences."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(pool_size, strides, padding, data_format, name=name, **kwargs)


def average_pooling1d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of sequences, [batch, steps, channels] or channels second."""
    result: Tensor = AveragePooling1D(pool_size, strides, padding, data_format, name)(inputs)
    return result


class AveragePooling2D(keras_layers.AveragePooling2D, base.Layer):
    """The mean of each window of images."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(pool_size, strides, padding, data_format, name=name, **kwargs)


def average_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of images, [batch, height, width, channels] or channels second."""
    result: Tensor = AveragePooling2D(pool_size, strides, padding, data_format, name)(inputs)
    return result


class AveragePooling3D(keras_layers.AveragePooling3D, base.Layer):
    """The mean of each window of volumes."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(pool_size, strides, padding, data_format, name=name, **kwargs)


def average_pooling3d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the mean of each window of volumes, [batch, depth, height, width, channels] or channels second."""
    result: Tensor = AveragePooling3D(pool_size, strides, padding, data_format, name)(inputs)
    return result


class MaxPooling1D(keras_layers.MaxPooling1D, base.Layer):
    """The largest of each window of sequences."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(pool_size, strides, padding, data_format, name=name, **kwargs)


def max_pooling1d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the largest of each window of sequences, [batch, steps, channels] or channels second."""
    result: Tensor = MaxPooling1D(pool_size, strides, padding, data_format, name)(inputs)
    return result


class MaxPooling2D(keras_layers.MaxPooling2D, base.Layer):
    """The largest of each window of images."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(pool_size, strides, padding, data_format, name=name, **kwargs)


def max_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the largest of each window of images, [batch, height, width, channels] or channels second."""
    result: Tensor = MaxPooling2D(pool_size, strides, padding, data_format, name)(inputs)
    return result


class MaxPooling3D(keras_layers.MaxPooling3D, base.Layer):
    """The largest of each window of volumes."""

    def __init__(
        self, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(pool_size, strides, padding, data_format, name=name, **kwargs)


def max_pooling3d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", data_format: str = "channels_last",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the largest of each window of volumes, [batch, depth, height, width, channels] or channels second."""
    result: Tensor = MaxPooling3D(pool_size, strides, padding, data_format, name)(inputs)
    return result


AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
average_pool2d = avg_pool2d = average_pooling2d
max_pool2d = max_pooling2d
