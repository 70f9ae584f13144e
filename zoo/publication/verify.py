"""A published certificate proved again, from the weights that it speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from torch import nn

from zoo.architectures import from_description
from zoo.bounds.rule import Row
from zoo.bounds.spectral import PUBLISHED, NormProof
from zoo.bounds.table import TABLE
from zoo.certificate.certify import Advance, certify, compose
from zoo.certificate.model import head_weights
from zoo.errors import one_line
from zoo.publication.folder import GRAPHS, Folder
from zoo.publication.graph import write_graphs
from zoo.publication.network import load_module, load_network
from zoo.publication.weights import INDEX, shard_index
from zoo.records import GRAPH_FORMAT, Certificate, LayerBound, Outputs

STATEMENT_FIELDS = ("claim", "norm", "unit", "domain", "arithmetic", "composition")
LAYER_FIELDS = ("name", "kind", "input_shape", "output_shape", "method", "fan_in", "lowering")
MEASURED = ("residual", "rounding", "perturbation")  # terms of a proof that depend on the machine's order of summation
# More than the order of summation changes, less than `zoo.bounds.rule.RAISED` leaves room for.
REPEATED = 1.0 + 2.0**-31
PROBES = 8  # random images on which graph and weights are compared


def verify(folder: Folder, advance: Advance = lambda layer, total: None) -> list[str]:
    """A line for each thing that does not hold when the folder's certificate is proved again; empty if all holds.

    Every layer is bounded anew, and its published numbers must be at least what is proved. What follows from them, the
    body's constants, K and T, must be equal bit for bit. The words must be this zoo's, and the graphs must be those of
    the weights and the certificate, see `_graph_differences`. evaluation.json, the labels and the card are not checked.
    Raises CertificateError or UncertifiableLayerError where there is nothing to prove.

    >>> from zoo.hub.client import fetch
    >>> verify(fetch("mlp-two-moons"))
    []
    """
    published = folder.certificate
    if published.graph_format != GRAPH_FORMAT:
        return [
            f"certificate.json: speaks of graph format {published.graph_format}, this zoo writes {GRAPH_FORMAT}: "
            "verify it with the version that wrote it"
        ]
    architecture = from_description(published.architecture)
    network = load_network(folder.weights(), published)
    taus = {
        f"{layer.name}.{term}".removesuffix(".tau"): value
        for layer in published.layers
        for term, value in layer.proof.items()
        if term.split(".")[-1] == "tau"
    }
    norm, levels = published.norm, published.levels
    shape = architecture.input_shape
    proved = certify(
        network,
        shape,
        norm,
        levels,
        architecture=architecture,
        weights_sha256=published.weights_sha256,
        advance=advance,
        taus=taus,
        estimates=False,
    )
    follows = compose(published.layers, *head_weights(network), shape, norm, published.pairwise)
    other_words = [field for field in STATEMENT_FIELDS if _differ(published, proved, field)]
    unfounded = [field for field, value in follows.items() if getattr(published, field) != value]
    differences = [
        *(f"certificate.json: {field} is not in this zoo's words" for field in other_words),
        *_layer_differences(published, proved, network),
        *_pairwise_differences(published, proved),
        *(f"certificate.json: {field} does not follow from its layers" for field in unfounded),
    ]
    return differences or list(_graph_differences(folder))


def _differ(one: object, other: object, field: str) -> bool:
    return getattr(one, field) != getattr(other, field)


def _layer_differences(published: Certificate, proved: Certificate, network: nn.Sequential) -> Iterator[str]:
    if len(published.layers) != len(proved.layers):
        yield f"certificate.json: {len(published.layers)} layers, the network has {len(proved.layers)}"
    for claimed, bound, layer in zip(published.layers, proved.layers, network, strict=False):
        row = TABLE[type(layer)]
        yield from (
            f"certificate.json: {field} of layer {bound.name!r} is {getattr(claimed, field)!r}, "
            f"expected {getattr(bound, field)!r}"
            for field in LAYER_FIELDS
            if _differ(claimed, bound, field)
        )
        for field, least in _least(bound, row).items():
            value = getattr(claimed, field)
            if value is None or not least <= value <= least * REPEATED**4:
                yield f"certificate.json: {field} of layer {bound.name!r} is {value!r}, the proof gives {least!r}"
        if bound.range_norm is None and claimed.range_norm is not None:
            yield f"certificate.json: layer {bound.name!r} has no range_norm"
        if not claimed.lipschitz_estimate <= claimed.lipschitz_bound * (1 + 1e-5):  # float32 may round it above
            yield f"certificate.json: lipschitz_estimate of layer {bound.name!r} is above its bound"
        yield from _proof_differences(claimed, bound, row)


def _pairwise_differences(published: Certificate, proved: Certificate) -> Iterator[str]:
    """A line for each pairwise constant that is not what LipLT proves, up to another order of summation."""
    claims, bounds = published.pairwise, proved.pairwise
    if (claims is None) != (bounds is None) or len(claims or ()) != len(bounds or ()):
        yield f"certificate.json: {len(claims or ())} pairwise constants, the proof gives {len(bounds or ())}"
        return
    for pair, (claim, bound) in enumerate(zip(claims or (), bounds or (), strict=True)):
        if not bound / REPEATED <= claim <= bound * REPEATED**4:
            yield f"certificate.json: pairwise constant {pair} is {claim!r}, the proof gives {bound!r}"


def _least(bound: LayerBound, row: Row) -> dict[str, float]:
    """The published numbers of a layer by name, each with the least value that it may have."""
    least = {"offset_norm": bound.offset_norm / REPEATED}
    if bound.range_norm is not None:
        least["range_norm"] = bound.range_norm / REPEATED
    if row.checked != "single":
        least["lipschitz_bound"] = bound.lipschitz_bound / REPEATED
        if row.checked == "composed, at least 1":
            least["lipschitz_bound"] = max(1.0, least["lipschitz_bound"])
    elif not bound.proof:  # both norms are then a stored weight, or 1, and exact
        return {**least, "lipschitz_bound": bound.lipschitz_bound, "absolute_norm": bound.absolute_norm}
    return {**least, "absolute_norm": bound.absolute_norm / REPEATED}


def _proof_differences(claimed: LayerBound, bound: LayerBound, row: Row) -> Iterator[str]:
    """A line for each term of a layer's proof that its weights do not give, and for a bound that does not follow."""
    where = f"the proof of layer {bound.name!r}"
    if set(claimed.proof) != set(bound.proof):
        yield f"certificate.json: {where} has the terms {sorted(claimed.proof)}, expected {sorted(bound.proof)}"
        return
    wrong = [term for term, value in bound.proof.items() if not _holds(term, claimed.proof[term], value)]
    for term in wrong:
        yield f"certificate.json: {term} in {where} is {claimed.proof[term]!r}, the weights give {bound.proof[term]!r}"
    if row.checked != "single":  # `_least` compares its bound
        return
    if bound.proof and not wrong:
        follows = NormProof(**{field.name: claimed.proof[field.name] for field in fields(NormProof)}).bound
        if claimed.lipschitz_bound != follows:
            yield f"certificate.json: lipschitz_bound {claimed.lipschitz_bound!r} does not follow from {where}"


