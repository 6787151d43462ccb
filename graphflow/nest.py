"""Nested structures: lists, tuples, named tuples and dicts whose leaves are flattened and packed again.

The order of leaves is TensorFlow's: sequences from left to right, dicts by their sorted keys. Everything else is a
leaf, arrays and tensors included. A *composite* is a leaf that consists of several tensors (`IndexedSlices`,
`SparseTensor`, `TensorArray`): what hands it through branches and loops takes it apart, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from graphflow.records import dataclass


@dataclass(frozen=True, slots=True)
class Composite:
    """How a kind of composite is taken apart.

    Attributes:
      kind: its type.
      parts: from an object to its tensors.
      rebuild: from an object and other tensors to an object like it that has these.
      shapes: from an object and a shape invariant given for it to the shapes of its tensors; None: it takes none.
    """

    kind: type
    parts: Callable[[Any], list[Any]]
    rebuild: Callable[[Any, list[Any]], Any]
    shapes: Callable[[Any, Any], list[Any]] | None = None


_composites: list[Composite] = []


def register_composite(
    kind: type,
    parts: Callable[[Any], list[Any]],
    rebuild: Callable[[Any, list[Any]], Any],
    shapes: Callable[[Any, Any], list[Any]] | None = None,
) -> None:
    """Says how objects of a type are taken apart into tensors and put together; see `Composite`."""
    _composites.append(Composite(kind, parts, rebuild, shapes))


def composite_of(value: Any) -> Composite | None:
    """Returns how a leaf is taken apart, or None if it is one tensor."""
    return next((known for known in _composites if isinstance(value, known.kind)), None)


def is_nested(structure: Any) -> bool:
    """Whether a value is a list, tuple, named tuple or mapping."""
    return isinstance(structure, list | tuple | Mapping)


def _sorted_keys(mapping: Mapping[Any, Any]) -> list[Any]:
    try:
        return sorted(mapping)
    except TypeError:
        raise TypeError("nest only supports dicts with sortable keys.") from None


def _children(structure: Any) -> list[Any]:
    if isinstance(structure, Mapping):
        return [structure[key] for key in _sorted_keys(structure)]
    return list(structure)


def _rebuilt(structure: Any, children: Sequence[Any]) -> Any:
    """Returns a structure of the same kind with other children, given in the order of `_children`."""
    if isinstance(structure, Mapping):
        values = dict(zip(_sorted_keys(structure), children, strict=True))
        ordered = {key: values[key] for key in structure}
        return ordered if type(structure) is dict else type(structure)(ordered)  # type: ignore[call-arg]
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*children)
    return type(structure)(children)


def _leaves(structure: Any, expand: bool = False) -> Iterator[Any]:
    # Its own stack: structures may be deep.
    stack = [structure]
    while stack:
        item = stack.pop()
        if is_nested(item):
            stack.extend(reversed(_children(item)))
            continue
        known = composite_of(item) if expand else None
        if known is None:
            yield item
        else:
            yield from known.parts(item)


def flatten(structure: Any, expand_composites: bool = False) -> list[Any]:
    """Returns the leaves of a structure; a leaf alone gives a list of one.

    Args:
      structure: the structure.
      expand_composites: whether leaves that consist of several tensors are taken apart.
    """
    return list(_leaves(structure, expand_composites))


def pack_sequence_as(structure: Any, flat_sequence: Sequence[Any], expand_composites: bool = False) -> Any:
    """Returns a structure like `structure` with the leaves of `flat_sequence`.

    Args:
      structure: the structure.
      flat_sequence: the leaves, in the order of `flatten`.
      expand_composites: as for `flatten`; composites are made anew of their tensors.

    Raises:
      TypeError: if `flat_sequence` is no sequence.
      ValueError: if it does not hold as many leaves as the structure.
    """
    if not isinstance(flat_sequence, Sequence) or isinstance(flat_sequence, str):
        raise TypeError(f"flat_sequence must be a sequence, got {type(flat_sequence).__name__}")
    wanted = sum(1 for _ in _leaves(structure, expand_composites))
    if wanted != len(flat_sequence):
        if not is_nested(structure):
            raise ValueError(f"Structure is a scalar but len(flat_sequence) == {len(flat_sequence)} > 1")
        raise ValueError(
            f"Could not pack sequence. Structure had {wanted} elements, but flat_sequence had"
            f" {len(flat_sequence)} elements. Structure: {structure}, flat_sequence: {flat_sequence}."
        )
    rest = iter(flat_sequence)

    def pack(item: Any) -> Any:
        if is_nested(item):
            return _rebuilt(item, [pack(child) for child in _children(item)])
        known = composite_of(item) if expand_composites else None
        if known is None:
            return next(rest)
        return known.rebuild(item, [next(rest) for _ in known.parts(item)])

    return pack(structure)


def assert_same_structure(
    nest1: Any, nest2: Any, check_types: bool = True, expand_composites: bool = False
) -> None:
    """Checks that two structures are nested alike.

    Args:
      nest1: a structure.
      nest2: another.
      check_types: whether the kinds of sequences must be the same too.
      expand_composites: whether leaves that consist of several tensors must be of one kind.

    Raises:
      ValueError: if they differ in structure.
      TypeError: if they differ in the kinds of sequences.
    """

    def fail(why: str) -> ValueError:
        return ValueError(
            f"The two structures don't have the same nested structure: {why}.\nFirst structure: {nest1}\n"
            f"Second structure: {nest2}"
        )

    stack = [(nest1, nest2)]
    while stack:
        a, b = stack.pop()
        if is_nested(a) != is_nested(b):
            raise fail(f"{a!r} against {b!r}")
        if not is_nested(a):
            one_kind, other_kind = composite_of(a), composite_of(b)
            if expand_composites and one_kind is not other_kind:
                raise TypeError(f"{a!r} and {b!r} do not consist of the same tensors")
            continue
        if check_types and type(a) is not type(b) and not (isinstance(a, Mapping) and isinstance(b, Mapping)):
            if getattr(a, "_fields", ()) and getattr(a, "_fields", ()) == getattr(b, "_fields", None):
                stack += list(zip(a, b, strict=True))
                continue
            raise TypeError(
                "The two structures don't have the same sequence type."
                f" First: {type(a).__name__}, second: {type(b).__name__}"
            )
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if set(a) != set(b):
                raise fail(f"the keys are {list(a)} and {list(b)}")
            stack += [(a[key], b[key]) for key in a]
            continue
        one, other = _children(a), _children(b)
        if len(one) != len(other):
            raise fail(f"{len(one)} against {len(other)} elements")
        stack += list(zip(one, other, strict=True))


def map_structure(func: Callable[..., Any], *structure: Any, **kwargs: Any) -> Any:
    """Applies a function to the leaves of structures that are nested alike.

    Args:
      func: takes one leaf of each structure.
      *structure: the structures.
      **kwargs: `check_types` (default True): whether kinds of sequences must be the same; `expand_composites` (default
        False): whether `func` gets the tensors that leaves consist of.

    Returns:
      A structure like the first, of the results.

    Raises:
      TypeError: if `func` cannot be called.
      ValueError: if there is no structure, or they differ.
    """
    if not callable(func):
        raise TypeError(f"func must be callable, got: {func}")
    if not structure:
        raise ValueError("Must provide at least one structure")
    check_types = kwargs.pop("check_types", True)
    expand = kwargs.pop("expand_composites", False)
    if kwargs:
        raise ValueError(
            f"Only valid keyword arguments are check_types and expand_composites, not: {list(kwargs)}"
        )
    for other in structure[1:]:
        assert_same_structure(structure[0], other, check_types, expand)
    leaves = [flatten(each, expand) for each in structure]
    return pack_sequence_as(structure[0], [func(*group) for group in zip(*leaves, strict=True)], expand)


def flatten_up_to(shallow_tree: Any, input_tree: Any, check_types: bool = True) -> list[Any]:
    """Returns the parts of `input_tree` that stand where `shallow_tree` has leaves.

    Raises:
      ValueError, TypeError: if `input_tree` is not nested like `shallow_tree` as far as that goes.
    """
    parts: list[Any] = []
    stack = [(shallow_tree, input_tree)]
    while stack:
        shallow, whole = stack.pop()
        if not is_nested(shallow):
            parts.append(whole)
            continue
        if not is_nested(whole):
            raise TypeError(
                f"If shallow structure is a sequence, input must also be a sequence. Input has type: {type(whole)}."
            )
        if check_types and type(shallow) is not type(whole) and not isinstance(shallow, Mapping):
            raise TypeError(
                "The two structures don't have the same sequence type. Input structure has type"
                f" {type(whole).__name__}, while shallow structure has type {type(shallow).__name__}."
            )
        if isinstance(shallow, Mapping) and isinstance(whole, Mapping):
            missing = [key for key in shallow if key not in whole]
            if missing:
                raise ValueError(f"The shallow structure's keys {missing} are not in the input structure")
            pairs = [(shallow[key], whole[key]) for key in _sorted_keys(shallow)]
        else:
            one, other = _children(shallow), _children(whole)
            if len(one) != len(other):
                raise ValueError(
                    "The two structures don't have the same sequence length. Input structure has length"
                    f" {len(other)}, while shallow structure has length {len(one)}."
                )
            pairs = list(zip(one, other, strict=True))
        stack += reversed(pairs)
    return parts


def map_structure_up_to(shallow_tree: Any, func: Callable[..., Any], *inputs: Any, **kwargs: Any) -> Any:
    """Applies a function to the parts of structures that stand where `shallow_tree` has leaves."""
    check_types = kwargs.pop("check_types", True)
    if not inputs:
        raise ValueError("Argument `inputs` is empty. Cannot map over no sequences.")
    parts = [flatten_up_to(shallow_tree, each, check_types) for each in inputs]
    return pack_sequence_as(shallow_tree, [func(*group) for group in zip(*parts, strict=True)])


# TensorFlow's other names of the same.
is_sequence = is_nested
is_nested_or_composite = is_nested

__all__ = [
    "assert_same_structure", "flatten", "flatten_up_to", "is_nested", "is_nested_or_composite", "is_sequence",
    "map_structure", "map_structure_up_to", "pack_sequence_as",
]  # fmt: skip
