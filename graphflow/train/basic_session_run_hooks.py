"""Hooks that most training loops want: logs, checkpoints, summaries, an end, a look for NaN."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import logging
from graphflow.graph import GraphKeys, get_default_graph
from graphflow.serialization.events import full_trace_options
from graphflow.summary import SessionLog, Summary
from graphflow.summary.writer import FileWriterCache
from graphflow.timeline import Timeline
from graphflow.train.saver import write_graph
from graphflow.train.session_run_hook import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from graphflow.train.training_util import get_global_step


class SecondOrStepTimer:
    """Tells when a number of steps or seconds has gone by.

    Args:
      every_secs: seconds between two times.
      every_steps: steps between two times; not both.
    """

    def __init__(self, every_secs: float | None = None, every_steps: int | None = None) -> None:
        if (every_secs is None) == (every_steps is None):
            raise ValueError("Exactly one of every_secs and every_steps should be provided.")
        self._every_secs = every_secs
        self._every_steps = every_steps
        self.reset()

    def reset(self) -> None:
        """Forgets when it was last time."""
        self._last_time: float | None = None
        self._last_step: int | None = None

    def should_trigger_for_step(self, step: int) -> bool:
        """Whether it is time at this step."""
        if self._last_step is None or self._last_time is None:
            return True
        if step == self._last_step:
            return False
        if self._every_secs is not None:
            return time.time() >= self._last_time + self._every_secs
        assert self._every_steps is not None
        return step >= self._last_step + self._every_steps

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Notes that it was time; returns the seconds and steps since the time before, None for the first."""
        now = time.time()
        seconds = None if self._last_time is None else now - self._last_time
        steps = None if self._last_step is None else step - self._last_step
        self._last_time, self._last_step = now, step
        return seconds, steps

    def last_triggered_step(self) -> int | None:
        """The step at which it was last time."""
        return self._last_step


def _step_tensor() -> Any:
    found = get_global_step()
    if found is None:
        raise RuntimeError("a global step must have been made: gf.train.get_or_create_global_step()")
    return found


class LoggingTensorHook(SessionRunHook):
    """Logs values every so many steps or seconds.

    Args:
      tensors: tensors or their names, in a list or by tag in a dict.
      every_n_iter: steps between two lines.
      every_n_secs: seconds between two lines; not both.
      at_end: whether to log once more at the end; alone it logs only there.
      formatter: makes the line of a dict of values.
    """

    def __init__(
        self,
        tensors: Any,
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[dict[str, Any]], str] | None = None,
    ) -> None:
        only_at_end = at_end and every_n_iter is None and every_n_secs is None
        if not only_at_end and (every_n_iter is None) == (every_n_secs is None):
            raise ValueError(
                "either at_end and/or exactly one of every_n_iter and every_n_secs must be provided."
            )
        if every_n_iter is not None and every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}.")
        if not isinstance(tensors, Mapping):
            tensors = {getattr(item, "name", item): item for item in tensors}
        self._tensors = dict(tensors)
        self._timer = None if only_at_end else SecondOrStepTimer(every_n_secs, every_n_iter)
        self._formatter = formatter
        self._at_end = at_end

    def begin(self) -> None:
        """Finds the tensors."""
        if self._timer is not None:
            self._timer.reset()
        self._step = 0
        graph = get_default_graph()
        self._current = {
            tag: graph.as_graph_element(item) if isinstance(item, str) else item
            for tag, item in self._tensors.items()
        }

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Fetches the tensors when it is time."""
        self._due = self._timer is not None and self._timer.should_trigger_for_step(self._step)
        return SessionRunArgs(self._current) if self._due else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Logs what was fetched."""
        if self._due:
            self._log(run_values.results)
        self._step += 1

    def end(self, session: Any) -> None:
        """Logs once more if asked to."""
        if self._at_end:
            self._log(session.run(self._current))

    def _log(self, values: dict[str, Any]) -> None:
        seconds = None
        if self._timer is not None:
            seconds, _ = self._timer.update_last_triggered_step(self._step)
        if self._formatter is not None:
            logging.info(self._formatter(values))
            return
        with np.printoptions(suppress=True):
            text = ", ".join(f"{tag} = {values[tag]}" for tag in self._tensors)
        logging.info(text if seconds is None else f"{text} ({seconds:.3f} sec)")


