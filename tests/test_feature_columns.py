"""Feature columns and what models begin with, against TensorFlow's; ready-made estimators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.referee import difference

# ruff: noqa: E501 - a case is a line

FEATURES = """
def features(tf):
    sparse = tf.SparseTensor([[0, 0], [0, 1], [2, 0], [3, 1]], ["red", "green", "blue", "red"], [4, 2])
    numbers = tf.SparseTensor([[0, 0], [0, 1], [2, 0], [3, 1]], tf.constant([3, 0, 9, 1], tf.int64), [4, 2])
    weights = tf.SparseTensor([[0, 0], [0, 1], [2, 0], [3, 1]], [0.5, 2.0, 1.5, -1.0], [4, 2])
    return {
        "age": tf.constant([[1.0], [17.0], [35.0], [80.0]]), "flat": tf.constant([1, 2, 3, 4]),
        "two": tf.constant([[1.0, -2.0], [3.0, 4.0], [0.5, 0.0], [9.0, 9.0]]),
        "color": tf.constant([["red"], ["green"], [""], ["violet"]]), "colors": sparse, "numbers": numbers,
        "number": tf.constant([[2], [-1], [0], [7]]), "weights": weights,
        "pairs": tf.constant([[1, 2], [2, -1], [0, 0], [3, 1]], tf.int64),
    }
"""
COLUMNS = """
def columns(c, path):
    age, two = c.numeric_column("age"), c.numeric_column("two", shape=(2,), normalizer_fn=lambda x: x * 2.0)
    buckets, both = c.bucketized_column(age, [0, 18, 40]), c.bucketized_column(c.numeric_column("two", (2,)), [0.0, 2.0])
    listed = c.categorical_column_with_vocabulary_list("colors", ["red", "green", "blue"])
    one = c.categorical_column_with_vocabulary_list("color", ["red", "green"], num_oov_buckets=2)
    other = c.categorical_column_with_vocabulary_list("color", ["green", "violet"], default_value=1)
    filed = c.categorical_column_with_vocabulary_file("colors", path, num_oov_buckets=1)
    filed_two = c.categorical_column_with_vocabulary_file("colors", path, vocabulary_size=2)
    hashed = c.categorical_column_with_hash_bucket("colors", 5)
    hashed_numbers = c.categorical_column_with_hash_bucket("numbers", 7, tf_int64)
    ids = c.categorical_column_with_identity("numbers", 10)
    id_or = c.categorical_column_with_identity("number", 5, default_value=4)
    weighted = c.weighted_categorical_column(ids, "weights")
    crossed = c.crossed_column(["colors", "number"], 11)
    crossed_more = c.crossed_column([buckets, "color", c.categorical_column_with_identity("pairs", 4, 0)], 13, hash_key=5)
    nested = c.crossed_column([c.crossed_column(["color", "colors"], 7), both], 17)
    e = c.embedding_column
    return {
        "numeric": [age, two, c.numeric_column("flat", dtype=tf_int64)], "buckets": [buckets, both],
        "listed": [c.indicator_column(x) for x in (listed, one)],
        "other": [c.indicator_column(other)], "filed": [c.indicator_column(filed)], "filed_two": [c.indicator_column(filed_two)],
        "hashed": [c.indicator_column(x) for x in (hashed, hashed_numbers)],
        "ids": [c.indicator_column(x) for x in (ids, id_or, weighted)],
        "crossed": [c.indicator_column(x) for x in (crossed, crossed_more, nested)],
        "embedding": [e(listed, 3), e(ids, 2, "sum"), e(weighted, 4, "sqrtn"), e(crossed, 2), e(buckets, 2), e(id_or, 3, max_norm=0.5)],
        "shared": c.shared_embedding_columns([ids, c.categorical_column_with_identity("pairs", 10)], 3),
        "line_numeric": [age, two, buckets, both], "line_ids": [ids, hashed, crossed, one], "line_listed": [listed, other],
        "line_weighted": [weighted, crossed_more, id_or],
    }
"""
PROGRAM = (
    FEATURES
    + COLUMNS
    + """
import json, sys, zlib
import numpy as np

