"""Our certificates beside other tools, on the same weights and images: python -m benchmarks.peers [NAME...]

For each published l2 model of `NAMES`, or each one named:

* the constant of the body, the product over its layers: our bound; 500 steps of power iteration in float32 for each
  layer, which is how the public LiResNet code evaluates, and which lies below the truth; the Gram iteration of Delattre
  et al. 2024 as orthogonium has it, for the layers that it applies to (an upper bound but for float32's rounding); the
  largest local stretch at test images that deel-torchlip finds, which lies below the truth as well;
* the share of the first test images that is right and certified at the model's epsilon, and the time of an image: our
  graph, float64; auto_LiRPA's CROWN for the l2 ball, fed with the layers as plain convolutions, and the normalisation
  as one of them; the time that randomised smoothing needs with 1,000 and 100,000 samples, from the time of the float32
  graph at 32 images a run.

Results: benchmarks/peers.json; a model that is not measured anew stays as it was. What is not installed is left out:
`pip install orthogonium deel-torchlip git+https://github.com/Verified-Intelligence/auto_LiRPA`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from zoo.certificate.certify import certify
from zoo.certificate.model import CertifiedModel, cast_network
from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.data.splits import load_split
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.files import write_whole
from zoo.hub.client import load
from zoo.inference.images import as_batch
from zoo.layers import MinMax, Pixels
from zoo.machine import machine
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
NAMES = ("2c2f-mnist", "4c3f-mnist", "liresnet-l4w32-cifar10-jpeg75", "6c2f-cifar10-jpeg75")
IMAGES, CROWN_IMAGES, STEPS = 1000, 5, 500

Row = dict[str, Any]


def main(names: Annotated[list[str] | None, typer.Argument(metavar="NAME")] = None) -> None:
    """Measure these models, or those of the list."""
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {"models": {}}
    for name in names or NAMES:
        results["models"][name] = row = _measure(name)
        results["machine"] = f"{machine()}, one thread"
        write_whole(RESULTS, json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(row), flush=True)


def _measure(name: str) -> Row:
    entry = find(name)
    if entry.norm != "l2":
        raise InputError(f"{name} certifies in {entry.norm}, the others here do so in l2")
    model = load(name)
    info, epsilon = DATASETS[entry.dataset], parse_epsilon(entry.epsilon)
    split = load_split(info.name, info.test_split, IMAGES)
    images, labels = as_batch(split.images, model.input_shape)[0], split.labels
    module = cast(CertifiedModel, load(name, backend="torch").module)
    network = cast_network(module.network, torch.float32)
    return {
        "epsilon": entry.epsilon,
        "constant": _constants(network, model.input_shape, torch.from_numpy(images[:2])),
        "images": _certified(name, images, labels, epsilon)
        | (_crown(network, images, labels, epsilon) if find_spec("auto_LiRPA") else {}),
    }


# The body's constant --------------------------------------------------------------------------------------------------


def _constants(network: nn.Sequential, shape: tuple[int, ...], images: Tensor) -> Row:
    """Each method's constant over our bound, of the body or of the layers that it applies to, and its CPU time."""
    certificate, seconds = _timed(lambda: certify(network, shape))
    rows: Row = {"ours, proved": {"K": certificate.body_lipschitz, "seconds": seconds}}
    layers = [
        (layer, bound.lipschitz_bound, bound.input_shape)
        for (_, layer), bound in zip(network.named_children(), certificate.layers, strict=False)
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    estimates, seconds = _timed(lambda: [_power_iteration(layer, size) / bound for layer, bound, size in layers])
    rows[f"power iteration, {STEPS} steps"] = _ratios(estimates, seconds)
    plain = [(layer, bound) for layer, bound, _ in layers if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1)]
    if plain and find_spec("orthogonium"):
        from orthogonium.layers.conv.singular_values.delattre24 import compute_delattre2024  # pyright: ignore

        grams, seconds = _timed(
            lambda: [float(compute_delattre2024(layer.weight, 4)) / bound for layer, bound in plain]
        )
        rows["Gram iteration, stride 1 only (orthogonium)"] = _ratios(grams, seconds)
    if find_spec("deel"):
        from deel.torchlip.utils.evaluate_lip_const import evaluate_lip_const  # pyright: ignore

        def largest() -> float:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it found
                return float(evaluate_lip_const(network[:-1], images, "jacobian_norm"))

        found, seconds = _timed(largest)
        rows["largest Jacobian at 2 test images (deel-torchlip)"] = _ratios(
            [found / certificate.body_lipschitz], seconds
        )
    return rows


def _ratios(ratios: list[float], seconds: float) -> Row:
    return {"over ours": math.prod(ratios), "least of a layer": min(ratios), "layers": len(ratios), "seconds": seconds}


