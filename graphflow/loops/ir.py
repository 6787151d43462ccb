"""The loop language: kernels over named buffers, about a dozen node kinds, and the table of scalar functions.

A kernel is data: frozen, shareable, printable (`loops.text`), checkable (`loops.verify`), runnable one scalar
at a time (`loops.interpret`). It knows nothing of ops or graphs, nor of any one machine.

What a kernel may count on:

- Two buffers are either apart in memory, or one is written in place over the other and every element is read
  only in the turn that writes it, at the same index.
- An index is an `i64` count of elements; a size is a `Const` or an `IntParam`, so a new batch size needs no
  new code.
- `select` evaluates both of its values: guard a load that may be out of bounds with `If`, or clamp its index.
- Turns of a `parallel` or `vector` loop are independent but for its carries, whose order of combination the
  code generator may choose once and for all (never by the number of threads).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import ml_dtypes
import numpy as np

from graphflow.records import dataclass

__all__ = [
    "CARRY_OPS",
    "DTYPES",
    "FUNCTIONS",
    "Buffer",
    "Carry",
    "Const",
    "Expr",
    "For",
    "Function",
    "If",
    "IntParam",
    "Kernel",
    "Let",
    "Load",
    "Local",
    "LoopKind",
    "Op",
    "Prefetch",
    "Param",
    "ScalarParam",
    "Stmt",
    "Store",
    "Update",
    "Var",
    "bits",
    "children",
    "dtype_name",
    "highest",
    "is_float",
    "is_integer",
    "is_native",
    "kind",
    "lowest",
    "numpy_dtype",
    "walk_exprs",
    "walk_statements",
]

# name -> (kind, bits); kind is "f" float, "i" signed, "u" unsigned, "b" bool (held in memory as one byte).
DTYPES: dict[str, tuple[str, int]] = {
    "f16": ("f", 16),
    "bf16": ("f", 16),
    "f32": ("f", 32),
    "f64": ("f", 64),
    "i8": ("i", 8),
    "i16": ("i", 16),
    "i32": ("i", 32),
    "i64": ("i", 64),
    "u8": ("u", 8),
    "u16": ("u", 16),
    "u32": ("u", 32),
    "u64": ("u", 64),
    "i1": ("b", 8),
}

_LONG_NAMES = {
    "float16": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float64": "f64",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "u8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "bool": "i1",
}

_NUMPY: dict[str, np.dtype[Any]] = {
    short: np.dtype(long) for long, short in _LONG_NAMES.items() if short != "bf16"
}
_NUMPY["bf16"] = np.dtype(ml_dtypes.bfloat16)


def dtype_name(dtype: object) -> str:
    """The loop language's name of a dtype: a short or long name, a NumPy dtype, or anything with a `name`."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    if name is None:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    if name in DTYPES:
        return str(name)
    if name in _LONG_NAMES:
        return _LONG_NAMES[name]
    raise TypeError(f"dtype {name!r} has no native form; the native ones are {', '.join(DTYPES)}")


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype of a loop dtype."""
    return _NUMPY[dtype]


def kind(dtype: str) -> str:
    """Kind of a dtype: "f" float, "i" signed, "u" unsigned, "b" bool."""
    return DTYPES[dtype][0]


def bits(dtype: str) -> int:
    """Bits one element takes in memory."""
    return DTYPES[dtype][1]


def is_float(dtype: str) -> bool:
    """Whether a dtype is floating."""
    return DTYPES[dtype][0] == "f"


def is_integer(dtype: str) -> bool:
    """Whether a dtype is an integer, signed or not (bool is not one)."""
    return DTYPES[dtype][0] in "iu"


def lowest(dtype: str) -> float | int | bool:
    """What `max` starts from: -inf, the least integer, or False."""
    if is_float(dtype):
        return -math.inf
    return False if dtype == "i1" else int(np.iinfo(_NUMPY[dtype]).min)


def highest(dtype: str) -> float | int | bool:
    """What `min` starts from: inf, the greatest integer, or True."""
    if is_float(dtype):
        return math.inf
    return True if dtype == "i1" else int(np.iinfo(_NUMPY[dtype]).max)


# ------------------------------------------------------------------------------------------------ expressions


class Expr:
    """A scalar value with a `dtype`. Compared by identity, so that shared parts stay shared."""

    __slots__ = ()
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Const(Expr):
    """A number of a dtype."""

    value: int | float | bool
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Var(Expr):
    """A loop variable, `Let`, carry, `IntParam` (an i64) or `ScalarParam`, by name."""

    name: str
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Load(Expr):
    """Element `index` (an i64) of a buffer, read when the statement that holds it runs."""

    buffer: str
    index: Expr
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Op(Expr):
    """A function of `FUNCTIONS` applied to scalars."""

    name: str
    args: tuple[Expr, ...]
    dtype: str


# ------------------------------------------------------------------------------------------------- statements

LoopKind = Literal["serial", "parallel", "vector"]

# What a carry may combine with. "set" is no combination: the turn's value replaces it, so the loop must be
# serial.
CARRY_OPS = ("add", "mul", "max", "min", "maxnum", "and", "or", "set")


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """A value that goes from turn to turn of a loop and is, by its name, visible after it.

    In a serial loop a turn may read it; in a vector loop it may only be updated.
    """

    name: str
    init: Expr
    op: str

    @property
    def dtype(self) -> str:
        """The dtype of the carried value."""
        return self.init.dtype


class Stmt:
    """One step of a kernel."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class For(Stmt):
    """Turns `start <= var < stop`. Parallel: shared among threads; vector: done some lanes at a time."""

    var: str
    start: Expr
    stop: Expr
    body: tuple[Stmt, ...]
    kind: LoopKind = "serial"
    carries: tuple[Carry, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Let(Stmt):
    """Names a value for the rest of the enclosing body."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Update(Stmt):
    """Combines a value into a carry of an enclosing loop: `carry = op(carry, value)`."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Store(Stmt):
    """Writes a value to element `index` of a buffer.

    Streaming: nobody reads it soon, so that it may go past the caches. Such a store stands in a vector loop over
    neighbouring elements, whose first one lies at a multiple of 64 bytes.
    """

    buffer: str
    index: Expr
    value: Expr
    streaming: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Prefetch(Stmt):
    """Says that element `index` of a buffer is wanted soon: a hint, for which the element need not exist."""

    buffer: str
    index: Expr


@dataclass(frozen=True, slots=True, eq=False)
class If(Stmt):
    """Does the body where the condition (an i1) holds."""

    condition: Expr
    body: tuple[Stmt, ...]


# --------------------------------------------------------------------------------------------------- kernels


@dataclass(frozen=True, slots=True)
class Buffer:
    """A parameter: memory holding elements of one dtype, aligned to the element at least."""

    name: str
    dtype: str


@dataclass(frozen=True, slots=True)
class IntParam:
    """A parameter: an i64 such as an extent or a stride, read as `Var(name, "i64")`."""

    name: str


@dataclass(frozen=True, slots=True)
class ScalarParam:
    """A parameter: one number, handed over by its address, read as `Var(name, dtype)`."""

    name: str
    dtype: str


Param = Buffer | IntParam | ScalarParam


@dataclass(frozen=True, slots=True)
class Local:
    """Memory of the kernel's own, `size` elements for each thread that runs it; no turn leaves another anything."""

    name: str
    dtype: str
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A routine over its parameters, which are handed over in this order. Stores happen under at most one
    loop that is parallel; with none, the kernel is run by one thread."""

    name: str
    params: tuple[Param, ...]
    body: tuple[Stmt, ...]
    locals: tuple[Local, ...] = ()

    @property
    def buffers(self) -> tuple[Buffer | Local, ...]:
        """What can be loaded from and stored to: the buffers among the parameters, and the locals."""
        return (*(p for p in self.params if isinstance(p, Buffer)), *self.locals)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions right below an expression."""
    if isinstance(expr, Op):
        return expr.args
    if isinstance(expr, Load):
        return (expr.index,)
    return ()


def walk_statements(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """All statements of a body, outer before inner, in order."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, (For, If)):
            yield from walk_statements(stmt.body)


def _roots(stmt: Stmt) -> tuple[Expr, ...]:
    if isinstance(stmt, For):
        return (stmt.start, stmt.stop, *(c.init for c in stmt.carries))
    if isinstance(stmt, (Let, Update)):
        return (stmt.value,)
    if isinstance(stmt, Store):
        return (stmt.index, stmt.value)
    if isinstance(stmt, Prefetch):
        return (stmt.index,)
    if isinstance(stmt, If):
        return (stmt.condition,)
    return ()


def walk_exprs(body: tuple[Stmt, ...] | Expr) -> Iterator[Expr]:
    """Every distinct expression of a body (or below an expression), each once."""
    seen: set[int] = set()
    if isinstance(body, Expr):
        stack: list[Expr] = [body]
    else:
        stack = [root for stmt in walk_statements(body) for root in _roots(stmt)]
    while stack:
        expr = stack.pop()
        if id(expr) not in seen:
            seen.add(id(expr))
            yield expr
            stack.extend(children(expr))


# ------------------------------------------------------------------------------------------ scalar functions


@dataclass(frozen=True, slots=True)
class Function:
    """A scalar function: how many arguments, of which kinds, the result's dtype, and what it means in NumPy.

    `result`: "same" (all arguments and the result alike), "i1" (arguments alike), "select" (i1, T, T → T) or
    "given" (`cast`, `bitcast`: any argument; the node says the result). `native`: the kinds compiled to code;
    an op whose function is not native for its dtype stays with its NumPy body.
    """

    name: str
    arity: int
    kinds: str
    result: Literal["same", "i1", "select", "given"]
    numpy: Callable[..., Any]
    native: str


FUNCTIONS: dict[str, Function] = {}


def _define(
    names: str,
    kinds: str,
    numpy: Callable[..., Any],
    arity: int = 1,
    result: Literal["same", "i1", "select", "given"] = "same",
    native: str | None = None,
) -> None:
    for name in names.split():
        FUNCTIONS[name] = Function(name, arity, kinds, result, numpy, kinds if native is None else native)


def _by_kind(floating: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*args: Any) -> Any:
        return (floating if _is_np_float(args[0]) else other)(*args)

    return apply


def _is_np_float(x: Any) -> bool:
    dtype = np.asarray(x).dtype
    return dtype.kind == "f" or dtype == _NUMPY["bf16"]


def _truncated_quotient(x: Any, y: Any) -> Any:
    # Python's integers, since NumPy divides towards minus infinity; by zero gives zero.
    def one(a: int, b: int) -> int:
        return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)

    return _python_wise(one, x, y)


def _python_wise(function: Callable[..., Any], *args: Any) -> Any:
    """Applies a function of Python numbers to each element; integers wrap to the first argument's dtype."""
    arrays = np.broadcast_arrays(*(np.asarray(a) for a in args))
    dtype = arrays[0].dtype
    results = [
        function(*(v.item() for v in values)) for values in zip(*(a.ravel() for a in arrays), strict=True)
    ]
    if dtype.kind in "iu":
        size = dtype.itemsize * 8
        results = [r & ((1 << size) - 1) for r in results]
        return np.array(results, dtype=f"u{dtype.itemsize}").view(dtype).reshape(arrays[0].shape)[()]
    return np.array(results, dtype=dtype).reshape(arrays[0].shape)[()]


def _float_floor_mod(x: Any, y: Any) -> Any:
    r = np.fmod(x, y)
    return np.where((r != 0) & ((r < 0) != (y < 0)), r + y, r)[()]


def _int_pow(x: Any, y: Any) -> Any:
    def power(a: int, b: int) -> int:
        if b >= 0:
            return pow(a, b, 1 << 64)
        return (a if b % 2 else 1) if abs(a) == 1 else 0

    return _python_wise(power, x, y)


def _shift(left: bool) -> Callable[..., Any]:
    def apply(x: Any, y: Any) -> Any:
        size = np.asarray(x).dtype.itemsize * 8
        if left:
            return _python_wise(lambda a, b: a << min(max(b, 0), size - 1), x, y)
        return _python_wise(lambda a, b: a >> min(max(b, 0), size - 1), x, y)

    return apply


def _elementwise(function: Callable[[float], float]) -> Callable[..., Any]:
    lifted = np.frompyfunc(function, 1, 1)

    def apply(x: Any) -> Any:
        x = np.asarray(x)
        return np.asarray(lifted(x.astype(np.float64))).astype(x.dtype)[()]

    return apply


def _lgamma(x: float) -> float:
    if x in (math.inf, -math.inf) or (x <= 0 and x == math.floor(x)):
        return math.inf
    try:
        return math.lgamma(x)
    except OverflowError:
        return math.inf


def _digamma(x: float) -> float:
    if math.isnan(x) or x == math.inf:
        return x
    if x <= 0 and x == math.floor(x):
        return math.nan
    if x < 0:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * x)
    shift = 0.0
    while x < 10:
        shift -= 1 / x
        x += 1
    z = 1 / (x * x)
    tail = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z / 132))))
    return shift + math.log(x) - 0.5 / x - tail


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.asarray(x).dtype)[()]


