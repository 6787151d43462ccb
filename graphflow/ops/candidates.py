"""Losses over many classes of which only a few are looked at: the samplers of these, and the losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, NotFoundError, ShapeError
from graphflow.graph import Tensor, get_seed, name_scope
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops.draws import Draws
from graphflow.ops.elementwise import cast
from graphflow.ops.layout import concat, expand_dims, reshape
from graphflow.ops.layout import slice as slice_of
from graphflow.ops.linalg import matmul
from graphflow.ops.nn import (
    embedding_lookup,
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
)
from graphflow.ops.rules import Array, rank_exactly
from graphflow.ops.source import ones, stop_gradient
from graphflow.ops.sparse import sparse_to_dense
from graphflow.shapes import TensorShape

Samples = tuple[Tensor, Tensor, Tensor]


def _refuse(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


# ---------------------------------------------------------------------------- samplers


def sampler_shape(node: Any) -> list[TensorShape]:
    true = rank_exactly(node, 0, 2, "true_classes")
    count = node.attrs["num_true"]
    if not true[1:].is_compatible_with([count]):
        raise ShapeError(f"true_classes must have num_true = {count} columns, have shape {true}")
    drawn = TensorShape([node.attrs["num_sampled"]])
    return [drawn, TensorShape([true.as_list()[0], count]), drawn]


def _expected(chance: Array, count: int, tries: int) -> Array:
    """How often a class of this chance is expected among the samples."""
    if tries == count:
        return (chance * np.float32(count)).astype(np.float32)
    with np.errstate(divide="ignore"):
        return (-np.expm1(np.float32(tries) * np.log1p(-chance))).astype(np.float32)


def sampled(
    true: Array, count: int, unique: bool, size: int, draw: Callable[[], int], chances: Callable[[Array], Array]
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Samples, and how often true classes and samples are expected among them."""
    if unique and size < count:
        raise _refuse(f"Sampler's range is too small: {size} classes for {count} different samples.")
    found: list[int] = []
    seen: set[int] = set()
    tries = 0
    while len(found) < count:
        tries += 1
        value = draw()
        if not unique or value not in seen:
            seen.add(value)
            found.append(value)
    samples = np.array(found, np.int64)
    return (
        samples,
        _expected(chances(true), count, tries if unique else count),
        _expected(chances(samples), count, tries if unique else count),
    )


def check_true(true: Array, num_true: int) -> None:
    if true.ndim != 2 or true.shape[1] != num_true:
        raise _refuse(
            f"true_classes must be a matrix with num_true = {num_true} columns, is {list(true.shape)}"
        )


SEEDED = "seed:int=0; seed2:int=0"
COUNTS = "num_true:int>=1; num_sampled:int>=1; unique:bool"
OUTPUTS = "sampled_candidates:int64; true_expected_count:float32; sampled_expected_count:float32"
PER_SAMPLE = 512  # 128-bit samples of the generator that TensorFlow sets aside for each class


def _reserving(definition: OpDef) -> OpDef:
    @definition.reserve
    def reserved(attrs: dict[str, Any]) -> int:
        count: int = attrs["num_sampled"]
        return PER_SAMPLE * count

    return definition


def _declared(op_type: str, attrs: str, body: Callable[..., Any]) -> OpDef:
    return _reserving(
        op(op_type, "true_classes:int64", OUTPUTS, f"{COUNTS}; {attrs}{SEEDED}", infer=sampler_shape,
           effects="random", differentiable=False)(body)
    )  # fmt: skip


