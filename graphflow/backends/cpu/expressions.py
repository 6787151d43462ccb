"""Writes scalar expressions over vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphflow.backends.cpu.function_text import FunctionText, Lanes
from graphflow.loops.ir import Const, Expr, Op, Var

_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARE = {"gt": "ogt", "ge": "oge", "lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}


def write_expressions(
    f: FunctionText, count: int, exprs: Sequence[Expr], values: Mapping[str, str]
) -> list[str]:
    """The values of expressions whose variables are the given vectors of `count` lanes."""
    memo: dict[int, str] = {}

    def visit(e: Expr) -> str:
        if id(e) in memo:
            return memo[id(e)]
        lanes = Lanes(e.dtype, count)
        if isinstance(e, Var):
            r = values[e.name]
        elif isinstance(e, Const):
            import struct

            v = float(e.value)
            if e.dtype == "f32":
                v = struct.unpack("<f", struct.pack("<f", v))[0]
            bits = struct.unpack("<Q", struct.pack("<d", v))[0]
            r = "<" + ", ".join([f"{lanes.element} 0x{bits:016X}"] * count) + ">"
        else:
            assert isinstance(e, Op)
            a = [visit(x) for x in e.args]
            t = Lanes(e.args[-1].dtype, count).type
            if e.name in _ARITHMETIC:
                r = f.value(f"{_ARITHMETIC[e.name]} {t} {a[0]}, {a[1]}")
            elif e.name in _COMPARE:
                r = f.value(f"fcmp {_COMPARE[e.name]} {t} {a[0]}, {a[1]}")
            elif e.name in ("max", "min"):
                c = f.value(f"fcmp {'ogt' if e.name == 'max' else 'olt'} {t} {a[0]}, {a[1]}")
                r = f.value(f"select <{count} x i1> {c}, {t} {a[0]}, {t} {a[1]}")
            elif e.name == "select":
                r = f.value(f"select <{count} x i1> {a[0]}, {t} {a[1]}, {t} {a[2]}")
            elif e.name == "sqrt":
                n = f"llvm.sqrt.{lanes.suffix}"
                f.module.declare(n, t, t)
                r = f.value(f"call {t} @{n}({t} {a[0]})")
            else:
                raise NotImplementedError(e.name)
        memo[id(e)] = r
        return r

    return [visit(e) for e in exprs]
