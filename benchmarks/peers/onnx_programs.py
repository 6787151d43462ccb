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

    def input(self, name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        size = len(self.nodes)
        names = [f"value_{size}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=axis))
        return names

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
    """The workloads over a runtime; `load` is how it loads a model that shall compute in float32."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def _step(
        self, model: bytes, arguments: Callable[[], dict[str, Array]], load: Load | None = None
    ) -> Step:
        run = (load or self._load)(model)
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

    def _resnet18(self, batch: int, load: Load | None = None) -> Step:
        net = data.resnet18()
        model = _Model()
        op = model.op

        def convolution(x: str, layer: data.Convolution) -> str:
            x = op(
                "Conv",
                x,
                layer.filter.transpose(3, 2, 0, 1),
                strides=[layer.stride] * 2,
                pads=[layer.padding] * 4,
            )
            return op(
                "BatchNormalization",
                x,
                layer.scale,
                layer.offset,
                layer.mean,
                layer.variance,
                epsilon=data.BATCH_NORM_EPSILON,
            )

        size = data.RESNET_IMAGE
        x = model.input("x", (batch, 3, size, size))
        x = op("Relu", convolution(x, net.stem))
        x = op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
        for block in net.blocks:
            y = convolution(op("Relu", convolution(x, block.first)), block.second)
            if block.shortcut is not None:
                x = convolution(x, block.shortcut)
            x = op("Relu", op("Add", x, y))
        x = op("Flatten", op("GlobalAveragePool", x))
        y = op("Gemm", x, net.weights, net.bias)
        images, _ = data.pictures(batch)
        # Its layout is NCHW; the pictures come that way.
        cycle = data.Cycle(np.ascontiguousarray(images.transpose(0, 1, 4, 2, 3)))
        return self._step(model.finish({y: (batch, data.RESNET_CLASSES)}), lambda: {"x": cycle()[0]}, load)

    def resnet18_b16(self) -> Step:
        return self._resnet18(16)

    def resnet18_b1(self) -> Step:
        return self._resnet18(1)

    def _transformer(self, batch: int, load: Load | None = None) -> Step:
        net = data.transformer()
        length, width, heads = data.TRANSFORMER_LENGTH, data.TRANSFORMER_WIDTH, data.TRANSFORMER_HEADS
        model = _Model()
        op = model.op

        def norm(x: str, gamma: Array, beta: Array) -> str:
            return op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=data.LAYER_NORM_EPSILON)

        def dense(x: str, weights: Array, bias: Array) -> str:
            return op("Add", op("MatMul", x, weights), bias)

        def by_head(x: str, perm: tuple[int, ...]) -> str:
            return op("Transpose", model.reshape(x, batch, length, heads, width // heads), perm=perm)

        tokens = model.input("tokens", (batch, length), TensorProto.INT32)
        x = norm(op("Add", op("Gather", net.tokens, tokens), net.positions), net.gamma, net.beta)
        for layer in net.layers:
            q, k, v = model.split(dense(x, layer.qkv, layer.qkv_bias), 3, axis=2)
            scores = op("MatMul", by_head(q, (0, 2, 1, 3)), by_head(k, (0, 2, 3, 1)))
            scores = op("Softmax", op("Mul", scores, (width // heads) ** -0.5), axis=-1)
            mixed = op("Transpose", op("MatMul", scores, by_head(v, (0, 2, 1, 3))), perm=(0, 2, 1, 3))
            mixed = dense(model.reshape(mixed, batch, length, width), layer.output, layer.output_bias)
            x = norm(op("Add", x, mixed), layer.gamma1, layer.beta1)
            y = dense(x, layer.widen, layer.widen_bias)
            # Spelled as the exporters do: the runtimes know it as GELU.
            gate = op("Add", op("Erf", op("Div", y, math.sqrt(2))), 1.0)
            y = op("Mul", op("Mul", y, gate), 0.5)
            x = norm(op("Add", x, dense(y, layer.narrow, layer.narrow_bias)), layer.gamma2, layer.beta2)
        y = dense(op("ReduceMean", x, axes=[1], keepdims=0), net.weights, net.bias)
        given, _ = data.texts(batch)
        cycle = data.Cycle(given)
        model_bytes = model.finish({y: (batch, data.TRANSFORMER_CLASSES)})
        return self._step(model_bytes, lambda: {"tokens": cycle()[0]}, load)

    def transformer_b1(self) -> Step:
        return self._transformer(1)

    def transformer_b8(self) -> Step:
        return self._transformer(8)


class ProgramsWithBfloat16(Programs):
    """The workloads over a runtime that can also be told to compute in bfloat16."""

    def __init__(self, load: Load, load_bfloat16: Load) -> None:
        super().__init__(load)
        self._load_bfloat16 = load_bfloat16

    def resnet18_b16_bf16(self) -> Step:
        return self._resnet18(16, self._load_bfloat16)

    def resnet18_b1_bf16(self) -> Step:
        return self._resnet18(1, self._load_bfloat16)

    def transformer_b1_bf16(self) -> Step:
        return self._transformer(1, self._load_bfloat16)

    def transformer_b8_bf16(self) -> Step:
        return self._transformer(8, self._load_bfloat16)
