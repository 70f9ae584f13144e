"""The REST routes: certify, Hugging Face's image classification, the Open Inference Protocol, and their documents."""

from __future__ import annotations

import base64
import binascii
import json
from functools import partial
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from zoo import __version__
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, UnknownModelError, ZooError
from zoo.images import as_batch
from zoo.serve import protocol
from zoo.serve.gate import problem
from zoo.serve.schemas import (
    CertifyAnswer,
    CertifyRequest,
    Classification,
    ClassificationRequest,
    ModelDetails,
    ModelList,
    Parameters,
    Problem,
)
from zoo.serve.service import SMALL, BusyError, LateError, NotReadyError, Served, Service

from kserve.protocol.rest import v2_datamodels as v2  # isort: skip  after zoo.serve.protocol, see there

STATUS: dict[type[ZooError], int] = {
    InputError: 400,
    UnknownModelError: 404,
    BusyError: 429,
    NotReadyError: 503,
    LateError: 504,
}
PICTURES = {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("png", "jpeg", "webp")}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The image, tensor or parameter cannot be used; `error` says why.",
        401: "The token is missing or wrong.",
        404: "No such model or page.",
        408: "The body came too slowly.",
        413: "The body is too long.",
        429: "Too many requests are waiting; see Retry-After.",
        503: "The models are being loaded, or the server is about to end.",
        504: "No answer in time.",
    }.items()
}
EpsilonQuery = Annotated[
    str | None, Query(description="A number or a fraction, such as 36/255; in the model's norm, pixels of [0, 1].")
]


class DirectRoute(APIRoute):
    """Calls its endpoint with the path's parameters and the request; FastAPI reads nothing and has nothing to close."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.app = self._direct

    async def _direct(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await self.endpoint(**request.path_params, request=request)
        await response(scope, receive, send)


def application(service: Service) -> FastAPI:
    """The routes over a service; admission and limits are the gate's."""
    app = FastAPIOffline(
        title="certified-zoo",
        version=__version__,
        description="Image classifiers whose answers come with a proof: no perturbation of the model's input below "
        "the certified radius changes the label. Decoding and resizing come before that input, outside the guarantee.",
        redoc_url=None,
        favicon_url="/static-offline-docs/favicon.png",
        responses=PROBLEMS,
        telemetry={"tracing": False, "metrics": False},  # what is measured, the gate measures
    )
    _errors(app)
    _protocol(app, service)
    _pictures(app, service)
    _pages(app, service)
    return app


