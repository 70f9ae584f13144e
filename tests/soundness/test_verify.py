"""A certificate with any number or word changed is found out by `verify`; the true one passes."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from zoo.architectures import from_description
from zoo.bounds import convolution
from zoo.bounds.spectral import NormProof
from zoo.certificate.certify import compose
from zoo.errors import CertificateError, ZooError
from zoo.layers import (
    ConvExponential,
    ConvexPotential,
    Householder,
    LInfDistance,
    Pixels,
    Residual,
    SelfAttention,
    SortedDistance,
)
from zoo.publication.folder import Folder
from zoo.publication.network import load_network
from zoo.publication.verify import _layer_differences, verify
from zoo.records import Certificate, LayerBound

from .oracle import certified, network
from .published import TINY, publish, write_weights


@pytest.fixture(scope="module", autouse=True)
def torus_above_small_maps():
    """The first convolution's proof is by its dense matrix, the second one's by the torus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "DENSE_COST", 2e6)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, torus_above_small_maps: None) -> Folder:
    return publish(tmp_path_factory.mktemp("published"))


def with_layer(certificate: Certificate, name: str, **changes: Any) -> Certificate:
    layers = tuple(
        dataclasses.replace(layer, **changes) if layer.name == name else layer for layer in certificate.layers
    )
    return dataclasses.replace(certificate, layers=layers)


def recomposed(folder: Folder, certificate: Certificate) -> Certificate:
    """What a careful forger writes: everything that follows from the changed layers follows."""
    network = load_network(folder.weights(), folder.certificate)
    weight, bias = (tensor.double().numpy() for tensor in (network[-1].weight, network[-1].bias))
    architecture = from_description(certificate.architecture)
    fields = compose(certificate.layers, weight, bias, architecture.input_shape, certificate.norm, certificate.pairwise)
    return dataclasses.replace(certificate, **fields)


def found(folder: Folder, certificate: Certificate) -> list[str]:
    return verify(dataclasses.replace(folder, certificate=certificate))


def layer(certificate: Certificate, name: str) -> LayerBound:
    return next(layer for layer in certificate.layers if layer.name == name)


def test_the_certificate_as_published_is_proved_again(folder):
    methods = {name: layer(folder.certificate, name).method for name in SPECTRAL}
    assert methods == {"conv1": "gram-cholesky", "conv2": "torus-symbol", "dense1": "gram-cholesky"}
    assert verify(folder) == []


def lower(number: float) -> float:
    return number * (1 - 1e-6)


SPECTRAL = ("conv1", "conv2", "dense1")
LOWERED = [
    *((name, "lipschitz_bound") for name in ("pixels", "conv1_activation", *SPECTRAL)),
    *((name, "absolute_norm") for name in ("pixels", *SPECTRAL)),
    *((name, "offset_norm") for name in SPECTRAL),
    ("pixels", "range_norm"),
]


@pytest.mark.parametrize(("name", "field"), LOWERED)
def test_a_layer_number_lowered_by_a_millionth(folder, name, field):
    value = lower(getattr(layer(folder.certificate, name), field))
    certificate = with_layer(folder.certificate, name, **{field: value})
    assert any(name in line for line in found(folder, recomposed(folder, certificate)))


def test_what_follows_from_the_layers_must_follow(folder):
    value = layer(folder.certificate, "conv1").lipschitz_bound * (1 + 1e-6)
    lines = found(folder, with_layer(folder.certificate, "conv1", lipschitz_bound=value))
    for field in ("body_lipschitz", "feature_norm", "feature_error", "tables_sha256"):
        assert any(field in line for line in lines)


