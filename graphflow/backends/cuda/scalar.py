"""The scalar functions of the loop language in CUDA C.

Bounds of CUDA's own functions are those of its programming guide: 2 ulp at most but for `erfc` (4), `lgamma` (6 away
from zero), `pow` (4) and, in f32, `tan` (4), `sinh` (3), `asinh`, `acosh` and `atanh` (4): no worse than what is
promised of the processor's by more than 2 ulp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphflow.loops.ir import Const, Op, bits, is_float, kind, numpy_dtype

__all__ = ["COMPUTE", "MEMORY", "combine", "const_text", "from_memory", "identity", "op_text", "to_memory"]

# How a dtype is computed with, and how it lies in memory: half floats are widened, bools are bytes.
COMPUTE = {
    "f16": "float", "bf16": "float", "f32": "float", "f64": "double", "i1": "bool",
    **{f"{k}{n}": f"{k}{n}" for k in "iu" for n in (8, 16, 32, 64)},
}  # fmt: skip
MEMORY = {**COMPUTE, "f16": "u16", "bf16": "u16", "i1": "u8"}

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
          "ge": ">="}  # fmt: skip
_BITWISE = {"and": "&", "or": "|", "xor": "^"}
# CUDA's names, to which an f is added for float.
_LIBRARY = frozenset(
    "exp expm1 log log1p sqrt sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc lgamma floor "
    "ceil rint trunc pow fma rsqrt".split()
)  # fmt: skip
_HELPERS = frozenset("max min maxnum sign fence sigmoid".split())


def const_text(value: float, dtype: str) -> str:
    """A number in C, of the type it is computed with."""
    if dtype == "i1":
        return "true" if value else "false"
    if not is_float(dtype):
        return _integer_text(int(value), dtype)
    wide = dtype == "f64"
    if math.isnan(value):
        return "GF_NAN64" if wide else "GF_NAN"
    if math.isinf(value):
        return ("-" if value < 0 else "") + ("GF_INF64" if wide else "GF_INF")
    text = repr(float(value)) if wide else str(np.float32(value))
    if "." not in text and "e" not in text:
        text += ".0"
    text = text if wide else f"{text}f"
    return f"({text})" if text.startswith("-") else text


def _integer_text(value: int, dtype: str) -> str:
    if dtype == "i64":
        return f"({value + 1}ll - 1)" if value == -(2**63) else f"({value}ll)" if value < 0 else f"{value}ll"
    if dtype == "u64":
        return f"{value}ull"
    if dtype == "u32":
        return f"{value}u"
    if dtype == "i32":
        return f"({value + 1} - 1)" if value == -(2**31) else f"({value})" if value < 0 else str(value)
    return f"({dtype}){value}" if value >= 0 else f"({dtype})({value})"


def from_memory(text: str, dtype: str) -> str:
    """An element as it is computed with."""
    if dtype in ("f16", "bf16"):
        return f"gf_from_{dtype}({text})"
    return f"({text} != 0)" if dtype == "i1" else text


def to_memory(text: str, dtype: str) -> str:
    """A value as it lies in memory."""
    if dtype in ("f16", "bf16"):
        return f"gf_to_{dtype}({text})"
    return f"(u8)({text})" if dtype == "i1" else text


def op_text(expr: Op, args: Sequence[str]) -> str:
    """A function of texts that are names or in brackets."""
    source = expr.args[-1].dtype
    name = "rint" if expr.name == "round" else expr.name
    if name == "select":
        return f"({args[0]} ? {args[1]} : {args[2]})"
    if name == "cast":
        return _cast(args[0], source, expr.dtype)
    if name == "bitcast":
        return _bitcast(args[0], source, expr.dtype)
    if source == "i1":
        return _bool(name, args)
    return _float(name, source, args) if is_float(source) else _integer(name, source, args)


def _float(name: str, dtype: str, args: Sequence[str]) -> str:
    if name in _INFIX:
        return f"({args[0]} {_INFIX[name]} {args[1]})"
    suffix = "" if dtype == "f64" else "f"
    if name in _LIBRARY:
        return f"{name}{suffix}({', '.join(args)})"
    if name in _HELPERS:
        return f"gf_{name}({', '.join(args)})"
    x = args[0]
    forms = {
        "neg": f"(-{x})",
        "abs": f"fabs{suffix}({x})",
        "isnan": f"({x} != {x})",
        "isinf": f"(fabs{suffix}({x}) == GF_INF{'64' if dtype == 'f64' else ''})",
        "isfinite": f"(fabs{suffix}({x}) < GF_INF{'64' if dtype == 'f64' else ''})",
    }
    if name in forms:
        return forms[name]
    if name == "floordiv":
        return f"floor{suffix}({x} / {args[1]})"
    if name == "floormod":
        return f"gf_float_floormod({x}, {args[1]})"
    if name == "truncmod":
        return f"gf_fmod({x}, {args[1]})"
    raise NotImplementedError(f"no CUDA code for {name} of {dtype}")


def _bool(name: str, args: Sequence[str]) -> str:
    if name == "not":
        return f"(!{args[0]})"
    sign = {
        "min": "&",
        "max": "|",
        "eq": "==",
        "ne": "!=",
        "lt": "<",
        "le": "<=",
        "gt": ">",
        "ge": ">=",
        **_BITWISE,
    }
    if name in sign:
        return f"((bool)({args[0]} {sign[name]} {args[1]}))"
    raise NotImplementedError(f"no CUDA code for {name} of i1")


def _integer(name: str, dtype: str, args: Sequence[str]) -> str:
    type_, x = COMPUTE[dtype], args[0]
    if name in ("add", "sub", "mul"):
        # Without a sign, where too large numbers have a meaning; small ones are widened by C itself.
        wrap = f"u{max(32, bits(dtype))}"
        return f"({type_})(({wrap}){x} {_INFIX[name]} ({wrap}){args[1]})"
    if name in _INFIX and name != "div":
        return f"({x} {_INFIX[name]} {args[1]})"
    if name in _BITWISE:
        return f"({type_})({x} {_BITWISE[name]} {args[1]})"
    if name in ("min", "max"):
        return f"({x} {'<' if name == 'min' else '>'} {args[1]} ? {x} : {args[1]})"
    if name == "not":
        return f"({type_})(~{x})"
    if name == "neg":
        return f"({type_})((u64)0 - (u64){x})"
    if name == "abs" and kind(dtype) == "u":
        return x
    if name in ("abs", "sign", "div", "floordiv", "floormod", "truncmod", "shl", "shr", "mulhi"):
        return f"gf_{name}<{type_}>({', '.join(args)})"
    raise NotImplementedError(f"no CUDA code for {name} of {dtype}")


def _cast(x: str, source: str, dtype: str) -> str:
    old, new, to = kind(source), kind(dtype), COMPUTE[dtype]
    if new == "b":
        return f"({x} != 0)"
    if new == "f":
        return _rounded(f"({to}){x}" if to != COMPUTE[source] else x, dtype)
    if old != "f":
        return f"({to}){x}"
    info = np.iinfo(numpy_dtype(dtype))
    held = "f64" if source == "f64" else "f32"
    low, high = (const_text(float(v), held) for v in (info.min, info.max))
    least, most = (const_text(int(v), dtype) for v in (info.min, info.max))
    return f"gf_to_int<{to}>({x}, {low}, {high}, {least}, {most})"


def _rounded(x: str, dtype: str) -> str:
    return f"gf_from_{dtype}(gf_to_{dtype}({x}))" if dtype in ("f16", "bf16") else x


def _bitcast(x: str, source: str, dtype: str) -> str:
    if source in ("f16", "bf16"):
        x = f"gf_to_{source}({x})"
    if dtype in ("f16", "bf16"):
        return f"gf_from_{dtype}((u16){x})"
    return f"gf_bits<{COMPUTE[dtype]}>({x})"


def combine(op: str, dtype: str, x: str, y: str) -> str:
    """What a carry becomes."""
    if op == "set":
        return y
    if op in ("add", "mul") and is_float(dtype):
        return f"{x} {_INFIX[op]} {y}"
    blank = Const(0, dtype)
    return op_text(Op(op, (blank, blank), dtype), [x, y])


def identity(op: str, dtype: str) -> str:
    """What changes nothing when it is combined with."""
    info = None if is_float(dtype) or dtype == "i1" else np.iinfo(numpy_dtype(dtype))
    ends = (
        (-math.inf, math.inf)
        if is_float(dtype)
        else (0, 1)
        if info is None
        else (int(info.min), int(info.max))
    )
    value: float = {"add": 0, "mul": 1, "max": ends[0], "maxnum": ends[0], "min": ends[1], "or": 0}.get(op, 1)
    if op == "and" and info is not None:
        value = -1 if kind(dtype) == "i" else int(info.max)
    return const_text(value, dtype)
