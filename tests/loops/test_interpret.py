"""The interpreter, and the NumPy meaning of functions that NumPy has no name for."""

import numpy as np
import pytest

from graphflow.loops.build import Builder
from graphflow.loops.interpret import evaluate, interpret
from graphflow.loops.ir import FUNCTIONS


def test_runs_a_kernel() -> None:
    b = Builder("dot")
    x, y, out = (b.buffer(n, "f32") for n in ("x", "y", "out"))
    n, scale = b.int_param("n"), b.scalar_param("scale", "f32")
    total = b.carry("total", 0.0, "add", "f32")
    with b.loop("i", 0, n, "vector", [total]) as i, b.where(b.gt(b.load(x, i), 0.0)):
        b.update(total, b.mul(b.load(x, i), b.load(y, i)))
    b.store(out, 0, b.mul(total, scale))
    result = np.zeros(1, np.float32)
    interpret(b.kernel(), [np.array([1, -2, 3], np.float32), np.array([4, 5, 6], np.float32), result, 3, 0.5])
    assert result[0] == 11


def test_names_what_is_out_of_bounds() -> None:
    b = Builder("beyond")
    x = b.buffer("x", "f32")
    b.store(x, 3, b.load(x, 7))
    with pytest.raises(IndexError, match="element 7 of buffer x, which has 4"):
        interpret(b.kernel(), [np.zeros(4, np.float32)])


def test_wants_flat_arrays_of_the_dtype() -> None:
    b = Builder("flat")
    b.buffer("x", "f32")
    for wrong in (np.zeros(3), np.zeros((2, 2), np.float32)):
        with pytest.raises(ValueError, match="x must be a flat array of f32"):
            interpret(b.kernel(), [wrong])
    with pytest.raises(ValueError, match="0 arguments for 1"):
        interpret(b.kernel(), [])


def test_integer_functions() -> None:
    numpy = {name: FUNCTIONS[name].numpy for name in FUNCTIONS}
    x, y = np.array([7, -7, 7, -7, 5], np.int32), np.array([2, 2, -2, -2, 0], np.int32)
    with np.errstate(all="ignore"):
        assert numpy["div"](x, y).tolist() == [3, -3, -3, 3, 0]
        assert numpy["floordiv"](x, y).tolist() == [3, -4, -4, 3, 0]
        assert numpy["floormod"](x, y).tolist() == [1, 1, -1, -1, 0]
        assert numpy["truncmod"](x, y).tolist() == [1, -1, 1, -1, 0]
    assert numpy["mulhi"](np.uint32(0xD2511F53), np.uint32(12345678)) == (0xD2511F53 * 12345678) >> 32
    assert numpy["shl"](np.int8(3), np.int8(7)) == np.int8(-128)
    assert numpy["shr"](np.int8(-8), np.int8(100)) == -1
    assert numpy["pow"](np.int32(-1), np.int32(-3)) == -1


def test_casts_of_floats_to_integers_hold_at_the_ends() -> None:
    cast = FUNCTIONS["cast"].numpy
    x = np.array([np.nan, np.inf, -np.inf, 3.9, -3.9, 1e30], np.float32)
    for dtype in (np.int8, np.int64, np.uint16, np.uint64):
        info = np.iinfo(dtype)
        low = -3 if info.min < 0 else 0
        assert cast(x, np.dtype(dtype)).tolist() == [0, info.max, info.min, 3, low, info.max]


def test_digamma_and_lgamma() -> None:
    scipy_special = pytest.importorskip("scipy.special")
    x = np.array([0.1, 0.5, 1, 2.5, 30, -0.5, -3.3])
    for name, exact in (("digamma", scipy_special.digamma), ("lgamma", scipy_special.gammaln)):
        b = Builder("gamma")
        np.testing.assert_allclose(evaluate(b.apply(name, b.var("x", "f64")), {"x": x}), exact(x), rtol=1e-12)
