"""graphflow: TensorFlow 1's programming model on a small compiler of its own.

`import graphflow as gf` gives the names of `tf.compat.v1`.
"""

from __future__ import annotations

from graphflow.version import __version__

__all__ = ["__version__"]
