"""Cheap groups run while a contraction loads its first operand; they are no kernels then, and nothing stores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.program import freeze
from graphflow.testing import check_same, run_reference


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def convolve(x: Any, stride: int = 1, outputs: int = 24) -> Any:
    filters = gf.constant(numbers(3, 3, x.shape[3].value, outputs, seed=1) / 10)
    return gf.nn.conv2d(x, filters, strides=[1, stride, stride, 1], padding="SAME")


def normalized(x: Any) -> Any:
    channels = x.shape[-1].value
    scale, shift = (gf.constant(numbers(channels, seed=seed)) for seed in (2, 3))
    return gf.nn.relu(x * scale + shift)


def pooled(x: Any) -> Any:
    return gf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")


def kernels(fetch: Any, x: Any, value: np.ndarray) -> list[str]:
    """Runs, compares with the NumPy bodies, and returns the names of the launches that are no packs."""
    with gf.Session() as session:
        check_same([session.run(fetch, {x: value})], run_reference(freeze([fetch], [x]), [value]), 1e-4)
        plan = session.plan(fetch, {x: value})
        return [launch.name for launch in plan.launches if "pack" not in launch.name]


@pytest.mark.parametrize(
    ("function", "shape", "launches"),
    [
        (lambda x: convolve(normalized(x)), [3, 9, 11, 16], 1),
        (lambda x: convolve(normalized(x), stride=2), [3, 9, 10, 16], 1),
        (lambda x: convolve(x * 0.5 - 1.0, stride=2), [2, 12, 12, 3], 1),
        # A pool cannot take it in; the convolution behind it can, and has an epilogue as well.
        (lambda x: gf.nn.relu(convolve(normalized(pooled(x))) + 1.0), [3, 9, 11, 16], 2),
        (lambda x: gf.matmul(normalized(x), gf.constant(numbers(40, 30))), [50, 40], 1),
        # Taken twice, dear, or of too many columns: stored.
        (lambda x: convolve(normalized(x)) + convolve(normalized(x), outputs=24), [3, 9, 11, 16], None),
        (lambda x: gf.matmul(gf.tanh(x), gf.constant(numbers(40, 30))), [50, 40], 2),
        (lambda x: gf.matmul(normalized(x), gf.constant(numbers(40, 2000))), [50, 40], 2),
        (lambda x: gf.matmul(gf.cast(x > 0, gf.float32), gf.constant(numbers(40, 30))), [50, 40], None),
    ],
)
def test_what_nobody_else_takes_is_loaded_through(
    function: Callable[[Any], Any], shape: list[int], launches: int | None
) -> None:
    for batch in (shape[0], None):
        with gf.Graph().as_default():
            x = gf.placeholder(gf.float32, [batch, *shape[1:]])
            fetch = function(x)
            for rows in (shape[0],) if batch else (shape[0], 5):
                found = kernels(fetch, x, numbers(rows, *shape[1:]))
                assert launches is None or len(found) == launches, found


def test_a_gradient_reads_what_the_forward_pass_has_stored() -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [3, 9, 8, 4])
        scale = gf.Variable(numbers(4))
        w = gf.Variable(numbers(3, 3, 4, 8, seed=1))
        h = gf.nn.relu(x * scale)
        loss = gf.reduce_mean(gf.square(gf.nn.conv2d(h, w, strides=[1, 2, 2, 1], padding="SAME")))
        gradients = gf.gradients(loss, [scale, w])
        value = numbers(3, 9, 8, 4, seed=2)
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            found = session.run(gradients, {x: value})
            step = 1e-3
            before = session.run(loss, {x: value})
            session.run(scale.assign_add(np.float32(step) * np.ones(4, np.float32)))
            slope = (session.run(loss, {x: value}) - before) / step
        np.testing.assert_allclose(slope, found[0].sum(), rtol=0.02)
