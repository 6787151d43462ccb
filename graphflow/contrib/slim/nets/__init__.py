"""`slim.nets`: published networks for images, with the names that their public checkpoints have."""

from __future__ import annotations

from graphflow.namespace import lazy

NETS = (
    "alexnet", "inception", "inception_v1", "inception_v2", "inception_v3", "overfeat", "resnet_utils", "resnet_v1",
    "resnet_v2", "vgg",
)  # fmt: skip
__getattr__, __dir__ = lazy(__name__, NETS)
