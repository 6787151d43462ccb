"""Learning rates, the global step, moving averages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphflow import dtypes, ops, train
from graphflow.graph import Graph, GraphKeys, get_default_graph
from graphflow.opdef import constant, emit
from graphflow.ops.source import placeholder
from graphflow.session import Session
from graphflow.train.moving_averages import assign_moving_average, weighted_moving_average
from graphflow.variables import Variable, global_variables_initializer, trainable_variables

assert ops

STEPS = (0, 1, 9, 10, 11, 25, 40)


def half_cosine(fraction: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * fraction))


def restarts(step: int) -> float:
    length, start, height = 10, 0, 1.0
    while step >= start + length:
        start, length, height = start + length, length * 2, height * 0.5
    return 0.1 * (0.9 * height * half_cosine((step - start) / length) + 0.1)


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[int], float]]] = {
    "exponential": (lambda s: train.exponential_decay(0.1, s, 10, 0.9), lambda s: 0.1 * 0.9 ** (s / 10)),
    "staircase": (lambda s: train.exponential_decay(0.1, s, 10, 0.9, True), lambda s: 0.1 * 0.9 ** (s // 10)),
    "natural": (lambda s: train.natural_exp_decay(0.1, s, 10, 0.5), lambda s: 0.1 * math.exp(-0.5 * s / 10)),
    "inverse": (lambda s: train.inverse_time_decay(0.1, s, 10, 0.5), lambda s: 0.1 / (1 + 0.5 * s / 10)),
    "polynomial": (
        lambda s: train.polynomial_decay(0.1, s, 20, 0.01, power=2.0),
        lambda s: 0.09 * (1 - min(s, 20) / 20) ** 2 + 0.01,
    ),
    "cycle": (
        lambda s: train.polynomial_decay(0.1, s, 20, 0.01, cycle=True),
        lambda s: 0.09 * (1 - s / (20 * max(1, math.ceil(s / 20)))) + 0.01,
    ),
    "cosine": (
        lambda s: train.cosine_decay(0.1, s, 20, alpha=0.1),
        lambda s: 0.1 * (0.9 * half_cosine(min(s, 20) / 20) + 0.1),
    ),
    "restarts": (lambda s: train.cosine_decay_restarts(0.1, s, 10, 2.0, 0.5, alpha=0.1), restarts),
    "even_restarts": (
        lambda s: train.cosine_decay_restarts(0.1, s, 10, t_mul=1.0),
        lambda s: 0.1 * half_cosine(s / 10 % 1),
    ),
    "linear_cosine": (
        lambda s: train.linear_cosine_decay(0.1, s, 20, alpha=0.1, beta=0.01),
        lambda s: 0.1 * ((0.1 + 1 - min(s, 20) / 20) * half_cosine(min(s, 20) / 20) + 0.01),
    ),
    "piecewise": (
        lambda s: train.piecewise_constant(s, [9, 25], [1.0, 0.5, 0.1]),
        lambda s: 1.0 if s <= 9 else 0.5 if s <= 25 else 0.1,
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("dtype", [dtypes.int32, dtypes.int64])
def test_decays(name: str, dtype: Any) -> None:
    make, expected = CASES[name]
    step = placeholder(dtype, [])
    rate = make(step)
    assert rate.dtype is dtypes.float32
    with Session() as sess:
        got = [float(sess.run(rate, {step: s})) for s in STEPS]
    np.testing.assert_allclose(got, [expected(s) for s in STEPS], rtol=2e-5, atol=1e-7)


def test_noise_fades() -> None:
    step = placeholder(dtypes.int64, [])
    rate = train.noisy_linear_cosine_decay(0.1, step, 1000, initial_variance=0.01)
    with Session() as sess:
        early, again = (float(sess.run(rate, {step: 1})) for _ in range(2))
        assert early != again
        late = float(sess.run(rate, {step: 1000}))
    assert late == pytest.approx(0.1 * 0.001, abs=0.1 * 0.05)


def test_decays_refuse() -> None:
    with pytest.raises(ValueError, match="global_step is required"):
        train.exponential_decay(0.1, None, 10, 0.9)
    with pytest.raises(ValueError, match="1 less than"):
        train.piecewise_constant(constant(1), [1, 2], [1.0, 2.0])
    with pytest.raises(ValueError, match="same dtype as x"):
        train.piecewise_constant(constant(1), [1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="all with the same dtype"):
        train.piecewise_constant(constant(1), [1], [1.0, 2])


def test_the_global_step() -> None:
    assert train.get_global_step() is None
    step = train.get_or_create_global_step()
    assert step.name == "global_step:0"
    assert step.dtype is dtypes.int64
    assert train.get_global_step() is step
    assert train.get_or_create_global_step() is step
    assert trainable_variables() == []
    with pytest.raises(ValueError, match="already exists"):
        train.create_global_step()
    with Graph().as_default() as other:
        mine = Variable(0, name="global_step", trainable=False)
        assert train.get_global_step() is mine
    assert train.get_global_step(other) is mine
    with pytest.raises(TypeError, match="integer"):
        train.assert_global_step(Variable(1.0))
    with pytest.raises(TypeError, match="scalar"):
        train.assert_global_step(Variable([1, 2]))
    with pytest.raises(TypeError, match="Variable or Tensor"):
        train.assert_global_step(3)


def test_averages_follow_variables() -> None:
    w = Variable([1.0, 2.0], name="w")
    average = train.ExponentialMovingAverage(0.9)
    change = w.assign_add([1.0, 1.0])
    with get_default_graph().control_dependencies([change]):
        step = average.apply([w])
    shadow = average.average(w)
    assert shadow is not None
    assert shadow.op.name == average.average_name(w) == "w/ExponentialMovingAverage"
    assert get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES) == [w]
    assert average.variables_to_restore() == {"w/ExponentialMovingAverage": w}
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(step)
        np.testing.assert_allclose(sess.run(shadow), [1.1, 2.1], rtol=1e-6)
        sess.run(step)
        np.testing.assert_allclose(sess.run(shadow), [1.29, 2.29], rtol=1e-6)


def test_averages_of_tensors_without_bias() -> None:
    x = placeholder(dtypes.float32, [2], name="x")
    average = train.ExponentialMovingAverage(0.5, zero_debias=True)
    step = average.apply([x])
    shadow = average.average(x)
    assert shadow is not None
    with Session() as sess:
        sess.run(global_variables_initializer())
        sess.run(step, {x: [4.0, 8.0]})
        np.testing.assert_allclose(sess.run(shadow), [4.0, 8.0], rtol=1e-6)
        sess.run(step, {x: [1.0, 2.0]})
        np.testing.assert_allclose(sess.run(shadow), [2.0, 4.0], rtol=1e-6)


def test_the_decay_starts_low_with_a_count() -> None:
    w = Variable([1.0], name="w")
    average = train.ExponentialMovingAverage(0.999, num_updates=constant(0))
    step = average.apply()
    with Session() as sess:
        sess.run(global_variables_initializer())
        w.load([11.0], sess)
        sess.run(step)
        np.testing.assert_allclose(sess.run(average.average(w)), [10.0], rtol=1e-6)
    with pytest.raises(TypeError, match="half, float, or double"):
        average.apply([Variable(1)])


def test_moving_an_average_by_hand() -> None:
    average = Variable([0.0], name="average")
    plain = assign_moving_average(average, constant([10.0]), 0.9, zero_debias=False)
    weighted = weighted_moving_average(constant([2.0]), 0.5, constant([4.0]))
    with Session() as sess:
        sess.run(global_variables_initializer())
        np.testing.assert_allclose(sess.run(plain), [1.0], rtol=1e-6)
        np.testing.assert_allclose(sess.run(weighted), [2.0], rtol=1e-6)


def test_a_decayed_rate_drives_an_optimizer() -> None:
    step = train.get_or_create_global_step()
    w = Variable([0.0])
    rate = train.exponential_decay(1.0, step, 1, 0.5)
    update = train.GradientDescentOptimizer(rate).minimize(emit.Sum(w, [0]), global_step=step)
    with Session() as sess:
        sess.run(global_variables_initializer())
        for _ in range(3):
            sess.run(update)
        np.testing.assert_allclose(sess.run(w), [-1.75], rtol=1e-6)
