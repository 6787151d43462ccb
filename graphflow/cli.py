"""The command line: `graphflow --help`."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from graphflow.errors import OpError
from graphflow.version import __version__

app = typer.Typer(
    name="graphflow",
    help="TensorFlow 1's programming model on a small compiler of its own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def main() -> None:
    """Runs the command line; ends the process with its exit code."""
    app()


def _fail(command: str, what: object) -> NoReturn:
    """Says in one line what went wrong and ends the process with code 1."""
    console = Console(stderr=True)
    console.print(f"[red]graphflow {command}:[/red]", end=" ")
    console.print(str(what), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version


@app.command()
def show(
    model: Annotated[Path, typer.Argument(help="A SavedModel folder, or a .meta, .pb or .pbtxt file.")],
    passes: Annotated[bool, typer.Option("--passes", help="Compile a run; say what each pass did.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Run it on zeros; say where the time goes.")
    ] = False,
    fetch: Annotated[list[str] | None, typer.Option(help="What the run gives; may be repeated.")] = None,
    feed: Annotated[list[str] | None, typer.Option(help="What the run takes; may be repeated.")] = None,
    size: Annotated[int, typer.Option(help="For every size of a feed that the graph leaves open.")] = 1,
    svg: Annotated[Path | None, typer.Option(help="Draw the graph; with --passes each stage too.")] = None,
    dot: Annotated[Path | None, typer.Option(help="Write the graph in Graphviz's language.")] = None,
) -> None:
    """Show what a model holds, what the passes make of it, and what a run costs."""
    from graphflow import show as shown
    from graphflow import visualize

    console = Console()
    try:
        opened = shown.choose(shown.open_model(model), feed or (), fetch or ())
        story = shown.tell(opened, size) if passes else None
        measured = shown.measure(opened, size) if profile else None
    except (OpError, OSError, ValueError, KeyError, LookupError) as error:
        _fail("show", error.args[0] if isinstance(error, KeyError) else error)
    console.print(str(visualize.summarize(opened.graph)), markup=False, highlight=False)
    for title, names in (("takes", opened.feeds), ("gives", opened.fetches)):
        console.print(f"\n{title} " + ", ".join(item.name for item in names), markup=False, highlight=False)
    if story is not None:
        table = Table(title="passes", title_justify="left", title_style="bold")
        for heading in ("pass", "nodes", "ms", "did"):
            table.add_column(heading, justify="right" if heading in ("nodes", "ms") else "left")
        for report in story.reports:
            done = ", ".join(f"{name} {count}" for name, count in sorted(report.counts.items()) if count)
            nodes = f"{report.nodes_before} → {report.nodes_after}"
            table.add_row(report.name, nodes, f"{1e3 * report.seconds:.1f}", done or "nothing")
        console.print()
        console.print(table)
        console.print(story.plan.summary(), markup=False, highlight=False, soft_wrap=True)
        if svg is not None:
            for file in shown.write_story(story, svg):
                console.print(f"wrote {file}", highlight=False, soft_wrap=True)
    if measured is not None:
        console.print()
        console.print(str(measured), markup=False, highlight=False, soft_wrap=True)
    if svg is not None:
        visualize.write_svg(opened.graph, svg, title=model.name)
        console.print(f"wrote {svg}", highlight=False, soft_wrap=True)
    if dot is not None:
        dot.write_text(visualize.to_dot(opened.graph), encoding="utf-8")
        console.print(f"wrote {dot}", highlight=False, soft_wrap=True)


@app.command()
def devices() -> None:
    """Tell which GPUs and which of the libraries for them are here, and what is missing."""
    from graphflow.backends.gpu import found

    Console().print(found.report(), markup=False, highlight=False, soft_wrap=True)


@app.command()
def serve(
    model_base_path: Annotated[
        Path | None,
        typer.Option(
            "--model_base_path", help="The folder whose numbered subfolders are versions of a model."
        ),
    ] = None,
    model_name: Annotated[
        str, typer.Option("--model_name", help="The name in the paths of requests.")
    ] = "default",
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            "--model_config_file", help="A file that lists models, TensorFlow Serving's text format or YAML."
        ),
    ] = None,
    rest_api_port: Annotated[
        int, typer.Option("--rest_api_port", help="0 takes a free one, -1 has no REST interface.")
    ] = 8501,
    port: Annotated[
        int, typer.Option("--port", help="The port of gRPC; 0 takes a free one, -1 has no gRPC interface.")
    ] = 8500,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    file_system_poll_wait_seconds: Annotated[
        float,
        typer.Option(
            "--file_system_poll_wait_seconds",
            help="Seconds between looks for new versions; 0 never looks again.",
        ),
    ] = 1.0,
    model_config_file_poll_wait_seconds: Annotated[
        float,
        typer.Option(
            "--model_config_file_poll_wait_seconds",
            help="Seconds between readings of that file; 0 reads it once.",
        ),
    ] = 0.0,
    allow_version_labels_for_unavailable_models: Annotated[
        bool,
        typer.Option(
            "--allow_version_labels_for_unavailable_models",
            help="Labels may name versions that are not loaded.",
        ),
    ] = False,
    swap_in_series: Annotated[
        bool,
        typer.Option(
            "--swap_in_series",
            help="Where memory does not hold both, let the old version go before the new one comes.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Load the newest version, run it, tell what was found, and leave.")
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", help="With --check: recorded requests, whose answers are held against the model's."
        ),
    ] = None,
    record_requests: Annotated[
        Path | None,
        typer.Option(
            "--record_requests", help="Write the first 1000 requests and their answers to this file."
        ),
    ] = None,
    allow_op: Annotated[
        list[str] | None,
        typer.Option(
            "--allow_op",
            help="A type of op that opens files or calls Python which models may have; may come again.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token_file", help="Requests must bring the token that it holds.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls_certificate", help="The server's certificate (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls_key", help="Its private key (PEM).")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that serve, at the same ports.")
    ] = 1,
    access_log: Annotated[bool, typer.Option("--access_log", help="Write a line for each request.")] = False,
    log_json: Annotated[bool, typer.Option("--log_json", help="Write the log as JSON lines.")] = False,
    max_requests: Annotated[
        int,
        typer.Option(
            "--max_requests", min=1, help="With so many under way, what comes on top is turned away."
        ),
    ] = 512,
    enable_batching: Annotated[
        bool,
        typer.Option(
            "--enable_batching/--no-enable_batching",
            help="Run requests that meet together, where it is proved that this changes no answer.",
        ),
    ] = True,
    batching_parameters_file: Annotated[
        Path | None,
        typer.Option("--batching_parameters_file", help="How, in TensorFlow Serving's text format."),
    ] = None,
) -> None:
    """Serve SavedModels over REST and gRPC, as TensorFlow Serving does; SIGTERM lets requests under way finish."""
    if (model_base_path is None) == (model_config_file is None):
        _fail("serve", "give either --model_base_path or --model_config_file")
    try:
        from graphflow.serving import logs
        from graphflow.serving.access import Access, read_token
        from graphflow.serving.batching import BatchingOptions, read_batching_options
        from graphflow.serving.check import check as look
        from graphflow.serving.server import ServerOptions
        from graphflow.serving.server import serve as run
        from graphflow.serving.server_config import ModelConfig
        from graphflow.serving.supervisor import supervise
    except ModuleNotFoundError as error:
        _fail("serve", f'{error.name} is not installed; pip install "graphflow[serving]"')
    try:
        batching = None
        if enable_batching and batching_parameters_file is None:
            batching = BatchingOptions()
        elif enable_batching and batching_parameters_file is not None:
            batching = read_batching_options(batching_parameters_file)
        if check:
            if model_base_path is None:
                _fail("serve", "--check looks at one --model_base_path")
            for line in look(
                str(model_base_path), batching, None if replay is None else str(replay), allow_op or ()
            ):
                typer.echo(line)
            return
        options = ServerOptions(
            models=() if model_base_path is None else (ModelConfig(model_name, str(model_base_path)),),
            model_config_file=None if model_config_file is None else str(model_config_file),
            host=host,
            rest_port=None if rest_api_port < 0 else rest_api_port,
            grpc_port=None if port < 0 else port,
            poll_seconds=file_system_poll_wait_seconds,
            model_config_file_poll_seconds=model_config_file_poll_wait_seconds,
            allow_labels_for_unavailable=allow_version_labels_for_unavailable_models,
            most_requests=max_requests,
            swap_in_series=swap_in_series,
            batching=batching,
            allowed_ops=tuple(allow_op or ()),
            record_requests=None if record_requests is None else str(record_requests),
            access=Access(
                "" if token_file is None else read_token(str(token_file)),
                "" if tls_certificate is None else str(tls_certificate),
                "" if tls_key is None else str(tls_key),
            ),
        )
        configure = functools.partial(logs.configure, log_json, access_log)
        configure()
        if workers > 1 and record_requests is not None:
            _fail("serve", "--record_requests writes one file, and several --workers cannot share it")
        if workers == 1:
            run(options)
        else:
            supervise(options, workers, configure)
    except (OpError, OSError, RuntimeError, ValueError) as error:
        _fail("serve", error)


@app.command()
def predict(
    model_name: Annotated[str, typer.Argument(help="The model.")],
    body: Annotated[
        str, typer.Argument(help='JSON: rows, or an object with "instances" or "inputs"; - reads it.')
    ] = "-",
    host: Annotated[str, typer.Option("--host", help="The server's address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Its REST port.")] = 8501,
    signature_name: Annotated[str, typer.Option("--signature_name", help="The signature.")] = "",
    version: Annotated[int | None, typer.Option("--version", help="The version; default the newest.")] = None,
) -> None:
    """Ask a server for a model's answer; rows go as "instances"."""
    import json

    from graphflow.serving.client import Client

    try:
        given = json.loads(sys.stdin.read() if body == "-" else body)
        request = (
            given
            if isinstance(given, dict) and {"instances", "inputs"} & given.keys()
            else {"instances": given}
        )
        if signature_name:
            request["signature_name"] = signature_name
        with Client(host, port, model_name) as client:
            which = "" if version is None else f"/versions/{version}"
            answer = client.request("POST", f"/v1/models/{model_name}{which}:predict", request)
    except (OpError, OSError, ValueError) as error:
        _fail("predict", error)
    typer.echo(json.dumps(answer))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Where pictures and the model go.")] = Path("demo-output"),
    epochs: Annotated[int, typer.Option(help="How often to go through the digits.", min=1)] = 12,
) -> None:
    """Train a small digit reader on real scans, save it, serve it, and check what it serves."""
    try:
        from graphflow.demo import run
    except ModuleNotFoundError as error:
        _fail("demo", f'{error.name} is not installed; pip install "graphflow[demo]"')
    raise typer.Exit(run(output, epochs))


@app.command(context_settings=_PASS_ON)
def run(
    context: typer.Context,
    program: Annotated[Path, typer.Argument(help="A Python program that imports tensorflow.")],
) -> None:
    """Run a TensorFlow 1 program unchanged: inside it, `import tensorflow` gives graphflow."""
    import runpy

    from graphflow.compat import install_as_tensorflow

    if not program.exists():
        _fail("run", f"there is no {program}")
    install_as_tensorflow()
    # As Python itself would start it.
    sys.argv = [str(program), *context.args]
    sys.path[0] = str(program.resolve().parent)
    runpy.run_path(str(program), run_name="__main__")


@app.command(context_settings=_PASS_ON)
def bench(context: typer.Context) -> None:
    """Race graphflow against its peers (in a checkout; `make bench` also installs the peers)."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / "benchmarks" / "__main__.py").exists():
        Console(stderr=True).print(
            "[red]graphflow bench:[/red] the benchmarks live in a checkout of graphflow"
        )
        raise typer.Exit(2)
    arguments = context.args or ["run"]
    raise typer.Exit(subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=folder).returncode)