def found(tf, c, path):
    global tf_int64
    tf_int64 = tf.int64
    # A graph for all inputs, and one for each linear model: the names in a second one follow Keras's in TensorFlow.
    names = list(columns(c, path))
    groups = [[(name, 0, "") for name in names if not name.startswith("line")]]
    groups += [[(name, *how)] for name in names if name.startswith("line") for how in ((1, "sum"), (2, "mean"))]
    told, values = [], {}
    for group in groups:
        with tf.Graph().as_default(), tf.Session() as session:
            asked, outs = columns(c, path), {}
            for name, units, combiner in group:
                if units:
                    out = c.linear_model(features(tf), asked[name], units=units, sparse_combiner=combiner)
                else:
                    out = c.input_layer(features(tf), asked[name])
                outs[name + str(units)] = out
            session.run([tf.global_variables_initializer(), tf.tables_initializer()])
            for v in tf.global_variables():
                rng = np.random.RandomState(zlib.crc32(v.op.name.encode()))
                v.load(rng.uniform(-1, 1, v.shape.as_list()), session)
            trained = {v.op.name for v in tf.trainable_variables()}
            told.append(sorted([v.op.name, v.shape.as_list(), v.op.name in trained] for v in tf.global_variables()))
            values.update(session.run(outs))
    return told, values

if __name__ == "__main__":
    import tensorflow.compat.v1 as tf
    tf.disable_v2_behavior()
    told, values = found(tf, tf.feature_column, sys.argv[1])
    np.savez(sys.argv[2], **values)
    print("ANSWER" + json.dumps(told))
