"""Barriers, as TensorFlow's: values gather under keys, and are taken in the order in which their keys were named."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf

PROGRAM = """
def program(tf, np):
    raw = tf.raw_ops
    types = [tf.float32, tf.int32]
    barrier = raw.Barrier(component_types=types, shapes=[[2], []])
    keys, pair = tf.placeholder(tf.string, [None]), tf.placeholder(tf.float32, [None, 2])
    number = tf.placeholder(tf.int32)
    first = raw.BarrierInsertMany(handle=barrier, keys=keys, values=pair, component_index=0)
    second = raw.BarrierInsertMany(handle=barrier, keys=keys, values=number, component_index=1)
    sizes = [raw.BarrierReadySize(handle=barrier), raw.BarrierIncompleteSize(handle=barrier)]
    take = lambda n, **more: list(
        raw.BarrierTakeMany(handle=barrier, num_elements=n, component_types=types, **more)[:2])
    whole = raw.BarrierTakeMany(handle=barrier, num_elements=2, component_types=types)
    taken = [whole.indices, whole.keys, *whole.values] if hasattr(whole, "indices") else list(whole)
    close, found = raw.BarrierClose(handle=barrier), []
    with tf.Session() as session:
        def run(what, **fed):
            names = {"keys": keys, "pair": pair, "number": number}
            try:
                found.append(str(session.run(what, {names[name]: value for name, value in fed.items()})))
            except tf.errors.OpError as error:
                found.append(type(error).__name__)
        run(first, keys=["a", "b"], pair=[[1, 2], [3, 4]])
        run(sizes)
        run(second, keys=["b"], number=[9])
        run(sizes)
        run(first, keys=["b", "c", "d"], pair=[[0, 0], [5, 6], [7, 8]])
        run(first, keys=["c"], pair=[[5, 6]])
        run(first, keys=["a"], pair=[[1, 1]])
        run(second, keys=["d", "c"], number=[7, 8])
        run(second, keys=["a"], number=[1])
        for _ in range(2):
            run(taken)
        run(sizes)
        run(first, keys=["e", "f"], pair=[[1, 1], [2, 2]])
        run(second, keys=["e"], number=[3])
        run(take(0))
        run(close)
        run(first, keys=["z"], pair=[[1, 1]])
        run(take(7))
        run(take(7, allow_small_batch=True))
        run(second, keys=["f"], number=[4])
        run(second, keys=["b"], number=[6])
        run(take(1))
        run(take(1))
        run(take(1))
        run(sizes)
    return found
"""
THEIRS = """
import json
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
print("ANSWER" + json.dumps(program(tf, np)))
"""


@pytest.mark.tensorflow
def test_barriers_as_in_tensorflow(tensorflow: Callable[..., str]) -> None:
    (answer,) = [line[6:] for line in tensorflow(PROGRAM + THEIRS).splitlines() if line.startswith("ANSWER")]
    scope: dict[str, Any] = {}
    exec(PROGRAM, scope)
    with gf.Graph().as_default():
        assert scope["program"](gf, np) == json.loads(answer)


def test_who_takes_waits_for_the_last_component() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        barrier = gf.raw_ops.Barrier(component_types=[gf.int32, gf.int32])
        keys = gf.constant([b"k"])
        halves = [
            gf.raw_ops.BarrierInsertMany(handle=barrier, keys=keys, values=[n], component_index=n)
            for n in (0, 1)
        ]
        taken = gf.raw_ops.BarrierTakeMany(
            handle=barrier, num_elements=1, component_types=[gf.int32, gf.int32]
        )
        session.run(halves[0])
        timer = threading.Timer(0.05, lambda: session.run(halves[1]))
        timer.start()
        assert session.run(list(taken)[1])[0] == b"k"
        timer.join()
        close = gf.raw_ops.BarrierClose(handle=barrier, cancel_pending_enqueues=True)
        session.run(halves[0])
        session.run(close)
        with pytest.raises(gf.errors.CancelledError):
            session.run(halves[1])
        with pytest.raises(gf.errors.OutOfRangeError, match="insufficient"):
            session.run(list(taken)[1])
