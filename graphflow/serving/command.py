"""`graphflow serve`: what it is told, and what it does then."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from typing import Any

from graphflow.collector import while_loading
from graphflow.errors import OpError

_ABOUT = "Serve SavedModels over REST and gRPC, as TensorFlow Serving does; SIGTERM lets requests under way finish."


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def parser() -> argparse.ArgumentParser:
    """Returns what reads the command line behind `serve`."""
    made = argparse.ArgumentParser("graphflow serve", description=_ABOUT, allow_abbrev=False)

    def option(name: str, text: str, **what: Any) -> None:
        made.add_argument(name, help=text, **what)

    option("--model_base_path", "The folder whose numbered subfolders are versions of a model.")
    option("--model_name", "The name in the paths of requests.", default="default")
    option("--model_config_file", "A file that lists models, TensorFlow Serving's text format or YAML.")
    option("--rest_api_port", "0 takes a free one, -1 has no REST interface.", type=int, default=8501)
    option(
        "--port", "The port of gRPC; 0 takes a free one, -1 has no gRPC interface.", type=int, default=8500
    )
    option("--host", "The address to listen at.", default="127.0.0.1")
    option(
        "--file_system_poll_wait_seconds", "Seconds between looks for new versions; 0 never looks again.",
        type=float, default=1.0,
    )  # fmt: skip
    option(
        "--model_config_file_poll_wait_seconds", "Seconds between readings of that file; 0 reads it once.",
        type=float, default=0.0,
    )  # fmt: skip
    option(
        "--allow_version_labels_for_unavailable_models", "Labels may name versions that are not loaded.",
        action="store_true",
    )  # fmt: skip
    option(
        "--swap_in_series",
        "Where memory does not hold both, let the old version go before the new one comes.",
        action="store_true",
    )
    option("--check", "Load the newest version, run it, tell what was found, and leave.", action="store_true")
    option("--replay", "With --check: recorded requests, whose answers are held against the model's.")
    option("--record_requests", "Write the first 1000 requests and their answers to this file.")
    option(
        "--allow_op", "A type of op that opens files or calls Python which models may have; may come again.",
        action="append", default=[],
    )  # fmt: skip
    option("--token_file", "Requests must bring the token that it holds.")
    option("--tls_certificate", "The server's certificate (PEM).", default="")
    option("--tls_key", "Its private key (PEM).", default="")
    option("--workers", "Processes that serve, at the same ports.", type=_at_least_one, default=1)
    option("--access_log", "Write a line for each request.", action="store_true")
    option("--log_json", "Write the log as JSON lines.", action="store_true")
    option(
        "--max_requests", "With so many under way, what comes on top is turned away.",
        type=_at_least_one, default=512,
    )  # fmt: skip
    option(
        "--enable_batching",
        "Run requests that meet together, where it is proved that this changes no answer.",
        action=argparse.BooleanOptionalAction,
        default=True,
    )
    option("--batching_parameters_file", "How, in TensorFlow Serving's text format.")
    return made


def main(arguments: Sequence[str]) -> int:
    """Serves; returns the exit code.

    Args:
      arguments: the command line behind `serve`.
    """
    given = parser().parse_args(list(arguments))
    try:
        _serve(given)
    except ModuleNotFoundError as error:
        return _failed(f'{error.name} is not installed; pip install "graphflow[serving]"')
    except (OpError, OSError, RuntimeError, ValueError) as error:
        return _failed(error)
    return 0


def _failed(what: object) -> int:
    print(f"graphflow serve: {what}", file=sys.stderr)
    return 1


def _serve(given: argparse.Namespace) -> None:
    with while_loading():
        from graphflow.serving import logs
        from graphflow.serving.access import Access, read_token
        from graphflow.serving.batching import BatchingOptions, read_batching_options
        from graphflow.serving.server import ServerOptions, serve
        from graphflow.serving.server_config import ModelConfig

    if (given.model_base_path is None) == (given.model_config_file is None):
        raise ValueError("give either --model_base_path or --model_config_file")
    batching = None
    if given.enable_batching:
        file = given.batching_parameters_file
        batching = BatchingOptions() if file is None else read_batching_options(file)
    if given.check:
        from graphflow.serving.check import check

        if given.model_base_path is None:
            raise ValueError("--check looks at one --model_base_path")
        for line in check(given.model_base_path, batching, given.replay, given.allow_op):
            print(line)
        return
    options = ServerOptions(
        models=()
        if given.model_base_path is None
        else (ModelConfig(given.model_name, given.model_base_path),),
        model_config_file=given.model_config_file,
        host=given.host,
        rest_port=None if given.rest_api_port < 0 else given.rest_api_port,
        grpc_port=None if given.port < 0 else given.port,
        poll_seconds=given.file_system_poll_wait_seconds,
        model_config_file_poll_seconds=given.model_config_file_poll_wait_seconds,
        allow_labels_for_unavailable=given.allow_version_labels_for_unavailable_models,
        most_requests=given.max_requests,
        swap_in_series=given.swap_in_series,
        batching=batching,
        allowed_ops=tuple(given.allow_op),
        record_requests=given.record_requests,
        access=Access(
            "" if given.token_file is None else read_token(given.token_file),
            given.tls_certificate,
            given.tls_key,
        ),
    )
    configure = functools.partial(logs.configure, given.log_json, given.access_log)
    configure()
    if given.workers == 1:
        serve(options)
        return
    if given.record_requests is not None:
        raise ValueError("--record_requests writes one file, and several --workers cannot share it")
    from graphflow.serving.supervisor import supervise

    supervise(options, given.workers, configure)
