"""Decoders, attention and beam search against decoders written out in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf

s2s = gf.contrib.seq2seq
RNG = np.random.RandomState(7)
BATCH, TIME, MEMORY, DEPTH, UNITS, SYMBOLS = 3, 4, 5, 6, 6, 7
KEYS = RNG.randn(BATCH, MEMORY, DEPTH).astype(np.float32)
LENGTHS = np.array([5, 2, 4], np.int32)
X = RNG.randn(BATCH, TIME, DEPTH).astype(np.float32)
STEPS = np.array([4, 1, 3], np.int32)
TABLE = RNG.randn(SYMBOLS, DEPTH).astype(np.float32)


@pytest.fixture(autouse=True)
def numpy_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of many small steps: what the compiler makes of them is tested in tests/models."""
    monkeypatch.setenv("GRAPHFLOW_BACKEND", "reference")


def started() -> gf.Session:
    """A session whose variables hold numbers that no symmetry hides."""
    session = gf.Session()
    session.run(gf.global_variables_initializer())
    for i, variable in enumerate(gf.global_variables()):
        values = np.random.RandomState(i).normal(0, 0.5, variable.shape.as_list())
        variable.load(np.asarray(values, np.float32), session)
    return session


def values_of(session: gf.Session) -> dict[str, np.ndarray]:
    variables = gf.global_variables()
    return dict(zip([v.op.name for v in variables], session.run(variables), strict=True))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def memory() -> np.ndarray:
    return KEYS * (np.arange(MEMORY) < LENGTHS[:, None])[..., None]


def masked(score: np.ndarray) -> np.ndarray:
    return np.where(np.arange(MEMORY) < LENGTHS[:, None], score, -np.inf)


def bahdanau(w: dict[str, np.ndarray], query: np.ndarray, at: str) -> np.ndarray:
    keys = memory() @ w["memory_layer/kernel"]
    both = keys + (query @ w[f"{at}/query_layer/kernel"])[:, None]
    v = w[f"{at}/attention_v"]
    if f"{at}/attention_g" in w:
        v = w[f"{at}/attention_g"] * v / np.sqrt(np.square(v).sum())
        both = both + w[f"{at}/attention_b"]
    return (v * np.tanh(both)).sum(2)


def luong(w: dict[str, np.ndarray], query: np.ndarray, at: str) -> np.ndarray:
    score = np.einsum("bd,btd->bt", query, memory() @ w["memory_layer/kernel"])
    return w.get(f"{at}/attention_g", 1) * score


def moved_on(score: np.ndarray, before: np.ndarray, hard: bool) -> np.ndarray:
    """Attention that only moves on, row by row."""
    p = (score > 0).astype(np.float64) if hard else sigmoid(score.astype(np.float64))
    result, reached = np.zeros_like(p), np.zeros(len(p))
    for j in range(p.shape[1]):
        reached = before[:, j] + (reached * (1 - p[:, j - 1]) if j else 0)
        result[:, j] = p[:, j] * reached
    return result


