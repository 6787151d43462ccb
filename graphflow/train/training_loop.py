"""A ready-made training loop: progress, resuming, evaluation, early stop, best checkpoint."""

from __future__ import annotations

import json
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
from graphflow.debug import find_nan
from graphflow.errors import OutOfRangeError
from graphflow.graph import GraphKeys
from graphflow.serialization.tensor_bundle import write_file
from graphflow.session import Session, SessionState
from graphflow.train.basic_session_run_hooks import NanLossDuringTrainingError
from graphflow.train.checkpoints import get_checkpoint_state, latest_checkpoint
from graphflow.train.coordinator import Coordinator
from graphflow.train.queue_runner import start_queue_runners
from graphflow.train.saver import Saver
from graphflow.variables import global_variables, global_variables_initializer, local_variables_initializer

__all__ = ["History", "loop"]

Feeds = Mapping[Any, Any]
_SCORES = "scores.json"
# Seconds after which the bar moves, however rare the losses are.
_REFRESH = 0.1


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
      loss: a scalar tensor, to be shown. A NaN ends training at once, with an error that names who made it.
      steps: the step to end at; default: until the input ends.
      feed_dict: what to feed: a dict, something that yields dicts, or a function from the step to a dict.
      checkpoint_dir: the folder of checkpoints; the best one goes to `best` in it, the scores to `scores.json`.
        Default: none are saved.
      save_every: steps between two checkpoints; None: only the last.
      resume: whether to go on from the newest checkpoint, and from the scores so far.
      evaluate: returns the score of the model; called with the session.
      evaluate_every: steps between two evaluations; default `save_every`, or only at the end.
      better: whether a lower or a higher score is better.
      patience: stop after so many evaluations in turn that are no better than the best.
      every: steps between two losses that are shown and kept in the history.
      session: the session to train in, its variables as they are unless a checkpoint is found; default: a new one,
        closed at the end.
      config: a `ConfigProto` for a new session.
      max_to_keep: how many checkpoints to keep.
      progress: whether to show the bar; default: where the standard error stream is a terminal; else lines are logged.

    Raises:
      ValueError: a number is out of range, or `patience` without `evaluate`.
      NanLossDuringTrainingError: the loss is NaN; says which operation made it, out of what, at which line.
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
        # The step of the newest checkpoint of this training, and the variables then.
        self.saved: int | None = None
        self.known: tuple[int, SessionState]
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
        self.known = history.step, self.session.snapshot()
        began = time.monotonic()
        coordinator = Coordinator()
        threads = start_queue_runners(self.session, coordinator)
        feeds = self._feeds()
        with self._bar() as bar:
            task = bar.add_task("", total=given["steps"], completed=history.step, loss="", rate="")
            try:
                self._steps(feeds, bar, task)
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

    def _steps(self, feeds: Iterator[Feeds], bar: Progress, task: Any) -> None:
        given, history = self.given, self.history
        fetches = (given["train_op"], given["loss"])
        every, save_every = given["every"], given["save_every"]
        evaluate_every = given["evaluate_every"] or save_every
        last, first = given["steps"], history.step
        shown = looked = time.monotonic()
        looked_at = first
        while last is None or history.step < last:
            try:
                feed = next(feeds)
            except StopIteration:
                history.reason = "input"
                break
            step = history.step + 1
            try:
                _, value = self.session.run(fetches, feed)
            except OutOfRangeError:
                history.reason = "input"
                break
            history.step = step
            loss = float(value)
            if math.isnan(loss):
                raise NanLossDuringTrainingError(self._blamed(feed))
            now = time.monotonic()
            if step % every == 0 or step == last or step == first + 1:
                history.steps.append(step)
                history.losses.append(loss)
                # The first step compiles; what the later ones take is told.
                rate = f"{(step - looked_at) / max(now - looked, 1e-9):.4g}" if step > first + 1 else ""
                bar.update(task, completed=step, loss=f"{loss:.5g}", rate=rate)
                if bar.disable:
                    logging.info("step %d: loss %.5g%s", step, loss, rate and f", {rate} steps/s")
                shown = looked = time.monotonic()
                looked_at = step
            elif now - shown > _REFRESH:
                bar.update(task, completed=step, loss=f"{loss:.5g}")
                shown = now
            if given["evaluate"] is not None and evaluate_every and step % evaluate_every == 0:
                self._evaluate()
                if given["patience"] is not None and self.worse >= given["patience"]:
                    history.reason = "early stop"
                    break
            if save_every and step % save_every == 0:
                self._save()
                self.known = step, self.session.snapshot()
        bar.update(task, completed=history.step)

    def _blamed(self, feed: Feeds) -> str:
        """Who made the NaN: with the variables as they were before it, if that tells, or as they are now."""
        step, before = self.known
        fetches = (self.given["train_op"], self.given["loss"])
        losses = self.history.losses
        told = [f"At step {self.history.step}{f', {losses[-1]:.5g} when last shown' if losses else ''}:"]
        for state, when in (
            (before, f"fed the same, with the variables of step {step},"),
            (None, "after it,"),
        ):
            try:
                blame = find_nan(self.session, fetches, feed, state)
            except Exception as error:  # the NaN is what is to be told
                told.append(f"{when} the run fails: {type(error).__name__}: {error}")
                continue
            if blame is not None:
                return "\n".join([*told, f"{when} {blame}"])
            told.append(f"{when} all values are finite;")
        told.append("gf.debug.record(session) keeps runs with the variables that they began with.")
        return "\n".join(told)

    def _evaluate(self) -> None:
        history = self.history
        score = float(self.given["evaluate"](self.session))
        history.evaluations.append((history.step, score))
        best = history.best
        sign = 1 if self.given["better"] == "min" else -1
        better = best is None or math.isnan(best[1]) or sign * score < sign * best[1]
        if self.folder is not None:
            # Before the checkpoint: of one whose score is not known none could say whether it is the best.
            scores = {"better": self.given["better"], "scores": history.evaluations}
            write_file(os.path.join(self.folder, _SCORES), json.dumps(scores).encode())
        if better:
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
        assert best is not None
        logging.info("step %d: score %.5g, best %.5g at step %d", history.step, score, best[1], best[0])

    def _resume(self) -> None:
        if self.folder is None:
            return
        os.makedirs(self.folder, exist_ok=True)
        path = latest_checkpoint(self.folder) if self.given["resume"] else None
        if path is None:
            return
        self.saver.recover_last_checkpoints(_known(self.folder))
        self.saver.restore(self.session, path)
        if self.counter is not None:
            self.history.step = int(np.asarray(self.session.run(self.counter)))
        else:
            self.history.step = _step_of(path)
        self.saved = self.history.step
        self._resume_scores(os.path.join(self.folder, "best"))
        logging.info("Resumed at step %d from %s", self.history.step, path)

    def _resume_scores(self, folder: str) -> None:
        """Takes the scores so far over, so that only what is better takes the place of the best checkpoint."""
        assert self.folder is not None
        try:
            with open(os.path.join(self.folder, _SCORES), "rb") as file:
                kept = json.load(file)
            scores = {int(step): float(score) for step, score in kept["scores"]}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError) as error:
            logging.warning("The scores in %s cannot be read: %s", os.path.join(self.folder, _SCORES), error)
            return
        path = latest_checkpoint(folder)
        if path is None or kept["better"] != self.given["better"] or _step_of(path) not in scores:
            return
        history, at = self.history, _step_of(path)
        self.best_saver.recover_last_checkpoints(_known(folder))
        history.best, history.best_checkpoint = (at, scores[at]), path
        history.evaluations += [
            (step, score) for step, score in scores.items() if step <= history.step or step == at
        ]
        self.worse = sum(at < step <= history.step for step in scores)

    def _save(self) -> None:
        if self.folder is not None and self.saved != self.history.step:
            self.saver.save(self.session, os.path.join(self.folder, "model.ckpt"), self.history.step)
            self.saved = self.history.step

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


def _step_of(path: str) -> int:
    tail = path.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def _known(folder: str) -> list[str]:
    state = get_checkpoint_state(folder)
    return [] if state is None else list(state.all_model_checkpoint_paths)
