"""`graphflow serve --check`: loads a version as the server would, runs it, and tells what it has found."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

from graphflow.serving import versions
from graphflow.serving.batching import BatchingOptions
from graphflow.serving.memory_check import free_bytes, needed_bytes
from graphflow.serving.model import Model, TensorSpec
from graphflow.serving.recording import compare
from graphflow.serving.warm_up import warm_up


def check(
    base_path: str,
    batching: BatchingOptions | None,
    replay: str | None = None,
    allowed_ops: Collection[str] = (),
) -> Iterator[str]:
    """Gives the lines of a report about the newest version below a base path.

    Args:
      base_path: the folder.
      batching: how requests are put together.
      replay: a file of recorded requests, whose answers are held against this version's.
      allowed_ops: types of ops that open files or call Python which it may have all the same.

    Raises:
      OpError, OSError, RuntimeError, ValueError: for what would keep it from being served.
    """
    found = versions.versions_in(base_path)
    if not found:
        raise versions.no_versions(base_path)
    number = max(found)
    path = found[number]
    missing = versions.missing_part(path)
    if missing is not None:
        raise ValueError(f"{path} is not whole: it lacks {missing}")
    rows = 1 if batching is None else batching.max_batch_size
    needed = needed_bytes(path, rows)
    yield f"version {number} of {path}"
    yield (
        f"memory: {needed / 2**20:.1f} MiB with {rows} rows, of {free_bytes() / 2**20:.0f} MiB that are free; "
        f"{versions.stored_bytes(path) / 2**20:.1f} MiB on disk"
    )
    begin = time.perf_counter()
    model = Model(path, version=number, batching=batching, allowed_ops=allowed_ops)
    loaded = time.perf_counter()
    try:
        warm_up(model)
        yield f"loaded in {loaded - begin:.3f} s, warmed up in {time.perf_counter() - loaded:.3f} s"
        for name, signature in model.signatures.items():
            yield f"{name} ({signature.method_name or 'no method'})"
            yield from (f"  takes {_shown(key, spec)}" for key, spec in signature.inputs.items())
            yield from (f"  gives {_shown(key, spec)}" for key, spec in signature.outputs.items())
            yield "  runs in batches" if signature.batcher is not None else f"  runs alone: {signature.alone}"
        if replay is not None:
            count, different, largest = compare(model, replay)
            apart = f", the largest difference is {largest:.3g}" if different else ""
            yield f"{count} recorded requests: {count - different} answers have the same bits{apart}"
        for name, reason in model.unsupported.items():
            yield f"{name} cannot be served: {reason}"
    finally:
        model.close()


def _shown(key: str, spec: TensorSpec) -> str:
    return f"{key}: {spec.dtype.name}{spec.shape}"
