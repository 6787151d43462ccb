"""`tf.contrib.tensorboard`: settings of TensorBoard's plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib.tensorboard import plugins as plugins
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
