"""The certified model: the one definition of the certified radius, for PyTorch and, exported, for every runtime."""

from __future__ import annotations

import hashlib
import math
import zlib
from typing import Self, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.architectures import from_description
from zoo.bounds.interval import least_margins
from zoo.bounds.margins import MarginTables, margin_tables
from zoo.bounds.rounding import SMALLEST, check_arithmetic
from zoo.bounds.rule import changed_by_hooks, in_training, is_plain_tensor
from zoo.bounds.spectral import Matrix
from zoo.bounds.written import weights_of, write_layers
from zoo.errors import CertificateError, InputError
from zoo.records import NORMS, Certificate, Outputs, ranks

Network = TypeVar("Network", bound=nn.Module)
PIECE = 2**15  # entries of a tensor that PyTorch gives to one thread at least
OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # tensors, layers, hooks and the mode: they are compared elsewhere


class CertifiedModel(nn.Module):
    """No perturbation of norm <= radius changes the label, for the network in exact and in binary64 arithmetic.

    forward: images [N, C, H, W] float32 in [0, 1] to `Outputs`. The radius is

        radius = max(0, min over i != j of (f_j - f_i - T_ji) / K_ji),   j the predicted class,

    with the proved tables K and T of `zoo.bounds.margins`, which also pay for its own roundings. With levels, which are
    l-infinity radii, a class i counts instead with the largest level at which `least_margins` keeps f_j - f_i above
    2 T_ji, if that is more than its quotient; each level is proved by itself. An image with a value outside [0, 1], NaN
    or infinite, and one whose logits are not finite, keeps its label and gets radius 0.

    The weights are stored as float32 and evaluated in `dtype`: each call casts them into a copy of its own, so that any
    number of threads may call one model. Only float64 is proved; a float32 model answers the same five arrays as
    *estimates*. A module whose weights, layers, options, types or methods were changed since, a float64 module that is
    not on the CPU, and a thread that flushes subnormal numbers raise CertificateError. Images of another shape than
    `input_shape` raise InputError, even if the network would take them, since the constants hold for that shape only.
    """

    margin_lipschitz: Tensor
    slack: Tensor

    def __init__(
        self,
        network: nn.Sequential,
        tables: MarginTables,
        input_shape: tuple[int, ...],
        dtype: torch.dtype = torch.float64,
        norm: str = "l2",
        levels: tuple[float, ...] = (),
    ):
        super().__init__()
        self.network = network
        self.input_shape = input_shape
        self.dtype = dtype
        self.norm = norm
        self.levels = levels
        self._made_of = _made_of(network)
        self.register_buffer("margin_lipschitz", torch.from_numpy(tables.margin_lipschitz).to(dtype), persistent=False)
        self.register_buffer("slack", torch.from_numpy(tables.slack).to(dtype), persistent=False)
        self._checksums = _checksums(self)

    @classmethod
    def of(cls, network: nn.Sequential, certificate: Certificate, dtype: torch.dtype = torch.float64) -> Self:
        """The model of the very network that `zoo.certify` was given, and its certificate.

        Raises CertificateError where weights, layers or their options are others, and as `tables_of` does;
        UncertifiableLayerError for a layer that no certificate can speak of.
        """
        with torch.device("meta"):
            described = from_description(certificate.architecture).network()
        if write_layers(network) != write_layers(described):
            raise CertificateError(
                f"the layers are not those that the certificate of {certificate.name} speaks of: certify this network"
            )
        if hashlib.sha256(save(weights_of(network))).hexdigest() != certificate.weights_sha256:
            raise CertificateError(
                f"the weights are not those that the certificate of {certificate.name} speaks of: certify this network"
            )
        return cls.of_loaded(network, certificate, dtype)

    @classmethod
    def of_loaded(cls, network: nn.Sequential, certificate: Certificate, dtype: torch.dtype = torch.float64) -> Self:
        """`of`, for a network of `load_network`, which made it as the certificate says and compared its weights."""
        layers = [(name, type(layer).__name__) for name, layer in network._modules.items()][:-1]
        if layers != [(layer.name, layer.kind) for layer in certificate.layers]:
            raise CertificateError(f"{certificate.name}: the certificate's layers are not those of its architecture")
        tables, shape = tables_of(network, certificate), certificate.layers[0].input_shape
        return cls(network, tables, shape, dtype, certificate.norm, certificate.levels).eval()

    def forward(self, images: Tensor) -> Outputs:
        self._check_unchanged()
        if tuple(images.shape[1:]) != self.input_shape:
            expected = ", ".join(map(str, self.input_shape))
            raise InputError(f"expected images of shape [N, {expected}], got {list(images.shape)}")
        if images.is_complex():
            raise InputError(f"expected real numbers from 0 to 1, got {images.dtype}")
        network = cast_network(self.network, self.dtype)
        images = images.to(self.dtype)
        logits = network(images)
        label = logits.argmax(dim=1)
        margins = logits.amax(dim=1, keepdim=True) - logits
        inside = (images == images.clamp(0, 1)).amin(dim=(1, 2, 3))  # whether all are true; a NaN equals nothing
        # The sum of the margins, because on every runtime a sum keeps a NaN, which a maximum may lose.
        admissible = (inside & (margins.sum(dim=1) < math.inf)).unsqueeze(1)
        margins = torch.where(admissible, margins, 0)
        slack, lipschitz = F.embedding(label, self.slack), F.embedding(label, self.margin_lipschitz)
        class_radii = ((margins - slack) / lipschitz).relu()
        if self.levels:
            levels = torch.tensor(self.levels, dtype=self.dtype, device=images.device)
            least = least_margins(network, images, label, levels)
            proved = (least > 2 * slack) & admissible
            class_radii = torch.maximum(class_radii, torch.where(proved, levels[:, None, None], 0).amax(dim=0))
        topk_radius = class_radii.topk(ranks(logits.shape[1]), dim=1, largest=False, sorted=True).values
        return Outputs(logits, label, topk_radius.select(1, 0), class_radii, topk_radius)

    def _check_unchanged(self) -> None:
        check_arithmetic()
        _check_workers()
        tables = {self.margin_lipschitz.dtype, self.slack.dtype}
        tensors = [*self.network.parameters(), *self.network.buffers()]
        weights = {value.dtype for value in tensors if value.is_floating_point()}
        hooked = any(changed_by_hooks(layer) for layer in self.network.modules())
        if any(in_training(layer) for layer in self.network.modules()):
            raise CertificateError("the network is in training mode, and what was certified is not: call model.eval()")
        changed = hooked or not all(map(is_plain_tensor, tensors)) or self._made_of != _made_of(self.network)
        if tables != {self.dtype} or weights != {torch.float32} or changed:
            raise CertificateError(
                "the module is no longer what was certified (layers, options, types or hooks changed): load it again"
            )
        if self.dtype == torch.float64 and (device := self.slack.device).type != "cpu":
            raise CertificateError(f"float64 is proved on the CPU only, this module is on {device}: load it in float32")
        if self._checksums != _checksums(self):
            raise CertificateError("the weights are no longer those that were certified: certify this network anew")


