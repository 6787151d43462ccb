"""Layers that take several inputs: sums, products, concatenations."""

from __future__ import annotations

from typing import Any

from graphflow.graph import Tensor
from graphflow.keras.base_layer import Layer
from graphflow.ops import elementwise, layout
from graphflow.ops.linalg import einsum, l2_normalize


class _Merge(Layer):
    """What layers share that make one tensor of several alike."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        """Returns the merged inputs, broadcast against each other.

        Raises:
          ValueError: unless there are two or more inputs.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) < 2:
            raise ValueError(f"A merge layer should be called on a list of at least 2 inputs. Got {inputs}")
        result = inputs[0]
        for other in inputs[1:]:
            result = self._two(result, other)
        return result


class Add(_Merge):
    """The sum of the inputs."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        return a + b


class Subtract(_Merge):
    """The first input less the second."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        return a - b


class Multiply(_Merge):
    """The product of the inputs, element by element."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        return a * b


class Average(_Merge):
    """The mean of the inputs, element by element."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        return a + b

    def call(self, inputs: Any) -> Any:
        """Returns the mean of the inputs."""
        return super().call(inputs) / len(inputs)


class Maximum(_Merge):
    """The larger of the inputs, element by element."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        return elementwise.maximum(a, b)


class Minimum(_Merge):
    """The smaller of the inputs, element by element."""

    def _two(self, a: Tensor, b: Tensor) -> Any:
        return elementwise.minimum(a, b)


class Concatenate(Layer):
    """The inputs one after another along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        """Returns the inputs as one.

        Raises:
          ValueError: unless there are two or more inputs.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) < 2:
            raise ValueError(
                f"A `Concatenate` layer should be called on a list of at least 2 inputs. Got {inputs}"
            )
        return layout.concat(list(inputs), self.axis)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "axis": self.axis}


class Dot(Layer):
    """The products of two inputs summed along an axis of each; `normalize` gives cosines."""

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = axes
        self.normalize = normalize

    def call(self, inputs: Any) -> Any:
        """Returns the sums, [batch, rest of the first, rest of the second]; inputs are of rank two or three.

        Raises:
          ValueError: for other ranks, or unless there are two inputs.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError("A `Dot` layer should be called on exactly 2 inputs.")
        axes = (self.axes,) * 2 if isinstance(self.axes, int) else self.axes
        subscripts, free = [], []
        for x, axis, letters in zip(inputs, axes, ("i", "j"), strict=True):
            rank = x.shape.rank
            if rank not in (2, 3):
                raise ValueError(f"`Dot` takes inputs of rank 2 or 3, got shape {x.shape}")
            own = "bk" if rank == 2 else f"b{letters}k" if axis % rank == 2 else f"bk{letters}"
            subscripts.append(own)
            free += [letters] if rank == 3 else []
        a, b = inputs
        if self.normalize:
            a, b = l2_normalize(a, axis=axes[0]), l2_normalize(b, axis=axes[1])
        product = einsum(f"{subscripts[0]},{subscripts[1]}->b{''.join(free)}", a, b)
        return product if free else layout.expand_dims(product, 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add()` of the inputs."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract()` of the inputs."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply()` of the inputs."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average()` of the inputs."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """Returns the largest of the inputs, element by element."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """Returns the smallest of the inputs, element by element."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis)` of the inputs."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any, normalize: bool = False, **kwargs: Any) -> Any:
    """`Dot(axes, normalize)` of the inputs."""
    return Dot(axes, normalize, **kwargs)(inputs)


__all__ = [
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
    "concatenate", "dot", "multiply", "subtract",
]  # fmt: skip
