"""The application: all routes, one form of error, and the pages about the models and the server itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from zoo import __version__
from zoo.errors import ZooError
from zoo.serve.inference import add_inference
from zoo.serve.pictures import add_pictures
from zoo.serve.problems import problem, status
from zoo.serve.routes import Name, json_answer
from zoo.serve.schemas import ModelDetails, ModelList, Problem
from zoo.serve.service import Served, Service

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The image, tensor or parameter cannot be used; `error` says why.",
        401: "The token is missing or wrong.",
        404: "No such model or page.",
        408: "The body came too slowly.",
        413: "The body is too long, as it came or decoded.",
        415: "The body is encoded otherwise than by gzip or deflate.",
        429: "Too many requests are waiting; see Retry-After.",
        503: "The models are being loaded, or the server is about to end.",
        504: "No answer in time.",
    }.items()
}


def application(service: Service) -> FastAPI:
    """The routes over a service, for requests that the gate has admitted."""
    app = FastAPIOffline(
        title="certified-zoo",
        version=__version__,
        description="Image classifiers whose answers come with a proof: no perturbation of the model's input below "
        "the certified radius changes the label. Decoding and resizing come before that input, outside the guarantee.",
        redoc_url=None,
        favicon_url="/static-offline-docs/favicon.png",
        responses=PROBLEMS,
        telemetry={"tracing": False, "metrics": False},  # the gate measures
    )
    _errors(app)
    add_inference(app, service)
    add_pictures(app, service)
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
        return json_answer({"models": [_card(served) for served in service.served.values()]})

    @app.get("/v1/models/{name}", tags=["certified"], response_model=ModelDetails)
    async def model(name: Name) -> Response:
        """One model: its claim and its labels."""
        return json_answer(_details(service.find(name)))


def _errors(app: FastAPI) -> None:
    """Give all errors, also Starlette's, one form."""

    async def answer_error(request: Request, error: Exception) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, HTTPException):
            code, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        else:
            assert isinstance(error, ZooError)
            code, message = status(error)[0], str(error)
        body, fields = problem(code, message, request.state.request_id)
        return Response(body, code, {**headers, **fields})

    for kind in (ZooError, HTTPException):
        app.add_exception_handler(kind, answer_error)


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
        "clean_accuracy": evaluation.clean_accuracy if evaluation.measured else None,
        "vra": evaluation.vra,
        "acr": evaluation.acr if evaluation.measured else None,
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
