"""Structures of fetches and feeds: nested Python containers taken apart before a run and put together after it.

A *leaf* of a fetch is an operation or one or more tensors; lists, tuples, named tuples, dicts and dataclass-like
`attrs` classes nest; None gives None. `register_session_run_conversion_functions` adds types of leaves, for
fetches and for feeds, as TensorFlow's function of that name does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow import dtypes
from graphflow.backends.device_arrays import device_array, host_array
from graphflow.graph import Graph, IndexedSlices, Operation, Tensor
from graphflow.ops.session_tensors import SessionTensors, TensorHandle, kept_dtype
from graphflow.ops.sparse_tensor import SparseTensor, SparseTensorValue
from graphflow.records import dataclass
from graphflow.resources import Resources

Element = Tensor | Operation
Pack = Callable[[Sequence[Any]], Any]  # from the values of all distinct elements to the user's structure


class IndexedSlicesValue(NamedTuple):
    """What fetching `IndexedSlices` gives: arrays for its parts."""

    values: Any
    indices: Any
    dense_shape: Any


@dataclass(frozen=True)
class Conversion:
    """How objects of one type are fetched and fed.

    Attributes:
      type: the type.
      fetch: from the object to (its elements, a function from their values to what the user gets).
      feed: from (object, value) to pairs (tensor, array).
      feed_tensors: from the object to the tensors that `feed` will name, for `make_callable`.
    """

    type: type
    fetch: Callable[[Any], tuple[list[Any], Callable[[list[Any]], Any]]]
    feed: Callable[[Any, Any], list[tuple[Any, Any]]] | None = None
    feed_tensors: Callable[[Any], list[Any]] | None = None


_conversions: list[Conversion] = []


def register_session_run_conversion_functions(
    tensor_type: type,
    fetch_function: Callable[[Any], tuple[list[Any], Callable[[list[Any]], Any]]] | None = None,
    feed_function: Callable[[Any, Any], list[tuple[Any, Any]]] | None = None,
    feed_function_for_partial_run: Callable[[Any], list[Any]] | None = None,
) -> None:
    """Says how objects of a type are fetched and fed; the latest registration of a type counts.

    Args:
      tensor_type: the type.
      fetch_function: from the object to (tensors, a function from their values to what the user gets).
      feed_function: from (object, value) to pairs (tensor, value).
      feed_function_for_partial_run: from the object to the tensors it feeds.
    """

    def plain(item: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
        return [item], lambda values: values[0]

    _conversions.insert(
        0, Conversion(tensor_type, fetch_function or plain, feed_function, feed_function_for_partial_run)
    )


def _fetch_slices(item: IndexedSlices) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    if item.dense_shape is None:
        return [item.values, item.indices], lambda values: IndexedSlicesValue(values[0], values[1], None)
    return [item.values, item.indices, item.dense_shape], lambda values: IndexedSlicesValue(*values)


def _feed_slices(item: IndexedSlices, value: Any) -> list[tuple[Any, Any]]:
    parts = [item.values, item.indices] + ([] if item.dense_shape is None else [item.dense_shape])
    return list(zip(parts, tuple(value)[: len(parts)], strict=True))


def _slices_tensors(item: IndexedSlices) -> list[Any]:
    return [item.values, item.indices] + ([] if item.dense_shape is None else [item.dense_shape])


register_session_run_conversion_functions(IndexedSlices, _fetch_slices, _feed_slices, _slices_tensors)


def _sparse_tensors(item: SparseTensor) -> list[Any]:
    return [item.indices, item.values, item.dense_shape]


def _fetch_sparse(item: SparseTensor) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    return _sparse_tensors(item), lambda values: SparseTensorValue(*values)


def _feed_sparse(item: SparseTensor, value: Any) -> list[tuple[Any, Any]]:
    parts = tuple(value)
    if len(parts) != 3:
        raise ValueError(
            f"feed_dict: {item!r} is fed with a SparseTensorValue or (indices, values, dense_shape), got {value!r}"
        )
    return list(zip(_sparse_tensors(item), parts, strict=True))


register_session_run_conversion_functions(SparseTensor, _fetch_sparse, _feed_sparse, _sparse_tensors)


def conversion_for(item: Any) -> Conversion | None:
    """Returns the registered conversion for an object, or None."""
    for conversion in _conversions:
        if isinstance(item, conversion.type):
            return conversion
    return None


def _is_namedtuple(item: Any) -> bool:
    return isinstance(item, tuple) and hasattr(item, "_fields")


def _attrs_fields(item: Any) -> list[str] | None:
    fields = getattr(type(item), "__attrs_attrs__", None)
    return None if fields is None else [field.name for field in fields]


def structure_key(item: Any) -> Hashable:
    """Returns a hashable key of a structure of fetches: equal for equal containers of the very same leaves."""
    if isinstance(item, (list, tuple)):
        return (type(item), *(structure_key(part) for part in item))
    if isinstance(item, Mapping):
        return (type(item), *((name, structure_key(part)) for name, part in item.items()))
    fields = _attrs_fields(item)
    if fields is not None:
        return (type(item), *(structure_key(getattr(item, name)) for name in fields))
    return item if isinstance(item, Hashable) else id(item)


class Fetches:
    """A structure of fetches taken apart.

    Attributes:
      elements: the distinct tensors and operations, in the order met.
      tensors: those of them that are tensors: what a run returns.
      pack: from the values of `tensors` to the user's structure; None where their list is that structure.
      single: whether the structure is one tensor by itself, which the user gets as an array or scalar.
    """

    def __init__(self, graph: Graph, structure: Any, resources: Resources | None = None) -> None:
        self._graph = graph
        self._positions: dict[Tensor, int] = {}
        self._operations: dict[Operation, None] = {}
        build = self._walk(structure)
        self.tensors: tuple[Tensor, ...] = tuple(self._positions)
        self.elements: tuple[Element, ...] = (*self._positions, *self._operations)
        self.pack: Pack | None = self._simplified(structure, build)
        if any(tensor.dtype.is_quantized for tensor in self.tensors):
            inner = self.pack
            self.pack = lambda values: inner(_plain(values)) if inner is not None else _plain(values)
        kept = [kept_dtype(tensor) for tensor in self.tensors]
        keeps = resources is not None and any(kept)
        if keeps:
            after = self.pack

            def with_handles(values: Sequence[Any]) -> Any:
                assert resources is not None
                own = SessionTensors.of(resources)
                made = [v if k is None else _handle(v, k, own) for v, k in zip(values, kept, strict=True)]
                return _with_scalars(made) if after is None else after(made)

            self.pack = with_handles
        self.single = isinstance(structure, Tensor) and structure.dtype is not dtypes.resource and not keeps

    def _simplified(self, structure: Any, build: Pack) -> Pack | None:
        """The shortest function that does what `build` does; a run's time is counted in hundreds of nanoseconds."""
        ranked = all(
            tensor.dtype is not dtypes.resource and (tensor.shape.rank or 0) > 0 for tensor in self.tensors
        )
        if isinstance(structure, Tensor | str) or hasattr(structure, "_as_graph_element"):
            if not self.tensors:
                return _nothing
            return _first if ranked else _first_or_scalar
        if type(structure) is list and all(isinstance(item, Tensor) for item in structure):
            if len(self.tensors) == len(structure):
                return None if ranked else _with_scalars
        return build if ranked else lambda values: build(_with_scalars(values))

    def _element(self, item: Any) -> Element:
        try:
            element = self._graph.as_graph_element(item)
        except TypeError as error:
            raise TypeError(
                f"Fetch argument {item!r} has invalid type {type(item).__name__}, must be a string or Tensor. ({error})"
            ) from None
        except ValueError as error:
            raise ValueError(
                f"Fetch argument {item!r} cannot be interpreted as a Tensor. ({error})"
            ) from None
        except KeyError as error:
            raise ValueError(
                f"Fetch argument {item!r} cannot be interpreted as a Tensor. ({error.args[0]})"
            ) from None
        if not self._graph.is_fetchable(element):
            raise ValueError(f"Operation {item!r} has been marked as not fetchable.")
        return element

    def _leaf(self, item: Any) -> Pack:
        element = self._element(item)
        if isinstance(element, Operation):
            self._operations.setdefault(element)
            return lambda values: None
        position = self._positions.setdefault(element, len(self._positions))
        return lambda values: values[position]

    def _walk(self, item: Any) -> Pack:
        if item is None:
            raise TypeError("Fetch argument None has invalid type <class 'NoneType'>")
        if isinstance(item, Tensor | Operation | str | bytes):
            return self._leaf(item)
        if isinstance(item, (list, tuple)):
            parts = [self._walk_or_none(part) for part in item]
            if _is_namedtuple(item):
                kind: Any = type(item)
                return lambda values: kind(*[part(values) for part in parts])
            if isinstance(item, tuple):
                return lambda values: tuple([part(values) for part in parts])
            return lambda values: [part(values) for part in parts]
        if isinstance(item, Mapping):
            named = {name: self._walk_or_none(part) for name, part in item.items()}
            ordered = isinstance(item, OrderedDict)

            def pack_mapping(values: Sequence[Any]) -> Any:
                pairs = {name: part(values) for name, part in named.items()}
                return OrderedDict(pairs) if ordered else pairs

            return pack_mapping
        fields = _attrs_fields(item)
        if fields is not None:
            made: Any = type(item)
            parts = [self._walk_or_none(getattr(item, name)) for name in fields]
            return lambda values: made(*[part(values) for part in parts])
        conversion = conversion_for(item)
        if conversion is None:
            return self._leaf(item)
        elements, contract = conversion.fetch(item)
        leaves = [self._leaf(element) for element in elements]
        return lambda values: contract([leaf(values) for leaf in leaves])

    def _walk_or_none(self, item: Any) -> Pack:
        return _nothing if item is None else self._walk(item)


