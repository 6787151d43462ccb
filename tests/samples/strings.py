"""Samples of ops on texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import BFLOAT16, Array, Sample, samples
from tests.samples.io import texts


def text(value: bytes) -> Array:
    return np.array(value, object)


MIXED = texts(b"", b"a", b"Ab c", " \tümlaut\n ".encode(), b"\xff\0x", b"x" * 70)


@samples("StringLength")
def length_samples() -> Iterator[Sample]:
    yield Sample([MIXED.reshape(2, 3)])
    yield Sample([texts(b"", b"abc", "ümlaut€".encode())], {"unit": "UTF8_CHAR"})
    yield Sample([texts()], name="empty")


@samples("StringLower", "StringUpper")
def case_samples() -> Iterator[Sample]:
    yield Sample([MIXED])
    yield Sample([texts("ÄöÜ ß".encode(), b"aZ")], {"encoding": "utf-8"})


@samples("StringStrip")
def strip_samples() -> Iterator[Sample]:
    yield Sample([MIXED])
    yield Sample([text(b"\v\f x y\r\n")])


@samples("EncodeBase64")
def encode_samples() -> Iterator[Sample]:
    for pad in (True, False):
        yield Sample([texts(b"", b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfb")], {"pad": pad})


@samples("DecodeBase64")
def decode_samples() -> Iterator[Sample]:
    yield Sample([texts(b"", b"YQ", b"YQ==", b"YWI", b"YWJj", b"__79-w")])


@samples("Substr")
def substr_samples() -> Iterator[Sample]:
    words = texts(b"Hello", b"World!")
    yield Sample([words, np.int32(1), np.int32(3)])
    yield Sample([words, np.array([-5, 6], np.int64), np.array([2, 100], np.int64)])
    yield Sample([words.reshape(2, 1), np.array([0, 1, 2], np.int32), np.array([1, 2, 3], np.int32)])
    yield Sample([texts("ümlaut".encode()), np.int32(0), np.int32(2)], {"unit": "UTF8_CHAR"})


@samples("StringSplit")
def split_samples() -> Iterator[Sample]:
    lines = texts(b"a b  c", b"", b"d", b" e,f ")
    yield Sample([lines, text(b" ")])
    yield Sample([lines, text(b" ,")], {"skip_empty": False})
    yield Sample([texts(b"abc", b"d"), text(b"")])
    yield Sample([texts(), text(b" ")], name="empty")


@samples("StringSplitV2")
def split_v2_samples() -> Iterator[Sample]:
    lines = texts(b"a  b\tc ", b"", b"<>d<>e")
    yield Sample([lines, text(b"")])
    yield Sample([lines, text(b"<>")])
    yield Sample([lines, text(b"<>")], {"maxsplit": 1})


@samples("ReduceJoin")
def reduce_join_samples() -> Iterator[Sample]:
    table = texts(b"a", b"b", b"c", b"d", b"e", b"f").reshape(2, 3)
    for axes in ([0], [1], [0, 1], [1, 0], [-1]):
        yield Sample([table, np.array(axes, np.int32)], {"separator": "."}, constant=(1,))
    yield Sample([table, np.array([0], np.int32)], {"keep_dims": True}, constant=(1,))
    yield Sample([table, np.int32(1)], constant=(1,), name="scalar axis")
    yield Sample([table, np.array([], np.int32)], constant=(1,), name="no axis")


@samples("RegexReplace")
def replace_samples() -> Iterator[Sample]:
    yield Sample([texts(b"aba", b"xay"), text(b"a(.)"), text(rb"<\1\0>")])
    yield Sample([texts(b"aba"), text(b"a"), text(b"")], {"replace_global": False})
    words = texts(b"hello big world", "\u00e9a \u4e16\u754c, x!".encode(), b"abcd\nABK", b"", b"xxaxx")
    for pattern, rewrite in (
        (rb"(\w+) (\w+)", rb"\2 \1"), (b"x*", b"-"), (b"(a|ab)(c|bcd)(d*)", rb"<\1.\2.\3>"), (b"(?i)[k-m]+", b"#"),
        (b".", b"_"), (b"[[:punct:][:space:]]", b""), (rb"\pL+", b"W"), (b"^|$", b"|"), (b"(?m)^a|d$", b"|"),
        (rb"\b", b"'"), (rb"\Qa\E[^a-w]??", b"<\\0>"), (b"(?U)l.*", b"L"), (b"(?s:b.*?)B(?P<k>.)", rb"\1"),
        (b"(l+|o)+", rb"(\1)"), (rb"[\x{4e16}-\x{9fff}]", rb"\\"), (b"(a*)*|b", rb"[\1]"), (b"(?:a?){3}", b"."),
    ):  # fmt: skip
        yield Sample([words, text(pattern), text(rewrite)], name=pattern.decode())


@samples("StaticRegexReplace")
def static_replace_samples() -> Iterator[Sample]:
    yield Sample([texts(b"aba", b"xay")], {"pattern": "a|y", "rewrite": r"\\\0"})
    yield Sample([texts(b"aba")], {"pattern": "a", "rewrite": "_", "replace_global": False})


@samples("RegexFullMatch")
def match_samples() -> Iterator[Sample]:
    yield Sample([texts(b"abc", b"ab", b""), text(b"a.*c|")])
    long = texts(b"a" * 3000, b"a" * 3000 + b"b")
    for pattern in (b"(a+)+b", b"(a|a)*", b"(.*)(.*)(.*)(.*)x", b"((a?){20})*b", b"(?:a*)*$"):
        yield Sample([long, text(pattern)], name=f"hostile {pattern.decode()}")


@samples("StaticRegexFullMatch")
def static_match_samples() -> Iterator[Sample]:
    yield Sample([texts(b"12", b"1a", b"")], {"pattern": r"\d+"})


@samples("StringToNumber")
def number_samples() -> Iterator[Sample]:
    for dtype in (dtypes.float32, dtypes.float64):
        yield Sample([texts(b"1.5", b"-3e4", b"inf", b"1e-50", b" 7 ")], {"out_type": dtype})
    for dtype in (dtypes.int32, dtypes.int64):
        yield Sample([texts(b"15", b"-3", b" 7 ")], {"out_type": dtype})


@samples("AsString")
def as_string_samples() -> Iterator[Sample]:
    numbers = np.array([3.14159, -0.0, 1e-7, 12345678.0])
    for dtype in (np.float32, np.float64, np.float16, BFLOAT16):
        with np.errstate(over="ignore"):
            yield Sample([numbers.astype(dtype)])
    yield Sample([numbers], {"precision": 2, "width": 10, "fill": "0"})
    yield Sample([numbers], {"scientific": True})
    yield Sample([numbers], {"shortest": True, "fill": "+"})
    yield Sample([np.array([np.inf, -np.inf, np.nan])])
    yield Sample([np.array([1, -20, 300], np.int64)], {"width": 5, "fill": "-"})
    yield Sample([np.array([0, 255], np.uint8)])
    yield Sample([np.array([True, False])])
    yield Sample([np.array([1 + 2j], np.complex64)], {"precision": 1})
    yield Sample([texts(b"a", b"\xffb")], {"width": 4})


@samples("StringToHashBucket", "StringToHashBucketFast")
def hash_samples() -> Iterator[Sample]:
    sizes = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200)
    words = [bytes((7 * i + 3 * size) % 256 for i in range(size)) for size in sizes]
    yield Sample([texts(*words)], {"num_buckets": 2**62 + 1})
    yield Sample([texts(b"a", b"b", b"c").reshape(1, 3)], {"num_buckets": 10})


@samples("StringToHashBucketStrong")
def strong_hash_samples() -> Iterator[Sample]:
    words = texts(b"", b"a", b"12345678", b"a longer text of some bytes")
    yield Sample([words], {"num_buckets": 2**62 + 1, "key": [123, -456]})


@samples("UnsortedSegmentJoin")
def segment_join_samples() -> Iterator[Sample]:
    words = texts(b"a", b"b", b"\xff\0", b"", b"e", b"f")
    yield Sample([words, np.array([1, 0, 1, 3, 0, 1], np.int32), np.int32(4)])
    yield Sample([words, np.array([1, 0, 1, 3, 0, 1]), np.int64(5)], {"separator": ", "})
    yield Sample([words.reshape(3, 2), np.array([2, 0, 2], np.int32), np.int32(3)], {"separator": "-"})
    yield Sample([words.reshape(3, 2), np.array([[2, 0], [2, 1], [0, 0]]), np.int32(3)], {"separator": "-"})
    yield Sample([words[:0], np.zeros(0, np.int32), np.int32(2)], name="empty")


@samples("Fingerprint")
def fingerprint_samples() -> Iterator[Sample]:
    method = text(b"farmhash64")
    yield Sample([MIXED, method])
    yield Sample([MIXED.reshape(2, 3), method])
    yield Sample([np.arange(12, dtype=np.float32).reshape(2, 3, 2), method])
    yield Sample([np.array([0, 1, 255], np.uint8), method])
    yield Sample([np.array([[1.5, np.nan], [0.0, -0.0]], BFLOAT16), method])
    yield Sample([np.zeros((3, 0), np.int64), method], name="empty rows")
    yield Sample([np.zeros((0, 2), np.int64), method], name="empty")
