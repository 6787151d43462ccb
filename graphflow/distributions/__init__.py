"""`tf.distributions`: probability distributions as ops: samples, densities, figures, divergences."""

# ruff: noqa: I001
# fmt: off

from graphflow.distributions.counts import (
    DirichletMultinomial as DirichletMultinomial, Multinomial as Multinomial,
)
from graphflow.distributions.distribution import (
    FULLY_REPARAMETERIZED as FULLY_REPARAMETERIZED, NOT_REPARAMETERIZED as NOT_REPARAMETERIZED,
    Distribution as Distribution, RegisterKL as RegisterKL, ReparameterizationType as ReparameterizationType,
    kl_divergence as kl_divergence,
)
from graphflow.distributions.multivariate import Categorical as Categorical, Dirichlet as Dirichlet
from graphflow.distributions.univariate import (
    Bernoulli as Bernoulli, Beta as Beta, Exponential as Exponential, Gamma as Gamma, Laplace as Laplace,
    Normal as Normal, StudentT as StudentT, Uniform as Uniform,
)
