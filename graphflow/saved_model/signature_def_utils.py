"""Signatures: which tensors go in and come out under which names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow import dtypes
from graphflow.opdef import convert_to_tensor
from graphflow.saved_model import signature_constants as names
from graphflow.serialization import saved_model


def build_signature_def(
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    method_name: str | None = None,
) -> Any:
    """Returns a SignatureDef.

    Args:
      inputs: TensorInfos by name.
      outputs: TensorInfos by name.
      method_name: what it does, see `signature_constants`.
    """
    return saved_model.signature(inputs, outputs, method_name)


def _infos(tensors: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not tensors:
        raise ValueError(f"{what} cannot be None or empty.")
    return {name: saved_model.tensor_info(tensor) for name, tensor in tensors.items()}


def predict_signature_def(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Returns the signature of a prediction: tensors by name, freely chosen.

    Raises:
      ValueError: if there are no inputs or no outputs.
    """
    return saved_model.signature(
        _infos(inputs, "Prediction inputs"), _infos(outputs, "Prediction outputs"), names.PREDICT_METHOD_NAME
    )


def regression_signature_def(examples: Any, predictions: Any) -> Any:
    """Returns the signature of a regression.

    Args:
      examples: a string tensor of serialized Examples.
      predictions: a float32 tensor.

    Raises:
      ValueError: if one is missing or of another dtype.
    """
    if examples is None or predictions is None:
        raise ValueError("Regression examples and predictions cannot be None.")
    examples, predictions = convert_to_tensor(examples), convert_to_tensor(predictions)
    if examples.dtype is not dtypes.string:
        raise ValueError(f"Regression input tensors must be of type string. Found tensor {examples.name}.")
    if predictions.dtype is not dtypes.float32:
        raise ValueError(f"Regression output tensors must be of type float. Found tensor {predictions.name}.")
    return saved_model.signature(
        _infos({names.REGRESS_INPUTS: examples}, "Regression inputs"),
        _infos({names.REGRESS_OUTPUTS: predictions}, "Regression outputs"),
        names.REGRESS_METHOD_NAME,
    )


def classification_signature_def(examples: Any, classes: Any, scores: Any) -> Any:
    """Returns the signature of a classification.

    Args:
      examples: a string tensor of serialized Examples.
      classes: a string tensor, or None.
      scores: a float32 tensor, or None.

    Raises:
      ValueError: if examples, or both classes and scores, are missing or of another dtype.
    """
    if examples is None:
        raise ValueError("Classification examples cannot be None.")
    examples = convert_to_tensor(examples)
    if examples.dtype is not dtypes.string:
        raise ValueError(
            f"Classification input tensors must be of type string. Found tensor {examples.name}."
        )
    outputs = {}
    for key, value, dtype in (
        (names.CLASSIFY_OUTPUT_CLASSES, classes, dtypes.string),
        (names.CLASSIFY_OUTPUT_SCORES, scores, dtypes.float32),
    ):
        if value is not None:
            tensor = convert_to_tensor(value)
            if tensor.dtype is not dtype:
                raise ValueError(
                    f"Classification {key} must be of type {dtype.name}. Found tensor {tensor.name}."
                )
            outputs[key] = tensor
    return saved_model.signature(
        _infos({names.CLASSIFY_INPUTS: examples}, "Classification inputs"),
        _infos(outputs, "Classification classes and scores"),
        names.CLASSIFY_METHOD_NAME,
    )


def is_valid_signature(signature_def: Any) -> bool:
    """Whether a signature has what its method asks for."""
    inputs, outputs = signature_def.inputs, signature_def.outputs
    string, floating = dtypes.string.as_datatype_enum, dtypes.float32.as_datatype_enum
    if signature_def.method_name == names.PREDICT_METHOD_NAME:
        return bool(inputs) and bool(outputs)
    if signature_def.method_name == names.REGRESS_METHOD_NAME:
        return (
            set(inputs) == {names.REGRESS_INPUTS}
            and inputs[names.REGRESS_INPUTS].dtype == string
            and set(outputs) == {names.REGRESS_OUTPUTS}
            and outputs[names.REGRESS_OUTPUTS].dtype == floating
        )
    if signature_def.method_name == names.CLASSIFY_METHOD_NAME:
        allowed = {names.CLASSIFY_OUTPUT_CLASSES: string, names.CLASSIFY_OUTPUT_SCORES: floating}
        return (
            set(inputs) == {names.CLASSIFY_INPUTS}
            and inputs[names.CLASSIFY_INPUTS].dtype == string
            and bool(outputs)
            and all(allowed.get(key) == outputs[key].dtype for key in outputs)
        )
    return False


__all__ = [
    "build_signature_def", "classification_signature_def", "is_valid_signature", "predict_signature_def",
    "regression_signature_def",
]  # fmt: skip
