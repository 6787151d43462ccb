"""TensorFlow, `compat.v1` with a Session, XLA compiling what it can."""

from __future__ import annotations

import os

# Read once, when TensorFlow loads: without it XLA leaves CPU graphs alone, whatever the session asks for.
os.environ["TF_XLA_FLAGS"] = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"

import tensorflow.compat.v1 as tf

from benchmarks.peers.tf1_programs import Programs


def load(threads: int) -> Programs:
    """Returns the workloads."""
    tf.disable_v2_behavior()
    return Programs(tf, threads)
