"""The tour in the README: one small expression in print at every stage. `--update-golden` rewrites it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import graphflow as gf
from graphflow.backends.cpu.codegen import kernel_to_llvm
from graphflow.backends.cpu.target import cross_target
from graphflow.compiler import CompileOptions, compile_graph
from graphflow.loops.ir import Kernel
from graphflow.loops.text import kernel_text
from graphflow.serialization.graph_def import graph_to_graph_def
from graphflow.testing import TestState
from graphflow.text import program_text

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- begin tour -->", "<!-- end tour -->"

SOURCE = """\
x = gf.placeholder(gf.float32, [None, 4], name="x")
y = gf.nn.relu(gf.identity(x) * (gf.constant(1.5) + 0.5) + 0.25, name="y")
"""


def block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def tour() -> str:
    """The section between the marks."""
    names: dict[str, object] = {"gf": gf}
    exec(SOURCE, names)
    x, y = names["x"], names["y"]
    assert isinstance(x, gf.Tensor) and isinstance(y, gf.Tensor)
    nodes = [f"{node.name} = {node.op}({', '.join(node.input)})" for node in graph_to_graph_def(x.graph).node]
    executable = compile_graph([y], [x], CompileOptions(threads=1))
    plan = executable.bind(((3, 4),), TestState()).plan
    (launch,) = plan.launches
    assert isinstance(launch.kernel, Kernel)
    # A fixed target, so that the text is the same on every machine.
    llvm = kernel_to_llvm(launch.kernel, cross_target("avx2"), "y").splitlines()
    first = next(i for i, line in enumerate(llvm) if "load <8 x float>" in line)
    last = next(i for i, line in enumerate(llvm) if "store <8 x float>" in line)
    shown = [llvm[0], "  ...", *llvm[first - 1 : last + 1], "  ..."]
    return f"""{BEGIN}
## Tour

One small expression at every stage; `GRAPHFLOW_DUMP=program,loops,llvm,plan` prints them for any program.

{block(SOURCE)}
The graph, as a GraphDef has it:

{block(chr(10).join(nodes))}
The program after all passes: the constants are one, the identity is gone. `?` is a size that the feed decides.

{block(program_text(executable.program))}
Its one kernel. The number of rows is a parameter, so another batch size compiles nothing:

{block(kernel_text(launch.kernel))}
Its LLVM text, of which eight elements at a time for AVX2:

{block(chr(10).join(shown))}
The plan for three rows:

{block(plan.summary())}
{END}"""


def test_the_tour_in_the_readme_is_what_is_printed(request: pytest.FixtureRequest) -> None:
    text = README.read_text()
    found = re.search(f"{BEGIN}.*{END}", text, re.DOTALL)
    assert found is not None, "the README has no place for the tour"
    wanted = tour()
    if request.config.getoption("--update-golden"):
        README.write_text(text.replace(found[0], wanted))
        return
    assert found[0] == wanted, "the tour differs; if that is meant, use --update-golden"
