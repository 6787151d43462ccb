"""Each pass on program text: where it fires, where it must not, and that values stay."""

from collections import Counter

import numpy as np
import pytest

import graphflow.ops  # noqa: F401 - fills the registry
from graphflow.errors import PassError
from graphflow.optimizer_passes.fold_constants import fold_constants
from graphflow.optimizer_passes.manager import Pass, run_passes
from graphflow.optimizer_passes.merge_common import merge_common
from graphflow.optimizer_passes.simplify import simplify
from graphflow.program import Program, specialize
from graphflow.testing import check_rewrite
from graphflow.text import parse_program, program_text

X = "%0 = GraphflowFeed('x:0') -> float32[2,3]\n"
VALUES = [[1.0, -0.0, np.nan], [np.inf, -np.inf, 0.5]]


def test_text_is_read_back():
    text = X + "%1 = Const(value=2.0) -> float32[]\n%2 = Mul(%0, %1) -> float32[2,3]\nfetch %2, %0"
    once = program_text(parse_program(text))
    assert program_text(parse_program(once)) == once
    assert "%2 = Mul(%0, %1) -> float32[2,3]" in once


def test_text_names_the_line_it_cannot_read():
    with pytest.raises(ValueError, match="line 2.*Op type not registered"):
        parse_program(X + "%1 = Nonsense(%0) -> float32[2,3]\nfetch %1")


def test_constants_fold():
    check_rewrite(
        fold_constants,
        X + "%1 = Const(value=2.0) -> float32[]\n%2 = Square(%1) -> float32[]\n"
        "%3 = Mul(%0, %2) -> float32[2,3]\nfetch %3",
        X + "%1 = Const(value=4.0) -> float32[]\n%2 = Mul(%0, %1) -> float32[2,3]\nfetch %2",
        [VALUES],
    )


def test_known_shapes_are_numbers():
    check_rewrite(
        fold_constants,
        X + "%1 = Shape(%0) -> int32[2]\nfetch %1",
        X + "%1 = Const(value=[2,3]) -> int32[2]\nfetch %1",
        [VALUES],
    )


def test_open_shapes_stay():
    text = "%0 = GraphflowFeed('x:0') -> float32[?,3]\n%1 = Shape(%0) -> int32[2]\nfetch %1"
    check_rewrite(fold_constants, text, text, [VALUES])


def test_a_large_fill_is_no_constant():
    text = (
        X + "%1 = Const(value=[512,512]) -> int32[2]\n%2 = Const(value=1.0) -> float32[]\n"
        "%3 = Fill(%1, %2) -> float32[512,512]\nfetch %3"
    )
    check_rewrite(fold_constants, text, text, [VALUES])


def test_identities_vanish():
    check_rewrite(
        simplify,
        X
        + "%1 = Identity(%0) -> float32[2,3]\n%2 = Neg(%1) -> float32[2,3]\n%3 = Neg(%2) -> float32[2,3]\nfetch %3",
        X + "fetch %0",
        [VALUES],
    )


@pytest.mark.parametrize("number,op,fires", [("1.0", "Mul", True), ("2.0", "Mul", False), ("0.0", "AddV2", False),
                                             ("-0.0", "AddV2", True), ("0.0", "Sub", True), ("-0.0", "Sub", False),
                                             ("1.0", "RealDiv", True)])  # fmt: skip
def test_neutral_elements(number, op, fires):
    """-0.0 + 0.0 is 0.0, so only a negative zero may be dropped from a float sum."""
    before = X + f"%1 = Const(value={number}) -> float32[]\n%2 = {op}(%0, %1) -> float32[2,3]\nfetch %2"
    check_rewrite(simplify, before, X + "fetch %0" if fires else before, [VALUES])


def test_a_neutral_element_that_stretches_stays():
    text = (
        "%0 = GraphflowFeed('x:0') -> float32[3]\n%1 = Const(value=[[1.0],[1.0]]) -> float32[2,1]\n"
        "%2 = Mul(%0, %1) -> float32[2,3]\nfetch %2"
    )
    check_rewrite(simplify, text, text, [[1, 2, 3]])


