"""`tf.estimator`: models as functions, with training, evaluation, prediction and export around them."""

from __future__ import annotations

from graphflow.namespace import lazy

_PARTS = {
    "canned": (
        "BaselineClassifier",
        "BaselineEstimator",
        "BaselineRegressor",
        "DNNClassifier",
        "DNNEstimator",
        "DNNLinearCombinedClassifier",
        "DNNLinearCombinedEstimator",
        "DNNLinearCombinedRegressor",
        "DNNRegressor",
        "LinearClassifier",
        "LinearEstimator",
        "LinearRegressor",
    ),
    "boosted_trees": ("BoostedTreesClassifier", "BoostedTreesEstimator", "BoostedTreesRegressor"),
    "estimator": ("Estimator", "WarmStartSettings"),
    "extenders": ("add_metrics",),
    "heads": ("BinaryClassHead", "Head", "MultiClassHead", "RegressionHead"),
    "keras": ("model_to_estimator",),
    "model_fn": ("EstimatorSpec", "ModeKeys"),
    "run_config": ("RunConfig",),
    "training": ("EvalSpec", "TrainSpec", "train_and_evaluate"),
    "exporter": ("BestExporter", "Exporter", "FinalExporter", "LatestExporter"),
}
_HOOKS = (
    "CheckpointSaverHook", "CheckpointSaverListener", "FeedFnHook", "FinalOpsHook", "GlobalStepWaiterHook",
    "LoggingTensorHook", "NanLossDuringTrainingError", "NanTensorHook", "ProfilerHook", "SecondOrStepTimer",
    "StepCounterHook", "StopAtStepHook", "SummarySaverHook",
)  # fmt: skip
_LATER = {
    **{name: f"graphflow.estimator.{part}" for part, names in _PARTS.items() for name in names},
    **dict.fromkeys(_HOOKS, "graphflow.train.basic_session_run_hooks"),
    **dict.fromkeys(
        ("SessionRunArgs", "SessionRunContext", "SessionRunHook", "SessionRunValues"),
        "graphflow.train.session_run_hook",
    ),
    "VocabInfo": "graphflow.train.warm_starting",
}

__all__ = [*_LATER, "export", "inputs", "tpu"]

__getattr__, __dir__ = lazy(__name__, ("export", "inputs", "tpu"), _LATER)
