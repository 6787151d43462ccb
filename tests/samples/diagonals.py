"""Samples of the ops in `graphflow/ops/diagonals.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import Array, Sample, integers, samples, uniform
from tests.samples.layout import axis, ints


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


def number(value: int, dtype: Any = np.int32) -> Array:
    return np.array(value, dtype)


ALIGNMENTS = ("LEFT_RIGHT", "RIGHT_LEFT", "LEFT_LEFT", "RIGHT_RIGHT")
ZERO = np.array(0, np.float32)


def made_of_bands(attrs: dict[str, Any]) -> Iterator[Sample]:
    options: dict[str, Any] = {"differentiable": (0,), "constant": (1, 2, 3)}
    yield Sample([uniform(2, 3), ints(0), number(-1), number(-1), ZERO], attrs, **options)
    yield Sample(
        [uniform(2, 3), number(1), number(-1), number(-1), ZERO], attrs, differentiable=(0,), name="k fed"
    )
    yield Sample([uniform(3), number(-2), number(6), number(3), np.array(7, np.float32)], attrs, **options)
    yield Sample([uniform(2, 3, 4), ints(-1, 1), number(4), number(4), ZERO], attrs, **options)
    yield Sample(
        [uniform(2, 3), ints(1, 2), number(4), number(-1), ZERO], attrs, differentiable=(0,), name="fed"
    )
    yield Sample([integers(3), ints(0), number(-1), number(4), number(9)], attrs, differentiable=False)


def parts_of_bands(attrs: dict[str, Any]) -> Iterator[Sample]:
    options: dict[str, Any] = {"differentiable": (0,), "constant": (1,)}
    for k in (ints(0), number(1), ints(-2, 1), ints(-1, 3), ints(1, 2)):
        yield Sample([uniform(2, 4, 5), k, ZERO], attrs, **options)
    yield Sample([uniform(5, 3), ints(-3, -1), ZERO], attrs, differentiable=(0,), name="fed")
    yield Sample([integers(3, 3), ints(-1, 0), number(9)], attrs, differentiable=False)


def bands_put(attrs: dict[str, Any]) -> Iterator[Sample]:
    options: dict[str, Any] = {"differentiable": (0, 1), "constant": (2,)}
    yield Sample([uniform(2, 4, 5), uniform(2, 4, seed=8), ints(0)], attrs, **options)
    yield Sample([uniform(4, 5), uniform(4, 4, seed=8), ints(-1, 2)], attrs, **options)
    yield Sample(
        [uniform(5, 3), uniform(2, 3, seed=8), ints(-2, -1)], attrs, differentiable=(0, 1), name="fed"
    )


@samples("MatrixDiagV2")
def matrix_diag_v2() -> Iterator[Sample]:
    yield from made_of_bands({})


@samples("MatrixDiagV3")
def matrix_diag_v3() -> Iterator[Sample]:
    for align in ALIGNMENTS:
        yield from made_of_bands({"align": align})


@samples("MatrixDiagPartV2")
def matrix_diag_part_v2() -> Iterator[Sample]:
    yield from parts_of_bands({})


@samples("MatrixDiagPartV3")
def matrix_diag_part_v3() -> Iterator[Sample]:
    for align in ALIGNMENTS:
        yield from parts_of_bands({"align": align})


@samples("MatrixSetDiagV2")
def matrix_set_diag_v2() -> Iterator[Sample]:
    yield from bands_put({})


@samples("MatrixSetDiagV3")
def matrix_set_diag_v3() -> Iterator[Sample]:
    for align in ALIGNMENTS:
        yield from bands_put({"align": align})
