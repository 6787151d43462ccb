"""Loop-language expressions over vectors, inside functions that are written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphflow.backends.cpu.codegen import expressions_to_llvm
from graphflow.backends.cpu.function_text import FunctionText, Lanes
from graphflow.backends.cpu.instructions import Emitter, Value
from graphflow.loops.ir import Expr

__all__ = ["write_expressions"]


def write_expressions(
    f: FunctionText, count: int, roots: Sequence[Expr], values: Mapping[str, tuple[str, str]]
) -> list[str]:
    """The values of expressions in `count` lanes, given each variable's dtype and vector, as they lie in
    memory.
    """
    results: list[str] = []

    def write(emitter: Emitter) -> None:
        variables = {
            name: (dtype, Value(emitter, text, Lanes(dtype, count).element, count, 0))
            for name, (dtype, text) in values.items()
        }
        results.extend(emitter.splat(v, count).text for v in expressions_to_llvm(emitter, variables, roots))

    f.splice(write)
    return results
