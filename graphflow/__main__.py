"""`python -m graphflow` is the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; ends the process with its exit code."""
    if sys.argv[1:2] == ["serve"]:
        # Its process has to be ready soon, and what draws the other commands' help takes longer than a model's load.
        from graphflow.serving import command

        sys.exit(command.main(sys.argv[2:]))
    from graphflow import cli

    cli.main()


if __name__ == "__main__":
    main()
