"""`tf.contrib.layers`: layers with argument scopes, regularizers, initializers, `optimize_loss`, summaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.contrib.layers import utils as utils
from graphflow.contrib.layers.images import *  # noqa: F403
from graphflow.contrib.layers.initializers import (
    variance_scaling_initializer as variance_scaling_initializer,
)
from graphflow.contrib.layers.initializers import xavier_initializer as xavier_initializer
from graphflow.contrib.layers.initializers import xavier_initializer_conv2d as xavier_initializer_conv2d
from graphflow.contrib.layers.layers import *  # noqa: F403
from graphflow.contrib.layers.legacy import *  # noqa: F403
from graphflow.contrib.layers.normalization import *  # noqa: F403
from graphflow.contrib.layers.optimizers import *  # noqa: F403
from graphflow.contrib.layers.regularizers import *  # noqa: F403
from graphflow.contrib.layers.summaries import *  # noqa: F403
from graphflow.contrib.layers.volumes import *  # noqa: F403
from graphflow.namespace import lazy

python = _deep(f"{__name__}.python", "layers")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
