"""Random numbers: Philox 4x32-10 under TensorFlow's keys and counters, and the distributions made from it.

One 128-bit sample is four 32-bit words, a pure function of key and counter. A run of an op starts at the counter
that earlier runs left (`counter`, in samples) and reserves `samples_reserved` of them, however many it uses; so its
numbers depend on nothing but seeds and the number of earlier runs. They are those of TensorFlow's CPU kernels: bit
for bit, but for normal numbers in double precision, which may differ in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError, ShapeError, UnimplementedError
from graphflow.graph import Tensor, get_seed, name_scope
from graphflow.loops.build import Builder
from graphflow.loops.ir import Expr
from graphflow.opdef import OpDef, constant_value, convert_to_tensor, emit, op
from graphflow.ops.rules import FLOATS, REALS, Array, rank_exactly, refuse, same_as_first, shape_input
from graphflow.shapes import TensorShape

_SEEDS = "seed:int=0; seed2:int=0"
_SHAPED = f"{_SEEDS}; dtype:type{{{FLOATS}}}; T:type{{int32|int64}}"

# ---------------------------------------------------------------------------- the generator

_MULTIPLIER_A = np.uint64(0xD2511F53)
_MULTIPLIER_B = np.uint64(0xCD9E8D57)
_WEYL_A = 0x9E3779B9
_WEYL_B = 0xBB67AE85
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MASK64 = (1 << 64) - 1
PHILOX = (1, 3)  # the numbers of this generator: its own, and that of the one that is chosen for us
SAMPLES_AT_ONCE = (
    1 << 48
)  # so many are set aside for a branch or a loop, which gives back what it has not drawn
SAMPLES_PER_OUTPUT = 256  # TensorFlow's generous reserve: the most rejections a truncated normal may need


def philox(key: tuple[int, int], first: int, count: int) -> Array:
    """Words of the generator.

    Args:
      key: the two seeds; the first is the cipher's key, the second the upper half of its counter.
      first: number of the first 128-bit sample.
      count: how many samples.

    Returns:
      uint32 [count, 4].
    """
    return philox_at(key, np.arange(count, dtype=np.uint64), first)


def philox_at(key: tuple[int, int], offsets: Array, first: int) -> Array:
    """The samples at `first + offsets`; uint32 [..., 4]."""
    low_start = first & _MASK64
    low = offsets + np.uint64(low_start)
    high_start = ((key[1] & _MASK64) + (first >> 64)) & _MASK64
    high = np.full(offsets.shape, high_start, np.uint64) + (low < offsets).astype(np.uint64)
    c0, c1, c2, c3 = low & _LOW, low >> _HALF, high & _LOW, high >> _HALF
    k0, k1 = key[0] & 0xFFFFFFFF, (key[0] >> 32) & 0xFFFFFFFF
    for _ in range(_ROUNDS):
        product_a, product_b = c0 * _MULTIPLIER_A, c2 * _MULTIPLIER_B
        c0, c1, c2, c3 = (
            (product_b >> _HALF) ^ c1 ^ np.uint64(k0),
            product_b & _LOW,
            (product_a >> _HALF) ^ c3 ^ np.uint64(k1),
            product_a & _LOW,
        )
        k0, k1 = (k0 + _WEYL_A) & 0xFFFFFFFF, (k1 + _WEYL_B) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def samples_reserved(op_type: str, sizes: Sequence[int]) -> int:
    """Returns by how many 128-bit samples a run of a random op moves its counter on.

    Args:
      op_type: the type of the op.
      sizes: the shape of what it gives.
    """
    count = math.prod(sizes)
    if op_type == "RandomShuffle":
        rows = sizes[0] if sizes else 1
        return (rows - 1 + 3) // 4 if rows > 1 and count > 1 else 0
    if op_type == "Multinomial":
        batch, per_row = sizes
        return batch * ((per_row + 3) // 4 * 4) * 2 * SAMPLES_PER_OUTPUT
    return count * SAMPLES_PER_OUTPUT


def keyed(key: Array, counter: Array, alg: Array) -> dict[str, Any]:
    """What a random body asks for, of the operands of the ops that take key and counter."""
    if int(alg) not in PHILOX:
        raise UnimplementedError(
            None, None, f"only the Philox algorithm (1) is supported, got alg {int(alg)}"
        )
    if key.shape != (1,) or counter.size < 2:
        raise refuse(
            f"key must have shape [1] and counter 2 elements, have {list(key.shape)}, {list(counter.shape)}"
        )
    return {"key": (int(key[0]), int(counter[1])), "counter": int(counter[0])}


# ---------------------------------------------------------------------------- words to numbers


def uniform_of(words: Array, dtype: Any) -> Array:
    """Uniform numbers in [0, 1): the words' bits become the fraction of a number in [1, 2)."""
    if dtype == np.float32:
        return ((words & np.uint32(0x7FFFFF)) | np.uint32(127 << 23)).view(np.float32) - np.float32(1)
    if dtype == np.float64:
        high, low = words[..., 0::2].astype(np.uint64), words[..., 1::2].astype(np.uint64)
        bits = (np.uint64(1023) << np.uint64(52)) | ((high & np.uint64(0xFFFFF)) << _HALF) | low
        return bits.view(np.float64) - 1.0
    short = words.astype(np.uint16)
    if dtype == np.float16:
        return ((short & np.uint16(0x3FF)) | np.uint16(15 << 10)).view(np.float16) - np.float16(1)
    bits = (short & np.uint16(0x7F)) | np.uint16(127 << 7)
    return (bits.view(ml_dtypes.bfloat16).astype(np.float32) - 1).astype(ml_dtypes.bfloat16)


