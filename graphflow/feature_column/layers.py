"""What models begin with: the dense input of feature columns, and a linear model of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphflow.dtypes import float32, int64
from graphflow.feature_column.columns import CategoricalColumn, Column, DenseColumn, Features
from graphflow.graph import GraphKeys, Tensor
from graphflow.initializers import zeros_initializer
from graphflow.opdef import emit
from graphflow.ops.elementwise import add_n, cast
from graphflow.ops.embeddings import safe_embedding_lookup_sparse
from graphflow.ops.layout import concat, reshape
from graphflow.ops.linalg import matmul
from graphflow.ops.nn import bias_add
from graphflow.ops.source import shape
from graphflow.ops.sparse_tensor import SparseTensor
from graphflow.variable_scope import get_variable, variable_scope


def sorted_columns(
    feature_columns: Any, kind: type[Column] | tuple[type[Column], ...], what: str
) -> list[Any]:
    """The columns in the order of their names.

    Raises:
      ValueError: if there are none, one is of another kind, or two have one name.
    """
    if isinstance(feature_columns, Mapping):
        raise ValueError("Expected feature_columns to be iterable, found dict.")
    found = [feature_columns] if isinstance(feature_columns, Column) else list(feature_columns)
    if not found:
        raise ValueError("feature_columns must not be empty.")
    for column in found:
        if not isinstance(column, kind):
            raise ValueError(f"{what}; given: {column!r}")
    names = [column.name for column in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Duplicate feature column name found for columns: {', '.join(twice)}")
    return sorted(found, key=lambda column: str(column.name))


def _of_examples(feature_columns: Any, kind: Any, what: str) -> list[Any]:
    """The columns in the order of their names, none of them of sequences."""
    found = sorted_columns(feature_columns, kind, what)
    for column in found:
        if getattr(column, "categorical_column", column).is_sequence:
            raise ValueError(
                f"{column!r} is of sequences, which sequence_input_layer takes; here an example is one row"
            )
    return found


def _tell(into: Any, column: Column, scope: Any) -> None:
    if into is not None:
        into[column] = scope.global_variables()


def _collections(weight_collections: Any) -> list[Any]:
    return list({*(weight_collections or ()), GraphKeys.GLOBAL_VARIABLES})


def input_layer(
    features: Mapping[str, Any], feature_columns: Any, weight_collections: Any = None, trainable: bool = True,
    cols_to_vars: dict[Any, Any] | None = None, cols_to_output_tensors: dict[Any, Any] | None = None,
) -> Tensor:  # fmt: skip
    """Returns what columns make of features, side by side in the order of their names.

    Args:
      features: tensors and SparseTensors [batch, ...] by name.
      feature_columns: dense columns: numeric, bucketized, indicator or embedding ones.
      weight_collections: further collections for variables.
      trainable: whether tables are trained.
      cols_to_vars: a dict that is told the variables of each column.
      cols_to_output_tensors: a dict that is told what each column gives.

    Returns:
      [batch, width] float32.

    Raises:
      ValueError: if a column is not dense, or a feature is missing.
    """
    columns = _of_examples(
        feature_columns, DenseColumn,
        "Items of feature_columns must be dense columns. You can wrap a categorical column with an embedding_column "
        "or indicator_column",
    )  # fmt: skip
    values = [v.values if isinstance(v, SparseTensor) else v for v in features.values()]
    with variable_scope(None, "input_layer", [v for v in values if isinstance(v, Tensor)]):
        built = Features(features)
        parts = []
        for column in columns:
            with variable_scope(None, column.scope) as scope:
                tensor = column.dense(built, trainable)
                width = column.variable_shape.num_elements() or 0
                part = reshape(tensor, emit.Pack([shape(tensor)[0], np.int32(width)]))
                part.set_shape([tensor.shape.as_list()[0], width])
                parts.append(part)
                _tell(cols_to_vars, column, scope)
                if cols_to_output_tensors is not None:
                    cols_to_output_tensors[column] = part
                for variable in scope.global_variables():
                    variable.graph.add_to_collections(list(weight_collections or ()), variable)
        return concat(parts, 1)


def linear_model(
    features: Mapping[str, Any], feature_columns: Any, units: int = 1, sparse_combiner: str = "sum",
    weight_collections: Any = None, trainable: bool = True, cols_to_vars: dict[Any, Any] | None = None,
) -> Tensor:  # fmt: skip
    """Returns the weighted sum of what columns make of features, and a bias.

    Args:
      features: tensors and SparseTensors [batch, ...] by name.
      feature_columns: categorical columns and numeric ones.
      units: how many sums there are.
      sparse_combiner: "sum", "mean" or "sqrtn": what is made of the weights of several ids.
      weight_collections: further collections for variables.
      trainable: whether weights are trained.
      cols_to_vars: a dict that is told the variables of each column, and of "bias".

    Returns:
      [batch, units] float32.

    Raises:
      ValueError: if a column is of another kind, or a feature is missing.
    """
    columns = _of_examples(
        feature_columns,
        (DenseColumn, CategoricalColumn),
        "Items of feature_columns must be dense or categorical",
    )
    more = _collections(weight_collections)
    values = [v.values if isinstance(v, SparseTensor) else v for v in features.values()]
    with variable_scope(None, "linear_model", [v for v in values if isinstance(v, Tensor)]) as whole:
        built = Features(features)
        sums = []
        for column in columns:
            with variable_scope(None, column.name) as scope:
                sums.append(_weighted(column, built, units, sparse_combiner, more, trainable))
                _tell(cols_to_vars, column, scope)
        bias = get_variable(
            "bias_weights", [units], float32, zeros_initializer(), trainable=trainable, collections=more
        )
        if cols_to_vars is not None:
            cols_to_vars["bias"] = [
                v for v in whole.global_variables() if v.op.name.startswith(f"{whole.name}/bias_weights")
            ]
        return bias_add(add_n(sums, name="weighted_sum_no_bias"), bias, name="weighted_sum")


def _weighted(
    column: Column, features: Features, units: int, combiner: str, collections: list[Any], trainable: bool
) -> Tensor:
    zeros = zeros_initializer()
    if isinstance(column, CategoricalColumn):
        ids, weights = column.sparse(features)
        # Of ids of any shape there is a row per example.
        flat = emit.Pack([ids.dense_shape[0], np.int64(-1)])
        rows = emit.SparseReshape(ids.indices, ids.dense_shape, flat)
        ids = SparseTensor(rows[0], cast(ids.values, int64), rows[1])
        if weights is not None:
            places = emit.SparseReshape(weights.indices, weights.dense_shape, flat)
            weights = SparseTensor(places[0], weights.values, places[1])
        table = get_variable(
            "weights",
            [column.num_buckets, units],
            float32,
            zeros,
            trainable=trainable,
            collections=collections,
        )
        return safe_embedding_lookup_sparse(table, ids, weights, combiner, name="weighted_sum")
    assert isinstance(column, DenseColumn)
    tensor = column.dense(features)
    width = column.variable_shape.num_elements() or 0
    flat_tensor = reshape(tensor, emit.Pack([shape(tensor)[0], np.int32(width)]))
    table = get_variable(
        "weights", [width, units], float32, zeros, trainable=trainable, collections=collections
    )
    return matmul(flat_tensor, table, name="weighted_sum")


__all__ = ["input_layer", "linear_model", "sorted_columns"]
