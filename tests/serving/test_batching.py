"""Requests put together: where it is proved, never another's rows, the bits of `Session.run`, no long queues."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from benchmarks.servers.models import MODELS, SIZE, save
from graphflow.errors import DeadlineExceededError, InvalidArgumentError, UnavailableError
from graphflow.row_wise import RowWise
from graphflow.serving.batching import Batcher, BatchingOptions, read_batching_options
from graphflow.serving.model import Model
from graphflow.serving.warm_up import warm_up
from tests.serving.models import save_model

Array = np.ndarray[Any, Any]
FLOATS = np.dtype(np.float32)


def proof_of(build: Any, *shapes: tuple[int | None, ...]) -> tuple[RowWise, gf.Session, list[Any], list[Any]]:
    x = [gf.placeholder(gf.float32, [None, *shape]) for shape in shapes]
    y = build(*x)
    session = gf.Session()
    session.run(gf.global_variables_initializer())
    return session.row_wise([y], x), session, [y], x


class Slow:
    """Doubles what it is given, once it is let go; says what it has been given."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.free = threading.Event()
        self.seen: list[int] = []

    def __call__(self, x: Array) -> list[Array]:
        self.seen.append(len(x))
        self.begun.release()
        self.free.wait()
        if (x < 0).any():
            raise InvalidArgumentError(None, None, f"{float(x.min())} is negative")
        return [x * 2]


@pytest.fixture
def proof() -> RowWise:
    with gf.Graph().as_default():
        return proof_of(lambda x: x * 2, (1,))[0]


async def idle(batcher: Batcher) -> None:
    """Returns when its threads have nothing in hand: they tell their answers before they look for more."""
    async with asyncio.timeout(120):
        while batcher._running:
            await asyncio.sleep(0.001)


def rows(*values: float) -> list[Array]:
    return [np.array(values, np.float32)[:, None]]


