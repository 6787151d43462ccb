"""`slim.evaluation`: metrics of a checkpoint, once or again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from graphflow.graph import GraphKeys, get_default_graph
from graphflow.logging import info
from graphflow.lookup import tables_initializer
from graphflow.ops.control import group
from graphflow.session import Session
from graphflow.summary import FileWriter, merge_all
from graphflow.train.checkpoints import latest_checkpoint
from graphflow.train.coordinator import Coordinator
from graphflow.train.queue_runner import start_queue_runners
from graphflow.train.saver import Saver
from graphflow.variables import local_variables_initializer, variables_initializer


def evaluate_once(
    master: str, checkpoint_path: str, logdir: str | None, num_evals: int = 1, initial_op: Any = None,
    initial_op_feed_dict: Any = None, eval_op: Any = None, eval_op_feed_dict: Any = None, final_op: Any = None,
    final_op_feed_dict: Any = None, summary_op: Any = None, summary_op_feed_dict: Any = None,
    variables_to_restore: Sequence[Any] | None = None, session_config: Any = None, hooks: Any = None,
) -> Any:  # fmt: skip
    """Runs `eval_op` so many times over the variables of a checkpoint; returns what `final_op` gives.

    Args:
      master: "" for this process.
      checkpoint_path: the checkpoint.
      logdir: the folder for summaries; None: none.
      num_evals: how many times.
      initial_op, initial_op_feed_dict: run before.
      eval_op, eval_op_feed_dict: run each time.
      final_op, final_op_feed_dict: run after.
      summary_op, summary_op_feed_dict: the summaries; default all of the graph.
      variables_to_restore: default all global ones.
      session_config: of the session.
      hooks: must be None.
    """
    if hooks:
        raise ValueError("evaluate_once takes no hooks; use gf.train.MonitoredSession")
    saver = Saver(list(variables_to_restore) if variables_to_restore is not None else None)
    summaries = merge_all() if summary_op is None and logdir else summary_op
    unsaved = [] if variables_to_restore is None else [
        v for v in get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES)
        if not any(v is each for each in variables_to_restore)
    ]  # fmt: skip
    start = group(local_variables_initializer(), tables_initializer(), variables_initializer(unsaved))
    with Session(master, config=session_config) as session:
        session.run(start)
        saver.restore(session, checkpoint_path)
        coordinator = Coordinator()
        threads = start_queue_runners(session, coordinator)
        try:
            if initial_op is not None:
                session.run(initial_op, initial_op_feed_dict)
            for i in range(num_evals if eval_op is not None else 0):
                info("Evaluation [%d/%d]", i + 1, num_evals)
                session.run(eval_op, eval_op_feed_dict)
            if logdir and summaries is not None:
                tail = checkpoint_path.rsplit("-", 1)[-1]
                step = int(tail) if tail.isdecimal() else 0
                with FileWriter(logdir) as writer:
                    writer.add_summary(session.run(summaries, summary_op_feed_dict), step)
            return session.run(final_op, final_op_feed_dict) if final_op is not None else None
        finally:
            coordinator.request_stop()
            coordinator.join(threads, stop_grace_period_secs=5, ignore_live_threads=True)


def checkpoints_iterator(
    checkpoint_dir: str, min_interval_secs: float = 0, timeout: float | None = None, timeout_fn: Any = None
) -> Iterator[str]:
    """Gives each new checkpoint of a folder as it comes; ends when none has come for `timeout` seconds."""
    seen = None
    while True:
        since = time.monotonic()
        while (newest := latest_checkpoint(checkpoint_dir)) == seen or newest is None:
            if timeout is not None and time.monotonic() - since > timeout:
                if timeout_fn is None or timeout_fn():
                    return
                since = time.monotonic()
            time.sleep(0.1)
        seen, started = newest, time.monotonic()
        yield newest
        time.sleep(max(0.0, min_interval_secs - (time.monotonic() - started)))


def evaluation_loop(
    master: str, checkpoint_dir: str, logdir: str, num_evals: int = 1, initial_op: Any = None,
    initial_op_feed_dict: Any = None, init_fn: Any = None, eval_op: Any = None, eval_op_feed_dict: Any = None,
    final_op: Any = None, final_op_feed_dict: Any = None, summary_op: Any = None, summary_op_feed_dict: Any = None,
    variables_to_restore: Sequence[Any] | None = None, eval_interval_secs: float = 60,
    max_number_of_evaluations: int | None = None, session_config: Any = None, timeout: float | None = None,
    timeout_fn: Any = None, hooks: Any = None,
) -> Any:  # fmt: skip
    """Evaluates each new checkpoint of a folder as it comes; returns the last result. See `evaluate_once`."""
    result, count = None, 0
    os.makedirs(logdir, exist_ok=True)
    for path in checkpoints_iterator(checkpoint_dir, eval_interval_secs, timeout, timeout_fn):
        result = evaluate_once(
            master, path, logdir, num_evals, initial_op, initial_op_feed_dict, eval_op, eval_op_feed_dict, final_op,
            final_op_feed_dict, summary_op, summary_op_feed_dict, variables_to_restore, session_config, hooks,
        )  # fmt: skip
        count += 1
        if max_number_of_evaluations is not None and count >= max_number_of_evaluations:
            break
    return result


__all__ = ["checkpoints_iterator", "evaluate_once", "evaluation_loop"]
