"""What a session keeps besides variables: queues, readers, tables, iterators, barriers.

A handle is a *value*: an operation that makes one is a host step whose result is a scalar array (dtype resource) that
holds the `Resource` itself. It may be passed on, go through branches and loops, or be fetched; freezing, passes and
plans need to know nothing of it. Which resource an operation gets is decided by the session's `Resources`, under the
pair (container, shared name, else the operation's own name): all threads and all fetches of a session see one.

Whoever uses a resource takes the handle as an input, is a host step too (`effects="host"`), and so runs in the order
that data and control edges ask for. One that may have to wait does so in `Resource.wait`, or, where the order of those
who wait counts, by its own book-keeping under `Resource.changed`; meanwhile its run stands aside: it holds no lock
that other runs need, not even that of the variables. Closing the session wakes all who wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from graphflow.errors import CancelledError, InvalidArgumentError, NotFoundError
from graphflow.meanwhile import Meanwhile, NotYet

Array = np.ndarray[Any, Any]
R = TypeVar("R", bound="Resource")

_LONGEST_SLEEP = 0.5  # seconds between looks at the clock and at the session while waiting
_OTHERS_AGAIN = 0.02  # likewise, where other steps of the run may have become possible


class Run(Protocol):
    """What a host step's body sees of its session: the `context` that it asks for by keyword."""

    @property
    def resources(self) -> Resources:
        """The session's resources."""

    def function(self, function: Any) -> Callable[[Sequence[Array]], list[Array]]:
        """Returns what calls a `Function`: compiled once per session, for any number of threads.

        It takes an array per argument that is no variable's handle (those stand for the session's variables), and
        returns an array per result.
        """

    def aside(self) -> AbstractContextManager[None]:
        """Inside, runs of other threads may have the variables: for whoever has to wait for them."""

    @property
    def meanwhile(self) -> Meanwhile:
        """What else the run can do while this step waits."""

    def between_steps(self) -> None:
        """Raises if the run is to stop: the session is closed, or its time is up."""

    def seconds_left(self) -> float | None:
        """How long the run may still take; None: as long as it likes."""


class Resource:
    """Something that a session keeps under a name.

    Attributes:
      kind: what it is, for messages.
      name: its name; private ones have a name that nobody else can ask for.
      changed: guards the state of the resource, and is notified whenever it changes.
      ended: whether the session has ended.
    """

    kind: ClassVar[str] = "resource"

    def __init__(self) -> None:
        self.name = ""
        self.changed = threading.Condition()
        self.ended = False
        self._taken = False

    def release(self) -> None:
        """Frees what is held outside of memory, such as files; called once, when the session ends."""

    def end(self) -> None:
        """Ends the resource: wakes all who wait for it."""
        with self.changed:
            if self.ended:
                return
            self.ended = True
            self.release()
            self.changed.notify_all()

    def wait(self, run: Run, ready: Callable[[], bool], what: str = "The operation") -> None:
        """Waits, standing aside, until `ready()`, which is asked with the resource locked.

        First of all other steps of the same run, which may be what it waits for, are run where nothing is against it.
        On return somebody else may have been quicker: ask again, locked, before acting on it.

        Raises:
          CancelledError: if the session ends.
          DeadlineExceededError: if the run's time is up.
          NotYet: instead of waiting, in a step that runs while another one waits.
        """
        meanwhile = run.meanwhile
        while True:
            with self.changed:
                if ready():
                    return
            if meanwhile.hurry:
                raise NotYet
            if meanwhile.others is not None and meanwhile.others():
                continue
            longest = _LONGEST_SLEEP if meanwhile.others is None else _OTHERS_AGAIN
            with run.aside(), self.changed:
                while not ready():
                    self._sleep(run, what, longest)
                    if meanwhile.others is not None:
                        break

    def _sleep(self, run: Run, what: str, longest: float) -> None:
        """Waits, locked, until something changes or so many seconds have gone by; see `wait` for what it raises."""
        if self.ended:
            raise CancelledError(None, None, f"{what} was cancelled")
        run.between_steps()
        left = run.seconds_left()
        self.changed.wait(longest if left is None else min(max(left, 0.0), longest))

    @contextmanager
    def alone(self, run: Run, what: str = "The operation") -> Iterator[None]:
        """Inside, no other thread is in such a block of this resource; who waits here stands aside."""
        while True:
            self.wait(run, lambda: not self._taken, what)
            with self.changed:
                if not self._taken:
                    self._taken = True
                    break
        try:
            yield
        finally:
            with self.changed:
                self._taken = False
                self.changed.notify_all()

    def handle(self) -> Array:
        """Returns the scalar array that stands for the resource in a run."""
        array: Array = np.empty((), object)
        array[()] = self
        return array

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"


def resource_of(handle: Array, kind: type[R]) -> R:
    """Returns the resource behind a handle.

    Raises:
      InvalidArgumentError: if it is of another kind.
    """
    found = handle[()] if handle.ndim == 0 else None
    if not isinstance(found, kind):
        raise InvalidArgumentError(None, None, f"expected the handle of a {kind.kind}, got {found!r}")
    return found


class Resources:
    """The resources of one session."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._found: dict[tuple[str, str, str], Resource] = {}
        self._closed = False

    def get(
        self,
        kind: type[R],
        make: Callable[[], R],
        *,
        container: str,
        shared_name: str,
        node_name: str,
        private: bool = True,
    ) -> R:
        """Returns the resource of an operation, made at the first call.

        Args:
          kind: what it must be.
          make: makes it.
          container: the operation's attribute of that name.
          shared_name: operations that share one name share the resource, whatever they are called.
          node_name: the operation's name, which counts if `shared_name` is empty.
          private: whether nobody else can ask for the operation's name by `shared_name`.

        Raises:
          InvalidArgumentError: if the name belongs to a resource of another kind, or cannot be shared.
          CancelledError: if the session is closed.
        """
        if shared_name.startswith("_"):
            raise InvalidArgumentError(None, None, f"shared_name cannot start with '_':{shared_name}")
        name = shared_name or node_name
        key = (container, "private" if private and not shared_name else "", name)
        with self._lock:
            if self._closed:
                raise CancelledError(None, None, "Session has been closed.")
            found = self._found.get(key)
            if found is None:
                found = make()
                found.name = f"_{len(self._found)}_{name}" if key[1] else name
                self._found[key] = found
            if not isinstance(found, kind):
                raise InvalidArgumentError(
                    None, None, f"the name {name!r} is shared with a {found.kind}, which is no {kind.kind}"
                )
            return found

    def find(self, name: str, container: str = "") -> Resource:
        """Returns the resource of this name.

        Raises:
          NotFoundError: if there is none.
        """
        with self._lock:
            for key, found in self._found.items():
                if found.name == name and key[0] == container:
                    return found
        raise NotFoundError(None, None, f"Resource {container or 'localhost'}/{name} does not exist.")

    def clear(self, containers: frozenset[str] | None = None) -> None:
        """Ends the resources of some containers, or of all."""
        with self._lock:
            keys = [key for key in self._found if containers is None or key[0] in containers]
            ended = [self._found.pop(key) for key in keys]
        for resource in ended:
            resource.end()

    def close(self) -> None:
        """Ends all resources, for good."""
        with self._lock:
            self._closed = True
        self.clear()
