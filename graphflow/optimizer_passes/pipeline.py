"""Which passes run, in which order, and why. `OPEN` passes see the feeds' sizes open, once per set of fetches;
`SPECIALIZED` passes see them fixed, once per set of feed shapes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable

from graphflow.optimizer_passes.bounded_turns import bounded_turns
from graphflow.optimizer_passes.branches import place_branches
from graphflow.optimizer_passes.counted_draws import counted_draws
from graphflow.optimizer_passes.dense_lists import dense_lists
from graphflow.optimizer_passes.expand import expand_composites
from graphflow.optimizer_passes.explicit_sizes import explicit_sizes
from graphflow.optimizer_passes.fold_constants import fold_constants
from graphflow.optimizer_passes.indexed_rows import indexed_rows
from graphflow.optimizer_passes.keep_masks import keep_masks
from graphflow.optimizer_passes.known_checks import known_checks
from graphflow.optimizer_passes.known_lists import known_lists
from graphflow.optimizer_passes.late_waits import late_waits
from graphflow.optimizer_passes.loop_invariants import loop_invariants
from graphflow.optimizer_passes.loop_shapes import loop_shapes
from graphflow.optimizer_passes.loop_sums import loop_sums
from graphflow.optimizer_passes.loop_twins import loop_twins
from graphflow.optimizer_passes.manager import Pass
from graphflow.optimizer_passes.merge_common import merge_common
from graphflow.optimizer_passes.mixed_precision import mixed_precision
from graphflow.optimizer_passes.nested_checks import nested_checks
from graphflow.optimizer_passes.part_lists import part_lists
from graphflow.optimizer_passes.prune_loops import prune_loops
from graphflow.optimizer_passes.rematerialize import rematerialize
from graphflow.optimizer_passes.simplify import simplify
from graphflow.optimizer_passes.sized_lists import sized_lists
from graphflow.optimizer_passes.sparse_rows import sparse_rows
from graphflow.optimizer_passes.stack_products import stack_products
from graphflow.program import Program, Value, rebuild


def prune(program: Program, counts: Counter[str]) -> Program:
    """Keeps the nodes that a fetch, a new state or an effect needs. Freezing cuts the same way; passes leave rests."""
    return rebuild(program, lambda builder, node, inputs, controls: None)


def simplify_behind_loops(program: Program, counts: Counter[str]) -> Program:
    """Simplifies once more, if there is a loop or a branch."""
    return simplify(program, counts) if program.nests else program


_MOST_ROUNDS = 8


def lists_again(program: Program, counts: Counter[str]) -> Program:
    """Does with lists of what lists have become as with those, until there are no more."""
    for _ in range(_MOST_ROUNDS):
        sized = sized_lists(program, counts)
        if sized is program:
            break
        program = dense_lists(prune_loops(loop_twins(sized, counts), counts), counts)
    return program


OPEN: tuple[Pass, ...] = (
    Pass("prune", prune, "first: what nobody needs costs nobody time"),
    Pass("fold_constants", fold_constants, "before algebra: rules look for constants"),
    Pass("simplify", simplify, "on folded operands: identities show only then"),
    Pass("place_branches", place_branches, "predicates are folded; what is put in place meets the rest"),
    Pass("explicit_sizes", explicit_sizes, "before the feeds are searched for what decides sizes"),
    Pass("indexed_rows", indexed_rows, "on simplified bounds; before what asks what gradients are made of"),
    Pass("sparse_rows", sparse_rows, "before sizes are fixed, which it keeps from being unknown"),
    Pass("stack_products", stack_products, "after algebra: products have taken their transposes in"),
    Pass("merge_common", merge_common, "after algebra: different spellings have become equal"),
    Pass("late_waits", late_waits, "once what is computed is settled: it is only put in another order"),
    Pass(
        "mixed_precision",
        mixed_precision,
        "on merged values, so that each is rounded once; before sizes are fixed, since it needs none",
        default=False,
        exact=False,
    ),
)

SPECIALIZED: tuple[Pass, ...] = (
    Pass(
        "fold_shapes",
        fold_constants,
        "the sizes of this set of feeds are known now, and what was waiting for them",
    ),
    Pass("known_checks", known_checks, "conditions on sizes are folded; an assertion is a step of the host"),
    Pass("simplify_for_sizes", simplify, "reshapes and sums that turn out to do nothing"),
    Pass("loop_shapes", loop_shapes, "sizes are fixed now; before what asks for those of loop variables"),
    Pass("nested_checks", nested_checks, "what is known to hold is gone; before what leaves effects alone"),
    Pass("counted_draws", counted_draws, "sizes are fixed now; before what leaves alone what has effects"),
    Pass("loop_invariants", loop_invariants, "sizes are known; before what asks what limits the turns"),
    Pass("prune_loops", prune_loops, "gradients leave behind what nobody takes; before lists are looked at"),
    Pass("known_lists", known_lists, "sizes and turns are known; before what wants elements of one shape"),
    Pass("bounded_turns", bounded_turns, "invariants are limits by now; before what asks how long lists get"),
    Pass("part_lists", part_lists, "after what merges equal nodes; before what asks how long lists get"),
    Pass("sized_lists", sized_lists, "the numbers of turns are known; before what asks for lengths"),
    Pass("loop_twins", loop_twins, "the lengths of lists are numbers now, all of which count the turns"),
    Pass(
        "prune_loops_of_lengths", prune_loops, "the lengths of lists are numbers now, of which few are needed"
    ),
    Pass(
        "dense_lists", dense_lists, "lengths and elements' sizes are known now; before what looks for tensors"
    ),
    Pass("lists_again", lists_again, "what was stacked has sizes now: lists of its rows have lengths"),
    Pass("simplify_behind_loops", simplify_behind_loops, "what loops give out has sizes since loop_shapes"),
    Pass("loop_twins_again", loop_twins, "of lists that are filled with the same, one tensor is left"),
    Pass("prune_loops_again", prune_loops, "rows that are set and never read show only in tensors"),
    Pass("loop_sums", loop_sums, "on stacked tensors; the number of turns is known"),
    Pass("expand_composites", expand_composites, "last: earlier rules know the composite by its name"),
    Pass("fold_expanded", fold_constants, "expansion writes shapes and axes as constants"),
    Pass("merge_expanded", merge_common, "two expansions share their parts"),
    Pass("keep_masks", keep_masks, "on merged values: who takes random numbers is known"),
)


def with_room(turns: int) -> tuple[Pass, ...]:
    """The `SPECIALIZED` passes, where loops that nobody limits get room for so many turns."""
    run = functools.partial(bounded_turns, room=turns)
    return tuple(
        [Pass(step.name, run, step.reason) if step.name == "bounded_turns" else step for step in SPECIALIZED]
    )


def rematerialization(
    budget: int, peak_of: Callable[[Program], int], kept: Callable[[Program], Iterable[Value]]
) -> Pass:
    """The pass that runs last of all where there is a budget: it measures what the program has become."""
    run = functools.partial(rematerialize, budget=budget, peak_of=peak_of, kept=kept)
    return Pass("rematerialize", run, "last: what takes memory shows only in the program that is lowered")


NAMES = (*(step.name for step in (*OPEN, *SPECIALIZED)), "rematerialize")
