"""Estimators of a head, of Keras's models, and with further metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

E = gf.estimator
X = np.random.RandomState(0).randn(60, 2).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
SEEDED = E.RunConfig(tf_random_seed=1)
COLUMN = gf.feature_column.numeric_column("x", shape=(2,))


def _input(epochs: int | None) -> Any:
    return E.inputs.numpy_input_fn({"x": X}, Y, batch_size=20, num_epochs=epochs, shuffle=False)


def _cubes(labels: Any, logits: Any) -> Any:
    return gf.abs(gf.cast(labels, gf.float32) - logits) ** 3


@pytest.mark.parametrize(("make", "figures", "most"), [
    (lambda f: E.DNNEstimator(E.RegressionHead(), [4], [COLUMN], f, optimizer="Adam", config=SEEDED),
     {"label/mean"}, 0.2),
    (lambda f: E.LinearEstimator(E.MultiClassHead(3, loss_reduction="sum"), [COLUMN], f), {"accuracy"}, 1.0),
    (lambda f: E.DNNLinearCombinedEstimator(
        E.RegressionHead(loss_fn=_cubes), f, [COLUMN], "Ftrl", [COLUMN], "SGD", [3], config=SEEDED),
     {"label/mean"}, 0.2),
    (lambda f: E.BaselineEstimator(E.RegressionHead(inverse_link_fn=gf.exp), f), {"prediction/mean"}, 0.3),
])  # fmt: skip
def test_estimators_of_heads_learn(make: Any, figures: set[str], most: float, tmp_path: Path) -> None:
    estimator = make(str(tmp_path))
    estimator.train(_input(None), max_steps=40)
    found = estimator.evaluate(_input(1))
    assert figures <= set(found) and found["global_step"] == 40
    assert found["average_loss"] < most
    # The mean over a batch, but where the sum is asked for.
    of_batch = 20 if isinstance(estimator, E.LinearEstimator) else 1
    assert found["loss"] == pytest.approx(found["average_loss"] * of_batch, rel=1e-3)


def test_a_head_tells_what_holds_at_thresholds() -> None:
    head = E.BinaryClassHead(thresholds=[0.25, 0.9])
    logits = np.log(np.array([[0.3], [0.5], [1.5], [20.0]], np.float32))
    spec = head.create_estimator_spec({}, "eval", logits, np.array([1, 0, 1, 0]))
    kinds = ("accuracy", "precision", "recall")
    updates = [
        spec.eval_metric_ops[f"{kind}/positive_threshold_{t}"][1] for t in (0.25, 0.9) for kind in kinds
    ]
    with gf.Session() as session:
        session.run([gf.local_variables_initializer(), gf.tables_initializer()])
        # Of probabilities 0.23, 0.33, 0.6 and 0.95.
        np.testing.assert_allclose(session.run(updates), [0.25, 1 / 3, 0.5, 0.25, 0, 0], rtol=1e-5)
        p = np.array([0.3 / 1.3, 1 / 3, 0.6, 20 / 21])
        truth = np.array([1, 0, 1, 0])
        loss = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
        assert session.run(spec.loss) == pytest.approx(loss, rel=1e-4)


def test_metrics_are_added(tmp_path: Path) -> None:
    def more(labels: Any, predictions: Any) -> dict[str, Any]:
        hits = gf.keras.metrics.Accuracy()
        hits.update_state(labels, predictions["class_ids"][:, 0])
        return {"hits": hits, "accuracy": gf.metrics.mean(gf.cast(labels, gf.float32))}

    plain = E.LinearClassifier([COLUMN], str(tmp_path), n_classes=3)
    plain.train(_input(None), steps=30)
    own = plain.evaluate(_input(1))
    found = E.add_metrics(plain, more).evaluate(_input(1))
    assert found["hits"] == pytest.approx(own["accuracy"]) and found["accuracy"] == pytest.approx(Y.mean())
    with pytest.raises(ValueError, match="not expected args"):
        E.add_metrics(plain, lambda labels, foo: {})


def test_a_model_of_keras(tmp_path: Path) -> None:
    K = gf.keras
    gf.set_random_seed(2)
    model = K.Sequential(
        [K.layers.Dense(8, "tanh", input_shape=(2,), name="a"), K.layers.Dense(2, "softmax", name="b")]
    )
    model.compile(K.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    before = model.evaluate(X, Y)
    estimator = E.model_to_estimator(model, model_dir=str(tmp_path))

    def give(epochs: int | None) -> Any:
        return E.inputs.numpy_input_fn({"a_input": X}, Y, batch_size=60, num_epochs=epochs, shuffle=False)

    estimator.train(give(None), steps=1)
    first = estimator.evaluate(give(1))
    assert first["loss"] < before[0] and first["global_step"] == 1
    estimator.train(give(None), steps=40)
    found = estimator.evaluate(give(1))
    assert found["loss"] < first["loss"] and found["acc"] > 0.9
    guessed = np.array([p["b"] for p in estimator.predict(give(1))])
    assert (guessed.argmax(1) == Y).mean() == pytest.approx(found["acc"])
    assert model.evaluate(X, Y)[0] == pytest.approx(before[0])
    with pytest.raises(ValueError, match="not been compiled"):
        E.model_to_estimator(K.Sequential([K.layers.Dense(1, input_shape=(2,))]))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="head must be one of"):
        E.DNNEstimator(None, [2], [COLUMN])
    with pytest.raises(ValueError, match="thresholds not in"):
        E.BinaryClassHead(thresholds=[1.5])
    with pytest.raises(NotImplementedError, match="grows no trees"):
        E.BoostedTreesClassifier([COLUMN], 1)
    with pytest.raises(ValueError, match="has seen no batch"):
        E.EstimatorSpec("eval", loss=gf.constant(0.0), eval_metric_ops={"m": gf.keras.metrics.Mean()})
