"""Parts of contrib that fewer programs use: buckets of sequences, staging areas, SciPy's optimizers; local servers."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from graphflow.compat.paths import public_path


@pytest.mark.parametrize("named", [False, True])
def test_sequences_of_similar_length_come_in_one_batch(named: bool) -> None:
    lengths = [3, 9, 4, 8, 2, 12, 5, 1]
    (length,) = gf.train.slice_input_producer([gf.constant(lengths)], num_epochs=1, shuffle=False)
    tensors = {"row": gf.range(length)} if named else [gf.range(length)]
    got, batch = gf.contrib.training.bucket_by_sequence_length(
        length, tensors, 2, [4, 8], dynamic_pad=True, allow_smaller_final_batch=True, capacity=8
    )
    row = batch["row"] if named else batch[0]
    found: dict[tuple[int, ...], Any] = {}
    with gf.Session() as session:
        session.run(gf.local_variables_initializer())
        coordinator = gf.train.Coordinator()
        threads = gf.train.start_queue_runners(session, coordinator)
        try:
            while True:
                sizes, values = session.run([got, row])
                found[tuple(sizes)] = values
        except errors.OutOfRangeError:
            coordinator.request_stop()
        coordinator.join(threads)
    assert sorted(size for sizes in found for size in sizes) == sorted(lengths)
    for sizes, values in found.items():
        assert len({sum(size >= b for b in (4, 8)) for size in sizes}) == 1, sizes
        assert values.shape == (len(sizes), max(sizes))
        for size, value in zip(sizes, values, strict=True):
            np.testing.assert_array_equal(value, [*range(size), *[0] * (max(sizes) - size)])


def test_buckets_refuse_what_does_not_fit() -> None:
    by_length = gf.contrib.training.bucket_by_sequence_length
    with pytest.raises(ValueError, match="increasing"):
        by_length(1, [gf.zeros([2])], 2, [4, 4])
    with pytest.raises(TypeError, match="list or tuple"):
        by_length(1, [gf.zeros([2])], 2, 4)
    with pytest.raises(ValueError, match="empty"):
        by_length(1, [gf.zeros([2])], 2, [])
    with pytest.raises(ValueError, match="num_buckets"):
        gf.contrib.training.bucket([gf.zeros([2])], 0, [1, 2, 3], 2)


def test_a_staging_area_keeps_a_step_ahead() -> None:
    area = gf.contrib.staging.StagingArea([gf.float32, gf.int32], shapes=[[2], []], capacity=2)
    x = gf.placeholder(gf.float32, [2])
    put = area.put([x, 7])
    assert (put.type, put.name, put.get_attr("shared_name")) == ("Stage", "StagingArea_put", "StagingArea")
    taken, peeked = area.get(), area.peek(0)
    assert [tensor.shape.as_list() for tensor in taken] == [[2], []]
    named = gf.contrib.staging.StagingArea([gf.float32], names=["a"])
    with gf.Session() as session:
        session.run(put, {x: [1, 2]})
        session.run(put, {x: [3, 4]})
        assert session.run(area.size()) == 2
        np.testing.assert_array_equal(session.run(peeked)[0], [1, 2])
        waits = threading.Thread(target=session.run, args=(put, {x: [5, 6]}))
        waits.start()
        for wanted in ([1, 2], [3, 4], [5, 6]):
            value, seven = session.run(taken)
            np.testing.assert_array_equal(value, wanted)
            assert seven == 7
        waits.join()
        session.run(put, {x: [1, 2]})
        session.run(area.clear())
        assert session.run(area.size()) == 0
        session.run(named.put({"a": 2.0}))
        assert session.run(named.get()) == {"a": 2.0}
        small = gf.contrib.staging.StagingArea([gf.float32], memory_limit=4)
        with pytest.raises(errors.InvalidArgumentError, match="memory limit"):
            session.run(small.put([gf.zeros([2])]))
    with pytest.raises(ValueError, match="2 components"):
        area.put([x])
    with pytest.raises(ValueError, match="names"):
        named.put([1.0])


def test_scipy_minimizes_the_loss() -> None:
    pytest.importorskip("scipy")
    vector = gf.get_variable("vector", [2], initializer=gf.constant_initializer([7.0, 7.0]))
    other = gf.get_variable("other", [], initializer=gf.constant_initializer(2.0))
    shift = gf.placeholder(gf.float32, [])
    loss = gf.reduce_sum(gf.square(vector - shift)) + gf.square(other)
    interface = gf.contrib.opt.ScipyOptimizerInterface
    plain = interface(loss, options={"maxiter": 100})
    seen: list[Any] = []
    limited = interface(
        loss, equalities=[vector[0] - vector[1] - 1], inequalities=[vector[1] - 2.0], method="SLSQP"
    )
    bounded = interface(loss, var_to_bounds={vector: ([1.5, -np.inf], [np.inf, -1.0])})
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        plain.minimize(
            session, {shift: 1.0}, fetches=[loss], loss_callback=seen.append, step_callback=lambda x: x.shape
        )
        np.testing.assert_allclose(session.run(vector), [1, 1], atol=1e-3)
        np.testing.assert_allclose(session.run(other), 0, atol=1e-3)
        assert seen[0] == 76 and seen[-1] < 1e-5
        limited.minimize(session, {shift: 1.0})
        np.testing.assert_allclose(session.run(vector), [3, 2], atol=1e-3)
        bounded.minimize(session, {shift: 1.0})
        np.testing.assert_allclose(session.run(vector), [1.5, -1], atol=1e-3)
        with pytest.raises(ValueError, match="'jac'"):
            interface(loss, jac=True).minimize(session, {shift: 1.0})


def test_a_session_runs_on_a_server_of_this_process() -> None:
    server = gf.train.Server.create_local_server()
    assert server.target.startswith("grpc://localhost:")
    with gf.Session(server.target) as session:
        assert session.run(gf.constant(3) + 1) == 4
        assert session.sess_str == server.target
    alone = gf.train.Server(gf.train.ClusterSpec({"worker": ["localhost:2222"]}), "worker", 0, start=False)
    assert alone.server_def["job_name"] == "worker"
    with pytest.raises(errors.UnimplementedError, match="localhost:2222"):
        gf.Session(alone.target)
    alone.start()
    gf.train.create_global_step()
    with gf.train.MonitoredTrainingSession(alone.target, is_chief=True) as session:
        assert session.run(gf.train.get_global_step()) == 0
    two = {"ps": ["localhost:1"], "worker": ["localhost:2"]}
    with pytest.raises(errors.UnimplementedError, match="2 tasks"):
        gf.train.Server(two, job_name="worker", task_index=0)
    with pytest.raises(ValueError, match="job_name"):
        gf.train.Server(two)


def test_long_paths_lead_to_the_same_things() -> None:
    for path, here in {
        "contrib.metrics.python.ops.set_ops": gf.sets.set_intersection,
        "contrib.training.python.training.bucket_ops": gf.contrib.training.bucket_by_sequence_length,
        "contrib.opt.python.training.external_optimizer": gf.contrib.opt.ScipyOptimizerInterface,
        "contrib.lookup.python.lookup_ops": gf.lookup.index_table_from_tensor,
        "python.ops.lookup_ops": gf.lookup.index_table_from_tensor,
        "python.ops.data_flow_ops": gf.contrib.staging.StagingArea,
        "contrib.signal": gf.signal.stft,
        "contrib.staging.python.ops.data_flow_ops": gf.contrib.staging.StagingArea,
    }.items():
        assert getattr(public_path(path), here.__name__) is here, path


def test_long_paths_can_be_imported() -> None:
    code = (
        "import graphflow; graphflow.install_as_tensorflow()\n"
        "from tensorflow.contrib.metrics.python.ops import set_ops\n"
        "import tensorflow.contrib.legacy_seq2seq.python.ops\n"
        "from tensorflow.contrib.lookup.python import lookup_ops\n"
        "print(set_ops.set_union.__name__, lookup_ops.HashTable.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["set_union", "HashTable"], done.stderr


def test_parts_of_cells_under_the_names_of_tensorflows_files() -> None:
    gf.install_as_tensorflow()
    given: dict[str, Any] = {}
    exec(
        "from tensorflow.python.ops.rnn_cell_impl import _Linear, _concat, _like_rnncell, _linear\n"
        "from tensorflow.python.ops.rnn_cell_impl import _BIAS_VARIABLE_NAME, _WEIGHTS_VARIABLE_NAME\n"
        "from tensorflow.contrib.rnn.python.ops.core_rnn_cell import _linear as other, _Linear\n"
        "from tensorflow.contrib.learn.python.learn.monitored_session import MonitoredSession",
        given,
    )
    assert given["_linear"] is given["other"] and given["MonitoredSession"] is gf.train.MonitoredSession
    assert (given["_WEIGHTS_VARIABLE_NAME"], given["_BIAS_VARIABLE_NAME"]) == ("kernel", "bias")
    assert given["_like_rnncell"](gf.nn.rnn_cell.GRUCell(3)) and not given["_like_rnncell"](len)
    a, b = np.ones([2, 3], np.float32), np.full([2, 1], 2, np.float32)
    with gf.variable_scope("both"):
        both = given["_Linear"](
            [gf.constant(a), gf.constant(b)], 2, True, kernel_initializer=gf.ones_initializer()
        )
    again = both([gf.constant(a), gf.constant(b)])
    assert [v.op.name for v in gf.global_variables()] == ["both/kernel", "both/bias"]
    joined = given["_concat"]
    assert (
        joined(4, [5, None], static=True) == [4, 5, None]
        and joined(gf.placeholder(gf.int32), 5, True) is None
    )
    with pytest.raises(ValueError, match="must be known"):
        joined(4, [None])
    size = gf.placeholder(gf.int32, [])
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        got, sizes = session.run([again, joined(size, gf.TensorShape([5, 6]))], {size: 7})
    assert got.tolist() == [[5, 5], [5, 5]] and sizes.tolist() == [7, 5, 6]


def test_losses_of_contrib_take_a_weight_per_example_and_a_collection_from_a_scope() -> None:
    losses = gf.contrib.losses
    p, y = (np.array(rows, np.float32) for rows in ([[4, 8, 12], [8, 1, 3]], [[1, 9, 2], [-5, -2, 6]]))
    off, w = np.abs(p - y), np.array([1.2, 3.4], np.float32)
    with gf.contrib.framework.arg_scope([losses.add_loss], loss_collection="own"):
        losses.add_loss(gf.constant(1.0))
    assert gf.get_collection("own") and not losses.get_losses()
    made = [
        losses.absolute_difference(p, y, w),
        losses.mean_squared_error(p, y, w[:, None]),
        losses.compute_weighted_loss(p, [1, 0]),
        losses.mean_pairwise_squared_error(p, y, w),
    ]
    d = p - y
    pairs = w @ np.square(d[:, :, None] - d[:, None, :]).mean((1, 2))
    with gf.Session() as session:
        got = session.run(made)
    np.testing.assert_allclose(got, [w @ off.sum(1) / 6, w @ (off**2).sum(1) / 6, 8, pairs], rtol=1e-5)
