"""Samples of the ops in `graphflow/ops/collectives.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, integers, samples, uniform

REDUCTIONS = ("sum", "prod", "min", "max")


@samples("GraphflowAllReduce")
def all_reduce() -> Iterator[Sample]:
    for number, reduction in enumerate(REDUCTIONS):
        values = [uniform(2, 3, seed=i + number) for i in range(3)]
        yield Sample([values], {"reduction": reduction, "devices": ["", "", ""]}, differentiable=False)
    yield Sample([[integers(4)]], {"reduction": "sum", "devices": [""]}, differentiable=False, name="one")


@samples("NcclAllReduce")
def nccl_all_reduce() -> Iterator[Sample]:
    attrs = {"num_devices": 1, "shared_name": "samples"}
    yield Sample([uniform(2, 3, dtype=np.float64)], {"reduction": "sum", **attrs})
    yield Sample([integers(3)], {"reduction": "max", **attrs}, differentiable=False)


@samples("NcclReduce")
def nccl_reduce() -> Iterator[Sample]:
    for number, reduction in enumerate(REDUCTIONS):
        values = [uniform(2, 3, dtype=np.float64, seed=i + number) for i in range(3)]
        yield Sample([values], {"reduction": reduction}, differentiable=reduction == "sum")
    yield Sample([[integers(3), integers(3)]], {"reduction": "sum"}, differentiable=False)
    yield Sample(
        [[np.array([np.nan, np.inf, 1.0], np.float32), np.zeros(3, np.float32)]],
        {"reduction": "sum"}, differentiable=False, name="edges",
    )  # fmt: skip
    yield Sample([[uniform(0, 2)] * 2], {"reduction": "min"}, differentiable=False, name="empty")


@samples("NcclBroadcast")
def nccl_broadcast() -> Iterator[Sample]:
    yield Sample([uniform(2, 3, dtype=np.float64)], {"shape": [2, 3]})
    yield Sample([integers()], {"shape": []}, differentiable=False, name="scalar")
