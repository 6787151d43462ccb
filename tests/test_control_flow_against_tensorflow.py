"""TensorFlow as referee of branches, loops, lists and calls: the graphs of `control_flow_cases` and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.control_flow_cases import CASES, values
from tests.referee import Case, Referee, difference

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def test_tensorflow_means_the_same(referee: Referee) -> None:
    cases: dict[str, Case] = {}
    mine: dict[str, list[Any]] = {}
    for name, function in CASES.items():
        with gf.Graph().as_default() as graph:
            x = gf.placeholder(gf.float64, [4], name="x")
            w = gf.placeholder(gf.float64, [4, 4], name="w")
            y = function(x, w)
            weights = gf.cos(gf.cast(gf.range(gf.size(y)), gf.float64))
            loss = gf.reduce_sum(gf.reshape(y, [-1]) * weights)
            firsts = gf.gradients(loss, [x, w], unconnected_gradients="zero")
            total = gf.add_n([gf.reduce_sum(gf.sin(gf.convert_to_tensor(g))) for g in firsts])
            seconds = gf.gradients(total, [x, w], unconnected_gradients="zero")
            fetches = [y, *map(gf.convert_to_tensor, (*firsts, *seconds))]
            names = [tensor.name for tensor in fetches]
            runs = [{"x:0": vector, "w:0": matrix} for vector, matrix in values()]
            cases[name] = Case(graph, [names] * len(runs), runs)
            with gf.Session() as session:
                mine[name] = [session.run(fetches, fed) for fed in runs]
    wrong = []
    for name, verdict in referee.ask(cases).items():
        if verdict.error:
            wrong.append(f"{name}: refused: {verdict.message}")
            continue
        for got, wanted in zip(mine[name], verdict.values, strict=True):
            for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
                found = difference(np.asarray(a), b, 1e-9)
                if found:
                    wrong.append(f"{name}, value {i}: {found}")
    assert not wrong, "\n".join(wrong)
