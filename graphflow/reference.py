"""Runs a program with each op's NumPy body: slow, plain, right. The oracle that compiled code is held against."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, Self

import numpy as np

from graphflow.meanwhile import NotYet
from graphflow.program import FEED, NESTED, VARIABLE, WHILES, Node, Program, Value

Array = np.ndarray[Any, Any]


class State(Protocol):
    """What a run needs of a session: values of variables and counters of random ops."""

    def read(self, name: str) -> Array:
        """Returns the value of a variable."""

    def write(self, name: str, value: Array) -> None:
        """Sets the value of a variable."""

    def is_initialized(self, name: str) -> bool:
        """Whether a variable has a value."""

    def reserve(self, node: Node, count: int) -> tuple[tuple[int, int], int]:
        """Returns key and counter for a random op that makes `count` outputs, and moves its counter on."""

    def give_back(self, name: str, count: int) -> None:
        """Moves the counter of a random op back by samples that were reserved and not drawn."""

    def fork(self) -> Self:
        """Returns a copy, for a run that is to leave no trace."""


class NodeError(Exception):
    """Wraps an error of a body with the node that failed; `__cause__` is the error."""

    def __init__(self, node: Node, inputs: Sequence[Array]) -> None:
        super().__init__(node.name)
        self.node = node
        self.inputs = list(inputs)


class Observer(Protocol):
    """Looks on while a program is run; nodes inside branches and loops are seen as often as they run."""

    def before(self, node: Node, inputs: Sequence[Array]) -> None:
        """A node is about to run; whatever is raised stops the run."""

    def after(self, node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """A node has run."""


_results: ContextVar[dict[tuple[str, str], list[Array]] | None] = ContextVar("results", default=None)


@contextlib.contextmanager
def effects_once() -> Iterator[None]:
    """Inside, a node that acts on the world acts the first time it is run, and gives the same results from then on.

    Where that is so already, it stays so, with the results there are.
    """
    token = _results.set({} if (known := _results.get()) is None else known)
    try:
        yield
    finally:
        _results.reset(token)


def run(
    program: Program, feeds: Sequence[Array], state: State, observer: Observer | None = None
) -> list[Array]:
    """Runs a program.

    Args:
      program: the program; it need not be specialized.
      feeds: one array per feed.
      state: variables and random counters; new states of variables are written at the end.
      observer: told of each node.

    Returns:
      One array per fetch; never an alias of a variable or a feed.

    Raises:
      NodeError: if a body fails.
    """
    values: dict[Value, Array] = dict(zip(program.feeds, feeds, strict=True))
    last_use = _last_uses(program)
    for node in program.nodes:
        if node.op_def is FEED:
            continue
        if node.op_def is VARIABLE:
            values[node.outputs[0]] = state.read(node.attrs["variable"])
            continue
        inputs = [values[value] for value in node.inputs]
        if observer is not None:
            observer.before(node, inputs)
        results = run_node(node, inputs, state, observer)
        if observer is not None:
            observer.after(node, inputs, results)
        for value, result in zip(node.outputs, results, strict=True):
            values[value] = result
        for value in last_use.get(node, ()):
            values.pop(value, None)
    # All new states are taken before the first is stored: a state may be another variable's old one.
    states = [(name, np.array(values[value])) for name, value in program.commits]
    results = [np.array(values[value]) for value in program.fetches]
    for name, array in states:
        state.write(name, array)
    return results


def run_node(
    node: Node, inputs: Sequence[Array], state: State, observer: Observer | None = None
) -> list[Array]:
    """Runs one node's body on arrays.

    Raises:
      NodeError: if the body fails.
    """
    if node.op_def.effects == "host":
        return once(node, lambda: _run_body(node, inputs, state, observer))
    return _run_body(node, inputs, state, observer)


def once(node: Node, function: Callable[[], list[Array]]) -> list[Array]:
    """Runs a node that acts on the world; inside `effects_once` only if it has not acted yet.

    What is nested in the node may act as often as the node runs it.
    """
    known = _results.get()
    if known is None:
        return function()
    found = known.get((node.name, node.type))
    if found is None:
        token = _results.set(None)
        try:
            found = known[node.name, node.type] = function()
        finally:
            _results.reset(token)
    return found


def _run_body(node: Node, inputs: Sequence[Array], state: State, observer: Observer | None) -> list[Array]:
    if node.op_def in NESTED:
        return run_nested(node, inputs, lambda program, arrays: run(program, arrays, state, observer))
    extra: dict[str, Any] = {}
    try:
        if node.op_def.effects == "random":
            key, counter = state.reserve(node, _random_outputs(node, inputs))
            extra = {"key": key, "counter": counter}
        elif "context" in node.op_def.body_attrs:
            extra = {"context": state, "node_name": node.name}
        with np.errstate(all="ignore"):
            return node.op_def.run(inputs, node.attrs, **extra)
    except NotYet:
        raise  # no fault of the node: it is run again when what it waits for may be there
    except Exception as error:
        raise NodeError(node, inputs) from error


RunProgram = Callable[[Program, Sequence[Array]], list[Array]]


def run_nested(node: Node, inputs: Sequence[Array], run_program: RunProgram) -> list[Array]:
    """Runs a branch or a loop.

    Args:
      node: the node.
      inputs: its inputs.
      run_program: runs one of its programs on arrays.

    Returns:
      One array per output.
    """
    if node.op_def in WHILES:
        cond, body = node.attrs["cond"], node.attrs["body"]
        variables = list(inputs)
        while run_program(cond, variables)[0]:
            variables = run_program(body, variables)
        return variables
    branches = node.attrs["branches"]
    index = int(inputs[0])
    chosen = branches[index] if 0 <= index < len(branches) else branches[-1]
    return run_program(chosen, inputs[1:])


_PARAMETERS = ("alpha", "rate")


def _random_outputs(node: Node, inputs: Sequence[Array]) -> int:
    """How many numbers a random op makes: its output's size, from the shape it is given or the array it permutes."""
    known = node.outputs[0].shape.num_elements()
    if known is not None:
        return known
    if node.op_def.inputs[0].name == "shape":
        count = int(np.prod(inputs[0], dtype=np.int64))
        # So many for each parameter of a distribution.
        parameters = [
            a.size for arg, a in zip(node.op_def.inputs, inputs, strict=True) if arg.name in _PARAMETERS
        ]
        return count * math.prod(parameters)
    return int(inputs[0].size)


def _last_uses(program: Program) -> dict[Node, list[Value]]:
    last: dict[Value, Node] = {}
    for node in program.nodes:
        for value in node.inputs:
            last[value] = node
    for value in program.roots:
        last.pop(value, None)
    result: dict[Node, list[Value]] = {}
    for value, node in last.items():
        result.setdefault(node, []).append(value)
    return result
