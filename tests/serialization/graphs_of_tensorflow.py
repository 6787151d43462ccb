"""Graphs that TensorFlow itself writes and runs; a program for the interpreter that has it.

    python graphs_of_tensorflow.py FOLDER [NAME...]

For each graph it leaves `NAME.pb`, a MetaGraphDef, and `NAME.json`: what to fetch, and what to feed in which run; and
in `values.npz` under `NAME/run/position` what TensorFlow fetched.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

GRAPHS: dict[str, Callable[[], Any]] = {}
STEPS = 20


def graph(make: Callable[[], Any]) -> Callable[[], Any]:
    """Registers a function that builds a graph and returns its fetches and the feeds of each run.

    A third value, if there is one, says which of the fetches each run asks for; a fourth is what is said of the graph
    besides.
    """
    GRAPHS[make.__name__] = make
    return make


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def placeholders(**shapes: Any) -> list[Any]:
    return [tf.placeholder(dtype, shape, name=name) for name, (dtype, shape) in shapes.items()]


# -- branches ---------------------------------------------------------------------------------------------------


@graph
def branch() -> Any:
    x, p = placeholders(x=(tf.float32, [3]), p=(tf.bool, []))
    y = tf.cond(p, lambda: x * 2 + 1, lambda: x - 3)
    return [y], [{"x:0": [1.0, 2, 3], "p:0": b} for b in (True, False)]


@graph
def second_gradient_of_a_branch() -> Any:
    x, p = placeholders(x=(tf.float32, [3]), p=(tf.bool, []))
    y = tf.cond(p, lambda: tf.exp(x) * x, lambda: tf.tanh(x))
    (g,) = tf.gradients(tf.square(y), x)
    return [y, g, *tf.gradients(g, x)], [{"x:0": [1.0, 2, 3], "p:0": b} for b in (True, False)]


@graph
def branches_in_branches() -> Any:
    x, p, q = placeholders(x=(tf.float32, [3]), p=(tf.bool, []), q=(tf.bool, []))
    z = x * 2
    y = tf.cond(
        p,
        lambda: (
            tf.cond(q, lambda: tf.exp(z) * x, lambda: tf.sin(z))
            + tf.cond(tf.logical_not(q), lambda: z * z, lambda: z * z * z)
        ),
        lambda: tf.tanh(z),
    )
    feeds = [{"x:0": [1.0, 2, 3], "p:0": a, "q:0": b} for a in (True, False) for b in (True, False)]
    return [y, *tf.gradients(tf.square(y), x)], feeds


@graph
def cases() -> Any:
    i, x = placeholders(i=(tf.int32, []), x=(tf.float32, [2]))
    pairs = [(tf.equal(i, k), lambda k=k: x ** (k + 1.0)) for k in range(4)]
    y = tf.case(pairs, default=lambda: -x, exclusive=True)
    z = tf.switch_case(i, [lambda k=k: x * k for k in range(3)])
    return [y, z, *tf.gradients(y * z, x)], [{"i:0": k, "x:0": [1.5, 2.5]} for k in (0, 1, 2, 3, 9)]


@graph
def a_branch_for_its_effect() -> Any:
    v = tf.get_variable("v", initializer=tf.constant(1.0), use_resource=True)
    (p,) = placeholders(p=(tf.bool, []))
    done = tf.cond(p, lambda: tf.group(v.assign_add(1.0), v.assign_add(2.0)), tf.no_op)
    with tf.control_dependencies([done, tf.Assert(v < 100.0, [v])]):
        return [v.read_value()], [{"p:0": True}, {"p:0": False}]


@graph
def a_merge_that_is_asked_what_it_took() -> Any:
    from tensorflow.python.ops import control_flow_ops

    x, p, q = placeholders(x=(tf.float32, []), p=(tf.bool, []), q=(tf.bool, []))
    off, on = control_flow_ops.switch(x, p)
    value, index = control_flow_ops.merge([off - 1.0, on + 1.0])
    # A merge whose input is sure, inside of the other decision.
    again = tf.cond(p, lambda: tf.cond(p, lambda: value * 2.0, lambda: value * 3.0), lambda: -value)
    return [value, tf.identity(index), again], [{"x:0": 2.0, "p:0": b, "q:0": True} for b in (True, False)]


@graph
def an_effect_that_nothing_waits_for() -> Any:
    from tensorflow.python.ops import control_flow_ops

    v = tf.get_variable("v", initializer=tf.constant(1.0), use_resource=True)
    (p,) = placeholders(p=(tf.bool, []))
    _, on = control_flow_ops.switch(tf.constant(5.0), p)
    act = v.assign_add(on, read_value=False, name="act")
    group = tf.group(act, name="group")
    runs = [[1], [0]] * 2
    return [v.read_value(), group], [{"p:0": True}, {"p:0": True}, {"p:0": False}, {"p:0": False}], runs


# -- loops ------------------------------------------------------------------------------------------------------


def loop_feeds(*turns: int) -> list[dict[str, Any]]:
    return [{"n:0": n, "x:0": [0.1, 0.2, 0.3], "w:0": [1.0, -1.0, 0.5]} for n in turns]


def loop_inputs() -> list[Any]:
    return placeholders(n=(tf.int32, []), x=(tf.float32, [3]), w=(tf.float32, [3]))


@graph
def loop() -> Any:
    n, x, w = loop_inputs()
    i, s = tf.while_loop(lambda i, s: i < n, lambda i, s: (i + 1, tf.tanh(s * w) + x), [0, x * 0.5])
    return [i, s, *tf.gradients(tf.reduce_sum(s * s), [x, w])], loop_feeds(0, 1, 5)


@graph
def a_loop_with_a_limit() -> Any:
    n, x, w = loop_inputs()
    s, _ = tf.while_loop(
        lambda s, _: tf.reduce_sum(s) < 50.0,
        lambda s, k: (s * w * w + x, k * 2.0),
        (x, 1.0),
        maximum_iterations=n,
        swap_memory=True,
    )
    return [s, *tf.gradients(s, [x, w])], loop_feeds(0, 3)


@graph
def loops_in_loops() -> Any:
    n, x, w = loop_inputs()

    def outer(i: Any, s: Any) -> Any:
        j, t = tf.while_loop(lambda j, t: j < i, lambda j, t: (j + 1, tf.sin(t * w) + x * s), [0, s * 2])
        return i + 1, t * s + tf.cast(j, tf.float32)

    i, s = tf.while_loop(lambda i, s: i < n, outer, [0, x * 0.5])
    return [i, s, *tf.gradients(tf.reduce_sum(s * s), [x, w])], loop_feeds(0, 1, 4)


@graph
def a_shape_that_grows() -> Any:
    n, x, _ = loop_inputs()
    shapes = [tf.TensorShape([]), tf.TensorShape([None])]
    i, s = tf.while_loop(
        lambda i, s: i < n, lambda i, s: (i + 1, tf.concat([s, x], 0)), [0, x[:0]], shape_invariants=shapes
    )
    return [i, s, *tf.gradients(tf.reduce_sum(s * s), x)], loop_feeds(0, 1, 3)


@graph
def branches_in_loops() -> Any:
    n, x, w = loop_inputs()

    def body(i: Any, s: Any) -> Any:
        t = tf.cond(tf.equal(i % 2, 0), lambda: tf.exp(-s) * w, lambda: tf.sin(s) * x + s)
        return i + 1, t * s + 0.1

    i, s = tf.while_loop(lambda i, s: i < n, body, [0, x * 0.5])
    return [i, s, *tf.gradients(tf.reduce_sum(s * s), [x, w])], loop_feeds(0, 1, 4)


@graph
def all_in_all() -> Any:
    """A branch with a loop with a branch with a loop with a branch in it."""
    n, x, w = loop_inputs()
    (p,) = placeholders(p=(tf.bool, []))

    def body(i: Any, s: Any) -> Any:
        def inner(j: Any, t: Any) -> Any:
            return j + 1, tf.cond(j < 1, lambda: t * x, lambda: tf.tanh(t))

        def turns() -> Any:
            return tf.while_loop(lambda j, t: j < 2, inner, [0, s])[1]

        return i + 1, tf.cond(tf.equal(i, 1), turns, lambda: s + w)

    y = tf.cond(p, lambda: tf.while_loop(lambda i, s: i < n, body, [0, x * 0.5])[1], lambda: x * x)
    feeds = [feed | {"p:0": b} for feed in loop_feeds(0, 3) for b in (True, False)]
    return [y, *tf.gradients(tf.reduce_sum(y * y), x)], feeds


@graph
def variables_in_branches_and_loops() -> Any:
    fetches: list[Any] = []
    p, n = placeholders(p=(tf.bool, []), n=(tf.int32, []))
    for name, is_resource in (("reference", False), ("resource", True)):
        v = tf.get_variable(name, initializer=tf.constant([1.0, 2.0]), use_resource=is_resource)
        up = tf.cond(p, lambda v=v: tf.assign_add(v, [1.0, 1.0]), lambda v=v: tf.assign(v, v * 2.0))

        def body(i: Any, s: Any, v: Any = v) -> Any:
            with tf.control_dependencies([tf.assign_add(v, s)]):
                return i + 1, s + 1.0

        i, s = tf.while_loop(lambda i, s: i < n, body, [0, tf.constant([0.5, 0.25])])
        with tf.control_dependencies([i]):
            fetches += [up, v.read_value(), s]
    runs = [[0, 3], [1, 2, 4, 5], [0, 3], [1, 4]]
    return fetches, [{"p:0": i < 2, "n:0": i} for i in range(4)], runs


# -- arrays -----------------------------------------------------------------------------------------------------


@graph
def a_scan() -> Any:
    x, w = placeholders(x=(tf.float32, [None, 3]), w=(tf.float32, [3, 3]))
    n = tf.shape(x)[0]
    steps = tf.TensorArray(tf.float32, n).unstack(x)

    def body(i: Any, h: Any, out: Any) -> Any:
        h = tf.tanh(tf.matmul(h, w) + steps.read(i)[None])
        return i + 1, h, out.write(i, h[0])

    _, h, out = tf.while_loop(lambda i, *_: i < n, body, [0, tf.zeros([1, 3]), tf.TensorArray(tf.float32, n)])
    y = out.stack()
    grads = tf.gradients(tf.reduce_sum(y * y) + tf.reduce_sum(h), [x, w])
    return [y, h, *grads], [
        {"x:0": numbers(k, 3).tolist(), "w:0": numbers(3, 3, seed=1).tolist()} for k in (1, 4)
    ]


@graph
def maps_and_folds() -> Any:
    (x,) = placeholders(x=(tf.float32, [4, 3]))
    results = [
        tf.map_fn(lambda v: tf.reduce_sum(v * v), x),
        tf.scan(lambda s, v: s * 0.5 + tf.sin(v), x),
        tf.foldl(lambda s, v: s * v + 1.0, x),
        tf.foldr(lambda s, v: s - v, x),
    ]
    return [*results, *tf.gradients(results, x)], [{"x:0": numbers(4, 3).tolist()}]


@graph
def a_scan_in_a_map() -> Any:
    (x,) = placeholders(x=(tf.float32, [3, 4, 2]))
    y = tf.map_fn(lambda m: tf.scan(lambda s, v: tf.tanh(s + v) * v, m), x)
    return [y, *tf.gradients(tf.reduce_sum(y * y), x)], [{"x:0": numbers(3, 4, 2).tolist()}]


@graph
def arrays_in_all_ways() -> Any:
    (x,) = placeholders(x=(tf.float32, [5, 2]))
    first = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, clear_after_read=False)
    first = first.split(x, [2, 1, 2])
    second = tf.TensorArray(tf.float32, 1, dynamic_size=True, clear_after_read=False)
    second = second.scatter([2, 0, 1], x[:3]).write(3, x[4])
    a, b, c = first.read(0), first.concat(), second.gather([3, 1, 1])
    grads = tf.gradients([tf.reduce_sum(a * a), tf.reduce_sum(tf.sin(b)), tf.reduce_sum(c * c)], x)
    return [a, b, first.size(), c, *grads], [{"x:0": numbers(5, 2).tolist()}]


@graph
def a_branch_reads_an_array_in_a_loop() -> Any:
    (x,) = placeholders(x=(tf.float32, [4, 3]))
    steps = tf.TensorArray(tf.float32, 4, element_shape=[3]).unstack(x)

    def body(i: Any, out: Any) -> Any:
        value = tf.cond(i < 2, lambda: steps.read(i) * 2.0, lambda: tf.exp(steps.read(i)))
        return i + 1, out.write(i, value)

    y = tf.while_loop(lambda i, _: i < 4, body, [0, tf.TensorArray(tf.float32, 4, element_shape=[3])])[
        1
    ].stack()
    return [y, *tf.gradients(y * y, x)], [{"x:0": numbers(4, 3).tolist()}]


# -- functions --------------------------------------------------------------------------------------------------


@contextmanager
def functional() -> Iterator[None]:
    tf.enable_control_flow_v2()
    try:
        yield
    finally:
        tf.disable_control_flow_v2()


@graph
def functions_in_functions() -> Any:
    from tensorflow.python.eager.def_function import function

    x, p = placeholders(x=(tf.float32, [3]), p=(tf.bool, []))

    @function
    def inner(a: Any, b: Any) -> Any:
        return tf.tanh(a) * b, a + b

    @function
    def outer(a: Any) -> Any:
        u, v = inner(a, a * 2.0)
        return tf.cond(p, lambda: u * v, lambda: inner(v, u)[0])

    with functional():
        y = outer(x)
        return [y, *tf.gradients(y, x)], [{"x:0": [0.5, 1.0, 2.0], "p:0": b} for b in (True, False)]


@graph
def a_function_of_open_type() -> Any:
    from tensorflow.python.framework import function

    x, y = placeholders(x=(tf.float32, [3]), y=(tf.float32, [3]))

    @function.Defun(tf.float32, tf.float32, func_name="Blend")
    def blend(a: Any, b: Any) -> Any:
        return tf.cond(tf.reduce_sum(a) > 0.0, lambda: a * b, lambda: a - b), b * 2.0

    u, v = blend(x, y)
    return [u, v], [{"x:0": [0.5, s, 2.0], "y:0": [1.0, 2.0, 3.0]} for s in (1.0, -9.0)]


# -- models that learn ------------------------------------------------------------------------------------------


def learning(loss: Any, optimizer: Any, feeds: list[Any], others: Any = ()) -> Any:
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = optimizer.minimize(loss, global_step=tf.train.get_or_create_global_step())
    return taught(feeds, [loss, train, *others, *tf.trainable_variables()])


def taught(feeds: list[Any], fetches: list[Any], said: Any = ()) -> Any:
    """The runs of a model that learns: its loss in each step, and in the end its variables."""
    fetches[2:] = [v.read_value() for v in fetches[2:]]
    return fetches, [*feeds, {}], [[0, 1]] * STEPS + [list(range(2, len(fetches)))], dict(said)


def images(steps: int = STEPS) -> list[dict[str, Any]]:
    return [
        {"x:0": numbers(8, 10, 10, 3, seed=i).tolist(), "labels:0": (np.arange(8) * (i + 3) % 4).tolist()}
        for i in range(steps)
    ]


def weights(name: str, *shape: int, is_resource: bool = True) -> Any:
    values = numbers(*shape, seed=sum(map(ord, name))) / np.sqrt(max(1, np.prod(shape[:-1])))
    return tf.get_variable(name, initializer=values.astype(np.float32), use_resource=is_resource)


def cross_entropy(labels: Any, logits: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


@graph
def perceptron() -> Any:
    x, labels = placeholders(x=(tf.float32, [None, 10, 10, 3]), labels=(tf.int32, [None]))
    h = tf.reshape(x, [-1, 300])
    for i, size in enumerate((32, 16)):
        w = weights(f"w{i}", h.shape[1].value, size, is_resource=False)
        h = tf.nn.relu(tf.matmul(h, w) + tf.get_variable(f"b{i}", [size], initializer=tf.zeros_initializer()))
        h = tf.nn.dropout(h, rate=0.2, seed=7 + i)
    loss = cross_entropy(labels, tf.matmul(h, weights("out", 16, 4)))
    rate = tf.train.exponential_decay(0.1, tf.train.get_or_create_global_step(), 5, 0.9)
    return learning(loss, tf.train.MomentumOptimizer(rate, 0.9, use_nesterov=True), images())


@graph
def convolutions() -> Any:
    x, labels = placeholders(x=(tf.float32, [None, 10, 10, 3]), labels=(tf.int32, [None]))
    h = x
    for i, channels in enumerate((8, 16)):
        w = weights(f"w{i}", 3, 3, h.shape[3].value, channels, is_resource=bool(i))
        h = tf.nn.conv2d(h, w, strides=[1, 1 + i, 1 + i, 1], padding="SAME")
        with tf.variable_scope(f"norm{i}", use_resource=bool(i)):
            scale = tf.get_variable("scale", [channels], initializer=tf.ones_initializer())
            offset = tf.get_variable("offset", [channels], initializer=tf.zeros_initializer())
            mean = tf.get_variable("mean", [channels], initializer=tf.zeros_initializer(), trainable=False)
        h, batch_mean, _ = tf.nn.fused_batch_norm(h, scale, offset, is_training=True)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_sub(mean, 0.1 * (mean - batch_mean)))
        h = tf.nn.max_pool2d(tf.nn.relu(h), 2, 2, "SAME")
    loss = cross_entropy(labels, tf.matmul(tf.reduce_mean(h, [1, 2]), weights("out", 16, 4)))
    loss += 1e-3 * tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()])
    means = [v for v in tf.global_variables() if v.op.name.endswith("/mean")]
    return learning(loss, tf.train.AdamOptimizer(0.01), images(), means)


def lstm() -> Any:
    steps, batch, size, vocabulary = 6, 4, 8, 11
    tokens, lengths = placeholders(tokens=(tf.int32, [batch, None]), lengths=(tf.int32, [batch]))
    table = weights("table", vocabulary, size, is_resource=False)
    inputs = tf.transpose(tf.nn.embedding_lookup(table, tokens[:, :-1]), [1, 0, 2])
    count = tf.shape(inputs)[0]
    w = weights("lstm/kernel", 2 * size, 4 * size, is_resource=False)
    b = tf.get_variable("lstm/bias", [4 * size], initializer=tf.zeros_initializer(), use_resource=True)
    given = tf.TensorArray(tf.float32, count, element_shape=[batch, size]).unstack(inputs)

    def body(t: Any, c: Any, h: Any, out: Any) -> Any:
        gates = tf.nn.bias_add(tf.matmul(tf.concat([given.read(t), h], 1), w), b)
        i, j, f, o = tf.split(gates, 4, axis=1)
        new_c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        new_h = tf.sigmoid(o) * tf.tanh(new_c)
        alive = tf.broadcast_to((t < lengths)[:, None], [batch, size])
        c, h = tf.where(alive, new_c, c), tf.where(alive, new_h, h)
        return t + 1, c, h, out.write(t, h)

    zero = tf.zeros([batch, size])
    out = tf.while_loop(
        lambda t, *_: t < count,
        body,
        [0, zero, zero, tf.TensorArray(tf.float32, count)],
        parallel_iterations=1,
    )[3].stack()
    logits = tf.tensordot(out, table, [[2], [1]])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.transpose(tokens[:, 1:]), logits=logits)
    mask = tf.sequence_mask(lengths, count, dtype=tf.float32)
    loss = tf.reduce_sum(losses * tf.transpose(mask)) / tf.reduce_sum(mask)
    optimizer = tf.train.GradientDescentOptimizer(0.5)
    grads, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    clipped, norm = tf.clip_by_global_norm(grads, 1.0)
    train = optimizer.apply_gradients(zip(clipped, variables, strict=True))
    feeds = []
    for i in range(STEPS):
        random = np.random.RandomState(i)
        feeds.append({
            "tokens:0": random.randint(0, vocabulary, [batch, steps + i % 2]).tolist(),
            "lengths:0": random.randint(2, steps, [batch]).tolist(),
        })  # fmt: skip
    del norm
    return taught(feeds, [loss, train, *tf.trainable_variables()])


graph(lstm)


@graph
def lstm_of_functions() -> Any:
    with functional():
        return lstm()


@graph
def transformer() -> Any:
    size, heads, batch, vocabulary = 16, 2, 3, 13
    (tokens,) = placeholders(tokens=(tf.int32, [batch, None]))
    count = tf.shape(tokens)[1] - 1
    places = tf.cast(tf.range(count), tf.float32)[:, None] / tf.pow(100.0, tf.range(0.0, 1.0, 1.0 / size))
    h = tf.nn.embedding_lookup(weights("table", vocabulary, size), tokens[:, :-1]) + tf.sin(places)

    def normed(h: Any, name: str) -> Any:
        mean, variance = tf.nn.moments(h, [-1], keep_dims=True)
        scale = tf.get_variable(
            f"{name}/scale", [size], initializer=tf.ones_initializer(), use_resource=False
        )
        return (h - mean) * tf.rsqrt(variance + 1e-5) * scale

    def product(h: Any, name: str, *shape: int) -> Any:
        return tf.tensordot(h, weights(name, *shape), 1)

    def split(h: Any) -> Any:
        return tf.transpose(tf.reshape(h, [batch, count, heads, -1]), [0, 2, 1, 3])

    mask = tf.linalg.band_part(tf.ones([count, count]), -1, 0)
    for i in range(2):
        x = normed(h, f"first{i}")
        q, k, v = (split(product(x, f"{name}{i}", size, size)) for name in "qkv")
        scores = tf.matmul(q, k, transpose_b=True) / np.sqrt(size / heads)
        mixed = tf.matmul(tf.nn.softmax(scores * mask - 1e9 * (1.0 - mask)), v)
        h += product(tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, count, size]), f"o{i}", size, size)
        x = normed(h, f"second{i}")
        h += product(tf.nn.relu(product(x, f"up{i}", size, 32)), f"down{i}", 32, size)
    logits = tf.tensordot(h, weights("out", size, vocabulary), 1)
    feeds = [
        {"tokens:0": np.random.RandomState(i).randint(0, vocabulary, [batch, 5 + i % 2]).tolist()}
        for i in range(STEPS)
    ]
    return learning(cross_entropy(tokens[:, 1:], logits), tf.train.AdamOptimizer(0.01), feeds)


@graph
def a_queue_feeds_a_model() -> Any:
    x, y = numbers(24, 5), numbers(24, 1, seed=1)
    queue = tf.FIFOQueue(100, [tf.float32, tf.float32], [[5], [1]], name="queue")
    fill = queue.enqueue_many([tf.constant(x), tf.constant(y)], name="fill")
    tf.train.add_queue_runner(tf.train.QueueRunner(queue, [fill]))
    a, b = queue.dequeue_many(6)
    w = weights("w", 5, 1, is_resource=False)
    loss = tf.reduce_mean(tf.square(tf.matmul(a, w) - b))
    train = tf.train.AdagradOptimizer(0.5).minimize(loss)
    return taught([{}] * STEPS, [loss, train, w], {"starts": True})


@graph
def sparse_tensors_that_wait_in_a_map() -> Any:
    (x,) = placeholders(x=(tf.float32, [None, 3]))
    rows = tf.sparse.from_dense(x)
    parts = rows.indices, rows.values, rows.dense_shape
    kept = tf.raw_ops.AddManySparseToTensorsMap(
        sparse_indices=parts[0], sparse_values=parts[1], sparse_shape=parts[2], shared_name="held"
    )
    one = tf.raw_ops.AddSparseToTensorsMap(
        sparse_indices=parts[0], sparse_values=parts[1], sparse_shape=parts[2], shared_name="others"
    )
    taken = tf.raw_ops.TakeManySparseFromTensorsMap(
        sparse_handles=tf.reverse(kept, [0]), dtype=tf.float32, shared_name="held"
    )
    whole = tf.raw_ops.TakeManySparseFromTensorsMap(
        sparse_handles=one[None], dtype=tf.float32, shared_name="others"
    )
    feeds = [{"x:0": [[0.0, 1, 0], [2, 0, 3], [0, 0, 0]]}, {"x:0": [[4.0, 0, 0]]}]
    return [*taken, *whole, tf.shape(kept)], feeds


@graph
def texts_joined_and_cut() -> Any:
    x = tf.constant([["a", "b\u00fc", ""], ["d", "e", "f"]])
    flat = tf.reshape(x, [-1])
    fetches = [
        tf.strings.ngrams(x, 2),
        tf.strings.ngrams(x, [1, 2], separator="|", pad_values=("<", ">"), padding_width=1),
        tf.strings.ngrams(flat, 3, pad_values="_"),
        tf.strings.ngrams(x, 5, preserve_short_sequences=True),
        tf.strings.bytes_split(flat[0]),
        tf.strings.unsorted_segment_join(flat, [0, 2, 0, 1, 2, 2], 4, separator="+"),
        tf.fingerprint(x),
        tf.raw_ops.ParallelConcat(values=[x[None, 0], x[None, 1]], shape=[2, 3]),
    ]
    # Files of numbers hold no texts.
    numbers = [f if f.dtype == tf.uint8 else tf.strings.to_hash_bucket_fast(f, 10**9) for f in fetches]
    return numbers, [{}]


@graph
def datasets_under_their_former_names() -> Any:
    raw, one = tf.raw_ops, tf.TensorShape([])
    numbers = raw.RangeDataset(start=0, stop=6, step=1, output_types=[tf.int64], output_shapes=[one])
    pairs = raw.ParallelBatchDataset(
        input_dataset=numbers, batch_size=2, num_parallel_calls=2, drop_remainder=True, output_types=[tf.int64],
        output_shapes=[[2]],
    )  # fmt: skip
    again = raw.ExperimentalUnbatchDataset(input_dataset=pairs, output_types=[tf.int64], output_shapes=[one])
    alone = raw.ExperimentalUniqueDataset(input_dataset=again, output_types=[tf.int64], output_shapes=[one])
    rows = raw.BatchDatasetV2(
        input_dataset=alone,
        batch_size=4,
        drop_remainder=False,
        output_types=[tf.int64],
        output_shapes=[[None]],
    )
    whole = {"output_types": [tf.int64], "output_shapes": [[None]]}
    iterator = raw.Iterator(shared_name="rows", container="", **whole)
    found = raw.IteratorFromStringHandle(
        string_handle=raw.IteratorToStringHandle(resource_handle=iterator), **whole
    )
    start = raw.MakeIterator(dataset=rows, iterator=iterator)
    (row,) = raw.IteratorGetNext(iterator=found, **whole)
    return [start, row], [{}] * 4, [[0], [1], [1], [0]]


# -- running them -------------------------------------------------------------------------------------------------


def main(folder: str, names: list[str]) -> None:
    values: dict[str, Any] = {}
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    for name in names or GRAPHS:
        with tf.Graph().as_default(), tf.Session(config=config) as session:
            made = GRAPHS[name]()
            fetches, feeds = made[0], made[1]
            runs = made[2] if len(made) > 2 else [list(range(len(fetches)))] * len(feeds)
            said = made[3] if len(made) > 3 else {}
            initializer = tf.global_variables_initializer()
            tf.train.export_meta_graph(f"{folder}/{name}.pb")
            session.run(initializer)
            coordinator = tf.train.Coordinator()
            threads = tf.train.start_queue_runners(session, coordinator) if said.get("starts") else []
            for i, run in enumerate(runs):
                got = session.run([fetches[j] for j in run], feeds[i % len(feeds)])
                values |= {f"{name}/{i}/{j}": v for j, v in zip(run, got, strict=True) if v is not None}
            coordinator.request_stop()
            session.close()
            coordinator.join(threads)
        listed = {
            "initializer": initializer.name,
            "fetches": [f.name for f in fetches],
            "feeds": feeds,
            "runs": runs,
        }
        with open(f"{folder}/{name}.json", "w") as file:
            json.dump(listed | said, file)
    np.savez(f"{folder}/values.npz", **values)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    tf.disable_v2_behavior()
    tf.disable_control_flow_v2()
    main(sys.argv[1], sys.argv[2:])
