"""Every registered network, or one of its kind with few channels, goes all the way: folded, certified, exported, run.

`tests/test_parameters.py` builds each at its full size; here a stand-in keeps everything but width and depth.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.training.small import SIZES, narrowed, small_network
from training.constraints import converge_norms, folded_state
from training.layers import constrain
from zoo.architectures import Architecture
from zoo.architectures.aol import AOLMLP, AOLPatchwise
from zoo.architectures.convnet import ConvNet
from zoo.architectures.fourier import CayleyConvNet
from zoo.architectures.lbdn import LBDN
from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.loop import LoopResNet
from zoo.architectures.mlp import TwoMoonsMLP
from zoo.architectures.orthogonal import OrthogonalConvNet
from zoo.architectures.potential import ConvexPotentialNet
from zoo.certificate.certify import certify
from zoo.certificate.model import CertifiedModel
from zoo.publication.graph import write_graph
from zoo.publication.weights import WEIGHTS
from zoo.records import Outputs
from zoo.registry import ENTRIES

BATCH = 3


def stand_in(architecture: Architecture) -> Architecture:
    """The narrow network of its kind, on small images of a few classes."""
    small: dict[str, Any] = {} if isinstance(architecture, TwoMoonsMLP) else {"classes": 5}
    if isinstance(architecture, LipConvNet | ConvexPotentialNet):  # stems depend on the size of the input, these do not
        small["input_size"] = 32
    if isinstance(architecture, LBDN | CayleyConvNet | LoopResNet):
        small["input_size"] = 16
    if isinstance(architecture, AOLPatchwise | AOLMLP):
        small["input_size"] = 8
    if isinstance(architecture, ConvNet):
        small_maps = isinstance(architecture, OrthogonalConvNet) or architecture.plan == "6c2f-liplt"
        if small_maps:  # LipLT needs ReLU and writes products out, once
            small["input_size"] = 8
        else:
            small["input_size"] = min(architecture.input_size, 24)
            small["activation"] = "minmax"  # with ReLU, only that layer is another
    if "input_size" in small:  # grey ones are those of which the size stays
        small["channels"] = 3
    return replace(narrowed(architecture), **small)


STAND_INS = {(stand_in(entry.architecture), entry.norm): name for name, entry in reversed(ENTRIES.items())}
# One of each kind, for the first tier.
FIRST = {(small_network(name), ENTRIES[name].norm): name for name in STAND_INS.values()}.values()


def test_a_stand_in_differs_in_sizes_only():
    for entry in ENTRIES.values():
        small = stand_in(entry.architecture)
        same = {field.name for field in fields(small)} - {*SIZES, "classes", "input_size", "channels", "activation"}
        assert all(getattr(small, name) == getattr(entry.architecture, name) for name in same)


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [
        pytest.param(*small, id=name, marks=() if name in FIRST else pytest.mark.slow)
        for small, name in STAND_INS.items()
    ],
)
def test_a_preset_folds_certifies_and_exports_with_both_runtimes_agreeing(
    architecture: Architecture, norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("zoo.bounds.convolution.DENSE_COST", 1e8)
    torch.manual_seed(0)
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            scale = 0.5 if name.startswith("head") else 0.02
            parameter.add_(scale * torch.randn_like(parameter))
    converge_norms(network, 5)
    state = folded_state(network)
    images = torch.rand(BATCH, *architecture.input_shape)
    plain = architecture.network().eval()
    plain.load_state_dict(state)
    assert torch.equal(plain(images), network(images)), "folded"
    certificate = certify(plain.requires_grad_(False), architecture.input_shape, norm, architecture=architecture)
    assert [layer.name for layer in certificate.layers] == [name for name, _ in plain.named_children()][:-1]
    assert all(layer.lipschitz_estimate <= layer.lipschitz_bound * (1 + 1e-5) for layer in certificate.layers)
    model = CertifiedModel.of(plain, certificate)
    save_file(state, tmp_path / WEIGHTS)
    write_graph(model, tmp_path / "model.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    theirs = Outputs(*session.run(list(Outputs._fields), {"images": images.numpy()}))
    ours = model(images)
    assert (ours.label.numpy() == theirs.label).all()
    scale = max(1.0, float(ours.logits.abs().max()))
    assert np.abs(ours.logits.numpy() - theirs.logits).max() <= 1e-12 * scale
    np.testing.assert_allclose(theirs.radius, ours.radius.numpy(), rtol=1e-9, atol=1e-12)
    assert isinstance(plain[-1], nn.Linear)
    assert theirs.logits.shape == (BATCH, architecture.classes)
