"""Saver: what is saved comes back, old checkpoints go, and what cannot be restored is said before anything changes."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.train import saver as saver_module


def build(scale: float = 1.0) -> tuple[Any, Any]:
    w = gf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3) * np.float32(scale), name="w")
    b = gf.Variable(np.int64(5), name="scope/b", trainable=False)
    return w, b


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_save_and_restore(tmp_path: Path) -> None:
    prefix = str(tmp_path / "new" / "model.ckpt")
    with gf.Graph().as_default(), gf.Session() as sess:
        w, _ = build()
        saver = gf.train.Saver()
        sess.run(gf.global_variables_initializer())
        assert saver.save(sess, prefix) == prefix
        sess.run(w.assign(np.zeros((2, 3), np.float32)))
        saver.restore(sess, prefix)
        assert sess.run(w).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert files(tmp_path / "new") == {
        "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta", "checkpoint"
    }  # fmt: skip
    with gf.Graph().as_default(), gf.Session() as sess:
        w, b = build()
        gf.train.Saver().restore(sess, prefix)
        assert sess.run([w, b])[1] == 5
    assert gf.train.list_variables(prefix) == [("scope/b", []), ("w", [2, 3])]
    assert gf.train.load_variable(str(tmp_path / "new"), "scope/b") == 5
    reader = gf.train.NewCheckpointReader(prefix)
    assert reader.has_tensor("w") and not reader.has_tensor("v")
    assert reader.get_variable_to_dtype_map() == {"scope/b": gf.int64, "w": gf.float32}
    with pytest.raises(gf.errors.NotFoundError, match="nearest: w"):
        reader.get_tensor("w1")


@pytest.mark.parametrize("sharded", [False, True])
def test_graph_and_values_from_files_alone(tmp_path: Path, sharded: bool) -> None:
    prefix = str(tmp_path / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        w, b = build()
        gf.add_to_collection("result", gf.multiply(w, 2.0, name="result"))
        gf.add_to_collection("numbers", 7)
        gf.add_to_collection("texts", "seven")
        sess.run(gf.global_variables_initializer())
        gf.train.Saver(sharded=sharded).save(sess, prefix, global_step=b)
    assert not [name for name in os.listdir(tmp_path) if "temp" in name]
    with gf.Graph().as_default() as graph, gf.Session() as sess:
        saver = gf.train.import_meta_graph(f"{prefix}-5.meta")
        assert saver is not None
        saver.restore(sess, gf.train.latest_checkpoint(str(tmp_path)))
        assert sess.run(gf.get_collection("result")[0]).tolist() == [[0, 2, 4], [6, 8, 10]]
        assert gf.get_collection("numbers") == [7] and gf.get_collection("texts") == [b"seven"]
        assert [v.name for v in gf.global_variables()] == ["w:0", "scope/b:0"]
        assert gf.trainable_variables() == gf.global_variables()[:1]
        saver.save(sess, str(tmp_path / "again"), write_meta_graph=False)
        sess.run(gf.global_variables_initializer())
        assert graph.get_operation_by_name("w").type == "VarHandleOp"
    with gf.Graph().as_default(), gf.Session() as sess:
        saver = gf.train.import_meta_graph(f"{prefix}-5.meta", import_scope="inner")
        assert saver is not None
        saver.restore(sess, str(tmp_path / "again"))
        assert sess.run("inner/result:0")[0, 1] == 2
        assert gf.trainable_variables()[0].name == "inner/w:0"


@pytest.mark.parametrize("sharded", [False, True])
def test_the_old_format_is_written(tmp_path: Path, sharded: bool) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        w, b = build()
        sess.run(gf.global_variables_initializer())
        saver = gf.train.Saver(sharded=sharded, write_version=gf.train.SaverDef.V1, max_to_keep=2)
        assert saver.as_saver_def().version == gf.train.SaverDef.V1
        paths = [str(saver.save(sess, str(tmp_path / "m"), global_step=n)) for n in range(3)]
        assert paths[2] == str(tmp_path / ("m-2-?????-of-00001" if sharded else "m-2"))
        sess.run(w.assign_add(w))
        saver.restore(sess, gf.train.latest_checkpoint(str(tmp_path)))
        assert sess.run(w).tolist() == [[0, 1, 2], [3, 4, 5]]
        saver.recover_last_checkpoints(paths)
        assert saver.last_checkpoints == paths[1:]
        with pytest.raises(RuntimeError, match="write_version"):
            gf.train.Saver(write_version=3)
    shard = "-00000-of-00001" if sharded else ""
    assert files(tmp_path) == {f"m-{n}{end}" for n in (1, 2) for end in (shard, ".meta")} | {"checkpoint"}
    with gf.Graph().as_default(), gf.Session() as sess:
        gf.train.import_meta_graph(str(tmp_path / "m-1.meta")).restore(sess, paths[1])
        assert sess.run("w:0")[1, 2] == 5
    assert gf.train.list_variables(paths[2]) == [("scope/b", []), ("w", [2, 3])]


def test_old_checkpoints_go_and_the_list_is_kept(tmp_path: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        build()
        sess.run(gf.global_variables_initializer())
        saver = gf.train.Saver(max_to_keep=2, pad_step_number=True)
        paths = [saver.save(sess, str(tmp_path / "m"), global_step=i) for i in range(4)]
        assert paths[3] == str(tmp_path / "m-00000003")
        assert saver.last_checkpoints == paths[2:]
        again = gf.train.Saver(max_to_keep=2)
        again.recover_last_checkpoints([*paths, str(tmp_path / "gone")])
        again.save(sess, str(tmp_path / "m"), global_step=4)
    kept = {name.split(".")[0] for name in files(tmp_path)}
    assert kept == {"m-00000003", "m-4", "checkpoint"}
    state = gf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == [paths[3], str(tmp_path / "m-4")]
    assert gf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "m-4")
    (tmp_path / "m-4.index").unlink()
    assert gf.train.latest_checkpoint(str(tmp_path)) is None
    assert gf.train.latest_checkpoint(str(tmp_path / "nowhere")) is None


def test_some_are_kept_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(saver_module.time, "time", lambda: clock[0])
    with gf.Graph().as_default(), gf.Session() as sess:
        build()
        sess.run(gf.global_variables_initializer())
        saver = gf.train.Saver(max_to_keep=1, keep_checkpoint_every_n_hours=1)
        for hour in range(6):
            clock[0] = hour * 1801.0
            saver.save(sess, str(tmp_path / "m"), global_step=hour, write_meta_graph=False)
    kept = sorted({name.split(".")[0] for name in files(tmp_path)})
    assert kept == ["checkpoint", "m-2", "m-4", "m-5"]


@pytest.mark.parametrize("keep", [0, None])
def test_all_are_kept(tmp_path: Path, keep: int | None) -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        build()
        sess.run(gf.global_variables_initializer())
        saver = gf.train.Saver(max_to_keep=keep)
        for i in range(7):
            saver.save(sess, str(tmp_path / "m"), global_step=i, write_meta_graph=False)
    assert len(list(tmp_path.glob("*.index"))) == 7


def test_a_folder_of_relative_paths_can_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with gf.Graph().as_default(), gf.Session() as sess:
        build()
        sess.run(gf.global_variables_initializer())
        assert gf.train.Saver().save(sess, "run/m", global_step=3) == "run/m-3"
        gf.train.Saver(save_relative_paths=True).save(sess, str(tmp_path / "other" / "m"))
    assert 'model_checkpoint_path: "m-3"' in (tmp_path / "run" / "checkpoint").read_text()
    for old in ("run", "other"):
        (tmp_path / old).rename(tmp_path / "moved")
        newest = gf.train.latest_checkpoint("moved")
        assert newest is not None and newest.startswith("moved/m")
        (tmp_path / "moved").rename(tmp_path / f"{old}-done")


def test_names_of_the_checkpoint(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        w, b = build()
        sess.run(gf.global_variables_initializer())
        gf.train.Saver({"other/name": w}).save(sess, prefix)
        assert gf.train.list_variables(prefix) == [("other/name", [2, 3])]
        gf.train.Saver([w, w, b])
        with gf.Graph().as_default() as other:
            twin = gf.Variable(1.0, name="w")
        assert other is not sess.graph
        with pytest.raises(ValueError, match="At least two variables have the same name: w"):
            gf.train.Saver([w, twin])
        with pytest.raises(TypeError, match="not a Variable"):
            gf.train.Saver([gf.constant(1.0)])


def test_what_cannot_be_restored(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        build()
        sess.run(gf.global_variables_initializer())
        gf.train.Saver().save(sess, prefix)
    with gf.Graph().as_default(), gf.Session() as sess:
        w = gf.Variable(np.ones((2, 3), np.float32), name="w")
        gf.Variable(np.ones(4, np.float32), name="scope/bb")
        gf.Variable(1.0, name="else")
        sess.run(gf.global_variables_initializer())
        with pytest.raises(gf.errors.NotFoundError) as missing:
            gf.train.Saver().restore(sess, prefix)
        assert "Key else not found in checkpoint" in missing.value.message
        assert "(nearest: scope/b" in missing.value.message
        assert "It has 2: scope/b, w" in missing.value.message
        assert sess.run(w).tolist() == [[1, 1, 1], [1, 1, 1]]
    with gf.Graph().as_default(), gf.Session() as sess:
        w = gf.Variable(np.ones((3, 2), np.float32), name="w")
        b = gf.Variable(np.float32(1), name="scope/b")
        sess.run(gf.global_variables_initializer())
        with pytest.raises(gf.errors.InvalidArgumentError) as wrong:
            gf.train.Saver().restore(sess, prefix)
        assert "w: the variable is float32(3, 2), the checkpoint has float32(2, 3)" in wrong.value.message
        assert "scope/b: the variable is float32(), the checkpoint has int64()" in wrong.value.message
        gf.train.Saver({"w": w}, reshape=True).restore(sess, prefix)
        assert sess.run(w).tolist() == [[0, 1], [2, 3], [4, 5]] and sess.run(b) == 1
        for path, text in (
            (None, "when it is None"),
            (prefix + "x", "not a valid checkpoint"),
            (tmp_path, "folder"),
        ):
            with pytest.raises(ValueError, match=text):
                gf.train.Saver({"w": w}).restore(sess, path)


def test_a_damaged_checkpoint_names_the_tensor(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        w, _ = build()
        sess.run(gf.global_variables_initializer())
        saver = gf.train.Saver()
        saver.save(sess, prefix)
        data = tmp_path / "m.data-00000-of-00001"
        contents = bytearray(data.read_bytes())
        contents[-1] ^= 1
        data.write_bytes(contents)
        sess.run(w.assign_add(np.ones((2, 3), np.float32)))
        with pytest.raises(gf.errors.DataLossError, match='tensor "w" is damaged: the checksum'):
            saver.restore(sess, prefix)
        assert sess.run(w)[0, 0] == 1
        (tmp_path / "checkpoint").write_text("model_checkpoint_path: 3")
        with pytest.raises(gf.errors.DataLossError, match="checkpoint"):
            gf.train.latest_checkpoint(str(tmp_path))


def test_failing_to_save_keeps_what_was(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    with gf.Graph().as_default(), gf.Session() as sess:
        _, b = build()
        sess.run(gf.global_variables_initializer())
        saver = gf.train.Saver()
        saver.save(sess, prefix)
        before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
        with gf.Session() as fresh, pytest.raises(gf.errors.FailedPreconditionError, match="uninitialized"):
            saver.save(fresh, prefix)
        assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
        nameless = saver.save(sess, str(tmp_path / "deep") + "/", write_meta_graph=False)
        assert files(tmp_path / "deep") == {".data-00000-of-00001", ".index", "checkpoint"}
        sess.run(b.assign(0))
        saver.restore(sess, nameless)
        with pytest.raises(ValueError, match="path components"):
            saver.save(sess, prefix, latest_filename="a/b")
        assert sess.run(b) == 5


def test_building() -> None:
    with gf.Graph().as_default(), gf.Session() as sess:
        with pytest.raises(ValueError, match="No variables to save"):
            gf.train.Saver()
        assert gf.train.Saver(allow_empty=True).save(sess, "unused") is None
        deferred = gf.train.Saver(defer_build=True)
        with pytest.raises(RuntimeError, match="build"):
            deferred.save(sess, "unused")
        build()
        deferred.build()
        definition = deferred.as_saver_def()
        assert definition.filename_tensor_name == "save/Const:0"
        assert definition.save_tensor_name == "save/control_dependency:0"
        assert definition.restore_op_name == "save/restore_all"
        assert gf.train.Saver().to_proto().restore_op_name == "save_1/restore_all"
        assert gf.train.Saver.from_proto(definition).as_saver_def() == definition


def test_meta_graph_of_a_scope(tmp_path: Path) -> None:
    with gf.Graph().as_default(), gf.name_scope("tower"):
        x = gf.placeholder(gf.float32, [2], name="x")
        gf.add_to_collection("y", gf.square(x, name="y"))
    with gf.Graph().as_default() as graph:
        with gf.name_scope("tower"), gf.device("/cpu:0"):
            x = gf.placeholder(gf.float32, [2], name="x")
            gf.add_to_collection("y", gf.square(x, name="y"))
        path = str(tmp_path / "scope.meta")
        proto = gf.train.export_meta_graph(
            path, export_scope="tower", clear_devices=True, strip_default_attrs=True
        )
        assert [node.name for node in proto.graph_def.node] == ["x", "y"]
        assert not any(node.device for node in proto.graph_def.node)
        gf.negative(x, name="other/z")
        with pytest.raises(ValueError, match="inputs from outside"):
            gf.train.export_meta_graph(export_scope="other", graph=graph)
    with gf.Graph().as_default(), gf.Session() as sess:
        assert gf.train.import_meta_graph(path, import_scope="a") is None
        gf.train.import_meta_graph(path, import_scope="a")
        assert [y.name for y in gf.get_collection("y")] == ["a/y:0", "a_1/y:0"]
        assert sess.run("a_1/y:0", {"a_1/x:0": [1, 2]}).tolist() == [1, 4]


_open = open


def _refused(*_: Any) -> None:
    raise OSError("no second links here")


class _Killer:
    """Kills the process before or after the n-th thing that it does to a file."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            result = act(*args, **kwargs)
            self.tick()
            return result

        return done

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def open(self, path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        self.tick()
        if mode != "wb":
            return _open(path, mode, *args, **kwargs)
        kill = self

        class Watched(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                half = len(view) // 2
                done = super().write(view[:half]) if half else 0  # torn in the middle
                kill.tick()
                return int(done) + int(super().write(view[half:]))

        return Watched(path, "wb")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    ("options", "numbered", "links"),
    [
        ({"max_to_keep": 2}, True, True),
        ({"max_to_keep": 2}, False, True),  # each takes the place of the one before
        ({}, False, False),
        ({"sharded": True, "save_relative_paths": True}, False, True),
        ({"write_version": gf.train.SaverDef.V1, "pad_step_number": True, "max_to_keep": 1}, True, True),
    ],
    ids=["numbered", "in_place", "without_links", "shards", "old_format"],
)
def test_a_kill_at_any_moment_leaves_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], numbered: bool, links: bool
) -> None:
    step = gf.get_variable("step", initializer=0)
    weights = gf.get_variable("weights", initializer=np.zeros(500, np.float32))
    to = gf.placeholder(gf.int32, [])
    move = gf.group(gf.assign(step, to), gf.assign(weights, gf.fill([500], gf.cast(to, gf.float32))))
    saver = gf.train.Saver(**options)
    if not links:
        monkeypatch.setattr(os, "link", _refused)
    with gf.Session() as session:

        def save(folder: Path, n: int) -> None:
            session.run(move, {to: n})
            graph_too = options == {"max_to_keep": 2}  # makes up most of the time
            saver.save(session, str(folder / "model"), n if numbered else None, write_meta_graph=graph_too)

        for n in (1, 2):
            save(tmp_path / "good", n)
        kills = 0
        found = set()
        while True:
            folder = tmp_path / f"kill{kills}"
            shutil.copytree(tmp_path / "good", folder)
            state = folder / "checkpoint"
            state.write_text(state.read_text().replace(str(tmp_path / "good"), str(folder)))
            known = gf.train.get_checkpoint_state(folder)
            saver.recover_last_checkpoints(known.all_model_checkpoint_paths)
            child = os.fork()
            if child == 0:
                killer = _Killer(kills + 1)
                for name in ("fsync", "replace", "rename", "link", "remove", "unlink", "rmdir"):
                    monkeypatch.setattr(os, name, killer(getattr(os, name)))
                monkeypatch.setattr("builtins.open", killer.open)
                save(folder, 3)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            newest = gf.train.latest_checkpoint(folder)
            assert newest is not None
            saver.restore(session, newest)
            values = session.run([step, weights])
            assert values[0] in (2, 3) and (values[1] == values[0]).all()
            assert not numbered or int(newest.rpartition("-")[2]) == values[0]
            found.add(int(values[0]))
            save(folder, 4)
            newest = gf.train.latest_checkpoint(folder)
            assert gf.train.load_variable(newest, "step") == 4
            if not numbered:
                # Nothing of the killed one is left among the files that count.
                assert len(list(folder.glob("model.data-?????-of-?????"))) <= 1
            if not os.WIFSIGNALED(status):
                assert os.WEXITSTATUS(status) == 0
                break
            kills += 1
    assert kills > 10 and found == {2, 3}


