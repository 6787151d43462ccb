"""Small things that layers share: names of outputs, sizes, and choices that may be made in the run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from graphflow.graph import add_to_collections, get_collection, get_collection_ref
from graphflow.keras.smart_cond import smart_cond, smart_constant_value


def collect_named_outputs(collections: Any, alias: str | None, outputs: Any) -> Any:
    """Puts a layer's outputs into collections, under a name; returns them."""
    if collections:
        append_tensor_alias(outputs, alias)
        add_to_collections([collections] if isinstance(collections, str) else collections, outputs)
    return outputs


def append_tensor_alias(tensor: Any, alias: str | None) -> Any:
    """Gives a tensor one more name."""
    if alias:
        tensor.aliases = [*getattr(tensor, "aliases", ()), alias.removesuffix("/")]
    return tensor


def gather_tensors_aliases(tensors: Iterable[Any]) -> list[str]:
    """Returns the names of tensors, one after another."""
    return [name for tensor in tensors for name in get_tensor_aliases(tensor)]


def get_tensor_aliases(tensor: Any) -> list[str]:
    """Returns the names of a tensor: those that it was given, else its own."""
    own: list[str] = getattr(tensor, "aliases", None) or [str(tensor.name).removesuffix(":0")]
    return own


def convert_collection_to_dict(collection: str, clear_collection: bool = False) -> OrderedDict[str, Any]:
    """Returns a collection's tensors by their names.

    Args:
      collection: the collection.
      clear_collection: whether it is emptied.
    """
    found = OrderedDict(
        (name, tensor) for tensor in get_collection(collection) for name in get_tensor_aliases(tensor)
    )
    if clear_collection:
        del get_collection_ref(collection)[:]
    return found


def constant_value(value_or_tensor_or_var: Any, dtype: Any = None) -> Any:
    """Returns what is known of a bool or a scalar tensor while building, or None.

    Raises:
      ValueError: for None.
    """
    if value_or_tensor_or_var is None:
        raise ValueError("value_or_tensor_or_var cannot be None")
    value = value_or_tensor_or_var
    if isinstance(value, bool | int | float):
        return value
    return smart_constant_value(value)


def static_cond(pred: Any, fn1: Any, fn2: Any) -> Any:
    """Returns what one of two functions gives, as a bool says.

    Raises:
      TypeError: if either cannot be called.
    """
    if not callable(fn1) or not callable(fn2):
        raise TypeError("fn1 and fn2 must be callable.")
    return fn1() if pred else fn2()


def last_dimension(shape: Any, min_rank: int = 1) -> int:
    """Returns the last size of a shape.

    Raises:
      ValueError: if it is unknown, or the rank is too small.
    """
    if shape.rank is None:
        raise ValueError("dims of shape must be known but is None")
    if shape.rank < min_rank:
        raise ValueError(f"rank of shape must be at least {min_rank} not: {shape.rank}")
    size = shape.as_list()[-1]
    if size is None:
        raise ValueError("last dimension shape must be known but is None")
    return int(size)


def channel_dimension(shape: Any, data_format: str, min_rank: int = 1) -> int:
    """Returns the number of channels that a shape has.

    Raises:
      ValueError: if it is unknown, or the rank is too small.
    """
    if data_format in (None, "NHWC", "NWC", "NDHWC"):
        return last_dimension(shape, min_rank)
    if shape.rank is None or shape.rank < min_rank:
        raise ValueError(f"rank of shape must be at least {min_rank} not: {shape.rank}")
    size = shape.as_list()[1]
    if size is None:
        raise ValueError("second dimension shape must be known but is None")
    return int(size)


def two_element_tuple(int_or_tuple: Any) -> tuple[int, int]:
    """Returns a number twice, or the two that a pair or a shape has.

    Raises:
      ValueError: if there are not two.
    """
    if isinstance(int_or_tuple, list | tuple):
        if len(int_or_tuple) != 2:
            raise ValueError(f"Must be a list with 2 elements: {int_or_tuple}")
        return int(int_or_tuple[0]), int(int_or_tuple[1])
    if hasattr(int_or_tuple, "as_list"):
        return two_element_tuple(int_or_tuple.as_list())
    return int(int_or_tuple), int(int_or_tuple)


def n_positive_integers(n: int, value: Any) -> tuple[int, ...]:
    """Returns `n` positive integers: a number repeated, or those of a list.

    Raises:
      ValueError: if they are others.
    """
    value = value.as_list() if hasattr(value, "as_list") else value
    items: Sequence[Any] = value if isinstance(value, list | tuple) else [value] * n
    found = tuple(int(item) for item in items)
    if len(found) == 1:
        found = found * n
    if len(found) != n or any(item < 1 for item in found):
        raise ValueError(f"value must be {n} positive integers: {value!r}")
    return found


def get_variable_collections(variables_collections: Any, name: str) -> Any:
    """Returns the collections that a variable joins: of a dict, those under its name."""
    if isinstance(variables_collections, dict):
        return variables_collections.get(name)
    return variables_collections


__all__ = [
    "append_tensor_alias", "channel_dimension", "collect_named_outputs", "constant_value",
    "convert_collection_to_dict", "gather_tensors_aliases", "get_tensor_aliases", "get_variable_collections",
    "last_dimension", "n_positive_integers", "smart_cond", "static_cond", "two_element_tuple",
]  # fmt: skip
