"""Tensors that a session keeps from one run to the next, named by handles: `tf.get_session_handle` and its kin."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError
from graphflow.graph import Operation, Tensor, colocate_with
from graphflow.opdef import emit, op
from graphflow.ops import rules
from graphflow.ops.source import placeholder
from graphflow.resources import Array, Resource, Resources
from graphflow.shapes import UNKNOWN, TensorShape

# Where values are kept, whatever made them; handles name it, as TensorFlow's do.
_DEVICE = "/job:localhost/replica:0/task:0/device:CPU:0"


class SessionTensors(Resource):
    """All the tensors that a session keeps, by handle."""

    kind = "store of session tensors"

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, Array] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    @classmethod
    def of(cls, resources: Resources) -> SessionTensors:
        """Returns those of a session."""
        return resources.get(cls, cls, container="", shared_name="", node_name=" session tensors")

    def put(self, value: Array, name: str) -> str:
        """Keeps a copy of a value; returns its handle, which begins with the name of the operation that made it."""
        handle = f"{name};{next(self._numbers)};{_DEVICE}"
        with self._lock:
            self._values[handle] = np.array(value)
        return handle

    def get(self, handle: str) -> Array:
        """Returns a copy of a value.

        Raises:
          InvalidArgumentError: if there is none of this handle.
        """
        with self._lock:
            found = self._values.get(handle)
        if found is None:
            raise self._missing(handle)
        return np.array(found)

    def drop(self, handle: str, missing_ok: bool = False) -> None:
        """Keeps a value no longer.

        Raises:
          InvalidArgumentError: if there is none of this handle and `missing_ok` is not set.
        """
        with self._lock:
            if self._values.pop(handle, None) is None and not missing_ok:
                raise self._missing(handle)

    def release(self) -> None:
        """Keeps nothing any longer."""
        with self._lock:
            self._values.clear()

    @staticmethod
    def _missing(handle: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            None, None, f"The tensor with handle '{handle}' is not in the session store."
        )


class TensorHandle:
    """What a run gives for `get_session_handle`; the value is dropped together with it, see `get_raw_handle`."""

    def __init__(self, handle: str, dtype: DType, kept: SessionTensors) -> None:
        self._handle = handle
        self._dtype = dtype
        self._kept = kept
        self._owns = True

    def __del__(self) -> None:
        if self._owns:
            self._kept.drop(self._handle, missing_ok=True)

    def __str__(self) -> str:
        return self._handle

    @property
    def handle(self) -> str:
        """The handle as text, to feed to the placeholders of `get_session_tensor` and `delete_session_tensor`."""
        return self._handle

    @property
    def dtype(self) -> DType:
        """The dtype of the value."""
        return self._dtype

    def eval(self) -> Any:
        """Returns the value.

        Raises:
          TypeError: if `delete` or `get_raw_handle` was called before.
          InvalidArgumentError: if the value was deleted in another way.
        """
        self._check()
        value = self._kept.get(self._handle)
        return value if value.ndim else value[()]

    def delete(self) -> None:
        """Drops the value.

        Raises:
          TypeError: if `delete` or `get_raw_handle` was called before.
          InvalidArgumentError: if the value was deleted in another way.
        """
        self._check()
        self._owns = False
        self._kept.drop(self._handle)

    def get_raw_handle(self) -> str:
        """Returns the handle as text; the value stays until `delete_session_tensor` or the end of the session."""
        self._owns = False
        return self._handle

    def fed(self, tensor: Tensor) -> Array:
        """Returns the value as a feed of a tensor.

        Raises:
          TypeError: if that is of another dtype.
        """
        if tensor.dtype is not self._dtype:
            raise TypeError(
                f"Cannot feed {tensor.name!r}: it is of {tensor.dtype.name}, the handle {self._handle} of"
                f" {self._dtype.name}"
            )
        return self._kept.get(self._handle)

    def _check(self) -> None:
        if not self._owns:
            raise TypeError(f"Persistent tensor {self._handle} may have already been deleted.")


@op("GetSessionHandle", "value:T", "handle:string", "T:type", infer=rules.scalar, effects="host",
    differentiable=False)  # fmt: skip
def get_session_handle_op(value: Array, *, context: Any, node_name: str) -> Array:
    """Keeps a value in the session."""
    return np.array(SessionTensors.of(context.resources).put(value, node_name).encode(), object)


def _unknown(node: Any) -> TensorShape:
    rules.rank_exactly(node, 0, 0, "the handle")
    return UNKNOWN


@op("GetSessionTensor", "handle:string", "value:dtype", "dtype:type", infer=_unknown, effects="host",
    differentiable=False)  # fmt: skip
def get_session_tensor_op(handle: Array, *, dtype: DType, context: Any) -> Array:
    """A value that the session keeps."""
    value = SessionTensors.of(context.resources).get(handle.item().decode())
    if value.dtype != dtype.numpy:
        raise InvalidArgumentError(
            None, None, f"the tensor with handle '{handle.item().decode()}' is of {value.dtype}, not of {dtype.name}"
        )  # fmt: skip
    return value


def _nothing(node: Any) -> list[TensorShape]:
    rules.rank_exactly(node, 0, 0, "the handle")
    return []


@op("DeleteSessionTensor", "handle:string", "", "", infer=_nothing, effects="host", differentiable=False)
def delete_session_tensor_op(handle: Array, *, context: Any) -> None:
    """Keeps a value no longer."""
    SessionTensors.of(context.resources).drop(handle.item().decode())


def kept_dtype(tensor: Tensor) -> DType | None:
    """The dtype of what a tensor is the handle of; None if it is no handle."""
    return tensor.op.inputs[0].dtype if tensor.op.type == "GetSessionHandle" else None


def get_session_handle(data: Tensor, name: str | None = None) -> Tensor:
    """Returns a tensor that, when fetched, keeps `data` in the session and gives its `TensorHandle`.

    Args:
      data: a tensor.
      name: name of the operation.

    Raises:
      TypeError: if `data` is no tensor.
    """
    if not isinstance(data, Tensor):
        raise TypeError(f"get_session_handle takes a Tensor, got {data!r}")
    with colocate_with(data):
        handle: Tensor = emit.GetSessionHandle(data, name=name)
        return handle


def get_session_tensor(handle: Any, dtype: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns a placeholder for the text of a handle, and the tensor that the session keeps under it.

    Args:
      handle: a handle, as text: where the value is kept.
      dtype: the dtype of the value.
      name: name of the operation.

    Raises:
      ValueError: if `handle` is none.
    """
    holder = _holder(handle)
    return holder, emit.GetSessionTensor(holder, dtype=as_dtype(dtype), name=name)


def delete_session_tensor(handle: Any, name: str | None = None) -> tuple[Tensor, Operation]:
    """Returns a placeholder for the text of a handle, and the operation that drops what is kept under it.

    Args:
      handle: a handle, as text: where the value is kept.
      name: name of the operation.

    Raises:
      ValueError: if `handle` is none.
    """
    holder = _holder(handle)
    return holder, emit.DeleteSessionTensor(holder, name=name)


def _holder(handle: Any) -> Tensor:
    text = handle.decode() if isinstance(handle, bytes) else str(handle)
    if not text.endswith(f";{_DEVICE}"):
        raise ValueError(f"no handle of a session's tensor: {handle!r}")
    return placeholder(as_dtype("string"), [])


__all__ = ["delete_session_tensor", "get_session_handle", "get_session_tensor"]
