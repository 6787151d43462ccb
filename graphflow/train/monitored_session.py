"""MonitoredSession: a session with hooks, that is made ready by itself and made anew when it is lost."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphflow import errors, logging
from graphflow.graph import GraphKeys, get_default_graph
from graphflow.ops.control import group
from graphflow.serialization.events import run_metadata as new_run_metadata
from graphflow.session import Session
from graphflow.summary.operations import merge_all
from graphflow.train import basic_session_run_hooks as hooks_
from graphflow.train.coordinator import Coordinator
from graphflow.train.queue_runner import start_queue_runners
from graphflow.train.saver import Saver
from graphflow.train.session_manager import SessionManager
from graphflow.train.session_run_hook import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from graphflow.variables import (
    global_variables,
    global_variables_initializer,
    local_variables_initializer,
    report_uninitialized_variables,
)

USE_DEFAULT = object()
# The session is made anew after these: what it ran on has gone.
_PREEMPTION_ERRORS = (errors.AbortedError, errors.UnavailableError)


class Scaffold:
    """What a training session needs besides the model; what is not given is made, or taken from the collections.

    Args:
      init_op: initializes the variables.
      init_feed_dict: what is fed to it.
      init_fn: called with the scaffold and the session after `init_op`.
      ready_op: a tensor of the names of what is not initialized.
      ready_for_local_init_op: the same, for when `local_init_op` may be run.
      local_init_op: initializes local variables and tables; run after restoring, too.
      summary_op: the summaries to write.
      saver: saves and restores.
      copy_from_scaffold: whose parts to take where none are given.
      local_init_feed_dict: what is fed to `local_init_op`.
    """

    def __init__(
        self,
        init_op: Any = None,
        init_feed_dict: Any = None,
        init_fn: Callable[..., Any] | None = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        local_init_op: Any = None,
        summary_op: Any = None,
        saver: Any = None,
        copy_from_scaffold: Any = None,
        local_init_feed_dict: Any = None,
    ) -> None:
        other = copy_from_scaffold
        if other is not None and not isinstance(other, Scaffold):
            raise TypeError("copy_from_scaffold is not a Scaffold instance.")

        def taken(given: Any, name: str) -> Any:
            return getattr(other, name) if given is None and other is not None else given

        self._init_op = taken(init_op, "init_op")
        self._init_feed_dict = taken(init_feed_dict, "init_feed_dict")
        self._user_init_fn = taken(init_fn, "_user_init_fn")
        self._ready_op = taken(ready_op, "ready_op")
        self._ready_for_local_init_op = taken(ready_for_local_init_op, "ready_for_local_init_op")
        self._local_init_op = taken(local_init_op, "local_init_op")
        self._local_init_feed_dict = taken(local_init_feed_dict, "local_init_feed_dict")
        self._summary_op = taken(summary_op, "summary_op")
        self._saver = taken(saver, "saver")
        self._init_fn = None
        if self._user_init_fn is not None:
            self._init_fn = functools.partial(self._user_init_fn, self)

    def finalize(self) -> Scaffold:
        """Makes what is missing, and closes the graph to further operations."""
        if self._init_op is None:
            self._init_op = Scaffold.get_or_default(
                "init_op", GraphKeys.INIT_OP,
                lambda: group(global_variables_initializer(), *get_default_graph().get_collection(GraphKeys.RESOURCES)),
            )  # fmt: skip
        if self._ready_op is None:
            self._ready_op = Scaffold.get_or_default(
                "ready_op", GraphKeys.READY_OP, report_uninitialized_variables
            )
        if self._ready_for_local_init_op is None:
            self._ready_for_local_init_op = Scaffold.get_or_default(
                "ready_for_local_init_op", GraphKeys.READY_FOR_LOCAL_INIT_OP,
                lambda: report_uninitialized_variables(global_variables()),
            )  # fmt: skip
        if self._local_init_op is None:
            self._local_init_op = Scaffold.get_or_default(
                "local_init_op", GraphKeys.LOCAL_INIT_OP, Scaffold.default_local_init_op
            )
        if self._summary_op is None:
            self._summary_op = Scaffold.get_or_default("summary_op", GraphKeys.SUMMARY_OP, merge_all)
        if self._saver is None:
            self._saver = _get_saver_or_default()
        self._saver.build()
        get_default_graph().finalize()
        logging.info("Graph was finalized.")
        return self

    @property
    def init_fn(self) -> Any:
        """Called with the session after `init_op`."""
        return self._init_fn

    @property
    def init_op(self) -> Any:
        """Initializes the variables."""
        return self._init_op

    @property
    def ready_op(self) -> Any:
        """The names of what is not initialized."""
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The names of what keeps `local_init_op` from being run."""
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        """Initializes local variables and tables."""
        return self._local_init_op

    @property
    def local_init_feed_dict(self) -> Any:
        """What is fed to `local_init_op`."""
        return self._local_init_feed_dict

    @property
    def summary_op(self) -> Any:
        """The summaries."""
        return self._summary_op

    @property
    def saver(self) -> Any:
        """What saves and restores."""
        return self._saver

    @property
    def init_feed_dict(self) -> Any:
        """What is fed to `init_op`."""
        return self._init_feed_dict

    @staticmethod
    def get_or_default(arg_name: str, collection_key: str, default_constructor: Callable[[], Any]) -> Any:
        """Returns what a collection holds; makes it and adds it there if that is nothing.

        Raises:
          RuntimeError: if the collection holds several.
        """
        found = get_default_graph().get_collection(collection_key)
        if len(found) > 1:
            raise RuntimeError(
                f"More than one item in the collection {collection_key!r}. Please indicate which one to use by passing "
                f"it to the gf.train.Scaffold constructor as:  gf.train.Scaffold({arg_name}=item to use)"
            )
        if found:
            return found[0]
        made = default_constructor()
        if made is not None:
            get_default_graph().add_to_collection(collection_key, made)
        return made

    @staticmethod
    def default_local_init_op() -> Any:
        """Returns what initializes local variables and tables."""
        graph = get_default_graph()
        return group(
            local_variables_initializer(),
            *graph.get_collection(GraphKeys.TABLE_INITIALIZERS),
            *graph.get_collection(GraphKeys.LOCAL_RESOURCES),
        )


