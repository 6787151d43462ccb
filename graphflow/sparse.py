"""`tf.sparse`: sparse tensors.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from typing import TYPE_CHECKING

from graphflow.ops.crosses import cross as cross, cross_hashed as cross_hashed
from graphflow.ops.sparse import (
    dense_to_sparse as _dense_to_sparse, map_values as map_values, sparse_concat as _sparse_concat,
    sparse_expand_dims as _sparse_expand_dims, sparse_eye as _sparse_eye,
    sparse_fill_empty_rows as _sparse_fill_empty_rows, sparse_mask as _sparse_mask,
    sparse_merge as _sparse_merge, sparse_placeholder as _sparse_placeholder,
    sparse_reorder as _sparse_reorder, sparse_reset_shape as _sparse_reset_shape,
    sparse_reshape as _sparse_reshape, sparse_retain as _sparse_retain, sparse_slice as _sparse_slice,
    sparse_split as _sparse_split, sparse_tensor_to_dense as _sparse_tensor_to_dense,
    sparse_to_indicator as _sparse_to_indicator, sparse_transpose as _sparse_transpose,
)
from graphflow.ops.sparse_math import (
    sparse_add as _sparse_add, sparse_maximum as _sparse_maximum, sparse_minimum as _sparse_minimum,
    sparse_reduce_max as _sparse_reduce_max, sparse_reduce_max_sparse as _sparse_reduce_max_sparse,
    sparse_reduce_sum as _sparse_reduce_sum, sparse_reduce_sum_sparse as _sparse_reduce_sum_sparse,
    sparse_softmax as _sparse_softmax, sparse_tensor_dense_matmul as _sparse_tensor_dense_matmul,
)
from graphflow.ops.sparse_tensor import SparseTensor as SparseTensor
from graphflow.namespace import lazy

# Their names here.
add = _sparse_add
concat = _sparse_concat
expand_dims = _sparse_expand_dims
eye = _sparse_eye
fill_empty_rows = _sparse_fill_empty_rows
from_dense = _dense_to_sparse
mask = _sparse_mask
maximum = _sparse_maximum
merge = _sparse_merge
minimum = _sparse_minimum
placeholder = _sparse_placeholder
reduce_max = _sparse_reduce_max
reduce_max_sparse = _sparse_reduce_max_sparse
reduce_sum = _sparse_reduce_sum
reduce_sum_sparse = _sparse_reduce_sum_sparse
reorder = _sparse_reorder
reset_shape = _sparse_reset_shape
reshape = _sparse_reshape
retain = _sparse_retain
slice = _sparse_slice
softmax = _sparse_softmax
sparse_dense_matmul = _sparse_tensor_dense_matmul
split = _sparse_split
to_dense = _sparse_tensor_to_dense
to_indicator = _sparse_to_indicator
transpose = _sparse_transpose
matmul = _sparse_tensor_dense_matmul

_LATER = {
    "segment_mean": "graphflow.ops.segments:sparse_segment_mean",
    "segment_sqrt_n": "graphflow.ops.segments:sparse_segment_sqrt_n",
    "segment_sum": "graphflow.ops.segments:sparse_segment_sum",
    "SparseConditionalAccumulator": "graphflow.ops.accumulators",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, (), _LATER)
