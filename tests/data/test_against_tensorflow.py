"""The same pipelines in TensorFlow: the same elements in the same order, random order included."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.data.programs import PIPELINES, elements
from tests.tensorflow_process import TensorFlowProcess

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import pickle, sys
import tensorflow.compat.v1 as tf
from tests.data.programs import PIPELINES, elements
tf.disable_v2_behavior()
found = {name: elements(tf, make) for name, make in PIPELINES.items()}
with open(sys.argv[1], "wb") as file:
    pickle.dump(found, file)
"""

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def theirs(
    tmp_path_factory: pytest.TempPathFactory, tensorflow_process: TensorFlowProcess
) -> dict[str, list[list[Any]]]:
    path = tmp_path_factory.mktemp("data") / "elements"
    tensorflow_process.run(PROGRAM, path, folder=ROOT, path=(ROOT,))
    found: dict[str, list[list[Any]]] = pickle.loads(path.read_bytes())
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_elements(name: str, theirs: dict[str, list[list[Any]]]) -> None:
    ours, wanted = elements(gf, PIPELINES[name]), theirs[name]
    assert len(ours) == len(wanted)
    for mine, other in zip(ours, wanted, strict=True):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
