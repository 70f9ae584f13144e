"""A published certificate proved again, from the weights that it speaks of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from zoo.architectures import from_description
from zoo.certify import Advance, certify, compose
from zoo.folder import Folder
from zoo.model import head_weights, load_module, load_network
from zoo.records import Certificate, LayerBound, Outputs
from zoo.runtime import onnx_model

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
    follows = compose(published.layers, *head_weights(network), architecture)
    other_words = [field for field in WORDS if _differ(published, proved, field)]
    loose_ends = [field for field, value in follows.items() if getattr(published, field) != value]
    differences = [
        *(f"certificate.json: {field} is not in this zoo's words" for field in other_words),
        *_layer_differences(published, proved),
        *(f"certificate.json: {field} does not follow from its layers" for field in loose_ends),
    ]
    return differences or list(_graph_differences(folder))


def _differ(one: object, other: object, field: str) -> bool:
    return getattr(one, field) != getattr(other, field)


def _layer_differences(published: Certificate, proved: Certificate) -> Iterator[str]:
    if len(published.layers) != len(proved.layers):
        yield f"certificate.json: {len(published.layers)} layers, the network has {len(proved.layers)}"
    for claimed, bound in zip(published.layers, proved.layers, strict=False):
        yield from (
            f"certificate.json: {field} of layer {bound.name!r} is {getattr(claimed, field)!r}, "
            f"expected {getattr(bound, field)!r}"
            for field in SAME
            if _differ(claimed, bound, field)
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
    images = np.random.default_rng(0).random((PROBES, *folder.config.input_shape), dtype=np.float32)
    module = load_module(folder.path, folder.certificate)
    with torch.inference_mode():
        ours = Outputs(*(tensor.numpy() for tensor in module(torch.from_numpy(images))))
    theirs = onnx_model(folder, "float64").outputs(images)
    slack = float(module.slack[torch.isfinite(module.slack)].max())
    radius_slack = slack / float(module.margin_lipschitz.min())
    if not (ours.label == theirs.label).all():
        yield "model.onnx: another label than the network of model.safetensors"
    for field, tolerance in (("logits", slack), ("radius", radius_slack), ("topk_radius", radius_slack)):
        gap = float(np.abs(getattr(ours, field) - getattr(theirs, field)).max())
        if not gap <= tolerance:  # NaN is a difference
            yield f"model.onnx: {field} off by {gap:.3g}, more than rounding explains ({tolerance:.3g})"
