"""Supervisor: the older way to train with checkpoints, summaries and threads that feed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from graphflow import logging
from graphflow.errors import AbortedError
from graphflow.graph import Graph, GraphKeys, get_default_graph
from graphflow.ops.control import group
from graphflow.summary import SessionLog, Summary
from graphflow.summary.operations import merge_all
from graphflow.summary.writer import FileWriter
from graphflow.train.coordinator import Coordinator, LooperThread
from graphflow.train.saver import Saver, write_graph
from graphflow.train.session_manager import SessionManager
from graphflow.train.training_util import get_global_step, global_step
from graphflow.variables import (
    global_variables,
    global_variables_initializer,
    local_variables_initializer,
    report_uninitialized_variables,
)


class Supervisor:
    """Initializes or restores a session and, from threads of its own, saves checkpoints and summaries.

    Args:
      graph: the graph; default the default graph.
      ready_op, ready_for_local_init_op, init_op, local_init_op, summary_op, saver, global_step: see `Scaffold`; what is
        not given is made or taken from the collections; None: none.
      is_chief: whether this process initializes and saves.
      init_feed_dict: what is fed to `init_op`.
      logdir: the folder of checkpoints and summaries.
      save_summaries_secs: seconds between two summaries; 0: none.
      save_model_secs: seconds between two checkpoints; 0: none.
      recovery_wait_secs: seconds between two looks at whether a session is ready.
      stop_grace_secs: seconds that threads get to end.
      checkpoint_basename: the beginning of the checkpoints' names.
      session_manager: makes sessions, instead of one made of all this.
      summary_writer: writes summaries; None: nobody.
      init_fn: called with the session after `init_op`.
      local_init_run_options: options for the run of `local_init_op`.
    """

    USE_DEFAULT: Any = 0

    def __init__(
        self,
        graph: Graph | None = None,
        ready_op: Any = USE_DEFAULT,
        ready_for_local_init_op: Any = USE_DEFAULT,
        is_chief: bool = True,
        init_op: Any = USE_DEFAULT,
        init_feed_dict: Any = None,
        local_init_op: Any = USE_DEFAULT,
        logdir: str | None = None,
        summary_op: Any = USE_DEFAULT,
        saver: Any = USE_DEFAULT,
        global_step: Any = USE_DEFAULT,
        save_summaries_secs: float = 120,
        save_model_secs: float = 600,
        recovery_wait_secs: float = 30,
        stop_grace_secs: float = 120,
        checkpoint_basename: str = "model.ckpt",
        session_manager: SessionManager | None = None,
        summary_writer: Any = USE_DEFAULT,
        init_fn: Callable[[Any], Any] | None = None,
        local_init_run_options: Any = None,
    ) -> None:
        default = Supervisor.USE_DEFAULT
        self._graph = get_default_graph() if graph is None else graph
        with self._graph.as_default():
            self._ready_op = (
                self._first(GraphKeys.READY_OP, report_uninitialized_variables)
                if ready_op is default
                else ready_op
            )
            if ready_for_local_init_op is default:
                ready_for_local_init_op = self._first(
                    GraphKeys.READY_FOR_LOCAL_INIT_OP,
                    lambda: report_uninitialized_variables(global_variables()),
                )
            self._init_op = (
                self._first(GraphKeys.INIT_OP, global_variables_initializer)
                if init_op is default
                else init_op
            )
            if local_init_op is default:
                local_init_op = self._first(GraphKeys.LOCAL_INIT_OP, self._local_init)
            self._local_init_op = local_init_op
            self._summary_op = (
                self._first(GraphKeys.SUMMARY_OP, merge_all) if summary_op is default else summary_op
            )
            if saver is default:
                saver = self._first(GraphKeys.SAVERS, lambda: Saver() if global_variables() else None)
            self._saver = saver
            self._global_step = get_global_step(self._graph) if global_step is default else global_step
        self._init_feed_dict = init_feed_dict
        self._init_fn = init_fn
        self._is_chief = is_chief
        self._logdir = logdir
        self._save_path = os.path.join(logdir, checkpoint_basename) if logdir else None
        self._save_summaries_secs = save_summaries_secs
        self._save_model_secs = save_model_secs
        self._stop_grace_secs = stop_grace_secs
        self._coord = Coordinator()
        self._summary_writer = summary_writer
        if summary_writer is default:
            self._summary_writer = FileWriter(logdir) if is_chief and logdir else None
        self._session_manager = session_manager or SessionManager(
            local_init_op=self._local_init_op, ready_op=self._ready_op,
            ready_for_local_init_op=ready_for_local_init_op if self._local_init_op is not None else None,
            graph=self._graph, recovery_wait_secs=recovery_wait_secs,
            local_init_run_options=local_init_run_options,
        )  # fmt: skip
        self._started: list[Any] = []
        self._graph_written = False
        self._graph.finalize()

    def _first(self, key: str, make: Callable[[], Any]) -> Any:
        found = self._graph.get_collection(key)
        if found:
            return found[0]
        made = make()
        if made is not None:
            self._graph.add_to_collection(key, made)
        return made

    def _local_init(self) -> Any:
        tables = self._graph.get_collection(GraphKeys.TABLE_INITIALIZERS)
        return group(local_variables_initializer(), *tables)

    # -- looking ------------------------------------------------------------------------------

    @property
    def is_chief(self) -> bool:
        """Whether this process initializes and saves."""
        return self._is_chief

    @property
    def session_manager(self) -> SessionManager:
        """What makes sessions."""
        return self._session_manager

    @property
    def coord(self) -> Coordinator:
        """What threads ask whether to end."""
        return self._coord

    @property
    def init_op(self) -> Any:
        """Initializes the variables."""
        return self._init_op

    @property
    def init_feed_dict(self) -> Any:
        """What is fed to `init_op`."""
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        """The names of what is not initialized."""
        return self._ready_op

    @property
    def summary_writer(self) -> Any:
        """What writes summaries."""
        return self._summary_writer

    @property
    def summary_op(self) -> Any:
        """The summaries."""
        return self._summary_op

    @property
    def save_summaries_secs(self) -> float:
        """Seconds between two summaries."""
        return self._save_summaries_secs

    @property
    def global_step(self) -> Any:
        """The global step."""
        return self._global_step

    @property
    def saver(self) -> Any:
        """What saves and restores."""
        return self._saver

    @property
    def save_model_secs(self) -> float:
        """Seconds between two checkpoints."""
        return self._save_model_secs

    @property
    def save_path(self) -> str | None:
        """The beginning of the checkpoints' names."""
        return self._save_path

    # -- running ------------------------------------------------------------------------------

    def prepare_or_wait_for_session(
        self,
        master: str = "",
        config: Any = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        start_standard_services: bool = True,
    ) -> Any:
        """Returns a session that is restored or initialized; others than the chief wait for that.

        Args:
          master: "" or "local".
          config: a `ConfigProto`.
          wait_for_checkpoint: whether to wait for a checkpoint.
          max_wait_secs: how long.
          start_standard_services: whether to start the threads that save.
        """
        self._coord.clear_stop()
        if self._summary_writer is not None:
            self._summary_writer.reopen()
        if not self._is_chief:
            session = self._session_manager.wait_for_session(
                master, config=config, max_wait_secs=max_wait_secs
            )
        else:
            session = self._session_manager.prepare_session(
                master, init_op=self._init_op, saver=self._saver, checkpoint_dir=self._logdir,
                wait_for_checkpoint=wait_for_checkpoint, max_wait_secs=max_wait_secs, config=config,
                init_feed_dict=self._init_feed_dict, init_fn=self._init_fn,
            )  # fmt: skip
            self._write_graph()
            if start_standard_services:
                self.start_standard_services(session)
        self.start_queue_runners(session)
        return session

    PrepareSession = prepare_or_wait_for_session

    def _write_graph(self) -> None:
        if self._logdir:
            write_graph(self._graph.as_graph_def(add_shapes=True), self._logdir, "graph.pbtxt")
        if self._summary_writer is not None and not self._graph_written:
            self._summary_writer.add_graph(self._graph)
            self._graph_written = True

    def start_standard_services(self, sess: Any) -> list[Any]:
        """Starts the threads that save summaries, steps per second and checkpoints; returns them."""
        if not self._is_chief:
            raise RuntimeError("Only chief supervisor can start standard services.")
        if not self._logdir:
            logging.warning("Standard services need a 'logdir' passed to the SessionManager")
            return []
        if self._global_step is not None and self._summary_writer is not None:
            step = global_step(sess, self._global_step)
            self._summary_writer.add_session_log(SessionLog(status=SessionLog.START), step)
        threads = []
        if self._save_summaries_secs and self._summary_writer is not None:
            if self._summary_op is not None:
                threads.append((self._save_summaries_secs, self._save_summaries))
            if self._global_step is not None:
                threads.append((self._save_summaries_secs, _StepsPerSecond(self)))
        if self.saver is not None and self._save_model_secs:
            threads.append((self._save_model_secs, self._save_model))
        made = [LooperThread(self._coord, seconds, target=act, args=(sess,)) for seconds, act in threads]
        for thread in made:
            thread.start()
        self._started.extend(made)
        return made

    StartStandardServices = start_standard_services

    def _save_summaries(self, sess: Any) -> None:
        if self._global_step is None:
            self._summary_writer.add_summary(sess.run(self._summary_op))
            return
        summaries, step = sess.run([self._summary_op, self._global_step])
        self._summary_writer.add_summary(summaries, step)

    def _save_model(self, sess: Any) -> None:
        self._saver.save(sess, self._save_path, global_step=self._global_step)
        if self._summary_writer is not None and self._global_step is not None:
            log = SessionLog(status=SessionLog.CHECKPOINT, checkpoint_path=self._save_path)
            self._summary_writer.add_session_log(log, global_step(sess, self._global_step))

    def start_queue_runners(self, sess: Any, queue_runners: Any = None) -> list[Any]:
        """Starts the threads of queue runners; returns them."""
        if queue_runners is None:
            queue_runners = self._graph.get_collection(GraphKeys.QUEUE_RUNNERS)
        threads: list[Any] = []
        for runner in queue_runners:
            threads.extend(runner.create_threads(sess, coord=self._coord, daemon=True, start=True))
        self._started.extend(threads)
        return threads

    StartQueueRunners = start_queue_runners

    def loop(
        self, timer_interval_secs: float | None, target: Any, args: Any = None, kwargs: Any = None
    ) -> Any:
        """Calls a function on a thread of its own, again and again, until somebody asks for an end."""
        looper = LooperThread(self._coord, timer_interval_secs, target=target, args=args, kwargs=kwargs)
        looper.start()
        self._started.append(looper)
        return looper

    Loop = loop

    def should_stop(self) -> bool:
        """Whether somebody has asked for an end."""
        return self._coord.should_stop()

    ShouldStop = should_stop

    def request_stop(self, ex: Any = None) -> None:
        """Asks for an end."""
        self._coord.request_stop(ex=ex)

    RequestStop = request_stop

    def stop_on_exception(self) -> Any:
        """A context that asks for an end when something is raised inside."""
        return self._coord.stop_on_exception()

    def wait_for_stop(self) -> None:
        """Waits until somebody asks for an end."""
        self._coord.wait_for_stop()

    def stop(
        self, threads: Any = None, close_summary_writer: bool = True, ignore_live_threads: bool = False
    ) -> None:
        """Asks for an end and waits for the threads."""
        self._coord.request_stop()
        try:
            self._coord.join(
                threads, stop_grace_period_secs=self._stop_grace_secs, ignore_live_threads=ignore_live_threads
            )
        finally:
            if close_summary_writer and self._summary_writer is not None:
                self._summary_writer.add_session_log(SessionLog(status=SessionLog.STOP))
                self._summary_writer.close()
                self._graph_written = False

    Stop = stop

    def summary_computed(self, sess: Any, summary: Any, global_step: Any = None) -> None:
        """Writes a summary that the program has computed."""
        if self._summary_writer is None:
            raise RuntimeError("Writing a summary requires a summary writer.")
        if global_step is None and self._global_step is not None:
            global_step = sess.run(self._global_step)
        self._summary_writer.add_summary(summary, global_step)

    SummaryComputed = summary_computed

    @contextlib.contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
    ) -> Iterator[Any]:
        """A context with a session that is ready; at its end threads are stopped and the session is closed."""
        try:
            session = self.prepare_or_wait_for_session(
                master, config, start_standard_services=start_standard_services
            )
            yield session
        except Exception as error:
            self.request_stop(error)
        finally:
            try:
                # Raises what was asked to end with.
                self.stop(close_summary_writer=close_summary_writer)
            finally:
                with contextlib.suppress(Exception, UnboundLocalError):
                    session.close()


