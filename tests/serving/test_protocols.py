"""Both protocols over HTTP and gRPC, byte by byte: paths, codes, datatypes and forms of tensors, in tables."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from graphflow.serialization.proto import model_service_pb2, open_inference_pb2, prediction_service_pb2
from graphflow.serialization.tensor_proto import array_to_proto, make_ndarray
from graphflow.serving.bodies import PACKED_FROM
from graphflow.serving.grpc_server import GrpcServer
from graphflow.serving.manager import ModelManager, State
from graphflow.serving.open_inference_grpc import InferenceService
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from graphflow.serving.tensorflow_grpc import services
from tests.serving.models import client_at, rest

BF16 = gf.bfloat16.numpy
# Two elements of each datatype, and the field that carries them over gRPC; None for what travels raw only.
VALUES: dict[str, tuple[Any, str | None]] = {
    "BF16": (np.array([1.5, -2], BF16), None),
    "BOOL": (np.array([True, False]), "bool_contents"),
    "BYTES": (np.array([b"a\0", b""], object), "bytes_contents"),
    "FP16": (np.array([0.5, -65504], np.float16), None),
    "FP32": (np.array([1e-40, 3.4e38], np.float32), "fp32_contents"),
    "FP64": (np.array([0.1, -1e300]), "fp64_contents"),
    "INT16": (np.array([-32768, 32767], np.int16), "int_contents"),
    "INT32": (np.array([-(2**31), 2**31 - 1], np.int32), "int_contents"),
    "INT64": (np.array([-(2**63), 2**63 - 1], np.int64), "int64_contents"),
    "INT8": (np.array([-128, 127], np.int8), "int_contents"),
    "UINT16": (np.array([0, 65535], np.uint16), "uint_contents"),
    "UINT32": (np.array([0, 2**32 - 1], np.uint32), "uint_contents"),
    "UINT64": (np.array([0, 2**64 - 1], np.uint64), "uint64_contents"),
    "UINT8": (np.array([0, 255], np.uint8), "uint_contents"),
}
PREDICT, STATUS = (
    "tensorflow.serving.PredictionService/Predict",
    "tensorflow.serving.ModelService/GetModelStatus",
)
INFER = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A model that gives back a tensor of each datatype, and one of two axes."""
    base = tmp_path_factory.mktemp("models")
    predict = gf.saved_model.signature_def_utils.predict_signature_def
    with gf.Graph().as_default(), gf.Session() as session:
        given = {
            kind: gf.placeholder(gf.string if kind == "BYTES" else gf.as_dtype(values.dtype), [None])
            for kind, (values, _) in VALUES.items()
        }
        x = gf.placeholder(gf.float32, [None, 2], name="x")
        signatures = {
            "serving_default": predict({"x": x}, {"y": gf.negative(x), "b": gf.reduce_sum(x, 1)}),
            "all": predict(given, {f"of {kind}": gf.identity(value) for kind, value in given.items()}),
        }
        typed = {kind: value for kind, value in given.items() if VALUES[kind][1] is not None}
        outputs = {f"of {kind}": gf.identity(value) for kind, value in typed.items()}
        signatures["typed"] = predict(typed, outputs)
        builder = gf.saved_model.Builder(str(base / "3"))
        builder.add_meta_graph_and_variables(session, [gf.saved_model.SERVING], signatures)
        builder.save()
    models = ModelManager([ModelConfig("m d", str(base), labels={"best one": 3})], poll_seconds=0)
    models.start()
    yield Service(models)
    models.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with rest(service) as port, client_at(port) as client:
        yield client


@pytest.fixture(scope="module")
def channel(service: Service) -> Iterator[grpc.Channel]:
    server = GrpcServer([*services(service), InferenceService(service)], "127.0.0.1", 0)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    server.stop(0)


def call(channel: grpc.Channel, method: str, request: Any, kind: Any) -> Any:
    return kind.FromString(channel.unary_unary(f"/{method}")(request.SerializeToString()))


