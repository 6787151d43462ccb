"""Layer: weights and a call. The base of `keras.layers`, and below them of `layers` and the cells of `nn.rnn_cell`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import nest
from graphflow.dtypes import DType, as_dtype, float32
from graphflow.graph import Graph, Operation, Tensor, get_default_graph, graph_of, name_scope
from graphflow.keras import constraints, initializers, regularizers
from graphflow.keras.session import get_session
from graphflow.opdef import convert_to_tensor, emit
from graphflow.shapes import TensorShape
from graphflow.variables import Variable, VariableAggregation, VariableSynchronization

_NAMES = "keras_names"
_HISTORY = "keras_history"
_MASKS = "keras_masks"
_KEYWORDS = {
    "input_shape", "batch_input_shape", "batch_size", "weights", "activity_regularizer", "autocast",
    "input_dim", "input_length",
}  # fmt: skip


def to_snake_case(name: str) -> str:
    """Returns a class name as the name of a layer: "Conv2DTranspose" becomes "conv2d_transpose"."""
    spread = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", spread).lower()
    # A scope may not begin with an underscore.
    return f"private{snake}" if snake.startswith("_") else snake


def unique_object_name(prefix: str, zero_based: bool = True) -> str:
    """Returns a name that no layer of the default graph has been given: "dense", "dense_1", …"""
    counts: dict[str, int] = get_default_graph().registries.setdefault(_NAMES, {})
    number = counts.get(prefix, 0)
    counts[prefix] = number + 1
    if not zero_based:
        return f"{prefix}_{number + 1}"
    return f"{prefix}_{number}" if number else prefix


def history_of(tensor: Any) -> tuple[Layer, int, int] | None:
    """Returns the layer that made a tensor, which of its calls, and which of that call's outputs; else None."""
    if not isinstance(tensor, Tensor):
        return None
    found: tuple[Layer, int, int] | None = tensor.graph.registries.get(_HISTORY, {}).get(tensor)
    return found


def mask_of(tensor: Any) -> Any:
    """Returns the mask that comes with a tensor: which steps of a sequence are input; None: all."""
    if not isinstance(tensor, Tensor):
        return None
    return tensor.graph.registries.get(_MASKS, {}).get(tensor)


class Node:
    """One call of a layer.

    Attributes:
      layer: the layer.
      inputs: the structure of tensors that it was called with.
      outputs: the structure of tensors that it gave.
      arguments: the further arguments of the call, by position and by name.
    """

    def __init__(
        self, layer: Layer, inputs: Any, outputs: Any, arguments: tuple[Sequence[Any], Mapping[str, Any]]
    ) -> None:
        self.layer = layer
        self.inputs = inputs
        self.outputs = outputs
        self.arguments = arguments


class InputSpec:
    """What a layer expects of an input: rank, shape, dtype, sizes of single axes."""

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ) -> None:
        self.dtype = None if dtype is None else as_dtype(dtype).name
        self.shape = None if shape is None else TensorShape(shape)
        self.ndim = self.shape.rank if self.shape is not None else ndim
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        self.name = name
        self.optional = optional

    def __repr__(self) -> str:
        told = {
            "dtype": self.dtype, "shape": self.shape, "ndim": self.ndim, "max_ndim": self.max_ndim,
            "min_ndim": self.min_ndim, "axes": self.axes or None,
        }  # fmt: skip
        return f"InputSpec({', '.join(f'{k}={v}' for k, v in told.items() if v is not None)})"

    def refuse(self, x: Any, layer: str, which: int) -> None:
        """Raises ValueError for a tensor that is not what is expected."""
        shape = x.shape
        if shape.rank is None:
            return
        start = f"Input {which} of layer {layer} is incompatible with the layer: "
        if self.ndim is not None and shape.rank != self.ndim:
            raise ValueError(
                f"{start}expected ndim={self.ndim}, found ndim={shape.rank}. Full shape received: {shape.as_list()}"
            )
        if self.max_ndim is not None and shape.rank > self.max_ndim:
            raise ValueError(f"{start}expected max_ndim={self.max_ndim}, found ndim={shape.rank}")
        if self.min_ndim is not None and shape.rank < self.min_ndim:
            raise ValueError(
                f"{start}expected min_ndim={self.min_ndim}, found ndim={shape.rank}."
                f" Full shape received: {shape.as_list()}"
            )
        if self.dtype is not None and x.dtype.name != self.dtype:
            raise ValueError(f"{start}expected dtype={self.dtype}, found dtype={x.dtype.name}")
        sizes = shape.as_list()
        for axis, size in self.axes.items():
            if size is not None and sizes[axis] not in (size, None):
                raise ValueError(
                    f"{start}expected axis {axis} of input shape to have value {size} but received input with shape"
                    f" {sizes}"
                )
        if self.shape is not None and not shape.is_compatible_with(self.shape):
            raise ValueError(f"{start}expected shape={self.shape}, found shape={shape}")


