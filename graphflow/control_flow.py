"""Branches and loops in the graph: cond, case, switch_case, while_loop, as TF1 spells them.

Bodies are functions (`function.FuncGraph`). What they use from outside is captured; a variable that is made inside is
made in the graph that is no function's body, under the name scope in force. As in TF1, an operation inside a body runs
only if what the body returns needs it, by data or by control edges.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, functional_gradients, nest
from graphflow.dtypes import DType
from graphflow.function import FuncGraph, finished, unique_function_name
from graphflow.graph import (
    Graph,
    GraphKeys,
    Operation,
    Tensor,
    add_to_collections,
    control_dependencies,
    get_default_graph,
    name_scope,
    user_frames,
)
from graphflow.opdef import constant, convert_to_tensor, emit
from graphflow.ops.functional import alike, is_stateful, matched_captures
from graphflow.shapes import TensorShape, as_shape

_MOST_RELAXATIONS = 64


# -- bodies -----------------------------------------------------------------------------------------------------


def _as_leaf(value: Any, what: str) -> Any:
    """A leaf of what a body returns: operations stay, all else is made a tensor or stays a composite."""
    if isinstance(value, Operation | Tensor) or nest.composite_of(value) is not None:
        if isinstance(value, Tensor) and value.dtype is dtypes.resource:
            return convert_to_tensor(value)
        return value
    try:
        return convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from None


class _Body:
    """What a body returned, inside its graph."""

    def __init__(self, graph: FuncGraph, structure: Any) -> None:
        self.graph = graph
        self.structure = structure

    @property
    def tensors(self) -> list[Tensor]:
        return nest.flatten(self.structure, True)


def _with_effects(outputs: Sequence[Tensor], operations: Sequence[Operation]) -> list[Tensor]:
    """Copies of the outputs that wait for operations."""
    if not operations:
        return list(outputs)
    with control_dependencies(operations):
        return [emit.Identity(tensor) for tensor in outputs]


def _call_waits(graphs: Iterable[FuncGraph]) -> list[Operation]:
    return list(dict.fromkeys(op for graph in graphs for op in graph.control_captures))


def _identities(values: Sequence[Tensor], scope: str) -> list[Tensor]:
    """What users see of a node's outputs: an Identity each, under the node's name, as TensorFlow has them."""
    with name_scope(scope):
        made = []
        for value in values:
            result: Tensor = emit.Identity(value)
            result.set_shape(value.shape)
            made.append(result)
        return made


# -- branches ---------------------------------------------------------------------------------------------------


def _branch(function: Callable[[], Any], name: str, pred: Tensor, strict: bool) -> _Body:
    outer = get_default_graph()
    graph = FuncGraph(name, outer, scoped=True)
    with graph.as_default():
        try:
            structure = function()
        except RecursionError as error:
            if isinstance(outer, FuncGraph):
                raise
            raise RecursionError(
                f"{_called(function)}: {error}; functions nested this deep need a higher limit than"
                f" {sys.getrecursionlimit()}, see sys.setrecursionlimit"
            ) from error
        if structure is None:
            raise ValueError(f"{_called(function)} must have a return value.")
        if not strict and isinstance(structure, list | tuple) and len(structure) == 1:
            structure = structure[0]
        _warn_of_outside(structure, graph, function)
        leaves = []
        for leaf in nest.flatten(structure):
            leaf = _as_leaf(leaf, f"{_called(function)} returns")
            if isinstance(leaf, Operation):
                # What is fetched for an operation is the predicate, once the operation is done.
                with graph.control_dependencies([leaf]):
                    leaf = emit.Identity(pred)
            leaves.append(leaf)
        return _Body(graph, nest.pack_sequence_as(structure, leaves))


def _called(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


_OUTSIDE_WARNED: set[tuple[str, int]] = set()


def _warn_of_outside(structure: Any, graph: FuncGraph, function: Callable[..., Any]) -> None:
    """Warns once per line of a branch that gives nothing but what was made outside, and so runs in any case."""
    leaves = nest.flatten(structure, True)
    outside = [leaf for leaf in leaves if isinstance(leaf, Operation | Tensor) and leaf.graph is not graph]
    if len(outside) < len(leaves) or len(graph.get_operations()) > len(graph.inputs):
        return
    acting = [found for leaf in outside if (found := _effect_behind(leaf)) is not None]
    frames = user_frames()
    where = (frames[0][0], frames[0][1]) if frames else ("", 0)
    if not acting or where in _OUTSIDE_WARNED:
        return
    _OUTSIDE_WARNED.add(where)
    made = f" (made at {acting[0].user_line})" if acting[0].user_line else ""
    warnings.warn(
        f"The branch {_called(function)} only returns what was made outside of it, such as the result of"
        f" {acting[0].name!r}{made}: it runs whichever branch is taken. Make it inside the branch function.",
        RuntimeWarning,
        stacklevel=_outside_level(),
    )


def _effect_behind(leaf: Any) -> Operation | None:
    """The operation with an effect that computing a tensor or running an operation is there for, or None."""
    operation = leaf if isinstance(leaf, Operation) else leaf.op
    candidates = [operation, *operation.control_inputs]
    if operation.type == "NoOp":
        candidates += [deeper for control in operation.control_inputs for deeper in control.control_inputs]
    return next((found for found in candidates if found.op_def.effects in ("writes", "host")), None)


def _outside_level() -> int:
    """How many frames up the user's code is."""
    from_here, frame = 0, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("graphflow."):
        from_here += 1
        frame = frame.f_back  # type: ignore[assignment]
    return from_here + 1


def cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    strict: bool = False,
    name: str | None = None,
    fn1: Callable[[], Any] | None = None,
    fn2: Callable[[], Any] | None = None,
) -> Any:
    """Returns what `true_fn` gives where `pred` holds, else what `false_fn` gives.

    Operations made inside the functions run only if their branch is taken; those made outside run in any case.

    Args:
      pred: boolean scalar.
      true_fn: takes nothing; returns tensors, operations or nested structures of them.
      false_fn: the same; its result has the same structure and dtypes.
      strict: whether a list or tuple of one element is returned as such.
      name: a name scope.
      fn1: the old name of `true_fn`.
      fn2: the old name of `false_fn`.

    Returns:
      A structure like that of the functions' results. In the place of an operation stands a boolean tensor.

    Raises:
      TypeError: if a function is missing or not callable, `pred` is a Python bool, or dtypes differ.
      ValueError: if a function returns None, or the structures differ.
    """
    if fn1 is not None:
        if true_fn is not None:
            raise TypeError("cond(): true_fn and fn1 may not be set simultaneously.")
        true_fn = fn1
    if fn2 is not None:
        if false_fn is not None:
            raise TypeError("cond(): false_fn and fn2 may not be set simultaneously.")
        false_fn = fn2
    if true_fn is None:
        raise TypeError("cond(): true_fn argument required")
    if false_fn is None:
        raise TypeError("cond(): false_fn argument required")
    for which, function in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(function):
            raise TypeError(f"'{which}' must be callable.")
    if isinstance(pred, bool):
        raise TypeError("'pred' must not be a Python bool.")
    with name_scope(name, "cond", [pred]) as scope:
        chosen = convert_to_tensor(pred, name="pred")
        if chosen.dtype is not dtypes.bool_:
            raise TypeError(f"'pred' must be a boolean tensor, got {chosen!r}")
        if chosen.shape.rank not in (None, 0):
            raise ValueError(f"pred must be a scalar, got shape {chosen.shape}")
        bodies = [
            _branch(function, unique_function_name(f"{scope}{part}"), chosen, strict)
            for part, function in (("true", true_fn), ("false", false_fn))
        ]
        return _chosen(chosen, bodies, ["true_fn", "false_fn"], "If", scope)


