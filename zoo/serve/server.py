"""From `zoo serve` to the last answer: listen, load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TextIO

import orjson
import uvicorn

from zoo.errors import InputError
from zoo.serve.app import application
from zoo.serve.gate import Gate
from zoo.serve.metrics import Metrics
from zoo.serve.rpc import grpc_server
from zoo.serve.service import Limits, Service
from zoo.web import Connection, in_url, listener

# After SIGTERM the server still answers for this long, no longer ready and each answer with "connection: close", so
# that clients learn that connections will close, and load balancers choose another server.
DRAIN_SECONDS = 1.0
BACKLOG = 2048
FLUSH_SECONDS = 0.1  # a killed server loses at most the log of this time

log = logging.getLogger("zoo.serve")


class Buffered(logging.StreamHandler[TextIO]):
    """Writes to stderr when flushed, and for warnings: a write for each request would cost a sixth of its time."""

    def __init__(self) -> None:
        stderr = os.fdopen(sys.stderr.fileno(), "w", encoding="utf-8", closefd=False)
        super().__init__(stderr)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + "\n")
            if record.levelno > logging.INFO:
                self.flush()
        except Exception:
            self.handleError(record)

    async def keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            with suppress(OSError):  # the reader of the log has gone
                self.flush()


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        told = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        if record.exc_info:
            told = {**told, "traceback": self.formatException(record.exc_info)}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return orjson.dumps({"time": time, "level": record.levelname.lower(), **told}).decode()


class Server(uvicorn.Server):
    """A uvicorn server that does not handle signals, which `serve_models` does."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def run_server(serving: Coroutine[Any, Any, None]) -> None:
    """Run `serve_models` in the server's event loop, with its log on stderr."""
    handler = Buffered()
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    # Do not look up what the log does not show (logging HOWTO, "Optimization").
    logging._srcfile = None  # type: ignore[attr-defined]
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would warn of what clients send
    factory = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        flushing = runner.get_loop().create_task(handler.keep_flushing())
        runner.run(serving)
        flushing.cancel()


async def serve_models(
    names: Sequence[str],
    host: str,
    port: int,
    grpc_port: int,
    token: str | None,
    limits: Limits,
    announce: Callable[[Sequence[str], str, str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, and then until every accepted request is answered.

    announce: called when ready, with the models' names, the URL and the gRPC address. Raises ZooError.
    """
    service, stop, loop = Service(limits, Metrics()), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = listener(host, port, BACKLOG)
    try:
        listener(host, grpc_port, BACKLOG, "--grpc-port").close()  # gRPC itself would not say why it cannot
    except InputError:
        listening.close()
        raise
    http = Server(
        uvicorn.Config(
            Gate(application(service), service, token),
            http=partial(Connection, seconds=limits.seconds),  # type: ignore[arg-type]  a class, to uvicorn
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            backlog=BACKLOG,
            timeout_keep_alive=65,  # longer than proxies keep theirs
            timeout_graceful_shutdown=int(2 * limits.seconds) + 1,
        )
    )
    rpc = grpc_server(service, token)
    where = in_url(host)
    try:
        grpc_port = rpc.add_insecure_port(f"{where}:{grpc_port}")
    except RuntimeError as error:
        listening.close()
        raise InputError(f"cannot listen on {host} port {grpc_port} for gRPC") from error
    running = asyncio.create_task(http.serve(sockets=[listening]))
    await rpc.start()
    try:
        loading = asyncio.create_task(_load(service, names))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((loading, stopped, running), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading
            service.ready = True
            announce(list(service.served), f"http://{where}:{listening.getsockname()[1]}", f"{where}:{grpc_port}")
            log.info({"event": "ready", "models": list(service.served)})
            await stopped
            service.draining = True
            log.info({"event": "draining", "active": service.accepted - service.answered})
            await asyncio.sleep(DRAIN_SECONDS)
        stopped.cancel()
        loading.cancel()
    finally:
        http.should_exit = True
        await asyncio.gather(running, rpc.stop(grace=2 * limits.seconds))
        service.close()
    log.info({"event": "drained", "accepted": service.accepted, "answered": service.answered})


async def _load(service: Service, names: Sequence[str]) -> None:
    """Loads and warms up each model, while the server is live but not ready."""
    for name in names:
        model, batch = await asyncio.to_thread(service.load, name)
        service.add(model, batch)
        log.info({"event": "loaded", "model": model.name, "images_in_a_run": batch})
