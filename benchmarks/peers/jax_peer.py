"""JAX, everything under `jax.jit`, the training state donated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step


def _inference(function: Any, arguments: Callable[[], tuple[Any, ...]]) -> Step:
    compiled = jax.jit(function)

    def step() -> Any:
        result = compiled(*arguments())
        return [np.asarray(item) for item in result] if isinstance(result, tuple) else np.asarray(result)

    return step


def _call(function: Any, value: Array) -> Step:
    compiled = jax.jit(function)
    return lambda: np.asarray(compiled(value))


def _cross_entropy(logits: Any, labels: Any) -> Any:
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - picked)


def _training(forward: Any, values: list[Any], adam: bool) -> Step:
    cycle = data.Cycle(*data.image_batches())

    def update_sgd(state: Any, images: Any, labels: Any) -> Any:
        weights = state
        loss, gradients = jax.value_and_grad(lambda w: _cross_entropy(forward(images, *w), labels))(weights)
        new = [w - data.LEARNING_RATE_SGD * g for w, g in zip(weights, gradients, strict=True)]
        return new, loss

    def update_adam(state: Any, images: Any, labels: Any) -> Any:
        weights, first, second, count = state
        loss, gradients = jax.value_and_grad(lambda w: _cross_entropy(forward(images, *w), labels))(weights)
        count = count + 1
        rate = data.LEARNING_RATE_ADAM * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
        moved = zip(weights, first, second, strict=True)
        weights = [w - rate * m / (jnp.sqrt(v) + 1e-8) for w, m, v in moved]
        return (weights, first, second, count), loss

    weights = [jnp.asarray(value) for value in values]
    zeros = [jnp.zeros_like(value) for value in weights]
    state: Any = weights
    if adam:
        state = (weights, zeros, [jnp.zeros_like(value) for value in weights], jnp.float32(0))
    update = jax.jit(update_adam if adam else update_sgd, donate_argnums=0)

    def step() -> Any:
        nonlocal state
        state, loss = update(state, *cycle())
        return np.asarray(loss)

    return step


class Programs:
    """The workloads."""

    def dispatch_scalar(self) -> Step:
        return _call(lambda x: x * 2.0 + 1.0, data.scalar())

    def dispatch_vector(self) -> Step:
        value, factor, offset = data.vectors()
        return _call(lambda x: jax.nn.relu(x * factor + offset), value)

    def softmax_regression(self) -> Step:
        return _training(lambda x, w, b: x @ w + b, data.softmax_regression_weights(), adam=False)

    def mlp(self) -> Step:
        def forward(x: Any, *weights: Any) -> Any:
            for layer in range(0, len(weights), 2):
                x = x @ weights[layer] + weights[layer + 1]
                if layer + 2 < len(weights):
                    x = jax.nn.relu(x)
            return x

        return _training(forward, data.mlp_weights(), adam=True)

    def lenet(self) -> Step:
        def forward(x: Any, *weights: Any) -> Any:
            x = x.reshape(-1, 28, 28, 1)
            for layer in (0, 2):
                x = jax.lax.conv_general_dilated(
                    x, weights[layer], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                x = jax.nn.relu(x + weights[layer + 1])
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
            x = x.reshape(-1, 7 * 7 * 64)
            x = jax.nn.relu(x @ weights[4] + weights[5])
            return x @ weights[6] + weights[7]

        return _training(forward, data.lenet_weights(), adam=True)

    def black_scholes(self) -> Step:
        arrays = tuple(jnp.asarray(array) for array in data.options())

        def normal_cdf(x: Any) -> Any:
            return 0.5 * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))

        def price(spot: Any, strike: Any, time: Any) -> Any:
            spread = data.VOLATILITY * jnp.sqrt(time)
            drift = (data.RISK_FREE_RATE + 0.5 * data.VOLATILITY**2) * time
            d1 = (jnp.log(spot / strike) + drift) / spread
            d2 = d1 - spread
            discounted = strike * jnp.exp(-data.RISK_FREE_RATE * time)
            call = spot * normal_cdf(d1) - discounted * normal_cdf(d2)
            return call, discounted * normal_cdf(-d2) - spot * normal_cdf(-d1)

        return _inference(price, lambda: arrays)

    def softmax(self) -> Step:
        values = jnp.asarray(data.rows())
        return _inference(lambda x: jax.nn.softmax(x, axis=-1), lambda: (values,))

    def layer_norm(self) -> Step:
        values = jnp.asarray(data.rows())
        gamma, beta = data.layer_norm_parameters()

        def normalize(x: Any) -> Any:
            mean = jnp.mean(x, axis=-1, keepdims=True)
            variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
            return (x - mean) * jax.lax.rsqrt(variance + data.LAYER_NORM_EPSILON) * gamma + beta

        return _inference(normalize, lambda: (values,))


def load(threads: int) -> Programs:
    """Returns the workloads; JAX takes its thread count from the CPUs that the process may use."""
    del threads
    return Programs()
