"""Loops and library calls as CUDA C, compiled to cubins without a device at hand."""
