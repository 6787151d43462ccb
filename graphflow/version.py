"""The version of the package; nothing else stands here, so that a build can read it without importing NumPy."""

__version__ = "0.1.0"
