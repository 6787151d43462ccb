"""Object files to code in memory, without LLVM: so a process whose code is in the cache starts without it.

What LLVM makes of our text for x86-64 is the plainest kind of object there is: read-only sections, and words in them
that are to hold addresses. Of anything else `load` says None, and LLVM's own loader does it.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["Loaded", "load"]

# Of ELF, 64 bit, little endian. A section: name, type, flags, address, offset, size, link, info, alignment, entry size.
_HEAD = b"\x7fELF\x02\x01"
_X86_64 = 62
_SECTION, _SYMBOL, _RELOCATION = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ"), struct.Struct("<QQq")
_PROGRAM, _SYMBOLS, _ADDENDS, _REL, _UNWIND = 1, 2, 4, 9, 0x70000001
_WRITABLE, _IN_MEMORY, _THREAD = 0x1, 0x2, 0x400
_ADDRESS = 1  # R_X86_64_64: the word is the symbol's address and the addend
_GLOBAL = 1


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


class _Object:
    """One object: its sections that are to be in memory, where they shall be, and what it wants to know."""

    def __init__(self, data: bytes) -> None:
        if data[:6] != _HEAD or struct.unpack_from("<H", data, 18)[0] != _X86_64:
            raise _Strange
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        if size != _SECTION.size:
            raise _Strange
        self.data = data
        self.sections = [_SECTION.unpack_from(data, table + size * number) for number in range(count)]
        self.places: dict[int, int] = {}

    def lay(self, end: int) -> int:
        """Places the sections behind `end`; returns where they end."""
        for number, (_, kind, flags, _, _, size, _, _, alignment, _) in enumerate(self.sections):
            if not flags & _IN_MEMORY or kind == _UNWIND or not size:
                continue
            if kind != _PROGRAM or flags & (_WRITABLE | _THREAD) or alignment > mmap.PAGESIZE:
                raise _Strange
            end = -(-end // max(1, alignment)) * max(1, alignment)
            self.places[number] = end
            end += size
        return end

    def define(self, start: int) -> dict[str, int]:
        """Finds out what the symbols are, in memory that begins at `start`; returns the global ones of its own."""
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
                    address = start + self.places[section] + value
                    self.symbols.append(address)
                    if info >> 4 == _GLOBAL:
                        own[name] = address
                else:
                    # Of another object or the process; or nothing that anybody asks for.
                    self.symbols.append(name if section == 0 else "")
        return own

    def copy(self, memory: memoryview) -> None:
        """Puts the sections into memory, and the addresses of symbols into them."""
        for number, place in self.places.items():
            offset, size = self.sections[number][4:6]
            memory[place : place + size] = self.data[offset : offset + size]
        for _, kind, _, _, offset, size, _, into, _, _ in self.sections:
            if into not in self.places or kind not in (_ADDENDS, _REL):
                continue
            if kind == _REL:
                raise _Strange
            for at in range(offset, offset + size, _RELOCATION.size):
                where, info, addend = _RELOCATION.unpack_from(self.data, at)
                if info & 0xFFFFFFFF != _ADDRESS or where + 8 > self.sections[into][5]:
                    raise _Strange
                symbol = self.symbols[info >> 32]
                address = _of_process(symbol) if isinstance(symbol, str) else symbol
                struct.pack_into("<Q", memory, self.places[into] + where, address + addend & (1 << 64) - 1)


def load(objects: Sequence[bytes]) -> Loaded | None:
    """Loads objects that need nothing of one another; None if they are not of the plain kind."""
    try:
        found = [_Object(data) for data in objects]
        end = 0
        for one in found:
            end = one.lay(end)
        memory = mmap.mmap(-1, max(1, end), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        hold = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(hold)
        symbols: dict[str, int] = {}
        for one in found:
            symbols.update(one.define(start))
        with memoryview(memory) as view:
            for one in found:
                one.copy(view)
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if protect(start, len(memory), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise _Strange
    except (_Strange, struct.error, AttributeError, IndexError):
        return None
    return Loaded(memory, hold, symbols)


@functools.cache
def _of_process(name: str) -> int:
    """The address of a C function that this process has."""
    try:
        return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise _Strange from None
