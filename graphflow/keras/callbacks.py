"""`keras.callbacks`: what is called while a model trains."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphflow import logging
from graphflow.graph import get_default_graph
from graphflow.keras import backend
from graphflow.keras.session import get_session
from graphflow.serialization.events import Summary
from graphflow.summary.operations import histogram, merge
from graphflow.summary.writer import FileWriter

Logs = dict[str, float]


class Callback:
    """What is called while a model trains; a callback of one's own overrides what it needs."""

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Tells the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Tells epochs, steps and the like."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called after the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before each epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after each epoch, with its figures."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each batch."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each batch, with its figures."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The newer name of `on_batch_begin`."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The newer name of `on_batch_end`."""


class History(Callback):
    """Keeps the figures of all epochs: `history[name]` is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Keeps the figures."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """Functions as a callback."""

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, function in functions.items():
            if not hasattr(Callback, name):
                raise TypeError(f"LambdaCallback has no {name!r}")
            if function is not None:
                setattr(self, name, function)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _better(monitor: str, mode: str) -> Callable[[float, float], bool]:
    if mode not in ("auto", "min", "max"):
        mode = "auto"
    if mode == "max" or (mode == "auto" and ("acc" in monitor or monitor.startswith("fmeasure"))):
        return lambda new, old: new > old
    return lambda new, old: new < old


class EarlyStopping(Callback):
    """Ends training when a figure has not become better for `patience` epochs."""

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self._is_better = _better(monitor, mode)
        self.stopped_epoch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begins to count."""
        self.wait = 0
        self.best: float | None = self.baseline
        self.best_weights: Any = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Counts."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            return
        up = self._is_better(1.0, 0.0)
        moved = value - self.min_delta if up else value + self.min_delta
        if self.best is None or self._is_better(moved, self.best):
            self.best, self.wait = value, 0
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            if self.verbose:
                _say(f"Epoch {epoch + 1}: early stopping")
            if self.best_weights is not None:
                self.model.set_weights(self.best_weights)