CHANGES: dict[str, Callable[[Certificate], Certificate]] = {
    "an absolute norm raised": lambda c: with_layer(c, "dense1", absolute_norm=1e20),
    "an offset raised": lambda c: with_layer(c, "dense1", offset_norm=1e20),
    "a tau lowered": lambda c: with_proof(c, "conv2", "tau", lower),
    "a tau raised": lambda c: with_proof(c, "conv2", "tau", lambda tau: tau * (1 + 1e-6)),
    "a tau of zero": lambda c: with_proof(c, "dense1", "tau", lambda tau: 0.0),
    "a tau left out": lambda c: with_layer(c, "dense1", proof={}),
    **{
        f"a {term} below what is measured": lambda c, term=term: forged(c, "conv2", term, 0.49)
        for term in ("residual", "rounding", "perturbation")
    },
    **{
        f"a bound that follows from its {term} times {factor}": lambda c, term=term, factor=factor: forged(
            c, "conv2", term, factor
        )
        for term, factor in (("tau", 1 - 1e-6), ("tau", 0.0), ("residual", 0.0), ("rounding", 0.0), ("divisor", 1.001))
    },
    "another torus": lambda c: with_proof(c, "conv2", "torus_rows", lambda side: side - 1),
    "an invented range": lambda c: with_layer(c, "conv1", range_norm=1e-3),
    "an exact layer that is not": lambda c: with_layer(c, "dense1", fan_in=0),
    "a smaller fan-in": lambda c: with_layer(c, "dense1", fan_in=1),
    "another method": lambda c: with_layer(c, "conv2", method="gram-cholesky"),
    "another kind": lambda c: with_layer(c, "conv1_activation", kind="ReLU"),
    "another shape": lambda c: with_layer(c, "flatten", output_shape=(127,)),
    "an estimate above the bound": lambda c: with_layer(c, "conv1", lipschitz_estimate=1e9),
    "a layer left out": lambda c: dataclasses.replace(c, layers=c.layers[:3] + c.layers[4:]),
    "the last layer left out": lambda c: dataclasses.replace(c, layers=c.layers[:-1]),
    "no layers": lambda c: dataclasses.replace(c, layers=()),
    "a layer twice": lambda c: dataclasses.replace(c, layers=(*c.layers, c.layers[-1])),
    "layers exchanged": lambda c: dataclasses.replace(c, layers=(*c.layers[:-2], c.layers[-1], c.layers[-2])),
    "a smaller body": lambda c: dataclasses.replace(c, body_lipschitz=np.nextafter(c.body_lipschitz, 0).item()),
    "a smaller feature norm": lambda c: dataclasses.replace(c, feature_norm=lower(c.feature_norm)),
    "no feature error": lambda c: dataclasses.replace(c, feature_error=0.0),
    "other tables": lambda c: dataclasses.replace(c, tables_sha256="0" * 64),
    "another claim": lambda c: dataclasses.replace(c, claim=c.claim + " It is also right."),
    "another norm": lambda c: dataclasses.replace(c, norm="linf"),
    "another unit": lambda c: dataclasses.replace(c, unit="levels of 255"),
    "another domain": lambda c: dataclasses.replace(c, domain="all of it"),
    "another arithmetic": lambda c: dataclasses.replace(c, arithmetic="float16"),
    "another composition": lambda c: dataclasses.replace(c, composition="sum"),
}


def with_proof(certificate: Certificate, name: str, field: str, change: Callable[[float], float]) -> Certificate:
    proof = layer(certificate, name).proof
    return with_layer(certificate, name, proof={**proof, field: change(proof[field])})


def forged(certificate: Certificate, name: str, term: str, factor: float) -> Certificate:
    """One term of a layer's proof multiplied, and the layer's bound as it follows from the terms."""
    certificate = with_proof(certificate, name, term, lambda value: value * factor)
    terms = layer(certificate, name).proof
    bound = NormProof(**{field.name: terms[field.name] for field in dataclasses.fields(NormProof)}).bound
    return with_layer(certificate, name, lipschitz_bound=bound)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_certificate(folder, change):
    certificate = CHANGES[change](folder.certificate)
    follows = {"body_lipschitz", "feature_norm", "feature_error", "tables_sha256"}
    changed = {
        field.name
        for field in dataclasses.fields(certificate)
        if getattr(certificate, field.name) != getattr(folder.certificate, field.name)
    }
    if not changed & follows:  # a careful forger recomputes them; where they are the forgery, that would mend it
        certificate = recomposed(folder, certificate)
    assert found(folder, certificate)


@pytest.mark.parametrize("term", ["residual", "rounding", "perturbation"])
def test_larger_terms_of_a_proof_are_allowed(folder, term, monkeypatch):
    """Another machine may measure a little more than this one, and its bound is a bound too."""
    monkeypatch.setattr(
        "zoo.publication.verify._graph_differences", lambda folder: ()
    )  # of the graph, which takes its time
    certificate = recomposed(folder, forged(folder.certificate, "conv2", term, 1.5))
    assert found(folder, certificate) == []


