"""The gRPC service of the Open Inference Protocol, version 2, around `model.run`."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from graphflow import dtypes
from graphflow.serialization.proto import open_inference_pb2
from graphflow.serving import open_inference
from graphflow.serving.grpc_server import deadline_of
from graphflow.serving.service import Service, Target, version_number


def _target(name: str, version: str) -> Target:
    return Target(name, version_number(version or None))


class InferenceService:
    """ServerLive, ServerReady, ModelReady, ServerMetadata, ModelMetadata and ModelInfer."""

    name = "inference.GRPCInferenceService"
    messages = open_inference_pb2

    def __init__(self, service: Service) -> None:
        self._service = service

    def server_live(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Whether the process is alive."""
        return open_inference_pb2.ServerLiveResponse(live=True)

    def server_ready(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Whether requests are welcome."""
        return open_inference_pb2.ServerReadyResponse(ready=self._service.ready())

    def model_ready(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Whether a model takes requests."""
        return open_inference_pb2.ModelReadyResponse(
            ready=self._service.available(_target(request.name, request.version))
        )

    def server_metadata(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Who is there."""
        return open_inference_pb2.ServerMetadataResponse(**open_inference.SERVER)  # type: ignore[arg-type]

    def model_metadata(self, request: Any, context: grpc.ServicerContext) -> Message:
        """The tensors of a model."""
        with self._service.hold(_target(request.name, request.version)) as model:
            found = open_inference.metadata(model, self._service.models.available(model.name))
        kind = open_inference_pb2.ModelMetadataResponse
        return kind(
            name=found["name"],
            versions=found["versions"],
            platform=found["platform"],
            inputs=[kind.TensorMetadata(**item) for item in found["inputs"]],
            outputs=[kind.TensorMetadata(**item) for item in found["outputs"]],
        )

    def model_infer(self, request: Any, context: grpc.ServicerContext) -> Message:
        """Runs a model over tensors; outputs go back as raw contents."""
        answer = open_inference_pb2.ModelInferResponse(id=request.id)
        with (
            self._service.metrics.request(request.model_name, "infer", "GRPC"),
            self._service.hold(_target(request.model_name, request.model_version)) as model,
        ):
            read = open_inference.from_proto(request, model)
            results = model.run(read.signature_name, read.inputs, deadline_of(context))
            answer.model_name, answer.model_version = model.name, str(model.version)
        for name in read.outputs or results:
            array = np.asarray(results[name])
            kind = open_inference.datatype(dtypes.as_dtype(array.dtype))
            answer.outputs.add(name=name, datatype=kind, shape=array.shape)
            answer.raw_output_contents.append(open_inference.as_bytes(array))
        return answer
