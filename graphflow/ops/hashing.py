"""Hashes of texts, the very numbers that TensorFlow gives: FarmHash's fingerprint, MurmurHash, SipHash."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFFFFFFFFFF
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F


def _word(text: bytes, at: int) -> int:
    return int.from_bytes(text[at : at + 8], "little")


def _half(text: bytes, at: int) -> int:
    return int.from_bytes(text[at : at + 4], "little")


def _right(value: int, count: int) -> int:
    value &= _MASK
    return (value >> count | value << (64 - count)) & _MASK


def _mixed(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _two(u: int, v: int, factor: int) -> int:
    a = _mixed((u ^ v) * factor)
    b = _mixed((v ^ a) * factor)
    return b * factor & _MASK


def _short(text: bytes) -> int:
    size = len(text)
    factor = _K2 + size * 2
    if size >= 8:
        a = _word(text, 0) + _K2 & _MASK
        b = _word(text, size - 8)
        c = _right(b, 37) * factor + a & _MASK
        d = (_right(a, 25) + b) * factor & _MASK
        return _two(c, d, factor)
    if size >= 4:
        return _two(size + (_half(text, 0) << 3), _half(text, size - 4), factor)
    if size:
        y = text[0] + (text[size >> 1] << 8)
        z = size + (text[-1] << 2)
        return _mixed(y * _K2 ^ z * _K0) * _K2 & _MASK
    return _K2


def _middling(text: bytes) -> int:
    size = len(text)
    factor = _K2 + size * 2
    a = _word(text, 0) * _K1 & _MASK
    b = _word(text, 8)
    c = _word(text, size - 8) * factor & _MASK
    d = _word(text, size - 16) * _K2 & _MASK
    return _two(_right(a + b, 43) + _right(c, 30) + d & _MASK, a + _right(b + _K2, 18) + c & _MASK, factor)


def _longer(text: bytes) -> int:
    size = len(text)
    factor = _K2 + size * 2
    a = _word(text, 0) * _K2 & _MASK
    b = _word(text, 8)
    c = _word(text, size - 8) * factor & _MASK
    d = _word(text, size - 16) * _K2 & _MASK
    y = _right(a + b, 43) + _right(c, 30) + d & _MASK
    z = _two(y, a + _right(b + _K2, 18) + c & _MASK, factor)
    e = _word(text, 16) * factor & _MASK
    f = _word(text, 24)
    g = (y + _word(text, size - 32)) * factor & _MASK
    h = (z + _word(text, size - 24)) * factor & _MASK
    return _two(_right(e + f, 43) + _right(g, 30) + h & _MASK, e + _right(f + a, 18) + g & _MASK, factor)


def _weak(text: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = struct.unpack_from("<4Q", text, at)
    a = a + w & _MASK
    b = _right(b + a + z, 21)
    c = a
    a = a + x + y & _MASK
    b = b + _right(a, 44) & _MASK
    return a + z & _MASK, b + c & _MASK


def cat_fingerprints(first: int, second: int) -> int:
    """Two 64-bit fingerprints as one; their order counts."""
    factor = 0xC6A4A7935BD1E995
    total = first ^ factor ^ _mixed(second * factor) * factor
    return _mixed(_mixed(total * factor) * factor)


def farm_hash(text: bytes) -> int:
    """FarmHash's 64-bit fingerprint."""
    size = len(text)
    if size <= 16:
        return _short(text)
    if size <= 32:
        return _middling(text)
    if size <= 64:
        return _longer(text)
    x = 81
    y = x * _K1 + 113 & _MASK
    z = _mixed(y * _K2 + 113) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    x = x * _K2 + _word(text, 0) & _MASK
    end = (size - 1) // 64 * 64
    for at in range(0, end, 64):
        x = _right(x + y + v[0] + _word(text, at + 8), 37) * _K1 & _MASK
        y = _right(y + v[1] + _word(text, at + 48), 42) * _K1 & _MASK
        x ^= w[1]
        y = y + v[0] + _word(text, at + 40) & _MASK
        z = _right(z + w[0], 33) * _K1 & _MASK
        v = _weak(text, at, v[1] * _K1, x + w[0])
        w = _weak(text, at + 32, z + w[1], y + _word(text, at + 16))
        z, x = x, z
    factor = _K1 + ((z & 0xFF) << 1)
    at = size - 64
    w = w[0] + (size - 1 & 63) & _MASK, w[1]
    v = v[0] + w[0] & _MASK, v[1]
    w = w[0] + v[0] & _MASK, w[1]
    x = _right(x + y + v[0] + _word(text, at + 8), 37) * factor & _MASK
    y = _right(y + v[1] + _word(text, at + 48), 42) * factor & _MASK
    x ^= w[1] * 9 & _MASK
    y = y + v[0] * 9 + _word(text, at + 40) & _MASK
    z = _right(z + w[0], 33) * factor & _MASK
    v = _weak(text, at, v[1] * factor, x + w[0])
    w = _weak(text, at + 32, z + w[1], y + _word(text, at + 16))
    z, x = x, z
    return _two(
        _two(v[0], w[0], factor) + _mixed(y) * _K0 + z & _MASK, _two(v[1], w[1], factor) + x & _MASK, factor
    )


def murmur_hash(text: bytes, seed: int = 0xDECAFCAFFE) -> int:
    """MurmurHash64A."""
    factor = 0xC6A4A7935BD1E995
    value = seed ^ len(text) * factor & _MASK
    whole = len(text) // 8 * 8
    for at in range(0, whole, 8):
        value = (value ^ _mixed(_word(text, at) * factor) * factor & _MASK) * factor & _MASK
    if whole < len(text):
        value = (value ^ int.from_bytes(text[whole:], "little")) * factor & _MASK
    return _mixed(_mixed(value) * factor)


def sip_hash(text: bytes, key0: int, key1: int) -> int:
    """SipHash-2-4 under a key of two 64-bit numbers."""
    k0, k1 = key0 & _MASK, key1 & _MASK
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = v0 + v1 & _MASK
            v1 = _right(v1, 51) ^ v0
            v0 = _right(v0, 32)
            v2 = v2 + v3 & _MASK
            v3 = _right(v3, 48) ^ v2
            v0 = v0 + v3 & _MASK
            v3 = _right(v3, 43) ^ v0
            v2 = v2 + v1 & _MASK
            v1 = _right(v1, 47) ^ v2
            v2 = _right(v2, 32)

    whole = len(text) // 8 * 8
    words = [_word(text, at) for at in range(0, whole, 8)]
    words.append(int.from_bytes(text[whole:], "little") | (len(text) & 0xFF) << 56)
    for word in words:
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xFF
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


__all__: list[str] = []
