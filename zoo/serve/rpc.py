"""The Open Inference Protocol over gRPC, with the same limits and the same errors as over REST."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from grpc import aio
from tritonclient.grpc import service_pb2_grpc as stubs

from zoo.errors import InputError, ZooError
from zoo.serve import extensions, protocol
from zoo.serve.problems import SlowBodyError, TokenError, UnsupportedError, status
from zoo.serve.protocol import pb
from zoo.serve.service import Service
from zoo.web import bears

OPEN = ("ServerLive", "ServerReady")  # methods that need no token, and read nothing of their messages

log = logging.getLogger("zoo.serve")


class Servicer(stubs.GRPCInferenceServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._service.ready and not self._service.draining)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(**protocol.SERVER)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        try:
            protocol.find(self._service, request.name, request.version)
        except ZooError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        served = protocol.find(self._service, request.name, request.version)
        return pb.ModelMetadataResponse(**protocol.metadata(served))

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        served = protocol.find(self._service, request.name, request.version)
        return ParseDict({"config": extensions.configuration(served)}, pb.ModelConfigResponse())

    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        counts = extensions.statistics(self._service, request.name, request.version)
        return ParseDict(counts, pb.ModelStatisticsResponse())

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        return pb.RepositoryIndexResponse(models=extensions.index(self._service, request.ready))

    async def TraceSetting(self, request: Any, context: Any) -> Any:
        settings = extensions.trace(self._service, request.model_name, request.settings)
        values = {name: {"value": [value] if isinstance(value, str) else value} for name, value in settings.items()}
        return ParseDict({"settings": values}, pb.TraceSettingResponse())

    async def LogSettings(self, request: Any, context: Any) -> Any:
        kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        settings = {name: {kinds[type(value)]: value} for name, value in extensions.logging(request.settings).items()}
        return ParseDict({"settings": settings}, pb.LogSettingsResponse())

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        served = protocol.find(self._service, request.model_name, request.model_version)
        asked = None

        def read() -> Any:
            nonlocal asked
            asked = protocol.read_message(request)
            return protocol.read_images(asked, served)

        with self._service.admitted():
            outputs = await self._service.answer(served, read, served.epsilon_size)
        assert asked is not None
        await context.send_initial_metadata((("x-model-digest", f"sha256:{served.digest}"),))
        return protocol.message_answer(asked, served, outputs, uuid.uuid4().hex)


class CallGate(aio.ServerInterceptor):
    """Checks the token, refuses what is not offered, turns our errors into statuses, and logs each call.

    Every call is handled as a stream, though it be of one message, which looks the same to the client: such a handler
    begins before the message is there. So a refused call ends at once, and another waits for its message no longer than
    the limit of seconds. What needs no token has nothing in its message, and is answered without it.
    """

    def __init__(self, service: Service, token: str | None):
        self._service, self._token = service, token

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        call = handler_call_details
        handler = await continuation(call)
        method, metadata = call.method.rpartition("/")[2], dict(call.invocation_metadata)
        if handler is None:
            return None
        allowed = self._allowed(method, metadata)

        async def answered(requests: AsyncIterator[Any], context: Any) -> Any:
            start, told, request = time.perf_counter(), "UNKNOWN", None
            try:
                if not allowed:
                    raise TokenError("send metadata authorization: Bearer TOKEN")
                if method not in vars(Servicer):
                    raise UnsupportedError(extensions.unsupported(method))
                request = None if method in OPEN else await self._message(requests, method)
                reply = await handler.unary_unary(request, context)
                told = "OK"
                return reply
            except asyncio.CancelledError:
                told = "CANCELLED"
                raise
            except ZooError as error:
                code = status(error)[1]
                told = code.name
                try:
                    await context.abort(code, str(error))
                except aio.InternalError:  # the call has ended: gRPC itself refuses what is too long once unpacked
                    told = "CANCELLED"
                    raise asyncio.CancelledError from error  # anything else gRPC would log as a fault of this server
            finally:
                seconds = time.perf_counter() - start
                self._service.metrics.requests.labels(f"grpc {method}", told).inc()
                self._service.metrics.seconds.labels(f"grpc {method}").observe(seconds)
                identity = str(getattr(request, "id", ""))[:128]
                log.info({"event": "grpc", "request_id": identity, "method": method, "status": told,
                          "seconds": round(seconds, 6)})  # fmt: skip

        def read(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError as error:  # for `_message`, which tells it as the client's mistake
                return error

        codec = {"request_deserializer": read, "response_serializer": handler.response_serializer}
        return grpc.stream_unary_rpc_method_handler(answered, **codec)

    async def _message(self, requests: AsyncIterator[Any], method: str) -> Any:
        """The call's message. Raises InputError, and SlowBodyError unless it arrives in time."""
        seconds = self._service.limits.seconds
        try:
            async with asyncio.timeout(seconds):
                request = await anext(requests)
        except TimeoutError as error:
            raise SlowBodyError(f"the message did not arrive within {seconds:g} s") from error
        except StopAsyncIteration as error:
            raise InputError(f"no message of {method} came") from error
        if isinstance(request, DecodeError):
            raise InputError(f"not a message of {method}: {request}")
        return request

    def _allowed(self, method: str, metadata: dict[str, Any]) -> bool:
        if self._token is None or method in OPEN:
            return True
        return bears(str(metadata.get("authorization", "")).encode(), self._token)


def grpc_server(service: Service, token: str | None) -> aio.Server:
    """The server, without a port yet; a message may be as long as a REST body."""
    limits = service.limits
    server = aio.server(
        interceptors=[CallGate(service, token)],
        options=[
            ("grpc.max_receive_message_length", limits.body),
            ("grpc.max_metadata_size", 16 * 2**10),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=limits.queue,
    )
    stubs.add_GRPCInferenceServiceServicer_to_server(Servicer(service), server)
    return server
