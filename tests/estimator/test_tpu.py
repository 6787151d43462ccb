"""TPUEstimators of programs that run without a TPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

tpu = gf.estimator.tpu


def model_fn(features: Any, labels: Any, mode: str, params: Any) -> Any:
    prediction = gf.layers.dense(features, 1, kernel_initializer=gf.zeros_initializer())
    if mode == gf.estimator.ModeKeys.PREDICT:
        return tpu.TPUEstimatorSpec(mode, predictions={"y": prediction})
    loss = gf.reduce_mean(gf.square(prediction - labels)) * params["factor"]
    optimizer = tpu.CrossShardOptimizer(gf.train.GradientDescentOptimizer(0.1))
    step = optimizer.minimize(loss, gf.train.get_or_create_global_step())

    def metric_fn(wanted: Any, got: Any) -> Any:
        return {"error": gf.metrics.mean_absolute_error(wanted, got)}

    return tpu.TPUEstimatorSpec(
        mode, loss=loss, train_op=step, eval_metrics=(metric_fn, [labels, prediction])
    )


def test_it_runs_on_the_processor(tmp_path: Path) -> None:
    seen: list[int] = []
    x = np.random.RandomState(0).randn(32, 2).astype(np.float32)

    def input_fn(params: Any) -> Any:
        seen.append(params["batch_size"])
        data = gf.data.Dataset.from_tensor_slices((x, x[:, :1] * 3))
        return data.repeat().batch(params["batch_size"], drop_remainder=True)

    config = tpu.RunConfig(tpu_config=tpu.TPUConfig(iterations_per_loop=10), save_checkpoints_steps=50)
    one = tpu.TPUEstimator(
        model_fn, tmp_path, config, {"factor": 1.0}, use_tpu=False, train_batch_size=16, eval_batch_size=8,
        predict_batch_size=4,
    )  # fmt: skip
    one.train(input_fn, max_steps=60)
    found = one.evaluate(input_fn, steps=4)
    assert found["error"] < 0.1 and found["global_step"] == 60
    first = next(one.predict(input_fn))
    np.testing.assert_allclose(first["y"], x[0, :1] * 3, atol=0.1)
    assert seen == [16, 8, 4]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="use_tpu=False"):
        tpu.TPUEstimator(model_fn)
    with pytest.raises(ValueError, match="batch_size cannot be in params"):
        tpu.TPUEstimator(model_fn, params={"batch_size": 3}, use_tpu=False)
    with pytest.raises(ValueError, match="cluster must be None"):
        tpu.RunConfig(cluster=object())
    with pytest.raises(ValueError, match="a pair of a function"):
        tpu.TPUEstimatorSpec("train", eval_metrics=3).as_estimator_spec()
