"""Layers of `contrib.layers` that fewer programs use, against the same written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf

layers = gf.contrib.layers
ROWS = np.random.RandomState(0).randn(4, 6).astype(np.float32)
IMAGE = np.random.RandomState(1).randn(2, 4, 3, 6).astype(np.float32)
VOLUME = np.random.RandomState(2).randn(1, 4, 4, 4, 2).astype(np.float32)


def grouped(x: np.ndarray) -> np.ndarray:
    parts = x.reshape(*x.shape[:3], 3, 2)
    over = (1, 2, 4)
    centred = parts - parts.mean(over, keepdims=True)
    return (centred / np.sqrt(parts.var(over, keepdims=True) + 1e-6)).reshape(x.shape)


def windows(x: np.ndarray, reduce: Callable[..., Any]) -> np.ndarray:
    return np.asarray(reduce(x.reshape(1, 2, 2, 2, 2, 2, 2, 2), (2, 4, 6)))


CASES: dict[str, tuple[Callable[[], Any], np.ndarray]] = {
    "group_norm": (lambda: layers.group_norm(gf.constant(IMAGE), groups=3), grouped(IMAGE)),
    "group_norm_in_one_pass": (
        lambda: layers.group_norm(gf.placeholder_with_default(IMAGE, [None, 4, 3, 6]), 3, mean_close_to_zero=True),
        grouped(IMAGE),
    ),
    "gdn": (lambda: layers.gdn(gf.constant(IMAGE)), IMAGE / np.sqrt(1 + 0.1 * IMAGE**2)),
    "gdn_inverse_first": (
        lambda: gf.transpose(
            layers.gdn(gf.transpose(gf.constant(IMAGE), [0, 3, 1, 2]), True, data_format="channels_first"),
            [0, 2, 3, 1],
        ),
        IMAGE * np.sqrt(1 + 0.1 * IMAGE**2),
    ),
    "poincare_normalize": (
        lambda: layers.poincare_normalize(gf.constant(ROWS)),
        ROWS * np.minimum(1, (1 - 1e-5) / np.linalg.norm(ROWS, axis=1, keepdims=True)),
    ),
    "max_pool3d": (lambda: layers.max_pool3d(gf.constant(VOLUME), 2), windows(VOLUME, np.max)),
    "avg_pool3d": (lambda: layers.avg_pool3d(gf.constant(VOLUME), 2), windows(VOLUME, np.mean)),
    "conv3d_transpose": (
        lambda: layers.conv3d_transpose(
            gf.constant(VOLUME), 1, 1, weights_initializer=gf.ones_initializer(), activation_fn=None
        ),
        VOLUME.sum(-1, keepdims=True),
    ),
    "conv2d_in_plane": (
        lambda: layers.conv2d_in_plane(
            gf.constant(IMAGE), [1, 2], padding="VALID", weights_initializer=gf.ones_initializer(), activation_fn=None
        ),
        IMAGE[:, :, 1:] + IMAGE[:, :, :-1],
    ),
    "images_to_sequence": (
        lambda: layers.sequence_to_images(layers.images_to_sequence(gf.constant(IMAGE)), 4), IMAGE,
    ),
    "dense_to_sparse": (
        lambda: gf.sparse_tensor_to_dense(layers.dense_to_sparse(gf.constant([[1, 0], [0, 2]]))),
        np.array([[1, 0], [0, 2]]),
    ),
    "legacy_fully_connected": (
        lambda: layers.legacy_relu(gf.constant(IMAGE), 2, weight_init=gf.ones_initializer()),
        np.maximum(np.repeat(IMAGE.sum(-1, keepdims=True), 2, -1), 0),
    ),
    "batch_norm_with_weights": (
        lambda: layers.batch_norm(gf.constant(ROWS), batch_weights=gf.constant([1.0, 1.0, 0.0, 0.0])),
        (ROWS - ROWS[:2].mean(0)) / np.sqrt(ROWS[:2].var(0) + 1e-3),
    ),
    "batch_norm_adjusted": (
        lambda: layers.batch_norm(
            gf.constant(ROWS), adjustment=lambda sizes: (gf.fill([1, 6], 2.0), gf.fill([1, 6], 1.0))
        ),
        2 * (ROWS - ROWS.mean(0)) / np.sqrt(ROWS.var(0) + 1e-3) + 1,
    ),
    "batch_norm_renormalized": (
        lambda: layers.batch_norm(gf.constant(ROWS), renorm=True, renorm_clipping={"dmax": 0.0, "rmin": 1, "rmax": 1}),
        (ROWS - ROWS.mean(0)) / np.sqrt(ROWS.var(0) + 1e-3),
    ),
}  # fmt: skip


def test_layers() -> None:
    made = {}
    for name, (build, _) in CASES.items():
        with gf.variable_scope(name):
            made[name] = build()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        found = session.run(made)
    for name, (_, wanted) in CASES.items():
        np.testing.assert_allclose(found[name], wanted, rtol=2e-4, atol=2e-5, err_msg=name)


def test_averages_without_bias_are_right_after_the_first_step() -> None:
    training = gf.placeholder_with_default(True, [])
    made = layers.batch_norm(
        gf.constant(ROWS), 0.9, is_training=training, zero_debias_moving_mean=True, updates_collections=None
    )
    average = gf.contrib.framework.get_variables_by_name("BatchNorm/moving_mean")[0]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for _ in range(2):
            session.run(made)
            np.testing.assert_allclose(session.run(average), ROWS.mean(0), rtol=1e-5, atol=1e-6)
        before = session.run(average)
        session.run(made, {training: False})
        np.testing.assert_array_equal(session.run(average), before)


def test_gradients_are_scaled_and_weights_that_must_exist_are_not_made() -> None:
    x = gf.constant([1.0])
    (slope,) = gf.gradients(layers.scale_gradient(x, 2.0) * 3.0, [x])
    with gf.Session() as session:
        assert session.run(slope) == [6.0]
    with gf.variable_scope("shared", reuse=True), pytest.raises(ValueError, match="does not exist"):
        layers.fully_connected(gf.constant(ROWS), 3)
    assert not gf.global_variables()
