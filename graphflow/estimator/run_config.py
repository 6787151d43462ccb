"""RunConfig: where and how an estimator runs."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from graphflow.distribute import Strategy
from graphflow.train.device_setter import ClusterSpec

__all__ = ["RunConfig"]

_UNSET = object()
_REPLACEABLE = (
    "model_dir", "tf_random_seed", "save_summary_steps", "save_checkpoints_steps", "save_checkpoints_secs",
    "session_config", "keep_checkpoint_max", "keep_checkpoint_every_n_hours", "log_step_count_steps",
    "train_distribute", "device_fn", "protocol", "eval_distribute", "experimental_distribute",
    "experimental_max_worker_delay_secs", "session_creation_timeout_secs",
)  # fmt: skip


class RunConfig:
    """How an estimator runs; read only, `replace` gives a changed one.

    Args:
      model_dir: the folder of checkpoints and summaries; None: from the environment variable TF_CONFIG, or a
        temporary one.
      tf_random_seed: the graph's random seed; None: other numbers in every run.
      save_summary_steps: steps between two summaries; default 100.
      save_checkpoints_steps: steps between two checkpoints.
      save_checkpoints_secs: seconds between two checkpoints; default 600; not both. None for both: none but
        the last.
      session_config: a `gf.ConfigProto`.
      keep_checkpoint_max: checkpoints to keep; 0 or None: all. Default 5.
      keep_checkpoint_every_n_hours: hours between two that are kept for good; default 10000.
      log_step_count_steps: steps between two lines on loss and steps per second; default 100; None: none.
      train_distribute, eval_distribute, experimental_distribute: strategies of `gf.distribute`, of
        one replica; or None.
      device_fn: a function from operations to devices.
      protocol: of a server; not used by one process.
      experimental_max_worker_delay_secs: not used by one process.
      session_creation_timeout_secs: seconds that a worker waits for its chief; default 7200.

    Raises:
      ValueError: both steps and seconds are given, or a number is out of range.
      NotImplementedError: a strategy of another kind is given.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str] | None = None,
        tf_random_seed: int | None = None,
        save_summary_steps: int | None = 100,
        save_checkpoints_steps: Any = _UNSET,
        save_checkpoints_secs: Any = _UNSET,
        session_config: Any = None,
        keep_checkpoint_max: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000,
        log_step_count_steps: int | None = 100,
        train_distribute: Any = None,
        device_fn: Any = None,
        protocol: str | None = None,
        eval_distribute: Any = None,
        experimental_distribute: Any = None,
        experimental_max_worker_delay_secs: float | None = None,
        session_creation_timeout_secs: float = 7200,
    ) -> None:
        if save_checkpoints_steps is _UNSET and save_checkpoints_secs is _UNSET:
            save_checkpoints_steps, save_checkpoints_secs = None, 600
        elif save_checkpoints_secs is _UNSET:
            save_checkpoints_secs = None
        elif save_checkpoints_steps is _UNSET:
            save_checkpoints_steps = None
        elif save_checkpoints_steps is not None and save_checkpoints_secs is not None:
            raise ValueError("save_checkpoints_steps and save_checkpoints_secs cannot both be set")
        for name, strategy in (
            ("train_distribute", train_distribute),
            ("eval_distribute", eval_distribute),
            ("experimental_distribute", experimental_distribute),
        ):
            if strategy is not None and not isinstance(strategy, Strategy):
                raise NotImplementedError(
                    f"{name}: an estimator runs in one process on one machine; give None or one of gf.distribute"
                )
        for name, number in (
            ("save_checkpoints_steps", save_checkpoints_steps),
            ("save_checkpoints_secs", save_checkpoints_secs),
            ("save_summary_steps", save_summary_steps),
            ("keep_checkpoint_max", keep_checkpoint_max),
        ):
            if number is not None and number < 0:
                raise ValueError(f"{name} should be >= 0, got {number}")
        if keep_checkpoint_every_n_hours is not None and keep_checkpoint_every_n_hours <= 0:
            raise ValueError(
                f"keep_checkpoint_every_n_hours should be > 0, got {keep_checkpoint_every_n_hours}"
            )
        if log_step_count_steps is not None and log_step_count_steps <= 0:
            raise ValueError(f"log_step_count_steps should be > 0, got {log_step_count_steps}")
        environment = json.loads(os.environ.get("TF_CONFIG") or "{}")
        self._task = environment.get("task") or {}
        self._cluster = environment.get("cluster") or {}
        model_dir = model_dir if model_dir is not None else environment.get("model_dir")
        if model_dir is not None and not os.fspath(model_dir):
            raise ValueError("model_dir should be non-empty")
        self.model_dir = None if model_dir is None else os.fspath(model_dir)
        self.tf_random_seed = tf_random_seed
        self.save_summary_steps = save_summary_steps
        self.save_checkpoints_steps = save_checkpoints_steps
        self.save_checkpoints_secs = save_checkpoints_secs
        self.session_config = session_config
        self.keep_checkpoint_max = keep_checkpoint_max
        self.keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
        self.log_step_count_steps = log_step_count_steps
        self.train_distribute = train_distribute
        self.device_fn = device_fn
        self.protocol = protocol
        self.eval_distribute = eval_distribute
        self.experimental_distribute = experimental_distribute
        self.experimental_max_worker_delay_secs = experimental_max_worker_delay_secs
        self.session_creation_timeout_secs = session_creation_timeout_secs

    @property
    def cluster_spec(self) -> Any:
        """The `ClusterSpec` of TF_CONFIG; an empty one for one process."""
        return ClusterSpec(self._cluster)

    @property
    def task_type(self) -> str:
        """The kind of this process; "worker" without TF_CONFIG."""
        return str(self._task.get("type", "worker"))

    @property
    def task_id(self) -> int:
        """The number of this process among its kind."""
        return int(self._task.get("index", 0))

    @property
    def global_id_in_cluster(self) -> int:
        """The number of this process among all."""
        return self.task_id

    @property
    def is_chief(self) -> bool:
        """Whether this process initializes and saves."""
        return self.task_type in ("chief", "master") or (self.task_type == "worker" and not self._cluster)

    @property
    def master(self) -> str:
        """What a session is given; "" for this process."""
        return ""

    @property
    def evaluation_master(self) -> str:
        """What an evaluation's session is given; "" for this process."""
        return ""

    @property
    def num_ps_replicas(self) -> int:
        """Parameter servers in the cluster."""
        return len(self._cluster.get("ps", ()))

    @property
    def num_worker_replicas(self) -> int:
        """Workers in the cluster, the chief among them."""
        chiefs = len(self._cluster.get("chief", ())) + len(self._cluster.get("master", ()))
        return (len(self._cluster.get("worker", ())) + chiefs) or 1

    @property
    def service(self) -> Any:
        """What TF_CONFIG says of a service."""
        return json.loads(os.environ.get("TF_CONFIG") or "{}").get("service")

    def replace(self, **kwargs: Any) -> RunConfig:
        """Returns a copy with some properties exchanged.

        Raises:
          ValueError: a name that cannot be exchanged, or both steps and seconds.
        """
        changed = copy.copy(self)
        for name in kwargs:
            if name not in _REPLACEABLE:
                raise ValueError(
                    f"Replacing {name} is not supported. Allowed properties are {', '.join(_REPLACEABLE)}"
                )
        if (
            kwargs.get("save_checkpoints_steps") is not None
            and kwargs.get("save_checkpoints_secs") is not None
        ):
            raise ValueError("save_checkpoints_steps and save_checkpoints_secs cannot both be set")
        if kwargs.get("save_checkpoints_steps") is not None:
            kwargs.setdefault("save_checkpoints_secs", None)
        elif kwargs.get("save_checkpoints_secs") is not None:
            kwargs.setdefault("save_checkpoints_steps", None)
        for name, value in kwargs.items():
            setattr(changed, name, value)
        return changed

    def __repr__(self) -> str:
        return f"RunConfig({', '.join(f'{name}={getattr(self, name)!r}' for name in _REPLACEABLE)})"
