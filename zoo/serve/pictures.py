"""The routes that take a picture: certify, and Hugging Face's image classification."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

from zoo.data.samples import digit, png
from zoo.errors import InputError
from zoo.inference.images import as_batch
from zoo.serve.bodies import FORM, upload
from zoo.serve.routes import (
    BINARY,
    Body,
    EpsilonQuery,
    Name,
    body,
    epsilon_of,
    json_answer,
    media_type,
    parsed,
    schema,
)
from zoo.serve.schemas import (
    CertifyAnswer,
    CertifyParameters,
    CertifyRequest,
    Classification,
    ClassificationParameters,
    ClassificationRequest,
)
from zoo.serve.service import SMALL, Served, Service

Options = TypeVar("Options", bound=CertifyParameters)
PICTURES = {f"image/{kind}": BINARY for kind in ("png", "jpeg", "webp")}


def add_pictures(app: FastAPI, service: Service) -> None:
    """The routes, over a service."""
    picture = _example()

    @app.post(
        "/v1/models/{name}/certify",
        tags=["certified"],
        response_model=CertifyAnswer,
        openapi_extra=_bodies(CertifyRequest, CertifyParameters, {"image": picture, "epsilon": "0.3"}),
    )
    async def certify(name: Name, request: Request, epsilon: EpsilonQuery = None) -> Response:
        """The label of one image with its certified radius; with an epsilon, that label or an abstention.

        The body is the image file itself, an upload form with it, or JSON with the file as base64.
        """
        served = service.find(name)
        data, _, size = await _asked(service, request, epsilon, CertifyRequest, "image", CertifyParameters)
        model = served.model
        threshold = served.epsilon_size if size is None else size
        outputs = await service.answer(served, partial(_decoded, data, served), threshold)
        prediction = next(model.predictions(outputs, size))
        return json_answer(
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
        openapi_extra=_bodies(
            ClassificationRequest, ClassificationParameters, {"inputs": picture, "parameters": {"top_k": 3}}
        ),
    )
    async def classify(name: Name, request: Request, epsilon: EpsilonQuery = None) -> Response:
        """What `InferenceClient(model=URL).image_classification(image)` asks; each element has its certificate.

        The body is the image file itself, an upload form with it, or JSON with the file as base64. The epsilon is the
        model's own (see /v1/models) unless one is given.
        """
        served = service.find(name)
        data, asked, size = await _asked(
            service, request, epsilon, ClassificationRequest, "inputs", ClassificationParameters
        )
        size = served.epsilon_size if size is None else size
        outputs = await service.answer(served, partial(_decoded, data, served), size)
        scores = _scores(outputs.logits[0], asked.function_to_apply or "softmax")
        order = np.argsort(-outputs.logits[0], kind="stable")[: asked.top_k or 5]
        label, radius = int(outputs.label[0]), float(outputs.radius[0])
        return json_answer(
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


def _bodies(kind: type[BaseModel], parameters: type[BaseModel], example: Any) -> dict[str, Any]:
    """What the OpenAPI document says of the three kinds of body that hold a picture."""
    form = schema(parameters)["schema"]
    form["properties"] = {"image": BINARY["schema"], **form["properties"]}
    form["required"] = ["image"]
    return body({"application/json": schema(kind, example), FORM: {"schema": form}, **PICTURES})


def _example() -> str:
    """A picture of the digit 3, as base64."""
    return base64.b64encode(png(digit(3))).decode()


def _scores(logits: np.ndarray, function: str) -> np.ndarray:
    if function == "none":
        return logits
    if function == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _decoded(data: bytes, served: Served) -> np.ndarray:
    return as_batch(data, served.model.input_shape)[0]


async def _asked(
    service: Service,
    request: Request,
    epsilon: str | None,
    kind: type[Body],
    field: str,
    parameters: type[Options],
) -> tuple[bytes, Options, float | None]:
    """The bytes of a request's picture, its parameters, and the epsilon it asks for. Raises InputError.

    kind: the body's form as JSON, with the picture in `field`.
    """
    data, asked, size = await request.body(), parameters(), epsilon_of(request, epsilon)
    if not data:
        raise InputError("the body is empty: send a picture, as curl does with --data-binary @FILE")
    match media_type(request):
        case "application/json":
            told, data = await _read(service, kind, field, data)
            asked = told if isinstance(told, parameters) else getattr(told, "parameters", None) or asked
        case "multipart/form-data":
            data, fields = await service.apart(upload, data, request.headers["content-type"])
            asked = parsed(parameters, fields)
    return data, asked, asked.epsilon if size is None else size


async def _read(service: Service, kind: type[Body], field: str, data: bytes) -> tuple[Body, bytes]:
    """A body of JSON and the picture in its field, read in another thread unless it is small. Raises InputError."""

    def read() -> tuple[Body, bytes]:
        told = parsed(kind, data)
        return told, _base64(getattr(told, field))

    return read() if len(data) <= SMALL else await service.apart(read)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError(f"the image is not base64: {error}") from error