def _get_saver_or_default() -> Any:
    graph = get_default_graph()
    found = graph.get_collection(GraphKeys.SAVERS)
    if len(found) > 1:
        raise RuntimeError(
            f"More than one item in the collection {GraphKeys.SAVERS!r}. Please indicate which one to use: "
            "gf.train.Scaffold(saver=...)"
        )
    if found:
        return found[0]
    saver = Saver(sharded=True, allow_empty=True)
    graph.add_to_collection(GraphKeys.SAVERS, saver)
    return saver


class SessionCreator:
    """A base class of what makes sessions for `MonitoredSession`."""

    def create_session(self) -> Any:
        """Returns a session that is ready."""
        raise NotImplementedError("create_session is not implemented.")


class ChiefSessionCreator(SessionCreator):
    """Makes sessions that are initialized, or restored where there is a checkpoint.

    Args:
      scaffold: see `Scaffold`.
      master: "" or "local".
      config: a `ConfigProto`.
      checkpoint_dir: where the newest checkpoint is looked for.
      checkpoint_filename_with_path: the checkpoint, instead.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_filename_with_path = checkpoint_filename_with_path
        self._scaffold = scaffold or Scaffold()
        self._session_manager: SessionManager | None = None
        self._master = master
        self._config = config

    def _manager(self) -> SessionManager:
        if self._session_manager is None:
            self._session_manager = SessionManager(
                local_init_op=self._scaffold.local_init_op, ready_op=self._scaffold.ready_op,
                ready_for_local_init_op=self._scaffold.ready_for_local_init_op, graph=get_default_graph(),
                local_init_feed_dict=self._scaffold.local_init_feed_dict,
            )  # fmt: skip
        return self._session_manager

    def create_session(self) -> Session:
        """Returns a session that is ready."""
        self._scaffold.finalize()
        return self._manager().prepare_session(
            self._master, saver=self._scaffold.saver, checkpoint_dir=self._checkpoint_dir,
            checkpoint_filename_with_path=self._checkpoint_filename_with_path, config=self._config,
            init_op=self._scaffold.init_op, init_feed_dict=self._scaffold.init_feed_dict,
            init_fn=self._scaffold.init_fn,
        )  # fmt: skip


class WorkerSessionCreator(SessionCreator):
    """Makes sessions that wait until the chief has initialized the variables.

    Args:
      scaffold: see `Scaffold`.
      master: "" or "local".
      config: a `ConfigProto`.
      max_wait_secs: how long to wait.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = 1800,
    ) -> None:
        self._scaffold = scaffold or Scaffold()
        self._master = master
        self._config = config
        self._max_wait_secs = max_wait_secs

    def create_session(self) -> Session:
        """Returns a session that is ready."""
        self._scaffold.finalize()
        manager = SessionManager(
            local_init_op=self._scaffold.local_init_op, ready_op=self._scaffold.ready_op,
            ready_for_local_init_op=self._scaffold.ready_for_local_init_op, graph=get_default_graph(),
            local_init_feed_dict=self._scaffold.local_init_feed_dict,
        )  # fmt: skip
        return manager.wait_for_session(self._master, config=self._config, max_wait_secs=self._max_wait_secs)


