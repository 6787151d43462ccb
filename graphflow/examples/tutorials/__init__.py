"""`tf.examples.tutorials`."""

from graphflow.namespace import lazy

NAMESPACES = ("mnist",)

__getattr__, __dir__ = lazy(__name__, NAMESPACES)
