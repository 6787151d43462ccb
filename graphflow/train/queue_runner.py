"""Threads that fill a queue while a program trains."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from graphflow import errors
from graphflow.graph import (
    GraphKeys,
    Operation,
    add_to_collection,
    get_default_graph,
    get_default_session,
)
from graphflow.ops.queues import QueueBase
from graphflow.serialization import meta_graph
from graphflow.train.coordinator import Coordinator

_log = logging.getLogger("graphflow")


class QueueRunner:
    """Runs operations that fill a queue, each in a thread of its own, until the queue is closed.

    Args:
      queue: the queue.
      enqueue_ops: one operation per thread; an operation may come twice.
      close_op: run when all threads are done; default: closes the queue.
      cancel_op: run when the coordinator stops; default: closes it and turns away those who wait.
      queue_closed_exception_types: the exceptions that mean there is no more to fill in; default OutOfRangeError.
      queue_runner_def: a `QueueRunnerDef` to take all from, by names in the default graph.
      import_scope: what names of `queue_runner_def` begin with here.

    Raises:
      ValueError: if something is missing, or a definition is given besides.
      TypeError: for exception types that are none.
    """

    def __init__(
        self,
        queue: QueueBase | None = None,
        enqueue_ops: Sequence[Any] | None = None,
        close_op: Operation | None = None,
        cancel_op: Operation | None = None,
        queue_closed_exception_types: Any = None,
        queue_runner_def: Any = None,
        import_scope: str | None = None,
    ) -> None:
        if queue_runner_def is not None:
            if queue is not None or enqueue_ops is not None:
                raise ValueError("queue_runner_def and queue are mutually exclusive.")
            self._from_definition(queue_runner_def, import_scope)
        else:
            if not queue or not enqueue_ops:
                raise ValueError("Must provide queue and enqueue_ops.")
            types = queue_closed_exception_types or (errors.OutOfRangeError,)
            if not isinstance(types, tuple) or not all(
                isinstance(t, type) and issubclass(t, errors.OpError) for t in types
            ):
                raise TypeError(
                    "queue_closed_exception_types, when provided, must be a tuple of errors.OpError subclasses, but"
                    f" saw: {queue_closed_exception_types}"
                )
            self._queue = queue
            self._enqueue_ops = list(enqueue_ops)
            self._close_op = queue.close() if close_op is None else close_op
            self._cancel_op = queue.close(cancel_pending_enqueues=True) if cancel_op is None else cancel_op
            self._types = types
        self._lock = threading.Lock()
        self._exceptions: list[BaseException] = []
        self._running: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def _from_definition(self, definition: Any, scope: str | None) -> None:
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(f"{scope}/{name}" if scope else name)

        ref = element(definition.queue_name)
        if isinstance(ref, Operation):
            (ref,) = ref.outputs
        made = ref.op.attrs
        self._queue = QueueBase(made.get("component_types", ()), made.get("shapes") or None, None, ref)
        self._enqueue_ops = [element(name) for name in definition.enqueue_op_name]
        self._close_op = element(definition.close_op_name)
        self._cancel_op = element(definition.cancel_op_name)
        codes = definition.queue_closed_exception_types
        self._types = tuple(errors.exception_type_from_error_code(code) for code in codes) or (
            errors.OutOfRangeError,
        )

    @property
    def queue(self) -> QueueBase:
        """The queue."""
        return self._queue

    @property
    def enqueue_ops(self) -> list[Any]:
        """The operations that fill it."""
        return self._enqueue_ops

    @property
    def close_op(self) -> Any:
        """The operation that is run when all threads are done."""
        return self._close_op

    @property
    def cancel_op(self) -> Any:
        """The operation that is run when the coordinator stops."""
        return self._cancel_op

    @property
    def queue_closed_exception_types(self) -> tuple[type[errors.OpError], ...]:
        """The exceptions that mean that there is no more to fill in."""
        return self._types

    @property
    def exceptions_raised(self) -> list[BaseException]:
        """What threads without a coordinator have raised."""
        return self._exceptions

    @property
    def name(self) -> str:
        """The name of the queue."""
        return self._queue.name

    def _run(self, sess: Any, enqueue_op: Any, coord: Coordinator | None) -> None:
        counted = True
        try:
            # The graph may grow meanwhile; what is run stays as it is.
            enqueue = sess.make_callable(enqueue_op)
            while not (coord is not None and coord.should_stop()):
                try:
                    enqueue()
                except self._types:
                    with self._lock:
                        self._running[sess] -= 1
                        counted = False
                        last = self._running[sess] == 0
                    if last:
                        try:
                            sess.run(self._close_op)
                        except Exception as error:
                            _log.debug("Ignored exception: %s", error)
                    return
        except Exception as error:
            if coord is not None:
                coord.request_stop(error)
            else:
                _log.error("Exception in QueueRunner: %s", error)
                with self._lock:
                    self._exceptions.append(error)
                raise
        finally:
            if counted:
                with self._lock:
                    self._running[sess] -= 1

    def _close_on_stop(self, sess: Any, cancel_op: Any, coord: Coordinator) -> None:
        coord.wait_for_stop()
        try:
            sess.run(cancel_op)
        except Exception as error:
            _log.debug("Ignored exception: %s", error)

    def create_threads(
        self, sess: Any, coord: Coordinator | None = None, daemon: bool = False, start: bool = False
    ) -> list[threading.Thread]:
        """Returns threads that fill the queue; none if some of this session still do.

        Args:
          sess: the session.
          coord: a coordinator, which is told of errors, and stops the threads.
          daemon: whether the program may end without them.
          start: whether they are started.
        """
        with self._lock:
            if self._running.get(sess, 0) > 0:
                return []
            self._running[sess] = len(self._enqueue_ops)
            self._exceptions = []
        threads = [
            threading.Thread(
                target=self._run, args=(sess, op, coord), name=f"QueueRunnerThread-{self.name}-{op.name}"
            )
            for op in self._enqueue_ops
        ]
        if coord is not None:
            threads.append(
                threading.Thread(
                    target=self._close_on_stop,
                    args=(sess, self._cancel_op, coord),
                    name=f"QueueRunnerThread-{self.name}-close_on_stop",
                )
            )
        for thread in threads:
            if coord is not None:
                coord.register_thread(thread)
            if daemon:
                thread.daemon = True
            if start:
                thread.start()
        return threads

    def to_proto(self, export_scope: str | None = None) -> Any:
        """Returns a `QueueRunnerDef`; None if the queue is outside of the scope."""
        prefix = f"{export_scope}/" if export_scope else ""
        if not self._queue.queue_ref.name.startswith(prefix):
            return None

        def strip(name: str) -> str:
            return name.removeprefix(prefix)

        return meta_graph.queue_runner_def(
            queue_name=strip(self._queue.queue_ref.name),
            enqueue_op_name=[strip(op.name) for op in self._enqueue_ops],
            close_op_name=strip(self._close_op.name),
            cancel_op_name=strip(self._cancel_op.name),
            queue_closed_exception_types=[errors.error_code_from_exception_type(t) for t in self._types],
        )

    @staticmethod
    def from_proto(queue_runner_def: Any, import_scope: str | None = None) -> QueueRunner:
        """Returns the runner that a `QueueRunnerDef` describes, in the default graph."""
        return QueueRunner(queue_runner_def=queue_runner_def, import_scope=import_scope)


def add_queue_runner(qr: QueueRunner, collection: str = GraphKeys.QUEUE_RUNNERS) -> None:
    """Adds a runner to those that `start_queue_runners` starts."""
    add_to_collection(collection, qr)


def start_queue_runners(
    sess: Any = None,
    coord: Coordinator | None = None,
    daemon: bool = True,
    start: bool = True,
    collection: str = GraphKeys.QUEUE_RUNNERS,
) -> list[threading.Thread]:
    """Starts all runners of the graph; returns their threads.

    Args:
      sess: the session; default the default session.
      coord: a coordinator for all threads.
      daemon: whether the program may end without them.
      start: whether they are started.
      collection: the collection of runners.

    Raises:
      ValueError: if there is no default session.
      TypeError: if `sess` is no session.
    """
    if sess is None:
        sess = get_default_session()
        if not sess:
            raise ValueError(
                "Cannot start queue runners: No default session is registered. Use `with sess.as_default()` or pass"
                " an explicit session to gf.train.start_queue_runners(sess=sess)"
            )
    if not hasattr(sess, "graph") or not hasattr(sess, "run"):
        raise TypeError(f"sess must be a `gf.Session` object. Given class: {type(sess)}")
    runners: Iterable[QueueRunner] = sess.graph.get_collection(collection)
    threads = []
    with sess.graph.as_default():
        for runner in runners:
            threads.extend(runner.create_threads(sess, coord=coord, daemon=daemon, start=start))
    return threads


meta_graph.register_collection(
    GraphKeys.QUEUE_RUNNERS,
    lambda data, scope: QueueRunner.from_proto(meta_graph.as_queue_runner_def(data), scope),
)

__all__ = ["QueueRunner", "add_queue_runner", "start_queue_runners"]
