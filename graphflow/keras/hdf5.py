"""Keras's files: weights, and whole models with their structure and the state of training, as HDF5."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphflow.keras import losses, metrics
from graphflow.keras.base_layer import Layer
from graphflow.keras.identifiers import serialized
from graphflow.keras.session import get_session

Array = np.ndarray[Any, Any]
# What a header may hold; longer lists are cut into several.
_HEADER_BYTES = 64000
ENDINGS = (".h5", ".hdf5", ".keras")


@contextmanager
def opened(path: str | os.PathLike[str], mode: str) -> Iterator[Any]:
    """Opens a file; one that is written appears whole or not at all.

    Raises:
      ImportError: without h5py; what to install is said.
      OSError: if there is no such file, or it is none of HDF5.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{os.fspath(path)}: Keras's HDF5 files need h5py: pip install 'graphflow[keras]'; save_weights with a "
            "name without .h5 writes a checkpoint and needs nothing"
        ) from error
    name = os.fspath(path)
    if mode == "r":
        with h5py.File(name, "r") as file:
            yield file
        return
    half = f"{name}.tmp{os.getpid()}"
    try:
        with h5py.File(half, "w") as file:
            yield file
        os.replace(half, name)
    finally:
        if os.path.exists(half):
            os.remove(half)


def _write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    data = [name.encode() for name in names]
    parts = 1
    while data and any(
        sum(map(len, part)) > _HEADER_BYTES for part in np.array_split(np.array(data, "S"), parts)
    ):
        parts += 1
    if parts == 1:
        group.attrs[attribute] = data
        return
    for i, part in enumerate(np.array_split(np.array(data, "S"), parts)):
        group.attrs[f"{attribute}{i}"] = list(part)


def _read_names(group: Any, attribute: str) -> list[str]:
    found = list(group.attrs.get(attribute, ()))
    i = 0
    while f"{attribute}{i}" in group.attrs:
        found += list(group.attrs[f"{attribute}{i}"])
        i += 1
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _names_of(weights: Sequence[Any]) -> list[str]:
    """The names of weights in a file; a name that comes twice in a layer gets a number."""
    names: list[str] = []
    for weight in weights:
        name, i = weight.name, 1
        while name in names:
            name, i = f"{weight.name}_{i}", i + 1
        names.append(name)
    return names


def write_weights(group: Any, layers: Sequence[Layer]) -> None:
    """Writes the weights of layers into a group, one group per layer."""
    session = get_session()
    _write_names(group, "layer_names", [layer.name for layer in layers])
    group.attrs["backend"], group.attrs["keras_version"] = b"tensorflow", b"2.2.4-tf"
    for layer in layers:
        own = group.create_group(layer.name)
        weights = layer.weights
        names = _names_of(weights)
        _write_names(own, "weight_names", names)
        for name, value in zip(names, session.run(list(weights)), strict=True):
            own.create_dataset(name, data=np.asarray(value))


def read_weights(group: Any, layers: Sequence[Layer], by_name: bool = False) -> None:
    """Reads weights that `write_weights`, or Keras, wrote.

    Args:
      group: the file, or a group of it.
      layers: the layers; those without weights don't count.
      by_name: whether layers are found by name, and those that the file lacks stay as they are.

    Raises:
      ValueError: if numbers of layers or weights, or shapes, do not fit.
    """
    session = get_session()
    stored = {name: _read_names(group[name], "weight_names") for name in _read_names(group, "layer_names")}
    stored = {name: weights for name, weights in stored.items() if weights}
    own = [layer for layer in layers if layer.weights]
    if by_name:
        pairs = [(layer, layer.name) for layer in own if layer.name in stored]
    else:
        if len(stored) != len(own):
            raise ValueError(
                f"You are trying to load a weight file containing {len(stored)} layers into a model with {len(own)} "
                f"layers: {list(stored)} into {[layer.name for layer in own]}"
            )
        pairs = list(zip(own, stored, strict=True))
    for layer, name in pairs:
        values = [np.asarray(group[name][key]) for key in stored[name]]
        weights = layer.weights
        if len(values) != len(weights):
            raise ValueError(
                f'Layer "{layer.name}" expects {len(weights)} weights, but the saved layer "{name}" has {len(values)}'
            )
        for weight, value in zip(weights, values, strict=True):
            if not weight.shape.is_compatible_with(value.shape):
                raise ValueError(
                    f"Layer {layer.name}: weight {weight.name} has shape {weight.shape}, the file's {value.shape}"
                )
            weight.load(value, session)


