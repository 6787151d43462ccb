"""`gf.train`: optimizers, learning rates, averages, the global step, and checkpoints."""

from __future__ import annotations

from graphflow.namespace import lazy
from graphflow.train.adadelta import AdadeltaOptimizer
from graphflow.train.adagrad import AdagradDAOptimizer, AdagradOptimizer
from graphflow.train.adam import AdamOptimizer
from graphflow.train.coordinator import Coordinator, LooperThread
from graphflow.train.ftrl import FtrlOptimizer
from graphflow.train.gradient_descent import GradientDescentOptimizer
from graphflow.train.learning_rate_decay import (
    cosine_decay,
    cosine_decay_restarts,
    exponential_decay,
    inverse_time_decay,
    linear_cosine_decay,
    natural_exp_decay,
    noisy_linear_cosine_decay,
    piecewise_constant,
    piecewise_constant_decay,
    polynomial_decay,
)
from graphflow.train.momentum import MomentumOptimizer
from graphflow.train.moving_averages import ExponentialMovingAverage
from graphflow.train.optimizer import Optimizer
from graphflow.train.proximal import ProximalAdagradOptimizer, ProximalGradientDescentOptimizer
from graphflow.train.rmsprop import RMSPropOptimizer
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

# Likewise queues and what they are filled with.
_LATER = {
    **dict.fromkeys(("SummaryWriter", "summary_iterator"), "graphflow.summary.writer"),
    **dict.fromkeys(
        ("BytesList", "Feature", "FeatureList", "FeatureLists", "Features", "FloatList", "Int64List"),
        "graphflow.serialization.proto.feature_pb2",
    ),
    **dict.fromkeys(("Example", "SequenceExample"), "graphflow.serialization.proto.example_pb2"),
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
    "SessionManager": "graphflow.train.session_manager",
    "Supervisor": "graphflow.train.supervisor",
    "init_from_checkpoint": "graphflow.train.checkpoint_utils",
    **dict.fromkeys(("History", "loop"), "graphflow.train.training_loop"),
    **dict.fromkeys(("VocabInfo", "warm_start"), "graphflow.train.warm_starting"),
}  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__, attributes=dict.fromkeys(_SAVER_NAMES, "graphflow.train.saver") | _LATER
)

__all__ = [
    "AdadeltaOptimizer", "AdagradDAOptimizer", "AdagradOptimizer", "AdamOptimizer", "Coordinator",
    "ExponentialMovingAverage", "LooperThread",
    "FtrlOptimizer", "GradientDescentOptimizer", "MomentumOptimizer", "Optimizer", "ProximalAdagradOptimizer",
    "ProximalGradientDescentOptimizer", "RMSPropOptimizer", "assert_global_step", "cosine_decay",
    "cosine_decay_restarts", "create_global_step", "exponential_decay", "get_global_step",
    "get_or_create_global_step", "global_step", "inverse_time_decay", "linear_cosine_decay", "natural_exp_decay",
    "noisy_linear_cosine_decay", "piecewise_constant", "piecewise_constant_decay", "polynomial_decay",
    *_LATER, *_SAVER_NAMES,
]  # fmt: skip
