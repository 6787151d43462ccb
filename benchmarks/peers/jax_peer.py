"""JAX, everything under `jax.jit`, the training state donated."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from copy import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step

resident: Step | None = None
"""What the workload built last does over inputs that lie where it runs; it waits for nothing and gives JAX's arrays."""


def _inference(function: Any, arguments: Callable[[], tuple[Any, ...]]) -> Step:
    global resident
    compiled = jax.jit(function)
    given = tuple(map(jax.device_put, copy(arguments)()))  # a cycle of batches stays where it is
    resident = lambda: compiled(*given)  # noqa: E731

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


def _sgd(rate: float) -> Any:
    """Returns the first state for weights, and (weights, gradients, state) -> (weights, state)."""

    def update(weights: Any, gradients: Any, state: Any) -> Any:
        return jax.tree.map(lambda w, g: w - rate * g, weights, gradients), state

    return lambda weights: (), update


def _momentum(weights: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, weights)


def _momentum_update(weights: Any, gradients: Any, state: Any) -> Any:
    state = jax.tree.map(lambda m, g: data.MOMENTUM * m + g, state, gradients)
    return jax.tree.map(lambda w, m: w - data.LEARNING_RATE_MOMENTUM * m, weights, state), state


def _adam(weights: Any) -> Any:
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return zeros, jax.tree.map(jnp.zeros_like, weights), jnp.float32(0)


def _adam_update(weights: Any, gradients: Any, state: Any) -> Any:
    first, second, count = state
    count = count + 1
    rate = data.LEARNING_RATE_ADAM * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, first, second)
    return weights, (first, second, count)


ADAM = (_adam, _adam_update)
MOMENTUM = (_momentum, _momentum_update)


def _training(loss_of: Any, weights: Any, optimizer: Any, batches: tuple[Array, ...], kept: Any = ()) -> Step:
    """Returns a training step; `loss_of(weights, kept, *batch)` gives the loss and the new `kept`."""
    global resident
    begin, move = optimizer

    def update(everything: Any, *batch: Any) -> Any:
        weights, kept, state = everything
        (loss, kept), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, kept, *batch)
        weights, state = move(weights, gradients, state)
        return (weights, kept, state), loss

    # A copy: what is donated must belong to JAX.
    weights, kept = jax.tree.map(lambda value: jnp.array(value, copy=True), (weights, kept))
    everything = (weights, kept, begin(weights))
    compiled = jax.jit(update, donate_argnums=0)
    cycle = data.Cycle(*batches)

    def onward(*batch: Any) -> Any:
        nonlocal everything
        everything, loss = compiled(everything, *batch)
        return loss

    def step() -> Any:
        return np.asarray(onward(*cycle()))

    given = tuple(map(jax.device_put, data.Cycle(*batches)()))
    resident = lambda: onward(*given)  # noqa: E731

    return step


def _classifier(forward: Any, values: list[Any], optimizer: Any) -> Step:
    def loss_of(weights: Any, kept: Any, images: Any, labels: Any) -> Any:
        return _cross_entropy(forward(images, *weights), labels), kept

    return _training(loss_of, values, optimizer, data.image_batches())


def _mlp(x: Any, *weights: Any) -> Any:
    for layer in range(0, len(weights), 2):
        x = x @ weights[layer] + weights[layer + 1]
        if layer + 2 < len(weights):
            x = jax.nn.relu(x)
    return x


def _learned(layer: data.Convolution) -> Any:
    """Returns what learns of a convolution; its mean and variance are moving averages."""
    return layer.filter, layer.scale, layer.offset


