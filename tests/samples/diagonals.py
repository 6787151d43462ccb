"""Samples of the ops in `graphflow/ops/diagonals.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.samples import Sample, integers, samples, uniform
from tests.samples.layout import axis


@samples("Diag", "MatrixDiag")
def diagonals_made() -> Iterator[Sample]:
    yield Sample([uniform(4)])
    yield Sample([uniform(2, 3)], name="matrix")
    yield Sample([integers(3)], differentiable=False)


@samples("DiagPart")
def diag_part() -> Iterator[Sample]:
    yield Sample([uniform(4, 4)])
    yield Sample([uniform(2, 3, 2, 3)], name="four")


@samples("MatrixDiagPart")
def matrix_diag_part() -> Iterator[Sample]:
    for shape in ((4, 4), (2, 3, 5), (5, 3)):
        yield Sample([uniform(*shape)], name=str(shape))


@samples("MatrixSetDiag")
def matrix_set_diag() -> Iterator[Sample]:
    yield Sample([uniform(2, 3, 4), uniform(2, 3, seed=2)])
    yield Sample([integers(3, 3), integers(3, seed=2)], differentiable=False)


@samples("MatrixBandPart")
def matrix_band_part() -> Iterator[Sample]:
    for low, high in ((0, -1), (-1, 0), (1, 2), (-1, -1)):
        yield Sample(
            [uniform(2, 4, 5), axis(low, np.int64), axis(high, np.int64)], constant=(1, 2), differentiable=(0,),
            name=f"{low}_{high}",
        )  # fmt: skip
