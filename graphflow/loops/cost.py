"""What a kernel costs before it has run: floating-point operations, bytes read and bytes written.

The counts come from the loops alone. An expression counts where it has to be computed: once per turn of the innermost
loop that it depends on. The bytes are those that have to cross between memory and processor at least once: a buffer
that is walked again counts once, since that is what caches are for, and of a table that is only looked into, no more
than the elements looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphflow.loops.ir import (
    Const,
    Expr,
    For,
    If,
    IntParam,
    Kernel,
    Let,
    Load,
    Op,
    Stmt,
    Store,
    Update,
    Var,
    bits,
    children,
    is_float,
)
from graphflow.records import dataclass

__all__ = ["ELEMENTARY", "ELEMENTARY_FLOPS", "Cost", "Peak", "kernel_cost"]

# Functions that are a polynomial, a table or a call in code, and what one of them counts: about the arithmetic of the
# polynomials in use (Muller, Elementary Functions, 3rd ed., ch. 3 and 11).
ELEMENTARY = frozenset(
    "exp expm1 log log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sigmoid erf erfc pow lgamma "
    "digamma".split()
)
ELEMENTARY_FLOPS = 12

# What moves or renames bits, and does no arithmetic.
_FREE = frozenset(("cast", "bitcast", "select", "neg", "abs", "fence"))


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations, and bytes that have to be read and written."""

    flops: float = 0.0
    read: int = 0
    written: int = 0

    @property
    def bytes(self) -> int:
        """Bytes in both directions."""
        return self.read + self.written

    def times(self, count: int) -> Cost:
        """That of so many of them."""
        return self if count == 1 else Cost(self.flops * count, self.read * count, self.written * count)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.read + other.read, self.written + other.written)


@dataclass(frozen=True, slots=True)
class Peak:
    """What a machine reaches at best, all threads together.

    Attributes:
      flops: floating-point operations per second, by the dtype of the operands ("f32", "f64").
      bytes: bytes per second between memory and processor, both directions together.
    """

    flops: Mapping[str, float]
    bytes: float

    def seconds(self, cost: Cost, dtype: str = "f32") -> float:
        """The least time for a cost: the roofline (Williams, Waterman, Patterson, CACM 52(4), 2009)."""
        return max(cost.flops / self.flops.get(dtype, self.flops["f32"]), cost.bytes / self.bytes)


def kernel_cost(kernel: Kernel, ints: Mapping[str, int], nbytes: Mapping[str, int]) -> Cost:
    """Counts one run of a kernel.

    Args:
      kernel: the kernel.
      ints: the value of each `IntParam`.
      nbytes: how large each buffer is.

    What stands under a condition counts as if it held. A loop whose bounds are read from memory counts as one turn.
    """
    return _Counter(kernel, ints, nbytes).cost()


