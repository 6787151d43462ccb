"""Iterators over datasets: what a graph takes its elements from."""

from __future__ import annotations

from typing import Any

from graphflow import dtypes
from graphflow.data import structure
from graphflow.graph import Operation, Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit
from graphflow.shapes import TensorShape

_GET_NEXT_CALLS_BEFORE_WARNING = 32


class Iterator:
    """A place in a dataset, kept by the session: `get_next()` gives tensors that take another element in each run.

    Datasets make iterators; so do `from_structure` and `from_string_handle`.
    """

    def __init__(self, resource: Tensor, initializer: Operation | None, spec: Any) -> None:
        self._resource = resource
        self._initializer = initializer
        self._spec = spec
        self._calls = 0

    @staticmethod
    def from_structure(
        output_types: Any,
        output_shapes: Any = None,
        shared_name: str | None = None,
        output_classes: Any = None,
    ) -> Iterator:
        """Returns an iterator that no dataset belongs to yet: `make_initializer` gives it one.

        Args:
          output_types: a structure of dtypes.
          output_shapes: a structure of shapes of the same form; unknown by default.
          shared_name: iterators of one session that share a name share the place.
          output_classes: `Tensor` or `SparseTensor` per leaf.

        Raises:
          TypeError, ValueError: if the structures have other forms.
        """
        spec = structure.spec_from(output_types, output_shapes, output_classes)
        return Iterator(made_iterator(spec, shared_name), None, spec)

    @staticmethod
    def from_string_handle(
        string_handle: Any, output_types: Any, output_shapes: Any = None, output_classes: Any = None
    ) -> Iterator:
        """Returns the iterator that a string names: fed, it chooses among iterators from run to run.

        Args:
          string_handle: a scalar string tensor, the value of some iterator's `string_handle()`.
          output_types: a structure of dtypes.
          output_shapes: a structure of shapes of the same form; unknown by default.
          output_classes: `Tensor` or `SparseTensor` per leaf.
        """
        spec = structure.spec_from(output_types, output_shapes, output_classes)
        handle = convert_to_tensor(string_handle, dtypes.string)
        resource = emit.IteratorFromStringHandleV2(
            handle, output_types=structure.flat_types(spec), output_shapes=structure.flat_shapes(spec)
        )
        return Iterator(resource, None, spec)

    @property
    def initializer(self) -> Operation:
        """The operation that begins the dataset (anew).

        Raises:
          ValueError: if no dataset belongs to the iterator.
        """
        if self._initializer is None:
            raise ValueError(
                "Iterator does not have an initializer. This means it was likely created using `gf.data.Dataset."
                "make_one_shot_iterator()`, or it has no dataset: run what `make_initializer(dataset)` returns."
            )
        return self._initializer

    def make_initializer(self, dataset: Any, name: str | None = None) -> Operation:
        """Returns an operation that begins `dataset` with this iterator.

        Raises:
          TypeError: if the dataset's elements are not of the iterator's structure and dtypes.
          ValueError: if their shapes are not compatible.
        """
        with name_scope(name, "make_initializer") as scope:
            theirs, mine = structure.leaves(dataset.element_spec), structure.leaves(self._spec)
            if len(theirs) != len(mine) or any(
                a.dtype is not b.dtype for a, b in zip(theirs, mine, strict=True) if hasattr(a, "dtype")
            ):
                raise TypeError(
                    f"Expected output types {structure.types(self._spec)!r} but got dataset with output types "
                    f"{structure.types(dataset.element_spec)!r}."
                )
            for have, want in zip(theirs, mine, strict=True):
                shape = getattr(have, "shape", TensorShape(()))
                if not getattr(want, "shape", TensorShape(())).is_compatible_with(shape):
                    raise ValueError(
                        f"Expected output shapes compatible with {structure.shapes(self._spec)!r} but got dataset "
                        f"with output shapes {structure.shapes(dataset.element_spec)!r}."
                    )
            made: Operation = emit.MakeIterator(dataset._variant_tensor, self._resource, name=scope)
            return made

    def get_next(self, name: str | None = None) -> Any:
        """Returns the next element: tensors in the dataset's structure.

        Make them once and run them again and again: every call adds operations to the graph. At the end a run raises
        `errors.OutOfRangeError`.
        """
        self._calls += 1
        if self._calls == _GET_NEXT_CALLS_BEFORE_WARNING:
            import warnings

            warnings.warn(
                f"An unusually high number of `Iterator.get_next()` calls was detected ({self._calls}). Each adds "
                "operations to the graph: call it once, outside the training loop, and run its tensors there.",
                UserWarning,
                stacklevel=2,
            )
        tensors = emit.IteratorGetNext(
            self._resource, output_types=structure.flat_types(self._spec),
            output_shapes=structure.flat_shapes(self._spec), name=name,
        )  # fmt: skip
        return structure.element_of(self._spec, tensors)

    def string_handle(self, name: str | None = None) -> Tensor:
        """Returns a scalar string tensor that names the iterator; see `from_string_handle`."""
        made: Tensor = emit.IteratorToStringHandle(self._resource, name=name)
        return made

    @property
    def element_spec(self) -> Any:
        """What the elements are made of."""
        return self._spec

    @property
    def output_types(self) -> Any:
        """The dtype of each leaf of an element."""
        return structure.types(self._spec)

    @property
    def output_shapes(self) -> Any:
        """The shape of each leaf of an element."""
        return structure.shapes(self._spec)

    @property
    def output_classes(self) -> Any:
        """The class of each leaf of an element."""
        return structure.classes(self._spec)

    def __iter__(self) -> Any:
        raise RuntimeError(
            "A graph-mode iterator gives its elements to Session.run: fetch what `get_next()` returns in a loop."
        )


def made_iterator(spec: Any, shared_name: str | None = None) -> Tensor:
    """Returns the handle of a new iterator."""
    made: Tensor = emit.IteratorV2(
        shared_name=shared_name or "", container="", output_types=structure.flat_types(spec),
        output_shapes=structure.flat_shapes(spec),
    )  # fmt: skip
    return made
