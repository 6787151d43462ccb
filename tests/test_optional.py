"""Values that may be absent."""

from __future__ import annotations

import pytest

import graphflow as gf
from graphflow.opdef import emit


def test_what_an_optional_holds() -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        p = gf.placeholder(gf.bool, [])
        values = [gf.constant([1.0, 2.0]), gf.constant(b"x")]
        some = emit.OptionalFromValue(values)
        chosen = gf.cond(p, lambda: emit.OptionalFromValue(values), lambda: emit.OptionalNone())
        told = {
            "output_types": (gf.float32, gf.string),
            "output_shapes": (gf.TensorShape([2]), gf.TensorShape([])),
        }
        numbers, text = emit.OptionalGetValue(chosen, **told)
        assert numbers.shape == [2] and text.dtype == gf.string
        has = emit.OptionalHasValue(chosen)
        assert [bool(sess.run(has, {p: value})) for value in (True, False)] == [True, False]
        assert sess.run(numbers, {p: True}).tolist() == [1, 2] and sess.run(text, {p: True}) == b"x"
        with pytest.raises(gf.errors.InvalidArgumentError, match="does not have a value"):
            sess.run(numbers, {p: False})
        wrong = emit.OptionalGetValue(some, output_types=(gf.float32,), output_shapes=(gf.TensorShape([3]),))
        with pytest.raises(gf.errors.InvalidArgumentError, match="has 2 components, expected 1"):
            sess.run(wrong)
        lying = emit.OptionalGetValue(
            some, **told | {"output_shapes": (gf.TensorShape([3]), gf.TensorShape([]))}
        )
        with pytest.raises(gf.errors.InvalidArgumentError, match="component 0 is float32"):
            sess.run(lying)
