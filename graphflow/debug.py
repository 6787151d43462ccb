"""A run looked into, node by node: what each operation was given and gave, and the line that made it.

    trace = gf.debug.trace(session, loss, {x: batch})       # every value; print(trace) is a table
    gf.debug.trace(session, loss, feeds, break_on="nan")    # pdb at the first node that makes a NaN
    gf.debug.find_nan(session, loss, feeds)                 # who made it, from what, at which line
    with gf.debug.watch(session, "dense.*/Relu"): ...       # statistics at every run
    with gf.debug.record(session) as tape: ...              # runs that can be looked into afterwards
    tape[-1].trace(break_on="error")
    loss.eval_sample()                                      # while building: no session, no feeds

All of it works on a copy of the session's variables and random counters: nothing is trained, drawn or counted.
Operations are run one by one with their NumPy bodies, before any optimization, so that each is the user's.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphflow.graph import Graph, GraphKeys, Operation, Tensor
from graphflow.program import Node
from graphflow.session import Session, SessionState

__all__ = [
    "Blame", "LocalCLIDebugWrapperSession", "Recorded", "Statistics", "Step", "Tape", "Trace", "find_nan",
    "has_inf_or_nan", "record", "sample", "trace", "watch",
]  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Statistics:
    """An array in numbers.

    Attributes:
      dtype: its dtype.
      shape: its shape.
      least, largest, mean: of the elements that are finite; None where there is none.
      nans, infinities, zeros, negatives: how many elements are such.
    """

    dtype: str
    shape: tuple[int, ...]
    least: Any
    largest: Any
    mean: float | None
    nans: int
    infinities: int
    zeros: int
    negatives: int

    @staticmethod
    def of(array: Any) -> Statistics:
        """Measures an array."""
        array = np.asarray(array)
        if array.dtype.kind not in "fciub" and array.dtype.name != "bfloat16":
            return Statistics(
                "string" if array.dtype == object else array.dtype.name,
                array.shape,
                None,
                None,
                None,
                0,
                0,
                0,
                0,
            )
        wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
        nans, infinities = np.isnan(wide), np.isinf(wide)
        finite = wide[~(nans | infinities)]
        size = np.abs(finite) if array.dtype.kind == "c" else finite
        return Statistics(
            array.dtype.name,
            array.shape,
            float(size.min()) if size.size else None,
            float(size.max()) if size.size else None,
            float(size.mean()) if size.size else None,
            int(nans.sum()),
            int(infinities.sum()),
            int((wide == 0).sum()),
            0 if array.dtype.kind == "c" else int((wide < 0).sum()),
        )

    @property
    def finite(self) -> bool:
        """Whether there is neither a NaN nor an infinity."""
        return not (self.nans or self.infinities)

    def __str__(self) -> str:
        text = f"{self.dtype}[{','.join(map(str, self.shape))}]"
        if self.least is not None:
            text += f" min {self.least:.4g} max {self.largest:.4g} mean {self.mean:.4g}"
        counts = (
            (self.nans, "NaN"),
            (self.infinities, "Inf"),
            (self.zeros, "zero"),
            (self.negatives, "negative"),
        )
        return text + "".join(f", {count} {what}" for count, what in counts if count)


@dataclass(frozen=True)
class Step:
    """One operation as it was run.

    Attributes:
      name: its name; the same for each turn of a loop.
      type: its op type.
      operation: the operation of the graph, or None for one that no user made.
      inputs, outputs: arrays.
      input_names: names of the inputs.
      outside: "feed" or "variable" for what a run takes and no operation of it makes; else empty.
    """

    name: str
    type: str
    operation: Operation | None
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    input_names: tuple[str, ...] = ()
    outside: str = ""

    @property
    def line(self) -> str:
        """The user's line that made it."""
        return self.operation.user_line if self.operation is not None else ""

    @property
    def forward(self) -> Operation | None:
        """The operation whose gradient it is part of."""
        return getattr(self.operation, "forward_op", None)

    def __str__(self) -> str:
        given = ", ".join(
            f"{name}: {Statistics.of(a)}" for name, a in zip(self.input_names, self.inputs, strict=True)
        )
        gave = "; ".join(str(Statistics.of(a)) for a in self.outputs)
        return f"{self.name} = {self.type}({given}) -> {gave}{f'  ({self.line})' if self.line else ''}"


