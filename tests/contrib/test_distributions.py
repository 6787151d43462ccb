"""contrib's distributions and bijectors against SciPy's, numerical derivatives, and means of many samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import graphflow as gf

# ruff: noqa: E501 - a case is a line

Array = np.ndarray[Any, Any]
rng = np.random.default_rng(3)
TRIANGLE = np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.1, 0.7]])
COVARIANCE = TRIANGLE @ TRIANGLE.T
POINTS = rng.normal(size=(4, 3))
MEAN = np.array([0.5, -1.0, 2.0])
HARD = np.eye(3)
SIGMOID, SOFT = 1 / (1 + np.exp(-0.5)), np.log1p(np.exp(0.5))
SHARES = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])


def _mixture(x: Array) -> Array:
    return np.log(0.3 * stats.norm.pdf(x, -1, 0.5) + 0.7 * stats.norm.pdf(x, 2, 1.5))


def _concrete(x: Array) -> Array:
    """The density of a relaxed one-hot vector at temperature 0.7 and probabilities 0.2, 0.5, 0.3."""
    k, t, p = 3, 0.7, np.array([0.2, 0.5, 0.3])
    return np.log(2.0) + (k - 1) * np.log(t) + np.log(
        np.prod(p * x ** (-t - 1), -1) / np.sum(p * x**-t, -1) ** k
    )  # fmt: skip


# The distribution, values, and the logarithm of the density there; mean and variance of samples are held against
# the distribution's own, which are held against SciPy's where there are some.
CASES: list[tuple[str, Array, Callable[[Array], Any], Any]] = [
    ("d.Poisson(3.5)", np.arange(6.0), lambda x: stats.poisson.logpmf(x, 3.5), stats.poisson(3.5)),
    ("d.Poisson(log_rate=np.log(3.5))", np.arange(6.0), lambda x: stats.poisson.logpmf(x, 3.5), None),
    ("d.Geometric(probs=0.3)", np.arange(6.0), lambda x: stats.geom.logpmf(x + 1, 0.3), stats.geom(0.3, -1)),
    ("d.Logistic(1.0, 2.0)", POINTS[0], lambda x: stats.logistic.logpdf(x, 1, 2), stats.logistic(1, 2)),
    ("d.InverseGamma(5.5, 2.0)", np.array([0.2, 1.0, 3.0]), lambda x: stats.invgamma.logpdf(x, 5.5, 0, 2), stats.invgamma(5.5, 0, 2)),
    ("d.NormalWithSoftplusScale(1.0, 0.5)", POINTS[0], lambda x: stats.norm.logpdf(x, 1, np.log1p(np.exp(0.5))), None),
    ("d.Deterministic(2.0, atol=0.1)", np.array([2.05]), lambda x: 0.0 * x, None),
    ("d.Binomial(9.0, probs=0.3)", np.arange(10.0), lambda x: stats.binom.logpmf(x, 9, 0.3), stats.binom(9, 0.3)),
    ("d.NegativeBinomial(4.0, probs=0.3)", np.arange(9.0), lambda x: stats.nbinom.logpmf(x, 4, 0.7), stats.nbinom(4, 0.7)),
    ("d.NegativeBinomial([4.0, 0.5], logits=[0.3, -0.5])", np.array([[2.0, 1.0]]), lambda x: stats.nbinom.logpmf(x, [4, 0.5], 1 / (1 + np.exp([0.3, -0.5]))), None),
    ("d.Cauchy(1.0, 2.0)", POINTS[0], lambda x: stats.cauchy.logpdf(x, 1, 2), None),
    ("d.Gumbel(1.0, 2.0)", POINTS[0], lambda x: stats.gumbel_r.logpdf(x, 1, 2), stats.gumbel_r(1, 2)),
    ("d.HalfNormal(1.5)", np.abs(POINTS[0]), lambda x: stats.halfnorm.logpdf(x, 0, 1.5), stats.halfnorm(0, 1.5)),
    ("d.Chi2(7.0)", np.abs(POINTS[0]), lambda x: stats.chi2.logpdf(x, 7), stats.chi2(7)),
    ("d.Chi2WithAbsDf(-7.5)", np.abs(POINTS[0]), lambda x: stats.chi2.logpdf(x, 7), stats.chi2(7)),
    ("d.BernoulliWithSigmoidProbs(0.5)", np.array([0.0, 1.0]), lambda x: stats.bernoulli.logpmf(x, SIGMOID), None),
    ("d.BetaWithSoftplusConcentration(0.5, 0.5)", SHARES[0], lambda x: stats.beta.logpdf(x, SOFT, SOFT), stats.beta(SOFT, SOFT)),
    ("d.ExponentialWithSoftplusRate(0.5)", SHARES[0], lambda x: stats.expon.logpdf(x, 0, 1 / SOFT), stats.expon(0, 1 / SOFT)),
    ("d.GammaWithSoftplusConcentrationRate(0.5, 0.5)", SHARES[0], lambda x: stats.gamma.logpdf(x, SOFT, 0, 1 / SOFT), stats.gamma(SOFT, 0, 1 / SOFT)),
    ("d.InverseGammaWithSoftplusConcentrationRate(5.5, 0.5)", SHARES[0], lambda x: stats.invgamma.logpdf(x, np.log1p(np.exp(5.5)), 0, SOFT), None),
    ("d.LaplaceWithSoftplusScale(1.0, 0.5)", POINTS[0], lambda x: stats.laplace.logpdf(x, 1, SOFT), stats.laplace(1, SOFT)),
    ("d.StudentTWithAbsDfSoftplusScale(-7.2, 1.0, 0.5)", POINTS[0], lambda x: stats.t.logpdf(x, 7, 1, SOFT), stats.t(7, 1, SOFT)),
    ("d.MultivariateNormalDiag(MEAN, [1.0, 2.0, 0.5])", POINTS, lambda x: stats.multivariate_normal.logpdf(x, MEAN, np.diag([1, 4, 0.25])), None),
    ("d.MultivariateNormalDiag(MEAN)", POINTS, lambda x: stats.multivariate_normal.logpdf(x, MEAN, np.eye(3)), None),
    ("d.MultivariateNormalTriL(MEAN, TRIANGLE)", POINTS, lambda x: stats.multivariate_normal.logpdf(x, MEAN, COVARIANCE), None),
    ("d.MultivariateNormalFullCovariance(MEAN, COVARIANCE)", POINTS, lambda x: stats.multivariate_normal.logpdf(x, MEAN, COVARIANCE), None),
    ("d.MixtureSameFamily(d.Categorical(probs=np.array([0.3, 0.7])), d.Normal(np.array([-1.0, 2.0]), [0.5, 1.5]))", POINTS[0], _mixture, None),
    ("d.Mixture(d.Categorical(probs=np.array([0.3, 0.7])), [d.Normal(np.float64(-1.0), 0.5), d.Normal(np.float64(2.0), 1.5)])", POINTS[0], _mixture, None),
    ("d.Independent(d.Normal(MEAN, 1.0), 1)", POINTS, lambda x: stats.norm.logpdf(x, MEAN).sum(-1), None),
    ("d.OneHotCategorical(probs=np.array([0.2, 0.5, 0.3]), dtype=gf.float64)", HARD, lambda x: np.log(x @ [0.2, 0.5, 0.3]), None),
    ("d.RelaxedOneHotCategorical(0.7, probs=np.array([0.2, 0.5, 0.3]))", SHARES, _concrete, None),
    ("d.ExpRelaxedOneHotCategorical(0.7, probs=np.array([0.2, 0.5, 0.3]))", np.log(SHARES), lambda x: _concrete(np.exp(x)) + x.sum(-1), None),
    ("d.TransformedDistribution(d.Normal(np.float64(0.3), 0.5), b.Exp())", np.array([0.2, 1.0, 3.0]), lambda x: stats.lognorm.logpdf(x, 0.5, 0, np.exp(0.3)), None),
    ("d.TransformedDistribution(d.Normal(np.float64(0.0), 1.0), b.Affine(MEAN, scale_tril=TRIANGLE), event_shape=[3])", POINTS, lambda x: stats.multivariate_normal.logpdf(x, MEAN, COVARIANCE), None),
]  # fmt: skip
BIJECTORS = {
    "b.Exp()": 0, "b.Sigmoid()": 0, "b.Tanh()": 0, "b.Softplus()": 0, "b.Softplus(hinge_softness=0.5)": 0,
    "b.AffineScalar(1.0, -2.0)": 0, "b.Invert(b.Softplus())": 0, "b.Identity()": 0,
    "b.Affine(MEAN, scale_tril=TRIANGLE)": 1, "b.Affine(scale_diag=MEAN, scale_identity_multiplier=0.3)": 1,
    "b.Permute([2, 0, 1])": 1, "b.Chain([b.Exp(), b.Affine(MEAN, scale_tril=TRIANGLE), b.Tanh()])": 1,
}  # fmt: skip


def evaluated(text: str) -> Any:
    d = gf.contrib.distributions
    return eval(text, {"gf": gf, "np": np, "d": d, "b": d.bijectors, **{k: globals()[k] for k in _NAMED}})


_NAMED = ("MEAN", "TRIANGLE", "COVARIANCE")


def run(fetches: Any) -> Any:
    with gf.Session() as session:
        return session.run(fetches)


def test_densities_are_scipys() -> None:
    asked = []
    with gf.Graph().as_default():
        for text, values, _, frozen in CASES:
            one = evaluated(text)
            own = gf.cast(values, one.dtype)
            asked.append([one.log_prob(own), *([one.mean(), one.variance(), one.cdf(own)] if frozen else [])])
        found = run(asked)
    for (text, values, expected, frozen), (density, *figures) in zip(CASES, found, strict=True):
        rtol = 1e-9 if density.dtype == np.float64 else 1e-4
        np.testing.assert_allclose(density, expected(values), rtol, 1e-5, err_msg=text)
        if frozen:
            told = [frozen.mean(), frozen.var(), frozen.cdf(values)]
            for mine, theirs in zip(figures, told, strict=True):
                np.testing.assert_allclose(mine, theirs, 1e-4, err_msg=text)


def test_samples_have_the_mean_and_variance_of_the_distribution() -> None:
    count = 20_000
    asked, texts = [], []
    with gf.Graph().as_default():
        for text, *_ in CASES:
            one = evaluated(text)
            if any(word in text for word in ("Relaxed", "Transformed", "Cauchy")):
                continue
            texts.append(text)
            drawn = one.sample(count, seed=7)
            shape = [count, *one.batch_shape.as_list(), *one.event_shape.as_list()]
            assert drawn.shape.as_list() == shape
            asked.append([drawn, one.mean(), one.variance()])
        found = run(asked)
    for text, (drawn, mean, variance) in zip(texts, found, strict=True):
        off = np.sqrt(variance / count) + 1e-6
        assert np.all(np.abs(drawn.mean(0) - mean) < 5 * off), text
        np.testing.assert_allclose(drawn.var(0), variance, 0.2, 1e-6, err_msg=text)


def test_cauchy_has_quartiles_and_no_mean() -> None:
    d = gf.contrib.distributions
    with gf.Graph().as_default():
        one = d.Cauchy(1.0, 2.0)
        drawn, mean, quarters = run([one.sample(20_000, seed=7), one.mean(), one.quantile([0.25, 0.5, 0.75])])
        with pytest.raises(ValueError, match="undefined for Cauchy"):
            d.Cauchy(1.0, 2.0, allow_nan_stats=False).mean()
    assert np.isnan(mean)
    np.testing.assert_allclose(quarters, [-1.0, 1.0, 3.0], rtol=1e-5)
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), [-1.0, 1.0, 3.0], atol=0.1)


def test_divergences() -> None:
    pairs = [
        ("d.MultivariateNormalDiag(MEAN, [1.0, 2.0, 0.5])", "d.MultivariateNormalTriL(None, TRIANGLE)"),
        ("d.MultivariateNormalDiag(MEAN, [1.0, 2.0, 0.5])", "d.MultivariateNormalDiag(MEAN * 0.5)"),
        ("d.Independent(d.Normal(MEAN, 1.0), 1)", "d.Independent(d.Normal(MEAN * 0.5, 2.0), 1)"),
        ("d.InverseGamma(5.5, 2.0)", "d.InverseGamma(4.0, 1.0)"),
    ]
    with gf.Graph().as_default():
        asked = []
        for texts in pairs:
            first, second = map(evaluated, texts)
            x = first.sample(50_000, seed=2)
            asked.append(
                [first.kl_divergence(second), gf.reduce_mean(first.log_prob(x) - second.log_prob(x))]
            )
        for texts, (exact, sampled) in zip(pairs, run(asked), strict=True):
            np.testing.assert_allclose(exact, sampled, 0.05, err_msg=str(texts))


def test_bijectors_turn_back_and_know_their_derivatives() -> None:
    x, step = np.abs(POINTS) * 0.3 + 0.1, 1e-6
    asked = []
    with gf.Graph().as_default():
        for text, rank in BIJECTORS.items():
            one = evaluated(text)
            own = gf.constant(x)
            if "AffineScalar" in text:
                own = gf.cast(own, gf.float32)
            y = one.forward(own)
            moved = [one.forward(own + gf.cast(step * np.eye(3)[i], own.dtype)) for i in range(3)]
            asked.append([
                y, one.inverse(y), one.forward_log_det_jacobian(own, 1), one.inverse_log_det_jacobian(y, 1),
                *(moved if own.dtype == gf.float64 else []),
            ])  # fmt: skip
            assert one.forward_min_event_ndims == rank, text
        found = run(asked)
    for text, (y, back, there, here, *moved) in zip(BIJECTORS, found, strict=True):
        np.testing.assert_allclose(back, x, 1e-5, err_msg=text)
        np.testing.assert_allclose(there, -here, 1e-5, 1e-6, err_msg=text)
        if moved:
            jacobian = np.stack([(m - y) / step for m in moved], -1)
            np.testing.assert_allclose(
                there, np.log(np.abs(np.linalg.det(jacobian))), 1e-4, 1e-4, err_msg=text
            )
        else:
            np.testing.assert_allclose(there, 3 * np.log(2.0), 1e-6)


def test_gradients_flow_through_relaxed_samples() -> None:
    with gf.Graph().as_default():
        logits = gf.constant([0.2, 0.5, -0.3])
        d = gf.contrib.distributions
        for one in (d.RelaxedOneHotCategorical(0.5, logits), d.RelaxedBernoulli(0.5, logits)):
            (slope,) = gf.gradients(gf.reduce_sum(one.sample(4, seed=1)[..., 0]), logits)
            assert np.abs(run(slope)).max() > 1e-3


def test_refused() -> None:
    d = gf.contrib.distributions
    with gf.Graph().as_default():
        with pytest.raises(ValueError, match="exactly one"):
            d.Poisson(1.0, 1.0)
        with pytest.raises(ValueError, match="at least one"):
            d.MultivariateNormalDiag()
        with pytest.raises(ValueError, match="3 components"):
            d.MixtureSameFamily(d.Categorical([0.0, 0.0]), d.Normal([0.0, 1.0, 2.0], 1.0))
        with pytest.raises(TypeError, match="Categorical"):
            d.Mixture(d.Normal(0.0, 1.0), [d.Normal(0.0, 1.0)])
        with pytest.raises(ValueError, match="2 vs. 1"):
            d.Mixture(d.Categorical([0.0, 0.0]), [d.Normal(0.0, 1.0)])
        with pytest.raises(ValueError, match="event_shape is given"):
            d.TransformedDistribution(d.MultivariateNormalDiag([0.0]), d.bijectors.Exp(), event_shape=[2])
        with pytest.raises(NotImplementedError, match="entropy"):
            d.RelaxedBernoulli(0.5, 0.0).entropy()
