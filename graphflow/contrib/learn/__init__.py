"""`tf.contrib.learn`: what programs still use of it: vocabularies and modes."""

from __future__ import annotations

from graphflow.contrib import deep as _deep
from graphflow.contrib.learn import datasets as datasets
from graphflow.contrib.learn import preprocessing as preprocessing


class ModeKeys:
    """What a model is built for."""

    TRAIN = "train"
    EVAL = "eval"
    INFER = "infer"


python = _deep(f"{__name__}.python", "learn")
