"""`tf.app`: running a program with its flags."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app as _absl

from graphflow import flags as flags


def run(main: Callable[[Sequence[str]], Any] | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Reads the flags, calls `main` with what is left of the command line, and ends the process.

    Args:
      main: the function; default `main` of the program's module.
      argv: the command line; default the process's own. Flags that nobody defined are left to `main`.

    Raises:
      SystemExit: always, with what `main` returned.
    """
    function = main or sys.modules["__main__"].main
    _absl.run(main=function, argv=None if argv is None else list(argv), flags_parser=_parse)
    raise SystemExit(0)


def _parse(args: Sequence[str]) -> Sequence[str]:
    try:
        rest: Sequence[str] = flags.FLAGS(list(args), known_only=True)
    except flags.Error as error:
        sys.stderr.write(
            f"FATAL Flags parsing error: {error}\nPass --helpshort or --helpfull to see help on flags.\n"
        )
        raise SystemExit(1) from None
    return rest


__all__ = ["flags", "run"]
