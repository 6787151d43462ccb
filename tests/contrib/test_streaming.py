"""Streaming metrics of contrib, whose arguments come in another order than those of `metrics`; `switch` and `merge`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.compat.paths import public_path
from graphflow.compat.switches import merge, switch

streaming = gf.contrib.metrics
GENERATOR = np.random.RandomState(3)
X = (GENERATOR.randn(3, 5) * 3 + 100).astype(np.float32)
Y = (0.5 * X + GENERATOR.randn(3, 5)).astype(np.float32)
WEIGHTS = GENERATOR.randint(1, 3, (3, 5)).astype(np.float32)
GUESSES = np.array([[1, 1, 1, 1, 0], [0, 1, 0, 1, 1], [1, 0, 0, 0, 1]], bool)
TRUTHS = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 0, 0, 1]], bool)
HITS = int((GUESSES & TRUTHS).sum())

CASES: dict[str, tuple[Callable[..., Any], np.ndarray, np.ndarray, float]] = {
    "precision": (streaming.streaming_precision, GUESSES, TRUTHS, HITS / GUESSES.sum()),
    "recall": (streaming.streaming_recall, GUESSES, TRUTHS, HITS / TRUTHS.sum()),
    "false_positives": (streaming.streaming_false_positives, GUESSES, TRUTHS, GUESSES.sum() - HITS),
    "relative": (
        lambda x, y: streaming.streaming_mean_relative_error(x, y, x), X, Y, float((np.abs(X - Y) / X).mean()),
    ),
    "covariance": (streaming.streaming_covariance, X, Y, float(np.cov(X.ravel(), Y.ravel())[0, 1])),
    "pearson": (
        streaming.streaming_pearson_correlation, X, Y, float(np.corrcoef(X.ravel(), Y.ravel())[0, 1]),
    ),
    "slim": (gf.contrib.slim.metrics.streaming_precision, GUESSES, TRUTHS, HITS / GUESSES.sum()),
}  # fmt: skip


def test_predictions_come_before_labels() -> None:
    feeds: dict[Any, Any] = {}
    values, updates = {}, {}
    for name, (metric, first, second, _) in CASES.items():
        x, y = (gf.placeholder(array.dtype, [5]) for array in (first, second))
        values[name], updates[name] = metric(x, y)
        feeds[x], feeds[y] = first, second
    weighted = gf.placeholder(gf.float32, [5])
    x, y = (next(tensor for tensor, array in feeds.items() if array is wanted) for wanted in (X, Y))
    values["weighted"], updates["weighted"] = streaming.streaming_covariance(x, y, weights=weighted)
    feeds[weighted] = WEIGHTS
    with gf.Session() as session:
        session.run(gf.local_variables_initializer())
        for i in range(3):
            last = session.run(updates, {tensor: array[i] for tensor, array in feeds.items()})
        found = session.run(values)
    for name, (_, _, _, wanted) in CASES.items():
        for made in (found, last):
            np.testing.assert_allclose(made[name], wanted, rtol=2e-4, err_msg=name)
    wanted = np.cov(X.ravel(), Y.ravel(), fweights=WEIGHTS.ravel().astype(int))[0, 1]
    np.testing.assert_allclose(found["weighted"], wanted, rtol=2e-4)


def test_a_merge_takes_what_is_there() -> None:
    choice = gf.placeholder(gf.int32, [])
    runs: list[int] = []

    def traced(x: gf.Tensor, case: int) -> gf.Tensor:
        def note(value: np.ndarray) -> np.ndarray:
            runs.append(case)
            return value

        made: gf.Tensor = gf.py_func(note, [x * float(case + 1)], gf.float32)
        return made

    control_flow_ops = public_path("python.ops.control_flow_ops")
    x = gf.constant([1.0, 2.0])
    merged = control_flow_ops.merge(
        [traced(control_flow_ops.switch(x, gf.equal(choice, case))[1], case) for case in range(4)]
    )
    with gf.Session() as session:
        for case in (2, 0, 3):
            output, index = session.run(list(merged), {choice: case})
            np.testing.assert_array_equal(output, [case + 1.0, 2.0 * case + 2.0])
            assert index == case
    assert runs == [2, 0, 3]
    with pytest.raises(ValueError, match="merge inputs is None"):
        control_flow_ops.merge([x, None])


def test_both_sides_of_a_switch_and_the_gradient() -> None:
    positive = gf.placeholder(gf.bool, [])
    x = gf.constant(3.0)
    no, yes = switch(x, positive)
    made, index = merge([gf.square(yes), -no])
    (slope,) = gf.gradients(made, [x])
    with gf.Session() as session:
        assert session.run([made, index, slope], {positive: True}) == [9.0, 0, 6.0]
        assert session.run([made, index, slope], {positive: False}) == [-3.0, 1, -1.0]


def test_parts_of_devices() -> None:
    spec = gf.DeviceSpec.from_string("/job:worker/task:1/device:gpu:0")
    assert (spec.job, spec.task, spec.device_type, spec.device_index) == ("worker", 1, "GPU", 0)
    spec.merge_from(gf.DeviceSpec(task=2))
    assert spec.to_string() == "/job:worker/task:2/device:GPU:0"
    with gf.device(gf.DeviceSpec(device_type="CPU", device_index=0)):
        assert gf.constant(1.0).device == "/device:CPU:0"
