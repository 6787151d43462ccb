"""Distributions whose parameters are made fit: `softplus` makes them positive, a sigmoid probabilities."""

from __future__ import annotations

from typing import Any

from graphflow.contrib.distributions.numbers import Chi2
from graphflow.contrib.distributions.univariate import InverseGamma
from graphflow.distributions import Bernoulli, Beta, Exponential, Gamma, Laplace, StudentT
from graphflow.distributions.univariate import numbers
from graphflow.graph import name_scope
from graphflow.ops.elementwise import abs as absolute
from graphflow.ops.elementwise import floor, sigmoid, softplus


class BernoulliWithSigmoidProbs(Bernoulli):
    """`Bernoulli` with the probability `sigmoid(logits)`."""

    def __init__(
        self, logits: Any = None, dtype: Any = None, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "BernoulliWithSigmoidProbs",
    ) -> None:  # fmt: skip
        kind = {} if dtype is None else {"dtype": dtype}
        with name_scope(name):
            probs = sigmoid(numbers(logits)[0], name="sigmoid_probs")
        super().__init__(
            probs=probs, validate_args=validate_args, allow_nan_stats=allow_nan_stats, name=name, **kind
        )


class BetaWithSoftplusConcentration(Beta):
    """`Beta` with the softplus of its concentrations."""

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "BetaWithSoftplusConcentration",
    ) -> None:  # fmt: skip
        with name_scope(name):
            one, zero = (softplus(t) for t in numbers(concentration1, concentration0))
        super().__init__(one, zero, validate_args, allow_nan_stats, name)


class Chi2WithAbsDf(Chi2):
    """`Chi2` with `floor(abs(df))` degrees of freedom."""

    def __init__(
        self, df: Any, validate_args: bool = False, allow_nan_stats: bool = True, name: str = "Chi2WithAbsDf",
    ) -> None:  # fmt: skip
        with name_scope(name):
            whole = floor(absolute(numbers(df)[0]))
        super().__init__(whole, validate_args, allow_nan_stats, name)


class ExponentialWithSoftplusRate(Exponential):
    """`Exponential` with the softplus of its rate."""

    def __init__(
        self, rate: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "ExponentialWithSoftplusRate",
    ) -> None:  # fmt: skip
        with name_scope(name):
            own = softplus(numbers(rate)[0])
        super().__init__(own, validate_args, allow_nan_stats, name)


class GammaWithSoftplusConcentrationRate(Gamma):
    """`Gamma` with the softplus of its parameters."""

    def __init__(
        self, concentration: Any, rate: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "GammaWithSoftplusConcentrationRate",
    ) -> None:  # fmt: skip
        with name_scope(name):
            shape, own = (softplus(t) for t in numbers(concentration, rate))
        super().__init__(shape, own, validate_args, allow_nan_stats, name)


class InverseGammaWithSoftplusConcentrationRate(InverseGamma):
    """`InverseGamma` with the softplus of its parameters."""

    def __init__(
        self, concentration: Any, rate: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "InverseGammaWithSoftplusConcentrationRate",
    ) -> None:  # fmt: skip
        with name_scope(name):
            shape, own = (softplus(t) for t in numbers(concentration, rate))
        super().__init__(shape, own, validate_args, allow_nan_stats, name)


class LaplaceWithSoftplusScale(Laplace):
    """`Laplace` with the softplus of its scale."""

    def __init__(
        self, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "LaplaceWithSoftplusScale",
    ) -> None:  # fmt: skip
        with name_scope(name):
            where, raw = numbers(loc, scale)
            own = softplus(raw)
        super().__init__(where, own, validate_args, allow_nan_stats, name)


class StudentTWithAbsDfSoftplusScale(StudentT):
    """`StudentT` with `floor(abs(df))` degrees of freedom and the softplus of its scale."""

    def __init__(
        self, df: Any, loc: Any, scale: Any, validate_args: bool = False, allow_nan_stats: bool = True,
        name: str = "StudentTWithAbsDfSoftplusScale",
    ) -> None:  # fmt: skip
        with name_scope(name):
            freedom, where, raw = numbers(df, loc, scale)
            whole, own = floor(absolute(freedom)), softplus(raw)
        super().__init__(whole, where, own, validate_args, allow_nan_stats, name)


__all__ = [
    "BernoulliWithSigmoidProbs", "BetaWithSoftplusConcentration", "Chi2WithAbsDf", "ExponentialWithSoftplusRate",
    "GammaWithSoftplusConcentrationRate", "InverseGammaWithSoftplusConcentrationRate", "LaplaceWithSoftplusScale",
    "StudentTWithAbsDfSoftplusScale",
]  # fmt: skip
