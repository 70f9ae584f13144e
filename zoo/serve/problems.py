"""The errors that end a request without an answer, with their statuses over HTTP and over gRPC."""

from __future__ import annotations

import json

from grpc import StatusCode

from zoo.errors import InputError, UnknownModelError, ZooError

ENCODINGS = "gzip, deflate"  # of bodies, as the field Accept-Encoding lists them


class UnsupportedError(ZooError):
    """The protocol has this, but this server does not offer it."""


class TokenError(ZooError):
    """The bearer token is missing or wrong."""


class SlowBodyError(ZooError):
    """The body did not arrive in time."""


class TooLongError(ZooError):
    """The body is longer than the server takes, as it came or once it is decoded."""


class EncodingError(ZooError):
    """The body comes in an encoding that the server does not decode."""


class BusyError(ZooError):
    """The queue is full: come again."""


class NotReadyError(ZooError):
    """The models are not loaded yet, or the server is about to end."""


class LateError(ZooError):
    """The answer was not ready in time."""


STATUS: dict[type[ZooError], tuple[int, StatusCode]] = {
    InputError: (400, StatusCode.INVALID_ARGUMENT),
    UnsupportedError: (400, StatusCode.UNIMPLEMENTED),
    TokenError: (401, StatusCode.UNAUTHENTICATED),
    UnknownModelError: (404, StatusCode.NOT_FOUND),
    SlowBodyError: (408, StatusCode.DEADLINE_EXCEEDED),
    TooLongError: (413, StatusCode.RESOURCE_EXHAUSTED),
    EncodingError: (415, StatusCode.INVALID_ARGUMENT),
    BusyError: (429, StatusCode.RESOURCE_EXHAUSTED),
    NotReadyError: (503, StatusCode.UNAVAILABLE),
    LateError: (504, StatusCode.DEADLINE_EXCEEDED),
}
HEADERS = {401: {"www-authenticate": "Bearer"}, 415: {"accept-encoding": ENCODINGS}, 429: {"retry-after": "1"}}


def status(error: ZooError) -> tuple[int, StatusCode]:
    """The status of an error, over HTTP and over gRPC."""
    return next((codes for kind, codes in STATUS.items() if isinstance(error, kind)), (500, StatusCode.INTERNAL))


def problem(code: int, message: str, request_id: str) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an error: the Open Inference Protocol's {"error": ...}, with the request's id."""
    body = json.dumps({"error": message, "request_id": request_id}).encode()
    return body, {"content-type": "application/json", **HEADERS.get(code, {})}
