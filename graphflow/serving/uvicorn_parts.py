"""The parts of uvicorn that serve, without its command line, whose libraries take longer to load than a model."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

__all__ = ["HIGH_WATER_LIMIT", "STATUS_LINE", "Config", "HttpToolsProtocol", "Server"]

_PACKAGE = "uvicorn"


def _parts() -> tuple[Any, Any, Any, Any]:
    """Loads the parts with a bare package above them; whoever imports uvicorn itself later gets the whole of it."""
    bare: Any = None
    if _PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
        bare = sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        config = importlib.import_module("uvicorn.config")
        if bare is not None:
            bare.Config = config.Config
        server = importlib.import_module("uvicorn.server")
        flow = importlib.import_module("uvicorn.protocols.http.flow_control")
        protocol = importlib.import_module("uvicorn.protocols.http.httptools_impl")
        # A server asks for it by its name.
        importlib.import_module("uvicorn.lifespan.off")
    finally:
        if bare is not None:
            del sys.modules[_PACKAGE]
    return config, server, flow, protocol


_config, _server, _flow, _protocol = _parts()
Config, Server = _config.Config, _server.Server
HttpToolsProtocol, STATUS_LINE = _protocol.HttpToolsProtocol, _protocol.STATUS_LINE
HIGH_WATER_LIMIT: int = _flow.HIGH_WATER_LIMIT
