"""The server against raw ONNX Runtime, ten thousand mixed requests, and what the certificate's nodes cost.

`python -m benchmarks.serve` takes about ten minutes on an idle machine; `--short` a tenth of that. It needs the
extras [dev] and [serve]. Results: benchmarks/serve.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks.hostile import requests
from tests.serving import Server, serving
from zoo.evaluate import machine
from zoo.folder import WEIGHTS
from zoo.hub import fetch
from zoo.registry import find
from zoo.runtime import onnx_model

RESULTS = Path(__file__).with_suffix(".json")
EMBEDDED = ("2c2f-mnist", "liresnet-l4w32-cifar10-jpeg75")
THOUSAND = "liresnet-l4w32-imagenet"  # the smallest network with 1000 classes: the share of any other is smaller
CONCURRENCY = 8
BLOCKS = 9  # of one measurement: their spread is the neighbours'
SHORT = "--short" in sys.argv


def throughput(server: Server, name: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Batch-1 requests a second at concurrency 8: raw and served in turns, so that both see the same machine.

    Raw is the faster of ONNX Runtime's own number of threads for each run, and of one. The served figure includes
    the client, which runs on the same cores in a process of its own.
    """
    folder = fetch(name)
    raw = {threads: onnx_model(folder, "float64", threads=threads) for threads in (None, 1)}
    image = np.random.default_rng(0).random((1, *folder.config.input_shape), dtype=np.float32)
    rows = []
    for _ in range(rounds):
        fastest = max(_rate(lambda model=model: model.run(image), seconds) for model in raw.values())
        command = [sys.executable, "-m", "benchmarks.serve", "--client", server.host, name, str(seconds)]
        child = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append((fastest, child["rate"], child))
    median = statistics.median_low([served / fastest for fastest, served, _ in rows])
    fastest, served, child = next(row for row in rows if row[1] / row[0] == median)
    return {
        "name": name,
        "raw_per_second": round(fastest, 1),
        "served_per_second": round(served, 1),
        "served_over_raw": round(median, 3),
        "rounds": [round(served / fastest, 3) for fastest, served, _ in rows],
        "p50_ms": child["p50_ms"],
        "p99_ms": child["p99_ms"],
    }


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second from 8 threads."""
    call()
    end = time.perf_counter() + seconds

    def work(_: int) -> int:
        count = 0
        while time.perf_counter() < end:
            call()
            count += 1
        return count

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return sum(pool.map(work, range(CONCURRENCY))) / seconds


def client(host: str, name: str, seconds: float) -> dict[str, float]:
    """Requests a second over 8 connections, binary tensors of the Open Inference Protocol."""
    shape = [1, *find(name).architecture.input_shape]
    image = np.random.default_rng(0).random(shape, dtype=np.float32).tobytes()
    tensor = {"name": "images", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(image)}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        connection = HTTPConnection(host)
        while (start := time.perf_counter()) < end:
            connection.request("POST", f"/v2/models/{name}/infer", header + image, headers)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, answer
            latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"rate": len(latencies) / seconds, "p50_ms": round(1000 * p50, 2), "p99_ms": round(1000 * p99, 2)}


def mixed(server: Server, name: str, count: int) -> dict[str, Any]:
    """Valid and hostile requests from 8 threads: wrong statuses, and the memory from the first tenth on."""
    sent = requests(name, find(name).architecture.input_shape, count, seed=0)
    memory: list[int] = []

    def send(part: list[Any]) -> list[tuple[str, int, bool]]:
        results = []
        for kind, method, path, headers, body, allowed in part:
            status = server.request(method, path, body, headers)[0]
            results.append((kind, status, status in allowed))
        return results

    results: list[tuple[str, int, bool]] = []
    for start in range(0, count, count // 20):
        block = sent[start : start + count // 20]
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for part in pool.map(send, [block[first::CONCURRENCY] for first in range(CONCURRENCY)]):
                results += part
        memory.append(server.resident() // 2**20)
    settled = memory[1:]
    return {
        "name": name,
        "requests": len(results),
        "statuses": dict(sorted(Counter(str(status) for _, status, _ in results).items())),
        "wrong": dict(Counter(f"{kind}: {status}" for kind, status, right in results if not right)),
        "resident_mib": memory,
        "resident_max_over_after_a_tenth": round(max(settled) / settled[0], 3),
        "alive": server.process.poll() is None,
    }


def shares(graph: Path, weights: bytes, shape: tuple[int, ...], seconds: float) -> list[dict[str, Any]]:
    """Time of the whole graph against the same graph cut at its logits, one thread, batch 1 and 64.

    Each of BLOCKS blocks runs the graphs in turns, and counts the processor time of this thread, from which a
    neighbour can take nothing but cache: the fastest tenth is the graph's own. The share is the median of the blocks'.
    """
    fast = graph.with_name("model.float32.onnx").read_bytes()
    graphs = {"whole": graph.read_bytes(), "cut": _cut(graph), "float32": fast}
    sessions = {key: _session(value, weights) for key, value in graphs.items()}
    rows = []
    for batch in (1, 64):
        images = {"images": np.random.default_rng(0).random((batch, *shape), dtype=np.float32)}
        blocks = [_block(sessions, images, seconds / BLOCKS) for _ in range(BLOCKS)]
        ratios = sorted(block["whole"] / block["cut"] - 1 for block in blocks)
        took = {key: statistics.median(block[key] for block in blocks) for key in sessions}
        rows.append(
            {
                "batch": batch,
                "whole_ms": round(1000 * took["whole"], 4),
                "cut_at_logits_ms": round(1000 * took["cut"], 4),
                "certificate_share": round(statistics.median(ratios), 4),
                "blocks": [round(ratio, 4) for ratio in ratios],
                "float64_over_float32": round(took["whole"] / took["float32"], 2),
            }
        )
    return rows


def _block(
    sessions: dict[str, onnxruntime.InferenceSession], images: dict[str, np.ndarray], seconds: float
) -> dict[str, float]:
    """Seconds of processor time of one run of each session."""
    times: dict[str, list[float]] = {key: [] for key in sessions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["whole"]) < 5:
        for key, session in sessions.items():
            session.run(None, images)  # so that each finds its own weights in the cache, not its neighbour's
            start = time.thread_time()
            session.run(None, images)
            times[key].append(time.thread_time() - start)
    return {key: float(np.quantile(values, 0.1)) for key, values in times.items()}


def _session(graph: bytes, weights: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _cut(path: Path) -> bytes:
    """The graph with what the logits do not need taken away."""
    model = onnx.load(path, load_external_data=False)
    needed, kept = {"logits"}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    outputs = [output for output in model.graph.output if output.name == "logits"]
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.node[:], model.graph.output[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(reversed(kept))
    model.graph.output.extend(outputs)
    model.graph.initializer.extend(initializers)
    return model.SerializeToString()


def untrained(name: str, folder: Path) -> tuple[Path, bytes, tuple[int, ...]]:
    """Both graphs of an untrained network, with tables of some numbers: what they cost is that of proved ones."""
    import torch
    from safetensors.torch import save

    from zoo.bounds.margins import margin_tables
    from zoo.model import CertifiedModel, head_weights
    from zoo.onnx import write_graph

    architecture = find(name).architecture
    torch.manual_seed(0)
    network = architecture.network().requires_grad_(False).eval()
    weights = save({key: value.contiguous() for key, value in network.state_dict().items()})
    (folder / WEIGHTS).write_bytes(weights)
    tables = margin_tables(*head_weights(network), 1.0, 1.0, 1e-9)
    for file, dtype in (("model.onnx", torch.float64), ("model.float32.onnx", torch.float32)):
        write_graph(CertifiedModel(network, tables, dtype).eval(), architecture.input_shape, folder / file, {})
    return folder / "model.onnx", weights, architecture.input_shape


def main() -> None:
    seconds, rounds, count = (1.0, 3, 1000) if SHORT else (10.0, 7, 10_000)
    result: dict[str, Any] = {"machine": machine(), "short": SHORT, "concurrency": CONCURRENCY}
    with serving(*EMBEDDED) as server:
        result["throughput"] = [throughput(server, name, seconds, rounds) for name in EMBEDDED]
        print(json.dumps(result["throughput"], indent=1), flush=True)
    with serving(*EMBEDDED) as server:
        result["mixed"] = mixed(server, EMBEDDED[0], count)
        print(json.dumps(result["mixed"], indent=1), flush=True)
    result["shares"] = []
    with tempfile.TemporaryDirectory() as folder:
        graphs = [(name, (lambda name=name: _published(name))) for name in EMBEDDED]
        for name, load in [*graphs, (THOUSAND, lambda: untrained(THOUSAND, Path(folder)))]:
            row = {"name": name, "classes": find(name).architecture.classes, "rows": shares(*load(), 2 * seconds)}
            result["shares"].append(row)
            print(json.dumps(row, indent=1), flush=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def _published(name: str) -> tuple[Path, bytes, tuple[int, ...]]:
    folder = fetch(name)
    return folder.graph("float64"), folder.read(WEIGHTS), folder.config.input_shape


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        print(json.dumps(client(sys.argv[2], sys.argv[3], float(sys.argv[4]))))
    else:
        main()
