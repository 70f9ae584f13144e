"""Networks written as lists of layers in JSON, and networks made from such lists.

The lists come from outside: each value is checked before a class is called with it, and only classes of the table are
called.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.bounds.form import LAYER, LAYERS
from zoo.bounds.rule import CHANGED, changed_by_hooks, kind_of, no_row
from zoo.bounds.table import TABLE
from zoo.errors import CertificateError, InputError, UncertifiableLayerError, one_line


def write_layers(network: nn.Module) -> list[dict[str, Any]]:
    """The layers of a plain nn.Sequential, as they compute in evaluation mode.

    Raises UncertifiableLayerError for another type, for a layer of a type without a row, and where a hook or a method
    of its own changes one; InputError for an argument that cannot be written.
    """
    if type(network) is not nn.Sequential or changed_by_hooks(network):
        raise UncertifiableLayerError(f"only a plain nn.Sequential is written down, got {kind_of(network)}")
    return [{"name": name, **_written(name, layer)} for name, layer in network._modules.items()]


def _written(name: str, layer: nn.Module | None) -> dict[str, Any]:
    row = TABLE.get(type(layer))  # type: ignore[arg-type]
    if layer is not None and changed_by_hooks(layer):
        raise UncertifiableLayerError(f"layer {name!r} cannot be certified: {CHANGED}")
    if row is None:
        raise UncertifiableLayerError(f"layer {name!r} cannot be certified: {no_row(type(layer), TABLE)}")
    written: dict[str, Any] = {"type": type(layer).__name__}
    for key, argument in row.form.arguments.items():
        value = argument.read(layer) if argument.read else getattr(layer, key)
        if argument is LAYERS:
            value = write_layers(value)
        elif argument is LAYER:
            value = None if value is None else {"name": key, **_written(f"{name}.{key}", value)}
        else:
            value = argument.state(value)
        if not argument.is_valid(value):
            told = f"{key} is {str(value)[:40]}, expected {argument.expected}"
            raise InputError(f"layer {name!r}, a {written['type']}, cannot be written down: {told}")
        written[key] = value
    return written


def make_network(layers: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """The network of layers as `write_layers` wrote them, untrained.

    Raises CertificateError where a layer is of a type without a row, or an argument has no valid value.
    """
    try:
        return nn.Sequential(OrderedDict((layer["name"], _made(layer)) for layer in layers))
    except KeyError as error:  # nn.Module has an attribute of that name
        raise CertificateError(f"a layer has a name that it cannot have: {one_line(error)}") from error


def check_sizes(network: nn.Sequential, input_shape: Sequence[int], parameters: int, values: int) -> None:
    """Raise CertificateError where a layer of a network on the device "meta" does not fit its input, or is too large.

    parameters: the most numbers in all weights. values: the most numbers that all layers make of one image.
    """
    if sum(tensor.numel() for tensor in network.state_dict().values()) > parameters:
        raise CertificateError(f"the layers have more than {parameters:,} weights")
    x, made = torch.empty(1, *input_shape, device="meta"), 0
    for name, layer in network.eval().named_children():
        try:
            x = layer(x)
            made += x.numel()
        except Exception as error:  # what does not fit shows as errors of many types
            raise CertificateError(f"layer {name!r} does not fit its input: {one_line(error)}") from error
        if made > values:
            raise CertificateError(f"layer {name!r}: more than {values:,} numbers for an image")


def _made(written: Mapping[str, Any]) -> nn.Module:
    where, kind = f"layer {written['name']!r}", written["type"]
    forms = {of.__name__: row.form for of, row in TABLE.items()}
    if kind not in forms:
        raise CertificateError(f"{where}: no row for {kind[:40]!r} in this zoo; there are rows for {', '.join(forms)}")
    arguments, form = {}, forms[kind]
    if wrong := (set(written) - {"name", "type"}) ^ set(form.arguments):
        raise CertificateError(f"{where}, a {kind}: missing or unknown {', '.join(map(str, sorted(wrong)))[:80]}")
    for key, argument in form.arguments.items():
        value = written[key]
        if not argument.is_valid(value):
            raise CertificateError(f"{where}: {key} must be {argument.expected}, got {repr(value)[:40]}")
        if argument is LAYERS:
            arguments[key] = make_network(value)
        else:
            arguments[key] = _made(value) if argument is LAYER and value is not None else argument.make(value)
    try:
        return form.make(**arguments)
    except (ValueError, TypeError, AssertionError, RuntimeError) as error:
        raise CertificateError(f"{where} is no {kind}: {one_line(error)}") from error


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors by their names, each with memory of its own: what `model.safetensors` has.

    Raises UncertifiableLayerError for a tensor that a file of weights cannot hold.
    """
    stored = network.state_dict()
    for name, tensor in itertools.chain(network.named_parameters(), network.named_buffers()):
        if name not in stored:
            raise UncertifiableLayerError(f"{name} is not stored with the weights: register it with persistent=True")
        if tensor.layout != torch.strided or tensor.is_meta:
            kind = "on the meta device" if tensor.is_meta else "sparse"
            raise UncertifiableLayerError(f"{name} is {kind}, and cannot be stored")
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in stored.items()
        if not name.endswith("num_batches_tracked")  # which BatchNorm counts, and nothing computes with
    }
