"""Exporters: what is written after an evaluation."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from graphflow import gfile, logging
from graphflow.estimator.estimator import Estimator
from graphflow.summary.writer import summary_iterator

__all__ = ["BestExporter", "Exporter", "FinalExporter", "LatestExporter"]


class Exporter:
    """Writes something of an estimator when `train_and_evaluate` has evaluated it."""

    @property
    def name(self) -> str:
        """The name of the folder below `export` that it writes to."""
        raise NotImplementedError

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Any,
        is_the_final_export: bool,
    ) -> Any:
        """Writes; returns the folder, or None where there was nothing to write.

        Args:
          estimator: what to export.
          export_path: the folder to write to.
          checkpoint_path: the checkpoint that was evaluated.
          eval_result: the metrics by name.
          is_the_final_export: whether training has ended.
        """
        raise NotImplementedError


class _SavedModelExporter(Exporter):
    def __init__(self, name: str, receiver_fn: Any, assets_extra: Any, as_text: bool) -> None:
        self._name = name
        self._receiver_fn = receiver_fn
        self._assets_extra = assets_extra
        self._as_text = as_text

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self._name

    def _write(self, estimator: Estimator, export_path: str, checkpoint_path: str) -> Any:
        return estimator.export_savedmodel(
            export_path, self._receiver_fn, self._assets_extra, self._as_text, checkpoint_path
        )


class FinalExporter(_SavedModelExporter):
    """Exports once, at the end of training.

    Args:
      name: the name of the folder.
      serving_input_receiver_fn: returns a `ServingInputReceiver`.
      assets_extra: files to take along.
      as_text: whether to write text.
    """

    def __init__(
        self, name: str, serving_input_receiver_fn: Any, assets_extra: Any = None, as_text: bool = False
    ) -> None:
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text)

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Any,
        is_the_final_export: bool,
    ) -> Any:
        """Writes if training has ended."""
        if not is_the_final_export:
            return None
        logging.info("Performing the final export in the end of training.")
        return self._write(estimator, export_path, checkpoint_path)


class LatestExporter(_SavedModelExporter):
    """Exports after each evaluation, and keeps the newest.

    Args:
      name: the name of the folder.
      serving_input_receiver_fn: returns a `ServingInputReceiver`.
      assets_extra: files to take along.
      as_text: whether to write text.
      exports_to_keep: how many exports to keep; None: all.

    Raises:
      ValueError: `exports_to_keep` is below one.
    """

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: Any,
        assets_extra: Any = None,
        as_text: bool = False,
        exports_to_keep: int | None = 5,
    ) -> None:
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text)
        self._keep = _checked_count(exports_to_keep)

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Any,
        is_the_final_export: bool,
    ) -> Any:
        """Writes, and removes exports that are too old."""
        written = self._write(estimator, export_path, checkpoint_path)
        _remove_old(export_path, self._keep)
        return written


class BestExporter(_SavedModelExporter):
    """Exports where an evaluation is better than all before, those of earlier runs among them.

    Args:
      name: the name of the folder.
      serving_input_receiver_fn: returns a `ServingInputReceiver`.
      event_file_pattern: the summaries of evaluations below `model_dir` that tell the best before; such as
        "eval/*.tfevents.*".
      compare_fn: takes `best_eval_result` and `current_eval_result`; returns whether the second is better.
        Default: a lower loss.
      assets_extra: files to take along.
      as_text: whether to write text.
      exports_to_keep: how many exports to keep; None: all.
    """

    def __init__(
        self,
        name: str = "best_exporter",
        serving_input_receiver_fn: Any = None,
        event_file_pattern: str | None = None,
        compare_fn: Callable[..., bool] | None = None,
        assets_extra: Any = None,
        as_text: bool = False,
        exports_to_keep: int | None = 5,
    ) -> None:
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text)
        self._pattern = event_file_pattern
        self._better = compare_fn or _lower_loss
        self._keep = _checked_count(exports_to_keep)
        self._best: Mapping[str, Any] | None = None
        self._known = False

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: Any,
        is_the_final_export: bool,
    ) -> Any:
        """Writes if the evaluation is the best."""
        if not self._known:
            self._known = True
            if self._pattern:
                self._best = self._best_before(os.path.join(estimator.model_dir, self._pattern))
        if self._best is not None and not self._better(
            best_eval_result=self._best, current_eval_result=eval_result
        ):
            return None
        logging.info("Performing best model export.")
        self._best = dict(eval_result)
        written = self._write(estimator, export_path, checkpoint_path)
        _remove_old(export_path, self._keep)
        return written

    def _best_before(self, pattern: str) -> Mapping[str, Any] | None:
        best: Mapping[str, Any] | None = None
        for path in gfile.Glob(pattern):
            for event in summary_iterator(path):
                found = {
                    value.tag: value.simple_value
                    for value in event.summary.value
                    if value.HasField("simple_value")
                }
                if found and (best is None or self._better(best_eval_result=best, current_eval_result=found)):
                    best = found
        return best


def _lower_loss(best_eval_result: Mapping[str, Any], current_eval_result: Mapping[str, Any]) -> bool:
    for which, result in (
        ("best_eval_result", best_eval_result),
        ("current_eval_result", current_eval_result),
    ):
        if "loss" not in result:
            raise ValueError(
                f"{which} has no 'loss' to compare, only {json.dumps(sorted(result))}; give a compare_fn"
            )
    return bool(best_eval_result["loss"] > current_eval_result["loss"])


def _checked_count(count: int | None) -> int | None:
    if count is not None and count <= 0:
        raise ValueError(f"`exports_to_keep`, if provided, must be a positive number, got {count}")
    return count


def _remove_old(folder: str, keep: int | None) -> None:
    if keep is None:
        return
    for name in sorted((n for n in os.listdir(folder) if n.isdigit()), key=int)[:-keep]:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
