"""`tf.contrib.distributions`: those of `gf.distributions` and more, with bijectors."""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.contrib.distributions.gaussian import (
    MultivariateNormalDiag as MultivariateNormalDiag,
    MultivariateNormalDiagWithSoftplusScale as MultivariateNormalDiagWithSoftplusScale,
    MultivariateNormalFullCovariance as MultivariateNormalFullCovariance,
    MultivariateNormalTriL as MultivariateNormalTriL,
)
from graphflow.contrib.distributions.mixtures import (
    Independent as Independent, Mixture as Mixture, MixtureSameFamily as MixtureSameFamily,
)
from graphflow.contrib.distributions.numbers import (
    Binomial as Binomial, Cauchy as Cauchy, Chi2 as Chi2, Gumbel as Gumbel, HalfNormal as HalfNormal,
    NegativeBinomial as NegativeBinomial,
)
from graphflow.contrib.distributions.parametrized import (
    BernoulliWithSigmoidProbs as BernoulliWithSigmoidProbs,
    BetaWithSoftplusConcentration as BetaWithSoftplusConcentration, Chi2WithAbsDf as Chi2WithAbsDf,
    ExponentialWithSoftplusRate as ExponentialWithSoftplusRate,
    GammaWithSoftplusConcentrationRate as GammaWithSoftplusConcentrationRate,
    InverseGammaWithSoftplusConcentrationRate as InverseGammaWithSoftplusConcentrationRate,
    LaplaceWithSoftplusScale as LaplaceWithSoftplusScale,
    StudentTWithAbsDfSoftplusScale as StudentTWithAbsDfSoftplusScale,
)
from graphflow.contrib.distributions.relaxed import (
    ExpRelaxedOneHotCategorical as ExpRelaxedOneHotCategorical, OneHotCategorical as OneHotCategorical,
    RelaxedBernoulli as RelaxedBernoulli, RelaxedOneHotCategorical as RelaxedOneHotCategorical,
)
from graphflow.contrib.distributions.transformed import TransformedDistribution as TransformedDistribution
from graphflow.contrib.distributions.univariate import (
    Deterministic as Deterministic, Geometric as Geometric, InverseGamma as InverseGamma, Logistic as Logistic,
    NormalWithSoftplusScale as NormalWithSoftplusScale, Poisson as Poisson, softplus_inverse as softplus_inverse,
)
from graphflow.distributions import (
    Bernoulli as Bernoulli, Beta as Beta, Categorical as Categorical, Dirichlet as Dirichlet,
    DirichletMultinomial as DirichletMultinomial, Distribution as Distribution, Exponential as Exponential,
    FULLY_REPARAMETERIZED as FULLY_REPARAMETERIZED, Gamma as Gamma, kl_divergence as kl_divergence,
    Laplace as Laplace, Multinomial as Multinomial, Normal as Normal, NOT_REPARAMETERIZED as NOT_REPARAMETERIZED,
    RegisterKL as RegisterKL, ReparameterizationType as ReparameterizationType, StudentT as StudentT,
    Uniform as Uniform,
)
from graphflow.namespace import lazy

if TYPE_CHECKING:
    from graphflow.contrib.distributions import bijectors as bijectors
else:
    __getattr__, __dir__ = lazy(__name__, ("bijectors",))
