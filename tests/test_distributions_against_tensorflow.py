"""Probability distributions against TensorFlow's: densities, figures, samples for the same seeds, divergences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.referee import difference
from tests.test_functions_against_tensorflow import PROGRAM

# ruff: noqa: E501 - an expression is a line

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# The family, its arguments, values to ask about, and what it does not have or TensorFlow cannot do.
FAMILIES = [
    ("Normal", "[1.0, -2.0], [[0.5], [2.0], [3.0]]", "[[0.3, -9.0]]", "covariance"),
    ("Uniform", "[0.0, 1.0], [2.0, 3.0]", "[[-1.0, 1.0], [1.5, 3.0]]", "mode covariance quantile"),
    ("Laplace", "[1.0, -2.0], [[0.5], [2.0], [3.0]]", "[[0.3, -9.0]]", "covariance quantile"),
    ("Gamma", "[0.5, 3.0], [[2.0], [0.7]]", "[[0.1, 4.0]]", "covariance quantile"),
    ("Exponential", "[0.5, 3.0]", "[[0.1, 4.0]]", "covariance quantile"),
    # Its cdf, and Beta's, broadcasts here and does not there.
    ("StudentT", "[0.5, 1.5, 4.0], 1.0, [[2.0], [0.7]]", "[[0.1, 4.0, -2.0]]", "covariance quantile cdf"),
    ("StudentT", "[1.5, 4.0], [1.0, 2.0], [2.0, 0.7]", "[0.1, -2.0]", "covariance quantile"),
    ("Beta", "[0.5, 3.0, 1.5], [[2.0], [0.7]]", "[[0.1, 0.5, 0.99]]", "covariance quantile cdf"),
    ("Beta", "[0.5, 3.0], [2.0, 0.7]", "[0.1, 0.99]", "covariance quantile"),
    ("Bernoulli", "probs=[0.3, 0.9, 0.5]", "[[0, 1, 1], [1, 0, 1]]", "covariance quantile cdf"),
    ("Bernoulli", "[0.3, -0.9], dtype=tf.int64", "[0, 1]", "covariance quantile cdf"),
    ("Categorical", "probs=[[0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]", "[[0, 1], [2, 1], [1, 1]]", "cdf mean stddev variance covariance quantile"),
    ("Categorical", "[0.3, -0.6, 1.0]", "[0, 1, 2, 1]", "cdf mean stddev variance covariance quantile"),
    # Its mode, where some are undefined, is an error there.
    ("Dirichlet", "[[0.3, 2.6, 0.1], [2.2, 1.2, 1.6]]", "[0.2, 0.3, 0.5]", "cdf mode quantile"),
    ("Dirichlet", "[2.3, 2.6, 1.1]", "[0.2, 0.3, 0.5]", "cdf quantile"),
    # Which row of a batch is drawn first is left open there.
    ("Multinomial", "[5.0, 3.0], probs=[[0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]", "[[1.0, 3.0, 1.0], [0.0, 1.0, 2.0]]", "cdf mode quantile entropy sample"),
    ("Multinomial", "4.0, [0.3, -0.6, 1.0]", "[[1.0, 2.0, 1.0], [4.0, 0.0, 0.0]]", "cdf mode quantile entropy"),
    ("DirichletMultinomial", "4.0, [[0.3, 2.6, 0.1], [2.2, 1.2, 1.6]]", "[1.0, 2.0, 1.0]", "cdf mode quantile entropy"),
]  # fmt: skip
CALLS = (
    "log_prob({})", "prob({})", "cdf({})", "quantile([0.1])", "entropy()", "mean()", "stddev()", "variance()",
    "covariance()", "mode()", "sample(seed=3)", "sample([2, 3], seed=3)", "batch_shape_tensor()",
    "event_shape_tensor()",
)  # fmt: skip
DIVERGENCES = "[{}]".format(
    ", ".join(
        "tf.distributions.kl_divergence(tf.distributions.{0}({1}), tf.distributions.{0}({2}))".format(*case)
        for case in (
            ("Normal", "[1.0, 2.0], 2.0", "[0.5], [3.0]"), ("Gamma", "[1.0, 2.0], 2.0", "[0.5], [3.0]"),
            ("Beta", "[1.0, 2.0], 2.0", "[0.5], [3.0]"), ("Bernoulli", "[1.0, 2.0]", "[0.5]"),
            ("Categorical", "[1.0, 2.0]", "[0.5, 1.0]"), ("Dirichlet", "[1.0, 2.0]", "[0.5, 1.0]"),
        )
    )
)  # fmt: skip
MORE = [
    DIVERGENCES,
    "tf.gradients(tf.distributions.Normal(x, x + 1.0).log_prob(y), x) + tf.gradients(tf.distributions.Normal(x, x + 1.0).sample(2, seed=3), x)",
    "[tf.distributions.Normal(x, 2.0).cross_entropy(tf.distributions.Normal(y, 1.0)), tf.distributions.Normal(0.0, 1.0).survival_function([0.3, 5.0])]",
    "tf.distributions.Normal(0.0, 1.0).copy(scale=3.0).log_prob(1.0)",
]
REFUSED = [
    "tf.distributions.Normal(0.0, -1.0, validate_args=True).log_prob(0.0)",
    "tf.distributions.Bernoulli(probs=[1.2], validate_args=True).mean()",
    "tf.distributions.Bernoulli(probs=[0.2], logits=[1.0])",
    "tf.distributions.Gamma(0.5, 1.0, allow_nan_stats=False).mode()",
    "tf.distributions.kl_divergence(tf.distributions.Normal(0.0, 1.0), tf.distributions.Gamma(1.0, 1.0))",
    "tf.distributions.Multinomial(3.0, probs=[0.5, 0.5], validate_args=True).prob([1.0, 1.0])",
    "tf.distributions.Uniform().covariance()",
]
EXPRESSIONS = [
    f"[v for d in [tf.distributions.{family}({arguments})] for v in [{calls}]]"
    for family, arguments, value, lacks in FAMILIES
    for calls in [
        ", ".join(f"d.{c.format(value)}" for c in CALLS if c.partition("(")[0] not in lacks.split())
    ]
] + MORE


def test_distributions_are_tensorflows(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    inputs = {"x": np.array([0.5, 1.5], np.float32), "y": np.array([-0.5, 2.5], np.float32)}
    every = EXPRESSIONS + REFUSED
    paths = [tmp_path / name for name in ("expressions.json", "inputs.npz", "values.npz")]
    paths[0].write_text(json.dumps(every))
    np.savez(paths[1], **inputs)  # type: ignore[arg-type]
    theirs = json.loads(tensorflow(PROGRAM, *paths).splitlines()[-1])
    space: dict[str, Any] = {"__name__": "distributions"}
    exec(PROGRAM, space)
    mine = space["evaluated"](gf, every, inputs)
    problems = []
    with np.load(paths[2]) as values:
        for i, (text, (told, _), (own, found)) in enumerate(zip(every, theirs, mine, strict=True)):
            if isinstance(told, str) or isinstance(own, str):
                if text in EXPRESSIONS or isinstance(told, str) != isinstance(own, str):
                    problems.append(f"{text}: {own}, TensorFlow: {told}")
                continue
            for j, array in enumerate(found):
                if why := difference(array, values[f"{i}/{j}"], 5e-5):
                    problems.append(f"{text} [{j}]: {why}")
    if problems:
        pytest.fail(f"{len(problems)} differ of {len(every)}:\n" + "\n".join(problems), pytrace=False)