class HookedSession:
    """A session in whose runs hooks take part; TensorFlow has it as `_HookedSession`.

    Args:
      sess: the session.
      hooks: the hooks, asked in this order.
    """

    def __init__(self, sess: Any, hooks: Sequence[SessionRunHook]) -> None:
        self.session = sess
        self.hooks = hooks
        self._stops = False

    @property
    def graph(self) -> Any:
        """The graph of the session."""
        return self.session.graph

    def should_stop(self) -> bool:
        """Whether a hook has asked for the end."""
        return self._stops

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`; hooks add fetches and feeds, and see what came of them.

        Raises:
          RuntimeError: two of them feed the same tensor.
        """
        asked = SessionRunArgs(fetches, feed_dict, options)
        context = SessionRunContext(asked, self.session)
        wanted: dict[Any, Any] = {"caller": fetches}
        feeds = dict(feed_dict or {})
        chosen = options
        for hook in self.hooks:
            request = hook.before_run(context)
            if request is None:
                continue
            if request.fetches is not None:
                wanted[hook] = request.fetches
            for key in request.feed_dict or {}:
                if key in feeds:
                    raise RuntimeError(
                        f"Same tensor is fed by two hooks, or by a hook and the caller: {key!r}"
                    )
            feeds.update(request.feed_dict or {})
            if request.options is not None:
                chosen = _merged(chosen, request.options)
        metadata = run_metadata
        if metadata is None and chosen is not None:
            metadata = new_run_metadata()
        keys = list(wanted)
        values = self.session.run([wanted[key] for key in keys], feeds or None, chosen, metadata)
        outputs = dict(zip(keys, values, strict=True))
        for hook in self.hooks:
            hook.after_run(context, SessionRunValues(outputs.get(hook), chosen, metadata))
        self._stops = self._stops or context.stop_requested
        return outputs["caller"]


class _Hooked(HookedSession):
    """One session with its hooks and the threads that feed it."""

    def __init__(
        self, creator: SessionCreator, hooks: Sequence[SessionRunHook], stop_grace_period_secs: float
    ) -> None:
        super().__init__(creator.create_session(), hooks)
        self.coord = Coordinator()
        self._grace = stop_grace_period_secs
        start_queue_runners(sess=self.session, coord=self.coord)
        for hook in hooks:
            hook.after_create_session(self.session, self.coord)

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As above; the threads are told of the end too."""
        result = super().run(fetches, feed_dict, options, run_metadata)
        if self.should_stop():
            self.coord.request_stop()
        return result

    def close(self) -> None:
        try:
            self.coord.request_stop()
            self.coord.join(stop_grace_period_secs=self._grace, ignore_live_threads=True)
        finally:
            self.session.close()


def _merged(mine: Any, theirs: Any) -> Any:
    """Options of two: the longer timeout, the fuller trace."""
    if mine is None:
        return theirs
    made = type(mine)()
    made.CopyFrom(mine)
    made.trace_level = max(mine.trace_level, theirs.trace_level)
    made.timeout_in_ms = max(mine.timeout_in_ms, theirs.timeout_in_ms)
    return made


class _Monitored:
    """What both kinds of monitored session share."""

    def __init__(
        self,
        creator: SessionCreator,
        hooks: Iterable[SessionRunHook] | None,
        should_recover: bool,
        stop_grace_period_secs: float,
    ) -> None:
        self.graph_was_finalized = get_default_graph().finalized
        self._hooks = list(hooks or [])
        for hook in self._hooks:
            hook.begin()
        self._creator = creator
        self._recovers = should_recover
        self._grace = stop_grace_period_secs
        self._under: _Hooked | None = self._made()

    def _made(self) -> _Hooked:
        while True:
            try:
                return _Hooked(self._creator, self._hooks, self._grace)
            except _PREEMPTION_ERRORS as error:
                if not self._recovers:
                    raise
                logging.info(
                    "An error was raised while a session was being created: %s. A new one is made.", error
                )

    @property
    def graph(self) -> Any:
        """The graph of the session."""
        return None if self._under is None else self._under.session.graph

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`; hooks take part."""
        if self._under is None:
            raise RuntimeError("Run called even after should_stop requested.")
        while True:
            try:
                return self._under.run(fetches, feed_dict, options, run_metadata)
            except _PREEMPTION_ERRORS as error:
                if not self._recovers:
                    raise
                logging.info("An error was raised in a run: %s. The session is made anew.", error)
                self._under.close()
                self._under = self._made()
            except Exception:
                # What a thread has raised matters more than what came of it.
                self._under.coord.raise_requested_exception()
                raise

    def run_step_fn(self, step_fn: Callable[..., Any]) -> Any:
        """Runs a function of a step context: `session` (without hooks), `run_with_hooks(...)`, `request_stop()`.

        Raises:
          StopIteration: if the function has asked for an end.
        """
        if self._under is None:
            raise RuntimeError("Run called even after should_stop requested.")
        return step_fn(_StepContext(self._under.session, self.run, self._under.coord))

    def should_stop(self) -> bool:
        """Whether somebody has asked for an end."""
        return self._under is None or self._under.coord.should_stop()

    def close(self) -> None:
        """Ends the session; hooks' `end` is called."""
        self._close(None)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> bool:
        if kind in (errors.OutOfRangeError, StopIteration):
            kind = None
        self._close(kind)
        return kind is None

    def _close(self, kind: Any) -> None:
        under = self._under
        if under is None:
            return
        try:
            if kind is None:
                for hook in self._hooks:
                    hook.end(under.session)
        finally:
            try:
                under.close()
            except Exception:
                # The first error is the one to be seen.
                if kind is None:
                    raise
            finally:
                self._under = None
                if not self.graph_was_finalized:
                    get_default_graph()._unsafe_unfinalize()


