"""`tf.examples`: what tutorials load their data with."""

from graphflow.namespace import lazy

NAMESPACES = ("tutorials",)

__getattr__, __dir__ = lazy(__name__, NAMESPACES)
