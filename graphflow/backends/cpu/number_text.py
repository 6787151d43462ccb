"""Numbers out of JSON text: lists of numbers, nested evenly, straight from the bytes into an array.

Each number gets the double next to it, as Eisel and Lemire have shown how ("Number parsing at a gigabyte per second",
2021): up to nineteen digits, times a power of ten from a table of 128 bits. What is not of that kind, be it rare or
wrong, is left to whoever reads all of JSON.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

import numpy as np

from graphflow.backends.cpu.threads import process_jit

__all__ = ["prepare", "read_numbers"]

_SYMBOL = "graphflow_number_text"
_DEEPEST = 8
_LARGEST_POWER = 64
# Words of what a call tells: how many numbers, their depth, the largest, then the sizes of the lists of each depth,
# and as many words to count in.
_COUNT, _DEPTH, _MOST, _SIZES, _COUNTERS = 0, 1, 2, 3, 3 + _DEEPEST
_WORDS = 3 + 2 * _DEEPEST
# Longer texts are read without the interpreter lock.
_SHORT = 1 << 15

_BLANKS = "\t\n\r "


def _switch(value: str, default: str, *cases: tuple[str, str]) -> str:
    """A switch over the characters of each case."""
    arms = " ".join(f"i8 {ord(c)}, label %{label}" for characters, label in cases for c in characters)
    return f"switch i8 %{value}, label %{default} [{arms}]"


def _char(name: str, at: str) -> str:
    """A character of the text, and whether it is a digit, and which."""
    return f"""  %{name}.p = getelementptr i8, ptr %text, i64 %{at}
  %{name} = load i8, ptr %{name}.p
  %{name}.d = sub i8 %{name}, {ord("0")}
  %{name}.digit = icmp ult i8 %{name}.d, 10"""


def _digits(block: str, before: str, start: str, value: str, end: str) -> str:
    """A loop over digits: its block goes on with the place behind them, and them put behind a value."""
    return f"""{block}:
  %{block}.at = phi i64 [%{start}, %{before}], [%{block}.next, %{block}.more]
  %{block}.m = phi i64 [{value}, %{before}], [%{block}.sum, %{block}.more]
{_char(block + ".c", block + ".at")}
  br i1 %{block}.c.digit, label %{block}.more, label %{end}
{block}.more:
  %{block}.digit = zext i8 %{block}.c.d to i64
  %{block}.ten = mul i64 %{block}.m, 10
  %{block}.sum = add i64 %{block}.ten, %{block}.digit
  %{block}.next = add i64 %{block}.at, 1
  br label %{block}"""


_NO_SIZES = "\n".join(
    f"""  %no.{i} = getelementptr i64, ptr %sizes, i64 {i}
  store i64 -1, ptr %no.{i}"""
    for i in range(_DEEPEST)
)

# The text ends with a byte 0, which nothing here goes beyond.
_TEXT = f"""
declare i64 @llvm.ctlz.i64(i64, i1)
declare double @llvm.fabs.f64(double)

