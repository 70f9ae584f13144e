"""A certified model answers for what was certified alone: a changed network, thread or image gets no radius."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules import module

from zoo.certificate.certify import certify
from zoo.certificate.model import CertifiedModel
from zoo.errors import CertificateError, InputError, UncertifiableLayerError
from zoo.layers import Residual

from .oracle import certified, network
from .test_refused import ReLU, compiled, hooked, plain, pre_hooked, replaced


@pytest.mark.parametrize(
    "change", [hooked, pre_hooked, replaced, compiled, nn.Module.double], ids=lambda change: change.__name__
)
@pytest.mark.parametrize("place", ["2", "2.branch.0", "3"])
def test_a_certified_model_changed_since_does_not_answer(change, place):
    """Also where the layer is inside another one."""
    net = network(nn.Flatten(), Residual(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 3))
    _, model = certified(net, (1, 2, 4))
    images = torch.full((1, 1, 2, 4), 0.5)
    assert model(images).label.shape == (1,)
    change(net.get_submodule(place))
    with pytest.raises(CertificateError, match="no longer what was certified"):
        model(images)


def test_a_certified_model_with_another_option_or_layer_does_not_answer():
    images = torch.full((1, 1, 2, 4), 0.5)
    for change in (
        lambda net: setattr(net[2].branch[1], "negative_slope", 50.0),
        lambda net: net[2].branch.__setitem__(1, nn.Tanh()),
        lambda net: net.__setitem__(3, nn.Linear(8, 3)),  # of the same kind and size
        lambda net: net.append(nn.ReLU()),
        lambda net: net.insert(2, net[2]),  # a layer that is there already
        lambda net: net.append(net[-1]),
    ):
        net = network(nn.Flatten(), Residual(nn.Linear(8, 8), nn.LeakyReLU()), nn.Linear(8, 3))
        _, model = certified(net, (1, 2, 4))
        assert copy.deepcopy(model)(images).radius == pickle.loads(pickle.dumps(model))(images).radius
        change(net)
        with pytest.raises(CertificateError, match="no longer what was certified"):
            model(images)


def test_a_certified_model_with_other_weights_or_tables_does_not_answer():
    images = torch.full((1, 1, 2, 4), 0.5)

    def train_on(model: CertifiedModel) -> None:
        model.network.requires_grad_()(images).sum().backward()
        torch.optim.SGD(model.network.parameters(), lr=1e-3).step()

    for change in (
        train_on,
        lambda model: model.network[3].weight.data.copy_(model.network[3].weight.flip(0)),
        lambda model: setattr(model.network[3].bias, "data", model.network[3].bias + 1e-6),
        lambda model: model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()}),
        lambda model: model.network[1].running_mean.add_(1),
        lambda model: model.slack.zero_(),
        lambda model: model.margin_lipschitz.div_(2),
    ):
        _, model = certified(
            network(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), (1, 2, 4)
        )
        assert model(images).label.shape == (1,)
        change(model)
        with pytest.raises(CertificateError, match="weights are no longer those that were certified"):
            model(images)


def test_a_certificate_answers_for_the_network_that_it_was_made_of_alone():
    pooled = (nn.BatchNorm2d(1, eps=1.0), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 8), nn.Linear(8, 3))
    net, shape = network(*pooled), (1, 2, 4)
    certificate = certify(net, shape)
    assert CertifiedModel.of(copy.deepcopy(net), certificate)
    for change, told in (
        (lambda net: net[5].weight.data.mul_(1000), "the weights are not those"),
        (lambda net: net.insert(4, nn.Identity()), "the layers are not those"),
        (lambda net: net.__setitem__(4, nn.Identity()), "the layers are not those"),
        (lambda net: setattr(net[1], "eps", 1e-5), "the layers are not those"),
        (lambda net: net.__setitem__(2, nn.AvgPool2d(2, divisor_override=1)), "the layers are not those"),
        (lambda net: net.__setitem__(3, ReLU()), "cannot be certified"),  # a class of the same name
    ):
        other = copy.deepcopy(net)
        change(other)
        with pytest.raises((CertificateError, UncertifiableLayerError), match=told):
            CertifiedModel.of(other, certificate)


@pytest.mark.parametrize(
    "register", [module.register_module_forward_hook, module.register_module_forward_pre_hook], ids=["after", "before"]
)
def test_a_hook_of_all_modules_is_noticed(register):
    _, model = certified(plain(), (1, 2, 4))
    images = torch.full((1, 1, 2, 4), 0.5)
    with register(lambda *_: None), pytest.raises(CertificateError, match="no longer what was certified"):
        model(images)
    with register(lambda *_: None), pytest.raises(UncertifiableLayerError):
        certified(plain(), (1, 2, 4))
    assert model(images).label.shape == (1,)


def test_a_thread_that_flushes_subnormal_numbers_gets_neither_a_certificate_nor_a_radius():
    _, model = certified(plain(), (1, 2, 4))
    assert torch.set_flush_denormal(True)
    try:
        with pytest.raises(CertificateError, match="flushes subnormal numbers to zero"):
            model(torch.full((1, 1, 2, 4), 0.5))
        with pytest.raises(CertificateError, match="flushes subnormal numbers to zero"):
            certified(plain(), (1, 2, 4))
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="libm and its numbers on x86-64")
@pytest.mark.parametrize("direction", [0x400, 0x800, 0xC00], ids=["down", "up", "to zero"])
def test_a_thread_that_rounds_in_a_direction_gets_neither_a_certificate_nor_a_radius(direction):
    _, model = certified(plain(), (1, 2, 4))
    library = ctypes.CDLL("libm.so.6")
    images = torch.full((1, 1, 2, 4), 0.5)
    assert library.fesetround(direction) == 0
    try:
        with pytest.raises(CertificateError, match=r"does not round to the nearest number.*: restore round-to-nearest"):
            model(images)
        with pytest.raises(CertificateError, match=r"does not round to the nearest number.*: restore round-to-nearest"):
            certify(plain(), (1, 2, 4))
    finally:
        library.fesetround(0)


def test_threads_that_were_born_while_subnormal_numbers_were_flushed_give_no_radius():
    """They keep flushing, whatever holds for the thread that calls. In a process of its own, which has such threads."""
    script = (
        "import torch; from tests.soundness.oracle import certified; from tests.soundness.test_refused import plain\n"
        "from zoo.errors import CertificateError\n"
        "_, model = certified(plain(), (1, 2, 4)); images = torch.full((1, 1, 2, 4), 0.5); model(images)\n"
        "torch.set_num_threads(2); torch.set_flush_denormal(True); torch.ones(10**6).sum()\n"
        "torch.set_flush_denormal(False)\n"
        "try: model(images)\n"
        "except CertificateError as error: print(error)\n"
    )
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # no other thread is born before
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=alone, check=True)
    assert "threads of PyTorch flush subnormal numbers" in run.stdout


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (1, 3, 1, 1), (1, 3, 2, 2), (3, 1, 2), (1, 1, 3, 1, 2)])
def test_images_of_another_shape_do_not_get_a_radius_of_their_own(shape):
    """One channel would broadcast to three, and a step of it count once where the network moves thrice."""
    _, model = certified(network(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(4, 2), channels=3), (3, 1, 2))
    with pytest.raises(InputError, match=r"^expected images of shape \[N, 3, 1, 2\], got "):
        model(torch.full(shape, 0.5))


def test_complex_images_do_not_get_the_radius_of_their_real_part():
    _, model = certified(plain(), (1, 2, 4))
    with pytest.raises(InputError, match="expected real numbers"):
        model(torch.full((1, 1, 2, 4), 0.5 + 0.5j))


def test_float64_away_from_the_cpu_does_not_answer():
    _, model = certified(plain(), (1, 2, 4))
    with pytest.raises(CertificateError, match="float64 is proved on the CPU only, this module is on meta"):
        model.to("meta")(torch.full((1, 1, 2, 4), 0.5))
