"""Arrays of other libraries as feeds: on a GPU where they lie, on the host by DLPack, never copied on the way."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import graphflow as gf
from graphflow.backends import device_arrays
from graphflow.backends.device_arrays import DeviceArray, device_array, host_array
from graphflow.backends.gpu.host_device import HostDevice
from graphflow.backends.gpu.recording_device import RecordingDevice

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Tensor:
    """What a library's tensor looks like that speaks DLPack alone, on the host (1) or on a GPU (2)."""

    def __init__(self, array: Any, place: int = 1, *, dense: bool = False) -> None:
        self.array, self.place, self.dense = array, place, dense
        self.given_back = 0
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place, 0

    def __dlpack__(self, stream: Any = None) -> Any:
        self.streams.append(stream)
        array = self.array
        managed = device_arrays._ManagedTensor()
        code = {"b": 6, "i": 0, "u": 1, "f": 2, "c": 5}.get(array.dtype.kind, 4)
        managed.tensor.data = array.ctypes.data
        managed.tensor.device.kind = self.place
        managed.tensor.ndim = array.ndim
        managed.tensor.dtype.code, managed.tensor.dtype.bits, managed.tensor.dtype.lanes = (
            code, 8 * array.itemsize, 1,
        )  # fmt: skip
        shape = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
        managed.tensor.shape = shape
        if not self.dense:
            strides = (ctypes.c_int64 * max(1, array.ndim))(*(s // array.itemsize for s in array.strides))
            managed.tensor.strides = strides

        def give_back(pointer: int) -> None:
            self.given_back += 1

        managed.deleter = type(managed.deleter)(give_back)
        self.kept = managed, shape
        return _new_capsule(ctypes.addressof(managed), b"dltensor", None)

    def cpu(self) -> Tensor:
        return Tensor(self.array.copy())


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "float16", "float64", "complex64", "bfloat16"]
)
def test_memory_of_the_host_is_taken_where_it_lies(dtype: str) -> None:
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    for whole in (np.arange(12).reshape(3, 4).astype(kind), np.zeros((0, 2), kind), np.array(3).astype(kind)):
        tensor = Tensor(whole)
        taken = host_array(tensor)
        assert taken.dtype == kind and taken.shape == whole.shape
        np.testing.assert_array_equal(taken, whole)
        if whole.size:
            assert taken.ctypes.data == whole.ctypes.data
        assert tensor.given_back == 0
        del taken
        gc.collect()
        assert tensor.given_back == 1
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(host_array(Tensor(turned)), turned)
    np.testing.assert_array_equal(host_array(Tensor(turned.T.copy(), dense=True)), turned.T)


def test_what_is_no_array_of_dlpack_stays_as_it_is() -> None:
    class Refuses(Tensor):
        def __dlpack__(self, stream: Any = None) -> Any:
            raise BufferError("it needs its gradient")

    tensor = Refuses(np.zeros(2, np.float32))
    assert host_array(tensor) is tensor and device_array(tensor) is None
    array = np.zeros(2)
    assert host_array(array) is array and device_array(array) is None and host_array([1]) == [1]
    assert host_array(Tensor(array, 2)).place == 2  # not the host's


def test_tensors_are_fed_on_the_processor() -> None:
    x = gf.placeholder(gf.float32, [None, 2])
    h = gf.placeholder(gf.bfloat16, [2])
    values = np.array([[1.0, 2.0]], np.float32)
    half = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    with gf.Session() as session:
        y, z = session.run([x * 2.0, gf.cast(h, gf.float32)], {x: Tensor(values), h: Tensor(half)})
        assert y.tolist() == [[2.0, 4.0]] and z.tolist() == [1.5, -2.0]
        assert session.run(x + 1.0, {x: Tensor(values.astype(np.float64))}).tolist() == [[2.0, 3.0]]
        # From a GPU, by its owner's way home.
        assert session.run(x + 1.0, {x: Tensor(values, 2)}).tolist() == [[2.0, 3.0]]


def test_tensors_of_a_gpu_are_read_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_GPU", "host")
    asked: list[Any] = []
    monkeypatch.setattr(HostDevice, "wait_for", lambda self, stream: asked.append(stream))

    def copied(self: Tensor) -> Tensor:
        raise AssertionError("it went over the host")

    monkeypatch.setattr(Tensor, "cpu", copied)
    x = gf.placeholder(gf.float32, [None, 2])
    tensor = Tensor(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 2)
    with gf.Session() as session:
        found = session.run(x * 2.0, {x: tensor})
        assert found.tolist() == [[2.0, 4.0], [6.0, 8.0]]
        assert tensor.streams == [1] and asked == [1]
        gc.collect()
        assert tensor.given_back == 1
        with pytest.raises(ValueError, match="rows do not follow each other"):
            session.run(x * 2.0, {x: Tensor(np.zeros((2, 4), np.float32)[:, ::2], 2)})
        with pytest.raises(ValueError, match=r"shape \(3,\)"):
            session.run(x * 2.0, {x: Tensor(np.zeros(3, np.float32), 2)})
        monkeypatch.undo()
    row = device_array(tensor)
    assert row is not None and row[1].get().tolist() == [3.0, 4.0]
    assert row[1].address == row.address + 8 and len(row) == 2 and row[1].is_dense


def test_a_fed_device_array_is_one_copy_within_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class There:
        """An array at a made-up place, written by a stream of its owner."""

        __cuda_array_interface__ = {
            "data": (0x5000, False), "shape": (4,), "typestr": "<f4", "strides": None, "stream": 7, "version": 3,
        }  # fmt: skip

    monkeypatch.setenv("GRAPHFLOW_GPU", "recording")
    x = gf.placeholder(gf.float32, [4])
    v = gf.Variable(np.zeros(4, np.float32))
    with gf.Session() as session:
        session.load_variable(v, np.zeros(4, np.float32))
        step = v.assign_add(x).op
        session.run(step, {x: There()})
        (residents,) = session._state.holders
        device = residents.device
        assert isinstance(device, RecordingDevice)
        device.records.clear()
        session.run(step, {x: There()})
        calls = [(record.call, record.args) for record in device.records]
    assert ("wait_for", (7,)) in calls
    assert [args[1:] for call, args in calls if call == "d2d"] == [(0x5000, 16)]
    assert not [call for call, _ in calls if call in ("h2d", "d2h")]


def test_pytorchs_tensors() -> None:
    torch = pytest.importorskip("torch")
    x = gf.placeholder(gf.float32, [2, 3])
    tensor = torch.arange(6, dtype=torch.float32).reshape(3, 2).T
    h = gf.placeholder(gf.bfloat16, [2])
    with gf.Session() as session:
        found = session.run(x * 2.0, {x: tensor})
        assert found.tolist() == (tensor * 2).tolist()
        assert session.run(h, {h: torch.tensor([1.5, 2.0], dtype=torch.bfloat16)}).tolist() == [1.5, 2.0]
    assert isinstance(host_array(tensor), np.ndarray)
    assert not isinstance(host_array(tensor), DeviceArray)