def plain(value: Any) -> Any:
    """What json can't write by itself: numbers of NumPy, dtypes, functions by name, losses and metrics by arguments.

    Raises:
      TypeError: for something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, losses.Loss | metrics.Metric):
        return serialized(value)
    name = getattr(value, "__name__", None) or getattr(value, "name", None)
    if isinstance(name, str) and name != "<lambda>":
        return name
    raise TypeError(f"{value!r} cannot be written into a file: give it a name, or save the weights only")


def write_model(model: Any, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
    """Writes a model: its structure, its weights, how it was compiled and the state of its optimizer."""
    with opened(path, "w") as file:
        structure = {"class_name": type(model).__name__, "config": model.get_config()}
        file.attrs["model_config"] = json.dumps(structure, default=plain).encode()
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4-tf"
        write_weights(file.create_group("model_weights"), model.layers)
        if not include_optimizer or model.optimizer is None:
            return
        optimizer = model.optimizer
        if not hasattr(optimizer, "get_config"):
            return  # one of `train`: it has no configuration, and the model is to be compiled again
        asked, asked_weighted = model._metrics_asked
        told = {
            "optimizer_config": {"class_name": type(optimizer).__name__, "config": optimizer.get_config()},
            "loss": model.loss, "metrics": asked, "weighted_metrics": asked_weighted,
            "loss_weights": model.loss_weights, "sample_weight_mode": None,
        }  # fmt: skip
        file.attrs["training_config"] = json.dumps(told, default=plain).encode()
        weights = optimizer.weights
        if weights:
            own = file.create_group("optimizer_weights")
            names = _names_of(weights)
            _write_names(own, "weight_names", names)
            for name, value in zip(names, get_session().run(list(weights)), strict=True):
                own.create_dataset(name, data=np.asarray(value))


def _made_again(told: Any, make: Callable[[Any], Any]) -> Any:
    """Losses or metrics of a file: those that were written as arguments, wherever they stand."""
    if isinstance(told, dict) and set(told) == {"class_name", "config"}:
        return make(told)
    if isinstance(told, dict):
        return {name: _made_again(each, make) for name, each in told.items()}
    return [_made_again(each, make) for each in told] if isinstance(told, list) else told


def read_model(
    path: str | os.PathLike[str], made_of: Callable[[dict[str, Any]], Any], compiled: bool
) -> Any:  # fmt: skip
    """Reads a model.

    Args:
      path: the file.
      made_of: makes a model of its class name and configuration.
      compiled: whether it is compiled as it was.

    Raises:
      ValueError: if the file holds no model.
    """
    with opened(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ValueError(
                f"No model found in {os.fspath(path)}: it may hold weights only; see load_weights"
            )
        model = made_of(_json(file.attrs["model_config"]))
        read_weights(file["model_weights"], model.layers)
        if compiled and "training_config" in file.attrs:
            told = _json(file.attrs["training_config"])
            model.compile(
                optimizer=told["optimizer_config"], loss=_made_again(told["loss"], losses.deserialize),
                metrics=_made_again(told.get("metrics"), metrics.deserialize),
                loss_weights=told.get("loss_weights"),
                weighted_metrics=_made_again(told.get("weighted_metrics"), metrics.deserialize),
            )  # fmt: skip
            if "optimizer_weights" in file:
                own = file["optimizer_weights"]
                model.optimizer.set_weights(
                    [np.asarray(own[key]) for key in _read_names(own, "weight_names")]
                )
        return model


def _json(text: Any) -> Any:
    return json.loads(text.decode() if isinstance(text, bytes) else text)


__all__ = ["ENDINGS", "opened", "plain", "read_model", "read_weights", "write_model", "write_weights"]
