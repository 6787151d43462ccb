"""What a NodeDef's outputs are called and of which element types they are, before anything is built of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphflow.opdef import ArgDef, AttrDef, find_op
from graphflow.serialization.proto import attr_value_pb2, function_pb2, op_def_pb2, types_pb2

Attrs = Mapping[str, attr_value_pb2.AttrValue]
MOST_OUTPUTS = 1 << 16

# Ops of TF1 that are translated before a graph is built, and so have no definition: their outputs, in the notation of
# `opdef.op`.
TRANSLATED: dict[str, str] = {
    "Enter": "output:T",
    "Exit": "output:T",
    "NextIteration": "output:T",
    "LoopCond": "output:bool",
    "Switch": "output_false:T; output_true:T",
    "Merge": "output:T; value_index:int32",
    "ControlTrigger": "",
    "SymbolicGradient": "output:list(Tout)",
    "StackV2": "handle:resource",
    "StackPushV2": "output:T",
    "StackPopV2": "elem:elem_type",
    "StackCloseV2": "",
    "TensorArrayV3": "handle:resource; flow:float32",
    "TensorArrayGradV3": "grad_handle:resource; flow_out:float32",
    "TensorArrayGradWithShape": "grad_handle:resource; flow_out:float32",
    "TensorArrayWriteV3": "flow_out:float32",
    "TensorArrayReadV3": "value:dtype",
    "TensorArrayGatherV3": "value:dtype",
    "TensorArrayScatterV3": "flow_out:float32",
    "TensorArrayConcatV3": "value:dtype; lengths:int64",
    "TensorArraySplitV3": "flow_out:float32",
    "TensorArraySizeV3": "size:int32",
    "TensorArrayCloseV3": "",
}
_TYPES = {
    "variant": types_pb2.DT_VARIANT,
    "bool": types_pb2.DT_BOOL,
    "int32": types_pb2.DT_INT32,
    "int64": types_pb2.DT_INT64,
    "float32": types_pb2.DT_FLOAT,
    "resource": types_pb2.DT_RESOURCE,
}


def _number(attrs: Attrs, key: str, defaults: Mapping[str, AttrDef]) -> int:
    default = defaults[key].default if key in defaults else None
    number = int(attrs[key].i) if key in attrs else default if isinstance(default, int) else 0
    if not 0 <= number <= MOST_OUTPUTS:
        raise ValueError(f"attribute {key!r} is {number}")
    return number


def _type(attrs: Attrs, key: str, defaults: Mapping[str, AttrDef]) -> int:
    if key in attrs:
        return int(attrs[key].type)
    default = defaults[key].default if key in defaults else None
    return int(default.as_datatype_enum) if default is not None else 0


def _of_arg(arg: ArgDef, attrs: Attrs, defaults: Mapping[str, AttrDef]) -> list[int]:
    if arg.type_list_attr:
        return list(attrs[arg.type_list_attr].list.type) if arg.type_list_attr in attrs else []
    one = int(arg.dtype.as_datatype_enum) if arg.dtype is not None else _type(attrs, arg.type_attr, defaults)
    return [one] * (_number(attrs, arg.number_attr, defaults) if arg.number_attr else 1)


def _of_proto(arg: op_def_pb2.OpDef.ArgDef, attrs: Attrs) -> list[int]:
    if arg.type_list_attr:
        return list(attrs[arg.type_list_attr].list.type) if arg.type_list_attr in attrs else []
    one = _type(attrs, arg.type_attr, {}) if arg.type_attr else int(arg.type)
    return [one] * (_number(attrs, arg.number_attr, {}) if arg.number_attr else 1)


def _outputs(
    op_type: str, attrs: Attrs, functions: Mapping[str, function_pb2.FunctionDef]
) -> Iterable[tuple[str, list[int]]]:
    definition = find_op(op_type)
    if definition is not None:
        for arg in definition.outputs:
            yield arg.name, _of_arg(arg, attrs, definition.attrs)
    elif op_type in TRANSLATED:
        for part in filter(None, TRANSLATED[op_type].split("; ")):
            name, _, kind = part.partition(":")
            if kind.startswith("list("):
                key = kind[5:-1]
                yield name, list(attrs[key].list.type) if key in attrs else []
                continue
            yield name, [_TYPES[kind] if kind in _TYPES else _type(attrs, kind, {})]
    elif op_type in functions:
        for proto in functions[op_type].signature.output_arg:
            yield proto.name, _of_proto(proto, attrs)


def output_types(op_type: str, attrs: Attrs, functions: Mapping[str, function_pb2.FunctionDef]) -> list[int]:
    """Returns the DataType of each output of a node; nothing for an unknown op type."""
    return [type_ for _, types in _outputs(op_type, attrs, functions) for type_ in types]


def output_names(op_type: str, attrs: Attrs, functions: Mapping[str, function_pb2.FunctionDef]) -> list[str]:
    """Returns the name of the argument that each output of a node belongs to."""
    return [name for name, types in _outputs(op_type, attrs, functions) for _ in types]


def output_starts(
    op_type: str, attrs: Attrs, functions: Mapping[str, function_pb2.FunctionDef]
) -> dict[str, int]:
    """Returns where each named output of a node begins among all its outputs."""
    starts: dict[str, int] = {}
    for i, name in enumerate(output_names(op_type, attrs, functions)):
        starts.setdefault(name, i)
    return starts
