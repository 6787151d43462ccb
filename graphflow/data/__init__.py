"""`tf.data`: input pipelines.

A dataset describes a sequence of elements; an iterator goes through it, one element per run. The functions of a
pipeline are traced once and run compiled, like any other part of the graph.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.data.dataset import (
    AUTOTUNE as AUTOTUNE, Dataset as Dataset, FixedLengthRecordDataset as FixedLengthRecordDataset,
    TextLineDataset as TextLineDataset, TFRecordDataset as TFRecordDataset, get_output_classes as get_output_classes,
    get_output_shapes as get_output_shapes, get_output_types as get_output_types,
    INFINITE_CARDINALITY as INFINITE_CARDINALITY, make_initializable_iterator as make_initializable_iterator,
    make_one_shot_iterator as make_one_shot_iterator, Options as Options,
    UNKNOWN_CARDINALITY as UNKNOWN_CARDINALITY,
)
from graphflow.data.iterator import Iterator as Iterator
from graphflow.data.structure import DatasetSpec as DatasetSpec
from graphflow.namespace import lazy

if TYPE_CHECKING:
    from graphflow.data import experimental as experimental

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, ("experimental",))