# TensorFlow's normal numbers are those of the C library's logf and sincosf, which are not correctly rounded; so theirs
# are the polynomials here (glibc's, evaluated in double precision).
_LOG_TABLE = np.array([
    [float.fromhex(inverse), float.fromhex(logarithm)] for inverse, logarithm in (
        ("0x1.661ec79f8f3bep+0", "-0x1.57bf7808caadep-2"), ("0x1.571ed4aaf883dp+0", "-0x1.2bef0a7c06ddbp-2"),
        ("0x1.49539f0f010bp+0", "-0x1.01eae7f513a67p-2"), ("0x1.3c995b0b80385p+0", "-0x1.b31d8a68224e9p-3"),
        ("0x1.30d190c8864a5p+0", "-0x1.6574f0ac07758p-3"), ("0x1.25e227b0b8eap+0", "-0x1.1aa2bc79c81p-3"),
        ("0x1.1bb4a4a1a343fp+0", "-0x1.a4e76ce8c0e5ep-4"), ("0x1.12358f08ae5bap+0", "-0x1.1973c5a611cccp-4"),
        ("0x1.0953f419900a7p+0", "-0x1.252f438e10c1ep-5"), ("0x1p+0", "0x0p+0"),
        ("0x1.e608cfd9a47acp-1", "0x1.aa5aa5df25984p-5"), ("0x1.ca4b31f026aap-1", "0x1.c5e53aa362eb4p-4"),
        ("0x1.b2036576afce6p-1", "0x1.526e57720db08p-3"), ("0x1.9c2d163a1aa2dp-1", "0x1.bc2860d22477p-3"),
        ("0x1.886e6037841edp-1", "0x1.1058bc8a07ee1p-2"), ("0x1.767dcf5534862p-1", "0x1.4043057b6ee09p-2"),
    )
])  # fmt: skip
_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_LOG_POLYNOMIAL = [
    float.fromhex(c) for c in ("-0x1.00ea348b88334p-2", "0x1.5575b0be00b6ap-2", "-0x1.ffffef20a4123p-2")
]
_TWO_OVER_PI = float.fromhex("0x1.45F306DC9C883p-1")
_HALF_PI = float.fromhex("0x1.921FB54442D18p0")
_COSINE = [
    float.fromhex(c)
    for c in (
        "0x1p0",
        "-0x1.ffffffd0c621cp-2",
        "0x1.55553e1068f19p-5",
        "-0x1.6c087e89a359dp-10",
        "0x1.99343027bf8c3p-16",
    )
]
_SINE = [
    float.fromhex(c) for c in ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")
]


