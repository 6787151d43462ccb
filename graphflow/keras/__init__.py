"""`tf.keras`: layers, models and their training, over graphs and sessions."""

from __future__ import annotations

from graphflow.namespace import lazy

NAMESPACES = (
    "activations", "backend", "callbacks", "constraints", "datasets", "initializers", "layers", "losses", "metrics",
    "models", "optimizers", "preprocessing", "regularizers", "utils",
)  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__, NAMESPACES, dict.fromkeys(("Input", "Model", "Sequential"), "graphflow.keras.models")
)
