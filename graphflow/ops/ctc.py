"""Connectionist temporal classification: the loss over all alignments of a label sequence, and decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import convert_to_tensor, emit, op
from graphflow.ops.elementwise import cast
from graphflow.ops.layout import gather, transpose
from graphflow.ops.rules import Array, rank_exactly
from graphflow.ops.source import zeros_like
from graphflow.ops.sparse_tensor import SparseTensor, as_sparse
from graphflow.shapes import TensorShape


def _refuse(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _check_lengths(inputs: Array, lengths: Array) -> None:
    if inputs.ndim != 3:
        raise _refuse(f"inputs is not a 3-Tensor, has shape {list(inputs.shape)}")
    if not inputs.shape[0]:
        raise _refuse("inputs must have a non-zero number of time steps")
    if lengths.shape != inputs.shape[1:2]:
        raise _refuse(
            f"len(sequence_length) != batch_size. len(sequence_length): {list(lengths.shape)} batch_size: "
            f"{inputs.shape[1]}"
        )
    if (lengths > inputs.shape[0]).any() or (lengths < 0).any():
        raise _refuse(f"sequence_length {lengths.tolist()} must lie in [0, {inputs.shape[0]}]")


# ---------------------------------------------------------------------------- the loss


def _loss_shape(node: Any) -> list[TensorShape]:
    inputs = rank_exactly(node, 0, 3, "inputs")
    rows = rank_exactly(node, 1, 2, "labels_indices")
    rows[:1].merge_with(rank_exactly(node, 2, 1, "labels_values"))
    lengths = rank_exactly(node, 3, 1, "sequence_length")
    batch = inputs[1:2].merge_with(lengths)
    return [batch, inputs[:1].concatenate(batch).concatenate(inputs[2:])]


def _shifted(row: Array, by: int) -> Array:
    """A row of logarithms moved to the right by one or two places, filled up with zero probability."""
    result = np.full(row.shape, -np.inf, row.dtype)
    result[by:] = row[: len(row) - by]
    return result


def _alignments(log_y: Array, path: Array, blank: int, merge: bool) -> Array:
    """[time, places]: the log probability of all beginnings that end at a place of the path with blanks."""
    skips = np.zeros(len(path), np.bool_)
    skips[2:] = path[2:] != blank
    if merge:
        skips[2:] &= path[2:] != path[:-2]
    stays = (path == blank) | merge
    result = np.full((len(log_y), len(path)), -np.inf, log_y.dtype)
    result[0, :2] = log_y[0, path[:2]]
    for t in range(1, len(log_y)):
        before = result[t - 1]
        total = np.logaddexp(np.where(stays, before, -np.inf), _shifted(before, 1))
        total = np.logaddexp(total, np.where(skips, _shifted(before, 2), -np.inf))
        result[t] = total + log_y[t, path]
    return result


def _one_loss(log_y: Array, labels: Sequence[int], merge: bool) -> tuple[Any, Array]:
    """The loss of one example and its gradient with respect to the logits."""
    blank = log_y.shape[1] - 1
    path = np.full(2 * len(labels) + 1, blank, np.int64)
    path[1::2] = labels
    forward = _alignments(log_y, path, blank, merge)
    # Backwards it is the same with time and path turned round.
    backward = _alignments(log_y[::-1], path[::-1].copy(), blank, merge)[::-1, ::-1]
    ends = forward[-1, -2:] if len(path) > 1 else forward[-1]
    total = np.logaddexp.reduce(ends)
    if total == -np.inf:
        return np.inf, np.exp(log_y)  # no alignment is possible
    chance = np.exp(forward + backward - log_y[:, path] - total)
    taken = np.zeros_like(log_y)
    np.add.at(taken.T, path, np.where(np.isnan(chance), 0, chance).T)
    return -total, np.exp(log_y) - taken


_LOSS_ATTRS = (
    "preprocess_collapse_repeated:bool=false; ctc_merge_repeated:bool=true; "
    "ignore_longer_outputs_than_inputs:bool=false; T:type{float32|float64}=float32"
)


@op("CTCLoss", "inputs:T; labels_indices:int64; labels_values:int32; sequence_length:int32", "loss:T; gradient:T",
    _LOSS_ATTRS, infer=_loss_shape)  # fmt: skip
def ctc_loss_op(
    inputs: Array, labels_indices: Array, labels_values: Array, sequence_length: Array, *,
    preprocess_collapse_repeated: bool = False, ctc_merge_repeated: bool = True,
    ignore_longer_outputs_than_inputs: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Minus the log probability of the labels under all alignments, and its gradient; the last class is the blank."""
    _check_lengths(inputs, sequence_length)
    time, batch, classes = inputs.shape
    labels: list[list[int]] = [[] for _ in range(batch)]
    ended: set[int] = set()  # what is no class ends the labels of an example
    for i in np.lexsort(labels_indices.T[::-1]).tolist() if len(labels_indices) else ():
        row, value = int(labels_indices[i, 0]), int(labels_values[i])
        if not 0 <= row < batch:
            raise _refuse(f"label batch index {row} must be within [0, {batch})")
        if value >= classes - 1:
            ended.add(row)
            continue
        if value < 0 or row in ended:
            raise _refuse(
                f"Saw a non-null label (index >= num_classes - 1) following a null label, or out of range: "
                f"label {value} of example {row}, num_classes: {classes}"
            )
        if not (preprocess_collapse_repeated and labels[row] and labels[row][-1] == value):
            labels[row].append(value)
    for b, own in enumerate(labels):
        if not own:
            raise _refuse(f"Labels length is zero in batch {b}")
    loss, gradient = np.zeros(batch, inputs.dtype), np.zeros_like(inputs)
    for b in range(batch):
        length = int(sequence_length[b])
        if not length:
            continue
        needed = len(labels[b])
        if needed > length:
            if ignore_longer_outputs_than_inputs:
                continue
            raise _refuse(
                f"Not enough time for target transition sequence (required: {needed}, available: {length}){b}You can "
                "turn this error into a warning by using the flag ignore_longer_outputs_than_inputs"
            )
        log_y = _log_softmax(inputs[:length, b])
        loss[b], gradient[:length, b] = _one_loss(log_y, labels[b], ctc_merge_repeated)
    return loss, gradient


