"""SavedModel: signatures, assets, init ops; and models that would reach outside their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import graphflow as gf
from graphflow.opdef import emit
from graphflow.saved_model.loader import load_allowing
from graphflow.serialization.proto import saved_model_pb2

signatures = gf.saved_model.signature_def_utils


def build() -> tuple[Any, Any, Any]:
    x = gf.placeholder(gf.float32, [None, 2], name="x")
    w = gf.Variable(np.array([2.0, 3.0], np.float32), name="w")
    return x, w, gf.multiply(x, w, name="y")


def save(path: Path, **options: Any) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        x, _, y = build()
        sess.run(gf.global_variables_initializer())
        builder = gf.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            sess, ["serve"], {"serving_default": signatures.predict_signature_def({"x": x}, {"y": y})}
        )
        builder.save(**options)


def load_and_run(path: Path) -> Any:
    with gf.Graph().as_default(), gf.Session() as sess:
        signature = gf.saved_model.load(sess, ["serve"], str(path)).signature_def["serving_default"]
        return sess.run(signature.outputs["y"].name, {signature.inputs["x"].name: [[1, 1]]}).tolist()


@pytest.mark.parametrize("as_text", [False, True])
def test_round_trip(tmp_path: Path, as_text: bool) -> None:
    save(tmp_path / "m", as_text=as_text)
    assert gf.saved_model.contains_saved_model(str(tmp_path / "m"))
    assert (tmp_path / "m" / "saved_model.pbtxt").exists() == as_text
    assert load_and_run(tmp_path / "m") == [[2, 3]]
    with gf.Graph().as_default() as graph, gf.Session() as sess:
        proto = gf.saved_model.loader.load(sess, ["serve"], str(tmp_path / "m"), import_scope="in")
        info = proto.signature_def["serving_default"].outputs["y"]
        tensor = gf.saved_model.utils.get_tensor_from_tensor_info(info, graph, import_scope="in")
        assert tensor.name == "in/y:0"
        assert sess.run(tensor, {"in/x:0": [[1, 2]]}).tolist() == [[2, 6]]


def test_simple_save_and_a_folder_that_is_taken(tmp_path: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        x, _, y = build()
        sess.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(sess, str(tmp_path / "m"), {"x": x}, {"y": y})
        with pytest.raises(AssertionError, match="isn't empty"):
            gf.saved_model.simple_save(sess, str(tmp_path / "m"), {"x": x}, {"y": y})
        with pytest.raises(AssertionError, match="has not been saved yet"):
            gf.saved_model.Builder(str(tmp_path / "n")).add_meta_graph(["serve"])
    assert load_and_run(tmp_path / "m") == [[2, 3]]


def test_two_graphs_share_their_variables(tmp_path: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        x, _, y = build()
        sess.run(gf.global_variables_initializer())
        builder = gf.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(sess, ["train"])
        with pytest.raises(AssertionError, match="already been saved"):
            builder.add_meta_graph_and_variables(sess, ["train"])
        builder.add_meta_graph(
            ["serve"], {"serving_default": signatures.predict_signature_def({"x": x}, {"y": y})}
        )
        builder.save()
    assert load_and_run(tmp_path / "m") == [[2, 3]]
    with gf.Graph().as_default(), gf.Session() as sess:
        assert not gf.saved_model.load(sess, ["train"], str(tmp_path / "m")).signature_def
        with pytest.raises(
            RuntimeError, match=r"tags \['gpu', 'serve'\].*available tags \[\['train'\], \['serve'\]\]"
        ):
            gf.saved_model.load(sess, ["serve", "gpu"], str(tmp_path / "m"))


def test_assets_and_init_op(tmp_path: Path) -> None:
    for name, text in (("a", "first"), ("b", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "words.txt").write_text(text)
    with gf.Graph().as_default(), gf.Session() as sess:
        paths = [gf.constant(str(tmp_path / name / "words.txt"), name=f"path_{name}") for name in "ab"]
        step = gf.Variable(0, name="step")
        init = step.assign(41, name="init_all", read_value=False)
        sess.run(gf.global_variables_initializer())
        builder = gf.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(sess, ["serve"], assets_collection=paths, main_op=init)
        builder.save()
        with pytest.raises(TypeError, match="constant string"):
            gf.saved_model.Builder(str(tmp_path / "n")).add_meta_graph_and_variables(
                sess, ["serve"], assets_collection=[gf.constant(1)]
            )
    assert (tmp_path / "m" / "assets" / "words.txt").read_text() == "first"
    assert (tmp_path / "m" / "assets" / "words.txt_1").read_text() == "second"
    with gf.Graph().as_default(), gf.Session() as sess:
        proto = gf.saved_model.load(sess, ["serve"], str(tmp_path / "m"))
        assert [asset.filename for asset in proto.asset_file_def] == ["words.txt", "words.txt_1"]
        assert sess.run("step:0") == 41


def test_signatures() -> None:
    with gf.Graph().as_default():
        texts = gf.placeholder(gf.string, [None], name="texts")
        scores = gf.placeholder(gf.float32, [None], name="scores")
        for made in (
            signatures.regression_signature_def(texts, scores),
            signatures.classification_signature_def(texts, None, scores),
            signatures.classification_signature_def(texts, texts, scores),
            signatures.predict_signature_def({"a": texts}, {"b": scores}),
        ):
            assert signatures.is_valid_signature(made)
        assert not signatures.is_valid_signature(signatures.build_signature_def({}, {}, "other"))
        with pytest.raises(ValueError, match="must be of type string"):
            signatures.regression_signature_def(scores, scores)
        with pytest.raises(ValueError, match="cannot be None or empty"):
            signatures.predict_signature_def({}, {"b": scores})
        info = gf.saved_model.build_tensor_info(texts)
        assert (info.name, info.dtype, info.tensor_shape.dim[0].size) == ("texts:0", 7, -1)
        with pytest.raises(TypeError):
            gf.saved_model.build_tensor_info("texts:0")


def test_folders_that_hold_no_sound_model(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="SavedModel file does not exist at"):
        load_and_run(tmp_path)
    for contents in (b"", b"\x0a\xff\xff", b"nonsense"):
        (tmp_path / "saved_model.pb").write_bytes(contents)
        with pytest.raises(gf.errors.DataLossError, match="saved_model.pb"):
            load_and_run(tmp_path)
    save(tmp_path / "m")
    data = tmp_path / "m" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(b"\x01" * len(data.read_bytes()))
    with pytest.raises(gf.errors.DataLossError, match='tensor "w" is damaged'):
        load_and_run(tmp_path / "m")


def edit(path: Path, change: Any) -> None:
    file = path / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(proto.meta_graphs[0])
    file.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../../x"])
def test_assets_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    edit(tmp_path, lambda meta: meta.asset_file_def.add(filename=name))
    with pytest.raises(ValueError, match="lies outside its folder"):
        load_and_run(tmp_path)


def test_nodes_that_open_files_are_refused(tmp_path: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        other = emit.RestoreV2("/etc/model", ["w"], [""], dtypes=["float32"])[0]
        y = gf.identity(other, name="y")
        x = gf.placeholder(gf.float32, [], name="x")
        gf.Variable(1.0)
        sess.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(sess, str(tmp_path / "m"), {"x": x}, {"y": y})
    with pytest.raises(
        ValueError, match=r"node 'RestoreV2' \(RestoreV2\) could open files outside its folder"
    ):
        load_and_run(tmp_path / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        x, _, y = build()
        init = emit.SaveV2(str(tmp_path / "evil"), ["x"], [""], [gf.constant(1.0)])
        sess.run(gf.global_variables_initializer())
        gf.saved_model.simple_save(sess, str(tmp_path / "n"), {"x": x}, {"y": y}, legacy_init_op=init)
    with pytest.raises(ValueError, match="SaveV2"):
        load_and_run(tmp_path / "n")
    assert not list(tmp_path.glob("evil*"))


def test_tables_are_filled_from_assets_alone(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("first\nsecond\n")

    def save_lookup(name: str, main_op: bool) -> str:
        with gf.Graph().as_default(), gf.Session() as sess:
            kinds = gf.lookup.TextFileInitializer(
                str(words),
                gf.string,
                gf.lookup.TextFileIndex.WHOLE_LINE,
                gf.int64,
                gf.lookup.TextFileIndex.LINE_NUMBER,
            )
            table = gf.lookup.StaticHashTable(kinds, -1)
            x = gf.placeholder(gf.string, [None], name="x")
            y = table.lookup(x)
            builder = gf.saved_model.Builder(str(tmp_path / name))
            if not main_op:  # a request would fill the table itself, with the name as the graph has it
                with gf.control_dependencies([gf.tables_initializer()]):
                    y = gf.identity(table.lookup(x))
            builder.add_meta_graph_and_variables(
                sess, ["serve"],
                {"serving_default": gf.saved_model.signature_def_utils.predict_signature_def({"x": x}, {"y": y})},
                assets_collection=gf.get_collection(gf.GraphKeys.ASSET_FILEPATHS) if name != "without" else None,
                main_op=gf.tables_initializer() if main_op else None,
            )  # fmt: skip
            builder.save()
        return str(tmp_path / name)

    refused = [save_lookup("without", True), save_lookup("asked", False)]
    good = save_lookup("good", True)
    words.unlink()
    with gf.Graph().as_default(), gf.Session() as sess:
        meta = gf.saved_model.load(sess, ["serve"], good)
        output = meta.signature_def["serving_default"].outputs["y"].name
        assert sess.run(output, {"x:0": ["second", "third"]}).tolist() == [1, -1]
    for folder in refused:
        with gf.Graph().as_default(), gf.Session() as sess:
            with pytest.raises(
                ValueError, match=r"\(InitializeTableFromTextFileV2\) could open files outside"
            ):
                gf.saved_model.load(sess, ["serve"], folder)
    words.write_text("second\n")
    with gf.Graph().as_default(), gf.Session() as sess:
        load_allowing(["InitializeTableFromTextFileV2"], sess, ["serve"], refused[0])


def test_unknown_ops_beside_the_signatures_are_left_out(tmp_path: Path) -> None:
    save(tmp_path / "m")
    nodes = 'graph_def { node { name: "odd" op: "Odd" input: "y" } node { name: "odder" op: "NoOp" input: "^odd" } }'
    edit(tmp_path / "m", lambda meta: text_format.Merge(nodes, meta))
    assert load_and_run(tmp_path / "m") == [[2, 3]]
    needed = 'graph_def { node { name: "z" op: "Odd" input: "y" } }'
    save(tmp_path / "n")

    def change(meta: Any) -> None:
        text_format.Merge(needed, meta)
        meta.signature_def["serving_default"].outputs["y"].name = "z:0"

    edit(tmp_path / "n", change)
    with pytest.raises(ValueError, match=r"unknown op types: Odd \(1: z\)"):
        load_and_run(tmp_path / "n")
