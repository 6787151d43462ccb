"""Recurrent cells as one op: LSTM steps, LSTM sequences, GRU steps, and their gradients.

The four gates of an LSTM lie side by side in its weights. The order is input, cell, forget, output; in `BlockLSTMV2`
it is input, forget, cell, output. "Peepholes" let the gates see the state of the cell, through one weight per unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.errors import ShapeError
from graphflow.graph import Tensor
from graphflow.opdef import emit, op
from graphflow.ops.layout import concat
from graphflow.ops.layout import slice as slice_of
from graphflow.ops.reduction import reduce_sum
from graphflow.ops.rules import Array, materialized, rank_exactly, refuse, widened
from graphflow.shapes import TensorShape

_TYPES = (
    "T:type{float16|float32|float64}"  # double precision, which TensorFlow has not, lets gradients be checked
)
_WEIGHTS = "w:T; wci:T; wcf:T; wco:T; b:T"
_STATES = "x:T; cs_prev:T; h_prev:T"
_GATES = "i:T; cs:T; f:T; o:T; ci:T; co:T"
_CELL = "forget_bias:float=1.0; cell_clip:float=3.0; use_peephole:bool=false"


# ---------------------------------------------------------------------------- shapes


def _merged(what: str, first: TensorShape, second: TensorShape) -> TensorShape:
    try:
        return first.merge_with(second)
    except ValueError:
        raise ShapeError(f"{what}: {first} does not fit {second}") from None


def _check_weights(node: Any, first: int, depth: int | None, units: TensorShape, sized: bool) -> None:
    """Holds w, wci, wcf, wco and b, which start at input `first`, against the sizes of x and of the cell.

    Peephole weights that are not used have to be vectors; whether of the cell's size, `sized` says.
    """
    count = units.as_list()[0]
    gates = TensorShape([None if count is None else 4 * count])
    rows = None if depth is None or count is None else depth + count
    _merged("w must be [inputs + cell size, 4 * cell size]", rank_exactly(node, first, 2, "w"),
            TensorShape([rows]).concatenate(gates))  # fmt: skip
    for position, name in ((first + 1, "wci"), (first + 2, "wcf"), (first + 3, "wco")):
        weights = rank_exactly(node, position, 1, name)
        if sized:
            _merged(f"{name} must be [cell size]", weights, units)
    _merged("b must be [4 * cell size]", rank_exactly(node, first + 4, 1, "b"), gates)


def _step_states(node: Any) -> tuple[TensorShape, TensorShape]:
    """The shapes of x and of the cell's state in one step."""
    x = rank_exactly(node, 0, 2, "x")
    state = _merged(
        "cs_prev and h_prev", rank_exactly(node, 1, 2, "cs_prev"), rank_exactly(node, 2, 2, "h_prev")
    )
    batch = _merged("the batches of x and cs_prev", x[:1], state[:1])
    state = batch.concatenate(state[1:])
    _check_weights(node, 3, x.as_list()[1], state[1:], node.attrs["use_peephole"])
    return x, state


def _cell_shape(node: Any) -> list[TensorShape]:
    return [_step_states(node)[1]] * 7


def _cell_grad_shape(node: Any) -> list[TensorShape]:
    _, state = _step_states(node)
    for position in range(8, 16):
        state = _merged("gates and gradients", state, rank_exactly(node, position, 2))
    batch, units = state.as_list()
    return [state, TensorShape([batch, None if units is None else 4 * units]), *[state[1:]] * 3]


def _block_states(node: Any) -> TensorShape:
    """The shape of the outputs of a sequence: [time, batch, units]."""
    rank_exactly(node, 0, 0, "seq_len_max")
    x = rank_exactly(node, 1, 3, "x")
    state = _merged(
        "cs_prev and h_prev", rank_exactly(node, 2, 2, "cs_prev"), rank_exactly(node, 3, 2, "h_prev")
    )
    batch = _merged("the batches of x and cs_prev", x[1:2], state[:1])
    _check_weights(node, 4, x.as_list()[2], state[1:], True)
    return x[:1].concatenate(batch).concatenate(state[1:])


def _block_shape(node: Any) -> list[TensorShape]:
    return [_block_states(node)] * 7


