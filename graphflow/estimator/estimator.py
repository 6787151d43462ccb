"""Estimator: a model function with training, evaluation, prediction and export around it."""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow import logging
from graphflow.data.dataset import Dataset, make_initializable_iterator
from graphflow.errors import OutOfRangeError
from graphflow.estimator.model_fn import EstimatorSpec, ModeKeys
from graphflow.estimator.run_config import RunConfig
from graphflow.graph import Graph, GraphKeys, device, set_random_seed
from graphflow.metrics import mean
from graphflow.ops.control import group
from graphflow.saved_model import signature_constants, tag_constants
from graphflow.saved_model.builder import SavedModelBuilder
from graphflow.serialization.events import Summary
from graphflow.session import Session
from graphflow.summary.operations import scalar
from graphflow.summary.writer import FileWriterCache
from graphflow.train import basic_session_run_hooks as hooks_
from graphflow.train.checkpoints import latest_checkpoint, list_variables, load_variable
from graphflow.train.monitored_session import (
    ChiefSessionCreator,
    MonitoredSession,
    MonitoredTrainingSession,
    Scaffold,
)
from graphflow.train.saver import Saver
from graphflow.train.session_run_hook import SessionRunArgs, SessionRunHook
from graphflow.train.training_util import get_or_create_global_step
from graphflow.train.warm_starting import VocabInfo, warm_start
from graphflow.variables import Variable, local_variables_initializer

__all__ = ["Estimator", "WarmStartSettings"]

_MODEL_FN_ARGS = frozenset(("features", "labels", "mode", "params", "config"))


class WarmStartSettings(
    NamedTuple(
        "WarmStartSettings",
        [
            ("ckpt_to_initialize_from", Any), ("vars_to_warm_start", Any),
            ("var_name_to_vocab_info", Any), ("var_name_to_prev_var_name", Any),
        ],
    )
):  # fmt: skip
    """What a new training takes over from another; see `gf.train.warm_start`."""

    def __new__(
        cls,
        ckpt_to_initialize_from: Any,
        vars_to_warm_start: Any = ".*",
        var_name_to_vocab_info: Mapping[str, VocabInfo] | None = None,
        var_name_to_prev_var_name: Mapping[str, str] | None = None,
    ) -> WarmStartSettings:
        """Checks what is given."""
        if not ckpt_to_initialize_from:
            raise ValueError("`ckpt_to_initialize_from` MUST be set in WarmStartSettings")
        return super().__new__(
            cls,
            ckpt_to_initialize_from,
            vars_to_warm_start,
            var_name_to_vocab_info or {},
            var_name_to_prev_var_name or {},
        )


