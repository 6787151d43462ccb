"""The models that are served: the same weights as SavedModels for graphflow and as ONNX files for its peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import graphflow as gf

# Each takes one image of 28 by 28 a row, as 784 numbers, and gives ten.
SIZE = 784
MODELS = ("mlp", "cnn")


def weights(model: str) -> dict[str, Any]:
    """Returns a model's weights, by name."""
    random = np.random.RandomState(0)

    def normal(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    sizes: dict[str, tuple[int, ...]]
    if model == "mlp":
        sizes = {"1": (SIZE, 512), "2": (512, 512), "3": (512, 10)}
    else:
        sizes = {"1": (5, 5, 1, 16), "2": (5, 5, 16, 32), "3": (7 * 7 * 32, 128), "4": (128, 10)}
    found = {}
    for name, shape in sizes.items():
        found[f"w{name}"] = normal(*shape)
        found[f"b{name}"] = normal(shape[-1])
    return found


def save(model: str, folder: Path) -> None:
    """Writes a model as version 1 of a SavedModel."""
    with gf.Graph().as_default(), gf.Session() as session:
        made = {name: gf.Variable(value, name=name) for name, value in weights(model).items()}
        x = gf.placeholder(gf.float32, [None, SIZE], name="x")
        h = x
        if model == "cnn":
            h = gf.reshape(h, [-1, 28, 28, 1])
            for number in "12":
                h = gf.nn.conv2d(h, made["w" + number], strides=[1, 1, 1, 1], padding="SAME")
                h = gf.nn.relu(gf.nn.bias_add(h, made["b" + number]))
                h = gf.nn.max_pool(h, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
            h = gf.reshape(h, [-1, 7 * 7 * 32])
        dense = ("1", "2", "3") if model == "mlp" else ("3", "4")
        for number in dense:
            h = gf.nn.bias_add(gf.matmul(h, made["w" + number]), made["b" + number])
            h = h if number == dense[-1] else gf.nn.relu(h)
        y = gf.identity(h, name="y")
        session.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(session, str(folder / "1"), {"x": x}, {"y": y})
