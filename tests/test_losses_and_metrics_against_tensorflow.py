"""Losses and metrics against TensorFlow's: values over several batches, weights of every form, collections, errors.

An expression is evaluated with both packages in a graph of its own. What it gives is run once per batch; of a metric
`(value, update_op)` the update comes first and the value after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.referee import difference

# ruff: noqa: E501 - an expression is a line

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

rng = np.random.default_rng(11)
BATCHES = 3
INPUTS = {
    "truth": rng.integers(0, 2, (BATCHES, 4, 3)).astype(np.float32),
    "guess": rng.uniform(0, 1, (BATCHES, 4, 3)).astype(np.float32),
    "logits": rng.normal(size=(BATCHES, 4, 3)).astype(np.float32),
    "double": rng.normal(size=(BATCHES, 4, 3)),
    "cube": rng.normal(size=(BATCHES, 4, 3, 2)).astype(np.float32),
    "classes": rng.integers(0, 3, (BATCHES, 4)).astype(np.int64),
    "found": rng.integers(0, 3, (BATCHES, 4)).astype(np.int64),
    "ranked": rng.integers(0, 5, (BATCHES, 4, 3)).astype(np.int64),
    "scores": rng.uniform(0, 1, (BATCHES, 4, 5)).astype(np.float32),
    "several": rng.integers(-1, 5, (BATCHES, 4, 2)).astype(np.int64),
    "rows": rng.choice([0, 0.5, 2], (BATCHES, 4)).astype(np.float32),
    "column": rng.choice([0, 0.5, 2], (BATCHES, 4, 1)).astype(np.float32),
    "full": rng.choice([0, 0.5, 2], (BATCHES, 4, 3)).astype(np.float32),
    "line": rng.choice([0, 0.5, 2], (BATCHES, 1, 3)).astype(np.float32),
    "zero": np.zeros((BATCHES, 4, 3), np.float32),
    "scale": np.array([1, 0, 3], np.float32),
    "nothing": np.zeros((BATCHES, 0, 3), np.float32),
}

_TWO = ("absolute_difference", "mean_squared_error", "huber_loss", "log_loss", "hinge_loss")
LOSSES = [
    *(
        f"tf.losses.{name}(truth, guess, {weights}, reduction='{reduction}')"
        for name in _TWO[:1]
        for weights in ("column", "full", "zero", "[[2]]")
        for reduction in (*gf.losses.Reduction.all()[:5],)
    ),
    *(f"tf.losses.{name}(truth, guess, {weights})" for name in _TWO[1:] for weights in ("column", "rows")),
    *(f"tf.losses.{name}(tf.cast(truth, tf.int32), double)" for name in _TWO[:3]),
    *(f"tf.losses.{name}(nothing, nothing)" for name in (*_TWO, "mean_pairwise_squared_error")),
    "tf.losses.huber_loss(truth, logits, delta=0.3)",
    "tf.losses.log_loss(truth, guess, epsilon=0.1)",
    *(f"tf.losses.mean_pairwise_squared_error(truth, guess, {weights})" for weights in ("1.0", "column", "full", "rows", "zero", "line")),
    "tf.losses.mean_pairwise_squared_error(cube, cube ** 2)",
    "tf.losses.mean_pairwise_squared_error(cube, cube ** 2, full[:, :, None])",
    "tf.losses.mean_pairwise_squared_error(open(cube), open(cube ** 2), 2.0)",
    *(f"tf.losses.cosine_distance(truth, guess, {axis}, {weights})" for axis in (0, -1) for weights in ("scale", "column")),
    "tf.losses.cosine_distance(truth, guess, dim=1)",
    "tf.losses.cosine_distance(truth, guess)",
    "tf.losses.cosine_distance(truth, guess, 1, dim=1)",
    *(f"tf.losses.sigmoid_cross_entropy(truth, logits, {weights}, {smooth})" for weights in ("column", "rows") for smooth in (0, 0.2)),
    *(f"tf.losses.softmax_cross_entropy(truth, logits, {weights}, {smooth})" for weights in ("column", "rows", "rows[:1]") for smooth in (0, 0.2)),
    *(f"tf.losses.sparse_softmax_cross_entropy({labels}, {logits}, {weights})" for labels, logits in (("classes", "logits"), ("classes[:, None]", "double")) for weights in ("rows", "column", "full")),
    "tf.losses.sigmoid_cross_entropy(tf.cast(truth, tf.int32), double, loss_collection=None)",
    "tf.losses.softmax_cross_entropy(truth, double, loss_collection=None)",
    "tf.losses.softmax_cross_entropy(open(truth), open(logits), rows)",
    "tf.losses.sparse_softmax_cross_entropy(open(classes), open(logits), rows)",
    "tf.losses.mean_squared_error(open(truth), open(guess), open(full))",
    "tf.losses.mean_squared_error(open(truth), open(guess), open(rows))",
    *(f"tf.losses.{name}({args})" for name in ("mean_squared_error", "softmax_cross_entropy") for args in ("None, logits", "truth, None", "truth[:, :2], logits", "truth, logits, reduction='no'")),
    *(f"tf.losses.compute_weighted_loss(cube, {weights})" for weights in ("1.0", "full", "full[:, :, None]", "column[:, :, None]", "rows", "[[[1.0, 0.0]]]")),
    "tf.losses.compute_weighted_loss(tf.cast(double * 9, tf.int32), 2)",
    "tf.losses.compute_weighted_loss(tf.cast(truth, tf.float64), 2, reduction='weighted_mean')",
    "tf.gradients(tf.losses.softmax_cross_entropy(truth, logits, rows, 0.1), [truth, logits])[1]",
    "tf.gradients(tf.losses.mean_squared_error(truth, logits, full), [truth, logits, full])",
    "tf.gradients(tf.losses.mean_pairwise_squared_error(truth, logits, column), [truth, logits, column])",
    "[tf.losses.absolute_difference(truth, guess), tf.losses.get_total_loss()]",
    "[tf.losses.absolute_difference(truth, guess, loss_collection=None), tf.losses.get_total_loss()]",
    "[tf.losses.hinge_loss(truth, guess, scope='own'), tf.losses.log_loss(truth, guess, loss_collection='other'), tf.losses.get_total_loss(scope='own'), tf.losses.get_losses(loss_collection='other')]",
    "tf.losses.get_regularization_loss()",
    "tf.losses.get_total_loss()",
]  # fmt: skip

_PAIRS = ("accuracy", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error")
_COUNTS = ("true_positives", "false_negatives", "false_positives", "true_negatives", "precision", "recall")
_WEIGHTS = ("column", "full")
METRICS = [
    *(f"tf.metrics.{name}(truth, tf.round(guess), {weights})" for name in _PAIRS for weights in ("None", "rows")),
    *(f"tf.metrics.{name}(truth, tf.round(guess), {weights})" for name in _COUNTS for weights in ("column",)),
    *(f"tf.metrics.{name}({values}, {weights})" for name in ("mean", "mean_tensor") for values in ("guess", "double") for weights in _WEIGHTS),
    "tf.metrics.mean(rows, column)",
    "tf.metrics.mean(rows, full)",
    "tf.metrics.mean(nothing)",
    "tf.metrics.mean(open(guess), open(full))",
    "tf.metrics.mean(scale)",
    "tf.metrics.mean_tensor(open(guess))",
    "tf.metrics.accuracy(classes, found[:, None])",
    "tf.metrics.accuracy(classes[:, None], found, rows)",
    "tf.metrics.accuracy(classes, tf.cast(found, tf.int32), column)",
    "tf.metrics.accuracy(tf.as_string(classes), tf.as_string(found))",
    "tf.metrics.accuracy(truth > 0, guess > 0.5)",
    "tf.metrics.accuracy(classes, found[:3])",
    "tf.metrics.accuracy(open(classes), open(found), rows)",
    *(f"tf.metrics.mean_relative_error(truth, guess, {normalizer}, {weights})" for normalizer in ("full",) for weights in ("column",)),
    *(f"tf.metrics.mean_cosine_distance(truth, guess, {dim}, {weights})" for dim in (1,) for weights in ("None", "column")),
    *(f"tf.metrics.percentage_below(guess, {limit}, {weights})" for limit in ("0.4", "full") for weights in ("column",)),
    *(f"tf.metrics.auc(truth, guess, {weights}{more})" for weights in ("column",) for more in ("", ", curve='PR'", ", curve='PR', summation_method='careful_interpolation'", ", summation_method='minoring'", ", 20, summation_method='majoring'")),
    "tf.metrics.auc(truth, guess, curve='no')",
    "tf.metrics.auc(truth, guess, summation_method='no')",
    "tf.metrics.auc(truth, logits)",
    *(f"tf.metrics.{name}(truth, guess, {where}{weights})" for name in ("sensitivity_at_specificity", "specificity_at_sensitivity") for where in ("0.4, ",) for weights in ("column", "full, 20")),
    "tf.metrics.sensitivity_at_specificity(truth, guess, 1.4)",
    *(f"tf.metrics.{name}_at_thresholds(truth, guess, [0.2, 0.5, 0.8]{weights})" for name in ("precision", "recall", "true_positives", "false_negatives", "false_positives", "true_negatives") for weights in (", column",)),
    *(f"tf.metrics.mean_iou(classes, found, 3, {weights})" for weights in ("None", "rows", "scale", "column")),
    *(f"tf.metrics.mean_per_class_accuracy(classes, found, 3, {weights})" for weights in ("None", "rows", "scale")),
    "tf.metrics.mean_iou(ranked, ranked // 2, 6, full)",
    "tf.metrics.mean_iou(classes, found, 2)",
    *(f"tf.metrics.{name}({labels}, scores, {k}{more})" for name in ("recall_at_k", "precision_at_k") for labels in ("classes", "several") for k in (3,) for more in ("", ", 1, rows")),
    *(f"tf.metrics.average_precision_at_k({labels}, scores, {k}{weights})" for labels in ("classes", "several") for k in (3,) for weights in ("", ", rows")),
    *(f"tf.metrics.{name}({labels}, ranked, {k}{more})" for name in ("recall_at_top_k", "precision_at_top_k") for labels in ("several",) for k in (3,) for more in ("", ", 1", ", None, rows")),
    *(f"tf.metrics.sparse_average_precision_at_k({labels}, scores, 2{weights})" for labels in ("several",) for weights in ("", ", rows")),
    "tf.metrics.sparse_precision_at_k(several, scores, 2)",
    "tf.metrics.mean(guess, metrics_collections=['m'], updates_collections=['u'], name='own')",
    "tf.metrics.auc(truth, guess, None, 7, ['m'], ['u'], name='own')",
    "tf.metrics.accuracy(truth, guess, None, ['m', 'n'], 'u', 'own')",
]  # fmt: skip
EXPRESSIONS = LOSSES + METRICS

# Evaluates every expression; as a program it has TensorFlow for a package.
PROGRAM = """
import json, sys
import numpy as np

