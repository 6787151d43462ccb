"""The ops, each in one place; importing this package registers them."""

from graphflow.ops import elementwise, layout, reduction, source

__all__ = ["elementwise", "layout", "reduction", "source"]
