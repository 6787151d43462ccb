"""Elements of datasets that may be absent."""

from __future__ import annotations

from typing import Any

from graphflow.data import structure
from graphflow.data.iterator import Iterator
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import emit


class Optional:
    """An element, or its absence, which is told in the run; see `get_next_as_optional`."""

    def __init__(self, variant: Tensor, spec: Any) -> None:
        self._variant_tensor = variant
        self._spec = spec

    @staticmethod
    def from_value(value: Any) -> Optional:
        """Returns an optional that holds a structure of tensors."""
        with name_scope(None, "optional"):
            element = structure.normalized(value)
            made = emit.OptionalFromValue(structure.flat_tensors(element))
        return Optional(made, structure.spec_of(element))

    @staticmethod
    def empty(element_spec: Any) -> Optional:
        """Returns an optional that holds nothing.

        Args:
          element_spec: what it would be made of.
        """
        return Optional(emit.OptionalNone(), element_spec)

    none_from_structure = empty

    def has_value(self, name: str | None = None) -> Tensor:
        """Returns whether it holds an element; bool scalar."""
        made: Tensor = emit.OptionalHasValue(self._variant_tensor, name=name)
        return made

    def get_value(self, name: str | None = None) -> Any:
        """Returns the element; a run raises InvalidArgumentError if there is none."""
        tensors = emit.OptionalGetValue(
            self._variant_tensor, output_types=structure.flat_types(self._spec),
            output_shapes=structure.flat_shapes(self._spec), name=name,
        )  # fmt: skip
        return structure.element_of(self._spec, tensors)

    @property
    def element_spec(self) -> Any:
        """What the element is made of."""
        return self._spec

    value_structure = element_spec


def get_next_as_optional(iterator: Iterator) -> Optional:
    """Returns the next element of an iterator as an `Optional`, which holds nothing at the end."""
    spec = iterator.element_spec
    made: Tensor = emit.IteratorGetNextAsOptional(
        iterator._resource, output_types=structure.flat_types(spec), output_shapes=structure.flat_shapes(spec)
    )
    return Optional(made, spec)
