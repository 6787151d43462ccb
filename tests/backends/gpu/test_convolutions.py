"""Convolutions as a device's library makes them: filters turned, what cannot be made at their end done after them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu import dnn
from graphflow.backends.gpu.convolutions import ConvPlan
from graphflow.backends.gpu.host_device import HostDevice
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.backends.gpu.steps import Convolution, Step, walk


def _steps(plan: Any) -> list[Step]:
    assert isinstance(plan, DevicePlan)
    found: list[Step] = []
    walk(plan.device_steps, found.append)
    return found


@pytest.mark.parametrize("library", [True, False])
def test_with_a_library_and_without(
    library: bool, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    asked: list[str] = []
    conv = HostDevice.conv

    def seen(self: HostDevice, plan: ConvPlan, pointers: Any, workspace: int) -> None:
        asked.append(f"{plan.direction} {plan.tail}")
        conv(self, plan, pointers, workspace)

    monkeypatch.setattr(HostDevice, "conv", seen)
    if not library:
        monkeypatch.setattr(HostDevice, "convolution", lambda self, plan: None)
    x, w = random.standard_normal((2, 5, 6, 3)), random.standard_normal((2, 2, 3, 4))
    images = gf.placeholder(gf.float32, [None, 5, 6, 3])
    filters, bias = gf.Variable(w.astype(np.float32)), gf.Variable(np.arange(4, dtype=np.float32))
    h = gf.nn.relu(gf.nn.conv2d(images, filters, [1, 2, 1, 1], "SAME") + bias)
    dx, dw = gf.gradients(gf.reduce_sum(h * h), [images, filters])
    fetches = [h, dx, filters.assign_sub(0.1 * dw)]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        wanted = session.interpreted(fetches, {images: x})
        steps = _steps(session.plan(fetches, {images: x}))
        found = session.run(fetches, {images: x})
        (alone,) = [
            step.plan for step in _steps(session.plan(h, {images: x})) if isinstance(step, Convolution)
        ]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    plans = [step.plan for step in steps if isinstance(step, Convolution)]
    assert {plan.direction for plan in plans} == {"forward", "input", "filter"}
    assert sorted(asked) == sorted(f"{plan.direction} {plan.tail}" for plan in plans if library)
    assert (alone.direction, alone.tail) == ("forward", "relu_bias")
    assert (alone.batch, alone.out_height, alone.padding) == (2, 3, ((0, 1), (0, 1)))


@pytest.mark.parametrize("library", [True, False])
def test_in_bfloat16(library: bool, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator) -> None:
    if not library:
        monkeypatch.setattr(HostDevice, "convolution", lambda self, plan: None)
    asked: list[tuple[str, str]] = []
    conv = HostDevice.conv

    def seen(self: HostDevice, plan: ConvPlan, pointers: Any, workspace: int) -> None:
        asked.append((plan.direction, plan.dtype))
        conv(self, plan, pointers, workspace)

    monkeypatch.setattr(HostDevice, "conv", seen)
    x, w = random.standard_normal((2, 5, 6, 3)), random.standard_normal((2, 2, 3, 4))
    images = gf.placeholder(gf.float32, [None, 5, 6, 3])
    filters, bias = gf.Variable(w.astype(np.float32)), gf.Variable(np.arange(4, dtype=np.float32))
    h = gf.nn.relu(gf.nn.conv2d(images, filters, [1, 2, 1, 1], "SAME") + bias)
    h = gf.nn.conv2d(h, gf.constant(random.standard_normal((2, 3, 4, 2)), gf.float32), [1, 1, 1, 1], "VALID")
    dx, dw = gf.gradients(gf.reduce_sum(h * h), [images, filters])
    step = gf.train.MomentumOptimizer(0.01, 0.9).apply_gradients([(dw, filters)])
    config = gf.ConfigProto()
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1
    values = []
    for kind in ("off", "host"):
        monkeypatch.setenv("GRAPHFLOW_GPU", kind)
        with gf.Session(config=config) as session:
            session.run(gf.global_variables_initializer())
            found = session.run([h, dx, dw, step], {images: x})
            values.append([*found[:3], session.variable_value(filters)])
            if kind == "host":
                steps = _steps(session.plan([h, dx, dw, step], {images: x}))
    for one, other in zip(*values, strict=True):
        # Results are rounded to bfloat16 once more than on the processor.
        np.testing.assert_allclose(other, one, atol=2**-7 * np.abs(one).max())
        assert one.dtype == other.dtype == np.float32
    assert {step.plan.dtype for step in steps if isinstance(step, Convolution)} == {"bf16"}
    assert {kind for _, kind in asked} == ({"bf16"} if library else set())
    assert {direction for direction, _ in asked} == ({"forward", "input", "filter"} if library else set())


# An H200 by its public figures: what the frontend knows of a device.
_DEVICE = json.dumps(
    {
        "deviceName": "NVIDIA H200",
        "cudaDeviceId": 0,
        "deviceVer": 900,
        "multiProcessorCount": 132,
        "driverVer": 13000,
        "maxGridSize": [2147483647, 65535, 65535],
        "maxBlockSize": [1024, 1024, 64],
        "regsPerBlock": 65536,
        "smClockRateKHz": 1980000,
        "memClockRateKHz": 3201000,
        "l2CacheSize": 62914560,
        "warpSize": 32,
        "maxSharedMemoryPerBlock": 49152,
        "maxSharedMemoryPerBlockOptin": 232448,
        "reservedSharedMemoryPerBlock": 1024,
        "maxRegistersPerSM": 65536,
        "pciDeviceId": 0,
        "maxCtasPerSM": 32,
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": 2048,
        "isTccDriver": 0,
        "supportCoopLaunch": 1,
        "totalGlobalMem": 150754820096,
    }
)


@pytest.mark.parametrize("precision", ["tf32", "highest"])
def test_plans_are_made_without_a_device(precision: str) -> None:
    library = dnn.load_library()
    if library is None:
        pytest.skip("nvidia-cudnn-frontend and nvidia-cudnn-cu13 are not installed")
    try:
        cudnn = dnn.CuDnn(library, precision, device=(_DEVICE, 900, 132))
    except RuntimeError as error:
        pytest.skip(f"this cuDNN plans nothing without a driver: {error}")
    for direction in ("forward", "input", "filter"):
        first = ConvPlan(direction, 8, 224, 224, 3, 112, 112, 64, (7, 7), (2, 2), (1, 1), ((2, 3), (2, 3)))  # type: ignore[arg-type]
        inner = ConvPlan(direction, 8, 56, 56, 64, 56, 56, 64, (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)))  # type: ignore[arg-type]
        for plan in (first, inner):
            scratch = cudnn.prepare(plan)
            assert scratch is not None and scratch <= dnn.WORKSPACE
    ending = ConvPlan(
        "forward", 8, 14, 14, 16, 14, 14, 32, (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)), "relu_bias"
    )
    assert cudnn.prepare(ending) is not None
    for plan in (first, inner, ending):
        assert cudnn.prepare(replace(plan, dtype="bf16", tail="")) is not None
    # Nobody does a convolution of images that are not there: kernels of our own run instead.
    nothing = ConvPlan("forward", 0, 14, 14, 16, 14, 14, 32, (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)))
    assert cudnn.prepare(nothing) is None
    cudnn.close()
