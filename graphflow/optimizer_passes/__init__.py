"""Passes: functions from program to program. `pipeline` says which run, in which order, and why."""
