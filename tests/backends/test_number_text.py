"""Lists of numbers straight from JSON text: the doubles that other readers find, or nothing."""

from __future__ import annotations

import random
import struct

import numpy as np
import orjson
import pytest

from graphflow.backends.cpu.number_text import read_numbers

DOUBLE = np.dtype(np.float64)


def read(text: str) -> tuple[np.ndarray, int] | None:
    return read_numbers(text.encode(), 0, DOUBLE, 1e300)


def some(draw: random.Random) -> str:
    """A number of any kind, as JSON has it."""
    kind = draw.randrange(6)
    if kind == 0:
        return repr(draw.uniform(-1, 1) * 10.0 ** draw.randint(-90, 90))
    if kind == 1:
        return str(draw.randint(-(10 ** draw.randint(0, 20)), 10 ** draw.randint(0, 20)))
    if kind == 2:
        return str(np.float32(draw.gauss(0, 1)))
    if kind == 3:
        return f"{draw.randint(0, 10 ** draw.randint(0, 19))}e{draw.randint(-80, 80)}"
    if kind == 4:
        sign = draw.choice(["", "+", "-"])
        tenths = f"{draw.randint(0, 10 ** draw.randint(0, 17)):0{draw.randint(1, 18)}d}"
        return f"-{draw.randint(0, 99)}.{tenths}E{sign}{draw.randint(0, 30)}"
    # Half way between two doubles.
    return str((2 * (draw.getrandbits(53) | 1 << 52) + 1) << draw.randint(0, 9))


def test_each_number_is_the_nearest_double() -> None:
    draw = random.Random(5)
    taken = 0
    for _ in range(5000):
        text = some(draw)
        found = read(f"[{text}]")
        if found is not None:
            taken += 1
            assert struct.pack("<d", float(orjson.loads(text))) == found[0].tobytes(), text
    assert taken > 3000
    edges = "0 -0 -0.0 0.0 0e3 -0e3 1e22 1e23 9007199254740993 9007199254740992 5e-64"
    for text in (*edges.split(), "0.00000000000000000000012345678901"):
        found = read(f"[{text}]")
        assert found is not None and struct.pack("<d", float(orjson.loads(text))) == found[0].tobytes(), text


@pytest.mark.parametrize(
    "text", ["[ 1 ,\n-2.5\t]", "[[1,2],[3,4]]", "[ [[1]] , [[2e1]] ]", "[" * 8 + "1" + "]" * 8]
)
def test_lists_within_lists(text: str) -> None:
    found = read(text + "]]")  # what follows is none of its business
    assert found is not None
    assert found[0].tolist() == orjson.loads(text) and found[1] == len(text)


def test_long_texts_and_types() -> None:
    values = np.random.default_rng(3).standard_normal((300, 40)).astype(np.float32)
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    for start in (b"", b" " * (1 << 16)):
        found = read_numbers(start + text, len(start), np.dtype(np.float32), 1e30)
        assert found is not None and found[0].dtype == np.float32 and found[1] == len(start) + len(text)
        np.testing.assert_array_equal(found[0], values)
    assert read_numbers(text, 0, DOUBLE, 0.5) is None  # some are larger


@pytest.mark.parametrize(
    "text",
    """[] [[]] [1,] [,1] [01] [-] [1.] [.5] [+1] [1e] [1e+] [[1],2] [1,[2]] [[1,2],[3]] [[1],[[2]]] [1_2] [true] [NaN]
    [1 [[1] ["1"] [1,null] [--1] [1.2.3] [1e1e1] [0x1] [-01] [00] [1e5.5] [1e99] [1e-99] [12345678901234567890] {} x
    [[[[[[[[[1]]]]]]]]] [1e1000000000000000000000]""".split(),
)  # fmt: skip
def test_all_else_is_left_to_others(text: str) -> None:
    assert read(text) is None
    assert read(text + "\0") is None
