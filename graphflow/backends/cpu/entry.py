"""From Python into native code: a builtin made by the compiler, and its plain twin through ctypes.

The builtin is a METH_FASTCALL function in LLVM text. It reads the arrays' type, dtype, sizes, flags and address
straight from CPython's and NumPy's structs, writes addresses into the plan's table and makes the native call; its
`self` is an int64 array that says what to expect (the control block). The structs' layout is compared with arrays
whose facts are known before the builtin is trusted; where it does not fit (another Python, a build without the
interpreter lock) the twin does the same through ctypes.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.backends.cpu.driver import HEADER_WORDS, WATCH_WORDS
from graphflow.backends.cpu.threads import driver, process_jit
from graphflow.plan import Check, Entry

__all__ = ["Call", "builtin_available", "make_direct", "make_entry"]

Array = np.ndarray[Any, np.dtype[Any]]

_SYMBOL = "graphflow_entry"

# Offsets in PyArrayObject, PyTupleObject and PyListObject, 64 bit.
_TYPE, _DATA, _RANK, _SIZES, _DESCR, _FLAGS = 8, 16, 24, 32, 56, 64
_LENGTH, _ITEMS = 16, 24
_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400

# Control block words: None, array type, tuple type, list type, feeds, outputs, specs, header, segment routine,
# release the interpreter lock?, NotImplemented, PyArray_NewFromDescr, PyArray_Return, dict type, keys.
_CONTROL_WORDS = 15
# Where NumPy's table of C functions has the two.
_NEW_FROM_DESCR, _RETURN = 94, 76
# Words of a spec: dtype, rank, address of sizes, flags, address of patches, patches.
_SPEC_WORDS = 6

_TEXT = f"""
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare void @Py_IncRef(ptr)
declare i64 @PyDict_Size(ptr)
declare i32 @PyDict_Next(ptr, ptr, ptr, ptr)

define internal i64 @word(ptr %block, i64 %i) alwaysinline {{
  %at = getelementptr i64, ptr %block, i64 %i
  %v = load i64, ptr %at
  ret i64 %v
}}

define internal void @launch(ptr %control) {{
entry:
  %header = call i64 @word(ptr %control, i64 7)
  %none = icmp eq i64 %header, 0
  br i1 %none, label %done, label %call
call:
  %address = call i64 @word(ptr %control, i64 8)
  %routine = inttoptr i64 %address to ptr
  %p = inttoptr i64 %header to ptr
  %release = call i64 @word(ptr %control, i64 9)
  %free = icmp ne i64 %release, 0
  br i1 %free, label %released, label %held
held:
  call void %routine(ptr %p)
  br label %done
released:
  %state = call ptr @PyEval_SaveThread()
  call void %routine(ptr %p)
  call void @PyEval_RestoreThread(ptr %state)
  br label %done
done:
  ret void
}}

define internal ptr @none(ptr %control) {{
  %n = load ptr, ptr %control
  call void @Py_IncRef(ptr %n)
  ret ptr %n
}}

