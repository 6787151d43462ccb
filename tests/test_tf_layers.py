"""`layers`: names, sharing and collections of their weights, and what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf

X = np.random.RandomState(0).randn(5, 4).astype(np.float32)
IMAGES = np.random.RandomState(1).randn(2, 7, 8, 3).astype(np.float32)
SEQUENCES = np.random.RandomState(2).randn(2, 9, 3).astype(np.float32)


def names(key: str = gf.GraphKeys.GLOBAL_VARIABLES) -> list[str]:
    return [item.op.name for item in gf.get_collection(key)]


def run(fetches: Any, feed: Any = None) -> Any:
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        return session.run(fetches, feed)


def test_weights_are_named_after_the_layer_in_its_scope() -> None:
    x = gf.constant(X)
    gf.layers.dense(x, 3)
    gf.layers.dense(x, 3)
    with gf.variable_scope("tower"):
        y = gf.layers.dense(x, 3, name="hidden", activation=gf.nn.relu)
        gf.layers.dense(y, 2, use_bias=False)
    assert names() == [
        "dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias", "tower/hidden/kernel", "tower/hidden/bias",
        "tower/dense/kernel",
    ]  # fmt: skip
    assert y.op.name == "tower/hidden/Relu"


def test_a_layer_of_that_name_is_used_again_only_if_asked() -> None:
    x = gf.constant(X)
    first = gf.layers.dense(x, 3, name="d")
    again = gf.layers.dense(x, 3, name="d", reuse=True)
    assert names() == ["d/kernel", "d/bias"]
    a, b = run([first, again])
    assert np.array_equal(a, b)
    with pytest.raises(ValueError, match="Variable d/kernel already exists"):
        gf.layers.dense(x, 3, name="d")
    with gf.variable_scope("auto", reuse=gf.AUTO_REUSE):
        gf.layers.dense(x, 3, name="e")
        gf.layers.dense(x, 3, name="e")
    assert names()[2:] == ["auto/e/kernel", "auto/e/bias"]


def test_a_layer_object_has_its_weights_once() -> None:
    layer = gf.layers.Dense(3, name="shared", trainable=False)
    a, b = layer(gf.constant(X)), layer(gf.constant(X))
    assert names() == ["shared/kernel", "shared/bias"]
    assert names(gf.GraphKeys.TRAINABLE_VARIABLES) == []
    assert [weight.op.name for weight in layer.weights] == names()
    assert layer.scope_name == "shared"
    one, other = run([a, b])
    assert np.array_equal(one, other)


def test_regularizers_join_the_losses_once() -> None:
    def penalty(weight: Any) -> gf.Tensor:
        return gf.reduce_sum(gf.square(weight))

    x = gf.constant(X)
    gf.layers.dense(x, 3, name="d", kernel_regularizer=penalty)
    gf.layers.dense(x, 3, name="d", kernel_regularizer=penalty, reuse=True)
    with gf.variable_scope("scope", regularizer=penalty):
        gf.layers.dense(x, 3)
    losses = gf.losses.get_regularization_losses()
    assert [loss.op.name for loss in losses] == [
        "d/kernel/Regularizer/Sum", "scope/dense/kernel/Regularizer/Sum", "scope/dense/bias/Regularizer/Sum",
    ]  # fmt: skip
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        weights = session.run(gf.global_variables())
        total = session.run(gf.losses.get_regularization_loss())
    assert total == pytest.approx(sum(float(np.sum(weights[i] ** 2)) for i in (0, 2, 3)), rel=1e-5)


def test_dense_over_the_last_of_many_axes() -> None:
    y = gf.layers.dense(gf.constant(SEQUENCES), 4, bias_initializer=gf.ones_initializer())
    assert y.shape.as_list() == [2, 9, 4]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        value, kernel = session.run([y, gf.global_variables()[0]])
    np.testing.assert_allclose(value, SEQUENCES @ kernel + 1, rtol=1e-5, atol=1e-5)


CONVOLUTIONS: list[tuple[str, Any, dict[str, Any], list[int], list[list[int]]]] = [
    ("conv2d", IMAGES, {"filters": 4, "kernel_size": 3}, [2, 5, 6, 4], [[3, 3, 3, 4], [4]]),
    ("conv2d", IMAGES, {"filters": 4, "kernel_size": (3, 2), "strides": 2, "padding": "SAME"}, [2, 4, 4, 4],
     [[3, 2, 3, 4], [4]]),
    ("conv2d", IMAGES, {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "use_bias": False}, [2, 3, 4, 4],
     [[3, 3, 3, 4]]),
    ("conv1d", SEQUENCES, {"filters": 5, "kernel_size": 3, "strides": 2}, [2, 4, 5], [[3, 3, 5], [5]]),
    ("separable_conv2d", IMAGES, {"filters": 4, "kernel_size": 3, "depth_multiplier": 2}, [2, 5, 6, 4],
     [[3, 3, 3, 2], [1, 1, 6, 4], [4]]),
    ("separable_conv1d", SEQUENCES, {"filters": 4, "kernel_size": 3}, [2, 7, 4], [[3, 3, 1], [1, 3, 4], [4]]),
    ("conv2d_transpose", IMAGES, {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, [2, 14, 16, 4],
     [[3, 3, 4, 3], [4]]),
    ("conv2d_transpose", IMAGES, {"filters": 4, "kernel_size": 4, "strides": 3}, [2, 22, 25, 4], [[4, 4, 4, 3], [4]]),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "value", "arguments", "shape", "weights"), CONVOLUTIONS)
def test_convolutions(
    layer: str, value: Any, arguments: Any, shape: list[int], weights: list[list[int]]
) -> None:
    x = gf.placeholder(gf.float32, [None, *value.shape[1:]])
    y = getattr(gf.layers, layer)(x, **arguments)
    assert y.shape.as_list() == [None, *shape[1:]]
    assert [variable.shape.as_list() for variable in gf.global_variables()] == weights
    assert run(y, {x: value}).shape == tuple(shape)


def test_pools() -> None:
    images, sequences = gf.constant(IMAGES), gf.constant(SEQUENCES)
    biggest, mean, longest, even = run([
        gf.layers.max_pooling2d(images, 2, 2), gf.layers.average_pooling2d(images, (7, 8), 1),
        gf.layers.max_pooling1d(sequences, 3, 3), gf.layers.average_pooling1d(sequences, 9, 9),
    ])  # fmt: skip
    np.testing.assert_array_equal(biggest[:, 0, 0], IMAGES[:, :2, :2].max((1, 2)))
    np.testing.assert_allclose(mean[:, 0, 0], IMAGES.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(longest, SEQUENCES.reshape(2, 3, 3, 3).max(2))
    np.testing.assert_allclose(even[:, 0], SEQUENCES.mean(1), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="`strides` must not be None"):
        gf.layers.max_pooling2d(images, 2, None)


def test_dropout_only_where_training() -> None:
    training = gf.placeholder(gf.bool, [])
    x = gf.ones([1000])
    y = gf.layers.dropout(x, 0.25, training=training)
    assert np.array_equal(run(y, {training: False}), np.ones(1000, np.float32))
    dropped = run(y, {training: True})
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 150 < (dropped == 0).sum() < 350
    assert gf.layers.dropout(x, 0.25).op.type == "Identity"


@pytest.mark.parametrize(("value", "axes"), [(X, (0,)), (IMAGES, (0, 1, 2)), (SEQUENCES, (0, 1))])
@pytest.mark.parametrize("known", [True, False])
def test_batch_normalization_moves_its_averages(value: Any, axes: tuple[int, ...], known: bool) -> None:
    x = gf.placeholder(gf.float32, [None, *value.shape[1:]])
    training = gf.constant(True) if known else gf.placeholder(gf.bool, [])
    y = gf.layers.batch_normalization(x, training=training, momentum=0.9)
    updates = gf.get_collection(gf.GraphKeys.UPDATE_OPS)
    assert names() == [
        f"batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    assert names(gf.GraphKeys.TRAINABLE_VARIABLES) == names()[:2]
    mean, variance = value.mean(axes), value.var(axes)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        feed = {x: value} if known else {x: value, training: True}
        result, _ = session.run([y, updates], feed)
        np.testing.assert_allclose(result, (value - mean) / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-5)
        moving_mean, moving_variance = session.run(gf.global_variables()[2:])
        # The fused operation, for images, keeps the unbiased variance.
        n = value.size // value.shape[-1]
        kept = variance * n / (n - 1) if value.ndim == 4 else variance
        np.testing.assert_allclose(moving_mean, 0.1 * mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(moving_variance, 0.9 + 0.1 * kept, rtol=1e-4)
        if not known:
            result, _ = session.run([y, updates], {x: value, training: False})
            expected = (value - moving_mean) / np.sqrt(moving_variance + 1e-3)
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
            assert np.array_equal(session.run(gf.global_variables()[2]), moving_mean)


def test_a_layer_of_ones_own() -> None:
    class Scale(gf.layers.Layer):
        def build(self, shape: Any) -> None:
            self.factor = self.add_variable(
                "factor", [int(shape[-1])], initializer=gf.constant_initializer(2.0)
            )
            super().build(shape)

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

    layer = Scale()
    assert np.array_equal(run(layer(gf.constant(X))), 2 * X)
    assert names() == ["scale/factor"]
    assert layer.count_params() == 4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected min_ndim=2, found ndim=1"):
        gf.layers.dense(gf.constant([1.0]), 3)
    with pytest.raises(ValueError, match="last dimension of the inputs to `Dense` should be defined"):
        gf.layers.dense(gf.placeholder(gf.float32, [None, None]), 3)
    with pytest.raises(ValueError, match="`kernel_size` argument must be a tuple of 2 integers"):
        gf.layers.conv2d(gf.constant(IMAGES), 3, (1, 2, 3))
    with pytest.raises(TypeError, match="keyword argument not understood: unit"):
        gf.layers.Dense(3, unit=4)


def test_flatten() -> None:
    images = gf.placeholder(gf.float32, [None, 7, 8, 3])
    assert gf.layers.flatten(images).shape.as_list() == [None, 168]
    open_sizes = gf.placeholder(gf.float32, [None, None, 3])
    flat = gf.layers.flatten(open_sizes)
    assert run(flat, {open_sizes: SEQUENCES}).shape == (2, 27)
    first = gf.layers.flatten(gf.constant(IMAGES), data_format="channels_first")
    assert np.array_equal(run(first), IMAGES.transpose(0, 2, 3, 1).reshape(2, -1))
