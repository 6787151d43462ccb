"""`slim.learning`: a training operation of a loss, and the loop that runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphflow.contrib.layers.optimizers import _multiplied
from graphflow.graph import GraphKeys, IndexedSlices, Tensor, control_dependencies, get_collection, name_scope
from graphflow.logging import info
from graphflow.opdef import constant
from graphflow.ops.control import check_numerics as finite
from graphflow.ops.elementwise import equal, mod
from graphflow.ops.linalg import clip_by_norm, global_norm
from graphflow.ops.source import identity
from graphflow.summary import operations as summary
from graphflow.train.supervisor import Supervisor
from graphflow.train.training_util import get_or_create_global_step
from graphflow.variables import trainable_variables

_USE_GLOBAL_STEP = 0


def clip_gradient_norms(
    gradients_to_variables: Sequence[tuple[Any, Any]], max_norm: float
) -> list[tuple[Any, Any]]:
    """Returns gradients whose norms are at most `max_norm`, each by itself."""
    found = []
    for grad, var in gradients_to_variables:
        if isinstance(grad, IndexedSlices):
            grad = IndexedSlices(clip_by_norm(grad.values, max_norm), grad.indices, grad.dense_shape)
        elif grad is not None:
            grad = clip_by_norm(grad, max_norm)
        found.append((grad, var))
    return found


def multiply_gradients(
    grads_and_vars: Sequence[tuple[Any, Any]], gradient_multipliers: Mapping[Any, Any]
) -> list[tuple[Any, Any]]:
    """Returns gradients times factors, which are given by variable or its name.

    Raises:
      ValueError: if there are no factors, or one is for a variable without a gradient.
    """
    if not isinstance(gradient_multipliers, Mapping) or not gradient_multipliers:
        raise ValueError("gradient_multipliers is empty.")
    for grad, var in grads_and_vars:
        if grad is None and (var in gradient_multipliers or var.op.name in gradient_multipliers):
            raise ValueError("Requested multiple of `None` gradient.")
    return _multiplied(grads_and_vars, gradient_multipliers)


def add_gradients_summaries(grads_and_vars: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Returns summaries of gradients: a histogram and a norm of each."""
    made = []
    for grad, var in grads_and_vars:
        if grad is not None:
            values = grad.values if isinstance(grad, IndexedSlices) else grad
            made.append(summary.histogram(f"{var.op.name}/gradient", values))
            made.append(summary.scalar(f"{var.op.name}/gradient_norm", global_norm([values])))
    return made


def create_train_op(
    total_loss: Any, optimizer: Any, global_step: Any = _USE_GLOBAL_STEP, update_ops: Sequence[Any] | None = None,
    variables_to_train: Sequence[Any] | None = None, clip_gradient_norm: float = 0, summarize_gradients: bool = False,
    gate_gradients: int = 1, aggregation_method: Any = None, colocate_gradients_with_ops: bool = False,
    gradient_multipliers: Mapping[Any, Any] | None = None, check_numerics: bool = True,
) -> Tensor:  # fmt: skip
    """Returns the loss of a step: fetching it trains.

    Args:
      total_loss: a scalar.
      optimizer: the optimizer.
      global_step: the step counter; default that of the graph; None: none.
      update_ops: what runs before the step; default the collection of updates.
      variables_to_train: default all that are trainable.
      clip_gradient_norm: the greatest norm of each gradient; 0: none.
      summarize_gradients: whether gradients have summaries.
      gate_gradients, aggregation_method, colocate_gradients_with_ops: as for the optimizer.
      gradient_multipliers: factors of gradients, by variable or its name.
      check_numerics: whether a loss that is NaN or infinite is an error.
    """
    if global_step is _USE_GLOBAL_STEP:
        global_step = get_or_create_global_step()
    before = list(get_collection(GraphKeys.UPDATE_OPS) if update_ops is None else update_ops)
    if before:
        with control_dependencies(before):
            total_loss = identity(total_loss)
    trained = trainable_variables() if variables_to_train is None else list(variables_to_train)
    pairs = optimizer.compute_gradients(
        total_loss, trained, gate_gradients=gate_gradients, aggregation_method=aggregation_method,
        colocate_gradients_with_ops=colocate_gradients_with_ops,
    )  # fmt: skip
    if gradient_multipliers:
        pairs = multiply_gradients(pairs, gradient_multipliers)
    if clip_gradient_norm > 0:
        pairs = clip_gradient_norms(pairs, clip_gradient_norm)
    if summarize_gradients:
        add_gradients_summaries(pairs)
    updates = optimizer.apply_gradients(pairs, global_step=global_step)
    if check_numerics:
        total_loss = _checked(total_loss)
    with control_dependencies([updates]):
        result = identity(total_loss, name="train_op")
    reference = get_collection(GraphKeys.TRAIN_OP)
    if not any(each is result for each in reference):
        result.graph.add_to_collection(GraphKeys.TRAIN_OP, result)
    return result


def _checked(loss: Any) -> Any:
    return finite(loss, "LossTensor is inf or nan")