class Requests:
    """Requests in threads of their own, begun in order."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.threads: list[threading.Thread] = []
        self.answers: dict[int, Any] = {}

    def send(self, inputs: list[Array], queues: bool = True) -> None:
        """Begins a request; returns when it has queued, if it does and is not the first."""
        number = len(self.threads)

        def run() -> None:
            try:
                self.answers[number] = self.batcher(inputs)[0].ravel().tolist()
            except Exception as error:
                self.answers[number] = error

        queued = self.batcher.queued
        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        while (
            queues
            and self.batcher.queued == queued
            and number not in self.answers
            and self.batcher._running
            and number
        ):
            time.sleep(0.001)

    def wait(self) -> list[Any]:
        for thread in self.threads:
            thread.join()
        return [self.answers[number] for number in range(len(self.threads))]


def started(proof: RowWise, **options: Any) -> tuple[Slow, Requests]:
    """A batcher whose first request is under way."""
    slow = Slow()
    requests = Requests(Batcher(slow, proof, BatchingOptions(**options), [(FLOATS, (None, 1))]))
    requests.send(rows(1))
    slow.begun.acquire()
    return slow, requests


def test_what_queues_runs_together_and_each_gets_its_own(proof: RowWise) -> None:
    slow, requests = started(proof, max_batch_size=4)
    for values in ((2, 3), (4,), (5, 6), (7,)):
        requests.send(rows(*values))
    slow.free.set()
    assert requests.wait() == [[2], [4, 6], [8], [10, 12], [14]]
    # The third does not fit into the first batch any more; what comes after it and fits does not wait for it.
    assert slow.seen == [1, 4, 2] and requests.batcher._running == 0


def test_batches_are_padded_to_allowed_sizes(proof: RowWise) -> None:
    slow, requests = started(proof, max_batch_size=4, allowed_batch_sizes=(2, 4))
    for value in (2, 3, 4):
        requests.send(rows(value))
    slow.free.set()
    assert requests.wait() == [[2], [4], [6], [8]] and slow.seen == [2, 4]


def test_one_requests_fault_is_not_the_others(proof: RowWise) -> None:
    slow, requests = started(proof)
    for value in (2, -3, 4):
        requests.send(rows(value))
    slow.free.set()
    first, second, third, fourth = requests.wait()
    assert (first, second, fourth) == ([2], [4], [8]) and "-3.0 is negative" in str(third)


def test_a_full_queue_turns_away_at_once(proof: RowWise) -> None:
    slow, requests = started(proof, max_batch_size=2, max_enqueued_batches=1)
    requests.send(rows(2, 3))
    with pytest.raises(
        UnavailableError, match="The batch scheduling queue to which this task was submitted is full"
    ):
        requests.batcher(rows(4))
    slow.free.set()
    assert requests.wait() == [[2], [4, 6]]


def test_who_waits_too_long_is_told_and_does_not_run(proof: RowWise) -> None:
    slow, requests = started(proof)
    with pytest.raises(DeadlineExceededError):
        requests.batcher(rows(2), time.monotonic() + 0.01)
    slow.free.set()
    assert requests.wait() == [[2]] and slow.seen == [1]


def test_who_would_be_answered_too_late_is_told_at_once(proof: RowWise) -> None:
    slow, requests = started(proof)
    batcher = requests.batcher
    batcher._pace = 1e3  # as if a row took so many seconds
    with pytest.raises(UnavailableError, match="0 rows are queued: the answer is expected in 1000"):
        batcher(rows(2), time.monotonic() + 500)
    waiting = threading.Thread(target=lambda: batcher(rows(2), time.monotonic() + 10**6))
    waiting.start()
    while not batcher.queued:
        time.sleep(0.001)
    batcher.turn_away(None)
    with pytest.raises(UnavailableError, match="1 rows are queued: the answer is expected in 2000"):
        batcher.turn_away(time.monotonic() + 500)
    slow.free.set()
    waiting.join()
    assert requests.wait() == [[2]] and slow.seen == [1, 1]


def test_a_batch_waits_for_more_where_that_is_wished(proof: RowWise) -> None:
    slow = Slow()
    slow.free.set()
    options = BatchingOptions(max_batch_size=3, batch_timeout_micros=10**13)
    requests = Requests(Batcher(slow, proof, options, [(FLOATS, (None, 1))]))
    for value in (1, 2, 3):
        requests.send(rows(value), queues=False)
    assert requests.wait() == [[2], [4], [6]] and slow.seen == [3]


def test_coroutines_of_one_turn_run_together_and_with_threads(proof: RowWise) -> None:
    slow, requests = started(proof, max_batch_size=4)
    batcher = requests.batcher

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(batcher.answer(rows(value))) for value in (2, -3, 4)]
        late = batcher.answer(rows(5), time.monotonic() + 0.01)
        given_up = asyncio.ensure_future(batcher.answer(rows(6)))
        with pytest.raises(DeadlineExceededError):
            await late
        given_up.cancel()
        await asyncio.wait([given_up])
        assert batcher.queued == 3
        slow.free.set()
        return [
            await answer if value > 0 else answer for value, answer in zip((2, -3, 4), asked, strict=True)
        ]

    async def main() -> None:
        first, second, third = await ask()
        with pytest.raises(InvalidArgumentError, match="-3.0 is negative"):
            await second
        assert [first[0].tolist(), third[0].tolist()] == [[[4]], [[8]]]
        await idle(batcher)
        many = await asyncio.gather(*[batcher.answer(rows(value)) for value in range(6)])
        assert [answer[0].item() for answer in many] == [0, 2, 4, 6, 8, 10]
        await idle(batcher)

    asyncio.run(main())
    assert requests.wait() == [[2]]
    # One fails, so that the three of that batch run once more, each by itself.
    assert slow.seen == [1, 3, 1, 1, 1, 4, 2] and batcher.queued == 0
    batcher.close()


def test_short_runs_need_no_other_thread(proof: RowWise) -> None:
    seen: list[bool] = []

    def run(x: Array) -> list[Array]:
        seen.append(threading.current_thread() is threading.main_thread())
        return [x]

    batcher = Batcher(run, proof, BatchingOptions(), [(FLOATS, (None, 1))])

    async def main() -> None:
        for seconds in (0.0, 1.0):
            batcher._times._seconds = {1: seconds}
            await batcher.answer(rows(1))

    asyncio.run(main())
    assert seen == [True, False]
    batcher.close()


def test_who_comes_alone_runs_at_once_until_turns_bring_several(proof: RowWise) -> None:
    seen: list[int] = []

    def run(x: Array) -> list[Array]:
        seen.append(len(x))
        return [x * 2]

    batcher = Batcher(run, proof, BatchingOptions(), [(FLOATS, (None, 1))])
    batcher._times._seconds = {1: 0.0, 2: 0.0}  # short, however long they take here

    async def main() -> None:
        alone = batcher.answer(rows(1))
        with pytest.raises(StopIteration) as ended:
            alone.send(None)  # it waits for nothing, not even the loop
        assert ended.value.value[0].tolist() == [[2]]
        await asyncio.sleep(0)
        for _ in range(2):
            answers = await asyncio.gather(*[batcher.answer(rows(value)) for value in (3, 4, 5)])
            assert [answer[0].item() for answer in answers] == [6, 8, 10]

    asyncio.run(main())
    # The first turn with several is known by its second request.
    assert seen == [1, 1, 2, 3] and batcher.queued == batcher._running == 0
    batcher.close()


def test_rows_of_other_shapes_never_meet() -> None:
    with gf.Graph().as_default():
        proof, session, fetches, feeds = proof_of(lambda x: gf.reduce_sum(x, 1), (None,))
    slow = Slow()
    run = session.make_callable(fetches, feeds)

    def both(x: Array) -> Any:
        slow(x[:, :1])
        return run(x)

    requests = Requests(Batcher(both, proof, BatchingOptions(), [(FLOATS, (None, None))]))
    requests.send(rows(1))
    slow.begun.acquire()
    for width in (2, 3, 2, 3):
        requests.send([np.full((1, width), width, np.float32)])
    slow.free.set()
    assert requests.wait() == [[1], [4], [9], [4], [9]] and slow.seen == [1, 2, 2]


def test_parameters_of_tensorflow_serving(tmp_path: Path) -> None:
    file = tmp_path / "batching"
    file.write_text(
        "max_batch_size { value: 16 }\nbatch_timeout_micros { value: 500 }\nmax_enqueued_batches { value: 7 }\n"
        "num_batch_threads { value: 2 }\nallowed_batch_sizes: 4\nallowed_batch_sizes: 16\n"
        'thread_pool_name { value: "t" }\nenable_large_batch_splitting { value: true }\n'
    )
    assert read_batching_options(file) == BatchingOptions(16, 500, 7, 2, (4, 16))
    for text, reason in (
        ("max_batch_size { value: 0 }", "at least 1"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "the last one must be equal to max_batch_size",
        ),
        ("pad_variable_length_inputs: true", "is not done"),
        ("max_batch: 3", "is not understood"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidArgumentError, match=reason):
            read_batching_options(file)


@pytest.mark.parametrize("model", MODELS)
def test_the_benchmarks_models_keep_every_bit_in_batches(model: str, tmp_path: Path) -> None:
    save(model, tmp_path)
    served = Model(tmp_path / "1")
    warm_up(served)
    signature = served.signature()
    assert signature.batcher is not None, signature.alone
    x = np.random.default_rng(4).random((9, SIZE), np.float32)
    rows = [served.run("", {"x": x[i : i + 1]})["y"] for i in range(len(x))]
    with gf.Graph().as_default(), gf.Session() as session:
        gf.saved_model.load(session, [gf.saved_model.SERVING], str(tmp_path / "1"))
        for i, row in enumerate(rows):
            assert row.tobytes() == session.run("y:0", {"x:0": x[i : i + 1]}).tobytes()
        assert np.concatenate(rows).tobytes() == session.run("y:0", {"x:0": x}).tobytes()

    async def together() -> list[Any]:
        return await asyncio.gather(*(served.answer("", {"x": x[i : i + 1]}) for i in range(len(x))))

    assert all(a["y"].tobytes() == b.tobytes() for a, b in zip(asyncio.run(together()), rows, strict=True))
    served.close()


def test_a_models_answers_are_the_sessions_bit_for_bit(tmp_path: Path) -> None:
    save_model(tmp_path / "1")
    model = Model(tmp_path / "1")
    assert model.signatures["serving_default"].batcher is not None
    assert model.signatures["classify"].batcher is not None
    assert 'Sum "total" folds the rows of the batch into one' in model.signatures["total"].alone
    x = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
    spans = [(i, i + 1 + i % 3) for i in range(0, 36, 3)]
    run = model.signatures["serving_default"].function
    want = [run(x[begin:end])[0] for begin, end in spans]
    got: list[Any] = [None] * len(spans)

    def work(number: int) -> None:
        begin, end = spans[number]
        for _ in range(20):
            got[number] = model.run("", {"x": x[begin:end]})["y"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(spans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in zip(got, want, strict=True))
    model.close()
