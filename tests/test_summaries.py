"""Summaries and event files: what TensorFlow reads in them is what was put in."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from graphflow.errors import DataLossError

Array = np.ndarray[Any, Any]


def decoded(png: bytes) -> Array:
    """The pixels of a PNG file whose rows are not filtered."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    channels = {0: 1, 2: 3, 6: 4}[png[25]]
    at = png.index(b"IDAT")
    rows = zlib.decompress(png[at + 4 : at + 4 + int.from_bytes(png[at - 4 : at], "big")])
    table = np.frombuffer(rows, np.uint8).reshape(height, -1)
    assert not table[:, 0].any()
    return table[:, 1:].reshape(height, width, channels)


def events_of(folder: Path) -> list[Any]:
    return [event for path in sorted(folder.iterdir()) for event in gf.train.summary_iterator(str(path))]


def test_images_are_scaled_as_tensorflow_scales_them() -> None:
    ramp = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3) - 4
    cases = [
        (ramp, 0, [[88, 98, 108], [118, 128, 137], [147, 157, 167]]),
        (ramp, 1, [[115, 123, 131], [139, 148, 156], [164, 172, 180]]),
        (np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1), 0, [[0], [85], [170], [255]]),
        (np.full((1, 1, 2, 1), -3, np.float32), 0, [[1], [1]]),
        (np.array([np.nan, 2], np.float32).reshape(1, 1, 2, 1), 0, [[255], [255]]),
        (np.arange(8, dtype=np.uint8).reshape(1, 1, 2, 4), 0, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (np.full((1, 1, 1, 3), np.inf, np.float16), 0, [[255, 0, 0]]),
    ]
    with gf.Session() as session:
        for pixels, at, wanted in cases:
            summary = gf.Summary.FromString(session.run(gf.summary.image("name", gf.constant(pixels))))
            image = summary.value[at].image
            assert (image.height, image.width, image.colorspace) == pixels.shape[1:]
            assert decoded(image.encoded_image_string)[0].tolist() == wanted


def test_tags_follow_scopes_families_and_the_number_of_images() -> None:
    with gf.name_scope("scope"):
        plain = gf.summary.scalar("loss of x", 1.0)
        family = gf.summary.scalar("loss", 1.0, family="some")
        many = gf.summary.image("pictures", gf.zeros([2, 1, 1, 1]), max_outputs=2)
        one = gf.summary.image("picture", gf.zeros([2, 1, 1, 1]), max_outputs=1, collections=[])
    old = gf.scalar_summary("a tag with spaces", 2.0, name="called")
    assert [t.op.name for t in (plain, family, old)] == ["scope/loss_of_x", "scope/some/loss", "called"]
    assert gf.get_collection(gf.GraphKeys.SUMMARIES) == [plain, family, many, old]
    merged = gf.summary.merge_all()
    assert merged is not None and gf.summary.merge_all("nothing") is None
    with gf.Session() as session:
        tags = [value.tag for value in gf.Summary.FromString(session.run(merged)).value]
        assert tags == [
            "scope/loss_of_x",
            "some/scope/some/loss",
            "scope/pictures/image/0",
            "scope/pictures/image/1",
            "a tag with spaces",
        ]
        (single,) = gf.Summary.FromString(session.run(one)).value
        assert single.tag == "scope/picture/image"


def test_what_cannot_be_summed_up_is_refused() -> None:
    fed = gf.placeholder(gf.float32)
    scalar = gf.summary.scalar("x", fed)
    cases = [
        (scalar, [1.0, 2.0], r"not the same shape: \[\] != \[2\] \(tag 'x'\)"),
        (gf.summary.histogram("h", fed), [1.0, np.nan], "Nan in summary histogram for: h"),
        (gf.summary.histogram("i", fed), [np.inf], "Infinity in summary histogram for: i"),
        (gf.summary.image("p", fed), np.zeros((1, 2, 2, 2)), "4-D with last dim 1, 3, or 4"),
        (gf.summary.audio("a", fed, 8000.0), 1.0, "3-D or 2-D"),
        (gf.summary.audio("b", gf.zeros([1, 2]), fed), -1.0, "sample_rate must be > 0"),
        (gf.summary.merge([scalar, scalar]), 1.0, "Duplicate tag x"),
        (
            gf.summary.merge([gf.as_string(fed) if hasattr(gf, "as_string") else gf.constant("x")]),
            1.0,
            "parse",
        ),
    ]
    with gf.Session() as session:
        for summary, value, message in cases:
            with pytest.raises(errors.InvalidArgumentError, match=message):
                session.run(summary, {fed: value})
    with pytest.raises(ValueError, match="dtype string"):
        gf.summary.text("t", 1.0)
    with pytest.raises(ValueError, match="at least one"):
        gf.summary.merge([])


