"""Estimators: training, evaluation, prediction and export with a model function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

ROWS = 300
rng = np.random.RandomState(0)
X = rng.randn(ROWS, 4).astype(np.float32)
Y = (X @ rng.randn(4, 3)).argmax(1).astype(np.int32)
PREDICT, EVAL, TRAIN = "infer", "eval", "train"


def model_fn(features: Any, labels: Any, mode: str, params: Any) -> Any:
    x = features["x"] if isinstance(features, dict) else features
    logits = gf.layers.dense(gf.layers.dense(x, params["units"], gf.nn.relu), 3)
    predictions = {"classes": gf.argmax(logits, 1), "probabilities": gf.nn.softmax(logits)}
    if mode == gf.estimator.ModeKeys.PREDICT:
        return gf.estimator.EstimatorSpec(mode, predictions=predictions)
    loss = gf.losses.sparse_softmax_cross_entropy(labels, logits)
    train_op = gf.train.AdamOptimizer(0.02).minimize(loss, global_step=gf.train.get_global_step())
    metrics = {"accuracy": gf.metrics.accuracy(labels, predictions["classes"])}
    return gf.estimator.EstimatorSpec(mode, predictions, loss, train_op, metrics)


def estimator(folder: Path, **config: Any) -> Any:
    run = gf.estimator.RunConfig(tf_random_seed=1, **config)
    return gf.estimator.Estimator(model_fn, folder, run, params={"units": 16})


training_input = gf.estimator.inputs.numpy_input_fn({"x": X}, Y, 64, num_epochs=None, shuffle=True)
whole_input = gf.estimator.inputs.numpy_input_fn({"x": X}, Y, 64, num_epochs=1, shuffle=False)


def test_trains_evaluates_predicts_and_goes_on(tmp_path: Path) -> None:
    one = estimator(tmp_path, save_checkpoints_steps=60)
    one.train(training_input, steps=120)
    found = one.evaluate(whole_input)
    assert sorted(found) == ["accuracy", "global_step", "loss"] and found["global_step"] == 120
    predictions = list(one.predict(whole_input))
    assert len(predictions) == ROWS and predictions[0]["probabilities"].shape == (3,)
    assert np.mean([p["classes"] for p in predictions] == Y) == pytest.approx(found["accuracy"])
    assert found["accuracy"] > 0.9
    batches = list(one.predict(whole_input, ["classes"], yield_single_examples=False))
    assert [len(batch["classes"]) for batch in batches] == [64, 64, 64, 64, 44] and list(batches[0]) == [
        "classes"
    ]
    # Another object goes on where the checkpoint is, with a Dataset until it ends.
    two = estimator(tmp_path)
    two.train(lambda: gf.data.Dataset.from_tensor_slices(({"x": X}, Y)).batch(100))
    assert two.get_variable_value("global_step") == 123 and "dense/kernel" in two.get_variable_names()
    two.train(training_input, max_steps=123)
    assert two.evaluate(whole_input, steps=1, name="short")["global_step"] == 123
    assert {"eval", "eval_short", "graph.pbtxt", "checkpoint"} <= set(os.listdir(tmp_path))
    tags = [
        value.tag
        for path in (tmp_path / "eval").iterdir()
        for event in gf.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert sorted(tags) == ["accuracy", "loss"]


def test_exports_what_a_session_loads(tmp_path: Path) -> None:
    one = estimator(tmp_path / "model")
    one.train(training_input, steps=20)
    spec = {"x": gf.FixedLenFeature([4], gf.float32)}
    receiver = gf.estimator.export.build_parsing_serving_input_receiver_fn(spec)
    extra = tmp_path / "words.txt"
    extra.write_text("a b")
    folder = one.export_savedmodel(tmp_path / "export", receiver, assets_extra={"deep/words.txt": str(extra)})
    assert (Path(folder.decode()) / "assets.extra" / "deep" / "words.txt").read_text() == "a b"
    again = one.export_saved_model(tmp_path / "export", receiver)
    assert len(os.listdir(tmp_path / "export")) == 2 and int(Path(again.decode()).name) > 0
    expected = [p["probabilities"] for p in one.predict(whole_input)]
    examples = [
        gf.train.Example(
            features=gf.train.Features(
                feature={"x": gf.train.Feature(float_list=gf.train.FloatList(value=row))}
            )
        ).SerializeToString()
        for row in X
    ]
    with gf.Session(graph=gf.Graph()) as session:
        meta = gf.saved_model.loader.load(session, [gf.saved_model.tag_constants.SERVING], folder.decode())
        signature = meta.signature_def["serving_default"]
        fed = {signature.inputs["examples"].name: examples}
        np.testing.assert_allclose(session.run(signature.outputs["probabilities"].name, fed), expected, 1e-6)


def test_trains_and_evaluates_in_turn(tmp_path: Path) -> None:
    one = estimator(tmp_path, save_checkpoints_steps=20)
    features = {"x": gf.placeholder(gf.float32, [None, 4])}
    receiver = gf.estimator.export.build_raw_serving_input_receiver_fn(features)
    exporters = [
        gf.estimator.BestExporter("best", receiver, exports_to_keep=1),
        gf.estimator.FinalExporter("final", receiver),
        gf.estimator.LatestExporter("latest", receiver, exports_to_keep=2),
    ]
    metrics, exports = gf.estimator.train_and_evaluate(
        one,
        gf.estimator.TrainSpec(training_input, 60),
        gf.estimator.EvalSpec(whole_input, None, exporters=exporters, throttle_secs=0),
    )
    assert metrics["global_step"] == 60 and len(exports) == 3 and exports[1] is not None
    kept = {name: len(os.listdir(tmp_path / "export" / name)) for name in ("best", "final", "latest")}
    assert kept == {"best": 1, "final": 1, "latest": 2}
    again = gf.estimator.train_and_evaluate(
        one, gf.estimator.TrainSpec(training_input, 60), gf.estimator.EvalSpec(whole_input)
    )
    assert again == (None, None)


def test_begins_warm(tmp_path: Path) -> None:
    one = estimator(tmp_path / "one")
    one.train(training_input, steps=60)
    settings = gf.estimator.WarmStartSettings(str(tmp_path / "one"), vars_to_warm_start="dense/.*")
    two = gf.estimator.Estimator(model_fn, tmp_path / "two", params={"units": 16}, warm_start_from=settings)
    kernels = {}

    class Look(gf.estimator.SessionRunHook):
        def after_create_session(self, session: Any, coord: Any) -> None:
            kernels.update({name: session.run(f"{name}/kernel:0") for name in ("dense", "dense_1")})

    two.train(training_input, [Look()], steps=1)
    np.testing.assert_array_equal(kernels["dense"], one.get_variable_value("dense/kernel"))
    assert not np.array_equal(kernels["dense_1"], one.get_variable_value("dense_1/kernel"))


def test_vocabularies_are_matched(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("a\nb\nc\n")
    (tmp_path / "new").write_text("c\nd\na\n")
    with gf.Graph().as_default(), gf.Session() as session:
        gf.get_variable("table", initializer=np.arange(6.0, dtype=np.float32).reshape(3, 2))
        session.run(gf.global_variables_initializer())
        path = gf.train.Saver().save(session, str(tmp_path / "model"))
    with gf.Graph().as_default(), gf.Session() as session:
        table = gf.get_variable("table", [4, 2])
        info = gf.train.VocabInfo(str(tmp_path / "new"), 3, 1, str(tmp_path / "old"))
        gf.train.warm_start(path, var_name_to_vocab_info={"table": info})
        session.run(gf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(table), [[4, 5], [0, 0], [0, 1], [0, 0]])
        with pytest.raises(
            ValueError, match=r"no variable that is warm-started is named 'tabel'; there are 'table'"
        ):
            gf.train.warm_start(path, var_name_to_prev_var_name={"tabel": "table"})


def test_frames_and_strings_are_inputs() -> None:
    class Column:
        def __init__(self, values: Any) -> None:
            self.values, self.index = values, np.arange(len(values))

        def to_numpy(self) -> Any:
            return np.asarray(self.values)

    class Frame(dict[str, Column]):
        columns = property(lambda self: list(self))
        index = property(lambda self: np.arange(3))

    frame = Frame(a=Column([1, 2, 3]), b=Column(["x", "y", "z"]))
    with gf.Graph().as_default():
        make = gf.estimator.inputs.pandas_input_fn(
            frame, Column([0.5, 1.5, 2.5]), 2, shuffle=False, num_epochs=2
        )
        features, labels = make()
        with gf.train.MonitoredSession() as session:
            found = []
            while not session.should_stop():
                found.append(session.run([features["a"], features["b"], labels]))
    assert [list(batch[0]) for batch in found] == [[1, 2], [3, 1], [2, 3]]
    assert [list(batch[1]) for batch in found] == [[b"x", b"y"], [b"z", b"x"], [b"y", b"z"]]
    assert [list(batch[2]) for batch in found] == [[0.5, 1.5], [2.5, 0.5], [1.5, 2.5]]


def _spec(**parts: Any) -> Any:
    return lambda features, labels, mode: gf.estimator.EstimatorSpec(
        mode, **{k: v() for k, v in parts.items()}
    )


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda e: e.train(whole_input, steps=1, max_steps=2), ValueError, "both steps and max_steps"),
        (lambda e: e.train(whole_input, steps=0), ValueError, "Must specify steps > 0"),
        (lambda e: e.train(whole_input, hooks=[3]), TypeError, "SessionRunHook"),
        (lambda e: e.get_variable_names(), ValueError, "Could not find trained model"),
        (lambda e: e.export_savedmodel("x", lambda: None), ValueError, "Could not find trained model"),
        (
            lambda e: list(e.predict(whole_input, ["nothing"])),
            ValueError,
            "Expected to run at least one output",
        ),
    ],
)
def test_refusals(act: Any, error: type[Exception], text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        act(estimator(tmp_path))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_spec(), "Missing loss|Missing train_op"),
        (_spec(train_op=gf.no_op, loss=lambda: gf.zeros([2])), "Loss must be scalar"),
        (lambda features, labels: None, "should return an EstimatorSpec"),
        (lambda features: None, "does not take labels"),
    ],
)
def test_refusals_of_model_functions(function: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        gf.estimator.Estimator(function, tmp_path).train(whole_input, steps=1)


def test_refusals_of_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not expected args: images"):
        gf.estimator.Estimator(lambda features, images: None, tmp_path)
    with pytest.raises(ValueError, match="does not include params"):
        gf.estimator.Estimator(lambda features, labels: None, tmp_path, params={"a": 1})
    with pytest.raises(ValueError, match="shuffle must be provided"):
        gf.estimator.inputs.numpy_input_fn(X, Y)
    with pytest.raises(ValueError, match="cannot both be set"):
        gf.estimator.RunConfig(save_checkpoints_steps=1, save_checkpoints_secs=1)
    assert (
        gf.estimator.RunConfig(save_checkpoints_secs=5)
        .replace(save_checkpoints_steps=3)
        .save_checkpoints_secs
        is None
    )
