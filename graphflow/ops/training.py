"""Optimizer updates: what SGD and its kin do to a variable and its slots, by TensorFlow's formulas.

A dense update is one function of the states, the hyperparameters and the gradient; the sparse one is the same
function on the rows that have a gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.errors import DTypeError, ShapeError
from graphflow.opdef import OpDef, op
from graphflow.ops.rules import NUMBERS, Array, widened
from graphflow.ops.state import check_rows
from graphflow.shapes import TensorShape

_T = f"T:type{{{NUMBERS}}}"
_LOCKING = "use_locking:bool=false"


# ---------------------------------------------------------------------------- shape rules


def _check_states(node: Any, count: int) -> TensorShape:
    """All states have one shape and the dtype T; returns the shape."""
    shape: TensorShape = node.inputs[0].handle_shape
    for position in range(count):
        handle = node.inputs[position]
        if handle.handle_dtype is not node.attrs["T"]:
            raise DTypeError(
                f"input {position} is a variable of {handle.handle_dtype.name}, expected {node.attrs['T'].name}"
            )
        try:
            shape = shape.merge_with(handle.handle_shape)
        except ValueError:
            raise ShapeError(
                f"the variable has shape {shape}, its slot (input {position}) {handle.handle_shape}"
            ) from None
    return shape


def _check_scalars(node: Any, first: int) -> None:
    for arg, value in list(zip(node.op_def.inputs, node.inputs, strict=True))[first:]:
        if arg.name not in ("grad", "delta", "indices") and value.shape.rank not in (None, 0):
            raise ShapeError(f"{arg.name} must be a scalar, has shape {value.shape}")


def _position(node: Any, *names: str) -> int:
    return next(i for i, arg in enumerate(node.op_def.inputs) if arg.name in names)


def _dense(count: int) -> Callable[[Any], list[TensorShape]]:
    def rule(node: Any) -> list[TensorShape]:
        shape = _check_states(node, count)
        _check_scalars(node, count)
        gradient = node.inputs[_position(node, "grad", "delta")].shape
        if not shape.is_compatible_with(gradient):
            raise ShapeError(f"the variable has shape {shape}, its gradient {gradient}")
        return []

    return rule


def _sparse(count: int) -> Callable[[Any], list[TensorShape]]:
    def rule(node: Any) -> list[TensorShape]:
        shape = _check_states(node, count)
        _check_scalars(node, count)
        gradient = node.inputs[_position(node, "grad")].shape
        indices = node.inputs[_position(node, "indices")].shape
        if indices.rank not in (None, 1):
            raise ShapeError(f"the indices must be a vector, have shape {indices}")
        if shape.rank == 0:
            raise ShapeError("a scalar variable has no rows")
        if shape.rank is not None and indices.rank is not None:
            expected = indices.concatenate(shape[1:])
            if not gradient.is_compatible_with(expected):
                raise ShapeError(f"the rows' gradient must have shape {expected}, has {gradient}")
        return []

    return rule


# ---------------------------------------------------------------------------- how an update becomes two ops

Update = Callable[..., tuple[Any, ...]]


def _dense_op(name: str, inputs: str, attrs: str, count: int) -> Callable[[Update], OpDef]:
    """Registers `update(m, *states, *rest) -> new states` as NumPy body and scalar body at once.

    `m` is the mathematics: NumPy's for the body, the builder's for the lowering.
    """

    def register(update: Update) -> OpDef:
        keywords = tuple(
            k for k in ("use_nesterov", "multiply_linear_by_lr", "update_slots") if f"{k}:" in attrs
        )
        body, lower = _faces(update, keywords)
        body.__doc__ = lower.__doc__ = update.__doc__
        definition = op(name, inputs, "", f"{_T}; {attrs}", infer=_dense(count), effects="writes",
                        updates=tuple(range(count)), differentiable=False)(widened(body))  # fmt: skip
        definition.body_attrs = frozenset(keywords)
        definition.lower(lower)
        return definition

    return register


def _faces(update: Update, keywords: tuple[str, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def body(*values: Array, **attrs: Any) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return update(_NUMPY, *values, **attrs)

    # Wrapping shows the keyword arguments of `update`: a lowering is handed those that it names.
    @functools.wraps(update)
    def lower(b: Any, *values: Any, **attrs: Any) -> tuple[Any, ...]:
        return update(b, *values, **{name: attrs[name] for name in keywords if name in attrs})

    return body, lower


class _Numpy:
    """The builder's words for arrays."""

    add = staticmethod(np.add)
    sub = staticmethod(np.subtract)
    mul = staticmethod(np.multiply)
    div = staticmethod(np.divide)
    neg = staticmethod(np.negative)
    abs = staticmethod(np.abs)
    sign = staticmethod(np.sign)
    sqrt = staticmethod(np.sqrt)
    exp = staticmethod(np.exp)
    pow = staticmethod(np.power)
    max = staticmethod(np.maximum)
    square = staticmethod(np.square)
    gt = staticmethod(np.greater)
    eq = staticmethod(np.equal)
    select = staticmethod(np.where)

    @staticmethod
    def rsqrt(x: Array) -> Array:
        return np.divide(np.asarray(1, x.dtype), np.sqrt(x))


