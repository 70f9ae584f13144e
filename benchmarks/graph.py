"""The proved float64 graph beside the float32 graph of the same network: time and memory.

    python -m benchmarks.graph [NAME ...] [--threads 1]

For published models, and for liresnet-l12w512-cifar10 with random weights, it measures on 1, 8 and 32 images the time
of the float64 graph, run as `zoo.load` runs it with at most eight images at a time, over the time of the float32 graph
with all optimisations and all images in one run; the share of that time that comes after the logits; and the resident
memory that a float64 session adds to a process of its own. Times are the least of several runs in turns, in CPU time of
the calling thread if one thread computes. Results: benchmarks/graph.json, where a model that is not measured anew, or
with another number of threads, stays as it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import torch
import typer

from zoo.bounds.margins import MarginTables
from zoo.certificate.model import CertifiedModel
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.hub.client import fetch
from zoo.inference.runtime import RUN
from zoo.machine import machine
from zoo.publication.folder import GRAPHS
from zoo.publication.graph import write_graph
from zoo.publication.network import load_module
from zoo.publication.publish import weight_files
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
LARGE = "liresnet-l12w512-cifar10"
BATCHES, SECONDS = (1, 8, 32), 8  # of measuring each batch: at least five turns
NAMES = (
    LARGE, "liresnet-l6w128-cifar10-jpeg75", "liresnet-l4w32-cifar10-jpeg75", "6c2f-cifar10-jpeg75", "4c3f-mnist",
    "cpl-xs-cifar10-jpeg75", "lipconvnet-5w8-cifar10-jpeg75",
)  # fmt: skip
TABLE = [(name, 1) for name in NAMES] + [(name, 2) for name in NAMES[:3]]  # and their threads


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; the table of docs/performance.md where none is.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the models that are named.")] = 1,
    memory: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Time the certified graph beside the float32 graph, and measure the memory that it takes."""
    if memory is not None:
        print(json.dumps(_resident(memory)))
        return
    results: dict[str, Any] = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {"models": {}}
    for name, used in [(name, threads) for name in names] if names else TABLE:
        row = _measure(name, used)
        results["models"][name if used == 1 else f"{name}, {used} threads"] = row
        results["machine"] = f"{machine()}, load {os.getloadavg()[0]:.1f}"
        results["onnxruntime"] = onnxruntime.__version__
        write_whole(RESULTS, json.dumps(results, indent=1) + "\n")


def _measure(name: str, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = _models(name, folder)
        start = time.process_time()
        write(models, folder)
        row: dict[str, Any] = {"seconds to write both graphs": round(time.process_time() - start, 2)}
        shape = models["float64"].input_shape
        (folder / "logits.onnx").write_bytes(cut_at_logits(folder / "model.onnx"))
        row["MiB of the float64 graph's constants"] = round((folder / "model.onnx").stat().st_size / 2**20, 2)
        everything = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        sessions = {
            "float32": _session(folder / GRAPHS["float32"], threads, everything),
            "float64": _session(folder / GRAPHS["float64"], threads, basic),
            "logits": _session(folder / "logits.onnx", threads, basic),
        }
        clock = time.thread_time if threads == 1 else time.perf_counter
        for batch in BATCHES:
            images = np.random.default_rng(0).random((batch, *shape), dtype=np.float32)
            least = dict.fromkeys(sessions, float("inf"))
            ends, turns = time.monotonic() + SECONDS, 0
            while turns < 5 or time.monotonic() < ends:
                turns += 1
                for kind, session in sessions.items():
                    size = batch if kind == "float32" else RUN
                    began = clock()
                    for start in range(0, batch, size):
                        session.run(None, {"images": images[start : start + size]})
                    least[kind] = min(least[kind], clock() - began)
            row[f"{batch} images"] = {
                "float32 ms": round(1e3 * least["float32"] / batch, 3),
                "float64 / float32": round(least["float64"] / least["float32"], 2),
                "of it the certificate": round(1 - least["logits"] / least["float64"], 3),
            }
        command = [sys.executable, "-m", "benchmarks.graph", "--memory", str(folder / "model.onnx")]
        row["MiB of the session"] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    print(name, json.dumps(row), flush=True)
    return row


def _models(name: str, folder: Path) -> dict[str, CertifiedModel]:
    """A model in both precisions, whose weights are written into the folder; the large one has random ones."""
    if name == LARGE:
        return random_models(name, folder)
    published = fetch(name)
    for file, content in published.weights().items():
        (folder / file).write_bytes(content)
    return {precision: load_module(published, precision) for precision in GRAPHS}


def random_models(name: str, folder: Path) -> dict[str, CertifiedModel]:
    """A registered model of random weights, which are written into the folder, and tables of ones, by precision."""
    architecture = find(name).architecture
    network = architecture.network().requires_grad_(False).eval()
    for file, content in weight_files(network.state_dict(), None).items():
        (folder / file).write_bytes(content)
    tables = MarginTables(*2 * [np.ones((architecture.classes, architecture.classes))])
    shape = architecture.input_shape
    return {precision: CertifiedModel(network, tables, shape, getattr(torch, precision)) for precision in GRAPHS}


def write(models: dict[str, CertifiedModel], folder: Path) -> None:
    """Write the graphs beside the weights."""
    for precision, file in GRAPHS.items():
        write_graph(models[precision], folder / file, {})


def cut_at_logits(path: Path) -> bytes:
    """The graph without the nodes that only the radii need."""
    model = onnx.load(path, load_external_data=False)
    graph, needed, nodes = model.graph, {"logits"}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.output[1:], graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(kept)
    return model.SerializeToString()


def _session(path: Path, threads: int, level: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.graph_optimization_level = threads, level
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def _resident(path: Path) -> float:
    """MiB that a session of the graph and a run of RUN images add to this process."""
    before = _rss()
    session = _session(path, 1, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
    shape = session.get_inputs()[0].shape[1:]
    session.run(None, {"images": np.zeros((RUN, *shape), np.float32)})
    return round((_rss() - before) / 2**20, 1)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.graph")