def takes(function: Callable[..., Any], argument: str) -> bool:
    """Tells whether a function has an argument of that name."""
    parameters = inspect.signature(function).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def parts_in(value: Any) -> Iterator[Layer | Variable]:
    """Yields the layers and variables in an attribute: itself, or in lists, tuples and dicts."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Layer | Variable):
            yield item
        elif isinstance(item, list | tuple):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            stack.extend(reversed(list(item.values())))


class Layer:
    """Weights, made when the shape of the input is known, and a call that uses them.

    A layer of one's own overrides `build` (makes weights by `add_weight`) and `call`.

    Args:
      trainable: whether optimizers update its weights.
      name: its name; default that of its class, made unique.
      dtype: the dtype of its weights; default that of its first input.
      dynamic: accepted.
      **kwargs: `input_shape` or `batch_input_shape` (for the first layer of a Sequential), `batch_size`, `weights`
        (initial values, one array per weight), `activity_regularizer`.

    Raises:
      TypeError: for other keywords.
    """

    def __init__(
        self,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
        dynamic: bool = False,
        **kwargs: Any,
    ) -> None:
        del dynamic
        unknown = sorted(set(kwargs) - _KEYWORDS)
        if unknown:
            raise TypeError(f"{type(self).__name__}: keyword argument not understood: {', '.join(unknown)}")
        self._trainable = trainable
        self._name = self._default_name() if name is None else name
        self._dtype: DType | None = None if dtype is None else as_dtype(dtype)
        self._built = False
        self._trainable_weights: list[Any] = []
        self._non_trainable_weights: list[Any] = []
        self._losses: list[Tensor] = []
        self._updates: list[Any] = []
        self._nodes: list[Node] = []
        self._initial_weights = kwargs.get("weights")
        self._activity_regularizer = regularizers.get(kwargs.get("activity_regularizer"))
        self._batch_input_shape: tuple[int | None, ...] | None = None
        if "batch_input_shape" in kwargs:
            self._batch_input_shape = tuple(kwargs["batch_input_shape"])
        elif "input_shape" in kwargs or kwargs.get("input_dim") is not None:
            shape = kwargs["input_shape"] if "input_shape" in kwargs else (kwargs["input_dim"],)
            self._batch_input_shape = (kwargs.get("batch_size"), *shape)
        self.stateful = False
        self.supports_masking = False
        self.input_spec: Any = None

    def _default_name(self) -> str:
        return unique_object_name(to_snake_case(type(self).__name__))

    # -- what a layer defines -----------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Makes the weights; `input_shape` is a TensorShape, or a structure of them."""
        del input_shape
        self._built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the output tensors."""
        del args, kwargs
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the output for that of an input, found by building the call in a graph of its own."""
        if (
            not nest.is_nested(input_shape)
            or isinstance(input_shape, list | tuple)
            and not any(isinstance(size, TensorShape | list | tuple) for size in input_shape)
        ):
            input_shape = TensorShape(input_shape)
        with Graph().as_default():
            inputs = nest.map_structure(
                lambda shape: emit.Placeholder(dtype=self._dtype or float32, shape=TensorShape(shape)),
                input_shape,
            )
            twin = type(self).from_config(self.get_config())
            return nest.map_structure(lambda x: x.shape, twin(inputs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask of the output: that of the input, if the layer lets masks through."""
        del inputs
        return mask if self.supports_masking else None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if self._batch_input_shape is not None:
            config["batch_input_shape"] = self._batch_input_shape
        if self._dtype is not None:
            config["dtype"] = self._dtype.name
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes a layer from what `get_config` returned."""
        return cls(**config)

    # -- calling ------------------------------------------------------------------------------

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Builds the weights if need be and returns `call(inputs, …)`."""
        with graph_of(nest.flatten(inputs)).as_default(), self._scope(inputs):
            inputs = self._converted(inputs)
            self._check_inputs(inputs)
            self._maybe_build(inputs)
            masks = kwargs.get("mask")
            if masks is None:
                masks = nest.map_structure(mask_of, inputs) if nest.is_nested(inputs) else mask_of(inputs)
                if any(mask is not None for mask in nest.flatten(masks)) and takes(self.call, "mask"):
                    kwargs["mask"] = masks
            elif not takes(self.call, "mask"):
                del kwargs["mask"]
            outputs = self.call(inputs, *args, **kwargs)
            if outputs is None:
                raise ValueError(
                    "A layer's `call` method should return a Tensor or a list of Tensors, not None (layer:"
                    f" {self.name})."
                )
            # An output that is an input would have two makers.
            given = {id(x) for x in nest.flatten(inputs)}
            outputs = nest.map_structure(lambda y: emit.Identity(y) if id(y) in given else y, outputs)
            if self._activity_regularizer is not None:
                with name_scope("ActivityRegularizer"):
                    for y in nest.flatten(outputs):
                        batch = emit.Cast(
                            emit.StridedSlice(emit.Shape(y), [0], [1], [1], shrink_axis_mask=1), DstT=y.dtype
                        )
                        self.add_loss(self._activity_regularizer(y) / batch)
            self._mask(inputs, masks, outputs)
        self._record(inputs, outputs, (args, kwargs))
        return outputs

    def _mask(self, inputs: Any, masks: Any, outputs: Any) -> None:
        """Keeps the masks of the outputs."""
        if all(mask is None for mask in nest.flatten(masks)):
            masks = None
        made = self.compute_mask(inputs, masks)
        if made is None:
            return
        flat = list(made) if isinstance(made, list | tuple) else [made]
        for y, mask in zip(nest.flatten(outputs), flat, strict=False):
            if mask is not None and isinstance(y, Tensor):
                y.graph.registries.setdefault(_MASKS, {})[y] = mask

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The same as calling the layer."""
        return self(inputs, *args, **kwargs)

    def _scope(self, inputs: Any) -> Any:
        """Returns the context that weights and operations of a call are made in."""
        del inputs
        return name_scope(self.name)

    def _converted(self, inputs: Any) -> Any:
        def convert(x: Any) -> Any:
            return convert_to_tensor(x) if isinstance(x, np.ndarray | float | int | np.generic) else x

        return nest.map_structure(convert, inputs) if nest.is_nested(inputs) else convert(inputs)

    def _check_inputs(self, inputs: Any) -> None:
        if self.input_spec is None:
            return
        flat = nest.flatten(inputs)
        specs = nest.flatten(self.input_spec)
        if len(flat) != len(specs):
            raise ValueError(
                f"Layer {self.name} expects {len(specs)} inputs, but it received {len(flat)} input tensors."
            )
        for i, (spec, x) in enumerate(zip(specs, flat, strict=True)):
            if spec is not None:
                spec.refuse(x, self.name, i)

    def _maybe_build(self, inputs: Any) -> None:
        if self.built:
            return
        if self._dtype is None:
            for x in nest.flatten(inputs):
                dtype = getattr(x, "dtype", None)
                if isinstance(dtype, DType) and (dtype.is_floating or dtype.is_complex):
                    self._dtype = dtype
                    break
        shapes = nest.map_structure(lambda x: x.shape if hasattr(x, "shape") else TensorShape(None), inputs)
        self.build(shapes)
        self._built = True
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)
            self._initial_weights = None

    def _record(self, inputs: Any, outputs: Any, arguments: tuple[Sequence[Any], Mapping[str, Any]]) -> None:
        self._nodes.append(Node(self, inputs, outputs, arguments))
        for i, y in enumerate(nest.flatten(outputs)):
            if isinstance(y, Tensor):
                y.graph.registries.setdefault(_HISTORY, {})[y] = (self, len(self._nodes) - 1, i)

    # -- weights ------------------------------------------------------------------------------

    def add_weight(
        self,
        name: str | None = None,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        partitioner: Any = None,
        use_resource: bool | None = None,
        synchronization: VariableSynchronization = VariableSynchronization.AUTO,
        aggregation: VariableAggregation = VariableAggregation.NONE,
        **kwargs: Any,
    ) -> Any:
        """Makes a weight of the layer.

        Args:
          name: its name inside the layer's scope.
          shape: its shape; default a scalar.
          dtype: its dtype; default that of the layer.
          initializer: default Glorot's uniform one, zeros for integers and bools.
          regularizer: a function of the weight whose result joins the losses.
          trainable: whether optimizers update it; default yes, unless `synchronization` is ON_READ.
          constraint: a function applied to the value after each step of an optimizer.
          partitioner: accepted; variables are never split.
          use_resource: accepted.
          synchronization: accepted; see `trainable`.
          aggregation: accepted.
          **kwargs: `getter`: what makes the variable; `collections`.

        Raises:
          ValueError: if it is trainable while `synchronization` is ON_READ.
        """
        if synchronization is VariableSynchronization.ON_READ:
            if trainable:
                raise ValueError(
                    "Synchronization value can be set to VariableSynchronization.ON_READ only for non-trainable"
                    " variables. You have specified trainable=True and synchronization=VariableSynchronization.ON_READ."
                )
            trainable = False
        elif trainable is None:
            trainable = True
        kind = as_dtype(dtype if dtype is not None else self._dtype or float32)
        maker = kwargs.pop("getter", None)
        collections = kwargs.pop("collections", None)
        arguments = {
            "dtype": kind, "trainable": trainable and self.trainable, "collections": collections,
            "use_resource": use_resource, "synchronization": synchronization, "aggregation": aggregation,
            "constraint": constraints.get(constraint),
        }  # fmt: skip
        sizes = TensorShape([] if shape is None else shape)
        regularizer = regularizers.get(regularizer)
        if maker is not None:
            variable = maker(
                name,
                shape=sizes,
                initializer=initializers.get(initializer),
                partitioner=partitioner,
                **arguments,
            )
        else:
            chosen = initializers.get(initializer)
            if chosen is None:
                chosen = initializers.get("glorot_uniform" if kind.is_floating else "zeros")
            value = functools.partial(chosen, sizes, dtype=kind)
            variable = Variable(value, name=name or "weight", **arguments)
            if regularizer is not None:
                with name_scope(f"{name or 'weight'}/Regularizer"):
                    self.add_loss(regularizer(variable))
        own = self._trainable_weights if trainable else self._non_trainable_weights
        if not any(variable is other for other in own):
            own.append(variable)
        return variable

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        """The older name of `add_weight`."""
        return self.add_weight(*args, **kwargs)

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds scalar tensors, or functions without arguments that return such, to the losses of the layer."""
        del inputs
        for loss in losses if isinstance(losses, list | tuple) else [losses]:
            value = loss() if callable(loss) else loss
            if value is not None:
                self._losses.append(convert_to_tensor(value))

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Adds operations that training is to run, such as those that move averages."""
        del inputs
        for update in updates if isinstance(updates, list | tuple) else [updates]:
            value = update() if callable(update) and not isinstance(update, Tensor | Operation) else update
            if value is not None:
                self._updates.append(value)

    def _parts(self) -> Iterator[Layer | Variable]:
        own = {"_trainable_weights", "_non_trainable_weights", "_losses", "_updates", "_nodes"}
        for name, value in vars(self).items():
            if name not in own:
                yield from parts_in(value)

    def _sublayers(self) -> list[Layer]:
        return list({id(part): part for part in self._parts() if isinstance(part, Layer)}.values())

    def _gathered(self, own: Iterable[Any], trainable: bool) -> list[Any]:
        weights = list(own)
        mine = [*self._trainable_weights, *self._non_trainable_weights]
        for part in self._parts():
            if isinstance(part, Layer):
                weights += part.trainable_weights if trainable else part.non_trainable_weights
            elif part.trainable is trainable and not any(part is other for other in mine):
                weights.append(part)
        return list({id(weight): weight for weight in weights}.values())

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that optimizers update; none if the layer is not trainable."""
        return self._gathered(self._trainable_weights, True) if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """All other weights."""
        if self.trainable:
            return self._gathered(self._non_trainable_weights, False)
        fixed = self._gathered([*self._trainable_weights, *self._non_trainable_weights], False)
        inside = [weight for layer in self._sublayers() for weight in layer.weights]
        return list({id(weight): weight for weight in [*fixed, *inside]}.values())

    @property
    def weights(self) -> list[Any]:
        """All weights, the trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights
    variables = weights

    @property
    def losses(self) -> list[Tensor]:
        """Losses that depend on weights or activations, of this layer and those inside."""
        return self._losses + [loss for layer in self._sublayers() for loss in layer.losses]

    @property
    def updates(self) -> list[Any]:
        """Operations that training is to run, of this layer and those inside; none if it is not trainable."""
        if not self.trainable and not self.stateful:
            return []
        return self._updates + [update for layer in self._sublayers() for update in layer.updates]

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """Returns the updates, whatever the inputs."""
        del inputs
        return self.updates

    def get_losses_for(self, inputs: Any) -> list[Tensor]:
        """Returns the losses, whatever the inputs."""
        del inputs
        return self.losses

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Returns the values of the weights in the session of Keras."""
        session = get_session()
        return [np.asarray(session.run(weight)) for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the values of the weights in the session of Keras.

        Raises:
          ValueError: if there are not as many values as weights, or a shape does not fit.
        """
        own = self.weights
        if len(own) != len(weights):
            raise ValueError(
                f'You called `set_weights(weights)` on layer "{self.name}" with a weight list of length {len(weights)},'
                f" but the layer was expecting {len(own)} weights."
            )
        session = get_session()
        for weight, value in zip(own, weights, strict=True):
            array = np.asarray(value)
            if not weight.shape.is_compatible_with(array.shape):
                raise ValueError(
                    f"Layer weight shape {weight.shape} not compatible with provided weight shape {array.shape}"
                )
            weight.load(array, session)

    def count_params(self) -> int:
        """Returns the number of elements of all weights.

        Raises:
          ValueError: if the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on {self.name}, but the layer isn't built. You can build it"
                f" manually via: `{self.name}.build(batch_input_shape)`."
            )
        return sum(int(np.prod(weight.shape.as_list())) for weight in self.weights)

    # -- members ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The layer's name."""
        return self._name

    @property
    def dtype(self) -> Any:
        """The name of the dtype of its weights, or None before it is known."""
        return None if self._dtype is None else self._dtype.name

    @property
    def built(self) -> bool:
        """Whether the weights are made."""
        return self._built

    @built.setter
    def built(self, value: bool) -> None:
        self._built = value

    @property
    def trainable(self) -> bool:
        """Whether optimizers update its weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        for layer in self._sublayers():
            layer.trainable = value

    @property
    def activity_regularizer(self) -> Any:
        """A function of each output whose mean over the batch joins the losses."""
        return self._activity_regularizer

    def _only(self, what: str) -> Any:
        if not self._nodes:
            raise AttributeError(f"Layer {self.name} has never been called and thus has no defined {what}.")
        if len(self._nodes) > 1:
            raise AttributeError(
                f'Layer {self.name} has multiple inbound nodes, hence the notion of "layer {what}" is ill-defined. Use'
                f" `get_{what}_at(node_index)` instead."
            )
        return getattr(self._nodes[0], f"{what}s")

    @property
    def input(self) -> Any:
        """The input of the only call."""
        return self._only("input")

    @property
    def output(self) -> Any:
        """The output of the only call."""
        return self._only("output")

    @property
    def input_shape(self) -> Any:
        """The shape of the input of the only call."""
        return nest.map_structure(lambda x: tuple(x.shape.as_list()), self.input)

    @property
    def output_shape(self) -> Any:
        """The shape of the output of the only call."""
        return nest.map_structure(lambda x: tuple(x.shape.as_list()), self.output)

    def get_input_at(self, node_index: int) -> Any:
        """Returns the input of a call."""
        return self._nodes[node_index].inputs

    def get_output_at(self, node_index: int) -> Any:
        """Returns the output of a call."""
        return self._nodes[node_index].outputs

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} object, name={self.name!r}>"


__all__ = [
    "InputSpec", "Layer", "Node", "history_of", "mask_of", "parts_in", "takes", "to_snake_case",
    "unique_object_name",
]  # fmt: skip
