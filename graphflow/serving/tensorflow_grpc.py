"""TensorFlow Serving's gRPC services, PredictionService and ModelService, around `model.run`.

The messages are our own with the same numbers; the names that travel, of methods and in `Any`, are TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from graphflow import errors
from graphflow.saved_model import signature_constants as constants
from graphflow.serialization.proto import model_service_pb2, prediction_service_pb2
from graphflow.serialization.tensor_proto import array_to_proto, make_ndarray
from graphflow.serving import examples
from graphflow.serving.grpc_server import GrpcService, deadline_of
from graphflow.serving.model import Model
from graphflow.serving.server_config import models_of
from graphflow.serving.service import Service, Target, selected

_SIGNATURE_DEF = "signature_def"
_SIGNATURE_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def _invalid(text: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, text)


def _target(spec: Any) -> Target:
    if not spec.name:
        raise _invalid("Missing ModelSpec: it has no model name")
    which = spec.WhichOneof("version_choice")
    if which == "version_label":
        return Target(spec.name, None, spec.version_label)
    if which == "version":
        if spec.version.value < 0:
            raise _invalid(f"Invalid version: {spec.version.value}")
        return Target(spec.name, spec.version.value)
    return Target(spec.name)


def _spec_of(model: Model, signature_name: str = "") -> prediction_service_pb2.ModelSpec:
    """The model that ran, for the answer."""
    spec = prediction_service_pb2.ModelSpec(name=model.name, signature_name=signature_name)
    spec.version.value = model.version
    return spec


class PredictionService:
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    name = "tensorflow.serving.PredictionService"
    messages = prediction_service_pb2

    def __init__(self, service: Service) -> None:
        self._service = service

    def predict(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Runs a signature over tensors."""
        answer = prediction_service_pb2.PredictResponse()
        with (
            self._service.metrics.request(request.model_spec.name, "predict", "GRPC"),
            self._service.hold(_target(request.model_spec)) as model,
        ):
            name = request.model_spec.signature_name or constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
            model.signature(name)
            inputs = {key: _array(key, tensor) for key, tensor in request.inputs.items()}
            outputs = model.run(name, inputs, deadline_of(context))
            for key, value in selected(outputs, request.output_filter).items():
                answer.outputs[key].CopyFrom(array_to_proto(np.asarray(value)))
            answer.model_spec.CopyFrom(_spec_of(model, name))
        return answer

    def classify(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Labels and scores of examples."""
        answer = prediction_service_pb2.ClassificationResponse()
        with (
            self._service.metrics.request(request.model_spec.name, "classify", "GRPC"),
            self._service.hold(_target(request.model_spec)) as model,
        ):
            name = request.model_spec.signature_name
            found = examples.classify(model, name, examples.serialized(request.input), deadline_of(context))
            answer.result.CopyFrom(examples.classification_proto(found))
            answer.model_spec.CopyFrom(_spec_of(model, name))
        return answer

    def regress(self, request: Any, context: grpc.ServicerContext) -> Message:
        """A number for each example."""
        answer = prediction_service_pb2.RegressionResponse()
        with (
            self._service.metrics.request(request.model_spec.name, "regress", "GRPC"),
            self._service.hold(_target(request.model_spec)) as model,
        ):
            name = request.model_spec.signature_name
            found = examples.regress(model, name, examples.serialized(request.input), deadline_of(context))
            answer.result.CopyFrom(examples.regression_proto(found))
            answer.model_spec.CopyFrom(_spec_of(model, name))
        return answer

    def multi_inference(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Several classifications and regressions of one model over the same examples."""
        answer = prediction_service_pb2.MultiInferenceResponse()
        if not request.tasks:
            raise _invalid("Inference request must have at least one task.")
        targets = [_target(task.model_spec) for task in request.tasks]
        if any(target != targets[0] for target in targets):
            raise _invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name and version."
            )
        signatures = [task.model_spec.signature_name for task in request.tasks]
        if len(set(signatures)) != len(signatures):
            raise _invalid("Duplicate evaluation of signature: each task names another one.")
        given = examples.serialized(request.input)
        with (
            self._service.metrics.request(targets[0].name, "multi_inference", "GRPC"),
            self._service.hold(targets[0]) as model,
        ):
            for task, name in zip(request.tasks, signatures, strict=True):
                result = answer.results.add(model_spec=_spec_of(model, name))
                if task.method_name == constants.CLASSIFY_METHOD_NAME:
                    found = examples.classify(model, name, given, deadline_of(context))
                    result.classification_result.CopyFrom(examples.classification_proto(found))
                elif task.method_name == constants.REGRESS_METHOD_NAME:
                    values = examples.regress(model, name, given, deadline_of(context))
                    result.regression_result.CopyFrom(examples.regression_proto(values))
                else:
                    raise errors.UnimplementedError(
                        None, None, f"Unsupported signature method_name: {task.method_name}"
                    )
        return answer

    def get_model_metadata(self, request: Any, context: grpc.ServicerContext) -> Message:
        """The signatures of a model."""
        if not request.metadata_field:
            raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise _invalid(f"Metadata field {field} is not supported")
        answer = prediction_service_pb2.GetModelMetadataResponse()
        with self._service.hold(_target(request.model_spec)) as model:
            answer.model_spec.CopyFrom(_spec_of(model))
            signatures = prediction_service_pb2.SignatureDefMap()
            for key, signature in model.signature_def.items():
                signatures.signature_def[key].CopyFrom(signature)
        packed = AnyMessage(type_url=_SIGNATURE_MAP_URL, value=signatures.SerializeToString())
        answer.metadata[_SIGNATURE_DEF].CopyFrom(packed)
        return answer


def _array(name: str, tensor: Any) -> Any:
    try:
        return make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise _invalid(f"the input {name!r} cannot be read: {error}") from None


class ModelService:
    """GetModelStatus and HandleReloadConfigRequest."""

    name = "tensorflow.serving.ModelService"
    messages = model_service_pb2

    def __init__(self, service: Service) -> None:
        self._service = service

    def get_model_status(self, request: Any, context: grpc.ServicerContext) -> Message:
        """The versions of a model and their states."""
        target = _target(request.model_spec)
        answer = model_service_pb2.GetModelStatusResponse()
        for servable in self._service.models.status(target.name, target.version, target.label):
            found = answer.model_version_status.add(version=servable.version, state=servable.state.value)
            found.status.error_code = servable.error.error_code if servable.error else errors.OK
            found.status.error_message = servable.error.message if servable.error else ""
        return answer

    def handle_reload_config_request(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Serves exactly the models of the request from now on."""
        answer = model_service_pb2.ReloadConfigResponse()
        try:
            self._service.reload(models_of(request.config))
        except errors.OpError as error:
            answer.status.error_code, answer.status.error_message = error.error_code, error.message
        return answer


def services(service: Service) -> Sequence[GrpcService]:
    """Returns TensorFlow Serving's services."""
    return PredictionService(service), ModelService(service)
