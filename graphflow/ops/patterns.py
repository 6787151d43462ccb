"""Regular expressions as RE2 knows them, searched in time that is bounded whatever the pattern.

A pattern becomes a tree. Most trees are handed to Python's engine, which tries one way after another; where that could
take more than a few million steps (repetitions in repetitions, or many in a row over a long text), all ways are
followed at once instead: the steps are at most the size of the text times the size of the pattern.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from graphflow.errors import InvalidArgumentError

Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_DEEPEST = 150  # groups in groups
_MOST = 1000  # repetitions, as in RE2
_LARGEST = 20_000  # instructions of a machine
_STEPS = 3_000_000  # that Python's engine may take
_CASED = 0x590  # small letters and capitals are looked for below


@dataclass(frozen=True)
class _Set:
    """One letter out of some ranges."""

    ranges: Ranges


@dataclass(frozen=True)
class _Edge:
    """A place between letters: the start or end of the text or of a line, or of a word, or none of a word."""

    kind: str


@dataclass(frozen=True)
class _Row:
    """One thing after another."""

    parts: tuple[_Tree, ...]


@dataclass(frozen=True)
class _Choice:
    """One of several things, the first ones rather."""

    parts: tuple[_Tree, ...]


@dataclass(frozen=True)
class _Repeat:
    """A thing several times, as often (greedy) or as seldom as may be."""

    part: _Tree
    least: int
    most: int | None
    greedy: bool


@dataclass(frozen=True)
class _Group:
    """A thing whose place is kept under a number."""

    part: _Tree
    number: int


_Tree = _Set | _Edge | _Row | _Choice | _Repeat | _Group


def _sorted(ranges: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> Ranges:
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = result[-1][0], max(result[-1][1], high)
        else:
            result.append((low, high))
    return tuple(result)


def _others(ranges: Ranges) -> Ranges:
    """All letters outside of some ranges."""
    result, at = [], 0
    for low, high in ranges:
        if low > at:
            result.append((at, low - 1))
        at = high + 1
    if at <= _LAST:
        result.append((at, _LAST))
    return tuple(result)


def _range_of(text: str) -> Ranges:
    return _sorted([(ord(a), ord(b)) for a, b in zip(text[::2], text[1::2], strict=True)])


_DIGIT, _WORD, _SPACE = _range_of("09"), _range_of("09AZ__az"), _range_of("\t\n\f\r  ")
_BY_LETTER = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_BY_NAME = {
    "alnum": _range_of("09AZaz"), "alpha": _range_of("AZaz"), "ascii": _range_of("\0\x7f"),
    "blank": _range_of("\t\t  "),
    "cntrl": _range_of("\0\x1f\x7f\x7f"), "digit": _DIGIT, "graph": _range_of("!~"), "lower": _range_of("az"),
    "print": _range_of(" ~"), "punct": _range_of("!/:@[`{~"), "space": _range_of("\t\r  "), "upper": _range_of("AZ"),
    "word": _WORD, "xdigit": _range_of("09AFaf"),
}  # fmt: skip
_CONTROL = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_EDGES = {"A": "start", "z": "end", "b": "word", "B": "inside"}


@functools.lru_cache(maxsize=64)
def _category(name: str) -> Ranges | None:
    """The letters of a general category of Unicode, such as "L" or "Nd"; None: there is none of this name."""
    result: list[tuple[int, int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)).startswith(name):
            if result and result[-1][1] == code - 1:
                result[-1] = result[-1][0], code
            else:
                result.append((code, code))
    return tuple(result) or None


def _of_any_case(ranges: Ranges) -> Ranges:
    more = list(ranges)
    for low, high in ranges:
        for code in range(low, min(high, _CASED) + 1):
            own = chr(code)
            more += [(ord(c), ord(c)) for c in (own.lower(), own.upper()) if len(c) == 1]
    for small, other in (("k", 0x212A), ("s", 0x17F)):
        if any(low <= ord(small) <= high for low, high in more):
            more.append((other, other))
    return _sorted(more)


class _Parser:
    """Reads a pattern; what RE2 does not know is refused."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self.groups = 0
        self._names: set[str] = set()

    def refuse(self, what: str) -> InvalidArgumentError:
        shown = self._text.encode("utf-8", "surrogateescape").decode(errors="replace")
        return InvalidArgumentError(None, None, f"Invalid pattern: {shown}, error: {what}")

    def parse(self) -> _Tree:
        tree = self._choice("")
        if self._at < len(self._text):
            raise self.refuse("unexpected )")
        return tree

    def _ahead(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        if not self._ahead(text):
            return False
        self._at += len(text)
        return True

    def _letter(self, inside: str) -> str:
        if self._at == len(self._text):
            raise self.refuse(f"missing {inside}")
        self._at += 1
        return self._text[self._at - 1]

    def _choice(self, flags: str) -> _Tree:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.refuse("it nests too deeply")
        parts: list[_Tree] = []
        row: list[_Tree] = []
        while self._at < len(self._text) and not self._ahead(")"):
            if self._take("|"):
                parts.append(_Row(tuple(row)))
                row = []
            elif self._ahead("(?") and (changed := self._flags(flags)) is not None:
                flags = changed
            else:
                row += self._repeated(flags)
        self._depth -= 1
        parts.append(_Row(tuple(row)))
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _flags(self, flags: str) -> str | None:
        """The flags from here on, where nothing but flags stands in a parenthesis."""
        found = re.compile(r"\(\?([imsU]*)(-[imsU]+)?\)").match(self._text, self._at)
        if found is None or found[0] == "(?)":
            return None
        self._at = found.end()
        return "".join((set(flags) | set(found[1])) - set(found[2] or ""))

    def _repeated(self, flags: str) -> list[_Tree]:
        parts = self._one(flags)
        operators = 0
        while bounds := self._bounds():
            operators += 1
            least, most = bounds
            if operators > 1:
                raise self.refuse("bad repetition operator")
            if not parts:
                raise self.refuse("no argument for repetition operator")
            if most is not None and least > most or max(least, most or 0) > _MOST:
                raise self.refuse("invalid repetition size")
            lazy = self._take("?")
            parts = [*parts[:-1], _Repeat(parts[-1], least, most, lazy == ("U" in flags))]
        return parts

    def _bounds(self) -> tuple[int, int | None] | None:
        for text, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(text):
                return bounds
        found = re.compile(r"\{(\d{1,9})(,(\d{0,9}))?\}").match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        least = int(found[1])
        return least, least if found[2] is None else int(found[3]) if found[3] else None

    def _one(self, flags: str) -> list[_Tree]:
        letter = self._letter("a letter")
        if letter == "(":
            return [self._group(flags)]
        if letter == "[":
            return [self._class(flags)]
        if letter == ".":
            return [_Set(((0, _LAST),) if "s" in flags else _others(((10, 10),)))]
        if letter == "^":
            return [_Edge("line start" if "m" in flags else "start")]
        if letter == "$":
            return [_Edge("line end" if "m" in flags else "end")]
        if letter in "*+?":
            raise self.refuse(f"no argument for repetition operator: {letter}")
        if letter != "\\":
            return [self._cased(((ord(letter), ord(letter)),), flags)]
        if self._ahead("Q"):
            start = self._at + 1
            stop = self._text.find("\\E", start)
            quoted = self._text[start:] if stop < 0 else self._text[start:stop]
            self._at = len(self._text) if stop < 0 else stop + 2
            return [self._cased(((ord(c), ord(c)),), flags) for c in quoted]
        if self._at < len(self._text) and self._text[self._at] in _EDGES:
            return [_Edge(_EDGES[self._letter("a letter")])]
        return [self._cased(self._escape(), flags)]

    def _cased(self, ranges: Ranges, flags: str) -> _Set:
        return _Set(_of_any_case(ranges) if "i" in flags else ranges)

    def _group(self, flags: str) -> _Tree:
        number = 0
        found = re.compile(r"\?(?:P?<(\w+)>|([imsU]*)(?:-([imsU]+))?:)").match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            if found[1] is None:
                flags = "".join((set(flags) | set(found[2])) - set(found[3] or ""))
            elif found[1] in self._names:
                raise self.refuse(f"duplicate capture group name: {found[1]}")
            else:
                self._names.add(found[1])
        elif self._ahead("?"):
            raise self.refuse(f"invalid perl operator: ({self._text[self._at : self._at + 3]}")
        if found is None or found[1] is not None:
            self.groups += 1
            number = self.groups
        part = self._choice(flags)
        if not self._take(")"):
            raise self.refuse("missing )")
        return _Group(part, number) if number else part

    def _escape(self) -> Ranges:
        """What stands behind a backslash, inside of brackets or not."""
        if self._at == len(self._text):
            raise self.refuse("trailing \\")
        letter = self._letter("a letter")
        if letter.lower() in _BY_LETTER:
            ranges = _BY_LETTER[letter.lower()]
            return ranges if letter.islower() else _others(ranges)
        if letter in "pP":
            name = self._letter("a category")
            if name == "{":
                stop = self._text.find("}", self._at)
                name = self._text[self._at : stop] if stop >= 0 else ""
                self._at = max(stop + 1, self._at)
            negated = (letter == "P") != name.startswith("^")
            plain = name.removeprefix("^")
            ranges_of = ((0, _LAST),) if plain == "Any" else _category(plain) if plain else None
            if ranges_of is None:
                raise self.refuse(f"invalid character class range: \\{letter}{{{name}}}")
            return _others(ranges_of) if negated else ranges_of
        code = -1
        if letter == "x":
            found = re.compile(r"\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{2})").match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                code = int(found[1] or found[2], 16)
        elif letter in "01234567" and (
            letter == "0" or re.match("[0-7]", self._text[self._at : self._at + 1])
        ):
            found = re.compile("[0-7]{0,2}").match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            code = int(letter + found[0], 8)
        elif letter in _CONTROL:
            code = _CONTROL[letter]
        elif ord(letter) < 128 and not letter.isalnum():
            code = ord(letter)
        if not 0 <= code <= _LAST:
            raise self.refuse(f"invalid escape sequence: \\{letter}")
        return ((code, code),)

    def _class(self, flags: str) -> _Set:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._ahead("]"):
            first = False
            named = re.compile(r"\[:(\^?)(\w+):\]").match(self._text, self._at)
            if named is not None:
                if named[2] not in _BY_NAME:
                    raise self.refuse(f"invalid character class range: {named[0]}")
                self._at = named.end()
                ranges += _others(_BY_NAME[named[2]]) if named[1] else _BY_NAME[named[2]]
                continue
            low = self._member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._ahead("-") and not self._ahead("-]"):
                self._at += 1
                high = self._member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self.refuse("invalid character class range")
                low = ((low[0][0], high[0][0]),)
            ranges += low
        self._at += 1
        own = _sorted(ranges)
        own = _of_any_case(own) if "i" in flags else own
        return _Set(_others(own) if negated else own)

    def _member(self) -> Ranges:
        letter = self._letter("closing ]")
        return self._escape() if letter == "\\" else ((ord(letter), ord(letter)),)


# ---------------------------------------------------------------------------- for Python's engine


_EDGE_TEXTS = {
    "start": r"\A", "end": r"\Z", "word": r"\b", "inside": r"\B", "line start": "(?m:^)", "line end": "(?m:$)",
}  # fmt: skip


def _written(tree: _Tree) -> str:
    """The tree as a pattern of Python's."""
    match tree:
        case _Set(ranges):
            # Bytes that are no UTF-8 stand as surrogates: no letter of any kind.
            kept = [
                r
                for low, high in ranges
                for r in ((low, min(high, 0xD7FF)), (max(low, 0xE000), high))
                if r[0] <= r[1]
            ]
            inner = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in kept)
            return f"[{inner}]" if inner else "(?!)"
        case _Edge(kind):
            return _EDGE_TEXTS[kind]
        case _Row(parts):
            return "".join(map(_written, parts))
        case _Choice(parts):
            return f"(?:{'|'.join(map(_written, parts))})"
        case _Group(part, _):
            return f"({_written(part)})"
        case _Repeat(part, least, most, greedy):
            return f"(?:{_written(part)}){{{least},{'' if most is None else most}}}{'' if greedy else '?'}"


