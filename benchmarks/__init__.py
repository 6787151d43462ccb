"""Races between graphflow and its peers: `python -m benchmarks --help`."""
