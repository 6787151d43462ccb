"""Kernels to LLVM text.

A vector loop is written out some lanes at a time: affine indices become whole-vector or splat loads, others
gathers; an `If` on a lane's value becomes a mask; carries become several vector accumulators that are
combined in a fixed order. What is left over at the end is done under a mask, or one by one where memory
operations take none.

Every kernel is `void symbol(ptr args, i64 part, i64 parts)`: `args` is a table of i64, holding buffers' and
scalars' addresses and integers. The turns of its parallel loop are shared evenly, in order, among the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphflow.backends.cpu import vector_math
from graphflow.backends.cpu.instructions import ELEMENT_BYTES, Emitter, Value
from graphflow.backends.cpu.target import Target
from graphflow.loops.ir import (
    Buffer,
    Const,
    Expr,
    For,
    If,
    IntParam,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Prefetch,
    ScalarParam,
    Stmt,
    Store,
    Update,
    Var,
    bits,
    highest,
    is_float,
    is_native,
    kind,
    lowest,
    walk_exprs,
    walk_statements,
)
from graphflow.records import dataclass

__all__ = ["expressions_to_llvm", "kernel_to_llvm"]

# How a dtype is computed with, and how it lies in memory: half floats are widened, bools are bytes.
_COMPUTE = {
    "f16": "float",
    "bf16": "float",
    "f32": "float",
    "f64": "double",
    "i1": "i1",
    **{f"{k}{n}": f"i{n}" for k in "iu" for n in (8, 16, 32, 64)},
}
_MEMORY = {**_COMPUTE, "f16": "i16", "bf16": "i16", "i1": "i8"}

# A rough price of each function in instructions, to decide how far to unroll; what is not listed costs one.
_COST = {
    **dict.fromkeys(("div", "sqrt", "sign", "min", "max", "rsqrt"), 3),
    **dict.fromkeys(("exp", "tanh", "erf", "sigmoid"), 16),
    **dict.fromkeys(("log", "expm1", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh"), 22),
    **dict.fromkeys(("log1p", "erfc", "atan2", "asinh", "acosh", "atanh", "floormod", "truncmod"), 32),
    "pow": 60,
    "lgamma": 100,
}

# From this price on, a turn is so long a chain that a processor hardly begins the next one before its end.
_LONG_TURN = 16

# Above this price a masked loop alone is cheaper than an unmasked one with a masked copy for the rest.
_ONE_LOOP_COST = 256
# Serial loops of at most so many turns are written out, as long as the whole costs no more than this.
_UNROLLED_TURNS = 16
_UNROLLED_COST = 256


def kernel_to_llvm(kernel: Kernel, target: Target, symbol: str) -> str:
    """The LLVM module, as text, that defines a verified kernel under a symbol."""
    return _Generator(kernel, target).module(symbol)


def expressions_to_llvm(
    emitter: Emitter, values: Mapping[str, tuple[str, Value]], roots: Sequence[Expr]
) -> list[Value]:
    """Writes expressions over variables given by dtype and value, for generators with loops of their own.

    Values and results are as they lie in memory: half floats and bools as integers.
    """
    generator = _Generator(Kernel("", (), ()), emitter.target)
    generator.e = emitter
    generator.env = {name: generator._from_memory(value, dtype) for name, (dtype, value) in values.items()}
    return [generator._to_memory(generator.value(root), root.dtype) for root in roots]


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """An i64 that grows by `stride` from lane to lane, kept apart so that indices stay scalar."""

    base: Value
    stride: int


_Result = Value | _Affine


@dataclass(slots=True, eq=False)
class _Lanes:
    """The vector loop being written: its lanes and which of them are on (None: all).

    `conditional` says that there may be none: even a load of one element for all lanes needs the mask then.
    """

    count: int
    mask: Value | None
    conditional: bool = False


class _Generator:
    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel = kernel
        self.target = target
        self.e = Emitter(target)
        self.env: dict[str, _Result] = {}
        self.buffers: dict[str, Buffer | Local] = {b.name: b for b in kernel.buffers}
        self.streams = False
        self.pointers: dict[str, Value] = {}
        self.lanes: _Lanes | None = None
        self.memo: dict[int, _Result] = {}
        self.carries: dict[str, tuple[str, str]] = {}  # dtype and combination
        for stmt in walk_statements(kernel.body):
            if isinstance(stmt, For):
                self.carries.update({c.name: (c.dtype, c.op) for c in stmt.carries})

    # ---------------------------------------------------------------------------------------- whole module

    def module(self, symbol: str) -> str:
        e = self.e
        for position, param in enumerate(self.kernel.params):
            slot = f"%a{position}"
            e.line(f"{slot} = getelementptr i64, ptr %args, i64 {position}")
            if isinstance(param, IntParam):
                e.line(f"%p{position} = load i64, ptr {slot}")
                self.env[param.name] = Value(e, f"%p{position}", "i64", 1, 0)
                continue
            e.line(f"%p{position} = load ptr, ptr {slot}")
            pointer = Value(e, f"%p{position}", "ptr", 1, 0)
            if isinstance(param, ScalarParam):
                memory = _MEMORY[param.dtype]
                raw = e.load("", f"load {memory}, ptr {pointer.text}", memory, 1, (pointer,))
                self.env[param.name] = self._from_memory(raw, param.dtype)
            else:
                self.pointers[param.name] = pointer
        for position, local in enumerate(self.kernel.locals):
            text = f"%l{position} = alloca [{local.size} x {_MEMORY[local.dtype]}], align 64"
            e.allocations.append(f"  {text}")
            self.pointers[local.name] = Value(e, f"%l{position}", "ptr", 1, 0)
        self._body(self.kernel.body)
        if self.streams:
            # Such stores are ordered by nothing else, not even by the barrier that follows.
            e.declarations.add("declare void @llvm.x86.sse.sfence()")
            e.line("call void @llvm.x86.sse.sfence()")
        width = (
            f' "prefer-vector-width"="{8 * self.target.vector_bytes}"' if self.target.isa == "avx512" else ""
        )
        lines = [
            f"define void @{symbol}(ptr %args, i64 %part, i64 %parts) nounwind{width} {{",
            "entry:",
            *e.allocations,
            *e.regions[0].lines,
            "  ret void",
            "}",
            *sorted(e.declarations),
        ]
        if any("!prof !0" in line for line in e.regions[0].lines):
            lines.append('!0 = !{!"branch_weights", i32 1, i32 100000}')
        if self.streams:
            lines.append("!1 = !{i32 1}")
        return "\n".join(lines) + "\n"

    # ----------------------------------------------------------------------------------------- statements

    def _body(self, body: Sequence[Stmt]) -> None:
        done = 0
        for position, stmt in enumerate(body):
            if position < done:
                continue
            self.memo.clear()
            run = self._neighbours(body, position)
            if len(run) > 1 and self._store_interleaved(run):
                done = position + len(run)
                continue
            if isinstance(stmt, Let):
                self.env[stmt.name] = self.eval(stmt.value)
            elif isinstance(stmt, Store):
                self._store(stmt)
            elif isinstance(stmt, Update):
                self._update(stmt)
            elif isinstance(stmt, Prefetch):
                self._prefetch(stmt)
            elif isinstance(stmt, If):
                self._if(stmt)
            elif isinstance(stmt, For):
                self._for(stmt)
            else:
                raise TypeError(f"no such statement: {stmt!r}")

    def _if(self, stmt: If) -> None:
        condition = self.value(stmt.condition)
        if condition.text == "false":
            return
        if condition.text == "true":
            self._body(stmt.body)
            return
        if condition.lanes > 1:
            assert self.lanes is not None
            outer = self.lanes
            self.lanes = self._narrowed(outer, condition)
            self._body(stmt.body)
            self.lanes = outer
            return
        e = self.e
        changed = [name for name in _updated(stmt.body) if name in self.env]
        before = {name: self.env[name] for name in changed}
        then, after = e.fresh("then"), e.fresh("endif")
        e.push(then)
        self._body(stmt.body)
        inner = e.pop()
        came_from = e.region.label
        e.line(f"br i1 {condition.text}, label %{then}, label %{after}")
        e.region.lines += [f"{then}:", *inner.lines, f"  br label %{after}"]
        e.block(after)
        for name in changed:
            old, new = self._as_value(before[name]), self._as_value(self.env[name])
            old, new = e.level_up((old, new))
            merged = f"%{e.fresh('m')}"
            e.line(
                f"{merged} = phi {new.full_type} [ {old.text}, %{came_from} ], [ {new.text}, %{inner.label} ]"
            )
            self.env[name] = Value(e, merged, new.type, new.lanes, e.region.level)
        e.forget_loads(_written(stmt.body))

    def _narrowed(self, lanes: _Lanes, condition: Value) -> _Lanes:
        mask = condition if lanes.mask is None else self.e.binary("and", lanes.mask, condition)
        return _Lanes(lanes.count, mask, conditional=True)

    def _update(self, stmt: Update) -> None:
        old = self._as_value(self.env[stmt.name])
        new = self.value(stmt.value)
        dtype, op = self.carries[stmt.name]
        combined = self._combine(op, dtype, old, new)
        if self.lanes is not None and self.lanes.mask is not None and combined.lanes > 1:
            combined = self.e.select(self.lanes.mask, combined, old)
        self.env[stmt.name] = combined

    def _combine(self, op: str, dtype: str, x: Value, y: Value) -> Value:
        if op == "set":
            return self.e.level_up((x, y))[1]
        if op == "add" and is_float(dtype):
            # May fuse with the multiplication that made y: what a dot product wants.
            return self.e.binary("fadd contract", x, y)
        return self._as_value(self._apply(op, dtype, dtype, [x, y]))

    # ---------------------------------------------------------------------------------------------- loops

    def _for(self, stmt: For) -> None:
        start, stop = self.value(stmt.start), self.value(stmt.stop)
        self.memo.clear()
        self.e.forget_loads(_written(stmt.body))
        if stmt.kind == "parallel" and self.lanes is None:
            start, stop = self._share(start, stop)
        single = self.e.integer("sub", stop, start).number == 1 if stmt.kind == "vector" else False
        if stmt.kind == "vector" and self.lanes is None and self._width(stmt) > 1 and not single:
            self._vector_for(stmt, start, stop)
        else:
            self._serial_for(stmt, start, stop)
        self.e.forget_loads(_written(stmt.body))

    def _share(self, start: Value, stop: Value) -> tuple[Value, Value]:
        """The turns of this part: from n * part / parts to n * (part + 1) / parts."""
        e = self.e
        part, parts = Value(e, "%part", "i64", 1, 0), Value(e, "%parts", "i64", 1, 0)
        extent = e.integer("sub", stop, start)
        first = e.binary("sdiv", e.integer("mul", extent, part), parts)
        last = e.binary("sdiv", e.integer("mul", extent, e.integer("add", part, 1)), parts)
        return e.integer("add", start, first), e.integer("add", start, last)

    def _serial_for(self, stmt: For, start: Value, stop: Value) -> None:
        e = self.e
        vector = self.lanes
        for carry in stmt.carries:
            init = self.value(carry.init)
            if vector is not None:
                init = e.splat(init, vector.count)
            self.env[carry.name] = init
        low, high = self._limits(start, stop)
        masked = start.lanes > 1 or stop.lanes > 1
        trips = None if masked else e.integer("sub", stop, start).number
        if trips is not None and stmt.kind != "parallel" and self._unrolls(stmt, trips):
            for turn in range(max(0, trips)):
                self.env[stmt.var] = e.integer("add", start, turn)
                self._body(stmt.body)
            return
        names = [n for n in _updated(stmt.body) if n in self.env]
        inits = [self._as_value(self.env[n]) for n in names]
        if vector is not None:
            inits = [e.splat(v, vector.count) for v in inits]

        def turn_body(i: Value, values: list[Value]) -> list[Value]:
            self.env[stmt.var] = i
            self.env.update(zip(names, values, strict=True))
            if masked and vector is not None:
                self.lanes = self._narrowed(vector, self._in_range(i, start, stop))
            self._body(stmt.body)
            self.lanes = vector
            results = [self._as_value(self.env[n]) for n in names]
            return [e.splat(r, init.lanes) for r, init in zip(results, inits, strict=True)]

        runs = trips is not None and trips > 0
        finals = self._counted(low, high, 1, inits, turn_body, runs, _written(stmt.body))
        self.env.update(zip(names, finals, strict=True))

    def _limits(self, start: Value, stop: Value) -> tuple[Value, Value]:
        """Scalar bounds that hold every lane's range."""
        return self._extreme("smin", start), self._extreme("smax", stop)

    def _extreme(self, which: str, x: Value) -> Value:
        if x.lanes == 1:
            return x
        name = f"llvm.vector.reduce.{which}.v{x.lanes}i64"
        self.e.declarations.add(f"declare i64 @{name}({x.full_type})")
        return self.e.instruction(f"call i64 @{name}({x.typed})", "i64", 1, (x,))

    def _in_range(self, i: Value, start: Value, stop: Value) -> Value:
        e = self.e
        return e.binary("and", e.compare("sge", i, start), e.compare("slt", i, stop))

    def _unrolls(self, stmt: For, trips: int) -> bool:
        if trips <= 1:
            return True
        return trips <= _UNROLLED_TURNS and trips * self._cost_of(stmt.body) <= _UNROLLED_COST

    def _counted(
        self,
        start: Value,
        stop: Value,
        step: int,
        inits: list[Value],
        body: Callable[[Value, list[Value]], list[Value]],
        runs: bool,
        writes: frozenset[str],
    ) -> list[Value]:
        """A loop from start while < stop; `body` maps (index, carried values) to the next carried values.

        `runs` says that it has at least one turn. Returns what is carried at the end.
        """
        e = self.e
        pre_label, loop_label, after = e.fresh("pre"), e.fresh("loop"), e.fresh("done")
        pre = e.push(pre_label, passable=runs)
        inner = e.push(loop_label, passable=True, writes=writes)
        i = Value(e, f"%{e.fresh('i')}", "i64", 1, inner.level)
        carried = [Value(e, f"%{e.fresh('c')}", v.type, v.lanes, inner.level) for v in inits]
        results = body(i, list(carried))
        e.pop()
        e.pop()
        came_from = e.region.label
        following = f"%{e.fresh('next')}"
        condition = f"%{e.fresh('more')}"
        if runs:
            e.line(f"br label %{pre_label}")
        else:
            enter = f"%{e.fresh('enter')}"
            e.line(f"{enter} = icmp slt i64 {start.text}, {stop.text}")
            e.line(f"br i1 {enter}, label %{pre_label}, label %{after}")
        lines = e.region.lines
        lines += [f"{pre_label}:", *pre.lines, f"  br label %{loop_label}", f"{loop_label}:"]
        lines.append(f"  {i.text} = phi i64 [ {start.text}, %{pre.label} ], [ {following}, %{inner.label} ]")
        for value, init, result in zip(carried, inits, results, strict=True):
            lines.append(
                f"  {value.text} = phi {value.full_type} [ {init.text}, %{pre.label} ], "
                f"[ {result.text}, %{inner.label} ]"
            )
        lines += inner.lines
        lines.append(f"  {following} = add nsw i64 {i.text}, {step}")
        lines.append(f"  {condition} = icmp slt i64 {following}, {stop.text}")
        lines.append(f"  br i1 {condition}, label %{loop_label}, label %{after}")
        e.block(after)
        finals = []
        for init, result in zip(inits, results, strict=True):
            name = f"%{e.fresh('f')}"
            entry = "" if runs else f"[ {init.text}, %{came_from} ], "
            e.line(f"{name} = phi {init.full_type} {entry}[ {result.text}, %{inner.label} ]")
            finals.append(Value(e, name, init.type, init.lanes, e.region.level))
        return finals

    def _width(self, stmt: For) -> int:
        """Lanes of a vector loop: a register of the 32-bit, else the widest, elements in it."""
        sizes = set()
        for inner in walk_statements((stmt,)):
            if isinstance(inner, Store):
                sizes.add(ELEMENT_BYTES[_COMPUTE[self.buffers[inner.buffer].dtype]])
            elif isinstance(inner, For):
                sizes.update(ELEMENT_BYTES[_COMPUTE[c.dtype]] for c in inner.carries)
            elif isinstance(inner, Update):
                sizes.add(ELEMENT_BYTES[_COMPUTE[inner.value.dtype]])
        for expr in walk_exprs((stmt,)):
            if isinstance(expr, Load) or (isinstance(expr, Op) and is_float(expr.dtype)):
                sizes.add(ELEMENT_BYTES[_COMPUTE[expr.dtype]])
        if not sizes:
            return 1
        return self.target.lanes(4 if 4 in sizes else max(sizes))

    def _vector_for(self, stmt: For, start: Value, stop: Value) -> None:
        e = self.e
        width = self._width(stmt)
        cost = self._cost_of(stmt.body)
        mine = {c.name for c in stmt.carries}
        outer = [n for n in _updated(stmt.body) if n in self.env and n not in mine]
        names = [c.name for c in stmt.carries] + outer
        own = {c.name: self.value(c.init) for c in stmt.carries}
        starts = [*own.values(), *(self._as_value(self.env[n]) for n in outer)]
        # Enough accumulators to hide an addition's latency; costly turns overlap without.
        unroll = 1
        if names and not any(isinstance(s, For) for s in stmt.body):
            unroll = 4 if cost <= 8 else 2 if cost <= 24 else 1
        jam = 1 if names else self._side_by_side(stmt, cost)
        extent = e.integer("sub", stop, start).number
        if extent is not None and extent <= 0:
            self.env.update(own)
            return
        while unroll > 1 and extent is not None and extent < unroll * width:
            unroll //= 2
        while jam > 1 and extent is not None and extent < jam * width:
            jam //= 2
        identities = [e.splat(self._identity(n), width) for n in names]

        guard_label, after = e.fresh("some"), e.fresh("all")
        runs = extent is not None
        e.push(guard_label, passable=runs)
        accumulators = identities * unroll
        position = start
        masked = self.target.masked_memory
        whole = None if extent is None else extent // (unroll * jam * width) * (unroll * jam * width)
        only_masked = (
            masked and cost > _ONE_LOOP_COST and unroll * jam == 1 and (extent is None or extent % width != 0)
        )
        if only_masked:
            whole = 0
        if whole != 0:
            position, accumulators = self._whole_vectors(
                stmt, start, stop, jam * width, unroll, names, accumulators
            )
        rest = None if extent is None or whole is None else extent - whole
        last = accumulators[: len(names)]
        if rest is None or rest > 0:
            last, singles = self._rest(
                stmt, position, stop, width, names, last, identities, rest, unroll * jam
            )
        else:
            singles = []
        accumulators[: len(names)] = last
        totals = []
        for index, name in enumerate(names):
            parts = [accumulators[u * len(names) + index] for u in range(unroll)]
            totals.append(self._total(name, parts, starts[index], singles[index] if singles else None))
        inner = e.pop()
        came_from = e.region.label
        if runs:
            e.line(f"br label %{guard_label}")
        else:
            enter = f"%{e.fresh('enter')}"
            e.line(f"{enter} = icmp slt i64 {start.text}, {stop.text}")
            e.line(f"br i1 {enter}, label %{guard_label}, label %{after}")
        e.region.lines += [f"{guard_label}:", *inner.lines, f"  br label %{after}"]
        e.block(after)
        for name, first, total in zip(names, starts, totals, strict=True):
            merged = f"%{e.fresh('f')}"
            entry = "" if runs else f"[ {first.text}, %{came_from} ], "
            e.line(f"{merged} = phi {total.full_type} {entry}[ {total.text}, %{inner.label} ]")
            self.env[name] = Value(e, merged, total.type, 1, e.region.level)

    def _side_by_side(self, stmt: For, cost: int) -> int:
        """How many vectors of a loop without carries are done at once."""
        loops = [s for s in stmt.body if isinstance(s, For)]
        if any(s.carries for s in loops) and all(self._cost_of(s.body) <= 8 for s in loops):
            return 4  # columns of a cheap loop: its accumulators, and longer runs of memory
        return 2 if not loops and _LONG_TURN <= cost <= _ONE_LOOP_COST else 1

    def _whole_vectors(
        self,
        stmt: For,
        start: Value,
        stop: Value,
        width: int,
        unroll: int,
        names: list[str],
        accumulators: list[Value],
    ) -> tuple[Value, list[Value]]:
        """The turns that fill vectors; gives where the rest begins, and the accumulators."""
        e = self.e
        step = unroll * width
        extent = e.integer("sub", stop, start)
        number = extent.number
        if number is not None:
            filled = e.const("i64", number // step * step)
        else:
            filled = e.binary("and", extent, e.const("i64", -step))
        end = e.integer("add", start, filled)

        def body(i: Value, values: list[Value]) -> list[Value]:
            self.lanes = _Lanes(width, None)
            results = []
            for u in range(unroll):
                self.env[stmt.var] = _Affine(e.integer("add", i, u * width), 1)
                self.env.update(zip(names, values[u * len(names) : (u + 1) * len(names)], strict=True))
                self._body(stmt.body)
                results += [e.splat(self._as_value(self.env[n]), width) for n in names]
            self.lanes = None
            return results

        runs = number is not None and number >= step
        if number is not None and step <= number < 2 * step:
            return end, body(start, accumulators)
        return end, self._counted(start, end, step, accumulators, body, runs, _written(stmt.body))

    def _rest(
        self,
        stmt: For,
        start: Value,
        stop: Value,
        width: int,
        names: list[str],
        accumulators: list[Value],
        identities: list[Value],
        rest: int | None,
        unroll: int,
    ) -> tuple[list[Value], list[Value]]:
        """The last turns, fewer than the unrolled vectors: under a mask, or whole vectors and then one by
        one.

        Gives the accumulators, and the scalar ones if turns were done one by one.
        """
        e = self.e
        writes = _written(stmt.body)
        if rest is not None and _is_power_of_two(rest % width):
            if rest > width:
                start, accumulators = self._whole_vectors(stmt, start, stop, width, 1, names, accumulators)
            return self._narrow(stmt, start, rest % width, names, accumulators), []
        if self.target.masked_memory:

            def masked(i: Value, values: list[Value]) -> list[Value]:
                left = e.integer("sub", stop, i)
                mask = None
                if rest is None or rest % width != 0:
                    mask = self._first_lanes(left, width)
                self.lanes = _Lanes(width, mask)
                self.env[stmt.var] = _Affine(i, 1)
                self.env.update(zip(names, values, strict=True))
                self._body(stmt.body)
                self.lanes = None
                return [e.splat(self._as_value(self.env[n]), width) for n in names]

            if rest is not None and rest <= width:
                return masked(start, accumulators), []
            runs = rest is not None
            return self._counted(start, stop, width, accumulators, masked, runs, writes), []
        if unroll > 1 and (rest is None or rest >= width):
            start, accumulators = self._whole_vectors(stmt, start, stop, width, 1, names, accumulators)
            rest = None if rest is None else rest % width
        if rest == 0:
            return accumulators, []

        def single(i: Value, values: list[Value]) -> list[Value]:
            self.env[stmt.var] = i
            self.env.update(zip(names, values, strict=True))
            self._body(stmt.body)
            return [self._as_value(self.env[n]) for n in names]

        firsts = [self._identity(n) for n in names]
        return accumulators, self._counted(start, stop, 1, firsts, single, rest is not None, writes)

    def _narrow(
        self, stmt: For, start: Value, count: int, names: list[str], accumulators: list[Value]
    ) -> list[Value]:
        """The last turns as one short vector, which takes no mask: the first lanes of the accumulators go on."""
        e = self.e
        self.lanes = None if count == 1 else _Lanes(count, None)
        self.env[stmt.var] = start if count == 1 else _Affine(start, 1)
        self.env.update((n, e.first(v, count)) for n, v in zip(names, accumulators, strict=True))
        self._body(stmt.body)
        results = [e.splat(self._as_value(self.env[n]), count) for n in names]
        self.lanes = None
        return [e.with_first(v, r) for v, r in zip(accumulators, results, strict=True)]

    def _first_lanes(self, count: Value, width: int) -> Value:
        """A mask of the first lanes: as many as a positive count says, or all."""
        e = self.e
        if count.number is not None and count.number >= width:
            return e.const("i1", True, width)
        # As i32, where all lanes' numbers fit a register; a count beyond it is all lanes as well.
        capped = e.intrinsic("umin", count, e.const("i64", width))
        short = e.convert("trunc", capped, "i32")
        return e.compare("ult", e.iota("i32", width), short)

    def _identity(self, name: str) -> Value:
        dtype, op = self.carries[name]
        values = {
            "add": 0,
            "mul": 1,
            "max": lowest(dtype),
            "maxnum": lowest(dtype),
            "min": highest(dtype),
            "or": 0,
            "and": 1,
        }
        value: float = values[op]
        if op == "and" and dtype != "i1":
            value = -1
        if op == "min" and kind(dtype) == "u":
            value = -1
        return self.e.const(_COMPUTE[dtype], value)

    def _total(self, name: str, parts: list[Value], start: Value, single: Value | None) -> Value:
        """Accumulators, lanes of the sum of them, and where the carry began, combined in this order."""
        e = self.e
        dtype, op = self.carries[name]
        while len(parts) > 1:
            parts = [self._combine(op, dtype, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        total = parts[0]
        while total.lanes > 1:
            # A vector of one lane would still be a vector to LLVM.
            low, high = (e.lane(total, 0), e.lane(total, 1)) if total.lanes == 2 else e.halves(total, 2)
            total = self._combine(op, dtype, low, high)
        if single is not None:
            total = self._combine(op, dtype, total, single)
        return self._combine(op, dtype, start, total)

    # --------------------------------------------------------------------------------------------- memory

    def _address(self, buffer: str, index: Value) -> Value:
        pointer = self.pointers[buffer]
        memory = _MEMORY[self.buffers[buffer].dtype]
        if index.number == 0:
            return pointer
        text = f"getelementptr {memory}, ptr {pointer.text}, {index.typed}"
        return self.e.instruction(text, "ptr", index.lanes, (pointer, index))

    def _load(self, expr: Load) -> Value:
        e = self.e
        dtype = self.buffers[expr.buffer].dtype
        memory = _MEMORY[dtype]
        size = ELEMENT_BYTES[memory]
        index = self.eval(expr.index)
        if isinstance(index, Value) and index.lanes == 1:
            if self.lanes is not None and self.lanes.conditional:
                index = e.splat(index, self.lanes.count)
        if isinstance(index, Value) and index.lanes == 1:
            at = self._address(expr.buffer, index)
            raw = e.load(expr.buffer, f"load {memory}, ptr {at.text}, align {size}", memory, 1, (at,))
            return self._from_memory(raw, dtype)
        assert self.lanes is not None
        lanes, mask = self.lanes.count, self.lanes.mask
        if isinstance(index, _Affine) and abs(index.stride) == 1:
            backward = index.stride < 0
            base = e.integer("sub", index.base, lanes - 1) if backward else index.base
            at = self._address(expr.buffer, base)
            full = f"<{lanes} x {memory}>"
            if mask is None:
                text = f"load {full}, ptr {at.text}, align {size}"
                raw = e.load(expr.buffer, text, memory, lanes, (at,))
            else:
                mask = e.reversed(mask) if backward else mask
                name = f"llvm.masked.load.{e.suffix(memory, lanes)}.p0"
                e.declarations.add(f"declare {full} @{name}(ptr, i32, <{lanes} x i1>, {full})")
                text = f"call {full} @{name}(ptr {at.text}, i32 {size}, {mask.typed}, {full} zeroinitializer)"
                raw = e.load(expr.buffer, text, memory, lanes, (at, mask))
            return self._from_memory(e.reversed(raw) if backward else raw, dtype)
        at = self._address(expr.buffer, self._as_value(index))
        on = mask if mask is not None else e.const("i1", True, lanes)
        full = f"<{lanes} x {memory}>"
        name = f"llvm.masked.gather.{e.suffix(memory, lanes)}.v{lanes}p0"
        e.declarations.add(f"declare {full} @{name}(<{lanes} x ptr>, i32, <{lanes} x i1>, {full})")
        text = f"call {full} @{name}({at.typed}, i32 {size}, {on.typed}, {full} zeroinitializer)"
        return self._from_memory(e.load(expr.buffer, text, memory, lanes, (at, on)), dtype)

    def _neighbours(self, body: Sequence[Stmt], position: int) -> list[Store]:
        """The stores from here on that write one element after the other, as many as a lane moves on by."""
        first = body[position]
        if not isinstance(first, Store) or self.lanes is None or self.lanes.mask is not None:
            return []
        run = [first]
        for stmt in body[position + 1 :]:
            if not isinstance(stmt, Store) or stmt.buffer != first.buffer:
                break
            index = stmt.index
            if not (isinstance(index, Op) and index.name == "add" and index.args[0] is first.index):
                break
            if not (isinstance(index.args[1], Const) and index.args[1].value == len(run)):
                break
            run.append(stmt)
        return run

    def _store_interleaved(self, run: list[Store]) -> bool:
        """Stores whole vectors where single stores would be that many elements apart from lane to lane."""
        e, lanes = self.e, self.lanes
        index = self.eval(run[0].index)
        count = len(run)
        if lanes is None or not isinstance(index, _Affine) or index.stride != count or count & (count - 1):
            return False
        dtype = self.buffers[run[0].buffer].dtype
        memory = _MEMORY[dtype]
        values = [e.splat(self._to_memory(self.value(s.value), dtype), lanes.count) for s in run]
        for number, value in enumerate(e.interleaved(values)):
            at = self._address(run[0].buffer, e.integer("add", index.base, number * lanes.count))
            e.line(f"store {value.typed}, ptr {at.text}, align {ELEMENT_BYTES[memory]}")
        e.forget_loads({run[0].buffer})
        return True

    def _store(self, stmt: Store) -> None:
        e = self.e
        dtype = self.buffers[stmt.buffer].dtype
        memory = _MEMORY[dtype]
        size = ELEMENT_BYTES[memory]
        index = self.eval(stmt.index)
        value = self._to_memory(self.value(stmt.value), dtype)
        lanes = self.lanes
        if lanes is None:
            at = self._address(stmt.buffer, self._as_value(index))
            e.line(f"store {value.typed}, ptr {at.text}, align {size}")
        elif isinstance(index, _Affine) and abs(index.stride) == 1:
            value, mask, base = e.splat(value, lanes.count), lanes.mask, index.base
            if index.stride < 0:
                value, base = e.reversed(value), e.integer("sub", base, lanes.count - 1)
                mask = None if mask is None else e.reversed(mask)
            at = self._address(stmt.buffer, base)
            if mask is None and stmt.streaming and self._can_stream(size, lanes.count, index):
                self.streams = True
                align = min(self.target.vector_bytes, size * lanes.count)
                e.line(f"store {value.typed}, ptr {at.text}, align {align}, !nontemporal !1")
            elif mask is None:
                e.line(f"store {value.typed}, ptr {at.text}, align {size}")
            else:
                name = f"llvm.masked.store.{e.suffix(memory, lanes.count)}.p0"
                e.declarations.add(f"declare void @{name}({value.full_type}, ptr, i32, {mask.full_type})")
                e.line(f"call void @{name}({value.typed}, ptr {at.text}, i32 {size}, {mask.typed})")
        else:
            value = e.splat(value, lanes.count)
            at = self._address(stmt.buffer, e.splat(self._as_value(index), lanes.count))
            on = lanes.mask if lanes.mask is not None else e.const("i1", True, lanes.count)
            name = f"llvm.masked.scatter.{e.suffix(memory, lanes.count)}.v{lanes.count}p0"
            e.declarations.add(
                f"declare void @{name}({value.full_type}, {at.full_type}, i32, {on.full_type})"
            )
            e.line(f"call void @{name}({value.typed}, {at.typed}, i32 {size}, {on.typed})")
        e.forget_loads({stmt.buffer})

    def _prefetch(self, stmt: Prefetch) -> None:
        """One hint for all lanes, which are neighbours, or none at all."""
        index = self.eval(stmt.index)
        base = index.base if isinstance(index, _Affine) else index
        if base.lanes == 1 and (self.lanes is None or self.lanes.mask is None):
            at = self._address(stmt.buffer, base)
            self.e.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
            self.e.line(f"call void @llvm.prefetch.p0(ptr {at.text}, i32 0, i32 3, i32 1)")

    def _can_stream(self, size: int, lanes: int, index: _Affine) -> bool:
        """Whether whole registers are stored, on a machine with instructions to do so past the caches."""
        x86 = self.target.triple.startswith("x86_64")
        return x86 and index.stride == 1 and size * lanes % self.target.vector_bytes == 0

    def _from_memory(self, raw: Value, dtype: str) -> Value:
        e = self.e
        if dtype == "i1":
            return e.compare("ne", raw, e.const("i8", 0, raw.lanes))
        if dtype == "bf16":
            wide = e.integer("shl", e.convert("zext", raw, "i32"), 16)
            return e.convert("bitcast", wide, "float")
        if dtype == "f16":
            if self.target.half_conversion:
                return e.convert("fpext", e.convert("bitcast", raw, "half"), "float")
            return self._half_to_float(e.convert("zext", raw, "i32"))
        return raw

    def _to_memory(self, value: Value, dtype: str) -> Value:
        e = self.e
        if dtype == "i1":
            return e.convert("zext", value, "i8")
        if dtype == "bf16":
            whole = e.bits(value)
            odd = e.integer("and", e.integer("lshr", whole, 16), 1)
            rounded = e.integer("lshr", e.integer("add", whole, e.integer("add", odd, 0x7FFF)), 16)
            # Rounding could carry a NaN's bits over into infinity: it gets a quiet one's instead.
            quiet = e.integer("or", e.integer("lshr", whole, 16), 0x40)
            return e.convert("trunc", e.select(e.compare("uno", value, value), quiet, rounded), "i16")
        if dtype == "f16":
            if self.target.half_conversion:
                return e.convert("bitcast", e.convert("fptrunc", value, "half"), "i16")
            return e.convert("trunc", self._float_to_half(value), "i16")
        return value

    def _half_to_float(self, x: Value) -> Value:
        e = self.e
        sign = e.integer("shl", e.integer("and", x, 0x8000), 16)
        rest = e.integer("and", x, 0x7FFF)
        # Multiplying by 2**112 moves the exponent's bias, and makes denormals normal on the way.
        scaled = e.exact("fmul", e.convert("bitcast", e.integer("shl", rest, 13), "float"), 2.0**112)
        special = e.integer("or", e.bits(scaled), 0x7F800000)
        found = e.select(e.compare("uge", rest, 0x7C00), special, e.bits(scaled))
        return e.convert("bitcast", e.integer("or", found, sign), "float")

    def _float_to_half(self, x: Value) -> Value:
        e = self.e
        whole = e.bits(x)
        sign = e.integer("and", whole, -0x80000000)
        size = e.integer("xor", whole, sign)
        special = e.select(e.compare("ugt", size, 0x7F800000), e.int_like(x, 0x7E00), e.int_like(x, 0x7C00))
        # Adding 1/2 lines a denormal half's bits up with the float's last ones.
        lifted = e.exact("fadd", e.convert("bitcast", size, "float"), 0.5)
        denormal = e.integer("sub", e.bits(lifted), 0x3F000000)
        odd = e.integer("and", e.integer("lshr", size, 13), 1)
        normal = e.integer("lshr", e.integer("add", e.integer("add", size, odd), -0x37FFF001), 13)
        found = e.select(e.compare("ult", size, 0x38800000), denormal, normal)
        found = e.select(e.compare("uge", size, 0x47800000), special, found)
        return e.integer("or", found, e.integer("lshr", sign, 16))

    # ----------------------------------------------------------------------------------------- expressions

    def _as_value(self, x: _Result) -> Value:
        if isinstance(x, Value):
            return x
        assert self.lanes is not None
        e = self.e
        base = e.splat(x.base, self.lanes.count)
        return e.binary("add", base, e.iota("i64", self.lanes.count, x.stride))

    def value(self, expr: Expr) -> Value:
        """An expression's value, as a scalar or with a lane each."""
        return self._as_value(self.eval(expr))

    def eval(self, root: Expr) -> _Result:
        """An expression's value. Walks with a stack of its own: long chains must not exhaust Python's."""
        memo = self.memo
        stack = [root]
        while stack:
            expr = stack[-1]
            if id(expr) in memo:
                stack.pop()
                continue
            if isinstance(expr, Op):
                waiting = [a for a in expr.args if id(a) not in memo]
                if waiting:
                    stack.extend(waiting)
                    continue
                result: _Result = self._op(expr, [memo[id(a)] for a in expr.args])
            elif isinstance(expr, Load):
                if id(expr.index) not in memo:
                    stack.append(expr.index)
                    continue
                result = self._load(expr)
            elif isinstance(expr, Var):
                result = self.env[expr.name]
            elif isinstance(expr, Const):
                value = expr.value
                if kind(expr.dtype) == "u":
                    value = int(value)
                result = self.e.const(_COMPUTE[expr.dtype], value)
            else:
                raise TypeError(f"{type(expr).__name__} does not belong in a kernel: lowering must expand it")
            memo[id(expr)] = result
            stack.pop()
        return memo[id(root)]

    def _op(self, expr: Op, args: list[_Result]) -> _Result:
        if any(isinstance(a, _Affine) for a in args):
            affine = self._affine(expr, args)
            if affine is not None:
                return affine
        values = [self._as_value(a) for a in args]
        return self._apply(expr.name, expr.args[-1].dtype, expr.dtype, values)

    def _affine(self, expr: Op, args: list[_Result]) -> _Result | None:
        """The result of index arithmetic that stays affine in the lane, or of a comparison with such an index."""
        e = self.e
        if len(args) == 2 and expr.name in _INTEGER_COMPARISONS:
            return self._compared(expr.name, args[0], args[1])
        if len(args) != 2 or expr.dtype != "i64" or expr.name not in ("add", "sub", "mul"):
            return None
        x, y = args
        if isinstance(x, Value) and x.lanes > 1 or isinstance(y, Value) and y.lanes > 1:
            return None
        if expr.name == "mul":
            if isinstance(x, Value):
                x, y = y, x
            if not isinstance(x, _Affine) or not isinstance(y, Value) or y.number is None:
                return None
            return self._lane_index(e.integer("mul", x.base, y), x.stride * y.number)
        left, right = (v.base if isinstance(v, _Affine) else v for v in (x, y))
        strides = [v.stride if isinstance(v, _Affine) else 0 for v in (x, y)]
        stride = strides[0] + strides[1] if expr.name == "add" else strides[0] - strides[1]
        return self._lane_index(e.integer(expr.name, left, right), stride)

    def _compared(self, name: str, x: _Result, y: _Result) -> Value | None:
        """Compares lanes' neighbouring indices with one number, in 32 bits: its distance is what counts."""
        e, lanes = self.e, self.lanes
        if isinstance(y, _Affine):
            x, y, name = y, x, _TURNED.get(name, name)
        if lanes is None or not isinstance(x, _Affine) or not isinstance(y, Value):
            return None
        if x.stride != 1 or y.lanes != 1:
            return None
        if name in ("eq", "ne"):
            # Whatever is no lane's is as good as the first number behind them.
            apart = e.integer("sub", y, x.base)
            apart = e.intrinsic("umin", *e.level_up((apart, e.const("i64", lanes.count))))
            return e.compare(name, e.iota("i32", lanes.count), e.convert("trunc", apart, "i32"))
        # What lies beyond the lanes on either side compares like the first number there.
        low, high = e.integer("sub", x.base, 1), e.integer("add", x.base, lanes.count)
        held = e.intrinsic("smin", *e.level_up((e.intrinsic("smax", *e.level_up((y, low))), high)))
        held = e.integer("sub", held, x.base)
        return e.compare("s" + name, e.iota("i32", lanes.count), e.convert("trunc", held, "i32"))

    @staticmethod
    def _lane_index(base: Value, stride: int) -> _Result:
        return base if stride == 0 else _Affine(base, stride)

    def _apply(self, name: str, source: str, dtype: str, args: list[Value]) -> Value:
        """A function of the table on values of a dtype."""
        if not is_native(name, source):
            raise NotImplementedError(f"no code for {name} of {source}: lowering must leave it to the host")
        e = self.e
        key = (name, source, dtype, *(a.text for a in args))
        return e.remembered(key, args, lambda: self._expand(name, source, dtype, args))

    def _expand(self, name: str, source: str, dtype: str, args: list[Value]) -> Value:
        if name == "cast":
            return self._cast(args[0], source, dtype)
        if name == "bitcast":
            return self._bitcast(args[0], source, dtype)
        if name == "select":
            return self.e.select(args[0], args[1], args[2])
        if is_float(source):
            return self._float(name, args)
        return self._integer(name, source, args)

    def _float(self, name: str, args: list[Value]) -> Value:
        e, x = self.e, args[0]
        if name in vector_math.UNARY:
            return vector_math.UNARY[name](e, x)
        if name in vector_math.BINARY:
            return vector_math.BINARY[name](e, x, args[1])
        if name in _FLOAT_INSTRUCTIONS:
            return e.binary(f"{_FLOAT_INSTRUCTIONS[name]} contract", x, args[1])
        if name in _FLOAT_COMPARISONS:
            return e.compare(_FLOAT_COMPARISONS[name], x, args[1])
        if name == "fma":
            x, y, z = e.level_up(args)
            return e.fma(x, y, z)
        if name == "neg":
            return -x
        if name == "abs":
            return e.absolute(x)
        if name == "sign":
            return e.select(e.compare("ogt", x, 0.0), 1.0, e.select(e.compare("olt", x, 0.0), -1.0, x))
        if name == "isnan":
            return e.compare("uno", x, x)
        if name == "isinf":
            return e.compare("oeq", e.absolute(x), float("inf"))
        if name == "isfinite":
            return e.compare("olt", e.absolute(x), float("inf"))
        raise NotImplementedError(f"no code for {name} of floats")

    def _integer(self, name: str, dtype: str, args: list[Value]) -> Value:
        e, x = self.e, args[0]
        signed = kind(dtype) == "i"
        if name in ("and", "or", "xor", "add", "sub", "mul"):
            return e.integer(name, x, args[1])
        if name in _INTEGER_COMPARISONS:
            ordering = _INTEGER_COMPARISONS[name]
            prefix = "" if ordering in ("eq", "ne") else "s" if signed else "u"
            return e.compare(prefix + ordering, x, args[1])
        if name in ("min", "max"):
            if dtype == "i1":
                return e.binary("and" if name == "min" else "or", x, args[1])
            return e.intrinsic(("s" if signed else "u") + name, *e.level_up(args))
        if name == "not":
            return e.binary("xor", x, e.like(x, True if dtype == "i1" else -1))
        if name == "neg":
            return e.binary("sub", e.like(x, 0), x)
        if name == "abs":
            return e.intrinsic("abs", x, "i1 false") if signed else x
        if name == "sign":
            positive = e.convert("zext", e.compare("sgt" if signed else "ugt", x, 0), x.type)
            return e.select(e.compare("slt", x, 0), -1, positive) if signed else positive
        if name in ("shl", "shr"):
            amount = args[1]
            if amount.number is None:
                limit = e.like(amount, bits(dtype) - 1)
                amount = e.intrinsic("umin", *e.level_up((amount, limit)))
                if signed:
                    amount = e.select(e.compare("slt", args[1], 0), 0, amount)
            return e.binary("shl" if name == "shl" else "ashr" if signed else "lshr", x, amount)
        if name == "mulhi":
            return self._high_product(dtype, args)
        if name in ("div", "floordiv", "floormod", "truncmod"):
            return self._divide(name, dtype, args)
        raise NotImplementedError(f"no code for {name} of {dtype}")

    def _high_product(self, dtype: str, args: list[Value]) -> Value:
        e = self.e
        size = bits(dtype)
        wide = f"i{2 * size}"
        extend, shift = ("sext", "ashr") if kind(dtype) == "i" else ("zext", "lshr")
        x, y = (e.convert(extend, a, wide) for a in e.level_up(args))
        product = e.binary("mul", x, y)
        amount = Value(e, str(size), wide, 1, 0)
        return e.convert("trunc", e.binary(shift, product, amount), f"i{size}")

    def _divide(self, name: str, dtype: str, args: list[Value]) -> Value:
        """Division and remainders; by zero gives zero, and nothing traps."""
        e = self.e
        signed = kind(dtype) == "i"
        x, y = e.level_up(args)
        constant = args[1].number
        safe = y
        if constant is None or constant in (0, -1):
            # -1 is handled apart: dividing the least integer by it traps.
            bad = e.compare("eq", y, 0)
            if signed:
                bad = e.binary("or", bad, e.compare("eq", y, -1))
            safe = e.select(bad, 1, y)
        remainder = name in ("floormod", "truncmod")
        result = e.binary(("s" if signed else "u") + ("rem" if remainder else "div"), x, safe)
        if name in ("floordiv", "floormod") and signed:
            rest = result if remainder else e.binary("sub", x, e.binary("mul", result, safe))
            apart = e.compare("slt", e.binary("xor", rest, safe), 0)
            off = e.binary("and", apart, e.compare("ne", rest, 0))
            if remainder:
                result = e.select(off, e.binary("add", rest, safe), rest)
            else:
                result = e.binary("add", result, e.convert("sext", off, x.type))
        if safe is not y:
            if signed:
                minus = e.like(x, 0) if remainder else e.binary("sub", e.like(x, 0), x)
                result = e.select(e.compare("eq", y, -1), minus, result)
            result = e.select(e.compare("eq", y, 0), 0, result)
        return result

    def _cast(self, x: Value, source: str, dtype: str) -> Value:
        e = self.e
        old, new = kind(source), kind(dtype)
        to = _COMPUTE[dtype]
        if old == "f" and new == "f":
            if x.type != to:
                x = e.convert("fpext" if to == "double" else "fptrunc", x, to)
            return self._rounded(x, dtype)
        if old == "f":
            if new == "b":
                return e.compare("une", x, 0.0)
            suffix = f"{e.suffix(to, x.lanes)}.{e.suffix(x.type, x.lanes)}"
            return e.call(f"llvm.fpto{'s' if new == 'i' else 'u'}i.sat.{suffix}", to, x)
        if new == "f":
            return self._rounded(e.convert("sitofp" if old == "i" else "uitofp", x, to), dtype)
        if new == "b":
            return e.compare("ne", x, 0)
        if old == "b" or bits(dtype) > bits(source):
            return e.convert("sext" if old == "i" else "zext", x, to)
        return e.convert("trunc", x, to) if bits(dtype) < bits(source) else x

    def _rounded(self, x: Value, dtype: str) -> Value:
        """A float with no more digits than its dtype has."""
        if dtype in ("f16", "bf16"):
            return self._from_memory(self._to_memory(x, dtype), dtype)
        return x

    def _bitcast(self, x: Value, source: str, dtype: str) -> Value:
        if source in ("f16", "bf16"):
            x = self._to_memory(x, source)
        if dtype in ("f16", "bf16"):
            return self._from_memory(x, dtype)
        return x if x.type == _COMPUTE[dtype] else self.e.convert("bitcast", x, _COMPUTE[dtype])

    # ---------------------------------------------------------------------------------------------- prices

    def _cost_of(self, body: Sequence[Stmt]) -> int:
        """About how many instructions a turn of a body takes."""
        total = 0
        flat = [s for s in body if not isinstance(s, (For, If))]
        for expr in walk_exprs(tuple(flat)):
            if isinstance(expr, Load):
                total += 1
            elif isinstance(expr, Op) and expr.dtype != "i64":
                total += _COST.get(expr.name, 1)
        for stmt in body:
            if isinstance(stmt, If):
                total += self._cost_of(stmt.body)
            elif isinstance(stmt, For):
                turns = 8
                if isinstance(stmt.start, Const) and isinstance(stmt.stop, Const):
                    turns = max(0, int(stmt.stop.value) - int(stmt.start.value))
                total += turns * self._cost_of(stmt.body)
            elif isinstance(stmt, Store):
                total += 1
        return total


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _updated(body: Sequence[Stmt]) -> list[str]:
    """The carries updated in a body, once each, in order, but for those of its own loops."""
    inside = list(walk_statements(tuple(body)))
    own = {carry.name for s in inside if isinstance(s, For) for carry in s.carries}
    return list(dict.fromkeys(s.name for s in inside if isinstance(s, Update) and s.name not in own))


def _written(body: Sequence[Stmt]) -> frozenset[str]:
    return frozenset(s.buffer for s in walk_statements(tuple(body)) if isinstance(s, Store))


_FLOAT_INSTRUCTIONS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_FLOAT_COMPARISONS = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_INTEGER_COMPARISONS = {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}
