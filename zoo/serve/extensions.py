"""The Open Inference Protocol's requests besides inference: Triton's extensions, over REST and gRPC.

https://github.com/triton-inference-server/server/tree/main/docs/protocol. Settings can be read; whatever would change
the server, or let it reach into a client's memory, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.inference.runtime import CHUNK
from zoo.serve import protocol
from zoo.serve.problems import UnsupportedError
from zoo.serve.service import Served, Service

LOGGING: dict[str, bool | int | str] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}
TRACE: dict[str, str | list[str]] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
LOADING = "no model is loaded or unloaded on request: name the models when you start zoo serve"
MEMORY = "no shared memory is read or written: send tensors in the request"
STREAM = "there are no streams: ModelInfer gives the one answer of a request"


def configuration(served: Served) -> dict[str, Any]:
    """A model's configuration; its shapes leave out the number of images, which is at most `max_batch_size`."""
    told = protocol.metadata(served)
    inputs, outputs = (
        [
            {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": tensor["shape"][1:]}
            for tensor in told[key]
        ]
        for key in ("inputs", "outputs")
    )
    return {
        "name": told["name"],
        "platform": told["platform"],
        "backend": "onnxruntime",
        "max_batch_size": CHUNK,
        "input": inputs,
        "output": outputs,
        "parameters": {
            "model_digest": {"string_value": served.digest},
            "norm": {"string_value": served.model.norm},
            "unit": {"string_value": served.model.certificate.unit},
        },
    }


def statistics(service: Service, name: str = "", version: str = "") -> dict[str, Any]:
    """The counts since the start for one model, or for each. Raises UnknownModelError and NotReadyError."""
    models = [protocol.find(service, name, version)] if name else list(service.served.values())
    return {
        "model_stats": [
            {"name": served.model.name, "version": protocol.VERSION, **served.statistics.to_json()} for served in models
        ]
    }


def index(service: Service, ready: bool) -> list[dict[str, str]]:
    """Every model that is loaded and its state; with `ready`, only models that answer already."""
    state = "READY" if service.ready else "LOADING"
    return [
        {"name": name, "version": protocol.VERSION, "state": state, "reason": ""}
        for name in service.served
        if service.ready or not ready
    ]


def trace(service: Service, name: str, changes: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """The trace settings, by which nothing is traced. Raises UnsupportedError for a change."""
    if name:
        service.find(name)
    if changes:
        raise UnsupportedError("nothing is traced here: /metrics has the times of requests and runs")
    return TRACE


def logging(changes: Mapping[str, Any]) -> dict[str, bool | int | str]:
    """The log settings. Raises UnsupportedError for a change."""
    if changes:
        raise UnsupportedError("the log is fixed: one JSON object a line, on standard error")
    return LOGGING


def unsupported(method: str) -> str:
    """Why this method of the gRPC service is not offered."""
    if "SharedMemory" in method:
        return MEMORY
    return STREAM if "Stream" in method else LOADING
