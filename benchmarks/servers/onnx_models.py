"""Writes a model's weights as an ONNX file: `python onnx_models.py MODEL WEIGHTS.npz MODEL.onnx`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model


def build(model: str, weights: dict[str, Any]) -> Any:
    """Returns the ONNX model; its images are laid out as ONNX likes them, its weights to fit."""
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    h = "x"
    if model == "cnn":
        h = node("Reshape", h, constant("image", np.array([-1, 1, 28, 28])))
        for number in "12":
            kernel = weights["w" + number].transpose(3, 2, 0, 1)
            names = constant("w" + number, kernel), constant("b" + number, weights["b" + number])
            h = node("Relu", node("Conv", h, *names, pads=[2, 2, 2, 2]))
            h = node("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
        h = node("Reshape", h, constant("flat", np.array([-1, 7 * 7 * 32])))
        # Channels come first here: the rows of the first matrix follow.
        matrix = weights["w3"].reshape(7, 7, 32, -1).transpose(2, 0, 1, 3).reshape(7 * 7 * 32, -1)
        weights = {**weights, "w3": matrix}
    dense = ("1", "2", "3") if model == "mlp" else ("3", "4")
    for number in dense:
        h = node("Gemm", h, *(constant(kind + number, weights[kind + number]) for kind in "wb"))
        h = h if number == dense[-1] else node("Relu", h)
    nodes.append(helper.make_node("Identity", [h], ["y"]))
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", 784), ("y", 10))
    ]
    graph = helper.make_graph(nodes, model, tensors[:1], tensors[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    save_model(build(sys.argv[1], dict(np.load(sys.argv[2]))), sys.argv[3])
