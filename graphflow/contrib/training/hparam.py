"""`HParams`: named hyperparameters of known types, which a line of text or a dict can override."""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Callable, Mapping
from typing import Any

_PART = re.compile(
    r"(?P<name>[a-zA-Z][\w.]*)(\[\s*(?P<index>\d+)\s*\])?\s*=\s*(?:\[(?P<values>[^\]]*)\]|(?P<value>[^,\[]*))\s*($|,\s*)"
)


def _cast(name: str, kind: type, value: Any) -> Any:
    """A value as the type of a parameter.

    Raises:
      ValueError: if it does not fit.
    """

    def fail() -> ValueError:
        return ValueError(f"Could not cast hparam '{name}' of type '{kind.__name__}' from value {value!r}")

    if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
        return value
    if kind is type(None):
        return value
    if issubclass(kind, str | bytes):
        if not isinstance(value, str | bytes):
            raise fail()
        return value.decode() if kind is str and isinstance(value, bytes) else value
    if issubclass(kind, bool) != isinstance(value, bool):
        raise fail()
    if issubclass(kind, numbers.Integral) and not isinstance(value, numbers.Integral):
        raise fail()
    if issubclass(kind, numbers.Number) and not isinstance(value, numbers.Number):
        raise fail()
    made: Any = kind
    return made(value)


def _read(name: str, kind: type, text: str) -> Any:
    """A value out of a text."""
    text = text.strip()
    try:
        if kind is bool:
            known = {"true": True, "True": True, "false": False, "False": False}
            return known[text] if text in known else bool(int(text))
        return text if kind is type(None) else kind(text)
    except ValueError:
        raise ValueError(
            f"Could not parse hparam '{name}' of type '{kind.__name__}' with value '{text}'"
        ) from None


def parse_values(values: str, type_map: Mapping[str, type], ignore_unknown: bool = False) -> dict[str, Any]:
    """Returns what a text such as "rate=0.1,sizes=[1,2],offsets[0]=3" says: values, lists, and dicts by index.

    Args:
      values: the text.
      type_map: the type of each name, or of its elements.
      ignore_unknown: whether names without a type are passed over.

    Raises:
      ValueError: if the text is none of that kind, names what is unknown, gives something twice, or a value does not
        fit.
    """
    results: dict[str, Any] = {}
    at = 0
    while at < len(values):
        found = _PART.match(values, at)
        if found is None:
            raise ValueError(f"Malformed hyperparameter value: {values[at:]}")
        at = found.end()
        name, index = found["name"], found["index"]
        if name not in type_map:
            if ignore_unknown:
                continue
            raise ValueError(f"Unknown hyperparameter type for {name}")
        kind, before = type_map[name], results.get(name)
        if found["values"] is not None:
            if index is not None:
                raise ValueError(f"Assignment of a list to a list index: {found[0]}")
            made: Any = [_read(name, kind, item) for item in re.split("[ ,]", found["values"]) if item]
        elif index is not None:
            if before is not None and not isinstance(before, dict):
                raise ValueError(f"Multiple assignments to variable '{name}' in {values}")
            made = {int(index): _read(name, kind, found["value"])}
            if before is not None and int(index) not in before:
                made, before = {**before, **made}, None
        else:
            made = _read(name, kind, found["value"])
        if before is not None:
            raise ValueError(f"Multiple assignments to variable '{name}' in {values}")
        results[name] = made
    return results


class HParams:
    """Hyperparameters as attributes; each keeps the type it had first.

    Args:
      model_structure: accepted, kept.
      **kwargs: the parameters.
    """

    def __init__(self, hparam_def: Any = None, model_structure: Any = None, **kwargs: Any) -> None:
        if hparam_def is not None:
            raise ValueError("HParams: hparam_def is not supported; give the parameters themselves")
        self._model_structure = model_structure
        self._types: dict[str, tuple[type, bool]] = {}
        for name, value in kwargs.items():
            self.add_hparam(name, value)

    def add_hparam(self, name: str, value: Any) -> None:
        """Adds a parameter.

        Raises:
          ValueError: if there is one of that name, or a list is empty.
        """
        if getattr(self, name, None) is not None:
            raise ValueError(f"Hyperparameter name is reserved: {name}")
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError(f"Multi-valued hyperparameters cannot be empty: {name}")
            self._types[name] = type(value[0]), True
        else:
            self._types[name] = type(value), False
        setattr(self, name, value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Gives a parameter another value of its type.

        Raises:
          KeyError: if there is none of that name.
          ValueError: if the value does not fit.
        """
        kind, is_list = self._types[name]
        if isinstance(value, list | tuple) != is_list:
            raise ValueError(f"Must {'' if is_list else 'not '}pass a list for hparam {name}: {value!r}")
        setattr(self, name, [_cast(name, kind, v) for v in value] if is_list else _cast(name, kind, value))

    def del_hparam(self, name: str) -> None:
        """Takes a parameter away, if it is there."""
        if name in self._types:
            delattr(self, name)
            del self._types[name]

    def parse(self, values: str) -> HParams:
        """Overrides parameters as a text says: "rate=0.1,sizes=[1,2],sizes[0]=3"; returns itself.

        Raises:
          ValueError: if the text is none of that kind, names what is unknown, or a value does not fit.
        """
        for name, value in parse_values(
            values, {name: kind for name, (kind, _) in self._types.items()}
        ).items():
            if not isinstance(value, dict):
                self.set_hparam(name, value)
                continue
            own = getattr(self, name)
            if not self._types[name][1] or max(value) >= len(own):
                raise ValueError(f"Hyperparameter {name} has no element {max(value)}: {own!r}")
            self.set_hparam(name, [value.get(i, old) for i, old in enumerate(own)])
        return self

    def override_from_dict(self, values_dict: Mapping[str, Any]) -> HParams:
        """Overrides parameters; returns itself."""
        for name, value in values_dict.items():
            self.set_hparam(name, value)
        return self

    def parse_json(self, values_json: str) -> HParams:
        """Overrides parameters as a JSON object says; returns itself."""
        return self.override_from_dict(json.loads(values_json))

    def set_model_structure(self, model_structure: Any) -> None:
        """Keeps something."""
        self._model_structure = model_structure

    def get_model_structure(self) -> Any:
        """Returns what was kept."""
        return self._model_structure

    def to_json(
        self, indent: Any = None, separators: Any = None, sort_keys: bool = False,
        filter: Callable[[Any], bool] | None = None,
    ) -> str:  # fmt: skip
        """Returns the parameters as JSON; functions are left out."""
        values = {k: v for k, v in self.values().items() if not callable(v) and (filter is None or filter(v))}
        return json.dumps(values, indent=indent, separators=separators, sort_keys=sort_keys)

    def values(self) -> dict[str, Any]:
        """Returns all parameters."""
        return {name: getattr(self, name) for name in self._types}

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a parameter, or `default`, which must be of its type.

        Raises:
          ValueError: if it is not.
        """
        if key not in self._types:
            return default
        kind, is_list = self._types[key]
        if default is not None:
            _cast(key, kind, default[0] if is_list and isinstance(default, list | tuple) else default)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self._types

    def __repr__(self) -> str:
        return f"HParams({', '.join(f'{k}={v!r}' for k, v in sorted(self.values().items()))})"

    __str__ = __repr__


__all__ = ["HParams", "parse_values"]