def _holds(term: str, claimed: float, value: float) -> bool:
    """Whether a published term of a proof is what the weights give: equal, or nearly so for the terms of `MEASURED`."""
    if term.split(".")[-1] in MEASURED:
        return value / PUBLISHED <= claimed <= value * PUBLISHED
    return claimed == value


def _graph_differences(folder: Folder) -> Iterator[str]:
    """A line for each graph that is not, byte for byte, the one written for the weights and the certificate.

    If both are, the answers of model.onnx to a few images are compared with those of PyTorch, since the bytes say
    nothing of the runtime.
    """
    if INDEX in folder.digests and folder.read(INDEX) != shard_index(folder.weights()):
        yield f"{INDEX}: not the index of these shards"
    changed = False
    with TemporaryDirectory() as scratch:
        for name, content in {**folder.weights(), "certificate.json": folder.read("certificate.json")}.items():
            (Path(scratch) / name).write_bytes(content)
        write_graphs(Path(scratch), folder.config, folder.certificate)
        for name in GRAPHS.values():
            if (Path(scratch) / name).read_bytes() != folder.read(name):
                changed = True
                yield f"{name}: not the graph of these weights and this certificate"
    if changed:
        return
    module = load_module(folder)
    images = np.random.default_rng(0).random((PROBES, *folder.config.input_shape), dtype=np.float32)
    images[PROBES // 2 :] = np.round(images[PROBES // 2 :])  # corners of the domain
    with torch.inference_mode():
        ours = Outputs(*(tensor.numpy() for tensor in module(torch.from_numpy(images))))
    outside = images.copy()
    outside[:, 0, 0, 0] = np.resize([-1e-3, 1.001, np.nan, np.inf, -np.inf], PROBES)
    try:
        session = onnxruntime.InferenceSession(folder.graph("float64"), providers=["CPUExecutionProvider"])
        theirs, beyond = (
            Outputs(*session.run(list(Outputs._fields), {"images": batch})) for batch in (images, outside)
        )
    except Exception as error:  # ONNX Runtime's own errors have no class in common but this one
        yield f"model.onnx: ONNX Runtime cannot run it: {one_line(error)}"
        return
    if not (ours.label == theirs.label).all():
        yield "model.onnx: another label than the network of the weights"
    rounding = float(module.slack[torch.isfinite(module.slack)].min())
    spread = rounding / float(module.margin_lipschitz.min())
    for field, tolerance in (
        ("logits", rounding),
        ("radius", spread),
        ("class_radii", spread),
        ("topk_radius", spread),
    ):
        one, other = getattr(ours, field), getattr(theirs, field)
        finite = np.isfinite(one)
        gap = float(np.abs(one[finite] - other[finite]).max(initial=0.0))
        if not (gap <= tolerance and (one[~finite] == other[~finite]).all()):  # NaN is a difference
            yield f"model.onnx: {field} off by {gap:.3g}, more than rounding explains ({tolerance:.3g})"
    if np.any(beyond.radius != 0):
        yield "model.onnx: a radius for an input outside [0, 1]"
