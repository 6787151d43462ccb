"""Linear algebra: products of matrices and tensors, diagonals, norms, factorizations, and gradient clipping."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import as_dtype
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import IndexedSlices, Tensor, name_scope
from graphflow.opdef import constant, constant_value, convert_to_tensor, emit, op, override_operator
from graphflow.ops import row_rules
from graphflow.ops.elementwise import cast, maximum, minimum, square, where
from graphflow.ops.layout import matrix_transpose
from graphflow.ops.reduction import reduce_max, reduce_sum
from graphflow.ops.rules import (
    COMPLEX,
    FLOATS,
    MIXED,
    REALS,
    Array,
    adjoint_of,
    conjugate,
    is_half,
    merged,
    mixed,
    rank_at_least,
    rank_exactly,
    shape_tensor,
    widened,
)
from graphflow.shapes import UNKNOWN, TensorShape, broadcast_shapes

_MATMUL_TYPES = f"{FLOATS}|int32|int64|uint8|uint16|uint32|uint64|{COMPLEX}"


# ---------------------------------------------------------------------------- products of matrices


def _matmul_shape(node: Any) -> TensorShape:
    a = rank_exactly(node, 0, 2, "a").as_list()
    b = rank_exactly(node, 1, 2, "b").as_list()
    rows, inner_a = a[::-1] if node.attrs["transpose_a"] else a
    inner_b, columns = b[::-1] if node.attrs["transpose_b"] else b
    _check_inner(inner_a, inner_b, node)
    return TensorShape([rows, columns])


def _check_inner(inner_a: int | None, inner_b: int | None, node: Any) -> None:
    if inner_a is not None and inner_b is not None and inner_a != inner_b:
        a, b = node.inputs[0].shape, node.inputs[1].shape
        raise ShapeError(f"inner sizes differ, {a} @ {b} ({inner_a} != {inner_b})")


@op("MatMul", "a:T; b:T", "product:T",
    f"transpose_a:bool=false; transpose_b:bool=false; T:type{{{_MATMUL_TYPES}}}; grad_a:bool=false; "
    "grad_b:bool=false",
    infer=_matmul_shape, lowering="matmul")  # fmt: skip
@widened
def matmul_op(a: Array, b: Array, *, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """The product of two matrices, each perhaps transposed first."""
    return np.matmul(a.T if transpose_a else a, b.T if transpose_b else b)


matmul_op.by_row(row_rules.product(("transpose_a", "transpose_b")))


@matmul_op.gradient
def matmul_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Products of the gradient with the other factor."""
    a, b = (conjugate(x) for x in op.inputs)
    ta, tb = op.attrs["transpose_a"], op.attrs["transpose_b"]
    if not ta and not tb:
        return [emit.MatMul(dy, b, transpose_b=True), emit.MatMul(a, dy, transpose_a=True)]
    if not ta:
        return [emit.MatMul(dy, b), emit.MatMul(dy, a, transpose_a=True)]
    if not tb:
        return [emit.MatMul(b, dy, transpose_b=True), emit.MatMul(a, dy)]
    return [
        emit.MatMul(b, dy, transpose_a=True, transpose_b=True),
        emit.MatMul(dy, a, transpose_a=True, transpose_b=True),
    ]


# Only the mixed_precision pass writes it, behind gradients: it needs none.
mixed_matmul_op = op(
    "GraphflowMixedMatMul", "a:T; b:T", "product:U", f"transpose_a:bool=false; transpose_b:bool=false; {MIXED}",
    infer=_matmul_shape, lowering="matmul", differentiable=False,
)(mixed(matmul_op.body))  # fmt: skip


def _batch_matmul_shape(node: Any) -> TensorShape:
    a = rank_at_least(node, 0, 2, "x").as_tuple()
    b = rank_at_least(node, 1, 2, "y").as_tuple()
    if a is None or b is None:
        return UNKNOWN
    rows, inner_a = a[-2:][::-1] if node.attrs["adj_x"] else a[-2:]
    inner_b, columns = b[-2:][::-1] if node.attrs["adj_y"] else b[-2:]
    _check_inner(inner_a, inner_b, node)
    try:
        batch = broadcast_shapes(TensorShape(a[:-2]), TensorShape(b[:-2]))
    except ValueError:
        raise ShapeError(
            f"batch sizes differ and cannot be broadcast, {node.inputs[0].shape} @ {node.inputs[1].shape}"
        ) from None
    return batch.concatenate([rows, columns])


def _same_batch_matmul_shape(node: Any) -> TensorShape:
    a, b = node.inputs[0].shape, node.inputs[1].shape
    if a.rank is not None and b.rank is not None and a.rank >= 2 and b.rank >= 2:
        try:
            a[:-2].merge_with(b[:-2])
        except ValueError:
            raise ShapeError(f"batch sizes differ, {a} @ {b}") from None
    return _batch_matmul_shape(node)


@widened
def _batch_matmul(x: Array, y: Array, *, adj_x: bool = False, adj_y: bool = False) -> Array:
    """Products of matrices that lie in the last two axes, each perhaps conjugated and transposed first."""
    return np.matmul(adjoint_of(x) if adj_x else x, adjoint_of(y) if adj_y else y)


