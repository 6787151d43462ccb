"""The checker: every rule of the loop language, broken once."""

import pytest

from graphflow.loops.build import Builder, RowIndex
from graphflow.loops.ir import (
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
    Op,
    Stmt,
    Store,
    Update,
    Var,
)
from graphflow.loops.verify import KernelError, verify

ZERO, ONE, TEN = (Const(k, "i64") for k in (0, 1, 10))
AT, N = Var("i", "i64"), Var("n", "i64")
X = Load("x", AT, "f32")


def kernel(*body: Stmt) -> Kernel:
    return Kernel("broken", (Buffer("x", "f32"), Buffer("y", "f32"), IntParam("n")), body)


def loop(*body: Stmt, kind: str = "serial", carries: tuple[Carry, ...] = (), var: str = "i") -> For:
    return For(var, ZERO, N, body, kind, carries)  # type: ignore[arg-type]


TOTAL = Carry("total", Const(0.0, "f32"), "add")
SET = Carry("total", Const(0.0, "f32"), "set")
HALF = Const(0.5, "f32")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([Store("y", ZERO, Var("z", "f32"))], "nothing is called 'z' here"),
        ([Store("y", ZERO, Var("n", "f32"))], "n is i64, not f32"),
        ([Store("z", ZERO, HALF)], "no buffer 'z'"),
        ([Store("y", HALF, HALF)], "the index is f32"),
        ([Store("y", ZERO, ZERO)], "i64 into y of f32"),
        ([Store("y", ZERO, Load("x", ZERO, "f64"))], "x is of f32, not f64"),
        ([Store("y", ZERO, Op("exp", (HALF, HALF), "f32"))], "has not 1 arguments"),
        ([Store("y", ZERO, Op("exp", (ONE,), "f32"))], "is not defined"),
        ([Store("y", ZERO, Op("wexp", (HALF,), "f32"))], "no function 'wexp'"),
        ([Store("y", ZERO, Op("add", (HALF, HALF), "f64"))], "is not defined"),
        ([Store("y", ZERO, Op("cast", (RowIndex(),), "f32"))], "RowIndex belongs in a row body"),
        ([Let("a", HALF), Let("a", HALF)], "the name 'a' is taken"),
        ([Let("x", HALF)], "the name 'x' is taken"),
        ([loop(Let("a", HALF)), Store("y", ZERO, Var("a", "f32"))], "nothing is called 'a' here"),
        ([If(HALF, ())], "the condition is f32"),
        ([For("i", HALF, N, ())], "a bound of the loop is f32"),
        ([Update("total", HALF)], "is no carry of a loop around"),
        ([loop(Update("total", ONE), carries=(TOTAL,))], "i64 into the carry total"),
        ([loop(Store("y", AT, Var("total", "f32")), kind="vector", carries=(TOTAL,))], "is read in its vector loop"),
        ([loop(Update("total", HALF), kind="vector", carries=(SET,))], "so the loop must be serial"),
        ([loop(loop(Update("total", HALF), kind="vector", var="j"), carries=(SET,))], "may be a vector loop"),
        ([loop(carries=(Carry("t", Const(0.0, "f32"), "or"),))], "or is not defined for f32"),
        ([loop(kind="parallel", carries=(TOTAL,))], "a parallel loop carries nothing"),
        ([loop(loop(kind="parallel", var="j"))], "must be outermost"),
        ([If(Const(True, "i1"), (loop(kind="parallel"),))], "must not stand under a condition"),
        ([loop(Store("y", AT, X), kind="parallel"), Store("y", ZERO, HALF)], "outside the parallel loop"),
        ([loop(Store("y", ZERO, X), kind="parallel")], "every turn of parallel loop i writes the same"),
        ([loop(Store("y", N, X), kind="vector")], "every turn of vector loop i writes the same"),
        (
            [loop(Store("y", AT, X), kind="parallel"), loop(Store("x", AT, Load("y", AT, "f32")), kind="parallel")],
            "y is touched after a parallel loop that wrote it",
        ),
    ],
)  # fmt: skip
def test_refused(body: list[Stmt], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        verify(kernel(*body))


def overlapping(step: int, length: int) -> Kernel:
    b = Builder("overlapping")
    y, n = b.buffer("y", "f32"), b.int_param("n")
    with b.loop("r", 0, n, "parallel") as r:
        base = b.let("base", b.mul(r, step))
        with b.loop("c", 0, length, "vector") as c:
            b.store(y, b.add(base, c), 1.0)
    return b.kernel()


def test_rows_that_overlap_are_refused() -> None:
    verify(overlapping(8, 8))
    with pytest.raises(KernelError, match="are 7 elements of y apart, but c covers 8 in each"):
        verify(overlapping(7, 8))


def test_blocks_of_a_flat_loop_are_fine() -> None:
    b = Builder("blocks")
    y, n = b.buffer("y", "f32"), b.int_param("n")
    with b.loop("p", 0, b.floordiv(b.add(n, 63), 64), "parallel") as p:
        low = b.mul(p, 64)
        with b.loop("i", low, b.min(n, b.add(low, 64)), "vector") as i:
            b.store(y, i, 1.0)
    verify(b.kernel())


def test_the_message_marks_the_statement() -> None:
    broken = kernel(loop(Let("a", X), Store("y", AT, Op("add", (Var("a", "f32"), Var("b", "f32")), "f32"))))
    with pytest.raises(KernelError) as caught:
        verify(broken)
    assert str(caught.value).splitlines() == [
        "kernel broken: nothing is called 'b' here",
        "  kernel broken(x: f32[], y: f32[], n: i64) {",
        "    for i in 0 .. n {",
        "      let a = x[i]",
        ">     y[i] = a + b",
        "    }",
        "  }",
    ]


def test_shared_expressions_are_checked_in_every_scope() -> None:
    value: Expr = Op("add", (Var("a", "f32"), HALF), "f32")
    with pytest.raises(KernelError, match="nothing is called 'a'"):
        verify(kernel(loop(Let("a", X), Store("y", AT, value)), Store("y", ZERO, value)))