; Whether the array fits the spec; if so its address goes into the table.
define internal i1 @bind(ptr %control, ptr %spec, ptr %array) {{
entry:
  %type_at = getelementptr i8, ptr %array, i64 {_TYPE}
  %type = load i64, ptr %type_at
  %wanted_type = call i64 @word(ptr %control, i64 1)
  %is_array = icmp eq i64 %type, %wanted_type
  br i1 %is_array, label %kind, label %bad
kind:
  %descr_at = getelementptr i8, ptr %array, i64 {_DESCR}
  %descr = load i64, ptr %descr_at
  %wanted_descr = load i64, ptr %spec
  %is_dtype = icmp eq i64 %descr, %wanted_descr
  %rank_at = getelementptr i8, ptr %array, i64 {_RANK}
  %rank32 = load i32, ptr %rank_at
  %rank = sext i32 %rank32 to i64
  %wanted_rank = call i64 @word(ptr %spec, i64 1)
  %is_rank = icmp eq i64 %rank, %wanted_rank
  %flags_at = getelementptr i8, ptr %array, i64 {_FLAGS}
  %flags32 = load i32, ptr %flags_at
  %flags = zext i32 %flags32 to i64
  %wanted_flags = call i64 @word(ptr %spec, i64 3)
  %set = and i64 %flags, %wanted_flags
  %is_plain = icmp eq i64 %set, %wanted_flags
  %a = and i1 %is_dtype, %is_rank
  %b = and i1 %a, %is_plain
  br i1 %b, label %sizes, label %bad
sizes:
  %sizes_at = getelementptr i8, ptr %array, i64 {_SIZES}
  %have = load ptr, ptr %sizes_at
  %want64 = call i64 @word(ptr %spec, i64 2)
  %want = inttoptr i64 %want64 to ptr
  br label %size
size:
  %d = phi i64 [0, %sizes], [%d1, %same]
  %left = icmp slt i64 %d, %rank
  br i1 %left, label %compare, label %fits
compare:
  %n = call i64 @word(ptr %have, i64 %d)
  %m = call i64 @word(ptr %want, i64 %d)
  %d1 = add i64 %d, 1
  %equal = icmp eq i64 %n, %m
  br i1 %equal, label %same, label %bad
same:
  br label %size
fits:
  %data_at = getelementptr i8, ptr %array, i64 {_DATA}
  %data = load i64, ptr %data_at
  %patches64 = call i64 @word(ptr %spec, i64 4)
  %patches = inttoptr i64 %patches64 to ptr
  %count = call i64 @word(ptr %spec, i64 5)
  br label %patch
patch:
  %i = phi i64 [0, %fits], [%i1, %write]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %write, label %good
write:
  %pair_offset = shl i64 %i, 4
  %pair = getelementptr i8, ptr %patches, i64 %pair_offset
  %target = load ptr, ptr %pair
  %skip = call i64 @word(ptr %pair, i64 1)
  %address = add i64 %data, %skip
  store i64 %address, ptr %target
  %i1 = add i64 %i, 1
  br label %patch
good:
  ret i1 true
bad:
  ret i1 false
}}

; (feeds tuple, outputs list) -> None, or the number of the first array that does not fit.
define internal ptr @enter(ptr %self, ptr %args, i64 %nargs) {{
entry:
  %control_at = getelementptr i8, ptr %self, i64 {_DATA}
  %control = load ptr, ptr %control_at
  %two = icmp eq i64 %nargs, 2
  br i1 %two, label %types, label %wrong
types:
  %feeds = load ptr, ptr %args
  %second = getelementptr i8, ptr %args, i64 8
  %outputs = load ptr, ptr %second
  %t1_at = getelementptr i8, ptr %feeds, i64 {_TYPE}
  %t1 = load i64, ptr %t1_at
  %t2_at = getelementptr i8, ptr %outputs, i64 {_TYPE}
  %t2 = load i64, ptr %t2_at
  %tuple = call i64 @word(ptr %control, i64 2)
  %list = call i64 @word(ptr %control, i64 3)
  %is_tuple = icmp eq i64 %t1, %tuple
  %is_list = icmp eq i64 %t2, %list
  %both = and i1 %is_tuple, %is_list
  br i1 %both, label %lengths, label %wrong
lengths:
  %n1_at = getelementptr i8, ptr %feeds, i64 {_LENGTH}
  %n1 = load i64, ptr %n1_at
  %n2_at = getelementptr i8, ptr %outputs, i64 {_LENGTH}
  %n2 = load i64, ptr %n2_at
  %want1 = call i64 @word(ptr %control, i64 4)
  %want2 = call i64 @word(ptr %control, i64 5)
  %e1 = icmp eq i64 %n1, %want1
  %e2 = icmp eq i64 %n2, %want2
  %e = and i1 %e1, %e2
  br i1 %e, label %begin, label %wrong
begin:
  %specs64 = call i64 @word(ptr %control, i64 6)
  %specs = inttoptr i64 %specs64 to ptr
  %feed_items = getelementptr i8, ptr %feeds, i64 {_ITEMS}
  %output_items_at = getelementptr i8, ptr %outputs, i64 {_ITEMS}
  %output_items = load ptr, ptr %output_items_at
  %total = add i64 %n1, %n2
  br label %loop
loop:
  %i = phi i64 [0, %begin], [%i1, %bound]
  %more = icmp slt i64 %i, %total
  br i1 %more, label %choose, label %run
choose:
  %is_feed = icmp slt i64 %i, %n1
  %j = sub i64 %i, %n1
  %items = select i1 %is_feed, ptr %feed_items, ptr %output_items
  %k = select i1 %is_feed, i64 %i, i64 %j
  %item_at = getelementptr i64, ptr %items, i64 %k
  %item = load ptr, ptr %item_at
  %spec_offset = mul i64 %i, {8 * _SPEC_WORDS}
  %spec = getelementptr i8, ptr %specs, i64 %spec_offset
  %ok = call i1 @bind(ptr %control, ptr %spec, ptr %item)
  br i1 %ok, label %bound, label %misfit
bound:
  %i1 = add i64 %i, 1
  br label %loop
misfit:
  %number = call ptr @PyLong_FromLongLong(i64 %i)
  ret ptr %number
wrong:
  %minus = call ptr @PyLong_FromLongLong(i64 -1)
  ret ptr %minus
run:
  call void @launch(ptr %control)
  %result = call ptr @none(ptr %control)
  ret ptr %result
}}

