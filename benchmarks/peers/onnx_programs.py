"""The workloads without training as ONNX models, for ONNX Runtime and OpenVINO."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step

# Takes a serialized model; returns a function from input arrays to output arrays.
Load = Callable[[bytes], Callable[[dict[str, Array]], Any]]


class _Model:
    """A model under construction: nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        names = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        output = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def finish(self, outputs: dict[str, tuple[int, ...]]) -> bytes:
        made = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "workload", self.inputs, made, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        serialized: bytes = model.SerializeToString()
        return serialized


class Programs:
    """The workloads over a runtime."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def _step(self, model: bytes, arguments: Callable[[], dict[str, Array]]) -> Step:
        run = self._load(model)
        return lambda: run(arguments())

    def dispatch_scalar(self) -> Step:
        model = _Model()
        x = model.input("x", ())
        y = model.op("Add", model.op("Mul", x, 2.0), 1.0)
        value = data.scalar()
        return self._step(model.finish({y: ()}), lambda: {"x": value})

    def dispatch_vector(self) -> Step:
        value, factor, offset = data.vectors()
        model = _Model()
        x = model.input("x", (10,))
        y = model.op("Relu", model.op("Add", model.op("Mul", x, factor), offset))
        return self._step(model.finish({y: (10,)}), lambda: {"x": value})

    def black_scholes(self) -> Step:
        spot, strike, time = data.options()
        feeds = {"spot": spot, "strike": strike, "time": time}
        model = _Model()
        op = model.op
        for name in feeds:
            model.input(name, (data.OPTIONS,))

        def normal_cdf(x: str) -> str:
            return op("Mul", op("Add", op("Erf", op("Mul", x, math.sqrt(0.5))), 1.0), 0.5)

        spread = op("Mul", op("Sqrt", "time"), data.VOLATILITY)
        drift = op("Mul", "time", data.RISK_FREE_RATE + 0.5 * data.VOLATILITY**2)
        d1 = op("Div", op("Add", op("Log", op("Div", "spot", "strike")), drift), spread)
        d2 = op("Sub", d1, spread)
        discounted = op("Mul", "strike", op("Exp", op("Mul", "time", -data.RISK_FREE_RATE)))
        call = op("Sub", op("Mul", "spot", normal_cdf(d1)), op("Mul", discounted, normal_cdf(d2)))
        minus_d1, minus_d2 = op("Neg", d1), op("Neg", d2)
        put = op("Sub", op("Mul", discounted, normal_cdf(minus_d2)), op("Mul", "spot", normal_cdf(minus_d1)))
        shape = (data.OPTIONS,)
        return self._step(model.finish({call: shape, put: shape}), lambda: feeds)

    def softmax(self) -> Step:
        values = data.rows()
        model = _Model()
        y = model.op("Softmax", model.input("x", data.ROWS), axis=-1)
        return self._step(model.finish({y: data.ROWS}), lambda: {"x": values})

    def layer_norm(self) -> Step:
        values = data.rows()
        gamma, beta = data.layer_norm_parameters()
        model = _Model()
        x = model.input("x", data.ROWS)
        y = model.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=data.LAYER_NORM_EPSILON)
        return self._step(model.finish({y: data.ROWS}), lambda: {"x": values})
