"""A ready-made training loop: progress, resuming, evaluation, early stop, best checkpoint."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from graphflow import logging
from graphflow.errors import OutOfRangeError
from graphflow.graph import GraphKeys
from graphflow.session import Session
from graphflow.train.basic_session_run_hooks import NanLossDuringTrainingError
from graphflow.train.checkpoints import checkpoint_exists, get_checkpoint_state, latest_checkpoint
from graphflow.train.coordinator import Coordinator
from graphflow.train.queue_runner import start_queue_runners
from graphflow.train.saver import Saver
from graphflow.variables import global_variables, global_variables_initializer, local_variables_initializer

__all__ = ["History", "loop"]

Feeds = Mapping[Any, Any]


@dataclass
class History:
    """What a training went through.

    Attributes:
      steps: the steps of `losses`: one every `every` steps, and the last.
      losses: the losses there.
      evaluations: pairs of a step and the score there.
      best: the pair with the best score; None before the first evaluation.
      best_checkpoint: the checkpoint of it.
      reason: why it ended: "steps", "input" (it has ended), "early stop", or "interrupted".
      step: the last step.
      seconds: the time that it took.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    best: tuple[int, float] | None = None
    best_checkpoint: str | None = None
    reason: Literal["steps", "input", "early stop", "interrupted"] = "steps"
    step: int = 0
    seconds: float = 0.0


def loop(
    train_op: Any,
    loss: Any,
    steps: int | None = None,
    feed_dict: Feeds | Iterable[Feeds] | Callable[[int], Feeds] | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    save_every: int | None = 1000,
    resume: bool = True,
    evaluate: Callable[[Session], float] | None = None,
    evaluate_every: int | None = None,
    better: Literal["min", "max"] = "min",
    patience: int | None = None,
    every: int = 100,
    session: Session | None = None,
    config: Any = None,
    max_to_keep: int = 5,
    progress: bool | None = None,
) -> History:
    """Trains with a progress bar of loss and steps per second.

    Where `checkpoint_dir` holds a checkpoint, training goes on from it, and `steps` counts from the first training's
    beginning. An interrupt from the keyboard saves a checkpoint before it is raised again.

    Args:
      train_op: the operation of one step.
      loss: a scalar tensor, to be shown. A NaN ends training with an error that names who made it.
      steps: the step to end at; default: until the input ends.
      feed_dict: what to feed: a dict, something that yields dicts, or a function from the step to a dict.
      checkpoint_dir: the folder of checkpoints; the best one goes to `best` in it. Default: none are saved.
      save_every: steps between two checkpoints; None: only the last.
      resume: whether to go on from the newest checkpoint.
      evaluate: returns the score of the model; called with the session.
      evaluate_every: steps between two evaluations; default `save_every`, or only at the end.
      better: whether a lower or a higher score is better.
      patience: stop after so many evaluations in turn that are no better than the best.
      every: steps between two looks at the loss.
      session: the session to train in, its variables as they are unless a checkpoint is found; default: a new one,
        closed at the end.
      config: a `ConfigProto` for a new session.
      max_to_keep: how many checkpoints to keep.
      progress: whether to show the bar; default: where the standard error stream is a terminal; else lines are logged.

    Raises:
      ValueError: a number is out of range, or `patience` without `evaluate`.
      NanLossDuringTrainingError: the loss is NaN.
    """
    given = dict(locals())
    for name, number in (("steps", steps), ("save_every", save_every), ("evaluate_every", evaluate_every),
                         ("patience", patience), ("every", every)):  # fmt: skip
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if better not in ("min", "max"):
        raise ValueError(f'better must be "min" or "max", got {better!r}')
    if patience is not None and evaluate is None:
        raise ValueError("patience needs evaluate: what should not get worse?")
    if session is not None:
        return _Loop(session, given).run(initialize=False)
    with Session(graph=loss.graph, config=config) as made:
        return _Loop(made, given).run(initialize=True)


