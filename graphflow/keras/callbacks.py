"""`keras.callbacks`: what is called while a model trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.keras import backend

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
            if self.best_weights is not None:
                self.model.set_weights(self.best_weights)


class ModelCheckpoint(Callback):
    """Saves the weights after epochs; `filepath` may hold names such as "{epoch:02d}-{val_loss:.2f}"."""

    def __init__(
        self, filepath: str, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto", period: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        if not save_weights_only:
            raise ValueError("ModelCheckpoint saves weights: pass save_weights_only=True")
        self.filepath = str(filepath)
        self.monitor = monitor
        self.save_best_only = save_best_only
        self.period = period
        self._is_better = _better(monitor, mode)
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves, if it is time."""
        if (epoch + 1) % self.period:
            return
        value = (logs or {}).get(self.monitor)
        if self.save_best_only:
            if value is None or (self.best is not None and not self._is_better(value, self.best)):
                return
            self.best = value
        self.model.save_weights(self.filepath.format(epoch=epoch + 1, **(logs or {})))


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
        backend.set_value(rate, value)


class TerminateOnNaN(Callback):
    """Ends training when the loss is no number."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            self.model.stop_training = True


__all__ = [
    "Callback", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint",
    "TerminateOnNaN",
]  # fmt: skip
