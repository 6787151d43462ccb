"""Requests that arrive together run together: rows of several, laid one behind the other, in one run.

Nobody waits for a batch by default: whoever finds the model free runs at once, alone; whoever finds it busy queues,
and the next run takes all that has queued by then. So one client sees no delay, and many share runs.

Requests come from threads, which run the batch that they are first in, or from coroutines of an event loop. What
arrives in one turn of the loop is one batch: it runs in the loop itself where that is known to be a matter of less time
than handing it over takes, else in a thread of the batcher's own.

Only what is proved to be made row by row is put together (`Session.row_wise`), only requests of the same signature
whose rows are alike, and each gets its own rows back, with the bits it would have got alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.errors import DeadlineExceededError, InvalidArgumentError, UnavailableError
from graphflow.records import dataclass
from graphflow.row_wise import RowWise
from graphflow.serialization.proto import batching_parameters_pb2
from graphflow.serving.tracing import Journey, journey

Array = np.ndarray[Any, Any]
Run = Callable[..., Sequence[Array]]

# Seconds that an event loop may spend in a run itself. Another thread that wants the interpreter while the loop works
# waits about as long.
_SHORT = 1e-3
# After a turn of an event loop that has brought several requests, so many more are looked at as a whole.
_TURNS = 64
# The shortest time of a run that is not seen again grows by so much with each.
_FADING = 1.02
# How much the last run counts in what a row is expected to take.
_NEWEST = 0.2
# The part of the time that a client waits which an answer is expected to take at most, where others are before it: what
# comes too late has been computed for nothing, and runs take longer the more there is to turn away.
_IN_TIME = 0.6


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """How requests are put together.

    Attributes:
      max_batch_size: rows of a batch, at most. A request with more runs alone.
      batch_timeout_micros: how long a batch that is not full waits for more rows; 0 never waits.
      max_enqueued_batches: as many batches may queue for a signature; what comes then is turned away at once.
      num_batch_threads: so many batches of a signature run at once.
      allowed_batch_sizes: batches are padded up to one of these; empty allows all.

    Raises:
      InvalidArgumentError: for numbers that make no sense.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise _invalid(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_timeout_micros < 0:
            raise _invalid(f"batch_timeout_micros must not be negative, got {self.batch_timeout_micros}")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise _invalid(
                "allowed_batch_sizes must grow, and the last one must be equal to max_batch_size "
                f"({self.max_batch_size}), got {list(sizes)}"
            )

    def padded(self, rows: int) -> int:
        """Returns how many rows a batch of `rows` runs with."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def _invalid(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, text)


def read_batching_options(path: str | os.PathLike[str]) -> BatchingOptions:
    """Returns the options of a file in TensorFlow Serving's text format.

    What the file does not name stays as it is here. Of what TensorFlow Serving has besides, `thread_pool_name` changes
    nothing, `enable_large_batch_splitting` neither (larger requests run whole), and `pad_variable_length_inputs`
    is refused: padded rows would not be those of the request.

    Raises:
      InvalidArgumentError: if the file is not understood.
      OSError: if it cannot be read.
    """
    from google.protobuf import text_format

    proto = batching_parameters_pb2.BatchingParameters()
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), proto)
    except text_format.ParseError as error:
        raise _invalid(f"{os.fspath(path)} is not understood: {error}") from None
    if proto.pad_variable_length_inputs:
        raise _invalid(
            f"{os.fspath(path)}: pad_variable_length_inputs is not done: answers would not be those of the request"
        )
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    given = {name: getattr(proto, name).value for name in names if proto.HasField(name)}
    return BatchingOptions(**given, allowed_batch_sizes=tuple(proto.allowed_batch_sizes))


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request in the queue.

    One of a thread's has a `turn`, set when it is to run a batch itself, or has its answer. One of a coroutine's has a
    `future` of that loop, unless it runs at once.
    """

    inputs: tuple[Array, ...]
    rows: int
    key: Any
    deadline: float | None
    begun: float
    future: asyncio.Future[Sequence[Array]] | None = None
    turn: threading.Event | None = None
    results: Sequence[Array] | None = None
    error: BaseException | None = None
    taken: bool = False
    journey: Journey | None = None


class Pace:
    """How long runs take, as far as has been seen: whether an event loop can make one itself."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # by the number of bits of what they are of

    def short(self, size: int) -> bool:
        """Whether a run of so many rows, or bytes, is over sooner than another thread would have begun with it."""
        return self._seconds.get(size.bit_length(), 1.0) < _SHORT

    def learn(self, size: int, seconds: float) -> None:
        """Keeps the shortest of the last times that so many took: longer ones have waited for something else."""
        key = size.bit_length()
        self._seconds[key] = min(seconds, self._seconds.get(key, seconds) * _FADING)


class Batcher:
    """Runs requests of one signature, together where they meet.

    Many threads may call it at once, or coroutines of an event loop await `answer`.

    Args:
      run: takes the inputs' arrays, returns the outputs' arrays.
      proof: what is known of the rows of that run.
      options: how requests are put together.
      specs: the dtypes and shapes of the inputs; what does not fit runs alone, and gets the error that it deserves.
      observe: called with `(rows, padded rows, requests, seconds that the oldest queued)` of each batch.
    """

    def __init__(
        self,
        run: Run,
        proof: RowWise,
        options: BatchingOptions,
        specs: Sequence[tuple[np.dtype[Any], tuple[int | None, ...]]],
        observe: Callable[[int, int, int, float], None] | None = None,
    ) -> None:
        self.options = options
        self._run = run
        self._proof = proof
        self._dtypes = [dtype for dtype, _ in specs]
        self._shapes = [shape[1:] for _, shape in specs]
        self._observe = observe
        self._lock = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._queued = 0  # rows
        self._running = 0
        self._holds: dict[Any, bool] = {}
        self._pace = 0.0  # seconds that a row takes in a run, as the last runs had it
        self._until = 0.0  # when the run that began last is expected to end
        self._times = Pace()
        self._ran_in_turn = False  # whether one has run at once in this turn of the loop
        self._crowded = (
            0  # so many turns of a loop are looked at as a whole, for the last ones brought several requests
        )
        self._kicked = False  # whether the loop will look at the queue in its next turn
        self._threads: ThreadPoolExecutor | None = None

    @property
    def queued(self) -> int:
        """Rows that wait now."""
        return self._queued

    def __call__(self, inputs: Sequence[Array], deadline: float | None = None) -> Sequence[Array]:
        """Runs once; returns one array per output.

        Args:
          inputs: an array per input.
          deadline: the moment (`time.monotonic()`) after which nobody waits for the answer.

        Raises:
          UnavailableError: at once, if as much as may queue does so already, or so much that the answer would be late.
          DeadlineExceededError: if it is over before the run began.
        """
        waiting = self._read(inputs, deadline)
        if waiting is None:
            return self._run(*inputs)
        with self._lock:
            if self._running < self.options.num_batch_threads and not self._queue:
                self._running += 1  # nobody is before it
                waiting.taken = True
            else:
                waiting.turn = threading.Event()
                self._enqueue(waiting)
        if waiting.turn is not None:
            self._wait(waiting, waiting.turn)
        if waiting.results is None and waiting.error is None:
            self._lead(waiting)
        return _result(waiting)

    async def answer(self, inputs: Sequence[Array], deadline: float | None = None) -> Sequence[Array]:
        """Runs once, for a coroutine; takes, returns and raises what a call does."""
        loop = asyncio.get_running_loop()
        waiting = self._read(inputs, deadline)
        if waiting is None:
            return await asyncio.to_thread(self._run, *inputs)
        if self._comes_alone(waiting):
            loop.call_soon(self._turn_over)
            self._carry_out([waiting])
            self._pass_on(in_loop=True)
            return _result(waiting)
        waiting.future = loop.create_future()
        with self._lock:
            self._enqueue(waiting)
        if not self._kicked:
            self._kicked = True
            loop.call_soon(self._kick)
        timer = None
        if deadline is not None:
            timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._expire, waiting)
        try:
            return await waiting.future
        finally:
            if timer is not None:
                timer.cancel()
            if waiting.future.cancelled():
                self._withdraw(waiting)

    def _comes_alone(self, waiting: _Waiting) -> bool:
        """Whether a request of a loop, it seems the only one of this turn, is to run at once; its place is taken then.

        Where turns bring several, it is worth looking at all of them before the first runs. After some turns that have
        brought one only, it is not.
        """
        if self._ran_in_turn:
            self._crowded = _TURNS
        if self._crowded or self.options.batch_timeout_micros:
            return False
        if not self._times.short(self.options.padded(waiting.rows)):
            return False
        with self._lock:
            if self._running or self._queue:
                return False
            self._running = 1
            waiting.taken = self._ran_in_turn = True
            return True

    def _turn_over(self) -> None:
        self._ran_in_turn = False

    def close(self) -> None:
        """Ends the threads; nothing may be asked for any more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _read(self, inputs: Sequence[Array], deadline: float | None) -> _Waiting | None:
        """Looks at a request; None if it can only run alone."""
        arrays = tuple(inputs)
        for array, dtype in zip(arrays, self._dtypes, strict=True):
            if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.ndim:
                return None
        rows = len(arrays[0])
        if not 0 < rows <= self.options.max_batch_size or any(len(array) != rows for array in arrays):
            return None
        rest = tuple([array.shape[1:] for array in arrays])
        if not self._proved(rows, rest):
            return None
        return _Waiting(arrays, rows, rest, deadline, time.monotonic(), journey=journey())

    def turn_away(self, deadline: float | None) -> None:
        """Raises what a request of one row would get for coming now, if that is a refusal: before anybody reads it."""
        if self._queued:
            self._look_for_room(1, time.monotonic(), deadline)

    def _look_for_room(self, rows: int, now: float, deadline: float | None) -> None:
        """Raises if the queue is full for so many rows, or too long for who waits until a deadline."""
        most = self.options.max_enqueued_batches * self.options.max_batch_size
        if self._queued + rows > most:
            raise UnavailableError(
                None,
                None,
                "The batch scheduling queue to which this task was submitted is full; "
                f"{self._queued} rows of at most {most} are queued",
            )
        if deadline is not None and self._running:
            # Whoever would be answered too late must not keep those waiting who can be answered in time.
            before = (self._queued + rows) / self.options.num_batch_threads
            expected = max(self._until, now) + before * self._pace - now
            if expected > _IN_TIME * max(0.0, deadline - now):
                raise UnavailableError(
                    None,
                    None,
                    f"{self._queued} rows are queued: the answer is expected in {expected:.3f} s, and may be too late",
                )

    def _enqueue(self, waiting: _Waiting) -> None:
        """Queues a request, with the lock held; raises if there is no room."""
        self._look_for_room(waiting.rows, waiting.begun, waiting.deadline)
        self._queue.append(waiting)
        self._queued += waiting.rows
        self._lock.notify_all()  # whoever waits for a batch to fill

    def _withdraw(self, waiting: _Waiting) -> bool:
        """Takes a request out of the queue; False if it is in a run already."""
        with self._lock:
            if waiting.taken:
                return False
            self._queue.remove(waiting)
            self._queued -= waiting.rows
            return True

    def _expire(self, waiting: _Waiting) -> None:
        """Tells a coroutine that its time is over, unless its run has begun."""
        assert waiting.future is not None
        if not waiting.future.done() and self._withdraw(waiting):
            waiting.future.set_exception(_too_late())

    def _kick(self) -> None:
        """Begins a run of what the turn of the loop before has brought, if there is room for one."""
        self._kicked = False
        self._crowded = _TURNS if len(self._queue) > 1 else max(0, self._crowded - 1)
        with self._lock:
            if self._running >= self.options.num_batch_threads or not self._queue:
                return
            self._running += 1
            first = self._first()
        self._begin(first, in_loop=True)

    def _first(self) -> _Waiting:
        """Takes the first request out of the queue, with the lock held."""
        first = self._queue.popleft()
        self._queued -= first.rows
        first.taken = True
        return first

    def _begin(self, first: _Waiting, in_loop: bool) -> None:
        """Has a batch run that begins with this request: by its thread, or for a loop, here or in a thread of ours."""
        if first.future is None:
            assert first.turn is not None
            first.turn.set()
            return
        if in_loop and not self.options.batch_timeout_micros:
            batch = self._gathered(first)
            rows = self.options.padded(sum(waiting.rows for waiting in batch))
            if self._times.short(rows):
                self._carry_out(batch, first.future.get_loop())
                self._pass_on(in_loop=True)
                return
            self._own_threads().submit(self._carry_out_there, batch)
            return
        self._own_threads().submit(self._lead, first)

    def _own_threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.options.num_batch_threads, "graphflow-batches")
            return self._threads

    def _carry_out_there(self, batch: list[_Waiting]) -> None:
        self._carry_out(batch)
        self._pass_on()

    def _proved(self, rows: int, rest: tuple[tuple[int, ...], ...]) -> bool:
        found = self._holds.get((rows, rest))
        if found is None:
            found = self._fit(rest) and self._proof.holds(rows, self._open_sizes(rest))
            if len(self._holds) > 4096:
                self._holds.clear()
            self._holds[rows, rest] = found
        return found

    def _fit(self, rest: tuple[tuple[int, ...], ...]) -> bool:
        return all(
            len(given) == len(wanted)
            and all(size is None or size == mine for mine, size in zip(given, wanted, strict=True))
            for given, wanted in zip(rest, self._shapes, strict=True)
        )

    def _open_sizes(self, rest: tuple[tuple[int, ...], ...]) -> list[int]:
        """The sizes of a row that the signature leaves open, in order."""
        return [
            mine
            for given, wanted in zip(rest, self._shapes, strict=True)
            for mine, size in zip(given, wanted, strict=True)
            if size is None
        ]

    def _wait(self, waiting: _Waiting, turn: threading.Event) -> None:
        """Waits until it is this request's turn, or it has its answer.

        Raises:
          DeadlineExceededError: if its time is over before that.
        """
        while not turn.wait(
            None if waiting.deadline is None else max(0.0, waiting.deadline - time.monotonic())
        ):
            if not self._withdraw(waiting):
                # It is in a run already: that is about to end, and whoever waits for it gets what it gives.
                waiting.deadline = None
                continue
            raise _too_late()

    def _lead(self, first: _Waiting) -> None:
        """Runs a batch that begins with this request, for all that are in it."""
        self._carry_out(self._gathered(first))
        self._pass_on()

    def _carry_out(self, batch: list[_Waiting], here: asyncio.AbstractEventLoop | None = None) -> None:
        """Runs a batch, and tells all that are in it; `here` is the loop whose thread does it, if it is one's."""
        try:
            self._run_batch(batch)
        except BaseException as error:
            for waiting in batch:
                if waiting.results is None and waiting.error is None:
                    waiting.error = error
        if len(batch) == 1 and batch[0].turn is None and batch[0].future is None:
            return  # whoever asked is here
        loops: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
        for waiting in batch:
            if waiting.turn is not None:
                waiting.turn.set()
            elif waiting.future is not None:
                loops.setdefault(waiting.future.get_loop(), []).append(waiting)
        for loop, told in loops.items():
            if loop is here:
                _tell(told)
                continue
            with contextlib.suppress(RuntimeError):  # a loop that has ended: nobody is there any more
                loop.call_soon_threadsafe(_tell, told)

    def _gathered(self, first: _Waiting) -> list[_Waiting]:
        """Takes the requests that run with this one out of the queue, waiting for more if that is wished."""
        most = self.options.max_batch_size
        until = first.begun + self.options.batch_timeout_micros / 1e6
        batch, rows = [first], first.rows
        with self._lock:
            while True:
                passed: deque[_Waiting] = deque()
                while self._queue and rows < most:
                    waiting = self._queue.popleft()
                    if waiting.key != first.key or not self._fits(rows, waiting):
                        passed.append(waiting)
                        continue
                    waiting.taken = True
                    self._queued -= waiting.rows
                    batch.append(waiting)
                    rows += waiting.rows
                self._queue.extendleft(reversed(passed))
                left = until - time.monotonic()
                if rows >= most or left <= 0 or passed:
                    return batch
                self._lock.wait(left)

    def _fits(self, rows: int, waiting: _Waiting) -> bool:
        total = rows + waiting.rows
        return total <= self.options.max_batch_size and self._proved(self.options.padded(total), waiting.key)

    def _run_batch(self, batch: list[_Waiting]) -> None:
        now = time.monotonic()
        # One that is alone may be quicker than expected, and keeps nobody waiting.
        self._until = now + sum(waiting.rows for waiting in batch) * self._pace
        over = now if len(batch) == 1 else self._until
        alive = []
        for waiting in batch:
            if waiting.deadline is not None and over >= waiting.deadline:
                waiting.error = _too_late()
            else:
                alive.append(waiting)
        if not alive:
            return
        rows = sum(waiting.rows for waiting in alive)
        padded = self.options.padded(rows)
        if self._observe is not None:
            self._observe(rows, padded, len(alive), now - min(waiting.begun for waiting in alive))
        begin, end = self._run_together(alive, rows, padded)
        self._learn(padded, end - begin)
        for waiting in alive:
            if waiting.journey is not None:
                waiting.journey.ran(waiting.begun, begin, end, (now, time.monotonic(), len(alive), padded))

    def _run_together(self, alive: list[_Waiting], rows: int, padded: int) -> tuple[float, float]:
        """Runs requests as one; returns when the run began and ended."""
        begin = time.monotonic()
        if padded == rows and len(alive) == 1:
            alive[0].results = self._run(*alive[0].inputs)
            return begin, time.monotonic()
        inputs = []
        for parts in zip(*(waiting.inputs for waiting in alive), strict=True):
            more = [parts[-1][-1:]] * (padded - rows)  # a row that is there makes no error that is not there
            inputs.append(np.concatenate([*parts, *more]))
        begin = time.monotonic()
        try:
            outputs = [np.asarray(output) for output in self._run(*inputs)]
        except Exception as error:
            # One row's fault is not the others': each runs by itself, and answers for itself.
            if len(alive) == 1:
                alive[0].error = error
                return begin, time.monotonic()
            for waiting in alive:
                try:
                    waiting.results = self._run(*waiting.inputs)
                except Exception as own:
                    waiting.error = own
            return begin, time.monotonic()
        end = time.monotonic()
        at = 0
        for waiting in alive:
            waiting.results = [output[at : at + waiting.rows] for output in outputs]
            at += waiting.rows
        return begin, end

    def _learn(self, rows: int, seconds: float) -> None:
        """Keeps what a run of so many rows took."""
        pace = seconds / rows
        self._pace += (pace - self._pace) * (_NEWEST if self._pace else 1.0)
        self._times.learn(rows, seconds)

    def _pass_on(self, in_loop: bool = False) -> None:
        """Gives the place of a run that has ended to whoever is first in the queue."""
        with self._lock:
            if not self._queue:
                self._running -= 1
                return
            following = self._first()
        if in_loop and following.future is not None:
            # What came in meanwhile is looked at first.
            following.future.get_loop().call_soon(self._begin, following, True)
        else:
            self._begin(following, in_loop=False)


def _tell(batch: list[_Waiting]) -> None:
    """Gives coroutines their answers, in the thread of their loop."""
    for waiting in batch:
        assert waiting.future is not None
        if waiting.future.done():
            continue  # nobody waits any more
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(_result(waiting))


def _result(waiting: _Waiting) -> Sequence[Array]:
    if waiting.error is not None:
        raise waiting.error
    assert waiting.results is not None
    return waiting.results


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError(None, None, "the request's time was over before its run would have ended")
