"""Conditional nodes of graphs that are captured, through cuda-bindings: CuPy knows nothing of them.

Streams and graphs are handles of the driver, which CuPy's are too.
"""

from __future__ import annotations

import importlib
from typing import Any

from graphflow import errors
from graphflow.backends.gpu.device import NodeKind
from graphflow.collector import while_loading

__all__ = ["ConditionalNodes"]

_OLDEST = 12080  # the first driver that knows SWITCH nodes


class ConditionalNodes:
    """What the driver does for conditional nodes. `driver`: `cuda.bindings.driver`."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    @classmethod
    def load(cls) -> ConditionalNodes | None:
        """Returns None where cuda-bindings are missing, or the driver is older than CUDA 12.8."""
        try:
            with while_loading():
                driver: Any = importlib.import_module("cuda.bindings.driver")
        except ImportError:
            return None
        made = cls(driver)
        return made if made._call("cuDriverGetVersion")[0] >= _OLDEST else None

    def condition(self, stream: int) -> int:
        """A condition in the graph that a stream is captured into. It is 0 whenever the graph begins."""
        (context,) = self._call("cuCtxGetCurrent")
        flags = self._driver.CU_GRAPH_COND_ASSIGN_DEFAULT
        (handle,) = self._call("cuGraphConditionalHandleCreate", self._graph(stream)[0], context, 0, flags)
        number = int(handle)
        return number - (1 << 64) if number >> 63 else number  # as kernels take numbers

    def branch(self, stream: int, kind: NodeKind, condition: int, count: int) -> list[Any]:
        """Puts a node behind all that the stream has been given; returns its bodies, graphs without nodes."""
        driver = self._driver
        graph, behind = self._graph(stream)
        params = driver.CUgraphNodeParams()
        params.type = driver.CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL
        conditional = params.conditional
        conditional.handle = driver.CUgraphConditionalHandle(condition % (1 << 64))
        conditional.type = getattr(driver.CUgraphConditionalNodeType, f"CU_GRAPH_COND_TYPE_{kind.upper()}")
        conditional.size = count
        (conditional.ctx,) = self._call("cuCtxGetCurrent")
        (node,) = self._call("cuGraphAddNode", graph, behind, None, len(behind), params)
        instead = driver.CUstreamUpdateCaptureDependencies_flags.CU_STREAM_SET_CAPTURE_DEPENDENCIES
        self._call("cuStreamUpdateCaptureDependencies", stream, [node], None, 1, int(instead))
        return list(params.conditional.phGraph_out)[:count]

    def begin(self, stream: int, body: Any) -> None:
        """What a stream is given from now on goes into a body."""
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._call("cuStreamBeginCaptureToGraph", stream, body, None, None, 0, mode)

    def end(self, stream: int) -> None:
        """The body is whole."""
        self._call("cuStreamEndCapture", stream)

    def _graph(self, stream: int) -> tuple[Any, list[Any]]:
        """The graph that a stream is captured into, and the nodes that what comes next waits for."""
        found = self._call("cuStreamGetCaptureInfo", stream)
        return found[2], list(found[3])[: int(found[-1])]

    def _call(self, name: str, *args: Any) -> tuple[Any, ...]:
        status, *results = getattr(self._driver, name)(*args)
        if int(status) != 0:
            raise errors.InternalError(None, None, f"{name} failed: {getattr(status, 'name', status)}")
        return tuple(results)
