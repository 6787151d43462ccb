"""`tf.test`: test cases with a graph and a session of their own, and assertions on arrays."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock as mock

import numpy as np

from graphflow import app, nest
from graphflow.backends.gpu import found
from graphflow.errors import OpError
from graphflow.gradients import gradients
from graphflow.graph import (
    Graph,
    IndexedSlices,
    Operation,
    Tensor,
    get_default_graph,
    get_default_session,
    leave_default_graphs,
    reset_default_graph,
)
from graphflow.ops.source import placeholder
from graphflow.session import Session
from graphflow.variables import Variable

_SEED = 87654321


class TestCase(unittest.TestCase):
    """A test with an empty default graph, a fixed seed, and assertions on what sessions return."""

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self._folder: str | None = None
        self._cached: Session | None = None

    def setUp(self) -> None:
        """Begins with an empty default graph and fixed seeds."""
        super().setUp()
        np.random.seed(_SEED)
        leave_default_graphs()
        reset_default_graph()
        get_default_graph().seed = _SEED

    def tearDown(self) -> None:
        """Closes the session that `cached_session` kept, and removes the folder of the test."""
        if self._cached is not None:
            self._cached.close()
            self._cached = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        super().tearDown()

    def get_temp_dir(self) -> str:
        """Returns a folder for the files of this test, removed at its end."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix=f"{type(self).__name__}.{self._testMethodName}.")
        return self._folder

    @contextlib.contextmanager
    def session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """Opens a session as the default one.

        Args:
          graph: its graph; default the default graph.
          config: a ConfigProto.
          use_gpu: accepted.
          force_gpu: accepted.
        """
        del use_gpu, force_gpu
        with Session(graph=graph, config=config) as session:
            yield session

    @contextlib.contextmanager
    def cached_session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """Opens a session as the default one; the next call in the same test gives the same."""
        del use_gpu, force_gpu
        if self._cached is None:
            self._cached = Session(graph=graph, config=config)
        with self._cached.graph.as_default(), self._cached.as_default():
            yield self._cached

    def test_session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Any:
        """`cached_session`, or `session` if a graph is given."""
        if self.id().endswith(".test_session"):
            self.skipTest("Not a test.")  # loaders take it for one, by its name
        if graph is None:
            return self.cached_session(None, config, use_gpu, force_gpu)
        return self.session(graph, config, use_gpu, force_gpu)

    def evaluate(self, tensors: Any) -> Any:
        """Returns the values of tensors in the default session, else in that of `cached_session`."""
        session = get_default_session()
        if session is None or session.graph is not get_default_graph():
            with self.cached_session() as session:
                return session.run(tensors)
        return session.run(tensors)

    def _value(self, item: Any) -> Any:
        leaves = nest.flatten(item) if nest.is_nested(item) else [item]
        if any(isinstance(leaf, Tensor | Variable | IndexedSlices | Operation) for leaf in leaves):
            return self.evaluate(item)
        return item

    def _array(self, item: Any) -> np.ndarray[Any, Any]:
        return np.asarray(self._value(item))

    # -- assertions ---------------------------------------------------------------------------

    def assertAllClose(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None
    ) -> None:
        """Checks that structures of arrays are alike and near one another: `|a - b| <= atol + rtol * |b|`."""
        self._close(a, b, rtol, atol, msg or "", ())

    def _close(self, a: Any, b: Any, rtol: float, atol: float, msg: str, path: tuple[Any, ...]) -> None:
        where = f" at {'/'.join(map(str, path))}" if path else ""
        if isinstance(a, Mapping) != isinstance(b, Mapping):
            self.fail(f"a dict and something else{where}: {type(a).__name__}, {type(b).__name__}. {msg}")
        if isinstance(a, Mapping):
            self.assertEqual(set(a), set(b), f"different keys{where}. {msg}")
            for key in a:
                self._close(a[key], b[key], rtol, atol, msg, (*path, key))
            return
        a, b = self._value(a), self._value(b)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            try:
                one, other = np.asarray(a), np.asarray(b)
                regular = one.dtype != object and other.dtype != object
            except ValueError:
                regular = False
            if not regular:
                self.assertEqual(len(a), len(b), f"different lengths{where}. {msg}")
                for i, (x, y) in enumerate(zip(a, b, strict=True)):
                    self._close(x, y, rtol, atol, msg, (*path, i))
                return
        one, other = np.asarray(a), np.asarray(b)
        self.assertEqual(one.shape, other.shape, f"different shapes{where}. {msg}")
        if one.dtype.name in ("float16", "bfloat16") or other.dtype.name in ("float16", "bfloat16"):
            one, other = one.astype(np.float32), other.astype(np.float32)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=f"{msg}{where}", equal_nan=True)

    def assertAllCloseAccordingToType(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, float_rtol: float = 1e-6,
        float_atol: float = 1e-6, half_rtol: float = 1e-3, half_atol: float = 1e-3, bfloat16_rtol: float = 1e-2,
        bfloat16_atol: float = 1e-2, msg: str | None = None,
    ) -> None:  # fmt: skip
        """`assertAllClose` with tolerances by the less precise of the two dtypes."""
        a, b = self._array(a), self._array(b)
        kinds = {a.dtype.name, b.dtype.name}
        for kind, r, t in (
            ("float32", float_rtol, float_atol), ("complex64", float_rtol, float_atol),
            ("float16", half_rtol, half_atol), ("bfloat16", bfloat16_rtol, bfloat16_atol),
        ):  # fmt: skip
            if kind in kinds:
                rtol, atol = max(rtol, r), max(atol, t)
        self.assertAllClose(a, b, rtol, atol, msg)

    def assertNotAllClose(self, a: Any, b: Any, **kwargs: Any) -> None:
        """Checks that arrays are not near one another."""
        try:
            self.assertAllClose(a, b, **kwargs)
        except AssertionError:
            return
        self.fail("The two values are close at all elements")

    def assertAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Checks that arrays are equal; NaN equals NaN."""
        one, other = self._array(a), self._array(b)
        self.assertEqual(one.shape, other.shape, msg or "different shapes")
        if one.dtype == object or other.dtype == object:
            as_bytes = np.vectorize(lambda x: x.encode() if isinstance(x, str) else x, otypes=[object])
            one, other = (as_bytes(x) if x.size else x for x in (one, other))
        np.testing.assert_array_equal(one, other, err_msg=msg or "")

    def assertNotAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Checks that arrays differ somewhere."""
        try:
            self.assertAllEqual(a, b)
        except AssertionError:
            return
        self.fail(msg or "The two values are equal at all elements")

    def assertArrayNear(self, farray1: Any, farray2: Any, err: float, msg: str | None = None) -> None:
        """Checks that two sequences of numbers differ by less than `err` each."""
        self.assertEqual(len(farray1), len(farray2), msg)
        for a, b in zip(farray1, farray2, strict=True):
            self.assertNear(float(a), float(b), err, msg)

    def assertNear(self, f1: float, f2: float, err: float, msg: str | None = None) -> None:
        """Checks that two numbers differ by at most `err`."""
        self.assertTrue(
            f1 == f2 or abs(f1 - f2) <= err, f"{f1!r} != {f2!r} +/- {err!r}{f' ({msg})' if msg else ''}"
        )

    def assertNDArrayNear(self, ndarray1: Any, ndarray2: Any, err: float, msg: str | None = None) -> None:
        """Checks that the norm of a difference is less than `err`."""
        self.assertLess(float(np.linalg.norm(np.asarray(ndarray1) - np.asarray(ndarray2))), err, msg)

    def assertAllGreater(self, a: Any, comparison_target: Any) -> None:
        """Checks that every element is greater."""
        self.assertGreater(np.min(self._array(a)), comparison_target)

    def assertAllGreaterEqual(self, a: Any, comparison_target: Any) -> None:
        """Checks that every element is greater or equal."""
        self.assertGreaterEqual(np.min(self._array(a)), comparison_target)

    def assertAllLess(self, a: Any, comparison_target: Any) -> None:
        """Checks that every element is less."""
        self.assertLess(np.max(self._array(a)), comparison_target)

    def assertAllLessEqual(self, a: Any, comparison_target: Any) -> None:
        """Checks that every element is less or equal."""
        self.assertLessEqual(np.max(self._array(a)), comparison_target)

    def assertAllInRange(
        self, target: Any, lower_bound: Any, upper_bound: Any, open_lower_bound: bool = False,
        open_upper_bound: bool = False,
    ) -> None:  # fmt: skip
        """Checks that every element lies between two bounds, which belong to the range unless it is open there."""
        values = self._array(target)
        below = values <= lower_bound if open_lower_bound else values < lower_bound
        above = values >= upper_bound if open_upper_bound else values > upper_bound
        wrong = below | above | np.isnan(values.astype(np.float64))
        self.assertFalse(wrong.any(), f"{int(wrong.sum())} elements out of range: {values[wrong][:5]}")

    def assertAllInSet(self, target: Any, expected_set: Any) -> None:
        """Checks that every element is one of a set."""
        unknown = set(np.unique(self._array(target)).tolist()) - set(expected_set)
        self.assertFalse(
            unknown, f"{len(unknown)} unique elements that are not in the set {expected_set}: {unknown}"
        )

    def assertShapeEqual(self, np_array: Any, tf_tensor: Any, msg: str | None = None) -> None:
        """Checks that an array has the static shape of a tensor."""
        self.assertEqual(list(np.asarray(np_array).shape), tf_tensor.shape.as_list(), msg)

    def assertDTypeEqual(self, target: Any, expected_dtype: Any) -> None:
        """Checks the dtype of an array or tensor."""
        actual = (
            target.dtype.as_numpy_dtype if isinstance(target, Tensor | Variable) else np.asarray(target).dtype
        )
        wanted = getattr(expected_dtype, "as_numpy_dtype", expected_dtype)
        self.assertEqual(np.dtype(actual), np.dtype(wanted))

    def assertDeviceEqual(self, device1: Any, device2: Any, msg: str | None = None) -> None:
        """Checks that two device names are equal."""
        self.assertEqual(str(device1 or ""), str(device2 or ""), msg)

    def assertStartsWith(self, actual: str, expected_start: str, msg: str | None = None) -> None:
        """Checks how a text begins."""
        self.assertTrue(
            actual.startswith(expected_start), msg or f"{actual!r} does not start with {expected_start!r}"
        )

    def assertProtoEquals(
        self, expected_message_maybe_ascii: Any, message: Any, msg: str | None = None
    ) -> None:
        """Checks that a message equals another, which may be given as text."""
        expected = expected_message_maybe_ascii
        if isinstance(expected, str):
            self.assertMultiLineEqual(" ".join(expected.split()), " ".join(str(message).split()), msg)
        else:
            self.assertEqual(expected, message, msg)

    @contextlib.contextmanager
    def assertRaisesWithPredicateMatch(
        self, exception_type: Any, expected_err_re_or_predicate: str | Callable[[Exception], bool]
    ) -> Iterator[None]:
        """Checks that a block raises an error whose text matches, or of which a function says yes."""
        wanted = expected_err_re_or_predicate

        def matches(error: Exception) -> bool:
            if callable(wanted):
                return bool(wanted(error))
            return re.search(wanted, str(getattr(error, "message", error))) is not None

        try:
            yield
        except exception_type as error:
            self.assertTrue(
                matches(error), f"Exception of type {type(error)}: {error} does not match {wanted!r}"
            )
            return
        self.fail(f"{exception_type} not raised")

    def assertRaisesOpError(self, expected_err_re_or_predicate: Any) -> Any:
        """`assertRaisesWithPredicateMatch` for errors of operations."""
        return self.assertRaisesWithPredicateMatch(OpError, expected_err_re_or_predicate)

    def assertRaisesIncompatibleShapesError(self, exception_type: Any = ValueError) -> Any:
        """Checks that a block raises an error about shapes."""
        return self.assertRaisesWithPredicateMatch(exception_type, r"[Ss]hape|[Dd]imension|sizes")