class ModelCheckpoint(Callback):
    """Saves the model after epochs, or its weights; `filepath` may hold names such as "{epoch:02d}-{val_loss:.2f}"."""

    def __init__(
        self, filepath: str, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto", period: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.filepath = str(filepath)
        self.monitor = monitor
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.verbose = verbose
        self.period = period
        self._is_better = _better(monitor, mode)
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves, if it is time."""
        if (epoch + 1) % self.period:
            return
        value = (logs or {}).get(self.monitor)
        if self.save_best_only:
            if value is None:
                logging.warning("Can save best model only with %s available, skipping.", self.monitor)
                return
            if self.best is not None and not self._is_better(value, self.best):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        if self.verbose:
            _say(f"Epoch {epoch + 1}: saving model to {path}")
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch: `schedule(epoch)` or `schedule(epoch, rate)`."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Sets the learning rate."""
        rate = self.model.optimizer.lr
        try:
            value = self.schedule(epoch, float(backend.get_value(rate)))
        except TypeError:
            value = self.schedule(epoch)
        if not isinstance(value, int | float | np.floating):
            raise ValueError('The output of the "schedule" function should be float.')
        backend.set_value(rate, value)
        if self.verbose:
            _say(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {value}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tells the learning rate."""
        if logs is not None:
            logs["lr"] = float(backend.get_value(self.model.optimizer.lr))


class ReduceLROnPlateau(Callback):
    """Lowers the learning rate when a figure has not become better for `patience` epochs.

    Args:
      monitor: the figure.
      factor: what the rate is multiplied by.
      patience: how many epochs are waited.
      verbose: 1 says when it happens.
      mode: "min", "max", or "auto": by the name.
      min_delta: how much better counts; `epsilon` is its old name.
      cooldown: how many epochs nothing is counted afterwards.
      min_lr: the least rate.
      **kwargs: `epsilon`.

    Raises:
      ValueError: if the factor is one or more.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if factor >= 1.0:
            raise ValueError("ReduceLROnPlateau does not support a factor >= 1.0.")
        self.monitor, self.factor, self.patience, self.verbose = monitor, factor, patience, verbose
        self.min_delta = kwargs.get("epsilon", min_delta)
        self.cooldown, self.min_lr = cooldown, min_lr
        self._is_better = _better(monitor, mode)
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begins to count."""
        self.wait = self.cooldown_counter = 0
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Counts; `lr` joins the figures."""
        logs = {} if logs is None else logs
        rate = float(backend.get_value(self.model.optimizer.lr))
        logs["lr"] = rate
        value = logs.get(self.monitor)
        if value is None:
            logging.warning(
                "Reduce LR on plateau conditioned on metric `%s` which is not available.", self.monitor
            )
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        moved = value - self.min_delta if self._is_better(1.0, 0.0) else value + self.min_delta
        if self.best is None or self._is_better(moved, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                lower = max(rate * self.factor, self.min_lr)
                backend.set_value(self.model.optimizer.lr, lower)
                if self.verbose:
                    _say(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {lower}.")
                self.cooldown_counter, self.wait = self.cooldown, 0


class CSVLogger(Callback):
    """Writes the figures of each epoch as a line.

    Args:
      filename: the file.
      separator: what stands between two figures.
      append: whether lines are added to a file that exists.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begins the file."""
        path = Path(self.filename)
        has_head = self.append and path.exists() and path.stat().st_size > 0
        self._is_headed = has_head
        if not self.append:
            path.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Writes a line."""
        logs = logs or {}
        if self._keys is None:
            self._keys = sorted(logs)
        with open(self.filename, "a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if not self._is_headed:
                writer.writerow(["epoch", *self._keys])
                self._is_headed = True
            writer.writerow([epoch, *(logs.get(key, "NA") for key in self._keys)])


class TensorBoard(Callback):
    """Writes the graph, and the figures of epochs or batches, for TensorBoard.

    Args:
      log_dir: the folder.
      histogram_freq: every how many epochs the weights are written as histograms; 0: never.
      batch_size: accepted.
      write_graph: whether the graph is written.
      write_grads: accepted.
      write_images: accepted.
      embeddings_freq: accepted.
      embeddings_layer_names: accepted.
      embeddings_metadata: accepted.
      embeddings_data: accepted.
      update_freq: "epoch", "batch", or after how many examples figures are written.
      **kwargs: accepted.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "./logs", histogram_freq: int = 0, batch_size: int = 32,
        write_graph: bool = True, write_grads: bool = False, write_images: bool = False, embeddings_freq: int = 0,
        embeddings_layer_names: Any = None, embeddings_metadata: Any = None, embeddings_data: Any = None,
        update_freq: Any = "epoch", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq, self.write_graph, self.update_freq = histogram_freq, write_graph, update_freq
        self._seen = self._written = 0
        self._writer: FileWriter | None = None
        self._histograms: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Opens the file."""
        self._writer = FileWriter(self.log_dir, get_default_graph() if self.write_graph else None)
        if self.histogram_freq and self._histograms is None:
            made = [histogram(w.op.name, w) for w in self.model.weights]
            self._histograms = merge(made, collections=[]) if made else None

    def _write(self, logs: Logs, prefix: str, step: int) -> None:
        assert self._writer is not None
        for name, value in logs.items():
            if name in ("batch", "size"):
                continue
            event = Summary()
            event.value.add(tag=f"{prefix}{name}", simple_value=float(value))
            self._writer.add_summary(event, step)
        self._writer.flush()

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Writes the figures of a batch, if it is time."""
        if self.update_freq == "epoch":
            return
        self._seen += int((logs or {}).get("size", 1))
        if self.update_freq == "batch" or self._seen - self._written >= self.update_freq:
            self._written = self._seen
            self._write(logs or {}, "batch_", self._seen)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Writes the figures of an epoch, and histograms if it is time."""
        self._write(logs or {}, "epoch_", epoch)
        if self._histograms is not None and epoch % self.histogram_freq == 0:
            assert self._writer is not None
            self._writer.add_summary(get_session().run(self._histograms), epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


class TerminateOnNaN(Callback):
    """Ends training when the loss is no number."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            self.model.stop_training = True


__all__ = [
    "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint",
    "ReduceLROnPlateau", "TensorBoard", "TerminateOnNaN",
]  # fmt: skip
