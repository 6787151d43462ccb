"""`tf.contrib.tpu` for machines without a TPU: the same estimators, on the processor, with `use_tpu=False`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from graphflow import logging
from graphflow.estimator.estimator import Estimator
from graphflow.estimator.model_fn import EstimatorSpec, ModeKeys
from graphflow.estimator.run_config import RunConfig as _RunConfig
from graphflow.graph import control_dependencies
from graphflow.ops.control import group
from graphflow.train.monitored_session import Scaffold
from graphflow.train.optimizer import Optimizer

__all__ = [
    "CrossShardOptimizer", "InputPipelineConfig", "RunConfig", "TPUConfig", "TPUEstimator", "TPUEstimatorSpec",
]  # fmt: skip


class InputPipelineConfig:
    """How a TPU's hosts would be fed; one processor is fed one way."""

    PER_SHARD_V1 = 1
    PER_HOST_V1 = 2
    PER_HOST_V2 = 3
    BROADCAST = 4


class TPUConfig(NamedTuple):
    """What a TPU would be told; taken so that programs run, and not used."""

    iterations_per_loop: int = 2
    num_shards: int | None = None
    num_cores_per_replica: int | None = None
    per_host_input_for_training: Any = True
    tpu_job_name: str | None = None
    initial_infeed_sleep_secs: int | None = None
    input_partition_dims: Any = None
    eval_training_input_configuration: Any = InputPipelineConfig.PER_HOST_V1


class RunConfig(_RunConfig):
    """A `gf.estimator.RunConfig` with a `TPUConfig`.

    Args:
      tpu_config: a `TPUConfig`.
      evaluation_master, master: taken and not used: everything runs in this process.
      cluster: must be None.
      **kwargs: as for `gf.estimator.RunConfig`.

    Raises:
      ValueError: a cluster is given.
    """

    def __init__(
        self,
        tpu_config: TPUConfig | None = None,
        evaluation_master: str | None = None,
        master: str | None = None,
        cluster: Any = None,
        **kwargs: Any,
    ) -> None:
        if cluster is not None:
            raise ValueError("there are no TPUs here: cluster must be None")
        super().__init__(**kwargs)
        self.tpu_config = tpu_config or TPUConfig()


class TPUEstimatorSpec:
    """A model as its function built it; see `gf.estimator.EstimatorSpec`.

    Args:
      mode: one of `gf.estimator.ModeKeys`.
      predictions: a dict of tensors.
      loss: a scalar tensor.
      train_op: the operation of one step.
      eval_metrics: a pair of a function and its arguments, a list or a dict of tensors; it returns what
        `eval_metric_ops` of an EstimatorSpec are.
      export_outputs: a dict of `ExportOutput`s.
      scaffold_fn: returns a `gf.train.Scaffold`.
      host_call: a pair of a function and its arguments, to be run with each step.
      training_hooks, evaluation_hooks, prediction_hooks: hooks.
    """

    def __init__(
        self,
        mode: str,
        predictions: Any = None,
        loss: Any = None,
        train_op: Any = None,
        eval_metrics: Any = None,
        export_outputs: Any = None,
        scaffold_fn: Callable[[], Scaffold] | None = None,
        host_call: Any = None,
        training_hooks: Any = None,
        evaluation_hooks: Any = None,
        prediction_hooks: Any = None,
    ) -> None:
        self.mode = mode
        self.predictions = predictions
        self.loss = loss
        self.train_op = train_op
        self.eval_metrics = eval_metrics
        self.export_outputs = export_outputs
        self.scaffold_fn = scaffold_fn
        self.host_call = host_call
        self.training_hooks = training_hooks
        self.evaluation_hooks = evaluation_hooks
        self.prediction_hooks = prediction_hooks

    def as_estimator_spec(self) -> EstimatorSpec:
        """Returns the same as an `EstimatorSpec`.

        Raises:
          ValueError: `eval_metrics` or `host_call` is no such pair.
        """
        train_op = self.train_op
        called = _called(self.host_call, "host_call")
        if called is not None and train_op is not None:
            with control_dependencies([called]):
                train_op = group(train_op)
        return EstimatorSpec(
            self.mode, self.predictions, self.loss, train_op, _called(self.eval_metrics, "eval_metrics"),
            self.export_outputs, scaffold=self.scaffold_fn() if self.scaffold_fn else None,
            training_hooks=self.training_hooks, evaluation_hooks=self.evaluation_hooks,
            prediction_hooks=self.prediction_hooks,
        )  # fmt: skip


