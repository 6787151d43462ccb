"""Who may import whom: the table of floors, held against every import statement of the package."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "graphflow"

# From the ground up. A module imports only from floors below its own, or from modules of its own room (the
# same entry, a folder) without a circle. An entry that ends in a dot is a folder with everything in it; the
# longest entry that fits a module counts.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "config", "collector", "records", "checksum", "meanwhile"),
    ("namespace",),
    ("symbolic", "behavior", "nest"),
    ("dtypes", "shapes", "resources", "tfrecord", "gfile"),
    ("tensor_list",),
    ("loops.ir",),
    ("loops.build",),  # the only part of the machine column that ops may see
    ("loops.",),
    ("graph",),
    ("opdef",),
    ("function", "array_accesses"),
    ("ops.",),
    ("gradients",),
    ("functional_gradients",),
    ("initializers",),
    ("variables",),
    ("partitioned_variables",),
    ("variable_scope",),
    ("tensor_array", "template", "partitioners"),
    ("control_flow",),
    ("functional_ops",),
    ("program",),
    ("text", "reference", "contents", "turns"),
    ("turn_accesses", "array_guards"),
    ("optimizer_passes.",),
    ("memory", "hoist", "regions"),
    ("variable_store",),
    ("plan.",),
    ("backends.",),
    ("lowering.",),
    ("later",),
    ("side_by_side", "row_wise"),
    ("compiler", "placement"),
    ("serialization.",),
    ("fetches", "timeline"),
    ("summary.",),
    ("session",),
    ("profiling", "profiler", "debug"),
    ("logging",),
    ("data.", "train.", "visualize."),
    ("saved_model.",),
    ("keras.session", "keras.identifiers"),
    (
        "keras.activations",
        "keras.constraints",
        "keras.regularizers",
        "keras.initializers",
        "keras.smart_cond",
    ),
    ("keras.",),
    ("layers.", "broadcast_weights"),
    ("losses", "metrics"),
    ("signal", "linear_operators", "matrix_exponential"),
    (
        "bitwise",
        "debugging",
        "device_spec",
        "distribute",
        "distributions.",
        "image",
        "linalg",
        "manip",
        "math",
        "nn.",
        "random",
        "raw_ops",
        "sparse",
        "quantization",
        "queue",
        "sets",
        "spectral",
        "testing",
        "python_io",
        "io.",
        "lookup",
        "strings",
    ),
    ("feature_column.",),
    ("estimator.",),
    ("contrib.",),
    ("flags", "graph_util"),
    ("app",),
    ("test", "compat.", "examples.", "client_devices"),
    ("show", "serving."),
    ("__init__",),
    ("demo.",),
    ("cli",),
    ("__main__",),
)

# The graph column and the machine column meet in lowering/ and compiler.py and nowhere below.
GRAPH_COLUMN = (
    "graph", "opdef", "function", "array_accesses", "ops.", "gradients", "functional_gradients", "initializers",
    "variables", "partitioned_variables", "variable_scope", "tensor_array", "template", "partitioners",
    "control_flow", "functional_ops", "program", "text", "reference", "contents", "optimizer_passes.",
)  # fmt: skip
MACHINE_COLUMN = ("loops.", "memory", "regions", "variable_store", "plan.", "backends.")
MACHINE_SEEN_BY_GRAPH = ("loops.build", "loops.ir")

# A heavy package comes in through one door only.
DOORS: dict[str, tuple[str, ...]] = {
    "PIL": ("ops.image_files",),
    "absl": ("app", "flags"),
    "ctypes": ("backends.cpu.", "backends.cuda.", "backends.device_arrays", "backends.gpu."),
    "cuda": ("backends.gpu.",),
    "cudnn": ("backends.gpu.",),
    "cupy": ("backends.gpu.",),
    "google": ("serialization.", "serving."),
    "grpc": ("serving.",),
    "grpc_health": ("serving.",),
    "grpc_reflection": ("serving.",),
    "h5py": ("keras.hdf5",),
    "httptools": ("serving.connections",),
    "llvmlite": ("backends.cpu.",),
    "matplotlib": ("demo.",),
    "opentelemetry": ("serving.tracing",),
    "orjson": ("serving.",),
    "prometheus_client": ("serving.",),
    "rich": ("cli", "demo.", "train.training_loop"),
    "sklearn": ("demo.",),
    "typer": ("cli",),
    "uvicorn": ("serving.",),
    "yaml": ("serving.",),
}

# Besides the standard library and the packages behind a door, these may be imported at the top of a module.
GROUND = {"ml_dtypes", "networkx", "numpy"}


@dataclass(frozen=True)
class Import:
    """One imported module, as seen from `module` at `line`."""

    module: str
    target: str
    line: int
    inside_function: bool


def modules() -> dict[str, Path]:
    """Returns every module of the package by its name below `graphflow.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = modules()


def is_package(module: str) -> bool:
    return module != "__init__" and MODULES[module].name == "__init__.py"


def matches(module: str, entry: str) -> bool:
    """Tells whether a module is named by an entry of the tables above."""
    if entry.endswith("."):
        return module == entry[:-1] or module.startswith(entry)
    return module == entry


def room(module: str) -> tuple[int, str] | None:
    """Returns (floor, entry) of the longest entry that fits."""
    fits = [
        (len(entry), floor, entry)
        for floor, entries in enumerate(FLOORS)
        for entry in entries
        if matches(module, entry)
    ]
    if not fits:
        return None
    _, floor, entry = max(fits)
    return floor, entry


def resolve(module: str, node: ast.ImportFrom) -> str:
    """Returns the absolute name that a `from … import` speaks of, without its names."""
    if not node.level:
        return node.module or ""
    base = ["graphflow", *module.split(".")] if module != "__init__" else ["graphflow", "__init__"]
    up = node.level - 1 if is_package(module) else node.level
    return ".".join([*base[: len(base) - up], *([node.module] if node.module else [])])


def inner(name: str) -> str | None:
    """Returns the module below `graphflow.` that a dotted name leads to, or None for another package's."""
    if name == "graphflow":
        return "__init__"
    if not name.startswith("graphflow."):
        return None
    name = name.removeprefix("graphflow.")
    while name not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return name if name in MODULES else "__init__"


def imports_of(module: str) -> list[Import]:
    """Returns every import statement of a module, those inside functions and for types only included."""
    tree = ast.parse(MODULES[module].read_text(), str(MODULES[module]))
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside.update(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(module, alias.name, node.lineno, node in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve(module, node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                target = full if full.removeprefix("graphflow.") in MODULES else base
                found.append(Import(module, target, node.lineno, node in inside))
    return found


IMPORTS = [found for module in MODULES for found in imports_of(module)]
INNER = [(found, target) for found in IMPORTS if (target := inner(found.target)) is not None]


def test_every_module_has_a_floor() -> None:
    homeless = [module for module in MODULES if room(module) is None]
    assert not homeless, f"give these a place in FLOORS: {homeless}"


def test_imports_go_down() -> None:
    wrong = []
    for found, target in INNER:
        here, there = room(found.module), room(target)
        if here is None or there is None or target == found.module:
            continue
        # A folder's __init__ may be named by its own modules only through a name that lives there.
        if there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
            wrong.append(f"{found.module}:{found.line} imports {target}")
    assert not wrong, "these imports do not go down:\n" + "\n".join(wrong)


def test_there_is_no_circle() -> None:
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_edges_from((found.module, target) for found, target in INNER if target != found.module)
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    assert not circles, f"modules that import one another: {circles}"


def test_the_columns_stay_apart() -> None:
    wrong = []
    for found, target in INNER:
        from_graph = any(matches(found.module, entry) for entry in GRAPH_COLUMN)
        from_machine = any(matches(found.module, entry) for entry in MACHINE_COLUMN)
        to_graph = any(matches(target, entry) for entry in GRAPH_COLUMN)
        to_machine = any(matches(target, entry) for entry in MACHINE_COLUMN)
        seen = any(matches(target, entry) for entry in MACHINE_SEEN_BY_GRAPH) or target == "loops"
        if (from_machine and to_graph) or (from_graph and to_machine and not seen):
            wrong.append(f"{found.module}:{found.line} imports {target}")
    assert not wrong, "the columns touch:\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", DOORS)
def test_heavy_packages_have_one_door(package: str) -> None:
    wrong = [
        f"{found.module}:{found.line}"
        for found in IMPORTS
        if found.target.partition(".")[0] == package
        and not any(matches(found.module, entry) for entry in DOORS[package])
    ]
    assert not wrong, f"{package} is imported outside of {DOORS[package]}: {wrong}"


def test_other_packages_are_known() -> None:
    known = GROUND | set(sys.stdlib_module_names) | {"graphflow", "__future__"}
    wrong = [
        f"{found.module}:{found.line} imports {found.target}"
        for found in IMPORTS
        if not found.inside_function
        and found.target.partition(".")[0] not in known
        and found.target.partition(".")[0] not in DOORS
    ]
    assert not wrong, "unknown packages at load time:\n" + "\n".join(wrong)


def test_imports_inside_functions_are_for_other_packages() -> None:
    # The public face and the command line load their parts when asked for, and the serving process its interfaces while
    # its models load; nobody else has a reason to.
    lazy = ("__init__", "cli", "__main__", "serving.command", "serving.server")
    wrong = [
        f"{found.module}:{found.line} imports {target}"
        for found, target in INNER
        if found.inside_function and found.module not in lazy
    ]
    assert not wrong, "imports inside functions hide circles:\n" + "\n".join(wrong)