def _power_iteration(layer: nn.Linear | nn.Conv2d, shape: tuple[int, ...]) -> float:
    """From one random vector, in float32, without a test of convergence."""
    vector = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))

    def apply(x: Tensor) -> Tensor:
        if isinstance(layer, nn.Linear):
            return functional.linear(x, layer.weight)
        return functional.conv2d(x, layer.weight, None, layer.stride, layer.padding)

    norm = 0.0
    for _ in range(STEPS):
        vector = (vector / vector.norm()).requires_grad_(True)
        image = apply(vector)
        norm = float(image.detach().norm())
        (vector,) = torch.autograd.grad(image, vector, image.detach())
    return norm


# One image ------------------------------------------------------------------------------------------------------------


def _certified(name: str, images: np.ndarray, labels: np.ndarray, epsilon: float) -> Row:
    model, quick = load(name), load(name, precision="float32")
    outputs, seconds = _timed(lambda: model.outputs(images))
    share = float(((outputs.label == labels) & (outputs.radius > epsilon)).mean())
    forward = min(_timed(lambda: quick.run(images[:32]))[1] for _ in range(20)) / 32
    return {
        "ours, proved": {"certified": share, "of": len(images), "seconds": float(f"{seconds / len(images):.3g}")},
        "randomised smoothing, 1,000 samples": {"seconds": float(f"{1_000 * forward:.3g}")},
        "randomised smoothing, 100,000 samples": {"seconds": float(f"{100_000 * forward:.3g}")},
    }


class Pairs(nn.Module):
    """MinMax in what a linear relaxation knows, fixed matrices and ReLU: (b + relu(a - b), a - relu(a - b))."""

    def __init__(self, layer: MinMax, shape: torch.Size):
        super().__init__()
        numbers = torch.arange(shape[1])
        first, second = layer.split(numbers[None, :, None])
        unit = torch.eye(shape[1])
        swap = unit.clone()
        first, second = first.flatten(), second.flatten()
        swap[torch.cat([first, second])] = unit[torch.cat([second, first])]
        excess = unit[first] - unit[second]
        self.swap, self.excess, self.back = (
            nn.Parameter(matrix.reshape(*matrix.shape, *(1 for _ in shape[2:])), requires_grad=False)
            for matrix in (swap, excess, excess.T.contiguous())
        )
        self.product = functional.linear if len(shape) == 2 else functional.conv2d

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.swap) + self.product(torch.relu(self.product(x, self.excess)), self.back)


def _plain(network: nn.Sequential, image: Tensor) -> nn.Sequential:
    """The network on pixels that are in [0, 1] already, its normalisation as a 1 x 1 convolution."""
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, Pixels):
            first = nn.Conv2d(len(layer.mean), len(layer.mean), 1)
            with torch.no_grad():
                first.weight.copy_(torch.diag(layer.scale)[:, :, None, None])
                first.bias.copy_(-layer.mean * layer.scale)  # type: ignore[union-attr]
            layers.append(first)
        else:
            layers.append(Pairs(layer, image.shape) if isinstance(layer, MinMax) else layer)
        image = layer(image)
    return nn.Sequential(*layers).eval()


def _crown(network: nn.Sequential, images: np.ndarray, labels: np.ndarray, epsilon: float) -> Row:
    from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm  # pyright: ignore

    points = torch.from_numpy(images[:CROWN_IMAGES])
    plain = _plain(network, points[:1])
    assert torch.allclose(plain(points), network(points), atol=1e-4)
    bounded = BoundedModule(plain, points[:1], verbose=False)
    classes = int(plain(points[:1]).shape[1])

    def least_margin(point: Tensor, label: int) -> float:
        rows = torch.eye(classes)[label] - torch.eye(classes)[[other for other in range(classes) if other != label]]
        ball = BoundedTensor(point, PerturbationLpNorm(norm=2, eps=epsilon))
        lower, _ = bounded.compute_bounds(x=(ball,), C=rows[None], method="CROWN", bound_upper=False)
        return float(lower.detach().min())

    margins, seconds = [], 0.0
    for point, label in zip(points.split(1), labels[:CROWN_IMAGES].tolist(), strict=True):
        margin, spent = _timed(lambda point=point, label=label: least_margin(point, label))
        margins.append(margin)
        seconds += spent
    share = sum(margin > 0 for margin in margins) / len(margins)
    return {
        "CROWN (auto_LiRPA)": {
            "certified": share,
            "of": len(margins),
            "seconds": float(f"{seconds / len(margins):.3g}"),
        }
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the CPU time that it took, in three digits."""
    began = time.process_time()
    result = call()
    return result, float(f"{time.process_time() - began:.3g}")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.peers")
