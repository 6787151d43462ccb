"""Changes of real graph files, one after another from a seed: what a reader of files from anywhere has to stand."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import graphflow as gf

NUMBERS = (0, 1, -1, 2, 3, 7, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e30, float("inf"), float("nan"))
TEXTS = (
    b"",
    b"x",
    b"SAME",
    b"VALID",
    b"NCHW",
    b"\xff\xfe",
    b"x" * 100_000,
    b"../../etc/passwd",
    b"a:0",
    b"^",
)


def mutated(definition: gf.GraphDef, seed: int) -> gf.GraphDef:
    """A copy of a graph with one to four things in it changed."""
    chance = random.Random(seed)
    made = gf.GraphDef()
    made.CopyFrom(definition)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        nodes = _nodes(made)
        if nodes:
            change = chance.choice(CHANGES)
            change(made, chance.choice(nodes), chance)
    return made


def _nodes(definition: gf.GraphDef) -> list[Any]:
    inner = [node for function in definition.library.function for node in function.node_def]
    return [*definition.node, *inner]


def _drop_attr(_: Any, node: Any, chance: random.Random) -> None:
    if node.attr:
        del node.attr[chance.choice(sorted(node.attr))]


def _change_attr(definition: Any, node: Any, chance: random.Random) -> None:
    if node.attr:
        _change_value(definition, node.attr[chance.choice(sorted(node.attr))], chance)


def _change_value(definition: Any, value: Any, chance: random.Random) -> None:
    kind = value.WhichOneof("value")
    if kind is None or chance.random() < 0.15:
        _other_kind(definition, value, chance)
    elif kind == "i":
        value.i = chance.choice(NUMBERS)
    elif kind == "f":
        value.f = chance.choice(FLOATS)
    elif kind == "b":
        value.b = not value.b
    elif kind == "s":
        value.s = chance.choice(TEXTS)
    elif kind == "type":
        value.type = chance.choice((0, 1, 2, 3, 4, 7, 8, 9, 10, 14, 18, 20, 21, 23, 101, 9999))
    elif kind == "shape":
        _change_shape(value.shape, chance)
    elif kind == "tensor":
        _change_tensor(value.tensor, chance)
    elif kind == "list":
        _change_list(value.list, chance)
    elif kind == "func":
        names = [function.signature.name for function in definition.library.function]
        value.func.name = chance.choice([*names, "gone", ""])


def _other_kind(definition: Any, value: Any, chance: random.Random) -> None:
    kind = chance.choice(
        ("i", "f", "b", "s", "type", "shape", "tensor", "list", "func", "placeholder", "nothing")
    )
    if kind == "nothing":
        value.Clear()
    elif kind == "placeholder":
        value.placeholder = "T"
    elif kind in ("shape", "tensor", "list", "func"):
        value.Clear()
        getattr(value, kind).SetInParent()
    else:
        setattr(value, kind, {"i": chance.choice(NUMBERS), "f": 1.0, "b": True, "s": b"x", "type": 1}[kind])


def _change_shape(shape: Any, chance: random.Random) -> None:
    what = chance.random()
    if what < 0.2:
        shape.unknown_rank = not shape.unknown_rank
    elif what < 0.4 and shape.dim:
        del shape.dim[-1]
    elif what < 0.6:
        for _ in range(chance.choice((1, 1, 2, 300))):
            shape.dim.add(size=chance.choice(NUMBERS))
    elif shape.dim:
        chance.choice(shape.dim).size = chance.choice(NUMBERS)


def _change_tensor(tensor: Any, chance: random.Random) -> None:
    what = chance.random()
    if what < 0.4:
        _change_shape(tensor.tensor_shape, chance)
    elif what < 0.5:
        tensor.dtype = chance.choice((0, 1, 2, 3, 4, 7, 8, 9, 10, 14, 20, 21, 23, 101, 9999))
    elif what < 0.7:
        tensor.tensor_content = tensor.tensor_content[: chance.randrange(len(tensor.tensor_content) + 1)]
    elif what < 0.8:
        tensor.tensor_content += b"\xff" * chance.choice((1, 4, 8, 1000))
    elif tensor.tensor_content:
        at = chance.randrange(len(tensor.tensor_content))
        text = bytearray(tensor.tensor_content)
        text[at] = chance.randrange(256)
        tensor.tensor_content = bytes(text)
    else:
        for values, number in (
            (tensor.int_val, 2**31 - 1),
            (tensor.float_val, 1e30),
            (tensor.string_val, b"x"),
        ):
            if values:
                values.extend([number] * chance.choice((1, 3)))
            elif chance.random() < 0.2:
                values.append(number)


def _change_list(values: Any, chance: random.Random) -> None:
    kinds = [kind for kind in ("i", "f", "b", "s", "type", "shape") if len(getattr(values, kind))]
    if not kinds:
        values.i.append(chance.choice(NUMBERS))
        return
    own = getattr(values, chance.choice(kinds))
    what = chance.random()
    if what < 0.25:
        del own[-1]
    elif what < 0.5 or not isinstance(own[0], int):
        own.extend([own[0]] * chance.choice((1, 2, 1000)))
    else:
        own[chance.randrange(len(own))] = (
            chance.choice(NUMBERS) if own is values.i else chance.choice((0, 1, 3, 9, 20))
        )


def _drop_input(_: Any, node: Any, chance: random.Random) -> None:
    if node.input:
        del node.input[chance.randrange(len(node.input))]


def _other_input(definition: Any, node: Any, chance: random.Random) -> None:
    other = chance.choice(_nodes(definition)).name
    text = chance.choice(
        (other, other, f"{other}:1", f"{other}:-1", f"{other}:{2**40}", f"^{other}", "gone", "", ":", "^")
    )
    if node.input and chance.random() < 0.8:
        node.input[chance.randrange(len(node.input))] = text
    else:
        node.input.extend([text] * chance.choice((1, 1, 1, 1000)))


def _other_op(definition: Any, node: Any, chance: random.Random) -> None:
    node.op = chance.choice(
        (*[n.op for n in _nodes(definition)], "NoSuchOp", "", "Merge", "Switch", "Exit", "While")
    )


def _other_name(definition: Any, node: Any, chance: random.Random) -> None:
    node.name = chance.choice(
        (chance.choice(_nodes(definition)).name, "", "a b", "_x", "x" * 100_000, "a:0", "^a", "a//b")
    )


def _drop_node(definition: Any, node: Any, chance: random.Random) -> None:
    del definition.node[chance.randrange(len(definition.node)) if definition.node else 0 :][:1]


def _double_node(definition: Any, node: Any, chance: random.Random) -> None:
    definition.node.append(node)


def _other_function(definition: Any, node: Any, chance: random.Random) -> None:
    if not definition.library.function:
        return
    function = chance.choice(definition.library.function)
    signature = function.signature
    what = chance.randrange(6)
    if what == 0 and signature.input_arg:
        del signature.input_arg[-1]
    elif what == 1:
        signature.input_arg.add(name="more", type=1)
    elif what == 2 and function.ret:
        function.ret[chance.choice(sorted(function.ret))] = chance.choice(("gone:0", "", "x", "a:b:c:d", ":"))
    elif what == 3 and signature.output_arg:
        chance.choice(signature.output_arg).type = chance.choice((0, 1, 3, 10, 20, 9999))
    elif what == 4:
        signature.name = chance.choice(definition.library.function).signature.name
    elif signature.input_arg:
        chance.choice(signature.input_arg).type = chance.choice((0, 1, 3, 10, 20, 9999))


def _other_version(definition: Any, node: Any, chance: random.Random) -> None:
    definition.versions.producer = chance.choice((0, 1, 20, 2**31 - 1))
    definition.versions.min_consumer = chance.choice((0, 0, 0, 2**31 - 1))


def _other_device(_: Any, node: Any, chance: random.Random) -> None:
    node.device = chance.choice(("/device:GPU:99", "x" * 1000, "//", "/job:w/task:-1"))


def _other_class(definition: Any, node: Any, chance: random.Random) -> None:
    node.attr["_class"].list.s.append(chance.choice((b"loc:@gone", b"loc:@" + node.name.encode(), b"\xff")))


CHANGES: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    *[_change_attr] * 6, *[_other_input] * 3, _drop_attr, _drop_input, _other_op, _other_name, _double_node,
    _other_function, _other_version, _other_device, _other_class,
)  # fmt: skip


def changed(message: Any, chance: random.Random, times: int = 1) -> None:
    """Changes fields of any message, wherever in it they stand."""
    for _ in range(times):
        _change_field(message, chance)


def _change_field(message: Any, chance: random.Random) -> None:
    fields = [field for field, _ in message.ListFields()]
    if not fields or chance.random() < 0.1:
        fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = chance.choice(fields)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        _change_map(getattr(message, field.name), field, chance)
    elif field.is_repeated:
        _change_items(getattr(message, field.name), field, chance)
    elif field.message_type is None:
        setattr(message, field.name, _scalar(field, chance))
    elif chance.random() < 0.15:
        message.ClearField(field.name)
    else:
        _change_field(getattr(message, field.name), chance)


def _change_map(entries: Any, field: Any, chance: random.Random) -> None:
    if not len(entries):
        return
    key = chance.choice(sorted(entries))
    if chance.random() < 0.2:
        del entries[key]
    elif field.message_type.fields_by_name["value"].message_type is None:
        entries[key] = _scalar(field.message_type.fields_by_name["value"], chance)
    elif chance.random() < 0.2 and isinstance(key, str):
        entries[chance.choice((key + "x", "", "a:0"))].CopyFrom(entries[key])
    else:
        _change_field(entries[key], chance)


def _change_items(items: Any, field: Any, chance: random.Random) -> None:
    what = chance.random()
    if items and what < 0.2:
        del items[chance.randrange(len(items))]
    elif field.message_type is None:
        if items and what < 0.7:
            items[chance.randrange(len(items))] = _scalar(field, chance)
        else:
            items.extend([_scalar(field, chance)] * chance.choice((1, 1, 1000)))
    elif items and what < 0.8:
        _change_field(items[chance.randrange(len(items))], chance)
    elif items:
        items.add().CopyFrom(chance.choice(items))
    else:
        items.add()


def _scalar(field: Any, chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text if field.type == field.TYPE_BYTES else text.decode("ascii", "replace")
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice(FLOATS)
    if kind == field.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == field.CPPTYPE_ENUM:
        return chance.choice([value.number for value in field.enum_type.values])
    bits = 31 if kind == field.CPPTYPE_INT32 else 63
    low, high = -(2**bits), 2**bits - 1
    if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        low, high = 0, 2 ** (32 if kind == field.CPPTYPE_UINT32 else 64) - 1
    return min(max(chance.choice(NUMBERS), low), high)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes with some of them changed, cut off, doubled or left out."""
    what = chance.randrange(4)
    at = chance.randrange(len(data) + 1)
    if what == 0:
        return data[:at]
    if what == 1:
        return data[:at] + data[at + chance.choice((1, 4, 100)) :]
    if what == 2:
        return data[:at] + data[at // 2 : at] + data[at:]
    result = bytearray(data)
    for _ in range(chance.choice((1, 3, 30))):
        result[chance.randrange(len(result))] = chance.randrange(256)
    return bytes(result)
