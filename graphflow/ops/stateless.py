"""Random numbers that are a function of a seed that is an operand: the same seed, the same numbers.

A seed is made a key and a counter of Philox 4x32-10 by running it through that generator once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops.random import (
    keyed,
    multinomial_op,
    philox,
    random_standard_normal_op,
    random_uniform_int_op,
    random_uniform_op,
    shape_operand,
    sizes_of,
    truncated_normal_op,
)
from graphflow.ops.rules import FLOATS, REALS, Array, rank_exactly, refuse, shape_input
from graphflow.shapes import SCALAR, TensorShape

_SEEDED = "T:type{int32|int64}=int32; Tseed:type{int32|int64}=int64"
_SCRAMBLE = 0x3EC8F720 | 0x02461E29 << 32
_MASK64 = (1 << 64) - 1
_PHILOX = 1


def _scrambled(seed: Array) -> tuple[int, int]:
    """The key, and the upper half of the counter (whose lower half is 0), of a seed of two numbers."""
    if seed.shape != (2,):
        raise refuse(f"seed must have shape [2], not {list(seed.shape)}")
    low, high = (int(value) & _MASK64 for value in seed)
    words = [int(word) for word in philox((_SCRAMBLE, high), low, 1)[0]]
    return words[0] | words[1] << 32, words[2] | words[3] << 32


def _check_seed(node: Any, position: int = 1) -> None:
    shape = rank_exactly(node, position, 1, "seed")
    if not shape.is_compatible_with([2]):
        raise ShapeError(f"seed must have shape [2], not {shape}")


def _shape_and_seed(node: Any) -> TensorShape:
    _check_seed(node)
    return shape_input(0)(node)


def _from_seed(op_type: str, source: OpDef, kinds: str, kind_default: str = "float32") -> OpDef:
    def body(shape: Array, seed: Array, *, dtype: DType) -> Array:
        return np.asarray(source.body(shape, dtype=dtype, key=_scrambled(seed), counter=0))

    body.__doc__ = f"{source.__doc__} A function of the seed."
    return _drawn_alike(source, op(
        op_type, "shape:T; seed:Tseed", "output:dtype", f"dtype:type{{{kinds}}}={kind_default}; {_SEEDED}",
        infer=_shape_and_seed, differentiable=False, lowering=source.lowering,
    )(body))  # fmt: skip


def _drawn_alike(source: OpDef, made: OpDef) -> OpDef:
    """Gives an op the numbers of a sample that another one draws."""
    assert source.draw_rule is not None
    made.draw(source.draw_rule)
    return made


# What the ops of the second generation take: the key, the counter, and which generator it is.
_KEYED = "key:uint64; counter:uint64; alg:int32"


def _check_keyed(node: Any, first: int) -> None:
    for position, rank, name in ((first, 1, "key"), (first + 1, 1, "counter"), (first + 2, 0, "alg")):
        rank_exactly(node, position, rank, name)


def _shape_and_key(node: Any) -> TensorShape:
    _check_keyed(node, 1)
    return shape_input(0)(node)


def _from_key(op_type: str, source: OpDef, kinds: str, kind_default: str = "float32") -> OpDef:
    def body(shape: Array, key: Array, counter: Array, alg: Array, *, dtype: DType) -> Array:
        return np.asarray(source.body(shape, dtype=dtype, **keyed(key, counter, alg)))

    body.__doc__ = f"{source.__doc__} A function of key and counter."
    return _drawn_alike(source, op(
        op_type, f"shape:Tshape; {_KEYED}", "output:dtype",
        f"dtype:type{{{kinds}}}={kind_default}; Tshape:type{{int32|int64}}=int32", infer=_shape_and_key,
        differentiable=False, lowering=source.lowering,
    )(body))  # fmt: skip


for _name, _source in (
    ("Uniform", random_uniform_op), ("Normal", random_standard_normal_op), ("TruncatedNormal", truncated_normal_op),
):  # fmt: skip
    _plain = f"Stateless{_name}" if _name == "TruncatedNormal" else f"StatelessRandom{_name}"
    _from_seed(_plain, _source, FLOATS)
    _from_key(f"{_plain}V2", _source, FLOATS)


def _whole_words(shape: Array, *, dtype: DType, key: tuple[int, int], counter: int) -> Array:
    sizes = sizes_of(shape)
    count = math.prod(sizes)
    kind = dtype.numpy
    per_sample = 16 // kind.itemsize
    words = philox(key, counter, -(-count // per_sample))
    if kind.itemsize == 8:
        wide = words[:, 0::2].astype(np.uint64) | words[:, 1::2].astype(np.uint64) << np.uint64(32)
        return wide.reshape(-1)[:count].reshape(sizes).view(kind)
    return words.reshape(-1)[:count].reshape(sizes).view(kind)


@op("StatelessRandomUniformFullInt", "shape:T; seed:Tseed", "output:dtype",
    "dtype:type{int32|int64|uint32|uint64}=uint64; T:type{int32|int64}=int32; "
    "Tseed:type{int32|int64|uint32|uint64}=int64", infer=_shape_and_seed, differentiable=False,
    lowering="random")  # fmt: skip
def stateless_full_int_op(shape: Array, seed: Array, *, dtype: DType) -> Array:
    """Integers of which every bit is random, a function of the seed."""
    return _whole_words(shape, dtype=dtype, key=_scrambled(seed), counter=0)


@stateless_full_int_op.draw
def _full_int_draw(b: Builder, words: Sequence[Expr], table: Any, *, dtype: DType) -> list[Expr]:
    found = list(words)
    if dtype.size == 8:
        pairs = (words[:2], words[2:])
        found = [b.or_(b.cast(low, "u64"), b.shl(b.cast(high, "u64"), 32)) for low, high in pairs]
    return found if dtype.is_unsigned else [b.bitcast(word, f"i{8 * dtype.size}") for word in found]


@op("StatelessRandomUniformFullIntV2", f"shape:Tshape; {_KEYED}", "output:dtype",
    "dtype:type{int32|int64|uint32|uint64}=uint64; Tshape:type{int32|int64}=int32", infer=_shape_and_key,
    differentiable=False, lowering="random")  # fmt: skip
def stateless_full_int_v2_op(shape: Array, key: Array, counter: Array, alg: Array, *, dtype: DType) -> Array:
    """Integers of which every bit is random, a function of key and counter."""
    return _whole_words(shape, dtype=dtype, **keyed(key, counter, alg))


stateless_full_int_v2_op.draw(_full_int_draw)


def _int_limits(node: Any, first: int) -> None:
    for position, name in ((first, "minval"), (first + 1, "maxval")):
        rank_exactly(node, position, 0, name)
    low, high = node.constant(first), node.constant(first + 1)
    if low is not None and high is not None and low >= high:
        raise ShapeError(f"Need minval < maxval, got {low} >= {high}")


def _int_shape(node: Any) -> TensorShape:
    _int_limits(node, 2)
    return _shape_and_seed(node)


@op("StatelessRandomUniformInt", "shape:T; seed:Tseed; minval:dtype; maxval:dtype", "output:dtype",
    "dtype:type{int32|int64}; T:type{int32|int64}; Tseed:type{int32|int64}=int64", infer=_int_shape,
    differentiable=False, lowering="random")  # fmt: skip
def stateless_uniform_int_op(shape: Array, seed: Array, minval: Array, maxval: Array) -> Array:
    """Uniform integers in [minval, maxval), a function of the seed."""
    return np.asarray(random_uniform_int_op.body(shape, minval, maxval, key=_scrambled(seed), counter=0))


@stateless_uniform_int_op.draw
def _uniform_int_draw(
    b: Builder, words: Sequence[Expr], table: Any, low: int, high: int, *, dtype: DType
) -> list[Expr] | None:
    rule = random_uniform_int_op.draw_rule
    assert rule is not None
    found: list[Expr] | None = None if dtype.is_unsigned else rule(b, words, table, low, high, Tout=dtype)
    return found


def _int_v2_shape(node: Any) -> TensorShape:
    _int_limits(node, 4)
    return _shape_and_key(node)


@op("StatelessRandomUniformIntV2", f"shape:Tshape; {_KEYED}; minval:dtype; maxval:dtype", "output:dtype",
    "dtype:type{int32|int64|uint32|uint64}; Tshape:type{int32|int64}=int32", infer=_int_v2_shape,
    differentiable=False, lowering="random")  # fmt: skip
def stateless_uniform_int_v2_op(
    shape: Array, key: Array, counter: Array, alg: Array, minval: Array, maxval: Array
) -> Array:
    """Uniform integers in [minval, maxval), a function of key and counter."""
    signed = minval.dtype.str.replace("u", "i")
    found = random_uniform_int_op.body(
        shape, minval.view(signed), maxval.view(signed), **keyed(key, counter, alg)
    )
    return np.asarray(found).view(minval.dtype)


stateless_uniform_int_v2_op.draw(_uniform_int_draw)


def _drawn_shape(node: Any) -> TensorShape:
    logits = rank_exactly(node, 0, 2, "logits")
    rank_exactly(node, 1, 0, "num_samples")
    _check_seed(node, 2)
    count = node.constant(1)
    return TensorShape([logits.as_list()[0], None if count is None else int(count)])


@op("StatelessMultinomial", "logits:T; num_samples:int32; seed:Tseed", "output:output_dtype",
    f"T:type{{{REALS}}}; Tseed:type{{int32|int64}}=int64; output_dtype:type{{int32|int64}}=int64",
    infer=_drawn_shape, differentiable=False, lowering="multinomial")  # fmt: skip
def stateless_multinomial_op(
    logits: Array, num_samples: Array, seed: Array, *, output_dtype: DType = dtypes.int64
) -> Array:
    """Classes drawn with the probabilities softmax(logits), row by row, a function of the seed."""
    found = multinomial_op.body(
        logits, num_samples, output_dtype=output_dtype, key=_scrambled(seed), counter=0
    )
    return np.asarray(found)


_drawn_alike(multinomial_op, stateless_multinomial_op)


def _key_shapes(node: Any) -> list[TensorShape]:
    _check_seed(node, 0)
    return [TensorShape([1]), TensorShape([2]), SCALAR][: len(node.op_def.outputs)]


@op("StatelessRandomGetKeyCounter", "seed:Tseed", "key:uint64; counter:uint64", "Tseed:type{int32|int64}=int64",
    infer=_key_shapes, differentiable=False)  # fmt: skip
def stateless_key_counter_op(seed: Array) -> tuple[Array, Array]:
    """The key and the counter that a seed stands for."""
    key, high = _scrambled(seed)
    return np.array([key], np.uint64), np.array([0, high], np.uint64)


@op("StatelessRandomGetKeyCounterAlg", "seed:Tseed", "key:uint64; counter:uint64; alg:int32",
    "Tseed:type{int32|int64}=int64", infer=_key_shapes, differentiable=False)  # fmt: skip
def stateless_key_counter_alg_op(seed: Array) -> tuple[Array, Array, Array]:
    """The key and the counter that a seed stands for, and the generator that is used here."""
    key, high = _scrambled(seed)
    return np.array([key], np.uint64), np.array([0, high], np.uint64), np.array(_PHILOX, np.int32)


@op("StatelessRandomGetAlg", "", "alg:int32", "", infer=lambda node: SCALAR, differentiable=False)
def stateless_alg_op() -> Array:
    """The generator that is used here: Philox."""
    return np.array(_PHILOX, np.int32)


# ---------------------------------------------------------------------------- public functions


def stateless_uniform(
    shape: Any,
    seed: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:
    """Returns uniform random numbers that are a function of the seed.

    Args:
      shape: the shape: integers or an integer vector.
      seed: two integers.
      minval: the lower bound, which may occur; None with maxval None: integers of which every bit is random.
      maxval: the upper bound, which does not; default 1 for floats.
      dtype: a float type, int32 or int64; for whole words uint32 and uint64 too.
      name: a name.

    Raises:
      ValueError: for an integer dtype with only one of the bounds.
    """
    kind = as_dtype(dtype)
    if kind.is_integer:
        if (minval is None) != (maxval is None):
            raise ValueError(
                f"For integer `dtype` argument {kind!r}, argument `minval` and `maxval` must be both None or not None. "
                f"Got `minval`={minval} and `maxval`={maxval}."
            )
    elif maxval is None:
        maxval = 1
    with name_scope(name, "stateless_random_uniform", [shape, seed, minval, maxval]) as scope:
        sizes = shape_operand(shape)
        result: Tensor
        if kind.is_integer and minval is None:
            result = emit.StatelessRandomUniformFullInt(sizes, seed, dtype=kind, name=scope)
            return result
        low, high = convert_to_tensor(minval, kind, name="min"), convert_to_tensor(maxval, kind, name="max")
        if kind.is_integer:
            result = emit.StatelessRandomUniformInt(sizes, seed, low, high, name=scope)
            return result
        numbers = emit.StatelessRandomUniform(sizes, seed, dtype=kind)
        result = emit.AddV2(numbers * (high - low), low, name=scope)
        return result


def _scaled(
    op_type: str, default: str, shape: Any, seed: Any, mean: Any, stddev: Any, dtype: Any, name: Any
) -> Tensor:
    kind = as_dtype(dtype)
    with name_scope(name, default, [shape, seed, mean, stddev]) as scope:
        center, scale = (
            convert_to_tensor(mean, kind, name="mean"),
            convert_to_tensor(stddev, kind, name="stddev"),
        )
        numbers = getattr(emit, op_type)(shape_operand(shape), seed, dtype=kind)
        result: Tensor = emit.AddV2(numbers * scale, center, name=scope)
        return result


def stateless_normal(
    shape: Any,
    seed: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:
    """Returns normal random numbers that are a function of the seed (two integers)."""
    return _scaled("StatelessRandomNormal", "stateless_random_normal", shape, seed, mean, stddev, dtype, name)


def stateless_truncated_normal(
    shape: Any,
    seed: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:
    """Returns normal random numbers less than two deviations from the mean, a function of the seed (two integers)."""
    return _scaled(
        "StatelessTruncatedNormal", "stateless_truncated_normal", shape, seed, mean, stddev, dtype, name
    )


def stateless_multinomial(
    logits: Any, num_samples: Any, seed: Any, output_dtype: Any = dtypes.int64, name: str | None = None
) -> Tensor:
    """Draws classes [batch, num_samples] from rows of unnormalized log probabilities, a function of the seed."""
    with name_scope(name, "stateless_multinomial", [logits, seed]):
        logits = convert_to_tensor(logits, name="logits")
        result: Tensor = emit.StatelessMultinomial(
            logits, num_samples, seed, output_dtype=as_dtype(output_dtype)
        )
        return result


def stateless_categorical(
    logits: Any, num_samples: Any, seed: Any, dtype: Any = dtypes.int64, name: str | None = None
) -> Tensor:
    """Draws classes [batch, num_samples] from rows of unnormalized log probabilities; see `stateless_multinomial`."""
    with name_scope(name, "stateless_categorical", [logits, seed]):
        return stateless_multinomial(logits, num_samples, seed, dtype)


__all__ = [
    "stateless_categorical", "stateless_multinomial", "stateless_normal", "stateless_truncated_normal",
    "stateless_uniform",
]  # fmt: skip
