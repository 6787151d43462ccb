"""The user's graph: names, scopes, control edges, devices, collections, seeds, finalize, errors."""

import threading

import numpy as np
import pytest

import graphflow as gf
from graphflow.graph import canonical_device, merge_devices


@pytest.fixture(autouse=True)
def _fresh_graph():
    with gf.Graph().as_default():
        yield


def test_names_are_made_unique_as_in_tf1():
    names = [gf.constant(1.0, name="c").op.name for _ in range(3)]
    assert names == ["c", "c_1", "c_2"]
    assert gf.constant(1.0, name="C").op.name == "C_3"  # names differ by more than case
    assert gf.constant(1.0, name="c_1").op.name == "c_1_1"


def test_name_scopes_nest_reenter_and_return_to_the_root():
    with gf.name_scope("a") as a:
        with gf.name_scope("b"):
            assert gf.constant(1.0, name="x").op.name == "a/b/x"
        with gf.name_scope("b"):
            assert gf.constant(1.0, name="x").op.name == "a/b_1/x"
        with gf.name_scope(""):
            assert gf.constant(1.0, name="x").op.name == "x"
    with gf.name_scope(a):
        assert gf.constant(1.0, name="x").op.name == "a/x"
    with gf.name_scope("a"):
        assert gf.constant(1.0, name="x").op.name == "a_1/x"


@pytest.mark.parametrize("bad", ["a b", "-a", "a$"])
def test_names_with_other_characters_are_refused(bad):
    with pytest.raises(ValueError, match="not a valid"):
        gf.constant(1.0, name=bad)


def test_operands_are_named_below_their_operation():
    x = gf.placeholder(gf.float32, [], name="x")
    y = gf.add(x, 1.0)
    assert [t.op.name for t in y.op.inputs] == ["x", "Add/y"]


def test_control_dependencies():
    a, b = gf.no_op(name="a"), gf.no_op(name="b")
    with gf.control_dependencies([a]):
        with gf.control_dependencies([b]):
            inner = gf.no_op()
            after_inner = gf.identity(gf.constant(1.0))
        with gf.control_dependencies(None):
            free = gf.no_op()
    assert inner.control_inputs == [a, b]
    assert free.control_inputs == []
    # Its operand waits already, so the operation itself need not.
    assert after_inner.op.control_inputs == []
    assert after_inner.op.inputs[0].op.control_inputs == [a, b]


def test_device_scopes_merge_and_functions_choose():
    with gf.device("/job:worker/task:1"):
        with gf.device("/gpu:2"):
            assert gf.no_op().device == "/job:worker/task:1/device:GPU:2"
        with gf.device(None):
            assert gf.no_op().device == ""
    with gf.device(lambda op: "/cpu:0" if op.type == "NoOp" else ""):
        assert gf.no_op().device == "/device:CPU:0"
        assert gf.constant(1.0).device == ""
    with pytest.raises(ValueError, match="Unknown attribute"):
        gf.device("/nonsense:0").__enter__()
    assert canonical_device("/GPU:1") == "/device:GPU:1"
    assert merge_devices("/job:a", "/device:CPU:0") == "/job:a/device:CPU:0"


def test_colocation_follows_the_device():
    with gf.device("/gpu:0"):
        a = gf.constant(1.0, name="a")
    with gf.colocate_with(a.op):
        b = gf.constant(2.0)
    assert b.device == "/device:GPU:0"
    assert b.op.get_attr("_class") == ("loc:@a",)


def test_collections_filter_by_scope():
    with gf.name_scope("in"):
        x = gf.constant(1.0, name="x")
    gf.add_to_collection("things", x)
    gf.add_to_collection("things", 3)
    assert gf.get_collection("things") == [x, 3]
    assert gf.get_collection("things", scope="in") == [x]
    assert gf.get_collection("things", scope="out") == []
    gf.get_collection_ref("things").append(4)
    assert len(gf.get_collection("things")) == 3


def test_seeds_follow_tensorflows_rules():
    graph = gf.get_default_graph()
    assert graph.get_seed(None) == (None, None)
    assert graph.get_seed(7) == (87654321, 7)
    gf.set_random_seed(5)
    assert graph.get_seed(7) == (5, 7)
    by_name = graph.get_seed(None, "u")
    gf.constant(1.0)  # an unrelated operation changes nothing
    assert graph.get_seed(None, "u") == by_name
    assert graph.get_seed(None, "v") != by_name
    graph.set_seed(5, rule="counter")
    assert [graph.get_seed(None, "u") for _ in range(3)] == [(5, 0), (5, 1), (5, 2)]
    gf.set_random_seed(0)
    assert graph.get_seed(0) == (0, 2**31 - 1)


def test_finalize_names_the_line_that_adds():
    gf.get_default_graph().finalize()
    with pytest.raises(RuntimeError, match=r"finalized.*test_graph\.py:\d+"):
        gf.constant(1.0)


def test_each_thread_starts_with_the_global_default_graph():
    found = []
    thread = threading.Thread(target=lambda: found.append(gf.get_default_graph()))
    thread.start()
    thread.join()
    assert found[0] is not gf.get_default_graph()


