"""`gf.python_io`: files of records, read and written from Python."""

from __future__ import annotations

from graphflow.namespace import lazy
from graphflow.tfrecord import (
    TFRecordCompressionType,
    TFRecordOptions,
    TFRecordWriter,
    tf_record_iterator,
)

__getattr__, __dir__ = lazy(__name__)

__all__ = ["TFRecordCompressionType", "TFRecordOptions", "TFRecordWriter", "tf_record_iterator"]
