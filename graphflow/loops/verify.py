"""Checks a kernel: types, names, where stores and carries may stand, and that parallel turns do not meet.

An error shows the kernel with the statement marked.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.loops.ir import (
    CARRY_OPS,
    DTYPES,
    FUNCTIONS,
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
    Prefetch,
    Stmt,
    Store,
    Update,
    Var,
    children,
    kind,
    numpy_dtype,
    walk_exprs,
    walk_statements,
)
from graphflow.loops.text import expr_text, kernel_lines
from graphflow.records import dataclass, field

__all__ = ["KernelError", "verify"]


class KernelError(ValueError):
    """A kernel that breaks the rules of the loop language: a fault of whoever built it."""


def verify(kernel: Kernel) -> None:
    """Raises KernelError unless the kernel is well-formed."""
    _Checker(kernel).run()


@dataclass(slots=True)
class _Scope:
    """What is known inside a body: names with their dtypes, and the loops around it."""

    dtypes: dict[str, str]
    loops: tuple[For, ...] = ()
    # Lets by name, so that an index can be traced to loop variables.
    lets: dict[str, Expr] = field(default_factory=dict)
    conditional: bool = False

    def inside(self, loop: For) -> _Scope:
        return _Scope(dict(self.dtypes), (*self.loops, loop), dict(self.lets), self.conditional)

    def below_condition(self) -> _Scope:
        return _Scope(dict(self.dtypes), self.loops, dict(self.lets), True)


class _Checker:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.buffers = {b.name: b for b in kernel.buffers}
        self.locals = {local.name for local in kernel.locals}
        self.current: Stmt | None = None
        self.seen: set[int] = set()

    def fail(self, message: str) -> KernelError:
        lines = []
        marked = False
        for stmt, line in kernel_lines(self.kernel):
            mark = stmt is self.current and stmt is not None and not marked
            lines.append(f"{'>' if mark else ' '} {line}")
            marked = marked or mark
        return KernelError(f"kernel {self.kernel.name}: {message}\n" + "\n".join(lines))

    def run(self) -> None:
        names = [p.name for p in (*self.kernel.params, *self.kernel.locals)]
        if len(set(names)) != len(names):
            raise self.fail("two parameters have one name")
        for local in self.kernel.locals:
            self.known(local.dtype)
            if local.size <= 0:
                raise self.fail(f"the local {local.name} has no elements")
        dtypes: dict[str, str] = {}
        for param in self.kernel.params:
            if isinstance(param, Buffer):
                self.known(param.dtype)
            else:
                dtypes[param.name] = "i64" if isinstance(param, IntParam) else param.dtype
                self.known(dtypes[param.name])
        shared = any(isinstance(s, For) and s.kind == "parallel" for s in walk_statements(self.kernel.body))
        self.body(self.kernel.body, _Scope(dtypes), shared)
        if shared:
            self.phases()

    def known(self, dtype: str) -> None:
        if dtype not in DTYPES:
            raise self.fail(f"no dtype {dtype!r}; there are {', '.join(DTYPES)}")

    # ------------------------------------------------------------------------------------------ statements

    def body(self, body: Sequence[Stmt], scope: _Scope, shared: bool) -> None:
        for stmt in body:
            self.current = stmt
            if isinstance(stmt, Let):
                self.expr(stmt.value, scope)
                self.bind(stmt.name, stmt.value.dtype, scope)
                scope.lets[stmt.name] = stmt.value
            elif isinstance(stmt, Store):
                self.store(stmt, scope, shared)
            elif isinstance(stmt, Update):
                self.update(stmt, scope)
            elif isinstance(stmt, Prefetch):
                if stmt.buffer not in self.buffers:
                    raise self.fail(f"no buffer {stmt.buffer!r}")
                self.expr(stmt.index, scope)
                if stmt.index.dtype != "i64":
                    raise self.fail(f"the index is {stmt.index.dtype}, not i64")
            elif isinstance(stmt, If):
                self.expr(stmt.condition, scope)
                if stmt.condition.dtype != "i1":
                    raise self.fail(f"the condition is {stmt.condition.dtype}, not i1")
                self.body(stmt.body, scope.below_condition(), shared)
            elif isinstance(stmt, For):
                self.loop(stmt, scope, shared)
            else:
                raise self.fail(f"no such statement: {type(stmt).__name__}")

    def bind(self, name: str, dtype: str, scope: _Scope) -> None:
        if name in scope.dtypes or name in self.buffers:
            raise self.fail(f"the name {name!r} is taken")
        scope.dtypes[name] = dtype

    def loop(self, stmt: For, scope: _Scope, shared: bool) -> None:
        for bound in (stmt.start, stmt.stop):
            self.expr(bound, scope)
            if bound.dtype != "i64":
                raise self.fail(f"a bound of the loop is {bound.dtype}, not i64")
        if stmt.kind not in ("serial", "parallel", "vector"):
            raise self.fail(f"no kind of loop {stmt.kind!r}")
        if stmt.kind == "parallel":
            if any(outer.kind != "serial" or outer.carries for outer in scope.loops) or scope.loops:
                raise self.fail("a parallel loop must be outermost")
            if scope.conditional:
                raise self.fail("a parallel loop must not stand under a condition")
            if stmt.carries:
                raise self.fail("a parallel loop carries nothing: its turns are on several threads")
        for carry in stmt.carries:
            self.expr(carry.init, scope)
            if carry.op not in CARRY_OPS:
                raise self.fail(f"no combination {carry.op!r}; there are {', '.join(CARRY_OPS)}")
            if carry.op == "set" and stmt.kind != "serial":
                raise self.fail(f"{carry.name} is set turn by turn, so the loop must be serial")
            function = FUNCTIONS.get(carry.op)
            if function is not None and kind(carry.dtype) not in function.kinds:
                raise self.fail(f"{carry.name}: {carry.op} is not defined for {carry.dtype}")
            self.bind(carry.name, carry.dtype, scope)
        inner = scope.inside(stmt)
        self.bind(stmt.var, "i64", inner)
        self.body(stmt.body, inner, shared)
        self.current = stmt

    def update(self, stmt: Update, scope: _Scope) -> None:
        self.expr(stmt.value, scope)
        owner = next((loop for loop in scope.loops if any(c.name == stmt.name for c in loop.carries)), None)
        if owner is None:
            raise self.fail(f"{stmt.name!r} is no carry of a loop around")
        carry = next(c for c in owner.carries if c.name == stmt.name)
        if stmt.value.dtype != carry.dtype:
            raise self.fail(f"{stmt.value.dtype} into the carry {stmt.name} of {carry.dtype}")
        inner = scope.loops[scope.loops.index(owner) :]
        if carry.op == "set" and any(loop.kind == "vector" for loop in inner):
            raise self.fail(f"{stmt.name} is set turn by turn, so no loop between may be a vector loop")

    def store(self, stmt: Store, scope: _Scope, shared: bool) -> None:
        buffer = self.buffers.get(stmt.buffer)
        if buffer is None:
            raise self.fail(f"no buffer {stmt.buffer!r}")
        self.expr(stmt.index, scope)
        self.expr(stmt.value, scope)
        if stmt.index.dtype != "i64":
            raise self.fail(f"the index is {stmt.index.dtype}, not i64")
        if stmt.value.dtype != buffer.dtype:
            raise self.fail(f"{stmt.value.dtype} into {stmt.buffer} of {buffer.dtype}")
        if stmt.streaming and not any(loop.kind == "vector" for loop in scope.loops):
            raise self.fail(f"{stmt.buffer} is streamed to outside a vector loop")
        if stmt.buffer in self.locals:
            vectors = [loop for loop in scope.loops if loop.kind == "vector"]
            for loop in vectors:
                self.apart(stmt, loop, scope)
            return
        parallel = next((loop for loop in scope.loops if loop.kind == "parallel"), None)
        if shared and parallel is None:
            raise self.fail(f"{stmt.buffer} is stored to outside the parallel loop: every thread would do it")
        for loop in scope.loops:
            if loop.kind != "serial":
                self.apart(stmt, loop, scope)

    def apart(self, stmt: Store, loop: For, scope: _Scope) -> None:
        """Fails if two turns of the loop surely write one element."""
        if scope.conditional:
            return
        form = _linear(stmt.index, scope.lets)
        trips = _trips(loop)
        if form is None or (trips is not None and trips <= 1):
            return
        inner = scope.loops[scope.loops.index(loop) + 1 :]
        moving = _moving(loop, inner, scope.lets)
        if all(form.get(name, 0) == 0 for name in moving):
            raise self.fail(
                f"every turn of {loop.kind} loop {loop.var} writes the same elements of {stmt.buffer}"
            )
        step = form.get(loop.var, 0)
        for nested in inner:
            stride, length = form.get(nested.var, 0), _trips(nested)
            if not step or not stride or length is None or nested.var in moving:
                continue
            if step % stride == 0 and abs(step // stride) < length:
                raise self.fail(
                    f"turns of {loop.kind} loop {loop.var} are {step} elements of {stmt.buffer} apart, "
                    f"but {nested.var} covers {(length - 1) * abs(stride) + 1} in each"
                )

    def phases(self) -> None:
        """No loop reads or writes what an earlier parallel loop wrote: nothing waits in between."""
        written: set[str] = set()
        for stmt in self.kernel.body:
            self.current = stmt
            here = (stmt,)
            touched = {e.buffer for e in walk_exprs(here) if isinstance(e, Load)}
            stores = {s.buffer for s in walk_statements(here) if isinstance(s, Store)}
            clash = sorted(written & (touched | stores))
            if clash:
                raise self.fail(
                    f"{clash[0]} is touched after a parallel loop that wrote it, without a wait between"
                )
            written |= stores

    # ----------------------------------------------------------------------------------------- expressions

    def expr(self, root: Expr, scope: _Scope) -> None:
        pending = [root]
        local: set[int] = set()
        while pending:
            expr = pending.pop()
            if id(expr) in local:
                continue
            local.add(id(expr))
            if isinstance(expr, Var):
                self.variable(expr, scope)
            elif id(expr) not in self.seen:
                self.seen.add(id(expr))
                self.one(expr)
            pending.extend(children(expr))

    def variable(self, expr: Var, scope: _Scope) -> None:
        dtype = scope.dtypes.get(expr.name)
        if dtype is None:
            raise self.fail(f"nothing is called {expr.name!r} here")
        if dtype != expr.dtype:
            raise self.fail(f"{expr.name} is {dtype}, not {expr.dtype}")
        for loop in scope.loops:
            if loop.kind == "vector" and any(c.name == expr.name for c in loop.carries):
                raise self.fail(
                    f"the carry {expr.name} is read in its vector loop, whose lanes hold parts of it"
                )

    def one(self, expr: Expr) -> None:
        if isinstance(expr, Const):
            self.known(expr.dtype)
            numpy_dtype(expr.dtype).type(expr.value)
        elif isinstance(expr, Load):
            buffer = self.buffers.get(expr.buffer)
            if buffer is None:
                raise self.fail(f"no buffer {expr.buffer!r}")
            if expr.dtype != buffer.dtype:
                raise self.fail(f"{expr.buffer} is of {buffer.dtype}, not {expr.dtype}")
            if expr.index.dtype != "i64":
                raise self.fail(f"the index of {expr.buffer} is {expr.index.dtype}, not i64")
        elif isinstance(expr, Op):
            self.function(expr)
        else:
            raise self.fail(f"{type(expr).__name__} belongs in a row body, not in a kernel")

    def function(self, expr: Op) -> None:
        function = FUNCTIONS.get(expr.name)
        if function is None:
            raise self.fail(f"no function {expr.name!r}")
        self.known(expr.dtype)
        dtypes = [a.dtype for a in expr.args]
        shown = f"{expr_text(expr)}: {expr.name}({', '.join(dtypes)}) -> {expr.dtype}"
        if len(dtypes) != function.arity:
            raise self.fail(f"{shown} has not {function.arity} arguments")
        values = dtypes[1:] if function.result == "select" else dtypes
        if len(set(values)) != 1 or kind(values[0]) not in function.kinds:
            raise self.fail(f"{shown} is not defined")
        expected = {"same": values[0], "select": values[0], "i1": "i1", "given": expr.dtype}[function.result]
        if expr.dtype != expected or (function.result == "select" and dtypes[0] != "i1"):
            raise self.fail(f"{shown} is not defined")


# A linear form: coefficients by variable name, None where a coefficient is not a plain number.
_Form = dict[str, int | None]


def _linear(expr: Expr, lets: dict[str, Expr], depth: int = 0) -> _Form | None:
    """Which variables an index depends on, and how far a step of each moves it; None if that is not plain."""
    if depth > 50:
        return None
    if isinstance(expr, Const):
        return {}
    if isinstance(expr, Var):
        if expr.name in lets:
            return _linear(lets[expr.name], lets, depth + 1)
        return {expr.name: 1}
    if not isinstance(expr, Op) or expr.name not in ("add", "sub", "mul"):
        return None
    x, y = (_linear(a, lets, depth + 1) for a in expr.args)
    if x is None or y is None:
        return None
    if expr.name == "mul":
        factor = next((int(a.value) for a in expr.args if isinstance(a, Const)), None)
        return {name: _times(c, factor) for name, c in (x | y).items()}
    sign = 1 if expr.name == "add" else -1
    total: _Form = dict(x)
    for name, c in y.items():
        old = total.get(name, 0)
        total[name] = None if old is None or c is None else old + sign * c
    return total


def _times(c: int | None, factor: int | None) -> int | None:
    return None if c is None or factor is None else c * factor


def _trips(loop: For) -> int | None:
    if isinstance(loop.start, Const) and isinstance(loop.stop, Const):
        return max(0, int(loop.stop.value) - int(loop.start.value))
    return None


def _moving(loop: For, inner: Sequence[For], lets: dict[str, Expr]) -> set[str]:
    """The loop's variable, and those of inner loops whose bounds depend on it."""
    moving = {loop.var}
    for nested in inner:
        bounds = [_linear(b, lets) for b in (nested.start, nested.stop)]
        if any(b is None or not moving.isdisjoint(b) for b in bounds):
            moving.add(nested.var)
    return moving