# What an op type does to finite numbers, and the numbers that it does it to.
_CAUSES: tuple[tuple[tuple[str, ...], Callable[[Sequence[Array]], Any], str], ...] = (
    (("Log",), lambda x: x[0] <= 0, "the logarithm of {count} numbers that are zero or negative"),
    (("Log1p",), lambda x: x[0] <= -1, "the logarithm of 1 plus {count} numbers that are -1 or below"),
    (("Sqrt", "Rsqrt"), lambda x: x[0] <= 0, "the root of {count} numbers that are zero or negative"),
    (("Reciprocal", "Inv"), lambda x: x[0] == 0, "1 divided by zero in {count} places"),
    (
        ("RealDiv", "Div", "TruncateDiv", "FloorDiv", "Mod", "FloorMod", "Xdivy"), lambda x: x[1] == 0,
        "a division by zero in {count} places",
    ),
    (("Exp", "Expm1", "Sinh", "Cosh"), lambda x: np.abs(x[0]) > 80, "the exponential of {count} large numbers"),
    (
        ("Pow",), lambda x: (x[0] <= 0) | (np.abs(x[1]) > 30),
        "{count} powers of numbers that are not positive, or with large exponents",
    ),
    (("Acos", "Asin", "Atanh"), lambda x: np.abs(x[0]) >= 1, "{count} numbers outside of -1 to 1"),
    (("RsqrtGrad", "SqrtGrad"), lambda x: x[0] == 0, "the gradient of a root at {count} zeros"),
    (("LogSoftmax", "Softmax"), lambda x: np.abs(x[0]) > 1e38, "{count} logits that are too large"),
)  # fmt: skip


@dataclass(frozen=True)
class Blame:
    """The operation that made the first NaN or infinity of a run: its operands were finite; or what brought it in.

    Attributes:
      step: the operation as it was run.
      output: which of its outputs.
      cause: what is known of the reason; may be empty.
    """

    step: Step
    output: int
    cause: str

    def __str__(self) -> str:
        step = self.step
        found = Statistics.of(step.outputs[self.output])
        what = " and ".join(
            f"{n} {kind}" for n, kind in ((found.nans, "NaN"), (found.infinities, "Inf")) if n
        )
        lines = [f"{step.name} ({step.type}) is the first to make {what}, in output {self.output}: {found}"]
        if step.outside == "feed":
            lines = [f"{step.name} ({step.type}) was fed {what}: {found}"]
        elif step.outside:
            lines = [f"the variable {step.name} had {what} before this run: {found}"]
        if self.cause:
            lines.append(f"  it is {self.cause}")
        for name, array in zip(step.input_names, step.inputs, strict=True):
            lines.append(f"  from {name}: {Statistics.of(array)}")
        if step.line:
            lines.append(f"  made at {step.line}")
        if step.forward is not None:
            lines.append(
                f"  gradient of {step.forward.name} ({step.forward.type}), made at {step.forward.user_line}"
            )
        frames = getattr(step.operation, "traceback", None) or ()
        lines += [f'    File "{file}", line {line}, in {function}' for file, line, function in frames[-5:]]
        return "\n".join(lines)


def _not_finite(array: Array) -> bool:
    if array.dtype.kind not in "fc" and array.dtype.name != "bfloat16":
        return False
    return not bool(np.isfinite(array).all())


def _blame(step: Step) -> Blame | None:
    if any(_not_finite(array) for array in step.inputs):
        return None
    for index, array in enumerate(step.outputs):
        if _not_finite(array):
            return Blame(step, index, _cause(step))
    return None


def _cause(step: Step) -> str:
    for types, wrong, text in _CAUSES:
        if step.type in types:
            with np.errstate(all="ignore"):
                count = int(np.sum(wrong([np.asarray(a) for a in step.inputs])))
            if count:
                return text.format(count=count)
    return ""


@dataclass
class Trace:
    """A run as it went.

    Attributes:
      results: what the run gave; None if it was stopped by an error.
      steps: the operations in the order in which they ran; those in loops once per turn.
      error: what stopped it.
    """

    results: Any = None
    steps: list[Step] = field(default_factory=list)
    error: Exception | None = None

    def __getitem__(self, name: Any) -> Array:
        """Returns the value of a tensor by name, such as "dense/Relu:0", or by itself; of several turns the last.

        Raises:
          KeyError: it was not computed; the message names what is near.
        """
        text = name.name if isinstance(name, Tensor) else str(name)
        node, _, index = text.partition(":")
        for step in reversed(self.steps):
            if step.name == node:
                return step.outputs[int(index or 0)]
        import difflib

        near = difflib.get_close_matches(node, [step.name for step in self.steps], 3, 0.5)
        raise KeyError(f"{text!r} was not computed in this run{'; near: ' + ', '.join(near) if near else ''}")

    def matching(self, pattern: str) -> list[Step]:
        """Returns the steps whose names a regular expression finds."""
        return [step for step in self.steps if re.search(pattern, step.name)]

    def find_nan(self) -> Blame | None:
        """Returns who made the first NaN or infinity, or None."""
        return next((found for step in self.steps if (found := _blame(step)) is not None), None)

    def table(self, pattern: str = "") -> str:
        """Returns the steps as lines, those that a regular expression finds."""
        return "\n".join(str(step) for step in self.matching(pattern))

    def __str__(self) -> str:
        return self.table() + (
            f"\nstopped by {type(self.error).__name__}: {self.error}" if self.error else ""
        )


