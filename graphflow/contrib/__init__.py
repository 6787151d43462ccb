"""`tf.contrib`: what programs of TensorFlow 1 use of it, a module per namespace, loaded when first asked for.

Long paths below `contrib`, such as `contrib.layers.python.layers.utils`, lead to the same things.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from graphflow.namespace import MissingNameError, lazy

NAMESPACES = (
    "crf", "data", "distribute", "distributions", "estimator", "feature_column", "framework",
    "graph_editor", "layers", "learn", "legacy_seq2seq", "lookup",
    "losses", "metrics", "nccl", "opt", "rnn", "seq2seq", "signal", "slim", "staging", "summary", "tensorboard",
    "training",
)  # fmt: skip
# Namespaces that stand elsewhere under the same name.
_PASSED_ON = {"tpu": "graphflow.estimator.tpu"}
# Parts of long paths: files of TensorFlow that are none here.
_FILES = frozenset(
    """
    python layers ops framework util training learn arg_scope variables checkpoint_utils initializers regularizers
    optimizers summaries utils normalization feature_column tensor_util core_rnn_cell rnn_cell rnn lstm_ops gru_ops
    attention_wrapper basic_decoder beam_search_decoder beam_search_ops decoder helper loss seq2seq hparam
    evaluation preprocessing slim learning model_analyzer nets add_arg_scope metrics metric_ops losses loss_ops crf
    lookup lookup_ops fused_rnn_cell core_rnn bijectors distribution bucket_ops data_flow_ops external_optimizer set_ops
    core_rnn_cell_impl monitored_session nccl_ops
    """.split()
)


class Deep(ModuleType):
    """A long path below one of the namespaces: what is asked of it is what the namespace has."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(name, f"TensorFlow's `{name}`, by names of `graphflow.contrib.{namespace}`.")
        self._namespace = namespace
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        # The last part of a path is a module if there is one of that name, and a function otherwise.
        module = importlib.import_module(f"graphflow.contrib.{self._namespace}")
        tail = self.__name__.rpartition(".")[2]
        inner = getattr(module, tail, None) if tail != "python" else None
        for place in (inner, module):
            found = getattr(place, name, None) if place is not None else None
            # A module that another one has merely imported is no part of its path.
            passed = isinstance(found, ModuleType) and name in _FILES
            if found is not None and not (
                passed and (place is module or not found.__name__.startswith(__name__))
            ):
                return found
        if name in _FILES:
            return deep(f"{self.__name__}.{name}", self._namespace)
        raise MissingNameError(self.__name__, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function that the file is named after: TensorFlow's packages hide such files behind them."""
        module = importlib.import_module(f"graphflow.contrib.{self._namespace}")
        return getattr(module, self.__name__.rpartition(".")[2])(*args, **kwargs)


def deep(name: str, namespace: str) -> ModuleType:
    """Returns the module for a long path, the same one each time."""
    found = sys.modules.get(name)
    if found is None:
        found = sys.modules[name] = Deep(name, namespace)
    return found


_load, _names = lazy(__name__, NAMESPACES)


def __getattr__(name: str) -> Any:
    if name in _PASSED_ON:
        return importlib.import_module(_PASSED_ON[name])
    return _load(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *_PASSED_ON})