class _StepContext:
    """What `run_step_fn` hands to the function."""

    def __init__(self, session: Any, run_with_hooks: Callable[..., Any], coord: Coordinator) -> None:
        self._session = session
        self._run_with_hooks = run_with_hooks
        self._coord = coord

    @property
    def session(self) -> Any:
        """The session, without hooks."""
        return self._session

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """As `Session.run`, with hooks."""
        return self._run_with_hooks(*args, **kwargs)

    def request_stop(self) -> None:
        """Asks for an end."""
        self._coord.request_stop()
        raise StopIteration("step_fn has requested the iterations to stop.")


class MonitoredSession(_Monitored):
    """A session that is made ready, watched by hooks, and made anew when what it ran on is lost.

    Args:
      session_creator: makes the session; default `ChiefSessionCreator()`.
      hooks: `SessionRunHook`s.
      stop_grace_period_secs: seconds that threads get to end.
    """

    def __init__(
        self,
        session_creator: SessionCreator | None = None,
        hooks: Iterable[SessionRunHook] | None = None,
        stop_grace_period_secs: float = 120,
    ) -> None:
        super().__init__(session_creator or ChiefSessionCreator(), hooks, True, stop_grace_period_secs)


class SingularMonitoredSession(_Monitored):
    """A session that is made ready and watched by hooks; errors are not recovered from.

    Args:
      hooks: `SessionRunHook`s.
      scaffold: see `Scaffold`.
      master: "" or "local".
      config: a `ConfigProto`.
      checkpoint_dir: where the newest checkpoint is looked for.
      stop_grace_period_secs: seconds that threads get to end.
      checkpoint_filename_with_path: the checkpoint, instead.
    """

    def __init__(
        self,
        hooks: Iterable[SessionRunHook] | None = None,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:
        creator = ChiefSessionCreator(scaffold, master, config, checkpoint_dir, checkpoint_filename_with_path)
        super().__init__(creator, hooks, False, stop_grace_period_secs)

    def raw_session(self) -> Any:
        """The session, without hooks."""
        return None if self._under is None else self._under.session


MonitoredSession.StepContext = _StepContext  # type: ignore[attr-defined]


def MonitoredTrainingSession(
    master: str = "",
    is_chief: bool = True,
    checkpoint_dir: str | None = None,
    scaffold: Scaffold | None = None,
    hooks: Iterable[SessionRunHook] | None = None,
    chief_only_hooks: Iterable[SessionRunHook] | None = None,
    save_checkpoint_secs: Any = USE_DEFAULT,
    save_summaries_steps: Any = USE_DEFAULT,
    save_summaries_secs: Any = USE_DEFAULT,
    config: Any = None,
    stop_grace_period_secs: float = 120,
    log_step_count_steps: int | None = 100,
    max_wait_secs: float = 7200,
    save_checkpoint_steps: Any = USE_DEFAULT,
    summary_dir: str | None = None,
    save_graph_def: bool = True,
) -> MonitoredSession:
    """Returns a `MonitoredSession` that saves checkpoints and summaries and counts steps.

    Args:
      master: "" or "local".
      is_chief: whether this process initializes and saves; others wait.
      checkpoint_dir: the folder of checkpoints; without one none are saved.
      scaffold: see `Scaffold`.
      hooks: `SessionRunHook`s.
      chief_only_hooks: more of them, for the chief.
      save_checkpoint_secs: seconds between two checkpoints; default 600.
      save_summaries_steps: steps between two summaries; default 100.
      save_summaries_secs: seconds between two; not both.
      config: a `ConfigProto`.
      stop_grace_period_secs: seconds that threads get to end.
      log_step_count_steps: steps between two lines that tell steps per second; None: none.
      max_wait_secs: how long others wait for the chief.
      save_checkpoint_steps: steps between two checkpoints; not both.
      summary_dir: the folder of summaries; default `checkpoint_dir`.
      save_graph_def: whether the graph is written, too.
    """
    if save_summaries_steps is USE_DEFAULT and save_summaries_secs is USE_DEFAULT:
        save_summaries_steps, save_summaries_secs = 100, None
    elif save_summaries_secs is USE_DEFAULT:
        save_summaries_secs = None
    elif save_summaries_steps is USE_DEFAULT:
        save_summaries_steps = None
    if save_checkpoint_steps is USE_DEFAULT and save_checkpoint_secs is USE_DEFAULT:
        save_checkpoint_steps, save_checkpoint_secs = None, 600
    elif save_checkpoint_secs is USE_DEFAULT:
        save_checkpoint_secs = None
    elif save_checkpoint_steps is USE_DEFAULT:
        save_checkpoint_steps = None
    scaffold = scaffold or Scaffold()
    if not is_chief:
        worker = WorkerSessionCreator(scaffold, master, config, max_wait_secs)
        return MonitoredSession(worker, hooks, stop_grace_period_secs)
    every: list[SessionRunHook] = list(chief_only_hooks or [])
    summary_dir = summary_dir or checkpoint_dir
    if summary_dir:
        if log_step_count_steps and log_step_count_steps > 0:
            every.append(hooks_.StepCounterHook(log_step_count_steps, output_dir=summary_dir))
        if (save_summaries_steps and save_summaries_steps > 0) or (
            save_summaries_secs and save_summaries_secs > 0
        ):
            every.append(
                hooks_.SummarySaverHook(
                    save_summaries_steps, save_summaries_secs, summary_dir, scaffold=scaffold
                )
            )
    if checkpoint_dir:
        os.makedirs(checkpoint_dir, exist_ok=True)
        if (save_checkpoint_secs and save_checkpoint_secs > 0) or (
            save_checkpoint_steps and save_checkpoint_steps > 0
        ):
            every.append(
                hooks_.CheckpointSaverHook(
                    checkpoint_dir,
                    save_checkpoint_secs,
                    save_checkpoint_steps,
                    scaffold=scaffold,
                    save_graph_def=save_graph_def,
                )  # fmt: skip
            )
    every = [*(hooks or []), *every]
    creator = ChiefSessionCreator(scaffold, master, config, checkpoint_dir)
    return MonitoredSession(creator, every, stop_grace_period_secs)
