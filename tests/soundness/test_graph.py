"""The exported graph against exact arithmetic and against PyTorch: the certificate speaks of the file that runs."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.bounds.margins import MarginTables
from zoo.certificate.model import CertifiedModel, tables_of
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels
from zoo.publication.graph import write_graph
from zoo.records import Outputs

from .oracle import certified
from .published import write_weights
from .replay import exact, replay
from .test_rounding import random_conv, random_linear

SHAPE = (2, 5, 6)
Level = onnxruntime.GraphOptimizationLevel


def every_layer() -> nn.Sequential:
    """One of each layer, with rectangular kernels, strides and paddings that do not divide."""
    g = np.random.default_rng(21)
    layers = (
        Pixels([0.49, 0.45], [4.1, 3.9]),
        random_conv(g, (4, 2, 3, 2), padding=(1, 2)),
        MinMax("halves"),
        random_conv(g, (5, 4, 2, 3), (2, 1), (0, 1)),
        MinMax("neighbours"),
        random_conv(g, (4, 5, 2, 2), 2),
        nn.ReLU(),
        nn.Flatten(),
        random_linear(g, 6, 16),
        MinMax("halves"),
        random_linear(g, 3, 6),
    )
    return nn.Sequential(*layers).requires_grad_(False).eval()


class Exported(NamedTuple):
    net: nn.Sequential
    model: CertifiedModel
    tables: MarginTables
    path: Path

    def run(self, images: Tensor, level: Level = Level.ORT_DISABLE_ALL, threads: int = 1) -> Outputs:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        return Outputs(*session.run(list(Outputs._fields), {"images": images.numpy()}))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("graph")
    net = every_layer()
    write_weights(net, folder)
    _, model = certified(net, SHAPE)
    # Head biases that bring the classes' logits near each other, so that radii are positive and labels differ.
    with torch.no_grad():
        middle = model(torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(0))).logits.mean(dim=0)
        net[-1].bias -= middle.float()  # type: ignore[operator]
    write_weights(net, folder)
    certificate, model = certified(net, SHAPE)
    write_graph(model, folder / "model.onnx", {})
    return Exported(net, model, tables_of(net, certificate), folder / "model.onnx")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(4))


def test_from_the_same_logits_both_give_the_same_bits(exported, images, monkeypatch):
    """The step from logits to radii, written twice, is one function."""
    theirs = exported.run(images)
    logits = torch.from_numpy(theirs.logits)
    monkeypatch.setattr("zoo.certificate.model.cast_network", lambda network, dtype: lambda images: logits)
    ours = exported.model(images)
    for field, one, other in zip(Outputs._fields, ours, theirs, strict=True):
        assert one.numpy().tobytes() == other.tobytes(), field


def margins(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits[:, :, None] - logits[:, None, :]


def test_margins_of_the_graph_are_within_half_of_the_slack(exported, images):
    found = margins(exported.run(images).logits)
    allowed = exact(exported.model.slack.clamp(min=0)) / 2
    for image, computed in zip(images[:4], found, strict=False):
        truth = replay(exported.net, exact(image))
        for j, i in np.ndindex(computed.shape):
            assert abs(Fraction(computed[j, i]) - (truth[j] - truth[i])) <= allowed[j, i]


def test_graph_and_pytorch_are_one_function(exported, images):
    ours = [tensor.numpy() for tensor in exported.model(images)]
    theirs = exported.run(images)
    assert len(set(theirs.label.tolist())) > 1
    assert (theirs.radius > 0).sum() > 32
    slack = exported.model.slack.clamp(min=0).max().item()
    smallest = exported.model.margin_lipschitz.fill_diagonal_(1).min().item()
    for field, one, other in zip(Outputs._fields, ours, theirs, strict=True):
        tolerance = {"label": 0.0, "logits": slack}.get(field, slack / smallest)
        finite = np.isfinite(one)
        assert (finite == np.isfinite(other)).all()
        assert np.abs(one[finite] - other[finite]).max() <= tolerance, field
    np.testing.assert_allclose(theirs.radius, ours[2], rtol=1e-11, atol=slack / smallest)


@pytest.mark.parametrize("level", [Level.ORT_ENABLE_BASIC, Level.ORT_ENABLE_EXTENDED, Level.ORT_ENABLE_ALL])
def test_no_optimiser_changes_a_bit(exported, images, level):
    one, other = exported.run(images), exported.run(images, level)
    assert [field.tobytes() for field in one] == [field.tobytes() for field in other]


def leak(step: float) -> nn.Module:
    return nn.LeakyReLU(1.0 - step)


def scale(step: float) -> nn.Module:
    """w / sqrt(1 + eps) for w = 2: 1 - step."""
    layer = nn.BatchNorm2d(1, eps=4.0 / (1.0 - step) ** 2 - 1.0)
    nn.init.constant_(layer.weight, 2.0)
    return layer


def variance(step: float) -> nn.Module:
    """Next to a variance of 2^-148 an eps of 2^-125 step is nothing at the last of these steps alone."""
    layer = nn.BatchNorm2d(1, eps=2.0**-125 * step)
    nn.init.constant_(layer.running_var, 2.0**-148)
    nn.init.constant_(layer.weight, 2.0**-75)
    return layer


@pytest.mark.parametrize("make", [leak, scale, variance])
def test_no_optimiser_leaves_out_a_constant_next_to_a_neutral_one(make, tmp_path):
    """It would, where float32 rounds the constant to 0 or 1. The rules refuse these, and no more than they must."""
    image, g, refused = torch.full((1, 1, 2, 2), 0.25), np.random.default_rng(5), []
    for exponent in (20, 22, 24, 26):
        there, head = random_linear(g, 3, 4), random_linear(g, 2, 3)
        layers = (
            (nn.Flatten(), there, make(2.0**-exponent)) if make is leak else (make(2.0**-exponent), nn.Flatten(), there)
        )
        with torch.no_grad():
            there.bias -= 2.0
        net = nn.Sequential(Pixels([0.5], [1.0]), *layers, head).requires_grad_(False).eval()
        try:
            certificate, model = certified(net, (1, 2, 2))
        except UncertifiableLayerError:
            refused.append(exponent)
            continue
        write_weights(net, tmp_path)
        write_graph(model, tmp_path / "model.onnx", {})
        exported = Exported(net, model, tables_of(net, certificate), tmp_path / "model.onnx")
        computed = margins(exported.run(image, Level.ORT_ENABLE_ALL).logits)[0, 0, 1]
        truth = replay(net, exact(image[0]))
        assert abs(Fraction(computed) - (truth[0] - truth[1])) <= exact(model.slack.clamp(min=0))[0, 1] / 2, exponent
    assert refused in ([22, 24, 26], [24, 26], [26])


def test_threads_stay_within_the_slack(exported, images):
    one, other = exported.run(images), exported.run(images, threads=2)
    slack = exported.model.slack.clamp(min=0).numpy()
    assert (np.abs(margins(one.logits) - margins(other.logits)) <= slack).all()
    assert (one.label == other.label).all()
    allowed = slack.max() / exported.model.margin_lipschitz.fill_diagonal_(1).min().item()
    assert np.abs(one.radius - other.radius).max() <= allowed


def test_batches_stay_within_the_slack(exported, images):
    one = exported.run(images)
    single = np.concatenate([exported.run(image[None]).logits for image in images[:8]])
    slack = exported.model.slack.clamp(min=0).numpy()
    assert (np.abs(margins(one.logits[:8]) - margins(single)) <= slack).all()


@pytest.mark.parametrize("pixel", [math.nan, math.inf, -math.inf, -1e-45, 1.0000001, -0.5])
def test_the_graph_certifies_nothing_outside_its_domain(exported, images, pixel):
    batch = images[:3].clone()
    batch[1, 1, 2, 3] = pixel
    outputs = exported.run(batch)
    assert outputs.radius[1] == 0
    assert (outputs.topk_radius[1] == 0).all()
    assert not np.isnan(outputs.class_radii).any()
    untouched = exported.run(images[:3])
    assert (outputs.radius[[0, 2]] == untouched.radius[[0, 2]]).all()
    if np.isfinite(pixel):  # points of the ball may lie outside of the box: the label is that of the clamped image
        assert outputs.label[1] == exported.run(batch.clamp(0, 1)).label[1]


def test_a_tie_in_the_graph_has_radius_zero(tmp_path):
    """The winner is masked by its index: two classes with the same row and bias, and a third far behind."""
    g = np.random.default_rng(0)
    head = random_linear(g, 3, 4)
    with torch.no_grad():
        head.weight[1], head.bias[1] = head.weight[0], head.bias[0]
        head.bias[2] = -1e3
    net = nn.Sequential(Pixels([0.0], [1.0]), nn.Flatten(), head).requires_grad_(False).eval()
    write_weights(net, tmp_path)
    certificate, model = certified(net, (1, 2, 2))
    write_graph(model, tmp_path / "model.onnx", {})
    exported = Exported(net, model, tables_of(net, certificate), tmp_path / "model.onnx")
    outputs = exported.run(torch.rand(4, 1, 2, 2))
    assert (outputs.radius == 0).all()
    assert (outputs.class_radii[np.arange(4), outputs.label] == np.inf).all()


def test_the_graph_computes_in_float64(exported):
    """Only the images and the stored weights are float32, and both are cast before anything is computed."""
    graph = onnx.load(exported.path, load_external_data=False).graph
    onnx.checker.check_model(exported.path)
    float32 = {value.name for value in graph.input}
    float32 |= {value.name for value in graph.initializer if value.data_type == onnx.TensorProto.FLOAT}
    # Clip chooses; x - clip(x) is 0 exactly where they are equal, and a sum of absolute values where all are.
    domain = {"Clip", "Sub", "ReduceL1", "Reshape", "LessOrEqual"}
    for node in graph.node:
        if float32.intersection(node.input):
            assert node.op_type in domain | {"Cast"}, f"{node.op_type} reads float32"
            targets = [attribute.i for attribute in node.attribute if attribute.name == "to"]
            assert targets == [onnx.TensorProto.DOUBLE] or node.op_type != "Cast"
            if node.op_type in domain - {"LessOrEqual"}:
                float32.update(node.output)
    logits = next(value for value in graph.output if value.name == "logits")
    assert logits.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    assert not {node.op_type for node in graph.node} & {"Conv", "ConvTranspose", "BatchNormalization"}


def test_the_tables_in_the_graph_are_those_of_the_certificate(exported):
    """Bit for bit."""
    graph = onnx.load(exported.path, load_external_data=False).graph
    stored = {value.name: value for value in graph.initializer}
    for name in ("margin_lipschitz", "slack"):
        found = onnx.numpy_helper.to_array(stored[name])
        assert found.dtype == np.float64
        assert found.tobytes() == getattr(exported.tables, name).tobytes()
