"""Tokens, TLS, what is said of open doors; the status page, `--check` and `graphflow predict`."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from graphflow.cli import app
from graphflow.errors import InvalidArgumentError
from graphflow.serving.access import Access, read_token
from graphflow.serving.grpc_server import GrpcServer
from graphflow.serving.manager import ModelManager
from graphflow.serving.model import Model
from graphflow.serving.recording import Recorder
from graphflow.serving.server_config import ModelConfig
from graphflow.serving.service import Service
from graphflow.serving.tensorflow_grpc import services
from tests.serving.models import rest, save_model

X = [[1.0, 2.0, 3.0]]
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "4")
    return folder


@pytest.fixture(scope="module")
def models(base: Path) -> Iterator[ModelManager]:
    models = ModelManager([ModelConfig("m", str(base))], poll_seconds=0)
    models.start()
    yield models
    models.close()


def test_a_token_is_asked_for_everywhere_but_of_health(models: ModelManager) -> None:
    service = Service(models, access=Access(token="secret"))
    with (
        rest(service) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=None) as client,
    ):
        assert client.get("/healthz").status_code == 200
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}):
            for path in ("/v1/models/m", "/v2", "/monitoring/prometheus/metrics", "/"):
                assert client.get(path, headers=headers).status_code == 401
        assert client.get("/v1/models/m", headers={"Authorization": "Bearer secret"}).status_code == 200
    listener = GrpcServer(services(service), "127.0.0.1", 0, access=service.access)
    listener.start()
    with grpc.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
        call = channel.unary_unary(STATUS)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\n\x03\n\x01m")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
        assert call(b"\n\x03\n\x01m", metadata=[("authorization", "Bearer secret")])
    listener.stop(1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls(models: ModelManager, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    access = Access(certificate=str(certificate), key=str(key))
    listener = GrpcServer(services(Service(models)), "127.0.0.1", 0, access=access)
    listener.start()
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(f"localhost:{listener.port}", credentials) as channel:
        assert channel.unary_unary(STATUS)(b"\n\x03\n\x01m")
    listener.stop(1)
    trusting = ssl.create_default_context(cafile=certificate)
    with (
        rest(Service(models, access=access)) as port,
        httpx.Client(
            base_url=f"https://localhost:{port}", verify=trusting, trust_env=False, timeout=None
        ) as client,
    ):
        answer = client.post("/v1/models/m:predict", json={"instances": X})
        assert answer.status_code == 200 and len(answer.json()["predictions"]) == 1
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/healthz", trust_env=False)
    with pytest.raises(InvalidArgumentError, match="TLS needs a certificate and its key"):
        Access(certificate=str(certificate))


@pytest.mark.parametrize(
    ("access", "host", "said"),
    [
        (Access(), "127.0.0.1", ""),
        (Access(), "::1", ""),
        (Access(), "localhost", ""),
        (Access(), "0.0.0.0", "without TLS and without a token"),
        (Access(), "example.org", "without TLS and without a token"),
        (Access(token="t"), "0.0.0.0", "whoever is on the way can read"),
        (Access(certificate="c", key="k"), "0.0.0.0", "with TLS but without a token"),
        (Access("t", "c", "k"), "0.0.0.0", ""),
    ],
)
def test_open_doors_are_told_of(access: Access, host: str, said: str) -> None:
    warning = access.warning(host)
    assert said in warning and bool(said) == bool(warning)


def test_tokens_in_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    assert read_token(str(file)) == "abc"
    for text in ("", "two words", "süß"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidArgumentError, match="holds no token"):
            read_token(str(file))


def test_the_status_page_says_why_requests_run_alone(models: ModelManager) -> None:
    with (
        rest(Service(models)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=None) as client,
    ):
        (version,) = client.get("/graphflow/status").json()["models"]["m"]
        assert version["state"] == "AVAILABLE" and version["signatures"]["serving_default"]["batching"]
        assert "folds the rows of the batch into one" in version["signatures"]["total"]["alone"]
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "&quot;total&quot; folds the rows" in page.text and "in batches" in page.text
        assert "/graphflow/models/m/versions/4/graph.svg" in page.text
        picture = client.get("/graphflow/models/m/versions/4/graph.svg")
        assert picture.headers["content-type"].startswith("image/svg+xml") and "MatMul" in picture.text
        assert client.get("/graphflow/models/m/versions/5/graph.svg").status_code == 404
        done = CliRunner().invoke(app, ["predict", "m", json.dumps(X), "--port", str(port)])
        want = client.post("/v1/models/m:predict", json={"instances": X}).json()
        assert done.exit_code == 0 and json.loads(done.output) == want
        wrong = CliRunner().invoke(
            app, ["predict", "m", "[[1]]", "--port", str(port), "--signature_name", "total"]
        )
        assert wrong.exit_code == 1 and "Cannot feed value of shape" in wrong.output


def test_recorded_requests_are_held_against_another_version(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "requests"
    recorder = Recorder(file, most=3)
    model = Model(base / "4", recorder=recorder)
    for rows in range(1, 5):
        model.run("", {"x": np.full((rows, 3), rows, np.float32)})
    model.close()
    recorder.close()
    arguments = ["serve", "--check", "--replay", str(file), "--model_base_path"]
    done = CliRunner().invoke(app, [*arguments, str(base)])
    assert "3 recorded requests: 3 answers have the same bits\n" in done.output, done.output
    save_model(tmp_path / "other" / "1", scale=2)
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "other")])
    assert "0 answers have the same bits, the largest difference is 1.8" in done.output, done.output
    # The same file warms a model up.
    (tmp_path / "other/1/assets.extra").mkdir()
    file.rename(tmp_path / "other/1/assets.extra/tf_serving_warmup_requests")
    assert (
        CliRunner().invoke(app, [*arguments[:2], "--model_base_path", str(tmp_path / "other")]).exit_code == 0
    )


def test_check(base: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "--check", "--model_base_path", str(base)])
    assert done.exit_code == 0, done.output
    for text in ("version 4 of", "MiB with 32 rows", "serving_default", "runs in batches", "runs alone: Sum"):
        assert text in done.output
    (tmp_path / "1").mkdir()
    done = CliRunner().invoke(app, ["serve", "--check", "--model_base_path", str(tmp_path)])
    assert done.exit_code == 1 and "is not whole: it lacks saved_model.pb" in done.output
