"""The same program with the same op seeds starts from the same numbers in TensorFlow, and goes on with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

pytestmark = pytest.mark.tensorflow

RUNS = 3
# Expressions over `tf`, run three times each in one session.
DRAWS = (
    "tf.random_uniform([7, 3], seed=1)",
    "tf.random_uniform([5], -3.0, 2.5, seed=2)",
    "tf.random_uniform([2, 9], maxval=1000, dtype=tf.int32, seed=3)",
    "tf.random_uniform([4], 1.0, 2.0, dtype=tf.float64, seed=4)",
    "tf.random_normal([6, 5], seed=5)",
    "tf.random_normal([6], mean=3.0, stddev=0.5, seed=6)",
    "tf.random_normal([3, 0, 2], seed=7)",
    "tf.truncated_normal([1000], seed=8)",
    "tf.truncated_normal([4, 4], 1.0, 0.1, seed=9)",
    "tf.random_shuffle(tf.reshape(tf.range(30), [10, 3]), seed=10)",
    "tf.random_shuffle([b'one', b'two', b'three'], seed=11)",
    "tf.random_crop(tf.reshape(tf.range(60), [5, 4, 3]), [2, 3, 3], seed=12)",
    "tf.multinomial([[0.5, 2.0, -1.0], [0.0, 0.0, 3.0]], 9, seed=13)",
    "tf.nn.dropout(tf.ones([9, 11]), keep_prob=0.6, seed=14)",
    "tf.nn.dropout(tf.ones([9, 11]), rate=0.25, seed=15)",
    "tf.nn.dropout(tf.ones([6, 5, 4]), rate=0.5, noise_shape=[6, 1, 4], seed=16)",
    "tf.nn.dropout(tf.cast(tf.ones([12]), tf.float64), rate=0.5, seed=17)",
    "[tf.random_uniform([3], seed=18), tf.random_normal([4], seed=18), tf.random_uniform([3], seed=18)]",
    "tf.random_gamma([50], [0.4, 1.0, 2.5, 30.0], seed=35)",
    "tf.random_gamma([3, 2], [[0.7], [4.0]], beta=[0.5, 2.0], dtype=tf.float64, seed=36)",
    "tf.random_poisson([0.5, 3.0, 9.9, 10.0, 55.0, 1000.0], [40], seed=37)",
    "tf.random_poisson([[0.1], [12.0]], [7], dtype=tf.int32, seed=38)",
    "tf.random.stateless_uniform([4, 3], [1, 2], 2.0, 5.0)",
    "tf.random.stateless_uniform([9], [1, 2], 3, 90, dtype=tf.int64)",
    "tf.random.stateless_uniform([9], [3, 4], None, None, dtype=tf.int32)",
    "tf.random.stateless_normal([5, 5], [3, -4], 1.0, 2.0)",
    "tf.random.stateless_truncated_normal([99], [5, 6])",
    "tf.random.stateless_categorical([[0.5, 2.0, -1.0]], 12, [7, 8])",
    "tf.random_uniform(tf.shape(tf.random_normal([2, 4], seed=19)), seed=20)",
    "list(tf.nn.uniform_candidate_sampler(classes, 2, 7, True, 20, seed=40))",
    "list(tf.nn.uniform_candidate_sampler(classes, 2, 7, False, 16, seed=41))",
    "list(tf.nn.log_uniform_candidate_sampler(classes, 2, 9, True, 40, seed=42))",
    "list(tf.nn.log_uniform_candidate_sampler(classes, 2, 9, False, 40, seed=43))",
    "list(tf.nn.fixed_unigram_candidate_sampler(classes, 2, 3, True, 5, unigrams=[1.0, 2, 3, 4, 5], seed=44))",
    "list(tf.nn.fixed_unigram_candidate_sampler(classes, 2, 9, False, 6, distortion=0.75, num_reserved_ids=1,"
    " unigrams=[1.0, 2, 3, 4, 5], seed=45))",
    "list(tf.nn.learned_unigram_candidate_sampler(classes, 2, 4, True, 9, seed=46))",
    "list(tf.nn.learned_unigram_candidate_sampler(classes, 2, 9, False, 6, seed=47))",
    "list(tf.raw_ops.ThreadUnsafeUnigramCandidateSampler(true_classes=classes, num_true=2, num_sampled=5,"
    " unique=True, range_max=8, seed=48, seed2=49))",
    "list(tf.nn.all_candidate_sampler(classes, 2, 4, True, seed=50))",
    "tf.while_loop(lambda i, x: i < 4, lambda i, x: [i + 1, tf.minimum(x + tf.random_uniform([3], seed=51),"
    " tf.random_normal([3], seed=52))], [0, tf.zeros([3])], parallel_iterations=1)[1]",
    "tf.while_loop(lambda i, x: i < 6, lambda i, x: [i + 1, tf.cond(tf.equal(i % 3, 1), lambda: x * 2.0"
    " + tf.truncated_normal([4], seed=53), lambda: x - 1.0)], [0, tf.ones([4])], parallel_iterations=1)[1]",
    "tf.while_loop(lambda i, x: i < 5, lambda i, x: [i + 1, tf.reshape(tf.multinomial(tf.one_hot(x, 7),"
    " 1, seed=54, output_dtype=tf.int32), [3]) + tf.random_uniform([], maxval=2, dtype=tf.int32, seed=55)],"
    " [0, tf.constant([0, 1, 2])], parallel_iterations=1)[1]",
)
# Initializers of variables of these shapes.
INITIALIZERS = (
    "tf.zeros_initializer()",
    "tf.ones_initializer()",
    "tf.constant_initializer(0.5)",
    "tf.random_uniform_initializer(-0.1, 0.3, seed=21)",
    "tf.random_normal_initializer(1.0, 0.2, seed=22)",
    "tf.truncated_normal_initializer(stddev=0.05, seed=23)",
    "tf.uniform_unit_scaling_initializer(1.5, seed=24)",
    "tf.variance_scaling_initializer(2.0, seed=25)",
    "tf.variance_scaling_initializer(mode='fan_out', distribution='uniform', seed=26)",
    "tf.variance_scaling_initializer(mode='fan_avg', distribution='untruncated_normal', seed=27)",
    "tf.glorot_uniform_initializer(seed=28)",
    "tf.glorot_normal_initializer(seed=29)",
    "tf.orthogonal_initializer(0.7, seed=30)",
    "tf.initializers.he_normal(seed=31)",
    "tf.initializers.he_uniform(seed=32)",
    "tf.initializers.lecun_normal(seed=33)",
    "tf.initializers.lecun_uniform(seed=34)",
)
SHAPES = ([6, 4], [3, 3, 2, 8])

# The same text for both libraries: it fills `results` from `tf`, the numbers of every draw and weight.
PROGRAM = """
results, failed = {}, {}
classes = np.array([[1, 3], [0, 2]], np.int64)
for graph_seed in (None, 1234):
    for kind, texts in (("draw", draws), ("initializer", initializers)):
        for text in texts:
            for shape in ([None] if kind == "draw" else shapes):
                key = f"{text} {shape} {graph_seed}"
                with tf.Graph().as_default(), tf.Session() as session:
                    if graph_seed is not None:
                        tf.set_random_seed(graph_seed)
                    try:
                        if kind == "draw":
                            made = eval(text)
                        else:
                            made = tf.get_variable("w", shape, initializer=eval(text), use_resource=True)
                            session.run(tf.global_variables_initializer())
                        for run in range(runs if kind == "draw" else 1):
                            found = session.run(made)
                            for i, value in enumerate(found if isinstance(found, list) else [found]):
                                value = np.asarray(value)
                                results[f"{key} run {run} part {i}"] = (
                                    value.astype("S") if value.dtype == object else value
                                )
                    except Exception as error:
                        failed[key] = repr(error)
