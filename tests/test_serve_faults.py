"""What clients do wrong, on purpose or not, and what SIGTERM does: nobody else notices, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from PIL import Image

import zoo
from tests.hostile import requests
from tests.serving import MNIST, ROOT, Server, serving
from zoo.data import samples
from zoo.errors import InputError
from zoo.inference.runtime import CHUNK
from zoo.records import Outputs
from zoo.serve.batching import Batcher, fastest_batch
from zoo.serve.metrics import Metrics
from zoo.serve.problems import BusyError, NotReadyError
from zoo.serve.rpc import CallGate
from zoo.serve.service import Limits, Service

CERTIFY = f"/v1/models/{MNIST}/certify"
SECONDS = 0.7
BEARER = "Bearer of-the-secret-token"
TOKEN = {"Authorization": BEARER}


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


DIGIT = png(samples.digit(3))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for nobody: one request at a time, 0.7 s, a token."""
    file = tmp_path_factory.mktemp("strict") / "token"
    file.write_text(f"{BEARER.removeprefix('Bearer ')}\n")
    with serving(MNIST, "--timeout", str(SECONDS), "--queue", "1", "--token-file", str(file)) as running:
        yield running


def name_soon(client: Any) -> str:
    """The served model's name: the place of a call in the queue is free soon after its answer."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return client.get_model_metadata(MNIST, headers={"authorization": BEARER}).name
        except tritonclient.grpc.InferenceServerException as error:
            if "Concurrent RPC limit exceeded" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def converse(server: Server, *parts: bytes, pause: float = 0.0) -> bytes:
    """Everything that the server says to these bytes until it closes the connection."""
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:  # it has closed already
                break
            time.sleep(pause)
        said = b""
        while block := connection.recv(65536):
            said += block
    return said


def head(length: int) -> bytes:
    lines = [f"POST {CERTIFY} HTTP/1.1", "Host: x", f"Authorization: {BEARER}", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def test_the_token_is_asked_for(strict: Server):
    assert strict.request("GET", "/v2/health/live")[0] == 200
    assert strict.request("GET", "/docs")[0] == 200
    for path in ("/v1/models", "/metrics", f"/v2/models/{MNIST}"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": BEARER.removeprefix("Bearer ")}):
            status, answered, _ = strict.request("GET", path, headers=headers)
            assert (status, answered["www-authenticate"]) == (401, "Bearer")
        assert strict.request("GET", path, headers=TOKEN)[0] == 200
    assert strict.request("POST", CERTIFY, DIGIT)[0] == 401
    assert strict.request("POST", CERTIFY, DIGIT, TOKEN)[0] == 200
    with tritonclient.grpc.InferenceServerClient(strict.grpc) as client:
        assert client.is_server_live()
        with pytest.raises(tritonclient.grpc.InferenceServerException, match="UNAUTHENTICATED"):
            client.get_model_metadata(MNIST)
        assert name_soon(client) == MNIST


@pytest.mark.parametrize(
    ("method", "token", "code", "told"),
    [
        ("ModelMetadata", None, "UNAUTHENTICATED", "send metadata authorization"),
        ("ModelStreamInfer", None, "UNAUTHENTICATED", "send metadata authorization"),
        ("ModelMetadata", BEARER, "DEADLINE_EXCEEDED", f"the message did not arrive within {SECONDS:g} s"),
        ("ModelStreamInfer", BEARER, "UNIMPLEMENTED", "there are no streams"),
        ("ServerLive", None, "OK", ""),
        ("ServerReady", None, "OK", ""),
    ],
)
def test_a_call_whose_message_never_comes(strict: Server, method: str, token: str | None, code: str, told: str):
    """It does not keep its place in the queue, which has one."""
    left = threading.Event()

    def nothing() -> Iterator[bytes]:
        left.wait()
        yield from ()

    metadata = (("authorization", token),) if token else ()
    with grpc.insecure_channel(strict.grpc) as channel:
        path = f"/inference.GRPCInferenceService/{method}"
        # A stream of no messages: what the server sees of a call is the same for both kinds of methods.
        call = channel.stream_unary(path, bytes, bytes).future(nothing(), metadata=metadata)
        try:
            error = call.exception(timeout=20)
            assert (call.code().name, told in str(call.details())) == (code, True), error
        finally:
            left.set()
            call.cancel()
    with tritonclient.grpc.InferenceServerClient(strict.grpc) as client:
        assert name_soon(client) == MNIST


def test_a_call_that_ends_without_a_message(strict: Server):
    with grpc.insecure_channel(strict.grpc) as channel:
        ask = channel.stream_unary("/inference.GRPCInferenceService/ModelMetadata", bytes, bytes)
        with pytest.raises(grpc.RpcError) as told:
            ask(iter(()), metadata=(("authorization", BEARER),))
    call: Any = told.value
    assert (call.code().name, call.details()) == ("INVALID_ARGUMENT", "no message of ModelMetadata came")


def test_one_byte_a_second(strict: Server):
    slow_body = ThreadPoolExecutor(4)
    first = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    later = [slow_body.submit(converse, strict, first, *parts, pause=1.0) for parts in ([b"G", b"E"], [b"\r\n"])]
    body = slow_body.submit(converse, strict, head(100), *[b"x"] * 3, pause=1.0)
    header = slow_body.submit(converse, strict, *[b"P", b"O", b"S"], pause=1.0)
    assert body.result().startswith(b"HTTP/1.1 408 ")
    assert header.result().startswith(b"HTTP/1.1 408 ")
    for said in later:  # the first request is answered, the next one ended
        assert said.result().startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in said.result()
    assert strict.request("POST", CERTIFY, DIGIT, TOKEN)[0] == 200


def test_the_queue_has_an_end(strict: Server):
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(converse, strict, head(100), pause=0.0)
        time.sleep(SECONDS / 3)
        status, headers, body = strict.request("POST", CERTIFY, DIGIT, TOKEN)
        assert (status, headers["retry-after"]) == (429, "1")
        assert "waiting" in json.loads(body)["error"]
        assert strict.request("GET", "/v2/health/ready")[0] == 200
        slow.result()
    assert strict.request("POST", CERTIFY, DIGIT, TOKEN)[0] == 200


def test_no_answer_in_time(strict: Server):
    side = 7900  # 62 million pixels in 60 KB take longer to decode than the server waits
    status, _, body = strict.request("POST", CERTIFY, png(Image.new("RGB", (side, side))), TOKEN)
    assert (status, "no answer within 0.7 s" in json.loads(body)["error"]) == (504, True)


def test_long_bodies_and_headers(server: Server):
    told = converse(server, head(10**9), b"x" * 10**6)
    assert told.startswith(b"HTTP/1.1 413 ")
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"  # 1 MiB each, without a Content-Length
    start = f"POST {CERTIFY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert converse(server, start, *[chunk] * 48).startswith(b"HTTP/1.1 413 ")
    giant = b"GET / HTTP/1.1\r\nX: " + b"x" * 2**20
    assert converse(server, *[giant[start : start + 2**15] for start in range(0, len(giant), 2**15)], pause=0.005)[
        :13
    ] == (b"HTTP/1.1 431 ")


def test_valid_and_hostile_requests_mixed(server: Server):
    mixed, logged = requests(MNIST, (1, 28, 28), 400, seed=1), len(server.log)

    def send(connection_requests: list) -> list[tuple[str, int, frozenset[int]]]:
        results = []
        for kind, method, path, headers, body, allowed in connection_requests:
            status, _, _ = server.request(method, path, body, headers)
            results.append((kind, status, allowed))
        return results

    with ThreadPoolExecutor(8) as pool:
        results = [result for part in pool.map(send, (mixed[start::8] for start in range(8))) for result in part]
    wrong = [(kind, status) for kind, status, allowed in results if status not in allowed]
    assert len(results) == 400
    assert wrong == []
    server.request("GET", "/v2/health/live", headers={"X-Request-Id": "the-last"})
    assert server.logged(logged, request_id="the-last")
    assert {line["level"] for line in server.log[logged:]} == {"info"}
    assert server.process.poll() is None


def test_sigterm_under_load_loses_no_accepted_request():
    answered: list[int] = []
    broken: list[str] = []
    with serving(MNIST) as server:

        def load() -> None:
            connection = HTTPConnection(server.host, timeout=30)
            while True:
                try:
                    connection.request("POST", CERTIFY, DIGIT)
                    response = connection.getresponse()
                except (OSError, HTTPException):  # refused, or closed before it was sent: not accepted
                    return
                try:
                    json.loads(response.read())["radius"]
                    answered.append(response.status)
                except (OSError, HTTPException, ValueError, KeyError) as error:
                    broken.append(repr(error))

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        code = server.stop()
        for thread in threads:
            thread.join()
    drained = next(line for line in server.log if line["event"] == "drained")
    assert code == 0
    assert broken == []
    assert len(answered) > 20
    assert set(answered) == {200}
    assert drained["accepted"] == drained["answered"] == len(answered)


def test_live_before_ready():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "zoo", "serve", MNIST, "--port", str(port), "--grpc-port", "0"]
    seen: set[tuple[int, int]] = set()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while (200, 200) not in seen and process.poll() is None:
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=10)
                statuses = []
                for path in ("/v2/health/live", "/v2/health/ready"):
                    connection.request("GET", path)
                    response = connection.getresponse()
                    response.read()
                    statuses.append(response.status)
                seen.add((statuses[0], statuses[1]))
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
        process.terminate()
    assert seen == {(200, 503), (200, 200)}


def test_a_mistake_ends_the_command_with_one_line():
    def ended(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "zoo", "serve", *arguments]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        return process.returncode, process.stderr

    code, told = ended("2c2f-mnst")
    assert (code, told.count("\n"), "did you mean 2c2f-mnist" in told) == (2, 1, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, told = ended(MNIST, "--port", str(taken.getsockname()[1]))
    assert (code, told.count("\n"), "is in use: choose another --port" in told) == (2, 1, True)


def rows(images: np.ndarray) -> Outputs:
    return Outputs(*(images[:, 0, 0, 0] + offset for offset in range(5)))


def batch_of(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)


def test_a_batcher_runs_together_what_waits_and_answers_each_its_own():
    sizes = []
    gate = threading.Event()

    def run(images: np.ndarray) -> Outputs:
        sizes.append(len(images))
        gate.wait(5)
        return rows(images)

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(run, CHUNK, pool, 1, lambda size, seconds: None)
            tasks = [asyncio.create_task(batcher.outputs(batch_of(value, value + 0.5))) for value in (0, 1)]
            await asyncio.sleep(0.05)
            tasks += [asyncio.create_task(batcher.outputs(batch_of(value, value + 0.5))) for value in range(2, 20)]
            await asyncio.sleep(0.05)
            assert batcher.waiting == 36
            tasks[3].cancel()
            gate.set()
            for value, outputs in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
                if value == 3:
                    assert isinstance(outputs, asyncio.CancelledError)
                else:
                    assert isinstance(outputs, Outputs)
                    assert outputs.radius.tolist() == [value + 2, value + 2.5]

    asyncio.run(scenario())
    assert sizes == [4, 32, 2]  # what came together, at once; as many as may; the rest, without the one that left


def test_what_a_lane_took_runs_in_batches_of_the_fastest_size():
    sizes = []

    def run(images: np.ndarray) -> Outputs:
        sizes.append(len(images))
        return rows(images)

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(run, 3, pool, 1, lambda size, seconds: None)
            outputs = await batcher.outputs(batch_of(*range(8)))
            assert outputs.label.tolist() == [value + 1 for value in range(8)]

    asyncio.run(scenario())
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [(lambda n: n, 1), (lambda n: 1, CHUNK), (lambda n: 1 + n + n**2, 1), (lambda n: 8 + n + n**2 / 8, 8)],
)
def test_the_fastest_batch_is_found(monkeypatch, seconds, fastest):
    clock = [0.0]
    monkeypatch.setattr("zoo.serve.batching.time.perf_counter", lambda: clock[0])

    def run(images: np.ndarray) -> Outputs:
        clock[0] += seconds(len(images))
        return rows(images)

    assert fastest_batch(run, (1, 1, 1)) == fastest


def test_a_run_that_fails_fails_its_own_requests_only():
    async def scenario() -> None:
        def run(images: np.ndarray) -> Outputs:
            if images[0, 0, 0, 0] == 1:
                raise ValueError("broken")
            return rows(images)

        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(run, CHUNK, pool, 1, lambda size, seconds: None)
            with pytest.raises(ValueError, match="broken"):
                await batcher.outputs(batch_of(1))
            assert (await batcher.outputs(batch_of(2))).logits.tolist() == [2]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (None, None, "OK"),
        (asyncio.CancelledError(), asyncio.CancelledError, "CANCELLED"),
        (ValueError(), ValueError, "UNKNOWN"),
        (InputError(), asyncio.CancelledError, "CANCELLED"),  # which gRPC, unlike any other error, takes in silence
    ],
)
def test_a_call_is_counted_as_what_it_came_to(
    error: BaseException | None, raised: type[BaseException] | None, status: str
):
    """An error of ours is answered, unless the call has ended before: then nothing is, without a traceback."""

    async def call(request: object, context: object) -> str:
        if error is not None:
            raise error
        return "reply"

    async def scenario() -> None:
        async def found(details: object) -> object:
            return grpc.unary_unary_rpc_method_handler(call)

        details = SimpleNamespace(method="/inference.GRPCInferenceService/ServerLive", invocation_metadata=())
        handler = await CallGate(service, None).intercept_service(found, details)
        await handler.stream_unary(None, Mock(abort=AsyncMock(side_effect=grpc.aio.InternalError)))

    service = Service(Limits(), Metrics())
    with pytest.raises(raised) if raised is not None else nullcontext():
        asyncio.run(scenario())
    assert service.metrics.requests.labels("grpc ServerLive", status)._value.get() == 1
    service.close()


def test_a_model_is_served_at_the_epsilon_that_it_was_made_for():
    service = Service(Limits(), Metrics())
    for name, epsilon in (("2c2f-mnist", "0.3"), ("4c3f-mnist", "1.58"), ("linfdist-5x256-mnist", "0.3")):
        service.add(zoo.load(name), 1)
        assert service.served[name].epsilon == epsilon
        assert service.served[name].epsilon_size == float(epsilon)
    service.close()


def test_a_service_admits_and_finds():
    service = Service(Limits(queue=2), Metrics())
    with pytest.raises(NotReadyError):
        service.find(MNIST)
    with service.admitted():
        with service.admitted(), pytest.raises(BusyError), service.admitted():
            pass
        with service.admitted():
            pass
    assert (service.accepted, service.answered) == (4 - 1, 4 - 1)
    service.close()