class StopAtStepHook(SessionRunHook):
    """Asks for an end after a number of steps, or at a step.

    Args:
      num_steps: how many steps more to take.
      last_step: the step to end at; not both.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        if (num_steps is None) == (last_step is None):
            raise ValueError("Exactly one of num_steps and last_step must be specified.")
        self._num_steps = num_steps
        self._last_step = last_step

    def begin(self) -> None:
        """Finds the global step."""
        self._step_tensor = _step_tensor()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Counts from the present step on."""
        if self._last_step is None:
            assert self._num_steps is not None
            self._last_step = int(session.run(self._step_tensor)) + self._num_steps

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Fetches the step."""
        return SessionRunArgs(self._step_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Asks for an end when the last step is taken."""
        assert self._last_step is not None
        if int(run_values.results) + 1 >= self._last_step:
            # The step that was fetched may be from before the update: the session knows.
            if int(run_context.session.run(self._step_tensor)) >= self._last_step:
                run_context.request_stop()


class CheckpointSaverListener:
    """A base class of those who want to know when checkpoints are saved."""

    def begin(self) -> None:
        """Called once, before the session is made."""

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Called before each checkpoint."""

    def after_save(self, session: Any, global_step_value: int) -> bool | None:
        """Called after each checkpoint; returns True to ask for an end."""
        return None

    def end(self, session: Any, global_step_value: int) -> None:
        """Called at the end."""


class CheckpointSaverHook(SessionRunHook):
    """Saves checkpoints every so many steps or seconds, at the beginning and at the end.

    Args:
      checkpoint_dir: the folder.
      save_secs: seconds between two checkpoints.
      save_steps: steps between two; not both.
      saver: what saves.
      checkpoint_basename: the beginning of the files' names.
      scaffold: whose saver to take instead; not both.
      listeners: `CheckpointSaverListener`s.
      save_graph_def: whether to write the graph too, as `graph.pbtxt`.
    """

    def __init__(
        self,
        checkpoint_dir: str,
        save_secs: float | None = None,
        save_steps: int | None = None,
        saver: Any = None,
        checkpoint_basename: str = "model.ckpt",
        scaffold: Any = None,
        listeners: Sequence[CheckpointSaverListener] | None = None,
        save_graph_def: bool = True,
    ) -> None:
        logging.info("Create CheckpointSaverHook.")
        if saver is not None and scaffold is not None:
            raise ValueError("You cannot provide both saver and scaffold.")
        self._saver = saver
        self._dir = checkpoint_dir
        self._path = os.path.join(checkpoint_dir, checkpoint_basename)
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(save_secs, save_steps)
        self._listeners = list(listeners or [])
        self._save_graph_def = save_graph_def

    def begin(self) -> None:
        """Finds the global step."""
        self._step_tensor = _step_tensor()
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Writes the graph and a first checkpoint."""
        step = int(session.run(self._step_tensor))
        if self._save_graph_def:
            write_graph(get_default_graph().as_graph_def(add_shapes=True), self._dir, "graph.pbtxt")
        self._save(session, step)
        self._timer.update_last_triggered_step(step)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Fetches the step."""
        return SessionRunArgs(self._step_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Saves when it is time."""
        if not self._timer.should_trigger_for_step(int(run_values.results) + 1):
            return
        step = int(run_context.session.run(self._step_tensor))
        if self._timer.should_trigger_for_step(step):
            self._timer.update_last_triggered_step(step)
            if self._save(run_context.session, step):
                run_context.request_stop()

    def end(self, session: Any) -> None:
        """Saves a last checkpoint."""
        step = int(session.run(self._step_tensor))
        if step != self._timer.last_triggered_step():
            self._save(session, step)
        for listener in self._listeners:
            listener.end(session, step)

    def _save(self, session: Any, step: int) -> bool:
        logging.info("Saving checkpoints for %d into %s.", step, self._path)
        for listener in self._listeners:
            listener.before_save(session, step)
        self._get_saver().save(session, self._path, global_step=step)
        stop = False
        for listener in self._listeners:
            if listener.after_save(session, step):
                logging.info(
                    "A CheckpointSaverListener requested that training be stopped. listener: %s", listener
                )
                stop = True
        return stop

    def _get_saver(self) -> Any:
        if self._saver is not None:
            return self._saver
        if self._scaffold is not None:
            return self._scaffold.saver
        savers = get_default_graph().get_collection(GraphKeys.SAVERS)
        if len(savers) != 1:
            raise RuntimeError(
                f"The collection {GraphKeys.SAVERS!r} holds {len(savers)} savers, not one: pass saver= or scaffold="
            )
        self._saver = savers[0]
        return self._saver


