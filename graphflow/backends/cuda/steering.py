"""Kernels that steer a graph: they count the turns of its loops, say where values lie in each turn, and set the
conditions of its conditional nodes.

`table` is memory of the device, in words of eight bytes: first two for each loop, the turn it is in and its limit, then
the words that moving addresses and growing numbers are read from. `rows` says how these follow from the turns: the
number of rows, then for each row its site, its word, a beginning, the number of terms, and for each term a loop, bytes
per turn, bytes in odd turns, and bytes per turn that the loop may have. The words of a site are anew whenever a loop
begins there or has done a turn.
"""

from __future__ import annotations

from graphflow.backends.cuda.kernel import CudaKernel, KernelParam, Work
from graphflow.loops.ir import Var

__all__ = ["DEPTH", "ROW", "STEERING"]

DEPTH = 6
"""Loops inside each other, at most, that one address may move with."""

ROW = 4 + 4 * DEPTH
"""Words of a row."""

_BLOCK = 256
_PER_BLOCK = 16 * _BLOCK

_SET = """\
extern "C" __device__ void cudaGraphSetConditional(unsigned long long, unsigned int);
"""

_SITE = f"""\
#ifndef GF_SITE
#define GF_SITE
static __device__ void gf_site(i64* table, const i64* rows, i64 site) {{
  for (i64 at = threadIdx.x; at < rows[0]; at += {_BLOCK}) {{
    const i64* row = rows + 1 + at * {ROW};
    if (row[0] != site) continue;
    i64 value = row[2];
    for (i64 k = 0; k < row[3]; ++k) {{
      const i64* term = row + 4 + 4 * k;
      const i64 turn = table[2 * term[0]], most = table[2 * term[0] + 1];
      value += turn * term[1] + (turn & 1) * term[2] + most * term[3];
    }}
    table[row[1]] = value;
  }}
}}
#endif
"""


def _steer(name: str, names: str, text: str, parts: str = "", work: tuple[Work, ...] = ()) -> CudaKernel:
    """A kernel whose parameters are all numbers of eight bytes."""
    params = tuple([KernelParam(one, "int", "i64") for one in names.split()])
    declared = ", ".join(f"i64 {param.name}" for param in params)
    symbol = f"gf_steer_{name}"
    body = (
        f'{parts}extern "C" __global__ void __launch_bounds__({_BLOCK}) {symbol}({declared}) {{\n{text}}}\n'
    )
    return CudaKernel(symbol, body, params, _BLOCK, work)


STEERING: dict[str, CudaKernel] = {
    # A loop begins: its limit is a number, or stands on the device; -1 for none.
    "begin": _steer(
        "begin",
        "table rows site loop limit_at limit handle",
        """\
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    i64* state = (i64*)table + 2 * loop;
    const i64 most = limit_at ? *(const i64*)limit_at : limit;
    state[0] = 0;
    state[1] = most > 0 ? most : 0;
    cudaGraphSetConditional((u64)handle, most > 0 || (!limit_at && limit < 0));
  }
  __syncthreads();
  if (blockIdx.x == 0) gf_site((i64*)table, (const i64*)rows, site);
""",
        _SET + _SITE,
    ),
    # A turn is done.
    "next": _steer(
        "next",
        "table rows site loop bounded handle",
        """\
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    i64* state = (i64*)table + 2 * loop;
    state[0] += 1;
    cudaGraphSetConditional((u64)handle, !bounded || state[0] < state[1]);
  }
  __syncthreads();
  if (blockIdx.x == 0) gf_site((i64*)table, (const i64*)rows, site);
""",
        _SET + _SITE,
    ),
    # What comes once after the turns finds its words.
    "last": _steer(
        "last",
        "table rows site",
        "  if (blockIdx.x == 0) gf_site((i64*)table, (const i64*)rows, site);\n",
        _SITE,
    ),
    # A loop ends here unless a word holds; `inner` is the condition of what is left of the turn.
    "leave": _steer(
        "leave",
        "word outer inner",
        """\
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    const bool holds = *(const unsigned char*)word != 0;
    cudaGraphSetConditional((u64)inner, holds);
    if (!holds) cudaGraphSetConditional((u64)outer, 0);
  }
""",
        _SET,
    ),
    # Of the cases, the first that holds: in three words each its address, whether it is a number, and which.
    "select": _steer(
        "select",
        "cases count handle",
        """\
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    i64 chosen = 0;
    for (; chosen < count; ++chosen) {
      const i64* one = (const i64*)cases + 3 * chosen;
      if (one[1] ? *(const int*)one[0] == one[2] : *(const unsigned char*)one[0] != 0) break;
    }
    cudaGraphSetConditional((u64)handle, (unsigned int)chosen);
  }
""",
        _SET,
    ),
    # Whether all words of the checks are zero is the condition of what follows; where not, a loop around ends.
    "judge": _steer(
        "judge",
        "words count inner inside outer",
        """\
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    bool fine = true;
    for (i64 k = 0; k < count; ++k) fine = fine && ((const i64*)words)[k] == 0;
    cudaGraphSetConditional((u64)inner, fine);
    if (!fine && inside) cudaGraphSetConditional((u64)outer, 0);
  }
""",
        _SET,
    ),
    # Bytes from place to place; 1 of `words`: the target's address stands in a word, 2: the source's.
    "copy": _steer(
        "copy",
        "target source nbytes words",
        f"""\
  char* to = words & 1 ? *(char**)target : (char*)target;
  const char* from = words & 2 ? *(const char**)source : (const char*)source;
  const i64 first = (i64)blockIdx.x * {_BLOCK} + threadIdx.x, step = (i64)gridDim.x * {_BLOCK};
  const i64 lies = (i64)to | (i64)from | nbytes;
  if ((lies & 15) == 0) {{
    for (i64 k = first; k < nbytes / 16; k += step) ((Pack<u32, 4>*)to)[k] = ((const Pack<u32, 4>*)from)[k];
  }} else if ((lies & 3) == 0) {{
    for (i64 k = first; k < nbytes / 4; k += step) ((u32*)to)[k] = ((const u32*)from)[k];
  }} else {{
    for (i64 k = first; k < nbytes; k += step) to[k] = from[k];
  }}
""",
        work=(Work((Var("nbytes", "i64"),), _PER_BLOCK),),
    ),
    # Every byte behind an address that stands in a word.
    "fill": _steer(
        "fill",
        "target value nbytes",
        f"""\
  char* to = *(char**)target;
  const i64 first = (i64)blockIdx.x * {_BLOCK} + threadIdx.x, step = (i64)gridDim.x * {_BLOCK};
  for (i64 k = first; k < nbytes; k += step) to[k] = (char)value;
""",
        work=(Work((Var("nbytes", "i64"),), _PER_BLOCK),),
    ),
}
"""The kernels by name; their parameters are numbers of eight bytes, addresses among them."""
