"""`slim.data`: files of records become named items."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf

slim = gf.contrib.slim
decoders = slim.tfexample_decoder
IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def feature(value: Any) -> Any:
    if isinstance(value, bytes):
        return gf.train.Feature(bytes_list=gf.train.BytesList(value=[value]))
    if isinstance(value, list) and all(isinstance(each, int) for each in value):
        return gf.train.Feature(int64_list=gf.train.Int64List(value=value))
    return gf.train.Feature(float_list=gf.train.FloatList(value=value))


def example(**features: Any) -> bytes:
    keyed = {name.replace("__", "/"): feature(value) for name, value in features.items()}
    data: bytes = gf.train.Example(features=gf.train.Features(feature=keyed)).SerializeToString()
    return data


FEATURES = {
    "image/encoded": gf.FixedLenFeature((), gf.string),
    "image/format": gf.FixedLenFeature((), gf.string, default_value="png"),
    "label": gf.FixedLenFeature([1], gf.int64),
    "some": gf.VarLenFeature(gf.int64),
    "none": gf.VarLenFeature(gf.int64),
    "sizes": gf.FixedLenFeature([2], gf.int64),
    "indices": gf.VarLenFeature(gf.int64),
    "values": gf.VarLenFeature(gf.float32),
    **{f"box/{side}": gf.VarLenFeature(gf.float32) for side in ("ymin", "xmin", "ymax", "xmax")},
}


def record(label: int, image: bytes, kind: bytes) -> bytes:
    boxes = {
        f"box__{side}": [0.25 * i, 0.5 * i] for i, side in enumerate(("ymin", "xmin", "ymax", "xmax"), 1)
    }
    return example(
        image__encoded=image, image__format=kind, label=[label], some=[1, 2, 3, 4, 5, 6], sizes=[2, 3],
        indices=[0, 3], values=[0.5, 1.5], **boxes,
    )  # fmt: skip


def decoder() -> Any:
    return decoders.TFExampleDecoder(
        FEATURES,
        {
            "image": decoders.Image(shape=[2, 4, 3]),
            "label": decoders.Tensor("label", shape=[]),
            "grid": decoders.Tensor("some", shape_keys="sizes"),
            "row": decoders.Tensor("some"),
            "sparse": decoders.SparseTensor(shape=[5], densify=True),
            "boxes": decoders.BoundingBox(prefix="box/"),
            "double": decoders.ItemHandlerCallback("label", lambda of: of["label"] * 2),
            "either": decoders.BackupHandler(decoders.Tensor("none"), decoders.Tensor("sizes")),
        },
    )


def png() -> bytes:
    with gf.Session() as session:
        data: bytes = session.run(gf.image.encode_png(IMAGE))
    return data


def test_items_of_an_example() -> None:
    given = gf.placeholder(gf.string, [])
    made = decoder()
    items = dict(zip(made.list_items(), made.decode(given), strict=True))
    of_file, raw = record(3, png(), b"png"), record(4, IMAGE.tobytes(), b"raw")
    with gf.Session() as session:
        first = session.run(items, {given: of_file})
        again = session.run([items["image"], items["label"]], {given: raw})
    np.testing.assert_array_equal(first["image"], IMAGE)
    np.testing.assert_array_equal(again[0], IMAGE)
    assert (first["label"], again[1], list(first["double"])) == (3, 4, [6])
    assert first["grid"].tolist() == [[1, 2, 3], [4, 5, 6]] and first["row"].tolist() == [1, 2, 3, 4, 5, 6]
    assert first["either"].tolist() == [2, 3]
    assert first["sparse"].tolist() == [0.5, 0, 0, 1.5, 0]
    assert first["boxes"].tolist() == [[0.25, 0.5, 0.75, 1.0], [0.5, 1.0, 1.5, 2.0]]
    with pytest.raises(ValueError, match="no item 'other'"):
        made.decode(given, ["other"])
    with pytest.raises(ValueError, match="expects 4 keys"):
        decoders.BoundingBox(["a"])
    with pytest.raises(ValueError, match="both shape_keys and shape"):
        decoders.Tensor("a", shape_keys="b", shape=[1])


def test_a_data_set_is_read_from_its_files_to_batches(tmp_path: Path) -> None:
    for part in range(2):
        with gf.python_io.TFRecordWriter(str(tmp_path / f"part-{part}")) as writer:
            for i in range(3):
                writer.write(record(part * 3 + i, IMAGE.tobytes(), b"raw"))
    data = slim.dataset.Dataset(
        str(tmp_path / "part-*"), gf.TFRecordReader, decoder(), 6, {"label": "a number"}, num_classes=6
    )
    assert data.num_classes == 6 and data.num_samples == 6
    provider = slim.dataset_data_provider.DatasetDataProvider(data, num_epochs=1, shuffle=False)
    assert provider.num_samples() == 6 and "record_key" in provider.list_items()
    image, label = provider.get(["image", "label"])
    with pytest.raises(ValueError, match="Item .other. is invalid"):
        provider.get(["other"])
    images, labels = gf.train.batch([image, label], 2)
    ready = slim.prefetch_queue.prefetch_queue({"images": images, "labels": labels}).dequeue()
    seen: list[int] = []
    with gf.Session() as session:
        session.run(gf.local_variables_initializer())
        with slim.queues.QueueRunners(session):
            for _ in range(3):
                got = session.run(ready)
                np.testing.assert_array_equal(got["images"], np.stack([IMAGE, IMAGE]))
                seen += got["labels"].tolist()
            with pytest.raises(gf.errors.OutOfRangeError):
                session.run(ready)
    assert sorted(seen) == list(range(6))
    with pytest.raises(ValueError, match="No data files found"):
        slim.parallel_reader.get_data_files(str(tmp_path / "none-*"))


def test_long_paths_lead_to_the_parts_of_data() -> None:
    gf.install_as_tensorflow()
    path = "tensorflow.contrib.slim.python.slim.data"
    names: dict[str, Any] = {}
    exec(
        f"from {path} import dataset, parallel_reader\nfrom {path}.dataset_data_provider import DatasetDataProvider",
        names,
    )
    assert names["dataset"] is slim.dataset
    assert importlib.import_module(f"{path}.tfexample_decoder").Image is decoders.Image
