"""The counts of a model since the start of the server, for the Open Inference Protocol's statistics extension."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass
class Duration:
    """How often something was done, and how long all of it took."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    def to_json(self) -> dict[str, int]:
        return {"count": self.count, "ns": round(1e9 * self.seconds)}


class Statistics:
    """Counts of one model. Only `ran` may be called outside the thread of the event loop.

    queue, compute_infer: what the model's batcher counts, by the protocol's names.
    """

    def __init__(self, queue: Duration, compute_infer: Duration) -> None:
        self.queue, self.compute_infer = queue, compute_infer
        self.success, self.fail, self.compute_input = Duration(), Duration(), Duration()
        self.images = 0
        self.last = 0.0  # seconds since 1970
        self._runs: dict[int, Duration] = {}
        self._lock = threading.Lock()

    def answered(self, images: int, seconds: float) -> None:
        self.success.add(seconds)
        self.images += images
        self.last = time.time()

    def ran(self, images: int, seconds: float) -> None:
        """Counts one run of the graph over this many images; any thread may call it."""
        with self._lock:
            self._runs.setdefault(images, Duration()).add(seconds)

    def to_json(self) -> dict[str, Any]:
        """The fields of the protocol's ModelStatistics, without name and version.

        `compute_output` is 0, because outputs are views of what the graph wrote.
        """
        with self._lock:
            runs = {images: duration.to_json() for images, duration in sorted(self._runs.items())}
        durations = {
            name: getattr(self, name).to_json()
            for name in ("success", "fail", "queue", "compute_input", "compute_infer")
        }
        nothing = {"count": 0, "ns": 0}
        return {
            "last_inference": round(1000 * self.last),
            "inference_count": self.images,
            "execution_count": sum(run["count"] for run in runs.values()),
            "inference_stats": {
                **durations,
                "compute_output": {"count": self.success.count, "ns": 0},
                "cache_hit": nothing,
                "cache_miss": nothing,
            },
            "batch_stats": [
                {
                    "batch_size": images,
                    "compute_input": {"count": run["count"], "ns": 0},
                    "compute_infer": run,
                    "compute_output": {"count": run["count"], "ns": 0},
                }
                for images, run in runs.items()
            ],
        }
