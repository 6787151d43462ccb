"""Runs a program of TensorFlow 1 and writes down what it computed: `recorder.py PEER NUDGE FOLDER SCRIPT [ARGUMENTS]`.

PEER is `graphflow` or `tensorflow`; whichever it is, every random operation to which the program gives no seed gets the
number of its turn, so that both draw the same numbers. Into FOLDER go

- `runs.json`: for each `Session.run` the floating scalars that were fetched, by name;
- `initial_N.npz`: the variables of the Nth session as they were when all of them had values for the first time;
- `session_N/`: a checkpoint and a SavedModel of that session as it ended, whose signature takes what the last run was
  fed (kept in `feeds.npz`) and gives the floating tensors which it fetched.

Where NUDGE is not 0, every trainable weight is moved to the next number up or down once all have values, by chance with
NUDGE as the seed: what becomes of the losses then is how far rounding alone drives this program.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def flat(fetches: Any) -> Iterator[Any]:
    """Yields what is fetched, out of its lists, tuples and dicts."""
    if isinstance(fetches, dict):
        for value in fetches.values():
            yield from flat(value)
    elif isinstance(fetches, (list, tuple)):
        for value in fetches:
            yield from flat(value)
    else:
        yield fetches


class Recorder:
    """Writes down the runs of all sessions.

    Args:
      tf: the namespace of TensorFlow 1, of either peer.
      folder: where to.
      nudge: the seed of changes to the last bit of first weights, or 0.
    """

    def __init__(self, tf: Any, folder: Path, nudge: int) -> None:
        self._tf = tf
        self._folder = folder
        self._nudge = nudge
        self._runs: list[dict[str, Any]] = []
        self._sessions: list[Any] = []
        self._initialized: set[int] = set()
        self._last: dict[int, tuple[list[Any], dict[Any, Any]]] = {}
        self._ended: set[int] = set()
        self._seeds: dict[int, int] = {}
        self._own = threading.local()

    def seed(self, graph: Any, seed: int | None) -> int:
        """Returns the seed of a random operation: its own, or the number of its turn in the graph."""
        if seed is not None:
            return seed
        self._seeds[id(graph)] = self._seeds.get(id(graph), 1000) + 1
        return self._seeds[id(graph)]

    def number(self, session: Any) -> int:
        """Returns which session of the program this is."""
        for number, known in enumerate(self._sessions):
            if known is session:
                return number
        self._sessions.append(session)
        return len(self._sessions) - 1

    def after(self, session: Any, fetches: Any, values: Any, feeds: dict[Any, Any] | None) -> None:
        """Writes one run down."""
        if getattr(self._own, "busy", False):
            return
        self._own.busy = True
        try:
            number = self.number(session)
            scalars: dict[str, float] = {}
            floats = []
            for element, value in zip(flat(fetches), flat(values), strict=False):
                if isinstance(element, str) and ":" in element:
                    element = session.graph.get_tensor_by_name(element)
                if isinstance(element, self._tf.Tensor) and element.dtype.is_floating:
                    floats.append(element)
                    if np.size(value) == 1:
                        scalars[element.name] = float(np.asarray(value).ravel()[0])
            self._runs.append({"session": number, "scalars": scalars})
            if floats:
                self._last[number] = (floats, dict(feeds or {}))
            if number not in self._initialized:
                self._keep_initial(session, number)
        finally:
            self._own.busy = False

    def _keep_initial(self, session: Any, number: int) -> None:
        variables = session.graph.get_collection(self._tf.GraphKeys.GLOBAL_VARIABLES)
        try:
            values = session.run({variable.op.name: variable for variable in variables})
        except self._tf.errors.OpError:
            return  # some of them have no values yet
        if values:
            self._initialized.add(number)
            np.savez(self._folder / f"initial_{number}.npz", **values)
        if values and self._nudge:
            rng = np.random.RandomState(self._nudge)
            for variable in session.graph.get_collection(self._tf.GraphKeys.TRAINABLE_VARIABLES):
                value = values[variable.op.name]
                if value.dtype.kind == "f":
                    to = rng.choice(np.array([-np.inf, np.inf], value.dtype), value.shape)
                    variable.load(np.where(value == 0, value, np.nextafter(value, to)), session)

    def end(self, session: Any) -> None:
        """Saves a session in both ways before it closes."""
        number = self.number(session)
        if number in self._ended or session.graph.finalized or number not in self._initialized:
            return
        self._ended.add(number)
        self._own.busy = True
        folder = self._folder / f"session_{number}"
        try:
            folder.mkdir()
            with session.graph.as_default():
                self._save(session, number, folder)
        except Exception as error:  # the program has ended well, whatever becomes of this
            (folder / "error.txt").write_text(f"{type(error).__name__}: {error}")
        finally:
            self._own.busy = False

    def _save(self, session: Any, number: int, folder: Path) -> None:
        tf = self._tf
        tf.train.Saver(name="recorder").save(session, str(folder / "model"))
        floats, feeds = self._last.get(number, ([], {}))
        inputs: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for key, value in feeds.items():
            key = session.graph.as_graph_element(key) if isinstance(key, str) else key
            if isinstance(key, tf.SparseTensor):
                parts = zip((key.indices, key.values, key.dense_shape), value, strict=True)
            else:
                parts = zip(flat(key), flat(value) if isinstance(key, tuple) else [value], strict=True)
            for tensor, array in parts:
                name = f"in_{len(inputs)}"
                inputs[name] = tf.saved_model.utils.build_tensor_info(tensor)
                given[name] = np.asarray(array, tensor.dtype.as_numpy_dtype)
        outputs = {
            f"out_{i}": tf.saved_model.utils.build_tensor_info(tensor) for i, tensor in enumerate(floats)
        }
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder / "saved_model"))
        signature = tf.saved_model.signature_def_utils.build_signature_def(inputs, outputs, "predict")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
        np.savez(str(folder / "feeds.npz"), **given)

    def finish(self) -> None:
        """Saves the sessions that are still open and writes the runs."""
        for session in list(self._sessions):
            self.end(session)
        (self._folder / "runs.json").write_text(json.dumps(self._runs))


def install(peer: str, folder: Path, nudge: int) -> Recorder:
    """Puts a recorder between the program and the peer's sessions."""
    if peer == "tensorflow":
        import tensorflow.compat.v1 as tf
        from tensorflow.python.client.session import BaseSession as Session
        from tensorflow.python.framework import random_seed

        recorder = Recorder(tf, folder, nudge)
        theirs = random_seed.get_seed
        without = tf.disable_v2_behavior

        def disable_v2_behavior() -> None:
            """As TensorFlow's, but variables keep to the order that edges ask for: those of old race their readers."""
            without()
            tf.enable_resource_variables()

        tf.disable_v2_behavior = disable_v2_behavior
        random_seed.get_seed = lambda seed: theirs(recorder.seed(tf.get_default_graph(), seed))
    else:
        import graphflow as tf
        from graphflow.graph import Graph
        from graphflow.session import Session

        recorder = Recorder(tf, folder, nudge)
        ours = Graph.get_seed

        def get_seed(graph: Any, seed: int | None, *name: str) -> Any:
            return ours(graph, recorder.seed(graph, seed), *name)

        Graph.get_seed = get_seed  # type: ignore[method-assign, assignment]
    run, close = Session.run, Session.close

    def recorded(
        session: Any, fetches: Any, feed_dict: dict[Any, Any] | None = None, *rest: Any, **options: Any
    ) -> Any:
        values = run(session, fetches, feed_dict, *rest, **options)
        recorder.after(session, fetches, values, feed_dict)
        return values

    def closed(session: Any) -> None:
        recorder.end(session)
        close(session)

    Session.run, Session.close = recorded, closed
    return recorder


def main() -> None:
    """Runs the script as if it had been started by itself."""
    peer, nudge, folder, script = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    recorder = install(peer, folder, nudge)
    leave = os._exit

    def after_all(status: int) -> None:
        recorder.finish()
        sys.stdout.flush()
        sys.stderr.flush()
        leave(status)

    os._exit = after_all  # type: ignore[assignment]
    sys.argv = sys.argv[4:]
    runpy.run_path(script, run_name="__main__")
    after_all(0)


if __name__ == "__main__":
    main()