def main(argv: Any = None) -> None:
    """Runs the tests of the program's module and ends the process."""

    def run(arguments: Any) -> Any:
        unittest.main(argv=list(arguments))

    app.run(run, argv)


def get_temp_dir() -> str:
    """Returns a folder for the files of tests, the same for the whole process."""
    global _folder
    if _folder is None:
        _folder = tempfile.mkdtemp(prefix="graphflow-test-")
    return _folder


_folder: str | None = None


def test_src_dir_path(relative_path: str) -> str:
    """Returns a path below the folder that the tests' files are in: the present one."""
    return str(Path.cwd() / relative_path)


def is_built_with_cuda() -> bool:
    """Whether graphflow runs on NVIDIA GPUs: yes, where there are any."""
    return True


def is_built_with_rocm() -> bool:
    """Whether graphflow runs on AMD GPUs: no."""
    return False


def is_built_with_gpu_support() -> bool:
    """Whether graphflow runs on GPUs: yes, where there are any."""
    return True


def is_built_with_xla() -> bool:
    """Whether XLA is there: no, graphflow compiles everything itself."""
    return False


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """Whether graphflow has a GPU to run on; nothing is allocated there.

    Args:
      cuda_only: accepted: there are no others.
      min_cuda_compute_capability: a pair (major, minor) that it has at least; None for any.
    """
    del cuda_only
    least = tuple(min_cuda_compute_capability or (0, 0))
    return any(device.capability >= least for device in found.devices())


