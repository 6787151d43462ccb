"""Variables: what they are in the graph, reading, writing, initializing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import dtypes, errors, initializers, ops
from graphflow.graph import GraphKeys, IndexedSlices, control_dependencies, get_default_graph, name_scope
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops.random import random_normal
from graphflow.ops.source import placeholder
from graphflow.session import Session
from graphflow.variables import (
    Variable,
    VariableSynchronization,
    all_variables,
    assert_variables_initialized,
    assign,
    assign_add,
    assign_sub,
    global_variables,
    global_variables_initializer,
    is_variable_initialized,
    local_variables,
    local_variables_initializer,
    report_uninitialized_variables,
    scatter_add,
    scatter_nd_update,
    scatter_update,
    trainable_variables,
    variables_initializer,
)

assert ops


def test_a_variable_is_four_named_operations() -> None:
    v = Variable([1.0, 2.0], name="w")
    names = [operation.name for operation in get_default_graph().get_operations()]
    assert names == [
        "w/Initializer/initial_value", "w", "w/IsInitialized/VarIsInitializedOp", "w/Assign", "w/Read/ReadVariableOp",
    ]  # fmt: skip
    assert v.name == "w:0"
    assert v.op.name == "w"
    assert v.op.type == "VarHandleOp"
    assert v.op.attrs["shared_name"] == "w"
    assert v.initializer.name == "w/Assign"
    assert v.initial_value is not None
    assert v.initial_value.name == "w/Initializer/initial_value:0"
    assert v.dtype is dtypes.float32
    assert v.dtype.base_dtype is dtypes.float32
    assert v.shape.as_list() == v.get_shape().as_list() == [2]
    assert v.graph is get_default_graph()
    assert v.device == ""
    assert v.trainable


def test_names_are_made_unique_and_scoped() -> None:
    assert Variable(1.0).name == "Variable:0"
    assert Variable(1.0).name == "Variable_1:0"
    with name_scope("here"):
        assert Variable(1.0, name="x").name == "here/x:0"
        assert Variable(1.0, name="x").name == "here/x_1:0"


def test_collections() -> None:
    a = Variable(1.0)
    b = Variable(1.0, trainable=False)
    c = Variable(1.0, collections=[GraphKeys.LOCAL_VARIABLES])
    d = Variable(1.0, synchronization=VariableSynchronization.ON_READ)
    assert global_variables() == all_variables() == [a, b, d]
    assert trainable_variables() == [a, c]
    assert local_variables() == [c]
    assert global_variables(scope="Variable_3") == [d]


def test_what_a_variable_refuses() -> None:
    with pytest.raises(ValueError, match="initial_value must be specified"):
        Variable()
    with pytest.raises(ValueError, match="must have a shape specified"):
        Variable(placeholder(dtypes.float32, [None]))
    with pytest.raises(ValueError, match="collections"):
        Variable(1.0, collections="variables")
    with pytest.raises(ValueError, match="constraint"):
        Variable(1.0, constraint=3)  # type: ignore[arg-type]
    v = Variable([1.0, 2.0], name="v")
    with pytest.raises(ValueError, match="Shape mismatch"):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="not iterable"):
        iter(v)
    with pytest.raises(TypeError, match="bool"):
        bool(v)
    with pytest.raises(ValueError, match="requested dtype"):
        convert_to_tensor(v, dtype=dtypes.int32)
    with pytest.raises(TypeError, match="IndexedSlices"):
        v.scatter_add(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Variable"):
        assign(constant(1.0), 2.0)


def test_initial_values_are_tensors_values_or_callables() -> None:
    a = Variable(lambda: constant([1, 2]), name="a")
    b = Variable(np.ones((2, 2)), dtype=dtypes.float64)
    c = Variable([True, False])
    d = Variable(b"text")
    with Session() as sess:
        sess.run(global_variables_initializer())
        assert [v.tolist() for v in sess.run([a, b, c])] == [[1, 2], [[1.0, 1.0], [1.0, 1.0]], [True, False]]
        assert sess.run(d) == b"text"
    assert b.dtype is dtypes.float64


def test_operators_read_at_the_point_of_use() -> None:
    v = Variable([1.0, 2.0], name="v")
    with Session() as sess:
        sess.run(v.initializer)
        results = [v + 1, 1 - v, v * v, v / 2.0, -v, v**2.0, v > 1.5, v[1], abs(-v)]
        got = [r.tolist() for r in sess.run(results)]
    assert got == [
        [2.0, 3.0], [0.0, -1.0], [1.0, 4.0], [0.5, 1.0], [-1.0, -2.0], [1.0, 4.0], [False, True], 2.0, [1.0, 2.0],
    ]  # fmt: skip
    product = emit.Mul(v, 2.0, name="product")
    assert product.op.inputs[0].op.name == "product/ReadVariableOp"


def test_a_read_sees_the_writes_that_edges_place_before_it() -> None:
    v = Variable(1.0)
    before = v.read_value()
    step = v.assign(5.0)
    with control_dependencies([step]):
        after = v.read_value()
    unordered = emit.Identity(v)
    with Session() as sess:
        sess.run(v.initializer)
        assert sess.run([before, step, after, unordered]) == [1.0, 5.0, 5.0, 1.0]


def test_unordered_writes_are_applied_in_the_order_they_were_made() -> None:
    v = Variable(1.0)
    ten = v.assign(10.0, read_value=False)
    add = v.assign_add(1.0, read_value=False)
    with Session() as sess:
        sess.run(v.initializer)
        sess.run([add, ten])
        assert sess.run(v) == 11.0


def test_assignments_return_the_new_value() -> None:
    v = Variable([1.0, 2.0])
    with Session() as sess:
        sess.run(v.initializer)
        assert sess.run(assign(v, [3.0, 4.0])).tolist() == [3.0, 4.0]
        assert sess.run(assign_add(v, [1.0, 1.0])).tolist() == [4.0, 5.0]
        assert sess.run(assign_sub(v, [1.0, 2.0])).tolist() == [3.0, 3.0]
        assert sess.run(assign_add(assign(v, [0.0, 0.0]), [1.0, 1.0]).op) is None
        assert sess.run(v.assign(v * 0.0)).tolist() == [0.0, 0.0]
        assert sess.run(v.assign_add([1.0, 1.0], read_value=False)) is None
        assert v.eval(sess).tolist() == [1.0, 1.0]


def test_scatters() -> None:
    v = Variable(np.zeros((4, 2), np.float32))
    rows = IndexedSlices(constant([[1.0, 1.0], [2.0, 2.0]]), constant([1, 1]))
    with Session() as sess:
        sess.run(v.initializer)
        assert sess.run(v.scatter_add(rows)).tolist() == [[0, 0], [3, 3], [0, 0], [0, 0]]
        assert sess.run(v.scatter_sub(rows)).tolist() == [[0, 0]] * 4
        assert sess.run(scatter_update(v, [0, 3], [[1.0, 2.0], [3.0, 4.0]])).tolist()[3] == [3.0, 4.0]
        assert sess.run(scatter_add(v, 0, [1.0, 1.0])).tolist()[0] == [2.0, 3.0]
        assert sess.run(scatter_nd_update(v, [[2, 1]], [9.0])).tolist()[2] == [0.0, 9.0]
        assert sess.run(v.sparse_read([3, 0])).tolist() == [[3.0, 4.0], [2.0, 3.0]]


def test_who_is_initialized() -> None:
    a = Variable(1.0, name="a")
    b = Variable(1.0, name="b", collections=[GraphKeys.LOCAL_VARIABLES])
    missing = report_uninitialized_variables()
    check = assert_variables_initialized()
    ready = is_variable_initialized(a)
    with Session() as sess:
        assert sess.run(missing).tolist() == [b"a", b"b"]
        assert not sess.run(ready)
        with pytest.raises(errors.InvalidArgumentError, match="uninitialized value a"):
            sess.run(check)
        sess.run(variables_initializer([a]))
        assert sess.run(ready)
        assert sess.run(missing).tolist() == [b"b"]
        sess.run(local_variables_initializer())
        assert sess.run(missing).tolist() == []
        sess.run(check)
        assert sess.run(b) == 1.0


def test_initial_values_may_depend_on_other_variables() -> None:
    a = Variable(random_normal([3]), name="a")
    b = Variable(a * 2.0, name="b")
    c = Variable(a.initialized_value() + b, name="c")
    with Session() as sess:
        sess.run(global_variables_initializer())
        one, two, three = sess.run([a, b, c])
    np.testing.assert_array_equal(two, one * 2)
    np.testing.assert_allclose(three, one * 3, rtol=1e-6)


def test_initializers_wait_for_nothing_of_the_surrounding_block() -> None:
    x = placeholder(dtypes.float32, [])
    with control_dependencies([x]):
        v = Variable(1.0)
    with Session() as sess:
        sess.run(v.initializer)
        assert sess.run(v) == 1.0


@pytest.mark.parametrize("name", [n for n in initializers.__all__ if n.islower() and "initializer" not in n])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64])
def test_initializers_give_their_distribution(name: str, dtype: Any) -> None:
    make = getattr(initializers, name)
    initializer = make(seed=3) if name not in ("zeros", "ones", "constant", "identity") else make()
    value = initializer([40, 50], dtype=dtype)
    assert value.dtype is dtype
    assert value.shape.as_list() == [40, 50]
    got = Session().run(value).astype(np.float64)
    deviation = {
        "zeros": 0.0, "ones": 0.0, "constant": 0.0, "random_uniform": 12**-0.5, "random_normal": 1.0,
        "truncated_normal": 0.8796, "uniform_unit_scaling": 40**-0.5, "variance_scaling": 40**-0.5,
        "glorot_uniform": 45**-0.5, "glorot_normal": 45**-0.5, "lecun_normal": 40**-0.5, "lecun_uniform": 40**-0.5,
        "he_normal": 20**-0.5, "he_uniform": 20**-0.5,
    }  # fmt: skip
    if name == "orthogonal":
        np.testing.assert_allclose(got @ got.T, np.eye(40), atol=1e-5)
    elif name == "identity":
        np.testing.assert_array_equal(got, np.eye(40, 50))
    else:
        assert got.std() == pytest.approx(deviation[name], rel=0.06, abs=1e-9)


def test_initializers_refuse_what_they_cannot_make() -> None:
    with pytest.raises(ValueError, match="positive float"):
        initializers.VarianceScaling(scale=-1.0)
    with pytest.raises(ValueError, match="mode"):
        initializers.VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="distribution"):
        initializers.VarianceScaling(distribution="odd")
    with pytest.raises(ValueError, match="floating point"):
        initializers.RandomNormal(dtype=dtypes.int32)
    with pytest.raises(ValueError, match="two-dimensional"):
        initializers.Orthogonal()([3])
    with pytest.raises(ValueError, match="fully defined"):
        initializers.Zeros()([None, 3])
    with pytest.raises(TypeError, match="Invalid type"):
        initializers.Constant(constant(1.0))
    again = initializers.VarianceScaling.from_config(initializers.VarianceScaling(2.0).get_config())
    assert isinstance(again, initializers.VarianceScaling)
    assert again.scale == 2.0


def test_a_definition_describes_a_variable() -> None:
    v = Variable([1.0, 2.0], name="w", trainable=False)
    definition = v.to_proto()
    assert definition.variable_name == "w:0"
    assert definition.initializer_name == "w/Assign"
    assert definition.snapshot_name == "w/Read/ReadVariableOp:0"
    assert definition.is_resource
    again = Variable.from_proto(definition)
    assert again.handle is v.handle
    assert again.initial_value is v.initial_value
    assert not again.trainable
    assert v.to_proto(export_scope="elsewhere") is None
    with Session() as sess:
        sess.run(again.initializer)
        assert sess.run(again + 1.0).tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="mutually exclusive"):
        Variable(1.0, variable_def=definition)


def test_a_handle_by_name_stands_for_its_value() -> None:
    """Programs that restore a graph fetch their variables as `graph.get_tensor_by_name("w:0")`."""
    gf.Variable([1.0, 2.0], name="w")
    w = gf.get_default_graph().get_tensor_by_name("w:0")
    results = [
        w * 2,
        2 - w,
        gf.shape(w),
        gf.concat([w, [3.0]], 0),
        -w,
        w[1],
        gf.py_func(lambda a: a * 3, [w], gf.float32),
    ]
    (slope,) = gf.gradients(gf.reduce_sum(w * w), w)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        values = [value.tolist() for value in session.run(results)]
        assert values == [[2, 4], [1, 0], [2], [1, 2, 3], [-1, -2], 2, [3, 6]]
        assert session.run(slope).tolist() == [2, 4]
        session.run(gf.assign(w, [5.0, 6.0]))
        assert session.run(w).tolist() == [5, 6]


def test_creators_make_variables() -> None:
    seen: list[tuple[str, Any]] = []

    def outer(next_creator: Any, **kwargs: Any) -> Any:
        seen.append(("outer", kwargs["name"]))
        return next_creator(**kwargs)

    def inner(next_creator: Any, **kwargs: Any) -> Any:
        seen.append(("inner", kwargs["name"]))
        return next_creator(**{**kwargs, "trainable": False, "name": f"{kwargs['name']}_made"})

    with gf.variable_creator_scope(outer):
        a = gf.Variable(1.0, True, name="a")
        with gf.variable_creator_scope(inner):
            b = gf.get_variable("b", [2], initializer=gf.zeros_initializer())
    c = gf.Variable(3.0, name="c")
    assert seen == [("outer", "a"), ("inner", "b"), ("outer", "b_made")]
    assert [v.op.name for v in (a, b, c)] == ["a", "b_made", "c"]
    assert gf.trainable_variables() == [a, c]
    with pytest.raises(ZeroDivisionError), gf.variable_creator_scope(lambda next_creator, **kwargs: 1 / 0):
        gf.Variable(1.0)
    assert gf.Variable(1.0).trainable
