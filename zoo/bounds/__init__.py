"""Proved Lipschitz bounds in l2 or in l-infinity: one row for each layer type, in `zoo.bounds.table`."""

from zoo.bounds.rule import NORMS, Bound, Context, Row, changed_by_hooks
from zoo.bounds.table import TABLE, bound_layer

__all__ = ["NORMS", "TABLE", "Bound", "Context", "Row", "bound_layer", "changed_by_hooks"]
