"""The demo: real handwritten digits through everything graphflow does.

Trains a small convolutional net on the UCI digits that scikit-learn ships, shows what the passes made of the training
step, saves the model, serves it from a process of its own, and checks that the server's numbers are the session's, bit
for bit.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphflow as gf
from graphflow import show
from graphflow.serving.client import Client
from graphflow.timeline import Timeline
from graphflow.visualize import write_svg

Array = np.ndarray[Any, Any]

BATCH = 64
GOAL = 0.98
SEED = 7
_MODEL_NAME = "digits"
_MOVING_AVERAGE_DECAY = 0.9
_EPSILON = 1e-3


@dataclass(frozen=True)
class Digits:
    """Scanned digits: images [n, 8, 8, 1] between 0 and 1, labels [n]; a fifth is held out."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


@dataclass(frozen=True)
class Net:
    """The digit reader's graph.

    Attributes:
      images: [batch, 8, 8, 1], fed.
      labels: [batch], fed for training.
      loss: the mean cross entropy, with dropout and the batch's own statistics.
      train: one step of Adam, and of the moving averages.
      probabilities: [batch, 10], with the moving averages and without dropout.
      digit: [batch], the most probable digit.
    """

    images: gf.Tensor
    labels: gf.Tensor
    loss: gf.Tensor
    train: gf.Operation
    probabilities: gf.Tensor
    digit: gf.Tensor


def load() -> Digits:
    """Returns the digits, split the same way every time."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., None]
    labels = digits.target.astype(np.int32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    return Digits(train_images, train_labels, test_images, test_labels)


def _batch_norm(x: gf.Tensor, training: bool) -> gf.Tensor:
    """Normalises each channel, by the batch's statistics when training, else by their moving averages."""
    channels = int(x.shape[-1])
    gamma = gf.get_variable("gamma", [channels], initializer=gf.ones_initializer())
    beta = gf.get_variable("beta", [channels], initializer=gf.zeros_initializer())
    averages = [
        gf.get_variable(name, [channels], initializer=initializer, trainable=False)
        for name, initializer in (
            ("moving_mean", gf.zeros_initializer()),
            ("moving_variance", gf.ones_initializer()),
        )
    ]
    if not training:
        mean, variance = averages
    else:
        mean, variance = gf.nn.moments(x, [0, 1, 2])
        for average, value in zip(averages, (mean, variance), strict=True):
            update = gf.assign_sub(average, (1 - _MOVING_AVERAGE_DECAY) * (average - value))
            gf.add_to_collection(gf.GraphKeys.UPDATE_OPS, update)
    return gf.nn.batch_normalization(x, mean, variance, beta, gamma, _EPSILON)


def _convolution(x: gf.Tensor, channels: int, training: bool, name: str) -> gf.Tensor:
    """A 3x3 convolution, batch norm, relu."""
    with gf.variable_scope(name):
        shape = [3, 3, int(x.shape[-1]), channels]
        filters = gf.get_variable("filters", shape, initializer=gf.variance_scaling_initializer(2.0))
        x = gf.nn.conv2d(x, filters, strides=[1, 1, 1, 1], padding="SAME")
        return gf.nn.relu(_batch_norm(x, training))


def _dense(x: gf.Tensor, units: int, name: str) -> gf.Tensor:
    with gf.variable_scope(name):
        shape = [int(x.shape[-1]), units]
        weights = gf.get_variable("weights", shape, initializer=gf.variance_scaling_initializer(2.0))
        bias = gf.get_variable("bias", [units], initializer=gf.zeros_initializer())
        return gf.nn.bias_add(gf.matmul(x, weights), bias)


def _logits(images: gf.Tensor, training: bool) -> gf.Tensor:
    with gf.variable_scope("reader", reuse=not training):
        x = _convolution(images, 32, training, "conv1")
        x = _convolution(x, 64, training, "conv2")
        x = gf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
        x = gf.nn.relu(_dense(gf.reshape(x, [-1, 4 * 4 * 64]), 128, "hidden"))
        if training:
            x = gf.nn.dropout(x, rate=0.4, seed=SEED)
        return _dense(x, 10, "output")


