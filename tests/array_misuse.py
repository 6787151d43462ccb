"""Elements of TensorArrays read and written, once or twice, in turn or not, in range, of one shape, where only the run
can tell; also a program for TensorFlow.

    python array_misuse.py FOLDER

leaves there one graph of all, `graph.pb`, and, in `answers.json`, what TensorFlow makes of each: a value, or a message.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A graph, under its name: what it fetches, what it is fed by the name of the placeholder, and what comes of it."""

    name: str
    make: Any
    feeds: dict[str, Any]
    refused: bool = False


class Makes:
    """Graphs by the module that makes them, whose names are TensorFlow's."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf

    def numbers(self, count: int) -> Any:
        return self.tf.placeholder(self.tf.int32, [count], name="places")

    def number(self, name: str) -> Any:
        return self.tf.placeholder(self.tf.int32, [], name=name)

    def array(self, clear: bool | None = None, filled: bool = False, grows: bool = False) -> Any:
        array = self.tf.TensorArray(
            self.tf.float32, 0 if grows else 4, dynamic_size=grows, clear_after_read=clear, element_shape=[]
        )
        return array.unstack([1.0, 2.0, 3.0, 4.0]) if filled else array

    def loop(self, body: Any, start: Any) -> Any:
        turns = self.number("turns")
        return self.tf.while_loop(lambda i, _: i < turns, lambda i, s: (i + 1, body(i, s)), [0, start])[1]

    def written(self, first: int | None = None, grows: bool = False) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.array(grows=grows)
        array = array if first is None else array.write(first, 7.0)
        return self.loop(lambda i, a: a.write(tf.gather(places, i), tf.cast(i, tf.float32)), array).stack()

    def read(self, first: int | None = None, clear: bool | None = None, whole: bool = False) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.array(clear, filled=True)
        start = 0.0 if first is None else array.read(first)
        total = self.loop(lambda i, s: s + array.read(tf.gather(places, i)), start)
        return total + tf.reduce_sum(array.stack()) if whole else total

    def branch_writes(self) -> Any:
        tf, a, b = self.tf, self.number("a"), self.number("b")
        array = self.array().write(a, 1.0)
        one, other = lambda: array.write(b, 2.0).stack(), lambda: array.write(3, 3.0).stack()
        return tf.cond(tf.placeholder(tf.bool, [], name="which"), one, other)

    def branch_reads(self) -> Any:
        tf, a, b = self.tf, self.number("a"), self.number("b")
        array = self.array(filled=True)
        which = tf.placeholder(tf.bool, [], name="which")
        return array.read(a) + tf.cond(which, lambda: array.read(b), lambda: array.read(b) * 2.0)

    def branch_in_loop(self) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.array(filled=True)

        def body(i: Any, s: Any) -> Any:
            return s + tf.cond(i % 2 > 0, lambda: array.read(tf.gather(places, i)), lambda: 0.5)

        return self.loop(body, 0.0)

    def loop_in_loop(self) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.array(filled=True)

        def body(i: Any, s: Any) -> Any:
            def inner(j: Any, t: Any) -> Any:
                return j + 1, t + array.read(tf.gather(places, i) + j)

            return tf.while_loop(lambda j, _: j < 1 + i % 2, inner, [0, s])[1]

        return self.loop(body, 0.0)

    def fresh_in_loop(self) -> Any:
        tf, places = self.tf, self.numbers(4)

        def body(i: Any, s: Any) -> Any:
            array = self.array().write(tf.gather(places, i), 2.0).write(tf.gather(places, i + 1), 3.0)
            return s + tf.reduce_sum(array.stack())

        return self.loop(body, 0.0)

    def straight(self) -> Any:
        return self.array().write(self.number("a"), 1.0).write(self.number("b"), 2.0).stack()

    def gathered(self) -> Any:
        return self.array(filled=True).gather(self.numbers(4))

    def scattered(self) -> Any:
        places = self.numbers(4)
        return self.array().scatter(places[:2], [1.0, 2.0]).write(self.number("a"), 3.0).stack()

    def plain(self, infer: bool, size: int | None = 4, shape: Any = None) -> Any:
        size = self.number("size") if size is None else size
        return self.tf.TensorArray(self.tf.float32, size, infer_shape=infer, element_shape=shape)

    def filled(self, infer: bool, then: Any, shape: Any = None, size: int | None = 4) -> Any:
        tf, array = self.tf, self.plain(infer, size, shape)
        return then(self.loop(lambda i, a: a.write(i, [1.0, tf.cast(i, tf.float32)]), array))

    def placed(self, then: Any) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.plain(False)
        return then(self.loop(lambda i, a: a.write(tf.gather(places, i), [1.0, 2.0]), array))

    def grown(self, first: int | None) -> Any:
        tf, array = self.tf, self.tf.TensorArray(self.tf.float32, 0, dynamic_size=True, infer_shape=False)
        array = array if first is None else array.write(first, [5.0, 6.0])
        return self.loop(lambda i, a: a.write(i, [1.0, tf.cast(i, tf.float32)]), array).stack()

    def reads_own(self) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.plain(False).write(0, [1.0, 2.0])

        def body(i: Any, a: Any) -> Any:
            return a.write(i + 1, tf.reshape(a.read(tf.gather(places, i)), [2]) + 1.0)

        return self.loop(body, array).read(3)

    def longer(self, infer: bool, shape: Any = None) -> Any:
        tf, array = self.tf, self.plain(infer, shape=shape)
        x = tf.placeholder(tf.float32, [None], name="x")
        return self.loop(lambda i, a: a.write(i, x[: i + 1]), array).read(0)

    def asked(self, counted: bool = False) -> Any:
        tf, places, array = self.tf, self.numbers(4), self.array(filled=True)
        goes = lambda i, _: array.read(i if counted else tf.gather(places, i)) < 3.5  # noqa: E731
        last, total = tf.while_loop(goes, lambda i, s: (i + 1, s + tf.cast(i, tf.float32)), [0, 0.5])
        return total + tf.cast(last, tf.float32) * 10.0

    def asked_in_turns(self) -> Any:
        tf, places = self.tf, self.numbers(4)

        def body(i: Any, s: Any) -> Any:
            array = self.array(filled=True)
            goes = lambda j: array.read(tf.gather(places, i + j)) < 2.5  # noqa: E731
            return s + tf.cast(tf.while_loop(goes, lambda j: j + 1, [0]), tf.float32)

        return self.loop(body, 0.0)

    def shaped(self) -> Any:
        tf = self.tf
        x, y = (tf.placeholder(tf.float32, None, name=name) for name in "xy")
        array = self.plain(True).write(2, x).write(0, y)
        return tf.reduce_sum(array.read(0)) + tf.reduce_sum(array.read(2))


def cases(tf: Any) -> Iterator[Case]:
    """The graphs, as a module makes them."""
    makes = Makes(tf)

    def places(*values: int, turns: int | None = None, **others: int) -> dict[str, Any]:
        return {"places": list(values), **({} if turns is None else {"turns": turns}), **others}

    yield Case("written once", makes.written, places(3, 0, 1, 2, turns=3))
    yield Case("written twice", makes.written, places(3, 0, 3, 2, turns=3), True)
    yield Case("written once, in one turn", makes.written, places(3, 3, 3, 3, turns=1))
    yield Case("written before", lambda: makes.written(first=2), places(3, 0, 2, 2, turns=3), True)
    yield Case("written before, not there", lambda: makes.written(first=2), places(3, 0, 2, 2, turns=2))
    yield Case("grown", lambda: makes.written(grows=True), places(3, 0, 1, 2, turns=3))
    yield Case(
        "grown and written twice", lambda: makes.written(grows=True), places(3, 0, 3, 2, turns=3), True
    )
    yield Case("read once", makes.read, places(3, 0, 1, 2, turns=4))
    yield Case("read twice", makes.read, places(3, 1, 0, 1, turns=4), True)
    yield Case("kept and read twice", lambda: makes.read(clear=False), places(3, 1, 0, 1, turns=4))
    yield Case("read before", lambda: makes.read(first=1), places(3, 0, 1, 2, turns=3), True)
    yield Case("read and stacked", lambda: makes.read(whole=True), places(3, 1, 0, 2, turns=1), True)
    yield Case("not read and stacked", lambda: makes.read(whole=True), places(3, 1, 0, 2, turns=0))
    for which, a, b in ((True, 0, 1), (True, 1, 1), (False, 1, 1), (False, 3, 1)):
        fed = {"which": which, "a": a, "b": b}
        refused = a == b if which else a == 3
        yield Case(f"branch that writes {which} {a} {b}", makes.branch_writes, fed, refused)
        yield Case(f"branch that reads {which} {a} {b}", makes.branch_reads, fed, a == b)
    yield Case("branch in a loop", makes.branch_in_loop, places(0, 3, 0, 2, turns=4))
    yield Case("branch in a loop, twice", makes.branch_in_loop, places(0, 3, 0, 3, turns=4), True)
    yield Case("loop in a loop", makes.loop_in_loop, places(0, 1, 3, 0, turns=3))
    yield Case("loop in a loop, twice", makes.loop_in_loop, places(0, 1, 2, 0, turns=3), True)
    yield Case("fresh in each turn", makes.fresh_in_loop, places(0, 3, 0, 2, turns=3))
    yield Case("fresh in each turn, twice", makes.fresh_in_loop, places(0, 3, 3, 2, turns=3), True)
    yield Case("one after the other", makes.straight, {"a": 1, "b": 2})
    yield Case("one after the other, twice", makes.straight, {"a": 2, "b": 2}, True)
    yield Case("gathered", makes.gathered, places(0, 3, 1, 2))
    yield Case("gathered twice", makes.gathered, places(0, 3, 3, 2), True)
    yield Case("scattered", makes.scattered, places(0, 3, 0, 0, a=1))
    yield Case("scattered and written", makes.scattered, places(0, 3, 0, 0, a=3), True)
    yield Case("scattered twice", makes.scattered, places(3, 3, 0, 0, a=1), True)

    yield Case("read behind a loop", lambda: makes.filled(False, lambda a: a.read(1)), {"turns": 2})
    yield Case(
        "read behind a short loop", lambda: makes.filled(False, lambda a: a.read(2)), {"turns": 2}, True
    )
    yield Case("zeros by inference", lambda: makes.filled(True, lambda a: a.read(3)), {"turns": 2})
    yield Case("zeros by shape", lambda: makes.filled(False, lambda a: a.read(3), [2]), {"turns": 2})
    yield Case(
        "no zeros by half a shape",
        lambda: makes.filled(False, lambda a: a.read(3), [None]),
        {"turns": 2},
        True,
    )
    for turns in (2, 4):
        fed = {"turns": turns}
        yield Case(f"stacked {turns}", lambda: makes.filled(False, lambda a: a.stack()), fed, turns < 4)
        gather = lambda: makes.filled(False, lambda a: a.gather([0, turns - 1]))  # noqa: B023, E731
        yield Case(f"gathered {turns}", gather, fed)
        concat = lambda: makes.filled(False, lambda a: a.concat())  # noqa: E731
        yield Case(f"joined {turns}", concat, fed, turns < 4)
    beyond = lambda: makes.filled(False, lambda a: a.gather([0, 2]))  # noqa: E731
    yield Case("gathered beyond", beyond, {"turns": 2}, True)
    long = lambda: makes.filled(False, lambda a: a.stack(), size=None)  # noqa: E731
    yield Case("as long as written", long, {"turns": 3, "size": 3})
    yield Case("longer than written", long, {"turns": 3, "size": 5}, True)
    yield Case("placed", lambda: makes.placed(lambda a: a.stack()), places(3, 0, 1, 2, turns=4))
    yield Case(
        "placed, not all", lambda: makes.placed(lambda a: a.stack()), places(3, 0, 2, 1, turns=3), True
    )
    yield Case("grown by turns", lambda: makes.grown(None), {"turns": 3})
    yield Case("grown with no gap", lambda: makes.grown(3), {"turns": 3})
    yield Case("grown with a gap", lambda: makes.grown(3), {"turns": 2}, True)
    yield Case("reads its own", makes.reads_own, places(0, 1, 2, 0, turns=3))
    yield Case("reads its own too soon", makes.reads_own, places(0, 2, 1, 0, turns=3), True)
    row = {"x": [1.0, 2.0, 3.0]}
    yield Case("longer and longer", lambda: makes.longer(True), {**row, "turns": 3}, True)
    yield Case("longer, once", lambda: makes.longer(True), {**row, "turns": 1})
    yield Case("longer than they may be", lambda: makes.longer(False, [1]), {**row, "turns": 3}, True)
    yield Case("as long as they like", lambda: makes.longer(False), {**row, "turns": 3})
    yield Case("of one shape", makes.shaped, {"x": [1.0, 2.0], "y": [3.0, 4.0]})
    yield Case("of two shapes", makes.shaped, {"x": [1.0, 2.0], "y": [3.0]}, True)
    yield Case("asked once", makes.asked, places(0, 2, 3, 1))
    yield Case("asked twice", makes.asked, places(0, 1, 0, 3), True)
    yield Case("not asked again", makes.asked, places(2, 3, 2, 2))
    yield Case("asked in order", lambda: makes.asked(True), places(0, 0, 0, 0))
    yield Case("asked in turns", makes.asked_in_turns, places(1, 0, 2, 3, turns=2))
    yield Case("asked twice in a turn", makes.asked_in_turns, places(1, 0, 0, 3, turns=2), True)
    yield Case("out of range", makes.written, places(3, 6, 1, 2, turns=3), True)
    yield Case("read out of range", makes.read, places(3, -1, 1, 2, turns=3), True)


def main(folder: Path) -> None:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    answers = {}
    with tf.Session() as session:
        for number, case in enumerate(cases(tf)):
            with tf.name_scope(f"case{number}"):
                fetch = case.make()
            feeds = {f"case{number}/{name}:0": value for name, value in case.feeds.items()}
            try:
                answers[case.name] = {"fetch": fetch.name, "value": session.run(fetch, feeds).tolist()}
            except tf.errors.InvalidArgumentError as error:
                answers[case.name] = {"fetch": fetch.name, "error": error.message}
        (folder / "graph.pb").write_bytes(session.graph.as_graph_def().SerializeToString())
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
