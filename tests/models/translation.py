"""A translator: an encoder both ways, a decoder with attention that a teacher leads, and beam search afterwards.

The language to learn is the given words backwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as tf

s2s = tf.contrib.seq2seq
START, END = 0, 1
SIZES = {
    "small": {"batch": 8, "length": 4, "vocabulary": 8, "units": 12, "layers": 1, "beams": 3},
    "learnt": {"batch": 32, "length": 4, "vocabulary": 8, "units": 32, "layers": 1, "beams": 3},
    "real": {"batch": 32, "length": 25, "vocabulary": 8000, "units": 512, "layers": 2, "beams": 5},
}


def stack(units: int, layers: int) -> Any:
    cells = [
        tf.nn.rnn_cell.LSTMCell(units, initializer=tf.glorot_uniform_initializer(seed=i))
        for i in range(layers)
    ]
    return cells[0] if layers == 1 else tf.nn.rnn_cell.MultiRNNCell(cells)


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    source, target = (tf.placeholder(tf.int32, [None, None]) for _ in range(2))
    lengths = tf.placeholder(tf.int32, [None])
    batch = tf.shape(source)[0]
    table = tf.get_variable("embedding", [s["vocabulary"], s["units"]])
    with tf.variable_scope("encoder"):
        (forth, back), _ = tf.nn.bidirectional_dynamic_rnn(
            stack(s["units"] // 2, 1), stack(s["units"] // 2, 1), tf.nn.embedding_lookup(table, source), lengths,
            dtype=tf.float32,
        )  # fmt: skip
        memory = tf.concat([forth, back], 2)
    layer = tf.layers.Dense(s["vocabulary"], use_bias=False, name="projection")

    def decoded(beams: int, reuse: bool) -> Any:
        tiled, long = (s2s.tile_batch(t, beams) for t in (memory, lengths)) if beams else (memory, lengths)
        with tf.variable_scope("decoder", reuse=reuse) as scope:
            attention = s2s.LuongAttention(s["units"], tiled, long, scale=True)
            cell = s2s.AttentionWrapper(
                stack(s["units"], s["layers"]), attention, attention_layer_size=s["units"]
            )
            state = cell.zero_state(batch * max(beams, 1), tf.float32)
            if beams:
                search = s2s.BeamSearchDecoder(
                    cell, table, tf.fill([batch], START), END, state, beams, layer, length_penalty_weight=0.6
                )
                return s2s.dynamic_decode(search, maximum_iterations=2 * s["length"], scope=scope)
            inputs = tf.concat([tf.fill([batch, 1], START), target[:, :-1]], 1)
            helper = s2s.TrainingHelper(tf.nn.embedding_lookup(table, inputs), lengths + 1)
            return s2s.dynamic_decode(s2s.BasicDecoder(cell, helper, state, layer), scope=scope)

    outputs, _, _ = decoded(0, False)
    weights = tf.sequence_mask(lengths + 1, tf.shape(target)[1], dtype=tf.float32)
    loss = s2s.sequence_loss(outputs.rnn_output, target, weights)
    found, _, _ = decoded(s["beams"], True)
    variables = tf.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 5.0)
    optimizer = tf.train.AdamOptimizer(1e-3 if size == "real" else 1e-2)
    op = optimizer.apply_gradients(zip(gradients, variables, strict=True))
    rng = np.random.RandomState(0)

    def batch_of(count: int) -> dict[Any, Any]:
        long = rng.randint(1, s["length"] + 1, count)
        long[0] = s["length"]
        given = np.full((count, s["length"]), END)
        wanted = np.full((count, s["length"] + 1), END)
        for row, n in enumerate(long):
            given[row, :n] = rng.randint(2, s["vocabulary"], n)
            wanted[row, :n] = given[row, :n][::-1]
        return {source: given, target: wanted, lengths: long}

    fixed = batch_of(s["batch"])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [
            float(session.run([loss, op], batch_of(s["batch"]) if size == "learnt" else fixed)[0])
            for _ in range(steps)
        ]
        check = batch_of(16) if size == "learnt" else fixed
        beams, scores = session.run([found.predicted_ids, found.beam_search_decoder_output.scores], check)
    return {"losses": losses, "names": [v.op.name for v in variables], "beams": beams, "scores": scores,
            "wanted": check[target], "lengths": check[lengths]}  # fmt: skip
