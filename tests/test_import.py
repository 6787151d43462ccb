"""The public face: what it holds, what it loads, and what it says of names that do not exist."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable

import pytest

import graphflow as gf
from graphflow import ops

HEAVY = (
    "cupy",
    "google",
    "grpc",
    "llvmlite",
    "matplotlib",
    "networkx",
    "onnx",
    "rich",
    "scipy",
    "typer",
    "uvicorn",
)
# What programs of TensorFlow 1 use most; a sample from every corner.
COMMON = """
    AUTO_REUSE AggregationMethod Assert ConfigProto DType Dimension GPUOptions Graph GraphDef GraphKeys IndexedSlices
    InteractiveSession Operation RegisterGradient RunMetadata RunOptions Session Tensor TensorShape Variable
    VariableScope abs add_n argmax as_dtype assign assign_add bool cast clip_by_global_norm clip_by_value concat
    constant control_dependencies convert_to_tensor custom_gradient device div einsum expand_dims float32 gather
    get_collection get_default_graph get_variable global_variables_initializer gradients identity import_graph_def
    int64 matmul mul name_scope no_op one_hot ones_like placeholder placeholder_with_default random_normal range
    reduce_mean reduce_sum reset_default_graph reshape set_random_seed shape split squeeze stack stop_gradient
    strided_slice string sub tile trace trainable_variables transpose truncated_normal_initializer uint8 unstack
    variable_scope where zeros zeros_initializer
""".split()


@pytest.mark.parametrize("name", COMMON)
def test_common_names_exist(name: str) -> None:
    assert getattr(gf, name) is not None


def test_all_is_complete_and_true() -> None:
    assert len(gf.__all__) == len(set(gf.__all__))
    for name in gf.__all__:
        assert hasattr(gf, name), name
    assert set(gf.__all__) <= set(dir(gf))
    for namespace in gf.NAMESPACES:
        assert importlib.import_module(f"graphflow.{namespace}") is getattr(gf, namespace)


def test_every_public_op_is_reachable() -> None:
    reachable = {id(getattr(gf, name)) for name in gf.__all__}
    for namespace in (*gf.NAMESPACES, "contrib.nccl", "contrib.seq2seq", "contrib.staging"):
        module = importlib.import_module(f"graphflow.{namespace}")
        reachable |= {id(getattr(module, name, None)) for name in dir(module)}
    missing = []
    for found in pkgutil.iter_modules(ops.__path__, "graphflow.ops."):
        module = importlib.import_module(found.name)
        for name in getattr(module, "__all__", ()):
            if id(getattr(module, name)) not in reachable:
                missing.append(f"{found.name}.{name}")
    assert not missing, "public functions of ops that no namespace passes on: " + ", ".join(missing)


@pytest.mark.parametrize(
    ("module", "name", "nearest"),
    [
        (gf, "placehlder", "graphflow.placeholder"),
        (gf, "relu", "graphflow.nn.relu"),
        (gf, "Sesion", "graphflow.Session"),
        (gf, "AdamOptimizer", "graphflow.train.AdamOptimizer"),
        (gf.nn, "reluu", "graphflow.nn.relu"),
        (gf.math, "reduce_summ", "graphflow.math.reduce_sum"),
    ],
)
def test_a_missing_name_is_answered_with_the_nearest(module: object, name: str, nearest: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    assert name in str(caught.value)
    assert f"did you mean {nearest}?" in str(caught.value)


def test_the_first_lines_of_old_programs_run() -> None:
    for name in ("disable_v2_behavior", "disable_eager_execution", "enable_resource_variables"):
        getattr(gf, name)()
    assert not gf.executing_eagerly()
    with pytest.raises(
        gf.errors.UnimplementedError, match="enable_v2_behavior: graphflow is TensorFlow 1's model"
    ):
        gf.enable_v2_behavior()


def test_a_name_like_nothing_is_just_missing() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'qqqqqqqqqqqq'$"):
        gf.qqqqqqqqqqqq  # noqa: B018
    assert not hasattr(gf, "__wrapped__")


def test_import_is_light(fresh_python: Callable[..., str]) -> None:
    program = "import json, sys\nimport graphflow\nprint(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(fresh_python(program))}
    assert not loaded & set(HEAVY), f"import graphflow loads {sorted(loaded & set(HEAVY))}"


def test_building_and_differentiating_needs_no_backend(fresh_python: Callable[..., str]) -> None:
    program = """
import json, sys
import graphflow as gf
x = gf.placeholder(gf.float32, [2, 3])
gf.gradients(gf.reduce_sum(gf.nn.relu(gf.matmul(x, gf.ones([3, 4])))), [x])
print(json.dumps(sorted(sys.modules)))
"""
    loaded = {name.partition(".")[0] for name in json.loads(fresh_python(program))}
    assert not loaded & set(HEAVY), f"building a graph loads {sorted(loaded & set(HEAVY))}"


# What takes long to load, and is of no use before the first request has been answered.
LATE = (
    "click",
    "multiprocessing",
    "grpc",
    "prometheus_client",
    "xml",
    "importlib.metadata",
    "graphflow.visualize",
    "llvmlite.binding",
)


def test_a_server_starts_without_what_it_needs_later(fresh_python: Callable[..., str]) -> None:
    program = """
import json, sys
from graphflow.serving import connections, rest, server
from graphflow.session import Session
Session().close()
print(json.dumps(sorted(sys.modules)))
import uvicorn
assert uvicorn.Server is connections.Server and uvicorn.run and "click" in sys.modules
"""
    loaded = set(json.loads(fresh_python(program).splitlines()[0]))
    assert not loaded & set(LATE), f"serving loads {sorted(loaded & set(LATE))}"
