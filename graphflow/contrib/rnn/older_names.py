"""Parts of cells that programs take from TensorFlow's own files, by the names of their versions."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes, nest
from graphflow.contrib.rnn.cells import linear
from graphflow.graph import Tensor
from graphflow.opdef import constant_value, convert_to_tensor
from graphflow.ops.layout import concat, expand_dims
from graphflow.shapes import TensorShape
from graphflow.variable_scope import get_variable_scope, variable_scope


class Linear:
    """`concat(args, 1) @ kernel + bias`, with the same variables each time.

    Args:
      args: a tensor [batch, size], or a list of such: what it is called with first.
      output_size: how many columns.
      build_bias: whether a bias is added.
      bias_initializer, kernel_initializer: default zeros, and that of the scope.
    """

    def __init__(
        self, args: Any, output_size: int, build_bias: bool, bias_initializer: Any = None,
        kernel_initializer: Any = None,
    ) -> None:  # fmt: skip
        self._how = (output_size, build_bias, bias_initializer, kernel_initializer)
        self._listed = nest.is_nested(args)
        self._scope = get_variable_scope()
        linear(args, *self._how)

    def __call__(self, args: Any) -> Any:
        """Returns the sums for other inputs of the same sizes."""
        with variable_scope(self._scope, reuse=True):
            return linear(args if self._listed else [args], *self._how)


def like_rnncell(cell: Any) -> bool:
    """Whether something has what a cell has, and can be called."""
    return callable(cell) and all(hasattr(cell, name) for name in ("output_size", "state_size", "zero_state"))


def joined_sizes(prefix: Any, suffix: Any, static: bool = False) -> Any:
    """Returns the sizes of two shapes one after another.

    Args:
      prefix, suffix: a size, a shape, or a tensor of sizes.
      static: whether what is known while building is wanted, as a list, instead of a tensor.

    Raises:
      ValueError: if a tensor is wanted and a shape is not known, or a tensor of sizes has rank 2 or more.
    """
    if static:
        known = [_known(part) for part in (prefix, suffix)]
        shape = known[0].concatenate(known[1])
        return shape.as_list() if shape.rank is not None else None
    return concat([_sizes(part) for part in (prefix, suffix)], 0)


def _known(part: Any) -> TensorShape:
    if isinstance(part, Tensor):
        value = constant_value(part)
        return TensorShape(None) if value is None else TensorShape(value.reshape(-1).tolist())
    return TensorShape([part] if isinstance(part, int) else part)


def _sizes(part: Any) -> Tensor:
    if isinstance(part, Tensor):
        if part.shape.rank == 0:
            return expand_dims(part, 0)
        if part.shape.rank != 1:
            raise ValueError(f"sizes must have rank 0 or 1, got {part.name} of shape {part.shape}")
        return part
    shape = _known(part)
    if not shape.is_fully_defined():
        raise ValueError(f"the sizes of {part} must be known")
    return convert_to_tensor(shape.as_list(), dtypes.int32)
