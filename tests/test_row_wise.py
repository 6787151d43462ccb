"""Which programs make row i of their results of row i of what they take, and that their bits then stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf

ROWS = 12
_RANDOM = np.random.default_rng(5)


def v(*shape: int) -> Any:
    return gf.constant(_RANDOM.normal(size=shape).astype(np.float32) * 0.2)


def perceptron(x: Any) -> Any:
    return gf.nn.softmax(gf.matmul(gf.nn.relu(gf.matmul(x, v(60, 33)) + v(33)), v(33, 10)))


def convolutions(x: Any) -> Any:
    y = gf.nn.max_pool2d(gf.nn.relu(gf.nn.conv2d(x, v(3, 3, 3, 8), 1, "SAME")), 2, 2, "SAME")
    y = gf.nn.fused_batch_norm(y, v(8), v(8), v(8), gf.abs(v(8)), is_training=False)[0]
    return gf.matmul(gf.reshape(y, [-1, 5 * 5 * 8]), v(200, 3))


def attention(x: Any) -> Any:
    q = gf.reshape(gf.matmul(gf.reshape(x, [-1, 16]), v(16, 16)), [gf.shape(x)[0], gf.shape(x)[1], 2, 8])
    q = gf.transpose(q, [0, 2, 1, 3])
    y = gf.matmul(gf.nn.softmax(gf.matmul(q, q, transpose_b=True)), q)
    return gf.reshape(gf.transpose(y, [0, 2, 1, 3]), [gf.shape(x)[0], -1, 16])


def recurrent(x: Any) -> Any:
    cell = gf.nn.rnn_cell.LSTMCell(8, initializer=gf.constant_initializer(0.1))
    outputs = gf.nn.dynamic_rnn(cell, x, dtype=gf.float32)[0]
    return gf.matmul(outputs[:, -1], v(8, 2))


def normalized(x: Any) -> Any:
    centred = x - gf.reduce_mean(x, -1, keepdims=True)
    return centred * gf.rsqrt(gf.reduce_mean(gf.square(centred), -1, keepdims=True) + 1e-6)


PROVED: dict[str, tuple[tuple[int | None, ...], Callable[[Any], Any]]] = {
    "perceptron": ((60,), perceptron),
    "convolutions": ((10, 10, 3), convolutions),
    "attention": ((7, 16), attention),
    "attention, open length": ((None, 16), attention),
    "recurrent": ((5, 4), recurrent),
    "normalized": ((40,), normalized),
    "wide product": ((700,), lambda x: gf.matmul(x, v(700, 1))),
    "embedding": ((5,), lambda x: gf.reduce_mean(gf.gather(v(50, 20), gf.cast(gf.abs(x) * 9, gf.int32)), 1)),
    "best": ((9,), lambda x: gf.one_hot(gf.argmax(x, 1), 9) + gf.nn.top_k(x, 9)[0]),
    "running": ((9,), lambda x: gf.cumsum(x, 1) + gf.reverse(x, [1])),
    "tiled": ((4,), lambda x: gf.concat([gf.tile(v(1, 4), [gf.shape(x)[0], 1]), x], 1)),
    "zeros": ((4,), lambda x: gf.stack([x, gf.zeros([gf.shape(x)[0], 4])], 1)),
    "parts": ((6,), lambda x: gf.stack(gf.split(gf.pad(x, [[0, 0], [1, 1]]), 2, 1), 1)),
    "length one": ((6,), lambda x: gf.nn.l2_normalize(x, 1)),
    "resized": ((4, 4, 3), lambda x: gf.image.resize_bilinear(x, [7, 9])),
    "labels": ((3, 4), lambda x: gf.einsum("bij,jk->bik", x, v(4, 5))),
    "chosen": ((3,), lambda x: gf.where(x > 0, x, gf.zeros_like(x))),
    "depthwise": ((6, 6, 4), lambda x: gf.nn.depthwise_conv2d(x, v(3, 3, 4, 2), [1, 1, 1, 1], "SAME")),
    "functions": ((7,), lambda x: gf.exp(x) + gf.tanh(x) * gf.erf(x) + gf.pow(gf.abs(x), 1.3)),
    "unpacked": ((3, 5), lambda x: gf.add_n(gf.unstack(x, axis=1))),
}  # fmt: skip

MIXED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "total": ('Sum "Sum" folds the rows of the batch into one', gf.reduce_sum),
    "centred": ("folds the rows of the batch into one", lambda x: x - gf.reduce_mean(x, 0)),
    "counted": ("computes with the number of rows", lambda x: x / gf.cast(gf.shape(x)[0], gf.float32)),
    "numbered": ("no rule", lambda x: x + gf.cast(gf.range(gf.shape(x)[0]), gf.float32)[:, None]),
    "first": ("takes some rows of the batch", lambda x: x[:1]),
    "without last": ("takes some rows of the batch", lambda x: x[:-1]),
    "reversed": ("goes through the axis of the batch", lambda x: gf.reverse(x, [0])),
    "running": ("goes through the axis of the batch", lambda x: gf.cumsum(x, 0)),
    "similar": ("multiplies rows of the batch with each other", lambda x: gf.matmul(x, x, transpose_b=True)),
    "moments": ("sums over the rows of the batch", lambda x: gf.matmul(x, x, transpose_a=True)),
    "softmax over rows": ("goes through the axis", lambda x: gf.transpose(gf.nn.softmax(gf.transpose(x)))),
    "dropped": ("draws random numbers", lambda x: gf.nn.dropout(x, rate=0.5)),
    "branch": ("Mean", lambda x: gf.cond(gf.reduce_mean(x) > 0, lambda: x, lambda: -x)),
    "flat": ("gives no row for each row of the batch", lambda x: gf.reshape(x, [-1])),
    "merged": ("sizes cannot be left open", lambda x: gf.reshape(x, [-1, 2])),
    "turned": ("no row for each row", gf.transpose),
    "constant": ("no row for each row", lambda x: v(3) + gf.zeros([1, 3])),
    "repeated": ("repeats the rows", lambda x: gf.tile(x, [2, 1])),
    "doubled": ("lays values behind the rows", lambda x: gf.concat([x, x], 0)),
    "outer": ("along different axes", lambda x: x[:, None, :] * x[None, :, :]),
    "picked": ("picks among the rows", lambda x: gf.gather(x, [0, 0])),
    "looked up in the batch": ("picks among", lambda x: gf.gather(x, gf.cast(x[:, 0], gf.int32))),
    "fixed": ("sizes cannot be left open", lambda x: x + v(7, 3)),
    "whitened": ("folds the rows", lambda x: x * gf.rsqrt(gf.nn.moments(x, 0)[1] + 1e-3)),
    "printed": ("acts on the world", lambda x: gf.Print(x, [x])),
    "asserted": ("All", lambda x: _after(gf.debugging.Assert(gf.reduce_all(x > -99), [x]), x)),
    "python": ("acts on the world", lambda x: gf.reshape(gf.py_func(lambda a: a, [x], gf.float32), gf.shape(x))),
}  # fmt: skip


def _after(operation: Any, x: Any) -> Any:
    with gf.control_dependencies([operation]):
        return gf.identity(x)


@pytest.mark.parametrize("name", PROVED)
def test_proved_and_the_same_bits_alone_and_together(name: str) -> None:
    shape, build = PROVED[name]
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, *shape])
        y = build(x)
        session.run(gf.global_variables_initializer())
        proof = session.row_wise([y], [x])
        assert proof, proof.reason
        sizes = [6 if size is None else size for size in shape]
        others = [6] * sum(size is None for size in shape)
        assert all(proof.holds(rows, others) for rows in (1, 2, 3, ROWS, 32))
        run = session.make_callable(y, [x])
        given = np.random.default_rng(1).normal(size=(ROWS, *sizes)).astype(np.float32)
        whole = run(given)
        for begin, end in ((0, 1), (5, 6), (1, 4), (3, 8), (0, 11), (5, 12)):
            assert run(given[begin:end]).tobytes() == whole[begin:end].tobytes(), (begin, end)


@pytest.mark.parametrize("name", MIXED)
def test_refused_with_the_reason(name: str) -> None:
    reason, build = MIXED[name]
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 3])
        proof = session.row_wise([build(x)], [x])
        assert not proof and reason in proof.reason, proof.reason
        assert not proof.holds(4)


def test_inputs_without_rows_and_writes_are_refused() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x, rate = gf.placeholder(gf.float32, [None, 3]), gf.placeholder(gf.float32, [])
        fixed, unknown = gf.placeholder(gf.float32, [4, 3]), gf.placeholder(gf.float32)
        for feeds, fetch, reason in (
            ([x, rate], x * rate, "the input Placeholder_1:0 has no open first axis"),
            ([fixed], fixed * 2, "has no open first axis"),
            ([unknown], unknown * 2, "may have any number of axes"),
            ([x], [x * 2, gf.assign_add(gf.Variable(1.0), 1.0)], "writes the variable"),
        ):
            proof = session.row_wise(fetch, feeds)
            assert reason in proof.reason


def test_several_inputs_and_strings() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x, y = gf.placeholder(gf.float32, [None, 3]), gf.placeholder(gf.float32, [None, 2])
        assert session.row_wise([gf.concat([x, y], 1), x], [x, y])
        texts = gf.placeholder(gf.string, [None])
        features = gf.io.parse_example(
            texts, {"x": gf.io.FixedLenFeature([3], gf.float32), "n": gf.io.VarLenFeature(gf.int64)}
        )
        assert session.row_wise([features["x"] * 2, gf.strings.length(texts)], [texts])
        assert "features of any length" in session.row_wise([features["n"].values], [texts]).reason


def test_a_proof_holds_for_the_sizes_that_it_was_made_for() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 3])
        few = gf.cond(gf.shape(x)[0] > 4, lambda: x * 2, lambda: x * 3)
        proof = session.row_wise([few], [x])
        assert not proof.holds(4) or not proof.holds(5)
