"""What local Lipschitz bounds could gain on the published ReLU networks: python -m benchmarks.local

For each image, in the ball that its certificate proves: which ReLUs cannot change, by the proved constants of the
layers before them; the norms of the layers without the units that are off, by power iteration, hence from below; and
the gradient of the margin at the image, below which no local constant of it can be. All as shares of K, the constant
that the certificate has of the same margin. Medians over the first test images that are certified at all. Results:
benchmarks/local.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.certificate.model import CertifiedModel, cast_network
from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.data.splits import load_split
from zoo.files import write_whole
from zoo.hub.client import load
from zoo.inference.images import as_batch
from zoo.machine import machine
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
NAMES = ("2c2f-relu-crm-mnist", "4c3f-relu-mnist", "4c3f-relu-crm-mnist", "6c2f-liplt-cifar10-jpeg75")
IMAGES, STEPS = 32, 20


def measure(name: str) -> dict[str, Any]:
    info = DATASETS[find(name).dataset]
    loaded = load(name, backend="torch")
    model = cast(CertifiedModel, loaded.module)
    network = cast_network(model.network, torch.float64)
    pixels, _ = as_batch(load_split(info.name, info.test_split, IMAGES).images, loaded.input_shape)
    images = torch.from_numpy(pixels)
    outputs = model(images)
    keep = outputs.radius > 0
    images, labels, radii = images[keep].double(), outputs.label[keep], outputs.radius[keep]
    rivals = outputs.class_radii[keep].argmin(dim=1)
    constants = model.margin_lipschitz[labels, rivals]
    head = network[-1]
    assert isinstance(head, nn.Linear)
    rows = head.weight.detach()[labels] - head.weight.detach()[rivals]

    images.requires_grad_()
    logits = network(images)
    margins = logits.gather(1, labels[:, None]) - logits.gather(1, rivals[:, None])
    (gradients,) = torch.autograd.grad(margins.sum(), images)
    slopes = gradients.flatten(1).norm(dim=1)

    bounds = {layer.name: layer.lipschitz_bound for layer in loaded.certificate.layers}
    with torch.no_grad():
        x, product, shrunk = images.detach(), 1.0, torch.ones(len(images), dtype=torch.float64)
        alive = torch.ones_like(x)
        off, fixed = [], []
        layers = list(network.named_children())[:-1]
        for place, (key, layer) in enumerate(layers):
            before, x = x, layer(x)
            if isinstance(layer, nn.Linear | nn.Conv2d):
                moves = radii.reshape(-1, *[1] * (x.ndim - 1)) * product * _row_norms(layer, x)
                is_off, is_on = x + moves <= 0, x - moves >= 0
                if not isinstance(layers[place + 1][1], nn.ReLU):
                    raise ValueError(f"{name}: a ReLU is expected behind {key}")
                off.append(float(is_off.double().mean()))
                fixed.append(float((is_off | is_on).double().mean()))
                after = (~is_off).double()
                shrunk *= _norm(layer, before, alive, after) / _norm(
                    layer, before, torch.ones_like(before), after * 0 + 1
                )
                alive = after
            elif isinstance(layer, nn.Flatten):
                alive = alive.flatten(1)
            product *= bounds[key]
        local = product * shrunk * (rows * alive).norm(dim=1)
    return {
        "images": len(images),
        "radius": float(radii.median()),
        "off": off,
        "fixed": fixed,
        "norms without what is off, over whole norms": float(shrunk.median()),
        "local product over K": float((local / constants).median()),
        "best local product over K": float((local / constants).min()),
        "gradient over K": float((slopes / constants).median()),
    }


def _row_norms(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    norms = layer.weight.detach().flatten(1).norm(dim=1)
    return norms.reshape(-1, *[1] * (x.ndim - 2))


def _norm(layer: nn.Linear | nn.Conv2d, like: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The norm of diag(after) W diag(before) for each image, from below."""

    def forward(v: Tensor) -> Tensor:
        zero = layer(torch.zeros_like(v[:1]))
        return (layer(v * before) - zero) * after

    v = torch.randn(like.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    size = v.flatten(1).norm(dim=1)
    for _ in range(STEPS):
        v = v / v.flatten(1).norm(dim=1).clamp(min=1e-300).reshape(-1, *[1] * (v.ndim - 1))
        with torch.enable_grad():
            v.requires_grad_()
            image = forward(v)
            (back,) = torch.autograd.grad(image, v, image.detach())
        size, v = image.detach().flatten(1).norm(dim=1), back
    return size


def main() -> None:
    """Compare local bounds with global ones and write local.json anew."""
    rows = {name: measure(name) for name in NAMES}
    write_whole(RESULTS, json.dumps({"machine": machine(), "models": rows}, indent=1) + "\n")
    for name, row in rows.items():
        print(name, json.dumps(row))


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.local")
