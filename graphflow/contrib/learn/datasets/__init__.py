"""`tf.contrib.learn.datasets`: what of it can be read from disk."""

from __future__ import annotations

from graphflow.contrib.learn.datasets import mnist as mnist
