"""`tf.contrib.graph_editor`: the half of it that looks at graphs. What rewrites them is left to passes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphflow.graph import Graph, Operation, Tensor
from graphflow.namespace import lazy

Filter = Callable[[Any], bool]


def _flat(items: Any) -> list[Any]:
    if isinstance(items, Graph):
        return items.get_operations()
    if isinstance(items, (Operation, Tensor)):
        return [items]
    return [one for item in items for one in _flat(item)]


def make_list_of_op(
    ops: Any, check_graph: bool = True, allow_graph: bool = True, ignore_ts: bool = False
) -> list[Operation]:
    """Returns operations of a graph, an operation, or nested iterables of them.

    Args:
      ops: where they are.
      check_graph: whether all must be of one graph.
      allow_graph: whether a graph may be given.
      ignore_ts: whether tensors among them are left out.

    Raises:
      TypeError: there is something else among them.
      ValueError: they are of several graphs.
    """
    if isinstance(ops, Graph) and not allow_graph:
        raise TypeError("allow_graph is False and cannot convert a gf.Graph")
    return _of_kind(ops, Operation, check_graph, Tensor if ignore_ts else None)


def make_list_of_t(
    ts: Any, check_graph: bool = True, allow_graph: bool = True, ignore_ops: bool = False
) -> list[Tensor]:
    """Returns tensors of a graph, a tensor, or nested iterables of them; arguments as for `make_list_of_op`."""
    if isinstance(ts, Graph):
        if not allow_graph:
            raise TypeError("allow_graph is False and cannot convert a gf.Graph")
        return [t for op in ts.get_operations() for t in op.outputs]
    return _of_kind(ts, Tensor, check_graph, Operation if ignore_ops else None)


def _of_kind(items: Any, kind: type, check_graph: bool, ignored: type | None) -> list[Any]:
    found = [item for item in _flat(items) if ignored is None or not isinstance(item, ignored)]
    for item in found:
        if not isinstance(item, kind):
            raise TypeError(f"expected a gf.{kind.__name__}, got {item!r}")
    if check_graph and len({id(item.graph) for item in found}) > 1:
        raise ValueError("operations and tensors are of different graphs")
    return found


def get_tensors(graph: Graph) -> list[Tensor]:
    """Returns all tensors of a graph."""
    return make_list_of_t(graph)


def get_generating_ops(ts: Any) -> list[Operation]:
    """Returns the operations that make the tensors."""
    return list(dict.fromkeys(t.op for t in make_list_of_t(ts)))


def get_consuming_ops(ts: Any) -> list[Operation]:
    """Returns the operations that take the tensors."""
    return list(dict.fromkeys(op for t in make_list_of_t(ts) for op in t.consumers()))


def _inside(within_ops: Any, within_ops_fn: Filter | None) -> Filter:
    known = None if within_ops is None else set(make_list_of_op(within_ops, allow_graph=False))
    return lambda op: (known is None or op in known) and (within_ops_fn is None or within_ops_fn(op))


def _walk(
    seed_ops: Any, starts: Callable[[Any], list[Operation]], step: Callable[[Operation], Iterable[Operation]],
    inclusive: bool, inside: Filter,
) -> list[Operation]:  # fmt: skip
    seeds = [op for op in dict.fromkeys(starts(seed_ops)) if inside(op)]
    found, wave = dict.fromkeys(seeds), seeds
    while wave:
        ahead = dict.fromkeys(op for one in wave for op in step(one) if op not in found and inside(op))
        found |= ahead
        wave = list(ahead)
    return [op for op in found if inclusive or op not in set(seeds)]


def _is_of_tensors(items: Any) -> bool:
    flat = _flat(items)
    return bool(flat) and isinstance(flat[0], Tensor)


def get_forward_walk_ops(
    seed_ops: Any, inclusive: bool = True, within_ops: Any = None, within_ops_fn: Filter | None = None,
    stop_at_ts: Sequence[Tensor] = (), control_outputs: Any = None,
) -> list[Operation]:  # fmt: skip
    """Returns the operations that depend on some.

    Args:
      seed_ops: where to start: operations, or tensors, which start with what takes them.
      inclusive: whether those it starts with are among them.
      within_ops: the only ones to look at; default: all.
      within_ops_fn: tells of one whether to look at it.
      stop_at_ts: tensors not to go through.
      control_outputs: whether to follow control dependencies too.
    """
    stops = set(make_list_of_t(stop_at_ts))
    after: dict[Operation, list[Operation]] = {}
    if control_outputs:
        for op in _flat(seed_ops)[0].graph.get_operations():
            for earlier in op.control_inputs:
                after.setdefault(earlier, []).append(op)

    def step(op: Operation) -> Iterable[Operation]:
        takers = [taker for t in op.outputs if t not in stops for taker in t.consumers()]
        return [*takers, *after.get(op, ())]

    starts = get_consuming_ops if _is_of_tensors(seed_ops) else make_list_of_op
    return _walk(seed_ops, starts, step, inclusive, _inside(within_ops, within_ops_fn))


def get_backward_walk_ops(
    seed_ops: Any, inclusive: bool = True, within_ops: Any = None, within_ops_fn: Filter | None = None,
    stop_at_ts: Sequence[Tensor] = (), control_inputs: bool = False,
) -> list[Operation]:  # fmt: skip
    """Returns the operations that some depend on; arguments as for `get_forward_walk_ops`, the other way round."""
    stops = set(make_list_of_t(stop_at_ts))

    def step(op: Operation) -> Iterable[Operation]:
        makers = [t.op for t in op.inputs if t not in stops]
        return [*makers, *(op.control_inputs if control_inputs else ())]

    starts = get_generating_ops if _is_of_tensors(seed_ops) else make_list_of_op
    return _walk(seed_ops, starts, step, inclusive, _inside(within_ops, within_ops_fn))


def get_walks_intersection_ops(
    forward_seed_ops: Any, backward_seed_ops: Any, forward_inclusive: bool = True, backward_inclusive: bool = True,
    within_ops: Any = None, within_ops_fn: Filter | None = None, control_inputs: bool = False,
    control_outputs: Any = None, control_ios: Any = None,
) -> list[Operation]:  # fmt: skip
    """Returns the operations between some and others, in the order of the walk forward."""
    both = bool(control_ios)
    back = set(
        get_backward_walk_ops(
            backward_seed_ops, backward_inclusive, within_ops, within_ops_fn, (), control_inputs or both
        )
    )
    ahead = get_forward_walk_ops(
        forward_seed_ops, forward_inclusive, within_ops, within_ops_fn, (), control_outputs or both
    )
    return [op for op in ahead if op in back]


def filter_ts(ops: Any, positive_filter: Any = True) -> list[Tensor]:
    """Returns the tensors that operations take and make, those that a function wants (True: all)."""
    chosen = make_list_of_op(ops)
    found = dict.fromkeys(
        [*(t for op in chosen for t in op.inputs), *(t for op in chosen for t in op.outputs)]
    )
    return [t for t in found if positive_filter is True or positive_filter(t)]


def filter_ts_from_regex(ops: Any, regex: Any) -> list[Tensor]:
    """Returns the tensors that operations take and make in whose name a pattern is found."""
    pattern = re.compile(regex)
    return filter_ts(ops, lambda t: pattern.search(t.name))


def filter_ops(ops: Any, positive_filter: Any = True) -> list[Operation]:
    """Returns those operations that a function wants (True: all)."""
    return [op for op in make_list_of_op(ops) if positive_filter is True or positive_filter(op)]


def filter_ops_from_regex(ops: Any, regex: Any) -> list[Operation]:
    """Returns those operations in whose name a pattern is found."""
    pattern = re.compile(regex)
    return filter_ops(ops, lambda op: pattern.search(op.name))


def _selected(
    args: Sequence[Any], graph: Graph | None, what: Callable[[Any], list[Any]], wanted: Any, prefix: str
) -> list[Any]:
    found: dict[Any, None] = {}
    for arg in args:
        if isinstance(arg, str) or hasattr(arg, "search"):
            if isinstance(arg, str):
                if prefix:
                    if not arg.startswith(prefix):
                        continue
                    arg = arg.removeprefix(prefix)
                arg = re.compile(arg)
            if graph is None:
                raise ValueError("Use the keyword argument 'graph' to use regex.")
            found |= dict.fromkeys(item for item in what(graph) if arg.search(item.name))
        else:
            found |= dict.fromkeys(what(arg))
    return [item for item in found if wanted is None or wanted is True or wanted(item)]


def select_ops(*args: Any, **kwargs: Any) -> list[Operation]:
    """Returns operations, each once.

    Args:
      *args: operations, or patterns of names.
      **kwargs: `graph`, where patterns are looked for; `positive_filter`, a function that says which stay;
        `restrict_ops_regex`, whether only patterns that begin with `(?#ops)` count.

    Raises:
      ValueError: a pattern without a graph.
    """
    prefix = "(?#ops)" if kwargs.get("restrict_ops_regex") else ""
    return _selected(args, kwargs.get("graph"), make_list_of_op, kwargs.get("positive_filter"), prefix)


def select_ts(*args: Any, **kwargs: Any) -> list[Tensor]:
    """Returns tensors, each once; as `select_ops`, with `restrict_ts_regex` and `(?#ts)`."""
    prefix = "(?#ts)" if kwargs.get("restrict_ts_regex") else ""
    return _selected(args, kwargs.get("graph"), make_list_of_t, kwargs.get("positive_filter"), prefix)


__all__ = [
    "filter_ops", "filter_ops_from_regex", "filter_ts", "filter_ts_from_regex", "get_backward_walk_ops",
    "get_consuming_ops", "get_forward_walk_ops", "get_generating_ops", "get_tensors", "get_walks_intersection_ops",
    "make_list_of_op", "make_list_of_t", "select_ops", "select_ts",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__)
