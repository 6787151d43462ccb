"""`tf.contrib.training`: hyperparameters, and loops over batches and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.contrib.slim.evaluation import checkpoints_iterator as checkpoints_iterator
from graphflow.contrib.slim.evaluation import evaluate_once as evaluate_once
from graphflow.contrib.slim.learning import add_gradients_summaries as add_gradients_summaries
from graphflow.contrib.slim.learning import clip_gradient_norms as clip_gradient_norms
from graphflow.contrib.slim.learning import create_train_op as create_train_op
from graphflow.contrib.slim.learning import multiply_gradients as multiply_gradients
from graphflow.contrib.training.bucketing import bucket as bucket
from graphflow.contrib.training.bucketing import bucket_by_sequence_length as bucket_by_sequence_length
from graphflow.contrib.training.hparam import HParams as HParams
from graphflow.contrib.training.hparam import parse_values as parse_values
from graphflow.namespace import lazy

python = _deep(f"{__name__}.python", "training")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
