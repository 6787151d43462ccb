"""Samples of optimizer updates; at the place of a handle stands the value of the variable or slot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphflow.opdef import get_op
from tests.samples import FLOATS, Array, Sample, samples, uniform

RATES = {
    "lr": 0.1, "alpha": 0.3, "momentum": 0.9, "rho": 0.95, "epsilon": 1e-3, "beta1": 0.9, "beta2": 0.99, "beta": 0.9,
    "beta1_power": 0.81, "beta2_power": 0.98, "l1": 0.05, "l2": 0.02, "l2_shrinkage": 0.01, "lr_power": -0.5,
    "logbase": 1.0, "sign_decay": 0.7,
}  # fmt: skip
DENSE = (
    "ResourceApplyGradientDescent", "ResourceApplyMomentum", "ResourceApplyKerasMomentum", "ResourceApplyAdagrad",
    "ResourceApplyAdagradV2", "ResourceApplyAdadelta", "ResourceApplyAdagradDA", "ResourceApplyAdam",
    "ResourceApplyAdamWithAmsgrad", "ResourceApplyAdaMax", "ResourceApplyRMSProp", "ResourceApplyCenteredRMSProp",
    "ResourceApplyFtrl", "ResourceApplyFtrlV2", "ResourceApplyProximalGradientDescent", "ResourceApplyProximalAdagrad",
    "ResourceApplyAddSign", "ResourceApplyPowerSign",
)  # fmt: skip
SPARSE = (
    "ResourceSparseApplyMomentum", "ResourceSparseApplyKerasMomentum", "ResourceSparseApplyAdagrad",
    "ResourceSparseApplyAdagradV2", "ResourceSparseApplyAdadelta", "ResourceSparseApplyAdagradDA",
    "ResourceSparseApplyRMSProp", "ResourceSparseApplyCenteredRMSProp", "ResourceSparseApplyFtrl",
    "ResourceSparseApplyFtrlV2", "ResourceSparseApplyProximalGradientDescent", "ResourceSparseApplyProximalAdagrad",
)  # fmt: skip


def update_sample(
    op_type: str, dtype: Any, attrs: dict[str, Any], indices: Array | None = None, **rates: float
) -> Sample:
    """A variable of three rows, slots that fit it, a gradient, and the usual rates."""
    op_def = get_op(op_type)
    values: list[Array] = []
    for i, arg in enumerate(op_def.inputs):
        if i in op_def.updates:
            low = -1.0 if arg.name in ("var", "m", "mom", "linear", "mg") else 0.5
            values.append(uniform(3, 4, low=low, high=1.5, dtype=dtype, seed=20 + i))
        elif arg.name in ("grad", "delta"):
            rows = 3 if indices is None else len(indices)
            values.append(uniform(rows, 4, dtype=dtype, seed=20 + i))
        elif arg.name == "indices":
            assert indices is not None
            values.append(indices)
        elif arg.name == "global_step":
            values.append(np.array(3, np.int64))
        else:
            values.append(np.array((RATES | rates)[arg.name], dtype))
    if "Centered" in op_type:
        values[2] = values[1] ** 2 + values[2]  # a mean of squares is at least the square of the mean
    return Sample(values, attrs, rtol=1e-5, atol=1e-6)


def _options(op_type: str) -> Iterator[dict[str, Any]]:
    yield {}
    for option, value in (("use_nesterov", True), ("update_slots", False), ("multiply_linear_by_lr", True)):
        if option in get_op(op_type).attrs:
            yield {option: value}


def _register(op_type: str, sparse: bool) -> None:
    def generate() -> Iterator[Sample]:
        for dtype in FLOATS:
            for attrs in _options(op_type):
                if not sparse:
                    yield update_sample(op_type, dtype, attrs)
                    continue
                yield update_sample(op_type, dtype, attrs, np.array([2, 0], np.int32))
                yield update_sample(op_type, dtype, attrs, np.array([1, 1, 0], np.int64))
        if "Ftrl" in op_type:
            yield update_sample(
                op_type, np.float32, {}, np.array([2, 0], np.int32) if sparse else None, lr_power=-0.7
            )

    samples(op_type)(generate)


for _op_type in DENSE:
    _register(_op_type, False)
for _op_type in SPARSE:
    _register(_op_type, True)