def _block_grad_shape(node: Any) -> list[TensorShape]:
    states = _block_states(node)
    for position in range(9, 18):
        states = _merged("gates and gradients", states, rank_exactly(node, position, 3))
    shapes = [node.inputs[position].shape for position in range(1, 9)]
    return [shape.with_rank(rank) for shape, rank in zip(shapes, (3, 2, 2, 2, 1, 1, 1, 1), strict=True)]


# ---------------------------------------------------------------------------- one step of an LSTM


def _sigmoid(x: Array) -> Array:
    return (1 / (1 + np.exp(-x))).astype(x.dtype)


def _gates(icfo: Array, units: int, order: str) -> dict[str, Array]:
    """The four parts of what the weights make, by name: i, c, f, o."""
    return {gate: icfo[..., at * units : (at + 1) * units] for at, gate in enumerate(order)}


def _check_sizes(
    x: Array, cs_prev: Array, h_prev: Array, w: Array, b: Array, peepholes: Sequence[Array]
) -> None:
    batch, units = cs_prev.shape
    if h_prev.shape != (batch, units) or x.shape[-2] != batch:
        raise refuse(
            f"x {list(x.shape)}, cs_prev {list(cs_prev.shape)} and h_prev {list(h_prev.shape)} do not fit"
        )
    if w.shape != (x.shape[-1] + units, 4 * units) or b.shape != (4 * units,):
        raise refuse(
            f"w must be {[x.shape[-1] + units, 4 * units]} and b {[4 * units]}, are {list(w.shape)}, {list(b.shape)}"
        )
    if any(p.shape != (units,) for p in peepholes):
        raise refuse(f"peephole weights must be [{units}], are {[list(p.shape) for p in peepholes]}")


def _step(
    x: Array, cs_prev: Array, h_prev: Array, w: Array, peepholes: Sequence[Array], b: Array, forget_bias: float,
    cell_clip: float, order: str = "icfo",
) -> tuple[Array, ...]:  # fmt: skip
    """i, cs, f, o, ci, co, h of one step."""
    kind = x.dtype.type
    part = _gates(np.concatenate([x, h_prev], axis=1) @ w + b, cs_prev.shape[1], order)
    i, f, o = part["i"], part["f"] + kind(forget_bias), part["o"]
    if peepholes:
        i, f = i + cs_prev * peepholes[0], f + cs_prev * peepholes[1]
    i, f, ci = _sigmoid(i), _sigmoid(f), np.tanh(part["c"])
    cs = ci * i + cs_prev * f
    if cell_clip > 0:
        cs = np.clip(cs, kind(-cell_clip), kind(cell_clip))
    o = _sigmoid(o + cs * peepholes[2] if peepholes else o)
    co = np.tanh(cs)
    return i, cs, f, o, ci, co, o * co


def _step_back(
    cs_prev: Array, peepholes: Sequence[Array], gates: Sequence[Array], cs_grad: Array, h_grad: Array,
    order: str = "icfo",
) -> tuple[Array, Array, dict[str, Array]]:  # fmt: skip
    """The gradient of cs_prev, that of the gates before their nonlinearity in a row, and by name."""
    i, _, f, o, ci, co = gates
    d: dict[str, Array] = {"o": o * (1 - o) * h_grad * co}
    d_cs = (1 - co * co) * h_grad * o + cs_grad
    if peepholes:
        d_cs = d_cs + d["o"] * peepholes[2]
    d["c"] = (1 - ci * ci) * d_cs * i
    d["f"] = f * (1 - f) * d_cs * cs_prev
    d["i"] = i * (1 - i) * d_cs * ci
    before = d_cs * f
    if peepholes:
        before = before + d["i"] * peepholes[0] + d["f"] * peepholes[1]
    return before, np.concatenate([d[gate] for gate in order], axis=1), d


def _peephole_grads(d: dict[str, Array], cs_prev: Array, cs: Array) -> list[Array]:
    return [(d["i"] * cs_prev).sum(axis=0), (d["f"] * cs_prev).sum(axis=0), (d["o"] * cs).sum(axis=0)]


