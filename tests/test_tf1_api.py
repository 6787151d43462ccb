"""TF1's names as programs use them: what must be here is here, with TF1's arguments; of the rest it is told.

`tests/tables/tf1_api_usage.csv` counts the repositories that use a name, `tf1_api_kwargs.csv` the keywords passed.
"""

from __future__ import annotations

import csv
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphflow as gf

TABLES = Path(__file__).parent / "tables"
LATER_GROUPS = {"contrib", "estimator", "debug"}


def rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


USED = rows("tf1_api_usage.csv")
HERE = [row["symbol"] for row in USED if gf.compat.status(row["symbol"]).state == "here"]
KEYWORDS = {
    row["symbol"]: [word.partition("(")[0] for word in row["kwargs(repos)"].split()]
    for row in rows("tf1_api_kwargs.csv")
    if row["kwargs(repos)"] and row["symbol"] in HERE
}

# Keywords that TF1 itself does not take: programs pass them to wrappers of their own, or in branches for TF2.
FOREIGN = {
    ("tf.nn.sigmoid_cross_entropy_with_logits", "targets"), ("tf.sqrt", "keepdims"),
    ("tf.summary.image", "max_images"), ("tf.summary.scalar", "step"),
}  # fmt: skip
# What TensorFlow's functions have been given since TF1, in the midst of the others.
SINCE = {"bad_indices_policy", "grad_a", "grad_b", "index_type", "layout", "output_type"}


def thing(symbol: str) -> Any:
    return gf.compat.public_path(symbol.removeprefix("tf."))


