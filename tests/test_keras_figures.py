"""Losses and metrics of Keras: the figures that Keras 2 gives, alone and in the training of a model.

`golden/keras_figures.json` has them by expression, as tf_keras found them for the arrays below; a metric has seen two
batches, weighted where the expression ends with "#w".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

K = gf.keras
FIGURES = json.loads((Path(__file__).parent / "golden" / "keras_figures.json").read_text())

R = np.random.RandomState(5)
P = R.rand(2, 4, 3).astype(np.float32) * np.float32(0.9) + np.float32(0.05)
T = (R.rand(2, 4, 3) > 0.5).astype(np.float32)
Z = R.randn(2, 4, 3).astype(np.float32)
I = R.randint(0, 3, (2, 4))  # noqa: E741
W = R.choice([0, 0.5, 2], (2, 4)).astype(np.float32)
S = P / P.sum(-1, keepdims=True)
OH = np.eye(3, dtype=np.float32)[I]
J = R.randint(0, 3, (2, 4))


def _batches(expression: str) -> list[tuple[Any, ...]]:
    name = expression.split("(")[0].removeprefix("metrics.")
    if name in ("Mean", "Sum", "MeanTensor"):
        given: tuple[Any, ...] = (P,)
    elif name.startswith("Sparse"):
        given = I, S
    elif name.startswith(("Categorical", "TopK")):
        given = OH, S
    else:
        given = (I, J) if name in ("MeanIoU", "Accuracy") else (T, P)
    return [tuple(each[i] for each in given) for i in (0, 1)]


def test_they_are_those_of_keras() -> None:
    names = {**globals(), "losses": K.losses, "metrics": K.metrics}
    made = {expression: eval(expression, names) for expression in FIGURES}
    kept = {e: m for e, m in made.items() if isinstance(m, K.metrics.Metric)}
    assert len(kept) > 40
    steps: list[list[Any]] = [[], []]
    for expression, metric in kept.items():
        for i, values in enumerate(_batches(expression)):
            steps[i].append(metric.update_state(*values, sample_weight=W[i] if "#w" in expression else None))
    asked = {e: m.result() if e in kept else m for e, m in made.items()}
    with gf.Session() as session:
        session.run([v.initializer for metric in kept.values() for v in metric.variables])
        for step in steps:
            session.run(step)
        found = session.run(asked)
    wrong = {
        e: (found[e], FIGURES[e]) for e in FIGURES
        if np.shape(found[e]) != np.shape(FIGURES[e]) or not np.allclose(found[e], FIGURES[e], rtol=2e-5, atol=2e-6)
    }  # fmt: skip
    assert not wrong


X = np.random.RandomState(0).randn(40, 5).astype(np.float32)
Y = (X[:, :1] + 0.3 * X[:, 1:2] > 0).astype(np.float32)


def test_models_are_trained_on_classes_and_keep_metrics() -> None:
    model = K.Sequential([K.layers.Dense(1, activation="sigmoid", input_shape=(5,))])
    model.compile(
        K.optimizers.SGD(0.5), loss=K.losses.BinaryCrossentropy(label_smoothing=0.1),
        metrics=[
            "accuracy", K.metrics.AUC(name="auc"), K.metrics.Precision(), K.metrics.Recall(name="precision"), "ce",
        ],
        weighted_metrics=["mse", K.metrics.BinaryAccuracy()],
    )  # fmt: skip
    weights = np.linspace(0, 2, 40).astype(np.float32)
    # Batches of unlike sizes: a mean over them is not what a metric says.
    history = model.fit(X, Y, 16, epochs=2, verbose=0, validation_data=(X, Y, weights)).history
    names = ["loss", "acc", "auc", "precision", "precision_1", "ce", "weighted_mean_squared_error"]
    assert model.metrics_names == [*names, "weighted_binary_accuracy"]
    assert sorted(history) == sorted([*model.metrics_names, *(f"val_{n}" for n in model.metrics_names)])
    found = dict(zip(model.metrics_names, model.evaluate(X, Y, 16, sample_weight=weights), strict=True))
    p = model.predict(X)
    smooth = Y * 0.9 + 0.05
    each = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).mean(1)
    hit = ((p > 0.5) == Y).mean(1)
    pairs = p[Y == 1][:, None] > p[Y == 0][None]
    chosen = (p > 0.5) & (Y == 1)
    expected = {
        "loss": (each * weights).mean(), "acc": hit.mean(), "auc": pairs.mean(),
        "precision": chosen.sum() / (p > 0.5).sum(), "precision_1": chosen.sum() / Y.sum(),
        "ce": -(Y * np.log(p) + (1 - Y) * np.log(1 - p)).mean(),
        "weighted_mean_squared_error": np.average(((p - Y) ** 2)[:, 0], weights=weights),
        "weighted_binary_accuracy": np.average(hit, weights=weights),
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-2 if name == "auc" else 1e-4), name
        assert history[f"val_{name}"][-1] == pytest.approx(found[name], rel=1e-4), name
    one = model.train_on_batch(X[:4], Y[:4])
    again = model.evaluate(X, Y, 16, sample_weight=weights)
    assert len(one) == len(again) == 8
    kinds = ["AUC", "Precision", "Recall", "MeanMetricWrapper", "BinaryAccuracy"]
    assert [type(m).__name__ for m in model.metrics] == kinds


def test_reductions_in_training() -> None:
    model = K.Sequential([K.layers.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(5,))])
    model.compile("sgd", loss=K.losses.MeanSquaredError(reduction="sum"))
    wanted = ((X.sum(1, keepdims=True) - Y) ** 2).sum()
    assert model.evaluate(X, Y, batch_size=40) == pytest.approx(wanted, rel=1e-4)
    model.compile("sgd", loss=K.losses.MeanSquaredError(reduction=K.losses.Reduction.NONE))
    with pytest.raises(ValueError, match="reduction NONE"):
        model.evaluate(X, Y)


class _Hits(K.metrics.Metric):
    """A metric of one's own, which returns nothing from `update_state`."""

    def __init__(self, name: str = "hits") -> None:
        super().__init__(name=name)
        self.hits = self.add_weight(name="hits", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.hits.assign_add(gf.reduce_sum(gf.cast(gf.equal(y_true, gf.round(y_pred)), gf.float32)))

    def result(self) -> Any:
        return self.hits


def test_a_metric_of_ones_own() -> None:
    model = K.Sequential([K.layers.Dense(1, activation="sigmoid", input_shape=(5,))])
    model.compile("sgd", "binary_crossentropy", metrics=[_Hits()])
    _, hits = model.evaluate(X, Y, batch_size=7)
    assert hits == ((model.predict(X) > 0.5) == Y).sum()
    metric = _Hits()
    with gf.Session() as session:
        K.backend.set_session(session)
        figure = metric(gf.constant([[1.0], [0.0]]), gf.constant([[0.9], [0.8]]))
        session.run(gf.variables_initializer(metric.variables))
        assert [session.run(figure) for _ in range(2)] == [1.0, 2.0]
        metric.reset_states()
        assert session.run([metric.result(), figure]) in ([0.0, 1.0], [1.0, 1.0])
    told = K.metrics.serialize(K.metrics.AUC(5, name="a"))
    assert K.metrics.deserialize(told).get_config() == told["config"]
    told = K.losses.serialize(K.losses.Huber(0.5))
    assert K.losses.deserialize(told).get_config() == told["config"]


@pytest.mark.parametrize(("make", "text"), [
    (lambda: K.losses.MeanSquaredError(reduction="mean"), "Invalid Reduction Key mean"),
    (lambda: K.metrics.AUC(curve="XY"), "Invalid curve"),
    (lambda: K.metrics.AUC(1), "num_thresholds"),
    (lambda: K.metrics.Precision([0.5, 2]), r"Invalid values: \[2\]"),
    (lambda: K.metrics.SensitivityAtSpecificity(2.0), "specificity"),
    (lambda: K.metrics.get("AUD"), "Unknown metric function: AUD"),
    (lambda: K.metrics.MeanTensor().result(), "does not have any result"),
])  # fmt: skip
def test_refusals(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_layers_for_sequences_and_volumes() -> None:
    L, r = K.layers, np.random.RandomState(1)
    a, b, v = (r.randn(*s).astype(np.float32) for s in ((2, 6, 4), (2, 5, 4), (2, 4, 3, 4, 2)))
    seen = np.array([[1, 1, 0, 1, 1], [1, 0, 0, 0, 1]], bool)

    def taken(scores: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("bqv,bvd->bqd", e / e.sum(-1, keepdims=True), values)

    products = np.einsum("bqd,bvd->bqv", a, b)
    sums = np.tanh(b[:, :, None] + b[:, None]).sum(-1)
    later = np.triu(np.ones((5, 5)), 1) * 1e9
    cases = [
        (L.Cropping1D((2, 0))(gf.constant(a)), a[:, 2:]),
        (L.UpSampling1D(3)(gf.constant(a)), a.repeat(3, 1)),
        (L.Cropping3D(((1, 1), (1, 0), (0, 2)))(gf.constant(v)), v[:, 1:3, 1:, :2]),
        (L.ZeroPadding3D((1, 2, 0))(gf.constant(v)), np.pad(v, [(0, 0), (1, 1), (2, 2), (0, 0), (0, 0)])),
        (L.UpSampling3D((1, 2, 3))(gf.constant(v)), v.repeat(2, 2).repeat(3, 3)),
        (L.GlobalMaxPooling3D()(gf.constant(v)), v.max((1, 2, 3))),
        (L.GlobalAveragePooling3D("channels_first")(gf.constant(v)), v.mean((2, 3, 4))),
        (K.backend.batch_dot(a, b, 2), products),
        (K.backend.batch_dot(a, v, (2, 1)), np.einsum("bqd,bdijk->bqijk", a, v)),
        (K.backend.batch_dot(a[:, 0], b[:, 0]), (a[:, 0] * b[:, 0]).sum(1, keepdims=True)),
        (K.backend.temporal_padding(a, (2, 1)), np.pad(a, [(0, 0), (2, 1), (0, 0)])),
        (K.backend.spatial_2d_padding(v[0], ((1, 0), (0, 2))), np.pad(v[0], [(0, 0), (1, 0), (0, 2), (0, 0)])),
        (L.maximum([gf.constant(a), gf.constant(-a)]), np.abs(a)),
        (L.minimum([gf.constant(a), gf.constant(-a)]), -np.abs(a)),
        (L.Attention()([gf.constant(a), gf.constant(b)]), taken(products, b)),
        (L.Attention(use_scale=True)([gf.constant(a), gf.constant(b)], mask=[None, gf.constant(seen)]),
         taken(products - 1e9 * ~seen[:, None], b)),
        (L.AdditiveAttention(use_scale=False, causal=True)([gf.constant(b), gf.constant(b)]), taken(sums - later, b)),
    ]  # fmt: skip
    for (made, wanted), got in zip(
        cases, K.backend.get_session().run([made for made, _ in cases]), strict=True
    ):
        assert made.shape.as_list() == list(wanted.shape)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="list of inputs"):
        L.Attention()(gf.constant(a))
