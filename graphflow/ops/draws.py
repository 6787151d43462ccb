"""Random numbers one after another, as TensorFlow's kernels that draw by hand take them from the generator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphflow.ops.random import philox

_AHEAD = 64  # samples that are made at a time


class Draws:
    """Numbers from the words of the generator, in order."""

    def __init__(self, key: tuple[int, int], counter: int) -> None:
        self._words = self._made(key, counter)

    @staticmethod
    def _made(key: tuple[int, int], counter: int) -> Iterator[int]:
        while True:
            yield from philox(key, counter, _AHEAD).reshape(-1).tolist()
            counter += _AHEAD

    def unit(self) -> np.float32:
        """A float32 in [0, 1)."""
        bits = np.array(next(self._words) & 0x7FFFFF | 127 << 23, np.uint32)
        return np.float32(bits.view(np.float32) - np.float32(1))

    def wide_unit(self) -> float:
        """A float64 in [0, 1)."""
        high, low = next(self._words), next(self._words)
        bits = np.array(1023 << 52 | (high & 0xFFFFF) << 32 | low, np.uint64)
        return float(bits.view(np.float64) - 1.0)

    def below(self, count: int) -> int:
        """An integer in [0, count), from 32 bits."""
        return self._below(count, self.word, 0xFFFFFFFF)

    def wide_below(self, count: int) -> int:
        """An integer in [0, count), from 64 bits."""
        return self._below(count, self.wide_word, 0xFFFFFFFFFFFFFFFF)

    def word(self) -> int:
        """32 bits."""
        return next(self._words)

    def wide_word(self) -> int:
        """64 bits."""
        low = next(self._words)
        return low | next(self._words) << 32

    @staticmethod
    def _below(count: int, draw: object, greatest: int) -> int:
        assert callable(draw)
        if count & (count - 1) == 0:
            return int(draw()) & (count - 1)
        least = greatest % count + 1  # smaller words would make small numbers more frequent
        while (word := int(draw())) < least:
            pass
        return word % count