; (text, place of the first bracket, numbers, powers, facts) -> the place behind the last bracket, or -1.
define i64 @{_SYMBOL}(ptr %text, i64 %begin, ptr %out, ptr %powers, ptr %facts) {{
entry:
  %level = alloca i64
  %leaf = alloca i64
  %count = alloca i64
  %most = alloca double
  store i64 -1, ptr %level
  store i64 -1, ptr %leaf
  store i64 0, ptr %count
  store double 0.0, ptr %most
  %sizes = getelementptr i64, ptr %facts, i64 {_SIZES}
  %counters = getelementptr i64, ptr %facts, i64 {_COUNTERS}
{_NO_SIZES}
  br label %value

; A list or a number is to come.
value:
  %at = phi i64 [%begin, %entry], [%after, %blank], [%after, %opened], [%j.after, %between]
{_char("c", "at")}
  %after = add i64 %at, 1
  br i1 %c.digit, label %number, label %other
other:
  {_switch("c", "fail", (_BLANKS, "blank"), ("[", "open"), ("-", "number"))}
blank:
  br label %value
open:
  %o.level = load i64, ptr %level
  %o.inner = add i64 %o.level, 1
  store i64 %o.inner, ptr %level
  %o.leaf = load i64, ptr %leaf
  %o.any = icmp eq i64 %o.leaf, -1
  %o.above = icmp sle i64 %o.inner, %o.leaf
  %o.fits = or i1 %o.any, %o.above
  %o.flat = icmp slt i64 %o.inner, {_DEEPEST}
  %o.good = and i1 %o.fits, %o.flat
  br i1 %o.good, label %opened, label %fail
opened:
  %o.counter = getelementptr i64, ptr %counters, i64 %o.inner
  store i64 0, ptr %o.counter
  br label %value

number:
  %start = phi i64 [%at, %value], [%after, %other]
  %sign0 = phi i64 [0, %value], [1, %other]
  br label %unit
{_digits("unit", "number", "start", "0", "unit.end")}
unit.end:
  %units = sub i64 %unit.at, %start
  %some = icmp ne i64 %units, 0
  %start.p = getelementptr i8, ptr %text, i64 %start
  %start.c = load i8, ptr %start.p
  %leads = icmp eq i8 %start.c, {ord("0")}
  %long = icmp ugt i64 %units, 1
  %led = and i1 %leads, %long
  %plain = xor i1 %led, true
  %right = and i1 %some, %plain
  br i1 %right, label %behind, label %fail
behind:
  {_switch("unit.c", "convert", (".", "point"), ("eE", "exponent"))}

point:
  %point.after = add i64 %unit.at, 1
  br label %tenth
{_digits("tenth", "point", "point.after", "%unit.m", "tenth.end")}
tenth.end:
  %tenths = sub i64 %tenth.at, %point.after
  %tenths.none = icmp eq i64 %tenths, 0
  %tenths.power = sub i64 0, %tenths
  br i1 %tenths.none, label %fail, label %last
last:
  {_switch("tenth.c", "convert", ("eE", "exponent"))}

exponent:
  %e.at = phi i64 [%unit.at, %behind], [%unit.at, %behind], [%tenth.at, %last], [%tenth.at, %last]
  %e.m = phi i64 [%unit.m, %behind], [%unit.m, %behind], [%tenth.m, %last], [%tenth.m, %last]
  %e.q = phi i64 [0, %behind], [0, %behind], [%tenths.power, %last], [%tenths.power, %last]
  %e.digits = phi i64 [%units, %behind], [%units, %behind], [%tenths, %last], [%tenths, %last]
  %e.after = add i64 %e.at, 1
{_char("s", "e.after")}
  %s.plus = icmp eq i8 %s, {ord("+")}
  %s.minus = icmp eq i8 %s, {ord("-")}
  %s.any = or i1 %s.plus, %s.minus
  %s.signs = zext i1 %s.any to i64
  %x.start = add i64 %e.after, %s.signs
  br label %step
{_digits("step", "exponent", "x.start", "0", "step.end")}
step.end:
  %steps = sub i64 %step.at, %x.start
  %steps.below = sub i64 %steps, 1
  %steps.few = icmp ult i64 %steps.below, 9
  %x.negative = sub i64 0, %step.m
  %x.signed = select i1 %s.minus, i64 %x.negative, i64 %step.m
  %x.q = add i64 %e.q, %x.signed
  br i1 %steps.few, label %convert, label %fail

; m times ten to the power, to the nearest double.
convert:
  %end = phi i64 [%unit.at, %behind], [%tenth.at, %last], [%step.at, %step.end]
  %mm = phi i64 [%unit.m, %behind], [%tenth.m, %last], [%e.m, %step.end]
  %q = phi i64 [0, %behind], [%tenths.power, %last], [%x.q, %step.end]
  %fractions = phi i64 [0, %behind], [%tenths, %last], [%e.digits, %step.end]
  %whole = phi i1 [true, %behind], [false, %last], [false, %step.end]
  %level.now = load i64, ptr %level
  %leaf.was = load i64, ptr %leaf
  %leaf.none = icmp eq i64 %leaf.was, -1
  %leaf.now = select i1 %leaf.none, i64 %level.now, i64 %leaf.was
  store i64 %leaf.now, ptr %leaf
  %even = icmp eq i64 %leaf.now, %level.now
  %q.low = icmp sge i64 %q, -{_LARGEST_POWER}
  %q.high = icmp sle i64 %q, {_LARGEST_POWER}
  %q.near = and i1 %q.low, %q.high
  %good = and i1 %even, %q.near
  br i1 %good, label %length, label %fail
length:
  %digits = add i64 %units, %fractions
  %few = icmp ule i64 %digits, 19
  br i1 %few, label %scaled, label %zeros
; More than nineteen digits overflow, unless they begin with zeros.
zeros:
  %z.at = phi i64 [%start, %length], [%z.after, %zero]
  %z.left = phi i64 [%digits, %length], [%z.fewer, %zero]
{_char("z", "z.at")}
  {_switch("z", "counted.zeros", ("0.", "zero"))}
zero:
  %z.after = add i64 %z.at, 1
  %z.one = zext i1 %z.digit to i64
  %z.fewer = sub i64 %z.left, %z.one
  br label %zeros
counted.zeros:
  %z.few = icmp ule i64 %z.left, 19
  br i1 %z.few, label %scaled, label %fail
scaled:
  %nothing = icmp eq i64 %mm, 0
  br i1 %nothing, label %nought, label %product
nought:
  ; A whole number has no negative zero.
  %nought.sign = select i1 %whole, i64 0, i64 %sign0
  %nought.bits = shl i64 %nought.sign, 63
  br label %made
product:
  %lz = call i64 @llvm.ctlz.i64(i64 %mm, i1 true)
  %ms = shl i64 %mm, %lz
  %m128 = zext i64 %ms to i128
  %row = add i64 %q, {_LARGEST_POWER}
  %word = shl i64 %row, 1
  %high.p = getelementptr i64, ptr %powers, i64 %word
  %high.t = load i64, ptr %high.p
  %low.p = getelementptr i64, ptr %high.p, i64 1
  %low.t = load i64, ptr %low.p
  %high.w = zext i64 %high.t to i128
  %low.w = zext i64 %low.t to i128
  %a = mul i128 %m128, %high.w
  %a.up = lshr i128 %a, 64
  %a.high = trunc i128 %a.up to i64
  %a.low = trunc i128 %a to i64
  %b = mul i128 %m128, %low.w
  %b.up = lshr i128 %b, 64
  %b.high = trunc i128 %b.up to i64
  %s.low = add i64 %a.low, %b.high
  %s.carry = icmp ugt i64 %b.high, %s.low
  %s.one = zext i1 %s.carry to i64
  %s.high = add i64 %a.high, %s.one
  %a.last = and i64 %a.high, 511
  %a.open = icmp eq i64 %a.last, 511
  %high = select i1 %a.open, i64 %s.high, i64 %a.high
  %low = select i1 %a.open, i64 %s.low, i64 %a.low
  ; Outside of these powers the table is no more exact than this.
  %low.full = icmp eq i64 %low, -1
  %q.safe0 = icmp slt i64 %q, -27
  %q.safe1 = icmp sgt i64 %q, 55
  %q.unsafe = or i1 %q.safe0, %q.safe1
  %unsure = and i1 %low.full, %q.unsafe
  br i1 %unsure, label %fail, label %rounded
rounded:
  %upper = lshr i64 %high, 63
  %shift = add i64 %upper, 9
  %r0 = lshr i64 %high, %shift
  %e0 = mul i64 %q, 217706
  %e1 = ashr i64 %e0, 16
  %e2 = add i64 %e1, {63 + 1023}
  %e3 = add i64 %e2, %upper
  %e4 = sub i64 %e3, %lz
  ; Half way between two doubles the even one is meant.
  %half0 = icmp ule i64 %low, 1
  %half1 = icmp sge i64 %q, -4
  %half2 = icmp sle i64 %q, 23
  %r0.two = and i64 %r0, 3
  %half3 = icmp eq i64 %r0.two, 1
  %back = shl i64 %r0, %shift
  %half4 = icmp eq i64 %back, %high
  %half5 = and i1 %half0, %half1
  %half6 = and i1 %half2, %half3
  %half7 = and i1 %half5, %half6
  %half = and i1 %half7, %half4
  %r0.even = and i64 %r0, -2
  %r1 = select i1 %half, i64 %r0.even, i64 %r0
  %r1.bit = and i64 %r1, 1
  %r2 = add i64 %r1, %r1.bit
  %r3 = lshr i64 %r2, 1
  %over = icmp uge i64 %r3, {1 << 53}
  %r4 = select i1 %over, i64 {1 << 52}, i64 %r3
  %over.one = zext i1 %over to i64
  %e5 = add i64 %e4, %over.one
  %fraction.bits = and i64 %r4, {(1 << 52) - 1}
  %exponent.bits = shl i64 %e5, 52
  %sign.bits = shl i64 %sign0, 63
  %size.bits = or i64 %fraction.bits, %exponent.bits
  %product.bits = or i64 %size.bits, %sign.bits
  br label %made
made:
  %bits = phi i64 [%nought.bits, %nought], [%product.bits, %rounded]
  %v = bitcast i64 %bits to double
  %k0 = load i64, ptr %count
  %place = getelementptr double, ptr %out, i64 %k0
  store double %v, ptr %place
  %k1 = add i64 %k0, 1
  store i64 %k1, ptr %count
  %size = call double @llvm.fabs.f64(double %v)
  %most0 = load double, ptr %most
  %larger = fcmp ogt double %size, %most0
  %most1 = select i1 %larger, double %size, double %most0
  store double %most1, ptr %most
  br label %counted

; One more of its list.
counted:
  %from = phi i64 [%end, %made], [%j.after, %closed]
  %l = load i64, ptr %level
  %l.counter = getelementptr i64, ptr %counters, i64 %l
  %l.n0 = load i64, ptr %l.counter
  %l.n1 = add i64 %l.n0, 1
  store i64 %l.n1, ptr %l.counter
  br label %between
between:
  %j.at = phi i64 [%from, %counted], [%j.after, %gap]
{_char("j", "j.at")}
  %j.after = add i64 %j.at, 1
  {_switch("j", "fail", (_BLANKS, "gap"), (",", "value"), ("]", "close"))}
gap:
  br label %between
close:
  %size.p = getelementptr i64, ptr %sizes, i64 %l
  %size.was = load i64, ptr %size.p
  %size.none = icmp eq i64 %size.was, -1
  %size.now = select i1 %size.none, i64 %l.n1, i64 %size.was
  store i64 %size.now, ptr %size.p
  %l.outer = sub i64 %l, 1
  store i64 %l.outer, ptr %level
  %size.even = icmp eq i64 %size.now, %l.n1
  br i1 %size.even, label %closed, label %fail
closed:
  %l.last = icmp eq i64 %l, 0
  br i1 %l.last, label %done, label %counted
done:
  %k.all = load i64, ptr %count
  store i64 %k.all, ptr %facts
  %depth0 = load i64, ptr %leaf
  %depth = add i64 %depth0, 1
  %depth.p = getelementptr i64, ptr %facts, i64 {_DEPTH}
  store i64 %depth, ptr %depth.p
  %most.all = load double, ptr %most
  %most.p = getelementptr i64, ptr %facts, i64 {_MOST}
  store double %most.all, ptr %most.p
  ret i64 %j.after
fail:
  ret i64 -1
}}
"""


@functools.cache
def _powers() -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The first 128 bits of five to each power, those of negative powers rounded up; high words first."""
    words = []
    for q in range(-_LARGEST_POWER, _LARGEST_POWER + 1):
        power = 5 ** abs(q)
        if q >= 0:
            bits = power << 128 >> power.bit_length()
        else:
            # A power of two divided by it, and one more; of 128 bits.
            size = (power - 1).bit_length() + 127
            bits = (1 << (size if q >= -27 else size + 128)) // power + 1
            bits >>= max(0, bits.bit_length() - 128)
        words += [bits >> 64, bits & ((1 << 64) - 1)]
    return np.array(words, np.uint64)