def _open_choices(tree: _Tree) -> int:
    """How many repetitions leave open how often, one after another; many, where one holds another or a choice."""
    match tree:
        case _Row(parts) | _Choice(parts):
            return sum(map(_open_choices, parts)) + isinstance(tree, _Choice)
        case _Group(part, _):
            return _open_choices(part)
        case _Repeat(part, least, most, _):
            inner = _open_choices(part)
            if most is not None and most <= 1:
                return inner + 1
            return 99 if inner else int(most != least)
    return 0


# ---------------------------------------------------------------------------- all ways at once

_Code = list[tuple[str, int, int, Ranges | str]]


def _compiled(tree: _Tree, code: _Code, refuse: Callable[[str], Exception]) -> None:
    """Appends the instructions of a tree: letter, edge, save, fork (to the first rather), jump."""
    if len(code) > _LARGEST:
        raise refuse("pattern too large - compile failed")
    match tree:
        case _Set(ranges):
            code.append(("letter", 0, 0, ranges))
        case _Edge(kind):
            code.append(("edge", 0, 0, kind))
        case _Row(parts):
            for part in parts:
                _compiled(part, code, refuse)
        case _Group(part, number):
            code.append(("save", 2 * number, 0, ""))
            _compiled(part, code, refuse)
            code.append(("save", 2 * number + 1, 0, ""))
        case _Choice(parts):
            ends = []
            for part in parts[:-1]:
                fork = len(code)
                code.append(("fork", 0, 0, ""))
                _compiled(part, code, refuse)
                ends.append(len(code))
                code.append(("jump", 0, 0, ""))
                code[fork] = ("fork", fork + 1, len(code), "")
            _compiled(parts[-1], code, refuse)
            for end in ends:
                code[end] = ("jump", len(code), 0, "")
        case _Repeat(part, least, most, greedy):
            for _ in range(least):
                _compiled(part, code, refuse)
            forks = []
            for _ in range(1 if most is None else most - least):
                forks.append(len(code))
                code.append(("fork", 0, 0, ""))
                _compiled(part, code, refuse)
            if most is None:
                code.append(("jump", forks[0], 0, ""))
            for fork in forks:
                ways = (fork + 1, len(code)) if greedy else (len(code), fork + 1)
                code[fork] = ("fork", *ways, "")


