"""Classification and regression over examples: what TensorFlow Serving's Classify, Regress and MultiInference mean."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError
from graphflow.saved_model import signature_constants as constants
from graphflow.serialization.proto import example_pb2, prediction_service_pb2
from graphflow.serving.model import Model, Signature

Array = np.ndarray[Any, Any]


def _invalid(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def serialized(proto: Any) -> Array:
    """Returns the examples of an Input message, each serialized, a context merged into every one.

    Raises:
      InvalidArgumentError: if there are none.
    """
    kind = proto.WhichOneof("kind")
    if kind is None:
        raise _invalid("Input is empty.")
    listed = getattr(proto, kind)
    if not listed.examples:
        raise _invalid("Input is empty.")
    # Serialized messages one after another are merged by whoever parses them: an example's own features win.
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    found = np.empty(len(listed.examples), object)
    found[:] = [context + example.SerializeToString() for example in listed.examples]
    return found


def _check(signature: Signature, method: str, what: str, input_name: str, outputs: Sequence[str]) -> None:
    if signature.method_name != method:
        raise _invalid(
            f"Expected {what} signature method_name to be {method}. Was: {signature.method_name or '(empty)'}"
        )
    spec = signature.inputs.get(input_name)
    if spec is None or len(signature.inputs) != 1:
        raise _invalid(
            f"Expected one input Tensor, {input_name!r}; the signature has {list(signature.inputs)}"
        )
    if spec.dtype is not dtypes.string:
        raise _invalid(f"the input {input_name!r} takes {spec.dtype.name}, not serialized examples")
    if not any(name in signature.outputs for name in outputs):
        raise _invalid(f"Expected {what} signature outputs to contain one of {list(outputs)}.")


def classify(
    model: Model, signature_name: str, examples: Array, deadline: float | None = None
) -> list[list[tuple[str, float]]]:
    """Returns `(label, score)` of each class for each example.

    A signature may give labels, scores or both; what it does not give is "" or 0.

    Raises:
      InvalidArgumentError: if the signature is not for classification, or its outputs do not fit the examples.
    """
    signature = model.signature(signature_name)
    names = (constants.CLASSIFY_OUTPUT_CLASSES, constants.CLASSIFY_OUTPUT_SCORES)
    _check(signature, constants.CLASSIFY_METHOD_NAME, "classification", constants.CLASSIFY_INPUTS, names)
    outputs = model.run(signature_name, {constants.CLASSIFY_INPUTS: examples}, deadline)
    labels, scores = (outputs.get(name) for name in names)
    for name, values in zip(names, (labels, scores), strict=True):
        if values is not None and (values.ndim != 2 or len(values) != len(examples)):
            raise _invalid(
                f"Expected {name} Tensor to be of shape [{len(examples)}, classes], was {list(values.shape)}"
            )
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise _invalid(
            f"Tensors class and score should match in shape, got {list(labels.shape)} and {list(scores.shape)}"
        )
    some = labels if labels is not None else scores
    assert some is not None
    return [
        [
            (
                "" if labels is None else _text(labels[row, column]),
                0.0 if scores is None else float(scores[row, column]),
            )
            for column in range(some.shape[1])
        ]
        for row in range(len(some))
    ]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def regress(model: Model, signature_name: str, examples: Array, deadline: float | None = None) -> list[float]:
    """Returns a number for each example.

    Raises:
      InvalidArgumentError: if the signature is not for regression, or its output does not fit the examples.
    """
    signature = model.signature(signature_name)
    name = constants.REGRESS_OUTPUTS
    _check(signature, constants.REGRESS_METHOD_NAME, "regression", constants.REGRESS_INPUTS, (name,))
    values = model.run(signature_name, {constants.REGRESS_INPUTS: examples}, deadline)[name]
    if values.shape not in ((len(examples),), (len(examples), 1)):
        raise _invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1], got {list(values.shape)} "
            f"for {len(examples)} examples"
        )
    return [float(value) for value in values.ravel()]


def classification_proto(result: list[list[tuple[str, float]]]) -> Any:
    """Returns a ClassificationResult."""
    proto = prediction_service_pb2.ClassificationResult()
    for classes in result:
        listed = proto.classifications.add().classes
        for label, score in classes:
            listed.add(label=label, score=score)
    return proto


def regression_proto(result: list[float]) -> Any:
    """Returns a RegressionResult."""
    proto = prediction_service_pb2.RegressionResult()
    for value in result:
        proto.regressions.add(value=value)
    return proto


def from_json(request: Mapping[str, Any]) -> Any:
    """Returns the Input message of the JSON of a classify or regress request.

    Raises:
      InvalidArgumentError: if the request is not of that form.
    """
    given = request.get("examples")
    if given is None:
        raise _invalid("When method is classify or regress, key 'examples' is expected and was not found")
    if not isinstance(given, list):
        raise _invalid("Expecting 'examples' value to be an list/array")
    if not given:
        raise _invalid("'examples' value is an empty array")
    proto = prediction_service_pb2.Input()
    if "context" in request:
        kept = proto.example_list_with_context
        kept.context.CopyFrom(_example(request["context"], "context"))
        kept.examples.extend(_example(item, f"examples[{i}]") for i, item in enumerate(given))
    else:
        proto.example_list.examples.extend(_example(item, f"examples[{i}]") for i, item in enumerate(given))
    return proto


def _example(value: Any, what: str) -> Any:
    if not isinstance(value, dict):
        raise _invalid(f"{what} is not formatted correctly: expected an object of features")
    proto = example_pb2.Example()
    for name, items in value.items():
        feature = proto.features.feature[name]
        _fill(feature, items if isinstance(items, list) else [items], f"{what}, feature {name!r}")
    return proto


def _fill(feature: Any, items: list[Any], what: str) -> None:
    """Puts values of one kind into a feature; integers among floats are floats."""
    if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        try:
            feature.int64_list.value.extend(items)
        except ValueError:
            raise _invalid(f"{what}: a number does not fit into 64 bits") from None
    elif all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        feature.float_list.value.extend(float(item) for item in items)
    elif all(isinstance(item, str | dict) for item in items):
        feature.bytes_list.value.extend(_bytes(item, what) for item in items)
    else:
        raise _invalid(f"{what}: expected numbers, or text, of one kind")


def _bytes(item: Any, what: str) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if set(item) != {"b64"} or not isinstance(item["b64"], str):
        raise _invalid(f'{what}: an object here has the one key "b64" with text')
    try:
        return base64.b64decode(item["b64"], validate=True)
    except ValueError:  # binascii has one of its own; text that is not ASCII gives a plain one
        raise _invalid(f"{what}: Unable to base64 decode") from None