def _uniform_body(
    true_classes: Array, *, num_true: int, num_sampled: int, unique: bool, range_max: int, key: tuple[int, int],
    counter: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Classes that are all as likely."""
    check_true(true_classes, num_true)
    draws = Draws(key, counter)
    chance = np.float32(1.0 / range_max)
    return sampled(
        true_classes, num_sampled, unique, range_max, lambda: draws.wide_below(range_max),
        lambda classes: np.full(classes.shape, chance, np.float32),
    )  # fmt: skip


def _log_uniform_body(
    true_classes: Array, *, num_true: int, num_sampled: int, unique: bool, range_max: int, key: tuple[int, int],
    counter: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Classes by Zipf's law: the lower ones are the more frequent words."""
    check_true(true_classes, num_true)
    draws = Draws(key, counter)
    span = math.log1p(range_max)

    def chances(classes: Array) -> Array:
        wide = classes.astype(np.float64)
        return (np.log((wide + 2.0) / (wide + 1.0)) / span).astype(np.float32)

    def draw() -> int:
        return (int(math.exp(draws.wide_unit() * span)) - 1) % range_max

    return sampled(true_classes, num_sampled, unique, range_max, draw, chances)


class _Alias:
    """Draws from any distribution with two numbers: each class is topped up by one other."""

    def __init__(self, weights: Sequence[float]) -> None:
        count = len(weights)
        self.other = [-1] * count
        total = math.fsum(weights)
        share = [weight * count / total for weight in weights]
        high = [i for i, p in enumerate(share) if p >= 1.0]
        low = [i for i, p in enumerate(share) if p < 1.0]
        while high and low:
            below, above = low.pop(), high.pop()
            self.other[below] = above
            share[above] -= 1.0 - share[below]
            (low if share[above] < 1.0 else high).append(above)
        for i in (*high, *low):
            share[i] = 1.0
        self.share = [np.float32(p) for p in share]

    def draw(self, draws: Draws) -> int:
        part = draws.unit()
        chosen = draws.below(len(self.share))
        return chosen if part < self.share[chosen] else self.other[chosen]


def _unigram_weights(
    vocab_file: str, unigrams: Sequence[float], distortion: float, num_reserved_ids: int, num_shards: int, shard: int
) -> list[float]:  # fmt: skip
    counts = list(unigrams)
    if vocab_file:
        if counts:
            raise _refuse("Must provide exactly one of vocab_file and unigrams")
        try:
            lines = Path(vocab_file).read_text().splitlines()
        except OSError as error:
            raise NotFoundError(None, None, f"{vocab_file}: {error}") from None
        counts = [float(line.rsplit(",", 1)[-1]) for line in lines if line.strip()]
    weights = [0.0] * num_reserved_ids
    number = num_reserved_ids
    for count in counts:
        if number % num_shards == shard:
            weights.append(float(np.float32(count ** float(np.float32(distortion)))))
        number += 1
    return weights


def _fixed_unigram_body(
    true_classes: Array, *, num_true: int, num_sampled: int, unique: bool, range_max: int, vocab_file: Any,
    distortion: float, num_reserved_ids: int, num_shards: int, shard: int, unigrams: Sequence[float],
    key: tuple[int, int], counter: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Classes by given frequencies, raised to a power."""
    check_true(true_classes, num_true)
    name = vocab_file.decode() if isinstance(vocab_file, bytes) else vocab_file
    weights = _unigram_weights(name, unigrams, distortion, num_reserved_ids, num_shards, shard)
    if len(weights) != range_max:
        raise _refuse(
            f"range_max is {range_max}, there are {len(weights)} frequencies (reserved ids counted)"
        )
    if sum(weights) <= 0:
        raise _refuse("all frequencies are zero")
    if (true_classes < 0).any() or (true_classes >= range_max).any():
        raise _refuse(f"true_classes must lie in [0, {range_max})")
    draws, table = Draws(key, counter), _Alias(weights)
    total = float(np.sum(np.array(weights, np.float32), dtype=np.float32))
    listed = np.array(weights, np.float32) / np.float32(total)
    return sampled(
        true_classes, num_sampled, unique, range_max, lambda: table.draw(draws), lambda c: listed[c]
    )


def _all_body(
    true_classes: Array, *, num_true: int, num_sampled: int, key: tuple[int, int], counter: int
) -> tuple[Array, Array, Array]:
    """All classes, each once."""
    check_true(true_classes, num_true)
    return (
        np.arange(num_sampled),
        np.ones(true_classes.shape, np.float32),
        np.ones(num_sampled, np.float32),
    )


uniform_candidate_sampler_op = _declared("UniformCandidateSampler", "range_max:int>=1; ", _uniform_body)
log_uniform_candidate_sampler_op = _declared(
    "LogUniformCandidateSampler", "range_max:int>=1; ", _log_uniform_body
)
fixed_unigram_candidate_sampler_op = _declared(
    "FixedUnigramCandidateSampler",
    "range_max:int>=1; vocab_file:string=; distortion:float=1.0; num_reserved_ids:int=0; num_shards:int>=1=1; "
    "shard:int>=0=0; unigrams:list(float)=[]; ", _fixed_unigram_body,
)  # fmt: skip
all_candidate_sampler_op = _declared("AllCandidateSampler", "", _all_body)


def _hits_shape(node: Any) -> list[TensorShape]:
    rank_exactly(node, 0, 2, "true_classes")
    rank_exactly(node, 1, 1, "sampled_candidates")
    return [TensorShape([None])] * 3


@op("ComputeAccidentalHits", "true_classes:int64; sampled_candidates:int64",
    "indices:int32; ids:int64; weights:float32", f"num_true:int; {SEEDED}", infer=_hits_shape,
    differentiable=False)  # fmt: skip
def compute_accidental_hits_op(
    true_classes: Array, sampled_candidates: Array, *, num_true: int
) -> tuple[Array, Array, Array]:
    """Where samples happen to be true classes: row, position among the samples, and the least float."""
    check_true(true_classes, num_true)
    place = {value: i for i, value in enumerate(sampled_candidates.tolist())}
    hits = [
        (row, place[value])
        for row, values in enumerate(true_classes.tolist())
        for value in values
        if value in place
    ]
    found = np.array(hits, np.int64).reshape(-1, 2)
    least = np.full(len(hits), np.finfo(np.float32).min, np.float32)
    return found[:, 0].astype(np.int32), found[:, 1], least


# ---------------------------------------------------------------------------- public functions


def _seeds(seed: int | None, name: str) -> dict[str, int]:
    first, second = get_seed(seed, name)
    return {"seed": first or 0, "seed2": second or 0}


def sample(op_type: str, true_classes: Any, seed: int | None, name: str | None, **attrs: Any) -> Samples:
    results: Samples = getattr(emit, op_type)(
        convert_to_tensor(true_classes, dtypes.int64), name=name, **attrs, **_seeds(seed, name or op_type)
    )
    return results


def uniform_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, range_max: int, seed: int | None = None,
    name: str | None = None,
) -> Samples:  # fmt: skip
    """Draws classes that are all as likely.

    Args:
      true_classes: int64 [batch, num_true].
      num_true: how many true classes each example has.
      num_sampled: how many to draw.
      unique: whether all must be different.
      range_max: how many classes there are.
      seed: the op's seed.
      name: a name.

    Returns:
      The classes, int64 [num_sampled]; how often the true ones [batch, num_true] and the drawn ones [num_sampled] are
      expected among them.
    """
    return sample("UniformCandidateSampler", true_classes, seed, name, num_true=num_true, num_sampled=num_sampled,
                   unique=unique, range_max=range_max)  # fmt: skip


def log_uniform_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, range_max: int, seed: int | None = None,
    name: str | None = None,
) -> Samples:  # fmt: skip
    """Draws classes by Zipf's law, the lower the likelier; see `uniform_candidate_sampler`."""
    return sample("LogUniformCandidateSampler", true_classes, seed, name, num_true=num_true, num_sampled=num_sampled,
                   unique=unique, range_max=range_max)  # fmt: skip


def fixed_unigram_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, range_max: int, vocab_file: str = "",
    distortion: float = 1.0, num_reserved_ids: int = 0, num_shards: int = 1, shard: int = 0,
    unigrams: Sequence[float] = (), seed: int | None = None, name: str | None = None,
) -> Samples:  # fmt: skip
    """Draws classes by given frequencies; see `uniform_candidate_sampler`.

    Args:
      true_classes: int64 [batch, num_true].
      num_true: how many true classes each example has.
      num_sampled: how many to draw.
      unique: whether all must be different.
      range_max: how many classes there are.
      vocab_file: a file whose lines end in a comma and a frequency.
      distortion: the power that frequencies are raised to.
      num_reserved_ids: how many classes before the first frequency are never drawn.
      num_shards: how many parts the classes are dealt out to.
      shard: which part this is.
      unigrams: the frequencies, in place of a file.
      seed: the op's seed.
      name: a name.
    """
    return sample(
        "FixedUnigramCandidateSampler", true_classes, seed, name, num_true=num_true, num_sampled=num_sampled,
        unique=unique, range_max=range_max, vocab_file=vocab_file, distortion=distortion,
        num_reserved_ids=num_reserved_ids, num_shards=num_shards, shard=shard, unigrams=list(unigrams),
    )  # fmt: skip


def all_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, seed: int | None = None, name: str | None = None
) -> Samples:  # fmt: skip
    """Gives all of `num_sampled` classes, for tests; see `uniform_candidate_sampler`."""
    return sample("AllCandidateSampler", true_classes, seed, name, num_true=num_true, num_sampled=num_sampled,
                   unique=unique)  # fmt: skip