@ctc_loss_op.gradient
def ctc_loss_gradient(op: Any, d_loss: Tensor | None, d_gradient: Tensor | None) -> list[Any]:
    """The gradient that the forward pass has made, scaled; it has none itself."""
    if d_loss is None:
        return [None] * 4
    ready = emit.PreventGradient(
        op.outputs[1], message="Currently there is no way to take the second derivative of ctc_loss."
    )
    return [emit.Reshape(d_loss, np.array([1, -1, 1], np.int32)) * ready, None, None, None]


@op("CTCLossV2", "inputs:float32; labels_indices:int64; labels_values:int32; sequence_length:int32",
    "loss:float32; gradient:float32",
    "preprocess_collapse_repeated:bool=false; ctc_merge_repeated:bool=true; "
    "ignore_longer_outputs_than_inputs:bool=false", infer=_loss_shape)  # fmt: skip
def ctc_loss_v2_op(
    inputs: Array, labels_indices: Array, labels_values: Array, sequence_length: Array, *,
    preprocess_collapse_repeated: bool = False, ctc_merge_repeated: bool = True,
    ignore_longer_outputs_than_inputs: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """As CTCLoss, but the first class is the blank, labels may be empty, and what cannot be has an infinite loss."""
    _check_lengths(inputs, sequence_length)
    _, batch, classes = inputs.shape
    labels: list[list[int]] = [[] for _ in range(batch)]
    for i in np.lexsort(labels_indices.T[::-1]).tolist() if len(labels_indices) else ():
        row, value = int(labels_indices[i, 0]), int(labels_values[i])
        if not 0 <= row < batch or not 0 < value < classes:
            raise _refuse(
                f"label {value} of example {row}: labels lie in [1, {classes}), examples in [0, {batch})"
            )
        if not (preprocess_collapse_repeated and labels[row] and labels[row][-1] == value):
            labels[row].append(value)
    loss, gradient = np.zeros(batch, inputs.dtype), np.zeros_like(inputs)
    for b, own in enumerate(labels):
        length = int(sequence_length[b])
        if not length or (len(own) > length and ignore_longer_outputs_than_inputs):
            continue
        # The blank comes last in what is shared with CTCLoss.
        log_y = np.roll(_log_softmax(inputs[:length, b]), -1, axis=-1)
        loss[b], slope = _one_loss(log_y, [value - 1 for value in own], ctc_merge_repeated)
        gradient[:length, b] = np.roll(slope, 1, axis=-1)
    return loss, gradient


ctc_loss_v2_op.gradient(ctc_loss_gradient)


# ---------------------------------------------------------------------------- decoders


def _packed(sequences: Sequence[Sequence[int]]) -> tuple[Array, Array, Array]:
    """Sequences as the three parts of a sparse matrix."""
    places = [(row, i) for row, sequence in enumerate(sequences) for i in range(len(sequence))]
    values = [value for sequence in sequences for value in sequence]
    longest = max((len(sequence) for sequence in sequences), default=0)
    return (
        np.array(places, np.int64).reshape(-1, 2),
        np.array(values, np.int64),
        np.array([len(sequences), longest], np.int64),
    )


def _greedy_shape(node: Any) -> list[TensorShape]:
    inputs = rank_exactly(node, 0, 3, "inputs")
    batch = inputs[1:2].merge_with(rank_exactly(node, 1, 1, "sequence_length")).as_list()[0]
    return [TensorShape([None, 2]), TensorShape([None]), TensorShape([2]), TensorShape([batch, 1])]


@op("CTCGreedyDecoder", "inputs:T; sequence_length:int32",
    "decoded_indices:int64; decoded_values:int64; decoded_shape:int64; log_probability:T",
    "merge_repeated:bool=false; blank_index:int=-1; T:type{float32|float64}=float32", infer=_greedy_shape,
    differentiable=False)  # fmt: skip
def ctc_greedy_decoder_op(
    inputs: Array, sequence_length: Array, *, merge_repeated: bool = False, blank_index: int = -1
) -> tuple[Array, Array, Array, Array]:
    """The likeliest class of each step, without blanks, and minus the sum of its logits."""
    _check_lengths(inputs, sequence_length)
    classes = inputs.shape[2]
    blank = blank_index + classes if blank_index < 0 else blank_index
    if not 0 <= blank < classes:
        raise _refuse(f"blank_index expected to be between {-classes} and {classes - 1}, got {blank_index}")
    best = inputs.argmax(axis=2)
    sequences, scores = [], np.zeros((inputs.shape[1], 1), inputs.dtype)
    for b, length in enumerate(sequence_length.tolist()):
        steps = best[:length, b]
        scores[b, 0] = -np.take_along_axis(inputs[:length, b], steps[:, None], axis=1).sum()
        kept = steps != blank
        if merge_repeated:
            kept[1:] &= steps[1:] != steps[:-1]
        sequences.append(steps[kept].tolist())
    return (*_packed(sequences), scores)


class _Beam:
    """A prefix of labels with the log probabilities of its ending in a label, in a blank, or either."""

    __slots__ = ("blank", "children", "label", "labelled", "old_blank", "old_total", "parent", "total")

    def __init__(self, parent: _Beam | None, label: int) -> None:
        self.parent, self.label = parent, label
        self.children: dict[int, _Beam] = {}
        self.old_blank = self.old_total = -np.inf
        self.drop()

    def drop(self) -> None:
        """Leaves the search."""
        self.total = self.blank = self.labelled = -np.inf

    def sequence(self, merge_repeated: bool) -> list[int]:
        """The labels from the first one on."""
        labels: list[int] = []
        beam: _Beam | None = self
        previous = -1
        while beam is not None and beam.parent is not None:
            if not merge_repeated or beam.label != previous:
                labels.append(beam.label)
            previous = beam.label
            beam = beam.parent
        return labels[::-1]


def _beams(log_y: Array, width: int) -> list[_Beam]:
    """The likeliest prefixes of one example, best first."""
    blank = log_y.shape[1] - 1
    root = _Beam(None, -1)
    root.total = root.blank = 0.0
    leaves = [root]
    for row in log_y.tolist():
        branches = sorted(leaves, key=lambda beam: -beam.total)
        for beam in branches:
            beam.old_blank, beam.old_total = beam.blank, beam.total
        for beam in branches:
            parent = beam.parent
            if parent is not None:
                if parent.total != -np.inf:
                    before = parent.old_blank if beam.label == parent.label else parent.old_total
                    beam.labelled = float(np.logaddexp(beam.labelled, before))
                beam.labelled += row[beam.label]
            beam.blank = beam.old_total + row[blank]
            beam.total = float(np.logaddexp(beam.blank, beam.labelled))
        leaves = list(branches)

        def fits(total: float, leaves: list[_Beam] = leaves) -> bool:
            return total > -np.inf and (len(leaves) < width or total > min(leaf.total for leaf in leaves))

        for beam in branches:
            if not fits(beam.old_total):
                continue
            for label in range(blank):
                child = beam.children.get(label)
                if child is None:
                    child = beam.children[label] = _Beam(beam, label)
                if child.total != -np.inf:
                    continue
                before = beam.old_blank if label == beam.label else beam.old_total
                child.blank = -np.inf
                child.labelled = child.total = row[label] + before
                if not fits(child.total):
                    child.old_blank = child.old_total = -np.inf
                    child.drop()
                    continue
                if len(leaves) == width:
                    worst = min(leaves, key=lambda leaf: leaf.total)
                    leaves.remove(worst)
                    worst.drop()
                leaves.append(child)
    return sorted(leaves, key=lambda beam: -beam.total)


def _beam_shape(node: Any) -> list[TensorShape]:
    inputs = rank_exactly(node, 0, 3, "inputs")
    batch = inputs[1:2].merge_with(rank_exactly(node, 1, 1, "sequence_length")).as_list()[0]
    paths = node.attrs["top_paths"]
    if paths > node.attrs["beam_width"]:
        raise ShapeError(f"top_paths {paths} must not be larger than beam_width {node.attrs['beam_width']}")
    return [
        *[TensorShape([None, 2])] * paths, *[TensorShape([None])] * paths, *[TensorShape([2])] * paths,
        TensorShape([batch, paths]),
    ]  # fmt: skip


@op("CTCBeamSearchDecoder", "inputs:T; sequence_length:int32",
    "decoded_indices:top_paths*int64; decoded_values:top_paths*int64; decoded_shape:top_paths*int64; "
    "log_probability:T",
    "beam_width:int>=1; top_paths:int>=1; merge_repeated:bool=true; T:type{float32|float64}=float32",
    infer=_beam_shape, differentiable=False)  # fmt: skip
def ctc_beam_search_decoder_op(
    inputs: Array, sequence_length: Array, *, beam_width: int, top_paths: int, merge_repeated: bool = True
) -> tuple[list[Array], list[Array], list[Array], Array]:
    """The likeliest label sequences over all their alignments, by keeping the best prefixes of each step."""
    _check_lengths(inputs, sequence_length)
    batch = inputs.shape[1]
    found: list[list[list[int]]] = [[] for _ in range(top_paths)]
    scores = np.zeros((batch, top_paths), inputs.dtype)
    for b, length in enumerate(sequence_length.tolist()):
        best = _beams(_log_softmax(inputs[:length, b].astype(np.float64)), beam_width)
        if len(best) < top_paths:
            raise _refuse(f"Less than {top_paths} paths were found for example {b}: {len(best)}")
        for path in range(top_paths):
            found[path].append(best[path].sequence(merge_repeated))
            scores[b, path] = best[path].total
    parts = [_packed(sequences) for sequences in found]
    return [p[0] for p in parts], [p[1] for p in parts], [p[2] for p in parts], scores


# ---------------------------------------------------------------------------- public functions


def ctc_loss(
    labels: Any, inputs: Any = None, sequence_length: Any = None, preprocess_collapse_repeated: bool = False,
    ctc_merge_repeated: bool = True, ignore_longer_outputs_than_inputs: bool = False, time_major: bool = True,
    logits: Any = None,
) -> Tensor:  # fmt: skip
    """Returns minus the log probability of label sequences, summed over all their alignments with the steps.

    Args:
      labels: an int32 sparse tensor [batch, longest]: the labels, in [0, classes - 1); the last class is the blank.
      inputs: logits [time, batch, classes]; `logits` is its new name.
      sequence_length: int32 [batch]: how many steps count.
      preprocess_collapse_repeated: whether repeated labels count once.
      ctc_merge_repeated: whether repeated classes of consecutive steps are one label.
      ignore_longer_outputs_than_inputs: whether labels that do not fit have loss zero, else they are refused.
      time_major: whether inputs have the time first, else the batch.
      logits: see `inputs`.

    Returns:
      [batch].

    Raises:
      TypeError: if labels are not sparse.
    """
    sparse = as_sparse(labels)
    values = convert_to_tensor(inputs if logits is None else logits, name="inputs")
    kind = values.dtype
    if kind in (dtypes.float16, dtypes.bfloat16):
        values = cast(values, dtypes.float32)
    if not time_major:
        values = transpose(values, [1, 0, 2])
    loss, _ = emit.CTCLoss(
        values, sparse.indices, sparse.values, convert_to_tensor(sequence_length, dtypes.int32),
        preprocess_collapse_repeated=preprocess_collapse_repeated, ctc_merge_repeated=ctc_merge_repeated,
        ignore_longer_outputs_than_inputs=ignore_longer_outputs_than_inputs,
    )  # fmt: skip
    result: Tensor = cast(loss, kind)
    return result


def ctc_loss_v2(
    labels: Any, logits: Any, label_length: Any, logit_length: Any, logits_time_major: bool = True,
    unique: Any = None, blank_index: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns minus the log probability of label sequences, summed over all their alignments with the steps.

    Args:
      labels: int32 [batch, longest], or a sparse tensor of that shape.
      logits: [time, batch, classes].
      label_length: int32 [batch]: how many labels count; of no use with sparse labels.
      logit_length: int32 [batch]: how many steps count.
      logits_time_major: whether logits have the time first, else the batch.
      unique: accepted: what `ctc_unique_labels` gives.
      blank_index: the blank; default 0, but sparse labels need it told. Negative ones count from the end.
      name: a name.

    Returns:
      [batch].

    Raises:
      ValueError: if labels are sparse and there is no blank_index, or the number of classes is not known.
    """
    sparse = not isinstance(labels, Tensor) and hasattr(labels, "dense_shape")
    if sparse and blank_index is None:
        raise ValueError("Argument `blank_index` must be provided when labels is a SparseTensor.")
    with name_scope(name, "ctc_loss", [logits]):
        values = convert_to_tensor(logits, name="logits")
        classes = values.shape.as_list()[2]
        if classes is None:
            raise ValueError(f"the number of classes must be known, logits have shape {values.shape}")
        blank = 0 if blank_index is None else blank_index + classes * (blank_index < 0)
        if not 0 <= blank < classes:
            raise ValueError(f"blank_index must lie in [{-classes}, {classes}), is {blank_index}")
        last = [*range(blank), *range(blank + 1, classes), blank]
        if sparse:
            given = as_sparse(labels)
            own = cast(given.values, dtypes.int32)
            if blank != classes - 1:
                values = gather(values, np.array(last, np.int32), axis=2)
                own = emit.SelectV2(own < blank, own, own - 1)
            moved = SparseTensor(given.indices, own, given.dense_shape)
            return ctc_loss(moved, values, logit_length, time_major=logits_time_major)
        kind = values.dtype
        values = cast(values if logits_time_major else transpose(values, [1, 0, 2]), dtypes.float32)
        lengths = cast(convert_to_tensor(label_length), dtypes.int32)
        steps = cast(convert_to_tensor(logit_length), dtypes.int32)
        if blank != classes - 1:
            values = gather(values, np.array(last, np.int32), axis=2)
        places, own = _dense_labels(
            cast(convert_to_tensor(labels, name="labels"), dtypes.int32), lengths, blank
        )
        # TensorFlow has a kernel for CTCLoss alone, which wants a label of each, and as many steps as labels.
        loss, _ = emit.CTCLoss(values, places, own, steps, ignore_longer_outputs_than_inputs=True)
        counts = emit.Less(
            emit.ExpandDims(emit.Range(0, emit.Shape(values)[0], 1), 1), emit.ExpandDims(steps, 0)
        )
        blanks = emit.LogSoftmax(values)[:, :, classes - 1]
        none = -emit.Sum(emit.SelectV2(counts, blanks, zeros_like(blanks)), 0)
        loss = emit.SelectV2(emit.Greater(lengths, 0), loss, none)
        impossible = emit.LogicalAnd(emit.Greater(lengths, steps), emit.Greater(steps, 0))
        result: Tensor = cast(emit.SelectV2(impossible, np.float32(np.inf), loss), kind)
        return result


def _dense_labels(labels: Tensor, lengths: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """The places and values of the labels that count, where the last class is the blank; a zero where none does."""
    padded = emit.Pad(labels, np.array([[0, 0], [0, 1]], np.int32))
    columns = emit.Range(0, emit.Shape(padded)[1], 1)
    places = emit.Where(emit.Less(emit.ExpandDims(columns, 0), emit.ExpandDims(emit.Maximum(lengths, 1), 1)))
    own = emit.GatherNd(padded, places)
    own = emit.SelectV2(own < blank, own, own - 1)
    empty = emit.Equal(gather(lengths, places[:, 0]), 0)
    return places, emit.SelectV2(empty, zeros_like(own), own)


def ctc_greedy_decoder(
    inputs: Any, sequence_length: Any, merge_repeated: bool = True, blank_index: int | None = None
) -> tuple[list[SparseTensor], Tensor]:
    """Returns the likeliest class of each step, without blanks.

    Args:
      inputs: logits [time, batch, classes].
      sequence_length: int32 [batch].
      merge_repeated: whether repeated classes of consecutive steps are one label.
      blank_index: the blank; default: the last class.

    Returns:
      A list of one sparse tensor int64 [batch, longest], and [batch, 1]: minus the sums of the chosen logits.
    """
    *parts, scores = emit.CTCGreedyDecoder(
        inputs, convert_to_tensor(sequence_length, dtypes.int32), merge_repeated=merge_repeated,
        blank_index=-1 if blank_index is None else blank_index,
    )  # fmt: skip
    return [SparseTensor(*parts)], scores


def ctc_beam_search_decoder(
    inputs: Any, sequence_length: Any, beam_width: int = 100, top_paths: int = 1, merge_repeated: bool = True
) -> tuple[list[SparseTensor], Tensor]:
    """Returns the likeliest label sequences over all their alignments.

    Args:
      inputs: logits [time, batch, classes]; the last class is the blank.
      sequence_length: int32 [batch].
      beam_width: how many prefixes are kept.
      top_paths: how many sequences to return.
      merge_repeated: whether repeated labels of the result are one.

    Returns:
      A list of `top_paths` sparse tensors int64 [batch, longest], and their log probabilities [batch, top_paths].
    """
    indices, values, shapes, scores = emit.CTCBeamSearchDecoder(
        inputs, convert_to_tensor(sequence_length, dtypes.int32), beam_width=beam_width, top_paths=top_paths,
        merge_repeated=merge_repeated,
    )  # fmt: skip
    return [SparseTensor(*parts) for parts in zip(indices, values, shapes, strict=True)], scores


def ctc_beam_search_decoder_v2(
    inputs: Any, sequence_length: Any, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[SparseTensor], Tensor]:
    """Returns the likeliest label sequences; see `ctc_beam_search_decoder`, of which nothing is merged."""
    return ctc_beam_search_decoder(inputs, sequence_length, beam_width, top_paths, merge_repeated=False)


__all__ = [
    "ctc_beam_search_decoder", "ctc_beam_search_decoder_v2", "ctc_greedy_decoder", "ctc_loss", "ctc_loss_v2",
]  # fmt: skip
