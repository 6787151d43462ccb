"""Examples of training, lines of values and texts, as programs read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import errors
from graphflow.opdef import emit
from tests.samples.parsing import sequences


def example(number: int) -> bytes:
    return gf.train.Example(
        features=gf.train.Features(
            feature={
                "image": gf.train.Feature(bytes_list=gf.train.BytesList(value=[bytes([number] * 4)])),
                "label": gf.train.Feature(int64_list=gf.train.Int64List(value=[number])),
                "weights": gf.train.Feature(float_list=gf.train.FloatList(value=[0.5] * number)),
                "at": gf.train.Feature(int64_list=gf.train.Int64List(value=[5, 2])),
                "values": gf.train.Feature(float_list=gf.train.FloatList(value=[1.0, 2.0])),
            }
        )
    ).SerializeToString()


def test_a_pipeline_from_files_of_examples(tmp_path: Path) -> None:
    path = str(tmp_path / "data.tfrecords")
    with gf.python_io.TFRecordWriter(path) as writer:
        for number in range(6):
            writer.write(example(number))
    queue = gf.train.string_input_producer([path], num_epochs=1, shuffle=False)
    _, serialized = gf.TFRecordReader().read(queue)
    features = gf.parse_single_example(
        serialized,
        {"image": gf.FixedLenFeature([], gf.string), "label": gf.FixedLenFeature([], gf.int64)},
    )
    image = gf.cast(gf.reshape(gf.decode_raw(features["image"], gf.uint8), [2, 2]), gf.float32)
    images, labels = gf.train.batch([image, gf.cast(features["label"], gf.int32)], batch_size=3)
    assert images.shape == (3, 2, 2)
    sums = gf.reduce_sum(images, axis=[1, 2])
    with gf.Session() as session:
        session.run(gf.local_variables_initializer())
        coordinator = gf.train.Coordinator()
        threads = gf.train.start_queue_runners(session, coordinator)
        assert [part.tolist() for part in session.run([sums, labels])] == [[0, 4, 8], [0, 1, 2]]
        assert [part.tolist() for part in session.run([sums, labels])] == [[12, 16, 20], [3, 4, 5]]
        with pytest.raises(errors.OutOfRangeError):
            session.run(labels)
        coordinator.request_stop()
        coordinator.join(threads)


def test_every_kind_of_feature() -> None:
    batch = gf.parse_example(
        [example(2), example(1)],
        {
            "label": gf.FixedLenFeature([1], gf.int64),
            "absent": gf.FixedLenFeature([2], gf.float32, default_value=[1.0, 2.0]),
            "weights": gf.VarLenFeature(gf.float32),
            "padded": gf.FixedLenSequenceFeature([], gf.float32, allow_missing=True, default_value=-1.0),
            "joined": gf.SparseFeature("at", "values", gf.float32, 10),
        },
    )
    with gf.Session() as session:
        got = session.run(batch)
    assert got["label"].tolist() == [[2], [1]]
    assert got["absent"].tolist() == [[1, 2], [1, 2]]
    assert got["weights"].indices.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert got["weights"].dense_shape.tolist() == [2, 2]
    assert got["padded"].shape == (2, 0)
    assert got["joined"].indices.tolist() == [[0, 2], [0, 5], [1, 2], [1, 5]]
    assert got["joined"].values.tolist() == [2, 1, 2, 1]
    assert got["joined"].dense_shape.tolist() == [2, 10]


def test_sequence_examples() -> None:
    made = gf.train.SequenceExample()
    made.context.feature["length"].int64_list.value.append(3)
    for step in range(3):
        made.feature_lists.feature_list["steps"].feature.add().float_list.value.extend([step, -step])
        made.feature_lists.feature_list["words"].feature.add().bytes_list.value.extend([b"w"] * step)
    context, lists = gf.parse_single_sequence_example(
        made.SerializeToString(),
        {"length": gf.FixedLenFeature([], gf.int64)},
        {
            "steps": gf.FixedLenSequenceFeature([2], gf.float32),
            "words": gf.VarLenFeature(gf.string),
            "absent": gf.FixedLenSequenceFeature([], gf.int64, allow_missing=True),
        },
    )
    with gf.Session() as session:
        of_context, of_lists = session.run([context, lists])
    assert of_context == {"length": 3}
    assert of_lists["steps"].tolist() == [[0, 0], [1, -1], [2, -2]]
    assert of_lists["words"].indices.tolist() == [[1, 0], [2, 0], [2, 1]]
    assert of_lists["absent"].shape == (0,)


def test_what_does_not_fit_is_refused() -> None:
    text = gf.placeholder(gf.string)
    one = gf.reshape(text, [])
    fixed = {"label": gf.FixedLenFeature([2], gf.int64)}
    cases: list[tuple[Any, bytes, str]] = [
        (gf.parse_single_example(one, fixed)["label"], example(1), "Values size: 1 but output shape"),
        (gf.parse_single_example(one, fixed)["label"], b"\xff\xff", "Could not parse example"),
        (
            gf.parse_single_example(one, {"no": gf.FixedLenFeature([], gf.string)})["no"],
            example(1),
            "Feature: no .* is required but could not be found",
        ),
        (
            gf.parse_single_example(one, {"label": gf.FixedLenFeature([], gf.string)})["label"],
            example(1),
            "Data types don't match. Expected type: string, got int64",
        ),
        (gf.decode_raw(text, gf.int32), b"12345", "not a multiple of 4"),
        (gf.decode_csv(text, [[0], [0]])[0], b"1", "Expect 2 fields but have 1"),
        (gf.decode_csv(text, [[0]])[0], b"x", "not a valid int32: x"),
        (gf.decode_csv(text, [gf.constant([], gf.float32)])[0], b"", "required but missing"),
        (gf.string_to_number(text), b"12x", "could not correctly convert string: 12x"),
        (gf.substr(text, 5, 1), b"abc", "pos 5 out of range"),
        (gf.regex_replace(text, gf.constant("("), "x"), b"abc", "Invalid pattern"),
        (gf.decode_base64(text), b"a*b", "base64"),
        (gf.parse_tensor(one, gf.float32), b"\xff\xff", "TensorProto"),
        (gf.decode_json_example(text), b"{", "JSON"),
    ]
    with gf.Session() as session:
        for tensor, value, message in cases:
            with pytest.raises(errors.InvalidArgumentError, match=message):
                session.run(tensor, {text: value})
    with pytest.raises(ValueError, match="Missing features"):
        gf.parse_example(["x"], {})
    with pytest.raises(ValueError, match="allow_missing"):
        gf.parse_example(["x"], {"a": gf.FixedLenSequenceFeature([], gf.int64)})


def test_texts() -> None:
    words = gf.constant(["a b", "c"])
    with gf.Session() as session:
        split = session.run(gf.string_split(words))
        assert split.values.tolist() == [b"a", b"b", b"c"]
        assert split.dense_shape.tolist() == [2, 2]
        assert session.run(gf.strings.split(["x--y"], sep="--")).values.tolist() == [b"x", b"y"]
        assert session.run(gf.reduce_join([["a", "b"], ["c", "d"]])) == b"abcd"
        assert session.run(gf.reduce_join([["a", "b"], ["c", "d"]], [0, 1])) == b"acbd"
        assert session.run(gf.strings.join(["a", words], "-")).tolist() == [b"a-a b", b"a-c"]
        assert session.run(gf.as_string(3.14159, precision=2)) == b"3.14"
        assert session.run(gf.strings.length(words)).tolist() == [3, 1]
        assert session.run(gf.regex_replace("abcabc", "b(.)", r"\1b", replace_global=False)) == b"acbabc"
        shown = gf.parse_tensor(gf.serialize_tensor([[1, 2]]), gf.int32)
        assert session.run(shown).tolist() == [[1, 2]]
        np.testing.assert_array_equal(session.run(gf.string_to_number(["1", "2.5"])), np.float32([1, 2.5]))


def test_letters_that_are_none_and_where_others_begin() -> None:
    text = gf.constant([b"a\xffb\xc3", b"\xe4\xb8x"])
    given = {"input": text, "input_encoding": "UTF-8"}
    with gf.Session() as session:
        splits, codes, starts = session.run(emit.UnicodeDecodeWithOffsets(text, input_encoding="UTF-8"))
        assert splits.tolist() == [0, 4, 6] and starts.tolist() == [0, 1, 2, 3, 0, 2]
        assert codes.tolist() == [97, 0xFFFD, 98, 0xFFFD, 0xFFFD, 120]
        found = session.run(
            gf.strings.unicode_transcode(**given, output_encoding="UTF-16-BE", errors="ignore")
        )
        assert found.tolist() == [b"\0a\0b", b"\0x"]
        with pytest.raises(errors.InvalidArgumentError, match="Invalid formatting on input string"):
            session.run(gf.strings.unicode_transcode(**given, output_encoding="UTF-8", errors="strict"))
        with pytest.raises(errors.InvalidArgumentError, match="converter for input encoding: klingon"):
            session.run(gf.strings.unicode_transcode("a", "klingon", "UTF-8"))
        assert session.run(gf.strings.unicode_script([97, 0x3B1, -1])).tolist() == [25, 14, -1]


def test_letters_of_a_text() -> None:
    text = "aß€😀".encode() + b"\xff"
    with gf.Session() as session:
        letters, starts = gf.strings.unicode_decode_with_offsets(text, "UTF-8")
        assert session.run(letters).tolist() == [97, 223, 8364, 128512, 65533]
        assert session.run(starts).tolist() == [0, 1, 3, 6, 10]
        assert session.run(gf.strings.unicode_decode(text, "UTF-8", errors="ignore")).tolist()[-1] == 128512
        parts, starts = gf.strings.unicode_split_with_offsets(text, "UTF-8")
        assert session.run(parts).tolist() == [c.encode() for c in "aß€😀\ufffd"]
        assert session.run(gf.strings.unicode_split(b"", "UTF-8")).shape == (0,)
        encoded = gf.strings.unicode_encode([[[97, 98], [8364, 65]]], "UTF-8")
        assert encoded.shape == [1, 2] and session.run(encoded).tolist() == [[b"ab", "€A".encode()]]
        assert session.run(gf.strings.unicode_encode(np.zeros((2, 0), np.int32), "UTF-8")).tolist() == [
            b"",
            b"",
        ]
        with pytest.raises(gf.errors.UnimplementedError, match="would be a RaggedTensor"):
            gf.strings.unicode_decode([text], "UTF-8")
        with pytest.raises(ValueError, match="rank must be at least 1"):
            gf.strings.unicode_encode(97, "UTF-8")


def test_batches_of_sequence_examples() -> None:
    features = gf.io.VarLenFeature(gf.string)
    steps = gf.io.FixedLenSequenceFeature([2], gf.float32)
    context, lists, lengths = gf.io.parse_sequence_example(
        sequences()[:2], {"length": gf.io.VarLenFeature(gf.int64)}, {"words": features, "steps": steps}
    )
    missing = gf.io.parse_sequence_example(sequences(), None, {"gone": steps}, ["p", "q", "r"])[1]
    with gf.Session() as session:
        assert session.run(context["length"]).values.tolist() == [2, 2, 3]
        assert session.run(lists["words"]).dense_shape.tolist() == [2, 3, 2]
        assert session.run(lengths["steps"]).tolist() == [2, 3]
        assert session.run(lists["steps"]).tolist()[0] == [[0, 0.5], [1, 1.5], [0, 0]]
        with pytest.raises(errors.InvalidArgumentError, match="Name: p, Feature list 'gone' is required"):
            session.run(missing["gone"])