def _first(values: Sequence[Any]) -> Any:
    return values[0]


def _first_or_scalar(values: Sequence[Any]) -> Any:
    value = values[0]
    return value if value.ndim else value[()]


def _nothing(values: Sequence[Any]) -> Any:
    return None


def _plain(values: Sequence[Any]) -> list[Any]:
    """Integers in place of the records that quantized tensors are made of, as TensorFlow gives them."""
    return [value[value.dtype.names[0]] if value.dtype.names else value for value in values]


def _handle(text: Any, dtype: dtypes.DType, kept: SessionTensors) -> Any:
    """A `TensorHandle` in a scalar array."""
    array = np.empty((), object)
    array[()] = TensorHandle(text[()].decode(), dtype, kept)
    return array


def _with_scalars(values: Sequence[Any]) -> Any:
    return [value if value.ndim else value[()] for value in values]


# Feeds.


def _flat_keys(key: Any) -> list[Any]:
    if isinstance(key, (list, tuple)) and not isinstance(key, str):
        return [leaf for part in key for leaf in _flat_keys(part)]
    return [key]


def _flat_values(key: Any, value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(key, (list, tuple)):
        return [(key, value)]
    if not isinstance(value, (list, tuple)) or len(value) != len(key):
        raise ValueError(f"feed_dict: the key {key!r} has {len(key)} parts, its value does not: {value!r}")
    return [pair for part, item in zip(key, value, strict=True) for pair in _flat_values(part, item)]


class Feeds:
    """The keys of a feed_dict taken apart.

    Attributes:
      tensors: the tensors that are fed.
      plain: whether keys and tensors correspond one to one, so that values need no taking apart.
    """

    def __init__(self, graph: Graph, keys: Sequence[Any]) -> None:
        self._graph = graph
        self._keys = list(keys)
        tensors: list[Tensor] = []
        self.plain = True
        for key in keys:
            if isinstance(key, (list, tuple)):
                self.plain = False
            for leaf in _flat_keys(key):
                conversion = None if isinstance(leaf, Tensor | str) else conversion_for(leaf)
                if conversion is not None and conversion.feed_tensors is not None:
                    self.plain = False
                    tensors.extend(self._tensor(part) for part in conversion.feed_tensors(leaf))
                else:
                    tensors.append(self._tensor(leaf))
        if len(set(tensors)) != len(tensors):
            raise ValueError("feed_dict: a tensor is fed twice")
        self.tensors: tuple[Tensor, ...] = tuple(tensors)

    def _tensor(self, key: Any) -> Tensor:
        # Feeding a variable replaces its value wherever it is read.
        handle = getattr(key, "handle", None)
        if isinstance(handle, Tensor) and not isinstance(key, Tensor):
            key = handle
        try:
            element = self._graph.as_graph_element(key, allow_operation=False)
        except (TypeError, ValueError, KeyError) as error:
            detail = error.args[0] if error.args else error
            raise TypeError(f"Cannot interpret feed_dict key as Tensor: {detail}") from None
        assert isinstance(element, Tensor)
        if not self._graph.is_feedable(element):
            raise ValueError(f"Tensor {element.name} may not be fed.")
        return element

    def values(self, given: Sequence[Any]) -> list[Any]:
        """Returns one value per tensor from the values of the feed_dict, in the order of its keys."""
        if self.plain:
            return list(given)
        result: list[Any] = []
        for key, value in zip(self._keys, given, strict=True):
            for leaf, item in _flat_values(key, value):
                conversion = None if isinstance(leaf, Tensor | str) else conversion_for(leaf)
                if conversion is not None and conversion.feed is not None:
                    result.extend(part for _, part in conversion.feed(leaf, item))
                else:
                    result.append(item)
        return result


def _numpy_dtype(tensor: Tensor) -> np.dtype[Any]:
    return (tensor.handle_dtype if tensor.is_variable else tensor.dtype).numpy


def feed_array(tensor: Tensor, value: Any) -> np.ndarray[Any, Any]:
    """Returns a fed value as an array of the tensor's dtype.

    Raises:
      TypeError: if the value is a tensor, or cannot be converted.
      ValueError: if the value is not rectangular, or has fractions or numbers too large for an integer tensor.
    """
    if isinstance(value, TensorHandle):
        value = value.fed(tensor)
    if isinstance(value, Tensor) or (hasattr(value, "_as_graph_element") and hasattr(value, "dtype")):
        raise TypeError(
            "The value of a feed cannot be a gf.Tensor object. Acceptable feed values include Python scalars, strings,"
            f" lists, numpy ndarrays. For reference, the tensor object was {value!r} which was passed to the feed with"
            f" key {tensor.name!r}."
        )
    if type(value) is not np.ndarray:
        there = device_array(value)
        if there is None:
            value = host_array(value)
        elif there.dtype == _numpy_dtype(tensor):
            return there  # type: ignore[return-value]  # it stays on its device
        else:
            value = there.get()
    if value is None:
        raise TypeError(f"Cannot feed None for Tensor {tensor.name!r}")
    dtype = tensor.handle_dtype if tensor.is_variable else tensor.dtype
    wanted = dtype.numpy
    if dtype is dtypes.string:
        return _string_array(tensor, value)
    if not dtype.is_numpy_compatible:
        # Handles and variants: what a fetch of such a tensor gave.
        if isinstance(value, np.ndarray) and value.dtype == object:
            return value
        array = np.empty((), object)
        array[()] = value
        return array
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"Cannot feed {tensor.name!r}: the value is not rectangular ({error})") from None
    if array.dtype == wanted:
        return array if type(array) is np.ndarray else np.array(array)
    if isinstance(value, int) and not isinstance(value, bool) and not _holds(wanted, value):
        raise TypeError(
            f"Type of feed value {value} with type {type(value)} is not compatible with Tensor type {dtype.name}."
            f" Try explicitly setting the type of the feed tensor to a larger type (e.g. int64)."
        )
    if array.dtype.kind in "OSU" or array.dtype.kind == "c" and wanted.kind != "c":
        if array.dtype.kind == "O":
            # Lists of odd numbers come as objects; what is a number converts below, the rest is refused.
            try:
                return array.astype(wanted)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"Cannot feed {tensor.name!r} of dtype {dtype.name}: {error}") from None
        raise ValueError(
            f"Cannot feed a value of dtype {array.dtype} for Tensor {tensor.name!r}, which has dtype {dtype.name}"
        )
    with np.errstate(all="ignore"):
        result = array.astype(wanted)
        if wanted.kind in "iu" and array.dtype.kind in "iuf" and not (same := result == array).all():
            lost = array[~same].reshape(-1)[0]
            raise ValueError(
                f"Cannot feed {tensor.name!r} of dtype {dtype.name}: the value has {lost}, which no {dtype.name} holds"
            )
        return result


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def _string_array(tensor: Tensor, value: Any) -> np.ndarray[Any, Any]:
    array = (
        np.asarray(value, dtype=object)
        if not isinstance(value, (str, bytes))
        else np.array(value, dtype=object)
    )
    if array.ndim == 0:
        array = array.reshape(())
    flat = array.reshape(-1)
    if all(type(item) is bytes for item in flat):
        return array
    result = np.empty(flat.shape, dtype=object)
    for i, item in enumerate(flat):
        if isinstance(item, str):
            result[i] = item.encode()
        elif isinstance(item, bytes):
            result[i] = bytes(item)
        else:
            raise TypeError(f"Cannot feed {type(item).__name__} {item!r} for string Tensor {tensor.name!r}")
    return result.reshape(array.shape)


__all__ = [
    "Conversion", "Element", "Feeds", "Fetches", "IndexedSlicesValue", "conversion_for", "feed_array",
    "register_session_run_conversion_functions", "structure_key",
]  # fmt: skip
