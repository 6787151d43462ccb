"""Serving a SavedModel from a process of its own; `graphflow serve` starts it."""
