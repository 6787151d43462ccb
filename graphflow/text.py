"""Prints a program, one line per node, and reads it back.

%0 = GraphflowFeed('x:0') -> float32[?,2]  # x
%1 = Const(value=2.0) -> float32[]  # y
%2 = Mul(%0, %1) -> float32[?,2]  # product
fetch %2

A line `feed %1, %0` says in which order values are fed, where that is not the order of the lines.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

import numpy as np

from graphflow.dtypes import DType, as_dtype
from graphflow.opdef import AttrDef, OpDef, get_op, normalize_attr
from graphflow.program import (
    FEED,
    NESTED,
    VARIABLE,
    Node,
    Program,
    ProgramBuilder,
    TensorType,
    Value,
    nested_programs,
    with_programs,
)
from graphflow.shapes import TensorShape

_MOST_ELEMENTS = 8


def program_text(program: Program) -> str:
    """Returns the program in print: feeds, nodes with types, commits, fetches.

    Nested programs stand, set in, behind the node that holds them.
    """
    return "\n".join(_lines(program))


def _lines(program: Program) -> list[str]:
    names = {node: f"%{i}" for i, node in enumerate(program.nodes)}

    def shown(value: Value) -> str:
        name = names[value.node]
        return name if len(value.node.outputs) == 1 else f"{name}.{value.index}"

    lines = []
    for node in program.nodes:
        inputs = [shown(value) for value in node.inputs]
        attrs = _attrs_text(node)
        controls = [f"^{names[control]}" for control in node.controls if control in names]
        types = ", ".join(map(str, node.types))
        arrow = f" -> {types}" if types else ""
        lines.append(
            f"{names[node]} = {node.type}({', '.join([*inputs, *attrs, *controls])}){arrow}  # {node.name}"
        )
        for part, inner in nested_programs(node):
            lines.append(f"  {part}:")
            lines += [f"    {line}" for line in _lines(inner)]
    if list(program.feeds) != [node.outputs[0] for node in program.nodes if node.op_def is FEED]:
        lines.append(f"feed {', '.join(map(shown, program.feeds))}")
    lines += [f"commit {name} = {shown(value)}" for name, value in program.commits]
    lines.append(f"fetch {', '.join(map(shown, program.fetches))}" if program.fetches else "fetch nothing")
    return lines


def _attrs_text(node: Node) -> list[str]:
    if node.op_def is FEED:
        return [repr(node.attrs["feed"])]
    if node.op_def is VARIABLE:
        return [repr(node.attrs["variable"])]
    inferred = node.op_def.inferred_attrs
    shown = []
    for name, value in sorted(node.attrs.items()):
        attr = node.op_def.attrs.get(name)
        if name in inferred or name.startswith("_") or (attr is not None and "program" in attr.kind):
            continue
        if attr is not None and attr.has_default and _same(attr.default, value):
            continue
        if name == "dtype" and node.type == "Const":
            continue
        shown.append(f"{name}={_value_text(value)}")
    return shown


def _same(a: Any, b: Any) -> bool:
    return not isinstance(b, np.ndarray) and bool(a == b)


def _value_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        if value.size > _MOST_ELEMENTS:
            return f"<{value.dtype.name}{list(value.shape)}>"
        return str(value.tolist()).replace(" ", "")
    if isinstance(value, DType):
        return value.name
    if isinstance(value, TensorShape):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ",".join(_value_text(item) for item in value) + "]"
    return repr(value)


# -- reading --------------------------------------------------------------------------------------------------

_NODE = re.compile(
    r"^%(?P<id>\w+) = (?P<op>\w+)\((?P<args>.*)\)(?: -> (?P<types>[^#]*?))?(?:\s+# (?P<name>.*))?$"
)
_TYPE = re.compile(r"^(?P<dtype>\w+)\[(?P<dims>[^\]]*)\]$")
_VALUE = re.compile(r"^%(?P<id>\w+)(?:\.(?P<index>\d+))?$")


def parse_program(text: str) -> Program:
    """Reads what `program_text` prints, large constants excepted.

    Raises:
      ValueError: naming the line that can't be read.
    """
    return _Reader().read(text)


class _Reader:
    def __init__(self) -> None:
        self.builder = ProgramBuilder()
        self.nodes: dict[str, Node] = {}
        self.feeds: list[Value] = []
        self.effects: list[Node] = []

    def read(self, text: str) -> Program:
        commits: list[tuple[str, Value]] = []
        fetches: list[Value] = []
        lines = textwrap.dedent(text).splitlines()
        at = 0
        while at < len(lines):
            number, line = at + 1, lines[at].strip()
            inside: list[str] = []
            at += 1
            while at < len(lines) and lines[at].startswith("  "):
                inside.append(lines[at])
                at += 1
            if not line or line.startswith("#"):
                continue
            try:
                if line.startswith("commit "):
                    name, _, value = line.removeprefix("commit ").partition(" = ")
                    commits.append((name, self.value(value)))
                elif line.startswith("feed "):
                    self.feeds = [self.value(part) for part in _split(line.removeprefix("feed "))]
                elif line.startswith("fetch"):
                    names = line.removeprefix("fetch").strip()
                    fetches += [self.value(part) for part in _split(names)] if names != "nothing" else []
                else:
                    self.node(line, _nested(inside))
            except (LookupError, ValueError, TypeError, SyntaxError) as error:
                raise ValueError(f"line {number}, {line!r}: {error}") from error
        mark = any(kind.static_shape != kind.shape for node in self.nodes.values() for kind in node.types)
        return Program(tuple(self.feeds), tuple(fetches), tuple(commits), tuple(self.effects), mark)

    def value(self, text: str) -> Value:
        match = _VALUE.match(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no value")
        return self.nodes[match["id"]].outputs[int(match["index"] or 0)]

    def node(self, line: str, nested: list[Program]) -> None:
        match = _NODE.match(line)
        if match is None:
            raise ValueError("expected '%id = Op(arguments) -> types'")
        op_def = get_op(match["op"])
        inputs: list[Value] = []
        controls: list[Node] = []
        written: dict[str, str] = {}
        plain = ""
        for part in _split(match["args"]):
            if part.startswith("^"):
                controls.append(self.nodes[part[2:]])
            elif part.startswith("%"):
                inputs.append(self.value(part))
            elif re.match(r"^\w+=", part):
                name, _, value = part.partition("=")
                written[name] = value
            else:
                plain = ast.literal_eval(part)
        types = [_parse_type(part) for part in _split(match["types"] or "")]
        attrs = self.attrs(op_def, inputs, written, plain, types)
        if op_def in NESTED:
            attrs = with_programs(op_def, attrs, nested)
        known = tuple(types) if op_def is FEED or op_def is VARIABLE else None
        name = match["name"] or f"node{match['id']}"
        node = self.builder.node(op_def, inputs, attrs, controls, known, name=name)
        self.nodes[match["id"]] = node
        if op_def is FEED:
            self.feeds.append(node.outputs[0])
        elif op_def.effects == "host":
            self.effects.append(node)

    def attrs(
        self, op_def: OpDef, inputs: list[Value], written: dict[str, str], plain: str, types: list[TensorType]
    ) -> dict[str, Any]:
        if op_def is FEED or op_def is VARIABLE:
            key = "feed" if op_def is FEED else "variable"
            return {"dtype": types[0].dtype, "shape": types[0].static_shape, key: plain}
        if op_def.name == "Const":
            array = np.array(ast.literal_eval(written["value"]), types[0].dtype.numpy)
            return {"dtype": types[0].dtype, "value": array.reshape(types[0].shape.as_list())}
        attrs: dict[str, Any] = {}
        at = 0
        rest = len(inputs) - sum(not arg.is_list for arg in op_def.inputs)
        for arg in op_def.inputs:
            count = rest if arg.is_list else 1
            if arg.number_attr:
                attrs[arg.number_attr] = count
            if arg.type_list_attr:
                attrs[arg.type_list_attr] = tuple(value.dtype for value in inputs[at : at + count])
            if arg.type_attr and at < len(inputs):
                attrs.setdefault(arg.type_attr, inputs[at].dtype)
            at += count
        for attr in op_def.attrs.values():
            if attr.name in written:
                attrs[attr.name] = _parse_attr(attr, written[attr.name], op_def.name)
            elif attr.name not in attrs and attr.has_default:
                attrs[attr.name] = attr.default
        return attrs


def _nested(lines: list[str]) -> list[Program]:
    """The programs that stand, set in, behind a node, each under the name of what it is there."""
    texts: list[list[str]] = []
    for line in textwrap.dedent("\n".join(lines)).splitlines():
        if not line.startswith(" ") and line.endswith(":"):
            texts.append([])
        elif texts:
            texts[-1].append(line)
        else:
            raise ValueError(f"expected the name of a nested program, found {line!r}")
    return [_Reader().read("\n".join(text)) for text in texts]


def _split(text: str) -> list[str]:
    """Splits at commas outside brackets and quotes."""
    parts, depth, start, quote = [], 0, 0, ""
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([<":
            depth += 1
        elif letter in ")]>":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [part for part in (*parts, text[start:].strip()) if part]


def _parse_type(text: str) -> TensorType:
    match = _TYPE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no type")
    dtype = as_dtype(match["dtype"])
    if match["dims"] == "<unknown>":
        return TensorType(dtype, TensorShape(None), TensorShape(None))
    sizes: list[int | None] = []
    static: list[int | None] = []
    for dim in filter(None, match["dims"].split(",")):
        number = None if dim == "?" else int(dim.removesuffix("~"))
        sizes.append(number)
        static.append(None if dim.endswith("~") else number)
    shape = TensorShape(sizes)
    return TensorType(dtype, shape, shape if static == sizes else TensorShape(static))


def _parse_attr(attr: AttrDef, text: str, op_type: str) -> Any:
    if attr.kind == "type":
        return as_dtype(text)
    if attr.kind == "list(type)":
        return tuple(as_dtype(part) for part in _split(text.strip("[]")))
    if attr.kind == "shape":
        return (
            TensorShape(None)
            if text == "<unknown>"
            else TensorShape(
                [None if d.strip() == "?" else int(d) for d in text.strip("()").split(",") if d.strip()]
            )
        )
    return normalize_attr(attr, ast.literal_eval(text), op_type)
