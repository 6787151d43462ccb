"""Ops on variables, from the samples: the compiled session does to variables what the bodies say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import ops
from graphflow.opdef import emit, emit_operation, get_op
from tests.samples import Sample, all_samples
from tests.samples.training import DENSE, RATES, SPARSE

assert ops

TABLE = all_samples()
WRITERS = [
    *DENSE, *SPARSE, "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceStridedSliceAssign",
    *(f"ResourceScatter{kind}" for kind in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max")),
    *(f"ResourceScatterNd{kind}" for kind in ("Update", "Add", "Sub", "Min", "Max")),
]  # fmt: skip
READERS = ["ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"]


def cases(op_types: list[str]) -> list[Any]:
    return [pytest.param(t, s, id=f"{t}-{i}") for t in op_types for i, s in enumerate(TABLE[t])]


def built(op_type: str, sample: Sample) -> tuple[Any, list[gf.Variable], dict[Any, Any]]:
    """The operation on variables that hold the sample's states; other inputs are fed."""
    op_def = get_op(op_type)
    variables, inputs, feeds = [], [], {}
    for i, value in enumerate(sample.flat()):
        if i in op_def.reads:
            variable = gf.Variable(value, name=f"state{i}")
            variables.append(variable)
            inputs.append(variable.handle)
        else:
            tensor = gf.placeholder(value.dtype, value.shape)
            inputs.append(tensor)
            feeds[tensor] = value
    return emit_operation(op_def, inputs, dict(sample.attrs), "tested"), variables, feeds


@pytest.mark.parametrize(("op_type", "sample"), cases(WRITERS))
def test_write(op_type: str, sample: Sample) -> None:
    operation, variables, feeds = built(op_type, sample)
    expected = get_op(op_type).run(sample.flat(), operation.attrs)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(operation, feeds)
        for variable, value in zip(variables, expected, strict=True):
            np.testing.assert_allclose(
                session.run(variable),
                value,
                rtol=sample.rtol or 1e-6,
                atol=sample.atol or 1e-7,
                err_msg=variable.name,
            )


@pytest.mark.parametrize(("op_type", "sample"), cases(READERS))
def test_read(op_type: str, sample: Sample) -> None:
    tensor, _, feeds = built(op_type, sample)
    (expected,) = get_op(op_type).run(sample.flat(), tensor.op.attrs)
    assert tensor.shape.is_compatible_with(expected.shape)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(tensor, feeds), expected)


def test_gradient_of_a_gather_is_sparse() -> None:
    variable = gf.Variable(np.arange(10, dtype=np.float32).reshape(5, 2))
    rows = variable.sparse_read([[3, 0], [3, 1]])
    (gradient,) = gf.gradients(rows * rows, variable)
    assert isinstance(gradient, gf.IndexedSlices)
    expected = np.zeros((5, 2), np.float32)
    np.add.at(expected, [3, 0, 3, 1], 2 * np.arange(10, dtype=np.float32).reshape(5, 2)[[3, 0, 3, 1]])
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(gf.convert_to_tensor(gradient)), expected)


def test_gradient_of_a_gather_by_batch() -> None:
    variable = gf.Variable(np.zeros((2, 4, 3), np.float32))
    rows = emit.ResourceGather(variable.handle, [[1, 1], [0, 3]], dtype=gf.float32, batch_dims=1)
    (gradient,) = gf.gradients(rows, variable)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(gradient)[:, :, 0], [[0, 2, 0, 0], [1, 0, 0, 1]])


def test_gradient_of_gathered_slices() -> None:
    variable = gf.Variable(np.zeros((3, 2), np.float32))
    picked = emit.ResourceGatherNd(variable.handle, [[0, 1], [2, 0], [0, 1]], dtype=gf.float32)
    (gradient,) = gf.gradients(picked, variable)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(gradient), [[0, 2], [0, 0], [1, 0]])


