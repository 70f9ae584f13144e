"""Requests that wait for ONNX Runtime are run together.

No request is held back to wait for company: a free lane takes its share of what waits at once. Each lane is one
thread with one core; on two cores two lanes beat one run on both, because only the matrix products of the float64
graph are parallel. What a lane took it runs in batches of the size that this machine does fastest: more images in a
run save calls, until their features no longer fit its caches.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from zoo.inference.runtime import CHUNK, Run
from zoo.records import Outputs
from zoo.serve.statistics import Duration

Observe = Callable[[int, float], None]


@dataclass
class Job:
    """A request's images, its answer to come, and when it was asked and taken into a run (`time.perf_counter`)."""

    images: np.ndarray  # float32 [N, C, H, W], N <= CHUNK
    answer: asyncio.Future[Outputs]
    asked: float
    taken: float = 0.0


def fastest_batch(run: Run, input_shape: tuple[int, int, int]) -> int:
    """How many images in a run take the least time each here: doubled, up to CHUNK, as long as that saves 10 %.

    Each size up to this one has run, so the first answer will not be slower than the others.
    """
    size, least = 1, math.inf
    while size <= CHUNK:
        images = np.zeros((size, *input_shape), dtype=np.float32)
        seconds = _seconds(run, images) / size
        if seconds > 0.9 * least:
            break
        size, least = 2 * size, seconds
    return size // 2


def _seconds(run: Run, images: np.ndarray) -> float:
    """The shortest of 2 to 20 runs, as many as fit in a tenth of a second: what neighbours do only adds."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 20 and sum(times) < 0.1):
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return min(times)


class Batcher:
    """Answers each job with its own rows of runs over at most `size` images each; a job that is cancelled before a
    lane takes it is never run.

    Lives in one event loop. observe: called with the images and seconds of each run, in the lane's thread.
    """

    def __init__(self, run: Run, size: int, executor: Executor, lanes: int, observe: Observe):
        self.queued, self.served = Duration(), Duration()  # of the jobs answered: until a lane took them, and since
        self._run, self._size, self._executor, self._lanes, self._observe = run, size, executor, lanes, observe
        self._waiting: deque[Job] = deque()
        self._free = lanes

    @property
    def waiting(self) -> int:
        """Images that no lane has taken yet."""
        return sum(len(job.images) for job in self._waiting)

    async def outputs(self, images: np.ndarray) -> Outputs:
        """The outputs for these images. Raises what the run raises."""
        job = Job(images, asyncio.get_running_loop().create_future(), time.perf_counter())
        if not self._waiting:  # what arrives together runs together: after all that the loop has in its hands
            asyncio.get_running_loop().call_soon(self._fill)
        self._waiting.append(job)
        return await job.answer

    def _fill(self) -> None:
        """Gives every free lane its share of what waits."""
        while self._free and (batch := self._take()):
            self._free -= 1
            run = asyncio.get_running_loop().run_in_executor(self._executor, self._outputs, batch)
            run.add_done_callback(lambda run, batch=batch: self._finish(run, batch))

    def _take(self) -> list[Job]:
        while self._waiting and self._waiting[0].answer.done():  # its client has left, or waited too long
            self._waiting.popleft()
        share, batch, size = min(CHUNK, -(-self.waiting // self._lanes)), [], 0
        while self._waiting and (not batch or size + len(self._waiting[0].images) <= share):
            job = self._waiting.popleft()
            if not job.answer.done():
                job.taken = time.perf_counter()
                batch.append(job)
                size += len(job.images)
        return batch

    def _outputs(self, batch: list[Job]) -> Outputs:
        images = _joined([job.images for job in batch])
        parts = [self._timed(images[start : start + self._size]) for start in range(0, len(images), self._size)]
        return Outputs(*map(_joined, zip(*parts, strict=True)))

    def _timed(self, images: np.ndarray) -> Outputs:
        start = time.perf_counter()
        outputs = self._run(images)
        self._observe(len(images), time.perf_counter() - start)
        return outputs

    def _finish(self, run: asyncio.Future[Outputs], batch: list[Job]) -> None:
        self._free += 1
        self._fill()
        error, start, now = run.exception(), 0, time.perf_counter()
        for job in batch:
            rows = slice(start, start := start + len(job.images))
            if job.answer.done():
                continue
            if error is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(Outputs(*(value[rows] for value in run.result())))
                self.queued.add(job.taken - job.asked)
                self.served.add(now - job.taken)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
