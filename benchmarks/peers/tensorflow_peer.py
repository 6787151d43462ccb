"""TensorFlow, `compat.v1` with a Session."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from benchmarks.peers.tf1_programs import Programs


def load(threads: int) -> Programs:
    """Returns the workloads."""
    tf.disable_v2_behavior()
    return Programs(tf, threads)
