"""The object cache: what it keeps, what it distrusts, and the JIT on top of it."""

import ctypes
import multiprocessing
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from graphflow.backends.cache import ObjectCache, default_cache, digest
from graphflow.backends.cpu.codegen import kernel_to_llvm
from graphflow.backends.cpu.jit import Jit
from graphflow.backends.cpu.target import cross_target, host_target
from graphflow.loops.build import Builder

KEY = digest("some", "entry")


def test_digest_keeps_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")
    assert len(digest()) == 64


def test_keeps_entries(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "deep" / "cache")
    assert cache.enabled
    assert cache.get(KEY) is None
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    assert ObjectCache(tmp_path / "deep" / "cache").get(KEY) == b"code"
    cache.put(KEY, b"other code")
    assert cache.get(KEY) == b"other code"


def entry(directory: Path) -> Path:
    (path,) = directory.rglob("*.obj")
    return path


def test_the_directory_is_private(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    ObjectCache(directory).put(KEY, b"code")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(directory).stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "other key"])
def test_a_bad_entry_is_absent_and_removed(tmp_path: Path, change: str) -> None:
    cache = ObjectCache(tmp_path)
    cache.put(KEY, b"code")
    path = entry(tmp_path)
    data = path.read_bytes()
    key = KEY
    if change == "other key":
        key = digest("other")
        path2 = tmp_path / key[:2] / f"{key[2:]}.obj"
        path2.parent.mkdir(exist_ok=True)
        path.rename(path2)
        path = path2
    else:
        path.write_bytes({"flip": data[:-1] + b"X", "cut": data[:-2], "empty": b""}[change])
    assert cache.get(key) is None
    assert not path.exists()
    cache.put(key, b"again")
    assert cache.get(key) == b"again"


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_a_directory_open_to_others_is_not_used(tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o777)
    cache = ObjectCache(directory)
    assert not cache.enabled and "others may write there" in str(cache.disabled_reason)
    cache.put(KEY, b"code")
    assert cache.get(KEY) is None
    assert list(directory.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_an_entry_open_to_others_or_behind_a_link_is_not_used(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    cache.put(KEY, b"code")
    path = entry(tmp_path)
    path.chmod(0o666)
    assert cache.get(KEY) is None
    path.chmod(0o600)
    moved = path.rename(tmp_path / "elsewhere")
    path.symlink_to(moved)
    assert cache.get(KEY) is None


def test_a_file_in_the_way_switches_the_cache_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        cache = ObjectCache(directory)
        assert not cache.enabled
        cache.put(KEY, b"code")
        assert cache.get(KEY) is None


def test_the_variable_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", str(tmp_path / "here"))
    cache = default_cache()
    assert cache is default_cache()
    assert cache.directory is not None and cache.directory.is_relative_to(tmp_path / "here")
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", "off")
    assert not default_cache().enabled


def _write_many(directory: str, seed: int) -> int:
    cache = ObjectCache(Path(directory))
    wrong = 0
    for turn in range(50):
        key = digest(str(turn % 5))
        expected = (f"{turn % 5}" * 10_000).encode()
        cache.put(key, expected)
        found = cache.get(key)
        wrong += found is not None and found != expected
    return wrong


def test_processes_share_a_directory(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(_write_many, [(str(tmp_path), k) for k in range(2)]) == [0, 0]
    assert not list(tmp_path.rglob("*.new"))


def doubling(factor: float) -> str:
    b = Builder("scaled")
    x, n = b.buffer("x", "f32"), b.int_param("n")
    with b.loop("i", 0, n, "vector") as i:
        b.store(x, i, b.mul(b.load(x, i), factor))
    return kernel_to_llvm(b.kernel(), host_target(), "scaled")


def run(address: int) -> float:
    data = np.ones(20, np.float32)
    args = np.array([data.ctypes.data, 20], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)(args.ctypes.data, 0, 1)
    assert len(set(data)) == 1
    return float(data[0])


def test_the_jit_generates_once(tmp_path: Path) -> None:
    first = Jit(cache=ObjectCache(tmp_path))
    address = first.compile([("scaled", doubling(2))])["scaled"]
    assert run(address) == 2
    assert first.compile([("scaled", doubling(2)), ("scaled", doubling(2))]) == {"scaled": address}
    assert (first.stats.generated, first.stats.from_disk, first.stats.from_memory) == (1, 0, 2)
    second = Jit(cache=ObjectCache(tmp_path))
    assert run(second.compile([("scaled", doubling(2))])["scaled"]) == 2
    assert (second.stats.generated, second.stats.from_disk) == (0, 1)


def test_kernels_loaded_together_keep_their_own_constants(tmp_path: Path) -> None:
    def module(name: str, term: float) -> str:
        b = Builder(name)
        x, n = b.buffer("x", "f32"), b.int_param("n")
        with b.loop("i", 0, n, "vector") as i:
            value = b.load(x, i)
            b.store(x, i, b.add(b.tan(value) if term % 2 else b.exp(value), term))
        return kernel_to_llvm(b.kernel(), host_target(), name)

    terms = {f"k{turn}": turn + 0.125 * turn for turn in range(24)}
    jit = Jit(cache=ObjectCache(tmp_path))
    found = jit.compile([(name, module(name, term)) for name, term in terms.items()])
    for name, term in terms.items():
        data = np.zeros(20, np.float32)
        args = np.array([data.ctypes.data, 20], np.int64)
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(found[name])
        function(args.ctypes.data, 0, 1)
        np.testing.assert_allclose(data, term + (0 if term % 2 else 1))


def test_one_name_may_have_another_meaning_later(tmp_path: Path) -> None:
    jit = Jit(cache=ObjectCache(tmp_path))
    two = jit.compile([("scaled", doubling(2))])["scaled"]
    three = jit.compile([("scaled", doubling(3))])["scaled"]
    assert (run(two), run(three)) == (2, 3)
    with pytest.raises(ValueError, match="two different kernels are called 'scaled'"):
        jit.compile([("scaled", doubling(2)), ("scaled", doubling(3))])


def test_a_damaged_object_is_made_again(tmp_path: Path) -> None:
    Jit(cache=ObjectCache(tmp_path)).compile([("scaled", doubling(2))])
    path = entry(tmp_path)
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    jit = Jit(cache=ObjectCache(tmp_path))
    assert run(jit.compile([("scaled", doubling(2))])["scaled"]) == 2
    assert jit.stats.generated == 1


def test_a_missing_symbol_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="'other' does not define it"):
        Jit(cache=ObjectCache(tmp_path)).compile([("other", doubling(2))])


def test_targets_have_keys_of_their_own() -> None:
    targets = [host_target(), *(cross_target(isa) for isa in ("avx512", "avx2", "neon", "generic"))]
    assert len({t.key for t in targets}) == len(targets)
    assert [t.vector_bytes for t in targets[1:]] == [64, 32, 16, 16]


def test_text_is_made_only_if_there_is_no_code(tmp_path: Path) -> None:
    made = []

    def make() -> str:
        made.append(1)
        return doubling(4)

    for _ in range(2):
        jit = Jit(cache=ObjectCache(tmp_path))
        assert run(jit.compile([("scaled", make)])["scaled"]) == 4
        jit.compile([("scaled", make)])
    assert len(made) == 1


def test_code_is_dumped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAPHFLOW_DUMP", "llvm")
    Jit(cache=ObjectCache(tmp_path)).compile([("scaled", lambda: doubling(5))])
    assert "define void @scaled(" in capsys.readouterr().err
    monkeypatch.setenv("GRAPHFLOW_DUMP", "asm")
    Jit(cache=ObjectCache(tmp_path)).compile(
        [("scaled", lambda: doubling(5))]
    )  # from the disk cache, this time
    shown = capsys.readouterr().err
    assert "define void" not in shown and "scaled:" in shown and "ret" in shown
