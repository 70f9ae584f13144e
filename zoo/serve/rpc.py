"""The Open Inference Protocol over gRPC, with the same limits and the same errors as over REST."""

from __future__ import annotations

import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from zoo import __version__
from zoo.errors import InputError, UnknownModelError, ZooError
from zoo.serve import protocol
from zoo.serve.service import BusyError, LateError, NotReadyError, Served, Service

from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # isort: skip  after zoo.serve.protocol, see there
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs  # isort: skip

STATUS: dict[type[ZooError], grpc.StatusCode] = {
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    BusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotReadyError: grpc.StatusCode.UNAVAILABLE,
    LateError: grpc.StatusCode.DEADLINE_EXCEEDED,
}

log = logging.getLogger("zoo.serve")


class Servicer(stubs.GRPCInferenceServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._service.ready and not self._service.draining)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(name="certified-zoo", version=__version__)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=self._service.ready and request.name in self._service.served)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        return pb.ModelMetadataResponse(**protocol.metadata(self._find(request.name, request.version)))

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        served = self._find(request.model_name, request.model_version)
        asked = None

        def read() -> Any:
            nonlocal asked
            asked = _request(request)
            return protocol.read_images(asked, served.model.input_shape)

        with self._service.admitted():
            outputs = await self._service.answer(served, read, served.epsilon_size)
        assert asked is not None
        await context.send_initial_metadata((("x-model-digest", f"sha256:{served.digest}"),))
        return protocol.grpc_answer(asked, served, outputs, uuid.uuid4().hex)

    def _find(self, name: str, version: str) -> Served:
        if version not in ("", protocol.VERSION):
            raise UnknownModelError(f"{name[:80]} has version {protocol.VERSION} only, got {version[:20]!r}")
        return self._service.find(name)


class Gate(aio.ServerInterceptor):
    """Checks the token, turns our errors into statuses, and logs each call."""

    def __init__(self, service: Service, token: str | None):
        self._service, self._token = service, token

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        call = handler_call_details
        handler = await continuation(call)
        method, metadata = call.method.rpartition("/")[2], dict(call.invocation_metadata)
        if handler is None or method not in vars(Servicer):  # the protocol has more, to load and unload models
            return None
        allowed = self._allowed(method, metadata)

        async def answered(request: Any, context: Any) -> Any:
            start, status = time.perf_counter(), "OK"
            try:
                if not allowed:
                    status = "UNAUTHENTICATED"
                    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "send metadata authorization: Bearer TOKEN")
                return await handler.unary_unary(request, context)
            except ZooError as error:
                code = next(
                    (code for kind, code in STATUS.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL
                )
                status = code.name
                await context.abort(code, str(error))
            finally:
                seconds = time.perf_counter() - start
                self._service.metrics.requests.labels(f"grpc {method}", status).inc()
                self._service.metrics.seconds.labels(f"grpc {method}").observe(seconds)
                identity = str(getattr(request, "id", ""))[:128]
                log.info({"event": "grpc", "request_id": identity, "method": method, "status": status,
                          "seconds": round(seconds, 6)})  # fmt: skip

        return grpc.unary_unary_rpc_method_handler(
            answered, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    def _allowed(self, method: str, metadata: dict[str, Any]) -> bool:
        if self._token is None or method in ("ServerLive", "ServerReady"):
            return True
        return hmac.compare_digest(str(metadata.get("authorization", "")).encode(), f"Bearer {self._token}".encode())


def _request(request: Any) -> Any:
    """KServe's reading of the message. Raises InputError where it is not one request's."""
    if request.raw_input_contents and len(request.raw_input_contents) != len(request.inputs):
        raise InputError(
            f"{len(request.inputs)} inputs with {len(request.raw_input_contents)} raw contents: give one for each"
        )
    try:
        return protocol.InferRequest.from_grpc(request)
    except Exception as error:  # KServe's own, of no common class
        raise InputError(f"not an inference request: {error}") from error


def grpc_server(service: Service, token: str | None) -> aio.Server:
    """The server, without a port; messages are as long as a REST body may be."""
    limits = service.limits
    server = aio.server(
        interceptors=[Gate(service, token)],
        options=[
            ("grpc.max_receive_message_length", limits.body),
            ("grpc.max_metadata_size", 16 * 2**10),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=limits.queue,
    )
    stubs.add_GRPCInferenceServiceServicer_to_server(Servicer(service), server)
    return server
