"""`gf.io`: files, records, and what stands in them.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from graphflow.namespace import lazy
from graphflow.ops.files import matching_files as matching_files, read_file as read_file, write_file as write_file
from graphflow.ops.parsing import (
    decode_compressed as decode_compressed, decode_csv as decode_csv,
    decode_json_example as decode_json_example, decode_raw as decode_raw, FixedLenFeature as FixedLenFeature,
    FixedLenSequenceFeature as FixedLenSequenceFeature, parse_example as parse_example,
    parse_single_example as parse_single_example,
    parse_single_sequence_example as parse_single_sequence_example, parse_tensor as parse_tensor,
    serialize_tensor as serialize_tensor, SparseFeature as SparseFeature, VarLenFeature as VarLenFeature,
)
from graphflow.ops.queues import (
    PaddingFIFOQueue as PaddingFIFOQueue, PriorityQueue as PriorityQueue, QueueBase as QueueBase,
    RandomShuffleQueue as RandomShuffleQueue,
)
from graphflow.ops.sequence_examples import parse_sequence_example as parse_sequence_example
from graphflow.ops.sparse_messages import (
    deserialize_many_sparse as deserialize_many_sparse, serialize_many_sparse as serialize_many_sparse,
    serialize_sparse as serialize_sparse,
)
from graphflow.ops.strings import decode_base64 as decode_base64, encode_base64 as encode_base64
from graphflow.tfrecord import (
    tf_record_iterator as tf_record_iterator, TFRecordCompressionType as TFRecordCompressionType,
    TFRecordOptions as TFRecordOptions, TFRecordWriter as TFRecordWriter,
)

_LATER = {
    "match_filenames_once": "graphflow.train.input",
    "write_graph": "graphflow.serialization.graph_def",
    **dict.fromkeys(
        (
            "decode_and_crop_jpeg", "decode_bmp", "decode_gif", "decode_image", "decode_jpeg", "decode_png",
            "encode_jpeg", "encode_png", "extract_jpeg_shape",
        ),
        "graphflow.image",
    ),
}

__getattr__, __dir__ = lazy(__name__, ("gfile",), _LATER)

__all__ = [
    "FixedLenFeature", "FixedLenSequenceFeature", "PaddingFIFOQueue", "PriorityQueue", "QueueBase",
    "RandomShuffleQueue", "SparseFeature", "TFRecordCompressionType", "TFRecordOptions", "TFRecordWriter",
    "VarLenFeature", "decode_base64", "decode_compressed", "decode_csv", "decode_json_example", "decode_raw",
    "deserialize_many_sparse", "encode_base64", "gfile", "match_filenames_once", "matching_files",
    "parse_example", "parse_single_example",
    "parse_sequence_example", "parse_single_sequence_example",
    "parse_tensor", "read_file", "serialize_many_sparse", "serialize_sparse",
    "serialize_tensor", "tf_record_iterator",
    "write_file", "write_graph",
]
