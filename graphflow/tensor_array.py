"""TensorArray: a list of tensors that loops write and read, with TF1's members; `ops.lists` holds the elements.

Each operation gives a new `TensorArray`, as in TF1. Elements that a run surely reads or writes twice are refused when
it is put together (`array_accesses`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, nest
from graphflow.array_accesses import note_access, note_strict
from graphflow.dtypes import DType, as_dtype
from graphflow.graph import Operation, Tensor, name_scope
from graphflow.opdef import constant_value, convert_to_tensor, emit
from graphflow.shapes import TensorShape, as_shape


class TensorArray:
    """A list of tensors of one dtype.

    Args:
      dtype: the dtype of the elements.
      size: int32 scalar: how many elements it has.
      dynamic_size: whether writing behind the end makes it longer.
      clear_after_read: whether elements may be read once only; so unless False. A run that reads one twice is refused.
      tensor_array_name: accepted.
      handle: accepted in the place of `flow`: the list of an existing one.
      flow: the list of an existing one, in which case no list is made.
      infer_shape: whether all elements must have the shape of the first one that is written. Elements that have not
        been written are zeros; of an array for which neither this nor the whole `element_shape` is given, they cannot
        be read.
      element_shape: what is known of the elements' shape.
      colocate_with_first_write_call: accepted.
      name: a name scope.

    Raises:
      ValueError: if neither or both of `size` and an existing list are given.
    """

    def __init__(
        self,
        dtype: Any,
        size: Any = None,
        dynamic_size: bool | None = None,
        clear_after_read: bool | None = None,
        tensor_array_name: str | None = None,
        handle: Any = None,
        flow: Any = None,
        infer_shape: bool = True,
        element_shape: Any = None,
        colocate_with_first_write_call: bool = True,
        name: str | None = None,
    ) -> None:
        existing = flow if flow is not None else handle
        if existing is not None and size is not None:
            raise ValueError("Cannot provide both a handle and size arguments at the same time")
        if existing is None and size is None:
            raise ValueError("Size must be provided if handle is not provided")
        if existing is not None and element_shape is not None and flow is None:
            raise ValueError("Cannot provide both a handle and element_shape arguments at the same time")
        self._dtype = as_dtype(dtype)
        self._dynamic = bool(dynamic_size)
        self._infer_shape = infer_shape
        self._element_shape = as_shape(element_shape)
        self._colocate = colocate_with_first_write_call
        # What all versions of the array have in common. One that is made of a flow is another array.
        self._identity = object()
        self._clears = clear_after_read is not False and existing is None
        self._strict = existing is None
        if existing is not None:
            self._flow: Tensor = convert_to_tensor(existing)
            return
        with name_scope(name, "TensorArrayV2", [size]) as scope:
            self._flow = emit.TensorListReserve(
                self._said(self._element_shape), convert_to_tensor(size, dtypes.int32, name="size"),
                element_dtype=self._dtype, name=scope,
            )  # fmt: skip

    @staticmethod
    def _said(shape: TensorShape) -> Any:
        dims = shape.as_tuple()
        return np.array(-1 if dims is None else [-1 if d is None else d for d in dims], np.int32)

    def _with(self, flow: Tensor, shape: TensorShape | None = None) -> TensorArray:
        """The array with another list."""
        made = TensorArray.__new__(TensorArray)
        made._dtype, made._dynamic, made._infer_shape = self._dtype, self._dynamic, self._infer_shape
        made._colocate = self._colocate
        made._identity, made._clears, made._strict = self._identity, self._clears, self._strict
        made._element_shape = self._element_shape if shape is None else shape
        made._flow = flow
        return made

    def _reads(self, result: Tensor, index: Any = None) -> None:
        if self._clears:
            note_access(result, self._identity, index, writes=False)
        if self._strict and not self._infer_shape and not self._element_shape.is_fully_defined():
            note_strict(result)

    def _writes(self, flow: Tensor, index: Tensor | None) -> None:
        note_access(flow, self._identity, index, writes=True)
        if self._strict and self._infer_shape:
            note_strict(flow)

    def _merged(self, shape: TensorShape, what: str) -> TensorShape:
        """What is known of the elements' shape once an element of `shape` is written."""
        if not self._infer_shape:
            if not self._element_shape.is_compatible_with(shape):
                raise ValueError(self._misfit(shape, what))
            return self._element_shape
        try:
            return self._element_shape.merge_with(shape)
        except ValueError:
            raise ValueError(self._misfit(shape, what)) from None

    def _misfit(self, shape: TensorShape, what: str) -> str:
        return f"Inconsistent shapes: saw {shape} in {what} but expected {self._element_shape}"

    # -- members ------------------------------------------------------------------------------

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self._dtype

    @property
    def flow(self) -> Tensor:
        """The list."""
        return self._flow

    @property
    def handle(self) -> Tensor:
        """The list."""
        return self._flow

    @property
    def dynamic_size(self) -> bool:
        """Whether writing behind the end makes it longer."""
        return self._dynamic

    @property
    def element_shape(self) -> TensorShape:
        """What is known of the elements' shape."""
        return self._element_shape

    @property
    def graph(self) -> Any:
        """The graph of the list."""
        return self._flow.graph

    @property
    def op(self) -> Operation:
        """The operation that makes the list."""
        return self._flow.op

    def identity(self) -> TensorArray:
        """Returns the array as what runs here gives it, after the control dependencies in force."""
        return self._with(emit.Identity(self._flow))

    def size(self, name: str | None = None) -> Tensor:
        """Returns how many elements there are: int32 scalar."""
        source = self._flow.op
        if not self._dynamic and source.type == "TensorListReserve":
            return emit.Identity(source.inputs[1], name=name)  # type: ignore[no-any-return]
        result: Tensor = emit.TensorListLength(self._flow, name=name)
        return result

    def read(self, index: Any, name: str | None = None) -> Tensor:
        """Returns the element at `index`; zeros if it has not been written and its shape is known."""
        with name_scope(name, "TensorArrayV2Read", [self._flow, index]) as scope:
            place = convert_to_tensor(index, dtypes.int32, name="index")
            result: Tensor = emit.TensorListGetItem(
                self._flow, place, self._said(self._element_shape), element_dtype=self._dtype, name=scope
            )
            self._reads(result, place)
            return result

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """Returns the array with `value` at `index`.

        Raises:
          ValueError: if its shape does not fit.
        """
        with name_scope(name, "TensorArrayV2Write", [self._flow, index, value]) as scope:
            tensor = convert_to_tensor(value, self._dtype, name="value")
            shape = self._merged(tensor.shape, f"write of {tensor.name!r}")
            place = convert_to_tensor(index, dtypes.int32, name="index")
            flow = emit.TensorListSetItem(
                self._flow, place, tensor, resize_if_index_out_of_bounds=self._dynamic, name=scope
            )
            self._writes(flow, place)
            return self._with(flow, shape)

    def stack(self, name: str | None = None) -> Tensor:
        """Returns the elements as rows of one tensor."""
        with name_scope(name, "TensorArrayV2Stack", [self._flow]) as scope:
            known = None
            source = self._flow.op
            if not self._dynamic and source.type == "TensorListReserve":
                known = constant_value(source.inputs[1])
            result: Tensor = emit.TensorListStack(
                self._flow, self._said(self._element_shape), element_dtype=self._dtype,
                num_elements=-1 if known is None else int(known), name=scope,
            )  # fmt: skip
            self._reads(result)
            return result

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """Returns the elements at `indices` as rows of one tensor."""
        with name_scope(name, "TensorArrayV2Gather", [self._flow, indices]) as scope:
            places = convert_to_tensor(indices, dtypes.int32, name="indices")
            result: Tensor = emit.TensorListGather(
                self._flow, places, self._said(self._element_shape),
                element_dtype=self._dtype, name=scope,
            )  # fmt: skip
            self._reads(result, places)
            return result

    def concat(self, name: str | None = None) -> Tensor:
        """Returns the elements one behind another along their first axis."""
        with name_scope(name, "TensorArrayV2Concat", [self._flow]) as scope:
            shape = self._element_shape
            if shape.rank is not None and shape.rank > 0:
                shape = TensorShape([None, *shape.as_list()[1:]])
            result, _ = emit.TensorListConcatV2(
                self._flow, self._said(shape), np.zeros(0, np.int64), element_dtype=self._dtype, name=scope
            )
            made: Tensor = result
            self._reads(made)
            return made

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """Returns the array of a tensor's rows."""
        with name_scope(name, "TensorArrayUnstack", [self._flow, value]):
            tensor = convert_to_tensor(value, self._dtype, name="value")
            if tensor.shape.rank == 0:
                raise ValueError(f"a scalar has no rows to unstack: {tensor!r}")
            shape = self._merged(tensor.shape[1:], f"the rows of {tensor.name!r}")
            flow = emit.TensorListFromTensor(tensor, self._said(shape))
            self._writes(flow, None)
            return self._with(flow, shape)

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """Returns the array with a tensor's rows at `indices`."""
        with name_scope(name, "TensorArrayScatter", [self._flow, value, indices]):
            tensor = convert_to_tensor(value, self._dtype, name="value")
            shape = self._merged(tensor.shape[1:], f"the rows of {tensor.name!r}")
            places = convert_to_tensor(indices, dtypes.int32, name="indices")
            flow = emit.TensorListScatterIntoExistingList(self._flow, tensor, places)
            self._writes(flow, places)
            return self._with(flow, shape)

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """Returns the array of pieces of a tensor, of so many rows each."""
        with name_scope(name, "TensorArraySplit", [self._flow, value, lengths]):
            tensor = convert_to_tensor(value, self._dtype, name="value")
            sizes = convert_to_tensor(lengths, name="lengths")
            if sizes.dtype is not dtypes.int64:
                sizes = emit.Cast(sizes, DstT=dtypes.int64)
            shape = self._element_shape
            known = constant_value(sizes)
            if self._infer_shape and tensor.shape.rank is not None:
                rows = (
                    None if known is None or known.size == 0 or (known != known[0]).any() else int(known[0])
                )
                shape = self._merged(TensorShape([rows, *tensor.shape.as_list()[1:]]), f"{tensor.name!r}")
            flow = emit.TensorListSplit(tensor, self._said(shape), sizes)
            self._writes(flow, None)
            return self._with(flow, shape)

    def grad(self, source: str, flow: Any = None, name: str | None = None) -> TensorArray:
        """Returns an array for gradients: zeros, as long as this one; `gf.gradients` needs none.

        Args:
          source: accepted: which gradient it is.
          flow: accepted.
          name: a name scope.
        """
        with name_scope(name, "TensorArrayGrad", [self._flow]):
            made = self._with(emit.ZerosLike(self._flow))
            made._identity, made._clears, made._strict = object(), False, False
            return made

    def close(self, name: str | None = None) -> Operation:
        """Returns an operation that does nothing: a list ends with the run."""
        result: Operation = emit.NoOp(name=name)
        return result

    def __repr__(self) -> str:
        return f"<gf.TensorArray {self._flow.name!r} of {self._dtype.name}{self._element_shape}>"


def _rebuilt(array: TensorArray, parts: Sequence[Any]) -> TensorArray:
    return array._with(parts[0])


nest.register_composite(TensorArray, lambda array: [array.flow], _rebuilt)

__all__ = ["TensorArray"]
