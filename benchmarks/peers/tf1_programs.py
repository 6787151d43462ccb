"""The workloads as TensorFlow 1 programs. TensorFlow itself and graphflow run the very same functions."""

from __future__ import annotations

import math
from typing import Any

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step


class Programs:
    """The workloads over a module that speaks TensorFlow 1.

    Args:
      tf: `graphflow` or `tensorflow.compat.v1`.
      threads: how many threads a run may use.
    """

    def __init__(self, tf: Any, threads: int) -> None:
        self._tf = tf
        self._threads = threads

    def _session(self) -> Any:
        config = self._tf.ConfigProto(
            intra_op_parallelism_threads=self._threads, inter_op_parallelism_threads=self._threads
        )
        return self._tf.Session(config=config)

    def _function(self, fetches: Any, feeds: list[Any], arguments: Any) -> Step:
        session = self._session()
        session.run(self._tf.global_variables_initializer())

        def step() -> Any:
            return session.run(fetches, dict(zip(feeds, arguments(), strict=True)))

        return step

    def _call(self, fetch: Any, feed: Any, value: Array) -> Step:
        run = self._session().run
        return lambda: run(fetch, {feed: value})

    def dispatch_scalar(self) -> Step:
        tf = self._tf
        x = tf.placeholder(tf.float32, [])
        return self._call(x * 2.0 + 1.0, x, data.scalar())

    def dispatch_vector(self) -> Step:
        tf = self._tf
        value, factor, offset = data.vectors()
        x = tf.placeholder(tf.float32, [10])
        return self._call(tf.nn.relu(x * factor + offset), x, value)

    def _training(self, images: Any, labels: Any, logits: Any, optimizer: Any) -> Step:
        tf = self._tf
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(losses)
        train = optimizer.minimize(loss)
        step = self._function([loss, train], [images, labels], data.Cycle(*data.image_batches()))
        return lambda: step()[0]

    def _inputs(self) -> tuple[Any, Any]:
        tf = self._tf
        return tf.placeholder(tf.float32, [data.BATCH, 784]), tf.placeholder(tf.int32, [data.BATCH])

    def softmax_regression(self) -> Step:
        tf = self._tf
        images, labels = self._inputs()
        weights, bias = (tf.Variable(value) for value in data.softmax_regression_weights())
        optimizer = tf.train.GradientDescentOptimizer(data.LEARNING_RATE_SGD)
        return self._training(images, labels, tf.matmul(images, weights) + bias, optimizer)

    def mlp(self) -> Step:
        tf = self._tf
        images, labels = self._inputs()
        values = [tf.Variable(value) for value in data.mlp_weights()]
        x = images
        for layer in range(0, len(values), 2):
            x = tf.matmul(x, values[layer]) + values[layer + 1]
            if layer + 2 < len(values):
                x = tf.nn.relu(x)
        return self._training(images, labels, x, tf.train.AdamOptimizer(data.LEARNING_RATE_ADAM))

    def lenet(self) -> Step:
        tf = self._tf
        images, labels = self._inputs()
        values = [tf.Variable(value) for value in data.lenet_weights()]
        x = tf.reshape(images, [-1, 28, 28, 1])
        for layer in (0, 2):
            x = tf.nn.conv2d(x, values[layer], strides=[1, 1, 1, 1], padding="SAME")
            x = tf.nn.relu(tf.nn.bias_add(x, values[layer + 1]))
            x = tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
        x = tf.reshape(x, [-1, 7 * 7 * 64])
        x = tf.nn.relu(tf.matmul(x, values[4]) + values[5])
        x = tf.matmul(x, values[6]) + values[7]
        return self._training(images, labels, x, tf.train.AdamOptimizer(data.LEARNING_RATE_ADAM))

    def black_scholes(self) -> Step:
        tf = self._tf
        arrays = data.options()
        spot, strike, time = (tf.placeholder(tf.float32, [data.OPTIONS]) for _ in arrays)

        def normal_cdf(x: Any) -> Any:
            return 0.5 * (1.0 + tf.erf(x * math.sqrt(0.5)))

        spread = data.VOLATILITY * tf.sqrt(time)
        drift = (data.RISK_FREE_RATE + 0.5 * data.VOLATILITY**2) * time
        d1 = (tf.log(spot / strike) + drift) / spread
        d2 = d1 - spread
        discounted = strike * tf.exp(-data.RISK_FREE_RATE * time)
        call = spot * normal_cdf(d1) - discounted * normal_cdf(d2)
        put = discounted * normal_cdf(-d2) - spot * normal_cdf(-d1)
        return self._function([call, put], [spot, strike, time], lambda: arrays)

    def softmax(self) -> Step:
        tf = self._tf
        values = data.rows()
        x = tf.placeholder(tf.float32, data.ROWS)
        return self._function(tf.nn.softmax(x), [x], lambda: (values,))

    def layer_norm(self) -> Step:
        tf = self._tf
        values = data.rows()
        gamma, beta = data.layer_norm_parameters()
        x = tf.placeholder(tf.float32, data.ROWS)
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, data.LAYER_NORM_EPSILON)
        return self._function(y, [x], lambda: (values,))
