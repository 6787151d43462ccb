"""Variable scopes: names, reuse, defaults, custom getters."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from graphflow import dtypes, ops
from graphflow.graph import GraphKeys, get_default_graph, name_scope
from graphflow.initializers import constant_initializer, zeros_initializer
from graphflow.opdef import constant, emit
from graphflow.session import Session
from graphflow.variable_scope import (
    AUTO_REUSE,
    get_local_variable,
    get_variable,
    get_variable_scope,
    no_regularizer,
    variable_op_scope,
    variable_scope,
)
from graphflow.variables import global_variables_initializer

assert ops


def test_names_follow_variable_scopes_not_name_scopes() -> None:
    with variable_scope("a"), name_scope("unseen"), variable_scope("b"):
        v = get_variable("v", [1])
        product = emit.Mul(v, 2.0)
    assert v.name == "a/b/v:0"
    assert product.name == "a/unseen/b/Mul:0"
    assert get_variable("top", [1]).name == "top:0"


def test_a_second_creation_names_both_lines_and_the_ways_out() -> None:
    get_variable("v", [1])
    with pytest.raises(
        ValueError, match="Variable v already exists, disallowed. Did you mean to set"
    ) as caught:
        get_variable("v", [1])
    text = str(caught.value)
    assert "reuse=True or reuse=tf.AUTO_REUSE in VarScope?" in text
    assert text.count("test_variable_scope.py") == 2
    assert "reset_default_graph" in text


def test_reuse_true_shares_and_auto_reuse_makes_if_need_be() -> None:
    with variable_scope("s"):
        v = get_variable("v", [2])
    with variable_scope("s", reuse=True):
        assert get_variable("v") is v
        with variable_scope("inner"), pytest.raises(ValueError, match="does not exist"):
            get_variable("w", [2])
    with variable_scope("s", reuse=AUTO_REUSE):
        assert get_variable("v", [2]) is v
        w = get_variable("w", [2])
        assert get_variable("w", [2]) is w
    with variable_scope("s") as scope:
        scope.reuse_variables()
        assert get_variable("w") is w


def test_sharing_with_another_shape_or_dtype_is_refused() -> None:
    get_variable("v", [2])
    with variable_scope("", reuse=True):
        with pytest.raises(ValueError, match=r"specified shape \(3,\) and found shape \(2,\)"):
            get_variable("v", [3])
        with pytest.raises(ValueError, match="specified dtype int32 and found dtype float32"):
            get_variable("v", [2], dtype=dtypes.int32)
        with pytest.raises(ValueError, match="Nearest names: v"):
            get_variable("vv", [2])


def test_default_names_are_made_unique_until_the_scope_is_left() -> None:
    def layer() -> str:
        with variable_scope(None, default_name="bar"):
            return str(get_variable("a", [1], initializer=zeros_initializer()).name)

    with variable_scope("foo") as foo:
        assert layer() == "foo/bar/a:0"
        assert layer() == "foo/bar_1/a:0"
    with variable_scope(foo), variable_scope(None, default_name="bar") as scope:
        assert scope.name == "foo/bar"


def test_a_captured_scope_is_entered_again() -> None:
    with variable_scope("outer"), variable_scope("inner") as inner:
        pass
    assert inner.original_name_scope == "outer/inner/"
    with variable_scope(inner):
        assert get_variable("v", [1]).name == "outer/inner/v:0"
        assert constant(1.0, name="c").name == "inner/c:0"
    with variable_scope(inner, auxiliary_name_scope=False), name_scope(inner.original_name_scope):
        assert constant(1.0, name="c").name == "outer/inner/c:0"
    with variable_scope(get_variable_scope(), reuse=AUTO_REUSE):
        assert get_variable_scope().name == ""
        assert get_variable("w", [1]) is get_variable("w", [1])


def test_defaults_of_a_scope_reach_its_variables() -> None:
    losses: list[str] = []

    def regularizer(v: Any) -> Any:
        losses.append(v.name)
        return emit.Identity(v)

    with variable_scope(
        "s",
        initializer=constant_initializer(3.0),
        regularizer=regularizer,
        dtype=dtypes.float64,
        constraint=emit.Relu,
    ):
        v = get_variable("v", [2])
        get_variable("w", [1], regularizer=no_regularizer)
        with variable_scope("t"):
            u = get_variable("u", [1])
    assert v.dtype is dtypes.float64
    assert v.constraint is not None
    assert losses == ["s/v:0", "s/t/u:0"]
    (first, second) = get_default_graph().get_collection(GraphKeys.REGULARIZATION_LOSSES)
    assert first.name == "s/v/Regularizer/Identity:0"
    assert second.name == "s/t/u/Regularizer/Identity:0"
    assert get_default_graph().get_collection(GraphKeys.REGULARIZATION_LOSSES, scope="s/t") == [second]
    with Session() as sess:
        sess.run(global_variables_initializer())
        assert sess.run(u).tolist() == [3.0]


def test_custom_getters_nest() -> None:
    def suffix(letter: str) -> Any:
        def getter(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            return getter(name + letter, *args, **kwargs)

        return getter

    with variable_scope("s", custom_getter=suffix("_a")), variable_scope("t", custom_getter=suffix("_b")):
        assert get_variable("v", [1]).name == "s/t/v_b_a:0"
    with pytest.raises(ValueError, match="not callable"):
        get_variable("v", [1], custom_getter=3)

    def old_style(
        getter: Any, name: str, shape: Any, dtype: Any, initializer: Any, regularizer: Any, reuse: Any, trainable: Any,
        collections: Any, caching_device: Any, partitioner: Any, validate_shape: Any, use_resource: Any,
    ) -> Any:  # fmt: skip
        return emit.Mul(getter(name, shape, dtype, initializer, reuse=reuse, trainable=trainable), 2.0)

    with variable_scope("u", custom_getter=old_style):
        assert get_variable("v", [1]).op.type == "Mul"


def test_initializers_of_get_variable() -> None:
    assert get_variable("value", initializer=constant([1, 2])).dtype is dtypes.int32
    assert get_variable("made", initializer=lambda: constant([1.0])).shape.as_list() == [1]
    assert get_variable("count", [2], dtype=dtypes.int32).dtype is dtypes.int32
    assert get_variable("kind", [2], initializer=zeros_initializer).shape.as_list() == [2]
    with pytest.raises(ValueError, match="do not specify shape"):
        get_variable("both", [2], initializer=constant([1.0, 2.0]))
    with pytest.raises(ValueError, match="shape"):
        get_variable("none")
    with pytest.raises(ValueError, match="don't match"):
        get_variable("clash", dtype=dtypes.int32, initializer=constant(1.0))
    with pytest.raises(ValueError, match="complex64"):
        get_variable("complex", [1], dtype=dtypes.complex64)
    with pytest.raises(ValueError, match="not valid"):
        get_variable("open", [None], initializer=zeros_initializer())


def test_local_variables() -> None:
    v = get_local_variable("v", [1])
    graph = get_default_graph()
    assert graph.get_collection(GraphKeys.LOCAL_VARIABLES) == [v]
    assert graph.get_collection(GraphKeys.GLOBAL_VARIABLES) == []
    assert not v.trainable


def test_a_scope_lists_its_own_variables() -> None:
    with variable_scope("s") as scope:
        v = get_variable("v", [1])
    get_variable("other", [1])
    assert scope.global_variables() == scope.trainable_variables() == [v]
    assert scope.local_variables() == []


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="name_or_scope is required"):
        variable_scope(None)
    with pytest.raises(TypeError, match="string or VariableScope"):
        variable_scope(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reuse parameter"):
        variable_scope("s", reuse="yes")
    with pytest.raises(TypeError, match="auxiliary_name_scope"):
        variable_scope("s", auxiliary_name_scope=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without a name_or_scope"), variable_scope(None, "d", reuse=True):
        pass
    assert get_variable_scope().name == ""


def test_an_error_inside_leaves_the_scope_as_it_was() -> None:
    with pytest.raises(RuntimeError, match="inside"), variable_scope("s"):
        raise RuntimeError("inside")
    assert get_variable_scope().name == ""
    assert constant(1.0, name="c").name == "c:0"


def test_threads_start_at_the_root_and_share_the_store() -> None:
    graph = get_default_graph()
    found: list[str] = []
    with variable_scope("main"):
        get_variable("v", [1])

        def work() -> None:
            with graph.as_default(), variable_scope("main", reuse=True):
                found.append(get_variable("v").name)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == ["main/v:0"]


def test_the_old_form_and_the_decorator() -> None:
    with variable_op_scope([constant(1.0)], "s"):
        assert get_variable("v", [1]).name == "s/v:0"

    @variable_scope("d", reuse=AUTO_REUSE)
    def layer() -> Any:
        return get_variable("v", [1])

    assert layer() is layer()
