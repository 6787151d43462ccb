"""Samples of ops with effects outside the graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import Sample, samples, uniform

TEXT = np.array(b"text", object)


@samples("Print")
def print_samples() -> Iterator[Sample]:
    yield Sample([uniform(3), [uniform(2), TEXT]], {"message": "values: "})


@samples("PrintV2")
def print_v2_samples() -> Iterator[Sample]:
    yield Sample([TEXT])


@samples("StringFormat")
def format_samples() -> Iterator[Sample]:
    yield Sample([[np.arange(12).reshape(3, 4), TEXT]], {"template": "a %s b %s"})
    yield Sample([[np.array([0.1, 1e-8, 123456789.0, np.nan], np.float32)]], {"summarize": -1})
    yield Sample([[]], {"template": "nothing"})


@samples("Assert")
def assert_samples() -> Iterator[Sample]:
    yield Sample([np.array(True), [uniform(2)]])


@samples("CheckNumerics", "CheckNumericsV2")
def check_numerics_samples() -> Iterator[Sample]:
    yield Sample([uniform(3)], {"message": "here"})


@samples("PyFunc", "PyFuncStateless", "EagerPyFunc")
def py_func_samples() -> Iterator[Sample]:
    yield Sample([[uniform(3)]], {"token": "pyfunc_of_samples", "Tout": [dtypes.float32]})


@samples("Timestamp")
def timestamp_samples() -> Iterator[Sample]:
    yield Sample([], exact=False)