def compute_accidental_hits(
    true_classes: Any,
    sampled_candidates: Any,
    num_true: int,
    seed: int | None = None,
    name: str | None = None,
) -> Samples:
    """Returns where samples happen to be true classes: rows, positions among the samples, and the least float."""
    results: Samples = emit.ComputeAccidentalHits(
        convert_to_tensor(true_classes, dtypes.int64), sampled_candidates, num_true=num_true, name=name,
        **_seeds(seed, name or "ComputeAccidentalHits"),
    )  # fmt: skip
    return results


def _row_sums(x: Tensor) -> Tensor:
    columns = emit.Shape(x)[1] if x.shape.as_list()[1] is None else x.shape.as_list()[1]
    return reshape(matmul(x, ones([columns, 1], x.dtype)), [-1])


def _sampled_logits(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int, num_true: int,
    sampled_values: Any, subtract_log_q: bool, remove_accidental_hits: bool, partition_strategy: str,
    name: str | None, seed: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Logits and labels [batch, num_true + num_sampled] of the true classes and of samples."""
    weights = weights if isinstance(weights, list | tuple) else [weights]
    with name_scope(name, "compute_sampled_logits", [*weights, biases, inputs, labels]):
        labels = cast(convert_to_tensor(labels), dtypes.int64)
        inputs = convert_to_tensor(inputs)
        flat = reshape(labels, [-1])
        if sampled_values is None:
            sampled_values = log_uniform_candidate_sampler(
                labels, num_true, num_sampled, True, num_classes, seed=seed
            )
        sampled, true_expected, sampled_expected = (stop_gradient(value) for value in sampled_values)
        sampled = cast(sampled, dtypes.int64)
        every = concat([flat, sampled], 0)
        own = partition_strategy
        all_weights = cast(embedding_lookup(list(weights), every, partition_strategy=own), inputs.dtype)
        all_biases = cast(embedding_lookup(biases, every, partition_strategy=own), inputs.dtype)
        known = flat.shape.as_list()[0] if flat.shape.rank is not None else None
        count = emit.Shape(flat)[0] if known is None else known
        start = emit.Pack([convert_to_tensor(count, dtypes.int32), 0])
        true_weights = slice_of(all_weights, [0, 0], emit.Pack([convert_to_tensor(count, dtypes.int32), -1]))
        sampled_weights = slice_of(all_weights, start, [-1, -1])
        lead = reshape(convert_to_tensor(count, dtypes.int32), [1])
        true_biases, sampled_biases = slice_of(all_biases, [0], lead), slice_of(all_biases, lead, [-1])
        sampled_logits = matmul(inputs, sampled_weights, transpose_b=True) + sampled_biases
        width = emit.Shape(true_weights)[1:2]
        rows = expand_dims(inputs, 1) * reshape(true_weights, concat([[-1, num_true], width], 0))
        true_logits = reshape(_row_sums(reshape(rows, concat([[-1], width], 0))), [-1, num_true])
        true_logits = true_logits + reshape(true_biases, [-1, num_true])
        if remove_accidental_hits:
            hits, places, least = compute_accidental_hits(labels, sampled, num_true)
            where = concat([expand_dims(hits, 1), expand_dims(cast(places, dtypes.int32), 1)], 1)
            shape = concat([emit.Shape(labels)[:1], [num_sampled]], 0)
            masked = sparse_to_dense(where, shape, cast(least, inputs.dtype), 0.0, validate_indices=False)
            sampled_logits = sampled_logits + masked
        if subtract_log_q:
            true_logits = true_logits - emit.Log(cast(true_expected, inputs.dtype))
            sampled_logits = sampled_logits - emit.Log(cast(sampled_expected, inputs.dtype))
        logits = concat([true_logits, sampled_logits], 1)
        share = emit.OnesLike(true_logits) / np.asarray(num_true, inputs.dtype.as_numpy_dtype)
        return logits, concat([share, emit.ZerosLike(sampled_logits)], 1)


def nce_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int, num_true: int = 1,
    sampled_values: Any = None, remove_accidental_hits: bool = False, partition_strategy: str = "mod",
    name: str = "nce_loss",
) -> Tensor:  # fmt: skip
    """Returns noise-contrastive losses: true classes against sampled ones.

    Args:
      weights: [num_classes, dim], or a list of the parts of that table.
      biases: [num_classes].
      labels: int64 [batch, num_true].
      inputs: [batch, dim].
      num_sampled: how many classes to draw.
      num_classes: how many there are.
      num_true: how many true classes each example has.
      sampled_values: what a sampler gave; default: `log_uniform_candidate_sampler`, all different.
      remove_accidental_hits: whether samples that are true classes do not count.
      partition_strategy: how a table in parts is cut; see `embedding_lookup`.
      name: a name.

    Returns:
      [batch].
    """
    logits, targets = _sampled_logits(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, True,
        remove_accidental_hits, partition_strategy, name, None,
    )  # fmt: skip
    losses = sigmoid_cross_entropy_with_logits(labels=targets, logits=logits, name="sampled_losses")
    return _row_sums(losses)


def sampled_softmax_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int, num_true: int = 1,
    sampled_values: Any = None, remove_accidental_hits: bool = True, partition_strategy: str = "mod",
    name: str = "sampled_softmax_loss", seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Returns the cross entropy of a softmax over the true classes and sampled ones; see `nce_loss`."""
    logits, targets = _sampled_logits(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, True,
        remove_accidental_hits, partition_strategy, name, seed,
    )  # fmt: skip
    return softmax_cross_entropy_with_logits_v2(stop_gradient(targets), logits)


__all__ = [
    "all_candidate_sampler", "compute_accidental_hits", "fixed_unigram_candidate_sampler",
    "log_uniform_candidate_sampler", "nce_loss", "sampled_softmax_loss", "uniform_candidate_sampler",
]  # fmt: skip
