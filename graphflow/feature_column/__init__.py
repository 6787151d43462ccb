"""`tf.feature_column`: what models take from features, and what they begin with."""

# ruff: noqa: I001
# fmt: off

from graphflow.feature_column.columns import (
    bucketized_column as bucketized_column,
    categorical_column_with_hash_bucket as categorical_column_with_hash_bucket,
    categorical_column_with_identity as categorical_column_with_identity,
    categorical_column_with_vocabulary_file as categorical_column_with_vocabulary_file,
    categorical_column_with_vocabulary_list as categorical_column_with_vocabulary_list,
    crossed_column as crossed_column, embedding_column as embedding_column, indicator_column as indicator_column,
    make_parse_example_spec as make_parse_example_spec, numeric_column as numeric_column,
    shared_embedding_columns as shared_embedding_columns,
    weighted_categorical_column as weighted_categorical_column,
)
from graphflow.feature_column.layers import input_layer as input_layer, linear_model as linear_model
from graphflow.feature_column.sequences import (
    sequence_categorical_column_with_hash_bucket as sequence_categorical_column_with_hash_bucket,
    sequence_categorical_column_with_identity as sequence_categorical_column_with_identity,
    sequence_categorical_column_with_vocabulary_file as sequence_categorical_column_with_vocabulary_file,
    sequence_categorical_column_with_vocabulary_list as sequence_categorical_column_with_vocabulary_list,
    sequence_numeric_column as sequence_numeric_column,
)
