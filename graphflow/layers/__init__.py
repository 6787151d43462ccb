"""`tf.layers`: layers as functions and classes, with their weights in variable scopes.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.layers.base import InputSpec as InputSpec, Layer as Layer
from graphflow.layers.convolutional import (
    Conv1D as Conv1D, conv1d as conv1d, Conv2D as Conv2D, conv2d as conv2d, Conv2DTranspose as Conv2DTranspose,
    conv2d_transpose as conv2d_transpose, Conv3D as Conv3D, conv3d as conv3d, Conv3DTranspose as Conv3DTranspose,
    conv3d_transpose as conv3d_transpose, SeparableConv1D as SeparableConv1D,
    separable_conv1d as separable_conv1d, SeparableConv2D as SeparableConv2D,
    separable_conv2d as separable_conv2d,
)
from graphflow.layers.core import (
    Dense as Dense, dense as dense, Dropout as Dropout, dropout as dropout, Flatten as Flatten,
    flatten as flatten,
)
from graphflow.layers.normalization import (
    batch_normalization as batch_normalization, BatchNormalization as BatchNormalization,
)
from graphflow.layers.pooling import (
    average_pooling1d as average_pooling1d, average_pooling2d as average_pooling2d,
    average_pooling3d as average_pooling3d, AveragePooling1D as AveragePooling1D,
    AveragePooling2D as AveragePooling2D, AveragePooling3D as AveragePooling3D, max_pooling1d as max_pooling1d,
    max_pooling2d as max_pooling2d, max_pooling3d as max_pooling3d, MaxPooling1D as MaxPooling1D,
    MaxPooling2D as MaxPooling2D, MaxPooling3D as MaxPooling3D,
)
from graphflow.namespace import lazy

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
