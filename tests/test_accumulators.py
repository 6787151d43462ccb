"""Accumulators of gradients, as TensorFlow's: what is late is left out, who takes waits for enough."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

import graphflow as gf

PROGRAM = """
def program(tf):
    dense = tf.ConditionalAccumulator(tf.float32, [2], reduction_type=KIND)
    sparse = tf.SparseConditionalAccumulator(tf.float32, [4, 2], reduction_type=KIND)
    x = tf.placeholder(tf.float32, [2])
    step = tf.placeholder(tf.int64, [])
    add = dense.apply_grad(x, step)
    at = tf.placeholder(tf.int64, [2])
    rows = tf.IndexedSlices(tf.reshape(tf.concat([x, 2 * x], 0), [2, 2]), at, [4, 2])
    add_rows = sparse.apply_indexed_slices_grad(rows, step)
    count, counts = dense.num_accumulated(), sparse.num_accumulated()
    take, take_rows = dense.take_grad(2), sparse.take_grad(1)
    later = [dense.set_global_step(5), sparse.set_global_step(5)]
    found = []
    with tf.Session() as session:
        for value, now, where in (([1., 2.], 0, [1, 3]), ([3., 5.], 0, [0, 1]), ([7., 7.], 3, [1, 2])):
            session.run([add, add_rows], {x: value, step: now, at: where})
        found += session.run([count, counts])
        found.append(session.run(take))
        found += session.run(take_rows)
        session.run([add, add_rows], {x: [1., 1.], step: 0, at: [0, 1]})  # a step behind: too late
        found += session.run([count, counts])
        session.run(later)
        session.run([add, add_rows], {x: [1., 1.], step: 4, at: [0, 1]})
        session.run([add, add_rows], {x: [1., 3.], step: 5, at: [2, 3]})
        found += session.run([count, counts])
        found += session.run(take_rows)
    return found
"""
THEIRS = """
import json
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
for KIND in ("MEAN", "SUM"):
    print("ANSWER" + json.dumps([value.tolist() for value in program(tf)]))
"""


@pytest.mark.tensorflow
def test_accumulators_as_in_tensorflow(tensorflow: Callable[..., str]) -> None:
    answers = [line[6:] for line in tensorflow(PROGRAM + THEIRS).splitlines() if line.startswith("ANSWER")]
    for kind, answer in zip(("MEAN", "SUM"), answers, strict=True):
        scope: dict[str, object] = {"KIND": kind}
        exec(PROGRAM, scope)
        program = scope["program"]
        assert callable(program)
        with gf.Graph().as_default():
            mine = [np.asarray(value).tolist() for value in program(gf)]
        assert str(mine) == answer


def test_who_takes_waits_and_bad_gradients_are_refused() -> None:
    accumulator = gf.ConditionalAccumulator(gf.float32, [None])
    x = gf.placeholder(gf.float32, [None])
    add, take = accumulator.apply_grad(x), accumulator.take_grad(2)
    with gf.Session() as session:
        session.run(add, {x: [1.0]})
        timer = threading.Timer(0.05, lambda: session.run(add, {x: [3.0]}))
        timer.start()
        assert session.run(take).tolist() == [2.0]
        timer.join()
        session.run(accumulator.set_global_step(0))
        session.run(add, {x: [1.0]})
        with pytest.raises(gf.errors.InvalidArgumentError, match="Shape mismatch"):
            session.run(add, {x: [1.0, 2.0]})
        with pytest.raises(gf.errors.InvalidArgumentError, match="must be positive"):
            session.run(accumulator.take_grad(0))
    with pytest.raises(ValueError, match="not compatible|incompatible"):
        gf.ConditionalAccumulator(gf.float32, [2]).apply_grad(gf.zeros([3]))