def _check_workers() -> None:
    """Raise CertificateError unless PyTorch's threads keep subnormal numbers; each has what held at its birth."""
    smallest = torch.full((PIECE * torch.get_num_threads(),), SMALLEST, dtype=torch.float64)
    if not (smallest * 1.0).view(torch.int64).all():  # by their bits, which no flag changes
        raise CertificateError(
            "threads of PyTorch flush subnormal numbers to zero, and no certificate speaks of that: start anew without "
            "torch.set_flush_denormal(True)"
        )


def _made_of(network: nn.Module) -> list[tuple[str, nn.Module, type, dict[str, str]]]:
    """Each place within the network, the layer there, which may stand in several, its type and options in words."""
    return [
        (
            name,
            layer,
            type(layer),
            {key: repr(value) for key, value in vars(layer).items() if key not in OF_EVERY_MODULE},
        )
        for name, layer in network.named_modules(remove_duplicate=False)
    ]


def _checksums(model: nn.Module) -> list[int]:
    """Of each weight and table, to notice what changes by mistake; one pass, a small part of what a call costs."""
    tensors = [*model.parameters(), *model.buffers()]
    return [zlib.crc32(tensor.detach().cpu().resolve_neg().contiguous().numpy()) for tensor in tensors]


def cast_network(network: Network, dtype: torch.dtype) -> Network:
    """A copy of the network with its weights in `dtype`; the network itself, which gradients reach, is not changed."""
    copy = object.__new__(type(network))
    weights, buffers = (
        {name: None if value is None else value.to(dtype) for name, value in tensors.items()}
        for tensors in (network._parameters, network._buffers)
    )
    layers = {name: layer and cast_network(layer, dtype) for name, layer in network._modules.items()}
    vars(copy).update({**vars(network), "_parameters": weights, "_buffers": buffers, "_modules": layers})
    return copy


def head_weights(network: nn.Sequential) -> tuple[Matrix, Matrix]:
    """The head's weight [C, d] and bias [C]: the stored float32 numbers as float64."""
    head = network[-1]
    assert isinstance(head, nn.Linear)
    weight, bias = (
        tensor.detach().cpu().to(torch.float64).resolve_neg().numpy() for tensor in (head.weight, head.bias)
    )
    return weight, bias


def tables_of(network: nn.Sequential, certificate: Certificate) -> MarginTables:
    """K and T from the head's weights and the certificate. Raises CertificateError where their hash differs."""
    if certificate.norm not in NORMS:
        raise CertificateError(
            f"{certificate.name} speaks of the norm {certificate.norm[:40]!r}, known: {', '.join(NORMS)}"
        )
    tables = margin_tables(
        *head_weights(network),
        certificate.body_lipschitz,
        certificate.feature_norm,
        certificate.feature_error,
        certificate.norm,
        certificate.pairwise,
    )
    if tables.sha256() != certificate.tables_sha256:
        raise CertificateError(f"the tables of {certificate.name} are not those of its certificate")
    return tables