class _Loop:
    """One training."""

    def __init__(self, session: Session, given: Mapping[str, Any]) -> None:
        self.session = session
        self.given = given
        self.history = History()
        self.worse = 0
        with session.graph.as_default():
            self.initializers = (global_variables_initializer(), local_variables_initializer())
            tables = session.graph.get_collection(GraphKeys.TABLE_INITIALIZERS)
            folder = given["checkpoint_dir"]
            self.folder = None if folder is None else os.fspath(folder)
            if self.folder is not None:
                self.saver = Saver(
                    global_variables(), max_to_keep=given["max_to_keep"], save_relative_paths=True
                )
                self.best_saver = Saver(global_variables(), max_to_keep=1, save_relative_paths=True)
        self.tables = tables
        counter = session.graph.get_collection(GraphKeys.GLOBAL_STEP)
        self.counter = counter[0] if counter else None

    def run(self, initialize: bool) -> History:
        """Trains."""
        given, history = self.given, self.history
        if initialize:
            self.session.run(self.initializers)
        self.session.run(self.tables)
        self._resume()
        began, first = time.monotonic(), history.step
        coordinator = Coordinator()
        threads = start_queue_runners(self.session, coordinator)
        feeds = self._feeds()
        with self._bar() as bar:
            task = bar.add_task("", total=given["steps"], completed=history.step, loss="", rate="")
            try:
                self._steps(feeds, bar, task, began, first)
            except KeyboardInterrupt:
                history.reason = "interrupted"
                self._save()
                where = f"; step {history.step} is saved in {self.folder}" if self.folder else ""
                logging.warning("Interrupted%s", where)
                raise
            finally:
                history.seconds = time.monotonic() - began
                coordinator.request_stop()
                coordinator.join(threads, stop_grace_period_secs=5, ignore_live_threads=True)
        if given["evaluate"] is not None and (
            not history.evaluations or history.evaluations[-1][0] != history.step
        ):
            self._evaluate()
        self._save()
        return history

    def _steps(self, feeds: Iterator[Feeds], bar: Progress, task: Any, began: float, first: int) -> None:
        given, history = self.given, self.history
        every, save_every = given["every"], given["save_every"]
        evaluate_every = given["evaluate_every"] or save_every
        last = given["steps"]
        while last is None or history.step < last:
            try:
                feed = next(feeds)
            except StopIteration:
                history.reason = "input"
                break
            step = history.step + 1
            look = step % every == 0 or step == last or step == first + 1
            try:
                if look:
                    _, loss = self.session.run((given["train_op"], given["loss"]), feed)
                else:
                    self.session.run(given["train_op"], feed)
            except OutOfRangeError:
                history.reason = "input"
                break
            history.step = step
            if look:
                self._look(float(loss), feed)
                rate = (step - first) / max(time.monotonic() - began, 1e-9)
                bar.update(task, completed=step, loss=f"{loss:.5g}", rate=f"{rate:.4g}")
                if bar.disable:
                    logging.info("step %d: loss %.5g, %.4g steps/s", step, loss, rate)
            if given["evaluate"] is not None and evaluate_every and step % evaluate_every == 0:
                self._evaluate()
                if given["patience"] is not None and self.worse >= given["patience"]:
                    history.reason = "early stop"
                    break
            if save_every and step % save_every == 0:
                self._save()
        bar.update(task, completed=history.step)

    def _look(self, loss: float, feed: Feeds) -> None:
        self.history.steps.append(self.history.step)
        self.history.losses.append(loss)
        if math.isnan(loss):
            logging.error(
                "The loss is NaN at step %d. gf.debug.find_nan(session, loss, feed_dict) names the operation that "
                "made the first NaN; gf.debug.record keeps runs to look into.", self.history.step
            )  # fmt: skip
            raise NanLossDuringTrainingError

    def _evaluate(self) -> None:
        history = self.history
        score = float(self.given["evaluate"](self.session))
        history.evaluations.append((history.step, score))
        best = history.best
        sign = 1 if self.given["better"] == "min" else -1
        if best is None or sign * score < sign * best[1]:
            history.best = best = (history.step, score)
            self.worse = 0
            if self.folder is not None:
                folder = os.path.join(self.folder, "best")
                os.makedirs(folder, exist_ok=True)
                history.best_checkpoint = self.best_saver.save(
                    self.session, os.path.join(folder, "model.ckpt"), history.step
                )
        else:
            self.worse += 1
        logging.info("step %d: score %.5g, best %.5g at step %d", history.step, score, best[1], best[0])

    def _resume(self) -> None:
        if self.folder is None:
            return
        os.makedirs(self.folder, exist_ok=True)
        path = latest_checkpoint(self.folder) if self.given["resume"] else None
        if path is None:
            return
        self.saver.recover_last_checkpoints([p for p in _known(self.folder) if checkpoint_exists(p)])
        self.saver.restore(self.session, path)
        if self.counter is not None:
            self.history.step = int(np.asarray(self.session.run(self.counter)))
        else:
            tail = path.rpartition("-")[2]
            self.history.step = int(tail) if tail.isdigit() else 0
        logging.info("Resumed at step %d from %s", self.history.step, path)

    def _save(self) -> None:
        if self.folder is None:
            return
        newest = latest_checkpoint(self.folder)
        if newest is None or not newest.endswith(f"-{self.history.step}"):
            self.saver.save(self.session, os.path.join(self.folder, "model.ckpt"), self.history.step)

    def _feeds(self) -> Iterator[Feeds]:
        given = self.given["feed_dict"]
        if given is None or isinstance(given, Mapping):
            while True:
                yield given or {}
        if callable(given):
            while True:
                yield given(self.history.step)
        yield from given

    def _bar(self) -> Progress:
        shown = self.given["progress"]
        shown = sys.stderr.isatty() if shown is None else shown
        return Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} steps/s"), TimeRemainingColumn(),
            console=Console(stderr=True), disable=not shown, transient=False,
        )  # fmt: skip


def _known(folder: str) -> list[str]:
    state = get_checkpoint_state(folder)
    return [] if state is None else list(state.all_model_checkpoint_paths)
