"""`tensorflow.python.util.all_util`: modules that show no more than their docstring lists."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from types import ModuleType

_LISTED = re.compile(r"^\s*@@([A-Za-z_]\w*)\s*$", re.MULTILINE)


def make_all(module_name: str, doc_string_modules: Sequence[ModuleType] | None = None) -> list[str]:
    """Returns the names that docstrings list, a line `@@name` for each.

    Args:
      module_name: the module whose names they are.
      doc_string_modules: the modules whose docstrings count; default: that module.
    """
    module = sys.modules[module_name]
    listed = {
        name for other in doc_string_modules or [module] for name in _LISTED.findall(other.__doc__ or "")
    }
    return sorted(listed & set(dir(module)))


def reveal_undocumented(symbol_name: str, target_module: ModuleType | None = None) -> None:
    """Gives a removed name back.

    Args:
      symbol_name: `module.name`.
      target_module: where to; default: the module it was removed from.

    Raises:
      LookupError: it was never removed.
    """
    if symbol_name not in _removed:
        raise LookupError(f"Symbol {symbol_name} is not a hidden symbol")
    module, name, value = _removed[symbol_name]
    setattr(target_module or module, name, value)


def remove_undocumented(
    module_name: str,
    allowed_exception_list: Sequence[str] | None = None,
    doc_string_modules: Sequence[ModuleType] | None = None,
) -> None:
    """Removes the public names of a module that docstrings do not list.

    Args:
      module_name: the module.
      allowed_exception_list: names that stay all the same.
      doc_string_modules: as for `make_all`.
    """
    module = sys.modules[module_name]
    kept = {*make_all(module_name, doc_string_modules), *(allowed_exception_list or ())}
    for name in [name for name in vars(module) if not name.startswith("_") and name not in kept]:
        _removed[f"{module_name}.{name}"] = module, name, getattr(module, name)
        delattr(module, name)


_removed: dict[str, tuple[ModuleType, str, object]] = {}

__all__ = ["make_all", "remove_undocumented", "reveal_undocumented"]
