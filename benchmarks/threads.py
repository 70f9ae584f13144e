"""What threads, and how they wait, cost on a machine that others use too: python -m benchmarks.threads [OUTPUT]

Each setting computes in a process of its own, in turns, so that other processes slow all settings down alike; the
record has the load averages before and after. Training: steps of LiResNet L4W32 without its estimate, batch 64.
Prediction: one image in ONNX Runtime, float64, with as many threads as cores. Figures are medians of the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.machine import cores, machine

RESULTS = Path(__file__).with_suffix(".json")
MODEL = "liresnet-l4w32-cifar10-jpeg75"
ROUNDS, SECONDS = 3, 3.0
ALL = str(cores())
TRAINING = {
    "default": {},
    "as many as cores, passive": {"OMP_NUM_THREADS": ALL, "OMP_WAIT_POLICY": "PASSIVE"},
    "as many as cores, GOMP_SPINCOUNT=1000": {"OMP_NUM_THREADS": ALL, "GOMP_SPINCOUNT": "1000"},
    "one": {"OMP_NUM_THREADS": "1"},
}
PREDICTION = {"spinning": "1", "not spinning": "0"}
OURS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def train() -> float:
    """Images a second."""
    import torch
    from torch.nn import functional as F

    from zoo.registry import find

    torch.manual_seed(0)
    network = find(MODEL).architecture.network().to(memory_format=torch.channels_last)
    images, labels = torch.rand(64, 3, 32, 32).contiguous(memory_format=torch.channels_last), torch.arange(64) % 10

    def step() -> None:
        F.cross_entropy(network(images), labels).backward()
        network.zero_grad()

    step()
    return 64 * _rate(step)


def predict(spinning: str) -> float:
    """Predictions a second, with as many threads as cores."""
    import numpy as np
    import onnxruntime

    from zoo.hub.client import fetch
    from zoo.inference.runtime import onnx_session

    options = onnxruntime.SessionOptions

    class Chosen(options):
        def add_session_config_entry(self, key: str, value: str) -> None:
            super().add_session_config_entry(key, spinning if key.endswith("allow_spinning") else value)

    onnxruntime.SessionOptions = Chosen
    session = onnx_session(fetch(MODEL), "float64", threads=int(ALL))
    image = np.full((1, 3, 32, 32), 0.5, np.float32)

    def run() -> None:
        session.run(None, {"images": image})

    run()
    return _rate(run)


def _rate(step: Callable[[], None]) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        step()
        count += 1
    return count / (time.perf_counter() - start)


def measure(kind: str, setting: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    call = "train()" if kind == "train" else f"predict({PREDICTION[setting]!r})"
    command = [
        sys.executable,
        "-c",
        f"from benchmarks.threads import *; print({call})",
    ]  # and nothing else sets threads
    chosen = TRAINING[setting] if kind == "train" else {}
    done = subprocess.run(command, env=environment | chosen, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(output: Annotated[Path, typer.Argument(help="Where to write.")] = RESULTS) -> None:
    """Measure training and prediction with each setting of threads."""
    kinds = [("train", name) for name in TRAINING] + [("predict", name) for name in PREDICTION]
    before = os.getloadavg()[0]
    rounds = [{kind: measure(*kind) for kind in kinds} for _ in range(ROUNDS)]
    medians = {kind: round(statistics.median(row[kind] for row in rounds), 1) for kind in kinds}
    report = {
        "command": "python -m benchmarks.threads",
        "machine": machine(),
        "load_average": [round(before, 1), round(os.getloadavg()[0], 1)],
        "rounds": ROUNDS,
        "training, images/s": {name: value for (kind, name), value in medians.items() if kind == "train"},
        "predictions/s": {name: value for (kind, name), value in medians.items() if kind == "predict"},
    }
    write_whole(output, json.dumps(report, indent=1) + "\n")
    print(output.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.threads")
