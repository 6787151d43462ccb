"""Training and evaluation in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from graphflow import logging
from graphflow.estimator.estimator import Estimator
from graphflow.estimator.exporter import Exporter
from graphflow.graph import GraphKeys
from graphflow.train.basic_session_run_hooks import CheckpointSaverListener
from graphflow.train.checkpoints import load_variable
from graphflow.train.session_run_hook import SessionRunHook

__all__ = ["EvalSpec", "TrainSpec", "train_and_evaluate"]


class TrainSpec(
    NamedTuple(
        "TrainSpec", [("input_fn", Any), ("max_steps", Any), ("hooks", Any), ("saving_listeners", Any)]
    )
):  # fmt: skip
    """How to train.

    Args:
      input_fn: see `Estimator.train`.
      max_steps: at which global step to end; None: when the input ends.
      hooks: further hooks.
      saving_listeners: told of each checkpoint.
    """

    def __new__(
        cls,
        input_fn: Any,
        max_steps: int | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        saving_listeners: Sequence[CheckpointSaverListener] | None = None,
    ) -> TrainSpec:
        """Checks what is given."""
        _check_input(input_fn)
        if max_steps is not None and max_steps <= 0:
            raise ValueError(f"Must specify max_steps > 0, given: {max_steps}")
        return super().__new__(cls, input_fn, max_steps, _checked(hooks), tuple(saving_listeners or ()))


class EvalSpec(
    NamedTuple(
        "EvalSpec",
        [
            ("input_fn", Any), ("steps", Any), ("name", Any), ("hooks", Any), ("exporters", Any),
            ("start_delay_secs", Any), ("throttle_secs", Any),
        ],
    )
):  # fmt: skip
    """How to evaluate.

    Args:
      input_fn: see `Estimator.evaluate`.
      steps: how many batches; default 100; None: until the input ends.
      name: of the evaluation, where there are several.
      hooks: further hooks.
      exporters: an `Exporter`, or several.
      start_delay_secs: not used by one process.
      throttle_secs: not to evaluate again before so many seconds; default 600.
    """

    def __new__(
        cls,
        input_fn: Any,
        steps: int | None = 100,
        name: str | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        exporters: Any = None,
        start_delay_secs: float = 120,
        throttle_secs: float = 600,
    ) -> EvalSpec:
        """Checks what is given."""
        _check_input(input_fn)
        if steps is not None and steps <= 0:
            raise ValueError(f"Must specify steps > 0, given: {steps}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"EvalSpec name must be string, got {name!r}")
        found = (exporters,) if isinstance(exporters, Exporter) else tuple(exporters or ())
        names: set[str] = set()
        for exporter in found:
            if not isinstance(exporter, Exporter):
                raise TypeError(f"exporters must be Exporters, got {exporter!r}")
            if not exporter.name or exporter.name in names:
                raise ValueError(
                    f"exporters need different names that are not empty; got {exporter.name!r} again"
                )
            names.add(exporter.name)
        for what, seconds in (("start_delay_secs", start_delay_secs), ("throttle_secs", throttle_secs)):
            if seconds < 0:
                raise ValueError(f"Must specify {what} >= 0, given: {seconds}")
        return super().__new__(
            cls, input_fn, steps, name, _checked(hooks), found, start_delay_secs, throttle_secs
        )


def _check_input(input_fn: Any) -> None:
    if not callable(input_fn):
        raise TypeError(f"input_fn must be callable, given: {input_fn!r}")


def _checked(hooks: Sequence[SessionRunHook] | None) -> tuple[SessionRunHook, ...]:
    found = tuple(hooks or ())
    for hook in found:
        if not isinstance(hook, SessionRunHook):
            raise TypeError(f"All hooks must be SessionRunHook instances, given: {hook!r}")
    return found


class _EvaluatesCheckpoints(CheckpointSaverListener):
    """Evaluates a checkpoint when it has been written, and ends training where nothing is left to do."""

    def __init__(self, estimator: Estimator, spec: EvalSpec, max_steps: int | None) -> None:
        self._estimator, self._spec, self._max_steps = estimator, spec, max_steps
        self._evaluated: float | None = None
        self._first = True
        self.result: tuple[Any, Any] = (None, None)

    def begin(self) -> None:
        """A training begins."""
        self._first = True

    def after_save(self, session: Any, global_step_value: int) -> bool | None:
        """Evaluates, unless it is the first checkpoint or too soon."""
        if self._first:
            # It is what training begins with.
            self._first = False
            return None
        if self._max_steps is not None and global_step_value >= self._max_steps:
            return None  # the end of training evaluates it
        waited = None if self._evaluated is None else time.monotonic() - self._evaluated
        if waited is not None and waited < self._spec.throttle_secs:
            logging.info(
                "Skip the current checkpoint eval due to throttle secs (%s secs).", self._spec.throttle_secs
            )
            return None
        self.evaluate(final=False)
        return None

    def end(self, session: Any, global_step_value: int) -> None:
        """Training has ended; `train_and_evaluate` evaluates when its files are closed."""

    def evaluate(self, final: bool) -> None:
        """Evaluates the newest checkpoint and exports."""
        spec, estimator = self._spec, self._estimator
        metrics = estimator.evaluate(spec.input_fn, spec.steps, spec.hooks, name=spec.name)
        self._evaluated = time.monotonic()
        path = estimator.latest_checkpoint()
        exports = [
            exporter.export(
                estimator,
                os.path.join(estimator.model_dir, "export", exporter.name),
                path or "",
                metrics,
                final,
            )
            for exporter in spec.exporters
        ]
        self.result = (metrics, exports)


def train_and_evaluate(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec) -> tuple[Any, Any]:
    """Trains, evaluates checkpoints as they are written, and evaluates and exports at the end.

    How often checkpoints are written, and with it how often they are evaluated, is for `RunConfig` to say.

    Args:
      estimator: what to train.
      train_spec: how to train.
      eval_spec: how to evaluate.

    Returns:
      the metrics of the last evaluation and what its exporters wrote; two Nones where `max_steps` had been
      reached before.

    Raises:
      TypeError: an argument of another kind.
    """
    for what, value, kind in (
        ("estimator", estimator, Estimator), ("train_spec", train_spec, TrainSpec), ("eval_spec", eval_spec, EvalSpec)
    ):  # fmt: skip
        if not isinstance(value, kind):
            raise TypeError(f"`{what}` must have type `{kind.__name__}`, given {type(value)}")
    newest = estimator.latest_checkpoint()
    if (
        newest
        and train_spec.max_steps
        and int(load_variable(newest, GraphKeys.GLOBAL_STEP)) >= train_spec.max_steps
    ):
        logging.info("Training has reached max_steps before; nothing is trained or evaluated.")
        return None, None
    listener = _EvaluatesCheckpoints(estimator, eval_spec, train_spec.max_steps)
    estimator.train(
        train_spec.input_fn, train_spec.hooks, max_steps=train_spec.max_steps,
        saving_listeners=[*train_spec.saving_listeners, listener],
    )  # fmt: skip
    listener.evaluate(final=True)
    return listener.result
