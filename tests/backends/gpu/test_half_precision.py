"""Training in float16 on a GPU: products of float16 factors by the library, master weights and scaled losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.backends.gpu.host_device import HostDevice
from graphflow.backends.gpu.steps import Convolution, Gemm, HostCall, walk


def _network() -> tuple[Any, Any, dict[Any, Any]]:
    """A convolution and a dense layer in float16, whose variables are float32, under a dynamic loss scale."""
    gf.reset_default_graph()
    x, y = gf.placeholder(gf.float32, [6, 5, 5, 2]), gf.placeholder(gf.int32, [6])
    random = np.random.RandomState(0)
    filters = gf.Variable(random.uniform(-0.4, 0.4, (3, 3, 2, 4)).astype(np.float32))
    weights = gf.Variable(random.uniform(-0.4, 0.4, (36, 3)).astype(np.float32))
    h = gf.nn.conv2d(gf.cast(x, gf.float16), gf.cast(filters, gf.float16), [1, 1, 1, 1], "VALID")
    h = gf.reshape(gf.nn.relu(h), [6, 36])
    logits = gf.cast(gf.matmul(h, gf.cast(weights, gf.float16)), gf.float32)
    loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    optimizer = gf.train.experimental.enable_mixed_precision_graph_rewrite(
        gf.train.MomentumOptimizer(0.1, 0.9)
    )
    feed = {x: random.standard_normal((6, 5, 5, 2)), y: np.arange(6) % 3}
    return loss, optimizer.minimize(loss), feed


@pytest.mark.parametrize("library", [True, False])
def test_training_in_float16_goes_as_on_the_processor(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not library:
        monkeypatch.setattr(HostDevice, "convolution", lambda self, plan: None)
    losses, values = [], []
    for kind in ("off", "host"):
        monkeypatch.setenv("GRAPHFLOW_GPU", kind)
        loss, step, feed = _network()
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            losses.append([session.run([loss, step], feed)[0] for _ in range(6)])
            values.append([session.variable_value(v) for v in gf.trainable_variables()])
            plan: Any = session.plan([loss, step], feed)
    np.testing.assert_allclose(losses[1], losses[0], rtol=5e-3)
    assert losses[0][5] < losses[0][0]
    for one, other in zip(*values, strict=True):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(other, one, atol=5e-3)
    found: list[Any] = []
    walk(plan.device_steps, found.append)
    assert {one.plan.factors for one in found if isinstance(one, Gemm)} == {"f16"}
    assert {one.plan.dtype for one in found if isinstance(one, Convolution)} == {"f16"}
    products = [one.origin.type for one in found if isinstance(one, HostCall) and one.origin is not None]
    assert not {"MatMul", "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"} & set(products)
