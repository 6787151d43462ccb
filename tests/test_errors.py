"""What bad input gets: the class, the words of TF1, and the user's line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphflow import dtypes, errors, ops
from graphflow.graph import Graph
from graphflow.opdef import constant, emit
from graphflow.ops.control import py_func
from graphflow.ops.source import placeholder
from graphflow.session import Session
from graphflow.variables import Variable

assert ops

HERE = "test_errors.py"


def test_unfed_placeholders_are_listed_with_lines_and_fetches() -> None:
    x = placeholder(dtypes.float32, [None, 784], name="x")
    y = placeholder(dtypes.int64, None, name="y")
    loss = emit.Exp(x, name="loss")
    other = emit.Identity(y, name="other")
    with Session() as sess, pytest.raises(errors.InvalidArgumentError) as caught:
        sess.run([loss, other])
    text = str(caught.value)
    assert "You must feed a value for placeholder tensor 'x' with dtype float and shape [?,784]" in text
    assert "You must feed a value for placeholder tensor 'y' with dtype int64" in text
    assert text.count(HERE) == 2
    assert "needed by 'loss:0'" in text
    assert "needed by 'other:0'" in text
    assert caught.value.op is x.op


def test_uninitialized_variables_are_listed_with_lines() -> None:
    v, w = Variable(constant(1.0), name="v"), Variable(constant(1.0), name="w")
    total = emit.AddV2(v, w)
    with Session() as sess, pytest.raises(errors.FailedPreconditionError) as caught:
        sess.run(total)
    text = str(caught.value)
    assert "Attempting to use uninitialized value v" in text
    assert "Attempting to use uninitialized value w" in text
    assert text.count(HERE) == 2


def test_a_feed_of_the_wrong_shape() -> None:
    x = placeholder(dtypes.float32, [None, 3], name="x")
    with Session() as sess, pytest.raises(
        ValueError, match=r"Cannot feed value of shape \(2,\) for Tensor 'x:0', which has shape '\(\?, 3\)'"
    ):  # fmt: skip
        sess.run(emit.Neg(x), {x: np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    ("dtype", "value", "kind"),
    [
        (dtypes.float32, "text", ValueError),
        (dtypes.float32, [[1.0], [1.0, 2.0]], ValueError),
        (dtypes.int32, 2**40, TypeError),
        (dtypes.string, 3, TypeError),
        (dtypes.float32, 1j, ValueError),
        (dtypes.float32, None, (TypeError, ValueError)),
    ],
)
def test_a_feed_that_cannot_be_converted(dtype: Any, value: Any, kind: Any) -> None:
    x = placeholder(dtype, None)
    with Session() as sess, pytest.raises(kind):
        sess.run(emit.Identity(x), {x: value})


def test_a_tensor_as_a_feed() -> None:
    x = placeholder(dtypes.float32, [])
    with Session() as sess, pytest.raises(TypeError, match="cannot be a gf.Tensor"):
        sess.run(emit.Neg(x), {x: constant(1.0)})


def test_unknown_fetches_name_what_is_near() -> None:
    constant(1.0, name="accuracy")
    with Session() as sess:
        with pytest.raises(ValueError, match="acuracy.*accuracy"):
            sess.run("acuracy:0")
        with pytest.raises(ValueError, match="not in the graph"):
            sess.run("nothing_of_the_kind")
        with pytest.raises(TypeError, match="invalid type"):
            sess.run(3.5)
        with pytest.raises(TypeError, match="invalid type"):
            sess.run(None)


def test_unknown_feed_keys() -> None:
    x = constant(1.0)
    with Session() as sess:
        with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
            sess.run(x, {"nope:0": 1})
        with pytest.raises(TypeError, match="feed_dict"):
            sess.run(x, [x])


def test_a_tensor_of_another_graph() -> None:
    with Graph().as_default():
        x = constant(1.0)
    y = constant(2.0)
    with Session() as sess:
        with pytest.raises(ValueError, match="not an element of this graph"):
            sess.run(x)
        with pytest.raises(TypeError, match="not an element of this graph"):
            sess.run(y, {x: 1})


def test_a_closed_session() -> None:
    x = constant(1.0)
    sess = Session()
    assert sess.run(x) == 1.0
    call = sess.make_callable(x)
    sess.close()
    sess.close()
    for attempt in (lambda: sess.run(x), call, lambda: sess.list_devices()):
        with pytest.raises(RuntimeError, match="Attempted to use a closed Session."):
            attempt()


def test_an_empty_graph() -> None:
    with pytest.raises(RuntimeError, match="graph is empty"):
        Session(graph=Graph()).run("x")


def test_wrong_arguments_of_a_session() -> None:
    with pytest.raises(TypeError, match="config"):
        Session(config=3)
    with pytest.raises(TypeError, match="graph"):
        Session(graph="g")  # type: ignore[arg-type]
    with pytest.raises(errors.UnimplementedError, match="remote"):
        Session("grpc://somewhere:2222")


def test_what_fails_in_a_run_says_node_operands_and_line() -> None:
    x = placeholder(dtypes.int32, [None], name="x")
    table = constant([[1.0], [2.0]], name="table")
    rows = emit.GatherV2(table, x, 0, name="rows")
    with Session() as sess, pytest.raises(errors.InvalidArgumentError) as caught:
        sess.run(rows, {x: [7]})
    text = str(caught.value)
    assert "rows" in text
    assert "int32[1]" in text
    assert HERE in text


def test_shapes_that_clash_only_in_a_run() -> None:
    a = placeholder(dtypes.float32, [None], name="a")
    b = placeholder(dtypes.float32, [None], name="b")
    with Session() as sess, pytest.raises(errors.InvalidArgumentError) as caught:
        sess.run(emit.AddV2(a, b, name="sum"), {a: [1, 2], b: [1, 2, 3]})
    assert "sum" in str(caught.value)
    assert HERE in str(caught.value)


def test_shapes_that_clash_only_once_shapes_are_folded() -> None:
    x = placeholder(dtypes.float32, [None], name="x")
    y = emit.Add(x, emit.OnesLike(x))
    parts = emit.Split(0, emit.Tanh(y), num_split=2, name="parts")
    with Session() as sess, pytest.raises(errors.InvalidArgumentError) as caught:
        sess.run(parts[1], {x: [1.0]})
    assert "parts" in str(caught.value)
    assert "2 equal parts" in str(caught.value)
    assert HERE in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ValueError("odd"), errors.InvalidArgumentError),
        (StopIteration(), errors.OutOfRangeError),
        (MemoryError("full"), errors.ResourceExhaustedError),
        (NotImplementedError("later"), errors.UnimplementedError),
        (RuntimeError("broken"), errors.UnknownError),
        (errors.DataLossError(None, None, "damaged"), errors.DataLossError),
    ],
)
def test_exceptions_of_python_functions_get_tensorflows_classes(raised: Exception, kind: Any) -> None:
    def fail(value: Any) -> Any:
        raise raised

    y = py_func(fail, [constant(1.0)], dtypes.float32, name="mine")
    with Session() as sess, pytest.raises(kind, match="mine") as caught:
        sess.run(y)
    assert str(raised) in str(caught.value)
    assert HERE in str(caught.value)
    assert caught.value.op is y.op


def test_an_error_in_a_gradient_names_the_forward_operation() -> None:
    x = placeholder(dtypes.float32, [2], name="x")
    y = emit.Mul(x, 2.0, name="forward")

    def fail(value: Any) -> Any:
        raise ValueError("no gradient today")

    graph = y.graph
    with graph.gradient_of(y.op):
        bad = py_func(fail, [y], dtypes.float32, name="bad")
    with Session() as sess, pytest.raises(errors.InvalidArgumentError) as caught:
        sess.run(bad, {x: [1, 2]})
    assert "gradient of [[node forward = Mul" in str(caught.value)
