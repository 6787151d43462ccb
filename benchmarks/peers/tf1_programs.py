"""The workloads as TensorFlow 1 programs. TensorFlow itself and graphflow run the very same functions."""

from __future__ import annotations

import math
from typing import Any

from benchmarks import workloads as data
from benchmarks.workloads import Array, Step


class Run:
    """A step: a session's run with the next feeds."""

    def __init__(self, session: Any, fetches: Any, feeds: list[Any], arguments: Any) -> None:
        self.session = session
        self.fetches = fetches
        self._feeds = feeds
        self._arguments = arguments

    def feed(self) -> dict[Any, Array]:
        """Returns the next feeds."""
        return dict(zip(self._feeds, self._arguments(), strict=True))

    def __call__(self) -> Any:
        """Runs once."""
        return self.session.run(self.fetches, self.feed())


class Programs:
    """The workloads over a module that speaks TensorFlow 1.

    Args:
      tf: `graphflow` or `tensorflow.compat.v1`.
      threads: how many threads a run may use.

    Attributes:
      latest: what the workload built last runs, for those who look inside.
    """

    latest: Run

    def __init__(self, tf: Any, threads: int) -> None:
        self._tf = tf
        self._threads = threads

    def _session(self, bfloat16: bool = False) -> Any:
        config = self._tf.ConfigProto(
            intra_op_parallelism_threads=self._threads, inter_op_parallelism_threads=self._threads
        )
        if bfloat16:
            rewrites = config.graph_options.rewrite_options
            rewrites.auto_mixed_precision_onednn_bfloat16 = rewrites.ON
        return self._tf.Session(config=config)

    def _function(self, fetches: Any, feeds: list[Any], arguments: Any, bfloat16: bool = False) -> Step:
        session = self._session(bfloat16)
        session.run(self._tf.global_variables_initializer())
        self.latest = Run(session, fetches, feeds, arguments)
        return self.latest

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

    def _training(
        self, loss: Any, train: Any, feeds: list[Any], batches: tuple[Array, ...], bfloat16: bool = False
    ) -> Step:
        step = self._function([loss, train], feeds, data.Cycle(*batches), bfloat16)
        return lambda: step()[0]

    def _loss(self, labels: Any, logits: Any) -> Any:
        tf = self._tf
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return tf.reduce_mean(losses)

    def _classifier(self, images: Any, labels: Any, logits: Any, optimizer: Any) -> Step:
        loss = self._loss(labels, logits)
        return self._training(loss, optimizer.minimize(loss), [images, labels], data.image_batches())

    def _inputs(self) -> tuple[Any, Any]:
        tf = self._tf
        return tf.placeholder(tf.float32, [data.BATCH, 784]), tf.placeholder(tf.int32, [data.BATCH])

    def softmax_regression(self) -> Step:
        tf = self._tf
        images, labels = self._inputs()
        weights, bias = (tf.Variable(value) for value in data.softmax_regression_weights())
        optimizer = tf.train.GradientDescentOptimizer(data.LEARNING_RATE_SGD)
        return self._classifier(images, labels, tf.matmul(images, weights) + bias, optimizer)

    def _mlp(self, x: Any) -> Any:
        tf = self._tf
        values = [tf.Variable(value) for value in data.mlp_weights()]
        for layer in range(0, len(values), 2):
            x = tf.matmul(x, values[layer]) + values[layer + 1]
            if layer + 2 < len(values):
                x = tf.nn.relu(x)
        return x

    def mlp(self) -> Step:
        images, labels = self._inputs()
        optimizer = self._tf.train.AdamOptimizer(data.LEARNING_RATE_ADAM)
        return self._classifier(images, labels, self._mlp(images), optimizer)

    def _lenet(self, images: Any) -> Any:
        tf = self._tf
        values = [tf.Variable(value) for value in data.lenet_weights()]
        x = tf.reshape(images, [-1, 28, 28, 1])
        for layer in (0, 2):
            x = tf.nn.conv2d(x, values[layer], strides=[1, 1, 1, 1], padding="SAME")
            x = tf.nn.relu(tf.nn.bias_add(x, values[layer + 1]))
            x = tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
        x = tf.reshape(x, [-1, 7 * 7 * 64])
        x = tf.nn.relu(tf.matmul(x, values[4]) + values[5])
        return tf.matmul(x, values[6]) + values[7]

    def lenet(self) -> Step:
        images, labels = self._inputs()
        optimizer = self._tf.train.AdamOptimizer(data.LEARNING_RATE_ADAM)
        return self._classifier(images, labels, self._lenet(images), optimizer)

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

    def _convolution(self, x: Any, layer: data.Convolution, training: bool) -> Any:
        tf = self._tf
        around = [layer.padding, layer.padding]
        x = tf.nn.conv2d(
            x,
            tf.Variable(layer.filter),
            strides=[1, layer.stride, layer.stride, 1],
            padding=[[0, 0], around, around, [0, 0]],
        )
        scale, offset = tf.Variable(layer.scale), tf.Variable(layer.offset)
        mean, variance = (tf.Variable(value, trainable=False) for value in (layer.mean, layer.variance))
        if not training:
            x, _, _ = tf.nn.fused_batch_norm(
                x, scale, offset, mean, variance, epsilon=data.BATCH_NORM_EPSILON, is_training=False
            )
            return x
        x, batch_mean, batch_variance = tf.nn.fused_batch_norm(
            x, scale, offset, epsilon=data.BATCH_NORM_EPSILON, is_training=True
        )
        for moving, latest in ((mean, batch_mean), (variance, batch_variance)):
            moved = tf.assign_sub(moving, (1 - data.BATCH_NORM_DECAY) * (moving - latest))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, moved)
        return x

    def _resnet18(self, x: Any, training: bool) -> Any:
        tf = self._tf
        net = data.resnet18()
        x = tf.nn.relu(self._convolution(x, net.stem, training))
        x = tf.nn.max_pool(x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME")
        for block in net.blocks:
            y = self._convolution(x, block.first, training)
            for layer in block.path[1:]:
                y = self._convolution(tf.nn.relu(y), layer, training)
            if block.shortcut is not None:
                x = self._convolution(x, block.shortcut, training)
            x = tf.nn.relu(x + y)
        x = tf.reduce_mean(x, [1, 2])
        return tf.matmul(x, tf.Variable(net.weights)) + tf.Variable(net.bias)

    def _pictures(self, batch: int | None) -> Any:
        tf = self._tf
        return tf.placeholder(tf.float32, [batch, data.RESNET_IMAGE, data.RESNET_IMAGE, 3])

    def _resnet18_inference(self, batch: int, bfloat16: bool = False) -> Step:
        x = self._pictures(batch)
        images, _ = data.pictures(batch)
        return self._function(self._resnet18(x, training=False), [x], data.Cycle(images), bfloat16)

    def resnet18_b16(self) -> Step:
        return self._resnet18_inference(data.RESNET_BATCH)

    def resnet18_b1(self) -> Step:
        return self._resnet18_inference(1)

    def resnet18_b16_bf16(self) -> Step:
        return self._resnet18_inference(data.RESNET_BATCH, bfloat16=True)

    def resnet18_b1_bf16(self) -> Step:
        return self._resnet18_inference(1, bfloat16=True)

    def resnet18_train(self, bfloat16: bool = False) -> Step:
        tf = self._tf
        batch = data.RESNET_TRAINING_BATCH
        x, labels = self._pictures(batch), tf.placeholder(tf.int32, [batch])
        loss = self._loss(labels, self._resnet18(x, training=True))
        optimizer = tf.train.MomentumOptimizer(data.LEARNING_RATE_MOMENTUM, data.MOMENTUM)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = optimizer.minimize(loss)
        return self._training(loss, train, [x, labels], data.pictures(batch), bfloat16)

    def resnet18_train_bf16(self) -> Step:
        return self.resnet18_train(bfloat16=True)

    def _lstm(self, words: Any, following: Any, batch: Any) -> tuple[Any, Any]:
        tf = self._tf
        steps, hidden = data.LSTM_STEPS, data.LSTM_HIDDEN
        embedding, input_weights, state_weights, bias, weights, out_bias = map(
            tf.Variable, data.lstm_weights()
        )
        # The inputs of all steps are known: their share of the gates is one product.
        x = tf.reshape(tf.nn.embedding_lookup(embedding, words), [steps * batch, hidden])
        from_input = tf.reshape(tf.matmul(x, input_weights) + bias, [steps, batch, 4 * hidden])
        h = c = tf.zeros([batch, hidden])
        states = []
        for share in tf.unstack(from_input):
            i, f, o, u = tf.split(share + tf.matmul(h, state_weights), 4, axis=1)
            c = tf.sigmoid(f + data.FORGET_BIAS) * c + tf.sigmoid(i) * tf.tanh(u)
            h = tf.sigmoid(o) * tf.tanh(c)
            states.append(h)
        logits = tf.matmul(tf.concat(states, axis=0), weights) + out_bias
        loss = self._loss(tf.reshape(following, [-1]), logits)
        return loss, tf.train.GradientDescentOptimizer(data.LEARNING_RATE_SGD).minimize(loss)

    def lstm(self) -> Step:
        tf = self._tf
        words, following = (tf.placeholder(tf.int32, [data.LSTM_STEPS, data.LSTM_BATCH]) for _ in range(2))
        loss, train = self._lstm(words, following, data.LSTM_BATCH)
        return self._training(loss, train, [words, following], data.sentences())

    def _lstm_while(self, words: Any, following: Any, batch: Any) -> tuple[Any, Any]:
        tf = self._tf
        hidden = data.LSTM_HIDDEN
        # Sentences of any length: the loop has as many turns as there are words.
        steps = tf.shape(words)[0]
        embedding, input_weights, state_weights, bias, weights, out_bias = map(
            tf.Variable, data.lstm_weights()
        )
        x = tf.reshape(tf.nn.embedding_lookup(embedding, words), [-1, hidden])
        from_input = tf.reshape(tf.matmul(x, input_weights) + bias, [-1, batch, 4 * hidden])
        known = batch if isinstance(batch, int) else None
        shares = tf.TensorArray(tf.float32, steps, element_shape=[known, 4 * hidden]).unstack(from_input)
        states = tf.TensorArray(tf.float32, steps, element_shape=[known, hidden])

        def turn(t: Any, h: Any, c: Any, states: Any) -> Any:
            i, f, o, u = tf.split(shares.read(t) + tf.matmul(h, state_weights), 4, axis=1)
            c = tf.sigmoid(f + data.FORGET_BIAS) * c + tf.sigmoid(i) * tf.tanh(u)
            h = tf.sigmoid(o) * tf.tanh(c)
            return t + 1, h, c, states.write(t, h)

        zeros = tf.zeros([batch, hidden])
        _, _, _, states = tf.while_loop(lambda t, *_: t < steps, turn, [0, zeros, zeros, states])
        logits = tf.matmul(tf.reshape(states.stack(), [-1, hidden]), weights) + out_bias
        loss = self._loss(tf.reshape(following, [-1]), logits)
        return loss, tf.train.GradientDescentOptimizer(data.LEARNING_RATE_SGD).minimize(loss)

    def lstm_while(self) -> Step:
        tf = self._tf
        words, following = (tf.placeholder(tf.int32, [None, data.LSTM_BATCH]) for _ in range(2))
        loss, train = self._lstm_while(words, following, data.LSTM_BATCH)
        return self._training(loss, train, [words, following], data.sentences())

    def small_loop(self) -> Step:
        tf = self._tf
        start, offset = data.loop_start()
        x = tf.placeholder(tf.float32, [data.LOOP_WIDTH])

        def turn(i: Any, y: Any, s: Any) -> Any:
            y = tf.tanh(y * 0.9 + offset)
            z = y * y - s
            return i + 1, y + 0.01 * z, s * 0.5 + 0.1 * tf.reduce_sum(z)

        _, y, s = tf.while_loop(lambda i, *_: i < data.LOOP_TURNS, turn, [0, x, tf.constant(0.5)])
        return self._function([y, s], [x], lambda: (start,))

    def _layer_norm(self, x: Any, gamma: Array, beta: Array) -> Any:
        tf = self._tf
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        return tf.nn.batch_normalization(
            x, mean, variance, tf.Variable(beta), tf.Variable(gamma), data.LAYER_NORM_EPSILON
        )

    def _encoder_layer(self, x: Any, layer: data.EncoderLayer, batch: Any) -> Any:
        tf = self._tf
        length, width, heads = data.TRANSFORMER_LENGTH, data.TRANSFORMER_WIDTH, data.TRANSFORMER_HEADS

        def dense(x: Any, weights: Array, bias: Array) -> Any:
            return tf.matmul(x, tf.Variable(weights)) + tf.Variable(bias)

        def by_head(x: Any) -> Any:
            return tf.transpose(tf.reshape(x, [batch, length, heads, width // heads]), [0, 2, 1, 3])

        q, k, v = map(by_head, tf.split(dense(x, layer.qkv, layer.qkv_bias), 3, axis=1))
        scores = tf.matmul(q, k, transpose_b=True) * (width // heads) ** -0.5
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
        mixed = dense(tf.reshape(mixed, [batch * length, width]), layer.output, layer.output_bias)
        x = self._layer_norm(x + mixed, layer.gamma1, layer.beta1)
        y = dense(x, layer.widen, layer.widen_bias)
        y = 0.5 * y * (1.0 + tf.erf(y * math.sqrt(0.5)))
        return self._layer_norm(x + dense(y, layer.narrow, layer.narrow_bias), layer.gamma2, layer.beta2)

    def _transformer(self, tokens: Any, batch: Any) -> Any:
        tf = self._tf
        net = data.transformer()
        length, width = data.TRANSFORMER_LENGTH, data.TRANSFORMER_WIDTH
        x = tf.nn.embedding_lookup(tf.Variable(net.tokens), tokens) + tf.Variable(net.positions)
        x = self._layer_norm(tf.reshape(x, [batch * length, width]), net.gamma, net.beta)
        for layer in net.layers:
            x = self._encoder_layer(x, layer, batch)
        x = tf.reduce_mean(tf.reshape(x, [batch, length, width]), axis=1)
        return tf.matmul(x, tf.Variable(net.weights)) + tf.Variable(net.bias)

    def _transformer_inference(self, batch: int, bfloat16: bool = False) -> Step:
        tf = self._tf
        tokens = tf.placeholder(tf.int32, [batch, data.TRANSFORMER_LENGTH])
        given, _ = data.texts(batch)
        return self._function(self._transformer(tokens, batch), [tokens], data.Cycle(given), bfloat16)

    def transformer_b1(self) -> Step:
        return self._transformer_inference(1)

    def transformer_b8(self) -> Step:
        return self._transformer_inference(data.TRANSFORMER_BATCH)

    def transformer_b1_bf16(self) -> Step:
        return self._transformer_inference(1, bfloat16=True)

    def transformer_b8_bf16(self) -> Step:
        return self._transformer_inference(data.TRANSFORMER_BATCH, bfloat16=True)

    def transformer_train(self, bfloat16: bool = False) -> Step:
        tf = self._tf
        batch = data.TRANSFORMER_TRAINING_BATCH
        tokens = tf.placeholder(tf.int32, [batch, data.TRANSFORMER_LENGTH])
        classes = tf.placeholder(tf.int32, [batch])
        loss = self._loss(classes, self._transformer(tokens, batch))
        train = tf.train.AdamOptimizer(data.LEARNING_RATE_ADAM).minimize(loss)
        return self._training(loss, train, [tokens, classes], data.texts(batch), bfloat16)

    def transformer_train_bf16(self) -> Step:
        return self.transformer_train(bfloat16=True)

    def embedding(self) -> Step:
        tf = self._tf
        ids, segments = (tf.placeholder(tf.int32, [data.EMBEDDING_IDS]) for _ in range(2))
        target = tf.placeholder(tf.float32, [data.EMBEDDING_SEGMENTS, data.EMBEDDING_WIDTH])
        rows = tf.nn.embedding_lookup(tf.Variable(data.embedding_table()), ids)
        loss = tf.reduce_sum(tf.square(tf.segment_sum(rows, segments) - target))
        train = tf.train.GradientDescentOptimizer(data.LEARNING_RATE_EMBEDDING).minimize(loss)
        return self._training(loss, train, [ids, segments, target], data.bags())

    def mlp_of_batch(self, size: int) -> Step:
        x = self._tf.placeholder(self._tf.float32, [None, data.MLP_SIZES[0]])
        values = data.images(size)
        return self._function(self._mlp(x), [x], lambda: (values,))

    def elements(self, size: int) -> Step:
        tf = self._tf
        x = tf.placeholder(tf.float32, [None])
        values = data.elements(size)
        return self._function(tf.tanh(x) * 0.5 + x, [x], lambda: (values,))

    def of_any_batch(self, model: str) -> Any:
        """Returns a session, what it runs, and the placeholders of a model that takes any batch.

        "mlp", "lenet", "resnet18", "transformer": inference; with "_train" after it, and "lstm" and "lstm_while",
        training steps. The last one takes sentences of any length, too.
        """
        tf = self._tf
        fetches: Any
        if model.startswith("lstm"):
            length = data.LSTM_STEPS if model == "lstm" else None
            feeds = [tf.placeholder(tf.int32, [length, None]) for _ in range(2)]
            build = self._lstm if model == "lstm" else self._lstm_while
            fetches = build(feeds[0], feeds[1], tf.shape(feeds[0])[1])
        else:
            name = model.removesuffix("_train")
            training = name != model
            if name == "resnet18":
                feeds = [self._pictures(None)]
                logits = self._resnet18(feeds[0], training)
            elif name == "transformer":
                feeds = [tf.placeholder(tf.int32, [None, data.TRANSFORMER_LENGTH])]
                logits = self._transformer(feeds[0], tf.shape(feeds[0])[0])
            else:
                feeds = [tf.placeholder(tf.float32, [None, 784])]
                logits = self._mlp(feeds[0]) if name == "mlp" else self._lenet(feeds[0])
            fetches = logits
            if training:
                feeds.append(tf.placeholder(tf.int32, [None]))
                loss = self._loss(feeds[1], logits)
                optimizer = tf.train.AdamOptimizer(data.LEARNING_RATE_ADAM)
                with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                    fetches = loss, optimizer.minimize(loss)
        session = self._session()
        session.run(tf.global_variables_initializer())
        return session, fetches, feeds
