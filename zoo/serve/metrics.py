"""What the server counts, for Prometheus at `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server. The certified fraction is zoo_certified_images_total / zoo_images_total."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("zoo_requests", "Answers by route and status", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "zoo_request_seconds", "From the first byte to the last", ["route"], buckets=SECONDS, registry=registry
        )
        self.active = Gauge("zoo_active_requests", "Accepted and not yet answered", registry=registry)
        self.waiting = Gauge("zoo_queue_images", "Images that wait for a batch", ["model"], registry=registry)
        self.batch = Histogram(
            "zoo_batch_images", "Images that ran together", ["model"], buckets=IMAGES, registry=registry
        )
        self.run_seconds = Histogram(
            "zoo_batch_seconds", "One run of the graph", ["model"], buckets=SECONDS, registry=registry
        )
        self.images = Counter("zoo_images", "Images answered", ["model"], registry=registry)
        self.certified = Counter(
            "zoo_certified_images", "Of these, certified at the epsilon asked for", ["model"], registry=registry
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
