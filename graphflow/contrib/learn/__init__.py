"""`tf.contrib.learn`: what programs still use of it: vocabularies and modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphflow.contrib import deep as _deep
from graphflow.contrib.learn import datasets as datasets
from graphflow.contrib.learn import preprocessing as preprocessing
from graphflow.namespace import lazy


class ModeKeys:
    """What a model is built for."""

    TRAIN = "train"
    EVAL = "eval"
    INFER = "infer"


python = _deep(f"{__name__}.python", "learn")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__)