class StepCounterHook(SessionRunHook):
    """Counts steps per second: logs them and writes a summary.

    Args:
      every_n_steps: steps between two counts.
      every_n_secs: seconds between two.
      output_dir: the folder of the summaries.
      summary_writer: what writes them instead.
    """

    def __init__(
        self,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: Any = None,
    ) -> None:
        if (every_n_steps is None) == (every_n_secs is None):
            raise ValueError("exactly one of every_n_steps and every_n_secs should be provided.")
        self._timer = SecondOrStepTimer(every_n_secs, every_n_steps)
        self._summary_writer = summary_writer
        self._output_dir = output_dir

    def begin(self) -> None:
        """Finds the global step and the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = _writer(self._output_dir)
        self._step_tensor = _step_tensor()
        self._tag = f"{self._step_tensor.op.name}/sec"

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Fetches the step."""
        return SessionRunArgs(self._step_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Counts when it is time."""
        if not self._timer.should_trigger_for_step(int(run_values.results) + 1):
            return
        step = int(run_context.session.run(self._step_tensor))
        if not self._timer.should_trigger_for_step(step):
            return
        seconds, steps = self._timer.update_last_triggered_step(step)
        if seconds and steps is not None:
            rate = steps / seconds
            if self._summary_writer is not None:
                self._summary_writer.add_summary(_scalar(self._tag, rate), step)
            logging.info("%s: %g", self._tag, rate)


def _writer(folder: str) -> Any:
    return FileWriterCache.get(folder)


def _scalar(tag: str, value: float) -> Any:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


class NanLossDuringTrainingError(RuntimeError):
    """The loss is not a number; its arguments tell more."""

    def __str__(self) -> str:
        return " ".join(["NaN loss during training.", *map(str, self.args)])


class NanTensorHook(SessionRunHook):
    """Ends training when a loss is NaN.

    Args:
      loss_tensor: the loss.
      fail_on_nan_loss: whether to raise `NanLossDuringTrainingError`, not merely to ask for an end.
    """

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fail_on_nan_loss = fail_on_nan_loss

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Fetches the loss."""
        return SessionRunArgs(self._loss_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Looks at it."""
        if np.isnan(run_values.results):
            message = "Model diverged with loss = NaN."
            if self._fail_on_nan_loss:
                logging.error(message)
                raise NanLossDuringTrainingError
            logging.warning(message)
            run_context.request_stop()


class SummarySaverHook(SessionRunHook):
    """Writes summaries every so many steps or seconds.

    Args:
      save_steps: steps between two.
      save_secs: seconds between two; not both.
      output_dir: the folder.
      summary_writer: what writes instead.
      scaffold: whose `summary_op` to run.
      summary_op: the summaries, instead.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: Any = None,
        scaffold: Any = None,
        summary_op: Any = None,
    ) -> None:
        if (scaffold is None) == (summary_op is None):
            raise ValueError("Exactly one of scaffold or summary_op must be provided.")
        self._summary_op = summary_op
        self._summary_writer = summary_writer
        self._output_dir = output_dir
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(save_secs, save_steps)

    def begin(self) -> None:
        """Finds the writer and the global step."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = _writer(self._output_dir)
        self._next_step: int | None = None
        self._step_tensor = _step_tensor()

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Fetches the summaries when it is time."""
        self._due = self._next_step is None or self._timer.should_trigger_for_step(self._next_step)
        wanted = {"global_step": self._step_tensor}
        summaries = self._summaries()
        if self._due and summaries is not None:
            wanted["summary"] = summaries
        return SessionRunArgs(wanted)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Writes them."""
        if self._summary_writer is None:
            return
        step = int(run_values.results["global_step"])
        if self._next_step is None or self._due:
            step = int(run_context.session.run(self._step_tensor))
        if self._next_step is None:
            self._log_start(step)
        if self._due:
            self._timer.update_last_triggered_step(step)
            found = run_values.results.get("summary")
            for summary in found if isinstance(found, list) else [] if found is None else [found]:
                self._summary_writer.add_summary(summary, step)
        self._next_step = step + 1

    def _log_start(self, step: int) -> None:
        self._summary_writer.add_session_log(SessionLog(status=SessionLog.START), step)

    def end(self, session: Any) -> None:
        """Hands all that is written over to the system."""
        if self._summary_writer is not None:
            self._summary_writer.flush()

    def _summaries(self) -> Any:
        if self._summary_op is not None:
            return self._summary_op
        return self._scaffold.summary_op


class GlobalStepWaiterHook(SessionRunHook):
    """Waits before the first run until the global step has come so far.

    Args:
      wait_until_step: the step.
    """

    def __init__(self, wait_until_step: int) -> None:
        self._wait_until_step = wait_until_step
        self._waited = wait_until_step <= 0

    def begin(self) -> None:
        """Finds the global step."""
        self._step_tensor = _step_tensor()

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Waits."""
        while not self._waited:
            if int(run_context.session.run(self._step_tensor)) >= self._wait_until_step:
                break
            time.sleep(0.5)
        self._waited = True
        return None


class FinalOpsHook(SessionRunHook):
    """Runs something once more at the end.

    Args:
      final_ops: what to fetch.
      final_ops_feed_dict: what to feed for it.

    Attributes:
      final_ops_values: what it gave.
    """

    def __init__(self, final_ops: Any, final_ops_feed_dict: Any = None) -> None:
        self._final_ops = final_ops
        self._final_ops_feed_dict = final_ops_feed_dict
        self.final_ops_values: Any = None

    def end(self, session: Any) -> None:
        """Runs it."""
        if self._final_ops is not None:
            self.final_ops_values = session.run(self._final_ops, feed_dict=self._final_ops_feed_dict)


class FeedFnHook(SessionRunHook):
    """Feeds what a function returns, in each run.

    Args:
      feed_fn: returns a feed_dict.
    """

    def __init__(self, feed_fn: Callable[[], Any]) -> None:
        self.feed_fn = feed_fn

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Asks the function."""
        return SessionRunArgs(fetches=None, feed_dict=self.feed_fn())


class ProfilerHook(SessionRunHook):
    """Writes what each step of a run took, as a Chrome trace, every so many steps or seconds.

    Args:
      save_steps: steps between two.
      save_secs: seconds between two; not both.
      output_dir: the folder of the files `timeline-STEP.json`.
      show_dataflow, show_memory: accepted.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str = "",
        show_dataflow: bool = True,
        show_memory: bool = False,
    ) -> None:
        self._dir = output_dir
        self._timer = SecondOrStepTimer(save_secs, save_steps)

    def begin(self) -> None:
        """Finds the global step."""
        self._next_step: int | None = None
        self._step_tensor = _step_tensor()

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Asks for a trace when it is time."""
        self._due = self._next_step is not None and self._timer.should_trigger_for_step(self._next_step)
        options = full_trace_options() if self._due else None
        return SessionRunArgs(self._step_tensor, options=options)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Writes it."""
        step = int(run_values.results)
        if self._next_step is None:
            self._timer.update_last_triggered_step(step)
        if self._due:
            step = int(run_context.session.run(self._step_tensor))
            self._timer.update_last_triggered_step(step)
            path = os.path.join(self._dir, f"timeline-{step}.json")
            with open(path, "w") as file:
                file.write(Timeline(run_values.run_metadata.step_stats).generate_chrome_trace_format())
            logging.info("Saving timeline for %d into '%s'.", step, path)
        self._next_step = step + 1
