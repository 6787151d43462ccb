"""Ops that save and restore checkpoints, and the names of the files these are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from graphflow.dtypes import DType
from graphflow.errors import InvalidArgumentError
from graphflow.opdef import op
from graphflow.ops import rules
from graphflow.shapes import UNKNOWN, TensorShape

Array = np.ndarray[Any, Any]


class CheckpointFiles(Protocol):
    """What the ops here ask of the module that knows the files."""

    def save_tensors(
        self, prefix: str, names: Sequence[str], slices: Sequence[str], tensors: Sequence[Array]
    ) -> None:
        """Writes a checkpoint."""

    def save_slices(
        self, path: str, names: Sequence[str], slices: Sequence[str], tensors: Sequence[Array]
    ) -> None:
        """Writes a checkpoint of the first format."""

    def restore_tensors(
        self, prefix: str, names: Sequence[str], slices: Sequence[str], dtypes: Sequence[DType]
    ) -> list[Array]:
        """Reads tensors of a checkpoint."""

    def merge_bundles(self, prefixes: Sequence[str], destination: str, delete_old_dirs: bool) -> None:
        """Makes one checkpoint of several."""


_files: CheckpointFiles | None = None


def set_checkpoint_files(files: CheckpointFiles) -> None:
    """Says who reads and writes checkpoints; called once by the package."""
    global _files
    _files = files


def _checkpoints() -> CheckpointFiles:
    if _files is None:
        raise RuntimeError("graphflow.serialization.tensor_bundle is not loaded")
    return _files


def _texts(array: Array) -> list[str]:
    return [bytes(item).decode() for item in np.asarray(array, object).reshape(-1).tolist()]


def _text(array: Array) -> str:
    texts = _texts(array)
    if len(texts) != 1:
        raise InvalidArgumentError(None, None, f"expected one file name, got {len(texts)}")
    return texts[0]


def save_shape(node: Any) -> list[TensorShape]:
    """SaveV2: one name and one slice per tensor."""
    _check_count(node, len(node.attrs["dtypes"]))
    return []


def restore_shape(node: Any) -> list[TensorShape]:
    """RestoreV2: what is in the file is known only in the run."""
    count = len(node.attrs["dtypes"])
    _check_count(node, count)
    return [UNKNOWN] * count


def _check_count(node: Any, count: int) -> None:
    wanted = TensorShape([count])
    for position, what in ((1, "tensor_names"), (2, "shape_and_slices")):
        if not node.inputs[position].shape.is_compatible_with(wanted):
            raise ValueError(f"{what} has shape {node.inputs[position].shape}, expected {wanted}")


@op(
    "SaveV2",
    "prefix:string; tensor_names:string; shape_and_slices:string; tensors:list(dtypes)",
    "",
    "dtypes:list(type)>=1",
    infer=save_shape,
    effects="host",
    differentiable=False,
)
def save_v2_op(prefix: Array, tensor_names: Array, shape_and_slices: Array, tensors: list[Array]) -> None:
    """Writes tensors as a checkpoint under a path prefix."""
    _checkpoints().save_tensors(_text(prefix), _texts(tensor_names), _texts(shape_and_slices), tensors)


@op(
    "RestoreV2",
    "prefix:string; tensor_names:string; shape_and_slices:string",
    "tensors:list(dtypes)",
    "dtypes:list(type)>=1",
    infer=restore_shape,
    effects="host",
    differentiable=False,
)
def restore_v2_op(
    prefix: Array, tensor_names: Array, shape_and_slices: Array, *, dtypes: tuple[DType, ...]
) -> list[Array]:
    """Reads tensors of a checkpoint."""
    return _checkpoints().restore_tensors(
        _text(prefix), _texts(tensor_names), _texts(shape_and_slices), dtypes
    )


@op(
    "MergeV2Checkpoints",
    "checkpoint_prefixes:string; destination_prefix:string",
    "",
    "delete_old_dirs:bool=true; allow_missing_files:bool=false",
    infer=rules.no_output,
    effects="host",
    differentiable=False,
)
def merge_v2_checkpoints_op(
    checkpoint_prefixes: Array, destination_prefix: Array, *, delete_old_dirs: bool
) -> None:
    """Makes one checkpoint of several shards."""
    _checkpoints().merge_bundles(_texts(checkpoint_prefixes), _text(destination_prefix), delete_old_dirs)


def _sharded_shape(node: Any) -> TensorShape:
    for position, arg in enumerate(node.op_def.inputs):
        rules.rank_exactly(node, position, 0, arg.name)
    return rules.scalar(node)


def _old_save_shape(node: Any) -> list[TensorShape]:
    count = TensorShape([len(node.attrs["T"])])
    rules.rank_exactly(node, 0, 0, "filename")
    for position in range(1, len(node.inputs) - len(node.attrs["T"])):
        node.inputs[position].shape.assert_is_compatible_with(count)
    return []


@op("Save", "filename:string; tensor_names:string; data:list(T)", "", "T:list(type)>=1", infer=_old_save_shape,
    effects="host", differentiable=False)  # fmt: skip
def save_op(filename: Array, tensor_names: Array, data: list[Array]) -> None:
    """Writes tensors as a checkpoint of the first format."""
    _checkpoints().save_slices(_text(filename), _texts(tensor_names), [""] * len(data), data)


@op("SaveSlices", "filename:string; tensor_names:string; shapes_and_slices:string; data:list(T)", "",
    "T:list(type)>=1", infer=_old_save_shape, effects="host", differentiable=False)  # fmt: skip
def save_slices_op(filename: Array, tensor_names: Array, shapes_and_slices: Array, data: list[Array]) -> None:
    """Writes tensors, or slices of them, as a checkpoint of the first format."""
    _checkpoints().save_slices(_text(filename), _texts(tensor_names), _texts(shapes_and_slices), data)


@op("Restore", "file_pattern:string; tensor_name:string", "tensor:dt", "dt:type; preferred_shard:int=-1",
    infer=rules.unknown, effects="host", differentiable=False)  # fmt: skip
def restore_op(file_pattern: Array, tensor_name: Array, *, dt: DType) -> Array:
    """Reads one tensor of a checkpoint."""
    return _checkpoints().restore_tensors(_text(file_pattern), [_text(tensor_name)], [""], [dt])[0]


@op("RestoreSlice", "file_pattern:string; tensor_name:string; shape_and_slice:string", "tensor:dt",
    "dt:type; preferred_shard:int=-1", infer=rules.unknown, effects="host", differentiable=False)  # fmt: skip
def restore_slice_op(file_pattern: Array, tensor_name: Array, shape_and_slice: Array, *, dt: DType) -> Array:
    """Reads a slice of one tensor of a checkpoint."""
    names, slices = [_text(tensor_name)], [_text(shape_and_slice)]
    return _checkpoints().restore_tensors(_text(file_pattern), names, slices, [dt])[0]


@op(
    "ShardedFilename",
    "basename:string; shard:int32; num_shards:int32",
    "filename:string",
    infer=_sharded_shape,
    differentiable=False,
)
def sharded_filename_op(basename: Array, shard: Array, num_shards: Array) -> Array:
    """The name of one shard: `basename-00000-of-00001`."""
    name = f"{_text(basename)}-{int(shard):05d}-of-{int(num_shards):05d}"
    result: Array = np.array(name.encode(), object)
    return result


@op("ShardedFilespec", "basename:string; num_shards:int32", "filename:string", infer=_sharded_shape,
    differentiable=False)  # fmt: skip
def sharded_filespec_op(basename: Array, num_shards: Array) -> Array:
    """The pattern that the names of all shards match: `basename-?????-of-00001`."""
    result: Array = np.array(f"{_text(basename)}-?????-of-{int(num_shards):05d}".encode(), object)
    return result


@op(
    "StringJoin",
    "inputs:N*string",
    "output:string",
    "N:int>=1; separator:string=",
    infer=rules.broadcast,
    differentiable=False,
)
def string_join_op(inputs: list[Array], *, separator: str) -> Array:
    """Texts put one behind the other, element by element; scalars go with every element."""
    parts = np.broadcast_arrays(*inputs)
    between = separator.encode() if isinstance(separator, str) else separator
    result: Array = np.empty(parts[0].shape, object)
    flat = [part.reshape(-1).tolist() for part in parts]
    result.reshape(-1)[:] = [between.join(items) for items in zip(*flat, strict=True)]
    return result


__all__: list[str] = []
