"""`tf.keras.datasets`: data sets from files on disk. Nothing is fetched from anywhere."""

from graphflow.namespace import lazy

NAMESPACES = ("mnist",)

__getattr__, __dir__ = lazy(__name__, NAMESPACES)
