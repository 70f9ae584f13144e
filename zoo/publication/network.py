"""The network of a published folder, from the bytes of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from zoo.architectures import from_description
from zoo.certificate.model import CertifiedModel
from zoo.errors import CertificateError, InputError, one_line
from zoo.publication.folder import Folder
from zoo.publication.weights import weights_sha256
from zoo.records import Certificate


def load_network(weights: Mapping[str, bytes], certificate: Certificate) -> nn.Sequential:
    """The plain network of a certificate with the weights of its safetensors files, in evaluation mode.

    Raises CertificateError where the weights are not the certificate's, or do not fit its architecture.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in weights.items()}
    if weights_sha256(digests) != certificate.weights_sha256:
        raise CertificateError(f"the weights are not those that the certificate of {certificate.name} speaks of")
    architecture = from_description(certificate.architecture)
    try:
        with torch.device("meta"):
            network = architecture.network()
    except (ValueError, RuntimeError) as error:  # sizes that do not fit one another, or no tensor has so many numbers
        raise CertificateError(f"no network has the sizes of {certificate.name}: {one_line(error)}") from error
    try:
        network.load_state_dict(load_weights(weights), strict=True, assign=True)
    except (RuntimeError, SafetensorError) as error:
        problem = " ".join(str(error).split())[:200]
        raise CertificateError(f"the weights do not fit the architecture of {certificate.name}: {problem}") from error
    for layer_name, layer in network.named_modules():
        beside = [name for name, value in {**vars(layer), **layer._buffers}.items() if _is_empty(value)]
        if beside:
            raise CertificateError(
                f"layer {layer_name!r} has the tensor {beside[0]!r} beside its weights: keep plain numbers there"
            )
    return network.requires_grad_(False).eval()


def _is_empty(value: object) -> bool:
    """Whether it is a tensor without memory, which no file of weights filled."""
    return isinstance(value, Tensor) and value.is_meta


def load_weights(weights: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The tensors of safetensors files. Raises SafetensorError, and CertificateError for a tensor in two files."""
    tensors: dict[str, Tensor] = {}
    for name, content in weights.items():
        shard = load_safetensors(content)
        if twice := sorted(set(shard) & set(tensors)):
            raise CertificateError(f"{name} has the tensor {twice[0][:80]!r}, which another shard has as well")
        tensors |= shard
    return tensors


def load_module(
    folder: Folder,
    precision: str = "float64",
    device: str | torch.device = "cpu",
    kind: type[CertifiedModel] = CertifiedModel,
) -> CertifiedModel:
    """The certified model of a published folder, on a device. kind: its class.

    Raises InputError where PyTorch has no such device, or float64 is asked for on another one than the CPU;
    IntegrityError where a file of weights has changed; CertificateError as `load_network` does.
    """
    try:
        if precision == "float64" and torch.device(device).type != "cpu":
            # Other devices may compute convolutions by Winograd or FFT, which the certificate's arithmetic excludes.
            raise InputError(f"float64 is proved on the CPU only: use precision='float32' on {device}")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # PyTorch raises each for a device that is not there
        raise InputError(f"PyTorch has no device {str(device)!r} here: {one_line(error)}") from error
    network = load_network(folder.weights(), folder.certificate)
    return kind.of_loaded(network, folder.certificate, getattr(torch, precision)).to(device)
