"""Several kernels as one launch: each has blocks of its own, and finds its arguments in a table on the device.

Kernels that differ in whole numbers alone (an optimizer's update of matrices of many sizes) are one piece of code, and
the numbers stand in the table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.backends.cache import digest
from graphflow.backends.cuda.kernel import CudaKernel, KernelParam
from graphflow.backends.cuda.scalar import MEMORY
from graphflow.records import dataclass

__all__ = ["MOST_KINDS", "MOST_SHARED", "JoinedKernel", "join"]

MOST_KINDS = 16
"""Different pieces of code of one launch."""

MOST_SHARED = 40 << 10
"""Bytes of shared memory that all of them may take: each has its own."""

_HEAD = re.compile(
    r'extern "C" __global__ void __launch_bounds__\(\d+, (\d+)\) \w+\(([^)]*)\) \{\n(.*)\}\n', re.S
)
_TOKEN = re.compile(r"[A-Za-z_]\w*|\.?\d(?:[eEpP][+-]|[\w.])*|\s+|.", re.S)
_FIRST, _KIND, _BLOCKS, _ARGS = range(4)  # where what stands in a row of the table


@dataclass(frozen=True, eq=False, slots=True)
class JoinedKernel:
    """What does the launches of several kernels.

    Attributes:
      kernel: it takes the address of the table and the number of its rows.
      parts: the kernels.
      kinds: which piece of code each part is.
      numbers: the whole numbers that each part's code lacks.
      width: words of a row.
    """

    kernel: CudaKernel
    parts: tuple[CudaKernel, ...]
    kinds: tuple[int, ...]
    numbers: tuple[tuple[int, ...], ...]
    width: int

    @property
    def words(self) -> int:
        """Words of the table."""
        return len(self.parts) * self.width

    def table(self, arguments: Sequence[Sequence[int]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The table for the arguments of each part."""
        table = np.zeros((len(self.parts), self.width), np.int64)
        first = 0
        rows = zip(table, self.parts, arguments, self.kinds, self.numbers, strict=True)
        for row, part, given, kind, numbers in rows:
            grid, _ = part.geometry(given)
            row[:_ARGS] = first, kind, grid
            row[_ARGS : _ARGS + len(given)] = given
            row[_ARGS + len(given) : _ARGS + len(given) + len(numbers)] = numbers
            first += grid
        return table.reshape(-1)

    def blocks(self, table: np.ndarray[Any, np.dtype[np.int64]]) -> int:
        """The blocks of a launch with a table."""
        last = table[-self.width :]
        return int(last[_FIRST] + last[_BLOCKS])


def join(parts: Sequence[CudaKernel]) -> JoinedKernel:
    """The kernels as one. They must not depend on one another: their blocks run in any order.

    Raises ValueError for more kinds of code, or shared memory, than one kernel can have.
    """
    split = [_split(part) for part in parts]
    shapes: dict[tuple[Any, ...], list[int]] = {}
    for number, (part, (_, tokens, free)) in enumerate(zip(parts, split, strict=True)):
        text = tuple(["#" if at in free else token for at, token in enumerate(tokens)])
        held = tuple([(param.kind, param.dtype, param.access) for param in part.params])
        shapes.setdefault((held, part.wide, text), []).append(number)
    shared = sum(parts[members[0]].shared for members in shapes.values())
    if len(shapes) > MOST_KINDS or shared > MOST_SHARED:
        raise ValueError(
            f"{len(shapes)} kinds of code with {shared} bytes of shared memory are too much for a kernel"
        )
    kinds, numbers = [0] * len(parts), [()] * len(parts)  # type: list[int], list[tuple[int, ...]]
    functions, cases, bounds = [], [], []
    for kind, members in enumerate(shapes.values()):
        part, (bound, tokens, free) = parts[members[0]], split[members[0]]
        bounds.append(bound)
        differing = [at for at in free if len({split[m][1][at] for m in members}) > 1]
        for member in members:
            kinds[member] = kind
            numbers[member] = tuple([int(split[member][1][at]) for at in differing])
        body = list(tokens)
        for place, at in enumerate(differing):
            body[at] = f"gf_number_{place}"
        long = any(abs(number) >= 1 << 31 for member in members for number in numbers[member])
        functions.append(
            _function(kind, part, "".join(body), len(differing), "i64" if part.wide or long else "i32")
        )
        cases.append(f"    case {kind}: gf_part_{kind}(gf_row, blockIdx.x - (u32)gf_row[{_FIRST}]); break;")
    width = _ARGS + max(len(part.params) + len(own) for part, own in zip(parts, numbers, strict=True))
    rest = _MAIN.format(width=width, cases="\n".join(cases))
    pieces = "\n".join(functions)
    symbol = f"gf_{digest(pieces, rest)[:24]}"
    pieces = pieces.replace("gf_part_", f"{symbol}_")
    head = f'extern "C" __global__ void __launch_bounds__({parts[0].block}, {min(bounds)}) {symbol}'
    body_ = f"{pieces}\n{head}{rest.replace('gf_part_', f'{symbol}_')}"
    params = (KernelParam("gf_table", "pointer", "i64"), KernelParam("gf_parts", "int", "i64"))
    promises = frozenset.intersection(*(part.promises for part in parts))
    kernel = CudaKernel(
        symbol, body_, params, parts[0].block, (), any(p.wide for p in parts), shared, promises
    )
    return JoinedKernel(kernel, tuple(parts), tuple(kinds), tuple(numbers), width)