def _log(x: Array) -> Array:
    """The C library's logf, for positive normal float32."""
    bits = x.view(np.uint32)
    above = bits - np.uint32(0x3F330000)
    exponent = (above.view(np.int32) >> 23).astype(np.float64)
    inverse, logarithm = np.moveaxis(_LOG_TABLE[(above >> np.uint32(19)) & np.uint32(15)], -1, 0)
    rest = (bits - (above & np.uint32(0xFF800000))).view(np.float32).astype(np.float64) * inverse - 1.0
    square = rest * rest
    tail = _LOG_POLYNOMIAL[0] * square + (_LOG_POLYNOMIAL[1] * rest + _LOG_POLYNOMIAL[2])
    result: Array = (tail * square + (logarithm + exponent * _LN2 + rest)).astype(np.float32)
    return result


def _sin_cos(x: Array) -> tuple[Array, Array]:
    """The C library's sincosf, for float32 in [0, 2 pi]."""
    wide = x.astype(np.float64)
    # Below pi/4 the library does not reduce; a quadrant of 0 says the same.
    quadrant = np.floor(wide * _TWO_OVER_PI + 0.5).astype(np.int64)
    rest = wide - quadrant * _HALF_PI
    square = rest * rest
    signed = np.where((quadrant & 3 == 1) | (quadrant & 3 == 2), -rest, rest)
    fourth, cube = square * square, square * signed
    sine = (signed + cube * _SINE[0]) + (cube * square) * (_SINE[1] + square * _SINE[2])
    cosine = ((_COSINE[0] + square * _COSINE[1]) + fourth * _COSINE[2]) + (fourth * square) * (
        _COSINE[3] + square * _COSINE[4]
    )
    cosine = np.where(quadrant & 2, -cosine, cosine)
    swapped = quadrant & 1 == 1
    return np.where(swapped, cosine, sine).astype(np.float32), np.where(swapped, sine, cosine).astype(
        np.float32
    )


def normal_pairs(words: Array, double: bool) -> Array:
    """Box and Muller: each pair of uniform numbers gives two normal ones; float32 or float64."""
    uniform = uniform_of(words, np.float64 if double else np.float32)
    result = np.empty_like(uniform)
    if double:
        angle = 2.0 * np.pi * uniform[..., 1::2]
        radius = np.sqrt(-2.0 * np.log(np.maximum(uniform[..., 0::2], 1.0e-7)))
        sine, cosine = np.sin(angle), np.cos(angle)
    else:
        angle = (2.0 * np.pi * uniform[..., 1::2].astype(np.float64)).astype(np.float32)
        radius = np.sqrt(np.float32(-2.0) * _log(np.maximum(uniform[..., 0::2], np.float32(1.0e-7))))
        sine, cosine = _sin_cos(angle)
    result[..., 0::2] = sine * radius
    result[..., 1::2] = cosine * radius
    return result


def _group_size(dtype: Any) -> int:
    """Numbers made of one sample."""
    return 2 if dtype == np.float64 else 4


def sizes_of(shape: Array) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise InvalidArgumentError(None, None, f"Dimension must be >= 0, got shape {list(sizes)}")
    return sizes