def flat(value):
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in flat(item)]
    return [value]

def evaluated(package, expressions, inputs):
    results = []
    for text in expressions:
        with package.Graph().as_default() as graph:
            try:
                space = {k: package.placeholder(v.dtype, v.shape[1:], name="in_" + k) for k, v in inputs.items()}
                fed = {k: v for k, v in space.items() if k in text}
                made = eval(text, {"tf": package, "open": lambda x: package.placeholder_with_default(x, None), **space})
                tensors = flat(made)
                told = {
                    "shapes": [None if t.shape.rank is None else t.shape.as_list() for t in tensors],
                    "local": [(v.name, v.shape.as_list()) for v in package.local_variables()],
                    "metric": [v.name for v in package.get_collection("metric_variables")],
                    **{k: [v.name for v in package.get_collection(k)] for k in ("losses", "other", "m", "n", "u")},
                }
                values = []
                with package.Session() as session:
                    session.run(package.local_variables_initializer())
                    for i in range(3):
                        feeds = {v: inputs[k][i] for k, v in fed.items()}
                        if text.startswith("tf.metrics"):
                            values += [session.run(tensors[1], feeds), session.run(tensors[0])]
                        else:
                            values += session.run(tensors, feeds)
                results.append((told, [np.asarray(v) for v in values]))
            except Exception as error:
                results.append((type(error).__name__ + ": " + str(error)[:300], []))
    return results

