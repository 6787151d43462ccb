"""Object files to code in memory, without LLVM: so a process whose code is in the cache starts without it.

All that is loaded at once lies in one block of memory, constants beside the code that reads them. So code may reach
everything by 32-bit distances from where it stands (LLVM's small code model), where LLVM's own loader, which puts
sections anywhere, needs a 64-bit address made in a register for each constant. What the process has may lie far away:
for each such function there is an entry at the end of the block, its address and a jump to it.

What LLVM makes of our text for x86-64 Linux is plain: read-only sections, and words in them that are to hold addresses
or distances. Of anything else `load` says None, and LLVM's own loader does it.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from graphflow.backends.cpu.target import Target
from graphflow.records import dataclass

__all__ = ["Loaded", "is_for", "load"]

# Of ELF, 64 bit, little endian. A section: name, type, flags, address, offset, size, link, info, alignment, entry size.
_HEAD = b"\x7fELF\x02\x01"
_X86_64 = 62
_SECTION, _SYMBOL, _RELOCATION = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ"), struct.Struct("<QQq")
_PROGRAM, _SYMBOLS, _ADDENDS, _REL, _UNWIND = 1, 2, 4, 9, 0x70000001
_WRITABLE, _IN_MEMORY, _THREAD = 0x1, 0x2, 0x400
_GLOBAL = 1
_CONSTANTS = b".data.rel.ro"  # is written to until the addresses in it are known, and by nobody later
# What a word is to hold (R_X86_64_...): the symbol's address; its distance from the word, in 32 or 64 bits; the
# distance of a function, which may be reached by its entry's jump (PLT32); that of an entry (GOTPCREL and its kin).
_ADDRESS, _DISTANCES, _CALL, _ENTRIES = 1, (2, 24), 4, (9, 41, 42)
_WIDE = (1, 24)
# An entry: an address, and a jump to where it says.
_ENTRY, _JUMP_AT = struct.Struct("<Q6s2x"), 8
_JUMP = b"\xff\x25\xf2\xff\xff\xff"  # jmp *-14(%rip)


class Loaded:
    """Code in memory, which stays as long as this. `symbols`: the addresses of what the objects define."""

    def __init__(self, memory: mmap.mmap, hold: Any, symbols: dict[str, int]) -> None:
        self.symbols = symbols
        self._memory, self._hold = memory, hold

    def address(self, symbol: str) -> int:
        """Where a function is; 0 if there is none of this name."""
        return self.symbols.get(symbol, 0)


class _Strange(Exception):
    """Something else than the plainest kind of object."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What is to be filled in: where, what kind of address or distance, of which symbol, and what is added.

    A symbol is a place in memory, or the name of something that the process has.
    """

    where: int
    kind: int
    symbol: int | str
    addend: int

    @property
    def by_entry(self) -> bool:
        """Whether it is reached by way of an entry."""
        return self.kind in _ENTRIES or (self.kind == _CALL and isinstance(self.symbol, str))


class _Object:
    """One object: its sections that are to be in memory, where they shall be, and what it wants to know.

    Places count from the beginning of the memory.
    """

    def __init__(self, data: bytes) -> None:
        if data[:6] != _HEAD or struct.unpack_from("<H", data, 18)[0] != _X86_64:
            raise _Strange
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        if size != _SECTION.size:
            raise _Strange
        self.data = data
        self.sections = [_SECTION.unpack_from(data, table + size * number) for number in range(count)]
        self.names = self.sections[names][4]
        self.places: dict[int, int] = {}

    def lay(self, end: int) -> int:
        """Places the sections behind `end`; returns where they end."""
        for number, (name, kind, flags, _, _, size, _, _, alignment, _) in enumerate(self.sections):
            if not flags & _IN_MEMORY or kind == _UNWIND or not size:
                continue
            if flags & _WRITABLE and self.data.startswith(_CONSTANTS, self.names + name):
                flags &= ~_WRITABLE
            if kind != _PROGRAM or flags & (_WRITABLE | _THREAD) or alignment > mmap.PAGESIZE:
                raise _Strange
            end = -(-end // max(1, alignment)) * max(1, alignment)
            self.places[number] = end
            end += size
        return end

    def define(self) -> dict[str, int]:
        """Finds out what the symbols are, when all is laid; returns the places of the global ones of its own."""
        self.symbols: list[int | str] = []
        own = {}
        for _, kind, _, _, offset, size, link, _, _, _ in self.sections:
            if kind != _SYMBOLS:
                continue
            names = self.sections[link][4]
            for at in range(offset, offset + size, _SYMBOL.size):
                name_at, info, _, section, value, _ = _SYMBOL.unpack_from(self.data, at)
                name = self.data[names + name_at : self.data.index(0, names + name_at)].decode()
                if section in self.places:
                    place = self.places[section] + value
                    self.symbols.append(place)
                    if info >> 4 == _GLOBAL:
                        own[name] = place
                else:
                    # Of another object or the process; or nothing that anybody asks for.
                    self.symbols.append(name if section == 0 else "")
        return own

    def words(self) -> list[_Word]:
        """The words to fill in, when the symbols are known."""
        found = []
        for _, kind, _, _, offset, size, _, into, _, _ in self.sections:
            if into not in self.places or kind not in (_ADDENDS, _REL):
                continue
            if kind == _REL:
                raise _Strange
            for at in range(offset, offset + size, _RELOCATION.size):
                where, info, addend = _RELOCATION.unpack_from(self.data, at)
                what = info & 0xFFFFFFFF
                if where + (8 if what in _WIDE else 4) > self.sections[into][5]:
                    raise _Strange
                found.append(_Word(self.places[into] + where, what, self.symbols[info >> 32], addend))
        return found

    def copy(self, memory: memoryview) -> None:
        """Puts the sections into memory."""
        for number, place in self.places.items():
            offset, size = self.sections[number][4:6]
            memory[place : place + size] = self.data[offset : offset + size]


def is_for(target: Target) -> bool:
    """Whether objects for a machine are loaded here, if it is this one."""
    return sys.platform == "linux" and target.triple.startswith("x86_64") and "linux" in target.triple


def load(objects: Sequence[bytes]) -> Loaded | None:
    """Loads objects that need nothing of one another; None if they are not of the plain kind."""
    try:
        found = [_Object(data) for data in objects]
        end = 0
        for one in found:
            end = one.lay(end)
        places: dict[str, int] = {}
        for one in found:
            places.update(one.define())
        words = [word for one in found for word in one.words()]
        entries: dict[int | str, int] = {}
        end = -(-end // _ENTRY.size) * _ENTRY.size
        for word in words:
            if word.by_entry and word.symbol not in entries:
                entries[word.symbol] = end
                end += _ENTRY.size
        memory = mmap.mmap(-1, max(1, end), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        hold = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(hold)
        with memoryview(memory) as view:
            for one in found:
                one.copy(view)
            for symbol, place in entries.items():
                _ENTRY.pack_into(view, place, _address(symbol, start), _JUMP)
            for word in words:
                _fill(view, word, start, entries)
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if protect(start, len(memory), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise _Strange
    except (_Strange, struct.error, AttributeError, IndexError):
        return None
    return Loaded(memory, hold, {name: start + place for name, place in places.items()})


def _fill(memory: memoryview, word: _Word, start: int, entries: Mapping[int | str, int]) -> None:
    if word.kind == _ADDRESS:
        value = _address(word.symbol, start) + word.addend & (1 << 64) - 1
        struct.pack_into("<Q", memory, word.where, value)
        return
    if word.by_entry:
        place = entries[word.symbol] + (_JUMP_AT if word.kind == _CALL else 0)
    elif isinstance(word.symbol, int) and word.kind in (_CALL, *_DISTANCES):
        place = word.symbol
    else:
        raise _Strange
    form = "<q" if word.kind in _WIDE else "<i"
    struct.pack_into(form, memory, word.where, place + word.addend - word.where)


def _address(symbol: int | str, start: int) -> int:
    return start + symbol if isinstance(symbol, int) else _of_process(symbol)


@functools.cache
def _of_process(name: str) -> int:
    """The address of a C function that this process has."""
    try:
        return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise _Strange from None
