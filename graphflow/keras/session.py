"""The session and the learning phase of Keras."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from graphflow import dtypes
from graphflow.graph import Graph, Tensor, get_default_graph, get_default_session, reset_default_graph
from graphflow.opdef import constant
from graphflow.ops.source import placeholder_with_default
from graphflow.session import Session
from graphflow.variables import Variable, global_variables, is_variable_initialized, variables_initializer

_SESSION = "keras_session"
_PHASE = "keras_learning_phase"
_SEEN = "keras_initialized"
# Variables in no collection that Keras initializes all the same: the states of metrics.
STATES = "keras_states"


def _graph_session(graph: Graph) -> Session:
    session: Session | None = graph.registries.get(_SESSION)
    if session is None:
        session = graph.registries[_SESSION] = Session(graph=graph)
    return session


def get_session(op_input_list: Any = ()) -> Session:
    """Returns the default session, else one that Keras keeps for the default graph.

    Variables that have no value yet are initialized first.
    """
    del op_input_list
    session = get_default_session()
    if session is None or session.graph is not get_default_graph():
        session = _graph_session(get_default_graph())
    initialize(session)
    return session


def set_session(session: Session) -> None:
    """Makes Keras use a session for its graph."""
    session.graph.registries[_SESSION] = session


def initialize(session: Session) -> None:
    """Initializes the global variables that have no value in the session; looks at each variable once."""
    graph = session.graph
    with graph.as_default():
        done: WeakKeyDictionary[Session, set[int]]
        done = graph.registries.setdefault(_SEEN, WeakKeyDictionary())
        seen = done.setdefault(session, set())
        known_here = [*global_variables(), *graph.registries.get(STATES, ())]
        fresh: list[Variable] = [v for v in known_here if id(v) not in seen]
        if not fresh:
            return
        known = session.run([is_variable_initialized(v) for v in fresh])
        missing = [v for v, is_there in zip(fresh, known, strict=True) if not is_there]
        if missing:
            session.run(variables_initializer(missing))
        seen.update(id(v) for v in fresh)


def learning_phase() -> Any:
    """Returns the learning phase of the default graph: a bool tensor, False unless fed, or what was set."""
    registries = get_default_graph().registries
    if _PHASE not in registries:
        with get_default_graph().name_scope(None):
            registries[_PHASE] = placeholder_with_default(
                constant(False, dtypes.bool_), shape=(), name="keras_learning_phase"
            )
    return registries[_PHASE]


def set_learning_phase(value: int) -> None:
    """Fixes the learning phase of the default graph: 1 for training, 0 else.

    Raises:
      ValueError: for another value.
    """
    if value not in (0, 1):
        raise ValueError("Expected learning phase to be 0 or 1.")
    get_default_graph().registries[_PHASE] = int(value)


def phase_feed(training: bool) -> dict[Tensor, bool]:
    """Returns what to feed so that the default graph's learning phase is `training`."""
    phase = get_default_graph().registries.get(_PHASE)
    return {phase: training} if isinstance(phase, Tensor) else {}


def clear_session() -> None:
    """Starts anew: a fresh default graph, names from the beginning."""
    session = get_default_graph().registries.pop(_SESSION, None)
    if session is not None:
        session.close()
    reset_default_graph()
