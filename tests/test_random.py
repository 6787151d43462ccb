"""Random numbers are TensorFlow's: bit for bit, over sizes, seeds and consecutive runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow.ops
from graphflow import dtypes
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Graph
from graphflow.opdef import constant, get_op
from graphflow.ops.random import (
    categorical,
    multinomial,
    philox,
    random_crop,
    random_normal,
    random_shuffle,
    random_uniform,
    samples_reserved,
    truncated_normal,
)
from graphflow.session import Session

DIGESTS = Path(__file__).parent / "golden" / "random_numbers_of_tensorflow.json"
GRAPH_SEED = 87654321
SEEDS = (1, 2, 3)
SIZES = (1, 2, 3, 5, 7, 100, 5000)
RUNS = 3
LOGITS = [[0.1, 1.0, -2.0, 0.5]]

# The same loops in TensorFlow; prints digests of the concatenated bytes, and writes what is not exact.
REFEREE = r"""
import hashlib, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
seeds, sizes, runs, logits = json.loads(sys.argv[1])
pieces = {}
for seed in seeds:
    for n in sizes:
        with tf.Graph().as_default(), tf.Session() as session:
            made = {}
            for dtype in ("float16", "bfloat16", "float32", "float64"):
                for op in ("RandomUniform", "RandomStandardNormal", "TruncatedNormal"):
                    function = getattr(tf.raw_ops, op)
                    made[f"{op} {dtype}"] = function(shape=[n], dtype=dtype, seed=87654321, seed2=seed)
            for dtype, high in (("int32", 1000003), ("int64", 10**12)):
                made[f"RandomUniformInt {dtype}"] = tf.random_uniform([n], -7, high, dtype=dtype, seed=seed)
            made["RandomShuffle int32"] = tf.random_shuffle(tf.range(n), seed=seed)
            made["RandomShuffle rows"] = tf.random_shuffle(tf.reshape(tf.range(2 * n), [n, 2]), seed=seed)
            made["Multinomial int64"] = tf.multinomial(tf.constant(logits), n, seed=seed)
            for _ in range(runs):
                for key, value in session.run(made).items():
                    pieces.setdefault(f"{key} {seed}", []).append(value)
digests = {}
for key, values in pieces.items():
    if "Normal float64" in key:
        digests[key] = [float(v).hex() for v in values[-1][:8]]
    else:
        digests[key] = hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in values)).hexdigest()[:24]