"""
# Where only the graph has a seed, TensorFlow counts who asks for one.
COUNTED = """
with tf.Graph().as_default() as graph, tf.Session() as session:
    set_seed(graph)
    a = tf.random_uniform([3])
    b = tf.random_normal([4]) + tf.reduce_sum(a)
    tf.nn.dropout(a, keep_prob=1.0)
    c = tf.truncated_normal([2])
    found = [value.tolist() for value in session.run([a, b, c])]
"""
REFEREE = (
    """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
draws, initializers, shapes, runs = json.loads(sys.argv[1])
"""
    + PROGRAM
    + "set_seed = lambda graph: tf.set_random_seed(99)"
    + COUNTED
    + """
np.savez(sys.argv[2], **results)
json.dump([failed, found], open(sys.argv[3], "w"))
"""
)


def test_numbers_with_seeds_are_tensorflows(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    given = (DRAWS, INITIALIZERS, SHAPES, RUNS)
    tensorflow(REFEREE, json.dumps(given), tmp_path / "results.npz", tmp_path / "found.json")
    failed, counted = json.loads((tmp_path / "found.json").read_text())
    assert failed == {}, "TensorFlow refuses some of the expressions"
    scope: dict[str, Any] = dict(zip(("draws", "initializers", "shapes", "runs"), given, strict=True))
    scope |= {"tf": gf, "np": np}
    exec(PROGRAM, scope)
    assert scope["failed"] == {}
    mine: dict[str, Any] = scope["results"]
    problems = []
    with np.load(tmp_path / "results.npz") as theirs:
        assert set(mine) == set(theirs.files)
        for key, value in mine.items():
            wanted = theirs[key]
            assert value.shape == wanted.shape and value.dtype == wanted.dtype, key
            # A factor of a matrix; powers of doubles.
            close = 1e-4 if "orthogonal" in key else 1e-14 if "gamma" in key and value.dtype == float else 0.0
            if not close:
                if not np.array_equal(value, wanted):
                    problems.append(f"{key}: {value.ravel()[:6]} not {wanted.ravel()[:6]}")
                continue
            if not np.allclose(value, wanted, rtol=close, atol=close):
                wrong = np.flatnonzero(~np.isclose(value, wanted, rtol=close, atol=close))[:4]
                problems.append(f"{key}: {value.ravel()[wrong]} not {wanted.ravel()[wrong]} at {wrong}")
    assert not problems, "\n".join(problems)
    exec(COUNTED, scope | {"set_seed": lambda graph: graph.set_seed(99, rule="counter")}, scope)
    for mine_counted, theirs_counted in zip(scope["found"], counted, strict=True):
        np.testing.assert_allclose(mine_counted, theirs_counted, rtol=1e-6, atol=1e-6)