def test_meta_graphs_and_saved_models_hold_the_functions_of_branches_and_loops(tmp_path: Path) -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [2, 3, 2], name="x")
        with gf.name_scope("part"):
            outputs, _ = gf.nn.dynamic_rnn(gf.nn.rnn_cell.BasicRNNCell(2), x, dtype=gf.float32)
            y = gf.cond(gf.reduce_sum(x) > 0, lambda: outputs * 2.0, lambda: outputs, name="branch")
            y = gf.reduce_sum(y, name="y")
        step = gf.train.GradientDescentOptimizer(0.1).minimize(y, name="step")
        session.run(gf.global_variables_initializer())
        gf.train.Saver().save(session, str(tmp_path / "model"))
        gf.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": y})
        feed = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
        before = session.run(y, {x: feed})
        session.run(step, {x: feed})
        after = session.run(y, {x: feed})
    with gf.Graph().as_default(), gf.Session() as session:
        gf.train.import_meta_graph(str(tmp_path / "model.meta")).restore(session, str(tmp_path / "model"))
        assert session.run("part/y:0", {"x:0": feed}) == before
        session.run("step", {"x:0": feed})
        np.testing.assert_allclose(session.run("part/y:0", {"x:0": feed}), after, rtol=1e-5)
    with gf.Graph().as_default(), gf.Session() as session:
        gf.saved_model.loader.load(session, ["serve"], str(tmp_path / "saved"))
        assert session.run("part/y:0", {"x:0": feed}) == before
