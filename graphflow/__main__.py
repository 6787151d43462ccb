"""`python -m graphflow` is the command line."""

from graphflow.cli import main

main()
