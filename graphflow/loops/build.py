"""Building kernels: expressions with light folding, and statements in nested blocks.

Ops' scalar and row bodies are handed a `Builder` for its expressions only; lowering uses it for whole
kernels:

    b = Builder("scale")
    x, y = b.buffer("x", "f32"), b.buffer("y", "f32")
    n = b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        b.store(y, i, b.mul(b.load(x, i), 2.0))
    kernel = b.kernel()

Wherever an expression is expected a Python number will do: it takes the dtype of the expressions beside it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Literal, overload

import numpy as np

from graphflow.loops.ir import (
    CARRY_OPS,
    FUNCTIONS,
    Buffer,
    Carry,
    Const,
    Expr,
    For,
    If,
    IntParam,
    Kernel,
    Let,
    Load,
    Local,
    LoopKind,
    Op,
    Param,
    Prefetch,
    ScalarParam,
    Stmt,
    Store,
    Update,
    Var,
    dtype_name,
    highest,
    is_float,
    kind,
    lowest,
    numpy_dtype,
)
from graphflow.records import dataclass

__all__ = ["Builder", "Number", "RowIndex", "RowReduce", "RowSize", "Scalar"]

_ODD = frozenset(
    ("erf", "tanh", "sin", "tan", "asin", "atan", "sinh", "asinh", "atanh", "rint", "round", "trunc")
)
_EVEN = frozenset(("abs", "cos", "cosh", "isnan", "isinf", "isfinite"))

Number = int | float | bool
Scalar = Expr | Carry | Number


@dataclass(frozen=True, slots=True, eq=False)
class RowReduce(Expr):
    """Mark of a row body: a value of each element of the row, combined into one. Lowering expands it."""

    op: Literal["add", "mul", "max", "min", "maxnum", "and", "or"]
    value: Expr
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class RowIndex(Expr):
    """Mark of a row body: the element's position in its row, an i64. Lowering expands it."""

    dtype: str = "i64"


@dataclass(frozen=True, slots=True, eq=False)
class RowSize(Expr):
    """Mark of a row body: the number of elements in a row, an i64. Lowering expands it."""

    dtype: str = "i64"