def test_reset_default_graph_is_refused_inside_a_graph():
    with pytest.raises(AssertionError, match="nested graphs"):
        gf.reset_default_graph()


def test_elements_by_name_with_near_names_in_errors():
    x = gf.placeholder(gf.float32, [], name="inputs")
    graph = gf.get_default_graph()
    assert graph.get_tensor_by_name("inputs:0") is x
    assert graph.get_operation_by_name("inputs") is x.op
    with pytest.raises(KeyError, match="Did you mean 'inputs'"):
        graph.get_tensor_by_name("input:0")
    with pytest.raises(KeyError, match="only has 1 outputs"):
        graph.get_tensor_by_name("inputs:1")
    with pytest.raises(ValueError, match="perhaps 'inputs:0'"):
        graph.get_tensor_by_name("inputs")
    other = gf.Graph()
    with pytest.raises(ValueError, match="not an element of this graph"):
        other.as_graph_element(x)


def test_a_tensor_is_no_python_value():
    x = gf.placeholder(gf.float32, [3])
    for use in (bool, list, len, float, np.asarray):
        with pytest.raises(TypeError, match="Placeholder:0"):
            use(x)
    assert x == x and (x == 3) is False  # identity, as in TF1
    assert x in {x: 1}


def test_operations_remember_the_users_lines_only():
    x = gf.constant(1.0) + 2.0
    files = {frame[0] for frame in x.op.traceback}
    assert any(file.endswith("test_graph.py") for file in files)
    assert not any("/graphflow/ops" in file or "/graphflow/opdef" in file for file in files)
    assert x.op.user_line.startswith("test_graph.py:")


def test_mismatches_are_refused_at_build_with_both_operands_and_the_line():
    a, b = gf.placeholder(gf.float32, [32, 100]), gf.placeholder(gf.float32, [128, 10])
    with pytest.raises(ValueError) as caught:
        gf.matmul(a, b)
    text = str(caught.value)
    assert (
        "float32[32,100]" in text and "float32[128,10]" in text and "test_graph.py" in text and "100" in text
    )
    with pytest.raises(TypeError) as caught_type:
        gf.add(a, gf.constant(1))
    assert "int32[]" in str(caught_type.value) and "expected float32" in str(caught_type.value)


def test_tensors_of_two_graphs_do_not_mix():
    a = gf.constant(1.0)
    with gf.Graph().as_default():
        b = gf.constant(2.0)
    with pytest.raises(ValueError, match="must be from the same graph"):
        gf.add_n([a, b])


def test_constants_take_their_shape_as_in_tf1():
    assert gf.constant(0, shape=[2, 0, 3]).shape.as_list() == [2, 0, 3]
    assert gf.zeros([2, 0]).shape.as_list() == [2, 0]
    with pytest.raises(ValueError, match="Too many elements"):
        gf.constant([1, 2], shape=[0])
    with pytest.raises(ValueError, match="None values not supported"):
        gf.constant(None)


def test_shapes_are_as_in_tf1():
    shape = gf.TensorShape([None, 3])
    assert shape.as_list() == [None, 3] and shape.ndims == 2 and shape[1].value == 3
    assert str(shape) == "(?, 3)" and not shape.is_fully_defined()
    assert shape.merge_with([2, None]).as_list() == [2, 3]
    with pytest.raises(ValueError, match="not compatible"):
        shape.merge_with([2, 4])
    assert (gf.Dimension(3) * 2).value == 6 and (gf.Dimension(None) + 1).value is None
    assert (gf.Dimension(None) == 3) is None and (gf.Dimension(None) != 3) is None  # unknown, as in TF1
    x = gf.placeholder(gf.float32)
    assert x.shape.ndims is None
    x.set_shape([2, None])
    x.set_shape([None, 5])
    assert x.get_shape().as_list() == [2, 5]
    with pytest.raises(ValueError):
        x.set_shape([3, 5])


def test_dtypes_are_as_in_tf1():
    assert (
        gf.as_dtype("float32") is gf.float32
        and gf.as_dtype(np.int64) is gf.int64
        and gf.as_dtype(1) is gf.float32
    )
    assert gf.as_dtype(101) is gf.float32  # a reference type in a file
    assert gf.float32 == np.float32 and gf.float32 != "int32" and gf.bool.name == "bool"
    assert gf.bfloat16.size == 2 and gf.int8.max == 127 and gf.string.as_numpy_dtype is np.object_
    assert gf.constant([1.5]).dtype is gf.float32 and gf.constant(1).dtype is gf.int32
    assert gf.constant(2**40).dtype is gf.int64 and gf.constant(np.float64(1)).dtype is gf.float64
    with pytest.raises(TypeError):
        gf.constant(1.5, gf.int32)
    with pytest.raises(TypeError):
        gf.as_dtype("nonsense")
    with pytest.raises(ValueError, match="non-rectangular"):
        gf.constant([[1], [2, 3]])
