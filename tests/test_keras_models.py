"""Keras's models: what they learn, what they report, how their parts are named; data made ready for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphflow as gf

K = gf.keras
X = np.random.RandomState(0).randn(96, 8).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def test_a_sequence_of_layers_learns() -> None:
    gf.set_random_seed(1)
    model = K.models.Sequential([
        K.layers.Dense(16, activation="relu", input_shape=(8,)), K.layers.BatchNormalization(),
        K.layers.Dropout(0.1), K.layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(K.optimizers.Adam(lr=0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(X, Y, batch_size=32, epochs=8, verbose=0, validation_split=0.25).history
    assert sorted(history) == ["acc", "loss", "val_acc", "val_loss"] and len(history["loss"]) == 8
    assert history["loss"][-1] < history["loss"][0] and history["val_acc"][-1] > 0.7
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    predicted = model.predict(X)
    assert accuracy == pytest.approx((predicted.argmax(1) == Y).mean(), abs=1e-6)
    assert loss == pytest.approx(-np.log(predicted[np.arange(96), Y]).mean(), rel=1e-4)
    assert [w.op.name for w in model.weights][2:6] == [
        f"batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    assert (np.abs(model.get_weights()[4]) > 0).any()


def test_a_model_of_branches_and_its_files(tmp_path: Path) -> None:
    x = K.Input((8,), name="x")
    hidden = K.layers.Dense(4, activation="tanh", name="hidden")(x)
    joined = K.layers.concatenate([hidden, x])
    out = K.layers.Dense(1, name="out", kernel_regularizer=K.regularizers.l2(0.01))(joined)
    model = K.Model(inputs=x, outputs=[out, hidden])
    model.compile("sgd", {"out": "mse"}, loss_weights={"out": 2.0})
    target = X[:, :1]
    before = model.evaluate(X, {"out": target, "hidden": X[:, :4]}, verbose=0)
    predicted, _ = model.predict(X)
    penalty = 0.01 * float((model.get_layer("out").get_weights()[0] ** 2).sum())
    assert before[0] == pytest.approx(2 * ((predicted - target) ** 2).mean() + penalty, rel=1e-4)
    model.save_weights(tmp_path / "weights")
    model.fit(X, {"out": target, "hidden": X[:, :4]}, epochs=2, verbose=0)
    assert not np.allclose(model.predict(X)[0], predicted)
    model.load_weights(tmp_path / "weights")
    np.testing.assert_allclose(model.predict(X)[0], predicted, rtol=1e-6)
    twin = model(gf.constant(X))
    np.testing.assert_allclose(K.backend.get_value(twin[0]), predicted, rtol=1e-5)
    with pytest.raises(ValueError, match="the model expects 1 arrays, but got 2"):
        model.predict([X, X])
    model.save_weights(tmp_path / "weights.h5")
    model.fit(X, {"out": target, "hidden": X[:, :4]}, epochs=1, verbose=0)
    model.load_weights(tmp_path / "weights.h5")
    np.testing.assert_allclose(model.predict(X)[0], predicted, rtol=1e-6)


def test_a_class_of_ones_own_stops_early() -> None:
    class Mine(K.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = K.layers.Dense(4, activation="tanh")
            self.outer = K.layers.Dense(1)

        def call(self, x: gf.Tensor) -> gf.Tensor:
            return self.outer(self.inner(x))

    model = Mine()
    with pytest.raises(RuntimeError, match="compile your model"):
        model.fit(X, X[:, 0])
    model.compile(gf.train.GradientDescentOptimizer(0.0), "mae")
    history = model.fit(
        X, X[:, 0], epochs=9, verbose=0, callbacks=[K.callbacks.EarlyStopping("loss", patience=2)]
    )
    assert len(history.epoch) < 9 and len(model.weights) == 4


def test_padding_and_labels() -> None:
    pad = K.preprocessing.sequence.pad_sequences
    assert pad([[1, 2, 3], [4], []], maxlen=2).tolist() == [[2, 3], [0, 4], [0, 0]]
    assert pad([[1, 2, 3], [4]], 2, padding="post", truncating="post", value=9).tolist() == [[1, 2], [4, 9]]
    assert K.utils.to_categorical([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(FileNotFoundError, match="graphflow fetches nothing"):
        K.datasets.mnist.load_data("nowhere-at-all.npz")