class Builder:
    """Makes expressions and, for lowering, the statements of one kernel.

    Equal expressions come back as the same object, so what is written twice is computed once. Arguments must
    agree in dtype (TypeError otherwise); only Python numbers convert by themselves.
    """

    def __init__(self, name: str = "kernel") -> None:
        self.name = name
        self._params: list[Param] = []
        self._locals: list[Local] = []
        self._blocks: list[list[Stmt]] = [[]]
        self._interned: dict[object, Expr] = {}
        self._keep: list[Expr] = []  # ids of expressions are keys above: they must not be used again
        self._names: dict[str, int] = {}

    # ------------------------------------------------------------------------------------------ expressions

    def _intern(self, key: object, expr: Expr) -> Expr:
        found = self._interned.get(key)
        if found is None:
            found = self._interned[key] = expr
            self._keep.append(expr)
        return found

    @overload
    def const(self, value: Number, dtype: None = None) -> Number: ...

    @overload
    def const(self, value: Number, dtype: object) -> Expr: ...

    def const(self, value: Number, dtype: object | None = None) -> Scalar:
        """A number; without a dtype it takes that of the expressions it meets."""
        if isinstance(value, np.generic):
            value = value.item()
        if dtype is None:
            return value
        name = dtype_name(dtype)
        if is_float(name):
            value = float(value)
            if name == "f32" and math.isfinite(value):
                with np.errstate(over="ignore"):
                    value = float(np.float32(value))
            elif name in ("f16", "bf16"):
                value = float(numpy_dtype(name).type(value))
        elif name == "i1":
            value = bool(value)
        else:
            if isinstance(value, float) and not value.is_integer():
                raise TypeError(f"the number {value!r} is no {name}")
            value = int(value)
            info = np.iinfo(numpy_dtype(name))
            if not int(info.min) <= value <= int(info.max):
                raise TypeError(f"the number {value!r} does not fit {name}")
        return self._intern(("const", repr(value), name), Const(value, name))

    def const_like(self, value: Number, other: Expr) -> Expr:
        """A number of another expression's dtype."""
        return self.const(value, other.dtype)

    def lowest(self, dtype: object) -> Expr:
        """The least value of a dtype (-inf for floats): what a maximum starts from."""
        name = dtype_name(dtype)
        return self.const(lowest(name), name)

    def highest(self, dtype: object) -> Expr:
        """The greatest value of a dtype (inf for floats): what a minimum starts from."""
        name = dtype_name(dtype)
        return self.const(highest(name), name)

    def expr(self, value: Scalar, dtype: str) -> Expr:
        """A Scalar as an expression; a bare number takes the dtype given."""
        if isinstance(value, Carry):
            return self.var(value.name, value.dtype)
        if isinstance(value, Expr):
            return value
        return self.const(value, dtype)

    def _same(self, what: str, values: Sequence[Scalar]) -> list[Expr]:
        typed = next((v.dtype for v in values if isinstance(v, (Expr, Carry))), None)
        if typed is None:
            typed = "f64" if any(isinstance(v, float) for v in values) else "i64"
            if all(isinstance(v, bool) for v in values):
                typed = "i1"
        exprs = [self.expr(v, typed) for v in values]
        for e in exprs:
            if e.dtype != typed:
                raise TypeError(
                    f"{what}: the arguments are {', '.join(x.dtype for x in exprs)}, not of one dtype"
                )
        return exprs

    def apply(self, name: str, *args: Scalar) -> Expr:
        """A function of the table, by name."""
        function = FUNCTIONS.get(name)
        if function is None or function.result == "given":
            raise TypeError(f"no scalar function {name!r}; there are {', '.join(sorted(FUNCTIONS))}")
        if len(args) != function.arity:
            raise TypeError(f"{name}: {len(args)} arguments, not {function.arity}")
        if function.result == "select":
            (condition,) = self._same(name, args[:1])
            values = self._same(name, args[1:])
            if condition.dtype != "i1":
                raise TypeError(f"select: the condition is {condition.dtype}, not i1")
            return self._select(condition, values[0], values[1])
        exprs = self._same(name, args)
        if kind(exprs[0].dtype) not in function.kinds:
            raise TypeError(f"{name}: not defined for {exprs[0].dtype}")
        dtype = "i1" if function.result == "i1" else exprs[0].dtype
        return self._folded(name, exprs, dtype)

    def _op(self, name: str, args: Sequence[Expr], dtype: str) -> Expr:
        return self._intern((name, dtype, *(id(a) for a in args)), Op(name, tuple(args), dtype))

    def _folded(self, name: str, args: list[Expr], dtype: str) -> Expr:
        if all(isinstance(a, Const) for a in args):
            folded = self._evaluate(name, args, dtype)
            if folded is not None:
                return folded
        if is_float(args[0].dtype):
            signed = self._sign_outside(name, args, dtype)
            if signed is not None:
                return signed
        if len(args) == 2:
            x, y = args
            if name in ("add", "mul") and isinstance(x, Const):
                x, y = y, x
            simpler = self._simplified(name, x, y, dtype)
            if simpler is not None:
                return simpler
            args = [x, y]
        elif name == "neg" and isinstance(args[0], Op) and args[0].name == "neg":
            return args[0].args[0]
        elif name == "not" and isinstance(args[0], Op) and args[0].name == "not":
            return args[0].args[0]
        return self._op(name, args, dtype)

    def _sign_outside(self, name: str, args: Sequence[Expr], dtype: str) -> Expr | None:
        """Moves negations of floats outwards, so that f(-x) shares the work of f(x). No bit changes."""
        bare = [a.args[0] if isinstance(a, Op) and a.name == "neg" else a for a in args]
        negated = [x is not a for x, a in zip(bare, args, strict=True)]
        if not any(negated):
            return None
        if name in ("mul", "div"):
            product = self._folded(name, bare, dtype)
            return product if all(negated) else self.neg(product)
        if name == "add":
            return self._folded("sub", [args[0], bare[1]] if negated[1] else [args[1], bare[0]], dtype)
        if name == "sub" and negated[1]:
            return self._folded("add", [args[0], bare[1]], dtype)
        if name in _ODD:
            return self.neg(self._folded(name, bare, dtype))
        return self._folded(name, bare, dtype) if name in _EVEN else None

    def _simplified(self, name: str, x: Expr, y: Expr, dtype: str) -> Expr | None:
        """`x name y` in a simpler form that is right for every x (zeros' signs and NaN too), if any."""
        if x is y and name in ("min", "max", "and", "or"):
            return x
        if not isinstance(y, Const):
            return None
        value, integer = y.value, not is_float(x.dtype)
        if value == 1 and name in ("mul", "div", "pow") and dtype != "i1":
            return x
        if (
            value == 0
            and name in ("add", "sub")
            and (integer or (math.copysign(1, value) > 0) == (name == "sub"))
        ):
            return x
        if name == "pow" and is_float(dtype):
            return self._fixed_power(x, float(value))
        if not integer or dtype == "i1":
            return None
        if value == 0 and name == "mul":
            return y
        if value == 0 and name in ("shl", "shr", "or", "xor"):
            return x
        if value == 1 and name == "floordiv":
            return x
        if value == 1 and name in ("floormod", "truncmod"):
            return self.const(0, dtype)
        if name in ("add", "mul") and isinstance(x, Op) and x.name == name and isinstance(x.args[1], Const):
            rest, inner = x.args
            total = self._evaluate(name, [inner, y], dtype)
            return None if total is None else self._folded(name, [rest, total], dtype)
        return None

    def _fixed_power(self, x: Expr, power: float) -> Expr | None:
        if power == 2:
            return self.mul(x, x)
        if power == 3:
            return self.mul(self.mul(x, x), x)
        if power == 4:
            square = self.mul(x, x)
            return self.mul(square, square)
        if power == -1:
            return self.div(1.0, x)
        if power == 0:
            return self.const(1.0, x.dtype)
        return None

    def _evaluate(self, name: str, args: Sequence[Expr], dtype: str) -> Expr | None:
        values = [numpy_dtype(a.dtype).type(a.value) for a in args if isinstance(a, Const)]
        with np.errstate(all="ignore"):
            if FUNCTIONS[name].result == "given":
                result = FUNCTIONS[name].numpy(values[0], numpy_dtype(dtype))
            else:
                result = FUNCTIONS[name].numpy(*values)
        return self.const(numpy_dtype(dtype).type(result).item(), dtype)

    def _select(self, condition: Expr, x: Expr, y: Expr) -> Expr:
        if isinstance(condition, Const):
            return x if condition.value else y
        return x if x is y else self._op("select", (condition, x, y), x.dtype)

    def cast(self, x: Scalar, dtype: object) -> Expr:
        """A value as another dtype: floats are cut towards zero (NaN: 0), integers wrap, bool is `x != 0`."""
        name = dtype_name(dtype)
        (value,) = self._same("cast", (x,))
        if value.dtype == name:
            return value
        if isinstance(value, Const):
            folded = self._evaluate("cast", [value], name)
            if folded is not None:
                return folded
        return self._op("cast", (value,), name)

    def bitcast(self, x: Expr, dtype: object) -> Expr:
        """A value's bits as another dtype of the same size."""
        name = dtype_name(dtype)
        if numpy_dtype(name).itemsize != numpy_dtype(x.dtype).itemsize or "i1" in (name, x.dtype):
            raise TypeError(f"bitcast: {x.dtype} and {name} differ in size")
        return x if name == x.dtype else self._op("bitcast", (x,), name)

    def var(self, name: str, dtype: object) -> Expr:
        """A variable or parameter by name."""
        short = dtype_name(dtype)
        return self._intern(("var", name, short), Var(name, short))

    def load(self, buffer: Buffer | Local, index: Scalar) -> Expr:
        """Element `index` of a buffer."""
        at = self.expr(index, "i64")
        if at.dtype != "i64":
            raise TypeError(f"load from {buffer.name}: the index is {at.dtype}, not i64")
        return self._intern(("load", buffer.name, id(at)), Load(buffer.name, at, buffer.dtype))

    # Row bodies: a value of the whole row, out of a value of each element.

    def _reduce(self, op: Literal["add", "mul", "max", "min", "maxnum", "and", "or"], x: Scalar) -> Expr:
        (value,) = self._same("reduce", (x,))
        return self._intern(("row", op, id(value)), RowReduce(op, value, value.dtype))

    def reduce_sum(self, x: Scalar) -> Expr:
        """The row's sum, in a row body."""
        return self._reduce("add", x)

    def reduce_prod(self, x: Scalar) -> Expr:
        """The row's product, in a row body."""
        return self._reduce("mul", x)

    def reduce_max(self, x: Scalar) -> Expr:
        """The row's maximum, NaN if any is, in a row body."""
        return self._reduce("max", x)

    def reduce_maxnum(self, x: Scalar) -> Expr:
        """The row's greatest number, -inf if there is none but NaN, in a row body over floats."""
        return self._reduce("maxnum", x)

    def reduce_min(self, x: Scalar) -> Expr:
        """The row's minimum, NaN if any is, in a row body."""
        return self._reduce("min", x)

    def reduce_mean(self, x: Scalar) -> Expr:
        """The row's mean, in a row body over floats."""
        total = self._reduce("add", x)
        return self.div(total, self.cast(self.row_size(), total.dtype))

    def reduce_any(self, x: Scalar) -> Expr:
        """Whether any element of the row holds, in a row body over i1."""
        return self._reduce("or", x)

    def reduce_all(self, x: Scalar) -> Expr:
        """Whether all elements of the row hold, in a row body over i1."""
        return self._reduce("and", x)

    def index(self) -> Expr:
        """The element's position in its row (i64), in a row body."""
        return self._intern("row index", RowIndex())

    def row_size(self) -> Expr:
        """The number of elements in a row (i64), in a row body."""
        return self._intern("row size", RowSize())

    def select(self, condition: Scalar, x: Scalar, y: Scalar) -> Expr:
        """`x` where the condition (i1) holds, else `y`; both are evaluated."""
        return self.apply("select", condition, x, y)

    def clamp(self, x: Scalar, low: Scalar, high: Scalar) -> Expr:
        """`x` held between two bounds."""
        return self.min(self.max(x, low), high)

    def square(self, x: Scalar) -> Expr:
        """`x * x`."""
        return self.mul(x, x)

    def reciprocal(self, x: Scalar) -> Expr:
        """`1 / x` of a float."""
        return self.div(1.0, x)

    # The function table, one method each.

    def add(self, x: Scalar, y: Scalar) -> Expr:
        """`x + y`; integers wrap."""
        return self.apply("add", x, y)

    def sub(self, x: Scalar, y: Scalar) -> Expr:
        """`x - y`; integers wrap."""
        return self.apply("sub", x, y)

    def mul(self, x: Scalar, y: Scalar) -> Expr:
        """`x * y`; integers wrap."""
        return self.apply("mul", x, y)

    def div(self, x: Scalar, y: Scalar) -> Expr:
        """`x / y`; integers are cut towards zero, and by zero give zero."""
        return self.apply("div", x, y)

    def floordiv(self, x: Scalar, y: Scalar) -> Expr:
        """The floor of `x / y`; integers by zero give zero."""
        return self.apply("floordiv", x, y)

    def floormod(self, x: Scalar, y: Scalar) -> Expr:
        """Remainder with the sign of `y`."""
        return self.apply("floormod", x, y)

    def truncmod(self, x: Scalar, y: Scalar) -> Expr:
        """Remainder with the sign of `x`, as C's fmod and %."""
        return self.apply("truncmod", x, y)

    def pow(self, x: Scalar, y: Scalar) -> Expr:
        """`x` to the power `y`; small fixed powers become products."""
        return self.apply("pow", x, y)

    def neg(self, x: Scalar) -> Expr:
        """`-x`."""
        return self.apply("neg", x)

    def abs(self, x: Scalar) -> Expr:
        """Absolute value."""
        return self.apply("abs", x)

    def sign(self, x: Scalar) -> Expr:
        """-1, 0 or 1; NaN stays."""
        return self.apply("sign", x)

    def min(self, x: Scalar, y: Scalar) -> Expr:
        """The lesser; NaN if either is."""
        return self.apply("min", x, y)

    def max(self, x: Scalar, y: Scalar) -> Expr:
        """The greater; NaN if either is."""
        return self.apply("max", x, y)

    def maxnum(self, x: Scalar, y: Scalar) -> Expr:
        """The greater of floats; x where they do not compare."""
        return self.apply("maxnum", x, y)

    def exp(self, x: Scalar) -> Expr:
        """e to the x."""
        return self.apply("exp", x)

    def expm1(self, x: Scalar) -> Expr:
        """`exp(x) - 1`, right near zero."""
        return self.apply("expm1", x)

    def log(self, x: Scalar) -> Expr:
        """Natural logarithm."""
        return self.apply("log", x)

    def log1p(self, x: Scalar) -> Expr:
        """`log(1 + x)`, right near zero."""
        return self.apply("log1p", x)

    def sqrt(self, x: Scalar) -> Expr:
        """Square root."""
        return self.apply("sqrt", x)

    def rsqrt(self, x: Scalar) -> Expr:
        """`1 / sqrt(x)`."""
        return self.apply("rsqrt", x)

    def sin(self, x: Scalar) -> Expr:
        """Sine."""
        return self.apply("sin", x)

    def cos(self, x: Scalar) -> Expr:
        """Cosine."""
        return self.apply("cos", x)

    def tan(self, x: Scalar) -> Expr:
        """Tangent."""
        return self.apply("tan", x)

    def asin(self, x: Scalar) -> Expr:
        """Arc sine."""
        return self.apply("asin", x)

    def acos(self, x: Scalar) -> Expr:
        """Arc cosine."""
        return self.apply("acos", x)

    def atan(self, x: Scalar) -> Expr:
        """Arc tangent."""
        return self.apply("atan", x)

    def atan2(self, y: Scalar, x: Scalar) -> Expr:
        """Angle of the point (y, x), given as `atan2(y, x)`."""
        return self.apply("atan2", y, x)

    def sinh(self, x: Scalar) -> Expr:
        """Hyperbolic sine."""
        return self.apply("sinh", x)

    def cosh(self, x: Scalar) -> Expr:
        """Hyperbolic cosine."""
        return self.apply("cosh", x)

    def tanh(self, x: Scalar) -> Expr:
        """Hyperbolic tangent."""
        return self.apply("tanh", x)

    def asinh(self, x: Scalar) -> Expr:
        """Inverse hyperbolic sine."""
        return self.apply("asinh", x)

    def acosh(self, x: Scalar) -> Expr:
        """Inverse hyperbolic cosine."""
        return self.apply("acosh", x)

    def atanh(self, x: Scalar) -> Expr:
        """Inverse hyperbolic tangent."""
        return self.apply("atanh", x)

    def sigmoid(self, x: Scalar) -> Expr:
        """`1 / (1 + exp(-x))`, without overflow."""
        return self.apply("sigmoid", x)

    def erf(self, x: Scalar) -> Expr:
        """Error function."""
        return self.apply("erf", x)

    def erfc(self, x: Scalar) -> Expr:
        """`1 - erf(x)`, right in the tail."""
        return self.apply("erfc", x)

    def lgamma(self, x: Scalar) -> Expr:
        """Logarithm of the gamma function's absolute value."""
        return self.apply("lgamma", x)

    def digamma(self, x: Scalar) -> Expr:
        """Derivative of `lgamma`; not native."""
        return self.apply("digamma", x)

    def floor(self, x: Scalar) -> Expr:
        """Greatest integer not above."""
        return self.apply("floor", x)

    def ceil(self, x: Scalar) -> Expr:
        """Least integer not below."""
        return self.apply("ceil", x)

    def rint(self, x: Scalar) -> Expr:
        """Nearest integer, halves to even."""
        return self.apply("rint", x)

    def round(self, x: Scalar) -> Expr:
        """Nearest integer, halves to even."""
        return self.apply("round", x)

    def trunc(self, x: Scalar) -> Expr:
        """Integer part."""
        return self.apply("trunc", x)

    def isnan(self, x: Scalar) -> Expr:
        """Whether NaN (i1)."""
        return self.apply("isnan", x)

    def isinf(self, x: Scalar) -> Expr:
        """Whether an infinity (i1)."""
        return self.apply("isinf", x)

    def isfinite(self, x: Scalar) -> Expr:
        """Whether neither NaN nor an infinity (i1)."""
        return self.apply("isfinite", x)

    def eq(self, x: Scalar, y: Scalar) -> Expr:
        """`x == y` (i1)."""
        return self.apply("eq", x, y)

    def ne(self, x: Scalar, y: Scalar) -> Expr:
        """`x != y` (i1)."""
        return self.apply("ne", x, y)

    def lt(self, x: Scalar, y: Scalar) -> Expr:
        """`x < y` (i1)."""
        return self.apply("lt", x, y)

    def le(self, x: Scalar, y: Scalar) -> Expr:
        """`x <= y` (i1)."""
        return self.apply("le", x, y)

    def gt(self, x: Scalar, y: Scalar) -> Expr:
        """`x > y` (i1)."""
        return self.apply("gt", x, y)

    def ge(self, x: Scalar, y: Scalar) -> Expr:
        """`x >= y` (i1)."""
        return self.apply("ge", x, y)

    def and_(self, x: Scalar, y: Scalar) -> Expr:
        """Logical (i1) or bitwise and."""
        return self.apply("and", x, y)

    def or_(self, x: Scalar, y: Scalar) -> Expr:
        """Logical (i1) or bitwise or."""
        return self.apply("or", x, y)

    def xor(self, x: Scalar, y: Scalar) -> Expr:
        """Logical (i1) or bitwise exclusive or."""
        return self.apply("xor", x, y)

    def not_(self, x: Scalar) -> Expr:
        """Logical (i1) or bitwise not."""
        return self.apply("not", x)

    def shl(self, x: Scalar, y: Scalar) -> Expr:
        """`x << y`."""
        return self.apply("shl", x, y)

    def shr(self, x: Scalar, y: Scalar) -> Expr:
        """`x >> y`, keeping the sign of signed integers."""
        return self.apply("shr", x, y)

    def mulhi(self, x: Scalar, y: Scalar) -> Expr:
        """The high half of the double-width product."""
        return self.apply("mulhi", x, y)

    def fence(self, x: Scalar) -> Expr:
        """The number itself, rounded: no product before it is taken into a multiply-add after it."""
        return self.apply("fence", x)

    def fma(self, x: Scalar, y: Scalar, z: Scalar) -> Expr:
        """`x * y + z`, in one rounding where the machine has it."""
        return self.apply("fma", x, y, z)

    # ------------------------------------------------------------------------------------------- statements

    def fresh(self, hint: str) -> str:
        """A name not given out before, the hint itself if it is free."""
        name = hint
        while name in self._names:
            self._names[hint] += 1
            name = f"{hint}.{self._names[hint]}"
        self._names[name] = 0
        return name

    def buffer(self, name: str, dtype: object) -> Buffer:
        """Adds a buffer parameter; parameters are handed over in the order of these calls."""
        param = Buffer(self.fresh(name), dtype_name(dtype))
        self._params.append(param)
        return param

    def local(self, name: str, dtype: object, size: int) -> Local:
        """Adds memory of the kernel's own, uninitialised, for each thread."""
        local = Local(self.fresh(name), dtype_name(dtype), size)
        self._locals.append(local)
        return local

    def int_param(self, name: str) -> Expr:
        """Adds an i64 parameter, such as an extent, and gives its value."""
        param = IntParam(self.fresh(name))
        self._params.append(param)
        return self.var(param.name, "i64")

    def scalar_param(self, name: str, dtype: object) -> Expr:
        """Adds a number as a parameter and gives its value."""
        param = ScalarParam(self.fresh(name), dtype_name(dtype))
        self._params.append(param)
        return self.var(param.name, param.dtype)

    def carry(self, name: str, init: Scalar, op: str, dtype: object | None = None) -> Carry:
        """A carry, to be handed to `loop`; as a Scalar it stands for its value."""
        if op not in CARRY_OPS:
            raise TypeError(f"carry {name}: no combination {op!r}; there are {', '.join(CARRY_OPS)}")
        if dtype is not None:
            return Carry(self.fresh(name), self.expr(init, dtype_name(dtype)), op)
        return Carry(self.fresh(name), self._same("carry", (init,))[0], op)

    @contextlib.contextmanager
    def loop(
        self, var: str, start: Scalar, stop: Scalar, kind: LoopKind = "serial", carries: Sequence[Carry] = ()
    ) -> Iterator[Expr]:
        """A loop around what is built inside; gives its variable."""
        name = self.fresh(var)
        self._blocks.append([])
        try:
            yield self.var(name, "i64")
        finally:
            body = self._blocks.pop()
        first, last = self.expr(start, "i64"), self.expr(stop, "i64")
        self._blocks[-1].append(For(name, first, last, tuple(body), kind, tuple(carries)))

    @contextlib.contextmanager
    def where(self, condition: Scalar) -> Iterator[None]:
        """What is built inside is done only where the condition holds."""
        self._blocks.append([])
        try:
            yield
        finally:
            body = self._blocks.pop()
        self._blocks[-1].append(If(self.expr(condition, "i1"), tuple(body)))

    def let(self, name: str, value: Scalar) -> Expr:
        """Names a value, evaluated here once; gives the name as an expression."""
        (expr,) = self._same("let", (value,))
        fresh = self.fresh(name)
        self._blocks[-1].append(Let(fresh, expr))
        return self.var(fresh, expr.dtype)

    def update(self, carry: Carry, value: Scalar) -> None:
        """Combines a value into a carry of an enclosing loop."""
        expr = self.expr(value, carry.dtype)
        if expr.dtype != carry.dtype:
            raise TypeError(f"update of {carry.name}: {expr.dtype} into {carry.dtype}")
        self._blocks[-1].append(Update(carry.name, expr))

    def store(self, buffer: Buffer | Local, index: Scalar, value: Scalar, streaming: bool = False) -> None:
        """Writes element `index` of a buffer."""
        at, expr = self.expr(index, "i64"), self.expr(value, buffer.dtype)
        if at.dtype != "i64":
            raise TypeError(f"store to {buffer.name}: the index is {at.dtype}, not i64")
        if expr.dtype != buffer.dtype:
            raise TypeError(f"store to {buffer.name}: {expr.dtype} into {buffer.dtype}")
        self._blocks[-1].append(Store(buffer.name, at, expr, streaming))

    def prefetch(self, buffer: Buffer, index: Scalar) -> None:
        """Says that element `index` of a buffer is wanted soon, if it exists."""
        self._blocks[-1].append(Prefetch(buffer.name, self.expr(index, "i64")))

    def kernel(self) -> Kernel:
        """The finished kernel."""
        if len(self._blocks) != 1:
            raise RuntimeError(f"kernel {self.name}: asked for inside an open loop")
        return Kernel(self.name, tuple(self._params), tuple(self._blocks[0]), tuple(self._locals))
