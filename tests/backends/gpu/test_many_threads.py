"""What is lowered otherwise for what has thousands of threads: rows by ids, and sums cut into more shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu.plan import DevicePlan
from graphflow.loops.ir import Kernel
from graphflow.session import Session

Array = np.ndarray[Any, Any]
ROWS, HEIGHT, WIDTH = 300, 40, 24


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")


def both(build: Callable[..., Any], feeds: list[Array]) -> tuple[Any, Any, list[str]]:
    """What the processor makes of a graph, what a GPU's plan does, and the names of its kernels."""
    found = []
    names: list[str] = []
    for gpus in (0, 1):
        with gf.Graph().as_default():
            keys = [gf.placeholder(gf.as_dtype(feed.dtype), feed.shape) for feed in feeds]
            made = build(*keys)
            with Session(config=gf.ConfigProto(device_count={"GPU": gpus})) as session:
                session.run(gf.global_variables_initializer())
                given = dict(zip(keys, feeds, strict=True))
                plan = session.plan(made, given)
                if gpus:
                    assert isinstance(plan, DevicePlan)
                    names = [one.name for one in plan.template.kernels if isinstance(one, Kernel)]
                session.run(made, given)
                found.append(session.run([made, *gf.global_variables()], given))
    return found[0], found[1], names


IDS = np.random.RandomState(5).randint(-1, HEIGHT // 2, ROWS).astype(np.int32)
IDS[7:20] = 3
KINDS = ("sum", "max")


@pytest.mark.parametrize("kind", KINDS)
def test_segments_have_the_processors_bits(kind: str) -> None:
    rows = np.random.RandomState(6).uniform(0.5, 1.5, (ROWS, WIDTH)).astype(np.float32)
    op = getattr(gf.math, f"unsorted_segment_{kind}")
    # What is summed is computed on the way.
    cpu, gpu, names = both(lambda x, ids: op(gf.exp(x), ids, HEIGHT), [rows, IDS])
    assert {"links", "add_rows"} <= set(names)
    np.testing.assert_array_equal(cpu[0], gpu[0])
    assert gpu[0].shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("width", [1, WIDTH])
def test_a_tables_gradients_go_to_its_rows(width: int) -> None:
    def build(ids: Any, change: Any) -> Any:
        table = gf.get_variable("table", initializer=gf.ones([HEIGHT, width]))
        with gf.control_dependencies([gf.scatter_sub(table, ids, change)]):
            return gf.identity(gf.scatter_update(table, ids[:9], change[:9]))

    ids = np.abs(IDS)
    change = np.random.RandomState(7).uniform(-1, 1, (ROWS, width)).astype(np.float32)
    cpu, gpu, names = both(build, [ids, change])
    assert names.count("links") >= 1
    for one, other in zip(cpu, gpu, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("depth", [1, 2])
def test_slices_by_index_vectors(depth: int) -> None:
    indices = np.random.RandomState(10).randint(0, 5, (ROWS, depth)).astype(np.int64)
    slices = np.random.RandomState(11).uniform(-1, 1, (ROWS, 7, 3)[: 4 - depth]).astype(np.float32)
    shape = [5, 5, 7, 3][:3] if depth == 2 else [5, 7, 3]
    cpu, gpu, names = both(lambda i, x: gf.scatter_nd(i, x, shape), [indices, slices])
    assert {"numbers", "links"} <= set(names)
    np.testing.assert_array_equal(cpu[0], gpu[0])


def test_sums_are_cut_into_more_shares() -> None:
    x = np.random.RandomState(8).uniform(-1, 1, (1 << 19,)).astype(np.float32)
    cpu, gpu, names = both(lambda x: gf.reduce_sum(x * x), [x])
    assert "fused_combine" in names
    np.testing.assert_allclose(gpu[0], np.square(x, dtype=np.float64).sum(), rtol=1e-6)
    y = np.random.RandomState(9).uniform(-1, 1, (4096, 96)).astype(np.float32)
    cpu, gpu, names = both(lambda y: gf.reduce_sum(gf.nn.softmax(y), 0), [y])
    np.testing.assert_allclose(gpu[0], cpu[0], rtol=1e-5)
