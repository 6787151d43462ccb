"""Versions; nothing else stands here, so that a build can read them without importing NumPy.

Besides the package's own there are those that programs ask TensorFlow for: of the API, and of graphs in files.
"""

__version__ = "0.1.0"

VERSION = "1.15.5"  # of TensorFlow, whose names and meanings these are
GIT_VERSION = COMPILER_VERSION = f"graphflow-{__version__}"
GRAPH_DEF_VERSION = 134  # that of TensorFlow 1.15, which every later one reads
GRAPH_DEF_VERSION_MIN_CONSUMER = 0
GRAPH_DEF_VERSION_MIN_PRODUCER = 0
