"""Samples of the samplers of classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, samples

TRUE = np.array([[1, 3], [0, 2]], np.int64)


@samples("UniformCandidateSampler", "LogUniformCandidateSampler")
def sampler_samples() -> Iterator[Sample]:
    for unique in (True, False):
        attrs = {"num_true": 2, "num_sampled": 7, "unique": unique, "range_max": 20}
        yield Sample([TRUE], {**attrs, "seed": 3, "seed2": 4}, exact=False)


@samples("FixedUnigramCandidateSampler")
def unigram_samples() -> Iterator[Sample]:
    attrs = {"num_true": 2, "num_sampled": 3, "unique": True, "range_max": 5, "unigrams": [1.0, 2, 3, 4, 5]}
    yield Sample([TRUE], {**attrs, "seed": 3, "seed2": 4}, exact=False)


@samples("AllCandidateSampler")
def all_samples() -> Iterator[Sample]:
    yield Sample([TRUE], {"num_true": 2, "num_sampled": 7, "unique": True}, exact=False)


@samples("ComputeAccidentalHits")
def hits_samples() -> Iterator[Sample]:
    for sampled in ([2, 9, 1], [8, 9], []):
        yield Sample([TRUE, np.array(sampled, np.int64)], {"num_true": 2})
