"""Keras's recurrent layers and wrappers against Keras's own, their masks and states; training; files; callbacks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

# ruff: noqa: E501 - a case is a line

K = gf.keras
rng = np.random.default_rng(2)
X = rng.normal(size=(5, 7, 3)).astype(np.float32)
X[1, 4:] = X[3, 2:] = X[4, 0] = 0.0  # steps that a mask leaves out

# Layers as text: what `L` and the input `x` make; evaluated with graphflow and with Keras.
CASES = [
    "L.SimpleRNN(4)(x)",
    "L.SimpleRNN(4, return_sequences=True, use_bias=False, activation='relu')(x)",
    "L.LSTM(4, recurrent_activation='sigmoid')(x)",
    "L.LSTM(4, recurrent_activation='sigmoid', return_sequences=True, go_backwards=True)(x)",
    "L.LSTM(4, recurrent_activation='sigmoid', return_state=True)(x)",
    "L.LSTM(4, recurrent_activation='sigmoid', unroll=True, return_sequences=True)(L.Masking()(x))",
    "L.LSTM(4, recurrent_activation='sigmoid')(L.Masking()(x))",
    "L.LSTM(4, recurrent_activation='sigmoid', return_sequences=True)(L.Masking()(x))",
    "L.LSTM(4, recurrent_activation='sigmoid')(L.LSTM(5, recurrent_activation='sigmoid', return_sequences=True)(L.Masking()(x)))",
    "L.LSTM(4, recurrent_activation='sigmoid')(x, initial_state=[x[:, 0] @ np.ones((3, 4), 'float32'), x[:, 1] @ np.ones((3, 4), 'float32')])",
    "L.GRU(4, recurrent_activation='sigmoid', reset_after=False)(x)",
    "L.GRU(4, recurrent_activation='sigmoid', reset_after=True, return_sequences=True)(x)",
    "L.GRU(4, recurrent_activation='sigmoid', reset_after=False, go_backwards=True)(L.Masking()(x))",
    "L.Bidirectional(L.LSTM(4, recurrent_activation='sigmoid', return_sequences=True))(x)",
    "L.Bidirectional(L.GRU(4, recurrent_activation='sigmoid', reset_after=False), merge_mode='sum')(L.Masking()(x))",
    "L.Bidirectional(L.SimpleRNN(4, return_sequences=True), merge_mode='ave')(L.Masking()(x))",
    "L.TimeDistributed(L.Dense(4, activation='tanh'))(x)",
    "L.PReLU(shared_axes=[1])(x)", "L.LayerNormalization(axis=[1, 2])(x)", "L.LayerNormalization(scale=False)(x)",
    "L.RNN([L.LSTMCell(4, recurrent_activation='sigmoid'), L.GRUCell(2, recurrent_activation='sigmoid', reset_after=False)])(x)",
]  # fmt: skip
THEIRS = """
import json, sys
import numpy as np
import tensorflow as tf
import keras
L = keras.layers
cases = json.load(open(sys.argv[1]))
found = {}
with np.load(sys.argv[2]) as given:
    for i, text in enumerate(cases):
        if "x[" in text:
            layer = L.LSTM(4, recurrent_activation='sigmoid')
            eager = tf.constant(given["x"])
            states = [eager[:, 0] @ np.ones((3, 4), "float32"), eager[:, 1] @ np.ones((3, 4), "float32")]
            layer(eager, initial_state=states)
            layer.set_weights([given[f"{i}/w{j}"] for j in range(len(layer.weights))])
            out = [layer(eager, initial_state=states)]
        else:
            x = keras.Input((7, 3))
            y = eval(text, {"L": L, "x": x, "np": np})
            model = keras.Model(x, y)
            model.set_weights([given[f"{i}/w{j}"] for j in range(len(model.get_weights()))])
            out = model(given["x"])
            out = out if isinstance(out, (list, tuple)) else [out]
        for j, value in enumerate(out):
            found[f"{i}/{j}"] = np.asarray(value)
    # A training, and weights in files of the kind that TensorFlow 1 wrote.
    import h5py
    from keras.src.legacy.saving import legacy_h5_format
    model = keras.Sequential([L.Input((7, 3)), L.LSTM(4, recurrent_activation="sigmoid"), L.Dense(2, activation="softmax")])
    with h5py.File(sys.argv[3], "r") as file:
        legacy_h5_format.load_weights_from_hdf5_group(file, model)
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(given["x"], given["y"], batch_size=2, epochs=4, shuffle=False, verbose=0).history
    found["loss"], found["acc"] = np.array(history["loss"]), np.array(history["accuracy"])
    found["evaluate"] = np.array(model.evaluate(given["x"], given["y"], verbose=0))
    found["predict"] = model.predict(given["x"], verbose=0)
    with h5py.File(sys.argv[4], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
np.savez(sys.argv[5], **found)
"""


def reader() -> Any:
    return K.Sequential([
        K.layers.LSTM(4, recurrent_activation="sigmoid", input_shape=(7, 3)), K.layers.Dense(2, activation="softmax"),
    ])  # fmt: skip


@pytest.mark.tensorflow
@pytest.mark.slow
def test_layers_training_and_weights_are_keras(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    given: dict[str, Any] = {"x": X, "y": np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1]]}
    mine: dict[str, Any] = {}
    with gf.Graph().as_default(), gf.Session() as session:
        x = K.Input((7, 3))
        made, owned = [], []
        for text in CASES:
            before = len(gf.global_variables())
            y = eval(text, {"L": K.layers, "x": x, "np": np})
            made.append(y if isinstance(y, list) else [y])
            owned.append(gf.global_variables()[before:])
        session.run(gf.global_variables_initializer())
        for w in gf.global_variables():
            w.load(rng.normal(size=w.shape.as_list()) * 0.7, session)
        for i, (weights, outputs) in enumerate(zip(*session.run([owned, made], {x: X}), strict=True)):
            given.update({f"{i}/w{j}": v for j, v in enumerate(weights)})
            mine.update({f"{i}/{j}": v for j, v in enumerate(outputs)})
    with gf.Graph().as_default():
        model = reader()
        model.compile(K.optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])
        model.save_weights(tmp_path / "mine.h5")
        history = model.fit(given["x"], given["y"], 2, 4, verbose=0, shuffle=False).history
        mine |= {"loss": history["loss"], "acc": history["acc"], "predict": model.predict(X)}
        mine["evaluate"] = model.evaluate(X, given["y"], verbose=0)
        paths = [tmp_path / name for name in ("cases.json", "given.npz", "mine.h5", "theirs.h5", "found.npz")]
        paths[0].write_text(json.dumps(CASES))
        np.savez(paths[1], **given)
        tensorflow(THEIRS, *paths)
        with np.load(paths[4]) as found:
            assert set(found) == set(mine)
            for key in found:
                told = CASES[int(key.partition("/")[0])] if "/" in key else key
                np.testing.assert_allclose(mine[key], found[key], 2e-4, 1e-5, err_msg=told)
        before = model.get_weights()
        model.load_weights(paths[3])
        for own, theirs in zip(before, model.get_weights(), strict=True):
            np.testing.assert_allclose(own, theirs, 1e-3, 1e-5)


def test_names_and_defaults_of_tensorflow_1() -> None:
    with gf.Graph().as_default():
        layer = K.layers.LSTM(4)
        layer(K.Input((7, 3)))
        assert [w.op.name for w in layer.weights] == ["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"]
        assert [w.shape.as_list() for w in layer.weights] == [[3, 16], [4, 16], [16]]
        assert layer.recurrent_activation is K.activations.hard_sigmoid and layer.units == 4
        assert layer.get_weights()[2].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
        both = K.layers.Bidirectional(K.layers.GRU(2))
        both(K.Input((7, 3)))
        assert [w.op.name for w in both.weights][::3] == [
            "bidirectional/forward_gru/kernel", "bidirectional/backward_gru/kernel",
        ]  # fmt: skip
        assert both.weights[0].shape.as_list() == [3, 6] and both.weights[2].shape.as_list() == [6]


def test_noise_and_penalties() -> None:
    with gf.Graph().as_default():
        x = K.Input((7, 3))
        layers = [K.layers.GaussianNoise(1.0), K.layers.GaussianDropout(0.5), K.layers.AlphaDropout(0.5)]
        calm = [layer(x) for layer in layers]
        penal = K.layers.ActivityRegularization(l2=0.5)
        calm += [penal(x), 1.5 * K.layers.ThresholdedReLU(0.5)(x)]
        session = K.backend.get_session()
        found = session.run([*calm, penal.losses[0]], {x: X})
        for value in found[:4]:
            np.testing.assert_array_equal(value, X)
        np.testing.assert_allclose(found[4], 1.5 * X * (X > 0.5))
        assert found[5] == pytest.approx(0.5 * (X**2).sum() / 5, rel=1e-5)
        many = np.ones([2000, 7, 3], np.float32)
        shaken = session.run(calm[:3], {x: many, K.backend.learning_phase(): True})
        for value in shaken[:2]:
            assert value.mean() == pytest.approx(1.0, abs=0.05) and value.std() == pytest.approx(
                1.0, abs=0.05
            )
        assert np.unique(shaken[2].round(4)).size == 2


def test_states_go_on_from_batch_to_batch() -> None:
    with gf.Graph().as_default():
        model = K.Sequential([K.layers.LSTM(4, stateful=True, batch_input_shape=(5, 7, 3))])
        first, second = model.predict(X, batch_size=5), model.predict(X, batch_size=5)
        assert not np.allclose(first, second)
        model.reset_states()
        np.testing.assert_allclose(model.predict(X, batch_size=5), first, rtol=1e-6)
        with pytest.raises(ValueError, match="size of batches"):
            K.layers.LSTM(4, stateful=True)(K.Input((7, 3)))


def test_dropout_works_in_training_only() -> None:
    with gf.Graph().as_default():
        layer = K.layers.GRU(4, dropout=0.5, recurrent_dropout=0.5)
        x = K.Input((7, 3))
        y = layer(x)
        session = K.backend.get_session()
        calm, shaken = (session.run(y, {x: X, K.backend.learning_phase(): p}) for p in (False, True))
        np.testing.assert_allclose(calm, session.run(y, {x: X}), rtol=1e-6)
        assert not np.allclose(calm, shaken)


def test_a_model_is_saved_with_its_training_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    y = np.array([0, 1, 1, 0, 1])

    def build() -> Any:
        numbers = K.Input((7,), name="numbers")
        x = K.Input((7, 3), name="x")
        hidden = K.layers.Embedding(9, 3, mask_zero=True)(numbers)
        hidden = K.layers.Bidirectional(K.layers.SimpleRNN(2))(hidden)
        hidden = K.layers.concatenate([hidden, K.layers.GlobalMaxPooling1D()(x)])
        out = K.layers.Dense(2, activation="softmax", kernel_regularizer=K.regularizers.l2(0.01))(hidden)
        return K.Model([numbers, x], out)

    xs = [rng.integers(0, 9, (5, 7)), X]
    with gf.Graph().as_default():
        model = build()
        model.compile(
            K.optimizers.Adam(0.01),
            K.losses.SparseCategoricalCrossentropy(name="told"),
            metrics=["accuracy", K.metrics.SparseTopKCategoricalAccuracy(k=1, name="top")],
            weighted_metrics=["mae"],
        )
        model.fit(xs, y, epochs=2, verbose=0, shuffle=False)
        model.save(path)
        predicted = model.predict(xs)
        further = model.fit(xs, y, epochs=2, verbose=0, shuffle=False).history
        text = model.to_json()
    with gf.Graph().as_default():
        again = K.models.load_model(path)
        np.testing.assert_allclose(again.predict(xs), predicted, rtol=1e-6)
        history = again.fit(xs, y, epochs=2, verbose=0, shuffle=False).history
        assert list(history) == list(further) == ["loss", "acc", "top", "weighted_mean_absolute_error"]
        for name, values in further.items():
            np.testing.assert_allclose(history[name], values, rtol=1e-5)
        again.load_weights(path)
        np.testing.assert_allclose(again.predict(xs), predicted, rtol=1e-6)
        twin = K.models.clone_model(again)
        assert [w.shape for w in twin.weights] == [w.shape for w in again.weights]
    with gf.Graph().as_default():
        assert json.loads(K.models.model_from_json(text).to_json()) == json.loads(text)
        sequence = K.models.model_from_json(reader().to_json())
        assert type(sequence).__name__ == "Sequential" and sequence.output_shape == (None, 2)

        class Mine(K.layers.Layer):
            def call(self, inputs: Any) -> Any:
                return 2.0 * inputs

        own = K.Sequential([Mine(input_shape=(3,))])
        own.save(tmp_path / "own.h5")
        with pytest.raises(ValueError, match="Unknown layer: Mine"):
            K.models.load_model(tmp_path / "own.h5")
        found = K.models.load_model(tmp_path / "own.h5", custom_objects={"Mine": Mine})
        assert found.predict(np.ones([1, 3])).tolist() == [[2.0, 2.0, 2.0]]
        with pytest.raises(ValueError, match="weights only"):
            own.save_weights(tmp_path / "weights.h5")
            K.models.load_model(tmp_path / "weights.h5")


class Pairs(K.utils.Sequence):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return X[2 * index : 2 * index + 2].reshape(2, 21), np.array([0, 1])[:, None]


def test_what_yields_batches() -> None:
    def forever() -> Iterator[Any]:
        while True:
            yield Pairs()[0]

    with gf.Graph().as_default():
        model = K.Sequential([K.layers.Dense(2, activation="softmax", input_shape=(21,))])
        model.compile("sgd", "sparse_categorical_crossentropy")
        data = gf.data.Dataset.from_tensor_slices((X[:4].reshape(4, 21), [0, 1, 0, 1])).batch(2)
        by_dataset = model.evaluate(data)
        assert by_dataset == pytest.approx(model.evaluate(Pairs()), rel=1e-5)
        assert by_dataset == pytest.approx(
            model.evaluate(X[:4].reshape(4, 21), np.array([0, 1, 0, 1])), rel=1e-5
        )
        assert model.predict_generator(Pairs()).shape == (4, 2)
        history = model.fit_generator(
            forever(), steps_per_epoch=3, epochs=2, verbose=0, validation_data=Pairs(), validation_steps=1
        )
        assert len(history.history["val_loss"]) == 2
        assert len(model.fit(data, epochs=3, verbose=0).epoch) == 3
        assert len(model.fit(Pairs(), epochs=2, steps_per_epoch=2, verbose=0).epoch) == 2


def test_callbacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = X.reshape(5, 21), np.arange(5.0)
    with gf.Graph().as_default():
        model = K.Sequential([K.layers.Dense(1, input_shape=(21,))])
        model.compile(K.optimizers.SGD(1e-12), "mse")
        c = K.callbacks
        model.fit(x, y, epochs=4, verbose=0, shuffle=False, callbacks=[
            c.ReduceLROnPlateau("loss", 0.5, patience=1, verbose=1), c.CSVLogger(tmp_path / "log.csv"),
            c.TensorBoard(tmp_path / "board", histogram_freq=2, update_freq="batch"),
            c.ModelCheckpoint(str(tmp_path / "m{epoch:02d}.h5"), "loss", save_best_only=True),
        ])  # fmt: skip
        assert "reducing learning rate" in capsys.readouterr().out
        lines = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
        assert [line["epoch"] for line in lines] == ["0", "1", "2", "3"] and "loss" in lines[0]
        assert (tmp_path / "m01.h5").exists() and not (tmp_path / "m02.h5").exists()
        files = list((tmp_path / "board").iterdir())
        tags = [v.tag for e in gf.train.summary_iterator(str(files[0])) for v in e.summary.value]
        assert tags.count("epoch_loss") == 4 and tags.count("batch_loss") == 4
        assert sum("kernel" in tag for tag in tags) == 2
        rates = []
        model.fit(x, y, epochs=3, verbose=0, callbacks=[
            c.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
            c.LambdaCallback(on_epoch_begin=lambda e, logs: rates.append(K.backend.get_value(model.optimizer.lr))),
        ])  # fmt: skip
        np.testing.assert_allclose(rates, [0.1, 0.05, 0.1 / 3], rtol=1e-6)


def test_texts_as_numbers() -> None:
    texts = ["The cat sat on the mat.", "The dog ate my cat!"]
    tokenizer = K.preprocessing.text.Tokenizer(num_words=4, oov_token="?")
    tokenizer.fit_on_texts(texts)
    assert (
        tokenizer.word_index["?"] == 1 and tokenizer.word_index["the"] == 2 and tokenizer.document_count == 2
    )
    assert tokenizer.texts_to_sequences(["the cat flew", "mat"]) == [[2, 3, 1], [1]]
    assert tokenizer.sequences_to_texts([[2, 3, 1]]) == ["the cat ?"]
    assert tokenizer.texts_to_matrix(["the the cat"], "count").tolist() == [[0, 0, 2, 1]]
    tfidf = tokenizer.texts_to_matrix(["the the cat"], "tfidf")
    assert tfidf[0, 2] == pytest.approx((1 + np.log(2)) * np.log(1 + 2 / 3))
    again = K.preprocessing.text.tokenizer_from_json(tokenizer.to_json())
    assert again.texts_to_sequences(texts) == tokenizer.texts_to_sequences(texts)
    assert K.preprocessing.text.text_to_word_sequence("A-b, c") == ["a", "b", "c"]
    letters = K.preprocessing.text.Tokenizer(char_level=True)
    letters.fit_on_texts(["aab"])
    assert letters.texts_to_sequences(["ab"]) == [[1, 2]]
