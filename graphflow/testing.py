"""What tests of ops, passes and plans have in common; users who add their own ops and passes test them with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import reference
from graphflow.compiler import CompileOptions, Executable
from graphflow.program import Node, Program, verify
from graphflow.text import parse_program, program_text
from graphflow.variable_store import VariableStore

Array = np.ndarray[Any, Any]


class TestState(VariableStore):
    """Variables and random counters for programs run outside a session."""

    __test__ = False

    def __init__(self, **variables: Any) -> None:
        super().__init__()
        self._counters: dict[str, int] = {}
        for name, value in variables.items():
            self.set(name, value)

    def read(self, name: str) -> Array:
        """Returns a copy of a variable's value."""
        return self.get(name)

    def write(self, name: str, value: Array) -> None:
        """Sets a variable."""
        self.set(name, value)

    def reserve(self, node: Node, count: int) -> tuple[tuple[int, int], int]:
        """Returns the seeds of a random op and its counter."""
        counter = self._counters.get(node.name, 0)
        rule = node.op_def.reserve_rule
        self._counters[node.name] = counter + (256 * count if rule is None else rule(node.attrs))
        return (int(node.attrs.get("seed", 0)), int(node.attrs.get("seed2", 0))), counter

    def give_back(self, name: str, count: int) -> None:
        """Lets a random op go on so many samples further down."""
        self._counters[name] -= count

    def fork(self) -> TestState:
        """Returns a copy with the same counters."""
        made = super().fork()
        made._counters = dict(self._counters)
        return made

    def between_steps(self) -> None:
        """Nothing stops these runs."""


def run_reference(program: Program, feeds: Sequence[Array], **variables: Any) -> list[Array]:
    """Runs a program with the NumPy bodies."""
    return reference.run(program, feeds, TestState(**variables))


def run_compiled(
    program: Program, feeds: Sequence[Array], options: CompileOptions | None = None, **variables: Any
) -> list[Array]:
    """Compiles a program for these feeds and runs it once."""
    state = TestState(**variables)
    executable = Executable(program, options or CompileOptions())
    return executable.bind(tuple(feed.shape for feed in feeds), state, executable.look(feeds)).run(
        tuple(feeds), state
    )


def check_same(got: Sequence[Array], wanted: Sequence[Array], tolerance: float = 1e-5) -> None:
    """Raises AssertionError unless the arrays agree in dtype, shape and, up to a tolerance, value."""
    assert len(got) == len(wanted)
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        assert a.dtype == b.dtype and a.shape == b.shape, (
            f"output {i}: {a.dtype}{a.shape} is not {b.dtype}{b.shape}"
        )
        if a.dtype.kind in "fcV":
            kind = np.complex128 if a.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(
                a.astype(kind), b.astype(kind), rtol=tolerance, atol=tolerance, equal_nan=True
            )
        else:
            np.testing.assert_array_equal(a, b)


def check_rewrite(
    step: Callable[[Program, Counter[str]], Program],
    before: str,
    after: str,
    feeds: Sequence[Any] | None = None,
    **variables: Any,
) -> None:
    """Checks a pass on program text.

    Args:
      step: the pass.
      before: a program in print.
      after: what the pass must make of it; equal to `before` for a near miss.
      feeds: values with which both programs are run and compared; None runs neither.
      **variables: values of variables for that run.

    Raises:
      AssertionError: if the result differs from `after`, does not verify, or computes something else.
    """
    program = parse_program(before)
    result = step(program, Counter())
    verify(result)
    wanted = parse_program(after)
    assert plain_text(result) == plain_text(wanted), (
        f"got\n{program_text(result)}\nexpected\n{program_text(wanted)}"
    )
    if feeds is not None:
        arrays = [
            np.asarray(feed, value.dtype.numpy) for feed, value in zip(feeds, program.feeds, strict=True)
        ]
        check_same(run_reference(result, arrays, **variables), run_reference(program, arrays, **variables), 0)


def plain_text(program: Program) -> str:
    """Returns the program in print without the names of its nodes."""
    return "\n".join(line.partition("  # ")[0] for line in program_text(program).splitlines())