@op("LSTMBlockCell", f"{_STATES}; {_WEIGHTS}", f"{_GATES}; h:T", f"{_CELL}; {_TYPES}", infer=_cell_shape)
@widened
def lstm_block_cell_op(
    x: Array, cs_prev: Array, h_prev: Array, w: Array, wci: Array, wcf: Array, wco: Array, b: Array, *,
    forget_bias: float = 1.0, cell_clip: float = 3.0, use_peephole: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """One step of an LSTM: gates, state, and output."""
    peepholes = (wci, wcf, wco) if use_peephole else ()
    _check_sizes(x, cs_prev, h_prev, w, b, peepholes)
    return _step(x, cs_prev, h_prev, w, peepholes, b, forget_bias, cell_clip)


class _Spelt:
    """Primitive nodes by short names, for the cells that are spelt in them."""

    def __init__(self, builder: Any, dtype: Any) -> None:
        self.builder, self.dtype = builder, dtype

    def number(self, value: float) -> Any:
        return self.builder.constant(np.array(value, self.dtype.numpy))

    def add(self, *values: Any) -> Any:
        total = values[0]
        for value in values[1:]:
            total = self.builder.emit("AddV2", total, value)
        return total

    def mul(self, *values: Any) -> Any:
        product = values[0]
        for value in values[1:]:
            product = self.builder.emit("Mul", product, value)
        return product

    def flat(self, op_type: str, value: Any) -> Any:
        return self.builder.emit(op_type, value)

    def rest(self, value: Any) -> Any:
        """1 - value."""
        return self.builder.emit("Sub", self.number(1), value)

    def columns(self, value: Any, start: int, size: int) -> Any:
        begin, sizes = (np.array(pair, np.int32) for pair in ([0, start], [-1, size]))
        return self.builder.emit("Slice", value, self.builder.constant(begin), self.builder.constant(sizes))

    def beside(self, *values: Any) -> Any:
        axis = self.builder.constant(np.array(1, np.int32))
        return self.builder.emit("ConcatV2", *values, axis, N=len(values))

    def dot(self, a: Any, b: Any, **attrs: bool) -> Any:
        return self.builder.emit("MatMul", a, b, **attrs)

    def sum_rows(self, value: Any) -> Any:
        return self.builder.emit("Sum", value, self.builder.constant(np.array(0, np.int32)))


@lstm_block_cell_op.expand
def lstm_block_cell_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """One product and elementwise ops, which fuse."""
    x, cs_prev, h_prev, w, wci, wcf, wco, b = inputs
    if cs_prev.sizes is None or x.dtype.name == "float16":
        return None
    units, attrs, s = cs_prev.sizes[1], node.attrs, _Spelt(builder, x.dtype)
    made = s.add(s.dot(s.beside(x, h_prev), w), b)
    i, c, f, o = (s.columns(made, at * units, units) for at in range(4))
    f = s.add(f, s.number(attrs["forget_bias"]))
    if attrs["use_peephole"]:
        i, f = s.add(i, s.mul(cs_prev, wci)), s.add(f, s.mul(cs_prev, wcf))
    i, f, ci = s.flat("Sigmoid", i), s.flat("Sigmoid", f), s.flat("Tanh", c)
    cs = s.add(s.mul(ci, i), s.mul(cs_prev, f))
    if attrs["cell_clip"] > 0:
        limit = attrs["cell_clip"]
        cs = builder.emit("Maximum", builder.emit("Minimum", cs, s.number(limit)), s.number(-limit))
    o = s.flat("Sigmoid", s.add(o, s.mul(cs, wco)) if attrs["use_peephole"] else o)
    co = s.flat("Tanh", cs)
    return [i, cs, f, o, ci, co, s.mul(o, co)]


@lstm_block_cell_op.gradient
def lstm_block_cell_gradient(op: Any, *dys: Tensor | None) -> list[Any]:
    """From the new state and the output; the gates are there for the gradient only."""
    x, cs_prev, h_prev, w, wci, wcf, wco, b = op.inputs
    _, d_cs, _, _, _, _, d_h = materialized(op, dys)
    d_before, d_icfo, d_wci, d_wcf, d_wco = emit.LSTMBlockCellGrad(
        *op.inputs, *op.outputs[:6], d_cs, d_h, use_peephole=op.attrs["use_peephole"]
    )
    d_xh = emit.MatMul(d_icfo, w, transpose_b=True)
    d_x, d_h_prev = _split(d_xh, x, h_prev)
    d_w = emit.MatMul(concat([x, h_prev], 1), d_icfo, transpose_a=True)
    return [d_x, d_before, d_h_prev, d_w, d_wci, d_wcf, d_wco, reduce_sum(d_icfo, 0)]


def _split(both: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of what lies side by side as x and h do."""
    depth = x.shape.as_list()[1] if x.shape.rank is not None else None
    if depth is None:
        parts = emit.SplitV(both, emit.Pack([emit.Shape(x)[1], emit.Shape(h)[1]], axis=0), 1, num_split=2)
        return parts[0], parts[1]
    return slice_of(both, [0, 0], [-1, depth]), slice_of(both, [0, depth], [-1, -1])


@op("LSTMBlockCellGrad", f"{_STATES}; {_WEIGHTS}; {_GATES}; cs_grad:T; h_grad:T",
    "cs_prev_grad:T; dicfo:T; wci_grad:T; wcf_grad:T; wco_grad:T", f"use_peephole:bool; {_TYPES}",
    infer=_cell_grad_shape, differentiable=False)  # fmt: skip
@widened
def lstm_block_cell_grad_op(
    x: Array, cs_prev: Array, h_prev: Array, w: Array, wci: Array, wcf: Array, wco: Array, b: Array, i: Array,
    cs: Array, f: Array, o: Array, ci: Array, co: Array, cs_grad: Array, h_grad: Array, *, use_peephole: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """The gradients of a step of an LSTM but for those that are products with the weights."""
    peepholes = (wci, wcf, wco) if use_peephole else ()
    _check_sizes(x, cs_prev, h_prev, w, b, peepholes)
    before, d_icfo, d = _step_back(cs_prev, peepholes, (i, cs, f, o, ci, co), cs_grad, h_grad)
    zero = np.zeros(cs_prev.shape[1], x.dtype)
    d_peepholes = _peephole_grads(d, cs_prev, cs) if use_peephole else [zero] * 3
    return before, d_icfo, *d_peepholes


@lstm_block_cell_grad_op.expand
def lstm_block_cell_grad_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Elementwise ops, which fuse."""
    _, cs_prev, _, _, wci, wcf, wco, _, i, cs, f, o, ci, co, cs_grad, h_grad = inputs
    if cs_prev.sizes is None or cs.dtype.name == "float16":
        return None
    s, peephole = _Spelt(builder, cs.dtype), node.attrs["use_peephole"]
    d_o = s.mul(o, s.rest(o), h_grad, co)
    d_cs = s.add(s.mul(s.rest(s.mul(co, co)), h_grad, o), cs_grad)
    if peephole:
        d_cs = s.add(d_cs, s.mul(d_o, wco))
    d_c = s.mul(s.rest(s.mul(ci, ci)), d_cs, i)
    d_f = s.mul(f, s.rest(f), d_cs, cs_prev)
    d_i = s.mul(i, s.rest(i), d_cs, ci)
    before = s.mul(d_cs, f)
    if not peephole:
        zero = builder.constant(np.zeros(cs_prev.sizes[1], cs.dtype.numpy))
        return [before, s.beside(d_i, d_c, d_f, d_o), zero, zero, zero]
    before = s.add(before, s.mul(d_i, wci), s.mul(d_f, wcf))
    sums = [s.sum_rows(s.mul(a, b)) for a, b in ((d_i, cs_prev), (d_f, cs_prev), (d_o, cs))]
    return [before, s.beside(d_i, d_c, d_f, d_o), *sums]


# ---------------------------------------------------------------------------- a whole sequence


def _turns(seq_len_max: Array, steps: int) -> int:
    length = int(seq_len_max)
    if not 0 <= length <= steps:
        raise refuse(f"seq_len_max must lie in [0, {steps}], the steps of x, is {length}")
    return length


def _sequence(
    seq_len_max: Array, x: Array, cs_prev: Array, h_prev: Array, w: Array, peepholes: Sequence[Array], b: Array,
    forget_bias: float, cell_clip: float, order: str,
) -> tuple[Array, ...]:  # fmt: skip
    """The seven results of each step; zeros where the sequence has ended."""
    _check_sizes(x, cs_prev, h_prev, w, b, peepholes)
    results = tuple(np.zeros((len(x), *cs_prev.shape), x.dtype) for _ in range(7))
    for t in range(_turns(seq_len_max, len(x))):
        made = _step(x[t], cs_prev, h_prev, w, peepholes, b, forget_bias, cell_clip, order)
        for result, value in zip(results, made, strict=True):
            result[t] = value
        cs_prev, h_prev = made[1], made[6]
    return results


@op("BlockLSTM", f"seq_len_max:int64; {_STATES}; {_WEIGHTS}", f"{_GATES}; h:T", f"{_CELL}; {_TYPES}",
    infer=_block_shape)  # fmt: skip
@widened
def block_lstm_op(
    seq_len_max: Array, x: Array, cs_prev: Array, h_prev: Array, w: Array, wci: Array, wcf: Array, wco: Array,
    b: Array, *, forget_bias: float = 1.0, cell_clip: float = 3.0, use_peephole: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """An LSTM over x [time, batch, inputs]."""
    peepholes = (wci, wcf, wco) if use_peephole else ()
    return _sequence(seq_len_max, x, cs_prev, h_prev, w, peepholes, b, forget_bias, cell_clip, "icfo")


@op("BlockLSTMV2", f"seq_len_max:int64; {_STATES}; {_WEIGHTS}", f"{_GATES}; h:T",
    f"cell_clip:float=0.0; use_peephole:bool=false; {_TYPES}", infer=_block_shape)  # fmt: skip
@widened
def block_lstm_v2_op(
    seq_len_max: Array, x: Array, cs_prev: Array, h_prev: Array, w: Array, wci: Array, wcf: Array, wco: Array,
    b: Array, *, cell_clip: float = 0.0, use_peephole: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """An LSTM over x [time, batch, inputs], whose gates lie in the order input, forget, cell, output."""
    peepholes = (wci, wcf, wco) if use_peephole else ()
    return _sequence(seq_len_max, x, cs_prev, h_prev, w, peepholes, b, 0.0, cell_clip, "ifco")


def _block_gradient(op: Any, *dys: Tensor | None) -> list[Any]:
    """From the states and the outputs; the gates are there for the gradient only."""
    _, d_cs, _, _, _, _, d_h = materialized(op, dys)
    rule = emit.BlockLSTMGrad if op.type == "BlockLSTM" else emit.BlockLSTMGradV2
    return [None, *rule(*op.inputs, *op.outputs, d_cs, d_h, use_peephole=op.attrs["use_peephole"])]


block_lstm_op.gradient(_block_gradient)
block_lstm_v2_op.gradient(_block_gradient)


def _sequence_back(arrays: Sequence[Array], use_peephole: bool, order: str) -> tuple[Array, ...]:
    """The gradients of x, cs_prev, h_prev, w, wci, wcf, wco and b."""
    seq_len_max, x, cs_prev, h_prev, w, wci, wcf, wco, b, *gates = arrays
    i, cs, f, o, ci, co, h, cs_grad, h_grad = gates
    peepholes = (wci, wcf, wco) if use_peephole else ()
    _check_sizes(x, cs_prev, h_prev, w, b, peepholes)
    d_x, d_w, d_b = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    d_peepholes = [np.zeros_like(p) for p in (wci, wcf, wco)]
    d_cs, d_h = np.zeros_like(cs_prev), np.zeros_like(h_prev)
    depth = x.shape[2]
    for t in reversed(range(_turns(seq_len_max, len(x)))):
        state, output = (cs[t - 1], h[t - 1]) if t else (cs_prev, h_prev)
        d_cs, d_gates, d = _step_back(
            state, peepholes, (i[t], cs[t], f[t], o[t], ci[t], co[t]), d_cs + cs_grad[t], d_h + h_grad[t], order
        )  # fmt: skip
        d_xh = d_gates @ w.T
        d_x[t], d_h = d_xh[:, :depth], d_xh[:, depth:]
        d_w += np.concatenate([x[t], output], axis=1).T @ d_gates
        d_b += d_gates.sum(axis=0)
        if use_peephole:
            for total, part in zip(d_peepholes, _peephole_grads(d, state, cs[t]), strict=True):
                total += part
    return d_x, d_cs, d_h, d_w, *d_peepholes, d_b


_BLOCK_GRADS = (
    "x_grad:T; cs_prev_grad:T; h_prev_grad:T; w_grad:T; wci_grad:T; wcf_grad:T; wco_grad:T; b_grad:T"
)


def _block_grad_op(op_type: str, order: str) -> None:
    def body(*arrays: Array, use_peephole: bool) -> tuple[Array, ...]:
        """The gradients of an LSTM over a sequence."""
        return _sequence_back(arrays, use_peephole, order)

    op(
        op_type, f"seq_len_max:int64; {_STATES}; {_WEIGHTS}; {_GATES}; h:T; cs_grad:T; h_grad:T", _BLOCK_GRADS,
        f"use_peephole:bool; {_TYPES}", infer=_block_grad_shape, differentiable=False,
    )(widened(body))  # fmt: skip


_block_grad_op("BlockLSTMGrad", "icfo")
_block_grad_op("BlockLSTMGradV2", "ifco")


# ---------------------------------------------------------------------------- one step of a GRU

_GRU = "x:T; h_prev:T; w_ru:T; w_c:T; b_ru:T; b_c:T"
_GRU_TYPES = "T:type{float32|float64}"


def _gru_states(node: Any) -> tuple[TensorShape, TensorShape]:
    x, h = rank_exactly(node, 0, 2, "x"), rank_exactly(node, 1, 2, "h_prev")
    batch = _merged("the batches of x and h_prev", x[:1], h[:1])
    h = batch.concatenate(h[1:])
    depth, units = x.as_list()[1], h.as_list()[1]
    rows = None if depth is None or units is None else depth + units
    twice = None if units is None else 2 * units
    for position, name, expected in (
        (2, "w_ru", [rows, twice]), (3, "w_c", [rows, units]), (4, "b_ru", [twice]), (5, "b_c", [units]),
    ):  # fmt: skip
        _merged(name, rank_exactly(node, position, len(expected), name), TensorShape(expected))
    return x, h


def _gru_shape(node: Any) -> list[TensorShape]:
    return [_gru_states(node)[1]] * 4


def _gru_grad_shape(node: Any) -> list[TensorShape]:
    x, h = _gru_states(node)
    for position in range(6, 10):
        h = _merged("gates and gradients", h, rank_exactly(node, position, 2))
    batch, units = h.as_list()
    return [h[:1].concatenate(x[1:]), h, h, TensorShape([batch, None if units is None else 2 * units])]


def _check_gru(x: Array, h_prev: Array, w_ru: Array, w_c: Array, b_ru: Array, b_c: Array) -> None:
    units = h_prev.shape[1]
    rows = x.shape[1] + units
    expected = [(rows, 2 * units), (rows, units), (2 * units,), (units,)]
    if [w_ru.shape, w_c.shape, b_ru.shape, b_c.shape] != expected or len(x) != len(h_prev):
        raise refuse(
            f"x {list(x.shape)}, h_prev {list(h_prev.shape)}, w_ru {list(w_ru.shape)}, w_c {list(w_c.shape)}, b_ru "
            f"{list(b_ru.shape)} and b_c {list(b_c.shape)} do not fit"
        )


@op("GRUBlockCell", _GRU, "r:T; u:T; c:T; h:T", _GRU_TYPES, infer=_gru_shape)
def gru_block_cell_op(
    x: Array, h_prev: Array, w_ru: Array, w_c: Array, b_ru: Array, b_c: Array
) -> tuple[Array, ...]:
    """One step of a GRU: reset gate, update gate, candidate and output."""
    _check_gru(x, h_prev, w_ru, w_c, b_ru, b_c)
    units = h_prev.shape[1]
    gates = _sigmoid(np.concatenate([x, h_prev], axis=1) @ w_ru + b_ru)
    r, u = gates[:, :units], gates[:, units:]
    c = np.tanh(np.concatenate([x, h_prev * r], axis=1) @ w_c + b_c)
    return r, u, c, (1 - u) * c + u * h_prev


@gru_block_cell_op.expand
def gru_block_cell_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Two products and elementwise ops, which fuse."""
    x, h_prev, w_ru, w_c, b_ru, b_c = inputs
    if h_prev.sizes is None:
        return None
    units, s = h_prev.sizes[1], _Spelt(builder, x.dtype)
    gates = s.flat("Sigmoid", s.add(s.dot(s.beside(x, h_prev), w_ru), b_ru))
    r, u = s.columns(gates, 0, units), s.columns(gates, units, units)
    c = s.flat("Tanh", s.add(s.dot(s.beside(x, s.mul(h_prev, r)), w_c), b_c))
    return [r, u, c, s.add(s.mul(s.rest(u), c), s.mul(u, h_prev))]


@gru_block_cell_op.gradient
def gru_block_cell_gradient(op: Any, *dys: Tensor | None) -> list[Any]:
    """From the output; the gates are there for the gradient only."""
    x, h_prev = op.inputs[:2]
    r, u, c, _ = op.outputs
    d_h = materialized(op, dys)[3]
    d_x, d_h_prev, d_c, d_ru = emit.GRUBlockCellGrad(*op.inputs, r, u, c, d_h)
    d_w_ru = emit.MatMul(concat([x, h_prev], 1), d_ru, transpose_a=True)
    d_w_c = emit.MatMul(concat([x, h_prev * r], 1), d_c, transpose_a=True)
    return [d_x, d_h_prev, d_w_ru, d_w_c, reduce_sum(d_ru, 0), reduce_sum(d_c, 0)]


@op("GRUBlockCellGrad", f"{_GRU}; r:T; u:T; c:T; d_h:T", "d_x:T; d_h_prev:T; d_c_bar:T; d_r_bar_u_bar:T",
    _GRU_TYPES, infer=_gru_grad_shape, differentiable=False)  # fmt: skip
def gru_block_cell_grad_op(
    x: Array, h_prev: Array, w_ru: Array, w_c: Array, b_ru: Array, b_c: Array, r: Array, u: Array, c: Array,
    d_h: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """The gradients of a step of a GRU but for those that are products with x."""
    _check_gru(x, h_prev, w_ru, w_c, b_ru, b_c)
    depth = x.shape[1]
    d_c = d_h * (1 - u) * (1 - c * c)
    d_u = d_h * (h_prev - c) * u * (1 - u)
    second = d_c @ w_c.T
    d_reset = second[:, depth:]
    d_ru = np.concatenate([d_reset * h_prev * r * (1 - r), d_u], axis=1)
    first = d_ru @ w_ru.T
    return first[:, :depth] + second[:, :depth], first[:, depth:] + d_reset * r + d_h * u, d_c, d_ru


@gru_block_cell_grad_op.expand
def gru_block_cell_grad_expand(builder: Any, node: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """Two products and elementwise ops, which fuse."""
    x, h_prev, w_ru, w_c, _, _, r, u, c, d_h = inputs
    if x.sizes is None or h_prev.sizes is None:
        return None
    depth, units, s = x.sizes[1], h_prev.sizes[1], _Spelt(builder, x.dtype)
    d_c = s.mul(d_h, s.rest(u), s.rest(s.mul(c, c)))
    d_u = s.mul(d_h, builder.emit("Sub", h_prev, c), u, s.rest(u))
    second = s.dot(d_c, w_c, transpose_b=True)
    d_reset = s.columns(second, depth, units)
    d_ru = s.beside(s.mul(d_reset, h_prev, r, s.rest(r)), d_u)
    first = s.dot(d_ru, w_ru, transpose_b=True)
    d_x = s.add(s.columns(first, 0, depth), s.columns(second, 0, depth))
    d_h_prev = s.add(s.columns(first, depth, units), s.mul(d_reset, r), s.mul(d_h, u))
    return [d_x, d_h_prev, d_c, d_ru]
