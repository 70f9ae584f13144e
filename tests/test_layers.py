"""A network without a family: its layers as JSON, and read again as strictly as anything from outside."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from tests.soundness.oracle import network
from tests.soundness.test_linf import SOUND as SOUND_IN_LINF
from tests.soundness.test_rules import SOUND
from zoo.architectures import describe, from_description
from zoo.architectures.layers import MAX_DEPTH, MAX_LAYERS, layers_of
from zoo.bounds.table import TABLE
from zoo.bounds.written import make_network, weights_of, write_layers
from zoo.errors import CertificateError, InputError, UncertifiableLayerError
from zoo.layers import MinMax, Pixels, Residual

SHAPE = (1, 4, 4)


def own() -> nn.Sequential:
    block = Residual(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), skip=nn.Conv2d(2, 2, 1))
    return network(nn.Conv2d(1, 2, (1, 3), padding=(0, 1), bias=False), block, nn.Flatten(), nn.Linear(32, 3))


def described(net: nn.Sequential, shape: tuple[int, int, int] = SHAPE) -> dict[str, Any]:
    """As it stands in a file."""
    return json.loads(json.dumps(describe(layers_of(net, shape))))


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_a_layer_read_again_computes_the_same(kind):
    linf = [layer for layer, _ in SOUND_IN_LINF.get(kind, [])]
    cases = [case.layer for case in SOUND.get(kind, [])] or linf
    shapes = [case.shape for case in SOUND.get(kind, [])] or [shape for _, shape in SOUND_IN_LINF[kind]]
    for layer, shape in zip(cases, shapes, strict=True):
        net = nn.Sequential(layer).eval()
        written = json.loads(json.dumps(layers_of(nn.Sequential(layer, nn.Linear(1, 2)), (1, 1, 1)).layers))
        again = from_description({"family": "Layers", "input_shape": [1, 1, 1], "layers": written})
        made = make_network(again.layers[:1]).eval()  # type: ignore[attr-defined]
        made.load_state_dict(weights_of(net), strict=True)
        x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(made(x.clone()), net(x.clone()))
        assert write_layers(made) == written[:1]


@pytest.mark.parametrize("kind", [kind for kind in TABLE if kind is not Residual], ids=lambda kind: kind.__name__)
def test_no_argument_of_a_class_of_pytorch_is_forgotten(kind):
    """What a class takes and the form does not have is what no result depends on."""
    if not kind.__module__.startswith("torch."):
        return
    taken = set(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"}
    assert taken - set(TABLE[kind].form.arguments) <= {"device", "dtype", "inplace", "min_value", "max_value"}


def test_a_network_read_again_is_the_same():
    net = own()
    architecture = from_description(described(net))
    assert architecture == layers_of(net, SHAPE)
    assert architecture.classes == 3
    again = architecture.network()
    again.load_state_dict(weights_of(net), strict=True)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(again(x), net(x))
    assert zoo.certify(again, SHAPE).layers == zoo.certify(net, SHAPE).layers


def test_a_tensor_that_no_file_of_weights_holds_is_refused_by_name():
    for change, told in (
        (lambda net: net[0].register_buffer("mean", torch.zeros(1), persistent=False), "0.mean is not stored"),
        (lambda net: setattr(net[-1], "weight", nn.Parameter(torch.eye(3, 32).to_sparse())), "4.weight is sparse"),
    ):
        net = own()
        change(net)
        with pytest.raises(UncertifiableLayerError, match=told):
            weights_of(net)


def test_weights_that_are_stored_with_the_other_sign_are_what_they_say():
    net = own()
    net[-1].weight = nn.Parameter(torch.complex(torch.zeros(3, 32), torch.ones(3, 32)).conj().imag)
    assert net[-1].weight.is_neg()
    certificate = zoo.certify(net, SHAPE)
    model = zoo.CertifiedModel.of(net, certificate)
    assert certificate == zoo.certify(make_like(net), SHAPE)
    assert model(torch.rand(2, *SHAPE)).label.shape == (2,)


def make_like(net: nn.Sequential) -> nn.Sequential:
    """The network as its list of layers and its weights make it again."""
    made = from_description(described(net)).network().eval()
    made.load_state_dict(weights_of(net))
    return made


def test_a_transform_of_a_map_and_its_padding_has_a_largest_side():
    layers = [{"name": "0", "type": "FrequencyConv", "in_channels": 1, "out_channels": 1, "size": 500, "padding": 7}]
    with pytest.raises(CertificateError, match="at most 512 cells a side, got 514"):
        make_network(layers)


def test_a_graph_that_does_not_load_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("onnxruntime.InferenceSession", broken)
    with pytest.raises(CertificateError, match="ONNX Runtime cannot load the graph of this network: no such kernel"):
        zoo.publish(own(), tmp_path / "out", SHAPE, "abc")
    assert list(tmp_path.iterdir()) == []


def test_the_default_type_of_new_tensors_does_not_matter(tmp_path: Path):
    net = own()
    torch.set_default_dtype(torch.float64)
    try:
        assert zoo.publish(net, tmp_path / "out", SHAPE, "abc").path.is_dir()
    finally:
        torch.set_default_dtype(torch.float32)


class Tenfold(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(10 * x)


def tenfold_branch() -> nn.Sequential:
    net = own()
    net[2].branch = Tenfold(*net[2].branch)
    return net


def hooked() -> nn.Sequential:
    net = own()
    net[2].branch[0].register_forward_hook(lambda layer, inputs, output: 10 * output)
    return net


@pytest.mark.parametrize("make", [lambda: Tenfold(*own()), tenfold_branch, hooked], ids=["outer", "inner", "hook"])
def test_what_a_list_of_layers_would_not_show_is_refused(make):
    with pytest.raises(UncertifiableLayerError):
        layers_of(make(), SHAPE)


def test_names_of_layers_are_kept():
    net = nn.Sequential()
    for name, layer in (("pixels", Pixels([0.5], [2.0])), ("flat", nn.Flatten()), ("head", nn.Linear(16, 2))):
        net.add_module(name, layer)
    assert list(from_description(described(net)).network()._modules) == ["pixels", "flat", "head"]


def changed(**changes: Any) -> dict[str, Any]:
    """The description of `own` with changes of its second layer, a Conv2d."""
    description = described(own())
    description["layers"][1] |= changes
    return description


def without(key: str) -> dict[str, Any]:
    description = described(own())
    del description["layers"][1][key]
    return description


def with_layers(*layers: Any) -> dict[str, Any]:
    description = described(own())
    return {**description, "layers": [*layers, description["layers"][-1]]}


def nested(depth: int) -> dict[str, Any]:
    inner = {"name": "0", "type": "ReLU"}
    for _ in range(depth):
        inner = {"name": "0", "type": "Residual", "branch": [inner], "skip": None}
    return inner


HUGE = {"name": "huge", "type": "Linear", "in_features": 10**6, "out_features": 10**6, "bias": False}
WIDE = {"name": "wide", "type": "PadChannels", "channels": 10**6}
FORGED: dict[str, dict[str, Any]] = {
    "no layers": {**described(own()), "layers": []},
    "layers that are none": {**described(own()), "layers": "Linear"},
    "a layer that is a word": with_layers("ReLU"),
    "a layer without a name": with_layers({"type": "ReLU"}),
    "a layer without a type": with_layers({"name": "one"}),
    "a type that is a list": with_layers({"name": "one", "type": ["ReLU"]}),
    "a name twice": with_layers({"name": "one", "type": "ReLU"}, {"name": "one", "type": "ReLU"}),
    "a name with a dot": with_layers({"name": "one.weight", "type": "ReLU"}),
    "the name of a method": with_layers({"name": "forward", "type": "ReLU"}),
    "no row": with_layers({"name": "one", "type": "GELU"}),
    "a module that is no layer": with_layers({"name": "one", "type": "Sequential"}),
    "a path to a class": with_layers({"name": "one", "type": "os.system"}),
    "too many layers": with_layers(*({"name": str(index), "type": "ReLU"} for index in range(MAX_LAYERS))),
    "too deep": with_layers(nested(MAX_DEPTH)),
    "no head": {**described(own()), "layers": described(own())["layers"][:-1]},
    "too many classes": {
        **described(own()),
        "layers": [{"name": "0", "type": "Linear", "in_features": 1, "out_features": 10**5, "bias": True}],
    },
    "an argument too many": changed(device="cuda"),
    "an argument too few": without("stride"),
    "a size that is none": changed(in_channels=0),
    "a size that is a truth": changed(in_channels=True),
    "a size that is no whole number": changed(out_channels=2.0),
    "a size beyond bounds": changed(out_channels=10**7),
    "a side alone": changed(kernel_size=3),
    "three sides": changed(kernel_size=[1, 3, 3]),
    "padding by name": changed(padding="same"),
    "another padding mode": changed(padding_mode="mirrors"),
    "groups that do not divide": changed(groups=2),
    "a kernel larger than the map": changed(kernel_size=[64, 64]),
    "channels that do not fit": changed(out_channels=5),
    "a branch that is a number": with_layers({"name": "one", "type": "Residual", "branch": 3, "skip": None}),
    "a branch of lists": with_layers({"name": "one", "type": "Residual", "branch": [[]], "skip": None}),
    "more weights than there are": with_layers(*({**HUGE, "name": str(index)} for index in range(20))),
    "maps beyond bounds": with_layers(*({**WIDE, "name": str(index)} for index in range(200))),
    "an image beyond bounds": {**described(own()), "input_shape": [3, 10**5, 10**5]},
    "an image of two sides": {**described(own()), "input_shape": [4, 4]},
    "another field": {**described(own()), "code": "import os"},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_list_of_layers_is_refused(case):
    with pytest.raises(CertificateError) as refusal:
        from_description(FORGED[case]).network()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


# From Python ---------------------------------------------------------------------------------------------------------


def test_a_network_is_certified_and_answers_with_no_more_than_its_input_shape():
    net = network(nn.Conv2d(1, 4, 3, padding=1), MinMax(), nn.Flatten(), nn.Linear(64, 3))
    certificate = zoo.certify(net, SHAPE)
    assert certificate.architecture["family"] == "Layers"
    model = zoo.CertifiedModel.of(net, certificate)
    picture = torch.rand(2, *SHAPE, requires_grad=True)
    outputs = model(picture)
    assert outputs.class_radii.shape == (2, 3)
    outputs.class_radii[outputs.class_radii.isfinite()].sum().backward()
    assert picture.grad is not None
    assert picture.grad.isfinite().all()


def test_the_weights_name_the_certificate():
    net, other = own(), own()
    assert zoo.certify(net, SHAPE).weights_sha256 == zoo.certify(net, SHAPE).weights_sha256
    assert zoo.certify(net, SHAPE).weights_sha256 != zoo.certify(other, SHAPE).weights_sha256


@pytest.mark.parametrize("shape", [(4, 4), (1, 4.0, 4), (1, 0, 4), (1, 1, 4, 4)])
def test_an_input_shape_that_is_none_is_refused(shape):
    with pytest.raises(InputError, match="input_shape is channels, height and width"):
        zoo.certify(own(), shape)


def test_what_cannot_be_certified_names_what_would_do_instead():
    for layer, instead in ((nn.GELU(), "nn.ReLU"), (nn.LayerNorm(16), "BatchNorm2d"), (nn.Sequential(), "one after")):
        with pytest.raises(UncertifiableLayerError, match=instead):
            zoo.certify(network(nn.Flatten(), layer, nn.Linear(16, 2)), SHAPE)
