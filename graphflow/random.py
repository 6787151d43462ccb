"""`tf.random`: random numbers.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.graph import get_seed as get_seed, set_random_seed as set_random_seed
from graphflow.ops.distributions import random_gamma as _random_gamma, random_poisson as _random_poisson
from graphflow.ops.random import (
    categorical as categorical, multinomial as multinomial, random_normal as _random_normal,
    random_shuffle as _random_shuffle, random_uniform as _random_uniform,
    truncated_normal as truncated_normal,
)
from graphflow.ops.stateless import (
    stateless_categorical as stateless_categorical, stateless_multinomial as stateless_multinomial,
    stateless_normal as stateless_normal, stateless_truncated_normal as stateless_truncated_normal,
    stateless_uniform as stateless_uniform,
)
from graphflow.namespace import lazy

# Other names of the same.
gamma = _random_gamma
normal = _random_normal
poisson = _random_poisson
shuffle = _random_shuffle
uniform = _random_uniform

_LATER = {
    **dict.fromkeys(
        (
            "all_candidate_sampler", "fixed_unigram_candidate_sampler", "log_uniform_candidate_sampler",
            "uniform_candidate_sampler",
        ),
        "graphflow.ops.candidates",
    ),
    "learned_unigram_candidate_sampler": "graphflow.ops.learned_candidates",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, (), _LATER)
