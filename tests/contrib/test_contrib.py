"""What programs use of contrib: names of variables, collections, scopes of arguments, and the values."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import graphflow as gf

contrib = gf.contrib
slim = contrib.slim
X = np.random.RandomState(0).randn(4, 8, 8, 3).astype(np.float32)


def run(fetches: Any, feeds: Any = None) -> Any:
    with gf.Session() as session:
        session.run([gf.global_variables_initializer(), gf.local_variables_initializer()])
        return session.run(fetches, feeds)


def names() -> list[str]:
    return [variable.op.name for variable in gf.global_variables()]


def test_a_network_of_slim_has_the_names_of_its_checkpoints() -> None:
    x = gf.constant(X)
    norm = {"is_training": True, "decay": 0.9}
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected], weights_regularizer=slim.l2_regularizer(0.1),
        normalizer_fn=slim.batch_norm, normalizer_params=norm,
    ):  # fmt: skip
        hidden = slim.conv2d(x, 5, [3, 3], scope="conv1")
        hidden = slim.max_pool2d(hidden, [2, 2], scope="pool1")
        hidden = slim.repeat(hidden, 2, slim.conv2d, 6, [3, 3], scope="conv2")
        assert hidden.shape.as_list() == [4, 4, 4, 6]
        logits = slim.fully_connected(
            slim.flatten(hidden), 7, activation_fn=None, normalizer_fn=None, scope="fc"
        )
    parts = ("weights", "BatchNorm/beta", "BatchNorm/moving_mean", "BatchNorm/moving_variance")
    layers = ("conv1", "conv2/conv2_1", "conv2/conv2_2")
    assert names() == [f"{layer}/{part}" for layer in layers for part in parts] + ["fc/weights", "fc/biases"]
    assert len(gf.get_collection(gf.GraphKeys.UPDATE_OPS)) == 6
    assert len(slim.get_model_variables()) == 14 and len(gf.losses.get_regularization_losses()) == 4
    penalty = gf.losses.get_regularization_losses()[-1]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        weights, loss, out = session.run(["fc/weights:0", penalty, logits])
        assert loss == pytest.approx(0.05 * np.square(weights).sum(), rel=1e-5) and out.shape == (4, 7)
        limit = np.sqrt(6 / (96 + 7))
        assert np.abs(weights).max() <= limit


def test_layers_alone() -> None:
    x = gf.constant(X.reshape(4, -1))
    out = contrib.layers.fully_connected(x, 5, activation_fn=None, biases_initializer=gf.ones_initializer())
    assert names() == ["fully_connected/weights", "fully_connected/biases"]
    normed = contrib.layers.layer_norm(x)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        got, weights, flat = session.run([out, "fully_connected/weights:0", normed])
    np.testing.assert_allclose(got, X.reshape(4, -1) @ weights + 1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(flat.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(flat.std(1), 1, atol=1e-3)


def test_scopes_of_arguments_nest_and_are_refused_where_they_do_not_fit() -> None:
    with contrib.framework.arg_scope([contrib.layers.fully_connected], activation_fn=None):
        with contrib.framework.arg_scope([contrib.layers.fully_connected], biases_initializer=None) as both:
            contrib.layers.fully_connected(gf.ones([2, 3]), 4, scope="a")
        contrib.layers.fully_connected(gf.ones([2, 3]), 4, scope="b")
    with contrib.framework.arg_scope(both):
        contrib.layers.fully_connected(gf.ones([2, 3]), 4, scope="c")
    assert names() == ["a/weights", "b/weights", "b/biases", "c/weights"]
    with pytest.raises(ValueError, match="not decorated"), contrib.framework.arg_scope([gf.matmul], name="x"):
        pass


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: contrib.rnn.LayerNormBasicLSTMCell(5), 5),
        (lambda: contrib.rnn.AttentionCellWrapper(contrib.rnn.BasicLSTMCell(5), 3), 5),
        (lambda: contrib.rnn.OutputProjectionWrapper(contrib.rnn.GRUCell(4), 5), 5),
        (lambda: contrib.rnn.InputProjectionWrapper(contrib.rnn.GRUCell(5), 3), 5),
        (lambda: contrib.rnn.LSTMBlockCell(5), 5),
        (lambda: contrib.rnn.NASCell(5), 5),
        (lambda: contrib.rnn.UGRNNCell(5), 5),
        (
            lambda: contrib.rnn.CoupledInputForgetGateLSTMCell(
                6, use_peepholes=True, num_proj=5, layer_norm=True
            ),
            5,
        ),
        (lambda: contrib.rnn.GLSTMCell(6, number_of_groups=2, num_proj=4), 4),
        (lambda: contrib.rnn.TimeFreqLSTMCell(5, use_peepholes=True, cell_clip=3.0), 5),
    ],
)
def test_cells_run_and_train(make: Any, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_BACKEND", "reference")
    x = gf.constant(X.reshape(4, 8, 24))
    out, _ = gf.nn.dynamic_rnn(make(), x, dtype=gf.float32)
    loss = gf.reduce_mean(gf.square(out - 0.1))
    step = gf.train.AdamOptimizer(0.05).minimize(loss)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        first = session.run(loss)
        for _ in range(15):
            session.run(step)
        assert session.run(loss) < first and session.run(out).shape == (4, 8, size)


def lstm_of(gates: np.ndarray, c: np.ndarray, order: str) -> tuple[np.ndarray, np.ndarray]:
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    part = dict(zip(order, np.split(gates, 4, 1), strict=True))
    new_c = sigmoid(part["f"] + 1) * c + sigmoid(part["i"]) * np.tanh(part["j"])
    return new_c, sigmoid(part["o"]) * np.tanh(new_c)


def test_cells_of_papers_follow_their_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_BACKEND", "reference")
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    rng = np.random.RandomState(3)
    x, c, h = (rng.randn(2, 4).astype(np.float32) for _ in range(3))
    pair = contrib.rnn.LSTMStateTuple(gf.constant(c), gf.constant(h))
    windows = np.concatenate([c, h, x, c], 1)
    time = np.array([[3.0], [250.0]], np.float32)
    made = [
        contrib.rnn.CoupledInputForgetGateLSTMCell(4)(gf.constant(x), pair),
        contrib.rnn.GLSTMCell(4, number_of_groups=2)(gf.constant(x), pair),
        contrib.rnn.TimeFreqLSTMCell(4, feature_size=3)(gf.constant(x), gf.constant(windows)),
        contrib.rnn.PhasedLSTMCell(4, period_init_max=50.0)((gf.constant(time), gf.constant(x)), pair),
    ]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        for i, v in enumerate(gf.global_variables()):
            if "phased" not in v.op.name:
                v.load(np.random.RandomState(i).normal(0, 0.5, v.shape.as_list()).astype(np.float32), session)
        coupled, grouped, over, phased = session.run(made)
        w = dict(zip(names(), session.run(gf.global_variables()), strict=True))
    at = "coupled_input_forget_gate_lstm_cell"
    j, f, o = np.split(np.concatenate([x, h], 1) @ w[f"{at}/W_0"] + w[f"{at}/B"], 3, 1)
    keep = sigmoid(f + 1)
    new_c = keep * c + (1 - keep) * np.tanh(j)
    np.testing.assert_allclose(coupled[1].c, new_c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(coupled[0], sigmoid(o) * np.tanh(new_c), rtol=1e-4, atol=1e-5)

    halves = [np.concatenate([a[:, s] for a in (x, h)], 1) for s in (slice(0, 2), slice(2, 4))]
    parts = [np.split(g @ w[f"glstm_cell/group{i}/kernel"], 4, 1) for i, g in enumerate(halves)]
    gates = np.concatenate(
        [
            np.concatenate(p, 1) + w[f"glstm_cell/bias_{k}"]
            for k, p in zip("ijfo", zip(*parts, strict=True), strict=True)
        ],
        1,
    )
    new_c, new_h = lstm_of(gates, c, "ijfo")
    np.testing.assert_allclose(grouped[1].c, new_c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grouped[0], new_h, rtol=1e-4, atol=1e-5)

    below, outputs = np.zeros((2, 4)), []
    for k in range(2):
        own_c, own_h = windows[:, 8 * k : 8 * k + 4], windows[:, 8 * k + 4 : 8 * k + 8]
        gates = np.concatenate([x[:, k : k + 3], own_h, below], 1) @ w["time_freq_lstm_cell/W_0"]
        new_c, below = lstm_of(gates + w["time_freq_lstm_cell/B"], own_c, "ijfo")
        outputs += [new_c, below]
    np.testing.assert_allclose(over[1], np.concatenate(outputs, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(over[0], np.concatenate(outputs[1::2], 1), rtol=1e-4, atol=1e-5)

    at = "phased_lstm_cell"
    joined = np.concatenate([x, h], 1)
    dense = lambda name: joined @ w[f"{at}/{name}/kernel"] + w[f"{at}/{name}/bias"]  # noqa: E731
    take, keep = np.split(sigmoid(dense("mask_gates")), 2, 1)
    new_c = c * keep + take * np.tanh(dense("new_input"))
    new_h = np.tanh(new_c) * sigmoid(dense("output_gate"))
    period = w[f"{at}/period"]
    ratio = np.mod(time - w[f"{at}/phase"], period) / period
    k = np.where(ratio < 0.05, 20 * ratio, np.where(ratio < 0.1, 2 - 20 * ratio, 0.001 * ratio))
    np.testing.assert_allclose(phased[1].c, k * new_c + (1 - k) * c, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(phased[0], k * new_h + (1 - k) * h, rtol=2e-3, atol=1e-4)


def test_rows_keep_the_variance_of_the_whole() -> None:
    x = X.reshape(4, -1)[:, :6]
    fused = contrib.layers.batch_norm(x, decay=0.5, updates_collections=None, is_training=True, scope="a")
    plain = contrib.layers.batch_norm(x, decay=0.5, updates_collections=None, fused=False, scope="b")
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        one, two = session.run([fused, plain])
        a, b = session.run(["a/moving_variance:0", "b/moving_variance:0"])
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(a, 0.5 + 0.5 * x.var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(b, 0.5 + 0.5 * x.var(0), rtol=1e-5)


def test_the_block_cell_is_the_basic_cell() -> None:
    x = gf.constant(X.reshape(4, 8, 24))
    with gf.variable_scope("one"):
        one, _ = gf.nn.dynamic_rnn(contrib.rnn.LSTMBlockCell(5), x, dtype=gf.float32)
    with gf.variable_scope("two"):
        two, _ = gf.nn.dynamic_rnn(contrib.rnn.BasicLSTMCell(5), x, dtype=gf.float32)
    kernels = [v for v in gf.global_variables() if v.op.name.endswith("kernel")]
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(gf.assign(kernels[1], kernels[0]))
        np.testing.assert_allclose(*session.run([one, two]), rtol=1e-5, atol=1e-6)


def test_legacy_decoders_and_losses() -> None:
    inputs = [gf.constant(X[:, i, 0]) for i in range(4)]
    cell = contrib.rnn.GRUCell(3)
    outputs, state = contrib.legacy_seq2seq.rnn_decoder(inputs, gf.zeros([4, 3]), cell)
    loss = contrib.legacy_seq2seq.sequence_loss_by_example(
        outputs, [gf.constant([0, 1, 2, 0])] * 4, [gf.ones([4])] * 4
    )
    got, last, logits = run([loss, state, outputs])
    assert last.shape == (4, 3)
    wanted = 0.0
    for step in logits:
        wanted = wanted + np.log(np.exp(step).sum(1)) - step[range(4), [0, 1, 2, 0]]
    np.testing.assert_allclose(got, wanted / 4, rtol=1e-5)


def test_conditional_random_fields_against_all_paths() -> None:
    rng = np.random.RandomState(1)
    scores, moves = rng.randn(1, 3, 2).astype(np.float32), rng.randn(2, 2).astype(np.float32)
    paths = [(a, b, c) for a in range(2) for b in range(2) for c in range(2)]
    totals = {
        p: sum(scores[0, i, t] for i, t in enumerate(p))
        + sum(moves[a, b] for a, b in zip(p, p[1:], strict=False))
        for p in paths
    }
    length = gf.constant([3])
    likelihood, _ = contrib.crf.crf_log_likelihood(
        scores, gf.constant([[1, 0, 1]]), length, gf.constant(moves)
    )
    best, score = contrib.crf.crf_decode(scores, gf.constant(moves), length)
    got, tags, top = run([likelihood, best, score])
    norm = np.log(sum(np.exp(total) for total in totals.values()))
    assert got[0] == pytest.approx(totals[1, 0, 1] - norm, rel=1e-4)
    assert tuple(tags[0]) == max(totals, key=lambda path: totals[path])
    assert top[0] == pytest.approx(max(totals.values()), rel=1e-4)


def test_tags_of_single_words_have_gradients() -> None:
    scores = gf.placeholder(gf.float32, [None, None, 2])
    moves = gf.constant([[0.5, -1.0], [2.0, 0.0]])
    lengths = gf.placeholder(gf.int32, [None])
    likelihood, _ = contrib.crf.crf_log_likelihood(
        scores, gf.placeholder_with_default([[1]], [None, None]), lengths, moves
    )
    slopes = gf.gradients(likelihood, [scores, moves])
    with gf.Session() as session:
        value, (of_scores, of_moves) = session.run(
            [likelihood, slopes], {scores: [[[1.0, 3.0]]], lengths: [1]}
        )
    chance = np.exp([1.0, 3.0]) / np.exp([1.0, 3.0]).sum()
    np.testing.assert_allclose(value, [np.log(chance[1])], rtol=1e-5)
    np.testing.assert_allclose(of_scores[0, 0], np.array([0, 1]) - chance, rtol=1e-4)
    np.testing.assert_array_equal(of_moves, np.zeros((2, 2)))


def test_steps_of_slim_are_told_when_to_stop(tmp_path: Any) -> None:
    w = gf.get_variable("w", initializer=np.float32(3))
    train = slim.learning.create_train_op(gf.square(w), gf.train.GradientDescentOptimizer(0.1))
    seen = []

    def step(session: Any, op: Any, global_step: Any, told: Any) -> Any:
        seen.append(sorted(told))
        return slim.learning.train_step(session, op, global_step, told)

    slim.learning.train(train, str(tmp_path), train_step_fn=step, number_of_steps=3, log_every_n_steps=2)
    assert seen == [["logdir", "should_log", "should_stop"]] * 3


def test_hyperparameters_and_vocabularies() -> None:
    params = contrib.training.HParams(rate=0.1, name="x", sizes=[1, 2], deep=True)
    params.parse("rate=0.5,sizes=[4,5],deep=false")
    assert params.values() == {"rate": 0.5, "name": "x", "sizes": [4, 5], "deep": False}
    with pytest.raises(ValueError, match="unknown|Unknown"):
        params.parse("other=1")
    params.parse("sizes[1]=7")
    assert params.sizes == [4, 7]
    for wrong in ("rate=1,rate=2", "sizes=[1],sizes=[2]", "sizes[0]=1,sizes[0]=2", "sizes=[1,2],sizes[0]=1",
                  "rate[0]=1", "sizes[9]=1", "sizes=3", "sizes[0]=[1]", "deep=maybe"):  # fmt: skip
        with pytest.raises(ValueError):
            params.parse(wrong)
    assert contrib.training.parse_values("a=1,b[2]=0.5", {"a": int, "b": float}) == {"a": 1, "b": {2: 0.5}}
    words = contrib.learn.preprocessing.VocabularyProcessor(4)
    assert [list(row) for row in words.fit_transform(["a b c", "b d a c e"])] == [[1, 2, 3, 0], [2, 4, 1, 3]]


def test_optimize_loss_trains_and_summarizes() -> None:
    w = gf.get_variable("w", initializer=np.float32(3))
    step = gf.train.get_or_create_global_step()
    train = contrib.layers.optimize_loss(gf.square(w), step, 0.1, "SGD", clip_gradients=1.0)
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run(train)
        assert session.run(w) == pytest.approx(2.9) and session.run(step) == 1


@pytest.mark.parametrize(
    "path",
    [
        "layers.python.layers.utils", "framework.python.ops.arg_scope", "framework.python.ops.add_arg_scope",
        "layers.python.layers.initializers", "framework.python.ops.variables", "tpu", "slim",
        "tensorboard.plugins.projector", "rnn", "framework.nest", "legacy_seq2seq.python.ops.seq2seq.rnn_decoder",
        "learn.python.learn.datasets.mnist.read_data_sets", "learn.datasets.mnist.DataSet",
        "slim.python.slim.learning.train",
        "seq2seq.python.ops.helper.TrainingHelper", "rnn.python.ops.rnn_cell.GLSTMCell",
    ],
)  # fmt: skip
def test_long_paths_lead_somewhere(path: str) -> None:
    found: Any = importlib.import_module("graphflow.contrib")
    for part in path.split("."):
        found = getattr(found, part)
    assert found is not None


def test_long_paths_lead_to_the_layers_of_contrib() -> None:
    layers = contrib.layers.python.layers.layers
    assert layers.batch_norm is contrib.layers.batch_norm and layers.conv2d is contrib.layers.conv2d


def test_what_is_missing_says_so() -> None:
    with pytest.raises(AttributeError, match="graph_editor.*copy"):
        contrib.graph_editor.copy  # noqa: B018
