"""`keras.backend`: the session and phase of Keras, and tensors by Keras's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.control_flow import while_loop
from graphflow.gradients import gradients as _gradients
from graphflow.graph import Graph as Graph
from graphflow.graph import Tensor, get_default_graph, name_scope
from graphflow.keras.base_layer import unique_object_name
from graphflow.keras.session import (
    clear_session,
    get_session,
    learning_phase,
    set_learning_phase,
    set_session,
)
from graphflow.keras.smart_cond import smart_cond
from graphflow.opdef import constant as _constant
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops import elementwise, layout, linalg, nn, random, reduction, source
from graphflow.tensor_array import TensorArray
from graphflow.variables import Variable

_settings: dict[str, Any] = {"epsilon": 1e-7, "floatx": "float32", "image_data_format": "channels_last"}


def epsilon() -> float:
    """Returns the small number that keeps divisions and logarithms finite."""
    return float(_settings["epsilon"])


def set_epsilon(value: float) -> None:
    """Sets it."""
    _settings["epsilon"] = float(value)


def floatx() -> str:
    """Returns the name of the usual floating dtype."""
    return str(_settings["floatx"])


def set_floatx(value: str) -> None:
    """Sets it: "float16", "float32" or "float64"."""
    if value not in ("float16", "float32", "float64"):
        raise ValueError(f"Unknown floatx type: {value}")
    _settings["floatx"] = value


def image_data_format() -> str:
    """Returns the usual order of the axes of images."""
    return str(_settings["image_data_format"])


def set_image_data_format(data_format: str) -> None:
    """Sets it: "channels_last" or "channels_first"."""
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(f"Unknown data_format: {data_format}")
    _settings["image_data_format"] = data_format


def cast_to_floatx(x: Any) -> Any:
    """Returns an array or tensor in the usual floating dtype."""
    return elementwise.cast(x, floatx()) if isinstance(x, Tensor | Variable) else np.asarray(x, floatx())


def get_uid(prefix: str = "") -> int:
    """Returns a number that no other call for this prefix and graph has given."""
    return int(unique_object_name(prefix, zero_based=False).rpartition("_")[2])


def backend() -> str:
    """Returns "tensorflow"."""
    return "tensorflow"


def get_graph() -> Graph:
    """Returns the default graph."""
    return get_default_graph()


# -- values -----------------------------------------------------------------------------------


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Variable:
    """Returns a variable."""
    return Variable(value, dtype=dtype or floatx(), name=name, constraint=constraint)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    """Returns a constant."""
    return _constant(value, dtype=dtype or floatx(), shape=shape, name=name or "Const")


def placeholder(
    shape: Any = None,
    ndim: int | None = None,
    dtype: Any = None,
    sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """Returns a placeholder."""
    if sparse:
        raise ValueError("keras.backend.placeholder: sparse ones are made by gf.sparse_placeholder")
    return source.placeholder(
        dtype or floatx(), [None] * ndim if shape is None and ndim else shape, name=name
    )


def get_value(x: Any) -> Any:
    """Returns the value of a tensor or variable in Keras's session."""
    return get_session().run(x) if isinstance(x, Tensor | Variable) else x


def batch_get_value(tensors: Sequence[Any]) -> list[Any]:
    """Returns the values of several."""
    return list(get_session().run(list(tensors))) if tensors else []


def set_value(x: Variable, value: Any) -> None:
    """Sets the value of a variable in Keras's session."""
    x.load(np.asarray(value, x.dtype.as_numpy_dtype), get_session())


def batch_set_value(tuples: Sequence[tuple[Variable, Any]]) -> None:
    """Sets the values of several."""
    for x, value in tuples:
        set_value(x, value)


def eval(x: Any) -> Any:
    """Returns the value of a tensor or variable in Keras's session."""
    return get_value(x)


