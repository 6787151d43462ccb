"""What the process serves and how it fares, for people: a page for the browser, and the same as JSON."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import quote

from graphflow.serving.manager import ModelManager
from graphflow.serving.service import Service
from graphflow.version import __version__

PAGE, DATA = "/", "/graphflow/status"
# The picture of a version's graph.
PICTURE = re.compile(r"/graphflow/models/([^/]+)/versions/(\d+)/graph\.svg")

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>graphflow serve</title>
<meta http-equiv="refresh" content="5"><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .8em .3em 0;border-bottom:1px solid #ddd;
vertical-align:top}img{max-width:100%;max-height:30em}code{font-size:90%}.AVAILABLE{color:#087f23}.END,.UNLOADING{color:#a00}</style>
"""


def data(service: Service) -> dict[str, Any]:
    """Returns the versions with their states, and for each signature what is known of its batching."""
    return {
        "version": __version__,
        "ready": service.ready(),
        "draining": service.draining,
        "requests": service.requests,
        "models": {name: _versions(service.models, name) for name in service.models.names()},
    }


def _versions(models: ModelManager, name: str) -> list[dict[str, Any]]:
    found = []
    for servable, signatures in models.details(name):
        found.append(
            {
                "version": servable.version,
                "path": servable.path,
                "state": servable.state.name,
                "error": servable.error.message if servable.error else "",
                "requests": servable.holds,
                "signatures": {
                    key: {
                        "batching": signature.batcher is not None,
                        "alone": signature.alone,
                        "queued_rows": 0 if signature.batcher is None else signature.batcher.queued,
                    }
                    for key, signature in signatures.items()
                },
            }
        )
    return found


def page(service: Service) -> bytes:
    """Returns the same as a page of HTML."""
    told = data(service)
    state = "draining" if told["draining"] else "ready" if told["ready"] else "not ready"
    parts = [_HEAD, f"<h1>graphflow {html.escape(told['version'])}: {state}</h1>"]
    parts.append(
        f"<p>{told['requests']} requests under way; <a href='/monitoring/prometheus/metrics'>metrics</a>, "
    )
    parts.append("<a href='/openapi.json'>OpenAPI</a>, <a href='/graphflow/status'>JSON</a></p>")
    for name, versions in told["models"].items():
        parts.append(
            f"<h2>{html.escape(name)}</h2><table><tr><th>version<th>state<th>requests<th>signatures</tr>"
        )
        for version in versions:
            signatures = "<br>".join(
                f"<code>{html.escape(key)}</code> "
                + ("in batches" if found["batching"] else f"alone: {html.escape(found['alone'])}")
                for key, found in version["signatures"].items()
            )
            error = f"<br>{html.escape(version['error'])}" if version["error"] else ""
            parts.append(
                f"<tr><td>{version['version']}<td class={version['state']}>{version['state']}{error}"
                f"<td>{version['requests']}<td>{signatures}</tr>"
            )
        parts.append("</table>")
        for version in versions:
            if version["state"] == "AVAILABLE":
                source = f"/graphflow/models/{quote(name, safe='')}/versions/{version['version']}/graph.svg"
                parts.append(
                    f"<p><a href='{source}'><img src='{source}' alt='the graph' loading='lazy'></a></p>"
                )
    return "".join(parts).encode()
