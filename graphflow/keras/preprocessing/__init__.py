"""`tf.keras.preprocessing`: data made ready for models."""

from graphflow.namespace import lazy

NAMESPACES = ("sequence", "text")

__getattr__, __dir__ = lazy(__name__, NAMESPACES)
