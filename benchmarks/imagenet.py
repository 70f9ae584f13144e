"""ImageNet's shape: liresnet-l12w588 at 224 pixels and 1,000 classes with random weights, both graphs.

    python -m benchmarks.imagenet [--threads 2] [--provider CPUExecutionProvider] [--images 16]

Images a second of the float64 graph and of the float32 graph, in batches as `zoo.load` makes them, after one batch that
does not count; beside the floor of the arithmetic: the multiplications and additions of the plain network, divided by
the rate of PyTorch's matrix product in the same precision with as many threads (on CPUs only). On an accelerator,
`--provider CUDAExecutionProvider --images 50000` takes as many images as the validation split has; float64 there is a
measurement of time and not a proof: the proof speaks of a CPU. Results: benchmarks/imagenet.json, a row for each graph,
provider and number of threads.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.graph import random_models, write
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.inference.runtime import RUN
from zoo.machine import machine
from zoo.publication.folder import GRAPHS
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
NAME = "liresnet-l12w588-imagenet"
SIDE = 2048  # of the matrices whose product gives the floor's rate


def main(
    threads: Annotated[int, typer.Option(min=1)] = 2,
    provider: Annotated[str, typer.Option(help="Of ONNX Runtime.")] = "CPUExecutionProvider",
    images: Annotated[int, typer.Option(min=1, help="How many to time.")] = 16,
) -> None:
    """Measure both graphs."""
    if provider not in onnxruntime.get_available_providers():
        available = ", ".join(onnxruntime.get_available_providers())
        raise typer.BadParameter(f"this ONNX Runtime has no {provider}; it has {available}")
    results: dict[str, Any] = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    operations = operations_of_an_image()
    with tempfile.TemporaryDirectory() as scratch:
        models = random_models(NAME, Path(scratch))
        write(models, Path(scratch))
        shape = models["float64"].input_shape
        del models
        for precision, file in GRAPHS.items():
            row = {"images/s": round(_rate(Path(scratch) / file, precision, shape, threads, provider, images), 3)}
            if provider == "CPUExecutionProvider":
                row["floor images/s"] = round(product_rate(precision, threads) / operations, 3)
            row |= {"images": images, "machine": f"{machine()}, load {os.getloadavg()[0]:.1f}"}
            key = f"{precision}, {provider.removesuffix('ExecutionProvider')}, {threads} threads"
            results[key] = row
            print(key, json.dumps(row), flush=True)
            write_whole(RESULTS, json.dumps(results, indent=1) + "\n")


def operations_of_an_image() -> int:
    """Multiplications and additions of the plain network, as PyTorch counts them, without computing."""
    architecture = find(NAME).architecture
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        architecture.network().eval()(torch.empty(1, *architecture.input_shape))
    return counter.get_total_flops()


def product_rate(precision: str, threads: int) -> float:
    """Multiplications and additions a second of PyTorch's matrix product, the best of five."""
    torch.set_num_threads(threads)
    matrix = torch.rand(SIDE, SIDE, dtype=getattr(torch, precision))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best


def _rate(path: Path, precision: str, shape: tuple[int, ...], threads: int, provider: str, images: int) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if precision == "float32" else level.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(path, options, [provider])
    batch = np.random.default_rng(0).random((min(RUN, images), *shape), dtype=np.float32)
    session.run(None, {"images": batch})
    began = time.perf_counter()
    for start in range(0, images, len(batch)):
        session.run(None, {"images": batch[: images - start]})
    return images / (time.perf_counter() - began)


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.imagenet")
