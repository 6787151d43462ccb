"""Clients that other people wrote, unchanged: TensorFlow Serving's stubs, ovmsclient, tritonclient, curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from graphflow.serving.grpc_server import GrpcServer
from graphflow.serving.manager import ModelManager
from graphflow.serving.open_inference_grpc import InferenceService
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from graphflow.serving.tensorflow_grpc import services
from tests.serving.models import rest, save_model
from tests.tensorflow_process import TensorFlowProcess

X = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, int, int]]:
    base = tmp_path_factory.mktemp("models")
    save_model(base / "7")
    models = ModelManager([ModelConfig("m", str(base), labels={"stable": 7})], poll_seconds=0)
    models.start()
    service = Service(models)
    listener = GrpcServer([*services(service), InferenceService(service)], "127.0.0.1", 0)
    listener.start()
    with rest(service) as port:
        yield service, port, listener.port
    listener.stop(1)
    models.close()


@pytest.fixture(scope="module")
def wanted(served: tuple[Service, int, int]) -> list[float]:
    with served[0].models.hold("m") as model:
        return [float(value) for value in model.run("", {"x": X})["y"].ravel()]


CLIENTS = """
import json, sys
import numpy as np
rest, port, x = int(sys.argv[1]), int(sys.argv[2]), np.array(json.loads(sys.argv[3]), np.float32)
found = {}

def flat(value):
    return [float(item) for item in np.asarray(value, np.float32).ravel()]

import grpc
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, get_model_status_pb2
from tensorflow_serving.apis import inference_pb2, model_service_pb2_grpc, predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc, regression_pb2
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
request = predict_pb2.PredictRequest()
request.model_spec.name = "m"
request.model_spec.version_label = "stable"
request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
answer = stub.Predict(request, 200)
found["predict"] = flat(tf.make_ndarray(answer.outputs["y"]))
found["predict_spec"] = [answer.model_spec.name, answer.model_spec.version.value, answer.model_spec.signature_name]
request.model_spec.signature_name = "total"
request.output_filter.append("y")
request.inputs["x"].CopyFrom(tf.compat.v1.make_tensor_proto(x.tolist()))
request.inputs["x"].ClearField("tensor_content")
request.inputs["x"].float_val.extend(x.ravel())
found["typed values, one output"] = flat(tf.make_ndarray(stub.Predict(request, 200).outputs["y"]))

def refused(call, *arguments):
    try:
        call(*arguments)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]

request.model_spec.name = "n"
found["unknown model"] = refused(stub.Predict, request, 200)
request.model_spec.name, request.model_spec.signature_name = "m", "other"
found["unknown signature"] = refused(stub.Predict, request, 200)

example = tf.train.Example()
example.features.feature["x"].float_list.value.extend(x[0])
classify = classification_pb2.ClassificationRequest()
classify.model_spec.name, classify.model_spec.signature_name = "m", "classify"
classify.input.example_list.examples.append(example)
classes = stub.Classify(classify, 200).result.classifications[0].classes
found["classify"] = [[item.label, item.score] for item in classes]
regress = regression_pb2.RegressionRequest()
regress.model_spec.name, regress.model_spec.signature_name = "m", "regress"
regress.input.example_list_with_context.context.CopyFrom(example)
regress.input.example_list_with_context.examples.append(tf.train.Example())
found["regress"] = stub.Regress(regress, 200).result.regressions[0].value
multi = inference_pb2.MultiInferenceRequest()
for name in ("classify", "regress"):
    multi.tasks.add(method_name="tensorflow/serving/" + name).model_spec.CopyFrom(
        (classify if name == "classify" else regress).model_spec)
multi.input.CopyFrom(classify.input)
answer = stub.MultiInference(multi, 200)
found["multi"] = [answer.results[0].classification_result.classifications[0].classes[0].score,
                  answer.results[1].regression_result.regressions[0].value]
ask = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
ask.model_spec.name = "m"
packed = stub.GetModelMetadata(ask, 200).metadata["signature_def"]
signatures = get_model_metadata_pb2.SignatureDefMap()
found["metadata"] = [packed.Unpack(signatures), sorted(signatures.signature_def)]
status = get_model_status_pb2.GetModelStatusRequest()
status.model_spec.name = "m"
found["status"] = str(model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, 200)).split()

import ovmsclient
for kind, url in (("http", rest), ("grpc", port)):
    client = getattr(ovmsclient, f"make_{kind}_client")(url=f"127.0.0.1:{url}")
    found[f"ovmsclient {kind}"] = flat(client.predict({"x": x}, "m"))
    found[f"ovmsclient {kind} status"] = client.get_model_status("m")[7]["state"]
# Over HTTP it wants the metadata spelled as OpenVINO's server does, not as TensorFlow Serving.
found["ovmsclient metadata"] = client.get_model_metadata("m")["inputs"]["x"]["shape"]

