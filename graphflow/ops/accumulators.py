"""Accumulators: resources that add up gradients of one step, and hand out their mean once there are enough.

A gradient says of which step it is. One of a step before the accumulator's own came too late and is left out; taking
the mean empties the accumulator and moves its step on.

In TensorFlow the handles of the sparse kind are references to strings; a file does not tell the difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError
from graphflow.graph import IndexedSlices, Operation, Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.rules import refuse
from graphflow.resources import Array, Resource, Run, resource_of
from graphflow.shapes import UNKNOWN, TensorShape, as_shape


class Accumulator(Resource):
    """A sum of tensors.

    Attributes:
      step: the step whose gradients are taken.
      count: how many have been added since the last one was taken.
    """

    kind = "accumulator"

    def __init__(self, dtype: DType, shape: TensorShape, mean: bool) -> None:
        super().__init__()
        self.dtype = dtype
        self.shape = shape
        self.mean = mean
        self.step = 0
        self.count = 0
        self._sum: Array | None = None

    def set_step(self, step: int) -> None:
        """Says which step it is from here on."""
        with self.changed:
            self.step = step

    def _is_late(self, step: int) -> bool:
        return step < self.step

    def apply(self, step: int, gradient: Array) -> None:
        """Adds a gradient, unless it is of an earlier step."""
        if as_dtype(gradient.dtype) is not self.dtype:
            raise refuse(f"{self.name!r} adds up {self.dtype.name}, got {gradient.dtype}")
        with self.changed:
            if self._is_late(step):
                return
            wanted = self.shape if self._sum is None else self.shape.merge_with(self._sum.shape)
            if not wanted.is_compatible_with(gradient.shape):
                raise refuse(f"Shape mismatch: expected {wanted}, got {list(gradient.shape)}")
            self._sum = gradient.copy() if self._sum is None else self._sum + gradient
            self.count += 1
            self.changed.notify_all()

    def take(self, run: Run, required: int) -> Array:
        """Waits for so many gradients; returns their mean (or sum), and begins anew."""
        count = self._wait(run, required)
        total, self._sum = self._sum, None
        if total is None:
            raise InvalidArgumentError(None, None, f"{self.name!r} has no gradient")
        return (total / np.asarray(count, total.dtype)).astype(total.dtype) if self.mean else total

    def _wait(self, run: Run, required: int) -> int:
        """Waits; returns how many have been added, and moves on to the next step."""
        if required < 1:
            raise refuse(f"Argument num_required must be positive, got {required}")
        while True:
            self.wait(run, lambda: self.count >= required, "TakeGrad operation")
            with self.changed:
                if self.count >= required:
                    count, self.count = self.count, 0
                    self.step += 1
                    return count


class SparseAccumulator(Accumulator):
    """A sum of tensors of which some rows are given; the mean of each is that of how often it was."""

    kind = "sparse accumulator"

    def __init__(self, dtype: DType, shape: TensorShape, mean: bool) -> None:
        super().__init__(dtype, shape, mean)
        self._rows: dict[int, tuple[Array, int]] = {}
        self._size: Array | None = None

    def apply_rows(self, step: int, indices: Array, values: Array, size: Array | None) -> None:
        """Adds rows, unless they are of an earlier step."""
        if as_dtype(values.dtype) is not self.dtype:
            raise refuse(f"{self.name!r} adds up {self.dtype.name}, got {values.dtype}")
        if indices.ndim != 1 or values.ndim < 1 or len(indices) != len(values):
            raise refuse(f"{list(indices.shape)} indices do not fit {list(values.shape)} values")
        full = [None, *values.shape[1:]] if size is None or not len(size) else [int(n) for n in size]
        if not self.shape.is_compatible_with(full):
            raise refuse(f"Shape mismatch: expected shape {self.shape}, got {full}")
        if full[0] is not None and len(indices) and (indices.min() < 0 or indices.max() >= full[0]):
            raise refuse(f"indices must lie in [0, {full[0]})")
        if values.shape[1:] != tuple(full[1:]):
            raise refuse(f"rows of shape {list(values.shape[1:])} are none of a tensor of shape {full}")
        with self.changed:
            if self._is_late(step):
                return
            for index, row in zip(indices.tolist(), values, strict=True):
                total, times = self._rows.get(index, (None, 0))
                if total is not None and total.shape != row.shape:
                    raise refuse(f"rows of shape {list(row.shape)} after such of {list(total.shape)}")
                self._rows[index] = (row.copy() if total is None else total + row), times + 1
            if size is not None and len(size):
                self._size = size
            self.count += 1
            self.changed.notify_all()

    def take_rows(self, run: Run, required: int) -> tuple[Array, Array, Array]:
        """Waits for so many gradients; returns indices, rows and shape of their mean (or sum), and begins anew."""
        self._wait(run, required)
        rows, self._rows = self._rows, {}
        indices = sorted(rows)
        inner = self.shape.as_list()[1:] if self.shape.rank is not None else []
        made = [rows[i][0] / np.asarray(rows[i][1] if self.mean else 1, self.dtype.numpy) for i in indices]
        empty: Array = np.zeros((0, *(n or 0 for n in inner)), self.dtype.numpy)
        values = np.stack(made).astype(self.dtype.numpy) if made else empty
        size = self._size if self._size is not None else np.array([-1, *values.shape[1:]], np.int64)
        if self.shape.is_fully_defined() and self.shape.rank:
            size = np.array(self.shape.as_list(), np.int64)
        return np.array(indices, np.int64), values, size


# ---------------------------------------------------------------------------- ops

_MADE = f"dtype:type{{{rules.NUMBERS}}}; shape:shape; container:string=; shared_name:string=; " \
    "reduction_type:string{MEAN|SUM}=MEAN"  # fmt: skip
_TYPED = f"dtype:type{{{rules.NUMBERS}}}"


def _made(kind: type[Accumulator], context: Any, node_name: str, attrs: dict[str, Any]) -> Array:
    found = context.resources.get(
        kind, lambda: kind(attrs["dtype"], as_shape(attrs["shape"]), attrs["reduction_type"] == "MEAN"),
        container=attrs["container"], shared_name=attrs["shared_name"], node_name=node_name,
    )  # fmt: skip
    handle: Array = found.handle()
    return handle


@op("ResourceConditionalAccumulator", "", "handle:resource", _MADE, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def conditional_accumulator_op(
    *, dtype: DType, shape: TensorShape, container: str, shared_name: str, reduction_type: str, context: Any,
    node_name: str,
) -> Array:  # fmt: skip
    """The handle of a sum of tensors."""
    attrs = {"dtype": dtype, "shape": shape, "container": container, "shared_name": shared_name,
             "reduction_type": reduction_type}  # fmt: skip
    return _made(Accumulator, context, node_name, attrs)


@op("SparseConditionalAccumulator", "", "handle:resource", _MADE, infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def sparse_conditional_accumulator_op(
    *, dtype: DType, shape: TensorShape, container: str, shared_name: str, reduction_type: str, context: Any,
    node_name: str,
) -> Array:  # fmt: skip
    """The handle of a sum of rows of tensors."""
    attrs = {"dtype": dtype, "shape": shape, "container": container, "shared_name": shared_name,
             "reduction_type": reduction_type}  # fmt: skip
    return _made(SparseAccumulator, context, node_name, attrs)


@op("ResourceAccumulatorApplyGradient", "handle:resource; local_step:int64; gradient:dtype", "", _TYPED,
    infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def accumulator_apply_gradient_op(handle: Array, local_step: Array, gradient: Array) -> None:
    """Adds a gradient of a step to an accumulator."""
    resource_of(handle, Accumulator).apply(int(local_step), gradient)


@op("ResourceAccumulatorTakeGradient", "handle:resource; num_required:int32", "average:dtype", _TYPED,
    infer=rules.unknown, effects="host", differentiable=False)  # fmt: skip
def accumulator_take_gradient_op(handle: Array, num_required: Array, *, context: Any) -> Array:
    """The mean of the gradients of a step, once there are enough."""
    return resource_of(handle, Accumulator).take(context, int(num_required))


@op("ResourceAccumulatorNumAccumulated", "handle:resource", "num_accumulated:int32", infer=rules.scalar,
    effects="host", differentiable=False)  # fmt: skip
def accumulator_num_accumulated_op(handle: Array) -> Array:
    """How many gradients an accumulator has added up."""
    return np.asarray(resource_of(handle, Accumulator).count, np.int32)


@op("ResourceAccumulatorSetGlobalStep", "handle:resource; new_global_step:int64", "", infer=rules.no_output,
    effects="host", differentiable=False)  # fmt: skip
def accumulator_set_global_step_op(handle: Array, new_global_step: Array) -> None:
    """Tells an accumulator which step it is."""
    resource_of(handle, Accumulator).set_step(int(new_global_step))


@op("SparseAccumulatorApplyGradient",
    "handle:resource; local_step:int64; gradient_indices:int64; gradient_values:dtype; gradient_shape:int64", "",
    f"{_TYPED}; has_known_shape:bool", infer=rules.no_output, effects="host", differentiable=False)  # fmt: skip
def sparse_accumulator_apply_op(
    handle: Array, local_step: Array, gradient_indices: Array, gradient_values: Array, gradient_shape: Array, *,
    has_known_shape: bool,
) -> None:  # fmt: skip
    """Adds rows of a gradient of a step to an accumulator."""
    size = gradient_shape if has_known_shape else None
    found = resource_of(handle, SparseAccumulator)
    found.apply_rows(int(local_step), gradient_indices, gradient_values, size)


@op("SparseAccumulatorTakeGradient", "handle:resource; num_required:int32",
    "indices:int64; values:dtype; shape:int64", _TYPED,
    infer=lambda node: [TensorShape([None]), UNKNOWN, TensorShape([None])], effects="host",
    differentiable=False)  # fmt: skip
def sparse_accumulator_take_op(
    handle: Array, num_required: Array, *, context: Any
) -> tuple[Array, Array, Array]:
    """The mean of the rows of the gradients of a step, once there are enough."""
    return resource_of(handle, SparseAccumulator).take_rows(context, int(num_required))


@op("DestroyResourceOp", "resource:resource", "", "ignore_lookup_error:bool=true", infer=rules.no_output,
    effects="host", differentiable=False)  # fmt: skip
def destroy_resource_op(resource: Array) -> None:
    """Ends a resource: who waits for it is woken, who uses it later is refused."""
    resource_of(resource, Resource).end()


# ---------------------------------------------------------------------------- classes


def _shared(kind: str, shared_name: str | None, handles: Sequence[Tensor]) -> str:
    if shared_name is not None:
        return shared_name
    text = ",".join(sorted(handle.name for handle in handles))
    return f"{kind}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class ConditionalAccumulatorBase:
    """What accumulators have in common; a step is that of the session's run, an int64 scalar.

    Args:
      dtype: the dtype of what is added up.
      shape: its shape, as far as it is known.
      accumulator_ref: the handle.
    """

    def __init__(self, dtype: Any, shape: Any, accumulator_ref: Tensor) -> None:
        self._dtype = as_dtype(dtype)
        self._shape = UNKNOWN if shape is None else as_shape(shape)
        self._accumulator_ref = accumulator_ref
        self._name = accumulator_ref.op.name.split("/")[-1]

    @property
    def accumulator_ref(self) -> Tensor:
        """The handle."""
        return self._accumulator_ref

    @property
    def name(self) -> str:
        """The name of the accumulator."""
        return self._name

    @property
    def dtype(self) -> DType:
        """The dtype of what is added up."""
        return self._dtype

    def num_accumulated(self, name: str | None = None) -> Tensor:
        """Returns how many gradients have been added up; int32."""
        result: Tensor = emit.ResourceAccumulatorNumAccumulated(
            self._accumulator_ref, name=name or f"{self._name}_NumAccumulated"
        )
        return result

    def set_global_step(self, new_global_step: Any, name: str | None = None) -> Operation:
        """Returns the operation that says which step it is; gradients of earlier ones are left out."""
        result: Operation = emit.ResourceAccumulatorSetGlobalStep(
            self._accumulator_ref, convert_to_tensor(new_global_step, dtypes.int64), name=name
        )
        return result


class ConditionalAccumulator(ConditionalAccumulatorBase):
    """A sum of tensors that hands out their mean once there are enough.

    Args:
      dtype: the dtype of what is added up.
      shape: its shape, as far as it is known.
      shared_name: a name under which others find the accumulator.
      name: a name.
      reduction_type: "MEAN" or "SUM".
    """

    def __init__(
        self, dtype: Any, shape: Any = None, shared_name: str | None = None, name: str = "conditional_accumulator",
        reduction_type: str = "MEAN",
    ) -> None:  # fmt: skip
        handle = emit.ResourceConditionalAccumulator(
            dtype=as_dtype(dtype), shape=UNKNOWN if shape is None else as_shape(shape), shared_name=shared_name or "",
            reduction_type=reduction_type, name=name,
        )  # fmt: skip
        super().__init__(dtype, shape, handle)

    def apply_grad(self, grad: Any, local_step: Any = 0, name: str | None = None) -> Operation:
        """Returns the operation that adds a gradient of a step; one that comes too late is left out.

        Raises:
          ValueError: if the shape does not fit.
        """
        value = convert_to_tensor(grad, self._dtype)
        value.shape.assert_is_compatible_with(self._shape)
        result: Operation = emit.ResourceAccumulatorApplyGradient(
            self._accumulator_ref, convert_to_tensor(local_step, dtypes.int64), value, name=name
        )
        return result

    def take_grad(self, num_required: Any, name: str | None = None) -> Tensor:
        """Returns the mean of the gradients, waiting for at least `num_required`; the step moves on by one."""
        result: Tensor = emit.ResourceAccumulatorTakeGradient(
            self._accumulator_ref, convert_to_tensor(num_required, dtypes.int32), dtype=self._dtype, name=name
        )
        result.set_shape(self._shape)
        return result


class SparseConditionalAccumulator(ConditionalAccumulatorBase):
    """Likewise for `IndexedSlices`: rows that several gradients have are added up.

    Args: as for `ConditionalAccumulator`.
    """

    def __init__(
        self, dtype: Any, shape: Any = None, shared_name: str | None = None,
        name: str = "sparse_conditional_accumulator", reduction_type: str = "MEAN",
    ) -> None:  # fmt: skip
        handle = emit.SparseConditionalAccumulator(
            dtype=as_dtype(dtype), shape=UNKNOWN if shape is None else as_shape(shape), shared_name=shared_name or "",
            reduction_type=reduction_type, name=name,
        )  # fmt: skip
        super().__init__(dtype, shape, handle)

    def apply_indexed_slices_grad(
        self, grad: IndexedSlices, local_step: Any = 0, name: str | None = None
    ) -> Operation:
        """Returns the operation that adds a gradient in slices."""
        return self.apply_grad(grad.indices, grad.values, grad.dense_shape, local_step, name)

    def apply_grad(
        self, grad_indices: Any, grad_values: Any, grad_shape: Any = None, local_step: Any = 0, name: str | None = None
    ) -> Operation:  # fmt: skip
        """Returns the operation that adds rows of a gradient.

        Args:
          grad_indices: int64 [rows].
          grad_values: the rows.
          grad_shape: the shape of the whole gradient, if it is known.
          local_step: the step that it is of.
          name: a name.
        """
        with name_scope(None, "SparseAccumulatorApplyGradient"):
            indices = emit.Cast(convert_to_tensor(grad_indices), DstT=dtypes.int64)
            shape = convert_to_tensor([] if grad_shape is None else grad_shape, dtypes.int64)
        result: Operation = emit.SparseAccumulatorApplyGradient(
            self._accumulator_ref, convert_to_tensor(local_step, dtypes.int64), indices,
            convert_to_tensor(grad_values, self._dtype), shape, has_known_shape=grad_shape is not None, name=name,
        )  # fmt: skip
        return result

    def take_grad(self, num_required: Any, name: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns indices, rows and shape of the mean, waiting for at least `num_required` gradients."""
        indices, values, shape = emit.SparseAccumulatorTakeGradient(
            self._accumulator_ref, convert_to_tensor(num_required, dtypes.int32), dtype=self._dtype, name=name
        )
        return indices, values, shape

    def take_indexed_slices_grad(self, num_required: Any, name: str | None = None) -> IndexedSlices:
        """Returns the mean as `IndexedSlices`."""
        indices, values, shape = self.take_grad(num_required, name)
        return IndexedSlices(values, indices, shape)


__all__ = ["ConditionalAccumulator", "ConditionalAccumulatorBase", "SparseConditionalAccumulator"]