; Makes the output, calls, and returns it as an array, or as a scalar where it has rank 0.
define internal ptr @made(ptr %control, ptr %spec) {{
entry:
  %type64 = call i64 @word(ptr %control, i64 1)
  %type = inttoptr i64 %type64 to ptr
  %descr = load ptr, ptr %spec
  %rank64 = call i64 @word(ptr %spec, i64 1)
  %rank = trunc i64 %rank64 to i32
  %sizes64 = call i64 @word(ptr %spec, i64 2)
  %sizes = inttoptr i64 %sizes64 to ptr
  %new64 = call i64 @word(ptr %control, i64 11)
  %new = inttoptr i64 %new64 to ptr
  call void @Py_IncRef(ptr %descr)
  %array = call ptr %new(ptr %type, ptr %descr, i32 %rank, ptr %sizes, ptr null, ptr null, i32 0, ptr null)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %error, label %run
error:
  ret ptr null
run:
  %fits = call i1 @bind(ptr %control, ptr %spec, ptr %array)
  call void @launch(ptr %control)
  %return64 = call i64 @word(ptr %control, i64 12)
  %return = inttoptr i64 %return64 to ptr
  %result = call ptr %return(ptr %array)
  ret ptr %result
}}

define internal ptr @not_implemented(ptr %control) {{
  %not64 = call i64 @word(ptr %control, i64 10)
  %not = inttoptr i64 %not64 to ptr
  call void @Py_IncRef(ptr %not)
  ret ptr %not
}}

; (feeds...) -> what the call has made of them; NotImplemented where they do not fit.
define internal ptr @direct(ptr %self, ptr %args, i64 %nargs) {{
entry:
  %control_at = getelementptr i8, ptr %self, i64 {_DATA}
  %control = load ptr, ptr %control_at
  %feeds = call i64 @word(ptr %control, i64 4)
  %specs64 = call i64 @word(ptr %control, i64 6)
  %specs = inttoptr i64 %specs64 to ptr
  %right = icmp eq i64 %nargs, %feeds
  br i1 %right, label %loop, label %other
loop:
  %i = phi i64 [0, %entry], [%i1, %bound]
  %spec_offset = mul i64 %i, {8 * _SPEC_WORDS}
  %spec = getelementptr i8, ptr %specs, i64 %spec_offset
  %more = icmp slt i64 %i, %feeds
  br i1 %more, label %feed, label %make
feed:
  %item_at = getelementptr i64, ptr %args, i64 %i
  %item = load ptr, ptr %item_at
  %ok = call i1 @bind(ptr %control, ptr %spec, ptr %item)
  br i1 %ok, label %bound, label %other
bound:
  %i1 = add i64 %i, 1
  br label %loop
make:
  %result = call ptr @made(ptr %control, ptr %spec)
  ret ptr %result
other:
  %not = call ptr @not_implemented(ptr %control)
  ret ptr %not
}}

