"""Objects are put into memory without LLVM where they are of the plain kind, and by LLVM else."""

from __future__ import annotations

import ctypes
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from graphflow.backends.cache import ObjectCache
from graphflow.backends.cpu import objects, target
from graphflow.backends.cpu.jit import Jit
from graphflow.backends.cpu.llvm import Engine, emit_object, generate
from graphflow.backends.cpu.target import Target, cross_target, host_target

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and host_target().triple.startswith("x86_64")),
    reason="only for x86-64 Linux",
)

# A function of its own, a table of constants, a table of addresses, and a function of the C library.
PLAIN = """
@table = internal constant [2 x double] [double 3.0, double 0.5], align 16
@ways = internal constant [2 x ptr] [ptr @first, ptr @second]
declare double @cos(double)
define internal double @first(double %x) {
  %y = call double @cos(double %x)
  ret double %y
}
define internal double @second(double %x) {
  %y = fmul double %x, 2.0
  ret double %y
}
define double @chosen(double %x, i64 %i) {
  %at = getelementptr double, ptr @table, i64 %i
  %factor = load double, ptr %at
  %way = getelementptr ptr, ptr @ways, i64 %i
  %function = load ptr, ptr %way
  %y = call double %function(double %x)
  %z = fmul double %y, %factor
  ret double %z
}
"""
COUNTS = """
@so_far = internal global i64 0
define i64 @count() {
  %n = load i64, ptr @so_far
  %m = add i64 %n, 1
  store i64 %m, ptr @so_far
  ret i64 %m
}
"""


def test_the_plain_kind_is_loaded_without_llvm() -> None:
    other = generate("define i64 @seven() {\n  ret i64 7\n}\n", host_target())
    data = generate(PLAIN, host_target())
    loaded = objects.load([other, data])
    assert loaded is not None
    for place in (loaded, Engine([data], host_target())):
        chosen = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)(place.address("chosen"))
        assert (chosen(1.0, 0), chosen(1.0, 1)) == (3 * math.cos(1.0), 1.0)
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(loaded.address("seven"))() == 7
    assert not loaded.address("first") and not loaded.address("nobody")


def test_other_kinds_are_left_to_llvm() -> None:
    assert objects.load([b"no object at all", b""]) is None
    assert objects.load([generate(PLAIN, host_target())[:-200]]) is None
    assert objects.load([emit_object(PLAIN, cross_target("neon"))]) is None
    missing = (
        "declare void @nobody_has_this()\ndefine void @f() {\n  call void @nobody_has_this()\n  ret void\n}\n"
    )
    assert objects.load([generate(missing, host_target())]) is None
    assert objects.load([generate(COUNTS, host_target())]) is None
    jit = Jit(cache=ObjectCache(None))
    count = ctypes.CFUNCTYPE(ctypes.c_int64)(jit.compile([("count", COUNTS)])["count"])
    assert [count(), count()] == [1, 2]


def test_the_host_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ObjectCache(tmp_path)
    monkeypatch.setattr(target, "default_cache", lambda: cache)
    asked = []
    really = target._asked

    def counted() -> Target:
        asked.append(1)
        return really()

    monkeypatch.setattr(target, "_asked", counted)
    once = host_target.__wrapped__
    assert once() == once() == host_target()
    assert len(asked) == 1
    monkeypatch.setattr(target, "_description", lambda: "a processor of another kind")
    assert once() == host_target()
    assert len(asked) == 2
    monkeypatch.setattr(target, "_description", lambda: "")
    once(), once()
    assert len(asked) == 4


def test_a_warm_process_runs_without_llvm(tmp_path: Path, fresh_python: Callable[..., str]) -> None:
    program = """
import json, os, sys
os.environ["GRAPHFLOW_CACHE_DIR"] = sys.argv[1]
import graphflow as gf
x = gf.placeholder(gf.float32, [None, 5])
w = gf.Variable(gf.ones([5, 3]))
with gf.Session() as session:
    session.run(w.initializer)
    value = session.run(gf.nn.softmax(gf.matmul(x, w)), {x: [[1.0, 2.0, 3.0, 4.0, 5.0]]}).tolist()
print(json.dumps([value, "llvmlite.binding" in sys.modules]))
"""
    runs = [json.loads(fresh_python(program, str(tmp_path / "cache"))) for _ in range(2)]
    assert runs[0][0] == runs[1][0]
    assert [loaded for _, loaded in runs] == [True, False]
