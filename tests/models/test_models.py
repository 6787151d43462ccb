"""The zoo trains: small here, at real size under `pytest -m zoo` (or `make zoo`), which takes minutes."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from tests.models import bert, dcgan, dqn, lstm_lm, resnet, speech, translation, vae

PROGRAMS = {
    m.__name__.rpartition(".")[2]: m for m in (resnet, bert, lstm_lm, dcgan, vae, dqn, translation, speech)
}
STEPS = {"small": {"dqn": 40, "speech": 10, "vae": 12}, "real": {"dqn": 100, "vae": 50}}
# Small ones of the others run their operations' NumPy bodies: to compile them would take longer than the rest.
COMPILED = ("dqn", "vae")


def run(model: ModuleType, size: str) -> dict[str, Any]:
    name = model.__name__.rpartition(".")[2]
    steps = STEPS[size].get(name, 4 if size == "real" else 6)
    gf.set_random_seed(1)
    started = time.monotonic()
    result: dict[str, Any] = model.train(size, steps)
    losses = result["losses"]
    if size == "real":
        print(
            f"{name}: {steps} steps in {time.monotonic() - started:.1f} s, loss {losses[0]:.4f} to {losses[-1]:.4f}"
        )
    assert len(losses) == steps and np.isfinite(losses).all()
    # The learner of a game meets new positions as it gets better: it is examined on others, before it plays in threads.
    first, last, *_ = result.get("exams", (losses[0], min(losses[-2:])))
    assert last < first, losses
    return result


def parameters() -> int:
    return sum(v.shape.num_elements() or 0 for v in gf.trainable_variables())


def checked(name: str, result: dict[str, Any]) -> None:
    """What a model found besides a falling loss."""
    names = result["names"]
    if name == "resnet":
        assert names[0] == "resnet_v1_50/conv1/weights" and names[-1] == "resnet_v1_50/logits/biases"
        assert "resnet_v1_50/block2/unit_1/bottleneck_v1/shortcut/BatchNorm/gamma" in names
    elif name == "bert":
        assert "bert/encoder/layer_1/attention/self/query/kernel" in names
        assert "bert/encoder/layer_0/output/LayerNorm/gamma" in names
    elif name == "lstm_lm":
        assert "Model/RNN/multi_rnn_cell/cell_1/basic_lstm_cell/kernel" in names
        assert all(np.abs(h).max() > 0 for _, h in result["state"])
    elif name == "dcgan":
        assert result["fooled"][-1] < result["fooled"][1] and np.abs(result["images"]).max() <= 1
    elif name == "dqn":
        assert not any(result["alive"]) and result["played"] >= result["learnt"]
    elif name == "translation":
        assert "decoder/memory_layer/kernel" in names
        assert "decoder/attention_wrapper/luong_attention/attention_g" in names
        scores = result["scores"]
        assert (np.diff(scores[:, -1], axis=-1) <= 0).all(), "the best beam comes first"
    elif name == "speech":
        assert "layer0/bidirectional_rnn/bw/lstm_cell/kernel" in names


@pytest.mark.parametrize("name", PROGRAMS)
def test_small_models_train(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in COMPILED:
        monkeypatch.setenv("GRAPHFLOW_BACKEND", "reference")
    checked(name, run(PROGRAMS[name], "small"))


@pytest.mark.zoo
@pytest.mark.parametrize("name", PROGRAMS)
def test_models_of_real_size_train(name: str) -> None:
    result = run(PROGRAMS[name], "real")
    checked(name, result)
    if name == "resnet":
        assert (
            np.max(result["losses"][1:]) < result["losses"][0]
            and result["losses"][-1] < 0.5 * result["losses"][0]
        )
    elif name == "dqn":
        assert result["exams"][-1] < result["exams"][0]
    known = getattr(PROGRAMS[name], "PARAMETERS", None)
    assert known is None or parameters() == known


@pytest.mark.zoo
def test_the_translator_learns_to_turn_words_round() -> None:
    result = translation.train("learnt", 250)
    right = [
        result["beams"][row, :n, 0].tolist() == result["wanted"][row, :n].tolist()
        for row, n in enumerate(result["lengths"])
    ]
    print(f"translation: {sum(right)} of {len(right)} right, loss {result['losses'][-1]:.4f}")
    assert np.mean(right) >= 0.9
