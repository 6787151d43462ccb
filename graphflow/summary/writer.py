"""Event files: what is written while a program trains, and TensorBoard shows."""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

from graphflow.graph import Graph, get_default_graph
from graphflow.serialization.events import Event, Summary
from graphflow.serialization.graph_def import graph_to_graph_def
from graphflow.serialization.meta_graph import export_meta_graph
from graphflow.tfrecord import TFRecordWriter, tf_record_iterator

_VERSION = "brain.Event:2"
_WRITER = "graphflow.summary.writer"


class EventsFile:
    """One event file, made when the first event is written or flushed.

    Args:
      logdir: its folder, which is made.
      suffix: the end of its name.
      prefix: the beginning of its name.
    """

    def __init__(self, logdir: str, suffix: str = "", prefix: str = "events") -> None:
        os.makedirs(logdir, exist_ok=True)
        self._folder = logdir
        self._prefix = prefix
        self._suffix = suffix
        self._records: TFRecordWriter | None = None

    def write(self, event: Any) -> None:
        """Writes one event."""
        self._opened().write(event.SerializeToString())

    def flush(self) -> None:
        """Hands all that is written over to the system."""
        self._opened().flush()

    def close(self) -> None:
        """Ends the file."""
        self._opened().close()

    @property
    def path(self) -> str:
        """Where the file is."""
        self._opened()
        return self._path

    def _opened(self) -> TFRecordWriter:
        if self._records is None:
            now = time.time()
            start = f"{self._prefix}.out.tfevents.{int(now):010d}.{socket.gethostname()}"
            path = os.path.join(self._folder, start + self._suffix)
            number = 0
            while os.path.exists(path):  # two writers within one second
                number += 1
                path = os.path.join(self._folder, f"{start}.{os.getpid()}.{number}{self._suffix}")
            self._records, self._path = TFRecordWriter(path), path
            first = Event(wall_time=now, file_version=_VERSION)
            first.source_metadata.writer = _WRITER
            self._records.write(first.SerializeToString())
        return self._records


class EventsWriter:
    """One event file, by the name and methods that programs know of TensorFlow's inside.

    Args:
      file_prefix: where it lies and how its name begins; ".out.tfevents.", time and host follow.
    """

    def __init__(self, file_prefix: str | bytes) -> None:
        folder, prefix = os.path.split(os.fsdecode(file_prefix))
        self._file = EventsFile(folder or ".", prefix=prefix)

    def WriteEvent(self, event: Any) -> None:
        """Writes one event."""
        self._file.write(event)

    def FileName(self) -> bytes:
        """The path of the file."""
        return os.fsencode(self._file.path)

    def Flush(self) -> bool:
        """Hands all that is written over to the system."""
        self._file.flush()
        return True

    def Close(self) -> bool:
        """Ends the file."""
        self._file.close()
        return True