def gpu_device_name() -> str:
    """Returns the name of a GPU; empty: there is none."""
    return "/device:GPU:0" if found.devices() else ""


def compute_gradient(
    x: Any, x_shape: Any, y: Any, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Mapping[Any, Any] | None = None,
) -> Any:  # fmt: skip
    """Returns the Jacobian of `y` with respect to `x`, by gradients and by differences.

    Args:
      x: a tensor, or a list of tensors.
      x_shape: its shape, or a list of shapes.
      y: a tensor.
      y_shape: its shape.
      x_init_value: where to take the derivative; default random numbers.
      delta: the step of the differences.
      init_targets: operations to run first.
      extra_feed_dict: what to feed besides.

    Returns:
      Two arrays of [elements of x, elements of y] each, or a list of such pairs; needs a default session.
    """
    many = isinstance(x, list)
    xs, shapes = (x, x_shape) if many else ([x], [x_shape])
    values = x_init_value if many and x_init_value is not None else [x_init_value] * len(xs)
    feeds = dict(extra_feed_dict or {})
    session = get_default_session()
    if session is None:
        raise ValueError("compute_gradient needs a default session: `with Session():`")
    for target in init_targets if isinstance(init_targets, list | tuple) else [init_targets]:
        if target is not None:
            session.run(target)
    points = []
    for tensor, shape, value in zip(xs, shapes, values, strict=True):
        kind = tensor.dtype.as_numpy_dtype
        points.append(np.random.random_sample(shape).astype(kind) if value is None else np.array(value, kind))
    feeds.update(dict(zip(xs, points, strict=True)))
    pairs = []
    size = int(np.prod(y_shape))
    weight = np.zeros(y_shape, y.dtype.as_numpy_dtype)
    upstream = placeholder(y.dtype, y_shape)
    slopes = gradients(y, xs, grad_ys=upstream)
    for tensor, point, slope in zip(xs, points, slopes, strict=True):
        by_gradient = np.zeros((point.size, size))
        by_difference = np.zeros((point.size, size))
        for j in range(size):
            seed = weight.copy()
            seed.flat[j] = 1
            if slope is not None:
                found = session.run(slope, {**feeds, upstream: seed})
                if hasattr(found, "indices"):
                    dense = np.zeros(point.shape)
                    np.add.at(dense, found.indices, found.values)
                    found = dense
                by_gradient[:, j] = np.ravel(found)
        for i in range(point.size):
            ends = []
            for step in (delta, -delta):
                moved = point.copy()
                moved.flat[i] += step
                ends.append(np.ravel(session.run(y, {**feeds, tensor: moved})))
            by_difference[i] = (ends[0] - ends[1]) / (2 * delta)
        pairs.append((by_gradient, by_difference))
    return pairs if many else pairs[0]


def compute_gradient_error(
    x: Any, x_shape: Any, y: Any, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Mapping[Any, Any] | None = None,
) -> float:  # fmt: skip
    """Returns the largest difference between the two Jacobians of `compute_gradient`."""
    found = compute_gradient(x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict)
    pairs = found if isinstance(found, list) else [found]
    return max((float(np.abs(a - b).max()) if a.size else 0.0 for a, b in pairs), default=0.0)


__all__ = [
    "TestCase", "compute_gradient", "compute_gradient_error", "get_temp_dir", "gpu_device_name",
    "is_built_with_cuda", "is_built_with_gpu_support", "is_built_with_rocm", "is_built_with_xla",
    "is_gpu_available", "main", "mock", "test_src_dir_path",
]  # fmt: skip
