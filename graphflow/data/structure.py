"""What the elements of a dataset are made of: tuples and dicts of tensors, sparse tensors and datasets.

Unlike in `nest`, a list is no structure here: it is a tensor, as in TensorFlow's tf.data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from graphflow import dtypes, nest
from graphflow.dtypes import DType, as_dtype
from graphflow.function import FuncGraph, Function, finished, unique_function_name
from graphflow.graph import Operation, Tensor, get_default_graph
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.sparse_tensor import SparseTensor, is_sparse
from graphflow.shapes import UNKNOWN, TensorShape, as_shape


class TensorSpec:
    """What is known of a tensor: its shape and dtype.

    Args:
      shape: the shape.
      dtype: the dtype.
      name: a name.
    """

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> None:
        self.shape: TensorShape = as_shape(shape)
        self.dtype: DType = as_dtype(dtype)
        self.name = name

    @classmethod
    def from_tensor(cls, tensor: Tensor, name: str | None = None) -> TensorSpec:
        """Returns what is known of a tensor."""
        return cls(tensor.shape, tensor.dtype, name or tensor.op.name)

    def is_compatible_with(self, other: Any) -> bool:
        """Whether a tensor, or what another spec describes, may be what this one describes."""
        return self.dtype is other.dtype and self.shape.is_compatible_with(other.shape)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorSpec)
            and self.dtype is other.dtype
            and self.shape.as_tuple() == other.shape.as_tuple()
        )

    def __hash__(self) -> int:
        return hash((self.shape.as_tuple(), self.dtype))

    def __repr__(self) -> str:
        return f"TensorSpec(shape={self.shape}, dtype=gf.{self.dtype.name}, name={self.name!r})"


class SparseTensorSpec:
    """What is known of a sparse tensor: its full shape and the dtype of its values."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Any = None, dtype: Any = dtypes.float32) -> None:
        self.shape: TensorShape = as_shape(shape)
        self.dtype: DType = as_dtype(dtype)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SparseTensorSpec)
            and self.dtype is other.dtype
            and self.shape.as_tuple() == other.shape.as_tuple()
        )

    def __hash__(self) -> int:
        return hash((self.shape.as_tuple(), self.dtype))

    def __repr__(self) -> str:
        return f"SparseTensorSpec({self.shape}, gf.{self.dtype.name})"


class DatasetSpec:
    """What is known of a dataset that is an element of another one: its own elements."""

    __slots__ = ("element_spec",)

    def __init__(self, element_spec: Any) -> None:
        self.element_spec = element_spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetSpec) and self.element_spec == other.element_spec

    def __hash__(self) -> int:
        return hash(str(self.element_spec))

    def __repr__(self) -> str:
        return f"DatasetSpec({self.element_spec!r})"


Spec = TensorSpec | SparseTensorSpec | DatasetSpec

# From a DatasetSpec and the variant tensor of a dataset to the dataset; set where the class stands.
_dataset_maker: list[Callable[[DatasetSpec, Tensor], Any]] = []


def set_dataset_maker(make: Callable[[DatasetSpec, Tensor], Any]) -> None:
    """Says how a dataset inside an element is made of its tensor."""
    _dataset_maker[:] = [make]


def _is_inner(value: Any) -> bool:
    """Whether a value is a tuple, named tuple or dict of others, and no leaf."""
    return isinstance(value, Mapping) or (isinstance(value, tuple) and not is_sparse(value))


def mapped(function: Callable[..., Any], structure: Any, *others: Any) -> Any:
    """Returns a structure of what `function` gives for each leaf, together with those of others of the same form.

    Raises:
      ValueError, TypeError: if a structure has another form.
    """
    if isinstance(structure, Mapping):
        for other in others:
            if not isinstance(other, Mapping) or set(other) != set(structure):
                raise ValueError(f"the two structures have other keys: {structure!r} and {other!r}")
        made = {key: mapped(function, structure[key], *(other[key] for other in others)) for key in structure}
        return made if type(structure) is dict else type(structure)(made)  # type: ignore[call-arg]
    if _is_inner(structure):
        for other in others:
            if not isinstance(other, tuple) or len(other) != len(structure):
                raise ValueError(f"the two structures have other forms: {structure!r} and {other!r}")
        parts = [mapped(function, *items) for items in zip(structure, *others, strict=True)]
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    return function(structure, *others)


