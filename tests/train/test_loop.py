"""The ready-made training loop: it resumes, evaluates, stops early, keeps the best, and saves when interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

rng = np.random.RandomState(0)
POINTS = rng.randn(64, 3).astype(np.float32)
WANTED = POINTS @ np.array([[1.0], [-2.0], [0.5]], np.float32)


def model(rate: float = 0.1, counted: bool = True) -> tuple[Any, Any, Any, Any]:
    x = gf.placeholder(gf.float32, [None, 3], name="x")
    y = gf.placeholder(gf.float32, [None, 1], name="y")
    loss = gf.reduce_mean(gf.square(gf.layers.dense(x, 1) - y))
    step = gf.train.get_or_create_global_step() if counted else None
    return x, y, loss, gf.train.GradientDescentOptimizer(rate).minimize(loss, global_step=step)


def test_it_trains_and_goes_on_where_it_was(tmp_path: Path) -> None:
    x, y, loss, step = model()
    feeds = {x: POINTS, y: WANTED}
    first = gf.train.loop(step, loss, 30, feeds, tmp_path, save_every=10, every=10)
    assert first.step == 30 and first.reason == "steps" and first.steps == [1, 10, 20, 30]
    assert first.losses[-1] < first.losses[0] / 10
    second = gf.train.loop(step, loss, 40, feeds, tmp_path, save_every=10, every=10, max_to_keep=2)
    assert second.steps == [31, 40] and second.losses[0] < first.losses[-1]
    third = gf.train.loop(step, loss, 40, feeds, tmp_path)
    assert third.steps == [] and third.step == 40
    fresh = gf.train.loop(step, loss, 1, feeds, tmp_path, resume=False)
    assert fresh.step == 1


@pytest.mark.parametrize("counted", [True, False])
def test_inputs_of_all_kinds(tmp_path: Path, counted: bool) -> None:
    x, y, loss, step = model(counted=counted)

    def some() -> Iterator[Any]:
        for _ in range(7):
            yield {x: POINTS, y: WANTED}

    ended = gf.train.loop(step, loss, feed_dict=some(), checkpoint_dir=tmp_path)
    assert ended.reason == "input" and ended.step == 7
    asked: list[int] = []

    def function(at: int) -> Any:
        asked.append(at)
        return {x: POINTS, y: WANTED}

    assert gf.train.loop(step, loss, 10, function, tmp_path).step == 10 and asked == [7, 8, 9]


def test_datasets_end_it() -> None:
    batches = gf.data.Dataset.from_tensor_slices((POINTS, WANTED)).batch(16).repeat(2)
    x, y = batches.make_one_shot_iterator().get_next()
    loss = gf.reduce_mean(gf.square(gf.layers.dense(x, 1) - y))
    step = gf.train.GradientDescentOptimizer(0.1).minimize(loss)
    history = gf.train.loop(step, loss)
    assert history.reason == "input" and history.step == 8


def test_it_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    x, y, loss, step = model(counted=False)
    scores = iter([0.1, 0.5, 0.4, 0.45, 0.3, 0.9])
    kernels = []

    def evaluate(session: Any) -> float:
        kernels.append(session.run("dense/kernel:0"))
        return next(scores)

    history = gf.train.loop(
        step,
        loss,
        1000,
        {x: POINTS, y: WANTED},
        tmp_path,
        evaluate=evaluate,
        evaluate_every=5,
        better="max",
        patience=3,
    )
    assert history.reason == "early stop" and history.step == 25 and history.best == (10, 0.5)
    assert os.listdir(tmp_path / "best").count("checkpoint") == 1
    assert gf.train.latest_checkpoint(tmp_path / "best") == history.best_checkpoint
    np.testing.assert_array_equal(gf.train.load_variable(history.best_checkpoint, "dense/kernel"), kernels[1])


def test_the_best_stays_the_best_when_training_goes_on(tmp_path: Path) -> None:
    x, y, loss, step = model()
    feeds = {x: POINTS, y: WANTED}

    def train(steps: int, scores: list[float], **options: Any) -> Any:
        given = iter(scores)
        return gf.train.loop(
            step, loss, steps, feeds, tmp_path, save_every=2, evaluate=lambda _: next(given), **options
        )

    assert train(4, [0.5, 0.3]).best == (4, 0.3)
    second = train(8, [0.6, 0.4])
    assert second.best == (4, 0.3) and second.evaluations == [(2, 0.5), (4, 0.3), (6, 0.6), (8, 0.4)]
    assert second.best_checkpoint == str(tmp_path / "best" / "model.ckpt-4")
    third = train(20, [0.35, 0.2], patience=3)  # two were no better before
    assert third.reason == "early stop" and third.step == 10 and third.best == (4, 0.3)
    fourth = train(12, [0.2])
    assert fourth.best == (12, 0.2) and len(list((tmp_path / "best").glob("*.index"))) == 1
    anew = train(2, [0.9], resume=False)
    assert anew.best == (2, 0.9) and anew.evaluations == [(2, 0.9)]
    assert gf.train.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-2")
    (tmp_path / "scores.json").write_text("[")
    assert train(4, [0.95]).best == (4, 0.95)


def test_an_interrupt_saves(tmp_path: Path) -> None:
    x, y, loss, step = model()

    def interrupted(at: int) -> Any:
        if at == 5:
            raise KeyboardInterrupt
        return {x: POINTS, y: WANTED}

    with pytest.raises(KeyboardInterrupt):
        gf.train.loop(step, loss, 10, interrupted, tmp_path)
    assert gf.train.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-5")
    assert gf.train.loop(step, loss, 10, {x: POINTS, y: WANTED}, tmp_path, every=5).steps == [6, 10]


def test_the_bar_tells_loss_and_speed(capfd: pytest.CaptureFixture[str]) -> None:
    x, y, loss, step = model()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        gf.train.loop(step, loss, 20, {x: POINTS, y: WANTED}, session=session, every=10, progress=True)
        assert session.run(gf.train.get_global_step()) == 20
    told = capfd.readouterr().err
    assert "20/20" in told and "loss" in told and "steps/s" in told


def test_refusals(tmp_path: Path) -> None:
    x, y, loss, step = model(rate=1e30)
    feeds = {x: POINTS, y: WANTED}
    with pytest.raises(
        gf.train.NanLossDuringTrainingError, match=r"(?s)At step \d+, .* had \d+ (NaN|Inf) before this run"
    ):
        gf.train.loop(step, loss, 100, feeds)

    def with_a_zero(at: int) -> Any:
        return {x: POINTS, y: WANTED * 0 if at == 3 else WANTED}

    scaled = gf.log(gf.reduce_max(gf.abs(y)), name="scaled") * 0.0 + loss
    with pytest.raises(
        gf.train.NanLossDuringTrainingError, match=r"At step 4(.*\n)+.*scaled \(Log\)(.*\n)+.*test_loop"
    ):
        gf.train.loop(gf.no_op(), scaled, 100, with_a_zero)
    with pytest.raises(ValueError, match="patience needs evaluate"):
        gf.train.loop(step, loss, 1, feeds, patience=1)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        gf.train.loop(step, loss, 0, feeds)
    with pytest.raises(ValueError, match="better must be"):
        gf.train.loop(step, loss, 1, feeds, better="most")