def _called(pair: Any, what: str) -> Any:
    if pair is None:
        return None
    if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[0]):
        raise ValueError(f"{what} must be a pair of a function and its tensors, got {pair!r}")
    function, arguments = pair
    return function(**arguments) if isinstance(arguments, Mapping) else function(*arguments)


class TPUEstimator(Estimator):
    """An estimator whose functions find the batch size of their mode in `params["batch_size"]`.

    Args:
      model_fn: as for `gf.estimator.Estimator`; returns a `TPUEstimatorSpec` or an `EstimatorSpec`.
      model_dir: the folder of checkpoints.
      config: a `RunConfig` of this module.
      params: a dict, without "batch_size".
      use_tpu: must be False.
      train_batch_size, eval_batch_size, predict_batch_size: the batch sizes.
      batch_axis, eval_on_tpu, export_to_tpu: taken and not used.
      warm_start_from: as for `gf.estimator.Estimator`.

    Raises:
      ValueError: a TPU is asked for, or `params` has a batch size of its own.
    """

    def __init__(
        self,
        model_fn: Callable[..., Any],
        model_dir: str | os.PathLike[str] | None = None,
        config: _RunConfig | None = None,
        params: Any = None,
        use_tpu: bool = True,
        train_batch_size: int | None = None,
        eval_batch_size: int | None = None,
        predict_batch_size: int | None = None,
        batch_axis: Any = None,
        eval_on_tpu: bool = True,
        export_to_tpu: bool = True,
        warm_start_from: Any = None,
    ) -> None:
        if use_tpu:
            raise ValueError("there are no TPUs here: give use_tpu=False")
        if params is not None and "batch_size" in params:
            raise ValueError("batch_size cannot be in params: give train_batch_size and its like")
        self._batch_sizes = {
            ModeKeys.TRAIN: train_batch_size, ModeKeys.EVAL: eval_batch_size, ModeKeys.PREDICT: predict_batch_size,
        }  # fmt: skip
        logging.info("TPUEstimator runs on the processor.")
        super().__init__(model_fn, model_dir, config, params or {}, warm_start_from)

    def _params_for(self, mode: str) -> Any:
        params = self.params
        size = self._batch_sizes[mode]
        return params if size is None else {**params, "batch_size": size}

    def _spec(self, made: Any) -> EstimatorSpec:
        return super()._spec(made.as_estimator_spec() if isinstance(made, TPUEstimatorSpec) else made)


class CrossShardOptimizer(Optimizer):
    """An optimizer whose gradients a TPU would average over its shards; here there is one, and it is `opt`.

    Args:
      opt: the optimizer.
      reduction: taken and not used.
      name: a name.
      group_assignment: must be None.
    """

    def __init__(
        self,
        opt: Optimizer,
        reduction: str = "mean",
        name: str = "CrossShardOptimizer",
        group_assignment: Any = None,
    ) -> None:
        if group_assignment is not None:
            raise ValueError("there are no TPUs here: group_assignment must be None")
        super().__init__(False, name)
        self._opt = opt

    def compute_gradients(self, *args: Any, **kwargs: Any) -> Any:
        """As the optimizer does."""
        return self._opt.compute_gradients(*args, **kwargs)

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: str | None = None) -> Any:
        """As the optimizer does."""
        return self._opt.apply_gradients(grads_and_vars, global_step, name)

    def get_slot(self, *args: Any, **kwargs: Any) -> Any:
        """As the optimizer does."""
        return self._opt.get_slot(*args, **kwargs)

    def get_slot_names(self, *args: Any, **kwargs: Any) -> Any:
        """As the optimizer does."""
        return self._opt.get_slot_names(*args, **kwargs)

    def variables(self) -> Any:
        """As the optimizer does."""
        return self._opt.variables()