def build(learning_rate: float = 2e-3) -> Net:
    """Adds the digit reader to the default graph, the training step included."""
    gf.set_random_seed(SEED)
    images = gf.placeholder(gf.float32, [None, 8, 8, 1], name="images")
    labels = gf.placeholder(gf.int32, [None], name="labels")
    with gf.name_scope("training"):
        logits = _logits(images, training=True)
        losses = gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = gf.reduce_mean(losses, name="loss")
    with gf.control_dependencies(gf.get_collection(gf.GraphKeys.UPDATE_OPS)):
        train = gf.train.AdamOptimizer(learning_rate).minimize(loss, name="train")
    with gf.name_scope("serving"):
        logits = _logits(images, training=False)
        probabilities = gf.nn.softmax(logits, name="probabilities")
        digit = gf.argmax(logits, axis=1, name="digit", output_type=gf.int32)
    return Net(images, labels, loss, train, probabilities, digit)


def train(
    session: gf.Session, net: Net, digits: Digits, epochs: int, console: Console
) -> tuple[list[float], list[float]]:
    """Trains; returns the loss of every step and the held-out accuracy after every epoch."""
    session.run(gf.global_variables_initializer())
    step = session.make_callable([net.loss, net.train], [net.images, net.labels])
    order = np.random.RandomState(SEED)
    # The last, smaller batch of an epoch is left out: one size, one plan.
    batches = len(digits.train_labels) // BATCH
    losses: list[float] = []
    accuracies: list[float] = []
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  held-out {task.fields[accuracy]:.2%}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=epochs * batches, loss=float("nan"), accuracy=0.0)
        for _ in range(epochs):
            shuffled = order.permutation(len(digits.train_labels))
            for batch in range(batches):
                rows = shuffled[batch * BATCH : (batch + 1) * BATCH]
                loss, _ = step(digits.train_images[rows], digits.train_labels[rows])
                losses.append(float(loss))
                progress.update(task, advance=1, loss=losses[-1])
            found = session.run(net.digit, {net.images: digits.test_images})
            accuracies.append(float(np.mean(found == digits.test_labels)))
            progress.update(task, accuracy=accuracies[-1])
    return losses, accuracies


def _tell_passes(net: Net, console: Console) -> None:
    """Prints what the passes did to the training step, and what a run of it takes."""
    model = show.Model(gf.get_default_graph(), (net.images, net.labels), (net.loss, net.train))
    story = show.tell(model, BATCH)
    table = Table(title="the training step through the passes", title_justify="left")
    for heading, side in (("pass", "left"), ("nodes", "right"), ("did", "left")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for report in story.reports:
        done = ", ".join(f"{name} {count}" for name, count in sorted(report.counts.items()) if count)
        if done:
            table.add_row(report.name, f"{report.nodes_before} → {report.nodes_after}", done)
    console.print(table)
    plan = story.plan
    console.print(
        f"plan: {len(plan.launches)} kernels in {len(plan.steps)} native calls, "
        f"peak {plan.peak_bytes:,} bytes beside feeds and variables, known before the first run"
    )


def _draw_serving(net: Net, path: Path) -> None:
    """Draws what is left of the served part after all passes."""
    model = show.Model(net.images.graph, (net.images,), (net.probabilities, net.digit))
    reports = show.tell(model).reports
    final = reports[-1].after
    assert final is not None
    write_svg(final, path, title="reading one digit, after all passes")


def _trace(session: gf.Session, net: Net, digits: Digits, path: Path) -> None:
    """Runs one step with clocks and writes its timeline."""
    metadata = gf.RunMetadata()
    options = gf.RunOptions(trace_level=gf.RunOptions.FULL_TRACE)
    feed = {net.images: digits.test_images}
    session.run(net.digit, feed, options=options, run_metadata=metadata)
    path.write_text(Timeline(metadata.step_stats).generate_chrome_trace_format())


def _plot(losses: list[float], accuracies: list[float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.4))
    axes.plot(losses, color="#1a73e8", linewidth=0.8, label="loss of each step")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    errors = axes.twinx()
    ends = np.arange(1, len(accuracies) + 1) * (len(losses) // len(accuracies))
    errors.plot(ends, [100 * (1 - value) for value in accuracies], color="#e8710a", marker="o", markersize=3)
    errors.set_ylabel("held-out errors, %", color="#e8710a")
    errors.set_ylim(bottom=0)
    axes.set_title(f"digit reader: {accuracies[-1]:.2%} of held-out digits read right", fontsize=10)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=120)
    plt.close(figure)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Client]:
    """Serves a model from a process of its own while the block runs; nothing is left running after it."""
    command = [sys.executable, "-m", "graphflow", "serve", "--model_base_path", str(folder)]
    command += ["--rest_api_port", "0", "--port", "-1", "--model_name", _MODEL_NAME]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise RuntimeError(f"the server ended with code {server.wait()} before it served")
            port = int(line.rpartition("/v1/")[0].rpartition(":")[2])
            with Client(port=port, model_name=_MODEL_NAME) as client:
                client.wait_until_ready()
                yield client
            server.terminate()
            if server.wait(30) != 0:
                raise RuntimeError(f"the server ended with code {server.returncode}")
        finally:
            if server.poll() is None:
                server.kill()


