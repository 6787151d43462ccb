"""The generated modules are those of proto/, and their wire format is TensorFlow's."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from tests.tensorflow_process import TensorFlowProcess

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "proto").glob("*.proto"))
PACKAGE = "graphflow.serialization.proto"


def modules() -> dict[str, Any]:
    return {name: importlib.import_module(f"{PACKAGE}.{name}_pb2") for name in NAMES}


def test_every_definition_has_its_module_and_the_other_way_round() -> None:
    folder = ROOT / PACKAGE.replace(".", "/")
    assert {path.name for path in folder.glob("*_pb2.py")} == {f"{name}_pb2.py" for name in NAMES}
    assert {path.name for path in folder.glob("*_pb2.pyi")} == {f"{name}_pb2.pyi" for name in NAMES}


def test_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    """What any protoc makes of proto/ is what the modules hold, whatever version wrote them."""
    pytest.importorskip("grpc_tools", reason="needs the extra `test`")
    sys.path.insert(0, str(ROOT / "proto"))
    try:
        arguments = importlib.import_module("generate").protoc_arguments(tmp_path)
    finally:
        sys.path.pop(0)
    described = tmp_path / "all.pb"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_out={described}", *arguments],
        check=True,
        cwd=ROOT,
    )
    compiled = {
        file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file
    }
    for name, module in modules().items():
        path = f"{PACKAGE.replace('.', '/')}/{name}"
        held = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        fresh = compiled[f"{path}.proto"]
        for message in (held, fresh):
            for field in _fields(message):
                field.ClearField("json_name")
        assert held == fresh, f"{path}_pb2.py is stale: run python proto/generate.py"
        assert (tmp_path / f"{path}_pb2.pyi").exists()


def _fields(file: Any) -> Any:
    stack = list(file.message_type)
    while stack:
        message = stack.pop()
        stack.extend(message.nested_type)
        yield from message.field


def _describe(message: Any, found: dict[str, Any]) -> None:
    found[message.full_name.split(".", 1)[1]] = {
        field.name: [field.number, field.type, bool(field.is_repeated), field.is_packed]
        for field in message.fields
    }
    for nested in message.nested_types:
        _describe(nested, found)


_REFEREE = """
import json, sys
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import (graph_pb2, step_stats_pb2, summary_pb2, tensor_slice_pb2, types_pb2,
                                       variable_pb2)
from tensorflow.core.protobuf import (config_pb2, control_flow_pb2, meta_graph_pb2, queue_runner_pb2,
                                      saved_model_pb2, saver_pb2, tensor_bundle_pb2)
from tensorflow.core.util import event_pb2, saved_tensor_slice_pb2
from tensorflow.python.training import checkpoint_state_pb2
from google.protobuf import descriptor_pool
import graphflow.serialization.proto.event_pb2, graphflow.serialization.proto.config_pb2
import graphflow.serialization.proto.saved_model_pb2
from tensorflow_serving.apis import (classification_pb2, get_model_metadata_pb2, get_model_status_pb2,
                                     inference_pb2, model_management_pb2,
                                     predict_pb2, prediction_log_pb2, regression_pb2)
import tritonclient.grpc.service_pb2
names = json.load(sys.stdin)
pool = descriptor_pool.Default()
out = {}
for name in names:
    package = "" if name.startswith("inference.") else "tensorflow."
    message = pool.FindMessageTypeByName(package + name)
    out[name] = {f.name: [f.number, f.type, bool(f.is_repeated), f.is_packed] for f in message.fields}
json.dump({"messages": out, "dtypes": dict(types_pb2.DataType.items())}, sys.stdout)
"""


# What only a server reads, the package for clients does not hold.
_ON_THE_SERVERS_SIDE = ("serving.BatchingParameters",)


@pytest.mark.tensorflow
def test_wire_format_is_tensorflows_and_both_load_in_one_process(
    tensorflow_process: TensorFlowProcess,
) -> None:
    ours: dict[str, Any] = {}
    for module in modules().values():
        for message in module.DESCRIPTOR.message_types_by_name.values():
            _describe(message, ours)
    for name in _ON_THE_SERVERS_SIDE:
        del ours[name]
    told = tensorflow_process.run(_REFEREE, folder=ROOT, path=(ROOT,), given=json.dumps(sorted(ours)))
    theirs = json.loads(told)
    for name, fields in ours.items():
        for field, what in fields.items():
            if (name, field) == ("serving.StatusProto", "error_code"):
                continue  # an enumeration there, a number here: the same on the wire
            assert theirs["messages"][name].get(field) == what, f"{name}.{field}"
    types = importlib.import_module(f"{PACKAGE}.types_pb2")
    assert dict(types.DataType.items()) == theirs["dtypes"]
