"""`GRAPHFLOW_DUMP`: every stage prints what it should, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as gf
from graphflow import config
from graphflow.backends.cpu.backend import CpuBackend
from graphflow.backends.cpu.jit import Jit

WORDS = {
    "program": (
        "# program y:0, sizes open",
        "float32[?,4]",
        "# program y:0, sizes fixed",
        "float32[3~,4]",
        "fetch %",
    ),
    "passes": ("# after prune: ", "# after simplify: ", "drop_factor_one 1", "# after expand_composites: "),
    "loops": ("# y\nkernel fused(", "vector for", "exp("),
    "plan": ("# plan\nplan y:0: ", "predicted", "MatMul("),
    "llvm": ("define void @k_", "getelementptr"),
    "asm": (".globl\tk_", "ret"),
}


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def run(stages: str) -> str:
        monkeypatch.setenv("GRAPHFLOW_DUMP", stages)
        # A process prints the code of a kernel once: here is one without any.
        fresh = CpuBackend(threads=1, jit=Jit())
        monkeypatch.setattr("graphflow.compiler.load", lambda *_: fresh)
        gf.reset_default_graph()
        x = gf.placeholder(gf.float32, [None, 4])
        y = gf.reduce_sum(gf.exp(gf.matmul(x, np.ones((4, 300), np.float32)) * 1.0), axis=0, name="y")
        with gf.Session() as session:
            session.run(y, {x: np.ones((3, 4))})
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("stage", WORDS)
def test_a_stage_prints_its_own(stage: str, show) -> None:  # type: ignore[no-untyped-def]
    text = show(stage)
    for words in WORDS[stage]:
        assert words in text, f"{words!r} is not in\n{text[:3000]}"
    for other in WORDS.keys() - {stage}:
        missing = [words for words in WORDS[other] if words not in text]
        assert missing, f"{stage} prints {other} as well"


def test_every_stage_is_tested() -> None:
    assert (*WORDS, "cuda") == config.STAGES


def test_the_code_of_gpus_is_printed_where_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    monkeypatch.setenv("GRAPHFLOW_DUMP", "cuda")
    value = gf.Variable(np.ones(4, np.float32))
    with gf.Session() as session:
        session.load_variable(value, np.ones(4, np.float32))
        step = value.assign(gf.exp(value)).op
        for _ in range(2):
            session.run(step)
    assert capsys.readouterr().err.count('extern "C" __global__') == 1


def test_stages_go_together_and_passes_by_name(show) -> None:  # type: ignore[no-untyped-def]
    text = show("plan, simplify,llvm")
    assert "# after simplify:" in text and "# after prune" not in text
    assert "# plan\n" in text and "define void" in text and "# program" not in text
    assert show("") == ""


def test_unknown_stages_are_refused(show) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        ValueError, match=r"GRAPHFLOW_DUMP: there is no stage or pass 'code'; there are program, .*asm"
    ):
        show("plan,code")
