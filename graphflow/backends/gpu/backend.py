"""GPUs as a back end: what the compiler lowers for, and each session's memory on its device."""

from __future__ import annotations

import importlib
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from graphflow import config
from graphflow.backends.base import Backend, load
from graphflow.backends.cuda.contraction import library as kernels_of
from graphflow.backends.gpu.attentions import AttentionPlan
from graphflow.backends.gpu.calls import LibraryCode, code_of
from graphflow.backends.gpu.device import Device
from graphflow.backends.gpu.plan import DevicePlanBuilder
from graphflow.backends.gpu.residents import Residents
from graphflow.collector import while_loading
from graphflow.loops.cost import Peak
from graphflow.loops.library import Call
from graphflow.loops.library import digest as digest_of_call
from graphflow.variable_store import VariableStore

__all__ = ["GpuBackend"]

_DEVICES = {
    "auto": ("graphflow.backends.gpu.cupy_device", "CupyDevice"),
    "host": ("graphflow.backends.gpu.host_device", "HostDevice"),
    "recording": ("graphflow.backends.gpu.recording_device", "RecordingDevice"),
}


class GpuBackend:
    """Makes plans for GPU `index`, or for `several`. A device is opened for each session, when it first runs something
    there."""

    name = "gpu"
    threads = 1
    absorbs = frozenset(("attention16", "float16"))
    many_threads = True

    def __init__(
        self, index: int = 0, threads: int = 0, share_from: float = 0.0, several: tuple[int, ...] = ()
    ) -> None:
        self.devices = several or (index,)
        self.share_from = share_from  # its blocks are shared in any case
        self._processor_threads = threads
        self.index = index
        self.kind = config.gpu()
        self._library: dict[str, LibraryCode] = {}
        self._residents: weakref.WeakKeyDictionary[VariableStore, Residents] = weakref.WeakKeyDictionary()
        self._own: Residents | None = None
        self._lock = threading.Lock()

    @property
    def device_name(self) -> str:
        """What the device is called in plans."""
        return f"GPU:{','.join(map(str, self.devices))}" + ("" if self.kind == "auto" else f" ({self.kind})")

    @property
    def processor(self) -> Backend:
        """The back end of what was placed on the processor."""
        return load("cpu", self._processor_threads, self.share_from)

    @property
    def target(self) -> Any:
        """What products of processors are shaped by: nothing of this matters here."""
        return load("cpu").target

    def builder(self, name: str = "") -> DevicePlanBuilder:
        """A builder of plans that run here."""
        return DevicePlanBuilder(self, name)

    def library(self, call: Call) -> LibraryCode:
        """The steps of a library call; equal calls are described once."""
        key = digest_of_call(call)
        code = self._library.get(key)
        if code is None:
            code = self._library[key] = code_of(call, kernels_of)
        return code

    def attends(self, plan: AttentionPlan) -> bool:
        """Whether the device has a library that does an attention."""
        first = self
        if len(self.devices) > 1:
            found = load(f"gpu:{self.devices[0]}", self._processor_threads, self.share_from)
            assert isinstance(found, GpuBackend)
            first = found
        residents = first.residents(None)
        with residents.turn():
            return residents.device.attention(plan) is not None

    def panel_width(self, dtype: str, columns: int) -> int:
        """Matrices lie row by row here."""
        return 0

    def addresses(self, kernels: Sequence[Any]) -> list[int]:
        """Numbers that stand for kernels: they are loaded by the device, when a session first runs them."""
        return list(range(len(kernels)))

    def peak(self) -> Peak:
        """The best the device does, by its clocks."""
        with self._lock:
            known = [
                one for one in (*self._residents.values(), self._own) if one is not None and not one.closed
            ]
        properties = (known[0] if known else self.residents(None)).device.properties
        return Peak({"f32": properties.flops, "f64": properties.flops / 2}, properties.bandwidth)

    def _device_class(self) -> Any:
        module, name = _DEVICES["auto" if self.kind == "off" else self.kind]
        with while_loading():
            return getattr(importlib.import_module(module), name)

    def open(self) -> Device:
        """The device, with a stream of its own. Makes a context.

        Raises:
          FailedPreconditionError: where there is none.
        """
        made: Callable[[int], Device] = self._device_class()
        return made(self.index)

    def all_residents(self, store: VariableStore | None) -> list[Residents]:
        """A session's memory on each of the devices."""
        if len(self.devices) == 1:
            return [self.residents(store)]
        found = []
        for index in self.devices:
            one = load(f"gpu:{index}", self._processor_threads, self.share_from)
            assert isinstance(one, GpuBackend)
            found.append(one.residents(store))
        return found

    def residents(self, store: VariableStore | None) -> Residents:
        """A session's memory on the device; plans that know no variables share one of their own."""
        with self._lock:
            if store is None:
                if self._own is None:
                    self._own = Residents(self.open())
                return self._own
            found = self._residents.get(store)
            if found is None or found.closed:
                device = self.open()
                share = store.device_memory
                limit = None if share is None else int(share * device.properties.bytes)
                found = self._residents[store] = Residents(device, limit)
                store.holders.append(found)
            return found
