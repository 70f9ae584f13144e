"""The Open Inference Protocol over REST, and its extensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from zoo.data.samples import digit
from zoo.serve import documents, extensions, protocol
from zoo.serve.problems import NotReadyError, TooLongError, UnsupportedError
from zoo.serve.routes import BINARY, Name, body, json_answer, parsed, schema
from zoo.serve.service import SMALL, Served, Service

TAGS: list[Any] = ["Open Inference Protocol"]
MODEL = "/v2/models/{name}"
VERSIONED = f"{MODEL}/versions/{{version}}"  # another path to the same, since a model has one version
UNDOCUMENTED: dict[str, Any] = {"include_in_schema": False}


class DirectRoute(APIRoute):
    """Calls its endpoint with the model's name and the request, without FastAPI's own reading of the request."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.app = self._direct

    async def _direct(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await self.endpoint(name=request.path_params["name"], request=request)
        await response(scope, receive, send)


def add_inference(app: FastAPI, service: Service) -> None:
    """The routes, over a service."""
    _add_infer(app, service)
    _add_server(app, service)
    _add_models(app, service)
    _add_settings(app, service)


def _add_infer(app: FastAPI, service: Service) -> None:
    async def infer(name: Name, request: Request) -> Response:
        """Tensor `images` in, the five outputs of the graph out, as JSON or with the binary tensor extension.

        In JSON the largest finite float stands for infinity, the certified distance of a label to itself.
        """
        served, data = _model(service, request), await request.body()
        length = request.headers.get("inference-header-content-length")
        asked = None

        def read() -> np.ndarray:
            nonlocal asked
            asked = protocol.read_request(data, length, served)
            return protocol.read_images(asked, served)

        outputs = await service.answer(served, read, served.epsilon_size, small=len(data) <= SMALL)
        assert asked is not None
        result, json_length = protocol.rest_answer(asked, served, outputs, request.state.request_id)
        if json_length is None:
            return Response(result, media_type="application/json")
        headers = {"inference-header-content-length": str(json_length)}
        return Response(result, media_type="application/octet-stream", headers=headers)

    pixels = np.asarray(digit(3))
    tensor = {"name": "images", "shape": [1, 1, *pixels.shape], "datatype": "UINT8", "data": pixels.ravel().tolist()}
    bodies = {
        "application/json": schema(documents.InferenceRequest, {"inputs": [tensor], "outputs": [{"name": "radius"}]}),
        "application/octet-stream": BINARY,
    }
    for path in (MODEL, VERSIONED):
        app.router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            tags=TAGS,
            include_in_schema=path == MODEL,
            route_class_override=DirectRoute,
            response_model=documents.InferenceResponse,
            openapi_extra=body(bodies),
        )


def _add_server(app: FastAPI, service: Service) -> None:
    @app.get("/v2", tags=TAGS, response_model=documents.ServerMetadata)
    async def server() -> Response:
        return json_answer(protocol.SERVER)

    @app.get("/v2/health/live", tags=TAGS, response_model=documents.ServerLive)
    async def live() -> Response:
        return json_answer({"live": True})

    @app.get("/v2/health/ready", tags=TAGS, response_model=documents.ServerReady)
    async def ready() -> Response:
        """200 after the warm-up of every model and before SIGTERM, else 503."""
        if not service.ready or service.draining:
            raise NotReadyError("the server is about to end" if service.draining else "the models are being loaded")
        return json_answer({"ready": True})

    @app.get("/v2/models", tags=TAGS, response_model=documents.ModelNames)
    async def models() -> Response:
        return json_answer({"models": list(service.served)})

    @app.post("/v2/repository/index", tags=TAGS, response_model=list[documents.IndexEntry])
    async def index(request: Request) -> Response:
        """Every model and its state; with `{"ready": true}` only those that answer already."""
        asked = parsed(documents.IndexRequest, await _small(request))
        return json_answer(extensions.index(service, asked.ready))

    @app.get("/v2/models/stats", tags=TAGS, response_model=documents.ServerStatistics)
    async def statistics() -> Response:
        """The counts since the start, by model."""
        return json_answer(extensions.statistics(service))


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get(MODEL, tags=TAGS, response_model=documents.ModelMetadata)
    @app.get(VERSIONED, **UNDOCUMENTED)
    async def model(name: Name, request: Request) -> Response:
        return json_answer(protocol.metadata(_model(service, request)))

    @app.get(f"{MODEL}/ready", tags=TAGS, response_model=documents.ModelReady)
    @app.get(f"{VERSIONED}/ready", **UNDOCUMENTED)
    async def model_ready(name: Name, request: Request) -> Response:
        return json_answer({"name": _model(service, request).model.name, "ready": True})

    @app.get(f"{MODEL}/config", tags=TAGS, response_model=documents.ModelConfiguration)
    @app.get(f"{VERSIONED}/config", **UNDOCUMENTED)
    async def configuration(name: Name, request: Request) -> Response:
        return json_answer(extensions.configuration(_model(service, request)))

    @app.get(f"{MODEL}/stats", tags=TAGS, response_model=documents.ServerStatistics)
    @app.get(f"{VERSIONED}/stats", **UNDOCUMENTED)
    async def statistics(name: Name, request: Request) -> Response:
        return json_answer(extensions.statistics(service, name, _version(request)))


def _add_settings(app: FastAPI, service: Service) -> None:
    """The routes for settings, which can be read only, and for what is not offered."""

    @app.api_route("/v2/trace/setting", methods=["GET", "POST"], **UNDOCUMENTED)
    @app.api_route(f"{MODEL}/trace/setting", methods=["GET", "POST"], **UNDOCUMENTED)
    async def trace(request: Request) -> Response:
        name, changes = request.path_params.get("name", ""), parsed(documents.Settings, await _small(request))
        return json_answer(extensions.trace(service, name, changes.root))

    @app.api_route("/v2/logging", methods=["GET", "POST"], **UNDOCUMENTED)
    async def logging(request: Request) -> Response:
        changes = parsed(documents.Settings, await _small(request))
        return json_answer(extensions.logging(changes.root))

    @app.post("/v2/repository/models/{name}/load", **UNDOCUMENTED)
    @app.post("/v2/repository/models/{name}/unload", **UNDOCUMENTED)
    async def load(name: str) -> Response:
        raise UnsupportedError(extensions.LOADING)

    @app.api_route("/v2/systemsharedmemory/{rest:path}", methods=["GET", "POST"], **UNDOCUMENTED)
    @app.api_route("/v2/cudasharedmemory/{rest:path}", methods=["GET", "POST"], **UNDOCUMENTED)
    async def memory(rest: str) -> Response:
        raise UnsupportedError(extensions.MEMORY)


async def _small(request: Request) -> bytes:
    """A body that is parsed in the event loop, `{}` where there is none. Raises TooLongError."""
    data = await request.body()
    if len(data) > SMALL:
        raise TooLongError(f"a body of {len(data)} bytes, at most {SMALL} are accepted here")
    return data or b"{}"


def _model(service: Service, request: Request) -> Served:
    return protocol.find(service, request.path_params["name"], _version(request))


def _version(request: Request) -> str:
    """The version in the path, empty if it has none."""
    return request.path_params.get("version", "")