import tritonclient.grpc
import tritonclient.http
for kind, module, url in (("http", tritonclient.http, rest), ("grpc", tritonclient.grpc, port)):
    client = module.InferenceServerClient(f"127.0.0.1:{url}")
    given = module.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x)
    found[f"tritonclient {kind}"] = flat(client.infer("m", [given], request_id="a").as_numpy("y"))
    wanted = [module.InferRequestedOutput("y")]
    found[f"tritonclient {kind}, version"] = flat(client.infer("m", [given], "7", wanted).as_numpy("y"))
    found[f"tritonclient {kind} ready"] = [client.is_server_live(), client.is_server_ready(),
                                           client.is_model_ready("m"), client.is_model_ready("n")]
    try:
        client.infer("n", [given])
    except tritonclient.utils.InferenceServerException as error:
        found[f"tritonclient {kind} refused"] = str(error)
    client.close()
client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{rest}")
given = tritonclient.http.InferInput("x", x.shape, "FP32")
given.set_data_from_numpy(x, binary_data=False)
found["tritonclient JSON, packed"] = flat(client.infer("m", [given], request_compression_algorithm="gzip",
    response_compression_algorithm="deflate",
    outputs=[tritonclient.http.InferRequestedOutput("y", binary_data=False)]).as_numpy("y"))
found["tritonclient index"] = client.get_model_repository_index()
client.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(
    served: tuple[Service, int, int],
    tmp_path_factory: pytest.TempPathFactory,
    tensorflow_process: TensorFlowProcess,
) -> dict[str, Any]:
    _, port, grpc_port = served
    folder = tmp_path_factory.mktemp("clients")
    words = (str(port), str(grpc_port), json.dumps(X.tolist()))
    answer: dict[str, Any] = json.loads(tensorflow_process.run(CLIENTS, *words, folder=folder))
    return answer


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "predict", "typed values, one output", "ovmsclient http", "ovmsclient grpc", "tritonclient http",
        "tritonclient grpc", "tritonclient http, version", "tritonclient grpc, version", "tritonclient JSON, packed",
    ],
)  # fmt: skip
def test_answers_are_the_sessions_bit_for_bit(found: dict[str, Any], wanted: list[float], name: str) -> None:
    assert found[name] == wanted


@pytest.mark.tensorflow
@pytest.mark.slow
def test_what_else_they_ask(served: tuple[Service, int, int], found: dict[str, Any]) -> None:
    assert found["predict_spec"] == ["m", 7, "serving_default"]
    assert found["unknown model"] == ["NOT_FOUND", "Servable not found for request: Latest(n)"]
    assert found["unknown signature"][0] == "INVALID_ARGUMENT"
    assert 'Serving signature name: "other" not found' in found["unknown signature"][1]
    with served[0].models.hold("m") as model:
        z = model.run("", {"x": X[:1]})["y"][0]
    scores = np.exp(z - z.max())
    scores /= scores.sum()
    assert [label for label, _ in found["classify"]] == ["left", "right"]
    np.testing.assert_allclose([score for _, score in found["classify"]], scores, rtol=1e-5)
    np.testing.assert_allclose([found["regress"], *found["multi"]], [scores[0]] * 3, rtol=1e-5)
    assert found["metadata"] == [True, ["classify", "regress", "serving_default", "total"]]
    assert "AVAILABLE" in found["status"] and "7" in found["status"]
    assert found["ovmsclient metadata"] == [-1, 3]
    for kind in ("http", "grpc"):
        assert found[f"ovmsclient {kind} status"] == "AVAILABLE"
        assert found[f"tritonclient {kind} ready"] == [True, True, True, False]
        assert "Servable not found" in found[f"tritonclient {kind} refused"]
    assert found["tritonclient index"] == [{"name": "m", "version": "7", "state": "READY", "reason": ""}]


def test_curl(served: tuple[Service, int, int], wanted: list[float]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    body = json.dumps({"instances": X.tolist()})
    url = f"http://127.0.0.1:{served[1]}/v1/models/m:predict"
    done = subprocess.run(["curl", "-s", "--noproxy", "*", "-d", body, url], capture_output=True, check=True)
    assert np.array(json.loads(done.stdout)["predictions"], np.float32).ravel().tolist() == wanted


def test_reflection_names_what_clients_know(served: tuple[Service, int, int]) -> None:
    import grpc
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(f"127.0.0.1:{served[2]}") as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        assert {"tensorflow.serving.PredictionService", "inference.GRPCInferenceService"} <= set(
            known.get_services()
        )
        pool = DescriptorPool(known)
        predict = pool.FindServiceByName("tensorflow.serving.PredictionService").methods_by_name["Predict"]
        tensor = predict.input_type.fields_by_name["inputs"].message_type.fields_by_name["value"].message_type
        assert tensor.full_name == "tensorflow.TensorProto"
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "tensorflow.serving.PredictionService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1


def test_bytes_that_are_no_message_are_refused(served: tuple[Service, int, int]) -> None:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{served[2]}") as channel:
        for service, method in (
            ("tensorflow.serving.PredictionService", "Predict"),
            ("tensorflow.serving.ModelService", "GetModelStatus"),
            ("inference.GRPCInferenceService", "ModelInfer"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"/{service}/{method}")(b"\xff\xff\xff")
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
