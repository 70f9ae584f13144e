"""LipLT's time by depth, its constants against the product's, and CRM's table 2: python -m benchmarks.liplt [FOLDER...]

A FOLDER is that of a training run, or a published one. Results: benchmarks/liplt.json, where a section that is not
measured again stays as it was.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import load_file
from torch import nn

from training.layers import weight_of
from zoo.bounds.liplt import liplt
from zoo.bounds.margins import compared_constants
from zoo.certificate.certify import certify
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.layers import Pixels
from zoo.machine import machine
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
DEPTHS = (4, 8, 16, 32)
# Mean over all pairs of classes, as the paper prints them: L_ij, L_i + L_j, sqrt(2) L.
PAPER = {
    "mnist": {"product": [266.08, 1285.18, 2759.63], "LipLT": [64.10, 212.68, 419.83]},
    "cifar10": {"product": [93.52, 131.98, 139.75], "LipLT": [11.26, 18.30, 23.43]},
    "tiny-imagenet": {"product": [313.62, 485.62, 2057.00], "LipLT": [9.46, 14.77, 60.37]},
}


def dense(depth: int) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """`depth` layers of 256 units on 256 pixels."""
    layers: list[nn.Module] = [Pixels([0.0], [1.0]), nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10)), (1, 16, 16)


def convolutional(depth: int) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """`depth` convolutions of 8 channels on 8 x 8 pixels."""
    layers: list[nn.Module] = [Pixels([0.0], [1.0])]
    for number in range(depth):
        layers += [nn.Conv2d(8 if number else 1, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10)), (1, 8, 8)


def growth() -> list[dict[str, Any]]:
    rows = []
    for make in (dense, convolutional):
        for depth in DEPTHS:
            torch.manual_seed(0)
            net, shape = make(depth)
            for layer in net:
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight)
            certificate = certify(net, shape)
            start = time.process_time()
            table = liplt(net, certificate.layers)
            seconds = time.process_time() - start
            rows.append(
                {
                    "network": make.__name__,
                    "depth": depth,
                    "cpu_seconds": round(seconds, 2),
                    "cpu_seconds_a_layer": round(seconds / depth, 3),
                    "product": certificate.body_lipschitz,
                    "LipLT": table.body,
                }
            )
            print(rows[-1])
    return rows


def trained(folder: Path) -> dict[str, Any]:
    """Means over all pairs of classes of L_ij, L_i + L_j and sqrt(2) L, for the weights in a folder."""
    described = next(folder / name for name in ("config.json", "recipe.json") if (folder / name).exists())
    name = json.loads(described.read_bytes())["name"]
    weights = next(folder / file for file in ("model.safetensors", "weights.safetensors") if (folder / file).exists())
    entry = find(name)
    net = entry.architecture.network()
    net.load_state_dict(load_file(weights))
    certificate = certify(net, entry.architecture.input_shape, architecture=entry.architecture)
    table = None if certificate.pairwise is None else liplt(net, certificate.layers)
    head = weight_of(net[-1]).detach().double().numpy()
    constants = compared_constants(head, certificate.body_lipschitz, table)
    pairs = np.tril_indices(len(head), -1)
    means = {rule: round(float(constant[pairs].mean()), 3) for rule, constant in constants.items()}
    row = {"name": name, "means": means, "paper": PAPER.get(entry.dataset), "LipLT applies": table is not None}
    print(row)
    return row


def main(
    folders: Annotated[list[Path] | None, typer.Argument(help="Runs for table 2; growth where none is.")] = None,
) -> None:
    """Measure LipLT and write it into liplt.json."""
    results = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    results["machine"] = machine()
    if folders:
        results["table 2"] = [trained(folder) for folder in folders]
    else:
        results["growth"] = growth()
    write_whole(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.liplt")
