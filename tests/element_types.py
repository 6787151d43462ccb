"""Samples in element types that no written sample has: for each op, its first sample with numbers cast to every type.

The referee's report holds them against TensorFlow, so that a type that an op says to take is one that it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from graphflow.dtypes import DType, as_dtype, resource
from graphflow.opdef import OpDef
from tests.samples import Array, Sample

LEFT_OUT = {"string", "variant", "resource"}


def cast(array: Array, dtype: DType) -> Array | None:
    """Numbers near those of `array` in another type; None where there are none."""
    if array.dtype.kind not in "fiucbV" or array.dtype.names:
        return None
    to = dtype.numpy
    if dtype.is_bool:
        return np.asarray(array != 0)
    if array.dtype.kind == "b":
        return array.astype(to)
    if dtype.is_complex:
        return array.astype(to)
    values = array.real if array.dtype.kind == "c" else array
    if dtype.is_floating:
        return np.asarray(values, np.float64).astype(to)
    wide = np.asarray(values, np.float64) if array.dtype.kind not in "iu" else values
    if wide.dtype.kind == "f":
        wide = np.rint(np.nan_to_num(wide, nan=0.0, posinf=9.0, neginf=-9.0) * 3)
    if dtype.is_unsigned:
        wide = wide + 8  # what was the largest of some stays so
    return np.asarray(np.clip(wide, 0 if dtype.is_unsigned else -100, 100)).astype(to)


def unsampled(definition: OpDef, listed: list[Sample]) -> dict[str, Sample]:
    """An op's samples in the types that none of `listed` has, by names that tell the type."""
    made: dict[str, Sample] = {}
    for key, attr in definition.attrs.items():
        if attr.kind != "type" or not attr.allowed:
            continue
        seen = {type_of(definition, sample, key) for sample in listed}
        base = next((s for s in listed if all(a.size for a in s.flat()) and not s.name), listed[0])
        for dtype in attr.allowed:
            if dtype in seen or dtype.name in LEFT_OUT or dtype.name.startswith("q"):
                continue
            sample = with_type(definition, base, key, dtype)
            if sample is not None:
                made[f"{key}={dtype.name}"] = sample
    return made


def type_of(definition: OpDef, sample: Sample, key: str) -> DType | None:
    """The type that a sample gives an attribute."""
    if key in sample.attrs:
        return as_dtype(sample.attrs[key])
    for arg, item in zip(definition.inputs, sample.inputs, strict=True):
        if arg.type_attr == key:
            first = item[0] if isinstance(item, list) else item
            return as_dtype(first.dtype)
    default = definition.attrs[key].default
    return as_dtype(default) if default is not None else None


def with_type(definition: OpDef, sample: Sample, key: str, dtype: DType) -> Sample | None:
    """The sample with everything that is of the type `key` in another one; None where it cannot be cast."""
    inputs: list[Any] = []
    attrs: Mapping[str, Any] = sample.attrs
    for arg, item in zip(definition.inputs, sample.inputs, strict=True):
        holds = arg.dtype is resource and key in (
            "T",
            "dtype",
        )  # at the place of a handle stands what it holds
        if arg.type_attr != key and not holds:
            inputs.append(item)
            continue
        parts = [cast(a, dtype) for a in (item if isinstance(item, list) else [item])]
        if any(part is None for part in parts):
            return None
        inputs.append(parts if isinstance(item, list) else parts[0])
    if key in attrs:
        attrs = {**attrs, key: dtype}
    elif not any(arg.type_attr == key for arg in definition.inputs):
        attrs = {**attrs, key: dtype}
    return replace(sample, inputs=inputs, attrs=dict(attrs), name=f"{key}={dtype.name}", differentiable=False)