def test_event_files_hold_what_was_written(tmp_path: Path) -> None:
    summary = gf.summary.tensor_summary("t", [1.0, 2.0], display_name="shown", summary_description="long")
    with gf.Session() as session, gf.summary.FileWriter(str(tmp_path), session.graph) as writer:
        value = session.run(summary)
        for step in (1, 2):
            writer.add_summary(value, step)
        writer.add_session_log(gf.SessionLog(status=gf.SessionLog.START), 3)
        writer.add_run_metadata(gf.RunMetadata(), "run", 4)
        with pytest.raises(ValueError, match="already used"):
            writer.add_run_metadata(gf.RunMetadata(), "run", 4)
        writer.flush()
        kinds = [event.WhichOneof("what") for event in events_of(tmp_path)]
    assert kinds == [
        "file_version", "graph_def", "meta_graph_def", "summary", "summary", "session_log", "tagged_run_metadata",
    ]  # fmt: skip
    events = events_of(tmp_path)
    assert events[0].file_version == "brain.Event:2"
    # What a tag means is told once.
    assert events[3].summary.value[0].metadata.display_name == "shown"
    assert not events[4].summary.value[0].HasField("metadata")
    with pytest.warns(UserWarning, match="closed FileWriter"):
        writer.add_summary(value, 5)
    writer.reopen()
    writer.add_summary(gf.Summary(value=[gf.Summary.Value(tag="by hand", simple_value=0.5)]), 6)
    writer.close()
    assert len(list(tmp_path.iterdir())) == 2
    last = events_of(tmp_path)[-1]
    assert (last.step, last.summary.value[0].simple_value) == (6, 0.5)
    (damaged, *_) = sorted(tmp_path.iterdir())
    data = bytearray(damaged.read_bytes())
    data[40] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(DataLossError, match="corrupted"):
        list(gf.train.summary_iterator(str(damaged)))


def test_one_writer_per_folder(tmp_path: Path) -> None:
    try:
        first = gf.summary.FileWriterCache.get(str(tmp_path))
        assert gf.summary.FileWriterCache.get(str(tmp_path)) is first
        assert first.get_logdir() == str(tmp_path)
    finally:
        gf.summary.FileWriterCache.clear()


_READER = """
import glob, json, sys
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
out = {}
with tf.Session() as session:
    for event in tf.train.summary_iterator(glob.glob(sys.argv[1] + "/*")[0]):
        if event.HasField("graph_def"):
            out["nodes"] = [node.name for node in tf.GraphDef.FromString(event.graph_def).node]
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                out.setdefault("scalar", []).append([event.step, value.simple_value])
            elif kind == "histo":
                out["histogram"] = [value.histo.min, value.histo.max, value.histo.num, value.histo.sum]
            elif kind == "image":
                out["image"] = session.run(tf.image.decode_png(value.image.encoded_image_string)).tolist()
            elif kind == "audio":
                out["sound"] = session.run(tf.audio.decode_wav(value.audio.encoded_audio_string).audio).tolist()
            else:
                out["text"] = tf.make_ndarray(value.tensor).tolist()[0].decode()
print(json.dumps(out))
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_tensorflow_reads_event_files(tmp_path: Path, tensorflow: Callable[..., str]) -> None:
    x = gf.placeholder(gf.float32, [], name="x")
    gf.summary.scalar("loss", x)
    gf.summary.histogram("weights", [1.0, 2.0, 4.0])
    gf.summary.image("picture", gf.constant(np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)), max_outputs=1)
    gf.summary.audio("sound", [[0.0, 0.5, -0.25]], 8000.0, max_outputs=1)
    gf.summary.text("words", ["some *words*"])
    merged = gf.summary.merge_all()
    with gf.Session() as session, gf.summary.FileWriter(str(tmp_path), session.graph) as writer:
        for step in range(3):
            writer.add_summary(session.run(merged, {x: step / 2}), step)
    told = json.loads(tensorflow(_READER, tmp_path).splitlines()[-1])
    assert told["scalar"] == [[0, 0.0], [1, 0.5], [2, 1.0]]
    assert told["histogram"] == [1.0, 4.0, 3.0, 7.0]
    assert told["image"] == np.arange(12).reshape(2, 2, 3).tolist()
    assert told["sound"] == [[0.0], [0.5], [-0.25]]
    assert told["text"] == "some *words*"
    assert "loss" in told["nodes"]
