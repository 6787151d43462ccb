"""Freezing: the order of reads and writes, effects, cycles; specialization; verification."""

import numpy as np
import pytest

import graphflow as gf
from graphflow.program import freeze, specialize, verify
from graphflow.testing import run_compiled, run_reference
from graphflow.text import program_text


@pytest.fixture(autouse=True)
def _fresh_graph():
    with gf.Graph().as_default():
        yield


def variable(value=1.0, name="v"):
    return gf.get_variable(name, initializer=gf.constant(value))


def results(fetches, feeds=(), **variables):
    """Runs by reference and compiled; both must agree."""
    program = freeze(fetches)
    verify(program)
    by_reference = run_reference(program, feeds, **variables)
    compiled = run_compiled(program, feeds, **variables)
    for a, b in zip(by_reference, compiled, strict=True):
        np.testing.assert_array_equal(a, b)
    return [value.tolist() for value in by_reference]


ONE = np.float32(1.0)


def test_a_read_that_nothing_places_after_a_write_sees_the_value_before():
    v = variable()
    before = v.read_value()
    add = gf.assign_add(v, 5.0).op
    late = v.read_value()
    assert results([before, late, add], v=ONE) == [1.0, 1.0]


def test_a_read_under_a_control_dependency_sees_the_write():
    v = variable()
    add = gf.assign_add(v, 5.0)
    with gf.control_dependencies([add]):
        after = v.read_value()
    assert results([after, v.read_value()], v=ONE) == [6.0, 1.0]


def test_unordered_writes_apply_in_the_order_made():
    v = variable()
    first = gf.assign(v, 10.0)
    second = gf.assign_add(v, 5.0)
    third = gf.assign(v, gf.identity(second) * 2.0)
    program = freeze([third.op if hasattr(third, "op") else third, first])
    assert [name for name, _ in program.commits] == ["v"]
    out = results([second, third, first], v=ONE)
    assert out[0] == 15.0 and out[1] == 30.0 and out[2] == 10.0


def test_variables_can_swap():
    a, b = variable(1.0, "a"), variable(2.0, "b")
    x, y = a.read_value(), b.read_value()
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        session.run([gf.assign(a, y), gf.assign(b, x)])
        assert session.run([a, b]) == [2.0, 1.0]


def test_fetching_a_handle_fetches_the_value():
    v = variable()
    assert results([v.handle], v=ONE) == [1.0]


def test_effects_run_before_what_waits_for_them():
    x = gf.placeholder(gf.float32, [], name="x")
    seen = []
    note = gf.py_func(lambda v: seen.append(float(v)) or np.float32(v), [x], gf.float32)
    with gf.control_dependencies([note]):
        y = gf.identity(x) * 2.0
    with gf.Session() as session:
        assert session.run(y, {x: 3.0}) == 6.0
    assert seen == [3.0]


def test_only_what_is_needed_is_frozen():
    x = gf.placeholder(gf.float32, [])
    y = gf.exp(x)
    gf.log(y)
    program = freeze([y], [x])
    assert [node.type for node in program.nodes] == ["GraphflowFeed", "Exp"]
    inner = freeze([y], [y])
    assert [node.type for node in inner.nodes] == ["GraphflowFeed"]


def test_a_cycle_is_named():
    a = gf.no_op(name="a")
    with gf.control_dependencies([a]):
        b = gf.no_op(name="b")
    a._add_control_input(b)
    with pytest.raises(ValueError, match="the graph has a cycle: .*a -> b|the graph has a cycle: .*b -> a"):
        freeze([b])


def test_specialization_keeps_open_sizes_open_in_the_static_shape():
    x = gf.placeholder(gf.float32, [None, 4])
    y = gf.reduce_sum(x * 2.0, 1)
    program = specialize(freeze([y], [x]), [(7, 4)], {})
    verify(program)
    assert program.fetches[0].sizes == (7,)
    assert program.fetches[0].static_shape.as_tuple() == (None,)
    assert "float32[7~]" in program_text(program)


def test_sizes_that_do_not_fit_name_the_node_and_the_line():
    x, y = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.float32, [None])
    z = gf.add(x, y, name="total")
    with pytest.raises(ValueError, match=r'AddV?2? "total".*made at test_program\.py'):
        specialize(freeze([z], [x, y]), [(3,), (4,)], {})


def test_equal_constants_and_reads_are_one_node():
    v = variable()
    y = (v + 2.0) * (v + 2.0)
    program = freeze([y])
    assert sum(node.type == "Const" for node in program.nodes) == 1
    assert sum(node.type.startswith("Add") for node in program.nodes) == 1


def test_programs_are_networkx_graphs_too():
    x = gf.placeholder(gf.float32, [])
    graph = freeze([gf.exp(x) + x], [x]).to_networkx()
    assert sorted(data["type"] for _, data in graph.nodes(data=True))[-1] == "GraphflowFeed"
    assert graph.number_of_edges() == 3
