"""TensorFlow trains the demo's graph from our files, and takes the same ten steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import demo

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

Array = np.ndarray[Any, Any]

STEPS = 10
LOSS, TRAIN = "training/loss:0", "train"
# Steps, serving and variables: from the checkpoint through the meta graph; from the graph alone and its initializers.
REFEREE = r"""
import sys
import numpy as np
import tensorflow as tf
tf1 = tf.compat.v1
ours, theirs = sys.argv[1:]
given = np.load(ours + "/batches.npz")
results = {}

def train(session, how):
    for i, (images, labels) in enumerate(zip(given["images"], given["labels"])):
        loss, _ = session.run(["training/loss:0", "train"], {"images:0": images, "labels:0": labels})
        results[f"{how}/loss/{i}"] = loss

def serve(session, how):
    results[how + "/served"] = session.run("serving/probabilities:0", {"images:0": given["held_out"]})

with tf.Graph().as_default(), tf1.Session() as session:
    saver = tf1.train.import_meta_graph(ours + "/start.meta")
    saver.restore(session, ours + "/start")
    train(session, "restored")
    serve(session, "restored")
    for variable in tf1.global_variables():
        results["restored/variable/" + variable.op.name] = session.run(variable)
    saver.save(session, theirs + "/end")
with tf.Graph().as_default() as graph, tf1.Session() as session:
    definition = tf1.GraphDef.FromString(open(ours + "/graph.pb", "rb").read())
    tf.import_graph_def(definition, name="")
    session.run("init")
    names = [name[len("restored/variable/"):] for name in results if name.startswith("restored/variable/")]
    for name, value in zip(names, session.run([f"{name}/Read/ReadVariableOp:0" for name in names])):
        results["made/start/" + name] = value
    train(session, "made")
with tf.Graph().as_default(), tf1.Session() as session:
    tf1.saved_model.loader.load(session, ["serve"], ours + "/model")
    serve(session, "saved")
model = tf.saved_model.load(ours + "/model").signatures["serving_default"]
results["signature/served"] = model(images=tf.constant(given["held_out"]))["probabilities"].numpy()
np.savez(theirs + "/results.npz", **results)
"""


def train_both(tensorflow: Callable[..., str], folder: Path) -> dict[str, Any]:
    """Both sides' numbers."""
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir()
    theirs.mkdir()
    digits = demo.load()
    rows = [slice(i * demo.BATCH, (i + 1) * demo.BATCH) for i in range(STEPS)]
    images = np.stack([digits.train_images[part] for part in rows])
    labels = np.stack([digits.train_labels[part] for part in rows])
    held_out = digits.test_images[:100]
    np.savez(ours / "batches.npz", images=images, labels=labels, held_out=held_out)
    with gf.Graph().as_default() as graph, gf.Session() as session:
        net = demo.build()
        initializer = gf.global_variables_initializer()
        assert initializer.name == "init"
        saver = gf.train.Saver()
        session.run(initializer)
        start = dict(values_by_name(session))
        saver.save(session, str(ours / "start"))
        gf.train.write_graph(graph, str(ours), "graph.pb", as_text=False)
        losses = [
            session.run([net.loss, net.train], {net.images: x, net.labels: y})[0]
            for x, y in zip(images, labels, strict=True)
        ]
        served = session.run(net.probabilities, {net.images: held_out})
        end = dict(values_by_name(session))
        gf.saved_model.simple_save(
            session, str(ours / "model"), {"images": net.images}, {"probabilities": net.probabilities}
        )
    tensorflow(REFEREE, ours, theirs)
    with np.load(theirs / "results.npz") as results:
        numbers = dict(results)
    return {
        "start": start, "end": end, "losses": losses, "served": served, "held_out": held_out, "theirs": numbers,
        "checkpoint": str(theirs / "end"),
    }  # fmt: skip


def values_by_name(session: gf.Session) -> list[tuple[str, Array]]:
    variables = gf.global_variables()
    return [(v.op.name, value) for v, value in zip(variables, session.run(variables), strict=True)]


def test_tensorflow_trains_the_demos_graph_as_we_do(
    tensorflow: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Adam makes much of small gradients' roundings: of Winograd's products the more exact ones.
    monkeypatch.setenv("GRAPHFLOW_WINOGRAD", "2")
    match = train_both(tensorflow, tmp_path)
    check_losses(match)
    check_variables(match)
    check_initial_weights(match)
    check_what_is_served(match)
    check_their_checkpoint(match)


def check_losses(match: dict[str, Any]) -> None:
    """TensorFlow restored our checkpoint, and started from our graph and its initializers."""
    for how in ("restored", "made"):
        theirs = [match["theirs"][f"{how}/loss/{i}"] for i in range(STEPS)]
        np.testing.assert_allclose(match["losses"], theirs, rtol=1e-5, atol=1e-5, err_msg=how)
    # Dropout's masks are among what agrees: without them losses differ from the first step on.
    assert match["losses"][-1] < match["losses"][0]


def check_variables(match: dict[str, Any]) -> None:
    assert len(match["end"]) > 30  # weights, statistics, Adam's slots
    far = total = 0
    for name, value in match["end"].items():
        theirs = match["theirs"][f"restored/variable/{name}"]
        far += int((~np.isclose(value, theirs, rtol=1e-5, atol=1e-5)).sum())
        total += value.size
        np.testing.assert_allclose(value, theirs, rtol=1e-5, atol=1e-4, err_msg=name)
    # Adam divides the first gradient by its own size: where that is nothing but a sum's rounding error, and only
    # there, the order of summation shows.
    assert far <= total // 50_000, f"{far} of {total} numbers differ by more than 1e-5"


def check_initial_weights(match: dict[str, Any]) -> None:
    for name, value in match["start"].items():
        np.testing.assert_allclose(
            value, match["theirs"][f"made/start/{name}"], rtol=1e-6, atol=1e-7, err_msg=name
        )


def check_what_is_served(match: dict[str, Any]) -> None:
    for how in ("restored", "saved", "signature"):
        served = match["theirs"][f"{how}/served"]
        np.testing.assert_allclose(match["served"], served, rtol=1e-5, atol=1e-5, err_msg=how)


def check_their_checkpoint(match: dict[str, Any]) -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        saver = gf.train.import_meta_graph(match["checkpoint"] + ".meta")
        assert saver is not None
        saver.restore(session, match["checkpoint"])
        for name, value in values_by_name(session):
            np.testing.assert_array_equal(value, match["theirs"][f"restored/variable/{name}"], err_msg=name)
        served = session.run("serving/probabilities:0", {"images:0": match["held_out"]})
    np.testing.assert_allclose(served, match["theirs"]["restored/served"], rtol=1e-5, atol=1e-5)
