"""Models from what they told of themselves: configurations, JSON, files."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from typing import Any

from graphflow import nest
from graphflow.keras import hdf5
from graphflow.keras.identifiers import custom_object_scope, custom_objects
from graphflow.keras.models import Input, InputLayer, Model, Sequential


def _class_of(name: str) -> Any:
    own = custom_objects().get(name)
    if own is not None:
        return own
    known = {"Model": Model, "Functional": Model, "Sequential": Sequential, "InputLayer": InputLayer}
    if name in known:
        return known[name]
    found = getattr(importlib.import_module("graphflow.keras.layers"), name, None)
    if found is None:
        raise ValueError(f"Unknown layer: {name}; give it in `custom_objects`")
    return found


def layer_of(told: Mapping[str, Any]) -> Any:
    """Makes a layer, or a model, of `{"class_name": …, "config": …}`."""
    cls = _class_of(told["class_name"])
    config = told["config"]
    if cls is Sequential:
        return _sequential_of(config)
    if cls is Model:
        return _functional_of(config)
    config = {k: v for k, v in config.items()}
    if "layer" in config and isinstance(config["layer"], Mapping):
        config["layer"] = layer_of(config["layer"])
    if isinstance(config.get("batch_input_shape"), list):
        config["batch_input_shape"] = tuple(config["batch_input_shape"])
    return cls.from_config(config)


def _sequential_of(config: Any) -> Sequential:
    layers = config if isinstance(config, list) else config["layers"]
    model = Sequential(name=None if isinstance(config, list) else config.get("name"))
    for told in layers:
        model.add(layer_of(told))
    if not isinstance(config, list) and model._network is None and config.get("build_input_shape"):
        model.build(config["build_input_shape"])
    return model


def _functional_of(config: Mapping[str, Any]) -> Model:
    """Makes the layers, then their calls, each as soon as what it takes is there."""
    layers: dict[str, Any] = {}
    waiting: list[tuple[str, int, list[Any]]] = []
    for told in config["layers"]:
        name = told["name"]
        if told["class_name"] == "InputLayer":
            own = told["config"]
            x = Input(batch_shape=own["batch_input_shape"], dtype=own.get("dtype"), name=own["name"])
            layers[name] = (None, [x])
            continue
        layers[name] = (layer_of(told), [])
        waiting += [(name, i, node) for i, node in enumerate(told["inbound_nodes"])]

    def found(place: Any) -> Any:
        name, node, tensor = place[:3]
        made = layers[name][1]
        return nest.flatten(made[node])[tensor] if node < len(made) else None

    while waiting:
        later = []
        for name, number, node in waiting:
            layer, made = layers[name]
            taken = [found(place) for place in node]
            if number != len(made) or any(x is None for x in taken):
                later.append((name, number, node))
                continue
            arguments = node[0][3] if len(node[0]) > 3 else {}
            made.append(layer(taken[0] if len(taken) == 1 else taken, **arguments))
        if len(later) == len(waiting):
            raise ValueError(
                f"the configuration has layers whose inputs nothing makes: {[name for name, *_ in later]}"
            )
        waiting = later
    inputs = [found(place) for place in _places(config["input_layers"])]
    outputs = [found(place) for place in _places(config["output_layers"])]
    return Model(
        inputs=inputs[0] if len(inputs) == 1 else inputs, outputs=outputs[0] if len(outputs) == 1 else outputs,
        name=config.get("name"),
    )  # fmt: skip


def _places(told: Any) -> list[Any]:
    # One place may stand without a list around it.
    return [told] if told and isinstance(told[0], str) else list(told)


def model_from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Makes a model of `{"class_name": …, "config": …}`; its weights are new."""
    with custom_object_scope(custom_objects or {}):
        return layer_of(config)


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Makes a model of what `to_json` returned; its weights are new."""
    return model_from_config(json.loads(json_string), custom_objects)


def save_model(
    model: Model, filepath: str | os.PathLike[str], overwrite: bool = True, include_optimizer: bool = True,
    save_format: str | None = None,
) -> None:  # fmt: skip
    """Writes a model as Keras's HDF5 file; see `Model.save`."""
    model.save(filepath, overwrite, include_optimizer, save_format)


def load_model(
    filepath: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None, compile: bool = True
) -> Any:  # fmt: skip
    """Reads a model that `save_model`, or Keras, wrote as HDF5.

    Args:
      filepath: the file.
      custom_objects: layers and functions of one's own, by name.
      compile: whether it is compiled as it was when it was saved.

    Raises:
      ImportError: without h5py.
      ValueError: if the file holds no model, or a layer that is not known.
    """
    with custom_object_scope(custom_objects or {}):
        return hdf5.read_model(filepath, layer_of, compile)


def clone_model(model: Model, input_tensors: Any = None) -> Any:
    """Returns a model of the same structure with weights of its own.

    Args:
      model: the model.
      input_tensors: must be None.
    """
    if input_tensors is not None:
        raise NotImplementedError("clone_model: call the clone on the tensors instead")
    text = json.dumps({"class_name": type(model).__name__, "config": model.get_config()}, default=hdf5.plain)
    return model_from_json(text)


__all__ = [
    "clone_model", "layer_of", "load_model", "model_from_config", "model_from_json", "save_model",
]  # fmt: skip
