"""What the routes share: parameters of paths and queries, bodies in the OpenAPI document, JSON in and out."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from zoo.epsilon import parse_epsilon
from zoo.errors import InputError

EXAMPLE = "2c2f-mnist"  # every installation has it
Name = Annotated[str, Path(examples=[EXAMPLE])]
EpsilonQuery = Annotated[
    str | None,
    Query(
        description="A number or a fraction, such as 36/255; in the model's norm, pixels of [0, 1].", examples=["0.3"]
    ),
]
FEW = 1000  # values of a body of JSON that holds no tensor
BINARY = {"schema": {"type": "string", "format": "binary"}}
Body = TypeVar("Body", bound=BaseModel)


def body(content: dict[str, Any]) -> dict[str, Any]:
    """The description in the OpenAPI document of a body that its route reads itself."""
    return {"requestBody": {"required": True, "content": content}}


def schema(kind: type[BaseModel], example: Any = None) -> dict[str, Any]:
    """A body's schema, with its definitions written out where they are used, and an example."""
    told = kind.model_json_schema()
    definitions = told.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return resolved(definitions[value["$ref"].rpartition("/")[2]])
            return {key: resolved(item) for key, item in value.items()}
        return [resolved(item) for item in value] if isinstance(value, list) else value

    told = {"schema": json.loads(json.dumps(resolved(told)))}
    return told if example is None else {**told, "example": example}


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(kind: type[Body], data: bytes | dict[str, str]) -> Body:
    """A body of JSON, or a form's fields. Raises InputError."""
    if isinstance(data, bytes):
        few(data, FEW)
    try:
        return kind.model_validate(data) if isinstance(data, dict) else kind.model_validate_json(data)
    except ValidationError as error:
        raise InputError(mistake(error)) from error


def few(data: bytes, most: int) -> None:
    """Raise InputError if the JSON has more than `most` values, counted by the `,`, `[` and `{` that stand before them.

    While JSON is parsed no other request is answered, and each value takes a hundred bytes.
    """
    found = sum(map(data.count, (b",", b"[", b"{")))
    if found > most:
        raise InputError(f"the JSON has {found} values, at most {most} are needed here: send fewer")


def mistake(error: ValidationError) -> str:
    """The first thing that is wrong with a body, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where + ': ' if where else ''}{first['msg']}"


def epsilon_of(request: Request, epsilon: str | None) -> float | None:
    """The epsilon in the query, which goes before that in the body. Raises InputError, also for other parameters."""
    given = [name for name, _ in request.query_params.multi_items()]
    if given not in ([], ["epsilon"]):
        raise InputError(f"the address takes one parameter, epsilon, got {', '.join(given)[:100]!r}")
    return None if epsilon is None else parse_epsilon(epsilon)


def json_answer(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