def train_step(
    sess: Any, train_op: Any, global_step: Any, train_step_kwargs: Mapping[str, Any]
) -> tuple[Any, bool]:
    """Runs one step; returns the loss, and whether to stop.

    Args:
      sess: the session.
      train_op: what `create_train_op` gave.
      global_step: the step counter.
      train_step_kwargs: `should_stop`, `should_log`: tensors that say so; `logdir` and others of the loop.
    """
    started = time.time()
    loss, step = sess.run([train_op, global_step])
    if "should_log" in train_step_kwargs and sess.run(train_step_kwargs["should_log"]):
        info("global step %d: loss = %.4f (%.3f sec/step)", step, loss, time.time() - started)
    stop = bool(sess.run(train_step_kwargs["should_stop"])) if "should_stop" in train_step_kwargs else False
    return loss, stop


_DEFAULT = object()


def _told_to_steps(
    global_step: Any, number_of_steps: int | None, log_every_n_steps: int, logdir: str | None
) -> dict[str, Any]:
    """What `train` hands to each step by default: when to stop, when to log, and where."""
    with name_scope("train_step"):
        told: dict[str, Any] = {
            "should_stop": global_step >= number_of_steps if number_of_steps else constant(False)
        }
        if log_every_n_steps > 0:
            told["should_log"] = equal(mod(global_step, log_every_n_steps), 0)
        if logdir is not None:
            told["logdir"] = logdir
    return told


def train(
    train_op: Any, logdir: str | None, train_step_fn: Callable[..., Any] = train_step,
    train_step_kwargs: Any = _DEFAULT, log_every_n_steps: int = 1, graph: Any = None, master: str = "",
    is_chief: bool = True, global_step: Any = None, number_of_steps: int | None = None, init_op: Any = _DEFAULT,
    init_feed_dict: Any = None, local_init_op: Any = _DEFAULT, init_fn: Callable[[Any], Any] | None = None,
    ready_op: Any = _DEFAULT, summary_op: Any = _DEFAULT, save_summaries_secs: float = 600,
    summary_writer: Any = _DEFAULT, startup_delay_steps: int = 0, saver: Any = None, save_interval_secs: float = 600,
    sync_optimizer: Any = None, session_config: Any = None, session_wrapper: Any = None,
    trace_every_n_steps: Any = None, ignore_live_threads: bool = False,
) -> Any:  # fmt: skip
    """Trains until `number_of_steps`, with checkpoints and summaries; returns the last loss.

    Args:
      train_op: what `create_train_op` gave.
      logdir: the folder for checkpoints and summaries; None: none are written.
      train_step_fn: runs one step: `(session, train_op, global_step, kwargs) -> (loss, whether to stop)`.
      train_step_kwargs: what it is handed; default a dict with the tensors `should_stop` and `should_log`, and
        `logdir`.
      log_every_n_steps: how often the loss is logged.
      graph: the graph; default that of `train_op`.
      master, is_chief, startup_delay_steps, sync_optimizer: of training on several machines; as they are.
      global_step: the step counter; default that of the graph.
      number_of_steps: up to which step; None: for ever.
      init_op, init_feed_dict, local_init_op, init_fn, ready_op: how variables get their first values.
      summary_op, summary_writer: the summaries, and what writes them; None: none.
      save_summaries_secs, save_interval_secs: how often they and checkpoints are written.
      saver: the saver.
      session_config, session_wrapper: of the session.
      trace_every_n_steps: accepted; `gf.profile` tells where the time goes.
      ignore_live_threads: whether threads that go on at the end are no error.
    """
    if train_op is None:
        raise ValueError("train_op cannot be None.")
    given = graph if graph is not None else train_op.graph
    with given.as_default():
        if global_step is None:
            global_step = get_or_create_global_step()
        kwargs = train_step_kwargs
        if kwargs is _DEFAULT:
            kwargs = _told_to_steps(global_step, number_of_steps, log_every_n_steps, logdir)
        elif kwargs is None:
            kwargs = {}
        options: dict[str, Any] = {}
        for name, value in (
            ("init_op", init_op), ("local_init_op", local_init_op), ("ready_op", ready_op), ("summary_op", summary_op),
            ("summary_writer", summary_writer),
        ):  # fmt: skip
            if value is not _DEFAULT:
                options[name] = value
        if logdir is None:
            options.setdefault("summary_op", None)
        if saver is not None:
            options["saver"] = saver
        supervisor = Supervisor(
            graph=given, is_chief=is_chief, logdir=logdir, init_feed_dict=init_feed_dict, init_fn=init_fn,
            global_step=global_step, save_summaries_secs=int(save_summaries_secs),
            save_model_secs=int(save_interval_secs), **options,
        )  # fmt: skip
        loss = None
        with supervisor.managed_session(master, config=session_config) as session:
            running = session_wrapper(session) if session_wrapper is not None else session
            step, stop = int(session.run(global_step)), False
            while (
                not supervisor.should_stop()
                and not stop
                and (number_of_steps is None or step < number_of_steps)
            ):
                loss, stop = train_step_fn(running, train_op, global_step, kwargs)
                step = int(session.run(global_step))
            if logdir and supervisor.is_chief and supervisor.saver is not None:
                supervisor.saver.save(session, supervisor.save_path, global_step=supervisor.global_step)
        return loss


__all__ = [
    "add_gradients_summaries", "clip_gradient_norms", "create_train_op", "multiply_gradients", "train", "train_step",
]  # fmt: skip
