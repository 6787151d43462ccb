"""TensorFlow as referee of what each op means: the oracle matrix's samples, and their gradients, run by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphflow.ops  # noqa: F401 - registers the ops
from graphflow import dtypes
from graphflow.dtypes import as_dtype
from graphflow.gradients import gradients, indexed_slices_to_tensor
from graphflow.graph import Graph, IndexedSlices, Operation, Tensor
from graphflow.opdef import constant, emit, emit_operation, gradient_rule, registered_ops
from graphflow.session import Session
from graphflow.shapes import TensorShape
from tests.referee import Array, Case, Referee, difference
from tests.samples import Sample, all_samples

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

OPS = registered_ops()

# Ops that are not compared, and why.
APART = {
    "WriteFile": "files are compared in tests/test_readers.py",
    "ReadFile": "files are compared in tests/test_readers.py",
    "MatchingFiles": "files are compared in tests/test_readers.py",
    "AudioSummary": "is gone from graphs that are written today",
    "BatchNormWithGlobalNormalization": "is gone from graphs that are written today",
    "BatchNormWithGlobalNormalizationGrad": "is gone from graphs that are written today",
    "Conv3DBackpropFilter": "is gone from graphs that are written today",
    "Conv3DBackpropInput": "is gone from graphs that are written today",
    "BroadcastGradientArgs": "several answers are right",
    "GatherTree": "stood in contrib; compared with a search by hand in tests/contrib/test_seq2seq.py",
    "EagerPyFunc": "functions live in their process",
    "Empty": "uninitialised memory",
    "ImageSummary": "another compressor; pixels are compared in tests/test_summaries.py",
    "MergeV2Checkpoints": "files are compared in tests/serialization",
    "PyFunc": "functions live in their process",
    "PyFuncStateless": "functions live in their process",
    **dict.fromkeys(
        ("Restore", "RestoreSlice", "Save", "SaveSlices"), "files are compared in tests/serialization"
    ),
    "RestoreV2": "files are compared in tests/serialization",
    "SaveV2": "files are compared in tests/serialization",
    "Timestamp": "the time",
    "_FusedBatchNormEx": "has no kernel on a CPU",
    "_FusedDepthwiseConv2dNative": "has no kernel on a CPU",
    "VarHandleOp": "a handle is not a value",
}


@dataclass(frozen=True)
class Difference:
    """Samples of which TensorFlow makes something else, and why that is not taken over."""

    op_types: str
    why: str
    when: Callable[[Sample], bool] = lambda sample: True
    outputs: tuple[int, ...] | None = None
    """Which outputs differ; None: any of them, or one side refuses what the other takes."""
    chance: bool = False
    """Whether they may come out equal as well: what TensorFlow leaves there is left to chance."""

    def applies(self, op_type: str, sample: Sample) -> bool:
        return op_type in self.op_types.split() and self.when(sample)


class Reasons:
    """Reasons for what differs. All is compared first; a reason is looked for where something differs.

    Args:
      listed: the reasons, each of which has to be needed.
      besides: further ones, that may be idle here.
    """

    def __init__(self, listed: Sequence[Difference], besides: Sequence[Difference] = ()) -> None:
        self._own = listed
        self._all = [*listed, *besides]
        self._needed: set[tuple[Difference, str]] = set()

    def sift(self, op_type: str, sample: Sample, found: Mapping[int, str]) -> tuple[list[str], str | None]:
        """Takes out what there is a reason for.

        Args:
          found: what differs, by output; `REFUSED`: one side refuses what the other takes.

        Returns:
          what is left, and a reason of the rest.
        """
        left, why = [], None
        for output, text in found.items():
            of = [d for d in self._all if d.applies(op_type, sample)]
            reason = next((d for d in of if d.outputs is None or output in d.outputs), None)
            if reason is None:
                left.append(text)
            else:
                self._needed.add((reason, op_type))
                why = reason.why
        return left, why

    def idle(self, wanted: Callable[[str], bool] = lambda op_type: True) -> list[str]:
        """The reasons that nothing needs any more, of the ops that were looked at."""
        return [
            f"{op_type}: {d.why}: nothing differs any more that this is the reason of"
            for d in self._own
            for op_type in d.op_types.split()
            if wanted(op_type) and not d.chance and (d, op_type) not in self._needed
        ]


REFUSED = -1


def dilated(sample: Sample) -> bool:
    return max(sample.attrs.get("dilations", [1])) > 1


# Ops whose shapes TensorFlow infers wrongly.
WRONG_SHAPES = {"ExtractVolumePatches": "of rank 4 where sizes are open; the result has rank 5"}

DIFFERENT = [
    Difference("SerializeManySparse", "writes the same messages in other bytes"),
    Difference("SerializeSparse", "writes texts as raw contents", lambda s: s.flat()[1].dtype.kind == "O"),
    Difference("DecodeJSONExample", "writes numbers one by one, which means the same"),
    Difference(
        "SparseCross", "takes values of the internal type only, since 2.4", lambda s: s.name != "numbers"
    ),
    Difference("BiasAdd", "wants 3 dimensions of channels first", lambda s: s.name == "matrix"),
    Difference("Cast", "out of range is undefined in C++", lambda s: s.name.startswith("special")),
    Difference("Conv2DBackpropFilter", "no groups on a CPU", lambda s: s.name == "groups"),
    Difference(
        "DepthwiseConv2dNativeBackpropInput DepthwiseConv2dNativeBackpropFilter",
        "takes no notice of dilations on a CPU",
        dilated,
    ),
    Difference("Conv3D", "no dilations on a CPU", dilated),
    Difference(
        "BlockLSTM BlockLSTMV2",
        "leaves what lies behind the last step unwritten",
        lambda s: s.name == "shorter",
        chance=True,
    ),
    Difference("Eig", "finds the values in another order, the vectors with other signs"),
    Difference(
        "DecodeAndCropJpeg DecodeJpeg", "another decoder, a few levels apart", lambda s: "lossy" in s.name
    ),
    Difference("Einsum", "takes two operands at most", lambda s: len(s.flat()) > 2),
    Difference(
        "FusedPadConv2D", "reads each image but the first from a wrong place", lambda s: s.name == "batch"
    ),
    Difference("_FusedMatMul", "knows no GELU on a CPU", lambda s: "Gelu" in s.attrs["fused_ops"][-1]),
    Difference("Erf", "NaN for infinities in float64", lambda s: s.name == "special"),
    Difference(
        "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3",
        "leaves them uninitialised when not training",
        lambda s: s.attrs.get("is_training") is False,
        (3, 4),
    ),
    Difference("MaxPool", "finds no NaN", lambda s: s.name == "NaN"),
    Difference("QuantizeAndDequantize", "is gone from graphs that are written today"),
    Difference(
        "QuantizeAndDequantizeV2 QuantizeAndDequantizeV4",
        "wants one range for all",
        lambda s: s.name == "axis",
    ),
    Difference("Round", "gives zeros for integers", lambda s: s.flat()[0].dtype.kind == "i"),
    Difference("SelfAdjointEigV2", "vectors may have the other sign", outputs=(1,)),
    Difference("Svd", "vectors may have the other sign", outputs=(1, 2)),
    Difference("TopKV2", "finds NaN where it happens to look first", lambda s: s.name == "NaN"),
    Difference("TopK", "is gone from graphs that are written today"),
]
# What differs of gradients besides.
DIFFERENT_GRADIENTS = [
    Difference("DepthwiseConv2dNative", "leaves it uninitialised", lambda s: s.name == "empty"),
    # Which of several refusals TensorFlow tells first is left to chance; one of them is that of a kernel that lacks.
    Difference("Conv2D Conv2DBackpropInput", "no groups on a CPU", lambda s: s.name == "groups", chance=True),
    Difference(
        "SelfAdjointEigV2 Svd",
        "follows from vectors that may have the other sign",
        lambda s: s.name == "vectors",
    ),
    Difference("GatherNd", "ScatterNd refuses indices of no dimension", lambda s: s.name == "whole"),
]
# Gradients that are only defined where the shapes are known.
NEED_SHAPES = [
    Difference("Einsum", "puts the diagonal back by a mask", lambda s: s.name in ("diagonal", "trace")),
    Difference(
        "MatrixDiagV2 MatrixDiagV3 MatrixDiagPartV2 MatrixDiagPartV3 MatrixSetDiagV2 MatrixSetDiagV3",
        "takes sizes that it does not know for -1",
    ),
    Difference("MatrixSolveLs Qr", "depends on which side is longer"),
    Difference("Svd", "depends on which side is longer", lambda s: s.name == "vectors"),
]
TOLERANCE = {
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "float32": 2e-5,
    "float64": 1e-9,
    "complex64": 3e-5,
    "complex128": 1e-9,
}


def flushed(array: Array) -> Array:
    """TensorFlow takes subnormal numbers for zeros; they are out of the comparison."""
    if array.dtype.kind != "f":
        return array
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, np.copysign(0, array), array).astype(
        array.dtype
    )


def arguments(sample: Sample) -> list[Any]:
    return [[flushed(a) for a in item] if isinstance(item, list) else flushed(item) for item in sample.inputs]


def flat_arguments(sample: Sample) -> list[Array]:
    return [a for item in arguments(sample) for a in (item if isinstance(item, list) else [item])]


CASES = {
    f"{op_type}-{i}" + (f"-{sample.name}" if sample.name else ""): (op_type, sample)
    for op_type, listed in sorted(all_samples().items())
    for i, sample in enumerate(listed)
    if sample.exact
    and op_type not in APART
    and OPS[op_type].effects != "random"
    and not op_type.startswith("Graphflow")  # TensorFlow has none of our own
}


class Built:
    """A sample as one operation, called "tested", on constants and variables."""

    def __init__(self, op_type: str, sample: Sample) -> None:
        self.op_def = op_def = OPS[op_type]
        self.arrays = flat_arguments(sample)
        self.graph = Graph()
        self.before: list[Operation] = []
        self.after: list[Tensor] = []
        handles = {i for i, arg in enumerate(op_def.inputs) if arg.dtype is dtypes.resource}
        with self.graph.as_default():
            inputs: list[Any] = []
            for i, item in enumerate(arguments(sample)):
                if isinstance(item, list):
                    inputs.append([constant(a, as_dtype(a.dtype)) for a in item])
                else:
                    value = constant(item, as_dtype(item.dtype))
                    inputs.append(self._variable(f"v{i}", value) if i in handles else value)
            emit_operation(op_def, inputs, dict(sample.attrs), "tested")
            self.operation = self.graph.get_operation_by_name("tested")
            self.after = [
                emit.ReadVariableOp(inputs[i], dtype=as_dtype(self.arrays[i].dtype)) for i in op_def.updates
            ]

    def _variable(self, name: str, value: Tensor) -> Tensor:
        handle: Tensor = emit.VarHandleOp(dtype=value.dtype, shape=value.shape, shared_name=name, name=name)
        self.before.append(emit.AssignVariableOp(handle, value))
        return handle

    def runs(self) -> list[list[str]]:
        outputs = [t.name for t in self.operation.outputs] or [self.operation.name]
        return [[op.name for op in self.before], outputs, [t.name for t in self.after]]

    def results(self) -> list[Array]:
        """The new values of variables, then the outputs: what the NumPy body gives, or a session where order counts."""
        if not self.op_def.effects:
            with np.errstate(all="ignore"):
                return self.op_def.run(self.arrays, self.operation.attrs)
        with Session(graph=self.graph) as session:
            _, outputs, after = (session.run(names) for names in self.runs())
        return [
            np.asarray(value, object if isinstance(value, bytes) else None)
            for value in (*after, *outputs)
            if value is not None
        ]


def differences(name: str, sample: Sample, mine: Sequence[Array], theirs: Sequence[Any]) -> dict[int, str]:
    """What differs of some outputs, by their numbers."""
    texts = {}
    for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        text = difference(a, b, max(TOLERANCE.get(a.dtype.name, 0.0), sample.rtol or 0.0))
        if text:
            texts[i] = f"{name} output {i}: {text}"
    return texts


def tell(problems: list[str]) -> None:
    if problems:
        pytest.fail(f"{len(problems)} differences:\n" + "\n".join(problems), pytrace=False)


def test_bodies_mean_what_tensorflow_means(referee: Referee) -> None:
    built = {name: Built(*case) for name, case in CASES.items()}
    cases = {
        name: Case(b.graph, b.runs(), shapes=[t.name for t in b.operation.outputs])
        for name, b in built.items()
    }
    verdicts = referee.ask(cases)
    reasons = Reasons(DIFFERENT)
    problems = []
    lacking = 0
    for name, (op_type, sample) in CASES.items():
        verdict, operation = verdicts[name], built[name].operation
        if verdict.lacks_kernel:
            lacking += 1
            continue
        if verdict.error:
            found = {REFUSED: f"{name}: TensorFlow refuses it: {verdict.message}"}
        else:
            for output, shape in zip(operation.outputs, verdict.shapes, strict=True):
                if not output.shape.is_compatible_with(TensorShape(shape)):
                    problems.append(f"{name}: static shape {output.shape}, TensorFlow's {shape}")
            theirs = [*verdict.values[2], *(verdict.values[1] if operation.outputs else [])]
            found = differences(name, sample, built[name].results(), theirs)
        problems += reasons.sift(op_type, sample, found)[0]
    tell([*problems, *reasons.idle()])
    # TensorFlow has no kernel for some dtypes and layouts on a CPU; it must not be many.
    assert lacking < len(CASES) // 25


def open_graph(op_type: str, sample: Sample, ranks_known: bool) -> Graph:
    """A sample as one operation on inputs of open shape, but for those that stand in graphs as constants."""
    graph = Graph()
    with graph.as_default():
        tensors = []
        for i, array in enumerate(flat_arguments(sample)):
            tensor = constant(array, as_dtype(array.dtype))
            if i not in sample.constant:
                shape = TensorShape([None] * array.ndim if ranks_known else None)
                tensor = emit.PlaceholderWithDefault(tensor, shape=shape)
            tensors.append(tensor)
        emit_operation(OPS[op_type], grouped(sample, tensors), dict(sample.attrs), "tested")
    return graph


def grouped(sample: Sample, flat: list[Tensor]) -> list[Any]:
    values = iter(flat)
    return [
        [next(values) for _ in item] if isinstance(item, list) else next(values) for item in sample.inputs
    ]


@pytest.mark.parametrize("ranks_known", [True, False], ids=["sizes open", "ranks open"])
def test_shape_rules_say_no_less_than_tensorflows(ranks_known: bool, referee: Referee) -> None:
    graphs = {
        name: open_graph(*case, ranks_known)
        for name, case in CASES.items()
        if not OPS[case[0]].effects and case[0] not in WRONG_SHAPES
    }
    outputs = {name: graph.get_operation_by_name("tested").outputs for name, graph in graphs.items()}
    verdicts = referee.ask(
        {name: Case(graph, [], shapes=[t.name for t in outputs[name]]) for name, graph in graphs.items()}
    )
    problems = []
    for name, verdict in verdicts.items():
        for tensor, told in zip(outputs[name], verdict.shapes, strict=bool(not verdict.error)):
            mine, theirs = tensor.shape, TensorShape(told)
            if not mine.is_compatible_with(theirs) or mine.merge_with(theirs).as_tuple() != mine.as_tuple():
                problems.append(f"{name}: {tensor.name} has shape {mine}, TensorFlow says {theirs}")
    tell(problems)


DIFFERENTIABLE = {
    name: (op_type, sample)
    for name, (op_type, sample) in CASES.items()
    if sample.differentiable is not False
    and not OPS[op_type].effects
    and gradient_rule(op_type) is not None
    and not any(a.dtype.name in ("float16", "bfloat16") for a in sample.flat())
}


def direction(value: Array, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(value.shape)
    if value.dtype.kind == "c":
        values = values + 1j * generator.standard_normal(value.shape)
    return values.astype(value.dtype)


def gradient_graph(op_type: str, sample: Sample, known: bool) -> tuple[Graph, list[str]]:
    """The gradient of a sample's outputs, and that gradient's own, on inputs whose shapes are known or not."""
    op_def = OPS[op_type]
    arrays = flat_arguments(sample)
    graph = Graph()
    with graph.as_default():
        tensors: list[Any] = []
        for i, array in enumerate(arrays):
            tensor = constant(array, as_dtype(array.dtype))
            if i not in sample.constant:
                shape = TensorShape(sample.shapes.get(i, array.shape) if known else [None] * array.ndim)
                tensor = emit.PlaceholderWithDefault(tensor, shape=shape)
            tensors.append(tensor)
        emit_operation(op_def, grouped(sample, tensors), dict(sample.attrs), "tested")
        operation = graph.get_operation_by_name("tested")
        with np.errstate(all="ignore"):
            results = op_def.run(arrays, operation.attrs)
        wanted = range(len(arrays)) if sample.differentiable is True else sample.differentiable
        assert not isinstance(wanted, bool)
        chosen = [i for i in wanted if arrays[i].dtype.kind in "fc" and i not in sample.constant]
        xs = [tensors[i] for i in chosen]
        pairs = [(y, r) for y, r in zip(operation.outputs, results, strict=True) if r.dtype.kind in "fc"]
        ys = [y for y, _ in pairs]
        weights = [
            emit.PlaceholderWithDefault(
                constant(direction(r, i)), shape=TensorShape(r.shape if known else [None] * r.ndim)
            )
            for i, (_, r) in enumerate(pairs)
        ]
        grads = zip(chosen, gradients(ys, xs, grad_ys=weights), strict=True)
        first = [(i, dense(g)) for i, g in grads if g is not None]
        fetches = [g for _, g in first]
        if first and sample.second:
            ways = [constant(direction(arrays[i], 50 + i)) for i, _ in first]
            second = gradients(fetches, [*xs, *weights], grad_ys=ways)
            fetches += [dense(g) for g in second if g is not None]
    return graph, [t.name for t in fetches]


def dense(grad: Any) -> Tensor:
    return indexed_slices_to_tensor(grad) if isinstance(grad, IndexedSlices) else grad


def gradient_graphs(
    known: bool, wanted: Callable[[str], bool] = lambda op_type: True
) -> tuple[dict[str, tuple[Graph, list[str]]], dict[str, dict[int, str]]]:
    """The graphs of all gradients there are of the ops that are wanted; and which cannot be written."""
    built, refused = {}, {}
    for name, (op_type, sample) in DIFFERENTIABLE.items():
        if not wanted(op_type):
            continue
        try:
            graph, fetches = gradient_graph(op_type, sample, known)
        except (ValueError, NotImplementedError) as error:
            refused[name] = {REFUSED: f"{name}: its gradient is refused: {error}"}
        else:
            if fetches:
                built[name] = graph, fetches
    return built, refused


def reasons_of_gradients(known: bool) -> Reasons:
    if known:
        return Reasons(DIFFERENT_GRADIENTS, DIFFERENT)
    return Reasons(NEED_SHAPES, [*DIFFERENT_GRADIENTS, *DIFFERENT])


@pytest.mark.parametrize("known", [True, False], ids=["shapes known", "shapes open"])
def test_gradients_are_graphs_that_tensorflow_runs(known: bool, referee: Referee) -> None:
    built, refused = gradient_graphs(known)
    verdicts = referee.ask({name: Case(graph, [names]) for name, (graph, names) in built.items()})
    reasons = reasons_of_gradients(known)
    problems = [text for n, found in refused.items() for text in reasons.sift(*DIFFERENTIABLE[n], found)[0]]
    lacking = 0
    for name, (graph, names) in built.items():
        op_type, sample = DIFFERENTIABLE[name]
        verdict = verdicts[name]
        if verdict.lacks_kernel:
            lacking += 1
            continue
        if verdict.error:
            found = {REFUSED: f"{name}: TensorFlow refuses it: {verdict.message}"}
        else:
            with Session(graph=graph) as session:
                mine = [np.asarray(value) for value in session.run(names)]
            found = differences(name, sample, mine, verdict.values[0])
        problems += reasons.sift(op_type, sample, found)[0]
    tell([*problems, *reasons.idle()])
    assert lacking < len(built) // 25
