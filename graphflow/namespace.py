"""Public namespaces: parts that load when first asked for, and errors that name the nearest thing that exists."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphflow.collector import while_loading

_ROOT = "graphflow"


def lazy(
    package: str, modules: Sequence[str] = (), attributes: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__getattr__` and `__dir__` for a module.

    Args:
      package: the `__name__` of the module that they serve.
      modules: names of submodules to load at first use.
      attributes: names of other things to load at first use, each with the module where it stands, and behind a
        colon its name there if that is another.
    """
    places = dict(attributes or {})

    def load(name: str) -> Any:
        if name in modules:
            with while_loading():
                return importlib.import_module(f"{package}.{name}")
        if name in places:
            module, _, other = places[name].partition(":")
            with while_loading():
                value = getattr(importlib.import_module(module), other or name)
            setattr(sys.modules[package], name, value)
            return value
        raise MissingNameError(package, name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules, *places})

    return load, names


class MissingNameError(AttributeError):
    """A public name that does not exist; its text says what stands nearest.

    The search waits until somebody reads the text: Python probes modules for names all the time.
    """

    def __init__(self, package: str, missing: str) -> None:
        super().__init__(package, missing)
        self.package = package
        self.missing = missing

    def __str__(self) -> str:
        text = f"module {self.package!r} has no attribute {self.missing!r}"
        found = nearest(self.package, self.missing)
        text = f"{text}; did you mean {found}?" if found else text
        # Loaded now only: what is known of TensorFlow's names is a table above all others.
        symbols = importlib.import_module(f"{_ROOT}.compat.symbols")
        known = symbols.status(f"{self.package.removeprefix(_ROOT)}.{self.missing}".lstrip("."))
        # Of a name that is only like those of a part to come, nothing is known.
        told = known.state == "out of scope" or (known.state == "planned" and (known.reason or known.instead))
        return f"{text} ({known.sentence})" if told else text


def nearest(package: str, name: str) -> str | None:
    """Returns the full public name that is nearest to `package.name`, or None when nothing is near."""
    here = _public_names(package)
    elsewhere = {other: _public_names(other) for other in sorted(_loaded_namespaces()) if other != package}
    for other, names in elsewhere.items():
        if name in names:
            return f"{other}.{name}"
    close = difflib.get_close_matches(name, here, n=1, cutoff=0.7)
    if close:
        return f"{package}.{close[0]}"
    owners = {candidate: other for other, names in elsewhere.items() for candidate in names}
    close = difflib.get_close_matches(name, owners, n=1, cutoff=0.8)
    return f"{owners[close[0]]}.{close[0]}" if close else None


def _loaded_namespaces() -> Iterable[str]:
    root = sys.modules[_ROOT]
    names = getattr(root, "NAMESPACES", ())
    # Loading them is fine here: an error is being shown, and its text is worth it.
    for name in names:
        importlib.import_module(f"{_ROOT}.{name}")
    return [_ROOT, *(f"{_ROOT}.{name}" for name in names)]


def _public_names(package: str) -> list[str]:
    module = sys.modules[package]
    listed = getattr(module, "__all__", None)
    return [name for name in (listed or dir(module)) if not name.startswith("_")]