def _chosen(choice: Tensor, bodies: Sequence[_Body], names: Sequence[str], op_type: str, scope: str) -> Any:
    """Adds the operation that runs one of several bodies; returns what users see of its outputs."""
    _check_alike(bodies, names)
    results = [[body.graph.capture(tensor) for tensor in body.tensors] for body in bodies]
    collections = _give_summaries(bodies, results)
    captured = matched_captures([body.graph for body in bodies])
    functions = [finished(body.graph, outputs) for body, outputs in zip(bodies, results, strict=True)]
    shapes = [
        alike(list(same)) for same in zip(*([t.shape for t in f.outputs] for f in functions), strict=True)
    ]
    if op_type == "If":
        attrs: dict[str, Any] = {"then_branch": functions[0], "else_branch": functions[1]}
    else:
        attrs = {"branches": functions}
    with control_dependencies(_call_waits(body.graph for body in bodies)):
        emitter = getattr(emit, op_type if any(map(is_stateful, functions)) else f"Stateless{op_type}")
        outputs = emitter(
            choice, captured, Tout=[t.dtype for t in functions[0].outputs], output_shapes=shapes, name=scope, **attrs
        )  # fmt: skip
    seen = _identities(outputs, scope)
    own = len(seen) - len(collections)
    for keys, summary in zip(collections, seen[own:], strict=True):
        add_to_collections(keys, summary)
    return nest.pack_sequence_as(bodies[0].structure, seen[:own], True)


_SUMMARIES = frozenset(
    {"AudioSummary", "AudioSummaryV2", "HistogramSummary", "ImageSummary", "MergeSummary", "ScalarSummary",
     "TensorSummary", "TensorSummaryV2"}
)  # fmt: skip


def _give_summaries(bodies: Sequence[_Body], results: Sequence[list[Tensor]]) -> list[list[Any]]:
    """Has branches give the summaries that are collected in them, so that they can be merged outside.

    A branch that is not taken gives none, the empty message.

    Returns:
      per summary that was added to the results the collections it was put in.
    """
    collections: list[list[Any]] = []
    for body in bodies:
        graph, found = body.graph, dict[Tensor, list[Any]]()
        for key in graph.collections:
            for item in graph.get_collection(key):
                if not isinstance(item, Tensor) or item.graph is not graph or item.dtype is not dtypes.string:
                    continue
                # Of a branch within a branch an Identity is collected.
                if key == GraphKeys.SUMMARIES or item.op.type in _SUMMARIES:
                    found.setdefault(item, []).append(key)
        for summary, keys in found.items():
            for other, given in zip(bodies, results, strict=True):
                if other is body:
                    given.append(summary)
                else:
                    with other.graph.as_default():
                        given.append(constant(b""))
            collections.append(keys)
    return collections