class FileWriter:
    """Writes summaries, graphs and the like into an event file of a folder; safe for many threads.

    Args:
      logdir: the folder, which is made.
      graph: a graph to write at once, with its collections.
      max_queue: how many events are held back at most before the file is flushed.
      flush_secs: after how many seconds it is flushed at the next event.
      graph_def: a GraphDef to write at once; `graph` is the better way.
      filename_suffix: the end of the file's name.
      session: accepted.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        graph: Any = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        graph_def: Any = None,
        filename_suffix: str | None = None,
        session: Any = None,
    ) -> None:
        self._logdir = os.fspath(logdir)
        self._suffix = filename_suffix or ""
        self._most_held = max(int(max_queue), 1)
        self._flush_secs = float(flush_secs)
        self._lock = threading.RLock()
        self._described: set[str] = set()  # tags whose metadata is in the file
        self._runs: set[str] = set()
        self._closed = False
        self._file = EventsFile(self._logdir, self._suffix)
        self._held = 0
        self._flushed = time.monotonic()
        if graph is not None or graph_def is not None:
            self.add_graph(graph, graph_def=graph_def)
            self._add_collections(graph)

    def _add_collections(self, graph: Any) -> None:
        if isinstance(graph, Graph):
            self.add_meta_graph(export_meta_graph(graph=graph))

    def get_logdir(self) -> str:
        """Returns the folder."""
        return self._logdir

    def add_summary(self, summary: Any, global_step: Any = None) -> None:
        """Writes a summary.

        Args:
          summary: a `Summary`, or what running a summary operation gave.
          global_step: the step that it belongs to.
        """
        parsed = Summary()
        parsed.ParseFromString(bytes(summary) if isinstance(summary, bytes) else summary.SerializeToString())
        with self._lock:
            for value in parsed.value:
                if value.HasField("metadata"):
                    # TensorBoard reads the first one of each tag only.
                    if value.tag in self._described:
                        value.ClearField("metadata")
                    self._described.add(value.tag)
        self._add(Event(summary=parsed), global_step)

    def add_session_log(self, session_log: Any, global_step: Any = None) -> None:
        """Writes a `SessionLog`: that a session has started, stopped, or saved a checkpoint."""
        event = Event()
        event.session_log.ParseFromString(session_log.SerializeToString())
        self._add(event, global_step)

    def add_graph(self, graph: Any, global_step: Any = None, graph_def: Any = None) -> None:
        """Writes a graph.

        Args:
          graph: a `Graph`, or a GraphDef.
          global_step: the step that it belongs to.
          graph_def: a GraphDef instead.

        Raises:
          ValueError: if both are given, or neither is.
          TypeError: for anything else.
        """
        if graph is not None and graph_def is not None:
            raise ValueError("Please pass only graph, or graph_def (deprecated), but not both.")
        if isinstance(graph, Graph):
            data = graph_to_graph_def(graph, add_shapes=True).SerializeToString()
        else:
            definition = graph if graph is not None else graph_def
            if definition is None:
                raise ValueError("One of graph or graph_def must be given.")
            if not hasattr(definition, "SerializeToString"):
                raise TypeError(f"graph must be a Graph or a GraphDef, got {type(definition).__name__}")
            data = definition.SerializeToString()
        self._add(Event(graph_def=data), global_step)

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Writes a MetaGraphDef.

        Raises:
          TypeError: for anything else.
        """
        if not hasattr(meta_graph_def, "collection_def"):
            raise TypeError(f"meta_graph_def must be type MetaGraphDef, saw type: {type(meta_graph_def)}")
        self._add(Event(meta_graph_def=meta_graph_def.SerializeToString()), global_step)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: Any = None) -> None:
        """Writes the `RunMetadata` of a run under a tag.

        Raises:
          ValueError: if the tag has been used.
        """
        with self._lock:
            if tag in self._runs:
                raise ValueError("The provided tag was already used for this event type")
            self._runs.add(tag)
        event = Event()
        event.tagged_run_metadata.tag = tag
        event.tagged_run_metadata.run_metadata = run_metadata.SerializeToString()
        self._add(event, global_step)

    def _add(self, event: Any, global_step: Any) -> None:
        event.wall_time = time.time()
        if global_step is not None:
            event.step = int(global_step)
        self.add_event(event)

    def add_event(self, event: Any) -> None:
        """Writes an `Event`."""
        with self._lock:
            if self._is_closed():
                return
            self._file.write(event)
            self._held += 1
            if self._held >= self._most_held or time.monotonic() - self._flushed >= self._flush_secs:
                self._flush()

    def _is_closed(self) -> bool:
        if self._closed:
            warnings.warn(
                "Attempting to use a closed FileWriter. The operation will be a noop unless the FileWriter is"
                " explicitly reopened.",
                stacklevel=4,
            )
        return self._closed

    def _flush(self) -> None:
        self._file.flush()
        self._held = 0
        self._flushed = time.monotonic()

    def flush(self) -> None:
        """Sees to it that all events so far are in the file."""
        with self._lock:
            if not self._is_closed():
                self._flush()

    def close(self) -> None:
        """Ends the file."""
        with self._lock:
            if not self._closed:
                self._file.close()
                self._closed = True

    def reopen(self) -> None:
        """Goes on with a new file in the same folder, if this writer was closed."""
        with self._lock:
            if self._closed:
                self._file = EventsFile(self._logdir, self._suffix)
                self._held = 0
                self._closed = False

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


SummaryWriter = FileWriter  # its name before TensorFlow 1.0


class FileWriterCache:
    """One `FileWriter` per folder."""

    _cache: ClassVar[dict[str, FileWriter]] = {}
    _lock: ClassVar[threading.RLock] = threading.RLock()

    @staticmethod
    def get(logdir: str) -> FileWriter:
        """Returns the writer of a folder, made at the first call with the default graph."""
        with FileWriterCache._lock:
            found = FileWriterCache._cache.get(logdir)
            if found is None:
                graph = get_default_graph()
                found = FileWriterCache._cache[logdir] = FileWriter(
                    logdir, graph=graph if graph.get_operations() else None
                )
            return found

    @staticmethod
    def clear() -> None:
        """Forgets all writers."""
        with FileWriterCache._lock:
            for writer in FileWriterCache._cache.values():
                writer.close()
            FileWriterCache._cache = {}


def summary_iterator(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yields the events of an event file.

    Raises:
      NotFoundError: if there is no such file.
      DataLossError: if it is damaged.
    """
    for record in tf_record_iterator(path):
        yield Event.FromString(record)
