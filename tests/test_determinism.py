"""The same bits: run after run, whatever the number of threads, for the benchmarks' training and inference steps.

Order is fixed by design everywhere on the CPU: a parallel turn, a share of a long fold and a block of a product's inner
axis are cut by sizes and never by the number of threads, and shares are combined in one order. So there is no
workload here that may differ between 1 and 2 threads.

`GRAPHFLOW_RUNS=100` runs each workload so often, whatever it takes.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks.peers import tf1_programs
from graphflow.plan import arrangement

RUNS = 100
ASKED = int(os.environ.get("GRAPHFLOW_RUNS", "0"))
# Per workload: runs compared, where a step takes so long that fewer have to do.
WORKLOADS = {
    "softmax_regression": RUNS,
    "mlp": RUNS,
    "embedding": RUNS,
    "softmax": RUNS // 2,
    "layer_norm": RUNS // 2,
    "lenet": RUNS // 5,
    "lstm": RUNS // 5,
    "transformer_b1": RUNS // 5,
    "lstm_while": 3,
    "transformer_train": 3,
    "resnet18_b1": RUNS // 10,
    "resnet18_train": 0,
}


class Programs(tf1_programs.Programs):
    """The benchmarks' programs, each with its session, one set of feeds, and the variables it starts with."""

    def _function(self, fetches: Any, feeds: list[Any], arguments: Any, *more: Any) -> Any:
        self.session = self._session()
        self.session.run(gf.global_variables_initializer())
        self.fetches, self.feeds = fetches, dict(zip(feeds, arguments(), strict=True))
        return lambda: [0]

    def start(self, workload: str) -> None:
        gf.reset_default_graph()
        gf.set_random_seed(5)
        getattr(self, workload)()
        self.first = self.session.run(gf.global_variables())

    def run(self) -> list[np.ndarray]:
        """One step from the first values of the variables: what it gives, and what it leaves behind."""
        for variable, value in zip(gf.global_variables(), self.first, strict=True):
            self.session.load_variable(variable, value)
        results = self.session.run(self.fetches, self.feeds)
        listed = results if isinstance(results, list) else [results]
        return [np.asarray(x) for x in listed if x is not None] + list(
            self.session.run(gf.global_variables())
        )


def differing(a: list[np.ndarray], b: list[np.ndarray]) -> list[str]:
    return [
        f"value {i}: {np.sum(x != y)} of {x.size} elements, by up to {np.max(np.abs(x - y))}"
        for i, (x, y) in enumerate(zip(a, b, strict=True))
        if x.tobytes() != y.tobytes()
    ]


@pytest.mark.parametrize("workload", [name for name, runs in WORKLOADS.items() if runs or ASKED])
def test_every_run_gives_the_same_bits(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Also what is too short to be worth a second thread is shared here.
    monkeypatch.setattr(arrangement, "_PARALLEL_LAUNCH_NS", 0.0)
    monkeypatch.setattr(arrangement, "_TEAM_NS", 0.0)
    wanted: list[np.ndarray] | None = None
    for threads in (1, 2, 3):
        programs = Programs(gf, threads)
        programs.start(workload)
        for number in range((ASKED or WORKLOADS[workload]) if threads == 2 or ASKED else 2):
            got = programs.run()
            wanted = got if wanted is None else wanted
            wrong = differing(got, wanted)
            assert not wrong, f"run {number} with {threads} threads: {wrong[:3]}"
        programs.session.close()


def test_a_difference_would_be_seen() -> None:
    zero = np.zeros(3, np.float32)
    assert differing([zero], [zero]) == []
    assert differing([zero], [-zero]) and differing([zero], [np.nextafter(zero, np.float32(1))])