def test_indices_outside_the_variable() -> None:
    variable = gf.Variable(np.zeros((3, 2), np.float32))
    index = gf.placeholder(gf.int32, [1])
    attempts = [
        variable.sparse_read(index),
        emit.ResourceScatterAdd(variable.handle, index, np.ones((1, 2), np.float32)),
    ]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for attempt in attempts:
            for bad in (3, -1):
                with pytest.raises(
                    gf.errors.InvalidArgumentError, match=rf"indices\[0\] = {bad} is not in \[0, 3\)"
                ):
                    session.run(attempt, {index: [bad]})


def test_shapes_are_checked_while_building() -> None:
    variable = gf.Variable(np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"the variable has shape \(3, 2\), the value \(2, 3\)"):
        emit.AssignVariableOp(variable.handle, np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="holds float32"):
        emit.AssignVariableOp(variable.handle, np.zeros((3, 2), np.float64))
    with pytest.raises(ValueError, match=r"updates must have shape \(1, 2\)"):
        emit.ResourceScatterAdd(variable.handle, [0], np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="its gradient"):
        emit.ResourceApplyGradientDescent(variable.handle, 0.1, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="alpha must be a scalar"):
        emit.ResourceApplyGradientDescent(variable.handle, [0.1], np.zeros((3, 2), np.float32))
    slot = gf.Variable(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"slot \(input 1\)"):
        emit.ResourceApplyMomentum(variable.handle, slot.handle, 0.1, np.zeros((3, 2), np.float32), 0.9)


# TensorFlow's own kernels on the same states; the referee of the formulas.
REFEREE = r"""
import json, sys
import numpy as np
import tensorflow as real
tf = real.compat.v1
tf.disable_eager_execution()
data = np.load(sys.argv[1])
tasks = json.load(open(sys.argv[2]))
results = {}
for number, (op, names, states, attrs) in enumerate(tasks):
    with tf.Graph().as_default(), tf.Session() as session:
        arguments, variables = {}, []
        for i, name in enumerate(names):
            value = data[f"{number} {i}"]
            if i < states:
                variables.append(tf.Variable(value, use_resource=True))
                arguments[name] = variables[-1].handle
            else:
                arguments[name] = tf.constant(value)
        update = getattr(tf.raw_ops, op)(**arguments, **attrs)
        session.run(tf.global_variables_initializer())
        session.run(update)
        for i, value in enumerate(session.run(variables)):
            results[f"{number} {i}"] = value
np.savez(sys.argv[3], **results)
"""


@pytest.mark.tensorflow
def test_updates_are_tensorflows(tensorflow: Any, tmp_path: Any) -> None:
    import json

    tasks: list[Any] = []
    arrays: dict[str, Any] = {}
    for op_type in (*DENSE, *SPARSE):
        op_def = get_op(op_type)
        for sample in TABLE[op_type]:
            for i, value in enumerate(sample.flat()):
                arrays[f"{len(tasks)} {i}"] = value
            tasks.append((op_type, [a.name for a in op_def.inputs], len(op_def.updates), sample.attrs))
    assert RATES
    np.savez(tmp_path / "inputs.npz", **arrays)
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    tensorflow(REFEREE, tmp_path / "inputs.npz", tmp_path / "tasks.json", tmp_path / "results.npz")
    theirs = np.load(tmp_path / "results.npz")
    for number, (op_type, names, states, attrs) in enumerate(tasks):
        inputs = [arrays[f"{number} {i}"] for i in range(len(names))]
        op_def = get_op(op_type)
        complete = {name: attr.default for name, attr in op_def.attrs.items()} | attrs
        for i, mine in enumerate(op_def.run(inputs, complete)[:states]):
            np.testing.assert_allclose(
                mine, theirs[f"{number} {i}"], rtol=2e-5, atol=2e-6, err_msg=f"{op_type} {attrs} {i}"
            )
