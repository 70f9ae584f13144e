"""Layers as nodes of an ONNX graph, chosen for speed, with a rounding that the certificate bounds.

Loads no onnx: only `zoo.lowering.nodes` does, for who writes a graph.
"""
