"""Strategies of one replica: programs written for many devices mean on one what TF1 says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf

D = gf.distribute


@pytest.mark.parametrize("make", [D.MirroredStrategy, lambda: D.OneDeviceStrategy("/cpu:0"), D.Strategy])
def test_a_step_in_replicas(make: Any) -> None:
    assert (D.has_strategy(), D.in_cross_replica_context()) == (False, False)
    default = D.get_strategy()
    strategy = make()
    seen = []

    def step(x: Any) -> Any:
        context = D.get_replica_context()
        assert context is not None and context.num_replicas_in_sync == 1 and context.strategy is strategy
        seen.append((D.has_strategy(), D.in_cross_replica_context()))
        whole = context.merge_call(lambda s, value: s.extended.reduce_to("sum", value, None), (x * w,))
        with gf.control_dependencies([w.assign_add([1.0, 1.0])]):
            return gf.identity(context.all_reduce(D.ReduceOp.SUM, whole))

    with strategy.scope():
        assert D.get_strategy() is strategy and D.has_strategy() and D.in_cross_replica_context()
        assert D.get_replica_context() is None
        w = gf.get_variable("w", initializer=[1.0, 3.0])
        iterator = strategy.make_dataset_iterator(
            gf.data.Dataset.range(4).map(lambda i: gf.cast(i, gf.float32))
        )
        found = strategy.experimental_run(step, iterator)
        total, mean = strategy.reduce("SUM", found, axis=0), strategy.reduce(D.ReduceOp.MEAN, found, axis=0)
        assert strategy.unwrap(found) == list(strategy.experimental_local_results(found)) == [found]
        same = strategy.reduce("mean", found)
    assert seen == [(True, False)] and D.get_strategy() is default
    with gf.Session() as session:
        session.run([gf.global_variables_initializer(), *iterator.initialize()])
        for i in range(3):
            got = session.run([found, same, total, mean])
            wanted = i * (np.array([1.0, 3.0]) + i)
            for value, expected in zip(got, (wanted, wanted, wanted.sum(), wanted.mean()), strict=True):
                np.testing.assert_allclose(value, expected)


def test_what_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"one replica here, not 2: .*tf\.contrib\.nccl"):
        D.MirroredStrategy(["/gpu:0", "/gpu:1"])
    with pytest.raises(ValueError, match="reduce_op must be SUM or MEAN"):
        D.get_strategy().reduce("PROD", gf.constant(1.0))
    with pytest.raises(ValueError, match="not divisible"):
        D.InputContext(num_replicas_in_sync=2).get_per_replica_batch_size(3)
    with D.MirroredStrategy().scope(), pytest.raises(RuntimeError, match="scope"):
        D.experimental_set_strategy(None)
    D.experimental_set_strategy(D.MirroredStrategy())
    assert D.has_strategy()
    D.experimental_set_strategy(None)
    assert not D.has_strategy()
    with pytest.raises(NotImplementedError, match="train_distribute"):
        gf.estimator.RunConfig(train_distribute="mirrored")
    assert (
        gf.estimator.RunConfig(train_distribute=D.MirroredStrategy()).train_distribute.num_replicas_in_sync
        == 1
    )


def test_older_names() -> None:
    old = gf.contrib.distribute
    assert isinstance(old.MirroredStrategy(num_gpus=1), D.MirroredStrategy)
    with pytest.raises(NotImplementedError, match=r"one replica here, not 4; .*tf\.contrib\.nccl"):
        old.MirroredStrategy(num_gpus=4)
    assert gf.contrib.estimator.multi_class_head(3).logits_dimension == 3
    assert gf.contrib.estimator.regression_head(label_dimension=2).logits_dimension == 2
    head = gf.contrib.estimator.binary_classification_head(thresholds=[0.5])
    assert isinstance(head, gf.estimator.BinaryClassHead) and head.thresholds == (0.5,)