def _batch_matmul_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Products of the gradient with the other factor."""
    x, y = op.inputs
    product = emit.BatchMatMulV2
    ax, ay = op.attrs["adj_x"], op.attrs["adj_y"]
    if not ax and not ay:
        return [product(dy, y, adj_y=True), product(x, dy, adj_x=True)]
    if not ax:
        return [product(dy, y), product(dy, x, adj_x=True)]
    if not ay:
        return [product(y, dy, adj_y=True), product(x, dy)]
    return [product(y, dy, adj_x=True, adj_y=True), product(dy, x, adj_x=True, adj_y=True)]


_ADJOINTS = "adj_x:bool=false; adj_y:bool=false; grad_x:bool=false; grad_y:bool=false"
batch_matmul_op = op(
    "BatchMatMul", "x:T; y:T", "output:T", f"T:type{{{FLOATS}|int32|int64|{COMPLEX}}}; {_ADJOINTS}",
    infer=_same_batch_matmul_shape, lowering="matmul",
)(_batch_matmul)  # fmt: skip
batch_matmul_op.by_row(row_rules.product(("adj_x", "adj_y")))
batch_matmul_op.gradient(_batch_matmul_gradient)
batch_matmul_v2_op = op(
    "BatchMatMulV2", "x:T; y:T", "output:T",
    f"T:type{{{FLOATS}|int16|int32|int64|uint8|uint16|uint32|uint64|{COMPLEX}}}; {_ADJOINTS}",
    infer=_batch_matmul_shape, broadcasting=True, lowering="matmul",
)(_batch_matmul)  # fmt: skip
batch_matmul_v2_op.by_row(row_rules.product(("adj_x", "adj_y")))
batch_matmul_v2_op.gradient(_batch_matmul_gradient)
mixed_batch_matmul_op = op(
    "GraphflowMixedBatchMatMul", "x:T; y:T", "output:U", f"adj_x:bool=false; adj_y:bool=false; {MIXED}",
    infer=_batch_matmul_shape, broadcasting=True, lowering="matmul", differentiable=False,
)(mixed(_batch_matmul))  # fmt: skip


def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False,
    adjoint_b: bool = False, a_is_sparse: bool = False, b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Multiplies matrices.

    Args:
      a: [..., m, k], or [..., k, m] if transposed.
      b: [..., k, n], or [..., n, k] if transposed; leading axes broadcast.
      transpose_a: whether to transpose `a` first.
      transpose_b: whether to transpose `b` first.
      adjoint_a: whether to conjugate and transpose `a` first.
      adjoint_b: whether to conjugate and transpose `b` first.
      a_is_sparse: accepted; a hint that `a` has many zeros.
      b_is_sparse: accepted; a hint that `b` has many zeros.
      name: a name.

    Returns:
      [..., m, n].

    Raises:
      ValueError: if an operand is to be both transposed and adjoint, or sizes do not fit.
    """
    with name_scope(name, "MatMul", [a, b]) as scope:
        if transpose_a and adjoint_a:
            raise ValueError("Only one of transpose_a and adjoint_a can be True.")
        if transpose_b and adjoint_b:
            raise ValueError("Only one of transpose_b and adjoint_b can be True.")
        a, b = _operands(a, b)
        # Ranks decide: two matrices make a MatMul, anything with leading axes a batch of them.
        if any(x.shape.rank is None or x.shape.rank > 2 for x in (a, b)):
            if transpose_a:
                a, adjoint_a = conjugate(a), True
            if transpose_b:
                b, adjoint_b = conjugate(b), True
            product: Tensor = emit.BatchMatMulV2(a, b, adj_x=adjoint_a, adj_y=adjoint_b, name=scope)
            return product
        if adjoint_a:
            a, transpose_a = conjugate(a), True
        if adjoint_b:
            b, transpose_b = conjugate(b), True
        product = emit.MatMul(a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=scope)
        return product


