"""Compressed bodies and upload forms: decoded within the limits, refused in one line otherwise."""

from __future__ import annotations

import gzip
import json
import subprocess
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.serving import MNIST, Server
from zoo.data import samples
from zoo.errors import InputError
from zoo.serve.bodies import MAX_FIELDS, coding, decoded, upload
from zoo.serve.problems import EncodingError, TooLongError

CERTIFY, CLASSIFY = f"/v1/models/{MNIST}/certify", f"/models/{MNIST}"


@pytest.fixture(scope="module")
def digit() -> bytes:
    buffer = BytesIO()
    samples.digit(3).save(buffer, "PNG")
    return buffer.getvalue()


def part(name: str, content: bytes, filename: str | None = None, extra: bytes = b"") -> bytes:
    named = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return b"--x\r\n" + named.encode() + b"\r\n" + extra + b"\r\n" + content + b"\r\n"


def test_the_encodings():
    assert coding("") is coding(" Identity ") is None
    assert [coding(name) for name in ("GZIP", "x-gzip", "deflate")] == ["gzip", "x-gzip", "deflate"]
    for name in ("br", "zstd", "gzip, gzip", "compress", "gzip;q=1"):
        with pytest.raises(EncodingError, match="gzip, deflate"):
            coding(name)
    assert decoded(gzip.compress(b"abc", mtime=0), "gzip", 3) == decoded(zlib.compress(b"abc"), "deflate", 3) == b"abc"


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (b"abc", "gzip", "is not gzip"),
        (gzip.compress(b"abc", mtime=0), "deflate", "is not deflate"),
        (b"", "gzip", "ends in the middle"),
        (gzip.compress(b"abc", mtime=0)[:-1], "gzip", "ends in the middle"),
        (gzip.compress(b"abc", mtime=0) * 2, "gzip", "goes on after the end"),
        (gzip.compress(b"abc", mtime=0)[:-8] + bytes(8), "gzip", "is not gzip"),
    ],
)
def test_a_broken_encoding(data: bytes, name: str, told: str):
    with pytest.raises(InputError, match=told):
        decoded(data, name, 100)


def test_a_bomb_is_decoded_no_further_than_the_limit(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    made = zlib.decompressobj

    class Counting:
        def __init__(self, window: int):
            self._decoder = made(window)

        def decompress(self, data: bytes, limit: int) -> bytes:
            asked.append(limit)
            return self._decoder.decompress(data, limit)

    monkeypatch.setattr("zoo.serve.bodies.zlib.decompressobj", Counting)
    with pytest.raises(TooLongError, match="longer than 1000 bytes"):
        decoded(gzip.compress(bytes(10**7)), "gzip", 1000)
    assert asked == [1001]


def test_compressed_bodies_over_http(server: Server, digit: bytes):
    plain = json.loads(server.request("POST", CERTIFY, digit)[2])
    for data, name in ((gzip.compress(digit), "gzip"), (zlib.compress(digit), "deflate"), (digit, "identity")):
        status, _, body = server.request("POST", CERTIFY, data, {"Content-Encoding": name})
        assert (status, json.loads(body)) == (200, plain)
    status, headers, body = server.request("POST", CERTIFY, digit, {"Content-Encoding": "br"})
    assert (status, headers["accept-encoding"]) == (415, "gzip, deflate")
    assert "'br' is not decoded here" in json.loads(body)["error"]
    assert server.request("POST", CERTIFY, digit, {"Content-Encoding": "gzip"})[0] == 400
    bomb = gzip.compress(bytes(60 * 2**20), 1)
    status, _, body = server.request("POST", CERTIFY, bomb, {"Content-Encoding": "gzip"})
    assert (status, "the decoded body is longer than" in json.loads(body)["error"]) == (413, True)


def test_curl_uploads_a_form(server: Server, digit: bytes, tmp_path: Path):
    (tmp_path / "x.png").write_bytes(digit)

    def curl(path: str, *fields: str) -> Any:
        command = ["curl", "--silent", server.url + path, *(word for field in fields for word in ("-F", field))]
        return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30, cwd=tmp_path).stdout)

    plain = json.loads(server.request("POST", CERTIFY + "?epsilon=0.3", digit)[2])
    assert curl(CERTIFY, "image=@x.png", "epsilon=0.3") == plain
    assert curl(CERTIFY + "?epsilon=0.3", "image=@x.png", "epsilon=2") == plain  # the address goes before the form
    assert curl(CERTIFY, "image=@x.png")["epsilon"] is None
    best = json.loads(server.request("POST", CLASSIFY, digit)[2])
    assert curl(CLASSIFY, "image=@x.png") == best
    assert curl(CLASSIFY, "image=@x.png", "top_k=2") == best[:2]
    for path in (CERTIFY, CLASSIFY):
        for fields, told in (
            (("image=@x.png", "eps=0.3"), "eps: "),
            (("image=@x.png", "epsilon=x"), "epsilon must be"),
            (("image=<x.png",), "has no file"),
            (("image=@x.png", "other=@x.png"), "more than one file"),
        ):
            assert told in curl(path, *fields)["error"]


def test_a_large_form_stays_in_memory(monkeypatch: pytest.MonkeyPatch):
    """The deployed container may write nowhere."""
    monkeypatch.setattr("python_multipart.multipart.File.flush_to_disk", lambda self: pytest.fail("written to a disk"))
    content = bytes(4 * 2**20)
    assert upload(part("image", content, "x.png") + b"--x--\r\n", "multipart/form-data; boundary=x") == (content, {})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no end"),
        (b"x" * 100, "not a form"),
        (part("image", b"data", "x.png"), "no end"),
        (b"--x--\r\n", "has no file"),
        (part("epsilon", b"0.3") + b"--x--\r\n", "has no file"),
        (part("epsilon", b"0.3") * 2 + b"--x--\r\n", "'epsilon' is given twice"),
        (b"".join(part(f"f{n}", b"") for n in range(MAX_FIELDS + 2)), "one too many"),
        (part("image", b"data" * 1000) + b"--x--\r\n", "no short text"),
        (part("image", b"", "x.png") * 10_000, "more than one file"),
        (b"--x\r\n" + b"A: b\r\n" * 10_000, "not a form"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--\r\n", "not a form"),
        (part("image", b"data", "x.png", b"Content-Transfer-Encoding: rot13\r\n") + b"--x--\r\n", "not a form"),
    ],
)
def test_a_wrong_form_is_refused(body: bytes, told: str):
    with pytest.raises(InputError, match=told):
        upload(body, "multipart/form-data; boundary=x")


def test_a_form_without_a_boundary():
    for given in ("multipart/form-data", "multipart/form-data; boundary="):
        with pytest.raises(InputError, match="boundary"):
            upload(b"--\r\n", given)
