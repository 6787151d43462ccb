"""What a model function gives: `EstimatorSpec`, and the modes it is called in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphflow.estimator.export import ExportOutput, default_export_outputs
from graphflow.graph import GraphKeys, Operation, Tensor, get_default_graph
from graphflow.keras.metric import Metric
from graphflow.opdef import convert_to_tensor
from graphflow.ops.control import group
from graphflow.ops.layout import reshape
from graphflow.train.monitored_session import Scaffold
from graphflow.train.session_run_hook import SessionRunHook
from graphflow.variables import Variable

__all__ = ["EstimatorSpec", "ModeKeys"]


class ModeKeys:
    """What a model function is called for."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


_MODES = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT)


class EstimatorSpec:
    """A model as its function built it, checked against what its mode needs.

    Args:
      mode: one of `ModeKeys`.
      predictions: a tensor, or a dict of tensors by name. Needed to predict.
      loss: a scalar tensor, or one of shape [1]. Needed to train and to evaluate.
      train_op: the operation of one step. Needed to train.
      eval_metric_ops: a dict from names to pairs of a value and its update operation, as `gf.metrics` makes them, or
        to metrics of Keras.
      export_outputs: a dict from the names of signatures to `ExportOutput`s; default: the predictions.
      training_chief_hooks: hooks for training in the chief's process.
      training_hooks: hooks for training in every process.
      scaffold: a `gf.train.Scaffold`.
      evaluation_hooks: hooks for evaluation.
      prediction_hooks: hooks for prediction.

    Raises:
      ValueError: something that the mode needs is missing, or is of another graph.
      TypeError: an argument of another kind than it should be.
    """

    __slots__ = (
        "eval_metric_ops", "evaluation_hooks", "export_outputs", "loss", "mode", "prediction_hooks",
        "predictions", "scaffold", "train_op", "training_chief_hooks", "training_hooks",
    )  # fmt: skip

    def __init__(
        self,
        mode: str,
        predictions: Any = None,
        loss: Any = None,
        train_op: Any = None,
        eval_metric_ops: Mapping[str, Any] | None = None,
        export_outputs: Mapping[str, ExportOutput] | None = None,
        training_chief_hooks: Sequence[SessionRunHook] | None = None,
        training_hooks: Sequence[SessionRunHook] | None = None,
        scaffold: Scaffold | None = None,
        evaluation_hooks: Sequence[SessionRunHook] | None = None,
        prediction_hooks: Sequence[SessionRunHook] | None = None,
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode is {mode!r}; expected one of {', '.join(map(repr, _MODES))}")
        self.mode = mode
        self.train_op = _train_op(train_op, mode)
        self.loss = _loss(loss, mode)
        self.predictions = _predictions(predictions, mode)
        self.eval_metric_ops = _metrics(eval_metric_ops)
        self.export_outputs = default_export_outputs(
            export_outputs, self.predictions, mode == ModeKeys.PREDICT
        )
        self.training_chief_hooks = _hooks(training_chief_hooks, "training_chief_hooks")
        self.training_hooks = _hooks(training_hooks, "training_hooks")
        self.evaluation_hooks = _hooks(evaluation_hooks, "evaluation_hooks")
        self.prediction_hooks = _hooks(prediction_hooks, "prediction_hooks")
        if scaffold is not None and not isinstance(scaffold, Scaffold):
            raise TypeError(f"scaffold must be a gf.train.Scaffold, got {scaffold!r}")
        self.scaffold = scaffold or Scaffold()
        self._check_graph()

    def _check_graph(self) -> None:
        graph = get_default_graph()
        predictions = self.predictions if isinstance(self.predictions, Mapping) else {"": self.predictions}
        named: list[tuple[str, Any]] = [("loss", self.loss), ("train_op", self.train_op)]
        named += [(f"prediction {name!r}", value) for name, value in predictions.items()]
        for name, value in named:
            if value is not None and value.graph is not graph:
                raise ValueError(
                    f"the {name} that the model function gave is of another graph than the one it was called "
                    "in; build the whole model inside the model function"
                )

    def _replace(self, **changes: Any) -> EstimatorSpec:
        """Returns a spec with some of its parts exchanged."""
        if "mode" in changes and changes["mode"] != self.mode:
            raise ValueError("the mode of an EstimatorSpec cannot be exchanged")
        given = {name: getattr(self, name) for name in self.__slots__}
        return EstimatorSpec(**{**given, **changes})

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"EstimatorSpec({given})"


def _train_op(train_op: Any, mode: str) -> Any:
    if train_op is None:
        if mode == ModeKeys.TRAIN:
            raise ValueError("Missing train_op: the model function's EstimatorSpec needs one to train")
        return None
    if isinstance(train_op, Variable):
        return train_op.op
    if not isinstance(train_op, (Tensor, Operation)):
        raise TypeError(f"train_op must be Operation or Tensor, given: {train_op!r}")
    return train_op


def _loss(loss: Any, mode: str) -> Any:
    if loss is None:
        if mode in (ModeKeys.TRAIN, ModeKeys.EVAL):
            raise ValueError(f"Missing loss: the model function's EstimatorSpec needs one in mode {mode!r}")
        return None
    if not isinstance(loss, Tensor):
        raise TypeError(f"loss must be Tensor, given: {loss!r}")
    if loss.shape.num_elements() not in (None, 1):
        raise ValueError(
            f"Loss must be scalar, given: {loss!r}; reduce it with gf.reduce_mean or gf.reduce_sum"
        )
    return loss if loss.shape.is_compatible_with([]) else reshape(loss, [])


def _predictions(predictions: Any, mode: str) -> Any:
    if predictions is None:
        if mode == ModeKeys.PREDICT:
            raise ValueError("Missing predictions: the model function's EstimatorSpec needs them to predict")
        return {}
    items = predictions.items() if isinstance(predictions, Mapping) else [("predictions", predictions)]
    for name, value in items:
        if not isinstance(value, Tensor):
            raise TypeError(f"predictions[{name}] must be Tensor, given: {value!r}")
    return predictions


def _metrics(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"eval_metric_ops must be a dict, given: {metrics!r}")
    found: dict[str, Any] = {}
    for name, pair in metrics.items():
        if isinstance(pair, Metric):
            found[name] = _pair_of(name, pair)
            continue
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"Values of eval_metric_ops must be (metric_value, update_op) tuples, given: {pair!r} for key: {name}"
            )
        value, update = pair
        if not isinstance(update, (Tensor, Operation, Variable)):
            raise TypeError(
                f"the update of metric {name!r} must be a Tensor or an Operation, given: {update!r}"
            )
        if not isinstance(value, (Tensor, Variable)):
            raise TypeError(f"the value of metric {name!r} must be a Tensor, given: {value!r}")
        found[name] = pair
    return found


def _pair_of(name: str, metric: Metric) -> tuple[Any, Any]:
    """The value and the update of a metric of Keras, whose state becomes local variables.

    Raises:
      ValueError: if the metric has not been given a batch.
    """
    if not metric.updates:
        raise ValueError(
            f"metric {name!r} has seen no batch: call its update_state(...) in the model function"
        )
    graph = get_default_graph()
    local = graph.get_collection_ref(GraphKeys.LOCAL_VARIABLES)
    local.extend(v for v in metric.variables if not any(v is other for other in local))
    return convert_to_tensor(metric.result()), group(*metric.updates)


def _hooks(hooks: Sequence[SessionRunHook] | None, name: str) -> tuple[SessionRunHook, ...]:
    found = tuple(hooks or ())
    for hook in found:
        if not isinstance(hook, SessionRunHook):
            raise TypeError(f"All hooks of {name} must be SessionRunHook instances, given: {hook!r}")
    return found
