"""How tight the proved bounds are, and what proving them costs: python -m benchmarks.bounds [NAME...]

Without names it measures `PRESETS`. Each is certified in a process of its own, which has a peak memory of its own, and
each row is written to benchmarks/bounds.json at once. The networks have the weights with which `training` starts
(linear residuals at the identity, constrained layers at 1, all others orthogonal, residual branches at 0) plus normal
noise of size 0.02. `bound / estimate` compares the bound with power iteration, which lies below the truth; for the
network it is the product over the body's layers.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.shell import run_script
from zoo.errors import ZooError
from zoo.files import write_whole
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
PRESETS = (
    *("2c2f-mnist", "4c3f-mnist", "6c2f-cifar10", "8c2f-tiny-imagenet", "convnet-l4w32-cifar10", "cpl-xs-cifar10"),
    *("kwlarge-cayley-cifar10", "lbdn-cifar10", "lipconvnet-5-cifar10", "lipconvnet-5-lot-cifar10"),
    *("lipconvnet-5w8-cifar10", "liresnet-l12w512-cifar10", "liresnet-l4w32-cifar10", "liresnet-l6w128-cifar10"),
    *("mlp-two-moons", "olsa-ffn-l4w32-cifar10", "resnet-l4w32-cifar10", "sll-xs-cifar10", "sortnet-6x5120-cifar10"),
    "spatialmlp-liffn-l4w32-cifar10",
)
NOISE = 0.02
SETTLE = 5  # evaluations of the constraints, in each of which some make a step of power iteration


def measure(name: str) -> dict[str, Any]:
    """One certification in this process."""
    import torch

    from training.constraints import converge_norms, folded_state
    from training.layers import constrain
    from zoo.certificate.certify import certify
    from zoo.machine import machine

    entry = find(name)
    torch.manual_seed(0)
    constrained = constrain(entry.architecture.network(), entry.architecture)
    with torch.no_grad():
        for parameter in constrained.parameters():
            parameter.add_(NOISE * torch.randn_like(parameter))
        converge_norms(constrained, SETTLE)
        state = folded_state(constrained)
    network = entry.architecture.network().requires_grad_(False).eval()
    network.load_state_dict(state)
    del constrained, state
    start, started = time.perf_counter(), time.process_time()
    certificate = certify(network, entry.architecture.input_shape, entry.norm, architecture=entry.architecture)
    seconds, busy = time.perf_counter() - start, time.process_time() - started
    ratios = [layer.lipschitz_bound / layer.lipschitz_estimate for layer in certificate.layers if layer.proof] or [1.0]
    product = 1.0
    for ratio in ratios:
        product *= ratio
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),  # of all threads: what is left of a timing on a busy machine
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "layers": len(certificate.layers),
        "bound": certificate.body_lipschitz,
        "bound_over_estimate": {
            "network": round(product, 6),
            **{f"layer_{word}": round(pick(ratios), 6) for word, pick in PICKS.items()},
        },
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "load_before": LOAD,
    }


PICKS = {"min": min, "median": statistics.median, "max": max}
LOAD = round(os.getloadavg()[0], 1)  # of the whole machine; above 0.5 the seconds are too many


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="`PRESETS` without.")] = None,
    one: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure how tight the bounds of registered models are, and what proving them costs."""
    if one:
        print(json.dumps(measure(one)))
        return
    for name in names or ():
        find(name)
    rows = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    for name in names or PRESETS:
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.bounds", "--one", name], stdout=subprocess.PIPE, text=True
        )
        if child.returncode:
            raise ZooError(f"{name}: not certified, see above")
        rows[name] = json.loads(child.stdout)
        write_whole(RESULTS, json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
        tight = rows[name]["bound_over_estimate"]
        print(
            f"{name:36} {rows[name]['seconds']:7.1f} s {rows[name]['peak_mib']:6} MiB   bound / estimate: network "
            f"{tight['network']:.4f}, layers {tight['layer_min']:.4f} {tight['layer_median']:.4f} "
            f"{tight['layer_max']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.bounds")
