"""`add_metrics`: an estimator that tells more than another in evaluation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graphflow.estimator.estimator import Estimator
from graphflow.estimator.model_fn import EstimatorSpec, ModeKeys

_ARGUMENTS = ("features", "labels", "predictions", "config")


def add_metrics(estimator: Estimator, metric_fn: Callable[..., Any]) -> Estimator:
    """Returns an estimator of the same model and folder that evaluates further metrics.

    Args:
      estimator: the estimator.
      metric_fn: a function of any of `features`, `labels`, `predictions` and `config`, by name, that returns a dict
        of metrics as `EstimatorSpec` takes them; one of a name that is there already takes its place.

    Raises:
      ValueError: if the function has another argument.
    """
    asked = list(inspect.signature(metric_fn).parameters)
    unknown = [name for name in asked if name not in _ARGUMENTS]
    if unknown:
        raise ValueError(f"metric_fn ({metric_fn}) has following not expected args: {unknown}")

    def model_fn(features: Any, labels: Any, mode: str, config: Any) -> EstimatorSpec:
        spec: EstimatorSpec = estimator.model_fn(features, labels, mode, config)
        if mode != ModeKeys.EVAL:
            return spec
        there = {"features": features, "labels": labels, "predictions": spec.predictions, "config": config}
        more = metric_fn(**{name: there[name] for name in asked})
        return spec._replace(eval_metric_ops={**spec.eval_metric_ops, **(more or {})})

    return Estimator(model_fn, estimator.model_dir, estimator.config, warm_start_from=estimator._warm_start)


__all__ = ["add_metrics"]
