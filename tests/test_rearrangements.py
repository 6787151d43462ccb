"""Ops that rearrange, pick, count and draw run natively: their bodies' bits, and no step of the host between others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.opdef import emit
from graphflow.plan import HostStep
from tests.test_lowering import check_run, hosts, numbers


def _x() -> Any:
    return gf.placeholder(gf.float32, [None, None, 5])


X = numbers(4, 6, 5)
Case = Callable[[], tuple[list[Any], list[Any], list[Any]]]


def mirrored() -> Any:
    x = _x()
    pairs = ([[0, 0], [2, 1], [1, 2]], [[1, 3], [2, 1], [0, 0]], [[0, 0], [0, 0], [0, 4]])
    padded = [gf.pad(x, pair, mode) for pair in pairs for mode in ("REFLECT", "SYMMETRIC")]
    back = [
        emit.MirrorPadGrad(x, np.int32([[0, 0], [2, 1], [1, 1]]), mode=mode)
        for mode in ("REFLECT", "SYMMETRIC")
    ]
    return (
        [*padded, *back, emit.MirrorPadGrad(x, np.int32([[0, 0], [0, 1], [2, 0]]), mode="SYMMETRIC")],
        [x],
        [X],
    )


def rolled() -> Any:
    x = _x()
    return [gf.roll(x, [1, -2], [0, 2]), gf.roll(x, 9, 1) * 2.0, gf.roll(x, [5, 5], [1, -2])], [x], [X]


def turned() -> Any:
    x, lengths = _x(), gf.placeholder(gf.int32, [None])
    by_time = gf.transpose(x, [1, 0, 2])
    made = [gf.reverse_sequence(x, lengths, 1, 0), gf.reverse_sequence(by_time, lengths, 0, 1) + 1.0]
    return made, [x, lengths], [X, np.int32([0, 3, 6, 1])]


def banded() -> Any:
    x, made = gf.placeholder(gf.float32, [None, 4, 6]), []
    for align in ("LEFT_RIGHT", "RIGHT_LEFT"):
        for k in (-2, (-1, 2), (-3, 5)):
            taken = emit.MatrixDiagPartV3(x, np.int32(k), np.float32(7), align=align)
            put = emit.MatrixSetDiagV3(x, taken * 2.0 + 1.0, np.int32(k), align=align)
            sizes = (np.int32(4), np.int32(6))
            made += [taken, put, emit.MatrixDiagV3(taken, np.int32(k), *sizes, np.float32(3), align=align)]
    return made, [x], [numbers(3, 4, 6)]


def diagonal() -> Any:
    x, line = gf.placeholder(gf.float32, [None, 4, 6]), gf.placeholder(gf.float32, [None, 4])
    square = gf.reshape(gf.tile(line[:2], [1, 2]), [2, 2, 2, 2])
    made = [
        gf.diag(line[0]),
        gf.diag(line),
        gf.diag_part(square),
        gf.matrix_diag(line),
        emit.MatrixDiag(line),
    ]
    made += [emit.MatrixSetDiag(x, line), emit.MatrixDiagPart(x)]
    return made, [x, line], [numbers(3, 4, 6), numbers(3, 4)]


def picked() -> Any:
    x, ids = gf.placeholder(gf.float32, [None, 5]), gf.placeholder(gf.int32, [None])
    indices, made = gf.placeholder(gf.int32, [None]), []
    for fold in (gf.sparse_segment_sum, gf.sparse_segment_mean, gf.sparse_segment_sqrt_n):
        rows = fold(x, indices, ids, num_segments=6)
        made += [rows, gf.gradients(rows * rows, x)[0]]
    known = np.int32([0, 0, 1, 1, 3, 3, 4])
    made += [fold(x, known) for fold in (gf.segment_sum, gf.segment_mean, gf.segment_max)]
    fed = [numbers(7, 5), np.int32([0, 3, 3, 6, 1]), np.int32([0, 0, 2, 2, 3])]
    return made, [x, indices, ids], fed


def counted() -> Any:
    values, weights = gf.placeholder(gf.int32, [None]), gf.placeholder(gf.float32, [None])
    made = [emit.Bincount(values, np.int32(5), each) for each in (np.zeros(0, np.float32), weights)]
    return made, [values, weights], [np.int32([1, 7, 2, 2, 0]), np.float32([1, 2, 3, 4, 5])]


def drawn_by_seed() -> Any:
    seed, made = gf.placeholder(gf.int64, [2]), []
    for dtype in ("bfloat16", "float32"):
        made += [
            emit.StatelessRandomUniform([101], seed, dtype=dtype),
            emit.StatelessTruncatedNormal([33], seed, dtype=dtype),
        ]
        made.append(emit.StatelessRandomNormal([7, 9], seed, dtype=dtype))
    made.append(emit.StatelessRandomUniform([9], seed, dtype="float64"))
    made += [emit.StatelessRandomUniformInt([50], seed, kind(-3), kind(9)) for kind in (np.int32, np.int64)]
    kinds = ("int32", "int64", "uint32", "uint64")
    made += [emit.StatelessRandomUniformFullInt([13], seed, dtype=dtype) for dtype in kinds]
    logits = numbers(4, 7)
    logits[0, 2], logits[1] = np.nan, -np.inf
    made += [emit.StatelessMultinomial(logits, np.int32(9), seed)]
    return made, [seed], [np.array([3, -7], np.int64)]


def drawn_by_key() -> Any:
    key, counter = gf.placeholder(gf.uint64, [1]), gf.placeholder(gf.uint64, [2])
    philox = np.int32(1)
    made = [
        emit.StatelessRandomUniformV2([100], key, counter, philox, dtype="float32"),
        emit.StatelessRandomNormalV2([10], key, counter, philox, dtype="float32"),
        emit.StatelessRandomUniformFullIntV2([10], key, counter, philox, dtype="uint64"),
        emit.StatelessRandomUniformIntV2([10], key, counter, philox, np.int32(0), np.int32(7)),
    ]
    return made, [key, counter], [np.array([2**63 + 5], np.uint64), np.array([2**64 - 3, 9], np.uint64)]


CASES = (mirrored, rolled, turned, banded, diagonal, picked, counted, drawn_by_seed, drawn_by_key)


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
def test_the_bits_of_the_bodies_without_the_host(case: Case) -> None:
    assert hosts(check_run(*case())) == []


def test_classes_are_drawn_natively_in_the_same_order() -> None:
    logits = gf.placeholder(gf.float32, [None, 7])
    plan = check_run([gf.multinomial(logits, 11, seed=3)], [logits], [numbers(5, 7)])
    # The session hands out the numbers of samples; nothing else is left to the host.
    assert all(step.with_store for step in plan.steps if isinstance(step, HostStep))


def test_what_the_bodies_refuse_is_refused() -> None:
    x, ids, indices = (
        gf.placeholder(t, [None, *more]) for t, more in ((gf.float32, [5]), (gf.int32, []), (gf.int32, []))
    )
    total = gf.sparse_segment_sum(x, indices, ids)
    images, lengths = _x(), gf.placeholder(gf.int32, [None])
    counts = emit.Bincount(ids, np.int32(5), np.zeros(0, np.float32))
    turned_round = gf.reverse_sequence(images, lengths, 1, 0)
    fed = {x: numbers(7, 5), indices: [0, 3, 6], ids: [0, 1, 1]}
    with gf.Session() as session:
        assert session.run(total, fed).shape == (2, 5)
        for more in ({indices: [0, 3, 7]}, {indices: [0, -3, 6]}, {ids: [0, 2, 1]}, {ids: [-1, 0, 0]}):
            with pytest.raises(gf.errors.InvalidArgumentError):
                session.run(total, {**fed, **more})
        with pytest.raises(gf.errors.InvalidArgumentError, match="non-negative"):
            session.run(counts, {ids: [2, -1]})
        with pytest.raises(gf.errors.InvalidArgumentError, match="seq_lens"):
            session.run(turned_round, {images: X, lengths: [1, 7, 0, 0]})
