"""The ops, each in one place: a module per family, which registers what it defines when it loads.

Importing the package loads none. Whoever wants the functions of a family imports it; the registry loads them when
it is asked for an op that no loaded one has: first those that most programs use, then those of optimizers, which models
that are served do without, then those of pictures, then all.
"""

import functools
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from graphflow.collector import while_loading
from graphflow.namespace import lazy
from graphflow.opdef import set_families

__all__ = [
    "accumulators", "backprops", "barriers", "beams", "boxes", "candidates", "cells", "collectives", "color", "control",
    "convolution",
    "counting", "crosses", "csv_datasets", "ctc", "data_formats", "datasets", "diagonals", "distributions",
    "draws", "elementwise", "embeddings", "factorizations", "files", "functional", "fused",
    "global_normalization", "hashing", "image", "image_files", "io", "layout", "learned_candidates",
    "linalg", "lists", "messages", "moments", "morphology", "ngrams", "nn", "optional", "parsing", "patches", "pools",
    "quantize", "quantized", "queues", "random", "readers", "reduction", "resize", "rows", "scatter",
    "segments", "sequence_examples", "session_tensors", "sets", "sorting", "source", "sparse", "sparse_math",
    "sparse_maps", "sparse_messages", "sparse_tensor", "spatial", "special_functions", "spectral", "staging", "state",
    "stateless", "strings", "summaries", "tables", "training", "unicode", "volumes",
]  # fmt: skip


# What most programs use.
_EVERYDAY = ("elementwise", "fused", "layout", "nn", "reduction", "rows", "source", "state")
_TRAINING = ("training",)
# What those need on top that look at pictures.
_PICTURES = ("convolution",)


def _load(families: Iterable[str]) -> None:
    with while_loading():
        for family in families:
            importlib.import_module(f"graphflow.ops.{family}")


set_families([functools.partial(_load, families) for families in (_EVERYDAY, _TRAINING, _PICTURES, __all__)])

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, __all__)