def test_weights_that_the_certificate_does_not_name_do_not_verify(folder, tmp_path):
    """One bit of one weight: the sha256 in the certificate is not that of the file."""
    copy = dataclasses.replace(folder, path=tmp_path / "copy")
    shutil.copytree(folder.path, copy.path)
    weights = bytearray((copy.path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy.path / "model.safetensors").write_bytes(weights)
    with pytest.raises(ZooError):
        verify(copy)


# Layers that are no single matrix, without files ---------------------------------------------------------------------


def composite() -> nn.Sequential:
    body = (ConvexPotential(2, 3, 3), Residual(nn.Conv2d(2, 2, 1), nn.ReLU()), SelfAttention(2, 1), Householder(2))
    return network(*body, ConvExponential(2, 3), nn.Flatten(), nn.Linear(8, 2), channels=2)


def distances() -> nn.Sequential:
    sorted_ones = SortedDistance(4, 4, 0.7, 3)
    body = (nn.Conv2d(2, 3, 1), nn.Flatten(), LInfDistance(12, 4), sorted_ones, nn.Linear(4, 3), nn.ReLU())
    return network(Pixels([0.1, 0.9], [3.0, -2.0]), *body, nn.Linear(3, 2))


@pytest.mark.parametrize(("make", "norm"), [(composite, "l2"), (distances, "linf")])
def test_any_number_of_any_layer_lowered_by_a_millionth(make, norm):
    net = make()
    proved, _ = certified(net, (2, 2, 2), norm)
    assert list(_layer_differences(proved, proved, net)) == []
    for bound in proved.layers:
        for number in ("lipschitz_bound", "absolute_norm", "offset_norm", "range_norm"):
            if value := getattr(bound, number):
                claimed = with_layer(proved, bound.name, **{number: lower(value)})
                assert list(_layer_differences(claimed, proved, net)), (bound.kind, number)


def test_a_bound_that_has_nothing_to_spare_is_compared_bit_for_bit():
    """Only what the rule rounds up by more than `REPEATED` may be published a little smaller."""
    net = distances()
    proved, _ = certified(net, (2, 2, 2), "linf")
    exact = [bound for bound in proved.layers if bound.kind in ("Pixels", "LInfDistance", "SortedDistance")]
    assert len(exact) == 3
    for bound in exact:
        claimed = with_layer(proved, bound.name, lipschitz_bound=math.nextafter(bound.lipschitz_bound, 0.0))
        assert list(_layer_differences(claimed, proved, net)), bound.kind


def test_a_potential_is_never_less_than_one():
    """It is the identity where every unit is off: its 1 has nothing to spare for another machine's rounding."""
    layer = ConvexPotential(1, 1, 3)
    layer.step.fill_(0.5)
    net = network(layer, nn.Flatten(), nn.Linear(4, 2))
    proved, _ = certified(net, (1, 2, 2))
    (potential,) = (bound for bound in proved.layers if bound.kind == "ConvexPotential")
    assert potential.lipschitz_bound == 1.0
    assert list(_layer_differences(with_layer(proved, potential.name, lipschitz_bound=1 - 2.0**-32), proved, net))


# LipLT's constants ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def relu(tmp_path_factory: pytest.TempPathFactory, torus_above_small_maps: None) -> Folder:
    return publish(tmp_path_factory.mktemp("relu"), dataclasses.replace(TINY, activation="relu"))


def with_pairwise(certificate: Certificate, place: int, factor: float) -> Certificate:
    assert certificate.pairwise is not None
    constants = list(certificate.pairwise)
    constants[place] *= factor
    return dataclasses.replace(certificate, pairwise=tuple(constants))


def test_pairwise_constants_are_proved_again(relu):
    assert relu.certificate.pairwise is not None
    assert len(relu.certificate.pairwise) == 3
    assert verify(relu) == []


@pytest.mark.parametrize("factor", [1 - 1e-6, 0.0, -1.0, 1 + 1e-6])
@pytest.mark.parametrize("place", range(3))
def test_a_pairwise_constant_changed(relu, place, factor):
    certificate = with_pairwise(relu.certificate, place, factor)
    assert any("pairwise" in line for line in found(relu, recomposed(relu, certificate)))


@pytest.mark.parametrize("constants", [None, (), (1.0, 1.0), (1.0,) * 4])
def test_other_pairwise_constants_do_not_verify(relu, constants):
    certificate = dataclasses.replace(relu.certificate, pairwise=constants)
    if constants is None:
        certificate = recomposed(relu, certificate)
        assert any("pairwise" in line for line in found(relu, certificate))
    else:
        with pytest.raises(ZooError, match="pairs"):
            found(relu, certificate)


def test_pairwise_constants_where_liplt_does_not_apply(folder):
    certificate = dataclasses.replace(folder.certificate, pairwise=(0.1, 0.1, 0.1))
    assert any("pairwise" in line for line in found(folder, recomposed(folder, certificate)))


# The graph -----------------------------------------------------------------------------------------------------------


def with_initializer(graph: onnx.GraphProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    (stored,) = [value for value in graph.initializer if value.name.endswith(name)]
    array = change(onnx.numpy_helper.to_array(stored).copy())
    stored.CopyFrom(onnx.numpy_helper.from_array(array, stored.name))


def off_diagonal(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(table: np.ndarray) -> np.ndarray:
        table[~np.eye(len(table), dtype=bool)] *= factor
        return table

    return change


def without_domain_check(graph: onnx.GraphProto) -> None:
    """The guard against pixels outside [0, 1] compares their distance from it with itself."""
    (node,) = (node for node in graph.node if node.op_type == "LessOrEqual")
    node.input[1] = node.input[0]


GRAPHS: dict[str, Callable[[onnx.GraphProto], None]] = {
    "K halved": lambda graph: with_initializer(graph, "margin_lipschitz", off_diagonal(0.5)),
    "K a thousandth smaller": lambda graph: with_initializer(graph, "margin_lipschitz", off_diagonal(0.999)),
    "T a hundred-thousandth smaller": lambda graph: with_initializer(graph, "slack", off_diagonal(1 - 1e-5)),
    "T left out": lambda graph: with_initializer(graph, "slack", off_diagonal(0.0)),
    "no check of the domain": without_domain_check,
}


@pytest.mark.parametrize("change", GRAPHS)
def test_a_changed_graph(folder, tmp_path, change, monkeypatch):
    """Told by its bytes."""

    def written(scratch: Path, *records: object) -> None:  # again, which gives the same: that it does is tested above
        for path in folder.path.glob("*.onnx"):
            shutil.copy(path, scratch)

    monkeypatch.setattr("zoo.publication.verify.write_graphs", written)
    shutil.copytree(folder.path, tmp_path / "copy")
    model = onnx.load(tmp_path / "copy" / "model.onnx", load_external_data=False)
    GRAPHS[change](model.graph)
    graph = model.SerializeToString()
    (tmp_path / "copy" / "model.onnx").write_bytes(graph)
    digests = {**folder.digests, "model.onnx": hashlib.sha256(graph).hexdigest()}
    copy = dataclasses.replace(folder, path=tmp_path / "copy", digests=digests)
    assert any("not the graph of these weights" in line for line in verify(copy))


def test_a_graph_that_onnx_runtime_cannot_run(folder, tmp_path, monkeypatch):
    """One line of difference where the zoo itself would write such a graph."""
    shutil.copytree(folder.path, tmp_path / "copy")
    model = onnx.load(tmp_path / "copy" / "model.onnx", load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "MatMul").op_type = "NoSuchOperator"
    (tmp_path / "copy" / "model.onnx").write_bytes(model.SerializeToString())

    def written(scratch: Path, *records: object) -> None:
        for path in (tmp_path / "copy").glob("*.onnx"):
            shutil.copy(path, scratch)

    monkeypatch.setattr("zoo.publication.verify.write_graphs", written)
    digest = hashlib.sha256((tmp_path / "copy" / "model.onnx").read_bytes()).hexdigest()
    copy = dataclasses.replace(folder, path=tmp_path / "copy", digests={**folder.digests, "model.onnx": digest})
    (line,) = verify(copy)
    assert line.startswith("model.onnx: ONNX Runtime cannot run it: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    "sizes",
    [
        {"family": "AOLMLP", "depth": 2, "width": 1},
        {"family": "AOLMLP", "depth": 2, "width": 10**6, "input_size": 10**6},
        {"family": "AOLPatchwise", "depth": 1, "width": 10**6, "last": 10**6, "dense_depth": 1, "input_size": 10**6},
    ],
    ids=str,
)
def test_an_architecture_that_makes_no_network(folder, sizes):
    certificate = dataclasses.replace(folder.certificate, architecture=sizes)
    with pytest.raises(CertificateError, match="no network has the sizes of toy: ") as told:
        load_network(folder.weights(), certificate)
    assert "\n" not in str(told.value)


def test_another_graph_format(folder):
    certificate = dataclasses.replace(folder.certificate, graph_format=7)
    (difference,) = verify(dataclasses.replace(folder, certificate=certificate))
    assert "speaks of graph format 7" in difference


def test_a_graph_of_other_weights(folder, tmp_path):
    """Two consistent halves that do not belong together: another network's weights under this one's certificate."""
    other = dataclasses.replace(folder, path=tmp_path)
    torch.manual_seed(3)
    shutil.copy(folder.path / "model.onnx", tmp_path)
    write_weights(TINY.network(), tmp_path)
    with pytest.raises(ZooError):
        verify(other)


def test_activations_exchanged_in_the_architecture(folder):
    """ReLU and MinMax have the same weights and the same bound: the layers' kinds and the graph tell them apart."""
    description = {**folder.certificate.architecture, "activation": "relu"}
    certificate = dataclasses.replace(folder.certificate, architecture=description)
    assert found(folder, certificate)
    layers = tuple(
        dataclasses.replace(layer, kind="ReLU" if layer.kind == "MinMax" else layer.kind)
        for layer in certificate.layers
    )
    assert found(folder, dataclasses.replace(certificate, layers=layers))
