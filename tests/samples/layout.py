"""Samples of the ops in `graphflow/ops/layout.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.samples import COMPLEX, HALVES, Array, Sample, integers, samples, strided, uniform


def ints(*values: Any, dtype: Any = np.int32) -> Array:
    return np.array(values, dtype)


def axis(value: int, dtype: Any = np.int32) -> Array:
    return np.array(value, dtype)


def texts(*values: bytes) -> Array:
    return np.array(values, object)


def moved(
    array: Array, *rest: Array, constant: tuple[int, ...] = (1,), name: str = "", **options: Any
) -> Iterator[Sample]:
    """An array of each kind, with its further inputs constant, and once more with them fed."""
    yield Sample([array, *rest], constant=constant, differentiable=(0,), name=name, **options)
    yield Sample([array, *rest], differentiable=(0,), name=f"{name}_fed", **options)
    yield Sample(
        [strided(array), *rest], constant=constant, differentiable=False, name=f"{name}_strided", **options
    )
    for dtype in (np.int64, np.bool_, *HALVES, *COMPLEX):
        yield Sample(
            [array.astype(dtype), *rest], constant=constant, differentiable=False,
            name=f"{name}_{np.dtype(dtype).name}", **options,
        )  # fmt: skip
    names = np.array([str(i).encode() for i in range(array.size)], object).reshape(array.shape)
    yield Sample([names, *rest], constant=constant, differentiable=False, name=f"{name}_string", **options)


@samples("Reshape")
def reshape() -> Iterator[Sample]:
    yield from moved(uniform(2, 6), ints(3, 4))
    yield Sample(
        [uniform(2, 6), ints(-1, 3, dtype=np.int64)], constant=(1,), differentiable=(0,), name="rest"
    )
    yield Sample(
        [uniform(2, 6), ints(-1, 3)],
        constant=(1,),
        differentiable=(0,),
        shapes={0: [None, 6]},
        name="unknown",
    )
    yield Sample([uniform(1), np.zeros(0, np.int32)], constant=(1,), differentiable=(0,), name="scalar")
    yield Sample([uniform(0, 3), ints(3, -1)], constant=(1,), differentiable=False, name="empty")


@samples("ExpandDims")
def expand_dims() -> Iterator[Sample]:
    yield from moved(uniform(2, 3), axis(1))
    for at in (0, -1, -3):
        yield Sample([uniform(2, 3), axis(at)], constant=(1,), differentiable=(0,), name=str(at))
    yield Sample([uniform(), axis(0)], constant=(1,), differentiable=(0,), name="scalar")


@samples("Squeeze")
def squeeze() -> Iterator[Sample]:
    x = uniform(1, 3, 1, 2)
    for dims in ((), (0,), (2,), (-2, 0)):
        yield Sample([x], attrs={"squeeze_dims": dims}, name=str(dims))
    yield Sample([x], attrs={"squeeze_dims": (0,)}, shapes={0: [None, None, 1, 2]}, name="unknown")
    yield Sample([x], shapes={0: [None, 3, 1, 2]}, name="unknown_all")
    yield Sample([uniform(1, 0)], differentiable=False, name="empty")


@samples("Transpose", "ConjugateTranspose")
def transpose() -> Iterator[Sample]:
    x = uniform(2, 3, 4)
    for perm in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (-1, 0, 1)):
        yield Sample([x, ints(*perm)], constant=(1,), differentiable=(0,), name=str(perm))
    yield from moved(uniform(3, 4), ints(1, 0))
    yield Sample(
        [uniform(2, 3, dtype=np.complex128), ints(1, 0)], constant=(1,), differentiable=(0,), name="complex"
    )
    yield Sample([uniform(37, 65), ints(1, 0)], constant=(1,), differentiable=False, name="odd")
    yield Sample(
        [x, ints(1, 0, 2)], constant=(1,), differentiable=(0,), shapes={0: [None, 3, None]}, name="unknown"
    )
    yield Sample([uniform(0, 3), ints(1, 0)], constant=(1,), differentiable=False, name="empty")
    yield Sample([uniform(), np.zeros(0, np.int32)], constant=(1,), differentiable=(0,), name="scalar")


@samples("InvertPermutation")
def invert_permutation() -> Iterator[Sample]:
    yield Sample([ints(2, 0, 1)], differentiable=False)
    yield Sample([ints(3, 1, 0, 2, dtype=np.int64)], differentiable=False)


@samples("BroadcastTo")
def broadcast_to() -> Iterator[Sample]:
    yield from moved(uniform(3, 1), ints(2, 3, 4))
    yield Sample([uniform(), ints(2, 3)], constant=(1,), differentiable=(0,), name="scalar")
    yield Sample([uniform(1, 3), ints(1, 3)], constant=(1,), differentiable=(0,), name="same")
    yield Sample(
        [uniform(1, 3), ints(2, 3)], constant=(1,), differentiable=(0,), shapes={0: [None, 3]}, name="unknown"
    )
    yield Sample([uniform(1, 3), ints(0, 3)], constant=(1,), differentiable=False, name="empty")


@samples("Tile")
def tile() -> Iterator[Sample]:
    yield from moved(uniform(2, 3), ints(3, 2))
    yield Sample([uniform(2, 3), ints(1, 1)], constant=(1,), differentiable=(0,), name="once")
    yield Sample([uniform(2, 3), ints(0, 2)], constant=(1,), differentiable=False, name="none")
    yield Sample(
        [uniform(2, 3), ints(2, 2)], constant=(1,), differentiable=(0,), shapes={0: [None, 3]}, name="unknown"
    )


@samples("ConcatV2")
def concat_v2() -> Iterator[Sample]:
    for at, shapes in (
        (0, ((2, 3), (1, 3), (4, 3))),
        (1, ((2, 3), (2, 1))),
        (-1, ((2, 3), (2, 3))),
        (1, ((2, 1, 2), (2, 3, 2))),
    ):
        values = [uniform(*shape, seed=i) for i, shape in enumerate(shapes)]
        yield Sample([values, axis(at)], constant=(len(values),), name=f"{at}_{len(values)}")
    two = [uniform(2, 3), uniform(2, 3, seed=2)]
    yield Sample([two, axis(1)], name="fed_axis", differentiable=(0, 1))
    yield Sample([two, axis(0)], constant=(2,), shapes={0: [None, 3], 1: None}, name="unknown")
    yield Sample(
        [two, axis(1)], constant=(2,), shapes={0: [None, None], 1: [None, None]}, name="unknown_sizes"
    )
    yield Sample([[uniform(0, 3), two[0]], axis(0)], constant=(2,), differentiable=False, name="empty")
    yield Sample([[texts(b"a"), texts(b"b")], axis(0)], constant=(2,), differentiable=False, name="string")
    for dtype in (np.int32, np.bool_, *HALVES, *COMPLEX):
        yield Sample([[v.astype(dtype) for v in two], axis(0, np.int64)], constant=(2,), differentiable=False)


@samples("Concat")
def concat() -> Iterator[Sample]:
    yield Sample([axis(1), [uniform(2, 3), uniform(2, 1)]], constant=(0,))
    yield Sample([axis(0), [uniform(2, 3), uniform(1, 3)]], constant=(0,))


@samples("ConcatOffset")
def concat_offset() -> Iterator[Sample]:
    yield Sample([axis(1), [ints(2, 3), ints(2, 5), ints(2, 1)]], constant=(0,), differentiable=False)


@samples("Pack")
def pack() -> Iterator[Sample]:
    values = [uniform(2, 3, seed=i) for i in range(3)]
    for at in (0, 1, 2, -1):
        yield Sample([values], attrs={"axis": at}, name=str(at))
    yield Sample([[uniform(), uniform(seed=2)]], name="scalars")
    yield Sample([values[:1]], name="one")
    yield Sample([[uniform(0, 2)] * 2], differentiable=False, name="empty")
    yield Sample([[texts(b"a"), texts(b"b")]], differentiable=False, name="string")
    for dtype in (np.int64, *HALVES):
        yield Sample([[v.astype(dtype) for v in values]], differentiable=False)


@samples("ParallelConcat")
def parallel_concat() -> Iterator[Sample]:
    yield Sample([[uniform(1, 3, seed=i) for i in range(3)]], {"shape": [3, 3]})
    yield Sample([[np.array([i], np.int64) for i in range(2)]], {"shape": [2]})
    yield Sample([[uniform(1, 0, 2)]], {"shape": [1, 0, 2]}, name="empty")
    yield Sample([[texts(b"a"), texts(b"b")]], {"shape": [2]}, name="string")


@samples("Unpack")
def unpack() -> Iterator[Sample]:
    x = uniform(2, 3, 4)
    for at in (0, 1, 2, -1):
        yield Sample([x], attrs={"num": x.shape[at], "axis": at}, name=str(at))
    yield Sample([uniform(3)], attrs={"num": 3}, name="scalars")
    yield Sample([x], attrs={"num": 2}, shapes={0: [None, 3, None]}, name="unknown")
    yield Sample([texts(b"a", b"b")], attrs={"num": 2}, differentiable=False, name="string")


@samples("Split")
def split() -> Iterator[Sample]:
    x = uniform(4, 6)
    for at, parts in ((0, 2), (1, 3), (-1, 6), (0, 1)):
        yield Sample(
            [axis(at), x],
            attrs={"num_split": parts},
            constant=(0,),
            differentiable=(1,),
            name=f"{at}_{parts}",
        )
    yield Sample([axis(1), x], attrs={"num_split": 2}, differentiable=(1,), name="fed_axis")
    yield Sample([axis(1), x], attrs={"num_split": 2}, constant=(0,), shapes={1: [None, 6]}, differentiable=(1,),
                 name="unknown")  # fmt: skip
    yield Sample([axis(0), integers(4)], attrs={"num_split": 2}, constant=(0,), differentiable=False)


@samples("SplitV")
def split_v() -> Iterator[Sample]:
    x = uniform(4, 6)
    for at, parts in ((0, (1, 3)), (1, (2, -1, 1)), (-1, (6,)), (1, (0, 6))):
        yield Sample(
            [x, ints(*parts), axis(at)], attrs={"num_split": len(parts)}, constant=(1, 2), differentiable=(0,),
            name=str(parts),
        )  # fmt: skip
    yield Sample(
        [x, ints(2, 4, dtype=np.int64), axis(1)], attrs={"num_split": 2}, differentiable=(0,), name="fed"
    )


@samples("Slice")
def slice_() -> Iterator[Sample]:
    yield from moved(uniform(4, 5), ints(1, 2), ints(2, -1), constant=(1, 2))
    yield Sample([uniform(4, 5), ints(0, 0), ints(4, 5)], constant=(1, 2), differentiable=(0,), name="whole")
    yield Sample([uniform(4, 5), ints(1, 0), ints(0, 5)], constant=(1, 2), differentiable=False, name="empty")
    yield Sample([uniform(4, 5), ints(1, 0), ints(2, -1)], constant=(1, 2), differentiable=(0,),
                 shapes={0: [None, 5]}, name="unknown")  # fmt: skip
    yield Sample([uniform(4, 5), ints(1, 0, dtype=np.int64), ints(2, 3, dtype=np.int64)], constant=(1,),
                 differentiable=(0,), name="fed_size")  # fmt: skip


def indexed(key: Any, rank: int) -> tuple[list[Array], dict[str, int]]:
    """begin, end and strides, and the masks, of a NumPy index."""
    begin, end, step = [], [], []
    masks = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    for i, entry in enumerate(key if isinstance(key, tuple) else (key,)):
        start, stop, stride = 0, 0, 1
        if entry is Ellipsis:
            masks["ellipsis_mask"] |= 1 << i
        elif entry is None:
            masks["new_axis_mask"] |= 1 << i
        elif isinstance(entry, slice):
            masks["begin_mask"] |= (entry.start is None) << i
            masks["end_mask"] |= (entry.stop is None) << i
            start, stop, stride = entry.start or 0, entry.stop or 0, entry.step or 1
        else:
            masks["shrink_axis_mask"] |= 1 << i
            start, stop = entry, entry + 1
        begin.append(start)
        end.append(stop)
        step.append(stride)
    return [ints(*values) for values in (begin, end, step)], masks


INDICES: tuple[Any, ...] = (
    np.s_[1], np.s_[-1], np.s_[1:3], np.s_[:, 2], np.s_[::2], np.s_[::-1], np.s_[3:0:-1], np.s_[..., 1],
    np.s_[None, 1:, ..., None], np.s_[1, ..., 2], np.s_[:, None, 1, :], np.s_[-3:-1, :2], np.s_[2:2],
    np.s_[:, -1::-2], np.s_[5:9], np.s_[...], np.s_[1, None, 2, 0], np.s_[:100, -100:2], np.s_[::-1, ::-1, ::-1],
)  # fmt: skip


@samples("StridedSlice")
def strided_slice() -> Iterator[Sample]:
    x = uniform(4, 3, 5)
    for key in INDICES:
        vectors, masks = indexed(key, 3)
        yield Sample([x, *vectors], attrs=masks, constant=(1, 2, 3), differentiable=(0,), name=str(key))
    vectors, masks = indexed(np.s_[1:, 2, ::-1], 3)
    yield Sample([x, *vectors], attrs=masks, differentiable=(0,), name="fed")
    yield Sample(
        [x, *vectors],
        attrs=masks,
        constant=(3,),
        differentiable=(0,),
        shapes={0: [None, 3, 5]},
        name="fed_bounds",
    )
    yield Sample([x, *vectors], attrs=masks, constant=(1, 2, 3), differentiable=(0,), shapes={0: [None, 3, None]},
                 name="unknown")  # fmt: skip
    yield Sample(
        [x, *vectors],
        attrs=masks,
        constant=(1, 2, 3),
        differentiable=(0,),
        shapes={0: None},
        name="unknown_rank",
    )
    for dtype in (np.int32, np.bool_, *HALVES, *COMPLEX):
        yield Sample([x.astype(dtype), *vectors], attrs=masks, constant=(1, 2, 3), differentiable=False)
    wide = [v.astype(np.int64) for v in vectors]
    yield Sample([strided(x), *wide], attrs=masks, constant=(1, 2, 3), differentiable=False, name="strided")


@samples("StridedSliceGrad")
def strided_slice_grad() -> Iterator[Sample]:
    x = uniform(4, 3, 5)
    for key in INDICES:
        vectors, masks = indexed(key, 3)
        dy = uniform(*x[key].shape, dtype=np.float64)
        yield Sample(
            [ints(4, 3, 5), *vectors, dy],
            attrs=masks,
            constant=(0, 1, 2, 3),
            differentiable=(4,),
            name=str(key),
        )
    yield Sample([ints(4), ints(2), ints(3), ints(1), uniform(dtype=np.float64)], attrs={"shrink_axis_mask": 1},
                 constant=(0, 1, 2, 3), differentiable=(4,), name="one element")  # fmt: skip


@samples("Pad")
def pad() -> Iterator[Sample]:
    yield from moved(uniform(2, 3), ints((1, 2), (0, 3)))
    yield Sample([uniform(2, 3), ints((0, 0), (0, 0))], constant=(1,), differentiable=(0,), name="none")
    yield Sample([uniform(0, 3), ints((1, 0), (0, 1))], constant=(1,), differentiable=False, name="empty")
    yield Sample([uniform(2, 3), ints((1, 1), (2, 0))], constant=(1,), differentiable=(0,), shapes={0: [None, 3]},
                 name="unknown")  # fmt: skip


@samples("PadV2")
def pad_v2() -> Iterator[Sample]:
    yield Sample([uniform(2, 3), ints((1, 2), (0, 3)), uniform()], constant=(1,), differentiable=(0, 2))
    yield Sample(
        [uniform(2, 3), ints((1, 2), (0, 3)), uniform()], constant=(1, 2), differentiable=(0,), name="known"
    )
    yield Sample([integers(3), ints((1, 2)), integers()], constant=(1, 2), differentiable=False)


@samples("MirrorPad")
def mirror_pad() -> Iterator[Sample]:
    for mode in ("REFLECT", "SYMMETRIC"):
        yield from moved(uniform(3, 4), ints((1, 2), (0, 3)), attrs={"mode": mode}, name=mode)
    yield Sample(
        [uniform(2), ints((1, 1))], attrs={"mode": "REFLECT"}, constant=(1,), differentiable=(0,), name="edge"
    )


@samples("MirrorPadGrad")
def mirror_pad_grad() -> Iterator[Sample]:
    for mode in ("REFLECT", "SYMMETRIC"):
        yield Sample(
            [uniform(6, 7), ints((1, 2), (0, 3))],
            attrs={"mode": mode},
            constant=(1,),
            differentiable=(0,),
            name=mode,
        )
    yield Sample(
        [uniform(7, dtype=HALVES[0]), ints((2, 2))],
        attrs={"mode": "REFLECT"},
        constant=(1,),
        differentiable=False,
    )


@samples("GatherV2")
def gather_v2() -> Iterator[Sample]:
    params = uniform(4, 3, 5)
    places = ints((2, 0), (1, 2))
    for at in (0, 1, 2, -1):
        yield Sample([params, places, axis(at)], constant=(2,), differentiable=(0,), name=f"axis_{at}")
    yield Sample([params, axis(2), axis(0)], constant=(2,), differentiable=(0,), name="one")
    yield Sample(
        [params, ints(3, 3, 0, dtype=np.int64), axis(0)], constant=(2,), differentiable=(0,), name="repeated"
    )
    yield Sample([params, places, axis(1)], differentiable=(0,), name="fed_axis")
    yield Sample(
        [params, ints(1, 0), axis(0)],
        constant=(2,),
        differentiable=(0,),
        shapes={0: None},
        name="unknown_rank",
    )
    yield Sample([params, np.zeros(0, np.int32), axis(0)], constant=(2,), differentiable=False, name="none")
    yield Sample([texts(b"a", b"b"), ints(1), axis(0)], constant=(2,), differentiable=False, name="string")
    batched = ints((0, 2, 1), (1, 1, 0), (2, 0, 0), (1, 2, 2))
    yield Sample(
        [params, batched, axis(1)],
        attrs={"batch_dims": 1},
        constant=(2,),
        differentiable=(0,),
        name="batched",
    )
    yield Sample(
        [params, batched, axis(2)],
        attrs={"batch_dims": 1},
        constant=(2,),
        differentiable=(0,),
        name="batched_2",
    )
    yield Sample(
        [params, batched, axis(2)],
        attrs={"batch_dims": 2},
        constant=(2,),
        differentiable=(0,),
        name="batched_all",
    )
    for dtype in (np.int32, np.bool_, *HALVES, *COMPLEX):
        yield Sample([params.astype(dtype), places, axis(0)], constant=(2,), differentiable=False)


@samples("Gather")
def gather() -> Iterator[Sample]:
    yield Sample([uniform(4, 3), ints((2, 0), (1, 2))], differentiable=(0,))
    yield Sample([uniform(4), ints(2, 2)], differentiable=(0,), name="vector")


ROWS = ints((0, 1), (2, 2), (0, 1))


@samples("OneHot")
def one_hot() -> Iterator[Sample]:
    on, off = np.array(3.0, np.float32), np.array(-1.0, np.float32)
    for at in (-1, 0, 1):
        yield Sample(
            [ints((0, 2), (-1, 5)), axis(3), on, off], attrs={"axis": at}, constant=(1,), differentiable=False
        )
    yield Sample(
        [ints(1, 0, dtype=np.int64), axis(2), axis(7), axis(0)], constant=(1, 2, 3), differentiable=False
    )
    yield Sample(
        [ints(1, 0, dtype=np.uint8), axis(2), np.array(True), np.array(False)],
        constant=(1,),
        differentiable=False,
    )
    yield Sample([ints(1, 0), axis(4), on, off], differentiable=False, name="fed")
    yield Sample([axis(1), axis(4), on, off], constant=(1, 2, 3), differentiable=False, name="scalar")


@samples("ReverseV2")
def reverse_v2() -> Iterator[Sample]:
    yield from moved(uniform(3, 4), ints(1))
    for axes in ((), (0,), (0, -1)):
        yield Sample([uniform(3, 4), ints(*axes)], constant=(1,), differentiable=(0,), name=str(axes))
    yield Sample([uniform(0, 4), ints(0)], constant=(1,), differentiable=False, name="empty")


@samples("Reverse")
def reverse() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), np.array([True, False])], constant=(1,), differentiable=(0,))


@samples("ReverseSequence")
def reverse_sequence() -> Iterator[Sample]:
    yield Sample([uniform(3, 4, 2), ints(4, 0, 2)], attrs={"seq_dim": 1, "batch_dim": 0}, differentiable=(0,))
    yield Sample(
        [uniform(4, 3), ints(1, 2, 4, dtype=np.int64)],
        attrs={"seq_dim": 0, "batch_dim": 1},
        differentiable=(0,),
    )


@samples("Roll")
def roll() -> Iterator[Sample]:
    yield Sample([uniform(3, 4), axis(2), axis(1)], constant=(1, 2), differentiable=(0,))
    yield Sample([uniform(3, 4), ints(-1, 5), ints(0, 1)], constant=(1, 2), differentiable=(0,), name="both")
    yield Sample([uniform(3, 4), axis(2), axis(1)], differentiable=(0,), name="fed")


@samples("SpaceToDepth")
def space_to_depth() -> Iterator[Sample]:
    yield Sample([uniform(2, 4, 6, 3)], attrs={"block_size": 2})
    yield Sample([uniform(1, 2, 4, 4)], attrs={"block_size": 2, "data_format": "NCHW"}, name="nchw")


@samples("DepthToSpace")
def depth_to_space() -> Iterator[Sample]:
    yield Sample([uniform(2, 2, 3, 8)], attrs={"block_size": 2})
    yield Sample([uniform(1, 8, 2, 2)], attrs={"block_size": 2, "data_format": "NCHW"}, name="nchw")


@samples("SpaceToBatchND")
def space_to_batch_nd() -> Iterator[Sample]:
    yield Sample(
        [uniform(2, 3, 4, 2), ints(2, 2), ints((1, 0), (0, 0))], constant=(1, 2), differentiable=(0,)
    )
    yield Sample([uniform(2, 4), ints(2), ints((0, 0))], constant=(1, 2), differentiable=(0,), name="one")


@samples("BatchToSpaceND")
def batch_to_space_nd() -> Iterator[Sample]:
    yield Sample(
        [uniform(8, 2, 2, 2), ints(2, 2), ints((1, 0), (0, 0))], constant=(1, 2), differentiable=(0,)
    )
    yield Sample([uniform(4, 2), ints(2), ints((0, 1))], constant=(1, 2), differentiable=(0,), name="one")


@samples("DynamicPartition")
def dynamic_partition() -> Iterator[Sample]:
    yield Sample([uniform(5, 2), ints(1, 0, 1, 2, 0)], attrs={"num_partitions": 4}, differentiable=(0,))
    yield Sample(
        [uniform(2, 3), ints((0, 1, 1), (1, 0, 0))],
        attrs={"num_partitions": 2},
        differentiable=(0,),
        name="deep",
    )


@samples("DynamicStitch")
def dynamic_stitch() -> Iterator[Sample]:
    yield Sample([[ints(0, 3), ints(2, 1)], [uniform(2, 2), uniform(2, 2, seed=3)]], differentiable=(2, 3))
    yield Sample(
        [[ints((0, 1), (3, 2)), axis(4)], [uniform(2, 2, 3), uniform(3)]], differentiable=(2, 3), name="deep"
    )


@samples("SpaceToBatch")
def space_to_batch() -> Iterator[Sample]:
    yield Sample(
        [uniform(2, 4, 6, 3), ints((0, 0), (0, 0))], {"block_size": 2}, constant=(1,), differentiable=(0,)
    )
    yield Sample(
        [uniform(1, 3, 4, 1), ints((1, 2), (0, 2))], {"block_size": 3}, constant=(1,), differentiable=(0,)
    )
    yield Sample(
        [uniform(1, 3, 4, 1), ints((1, 2), (0, 2))], {"block_size": 2}, differentiable=(0,), name="fed"
    )


@samples("BatchToSpace")
def batch_to_space() -> Iterator[Sample]:
    yield Sample(
        [uniform(8, 2, 3, 3), ints((0, 0), (0, 0))], {"block_size": 2}, constant=(1,), differentiable=(0,)
    )
    yield Sample(
        [uniform(9, 2, 2, 1), ints((1, 2), (0, 2))], {"block_size": 3}, constant=(1,), differentiable=(0,)
    )


@samples("ParallelDynamicStitch")
def parallel_dynamic_stitch() -> Iterator[Sample]:
    yield Sample(
        [
            [
                ints(0, 2),
                ints(
                    (1, 3),
                ),
            ],
            [uniform(2, 3), uniform(1, 2, 3)],
        ],
        differentiable=(2, 3),
    )


@samples("UnravelIndex")
def unravel_index() -> Iterator[Sample]:
    yield Sample([ints(2, 5, 7, 0), ints(3, 3)], differentiable=False)
    yield Sample([axis(11), ints(2, 3, 4)], differentiable=False, name="scalar")
    yield Sample([ints(5, dtype=np.int64), ints(9, dtype=np.int64)], differentiable=False)


@samples("InplaceUpdate", "InplaceAdd", "InplaceSub")
def in_place() -> Iterator[Sample]:
    yield Sample([uniform(4, 3), ints(2, 0), uniform(2, 3, seed=8)], differentiable=False)
    yield Sample([integers(4), ints(3), integers(1)], differentiable=False)


@samples("TensorStridedSliceUpdate")
def tensor_strided_slice_update() -> Iterator[Sample]:
    bounds = [ints(1, 0), ints(3, 5), ints(1, 2)]
    yield Sample([uniform(4, 6), *bounds, uniform(2, 3, seed=8)], constant=(1, 2, 3), differentiable=(0, 4))
    yield Sample([uniform(4, 6), *bounds, uniform(3, seed=8)], differentiable=(0, 4), name="broadcast")
    yield Sample(
        [uniform(4, 6), ints(1), ints(2), ints(1), uniform(6, seed=8)], {"shrink_axis_mask": 1}, constant=(1, 2, 3),
        differentiable=(0, 4), name="row",
    )  # fmt: skip
