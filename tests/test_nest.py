"""Nested structures: order of leaves, packing again, what does not fit."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest

from graphflow import nest

Pair = namedtuple("Pair", "first second")
STRUCTURES: list[Any] = [
    5, [], [1, (2, [3])], {"b": 1, "a": [2, 3]}, Pair(1, {"z": 2, "y": 3}), (None, "text"),
    OrderedDict([("b", 1), ("a", (2,))]),
]  # fmt: skip


@pytest.mark.parametrize("structure", STRUCTURES, ids=repr)
def test_what_is_flattened_can_be_packed_again(structure: Any) -> None:
    packed = nest.pack_sequence_as(structure, nest.flatten(structure))
    assert packed == structure
    assert type(packed) is type(structure)


def test_leaves_come_in_order_and_dicts_by_key() -> None:
    assert nest.flatten(Pair([1, (2,)], {"b": 4, "a": 3})) == [1, 2, 3, 4]
    assert nest.flatten("text") == ["text"]
    assert nest.map_structure(lambda x, y: x + y, {"b": 1, "a": [2]}, {"a": [10], "b": 20}) == {
        "b": 21,
        "a": [12],
    }


def test_structures_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="had 2 elements, but flat_sequence had 3"):
        nest.pack_sequence_as([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="same nested structure"):
        nest.map_structure(lambda x, y: x, [1, 2], [1, [2]])
    with pytest.raises(TypeError, match="same sequence type"):
        nest.assert_same_structure([1], (1,))
    nest.assert_same_structure([1], (1,), check_types=False)
    with pytest.raises(ValueError, match="keys"):
        nest.assert_same_structure({"a": 1}, {"b": 1})


def test_up_to_a_shallow_tree() -> None:
    assert nest.flatten_up_to([0, (0, 0)], [[1, 2], ({"a": 3}, 4)]) == [[1, 2], {"a": 3}, 4]
    assert nest.map_structure_up_to({"a": 0}, len, {"a": [1, 2]}) == {"a": 2}
    with pytest.raises(ValueError, match="sequence length"):
        nest.flatten_up_to([0, 0], [1])
