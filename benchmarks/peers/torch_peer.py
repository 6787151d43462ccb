"""PyTorch, eager. Inputs of the kernels wait as tensors; training batches come in as NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step


class Programs:
    """The workloads; `wrap` may compile a function of tensors."""

    def __init__(self, wrap: Callable[[Any], Any]) -> None:
        self._wrap = wrap

    def _inference(self, function: Any, arguments: Callable[[], tuple[Any, ...]]) -> Step:
        wrapped = self._wrap(function)

        def step() -> Any:
            with torch.no_grad():
                result = wrapped(*arguments())
            return [item.numpy() for item in result] if isinstance(result, tuple) else result.numpy()

        return step

    def _call(self, function: Any, value: Array) -> Step:
        wrapped = self._wrap(function)

        def step() -> Any:
            with torch.no_grad():
                return wrapped(torch.from_numpy(value)).numpy()

        return step

    def dispatch_scalar(self) -> Step:
        return self._call(lambda x: x * 2.0 + 1.0, data.scalar())

    def dispatch_vector(self) -> Step:
        value, factor, offset = data.vectors()
        scale, shift = torch.from_numpy(factor), torch.from_numpy(offset)
        return self._call(lambda x: torch.relu(x * scale + shift), value)

    def _training(self, forward: Any, values: list[Any], optimizer: Any) -> Step:
        cycle = data.Cycle(*data.image_batches())
        loss_of = self._wrap(lambda x, y, *weights: functional.cross_entropy(forward(x, *weights), y))

        def step() -> Any:
            images, labels = cycle()
            optimizer.zero_grad()
            loss = loss_of(torch.from_numpy(images), torch.from_numpy(labels).long(), *values)
            loss.backward()
            optimizer.step()
            return loss.detach().numpy()

        return step

    def softmax_regression(self) -> Step:
        values = [torch.from_numpy(value).requires_grad_() for value in data.softmax_regression_weights()]
        optimizer = torch.optim.SGD(values, lr=data.LEARNING_RATE_SGD)
        return self._training(lambda x, w, b: torch.addmm(b, x, w), values, optimizer)

    def mlp(self) -> Step:
        values = [torch.from_numpy(value).requires_grad_() for value in data.mlp_weights()]

        def forward(x: Any, *weights: Any) -> Any:
            for layer in range(0, len(weights), 2):
                x = torch.addmm(weights[layer + 1], x, weights[layer])
                if layer + 2 < len(weights):
                    x = torch.relu(x)
            return x

        optimizer = torch.optim.Adam(values, lr=data.LEARNING_RATE_ADAM)
        return self._training(forward, values, optimizer)

    def lenet(self) -> Step:
        values = []
        for value in data.lenet_weights():
            tensor = torch.from_numpy(value)
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

        optimizer = torch.optim.Adam(values, lr=data.LEARNING_RATE_ADAM)
        return self._training(forward, values, optimizer)

    def black_scholes(self) -> Step:
        tensors = tuple(torch.from_numpy(array) for array in data.options())

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
        tensor = torch.from_numpy(data.rows())
        return self._inference(lambda x: torch.softmax(x, -1), lambda: (tensor,))

    def layer_norm(self) -> Step:
        tensor = torch.from_numpy(data.rows())
        gamma, beta = (torch.from_numpy(value) for value in data.layer_norm_parameters())
        return self._inference(
            lambda x: functional.layer_norm(x, (data.ROWS[1],), gamma, beta, data.LAYER_NORM_EPSILON),
            lambda: (tensor,),
        )


def load(threads: int) -> Programs:
    """Returns the workloads."""
    torch.set_num_threads(threads)
    return Programs(lambda function: function)
