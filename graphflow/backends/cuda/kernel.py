"""What a compiled kernel looks like to whoever launches it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from graphflow import config
from graphflow.backends.cuda.prelude import PRELUDE
from graphflow.loops.interpret import evaluate
from graphflow.loops.ir import Expr
from graphflow.records import dataclass, field

__all__ = ["CudaKernel", "KernelParam", "Work", "dump"]

MOST_BLOCKS = 16384
"""Blocks of a launch at most; what they leave over they do in further turns."""


@dataclass(frozen=True, slots=True)
class KernelParam:
    """One argument of a launch.

    Attributes:
      name: its name in the loops.
      kind: "pointer", an address aligned to the element at least; or "int", an int64.
      dtype: the loop dtype of the elements, or "i64".
      access: whether what a pointer leads to is read, written or both.
      indirect: whether the argument is the address of eight bytes on the device that hold the address or the int.
    """

    name: str
    kind: Literal["pointer", "int"]
    dtype: str
    access: Literal["r", "w", "rw"] = "r"
    indirect: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One spread loop of a kernel: the product of `extents`, of which each block takes `per_block` at a time."""

    extents: tuple[Expr, ...]
    per_block: int

    def blocks(self, ints: Mapping[str, int]) -> int:
        """The blocks that have something to do, one at least."""
        total = 1
        for extent in self.extents:
            total *= max(0, int(evaluate(extent, ints)))
        return min(MOST_BLOCKS, max(1, -(-total // self.per_block)))


@dataclass(frozen=True, slots=True, eq=False)
class CudaKernel:
    """A `__global__` function, and how it is launched.

    The grid depends on the sizes alone, never on the device: the same sizes give the same bits.

    Attributes:
      symbol: the function's name, which stands for its text.
      body: the function in CUDA C, without what all kernels have in common (`prelude.PRELUDE`).
      params: its parameters, in the order of the loops' own.
      block: threads of a block, in one dimension.
      work: the loops that are spread over blocks; the largest decides the grid.
      wide: whether indices have 64 bits; if not, no buffer may have 2**30 elements or more, and no size be as large.
      shared: bytes of static shared memory.
      promises: what is to be found in the code: "vector" loads, "no spills".
    """

    symbol: str
    body: str
    params: tuple[KernelParam, ...]
    block: int
    work: tuple[Work, ...]
    wide: bool = False
    shared: int = 0
    promises: frozenset[str] = field(default_factory=frozenset)

    @property
    def source(self) -> str:
        """The whole translation unit; it includes nothing."""
        return f"{PRELUDE}\n{self.body}"

    def grid(self, ints: Mapping[str, int]) -> int:
        """The number of blocks for these sizes, by name."""
        return max((work.blocks(ints) for work in self.work), default=1)

    def geometry(self, arguments: Sequence[int]) -> tuple[int, int]:
        """The number of blocks, and of threads of each, for arguments in the order of `params`."""
        named = zip(self.params, arguments, strict=True)
        return self.grid(
            {param.name: int(value) for param, value in named if param.kind == "int" and not param.indirect}
        ), self.block


def dump(kernels: Iterable[CudaKernel]) -> None:
    """Prints kernels that are loaded, if `GRAPHFLOW_DUMP` asks for their text."""
    if "cuda" in config.dump_stages():
        for kernel in kernels:
            print(kernel.body, file=sys.stderr)
