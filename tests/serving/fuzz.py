"""Requests that nobody in his right mind sends: hypothesis makes them, for both protocols and both encodings."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st

from graphflow.serialization.proto import model_service_pb2, open_inference_pb2, prediction_service_pb2

NAMES = st.sampled_from(
    ["m", "", "n", "x", "y", "total", "classify", "regress", "serving_default", "\x00", "é" * 300]
)
SIZES = st.lists(st.one_of(st.integers(-2, 4), st.sampled_from([2**31, 2**40, 2**62, -(2**63)])), max_size=4)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from([2**24 + 1, 2**31, 2**63, 2**64, 10**400, 1e39, True, None]),
)
LEAVES = st.one_of(
    NUMBERS, st.text(max_size=5), st.builds(lambda text: {"b64": text}, st.text("QUI=/+ é", max_size=6))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=12,
)
ROWS = st.lists(st.lists(LEAVES, min_size=2, max_size=4), max_size=3)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(NAMES, LEAVES),
        "datatype": st.one_of(st.sampled_from(["FP32", "BYTES", "INT8", "BOOL", "BF16", "FP99"]), LEAVES),
        "shape": st.one_of(SIZES, TREES),
        "data": st.one_of(ROWS, TREES),
        "parameters": st.one_of(TREES, st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40)})),
    },
)
FEATURES = st.dictionaries(NAMES, st.one_of(LEAVES, ROWS), max_size=2)
BODIES = st.one_of(
    TREES,
    st.fixed_dictionaries(
        {},
        optional={
            "signature_name": st.one_of(NAMES, LEAVES),
            "instances": st.one_of(ROWS, TREES),
            "inputs": st.one_of(ROWS, TREES, st.lists(TENSORS, max_size=2)),
            "examples": st.one_of(
                st.lists(st.dictionaries(NAMES, st.one_of(LEAVES, ROWS), max_size=2), max_size=2), TREES
            ),
            "context": TREES,
            "outputs": st.one_of(st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2), TREES),
            "parameters": TREES,
            "id": LEAVES,
        },
    ),
)
PATHS = st.sampled_from(
    [
        f"/{path}"
        for path in (
            "v1/models/m:predict", "v1/models/m:classify", "v1/models/m:regress", "v2/models/m/infer",
            "v1/models/m/versions/1:predict", "v1/models/m/labels/a:predict", "v2/models/m/versions/1/infer",
            "v2/repository/index", "v1/models/%00%ff:predict", "v2/models/m/versions/-1/infer", "v1/models//metadata",
        )
    ]
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Inference-Header-Content-Length",
            "X-Request-Timeout",
            "Content-Encoding",
            "X-Request-Id",
            "Accept-Encoding",
        ]
    ),
    st.one_of(st.integers(-1, 60).map(str), st.sampled_from(["gzip", "deflate", "nan", "1e9", "a b", "²"])),
    max_size=2,
)


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """What is left of messages of which some bytes are others, or missing."""

    @st.composite
    def make(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(whole))
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, max(0, len(data) - 1)))
            if draw(st.booleans()):
                del data[at : at + draw(st.integers(1, 4))]
            else:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
        return bytes(data)

    return make()


def text_of(value: Any) -> bytes:
    """The JSON of a value; lone surrogates as they are."""
    return json.dumps(value).encode()


REST = st.tuples(
    PATHS, st.one_of(BODIES.map(text_of), damaged(BODIES.map(text_of)), st.binary(max_size=40)), HEADERS
)


@st.composite
def tensor_protos(draw: st.DrawFn, proto: Any) -> None:
    """Fills a TensorProto with what may fit together or not."""
    proto.dtype = draw(st.one_of(st.sampled_from([1, 7, 3, 9, 14, 19, 20]), st.integers(0, 130)))
    for size in draw(SIZES):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.booleans()) and draw(st.booleans())
    if draw(st.booleans()):
        proto.tensor_content = draw(st.binary(max_size=24))
    if draw(st.booleans()):
        proto.float_val.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    if draw(st.booleans()):
        proto.int_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)))
    if draw(st.booleans()):
        proto.string_val.extend(draw(st.lists(st.binary(max_size=4), max_size=3)))


@st.composite
def predicts(draw: st.DrawFn) -> bytes:
    """PredictRequests."""
    request = prediction_service_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = draw(NAMES), draw(NAMES)
    if draw(st.booleans()):
        request.model_spec.version.value = draw(st.sampled_from([0, 1, -1, 2**62]))
    for name in draw(st.lists(NAMES, max_size=2)):
        draw(tensor_protos(request.inputs[name]))
    request.output_filter.extend(draw(st.lists(NAMES, max_size=2)))
    return request.SerializeToString()


@st.composite
def examples(draw: st.DrawFn) -> bytes:
    """MultiInferenceRequests, whose beginning reads as classifications and regressions too."""
    request = prediction_service_pb2.MultiInferenceRequest()
    for name in draw(st.lists(NAMES, max_size=2)):
        kind = draw(st.sampled_from(["classify", "regress", "predict"]))
        task = request.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.name, task.model_spec.signature_name = "m", name
    for name in draw(st.lists(NAMES, max_size=2)):
        feature = request.input.example_list.examples.add().features.feature[name]
        feature.float_list.value.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    return request.SerializeToString()


@st.composite
def infers(draw: st.DrawFn) -> bytes:
    """ModelInferRequests."""
    request = open_inference_pb2.ModelInferRequest(
        model_name=draw(NAMES), model_version=draw(st.sampled_from(["", "1", "a"]))
    )
    for name in draw(st.lists(NAMES, max_size=2)):
        kind = draw(st.sampled_from(["FP32", "BYTES", "INT8", "", "FP16"]))
        tensor = request.inputs.add(name=name, datatype=kind, shape=draw(SIZES))
        if draw(st.booleans()):
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=24), max_size=2)))
    for name in draw(st.lists(NAMES, max_size=2)):
        request.outputs.add(name=name)
    request.parameters["signature_name"].string_param = draw(NAMES)
    return request.SerializeToString()


@st.composite
def statuses(draw: st.DrawFn) -> bytes:
    """GetModelStatusRequests; those for metadata begin alike."""
    request = model_service_pb2.GetModelStatusRequest()
    request.model_spec.name = draw(NAMES)
    if draw(st.booleans()):
        request.model_spec.version_label = draw(NAMES)
    return request.SerializeToString()


_PREDICTION, _MODELS = "/tensorflow.serving.PredictionService", "/tensorflow.serving.ModelService"
_METHODS = {
    f"{_PREDICTION}/Predict": predicts(), f"{_PREDICTION}/Classify": examples(), f"{_PREDICTION}/Regress": examples(),
    f"{_PREDICTION}/MultiInference": examples(), f"{_PREDICTION}/GetModelMetadata": statuses(),
    f"{_MODELS}/GetModelStatus": statuses(), "/inference.GRPCInferenceService/ModelInfer": infers(),
    "/inference.GRPCInferenceService/ModelMetadata": statuses(),
    "/inference.GRPCInferenceService/ModelReady": statuses(),
}  # fmt: skip
GRPC = st.one_of(
    *[
        st.tuples(st.just(method), st.one_of(made, damaged(made), st.binary(max_size=30)))
        for method, made in _METHODS.items()
    ]
)