def function(
    inputs: Sequence[Any], outputs: Any, updates: Any = None, name: str | None = None
) -> Callable[..., Any]:
    """Returns a function of values for `inputs` that gives those of `outputs`, and runs `updates`."""
    del name
    many = isinstance(outputs, list | tuple)
    fetched = list(outputs) if many else [outputs]
    operations = [item[0].assign(item[1]) if isinstance(item, tuple) else item for item in updates or []]

    def run(values: Sequence[Any]) -> Any:
        feed = dict(zip(inputs, values, strict=True))
        results = get_session().run([fetched, operations], feed)[0]
        return results if many else results[0]

    return run


def is_keras_tensor(x: Any) -> bool:
    """Whether a tensor comes from a layer."""
    from_layer = get_default_graph().registries.get("keras_history", {})
    return isinstance(x, Tensor) and x in from_layer


# -- shapes -----------------------------------------------------------------------------------


def int_shape(x: Any) -> tuple[int | None, ...] | None:
    """Returns the static shape as a tuple, None for an unknown rank."""
    return None if x.shape.rank is None else tuple(x.shape.as_list())


def ndim(x: Any) -> int | None:
    """Returns the rank."""
    rank: int | None = x.shape.rank
    return rank


def dtype(x: Any) -> str:
    """Returns the name of the dtype."""
    return str(x.dtype.name)


def count_params(x: Any) -> int:
    """Returns the number of elements."""
    return int(np.prod(x.shape.as_list()))


def reshape(x: Any, shape: Any) -> Tensor:
    """Returns a tensor in another shape."""
    return layout.reshape(x, shape)


def permute_dimensions(x: Any, pattern: Any) -> Tensor:
    """Returns a tensor with its axes in another order."""
    return layout.transpose(x, perm=pattern)


def flatten(x: Any) -> Tensor:
    """Returns a tensor as a vector."""
    return layout.reshape(x, [-1])


def batch_flatten(x: Any) -> Tensor:
    """Returns a tensor as a matrix: all axes but the first as one."""
    return layout.reshape(x, layout.stack([-1, reduction.reduce_prod(emit.Shape(x)[1:])]))


def expand_dims(x: Any, axis: int = -1) -> Tensor:
    """Adds an axis of size one."""
    return layout.expand_dims(x, axis)


def squeeze(x: Any, axis: int) -> Tensor:
    """Takes away an axis of size one."""
    return layout.squeeze(x, [axis])


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Tensor:
    """Joins tensors along an axis."""
    return layout.concat(list(tensors), axis % tensors[0].shape.rank if axis < 0 else axis)


