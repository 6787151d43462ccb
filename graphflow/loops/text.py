"""Kernels in print: one line a statement, the same text for the same kernel.

The text is what golden tests compare and what compiled code is filed under, so it says everything that code
depends on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from graphflow.loops.build import RowIndex, RowReduce, RowSize
from graphflow.loops.ir import (
    Buffer,
    Const,
    Expr,
    For,
    If,
    IntParam,
    Kernel,
    Let,
    Load,
    Op,
    Param,
    Prefetch,
    Stmt,
    Store,
    Update,
    Var,
    children,
    numpy_dtype,
)

__all__ = ["expr_text", "kernel_lines", "kernel_text"]

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "floormod": "%",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "and": "&",
    "or": "|",
    "xor": "^",
    "shl": "<<",
    "shr": ">>",
}
_LOOSENESS = {name: rank for rank, names in enumerate(
    (("mul", "div", "floordiv", "floormod"), ("add", "sub"), ("shl", "shr"), ("and",), ("xor",), ("or",),
     ("eq", "ne", "lt", "le", "gt", "ge")), 1) for name in names}  # fmt: skip


def kernel_text(kernel: Kernel) -> str:
    """The whole kernel, each line ended."""
    return "".join(f"{line}\n" for _, line in kernel_lines(kernel))


def kernel_lines(kernel: Kernel) -> Iterator[tuple[Stmt | None, str]]:
    """The lines of the text, each with the statement it starts or belongs to."""
    parameters = ", ".join(_param_text(p) for p in kernel.params)
    yield None, f"kernel {kernel.name}({parameters}) {{"
    for local in kernel.locals:
        yield None, f"  local {local.name}: {local.dtype}[{local.size}]"
    yield from _Printer().body(kernel.body, 1)
    yield None, "}"


def expr_text(expr: Expr) -> str:
    """One expression, written out in full where that is short."""
    return _Printer().expr(expr, [], "", limit=40)


def _param_text(param: Param) -> str:
    if isinstance(param, Buffer):
        return f"{param.name}: {param.dtype}[]"
    return f"{param.name}: {'i64' if isinstance(param, IntParam) else param.dtype}"


class _Printer:
    def __init__(self) -> None:
        self._shared: dict[int, str] = {}
        self._temporaries = 0

    def body(self, body: Sequence[Stmt], depth: int) -> Iterator[tuple[Stmt, str]]:
        indent = "  " * depth
        for stmt in body:
            lines: list[str] = []
            self._shared = {}
            if isinstance(stmt, Let):
                text = f"let {stmt.name} = {self.expr(stmt.value, lines, indent)}"
            elif isinstance(stmt, Update):
                text = f"{stmt.name} <- {self.expr(stmt.value, lines, indent)}"
            elif isinstance(stmt, Store):
                index = self.expr(stmt.index, lines, indent)
                value = self.expr(stmt.value, lines, indent)
                text = f"{'stream ' if stmt.streaming else ''}{stmt.buffer}[{index}] = {value}"
            elif isinstance(stmt, Prefetch):
                text = f"prefetch {stmt.buffer}[{self.expr(stmt.index, lines, indent)}]"
            elif isinstance(stmt, If):
                text = f"if {self.expr(stmt.condition, lines, indent)} {{"
            else:
                assert isinstance(stmt, For)
                start, stop = (self.expr(e, lines, indent) for e in (stmt.start, stmt.stop))
                carries = ", ".join(
                    f"{c.name}: {c.dtype} = {self.expr(c.init, lines, indent)} by {c.op}"
                    for c in stmt.carries
                )
                kind = "" if stmt.kind == "serial" else f"{stmt.kind} "
                text = (
                    f"{kind}for {stmt.var} in {start} .. {stop}{f' carrying {carries}' if carries else ''} {{"
                )
            for line in lines:
                yield stmt, line
            yield stmt, indent + text
            if isinstance(stmt, (For, If)):
                yield from self.body(stmt.body, depth + 1)
                yield stmt, indent + "}"

    def expr(self, root: Expr, lines: list[str], indent: str, limit: int | None = None) -> str:
        """An expression; what occurs more than once in it, or lies deep, gets a line and a name first."""
        texts: dict[int, tuple[str, int]] = {}
        if limit is None:
            self._name_shared(root, lines, indent, texts)
        return self._written(root, texts, limit)[0]

    def _name_shared(
        self, root: Expr, lines: list[str], indent: str, texts: dict[int, tuple[str, int]]
    ) -> None:
        order: list[Expr] = []
        uses: Counter[int] = Counter()
        depth: dict[int, int] = {}
        stack: list[tuple[Expr, bool]] = [(root, False)]
        seen: set[int] = set()
        while stack:
            expr, ready = stack.pop()
            below = children(expr) if not isinstance(expr, RowReduce) else (expr.value,)
            if ready:
                order.append(expr)
                depth[id(expr)] = 1 + max(
                    (0 if id(c) in self._shared else depth[id(c)] for c in below), default=0
                )
                if depth[id(expr)] >= 8:
                    uses[id(expr)] += 2
                    depth[id(expr)] = 1
                continue
            uses[id(expr)] += 1
            if id(expr) in seen:
                continue
            seen.add(id(expr))
            stack.append((expr, True))
            stack.extend((c, False) for c in reversed(below))
        for expr in order:
            if expr is root or not isinstance(expr, (Op, RowReduce)) or uses[id(expr)] < 2:
                continue
            if id(expr) not in self._shared:
                text = self._written(expr, texts, None)[0]
                name = f"%{self._temporaries}"
                self._temporaries += 1
                lines.append(f"{indent}{name} = {text}")
                self._shared[id(expr)] = name

    def _written(self, expr: Expr, texts: dict[int, tuple[str, int]], limit: int | None) -> tuple[str, int]:
        """Text and looseness of binding (0: needs no brackets anywhere)."""
        if id(expr) in self._shared:
            return self._shared[id(expr)], 0
        if limit is not None:
            if limit <= 0:
                return "…", 0
            limit //= 2
        if isinstance(expr, Const):
            return _const_text(expr), 0
        if isinstance(expr, Var):
            return expr.name, 0
        if isinstance(expr, Load):
            return f"{expr.buffer}[{self._written(expr.index, texts, limit)[0]}]", 0
        if isinstance(expr, RowIndex):
            return "row.index", 0
        if isinstance(expr, RowSize):
            return "row.size", 0
        if isinstance(expr, RowReduce):
            return f"row.{expr.op}({self._written(expr.value, texts, limit)[0]})", 0
        assert isinstance(expr, Op)
        if expr.name in ("cast", "bitcast"):
            name = expr.dtype if expr.name == "cast" else f"bits.{expr.dtype}"
            return f"{name}({self._written(expr.args[0], texts, limit)[0]})", 0
        if expr.name in _INFIX:
            rank = _LOOSENESS[expr.name]
            left, right = (self._written(a, texts, limit) for a in expr.args)
            x = f"({left[0]})" if left[1] > rank or (left[1] == rank and rank > 2) else left[0]
            y = f"({right[0]})" if right[1] >= rank else right[0]
            return f"{x} {_INFIX[expr.name]} {y}", rank
        return f"{expr.name}({', '.join(self._written(a, texts, limit)[0] for a in expr.args)})", 0


def _const_text(expr: Const) -> str:
    if expr.dtype == "i64":
        return str(expr.value)
    if expr.dtype == "i1":
        return "true" if expr.value else "false"
    # As NumPy prints it: the shortest digits that mean this number in its own dtype.
    return f"{numpy_dtype(expr.dtype).type(expr.value)!s}:{expr.dtype}"