def _split(part: CudaKernel) -> tuple[int, list[str], list[int]]:
    """The blocks that a kernel wants on a multiprocessor, the tokens of its body, and which are numbers like others.

    Numbers that the compiler has to know are none of them: extents of arrays, arguments of templates, pragmas.
    """
    found = _HEAD.fullmatch(part.body)
    assert found is not None, part.body
    bound, _, body = found.groups()
    tokens: list[str] = _TOKEN.findall(body)
    free: list[int] = []
    inside, fixed = 0, False
    for at, token in enumerate(tokens):
        if "\n" in token:
            fixed = False
        elif token == "__shared__" or token == "#":
            fixed = True
        elif (
            token == "<" and at and tokens[at - 1] in ("Pack", "gf_load", "gf_store", "gf_bits", "gf_to_int")
        ):
            inside += 1
        elif token == ">" and inside:
            inside -= 1
        elif token.isdecimal() and not fixed and not inside:
            free.append(at)
    return int(bound), tokens, free


def _function(kind: int, part: CudaKernel, body: str, numbers: int, number: str) -> str:
    """A kernel's body as a function that takes its arguments from a row of the table."""
    lines = [
        f"static __device__ __forceinline__ void gf_part_{kind}(const i64* gf_row, const u32 gf_block) {{"
    ]
    lines.append(f"  const u32 gf_grid = (u32)gf_row[{_BLOCKS}];")
    found = _HEAD.fullmatch(part.body)
    assert found is not None
    declared = [one.strip() for one in found[2].split(",")]
    for place, (param, text) in enumerate(zip(part.params, declared, strict=True)):
        type_, name = text.rsplit(" ", 1)
        if param.kind == "pointer":
            leads = f"{'const ' if type_.startswith('const ') else ''}{MEMORY[param.dtype]}*"
            lines.append(f"  {leads} const {name} = ({leads})gf_row[{_ARGS + place}];")
        else:
            lines.append(f"  const i64 {name} = gf_row[{_ARGS + place}];")
    for place in range(numbers):
        at = _ARGS + len(part.params) + place
        lines.append(f"  const {number} gf_number_{place} = ({number})gf_row[{at}];")
    inner = body.replace("blockIdx.x", "gf_block").replace("gridDim.x", "gf_grid")
    return "\n".join(lines) + f"\n{inner}}}\n"


_MAIN = """(const i64* gf_table, i64 gf_parts) {{
  u32 gf_low = 0, gf_high = (u32)gf_parts;
  while (gf_high - gf_low > 1) {{
    const u32 gf_middle = (gf_low + gf_high) / 2;
    if (gf_table[(i64)gf_middle * {width}] <= (i64)blockIdx.x) gf_low = gf_middle;
    else gf_high = gf_middle;
  }}
  const i64* const gf_row = gf_table + (i64)gf_low * {width};
  switch ((u32)gf_row[1]) {{
{cases}
  }}
}}
"""