"""
)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_columns_are_tensorflows(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("blue\nred\nwhite\n")
    answer = tensorflow(PROGRAM, tmp_path / "words.txt", tmp_path / "values.npz")
    theirs = json.loads(answer[answer.index("ANSWER") + 6 :])
    space: dict[str, Any] = {"__name__": "columns"}
    exec(PROGRAM, space)
    told, mine = space["found"](gf, gf.feature_column, str(tmp_path / "words.txt"))
    assert json.loads(json.dumps(told)) == theirs
    with np.load(tmp_path / "values.npz") as values:
        problems = [f"{k}: {why}" for k in mine if (why := difference(mine[k], values[k], 1e-5))]
    assert not problems, "\n".join(problems)


def test_specs_parse_examples() -> None:
    c = gf.feature_column
    age, color = c.numeric_column("age", default_value=3.0), c.categorical_column_with_hash_bucket("color", 4)
    asked = [
        age,
        c.crossed_column(["color", "size"], 5),
        c.embedding_column(color, 2),
        c.bucketized_column(age, [1.0]),
    ]
    spec = c.make_parse_example_spec(asked)
    assert sorted(spec) == ["age", "color", "size"] and spec["age"].default_value == [3.0]
    with gf.Graph().as_default(), gf.Session() as session:
        feature = gf.train.Feature(bytes_list=gf.train.BytesList(value=[b"red"]))
        example = gf.train.Example(features=gf.train.Features(feature={"color": feature}))
        parsed = gf.parse_example([example.SerializeToString()], spec)
        out = c.input_layer(parsed, [age, c.indicator_column(color)])
        session.run(gf.tables_initializer())
        row = session.run(out)[0]
        assert row[0] == 3.0 and row[1:].sum() == 1.0


def test_what_is_refused() -> None:
    c = gf.feature_column
    ids = c.categorical_column_with_identity("i", 3)
    for text, call in {
        "rise|sorted": lambda: c.bucketized_column(c.numeric_column("x"), [2, 1]),
        "greater than 0": lambda: c.numeric_column("x", shape=(0,)),
        "Duplicate keys": lambda: c.categorical_column_with_vocabulary_list("x", ["a", "a"]),
        "at least 1": lambda: c.categorical_column_with_hash_bucket("x", 0),
        "Hashing before": lambda: c.crossed_column([c.categorical_column_with_hash_bucket("x", 3), "y"], 5),
        "wrap a categorical": lambda: c.input_layer({"i": [[1]]}, [ids]),
        "Feature i is not in": lambda: c.input_layer({"j": [[1]]}, [c.indicator_column(ids)]),
        "Duplicate feature column": lambda: c.linear_model({"i": [[1]]}, [ids, ids]),
        "same type": lambda: c.shared_embedding_columns([ids, c.categorical_column_with_identity("j", 4)], 2),
        "does not exist": lambda: c.categorical_column_with_vocabulary_file("x", "/no/such/file"),
    }.items():
        with gf.Graph().as_default(), pytest.raises(ValueError, match=text):
            call()
    with gf.Graph().as_default(), gf.Session() as session:
        out = c.input_layer({"i": [[3]]}, [c.indicator_column(ids)])
        with pytest.raises(gf.errors.InvalidArgumentError, match="num_buckets"):
            session.run(out)


rng = np.random.RandomState(0)
ROWS = 240
X = rng.randn(ROWS, 2).astype(np.float32)
KIND = rng.choice(["a", "b", "c"], ROWS)
SCORE = X[:, 0] + 2.0 * (KIND == "b") - 0.5
BINARY = (SCORE > 0).astype(np.int32)
THREE = np.digitize(SCORE, [-0.3, 1.0])
NUMBER = (2 * X[:, 0] - X[:, 1]).astype(np.float32)


def fed(y: Any, epochs: int | None = None) -> Any:
    return gf.estimator.inputs.numpy_input_fn(
        {"x": X, "kind": KIND, "w": np.ones(ROWS)}, y, 60, epochs, epochs is None
    )


def the_columns() -> tuple[list[Any], list[Any]]:
    c = gf.feature_column
    kind = c.categorical_column_with_vocabulary_list("kind", ["a", "b", "c"])
    return [c.numeric_column("x", 2), kind], [c.numeric_column("x", 2), c.embedding_column(kind, 2)]


def test_classifiers_learn_and_name_their_variables(tmp_path: Path) -> None:
    e, (wide, deep) = gf.estimator, the_columns()
    run = e.RunConfig(tf_random_seed=1, save_summary_steps=1000, log_step_count_steps=1000)
    one = e.DNNLinearCombinedClassifier(
        tmp_path / "both", wide, "Ftrl", deep, "Adagrad", [8, 4], config=run, weight_column="w"
    )
    one.train(fed(BINARY), steps=100)
    found = one.evaluate(fed(BINARY, 1))
    assert sorted(found) == [
        "accuracy", "accuracy_baseline", "auc", "auc_precision_recall", "average_loss", "global_step", "label/mean",
        "loss", "precision", "prediction/mean", "recall",
    ]  # fmt: skip
    assert found["accuracy"] > 0.85 and found["auc"] > 0.9 and found["global_step"] == 100
    assert found["label/mean"] == pytest.approx(BINARY.mean(), rel=1e-5)
    assert found["accuracy_baseline"] == pytest.approx(max(BINARY.mean(), 1 - BINARY.mean()), rel=1e-5)
    assert found["loss"] == pytest.approx(60 * found["average_loss"], rel=1e-4)
    names = one.get_variable_names()
    assert {
        "linear/linear_model/x/weights", "linear/linear_model/kind/weights", "linear/linear_model/bias_weights",
        "dnn/input_from_feature_columns/input_layer/kind_embedding/embedding_weights", "dnn/hiddenlayer_0/kernel",
        "dnn/hiddenlayer_1/bias", "dnn/logits/kernel", "global_step",
    } <= set(names), names  # fmt: skip
    told = next(iter(one.predict(fed(None, 1))))
    assert sorted(told) == ["class_ids", "classes", "logistic", "logits", "probabilities"]
    assert told["classes"].tolist() == [b"%d" % told["class_ids"][0]] and told[
        "probabilities"
    ].sum() == pytest.approx(1)
    # What a server is asked: Examples.
    spec = gf.feature_column.make_parse_example_spec([*wide, *deep])
    receiver = e.export.build_parsing_serving_input_receiver_fn(spec)
    folder = one.export_savedmodel(tmp_path / "export", receiver)
    with gf.Graph().as_default(), gf.Session() as session:
        meta = gf.saved_model.loader.load(session, ["serve"], folder.decode())
        assert {"classification", "predict", "regression", "serving_default"} <= set(meta.signature_def)
        names = meta.signature_def["serving_default"]
        feature = {
            "x": gf.train.Feature(float_list=gf.train.FloatList(value=X[0])),
            "kind": gf.train.Feature(bytes_list=gf.train.BytesList(value=[KIND[0].encode()])),
        }
        example = gf.train.Example(features=gf.train.Features(feature=feature)).SerializeToString()
        scores, classes = session.run(
            [names.outputs["scores"].name, names.outputs["classes"].name],
            {names.inputs["inputs"].name: [example]},
        )
        np.testing.assert_allclose(scores[0], told["probabilities"], rtol=1e-5)
        assert classes.tolist() == [[b"0", b"1"]]


def test_others_learn() -> None:
    e, (wide, deep) = gf.estimator, the_columns()
    run = e.RunConfig(tf_random_seed=1, save_summary_steps=1000, log_step_count_steps=1000)
    words = np.array(["low", "mid", "high"])[THREE]
    for made, y, figure, least in (
        (e.LinearClassifier(wide, config=run), BINARY, "accuracy", 0.9),
        (e.DNNClassifier([16], deep, n_classes=3, label_vocabulary=["low", "mid", "high"], config=run,
                         optimizer=gf.train.AdamOptimizer(0.05), dropout=0.05, batch_norm=True), words, "accuracy", 0.65),
        (e.BaselineClassifier(n_classes=3, config=run), THREE, "accuracy", np.bincount(THREE).max() / ROWS - 1e-6),
    ):  # fmt: skip
        found = made.train(fed(y), steps=100).evaluate(fed(y, 1))
        assert found[figure] >= least, (made, found)
    made = e.LinearRegressor(wide, config=run, optimizer=lambda: gf.train.AdamOptimizer(0.1))
    assert made.train(fed(NUMBER), steps=100).evaluate(fed(NUMBER, 1))["average_loss"] < 0.05
    assert sorted(next(iter(made.predict(fed(None, 1))))) == ["predictions"]
    deep_one = e.DNNRegressor([8], deep, config=run, optimizer="Adam", activation_fn=gf.nn.tanh)
    assert deep_one.train(fed(NUMBER), steps=100).evaluate(fed(NUMBER, 1))["average_loss"] < NUMBER.var()
    with pytest.raises(ValueError, match="Unsupported optimizer name"):
        e.LinearClassifier(wide, optimizer="Nadam").train(fed(BINARY), steps=1)
    with pytest.raises(ValueError, match="must be defined"):
        e.DNNLinearCombinedClassifier()


def test_sequences() -> None:
    """The figures are those of TensorFlow's SequenceFeatures."""
    F = gf.feature_column

    def ragged(rows: list[list[Any]], kind: Any) -> Any:
        places = [[i, j] for i, row in enumerate(rows) for j in range(len(row))]
        values = gf.constant([value for row in rows for value in row], kind)
        return gf.SparseTensor(np.array(places, np.int64), values, [len(rows), max(map(len, rows))])

    features = {
        "ids": ragged([[2, 0], [], [1, 1, 3], []], gf.int64),
        "words": ragged([["a", "b"], [], ["z", "a", "b"], []], gf.string),
        "numbers": ragged([[1, 2, 3, 4], [], [5, 6, 7, 8, 9, 10], []], gf.float32),
        "short": ragged([[1], [], [2, 3, 4], []], gf.float32),
    }
    ids = F.sequence_categorical_column_with_identity("ids", 4)
    table = gf.constant_initializer(np.arange(8).reshape(4, 2))
    words = F.sequence_categorical_column_with_vocabulary_list("words", ["a", "b"], num_oov_buckets=1)
    doubled = F.sequence_numeric_column(
        "numbers", (2,), -1.0, normalizer_fn=lambda s: gf.SparseTensor(s.indices, s.values * 2, s.dense_shape)
    )
    columns = [F.embedding_column(ids, 2, initializer=table), F.indicator_column(words), doubled]
    layer = gf.contrib.feature_column.sequence_input_layer
    made = layer(features, columns)
    unlike = layer(features, [doubled, F.sequence_numeric_column("short")])
    with gf.Session() as session:
        session.run([gf.global_variables_initializer(), gf.tables_initializer()])
        values, lengths = session.run(made)
        with pytest.raises(gf.errors.InvalidArgumentError, match="unlike length"):
            session.run(unlike[1])
    nothing = [0, 0, -1, -1, 0, 0, 0]
    wanted = [
        [[4, 5, 2, 4, 1, 0, 0], [0, 1, 6, 8, 0, 1, 0], nothing], [nothing] * 3,
        [[2, 3, 10, 12, 0, 0, 1], [2, 3, 14, 16, 1, 0, 0], [6, 7, 18, 20, 0, 1, 0]], [nothing] * 3,
    ]  # fmt: skip
    np.testing.assert_array_equal(values, wanted)
    assert lengths.tolist() == [2, 0, 3, 0]
    with pytest.raises(ValueError, match="is of sequences"):
        F.input_layer(features, columns[:1])
    with pytest.raises(ValueError, match="must be of sequences"):
        layer(features, [F.numeric_column("numbers")])
    with pytest.raises(ValueError, match="greater than 0"):
        F.sequence_numeric_column("numbers", (0,))
