"""A published certificate proved again, from the weights that it speaks of."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from zoo.architectures import from_description
from zoo.certify import Advance, certify, compose
from zoo.folder import Folder
from zoo.model import exact_weights, load_network
from zoo.records import Certificate, LayerBound
from zoo.runtime import onnx_model, torch_model

WORDS = ("claim", "norm", "unit", "domain", "arithmetic", "composition")
SAME = ("name", "kind", "input_shape", "output_shape", "method", "fan_in")
# Numbers that are published 2^-32 (or more) above what was proved may be proved again this much nearer.
REPEATED = 1.0 + 2.0**-33
PROBES = 8  # random images on which graph and weights are compared


def verify(folder: Folder, advance: Advance = lambda layer, total: None) -> list[str]:
    """What does not hold when the folder's certificate is proved again from its weights; empty if all of it does.

    Every layer is bounded anew and its published numbers must be at least what is proved; what follows from them (the
    body's constants, K and T) must be equal bit for bit; the words must be this zoo's; and `model.onnx` must answer
    random images as the certified network does in PyTorch, within its proved slack.
    Raises CertificateError or UncertifiableLayerError where there is nothing to prove.
    """
    published = folder.certificate
    architecture = from_description(published.architecture)
    network = load_network((folder.path / "model.safetensors").read_bytes(), published)
    taus = {layer.name: layer.proof["tau"] for layer in published.layers if "tau" in layer.proof}
    proved = certify(network, published.name, architecture, published.weights_sha256, advance, taus)
    head = network[-1]
    follows = compose(published.layers, exact_weights(head.weight), exact_weights(head.bias), architecture)
    differences = [
        *(f"certificate.json: {field} is not in this zoo's words" for field in WORDS if differ(published, proved, field)),
        *_layer_differences(published, proved),
        *(f"certificate.json: {field} does not follow from its layers" for field, value in follows.items()
          if getattr(published, field) != value),
    ]  # fmt: skip
    return differences or list(_graph_differences(folder))


def differ(one: object, other: object, field: str) -> bool:
    return getattr(one, field) != getattr(other, field)


def _layer_differences(published: Certificate, proved: Certificate) -> Iterator[str]:
    if len(published.layers) != len(proved.layers):
        yield f"certificate.json: {len(published.layers)} layers, the network has {len(proved.layers)}"
    for claimed, bound in zip(published.layers, proved.layers, strict=False):
        yield from (
            f"certificate.json: {field} of layer {bound.name!r} is {getattr(claimed, field)!r}, "
            f"expected {getattr(bound, field)!r}"
            for field in SAME
            if differ(claimed, bound, field)
        )
        for field, repeated in _numbers(bound):
            value = getattr(claimed, field)
            if value is None or not value >= repeated:
                yield f"certificate.json: {field} of layer {bound.name!r} is {value!r}, below the proved {repeated!r}"
        if bound.range_norm is None and claimed.range_norm is not None:
            yield f"certificate.json: layer {bound.name!r} has no range_norm"


def _numbers(bound: LayerBound) -> Iterator[tuple[str, float]]:
    """Each published number of a layer with the least value that it may have."""
    exact = 1.0 if not bound.proof else REPEATED  # without a proof by sums, a bound is a stored weight, or 1
    yield "lipschitz_bound", bound.lipschitz_bound / exact
    yield "absolute_norm", bound.absolute_norm / exact
    yield "offset_norm", bound.offset_norm / REPEATED
    if bound.range_norm is not None:
        yield "range_norm", bound.range_norm / REPEATED


def _graph_differences(folder: Folder) -> Iterator[str]:
    """Where the graph and the weights answer differently: labels, or a radius by more than its rounding."""
    generator = np.random.default_rng(0)
    images = generator.random((PROBES, *folder.config.input_shape), dtype=np.float32)
    graph, weights = onnx_model(folder, "float64"), torch_model(folder, "float64")
    ours, theirs = weights.outputs(images), graph.outputs(images)
    module = weights.module
    assert module is not None
    slack = float(module.slack[torch.isfinite(module.slack)].max())
    smallest = float(module.margin_lipschitz.min())
    if not (ours.label == theirs.label).all():
        yield "model.onnx: another label than the network of model.safetensors"
    for field, tolerance in (("logits", slack), ("radius", slack / smallest), ("topk_radius", slack / smallest)):
        gap = float(np.abs(getattr(ours, field) - getattr(theirs, field)).max(initial=0.0))
        if not gap <= tolerance or math.isnan(gap):
            yield f"model.onnx: {field} off by {gap:.3g}, more than rounding explains ({tolerance:.3g})"
