"""SessionManager: makes a session ready to train, from a checkpoint or by initializing it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow import errors, logging
from graphflow.graph import Graph, get_default_graph
from graphflow.session import Session
from graphflow.train.checkpoints import checkpoint_exists, get_checkpoint_state


def _ready(op: Any, session: Any, what: str) -> tuple[bool, str | None]:
    """Whether a tensor of the names of what is missing is empty, and otherwise why not."""
    if op is None:
        return True, None
    try:
        missing = session.run(op)
    except errors.FailedPreconditionError as error:
        if "uninitialized" not in str(error):
            logging.warning("%s: error [%s]", what, str(error))
            raise
        return False, str(error)
    if missing is None or np.size(missing) == 0:
        return True, None
    names = ", ".join(name.decode() for name in np.ravel(missing))
    return False, f"Variables not initialized: {names}"


class SessionManager:
    """Makes sessions and gets them ready.

    Args:
      local_init_op: run in each new session, after the checkpoint is restored or `init_op` has been run.
      ready_op: a tensor of the names of variables that are not initialized; the session is ready when it is empty.
      ready_for_local_init_op: the same, for when `local_init_op` may be run.
      graph: the graph; default the default graph.
      recovery_wait_secs: seconds between two looks for a checkpoint or a session that is ready.
      local_init_run_options: options for the run of `local_init_op`.
      local_init_feed_dict: what is fed to it.

    Raises:
      ValueError: for a `ready_for_local_init_op` without a `local_init_op`.
    """

    def __init__(
        self,
        local_init_op: Any = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        graph: Graph | None = None,
        recovery_wait_secs: float = 30,
        local_init_run_options: Any = None,
        local_init_feed_dict: Any = None,
    ) -> None:
        if ready_for_local_init_op is not None and local_init_op is None:
            raise ValueError(
                "If you pass a ready_for_local_init_op you must also pass a local_init_op, which it is asked for."
            )
        self._local_init_op = local_init_op
        self._ready_op = ready_op
        self._ready_for_local_init_op = ready_for_local_init_op
        self._graph = get_default_graph() if graph is None else graph
        self._recovery_wait_secs = recovery_wait_secs
        self._local_init_run_options = local_init_run_options
        self._local_init_feed_dict = local_init_feed_dict

    def _restored(
        self,
        master: str,
        saver: Any,
        checkpoint_dir: str | None,
        checkpoint_filename_with_path: str | None,
        wait_for_checkpoint: bool,
        max_wait_secs: float,
        config: Any,
    ) -> tuple[Session, bool]:
        session = Session(master, graph=self._graph, config=config)
        if checkpoint_dir and checkpoint_filename_with_path:
            raise ValueError("Can not provide both checkpoint_dir and checkpoint_filename_with_path.")
        if not saver or not (checkpoint_dir or checkpoint_filename_with_path):
            return session, False
        if checkpoint_filename_with_path:
            saver.restore(session, checkpoint_filename_with_path)
            return session, True
        waited = 0.0
        assert checkpoint_dir
        while (state := get_checkpoint_state(checkpoint_dir)) is None or not state.model_checkpoint_path:
            if not wait_for_checkpoint or waited >= max_wait_secs:
                return session, False
            logging.info("Waiting for checkpoint to be available.")
            time.sleep(self._recovery_wait_secs)
            waited += self._recovery_wait_secs
        path = state.model_checkpoint_path
        if not checkpoint_exists(path):
            raise errors.NotFoundError(
                None, None, f"{checkpoint_dir!r} names the checkpoint {path!r}, which is not there"
            )
        saver.restore(session, path)
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
        return session, True

    def prepare_session(
        self,
        master: str,
        init_op: Any = None,
        saver: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
        init_feed_dict: Any = None,
        init_fn: Callable[[Session], Any] | None = None,
    ) -> Session:
        """Returns a session that is restored from a checkpoint if there is one, and initialized otherwise.

        Args:
          master: "" or "local".
          init_op: initializes the variables.
          saver: restores.
          checkpoint_dir: where the newest checkpoint is looked for.
          checkpoint_filename_with_path: the checkpoint, instead.
          wait_for_checkpoint: whether to wait for a checkpoint.
          max_wait_secs: how long.
          config: a `ConfigProto`.
          init_feed_dict: what is fed to `init_op`.
          init_fn: called with the session after `init_op`.

        Raises:
          RuntimeError: if the model is not ready after that.
          ValueError: if there is neither checkpoint nor `init_op`, `init_fn` nor `local_init_op`.
        """
        session, restored = self._restored(
            master,
            saver,
            checkpoint_dir,
            checkpoint_filename_with_path,
            wait_for_checkpoint,
            max_wait_secs,
            config,
        )
        if not restored:
            if init_op is None and init_fn is None and self._local_init_op is None:
                raise ValueError(
                    "Model is not initialized and no init_op or init_fn or local_init_op was given"
                )
            if init_op is not None:
                session.run(init_op, feed_dict=init_feed_dict)
            if init_fn is not None:
                init_fn(session)
        done, why = self._try_local_init(session)
        if not done:
            raise RuntimeError(
                f"Init operations did not make model ready for local_init.  Init op: "
                f"{getattr(init_op, 'name', None)}, init fn: {init_fn}, error: {why}"
            )
        ready, why = self._is_ready(session)
        if not ready:
            raise RuntimeError(
                f"Init operations did not make model ready.  Init op: {getattr(init_op, 'name', None)}, init fn: "
                f"{init_fn}, local_init_op: {getattr(self._local_init_op, 'name', None)}, error: {why}"
            )
        return session

    def recover_session(
        self,
        master: str,
        saver: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
    ) -> tuple[Session, bool]:
        """Returns a session and whether it was restored from a checkpoint and is ready; see `prepare_session`."""
        session, restored = self._restored(
            master,
            saver,
            checkpoint_dir,
            checkpoint_filename_with_path,
            wait_for_checkpoint,
            max_wait_secs,
            config,
        )
        if not restored:
            return session, False
        done, why = self._try_local_init(session)
        ready, why = self._is_ready(session) if done else (False, why)
        if not ready:
            logging.info("Restoring model from %s did not make model ready: %s", checkpoint_dir, why)
            return session, False
        return session, True

    def wait_for_session(
        self, master: str, config: Any = None, max_wait_secs: float = float("inf")
    ) -> Session:
        """Returns a session whose variables somebody else has made ready.

        Raises:
          DeadlineExceededError: if that takes too long.
        """
        end = time.monotonic() + max_wait_secs
        while True:
            session = Session(master, graph=self._graph, config=config)
            done, why = self._try_local_init(session)
            ready, why = self._is_ready(session) if done else (False, why)
            if ready:
                return session
            session.close()
            if time.monotonic() + self._recovery_wait_secs > end:
                raise errors.DeadlineExceededError(
                    None, None, f"Session was not ready after waiting {max_wait_secs:g} secs: {why}"
                )
            logging.info("Waiting for model to be ready: %s", why)
            time.sleep(self._recovery_wait_secs)

    def _is_ready(self, session: Any) -> tuple[bool, str | None]:
        return _ready(self._ready_op, session, "Model not ready")

    def _try_local_init(self, session: Any) -> tuple[bool, str | None]:
        if self._local_init_op is None:
            return True, None
        ready, why = _ready(self._ready_for_local_init_op, session, "Model not ready for local init")
        if ready:
            logging.info("Running local_init_op.")
            session.run(
                self._local_init_op,
                feed_dict=self._local_init_feed_dict,
                options=self._local_init_run_options,
            )
            logging.info("Done running local_init_op.")
        return ready, why
