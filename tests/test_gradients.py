"""The reverse walk: what connects, broadcasting, gathers, second derivatives, gradients of one's own."""

import numpy as np
import pytest

import graphflow as gf


@pytest.fixture(autouse=True)
def _fresh_graph():
    with gf.Graph().as_default():
        yield


def run(fetches, feeds=None):
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        return session.run(fetches, feeds)


def test_unconnected_is_none_or_zero():
    x, y = gf.placeholder(gf.float32, [2]), gf.placeholder(gf.float32, [2])
    assert gf.gradients(x * 2.0, [y]) == [None]
    (zero,) = gf.gradients(x * 2.0, [y], unconnected_gradients="zero")
    assert run(zero, {y: [1.0, 2.0]}).tolist() == [0.0, 0.0]


def test_broadcast_operands_get_gradients_of_their_own_shape():
    x = gf.placeholder(gf.float32, [None, 3])
    b = gf.placeholder(gf.float32, [3])
    s = gf.placeholder(gf.float32, [])
    c = gf.placeholder(gf.float32, [None, 1])
    y = (x + b) * s - c
    grads = run(gf.gradients(y, [x, b, s, c]), {x: np.ones((4, 3)), b: [1, 2, 3], s: 2.0, c: np.ones((4, 1))})
    assert [g.shape for g in grads] == [(4, 3), (3,), (), (4, 1)]
    np.testing.assert_allclose(grads[1], [8, 8, 8])
    np.testing.assert_allclose(grads[2], 4 * (2 + 3 + 4))
    np.testing.assert_allclose(grads[3], [[-3]] * 4)


def test_open_sizes_that_may_stretch_are_summed_in_the_run():
    x, y = gf.placeholder(gf.float32, [None, None]), gf.placeholder(gf.float32, [None, None])
    dx, dy = gf.gradients(x * y, [x, y])
    got = run([dx, dy], {x: np.full((1, 3), 2.0), y: np.full((4, 1), 5.0)})
    np.testing.assert_allclose(got[0], np.full((1, 3), 20.0))
    np.testing.assert_allclose(got[1], np.full((4, 1), 6.0))


def test_uses_add_up_in_one_sum():
    x = gf.placeholder(gf.float32, [])
    y = x * x + gf.sin(x) + x
    (dx,) = gf.gradients(y, x)
    assert dx.op.type == "AddN" and len(dx.op.inputs) == 4
    np.testing.assert_allclose(run(dx, {x: 0.5}), 2 * 0.5 + np.cos(0.5) + 1, rtol=1e-6)


def test_xs_inside_each_other_and_grad_ys():
    x = gf.placeholder(gf.float32, [])
    h = x * 3.0
    y = h * h
    dh, dx = gf.gradients(y, [h, x], grad_ys=[gf.constant(2.0)])
    assert run([dh, dx], {x: 1.0}) == [12.0, 36.0]
    with pytest.raises(ValueError, match="shape"):
        gf.gradients(y, x, grad_ys=[gf.constant([1.0, 2.0])])


def test_stop_gradients():
    x = gf.placeholder(gf.float32, [])
    h = x * 3.0
    y = h * x
    assert run(gf.gradients(y, x, stop_gradients=[h])[0], {x: 2.0}) == 6.0
    assert run(gf.gradients(gf.stop_gradient(h) * x, x)[0], {x: 2.0}) == 6.0
    assert gf.gradients(gf.stop_gradient(x), x) == [None]


def test_gathers_stay_sparse():
    table = gf.get_variable("table", initializer=np.arange(12, dtype=np.float32).reshape(4, 3))
    rows = gf.gather(table, [1, 3, 1])
    (grad,) = gf.gradients(gf.reduce_sum(rows * 2.0), [table])
    assert isinstance(grad, gf.IndexedSlices)
    dense = run(gf.convert_to_tensor(grad))
    np.testing.assert_allclose(dense, [[0] * 3, [4] * 3, [0] * 3, [2] * 3])
    both = gf.gradients(gf.reduce_sum(rows) + gf.reduce_sum(table), [table])[0]
    np.testing.assert_allclose(run(gf.convert_to_tensor(both)), [[1] * 3, [3] * 3, [1] * 3, [2] * 3])