def _convolution(x: Any, layer: data.Convolution, learned: Any, averages: Any, training: bool) -> Any:
    """Returns the normalized convolution, and the averages that stand after it."""
    filters, scale, offset = learned
    around = (layer.padding, layer.padding)
    x = jax.lax.conv_general_dilated(
        x,
        filters,
        (layer.stride, layer.stride),
        (around, around),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    if training:
        mean = jnp.mean(x, (0, 1, 2))
        variance = jnp.mean(jnp.square(x), (0, 1, 2)) - jnp.square(mean)
        moved = [
            old + (1 - data.BATCH_NORM_DECAY) * (jax.lax.stop_gradient(new) - old)
            for old, new in zip(averages, (mean, variance), strict=True)
        ]
    else:
        mean, variance = moved = averages
    factor = scale * jax.lax.rsqrt(variance + data.BATCH_NORM_EPSILON)
    return x * factor + (offset - mean * factor), moved


def _layers(net: data.ResNet) -> list[data.Convolution]:
    found = [net.stem]
    for block in net.blocks:
        found += list(block.path) + ([block.shortcut] if block.shortcut is not None else [])
    return found


def _resnet18(net: data.ResNet, x: Any, learned: Any, averages: Any, training: bool) -> Any:
    """Returns the logits, and all moving averages behind the step."""
    convolutions, weights, bias = learned
    given = iter(zip(convolutions, averages, strict=True))
    after = []

    def apply(x: Any, layer: data.Convolution) -> Any:
        x, moved = _convolution(x, layer, *next(given), training)
        after.append(moved)
        return x

    x = jax.nn.relu(apply(x, net.stem))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    for block in net.blocks:
        y = apply(x, block.first)
        for layer in block.path[1:]:
            y = apply(jax.nn.relu(y), layer)
        if block.shortcut is not None:
            x = apply(x, block.shortcut)
        x = jax.nn.relu(x + y)
    return jnp.mean(x, (1, 2)) @ weights + bias, after


def _resnet18_inference(batch: int) -> Step:
    net = data.resnet18()
    layers = _layers(net)
    learned = jax.tree.map(jnp.asarray, ([_learned(layer) for layer in layers], net.weights, net.bias))
    averages = jax.tree.map(jnp.asarray, [(layer.mean, layer.variance) for layer in layers])
    images, _ = data.pictures(batch)
    # The weights are constants of the program, as in a model that is only served.
    return _inference(
        lambda x: _resnet18(net, x, learned, averages, False)[0], data.Cycle(jnp.asarray(images))
    )


def _normalize(x: Any, gamma: Any, beta: Any) -> Any:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + data.LAYER_NORM_EPSILON) * gamma + beta