; (dict) -> the same; its keys have to be the very objects of the control block, in their order.
define internal ptr @direct_by_key(ptr %self, ptr %dict) {{
entry:
  %control_at = getelementptr i8, ptr %self, i64 {_DATA}
  %control = load ptr, ptr %control_at
  %feeds = call i64 @word(ptr %control, i64 4)
  %specs64 = call i64 @word(ptr %control, i64 6)
  %specs = inttoptr i64 %specs64 to ptr
  %keys64 = call i64 @word(ptr %control, i64 14)
  %keys = inttoptr i64 %keys64 to ptr
  %position = alloca i64
  %key_at = alloca ptr
  %value_at = alloca ptr
  store i64 0, ptr %position
  %type_at = getelementptr i8, ptr %dict, i64 {_TYPE}
  %type = load i64, ptr %type_at
  %wanted_type = call i64 @word(ptr %control, i64 13)
  %is_dict = icmp eq i64 %type, %wanted_type
  br i1 %is_dict, label %length, label %other
length:
  %items = call i64 @PyDict_Size(ptr %dict)
  %right = icmp eq i64 %items, %feeds
  br i1 %right, label %loop, label %other
loop:
  %i = phi i64 [0, %length], [%i1, %bound]
  %spec_offset = mul i64 %i, {8 * _SPEC_WORDS}
  %spec = getelementptr i8, ptr %specs, i64 %spec_offset
  %more = icmp slt i64 %i, %feeds
  br i1 %more, label %feed, label %make
feed:
  %got = call i32 @PyDict_Next(ptr %dict, ptr %position, ptr %key_at, ptr %value_at)
  %some = icmp ne i32 %got, 0
  br i1 %some, label %compare, label %other
compare:
  %key = load i64, ptr %key_at
  %wanted = call i64 @word(ptr %keys, i64 %i)
  %same = icmp eq i64 %key, %wanted
  br i1 %same, label %value, label %other
value:
  %item = load ptr, ptr %value_at
  %ok = call i1 @bind(ptr %control, ptr %spec, ptr %item)
  br i1 %ok, label %bound, label %other
bound:
  %i1 = add i64 %i, 1
  br label %loop
make:
  %result = call ptr @made(ptr %control, ptr %spec)
  ret ptr %result
other:
  %not = call ptr @not_implemented(ptr %control)
  ret ptr %not
}}

; () -> None: the native call alone.
define internal ptr @again(ptr %self, ptr %unused) {{
  %control_at = getelementptr i8, ptr %self, i64 {_DATA}
  %control = load ptr, ptr %control_at
  call void @launch(ptr %control)
  %result = call ptr @none(ptr %control)
  ret ptr %result
}}

define void @{_SYMBOL}(ptr %table) {{
  store ptr @enter, ptr %table
  %second = getelementptr i8, ptr %table, i64 8
  store ptr @again, ptr %second
  %third = getelementptr i8, ptr %table, i64 16
  store ptr @direct, ptr %third
  %fourth = getelementptr i8, ptr %table, i64 24
  store ptr @direct_by_key, ptr %fourth
  ret void
}}
"""


class _Method(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class _Builtins:
    """The method definitions; they live as long as the process, as the functions made from them may."""

    def __init__(self) -> None:
        address = process_jit().compile([(_SYMBOL, _TEXT)])[_SYMBOL]
        table = (ctypes.c_int64 * 4)()
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(table))
        self._enter = _Method(b"enter", table[0], 0x80, None)  # METH_FASTCALL
        self._again = _Method(b"again", table[1], 0x4, None)  # METH_NOARGS
        self._direct = _Method(b"direct", table[2], 0x80, None)
        self._direct_by_key = _Method(b"direct_by_key", table[3], 0x8, None)  # METH_O
        self._make = ctypes.pythonapi.PyCFunction_NewEx
        self._make.restype = ctypes.py_object
        self._make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]

    def enter(self, control: Array) -> Entry:
        """A function (tuple, list) over a control block."""
        function: Entry = self._make(ctypes.addressof(self._enter), control, None)
        return function

    def again(self, control: Array) -> Callable[[], None]:
        """A function () over a control block."""
        function: Callable[[], None] = self._make(ctypes.addressof(self._again), control, None)
        return function

    def direct(self, control: Array, by_key: bool) -> Callable[..., Any]:
        """A function of the feeds, or of a dict of them, over a control block."""
        method = self._direct_by_key if by_key else self._direct
        function: Callable[..., Any] = self._make(ctypes.addressof(method), control, None)
        return function


@functools.cache
def _numpy_functions() -> tuple[int, int]:
    """The addresses of NumPy's `PyArray_NewFromDescr` and `PyArray_Return`."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype = ctypes.c_void_p
    pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    functions = ctypes.cast(pointer_of(capsule, None), ctypes.POINTER(ctypes.c_int64))
    return functions[_NEW_FROM_DESCR], functions[_RETURN]


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _fields_fit(array: Array) -> bool:
    """Whether the array's struct holds at our offsets what NumPy says of it."""
    if np.ndarray.__basicsize__ < _FLAGS + 4:
        return False
    raw = ctypes.string_at(id(array), _FLAGS + 4)

    def at(offset: int, size: int = 8) -> int:
        return int.from_bytes(raw[offset : offset + size], "little", signed=size == 8)

    flags = at(_FLAGS, 4)
    if (at(_TYPE), at(_DATA), at(_RANK, 4), at(_DESCR)) != (
        id(type(array)), _address(array), array.ndim, id(array.dtype),
    ):  # fmt: skip
        return False
    if (bool(flags & _C_CONTIGUOUS), bool(flags & _ALIGNED), bool(flags & _WRITEABLE)) != (
        array.flags.c_contiguous, array.flags.aligned, array.flags.writeable,
    ):  # fmt: skip
        return False
    if not array.ndim:
        return True
    sizes = ctypes.string_at(at(_SIZES), 8 * array.ndim)
    return sizes == np.array(array.shape, np.int64).tobytes()


