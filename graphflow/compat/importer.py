"""`import tensorflow` gives graphflow: its submodules, `compat.v1`, and deep paths."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from graphflow.compat.paths import public_path
from graphflow.contrib import deep
from graphflow.version import VERSION

_NAME = "tensorflow"


class _TensorFlow(ModuleType):
    """graphflow as programs of TensorFlow see it: they look at its version."""

    def __init__(self) -> None:
        graphflow = importlib.import_module("graphflow")
        super().__init__("graphflow", graphflow.__doc__)
        self.__path__ = graphflow.__path__
        self.__all__ = graphflow.__all__
        self.__version__ = VERSION

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules["graphflow"], name)

    def __dir__(self) -> list[str]:
        return dir(sys.modules["graphflow"])


@functools.cache
def _tensorflow() -> ModuleType:
    return _TensorFlow()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module below `tensorflow` among graphflow's."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns a spec for what is here; all else is nobody's."""
        del path, target
        if fullname != _NAME and not fullname.startswith(f"{_NAME}."):
            return None
        try:
            found = _found(fullname)
        except AttributeError as error:
            raise ModuleNotFoundError(f"No module named {fullname!r}: {error}", name=fullname) from None
        if not isinstance(found, ModuleType):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Returns a module that is put away once the real one is in its place."""
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Puts graphflow's module in the place of the one that was made."""
        sys.modules[module.__name__] = _found(module.__name__)


def _found(fullname: str) -> Any:
    rest = fullname.removeprefix(_NAME).removeprefix(".")
    if rest in ("", "compat.v1"):
        return _tensorflow()
    try:
        found = public_path(rest)
        below = rest.split(".")
        if not isinstance(found, ModuleType) and below[0] == "contrib" and "python" in below[:-1]:
            # A file of TensorFlow that is named like the function in it.
            return deep(f"graphflow.{rest}", below[1])
        return found
    except AttributeError:
        # A module of graphflow that no namespace passes on.
        try:
            return importlib.import_module(f"graphflow.{rest}")
        except ModuleNotFoundError:
            pass
        raise


def install_as_tensorflow() -> None:
    """From here on `import tensorflow` and everything below it gives graphflow, in this process.

    Raises:
      RuntimeError: if the real TensorFlow has been imported already.
    """
    present = sys.modules.get(_NAME)
    if present is not None and not getattr(present, "__name__", "").startswith("graphflow"):
        raise RuntimeError("tensorflow is imported already; install graphflow in its place before that")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        sys.modules["graphflow.compat"].__dict__["v1"] = _tensorflow()


__all__ = ["install_as_tensorflow"]