MECHANISMS: dict[str, tuple[Callable[..., Any], str, Callable[..., np.ndarray]]] = {
    "bahdanau": (s2s.BahdanauAttention, "bahdanau_attention", bahdanau),
    "normed": (lambda *a: s2s.BahdanauAttention(*a, normalize=True), "bahdanau_attention", bahdanau),
    "luong": (s2s.LuongAttention, "luong_attention", luong),
    "scaled": (lambda *a: s2s.LuongAttention(*a, scale=True), "luong_attention", luong),
    "bahdanau monotonic": (
        lambda *a: s2s.BahdanauMonotonicAttention(*a, mode="recursive", score_bias_init=0.5, normalize=True),
        "bahdanau_monotonic_attention", bahdanau,
    ),
    "luong monotonic": (s2s.LuongMonotonicAttention, "luong_monotonic_attention", luong),
    "luong hard": (
        lambda *a: s2s.LuongMonotonicAttention(*a, mode="hard"), "luong_monotonic_attention", luong,
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", MECHANISMS)
def test_a_decoder_with_attention_follows_the_formulas(which: str) -> None:
    make, inner, score = MECHANISMS[which]
    mechanism = make(UNITS, KEYS, LENGTHS)
    cell = s2s.AttentionWrapper(
        gf.nn.rnn_cell.BasicRNNCell(UNITS), mechanism, attention_layer_size=DEPTH - 1, alignment_history=True
    )
    helper = s2s.TrainingHelper(X, STEPS)
    decoder = s2s.BasicDecoder(cell, helper, cell.zero_state(BATCH, gf.float32), gf.layers.Dense(SYMBOLS))
    outputs, state, lengths = s2s.dynamic_decode(decoder, impute_finished=True)
    history = state.alignment_history.stack()
    assert outputs.rnn_output.shape.as_list() == [BATCH, None, SYMBOLS]
    with started() as session:
        got, chosen, aligned, last, at, long = session.run(
            [outputs.rnn_output, outputs.sample_id, history, state.attention, state.time, lengths]
        )
        w = values_of(session)
    assert at == TIME and long.tolist() == STEPS.tolist()
    wrapper = "decoder/attention_wrapper"
    h, attention = np.zeros((BATCH, UNITS)), np.zeros((BATCH, DEPTH - 1))
    alignments = np.eye(1, MEMORY).repeat(BATCH, 0) if "monotonic" in inner else np.zeros((BATCH, MEMORY))
    for t in range(TIME):
        going = (t < STEPS)[:, None]
        x = np.concatenate([X[:, t] * (t < STEPS.max()), attention, h], 1)
        cell_at = f"{wrapper}/basic_rnn_cell"
        new_h = np.tanh(x @ w[f"{cell_at}/kernel"] + w[f"{cell_at}/bias"])
        scores = score(w, new_h, f"{wrapper}/{inner}")
        if "monotonic" in inner:
            scores = masked(scores + w[f"{wrapper}/{inner}/attention_score_bias"])
            found = moved_on(scores, alignments, "hard" in which)
        else:
            found = softmax(masked(scores))
        context = np.einsum("bt,btd->bd", found, memory())
        mixed = np.concatenate([new_h, context], 1) @ w[f"{wrapper}/attention_layer/kernel"]
        logits = (mixed @ w["decoder/dense/kernel"] + w["decoder/dense/bias"]) * going
        np.testing.assert_allclose(got[:, t], logits, rtol=2e-4, atol=2e-5)
        assert (chosen[:, t] == np.where(going[:, 0], logits.argmax(1), 0)).all()
        np.testing.assert_allclose(aligned[t], found, rtol=2e-4, atol=2e-5)
        h, attention = np.where(going, new_h, h), np.where(going, mixed, attention)
        alignments = np.where(going, found, alignments)
    np.testing.assert_allclose(last, attention, rtol=2e-4, atol=2e-5)


def test_weights_have_the_names_of_checkpoints() -> None:
    with gf.variable_scope("model"):
        mechanisms = [s2s.BahdanauAttention(4, KEYS, normalize=True), s2s.LuongAttention(4, KEYS, scale=True)]
        stack = gf.nn.rnn_cell.MultiRNNCell([gf.nn.rnn_cell.BasicLSTMCell(4) for _ in range(2)])
        cell = s2s.AttentionWrapper(stack, mechanisms, attention_layer_size=[3, 2], name="attention")
        state = cell.zero_state(BATCH, gf.float32)
        assert cell.output_size == 5 and len(state.alignments) == 2 and state.alignment_history == ((), ())
        helper = s2s.GreedyEmbeddingHelper(TABLE, [1] * BATCH, 2)
        decoder = s2s.BasicDecoder(cell, helper, state, gf.layers.Dense(SYMBOLS, name="projection"))
        s2s.dynamic_decode(decoder, maximum_iterations=3)
    inside = "model/decoder/attention"
    lstm = [
        f"{inside}/multi_rnn_cell/cell_{i}/basic_lstm_cell/{part}"
        for i in (0, 1)
        for part in ("kernel", "bias")
    ]
    assert [v.op.name for v in gf.global_variables()] == [
        "model/memory_layer/kernel", "model/memory_layer_1/kernel", *lstm,
        f"{inside}/bahdanau_attention/query_layer/kernel",
        *(f"{inside}/bahdanau_attention/attention_{x}" for x in "vgb"), f"{inside}/attention_layer/kernel",
        f"{inside}/luong_attention/attention_g", f"{inside}/attention_layer_1/kernel",
        "model/decoder/projection/kernel", "model/decoder/projection/bias",
    ]  # fmt: skip


def rnn(
    w: dict[str, np.ndarray], at: str
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    def step(x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(np.concatenate([x, h], -1) @ w[f"{at}/kernel"] + w[f"{at}/bias"])
        return h @ w["decoder/dense/kernel"] + w["decoder/dense/bias"], h

    return step


def test_greedy_decoding_follows_its_own_symbols() -> None:
    cell = gf.nn.rnn_cell.BasicRNNCell(UNITS)
    helper = s2s.GreedyEmbeddingHelper(lambda ids: gf.gather(TABLE, ids), [1, 2, 3], 0)
    first = gf.constant(KEYS[:, 0])
    decoder = s2s.BasicDecoder(cell, helper, first, gf.layers.Dense(SYMBOLS))
    outputs, _, lengths = s2s.dynamic_decode(decoder, maximum_iterations=9, output_time_major=True)
    with started() as session:
        got, long = session.run([outputs.sample_id, lengths])
        step = rnn(values_of(session), "decoder/basic_rnn_cell")
    for row in range(BATCH):
        symbols, h, wanted = row + 1, KEYS[row, 0], []
        while len(wanted) < 9 and (not wanted or wanted[-1] != 0):
            logits, h = step(TABLE[symbols], h)
            symbols = int(logits.argmax())
            wanted.append(symbols)
        assert long[row] == len(wanted) and got[: len(wanted), row].tolist() == wanted
    assert len(got) == long.max()


def searched(
    step: Any, first: np.ndarray, start: int, end: int, width: int, turns: int, length_weight: float
) -> list[tuple[list[int], float]]:
    """Beam search by the book: lists of symbols, the best first, with their scores."""
    beams = [([], 0.0, first, 0)]  # symbols, log probability, state, length
    for _ in range(turns):
        if all(symbols and symbols[-1] == end for symbols, *_ in beams):
            break
        following = []
        for symbols, total, h, length in beams:
            if symbols and symbols[-1] == end:
                following.append(
                    (total / ((5 + length) / 6) ** length_weight, [*symbols, end], total, h, length)
                )
                continue
            logits, new = step(TABLE[symbols[-1] if symbols else start], h)
            for symbol, p in enumerate(np.log(softmax(logits))):
                counts = length + (symbol != end)
                score = (total + p) / ((5 + counts) / 6) ** length_weight
                following.append((score, [*symbols, symbol], total + p, new, length + 1))
        following.sort(key=lambda item: -item[0])
        beams = [(symbols, total, h, length) for _, symbols, total, h, length in following[:width]]
        scores = [item[0] for item in following[:width]]
    return [(beam[0], score) for beam, score in zip(beams, scores, strict=True)]


@pytest.mark.parametrize("length_weight", [0.0, 1.0])
def test_beam_search_finds_what_a_search_by_the_book_finds(length_weight: float) -> None:
    width, turns, end = 3, 6, 0
    cell = gf.nn.rnn_cell.BasicRNNCell(UNITS)
    first = s2s.tile_batch(gf.constant(KEYS[:, 0]), width)
    decoder = s2s.BeamSearchDecoder(
        cell,
        TABLE,
        [1, 2, 3],
        end,
        first,
        width,
        gf.layers.Dense(SYMBOLS),
        length_penalty_weight=length_weight,
    )
    outputs, state, lengths = s2s.dynamic_decode(decoder, maximum_iterations=turns)
    assert outputs.predicted_ids.shape.as_list() == [BATCH, None, width]
    with started() as session:
        found, scores, long, tracked = session.run(
            [outputs.predicted_ids, outputs.beam_search_decoder_output.scores, state.lengths, lengths]
        )
        step = rnn(values_of(session), "decoder/basic_rnn_cell")
    assert tracked.shape == (BATCH, width)
    for row in range(BATCH):
        wanted = searched(step, KEYS[row, 0], row + 1, end, width, turns, length_weight)
        for beam, (symbols, score) in enumerate(wanted):
            got = found[row, :, beam].tolist()
            n = int(long[row].max())
            assert got[: len(symbols)][:n] == (symbols + [end] * n)[: min(len(symbols), n)]
            assert scores[row, len(symbols) - 1, beam] == pytest.approx(score, rel=1e-4)


def test_a_beam_as_wide_as_all_sequences_finds_the_best_of_all() -> None:
    symbols, turns, end = 3, 3, 0
    width = symbols**turns
    cell = gf.nn.rnn_cell.BasicRNNCell(UNITS)
    first = s2s.tile_batch(gf.constant(KEYS[:1, 0]), width)
    decoder = s2s.BeamSearchDecoder(cell, TABLE[:symbols], [1], end, first, width, gf.layers.Dense(symbols))
    outputs, state, _ = s2s.dynamic_decode(decoder, maximum_iterations=turns)
    with started() as session:
        found, log_probs = session.run([outputs.predicted_ids[0], state.log_probs[0]])
        step = rnn(values_of(session), "decoder/basic_rnn_cell")
    totals = {}
    for path in itertools.product(range(symbols), repeat=turns):
        path = path[: path.index(end) + 1] if end in path else path
        at, h, total = 1, KEYS[0, 0], 0.0
        for symbol in path:
            logits, h = step(TABLE[at], h)
            total += np.log(softmax(logits))[symbol]
            at = symbol
        totals[path] = total
    ranked = sorted(totals, key=lambda path: -totals[path])
    np.testing.assert_allclose(log_probs[: len(ranked)], [totals[path] for path in ranked], rtol=1e-4)
    for beam, path in enumerate(ranked):
        assert tuple(found[: len(path), beam]) == path and (found[len(path) :, beam] == end).all()


def test_beam_search_with_attention_puts_alignments_in_order_and_pays_for_rows_not_seen() -> None:
    width = 2
    tiled = s2s.tile_batch((KEYS, LENGTHS), width)
    mechanism = s2s.LuongAttention(UNITS, *tiled)
    cell = s2s.AttentionWrapper(
        gf.nn.rnn_cell.BasicRNNCell(UNITS), mechanism, attention_layer_size=UNITS, alignment_history=True
    )
    batch = gf.placeholder_with_default(BATCH, [])
    start = gf.fill([batch], 1)
    results = []
    for sort in (True, False):
        decoder = s2s.BeamSearchDecoder(
            cell, TABLE, start, 0, cell.zero_state(batch * width, gf.float32), width,
            gf.layers.Dense(SYMBOLS, name="d"), coverage_penalty_weight=0.3, reorder_tensor_arrays=sort,
        )  # fmt: skip
        with gf.variable_scope("decoder", reuse=gf.AUTO_REUSE) as scope:
            results.append(s2s.dynamic_decode(decoder, maximum_iterations=5, scope=scope)[:2])
    (outputs, state), (_, other) = results
    steps = outputs.beam_search_decoder_output
    with started() as session:
        found, parents, scores, aligned, raw, seen, log_probs, lengths = session.run(
            [outputs.predicted_ids, steps.parent_ids, steps.scores, state.cell_state.alignment_history,
             other.cell_state.alignment_history.stack(), state.accumulated_attention_probs, state.log_probs,
             state.lengths]
        )  # fmt: skip
    turns = found.shape[1]
    assert aligned.shape == (turns, BATCH * width, MEMORY)
    aligned, raw = (a.reshape(turns, BATCH, width, MEMORY) for a in (aligned, raw))
    np.testing.assert_allclose(aligned.sum(-1), 1, rtol=1e-5)
    assert (aligned[:, 1, :, 2:] == 0).all()
    for row, beam in itertools.product(range(BATCH), range(width)):
        at, total = beam, np.zeros(MEMORY)
        for t in reversed(range(turns)):
            # The alignments of a step are written before its beams are chosen.
            inside = t < lengths[row, beam]
            np.testing.assert_allclose(aligned[t, row, beam], raw[t, row, at if inside else beam], rtol=1e-5)
            at = int(parents[row, t, at])
            total += raw[t, row, at] * (found[row, :t, beam] != 0).all()
        np.testing.assert_allclose(seen[row, beam], total, rtol=1e-4, atol=1e-6)
    going = (found[:, :-1] != 0).all((1, 2))
    np.testing.assert_allclose(scores[going, -1], log_probs[going], rtol=1e-5)
    assert (scores[:, -1] <= log_probs + 1e-5).all()


def test_teachers_that_listen_to_the_decoder_at_times() -> None:
    cell = gf.nn.rnn_cell.BasicRNNCell(DEPTH)
    first = gf.zeros([BATCH, DEPTH])
    full = [TIME] * BATCH

    def decoded(helper: Any) -> Any:
        with gf.variable_scope("decoder", reuse=gf.AUTO_REUSE) as scope:
            decoder = s2s.BasicDecoder(cell, helper, first)
            return s2s.dynamic_decode(decoder, scope=scope)[0]

    never = decoded(s2s.ScheduledOutputTrainingHelper(X, full, 0.0))
    plain = decoded(s2s.TrainingHelper(gf.transpose(X, [1, 0, 2]), full, time_major=True))
    always = decoded(s2s.ScheduledOutputTrainingHelper(X, full, 1.0, next_inputs_fn=lambda y: 2 * y))
    beside = s2s.ScheduledOutputTrainingHelper(X[..., :2], full, 1.0, auxiliary_inputs=X[..., 2:],
                                               next_inputs_fn=lambda y: y[:, :2])  # fmt: skip
    rows = s2s.ScheduledEmbeddingTrainingHelper(X, full, TABLE, 0.5, seed=3, scheduling_seed=4)
    mixed, both = decoded(rows), decoded(beside)
    with started() as session:
        a, b, own, picked, out, joined = session.run(
            [never.rnn_output, plain.rnn_output, always.rnn_output, mixed.sample_id, mixed.rnn_output,
             both.rnn_output]
        )  # fmt: skip
        w = values_of(session)

    def run(inputs: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        h, made = np.zeros((BATCH, DEPTH)), []
        for t in range(TIME):
            x = X[:, 0] if t == 0 else inputs(t, h)
            h = np.tanh(np.concatenate([x, h], 1) @ w["decoder/basic_rnn_cell/kernel"]
                        + w["decoder/basic_rnn_cell/bias"])  # fmt: skip
            made.append(h)
        return np.stack(made, 1)

    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, run(lambda t, h: X[:, t]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own, run(lambda t, h: 2 * h), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        joined, run(lambda t, h: np.concatenate([h[:, :2], X[:, t, 2:]], 1)), rtol=1e-4, atol=1e-5
    )
    assert 0 < (picked >= 0).mean() < 1
    wanted = run(lambda t, h: np.where((picked[:, t - 1] >= 0)[:, None], TABLE[picked[:, t - 1]], X[:, t]))
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)


def test_helpers_of_functions_and_of_samples() -> None:
    cell = gf.nn.rnn_cell.BasicRNNCell(DEPTH)
    first = gf.zeros([BATCH, DEPTH])
    custom = s2s.CustomHelper(
        lambda: (gf.constant([False] * BATCH), gf.constant(X[:, 0])),
        lambda time, outputs, state: gf.cast(gf.argmax(outputs, 1), gf.int32),
        lambda time, outputs, state, sample_ids: (gf.fill([BATCH], time >= 2), outputs, state),
    )
    infer = s2s.InferenceHelper(
        lambda outputs: gf.round(outputs), [DEPTH], gf.float32, X[:, 0], lambda ids: ids[:, 0] > 5
    )
    drawn = s2s.SampleEmbeddingHelper(TABLE[:, :DEPTH], [1] * BATCH, 99, softmax_temperature=1e-4, seed=1)
    with pytest.raises(ValueError, match="before initialize"):
        custom.batch_size  # noqa: B018
    made = []
    for helper in (custom, infer, drawn):
        decoder = s2s.BasicDecoder(cell, helper, first)
        with gf.variable_scope("decoder", reuse=gf.AUTO_REUSE) as scope:
            made.append(s2s.dynamic_decode(decoder, maximum_iterations=4, scope=scope))
    with started() as session:
        (_, _, one), (two, _, _), (three, _, _) = session.run(made)
    assert one.tolist() == [3] * BATCH
    np.testing.assert_array_equal(two.sample_id, np.round(two.rnn_output))
    np.testing.assert_array_equal(three.sample_id, three.rnn_output.argmax(-1))


@pytest.mark.parametrize("flags", [(1, 1, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 1), (0, 0, 1, 0), (0, 0, 0, 1),
                                   (0, 0, 0, 0), (0, 1, 1, 0)])  # fmt: skip
def test_the_loss_of_sequences(flags: tuple[int, ...]) -> None:
    logits = RNG.randn(2, 3, 4).astype(np.float32)
    targets, weights = np.array([[0, 1, 2], [3, 0, 0]]), np.array([[1, 0.5, 0], [2, 0, 0]], np.float32)
    loss = s2s.sequence_loss(logits, targets, weights, *map(bool, flags))
    each = -np.log(softmax(logits))[np.arange(2)[:, None], np.arange(3), targets] * weights
    average_time, average_batch, sum_time, sum_batch = flags
    axis: Any = None
    if average_time + average_batch == 1:
        axis = 0 if average_batch else 1
    elif not average_time and sum_time + sum_batch == 1:
        axis = 0 if sum_batch else 1
    with gf.Session() as session:
        got = session.run(loss)
    if not any(flags):
        np.testing.assert_allclose(got, each, rtol=1e-5)
        return
    count = weights.sum(axis) if average_time or average_batch else (weights != 0).sum(axis)
    wanted = np.divide(each.sum(axis), count, out=np.zeros_like(each.sum(axis)), where=count != 0)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_ways_to_move_on_agree_and_hardmax() -> None:
    p = RNG.rand(2, 5).astype(np.float32)
    before = softmax(RNG.randn(2, 5)).astype(np.float32)
    ways = [s2s.monotonic_attention(p, before, mode) for mode in ("recursive", "parallel")]
    hard = s2s.monotonic_attention((p > 0.5).astype(np.float32), np.eye(2, 5, dtype=np.float32), "hard")
    with gf.Session() as session:
        a, b, c, best, product = session.run([*ways, hard, s2s.hardmax(p), s2s.safe_cumprod(p, axis=1)])
    np.testing.assert_allclose(a, moved_on(np.log(p / (1 - p)), before, False), rtol=1e-3)
    np.testing.assert_allclose(a, b, rtol=1e-4)
    np.testing.assert_array_equal(c, moved_on(p - 0.5, np.eye(2, 5), True))
    np.testing.assert_array_equal(best, np.eye(5)[p.argmax(1)])
    np.testing.assert_allclose(product, np.cumprod(p, 1), rtol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    cell = gf.nn.rnn_cell.BasicRNNCell(UNITS)
    wrapped = s2s.AttentionWrapper(cell, s2s.LuongAttention(UNITS, KEYS))
    with pytest.raises(ValueError, match=r"tile_batch"):
        wrapped.zero_state(BATCH * 2, gf.float32)
    with pytest.raises(ValueError, match="exactly one integer per attention_mechanism"):
        s2s.AttentionWrapper(cell, s2s.LuongAttention(UNITS, KEYS), attention_layer_size=[3, 4])
    with pytest.raises(TypeError, match="AttentionMechanism, saw type: int"):
        s2s.AttentionWrapper(cell, 3)
    with pytest.raises(TypeError, match="AttentionWrapperState"):
        wrapped(X[:, 0], gf.zeros([BATCH, UNITS]))
    with pytest.raises(TypeError, match="helper must be a Helper"):
        s2s.BasicDecoder(cell, X, X)
    with pytest.raises(ValueError, match="end_token must be a scalar"):
        s2s.GreedyEmbeddingHelper(TABLE, [1], [2])
    with pytest.raises(ValueError, match="same time"):
        s2s.sequence_loss(X, np.zeros((BATCH, TIME), np.int32), X[..., 0], sum_over_timesteps=True)
    with pytest.raises(ValueError, match="Perhaps you need to set num_units"):
        s2s.LuongAttention(UNITS + 1, KEYS)(gf.constant(X[:, 0]), None)
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        wrapped.zero_state(BATCH, gf.float32).clone(attention=gf.zeros([BATCH, 99]))
    with pytest.raises(TypeError, match="Expected decoder to be type Decoder"):
        s2s.dynamic_decode(cell)
    empty = s2s.BahdanauAttention(UNITS, KEYS, gf.placeholder_with_default([5, 0, 4], [3]))
    with (
        pytest.raises(gf.errors.InvalidArgumentError, match="must greater than zero"),
        gf.Session() as session,
    ):
        session.run(gf.global_variables_initializer())
        session.run(empty.keys)


def test_long_paths_of_programs() -> None:
    ops = s2s.python.ops
    assert ops.attention_wrapper.BahdanauAttention is s2s.BahdanauAttention
    assert issubclass(s2s.LuongAttention, ops.attention_wrapper._BaseAttentionMechanism)
    assert ops.beam_search_ops.gather_tree is s2s.gather_tree and ops.helper.Helper is s2s.Helper
    assert ops.decoder.dynamic_decode is s2s.dynamic_decode and ops.loss.sequence_loss is s2s.sequence_loss