_NUMPY = _Numpy()


def _sparse_op(name: str, inputs: str, attrs: str, count: int, update: Update, meaning: str) -> OpDef:
    """Registers the update of rows; equal indices are applied one after another."""
    arguments = [part.split(":")[0].strip() for part in inputs.split(";")]
    at_indices = arguments.index("indices")
    at_gradient = arguments.index("grad")
    keywords = tuple(k for k in ("use_nesterov", "multiply_linear_by_lr", "update_slots") if f"{k}:" in attrs)

    def body(*values: Array, **chosen: Any) -> tuple[Array, ...]:
        states = [np.array(value) for value in values[:count]]
        indices, gradient = values[at_indices], values[at_gradient]
        check_rows(indices, states[0].shape[0])

        def apply(rows: Any, part: Array) -> None:
            rest = [
                part if i == at_gradient else v
                for i, v in enumerate(values)
                if i >= count and i != at_indices
            ]
            with np.errstate(all="ignore"):
                new = update(_NUMPY, *(state[rows] for state in states), *rest, **chosen)
            for state, value in zip(states, new, strict=True):
                state[rows] = value

        if len(np.unique(indices)) == len(indices):
            apply(indices, gradient)
        else:
            for i, index in enumerate(indices):
                apply(slice(int(index), int(index) + 1), gradient[i : i + 1])
        return tuple(states)

    body.__doc__ = meaning
    definition = op(name, inputs, "", f"{_T}; Tindices:type{{int32|int64}}; {attrs}", infer=_sparse(count),
                    effects="writes", updates=tuple(range(count)), differentiable=False)(widened(body))  # fmt: skip
    definition.body_attrs = frozenset(keywords)
    return definition


# ---------------------------------------------------------------------------- gradient descent, momentum


def _gradient_descent(m: Any, var: Any, alpha: Any, delta: Any) -> tuple[Any, ...]:
    """Gradient descent: var -= alpha * delta."""
    return (m.sub(var, m.mul(alpha, delta)),)


resource_apply_gradient_descent = _dense_op(
    "ResourceApplyGradientDescent", "var:resource; alpha:T; delta:T", _LOCKING, 1
)(_gradient_descent)


def _momentum(
    m: Any, var: Any, accum: Any, lr: Any, grad: Any, momentum: Any, *, use_nesterov: bool = False
) -> tuple[Any, ...]:
    """Momentum: accum = momentum * accum + grad; var -= lr * accum, or Nesterov's look-ahead."""
    accum = m.add(m.mul(accum, momentum), grad)
    if use_nesterov:
        step = m.add(m.mul(grad, lr), m.mul(m.mul(accum, momentum), lr))
    else:
        step = m.mul(accum, lr)
    return m.sub(var, step), accum


def _keras_momentum(
    m: Any, var: Any, accum: Any, lr: Any, grad: Any, momentum: Any, *, use_nesterov: bool = False
) -> tuple[Any, ...]:
    """Momentum with the learning rate inside: accum = momentum * accum - lr * grad; var += accum."""
    step = m.mul(grad, lr)
    accum = m.sub(m.mul(accum, momentum), step)
    if use_nesterov:
        return m.add(var, m.sub(m.mul(accum, momentum), step)), accum
    return m.add(var, accum), accum


