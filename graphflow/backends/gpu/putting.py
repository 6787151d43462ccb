"""Steps put on a device's stream: at once, or into a graph, where loops, choices and checks are nodes of it.

In a graph, what changes from turn to turn of a loop stands in words on the device (`backends.cuda.steering`): kernels
are printed to read addresses and numbers from there. Libraries cannot, so what moves is copied to and from a place of
its own for them. A loop is a WHILE node; what comes after a condition that may end it, or after a check, is in an IF
node; a choice is a SWITCH node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphflow.backends.cuda.steering import DEPTH, ROW
from graphflow.backends.gpu.device import Device, Table, aligned
from graphflow.backends.gpu.steps import (
    AllReduce,
    Attention,
    Cond,
    Convolution,
    Copy,
    Gemm,
    Joined,
    Judge,
    Kernel,
    Leave,
    Loop,
    Memset,
    Place,
    Step,
    Transfer,
    Use,
    inner_steps,
)
from graphflow.plan import Count
from graphflow.regions import Region, Term

__all__ = ["Putter", "Steering", "Turns", "fits"]

Array: TypeAlias = "np.ndarray[Any, Any]"
# Of each loop around: which turn it is, and its limit.
Turns: TypeAlias = "dict[Region, tuple[int, int]]"
Names: TypeAlias = "frozenset[str]"

MOST_UNROLLED = 512
"""Steps of a loop, all turns together, up to which a graph holds each turn."""

_SIMPLE = (Kernel, Joined, Gemm, Convolution, Attention, Copy, Memset, Transfer, AllReduce)


def fits(step: Step, conditional: bool, depth: int = 0) -> bool:
    """Whether a graph can hold a step. conditional: whether it may hold conditional nodes."""
    if isinstance(step, Loop):
        inside = depth + (not step.fixed or _weight(step) > MOST_UNROLLED)
        if not (conditional or step.fixed) or inside > DEPTH:
            return False
        return all(fits(one, conditional, inside) for one in inner_steps(step))
    if isinstance(step, Cond):
        return conditional and all(fits(one, conditional, depth) for one in inner_steps(step))
    return isinstance(step, _SIMPLE) or (isinstance(step, Judge) and conditional)


def _weight(step: Step) -> int:
    """How many things a step puts on a stream, about; unrolled if it is a loop."""
    if not isinstance(step, Loop | Cond):
        return 1
    turns = step.limit if isinstance(step, Loop) and isinstance(step.limit, int) else 1
    return turns * sum(map(_weight, inner_steps(step)))


class Steering:
    """What the loops and choices of some steps need, known before any of it is captured.

    Args:
      steps: the steps.
      kernels: the plan's kernels of loops.
      conditional: whether the graph may hold conditional nodes.

    Attributes:
      loops: the loops that turn on the device, and their numbers.
      variants: kernels that take some of their arguments from words: the number of each, and which.
      nbytes: how much memory of the device it takes; 0 for none.
    """

    def __init__(self, steps: Sequence[Step], kernels: Sequence[Any], conditional: bool) -> None:
        self.conditional = conditional
        self.steered = False
        self.loops: dict[Region, int] = {}
        self.variants: dict[tuple[int, Names], None] = {}
        self._kernels = kernels
        self._words = self._cases = self._staging = 0
        self._see(steps, 1)
        self.first_word = 2 * len(self.loops)
        self.rows = self.first_word + self._words  # where these begin, in words
        self.cases = self.rows + 1 + self._words * ROW
        self.end = self.cases + self._cases
        self.staging = aligned(8 * self.end)  # in bytes
        self.nbytes = self.staging + self._staging if self.steered else 0

    def unrolled(self, loop: Loop) -> bool:
        """Whether each turn of a loop is in the graph."""
        return loop.fixed and not (self.conditional and _weight(loop) > MOST_UNROLLED)

    def terms(self, place: Place) -> tuple[Term, ...]:
        """How a place moves with loops that turn on the device."""
        return tuple([term for term in place.terms if term.loop in self.loops])

    def moves(self, arg: Use | int | Count) -> bool:
        """Whether an argument changes with the turns of such a loop."""
        if isinstance(arg, Use):
            return bool(self.terms(arg.place))
        return isinstance(arg, Count) and arg.loop in self.loops

    def names(self, kernel: Kernel) -> Names:
        """The parameters of a kernel that do."""
        params = self._kernels[kernel.function].params
        return frozenset(
            [
                param.name
                for param, arg in zip(params, kernel.args, strict=True)
                if self.loops and self.moves(arg)
            ]
        )

    def _see(self, steps: Sequence[Step | Leave], times: int) -> None:
        for step in steps:
            if isinstance(step, Leave):
                continue
            if isinstance(step, Loop):
                turns = 1
                if self.unrolled(step):
                    assert isinstance(step.limit, int)
                    turns = step.limit
                else:
                    self.steered = True
                    self.loops[step.region] = len(self.loops)
                self._see(step.body, times * turns)
                self._see(step.tail, times)
            elif isinstance(step, Cond):
                self.steered = True
                self._cases += 3 * len(step.cases) * times
                self._see(inner_steps(step), times)
            elif isinstance(step, Judge):
                self.steered = True
            elif isinstance(step, Kernel):
                names = self.names(step)
                if names:
                    self.variants[step.function, names] = None
                self._words += times * len(names)
            else:
                moving = [arg for arg in step.args if self.moves(arg)]
                self._words += times * len(moving)
                if isinstance(step, Gemm | Convolution | Attention):
                    self._staging = max(
                        self._staging, sum(aligned(arg.nbytes) for arg in moving if isinstance(arg, Use))
                    )
                if isinstance(step, Convolution | Attention):
                    self._see(inner_steps(step), times)


class Putter:
    """Puts steps on a device's stream.

    Args:
      device: the device.
      bases: where slabs lie.
      functions: the plan's kernels, loaded.
      scratch: memory of library calls.
      workspaces: the library calls that the device does, by the identity of their steps.
      joined: by the same, the kernels that are one launch: what that is, its table, and where this lies.
      steering: what steps in a graph need; None where the host counts turns.
      variants: the kernels of `steering.variants`, loaded.
      table: memory of the device for it.
    """

    def __init__(
        self,
        device: Device,
        bases: Mapping[Any, int],
        functions: Sequence[Any],
        scratch: int,
        workspaces: Mapping[int, int],
        joined: Mapping[int, tuple[Any, Table, int]],
        steering: Steering | None = None,
        variants: Mapping[tuple[int, Names], Any] | None = None,
        table: int = 0,
    ) -> None:
        self.device = device
        self._bases = bases
        self._functions = functions
        self._scratch = scratch
        self._workspaces = workspaces
        self._joined = joined
        self._steering = steering
        self._variants = {} if variants is None else variants
        self._table = table
        self._steers: Mapping[str, Any] = {}
        self._site = self._sites = 0
        self._found: dict[tuple[int, int, tuple[Term, ...]], int] = {}
        if steering is not None and steering.nbytes:
            self._steers = device.steering()
            self._image = np.zeros(steering.end, np.int64)
            self._next_case = steering.cases

    # one step

    def put(self, step: Step, turns: Turns) -> None:
        """Puts a step that is neither a loop nor a choice; `turns`: of the loops whose turns the host counts."""
        device = self.device
        if isinstance(step, Kernel):
            device.launch(self._function(step), [self.argument(arg, turns) for arg in step.args])
        elif isinstance(step, Joined):
            if id(step) in self._joined:
                device.launch_joined(*self._joined[id(step)])
            else:
                for part in step.parts:
                    self.put(part, turns)
        elif isinstance(step, Gemm):
            with self._pointers(step.args, turns) as pointers:
                device.gemm(step.plan, pointers, self._scratch)
        elif isinstance(step, Convolution):
            here = id(step) in self._workspaces
            for kernel in step.before if here else step.instead:
                self.put(kernel, turns)
            if here:
                with self._pointers(step.args, turns) as pointers:
                    device.conv(step.plan, pointers, self._scratch)
                for kernel in step.after:
                    self.put(kernel, turns)
        elif isinstance(step, Attention):
            for first in step.instead or step.before:
                self.put(first, turns)
            if step.plan is not None:
                with self._pointers(step.args, turns) as pointers:
                    device.attend(step.plan, pointers, self._scratch)
                for last in step.after:
                    self.put(last, turns)
        elif isinstance(step, Copy):
            if not step.nbytes:
                return
            (target, moves), (source, moves_too) = [self._address(use.place, turns) for use in step.args]
            if moves or moves_too:
                self._steer("copy", target, source, step.nbytes, moves + 2 * moves_too)
            elif target != source:
                device.d2d(target, source, step.nbytes)
        else:
            assert isinstance(step, Memset)
            target, moves = self._address(step.args[0].place, turns)
            if moves:
                self._steer("fill", target, step.value, step.nbytes)
            else:
                device.memset(target, step.value, step.nbytes)

    def address(self, place: Place, turns: Turns) -> int:
        """Where a place lies that no loop on the device moves."""
        address, moves = self._address(place, turns)
        assert not moves
        return address

    def _function(self, kernel: Kernel) -> Any:
        if self._steering is not None and self._steering.loops:
            names = self._steering.names(kernel)
            if names:
                return self._variants[kernel.function, names]
        return self._functions[kernel.function]

    def _address(self, place: Place, turns: Turns) -> tuple[int, bool]:
        """Where a place lies, or where the word lies that tells it."""
        address = self._bases[place.slab] + place.offset
        moving: tuple[Term, ...] = ()
        if place.terms:
            if self._steering is not None:
                moving = self._steering.terms(place)
            for term in place.terms:
                if term not in moving:
                    turn, limit = turns[term.loop]
                    address += turn * term.step + turn % 2 * term.swing + limit * term.ends
        return (self._word(address, moving), True) if moving else (address, False)

    def argument(self, arg: Use | int | Count, turns: Turns) -> int:
        """What a kernel is handed for an argument."""
        if isinstance(arg, Use):
            return self._address(arg.place, turns)[0]
        if not isinstance(arg, Count):
            return arg
        if self._steering is not None and arg.loop in self._steering.loops:
            return self._word(arg.start, (Term(arg.loop, arg.step),))
        return arg.start + turns[arg.loop][0] * arg.step

    @contextlib.contextmanager
    def _pointers(self, args: Sequence[Use], turns: Turns) -> Iterator[list[int]]:
        """Addresses for a library; what moves is where it can be found meanwhile."""
        found: list[int] = []
        back: list[tuple[int, int, int]] = []
        end = self._table + (0 if self._steering is None else self._steering.staging)
        for use in args:
            address, moves = self._address(use.place, turns)
            if moves:
                # What is only written may have gaps, which stay as they are.
                self._steer("copy", end, address, use.nbytes, 2)
                if use.access != "r":
                    back.append((address, end, use.nbytes))
                address, end = end, end + aligned(use.nbytes)
            found.append(address)
        yield found
        for target, source, nbytes in back:
            self._steer("copy", target, source, nbytes, 1)

    # a graph

    def capture(self, steps: Sequence[Step | Leave], turns: Turns) -> None:
        """Puts steps into the graph that is captured."""
        self._all(steps, turns, None, None)

    def settle(self, host: Array) -> None:
        """Sends what the graph steers by, when it is captured. `host`: pinned memory for it."""
        steering = self._steering
        assert steering is not None
        if steering.nbytes:
            image = host[: 8 * steering.end]
            image[:] = self._image.view(np.uint8)
            self.device.h2d(self._table, image, image.size)

    def _all(
        self,
        steps: Sequence[Step | Leave],
        turns: Turns,
        outer: int | None,
        then: Callable[[], None] | None,
    ) -> None:
        """Steps of a row. `outer`: the condition of the loop that they are a turn of; `then`: what ends the turn."""
        device = self.device
        for number, step in enumerate(steps):
            if isinstance(step, Leave | Judge):
                inner = device.condition()
                if isinstance(step, Leave):
                    assert outer is not None
                    self._steer("leave", self.address(step.word.place, turns), outer, inner)
                else:
                    words = step.args[0].place
                    count, inside = words.nbytes // 8, outer is not None
                    self._steer("judge", self.address(words, turns), count, inner, int(inside), outer or 0)
                with self._inside(device.branch("if", inner)[0]):
                    self._all(steps[number + 1 :], turns, outer, then)
                return
            if isinstance(step, Loop):
                self._loop(step, turns)
            elif isinstance(step, Cond):
                self._cond(step, turns)
            else:
                self.put(step, turns)
        if then is not None:
            then()

    def _loop(self, loop: Loop, turns: Turns) -> None:
        steering, region = self._steering, loop.region
        assert steering is not None
        if steering.unrolled(loop):
            limit = loop.limit
            assert isinstance(limit, int)
            for turn in range(limit):
                turns[region] = turn, limit
                self._all(loop.body, turns, None, None)
            turns[region] = limit, limit
            self._all(loop.tail, turns, None, None)
            del turns[region]
            return
        around, number = self._site, steering.loops[region]
        outer, site = self.device.condition(), self._new_site()
        table, rows = self._table, self._table + 8 * steering.rows
        at = self.address(loop.limit.place, turns) if isinstance(loop.limit, Use) else 0
        most = loop.limit if isinstance(loop.limit, int) else -1
        self._steer("begin", table, rows, site, number, at, most, outer)

        def done() -> None:
            self._steer("next", table, rows, site, number, int(loop.limit is not None), outer)

        with self._inside(self.device.branch("while", outer)[0]):
            self._all(loop.body, turns, outer, done)
        if loop.tail:
            self._steer("last", table, rows, self._new_site())
            self._all(loop.tail, turns, None, None)
        self._site = around

    def _cond(self, cond: Cond, turns: Turns) -> None:
        condition, at = self.device.condition(), self._next_case
        for word, number, _ in cond.cases:
            row = self.address(word.place, turns), int(number is not None), number or 0
            self._image[self._next_case : self._next_case + 3] = row
            self._next_case += 3
        self._steer("select", self._table + 8 * at, len(cond.cases), condition)
        branches = [branch for _, _, branch in cond.cases] + ([cond.otherwise] if cond.otherwise else [])
        for body, branch in zip(
            self.device.branch("switch", condition, len(branches)), branches, strict=True
        ):
            with self._inside(body):
                self._all(branch, turns, None, None)

    @contextlib.contextmanager
    def _inside(self, body: Any) -> Iterator[None]:
        self.device.begin_body(body)
        yield
        self.device.end_body()

    def _new_site(self) -> int:
        self._sites += 1
        self._site = self._sites
        return self._site

    def _word(self, beginning: int, terms: tuple[Term, ...]) -> int:
        """The address of the word that tells, in each turn, what a beginning has become."""
        steering = self._steering
        assert steering is not None
        key = self._site, beginning, terms
        word = self._found.get(key)
        if word is None:
            number = len(self._found)
            word = self._found[key] = steering.first_word + number
            row = [self._site, word, beginning, len(terms)]
            for term in terms:
                row += [steering.loops[term.loop], term.step, term.swing, term.ends]
            at = steering.rows + 1 + number * ROW
            self._image[at : at + len(row)] = row
            self._image[steering.rows] = number + 1
        return self._table + 8 * word

    def _steer(self, name: str, *args: int) -> None:
        self.device.launch(self._steers[name], args)