def parameters(value: Any) -> dict[str, inspect.Parameter] | None:
    """The parameters of a function, or of a class's constructor without `self`; None where Python knows none."""
    try:
        return dict(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return None


def test_what_five_repositories_use_is_here() -> None:
    wanted = [row["symbol"] for row in USED if int(row["repos"]) >= 5 and row["group"] not in LATER_GROUPS]
    assert len(wanted) > 300
    assert not [symbol for symbol in wanted if symbol not in HERE]


def test_of_the_rest_it_is_told_whether_it_comes() -> None:
    states = {row["symbol"]: gf.compat.status(row["symbol"]) for row in USED}
    assert not [symbol for symbol, status in states.items() if status.state in ("unknown", "planned")]
    assert not [s.name for s in states.values() if s.state == "out of scope" and not s.reason]


def keywords_of(value: Any) -> set[str] | None:
    """The keywords that something takes, those of the classes that hand theirs on as well; None: any."""
    if hasattr(value, "DESCRIPTOR"):
        return set(value.DESCRIPTOR.fields_by_name)
    found = parameters(value) or {}
    words = set(found)
    if isinstance(value, type):
        for base in value.__mro__[:-1]:
            words |= set(inspect.signature(base.__init__).parameters) if "__init__" in vars(base) else set()
        return words | HANDED_ON
    return None if any(p.kind is p.VAR_KEYWORD for p in found.values()) else words


# What layers and cells take from their common constructor, which reads them by name.
HANDED_ON = {"batch_input_shape", "dtype", "input_shape", "name", "trainable", "weights"}


def test_keywords_that_programs_pass_are_taken() -> None:
    wrong = {}
    for symbol, words in KEYWORDS.items():
        if symbol in CALLS:
            continue
        taken = keywords_of(thing(symbol))
        assert taken is not None, f"{symbol} takes any keyword: call it in CALLS"
        if missing := [word for word in words if word not in taken and (symbol, word) not in FOREIGN]:
            wrong[symbol] = missing
    assert not wrong


def model(make: Any) -> None:
    x = gf.keras.layers.Input(shape=[3])
    make(inputs=x, outputs=gf.keras.layers.Dense(2)(x))


# What tells of its keywords nowhere: calls with those that programs pass.
CALLS: dict[str, Callable[[Any], Any]] = {
    "tf.group": lambda f: f(gf.no_op(), name="g"),
    "tf.einsum": lambda f: f("a,a->a", [1.0], [2.0], name="e"),
    "tf.meshgrid": lambda f: f([1, 2], [3], indexing="ij"),
    "tf.app.flags.DEFINE_string": lambda f: f("text_of_api", default="a", help="b"),
    "tf.app.flags.DEFINE_integer": lambda f: f("number_of_api", default=1, help="b"),
    "tf.app.flags.DEFINE_float": lambda f: f("part_of_api", default=0.5, help="b"),
    "tf.train.import_meta_graph": lambda f: f(gf.train.export_meta_graph(), clear_devices=True, input_map={}),
    "tf.contrib.slim.arg_scope": lambda f: f(
        [gf.contrib.slim.conv2d], **dict.fromkeys(KEYWORDS["tf.contrib.slim.arg_scope"])
    ),
    "tf.keras.Model": model,
    "tf.keras.models.Model": model,
    "tf.keras.layers.Input": lambda f: [f(shape=[3], name="i", dtype="float32"), f(batch_shape=[2, 3])],
    "tf.keras.optimizers.Adam": lambda f: f(lr=0.1),
}


@pytest.mark.parametrize("symbol", CALLS)
def test_functions_of_any_keywords_take_those_that_programs_pass(symbol: str) -> None:
    given: set[str] = set()

    def call(*args: Any, **keywords: Any) -> Any:
        given.update(keywords)
        return thing(symbol)(*args, **keywords)

    CALLS[symbol](call)
    assert given >= set(KEYWORDS[symbol])


def test_as_many_arguments_are_taken_as_programs_pass() -> None:
    wrong = {}
    for row in rows("tf1_api_kwargs.csv"):
        symbol, count = row["symbol"], int(row["positional_args_max"] or 0)
        found = parameters(thing(symbol)) if symbol in HERE and callable(thing(symbol)) else None
        if found is None or any(p.kind is p.VAR_POSITIONAL for p in found.values()):
            continue
        places = [n for n, p in found.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(places) < count and symbol != "tf.data.Dataset.zip":  # which takes one tuple in TF1 too
            wrong[symbol] = count, places
    assert not wrong


SIGNATURES = """
import inspect, json, sys
import tensorflow.compat.v1 as tf
result = {}
for symbol in json.load(open(sys.argv[1])):
    value = tf
    try:
        for part in symbol.split(".")[1:]:
            value = getattr(value, part)
        found = inspect.signature(value).parameters.values()
    except Exception:
        continue
    result[symbol] = [[p.name, p.kind.name] for p in found]
print("ANSWER" + json.dumps(result))
"""


@pytest.mark.tensorflow
def test_arguments_stand_in_the_order_of_tensorflow(tensorflow: Callable[..., str], tmp_path: Path) -> None:
    asked = tmp_path / "symbols.json"
    asked.write_text(json.dumps(HERE))
    answer = tensorflow(SIGNATURES, asked)
    theirs = json.loads(answer[answer.index("ANSWER") + 6 :])
    assert len(theirs) > 250
    wrong = {}
    for symbol, wanted in theirs.items():
        own = parameters(thing(symbol))
        # Keras is another one there, and its layers are none of TF1's.
        if own is None or symbol.startswith("tf.keras.") or symbol in OTHERWISE:
            continue
        names = [name for name, kind in wanted if kind == "POSITIONAL_OR_KEYWORD"]
        names = [name for name in names if name not in SINCE]
        mine = [name for name, p in own.items() if p.kind is p.POSITIONAL_OR_KEYWORD and name != "_sentinel"]
        mine = [name for name in mine if name not in SINCE]
        common = min(len(names), len(mine))
        # What came at the end since TF1 need not be here; what is here has its place.
        late = set(names[common:])
        if mine[:common] != names[:common] or late - LATE:
            wrong[symbol] = (names, mine)
    assert not wrong, "\n".join(f"{symbol}: {a}\n  here {b}" for symbol, (a, b) in wrong.items())


# Arguments at the end that came after TF1.
LATE = {"axis", "beta", "name", "output_signature", "rerandomize_each_iteration", "force_deterministic"}

# Whose arguments differ, with the reason.
OTHERWISE = {
    "tf.data.TextLineDataset": "files are read one after another: no num_parallel_reads yet",
    "tf.nn.swish": "TF1's took the features alone; beta came since",
}
