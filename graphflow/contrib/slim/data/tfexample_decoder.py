"""Makes items of serialized examples: features parsed, then a handler for each item."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphflow import dtypes, image
from graphflow.contrib.slim.data.data_decoder import DataDecoder
from graphflow.control_flow import cond
from graphflow.functional_ops import map_fn
from graphflow.ops.elementwise import cast, equal, logical_or
from graphflow.ops.layout import concat, reshape, stack
from graphflow.ops.parsing import (
    FixedLenFeature,
    decode_raw,
    parse_single_example,
    parse_single_sequence_example,
)
from graphflow.ops.source import size
from graphflow.ops.sparse import sparse_reshape, sparse_tensor_to_dense
from graphflow.ops.sparse_tensor import SparseTensor as Sparse
from graphflow.ops.strings import substr


class ItemHandler(abc.ABC):
    """Makes one item of features.

    Args:
      keys: the features that it needs.
    """

    def __init__(self, keys: Any) -> None:
        self._keys = list(keys) if isinstance(keys, list | tuple) else [keys]

    @property
    def keys(self) -> list[str]:
        """The features that it needs."""
        return self._keys

    @abc.abstractmethod
    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the item, of the features' tensors by key."""


class ItemHandlerCallback(ItemHandler):
    """Makes an item with a function of the features' tensors by key."""

    def __init__(self, keys: Any, func: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(keys)
        self._func = func

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns what the function gives."""
        return self._func({key: keys_to_tensors[key] for key in self._keys})


class BoundingBox(ItemHandler):
    """Makes boxes [boxes, 4] of four features.

    Args:
      keys: the four; default ymin, xmin, ymax, xmax.
      prefix: what stands before each of them.

    Raises:
      ValueError: if there are not four.
    """

    def __init__(self, keys: Sequence[str] | None = None, prefix: str = "") -> None:
        sides = ("ymin", "xmin", "ymax", "xmax") if keys is None else tuple(keys)
        if len(sides) != 4:
            raise ValueError(f"BoundingBox expects 4 keys but got {len(sides)}")
        super().__init__([prefix + side for side in sides])

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the boxes."""
        sides = [keys_to_tensors[key] for key in self._keys]
        flat = [side.values if isinstance(side, Sparse) else reshape(side, [-1]) for side in sides]
        return stack(flat, axis=1)


class Tensor(ItemHandler):
    """Gives a feature as a tensor.

    Args:
      tensor_key: the feature.
      shape_keys: features that hold the sizes, or one that holds them all.
      shape: the shape, if it is known.
      default_value: what a sparse feature has where it has nothing.

    Raises:
      ValueError: if both `shape` and `shape_keys` are given.
    """

    def __init__(
        self,
        tensor_key: str,
        shape_keys: Any = None,
        shape: Sequence[int] | None = None,
        default_value: Any = 0,
    ) -> None:
        if shape_keys and shape is not None:
            raise ValueError("Cannot specify both shape_keys and shape parameters.")
        listed = [shape_keys] if isinstance(shape_keys, str) else list(shape_keys or ())
        super().__init__([tensor_key, *listed])
        self._tensor_key, self._shape_keys = tensor_key, listed
        self._shape, self._default_value = shape, default_value

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the feature, dense and in its shape."""
        tensor = keys_to_tensors[self._tensor_key]
        shape: Any = self._shape
        if self._shape_keys:
            found = [keys_to_tensors[key] for key in self._shape_keys]
            sizes = [each.values if isinstance(each, Sparse) else reshape(each, [-1]) for each in found]
            shape = concat(sizes, 0)
        if isinstance(tensor, Sparse):
            if shape is not None:
                tensor = sparse_reshape(tensor, shape)
            tensor = sparse_tensor_to_dense(tensor, self._default_value)
        elif shape is not None:
            tensor = reshape(tensor, shape)
        return tensor


class LookupTensor(Tensor):
    """Gives what a table has for a feature; the other arguments are those of `Tensor`."""

    def __init__(
        self, tensor_key: str, table: Any, shape_keys: Any = None, shape: Sequence[int] | None = None,
        default_value: Any = "",
    ) -> None:  # fmt: skip
        super().__init__(tensor_key, shape_keys, shape, default_value)
        self._table = table

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the table's values."""
        return self._table.lookup(super().tensors_to_item(keys_to_tensors))


class BackupHandler(ItemHandler):
    """Gives what one handler makes, and if that is empty what another one makes.

    Raises:
      ValueError: if either is no handler.
    """

    def __init__(self, handler: ItemHandler, backup: ItemHandler) -> None:
        for each in (handler, backup):
            if not isinstance(each, ItemHandler):
                raise ValueError(f"a handler must be an ItemHandler, got {each!r}")
        super().__init__([*handler.keys, *backup.keys])
        self._handler, self._backup = handler, backup

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the item of the first, or of the second."""
        item = self._handler.tensors_to_item(keys_to_tensors)
        return cond(equal(size(item), 0), lambda: self._backup.tensors_to_item(keys_to_tensors), lambda: item)


class SparseTensor(ItemHandler):
    """Makes a sparse tensor of a feature of indices and one of values.

    Args:
      indices_key, values_key: the features; default "indices" and "values".
      shape_key: a feature that holds the shape.
      shape: the shape, if it is known.
      densify: whether the item is dense.
      default_value: what a dense one has where there is nothing.
    """

    def __init__(
        self, indices_key: str | None = None, values_key: str | None = None, shape_key: str | None = None,
        shape: Sequence[int] | None = None, densify: bool = False, default_value: Any = 0,
    ) -> None:  # fmt: skip
        self._indices_key, self._values_key = indices_key or "indices", values_key or "values"
        self._shape_key, self._shape = shape_key, shape
        self._densify, self._default_value = densify, default_value
        super().__init__([self._indices_key, self._values_key, *([shape_key] if shape_key else [])])

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the tensor."""
        indices, values = keys_to_tensors[self._indices_key], keys_to_tensors[self._values_key]
        if self._shape_key:
            shape = keys_to_tensors[self._shape_key]
            shape = shape.values if isinstance(shape, Sparse) else shape
        else:
            shape = indices.dense_shape if self._shape is None else self._shape
        # The last index of each value is what the feature of indices has there.
        last = reshape(cast(indices.values, dtypes.int64), [-1, 1])
        where = concat([indices.indices[:, :-1], last], 1)
        made = Sparse(where, values.values, cast(shape, dtypes.int64))
        return sparse_tensor_to_dense(made, self._default_value) if self._densify else made


class Image(ItemHandler):
    """Decodes an image: PNG, JPEG, BMP, GIF, or raw numbers.

    Args:
      image_key, format_key: the features; default "image/encoded" and "image/format".
      shape: the shape, if it is known; raw numbers need it.
      channels: how many channels; 0: as the image has.
      dtype: of the result, and of raw numbers.
      repeated: whether the feature holds many images.
      dct_method: how a JPEG is decoded.
    """

    def __init__(
        self, image_key: str | None = None, format_key: str | None = None, shape: Sequence[int] | None = None,
        channels: int = 3, dtype: Any = dtypes.uint8, repeated: bool = False, dct_method: str = "",
    ) -> None:  # fmt: skip
        self._image_key, self._format_key = image_key or "image/encoded", format_key or "image/format"
        self._shape, self._channels, self._dtype = shape, channels, dtypes.as_dtype(dtype)
        self._repeated, self._dct_method = repeated, dct_method
        super().__init__([self._image_key, self._format_key])

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> Any:
        """Returns the image [height, width, channels], or the images."""
        data, kind = keys_to_tensors[self._image_key], keys_to_tensors[self._format_key]
        if self._repeated:
            return map_fn(lambda each: self._decoded(each, kind), data, dtype=self._dtype)
        return self._decoded(data, kind)

    def _decoded(self, data: Any, kind: Any) -> Any:
        data, kind = reshape(data, []), reshape(kind, [])
        raw = logical_or(equal(kind, "raw"), equal(kind, "RAW"))
        sizes = [-1] if self._shape is None else self._shape
        decoded = cond(
            raw, lambda: reshape(decode_raw(data, self._dtype), sizes), lambda: self._of_file(data)
        )
        if self._shape is not None:
            return reshape(decoded, self._shape)
        decoded.set_shape([None, None, self._channels or None])
        return decoded

    def _of_file(self, data: Any) -> Any:
        if self._dct_method and self._dtype == dtypes.uint8:
            jpeg = equal(substr(data, 0, 3), b"\xff\xd8\xff")
            return cond(
                jpeg,
                lambda: image.decode_jpeg(data, self._channels, dct_method=self._dct_method),
                lambda: image.decode_image(data, self._channels, expand_animations=False),
            )
        return image.decode_image(data, self._channels, dtype=self._dtype, expand_animations=False)


def _shaped(parsed: dict[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """Gives features of fixed length the shape that they were declared with."""
    for key, feature in features.items():
        if isinstance(feature, FixedLenFeature):
            parsed[key] = reshape(parsed[key], feature.shape)
    return parsed


def _items(handlers: Mapping[str, ItemHandler], items: Sequence[str] | None, tensors: Any) -> list[Any]:
    made = []
    for item in list(handlers) if items is None else items:
        if item not in handlers:
            raise ValueError(f"there is no item {item!r}; items are {list(handlers)}")
        handler = handlers[item]
        made.append(handler.tensors_to_item({key: tensors[key] for key in handler.keys}))
    return made


class TFExampleDecoder(DataDecoder):
    """Makes items of a serialized `Example`.

    Args:
      keys_to_features: the features by key, as `gf.parse_single_example` has them.
      items_to_handlers: the handlers by the name of their item.
    """

    def __init__(
        self, keys_to_features: Mapping[str, Any], items_to_handlers: Mapping[str, ItemHandler]
    ) -> None:
        self._keys_to_features = dict(keys_to_features)
        self._items_to_handlers = dict(items_to_handlers)

    def list_items(self) -> list[str]:
        """Returns the names of the items."""
        return list(self._items_to_handlers)

    def decode(self, data: Any, items: Sequence[str] | None = None) -> list[Any]:
        """Returns items of a serialized example; default all."""
        parsed = parse_single_example(data, self._keys_to_features)
        return _items(self._items_to_handlers, items, _shaped(parsed, self._keys_to_features))


class TFSequenceExampleDecoder(DataDecoder):
    """Makes items of a serialized `SequenceExample`.

    Args:
      keys_to_context_features, keys_to_sequence_features: the features by key.
      items_to_handlers: the handlers by the name of their item.

    Raises:
      ValueError: if a key is one of both.
    """

    def __init__(
        self, keys_to_context_features: Mapping[str, Any], keys_to_sequence_features: Mapping[str, Any],
        items_to_handlers: Mapping[str, ItemHandler],
    ) -> None:  # fmt: skip
        both = sorted({*keys_to_context_features} & {*keys_to_sequence_features})
        if both:
            raise ValueError(f"features are of the context and of the sequence alike: {both}")
        self._context = dict(keys_to_context_features)
        self._sequence = dict(keys_to_sequence_features)
        self._items_to_handlers = dict(items_to_handlers)

    def list_items(self) -> list[str]:
        """Returns the names of the items."""
        return list(self._items_to_handlers)

    def decode(self, data: Any, items: Sequence[str] | None = None) -> list[Any]:
        """Returns items of a serialized example; default all."""
        context, sequence = parse_single_sequence_example(data, self._context, self._sequence)
        return _items(self._items_to_handlers, items, {**_shaped(context, self._context), **sequence})
