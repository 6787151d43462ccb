"""Loads what programs have saved: `loader.py PEER ANSWERS < CASES`.

PEER is `graphflow` or `tensorflow`. CASES holds a JSON list of `[kind, path, feeds]`: `checkpoint` with the prefix of
the files, or `saved_model` with its folder and a file of what its signature takes. Each answer is a file `N.npz` in the
folder ANSWERS: all tensors of a checkpoint and, where its graph stands beside it, all variables after a restore; the
outputs and all variables of a saved model. A case that is refused gives `N.txt` with the reason.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def variables(tf: Any, session: Any) -> dict[str, Any]:
    """Returns the values of all variables."""
    every = session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    if not every:
        return {}
    try:
        values = session.run({v.op.name: v for v in every})
    except tf.errors.FailedPreconditionError as error:  # not all of them are in the file
        return {"refused variables": type(error).__name__}
    return {f"variable {name}": value for name, value in values.items()}


def checkpoint(tf: Any, prefix: str) -> dict[str, Any]:
    """Returns what a checkpoint holds, read by name and restored."""
    reader = tf.train.NewCheckpointReader(prefix)
    found = {f"tensor {name}": reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    if os.path.exists(prefix + ".meta"):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
            found |= variables(tf, session)
    return found


def saved_model(tf: Any, folder: str, feeds: str) -> dict[str, Any]:
    """Returns what a saved model answers, and its variables."""
    with tf.Graph().as_default(), tf.Session() as session:
        meta = tf.saved_model.loader.load(session, ["serve"], folder)
        signature = meta.signature_def["serving_default"]
        with np.load(feeds) as given:
            feed = {signature.inputs[name].name: given[name] for name in given.files}
        outputs = {f"output {key}": info.name for key, info in signature.outputs.items()}
        try:
            answers = session.run(outputs, feed) if outputs else {}
        except tf.errors.FailedPreconditionError as error:  # an iterator over what the program had at hand
            answers = {"refused": type(error).__name__}
        return variables(tf, session) | answers


def plain(value: Any) -> Any:
    """Returns a value as an array that a file can hold: strings of bytes as digits."""
    array = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    if array.dtype == object:
        array = np.array([item.hex() for item in array.ravel()], "U").reshape(array.shape)
    return array


def main() -> None:
    """Answers all cases."""
    if sys.argv[1] == "tensorflow":
        import tensorflow.compat.v1 as tf

        tf.disable_v2_behavior()
    else:
        import graphflow as tf
    answers = Path(sys.argv[2])
    for number, (kind, path, feeds) in enumerate(json.load(sys.stdin)):
        try:
            found = checkpoint(tf, path) if kind == "checkpoint" else saved_model(tf, path, feeds)
        except Exception as error:
            (answers / f"{number}.txt").write_text(f"{type(error).__name__}: {error}")
        else:
            # Names hold slashes and spaces, which files of arrays take for folders: they are numbered instead.
            names = sorted(found)
            arrays = {f"a{i}": plain(found[name]) for i, name in enumerate(names)}
            np.savez(answers / f"{number}.npz", names=np.array(names, "U"), **arrays)


if __name__ == "__main__":
    main()
