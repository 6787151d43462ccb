"""Deep paths into TensorFlow, such as `tensorflow.python.ops.array_ops`: one table of what they are here.

A path stands for a few modules of graphflow that are searched in turn. Some names are spelt otherwise there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from graphflow.namespace import MissingNameError

_ROOT = "graphflow"

# Below `tensorflow.python.`: where names are looked for, in this order; "" is graphflow itself.
_PYTHON: dict[str, tuple[str, ...]] = {
    "client.device_lib": ("client_devices",),
    "client.session": ("", "fetches"),
    "client.timeline": ("timeline",),
    "data": ("data",),
    "data.ops.dataset_ops": ("data",),
    "data.util.nest": ("nest",),
    "debug": ("debug",),
    "debug.lib.debug_data": ("debug",),
    "debug.wrappers.local_cli_wrapper": ("debug",),
    "eager.context": ("",),
    "framework.constant_op": ("",),
    "framework.device": ("graph", ""),
    "framework.device_spec": ("device_spec",),
    "framework.dtypes": ("dtypes",),
    "framework.errors": ("errors",),
    "framework.errors_impl": ("errors",),
    "framework.function": ("",),
    "framework.graph_util": ("graph_util",),
    "framework.graph_util_impl": ("graph_util",),
    "framework.importer": ("",),
    "framework.meta_graph": ("train", ""),
    "framework.ops": ("", "graph"),
    "framework.random_seed": ("",),
    "framework.smart_cond": ("keras.smart_cond",),
    "framework.sparse_tensor": ("",),
    "framework.tensor_shape": ("shapes",),
    "framework.tensor_spec": ("",),
    "framework.tensor_util": ("opdef", ""),
    "framework.test_util": ("test",),
    "framework.versions": ("",),
    "keras": ("keras",),
    "layers": ("layers",),
    "layers.base": ("layers",),
    "layers.convolutional": ("layers",),
    "layers.core": ("layers",),
    "layers.layers": ("layers",),
    "layers.normalization": ("layers",),
    "layers.pooling": ("layers",),
    "layers.utils": ("keras.smart_cond",),
    "lib.io.file_io": ("gfile",),
    "lib.io.tf_record": ("python_io",),
    "ops.array_ops": ("",),
    "ops.bitwise_ops": ("bitwise",),
    "ops.check_ops": ("",),
    "ops.clip_ops": ("",),
    "ops.confusion_matrix": ("broadcast_weights", "math"),
    "ops.constant_op": ("",),
    "ops.control_flow_assert": ("ops.control", ""),
    "ops.control_flow_case": ("",),
    "ops.control_flow_ops": ("ops.control", "compat.switches", ""),
    "ops.ctc_ops": ("nn",),
    "ops.custom_gradient": ("",),
    "ops.data_flow_ops": ("ops.staging", ""),
    "ops.embedding_ops": ("nn",),
    "ops.functional_ops": ("",),
    "ops.gen_array_ops": ("",),
    "ops.gen_image_ops": ("raw_ops",),
    "ops.gen_math_ops": ("",),
    "ops.gen_nn_ops": ("nn",),
    "ops.gradient_checker": ("test",),
    "ops.gradients": ("",),
    "ops.gradients_impl": ("",),
    "ops.gradients_util": ("",),
    "ops.image_ops": ("image",),
    "ops.image_ops_impl": ("image",),
    "ops.init_ops": ("initializers", ""),
    "ops.io_ops": ("",),
    "ops.linalg_ops": ("linalg", ""),
    "ops.logging_ops": ("",),
    "ops.lookup_ops": ("lookup", ""),
    "ops.losses.losses": ("losses",),
    "ops.losses.losses_impl": ("losses",),
    "ops.losses.util": ("losses",),
    "ops.map_fn": ("",),
    "ops.math_ops": ("", "math"),
    "ops.metrics": ("metrics",),
    "ops.metrics_impl": ("metrics",),
    "ops.nn": ("nn", ""),
    "ops.nn_impl": ("nn",),
    "ops.nn_ops": ("nn", ""),
    "ops.numerics": ("",),
    "ops.op_selector": ("contrib.graph_editor",),
    "ops.parsing_ops": ("",),
    "ops.partitioned_variables": ("",),
    "ops.random_ops": ("", "random"),
    "ops.resource_variable_ops": ("",),
    "ops.rnn": ("nn",),
    "ops.rnn_cell": ("nn.rnn_cell",),
    "ops.rnn_cell_impl": ("nn.rnn_cell",),
    "ops.script_ops": ("",),
    "ops.session_ops": ("",),
    "ops.sparse_ops": ("", "sparse"),
    "ops.special_math_ops": ("", "math"),
    "ops.standard_ops": ("",),
    "ops.state_ops": ("",),
    "ops.string_ops": ("", "strings"),
    "ops.summary_ops": ("summary",),
    "ops.template": ("",),
    "ops.tensor_array_ops": ("",),
    "ops.variable_scope": ("",),
    "ops.variables": ("",),
    "ops.weights_broadcast_ops": ("broadcast_weights",),
    "ops.while_loop": ("",),
    "ops.while_v2": ("",),
    "platform.app": ("app",),
    "platform.flags": ("flags",),
    "platform.gfile": ("gfile",),
    "platform.googletest": ("test",),
    "platform.test": ("test",),
    "platform.tf_logging": ("logging",),
    "pywrap_tensorflow": ("train", "summary"),
    "saved_model": ("saved_model",),
    "saved_model.builder": ("saved_model",),
    "saved_model.loader": ("saved_model",),
    "saved_model.signature_constants": ("saved_model.signature_constants",),
    "saved_model.signature_def_utils": ("saved_model.signature_def_utils",),
    "saved_model.tag_constants": ("saved_model.tag_constants",),
    "saved_model.utils": ("saved_model.utils",),
    "summary.summary": ("summary",),
    "summary.summary_iterator": ("train",),
    "summary.writer.writer": ("summary",),
    "tf2": ("behavior",),
    "training": ("train",),
    "training.adadelta": ("train",),
    "training.adagrad": ("train",),
    "training.adam": ("train",),
    "training.basic_session_run_hooks": ("train",),
    "training.checkpoint_utils": ("train",),
    "training.coordinator": ("train",),
    "training.ftrl": ("train",),
    "training.gradient_descent": ("train",),
    "training.input": ("train",),
    "training.learning_rate_decay": ("train",),
    "training.momentum": ("train",),
    "training.monitored_session": ("train",),
    "training.moving_averages": ("train.moving_averages",),
    "training.optimizer": ("train",),
    "training.queue_runner": ("train",),
    "training.queue_runner_impl": ("train",),
    "training.rmsprop": ("train",),
    "training.saver": ("train",),
    "training.session_run_hook": ("train",),
    "training.slot_creator": ("train.slot_creator",),
    "training.summary_io": ("train", "summary"),
    "training.training": ("train",),
    "training.training_util": ("train",),
    "util.all_util": ("compat.documentation",),
    "util.compat": ("compat",),
    "util.deprecation": ("compat.deprecation",),
    "util.nest": ("nest",),
}

# Names that are spelt otherwise here, or stand elsewhere: path and name to module and name.
_SPELT: dict[tuple[str, str], tuple[str, str]] = {
    ("framework.dtypes", "bool"): ("", "bool"),
    ("framework.function", "Defun"): ("functional_ops", "Defun"),
    ("framework.ops", "set_shapes_for_outputs"): ("compat.shapes", "set_shapes_for_outputs"),
    ("framework.ops", "name_scope_v1"): ("", "name_scope"),
    ("framework.tensor_shape", "as_shape"): ("shapes", "as_shape"),
    ("framework.tensor_shape", "scalar"): ("compat.shapes", "scalar"),
    ("framework.tensor_shape", "vector"): ("compat.shapes", "vector"),
    ("framework.tensor_shape", "matrix"): ("compat.shapes", "matrix"),
    ("framework.tensor_shape", "unknown_shape"): ("compat.shapes", "unknown_shape"),
    ("framework.tensor_util", "MakeNdarray"): ("", "make_ndarray"),
    ("layers.utils", "constant_value"): ("keras.smart_cond", "smart_constant_value"),
    ("ops.rnn", "_transpose_batch_time"): ("contrib.rnn.cells", "transpose_batch_time"),
    ("ops.rnn", "rnn_cell_impl"): ("nn", "rnn_cell"),
    ("ops.rnn_cell_impl", "_BIAS_VARIABLE_NAME"): ("nn.rnn_cell", "_BIAS"),
    ("ops.rnn_cell_impl", "_Linear"): ("contrib.rnn.older_names", "Linear"),
    ("ops.rnn_cell_impl", "_WEIGHTS_VARIABLE_NAME"): ("nn.rnn_cell", "_KERNEL"),
    ("ops.rnn_cell_impl", "_concat"): ("contrib.rnn.older_names", "joined_sizes"),
    ("ops.rnn_cell_impl", "_like_rnncell"): ("contrib.rnn.older_names", "like_rnncell"),
    ("ops.rnn_cell_impl", "_linear"): ("contrib.rnn.cells", "linear"),
    ("ops.resource_variable_ops", "ResourceVariable"): ("", "Variable"),
    ("ops.variables", "PartitionedVariable"): ("partitioned_variables", "PartitionedVariable"),
    ("ops.variables", "VariableV1"): ("", "Variable"),
    ("pywrap_tensorflow", "EventsWriter"): ("summary.writer", "EventsWriter"),
    ("training.monitored_session", "_HookedSession"): ("train.monitored_session", "HookedSession"),
    ("tf2", "enabled"): ("", "executing_eagerly"),
}

# Python's own modules that stand in for TensorFlow's wrappers of them.
_STANDARD = {
    "util.tf_contextlib": "contextlib",
    "util.tf_decorator": "compat.decorator",
    "util.tf_inspect": "compat.inspection",
}

# Protocol buffers, below `tensorflow.core.`.
_CORE_FOLDERS = ("example", "framework", "protobuf", "util")


class Path(ModuleType):
    """A deep path of TensorFlow as a module: what is asked of it is looked for where the table says."""

    def __init__(self, name: str, key: str, where: tuple[str, ...]) -> None:
        super().__init__(name, f"TensorFlow's `{name}`, by names of graphflow.")
        self._key = key
        self._where = where
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        below = f"{self._key}.{name}" if self._key else name
        found = _path(below)
        # A path is what it leads to first: `ops.nn` is a module, and so is its `rnn`.
        for module in self._where:
            try:
                value = getattr(_module(module), name)
            except (AttributeError, ModuleNotFoundError):
                continue
            if not (found is not None and isinstance(value, ModuleType)):
                return value
        spelt = _SPELT.get((self._key, name))
        if spelt is not None:
            return getattr(_module(spelt[0]), spelt[1])
        if found is not None:
            return found
        raise MissingNameError(self.__name__, name)

    def __dir__(self) -> list[str]:
        return sorted({name for module in self._where for name in dir(_module(module)) if name[0] != "_"})


def _module(name: str) -> ModuleType:
    """The module of graphflow of that name; "" is graphflow itself."""
    if not name:
        return sys.modules[_ROOT]
    return importlib.import_module(f"{_ROOT}.{name}")


_made: dict[str, ModuleType] = {}


def _path(key: str) -> ModuleType | None:
    """The module for a path below `tensorflow.python.`, or None if the table has neither it nor anything below."""
    found = _made.get(key)
    if found is not None:
        return found
    if key in _STANDARD:
        name = _STANDARD[key]
        module = importlib.import_module(f"{_ROOT}.{name}" if name.startswith("compat.") else name)
    elif key in _PYTHON:
        module = Path(f"{_ROOT}.python.{key}", key, _PYTHON[key])
    elif not key or any(known.startswith(key + ".") for known in (*_PYTHON, *_STANDARD)):
        module = Path(f"{_ROOT}.python{'.' if key else ''}{key}", key, ())
    else:
        return None
    _made[key] = module
    sys.modules.setdefault(module.__name__, module)
    return module


python = _path("")


class _Core(ModuleType):
    """`tensorflow.core`: the modules of protocol buffers."""

    def __getattr__(self, name: str) -> Any:
        if name in _CORE_FOLDERS:
            made = _Core(f"{self.__name__}.{name}")
            made.__path__ = []
            setattr(self, name, made)
            return made
        if name.endswith("_pb2"):
            try:
                return importlib.import_module(f"{_ROOT}.serialization.proto.{name}")
            except ModuleNotFoundError:
                pass
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


core = _Core(f"{_ROOT}.core")
core.__path__ = []


def public_path(name: str) -> Any:
    """Returns what a name below `tensorflow` stands for: a namespace, a deep path, or a thing in one.

    Args:
      name: such as "nn", "python.ops.array_ops" or "compat.v1.layers.dense".

    Raises:
      AttributeError: if there is nothing of that name; the text says what is known of it.
    """
    parts = [part for part in name.split(".") if part]
    while parts[:2] in (["compat", "v1"], ["compat", "v2"]):
        parts = parts[2:]
    value: Any = sys.modules[_ROOT]
    for part in parts:
        value = getattr(value, part)
    return value


def known_paths() -> Mapping[str, tuple[str, ...]]:
    """Returns the table of paths below `tensorflow.python.`."""
    return _PYTHON


__all__ = ["Path", "core", "known_paths", "public_path", "python"]