def _sequences_fit() -> bool:
    """Whether tuples and lists hold their items where we look for them."""
    marks = [object(), object(), object()]
    pair = (marks[0], marks[1])
    raw = ctypes.string_at(id(pair), pair.__sizeof__())
    expected = np.array([id(tuple), 2, id(marks[0]), id(marks[1])], np.int64).tobytes()
    if raw[_TYPE : _TYPE + 8] + raw[_LENGTH : _LENGTH + 8] + raw[_ITEMS : _ITEMS + 16] != expected:
        return False
    raw = ctypes.string_at(id(marks), _ITEMS + 8)
    head = np.array([id(list), 3], np.int64).tobytes()
    if raw[_TYPE : _TYPE + 8] + raw[_LENGTH : _LENGTH + 8] != head:
        return False
    items = ctypes.string_at(int.from_bytes(raw[_ITEMS : _ITEMS + 8], "little"), 24)
    return items == np.array([id(mark) for mark in marks], np.int64).tobytes()


def _layout_fits() -> bool:
    if platform.python_implementation() != "CPython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    # "t": a build without the interpreter lock.
    if "t" in getattr(sys, "abiflags", "") or not np.little_endian:
        return False
    square = np.zeros((3, 5), np.float32)
    locked = np.zeros(4, np.int64)
    locked.flags.writeable = False
    unaligned = np.zeros(33, np.uint8)[1:].view(np.float64)
    samples: list[Array] = [
        square,
        square.T,
        square[:, ::2],
        locked,
        unaligned,
        np.zeros((), np.bool_),
        np.zeros((2, 0, 7)),
    ]
    return all(_fields_fit(array) for array in samples) and _sequences_fit()


@functools.cache
def _builtins() -> _Builtins | None:
    """The builtins, or None where this Python's structs are not what they were compiled for."""
    if not _layout_fits():
        return None
    builtins = _Builtins()
    table = np.zeros(2, np.int64)
    check = Check((3, 2), np.dtype(np.float32), False, np.array([[0, 0], [1, 8]], np.int64))
    enter = builtins.enter(_control(table, [check], [], None))
    good = np.zeros((3, 2), np.float32)
    bad = [good.astype(np.int32), np.zeros((2, 3), np.float32), good.T.copy().T, good[:2], 1.0]
    if enter((good,), []) is not None or table.tolist() != [_address(good), _address(good) + 8]:
        return None
    if any(enter((array,), []) != 0 for array in bad) or enter((), []) != -1:
        return None
    key = object()
    for by_key in (False, True):
        direct = builtins.direct(_control(table, [check], [check], None, (key,)), by_key)
        if any(direct({key: array} if by_key else array) is not NotImplemented for array in bad):
            return None
        made = direct({key: good} if by_key else good)
        if type(made) is not np.ndarray or (made.shape, made.dtype) != ((3, 2), np.float32):
            return None
    return builtins


def builtin_available() -> bool:
    """Whether the fast way in works in this process."""
    return _builtins() is not None


