"""Values that may be absent, of dtype variant: what branches that TensorFlow 2 writes keep for their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError
from graphflow.opdef import op
from graphflow.ops.rules import Array, scalar
from graphflow.shapes import TensorShape
from graphflow.tensor_list import boxed


class _Optional:
    """Some arrays, or their absence."""

    __slots__ = ("components",)

    def __init__(self, components: list[Array] | None) -> None:
        self.components = components


def _held(optional: Any) -> _Optional:
    value = optional[()] if isinstance(optional, np.ndarray) and optional.ndim == 0 else optional
    if not isinstance(value, _Optional):
        raise InvalidArgumentError(
            None, None, f"expected an optional value, got a {type(value).__name__} of dtype variant"
        )
    return value


def optional_of(components: list[Array] | None) -> Array:
    """The scalar array that stands for an optional in a run; None: it holds nothing."""
    return boxed(_Optional(components))


@op("OptionalFromValue", "components:list(Toutput_types)", "optional:variant", "Toutput_types:list(type)>=1",
    infer=scalar, differentiable=False)  # fmt: skip
def optional_from_value_op(components: list[Array]) -> Array:
    """An optional that holds some tensors."""
    return optional_of([np.array(component) for component in components])


@op("OptionalNone", "", "optional:variant", "", infer=scalar, differentiable=False)
def optional_none_op() -> Array:
    """An optional that holds nothing."""
    return optional_of(None)


@op("OptionalHasValue", "optional:variant", "has_value:bool", "", infer=scalar, differentiable=False)
def optional_has_value_op(optional: Any) -> Array:
    """Whether an optional holds anything."""
    return np.asarray(_held(optional).components is not None)


def _component_shapes(node: Any) -> list[TensorShape]:
    if len(node.attrs["output_shapes"]) != len(node.attrs["output_types"]):
        raise ValueError(
            f"it has {len(node.attrs['output_shapes'])} output_shapes for {len(node.attrs['output_types'])} components"
        )
    return list(node.attrs["output_shapes"])


@op("OptionalGetValue", "optional:variant", "components:list(output_types)",
    "output_types:list(type)>=1; output_shapes:list(shape)>=1", infer=_component_shapes,
    differentiable=False)  # fmt: skip
def optional_get_value_op(
    optional: Any, *, output_types: tuple[DType, ...], output_shapes: tuple[TensorShape, ...]
) -> list[Array]:
    """The tensors that an optional holds; refuses one that holds none."""
    components = _held(optional).components
    if components is None:
        raise InvalidArgumentError(None, None, "The given optional does not have a value.")
    if len(components) != len(output_types):
        raise InvalidArgumentError(
            None, None, f"The given optional has {len(components)} components, expected {len(output_types)}."
        )
    for i, (component, dtype, shape) in enumerate(zip(components, output_types, output_shapes, strict=True)):
        if not dtype.is_numpy_compatible:
            continue
        if component.dtype != dtype.numpy or not shape.is_compatible_with(component.shape):
            raise InvalidArgumentError(
                None, None,
                f"The given optional's component {i} is {component.dtype}{list(component.shape)}, expected "
                f"{dtype.name} of shape {shape}.",
            )  # fmt: skip
    return list(components)
