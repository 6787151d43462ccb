"""What may take part in the runs of a `MonitoredSession`."""

from __future__ import annotations

from typing import Any, NamedTuple


class SessionRunArgs(NamedTuple):
    """What a run is asked for: `fetches`, values to feed, options."""

    fetches: Any
    feed_dict: Any = None
    options: Any = None


class SessionRunValues(NamedTuple):
    """What a run gave for a hook's own arguments."""

    results: Any
    options: Any
    run_metadata: Any


class SessionRunContext:
    """One call of `run`, as hooks see it."""

    def __init__(self, original_args: SessionRunArgs, session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._stop_requested = False

    @property
    def original_args(self) -> SessionRunArgs:
        """What the user asked for."""
        return self._original_args

    @property
    def session(self) -> Any:
        """The session that runs."""
        return self._session

    @property
    def stop_requested(self) -> bool:
        """Whether a hook has asked for an end."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Asks for an end: `should_stop()` is true from then on."""
        self._stop_requested = True


class SessionRunHook:
    """A base class; every method may be left as it is."""

    def begin(self) -> None:
        """Called once, before the session is made: the graph may still grow."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Called when a session was made, initialized or restored; the graph is finalized."""

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Called before each run; what it returns is fetched along."""
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Called after each run."""

    def end(self, session: Any) -> None:
        """Called once at the end, unless the loop has raised."""
