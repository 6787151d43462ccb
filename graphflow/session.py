"""Session: runs parts of a graph and keeps the values of its variables.

A run looks up its *runner* by the fetches and the keys of the feeds, and the bound plan by the shapes of the feeds;
all else happens on a miss: the structure of the fetches is taken apart, what cannot run is refused (unfed
placeholders, unknown names, tensors of other graphs), and the slice is compiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from graphflow import errors, reference, timeline
from graphflow.compiler import CompileOptions, compile_graph
from graphflow.compiler import Executable as CompiledExecutable
from graphflow.config import BACKEND, verify
from graphflow.contents import Content
from graphflow.errors import PassError, ShapeError
from graphflow.fetches import Element, Feeds, Fetches, feed_array, structure_key
from graphflow.function import Function, outermost
from graphflow.graph import (
    Graph,
    GraphKeys,
    Operation,
    Tensor,
    default_session,
    get_default_graph,
    get_default_session,
)
from graphflow.later import CutPlan, RoomPlan
from graphflow.memory import machine_bytes
from graphflow.ops.random import SAMPLES_AT_ONCE, samples_reserved
from graphflow.placement import LOCAL, Placement
from graphflow.plan import Plan, TraceEvent
from graphflow.program import Node, Program, freeze, variable_name
from graphflow.resources import Resources
from graphflow.row_wise import RowWise, prove
from graphflow.variable_store import UninitializedVariableError, VariableShapeError, VariableStore
from graphflow.variables import Variable

Array = np.ndarray[Any, Any]
_ndarray = np.ndarray
Shapes = tuple[tuple[int, ...], ...]
Contents = tuple[bytes | None, ...]

_MOST_RUNNERS = 256  # fetch sets whose plans a session keeps
_MOST_SHAPES = 64  # shapes of feeds per fetch set
_GROWTHS_BEFORE_WARNING = 50
# The passes behind the switches of a ConfigProto, by the name that TensorFlow has for such rewrites.
_PASSES = {
    "constant_folding": ("fold_constants", "fold_shapes", "fold_expanded"),
    "arithmetic_optimization": ("simplify", "simplify_for_sizes"),
    "common_subgraph_elimination": ("merge_common", "merge_expanded"),
}
# Likewise those that run only if they are asked for.
_PASSES_TO_ASK_FOR = {
    "auto_mixed_precision_onednn_bfloat16": "mixed_precision",
    "auto_mixed_precision_mkl": "mixed_precision",
}
# RewriterConfig.OFF, ON and AGGRESSIVE; the messages are not loaded for them.
_SWITCHED_OFF = 2
_SWITCHED_ON = (1, 3)
_FED = object()  # between fetches and feed keys in a runner's key
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()  # those that nobody has closed
_LEAVES = frozenset({Tensor, Operation, Variable, str})
_CPU = f"{LOCAL}CPU:0"


class BoundPlan(Protocol):
    """A program ready to run for feeds of known shapes."""

    @property
    def plan(self) -> Plan | CutPlan | RoomPlan | None:
        """What is executed; None for a program that is run op by op."""

    def run(self, feeds: Sequence[Array], state: SessionState) -> list[Array]:
        """Runs once; returns one array per fetched tensor, which belongs to the caller."""

    def run_traced(
        self, feeds: Sequence[Array], state: SessionState
    ) -> tuple[list[Array], Sequence[TraceEvent]]:
        """Runs once with clocks; returns the arrays and one event per thread and step."""

    def direct(self, keys: Sequence[object] | None) -> Callable[..., Any] | None:
        """Returns a shorter way to run, from feeds to the one fetched tensor, or None; see `Plan.direct`."""


class Executable(Protocol):
    """A compiled slice of a graph."""

    @property
    def reads(self) -> Sequence[str]:
        """The variables that must have a value before a run."""

    @property
    def writes(self) -> Sequence[str]:
        """The variables that a run sets."""

    @property
    def contents(self) -> Sequence[Content]:
        """The elements of feeds that a plan is made for, besides their sizes."""

    def look(self, feeds: Sequence[Array]) -> Contents:
        """Returns what these are."""

    def bind(self, feed_shapes: Shapes, state: SessionState, contents: Contents = ()) -> BoundPlan:
        """Returns the plan for feeds of these shapes and contents, and for the present shapes of the variables."""


class _Gate:
    """Lets many runs that only read variables in at once, or one that writes them.

    A run inside another one of the same thread (from a `py_func`) passes freely.
    """

    __slots__ = ("_lock", "_readers", "_writer")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: list[int] = []
        self._writer = 0

    def enter_to_read(self) -> int:
        me = threading.get_ident()
        readers = self._readers
        # First announced, then looked: a writer does it the other way round, so that one of the two sees the other.
        readers.append(me)
        if self._writer and self._writer != me and readers.count(me) == 1:
            readers.remove(me)
            with self._lock:
                readers.append(me)
        return me

    def leave_read(self, me: int) -> None:
        self._readers.remove(me)

    def enter_to_write(self) -> bool:
        """Returns whether `leave_write` is due."""
        me = threading.get_ident()
        if self._writer == me or me in self._readers:
            return False
        self._lock.acquire()
        self._writer = me
        pause = 0.0
        while self._readers:
            time.sleep(pause)
            pause = min(pause + 1e-5, 1e-3)
        return True

    def leave_write(self) -> None:
        self._writer = 0
        self._lock.release()

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """Inside, the present thread is outside, however often it has come in."""
        me = threading.get_ident()
        wrote = self._writer == me
        if wrote:
            self.leave_write()
        entered = self._readers.count(me)
        for _ in range(entered):
            self._readers.remove(me)
        try:
            yield
        finally:
            if wrote:
                self.enter_to_write()
            for _ in range(entered):
                self.enter_to_read()


Call = Callable[[Sequence[Array]], list[Array]]


def _no_functions(function: Function) -> Call:
    raise errors.UnimplementedError(None, None, f"{function.name!r} can only be called in a session")


class SessionState(VariableStore):
    """What a session keeps between runs: values of variables, counters of random operations, resources.

    Attributes:
      closed: whether the session is closed.
      gate: who may read or write the variables just now.
      resources: queues, tables and the like.
    """

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.gate = _Gate()
        self.resources = Resources()
        self.compile_function: Callable[[Function], Call] = _no_functions
        self._functions: dict[Function, Call] = {}
        self._functions_lock = threading.RLock()
        self._random_lock = threading.Lock()
        self._keys: dict[str, tuple[int, int]] = {}
        self._counters: dict[str, int] = {}
        self._local = threading.local()

    def read(self, name: str) -> Array:
        """Returns a copy of a variable's value."""
        return self.get(name)

    def write(self, name: str, value: Array) -> None:
        """Sets a variable."""
        self.set(name, value)

    def reserve(self, node: Any, count: int) -> tuple[tuple[int, int], int]:
        """Returns key and counter for a random operation that makes `count` numbers, and moves its counter on.

        The key is the pair of the operation's seeds; without seeds it is drawn once per session and operation. The
        counter counts blocks of four 32-bit numbers and moves as TensorFlow's kernels move theirs.
        """
        name = node.name
        seeds = (int(node.attrs.get("seed", 0)), int(node.attrs.get("seed2", 0)))
        with self._random_lock:
            if seeds == (0, 0):
                seeds = self._keys.setdefault(name, _drawn_key())
            pending = self._pending()
            counter = self._counters.get(name, 0)
            if (first := pending.pop(name, None)) is not None and counter == first + SAMPLES_AT_ONCE:
                counter = first  # the run before this one has failed
            blocks = _blocks(node, count)
            self._counters[name] = counter + blocks
            if blocks == SAMPLES_AT_ONCE:
                pending[name] = counter
        return seeds, counter

    def give_back(self, name: str, count: int) -> None:
        """Lets a random operation go on so many samples further down, if no other run has drawn from it since."""
        with self._random_lock:
            first = self._pending().pop(name, None)
            if first is not None and self._counters[name] == first + SAMPLES_AT_ONCE:
                self._counters[name] -= count

    def _pending(self) -> dict[str, int]:
        """What the present thread has taken and not yet given back: the first sample of each."""
        found: dict[str, int] | None = getattr(self._local, "pending", None)
        if found is None:
            found = self._local.pending = {}
        return found

    def fork(self) -> SessionState:
        """Returns a copy; its random operations draw what this one's will."""
        made = super().fork()
        with self._random_lock:
            made._keys = self._keys  # the same: a key that is drawn there holds here
            made._random_lock = self._random_lock
            made._counters = dict(self._counters)
        made.resources = self.resources
        made.compile_function = self.compile_function
        return made

    def function(self, function: Function) -> Call:
        """Returns what calls a function, compiled at the first call: see `resources.Run`."""
        with self._functions_lock:
            found = self._functions.get(function)
            if found is None:
                found = self._functions[function] = self.compile_function(function)
            return found

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Inside, runs of other threads may have the variables."""
        self._local.aside = self.times_aside() + 1
        return self.gate.left()

    def times_aside(self) -> int:
        """How often the present thread has stood aside."""
        found: int = getattr(self._local, "aside", 0)
        return found

    def seconds_left(self) -> float | None:
        """How long the present thread's run may still take; None: as long as it likes."""
        deadline: float | None = getattr(self._local, "deadline", None)
        return None if deadline is None else deadline - time.monotonic()

    def set_deadline(self, deadline: float | None) -> None:
        """Says when the present thread's run has to stop, on the clock of `time.monotonic`."""
        self._local.deadline = deadline

    def between_steps(self) -> None:
        """Raises if the present thread's run is to stop.

        Raises:
          CancelledError: if the session was closed.
          DeadlineExceededError: if the run's time is up.
        """
        if self.closed:
            raise errors.CancelledError(None, None, "Session has been closed; the run was cancelled.")
        deadline = getattr(self._local, "deadline", None)
        if deadline is not None and time.monotonic() > deadline:
            raise errors.DeadlineExceededError(None, None, "Timed out waiting for the run to finish.")


