"""`tf.contrib.slim`: the layers, scopes, losses and loops of slim under its short names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.contrib import losses as losses
from graphflow.contrib.framework import *  # noqa: F403
from graphflow.contrib.framework import arg_scope as arg_scope
from graphflow.contrib.layers import *  # noqa: F403
from graphflow.contrib.layers import initializers as initializers
from graphflow.contrib.layers import layers as layers
from graphflow.contrib.layers import regularizers as regularizers
from graphflow.contrib.layers import summaries as summaries
from graphflow.contrib.layers import utils as utils
from graphflow.contrib.slim import evaluation as evaluation
from graphflow.contrib.slim import learning as learning
from graphflow.contrib.slim import metrics as metrics
from graphflow.contrib.slim import model_analyzer as model_analyzer
from graphflow.namespace import lazy

python = _deep(f"{__name__}.python", "slim")
# Parts of `data` stand here too.
_OF_DATA = (
    "data_decoder", "data_provider", "dataset", "dataset_data_provider", "parallel_reader", "prefetch_queue",
    "tfexample_decoder",
)  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__, ("data", "nets", "queues"), {name: "graphflow.contrib.slim.data" for name in _OF_DATA}
    )