_MOMENTUM_ATTRS = f"{_LOCKING}; use_nesterov:bool=false"
resource_apply_momentum = _dense_op(
    "ResourceApplyMomentum", "var:resource; accum:resource; lr:T; grad:T; momentum:T", _MOMENTUM_ATTRS, 2
)(_momentum)
resource_apply_keras_momentum = _dense_op(
    "ResourceApplyKerasMomentum", "var:resource; accum:resource; lr:T; grad:T; momentum:T", _MOMENTUM_ATTRS, 2
)(_keras_momentum)


resource_sparse_apply_momentum = _sparse_op(
    "ResourceSparseApplyMomentum",
    "var:resource; accum:resource; lr:T; grad:T; indices:Tindices; momentum:T",
    _MOMENTUM_ATTRS, 2, _momentum, "Momentum for the rows that have a gradient.",
)  # fmt: skip
resource_sparse_apply_keras_momentum = _sparse_op(
    "ResourceSparseApplyKerasMomentum",
    "var:resource; accum:resource; lr:T; grad:T; indices:Tindices; momentum:T",
    _MOMENTUM_ATTRS, 2, _keras_momentum, "Keras' momentum for the rows that have a gradient.",
)  # fmt: skip


# ---------------------------------------------------------------------------- Adagrad and Adadelta


def _adagrad(
    m: Any, var: Any, accum: Any, lr: Any, grad: Any, *, update_slots: bool = True
) -> tuple[Any, ...]:
    """Adagrad: accum += grad²; var -= lr * grad / sqrt(accum)."""
    if update_slots:
        accum = m.add(accum, m.square(grad))
    return m.sub(var, m.mul(m.mul(grad, lr), m.rsqrt(accum))), accum


def _adagrad_v2(
    m: Any, var: Any, accum: Any, lr: Any, epsilon: Any, grad: Any, *, update_slots: bool = True
) -> tuple[Any, ...]:
    """Adagrad with epsilon: accum += grad²; var -= lr * grad / (sqrt(accum) + epsilon)."""
    if update_slots:
        accum = m.add(accum, m.square(grad))
    return m.sub(var, m.div(m.mul(grad, lr), m.add(m.sqrt(accum), epsilon))), accum


_ADAGRAD_ATTRS = f"{_LOCKING}; update_slots:bool=true"
resource_apply_adagrad = _dense_op(
    "ResourceApplyAdagrad", "var:resource; accum:resource; lr:T; grad:T", _ADAGRAD_ATTRS, 2
)(_adagrad)
resource_apply_adagrad_v2 = _dense_op(
    "ResourceApplyAdagradV2", "var:resource; accum:resource; lr:T; epsilon:T; grad:T", _ADAGRAD_ATTRS, 2
)(_adagrad_v2)
resource_sparse_apply_adagrad = _sparse_op(
    "ResourceSparseApplyAdagrad", "var:resource; accum:resource; lr:T; grad:T; indices:Tindices",
    _ADAGRAD_ATTRS, 2, _adagrad, "Adagrad for the rows that have a gradient.",
)  # fmt: skip
resource_sparse_apply_adagrad_v2 = _sparse_op(
    "ResourceSparseApplyAdagradV2", "var:resource; accum:resource; lr:T; epsilon:T; grad:T; indices:Tindices",
    _ADAGRAD_ATTRS, 2, _adagrad_v2, "Adagrad with epsilon for the rows that have a gradient.",
)  # fmt: skip


def _adadelta(
    m: Any, var: Any, accum: Any, accum_update: Any, lr: Any, rho: Any, epsilon: Any, grad: Any
) -> tuple[Any, ...]:
    """Adadelta: steps scaled by the ratio of past steps to past gradients."""
    rest = m.sub(_one(m, rho), rho)
    accum = m.add(m.mul(accum, rho), m.mul(m.square(grad), rest))
    step = m.mul(m.mul(m.sqrt(m.add(accum_update, epsilon)), m.rsqrt(m.add(accum, epsilon))), grad)
    var = m.sub(var, m.mul(step, lr))
    return var, accum, m.add(m.mul(accum_update, rho), m.mul(m.square(step), rest))


