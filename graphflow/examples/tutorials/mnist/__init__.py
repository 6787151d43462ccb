"""`tf.examples.tutorials.mnist`."""

from graphflow.namespace import lazy

NAMESPACES = ("input_data",)

__getattr__, __dir__ = lazy(__name__, NAMESPACES)
