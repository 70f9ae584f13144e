"""Requests that wait for ONNX Runtime are run together.

No request is held back to wait for company: a free lane takes its share of what waits at once. Each lane is one
thread with one core; on two cores two lanes beat one run on both, because only the matrix products of the float64
graph are parallel.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from zoo.records import Outputs
from zoo.runtime import CHUNK, Run

Observe = Callable[[int, float], None]


@dataclass(frozen=True)
class Job:
    images: np.ndarray  # float32 [N, C, H, W], N <= CHUNK
    answer: asyncio.Future[Outputs]


class Batcher:
    """Answers each job with its own rows of a run over at most CHUNK images; a cancelled job is never run.

    Lives in one event loop. observe: called with the images and seconds of each run.
    """

    def __init__(self, run: Run, executor: Executor, lanes: int, observe: Observe):
        self._run, self._executor, self._lanes, self._observe = run, executor, lanes, observe
        self._waiting: deque[Job] = deque()
        self._free = lanes

    @property
    def waiting(self) -> int:
        """Images that no lane has taken yet."""
        return sum(len(job.images) for job in self._waiting)

    async def outputs(self, images: np.ndarray) -> Outputs:
        """The outputs for these images. Raises what the run raises."""
        job = Job(images, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._fill()
        return await job.answer

    def _fill(self) -> None:
        """Gives every free lane its share of what waits."""
        while self._free and (batch := self._take()):
            self._free -= 1
            run = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, batch)
            run.add_done_callback(lambda run, batch=batch: self._finish(run, batch))

    def _take(self) -> list[Job]:
        while self._waiting and self._waiting[0].answer.done():  # its client has left, or waited too long
            self._waiting.popleft()
        share, batch, size = min(CHUNK, -(-self.waiting // self._lanes)), [], 0
        while self._waiting and (not batch or size + len(self._waiting[0].images) <= share):
            job = self._waiting.popleft()
            if not job.answer.done():
                batch.append(job)
                size += len(job.images)
        return batch

    def _timed(self, batch: list[Job]) -> Outputs:
        start = time.perf_counter()
        images = batch[0].images if len(batch) == 1 else np.concatenate([job.images for job in batch])
        outputs = self._run(images)
        self._observe(len(images), time.perf_counter() - start)
        return outputs

    def _finish(self, run: asyncio.Future[Outputs], batch: list[Job]) -> None:
        self._free += 1
        self._fill()
        error, start = run.exception(), 0
        for job in batch:
            rows = slice(start, start := start + len(job.images))
            if job.answer.done():
                continue
            if error is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(Outputs(*(value[rows] for value in run.result())))
