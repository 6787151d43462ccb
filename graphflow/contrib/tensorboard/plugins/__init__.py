"""Settings of TensorBoard's plugins."""

from __future__ import annotations

from graphflow.contrib.tensorboard.plugins import projector as projector
