"""Library calls as code: launches, packs and scratch, and how they are kept on disk.

Writing a call's text takes longer than loading its object. So what was written is kept beside the objects, under what
it was written from: the call, the target, and the sources that write.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from graphflow.backends.cache import ObjectCache, digest, digest_of_sources
from graphflow.backends.cpu.target import Target
from graphflow.loops.library import Call, Size
from graphflow.loops.library import digest as digest_of_call
from graphflow.records import dataclass

__all__ = [
    "Argument",
    "BufferArgument",
    "Launch",
    "LibraryCode",
    "Pack",
    "SizeArgument",
    "Workspace",
    "as_text",
    "code_of",
    "from_text",
]


@dataclass(frozen=True, slots=True)
class BufferArgument:
    """The address of an operand, result or workspace, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class SizeArgument:
    """An i64 computed from run-time sizes."""

    size: Size


Argument = BufferArgument | SizeArgument


@dataclass(frozen=True, slots=True)
class Launch:
    """One phase of a library call: a function `symbol(ptr args, i64 part, i64 parts)`; phases end in a
    barrier.
    """

    symbol: str
    text: str
    arguments: tuple[Argument, ...]
    parallel: bool


@dataclass(frozen=True, slots=True)
class Workspace:
    """Scratch memory, 64-byte aligned; `bytes` may speak of "parts", the greatest number of threads of a
    launch.
    """

    name: str
    bytes: Size


@dataclass(frozen=True, slots=True)
class Pack:
    """One operand in the order in which a call reads it: made before the call's own launches, which read `name`.

    The launches read `operand` and nothing else, and write the `bytes` of `name`, 64-byte aligned. Packs of one
    `key` make the same of the same operand, whichever call asks for them: one serves all these calls, and later
    runs too as long as the operand stays as it is. `panels`: the columns of the operand and of a panel, where
    what is made is the operand as a variable may be stored.
    """

    operand: str
    name: str
    bytes: Size
    key: str
    launches: tuple[Launch, ...]
    panels: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LibraryCode:
    """A library call as code: what it makes of single operands, phases in order, and the scratch they share."""

    launches: tuple[Launch, ...]
    workspaces: tuple[Workspace, ...]
    packs: tuple[Pack, ...] = ()

    @property
    def sequence(self) -> tuple[Launch, ...]:
        """The launches of packs and phases, as they run if nothing is shared."""
        return (*(launch for pack in self.packs for launch in pack.launches), *self.launches)


def code_of(call: Call, target: Target, cache: ObjectCache) -> LibraryCode:
    """The code of a library call, from the disk or written now."""
    key = digest("library call", digest_of_call(call), target.key, digest_of_sources("backends/cpu", "loops"))
    kept = cache.get(key)
    if kept is not None:
        return from_text(kept)
    # What writes is large, and not loaded where all is on the disk.
    written: LibraryCode = importlib.import_module("graphflow.backends.cpu.contraction").emit(call, target)
    cache.put(key, as_text(written))
    return written


def as_text(code: LibraryCode) -> bytes:
    """Code as JSON."""
    packs = [
        (pack.operand, pack.name, pack.bytes.terms, pack.key, list(map(_listed, pack.launches)), pack.panels)
        for pack in code.packs
    ]
    spaces = [(space.name, space.bytes.terms) for space in code.workspaces]
    return json.dumps([list(map(_listed, code.launches)), spaces, packs]).encode()


def from_text(text: bytes) -> LibraryCode:
    """The code that `as_text` has written."""
    launches, spaces, packs = json.loads(text)
    return LibraryCode(
        _launches(launches),
        tuple([Workspace(name, _size(terms)) for name, terms in spaces]),
        tuple(
            [
                Pack(
                    operand,
                    name,
                    _size(terms),
                    key,
                    _launches(own),
                    None if panels is None else tuple(panels),
                )
                for operand, name, terms, key, own, panels in packs
            ]
        ),
    )


def _listed(launch: Launch) -> tuple[Any, ...]:
    arguments = [
        argument.name if isinstance(argument, BufferArgument) else argument.size.terms
        for argument in launch.arguments
    ]
    return launch.symbol, launch.text, arguments, launch.parallel


def _launches(listed: list[Any]) -> tuple[Launch, ...]:
    return tuple(
        [
            Launch(
                symbol,
                text,
                tuple(
                    [BufferArgument(a) if isinstance(a, str) else SizeArgument(_size(a)) for a in arguments]
                ),
                parallel,
            )
            for symbol, text, arguments, parallel in listed
        ]
    )


def _size(terms: list[Any]) -> Size:
    return Size(tuple([(factor, tuple(names)) for factor, names in terms]))