_SHADES = " .:-=+*#%@"


def drawing(image: Array, probabilities: Array) -> Text:
    """Returns a digit [8, 8, 1] in shades, with the probability of each answer beside it."""
    text = Text()
    # Ten answers stand beside eight rows of pixels.
    for row in range(10):
        text.append("  ")
        for column in range(8):
            value = float(image[row - 1, column, 0]) if 1 <= row <= 8 else 0.0
            level = int(255 * value)
            character = _SHADES[round(value * (len(_SHADES) - 1))]
            text.append(2 * character, style=f"bold rgb({level},{level},{level})" if level else "")
        share = float(probabilities[row])
        style = "bold green" if row == int(np.argmax(probabilities)) else "dim"
        text.append(f"   {row} {'█' * round(24 * share):24} {share:7.2%}\n", style=style)
    return text


def _stop_on_term(number: int, frame: Any) -> None:
    # SIGTERM would end the process at once and leave the server behind; this way every `finally` runs.
    raise KeyboardInterrupt


def run(output: Path, epochs: int = 12, console: Console | None = None) -> int:
    """Runs the demo.

    Args:
      output: the folder for pictures and the model.
      epochs: how often to go through the training digits.
      console: where to print.

    Returns:
      The exit code: 0 if the goal was reached and the server gave the session's numbers.
    """
    console = console or Console()
    previous = signal.signal(signal.SIGTERM, _stop_on_term)
    try:
        return _run(output, epochs, console)
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(output: Path, epochs: int, console: Console) -> int:
    began = time.perf_counter()
    digits = load()
    output.mkdir(parents=True, exist_ok=True)
    with gf.Graph().as_default() as graph, gf.Session(graph=graph) as session:
        net = build()
        console.print(
            f"{len(digits.train_labels)} digits to learn from, {len(digits.test_labels)} held out; "
            f"a graph of {len(graph.get_operations())} operations, gradients included"
        )
        _tell_passes(net, console)
        losses, accuracies = train(session, net, digits, epochs, console)
        accuracy = accuracies[-1]
        console.print(f"held-out digits read right: [bold]{accuracy:.2%}[/bold]")
        expected = session.run(net.probabilities, {net.images: digits.test_images})
        version = _next_version(output / "model")
        gf.saved_model.simple_save(
            session,
            str(version),
            {"images": net.images},
            {"probabilities": net.probabilities, "digit": net.digit},
        )
        write_svg(graph, output / "graph.svg", title="the digit reader, training and serving")
        _draw_serving(net, output / "serving.svg")
        _trace(session, net, digits, output / "timeline.json")
    _plot(losses, accuracies, output / "loss.svg")
    with serving(version.parent) as client:
        answers = client.predict(instances=digits.test_images)
    served = np.array([answer["probabilities"] for answer in answers], np.float32)
    same = np.array_equal(served.view(np.uint32), expected.view(np.uint32))
    chosen = int(np.argmin(np.abs(served.max(axis=1) - 0.9)))
    console.print(
        f"\nthe server reads this one (a {digits.test_labels[chosen]}) as {answers[chosen]['digit']}:\n"
    )
    console.print(drawing(digits.test_images[chosen], served[chosen]))
    console.print(
        f"{served.size} served numbers "
        + ("equal the session's bit for bit" if same else "[red]differ from the session's[/red]")
    )
    (output / "summary.json").write_text(
        json.dumps({"accuracy": accuracy, "epochs": epochs, "steps": len(losses), "same_bits": same}) + "\n"
    )
    files = "graph.svg", "serving.svg", "loss.svg", "loss.png", "timeline.json", "model/", "summary.json"
    console.print(f"in {output}: {', '.join(files)}")
    console.print(f"{time.perf_counter() - began:.1f} s in all")
    if accuracy < GOAL:
        console.print(f"[red]the goal is {GOAL:.0%}[/red]")
    return 0 if same and accuracy >= GOAL else 1


def _next_version(folder: Path) -> Path:
    """Returns the folder of the next version of a model: servers take the highest number."""
    taken = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    return folder / str(max(taken, default=0) + 1)
