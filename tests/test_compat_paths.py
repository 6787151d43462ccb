"""What deep paths of TensorFlow give besides names of graphflow."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import graphflow as gf
from graphflow import logging
from graphflow.compat import deprecation, documentation


def test_tensors_and_operations_take_things_of_the_programs_own() -> None:
    x = gf.constant([1.0, 2.0])
    x.W, x.op.note, gf.IndexedSlices(x, [0, 1]).mark = "w", 3, None  # type: ignore[attr-defined]
    assert x.graph.get_tensor_by_name(x.name).W == "w"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        x.V  # type: ignore[attr-defined]  # noqa: B018


def test_every_operator_can_be_passed_on() -> None:
    class Stand:
        def __init__(self, tensor: gf.Tensor) -> None:
            self.tensor = tensor

    for name in gf.Tensor.OVERLOADABLE_OPERATORS:
        setattr(Stand, name, lambda self, *rest, _name=name: getattr(gf.Tensor, _name)(self.tensor, *rest))
    a = Stand(gf.constant([7, -7]))
    with gf.Session() as session:
        told = session.run(
            [a + 1, 10 - a, a.__div__(2), a.__rdiv__(15), -a, a[0], gf.constant([1.0]).__div__(4.0)]
        )  # type: ignore
    assert [v.tolist() for v in told] == [[8, -6], [3, 17], [3, -4], [2, -3], [-7, 7], 7, [0.25]]


def test_what_is_deprecated_says_so_once_for_each_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @deprecation.deprecated("2030-01-01", "Use `new`.")
    def old() -> int:
        return 1

    @deprecation.deprecated_args(None, "Say `axis`.", "dim", ("keep", None))
    def function(axis: int | None = None, dim: int | None = None, keep: bool | None = None) -> object:
        return deprecation.deprecated_argument_lookup("axis", axis, "dim", dim)

    caplog.set_level("WARNING")
    monkeypatch.setattr(logging.get_logger(), "propagate", True)
    for _ in range(3):
        assert old() == 1
    assert function(axis=2, keep=None) == 2 and function(dim=3) == 3
    with deprecation.silence():
        old()
    told = [record.getMessage() for record in caplog.records]
    assert (
        len(told) == 2
        and "old is deprecated" in told[0]
        and "after 2030-01-01" in told[0]
        and __file__ in told[0]
    )
    assert "with dim is deprecated" in told[1]
    with pytest.raises(ValueError, match="both 'dim' and 'axis'"):
        function(1, 2)
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        deprecation.deprecated("soon", "x")


def test_modules_show_what_they_list() -> None:
    module = sys.modules["listed"] = ModuleType("listed", "All of it:\n\n@@shown\n")
    vars(module).update(shown=1, kept=2, hidden=3, _own=4)
    documentation.remove_undocumented("listed", ["kept"])
    assert [name for name in vars(module) if not name.startswith("__")] == ["shown", "kept", "_own"]
    documentation.reveal_undocumented("listed.hidden")
    assert module.hidden == 3
    del sys.modules["listed"]


def test_a_test_that_ended_within_a_graph_spoils_no_other() -> None:
    class Sloppy(gf.test.TestCase):
        def runTest(self) -> None:
            self.within = gf.Graph().as_default()
            self.within.__enter__()

    first, second = Sloppy(), Sloppy()
    first.setUp()
    first.runTest()
    second.setUp()
    assert not gf.get_default_graph().get_operations() and gf.get_default_graph() is not first.within
    first.within.__exit__(None, None, None)
