"""Ready-made estimators: linear models, deep ones, both side by side, and a baseline, for classes and for numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphflow import train
from graphflow.estimator.estimator import Estimator
from graphflow.estimator.heads import Head, NumbersHead, classifier_head
from graphflow.estimator.model_fn import EstimatorSpec, ModeKeys
from graphflow.feature_column.columns import Column
from graphflow.feature_column.layers import input_layer, linear_model
from graphflow.graph import GraphKeys, Tensor, get_default_graph, name_scope
from graphflow.initializers import glorot_uniform_initializer, zeros_initializer
from graphflow.layers import Dense, batch_normalization, dropout
from graphflow.losses import Reduction
from graphflow.nn import relu, zero_fraction
from graphflow.ops.control import group
from graphflow.ops.source import fill, shape
from graphflow.partitioners import min_max_variable_partitioner
from graphflow.summary.operations import histogram, scalar
from graphflow.train.training_util import get_global_step
from graphflow.variable_scope import get_variable, variable_scope

_OPTIMIZERS: dict[str, Callable[[float], Any]] = {
    "Adagrad": train.AdagradOptimizer, "Adam": train.AdamOptimizer, "Ftrl": train.FtrlOptimizer,
    "Momentum": lambda rate: train.MomentumOptimizer(rate, 0.9), "RMSProp": train.RMSPropOptimizer,
    "SGD": train.GradientDescentOptimizer,
}  # fmt: skip


def _optimizer(asked: Any, rate: float) -> Any:
    """An optimizer of a name, a function that makes one, or one as it is.

    Raises:
      ValueError: for another name, or something else.
    """
    if isinstance(asked, str):
        if asked not in _OPTIMIZERS:
            raise ValueError(
                f"Unsupported optimizer name: {asked}. Supported names are: {sorted(_OPTIMIZERS)}"
            )
        return _OPTIMIZERS[asked](rate)
    if callable(asked) and not isinstance(asked, train.Optimizer):
        asked = asked()
    if not isinstance(asked, train.Optimizer):
        raise ValueError(f"The given object is not an Optimizer instance. Given: {asked!r}")
    return asked


def _a_head(head: Any) -> Head:
    if not isinstance(head, Head):
        raise ValueError(f"head must be one of gf.estimator's, such as BinaryClassHead(), not {head!r}")
    return head


def _dict_of(features: Any) -> Mapping[str, Any]:
    if not isinstance(features, Mapping):
        raise ValueError(f"features should be a dictionary of Tensors. Given type: {type(features)}")
    return features


def _columns(asked: Any) -> list[Column]:
    return [asked] if isinstance(asked, Column) else list(asked or ())


def _partitioner(asked: Any, least: int) -> Any:
    return asked or min_max_variable_partitioner(max_partitions=1, min_slice_size=least)


def _told(prefix: str, value: Tensor) -> None:
    """Summaries of an activation."""
    with name_scope(""):
        scalar(f"{prefix}/fraction_of_zero_values", zero_fraction(value))
        histogram(f"{prefix}/activation", value)


def _linear_logits(
    features: Any, columns: Sequence[Column], units: int, combiner: str, partitioner: Any
) -> Tensor:
    with variable_scope("linear", values=tuple(_values(features)), partitioner=partitioner):
        logits = linear_model(features, columns, units=units, sparse_combiner=combiner)
        _told("linear/linear_model", logits)
        return logits


def _values(features: Any) -> list[Tensor]:
    return [value for value in features.values() if isinstance(value, Tensor)]


def _dnn_logits(
    features: Any, mode: str, units: int, hidden_units: Sequence[int], columns: Sequence[Column], activation: Any,
    rate: float | None, partitioner: Any, normalize: bool,
) -> Tensor:  # fmt: skip
    training = mode == ModeKeys.TRAIN
    with variable_scope("dnn", values=tuple(_values(features)), partitioner=partitioner):
        with variable_scope(
            "input_from_feature_columns", values=tuple(_values(features)),
            partitioner=min_max_variable_partitioner(max_partitions=1, min_slice_size=64 << 20),
        ):  # fmt: skip
            net = input_layer(features, columns)
        for i, size in enumerate(hidden_units):
            with variable_scope(f"hiddenlayer_{i}", values=(net,)) as scope:
                net = _dense(net, size, scope, activation)
                if rate is not None and training:
                    net = dropout(net, rate=rate, training=True)
                if normalize:
                    net = batch_normalization(
                        net, momentum=0.999, training=training, name=f"batchnorm_{i}", trainable=True
                    )
            _told(scope.name, net)
        with variable_scope("logits", values=(net,)) as scope:
            logits = _dense(net, units, scope, None)
        _told("dnn/logits", logits)
        return logits


def _dense(net: Tensor, units: int, scope: Any, activation: Any) -> Tensor:
    """A dense layer whose weights stand in a scope itself."""
    layer = Dense(
        units,
        activation,
        kernel_initializer=glorot_uniform_initializer(),
        name=scope.name.rpartition("/")[2],
        _scope=scope,
    )
    made: Tensor = layer(net)
    return made


def _updates() -> list[Any]:
    return get_default_graph().get_collection(GraphKeys.UPDATE_OPS)


class _Linear(Estimator):
    def _begin(
        self, head: Head, feature_columns: Any, optimizer: Any, partitioner: Any, sparse_combiner: str,
        base: tuple[Any, ...],
    ) -> None:  # fmt: skip
        columns = _columns(feature_columns)

        def model(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            # As in TensorFlow: the more columns, the smaller the steps.
            taker = _optimizer(optimizer, min(0.2, 1.0 / math.sqrt(max(len(columns), 1))))
            logits = _linear_logits(
                _dict_of(features),
                columns,
                head.logits_dimension,
                sparse_combiner,
                _partitioner(partitioner, 64 << 20),
            )
            return head.create_estimator_spec(features, mode, logits, labels, taker)

        model_dir, config, warm_start_from = base
        super().__init__(model, model_dir, config, None, warm_start_from)


class LinearClassifier(_Linear):
    """A linear model for classes.

    Args:
      feature_columns: what the model takes from features.
      model_dir: the folder of checkpoints and summaries.
      n_classes: how many classes there are.
      weight_column: the name of a feature of weights, or a numeric column.
      label_vocabulary: labels as texts; None: they are numbers below `n_classes`.
      optimizer: an optimizer, or "Ftrl", "Adam", "Adagrad", "Momentum", "RMSProp", "SGD".
      config: a `RunConfig`.
      partitioner: how variables are cut.
      warm_start_from: where a first training begins.
      loss_reduction: how the losses of a batch become one.
      sparse_combiner: what is made of the weights of several ids.
    """

    def __init__(
        self, feature_columns: Any, model_dir: Any = None, n_classes: int = 2, weight_column: Any = None,
        label_vocabulary: Any = None, optimizer: Any = "Ftrl", config: Any = None, partitioner: Any = None,
        warm_start_from: Any = None, loss_reduction: str = Reduction.SUM, sparse_combiner: str = "sum",
    ) -> None:  # fmt: skip
        head = classifier_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        base = model_dir, config, warm_start_from
        self._begin(head, feature_columns, optimizer, partitioner, sparse_combiner, base)


class LinearRegressor(_Linear):
    """A linear model for `label_dimension` numbers; see `LinearClassifier`."""

    def __init__(
        self, feature_columns: Any, model_dir: Any = None, label_dimension: int = 1, weight_column: Any = None,
        optimizer: Any = "Ftrl", config: Any = None, partitioner: Any = None, warm_start_from: Any = None,
        loss_reduction: str = Reduction.SUM, sparse_combiner: str = "sum",
    ) -> None:  # fmt: skip
        head = NumbersHead(label_dimension, weight_column=weight_column, loss_reduction=loss_reduction)
        base = model_dir, config, warm_start_from
        self._begin(head, feature_columns, optimizer, partitioner, sparse_combiner, base)


class LinearEstimator(_Linear):
    """A linear model for what a head makes of it; see `LinearClassifier`."""

    def __init__(
        self, head: Head, feature_columns: Any, model_dir: Any = None, optimizer: Any = "Ftrl", config: Any = None,
        partitioner: Any = None, sparse_combiner: str = "sum", warm_start_from: Any = None,
    ) -> None:  # fmt: skip
        base = model_dir, config, warm_start_from
        self._begin(_a_head(head), feature_columns, optimizer, partitioner, sparse_combiner, base)


class _Deep(Estimator):
    def _begin(
        self, head: Head, hidden_units: Sequence[int], feature_columns: Any, optimizer: Any, activation_fn: Any,
        dropout: float | None, input_layer_partitioner: Any, batch_norm: bool, base: tuple[Any, ...],
    ) -> None:  # fmt: skip
        columns = _columns(feature_columns)

        def model(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            taker = _optimizer(optimizer, 0.05)
            logits = _dnn_logits(
                _dict_of(features), mode, head.logits_dimension, hidden_units, columns, activation_fn, dropout,
                input_layer_partitioner or min_max_variable_partitioner(max_partitions=1), batch_norm,
            )  # fmt: skip

            def step(loss: Tensor) -> Any:
                own = taker.minimize(loss, global_step=get_global_step())
                return group(own, *_updates()) if batch_norm else own

            return head.create_estimator_spec(features, mode, logits, labels, train_op_fn=step)

        model_dir, config, warm_start_from = base
        super().__init__(model, model_dir, config, None, warm_start_from)


class DNNClassifier(_Deep):
    """A deep model for classes.

    Args:
      hidden_units: the sizes of the hidden layers.
      feature_columns: what the model takes from features.
      model_dir: the folder of checkpoints and summaries.
      n_classes: how many classes there are.
      weight_column: the name of a feature of weights, or a numeric column.
      label_vocabulary: labels as texts; None: they are numbers below `n_classes`.
      optimizer: an optimizer, or "Adagrad", "Adam", "Ftrl", "Momentum", "RMSProp", "SGD".
      activation_fn: of the hidden layers.
      dropout: the share of each hidden layer that is dropped in training.
      input_layer_partitioner: how variables are cut.
      config: a `RunConfig`.
      warm_start_from: where a first training begins.
      loss_reduction: how the losses of a batch become one.
      batch_norm: whether each hidden layer is normalized.
    """

    def __init__(
        self, hidden_units: Sequence[int], feature_columns: Any, model_dir: Any = None, n_classes: int = 2,
        weight_column: Any = None, label_vocabulary: Any = None, optimizer: Any = "Adagrad",
        activation_fn: Callable[..., Any] = relu, dropout: float | None = None, input_layer_partitioner: Any = None,
        config: Any = None, warm_start_from: Any = None, loss_reduction: str = Reduction.SUM,
        batch_norm: bool = False,
    ) -> None:  # fmt: skip
        head = classifier_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        self._begin(
            head, hidden_units, feature_columns, optimizer, activation_fn, dropout, input_layer_partitioner, batch_norm,
            (model_dir, config, warm_start_from),
        )  # fmt: skip


class DNNRegressor(_Deep):
    """A deep model for `label_dimension` numbers; see `DNNClassifier`."""

    def __init__(
        self, hidden_units: Sequence[int], feature_columns: Any, model_dir: Any = None, label_dimension: int = 1,
        weight_column: Any = None, optimizer: Any = "Adagrad", activation_fn: Callable[..., Any] = relu,
        dropout: float | None = None, input_layer_partitioner: Any = None, config: Any = None,
        warm_start_from: Any = None, loss_reduction: str = Reduction.SUM, batch_norm: bool = False,
    ) -> None:  # fmt: skip
        head = NumbersHead(label_dimension, weight_column=weight_column, loss_reduction=loss_reduction)
        self._begin(
            head, hidden_units, feature_columns, optimizer, activation_fn, dropout, input_layer_partitioner, batch_norm,
            (model_dir, config, warm_start_from),
        )  # fmt: skip


class DNNEstimator(_Deep):
    """A deep model for what a head makes of it; see `DNNClassifier`."""

    def __init__(
        self, head: Head, hidden_units: Sequence[int], feature_columns: Any, model_dir: Any = None,
        optimizer: Any = "Adagrad", activation_fn: Callable[..., Any] = relu, dropout: float | None = None,
        input_layer_partitioner: Any = None, config: Any = None, warm_start_from: Any = None,
        batch_norm: bool = False,
    ) -> None:  # fmt: skip
        self._begin(
            _a_head(head), hidden_units, feature_columns, optimizer, activation_fn, dropout, input_layer_partitioner,
            batch_norm, (model_dir, config, warm_start_from),
        )  # fmt: skip


class _LinearAndDeep(Estimator):
    def _begin(
        self, head: Head, linear: tuple[Any, Any, str], deep: tuple[Any, Any, Sequence[int], Any, float | None, bool],
        partitioner: Any, base: tuple[Any, ...],
    ) -> None:  # fmt: skip
        wide_columns, wide_optimizer, combiner = linear
        deep_columns, deep_optimizer, hidden_units, activation, rate, normalize = deep
        wide_columns, deep_columns = _columns(wide_columns), _columns(deep_columns)
        if not wide_columns and not deep_columns:
            raise ValueError("Either linear_feature_columns or dnn_feature_columns must be defined.")
        if deep_columns and not hidden_units:
            raise ValueError("dnn_hidden_units must be defined when dnn_feature_columns is specified.")

        def model(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            _dict_of(features)
            units = head.logits_dimension
            parts, steps = [], []
            if deep_columns:
                parts.append(_dnn_logits(
                    features, mode, units, hidden_units, deep_columns, activation, rate,
                    partitioner or min_max_variable_partitioner(max_partitions=1), normalize,
                ))  # fmt: skip
                steps.append((_optimizer(deep_optimizer, 0.05), "dnn"))
            if wide_columns:
                parts.append(
                    _linear_logits(
                        features, wide_columns, units, combiner, _partitioner(partitioner, 64 << 20)
                    )
                )
                pace = min(0.005, 1.0 / math.sqrt(len(wide_columns)))
                steps.append((_optimizer(wide_optimizer, pace), "linear"))
            logits = parts[0] + parts[1] if len(parts) == 2 else parts[0]

            def step(loss: Tensor) -> Any:
                graph = get_default_graph()
                made = [
                    taker.minimize(
                        loss, var_list=graph.get_collection(GraphKeys.TRAINABLE_VARIABLES, scope=f"{scope}/")
                    )
                    for taker, scope in steps
                ]
                every = group(*made, *(_updates() if normalize else ()))
                with graph.control_dependencies([every]):
                    return get_global_step().assign_add(1).op

            return head.create_estimator_spec(features, mode, logits, labels, train_op_fn=step)

        model_dir, config, warm_start_from = base
        super().__init__(model, model_dir, config, None, warm_start_from)


class DNNLinearCombinedClassifier(_LinearAndDeep):
    """A linear and a deep model whose logits are added, for classes; see `LinearClassifier` and `DNNClassifier`."""

    def __init__(
        self, model_dir: Any = None, linear_feature_columns: Any = None, linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Any = None, dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None, dnn_activation_fn: Callable[..., Any] = relu,
        dnn_dropout: float | None = None, n_classes: int = 2, weight_column: Any = None, label_vocabulary: Any = None,
        input_layer_partitioner: Any = None, config: Any = None, warm_start_from: Any = None,
        loss_reduction: str = Reduction.SUM, batch_norm: bool = False, linear_sparse_combiner: str = "sum",
    ) -> None:  # fmt: skip
        head = classifier_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        self._begin(
            head, (linear_feature_columns, linear_optimizer, linear_sparse_combiner),
            (dnn_feature_columns, dnn_optimizer, dnn_hidden_units or (), dnn_activation_fn, dnn_dropout, batch_norm),
            input_layer_partitioner, (model_dir, config, warm_start_from),
        )  # fmt: skip


class DNNLinearCombinedRegressor(_LinearAndDeep):
    """A linear and a deep model whose results are added; see `LinearRegressor` and `DNNRegressor`."""

    def __init__(
        self, model_dir: Any = None, linear_feature_columns: Any = None, linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Any = None, dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None, dnn_activation_fn: Callable[..., Any] = relu,
        dnn_dropout: float | None = None, label_dimension: int = 1, weight_column: Any = None,
        input_layer_partitioner: Any = None, config: Any = None, warm_start_from: Any = None,
        loss_reduction: str = Reduction.SUM, batch_norm: bool = False, linear_sparse_combiner: str = "sum",
    ) -> None:  # fmt: skip
        head = NumbersHead(label_dimension, weight_column=weight_column, loss_reduction=loss_reduction)
        self._begin(
            head, (linear_feature_columns, linear_optimizer, linear_sparse_combiner),
            (dnn_feature_columns, dnn_optimizer, dnn_hidden_units or (), dnn_activation_fn, dnn_dropout, batch_norm),
            input_layer_partitioner, (model_dir, config, warm_start_from),
        )  # fmt: skip


class DNNLinearCombinedEstimator(_LinearAndDeep):
    """A linear and a deep model for what a head makes of their sum; see `LinearEstimator` and `DNNEstimator`."""

    def __init__(
        self, head: Head, model_dir: Any = None, linear_feature_columns: Any = None, linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Any = None, dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None, dnn_activation_fn: Callable[..., Any] = relu,
        dnn_dropout: float | None = None, input_layer_partitioner: Any = None, config: Any = None,
        batch_norm: bool = False, linear_sparse_combiner: str = "sum",
    ) -> None:  # fmt: skip
        self._begin(
            _a_head(head), (linear_feature_columns, linear_optimizer, linear_sparse_combiner),
            (dnn_feature_columns, dnn_optimizer, dnn_hidden_units or (), dnn_activation_fn, dnn_dropout, batch_norm),
            input_layer_partitioner, (model_dir, config, None),
        )  # fmt: skip


class _Baseline(Estimator):
    def _begin(self, head: Head, optimizer: Any, base: tuple[Any, ...]) -> None:
        def model(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            taker = _optimizer(optimizer, 0.3)
            first = next(iter(_dict_of(features).values()))
            batch = first.dense_shape[0] if hasattr(first, "dense_shape") else shape(first)[0]
            with variable_scope("baseline"):
                bias = get_variable("bias", [head.logits_dimension], initializer=zeros_initializer())
                logits = fill([batch, head.logits_dimension], 0.0) + bias
            return head.create_estimator_spec(features, mode, logits, labels, taker)

        super().__init__(model, base[0], base[1])


class BaselineClassifier(_Baseline):
    """Learns how frequent each class is, whatever the features; see `LinearClassifier`."""

    def __init__(
        self, model_dir: Any = None, n_classes: int = 2, weight_column: Any = None, label_vocabulary: Any = None,
        optimizer: Any = "Ftrl", config: Any = None, loss_reduction: str = Reduction.SUM,
    ) -> None:  # fmt: skip
        head = classifier_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        self._begin(head, optimizer, (model_dir, config))


class BaselineRegressor(_Baseline):
    """Learns the mean, whatever the features; see `LinearRegressor`."""

    def __init__(
        self, model_dir: Any = None, label_dimension: int = 1, weight_column: Any = None, optimizer: Any = "Ftrl",
        config: Any = None, loss_reduction: str = Reduction.SUM,
    ) -> None:  # fmt: skip
        head = NumbersHead(label_dimension, weight_column=weight_column, loss_reduction=loss_reduction)
        self._begin(head, optimizer, (model_dir, config))


class BaselineEstimator(_Baseline):
    """Learns the logits that fit best whatever the features, for what a head makes of them."""

    def __init__(
        self, head: Head, model_dir: Any = None, optimizer: Any = "Ftrl", config: Any = None
    ) -> None:
        self._begin(_a_head(head), optimizer, (model_dir, config))


__all__ = [
    "BaselineClassifier", "BaselineEstimator", "BaselineRegressor", "DNNClassifier", "DNNEstimator",
    "DNNLinearCombinedClassifier", "DNNLinearCombinedEstimator", "DNNLinearCombinedRegressor", "DNNRegressor",
    "LinearClassifier", "LinearEstimator", "LinearRegressor",
]  # fmt: skip
