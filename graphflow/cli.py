"""The command line: `graphflow --help`."""

from __future__ import annotations

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


@app.command(context_settings=_PASS_ON)
def serve(context: typer.Context) -> None:
    """Serve SavedModels over REST and gRPC, as TensorFlow Serving does; SIGTERM lets requests under way finish."""
    from graphflow.serving import command

    raise typer.Exit(command.main(context.args))


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
