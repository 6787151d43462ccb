"""`tf.app.flags`: what a program takes on its command line, by absl's flags.

`FLAGS` reads the command line when a flag is first looked at, as in TF1; flags that nobody defined are left alone
then. All else of absl's flags is here under its name.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from absl import flags as _absl

from graphflow.namespace import MissingNameError

# TF1's own names of the arguments.
_OLD = {"flag_name": "name", "default_value": "default", "docstring": "help"}


class _FlagValues:
    """absl's values, read from the command line at the first look."""

    def __init__(self, values: _absl.FlagValues) -> None:
        self.__dict__["_values"] = values

    def _ready(self) -> _absl.FlagValues:
        values: _absl.FlagValues = self.__dict__["_values"]
        if not values.is_parsed():
            # Arguments that are none of ours are the program's own business.
            values(sys.argv, known_only=True)
        return values

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__" or name in ("_ready", "__class__"):
            return super().__getattribute__(name)
        values = self.__dict__["_values"]
        if name == "__flags":
            self._ready()
            return {flag: values[flag] for flag in values}
        if name.startswith("__") and name.endswith("__"):
            return super().__getattribute__(name)
        if name in ("flag_values_dict", "get_flag_value"):
            return getattr(self._ready(), name)
        if hasattr(type(values), name):
            return getattr(values, name)
        return getattr(self._ready(), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_values"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._ready(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["_values"], name)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_values"])

    def __getitem__(self, name: str) -> Any:
        return self.__dict__["_values"][name]

    def __setitem__(self, name: str, flag: Any) -> None:
        self.__dict__["_values"][name] = flag

    def __len__(self) -> int:
        return len(self.__dict__["_values"])

    def __iter__(self) -> Any:
        return iter(self.__dict__["_values"])

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__["_values"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_values"](*args, **kwargs)


FLAGS = _FlagValues(_absl.FLAGS)


def _defining(name: str) -> Callable[..., Any]:
    """absl's function of that name, with TF1's names of its arguments, too."""
    function = getattr(_absl, name)

    def define(*args: Any, **kwargs: Any) -> Any:
        for old, new in _OLD.items():
            if old in kwargs:
                kwargs[new] = kwargs.pop(old)
        values = kwargs.get("flag_values")
        if values is FLAGS:
            kwargs["flag_values"] = _absl.FLAGS
        # A flag belongs to the module that defines it, not to this one.
        with_module = sys._getframe(1).f_globals.get("__name__", "")
        if "module_name" in _TAKES_MODULE.get(name, ()) and "module_name" not in kwargs:
            kwargs["module_name"] = sys.argv[0] if with_module == "__main__" else with_module
        return function(*args, **kwargs)

    return functools.update_wrapper(define, function)


_TAKES_MODULE = {name: ("module_name",) for name in ("DEFINE_bool", "DEFINE_boolean", "DEFINE_enum")}

DEFINE_bool = _defining("DEFINE_bool")
DEFINE_boolean = _defining("DEFINE_boolean")
DEFINE_enum = _defining("DEFINE_enum")
DEFINE_float = _defining("DEFINE_float")
DEFINE_integer = _defining("DEFINE_integer")
DEFINE_list = _defining("DEFINE_list")
DEFINE_multi_float = _defining("DEFINE_multi_float")
DEFINE_multi_integer = _defining("DEFINE_multi_integer")
DEFINE_multi_string = _defining("DEFINE_multi_string")
DEFINE_string = _defining("DEFINE_string")

_OWN = frozenset(globals())
_HIDDEN = frozenset({"annotations", "functools", "sys"})


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and hasattr(_absl, name):
        return getattr(_absl, name)
    raise MissingNameError(__name__, name)


def __dir__() -> list[str]:
    return sorted({*(name for name in _OWN if not name.startswith("_")), *dir(_absl)} - _HIDDEN)