def refusal(channel: grpc.Channel, method: str, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{method}")(request.SerializeToString())
    return caught.value.code().name, caught.value.details()  # type: ignore[attr-defined]


# -- what is said of errors, by every protocol ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (400, "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE"), (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (409, "ALREADY_EXISTS ABORTED"), (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"), (500, "UNKNOWN INTERNAL DATA_LOSS"), (501, "UNIMPLEMENTED"), (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)  # fmt: skip
def test_codes(
    service: Service,
    client: httpx.Client,
    channel: grpc.Channel,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    names: str,
) -> None:
    predict, infer = prediction_service_pb2.PredictRequest(), open_inference_pb2.ModelInferRequest()
    predict.model_spec.name = infer.model_name = "m d"
    for name in names.split():
        error = errors.OpError(None, None, f"a {name}", getattr(errors, name))

        def hold(target: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(service, "hold", hold)
        for path in ("/v1/models/m%20d:predict", "/v2/models/m%20d/infer"):
            answer = client.post(path, content=b"{}")
            assert (answer.status_code, answer.json()) == (status, {"error": f"a {name}"})
        for method, request in ((PREDICT, predict), (INFER, infer)):
            assert refusal(channel, method, request) == (name, f"a {name}")


# -- TensorFlow Serving's ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["", "/versions/3", "/labels/best%20one", "/LABELS/best%20one"])
def test_versions_and_labels_in_paths(client: httpx.Client, which: str) -> None:
    path = f"/v1/models/m%20d{which}"
    states = client.get(path).json()["model_version_status"]
    assert [(item["version"], item["state"]) for item in states] == [("3", "AVAILABLE")]
    assert client.get(f"{path}/metadata").json()["model_spec"]["name"] == "m d"
    answer = client.post(f"{path}:predict", json={"inputs": [[1, 2]]})
    assert answer.json() == {"outputs": {"y": [[-1.0, -2.0]], "b": [3.0]}}
    answer = client.post(f"{path}:predict", json={"instances": [[1, 2], [3, 4]]})
    assert answer.json() == {"predictions": [{"y": [-1.0, -2.0], "b": 3.0}, {"y": [-3.0, -4.0], "b": 7.0}]}


def test_a_version_and_a_label_are_no_path(client: httpx.Client) -> None:
    path = "/v1/models/m%20d/versions/3/labels/best%20one:predict"
    answer = client.post(path, json={"inputs": [[1, 2]]})
    assert answer.status_code == 400 and answer.json()["error"] == f"Malformed request: POST {path}"


def spec(request: Any, **fields: Any) -> Any:
    request.model_spec.name = fields.pop("name", "m d")
    if "version" in fields:
        request.model_spec.version.value = fields.pop("version")
    for name, value in fields.items():
        setattr(request.model_spec, name, value)
    return request


@pytest.mark.parametrize(
    "which", [{}, {"version": 3}, {"version": 0}, {"version_label": "best one"}], ids=str
)
def test_predict_over_grpc(channel: grpc.Channel, which: dict[str, Any]) -> None:
    request = spec(prediction_service_pb2.PredictRequest(), **which, signature_name="all")
    for kind, (values, _) in VALUES.items():
        request.inputs[kind].CopyFrom(array_to_proto(values))
    answer = call(channel, PREDICT, request, prediction_service_pb2.PredictResponse)
    ran = answer.model_spec
    assert (ran.name, ran.version.value, ran.signature_name) == ("m d", 3, "all")
    assert answer.outputs.keys() == {f"of {kind}" for kind in VALUES}
    for kind, (values, _) in VALUES.items():
        assert make_ndarray(answer.outputs[f"of {kind}"]).tolist() == values.tolist(), kind


def test_status_and_reload_over_grpc(channel: grpc.Channel, service: Service) -> None:
    assert {state.name: state.value for state in State} == {
        "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50,
    }  # fmt: skip
    response = model_service_pb2.GetModelStatusResponse
    for which in ({}, {"version": 3}, {"version_label": "best one"}):
        request = spec(model_service_pb2.GetModelStatusRequest(), **which)
        (status,) = call(channel, STATUS, request, response).model_version_status
        assert (status.version, status.state) == (3, 30)
        assert (status.status.error_code, status.status.error_message) == (0, "")
    unknown = spec(model_service_pb2.GetModelStatusRequest(), name="n")
    assert refusal(channel, STATUS, unknown) == ("NOT_FOUND", "Could not find any versions of model n")
    method = "tensorflow.serving.ModelService/HandleReloadConfigRequest"
    reload = model_service_pb2.ReloadConfigRequest()
    kept = service.models._configs["m d"]
    listed = reload.config.model_config_list.config.add(name="m d", base_path=kept.base_path)
    for label, code in (("best one", errors.OK), ("another", errors.FAILED_PRECONDITION)):
        listed.version_labels[label] = 3 if code == errors.OK else 4
        answer = call(channel, method, reload, model_service_pb2.ReloadConfigResponse)
        assert answer.status.error_code == code
        assert ("assign label to 4 of model m d" in answer.status.error_message) == (code != errors.OK)
    assert service.models.names() == ["m d"]


def _multi(*tasks: tuple[str, str]) -> Any:
    request = prediction_service_pb2.MultiInferenceRequest()
    for name, signature in tasks:
        task = request.tasks.add(method_name="tensorflow/serving/classify")
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return request


def _metadata(*fields: str) -> Any:
    return spec(prediction_service_pb2.GetModelMetadataRequest(metadata_field=fields))


@pytest.mark.parametrize(
    ("method", "request_", "code", "text"),
    [
        ("Predict", prediction_service_pb2.PredictRequest(), "INVALID_ARGUMENT", "it has no model name"),
        ("Predict", spec(prediction_service_pb2.PredictRequest(), version=-1), "INVALID_ARGUMENT", "version: -1"),
        ("Predict", spec(prediction_service_pb2.PredictRequest(), version=4), "NOT_FOUND",
         "Servable not found for request: Specific(m d, 4)"),
        ("Predict", spec(prediction_service_pb2.PredictRequest(), version_label="new"), "INVALID_ARGUMENT",
         "Unrecognized servable version label: new"),
        ("Predict", spec(prediction_service_pb2.PredictRequest(), signature_name="s"), "INVALID_ARGUMENT",
         'Serving signature name: "s" not found in signature def'),
        ("Classify", spec(prediction_service_pb2.ClassificationRequest()), "INVALID_ARGUMENT", "Input is empty"),
        ("Regress", spec(prediction_service_pb2.RegressionRequest()), "INVALID_ARGUMENT", "Input is empty"),
        ("MultiInference", _multi(), "INVALID_ARGUMENT", "at least one task"),
        ("MultiInference", _multi(("m d", "a"), ("n", "b")), "INVALID_ARGUMENT", "same model name and version"),
        ("MultiInference", _multi(("m d", "a"), ("m d", "a")), "INVALID_ARGUMENT", "Duplicate evaluation"),
        ("GetModelMetadata", _metadata(), "INVALID_ARGUMENT", "at least one metadata_field"),
        ("GetModelMetadata", _metadata("signature_def", "graph"), "INVALID_ARGUMENT", "field graph is not"),
    ],
)  # fmt: skip
def test_refusals_over_grpc(channel: grpc.Channel, method: str, request_: Any, code: str, text: str) -> None:
    found = refusal(channel, f"tensorflow.serving.PredictionService/{method}", request_)
    assert found[0] == code and text in found[1]


def test_signatures_over_grpc_travel_under_the_name_that_clients_unpack(channel: grpc.Channel) -> None:
    answer = call(
        channel, "tensorflow.serving.PredictionService/GetModelMetadata", _metadata("signature_def"),
        prediction_service_pb2.GetModelMetadataResponse,
    )  # fmt: skip
    packed = answer.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = prediction_service_pb2.SignatureDefMap.FromString(packed.value).signature_def
    assert signatures.keys() == {"serving_default", "all", "typed"}
    assert signatures["serving_default"].inputs["x"].name == "x:0"


# -- the Open Inference Protocol, version 2 ------------------------------------------------------------------------


def test_what_is_there(client: httpx.Client, channel: grpc.Channel, service: Service) -> None:
    told = client.get("/v2").json()
    assert told.keys() == {"name", "version", "extensions"} and "binary_tensor_data" in told["extensions"]
    described = {
        "name": "m d", "versions": ["3"], "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [
            {"name": "b", "datatype": "FP32", "shape": [-1]}, {"name": "y", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }  # fmt: skip
    messages = open_inference_pb2
    for path, version in (("/v2/models/m%20d", ""), ("/v2/models/m%20d/versions/3", "3")):
        found = client.get(path).json()
        found["outputs"].sort(key=lambda item: item["name"])
        assert found == described
        assert client.get(f"{path}/ready").status_code == 200
        ask = messages.ModelMetadataRequest(name="m d", version=version)
        answer = call(
            channel, "inference.GRPCInferenceService/ModelMetadata", ask, messages.ModelMetadataResponse
        )
        assert (answer.name, list(answer.versions), answer.platform) == ("m d", ["3"], described["platform"])
        assert [(item.name, item.datatype, list(item.shape)) for item in answer.inputs] == [
            ("x", "FP32", [-1, 2])
        ]
        assert sorted((item.name, list(item.shape)) for item in answer.outputs) == [
            ("b", [-1]),
            ("y", [-1, 2]),
        ]
    for path in ("/v2/models/n/ready", "/v2/models/m%20d/versions/4/ready", "/v2/models/n"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json()["error"]
    index = client.post("/v2/repository/index").json()
    assert index == [{"name": "m d", "version": "3", "state": "READY", "reason": ""}]
    for word in ("load", "unload"):
        answer = client.post(f"/v2/repository/models/m%20d/{word}", json={})
        assert answer.status_code == 400 and "not by requests" in answer.json()["error"]

    def said() -> tuple[Any, ...]:
        states: list[Any] = [client.get(f"/v2/health/{word}").status_code for word in ("live", "ready")]
        for name, kind in (("Live", "ServerLive"), ("Ready", "ServerReady"), ("Ready", "ModelReady")):
            request = getattr(messages, f"{kind}Request")()
            if kind == "ModelReady":
                request.name = "m d"
            response = getattr(messages, f"{kind}Response")
            found = call(channel, f"inference.GRPCInferenceService/{kind}", request, response)
            states.append(getattr(found, name.lower()))
        return tuple(states)

    assert said() == (200, 200, True, True, True)
    service.draining = True
    try:
        assert said() == (200, 503, True, False, False)
    finally:
        service.draining = False


def raw(values: Any) -> bytes:
    if values.dtype == object:
        return b"".join(struct.pack("<I", len(item)) + item for item in values)
    return bytes(values.tobytes())


def infer(
    client: httpx.Client, body: bytes, size: int | None, **headers: str
) -> tuple[dict[str, Any], bytes]:
    """The JSON of an answer, and what stands behind it."""
    if size is not None:
        headers["Inference-Header-Content-Length"] = str(size)
    answer = client.post("/v2/models/m%20d/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    told = answer.headers.get("Inference-Header-Content-Length")
    length = len(answer.content) if told is None else int(told)
    return json.loads(answer.content[:length]), answer.content[length:]


def test_binary_tensors_of_each_datatype(client: httpx.Client) -> None:
    inputs, tail = [], b""
    for kind, (values, _) in VALUES.items():
        data = raw(values)
        inputs.append(
            {"name": kind, "datatype": kind, "shape": [2], "parameters": {"binary_data_size": len(data)}}
        )
        tail += data
    parameters = {"binary_data_output": True, "signature_name": "all"}
    text = json.dumps({"id": "7", "inputs": inputs, "parameters": parameters}).encode()
    head, found = infer(client, text + tail, len(text))
    assert (head["model_name"], head["model_version"], head["id"]) == ("m d", "3", "7")
    assert sorted(item["name"] for item in head["outputs"]) == sorted(f"of {kind}" for kind in VALUES)
    for item in head["outputs"]:
        kind = item["name"].removeprefix("of ")
        size = item["parameters"]["binary_data_size"]
        assert (item["datatype"], item["shape"]) == (kind, [2])
        assert found[:size] == raw(VALUES[kind][0]), kind
        found = found[size:]
    assert found == b""
    # Those asked for come in that order, each in the form that is asked for; the request's own form is the default.
    outputs = [
        {"name": "of INT8", "parameters": {"binary_data": False}}, {"name": "of FP32"},
        {"name": "of BYTES", "parameters": {"binary_data": True}},
    ]  # fmt: skip
    text = json.dumps({"inputs": inputs, "parameters": parameters, "outputs": outputs}).encode()
    head, found = infer(client, text + tail, len(text))
    assert "id" not in head and [item["name"] for item in head["outputs"]] == [
        "of INT8",
        "of FP32",
        "of BYTES",
    ]
    assert head["outputs"][0]["data"] == [-128, 127] and "parameters" not in head["outputs"][0]
    assert found == raw(VALUES["FP32"][0]) + raw(VALUES["BYTES"][0])


def test_json_tensors_of_each_datatype(client: httpx.Client) -> None:
    def plain(values: Any) -> list[Any]:
        return [item.decode() for item in values] if values.dtype == object else values.tolist()

    for data in (lambda values: values, lambda values: [[values[0]], [values[1]]]):  # flat, and in rows
        inputs = [
            {"name": kind, "datatype": kind, "shape": [2], "data": data(plain(values))}
            for kind, (values, _) in VALUES.items()
        ]
        body = {"inputs": inputs, "parameters": {"signature_name": "all"}}
        head, found = infer(client, json.dumps(body).encode(), None)
        assert found == b"" and len(head["outputs"]) == len(VALUES)
        for item in head["outputs"]:
            values = VALUES[item["name"].removeprefix("of ")][0]
            got = np.array(item["data"], values.dtype).tolist()
            assert got == (plain(values) if values.dtype == object else values.tolist()), item


@pytest.mark.parametrize("form", ["gzip", "deflate"])
def test_packed_bodies(client: httpx.Client, form: str) -> None:
    rows = np.arange(PACKED_FROM // 2, dtype=np.float32).reshape(-1, 2)
    inputs = [{"name": "x", "datatype": "FP32", "shape": list(rows.shape),
               "parameters": {"binary_data_size": rows.nbytes}}]  # fmt: skip
    text = json.dumps(
        {"inputs": inputs, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    ).encode()
    pack = gzip.compress if form == "gzip" else zlib.compress
    headers = {
        "Content-Encoding": form, "Accept-Encoding": form, "Inference-Header-Content-Length": str(len(text)),
    }  # fmt: skip
    answer = client.post("/v2/models/m%20d/infer", content=pack(text + rows.tobytes()), headers=headers)
    assert answer.status_code == 200 and answer.headers["Content-Encoding"] == form
    # httpx has unpacked it; the size of the JSON is that of the unpacked one.
    size = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.content[size:] == (-rows).tobytes()


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


@pytest.mark.parametrize(
    ("body", "size", "status", "text"),
    [
        ({"inputs": [X | {"datatype": "FP64"}]}, None, 400, "data-type is 'FP64', but the model expects 'FP32'"),
        ({"inputs": [X | {"shape": [1, 3]}]}, None, 400, "2 elements for the shape [1, 3]"),
        ({"inputs": [X | {"shape": [-1, 2]}]}, None, 400, "shape must be a list of sizes"),
        ({"inputs": [X | {"name": "z"}]}, None, 400, "unexpected inference input 'z'"),
        ({"inputs": [X, X]}, None, 400, "input 'x' comes twice"),
        ({"inputs": [X | {"data": ["1", 2]}]}, None, 400, "'1' is no FP32"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, None, 400, "unexpected inference output 'z'"),
        ({"inputs": []}, None, 400, "Missing but required: {x}"),
        ({}, None, 400, "Unable to parse 'inputs'"),
        ({"inputs": [X | {"parameters": {"binary_data_size": 8}}]}, None, 400, "0 bytes are left of the body"),
        ({"inputs": [X]}, "5", 400, "failed to parse the request JSON buffer"),
        ({"inputs": [X]}, "99999", 400, "Inference-Header-Content-Length is 99999"),
        ({"inputs": [X]}, "x", 400, "'x' is no number of bytes"),
    ],
)  # fmt: skip
def test_refusals_of_infer(
    client: httpx.Client, body: dict[str, Any], size: str | None, status: int, text: str
) -> None:
    headers = {} if size is None else {"Inference-Header-Content-Length": size}
    answer = client.post("/v2/models/m%20d/infer", json=body, headers=headers)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def _infer_request(signature: str) -> Any:
    """All raw, or as typed contents what can be sent so."""
    request = open_inference_pb2.ModelInferRequest(model_name="m d", model_version="3", id="7")
    request.parameters["signature_name"].string_param = signature
    for kind, (values, field) in VALUES.items():
        if signature == "all":
            request.inputs.add(name=kind, datatype=kind, shape=[2])
            request.raw_input_contents.append(raw(values))
        elif field is not None:
            tensor = request.inputs.add(name=kind, datatype=kind, shape=[2])
            getattr(tensor.contents, field).extend(values.tolist())
    return request


@pytest.mark.parametrize("signature", ["all", "typed"])
def test_infer_over_grpc(channel: grpc.Channel, signature: str) -> None:
    request = _infer_request(signature)
    answer = call(channel, INFER, request, open_inference_pb2.ModelInferResponse)
    assert (answer.model_name, answer.model_version, answer.id) == ("m d", "3", "7")
    assert len(answer.outputs) == len(answer.raw_output_contents) == len(request.inputs)
    for item, data in zip(answer.outputs, answer.raw_output_contents, strict=True):
        kind = item.name.removeprefix("of ")
        assert (item.datatype, list(item.shape), data) == (kind, [2], raw(VALUES[kind][0])), kind


def test_raw_and_typed_contents_do_not_mix(channel: grpc.Channel) -> None:
    mixed = _infer_request("all")
    mixed.inputs[1].contents.bool_contents.append(True)
    assert "has contents and raw_input_contents" in refusal(channel, INFER, mixed)[1]
    del mixed.raw_input_contents[3:]
    assert "all are raw, or none" in refusal(channel, INFER, mixed)[1]
    del mixed.raw_input_contents[:]
    assert refusal(channel, INFER, mixed)[1] == "input 'BF16': BF16 is sent as raw_input_contents"
    wide = _infer_request("typed")
    next(item for item in wide.inputs if item.name == "INT8").contents.int_contents[0] = 300
    assert "a number does not fit into INT8" in refusal(channel, INFER, wide)[1]


def test_outputs_that_are_named_over_grpc(channel: grpc.Channel) -> None:
    request = open_inference_pb2.ModelInferRequest(model_name="m d")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    request.outputs.add(name="y")
    answer = call(channel, INFER, request, open_inference_pb2.ModelInferResponse)
    assert [item.name for item in answer.outputs] == ["y"]
    assert answer.raw_output_contents[0] == np.float32([-1, -2]).tobytes()
