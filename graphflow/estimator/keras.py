"""`model_to_estimator`: a compiled model of Keras as an estimator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from graphflow import nest
from graphflow.estimator.estimator import Estimator
from graphflow.estimator.model_fn import EstimatorSpec, ModeKeys
from graphflow.keras import losses, metrics, optimizers
from graphflow.keras.identifiers import custom_object_scope, serialized
from graphflow.keras.metric import MeanMetricWrapper, Metric
from graphflow.keras.models import by_output, metric_of, metrics_by_output
from graphflow.keras.saving import clone_model, load_model
from graphflow.keras.session import set_learning_phase
from graphflow.opdef import convert_to_tensor
from graphflow.ops.control import group
from graphflow.ops.elementwise import add_n, cast
from graphflow.train.monitored_session import Scaffold
from graphflow.train.training_util import get_global_step


def _in_order(given: Any, names: list[str], what: str) -> list[Any]:
    """Tensors in the order of the model's inputs or outputs.

    Raises:
      ValueError: if a name is missing, or their number is another.
    """
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise ValueError(f"{what}: the model needs {missing}; there are {sorted(given)}")
        return [convert_to_tensor(given[name]) for name in names]
    flat = [convert_to_tensor(x) for x in nest.flatten(given)]
    if len(flat) != len(names):
        raise ValueError(f"{what}: the model has {len(names)}, {names}, but got {len(flat)}")
    return flat


def model_to_estimator(
    keras_model: Any = None, keras_model_path: str | os.PathLike[str] | None = None, custom_objects: Any = None,
    model_dir: str | os.PathLike[str] | None = None, config: Any = None, checkpoint_format: str = "saver",
) -> Estimator:  # fmt: skip
    """Returns an estimator that trains a copy of a compiled model, from the weights that it has now.

    Args:
      keras_model: the model; its features go by the names of its inputs, its labels by those of its output layers.
      keras_model_path: a file of one, instead.
      custom_objects: things of one's own that its configuration names.
      model_dir: the folder of checkpoints and summaries.
      config: a `RunConfig`.
      checkpoint_format: "saver" or "checkpoint"; both are written alike.

    Raises:
      ValueError: unless one model is given, and it is compiled.
    """
    if (keras_model is None) == (keras_model_path is None):
        raise ValueError("Either `keras_model` or `keras_model_path` needs to be provided, and not both.")
    if checkpoint_format not in ("saver", "checkpoint"):
        raise ValueError(f'checkpoint_format must be "saver" or "checkpoint", not {checkpoint_format!r}')
    if keras_model_path is not None:
        keras_model = load_model(keras_model_path, custom_objects)
    if keras_model.optimizer is None:
        raise ValueError("The given keras model has not been compiled yet. Please compile it first.")
    values = keras_model.get_weights()
    optimizer = keras_model.optimizer
    taker = serialized(optimizer) if hasattr(optimizer, "get_config") else optimizer

    def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
        set_learning_phase(int(mode == ModeKeys.TRAIN))
        with custom_object_scope(custom_objects or {}):
            model = clone_model(keras_model)
        inputs = _in_order(features, [x.op.name for x in keras_model.inputs], "features")
        inputs = [cast(x, own.dtype) for x, own in zip(inputs, model.inputs, strict=True)]
        outputs = nest.flatten(model(inputs[0] if len(inputs) == 1 else inputs))
        names = keras_model.output_names
        predictions = dict(zip(names, outputs, strict=True))

        def restore(scaffold: Any, session: Any) -> None:
            del scaffold
            for weight, value in zip(model.weights, values, strict=True):
                weight.load(value, session)

        scaffold = Scaffold(init_fn=restore)
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions=predictions, scaffold=scaffold)
        truths = _in_order(labels, names, "labels")
        asked = by_output(keras_model.loss, names, "loss")
        shares = by_output(keras_model.loss_weights, names, "loss_weights")
        parts = []
        for kind, share, truth, output in zip(asked, shares, truths, outputs, strict=True):
            if kind is not None:
                loss = losses.get(kind)
                reduced = loss if isinstance(loss, losses.Loss) else losses.LossFunctionWrapper(loss)
                parts.append(reduced(truth, output) * (1.0 if share is None else float(share)))
        total = add_n([*parts, *(cast(each, "float32") for each in model.losses)])
        figures: dict[str, Metric] = {}
        for i, wanted in enumerate(metrics_by_output(keras_model._metrics_asked[0], names)):
            for each in wanted:
                name, metric = metric_of(each, asked[i], outputs[i], truths[i])
                if isinstance(metric, Metric):
                    metric = metrics.deserialize(metrics.serialize(metric))
                else:
                    metric = MeanMetricWrapper(metric, name=name)
                metric.update_state(truths[i], outputs[i])
                figures[name if len(names) == 1 else f"{names[i]}_{name}"] = metric
        train_op = None
        if mode == ModeKeys.TRAIN:
            update = optimizers.get(taker).minimize(total, model.trainable_weights)
            with update.graph.control_dependencies([group(update, *model.updates)]):
                train_op = get_global_step().assign_add(1).op
        return EstimatorSpec(
            mode,
            predictions=predictions,
            loss=total,
            train_op=train_op,
            eval_metric_ops=figures,
            scaffold=scaffold,
        )

    return Estimator(model_fn, model_dir, config)


__all__ = ["model_to_estimator"]
