"""PyTensor with its default linker. It has no pooling, hence no LeNet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step


def _inference(inputs: list[Any], outputs: Any, arguments: Any) -> Step:
    function = pytensor.function(inputs, outputs)
    return lambda: function(*arguments())


def _call(x: Any, y: Any, value: Array) -> Step:
    function = pytensor.function([x], y)
    return lambda: function(value)


def _training(images: Any, labels: Any, logits: Any, values: list[Any], adam: bool) -> Step:
    picked = pt.special.log_softmax(logits, axis=1)[pt.arange(data.BATCH), labels]
    loss = -pt.mean(picked)
    gradients = pytensor.grad(loss, values)
    updates = []
    if adam:
        count = pytensor.shared(np.float32(0))
        new_count = count + np.float32(1)
        rate = np.float32(data.LEARNING_RATE_ADAM) * pt.sqrt(1 - np.float32(0.999) ** new_count)
        rate = rate / (1 - np.float32(0.9) ** new_count)
        updates.append((count, new_count))
        for value, gradient in zip(values, gradients, strict=True):
            zeros = np.zeros_like(value.get_value())
            first, second = pytensor.shared(zeros), pytensor.shared(zeros.copy())
            new_first = np.float32(0.9) * first + np.float32(0.1) * gradient
            new_second = np.float32(0.999) * second + np.float32(0.001) * gradient * gradient
            step = rate * new_first / (pt.sqrt(new_second) + np.float32(1e-8))
            updates += [(first, new_first), (second, new_second), (value, value - step)]
    else:
        rate = np.float32(data.LEARNING_RATE_SGD)
        updates = [
            (value, value - rate * gradient) for value, gradient in zip(values, gradients, strict=True)
        ]
    function = pytensor.function([images, labels], loss, updates=updates)
    cycle = data.Cycle(*data.image_batches())
    return lambda: function(*cycle())


class Programs:
    """The workloads."""

    def dispatch_scalar(self) -> Step:
        x = pt.fscalar()
        return _call(x, x * np.float32(2) + np.float32(1), data.scalar())

    def dispatch_vector(self) -> Step:
        value, factor, offset = data.vectors()
        x = pt.fvector()
        return _call(x, pt.maximum(x * factor + offset, np.float32(0)), value)

    def softmax_regression(self) -> Step:
        images, labels = pt.fmatrix(), pt.ivector()
        weights, bias = (pytensor.shared(value) for value in data.softmax_regression_weights())
        return _training(images, labels, images @ weights + bias, [weights, bias], adam=False)

    def mlp(self) -> Step:
        images, labels = pt.fmatrix(), pt.ivector()
        values = [pytensor.shared(value) for value in data.mlp_weights()]
        x = images
        for layer in range(0, len(values), 2):
            x = x @ values[layer] + values[layer + 1]
            if layer + 2 < len(values):
                x = pt.maximum(x, np.float32(0))
        return _training(images, labels, x, values, adam=True)

    def black_scholes(self) -> Step:
        arrays = data.options()
        spot, strike, time = pt.fvector(), pt.fvector(), pt.fvector()

        def number(value: float) -> Any:
            return np.float32(value)

        def normal_cdf(x: Any) -> Any:
            return number(0.5) * (number(1) + pt.erf(x * number(math.sqrt(0.5))))

        spread = number(data.VOLATILITY) * pt.sqrt(time)
        drift = number(data.RISK_FREE_RATE + 0.5 * data.VOLATILITY**2) * time
        d1 = (pt.log(spot / strike) + drift) / spread
        d2 = d1 - spread
        discounted = strike * pt.exp(number(-data.RISK_FREE_RATE) * time)
        call = spot * normal_cdf(d1) - discounted * normal_cdf(d2)
        put = discounted * normal_cdf(-d2) - spot * normal_cdf(-d1)
        return _inference([spot, strike, time], [call, put], lambda: arrays)

    def softmax(self) -> Step:
        values = data.rows()
        x = pt.fmatrix()
        return _inference([x], pt.special.softmax(x, axis=-1), lambda: (values,))

    def layer_norm(self) -> Step:
        values = data.rows()
        gamma, beta = data.layer_norm_parameters()
        x = pt.fmatrix()
        centred = x - pt.mean(x, axis=-1, keepdims=True)
        variance = pt.mean(pt.sqr(centred), axis=-1, keepdims=True)
        y = centred / pt.sqrt(variance + np.float32(data.LAYER_NORM_EPSILON)) * gamma + beta
        return _inference([x], y, lambda: (values,))

    def lstm(self) -> Step:
        steps, batch, hidden = data.LSTM_STEPS, data.LSTM_BATCH, data.LSTM_HIDDEN
        words, following = pt.imatrix(), pt.imatrix()
        values = [pytensor.shared(value) for value in data.lstm_weights()]
        embedding, input_weights, state_weights, bias, weights, out_bias = values
        x = embedding[words.flatten()]
        from_input = (x @ input_weights + bias).reshape((steps, batch, 4 * hidden))
        h = c = pt.zeros((batch, hidden), dtype="float32")
        states = []
        for time in range(steps):
            gates = from_input[time] + h @ state_weights
            i, f, o, u = (gates[:, part * hidden : (part + 1) * hidden] for part in range(4))
            c = pt.sigmoid(f + np.float32(data.FORGET_BIAS)) * c + pt.sigmoid(i) * pt.tanh(u)
            h = pt.sigmoid(o) * pt.tanh(c)
            states.append(h)
        logits = pt.concatenate(states, axis=0) @ weights + out_bias
        picked = pt.special.log_softmax(logits, axis=1)[pt.arange(steps * batch), following.flatten()]
        loss = -pt.mean(picked)
        gradients = pytensor.grad(loss, [x, *values[1:]])
        rate = np.float32(data.LEARNING_RATE_SGD)
        moved = pt.inc_subtensor(x, -rate * gradients[0])
        updates = [(embedding, moved)]
        updates += [(w, w - rate * g) for w, g in zip(values[1:], gradients[1:], strict=True)]
        function = pytensor.function([words, following], loss, updates=updates)
        cycle = data.Cycle(*data.sentences())
        return lambda: function(*cycle())

    def embedding(self) -> Step:
        ids, segments, target = pt.ivector(), pt.ivector(), pt.fmatrix()
        table = pytensor.shared(data.embedding_table())
        rows = table[ids]
        zeros = pt.zeros((data.EMBEDDING_SEGMENTS, data.EMBEDDING_WIDTH), dtype="float32")
        loss = pt.sum(pt.sqr(pt.inc_subtensor(zeros[segments], rows) - target))
        moved = pt.inc_subtensor(rows, np.float32(-data.LEARNING_RATE_EMBEDDING) * pytensor.grad(loss, rows))
        function = pytensor.function([ids, segments, target], loss, updates=[(table, moved)])
        cycle = data.Cycle(*data.bags())
        return lambda: function(*cycle())


def load(threads: int) -> Programs:
    """Returns the workloads; the thread count comes from the environment."""
    del threads
    return Programs()