def basic_train_loop(
    supervisor: Supervisor,
    train_step_fn: Callable[..., Any],
    args: Any = None,
    kwargs: Any = None,
    master: str = "",
) -> None:
    """Takes steps in a session of the supervisor until it is asked to stop.

    Args:
      supervisor: makes the session and runs what goes with training.
      train_step_fn: called as `train_step_fn(session, *args, **kwargs)`, over and over; after an AbortedError in a
        new session.
      args: see `train_step_fn`.
      kwargs: likewise.
      master: the target of the session.
    """
    while True:
        try:
            with supervisor.managed_session(master) as session:
                while not supervisor.should_stop():
                    train_step_fn(session, *(args or ()), **(kwargs or {}))
            return
        except AbortedError:
            continue


class _StepsPerSecond:
    """Writes a summary of steps per second."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._time: float | None = None
        self._step = 0

    def __call__(self, sess: Any) -> None:
        now, step = time.time(), global_step(sess, self._supervisor.global_step)
        if self._time is not None and now > self._time:
            tag = f"{self._supervisor.global_step.op.name}/sec"
            value = Summary.Value(tag=tag, simple_value=(step - self._step) / (now - self._time))
            self._supervisor.summary_writer.add_summary(Summary(value=[value]), step)
            logging.info("%s: %g", tag, value.simple_value)
        self._time, self._step = now, step
