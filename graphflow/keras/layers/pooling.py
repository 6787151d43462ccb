"""Pools: the largest or the mean of windows, or of everything."""

from __future__ import annotations

from typing import Any

from graphflow.keras.base_layer import InputSpec, Layer
from graphflow.keras.layers.convolutional import data_format_of, layout_of, output_length, padding_of
from graphflow.keras.layers.core import numbers
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.reduction import reduce_max, reduce_mean
from graphflow.shapes import TensorShape


class Pooling(Layer):
    """A pool over `rank` axes.

    Args:
      rank: the number of axes of a window.
      kind: "Max" or "Avg".
      pool_size: the window: one number, or one per axis.
      strides: the steps, given likewise; default the window.
      padding: "valid" or "same".
      data_format: "channels_last" (default) or "channels_first".
      **kwargs: see `Layer`.
    """

    def __init__(
        self,
        rank: int,
        kind: str,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.kind = kind
        self.pool_size = numbers(pool_size, rank, "pool_size")
        self.strides = self.pool_size if strides is None else numbers(strides, rank, "strides")
        self.padding = padding_of(padding)
        self.data_format = data_format_of(data_format)
        self.input_spec = InputSpec(ndim=rank + 2)

    def call(self, inputs: Any) -> Any:
        """Returns the pooled inputs."""
        x = convert_to_tensor(inputs)
        first = self.data_format == "channels_first"
        # Sequences are images of width one.
        window, steps, flat = self.pool_size, self.strides, self.rank == 1
        if flat:
            window, steps = (*window, 1), (*steps, 1)
        axis = 3 if first else 2
        if flat:
            x = emit.ExpandDims(x, axis)
        before, after = ([1, 1], []) if first else ([1], [1])
        rank = max(self.rank, 2)
        pooled = getattr(emit, f"{self.kind}Pool{'3D' if rank == 3 else ''}")(
            x, ksize=[*before, *window, *after], strides=[*before, *steps, *after], padding=self.padding.upper(),
            data_format=layout_of(self.data_format, rank),
        )  # fmt: skip
        return emit.Squeeze(pooled, squeeze_dims=(axis,)) if flat else pooled

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """Returns the shape of the output."""
        sizes = TensorShape(input_shape).as_list()
        first = self.data_format == "channels_first"
        inside = [
            output_length(size, self.pool_size[i], self.padding, self.strides[i])
            for i, size in enumerate(sizes[2:] if first else sizes[1:-1])
        ]
        return TensorShape([*sizes[:2], *inside] if first else [sizes[0], *inside, sizes[-1]])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in ("pool_size", "strides", "padding", "data_format")}
        return {**super().get_config(), **own}


class MaxPooling1D(Pooling):
    """The largest of each window of sequences, [batch, steps, channels]."""

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: str = "valid",
        data_format: str | None = "channels_last", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(1, "Max", pool_size, strides, padding, data_format, **kwargs)


class AveragePooling1D(Pooling):
    """The mean of each window of sequences."""

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: str = "valid",
        data_format: str | None = "channels_last", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(1, "Avg", pool_size, strides, padding, data_format, **kwargs)


class MaxPooling2D(Pooling):
    """The largest of each window of images, [batch, height, width, channels]."""

    def __init__(
        self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid", data_format: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(2, "Max", pool_size, strides, padding, data_format, **kwargs)


class AveragePooling2D(Pooling):
    """The mean of each window of images."""

    def __init__(
        self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid", data_format: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(2, "Avg", pool_size, strides, padding, data_format, **kwargs)


class MaxPooling3D(Pooling):
    """The largest of each window of volumes, [batch, depth, height, width, channels]."""

    def __init__(
        self, pool_size: Any = (2, 2, 2), strides: Any = None, padding: str = "valid",
        data_format: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(3, "Max", pool_size, strides, padding, data_format, **kwargs)


class AveragePooling3D(Pooling):
    """The mean of each window of volumes."""

    def __init__(
        self, pool_size: Any = (2, 2, 2), strides: Any = None, padding: str = "valid",
        data_format: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(3, "Avg", pool_size, strides, padding, data_format, **kwargs)


class _Global(Layer):
    """What pools over all of an example share."""

    rank = 2
    reduce = staticmethod(reduce_max)

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs: Any) -> Any:
        """Returns [batch, channels]."""
        start = 2 if self.data_format == "channels_first" else 1
        return self.reduce(inputs, axis=list(range(start, start + self.rank)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "data_format": self.data_format}


class GlobalMaxPooling1D(_Global):
    """The largest over all steps."""

    rank = 1


class GlobalMaxPooling2D(_Global):
    """The largest over all of an image."""


class GlobalAveragePooling1D(_Global):
    """The mean over all steps."""

    rank = 1
    reduce = staticmethod(reduce_mean)


class GlobalAveragePooling2D(_Global):
    """The mean over all of an image."""

    reduce = staticmethod(reduce_mean)


class GlobalMaxPooling3D(_Global):
    """The largest over all of a volume."""

    rank = 3


class GlobalAveragePooling3D(_Global):
    """The mean over all of a volume."""

    rank = 3
    reduce = staticmethod(reduce_mean)


AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
GlobalMaxPool3D = GlobalMaxPooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
