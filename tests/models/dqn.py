"""Deep Q-learning: players in threads fill a queue of experience, a learner draws from it, a second network lags.

The game is to catch a falling dot with a paddle; a frame is what the screen shows, a few of them one behind another.
The learner studies games of chance first, in which nothing hangs on threads; then it plays.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import graphflow as tf

SIZES = {
    "small": {"batch": 32, "side": 8, "fall": 3, "frames": 2, "players": 2, "filters": ((4, 3, 2),), "hidden": 32,
              "rate": 3e-3, "chance": 0.8, "study": 20},
    "real": {"batch": 32, "side": 84, "fall": 10, "frames": 4, "players": 4,
             "filters": ((32, 8, 4), (64, 4, 2), (64, 3, 1)), "hidden": 512, "rate": 2.5e-4, "chance": 0.3, "study": 8},
}  # fmt: skip
ACTIONS = 3


class Catch:
    """The game; `frames` is uint8 [side, side, frames]; the dot falls `fall` rows a move."""

    def __init__(self, side: int, fall: int, frames: int, seed: int) -> None:
        self.rng, self.side, self.fall = np.random.RandomState(seed), side, fall
        self.frames = np.zeros((side, side, frames), np.uint8)
        self.start()

    def start(self) -> None:
        self.row, self.column, self.paddle = 0, self.rng.randint(self.side), self.side // 2
        self.frames[:] = 0
        self.draw()

    def draw(self) -> None:
        screen = np.zeros((self.side, self.side), np.uint8)
        screen[self.row, self.column] = screen[-1, self.paddle] = 255
        self.frames = np.concatenate([self.frames[..., 1:], screen[..., None]], 2)

    def step(self, action: int) -> tuple[float, bool]:
        stride = max(self.side // 8, 1)
        self.paddle = int(np.clip(self.paddle + (action - 1) * stride, 0, self.side - 1))
        self.row = min(self.row + self.fall, self.side - 1)
        over = self.row == self.side - 1
        reward = (1.0 if abs(self.paddle - self.column) <= stride else -1.0) if over else 0.0
        self.draw()
        return reward, over


def exam(s: dict[str, Any], count: int) -> list[np.ndarray]:
    """Last moves of games that chance has played: frames, actions, rewards, next frames, whether it is over."""
    game, rng, rows = Catch(s["side"], s["fall"], s["frames"], 0), np.random.RandomState(0), []
    while len(rows) < count:
        before, action = game.frames, rng.randint(ACTIONS)
        reward, over = game.step(action)
        if over:
            rows.append((before, action, reward, game.frames, over))
            game.start()
    return [np.stack(column) for column in zip(*rows, strict=True)]


def network(frames: Any, s: dict[str, Any], name: str) -> Any:
    with tf.variable_scope(name):
        x = tf.cast(frames, tf.float32) / 255.0
        for i, (depth, window, stride) in enumerate(s["filters"]):
            x = tf.layers.conv2d(x, depth, window, stride, activation=tf.nn.relu, name=f"conv{i}")
        x = tf.layers.dense(tf.layers.flatten(x), s["hidden"], tf.nn.relu, name="hidden")
        return tf.layers.dense(x, ACTIONS, name="q")


def train(size: str, steps: int) -> dict[str, Any]:
    s = SIZES[size]
    shape = [s["side"], s["side"], s["frames"]]
    kinds = [tf.uint8, tf.int32, tf.float32, tf.uint8, tf.bool]
    shapes: list[list[int]] = [shape, [], [], shape, []]
    queue = tf.RandomShuffleQueue(512, s["batch"], kinds, shapes, seed=1)
    one = [tf.placeholder(kind, each) for kind, each in zip(kinds, shapes, strict=True)]
    put, close = queue.enqueue(one), queue.close(cancel_pending_enqueues=True)
    frames, actions, rewards, following, over = queue.dequeue_many(s["batch"])
    seen = tf.placeholder(tf.uint8, [1, *shape])
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        q, greedy = network(frames, s, "online"), tf.argmax(network(seen, s, "online"), 1)[0]
        later = tf.reduce_max(network(following, s, "target"), 1)
    online, target = tf.trainable_variables("online"), tf.trainable_variables("target")
    copy = tf.group(*(tf.assign(a, b) for a, b in zip(target, online, strict=True)))
    wanted = tf.stop_gradient(rewards + 0.99 * later * (1.0 - tf.cast(over, tf.float32)))
    chosen = tf.reduce_sum(q * tf.one_hot(actions, ACTIONS), 1)
    loss = tf.losses.huber_loss(wanted, chosen)
    op = tf.train.RMSPropOptimizer(s["rate"]).minimize(loss, var_list=online)
    coordinator = tf.train.Coordinator()
    played = [0] * s["players"]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(copy)
        # What a queue gives can be fed like anything else.
        sheets = [np.split(column, 4) for column in exam(s, 4 * s["batch"])]

        inputs = (frames, actions, rewards, following, over)
        feeds = [dict(zip(inputs, sheet, strict=True)) for sheet in zip(*sheets, strict=True)]

        def mark() -> float:
            return float(np.mean([session.run(loss, feed) for feed in feeds]))

        exams = [mark()]
        for step in range(s["study"]):
            session.run(op, feeds[step % len(feeds)])
        session.run(copy)
        exams.append(mark())

        def play(number: int) -> None:
            game, rng = Catch(s["side"], s["fall"], s["frames"], number), np.random.RandomState(100 + number)
            with coordinator.stop_on_exception():
                while not coordinator.should_stop():
                    before = game.frames
                    best = int(session.run(greedy, {seen: before[None]}))
                    action = rng.randint(ACTIONS) if rng.rand() < s["chance"] else best
                    reward, ended = game.step(action)
                    try:
                        session.run(
                            put, dict(zip(one, (before, action, reward, game.frames, ended), strict=True))
                        )
                    except tf.errors.CancelledError:
                        return
                    played[number] += 1
                    if ended:
                        game.start()

        threads = [threading.Thread(target=play, args=(i,), daemon=True) for i in range(s["players"])]
        for thread in threads:
            thread.start()
        losses = []
        for step in range(steps):
            losses.append(float(session.run([loss, op])[0]))
            if step % 10 == 9:
                session.run(copy)
        coordinator.request_stop()
        session.run(close)
        coordinator.join(threads, stop_grace_period_secs=20)
        exams.append(mark())
    return {"losses": losses, "exams": exams, "played": sum(played), "learnt": steps * s["batch"],
            "alive": [thread.is_alive() for thread in threads], "names": [v.op.name for v in online]}  # fmt: skip
