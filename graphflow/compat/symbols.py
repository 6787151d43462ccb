"""What of TensorFlow 1 is here, what is planned, what is out of scope and why, and the way round."""

from __future__ import annotations

import re
from typing import Literal

from graphflow.compat.paths import public_path
from graphflow.records import dataclass

State = Literal["here", "planned", "out of scope", "unknown"]


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a name.

    Attributes:
      name: the name, without `tf.`.
      state: "here", "planned", "out of scope", or "unknown": TF1 has no such name, or nobody asked for it yet.
      reason: why it is not here.
      instead: what to use meanwhile.
    """

    name: str
    state: State
    reason: str = ""
    instead: str = ""

    @property
    def sentence(self) -> str:
        """All of it in one sentence or two."""
        if self.state == "here":
            return f"gf.{self.name} is here"
        what = {"planned": "is planned", "out of scope": "is out of scope", "unknown": "is not known"}[
            self.state
        ]
        text = f"gf.{self.name} {what}{': ' if self.reason else ''}{self.reason}"
        return f"{text}; use {self.instead}" if self.instead else text


# By the beginning of the name, the longest that fits: why it is planned or out of scope, and the way round.
_PLANNED: dict[str, tuple[str, str]] = {
    "data": ("datasets", "gf.placeholder with feed_dict"),
    "estimator": ("more of estimators", "gf.estimator.Estimator with a model function"),
    "feature_column": ("columns of sequences", "tensors made from the features directly"),
    "gfile": ("files", "Python's open, os and glob"),
    "image": ("images", ""),
    "io": ("files and parsing", ""),
    "keras": ("more of Keras", "gf.keras.layers"),
    "python": ("a deep path that no table knows yet", "the public name of the same thing"),
    "python_io": ("record files", ""),
    "summary": ("summaries", ""),
    "train": ("more of training", ""),
}
_OUT: dict[str, tuple[str, str]] = {
    "concat_v2": ("a name that TensorFlow 1.0 dropped", "gf.concat"),
    "contrib": ("contrib ended with TensorFlow 1; only what many programs use is taken over", ""),
    "contrib.cluster_resolver": ("there are no TPUs and no cluster managers here", "gf.train.ClusterSpec"),
    "contrib.eager": ("there are graphs and sessions only", "gf.Session"),
    "contrib.factorization": ("a model of its own, not part of a framework", ""),
    "contrib.graph_editor": (
        "a graph only grows", "gf.import_graph_def with input_map, which makes changed copies",
    ),
    "contrib.learn": ("most of it became estimators", "gf.estimator"),
    "contrib.memory_stats": ("memory is planned before the run", "session.plan(...).summary()"),
    "contrib.nccl": ("several GPUs in one process", ""),
    "contrib.summary": ("summaries of eager execution", "gf.summary"),
    "contrib.tensor_forest": ("decision trees are another library's work", "scikit-learn"),
    "contrib.tpu": ("there are no TPUs here", "what of contrib.tpu runs without one, or gf.estimator"),
    "nn.seq2seq": ("a name that TensorFlow 1.0 dropped", "gf.contrib.legacy_seq2seq"),
    "python.debug": ("tfdbg's terminal", "gf.debug.trace, gf.debug.find_nan and gf.debug.record"),
    "python.eager": ("there are graphs and sessions only", "gf.Session"),
    "python.framework.ops.register_proto_function": ("collections are written by their own rules", ""),
    "python.ops.control_flow_util": ("control flow is structured here: there are no contexts", ""),
    "python.ops.control_flow_ops.merge": ("control flow is structured here", "gf.cond"),
    "python.ops.control_flow_ops.switch": ("control flow is structured here", "gf.cond"),
    "python.ops.resources": (
        "resources are made when a session first needs them", "gf.tables_initializer for lookup tables",
    ),
    "train.experimental": ("losses are scaled by nobody's rewrite", "the bfloat16 mode of gf.ConfigProto"),
}  # fmt: skip

# Public names that none of the above begins: all of them are to come.
_TO_COME = frozenset(
    """
    FIFOQueue FixedLenFeature RandomShuffleQueue SparseTensor TFRecordReader TensorArray TextLineReader VarLenFeature
    WholeFileReader batch_svd case cond decode_csv decode_raw edit_distance extract_image_patches
    histogram_summary image_summary map_fn merge_all_summaries merge_summary
    nn parse_single_example read_file scalar_summary scan self_adjoint_eig sparse_placeholder
    sparse_reshape sparse_retain sparse_tensor_dense_matmul string_split tables_initializer test while_loop
    """.split()
)


def status(name: str) -> Status:
    """Tells of a name of TF1 whether it is here, planned or out of scope.

    Args:
      name: such as "tf.contrib.layers.flatten", "nn.dynamic_rnn" or "tensorflow.python.ops.rnn".
    """
    plain = re.sub(r"^(tf|gf|tensorflow|graphflow)\.", "", name).removeprefix("compat.v1.")
    try:
        public_path(plain)
    except AttributeError:
        pass
    else:
        return Status(plain, "here")
    best: tuple[int, State, tuple[str, str]] | None = None
    states: tuple[tuple[State, dict[str, tuple[str, str]]], ...] = (
        ("planned", _PLANNED),
        ("out of scope", _OUT),
    )
    for state, table in states:
        for start, told in table.items():
            if plain == start or plain.startswith(start + "."):
                if best is None or len(start) > best[0]:
                    best = len(start), state, told
    if best is not None:
        return Status(plain, best[1], *best[2])
    if plain.partition(".")[0] in _TO_COME:
        return Status(plain, "planned")
    return Status(plain, "unknown")


__all__ = ["State", "Status", "status"]