def _operands(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    if isinstance(a, Tensor) or hasattr(a, "_as_graph_element"):
        a = convert_to_tensor(a, name="a")
        return a, convert_to_tensor(b, a.dtype, name="b")
    if isinstance(b, Tensor) or hasattr(b, "_as_graph_element"):
        b = convert_to_tensor(b, name="b")
        return convert_to_tensor(a, b.dtype, name="a"), b
    a = convert_to_tensor(a, name="a")
    return a, convert_to_tensor(b, a.dtype, name="b")


def _matmul_operator(x: Any, y: Any) -> Tensor:
    with name_scope(None, "matmul", [x, y]) as scope:
        return matmul(x, y, name=scope)


override_operator("__matmul__", _matmul_operator)
override_operator("__rmatmul__", lambda y, x: _matmul_operator(x, y))


def batch_matmul(x: Any, y: Any, adj_x: bool = False, adj_y: bool = False, name: str | None = None) -> Tensor:
    """Multiplies matrices that lie in the last two axes; an old name of `matmul`."""
    return matmul(x, y, adjoint_a=adj_x, adjoint_b=adj_y, name=name)


@op("SparseMatMul", "a:Ta; b:Tb", "product:float32",
    "transpose_a:bool=false; transpose_b:bool=false; a_is_sparse:bool=false; b_is_sparse:bool=false; "
    "Ta:type{float32|bfloat16}=float32; Tb:type{float32|bfloat16}=float32", infer=matmul_op.infer)  # fmt: skip
def sparse_mat_mul_op(a: Array, b: Array, *, transpose_a: bool, transpose_b: bool) -> Array:
    """The product of matrices that may hold many zeros: a hint that is not taken, zeros times NaN are NaN."""
    x, y = a.astype(np.float32), b.astype(np.float32)
    return (x.T if transpose_a else x) @ (y.T if transpose_b else y)


@sparse_mat_mul_op.expand
def _sparse_mat_mul_expand(b: Any, node: Any, inputs: Any) -> list[Any] | None:
    if any(value.dtype is not dtypes.float32 for value in inputs):
        return None
    ways = {name: node.attrs[name] for name in ("transpose_a", "transpose_b")}
    return [b.emit("MatMul", *inputs, **ways)]


@sparse_mat_mul_op.gradient
def _sparse_mat_mul_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Products of dy with either operand, whichever way they were turned; in the type of the other operand."""
    a, b = op.inputs
    turned_a, turned_b = op.attrs["transpose_a"], op.attrs["transpose_b"]

    def product(x: Tensor, y: Tensor, like: Tensor, turn_x: bool, turn_y: bool) -> Tensor:
        found: Tensor = emit.SparseMatMul(x, y, transpose_a=turn_x, transpose_b=turn_y)
        return found if found.dtype is like.dtype else emit.Cast(found, DstT=like.dtype)

    if turned_a:
        da = product(b, dy, a, turned_b, True)
    else:
        da = product(dy, b, a, False, not turned_b)
    if turned_b:
        db = product(dy, a, b, True, turned_a)
    else:
        db = product(a, dy, b, not turned_a, False)
    return [da, db]


def sparse_matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, a_is_sparse: bool = False,
    b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Multiplies matrices, float32 or bfloat16, that may hold many zeros; the result is float32. See `matmul`."""
    result: Tensor = emit.SparseMatMul(
        a, b, transpose_a=transpose_a, transpose_b=transpose_b, a_is_sparse=a_is_sparse, b_is_sparse=b_is_sparse,
        name=name,
    )  # fmt: skip
    return result


def matvec(
    a: Any, b: Any, transpose_a: bool = False, adjoint_a: bool = False, a_is_sparse: bool = False,
    b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Multiplies matrices [..., m, k] with vectors [..., k]."""
    with name_scope(name, "MatVec", [a, b]) as scope:
        a, b = _operands(a, b)
        column = emit.ExpandDims(b, -1)
        product = matmul(a, column, transpose_a=transpose_a, adjoint_a=adjoint_a)
        result: Tensor = emit.Squeeze(product, squeeze_dims=(-1,), name=scope)
        return result


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """Returns x @ weights + biases; x [batch, in], weights [in, out], biases [out]."""
    with name_scope(name, "xw_plus_b", [x, weights, biases]) as scope:
        x = convert_to_tensor(x, name="x")
        product = emit.MatMul(x, weights)
        result: Tensor = emit.BiasAdd(product, biases, name=scope)
        return result


def adjoint(matrix: Any, name: str | None = None) -> Tensor:
    """Swaps the last two axes and conjugates."""
    with name_scope(name, "adjoint", [matrix]):
        return matrix_transpose(matrix, conjugate=True)


# ---------------------------------------------------------------------------- tensordot


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Tensor:
    """Sums products over axes of two tensors.

    Args:
      a: a tensor.
      b: a tensor.
      axes: a number n (the last n of `a` with the first n of `b`), or a pair of axes or of lists of axes.
      name: a name.

    Returns:
      A tensor of the remaining axes of `a`, then those of `b`.

    Raises:
      ValueError: if axes do not fit.
    """
    with name_scope(name, "Tensordot", [a, b]) as scope:
        a, b = _operands(a, b)
        if isinstance(axes, Tensor) and (value := constant_value(axes)) is not None:
            axes = value.tolist()
        if a.shape.rank is None or b.shape.rank is None or isinstance(axes, Tensor):
            return _open_tensordot(a, b, axes, scope)
        axes_a, axes_b = _contracted_axes(axes, a.shape.rank, b.shape.rank)
        for i, j in zip(axes_a, axes_b, strict=True):
            if not TensorShape([a.shape[i]]).is_compatible_with([b.shape[j]]):
                raise ValueError(f"sizes of axis {i} of {a.shape} and axis {j} of {b.shape} differ")
        free_a = [i for i in range(a.shape.rank) if i not in axes_a]
        free_b = [i for i in range(b.shape.rank) if i not in axes_b]
        left = _as_matrix(a, free_a, axes_a)
        right = _as_matrix(b, axes_b, free_b)
        product = emit.MatMul(left, right)
        shape = _joined_sizes([(a, free_a), (b, free_b)])
        result: Tensor = emit.Reshape(product, shape, name=scope)
        result.set_shape([a.shape[i] for i in free_a] + [b.shape[i] for i in free_b])
        return result


def _open_tensordot(a: Tensor, b: Tensor, axes: Any, name: str) -> Tensor:
    """The same where only the run knows the ranks or the axes."""
    ranks = [emit.Rank(x) for x in (a, b)]
    if isinstance(axes, int | np.integer):
        chosen = [emit.Range(ranks[0] - axes, ranks[0], 1), emit.Range(0, constant(axes, dtypes.int32), 1)]
    else:
        if not isinstance(axes, Tensor) and (
            len(axes) != 2 or len(np.ravel(axes[0])) != len(np.ravel(axes[1]))
        ):
            raise ValueError(f"'axes' must be an integer or two lists of one length, got {axes!r}")
        parts = [emit.Reshape(convert_to_tensor(axes[i], dtype=dtypes.int32), [-1]) for i in range(2)]
        chosen = [emit.FloorMod(part, rank) for part, rank in zip(parts, ranks, strict=True)]
    factors: list[Tensor] = []
    sizes: list[Tensor] = []
    for x, rank, own in zip((a, b), ranks, chosen, strict=True):
        free, _ = emit.ListDiff(emit.Range(0, rank, 1), own)
        shape = emit.Shape(x)
        kept, summed = emit.GatherV2(shape, free, 0), emit.GatherV2(shape, own, 0)
        first = x is a and not factors
        order = emit.ConcatV2([free, own] if first else [own, free], 0)
        extents = [emit.Prod(part, 0) for part in ((kept, summed) if first else (summed, kept))]
        factors.append(emit.Reshape(emit.Transpose(x, order), emit.Pack(extents)))
        sizes.append(kept)
    result: Tensor = emit.Reshape(emit.MatMul(*factors), emit.ConcatV2(sizes, 0), name=name)
    return result


def _contracted_axes(axes: Any, rank_a: int, rank_b: int) -> tuple[list[int], list[int]]:
    if isinstance(axes, int | np.integer):
        if not 0 <= axes <= builtins.min(rank_a, rank_b):
            raise ValueError(f"`axes` must be between 0 and {builtins.min(rank_a, rank_b)}, got {axes}")
        return list(range(rank_a - int(axes), rank_a)), list(range(int(axes)))
    if len(axes) != 2:
        raise ValueError(f"'axes' must be an integer or have length 2, got {axes!r}")
    first, second = ([int(x) for x in np.ravel(part)] for part in axes)
    if len(first) != len(second):
        raise ValueError(f"Different number of contraction axes {first} and {second}.")
    for part, rank in ((first, rank_a), (second, rank_b)):
        if any(not -rank <= axis < rank for axis in part):
            raise ValueError(f"axes {part} do not fit a tensor of rank {rank}")
    return [axis % rank_a for axis in first], [axis % rank_b for axis in second]


def _as_matrix(x: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """`x` with the axes `rows` made one, then the axes `columns` made one."""
    order = [*rows, *columns]
    if order != sorted(order):
        x = emit.Transpose(x, np.array(order, np.int32))
    if len(rows) == len(columns) == 1:
        return x
    sizes = x.shape.as_list()
    result: Tensor = emit.Reshape(x, _grouped(x, sizes, [range(len(rows)), range(len(rows), len(order))]))
    return result


def _grouped(x: Tensor, sizes: Sequence[int | None], groups: Sequence[Sequence[int]]) -> Any:
    """The shape of `x` with each group of neighbouring axes made one."""
    known: list[int | None] = []
    for group in groups:
        members = [sizes[axis] for axis in group]
        known.append(None if None in members else int(np.prod([m for m in members if m is not None])))
    unknown = [i for i, size in enumerate(known) if size is None]
    if not unknown:
        return np.array(known, np.int32)
    if len(unknown) == 1 and 0 not in known:
        return np.array([-1 if size is None else size for size in known], np.int32)
    shape = emit.Shape(x)
    parts = []
    for group, size in zip(groups, known, strict=True):
        if size is not None:
            parts.append(constant([size], dtypes.int32))
        else:
            picked = emit.GatherV2(shape, np.array(list(group), np.int32), 0)
            parts.append(emit.Prod(picked, 0, keep_dims=True))
    return emit.ConcatV2(parts, 0)


def _joined_sizes(parts: Sequence[tuple[Tensor, Sequence[int]]]) -> Any:
    """The sizes of some axes of some tensors, one after another: an array where all (but one) are known."""
    known = [x.shape.as_list()[axis] for x, axes in parts for axis in axes]
    if known.count(None) == 0 or (known.count(None) == 1 and 0 not in known):
        return np.array([-1 if size is None else size for size in known], np.int32)
    pieces = [emit.GatherV2(emit.Shape(x), np.array(list(axes), np.int32), 0) for x, axes in parts if axes]
    return pieces[0] if len(pieces) == 1 else emit.ConcatV2(pieces, 0)


# ---------------------------------------------------------------------------- einsum


def _parse_einsum(equation: str, ranks: Sequence[int | None]) -> tuple[list[str], str]:
    """Returns the axis labels of each input and of the output; an ellipsis becomes digits, counted from the right.

    Raises:
      ValueError: if the equation is malformed or does not fit the ranks.
    """
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"Equation {equation!r} is for {len(terms)} inputs, got {len(ranks)}")
    widest = 0
    labels = []
    for term, rank in zip(terms, ranks, strict=True):
        named = term.replace("...", "", 1)
        if named and not named.isalpha():
            raise ValueError(f"Indices have incorrect format: {equation!r}")
        if "..." not in term:
            if rank is not None and rank != len(named):
                raise ValueError(
                    f"Unexpected number of dimensions: {term!r} in {equation!r} for an input of rank {rank}"
                )
            labels.append(term)
            continue
        if rank is None:
            raise ValueError(f"an ellipsis in {equation!r} needs inputs of known rank")
        count = rank - len(named)
        if not 0 <= count <= 10:
            raise ValueError(f"{term!r} in {equation!r} does not fit an input of rank {rank}")
        widest = builtins.max(widest, count)
        labels.append(term.replace("...", "".join(str(i) for i in range(count - 1, -1, -1))))
    spread = "".join(str(i) for i in range(widest - 1, -1, -1))
    if arrow:
        output = right.replace("...", spread)
        if len(set(output)) != len(output):
            raise ValueError(f"a label stands twice in the output of {equation!r}")
    else:
        counts = {c: "".join(labels).count(c) for c in "".join(labels)}
        output = spread + "".join(sorted(c for c, n in counts.items() if n == 1 and not c.isdigit()))
    missing = set(output) - set("".join(labels))
    if missing:
        raise ValueError(f"Output of {equation!r} has labels {sorted(missing)} that no input has")
    return labels, output


def _einsum_shape(node: Any) -> TensorShape:
    if "..." in node.attrs["equation"] and any(x.shape.rank is None for x in node.inputs):
        return UNKNOWN
    labels, output = _parse_einsum(node.attrs["equation"], [x.shape.rank for x in node.inputs])
    sizes: dict[str, int | None] = {}
    for term, value in zip(labels, node.inputs, strict=True):
        for label, size in zip(term, value.shape.as_tuple() or [None] * len(term), strict=True):
            old = sizes.get(label)
            if label.isdigit() and 1 in (old, size):
                sizes[label] = size if old == 1 or label not in sizes else old
                continue
            if old is not None and size is not None and old != size:
                raise ShapeError(f"label {label!r} of {node.attrs['equation']!r} has sizes {old} and {size}")
            sizes[label] = size if old is None else old
    return TensorShape([sizes[label] for label in output])


@op("Einsum", "inputs:N*T", "output:T", "equation:string; N:int>=1; T:type", infer=_einsum_shape)
def einsum_op(inputs: list[Array], *, equation: str) -> Array:
    """Sums of products as the equation says."""
    narrow = inputs[0].dtype
    if is_half(inputs[0]):
        inputs = [x.astype(np.float32) for x in inputs]
    return np.asarray(np.einsum(equation, *inputs)).astype(narrow)


einsum_op.by_row(row_rules.einsum)


@einsum_op.gradient
def einsum_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Each input's gradient is an einsum of the output's with the other inputs."""
    labels, output = _parse_einsum(op.attrs["equation"], [x.shape.rank for x in op.inputs])
    if any(len(set(term)) != len(term) for term in labels):
        return [_diagonal_gradient(op, labels, output, dy, i) for i in range(len(labels))]
    return [_einsum_input_gradient(op.inputs, labels, output, dy, i) for i in range(len(labels))]


def _einsum_input_gradient(
    inputs: Sequence[Tensor], labels: Sequence[str], output: str, dy: Tensor, position: int
) -> Tensor:
    others = [i for i in range(len(labels)) if i != position]
    known = set(output).union(*(labels[i] for i in others))
    wanted = labels[position]
    kept = "".join(label for label in wanted if label in known)
    terms = [output, *(labels[i] for i in others)]
    gradient = _contract([dy, *(conjugate(inputs[i]) for i in others)], terms, kept)
    x = inputs[position]
    if kept != wanted:
        # A label that stands nowhere else was summed over: its gradient is the same along it.
        for axis, label in enumerate(wanted):
            if label not in known:
                gradient = emit.ExpandDims(gradient, axis)
        gradient = emit.BroadcastTo(gradient, shape_tensor(x))
    stretched = [
        axis for axis, label in enumerate(wanted)
        if label.isdigit() and x.shape.as_list()[axis] == 1 and gradient.shape.as_list()[axis] != 1
    ]  # fmt: skip
    if stretched:
        gradient = emit.Sum(gradient, np.array(stretched, np.int32), keep_dims=True)
    return gradient


def _diagonal_gradient(op: Any, labels: list[str], output: str, dy: Tensor, position: int) -> Tensor:
    """The gradient where a label stands twice in a term: that of the diagonal, put back on it."""
    singles = ["".join(dict.fromkeys(term)) for term in labels]
    diagonals = [
        x if single == term else emit.Einsum([x], equation=f"{_letters(term)}->{_letters(single)}")
        for x, term, single in zip(op.inputs, labels, singles, strict=True)
    ]
    gradient = _einsum_input_gradient(diagonals, singles, output, dy, position)
    term, single = labels[position], singles[position]
    if term == single:
        return gradient
    x = op.inputs[position]
    sizes = [size for size in x.shape.as_list() if size is not None]
    if len(sizes) != len(term):
        raise ValueError("the gradient of a diagonal in einsum needs a known shape")
    grids = np.indices([sizes[term.index(label)] for label in single])
    mask = np.zeros(sizes, x.dtype.as_numpy_dtype)
    mask[tuple(grids[single.index(label)] for label in term)] = 1
    first = [size if term.index(term[axis]) == axis else 1 for axis, size in enumerate(sizes)]
    result: Tensor = emit.Mul(emit.Reshape(gradient, np.array(first, np.int32)), mask)
    return result


def _letters(term: str) -> str:
    """Labels with the digits that stand for an ellipsis written as letters."""
    return "".join("ABCDEFGHIJ"[int(c)] if c.isdigit() else c for c in term)


def einsum(equation: str, *inputs: Any, **kwargs: Any) -> Tensor:
    """Sums products of tensors over named axes, in Einstein's notation.

    Args:
      equation: such as "bij,bjk->bik"; without an arrow the output has the labels that stand once, in order.
      *inputs: the tensors, or one list of them.
      **kwargs: `name`; `optimize` is accepted.

    Raises:
      ValueError: if the equation does not fit the inputs.
    """
    name = kwargs.pop("name", None)
    kwargs.pop("optimize", None)
    if kwargs:
        raise TypeError(f"invalid keyword arguments for this function: {', '.join(sorted(kwargs))}")
    if len(inputs) == 1 and isinstance(inputs[0], list | tuple):
        inputs = tuple(inputs[0])
    with name_scope(name, "einsum", inputs):
        first = next((x for x in inputs if isinstance(x, Tensor) or hasattr(x, "_as_graph_element")), None)
        dtype = None if first is None else as_dtype(first.dtype)
        tensors: list[Tensor] = []
        for x in inputs:
            tensors.append(convert_to_tensor(x, dtype))
            dtype = dtype or tensors[0].dtype
        labels, output = _parse_einsum(equation, [x.shape.rank for x in tensors])
        plain = all(len(set(term)) == len(term) for term in labels)
        if not plain or any(x.shape.rank is None for x in tensors):
            result: Tensor = emit.Einsum(tensors, equation=equation.replace(" ", ""))
            return result
        _check_sizes(equation, labels, tensors)
        return _contract(tensors, labels, output)


def _check_sizes(equation: str, labels: Sequence[str], inputs: Sequence[Tensor]) -> None:
    sizes: dict[str, int] = {}
    for term, x in zip(labels, inputs, strict=True):
        for label, size in zip(term, x.shape.as_list(), strict=True):
            if size is None or (label.isdigit() and size == 1):
                continue
            if sizes.setdefault(label, size) != size:
                raise ValueError(f"label {label!r} of {equation!r} has sizes {sizes[label]} and {size}")


def _contract(inputs: Sequence[Tensor], labels: Sequence[str], output: str) -> Tensor:
    """Einsum of tensors without a label twice in a term: by sums, products and transpositions, left to right."""
    value, term = inputs[0], labels[0]
    for i in range(1, len(inputs)):
        later = set(output).union(*labels[i + 1 :]) if i + 1 < len(labels) else set(output)
        value, term = _contract_pair(value, term, inputs[i], labels[i], later, output)
    value, term = _summed(value, term, set(output))
    if term != output:
        value = emit.Transpose(value, np.array([term.index(label) for label in output], np.int32))
    return value


def _summed(x: Tensor, term: str, keep: set[str]) -> tuple[Tensor, str]:
    dropped = [axis for axis, label in enumerate(term) if label not in keep]
    if not dropped:
        return x, term
    return emit.Sum(x, np.array(dropped, np.int32)), "".join(label for label in term if label in keep)


def _contract_pair(
    a: Tensor, term_a: str, b: Tensor, term_b: str, keep: set[str], output: str
) -> tuple[Tensor, str]:
    a, term_a = _summed(a, term_a, keep | set(term_b))
    b, term_b = _summed(b, term_b, keep | set(term_a))
    # An ellipsis axis of size 1 stretches, which only leading axes of a product can do.
    batch = "".join(label for label in term_a if label in term_b and label in keep)
    inner = "".join(label for label in term_a if label in term_b and label not in keep)
    free_a = "".join(label for label in term_a if label not in term_b)
    free_b = "".join(label for label in term_b if label not in term_a)
    if output and not batch and sorted(free_a + free_b) == sorted(output) and output == free_b + free_a:
        # The product comes out in the order that is asked for if the factors change places.
        a, b, term_a, term_b, free_a, free_b = b, a, term_b, term_a, free_b, free_a
    if not inner or not (free_a or free_b):
        # Nothing that a matrix product would share: multiply, and add up what is left over.
        product, term = _multiplied(a, term_a, b, term_b, batch + inner, free_a, free_b)
        return _summed(product, term, keep)
    left, transpose_left = _arranged(a, term_a, batch, free_a, inner)
    right, transpose_right = _arranged(b, term_b, batch, inner, free_b)
    if batch:
        # adj_x conjugates; undo it beforehand.
        left = conjugate(left) if transpose_left else left
        right = conjugate(right) if transpose_right else right
        product = emit.BatchMatMulV2(left, right, adj_x=transpose_left, adj_y=transpose_right)
    else:
        product = emit.MatMul(left, right, transpose_a=transpose_left, transpose_b=transpose_right)
    term = batch + free_a + free_b
    if len(free_a) == len(free_b) == 1:
        return product, term
    parts: list[tuple[Tensor, list[int]]] = [
        (product, list(range(len(batch)))),
        (a, [term_a.index(label) for label in free_a]),
        (b, [term_b.index(label) for label in free_b]),
    ]
    shaped = emit.Reshape(product, _joined_sizes([part for part in parts if part[1]]))
    sizes = [size for x, axes in parts for size in (x.shape.as_list()[axis] for axis in axes)]
    shaped.set_shape(sizes)
    return shaped, term


def _arranged(x: Tensor, term: str, batch: str, rows: str, columns: str) -> tuple[Tensor, bool]:
    """`x` as [batch..., rows, columns], or its transpose where that needs no data to move."""
    swapped = term == batch + columns + rows and term != batch + rows + columns
    order = batch + (columns + rows if swapped else rows + columns)
    if term != order:
        x = emit.Transpose(x, np.array([term.index(label) for label in order], np.int32))
    count = len(batch)
    first, second = (len(columns), len(rows)) if swapped else (len(rows), len(columns))
    if first != 1 or second != 1:
        groups = [[i] for i in range(count)]
        groups += [list(range(count, count + first)), list(range(count + first, count + first + second))]
        x = emit.Reshape(x, _grouped(x, x.shape.as_list(), groups))
    return x, swapped


def _multiplied(
    a: Tensor, term_a: str, b: Tensor, term_b: str, batch: str, free_a: str, free_b: str
) -> tuple[Tensor, str]:
    """The product where no axis is summed: each factor is given the axes it lacks."""
    term = batch + free_a + free_b

    def spread(x: Tensor, own: str) -> Tensor:
        order = [own.index(label) for label in term if label in own]
        if order != sorted(order):
            x = emit.Transpose(x, np.array(order, np.int32))
        at = 0
        for label in term:
            if label in own:
                at += 1
            elif at:  # leading axes of size 1 come by broadcasting
                x = emit.ExpandDims(x, at)
                at += 1
        return x

    return emit.Mul(spread(a, term_a), spread(b, term_b)), term


# ---------------------------------------------------------------------------- traces and identities


def trace(x: Any, name: str | None = None) -> Tensor:
    """Returns the sums of the diagonals of matrices [..., m, n]."""
    with name_scope(name, "Trace", [x]) as scope:
        diagonal = emit.MatrixDiagPart(convert_to_tensor(x, name="x"))
        result: Tensor = emit.Sum(diagonal, np.array([-1], np.int32), name=scope)
        return result


_MOST_IDENTITY = (
    2**20
)  # elements of an identity matrix that is a constant of the graph; larger ones are made in the run


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns identity matrices.

    Args:
      num_rows: the number of rows.
      num_columns: the number of columns; default `num_rows`.
      batch_shape: leading sizes.
      dtype: the dtype.
      name: a name.

    Returns:
      [*batch_shape, num_rows, num_columns].
    """
    with name_scope(name, "eye", [num_rows, num_columns, batch_shape]) as scope:
        kind = as_dtype(dtype)
        rows, columns = _size(num_rows), _size(num_rows if num_columns is None else num_columns)
        batch = _size(batch_shape) if batch_shape is not None else []
        known = all(not isinstance(size, Tensor) for size in (rows, columns, batch))
        if known and math.prod([*batch, int(rows), int(columns)]) <= _MOST_IDENTITY:
            matrix = np.eye(int(rows), int(columns), dtype=kind.as_numpy_dtype)
            return constant(np.broadcast_to(matrix, (*batch, int(rows), int(columns))), name=scope)
        ones = emit.Fill(
            emit.ConcatV2(
                [
                    emit.Cast(convert_to_tensor(batch, dtypes.int32), DstT=dtypes.int32),
                    [minimum(rows, columns)],
                ],
                0,
            ),
            np.ones((), kind.as_numpy_dtype),
        )
        shape = emit.ConcatV2([convert_to_tensor(batch, dtypes.int32), [rows], [columns]], 0)
        zeros = emit.Fill(shape, np.zeros((), kind.as_numpy_dtype))
        result: Tensor = emit.MatrixSetDiag(zeros, ones, name=scope)
        return result


def _size(value: Any) -> Any:
    """A size, or several, as numbers where they are known while building."""
    if isinstance(value, Tensor):
        known = constant_value(value)
        return value if known is None else known.tolist()
    if isinstance(value, TensorShape):
        return value.as_list()
    if isinstance(value, list | tuple | np.ndarray):
        if any(isinstance(item, Tensor) for item in value):
            return convert_to_tensor(value, dtypes.int32)
        return [int(item) for item in value]
    return int(value)


# ---------------------------------------------------------------------------- vectors


@op("Cross", "a:T; b:T", "product:T", f"T:type{{{REALS}}}", infer=merged)
@widened
def cross_op(a: Array, b: Array) -> Array:
    """Cross products of vectors of three in the last axis."""
    if a.shape[-1:] != (3,):
        raise InvalidArgumentError(
            None, None, f"Cross-products are only defined for 3-element vectors, got {a.shape}"
        )
    x, y = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    parts = [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]
    return np.stack(parts, axis=-1)


@cross_op.gradient
def cross_gradient(op: Any, dy: Tensor) -> list[Any]:
    """Cross products with the other factor."""
    a, b = op.inputs
    return [emit.Cross(b, dy), emit.Cross(dy, a)]


def cross(a: Any, b: Any, name: str | None = None) -> Tensor:
    """Returns cross products of vectors [..., 3]."""
    result: Tensor = emit.Cross(a, b, name=name)
    return result


def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool | None = None, name: str | None = None,
    keep_dims: bool | None = None,
) -> Tensor:  # fmt: skip
    """Returns norms of vectors or matrices.

    Args:
      tensor: real or complex.
      ord: "euclidean", "fro" (matrices), a positive number or infinity; for matrices 1, 2 and infinity too.
      axis: None for all elements as one vector, an axis for vectors, two axes for matrices.
      keepdims: whether the axes stay with size one.
      name: a name.
      keep_dims: the old name of keepdims.

    Raises:
      ValueError: if the order is none of these.
    """
    keep = bool(keepdims if keepdims is not None else keep_dims)
    is_matrix = isinstance(axis, tuple | list) and len(axis) == 2
    if isinstance(axis, tuple | list) and len(axis) == 1:
        axis = axis[0]
    elif isinstance(axis, tuple | list) and len(axis) != 2:
        raise ValueError("'axis' must be None, an integer, or a tuple of 2 unique integers")
    if is_matrix and axis[0] == axis[1]:
        raise ValueError("'axis' must be None, an integer, or a tuple of 2 unique integers")
    if isinstance(ord, str) and ord not in ("euclidean", "fro") or (ord == "fro" and not is_matrix):
        raise ValueError(f"'ord' must be a supported norm, got {ord!r}")
    with name_scope(name, "norm", [tensor]):
        tensor = convert_to_tensor(tensor)
        if ord in ("fro", "euclidean") or (ord in (2, 2.0) and not is_matrix):
            total = reduce_sum(tensor * conjugate(tensor), axis, keepdims=True)
            result = cast(emit.Sqrt(total), tensor.dtype.real_dtype)
        elif is_matrix and ord in (2, 2.0):
            raise ValueError("the spectral norm is not supported; use 'euclidean', 1 or infinity")
        else:
            size = (
                emit.ComplexAbs(tensor, Tout=tensor.dtype.real_dtype)
                if tensor.dtype.is_complex
                else emit.Abs(tensor)
            )
            if is_matrix:
                first, second = (axis[0], axis[1]) if ord in (1, 1.0) else (axis[1], axis[0])
                if ord not in (1, 1.0, np.inf):
                    raise ValueError(f"'ord' must be 1, infinity or 'fro' for matrices, got {ord!r}")
                result = reduce_max(reduce_sum(size, first, keepdims=True), second, keepdims=True)
            elif ord in (1, 1.0):
                result = reduce_sum(size, axis, keepdims=True)
            elif ord == np.inf:
                result = reduce_max(size, axis, keepdims=True)
            elif not isinstance(ord, str) and ord > 0:
                result = emit.Pow(reduce_sum(emit.Pow(size, ord), axis, keepdims=True), 1.0 / ord)
            else:
                raise ValueError(f"'ord' must be a supported norm, got {ord!r}")
        if keep:
            return result
        axes = () if axis is None else tuple(axis) if is_matrix else (int(axis),)
        squeezed: Tensor = emit.Squeeze(result, squeeze_dims=axes)
        return squeezed


def normalize(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Returns `tensor / norm` and the norm, whose normed axes have size one; see `norm` for the arguments.

    Raises:
      ValueError: if the order or the axis is none of `norm`'s.
    """
    with name_scope(name, "normalize", [tensor]):
        tensor = convert_to_tensor(tensor)
        size = cast(norm(tensor, ord, axis, keepdims=True), tensor.dtype)
        return tensor / size, size


def l2_normalize(
    x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None
) -> Tensor:
    """Returns x / sqrt(max(sum(x²), epsilon)), the sum over `axis` (all axes if None; `dim` is its old name)."""
    axis = axis if axis is not None else dim
    with name_scope(name, "l2_normalize", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        total = reduce_sum(square(x), axis, keepdims=True)
        inverse = emit.Rsqrt(maximum(total, epsilon))
        result: Tensor = emit.Mul(x, inverse, name=scope)
        return result


# ---------------------------------------------------------------------------- clipping


def _values(item: Any) -> Any:
    return item.values if isinstance(item, IndexedSlices) else item


def _with_values(item: Any, values: Tensor) -> Any:
    return (
        IndexedSlices(values, item.indices, item.dense_shape) if isinstance(item, IndexedSlices) else values
    )


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """Scales a tensor down where its l2 norm is above a bound.

    Args:
      t: tensor or IndexedSlices.
      clip_norm: the bound, a positive scalar.
      axes: the axes whose elements make one norm; all if None.
      name: a name.

    Returns:
      What `t` is, of the same shape.
    """
    with name_scope(name, "clip_by_norm", [t, clip_norm]) as scope:
        values: Any = convert_to_tensor(_values(t), name="t")
        total = reduce_sum(values * values, axes, keepdims=True)
        positive = emit.Greater(total, np.zeros((), total.dtype.as_numpy_dtype))
        # The root of zero has no gradient, so it is taken of a one instead.
        safe = where(positive, total, emit.OnesLike(total))
        length = where(positive, emit.Sqrt(safe), total)
        bound = convert_to_tensor(clip_norm, values.dtype)
        scaled = values * bound
        scaled.shape.assert_is_compatible_with(values.shape)
        clipped = emit.Identity(scaled / maximum(length, bound), name=scope)
        return _with_values(t, clipped)


def global_norm(t_list: Sequence[Any], name: str | None = None) -> Tensor:
    """Returns the l2 norm of several tensors taken together; entries that are None do not count.

    Raises:
      TypeError: if `t_list` is no sequence.
    """
    if not isinstance(t_list, Sequence) or isinstance(t_list, str):
        raise TypeError(f"`t_list` should be a sequence of tensors, got {t_list!r}")
    with name_scope(name, "global_norm", [_values(t) for t in t_list if t is not None]):
        halves = [emit.L2Loss(convert_to_tensor(_values(t))) for t in t_list if t is not None]
        total = reduce_sum(emit.Pack(halves))
        result: Tensor = emit.Sqrt(emit.Mul(total, constant(2.0, total.dtype)), name="global_norm")
        return result


def clip_by_global_norm(
    t_list: Sequence[Any], clip_norm: Any, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Tensor]:
    """Scales several tensors down by one factor where their common norm is above a bound.

    Args:
      t_list: tensors, IndexedSlices or None.
      clip_norm: the bound.
      use_norm: the common norm, if it is known already.
      name: a name.

    Returns:
      `(clipped, norm)`. Where the norm is infinite or NaN all are NaN.
    """
    if not isinstance(t_list, Sequence) or isinstance(t_list, str):
        raise TypeError(f"`t_list` should be a sequence of tensors, got {t_list!r}")
    items = list(t_list)
    if use_norm is None:
        use_norm = global_norm(items, name)
    with name_scope(
        name, "clip_by_global_norm", [_values(t) for t in items if t is not None] + [clip_norm]
    ) as scope:
        use_norm = convert_to_tensor(use_norm)
        bound: Any = convert_to_tensor(clip_norm, use_norm.dtype)
        # The two terms differ only where the norm is not finite: then this is NaN, as it should be.
        scale = bound * minimum(1.0 / use_norm, constant(1.0, use_norm.dtype) / bound)
        scale = where(emit.IsFinite(use_norm), scale, constant(float("nan"), use_norm.dtype))
        done: dict[int, Any] = {}
        clipped: list[Any] = []
        for i, item in enumerate(items):
            if item is None:
                clipped.append(None)
                continue
            if id(item) not in done:
                values = convert_to_tensor(_values(item))
                factor = cast(scale, values.dtype)
                done[id(item)] = _with_values(item, emit.Identity(values * factor, name=f"{scope}_{i}"))
            clipped.append(done[id(item)])
        return clipped, use_norm


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Tensor:
    """Scales a tensor down where its l2 norm per element is above a bound."""
    with name_scope(name, "clip_by_average_norm", [t, clip_norm]) as scope:
        t = convert_to_tensor(t, name="t")
        count = cast(emit.Size(t), t.dtype)
        inverse = emit.Rsqrt(reduce_sum(t * t, keepdims=True))
        bound: Any = convert_to_tensor(clip_norm, t.dtype)
        result: Tensor = emit.Mul(t * bound, minimum(inverse * count, 1.0 / bound), name=scope)
        return result


__all__ = [
    "adjoint", "batch_matmul", "clip_by_average_norm", "clip_by_global_norm", "clip_by_norm", "cross", "einsum",
    "eye", "global_norm", "l2_normalize", "matmul", "matvec", "norm", "normalize", "sparse_matmul", "tensordot",
    "trace", "xw_plus_b",
]  # fmt: skip
