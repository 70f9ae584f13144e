"""Proved Lipschitz bounds in l2 or in l-infinity: one row for each layer type, in `zoo.bounds.table`."""