def case(
    pred_fn_pairs: Any,
    default: Callable[[], Any] | None = None,
    exclusive: bool = False,
    strict: bool = False,
    name: str = "case",
) -> Any:
    """Returns what the function beside the first predicate that holds gives.

    Args:
      pred_fn_pairs: pairs of a boolean scalar and a function without arguments, in a list or a dict.
      default: the function for when no predicate holds; without one, that is an error of the run.
      exclusive: whether it is an error of the run if more than one predicate holds.
      strict: whether a list or tuple of one element is returned as such.
      name: a name scope.

    Raises:
      TypeError: if the pairs are not such, or a function is not callable.
      ValueError: if there is none, or the structures of the functions' results differ.
    """
    if isinstance(pred_fn_pairs, dict):
        pairs = sorted(pred_fn_pairs.items(), key=lambda pair: str(pair[0].name))
    elif isinstance(pred_fn_pairs, list | tuple):
        pairs = list(pred_fn_pairs)
    else:
        raise TypeError("'pred_fn_pairs' must be a list, tuple, or dict.")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError("Each entry in 'pred_fn_pairs' must be a 2-tuple.")
        if getattr(pair[0], "dtype", None) is not dtypes.bool_:
            raise TypeError(f"pred must be Tensor of type bool: {pair[0]!r}")
        if not callable(pair[1]):
            raise TypeError(f"fn for pred {pair[0].name} must be callable.")
    if default is not None and not callable(default):
        raise TypeError("default must be callable.")
    if not pairs:
        if default is None:
            raise ValueError("Must provide at least one pred_fn_pair or a default")
        return default()
    with name_scope(name, "case", [pred for pred, _ in pairs]):
        predicates = [convert_to_tensor(pred) for pred, _ in pairs]
        functions = [function for _, function in pairs]
        waits = _case_checks(predicates, default is None, exclusive)
        with control_dependencies(waits), name_scope(None, "cond") as scope:
            last = len(functions) - 1 if default is None else len(functions)
            index: Any = constant(np.array(last, np.int32))
            for i in reversed(range(len(predicates))):
                index = emit.SelectV2(predicates[i], constant(np.array(i, np.int32)), index)
            if default is not None:
                functions.append(default)
            return _indexed(index, functions, strict, scope)


def _case_checks(predicates: Sequence[Tensor], needs_one: bool, exclusive: bool) -> list[Operation]:
    """Operations that fail unless as many predicates hold as must."""
    if not needs_one and not exclusive:
        return []
    together = emit.Pack(list(predicates))
    count = emit.Sum(emit.Cast(together, DstT=dtypes.int32), np.array(0, np.int32))
    names = ", ".join(predicate.name for predicate in predicates)
    checks = []
    if needs_one:
        told = f"None of conditions evaluated as True. Conditions: ({names}), Values:"
        checks.append(emit.Assert(emit.Greater(count, 0), [told, together]))
    if exclusive:
        told = (
            f"More than one condition evaluated as True but exclusive=True.  Conditions: ({names}), Values:"
        )
        checks.append(emit.Assert(emit.LessEqual(count, 1), [told, together]))
    return checks


def _indexed(index: Tensor, functions: Sequence[Callable[[], Any]], strict: bool, scope: str) -> Any:
    bodies = [
        _branch(function, unique_function_name(f"{scope}branch{i}"), index, strict)
        for i, function in enumerate(functions)
    ]
    names = [f"branch_fns[{i}]" for i in range(len(functions))]
    return _chosen(index, bodies, names, "Case", scope)


def switch_case(
    branch_index: Any, branch_fns: Any, default: Callable[[], Any] | None = None, name: str = "switch_case"
) -> Any:
    """Returns what the function at an index gives.

    Args:
      branch_index: int32 scalar.
      branch_fns: functions without arguments, in a list, a list of pairs with their indices, or a dict by index.
      default: the function for all other indices; without one, the last.
      name: a name scope.

    Raises:
      TypeError: if the functions are not such, or the index is not a scalar of int32.
      ValueError: if there is none, indices are not 0, 1, 2 and so on, or the structures of results differ.
    """
    pairs = _canonical_branches(branch_fns)
    functions = [function for _, function in pairs]
    for function in (*functions, *([] if default is None else [default])):
        if not callable(function):
            raise TypeError(f"fn for branch must be callable, got {function!r}")
    with name_scope(name, "switch_case", [branch_index]):
        index = convert_to_tensor(branch_index, name="branch_index")
        if not index.dtype.is_integer:
            raise TypeError(f"'branch_index' must be an integer, got {index!r}")
        if index.dtype is not dtypes.int32:
            index = emit.Cast(index, DstT=dtypes.int32)
        if default is not None:
            functions.append(default)
        with name_scope(None, "indexed_case") as scope:
            return _indexed(index, functions, False, scope)


