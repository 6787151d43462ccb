"""What compares programs with TensorFlow: the recorder, the loader, and what counts as alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks import alike, loader, programs

PROGRAM = """
import sys
import graphflow as tf
x = tf.placeholder(tf.float32, [None, 2], name="x")
w = tf.get_variable("w", [2, 1])
loss = tf.reduce_mean(tf.matmul(x, w), name="loss")
train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(2):
        session.run([train, {"loss": loss}], {x: [[1.0, 2.0]]})
assert sys.argv[1:] == ["word"]
"""


def test_a_program_is_recorded_and_what_it_leaves_is_loaded(tmp_path: Path) -> None:
    script, folder = tmp_path / "program.py", tmp_path / "recorded"
    script.write_text(PROGRAM)
    folder.mkdir()
    command = [
        sys.executable,
        str(Path(alike.__file__).with_name("recorder.py")),
        "graphflow",
        "0",
        str(folder),
    ]
    subprocess.run([*command, str(script), "word"], check=True)
    runs = json.loads((folder / "runs.json").read_text())
    assert [list(run["scalars"]) for run in runs] == [[], ["loss:0"], ["loss:0"]]
    first, second = (run["scalars"]["loss:0"] for run in runs[1:])
    with np.load(folder / "initial_0.npz") as initial:
        w = initial["w"]
    with gf.Graph().as_default(), gf.Session() as session:  # the seed is the number of its turn
        made = gf.get_variable("w", [2, 1], initializer=gf.glorot_uniform_initializer(seed=1001))
        session.run(made.initializer)
        np.testing.assert_array_equal(session.run(made), w)
    np.testing.assert_allclose(
        [first, second], [w[0, 0] + 2 * w[1, 0], w[0, 0] + 2 * w[1, 0] - 2.5], rtol=1e-5
    )

    todo = alike.cases(tmp_path)
    assert [kind for kind, *_ in todo] == ["checkpoint", "saved_model"]
    after = w - np.array([[1], [2]], np.float32)
    found = loader.checkpoint(gf, todo[0][1])
    assert set(found) == {"tensor w", "variable w"}
    for value in found.values():
        np.testing.assert_allclose(value, after, rtol=1e-6)
    answer = loader.saved_model(gf, todo[1][1], todo[1][2])
    np.testing.assert_allclose(answer["output out_0"], after[0, 0] + 2 * after[1, 0], rtol=1e-5)


def test_what_counts_as_alike() -> None:
    one = np.array([1.0, np.nan, -np.inf], np.float32)
    assert alike.distance(one, one.copy()) == 0
    assert alike.distance(one, np.array([1.001, np.nan, -np.inf], np.float32)) == pytest.approx(
        1e-3, rel=0.01
    )
    assert alike.distance(one, np.array([1.0, 0.0, -np.inf], np.float32)) == np.inf
    assert alike.distance(one, one.astype(np.float64)) == np.inf
    assert alike.distance(one, one[:2]) == np.inf
    assert alike.distance(np.array(["a"]), np.array(["b"])) == np.inf

    todo = {
        "graphflow": [["checkpoint", "f/a", ""], ["saved_model", "f/s/saved_model", ""]],
        "tensorflow": [],
    }
    weights = {"tensor w": one}
    ours = [weights, {"output y": np.float32(2.0)}]
    theirs = [{"tensor w": one + np.float32(1)}, {"output y": np.float32(2.00001)}]
    found = alike.exchange(todo, {"graphflow": ours, "tensorflow": theirs})["graphflow"]
    assert found["checkpoint"] == [0, 1]
    assert found["saved_model"] == [1, 1]
    assert found["unlike"] == ["a: tensor w is 0.5 apart"]
    refused = alike.exchange(todo, {"graphflow": ours, "tensorflow": [weights, "ValueError: no"]})[
        "graphflow"
    ]
    assert refused["unlike"] == ["s/saved_model: tensorflow says ValueError: no"]
    assert refused["checkpoint"] == [1, 1]


@pytest.mark.tensorflow
@pytest.mark.skipif("TF1_PROGRAMS_SRC" not in os.environ, reason="TF1_PROGRAMS_SRC has no programs")
def test_programs_of_others_compute_what_they_compute_with_tensorflow() -> None:
    """Needs the harness' folder in TF1_PROGRAMS_HARNESS, and a TensorFlow with Keras 2 in GRAPHFLOW_TF_PYTHON."""
    harness, listed = programs.load(Path(os.environ["TF1_PROGRAMS_HARNESS"]))
    chosen = programs.chosen(listed, os.environ.get("TF1_PROGRAMS_ONLY", "").split())
    sources = Path(os.environ["TF1_PROGRAMS_SRC"])
    rows: dict[str, Any] = alike.compare(harness, chosen, os.environ["GRAPHFLOW_TF_PYTHON"], sources, print)
    for name, row in rows.items():
        if any(program["name"] == name and program.get("skip_peer") for program in chosen):
            continue
        assert not row["errors"], row
        assert row["weights"]["equal"] == row["weights"]["variables"], row
        assert row["curves"]["worst"] < 10 * alike.CURVES, row
        for own in row["files"].values():
            assert not own["unlike"], row
