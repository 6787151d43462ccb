"""`tf.contrib.feature_column`: columns of sequences and the input that recurrent models take of them."""

from __future__ import annotations

from graphflow.contrib import deep as _deep
from graphflow.feature_column import sequences as _sequences

sequence_categorical_column_with_hash_bucket = _sequences.sequence_categorical_column_with_hash_bucket
sequence_categorical_column_with_identity = _sequences.sequence_categorical_column_with_identity
sequence_categorical_column_with_vocabulary_file = _sequences.sequence_categorical_column_with_vocabulary_file
sequence_categorical_column_with_vocabulary_list = _sequences.sequence_categorical_column_with_vocabulary_list
sequence_input_layer = _sequences.sequence_input_layer
sequence_numeric_column = _sequences.sequence_numeric_column

__all__ = [
    "sequence_categorical_column_with_hash_bucket", "sequence_categorical_column_with_identity",
    "sequence_categorical_column_with_vocabulary_file", "sequence_categorical_column_with_vocabulary_list",
    "sequence_input_layer", "sequence_numeric_column",
]  # fmt: skip

__path__: list[str] = []  # long paths go on from here
python = _deep(f"{__name__}.python", "feature_column")
