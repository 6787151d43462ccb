"""Which variables a plan wants stored in panels: factors and filters that it updates in the gradient's epilogue.

The product then reads panels that lie there already, and the update goes through memory in the order of its tiles.
All that reads or writes such a variable must know panels, or fold it whole, so that the order of its elements is all
one (a penalty on weights, a norm); one user that does not, and it stays row-major.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from graphflow.loops.library import Call, Conv2D, Gemm
from graphflow.lowering.calls import CallNode
from graphflow.program import VARIABLE, Node, Program, Value
from graphflow.variable_store import Panels

__all__ = ["Update", "panels_of_variables"]

_FEW_ROWS = 4
"""A gradient of so few rows reads the rows of a transposed factor as they are; from panels it would pack them."""

Update = tuple[Call, Mapping[str, Value], Mapping[str, Value], Mapping[str, int], Sequence[Node]]
"""A library call with an epilogue: the call, its operands and results by name, at how many bytes into its memory each
operand begins, and the nodes in the epilogue.
"""


def panels_of_variables(
    program: Program,
    updates: Sequence[Update],
    uses: Mapping[Value, Sequence[Node]],
    products: Mapping[Node, CallNode],
    width_of: Callable[[str, int], int],
    folds: Callable[[Node, set[Value]], bool],
) -> dict[Value, Panels]:
    """Returns the layout of the values of variables, at the start and after the run, that lie in panels.

    Args:
      program: the program.
      updates: the library calls with epilogues.
      uses: who takes each value.
      products: the library calls of nodes.
      width_of: says how wide the panels of a matrix are, from dtype and columns; 0 for no panels.
      folds: says whether a node takes some of these values only to fold them whole, in whatever order they lie.
    """
    names: dict[Value, list[str]] = {}
    for name, value in program.commits:
        names.setdefault(value, []).append(name)
    fetched = set(program.fetches)
    found: dict[Value, Panels] = {}
    for call, operands, results, offsets, nodes in updates:
        matrix = _matrix(call)
        if matrix is None:
            continue
        assert isinstance(call, Gemm | Conv2D) and call.epilogue is not None
        by_element = [o.name for o in call.epilogue.operands if o.over == "element"]
        element = {operands[name] for name in by_element}
        if any(offsets.get(name, 0) for name in by_element):
            continue
        if not all(value.node.op_def is VARIABLE for value in element) or fetched & element:
            continue
        written = {value.node.attrs["variable"] for value in element}
        if any(value in names or _rows_and_columns(value) != matrix for value in element):
            continue
        if any(result in fetched or set(uses.get(result, ())) - set(nodes) for result in results.values()):
            continue
        commits = [name for result in results.values() for name in names.get(result, ("",))]
        if set(commits) != written or len(commits) != len(written):
            continue
        takers = {user for value in element for user in uses.get(value, ()) if user not in nodes}
        if not any(_multiplies(products.get(user), element) == "forward" for user in takers):
            continue
        width = width_of(call.dtype, matrix[1])
        others = [user for user in takers if _multiplies(products.get(user), element) is None]
        # What fills the last panel up is no part of the value.
        if others and (not width or matrix[1] % width or not all(folds(user, element) for user in others)):
            continue
        if width:
            found |= dict.fromkeys((*element, *results.values()), Panels(width))
    return found


def _matrix(call: Call) -> tuple[int, int] | None:
    """Rows and columns of a result that is one matrix of known sizes, more than a single row or column, else None."""
    if not isinstance(call, Gemm | Conv2D) or call.epilogue is None or call.operand_dtype is not None:
        return None
    if isinstance(call, Conv2D):
        if call.direction != "filter" or call.depthwise:
            return None
        rows, columns = call.kernel[0] * call.kernel[1] * call.in_channels, call.out_channels
        return (rows, columns) if rows > 1 and columns > 1 else None
    if call.m is None or call.n is None or call.m < 2 or call.n < 2:
        return None
    alone = not call.batch and call.stride_c == "dense" and not call.steps_c
    return (call.m, call.n) if alone else None


def _rows_and_columns(value: Value) -> tuple[int, int]:
    *rows, columns = value.sizes or (0,)
    return math.prod(rows), columns


def _multiplies(found: CallNode | None, variables: set[Value]) -> str | None:
    """How a node that takes one of the variables multiplies by it: "forward", "back", or None if otherwise."""
    if found is not None and isinstance(found.call, Conv2D):
        conv, images = found.call, found.operands.get("x", found.operands.get("dy"))
        if conv.direction == "filter" or conv.depthwise or conv.operand_dtype is not None:
            return None
        if found.operands["w"] not in variables or images in variables or found.offsets.get("w", 0):
            return None
        return "forward" if conv.direction == "forward" else "back"
    if found is None or not isinstance(found.call, Gemm):
        return None
    call, factor = found.call, found.operands["b"]
    if factor not in variables or found.operands["a"] in variables or call.batch or call.steps_b:
        return None
    if call.operand_dtype is not None:
        return None
    columns = (factor.sizes or (0,))[-1]
    if found.offsets.get("b", 0) or call.stride_b not in ("dense", columns):
        return None
    if not call.transpose_b:
        return "forward"
    return "back" if call.m is None or call.m > _FEW_ROWS else None
