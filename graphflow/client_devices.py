"""`tensorflow.python.client.device_lib`: the devices of this machine."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from graphflow.session import Session

DeviceAttributes = namedtuple(
    "DeviceAttributes",
    "name device_type memory_limit locality incarnation physical_device_desc xla_global_id",
)


def list_local_devices(session_config: Any = None) -> list[DeviceAttributes]:
    """Returns the devices that a session can use; nothing is allocated on them."""
    with Session(config=session_config) as session:
        devices = session.list_devices()
    short = "/device:"
    return [
        DeviceAttributes(
            short + device.name.partition(short)[2], device.device_type, device.memory_limit_bytes, {},
            device.incarnation, "", -1,
        )
        for device in devices
    ]  # fmt: skip


__all__ = ["DeviceAttributes", "list_local_devices"]
