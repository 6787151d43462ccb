"""What becomes of an operand's elements on their way into a contraction: they are never stored so."""

from __future__ import annotations

from collections.abc import Mapping

from graphflow.backends.cpu.expressions import write_expressions
from graphflow.backends.cpu.function_text import LLVM_TYPES, FunctionText, Int, Lanes
from graphflow.backends.cpu.tiles import LaunchText
from graphflow.loops.library import ACCUMULATOR, Epilogue

__all__ = ["copy_through", "load_operands", "moved", "names", "through"]

Addresses = Mapping[str, str]
"""Where a prologue's operands are read, by name: at the element that is loaded, its column, or the one scalar."""


def names(prologue: Epilogue | None) -> list[str]:
    """The operands' names, as parameters of functions have them."""
    return [] if prologue is None else [operand.name for operand in prologue.operands]


def load_operands(launch: LaunchText, prologue: Epilogue | None) -> dict[str, str]:
    """Asks a launch for the operands; before any branch is written."""
    return {name: launch.buffer(name) for name in names(prologue)}


def moved(
    f: FunctionText, prologue: Epilogue | None, addresses: Addresses, element: Int, column: Int = 0
) -> dict[str, str]:
    """The addresses so many elements, and columns, further on."""
    found = {}
    for operand in () if prologue is None else prologue.operands:
        by = {"element": element, "column": column}.get(operand.over, 0)
        found[operand.name] = f.offset(addresses[operand.name], by, LLVM_TYPES[operand.dtype])
    return found


def through(
    f: FunctionText,
    lanes: Lanes,
    prologue: Epilogue,
    value: str,
    addresses: Addresses,
    valid: Int | None = None,
) -> str:
    """What a vector of elements becomes."""
    values = {ACCUMULATOR: (lanes.dtype, value)}
    for operand in prologue.operands:
        wide, address = Lanes(operand.dtype, lanes.count), addresses[operand.name]
        scalar = operand.over == "scalar"
        loaded = f.broadcast(wide, address) if scalar else f.load(wide, address, valid)
        values[operand.name] = operand.dtype, loaded
    return write_expressions(f, lanes.count, [prologue.results[0][1]], values)[0]


def copy_through(
    f: FunctionText,
    lanes: Lanes,
    prologue: Epilogue,
    source: str,
    target: str,
    count: Int,
    addresses: Addresses,
) -> None:
    """Copies what `count` elements in a row become; columns go on with them."""
    whole = f.mul(f.div(count, lanes.count), lanes.count)

    def some(i: Int, valid: Int | None) -> None:
        value = f.load(lanes, f.offset(source, i, lanes.element), valid)
        made = through(f, lanes, prologue, value, moved(f, prologue, addresses, i, i), valid)
        f.store(lanes, f.offset(target, i, lanes.element), made, valid)

    f.loop(0, whole, lambda i, _: some(i, None), step=lanes.count)
    f.when_less(whole, count, lambda: some(whole, f.sub(count, whole)))
