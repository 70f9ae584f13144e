"""The models that a server answers for, and the way from a picture or a tensor to an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np
from prometheus_client import Counter

from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, UnknownModelError
from zoo.hub.client import fetch
from zoo.inference.images import MAX_IMAGE_BYTES
from zoo.inference.runtime import Model, onnx_model
from zoo.machine import cores
from zoo.records import Outputs, aim
from zoo.serve.batching import Batcher, fastest_batch
from zoo.serve.metrics import Metrics
from zoo.serve.problems import BusyError, LateError, NotReadyError
from zoo.serve.statistics import Statistics

P = ParamSpec("P")
T = TypeVar("T")
SMALL = 64 * 2**10  # bytes of a body that is parsed in the event loop, not in a thread
HELD_BYTES = 512 * 2**20  # the most of all request bodies together


@dataclass(frozen=True)
class Limits:
    """What one client may ask of the server."""

    seconds: float = 30.0  # for a header to arrive, for a body, and for an answer
    queue: int = 128  # requests accepted and not yet answered
    body: int = MAX_IMAGE_BYTES * 4 // 3 + SMALL  # bytes: enough for the largest picture as base64


@dataclass(frozen=True)
class Served:
    """A loaded model with its queue."""

    model: Model
    batcher: Batcher
    digest: str  # sha256 of model.onnx, which has those of its weights and certificate in it
    epsilon: str  # what the model was made for; "certified" in an answer means this unless another is asked for
    epsilon_size: float
    statistics: Statistics
    images: Counter
    certified: Counter


class Service:
    """Loads models, admits requests and answers them; one event loop, one thread for each core."""

    def __init__(self, limits: Limits, metrics: Metrics):
        self.limits, self.metrics = limits, metrics
        self.served: dict[str, Served] = {}
        self.ready = False
        self.draining = False
        self.held = 0  # bytes of the bodies that are being read or answered
        self.accepted = self.answered = 0
        self._lanes = cores()
        self._runners = ThreadPoolExecutor(self._lanes, "run")
        # Pictures are decoded in other threads than those of the runs, so that large ones hold up no other request.
        self._decoders = ThreadPoolExecutor(self._lanes, "decode")

    def load(self, name: str) -> tuple[Model, int]:
        """The checked model after some runs, and the size of batch at which it is fastest. Raises ZooError."""
        model = onnx_model(fetch(name), "float64", threads=1)
        return model, fastest_batch(model.run, model.input_shape)

    def add(self, model: Model, batch: int) -> None:
        """Serve this model from now on, in runs of `batch` images. Raises InputError if its name is taken."""
        if model.name in self.served:
            raise InputError(f"two models are called {model.name}: serve each name once")
        images, seconds = self.metrics.batch.labels(model.name), self.metrics.run_seconds.labels(model.name)

        def observe(size: int, duration: float) -> None:
            images.observe(size)
            seconds.observe(duration)
            statistics.ran(size, duration)

        batcher = Batcher(model.run, batch, self._runners, self._lanes, observe)
        statistics = Statistics(batcher.queued, batcher.served)
        self.metrics.waiting.labels(model.name).set_function(lambda: batcher.waiting)
        epsilon = aim(model.config, model.evaluation)
        self.served[model.name] = Served(
            model,
            batcher,
            model.evaluation.graph_sha256,
            epsilon,
            parse_epsilon(epsilon),
            statistics,
            self.metrics.images.labels(model.name),
            self.metrics.certified.labels(model.name),
        )

    def find(self, name: str) -> Served:
        """The model of this name. Raises UnknownModelError, and NotReadyError until all models are loaded."""
        if not self.ready:
            raise NotReadyError("the models are being loaded: wait for /v2/health/ready")
        if name not in self.served:
            raise UnknownModelError(f"no model {name[:80]!r} is served here, only {', '.join(self.served)}")
        return self.served[name]

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts one request from its headers to its answer. Raises BusyError where the queue is full."""
        if self.accepted - self.answered >= self.limits.queue:
            raise BusyError(f"{self.limits.queue} requests are waiting already: try again")
        self.accepted += 1
        self.metrics.active.inc()
        try:
            yield
        finally:
            self.answered += 1
            self.metrics.active.dec()

    async def apart(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """The function's result, computed in another thread. Raises what it raises, and LateError if it takes long."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                work = partial(function, *arguments, **options)
                return await asyncio.get_running_loop().run_in_executor(self._decoders, work)
        except TimeoutError as error:
            raise self._late() from error

    async def answer(
        self, served: Served, read: Callable[[], np.ndarray], epsilon: float, small: bool = False
    ) -> Outputs:
        """The outputs for the images that `read` decodes, in another thread unless they are small.

        Raises InputError if they cannot be read, LateError if there is no answer in time.
        """
        start, statistics = time.perf_counter(), served.statistics
        try:
            async with asyncio.timeout(self.limits.seconds):
                loop = asyncio.get_running_loop()
                images = read() if small else await loop.run_in_executor(self._decoders, read)
                decoded = time.perf_counter()
                outputs = await served.batcher.outputs(images)
        except BaseException as error:
            statistics.fail.add(time.perf_counter() - start)
            if isinstance(error, TimeoutError):
                raise self._late() from error
            raise
        statistics.compute_input.add(decoded - start)
        statistics.answered(len(images), time.perf_counter() - start)
        served.images.inc(len(images))
        served.certified.inc(int(np.count_nonzero(outputs.radius > epsilon)))
        return outputs

    def _late(self) -> LateError:
        return LateError(f"no answer within {self.limits.seconds:g} s: try again later")

    def close(self) -> None:
        for pool in (self._runners, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)
