"""What certifying costs as a network grows: python -m benchmarks.growth

LiResNets with random weights; width, depth, the side of the picture and the number of classes grow one at a time from
32, 4, 32 and 10. CPU time and added memory of `zoo.certify`, each in a process of its own. Each row is written to
benchmarks/growth.json when it is measured; with names, --only width, the others stay as they are.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from zoo.architectures.liresnet import LiResNet
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.machine import machine

RESULTS = Path(__file__).with_suffix(".json")
Field = Literal["width", "depth", "input_size", "classes"]
SIZES: dict[Field, tuple[int, ...]] = {
    "width": (16, 32, 64, 128),
    "depth": (2, 4, 8, 16),
    "input_size": (28, 32, 64, 224),
    "classes": (10, 100, 1000),
}


def measure(field: str, value: int) -> dict[str, Any]:
    """One certification in this process."""
    import torch

    from zoo.certificate.certify import certify

    torch.manual_seed(0)
    torch.set_num_threads(1)
    chosen = replace(LiResNet(depth=4, width=32), **{field: value})
    network = chosen.network().requires_grad_(False).eval()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    certify(network, chosen.input_shape)
    spent = time.process_time() - began
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"cpu_seconds": round(spent, 2), "added_mib": round(added / 1024)}


def main(
    only: Annotated[Field | None, typer.Option(help="What grows.")] = None,
    one: Annotated[str | None, typer.Option(hidden=True, help="FIELD=VALUE")] = None,
) -> None:
    """Measure every size, anew."""
    if one:
        field, value = one.split("=")
        print(json.dumps(measure(field, int(value))))
        return
    rows: dict[str, dict[str, Any]] = json.loads(RESULTS.read_bytes())["sizes"] if RESULTS.exists() else {}
    fields: list[Field] = [only] if only else list(SIZES)
    for field in fields:
        for value in SIZES[field]:
            command = [sys.executable, "-m", "benchmarks.growth", "--one", f"{field}={value}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.setdefault(field, {})[str(value)] = json.loads(done.stdout)
            print(f"{field} {value}: {done.stdout.strip()}", flush=True)
            write_whole(RESULTS, json.dumps({"machine": f"{machine()}, one thread", "sizes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.growth")
