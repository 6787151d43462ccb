"""Variables that begin with the values of another training, its vocabularies matched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphflow import logging
from graphflow.graph import Graph, GraphKeys, control_dependencies, get_default_graph
from graphflow.opdef import constant
from graphflow.session import Session
from graphflow.train.checkpoint_utils import init_from_checkpoint
from graphflow.train.checkpoints import NewCheckpointReader, latest_checkpoint
from graphflow.variables import Variable


class VocabInfo(
    NamedTuple(
        "VocabInfo",
        [
            ("new_vocab", str), ("new_vocab_size", int), ("num_oov_buckets", int), ("old_vocab", str),
            ("old_vocab_size", int), ("backup_initializer", Any), ("axis", int),
        ],
    )
):  # fmt: skip
    """How the rows of a variable follow a vocabulary, before and now.

    Args:
      new_vocab: the file of the vocabulary that the variable has now, a word to a line.
      new_vocab_size: how many words of it count.
      num_oov_buckets: further rows for words that are not in it.
      old_vocab: the file of the vocabulary that the checkpoint's variable had.
      old_vocab_size: how many words of it count; -1: all.
      backup_initializer: makes the rows of words that are new; None: zeros.
      axis: 0: the rows follow the vocabulary (embeddings); 1: the columns do (the classes of a last layer).
    """

    def __new__(
        cls,
        new_vocab: str,
        new_vocab_size: int,
        num_oov_buckets: int,
        old_vocab: str,
        old_vocab_size: int = -1,
        backup_initializer: Any = None,
        axis: int = 0,
    ) -> VocabInfo:
        """Checks what is given."""
        if axis not in (0, 1):
            raise ValueError(f"axis should be 0 or 1, got {axis}")
        return super().__new__(
            cls,
            new_vocab,
            new_vocab_size,
            num_oov_buckets,
            old_vocab,
            old_vocab_size,
            backup_initializer,
            axis,
        )


def warm_start(
    ckpt_to_initialize_from: Any,
    vars_to_warm_start: Any = ".*",
    var_name_to_vocab_info: Mapping[str, VocabInfo] | None = None,
    var_name_to_prev_var_name: Mapping[str, str] | None = None,
) -> None:
    """Lets the initializers of variables read a checkpoint of another training.

    Args:
      ckpt_to_initialize_from: a checkpoint, or a folder whose newest one is meant.
      vars_to_warm_start: a regular expression on the names of trainable variables; or a list of them, on all
        variables; or a list of variables; or None: only those in `var_name_to_vocab_info`.
      var_name_to_vocab_info: from names of variables to how their vocabularies are matched.
      var_name_to_prev_var_name: from names of variables to their names in the checkpoint.

    Raises:
      ValueError: a variable is not in the checkpoint, has another shape there, or a name fits no variable.
    """
    vocabularies = dict(var_name_to_vocab_info or {})
    renamed = dict(var_name_to_prev_var_name or {})
    path = latest_checkpoint(ckpt_to_initialize_from) if os.path.isdir(ckpt_to_initialize_from) else None
    reader = NewCheckpointReader(path or ckpt_to_initialize_from)
    chosen = {variable.op.name: variable for variable in _chosen(vars_to_warm_start)}
    every = {
        variable.op.name: variable
        for variable in get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES)
    }
    for name in vocabularies:
        if name in every:
            chosen[name] = every[name]
    unused = [name for name in (*vocabularies, *renamed) if name not in chosen]
    if unused:
        raise ValueError(
            f"no variable that is warm-started is named {', '.join(map(repr, unused))}; "
            f"there are {', '.join(map(repr, chosen)) or 'none'}"
        )
    for name, variable in chosen.items():
        stored = renamed.get(name, name)
        if name in vocabularies:
            if not reader.has_tensor(stored):
                raise ValueError(f"{stored!r} is not in the checkpoint {path or ckpt_to_initialize_from}")
            value = _remapped(reader.get_tensor(stored), variable, vocabularies[name])
            with variable.graph.as_default(), control_dependencies(None):
                variable.initialize_with(constant(value))
        else:
            init_from_checkpoint(path or ckpt_to_initialize_from, {stored: variable})
    logging.info("Warm-started %d variables from %s", len(chosen), ckpt_to_initialize_from)


def _chosen(which: Any) -> Sequence[Variable]:
    graph = get_default_graph()
    if which is None:
        return ()
    if isinstance(which, str):
        return graph.get_collection(GraphKeys.TRAINABLE_VARIABLES, scope=which)
    if not isinstance(which, Sequence):
        raise ValueError(f"vars_to_warm_start must be a string, a list or None, got {which!r}")
    if all(isinstance(item, str) for item in which):
        found = [v for item in which for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES, scope=item)]
        return list(dict.fromkeys(found))
    if all(isinstance(item, Variable) for item in which):
        return which
    raise ValueError("vars_to_warm_start must be a list of strings or a list of variables, not of both")


def _words(path: str, size: int) -> list[bytes]:
    with open(path, "rb") as file:
        words = file.read().splitlines()
    return words if size < 0 else words[:size]


def _remapped(old: np.ndarray[Any, Any], variable: Variable, info: VocabInfo) -> np.ndarray[Any, Any]:
    """Returns the value that the variable begins with: rows of known words from before, others fresh."""
    shape = tuple(variable.shape.as_list())
    known = {word: row for row, word in enumerate(_words(info.old_vocab, info.old_vocab_size))}
    words = _words(info.new_vocab, info.new_vocab_size)
    if len(words) + info.num_oov_buckets != shape[info.axis]:
        raise ValueError(
            f"variable {variable.op.name!r} has {shape[info.axis]} entries on axis {info.axis}, but its vocabulary "
            f"has {len(words)} words and {info.num_oov_buckets} further buckets"
        )
    dtype = variable.dtype.base_dtype.as_numpy_dtype
    if info.backup_initializer is None:
        value = np.zeros([size or 0 for size in shape], dtype)
    else:
        with Graph().as_default(), Session() as session:
            value = np.array(session.run(info.backup_initializer(shape, dtype=variable.dtype.base_dtype)))
    new = np.moveaxis(value, info.axis, 0)
    before = np.moveaxis(old, info.axis, 0)
    if new.shape[1:] != before.shape[1:]:
        raise ValueError(
            f"variable {variable.op.name!r} has shape {shape}, in the checkpoint {tuple(old.shape)}: only axis "
            f"{info.axis} may differ"
        )
    for row, word in enumerate(words):
        if word in known:
            new[row] = before[known[word]]
    return value