def _mulhi(x: Any, y: Any) -> Any:
    size = np.asarray(x).dtype.itemsize * 8
    return _python_wise(lambda a, b: (a * b) >> size, x, y)


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    """Casts as the code does: floats are cut towards zero and held at an integer's ends, NaN becomes zero."""
    x = np.asarray(x)
    if dtype.kind in "iu" and _is_np_float(x):
        info = np.iinfo(dtype)
        wide = x.astype(np.float64)
        inside = np.clip(
            np.nan_to_num(np.trunc(wide), nan=0.0, posinf=np.inf, neginf=-np.inf), info.min, info.max
        )
        # The greatest 64-bit integers are not float64s: what was held at the end is put there apart.
        result = np.where(inside >= float(info.max), 0, inside).astype(dtype)
        return np.where(inside >= float(info.max), np.array(info.max, dtype), result)[()]
    if dtype.kind == "b":
        return (x != 0)[()]
    return x.astype(dtype)[()]


_define("add", "fiu", np.add, 2)
_define("sub", "fiu", np.subtract, 2)
_define("mul", "fiu", np.multiply, 2)
_define("div", "fiu", _by_kind(np.divide, _truncated_quotient), 2)
_define("floordiv", "fiu", _by_kind(lambda x, y: np.floor(np.divide(x, y)), np.floor_divide), 2)
_define("floormod", "fiu", _by_kind(_float_floor_mod, np.mod), 2)
_define("truncmod", "fiu", np.fmod, 2)
_define("pow", "fiu", _by_kind(np.power, _int_pow), 2, native="f")
_define("neg", "fiu", np.negative)
_define("abs", "fiu", np.abs)
_define("sign", "fiu", np.sign)
_define("min", "fiub", np.minimum, 2)
_define("max", "fiub", np.maximum, 2)
# The greater, x where they do not compare: without a care for NaN, which who uses it meets again elsewhere.
_define("maxnum", "f", lambda x, y: np.where(np.greater(y, x), y, x), 2)
_define("exp", "f", np.exp)
_define("expm1", "f", np.expm1)
_define("log", "f", np.log)
_define("log1p", "f", np.log1p)
_define("sqrt", "f", np.sqrt)
_define("rsqrt", "f", lambda x: np.reciprocal(np.sqrt(x)))
_define("sin", "f", np.sin)
_define("cos", "f", np.cos)
_define("tan", "f", np.tan)
_define("asin", "f", np.arcsin)
_define("acos", "f", np.arccos)
_define("atan", "f", np.arctan)
_define("atan2", "f", np.arctan2, 2)
_define("sinh", "f", np.sinh)
_define("cosh", "f", np.cosh)
_define("tanh", "f", np.tanh)
_define("asinh", "f", np.arcsinh)
_define("acosh", "f", np.arccosh)
_define("atanh", "f", np.arctanh)
_define("sigmoid", "f", _sigmoid)
_define("erf", "f", _elementwise(math.erf))
_define("erfc", "f", _elementwise(math.erfc))
_define("lgamma", "f", _elementwise(_lgamma))
_define("digamma", "f", _elementwise(_digamma), native="")
_define("floor", "f", np.floor)
_define("ceil", "f", np.ceil)
_define("rint round", "f", np.rint)
_define("trunc", "f", np.trunc)
_define("isnan", "f", np.isnan, result="i1")
_define("isinf", "f", np.isinf, result="i1")
_define("isfinite", "f", np.isfinite, result="i1")
_define("eq", "fiub", np.equal, 2, "i1")
_define("ne", "fiub", np.not_equal, 2, "i1")
_define("lt", "fiub", np.less, 2, "i1")
_define("le", "fiub", np.less_equal, 2, "i1")
_define("gt", "fiub", np.greater, 2, "i1")
_define("ge", "fiub", np.greater_equal, 2, "i1")
_define("and", "iub", np.bitwise_and, 2)
_define("or", "iub", np.bitwise_or, 2)
_define("xor", "iub", np.bitwise_xor, 2)
_define("not", "iub", np.invert)
_define("shl", "iu", _shift(left=True), 2)
_define("shr", "iu", _shift(left=False), 2)
_define("mulhi", "iu", _mulhi, 2)
_define("select", "fiub", np.where, 3, "select")
_define("cast", "fiub", _cast, 1, "given")
_define("bitcast", "fiu", lambda x, dtype: np.asarray(x).view(dtype)[()], 1, "given")
# The number itself, rounded: a product before it and a sum after it are not made one multiply-add.
_define("fence", "f", lambda x: x)
_define("fma", "f", lambda x, y, z: np.add(np.multiply(x, y), z), 3)


def is_native(name: str, dtype: str) -> bool:
    """Whether code is generated for a function at a dtype (of its arguments)."""
    function = FUNCTIONS.get(name)
    return function is not None and dtype in DTYPES and DTYPES[dtype][0] in function.native