def _is_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and (text[at] == "_" or text[at].isascii() and text[at].isalnum())


def _is_edge(kind: str, text: str, at: int) -> bool:
    if kind in ("word", "inside"):
        return (_is_word(text, at - 1) != _is_word(text, at)) == (kind == "word")
    if kind.endswith("start"):
        return at == 0 or kind == "line start" and text[at - 1] == "\n"
    return at == len(text) or kind == "line end" and text[at] == "\n"


Places = tuple[int, ...]


class Pattern:
    """A regular expression, for texts of bytes that hold UTF-8.

    Args:
      text: the pattern in RE2's syntax.

    Raises:
      InvalidArgumentError: RE2 does not know it either.

    Attributes:
      groups: how many groups it has.
    """

    def __init__(self, text: bytes) -> None:
        parser = _Parser(text.decode("utf-8", "surrogateescape"))
        self._tree = parser.parse()
        self.groups = parser.groups
        self._code: _Code = []
        # Both are made at once, so that a pattern that is too large is refused whatever the text.
        _compiled(_Group(self._tree, 0), self._code, parser.refuse)
        self._code.append(("found", 0, 0, ""))
        self._open = _open_choices(self._tree)
        self._quick = re.compile(_written(self._tree), re.ASCII) if self._open <= 4 else None

    def matches(self, text: bytes) -> bool:
        """Whether a text as a whole is one of those that the pattern describes."""
        letters = text.decode("utf-8", "surrogateescape")
        if self._quick is not None and len(letters) ** max(1, self._open) <= _STEPS:
            return self._quick.fullmatch(letters) is not None
        return self._search(letters, 0, whole=True) is not None

    def replaced(self, text: bytes, rewrite: tuple[bytes | int, ...], everywhere: bool) -> bytes:
        """A text with what the pattern finds replaced.

        Args:
          text: UTF-8.
          rewrite: what takes its place: texts, and numbers of groups.
          everywhere: whether everything that is found is replaced, not the first alone.
        """
        letters = text.decode("utf-8", "surrogateescape")
        result: list[bytes] = []
        at = copied = 0
        last = -1
        while at <= len(letters):
            found = self._found(letters, at)
            if found is None:
                break
            if found[0] == found[1] == last:  # nothing, just behind what was found before
                at += 1
                last = -1
                continue
            result.append(_bytes(letters[copied : found[0]]))
            result += [
                _bytes(letters[found[2 * part] : found[2 * part + 1]]) if isinstance(part, int) else part
                for part in rewrite
            ]
            copied = last = at = found[1]
            if not everywhere:
                break
            if found[0] == found[1]:
                at += 1
                last = -1
        result.append(_bytes(letters[copied:]))
        return b"".join(result)

    def _found(self, text: str, at: int) -> Places | None:
        if self._quick is not None and len(text) ** (self._open + 1) <= _STEPS:
            found = self._quick.search(text, at)
            return None if found is None else tuple(place for pair in found.regs for place in pair)
        return self._search(text, at, whole=False)

    def _search(self, text: str, start: int, whole: bool) -> Places | None:
        """The first place from `start` on where it is found, and of its groups; `whole`: it is all of the text."""
        nothing = (-1,) * (2 * self.groups + 2)
        best: Places | None = None
        threads: list[tuple[int, Places]] = []
        for at in range(start, len(text) + 1):
            if best is None and (at == start or not whole):
                seen = {where for where, _ in threads}
                threads += self._follow(0, nothing, text, at, seen)
            if not threads:
                break
            code = ord(text[at]) if at < len(text) else -1
            following: list[tuple[int, Places]] = []
            seen = set()
            for where, places in threads:
                what, _, _, ranges = self._code[where]
                if what == "found":
                    if whole and at < len(text):
                        continue
                    best = places
                    break  # what comes later in order is worse
                if _holds(ranges, code):
                    following += self._follow(where + 1, places, text, at + 1, seen)
            threads = following
        return best

    def _follow(
        self, where: int, places: Places, text: str, at: int, seen: set[int]
    ) -> list[tuple[int, Places]]:
        """The letters that may come next, the better ones first; `seen`: those that better ways led to."""
        result = []
        waiting = [(where, places)]
        while waiting:
            where, places = waiting.pop()
            if where in seen:
                continue
            seen.add(where)
            what, first, second, detail = self._code[where]
            if what == "fork":
                waiting += [(second, places), (first, places)]
            elif what == "jump":
                waiting.append((first, places))
            elif what == "save":
                waiting.append((where + 1, (*places[:first], at, *places[first + 1 :])))
            elif what == "edge":
                if _is_edge(str(detail), text, at):
                    waiting.append((where + 1, places))
            else:
                result.append((where, places))
        return result


def _holds(ranges: Ranges | str, code: int) -> bool:
    assert not isinstance(ranges, str)
    return not 0xD800 <= code <= 0xDFFF and any(low <= code <= high for low, high in ranges)


def _bytes(letters: str) -> bytes:
    return letters.encode("utf-8", "surrogateescape")


@functools.lru_cache(maxsize=256)
def pattern_of(text: bytes) -> Pattern:
    """The pattern that a text spells; the last ones are kept."""
    return Pattern(text)