def _canonical_branches(branch_fns: Any) -> list[tuple[int, Any]]:
    if isinstance(branch_fns, dict):
        pairs = list(branch_fns.items())
    elif isinstance(branch_fns, list | tuple):
        if all(callable(item) for item in branch_fns):
            pairs = list(enumerate(branch_fns))
        else:
            pairs = list(branch_fns)
    else:
        raise TypeError("'branch_fns' must be a list, tuple, or dict.")
    if not pairs:
        raise ValueError("Must provide at least one item in 'branch_fns'")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], int):
            raise TypeError(
                f"Each entry in 'branch_fns' must be a function, or a tuple of an int and a function: {pair!r}"
            )
    pairs.sort(key=lambda pair: pair[0])
    if [index for index, _ in pairs] != list(range(len(pairs))):
        raise ValueError(
            f"branch indices must form contiguous range of [0 to {len(pairs)}) but found"
            f" {[index for index, _ in pairs]}"
        )
    return pairs


def _check_alike(bodies: Sequence[_Body], names: Sequence[str]) -> None:
    first = bodies[0]
    for body, name in zip(bodies[1:], names[1:], strict=True):
        try:
            nest.assert_same_structure(first.structure, body.structure, True, True)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Incompatible return values of {names[0]} and {name}: {error}") from None
        for i, (a, b) in enumerate(zip(first.tensors, body.tensors, strict=True)):
            if a.dtype is not b.dtype:
                raise TypeError(
                    f"Outputs of {names[0]} and {name} must have the same type: {a.dtype.name}, {b.dtype.name}"
                    f" (value {i}: {_told(a)}, {_told(b)})"
                )


def _told(tensor: Tensor) -> str:
    return f"{tensor.name!r}" + (f" made at {tensor.op.user_line}" if tensor.op.user_line else "")


# -- loops ------------------------------------------------------------------------------------------------------


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
    maximum_iterations: Any = None,
    return_same_structure: bool = False,
) -> Any:
    """Returns the loop variables after `body` has been applied to them for as long as `cond` holds.

    Args:
      cond: takes the loop variables, gives a boolean scalar.
      body: takes the loop variables, gives their next values.
      loop_vars: a structure of tensors, `TensorArray`s and other composites: the first values.
      shape_invariants: a structure of shapes like `loop_vars`: what of each variable's shape stays the same. None:
        the shape that it starts with, as far as the body keeps it.
      parallel_iterations: accepted; turns follow one another.
      back_prop: False says that no gradient flows back through the loop.
      swap_memory: accepted.
      name: a name scope.
      maximum_iterations: stop after so many turns: an integer scalar.
      return_same_structure: whether a single loop variable is returned in its structure.

    Raises:
      TypeError: if `cond` or `body` is not callable, or the body changes dtypes.
      ValueError: if there are no loop variables, the body returns another structure, or a shape that contradicts
        `shape_invariants`.
    """
    if not callable(cond):
        raise TypeError("'cond' must be callable.")
    if not callable(body):
        raise TypeError("'body' must be callable.")
    if parallel_iterations < 1:
        raise TypeError("'parallel_iterations' must be a positive integer.")
    if not nest.flatten(loop_vars):
        raise ValueError("'loop_vars' must not be empty.")
    with name_scope(name, "while", nest.flatten(loop_vars)) as scope:
        loop = _Loop(cond, body, loop_vars, shape_invariants, maximum_iterations, scope)
        results = loop.emit(parallel_iterations)
    if not back_prop:
        results = [emit.StopGradient(t) if t.dtype is not dtypes.variant else t for t in results]
    packed = loop.packed(results)
    if not return_same_structure and isinstance(packed, list | tuple) and len(packed) == 1:
        return packed[0]
    return packed