print("RESULT" + json.dumps(digests))
"""


def drawn(kind: str, seed: int, size: int, counter: int) -> tuple[np.ndarray[Any, Any], int]:
    """The numbers of one run, and the counter after it."""
    op_type, what = kind.split()
    body = get_op(op_type).body
    shape = np.array([size], np.int32)
    seeded: dict[str, Any] = {"key": (GRAPH_SEED, seed), "counter": counter}
    if op_type == "RandomUniformInt":
        limits = {"int32": 1000003, "int64": 10**12}
        result = body(shape, np.array(-7, what), np.array(limits[what], what), **seeded)
    elif op_type == "RandomShuffle":
        rows = (
            np.arange(size, dtype=np.int32)
            if what == "int32"
            else np.arange(2 * size, dtype=np.int32).reshape(size, 2)
        )
        result = body(rows, **seeded)
    elif op_type == "Multinomial":
        result = body(np.array(LOGITS, np.float32), np.array(size), output_dtype=dtypes.int64, **seeded)
    else:
        result = body(shape, dtype=dtypes.as_dtype(what), **seeded)
    return result, counter + samples_reserved(op_type, result.shape)


def all_drawn(kind: str, seed: int) -> list[np.ndarray[Any, Any]]:
    pieces = []
    for size in SIZES:
        counter = 0
        for _ in range(RUNS):
            result, counter = drawn(kind, seed, size, counter)
            pieces.append(result)
    return pieces


def test_numbers_are_tensorflows() -> None:
    expected = json.loads(DIGESTS.read_text())
    for key, digest in expected.items():
        kind, seed = key.rsplit(" ", 1)
        pieces = all_drawn(kind, int(seed))
        if isinstance(digest, list):
            wanted = np.array([float.fromhex(v) for v in digest])
            np.testing.assert_array_max_ulp(pieces[-1][:8], wanted, maxulp=4)
            continue
        data = b"".join(np.ascontiguousarray(piece).tobytes() for piece in pieces)
        assert hashlib.sha256(data).hexdigest()[:24] == digest, key


@pytest.mark.tensorflow
def test_digests_are_tensorflows(request: pytest.FixtureRequest, tensorflow: Callable[..., str]) -> None:
    printed = tensorflow(REFEREE, json.dumps([SEEDS, SIZES, RUNS, LOGITS]))
    digests = json.loads(printed.split("RESULT")[1])
    if request.config.getoption("--update-golden"):
        DIGESTS.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")
    assert digests == json.loads(DIGESTS.read_text())


def test_philox_of_zero() -> None:
    # The known answer of the generator's authors for an all-zero key and counter.
    assert [hex(word) for word in philox((0, 0), 0, 1)[0]] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]


def test_counter_carries_into_the_upper_half() -> None:
    one_by_one = np.concatenate([philox((5, 9), (1 << 64) - 2 + i, 1) for i in range(4)])
    np.testing.assert_array_equal(philox((5, 9), (1 << 64) - 2, 4), one_by_one)


def test_session_continues_where_the_last_run_stopped() -> None:
    for make, kind in (
        (lambda: random_uniform([5], seed=2), "RandomUniform float32"),
        (lambda: random_normal([5], seed=2), "RandomStandardNormal float32"),
        (lambda: truncated_normal([5], seed=2), "TruncatedNormal float32"),
        (lambda: random_shuffle(np.arange(5, dtype=np.int32), seed=2), "RandomShuffle int32"),
    ):
        with Graph().as_default() as graph:
            numbers = make()
        with Session(graph=graph) as session:
            counter = 0
            for _ in range(3):
                expected, counter = drawn(kind, 2, 5, counter)
                np.testing.assert_array_equal(session.run(numbers), expected)


def test_another_op_changes_nothing_under_a_graph_seed() -> None:
    def first(more: bool) -> Any:
        with Graph().as_default() as graph:
            graph.seed = 11
            if more:
                constant(1.0)
            numbers = random_uniform([4], name="mine")
        with Session(graph=graph) as session:
            return session.run(numbers)

    np.testing.assert_array_equal(first(False), first(True))


def test_without_seeds_sessions_differ() -> None:
    with Graph().as_default() as graph:
        numbers = random_uniform([4])
    with Session(graph=graph) as one, Session(graph=graph) as two:
        assert not np.array_equal(one.run(numbers), two.run(numbers))


def test_scaled_distributions() -> None:
    with Graph().as_default() as graph:
        flat = random_uniform([2000], -3.0, 5.0, seed=1)
        whole = random_uniform([2000], 3, 9, dtype=dtypes.int32, seed=1)
        normal = random_normal([2000], mean=[2.0], stddev=3.0, seed=1)
        cut = truncated_normal([2000], 1.0, 0.5, seed=1)
        classes = multinomial(np.log([[0.2, 0.8], [0.9, 0.1]]).astype(np.float32), 2000, seed=1)
        narrow = categorical(np.zeros((1, 3), np.float32), 5, dtype=dtypes.int32, seed=1)
    with Session(graph=graph) as session:
        a, b, c, d, e, f = session.run([flat, whole, normal, cut, classes, narrow])
    assert -3 <= a.min() < -2.9 and 4.9 < a.max() < 5
    assert set(b.tolist()) == {3, 4, 5, 6, 7, 8}
    assert abs(c.mean() - 2) < 0.3 and abs(c.std() - 3) < 0.2
    assert d.min() > 0 and d.max() < 2
    assert abs(e.mean(axis=1) - [0.8, 0.1]).max() < 0.05
    assert f.dtype == np.int32 and f.shape == (1, 5)


def test_crop() -> None:
    with Graph().as_default() as graph:
        part = random_crop(np.arange(30).reshape(5, 6), [2, 3], seed=4)
        assert part.shape.as_list() == [2, 3]
        with pytest.raises(ValueError, match="value.shape >= size"):
            random_crop(np.zeros((2, 2)), [3, 1])
    with Session(graph=graph) as session:
        for _ in range(5):
            value = session.run(part)
            np.testing.assert_array_equal(np.diff(value, axis=1), 1)
            np.testing.assert_array_equal(np.diff(value, axis=0), 6)


def test_bad_arguments() -> None:
    with Graph().as_default() as graph:
        with pytest.raises(ValueError, match="maxval"):
            random_uniform([2], dtype=dtypes.int32)
        with pytest.raises(ValueError, match="dtype"):
            random_uniform([2], dtype=dtypes.int8)
        with pytest.raises(ValueError, match="minval < maxval"):
            random_uniform([2], 5, 5, dtype=dtypes.int32)
        high = graphflow.ops.source.placeholder(dtypes.int32, [])
        late = random_uniform([2], 5, high, dtype=dtypes.int32, seed=1)
    with Session(graph=graph) as session, pytest.raises(InvalidArgumentError, match="minval < maxval"):
        session.run(late, {high: 5})


def test_dropout_keeps_the_same_whether_its_numbers_are_looked_at_or_not() -> None:
    with Graph().as_default():
        numbers = random_uniform([40, 25], seed=3)
        kept = numbers >= 0.3
        with Session() as session, Session() as other:
            for run in range(3):
                drawn, seen = other.run([numbers, kept])
                alone = session.run(kept)
                assert (seen == (drawn >= np.float32(0.3))).all() and (alone == seen).all(), run
            # A run that looks at the numbers goes on where one that did not has stopped.
            assert (session.run(numbers) == other.run(numbers)).all()
