"""Models that TensorFlow itself has saved are served, and answer as they do in TensorFlow."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from graphflow.serving.manager import ModelManager
from graphflow.serving.server_config import ALL_VERSIONS, ModelConfig
from graphflow.serving.service import Service
from tests.serving.models import client_at, rest
from tests.tensorflow_process import TensorFlowProcess

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# Each model is run by its signatures in TensorFlow, after it has been loaded there from the same folder.
SAVE = """
import json, sys
import numpy as np
import tensorflow as tf
tf1, folder = tf.compat.v1, sys.argv[1]
X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)

def linear(version):
    with tf.Graph().as_default(), tf1.Session() as sess:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        w = tf1.get_variable("w", [3, 2], initializer=tf1.constant_initializer(0.5 * version),
                             use_resource=version == 2)
        y = tf.nn.softmax(tf.matmul(x, w) + tf.range(2, dtype=tf.float32))
        best = tf.argmax(y, 1)
        sess.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(f"{folder}/linear/{version}")
        predict = tf1.saved_model.predict_signature_def
        builder.add_meta_graph_and_variables(sess, ["serve"], {
            "serving_default": predict({"x": x}, {"y": y}), "both": predict({"x": x}, {"y": y, "best": best})})
        builder.save()

def words():
    with tf.Graph().as_default(), tf1.Session() as sess:
        text = tf1.placeholder(tf.string, [None], name="text")
        table = tf1.lookup.StaticHashTable(
            tf1.lookup.KeyValueTensorInitializer(["a", "b", "c"], tf.constant([3, 5, 7], tf.int64)), -1)
        back = tf1.lookup.StaticHashTable(
            tf1.lookup.KeyValueTensorInitializer(tf.constant([3, 5, 7], tf.int64), ["A", "B", "C"]), "?")
        number = table.lookup(text)
        joined = tf.strings.join([text, back.lookup(number)], "-")
        sess.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder = tf1.saved_model.Builder(f"{folder}/words/1")
        predict = tf1.saved_model.predict_signature_def
        builder.add_meta_graph_and_variables(sess, ["serve"], {
            "serving_default": predict({"text": text}, {"number": number}),
            "joined": predict({"text": text}, {"joined": joined, "raw_bytes": tf.identity(text)})},
            main_op=tf1.tables_initializer())
        builder.save()

class Module(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["one", "two"], [1.0, 2.0]), 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def scores(self, x):
        return {"y": tf.tanh(x @ self.w), "total": tf.reduce_sum(x, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x"), tf.TensorSpec([None], tf.string, "scale")])
    def scaled(self, x, scale):
        return {"y": (x @ self.w) * self.table.lookup(scale)[:, None]}

for version in (1, 2):
    linear(version)
words()
module = Module()
tf.saved_model.save(module, folder + "/module/1", {"serving_default": module.scores, "scaled": module.scaled})

text = tf.constant(["a", "c", "none", "b"])
found = []
for model, version, name, inputs in (
    ("linear", 1, "serving_default", {"x": X}), ("linear", 2, "serving_default", {"x": X}),
    ("linear", 2, "both", {"x": X}), ("words", 1, "serving_default", {"text": text}),
    ("words", 1, "joined", {"text": text}), ("module", 1, "serving_default", {"x": X}),
    ("module", 1, "scaled", {"x": X, "scale": tf.constant(["two", "zero"])}),
):
    loaded = tf.saved_model.load(f"{folder}/{model}/{version}")
    outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})

    def plain(tensor):
        array = np.asarray(tensor)
        return [item.decode() for item in array] if tensor.dtype == tf.string else array.tolist()

    found.append([model, version, name, {key: plain(tf.constant(value)) for key, value in inputs.items()},
                  {key: plain(value) for key, value in outputs.items()}])
print(json.dumps(found))
"""
CASES = (
    ("linear", 1, "serving_default"), ("linear", 2, "serving_default"), ("linear", 2, "both"),
    ("words", 1, "serving_default"), ("words", 1, "joined"), ("module", 1, "serving_default"), ("module", 1, "scaled"),
)  # fmt: skip


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, tensorflow_process: TensorFlowProcess
) -> Iterator[tuple[httpx.Client, dict[Any, Any]]]:
    folder: Path = tmp_path_factory.mktemp("tensorflow")
    answers = json.loads(tensorflow_process.run(SAVE, folder, folder=folder).splitlines()[-1])
    names = ("linear", "words", "module")
    models = ModelManager(
        [ModelConfig(name, str(folder / name), ALL_VERSIONS) for name in names], poll_seconds=0
    )
    models.start()
    with rest(Service(models)) as port, client_at(port) as client:
        yield client, {tuple(case[:3]): case[3:] for case in answers}
    models.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_answers_are_tensorflows(
    served: tuple[httpx.Client, dict[Any, Any]], case: tuple[str, int, str]
) -> None:
    client, answers = served
    inputs, want = answers[case]
    model, version, name = case
    body = {"signature_name": name, "inputs": inputs}
    answer = client.post(f"/v1/models/{model}/versions/{version}:predict", json=body)
    assert answer.status_code == 200, answer.text
    outputs = answer.json()["outputs"]
    found = outputs if len(want) > 1 else dict.fromkeys(want, outputs)
    assert found.keys() == want.keys()
    for key, value in want.items():
        got = found[key]
        if key.endswith("_bytes"):
            got = [base64.b64decode(item["b64"]).decode() for item in got]
        if isinstance(value[0], str):
            assert got == value, key
        else:
            np.testing.assert_allclose(np.array(got), np.array(value), rtol=1e-5, err_msg=key)


def test_without_a_version_the_newest_answers(served: tuple[httpx.Client, dict[Any, Any]]) -> None:
    client, answers = served
    inputs, want = answers["linear", 2, "serving_default"]
    found = client.post("/v1/models/linear:predict", json={"instances": inputs["x"]}).json()["predictions"]
    np.testing.assert_allclose(np.array(found), np.array(want["y"]), rtol=1e-5)
    states = client.get("/v1/models/linear").json()["model_version_status"]
    assert [(item["version"], item["state"]) for item in states] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
