"""Samples of letters of Unicode and of n-grams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow import dtypes
from tests.samples import Array, Sample, samples


def texts(*items: bytes) -> Array:
    result: Array = np.empty(len(items), object)
    result[:] = items
    return result


WORDS = texts("h\u00e9llo \u4e16\u754c \U0001f600".encode(), b"", b"a\tb\x01c")
BROKEN = texts(b"a\xffb", b"\xe4\xb8", b"\xc3(", b"ok", b"\xf0\x9f\x98", b"\xed\xa0\x80x", b"\x80\x80")


@samples("UnicodeTranscode")
def transcode_samples() -> Iterator[Sample]:
    for encoding in ("UTF-8", "UTF-16-BE", "UTF-32-BE"):
        yield Sample([WORDS], {"input_encoding": "UTF-8", "output_encoding": encoding})
    for errors in ("replace", "ignore"):
        yield Sample(
            [BROKEN], {"input_encoding": "UTF-8", "output_encoding": "UTF-8", "errors": errors}, name=errors
        )
    attrs = {"input_encoding": "UTF-8", "output_encoding": "UTF-8", "replace_control_characters": True}
    yield Sample([WORDS], {**attrs, "replacement_char": ord("?")}, name="controls")
    wide = texts("a\u00e9\ufeff".encode("utf-16-be"), b"\xff\xfea\0", b"\xfe\xff\0b")
    yield Sample([wide], {"input_encoding": "UTF-16", "output_encoding": "UTF-8"}, name="marks")
    for encoding in ("ISO-8859-1", "US-ASCII", "windows-1252"):
        yield Sample(
            [texts(b"a\xe9z")], {"input_encoding": encoding, "output_encoding": "UTF-8"}, name=encoding
        )


@samples("UnicodeDecode")
def broken_samples() -> Iterator[Sample]:
    for errors in ("replace", "ignore"):
        yield Sample(
            [BROKEN], {"input_encoding": "UTF-8", "errors": errors, "Tsplits": dtypes.int32}, name=errors
        )


@samples("UnicodeDecode", "UnicodeDecodeWithOffsets")
def decode_samples() -> Iterator[Sample]:
    yield Sample([WORDS.reshape(3, 1)], {"input_encoding": "UTF-8"})
    wide = texts("a\U0001f600b".encode("utf-16-be"))
    yield Sample([wide], {"input_encoding": "UTF-16-BE", "replace_control_characters": True}, name="wide")


@samples("UnicodeEncode")
def encode_samples() -> Iterator[Sample]:
    codes = np.array([104, 233, 0x4E16, 0x1F600, 0xD800, 0x110000, -1], np.int32)
    for errors in ("replace", "ignore"):
        for encoding in ("UTF-8", "UTF-16-BE", "UTF-32-BE"):
            yield Sample(
                [codes, np.array([0, 2, 2, 7])], {"errors": errors, "output_encoding": encoding}, name=errors
            )
    yield Sample([codes[:2], np.array([0, 2], np.int32)], {"errors": "strict", "output_encoding": "UTF-8"})


@samples("UnicodeScript")
def script_samples() -> Iterator[Sample]:
    yield Sample([np.array([[65, 0x3B1, 0x416], [0x4E16, 0x1F600, 32]], np.int32)])
    yield Sample([np.array([-1, 0x110000, 0xD800, 0x10FFFF, 2**31 - 1], np.int32)], name="no letters")
    yield Sample([np.arange(0, 0x20000, 37, dtype=np.int32)], name="many")


@samples("StringNGrams")
def ngram_samples() -> Iterator[Sample]:
    data = texts(b"a", b"b", b"c", b"d", b"e")
    for widths, pad, keep in (
        ([2], 0, False),
        ([1, 3], -1, False),
        ([4], 1, True),
        ([2, 9], 2, False),
        ([5], 0, True),
    ):
        attrs = {"separator": "|", "ngram_widths": widths, "left_pad": "<", "right_pad": ">", "pad_width": pad,
                 "preserve_short_sequences": keep}  # fmt: skip
        yield Sample([data, np.array([0, 3, 3, 4, 5])], attrs)
    attrs = {"separator": " ", "ngram_widths": [2], "left_pad": "", "right_pad": "", "pad_width": 0,
             "preserve_short_sequences": False}  # fmt: skip
    yield Sample([data[:0], np.array([0, 0], np.int32)], attrs, name="empty")