def _drawn_key() -> tuple[int, int]:
    drawn = int.from_bytes(os.urandom(16), "little")
    return drawn & (2**63 - 1) | 1, drawn >> 64 & (2**63 - 1)


def _blocks(node: Any, count: int) -> int:
    if node.op_def.reserve_rule is not None:
        reserved: int = node.op_def.reserve_rule(node.attrs)
        return reserved
    dims = node.outputs[0].shape.as_tuple()
    if dims is None or None in dims:
        inner = [size or 1 for size in (dims or ())[1:]]
        dims = (count // max(math.prod(inner), 1), *inner) if node.type == "RandomShuffle" else (count,)
        if node.type == "Multinomial":
            dims = (1, count)
    return samples_reserved(node.type, dims)


class _Runner:
    """One set of fetches and feed keys, made ready: what is left of a session on the warm path.

    Attributes:
      executable: the compiled slice.
      used: when it was last run, on the clock of the session's misses.
      direct: a shorter way to do the same for feeds of the shapes bound last; None if there is none.
      direct_by_key: the same, from a dict whose keys are `keep[1]`.
    """

    __slots__ = (
        "_bound", "_dtype", "_dtypes", "_gate", "_lock", "_looks", "_pack", "_reads", "_single", "_state", "_took",
        "_writes", "direct", "direct_by_key", "executable", "feeds", "fetches", "handles", "keep", "used",
    )  # fmt: skip

    def __init__(
        self,
        state: SessionState,
        gate: _Gate,
        fetches: Fetches,
        feeds: Feeds,
        executable: Executable,
        handles: dict[str, Operation],
        keep: tuple[Any, ...],
        plain: bool = False,
    ) -> None:
        self._state = state
        self._gate = gate
        self._lock = threading.RLock()
        self.fetches = fetches
        self.feeds = feeds
        self.executable = executable
        self.handles = handles
        self.keep = keep  # the user's objects, whose identities stand in the session's keys
        self.used = 0
        self._dtypes = [_fed_dtype(tensor) for tensor in feeds.tensors] if feeds.plain else [_NEVER]
        # With a single feed, its dtype; plans are then kept by its shape alone.
        self._looks = bool(executable.contents)
        self._dtype = self._dtypes[0] if feeds.plain and len(self._dtypes) == 1 and not self._looks else None
        self._pack = None if plain else fetches.pack
        self._single = feeds.plain and fetches.single
        self.direct: Callable[..., Any] | None = None
        self.direct_by_key: Callable[[Any], Any] | None = None
        self._reads = bool(executable.reads)
        self._writes = bool(executable.writes)
        self._bound: dict[Any, BoundPlan] = {}
        self._took = 0.0  # seconds that plans took to make

    def run(self, values: Sequence[Any]) -> Any:
        """Runs once.

        Args:
          values: the values of the feed_dict, in the order of its keys.
        """
        state = self._state
        if state.closed:
            raise RuntimeError("Attempted to use a closed Session.")
        dtype = self._dtype
        if dtype is not None:
            value = values[0]
            if value.__class__ is not _ndarray or value.dtype is not dtype:
                values = self.converted(values)
                value = values[0]
            shapes = value.shape
        else:
            for value, dtype in zip(values, self._dtypes):  # noqa: B905 - hundreds of nanoseconds count here
                if value.__class__ is not _ndarray or value.dtype is not dtype:
                    values = self.converted(values)
                    break
            shapes = tuple([value.shape for value in values])
            if self._looks:
                shapes = (shapes, self.executable.look(values))
        bound = self._bound.get(shapes)
        if bound is None:
            bound = self.bound(values)
        try:
            if self._writes:
                gate = self._gate
                leave = gate.enter_to_write()
                try:
                    results = bound.run(values, state)
                finally:
                    if leave:
                        gate.leave_write()
            elif self._reads:
                gate = self._gate
                me = gate.enter_to_read()
                try:
                    results = bound.run(values, state)
                finally:
                    gate.leave_read(me)
            else:
                results = bound.run(values, state)
        except VariableShapeError:
            results = self._run_anew(values)
        except Exception as error:
            raise self._explained(error) from error.__cause__
        pack = self._pack
        return results if pack is None else pack(results)

    def _run_anew(self, values: Sequence[Array]) -> list[Array]:
        """A variable has changed its shape since the plan was bound."""
        self._bound.clear()
        bound = self.bound(values)
        leave = self._gate.enter_to_write()
        try:
            return bound.run(values, self._state)
        except Exception as error:
            raise self._explained(error) from error.__cause__
        finally:
            if leave:
                self._gate.leave_write()

    def run_on_device(self, values: Sequence[Any]) -> Any:
        """Runs once; results stay on the device."""
        arrays = self.converted(values)
        return self._alone(
            arrays, lambda bound: bound.run(arrays, self._state)
            if bound.plan is None else bound.plan.run_on_device(arrays, self._state)
        )  # fmt: skip

    def run_steps(self, values: Sequence[Any], count: int) -> Any:
        """Runs so many times; feeds have one row, and results get one, for each."""
        rows = [self.converted([value[turn] for value in values]) for turn in range(count)]

        def run(bound: BoundPlan) -> list[Any]:
            if bound.plan is None or verify():
                results = [bound.run(row, self._state) for row in rows]
                return [np.stack(column) for column in zip(*results, strict=True)]
            stacked = [np.stack(column) for column in zip(*rows, strict=True)]
            return bound.plan.run_steps(stacked, count, self._state)

        return self._alone(rows[0], run)

    def _alone(self, arrays: Sequence[Array], run: Callable[[BoundPlan], list[Any]]) -> Any:
        """What a function of the plan for feeds of these shapes gives, while nobody else runs."""
        state = self._state
        if state.closed:
            raise RuntimeError("Attempted to use a closed Session.")
        bound = self.bound(arrays)
        leave = self._gate.enter_to_write()
        try:
            results = run(bound)
        except Exception as error:
            raise self._explained(error) from error.__cause__
        finally:
            if leave:
                self._gate.leave_write()
        return results if self._pack is None else self._pack(results)

    def run_traced(self, values: Sequence[Any], compiling: bool = False) -> tuple[Any, Sequence[TraceEvent]]:
        """Runs once with clocks, alone; returns the results and what took how long.

        `compiling`: also what was compiled for this run, if anything was.
        """
        state = self._state
        if state.closed:
            raise RuntimeError("Attempted to use a closed Session.")
        arrays = self.converted(values)
        before, self._took = self._took, 0.0
        bound = self.bound(arrays)
        took, self._took = self._took, before + self._took
        leave = self._gate.enter_to_write()
        try:
            results, events = bound.run_traced(arrays, state)
        except Exception as error:
            raise self._explained(error) from error.__cause__
        finally:
            if leave:
                self._gate.leave_write()
        if not compiling:
            events = [event for event in events if event.device != "compiler"]
        elif took:
            events = [*events, TraceEvent("plan", -1e6 * took, 1e6 * took, 0, 0, None, device="compiler")]
        return results if self._pack is None else self._pack(results), events

    def plan(self, values: Sequence[Any]) -> Plan | CutPlan | RoomPlan:
        """Returns the plan for feeds of the shapes of `values`."""
        plan = self.bound(self.converted(values)).plan
        if plan is None:
            raise RuntimeError(f"{BACKEND.name}={BACKEND.get()} runs ops one by one: there is no plan.")
        return plan

    def converted(self, values: Sequence[Any]) -> tuple[Array, ...]:
        """Returns the feeds as arrays of the right dtype, one per fed tensor."""
        tensors = self.feeds.tensors
        return tuple([feed_array(t, v) for t, v in zip(tensors, self.feeds.values(values), strict=True)])

    def _check_shapes(self, shapes: Shapes) -> None:
        for tensor, given in zip(self.feeds.tensors, shapes, strict=True):
            shape = tensor.handle_shape if tensor.is_variable else tensor.shape
            if not shape.is_compatible_with(given):
                made = f"; it was made at {tensor.op.user_line}" if tensor.op.user_line else ""
                raise ValueError(
                    f"Cannot feed value of shape {given} for Tensor '{tensor.name}', which has shape '{shape}'{made}"
                )

    def bound(self, values: Sequence[Array]) -> BoundPlan:
        """Returns the plan for feeds of the shapes of `values`."""
        shapes = tuple([value.shape for value in values])
        contents = self.executable.look(values)
        key: Any = (shapes, contents) if self._looks else shapes if self._dtype is None else shapes[0]
        with self._lock:
            bound = self._bound.get(key)
            if bound is not None:
                return bound
            # Once per shape: what is admitted here need not be looked at again.
            self._check_shapes(shapes)
            began = time.perf_counter()
            try:
                bound = self.executable.bind(shapes, self._state, contents)
            except Exception as error:
                raise self._explained(error) from error.__cause__
            self._took += time.perf_counter() - began
            while len(self._bound) >= _MOST_SHAPES:
                del self._bound[next(iter(self._bound))]
            self._bound[key] = bound
            if self._single and not (self._reads or self._writes or self._looks):
                self.direct = bound.direct(None)
                self.direct_by_key = bound.direct(self.keep[1])
            return bound

    def _explained(self, error: Exception) -> Exception:
        """Returns the error to raise for one that binding or running raised."""
        if isinstance(error, UninitializedVariableError):
            return self._uninitialized(error)
        cause = error.__cause__ if isinstance(error, reference.NodeError) else error
        assert isinstance(cause, Exception)
        if self._state.closed and type(cause) is RuntimeError:
            # A step that calls a function, as those of datasets do, found the session closed.
            return errors.CancelledError(None, None, "Session has been closed; the run was cancelled.")
        if isinstance(error, reference.NodeError):
            return _blamed(cause, error.node, error.inputs)
        step = getattr(error, "plan_step", None)
        if step is not None:
            return _blamed(error, step.origin, getattr(error, "plan_inputs", ()))
        if isinstance(error, ShapeError):
            return errors.InvalidArgumentError(None, None, str(error))
        if isinstance(error, MemoryError):
            return errors.ResourceExhaustedError(None, None, str(error) or "Out of memory")
        if isinstance(error.__cause__ or error, RecursionError):
            return _too_deep()
        return error

    def _uninitialized(self, error: UninitializedVariableError) -> Exception:
        names = [name for name in self.executable.reads if not self._state.is_initialized(name)]
        lines = []
        first: Operation | None = None
        for name in names or [str(error.key)]:
            operation = self.handles.get(name)
            first = first or operation
            made = (
                f" (made at {operation.user_line})" if operation is not None and operation.user_line else ""
            )
            lines.append(f"Attempting to use uninitialized value {name}{made}")
        text = "\n".join(lines)
        return errors.FailedPreconditionError(
            None, first, f"{text}\nRun the initializers first: sess.run(gf.global_variables_initializer())"
        )


def _too_deep() -> errors.ResourceExhaustedError:
    return errors.ResourceExhaustedError(
        None, None,
        "Branches and loops are nested deeper than Python's recursion limit allows,"
        f" {sys.getrecursionlimit()}; see sys.setrecursionlimit.",
    )  # fmt: skip


class DeviceAttributes(NamedTuple):
    """A device that a session can use."""

    name: str
    device_type: str
    memory_limit_bytes: int
    incarnation: int


# The targets of servers in this process.
LOCAL_TARGETS: set[str] = set()


class Session:
    """Runs operations of a graph; see TF1's `Session`.

    One session serves any number of threads: runs that only read variables go side by side.

    Args:
      target: "" or "local", or the target of a server in this process; there are no remote sessions.
      graph: the graph to run; default the default graph.
      config: a `ConfigProto`, or None.
      compile_options: how to compile, pass by pass; default what `config` says.

    Raises:
      TypeError: for arguments of other types.
      UnimplementedError: for a remote target.
    """

    def __init__(
        self,
        target: Any = "",
        graph: Graph | None = None,
        config: Any = None,
        compile_options: CompileOptions | None = None,
    ) -> None:
        target = target.decode() if isinstance(target, bytes) else target
        if not isinstance(target, str):
            raise TypeError(f"Argument `target` must be a string, but got {target!r}")
        if target not in ("", "local") and target not in LOCAL_TARGETS:
            raise errors.UnimplementedError(
                None, None, f"remote sessions are not available: target {target!r}"
            )
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(f"Argument `graph` must be a Graph, but got {type(graph).__name__}")
        if config is not None and not hasattr(config, "intra_op_parallelism_threads"):
            raise TypeError(f"Argument `config` must be a ConfigProto, but got {type(config).__name__}")
        self._graph = get_default_graph() if graph is None else graph
        self._config = config
        self._options = compile_options or _options_of(config)
        self._interpreted = BACKEND.get() == "reference"
        self._placement = Placement(config) if compile_options is None else None
        self._target = target
        self._state = SessionState()
        self._state.compile_function = self._compiled_function
        self._state.device_memory = None if self._placement is None else self._placement.memory
        self._gate = self._state.gate
        self._closed = False
        self._warm: dict[Any, _Runner] = {}
        # Shorter ways, by tensor: functions of a feed_dict that answer NotImplemented if it does not fit.
        self._direct: dict[Any, Callable[[Any], Any]] = {}
        self._executables: dict[tuple[tuple[Element, ...], tuple[Tensor, ...]], Executable] = {}
        self._lock = threading.RLock()
        self._clock = 0
        self._operations_seen = 0
        self._growths = 0
        self._warned_steps: set[Operation] = set()
        self._contexts: list[contextlib.ExitStack] = []
        timeout = getattr(config, "operation_timeout_in_ms", 0)
        self._timeout = timeout / 1e3 if timeout else None
        _sessions.add(self)

    @property
    def graph(self) -> Graph:
        """The graph that this session runs."""
        return self._graph

    @property
    def graph_def(self) -> Any:
        """The graph as a GraphDef."""
        return self._graph.as_graph_def()

    @property
    def sess_str(self) -> str:
        """The target."""
        return self._target

    # Running.

    def run(
        self,
        fetches: Any,
        feed_dict: Any = None,
        options: Any = None,
        run_metadata: Any = None,
        *,
        device_outputs: bool = False,
    ) -> Any:
        """Computes `fetches` once.

        Args:
          fetches: an operation, tensor, variable or name, or a nested list, tuple, named tuple or dict of such.
          feed_dict: values for tensors, by tensor or name; any tensor can be fed.
          options: `RunOptions`: `trace_level`, `timeout_in_ms`.
          run_metadata: a `RunMetadata` that is filled when `options.trace_level` asks for it.
          device_outputs: whether results of a run on a GPU stay there, as arrays that other libraries take (CuPy's, by
            DLPack or `__cuda_array_interface__`); they can be fed again without a copy to the host. Feeds may be
            such arrays, of any library, in any case. What runs on the processor gives NumPy arrays.

        Returns:
          The structure of `fetches` with arrays (NumPy scalars for scalars) for tensors and None for operations.

        Raises:
          RuntimeError: if the session is closed or the graph empty.
          ValueError: for an unknown fetch, or a feed of the wrong shape.
          TypeError: for a fetch or feed of the wrong type.
          InvalidArgumentError: for unfed placeholders, and for what fails while running.
          FailedPreconditionError: for uninitialized variables.
        """
        if device_outputs:
            if options is not None or run_metadata is not None:
                raise ValueError("device_outputs goes with neither options nor run_metadata")
            return self._missed(fetches, feed_dict, None).run_on_device(tuple((feed_dict or {}).values()))
        kind = fetches.__class__
        if kind is Tensor and options is None and run_metadata is None:
            direct = self._direct.get(fetches)
            if direct is not None:
                result = direct(feed_dict)
                if result is not NotImplemented:
                    return result
        key: Any
        try:
            if kind is list or kind is tuple:
                key = (kind, *fetches, _FED, *feed_dict) if feed_dict else (kind, *fetches)
            elif kind in _LEAVES:
                key = (fetches, *feed_dict) if feed_dict else fetches
            else:
                key = (structure_key(fetches), *(feed_dict or ()))
            runner = self._warm.get(key)
        except TypeError:
            key, runner = None, None
        if runner is None:
            runner = self._missed(fetches, feed_dict, key)
        runner.used = self._clock
        if options is not None or run_metadata is not None or self._timeout is not None:
            return self._run_with_options(
                runner, tuple(feed_dict.values()) if feed_dict else (), options, run_metadata
            )
        result = runner.run(tuple(feed_dict.values()) if feed_dict else ())
        direct = runner.direct_by_key
        if direct is not None and kind is Tensor and self._direct.get(fetches) is not direct:
            with self._lock:
                if not self._closed:
                    self._direct[fetches] = direct
        return result

    def _run_with_options(
        self, runner: _Runner, values: Sequence[Any], options: Any, run_metadata: Any
    ) -> Any:
        timeout = getattr(options, "timeout_in_ms", 0) / 1e3 or self._timeout
        traced = run_metadata is not None and getattr(options, "trace_level", 0) > 0
        if timeout is not None:
            self._state.set_deadline(time.monotonic() + timeout)
        try:
            if traced:
                began = time.time_ns() // 1000
                result, events = runner.run_traced(values, compiling=True)
                timeline.record(run_metadata, _CPU, events, began)
            else:
                result = runner.run(values)
            if timeout is not None:
                self._state.between_steps()
            return result
        finally:
            self._state.set_deadline(None)

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """Returns a function that runs `fetches`: what `run` does, without looking anything up.

        Args:
          fetches: as for `run`.
          feed_list: the tensors that are fed, in the order of the function's arguments.
          accept_options: whether the function takes `options` and `run_metadata` by keyword.

        Raises:
          TypeError, ValueError, InvalidArgumentError: as for `run`.
        """
        if feed_list is not None and not isinstance(feed_list, (list, tuple)):
            raise TypeError(f"Argument `feed_list` must be a list or tuple, got {feed_list!r}")
        keys = tuple(feed_list or ())
        runner = self._prepared(fetches, keys)
        count = len(keys)
        run, state = runner.run, self._state

        def call(*args: Any) -> Any:
            direct = runner.direct
            if direct is not None and not state.closed:
                result = direct(*args)
                if result is not NotImplemented:
                    return result
            if len(args) != count:
                raise ValueError(f"the callable takes {count} feeds, got {len(args)}")
            return run(args)

        def call_with_options(*args: Any, options: Any = None, run_metadata: Any = None) -> Any:
            if len(args) != count:
                raise ValueError(f"the callable takes {count} feeds, got {len(args)}")
            return self._run_with_options(runner, args, options, run_metadata)

        return call_with_options if accept_options or self._timeout is not None else call

    def run_steps(self, fetches: Any, steps: int, feed_dict: Any = None) -> Any:
        """Computes `fetches` so many times, as `run` in a loop would, with as little as possible in between.

        On a GPU all feeds are sent at once, the steps follow each other without a return to the host, and all results
        are brought home at the end.

        Args:
          fetches: as for `run`.
          steps: how often, at least once.
          feed_dict: as for `run`, but each value has one axis more in front, of size `steps`: step i takes row i.

        Returns:
          The structure of `fetches`, each array with one axis more in front, of size `steps`; None for operations.

        Raises:
          ValueError: if `steps` is no positive number, or a feed does not have as many rows.
          RuntimeError, TypeError, InvalidArgumentError, FailedPreconditionError: as for `run`.
        """
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            raise ValueError(f"Argument `steps` must be a positive number, got {steps!r}")
        feeds = tuple((feed_dict or {}).values())
        for feed in feeds:
            rows = getattr(feed, "shape", None) or np.shape(feed)
            if not rows or rows[0] != steps:
                raise ValueError(f"each feed of run_steps needs {steps} rows, one has shape {list(rows)}")
        return self._missed(fetches, feed_dict, None).run_steps(feeds, int(steps))

    def plan(self, fetches: Any, feed_dict: Any = None) -> Plan | CutPlan | RoomPlan:
        """Returns the plan of a run without running it: its steps, their cost, the memory it will take.

        `print(session.plan(loss, feeds).summary())` tells before the first run what a run costs. Of what follows on
        sizes that only the run finds it tells what the last run has found.

        Args:
          fetches: as for `run`.
          feed_dict: as for `run`; of the values only the shapes matter.

        Raises:
          RuntimeError, TypeError, ValueError, InvalidArgumentError: as for `run`.
        """
        return self._missed(fetches, feed_dict, None).plan(tuple((feed_dict or {}).values()))

    def row_wise(self, fetches: Any, feed_list: Sequence[Any]) -> RowWise:
        """Returns whether row i of each fetch is made of row i of the feeds alone, or why that is not so.

        Where it is, feeds of several runs may be laid one behind the other along their first axis and run at once.

        Args:
          fetches: as for `run`.
          feed_list: the tensors that are fed.

        Raises:
          TypeError, ValueError, InvalidArgumentError: as for `run`.
        """
        executable = self._prepared(fetches, tuple(feed_list)).executable
        if not isinstance(executable, CompiledExecutable):
            return RowWise("ops run one by one: nothing is proved of them")
        shapes = [tensor.shape.as_tuple() for tensor in feed_list]
        return prove(executable.program, shapes, executable.options)

    def traced(self, fetches: Any, feed_dict: Any = None) -> tuple[Any, Sequence[TraceEvent]]:
        """Runs once with clocks; returns what `run` returns, and one event per thread and step.

        `gf.profile` makes a table of several such runs.

        Raises:
          Exception: as for `run`.
        """
        return self._missed(fetches, feed_dict, None).run_traced(tuple((feed_dict or {}).values()))

    def interpreted(
        self,
        fetches: Any,
        feed_dict: Any = None,
        observer: reference.Observer | None = None,
        state: SessionState | None = None,
    ) -> Any:
        """Computes `fetches` node by node, as the graph says it, with the NumPy bodies; slow. See `gf.debug`.

        Args:
          fetches: as for `run`.
          feed_dict: as for `run`.
          observer: told of each node, its operands and its results.
          state: the variables and random counters to run on; default: a copy of the session's, which so stay as
            they are.

        Raises:
          Exception: as for `run`.
        """
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        feed_dict = feed_dict or {}
        feeds = Feeds(self._graph, tuple(feed_dict))
        parts = Fetches(self._graph, fetches, self._state.resources)
        slice_ = _Slice(parts.elements, feeds.tensors)
        slice_.refuse_unfed(parts.elements)
        program = _Interpreted(freeze(parts.elements, feeds.tensors), observer)
        state = state or self._state.fork()
        runner = _Runner(state, state.gate, parts, feeds, program, slice_.handles, (fetches, feed_dict))
        return runner.run(tuple(feed_dict.values()))

    def snapshot(self) -> SessionState:
        """Returns a copy of the variables and random counters as they are now."""
        return self._state.fork()

    def needed(self, fetches: Any, feed_dict: Any = None) -> frozenset[Operation]:
        """Returns the operations that a run needs.

        Args:
          fetches: as for `run`.
          feed_dict: as for `run`; what is fed is not needed.
        """
        feeds = Feeds(self._graph, tuple(feed_dict or ()))
        return frozenset(_Slice(Fetches(self._graph, fetches).elements, feeds.tensors).operations)

    # Preparing: what happens on a miss.

    def _missed(self, fetches: Any, feed_dict: Any, key: Any) -> _Runner:
        if feed_dict is not None and not hasattr(feed_dict, "values"):
            raise TypeError(f"feed_dict must be a dict, got {type(feed_dict).__name__}")
        with self._lock:
            simple = fetches.__class__ in _LEAVES or (
                fetches.__class__ in (list, tuple) and all(item.__class__ in _LEAVES for item in fetches)
            )
            if not simple or key is None:
                # Containers inside lists compare by content but not by type: only their structure tells them apart.
                key = (structure_key(fetches), *(feed_dict or ()))
                try:
                    found = self._warm.get(key)
                except TypeError:
                    key, found = None, None
                if found is not None:
                    return found
            runner = self._prepared(fetches, tuple(feed_dict or ()))
            if key is not None:
                self._warm[key] = runner
            return runner

    def _prepared(self, fetches: Any, keys: tuple[Any, ...]) -> _Runner:
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        if not self._graph.version:
            raise RuntimeError(
                f"The Session graph is empty.  Add operations to the graph before calling run().{_elsewhere(fetches)}"
            )
        with self._lock:
            self._clock += 1
            self._forget_old()
            feeds = Feeds(self._graph, keys)
            parts = Fetches(self._graph, fetches, self._state.resources)
            slice_ = _Slice(parts.elements, feeds.tensors)
            slice_.refuse_unfed(parts.elements)
            self._watch_growth(slice_)
            self._watch_update_ops(slice_)
            elements = (*parts.elements, *self._prints(slice_, feeds.tensors))
            both = (elements, feeds.tensors)
            executable = self._executables.get(both)
            if executable is None:
                executable = self._executables[both] = self._compiled(
                    elements, feeds.tensors, device=self._device_of(slice_)
                )
            return _Runner(self._state, self._gate, parts, feeds, executable, slice_.handles, (fetches, keys))

    def _compiled(
        self,
        fetches: tuple[Element, ...],
        feeds: tuple[Tensor, ...],
        handles: Mapping[Tensor, str] | None = None,
        device: str | None = None,
    ) -> Executable:
        if self._interpreted:
            return _Interpreted(freeze(fetches, feeds, handles))
        options = self._options
        if device is not None and device != options.device:
            options = dataclasses.replace(options, device=device)
        try:
            return compile_graph(fetches, feeds, options, handles)
        except ShapeError as error:  # what the passes found of the sizes contradicts the graph
            raise errors.InvalidArgumentError(None, None, str(error)) from None
        except (PassError, RecursionError) as error:
            if isinstance(error.__cause__ or error, RecursionError):
                raise _too_deep() from error
            raise

    def _device_of(self, slice_: _Slice) -> str | None:
        """The device that a run goes to; None: that of the compile options."""
        return None if self._placement is None else self._placement.device_of(slice_.operations)

    def _compiled_function(self, function: Function) -> Call:
        """Returns what calls a function on arrays: one per argument that is no variable."""
        given = [i for i, tensor in enumerate(function.inputs) if not tensor.is_variable]
        feeds = tuple(function.inputs[i] for i in given)
        handles = {t: variable_name(outermost(t)) for t in function.inputs if t.is_variable}
        fetches: tuple[Element, ...] = (*function.outputs, *function.control_outputs)
        executable = self._compiled(fetches, feeds, handles)
        parts = Fetches(function.graph, list(fetches))
        places = [parts.tensors.index(tensor) for tensor in function.outputs]
        runner = _Runner(
            self._state,
            self._gate,
            parts,
            Feeds(function.graph, feeds),
            executable,
            {},
            (fetches, feeds),
            True,
        )

        def call(arrays: Sequence[Array]) -> list[Array]:
            results = runner.run([arrays[i] for i in given])
            return [results[i] for i in places]

        return call

    def _forget_old(self) -> None:
        """Lets go of the plans of fetch sets that were not run for the longest time."""
        if len(self._warm) < _MOST_RUNNERS:
            return
        # Who goes the short way is not seen running: that counts as a run, and has to be earned anew.
        short = {id(direct) for direct in self._direct.values()}
        for runner in self._warm.values():
            if id(runner.direct_by_key) in short:
                runner.used = self._clock
        self._direct.clear()
        by_age = sorted(self._warm.items(), key=lambda item: item[1].used)
        for key, _ in by_age[: _MOST_RUNNERS // 4]:
            del self._warm[key]
        alive = {id(runner.executable) for runner in self._warm.values()}
        self._executables = {key: value for key, value in self._executables.items() if id(value) in alive}

    def _prints(self, slice_: _Slice, feeds: Sequence[Tensor]) -> list[Operation]:
        """Returns the Print operations whose operands a run computes and whose results it does not use."""
        known = slice_.operations
        return [
            made
            for made in self._graph.registries.get("prints", ())
            if made not in known
            and made.inputs[0].op in known
            and all(t.op in known or t in feeds or t.op.type == "Const" for t in made.inputs)
        ]

    def _watch_growth(self, slice_: _Slice) -> None:
        seen, self._operations_seen = self._operations_seen, self._graph._last_id
        newest = slice_.newest
        if not seen or newest is None or newest._id < seen:
            return
        self._growths += 1
        if self._growths == _GROWTHS_BEFORE_WARNING:
            warnings.warn(
                f"The graph has grown between runs of this session {self._growths} times; each time new operations"
                f" had to be compiled. The last one, {newest.name!r}, was made at"
                f" {newest.user_line or 'an unknown line'}. Make operations once, before the loop;"
                " graph.finalize() shows where they are made.",
                RuntimeWarning,
                stacklevel=_stack_level(),
            )

    def _watch_update_ops(self, slice_: _Slice) -> None:
        steps = self._graph.registries.get("training_steps")
        if not steps:
            return
        for step in steps:
            if step not in slice_.operations or step in self._warned_steps:
                continue
            self._warned_steps.add(step)
            missing = []
            for item in self._graph.get_collection(GraphKeys.UPDATE_OPS):
                update = getattr(item, "op", item)
                if (
                    isinstance(update, Operation)
                    and update._id < step._id
                    and update not in slice_.operations
                    and _uses_results_of(update, slice_.operations)
                ):
                    missing.append(update)
            if missing:
                warnings.warn(
                    f"The training step {step.name!r} (made at {step.user_line or 'an unknown line'}) runs without"
                    f" {len(missing)} operations of GraphKeys.UPDATE_OPS, such as {missing[0].name!r}: moving averages"
                    " of batch normalization are not updated. Make the step inside"
                    " `with gf.control_dependencies(gf.get_collection(gf.GraphKeys.UPDATE_OPS)):`.",
                    RuntimeWarning,
                    stacklevel=_stack_level(),
                )

    # Variables.

    def variable_value(self, variable: Variable | str) -> Array:
        """Returns a copy of a variable's value.

        Raises:
          FailedPreconditionError: if it has none.
        """
        name = variable if isinstance(variable, str) else variable_name(variable.handle)
        try:
            me = self._gate.enter_to_read()
            try:
                return self._state.get(name)
            finally:
                self._gate.leave_read(me)
        except UninitializedVariableError:
            raise errors.FailedPreconditionError(
                None, None, f"Attempting to use uninitialized value {name}"
            ) from None

    def load_variable(self, variable: Variable | str, value: Any) -> None:
        """Sets a variable's value.

        Args:
          variable: the variable, or the name under which the session keeps it.
          value: what converts to an array of the variable's dtype and shape.

        Raises:
          ValueError: if the shape does not fit.
        """
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        if isinstance(variable, str):
            name, array = variable, np.asarray(value)
        else:
            name = variable_name(variable.handle)
            array = feed_array(variable.handle, value)
            if not variable.shape.is_compatible_with(array.shape):
                raise ValueError(
                    f"Cannot load a value of shape {array.shape} into variable {variable.name!r}, which has shape"
                    f" {variable.shape}"
                )
        leave = self._gate.enter_to_write()
        try:
            self._state.set(name, array)
        finally:
            if leave:
                self._gate.leave_write()

    # Life.

    def as_default(self) -> contextlib.AbstractContextManager[Session]:
        """Makes this the default session inside the block; does not close it."""
        return default_session(self)

    def close(self) -> None:
        """Ends the session: frees its variables, resources and plans, and cancels runs under way in other threads."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._state.closed = True
            self._warm.clear()
            self._direct.clear()
            self._executables.clear()
        self._state.resources.close()
        self._state.clear()

    def __enter__(self) -> Session:
        if self._contexts:
            raise RuntimeError(
                "Session context managers are not re-entrant. Use `Session.as_default()` if you want to enter a"
                " session multiple times."
            )
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._graph.as_default())
            stack.enter_context(self.as_default())
            self._contexts.append(stack.pop_all())
        return self

    def __exit__(self, *error: Any) -> None:
        self._contexts.pop().__exit__(*error)
        self.close()

    def list_devices(self) -> list[DeviceAttributes]:
        """Returns the devices that this session can use; nothing is allocated."""
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        gpus = () if self._placement is None else self._placement.gpus
        return [
            DeviceAttributes(_CPU, "CPU", machine_bytes(), 1),
            *(DeviceAttributes(f"{LOCAL}GPU:{n}", "GPU", gpu.bytes, 1) for n, gpu in enumerate(gpus)),
        ]

    @staticmethod
    def reset(target: str, containers: Sequence[str] | None = None, config: Any = None) -> None:
        """Closes all sessions of this process, which frees what they keep.

        Args:
          target: "" or "local", or the target of a server in this process; there are no remote sessions.
          containers: names of containers, whose resources are freed first.
          config: accepted.

        Raises:
          UnimplementedError: for a remote target.
        """
        if target not in ("", "local", b"", b"local") and target not in LOCAL_TARGETS:
            raise errors.UnimplementedError(
                None, None, f"remote sessions are not available: target {target!r}"
            )
        sessions = list(_sessions)
        for session in sessions if containers else ():
            session._state.resources.clear(frozenset(containers or ()))
        for session in sessions:
            session.close()

    def __repr__(self) -> str:
        return f"<gf.{type(self).__name__}{' (closed)' if self._closed else ''}>"


class InteractiveSession(Session):
    """A session that is the default session of its thread until it is closed; see `Session`."""

    def __init__(
        self,
        target: Any = "",
        graph: Graph | None = None,
        config: Any = None,
        compile_options: CompileOptions | None = None,
    ) -> None:
        super().__init__(target, graph, config, compile_options)
        self._installed = contextlib.ExitStack()
        if graph is not None:
            self._installed.enter_context(graph.as_default())
        self._installed.enter_context(self.as_default())

    def close(self) -> None:
        """Ends the session, which is no longer the default one."""
        super().close()
        self._installed.close()


def _options_of(config: Any) -> CompileOptions:
    """Returns what a `ConfigProto` says of compiling.

    That is the number of threads, whether products are of bfloat16 factors, and which passes are left out: at
    optimizer level L0, or with `rewrite_options.disable_meta_optimizer`, all that merely make programs smaller; else
    those whose switch in `graph_options.rewrite_options` is OFF.
    """
    threads = int(getattr(config, "intra_op_parallelism_threads", 0) or 0)
    graph_options = getattr(config, "graph_options", None)
    rewrites = getattr(graph_options, "rewrite_options", None)
    level = getattr(getattr(graph_options, "optimizer_options", None), "opt_level", 0)
    without_all = level < 0 or getattr(rewrites, "disable_meta_optimizer", False)
    disabled: set[str] = set()
    for switch, passes in _PASSES.items():
        if without_all or getattr(rewrites, switch, 0) == _SWITCHED_OFF:
            disabled.update(passes)
    if getattr(rewrites, "disable_model_pruning", False):
        disabled.add("prune")
    enabled = {
        name for switch, name in _PASSES_TO_ASK_FOR.items() if getattr(rewrites, switch, 0) in _SWITCHED_ON
    }
    return CompileOptions(
        threads=max(threads, 0), disabled_passes=frozenset(disabled), enabled_passes=frozenset(enabled)
    )


# What a slice is, before it is compiled.


class _Slice:
    """The operations that a run needs.

    Attributes:
      operations: all of them.
      newest: the one made last.
      handles: the variables among them, by the name under which a session keeps them.
      unfed: the placeholders among them, in the order made.
    """

    def __init__(self, elements: Sequence[Element], feeds: Sequence[Tensor]) -> None:
        self._fed = frozenset(feeds)
        self.operations = self._reach(elements)
        self.handles: dict[str, Operation] = {}
        self.unfed: list[Operation] = []
        newest = -1
        self.newest: Operation | None = None
        for operation in self.operations:
            if operation._id > newest:
                newest, self.newest = operation._id, operation
            if operation.type == "VarHandleOp":
                self.handles[variable_name(operation.outputs[0])] = operation
            elif operation.type in ("Placeholder", "PlaceholderV2"):
                self.unfed.append(operation)
        self.unfed.sort(key=lambda operation: operation._id)

    def _reach(self, elements: Sequence[Element]) -> set[Operation]:
        fed = self._fed
        found: set[Operation] = set()
        stack = [item if isinstance(item, Operation) else item.op for item in elements if item not in fed]
        while stack:
            operation = stack.pop()
            if operation in found:
                continue
            if fed and operation.outputs and all(output in fed for output in operation.outputs):
                continue
            found.add(operation)
            for tensor in operation.inputs:
                if tensor not in fed:
                    stack.append(tensor.op)
            stack.extend(operation._control_inputs)
        return found

    def refuse_unfed(self, elements: Sequence[Element]) -> None:
        """Raises InvalidArgumentError that lists all unfed placeholders, their lines, and which fetches need them."""
        if not self.unfed:
            return
        needed_by: dict[Operation, list[str]] = {operation: [] for operation in self.unfed}
        for element in elements:
            reached = self._reach([element])
            for operation in self.unfed:
                if operation in reached:
                    needed_by[operation].append(element.name)
        lines = []
        for operation in self.unfed:
            output = operation.outputs[0]
            dims = output.shape.as_tuple()
            shape = (
                "" if dims is None else f" and shape [{','.join('?' if d is None else str(d) for d in dims)}]"
            )
            made = f"made at {operation.user_line}; " if operation.user_line else ""
            users = ", ".join(repr(name) for name in needed_by[operation][:5])
            lines.append(
                f"You must feed a value for placeholder tensor '{operation.name}' with dtype"
                f" {_CPP_NAMES.get(output.dtype.name, output.dtype.name)}{shape} ({made}needed by {users})"
            )
        raise errors.InvalidArgumentError(None, self.unfed[0], "\n".join(lines))


_CPP_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def _uses_results_of(update: Operation, operations: set[Operation]) -> bool:
    """Whether an operation works on values (not merely variables and constants) that a slice computes."""
    plain = ("VarHandleOp", "ReadVariableOp", "Const", "Placeholder")
    seen: set[Operation] = set()
    stack = [update]
    while stack:
        operation = stack.pop()
        if operation in operations and operation.type not in plain:
            return True
        if operation in seen:
            continue
        seen.add(operation)
        stack.extend(tensor.op for tensor in operation.inputs)
        # What `assign` returns reads the variable after the write: the write is a control input.
        stack.extend(operation._control_inputs)
    return False


def _elsewhere(fetches: Any) -> str:
    """What to add where the graph is empty and what is fetched stands in another one."""
    for element in fetches if isinstance(fetches, list | tuple) else (fetches,):
        if isinstance(element, Tensor | Operation | Variable):
            return (
                f" {element.name!r} stands in another graph, at {id(element.graph):#x}; a new thread starts with the "
                "global default graph: use Session(graph=…), or enter `with graph.as_default():` there."
            )
    return ""


def _stack_level() -> int:
    """How many frames up the first one outside graphflow stands, for `warnings.warn` in the caller's caller."""
    import sys

    package = os.path.dirname(os.path.abspath(__file__)) + os.sep
    level = 0
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(package):
        level += 1
        frame = frame.f_back  # type: ignore[assignment]
    return level + 1


class _Never:
    """A dtype that no array has: feeds that need taking apart always go the long way."""


_NEVER: Any = _Never()


def _fed_dtype(tensor: Tensor) -> np.dtype[Any]:
    dtype = tensor.handle_dtype if tensor.is_variable else tensor.dtype
    # Strings are checked one by one: an object array may hold anything.
    never: np.dtype[Any] = _NEVER
    return never if dtype.numpy.kind == "O" else dtype.numpy


_BY_CAUSE: tuple[tuple[tuple[type[Exception], ...], type[errors.OpError]], ...] = (
    ((NotImplementedError,), errors.UnimplementedError),
    ((StopIteration,), errors.OutOfRangeError),
    ((MemoryError,), errors.ResourceExhaustedError),
    (
        (TypeError, ValueError, LookupError, ArithmeticError, AssertionError, np.linalg.LinAlgError),
        errors.InvalidArgumentError,
    ),
)


def _blamed(cause: Exception, origin: Any, inputs: Sequence[Any]) -> Exception:
    """Returns an error of TF1's classes that says which node failed, on what, and which lines made it."""
    node = origin if isinstance(origin, Node) else None
    operation = origin if isinstance(origin, Operation) else getattr(origin, "origin", None)
    if isinstance(cause, errors.OpError):
        kind: type[errors.OpError] = type(cause)
        text = cause.message
    else:
        kind = next((known for causes, known in _BY_CAUSE if isinstance(cause, causes)), errors.UnknownError)
        text = f"{type(cause).__name__}: {cause}" if kind is errors.UnknownError else str(cause)
    name = node.name if node is not None else getattr(operation, "name", "")
    op_type = node.type if node is not None else getattr(operation, "type", "")
    if op_type.startswith("Graphflow"):  # what a pass has made of the user's
        op_type = getattr(operation, "type", op_type)
    if not name:
        return kind(None, None, text)
    operands = ", ".join(
        f"{'string' if value.dtype == object else value.dtype.name}[{','.join(map(str, value.shape))}]"
        for value in inputs
        if isinstance(value, np.ndarray)
    )
    lines = [text, f"\t [[node {name} = {op_type}({operands}){_made(operation)}]]"]
    forward = getattr(operation, "forward_op", None)
    if forward is not None:
        lines.append(f"\t gradient of [[node {forward.name} = {forward.type}{_made(forward)}]]")
    frames = getattr(operation, "traceback", None) or []
    lines += [f'  File "{file}", line {line}, in {function}' for file, line, function in frames[-5:]]
    error = kind(None, operation, "\n".join(lines))
    error.__cause__ = cause if not isinstance(cause, errors.OpError) else None
    return error


def _made(operation: Any) -> str:
    line = getattr(operation, "user_line", "")
    return f" (defined at {line})" if line else ""


# Running without compiling.


class _Interpreted:
    """A program run by the reference executor, whatever the shapes; both `Executable` and `BoundPlan`."""

    plan = None
    contents = ()

    def look(self, feeds: Sequence[Array]) -> Contents:
        """Returns nothing: bodies find all sizes out."""
        return ()

    def direct(self, keys: Sequence[object] | None) -> None:
        """Returns None: there is no shorter way."""

    def __init__(self, program: Program, observer: reference.Observer | None = None) -> None:
        self.program = program
        self._observer = observer
        self.reads = tuple(program.variables)
        self.writes = tuple(name for name, _ in program.commits)

    def bind(self, feed_shapes: Shapes, state: SessionState, contents: Contents = ()) -> BoundPlan:
        """Returns itself."""
        return self

    def run(self, feeds: Sequence[Array], state: SessionState) -> list[Array]:
        """Runs the NumPy bodies in order."""
        return reference.run(self.program, feeds, state, self._observer or _Stops(state))

    def run_traced(
        self, feeds: Sequence[Array], state: SessionState
    ) -> tuple[list[Array], Sequence[TraceEvent]]:
        """Runs the NumPy bodies in order, with clocks."""
        clock = _Clock()
        results = reference.run(self.program, feeds, state, clock)
        return results, clock.events


class _Stops:
    """Ends a run whose session was closed, or whose time is up."""

    def __init__(self, state: SessionState) -> None:
        self._state = state

    def before(self, node: Node, inputs: Sequence[Array]) -> None:
        """Raises if the run is to stop."""
        self._state.between_steps()

    def after(self, node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Does nothing."""


class _Clock:
    """Takes the time of each node; one with others inside counts theirs too."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []
        self._began = time.perf_counter()
        self._starts: list[float] = []

    def before(self, node: Node, inputs: Sequence[Array]) -> None:
        """Starts."""
        self._starts.append(time.perf_counter() - self._began)

    def after(self, node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Stops."""
        start = self._starts.pop()
        end = time.perf_counter() - self._began
        self.events.append(TraceEvent(node.name, start * 1e6, (end - start) * 1e6, 0, 0, node))


__all__ = [
    "DeviceAttributes", "InteractiveSession", "Session", "SessionState", "get_default_session",
]  # fmt: skip
