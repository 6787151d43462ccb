"""Templates, partitioners, and variables that getters ask for: names and sharing as in TensorFlow 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import graphflow as gf


@pytest.fixture(autouse=True)
def graph() -> Iterator[gf.Graph]:
    with gf.Graph().as_default() as graph:
        yield graph


def _affine(x: Any, k: int = 1) -> Any:
    with gf.variable_scope("in"):
        w = gf.get_variable("w", [2, 3])
    return gf.matmul(x, w, name="mm") * k


def test_names_are_those_of_tensorflow() -> None:
    """The names that TensorFlow 2.21 gives in compat.v1."""
    x = gf.ones([4, 2])
    first = gf.make_template("t", _affine, k=3)
    assert first.variable_scope is None and first.variables == []
    assert [first(x).name, first(x).name] == ["t/mul:0", "t_1/mul:0"]
    assert (first.name, first.variable_scope_name) == ("t", "t/")
    second = gf.make_template("t", _affine)
    with gf.variable_scope("outer"):
        assert [second(x).name, second(x).name] == ["outer/t/mul:0", "outer/t_1/mul:0"]
    third = gf.make_template("t", _affine, True)
    with gf.variable_scope("outer"):
        assert [third(x).name, third(x).name] == ["outer_1/t_1/mul:0", "outer_1/t_1_1/mul:0"]
    assert third.variable_scope_name == "t_1/"
    unique = gf.make_template("q", _affine, unique_name_="uq")
    assert [unique(x).name, unique(x).name] == ["uq/mul:0", "uq_1/mul:0"]
    names = [variable.name for variable in gf.global_variables()]
    assert names == ["t/in/w:0", "outer/t/in/w:0", "t_1/in/w:0", "uq/in/w:0"]
    assert [v.name for v in first.trainable_variables] == [v.name for v in first.variables] == ["t/in/w:0"]
    assert first.non_trainable_variables == [] and first.local_variables == []


def test_a_later_call_makes_no_variables() -> None:
    calls = []

    def grows(x: Any) -> Any:
        calls.append(x)
        return x * gf.get_variable(f"v{len(calls)}", [])

    template = gf.make_template("bad", grows)
    template(1.0)
    with pytest.raises(ValueError, match="bad/v2 does not exist") as caught:
        template(1.0)
    assert "template 'bad'" in caught.value.__notes__[0] and "test_template.py" in caught.value.__notes__[0]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        gf.make_template("", _affine)
    with pytest.raises(ValueError, match="create_scope_now_"):
        gf.make_template("z", _affine, create_scope_now_=True, unique_name_="u")


def test_templates_are_methods_too() -> None:
    class Model:
        scale = 2.0
        apply = gf.make_template("model", lambda self, x: x * self.scale * gf.get_variable("v", []))

    model = Model()
    model.apply(1.0)
    model.apply(1.0)
    assert [variable.name for variable in gf.global_variables()] == ["model/v:0"]


@pytest.mark.parametrize(
    ("partitioner", "shards"),
    [
        (gf.fixed_size_partitioner(3), [3, 1]),
        (gf.fixed_size_partitioner(20, axis=1), [1, 7]),
        (gf.variable_axis_size_partitioner(64, max_shards=4), [4, 1]),
        (gf.variable_axis_size_partitioner(64), [5, 1]),
        (gf.min_max_variable_partitioner(4, min_slice_size=64), [4, 1]),
        (gf.min_max_variable_partitioner(4), [1, 1]),
    ],
)
def test_partitioners_count_shards(partitioner: Any, shards: list[int]) -> None:
    assert partitioner(shape=gf.TensorShape([10, 7]), dtype=gf.float32) == shards
    v = gf.get_variable("v", [10, 7], partitioner=partitioner)
    assert v.shape == [10, 7]


def test_partitioners_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="axis 2"):
        gf.fixed_size_partitioner(3, axis=2)(shape=[10, 7])
    with pytest.raises(ValueError, match="max_shard_bytes"):
        gf.variable_axis_size_partitioner(0)
    with pytest.raises(ValueError, match="max_partitions"):
        gf.min_max_variable_partitioner(0)


def test_layers_of_contrib_share_where_the_scope_outside_says_so() -> None:
    x = gf.ones([4, 8, 8, 3])
    for reuse in (False, True):
        with gf.variable_scope("net", reuse=reuse):
            net = gf.contrib.layers.conv2d(x, 4, 3, scope="conv")
            net = gf.contrib.layers.batch_norm(net, scope="norm", scale=True, is_training=not reuse)
            gf.contrib.layers.fully_connected(gf.contrib.layers.flatten(net), 2, scope="out")
    assert len(gf.global_variables()) == 8
    with pytest.raises(ValueError, match="norm/beta already exists"):
        with gf.variable_scope("net", reuse=False):
            gf.get_variable("norm/beta", [4])


def test_a_getter_that_drops_reuse_gets_or_creates() -> None:
    def getter(getter: Any, name: str, shape: Any, initializer: Any, **_: Any) -> Any:
        return getter(name, shape=shape, initializer=initializer)

    with gf.variable_scope("a", custom_getter=getter):
        one = gf.get_variable("v", [2])
        assert gf.get_variable("v", [2]) is one
