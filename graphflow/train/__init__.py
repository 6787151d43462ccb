"""`gf.train`: optimizers, learning rates, averages, the global step, and checkpoints."""

from __future__ import annotations

from graphflow.namespace import lazy
from graphflow.train.optimizer import Optimizer
from graphflow.train.training_util import (
    assert_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
    global_step,
)

# Checkpoints bring protobuf along and load when first asked for.
_SAVER_NAMES = (
    "CheckpointReader", "NewCheckpointReader", "Saver", "checkpoint_exists", "export_meta_graph",
    "generate_checkpoint_state_proto", "get_checkpoint_mtimes", "get_checkpoint_state", "import_meta_graph",
    "latest_checkpoint", "list_variables", "load_checkpoint", "load_variable", "remove_checkpoint",
    "update_checkpoint_state", "write_graph",
)  # fmt: skip

# Likewise queues and what they are filled with; and of the optimizers a program uses one.
_LATER = {
    "AdadeltaOptimizer": "graphflow.train.adadelta",
    **dict.fromkeys(("AdagradDAOptimizer", "AdagradOptimizer"), "graphflow.train.adagrad"),
    "AdamOptimizer": "graphflow.train.adam",
    **dict.fromkeys(("Coordinator", "LooperThread"), "graphflow.train.coordinator"),
    "ExponentialMovingAverage": "graphflow.train.moving_averages",
    "FtrlOptimizer": "graphflow.train.ftrl",
    "GradientDescentOptimizer": "graphflow.train.gradient_descent",
    **dict.fromkeys(
        ("cosine_decay", "cosine_decay_restarts", "exponential_decay", "inverse_time_decay", "linear_cosine_decay",
         "natural_exp_decay", "noisy_linear_cosine_decay", "piecewise_constant", "piecewise_constant_decay",
         "polynomial_decay"),
        "graphflow.train.learning_rate_decay",
    ),
    "MomentumOptimizer": "graphflow.train.momentum",
    **dict.fromkeys(
        ("ProximalAdagradOptimizer", "ProximalGradientDescentOptimizer"), "graphflow.train.proximal"
    ),
    "RMSPropOptimizer": "graphflow.train.rmsprop",
    **dict.fromkeys(("SummaryWriter", "summary_iterator"), "graphflow.summary.writer"),
    **dict.fromkeys(
        ("BytesList", "Feature", "FeatureList", "FeatureLists", "Features", "FloatList", "Int64List"),
        "graphflow.serialization.proto.feature_pb2",
    ),
    **dict.fromkeys(("Example", "SequenceExample"), "graphflow.serialization.proto.example_pb2"),
    "SaverDef": "graphflow.serialization.proto.saver_pb2",
    "QueueRunnerDef": "graphflow.serialization.proto.queue_runner_pb2",
    **dict.fromkeys(("QueueRunner", "add_queue_runner", "start_queue_runners"), "graphflow.train.queue_runner"),
    **dict.fromkeys(
        ("batch", "batch_join", "input_producer", "limit_epochs", "match_filenames_once", "maybe_batch",
         "maybe_batch_join", "maybe_shuffle_batch", "maybe_shuffle_batch_join", "range_input_producer",
         "shuffle_batch", "shuffle_batch_join", "slice_input_producer", "string_input_producer"),
        "graphflow.train.input",
    ),
    **dict.fromkeys(("ClusterSpec", "replica_device_setter"), "graphflow.train.device_setter"),
    **dict.fromkeys(
        ("ChiefSessionCreator", "MonitoredSession", "MonitoredTrainingSession", "Scaffold", "SessionCreator",
         "SingularMonitoredSession", "WorkerSessionCreator"),
        "graphflow.train.monitored_session",
    ),
    **dict.fromkeys(
        ("CheckpointSaverHook", "CheckpointSaverListener", "FeedFnHook", "FinalOpsHook", "GlobalStepWaiterHook",
         "LoggingTensorHook", "NanLossDuringTrainingError", "NanTensorHook", "ProfilerHook", "SecondOrStepTimer",
         "StepCounterHook", "StopAtStepHook", "SummarySaverHook"),
        "graphflow.train.basic_session_run_hooks",
    ),
    **dict.fromkeys(
        ("SessionRunArgs", "SessionRunContext", "SessionRunHook", "SessionRunValues"),
        "graphflow.train.session_run_hook",
    ),
    "Server": "graphflow.train.server_lib",
    "SessionManager": "graphflow.train.session_manager",
    **dict.fromkeys(("Supervisor", "basic_train_loop"), "graphflow.train.supervisor"),
    "init_from_checkpoint": "graphflow.train.checkpoint_utils",
    **dict.fromkeys(("History", "loop"), "graphflow.train.training_loop"),
    **dict.fromkeys(("VocabInfo", "warm_start"), "graphflow.train.warm_starting"),
}  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__, ("experimental",), dict.fromkeys(_SAVER_NAMES, "graphflow.train.saver") | _LATER
)

__all__ = [
    "Optimizer", "assert_global_step", "create_global_step", "get_global_step", "get_or_create_global_step",
    "experimental", "global_step", *_LATER, *_SAVER_NAMES,
]  # fmt: skip
