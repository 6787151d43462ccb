"""Elementary functions on vectors of f32 and f64: polynomials without branches, special values blended in.

Each is written once for any number of lanes. The bounds below, in units in the last place, are measured by
`tests/backends/test_vector_math.py` on every target the host can run; libm is called, lane by lane, only
where a sine's argument is huge (beyond 71476 in f32, 1e6 in f64), where a remainder's quotient is, and for
`pow` of f64 and `lgamma`.

============================ ===== =====
function                       f32   f64
============================ ===== =====
sqrt                          0.51  0.51
exp, rsqrt                     1.5   1.5
log, log1p                     1.5   1.5
expm1                            2   2.5
sigmoid                          3   2.5
tanh                             6   2.5
erf                              7   2.5
erfc                             6     7
sin, cos (away from zeros)       2     2
tan                              3     3
asin, acos, atan, atan2          3     3
sinh, cosh                       2     2
asinh, acosh, atanh            2.5   2.5
pow                            0.6   0.6
============================ ===== =====
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from graphflow.backends.cpu.instructions import ELEMENT_BYTES, Emitter, Value

__all__ = ["BINARY", "UNARY"]

# Minimax-like fits (Chebyshev nodes, 60 digits), highest power first.

_EXP_F32 = (
    0.00139261761,
    0.00836317307,
    0.0416665547,
    0.16666577,
    0.5,
)
_EXP_F64 = (
    2.5100375832561234e-08,
    2.7620075879983367e-07,
    2.7557268480310024e-06,
    2.4801521322368692e-05,
    0.00019841269863040545,
    0.0013888888917196719,
    0.008333333333330065,
    0.041666666666624164,
    0.16666666666666669,
    0.5000000000000001,
)
_LOG_F32 = (
    0.0522034411,
    -0.106210767,
    0.119504946,
    -0.125659552,
    0.142360305,
    -0.166612059,
    0.200009596,
    -0.250000738,
    0.333333302,
)
_ATAN_F32 = (
    -0.0645192821,
    0.107437315,
    -0.142639556,
    0.199995405,
    -0.333333318,
)
_ATAN_F64 = (
    -0.01917688711906226,
    0.03923165829558719,
    -0.0508544973794026,
    0.0585814891280221,
    -0.06664511447381948,
    0.07692183190826087,
    -0.09090904578123903,
    0.11111111015256361,
    -0.14285714284666542,
    0.1999999999999552,
    -0.3333333333333333,
)
_ASIN_F32 = (
    0.0380850236,
    0.0265545422,
    0.0450013801,
    0.0749885507,
    0.166666724,
)
_ASIN_F64 = (
    0.028757851367421566,
    -0.014851887071247204,
    0.01740087944269402,
    0.005457506718640358,
    0.01032281435018578,
    0.011479177415184906,
    0.013971212973552933,
    0.017352392720869973,
    0.02237217294214989,
    0.030381944138531247,
    0.04464285714635543,
    0.07499999999998433,
    0.16666666666666669,
)
_SINH_F32 = (
    0.000202588849,
    0.00833176273,
    0.166666754,
)
_SINH_F64 = (
    7.746178593018827e-13,
    1.6057679623801638e-10,
    2.5052117695907823e-08,
    2.7557319191381816e-06,
    0.00019841269841324198,
    0.008333333333333299,
    0.16666666666666666,
)
_SIN_F32 = (
    -0.000195878909,
    0.00833274827,
    -0.166666647,
)
_COS_F32 = (
    2.45479421e-05,
    -0.0013888303,
    0.0416666647,
)
_SIN_F64 = (
    1.5918129294866608e-10,
    -2.5051131845003624e-08,
    2.755731610255244e-06,
    -0.00019841269836758574,
    0.008333333333330948,
    -0.16666666666666666,
)
_COS_F64 = (
    -1.1382632425521717e-11,
    2.08761462684032e-09,
    -2.7557317271729793e-07,
    2.480158729876569e-05,
    -0.0013888888888887398,
    0.041666666666666664,
)
_ERFCX_F32 = (
    0.0344601118,
    -0.0116818307,
    -0.0752263686,
    0.0530544155,
    0.0979066874,
    -0.103585747,
    -0.172039944,
    0.145765807,
    0.558943414,
    0.687160713,
    0.510791355,
)
_ERFCX_F64 = (
    0.021493982313956224,
    0.0023091696078058636,
    -0.07211250349254497,
    0.043939351924936955,
    0.062109013610169114,
    -0.08531271913231592,
    0.006309869910364995,
    0.06710413020990488,
    -0.060818779891853,
    -0.009359345562014693,
    0.06615746327958918,
    -0.04442588464635597,
    -0.03497780649925678,
    0.07396876325066587,
    -0.008798642628843731,
    -0.0848734053541577,
    0.053586934984282436,
    0.09889958593645734,
    -0.10366696087140467,
    -0.17208529511744902,
    0.14576892602590888,
    0.5589441851121203,
    0.6871606844138142,
    0.5107913526210115,
)
_ERF_F64 = (
    -7.795898827002142e-10,
    1.3720064546777686e-08,
    -1.6208483801871705e-07,
    1.6447424703317362e-06,
    -1.492473690741966e-05,
    0.00012055294904839707,
    -0.0008548325975389692,
    0.0052239776071164225,
    -0.02686617064323777,
    0.11283791670945006,
    -0.37612638903183543,
    1.1283791670955126,
)
_LOG2_F64_SHORT = (
    0.3407567042788236,
    0.4116714650590069,
    0.5770836022893222,
    0.9617966732736392,
    2.885390081790118,
)
_EXP2_F64_SHORT = (
    0.0001546144469856913,
    0.0013400428177615838,
    0.009618056678524637,
    0.05550327226670302,
    0.24022650922288757,
    0.6931472067028326,
    1.0,
)

# (log((1 + s) / (1 - s)) / s - 2) / s², in s².
_LOG_F64 = (
    0.13609030262858499,
    0.13209708242059462,
    0.15388867805613718,
    0.18181737626302938,
    0.2222222304835159,
    0.28571428567275936,
    0.4000000000000794,
    0.6666666666666666,
)

# Eigen's ratios of polynomials in x².
_TANH_F32_ABOVE = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_F32_BELOW = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_ERF_F32_ABOVE = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_F32_BELOW = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


_LN2_HIGH = {"float": 0.693359375, "double": 6.93145751953125e-1}
_LN2_LOW = {"float": -2.12194440e-4, "double": 1.42860682030941723212e-6}
_LOG2_E = 1.4426950408889634
_INF = math.inf
_NAN = math.nan

# A float as great as this has no fraction bits left: adding it rounds, and leaves the integer in the low
# bits.
_ROUNDER = {"float": 12582912.0, "double": 6755399441055744.0}
_MANTISSA_BITS = {"float": 23, "double": 52}
_EXPONENT_BIAS = {"float": 127, "double": 1023}
_LEAST_NORMAL = {"float": 2.0**-126, "double": 2.0**-1022}


_Number = TypeVar("_Number", int, float)


def _for(x: Value, single: tuple[float, ...], double: tuple[float, ...]) -> tuple[float, ...]:
    return single if x.type == "float" else double


def _pick(x: Value, single: _Number, double: _Number) -> _Number:
    return single if x.type == "float" else double


def _at_most(e: Emitter, x: Value, bound: float) -> Value:
    """The lesser of x and a bound; NaN stays NaN (the operands' order is what x86's minimum does with it)."""
    limit = e.like(x, bound)
    return e.select(e.compare("olt", limit, x), limit, x)


def _at_least(e: Emitter, x: Value, bound: float) -> Value:
    limit = e.like(x, bound)
    return e.select(e.compare("ogt", limit, x), limit, x)


def maximum(e: Emitter, x: Value, y: Value) -> Value:
    """The greater; NaN if either is."""
    if e.target.isa == "neon":
        return e.intrinsic("maximum", x, y)
    x, y = e.level_up((x, y))
    return e.select(e.compare("uno", x, x), x, e.select(e.compare("ogt", x, y), x, y))


def minimum(e: Emitter, x: Value, y: Value) -> Value:
    """The lesser; NaN if either is."""
    if e.target.isa == "neon":
        return e.intrinsic("minimum", x, y)
    x, y = e.level_up((x, y))
    return e.select(e.compare("uno", x, x), x, e.select(e.compare("olt", x, y), x, y))


def greater_number(e: Emitter, x: Value, y: Value) -> Value:
    """The greater; x where they do not compare (one instruction on x86)."""
    x, y = e.level_up((x, y))
    return e.select(e.compare("ogt", y, x), y, x)


def _by_registers(e: Emitter, x: Value, function: Callable[[list[Value]], Value], *others: Value) -> Value:
    """Applies a function of one AVX-512 register's lanes to vectors of several registers."""
    parts = max(1, x.lanes * ELEMENT_BYTES[x.type] // 64)
    split = [e.halves(v, parts) for v in (x, *others)]
    return e.joined([function([s[k] for s in split]) for k in range(parts)])


def _fills_registers(e: Emitter, x: Value) -> bool:
    return e.target.isa == "avx512" and x.lanes > 1 and (x.lanes * ELEMENT_BYTES[x.type]) % 64 == 0


def _avx512_unary(e: Emitter, name: str, x: Value, immediate: str | None = None) -> Value:
    """`vgetexp` or `vgetmant` of whole registers."""
    single = x.type == "float"
    suffix, mask = ("ps", "i16 -1") if single else ("pd", "i8 -1")

    def one(parts: list[Value]) -> Value:
        v = parts[0]
        zero = f"{v.full_type} zeroinitializer"
        middle = [immediate] if immediate is not None else []
        arguments = [v.typed, *middle, zero, mask, "i32 4"]
        kinds = [v.full_type, *(m.split(" ")[0] for m in middle), v.full_type, mask.split(" ")[0], "i32"]
        function = f"llvm.x86.avx512.mask.{name}.{suffix}.512"
        e.declarations.add(f"declare {v.full_type} @{function}({', '.join(kinds)})")
        return e.instruction(f"call {v.full_type} @{function}({', '.join(arguments)})", v.type, v.lanes, (v,))

    return _by_registers(e, x, one)


def _avx512_by_class(e: Emitter, result: Value, x: Value, answers: int) -> Value:
    """`vfixupimm`: a result, or what the table's digit says for x's class.

    Digits, lowest first, are for quiet and signalling NaN, 0, 1, -inf, inf, other negative, other positive numbers:
    0 keeps the result, 2 gives x's NaN, 3 NaN, 4 -inf, 5 inf.
    """
    single = x.type == "float"
    suffix, mask = ("ps", "i16 -1") if single else ("pd", "i8 -1")

    def one(parts: list[Value]) -> Value:
        r, v = parts
        full, table = v.full_type, e.int_like(v, answers)
        function = f"llvm.x86.avx512.mask.fixupimm.{suffix}.512"
        kinds = f"{full}, {full}, {table.full_type}, i32, {mask.split(' ')[0]}, i32"
        e.declarations.add(f"declare {full} @{function}({kinds})")
        text = f"call {full} @{function}({r.typed}, {v.typed}, {table.typed}, i32 0, {mask}, i32 4)"
        return e.instruction(text, v.type, v.lanes, (r, v))

    return _by_registers(e, result, one, x)


def _scale(e: Emitter, x: Value, power: Value, integer: Value | None = None) -> Value:
    """`x * 2**power` for a whole float power; overflows and underflows as it should."""
    if _fills_registers(e, x):
        single = x.type == "float"
        suffix, mask = ("ps", "i16") if single else ("pd", "i8")

        def one(parts: list[Value]) -> Value:
            v, p = parts
            function = f"llvm.x86.avx512.mask.scalef.{suffix}.512"
            full = v.full_type
            e.declarations.add(f"declare {full} @{function}({full}, {full}, {full}, {mask}, i32)")
            text = f"call {full} @{function}({v.typed}, {p.typed}, {full} zeroinitializer, {mask} -1, i32 4)"
            return e.instruction(text, v.type, v.lanes, (v, p))

        return _by_registers(e, x, one, power)
    bits, bias = _MANTISSA_BITS[x.type], _EXPONENT_BIAS[x.type]
    whole = integer if integer is not None else _rounded_integer(e, power)
    # In two steps, since 2**power itself may be out of range where the product is not.
    first = e.integer("ashr", whole, 1)
    second = e.integer("sub", whole, first)
    for part in (first, second):
        factor = e.convert("bitcast", e.integer("shl", e.integer("add", part, bias), bits), x.type)
        x = e.exact("fmul", x, factor)
    return x


def _rounded_integer(e: Emitter, x: Value) -> Value:
    """A small whole float as an integer of its size (junk for NaN, never undefined)."""
    magic = e.exact("fadd", x, _ROUNDER[x.type])
    return e.integer("sub", e.bits(magic), e.bits(e.like(x, _ROUNDER[x.type])))


def _nearest(e: Emitter, x: Value) -> Value:
    """The nearest whole number of a float of moderate size."""
    if e.target.isa == "generic":
        # No rounding instruction: what is added and taken off again leaves the whole number.
        return e.exact("fsub", e.exact("fadd", x, _ROUNDER[x.type]), _ROUNDER[x.type])
    return e.intrinsic("rint", x)


def _reduce_exp(e: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """x = n ln 2 + r with |r| ≤ ln 2 / 2: n, r and exp(r) - 1."""
    n = _nearest(e, e.exact("fmul", x, _LOG2_E))
    r = e.fma(n, -_LN2_HIGH[x.type], x)
    r = e.fma(n, -_LN2_LOW[x.type], r)
    q = e.polynomial(r, _for(x, _EXP_F32, _EXP_F64))
    return n, r, e.fma(q, e.exact("fmul", r, r), r)


def exp(e: Emitter, x: Value, shift: int = 0) -> Value:
    """`exp(x) * 2**shift`."""
    # Beyond these bounds the scaling overflows to inf or underflows to 0 of itself.
    x = _at_least(e, _at_most(e, x, _pick(x, 89.5, 711.0)), _pick(x, -105.0, -747.0))
    n, _, m = _reduce_exp(e, x)
    if shift:
        n = e.exact("fadd", n, float(shift))
    return _scale(e, e.exact("fadd", m, 1.0), n)


def expm1(e: Emitter, x: Value) -> Value:
    """`exp(x) - 1`."""
    # At these bounds 2**(n - 1) is still finite, and twice it is not.
    held = _at_least(e, _at_most(e, x, _pick(x, 89.0, 710.0)), _pick(x, -30.0, -60.0))
    n, _, m = _reduce_exp(e, held)
    # 2**n m + (2**n - 1), with n - 1 and a doubling at the end so that 2**n does not overflow first.
    one_less = e.exact("fsub", n, 1.0)
    power = _scale(e, e.like(x, 1.0), one_less)
    half = e.fma(power, m, e.exact("fsub", power, 0.5))
    result = e.exact("fadd", half, half)
    tiny = e.compare("olt", e.absolute(x), _pick(x, 1e-7, 1e-16))
    return e.select(tiny, x, result)


def _log_parts(e: Emitter, x: Value) -> tuple[Value, Value]:
    """x = m 2**k with m near 1, for x > 0 (denormals too): m - 1 and the float k."""
    if _fills_registers(e, x):
        m = _avx512_unary(e, "getmant", x, "i32 7")  # |x| scaled to [3/4, 3/2)
        k = e.exact("fsub", _avx512_unary(e, "getexp", x), _avx512_unary(e, "getexp", m))
        return e.exact("fsub", m, 1.0), k
    bits = _MANTISSA_BITS[x.type]
    denormal = e.compare("olt", x, _LEAST_NORMAL[x.type])
    x = e.select(denormal, e.exact("fmul", x, 2.0**54), x)
    root = e.bits(e.like(x, math.sqrt(0.5)))
    # Bits above sqrt(1/2)'s count in the exponent, so the mantissa comes out between sqrt(1/2) and sqrt(2).
    above = e.integer("sub", e.bits(x), root)
    k = e.integer("ashr", above, bits)
    m = e.convert("bitcast", e.integer("sub", e.bits(x), e.integer("shl", k, bits)), x.type)
    power = e.convert("sitofp", k, x.type)
    power = e.select(denormal, e.exact("fsub", power, 54.0), power)
    return e.exact("fsub", m, 1.0), power


def log(e: Emitter, x: Value) -> Value:
    """Natural logarithm."""
    f, k = _log_parts(e, x)
    if x.type == "float":
        square = e.exact("fmul", f, f)
        tail = e.exact("fmul", e.exact("fmul", e.polynomial(f, _LOG_F32), f), square)
        tail = e.fma(k, _LN2_LOW[x.type], tail)
        tail = e.fma(square, -0.5, tail)
        result = e.fma(k, _LN2_HIGH[x.type], e.exact("fadd", f, tail))
    else:
        # As fdlibm does it, with the division that saves half of the polynomial.
        s = e.exact("fdiv", f, e.exact("fadd", f, 2.0))
        z = e.exact("fmul", s, s)
        r = e.exact("fmul", z, e.polynomial(z, _LOG_F64))
        half = e.exact("fmul", e.exact("fmul", f, f), 0.5)
        inner = e.fma(s, e.exact("fadd", half, r), e.exact("fmul", k, 1.90821492927058770002e-10))
        result = e.fma(k, 6.93147180369123816490e-01, e.exact("fsub", f, e.exact("fsub", half, inner)))
    if _fills_registers(e, x):
        # By the class of x: NaN stays, 0 gives -inf, what is negative NaN, inf stays, others have the result.
        return _avx512_by_class(e, result, x, 0x03530422)
    result = e.select(e.compare("oeq", x, 0.0), -_INF, result)
    result = e.select(e.compare("oeq", x, _INF), x, result)
    result = e.select(e.compare("olt", x, 0.0), _NAN, result)
    return e.select(e.compare("uno", x, x), x, result)


def log1p(e: Emitter, x: Value) -> Value:
    """`log(1 + x)`."""
    u = e.exact("fadd", x, 1.0)
    # What rounding 1 + x lost, relative to u.
    lost = e.exact("fdiv", e.exact("fsub", x, e.exact("fsub", u, 1.0)), u)
    plain = log(e, u)
    mended = e.exact("fadd", plain, lost)
    small = e.compare("olt", e.absolute(x), _pick(x, 1e-7, 1e-16))
    mended = e.select(e.compare("ogt", u, _pick(x, 1e9, 1e17)), plain, mended)
    mended = e.select(e.compare("ole", u, 0.0), plain, mended)
    return e.select(small, x, mended)


def sigmoid(e: Emitter, x: Value) -> Value:
    """`1 / (1 + exp(-x))`."""
    small = exp(e, -e.absolute(x))
    upper = e.exact("fdiv", e.like(x, 1.0), e.exact("fadd", small, 1.0))
    return e.select(e.compare("olt", x, 0.0), e.exact("fmul", small, upper), upper)


def tanh(e: Emitter, x: Value) -> Value:
    """Hyperbolic tangent."""
    if x.type == "float":
        held = _at_least(e, _at_most(e, x, 7.90531110763549805), -7.90531110763549805)
        z = e.exact("fmul", held, held)
        above = e.exact("fmul", held, e.polynomial(z, _TANH_F32_ABOVE))
        result = e.exact("fdiv", above, e.polynomial(z, _TANH_F32_BELOW))
        return e.select(e.compare("olt", e.absolute(x), 0.0004), x, result)
    size = _at_most(e, e.absolute(x), 22.0)
    m = expm1(e, e.exact("fadd", size, size))
    return e.sign_of(e.exact("fdiv", m, e.exact("fadd", m, 2.0)), x)


def _erfc_positive(e: Emitter, size: Value) -> Value:
    """`erfc` of what is not negative: exp(-x²) times a polynomial in t = 2 / (2 + x)."""
    held = _at_most(e, size, _pick(size, 11.0, 28.0))
    t = e.exact("fdiv", e.like(held, 2.0), e.exact("fadd", held, 2.0))
    q = e.polynomial(e.exact("fsub", t, 0.5), _for(size, _ERFCX_F32, _ERFCX_F64))
    square = e.exact("fmul", held, held)
    power = exp(e, -square)
    # What rounding the square lost, since exp would multiply it.
    if e.target.fma:
        lost = e.fma(held, held, -square)
    else:
        mask = e.int_like(held, -(1 << _pick(held, 12, 27)))
        high = e.convert("bitcast", e.binary("and", e.bits(held), mask), held.type)
        low = e.exact("fsub", held, high)
        cross = e.exact("fmul", e.exact("fmul", high, 2.0), low)
        lost = e.exact("fadd", e.exact("fsub", e.exact("fmul", high, high), square), cross)
        lost = e.exact("fadd", lost, e.exact("fmul", low, low))
    power = e.fma(power, -lost, power)
    return e.exact("fmul", e.exact("fmul", q, t), power)


def erfc(e: Emitter, x: Value) -> Value:
    """`1 - erf(x)`."""
    tail = _erfc_positive(e, e.absolute(x))
    return e.select(e.compare("olt", x, 0.0), e.exact("fsub", e.like(x, 2.0), tail), tail)


def erf(e: Emitter, x: Value) -> Value:
    """Error function."""
    if x.type == "float":
        held = _at_least(e, _at_most(e, x, 4.0), -4.0)
        z = e.exact("fmul", held, held)
        # The ratio first: denormals must not be multiplied by small numbers.
        ratio = e.exact("fdiv", e.polynomial(z, _ERF_F32_ABOVE), e.polynomial(z, _ERF_F32_BELOW))
        return held * ratio
    size = e.absolute(x)
    outer = e.sign_of(e.exact("fsub", e.like(x, 1.0), _erfc_positive(e, size)), x)
    inner = e.exact("fmul", x, e.polynomial(e.exact("fmul", x, x), _ERF_F64))
    return e.select(e.compare("olt", size, 1.0), inner, outer)


def _reduce_angle(e: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """x = n π/2 + r with |r| ≤ π/4: sin r, cos r, and n as an integer."""
    n = _nearest(e, e.exact("fmul", x, 0.6366197723675814))
    if x.type == "double":
        parts = (1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
    elif e.target.fma:
        parts = (1.57079601287841796875, 3.1391647326017846e-07, 5.390302529957765e-15)
    else:
        parts = (1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8)
    r = x
    for part in parts:
        r = e.fma(n, -part, r)
    z = e.exact("fmul", r, r)
    cube = e.exact("fmul", z, r)
    sine = e.fma(cube, e.polynomial(z, _for(x, _SIN_F32, _SIN_F64)), r)
    rest = e.exact("fmul", e.exact("fmul", z, z), e.polynomial(z, _for(x, _COS_F32, _COS_F64)))
    half = e.exact("fmul", z, 0.5)
    one_minus = e.exact("fsub", e.like(x, 1.0), half)
    # 1 - z/2 + rest, with what the subtraction from 1 lost.
    lost = e.exact("fsub", e.exact("fsub", e.like(x, 1.0), one_minus), half)
    cosine = e.exact("fadd", one_minus, e.exact("fadd", lost, rest))
    return sine, cosine, _rounded_integer(e, n)


def _too_great(e: Emitter, x: Value) -> Value:
    """Lanes whose angle the reduction does not cover. Infinities and NaN, being covered, come out as NaN."""
    bound = _pick(x, 71476.0 if e.target.fma else 8192.0, 1e6)
    return e.compare("ogt", e.absolute(x), bound)


def _turned(e: Emitter, x: Value, quarter: int) -> Value:
    sine, cosine, n = _reduce_angle(e, x)
    if quarter:
        n = e.integer("add", n, quarter)
    odd = e.compare("ne", e.integer("and", n, 1), 0)
    value = e.select(odd, cosine, sine)
    flip = e.integer("shl", e.integer("and", n, 2), 8 * ELEMENT_BYTES[x.type] - 2)
    return e.convert("bitcast", e.integer("xor", e.bits(value), flip), x.type)


def sin(e: Emitter, x: Value) -> Value:
    """Sine."""
    # The reduction loses the sign of -0.
    usual = e.select(e.compare("oeq", x, 0.0), x, _turned(e, x, 0))
    return e.rarely(_too_great(e, x), usual, "sin" + _suffix(x), (x,))


def cos(e: Emitter, x: Value) -> Value:
    """Cosine."""
    return e.rarely(_too_great(e, x), _turned(e, x, 1), "cos" + _suffix(x), (x,))


def tan(e: Emitter, x: Value) -> Value:
    """Tangent."""
    sine, cosine, n = _reduce_angle(e, x)
    odd = e.compare("ne", e.integer("and", n, 1), 0)
    above = e.select(odd, -cosine, sine)
    usual = e.exact("fdiv", above, e.select(odd, sine, cosine))
    usual = e.select(e.compare("oeq", x, 0.0), x, usual)
    return e.rarely(_too_great(e, x), usual, "tan" + _suffix(x), (x,))


def _suffix(x: Value) -> str:
    return "f" if x.type == "float" else ""


def _asin_core(e: Emitter, x: Value) -> Value:
    """Arc sine on [-1/2, 1/2]."""
    z = e.exact("fmul", x, x)
    return e.fma(e.exact("fmul", x, z), e.polynomial(z, _for(x, _ASIN_F32, _ASIN_F64)), x)


def _asin_parts(e: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1/2, |x| or sqrt((1 - |x|) / 2), and the arc sine of that."""
    size = e.absolute(x)
    great = e.compare("ogt", size, 0.5)
    root = e.intrinsic("sqrt", e.fma(size, -0.5, 0.5))
    argument = e.select(great, root, size)
    return great, argument, _asin_core(e, argument)


_HALF_PI_LOW = {"float": -4.371139e-8, "double": 6.123233995736766e-17}


def asin(e: Emitter, x: Value) -> Value:
    """Arc sine."""
    great, _, small = _asin_parts(e, x)
    # π/2 - 2 asin(root), π/2 in two parts.
    rest = e.exact("fsub", e.like(x, _HALF_PI_LOW[x.type]), e.exact("fadd", small, small))
    wide = e.exact("fadd", rest, math.pi / 2)
    return e.sign_of(e.select(great, wide, small), x)


def acos(e: Emitter, x: Value) -> Value:
    """Arc cosine."""
    great, _, small = _asin_parts(e, x)
    low = _HALF_PI_LOW[x.type]
    double = e.exact("fadd", small, small)
    turned = e.exact("fadd", e.exact("fsub", e.like(x, 2 * low), double), math.pi)
    wide = e.select(e.compare("olt", x, 0.0), turned, double)
    near = e.exact("fadd", e.exact("fsub", e.like(x, low), e.sign_of(small, x)), math.pi / 2)
    return e.select(great, wide, near)


def _atan_ratio(e: Emitter, above: Value, below: Value) -> Value:
    """Arc tangent of above / below, both ≥ 0 and above ≤ below (0 / 0: 0, inf / inf: π/4)."""
    great = e.compare("ogt", above, e.exact("fmul", below, math.tan(math.pi / 8)))
    infinite = e.compare("oeq", above, _INF)
    great = e.binary("or", great, infinite)
    n = e.select(great, e.exact("fsub", above, below), above)
    d = e.select(great, e.exact("fadd", above, below), below)
    t = e.exact("fdiv", n, d)
    t = e.select(e.compare("oeq", d, 0.0), 0.0, t)
    t = e.select(infinite, 0.0, t)
    z = e.exact("fmul", t, t)
    core = e.fma(e.exact("fmul", t, z), e.polynomial(z, _for(t, _ATAN_F32, _ATAN_F64)), t)
    return e.select(great, e.exact("fadd", core, math.pi / 4), core)


def atan(e: Emitter, x: Value) -> Value:
    """Arc tangent."""
    size = e.absolute(x)
    one = e.like(x, 1.0)
    beyond = e.compare("ogt", size, one)
    above, below = e.select(beyond, one, size), e.select(beyond, size, one)
    angle = _atan_ratio(e, above, below)
    turned = e.exact("fadd", e.exact("fsub", e.like(x, _HALF_PI_LOW[x.type]), angle), math.pi / 2)
    return e.sign_of(e.select(beyond, turned, angle), x)


def atan2(e: Emitter, y: Value, x: Value) -> Value:
    """Angle of the point (x, y)."""
    y, x = e.level_up((y, x))
    across, up = e.absolute(x), e.absolute(y)
    steep = e.compare("ogt", up, across)
    # Halved so that neither sums nor products with them overflow, unless they are so small that halving
    # loses.
    angle = _scaled_ratio(e, e.select(steep, across, up), e.select(steep, up, across))
    low = _HALF_PI_LOW[x.type]
    turned = e.exact("fadd", e.exact("fsub", e.like(x, low), angle), math.pi / 2)
    angle = e.select(steep, turned, angle)
    # The sign bit, not a comparison: -0 is on the left too.
    left = e.compare("slt", e.bits(x), 0)
    behind = e.exact("fadd", e.exact("fsub", e.like(x, 2 * low), angle), math.pi)
    angle = e.sign_of(e.select(left, behind, angle), y)
    return e.select(e.compare("uno", x, y), e.exact("fadd", x, y), angle)


def _scaled_ratio(e: Emitter, above: Value, below: Value) -> Value:
    great = e.compare("ogt", below, _pick(below, 2.0**100, 2.0**1000))
    small = e.compare("olt", below, _pick(below, 2.0**-100, 2.0**-1000))
    down, up = _pick(below, 2.0**-60, 2.0**-60), _pick(below, 2.0**60, 2.0**60)
    factor = e.select(great, e.like(below, down), e.select(small, e.like(below, up), e.like(below, 1.0)))
    return _atan_ratio(e, e.exact("fmul", above, factor), e.exact("fmul", below, factor))


def sinh(e: Emitter, x: Value) -> Value:
    """Hyperbolic sine."""
    size = e.absolute(x)
    half = exp(e, size, shift=-1)
    outer = e.sign_of(e.exact("fsub", half, e.exact("fdiv", e.like(x, 0.25), half)), x)
    z = e.exact("fmul", x, x)
    inner = e.fma(e.exact("fmul", x, z), e.polynomial(z, _for(x, _SINH_F32, _SINH_F64)), x)
    return e.select(e.compare("olt", size, 1.0), inner, outer)


def cosh(e: Emitter, x: Value) -> Value:
    """Hyperbolic cosine."""
    half = exp(e, e.absolute(x), shift=-1)
    return e.exact("fadd", half, e.exact("fdiv", e.like(x, 0.25), half))


def asinh(e: Emitter, x: Value) -> Value:
    """Inverse hyperbolic sine."""
    size = e.absolute(x)
    huge = e.compare("ogt", size, _pick(x, 1e9, 1e17))
    z = e.exact("fmul", size, size)
    root = e.intrinsic("sqrt", e.exact("fadd", z, 1.0))
    argument = e.exact("fadd", size, e.exact("fdiv", z, e.exact("fadd", root, 1.0)))
    usual = log1p(e, e.select(huge, size, argument))
    return e.sign_of(e.select(huge, e.exact("fadd", usual, math.log(2.0)), usual), x)


def acosh(e: Emitter, x: Value) -> Value:
    """Inverse hyperbolic cosine."""
    huge = e.compare("ogt", x, _pick(x, 1e9, 1e17))
    t = e.exact("fsub", x, 1.0)
    root = e.intrinsic("sqrt", e.fma(t, t, e.exact("fadd", t, t)))
    usual = log1p(e, e.select(huge, x, e.exact("fadd", t, root)))
    result = e.select(huge, e.exact("fadd", usual, math.log(2.0)), usual)
    return e.select(e.compare("olt", x, 1.0), _NAN, result)


def atanh(e: Emitter, x: Value) -> Value:
    """Inverse hyperbolic tangent."""
    size = e.absolute(x)
    ratio = e.exact("fdiv", e.exact("fadd", size, size), e.exact("fsub", e.like(x, 1.0), size))
    return e.sign_of(e.exact("fmul", log1p(e, ratio), 0.5), x)


def rsqrt(e: Emitter, x: Value) -> Value:
    """`1 / sqrt(x)`."""
    return e.exact("fdiv", e.like(x, 1.0), e.intrinsic("sqrt", x))


def _pow_f32(e: Emitter, x: Value, y: Value) -> Value:
    """`x ** y` in f32, its logarithm and power taken in f64 so that the last bits are right."""
    size = e.convert("fpext", e.absolute(x), "double")
    exponent = e.convert("fpext", y, "double")
    f, k = _log_parts(e, size)
    s = e.exact("fdiv", f, e.exact("fadd", f, 2.0))
    logarithm = e.fma(s, e.polynomial(e.exact("fmul", s, s), _LOG2_F64_SHORT), k)
    zero, infinite = e.compare("oeq", size, 0.0), e.compare("oeq", size, _INF)
    logarithm = e.select(zero, -_INF, e.select(infinite, _INF, logarithm))
    power = e.exact("fmul", logarithm, exponent)
    power = _at_least(e, _at_most(e, power, 200.0), -200.0)
    n = _nearest(e, power)
    value = _scale(e, e.polynomial(e.exact("fsub", power, n), _EXP2_F64_SHORT), n)
    return e.convert("fptrunc", value, "float")


def pow(e: Emitter, x: Value, y: Value) -> Value:
    """`x ** y`."""
    x, y = e.level_up((x, y))
    if x.type == "double":
        return e.by_lanes("pow", (x, y))
    value = _pow_f32(e, x, y)
    # Whole and odd exponents keep a negative base's sign; others of it are NaN.
    whole = e.compare("oeq", _truncated(e, y), y)
    half = e.exact("fmul", y, 0.5)
    odd_exponent = e.compare("one", _truncated(e, half), half)
    huge = e.compare("oge", e.absolute(y), 2.0**24)
    odd = e.select(
        huge, e.const("i1", False, x.lanes), e.select(whole, odd_exponent, e.const("i1", False, x.lanes))
    )
    value = e.select(odd, e.sign_of(value, x), value)
    finite = e.compare("ogt", x, -_INF)
    negative = e.select(finite, e.compare("olt", x, 0.0), e.const("i1", False, x.lanes))
    value = e.select(e.select(whole, e.const("i1", False, x.lanes), negative), _NAN, value)
    value = e.select(e.compare("uno", x, y), e.exact("fadd", x, y), value)
    infinite_power = e.compare("oeq", e.absolute(y), _INF)
    unit = e.select(infinite_power, e.absolute(x), x)
    value = e.select(e.compare("oeq", unit, 1.0), 1.0, value)
    return e.select(e.compare("oeq", y, 0.0), 1.0, value)


def _truncated(e: Emitter, x: Value) -> Value:
    if e.target.isa != "generic":
        return e.intrinsic("trunc", x)
    # Without a rounding instruction: through integers, for what has a fraction at all.
    bound = 2.0 ** _MANTISSA_BITS[x.type]
    small = e.compare("olt", e.absolute(x), bound)
    inside = e.select(small, x, 0.0)
    integer = e.convert("fptosi", inside, f"i{8 * ELEMENT_BYTES[x.type]}")
    return e.select(small, e.sign_of(e.convert("sitofp", integer, x.type), x), x)


def trunc(e: Emitter, x: Value) -> Value:
    """Integer part."""
    return _truncated(e, x)


def floor(e: Emitter, x: Value) -> Value:
    """Greatest integer not above."""
    if e.target.isa != "generic":
        return e.intrinsic("floor", x)
    whole = _truncated(e, x)
    lower = e.exact("fsub", whole, 1.0)
    return e.sign_of(e.select(e.compare("ogt", whole, x), lower, whole), x)


def ceil(e: Emitter, x: Value) -> Value:
    """Least integer not below."""
    if e.target.isa != "generic":
        return e.intrinsic("ceil", x)
    whole = _truncated(e, x)
    upper = e.exact("fadd", whole, 1.0)
    return e.sign_of(e.select(e.compare("olt", whole, x), upper, whole), x)


def rint(e: Emitter, x: Value) -> Value:
    """Nearest integer, halves to even."""
    if e.target.isa != "generic":
        return e.intrinsic("rint", x)
    rounder = 2.0 ** _MANTISSA_BITS[x.type]
    size = e.absolute(x)
    whole = e.exact("fsub", e.exact("fadd", size, rounder), rounder)
    return e.select(e.compare("olt", size, rounder), e.sign_of(whole, x), x)


def fence(e: Emitter, x: Value) -> Value:
    """The number itself, rounded."""
    return e.intrinsic("arithmetic.fence", x)


def truncmod(e: Emitter, x: Value, y: Value) -> Value:
    """Remainder with the sign of x, exactly as C's fmod."""
    x, y = e.level_up((x, y))
    if not e.target.fma:
        return e.by_lanes("fmod" + _suffix(x), (x, y))
    quotient = e.exact("fdiv", x, y)
    # With a quotient this small, whole * y is exact in the fma and at most one y off.
    whole = e.intrinsic("trunc", quotient)
    rest = e.fma(-whole, y, x)
    step = e.sign_of(e.absolute(y), x)
    past = e.compare("slt", e.integer("xor", e.bits(rest), e.bits(x)), 0)
    nonzero = e.compare("one", rest, 0.0)
    rest = e.select(e.select(nonzero, past, e.const("i1", False, x.lanes)), e.exact("fadd", rest, step), rest)
    rest = e.select(e.compare("oge", e.absolute(rest), e.absolute(y)), e.exact("fsub", rest, step), rest)
    usual = e.sign_of(rest, x)
    # Also where anything is infinite or NaN, zero or denormal: the slow way knows.
    fine = e.compare("olt", e.absolute(quotient), _pick(x, 2.0**22, 2.0**51))
    normal = e.compare("oge", e.absolute(y), _LEAST_NORMAL[x.type] * 2.0**30)
    bounded = e.compare("olt", e.absolute(y), _INF)
    off = e.const("i1", False, x.lanes)
    sure = e.select(fine, e.select(normal, bounded, off), off)
    rare = e.binary("xor", sure, e.const("i1", True, x.lanes))
    return e.rarely(rare, usual, "fmod" + _suffix(x), (x, y))


def floormod(e: Emitter, x: Value, y: Value) -> Value:
    """Remainder with the sign of y."""
    rest = truncmod(e, x, y)
    rest, y = e.level_up((rest, y))
    apart = e.compare("slt", e.integer("xor", e.bits(rest), e.bits(y)), 0)
    nonzero = e.compare("one", rest, 0.0)
    shifted = e.exact("fadd", rest, y)
    return e.select(e.select(nonzero, apart, e.const("i1", False, rest.lanes)), shifted, rest)


def floordiv(e: Emitter, x: Value, y: Value) -> Value:
    """The floor of x / y."""
    return floor(e, e.exact("fdiv", *e.level_up((x, y))))


def lgamma(e: Emitter, x: Value) -> Value:
    """Logarithm of the gamma function's absolute value, by libm."""
    return e.by_lanes("lgamma" + _suffix(x), (x,))


def sqrt(e: Emitter, x: Value) -> Value:
    """Square root."""
    return e.intrinsic("sqrt", x)


UNARY: dict[str, Callable[[Emitter, Value], Value]] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "sqrt": sqrt,
    "rsqrt": rsqrt,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "erfc": erfc,
    "lgamma": lgamma,
    "fence": fence,
    "floor": floor,
    "ceil": ceil,
    "rint": rint,
    "round": rint,
    "trunc": trunc,
}

BINARY: dict[str, Callable[[Emitter, Value, Value], Value]] = {
    "pow": pow,
    "atan2": atan2,
    "truncmod": truncmod,
    "floormod": floormod,
    "floordiv": floordiv,
    "max": maximum,
    "maxnum": greater_number,
    "min": minimum,
}