class _Loop:
    """A loop while it is built."""

    def __init__(
        self, cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, shape_invariants: Any, most: Any,
        scope: str,
    ) -> None:  # fmt: skip
        self.cond = cond
        self.body = body
        self.scope = scope
        self.structure = nest.map_structure(lambda leaf: _as_leaf(leaf, "loop_vars"), _tupled(loop_vars))
        self.start: list[Tensor] = nest.flatten(self.structure, True)
        self.shapes, self.fixed = self.first_shapes(shape_invariants)
        self.most: Tensor | None = None
        if most is not None:
            self.most = convert_to_tensor(most, name="maximum_iterations")
            if self.most.dtype is not dtypes.int32:
                self.most = emit.Cast(self.most, DstT=dtypes.int32)
            if self.most.shape.rank not in (None, 0):
                raise ValueError(f"maximum_iterations must be a scalar, saw shape: {self.most.shape}")

    def first_shapes(self, given: Any) -> tuple[list[TensorShape], list[bool]]:
        """The shapes that the body's arguments begin with, and which of them may not become less known."""
        shapes, fixed = [], []
        known: list[Any] = [None] * len(nest.flatten(self.structure))
        if given is not None:
            known = _flat_shapes(given)
            if len(known) != len(nest.flatten(self.structure)):
                raise ValueError(
                    f"shape_invariants has {len(known)} shapes, loop_vars {len(nest.flatten(self.structure))} variables"
                )
        for leaf, wanted in zip(nest.flatten(self.structure), known, strict=True):
            composite = nest.composite_of(leaf)
            if composite is None:
                shape = leaf.shape if wanted is None else as_shape(wanted)
                if not shape.is_compatible_with(leaf.shape) or not _covers(shape, leaf.shape):
                    raise ValueError(
                        f"The shape invariant specified for {_told(leaf)} is not compatible with the initial shape of"
                        f" the loop variable. It enters the loop with shape {leaf.shape}, but the specified shape"
                        f" invariant is {shape}."
                    )
                shapes.append(shape)
                fixed.append(wanted is not None)
            else:
                parts = composite.parts(leaf)
                own = composite.shapes(leaf, wanted) if wanted is not None and composite.shapes else None
                shapes += own or [part.shape for part in parts]
                fixed += [own is not None] * len(parts)
        return shapes, fixed

    def build(self) -> tuple[FuncGraph, FuncGraph, list[Tensor], Tensor]:
        """Makes the graphs of condition and body, again with open sizes where the body changes them."""
        outer = get_default_graph()
        for _ in range(_MOST_RELAXATIONS):
            before = _Snapshot(outer)
            test = FuncGraph(unique_function_name(f"{self.scope}cond"), outer, scoped=True)
            inner = FuncGraph(unique_function_name(f"{self.scope}body"), outer, scoped=True)
            holds = self.build_cond(test)
            outputs = self.build_body(inner)
            relaxed = self.relaxed(outputs)
            if relaxed is None:
                return test, inner, outputs, holds
            self.shapes = relaxed
            before.restore()
        raise ValueError(f"the shapes of the loop variables of {self.scope!r} never settle: {self.shapes}")

    def arguments(self, graph: FuncGraph) -> tuple[Tensor, Any]:
        """Adds the turns counted so far and the loop variables as arguments."""
        count = graph.add_input(dtypes.int32, (), "loop_counter")
        if self.most is not None:
            graph.add_input(dtypes.int32, (), "maximum_iterations")
        given = []
        for tensor, shape in zip(self.start, self.shapes, strict=True):
            name = tensor.op.name.rpartition("/")[2].lower().lstrip("_.-") or "loop_var"
            given.append(graph.add_input(tensor.dtype, shape, name))
        return count, nest.pack_sequence_as(self.structure, given, True)

    def build_cond(self, graph: FuncGraph) -> Tensor:
        with graph.as_default():
            count, variables = self.arguments(graph)
            holds = self.cond(*variables) if isinstance(variables, list | tuple) else self.cond(variables)
            if isinstance(holds, list | tuple) and len(holds) == 1:
                holds = holds[0]
            result = convert_to_tensor(holds)
            if result.dtype is not dtypes.bool_:
                raise TypeError(f"'cond' must return a boolean, returned {result!r}")
            if result.shape.rank not in (None, 0):
                result = emit.Squeeze(result, squeeze_dims=())
            if self.most is not None:
                result = emit.LogicalAnd(emit.Less(count, graph.inputs[1]), result)
            return graph.capture(result)

    def build_body(self, graph: FuncGraph) -> list[Tensor]:
        with graph.as_default():
            count, variables = self.arguments(graph)
            returned = self.body(*variables)
            if isinstance(returned, Operation) or returned is None:
                raise TypeError(f"'body' must return the loop variables, returned {returned!r}")
            wanted = self.structure
            if not isinstance(returned, list | tuple) or (
                len(wanted) == 1 and not _same_length(returned, wanted)
            ):
                returned = type(wanted)([returned]) if isinstance(wanted, list) else (returned,)
            try:
                nest.assert_same_structure(wanted, returned, False, False)
            except (TypeError, ValueError) as error:
                raise ValueError(f"The body of the loop must return what it takes. {error}") from None
            leaves = []
            for leaf, first in zip(nest.flatten(returned), nest.flatten(wanted), strict=True):
                if (
                    isinstance(first, Tensor)
                    and not isinstance(leaf, Tensor)
                    and nest.composite_of(leaf) is None
                ):
                    leaf = convert_to_tensor(leaf, first.dtype)
                leaves.append(_as_leaf(leaf, "the loop's body returns"))
            outputs: list[Tensor] = nest.flatten(leaves, True)
            if len(outputs) != len(self.start):
                raise ValueError(
                    f"The body of the loop returns {len(outputs)} tensors for {len(self.start)} loop variables"
                )
            for tensor, first in zip(outputs, self.start, strict=True):
                if tensor.dtype is not first.dtype:
                    raise TypeError(
                        f"The loop variable {_told(first)} enters the loop as {first.dtype.name}, and is"
                        f" {tensor.dtype.name} after one turn ({_told(tensor)})."
                    )
            self.results = nest.pack_sequence_as(wanted, leaves)
            one = constant(np.asarray(1, np.int32))
            counted = emit.AddV2(count, one)
            rest = [graph.inputs[1]] if self.most is not None else []
            return [counted, *rest, *(graph.capture(tensor) for tensor in outputs)]

    @property
    def extra(self) -> int:
        """How many variables stand before the user's: the turns, and how many there may be."""
        return 1 if self.most is None else 2

    def relaxed(self, outputs: Sequence[Tensor]) -> list[TensorShape] | None:
        """The shapes that hold on entry and after one turn; None if they are those that the body was built for."""
        result = []
        for i, (shape, tensor) in enumerate(zip(self.shapes, outputs[self.extra :], strict=True)):
            if self.fixed[i] and not _covers(shape, tensor.shape):
                raise ValueError(
                    f"The shape of the loop variable {_told(self.start[i])} is not an invariant for the loop. It enters"
                    f" the loop with shape {self.start[i].shape}, its shape invariant is {shape}, and it has shape"
                    f" {tensor.shape} after one turn ({_told(tensor)})."
                )
            result.append(shape if _covers(shape, tensor.shape) else alike([shape, tensor.shape]))
        return None if result == self.shapes else result

    def emit(self, parallel_iterations: int) -> list[Tensor]:
        test, inner, outputs, holds = self.build()
        captured = matched_captures([test, inner])
        outputs = [*outputs, *(inner.captures[tensor] for tensor in captured)]
        functions = finished(test, [holds]), finished(inner, outputs)
        zero = constant(np.asarray(0, np.int32), name="loop_counter")
        start = [zero, *([] if self.most is None else [self.most]), *self.start, *captured]
        shapes = [
            *([TensorShape(())] * self.extra), *self.shapes, *(tensor.shape for tensor in captured)
        ]  # fmt: skip
        with control_dependencies(_call_waits([test, inner])):
            op_type = "While" if any(map(is_stateful, functions)) else "StatelessWhile"
            made = getattr(emit, op_type)(
                start, cond=functions[0], body=functions[1], output_shapes=shapes,
                parallel_iterations=parallel_iterations, name=self.scope,
            )  # fmt: skip
        return _identities(made[self.extra : self.extra + len(self.start)], self.scope)

    def packed(self, results: Sequence[Tensor]) -> Any:
        # Composites carry along what the body's ones know besides tensors.
        return nest.pack_sequence_as(self.results, list(results), True)


