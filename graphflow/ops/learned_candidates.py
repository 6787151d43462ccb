"""Samplers of classes that learn how frequent classes are: from the true classes that they were shown."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from graphflow.opdef import OpDef, op
from graphflow.ops.candidates import (
    COUNTS,
    OUTPUTS,
    PER_SAMPLE,
    SEEDED,
    Samples,
    check_true,
    sample,
    sampled,
    sampler_shape,
)
from graphflow.ops.datasets import given_or_drawn
from graphflow.ops.draws import Draws
from graphflow.ops.rules import Array, refuse
from graphflow.resources import Resource


class _Frequencies(Resource):
    """How often each class was seen, and how far the generator is."""

    kind: ClassVar[str] = "sampler"

    def __init__(self, count: int, key: tuple[int, int]) -> None:
        super().__init__()
        self.seen = np.ones(count, np.int64)  # once each before anything is
        self.key = key
        self.counter = 0

    def draw(self, true: Array, count: int, unique: bool) -> tuple[Array, Array, Array]:
        """Samples by what was seen before, and counts the true classes."""
        with self.changed:
            until = np.cumsum(self.seen)
            total = int(until[-1])
            draws = Draws(self.key, self.counter)
            self.counter += PER_SAMPLE * count
            found = sampled(
                true, count, unique, len(self.seen),
                lambda: int(np.searchsorted(until, draws.below(total), side="right")),
                lambda classes: self.seen[classes].astype(np.float32) / np.float32(total),
            )  # fmt: skip
            np.add.at(self.seen, true.reshape(-1), 1)
            return found


def _body(
    true_classes: Array, *, num_true: int, num_sampled: int, unique: bool, range_max: int, seed: int, seed2: int,
    context: Any, node_name: str,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Classes by how often they were true ones before."""
    check_true(true_classes, num_true)
    if (true_classes < 0).any() or (true_classes >= range_max).any():
        raise refuse(f"true_classes must lie in [0, {range_max})")
    learned = context.resources.get(
        _Frequencies, lambda: _Frequencies(range_max, given_or_drawn(seed, seed2)),
        container="", shared_name="", node_name=node_name,
    )  # fmt: skip
    made: tuple[Array, Array, Array] = learned.draw(true_classes, num_sampled, unique)
    return made


def _declared(op_type: str) -> OpDef:
    return op(op_type, "true_classes:int64", OUTPUTS, f"{COUNTS}; range_max:int>=1; {SEEDED}", infer=sampler_shape,
              effects="host", differentiable=False)(_body)  # fmt: skip


learned_unigram_candidate_sampler_op = _declared("LearnedUnigramCandidateSampler")
thread_unsafe_unigram_candidate_sampler_op = _declared("ThreadUnsafeUnigramCandidateSampler")


def learned_unigram_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, range_max: int, seed: int | None = None,
    name: str | None = None,
) -> Samples:  # fmt: skip
    """Draws classes by how often they were among the true ones in earlier runs; see `uniform_candidate_sampler`."""
    return sample("LearnedUnigramCandidateSampler", true_classes, seed, name, num_true=num_true,
                  num_sampled=num_sampled, unique=unique, range_max=range_max)  # fmt: skip


__all__ = ["learned_unigram_candidate_sampler"]
