"""PyTorch, eager. Inputs of the kernels wait as tensors; training batches come in as NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step

DEVICE = "cpu"
"""Where tensors lie: "cpu", or "cuda" for those who set it before they build a workload."""


def _tensor(array: Array) -> Any:
    tensor = torch.from_numpy(array)
    return tensor if DEVICE == "cpu" else tensor.to(DEVICE)


def _home(tensor: Any) -> Array:
    array: Array = (tensor if DEVICE == "cpu" else tensor.cpu()).numpy()
    return array


def _adam(parameters: Any) -> Any:
    # One kernel for all of them, and nothing of it on the host.
    more = {} if DEVICE == "cpu" else {"fused": True, "capturable": True}
    return torch.optim.Adam(parameters, lr=data.LEARNING_RATE_ADAM, **more)


class Programs:
    """The workloads; `wrap` may compile a function of tensors.

    Attributes:
      resident: what the workload built last does over inputs that lie where it runs: it takes nothing, waits for
        nothing, and gives tensors.
    """

    resident: Step | None = None

    def __init__(self, wrap: Callable[[Any], Any]) -> None:
        self._wrap = wrap

    def _inference(
        self, function: Any, arguments: Callable[[], tuple[Any, ...]], bfloat16: bool = False
    ) -> Step:
        wrapped = self._wrap(function)
        given = copy(arguments)()  # a cycle of batches stays where it is

        def resident() -> Any:
            with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
                return wrapped(*given)

        self.resident = resident

        def step() -> Any:
            with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
                result = wrapped(*arguments())
            if bfloat16:
                result = result.float()
            return [_home(item) for item in result] if isinstance(result, tuple) else _home(result)

        return step

    def _call(self, function: Any, value: Array) -> Step:
        wrapped = self._wrap(function)

        def step() -> Any:
            with torch.no_grad():
                return _home(wrapped(_tensor(value)))

        return step

    def dispatch_scalar(self) -> Step:
        return self._call(lambda x: x * 2.0 + 1.0, data.scalar())

    def dispatch_vector(self) -> Step:
        value, factor, offset = data.vectors()
        scale, shift = _tensor(factor), _tensor(offset)
        return self._call(lambda x: torch.relu(x * scale + shift), value)

    def _training(
        self, loss_of: Any, optimizer: Any, batches: tuple[Array, ...], bfloat16: bool = False
    ) -> Step:
        cycle = data.Cycle(*batches)
        wrapped = self._wrap(loss_of)

        def train(*batch: Any) -> Any:
            optimizer.zero_grad()
            with torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
                loss = wrapped(*batch)
            loss.backward()
            optimizer.step()
            return loss.detach()

        given = tuple(map(_tensor, data.Cycle(*batches)()))
        self.resident = lambda: train(*given)

        def step() -> Any:
            return _home(train(*map(_tensor, cycle())))

        return step

    def _classifier(self, forward: Any, values: list[Any], optimizer: Any) -> Step:
        def loss_of(images: Any, labels: Any) -> Any:
            return functional.cross_entropy(forward(images, *values), labels.long())

        return self._training(loss_of, optimizer, data.image_batches())

    def softmax_regression(self) -> Step:
        values = [_tensor(value).requires_grad_() for value in data.softmax_regression_weights()]
        optimizer = torch.optim.SGD(values, lr=data.LEARNING_RATE_SGD)
        return self._classifier(lambda x, w, b: torch.addmm(b, x, w), values, optimizer)

    def mlp(self) -> Step:
        values = [_tensor(value).requires_grad_() for value in data.mlp_weights()]
        optimizer = _adam(values)
        return self._classifier(_mlp, values, optimizer)

    def lenet(self) -> Step:
        values = []
        for value in data.lenet_weights():
            tensor = _tensor(value)
            if tensor.dim() == 4:  # HWIO to OIHW, kept channels last: the faster layout here
                tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            values.append(tensor.clone().requires_grad_())

        def forward(x: Any, *weights: Any) -> Any:
            x = x.view(-1, 1, 28, 28).to(memory_format=torch.channels_last)
            for layer in (0, 2):
                x = functional.conv2d(x, weights[layer], weights[layer + 1], padding=2)
                x = functional.max_pool2d(torch.relu(x), 2)
            x = x.permute(0, 2, 3, 1).reshape(-1, 7 * 7 * 64)
            x = torch.relu(torch.addmm(weights[5], x, weights[4]))
            return torch.addmm(weights[7], x, weights[6])

        optimizer = _adam(values)
        return self._classifier(forward, values, optimizer)

    def black_scholes(self) -> Step:
        tensors = tuple(_tensor(array) for array in data.options())

        def normal_cdf(x: Any) -> Any:
            return 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5)))

        def price(spot: Any, strike: Any, time: Any) -> Any:
            spread = data.VOLATILITY * torch.sqrt(time)
            drift = (data.RISK_FREE_RATE + 0.5 * data.VOLATILITY**2) * time
            d1 = (torch.log(spot / strike) + drift) / spread
            d2 = d1 - spread
            discounted = strike * torch.exp(-data.RISK_FREE_RATE * time)
            call = spot * normal_cdf(d1) - discounted * normal_cdf(d2)
            return call, discounted * normal_cdf(-d2) - spot * normal_cdf(-d1)

        return self._inference(price, lambda: tensors)

    def softmax(self) -> Step:
        tensor = _tensor(data.rows())
        return self._inference(lambda x: torch.softmax(x, -1), lambda: (tensor,))

    def layer_norm(self) -> Step:
        tensor = _tensor(data.rows())
        gamma, beta = (_tensor(value) for value in data.layer_norm_parameters())
        return self._inference(
            lambda x: functional.layer_norm(x, (data.ROWS[1],), gamma, beta, data.LAYER_NORM_EPSILON),
            lambda: (tensor,),
        )

    def _resnet18_inference(self, batch: int, bfloat16: bool = False) -> Step:
        net = ResNet18(data.resnet18()).to(DEVICE, memory_format=torch.channels_last).eval()
        images, _ = data.pictures(batch)
        cycle = data.Cycle([_channels_last(picture) for picture in images])
        return self._inference(net, cycle, bfloat16)

    def resnet18_b16(self) -> Step:
        return self._resnet18_inference(data.RESNET_BATCH)

    def resnet18_b1(self) -> Step:
        return self._resnet18_inference(1)

    def resnet18_b16_bf16(self) -> Step:
        return self._resnet18_inference(data.RESNET_BATCH, bfloat16=True)

    def resnet18_b1_bf16(self) -> Step:
        return self._resnet18_inference(1, bfloat16=True)

    def resnet18_train(self, bfloat16: bool = False) -> Step:
        net = ResNet18(data.resnet18()).to(DEVICE, memory_format=torch.channels_last).train()
        rate = data.LEARNING_RATE_MOMENTUM
        optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=data.MOMENTUM)

        def loss_of(images: Any, labels: Any) -> Any:
            return functional.cross_entropy(net(images.permute(0, 3, 1, 2)), labels.long())

        return self._training(loss_of, optimizer, data.pictures(data.RESNET_TRAINING_BATCH), bfloat16)

    def resnet18_train_bf16(self) -> Step:
        return self.resnet18_train(bfloat16=True)

    def lstm(self) -> Step:
        embedding, input_weights, state_weights, bias, weights, out_bias = data.lstm_weights()
        hidden = data.LSTM_HIDDEN
        cell = nn.LSTM(hidden, hidden)
        # Its order is input, forget, candidate, output; its forget bias is a weight like any other.
        order = np.concatenate([np.arange(hidden) + gate * hidden for gate in (0, 1, 3, 2)])
        bias[hidden : 2 * hidden] += data.FORGET_BIAS
        zeros = np.zeros_like(bias)
        given = (input_weights[:, order].T, state_weights[:, order].T, bias[order], zeros)
        for parameter, value in zip(cell.parameters(), given, strict=True):
            parameter.data = _tensor(np.ascontiguousarray(value))
        cell = cell.to(DEVICE)
        # Of its two biases, which are always added, the program has one.
        cell.bias_hh_l0.requires_grad_(False)
        table = _tensor(embedding).requires_grad_()
        out, shift = (_tensor(value).requires_grad_() for value in (weights, out_bias))
        learned = [value for value in (table, *cell.parameters(), out, shift) if value.requires_grad]
        optimizer = torch.optim.SGD(learned, lr=data.LEARNING_RATE_SGD)

        def loss_of(words: Any, following: Any) -> Any:
            states, _ = cell(functional.embedding(words, table))
            logits = torch.addmm(shift, states.reshape(-1, hidden), out)
            return functional.cross_entropy(logits, following.reshape(-1).long())

        return self._training(loss_of, optimizer, data.sentences())

    def lstm_while(self) -> Step:
        return self.lstm()

    def _transformer_inference(self, batch: int, bfloat16: bool = False) -> Step:
        net = Transformer(data.transformer()).to(DEVICE)
        tokens, _ = data.texts(batch)
        return self._inference(net, data.Cycle([_tensor(item) for item in tokens]), bfloat16)

    def transformer_b1(self) -> Step:
        return self._transformer_inference(1)

    def transformer_b8(self) -> Step:
        return self._transformer_inference(data.TRANSFORMER_BATCH)

    def transformer_b1_bf16(self) -> Step:
        return self._transformer_inference(1, bfloat16=True)

    def transformer_b8_bf16(self) -> Step:
        return self._transformer_inference(data.TRANSFORMER_BATCH, bfloat16=True)

    def transformer_train(self, bfloat16: bool = False) -> Step:
        net = Transformer(data.transformer()).to(DEVICE)
        optimizer = _adam(net.parameters())

        def loss_of(tokens: Any, classes: Any) -> Any:
            return functional.cross_entropy(net(tokens), classes.long())

        return self._training(loss_of, optimizer, data.texts(data.TRANSFORMER_TRAINING_BATCH), bfloat16)

    def transformer_train_bf16(self) -> Step:
        return self.transformer_train(bfloat16=True)

    def embedding(self) -> Step:
        table = _tensor(data.embedding_table()).requires_grad_()
        optimizer = torch.optim.SGD([table], lr=data.LEARNING_RATE_EMBEDDING)
        count = torch.arange(data.EMBEDDING_SEGMENTS, dtype=torch.int32, device=DEVICE)

        def loss_of(ids: Any, segments: Any, target: Any) -> Any:
            offsets = torch.searchsorted(segments, count, out_int32=True)
            sums = functional.embedding_bag(ids, table, offsets, mode="sum", sparse=True)
            return torch.sum(torch.square(sums - target))

        return self._training(loss_of, optimizer, data.bags())

    def mlp_of_batch(self, size: int) -> Step:
        values = data.images(size)
        weights = [_tensor(value) for value in data.mlp_weights()]
        return self._inference(lambda x: _mlp(x, *weights), lambda: (_tensor(values),))

    def elements(self, size: int) -> Step:
        values = data.elements(size)
        return self._inference(lambda x: torch.tanh(x) * 0.5 + x, lambda: (_tensor(values),))


def _mlp(x: Any, *weights: Any) -> Any:
    for layer in range(0, len(weights), 2):
        x = torch.addmm(weights[layer + 1], x, weights[layer])
        if layer + 2 < len(weights):
            x = torch.relu(x)
    return x


def _channels_last(images: Array) -> Any:
    """Returns NHWC data as the NCHW tensor whose memory it is."""
    return _tensor(images).permute(0, 3, 1, 2)


def _parameter(value: Array) -> Any:
    return nn.Parameter(_tensor(np.ascontiguousarray(value)))


class _Convolution(nn.Module):  # type: ignore[misc]
    """A convolution and its batch norm."""

    def __init__(self, layer: data.Convolution) -> None:
        super().__init__()
        size, _, channels_in, channels = layer.filter.shape
        self.conv = nn.Conv2d(channels_in, channels, size, layer.stride, layer.padding, bias=False)
        self.conv.weight = _parameter(layer.filter.transpose(3, 2, 0, 1))
        self.norm = nn.BatchNorm2d(channels, eps=data.BATCH_NORM_EPSILON, momentum=1 - data.BATCH_NORM_DECAY)
        self.norm.weight, self.norm.bias = _parameter(layer.scale), _parameter(layer.offset)
        self.norm.running_mean = _tensor(layer.mean)
        self.norm.running_var = _tensor(layer.variance)

    def forward(self, x: Any) -> Any:
        """Returns the normalized convolution of x."""
        return self.norm(self.conv(x))


class _Block(nn.Module):  # type: ignore[misc]
    """A residual block."""

    def __init__(self, block: data.Block) -> None:
        super().__init__()
        self.path = nn.ModuleList(map(_Convolution, block.path))
        self.shortcut = _Convolution(block.shortcut) if block.shortcut else nn.Identity()

    def forward(self, x: Any) -> Any:
        """Returns the block of x."""
        y = self.path[0](x)
        for layer in self.path[1:]:
            y = layer(torch.relu(y))
        return torch.relu(self.shortcut(x) + y)


class ResNet18(nn.Module):  # type: ignore[misc]
    """ResNet-18 with given weights."""

    def __init__(self, net: data.ResNet) -> None:
        super().__init__()
        self.stem = _Convolution(net.stem)
        self.blocks = nn.Sequential(*map(_Block, net.blocks))
        self.weights, self.bias = _parameter(net.weights), _parameter(net.bias)

    def forward(self, x: Any) -> Any:
        """Returns the logits of images, NCHW."""
        # The windows begin at the first pixel and may reach over the end.
        x = functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, ceil_mode=True)
        return torch.addmm(self.bias, self.blocks(x).mean((2, 3)), self.weights)


def _linear(weights: Array, bias: Array) -> Any:
    layer = nn.Linear(*weights.shape)
    layer.weight, layer.bias = _parameter(weights.T), _parameter(bias)
    return layer


def _norm(gamma: Array, beta: Array) -> Any:
    layer = nn.LayerNorm(gamma.size, eps=data.LAYER_NORM_EPSILON)
    layer.weight, layer.bias = _parameter(gamma), _parameter(beta)
    return layer


class _EncoderLayer(nn.Module):  # type: ignore[misc]
    """One layer of the encoder."""

    def __init__(self, layer: data.EncoderLayer) -> None:
        super().__init__()
        self.qkv, self.output = _linear(layer.qkv, layer.qkv_bias), _linear(layer.output, layer.output_bias)
        self.widen = _linear(layer.widen, layer.widen_bias)
        self.narrow = _linear(layer.narrow, layer.narrow_bias)
        self.norm1, self.norm2 = _norm(layer.gamma1, layer.beta1), _norm(layer.gamma2, layer.beta2)

    def forward(self, x: Any) -> Any:
        """Returns the layer of x [batch, length, width]."""
        batch, length, width = x.shape
        heads = data.TRANSFORMER_HEADS
        q, k, v = self.qkv(x).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = self.norm1(x + self.output(mixed.transpose(1, 2).reshape(batch, length, width)))
        return self.norm2(x + self.narrow(functional.gelu(self.widen(x))))


class Transformer(nn.Module):  # type: ignore[misc]
    """The text classifier with given weights."""

    def __init__(self, net: data.Transformer) -> None:
        super().__init__()
        self.tokens, self.positions = _parameter(net.tokens), _parameter(net.positions)
        self.norm = _norm(net.gamma, net.beta)
        self.layers = nn.Sequential(*map(_EncoderLayer, net.layers))
        self.classes = _linear(net.weights, net.bias)

    def forward(self, tokens: Any) -> Any:
        """Returns the logits of tokens [batch, length]."""
        x = self.norm(functional.embedding(tokens, self.tokens) + self.positions)
        return self.classes(self.layers(x).mean(1))


def load(threads: int) -> Programs:
    """Returns the workloads."""
    torch.set_num_threads(threads)
    return Programs(lambda function: function)