def _tupled(loop_vars: Any) -> Any:
    return (
        loop_vars
        if isinstance(loop_vars, list | tuple) and not hasattr(loop_vars, "_fields")
        else (loop_vars,)
    )


def _same_length(a: Any, b: Any) -> bool:
    try:
        nest.assert_same_structure(a, b, False)
    except (TypeError, ValueError):
        return False
    return True


def _flat_shapes(structure: Any) -> list[Any]:
    """The shapes in a structure; a list of numbers is one shape."""
    if isinstance(structure, TensorShape) or structure is None:
        return [structure]
    if isinstance(structure, list | tuple) and not hasattr(structure, "_fields"):
        if structure and all(isinstance(item, int) or item is None for item in structure):
            return [as_shape(structure)]
        return [shape for item in structure for shape in _flat_shapes(item)]
    if nest.is_nested(structure):
        return [shape for item in nest.flatten(structure) for shape in _flat_shapes(item)]
    return [structure]


def _covers(shape: TensorShape, other: TensorShape) -> bool:
    """Whether every array of the second shape is of the first."""
    mine, theirs = shape.as_tuple(), other.as_tuple()
    if mine is None:
        return True
    if theirs is None or len(mine) != len(theirs):
        return False
    return all(a is None or a == b for a, b in zip(mine, theirs, strict=True))