def leaves(structure: Any) -> list[Any]:
    """Returns the leaves, those of dicts in the order of their keys, as TensorFlow has them."""
    found: list[Any] = []
    _collect(structure, found)
    return found


def _collect(structure: Any, found: list[Any]) -> None:
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            _collect(structure[key], found)
    elif _is_inner(structure):
        for item in structure:
            _collect(item, found)
    else:
        found.append(structure)


def packed(structure: Any, flat: Sequence[Any]) -> Any:
    """Returns the structure with other leaves, given in the order of `leaves`."""
    items = iter(flat)
    result = _packed(structure, items)
    if next(items, None) is not None:
        raise ValueError(f"too many leaves for {structure!r}")
    return result


def _packed(structure: Any, items: Iterator[Any]) -> Any:
    if isinstance(structure, Mapping):
        values = {key: _packed(structure[key], items) for key in sorted(structure)}
        ordered = {key: values[key] for key in structure}
        return ordered if type(structure) is dict else type(structure)(ordered)  # type: ignore[call-arg]
    if _is_inner(structure):
        parts = [_packed(item, items) for item in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    return next(items)


def is_dataset(value: Any) -> bool:
    """Whether a value is a dataset."""
    return hasattr(value, "_variant_tensor")


def normalized(element: Any) -> Any:
    """Returns an element whose leaves are tensors, sparse tensors or datasets.

    Raises:
      TypeError, ValueError: for a leaf that is no tensor and cannot be made one.
    """

    def leaf(value: Any) -> Any:
        if is_dataset(value):
            return value
        if is_sparse(value):
            return value if isinstance(value, SparseTensor) else SparseTensor.from_value(value)
        if isinstance(value, Operation) or value is None:
            raise TypeError(f"an element of a dataset is made of tensors, got {value!r}")
        return convert_to_tensor(value)

    return mapped(leaf, element)


def spec_of(element: Any) -> Any:
    """Returns the structure of specs of a normalized element."""

    def leaf(value: Any) -> Spec:
        if is_dataset(value):
            return DatasetSpec(value.element_spec)
        if isinstance(value, SparseTensor):
            return SparseTensorSpec(value.shape, value.dtype)
        return TensorSpec(value.shape, value.dtype)

    return mapped(leaf, element)


def flat_types(spec: Any) -> list[DType]:
    """Returns the dtype of each component: sparse tensors and datasets are one each, variants."""
    return [leaf.dtype if isinstance(leaf, TensorSpec) else dtypes.variant for leaf in leaves(spec)]


def flat_shapes(spec: Any) -> list[TensorShape]:
    """Returns the shape of each component; a sparse tensor is a variant [..., 3], a row of three per batched axis."""
    return [_component_shape(leaf) for leaf in leaves(spec)]


def _component_shape(leaf: Spec) -> TensorShape:
    if isinstance(leaf, TensorSpec):
        return leaf.shape
    return TensorShape(None) if isinstance(leaf, SparseTensorSpec) else TensorShape(())


def flat_tensors(element: Any) -> list[Tensor]:
    """Returns one tensor per component of a normalized element."""

    def component(value: Any) -> Tensor:
        if is_dataset(value):
            tensor: Tensor = value._variant_tensor
            return tensor
        if isinstance(value, SparseTensor):
            made: Tensor = emit.SerializeSparse(
                value.indices, value.values, value.dense_shape, out_type=dtypes.variant
            )
            return made
        return value  # type: ignore[no-any-return]

    return [component(value) for value in leaves(element)]


def element_of(spec: Any, tensors: Sequence[Tensor]) -> Any:
    """Returns the element that components make up; the other way round than `flat_tensors`."""

    def leaf(kind: Spec, tensor: Tensor) -> Any:
        if isinstance(kind, DatasetSpec):
            return _dataset_maker[0](kind, tensor)
        if isinstance(kind, SparseTensorSpec):
            made = SparseTensor(*emit.DeserializeSparse(tensor, dtype=kind.dtype))
            made.set_shape(kind.shape)
            return made
        return tensor

    return packed(spec, [leaf(kind, tensor) for kind, tensor in zip(leaves(spec), tensors, strict=True)])


def classes(spec: Any) -> Any:
    """Returns the class of each leaf."""

    def leaf(kind: Spec) -> type:
        if isinstance(kind, TensorSpec):
            return Tensor
        return SparseTensor if isinstance(kind, SparseTensorSpec) else type(kind)

    return mapped(leaf, spec)


def types(spec: Any) -> Any:
    """Returns the dtype of each leaf."""
    return mapped(lambda kind: dtypes.variant if isinstance(kind, DatasetSpec) else kind.dtype, spec)


def shapes(spec: Any) -> Any:
    """Returns the shape of each leaf."""
    return mapped(lambda kind: TensorShape(()) if isinstance(kind, DatasetSpec) else kind.shape, spec)


def spec_from(output_types: Any, output_shapes: Any = None, output_classes: Any = None) -> Any:
    """Returns a structure of specs from structures of dtypes, shapes and classes.

    Args:
      output_types: a dtype per leaf.
      output_shapes: a shape per leaf; None: unknown.
      output_classes: `Tensor` or `SparseTensor` per leaf; None: `Tensor`.

    Raises:
      ValueError, TypeError: if the structures have other forms.
    """
    kinds = _typed(output_types)
    if output_shapes is None:
        given = mapped(lambda kind: UNKNOWN, kinds)
    else:
        given = _shaped(kinds, output_shapes)
    if output_classes is None:
        output_classes = mapped(lambda kind: Tensor, kinds)
    return mapped(
        lambda kind, shape, leaf: (SparseTensorSpec if leaf is SparseTensor else TensorSpec)(shape, kind),
        kinds, given, output_classes,
    )  # fmt: skip


def _typed(structure: Any) -> Any:
    # A list of dtypes is as good as a tuple of them.
    if isinstance(structure, list):
        structure = tuple(structure)
    return mapped(as_dtype, structure)


def _shaped(kinds: Any, structure: Any) -> Any:
    """The shapes of a structure: whether a tuple is one shape or several, the dtypes tell."""
    if isinstance(kinds, Mapping):
        made = {key: _shaped(kinds[key], structure[key]) for key in kinds}
        return made if type(kinds) is dict else type(kinds)(made)  # type: ignore[call-arg]
    if _is_inner(kinds):
        if isinstance(structure, TensorShape) or len(structure) != len(kinds):
            raise ValueError(f"expected {len(kinds)} shapes, got {structure!r}")
        parts = [_shaped(kind, shape) for kind, shape in zip(kinds, structure, strict=True)]
        return type(kinds)(*parts) if hasattr(kinds, "_fields") else tuple(parts)
    return as_shape(structure)


class Traced:
    """A Python function of elements, made a `Function`.

    Attributes:
      function: the function of components.
      captured: the tensors outside that it uses.
      spec: the specs of what it returns.
    """

    def __init__(
        self, function: Callable[..., Any], spec: Any, name: str, extra: Sequence[Any] = (), form: Any = None
    ) -> None:
        """Traces `function`.

        Args:
          function: the Python function.
          spec: the specs of the element it takes; the parts of a tuple are arguments of their own.
          name: what to call it.
          extra: specs of arguments that come before the element.
          form: from what it returned to a normalized element; default `normalized`.
        """
        graph = FuncGraph(unique_function_name(name), get_default_graph())
        with graph.as_default():
            before = [self._argument(graph, kind) for kind in extra]
            element = self._argument(graph, spec)
            arguments = element if type(element) is tuple else (element,)
            returned = function(*before, *arguments)
            if isinstance(returned, list):
                # What an operation with several results returned; a list inside is one tensor, as everywhere.
                returned = tuple(returned)
            made = (form or normalized)(returned)
            self.spec = spec_of(made)
            outputs = [graph.capture(tensor) for tensor in flat_tensors(made)]
        waits = [op for op in graph.get_operations() if op.op_def.effects in ("writes", "host")]
        self.function: Function = finished(graph, outputs, waits)
        self.captured: list[Tensor] = list(graph.captures)

    @staticmethod
    def _argument(graph: FuncGraph, spec: Any) -> Any:
        tensors = [
            graph.add_input(dtype, shape, "args")
            for dtype, shape in zip(flat_types(spec), flat_shapes(spec), strict=True)
        ]
        return element_of(spec, tensors)


def describe(spec: Any) -> str:
    """Returns the shapes and dtypes of a structure, for messages."""
    return f"shapes: {nest.map_structure(str, shapes(spec))}, types: {types(spec)}"