def _one(m: Any, like: Any) -> Any:
    """A one that takes the dtype of what it meets."""
    return np.asarray(1, like.dtype) if m is _NUMPY else m.const_like(1.0, like)


def _number(m: Any, value: float, like: Any) -> Any:
    return np.asarray(value, like.dtype) if m is _NUMPY else m.const_like(value, like)


resource_apply_adadelta = _dense_op(
    "ResourceApplyAdadelta",
    "var:resource; accum:resource; accum_update:resource; lr:T; rho:T; epsilon:T; grad:T", _LOCKING, 3,
)(_adadelta)  # fmt: skip
resource_sparse_apply_adadelta = _sparse_op(
    "ResourceSparseApplyAdadelta",
    "var:resource; accum:resource; accum_update:resource; lr:T; rho:T; epsilon:T; grad:T; indices:Tindices",
    _LOCKING, 3, _adadelta, "Adadelta for the rows that have a gradient.",
)  # fmt: skip


def _shrunk(m: Any, value: Any, threshold: Any) -> Any:
    """`value` moved towards zero by `threshold`."""
    return m.mul(m.sign(value), m.max(m.sub(m.abs(value), threshold), _number(m, 0.0, value)))


def _adagrad_da(
    m: Any, var: Any, total: Any, squares: Any, grad: Any, lr: Any, l1: Any, l2: Any, step: Any
) -> tuple[Any, ...]:
    """Adagrad dual averaging: the variable follows from the sums of gradients and of their squares."""
    total = m.add(total, grad)
    squares = m.add(squares, m.square(grad))
    steps = step.astype(grad.dtype) if m is _NUMPY else m.cast(step, grad.dtype)
    kept = m.select(m.gt(l1, _number(m, 0.0, l1)), _shrunk(m, total, m.mul(l1, steps)), total)
    scale = m.add(m.mul(m.mul(l2, steps), lr), m.sqrt(squares))
    return m.div(m.mul(m.neg(lr), kept), scale), total, squares


_ADAGRAD_DA_STATES = "var:resource; gradient_accumulator:resource; gradient_squared_accumulator:resource"
resource_apply_adagrad_da = _dense_op(
    "ResourceApplyAdagradDA",
    f"{_ADAGRAD_DA_STATES}; grad:T; lr:T; l1:T; l2:T; global_step:int64",
    _LOCKING,
    3,
)(_adagrad_da)
resource_sparse_apply_adagrad_da = _sparse_op(
    "ResourceSparseApplyAdagradDA",
    f"{_ADAGRAD_DA_STATES}; grad:T; indices:Tindices; lr:T; l1:T; l2:T; global_step:int64",
    _LOCKING, 3, _adagrad_da, "Adagrad dual averaging for the rows that have a gradient.",
)  # fmt: skip


# ---------------------------------------------------------------------------- Adam and its kin


def _adam_rate(m: Any, beta1_power: Any, beta2_power: Any, lr: Any) -> Any:
    one = _one(m, lr)
    return m.div(m.mul(lr, m.sqrt(m.sub(one, beta2_power))), m.sub(one, beta1_power))


