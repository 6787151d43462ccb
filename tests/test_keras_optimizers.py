"""Optimizers of Keras that `train` has none of: four steps end where those of TensorFlow's `OptimizerV2` do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf

# ruff: noqa: E501 - a case is a line

optimizers = gf.keras.optimizers

# Weights after the steps; "of rows": the gradient is one of rows, of which one comes twice.
ENDS: list[tuple[str, list[list[float]]]] = [
    ("Adamax(0.1)", [[0.630973, -1.615384], [0.160982, 2.6101], [-0.630973, -0.033559]]),
    ("Adamax(learning_rate=0.05, beta_1=0.8, beta_2=0.9, epsilon=1e-3, decay=0.1)", [[0.819096, -1.821981], [0.313076, 2.823071], [-0.81933, 0.079972]]),
    ("Adamax(0.1) of rows", [[0.630973, -1.615384], [0.5, 3.0], [-0.630973, -0.033558]]),
    ("Nadam(0.1)", [[0.687716, -1.678189], [0.209955, 2.675239], [-0.687716, 0.015455]]),
    ("Nadam(lr=0.05, beta_1=0.8, beta_2=0.9, schedule_decay=0.3)", [[0.821719, -1.819357], [0.326962, 2.818605], [-0.821719, 0.089743]]),
    ("Nadam(0.1) of rows", [[0.687716, -1.678189], [0.5, 3.0], [-0.687716, 0.015455]]),
    ("Ftrl(0.3)", [[0.232452, -0.977305], [0.009776, 1.045659], [-0.110924, -7.1e-05]]),
    ("Ftrl(0.3, -0.4, 0.2, 0.05, 0.1, l2_shrinkage_regularization_strength=0.1, beta=0.5)", [[0.093525, -0.472592], [0.0, 0.23967], [-0.005224, -0.009345]]),
    ("Ftrl(0.3, beta=0.2) of rows", [[0.24214, -1.110759], [0.5, 3.0], [-0.266513, -0.018659]]),
]  # fmt: skip


def stepped(text: str) -> tuple[Any, Any, Any]:
    """The optimizer, its weight and its step."""
    optimizer = eval(text.removesuffix(" of rows"), vars(optimizers))
    weight = gf.Variable([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]])
    used = gf.gather(weight, [0, 2, 0]) if text.endswith("of rows") else weight
    loss = gf.reduce_sum(used**2 * [[1.0, 0.5], [2.0, 0.1], [0.3, 1.0]])
    return optimizer, weight, optimizer.minimize(loss, [weight])


@pytest.mark.parametrize(("text", "end"), ENDS, ids=[text for text, _ in ENDS])
def test_steps_end_where_those_of_tensorflow_do(text: str, end: list[list[float]]) -> None:
    optimizer, weight, step = stepped(text)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for _ in range(4):
            session.run(step)
        found, count = session.run([weight, optimizer.iterations])
    np.testing.assert_allclose(found, end, rtol=1e-5, atol=3e-6)
    assert count == 4
    again = type(optimizer).from_config({**optimizer.get_config(), "learning_rate": 1.0})
    assert {**again.get_config(), "learning_rate": 0} == {**optimizer.get_config(), "learning_rate": 0}


def test_steps_go_on_from_the_weights_of_an_optimizer() -> None:
    for text in ("Adamax(0.1)", "Nadam(0.1)", "Ftrl(0.3)"):
        with gf.Graph().as_default():
            ends = dict(ENDS)[text]
            optimizer, weight, step = stepped(text)
            with gf.Session() as session:
                gf.keras.backend.set_session(session)
                session.run(gf.global_variables_initializer())
                session.run([step])
                session.run([step])
                kept, at = optimizer.get_weights(), session.run(weight)
                session.run(gf.global_variables_initializer())
                weight.load(at, session)
                optimizer.set_weights(kept)
                session.run([step])
                session.run([step])
                np.testing.assert_allclose(session.run(weight), ends, rtol=1e-5, atol=3e-6)
    gf.keras.backend.clear_session()


def test_names_and_refusals() -> None:
    for name in ("Adamax", "nadam", "FTRL"):
        assert type(optimizers.get(name)).__name__.lower() == name.lower()
    with pytest.raises(ValueError, match="learning_rate_power"):
        optimizers.Ftrl(0.1, learning_rate_power=1.0)
    with pytest.raises(TypeError, match="surprise"):
        optimizers.Nadam(surprise=1)