class Estimator:
    """Trains, evaluates, predicts with and exports a model that a function builds.

    Args:
      model_fn: called with `features`, `labels`, and, where it has such arguments, `mode`, `params` and `config`;
        returns an `EstimatorSpec`. Each call to `train`, `evaluate`, `predict` or an export calls it in a graph of
        its own.
      model_dir: the folder of checkpoints and summaries; default: `config.model_dir`, or a temporary one.
      config: a `RunConfig`.
      params: a dict for the model function.
      warm_start_from: a checkpoint, a folder, or `WarmStartSettings`: where a first training begins.

    Raises:
      ValueError: the arguments of `model_fn` do not fit, or `model_dir` contradicts `config`.
    """

    def __init__(
        self,
        model_fn: Callable[..., Any],
        model_dir: str | os.PathLike[str] | None = None,
        config: RunConfig | None = None,
        params: Any = None,
        warm_start_from: Any = None,
    ) -> None:
        if config is not None and not isinstance(config, RunConfig):
            raise ValueError(f"config must be an instance of RunConfig, but provided {config!r}")
        config = copy.copy(config) if config is not None else RunConfig()
        if model_dir is not None:
            model_dir = os.fspath(model_dir)
            if config.model_dir is not None and config.model_dir != model_dir:
                raise ValueError(
                    f"model_dir is {model_dir!r} in the constructor and {config.model_dir!r} in RunConfig; set one"
                )
            config = config.replace(model_dir=model_dir)
        elif config.model_dir is None:
            temporary = tempfile.mkdtemp()
            logging.warning("Using temporary folder as model directory: %s", temporary)
            config = config.replace(model_dir=temporary)
        self._config = config
        self._arguments = _checked_arguments(model_fn, params)
        self._model_fn = model_fn
        self._params = copy.deepcopy(params) if params else {}
        if isinstance(warm_start_from, str):
            warm_start_from = WarmStartSettings(warm_start_from)
        if warm_start_from is not None and not isinstance(warm_start_from, WarmStartSettings):
            raise ValueError(
                f"warm_start_from must be a string or WarmStartSettings, got {warm_start_from!r}"
            )
        self._warm_start = warm_start_from
        logging.info("Using config: %s", config)

    @property
    def model_dir(self) -> str:
        """The folder of checkpoints and summaries."""
        return str(self._config.model_dir)

    @property
    def config(self) -> RunConfig:
        """How it runs; a copy."""
        return copy.copy(self._config)

    @property
    def params(self) -> Any:
        """What the model function is given; a copy."""
        return copy.deepcopy(self._params)

    @property
    def model_fn(self) -> Callable[..., Any]:
        """The model function, as a function of `features`, `labels`, `mode` and `config`."""

        def public_model_fn(features: Any, labels: Any, mode: str, config: RunConfig) -> EstimatorSpec:
            return self._call_model_fn(features, labels, mode, config)

        return public_model_fn

    def latest_checkpoint(self) -> str | None:
        """Returns the newest checkpoint in `model_dir`, or None."""
        return latest_checkpoint(self.model_dir)

    def eval_dir(self, name: str | None = None) -> str:
        """Returns the folder of an evaluation's summaries."""
        return os.path.join(self.model_dir, "eval" if not name else f"eval_{name}")

    def get_variable_names(self) -> list[str]:
        """Returns the names of the variables in the newest checkpoint.

        Raises:
          ValueError: nothing was trained yet.
        """
        self._needs_checkpoint(None)
        return [name for name, _ in list_variables(self.model_dir)]

    def get_variable_value(self, name: str) -> np.ndarray[Any, Any]:
        """Returns a variable's value in the newest checkpoint.

        Raises:
          ValueError: nothing was trained yet, or there is no such variable.
        """
        self._needs_checkpoint(None)
        return load_variable(self.model_dir, name)

    def train(
        self,
        input_fn: Callable[..., Any],
        hooks: Sequence[SessionRunHook] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Sequence[hooks_.CheckpointSaverListener] | None = None,
    ) -> Estimator:
        """Trains, beginning with the newest checkpoint in `model_dir`.

        Args:
          input_fn: returns a `Dataset` of pairs, or a pair, of features and labels. It is given `params`, `config`
            and `mode` where it has such arguments.
          hooks: further hooks.
          steps: how many steps; default: until the input ends.
          max_steps: at which global step to end; nothing is done where it is reached already; not both.
          saving_listeners: told of each checkpoint.

        Returns:
          itself.

        Raises:
          ValueError: both, or a number below one.
        """
        if steps is not None and max_steps is not None:
            raise ValueError("Can not provide both steps and max_steps.")
        for name, number in (("steps", steps), ("max_steps", max_steps)):
            if number is not None and number <= 0:
                raise ValueError(f"Must specify {name} > 0, given: {number}")
        hooks = _checked_hooks(hooks)
        if max_steps is not None:
            newest = self.latest_checkpoint()
            if newest is not None and int(load_variable(newest, GraphKeys.GLOBAL_STEP)) >= max_steps:
                logging.info("Skipping training since max_steps has already saved.")
                return self
        if steps is not None or max_steps is not None:
            hooks.append(hooks_.StopAtStepHook(steps, max_steps))
        loss = self._train(input_fn, hooks, list(saving_listeners or ()))
        logging.info("Loss for final step: %s.", loss)
        return self

    def _train(self, input_fn: Any, hooks: list[SessionRunHook], listeners: list[Any]) -> Any:
        config = self._config
        with self._graph():
            step = get_or_create_global_step()
            features, labels, input_hooks = self._inputs(input_fn, ModeKeys.TRAIN)
            spec = self._call_model_fn(features, labels, ModeKeys.TRAIN, config)
            if self._warm_start is not None and self.latest_checkpoint() is None:
                logging.info("Warm-starting with WarmStartSettings: %s", self._warm_start)
                warm_start(*self._warm_start)
            graph = spec.loss.graph
            named = [getattr(s, "op", s).name for s in graph.get_collection(GraphKeys.SUMMARIES)]
            if not any(name.split("/")[-1].split("_")[0] == "loss" for name in named):
                scalar("loss", spec.loss)
            every: list[SessionRunHook] = [*input_hooks, *hooks, hooks_.NanTensorHook(spec.loss)]
            if config.log_step_count_steps:
                every.append(
                    hooks_.LoggingTensorHook(
                        {"loss": spec.loss, "step": step}, every_n_iter=config.log_step_count_steps
                    )
                )
            every += spec.training_hooks
            scaffold = spec.scaffold
            if not (scaffold.saver or graph.get_collection(GraphKeys.SAVERS)):
                graph.add_to_collection(
                    GraphKeys.SAVERS,
                    Saver(
                        sharded=True, max_to_keep=config.keep_checkpoint_max, defer_build=True,
                        save_relative_paths=True,
                        keep_checkpoint_every_n_hours=config.keep_checkpoint_every_n_hours,
                    ),
                )  # fmt: skip
            chief = list(spec.training_chief_hooks)
            savers = [hook for hook in (*every, *chief) if isinstance(hook, hooks_.CheckpointSaverHook)]
            if not savers and (config.save_checkpoints_secs or config.save_checkpoints_steps):
                saver = hooks_.CheckpointSaverHook(
                    self.model_dir, save_secs=config.save_checkpoints_secs, save_steps=config.save_checkpoints_steps,
                    scaffold=scaffold,
                )  # fmt: skip
                savers, chief = [saver], [*chief, saver]
            if listeners:
                if not savers:
                    raise ValueError("There should be a CheckpointSaverHook to use saving_listeners.")
                savers[0]._listeners.extend(listeners)
            loss = None
            with MonitoredTrainingSession(
                is_chief=config.is_chief, checkpoint_dir=self.model_dir, scaffold=scaffold, hooks=every,
                chief_only_hooks=chief, save_checkpoint_secs=0, save_summaries_steps=config.save_summary_steps,
                config=config.session_config, max_wait_secs=config.session_creation_timeout_secs,
                log_step_count_steps=config.log_step_count_steps,
            ) as session:  # fmt: skip
                while not session.should_stop():
                    _, loss = session.run([spec.train_op, spec.loss])
        if loss is None:
            logging.warning("Training with estimator made no steps. Perhaps input is empty or misspecified.")
        return loss

    def evaluate(
        self,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        checkpoint_path: str | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Evaluates on an input and writes a summary of it.

        Args:
          input_fn: as for `train`.
          steps: how many batches; default: until the input ends.
          hooks: further hooks.
          checkpoint_path: which checkpoint; default: the newest; where there is none, the model as initialized.
          name: of the evaluation, where there are several.

        Returns:
          the metrics by name, with "loss" and "global_step".

        Raises:
          ValueError: `steps` is below one, or a metric has a name that is taken.
        """
        if steps is not None and steps <= 0:
            raise ValueError(f"Must specify steps > 0, given: {steps}")
        path = checkpoint_path or self.latest_checkpoint()
        if path is None:
            logging.info(
                "Could not find trained model in model_dir: %s, running initialization to evaluate.",
                self.model_dir,
            )
        with self._graph():
            step = get_or_create_global_step()
            features, labels, input_hooks = self._inputs(input_fn, ModeKeys.EVAL)
            spec = self._call_model_fn(features, labels, ModeKeys.EVAL, self._config)
            metrics = dict(spec.eval_metric_ops)
            if "loss" in metrics:
                raise ValueError(
                    'Metric with name "loss" is not allowed, because Estimator adds one of this name'
                )
            metrics["loss"] = mean(spec.loss)
            if GraphKeys.GLOBAL_STEP in metrics:
                raise ValueError(f'Metric with name "{GraphKeys.GLOBAL_STEP}" is not allowed')
            update = group(*(_operation(pair[1]) for pair in metrics.values()))
            values = {key: pair[0] for key, pair in metrics.items()}
            values[GraphKeys.GLOBAL_STEP] = step
            final = hooks_.FinalOpsHook({key: _readable(value) for key, value in values.items()})
            every = [*input_hooks, *_checked_hooks(hooks), *spec.evaluation_hooks]
            counter = _StopAfter(steps)
            creator = ChiefSessionCreator(
                _restoring(spec.scaffold),
                config=self._config.session_config,
                checkpoint_filename_with_path=path,
            )
            logging.info("Starting evaluation at %s", time.strftime("%Y-%m-%dT%H:%M:%S"))
            with MonitoredSession(creator, [*every, counter, final]) as session:
                while not session.should_stop():
                    session.run(update)
            found: dict[str, Any] = final.final_ops_values
        if not counter.count:
            logging.warning("The evaluation's input gave nothing.")
        folder = self.eval_dir(name)
        writer = FileWriterCache.get(folder)
        at = int(found[GraphKeys.GLOBAL_STEP])
        shown = ", ".join(f"{key} = {value}" for key, value in sorted(found.items()))
        logging.info("Saving dict for global step %d: %s", at, shown)
        writer.add_summary(_metric_summary(found), at)
        writer.flush()
        return found

    def predict(
        self,
        input_fn: Callable[..., Any],
        predict_keys: Sequence[str] | str | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        checkpoint_path: str | None = None,
        yield_single_examples: bool = True,
    ) -> Iterator[Any]:
        """Yields the predictions for an input.

        Args:
          input_fn: as for `train`; labels are ignored.
          predict_keys: which predictions to give; default: all.
          hooks: further hooks.
          checkpoint_path: which checkpoint; default: the newest.
          yield_single_examples: whether to yield examples or whole batches.

        Yields:
          a dict of arrays for each example, or an array where the model predicts one tensor.

        Raises:
          ValueError: nothing was trained yet, a key does not exist, or the batches of predictions differ in length.
        """
        hooks = _checked_hooks(hooks)
        path = checkpoint_path or self.latest_checkpoint()
        if path is None:
            logging.info(
                "Could not find trained model in model_dir: %s, running initialization to predict.",
                self.model_dir,
            )
        with self._graph() as graph:
            get_or_create_global_step()
            features, _, input_hooks = self._inputs(input_fn, ModeKeys.PREDICT, labelled=False)
            spec = self._call_model_fn(features, None, ModeKeys.PREDICT, self._config)
            predictions = _picked(spec.predictions, predict_keys)
            creator = ChiefSessionCreator(
                _restoring(spec.scaffold),
                config=self._config.session_config,
                checkpoint_filename_with_path=path,
            )
            every = [*input_hooks, *hooks, *spec.prediction_hooks]
        # The graph is the default one only while the session is made: what the caller builds meanwhile is his.
        with graph.as_default():
            session = MonitoredSession(creator, every)
        with session:
            while not session.should_stop():
                try:
                    batch = session.run(predictions)
                except (OutOfRangeError, StopIteration):
                    return
                if not yield_single_examples:
                    yield batch
                elif isinstance(batch, dict):
                    for example in range(_common_length(batch)):
                        yield {key: value[example] for key, value in batch.items()}
                else:
                    yield from batch

    def export_saved_model(
        self,
        export_dir_base: str | os.PathLike[str],
        serving_input_receiver_fn: Callable[[], Any],
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
        experimental_mode: str = ModeKeys.PREDICT,
    ) -> bytes:
        """Writes a SavedModel into a folder of its own below `export_dir_base`, named by the time.

        Args:
          export_dir_base: the folder that holds the exports.
          serving_input_receiver_fn: returns a `ServingInputReceiver`.
          assets_extra: files to take along: from names below `assets.extra` to paths.
          as_text: whether to write text.
          checkpoint_path: which checkpoint; default: the newest.
          experimental_mode: in which mode the model is built; only `ModeKeys.PREDICT`.

        Returns:
          the folder, as bytes.

        Raises:
          ValueError: nothing was trained yet, or the model has no outputs to export.
        """
        return self._export(
            os.fspath(export_dir_base),
            serving_input_receiver_fn,
            assets_extra,
            as_text,
            checkpoint_path,
            True,
            experimental_mode,
        )

    def export_savedmodel(
        self,
        export_dir_base: str | os.PathLike[str],
        serving_input_receiver_fn: Callable[[], Any],
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
        strip_default_attrs: bool = False,
    ) -> bytes:
        """The same under its old name.

        Args:
          export_dir_base: the folder that holds the exports.
          serving_input_receiver_fn: returns a `ServingInputReceiver`.
          assets_extra: files to take along: from names below `assets.extra` to paths.
          as_text: whether to write text.
          checkpoint_path: which checkpoint; default: the newest.
          strip_default_attrs: whether to leave out attributes that have their default values.
        """
        return self._export(
            os.fspath(export_dir_base), serving_input_receiver_fn, assets_extra, as_text, checkpoint_path,
            strip_default_attrs, ModeKeys.PREDICT,
        )  # fmt: skip

    def _export(
        self,
        base: str,
        receiver_fn: Callable[[], Any],
        assets: Mapping[str, str] | None,
        as_text: bool,
        path: str | None,
        strip: bool,
        mode: str,
    ) -> bytes:
        if mode != ModeKeys.PREDICT:
            raise ValueError(f"a model is exported in mode {ModeKeys.PREDICT!r}, got {mode!r}")
        path = self._needs_checkpoint(path)
        folder = _new_folder(base)
        unfinished = os.path.join(base, f"temp-{os.path.basename(folder)}")
        try:
            with self._graph() as graph:
                get_or_create_global_step()
                receiver = receiver_fn()
                spec = self._call_model_fn(receiver.features, None, mode, self._config)
                if not spec.export_outputs:
                    raise ValueError("the model function's EstimatorSpec has no export_outputs")
                signatures = _signatures(spec.export_outputs, receiver)
                with Session(graph=graph, config=self._config.session_config) as session:
                    local = spec.scaffold.local_init_op or Scaffold.default_local_init_op()
                    saver = spec.scaffold.saver or Saver(sharded=True)
                    saver.restore(session, path)
                    session.run(local)
                    builder = SavedModelBuilder(unfinished)
                    builder.add_meta_graph_and_variables(
                        session, [tag_constants.SERVING], signature_def_map=signatures,
                        assets_collection=graph.get_collection(GraphKeys.ASSET_FILEPATHS), main_op=local,
                        saver=saver, strip_default_attrs=strip,
                    )  # fmt: skip
                    builder.save(as_text)
            for name, source in (assets or {}).items():
                target = os.path.join(unfinished, "assets.extra", name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(source, target)
            os.rename(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return folder.encode()

    @contextlib.contextmanager
    def _graph(self) -> Iterator[Graph]:
        graph = Graph()
        with graph.as_default(), device(self._config.device_fn):
            set_random_seed(self._config.tf_random_seed)
            yield graph

    def _inputs(
        self, input_fn: Any, mode: str, labelled: bool = True
    ) -> tuple[Any, Any, list[SessionRunHook]]:
        """Calls an input function; returns features, labels, and the hooks that the input needs."""
        known = {"params": self._params_for(mode), "config": self.config, "mode": mode}
        names = _parameters(input_fn)
        with device("/cpu:0"):
            found = input_fn(**{name: value for name, value in known.items() if name in names})
        hooks: list[SessionRunHook] = []
        if isinstance(found, Dataset):
            iterator = make_initializable_iterator(found)
            hooks.append(_InitializesIterator(iterator))
            found = iterator.get_next()
        if isinstance(found, (list, tuple)):
            if len(found) != 2:
                raise ValueError(
                    f"input_fn should return (features, labels) as a len 2 tuple; it returned {len(found)} things"
                )
            return found[0], found[1] if labelled else None, hooks
        return found, None, hooks

    def _call_model_fn(self, features: Any, labels: Any, mode: str, config: RunConfig) -> EstimatorSpec:
        names = self._arguments
        given: dict[str, Any] = {}
        if "labels" in names:
            given["labels"] = labels
        elif labels is not None:
            raise ValueError("model_fn does not take labels, but input_fn returns labels.")
        known = {"mode": mode, "params": self._params_for(mode), "config": config}
        given |= {name: value for name, value in known.items() if name in names}
        logging.info("Calling model_fn.")
        made = self._model_fn(features=features, **given)
        logging.info("Done calling model_fn.")
        return self._spec(made)

    def _params_for(self, mode: str) -> Any:
        """Returns what model and input functions are given as `params`."""
        return self.params

    def _spec(self, made: Any) -> EstimatorSpec:
        """Returns the EstimatorSpec of what a model function has returned."""
        if not isinstance(made, EstimatorSpec):
            raise ValueError(f"model_fn should return an EstimatorSpec, got {made!r}")
        return made

    def _needs_checkpoint(self, path: str | None) -> str:
        path = path or self.latest_checkpoint()
        if not path:
            raise ValueError(f"Could not find trained model in model_dir: {self.model_dir}; call train first")
        return path


class _StopAfter(SessionRunHook):
    """Counts runs, and asks for an end after so many of them."""

    def __init__(self, steps: int | None) -> None:
        self._steps = steps
        self.count = 0

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Counts."""
        self.count += 1
        if self._steps is not None and self.count >= self._steps:
            run_context.request_stop()

    def before_run(self, run_context: Any) -> SessionRunArgs | None:
        """Logs about ten times."""
        if self._steps and (self.count + 1) % max(1, self._steps // 10) == 0:
            logging.info("Evaluation [%d/%d]", self.count + 1, self._steps)
        return None


class _InitializesIterator(SessionRunHook):
    """Starts a dataset's iterator with the session."""

    def __init__(self, iterator: Any) -> None:
        self._initializer = iterator.initializer

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Starts it."""
        session.run(self._initializer)


def _parameters(function: Any) -> frozenset[str]:
    """Returns the names of a function's arguments."""
    return frozenset(inspect.signature(function).parameters)


def _checked_arguments(model_fn: Callable[..., Any], params: Any) -> frozenset[str]:
    names = _parameters(model_fn)
    if "features" not in names:
        raise ValueError(f"model_fn ({model_fn}) must include features argument.")
    if params is not None and "params" not in names:
        raise ValueError(
            f"model_fn ({model_fn}) does not include params argument, but params ({params}) is passed to Estimator."
        )
    keywords = [p.kind for p in inspect.signature(model_fn).parameters.values()]
    unknown = names - _MODEL_FN_ARGS
    if unknown and inspect.Parameter.VAR_KEYWORD not in keywords:
        raise ValueError(
            f"model_fn ({model_fn}) has following not expected args: {', '.join(sorted(unknown))}"
        )
    return names


def _checked_hooks(hooks: Sequence[SessionRunHook] | None) -> list[SessionRunHook]:
    found = list(hooks or ())
    for hook in found:
        if not isinstance(hook, SessionRunHook):
            raise TypeError(f"Hooks must be a SessionRunHook, given: {hook!r}")
    return found


def _operation(update: Any) -> Any:
    return getattr(update, "op", update)


def _readable(value: Any) -> Any:
    return value.value() if isinstance(value, Variable) else value


def _restoring(scaffold: Scaffold) -> Scaffold:
    """Returns a scaffold whose session sets local variables, the metrics', to zero."""
    if scaffold.local_init_op is None:
        return Scaffold(
            local_init_op=group(Scaffold.default_local_init_op(), local_variables_initializer()),
            copy_from_scaffold=scaffold,
        )
    return scaffold


def _picked(predictions: Any, keys: Sequence[str] | str | None) -> Any:
    if not keys:
        return predictions
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(predictions, Mapping):
        raise ValueError("predict_keys argument is not valid in case of non-dict predictions.")
    found = {key: value for key, value in predictions.items() if key in keys}
    if not found:
        raise ValueError(f"Expected to run at least one output from {list(predictions)}, provided {keys}.")
    return found


def _common_length(batch: Mapping[str, np.ndarray[Any, Any]]) -> int:
    lengths = {key: len(value) for key, value in batch.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"Batch length of predictions should be same, but they are {lengths}; with yield_single_examples=False "
            "whole batches are given"
        )
    return next(iter(lengths.values()))


def _metric_summary(values: Mapping[str, Any]) -> Any:
    """Returns a summary of an evaluation: a scalar for each number, and serialized summaries as they are."""
    summary = Summary()
    for key in sorted(values):
        value = values[key]
        if key == GraphKeys.GLOBAL_STEP:
            continue
        if isinstance(value, bytes):
            for part in Summary.FromString(value).value:
                part.tag = f"{key}/{part.tag}"
                summary.value.append(part)
        elif np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.number):
            summary.value.add(tag=key, simple_value=float(value))
        else:
            logging.warning(
                "Skipping summary for %s, must be a float, np.float32, np.int64, or a summary.", key
            )
    return summary


def _new_folder(base: str) -> str:
    """Returns the name of a folder below `base` that nobody has: the seconds since 1970, later ones if taken."""
    stamp = int(time.time())
    while os.path.exists(os.path.join(base, str(stamp))):
        stamp += 1
    return os.path.join(base, str(stamp))


def _signatures(outputs: Mapping[str, Any], receiver: Any) -> dict[str, Any]:
    """Returns the signatures of each output for each way of feeding; what does not fit is left out, with a line."""
    default = signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    found: dict[str, Any] = {}
    refused: dict[str, str] = {}
    ways: list[tuple[str | None, Any]] = [(None, receiver.receiver_tensors)]
    ways += (receiver.receiver_tensors_alternatives or {}).items()
    for way, tensors in ways:
        for key, output in outputs.items():
            if way is not None and key == default:
                continue
            name = key if way is None else f"{way}:{key}"
            try:
                found[name] = output.as_signature_def(tensors)
            except ValueError as error:
                refused[name] = str(error)
    if not found:
        raise ValueError(
            f"no signature can be exported: {'; '.join(f'{n}: {e}' for n, e in refused.items())}"
        )
    for name, why in refused.items():
        logging.warning("The signature %s is not exported: %s", name, why)
    return found
