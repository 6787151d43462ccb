"""Scaled losses: the same steps, and none where gradients are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.train import experimental


def trained(wrap: Any, factors: list[float]) -> tuple[np.ndarray, list[float]]:  # type: ignore[type-arg]
    """A weight after steps on losses times factors, and what `scale` was after each."""
    with gf.Graph().as_default(), gf.Session() as session:
        w = gf.get_variable("w", [3], initializer=gf.ones_initializer())
        factor = gf.placeholder(gf.float32, [])
        opt = wrap(gf.train.AdamOptimizer(0.1))
        step = opt.minimize(gf.reduce_sum(gf.square(w)) * factor)
        session.run(gf.global_variables_initializer())
        scales = []
        for one in factors:
            session.run(step, {factor: one})
            if len(opt.variables()) > 4:
                scales.append(float(session.run(opt.variables()[-2])))
        assert opt.get_slot_names() == ["m", "v"] and opt.get_slot(w, "m") is not None
        return session.run(w), scales


def test_steps_are_those_without_scales() -> None:
    plain, _ = trained(lambda opt: opt, [1.0, 2.0, 1.0])
    rewritten = experimental.enable_mixed_precision_graph_rewrite
    for scale in (8.0, "dynamic", experimental.FixedLossScale(1024)):
        found, _ = trained(lambda opt, s=scale: rewritten(opt, s), [1.0, 2.0, 1.0])
        np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_scales_grow_and_shrink_and_bad_steps_are_left_out() -> None:
    def wrap(opt: Any) -> Any:
        return experimental.MixedPrecisionLossScaleOptimizer(opt, experimental.DynamicLossScale(4.0, 2, 3.0))

    factors = [1.0, 1.0, np.inf, 1.0, np.nan, np.nan, np.nan, np.nan]
    found, scales = trained(wrap, factors)
    assert scales == pytest.approx([4.0, 12.0, 4.0, 4.0, 4 / 3, 1.0, 1.0, 1.0])
    plain, _ = trained(lambda opt: opt, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_refusals() -> None:
    opt = gf.train.GradientDescentOptimizer(0.1)
    with pytest.raises(ValueError, match="at least 1"):
        experimental.FixedLossScale(0.5)
    with pytest.raises(ValueError, match="identifier: 'much'"):
        experimental.enable_mixed_precision_graph_rewrite(opt, "much")
    with pytest.raises(ValueError, match="must not already"):
        experimental.enable_mixed_precision_graph_rewrite(
            experimental.enable_mixed_precision_graph_rewrite(opt)
        )
    with pytest.raises(ValueError, match="instance of Optimizer"):
        experimental.MixedPrecisionLossScaleOptimizer(None, 2.0)  # type: ignore[arg-type]


def test_events_are_written_by_the_old_writer(tmp_path: Path) -> None:
    from graphflow.compat.paths import public_path
    from graphflow.serialization.events import Event

    writer = public_path("python.pywrap_tensorflow").EventsWriter(str(tmp_path / "run").encode())
    event = Event(step=3, wall_time=1.0)
    event.summary.value.add(tag="loss", simple_value=0.5)
    writer.WriteEvent(event)
    assert writer.Flush() and writer.Close()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("run.out.tfevents.") and writer.FileName() == str(path).encode()
    first, second = gf.train.summary_iterator(str(path))
    assert first.file_version == "brain.Event:2"
    assert second.step == 3 and second.summary.value[0].simple_value == 0.5
