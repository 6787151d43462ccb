"""Recurrent cells and networks: names of weights, values against NumPy, unrolled against looped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf

cells = gf.nn.rnn_cell
X = np.random.RandomState(0).randn(3, 5, 4).astype(np.float32)
LENGTHS = np.array([5, 2, 0], np.int32)


def names() -> list[str]:
    return [variable.op.name for variable in gf.global_variables()]


def run(fetches: Any, feed: Any = None) -> Any:
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        return session.run(fetches, feed)


CELLS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "basic": (lambda: cells.BasicRNNCell(6), ["basic_rnn_cell/kernel", "basic_rnn_cell/bias"]),
    "gru": (
        lambda: cells.GRUCell(6),
        [f"gru_cell/{part}/{name}" for part in ("gates", "candidate") for name in ("kernel", "bias")],
    ),
    "basic_lstm": (lambda: cells.BasicLSTMCell(6), ["basic_lstm_cell/kernel", "basic_lstm_cell/bias"]),
    "joined": (
        lambda: cells.BasicLSTMCell(6, state_is_tuple=False, name="joined"), ["joined/kernel", "joined/bias"]
    ),
    "lstm": (
        lambda: cells.LSTMCell(6, use_peepholes=True, cell_clip=0.5, num_proj=3, proj_clip=0.2),
        [f"lstm_cell/{name}" for name in ("kernel", "bias", "w_f_diag", "w_i_diag", "w_o_diag", "projection/kernel")],
    ),
    "stack": (
        lambda: cells.MultiRNNCell([cells.BasicRNNCell(6), cells.ResidualWrapper(cells.GRUCell(6))]),
        ["multi_rnn_cell/cell_0/basic_rnn_cell/kernel", "multi_rnn_cell/cell_0/basic_rnn_cell/bias"]
        + [f"multi_rnn_cell/cell_1/gru_cell/{part}/{name}" for part in ("gates", "candidate")
           for name in ("kernel", "bias")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_loop_gives_what_the_unrolled_network_gives(kind: str, lengths: Any) -> None:
    make, weights = CELLS[kind]
    x = gf.placeholder(gf.float32, [3, 5, 4])
    cell = make()
    unrolled, state = gf.nn.static_rnn(cell, gf.unstack(x, axis=1), dtype=gf.float32, sequence_length=lengths)
    assert names() == [f"rnn/{name}" for name in weights]
    outputs, last = gf.nn.dynamic_rnn(cell, x, dtype=gf.float32, sequence_length=lengths)
    assert len(gf.global_variables()) == len(weights)
    assert [variable.op.name for variable in cell.trainable_weights] == names()
    assert outputs.shape.as_list() == [3, 5, unrolled[0].shape[1].value]
    a, b, c, d = run([gf.stack(unrolled, 1), outputs, gf.nest.flatten(state), gf.nest.flatten(last)], {x: X})
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for mine, other in zip(c, d, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    if lengths is not None:
        assert not b[1, 2:].any() and not b[2].any() and b[1, 1].any()


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_an_lstm_step_by_step() -> None:
    with gf.variable_scope("net"):
        outputs, state = gf.nn.dynamic_rnn(
            cells.BasicLSTMCell(2, forget_bias=0.5), gf.constant(X), dtype=gf.float32
        )
    assert names() == ["net/rnn/basic_lstm_cell/kernel", "net/rnn/basic_lstm_cell/bias"]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        kernel, bias, result, last = session.run([*gf.global_variables(), outputs, state])
    assert isinstance(last, cells.LSTMStateTuple)
    c = h = np.zeros((3, 2), np.float32)
    for time in range(5):
        i, j, f, o = np.split(np.concatenate([X[:, time], h], 1) @ kernel + bias, 4, 1)
        c = c * sigmoid(f + 0.5) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        np.testing.assert_allclose(result[:, time], h, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(last.c, c, rtol=1e-4, atol=1e-6)


def test_sizes_that_only_the_feed_tells() -> None:
    x = gf.placeholder(gf.float32, [None, None, 4])
    lengths = gf.placeholder(gf.int32, [None])
    outputs, states = gf.nn.bidirectional_dynamic_rnn(
        cells.GRUCell(3), cells.GRUCell(2), x, lengths, dtype=gf.float32
    )
    assert [y.shape.as_list() for y in outputs] == [[None, None, 3], [None, None, 2]]
    assert names()[0] == "bidirectional_rnn/fw/gru_cell/gates/kernel"
    assert names()[4] == "bidirectional_rnn/bw/gru_cell/gates/kernel"
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        whole = session.run([*outputs, *states], {x: X, lengths: [5, 2, 4]})
        for row, length in enumerate([5, 2, 4]):
            alone = session.run([*outputs, *states], {x: X[[row], :length], lengths: [length]})
            np.testing.assert_allclose(whole[0][row, :length], alone[0][0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(whole[1][row, :length], alone[1][0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(whole[3][row], alone[3][0], rtol=1e-5, atol=1e-6)


def test_time_major_and_a_first_state() -> None:
    cell = cells.GRUCell(3)
    start = gf.constant(np.ones((3, 3), np.float32))
    outputs, _ = gf.nn.dynamic_rnn(cell, gf.constant(X), initial_state=start)
    turned, _ = gf.nn.dynamic_rnn(
        cell, gf.constant(X.transpose(1, 0, 2)), initial_state=start, time_major=True
    )
    a, b = run([outputs, turned])
    np.testing.assert_array_equal(a, b.transpose(1, 0, 2))


def test_a_cell_of_ones_own_may_get_its_variables_when_called() -> None:
    class Mine(cells.RNNCell):
        state_size = property(lambda self: 3)
        output_size = property(lambda self: 3)

        def call(self, inputs: Any, state: Any) -> Any:
            output = gf.tanh(gf.layers.dense(inputs, 3) + gf.matmul(state, gf.get_variable("u", [3, 3])))
            return output, output

    looped, _ = gf.nn.dynamic_rnn(Mine(), gf.constant(X), dtype=gf.float32)
    assert names() == ["rnn/mine/dense/kernel", "rnn/mine/dense/bias", "rnn/mine/u"]
    with gf.variable_scope("", reuse=True):
        unrolled, _ = gf.nn.static_rnn(Mine(), gf.unstack(gf.constant(X), axis=1), dtype=gf.float32)
    a, b = run([looped, gf.stack(unrolled, 1)])
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_raw_rnn_ends_where_its_function_says() -> None:
    array = gf.TensorArray(gf.float32, size=5).unstack(gf.constant(X.transpose(1, 0, 2)))
    cell = cells.BasicRNNCell(2)

    def step(time: Any, output: Any, state: Any, _: Any) -> Any:
        state = cell.zero_state(3, gf.float32) if output is None else state
        finished = time >= gf.constant([5, 2, 4])
        x = gf.cond(gf.reduce_all(finished), lambda: gf.zeros([3, 4]), lambda: array.read(time))
        return finished, x, state, output, None

    emitted, state, _ = gf.nn.raw_rnn(cell, step)
    with gf.variable_scope("", reuse=True):
        outputs, last = gf.nn.dynamic_rnn(cell, gf.constant(X), gf.constant([5, 2, 4]), dtype=gf.float32)
    a, b, c, d = run([emitted.stack(), state, outputs, last])
    np.testing.assert_allclose(a.transpose(1, 0, 2), c, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(b, d, rtol=1e-5, atol=1e-6)


def test_dropout_around_a_cell() -> None:
    ones = gf.ones([200, 4])
    state = cells.LSTMStateTuple(gf.ones([200, 3]), gf.ones([200, 3]))
    cell = cells.DropoutWrapper(cells.LSTMCell(3), output_keep_prob=0.5, state_keep_prob=0.5, seed=1)
    output, (c, h) = cell(ones, state)
    same = cells.DropoutWrapper(
        cells.BasicRNNCell(3),
        input_keep_prob=0.5,
        variational_recurrent=True,
        input_size=4,
        dtype=gf.float32,
        seed=2,
    )
    outputs, _ = gf.nn.static_rnn(same, [ones, ones], dtype=gf.float32)
    dropped, kept, hidden = run([output, c, h])
    assert 200 < (dropped == 0).sum() < 400 and 200 < (hidden == 0).sum() < 400
    assert (kept != 0).all()
    assert len(outputs) == 2
    with pytest.raises(ValueError, match="input_keep_prob must be between 0 and 1"):
        cells.DropoutWrapper(cells.GRUCell(2), input_keep_prob=1.5)


def test_what_is_no_cell_or_no_sequence_is_refused() -> None:
    with pytest.raises(TypeError, match="is not an RNNCell"):
        gf.nn.dynamic_rnn(lambda x, state: (x, state), gf.constant(X), dtype=gf.float32)
    with pytest.raises(ValueError, match="must give a dtype"):
        gf.nn.dynamic_rnn(cells.GRUCell(2), gf.constant(X))
    with pytest.raises(ValueError, match="inputs must not be empty"):
        gf.nn.static_rnn(cells.GRUCell(2), [], dtype=gf.float32)
    with pytest.raises(ValueError, match="state_is_tuple is not set"):
        cells.MultiRNNCell([cells.LSTMCell(2)], state_is_tuple=False)