def test_transposes_merge():
    check_rewrite(
        simplify,
        X + "%1 = Const(value=[1,0]) -> int32[2]\n%2 = Transpose(%0, %1) -> float32[3,2]\n"
        "%3 = Transpose(%2, %1) -> float32[2,3]\nfetch %3",
        X + "fetch %0",
        [VALUES],
    )


def test_products_absorb_transposes():
    check_rewrite(
        simplify,
        X + "%1 = GraphflowFeed('y:0') -> float32[2,4]\n%2 = Const(value=[1,0]) -> int32[2]\n"
        "%3 = Transpose(%0, %2) -> float32[3,2]\n%4 = MatMul(%3, %1) -> float32[3,4]\nfetch %4",
        X
        + "%1 = GraphflowFeed('y:0') -> float32[2,4]\n%2 = MatMul(%0, %1, transpose_a=True) -> float32[3,4]\nfetch %2",
        [np.ones((2, 3)), np.ones((2, 4))],
    )


def test_equal_nodes_merge():
    check_rewrite(
        merge_common,
        X + "%1 = GraphflowFeed('y:0') -> float32[2,3]\n%2 = Mul(%0, %1) -> float32[2,3]\n"
        "%3 = Mul(%1, %0) -> float32[2,3]\n%4 = Sub(%2, %3) -> float32[2,3]\nfetch %4",
        X + "%1 = GraphflowFeed('y:0') -> float32[2,3]\n%2 = Mul(%0, %1) -> float32[2,3]\n"
        "%3 = Sub(%2, %2) -> float32[2,3]\nfetch %3",
        [np.ones((2, 3)), np.ones((2, 3))],
    )


def test_strings_are_joined_in_their_order():
    text = (
        "%0 = GraphflowFeed('x:0') -> string[2]\n%1 = GraphflowFeed('y:0') -> string[2]\n"
        "%2 = AddV2(%1, %0) -> string[2]\nfetch %2"
    )
    check_rewrite(merge_common, text, text, [np.array([b"a", b"b"], object), np.array([b"x", b"y"], object)])


def test_constants_of_other_bits_do_not_merge():
    text = X + "%1 = Const(value=0.0) -> float32[]\n%2 = Const(value=-0.0) -> float32[]\nfetch %1, %2"
    check_rewrite(merge_common, text, text, [VALUES])


def test_a_specialized_shape_stays_open_in_generated_code():
    program = parse_program(
        "%0 = GraphflowFeed('x:0') -> float32[?,3]\n%1 = Shape(%0) -> int32[2]\n%2 = Const(value=1.0) -> float32[]\n"
        "%3 = Fill(%1, %2) -> float32[?,3]\n%4 = Mul(%0, %3) -> float32[?,3]\nfetch %4"
    )
    fixed = fold_constants(specialize(program, ((7, 3),), {}), Counter())
    fill = next(node for node in fixed.nodes if node.type == "Fill")
    assert fill.outputs[0].sizes == (7, 3)
    assert fill.outputs[0].static_shape.as_tuple()[0] is None


def test_an_error_names_the_pass():
    def broken(program: Program, counts: Counter[str]) -> Program:
        raise KeyError("lost")

    program = parse_program(X + "fetch %0")
    with pytest.raises(PassError, match=r"pass broken \(after simplify\) failed"):
        run_passes(program, (Pass("simplify", simplify, ""), Pass("broken", broken, "")))


def test_passes_can_be_left_out():
    program = parse_program(X + "%1 = Identity(%0) -> float32[2,3]\nfetch %1")
    step = Pass("simplify", simplify, "")
    assert run_passes(program, (step,), disabled=frozenset(["simplify"])) is program
    assert len(run_passes(program, (step,)).nodes) == 1
