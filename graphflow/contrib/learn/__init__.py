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


_OF_TRAINING = (
    "ChiefSessionCreator", "MonitoredSession", "MonitoredTrainingSession", "Scaffold", "SessionCreator",
    "SingularMonitoredSession", "WorkerSessionCreator",
)  # fmt: skip

python = _deep(f"{__name__}.python", "learn")

if not TYPE_CHECKING:
    # `learn.python.learn.monitored_session` had these before `train` did.
    __getattr__, __dir__ = lazy(__name__, (), dict.fromkeys(_OF_TRAINING, "graphflow.train"))
