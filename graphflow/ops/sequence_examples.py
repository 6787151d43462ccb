"""Batches of serialized SequenceExamples; examples, and single sequences, are parsed in `parsing.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.graph import name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops import rules
from graphflow.ops.messages import messages
from graphflow.ops.parsing import Plan, dense_feature, keys_of, sparse_feature, texts_of, values_of
from graphflow.ops.rules import Array, refuse
from graphflow.shapes import TensorShape

_ALLOWED = "{float32|int64|string}"
_SPLITS = "{int32|int64}"
_OUTPUTS = (
    "context_sparse_indices:Ncontext_sparse*int64; context_sparse_values:list(context_sparse_types); "
    "context_sparse_shapes:Ncontext_sparse*int64; context_dense_values:list(Tcontext_dense); {}"
    "feature_list_sparse_indices:Nfeature_list_sparse*int64; "
    "feature_list_sparse_values:list(feature_list_sparse_types); "
    "feature_list_sparse_shapes:Nfeature_list_sparse*int64; "
    "feature_list_dense_values:list(feature_list_dense_types); feature_list_dense_lengths:Nfeature_list_dense*int64"
)
_ATTRS = (
    f"Ncontext_sparse:int>=0=0; Nfeature_list_sparse:int>=0=0; Nfeature_list_dense:int>=0=0; "
    f"context_sparse_types:list(type){_ALLOWED}>=0=[]; Tcontext_dense:list(type){_ALLOWED}>=0=[]; "
    f"feature_list_dense_types:list(type){_ALLOWED}>=0=[]; context_dense_shapes:list(shape)>=0=[]; "
    f"feature_list_sparse_types:list(type){_ALLOWED}>=0=[]; feature_list_dense_shapes:list(shape)>=0=[]"
)


def _matrices(count: int, rank: int) -> list[TensorShape]:
    return [TensorShape([None, rank])] * count + [TensorShape([None])] * count + [TensorShape([rank])] * count


def _shapes(node: Any) -> list[TensorShape]:
    attrs = node.attrs
    batch = rules.rank_exactly(node, 0, 1, "serialized")
    if node.op_def.name == "ParseSequenceExample":
        rules.rank_exactly(node, 1, 1, "debug_name")
    else:
        rules.rank_at_most(node, 1, 1, "debug_name")
    lists = attrs["feature_list_dense_shapes"]
    result = _matrices(attrs["Ncontext_sparse"], 2)
    result += [batch.concatenate(shape) for shape in attrs["context_dense_shapes"]]
    result += [TensorShape([None])] * (2 * len(attrs.get("context_ragged_value_types", ())))
    result += _matrices(attrs["Nfeature_list_sparse"], 3)
    result += [batch.concatenate([None]).concatenate(shape) for shape in lists] + [batch] * len(lists)
    return result + [TensorShape([None])] * (3 * len(attrs.get("feature_list_ragged_value_types", ())))


class _Batch:
    """Serialized sequences, read, and their names for errors."""

    def __init__(self, serialized: Array, names: Array) -> None:
        if serialized.ndim != 1:
            raise refuse(f"serialized must be a vector, has shape {list(serialized.shape)}")
        if names.size not in (0, len(serialized)):
            raise refuse(f"debug_name has {names.size} elements for {len(serialized)} examples")
        read = [messages().parse_sequence(bytes(item)) for item in serialized]
        self.contexts = [context for context, _ in read]
        self.lists = [lists for _, lists in read]
        known = [bytes(name).decode(errors="replace") for name in names.reshape(-1)] or [""] * len(read)
        self._labels = [f"Name: {name or '<unknown>'}, " for name in known]

    def context(self, key: str, dtype: DType) -> list[Array | None]:
        """The values that the contexts have of a feature; None: it is missing."""
        found = []
        for label, context in zip(self._labels, self.contexts, strict=True):
            feature = context.get(key, ("", ()))
            found.append(values_of(feature, dtype, label, key) if feature[0] else None)
        return found

    def steps(self, key: str, dtype: DType) -> list[list[Array]]:
        """The values of each step of a feature list of each example."""
        return [
            [values_of(feature, dtype, label, key) for feature in lists.get(key, ())]
            for label, lists in zip(self._labels, self.lists, strict=True)
        ]

    def dense_context(self, key: str, dtype: DType, shape: TensorShape, default: Array) -> Array:
        return dense_feature(self.context(key, dtype), dtype, shape, default, self._labels, key)

    def dense_list(self, key: str, dtype: DType, shape: TensorShape, may_miss: bool) -> tuple[Array, Array]:
        """A feature list of all examples, filled up to the longest one, and how long each is."""
        for label, lists in zip(self._labels, self.lists, strict=True):
            if key not in lists and not may_miss:
                raise refuse(
                    f"{label}Feature list '{key}' is required but could not be found.  Did you mean to include it in"
                    " feature_list_dense_missing_assumed_empty or feature_list_dense_defaults?"
                )
        rows = self.steps(key, dtype)
        lengths = np.array([len(row) for row in rows], np.int64)
        sizes = [size or 0 for size in shape.as_list()]
        result: Array = np.empty((len(rows), int(lengths.max(initial=0)), *sizes), dtype.numpy)
        result[...] = b"" if dtype is dtypes.string else 0
        for place, row, label in zip(result, rows, self._labels, strict=True):
            made = dense_feature(row, dtype, shape, np.empty(0, dtype.numpy), [label] * len(row), key)
            place[: len(row)] = made
        return result, lengths

    def sparse_list(self, key: str, dtype: DType) -> tuple[Array, Array, Array]:
        """A feature list of all examples as a sparse tensor: example, step, place."""
        rows = self.steps(key, dtype)
        indices, values, shape = sparse_feature([step for row in rows for step in row], dtype)
        lengths = np.array([len(row) for row in rows], np.int64)
        example = np.repeat(np.arange(len(rows)), lengths)[indices[:, 0]]
        step = indices[:, 0] - np.concatenate([[0], np.cumsum(lengths)])[example]
        full = np.array([len(rows), lengths.max(initial=0), shape[1]], np.int64)
        return np.stack([example, step, indices[:, 1]], 1).astype(np.int64), values, full


def _check_apart(what: str, **kinds: Sequence[str]) -> None:
    """Refuses a key that is wanted in two forms."""
    seen: dict[str, str] = {}
    for kind, keys in kinds.items():
        for key in keys:
            if seen.setdefault(key, kind) != kind:
                raise refuse(f"{what} feature {key} cannot be both {kind} and {seen[key]}")


def _splits(lengths: Sequence[int], dtype: DType) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(dtype.numpy)


def _joined(rows: Sequence[Array], dtype: DType) -> Array:
    return np.concatenate(rows) if rows else np.empty(0, dtype.numpy)


def _parsed(
    batch: _Batch, keys: Sequence[Sequence[str]], may_miss: Sequence[bool], defaults: Sequence[Array],
    attrs: Mapping[str, Any],
) -> tuple[list[list[Array]], list[list[Array]]]:  # fmt: skip
    """The outputs for sparse and dense features of the contexts, and of the feature lists."""
    context_sparse, context_dense, list_sparse, list_dense = keys
    sparse = [
        sparse_feature(
            [np.empty(0, dtype.numpy) if row is None else row for row in batch.context(key, dtype)], dtype
        )
        for key, dtype in zip(context_sparse, attrs["context_sparse_types"], strict=True)
    ]
    dense = [
        batch.dense_context(*parts)
        for parts in zip(
            context_dense, attrs["Tcontext_dense"], attrs["context_dense_shapes"], defaults, strict=True
        )
    ]
    sparse_lists = [
        batch.sparse_list(*parts)
        for parts in zip(list_sparse, attrs["feature_list_sparse_types"], strict=True)
    ]
    dense_lists = [
        batch.dense_list(*parts)
        for parts in zip(
            list_dense,
            attrs["feature_list_dense_types"],
            attrs["feature_list_dense_shapes"],
            may_miss,
            strict=True,
        )
    ]
    return (
        [*([triple[i] for triple in sparse] for i in range(3)), dense],
        [
            *([triple[i] for triple in sparse_lists] for i in range(3)),
            *([d[i] for d in dense_lists] for i in range(2)),
        ],
    )


@op("ParseSequenceExample", "serialized:string; debug_name:string; context_dense_defaults:list(Tcontext_dense)",
    _OUTPUTS.format(""),
    "feature_list_dense_missing_assumed_empty:list(string)>=0; context_sparse_keys:list(string)>=0; "
    "context_dense_keys:list(string)>=0; feature_list_sparse_keys:list(string)>=0; "
    f"feature_list_dense_keys:list(string)>=0; Ncontext_dense:int>=0=0; {_ATTRS}",
    infer=_shapes, differentiable=False)  # fmt: skip
def parse_sequence_example_op(
    serialized: Array, debug_name: Array, context_dense_defaults: list[Array], *,
    feature_list_dense_missing_assumed_empty: Sequence[str], context_sparse_keys: Sequence[str],
    context_dense_keys: Sequence[str], feature_list_sparse_keys: Sequence[str],
    feature_list_dense_keys: Sequence[str], context_sparse_types: Sequence[DType], Tcontext_dense: Sequence[DType],
    feature_list_dense_types: Sequence[DType], context_dense_shapes: Sequence[TensorShape],
    feature_list_sparse_types: Sequence[DType], feature_list_dense_shapes: Sequence[TensorShape],
) -> tuple[list[Array], ...]:  # fmt: skip
    """The contexts and the feature lists of a vector of serialized SequenceExamples."""
    lists = keys_of(feature_list_dense_keys)
    empty = set(keys_of(feature_list_dense_missing_assumed_empty))
    keys = [
        keys_of(context_sparse_keys),
        keys_of(context_dense_keys),
        keys_of(feature_list_sparse_keys),
        lists,
    ]
    context, of_lists = _parsed(
        _Batch(serialized, debug_name), keys, [key in empty for key in lists], context_dense_defaults,
        {
            "context_sparse_types": context_sparse_types, "Tcontext_dense": Tcontext_dense,
            "context_dense_shapes": context_dense_shapes, "feature_list_sparse_types": feature_list_sparse_types,
            "feature_list_dense_types": feature_list_dense_types,
            "feature_list_dense_shapes": feature_list_dense_shapes,
        },
    )  # fmt: skip
    return (*context, *of_lists)


@op("ParseSequenceExampleV2",
    "serialized:string; debug_name:string; context_sparse_keys:string; context_dense_keys:string; "
    "context_ragged_keys:string; feature_list_sparse_keys:string; feature_list_dense_keys:string; "
    "feature_list_ragged_keys:string; feature_list_dense_missing_assumed_empty:bool; "
    "context_dense_defaults:list(Tcontext_dense)",
    _OUTPUTS.format(
        "context_ragged_values:list(context_ragged_value_types); "
        "context_ragged_row_splits:list(context_ragged_split_types); "
    )
    + "; feature_list_ragged_values:list(feature_list_ragged_value_types); "
    "feature_list_ragged_outer_splits:list(feature_list_ragged_split_types); "
    "feature_list_ragged_inner_splits:list(feature_list_ragged_split_types)",
    f"{_ATTRS}; context_ragged_value_types:list(type){_ALLOWED}>=0=[]; "
    f"context_ragged_split_types:list(type){_SPLITS}>=0=[]; "
    f"feature_list_ragged_value_types:list(type){_ALLOWED}>=0=[]; "
    f"feature_list_ragged_split_types:list(type){_SPLITS}>=0=[]",
    infer=_shapes, differentiable=False)  # fmt: skip
def parse_sequence_example_v2_op(
    serialized: Array, debug_name: Array, context_sparse_keys: Array, context_dense_keys: Array,
    context_ragged_keys: Array, feature_list_sparse_keys: Array, feature_list_dense_keys: Array,
    feature_list_ragged_keys: Array, feature_list_dense_missing_assumed_empty: Array,
    context_dense_defaults: list[Array], *, context_sparse_types: Sequence[DType], Tcontext_dense: Sequence[DType],
    feature_list_dense_types: Sequence[DType], context_dense_shapes: Sequence[TensorShape],
    feature_list_sparse_types: Sequence[DType], feature_list_dense_shapes: Sequence[TensorShape],
    context_ragged_value_types: Sequence[DType], context_ragged_split_types: Sequence[DType],
    feature_list_ragged_value_types: Sequence[DType], feature_list_ragged_split_types: Sequence[DType],
) -> tuple[list[Array], ...]:  # fmt: skip
    """The contexts and the feature lists of a vector of serialized SequenceExamples, ragged ones as rows and splits."""
    named = (context_sparse_keys, context_dense_keys, feature_list_sparse_keys, feature_list_dense_keys)
    keys = [keys_of(part.reshape(-1).tolist()) for part in named]
    context_ragged, list_ragged = (
        keys_of(part.reshape(-1).tolist()) for part in (context_ragged_keys, feature_list_ragged_keys)
    )
    _check_apart("Context", sparse=keys[0], dense=keys[1], ragged=context_ragged)
    _check_apart("Sequence", sparse=keys[2], dense=keys[3], ragged=list_ragged)
    batch = _Batch(serialized, debug_name)
    context, of_lists = _parsed(
        batch, keys, feature_list_dense_missing_assumed_empty.reshape(-1).tolist(), context_dense_defaults,
        {
            "context_sparse_types": context_sparse_types, "Tcontext_dense": Tcontext_dense,
            "context_dense_shapes": context_dense_shapes, "feature_list_sparse_types": feature_list_sparse_types,
            "feature_list_dense_types": feature_list_dense_types,
            "feature_list_dense_shapes": feature_list_dense_shapes,
        },
    )  # fmt: skip
    ragged: list[list[Array]] = [[], []]
    for key, dtype, split in zip(
        context_ragged, context_ragged_value_types, context_ragged_split_types, strict=True
    ):
        rows = [np.empty(0, dtype.numpy) if row is None else row for row in batch.context(key, dtype)]
        ragged[0].append(_joined(rows, dtype))
        ragged[1].append(_splits([len(row) for row in rows], split))
    ragged_lists: list[list[Array]] = [[], [], []]
    for key, dtype, split in zip(
        list_ragged, feature_list_ragged_value_types, feature_list_ragged_split_types, strict=True
    ):
        examples = batch.steps(key, dtype)
        steps = [step for example in examples for step in example]
        ragged_lists[0].append(_joined(steps, dtype))
        ragged_lists[1].append(_splits([len(example) for example in examples], split))
        ragged_lists[2].append(_splits([len(step) for step in steps], split))
    return (*context, *ragged, *of_lists, *ragged_lists)


def parse_sequence_example(
    serialized: Any,
    context_features: Mapping[str, Any] | None = None,
    sequence_features: Mapping[str, Any] | None = None,
    example_names: Any = None,
    name: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Returns the features of a vector of serialized `SequenceExample` messages.

    Args:
      serialized: string vector [batch].
      context_features: features of the whole, as for `parse_example`.
      sequence_features: `VarLenFeature` or `FixedLenSequenceFeature` by name, with a value per step.
      example_names: string vector of names for messages of errors.
      name: a name.

    Returns:
      Three dicts: tensors and SparseTensors of the contexts, and of the lists ([batch, step, ...], filled up to the
      longest list), and for dense lists how long each is: int64 [batch].

    Raises:
      ValueError: if there are no features.
    """
    if not context_features and not sequence_features:
        raise ValueError("Both `context_features` and `sequence_features` argument are None, but at least one should "
                         "have values.")  # fmt: skip
    context, lists = Plan(context_features), Plan(sequence_features, lists=True)
    with name_scope(name, "ParseSequenceExample", [serialized]):
        text = convert_to_tensor(serialized, dtypes.string, name="serialized")
        named = texts_of([]) if example_names is None else convert_to_tensor(example_names, dtypes.string)
        parts = emit.ParseSequenceExampleV2(
            text, named, texts_of(list(context.sparse)), texts_of(list(context.dense)), texts_of([]),
            texts_of(list(lists.sparse)), texts_of(list(lists.dense)), texts_of([]),
            np.array([key in lists.may_miss for key in lists.dense], np.bool_), context.defaults(),
            Ncontext_sparse=len(context.sparse), Nfeature_list_sparse=len(lists.sparse),
            Nfeature_list_dense=len(lists.dense), context_sparse_types=list(context.sparse.values()),
            Tcontext_dense=[d[0] for d in context.dense.values()],
            context_dense_shapes=[d[1] for d in context.dense.values()],
            feature_list_sparse_types=list(lists.sparse.values()),
            feature_list_dense_types=[d[0] for d in lists.dense.values()],
            feature_list_dense_shapes=[d[1] for d in lists.dense.values()], context_ragged_value_types=[],
            context_ragged_split_types=[], feature_list_ragged_value_types=[], feature_list_ragged_split_types=[],
        )  # fmt: skip
        lengths = dict(zip(lists.dense, parts[10], strict=True))
        return context.results(parts[:4]), lists.results(parts[6:10]), lengths


__all__ = ["parse_sequence_example"]
