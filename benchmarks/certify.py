"""Seconds and peak memory to certify an untrained network of each size: python benchmarks/certify.py NAME...

Each model runs in a process of its own, so that its peak memory is its own. Results: benchmarks/certify.json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).with_suffix(".json")
NAMES = ("liresnet-l6w128-cifar10", "liresnet-l12w512-cifar10")


def measure(name: str) -> dict[str, object]:
    """One certification in this process."""
    import torch

    from zoo.certify import certify
    from zoo.registry import find

    entry = find(name)
    torch.manual_seed(0)
    network = entry.architecture.network()
    for layer in network:
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels == layer.out_channels:
            with torch.no_grad():  # as trained blocks are: the identity and something small
                torch.nn.init.dirac_(layer.weight).add_(0.02 * torch.randn_like(layer.weight))
    start = time.perf_counter()
    certificate = certify(network, name, entry.architecture, "0" * 64)
    seconds = time.perf_counter() - start
    estimate = 1.0
    for layer in certificate.layers:
        estimate *= layer.lipschitz_estimate
    return {
        "name": name,
        "seconds": round(seconds, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
        "bound_over_estimate": round(certificate.body_lipschitz / estimate, 6),
    }


def main(names: list[str]) -> None:
    from zoo.evaluate import machine

    rows = []
    for name in names or NAMES:
        child = subprocess.run([sys.executable, __file__, "--one", name], check=True, capture_output=True, text=True)
        rows.append(json.loads(child.stdout))
        print(rows[-1])
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
