"""Kernels of the loop language as CUDA C.

What `schedule` spreads becomes a loop in steps of the grid. Where a nest's innermost loop only reads, computes and
writes neighbouring elements, a thread does some of them at once, moved by one access of 16 bytes. What lies along
another axis than the results goes through tiles in shared memory, so that both ways are along memory. Inside a turn
that a team shares, all of its threads go through the statements together: what is named there is the same for all, one
thread stores, vector loops are shared out, and barriers stand where one thread reads what another has written.

Index arithmetic has 32 bits where the sizes allow it; numbers that are not only indices keep their 64.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from graphflow.backends.cache import digest
from graphflow.backends.cuda.kernel import CudaKernel, KernelParam, Work
from graphflow.backends.cuda.scalar import (
    COMPUTE,
    MEMORY,
    combine,
    const_text,
    from_memory,
    identity,
    op_text,
    to_memory,
)
from graphflow.backends.cuda.schedule import (
    BLOCK,
    Axis,
    Nest,
    is_shared,
    lets_of,
    linear,
    schedule_of,
    trips,
    variables,
)
from graphflow.loops.ir import (
    Buffer,
    Carry,
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
    bits,
    children,
    walk_exprs,
    walk_statements,
)

__all__ = ["print_all", "print_kernel"]

_WARP = 32
_MOST_LANES = 8
_VECTOR_BYTES = 16
_DEEP = 8  # expressions are cut into named ones of this depth
_TILE = 32  # rows and columns of a transposed tile
_MOST_TILES = 4
_MANY = 256  # operations from which on a thread does one element at a time
# Blocks that shall fit a multiprocessor at least, so that the compiler neither spills for the sake of more of them nor
# takes registers that keep others out: 64 registers a thread, 80 where a thread has several elements of a row, and 128
# where there is much to compute.
_BLOCKS, _BLOCKS_IF_SEVERAL, _BLOCKS_IF_LONG, _LONG = 4, 3, 2, 16

_RESERVED = frozenset(
    "auto bool break case char class const continue default delete do double else enum extern false float for goto if "
    "inline int long new operator register return short signed sizeof static struct switch template this true typedef "
    "union unsigned void volatile while i8 i16 i32 i64 u8 u16 u32 u64 exp log sqrt sin cos tan pow fma erf floor trunc "
    "rint fabs".split()
)  # fmt: skip
# Arithmetic that stays within the bounds of indices.
_INDEX_OPS = frozenset(
    ("add", "sub", "mul", "div", "floordiv", "floormod", "truncmod", "min", "max", "select", "neg")
)


def print_kernel(kernel: Kernel, *, wide: bool = False, indirect: Collection[str] = ()) -> CudaKernel:
    """The CUDA C of a verified kernel.

    Args:
      kernel: the loops.
      wide: whether indices need 64 bits: a buffer has 2**30 elements or more, or a size is as large.
      indirect: parameters whose arguments change from turn to turn of a captured graph: each comes as the address of
        eight bytes on the device that hold what it is now. Such a size does not decide the grid.
    """
    return _Printer(kernel, wide, frozenset(indirect)).kernel()


def print_all(
    kernels: Sequence[Kernel], wide: Sequence[bool], indirect: Sequence[Collection[str]] = ()
) -> list[CudaKernel]:
    """Prints kernels, each as `print_kernel` does."""
    return [
        print_kernel(kernel, wide=wide_, indirect=names)
        for kernel, wide_, names in zip(kernels, wide, indirect or [()] * len(kernels), strict=True)
    ]


class _Printer:
    def __init__(self, kernel: Kernel, wide: bool, indirect: frozenset[str]) -> None:
        self.loops = kernel
        self.indirect = indirect
        self.wide = wide
        self.index_type = "i64" if wide else "i32"
        self.schedule = schedule_of(kernel)
        self.dtypes = {b.name: b.dtype for b in kernel.buffers}
        self.locals = {local.name for local in kernel.locals}
        self.lets = lets_of(kernel.body)
        self.carries = {
            c.name: c for s in walk_statements(kernel.body) if isinstance(s, For) for c in s.carries
        }
        self.sizes = {p.name for p in kernel.params if isinstance(p, IntParam)}
        self.plain = self._plain_indices()
        self.lines: list[str] = []
        self.depth = 1
        self.temporaries = 0
        self.names: dict[str, str] = {}  # what stands for a variable, where it is not called as it is
        self.found: dict[int, str] = {}  # loads and shared expressions of the present statement
        self.staged: dict[int, str] = {}  # loads that a block has put into shared memory
        self.shared_lines: list[str] = []
        self.shared_bytes = 0
        self.work: list[Work] = []
        self.promises: set[str] = set()
        self.several = False  # whether a thread of a team does several elements of a row at once
        self.team: _Team | None = None

    # -- the whole --------------------------------------------------------------------------------------------

    def kernel(self) -> CudaKernel:
        params = self._params()
        for param, given in zip(self.loops.params, params, strict=True):
            if given.indirect:
                declared = self._declared(param, replace(given, indirect=False)).replace("*", "* const")
                const = "" if given.kind == "pointer" else "const "
                self.line(f"{const}{declared} = *gf_at_{self.name(param.name)};")
            if isinstance(param, IntParam) and not self.wide:
                self.line(f"const i32 {self.name(param.name)} = (i32){self.given(param.name)};")
            elif not isinstance(param, Buffer | IntParam):
                text = from_memory(f"*{self.given(param.name)}", param.dtype)
                self.line(f"const {COMPUTE[param.dtype]} {self.name(param.name)} = {text};")
        for part in self.schedule.parts:
            if isinstance(part, Nest):
                self._nest(part)
            else:
                self._statement(part)
        signature = ", ".join(
            self._declared(param, given) for param, given in zip(self.loops.params, params, strict=True)
        )
        body = "\n".join([*(f"  {line}" for line in self.shared_lines), *self.lines])
        long = sum(isinstance(e, Op) for e in walk_exprs(self.loops.body)) > _LONG
        blocks = _BLOCKS_IF_LONG if long else _BLOCKS_IF_SEVERAL if self.several else _BLOCKS
        head = f"__launch_bounds__({BLOCK}, {blocks}) "
        rest = f"({signature}) {{\n{body}\n}}\n"
        symbol = f"gf_{digest(head, rest)[:24]}"
        return CudaKernel(
            symbol,
            f'extern "C" __global__ void {head}{symbol}{rest}',
            params,
            BLOCK,
            tuple(self.work),
            self.wide,
            self.shared_bytes,
            frozenset(self.promises),
        )

    def _params(self) -> tuple[KernelParam, ...]:
        read = {e.buffer for e in walk_exprs(self.loops.body) if isinstance(e, Load)}
        written = {s.buffer for s in walk_statements(self.loops.body) if isinstance(s, Store)}
        made = []
        for param in self.loops.params:
            indirect = param.name in self.indirect
            if isinstance(param, IntParam):
                made.append(KernelParam(param.name, "int", "i64", indirect=indirect))
                continue
            access = "r" if param.name not in written else "rw" if param.name in read else "w"
            made.append(KernelParam(param.name, "pointer", param.dtype, access, indirect))  # type: ignore[arg-type]
        return tuple(made)

    def _declared(self, param: object, given: KernelParam) -> str:
        if given.indirect:
            const = "const " if given.access == "r" and given.kind == "pointer" else ""
            leads = "const i64*" if given.kind == "int" else f"{const}{MEMORY[given.dtype]}* const*"
            return f"{leads} gf_at_{self.name(given.name)}"
        if isinstance(param, IntParam):
            return f"i64 {self.name(given.name) if self.wide else self.given(given.name)}"
        const = "const " if given.access == "r" else ""
        name = self.name(given.name) if isinstance(param, Buffer) else self.given(given.name)
        return f"{const}{MEMORY[given.dtype]}* {name}"

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    @contextlib.contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(f"{head} {{" if head else "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def name(self, name: str) -> str:
        found = self.names.get(name)
        if found is not None:
            return found
        text = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
        return f"{text}_" if text in _RESERVED or text.startswith("gf_") else text

    def given(self, name: str) -> str:
        """How a parameter comes in that is converted first."""
        return f"gf_{self.name(name)}"

    def fresh(self) -> str:
        self.temporaries += 1
        return f"gf_{self.temporaries}"

    # -- indices ------------------------------------------------------------------------------------------------

    def _plain_indices(self) -> set[str]:
        """Variables of type i64 that are indices and nothing else: they are as long as indices are."""
        plain = {p.name for p in self.loops.params if isinstance(p, IntParam)}
        plain |= {s.var for s in walk_statements(self.loops.body) if isinstance(s, For)}
        named: dict[str, list[Expr]] = {}
        for stmt in walk_statements(self.loops.body):
            if isinstance(stmt, Let):
                named.setdefault(stmt.name, []).append(stmt.value)
        candidates = {name for name, values in named.items() if all(v.dtype == "i64" for v in values)}
        while True:
            bad = {
                name
                for name in candidates
                if not all(self._is_index(v, plain | candidates) for v in named[name])
            }
            if not bad:
                break
            candidates -= bad
        # What is taken as a number anywhere, by itself or through other names, is no plain index.
        numbers: set[str] = set()
        waiting: list[tuple[Expr, bool]] = []
        for stmt in walk_statements(self.loops.body):
            if isinstance(stmt, Let):
                waiting.append((stmt.value, stmt.name not in candidates))
            elif isinstance(stmt, Store):
                waiting += [(stmt.index, False), (stmt.value, True)]
            elif isinstance(stmt, Update):
                waiting.append((stmt.value, True))
            elif isinstance(stmt, If):
                waiting.append((stmt.condition, True))
            elif isinstance(stmt, For):
                waiting += [(stmt.start, False), (stmt.stop, False), *((c.init, True) for c in stmt.carries)]
        seen: set[tuple[int, bool]] = set()
        while waiting:
            expr, number = waiting.pop()
            if (id(expr), number) in seen:
                continue
            seen.add((id(expr), number))
            if isinstance(expr, Var):
                if number and expr.name in candidates and expr.name not in numbers:
                    numbers.add(expr.name)
                    waiting += [(value, True) for value in named[expr.name]]
            elif isinstance(expr, Load):
                waiting.append((expr.index, False))
            elif isinstance(expr, Op):
                compares = expr.dtype == "i1" and expr.args[0].dtype == "i64"
                inner = number and not compares if expr.dtype in ("i64", "i1") else True
                waiting += [(arg, inner) for arg in expr.args]
        return plain | (candidates - numbers)

    def _is_index(self, expr: Expr, plain: set[str]) -> bool:
        """Whether an i64 is made of indices and sizes alone."""
        stack, seen = [expr], set()
        while stack:
            e = stack.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            if isinstance(e, Var):
                if e.dtype == "i64" and e.name not in plain:
                    return False
            elif isinstance(e, Const):
                if e.dtype == "i64" and not -(2**31) < int(e.value) < 2**31:
                    return False
            elif isinstance(e, Op):
                if e.dtype == "i64" and e.name not in _INDEX_OPS:
                    return False
                if e.dtype not in ("i64", "i1"):
                    continue
                stack.extend(e.args)
            elif isinstance(e, Load) and e.dtype == "i64":
                return False
        return True

    # -- expressions ----------------------------------------------------------------------------------------------

    def value(self, root: Expr, number: bool = True) -> str:
        """An expression in C. `number`: of an i64, all its bits; else it is an index, or is compared with some."""
        self._name_shared(root, number)
        return self._text(root, number)

    def index(self, root: Expr) -> str:
        """An index."""
        return _bare(self.value(root, False))

    def _name_shared(self, root: Expr, number: bool) -> None:
        """Gives what occurs more than once below an expression, or lies deep, a name of its own first."""
        order: list[tuple[Expr, bool]] = []
        uses: Counter[tuple[int, bool]] = Counter()
        depth: dict[tuple[int, bool], int] = {}
        seen: set[tuple[int, bool]] = set()
        stack: list[tuple[Expr, bool, bool]] = [(root, number, False)]
        while stack:
            expr, whole, ready = stack.pop()
            key = (id(expr), whole)
            below = [(child, self._whole_below(expr, whole)) for child in children(expr)]
            if ready:
                order.append((expr, whole))
                depth[key] = 1 + max((depth.get((id(c), w), 0) for c, w in below), default=0)
                if depth[key] >= _DEEP:
                    uses[key] += 2
                    depth[key] = 1
                continue
            uses[key] += 1
            if key in seen or id(expr) in self.found:
                continue
            seen.add(key)
            stack.append((expr, whole, True))
            stack.extend((c, w, False) for c, w in reversed(below))
        for expr, whole in order:
            if expr is root or not isinstance(expr, Op | Load) or uses[id(expr), whole] < 2:
                continue
            if id(expr) in self.found or (expr.dtype == "i64" and not whole and not self._narrow(expr)):
                continue
            text = self._text(expr, whole)
            type_ = COMPUTE[expr.dtype]
            if expr.dtype == "i64" and not whole:
                type_ = self.index_type
                if any(w for e, w in order if e is expr):
                    continue  # one name cannot stand for both
            name = self.fresh()
            self.line(f"const {type_} {name} = {_bare(text)};")
            self.found[id(expr)] = name

    def _whole_below(self, expr: Expr, whole: bool) -> bool:
        if isinstance(expr, Load):
            return False
        if isinstance(expr, Op):
            if expr.dtype == "i64":
                return whole
            return not (expr.dtype == "i1" and expr.args[0].dtype == "i64")
        return whole

    def _narrow(self, expr: Expr) -> bool:
        return self._is_index(expr, self.plain)

    def _text(self, expr: Expr, whole: bool) -> str:
        known = self.found.get(id(expr))
        if known is not None:
            return known
        if isinstance(expr, Const):
            if expr.dtype == "i64" and not whole and -(2**31) < int(expr.value) < 2**31:
                return str(expr.value) if expr.value >= 0 else f"({expr.value})"
            return const_text(expr.value, expr.dtype)
        if isinstance(expr, Var):
            name = self.name(expr.name)
            if expr.dtype == "i64" and whole and not self.wide and expr.name in self.plain:
                return self.given(expr.name) if expr.name in self.sizes else f"(i64){name}"
            return name
        if isinstance(expr, Load):
            return from_memory(
                f"{self.name(expr.buffer)}[{_bare(self._text(expr.index, False))}]", expr.dtype
            )
        assert isinstance(expr, Op)
        below = self._whole_below(expr, whole)
        args = [self._text(arg, below) for arg in expr.args]
        if expr.dtype == "i64" and not whole and self._narrow(expr):
            return self._index_text(expr, args)
        if expr.name == "select" and expr.dtype == "i64":
            args = [self._text(expr.args[0], False), *(f"(i64){a}" for a in args[1:])]
        if expr.dtype == "i64" and not whole:
            args = [
                f"(i64){a}" if a2.dtype == "i64" and self._narrow(a2) else a
                for a, a2 in zip(args, expr.args, strict=True)
            ]
        if expr.dtype == "i1" and expr.args[0].dtype == "i64" and len(args) == 2:
            sides = [a.dtype == "i64" and self._narrow(a) for a in expr.args]
            if not all(sides):
                # Beside what is a number, such as an id, a size may be one too: the greatest there is.
                args = [
                    self._text(arg, True) if narrow else a
                    for arg, a, narrow in zip(expr.args, args, sides, strict=True)
                ]
        return op_text(expr, args)

    def _index_text(self, expr: Op, args: list[str]) -> str:
        """Index arithmetic, which neither wraps nor divides by zero."""
        if expr.name in ("add", "sub", "mul"):
            return f"({args[0]} {'+-*'[('add', 'sub', 'mul').index(expr.name)]} {args[1]})"
        if expr.name in ("floordiv", "floormod") and isinstance(expr.args[1], Const):
            size = int(expr.args[1].value)
            if size > 0 and size & (size - 1) == 0:
                if expr.name == "floordiv":
                    return f"({args[0]} >> {size.bit_length() - 1})"
                return f"({args[0]} & {size - 1})"
        if expr.name in ("min", "max"):
            return f"({args[0]} {'<' if expr.name == 'min' else '>'} {args[1]} ? {args[0]} : {args[1]})"
        if expr.name == "select":
            return f"({args[0]} ? {args[1]} : {args[2]})"
        if expr.name == "neg":
            return f"(-{args[0]})"
        return f"gf_{expr.name}<{self.index_type}>({', '.join(args)})"

    # -- what one thread does ----------------------------------------------------------------------------------

    def _body(self, body: Sequence[Stmt]) -> None:
        for stmt in body:
            self._statement(stmt)

    def _statement(self, stmt: Stmt) -> None:
        self.found = dict(self.staged)
        if isinstance(stmt, Let):
            self._let(stmt)
        elif isinstance(stmt, Store):
            self._store(stmt)
        elif isinstance(stmt, Update):
            self._update(stmt)
        elif isinstance(stmt, If):
            with self.block(f"if ({_bare(self.value(stmt.condition))})"):
                self._body(stmt.body)
        elif isinstance(stmt, For):
            self._for(stmt)
        else:
            assert isinstance(stmt, Prefetch)  # what the other threads do meanwhile hides the way to memory

    def _let(self, stmt: Let) -> None:
        plain = stmt.value.dtype == "i64" and stmt.name in self.plain
        text = self.value(stmt.value, not plain)
        type_ = self.index_type if plain else COMPUTE[stmt.value.dtype]
        self.line(f"const {type_} {self.name(stmt.name)} = {_bare(text)};")

    def _store(self, stmt: Store) -> None:
        index = self.index(stmt.index)
        value = self.value(stmt.value)
        self.line(
            f"{self.name(stmt.buffer)}[{index}] = {_bare(to_memory(_bare(value), self.dtypes[stmt.buffer]))};"
        )

    def _update(self, stmt: Update) -> None:
        carry = self.carries[stmt.name]
        name = self.name(stmt.name)
        made = combine(carry.op, carry.dtype, name, self.value(stmt.value))
        self.line(f"{name} = {_bare(made)};")

    def _carry(self, carry: Carry, text: str | None = None) -> None:
        init = self.value(carry.init) if text is None else text
        self.line(f"{COMPUTE[carry.dtype]} {self.name(carry.name)} = {_bare(init)};")

    def _for(self, stmt: For) -> None:
        for carry in stmt.carries:
            self._carry(carry)
        start, stop = self.index(stmt.start), self.index(stmt.stop)
        self.found = {}
        var = self.name(stmt.var)
        with self.block(f"for ({self.index_type} {var} = {start}; {var} < {stop}; ++{var})"):
            self._body(stmt.body)

    # -- nests -----------------------------------------------------------------------------------------------------

    def _nest(self, nest: Nest) -> None:
        with self.block(""):
            turned = self._turned(nest)
            if turned is not None:
                self._tiles(nest, *turned)
            elif nest.team == 1:
                self._threads(nest)
            else:
                self._teams(nest)

    def _extents(self, axes: Sequence[Axis]) -> list[Expr]:
        """How many turns each axis has."""
        found = []
        for axis in axes:
            if isinstance(axis.start, Const) and axis.start.value == 0:
                found.append(axis.stop)
            elif isinstance(axis.start, Const) and isinstance(axis.stop, Const):
                found.append(Const(int(axis.stop.value) - int(axis.start.value), "i64"))
            else:
                apart = Op("sub", (axis.stop, axis.start), "i64")
                found.append(Op("max", (apart, Const(0, "i64")), "i64"))
        return found

    def _note_work(self, extents: Sequence[Expr], per_block: int) -> None:
        parts = [e for extent in extents for e in walk_exprs(extent)]
        if any(isinstance(e, Load) or (isinstance(e, Var) and e.name in self.indirect) for e in parts):
            extents = (Const(1024 * per_block, "i64"),)  # known in the run alone
        self.work.append(Work(tuple(extents), per_block))

    def _private(self, body: Sequence[Stmt]) -> None:
        for local in self.loops.locals:
            if local.name in _touched(body):
                self.line(f"{MEMORY[local.dtype]} {self.name(local.name)}[{local.size}];")

    def _total(self, extents: Sequence[Expr]) -> tuple[str, list[str]]:
        """Names the number of turns, and the extents."""
        texts = [self.index(extent) for extent in extents]
        sizes = []
        for number, text in enumerate(texts):
            if len(texts) == 1 or text.isdigit():
                sizes.append(text)
                continue
            name = f"gf_size{number}"
            self.line(f"const {self.index_type} {name} = {text};")
            sizes.append(name)
        total = " * ".join(f"({s})" if " " in s else s for s in sizes) if sizes else "1"
        return total, sizes

    def _decode(self, axes: Sequence[Axis], sizes: Sequence[str], turn: str) -> None:
        """Names the variables of a turn's place."""
        rest = turn
        for number in reversed(range(len(axes))):
            axis = axes[number]
            at = rest
            if number:
                at = (
                    f"({rest}) % {_grouped(sizes[number])}"
                    if rest != turn
                    else f"{turn} % {_grouped(sizes[number])}"
                )
            zero = isinstance(axis.start, Const) and axis.start.value == 0
            text = at if zero else f"{self.index(axis.start)} + {_grouped(at)}"
            self.line(f"const {self.index_type} {self.name(axis.var)} = {text};")
            if number:
                name = self.fresh()
                self.line(f"const {self.index_type} {name} = {_grouped(rest)} / {_grouped(sizes[number])};")
                rest = name

    def _lets_of(self, axes: Sequence[Axis]) -> tuple[Stmt, ...]:
        return tuple(let for axis in axes for let in axis.lets)

    def _threads(self, nest: Nest) -> None:
        """Each thread does turns, some neighbours at once where the innermost loop is plain."""
        axes, extents = nest.axes, self._extents(nest.axes)
        body = (*self._lets_of(axes), *nest.body)
        total, sizes = self._total(extents)
        type_ = self.index_type
        lanes = self._lanes(nest)
        self.line(f"const {type_} gf_total = {total};")
        self.line(f"const {type_} gf_thread = ({type_})blockIdx.x * {BLOCK} + threadIdx.x;")
        self.line(f"const {type_} gf_step = ({type_})gridDim.x * {BLOCK};")
        first = "gf_thread"
        if lanes > 1:
            inner = "gf_total" if len(axes) == 1 else _grouped(sizes[-1])
            whole = f"gf_total / {lanes}"
            if len(axes) > 1:
                whole = f"{inner} % {lanes} == 0 ? {whole} : 0"
            self.line(f"const {type_} gf_whole = {whole};")
            with self.block(f"for ({type_} gf_turn = gf_thread; gf_turn < gf_whole; gf_turn += gf_step)"):
                with_lanes = f"gf_turn * {lanes}"
                if len(axes) > 1:
                    self.line(f"const {type_} gf_at = {with_lanes};")
                    with_lanes = "gf_at"
                self._decode(axes, sizes, with_lanes)
                _Lanes(self, axes[-1].var, lanes).body(body)
            first = f"gf_whole * {lanes} + gf_thread"
            self.promises.add("vector")
        with self.block(f"for ({type_} gf_turn = {first}; gf_turn < gf_total; gf_turn += gf_step)"):
            self._decode(axes, sizes, "gf_turn")
            self._private(body)
            self._body(body)
        self._note_work(extents, BLOCK * lanes)

    def _lanes(self, nest: Nest) -> int:
        """How many neighbouring elements a thread does at once."""
        if not nest.axes or not nest.axes[-1].vector:
            return 1
        var, body = nest.axes[-1].var, (*self._lets_of(nest.axes), *nest.body)
        if not all(isinstance(stmt, Let | Store) for stmt in body) or self.locals & _touched(body):
            return 1
        return self.lanes_of(var, body)

    def lanes_of(self, var: str, body: tuple[Stmt, ...]) -> int:
        """How many turns of a loop, whose statements are plain, move 16 bytes at once; 1: they do not lie so."""
        if sum(isinstance(e, Op) for e in walk_exprs(body)) > _MANY:
            return 1
        sizes = [
            bits(e.dtype) // 8 for e in walk_exprs(body) if isinstance(e, Load) and self.moves(e.index, var)
        ]
        stores = [s for s in body if isinstance(s, Store)]
        if not all(self.moves(s.index, var) for s in stores):
            return 1
        sizes += [bits(self.dtypes[s.buffer]) // 8 for s in stores]
        return max(1, min(_MOST_LANES, _VECTOR_BYTES // max(sizes, default=_VECTOR_BYTES)))

    def moves(self, index: Expr, var: str) -> bool:
        """Whether an index goes one element on with each step of a variable."""
        form = linear(index, self.lets)
        return form is not None and form.get(var) == 1

    # -- transposes -------------------------------------------------------------------------------------------------

    def _turned(self, nest: Nest) -> tuple[int, list[Load]] | None:
        """The axis along which some operands lie in memory, where results lie along the last one; with their loads."""
        if len(nest.axes) < 2 or not nest.axes[-1].vector:
            return None
        body, last = (*self._lets_of(nest.axes), *nest.body), nest.axes[-1]
        if not all(isinstance(stmt, Let | Store) for stmt in body) or self.locals & _touched(body):
            return None
        if not all(self.moves(s.index, last.var) for s in body if isinstance(s, Store)):
            return None
        free = self.sizes | {axis.var for axis in nest.axes}
        found: dict[int, list[Load]] = {}
        for expr in walk_exprs(body):
            if not isinstance(expr, Load) or not variables(expr.index) <= free:
                continue
            form = linear(expr.index, self.lets)
            if form is None or form.get(last.var, 0) in (0, 1):
                continue
            for place, axis in enumerate(nest.axes[:-1]):
                if form.get(axis.var) == 1:
                    found.setdefault(place, []).append(expr)
        if len(found) != 1:
            return None
        ((place, loads),) = found.items()
        ends = (nest.axes[place], last)
        if (
            any(not isinstance(end.start, Const) or end.start.value for end in ends)
            or len(loads) > _MOST_TILES
        ):
            return None
        if any(isinstance(end.stop, Const) and end.stop.value < _TILE // 2 for end in ends):
            return None
        return place, loads

    def _tiles(self, nest: Nest, place: int, loads: Sequence[Load]) -> None:
        """A block reads a tile along one axis and writes it along the other, by way of shared memory."""
        along, last = nest.axes[place], nest.axes[-1]
        others = [axis for axis in nest.axes if axis not in (along, last)]
        extents = self._extents(others)
        _, sizes = self._total(extents)
        type_, rows = self.index_type, BLOCK // _TILE
        for name, axis in (("along", along), ("last", last)):
            self.line(f"const {type_} gf_{name} = {self.index(axis.stop)};")
            self.line(f"const {type_} gf_{name}_tiles = (gf_{name} + {_TILE - 1}) / {_TILE};")
        total = " * ".join(["gf_along_tiles", "gf_last_tiles", *map(_grouped, sizes)])
        self.line(f"const {type_} gf_total = {total};")
        self.line(f"const {type_} gf_column = threadIdx.x % {_TILE}, gf_row = threadIdx.x / {_TILE};")
        tiles = []
        for load in loads:
            tiles.append(self.fresh())
            self.shared_lines.append(f"__shared__ {MEMORY[load.dtype]} {tiles[-1]}[{_TILE}][{_TILE + 1}];")
            self.shared_bytes += _TILE * (_TILE + 1) * bits(load.dtype) // 8
        each_row = f"for ({type_} gf_k = gf_row; gf_k < {_TILE}; gf_k += {rows})"
        inside = f"if ({self.name(along.var)} < gf_along && {self.name(last.var)} < gf_last)"
        step = f"gf_turn += ({type_})gridDim.x"
        with self.block(f"for ({type_} gf_turn = ({type_})blockIdx.x; gf_turn < gf_total; {step})"):
            self.line(f"const {type_} gf_last_from = gf_turn % gf_last_tiles * {_TILE};")
            self.line(f"const {type_} gf_along_from = gf_turn / gf_last_tiles % gf_along_tiles * {_TILE};")
            if others:
                self.line(f"const {type_} gf_rest = gf_turn / gf_last_tiles / gf_along_tiles;")
                self._decode(others, sizes, "gf_rest")
            self.line("__syncthreads();")
            with self.block(each_row):
                self.line(f"const {type_} {self.name(along.var)} = gf_along_from + gf_column;")
                self.line(f"const {type_} {self.name(last.var)} = gf_last_from + gf_k;")
                with self.block(inside):
                    for load, tile in zip(loads, tiles, strict=True):
                        self.found = {}
                        text = f"{self.name(load.buffer)}[{self.index(load.index)}]"
                        self.line(f"{tile}[gf_k][gf_column] = {text};")
            self.line("__syncthreads();")
            with self.block(each_row):
                self.line(f"const {type_} {self.name(along.var)} = gf_along_from + gf_k;")
                self.line(f"const {type_} {self.name(last.var)} = gf_last_from + gf_column;")
                with self.block(inside):
                    self.staged = {
                        id(load): from_memory(f"{tile}[gf_column][gf_k]", load.dtype)
                        for load, tile in zip(loads, tiles, strict=True)
                    }
                    self._body((*self._lets_of(nest.axes), *nest.body))
                    self.staged = {}
        size = Const(_TILE, "i64")
        pieces = [
            Op("floordiv", (Op("add", (axis.stop, Const(_TILE - 1, "i64")), "i64"), size), "i64")
            for axis in (along, last)
        ]
        self._note_work([*extents, *pieces], 1)
        self.promises.add("tiles")

    # -- teams -------------------------------------------------------------------------------------------------------

    def _teams(self, nest: Nest) -> None:
        """Each turn is done by a team: what is named there is the same for all its threads."""
        axes, extents = nest.axes, self._extents(nest.axes)
        body = (*self._lets_of(axes), *nest.body)
        total, sizes = self._total(extents)
        type_, teams = self.index_type, BLOCK // nest.team
        self.line(f"const {type_} gf_lane = threadIdx.x % {nest.team};")
        self.team = team = _Team(self, nest.team)
        for local in self.loops.locals:
            if local.name in _touched(body):
                memory, name = MEMORY[local.dtype], self.name(local.name)
                size = local.size * teams
                self.shared_lines.append(f"__shared__ {memory} gf_own_{name}[{size}];")
                self.shared_bytes += size * bits(local.dtype) // 8
                at = "" if teams == 1 else f" + threadIdx.x / {nest.team} * {local.size}"
                self.line(f"{memory}* const {name} = gf_own_{name}{at};")
        if not axes:
            # One team does all there is.
            with self.block(f"if (blockIdx.x == 0 && threadIdx.x < {nest.team})"):
                team.body(body)
        else:
            self.line(f"const {type_} gf_total = {total};")
            begin = (
                f"({type_})blockIdx.x"
                if teams == 1
                else f"({type_})blockIdx.x * {teams} + threadIdx.x / {nest.team}"
            )
            step = f"({type_})gridDim.x" if teams == 1 else f"({type_})gridDim.x * {teams}"
            with self.block(f"for ({type_} gf_turn = {begin}; gf_turn < gf_total; gf_turn += {step})"):
                self._decode(axes, sizes, "gf_turn")
                team.turn(body)
            self._note_work(extents, teams)
        self.team = None


class _Lanes:
    """The body of a plain loop, for some neighbouring turns at once: loads, computations, then stores."""

    def __init__(self, printer: _Printer, var: str, count: int) -> None:
        self.printer = printer
        self.var = var
        self.count = count
        self.apart = {var}  # variables that differ from lane to lane

    def body(self, body: Sequence[Stmt]) -> None:
        p = self.printer
        for stmt in body:
            p.found = {}
            if isinstance(stmt, Update):
                packs = self.loads(stmt.value)
                carry, name = p.carries[stmt.name], p.name(stmt.name)
                for lane in range(self.count):
                    value = _grouped(self.lane(stmt.value, lane, packs, True))
                    made = combine(carry.op, carry.dtype, name, value)
                    p.line(f"{name} = {_bare(made)};")
            elif isinstance(stmt, Let):
                if not self.differs(stmt.value):
                    p._let(stmt)
                    continue
                packs = self.loads(stmt.value)
                type_ = (
                    p.index_type
                    if stmt.value.dtype == "i64" and stmt.name in p.plain
                    else COMPUTE[stmt.value.dtype]
                )
                for lane in range(self.count):
                    text = self.lane(stmt.value, lane, packs, stmt.name not in p.plain)
                    p.line(f"const {type_} {p.name(stmt.name)}_{lane} = {text};")
                self.apart.add(stmt.name)
            else:
                assert isinstance(stmt, Store)
                self.store(stmt)

    def differs(self, expr: Expr) -> bool:
        return bool(variables(expr) & self.apart)

    def loads(self, root: Expr) -> dict[int, tuple[str, str]]:
        """Loads what neighbours read as one: names of packs by the loads, with the dtype."""
        p = self.printer
        packs: dict[int, tuple[str, str]] = {}
        for expr in walk_exprs(root):
            if isinstance(expr, Load) and p.moves(expr.index, self.var) and self.plain(expr.index):
                memory, name = MEMORY[expr.dtype], p.fresh()
                index = p.index(expr.index)
                at = p.name(expr.buffer) if index == "0" else f"{p.name(expr.buffer)} + {index}"
                p.line(f"const Pack<{memory}, {self.count}> {name} = gf_load<{memory}, {self.count}>({at});")
                packs[id(expr)] = name, expr.dtype
                p.found = {}
        return packs

    def plain(self, index: Expr) -> bool:
        """Whether an index is written in terms of the variable itself."""
        return variables(index) & self.apart <= {self.var}

    def lane(self, expr: Expr, lane: int, packs: Mapping[int, tuple[str, str]], number: bool) -> str:
        p = self.printer
        before = dict(p.names)
        p.names.update({name: f"{p.name(name)}_{lane}" for name in self.apart if name != self.var})
        p.names[self.var] = p.name(self.var) if lane == 0 else f"({p.name(self.var)} + {lane})"
        p.found = {key: from_memory(f"{name}.v[{lane}]", dtype) for key, (name, dtype) in packs.items()}
        text = _bare(p.value(expr, number))
        p.names, p.found = before, {}
        return text

    def store(self, stmt: Store) -> None:
        p = self.printer
        dtype = p.dtypes[stmt.buffer]
        memory, name = MEMORY[dtype], p.fresh()
        if self.differs(stmt.value):
            packs = self.loads(stmt.value)
            values = []
            for lane in range(self.count):
                values.append(to_memory(self.lane(stmt.value, lane, packs, True), dtype))
        else:
            values = [to_memory(_bare(p.value(stmt.value)), dtype)] * self.count
        p.line(f"const Pack<{memory}, {self.count}> {name} = {{{{{', '.join(_bare(v) for v in values)}}}}};")
        if self.plain(stmt.index):
            index = p.index(stmt.index)
        else:
            index = self.lane(stmt.index, 0, {}, False)
        at = p.name(stmt.buffer) if index == "0" else f"{p.name(stmt.buffer)} + {index}"
        p.line(f"gf_store<{memory}, {self.count}>({at}, {name});")


class _Team:
    """Statements that all threads of a team go through together."""

    def __init__(self, printer: _Printer, size: int) -> None:
        self.p = printer
        self.size = size
        # Since the last barrier: buffers that single threads have written or read, and the dtypes of what all have
        # read where only one may write in place.
        self.written: set[str] = set()
        self.read: set[str] = set()
        self.together: set[str] = set()

    def barrier(self) -> None:
        self.p.line("__syncthreads();" if self.size > _WARP else "__syncwarp();")
        self.written, self.read, self.together = set(), set(), set()

    def before(self, reads: set[str], writes: set[str], *, alone: bool) -> None:
        """Sees to it that a statement meets what others have written. `alone`: one thread does it."""
        p = self.p
        dtypes = {p.dtypes[name] for name in writes if name not in p.locals}
        if reads & self.written or writes & (self.written | self.read) or dtypes & self.together:
            self.barrier()
        self.written |= writes
        self.read |= reads
        if alone:
            self.together |= {p.dtypes[name] for name in reads if name not in p.locals}

    def turn(self, body: Sequence[Stmt]) -> None:
        """A turn of several: the next one's memory is this one's."""
        if any(local in _touched(body) for local in self.p.locals):
            self.barrier()
        self.body(body)
        self.written, self.read, self.together = set(), set(), set()

    def body(self, body: Sequence[Stmt]) -> None:
        p = self.p
        for stmt in body:
            p.found = {}
            reads = _loaded(stmt)
            if isinstance(stmt, Let):
                self.before(reads, set(), alone=True)
                p._let(stmt)
            elif isinstance(stmt, Update):
                self.before(reads, set(), alone=True)
                p._update(stmt)
            elif isinstance(stmt, Store):
                self.before(reads, {stmt.buffer}, alone=True)
                with p.block("if (gf_lane == 0)"):
                    p._store(stmt)
            elif isinstance(stmt, If):
                self.before(
                    {e.buffer for e in walk_exprs(stmt.condition) if isinstance(e, Load)}, set(), alone=True
                )
                with p.block(f"if ({_bare(p.value(stmt.condition))})"):
                    self.body(stmt.body)
            elif isinstance(stmt, For) and is_shared(stmt):
                self.shared(stmt)
            elif isinstance(stmt, For):
                self.serial(stmt)

    def serial(self, stmt: For) -> None:
        """A loop that all go through: a turn may read what the one before has written."""
        p = self.p
        for carry in stmt.carries:
            self.before({e.buffer for e in walk_exprs(carry.init) if isinstance(e, Load)}, set(), alone=True)
            p._carry(carry)
        start, stop = p.index(stmt.start), p.index(stmt.stop)
        p.found = {}
        var = p.name(stmt.var)
        writes = {s.buffer for s in walk_statements(stmt.body) if isinstance(s, Store)}
        with p.block(f"for ({p.index_type} {var} = {start}; {var} < {stop}; ++{var})"):
            if writes:
                self.barrier()
            self.body(stmt.body)
        if writes:
            # Whatever the last turn did, or none.
            self.written |= writes
            self.read |= {name for s in stmt.body for name in _loaded(s)}

    def shared(self, stmt: For) -> None:
        """A loop whose turns are shared out; what it carries is combined in a fixed order, and known to all."""
        p = self.p
        writes = {s.buffer for s in walk_statements(stmt.body) if isinstance(s, Store)}
        reads = {e.buffer for e in walk_exprs((stmt,)) if isinstance(e, Load)}
        self.before(reads, writes, alone=False)
        inits = [_bare(p.value(carry.init)) for carry in stmt.carries]
        start, stop = p.index(stmt.start), p.index(stmt.stop)
        p.found = {}
        for carry in stmt.carries:
            p._carry(carry, identity(carry.op, carry.dtype))
        var = p.name(stmt.var)
        lanes = self.lanes(stmt)
        if lanes > 1:
            # Pieces of 16 bytes first, then what is left over.
            whole = p.fresh()
            count = stop if start == "0" else f"({_grouped(stop)} - {_grouped(start)})"
            rest = f"{_grouped(count)} / {lanes} * {lanes}"
            p.line(
                f"const {p.index_type} {whole} = {rest if start == '0' else f'{_grouped(start)} + {rest}'};"
            )
            first = f"gf_lane * {lanes}" if start == "0" else f"{_grouped(start)} + gf_lane * {lanes}"
            with p.block(
                f"for ({p.index_type} {var} = {first}; {var} < {whole}; {var} += {self.size * lanes})"
            ):
                _Lanes(p, stmt.var, lanes).body(stmt.body)
            p.found = {}
            p.promises.add("vector")
            p.several = True
            start = whole
        first = "gf_lane" if start == "0" else f"{_grouped(start)} + gf_lane"
        with p.block(f"for ({p.index_type} {var} = {first}; {var} < {stop}; {var} += {self.size})"):
            p._body(stmt.body)
        for carry, init in zip(stmt.carries, inits, strict=True):
            self.combined(carry, init)

    def lanes(self, stmt: For) -> int:
        """How many neighbouring elements a thread does at once."""
        p = self.p
        if not all(isinstance(one, Let | Store | Update) for one in stmt.body):
            return 1
        length = trips(stmt)
        lanes = p.lanes_of(stmt.var, stmt.body)
        for expr in walk_exprs(stmt.body):
            # What goes through memory in other steps would be read by threads that lie far apart.
            if isinstance(expr, Load) and not p.moves(expr.index, stmt.var):
                form = linear(expr.index, p.lets)
                if form is None or form.get(stmt.var, 0) != 0:
                    return 1
        return 1 if length is not None and length < self.size * lanes else lanes

    def combined(self, carry: Carry, init: str) -> None:
        """Combines what the threads of a team have: within warps first, then over warps."""
        p = self.p
        name, op, dtype = p.name(carry.name), carry.op, carry.dtype
        type_ = COMPUTE[dtype]
        moved = type_ if type_ in ("float", "double", "i32", "u32", "i64", "u64") else "i32"
        with p.block(f"for (int gf_mask = {_WARP // 2}; gf_mask; gf_mask /= 2)"):
            p.line(f"const {type_} gf_other = ({type_})gf_shuffle(({moved}){name}, gf_mask);")
            p.line(f"{name} = {_bare(combine(op, dtype, name, 'gf_other'))};")
        if op not in ("add", "mul", "and", "or"):
            p.line(f"{name} = ({type_})gf_first(({moved}){name});")
        if self.size > _WARP:
            warps = self.size // _WARP
            held = f"gf_part_{name}"
            p.shared_lines.append(f"__shared__ {type_} {held}[{warps}];")
            p.shared_bytes += warps * 8
            self.barrier()
            p.line(f"if (threadIdx.x % {_WARP} == 0) {held}[threadIdx.x / {_WARP}] = {name};")
            self.barrier()
            p.line(f"{name} = {held}[0];")
            with p.block(f"for (int gf_warp = 1; gf_warp < {warps}; ++gf_warp)"):
                p.line(f"{name} = {_bare(combine(op, dtype, name, f'{held}[gf_warp]'))};")
        if init != identity(op, dtype):
            p.line(f"{name} = {_bare(combine(op, dtype, init, name))};")


def _loaded(stmt: Stmt) -> set[str]:
    return {e.buffer for e in walk_exprs((stmt,)) if isinstance(e, Load)}


def _touched(body: Sequence[Stmt]) -> set[str]:
    """The buffers that statements read or write."""
    stores = {s.buffer for s in walk_statements(tuple(body)) if isinstance(s, Store)}
    return stores | {e.buffer for e in walk_exprs(tuple(body)) if isinstance(e, Load)}


def _bare(text: str) -> str:
    """A text without brackets around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for place, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1]


def _grouped(text: str) -> str:
    """A text that binds tighter than any sign beside it."""
    if text.replace("_", "").isalnum() or (text.startswith("(") and _bare(text) != text):
        return text
    return f"({text})"
