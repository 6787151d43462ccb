"""Bounding boxes: choosing among overlapping ones, drawing them, and drawing lots for one to crop to."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes
from graphflow.errors import InvalidArgumentError, ShapeError
from graphflow.graph import Tensor, name_scope
from graphflow.opdef import OpDef, convert_to_tensor, emit, op
from graphflow.ops.draws import Draws
from graphflow.ops.rules import Array, Declaration, rank_exactly
from graphflow.shapes import TensorShape


def _refuse(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


# ---------------------------------------------------------------------------- choosing boxes

Overlap = Callable[[int, int], float]


def _overlap_of(boxes: Array) -> Overlap:
    """The part of the union of two boxes that they share; corners may be given in any order."""
    low = np.minimum(boxes[:, :2], boxes[:, 2:])
    high = np.maximum(boxes[:, :2], boxes[:, 2:])
    area = (high - low)[:, 0] * (high - low)[:, 1]

    def overlap(i: int, j: int) -> float:
        if area[i] <= 0 or area[j] <= 0:
            return 0.0
        side = np.maximum(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]), 0)
        shared = side[0] * side[1]
        return float(shared / (area[i] + area[j] - shared))

    return overlap


def _chosen(
    scores: Array, count: int, overlap: Overlap, most: float, least_score: float, sigma: float = 0.0
) -> tuple[list[int], list[float]]:
    """The best boxes, one after the other, that share no more than `most` with a better one.

    With a `sigma`, boxes that share any of a better one lose part of their score instead.
    """
    waiting = [(-float(score), i, 0) for i, score in enumerate(scores.tolist()) if score > least_score]
    heapq.heapify(waiting)
    scale = -0.5 / sigma if sigma > 0 else 0.0
    found: list[int] = []
    kept: list[float] = []
    while len(found) < count and waiting:
        negative, box, seen = heapq.heappop(waiting)
        score = before = -negative
        dropped = False
        for j in range(len(found) - 1, seen - 1, -1):
            shared = overlap(box, found[j])
            if sigma > 0:
                score = float(np.float32(score * np.exp(scale * shared * shared)))
            elif shared > most:
                dropped = True
                break
            if score <= least_score:
                break
        if dropped:
            continue
        if score == before:
            found.append(box)
            kept.append(score)
        elif score > least_score:
            heapq.heappush(waiting, (-score, box, len(found)))
    return found, kept


def _check_boxes(boxes: Array, scores: Array, count: Array, most: Any) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise _refuse(f"boxes must be [n, 4], have shape {list(boxes.shape)}")
    if scores.shape != boxes.shape[:1]:
        raise _refuse(f"scores has incompatible shape {list(scores.shape)} for {len(boxes)} boxes")
    if int(count) < 0:
        raise _refuse(f"max_output_size must be non-negative, got {int(count)}")
    if not 0 <= float(most) <= 1:
        raise _refuse(f"iou_threshold must be in [0, 1], got {float(most)}")


def _boxes_and_scores(node: Any) -> None:
    boxes = rank_exactly(node, 0, 2, node.op_def.inputs[0].name)
    scores = rank_exactly(node, 1, 1, "scores")
    boxes[:1].merge_with(scores)
    if node.op_def.inputs[0].name == "boxes" and not boxes[1:].is_compatible_with([4]):
        raise ShapeError(f"boxes must have four columns, have shape {boxes}")
    for position in range(2, len(node.inputs)):
        rank_exactly(node, position, 0, node.op_def.inputs[position].name)


def _chosen_shape(node: Any) -> list[TensorShape]:
    _boxes_and_scores(node)
    count = node.constant(2)
    known = node.attrs.get("pad_to_max_output_size") and count is not None
    indices = TensorShape([int(count) if known else None])
    return [indices if output.name != "valid_outputs" else TensorShape([]) for output in node.op_def.outputs]


def suppression(op_type: str, inputs: str, outputs: str, attrs: str) -> Declaration:
    """Declares a way of choosing boxes."""
    return op(op_type, inputs, outputs, attrs, infer=_chosen_shape, differentiable=False)


_HALF = "T:type{float16|float32}=float32"
_THRESHOLD = "T_threshold:type{float16|float32}=float32"


def _wide(*arrays: Array) -> list[Array]:
    return [a.astype(np.float32) for a in arrays]


@suppression("NonMaxSuppression", "boxes:float32; scores:float32; max_output_size:int32", "selected_indices:int32",
             "iou_threshold:float=0.5")  # fmt: skip
def non_max_suppression_op(
    boxes: Array, scores: Array, max_output_size: Array, *, iou_threshold: float = 0.5
) -> Array:
    """The best boxes that share no more than a part with a better one."""
    _check_boxes(boxes, scores, max_output_size, iou_threshold)
    found, _ = _chosen(scores, int(max_output_size), _overlap_of(boxes), iou_threshold, -np.inf)
    return np.array(found, np.int32)


@suppression("NonMaxSuppressionV2", "boxes:T; scores:T; max_output_size:int32; iou_threshold:T_threshold",
             "selected_indices:int32", f"{_HALF}; {_THRESHOLD}")  # fmt: skip
def non_max_suppression_v2_op(
    boxes: Array, scores: Array, max_output_size: Array, iou_threshold: Array
) -> Array:
    """The best boxes that share no more than a part with a better one."""
    _check_boxes(boxes, scores, max_output_size, iou_threshold)
    boxes, scores = _wide(boxes, scores)
    found, _ = _chosen(scores, int(max_output_size), _overlap_of(boxes), float(iou_threshold), -np.inf)
    return np.array(found, np.int32)


_SCORED = "boxes:T; scores:T; max_output_size:int32; iou_threshold:{t}; score_threshold:{t}"


@suppression("NonMaxSuppressionV3", _SCORED.format(t="T_threshold"), "selected_indices:int32",
             f"{_HALF}; {_THRESHOLD}")  # fmt: skip
def non_max_suppression_v3_op(
    boxes: Array, scores: Array, max_output_size: Array, iou_threshold: Array, score_threshold: Array
) -> Array:
    """The best boxes of a score above a threshold that share no more than a part with a better one."""
    _check_boxes(boxes, scores, max_output_size, iou_threshold)
    boxes, scores = _wide(boxes, scores)
    found, _ = _chosen(
        scores, int(max_output_size), _overlap_of(boxes), float(iou_threshold), float(score_threshold)
    )
    return np.array(found, np.int32)


def _padded(values: Sequence[Any], count: int, pad: bool, dtype: Any) -> Array:
    result = np.array(values, dtype)
    return np.pad(result, (0, count - len(result))) if pad else result


@suppression("NonMaxSuppressionV4", _SCORED.format(t="T_threshold"), "selected_indices:int32; valid_outputs:int32",
             f"{_HALF}; {_THRESHOLD}; pad_to_max_output_size:bool=false")  # fmt: skip
def non_max_suppression_v4_op(
    boxes: Array, scores: Array, max_output_size: Array, iou_threshold: Array, score_threshold: Array, *,
    pad_to_max_output_size: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Chosen boxes, filled up with zeros if asked for, and how many were chosen."""
    found = non_max_suppression_v3_op.body(boxes, scores, max_output_size, iou_threshold, score_threshold)
    return (
        _padded(found, int(max_output_size), pad_to_max_output_size, np.int32),
        np.array(len(found), np.int32),
    )