@functools.cache
def _reader() -> tuple[Any, Any, int]:
    """The native function without and with the interpreter lock given back, and where its table of powers is."""
    address = process_jit().compile([(_SYMBOL, _TEXT)])[_SYMBOL]
    words = ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
    return ctypes.PYFUNCTYPE(*words)(address), ctypes.CFUNCTYPE(*words)(address), _powers().ctypes.data


def prepare() -> None:
    """Makes the code, so that the first text does not wait for it."""
    _reader()


class _Scratch(threading.local):
    """What the calls of a thread write to, and where that is."""

    def __init__(self) -> None:
        self.numbers = np.empty(_SHORT // 2 + 1)
        self.facts = (ctypes.c_int64 * _WORDS)()
        self.most = ctypes.c_double.from_buffer(self.facts, 8 * _MOST)
        self.at = self.numbers.ctypes.data
        self.facts_at = ctypes.addressof(self.facts)


_scratch = _Scratch()


def read_numbers(
    text: bytes, begin: int, dtype: np.dtype[Any], largest: float
) -> tuple[np.ndarray[Any, Any], int] | None:
    """Reads a JSON list of numbers, or of such lists of equal sizes.

    Args:
      text: the text.
      begin: where the list's bracket is.
      dtype: float32 or float64.
      largest: how large numbers may be, without their sign.

    Returns:
      The numbers, each the float64 nearest to it, as the dtype has that, and the place behind the list. None where it
      is no such list: where it is empty, uneven or more than eight lists deep, holds anything but JSON's numbers, or
      one that is too large, has more than nineteen digits or is beyond what ten to the 64th gives.
    """
    held, free, powers = _reader()
    scratch = _scratch
    if len(text) - begin <= _SHORT:
        numbers = scratch.numbers
        end = held(text, begin, scratch.at, powers, scratch.facts_at)
    else:
        numbers = np.empty(text.count(b",", begin) + 1)
        end = free(text, begin, numbers.ctypes.data, powers, scratch.facts_at)
    if end < 0 or scratch.most.value > largest:
        return None
    facts = scratch.facts
    shape = facts[_SIZES : _SIZES + facts[_DEPTH]]
    return numbers[: facts[_COUNT]].astype(dtype).reshape(shape), end