class Call:
    """A bound segment: `call()` makes the native call, `trace()` makes it with clocks.

    Args:
      header: see `driver.HEADER_WORDS`.
      release: whether to release the interpreter lock.
      threads: how many share it.
      fast: whether by the builtin; None: if that can be.
      owner: what to keep alive.
      ask: is asked now and then, in the calling thread, whether to leave off: see `driver.WATCH_WORDS`.
    """

    def __init__(
        self,
        header: Array,
        release: bool,
        threads: int,
        fast: bool | None = None,
        owner: object = None,
        ask: Callable[[int], int] | None = None,
    ) -> None:
        self.header = header
        if ask is not None:
            self._watch = np.zeros(WATCH_WORDS, np.int64)
            self._ask = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(ask)
            self._watch[1] = ctypes.cast(self._ask, ctypes.c_void_p).value or 0
            header[4] = _address(self._watch)
        self.release = release
        self._threads = threads
        self._owner = owner
        routine = driver().segment
        fast = builtin_available() if fast is None else fast
        builtins = _builtins() if fast else None
        address = _address(header)
        kind = ctypes.CFUNCTYPE if release else ctypes.PYFUNCTYPE
        self._plain = kind(None, ctypes.c_void_p)(routine)
        self.call: Callable[[], None]
        if builtins is not None:
            self.call = builtins.again(_control(header, [], [], self))
        else:
            self.call = functools.partial(self._plain, address)

    def trace(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Times of each record on each thread, see `plan.SegmentCall`."""
        header = self.header.copy()
        times = np.zeros((self._threads, int(header[1]), 4), np.int64)
        header[HEADER_WORDS - 1] = _address(times)
        self._plain(_address(header))
        return times


class _Control(np.ndarray[Any, np.dtype[Any]]):
    """A control block that keeps alive what it points to."""

    keeps: tuple[object, ...]


def _control(
    table: Array,
    feeds: Sequence[Check],
    outputs: Sequence[Check],
    call: Call | None,
    keys: Sequence[object] = (),
) -> Array:
    checks = [*feeds, *outputs]
    key_addresses = np.array([id(key) for key in keys] or [0], np.int64)
    sizes = np.array([n for check in checks for n in check.shape] or [0], np.int64)
    patches = np.concatenate([np.empty((0, 2), np.int64), *(check.patches for check in checks)]).astype(
        np.int64
    )
    patches[:, 0] = _address(table) + 8 * patches[:, 0]
    control = np.zeros(_CONTROL_WORDS + _SPEC_WORDS * len(checks), np.int64).view(_Control)
    base = _address(control)
    control[:_CONTROL_WORDS] = (
        id(None), id(np.ndarray), id(tuple), id(list), len(feeds), len(outputs), base + 8 * _CONTROL_WORDS,
        0 if call is None else _address(call.header), driver().segment, int(call is not None and call.release),
        id(NotImplemented), *_numpy_functions(), id(dict), _address(key_addresses),
    )  # fmt: skip
    size_at, patch_at = _address(sizes), _address(patches)
    for number, check in enumerate(checks):
        start = _CONTROL_WORDS + _SPEC_WORDS * number
        flags = _C_CONTIGUOUS | _ALIGNED | (_WRITEABLE if check.writable else 0)
        control[start : start + _SPEC_WORDS] = (
            id(check.dtype), len(check.shape), size_at, flags, patch_at, len(check.patches),
        )  # fmt: skip
        size_at += 8 * len(check.shape)
        patch_at += 16 * len(check.patches)
    control.keeps = (
        table,
        sizes,
        patches,
        tuple(check.dtype for check in checks),
        key_addresses,
        tuple(keys),
        call,
    )
    return control


def make_entry(
    table: Array,
    feeds: Sequence[Check],
    outputs: Sequence[Check],
    call: Call | None,
    fast: bool | None = None,
) -> Entry:
    """The way in of `plan.Runtime.entry`; `fast` forces the builtin or the twin."""
    builtins = _builtins() if fast or fast is None else None
    if builtins is not None:
        return builtins.enter(_control(table, feeds, outputs, call))
    return _twin(table, feeds, outputs, call)


def make_direct(
    table: Array,
    feeds: Sequence[Check],
    output: Check,
    call: Call | None,
    keys: Sequence[object] | None = None,
) -> Callable[..., Any] | None:
    """The way in of `plan.Runtime.direct`, or None where there is no builtin or the call may let others in."""
    builtins = _builtins()
    if builtins is None or (call is not None and call.release):
        return None
    return builtins.direct(_control(table, feeds, [output], call, keys or ()), keys is not None)


def _twin(table: Array, feeds: Sequence[Check], outputs: Sequence[Check], call: Call | None) -> Entry:
    checks = (*feeds, *outputs)

    def enter(fed: tuple[Any, ...], made: list[Array]) -> int | None:
        if len(fed) != len(feeds) or len(made) != len(outputs):
            return -1
        addresses = []
        for number, (check, array) in enumerate(zip(checks, (*fed, *made), strict=True)):
            if type(array) is not np.ndarray or array.dtype is not check.dtype or array.shape != check.shape:
                return number
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned and (flags.writeable or not check.writable)):
                return number
            addresses.append(_address(array))
        for check, address in zip(checks, addresses, strict=True):
            table[check.patches[:, 0]] = check.patches[:, 1] + address
        if call is not None:
            call.call()
        return None

    return enter
