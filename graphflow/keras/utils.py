"""`keras.utils`: labels as rows, batches by number, progress, files, things of one's own by name."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.keras.identifiers import custom_object_scope, custom_objects

Array = np.ndarray[Any, Any]


def to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float32") -> Array:
    """Returns rows with a one at each label's place, [..., num_classes]."""
    labels = np.array(y, dtype="int")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels.reshape(labels.shape[:-1])
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    rows: Array = np.eye(count, dtype=dtype)[labels]
    return rows


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """Returns an array with norms of one along an axis."""
    norms = np.atleast_1d(np.linalg.norm(x, order, axis))
    norms[norms == 0] = 1
    result: Array = np.asarray(x) / np.expand_dims(norms, axis)
    return result


class Sequence:
    """Batches by number: a class of one's own gives `__getitem__` (a batch) and `__len__` (their number)."""

    def __getitem__(self, index: int) -> Any:
        """Returns a batch, `(x, y)` or `(x, y, weights)`."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Returns the number of batches of an epoch."""
        raise NotImplementedError

    def on_epoch_end(self) -> None:
        """Called after each epoch."""

    def __iter__(self) -> Any:
        """Yields each batch once."""
        for i in range(len(self)):
            yield self[i]


class Progbar:
    """A progress bar: `update(done, [(name, value), …])`.

    Args:
      target: the number at the end; None where it is not known.
      width: the width of the bar.
      verbose: 0 says nothing, 1 draws, 2 writes a line at the end.
      interval: the seconds between two drawings.
      stateful_metrics: names whose last value is shown, not the mean.
    """

    def __init__(
        self, target: int | None, width: int = 30, verbose: int = 1, interval: float = 0.05,
        stateful_metrics: Any = None,
    ) -> None:  # fmt: skip
        self.target, self.width, self.verbose, self.interval = target, width, verbose, interval
        self._last_only = set(stateful_metrics or ())
        self._sums: dict[str, tuple[float, float]] = {}
        self._seen = 0
        self._began = time.perf_counter()
        self._drawn = 0.0

    def update(self, current: int, values: Any = None) -> None:
        """Says how much is done, and what was found since."""
        step = current - self._seen
        self._seen = current
        for name, value in values or ():
            total, count = self._sums.get(name, (0.0, 0.0))
            last = name in self._last_only
            self._sums[name] = (float(value), 1.0) if last else (total + value * step, count + step)
        now = time.perf_counter()
        over = self.target is not None and current >= self.target
        if not self.verbose or not (over or (self.verbose == 1 and now - self._drawn >= self.interval)):
            return
        self._drawn = now
        told = "".join(
            f" - {name}: {total / max(count, 1e-9):.4f}" for name, (total, count) in self._sums.items()
        )
        full = int(self.width * min(1.0, current / self.target)) if self.target else 0
        bar = f"[{'=' * full}{'.' * (self.width - full)}]" if self.verbose == 1 and self.target else ""
        begin = "\r" if self.verbose == 1 else ""
        end = "\n" if over else ""
        sys.stdout.write(f"{begin}{current}/{self.target or '?'} {bar} - {now - self._began:.0f}s{told}{end}")
        sys.stdout.flush()

    def add(self, n: int, values: Any = None) -> None:
        """Says that so much more is done."""
        self.update(self._seen + n, values)


def get_file(
    fname: str, origin: str, untar: bool = False, md5_hash: str | None = None, file_hash: str | None = None,
    cache_subdir: str = "datasets", hash_algorithm: str = "auto", extract: bool = False,
    archive_format: str = "auto", cache_dir: str | None = None,
) -> str:  # fmt: skip
    """Returns the path of a file in Keras's folder. Nothing is fetched.

    Raises:
      FileNotFoundError: if it is not there; what to put where is said.
    """
    del md5_hash, file_hash, hash_algorithm, extract, archive_format
    path = Path(cache_dir or Path.home() / ".keras") / cache_subdir / fname
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there, and graphflow fetches nothing: put {origin} there")
    return str(path)


def multi_gpu_model(model: Any, gpus: Any, cpu_merge: bool = True, cpu_relocation: bool = False) -> Any:
    """Returns the model as it is: there is one device."""
    del gpus, cpu_merge, cpu_relocation
    return model


def get_custom_objects() -> dict[str, Any]:
    """Returns the table of things of one's own that names stand for; it may be changed."""
    return custom_objects()


class CustomObjectScope:
    """Inside, names stand also for what is in some tables."""

    def __init__(self, *args: Mapping[str, Any]) -> None:
        self._tables = args

    def __enter__(self) -> CustomObjectScope:
        self._scope = custom_object_scope(*self._tables)
        self._scope.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._scope.__exit__(*error)


__all__ = [
    "CustomObjectScope", "Progbar", "Sequence", "custom_object_scope", "get_custom_objects", "get_file",
    "multi_gpu_model", "normalize", "to_categorical",
]  # fmt: skip