# The nodes of programs that stand for what is taken from outside.
_OUTSIDE = {
    "GraphflowFeed": "feed",
    "GraphflowVariable": "variable",
    "GraphflowVariableOrZeros": "variable",
}


class _Looker:
    """Writes a trace, and stops where it is told to.

    What a run takes from outside, feeds and variables, stands in the trace where it is first taken.
    """

    def __init__(
        self,
        graph: Graph,
        stops: Sequence[Callable[[Step], bool]],
        on_break: Callable[[Step, Trace], Any],
    ) -> None:
        self.trace = Trace()
        self._graph = graph
        self._stops = stops
        self._on_break = on_break
        self.running: list[Step] = []
        self._seen: set[str] = set()

    def before(self, node: Node, inputs: Sequence[Array]) -> None:
        """Takes note of what is about to run, for errors, and of what it takes from outside."""
        for value, array in zip(node.inputs, inputs, strict=True):
            source = value.node
            # Inside of loops and branches the arguments are what stands outside already.
            outside = _OUTSIDE.get(source.type, "")
            if outside and not self.running and source.name not in self._seen:
                self._seen.add(source.name)
                made = source.origin
                with contextlib.suppress(KeyError):
                    made = self._graph.get_operation_by_name(source.name)
                kind = made.type if made is not None else source.type
                self._add(Step(source.name, kind, made, (), (array,), (), outside))
        names = tuple(f"{v.node.name}:{v.index}" if v.index else v.node.name for v in node.inputs)
        self.running.append(Step(node.name, node.type, node.origin, tuple(inputs), (), names))

    def after(self, node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Adds a step."""
        began = self.running.pop()
        self._seen.add(began.name)
        self._add(
            Step(began.name, began.type, began.operation, began.inputs, tuple(outputs), began.input_names)
        )

    def _add(self, step: Step) -> None:
        self.trace.steps.append(step)
        if any(stop(step) for stop in self._stops):
            self._on_break(step, self.trace)


def _stop(condition: Any) -> Callable[[Step], bool]:
    if isinstance(condition, Tensor | Operation):
        name = condition.op.name if isinstance(condition, Tensor) else condition.name
        return lambda step: step.name == name
    if callable(condition):
        return lambda step: bool(condition(step))
    if condition == "nan":
        return lambda step: _blame(step) is not None
    if condition == "error":
        return lambda step: False  # told of by the run itself
    if isinstance(condition, str):
        pattern = re.compile(condition)
        return lambda step: pattern.search(step.name) is not None
    raise TypeError(
        'break_on must be "nan", "error", a regular expression on names, a tensor, an operation or a function of a '
        f"Step, got {condition!r}"
    )


def _into_pdb(step: Step, trace: Trace) -> None:
    """Stops in the debugger; `step`, `trace`, `inputs` and `outputs` are at hand."""
    inputs = dict(zip(step.input_names, step.inputs, strict=True))
    outputs = step.outputs
    sys.stderr.write(f"{step}\n")
    breakpoint()  # noqa: T100 - what it is for
    del inputs, outputs


def trace(
    session: Session,
    fetches: Any,
    feed_dict: Any = None,
    break_on: Any = None,
    on_break: Callable[[Step, Trace], Any] | None = None,
    state: SessionState | None = None,
) -> Trace:
    """Runs operation by operation and keeps every value.

    Args:
      session: whose variables to run on; they stay as they are.
      fetches: as for `Session.run`.
      feed_dict: as for `Session.run`.
      break_on: where to stop: "nan" (the first NaN or infinity), "error", a regular expression on names, a tensor,
        an operation, a function of a `Step`; or a list of such.
      on_break: called with the `Step` and the `Trace` so far; default: Python's `breakpoint()`, with `inputs` and
        `outputs` at hand.
      state: variables to run on instead, as `Session.snapshot` gives them; these are written.

    Returns:
      the trace. An error of the run is raised, unless `break_on` holds "error": then it is in `Trace.error`.

    Raises:
      Exception: as for `Session.run`.
    """
    conditions = (
        [] if break_on is None else list(break_on) if isinstance(break_on, list | tuple) else [break_on]
    )
    stop = on_break or _into_pdb
    looker = _Looker(session.graph, [_stop(condition) for condition in conditions], stop)
    try:
        looker.trace.results = session.interpreted(fetches, feed_dict, looker, state)
    except Exception as error:
        if "error" not in [condition for condition in conditions if isinstance(condition, str)]:
            raise
        looker.trace.error = error
        if looker.running:
            stop(looker.running[-1], looker.trace)
    return looker.trace


def find_nan(
    session: Session, fetches: Any, feed_dict: Any = None, state: SessionState | None = None
) -> Blame | None:
    """Returns the operation that makes the first NaN or infinity of a run, or what brings it in; or None. Print it.

    Args:
      session: whose variables to run on; they stay as they are.
      fetches: as for `Session.run`.
      feed_dict: as for `Session.run`.
      state: variables to run on instead, as `Session.snapshot` gives them; these are written.
    """
    found: list[Blame] = []

    class Found(Exception):
        pass

    def stop(step: Step, _: Trace) -> None:
        blame = _blame(step)
        assert blame is not None
        found.append(blame)
        raise Found

    looker = _Looker(session.graph, [_stop("nan")], stop)
    try:
        session.interpreted(fetches, feed_dict, looker, state)
    except Found:
        return found[0]
    return None


@contextlib.contextmanager
def _runs_through(session: Session, run: Callable[..., Any]) -> Iterator[None]:
    """Inside, a session's runs go through a function, and after it where they went before."""
    before = vars(session).get("run")
    session.run = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        if before is None:
            del session.run
        else:
            session.run = before  # type: ignore[method-assign]


@contextlib.contextmanager
def watch(
    session: Session, pattern: str, every: int = 1, to: Callable[[str], Any] = print
) -> Iterator[dict[str, list[Statistics]]]:
    """Inside, each run of a session tells the statistics of some tensors as well; runs stay compiled.

    Args:
      session: the session.
      pattern: a regular expression on the names of operations; those that a run computes are shown.
      every: tell every so many runs.
      to: called with each line.

    Yields:
      a dict from names of tensors to their `Statistics`, one per run that told.
    """
    seen: dict[str, list[Statistics]] = {}
    wanted = re.compile(pattern)
    plain = session.run
    runs = 0

    def run(fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        nonlocal runs
        runs += 1
        if (runs - 1) % every:
            return plain(fetches, feed_dict, options, run_metadata)
        needed = sorted(session.needed(fetches, feed_dict), key=lambda operation: operation.name)
        tensors = [t for op in needed if wanted.search(op.name) for t in op.outputs if not t.is_variable]
        tensors = [t for t in tensors if t.dtype.is_numpy_compatible]
        results, values = plain((fetches, tensors), feed_dict, options, run_metadata)
        for tensor, value in zip(tensors, values, strict=True):
            found = Statistics.of(value)
            seen.setdefault(tensor.name, []).append(found)
            to(f"run {runs}: {tensor.name}: {found}")
        return results

    with _runs_through(session, run):
        yield seen


@dataclass
class Recorded:
    """A run that can be run again, from the variables and random counters that it began with.

    Attributes:
      fetches, feeds: what it was asked for and given.
      results: what it gave.
      error: or what it raised.
    """

    session: Session
    fetches: Any
    feeds: Mapping[Any, Any]
    state: SessionState
    results: Any = None
    error: Exception | None = None

    def trace(self, break_on: Any = None, on_break: Callable[[Step, Trace], Any] | None = None) -> Trace:
        """Runs it again, operation by operation; see `trace`."""
        return trace(self.session, self.fetches, self.feeds, break_on, on_break, self.state.fork())

    def find_nan(self) -> Blame | None:
        """Returns who made its first NaN or infinity; see `find_nan`."""
        return self.trace().find_nan()


class Tape(Sequence[Recorded]):
    """The last runs of a session, the newest at -1."""

    def __init__(self, last: int) -> None:
        self._runs: deque[Recorded] = deque(maxlen=last)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        return list(self._runs)[index]

    def add(self, run: Recorded) -> None:
        """Adds a run; the oldest is forgotten."""
        self._runs.append(run)


@contextlib.contextmanager
def record(session: Session, last: int = 10) -> Iterator[Tape]:
    """Inside, the runs of a session are kept so that they can be run again and looked into.

    Each run copies the session's variables first.

    Args:
      session: the session.
      last: how many runs to keep.
    """
    tape = Tape(last)
    plain = session.run

    def run(fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        feeds = {key: np.copy(v) if isinstance(v, np.ndarray) else v for key, v in (feed_dict or {}).items()}
        made = Recorded(session, fetches, feeds, session.snapshot())
        tape.add(made)
        try:
            made.results = plain(fetches, feed_dict, options, run_metadata)
        except Exception as error:
            made.error = error
            raise
        return made.results

    with _runs_through(session, run):
        yield tape


# What programs import from `tensorflow.python.debug`.


def has_inf_or_nan(datum: Any, tensor: Any) -> bool:
    """Whether an array holds an infinity or a NaN: a filter for `LocalCLIDebugWrapperSession`."""
    return isinstance(tensor, np.ndarray) and _not_finite(tensor)


class LocalCLIDebugWrapperSession:
    """A session whose runs stop in Python's debugger at the first operation that a filter finds.

    tfdbg's terminal is not here: `pdb` is, with `step`, `inputs`, `outputs` and `trace` at hand. Everything else is the
    session's own.

    Args:
      sess: the session.
      dump_root, log_usage, ui_type, thread_name_filter, config_file_path: taken and not used.
    """

    def __init__(
        self,
        sess: Session,
        dump_root: str | None = None,
        log_usage: bool = True,
        ui_type: str = "curses",
        thread_name_filter: str | None = None,
        config_file_path: Any = False,
    ) -> None:
        self._session = sess
        self._filters: dict[str, Callable[[Any, Any], bool]] = {}

    def add_tensor_filter(self, filter_name: str, tensor_filter: Callable[[Any, Any], bool]) -> None:
        """Adds a filter: called with the name of a tensor and its value; runs stop where it is true."""
        self._filters[filter_name] = tensor_filter

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """Looks for what the filters find, on a copy of the variables; then runs."""
        if self._filters:
            trace(self._session, fetches, feed_dict, self._found)
        return self._session.run(fetches, feed_dict, options, run_metadata)

    def _found(self, step: Step) -> bool:
        named = [(f"{step.name}:{index}", array) for index, array in enumerate(step.outputs)]
        return any(f(name, array) for f in self._filters.values() for name, array in named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __enter__(self) -> LocalCLIDebugWrapperSession:
        self._session.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._session.__exit__(*error)


def sample(tensor: Any, feed_dict: Any = None, batch: int = 2, seed: int = 0) -> Any:
    """Returns a tensor's value for sample inputs; see `Tensor.eval_sample`."""
    graph: Graph = tensor.graph
    session = Session(graph=graph)
    with contextlib.closing(session):
        state = session.snapshot()
        feeds = dict(feed_dict or {})
        generator = np.random.default_rng(seed)
        for item in [*(v.initializer for v in _variables(session, tensor, feeds)), tensor]:
            fed = {graph.as_graph_element(key, allow_operation=False) for key in feeds}
            needed = session.needed(item, feeds)
            for operation in sorted(needed, key=lambda op: op._id):
                if operation.type in ("Placeholder", "PlaceholderV2") and operation.outputs[0] not in fed:
                    feeds[operation.outputs[0]] = _sample(operation.outputs[0], batch, generator)
            result = session.interpreted(item, feeds, state=state)
    return result


def _variables(session: Session, tensor: Any, feeds: Any) -> list[Any]:
    """Returns the variables that a tensor needs and those that their initial values need, in the order made."""
    collected = [
        v
        for key in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES)
        for v in session.graph.get_collection(key)
    ]
    known = {variable.handle.op: variable for variable in collected}
    found: dict[Any, Any] = {}
    waiting = [tensor]
    while waiting:
        for operation in session.needed(waiting.pop(), feeds):
            variable = known.get(operation)
            if variable is not None and operation not in found:
                found[operation] = variable
                waiting.append(variable.initializer)
    return [found[operation] for operation in sorted(found, key=lambda op: op._id)]


def _sample(tensor: Tensor, batch: int, generator: np.random.Generator) -> Array:
    dims = tensor.shape.as_tuple() or ()
    shape = [batch if size is None else size for size in dims]
    dtype = tensor.dtype.numpy
    if dtype.kind in "fc" or tensor.dtype.is_floating:
        return generator.standard_normal(shape).astype(dtype)
    if dtype.kind == "O":
        return np.full(shape, b"", object)
    return np.zeros(shape, dtype)
