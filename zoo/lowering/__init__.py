"""Layers as nodes of an ONNX graph: fast matrix products whose rounding `zoo.bounds.lowered` bounds."""
