"""`tf.contrib.tensorboard`: settings of TensorBoard's plugins."""

from __future__ import annotations

from graphflow.contrib.tensorboard import plugins as plugins
