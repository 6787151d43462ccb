"""Samples of recurrent cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow.opdef import get_op
from tests.samples import Array, Sample, samples, uniform

BATCH, DEPTH, UNITS, TIME = 3, 2, 4, 5
TIGHT = {"rtol": 1e-5, "atol": 1e-5}


def weights(dtype: type = np.float32) -> list[Array]:
    peepholes = [uniform(UNITS, seed=seed) for seed in (11, 12, 13)]
    w = [uniform(DEPTH + UNITS, 4 * UNITS, low=-1, high=1, seed=10), *peepholes, uniform(4 * UNITS, seed=14)]
    return [a.astype(dtype) for a in w]


def states(dtype: type = np.float32) -> list[Array]:
    parts = [
        uniform(BATCH, DEPTH),
        uniform(BATCH, UNITS, low=-1, high=1, seed=8),
        uniform(BATCH, UNITS, seed=9),
    ]
    return [a.astype(dtype) for a in parts]


@samples("LSTMBlockCell")
def lstm_cell_samples() -> Iterator[Sample]:
    for peephole in (False, True):
        attrs = {"use_peephole": peephole, "cell_clip": 0.0, "forget_bias": 0.5}
        # TensorFlow has the gradient of the state and of the output alone.
        yield Sample([*states(), *weights()], attrs, False, **TIGHT)
    yield Sample([*states(), *weights()], {"cell_clip": 0.3}, False, name="clipped", **TIGHT)
    yield Sample([*states(np.float16), *weights(np.float16)], {}, False, rtol=1e-2, atol=1e-2)


@samples("LSTMBlockCellGrad")
def lstm_cell_grad_samples() -> Iterator[Sample]:
    for peephole in (False, True):
        inputs = [*states(), *weights()]
        made = get_op("LSTMBlockCell").body(*inputs, use_peephole=peephole, cell_clip=0.0)
        grads = [uniform(BATCH, UNITS, seed=seed) for seed in (20, 21)]
        yield Sample([*inputs, *made[:6], *grads], {"use_peephole": peephole}, False, **TIGHT)


def sequence(dtype: type = np.float32, length: int = TIME) -> list[Array]:
    x = uniform(TIME, BATCH, DEPTH).astype(dtype)
    return [np.array(length, np.int64), x, *states(dtype)[1:], *weights(dtype)]


@samples("BlockLSTM", "BlockLSTMV2")
def block_samples() -> Iterator[Sample]:
    for peephole in (False, True):
        yield Sample(sequence(), {"use_peephole": peephole, "cell_clip": 0.0}, False, constant=(0,), **TIGHT)
    yield Sample(sequence(), {"cell_clip": 0.3}, False, name="clipped", **TIGHT)
    yield Sample(sequence(length=3), {}, False, name="shorter", **TIGHT)


def block_grads(op_type: str) -> Iterator[Sample]:
    for peephole in (False, True):
        inputs = sequence()
        made = get_op(op_type).body(*inputs, use_peephole=peephole, cell_clip=0.0)
        grads = [uniform(TIME, BATCH, UNITS, seed=seed) for seed in (20, 21)]
        yield Sample([*inputs, *made, *grads], {"use_peephole": peephole}, False, rtol=1e-4, atol=1e-4)


@samples("BlockLSTMGrad")
def block_grad_samples() -> Iterator[Sample]:
    yield from block_grads("BlockLSTM")


@samples("BlockLSTMGradV2")
def block_grad_v2_samples() -> Iterator[Sample]:
    yield from block_grads("BlockLSTMV2")


def gru_inputs() -> list[Array]:
    rows = DEPTH + UNITS
    return [
        uniform(BATCH, DEPTH), uniform(BATCH, UNITS, seed=8), uniform(rows, 2 * UNITS, seed=9),
        uniform(rows, UNITS, seed=10), uniform(2 * UNITS, seed=11), uniform(UNITS, seed=12),
    ]  # fmt: skip


@samples("GRUBlockCell")
def gru_samples() -> Iterator[Sample]:
    yield Sample(gru_inputs(), {}, False, **TIGHT)
    yield Sample(
        gru_inputs(), {}, False, shapes={0: (None, DEPTH), 1: (None, UNITS)}, name="batch open", **TIGHT
    )


@samples("GRUBlockCellGrad")
def gru_grad_samples() -> Iterator[Sample]:
    inputs = gru_inputs()
    r, u, c, _ = get_op("GRUBlockCell").body(*inputs)
    yield Sample([*inputs, r, u, c, uniform(BATCH, UNITS, seed=20)], {}, False, **TIGHT)