if __name__ == "__main__":
    import tensorflow.compat.v1 as tf
    tf.disable_v2_behavior()
    with np.load(sys.argv[2]) as file:
        found = evaluated(tf, json.load(open(sys.argv[1])), dict(file))
    np.savez(sys.argv[3], **{f"{i}/{j}": v for i, (_, values) in enumerate(found) for j, v in enumerate(values)})
    with open(sys.argv[4], "w") as file:
        json.dump([(told, len(values)) for told, values in found], file)
"""


def test_losses_and_metrics_are_tensorflows(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("expressions.json", "inputs.npz", "values.npz", "told.json")]
    paths[0].write_text(json.dumps(EXPRESSIONS))
    np.savez(paths[1], **INPUTS)
    tensorflow(PROGRAM, *paths)
    theirs = json.loads(paths[3].read_text())
    space: dict[str, Any] = {"__name__": "losses"}
    exec(PROGRAM, space)
    mine = space["evaluated"](gf, EXPRESSIONS, INPUTS)
    problems = []
    with np.load(paths[2]) as values:
        for i, (text, (told, count), (own, found)) in enumerate(zip(EXPRESSIONS, theirs, mine, strict=True)):
            if isinstance(told, str) or isinstance(own, str):
                # Which class a shape error has is the builder's affair; that both refuse is what counts.
                if isinstance(told, str) != isinstance(own, str):
                    problems.append(f"{text}: {own}, TensorFlow: {told}")
                continue
            for key, value in json.loads(json.dumps(own)).items():
                # Names of nodes are nobody's business, but for those that collections and checkpoints hold.
                if value != told[key] and not ("average_precision" in text and key in ("local", "metric")):
                    problems.append(f"{text}: {key} {value}, TensorFlow's {told[key]}")
            assert count == len(found), text
            for j, array in enumerate(found):
                if why := difference(array, values[f"{i}/{j}"], 2e-5):
                    problems.append(f"{text} [{j}]: {why}")
                    break
    if problems:
        pytest.fail(f"{len(problems)} differ of {len(EXPRESSIONS)}:\n" + "\n".join(problems), pytrace=False)
