"""Which loops of a kernel are spread over blocks and threads.

A *nest* is a loop, with those that it alone holds, whose turns are independent: their product is spread. What is inside
is done by one thread where that is enough (elements, columns, transposes), else by a *team* of threads, 32 or a whole
block, that shares the vector loops inside and combines what these carry in a fixed order (rows).

Three things of the loops are for processors and are undone here: turns of some thousand elements each (the pieces are
put together again), serial loops whose turns do not depend on one another (they are spread too), and sums that are
serial only because they are short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphflow.loops.ir import (
    Const,
    Expr,
    For,
    IntParam,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    ScalarParam,
    Stmt,
    Store,
    Update,
    Var,
    children,
    numpy_dtype,
    walk_exprs,
    walk_statements,
)
from graphflow.records import dataclass

__all__ = [
    "BLOCK",
    "Axis",
    "Nest",
    "Schedule",
    "is_shared",
    "lets_of",
    "linear",
    "same",
    "schedule_of",
    "trips",
    "variables",
]

BLOCK = 256
"""Threads of a block."""

WARP = 32
_FEW_TURNS = 16  # vector loops that are no longer are done by one thread
_SHORT = 512  # and up to so many turns by a warp
_MOST_PRIVATE = 512  # bytes of a kernel's own memory that one thread may hold
_MOST_SHARED = 40 << 10  # bytes that a block may


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One loop of a nest, after the `lets` in front of it."""

    var: str
    start: Expr
    stop: Expr
    vector: bool
    lets: tuple[Let, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Nest:
    """Loops that are spread, the outermost first, and what each of their turns does, by a team of so many threads."""

    axes: tuple[Axis, ...]
    body: tuple[Stmt, ...]
    team: int


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A kernel's statements in order; a nest where some are spread, else what every thread does."""

    parts: tuple[Nest | Stmt, ...]


def schedule_of(kernel: Kernel) -> Schedule:
    """Decides how a kernel is spread."""
    return _Scheduler(kernel).schedule()


def variables(expr: Expr) -> set[str]:
    """The names that an expression reads, buffers apart."""
    return {e.name for e in walk_exprs(expr) if isinstance(e, Var)}


def linear(expr: Expr, lets: Mapping[str, Expr]) -> dict[str, int | None] | None:
    """How far a step of each variable moves an index (None: by a number that is not known here); None: not plainly."""
    memo: dict[int, dict[str, int | None] | None] = {}

    def visit(e: Expr) -> dict[str, int | None] | None:
        if id(e) not in memo:
            memo[id(e)] = one(e)
        return memo[id(e)]

    def one(e: Expr) -> dict[str, int | None] | None:
        if isinstance(e, Const):
            return {}
        if isinstance(e, Var):
            return visit(lets[e.name]) if e.name in lets else {e.name: 1}
        if not isinstance(e, Op) or e.name not in ("add", "sub", "mul"):
            return None
        x, y = visit(e.args[0]), visit(e.args[1])
        if x is None or y is None:
            return None
        if e.name == "mul":
            factor = next((int(a.value) for a in e.args if isinstance(a, Const)), None)
            if factor is not None:
                return {name: None if c is None else c * factor for name, c in (x | y).items()}
            return dict.fromkeys(x | y)
        total = dict(x)
        for name, c in y.items():
            old, signed = total.get(name, 0), c if e.name == "add" or c is None else -c
            total[name] = None if old is None or signed is None else old + signed
        return total

    return visit(expr)


def is_shared(stmt: For) -> bool:
    """Whether a team shares the turns of a loop among its threads, inside a turn of a nest."""
    if stmt.kind == "vector":
        return True
    if stmt.kind != "serial" or not stmt.carries or any(carry.op == "set" for carry in stmt.carries):
        return False
    if not (isinstance(stmt.start, Const) and stmt.start.value == 0) or trips(stmt) in range(9):
        return False
    own = {carry.name for carry in stmt.carries}
    for inner in walk_statements(stmt.body):
        if isinstance(inner, Store) or (isinstance(inner, For) and inner.kind == "vector"):
            return False
    return not any(isinstance(e, Var) and e.name in own for e in walk_exprs(stmt.body))


def trips(stmt: For) -> int | None:
    """How many turns a loop has, if that is known."""
    if isinstance(stmt.start, Const) and isinstance(stmt.stop, Const):
        return max(0, int(stmt.stop.value) - int(stmt.start.value))
    return None


class _Scheduler:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.locals = {local.name: local for local in kernel.locals}
        self.lets = lets_of(kernel.body)

    def schedule(self) -> Schedule:
        body = self.kernel.body
        known = {p.name for p in self.kernel.params if isinstance(p, IntParam | ScalarParam)}
        loops = [stmt for stmt in body if isinstance(stmt, For)]
        if any(loop.kind == "parallel" for loop in loops):
            return Schedule(
                tuple(
                    self.nest(stmt, known) if isinstance(stmt, For) and stmt.kind == "parallel" else stmt
                    for stmt in body
                )
            )
        rest = [stmt for stmt in body if not isinstance(stmt, Let)]
        if len(rest) == 1 and isinstance(rest[0], For) and self.spreads(rest[0]):
            return Schedule(tuple(self.nest(s, known) if isinstance(s, For) else s for s in body))
        return Schedule((Nest((), body, self.team(body, ())),))

    # -- what is spread ---------------------------------------------------------------------------------

    def spreads(self, loop: For) -> bool:
        """Whether the turns of a loop depend on nothing that others do."""
        if loop.carries:
            return False
        return loop.kind != "serial" or self.is_free(loop)

    def is_free(self, loop: For) -> bool:
        """Whether a serial loop's turns are independent: each writes elements of its own that no turn reads."""
        stores = [s for s in walk_statements(loop.body) if isinstance(s, Store)]
        written = {s.buffer for s in stores if s.buffer not in self.locals}
        touched = {e.buffer for e in walk_exprs(loop.body) if isinstance(e, Load)} | {
            s.buffer for s in stores
        }
        if any(name in self.locals and not self.is_fresh(name, loop) for name in touched):
            return False
        if any(isinstance(e, Load) and e.buffer in written for e in walk_exprs(loop.body)):
            return False
        for store in stores:
            if store.buffer in self.locals:
                continue
            form = linear(store.index, self.lets)
            if form is None or form.get(loop.var, 0) == 0:
                return False
        inside = {s.name for s in walk_statements(loop.body) if isinstance(s, Update)}
        own = {c.name for s in walk_statements(loop.body) if isinstance(s, For) for c in s.carries}
        return inside <= own

    def is_fresh(self, name: str, loop: For) -> bool:
        """Whether every turn of a loop sets the one element of some memory before it reads it."""
        if self.locals[name].size != 1:
            return False
        for stmt in loop.body:
            if isinstance(stmt, Store) and stmt.buffer == name:
                return not any(isinstance(e, Load) and e.buffer == name for e in walk_exprs((stmt,)))
            if any(isinstance(e, Load) and e.buffer == name for e in walk_exprs((stmt,))):
                return False
            if any(isinstance(s, Store) and s.buffer == name for s in walk_statements((stmt,))):
                return False
        return False

    def nest(self, loop: For, known: set[str]) -> Nest:
        """The loops that are spread with an outermost one."""
        axes: list[Axis] = []
        lets: list[Let] = []
        current = loop
        while True:
            current = self.whole(current)
            start, stop = self.substituted(current.start), self.substituted(current.stop)
            axes.append(Axis(current.var, start, stop, current.kind == "vector", tuple(lets)))
            lets = []
            body = list(current.body)
            while body and isinstance(body[0], Let):
                lets.append(body.pop(0))  # type: ignore[arg-type]
            inner = body[0] if len(body) == 1 else None
            if not isinstance(inner, For) or current.kind == "vector" or not self.spreads(inner):
                break
            whole = self.whole(inner)
            bounds = [self.substituted(bound) for bound in (whole.start, whole.stop)]
            if any(not variables(bound) <= known or _loads(bound) for bound in bounds):
                break
            current = inner
        leaf = (*lets, *body)
        team = 1 if axes[-1].vector else self.team(leaf, axes)
        return Nest(tuple(axes), leaf, team)

    def whole(self, loop: For) -> For:
        """A loop as it is, or without its being cut into pieces."""
        found = self.unchunked(loop)
        return loop if found is None else found

    def unchunked(self, loop: For) -> For | None:
        """For a loop over pieces, the loop over all; None for others.

        `for turn in 0 .. (n + 4095) // 4096 { for i in turn * 4096 .. min(turn * 4096 + 4096, n) }`.
        """
        lets: list[Let] = []
        path: list[For] = [loop]
        while True:
            body = list(path[-1].body)
            before = []
            while body and isinstance(body[0], Let):
                before.append(body.pop(0))
            lets += before  # type: ignore[arg-type]
            if len(body) != 1 or not isinstance(body[0], For) or body[0].carries:
                return None
            inner = body[0]
            size = self.piece(loop, inner)
            if size is not None:
                break
            if not self.spreads(inner) or inner.kind == "vector":
                return None
            path.append(inner)
        used = variables_of(inner.body) | {n for outer in path[1:] for n in variables(outer.stop)}
        kept = [let for let in lets if loop.var not in self.needs(let.value)]
        gone = {let.name for let in lets if let not in kept}
        if used & (gone | {loop.var}) or (inner.kind == "serial" and not self.is_free(inner)):
            return None
        made = For(inner.var, Const(0, "i64"), size, (*kept, *inner.body), inner.kind)
        for outer in reversed(path[1:]):
            made = For(outer.var, outer.start, outer.stop, (made,), "serial")
        return made

    def piece(self, outer: For, inner: For) -> Expr | None:
        """The whole extent, if an inner loop goes over one piece of it for each turn of the outer one."""
        start, stop = self.resolved(inner.start), self.resolved(inner.stop)
        if not (
            isinstance(start, Op) and start.name == "mul" and isinstance(stop, Op) and stop.name == "min"
        ):
            return None
        turn, size = start.args
        if not (isinstance(turn, Var) and turn.name == outer.var and isinstance(size, Const)):
            return None
        end, extent = (self.resolved(a) for a in stop.args)
        if not (isinstance(end, Op) and end.name == "add" and isinstance(end.args[1], Const)):
            end, extent = extent, end
        if not (isinstance(end, Op) and end.name == "add" and isinstance(end.args[1], Const)):
            return None
        if end.args[1].value != size.value or not same(self.resolved(end.args[0]), start):
            return None
        count, step = self.resolved(outer.stop), int(size.value)
        if not (isinstance(outer.start, Const) and outer.start.value == 0):
            return None
        if isinstance(count, Const):
            whole = isinstance(extent, Const) and count.value == -(-int(extent.value) // step)
            return extent if whole else None
        if not (isinstance(count, Op) and count.name == "floordiv" and same(count.args[1], size)):
            return None
        raised = count.args[0]
        if not (isinstance(raised, Op) and raised.name == "add" and isinstance(raised.args[1], Const)):
            return None
        base, more = self.resolved(raised.args[0]), int(raised.args[1].value)
        if more == step - 1 and same(base, extent):
            return extent
        # (m + 3) // 4 pieces of ... : constants before were added up.
        return None

    def resolved(self, expr: Expr) -> Expr:
        while isinstance(expr, Var) and expr.name in self.lets:
            expr = self.lets[expr.name]
        return expr

    def substituted(self, expr: Expr) -> Expr:
        """An expression over parameters, where names stand for such."""
        if isinstance(expr, Var):
            given = self.lets.get(expr.name)
            return expr if given is None else self.substituted(given)
        if not isinstance(expr, Op):
            return expr
        args = tuple(self.substituted(arg) for arg in expr.args)
        return (
            expr
            if all(a is b for a, b in zip(args, expr.args, strict=True))
            else Op(expr.name, args, expr.dtype)
        )

    def needs(self, expr: Expr) -> set[str]:
        """The names that an expression hangs on, through what has been named."""
        found: set[str] = set()
        waiting = [expr]
        while waiting:
            for name in variables(waiting.pop()):
                if name not in found:
                    found.add(name)
                    if name in self.lets:
                        waiting.append(self.lets[name])
        return found

    # -- teams ------------------------------------------------------------------------------------------

    def team(self, body: Sequence[Stmt], axes: Sequence[Axis]) -> int:
        """How many threads do a turn."""
        lengths = [
            trips(stmt)
            for stmt in walk_statements(tuple(body))
            if isinstance(stmt, For) and (stmt.kind == "vector" or is_shared(stmt))
        ]
        used = {e.buffer for e in walk_exprs(tuple(body)) if isinstance(e, Load)}
        used |= {s.buffer for s in walk_statements(tuple(body)) if isinstance(s, Store)}
        own = sum(_bytes(local) for local in self.kernel.locals if local.name in used)
        if own > _MOST_SHARED:
            return 1
        longest = None if None in lengths else max((n for n in lengths if n is not None), default=0)
        if longest is not None and longest <= _FEW_TURNS and own <= _MOST_PRIVATE:
            return 1
        turns = 1
        for axis in axes:
            if not (isinstance(axis.start, Const) and isinstance(axis.stop, Const)):
                turns = 0
                break
            turns *= int(axis.stop.value) - int(axis.start.value)
        few = axes and 0 < turns < _SHORT and (longest is None or longest > 4 * WARP)
        if longest is not None and longest <= _SHORT and own * (BLOCK // WARP) <= _MOST_SHARED and not few:
            return WARP
        return BLOCK


def lets_of(body: Sequence[Stmt]) -> dict[str, Expr]:
    """What names stand for, but for those that sister scopes have in common."""
    found: dict[str, Expr] = {}
    twice: set[str] = set()
    for stmt in walk_statements(tuple(body)):
        if isinstance(stmt, Let):
            if stmt.name in found:
                twice.add(stmt.name)
            found[stmt.name] = stmt.value
    return {name: value for name, value in found.items() if name not in twice}


def _bytes(local: Local) -> int:
    return local.size * numpy_dtype(local.dtype).itemsize


def variables_of(body: Iterable[Stmt]) -> set[str]:
    """The names that statements read."""
    return {e.name for e in walk_exprs(tuple(body)) if isinstance(e, Var)}


def _loads(expr: Expr) -> bool:
    return any(isinstance(e, Load) for e in walk_exprs(expr))


def same(x: Expr, y: Expr) -> bool:
    """Whether two expressions are written alike."""
    if x is y:
        return True
    if type(x) is not type(y) or x.dtype != y.dtype:
        return False
    if isinstance(x, Const) and isinstance(y, Const):
        return repr(x.value) == repr(y.value)
    if isinstance(x, Var) and isinstance(y, Var):
        return x.name == y.name
    if isinstance(x, Op) and isinstance(y, Op) and x.name != y.name:
        return False
    if isinstance(x, Load) and isinstance(y, Load) and x.buffer != y.buffer:
        return False
    return all(same(a, b) for a, b in zip(children(x), children(y), strict=True))
