"""Runs a kernel one NumPy scalar at a time: slow, plain, and what code generators are tested against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.loops.ir import (
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
    numpy_dtype,
)

__all__ = ["evaluate", "interpret"]

_COMBINE = {
    "add": "add",
    "mul": "mul",
    "max": "max",
    "min": "min",
    "maxnum": "maxnum",
    "and": "and",
    "or": "or",
}


def interpret(kernel: Kernel, arguments: Sequence[Any]) -> None:
    """Runs a kernel on flat arrays (for buffers, written in place) and numbers, in the order of its
    parameters.

    IndexError names a load or store outside its buffer.
    """
    if len(arguments) != len(kernel.params):
        raise ValueError(
            f"kernel {kernel.name}: {len(arguments)} arguments for {len(kernel.params)} parameters"
        )
    buffers: dict[str, np.ndarray[Any, Any]] = {}
    values: dict[str, Any] = {}
    for param, argument in zip(kernel.params, arguments, strict=True):
        if isinstance(param, Buffer):
            if argument.dtype != numpy_dtype(param.dtype) or argument.ndim != 1:
                raise ValueError(f"kernel {kernel.name}: {param.name} must be a flat array of {param.dtype}")
            buffers[param.name] = argument
        else:
            dtype = "i64" if isinstance(param, IntParam) else param.dtype
            values[param.name] = numpy_dtype(dtype).type(argument)
    for local in kernel.locals:
        buffers[local.name] = np.empty(local.size, numpy_dtype(local.dtype))
    with np.errstate(all="ignore"):
        _Run(buffers).body(kernel.body, values)


def evaluate(expr: Expr, values: Mapping[str, Any]) -> Any:
    """The value of an expression without loads, given its variables (scalars or arrays that broadcast)."""
    with np.errstate(all="ignore"):
        return _Run({}).value(expr, dict(values))


class _Run:
    def __init__(self, buffers: dict[str, np.ndarray[Any, Any]]) -> None:
        self.buffers = buffers
        self.carry_ops: dict[str, str] = {}

    def body(self, body: Sequence[Stmt], values: dict[str, Any]) -> None:
        for stmt in body:
            if isinstance(stmt, Let):
                values[stmt.name] = self.value(stmt.value, values)
            elif isinstance(stmt, Store):
                index = int(self.value(stmt.index, values))
                self.inside(stmt.buffer, index)
                self.buffers[stmt.buffer][index] = self.value(stmt.value, values)
            elif isinstance(stmt, Update):
                new = self.value(stmt.value, values)
                op = self.carry_ops[stmt.name]
                values[stmt.name] = new if op == "set" else FUNCTIONS[op].numpy(values[stmt.name], new)
            elif isinstance(stmt, Prefetch):
                pass  # a hint
            elif isinstance(stmt, If):
                if self.value(stmt.condition, values):
                    self.body(stmt.body, values)
            elif isinstance(stmt, For):
                for carry in stmt.carries:
                    values[carry.name] = self.value(carry.init, values)
                    self.carry_ops[carry.name] = carry.op
                start, stop = int(self.value(stmt.start, values)), int(self.value(stmt.stop, values))
                for turn in range(start, stop):
                    values[stmt.var] = np.int64(turn)
                    self.body(stmt.body, values)
            else:
                raise TypeError(f"no such statement: {stmt!r}")

    def inside(self, buffer: str, index: int) -> None:
        size = len(self.buffers[buffer])
        if not 0 <= index < size:
            raise IndexError(f"element {index} of buffer {buffer}, which has {size}")

    def value(self, root: Expr, values: dict[str, Any]) -> Any:
        memo: dict[int, Any] = {}
        stack = [root]
        while stack:
            expr = stack[-1]
            if id(expr) in memo:
                stack.pop()
                continue
            if isinstance(expr, Op):
                waiting = [a for a in expr.args if id(a) not in memo]
                if waiting:
                    stack.extend(waiting)
                    continue
                memo[id(expr)] = _apply(expr, [memo[id(a)] for a in expr.args])
            elif isinstance(expr, Load):
                if id(expr.index) not in memo:
                    stack.append(expr.index)
                    continue
                index = int(memo[id(expr.index)])
                self.inside(expr.buffer, index)
                memo[id(expr)] = self.buffers[expr.buffer][index]
            elif isinstance(expr, Var):
                memo[id(expr)] = values[expr.name]
            elif isinstance(expr, Const):
                memo[id(expr)] = numpy_dtype(expr.dtype).type(expr.value)
            else:
                raise TypeError(f"{type(expr).__name__} does not belong in a kernel")
            stack.pop()
        return memo[id(root)]


def _apply(expr: Op, args: list[Any]) -> Any:
    function = FUNCTIONS[expr.name]
    if function.result == "given":
        return function.numpy(args[0], numpy_dtype(expr.dtype))
    result = function.numpy(*args)
    dtype = numpy_dtype(expr.dtype)
    if getattr(result, "dtype", None) == dtype:
        return result
    return np.asarray(result).astype(dtype)[()]