class _Snapshot:
    """What a graph and the functions around it hold, to go back to when a body has to be built again."""

    def __init__(self, graph: Graph) -> None:
        self.graphs: list[tuple[Graph, int, dict[str, int], dict[Any, list[Any]]]] = []
        self.inputs: list[tuple[FuncGraph, list[Tensor], dict[Tensor, Tensor], list[Operation]]] = []
        here: Graph | None = graph
        while here is not None:
            collections = {key: list(items) for key, items in here._collections.items()}
            self.graphs.append((here, here._last_id, dict(here._names_in_use), collections))
            if isinstance(here, FuncGraph):
                self.inputs.append(
                    (here, list(here.inputs), dict(here.captures), list(here.control_captures))
                )
            outermost, here = here, here.outer_graph
        self.tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (table, dict(table)) for table in (outermost._functions, graph.registries)
        ]
        self.tables += [
            (store.variables, dict(store.variables))
            for store in graph.registries.values()
            if hasattr(store, "variables") and isinstance(store.variables, dict)
        ]

    def restore(self) -> None:
        """Takes back what has been made since."""
        for graph, count, names, collections in self.graphs:
            added = graph._operations[count:]
            gone = set(added)
            del graph._operations[count:]
            for operation in added:
                del graph._by_name[operation.name]
                for tensor in operation.inputs:
                    if tensor.op not in gone:
                        tensor._consumers[:] = [user for user in tensor._consumers if user not in gone]
            graph._names_in_use = names
            for key in list(graph._collections):
                graph._collections[key][:] = collections.get(key, [])
            graph._version += 1
        for inner, inputs, captures, controls in self.inputs:
            inner.inputs, inner.captures, inner.control_captures = inputs, captures, controls
            inner._stands_for.clear()
        for live, saved in self.tables:
            live.clear()
            live.update(saved)


def _leaf_dtype(value: Any) -> DType:
    dtype: DType = value.dtype
    return dtype


__all__ = ["case", "cond", "functional_gradients", "switch_case", "while_loop"]