def test_second_derivatives_and_hessians():
    x = gf.placeholder(gf.float32, [3])
    y = gf.reduce_sum(x * x * x)
    (dx,) = gf.gradients(y, x)
    (ddx,) = gf.gradients(dx, x)
    (hessian,) = gf.hessians(y, x)
    value = np.array([1.0, 2.0, 3.0], np.float32)
    got = run([ddx, hessian], {x: value})
    np.testing.assert_allclose(got[0], 6 * value)
    np.testing.assert_allclose(got[1], np.diag(6 * value))


def test_custom_gradient():
    @gf.custom_gradient
    def clipped(x):
        def grad(dy):
            return gf.clip_by_value(dy, -1.0, 1.0)

        return x * 10.0, grad

    x = gf.placeholder(gf.float32, [])
    y = clipped(x)
    assert run([y, gf.gradients(y * 5.0, x)[0]], {x: 2.0}) == [20.0, 1.0]


def test_custom_gradient_of_two_arguments_and_results():
    @gf.custom_gradient
    def both(a, b):
        def grad(da, db):
            return da * 2.0, db * 3.0

        return [a + b, a * b], grad

    a, b = gf.placeholder(gf.float32, []), gf.placeholder(gf.float32, [])
    total, product = both(a, b)
    assert run(gf.gradients([total, product], [a, b]), {a: 5.0, b: 7.0}) == [2.0, 3.0]


def test_gradient_override_map():
    gf.RegisterGradient("TestOnlyHalfSquare")(lambda op, dy: dy * 0.5)
    x = gf.placeholder(gf.float32, [])
    with gf.get_default_graph().gradient_override_map({"Square": "TestOnlyHalfSquare"}):
        y = gf.square(x)
    assert run(gf.gradients(y, x)[0], {x: 3.0}) == 0.5


def test_a_missing_gradient_names_operation_and_line():
    x = gf.placeholder(gf.float32, [2, 2], name="x")
    with gf.get_default_graph().gradient_override_map({"Square": "NeverRegistered"}):
        y = gf.square(x, name="sq")
    with pytest.raises(LookupError, match=r"'sq' \(op type: NeverRegistered\) made at test_gradients\.py"):
        gf.gradients(y, x)


def test_gradients_of_strings_and_booleans_are_refused():
    with pytest.raises(TypeError, match="bool"):
        gf.gradients(gf.constant(True), gf.constant(1.0))


def test_gradient_operations_remember_the_forward_one():
    x = gf.placeholder(gf.float32, [])
    y = gf.exp(x, name="e")
    (dx,) = gf.gradients(y, x)
    assert dx.op.forward_op is y.op
    assert dx.op.name.startswith("gradients/e_grad/")


def test_a_deep_chain_needs_no_recursion():
    x = gf.placeholder(gf.float32, [])
    y = x
    for _ in range(5000):
        y = gf.identity(y)
    (dx,) = gf.gradients(y * 2.0, x)
    assert run(dx, {x: 1.0}) == 2.0


def test_slices_know_the_full_shape():
    known, open_ = gf.placeholder(gf.float32, [5, 7]), gf.placeholder(gf.float32, [None, 7])
    assert gf.gradients(gf.gather(known, [0, 2]), known)[0].shape.as_list() == [5, 7]
    assert gf.gradients(gf.gather(open_, [0, 2]), open_)[0].get_shape().as_list() == [None, None]
    assert gf.IndexedSlices(known, gf.constant([0])).shape.rank is None


def test_strings_scatter_as_in_tf1():
    assert run(gf.scatter_nd([[0], [2], [0]], ["a", "b", "c"], [3])).tolist() == [b"ac", b"", b"b"]
