"""What is written for library calls is kept on disk, and is the same when it comes from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphflow.backends.cache import ObjectCache
from graphflow.backends.cpu import contraction
from graphflow.backends.cpu.library_code import as_text, code_of, from_text
from graphflow.backends.cpu.target import cross_target, host_target, panel_width
from graphflow.loops.library import Call, Conv2D, Gemm, Pool2D

CALLS: list[Call] = [
    Gemm(dtype="f32", m=None, n=96, k=300),
    Gemm(dtype="f64", m=7, n=None, k=None, transpose_a=True, stride_b=None),
    Gemm(dtype="f32", m=None, n=200, k=64, batch=(None, 3), prepack_b=True),
    Gemm(dtype="f32", m=300, n=64, k=64, prepack_b=True, panels_b=panel_width(host_target(), "f32", 64)),
    Conv2D(
        direction="forward", dtype="f32", batch=None, height=12, width=12, in_channels=8, out_channels=24,
        kernel=(3, 3), padding=((1, 1), (1, 1)),
    ),
    Pool2D(
        kind="mean", gradient=True, dtype="f32", batch=None, height=8, width=8, channels=3, window=(2, 2),
        strides=(2, 2),
    ),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: type(call).__name__)
def test_code_survives_the_disk(call: Call) -> None:
    written = contraction.emit(call, host_target())
    assert from_text(as_text(written)) == written
    assert any(launch.arguments for launch in written.sequence)


def test_it_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    really = contraction.emit

    def counted(call: Call, target: object) -> object:
        written.append((call, target))
        return really(call, target)  # type: ignore[arg-type]

    monkeypatch.setattr(contraction, "emit", counted)
    call, other = CALLS[:2]
    first = code_of(call, host_target(), ObjectCache(tmp_path))
    assert code_of(call, host_target(), ObjectCache(tmp_path)) == first
    assert len(written) == 1
    # Another call, another target and a damaged entry are written anew.
    (entry,) = tmp_path.rglob("*.obj")
    assert code_of(other, host_target(), ObjectCache(tmp_path)) != first
    assert code_of(call, cross_target("generic"), ObjectCache(tmp_path)) != first
    entry.write_bytes(entry.read_bytes()[:-1])
    assert code_of(call, host_target(), ObjectCache(tmp_path)) == first
    assert len(written) == 4
