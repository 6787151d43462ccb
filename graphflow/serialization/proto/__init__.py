"""Protobuf modules generated from the definitions in `proto/` by `python proto/generate.py`."""
