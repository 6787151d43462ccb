"""`keras.models`: layers joined to models, and their training over sessions."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import nest
from graphflow.dtypes import as_dtype, float32
from graphflow.errors import OutOfRangeError
from graphflow.graph import Tensor, get_default_graph, name_scope
from graphflow.keras import backend, hdf5, optimizers
from graphflow.keras import callbacks as callback_classes
from graphflow.keras import losses as loss_functions
from graphflow.keras import metrics as metric_functions
from graphflow.keras.base_layer import InputSpec, Layer, Node, history_of, mask_of, unique_object_name
from graphflow.keras.metric import Metric
from graphflow.keras.session import get_session, initialize, phase_feed
from graphflow.keras.utils import Sequence as DataSequence
from graphflow.namespace import lazy
from graphflow.opdef import convert_to_tensor
from graphflow.ops.elementwise import add_n, cast
from graphflow.ops.reduction import reduce_mean, reduce_sum
from graphflow.ops.source import placeholder
from graphflow.shapes import TensorShape
from graphflow.train.saver import Saver

Array = np.ndarray[Any, Any]


class InputLayer(Layer):
    """Where a model begins: a placeholder."""

    def __init__(
        self, input_shape: Any = None, batch_size: int | None = None, dtype: Any = None, input_tensor: Any = None,
        sparse: bool = False, name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if sparse:
            raise NotImplementedError("keras.Input: sparse inputs are not supported")
        name = name or unique_object_name("input", zero_based=False)
        batch_input_shape = kwargs.pop("batch_input_shape", None)
        super().__init__(
            name=name, dtype=dtype or (input_tensor.dtype if input_tensor is not None else float32), **kwargs
        )
        if batch_input_shape is None:
            batch_input_shape = (batch_size, *(input_shape or ()))
        if input_tensor is None:
            with get_default_graph().name_scope(None):
                input_tensor = placeholder(self.dtype, list(batch_input_shape), name=name)
        self._batch_input_shape = (
            tuple(input_tensor.shape.as_list()) if input_tensor.shape.rank is not None else None
        )
        self.built = True
        self._record(input_tensor, input_tensor, ((), {}))


def Input(
    shape: Any = None, batch_size: int | None = None, name: str | None = None, dtype: Any = None, sparse: bool = False,
    tensor: Any = None, **kwargs: Any,
) -> Tensor:  # fmt: skip
    """Returns a placeholder for the beginning of a model.

    Args:
      shape: the shape of one example.
      batch_size: the size of batches, if it is always the same.
      name: a name.
      dtype: default float32.
      sparse: must be False.
      tensor: an existing tensor to use.
      **kwargs: `batch_shape`: the whole shape.
    """
    whole = kwargs.pop("batch_shape", kwargs.pop("batch_input_shape", None))
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {', '.join(kwargs)}")
    if whole is None and shape is None and tensor is None:
        raise ValueError("Please provide to Input either a `shape` or a `tensor` argument.")
    arguments = {"batch_input_shape": tuple(whole)} if whole is not None else {}
    size = None if shape is None else tuple(TensorShape(shape).as_list())
    layer = InputLayer(size, batch_size, dtype, tensor, sparse, name, **arguments)
    result: Tensor = layer.output
    return result


def _nodes_before(outputs: Sequence[Tensor]) -> tuple[list[Node], list[Layer]]:
    """The calls of layers that lead to some tensors, each after those it needs; the layers, farthest first."""
    order: list[Node] = []
    done: set[int] = set()
    met: dict[int, Layer] = {}
    stack: list[tuple[Any, bool]] = [(x, False) for x in reversed(outputs)]
    while stack:
        item, ready = stack.pop()
        if ready:
            order.append(item)
            continue
        found = history_of(item)
        if found is None:
            raise ValueError(
                f"Output tensors of a Model must be the output of a Keras layer; {item!r} is not. Wrap what made it"
                " in a Lambda layer."
            )
        node = found[0]._nodes[found[1]]
        if id(node) in done:
            continue
        done.add(id(node))
        met.setdefault(id(node.layer), node.layer)
        stack.append((node, True))
        if not isinstance(node.layer, InputLayer):
            stack += [(x, False) for x in reversed(nest.flatten(node.inputs)) if isinstance(x, Tensor)]
    depth: dict[int, int] = {}
    far: dict[int, int] = {}
    for node in reversed(order):
        own = depth.setdefault(id(node), 0)
        far[id(node.layer)] = max(own, far.get(id(node.layer), 0))
        if isinstance(node.layer, InputLayer):
            continue
        for x in nest.flatten(node.inputs):
            source = history_of(x)
            if source is not None:
                before = id(source[0]._nodes[source[1]])
                depth[before] = max(depth.get(before, 0), own + 1)
    # Of layers as far from the outputs as one another, the one that was met first comes first.
    return order, sorted(met.values(), key=lambda layer: -far[id(layer)])


class Model(Layer):
    """Layers joined from inputs to outputs: `Model(inputs, outputs)`; or a class of one's own with `call`.

    Args:
      inputs: a tensor from `Input`, or a structure of them.
      outputs: tensors that layers made of these.
      name: a name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("inputs", "outputs", "name")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        functional = "inputs" in given and "outputs" in given
        self.stop_training = False
        self.optimizer: Any = None
        self._steps: _Steps | None = None
        self._network: list[Node] | None = None
        name = given.get("name")
        super().__init__(name=name, **{k: v for k, v in given.items() if k not in names})
        if functional:
            self._join(given["inputs"], given["outputs"])

    def _join(self, inputs: Any, outputs: Any) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._network, self._layers_in_order = _nodes_before(nest.flatten(outputs))
        for x in nest.flatten(inputs):
            if history_of(x) is None:
                raise ValueError(f"Input tensors to a Model must come from `keras.Input`; {x!r} does not")
        reached = {id(x) for node in self._network for x in nest.flatten(node.outputs)}
        begins = {id(x) for x in nest.flatten(inputs)}
        loose = [node.layer.name for node in self._network if isinstance(node.layer, InputLayer)
                 and id(nest.flatten(node.outputs)[0]) not in begins]  # fmt: skip
        if loose:
            raise ValueError(
                f"Graph disconnected: the outputs depend on inputs that the model does not have: {loose}"
            )
        unused = [x.name for x in nest.flatten(inputs) if id(x) not in reached]
        for x in nest.flatten(inputs):
            if x.name in unused:
                found = history_of(x)
                assert found is not None
                self._layers_in_order.insert(0, found[0])
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """The layers, those that others need first."""
        if self._network is not None:
            return list(self._layers_in_order)
        return self._sublayers()

    @property
    def weights(self) -> list[Any]:
        """The weights of the layers in turn, the trainable ones of each first."""
        if self._network is None and not isinstance(self, Sequential):
            return super().weights
        found = [weight for layer in self.layers for weight in layer.weights]
        return list({id(weight): weight for weight in found}.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Returns a layer by name or place.

        Raises:
          ValueError: if there is none.
        """
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Layers: {[layer.name for layer in self.layers]}")

    @property
    def inputs(self) -> list[Any]:
        """The input tensors."""
        return nest.flatten(self._inputs) if self._network is not None else []

    @property
    def outputs(self) -> list[Any]:
        """The output tensors."""
        return nest.flatten(self._outputs) if self._network is not None else []

    @property
    def input(self) -> Any:
        """The input tensors, as they were given."""
        return self._inputs if self._network is not None else super().input

    @property
    def output(self) -> Any:
        """The output tensors, as they were given."""
        return self._outputs if self._network is not None else super().output

    def _scope(self, inputs: Any) -> Any:
        return name_scope(self.name)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns what the layers make of other inputs."""
        del mask
        if self._network is None:
            raise NotImplementedError(
                "When subclassing the `Model` class, you should implement a `call` method."
            )
        values = {id(old): new for old, new in zip(self.inputs, nest.flatten(inputs), strict=True)}
        for node in self._network:
            if isinstance(node.layer, InputLayer):
                continue
            taken = nest.map_structure(lambda x: values.get(id(x), x), node.inputs)
            arguments = dict(node.arguments[1])
            if training is not None and "training" in arguments:
                arguments["training"] = training
            made = node.layer(taken, *node.arguments[0], **arguments)
            values.update(
                {id(o): n for o, n in zip(nest.flatten(node.outputs), nest.flatten(made), strict=True)}
            )
        return nest.map_structure(lambda x: values[id(x)], self._outputs)

    # -- training -----------------------------------------------------------------------------

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Any = None, loss_weights: Any = None,
        sample_weight_mode: Any = None, weighted_metrics: Any = None, target_tensors: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Says how the model is to be trained.

        Args:
          optimizer: a name, one of `keras.optimizers`, or one of `train`.
          loss: a name or a function of truth and prediction; one per output, by place or name, where there are several.
          metrics: names, functions, or metrics of `keras.metrics`: for all outputs, or a list of them per output.
          loss_weights: a number per output.
          sample_weight_mode: accepted: weights are per example.
          weighted_metrics: as `metrics`; these heed the weights of examples.
          target_tensors: must be None.
          **kwargs: accepted.
        """
        del sample_weight_mode, kwargs
        if target_tensors is not None:
            raise NotImplementedError("Model.compile: target_tensors are not supported: feed them to fit")
        self.optimizer = optimizers.get(optimizer)
        self.loss = loss
        self._metrics_asked = metrics, weighted_metrics
        self.loss_weights = loss_weights
        self._steps = None

    def _ready(self, x: Any, y: Any = None) -> _Steps:
        """What a step needs, built for data of these shapes where the model does not say them itself."""
        if self._steps is None or (y is not None and not self._steps.has_targets):
            if self._network is None:
                given = nest.map_structure(
                    lambda a: placeholder(
                        as_dtype(a.dtype if a.dtype != np.float64 else np.float32), [None, *a.shape[1:]]
                    ),
                    x,
                )
                inputs, outputs = nest.flatten(given), nest.flatten(self(given))
            else:
                inputs, outputs = self.inputs, self.outputs
            self._steps = _Steps(self, inputs, outputs, y)
        return self._steps

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that the outputs come from."""
        return [found[0].name for found in map(history_of, self.outputs) if found is not None]

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return [x.op.name for x in self.inputs]

    @property
    def metrics(self) -> list[Any]:
        """The metrics with a state that training and evaluation keep."""
        return list(self._steps.kept.values()) if self._steps is not None else []

    def reset_metrics(self) -> None:
        """Sets the states of the metrics to zero."""
        for metric in self.metrics:
            metric.reset_states()

    @property
    def metrics_names(self) -> list[str]:
        """The names of the figures that `evaluate` gives."""
        return self._steps.names if self._steps is not None else ["loss"]

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: int = 1,
        callbacks: Sequence[Any] | None = None, validation_split: float = 0.0, validation_data: Any = None,
        shuffle: Any = True, class_weight: Mapping[int, float] | None = None, sample_weight: Any = None,
        initial_epoch: int = 0, steps_per_epoch: int | None = None, validation_steps: int | None = None,
        **kwargs: Any,
    ) -> callback_classes.History:  # fmt: skip
        """Trains the model on arrays, a Dataset, or what yields batches.

        Args:
          x: an array, or a list or dict of them by input; or a `tf.data.Dataset`, a `keras.utils.Sequence` or a
            generator of `(x, y)` or `(x, y, weights)`.
          y: the truth, likewise.
          batch_size: default 32.
          epochs: the number of the last epoch.
          verbose: 0 says nothing, 1 and 2 a line per epoch.
          callbacks: what is called meanwhile.
          validation_split: the share of the examples, at the end, that is kept for validation.
          validation_data: `(x, y)` or `(x, y, weights)` to validate on after each epoch.
          shuffle: whether the order is new in every epoch.
          class_weight: the weight of the examples of each class.
          sample_weight: the weight of each example.
          initial_epoch: the number of the first epoch.
          steps_per_epoch: how many batches make an epoch; default all.
          validation_steps: likewise for validation.
          **kwargs: `nb_epoch`, the old name of `epochs`.

        Returns:
          A History: `history[name]` has the figure of each epoch.

        Raises:
          RuntimeError: before `compile`.
          ValueError: if arrays do not fit one another or the model.
        """
        epochs = kwargs.pop("nb_epoch", epochs)
        if kwargs:
            raise TypeError(f"Unrecognized keyword arguments: {', '.join(kwargs)}")
        self._check_compiled()
        source: _Source
        if _yields_batches(x):
            source = _Batches(x, class_weight, bool(shuffle))
        else:
            xs, ys = _arrays(x, "x"), _arrays(y, "y")
            weights = _weights(sample_weight, class_weight, ys)
            if validation_split and validation_data is None:
                count = len(nest.flatten(xs)[0])
                cut = int(count * (1.0 - validation_split))
                validation_data = (_rows(xs, slice(cut, None)), _rows(ys, slice(cut, None)))
                xs, ys = _rows(xs, slice(0, cut)), _rows(ys, slice(0, cut))
                weights = None if weights is None else weights[:cut]
            source = _Rows(xs, ys, weights, batch_size or 32, bool(shuffle))
        checks: _Source | None = None
        if validation_data is not None:
            if _yields_batches(validation_data):
                checks = _Batches(validation_data)
            else:
                vx, vy = _arrays(validation_data[0], "x"), _arrays(validation_data[1], "y")
                vw = None if len(validation_data) < 3 else np.asarray(validation_data[2], np.float32)
                checks = _Rows(vx, vy, vw, batch_size or 32)
        steps = self._ready(*source.look())
        history = callback_classes.History()
        called = [*(callbacks or ()), history]
        for callback in called:
            callback.set_model(self)
            callback.set_params({
                "epochs": epochs, "verbose": verbose, "do_validation": checks is not None,
                "metrics": [*steps.names, *(f"val_{name}" for name in steps.names if checks is not None)],
                "batch_size": batch_size, "steps": steps_per_epoch, "samples": source.count,
            })  # fmt: skip
        self.history = history
        self.stop_training = False
        _each(called, "on_train_begin", {})
        for epoch in range(initial_epoch, epochs):
            began = time.perf_counter()
            _each(called, "on_epoch_begin", epoch, {})
            logs = steps.epoch(source.epoch(steps_per_epoch), called, self)
            if checks is not None:
                found = steps.test(checks.epoch(validation_steps))
                logs |= {f"val_{name}": value for name, value in zip(steps.names, found, strict=True)}
            if verbose:
                told = " - ".join(f"{name}: {value:.4f}" for name, value in logs.items())
                sys.stdout.write(
                    f"Epoch {epoch + 1}/{epochs} - {time.perf_counter() - began:.0f}s - {told}\n"
                )
            _each(called, "on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        _each(called, "on_train_end", {})
        return history

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: int = 1, sample_weight: Any = None,
        steps: int | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Returns the loss on data, or a list of it and the metrics; the arguments are those of `fit`."""
        del verbose, kwargs
        self._check_compiled()
        source: _Source
        if _yields_batches(x):
            source = _Batches(x)
        else:
            weights = None if sample_weight is None else np.asarray(sample_weight, np.float32)
            source = _Rows(_arrays(x, "x"), _arrays(y, "y"), weights, batch_size or 32)
        found = self._ready(*source.look()).test(source.epoch(steps))
        return found[0] if len(found) == 1 else found

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: int = 0, steps: int | None = None, **kwargs: Any
    ) -> Any:
        """Returns the outputs for data: one array, or a list of them."""
        del verbose, kwargs
        source: _Source
        source = _Batches(x) if _yields_batches(x) else _Rows(_arrays(x, "x"), None, None, batch_size or 32)
        found = self._ready(source.look()[0]).predict(source.epoch(steps))
        return found[0] if len(found) == 1 else found

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for one batch."""
        xs = _arrays(x, "x")
        return self.predict(xs, batch_size=len(nest.flatten(xs)[0]))

    def fit_generator(
        self, generator: Any, steps_per_epoch: int | None = None, epochs: int = 1, verbose: int = 1,
        callbacks: Sequence[Any] | None = None, validation_data: Any = None, validation_steps: int | None = None,
        class_weight: Mapping[int, float] | None = None, max_queue_size: int = 10, workers: int = 1,
        use_multiprocessing: bool = False, shuffle: bool = True, initial_epoch: int = 0, **kwargs: Any,
    ) -> callback_classes.History:  # fmt: skip
        """Trains the model on what yields batches; see `fit`. Batches are made where they are used."""
        del max_queue_size, workers, use_multiprocessing
        return self.fit(
            generator, None, None, epochs, verbose, callbacks, 0.0, validation_data, shuffle, class_weight, None,
            initial_epoch, steps_per_epoch, validation_steps, **kwargs,
        )  # fmt: skip

    def evaluate_generator(
        self, generator: Any, steps: int | None = None, callbacks: Any = None, max_queue_size: int = 10,
        workers: int = 1, use_multiprocessing: bool = False, verbose: int = 0,
    ) -> Any:  # fmt: skip
        """Returns the loss on what yields batches, or a list of it and the metrics."""
        del callbacks, max_queue_size, workers, use_multiprocessing
        return self.evaluate(generator, verbose=verbose, steps=steps)

    def predict_generator(
        self, generator: Any, steps: int | None = None, callbacks: Any = None, max_queue_size: int = 10,
        workers: int = 1, use_multiprocessing: bool = False, verbose: int = 0,
    ) -> Any:  # fmt: skip
        """Returns the outputs for what yields batches."""
        del callbacks, max_queue_size, workers, use_multiprocessing
        return self.predict(generator, verbose=verbose, steps=steps)

    def reset_states(self) -> None:
        """Sets the states of stateful layers to zero."""
        for layer in self.layers:
            if layer.stateful and hasattr(layer, "reset_states"):
                layer.reset_states()

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
        reset_metrics: bool = True,
    ) -> Any:  # fmt: skip
        """Takes one step; returns the loss, or a list of it and the metrics.

        Args:
          x: a batch.
          y: its truth.
          sample_weight: the weight of each example.
          class_weight: the weight of the examples of each class.
          reset_metrics: whether metrics are of this batch alone.
        """
        self._check_compiled()
        xs, ys = _arrays(x, "x"), _arrays(y, "y")
        steps = self._ready(xs, ys)
        if reset_metrics:
            self.reset_metrics()
        found = steps.train(xs, ys, _weights(sample_weight, class_weight, ys))
        return found[0] if len(found) == 1 else found

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Returns the loss on one batch, or a list of it and the metrics."""
        xs = _arrays(x, "x")
        return self.evaluate(xs, y, batch_size=len(nest.flatten(xs)[0]), sample_weight=sample_weight)

    def _check_compiled(self) -> None:
        if self.optimizer is None:
            raise RuntimeError(
                "You must compile your model before training/testing. Use `model.compile(optimizer, loss)`."
            )

    # -- files and pictures -------------------------------------------------------------------

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, save_format: str | None = None
    ) -> None:
        """Writes the weights: as HDF5 if the name says so, else as a checkpoint of TensorFlow's.

        Args:
          filepath: the file; ".h5", ".hdf5" or ".keras" at its end ask for HDF5, which needs h5py.
          overwrite: False refuses to replace a file.
          save_format: "h5" or "tf", whatever the name.
        """
        path = os.fspath(filepath)
        is_hdf5 = save_format == "h5" or (save_format is None and path.endswith(hdf5.ENDINGS))
        if not overwrite and os.path.exists(path if is_hdf5 else f"{path}.index"):
            raise FileExistsError(f"{path} exists already")
        if is_hdf5:
            with hdf5.opened(path, "w") as file:
                hdf5.write_weights(file, self.layers)
            return
        Saver(self._by_name()).save(get_session(), path, write_meta_graph=False, write_state=False)

    def load_weights(self, filepath: str | os.PathLike[str], by_name: bool = False) -> None:
        """Reads the weights that `save_weights` wrote, or Keras, or `save`.

        Args:
          filepath: the file.
          by_name: of an HDF5 file: whether layers are found by name, others left as they are.
        """
        path = os.fspath(filepath)
        if not path.endswith(hdf5.ENDINGS) and not os.path.isfile(path):
            Saver(self._by_name()).restore(get_session(), path)
            return
        with hdf5.opened(path, "r") as file:
            hdf5.read_weights(
                file["model_weights"] if "model_weights" in file else file, self.layers, by_name
            )

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, include_optimizer: bool = True,
        save_format: str | None = None,
    ) -> None:  # fmt: skip
        """Writes structure, weights, and the state of training as Keras's HDF5; `load_model` reads it.

        Args:
          filepath: the file.
          overwrite: False refuses to replace a file.
          include_optimizer: whether the state of training is written, too.
          save_format: "h5" or None.

        Raises:
          ImportError: without h5py.
          NotImplementedError: for a class of one's own, whose structure only its code knows; or another format.
        """
        if save_format not in (None, "h5"):
            raise NotImplementedError(
                f"Model.save writes HDF5, not {save_format!r}; gf.saved_model.simple_save writes a SavedModel"
            )
        if not overwrite and os.path.exists(filepath):
            raise FileExistsError(f"{os.fspath(filepath)} exists already")
        hdf5.write_model(self, filepath, include_optimizer)

    def get_config(self) -> dict[str, Any]:
        """Returns the structure: layers, their configurations, and their calls.

        Raises:
          NotImplementedError: for a class of one's own.
        """
        if self._network is None:
            raise NotImplementedError(
                f"{type(self).__name__} is a class of its own: only its code knows its structure. Use save_weights"
            )
        calls: dict[int, tuple[str, int]] = {}
        counts: dict[str, int] = {}
        inbound: dict[str, list[Any]] = {layer.name: [] for layer in self._layers_in_order}

        def place(x: Tensor) -> list[Any]:
            source = history_of(x)
            assert source is not None
            name, number = calls[id(source[0]._nodes[source[1]])]
            return [name, number, source[2]]

        for node in self._network:
            name = node.layer.name
            number = counts.get(name, 0)
            counts[name] = number + 1
            calls[id(node)] = name, number
            if isinstance(node.layer, InputLayer):
                continue
            arguments = {
                k: v for k, v in node.arguments[1].items() if v is not None and not isinstance(v, Tensor)
            }
            inbound[name].append([[*place(x), arguments] for x in nest.flatten(node.inputs)])
        for x in self.inputs:
            source = history_of(x)
            assert source is not None
            calls.setdefault(id(source[0]._nodes[source[1]]), (source[0].name, 0))
        layers = [
            {"name": layer.name, "class_name": type(layer).__name__, "config": layer.get_config(),
             "inbound_nodes": inbound[layer.name]}
            for layer in self._layers_in_order
        ]  # fmt: skip
        return {
            "name": self.name, "layers": layers, "input_layers": [place(x) for x in self.inputs],
            "output_layers": [place(x) for x in self.outputs],
        }  # fmt: skip

    def to_json(self, **kwargs: Any) -> str:
        """Returns class and structure as JSON; `model_from_json` makes a model of it."""
        told = {"class_name": type(self).__name__, "config": self.get_config(), "keras_version": "2.2.4-tf",
                "backend": "tensorflow"}  # fmt: skip
        return json.dumps(told, default=hdf5.plain, **kwargs)

    def _by_name(self) -> dict[str, Any]:
        return {weight.op.name: weight for weight in self.weights}

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
    ) -> None:
        """Prints the layers, the shapes of their outputs and the numbers of their parameters."""
        del positions
        width = line_length or 65
        say = print_fn or (lambda text: sys.stdout.write(f"{text}\n"))
        say(f'Model: "{self.name}"')
        say("_" * width)
        say(f"{'Layer (type)':<29}{'Output Shape':<26}{'Param #':<10}")
        say("=" * width)
        for layer in self.layers:
            shape = (
                str(layer._nodes[0].outputs.shape)
                if layer._nodes and isinstance(layer._nodes[0].outputs, Tensor)
                else "multiple"
            )
            count = layer.count_params() if layer.built else 0
            say(f"{f'{layer.name} ({type(layer).__name__})':<29}{shape:<26}{count:<10}")
        say("=" * width)
        total = sum(int(np.prod(w.shape.as_list())) for w in self.weights)
        trained = sum(int(np.prod(w.shape.as_list())) for w in self.trainable_weights)
        say(
            f"Total params: {total:,}\nTrainable params: {trained:,}\nNon-trainable params: {total - trained:,}"
        )
        say("_" * width)


class Sequential(Model):
    """Layers one after another; the first says the shape of the input, or the first data do."""

    def __init__(self, layers: Sequence[Layer] | None = None, name: str | None = None) -> None:
        super().__init__(name=name)
        self._stack: list[Layer] = []
        for layer in layers or ():
            self.add(layer)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the placeholder."""
        return list(self._stack)

    def add(self, layer: Layer) -> None:
        """Adds a layer at the end.

        Raises:
          TypeError: if it is none.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"The added layer must be an instance of class Layer. Found: {layer}")
        self._steps = None
        if isinstance(layer, InputLayer):
            self._begin(layer.output)
            return
        self._stack.append(layer)
        if self._network is not None:
            self._join(self._inputs, layer(self._outputs))
        elif layer._batch_input_shape is not None and len(self._stack) == 1:
            kind = layer.dtype or "float32"
            self._begin(Input(batch_shape=layer._batch_input_shape, dtype=kind, name=f"{layer.name}_input"))
        elif isinstance(layer, Model) and layer._network is not None and len(self._stack) == 1:
            shape = layer.inputs[0].shape.as_list()
            self._begin(Input(batch_shape=shape, dtype=layer.inputs[0].dtype, name=f"{layer.name}_input"))

    def _begin(self, x: Tensor) -> None:
        y = x
        for layer in self._stack:
            y = layer(y)
        self._join(x, y)

    def pop(self) -> None:
        """Takes the last layer away.

        Raises:
          TypeError: if there is none.
        """
        if not self._stack:
            raise TypeError("There are no layers in the model.")
        self._stack.pop()
        self._steps = None
        if self._network is not None:
            self._join(self._inputs, self._stack[-1]._nodes[-1].outputs if self._stack else self._inputs)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights for inputs of a shape, the batch first."""
        if self._network is None and input_shape is not None:
            self._begin(Input(batch_shape=TensorShape(input_shape).as_list()))

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns what the layers make of the inputs."""
        if self._network is not None:
            return super().call(inputs, training, mask)
        for layer in self._stack:
            inputs = layer(inputs)
        return inputs

    def _ready(self, x: Any, y: Any = None) -> _Steps:
        if self._network is None:
            (array,) = nest.flatten(x)
            kind = np.float32 if array.dtype == np.float64 else array.dtype
            self._begin(Input(batch_shape=[None, *array.shape[1:]], dtype=as_dtype(kind)))
        return super()._ready(x, y)

    def get_config(self) -> dict[str, Any]:
        """Returns the layers in turn with their configurations."""
        layers = [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in self._stack]
        told: dict[str, Any] = {"name": self.name, "layers": layers}
        if self._network is not None:
            told["build_input_shape"] = self.inputs[0].shape.as_list()
        return told

    def predict_classes(self, x: Any, batch_size: int = 32, verbose: int = 0) -> Array:
        """Returns the likeliest class of each example."""
        found: Array = self.predict(x, batch_size, verbose)
        return found.argmax(-1) if found.shape[-1] > 1 else (found > 0.5).astype(np.int32)

    def predict_proba(self, x: Any, batch_size: int = 32, verbose: int = 0) -> Any:
        """The same as `predict`."""
        return self.predict(x, batch_size, verbose)


# ---------------------------------------------------------------------------- data


def _arrays(data: Any, what: str) -> Any:
    """Data as a structure of arrays with as many examples each.

    Raises:
      ValueError: for something else.
    """
    if data is None:
        return None
    if isinstance(data, Tensor):
        raise ValueError(f"{what}: models are trained on arrays or Datasets; got {type(data).__name__}")
    is_structure = isinstance(data, dict | tuple) or (
        isinstance(data, list) and bool(data) and isinstance(data[0], np.ndarray)
    )
    arrays = (
        {k: np.asarray(v) for k, v in data.items()}
        if isinstance(data, dict)
        else ([np.asarray(v) for v in data] if is_structure else np.asarray(data))
    )
    # Numbers are vectors of one.
    arrays = nest.map_structure(lambda a: a[:, None] if a.ndim == 1 else a, arrays)
    counts = {len(a) for a in nest.flatten(arrays)}
    if len(counts) > 1:
        raise ValueError(
            f"All arrays of {what} should have the same number of samples; they have {sorted(counts)}"
        )
    return arrays


def _yields_batches(data: Any) -> bool:
    """Whether data come batch by batch: from a Dataset or one of its iterators, a Sequence, a generator."""
    if isinstance(data, DataSequence) or hasattr(data, "make_one_shot_iterator"):
        return True
    if hasattr(data, "get_next") and hasattr(data, "initializer"):
        return True
    return isinstance(data, Iterator) or (hasattr(data, "__next__") and not isinstance(data, np.ndarray))


class _Source:
    """Where batches come from: `look` shows the first one's arrays, `epoch` yields one epoch's.

    Attributes:
      count: the number of examples, None where it is not known.
    """

    count: int | None = None

    def look(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def epoch(self, most: int | None) -> Iterator[tuple[Any, Any, Any]]:
        raise NotImplementedError


class _Rows(_Source):
    """Batches of arrays."""

    def __init__(self, xs: Any, ys: Any, weights: Any, batch: int, shuffle: bool = False) -> None:
        self.xs, self.ys, self.weights, self.batch, self.shuffle = xs, ys, weights, batch, shuffle
        self.count = len(nest.flatten(xs)[0])
        if ys is not None and len(nest.flatten(ys)[0]) != self.count:
            raise ValueError(f"x has {self.count} samples, y {len(nest.flatten(ys)[0])}")

    def look(self) -> tuple[Any, Any]:
        return self.xs, self.ys

    def epoch(self, most: int | None) -> Iterator[tuple[Any, Any, Any]]:
        assert self.count is not None
        order = np.random.permutation(self.count) if self.shuffle else None
        for rows in _batches(self.count, self.batch, order, most):
            yield _rows(self.xs, rows), _rows(self.ys, rows), _rows(self.weights, rows)


class _Batches(_Source):
    """Batches as a Dataset, a Sequence or a generator gives them; a generator goes on where the last epoch ended."""

    def __init__(self, data: Any, class_weight: Any = None, shuffle: bool = False) -> None:
        self.data, self.class_weight, self.shuffle = data, class_weight, shuffle
        self.first: Any = None
        self.running: Iterator[Any] | None = None

    def _begin(self) -> Iterator[Any]:
        if isinstance(self.data, DataSequence):
            return self._in_order()
        if hasattr(self.data, "make_one_shot_iterator"):
            return self._of_dataset(self.data.make_initializable_iterator())
        if hasattr(self.data, "get_next"):
            return self._of_dataset(self.data)
        return iter(self.data)

    def _in_order(self) -> Iterator[Any]:
        order = np.random.permutation(len(self.data)) if self.shuffle else range(len(self.data))
        for i in order:
            yield self.data[int(i)]
        self.data.on_epoch_end()

    @staticmethod
    def _of_dataset(iterator: Any) -> Iterator[Any]:
        session = get_session()
        batch = iterator.get_next()
        if getattr(iterator, "_initializer", None) is not None:
            session.run(iterator.initializer)
        while True:
            try:
                yield session.run(batch)
            except OutOfRangeError:
                return

    def _taken(self, batch: Any) -> tuple[Any, Any, Any]:
        parts = batch if isinstance(batch, tuple) else (batch, None)
        if len(parts) not in (1, 2, 3):
            raise ValueError(f"a batch is (x, y) or (x, y, weights), not {len(parts)} things")
        x, y, w = (*parts, None, None)[:3]
        ys = _arrays(y, "y")
        return _arrays(x, "x"), ys, _weights(w, self.class_weight, ys)

    def look(self) -> tuple[Any, Any]:
        if self.first is None:
            self.running = self._begin()
            self.first = self._taken(next(self.running))
        return self.first[0], self.first[1]

    def epoch(self, most: int | None) -> Iterator[tuple[Any, Any, Any]]:
        number = 0
        while most is None or number < most:
            if self.first is not None:
                batch, self.first = self.first, None
            else:
                if self.running is None:
                    self.running = self._begin()
                item = next(self.running, None)
                if item is None:
                    self.running = None
                    restarts = most is not None and (isinstance(self.data, DataSequence) or number == 0)
                    if restarts and number < (most or 0) and not isinstance(self.data, Iterator):
                        continue
                    return
                batch = self._taken(item)
            number += 1
            yield batch


def _rows(data: Any, rows: Any) -> Any:
    return None if data is None else nest.map_structure(lambda a: a[rows], data)


def _weights(sample_weight: Any, class_weight: Any, y: Any) -> Any:
    if class_weight is None:
        return None if sample_weight is None else np.asarray(sample_weight, np.float32)
    labels = nest.flatten(y)[0]
    labels = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels.reshape(len(labels))
    own = np.array([class_weight[int(label)] for label in labels], np.float32)
    return own if sample_weight is None else own * np.asarray(sample_weight, np.float32)


def _each(called: Sequence[Any], method: str, *args: Any) -> None:
    for callback in called:
        getattr(callback, method)(*args)


def by_output(asked: Any, names: Sequence[str], what: str) -> list[Any]:
    """One thing for each output, given as one, as a list, or by name."""
    if isinstance(asked, dict):
        unknown = set(asked) - set(names)
        if unknown:
            raise ValueError(
                f"Unknown entries in {what} dictionary: {sorted(unknown)}. Outputs: {list(names)}"
            )
        return [asked.get(name) for name in names]
    if isinstance(asked, list | tuple):
        if len(asked) != len(names):
            raise ValueError(f"{what}: {len(asked)} entries for {len(names)} outputs")
        return list(asked)
    return [asked] * len(names)


def metrics_by_output(asked: Any, names: Sequence[str]) -> list[list[Any]]:
    """The metrics of each output: all, or the list at its place, or those by its name."""

    def several(found: Any) -> list[Any]:
        return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]

    if isinstance(asked, dict) or (
        isinstance(asked, list | tuple) and any(isinstance(each, list | tuple) for each in asked)
    ):
        return [several(each) for each in by_output(asked, names, "metrics")]
    return [several(asked) for _ in names]


def metric_of(metric: Any, loss: Any, output: Tensor, target: Tensor) -> tuple[str, Any]:
    """The name of a metric, and what gives it: "accuracy" and "crossentropy" depend on loss and shapes."""
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "acc": (
            metric_functions.binary_accuracy, metric_functions.sparse_categorical_accuracy,
            metric_functions.categorical_accuracy,
        ),
        "ce": (
            metric_functions.binary_crossentropy, metric_functions.sparse_categorical_crossentropy,
            metric_functions.categorical_crossentropy,
        ),
    }  # fmt: skip
    short = {"accuracy": "acc", "acc": "acc", "crossentropy": "ce", "ce": "ce"}
    if not isinstance(metric, str) or metric not in short:
        found = metric_functions.get(metric)
        return str(getattr(found, "name", None) or getattr(found, "__name__", "metric")), found
    name = short[metric]
    of_two, by_number, of_many = kinds[name]
    function = getattr(loss, "fn", loss)
    if output.shape.as_list()[-1] == 1 or function in (
        "binary_crossentropy",
        loss_functions.binary_crossentropy,
    ):
        return name, of_two
    rank, own = output.shape.rank, target.shape
    if own.rank is not None and rank is not None and (own.rank < rank or own.as_list()[-1] == 1):
        return name, by_number
    return name, of_many


class _Steps:
    """The operations of a compiled model: a step of training, of testing, of prediction."""

    def __init__(self, model: Model, inputs: Sequence[Tensor], outputs: Sequence[Tensor], y: Any) -> None:
        self.model = model
        self.inputs = inputs
        self.outputs = list(outputs)
        self.input_names = [x.op.name for x in inputs]
        self.output_names = []
        for output in outputs:
            found = history_of(output)
            self.output_names.append(found[0].name if found else output.op.name)
        self.names = ["loss"]
        self.has_targets = y is not None
        self.targets: list[Tensor] = []
        self.update: Any = None
        # Metrics with a state, by the place of their figure.
        self.kept: dict[int, Metric] = {}
        if self.has_targets:
            self._build_losses(y)

    def _build_losses(self, y: Any) -> None:
        model, losses = self.model, []
        asked = by_output(model.loss, self.output_names, "loss")
        shares = by_output(model.loss_weights, self.output_names, "loss_weights")
        truths = self._ordered(y, self.output_names, "y")
        several = len(self.outputs) > 1
        self.figures: list[Tensor] = []
        names: list[str] = []
        with name_scope(f"{model.name}_training"):
            self.weight = placeholder(float32, [None], name="sample_weight")
            for i, (output, truth) in enumerate(zip(self.outputs, truths, strict=True)):
                target = placeholder(
                    as_dtype(np.float32 if truth.dtype == np.float64 else truth.dtype), [None, *truth.shape[1:]],
                    name=f"{self.output_names[i]}_target",
                )  # fmt: skip
                self.targets.append(target)
                if asked[i] is None:
                    continue
                loss = self._loss(loss_functions.get(asked[i]), target, output)
                share = shares[i]
                losses.append(loss if share is None else loss * float(share))
                if several:
                    names.append(f"{self.output_names[i]}_loss")
                    self.figures.append(loss)
            if not losses and not model.losses:
                raise ValueError("the model has no loss: give one to `compile`")
            self.total = add_n([*losses, *(cast(each, float32) for each in model.losses)])
            plain, weighted = (metrics_by_output(each, self.output_names) for each in model._metrics_asked)
            for i, output in enumerate(self.outputs):
                for metric in plain[i]:
                    self._add_metric(names, metric, asked[i], i, output, False)
                for metric in weighted[i]:
                    self._add_metric(names, metric, asked[i], i, output, True)
        self.names = ["loss", *names]

    def _loss(self, loss: Any, target: Tensor, output: Tensor) -> Tensor:
        """The loss of an output, as its reduction says: the mean over the batch if it does not."""
        if not isinstance(loss, loss_functions.Loss):
            return self._weighted(loss(target, output), mask_of(output))
        if loss.reduction == loss_functions.Reduction.NONE:
            raise ValueError(
                f"the loss {type(loss).__name__} has the reduction NONE, but a model is trained on one number: SUM,"
                " SUM_OVER_BATCH_SIZE or AUTO give one"
            )
        values = convert_to_tensor(loss.call(target, output))
        if loss.reduction != loss_functions.Reduction.SUM:
            return self._weighted(values, mask_of(output))
        mask = mask_of(output)
        if mask is not None and values.shape.rank == mask.shape.rank:
            values = values * cast(mask, values.dtype)
        return reduce_sum(values * loss_functions.weights_for(values, self.weight))

    def _add_metric(
        self, names: list[str], asked: Any, loss: Any, place: int, output: Tensor, heeds_weights: bool
    ) -> None:
        """Adds the figure of a metric: of each batch, or over all batches where the metric keeps a state."""
        target = self.targets[place]
        name, metric = metric_of(asked, loss, output, target)
        name = f"weighted_{name}" if heeds_weights else name
        name = f"{self.output_names[place]}_{name}" if len(self.outputs) > 1 else name
        number, unique = 1, name
        while unique in names:
            unique = f"{name}_{number}"
            number += 1
        names.append(unique)
        if heeds_weights and not isinstance(metric, Metric):
            # A weighted mean over an epoch is no mean of weighted means.
            metric = metric_functions.MeanMetricWrapper(metric, name=name)
        if isinstance(metric, Metric):
            self.kept[len(self.figures)] = metric
            self.figures.append(metric(target, output, sample_weight=self.weight if heeds_weights else None))
        else:
            self.figures.append(self._mean(metric(target, output), mask_of(output)))

    def _weighted(self, values: Tensor, mask: Any = None) -> Tensor:
        """The mean over examples, weighted; steps that a mask leaves out count nothing."""
        values = self._of_examples(values, mask)
        if values.shape.rank == 0:
            return values
        return reduce_sum(values * self.weight) / cast(values_size(values), float32)

    def _mean(self, values: Tensor, mask: Any) -> Tensor:
        """The mean over examples, whatever their weights."""
        values = self._of_examples(values, mask)
        return values if values.shape.rank == 0 else reduce_mean(values)

    @staticmethod
    def _of_examples(values: Tensor, mask: Any) -> Tensor:
        """The mean of each example."""
        values = cast(convert_to_tensor(values), float32)
        if values.shape.rank == 0:
            return values
        if mask is not None and values.shape.rank == mask.shape.rank:
            kept = cast(mask, float32)
            values = values * kept / reduce_mean(kept)
        if values.shape.rank is not None and values.shape.rank > 1:
            values = reduce_mean(values, axis=list(range(1, values.shape.rank)))
        return values

    def _ordered(self, data: Any, names: Sequence[str], what: str) -> list[Array]:
        if isinstance(data, dict):
            missing = [name for name in names if name not in data]
            if missing:
                raise ValueError(f"{what}: no array for {missing}; there are {sorted(data)}")
            return [data[name] for name in names]
        flat: list[Array] = nest.flatten(data)
        if len(flat) != len(names):
            raise ValueError(f"{what}: the model expects {len(names)} arrays, but got {len(flat)}")
        return flat

    def _feed(self, xs: Any, ys: Any, weights: Any, training: bool) -> dict[Any, Any]:
        feed: dict[Any, Any] = dict(zip(self.inputs, self._ordered(xs, self.input_names, "x"), strict=True))
        if ys is not None:
            truths = self._ordered(ys, self.output_names, "y")
            feed.update(zip(self.targets, truths, strict=True))
            count = len(truths[0])
            feed[self.weight] = np.ones(count, np.float32) if weights is None else weights
        feed.update(phase_feed(training))
        return feed

    def _state_updates(self) -> list[Any]:
        """What carries the states of stateful layers from batch to batch."""
        found: list[Any] = []
        stack = list(self.model.layers)
        while stack:
            layer = stack.pop()
            found += getattr(layer, "state_updates", [])
            stack += layer._sublayers()
        return found

    def _training(self) -> Any:
        if self.update is None:
            weights = self.model.trainable_weights
            if not weights:
                raise ValueError("the model has no trainable weights")
            step = self.model.optimizer.minimize(self.total, weights)
            self.update = [step, *self.model.updates, *self._state_updates()]
        return self.update

    def train(self, xs: Any, ys: Any, weights: Any) -> list[float]:
        """Takes a step; returns the figures."""
        update = self._training()
        session = get_session()
        found = session.run([self.total, *self.figures, update], self._feed(xs, ys, weights, True))
        return [float(value) for value in found[:-1]]

    def epoch(self, batches: Iterator[Any], called: Sequence[Any], model: Model) -> dict[str, float]:
        """Takes a step for each batch; returns the means of the figures."""
        total, seen = np.zeros(len(self.names)), 0
        self._forget()
        found: list[float] = []
        for number, (xs, ys, weights) in enumerate(batches):
            size = len(nest.flatten(xs)[0])
            begun = {"batch": number, "size": size}
            _each(called, "on_batch_begin", number, begun)
            _each(called, "on_train_batch_begin", number, begun)
            found = self.train(xs, ys, weights)
            total += np.array(found) * size
            seen += size
            logs = {**begun, **dict(zip(self.names, found, strict=True))}
            _each(called, "on_batch_end", number, logs)
            _each(called, "on_train_batch_end", number, logs)
            if model.stop_training:
                break
        return dict(zip(self.names, self._over_all(total / max(seen, 1), found), strict=True))

    def _forget(self) -> None:
        for metric in self.kept.values():
            metric.reset_states()

    def _over_all(self, means: Array, last: Sequence[float]) -> list[float]:
        """The figures of an epoch: means over its batches, but what metrics with a state say at last."""
        figures = [float(mean) for mean in means]
        for place in self.kept if len(last) else ():
            figures[place + 1] = float(last[place + 1])
        return figures

    def test(self, batches: Iterator[Any]) -> list[float]:
        """Returns the means of the figures over all batches."""
        total, seen = np.zeros(len(self.names)), 0
        session = get_session()
        self._forget()
        asked = [self.total, *self.figures, self._state_updates()]
        found: list[Any] = []
        for xs, ys, weights in batches:
            size = len(nest.flatten(xs)[0])
            found = session.run(asked, self._feed(xs, ys, weights, False))
            total += np.array(found[:-1], float) * size
            seen += size
        return self._over_all(total / max(seen, 1), found)

    def predict(self, batches: Iterator[Any]) -> list[Array]:
        """Returns the outputs for all batches."""
        session = get_session()
        initialize(session)
        asked = [self.outputs, self._state_updates()]
        parts = [session.run(asked, self._feed(xs, None, None, False))[0] for xs, _, _ in batches]
        return [np.concatenate([part[i] for part in parts]) for i in range(len(self.outputs))]


def values_size(values: Tensor) -> Tensor:
    """The number of examples."""
    from_shape: Tensor = backend.shape(values)[0]
    return from_shape


def _batches(count: int, size: int, order: Any, most: int | None) -> Iterator[Any]:
    for number, start in enumerate(range(0, count, size)):
        if most is not None and number >= most:
            return
        rows = slice(start, min(start + size, count))
        yield rows if order is None else order[rows]


_SAVING = ("clone_model", "load_model", "model_from_config", "model_from_json", "save_model")

__all__ = ["Input", "InputLayer", "InputSpec", "Model", "Sequential", *_SAVING]

# What makes models of files needs models itself.
__getattr__, __dir__ = lazy(__name__, (), dict.fromkeys(_SAVING, "graphflow.keras.saving"))
