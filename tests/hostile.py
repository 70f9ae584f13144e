"""Valid and hostile requests to the server and to the hub, in a random order that the seed determines.

The tests send some hundreds of them, `benchmarks/serve.py` ten thousand.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import struct
import zlib
from functools import cache
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

MIB = 2**20
REFUSED = frozenset({400})


class Request(NamedTuple):
    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    allowed: frozenset[int]  # the statuses of a right answer


def requests(name: str, shape: tuple[int, int, int], count: int, seed: int) -> list[Request]:
    """`count` requests to a model of this name and input shape, about a quarter of them valid."""
    dice = random.Random(seed)
    kinds = _kinds(name, shape)
    return [dice.choice(kinds) for _ in range(count)]


def hub_requests(name: str, token: str, count: int, seed: int) -> list[Request]:
    """`count` requests to a hub that may be written to and has the repository `certified-zoo/name` on its shelf."""
    dice = random.Random(seed)
    kinds = _hub_kinds(f"certified-zoo/{name}", token)
    return [dice.choice(kinds) for _ in range(count)]


@cache
def _hub_kinds(name: str, token: str) -> list[Request]:
    model, files, mine = f"/api/models/{name}", f"/{name}/resolve/main", "/api/models/me/mine"
    bearer, typed = {"Authorization": f"Bearer {token}"}, {"Content-Type": "application/json"}
    fine, missing, told = frozenset({200}), frozenset({404}), frozenset({401})

    def get(kind: str, path: str, allowed: frozenset[int], **headers: str) -> Request:
        return Request(kind, "GET", path, headers, None, allowed)

    def post(kind: str, path: str, body: bytes, allowed: frozenset[int], headers: dict[str, str] = bearer) -> Request:
        return Request(kind, "POST", path, {**typed, **headers}, body, allowed)

    upload = b'{"key": "file", "value": {"path": "a", "content": "eA==", "encoding": "base64"}}'
    valid = [
        get("list", "/api/models", fine),
        get("info", model, fine),
        get("tree", f"{model}/tree/main?recursive=true", fine),
        get("refs", f"{model}/refs", fine),
        get("file", f"{files}/model.onnx", fine),
        get("range", f"{files}/model.safetensors", frozenset({206}), Range="bytes=1000-300000"),
        post("paths", f"{model}/paths-info/main", b'{"paths": ["config.json"]}', fine, {}),
        post("create", "/api/repos/create", b'{"name": "mine", "organization": "me"}', frozenset({200, 409})),
    ]
    hostile = [
        get("path out", f"{files}/%2e%2e/%2e%2e/etc/passwd", missing),
        get("no utf-8", f"{files}/%ff%00", missing),
        get("no revision", f"{model}/revision/{'a' * 5000}", missing),
        get("no repository", "/api/models/%2e%2e/%2e%2e", missing),
        get("range beyond", f"{files}/config.json", frozenset({416}), Range="bytes=" + "9" * 300 + "-"),
        get(
            "many ranges", f"{files}/config.json", frozenset({200, 206, 400, 416}), Range="bytes=" + "0-," * 3000 + "0-"
        ),
        post("paths of no list", f"{model}/paths-info/main", b'{"paths": 5}', REFUSED, {}),
        post("deep json", f"{model}/paths-info/main", b"[" * 100_000, REFUSED, {}),
        post("same path again", f"{model}/paths-info/main", b'{"paths": [' + b'"a",' * 200_000 + b'"a"]}', fine, {}),
        post("no token", f"{mine}/commit/main", upload, told, {}),
        post("wrong token", f"{mine}/commit/main", upload, told, {"Authorization": "Bearer x"}),
        post("no commit", f"{mine}/commit/main", b'{"key": "file", "value": null}', frozenset({400, 404})),
        post("path out of the commit", f"{mine}/commit/main", upload.replace(b'"a"', b'"../a"'), frozenset({400, 404})),
        post("no name", "/api/repos/create", b'{"name": null}', REFUSED),
        post("name out", "/api/repos/create", b'{"name": "..", "organization": ".."}', REFUSED),
        Request("no method", "DELETE", model, {}, None, frozenset({405})),
    ]
    return valid * 2 + hostile


@cache
def _kinds(name: str, shape: tuple[int, int, int]) -> list[Request]:
    certify, classify, infer = f"/v1/models/{name}/certify", f"/models/{name}", f"/v2/models/{name}/infer"
    json_type = {"Content-Type": "application/json"}
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (*shape[1:], shape[0]), dtype=np.uint8).squeeze()
    png, jpeg = _encoded(Image.fromarray(pixels), "PNG"), _encoded(Image.fromarray(pixels), "JPEG")
    large = _encoded(Image.fromarray(generator.integers(0, 256, (600, 800, 3), dtype=np.uint8)), "JPEG")
    text = base64.b64encode(png).decode()
    images = generator.random((4, *shape), dtype=np.float32)
    file = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n' + png + b"\r\n"
    form = {"Content_Type": "multipart/form-data; boundary=x"}

    def post(kind: str, path: str, body: bytes, allowed: frozenset[int], **headers: str) -> Request:
        return Request(
            kind, "POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, body, allowed
        )

    def tensor(kind: str, values: np.ndarray, allowed: frozenset[int], **change: object) -> Request:
        described = {"name": "images", "shape": list(values.shape), "datatype": "FP32", **change}
        described.setdefault("parameters", {"binary_data_size": values.nbytes})
        header = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
        return post(
            kind, infer, header + values.tobytes(), allowed, Inference_Header_Content_Length=str(len(header))
        )  # fmt: skip

    fine = frozenset({200})
    valid = [
        post("png", certify, png, fine),
        post("jpeg", certify + "?epsilon=36/255", jpeg, fine, Content_Type="image/jpeg"),
        post("large jpeg", certify, large, fine),
        post("hugging face", classify, png, fine, Content_Type="image/png"),
        Request("base64", "POST", certify, json_type, json.dumps({"image": text, "epsilon": 0.1}).encode(), fine),
        Request("inputs", "POST", classify, json_type, json.dumps({"inputs": text}).encode(), fine),
        post("gzip", certify, gzip.compress(png), fine, Content_Encoding="gzip"),
        post("deflate", certify, zlib.compress(png), fine, Content_Encoding="deflate"),
        post("form", certify, file + b"--x--\r\n", fine, **form),
        tensor("tensor", images, fine),
        tensor("uint8 tensor", (255 * images).astype(np.uint8), fine, datatype="UINT8"),
        Request("statistics", "GET", "/v2/models/stats", {}, None, fine),
        Request("listing", "GET", "/v1/models", {}, None, fine),
        Request("metrics", "GET", "/metrics", {}, None, fine),
    ]
    hostile = [
        post("empty", certify, b"", REFUSED),
        post("noise", certify, generator.bytes(2000), REFUSED),
        post("truncated png", certify, png[: len(png) // 2], REFUSED),
        post("truncated jpeg", certify, large[: len(large) // 2], REFUSED),
        post("png bomb", certify, _bomb(50_000, 50_000), REFUSED),
        post("lying png", certify, _bomb(900, 900, b"few"), REFUSED),
        post("cmyk", certify, _encoded(Image.new("CMYK", (28, 28)), "JPEG"), REFUSED),
        post("transparent", certify, _encoded(Image.new("RGBA", (28, 28)), "PNG"), REFUSED),
        post("16 bits", certify, _encoded(Image.new("I;16", (28, 28)), "PNG"), REFUSED),
        post("animated", certify, _animated(), REFUSED),
        post("gif", certify, _encoded(Image.new("L", (28, 28)), "GIF"), REFUSED),
        post("bad epsilon", certify + "?epsilon=nan", png, REFUSED),
        post("long epsilon", certify + "?epsilon=" + "9" * 5000, png, REFUSED),
        post("multipart", certify, b"--x\r\n\r\n" + png + b"\r\n--x--", REFUSED, Content_Type="multipart/form-data"),
        post("gzip bomb", certify, gzip.compress(bytes(48 * MIB)), frozenset({413}), Content_Encoding="gzip"),
        post("no gzip", certify, png, REFUSED, Content_Encoding="gzip"),
        post("half gzip", certify, gzip.compress(png)[:-9], REFUSED, Content_Encoding="gzip"),
        post("unknown encoding", certify, png, frozenset({415}), Content_Encoding="br"),
        post("many encodings", certify, png, frozenset({415}), Content_Encoding="gzip, " * 1000 + "gzip"),
        post("form without end", certify, file, REFUSED, **form),
        post("many files", certify, file * 1000 + b"--x--\r\n", REFUSED, **form),
        post("many fields", certify, file.replace(b"; filename", b"; x") * 1000, REFUSED, **form),
        Request("no base64", "POST", certify, json_type, b'{"image": "%%%"}', REFUSED),
        Request("wrong json", "POST", classify, json_type, b'{"inputs": [1, 2]}', REFUSED),
        Request("no json", "POST", classify, json_type, b"{" * 10_000, REFUSED),
        Request("deep json", "POST", infer, json_type, b"[" * 100_000, REFUSED),
        tensor("nan", images * np.nan, REFUSED),
        tensor("infinity", images + np.inf, REFUSED),
        tensor("outside", images + 1, REFUSED),
        tensor("wrong shape", images[:, :, 1:], REFUSED),
        tensor("claimed shape", images, REFUSED, shape=[10**9, *shape]),
        tensor("negative shape", images, REFUSED, shape=[-1, *shape]),
        tensor("wrong type", images, REFUSED, datatype="BYTES"),
        tensor("float uint8", images, REFUSED, datatype="UINT8"),
        tensor("shared memory", images, REFUSED, parameters={"shared_memory_region": "/etc/passwd"}),
        Request("load", "POST", f"/v2/repository/models/{name}/unload", {}, b"{}", REFUSED),
        tensor("too many", np.zeros((33, *shape), dtype=np.float32), REFUSED),
        tensor("claimed size", images, REFUSED, parameters={"binary_data_size": 10**15}),
        post("bad length", infer, b"{}", REFUSED, Inference_Header_Content_Length="-5"),
        post("no length", infer, b"{}", REFUSED, Inference_Header_Content_Length="x"),
        Request("no model", "POST", "/v1/models/nothing/certify", {}, png, frozenset({404})),
        Request("no page", "GET", "/" + "x" * 5000, {}, None, frozenset({404})),
        Request("no method", "DELETE", certify, {}, None, frozenset({405})),
        Request("giant header", "GET", "/v1/models", {"X-Giant": "x" * (MIB // 4)}, None, frozenset({200, 431})),
        Request("odd id", "GET", "/v1/models", {"X-Request-Id": "\xe9\t{}"}, None, fine),
    ]
    return valid * (len(hostile) // len(valid) // 2) + hostile


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _animated() -> bytes:
    buffer = BytesIO()
    frames = [Image.new("RGB", (28, 28), (shade, 0, 0)) for shade in (0, 255)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _bomb(width: int, height: int, pixels: bytes = bytes(MIB)) -> bytes:
    """A PNG with these pixels, whose header promises a picture of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