def _filled(
    shape: Array, key: tuple[int, int], counter: int, group: int, make: Callable[[Array], Array]
) -> Array:
    """An array of `shape` from consecutive samples, `group` numbers of each."""
    sizes = sizes_of(shape)
    size = int(np.prod(sizes, dtype=np.int64))
    return make(philox(key, counter, -(-size // group))).reshape(-1)[:size].reshape(sizes)


# ---------------------------------------------------------------------------- the same in compiled code

# Here nothing may be fused into one rounding that NumPy does in two: a product that is added to goes through `_exact`.


def _uniform_lower(b: Builder, words: Sequence[Expr], dtype: str) -> list[Expr]:
    """What `uniform_of` makes of one sample."""
    if dtype == "float64":
        found = []
        for high, low in (words[:2], words[2:]):
            bits = b.or_(b.shl(b.and_(b.cast(high, "u64"), 0xFFFFF), 32), b.cast(low, "u64"))
            found.append(b.sub(b.bitcast(b.or_(bits, 1023 << 52), "f64"), 1.0))
        return found
    word, mask, one = {
        "float32": ("u32", 0x7FFFFF, 127 << 23),
        "float16": ("u16", 0x3FF, 15 << 10),
        "bfloat16": ("u16", 0x7F, 127 << 7),
    }[dtype]
    return [b.sub(b.bitcast(b.or_(b.and_(b.cast(w, word), mask), one), dtype), 1.0) for w in words]


def _exact(b: Builder, x: Expr, y: Any) -> Expr:
    """A product in a rounding of its own."""
    return b.fma(x, y, -0.0)


_LOG_INVERSES, _LOG_LOGARITHMS = (np.ascontiguousarray(column) for column in _LOG_TABLE.T)


def _log_lower(b: Builder, x: Expr, table: Any) -> Expr:
    """What `_log` computes."""
    bits = b.bitcast(x, "u32")
    above = b.sub(bits, 0x3F330000)
    exponent = b.cast(b.shr(b.bitcast(above, "i32"), 23), "f64")
    entry = b.and_(b.shr(above, 19), 15)
    inverse, logarithm = table(_LOG_INVERSES, entry), table(_LOG_LOGARITHMS, entry)
    fraction = b.cast(b.bitcast(b.sub(bits, b.and_(above, 0xFF800000)), "f32"), "f64")
    rest = b.sub(_exact(b, fraction, inverse), 1.0)
    square = _exact(b, rest, rest)
    slope = b.add(_exact(b, rest, _LOG_POLYNOMIAL[1]), _LOG_POLYNOMIAL[2])
    tail = b.add(_exact(b, square, _LOG_POLYNOMIAL[0]), slope)
    whole = b.add(b.add(logarithm, _exact(b, exponent, _LN2)), rest)
    return b.cast(b.add(_exact(b, tail, square), whole), "f32")


def _sin_cos_lower(b: Builder, x: Expr) -> tuple[Expr, Expr]:
    """What `_sin_cos` computes."""
    wide = b.cast(x, "f64")
    turns = b.floor(b.add(_exact(b, wide, _TWO_OVER_PI), 0.5))
    quadrant = b.cast(turns, "i32")
    rest = b.sub(wide, _exact(b, turns, _HALF_PI))
    square = _exact(b, rest, rest)
    corner = b.and_(quadrant, 3)
    signed = b.select(b.or_(b.eq(corner, 1), b.eq(corner, 2)), b.neg(rest), rest)
    fourth, cube = _exact(b, square, square), _exact(b, square, signed)
    near = b.add(signed, _exact(b, cube, _SINE[0]))
    far = b.add(_exact(b, square, _SINE[2]), _SINE[1])
    sine = b.add(near, _exact(b, _exact(b, cube, square), far))
    near = b.add(b.add(_exact(b, square, _COSINE[1]), _COSINE[0]), _exact(b, fourth, _COSINE[2]))
    far = b.add(_exact(b, square, _COSINE[4]), _COSINE[3])
    cosine = b.add(near, _exact(b, _exact(b, fourth, square), far))
    cosine = b.select(b.ne(b.and_(quadrant, 2), 0), b.neg(cosine), cosine)
    swapped = b.eq(b.and_(quadrant, 1), 1)
    return b.cast(b.select(swapped, cosine, sine), "f32"), b.cast(b.select(swapped, sine, cosine), "f32")


# ---------------------------------------------------------------------------- the ops


def _shape_op(op_type: str) -> Callable[[Callable[..., Any]], OpDef]:
    return op(op_type, "shape:T", "output:dtype", _SHAPED, infer=shape_input(0), effects="random",
              differentiable=False, lowering="random")  # fmt: skip


@_shape_op("RandomUniform")
def random_uniform_op(shape: Array, *, dtype: DType, key: tuple[int, int], counter: int) -> Array:
    """Uniform numbers in [0, 1)."""
    kind = dtype.numpy
    return _filled(shape, key, counter, _group_size(kind), lambda words: uniform_of(words, kind))


@random_uniform_op.draw
def _random_uniform_draw(b: Builder, words: Sequence[Expr], table: Any, *, dtype: DType) -> list[Expr]:
    return _uniform_lower(b, words, dtype.name)


@op("GraphflowRandomAtLeast", "shape:T; least:dtype", "output:bool", _SHAPED, infer=shape_input(0), effects="random",
    differentiable=False, lowering="random")  # fmt: skip
def random_at_least_op(
    shape: Array, least: Array, *, dtype: DType, key: tuple[int, int], counter: int
) -> Array:
    """Whether uniform numbers in [0, 1), those of `RandomUniform`, are at least some number: who is kept by dropout."""
    kind = dtype.numpy
    return _filled(shape, key, counter, _group_size(kind), lambda words: uniform_of(words, kind) >= least)


@random_at_least_op.draw
def _random_at_least_draw(
    b: Builder, words: Sequence[Expr], table: Any, least: float, *, dtype: DType
) -> list[Expr]:
    return [b.ge(number, least) for number in _uniform_lower(b, words, dtype.name)]


@_shape_op("RandomStandardNormal")
def random_standard_normal_op(shape: Array, *, dtype: DType, key: tuple[int, int], counter: int) -> Array:
    """Normal numbers of mean 0 and deviation 1."""
    kind = dtype.numpy
    double = kind == np.float64
    return _filled(shape, key, counter, _group_size(kind), lambda words: normal_pairs(words, double)).astype(
        kind
    )


@random_standard_normal_op.draw
def _random_standard_normal_draw(
    b: Builder, words: Sequence[Expr], table: Any, *, dtype: DType
) -> list[Expr] | None:
    if dtype.name == "float64":
        return None  # NumPy's own logarithm and sine, whose bits are not ours to promise
    uniform = _uniform_lower(b, words, "float32")
    found = []
    for first, second in (uniform[:2], uniform[2:]):
        angle = b.cast(_exact(b, b.cast(second, "f64"), 2.0 * np.pi), "f32")
        radius = b.sqrt(b.mul(_log_lower(b, b.max(first, 1.0e-7), table), -2.0))
        sine, cosine = _sin_cos_lower(b, angle)
        found += [b.cast(b.mul(part, radius), dtype.name) for part in (sine, cosine)]
    return found


@op("TruncatedNormal", "shape:T", "output:dtype", _SHAPED, infer=shape_input(0), effects="random",
    differentiable=False, lowering="truncated_normal")  # fmt: skip
def truncated_normal_op(shape: Array, *, dtype: DType, key: tuple[int, int], counter: int) -> Array:
    """Normal numbers of mean 0 and deviation 1, drawn again where they lie two or more away from 0."""
    kind = dtype.numpy
    double = kind == np.float64
    group = _group_size(kind)
    sizes = sizes_of(shape)
    size = int(np.prod(sizes, dtype=np.int64))
    groups = -(-size // group)
    result = np.empty((groups, group), np.float64 if double else np.float32)
    # Each group of outputs has a stretch of samples of its own, so rejections in one do not move the others.
    starts = np.arange(groups, dtype=np.uint64) * np.uint64(group * SAMPLES_PER_OUTPUT // 4)
    pending = np.arange(groups)
    filled = np.zeros(groups, np.int64)
    step = 0
    while len(pending):
        numbers = normal_pairs(philox_at(key, starts[pending] + np.uint64(step), counter), double)
        for column in range(numbers.shape[-1]):
            value = numbers[:, column]
            good = (np.abs(value) < 2) & (filled[pending] < group)
            rows = pending[good]
            result[rows, filled[rows]] = value[good]
            filled[rows] += 1
        pending = pending[filled[pending] < group]
        step += 1
    return result.reshape(-1)[:size].reshape(sizes).astype(kind)


@truncated_normal_op.draw
def _truncated_normal_draw(
    b: Builder, words: Sequence[Expr], table: Any, *, dtype: DType
) -> list[Expr] | None:
    """What is drawn of one sample before anything is refused; float32 also where that will be rounded."""
    wide = dtypes.float64 if dtype.name == "float64" else dtypes.float32
    return _random_standard_normal_draw(b, words, table, dtype=wide)


def _uniform_int_shape(node: Any) -> TensorShape:
    for position, name in ((1, "minval"), (2, "maxval")):
        rank_exactly(node, position, 0, name)
    low, high = node.constant(1), node.constant(2)
    if low is not None and high is not None and low >= high:
        raise ShapeError(f"Need minval < maxval, got {low} >= {high}")
    return shape_input(0)(node)


@op("RandomUniformInt", "shape:T; minval:Tout; maxval:Tout", "output:Tout",
    f"{_SEEDS}; Tout:type{{int32|int64}}; T:type{{int32|int64}}",
    infer=_uniform_int_shape, effects="random", differentiable=False, lowering="random")  # fmt: skip
def random_uniform_int_op(
    shape: Array, minval: Array, maxval: Array, *, key: tuple[int, int], counter: int
) -> Array:
    """Uniform integers in [minval, maxval)."""
    low, high = int(minval), int(maxval)
    if low >= high:
        raise InvalidArgumentError(None, None, f"Need minval < maxval, got {low} >= {high}")
    if minval.dtype == np.int32:
        span = np.uint32(high - low)
        return _filled(
            shape, key, counter, 4, lambda words: (words % span + np.uint32(low & 0xFFFFFFFF)).view(np.int32)
        )

    def wide(words: Array) -> Array:
        both = words[:, 0::2].astype(np.uint64) | (words[:, 1::2].astype(np.uint64) << _HALF)
        return (both % np.uint64(high - low) + np.uint64(low & _MASK64)).view(np.int64)

    return _filled(shape, key, counter, 2, wide)


@random_uniform_int_op.draw
def _random_uniform_int_draw(
    b: Builder, words: Sequence[Expr], table: Any, low: int, high: int, *, Tout: DType
) -> list[Expr] | None:
    if low >= high:
        return None
    kind, result, mask = ("u64", "i64", _MASK64) if Tout.name == "int64" else ("u32", "i32", 0xFFFFFFFF)
    whole = list(words)
    if kind == "u64":
        pairs = (words[:2], words[2:])
        whole = [b.or_(b.cast(first, "u64"), b.shl(b.cast(second, "u64"), 32)) for first, second in pairs]
    span, start = b.const(high - low, kind), b.const(low & mask, kind)
    return [b.bitcast(b.add(b.floormod(number, span), start), result) for number in whole]


@op("RandomShuffle", "value:T", "output:T", f"{_SEEDS}; T:type", infer=same_as_first, effects="random",
    differentiable=False)  # fmt: skip
def random_shuffle_op(value: Array, *, key: tuple[int, int], counter: int) -> Array:
    """The rows in random order."""
    if value.ndim == 0 or value.shape[0] <= 1 or value.size <= 1:
        return value
    rows = value.shape[0]
    words = philox(key, counter, (rows - 1 + 3) // 4).reshape(-1)[: rows - 1].astype(np.int64)
    jumps = (words % np.arange(rows, 1, -1)).tolist()
    order = list(range(rows))
    for i, jump in enumerate(jumps):
        order[i], order[i + jump] = order[i + jump], order[i]
    return value[np.array(order)]


def _multinomial_shape(node: Any) -> TensorShape:
    logits = rank_exactly(node, 0, 2, "logits")
    rank_exactly(node, 1, 0, "num_samples")
    count = node.constant(1)
    return TensorShape([logits.as_list()[0], None if count is None else int(count)])


@op("Multinomial", "logits:T; num_samples:int32", "output:output_dtype",
    f"{_SEEDS}; T:type{{{REALS}}}; output_dtype:type{{int32|int64}}=int64",
    infer=_multinomial_shape, effects="random", differentiable=False, lowering="multinomial")  # fmt: skip
def multinomial_op(
    logits: Array, num_samples: Array, *, output_dtype: DType, key: tuple[int, int], counter: int
) -> Array:
    """Classes drawn with the probabilities softmax(logits), row by row."""
    batch, classes = logits.shape
    count = int(num_samples)
    if count < 0:
        raise InvalidArgumentError(None, None, f"num_samples should be nonnegative, got {count}")
    if batch and count and not classes:
        raise InvalidArgumentError(None, None, "num_classes should be positive, got 0")
    result = np.empty((batch, count), output_dtype.numpy)
    if not result.size:
        return result
    words = philox(key, counter, -(-batch * count * 2 // 4)).reshape(-1)
    uniform = uniform_of(words, np.float64)[: batch * count].reshape(batch, count)
    wide = logits.astype(np.float64)
    finite = np.isfinite(wide)
    top = np.max(np.where(finite, wide, np.finfo(np.float64).min), axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        weights = np.where(finite, np.exp(wide - top), 0.0)
    totals = np.cumsum(weights, axis=1)
    for row in range(batch):
        result[row] = np.searchsorted(totals[row], uniform[row] * totals[row, -1], side="right")
    return result


@multinomial_op.draw
def _multinomial_draw(b: Builder, words: Sequence[Expr], table: Any, count: int) -> list[Expr]:
    """Where among a row's sums a class is looked for, as a share of the whole."""
    return _uniform_lower(b, words, "float64")


@op("GraphflowKeyedMultinomial", "logits:T; num_samples:int32; key:uint64; counter:uint64; alg:int32",
    "output:output_dtype", f"T:type{{{REALS}}}; output_dtype:type{{int32|int64}}=int64", infer=_multinomial_shape,
    differentiable=False, lowering="multinomial")  # fmt: skip
def keyed_multinomial_op(
    logits: Array, num_samples: Array, key: Array, counter: Array, alg: Array, *, output_dtype: DType
) -> Array:
    """Classes drawn with the probabilities softmax(logits), row by row, a function of key and counter."""
    found = multinomial_op.body(logits, num_samples, output_dtype=output_dtype, **keyed(key, counter, alg))
    return np.asarray(found)


keyed_multinomial_op.draw(_multinomial_draw)


# ---------------------------------------------------------------------------- public functions


def shape_operand(shape: Any) -> Tensor:
    """Returns a shape given as a TensorShape, list (with tensors in it, perhaps) or tensor as an integer vector."""
    if isinstance(shape, list | tuple) and not len(shape):
        return convert_to_tensor(np.zeros(0, np.int32), name="shape")
    return convert_to_tensor(shape, name="shape")


def seeds_of(seed: int | None, name: str) -> dict[str, int]:
    first, second = get_seed(seed, name)
    return {"seed": first or 0, "seed2": second or 0}


def random_uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = dtypes.float32, seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns uniform random numbers.

    Args:
      shape: the shape: integers or an integer vector.
      minval: the lower bound, which may occur.
      maxval: the upper bound, which does not; default 1 for floats.
      dtype: float16, bfloat16, float32, float64, int32 or int64.
      seed: the op's seed.
      name: a name.

    Raises:
      ValueError: for integers without `maxval`, or another dtype.
    """
    dtype = as_dtype(dtype)
    if dtype.name not in ("float16", "bfloat16", "float32", "float64", "int32", "int64"):
        raise ValueError(f"Invalid dtype {dtype!r}")
    if maxval is None:
        if dtype.is_integer:
            raise ValueError(f"Must specify maxval for integer dtype {dtype!r}")
        maxval = 1
    with name_scope(name, "random_uniform", [shape, minval, maxval]) as scope:
        sizes = shape_operand(shape)
        low = convert_to_tensor(minval, dtype, name="min")
        high = convert_to_tensor(maxval, dtype, name="max")
        result: Tensor
        if dtype.is_integer:
            result = emit.RandomUniformInt(sizes, low, high, name=scope, **seeds_of(seed, scope[:-1]))
            return result
        numbers = emit.RandomUniform(sizes, dtype=dtype, **seeds_of(seed, "RandomUniform"))
        result = emit.AddV2(emit.Mul(numbers, emit.Sub(high, low)), low, name=scope)
        return result


def _scaled(
    default: str, op_type: str, shape: Any, mean: Any, stddev: Any, dtype: Any, seed: int | None, name: Any
) -> Tensor:
    with name_scope(name, default, [shape, mean, stddev]) as scope:
        sizes = shape_operand(shape)
        center = convert_to_tensor(mean, dtype, name="mean")
        scale = convert_to_tensor(stddev, dtype, name="stddev")
        numbers = getattr(emit, op_type)(sizes, dtype=as_dtype(dtype), **seeds_of(seed, op_type))
        result: Tensor = emit.AddV2(numbers * scale, center, name=scope)
        return result


def random_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32, seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns normal random numbers of the given mean and standard deviation, which may be tensors that broadcast."""
    return _scaled("random_normal", "RandomStandardNormal", shape, mean, stddev, dtype, seed, name)


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32, seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns normal random numbers, drawn again where they are two deviations or more from the mean."""
    return _scaled("truncated_normal", "TruncatedNormal", shape, mean, stddev, dtype, seed, name)


def random_shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """Returns `value` with its rows (first axis) in random order."""
    shuffled: Tensor = emit.RandomShuffle(value, name=name, **seeds_of(seed, name or "RandomShuffle"))
    return shuffled


def random_crop(value: Any, size: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """Returns a part of `value` of the given sizes, cut out at a random place.

    Args:
      value: the tensor.
      size: one size per axis.
      seed: the op's seed.
      name: a name.
    """
    with name_scope(name, "random_crop", [value, size]) as scope:
        value = convert_to_tensor(value, name="value")
        size = convert_to_tensor(size, dtypes.int32, name="size")
        shape = emit.Shape(value)
        wanted, known = constant_value(size), value.shape.as_tuple()
        if wanted is not None and known is not None:
            if len(wanted) != len(known) or any(
                k is not None and k < w for k, w in zip(known, wanted, strict=True)
            ):
                raise ValueError(f"Need value.shape >= size, got {list(known)} and {wanted.tolist()}")
        limit = shape - size + 1
        start = random_uniform(emit.Shape(shape), dtype=dtypes.int32, maxval=dtypes.int32.max, seed=seed)
        result: Tensor = emit.Slice(value, emit.FloorMod(start, limit), size, name=scope)
        return result


def multinomial(
    logits: Any, num_samples: Any, seed: int | None = None, name: str | None = None, output_dtype: Any = None
) -> Tensor:
    """Draws classes from rows of unnormalized log probabilities.

    Args:
      logits: [batch, classes].
      num_samples: how many to draw per row.
      seed: the op's seed.
      name: a name.
      output_dtype: int32 or int64 (default).

    Returns:
      [batch, num_samples].
    """
    with name_scope(name, "multinomial", [logits]):
        return categorical(logits, num_samples, output_dtype, seed)


def categorical(
    logits: Any, num_samples: Any, dtype: Any = None, seed: int | None = None, name: str | None = None
) -> Tensor:
    """Draws classes from rows of unnormalized log probabilities; see `multinomial`."""
    with name_scope(name, "categorical", [logits]):
        logits = convert_to_tensor(logits, name="logits")
        chosen = dtypes.int64 if dtype is None else as_dtype(dtype)
        drawn: Tensor = emit.Multinomial(
            logits, num_samples, output_dtype=chosen, **seeds_of(seed, "Multinomial")
        )
        return drawn


__all__ = [
    "categorical", "multinomial", "random_crop", "random_normal", "random_shuffle", "random_uniform",
    "truncated_normal",
]  # fmt: skip