def _transformer(net: Any, tokens: Any) -> Any:
    batch, length = tokens.shape
    width, heads = data.TRANSFORMER_WIDTH, data.TRANSFORMER_HEADS
    x = _normalize(net["tokens"][tokens] + net["positions"], net["gamma"], net["beta"])
    for layer in net["layers"]:
        qkv = x @ layer["qkv"] + layer["qkv_bias"]
        q, k, v = jnp.moveaxis(qkv.reshape(batch, length, 3, heads, width // heads), (2, 3), (0, 2))
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * (width // heads) ** -0.5
        mixed = jnp.einsum("bhqk,bhkd->bqhd", jax.nn.softmax(scores), v).reshape(batch, length, width)
        x = _normalize(x + mixed @ layer["output"] + layer["output_bias"], layer["gamma1"], layer["beta1"])
        y = jax.nn.gelu(x @ layer["widen"] + layer["widen_bias"], approximate=False)
        x = _normalize(x + y @ layer["narrow"] + layer["narrow_bias"], layer["gamma2"], layer["beta2"])
    return jnp.mean(x, axis=1) @ net["weights"] + net["bias"]


def _transformer_inference(batch: int) -> Step:
    net = jax.tree.map(jnp.asarray, dataclasses.asdict(data.transformer()))
    tokens, _ = data.texts(batch)
    return _inference(lambda given: _transformer(net, given), data.Cycle(jnp.asarray(tokens)))


class Programs:
    """The workloads."""

    def dispatch_scalar(self) -> Step:
        return _call(lambda x: x * 2.0 + 1.0, data.scalar())

    def dispatch_vector(self) -> Step:
        value, factor, offset = data.vectors()
        return _call(lambda x: jax.nn.relu(x * factor + offset), value)

    def softmax_regression(self) -> Step:
        return _classifier(
            lambda x, w, b: x @ w + b, data.softmax_regression_weights(), _sgd(data.LEARNING_RATE_SGD)
        )

    def mlp(self) -> Step:
        return _classifier(_mlp, data.mlp_weights(), ADAM)

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

        return _classifier(forward, data.lenet_weights(), ADAM)

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

        return _inference(lambda x: _normalize(x, gamma, beta), lambda: (values,))

    def resnet18_b16(self) -> Step:
        return _resnet18_inference(data.RESNET_BATCH)

    def resnet18_b1(self) -> Step:
        return _resnet18_inference(1)

    def resnet18_train(self) -> Step:
        net = data.resnet18()
        layers = _layers(net)

        def loss_of(learned: Any, averages: Any, images: Any, labels: Any) -> Any:
            logits, averages = _resnet18(net, images, learned, averages, True)
            return _cross_entropy(logits, labels), averages

        learned = ([_learned(layer) for layer in layers], net.weights, net.bias)
        averages = [[layer.mean, layer.variance] for layer in layers]
        return _training(loss_of, learned, MOMENTUM, data.pictures(data.RESNET_TRAINING_BATCH), averages)

    def _lstm(self, unroll: int) -> Step:
        hidden = data.LSTM_HIDDEN

        def loss_of(values: Any, kept: Any, words: Any, following: Any) -> Any:
            embedding, input_weights, state_weights, bias, weights, out_bias = values
            from_input = embedding[words] @ input_weights + bias

            def cell(state: Any, share: Any) -> Any:
                h, c = state
                i, f, o, u = jnp.split(share + h @ state_weights, 4, axis=1)
                c = jax.nn.sigmoid(f + data.FORGET_BIAS) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zeros = jnp.zeros((data.LSTM_BATCH, hidden))
            _, states = jax.lax.scan(cell, (zeros, zeros), from_input, unroll=unroll)
            logits = states.reshape(-1, hidden) @ weights + out_bias
            return _cross_entropy(logits, following.reshape(-1)), kept

        return _training(loss_of, data.lstm_weights(), _sgd(data.LEARNING_RATE_SGD), data.sentences())

    def lstm(self) -> Step:
        return self._lstm(data.LSTM_STEPS)

    def lstm_while(self) -> Step:
        return self._lstm(1)

    def small_loop(self) -> Step:
        start, offset = data.loop_start()

        def turn(state: Any) -> Any:
            i, y, s = state
            y = jnp.tanh(y * 0.9 + offset)
            z = y * y - s
            return i + 1, y + 0.01 * z, s * 0.5 + 0.1 * jnp.sum(z)

        def loop(x: Any) -> Any:
            _, y, s = jax.lax.while_loop(
                lambda state: state[0] < data.LOOP_TURNS, turn, (0, x, jnp.float32(0.5))
            )
            return y, s

        return _inference(loop, lambda: (start,))

    def transformer_b1(self) -> Step:
        return _transformer_inference(1)

    def transformer_b8(self) -> Step:
        return _transformer_inference(data.TRANSFORMER_BATCH)

    def transformer_train(self) -> Step:
        def loss_of(net: Any, kept: Any, tokens: Any, classes: Any) -> Any:
            return _cross_entropy(_transformer(net, tokens), classes), kept

        net = dataclasses.asdict(data.transformer())
        return _training(loss_of, net, ADAM, data.texts(data.TRANSFORMER_TRAINING_BATCH))

    def embedding(self) -> Step:
        def update(table: Any, ids: Any, segments: Any, target: Any) -> Any:
            # By the rows that were looked up, not by the table: a gradient as large as the table is never made.
            def loss_of(rows: Any) -> Any:
                sums = jax.ops.segment_sum(rows, segments, data.EMBEDDING_SEGMENTS, indices_are_sorted=True)
                return jnp.sum(jnp.square(sums - target))

            loss, gradients = jax.value_and_grad(loss_of)(table[ids])
            return table.at[ids].add(-data.LEARNING_RATE_EMBEDDING * gradients), loss

        compiled = jax.jit(update, donate_argnums=0)
        table = jnp.array(data.embedding_table(), copy=True)
        cycle = data.Cycle(*data.bags())

        def step() -> Any:
            nonlocal table
            table, loss = compiled(table, *cycle())
            return np.asarray(loss)

        return step

    def mlp_of_batch(self, size: int) -> Step:
        values = data.images(size)
        weights = [jnp.asarray(value) for value in data.mlp_weights()]
        return _inference(lambda x: _mlp(x, *weights), lambda: (values,))

    def elements(self, size: int) -> Step:
        values = data.elements(size)
        return _inference(lambda x: jnp.tanh(x) * 0.5 + x, lambda: (values,))


def load(threads: int) -> Programs:
    """Returns the workloads; JAX takes its thread count from the CPUs that the process may use."""
    del threads
    return Programs()
