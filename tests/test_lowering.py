"""Every layer of ours as an ONNX graph: ONNX Runtime in float64 answers what the certified module does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.soundness.oracle import certified, network
from zoo.bounds.table import TABLE
from zoo.bounds.written import weights_of
from zoo.certificate.model import CertifiedModel
from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    FrequencyConv,
    GroupSort,
    Householder,
    L2Pool,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    PositionOffset,
    Residual,
    Sandwich,
    SelfAttention,
    SpatialShift,
    TokenLinear,
)
from zoo.publication.graph import write_graph
from zoo.publication.weights import WEIGHTS
from zoo.records import Outputs

SHAPE = (2, 4, 4)


def skew(channels: int) -> ConvExponential:
    layer = ConvExponential(channels, 3)
    kernel = 0.1 * torch.randn(layer.weight.shape)
    layer.weight.data.copy_(kernel - kernel.flip(2, 3).transpose(0, 1))
    return layer


BODIES: dict[str, Callable[[], list[nn.Module]]] = {
    "residual": lambda: [
        nn.Conv2d(2, 4, 3, 1, 1),
        Residual(nn.Conv2d(4, 6, 3, 1, 1), MinMax("halves"), nn.Conv2d(6, 4, 1)),
    ],
    "residual with a skip": lambda: [
        Residual(nn.Conv2d(2, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 1, 1), skip=nn.Conv2d(2, 6, 2, 2)),
    ],
    "potential": lambda: [PadChannels(5), ConvexPotential(5, 3, 3), PatchPool(4), nn.Flatten(), ConvexPotential(5, 9)],
    "exponential": lambda: [
        nn.PixelUnshuffle(2),
        skew(8),
        FirstChannels(6),
        Householder(6),
        nn.Flatten(),
        nn.Linear(24, 4),
        nn.ReLU(),
    ],
    "attention": lambda: [nn.Conv2d(2, 6, 1), Residual(SelfAttention(6, 2), nn.Conv2d(6, 6, 1)), MinMax("halves")],
    "channels out of order": lambda: [
        nn.Conv2d(2, 5, 3, 1, 1),
        MinMax("neighbours"),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, 1, 1),
        MinMax("neighbours"),
        MinMax("halves"),
        nn.PixelUnshuffle(2),
        MinMax("halves"),
        Pixels([0.1] * 24, [2.0] * 24),
        MinMax("neighbours"),
        nn.Conv2d(24, 4, 1),
        MinMax("neighbours"),
        Residual(nn.Conv2d(4, 4, 3, 1, 1), MinMax("neighbours")),
    ],
    "plain": lambda: [
        nn.Conv2d(2, 6, 3, 1, 1),
        MinMax("neighbours"),
        nn.MaxPool2d(3, 1, 1),
        nn.BatchNorm2d(6),
        GroupSort(3),
        nn.ChannelShuffle(2),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2, 1, divisor_override=3),
        nn.Dropout(),
        nn.Identity(),
        Abs(),
        nn.MaxPool2d(2, 1, 1, 2),
        nn.AvgPool2d(3, 2, 1),
        nn.Flatten(),
        nn.Hardtanh(-0.5, 0.25),
        GroupSort(2),
        nn.Unflatten(1, (6, 2, 2)),
        nn.AdaptiveAvgPool2d(1),
    ],
    "relu and a clip": lambda: [nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), nn.Hardtanh(0.0, 6.0)],
    "convolutions": lambda: [
        nn.Conv2d(2, 6, 3, 1, 1, padding_mode="circular"),
        MinMax("neighbours"),
        nn.Conv2d(6, 4, 3, 1, 2, dilation=2, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1),
        nn.PixelUnshuffle(2),
        nn.Conv2d(24, 24, (3, 1), (2, 1), (1, 0), groups=24, bias=False),
        nn.Conv2d(24, 4, (1, 3), 1, (0, 1), padding_mode="circular"),
    ],
    "frequencies": lambda: [
        FrequencyConv(2, 4, 4),
        MinMax("neighbours"),
        FrequencyConv(4, 3, 4, padding=1),
        Sandwich(3, 5, 4, size=4),
        Sandwich(4, 6, 4),
        nn.PixelUnshuffle(2),
        Sandwich(16, 3, 5, size=2),
        nn.Flatten(),
        Sandwich(20, 6, 7),
    ],
    "shifts": lambda: [
        PositionOffset(4, 4),
        nn.Conv2d(2, 9, 3, 1, 1),
        SpatialShift(2),
        MinMax("neighbours"),
        SpatialShift(1),
        Abs(4),
        nn.Conv2d(9, 8, 1),
        SpatialShift(2),
        PositionOffset(4, 4),
        L2Pool(2),
        nn.Conv2d(8, 4, 1),
        L2Pool(2),
    ],
    "a channel alone": lambda: [
        nn.Conv2d(2, 1, 3, 1, 1),
        MinMax("neighbours"),
        nn.Flatten(),
        nn.Linear(16, 1),
        MinMax("neighbours"),
    ],
    "tokens": lambda: [TokenLinear(16), nn.Conv2d(2, 4, 1), MinMax("neighbours")],
}


@pytest.mark.parametrize("body", BODIES)
def test_both_runtimes_agree(body, tmp_path: Path):
    torch.manual_seed(0)
    layers = [*BODIES[body](), nn.Flatten()]
    for layer in layers:
        if isinstance(layer, TokenLinear | Householder | PositionOffset):
            nn.init.normal_(layer.weight)
        if isinstance(layer, FrequencyConv | Sandwich):
            nn.init.normal_(layer.weight, std=0.3)
            nn.init.normal_(layer.bias)
    features = nn.Sequential(*layers)(torch.zeros(1, *SHAPE)).shape[1]
    net = network(*layers, nn.Linear(features, 3), channels=SHAPE[0])
    certificate, model = certified(net, SHAPE)
    save_file(weights_of(net), tmp_path / WEIGHTS)
    write_graph(model, tmp_path / "model.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    images = torch.rand(5, *SHAPE)
    theirs = Outputs(*session.run(list(Outputs._fields), {"images": images.numpy()}))
    ours = model(images)
    assert (ours.label.numpy() == theirs.label).all()
    assert theirs.logits.dtype == np.float64
    assert np.abs(ours.logits.numpy() - theirs.logits).max() <= 1e-12
    assert np.abs(ours.radius.numpy() - theirs.radius).max() <= 1e-12
    assert (theirs.radius > 0).any()
    estimate = CertifiedModel.of(net, certificate, torch.float32)
    write_graph(estimate, tmp_path / "model.float32.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "model.float32.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    assert np.abs(logits - theirs.logits).max() <= 1e-4


@pytest.mark.parametrize("side", [3, 4])
def test_no_product_lies_beside_a_division_that_rounds(side: int, tmp_path: Path):
    """ONNX Runtime 1.26 to 1.31 fuse a MatMul with a number by which it is divided, in float32: exact if it is 2^k."""
    net = network(SelfAttention(2, 1), nn.Flatten(), nn.Linear(2 * side**2, 3), channels=2)
    _, model = certified(net, (2, side, side))
    save_file(weights_of(net), tmp_path / WEIGHTS)
    write_graph(model, tmp_path / "model.onnx", {})
    graph = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph
    nodes = graph.node
    products = {name for node in nodes if node.op_type == "MatMul" for name in node.output}
    constants = {constant.name for constant in graph.initializer}
    divisions = [node for node in nodes if node.op_type == "Div" and node.input[1] in constants]
    results = {name for node in divisions for name in node.output}
    behind = [node for node in divisions if products.intersection(node.input)]
    before = [node for node in nodes if node.op_type == "MatMul" and results.intersection(node.input)]
    assert len(behind) == len(before) == (side == 4)


def test_every_layer_with_a_rule_is_lowered_somewhere():
    def kinds(layer: nn.Module) -> set[type[nn.Module]]:
        return {type(inner) for inner in layer.modules()}

    used = {kind for make in BODIES.values() for layer in make() for kind in kinds(layer)}
    assert {
        kind
        for kind, row in TABLE.items()
        if row.l2 and kind.__module__.startswith("zoo.layers") and kind.__name__ != "Pixels"
    } <= used
