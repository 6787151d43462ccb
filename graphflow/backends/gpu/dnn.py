"""Convolutions and attention by cuDNN, through its frontend: each is a graph of its own, over plain addresses."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from graphflow.backends.gpu.attentions import AttentionPlan
from graphflow.backends.gpu.convolutions import ConvPlan
from graphflow.collector import while_loading
from graphflow.records import dataclass

__all__ = ["ALIGNMENT", "WORKSPACE", "CuDnn", "load_library"]

ALIGNMENT = 16
"""Bytes to which tensors lie aligned, as the frontend says of them unless it is told."""

WORKSPACE = 256 << 20
"""Bytes of scratch that a convolution or an attention may take at most."""

# What tensors are known by: the places of their addresses, counted from one.
_FIRST, _SECOND, _MADE, _BIAS = 1, 2, 3, 4
_Q, _K, _V, _MIXED, _ADDED = 1, 2, 3, 4, 5
_INEXACT = (
    "TENSOR_CORE",
    "DOWN_CONVERT_INPUTS",
    "REDUCED_PRECISION_REDUCTION",
    "FFT",
    "WINOGRAD",
    "WINOGRAD_TILE_4x4",
    "WINOGRAD_TILE_6x6",
    "WINOGRAD_TILE_13x13",
)


def load_library() -> Any:
    """The frontend, a Python module; None where it or cuDNN itself is not there."""
    try:
        with while_loading():
            library: Any = importlib.import_module("cudnn")
            library.backend_version()
    except (ImportError, OSError, RuntimeError):
        return None
    return library


@dataclass(frozen=True, eq=False, slots=True)
class _Built:
    graph: Any
    workspace: int


class CuDnn:
    """cuDNN for one device and stream.

    Args:
      library: the frontend.
      precision: "tf32" rounds factors to 10 bits of fraction, "highest" does not.
      stream: the stream that all goes on, by its handle.
      device: a device that is not here, as the frontend's JSON, its compute capability times ten and its
        multiprocessors: plans are made for it, and cannot be run.
    """

    def __init__(
        self, library: Any, precision: str, stream: int = 0, device: tuple[str, int, int] | None = None
    ) -> None:
        self._library = library
        exact = _INEXACT if precision == "highest" else ()
        self._refused = {
            # What tensor cores make of factors of 16 bits is exact.
            dtype: [
                getattr(library.numerical_note, note)
                for note in ("NONDETERMINISTIC", *exact)
                if dtype == "f32" or note not in ("TENSOR_CORE", "DOWN_CONVERT_INPUTS")
            ]
            for dtype in ("f32", "bf16", "f16")
        }
        self._handle: int | None = None
        if device is None:
            self._handle = library.create_handle()
            library.set_stream(handle=self._handle, stream=stream)
            self._target: dict[str, Any] = {"handle": self._handle}
        else:
            text, version, multiprocessors = device
            self._target = {
                "device_property": library.create_device_properties(text),
                "sm_version": version,
                "sm_count": multiprocessors,
            }
        self._built: dict[ConvPlan | AttentionPlan, _Built | None] = {}

    def prepare(self, plan: ConvPlan | AttentionPlan) -> int | None:
        """Finds out how it is done; the bytes of scratch that it takes, None if cuDNN does not do it."""
        if plan not in self._built:
            try:
                if isinstance(plan, AttentionPlan):
                    self._built[plan] = self._planned(self.attention(plan), plan.dtype)
                else:
                    self._built[plan] = self._planned(self._convolution(plan), plan.dtype)
            except (self._library.cudnnGraphNotSupportedError, RuntimeError, ValueError):
                self._built[plan] = None
        built = self._built[plan]
        return None if built is None else built.workspace

    def run(self, plan: ConvPlan | AttentionPlan, pointers: Sequence[int], workspace: int) -> None:
        """Puts what was prepared on the stream."""
        built = self._built[plan]
        assert built is not None
        built.graph.execute(dict(enumerate(pointers, 1)), workspace, handle=self._handle)

    def go_on(self, stream: int) -> None:
        """All goes on another stream from now on."""
        self._library.set_stream(handle=self._handle, stream=stream)

    def close(self) -> None:
        """Lets go of the library's memory."""
        self._built.clear()
        if self._handle is not None:
            self._library.destroy_handle(self._handle)
            self._handle = None

    def _graph(self, name: str, dtype: str) -> tuple[Any, Any]:
        """An empty graph whose sums have 32 bits, and the frontend's name of what its operands hold."""
        library = self._library
        wide = library.data_type.FLOAT
        kind = {"bf16": library.data_type.BFLOAT16, "f16": library.data_type.HALF}.get(dtype, wide)
        graph = library.pygraph(
            name=name, io_data_type=kind, intermediate_data_type=wide, compute_data_type=wide, **self._target
        )
        return graph, kind

    def _planned(self, graph: Any, dtype: str) -> _Built:
        """A graph with the way that it is done."""
        library = self._library
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(self._refused[dtype])
        graph.deselect_workspace_greater_than(WORKSPACE)
        graph.check_support()
        graph.build_plans()
        return _Built(graph, int(graph.get_workspace_size()))

    def attention(self, plan: AttentionPlan) -> Any:
        """The graph of an attention, which nobody has looked at yet."""
        graph, kind = self._graph("attention", plan.dtype)

        def lies(rows: int, columns: int, strides: tuple[int, int, int]) -> dict[str, list[int]]:
            return {"dim": [plan.batch, plan.heads, rows, columns], "stride": [*strides, 1]}

        def tensor(uid: int, name: str, placed: dict[str, list[int]]) -> Any:
            return graph.tensor(name=name, uid=uid, data_type=kind, **placed)

        more: dict[str, Any] = {}
        if plan.added is not None:
            batch, heads = plan.added
            row = plan.queries * plan.keys
            placed = {
                "dim": [batch, heads, plan.queries, plan.keys],
                "stride": [heads * row, row, plan.keys, 1],
            }
            more["bias"] = tensor(_ADDED, "added", placed)
        made, _ = graph.sdpa(
            q=tensor(_Q, "q", lies(plan.queries, plan.depth, plan.strides_q)),
            k=tensor(_K, "k", lies(plan.keys, plan.depth, plan.strides_k)),
            v=tensor(_V, "v", lies(plan.keys, plan.width, plan.strides_v)),
            attn_scale=plan.scale,
            generate_stats=False,
            **more,
        )
        placed = lies(plan.queries, plan.width, plan.strides_c)
        made.set_output(True).set_uid(_MIXED).set_data_type(kind)
        made.set_dim(placed["dim"]).set_stride(placed["stride"])
        return graph

    def _convolution(self, plan: ConvPlan) -> Any:
        graph, kind = self._graph(f"convolution_{plan.direction}", plan.dtype)
        images = _lies(plan.batch, plan.in_channels, plan.height, plan.width)
        outputs = _lies(plan.batch, plan.out_channels, plan.out_height, plan.out_width)
        filters = _lies(plan.out_channels, plan.in_channels, *plan.kernel)
        (top, bottom), (left, right) = plan.padding
        windows = {
            "pre_padding": [top, left],
            "post_padding": [bottom, right],
            "stride": list(plan.strides),
            "dilation": list(plan.dilations),
        }

        def tensor(uid: int, name: str, lies: dict[str, list[int]]) -> Any:
            return graph.tensor(name=name, uid=uid, data_type=kind, **lies)

        if plan.direction == "forward":
            first, second = tensor(_FIRST, "x", images), tensor(_SECOND, "w", filters)
            made, lies = graph.conv_fprop(image=first, weight=second, **windows), outputs
            if "bias" in plan.tail:
                bias = tensor(_BIAS, "bias", _lies(1, plan.out_channels, 1, 1))
                made = graph.bias(input=made, bias=bias)
            if "relu" in plan.tail:
                made = graph.relu(input=made)
        elif plan.direction == "input":
            first, second = tensor(_FIRST, "dy", outputs), tensor(_SECOND, "w", filters)
            made, lies = graph.conv_dgrad(loss=first, filter=second, **windows), images
        else:
            first, second = tensor(_FIRST, "x", images), tensor(_SECOND, "dy", outputs)
            made, lies = graph.conv_wgrad(image=first, loss=second, **windows), filters
        made.set_output(True).set_uid(_MADE).set_data_type(kind)
        made.set_dim(lies["dim"]).set_stride(lies["stride"])
        return graph


def _lies(number: int, channels: int, height: int, width: int) -> dict[str, list[int]]:
    """Extents in cuDNN's order, and strides of memory in which channels lie side by side."""
    return {
        "dim": [number, channels, height, width],
        "stride": [height * width * channels, 1, width * channels, channels],
    }
