"""Real graphs with a few things in them changed: each is read or refused, in bounded time, by an error that says where.

More of them by hand: GRAPHFLOW_MUTATIONS=20000, and GRAPHFLOW_GRAPHS names a folder with MetaGraphDefs to change, such
as `graphs_of_tensorflow.py` leaves.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import graphflow as gf
from tests.serialization.mutations import mutated
from tests.shares import seeds

MUTATIONS = int(os.environ.get("GRAPHFLOW_MUTATIONS", "250"))


def learning() -> gf.GraphDef:
    """Images through a convolution and dense layers, loss, gradients, an optimizer's updates, a saver."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None, 4, 4, 1], name="x")
        filters = gf.get_variable("filters", [2, 2, 1, 3])
        net = gf.nn.max_pool(
            gf.nn.relu(gf.nn.conv2d(x, filters, [1, 1, 1, 1], "SAME")), [1, 2, 2, 1], [1, 2, 2, 1], "SAME"
        )
        logits = gf.layers.dense(gf.reshape(net, [-1, 12]), 2)
        loss = gf.reduce_mean(
            gf.nn.sparse_softmax_cross_entropy_with_logits(labels=gf.argmax(logits, 1), logits=logits)
        )
        gf.train.AdamOptimizer().minimize(loss)
        gf.train.Saver()
        return graph.as_graph_def()


def control() -> gf.GraphDef:
    """Loops and branches in each other, their gradients, and functions."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [3, 2], name="x")
        y = gf.while_loop(
            lambda i, s: i < 4,
            lambda i, s: (i + 1, gf.cond(gf.equal(i, 2), lambda: s * x, lambda: gf.tanh(s))),
            [0, x],
        )[1]
        z = gf.scan(lambda a, v: a * 0.5 + v, gf.map_fn(lambda v: v * v, y))
        gf.gradients(gf.reduce_sum(z), x)
        return graph.as_graph_def()


def inputs() -> gf.GraphDef:
    """Texts, tables, parsing, sparse tensors."""
    with gf.Graph().as_default() as graph:
        lines = gf.placeholder(gf.string, [None], name="lines")
        parsed = gf.parse_example(
            lines, {"a": gf.FixedLenFeature([2], gf.float32), "b": gf.VarLenFeature(gf.int64)}
        )
        gf.sparse.to_dense(parsed["b"])
        words = gf.string_split(gf.strings.substr(lines, 0, 3)).values
        keys = gf.strings.to_hash_bucket_fast(words, 10)
        gf.nn.embedding_lookup(gf.get_variable("table", [10, 4]), keys)
        gf.data.Dataset.range(10).map(lambda v: v * 2).batch(3).make_one_shot_iterator().get_next()
        return graph.as_graph_def()


def bases() -> list[gf.GraphDef]:
    folder = os.environ.get("GRAPHFLOW_GRAPHS")
    if folder is None:
        return [learning(), control(), inputs()]
    return [gf.MetaGraphDef.FromString(p.read_bytes()).graph_def for p in sorted(Path(folder).glob("*.pb"))]


def test_changed_graphs_are_read_or_refused() -> None:
    graphs = bases()
    problems = []
    refused = 0
    for seed in seeds(MUTATIONS):
        definition = mutated(graphs[seed % len(graphs)], seed)
        began = time.process_time()
        try:
            with gf.Graph().as_default():
                gf.import_graph_def(definition, name="")
        except (ValueError, gf.errors.OpError) as error:
            refused += 1
            if not str(error):
                problems.append(f"seed {seed}: {type(error).__name__} without a word")
        except Exception as error:
            problems.append(f"seed {seed}: {type(error).__name__}: {error}")
        if time.process_time() - began > 30:
            problems.append(f"seed {seed}: {time.process_time() - began:.0f} s")
    assert not problems, "\n".join(problems)
    tried = len(seeds(MUTATIONS))
    assert tried // 5 < refused < tried
