"""Heads: what ready-made estimators make of logits: predictions, losses, metrics, signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import lookup, metrics
from graphflow.dtypes import float32, int64, string
from graphflow.estimator.export import ClassificationOutput, ExportOutput, PredictOutput, RegressionOutput
from graphflow.estimator.model_fn import EstimatorSpec, ModeKeys
from graphflow.graph import GraphKeys, Tensor, get_default_graph, name_scope
from graphflow.losses import Reduction, compute_weighted_loss
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops import nn
from graphflow.ops.control import assert_less, assert_non_negative, with_dependencies
from graphflow.ops.elementwise import add_n, cast, maximum, sigmoid, square
from graphflow.ops.layout import concat, expand_dims, reshape
from graphflow.ops.reduction import argmax
from graphflow.ops.source import ones_like, shape, zeros_like
from graphflow.ops.sparse import sparse_tensor_to_dense
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.ops.strings import as_string
from graphflow.saved_model import signature_constants
from graphflow.summary.operations import scalar

_DEFAULT = signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class Head:
    """What is made of logits [batch, logits_dimension].

    Args:
      weight_column: the name of a feature of weights [batch] or [batch, 1], or a numeric column; None: all are one.
      label_vocabulary: the labels as texts, in the order of their numbers; None: labels are numbers.
      loss_reduction: how the losses of a batch become one.
    """

    logits_dimension = 1
    # What makes the losses of `labels` and `logits` instead of the head.
    loss_fn: Any = None

    def __init__(
        self, weight_column: Any = None, label_vocabulary: Sequence[str] | None = None,
        loss_reduction: str = Reduction.SUM,
    ) -> None:  # fmt: skip
        if loss_reduction not in Reduction.all() or loss_reduction == Reduction.NONE:
            raise ValueError(f"Invalid loss_reduction: {loss_reduction}")
        self.weight_column = weight_column
        self.label_vocabulary = list(label_vocabulary) if label_vocabulary is not None else None
        self.loss_reduction = loss_reduction

    # -- what each head knows --------------------------------------------------------------------

    def _predictions(self, logits: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def _labels(self, labels: Any, logits: Tensor) -> Tensor:
        raise NotImplementedError

    def _losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """The loss of each example, [batch, …]."""
        raise NotImplementedError

    def _metrics(
        self, labels: Tensor, predictions: dict[str, Tensor], losses: Tensor, weights: Any
    ) -> dict[str, Any]:
        raise NotImplementedError

    def _outputs(self, predictions: dict[str, Tensor]) -> dict[str, ExportOutput]:
        raise NotImplementedError

    # -- what they share -------------------------------------------------------------------------

    def _weights(self, features: Any) -> Any:
        if self.weight_column is None:
            return 1.0
        key = self.weight_column if isinstance(self.weight_column, str) else self.weight_column.key
        if key not in features:
            raise ValueError(f"no feature {key!r} for weights; there are {sorted(features)}")
        weights = cast(features[key], float32)
        normalizer = getattr(self.weight_column, "normalizer_fn", None)
        if normalizer is not None:
            weights = normalizer(weights)
        return expand_dims(weights, -1) if weights.shape.rank == 1 else weights

    def _dense_labels(self, labels: Any) -> Tensor:
        if labels is None:
            raise ValueError("You must provide a labels Tensor. Given: None.")
        if isinstance(labels, SparseTensor):
            labels = sparse_tensor_to_dense(labels)
        labels = convert_to_tensor(labels)
        return expand_dims(labels, -1) if labels.shape.rank == 1 else labels

    def _of_vocabulary(self, labels: Tensor, count: int) -> Tensor:
        """Labels as numbers below `count`."""
        if self.label_vocabulary is not None:
            if labels.dtype is not string:
                raise ValueError(
                    f"Labels dtype should be string since there is a vocabulary. Instead got {labels.dtype}"
                )
            table = lookup.index_table_from_tensor(self.label_vocabulary, name="class_id_lookup")
            numbered: Tensor = table.lookup(labels)
        elif not (labels.dtype.is_integer or labels.dtype.is_floating):
            raise ValueError(f"Labels dtype should be integer. Instead got {labels.dtype}")
        else:
            numbered = labels
        top = np.asarray(count, numbered.dtype.as_numpy_dtype)
        checks = [
            assert_less(numbered, top, message=f"Labels must be below {count}"),
            assert_non_negative(numbered, message="Labels must not be negative"),
        ]
        checked: Tensor = with_dependencies(checks, numbered)
        return checked

    def _class_names(self, ids: Tensor, count: int) -> tuple[Tensor, Any]:
        """The class of each example as text, and how all classes are called."""
        if self.label_vocabulary is None:
            return as_string(ids, name="str_classes"), as_string(emit.Range(0, count, 1))
        table = lookup.index_to_string_table_from_tensor(self.label_vocabulary, name="class_string_lookup")
        return table.lookup(ids), convert_to_tensor(self.label_vocabulary)

    def create_estimator_spec(
        self, features: Any, mode: str, logits: Any, labels: Any = None, optimizer: Any = None,
        train_op_fn: Callable[[Tensor], Any] | None = None, regularization_losses: Sequence[Tensor] | None = None,
    ) -> EstimatorSpec:  # fmt: skip
        """Returns what an estimator needs of a model.

        Args:
          features: the features, for weights.
          mode: one of `ModeKeys`.
          logits: [batch, logits_dimension].
          labels: [batch] or [batch, 1], but for predictions.
          optimizer: what takes the steps; or `train_op_fn`.
          train_op_fn: makes the operation of a step of the loss.
          regularization_losses: further losses.

        Raises:
          ValueError: if the logits do not fit, or neither optimizer nor `train_op_fn` is given to train.
        """
        with name_scope("head"):
            logits = convert_to_tensor(logits)
            last = logits.shape.as_list()[-1]
            if last not in (None, self.logits_dimension):
                raise ValueError(
                    f"logits must be of shape [batch, {self.logits_dimension}], got {logits.shape}"
                )
            predictions = self._predictions(logits)
            if mode == ModeKeys.PREDICT:
                outputs = self._outputs(predictions)
                outputs["predict"] = PredictOutput(predictions)
                return EstimatorSpec(mode, predictions=predictions, export_outputs=outputs)
            truth = self._labels(labels, logits)
            own = self.loss_fn
            losses = self._losses(truth, logits) if own is None else own(labels=truth, logits=logits)
            weights = self._weights(features)
            loss = compute_weighted_loss(losses, weights, reduction=self.loss_reduction, loss_collection=None)
            whole = add_n([loss, *regularization_losses]) if regularization_losses else loss
            if mode == ModeKeys.EVAL:
                figures = {"average_loss": metrics.mean(losses, weights=weights)}
                figures |= self._metrics(truth, predictions, losses, weights)
                return EstimatorSpec(mode, predictions=predictions, loss=whole, eval_metric_ops=figures)
            if optimizer is not None:
                step = get_default_graph().get_collection(GraphKeys.GLOBAL_STEP)[0]
                train_op = optimizer.minimize(whole, global_step=step)
            elif train_op_fn is not None:
                train_op = train_op_fn(whole)
            else:
                raise ValueError("train_op_fn and optimizer cannot both be None.")
        with name_scope(""):
            mean = compute_weighted_loss(
                losses, weights, reduction=Reduction.SUM_BY_NONZERO_WEIGHTS, loss_collection=None
            )
            scalar("loss", whole)
            if self.loss_reduction == Reduction.SUM:
                scalar("average_loss", mean)
        return EstimatorSpec(mode, predictions=predictions, loss=whole, train_op=train_op)


class BinaryHead(Head):
    """Two classes, of one logit."""

    def _predictions(self, logits: Tensor) -> dict[str, Tensor]:
        with name_scope(None, "predictions"):
            logistic = sigmoid(logits, name="logistic")
            both = concat([zeros_like(logits), logits], -1, name="two_class_logits")
            ids = expand_dims(argmax(both, axis=-1), -1)
            self._names = self._class_names(ids, 2)
            return {
                "logits": logits, "logistic": logistic, "probabilities": nn.softmax(both, name="probabilities"),
                "class_ids": ids, "classes": self._names[0],
            }  # fmt: skip

    def _labels(self, labels: Any, logits: Tensor) -> Tensor:
        return cast(self._of_vocabulary(self._dense_labels(labels), 2), float32)

    def _losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        return nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)

    def _metrics(
        self, labels: Tensor, predictions: dict[str, Tensor], losses: Tensor, weights: Any
    ) -> dict[str, Any]:
        chosen, logistic = predictions["class_ids"], predictions["logistic"]
        full = weights * ones_like(labels)
        mean = metrics.mean(labels, weights=full)
        # The better of guessing always one, and always the other.
        baseline = [
            maximum(part, 1.0 - part, name=name) for part, name in zip(mean, ("value", "update"), strict=True)
        ]
        return {
            "accuracy": metrics.accuracy(labels, chosen, weights=weights),
            "precision": metrics.precision(labels, chosen, weights=weights),
            "recall": metrics.recall(labels, chosen, weights=weights),
            "prediction/mean": metrics.mean(logistic, weights=full),
            "label/mean": mean,
            "accuracy_baseline": tuple(baseline),
            "auc": metrics.auc(labels, logistic, weights=full),
            "auc_precision_recall": metrics.auc(
                labels, logistic, weights=full, curve="PR", summation_method="careful_interpolation"
            ),
        }

    def _outputs(self, predictions: dict[str, Tensor]) -> dict[str, ExportOutput]:
        scores = ClassificationOutput(
            predictions["probabilities"], _rows(self._names[1], predictions["class_ids"])
        )
        return {
            _DEFAULT: scores,
            "classification": scores,
            "regression": RegressionOutput(predictions["logistic"]),
        }


class ManyHead(Head):
    """One of `n_classes` classes, of as many logits."""

    def __init__(self, n_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if n_classes <= 2:
            raise ValueError(f"n_classes must be > 2: {n_classes}")
        self.logits_dimension = n_classes

    def _predictions(self, logits: Tensor) -> dict[str, Tensor]:
        with name_scope(None, "predictions"):
            ids = expand_dims(argmax(logits, axis=-1), -1)
            self._names = self._class_names(ids, self.logits_dimension)
            return {
                "logits": logits, "probabilities": nn.softmax(logits, name="probabilities"), "class_ids": ids,
                "classes": self._names[0],
            }  # fmt: skip

    def _labels(self, labels: Any, logits: Tensor) -> Tensor:
        return cast(self._of_vocabulary(self._dense_labels(labels), self.logits_dimension), int64)

    def _losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        found = nn.sparse_softmax_cross_entropy_with_logits(labels=reshape(labels, [-1]), logits=logits)
        return expand_dims(found, -1)

    def _metrics(
        self, labels: Tensor, predictions: dict[str, Tensor], losses: Tensor, weights: Any
    ) -> dict[str, Any]:
        return {"accuracy": metrics.accuracy(labels, predictions["class_ids"], weights=weights)}

    def _outputs(self, predictions: dict[str, Tensor]) -> dict[str, ExportOutput]:
        scores = ClassificationOutput(
            predictions["probabilities"], _rows(self._names[1], predictions["class_ids"])
        )
        return {_DEFAULT: scores, "classification": scores}


class NumbersHead(Head):
    """`label_dimension` numbers, of as many logits."""

    def __init__(self, label_dimension: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if label_dimension < 1:
            raise ValueError(f"Invalid label_dimension {label_dimension}")
        self.logits_dimension = label_dimension

    def _predictions(self, logits: Tensor) -> dict[str, Tensor]:
        return {"predictions": logits}

    def _labels(self, labels: Any, logits: Tensor) -> Tensor:
        truth = cast(self._dense_labels(labels), float32)
        size = truth.shape.as_list()[-1] if truth.shape.rank is not None else None
        if size not in (None, self.logits_dimension):
            raise ValueError(f"labels must be of shape [batch, {self.logits_dimension}], got {truth.shape}")
        return truth

    def _losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        return square(logits - labels)

    def _metrics(
        self, labels: Tensor, predictions: dict[str, Tensor], losses: Tensor, weights: Any
    ) -> dict[str, Any]:
        full = weights * ones_like(labels)
        return {
            "prediction/mean": metrics.mean(predictions["predictions"], weights=full),
            "label/mean": metrics.mean(labels, weights=full),
        }

    def _outputs(self, predictions: dict[str, Tensor]) -> dict[str, ExportOutput]:
        value = RegressionOutput(predictions["predictions"])
        return {_DEFAULT: value, "regression": value}


def _rows(names: Tensor, like: Tensor) -> Tensor:
    """The names of all classes for each example."""
    batch = shape(like)[0]
    return emit.Tile(expand_dims(names, 0), emit.Pack([batch, np.int32(1)]))


def classifier_head(
    n_classes: int, weight_column: Any, label_vocabulary: Sequence[str] | None, loss_reduction: str
) -> Head:
    """Returns a head for classes: of one logit for two of them."""
    told: dict[str, Any] = {
        "weight_column": weight_column, "label_vocabulary": label_vocabulary, "loss_reduction": loss_reduction,
    }  # fmt: skip
    return BinaryHead(**told) if n_classes == 2 else ManyHead(n_classes, **told)


_OVER_BATCH = "sum_over_batch_size"
# How newer heads call reductions.
_REDUCTIONS = {_OVER_BATCH: Reduction.SUM_OVER_BATCH_SIZE, "sum": Reduction.SUM}


class BinaryClassHead(BinaryHead):
    """Two classes, of one logit.

    Args:
      weight_column: the name of a feature of weights, or a numeric column; None: all are one.
      thresholds: further thresholds that accuracy, precision and recall are told at.
      label_vocabulary: the labels as texts, in the order of their numbers; None: labels are numbers.
      loss_reduction: "sum_over_batch_size", "sum", or one of `losses.Reduction`.
      loss_fn: gives the losses of `labels` and `logits`, [batch, 1]; default the cross entropy.
      name: accepted.
    """

    def __init__(
        self, weight_column: Any = None, thresholds: Sequence[float] | None = None,
        label_vocabulary: Sequence[str] | None = None, loss_reduction: str = _OVER_BATCH, loss_fn: Any = None,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(weight_column, label_vocabulary, _REDUCTIONS.get(loss_reduction, loss_reduction))
        for threshold in thresholds or ():
            if not 0 < threshold < 1:
                raise ValueError(f"thresholds not in (0, 1): {threshold}")
        self.thresholds, self.loss_fn, self.name = tuple(thresholds or ()), loss_fn, name

    def _metrics(
        self, labels: Tensor, predictions: dict[str, Tensor], losses: Tensor, weights: Any
    ) -> dict[str, Any]:
        found = super()._metrics(labels, predictions, losses, weights)
        for threshold in self.thresholds:
            chosen = cast(predictions["logistic"] > threshold, int64)
            for kind in ("accuracy", "precision", "recall"):
                measure = getattr(metrics, kind)
                found[f"{kind}/positive_threshold_{threshold:g}"] = measure(
                    cast(labels, int64), chosen, weights=weights
                )
        return found


class MultiClassHead(ManyHead):
    """One of `n_classes` classes, of as many logits; the arguments are those of `BinaryClassHead`."""

    def __init__(
        self, n_classes: int, weight_column: Any = None, label_vocabulary: Sequence[str] | None = None,
        loss_reduction: str = _OVER_BATCH, loss_fn: Any = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            n_classes, weight_column=weight_column, label_vocabulary=label_vocabulary,
            loss_reduction=_REDUCTIONS.get(loss_reduction, loss_reduction),
        )  # fmt: skip
        self.loss_fn, self.name = loss_fn, name


class RegressionHead(NumbersHead):
    """`label_dimension` numbers, of as many logits; the other arguments are those of `BinaryClassHead`.

    Args:
      label_dimension: how many numbers there are.
      weight_column: the name of a feature of weights, or a numeric column; None: all are one.
      loss_reduction: "sum_over_batch_size", "sum", or one of `losses.Reduction`.
      loss_fn: gives the losses of `labels` and `logits`; default the squared error.
      inverse_link_fn: what predictions are of logits; default the same.
      name: accepted.
    """

    def __init__(
        self, label_dimension: int = 1, weight_column: Any = None, loss_reduction: str = _OVER_BATCH,
        loss_fn: Any = None, inverse_link_fn: Any = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            label_dimension, weight_column=weight_column,
            loss_reduction=_REDUCTIONS.get(loss_reduction, loss_reduction),
        )  # fmt: skip
        self.loss_fn, self.inverse_link_fn, self.name = loss_fn, inverse_link_fn, name

    def _predictions(self, logits: Tensor) -> dict[str, Tensor]:
        if self.inverse_link_fn is None:
            return super()._predictions(logits)
        return {"predictions": convert_to_tensor(self.inverse_link_fn(logits)), "logits": logits}


__all__ = [
    "BinaryClassHead", "BinaryHead", "Head", "ManyHead", "MultiClassHead", "NumbersHead", "RegressionHead",
    "classifier_head",
]  # fmt: skip