class _Counter:
    """One run of `kernel_cost`.

    Loops around loops may change the inner ones' bounds (the last block of a row is shorter). So each loop variable
    is followed at three turns: the first, the middle and the last.
    """

    def __init__(self, kernel: Kernel, ints: Mapping[str, int], nbytes: Mapping[str, int]) -> None:
        self.kernel = kernel
        self.nbytes = nbytes
        self.turns = [1.0]  # per loop around: how often its body runs in all
        self.level = {p.name: 0 for p in kernel.params}
        self.values: list[dict[str, int | None]] = [dict(ints) for _ in range(3)]
        self.dtypes = {buffer.name: buffer.dtype for buffer in kernel.buffers}
        self.seen: dict[int, int] = {}  # expression -> the number of loops it depends on
        self.inside: list[list[int]] = [[]]  # those expressions by that number
        self.flops = 0.0
        self.touched: dict[tuple[str, bool], float] = {}

    def cost(self) -> Cost:
        missing = [
            p.name for p in self.kernel.params if isinstance(p, IntParam) and p.name not in self.values[0]
        ]
        if missing:
            raise ValueError(f"kernel {self.kernel.name}: no value for {missing[0]!r}")
        self.body(self.kernel.body)
        moved = {False: 0.0, True: 0.0}
        # What a kernel keeps for itself stays in the cache.
        own = {local.name for local in self.kernel.locals}
        for (name, written), size in self.touched.items():
            if name in own:
                continue
            moved[written] += min(size, self.nbytes.get(name, size))
        return Cost(self.flops, int(moved[False]), int(moved[True]))

    def body(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            if isinstance(stmt, Let):
                self.level[stmt.name] = self.expr(stmt.value)
                for values in self.values:
                    values[stmt.name] = self.value(stmt.value, values) if stmt.value.dtype == "i64" else None
            elif isinstance(stmt, Store):
                self.expr(stmt.index)
                self.expr(stmt.value)
                self.touch(stmt.buffer, True, len(self.turns) - 1)
            elif isinstance(stmt, Update):
                self.expr(stmt.value)
                self.flops += self.turns[-1] * is_float(stmt.value.dtype)
            elif isinstance(stmt, If):
                self.expr(stmt.condition)
                self.body(stmt.body)
            elif isinstance(stmt, For):
                self.loop(stmt)

    def loop(self, stmt: For) -> None:
        for expr in (stmt.start, stmt.stop, *(carry.init for carry in stmt.carries)):
            self.expr(expr)
        counts = []
        for values, at in zip(self.values, (0.0, 0.5, 1.0), strict=True):
            start, stop = self.value(stmt.start, values), self.value(stmt.stop, values)
            if start is None or stop is None:
                counts.append(1)
                values[stmt.var] = None
            else:
                counts.append(max(0, stop - start))
                values[stmt.var] = start + int(at * max(0, counts[-1] - 1))
        outer = self.turns[-1]
        first, middle, last = counts
        if first == middle:  # blocks of one size, the last of which may be shorter
            total = max(0.0, outer - 1) * first + min(outer, 1.0) * last
        else:  # triangles and the like, by Simpson's rule
            total = outer * (first + 4 * middle + last) / 6
        self.turns.append(total)
        self.inside.append([])
        depth = len(self.turns) - 1
        self.level[stmt.var] = depth
        # A carry has a value of its own in every turn, and one more after the last.
        for carry in stmt.carries:
            self.level[carry.name] = depth
        self.body(stmt.body)
        self.turns.pop()
        # The next loop may give its variable the same name: what depends on this one is another value there.
        for key in self.inside.pop():
            del self.seen[key]
        for carry in stmt.carries:
            self.level[carry.name] = depth - 1

    def touch(self, buffer: str, written: bool, level: int) -> None:
        key = buffer, written
        size = self.turns[level] * bits(self.dtypes[buffer]) / 8
        self.touched[key] = self.touched.get(key, 0.0) + size

    def expr(self, root: Expr) -> int:
        """Counts what has not been counted yet; returns how many of the loops around the expression depends on."""
        stack: list[tuple[Expr, bool]] = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if id(expr) in self.seen:
                continue
            if not ready:
                stack.append((expr, True))
                stack.extend((child, False) for child in children(expr))
                continue
            level = max((self.seen[id(child)] for child in children(expr)), default=0)
            if isinstance(expr, Var):
                level = self.level[expr.name]
            elif isinstance(expr, Load):
                self.touch(expr.buffer, False, level)
            elif isinstance(expr, Op) and expr.name not in _FREE and self.arithmetic(expr):
                weight = ELEMENTARY_FLOPS if expr.name in ELEMENTARY else 2 if expr.name == "fma" else 1
                self.flops += weight * self.turns[level]
            self.seen[id(expr)] = level
            self.inside[level].append(id(expr))
        return self.seen[id(root)]

    @staticmethod
    def arithmetic(expr: Op) -> bool:
        """Whether a function works on floating-point numbers (comparisons do, though they give an i1)."""
        return is_float(expr.args[0].dtype if expr.dtype == "i1" else expr.dtype)

    def value(self, root: Expr, values: Mapping[str, int | None]) -> int | None:
        """An index expression as a number, or None if only the run knows it."""
        if isinstance(root, Const):
            return int(root.value)
        if isinstance(root, Var):
            return values.get(root.name)
        if not isinstance(root, Op) or root.dtype != "i64" or root.name not in _INTEGER:
            return None
        args = [self.value(arg, values) for arg in root.args]
        known = [arg for arg in args if arg is not None]
        return _INTEGER[root.name](*known) if len(known) == len(args) else None


_INTEGER: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "floordiv": lambda a, b: 0 if b == 0 else a // b,
    "floormod": lambda a, b: 0 if b == 0 else a % b,
    "min": min,
    "max": max,
}