def _pages(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", tags=["certified"], response_model=ModelList)
    async def models() -> Response:
        """Every served model, with the numbers of its card."""
        return _json({"models": [_card(served) for served in service.served.values()]})

    @app.get("/v1/models/{name}", tags=["certified"], response_model=ModelDetails)
    async def model(name: str) -> Response:
        """One model: its claim and its labels."""
        return _json(_details(service.find(name)))


def _pictures(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/models/{name}/certify",
        tags=["certified"],
        response_model=CertifyAnswer,
        openapi_extra=_body({**PICTURES, "application/json": _schema(CertifyRequest)}),
    )
    async def certify(name: str, request: Request, epsilon: EpsilonQuery = None) -> Response:
        """The label of one image with its certified radius; with an epsilon, that label or an abstention.

        The body is the image file itself, or JSON with the file as base64.
        """
        served, data, size = service.find(name), await request.body(), _size(request, epsilon)
        if _is_json(request):
            asked = _parsed(CertifyRequest, data)
            data, size = _base64(asked.image), asked.epsilon if size is None else size
        model = served.model
        threshold = served.epsilon_size if size is None else size
        outputs = await service.answer(served, partial(_decoded, data, served), threshold)
        prediction = next(model.predictions(outputs, size))
        return _json(
            {
                "model": model.name,
                "model_digest": served.digest,
                "norm": model.norm,
                "unit": model.certificate.unit,
                "input_shape": model.input_shape,
                "abstained": prediction.label is None,
                **prediction.to_json(),
            }
        )

    @app.post(
        "/models/{name}",
        tags=["Hugging Face"],
        response_model=list[Classification],
        openapi_extra=_body({**PICTURES, "application/json": _schema(ClassificationRequest)}),
    )
    async def classify(name: str, request: Request, epsilon: EpsilonQuery = None) -> Response:
        """What `InferenceClient(model=URL).image_classification(image)` asks; each element has its certificate.

        The epsilon is the model's own (see /v1/models) unless one is given.
        """
        served, data, size, parameters = service.find(name), await request.body(), _size(request, epsilon), Parameters()
        if _is_json(request):
            asked = _parsed(ClassificationRequest, data)
            data, parameters = _base64(asked.inputs), asked.parameters or parameters
            size = parameters.epsilon if size is None else size
        size = served.epsilon_size if size is None else size
        outputs = await service.answer(served, partial(_decoded, data, served), size)
        scores = _scores(outputs.logits[0], parameters.function_to_apply or "softmax")
        order = np.argsort(-outputs.logits[0], kind="stable")[: parameters.top_k or 5]
        label, radius = int(outputs.label[0]), float(outputs.radius[0])
        return _json(
            [
                {
                    "label": served.model.labels[index],
                    "score": float(scores[index]),
                    "certified_radius": radius if index == label else 0.0,
                    "certified": index == label and radius > size,
                    "epsilon": size,
                    "model_digest": served.digest,
                }
                for index in order.tolist()
            ]
        )


def _protocol(app: FastAPI, service: Service) -> None:
    tags: list[Any] = ["Open Inference Protocol"]

    content = {
        "application/json": _schema(v2.InferenceRequest),
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    answer: dict[str, Any] = {"response_model": v2.InferenceResponse, "openapi_extra": _body(content)}

    async def infer(name: str, request: Request, version: str = protocol.VERSION) -> Response:
        """Tensor `images` in, the five outputs of the graph out, as JSON or with the binary tensor extension.

        In JSON the largest finite float stands for infinity, the certified distance of a label to itself.
        """
        served, body = _find(name, version), await request.body()
        length = request.headers.get("inference-header-content-length")
        asked = None

        def read() -> np.ndarray:
            nonlocal asked
            asked = protocol.read_request(body, length, name)
            return protocol.read_images(asked, served.model.input_shape)

        outputs = await service.answer(served, read, served.epsilon_size, small=len(body) <= SMALL)
        assert asked is not None
        result, json_length = protocol.rest_answer(asked, served, outputs, request.state.request_id)
        if json_length is None:
            return Response(result, media_type="application/json")
        headers = {"inference-header-content-length": str(json_length)}
        return Response(result, media_type="application/octet-stream", headers=headers)

    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        app.router.add_api_route(path, infer, methods=["POST"], tags=tags, route_class_override=DirectRoute, **answer)

    @app.get("/v2", tags=tags, response_model=v2.ServerMetadataResponse)
    async def server() -> Response:
        return _json({"name": "certified-zoo", "version": __version__, "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live", tags=tags, response_model=v2.ServerLiveResponse)
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=tags, response_model=v2.ServerReadyResponse)
    async def ready() -> Response:
        """200 after the warm-up of every model and before SIGTERM, else 503."""
        if not service.ready or service.draining:
            raise NotReadyError("the server is about to end" if service.draining else "the models are being loaded")
        return _json({"ready": True})

    @app.get("/v2/models", tags=tags, response_model=v2.ListModelsResponse)
    async def models() -> Response:
        return _json({"models": list(service.served)})

    @app.get("/v2/models/{name}", tags=tags, response_model=v2.ModelMetadataResponse)
    @app.get("/v2/models/{name}/versions/{version}", tags=tags, response_model=v2.ModelMetadataResponse)
    async def model(name: str, version: str = protocol.VERSION) -> Response:
        return _json(protocol.metadata(_find(name, version)))

    @app.get("/v2/models/{name}/ready", tags=tags, response_model=v2.ModelReadyResponse)
    @app.get("/v2/models/{name}/versions/{version}/ready", tags=tags, response_model=v2.ModelReadyResponse)
    async def model_ready(name: str, version: str = protocol.VERSION) -> Response:
        return _json({"name": _find(name, version).model.name, "ready": True})

    def _find(name: str, version: str) -> Served:
        if version != protocol.VERSION:
            raise UnknownModelError(f"{name[:80]} has version {protocol.VERSION} only, got {version[:20]!r}")
        return service.find(name)


def _errors(app: FastAPI) -> None:
    """Every error, Starlette's own included, has one shape."""

    async def told(request: Request, error: Exception) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, HTTPException):
            status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        elif isinstance(error, RequestValidationError):
            status, message = 400, str(error.errors()[0].get("msg"))
        else:
            status, message = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500), str(error)
        body, fields = problem(status, message, request.state.request_id)
        return Response(body, status, {**headers, **fields})

    for kind in (ZooError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, told)


def _card(served: Served) -> dict[str, Any]:
    model = served.model
    evaluation = model.evaluation
    return {
        "name": model.name,
        "digest": served.digest,
        "dataset": model.config.dataset,
        "norm": model.norm,
        "unit": model.certificate.unit,
        "input_shape": model.input_shape,
        "classes": len(model.labels),
        "epsilon": served.epsilon,
        "clean_accuracy": evaluation.clean_accuracy,
        "vra": evaluation.vra,
        "acr": evaluation.acr,
        "images": evaluation.images,
        "license": model.config.license,
    }


def _details(served: Served) -> dict[str, Any]:
    certificate = served.model.certificate
    return {
        **_card(served),
        "labels": served.model.labels,
        "claim": certificate.claim,
        "domain": certificate.domain,
        "arithmetic": certificate.arithmetic,
        "body_lipschitz": certificate.body_lipschitz,
    }


def _scores(logits: np.ndarray, function: str) -> np.ndarray:
    if function == "none":
        return logits
    if function == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _size(request: Request, epsilon: str | None) -> float | None:
    """The epsilon of the address, which goes before that of the body. Raises InputError, also for all else there."""
    given = [name for name, _ in request.query_params.multi_items()]
    if given not in ([], ["epsilon"]):
        raise InputError(f"the address takes one parameter, epsilon, got {', '.join(given)[:100]!r}")
    return None if epsilon is None else parse_epsilon(epsilon)


def _decoded(data: bytes, served: Served) -> np.ndarray:
    return as_batch(data, served.model.input_shape)[0]


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _parsed(kind: type[Any], data: bytes) -> Any:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{where + ': ' if where else ''}{first['msg']}") from error


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the image is not base64: {error}") from error


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The schema with its definitions inside, as it stands alone."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return resolved(definitions[value["$ref"].rpartition("/")[2]])
            return {key: resolved(item) for key, item in value.items()}
        return [resolved(item) for item in value] if isinstance(value, list) else value

    return {"schema": json.loads(json.dumps(resolved(schema)))}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
