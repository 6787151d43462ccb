"""`DeviceSpec`: the parts of a device's name."""

from __future__ import annotations

from typing import Any

from graphflow.graph import canonical_device

_PARTS = ("job", "replica", "task", "device_type", "device_index")


class DeviceSpec:
    """The parts of a device's name, each of which may be left open.

    Args:
      job: such as "worker".
      replica, task: numbers.
      device_type: such as "CPU" or "GPU".
      device_index: the number of the device.
    """

    def __init__(
        self, job: str | None = None, replica: int | None = None, task: int | None = None,
        device_type: str | None = None, device_index: int | None = None,
    ) -> None:  # fmt: skip
        self.job = job
        self.replica = None if replica is None else int(replica)
        self.task = None if task is None else int(task)
        self.device_type = None if device_type is None else str(device_type).upper()
        self.device_index = None if device_index is None else int(device_index)

    @classmethod
    def from_string(cls, spec: str) -> DeviceSpec:
        """Returns the parts of a name such as "/job:worker/task:1/device:GPU:0".

        Raises:
          ValueError: if it names no device.
        """
        return cls().parse_from_string(spec)

    def parse_from_string(self, spec: str) -> DeviceSpec:
        """Takes the parts of a name, in place of those that are there; returns itself."""
        found: dict[str, Any] = dict.fromkeys(_PARTS)
        for part in canonical_device(spec).split("/"):
            key, _, value = part.partition(":")
            if key == "device":
                kind, _, index = value.partition(":")
                found["device_type"] = kind
                found["device_index"] = None if index in ("", "*") else int(index)
            elif key in ("replica", "task"):
                found[key] = int(value)
            elif key:
                found[key] = value
        self.__init__(**found)  # type: ignore[misc]
        return self

    def merge_from(self, dev: DeviceSpec) -> None:
        """Takes the parts that another has."""
        for part in _PARTS:
            value = getattr(dev, part)
            if value is not None:
                setattr(self, part, value)

    def make_merged_spec(self, dev: DeviceSpec) -> DeviceSpec:
        """Returns one with the parts that another has, and these where it has none."""
        made = self.replace()
        made.merge_from(dev)
        return made

    def replace(self, **kwargs: Any) -> DeviceSpec:
        """Returns one with some parts changed."""
        return DeviceSpec(**{**{part: getattr(self, part) for part in _PARTS}, **kwargs})

    def to_string(self) -> str:
        """Returns the name."""
        parts = [
            f"/{part}:{getattr(self, part)}"
            for part in ("job", "replica", "task")
            if getattr(self, part) is not None
        ]
        if self.device_type is not None:
            index = "*" if self.device_index is None else self.device_index
            parts.append(f"/device:{self.device_type}:{index}")
        return "".join(parts)

    def __str__(self) -> str:
        return self.to_string()

    def __repr__(self) -> str:
        return f"DeviceSpec({', '.join(f'{p}={getattr(self, p)!r}' for p in _PARTS if getattr(self, p) is not None)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceSpec) and self.to_string() == other.to_string()

    def __hash__(self) -> int:
        return hash(self.to_string())
