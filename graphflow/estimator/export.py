"""What estimators export: the outputs of signatures, and the functions that receive what a server is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from graphflow.dtypes import string
from graphflow.graph import Tensor
from graphflow.ops.parsing import parse_example
from graphflow.ops.source import placeholder
from graphflow.saved_model import signature_constants
from graphflow.saved_model.signature_def_utils import (
    classification_signature_def,
    predict_signature_def,
    regression_signature_def,
)
from graphflow.sparse import SparseTensor

__all__ = [
    "ClassificationOutput", "ExportOutput", "PredictOutput", "RegressionOutput", "ServingInputReceiver",
    "TensorServingInputReceiver", "build_parsing_serving_input_receiver_fn",
    "build_raw_serving_input_receiver_fn",
]  # fmt: skip

_DEFAULT = signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class ExportOutput:
    """The output of one signature."""

    def as_signature_def(self, receiver_tensors: Mapping[str, Any]) -> Any:
        """Returns the `SignatureDef` for what `receiver_tensors` take in."""
        raise NotImplementedError


class PredictOutput(ExportOutput):
    """Any tensors by name.

    Args:
      outputs: a tensor, or a dict from strings to tensors.

    Raises:
      ValueError: a key or a value of another kind.
    """

    def __init__(self, outputs: Any) -> None:
        if not isinstance(outputs, Mapping):
            outputs = {"output": outputs}
        for key, value in outputs.items():
            if not isinstance(key, str):
                raise ValueError(f"Prediction output key must be a string; got {key!r}")
            if not isinstance(value, Tensor):
                raise ValueError(f"Prediction output value must be a Tensor; got {value!r} for {key!r}")
        self._outputs = dict(outputs)

    @property
    def outputs(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return self._outputs

    def as_signature_def(self, receiver_tensors: Mapping[str, Any]) -> Any:
        """Returns a signature of the method `tensorflow/serving/predict`."""
        return predict_signature_def(receiver_tensors, self._outputs)


class ClassificationOutput(ExportOutput):
    """Scores of classes, or their names, or both.

    Args:
      scores: a float tensor [batch, classes].
      classes: a string tensor of the same shape, or [classes].

    Raises:
      ValueError: neither is given, or a dtype does not fit.
    """

    def __init__(self, scores: Any = None, classes: Any = None) -> None:
        if scores is None and classes is None:
            raise ValueError("At least one of scores and classes must be set")
        if scores is not None and not (isinstance(scores, Tensor) and scores.dtype.is_floating):
            raise ValueError(f"Classification scores must be a float32 Tensor; got {scores!r}")
        if classes is not None and not (isinstance(classes, Tensor) and classes.dtype.base_dtype == string):
            raise ValueError(f"Classification classes must be a string Tensor; got {classes!r}")
        self._scores, self._classes = scores, classes

    @property
    def scores(self) -> Tensor | None:
        """The scores."""
        return self._scores

    @property
    def classes(self) -> Tensor | None:
        """The names of the classes."""
        return self._classes

    def as_signature_def(self, receiver_tensors: Mapping[str, Any]) -> Any:
        """Returns a signature of the method `tensorflow/serving/classify`."""
        return classification_signature_def(_examples(receiver_tensors), self._classes, self._scores)


class RegressionOutput(ExportOutput):
    """Values of a regression.

    Args:
      value: a float tensor.

    Raises:
      ValueError: it is of another dtype.
    """

    def __init__(self, value: Any) -> None:
        if not (isinstance(value, Tensor) and value.dtype.is_floating):
            raise ValueError(f"Regression output value must be a float32 Tensor; got {value!r}")
        self._value = value

    @property
    def value(self) -> Tensor:
        """The values."""
        return self._value

    def as_signature_def(self, receiver_tensors: Mapping[str, Any]) -> Any:
        """Returns a signature of the method `tensorflow/serving/regress`."""
        return regression_signature_def(_examples(receiver_tensors), self._value)


def _examples(receiver_tensors: Mapping[str, Any]) -> Any:
    if len(receiver_tensors) != 1 or (one := next(iter(receiver_tensors.values()))).dtype != string:
        raise ValueError(
            "signatures that classify or regress take one string tensor, serialized tf.Examples; the receiver "
            f"has {dict(receiver_tensors)!r}: use build_parsing_serving_input_receiver_fn, or a PredictOutput"
        )
    return one


def default_export_outputs(
    outputs: Mapping[str, ExportOutput] | None, predictions: Any, predicting: bool
) -> dict[str, ExportOutput] | None:
    """Returns export outputs that hold the default signature: what was given, or the predictions.

    Raises:
      TypeError: not a dict of `ExportOutput`s.
      ValueError: several, and none of them is the default.
    """
    if outputs is None:
        return {_DEFAULT: PredictOutput(predictions)} if predicting else None
    if not isinstance(outputs, Mapping):
        raise TypeError(f"export_outputs must be dict, given: {outputs!r}")
    for name, output in outputs.items():
        if not isinstance(output, ExportOutput):
            raise TypeError(
                f"Values in export_outputs must be ExportOutput objects; got {output!r} for {name!r}"
            )
    found = dict(outputs)
    if predicting and _DEFAULT not in found:
        if len(found) != 1:
            raise ValueError(
                f"Multiple export_outputs were provided, but none of them is specified as the default. Do this "
                f"by naming one of them {_DEFAULT!r}; got {', '.join(found)}"
            )
        found[_DEFAULT] = next(iter(found.values()))
    return found


class ServingInputReceiver(
    NamedTuple(
        "ServingInputReceiver",
        [("features", Any), ("receiver_tensors", Any), ("receiver_tensors_alternatives", Any)],
    )
):
    """What a server feeds, and the features that a model is given from it.

    Args:
      features: a tensor, or a dict of tensors by name.
      receiver_tensors: a tensor or a dict of tensors that are fed.
      receiver_tensors_alternatives: a dict from names to further dicts of receivers: more signatures.
    """

    def __new__(
        cls, features: Any, receiver_tensors: Any, receiver_tensors_alternatives: Any = None
    ) -> ServingInputReceiver:
        """Checks what is given."""
        features = _named(features, "feature")
        receivers = _named(receiver_tensors, "receiver_tensor")
        if receiver_tensors_alternatives is not None:
            if not isinstance(receiver_tensors_alternatives, Mapping):
                raise ValueError(
                    f"receiver_tensors_alternatives must be a dict: {receiver_tensors_alternatives!r}"
                )
            receiver_tensors_alternatives = {
                name: _named(value, f"receiver_tensors_alternative {name}")
                for name, value in receiver_tensors_alternatives.items()
            }
        return super().__new__(cls, features, receivers, receiver_tensors_alternatives)


class TensorServingInputReceiver(
    NamedTuple(
        "TensorServingInputReceiver",
        [("features", Any), ("receiver_tensors", Any), ("receiver_tensors_alternatives", Any)],
    )
):
    """A `ServingInputReceiver` for models that take one tensor, not a dict of them."""

    def __new__(
        cls, features: Any, receiver_tensors: Any, receiver_tensors_alternatives: Any = None
    ) -> TensorServingInputReceiver:
        """Checks what is given."""
        if not isinstance(features, (Tensor, SparseTensor)):
            raise ValueError(f"feature must be a Tensor or SparseTensor, got {features!r}")
        checked = ServingInputReceiver(features, receiver_tensors, receiver_tensors_alternatives)
        return super().__new__(cls, features, checked.receiver_tensors, checked.receiver_tensors_alternatives)


def _named(tensors: Any, what: str) -> dict[Any, Any]:
    if tensors is None:
        raise ValueError(f"{what}s must be defined")
    if not isinstance(tensors, Mapping):
        tensors = {what: tensors}
    for name, tensor in tensors.items():
        if not isinstance(tensor, (Tensor, SparseTensor)):
            raise ValueError(f"{what} {name} must be a Tensor or SparseTensor, got {tensor!r}")
    return dict(tensors)


def build_parsing_serving_input_receiver_fn(
    feature_spec: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """Returns a function that receives serialized `tf.Example`s.

    Args:
      feature_spec: what `gf.parse_example` is given.
      default_batch_size: the number of examples of a batch; None: any.
    """

    def serving_input_receiver_fn() -> ServingInputReceiver:
        serialized = placeholder(string, [default_batch_size], name="input_example_tensor")
        return ServingInputReceiver(parse_example(serialized, feature_spec), {"examples": serialized})

    return serving_input_receiver_fn


def build_raw_serving_input_receiver_fn(
    features: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """Returns a function that receives the features themselves.

    Args:
      features: tensors by name; only their dtypes and shapes are used.
      default_batch_size: the first size of each; None: any.
    """

    def serving_input_receiver_fn() -> ServingInputReceiver:
        received = {
            name: placeholder(tensor.dtype, [default_batch_size, *tensor.shape.as_list()[1:]], name=name)
            for name, tensor in features.items()
        }
        return ServingInputReceiver(dict(received), received)

    return serving_input_receiver_fn