@suppression("NonMaxSuppressionV5", f"{_SCORED.format(t='T')}; soft_nms_sigma:T",
             "selected_indices:int32; selected_scores:T; valid_outputs:int32",
             f"{_HALF}; pad_to_max_output_size:bool=false")  # fmt: skip
def non_max_suppression_v5_op(
    boxes: Array, scores: Array, max_output_size: Array, iou_threshold: Array, score_threshold: Array,
    soft_nms_sigma: Array, *, pad_to_max_output_size: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Chosen boxes with the scores that they were left with, and how many they are."""
    _check_boxes(boxes, scores, max_output_size, iou_threshold)
    if float(soft_nms_sigma) < 0:
        raise _refuse(f"soft_nms_sigma should be >= 0.0, got {float(soft_nms_sigma)}")
    kind = scores.dtype
    boxes, scores = _wide(boxes, scores)
    found, kept = _chosen(
        scores, int(max_output_size), _overlap_of(boxes), float(iou_threshold), float(score_threshold),
        float(soft_nms_sigma),
    )  # fmt: skip
    count = int(max_output_size)
    return (
        _padded(found, count, pad_to_max_output_size, np.int32),
        _padded(kept, count, pad_to_max_output_size, kind),
        np.array(len(found), np.int32),
    )


@suppression("NonMaxSuppressionWithOverlaps",
             "overlaps:float32; scores:float32; max_output_size:int32; overlap_threshold:float32; "
             "score_threshold:float32", "selected_indices:int32", "")  # fmt: skip
def non_max_suppression_with_overlaps_op(
    overlaps: Array, scores: Array, max_output_size: Array, overlap_threshold: Array, score_threshold: Array
) -> Array:
    """The best of things whose overlaps [n, n] are given."""
    if overlaps.ndim != 2 or overlaps.shape[0] != overlaps.shape[1] or scores.shape != overlaps.shape[:1]:
        raise _refuse(
            f"overlaps must be square and scores fit, have {list(overlaps.shape)}, {list(scores.shape)}"
        )
    if int(max_output_size) < 0:
        raise _refuse(f"max_output_size must be non-negative, got {int(max_output_size)}")
    found, _ = _chosen(
        scores, int(max_output_size), lambda i, j: float(overlaps[i, j]), float(overlap_threshold),
        float(score_threshold),
    )  # fmt: skip
    return np.array(found, np.int32)


def _combined_shape(node: Any) -> list[TensorShape]:
    boxes = rank_exactly(node, 0, 4, "boxes")
    scores = rank_exactly(node, 1, 3, "scores")
    for position in range(2, 6):
        rank_exactly(node, position, 0, node.op_def.inputs[position].name)
    batch = boxes[:1].merge_with(scores[:1]).as_list()[0]
    per_class, total, classes = node.constant(2), node.constant(3), scores.as_list()[2]
    count = None if total is None else int(total)
    if node.attrs["pad_per_class"]:
        if per_class is None or classes is None or count is None:
            count = None
        else:
            count = min(count, int(per_class) * classes)
    return [
        TensorShape([batch, count, 4]), TensorShape([batch, count]), TensorShape([batch, count]), TensorShape([batch])
    ]  # fmt: skip


@op("CombinedNonMaxSuppression",
    "boxes:float32; scores:float32; max_output_size_per_class:int32; max_total_size:int32; iou_threshold:float32; "
    "score_threshold:float32",
    "nmsed_boxes:float32; nmsed_scores:float32; nmsed_classes:float32; valid_detections:int32",
    "pad_per_class:bool=false; clip_boxes:bool=true", infer=_combined_shape, differentiable=False)  # fmt: skip
def combined_non_max_suppression_op(
    boxes: Array, scores: Array, max_output_size_per_class: Array, max_total_size: Array, iou_threshold: Array,
    score_threshold: Array, *, pad_per_class: bool = False, clip_boxes: bool = True,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """The best boxes of every class, then the best of all classes, image by image."""
    batch, _, classes = scores.shape
    per_class, total = int(max_output_size_per_class), int(max_total_size)
    if boxes.shape[:2] != scores.shape[:2] or boxes.shape[2] not in (1, classes) or boxes.shape[3] != 4:
        raise _refuse(f"boxes {list(boxes.shape)} and scores {list(scores.shape)} do not fit")
    if per_class <= 0 or total <= 0 or not 0 <= float(iou_threshold) <= 1:
        raise _refuse("max_output_size_per_class and max_total_size must be > 0, iou_threshold in [0, 1]")
    size = min(total, per_class * classes) if pad_per_class else total
    made_boxes = np.zeros((batch, size, 4), np.float32)
    made_scores, made_classes = np.zeros((batch, size), np.float32), np.zeros((batch, size), np.float32)
    valid = np.zeros(batch, np.int32)
    for image in range(batch):
        found = []
        for label in range(classes):
            own = boxes[image, :, label if boxes.shape[2] > 1 else 0]
            chosen, kept = _chosen(
                scores[image, :, label], per_class, _overlap_of(own), float(iou_threshold), float(score_threshold)
            )  # fmt: skip
            found += [(-score, label, own[i]) for i, score in zip(chosen, kept, strict=True)]
        found.sort(key=lambda item: item[0])
        valid[image] = min(size, len(found))
        for i, (negative, label, box) in enumerate(found[:size]):
            made_boxes[image, i] = np.clip(box, 0, 1) if clip_boxes else box
            made_scores[image, i], made_classes[image, i] = -negative, label
    return made_boxes, made_scores, made_classes, valid


# ---------------------------------------------------------------------------- drawing boxes

_COLOURS = np.array([
    [1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1], [0.5, 0, 0.5, 1], [0.5, 0.5, 0, 1], [0.5, 0, 0, 1],
    [0, 0, 0.5, 1], [0, 1, 1, 1], [1, 0, 1, 1],
], np.float32)  # fmt: skip


def _drawn_shape(node: Any) -> TensorShape:
    images = rank_exactly(node, 0, 4, "images")
    boxes = rank_exactly(node, 1, 3, "boxes")
    if not boxes[2:].is_compatible_with([4]):
        raise ShapeError(f"boxes must be [batch, n, 4], have shape {boxes}")
    if len(node.inputs) > 2:
        rank_exactly(node, 2, 2, "colors")
    return images


def _drawn(images: Array, boxes: Array, colours: Array) -> Array:
    batch, height, width, depth = images.shape
    if boxes.ndim != 3 or boxes.shape[0] != batch or boxes.shape[2] != 4:
        raise _refuse(f"boxes must be [{batch}, n, 4], have shape {list(boxes.shape)}")
    if depth not in (1, 3, 4) or colours.shape[1] < depth:
        raise _refuse(f"images must have 1, 3 or 4 channels, no more than the colors, have {depth}")
    result = images.copy()
    last = np.array([height - 1, width - 1, height - 1, width - 1], np.float32)
    for image, row in zip(result, boxes.astype(np.float32), strict=True):
        for number, box in enumerate(row):
            top, left, bottom, right = (int(v) for v in box * last)
            if top > bottom or left > right or top >= height or bottom < 0 or left >= width or right < 0:
                continue
            colour = colours[number % len(colours), :depth].astype(images.dtype)
            rows = slice(max(top, 0), min(bottom, height - 1) + 1)
            columns = slice(max(left, 0), min(right, width - 1) + 1)
            if top >= 0:
                image[top, columns] = colour
            if bottom < height:
                image[bottom, columns] = colour
            if left >= 0:
                image[rows, left] = colour
            if right < width:
                image[rows, right] = colour
    return result


@op("DrawBoundingBoxes", "images:T; boxes:float32", "output:T", "T:type{float32|float16}=float32",
    infer=_drawn_shape, differentiable=False)  # fmt: skip
def draw_bounding_boxes_op(images: Array, boxes: Array) -> Array:
    """Images with the edges of boxes (y1, x1, y2, x2 in parts of the image) drawn, in ten colours in turn."""
    colours = _COLOURS.copy()
    if images.shape[3] == 1:
        colours[:, 0] = 1
    return _drawn(images, boxes, colours)


@op("DrawBoundingBoxesV2", "images:T; boxes:float32; colors:float32", "output:T",
    "T:type{float32|float16}=float32", infer=_drawn_shape, differentiable=False)  # fmt: skip
def draw_bounding_boxes_v2_op(images: Array, boxes: Array, colors: Array) -> Array:
    """Images with the edges of boxes drawn, in the given colours [n, channels] in turn."""
    if not len(colors):
        return draw_bounding_boxes_op.body(images, boxes)
    return _drawn(images, boxes, colors)


# ---------------------------------------------------------------------------- drawing lots


def _rounded(value: Any) -> int:
    return int(np.rint(np.float32(value)))


def _random_box(
    words: Draws, width: int, height: int, least: float, most: float, ratio: np.float32
) -> tuple[int, int, int, int] | None:
    """A box (top, left, bottom, right) of a size and place drawn by lot, or None where rounding fails."""
    if most <= 0 or ratio <= 0 or width <= 0 or height <= 0 or least > most:
        return None
    smallest = np.float32(np.float32(least) * np.float32(width) * np.float32(height))
    largest = np.float32(np.float32(most) * np.float32(width) * np.float32(height))
    tall, tallest = _rounded(np.sqrt(smallest / ratio)), _rounded(np.sqrt(largest / ratio))
    if _rounded(np.float32(tallest) * ratio) > width:
        tallest = int((width + 0.5 - float(np.float32(1e-7))) / float(ratio))
        if _rounded(np.float32(tallest) * ratio) > width:
            tallest -= 1
    tallest = min(tallest, height)
    tall = min(tall, tallest)
    if tall < tallest:
        tall += words.below(tallest - tall + 1)
    wide = _rounded(np.float32(tall) * ratio)
    # Rounding may miss the bounds by a row.
    if wide * tall < smallest:
        tall += 1
        wide = _rounded(np.float32(tall) * ratio)
    if wide * tall > largest:
        tall -= 1
        wide = _rounded(np.float32(tall) * ratio)
    if not smallest <= wide * tall <= largest or not 0 < wide <= width or not 0 < tall <= height:
        return None
    top = words.below(height - tall) if tall < height else 0
    left = words.below(width - wide) if wide < width else 0
    return top, left, top + tall, left + wide


def _area(box: Sequence[int]) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _covers(crop: tuple[int, int, int, int], boxes: Sequence[Sequence[int]], least: float) -> bool:
    if _area(crop) < 1:
        return False
    for box in boxes:
        if _area(box) < 1:
            continue
        shared = [*np.maximum(crop[:2], box[:2]), *np.minimum(crop[2:], box[2:])]
        if np.float32(_area(shared)) / np.float32(_area(box)) >= np.float32(least):
            return True
    return False


def _sampled_shape(node: Any) -> list[TensorShape]:
    size = rank_exactly(node, 0, 1, "image_size")
    boxes = rank_exactly(node, 1, 3, "bounding_boxes")
    if not size.is_compatible_with([3]) or not boxes[2:].is_compatible_with([4]):
        raise ShapeError(f"image_size must have 3 elements, bounding_boxes 4 columns; have {size}, {boxes}")
    if len(node.inputs) > 2:
        rank_exactly(node, 2, 0, "min_object_covered")
    return [TensorShape([3]), TensorShape([3]), TensorShape([1, 1, 4])]


def _sampled(
    image_size: Array, boxes: Array, covered: float, ratios: Sequence[float], areas: Sequence[float],
    attempts: int, whole: bool, words: Draws,
) -> tuple[Array, Array, Array]:  # fmt: skip
    height, width = int(image_size[0]), int(image_size[1])
    if height <= 0 or width <= 0:
        raise _refuse(f"Image height and width must be positive, got {height} and {width}")
    if not 0 < ratios[0] <= ratios[1] or not 0 < areas[0] <= areas[1] <= 1 or attempts <= 0:
        raise _refuse(
            f"aspect_ratio_range {list(ratios)} and area_range {list(areas)} must rise, from above 0 (areas up to 1), "
            f"and max_attempts be positive, is {attempts}"
        )
    flat = boxes.reshape(-1, 4)
    if not len(flat):
        if not whole:
            raise _refuse("No bounding boxes provided as input. One must provide bounding boxes or set "
                          "use_image_if_no_bounding_boxes=True.")  # fmt: skip
        objects = [[0, 0, height, width]]
    else:
        if (flat < 0).any() or (flat > 1).any() or (flat[:, :2] >= flat[:, 2:]).any():
            raise _refuse("bounding boxes must have corners in [0, 1], the second one beyond the first")
        scale = np.array([height, width, height, width], np.float32)
        objects = (flat * scale).astype(np.int64).tolist()
    crop: tuple[int, int, int, int] | None = None
    low, high = np.float32(ratios[0]), np.float32(ratios[1])
    for _ in range(attempts):
        ratio = np.float32(words.unit() * (high - low) + low)
        found = _random_box(words, width, height, areas[0], areas[1], ratio)
        if found is not None and _covers(found, objects, covered):
            crop = found
            break
    top, left, bottom, right = crop or (0, 0, height, width)
    sides = np.array([height, width, height, width], np.float32)
    corners = np.array([top, left, bottom, right], np.float32) / sides
    kind = image_size.dtype
    return (
        np.array([top, left, 0], kind),
        np.array([bottom - top, right - left, -1], kind),
        corners.reshape(1, 1, 4),
    )


def _sampler(op_type: str, inputs: str, attr: str) -> OpDef:
    """Declares the op, whose second version takes one of the attributes as an input."""
    signature = (
        "T:type{uint8|int8|int16|int32|int64}; seed:int=0; seed2:int=0; " + attr +
        "aspect_ratio_range:list(float)=[0.75 1.3300000429153442]; "
        "area_range:list(float)=[0.05000000074505806 1.0]; max_attempts:int=100; "
        "use_image_if_no_bounding_boxes:bool=false"
    )  # fmt: skip

    def body(
        image_size: Array, bounding_boxes: Array, *covered: Array, key: tuple[int, int], counter: int,
        aspect_ratio_range: Sequence[float], area_range: Sequence[float], max_attempts: int,
        use_image_if_no_bounding_boxes: bool, min_object_covered: float = 0.1,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        least = float(covered[0]) if covered else min_object_covered
        return _sampled(
            image_size, bounding_boxes, least, aspect_ratio_range, area_range, max_attempts,
            use_image_if_no_bounding_boxes, Draws(key, counter),
        )  # fmt: skip

    body.__doc__ = "Where to crop an image so that enough of an object stays in it."
    made = op(op_type, f"image_size:T; bounding_boxes:float32{inputs}", "begin:T; size:T; bboxes:float32", signature,
              infer=_sampled_shape, effects="random", differentiable=False)(body)  # fmt: skip

    @made.reserve
    def reserved(attrs: dict[str, Any]) -> int:
        attempts: int = attrs["max_attempts"]
        return attempts  # four words each

    return made


sample_distorted_bounding_box_op = _sampler(
    "SampleDistortedBoundingBox", "", "min_object_covered:float=0.10000000149011612; "
)
sample_distorted_bounding_box_v2_op = _sampler(
    "SampleDistortedBoundingBoxV2", "; min_object_covered:float32", ""
)


# ---------------------------------------------------------------------------- public functions


def non_max_suppression(
    boxes: Any, scores: Any, max_output_size: Any, iou_threshold: Any = 0.5, score_threshold: Any = float("-inf"),
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the indices of the best boxes that overlap no better one too much.

    Args:
      boxes: [n, 4]: two opposite corners (y, x, y, x).
      scores: [n].
      max_output_size: how many at most.
      iou_threshold: which part of their union two boxes may share.
      score_threshold: boxes of no higher score do not count.
      name: a name.

    Returns:
      int32 [chosen], best first.
    """
    with name_scope(name, "non_max_suppression", [boxes, scores]):
        most = convert_to_tensor(iou_threshold, name="iou_threshold")
        least = convert_to_tensor(score_threshold, name="score_threshold")
        result: Tensor = emit.NonMaxSuppressionV3(boxes, scores, max_output_size, most, least)
        return result


def non_max_suppression_with_scores(
    boxes: Any, scores: Any, max_output_size: Any, iou_threshold: Any = 0.5, score_threshold: Any = float("-inf"),
    soft_nms_sigma: Any = 0.0, name: str | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns indices and scores of the best boxes; with a `soft_nms_sigma`, overlapping ones lose score instead."""
    with name_scope(name, "non_max_suppression_with_scores", [boxes, scores]):
        numbers = [
            convert_to_tensor(value, name=label)
            for label, value in (
                ("iou_threshold", iou_threshold),
                ("score_threshold", score_threshold),
                ("soft_nms_sigma", soft_nms_sigma),
            )
        ]
        indices, kept, _ = emit.NonMaxSuppressionV5(boxes, scores, max_output_size, *numbers)
        return indices, kept


def non_max_suppression_padded(
    boxes: Any, scores: Any, max_output_size: Any, iou_threshold: Any = 0.5, score_threshold: Any = float("-inf"),
    pad_to_max_output_size: bool = False, name: str | None = None, sorted_input: bool = False,
    canonicalized_coordinates: bool = False, tile_size: int = 512,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns the indices of the best boxes, filled up with zeros if asked for, and how many were chosen.

    Args:
      boxes: [n, 4]; see `non_max_suppression`.
      scores: [n].
      max_output_size: how many at most.
      iou_threshold: which part of their union two boxes may share.
      score_threshold: boxes of no higher score do not count.
      pad_to_max_output_size: whether to fill up.
      name: a name.
      sorted_input: accepted; the order of the input does not matter.
      canonicalized_coordinates: accepted; corners may be given in any order.
      tile_size: accepted.

    Raises:
      ValueError: for batches of boxes.
    """
    with name_scope(name, "non_max_suppression_padded", [boxes, scores]):
        boxes = convert_to_tensor(boxes)
        if boxes.shape.rank not in (None, 2):
            raise ValueError(f"non_max_suppression_padded takes boxes [n, 4], got shape {boxes.shape}")
        most = convert_to_tensor(iou_threshold, name="iou_threshold")
        least = convert_to_tensor(score_threshold, name="score_threshold")
        indices, count = emit.NonMaxSuppressionV4(
            boxes, scores, max_output_size, most, least, pad_to_max_output_size=pad_to_max_output_size
        )
        return indices, count


def non_max_suppression_overlaps(
    overlaps: Any, scores: Any, max_output_size: Any, overlap_threshold: Any = 0.5,
    score_threshold: Any = float("-inf"), name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the indices of the best of things whose overlaps [n, n] are given; see `non_max_suppression`."""
    with name_scope(name, "non_max_suppression_overlaps", [overlaps, scores]):
        result: Tensor = emit.NonMaxSuppressionWithOverlaps(
            overlaps, scores, max_output_size, overlap_threshold, score_threshold
        )
        return result


def combined_non_max_suppression(
    boxes: Any, scores: Any, max_output_size_per_class: Any, max_total_size: Any, iou_threshold: Any = 0.5,
    score_threshold: Any = float("-inf"), pad_per_class: bool = False, clip_boxes: bool = True,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns the best boxes of all classes, image by image.

    Args:
      boxes: float32 [batch, n, classes or 1, 4].
      scores: float32 [batch, n, classes].
      max_output_size_per_class: how many of a class at most.
      max_total_size: how many of an image at most.
      iou_threshold: which part of their union two boxes of a class may share.
      score_threshold: boxes of no higher score do not count.
      pad_per_class: whether the results are no longer than all classes together may need.
      clip_boxes: whether corners are moved into [0, 1].
      name: a name.

    Returns:
      Boxes [batch, size, 4], scores [batch, size], classes as float32 [batch, size], and int32 [batch] counts.
    """
    with name_scope(name, "combined_non_max_suppression", [boxes, scores]):
        results: tuple[Tensor, Tensor, Tensor, Tensor] = emit.CombinedNonMaxSuppression(
            boxes, scores, max_output_size_per_class, max_total_size, iou_threshold, score_threshold,
            pad_per_class=pad_per_class, clip_boxes=clip_boxes,
        )  # fmt: skip
        return results


def draw_bounding_boxes(images: Any, boxes: Any, name: str | None = None, colors: Any = None) -> Tensor:
    """Returns images with the edges of boxes drawn.

    Args:
      images: float [batch, height, width, 1, 3 or 4].
      boxes: float32 [batch, n, 4]: y1, x1, y2, x2 in parts of the image.
      name: a name.
      colors: float32 [m, channels], taken in turn; default: ten colours.
    """
    result: Tensor = (
        emit.DrawBoundingBoxes(images, boxes, name=name)
        if colors is None
        else emit.DrawBoundingBoxesV2(images, boxes, colors, name=name)
    )
    return result


def sample_distorted_bounding_box(
    image_size: Any, bounding_boxes: Any, seed: int | None = None, seed2: int | None = None,
    min_object_covered: Any = 0.1, aspect_ratio_range: Any = None, area_range: Any = None,
    max_attempts: int | None = None, use_image_if_no_bounding_boxes: bool | None = None, name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Draws lots for where to crop an image.

    Args:
      image_size: [3]: height, width, channels.
      bounding_boxes: float32 [batch, n, 4]: the objects: y1, x1, y2, x2 in parts of the image.
      seed: the op's seed.
      seed2: its second half.
      min_object_covered: which part of one of the objects the crop must hold.
      aspect_ratio_range: of width to height; default (0.75, 1.33).
      area_range: parts of the image; default (0.05, 1).
      max_attempts: after so many the whole image is taken; default 100.
      use_image_if_no_bounding_boxes: whether the whole image is an object where none is given.
      name: a name.

    Returns:
      `(begin, size, bboxes)`: the first two for `slice`, the last float32 [1, 1, 4] for `draw_bounding_boxes`.
    """
    with name_scope(name, "sample_distorted_bounding_box", [image_size, bounding_boxes]):
        results: tuple[Tensor, Tensor, Tensor] = emit.SampleDistortedBoundingBoxV2(
            image_size, bounding_boxes, convert_to_tensor(min_object_covered, dtypes.float32), seed=seed or 0,
            seed2=seed2 or 0, aspect_ratio_range=aspect_ratio_range, area_range=area_range, max_attempts=max_attempts,
            use_image_if_no_bounding_boxes=use_image_if_no_bounding_boxes,
        )  # fmt: skip
        return results


__all__ = [
    "combined_non_max_suppression", "draw_bounding_boxes", "non_max_suppression", "non_max_suppression_overlaps",
    "non_max_suppression_padded", "non_max_suppression_with_scores", "sample_distorted_bounding_box",
]  # fmt: skip