def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Stacks tensors along a new axis."""
    return layout.stack(list(x), axis=axis)


def tile(x: Any, n: Any) -> Tensor:
    """Repeats a tensor along its axes."""
    return layout.tile(x, [n] if isinstance(n, int) else n)


def repeat(x: Any, n: int) -> Tensor:
    """[batch, size] as [batch, n, size]."""
    return layout.tile(layout.expand_dims(x, 1), [1, n, 1])


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = "int32") -> Tensor:
    """Returns numbers from `start` to `stop`."""
    if stop is None:
        start, stop = 0, start
    return elementwise.cast(source.range(start, limit=stop, delta=step), dtype)


def shape(x: Any) -> Tensor:
    """Returns the shape as a tensor."""
    return source.shape(x)


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Returns a variable of zeros."""
    return Variable(np.zeros(shape, dtypes.as_dtype(dtype or floatx()).as_numpy_dtype), name=name)


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Returns a variable of ones."""
    return Variable(np.ones(shape, dtypes.as_dtype(dtype or floatx()).as_numpy_dtype), name=name)


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Returns zeros of the shape of a tensor."""
    return source.zeros_like(x, dtype=dtype, name=name)


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Returns ones of the shape of a tensor."""
    return source.ones_like(x, dtype=dtype, name=name)


# -- reductions -------------------------------------------------------------------------------


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Sums along axes."""
    return reduction.reduce_sum(x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Means along axes; bools count as numbers."""
    x = convert_to_tensor(x)
    return reduction.reduce_mean(elementwise.cast(x, floatx()) if x.dtype.is_bool else x, axis, keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest along axes."""
    return reduction.reduce_max(x, axis, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Smallest along axes."""
    return reduction.reduce_min(x, axis, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Products along axes."""
    return reduction.reduce_prod(x, axis, keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Variances along axes."""
    return reduction.reduce_variance(x, axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Standard deviations along axes."""
    return reduction.reduce_std(x, axis, keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether something holds along axes."""
    return reduction.reduce_any(elementwise.cast(x, dtypes.bool_), axis, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether everything holds along axes."""
    return reduction.reduce_all(elementwise.cast(x, dtypes.bool_), axis, keepdims)


def argmax(x: Any, axis: int = -1) -> Tensor:
    """The place of the largest along an axis."""
    return reduction.argmax(x, axis)


def argmin(x: Any, axis: int = -1) -> Tensor:
    """The place of the smallest along an axis."""
    return reduction.argmin(x, axis)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The logarithm of the sum of exponentials."""
    return reduction.reduce_logsumexp(x, axis, keepdims)


# -- arithmetic -------------------------------------------------------------------------------


def dot(x: Any, y: Any) -> Tensor:
    """The product over the last axis of `x` and the last but one of `y`."""
    x, y = convert_to_tensor(x), convert_to_tensor(y)
    if x.shape.rank == 2 and y.shape.rank == 2:
        return linalg.matmul(x, y)
    assert x.shape.rank is not None and y.shape.rank is not None
    return linalg.tensordot(x, y, [[x.shape.rank - 1], [y.shape.rank - 2 if y.shape.rank > 1 else 0]])


def clip(x: Any, min_value: Any, max_value: Any) -> Tensor:
    """Keeps elements between two bounds."""
    return elementwise.clip_by_value(x, min_value, max_value)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two tensors by a scalar condition, or element by element."""
    chosen = convert_to_tensor(condition)
    if chosen.shape.rank == 0:
        branches = [
            each if callable(each) else (lambda each=each: each)
            for each in (then_expression, else_expression)
        ]
        return smart_cond(elementwise.cast(chosen, dtypes.bool_), branches[0], branches[1])
    values = [each() if callable(each) else each for each in (then_expression, else_expression)]
    return elementwise.where_v2(elementwise.cast(chosen, dtypes.bool_), *values)


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`x` in training, `alt` else."""
    branches = [each if callable(each) else (lambda each=each: each) for each in (x, alt)]
    return smart_cond(learning_phase() if training is None else training, branches[0], branches[1])


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`alt` in training, `x` else."""
    return in_train_phase(alt, x, training)


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Tensor:
    """Drops a share of the elements."""
    return nn.dropout(x, rate=level, noise_shape=noise_shape, seed=seed)


def l2_normalize(x: Any, axis: Any = None) -> Tensor:
    """Scales to a norm of one along an axis."""
    return linalg.l2_normalize(x, axis=axis)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """Softmax along an axis."""
    return nn.softmax(x, axis=axis)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0) -> Tensor:
    """See `keras.activations.relu`."""
    from_below = elementwise.leaky_relu(x, alpha=alpha) if alpha else elementwise.relu(x)
    if threshold:
        from_below = elementwise.where_v2(x > threshold, x, alpha * (x - threshold))
    return from_below if max_value is None else elementwise.minimum(from_below, float(max_value))


def hard_sigmoid(x: Any) -> Tensor:
    """`0.2 x + 0.5`, kept between 0 and 1."""
    return elementwise.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


def _without_identities(x: Tensor) -> Tensor:
    while x.op.type == "Identity":
        x = x.op.inputs[0]
    return x


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """The cross entropy of distributions; where the output is a softmax, from what went into it."""
    output = convert_to_tensor(output)
    target = elementwise.cast(target, output.dtype)
    before = _without_identities(output)
    if not from_logits and before.op.type == "Softmax" and axis in (-1, output.shape.rank):
        output, from_logits = before.op.inputs[0], True
    if from_logits:
        return nn.softmax_cross_entropy_with_logits_v2(labels=target, logits=output, axis=axis)
    output = output / reduction.reduce_sum(output, axis, True)
    output = elementwise.clip_by_value(output, epsilon(), 1.0 - epsilon())
    return -reduction.reduce_sum(target * elementwise.log(output), axis)


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """The cross entropy of classes given by number."""
    output = convert_to_tensor(output)
    before = _without_identities(output)
    if not from_logits and before.op.type == "Softmax":
        output, from_logits = before.op.inputs[0], True
    if not from_logits:
        output = elementwise.log(elementwise.clip_by_value(output, epsilon(), 1 - epsilon()))
    if axis not in (-1, None) and output.shape.rank is not None and axis != output.shape.rank - 1:
        order = [i for i in range(output.shape.rank) if i != axis % output.shape.rank]
        output = layout.transpose(output, [*order, axis % output.shape.rank])
    target = elementwise.cast(target, dtypes.int64)
    if target.shape.rank == output.shape.rank:
        target = layout.squeeze(target, [-1])
    return nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=output)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """The cross entropy of each element by itself; where the output is a sigmoid, from what went into it."""
    output = convert_to_tensor(output)
    target = elementwise.cast(target, output.dtype)
    before = _without_identities(output)
    if not from_logits and before.op.type == "Sigmoid":
        output, from_logits = before.op.inputs[0], True
    if from_logits:
        return nn.sigmoid_cross_entropy_with_logits(labels=target, logits=output)
    output = elementwise.clip_by_value(output, epsilon(), 1.0 - epsilon())
    hit = target * elementwise.log(output + epsilon())
    return -(hit + (1 - target) * elementwise.log(1 - output + epsilon()))


def batch_dot(x: Any, y: Any, axes: Any = None) -> Tensor:
    """The sums of products along an axis of each, example by example.

    Args:
      x: [batch, ...], of known rank, at least 2.
      y: likewise.
      axes: the axis of both, or one of each; default the last of `x` and the last but one of `y`, which is its
        only one if its rank is 2.

    Returns:
      [batch, other axes of x, other axes of y]; [batch, 1] if there are none.

    Raises:
      ValueError: if a rank is unknown or below 2, or the axis is that of the batch.
    """
    x, y = convert_to_tensor(x), convert_to_tensor(y)
    one, two = x.shape.rank, y.shape.rank
    if one is None or two is None or one < 2 or two < 2:
        raise ValueError(
            f"Cannot do batch_dot on inputs of shapes {x.shape} and {y.shape}: ranks must be 2 or more"
        )
    if axes is None:
        axes = (one - 1, two - 1 if two == 2 else two - 2)
    pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
    first, second = pair[0] % one, pair[1] % two
    if 0 in (first, second):
        raise ValueError("Cannot perform batch_dot over axis 0: it is that of the batch")
    letters = "abcdefghijklmnopqrstuvwxy"
    left = "z" + letters[: one - 1]
    right = "z" + letters[one - 1 : one + two - 2]
    shared = left[first]
    right = right[:second] + shared + right[second + 1 :]
    rest = left[1:].replace(shared, "") + right[1:].replace(shared, "")
    made = linalg.einsum(f"{left},{right}->z{rest}", x, y)
    return made if rest else layout.expand_dims(made, -1)


def repeat_elements(x: Any, rep: int, axis: int) -> Tensor:
    """A tensor in which each element along an axis stands several times in a row."""
    x = convert_to_tensor(x)
    static = x.shape.as_list()
    axis %= len(static)
    actual = emit.Shape(x)
    sizes = [actual[i] if size is None else size for i, size in enumerate(static)]
    spread = layout.tile(
        layout.expand_dims(x, axis + 1), [1 if i != axis + 1 else rep for i in range(len(sizes) + 1)]
    )
    sizes[axis] = sizes[axis] * rep
    result = layout.reshape(spread, layout.stack(sizes))
    result.set_shape([None if isinstance(size, Tensor) else size for size in sizes])
    return result


def in_top_k(predictions: Any, targets: Any, k: int) -> Tensor:
    """Whether each target is among the k likeliest classes."""
    return nn.in_top_k(predictions, targets, k)


def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Tensor:
    """Sequences [batch, steps, channels] with zeros at both ends."""
    return layout.pad(x, [[0, 0], list(padding), [0, 0]])


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Images with zeros around."""
    sides = [list(side) for side in padding]
    if (data_format or image_data_format()) == "channels_first":
        return layout.pad(x, [[0, 0], [0, 0], *sides])
    return layout.pad(x, [[0, 0], *sides, [0, 0]])


def moving_average_update(x: Variable, value: Any, momentum: float) -> Any:
    """Moves a variable towards a value: `x * momentum + value * (1 - momentum)`."""
    return x.assign_sub((x - value) * (1.0 - momentum))


def one_hot(indices: Any, num_classes: int) -> Tensor:
    """Rows with a one at each index."""
    return layout.one_hot(indices, depth=num_classes, axis=-1)


def gather(reference: Any, indices: Any) -> Tensor:
    """The rows of the given numbers."""
    return layout.gather(reference, indices)


def gradients(loss: Any, variables: Any) -> list[Any]:
    """The gradients of a loss."""
    return _gradients(loss, variables)


def random_normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """Normally distributed numbers."""
    return random.random_normal(shape, mean, stddev, dtype or floatx(), seed)


def random_uniform(
    shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """Uniform numbers."""
    return random.random_uniform(shape, minval, maxval, dtype or floatx(), seed)


def rnn(
    step_function: Callable[..., Any], inputs: Any, initial_states: Sequence[Any], go_backwards: bool = False,
    mask: Any = None, constants: Sequence[Any] | None = None, unroll: bool = False, input_length: Any = None,
    time_major: bool = False, zero_output_for_mask: bool = False,
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    """Takes a function along the steps of a sequence.

    Args:
      step_function: of the input of a step and a list of states; returns an output and the new states.
      inputs: [batch, steps, ...].
      initial_states: tensors [batch, ...].
      go_backwards: whether to begin at the end.
      mask: bool [batch, steps]: at steps that are False the states stay, and so does the output.
      constants: further tensors, given to the function behind the states.
      unroll: whether the steps are built one by one; their number must be known then.
      input_length: the number of steps, where the shape does not tell.
      time_major: whether inputs and outputs are [steps, batch, ...].
      zero_output_for_mask: whether outputs at masked steps are zero.

    Returns:
      the last output, all outputs [batch, steps, ...], and the last states.

    Raises:
      ValueError: if the steps are to be unrolled and their number is not known.
    """

    def turned(x: Tensor) -> Tensor:
        rank = x.shape.rank
        if rank is None:
            raise ValueError("rnn takes inputs of known rank")
        return layout.transpose(x, [1, 0, *range(2, rank)])

    x = convert_to_tensor(inputs)
    x = x if time_major else turned(x)
    steps = None if mask is None else elementwise.cast(mask, dtypes.bool_)
    if steps is not None and not time_major:
        steps = turned(steps)
    if go_backwards:
        x = layout.reverse(x, [0])
        steps = None if steps is None else layout.reverse(steps, [0])
    fixed = list(constants or ())
    states = [convert_to_tensor(state) for state in initial_states]
    count = x.shape.as_list()[0] if x.shape.as_list()[0] is not None else input_length

    def chosen(now: Tensor, new: Any, old: Any) -> Any:
        wide = layout.reshape(now, layout.concat([source.shape(now), [1] * (new.shape.rank - 1)], 0))
        return elementwise.where_v2(wide, new, old)

    def step(x_now: Tensor, mask_now: Any, before: Any, own: list[Any]) -> tuple[Any, list[Any]]:
        output, new = step_function(x_now, [*own, *fixed])
        new = list(new)
        if mask_now is not None:
            old = source.zeros_like(output) if before is None or zero_output_for_mask else before
            output = chosen(mask_now, output, old)
            new = [chosen(mask_now, a, b) for a, b in zip(new, own, strict=True)]
        return output, new

    if unroll:
        if count is None:
            raise ValueError("Unrolling requires a fixed number of timesteps.")
        made: list[Tensor] = []
        for i in range(int(count)):
            output, states = step(
                x[i], None if steps is None else steps[i], made[-1] if made else None, states
            )
            made.append(output)
        outputs, last = layout.stack(made, 0), made[-1]
    else:
        length = source.shape(x)[0]
        taken = TensorArray(x.dtype, size=length).unstack(x)
        masks = None if steps is None else TensorArray(dtypes.bool_, size=length).unstack(steps)
        before: list[Any] = []
        if steps is not None:
            # What an output looks like, for the steps before the first one that counts.
            before = [source.zeros_like(step_function(x[0], [*states, *fixed])[0])]
        kept = TensorArray(states[0].dtype if states else x.dtype, size=length)

        def body(i: Any, kept: Any, before: Any, own: Any) -> Any:
            now = None if masks is None else masks.read(i)
            output, new = step(taken.read(i), now, before[0] if before else None, list(own))
            for fresh, old in zip(new, own, strict=True):
                fresh.set_shape(old.shape)
            return i + 1, kept.write(i, output), [output] if before else before, new

        _, kept, _, states = while_loop(
            lambda i, *_: i < length, body, [_constant(0), kept, before, states], parallel_iterations=32
        )
        outputs = kept.stack()
        if count is not None:
            outputs.set_shape([count, *outputs.shape.as_list()[1:]])
        last = outputs[-1]
        states = list(states)
    return last, outputs if time_major else turned(outputs), states


def update(x: Variable, new_x: Any) -> Any:
    """Assigns a value."""
    return x.assign(new_x)


def update_add(x: Variable, increment: Any) -> Any:
    """Adds to a variable."""
    return x.assign_add(increment)


def update_sub(x: Variable, decrement: Any) -> Any:
    """Subtracts from a variable."""
    return x.assign_sub(decrement)


abs = elementwise.abs
cast = elementwise.cast
cos = elementwise.cos
cumsum = reduction.cumsum
elu = elementwise.elu
equal = elementwise.equal
exp = elementwise.exp
greater = elementwise.greater
greater_equal = elementwise.greater_equal
less = elementwise.less
less_equal = elementwise.less_equal
log = elementwise.log
maximum = elementwise.maximum
minimum = elementwise.minimum
not_equal = elementwise.not_equal
pow = elementwise.pow
reverse = layout.reverse
round = elementwise.round
sigmoid = elementwise.sigmoid
sign = elementwise.sign
sin = elementwise.sin
softplus = elementwise.softplus
softsign = elementwise.softsign
sqrt = elementwise.sqrt
square = elementwise.square
stop_gradient = source.stop_gradient
tanh = elementwise.tanh
transpose = layout.transpose
bias_add = nn.bias_add

__all__ = [
    "abs", "all", "any", "arange", "argmax", "argmin", "backend", "batch_dot", "batch_flatten", "batch_get_value",
    "batch_set_value", "bias_add", "binary_crossentropy", "cast", "cast_to_floatx", "categorical_crossentropy",
    "clear_session", "clip", "concatenate", "constant", "cos", "count_params", "cumsum", "dot", "dropout", "dtype",
    "elu", "epsilon", "equal", "eval", "exp", "expand_dims", "flatten", "floatx", "function", "gather", "get_graph",
    "get_session", "get_uid", "get_value", "gradients", "greater", "greater_equal", "hard_sigmoid",
    "image_data_format", "in_test_phase", "in_top_k", "in_train_phase", "int_shape", "is_keras_tensor",
    "l2_normalize", "learning_phase", "less", "less_equal", "log", "logsumexp", "max", "maximum", "mean", "min",
    "minimum", "moving_average_update", "name_scope", "ndim", "not_equal", "one_hot", "ones", "ones_like",
    "permute_dimensions", "placeholder", "pow", "prod", "random_normal", "random_uniform", "relu", "repeat",
    "repeat_elements", "reshape", "reverse", "round", "set_epsilon", "set_floatx", "set_image_data_format",
    "set_learning_phase", "set_session", "set_value", "shape", "sigmoid", "sign", "sin", "softmax", "softplus",
    "softsign", "spatial_2d_padding", "sparse_categorical_crossentropy", "sqrt", "square", "squeeze", "stack",
    "std", "stop_gradient", "sum", "switch", "tanh", "temporal_padding", "tile", "transpose", "update",
    "update_add", "update_sub", "var", "variable", "zeros", "zeros_like",
]  # fmt: skip
