"""`tf.keras`: layers, models and their training, over graphs and sessions."""

from __future__ import annotations

from graphflow.namespace import lazy

NAMESPACES = (
    "activations", "constraints", "initializers", "layers", "regularizers",
)  # fmt: skip

__getattr__, __dir__ = lazy(__name__, NAMESPACES)
