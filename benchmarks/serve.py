"""The server against raw ONNX Runtime, ten thousand mixed requests to server and hub, the certificate's own cost.

`python -m benchmarks.serve` takes about ten minutes on an idle machine; `--short` a tenth of that. It needs the
extras [dev] and [serve]. Results: benchmarks/serve.json.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer

from benchmarks.graph import cut_at_logits
from tests.hostile import Request, hub_requests, requests
from tests.hub import TOKEN, HubProcess
from tests.serving import Server, serving
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.hub.client import fetch
from zoo.inference.runtime import onnx_model
from zoo.machine import machine
from zoo.publication.weights import WEIGHTS
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
EMBEDDED = ("2c2f-mnist", "liresnet-l4w32-cifar10-jpeg75")
THOUSAND = "liresnet-l4w32-imagenet"  # the smallest network with 1000 classes: the share of any other is smaller
CONCURRENCY = 8
SERVER, CLIENT = 0, 1  # cores
BLOCKS = 9  # of one measurement, whose spread shows what other processes did to it


def throughput(server: Server, name: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Batch-1 requests a second at concurrency 8 over what raw ONNX Runtime does on the same core.

    The server has one core, SERVER, and so has raw ONNX Runtime, with one thread and nobody else to serve; the load
    comes from the other core. Raw and served take turns, so that both see the same machine: each round has its
    ratio, and the spread of the rounds is the neighbours'. A request's processor time on SERVER is told beside, which
    neighbours change less than they change the clock.
    """
    folder = fetch(name)
    raw = onnx_model(folder, "float64", threads=1)
    image = np.random.default_rng(0).random((1, *folder.config.input_shape), dtype=np.float32)
    rows = []
    for _ in range(rounds):
        with on_core(SERVER):
            start, count = (time.perf_counter(), time.thread_time()), 0
            while time.perf_counter() - start[0] < seconds:
                raw.run(image)
                count += 1
            raw_rate, raw_cpu = count / (time.perf_counter() - start[0]), (time.thread_time() - start[1]) / count
        with on_core(CLIENT):
            before = server.processor_seconds()
            latencies = ask(server.host, name, image, seconds)
            cpu = (server.processor_seconds() - before) / len(latencies)
        p50, p99 = 1000 * np.percentile(latencies, [50, 99])
        rows.append((len(latencies) / seconds / raw_rate, raw_cpu / cpu, raw_rate, raw_cpu, cpu, p50, p99))
    ratio, cpu_ratio, raw_rate, raw_cpu, cpu, p50, p99 = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    return {
        "name": name,
        "served_over_raw": round(ratio, 3),
        "rounds": sorted(round(row[0], 3) for row in rows),
        "raw_per_second": round(raw_rate, 1),
        "raw_cpu_ms": round(1000 * raw_cpu, 3),
        "served_cpu_ms": round(1000 * cpu, 3),
        "raw_over_served_cpu": round(cpu_ratio, 3),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this thread, and every process that it starts, on this core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def ask(host: str, name: str, image: np.ndarray, seconds: float) -> list[float]:
    """The seconds that each answer took, over 8 connections; binary tensors of the Open Inference Protocol.

    The client costs as little as Python allows: one thread, which sends the same bytes again and reads only what it
    must.
    """
    data = image.tobytes()
    tensor = {"name": "images", "shape": image.shape, "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": len(data)}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    lines = [
        f"POST /v2/models/{name}/infer HTTP/1.1",
        f"Host: {host}",
        f"Inference-Header-Content-Length: {len(header)}",
        f"Content-Length: {len(header) + len(data)}",
    ]
    request = "\r\n".join([*lines, "", ""]).encode() + header + data
    latencies: list[float] = []
    address, _, port = host.partition(":")
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        sent: dict[Any, float] = {}
        read: dict[Any, bytes] = {}
        for _ in range(CONCURRENCY):
            connection = stack.enter_context(socket.create_connection((address, int(port))))
            selector.register(connection, selectors.EVENT_READ)
            sent[connection], read[connection] = time.perf_counter(), b""
            connection.sendall(request)
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            for connection in (key.fileobj for key, _ in selector.select(1)):
                read[connection] += connection.recv(65536)  # type: ignore[union-attr]
                head, found, body = read[connection].partition(b"\r\n\r\n")
                if found and len(body) >= int(re.findall(rb"\r\ncontent-length: (\d+)", head)[0]):
                    assert head.startswith(b"HTTP/1.1 200"), head
                    now = time.perf_counter()
                    latencies.append(now - sent[connection])
                    sent[connection], read[connection] = now, b""
                    connection.sendall(request)  # type: ignore[union-attr]
    return latencies


def mixed(server: Server, sent: Sequence[Request]) -> dict[str, Any]:
    """Valid and hostile requests from 8 threads: wrong statuses, and the memory from the first tenth on."""
    count = len(sent)
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
    graphs = {"whole": graph.read_bytes(), "cut": cut_at_logits(graph), "float32": fast}
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


def untrained(name: str, folder: Path) -> tuple[Path, bytes, tuple[int, ...]]:
    """Both graphs of an untrained network, whose tables are not proved but cost the same time."""
    import torch
    from safetensors.torch import save

    from zoo.bounds.margins import margin_tables
    from zoo.certificate.model import CertifiedModel, head_weights
    from zoo.publication.graph import write_graph

    architecture = find(name).architecture
    torch.manual_seed(0)
    network = architecture.network().requires_grad_(False).eval()
    weights = save({key: value.contiguous() for key, value in network.state_dict().items()})
    (folder / WEIGHTS).write_bytes(weights)
    tables = margin_tables(*head_weights(network), 1.0, 1.0, 1e-9)
    shape = architecture.input_shape
    for file, dtype in (("model.onnx", torch.float64), ("model.float32.onnx", torch.float32)):
        write_graph(CertifiedModel(network, tables, shape, dtype).eval(), folder / file, {})
    return folder / "model.onnx", weights, shape


def main(short: Annotated[bool, typer.Option("--short", help="A tenth of the time.")] = False) -> None:
    """Measure the server and the hub; about ten minutes on an idle machine."""
    seconds, rounds, count = (1.0, 5, 1000) if short else (3.0, 21, 10_000)
    result: dict[str, Any] = {"machine": machine(), "short": short, "concurrency": CONCURRENCY}
    with on_core(SERVER), serving(*EMBEDDED) as server:
        result["throughput"] = [throughput(server, name, seconds, rounds) for name in EMBEDDED]
        print(json.dumps(result["throughput"], indent=1), flush=True)
    with serving(*EMBEDDED) as server:
        sent = requests(EMBEDDED[0], find(EMBEDDED[0]).architecture.input_shape, count, seed=0)
        result["mixed"] = mixed(server, sent)
        print(json.dumps(result["mixed"], indent=1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        shelf = Path(folder) / "shelf"
        shutil.copytree(fetch(EMBEDDED[0]).path, shelf / EMBEDDED[0])
        with HubProcess(shelf, Path(folder) / "hub.log", token=True) as hub:
            # The hub has no gRPC, and its log is a file.
            server = Server(hub.process, f"127.0.0.1:{hub.port}", grpc="", reader=threading.Thread())
            result["mixed_hub"] = mixed(server, hub_requests(EMBEDDED[0], TOKEN, count, seed=0))
        print(json.dumps(result["mixed_hub"], indent=1), flush=True)
    result["shares"] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in (*EMBEDDED, THOUSAND):
            graph, weights, shape = untrained(name, Path(folder)) if name == THOUSAND else _published(name)
            rows = shares(graph, weights, shape, 6 * seconds)
            row = {"name": name, "classes": find(name).architecture.classes, "rows": rows}
            result["shares"].append(row)
            print(json.dumps(row, indent=1), flush=True)
    write_whole(RESULTS, json.dumps(result, indent=1) + "\n")


def _published(name: str) -> tuple[Path, bytes, tuple[int, ...]]:
    folder = fetch(name)
    return folder.graph("float64"), folder.read(WEIGHTS), folder.config.input_shape


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.serve")