@_dense_op(
    "ResourceApplyAdam",
    "var:resource; m:resource; v:resource; beta1_power:T; beta2_power:T; lr:T; beta1:T; beta2:T; epsilon:T; grad:T",
    f"{_LOCKING}; use_nesterov:bool=false", 3,
)  # fmt: skip
def resource_apply_adam(
    m: Any, var: Any, first: Any, second: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any,
    epsilon: Any, grad: Any, *, use_nesterov: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Adam: moving averages of the gradient and its square, corrected for their start at zero."""
    one = _one(m, lr)
    rate = _adam_rate(m, beta1_power, beta2_power, lr)
    first = m.add(first, m.mul(m.sub(grad, first), m.sub(one, beta1)))
    second = m.add(second, m.mul(m.sub(m.square(grad), second), m.sub(one, beta2)))
    if use_nesterov:
        step = m.mul(m.add(m.mul(grad, m.sub(one, beta1)), m.mul(beta1, first)), rate)
    else:
        step = m.mul(first, rate)
    return m.sub(var, m.div(step, m.add(m.sqrt(second), epsilon))), first, second


@_dense_op(
    "ResourceApplyAdamWithAmsgrad",
    "var:resource; m:resource; v:resource; vhat:resource; beta1_power:T; beta2_power:T; lr:T; beta1:T; beta2:T; "
    "epsilon:T; grad:T",
    _LOCKING, 4,
)  # fmt: skip
def resource_apply_adam_with_amsgrad(
    m: Any, var: Any, first: Any, second: Any, most: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any,
    beta2: Any, epsilon: Any, grad: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """Adam that divides by the largest second moment so far."""
    one = _one(m, lr)
    rate = _adam_rate(m, beta1_power, beta2_power, lr)
    first = m.add(first, m.mul(m.sub(grad, first), m.sub(one, beta1)))
    second = m.add(second, m.mul(m.sub(m.square(grad), second), m.sub(one, beta2)))
    most = m.max(most, second)
    return m.sub(var, m.div(m.mul(first, rate), m.add(m.sqrt(most), epsilon))), first, second, most


@_dense_op(
    "ResourceApplyAdaMax",
    "var:resource; m:resource; v:resource; beta1_power:T; lr:T; beta1:T; beta2:T; epsilon:T; grad:T", _LOCKING, 3,
)  # fmt: skip
def resource_apply_ada_max(
    m: Any,
    var: Any,
    first: Any,
    norm: Any,
    beta1_power: Any,
    lr: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
    grad: Any,
) -> tuple[Any, ...]:
    """AdaMax: Adam with the largest gradient so far in place of the second moment."""
    one = _one(m, lr)
    first = m.add(first, m.mul(m.sub(grad, first), m.sub(one, beta1)))
    norm = m.max(m.mul(beta2, norm), m.abs(grad))
    rate = m.div(lr, m.sub(one, beta1_power))
    return m.sub(var, m.mul(rate, m.div(first, m.add(norm, epsilon)))), first, norm


# ---------------------------------------------------------------------------- RMSProp


def _rms_prop(
    m: Any, var: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
) -> tuple[Any, ...]:
    """RMSProp: steps divided by the root of the gradients' mean square, with momentum."""
    ms = m.add(ms, m.mul(m.sub(m.square(grad), ms), m.sub(_one(m, rho), rho)))
    mom = m.add(m.mul(mom, momentum), m.div(m.mul(grad, lr), m.sqrt(m.add(ms, epsilon))))
    return m.sub(var, mom), ms, mom


def _centered_rms_prop(
    m: Any, var: Any, mg: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
) -> tuple[Any, ...]:
    """RMSProp with the gradients' variance in place of their mean square."""
    rest = m.sub(_one(m, rho), rho)
    ms = m.add(ms, m.mul(m.sub(m.square(grad), ms), rest))
    mg = m.add(mg, m.mul(m.sub(grad, mg), rest))
    variance = m.add(m.sub(ms, m.square(mg)), epsilon)
    mom = m.add(m.mul(mom, momentum), m.div(m.mul(grad, lr), m.sqrt(variance)))
    return m.sub(var, mom), mg, ms, mom


_RMS_STATES = "var:resource; ms:resource; mom:resource"
_CENTERED_STATES = "var:resource; mg:resource; ms:resource; mom:resource"
_RMS_RATES = "lr:T; rho:T; momentum:T; epsilon:T; grad:T"
resource_apply_rms_prop = _dense_op("ResourceApplyRMSProp", f"{_RMS_STATES}; {_RMS_RATES}", _LOCKING, 3)(
    _rms_prop
)
resource_apply_centered_rms_prop = _dense_op(
    "ResourceApplyCenteredRMSProp", f"{_CENTERED_STATES}; {_RMS_RATES}", _LOCKING, 4
)(_centered_rms_prop)
resource_sparse_apply_rms_prop = _sparse_op(
    "ResourceSparseApplyRMSProp", f"{_RMS_STATES}; {_RMS_RATES}; indices:Tindices", _LOCKING, 3, _rms_prop,
    "RMSProp for the rows that have a gradient.",
)  # fmt: skip
resource_sparse_apply_centered_rms_prop = _sparse_op(
    "ResourceSparseApplyCenteredRMSProp", f"{_CENTERED_STATES}; {_RMS_RATES}; indices:Tindices", _LOCKING, 4,
    _centered_rms_prop, "Centered RMSProp for the rows that have a gradient.",
)  # fmt: skip


# ---------------------------------------------------------------------------- FTRL


def _ftrl_step(
    m: Any, var: Any, accum: Any, linear: Any, grad: Any, shrunk: Any, lr: Any, l1: Any, l2: Any, lr_power: Any,
    multiply_linear_by_lr: bool,
) -> tuple[Any, ...]:  # fmt: skip
    total = m.add(accum, m.square(grad))
    # The usual power, -1/2, is a square root.
    is_root = m.eq(lr_power, _number(m, -0.5, lr_power))
    power = m.neg(lr_power)
    old = m.select(is_root, m.sqrt(accum), m.pow(accum, power))
    new = m.select(is_root, m.sqrt(total), m.pow(total, power))
    two = _number(m, 2.0, l2)
    if multiply_linear_by_lr:
        linear = m.sub(m.add(linear, m.mul(shrunk, lr)), m.mul(m.sub(new, old), var))
        threshold = m.mul(l1, lr)
        scale = m.add(new, m.mul(m.mul(two, l2), lr))
    else:
        linear = m.sub(m.add(linear, shrunk), m.mul(m.div(m.sub(new, old), lr), var))
        threshold = l1
        scale = m.add(m.div(new, lr), m.mul(two, l2))
    solved = m.div(m.sub(m.mul(m.sign(linear), threshold), linear), scale)
    var = m.select(m.gt(m.abs(linear), threshold), solved, _number(m, 0.0, solved))
    return var, total, linear


def _ftrl(
    m: Any, var: Any, accum: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, lr_power: Any,
    *, multiply_linear_by_lr: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """FTRL-proximal: the variable that the regularised sum of gradients asks for."""
    return _ftrl_step(m, var, accum, linear, grad, grad, lr, l1, l2, lr_power, multiply_linear_by_lr)


def _ftrl_v2(
    m: Any, var: Any, accum: Any, linear: Any, grad: Any, lr: Any, l1: Any, l2: Any, l2_shrinkage: Any, lr_power: Any,
    *, multiply_linear_by_lr: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """FTRL-proximal with a shrinkage that acts on the gradient only."""
    shrunk = m.add(grad, m.mul(m.mul(_number(m, 2.0, l2_shrinkage), l2_shrinkage), var))
    return _ftrl_step(m, var, accum, linear, grad, shrunk, lr, l1, l2, lr_power, multiply_linear_by_lr)


_FTRL_STATES = "var:resource; accum:resource; linear:resource; grad:T"
_FTRL_ATTRS = f"{_LOCKING}; multiply_linear_by_lr:bool=false"
resource_apply_ftrl = _dense_op(
    "ResourceApplyFtrl", f"{_FTRL_STATES}; lr:T; l1:T; l2:T; lr_power:T", _FTRL_ATTRS, 3
)(_ftrl)
resource_apply_ftrl_v2 = _dense_op(
    "ResourceApplyFtrlV2", f"{_FTRL_STATES}; lr:T; l1:T; l2:T; l2_shrinkage:T; lr_power:T", _FTRL_ATTRS, 3
)(_ftrl_v2)
resource_sparse_apply_ftrl = _sparse_op(
    "ResourceSparseApplyFtrl", f"{_FTRL_STATES}; indices:Tindices; lr:T; l1:T; l2:T; lr_power:T", _FTRL_ATTRS, 3,
    _ftrl, "FTRL-proximal for the rows that have a gradient.",
)  # fmt: skip
resource_sparse_apply_ftrl_v2 = _sparse_op(
    "ResourceSparseApplyFtrlV2", f"{_FTRL_STATES}; indices:Tindices; lr:T; l1:T; l2:T; l2_shrinkage:T; lr_power:T",
    _FTRL_ATTRS, 3, _ftrl_v2, "FTRL-proximal with shrinkage for the rows that have a gradient.",
)  # fmt: skip


# ---------------------------------------------------------------------------- proximal steps, sign updates


def _proximal(m: Any, value: Any, rate: Any, l1: Any, l2: Any) -> Any:
    one = _one(m, l2)
    shrunk = m.select(m.gt(l1, _number(m, 0.0, l1)), _shrunk(m, value, m.mul(rate, l1)), value)
    return m.div(shrunk, m.add(one, m.mul(l2, rate)))


def _proximal_gradient_descent(m: Any, var: Any, alpha: Any, l1: Any, l2: Any, delta: Any) -> tuple[Any, ...]:
    """Gradient descent, then the nearest point under l1 and l2 penalties."""
    return (_proximal(m, m.sub(var, m.mul(delta, alpha)), alpha, l1, l2),)


def _proximal_adagrad(m: Any, var: Any, accum: Any, lr: Any, l1: Any, l2: Any, grad: Any) -> tuple[Any, ...]:
    """Adagrad, then the nearest point under l1 and l2 penalties."""
    accum = m.add(accum, m.square(grad))
    rate = m.mul(lr, m.rsqrt(accum))
    return _proximal(m, m.sub(var, m.mul(grad, rate)), rate, l1, l2), accum


resource_apply_proximal_gradient_descent = _dense_op(
    "ResourceApplyProximalGradientDescent", "var:resource; alpha:T; l1:T; l2:T; delta:T", _LOCKING, 1
)(_proximal_gradient_descent)
resource_apply_proximal_adagrad = _dense_op(
    "ResourceApplyProximalAdagrad", "var:resource; accum:resource; lr:T; l1:T; l2:T; grad:T", _LOCKING, 2
)(_proximal_adagrad)
resource_sparse_apply_proximal_gradient_descent = _sparse_op(
    "ResourceSparseApplyProximalGradientDescent", "var:resource; alpha:T; l1:T; l2:T; grad:T; indices:Tindices",
    _LOCKING, 1, _proximal_gradient_descent, "Proximal gradient descent for the rows that have a gradient.",
)  # fmt: skip
resource_sparse_apply_proximal_adagrad = _sparse_op(
    "ResourceSparseApplyProximalAdagrad",
    "var:resource; accum:resource; lr:T; l1:T; l2:T; grad:T; indices:Tindices",
    _LOCKING, 2, _proximal_adagrad, "Proximal Adagrad for the rows that have a gradient.",
)  # fmt: skip


@_dense_op(
    "ResourceApplyAddSign",
    "var:resource; m:resource; lr:T; alpha:T; sign_decay:T; beta:T; grad:T",
    _LOCKING,
    2,
)
def resource_apply_add_sign(
    m: Any, var: Any, first: Any, lr: Any, alpha: Any, sign_decay: Any, beta: Any, grad: Any
) -> tuple[Any, ...]:
    """Larger steps where gradient and its moving average agree in sign."""
    first = m.add(m.mul(first, beta), m.mul(grad, m.sub(_one(m, beta), beta)))
    agree = m.mul(m.sign(grad), m.sign(first))
    return m.sub(var, m.mul(m.mul(lr, m.add(alpha, m.mul(sign_decay, agree))), grad)), first


@_dense_op(
    "ResourceApplyPowerSign",
    "var:resource; m:resource; lr:T; logbase:T; sign_decay:T; beta:T; grad:T",
    _LOCKING,
    2,
)
def resource_apply_power_sign(
    m: Any, var: Any, first: Any, lr: Any, logbase: Any, sign_decay: Any, beta: Any, grad: Any
) -> tuple[Any, ...]:
    """Steps scaled by a power that grows where gradient and its moving average agree in sign."""
    first = m.add(m.mul(first, beta), m.mul(grad, m.sub(_one(m, beta), beta)))
    agree = m.mul(m.sign(grad), m.sign(first))
    scale = m.exp(m.mul(m.mul(logbase, sign_decay), agree))
    return m.sub(var, m.mul(m.mul(lr, scale), grad)), first


__all__: list[str] = []
