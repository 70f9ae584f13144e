"""The hub protocol over a `Store`, as far as the stock huggingface_hub client needs it for models.

Reading: list, info, tree, refs, and files with Range and ETag, of main, of tags and of every commit that ever was.
Writing, with the token: create, upload, tag. Each upload is one commit, which holds its files (`uploadMode: regular`):
for any other mode the client would use Xet storage, which only huggingface.co has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from zoo.hub.store import MAIN, Commit, Refusal, Repository, Store, StoredFile
from zoo.shelves import ORGANISATION
from zoo.web import Connection, bears, in_url, listener

MAX_BODY = 2**20  # of a request that is no commit
MAX_COMMIT = 512 * 2**20  # files are a third larger in base64: enough for 380 MiB of weights
SECONDS = 30.0  # for a header to arrive, for a body that is no commit, and to take something of an answer
CONNECTIONS = 256  # at once; further ones are answered with 503
SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}

Handler = Callable[[Request], Awaitable[Response]]


class Hub:
    """The routes. Without a token, every request to write is refused."""

    def __init__(self, store: Store, token: str | None):
        self.store, self.token = store, token

    def app(self) -> Starlette:
        model = "/api/models/{organisation}/{model}"
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/", self.index),
            ("GET", "/api/models", self.models),
            ("GET", model, self.info),
            ("GET", model + "/revision/{revision}", self.info),
            ("GET", model + "/tree/{revision}", self.tree),
            ("GET", model + "/tree/{revision}/{path:path}", self.tree),
            ("POST", model + "/paths-info/{revision}", self.paths_info),
            ("GET", model + "/refs", self.refs),
            ("GET", "/{organisation}/{model}/resolve/{revision}/{path:path}", self.file),
            ("GET", "/api/whoami-v2", self.whoami),
            ("POST", "/api/validate-yaml", self.validate),
            ("POST", "/api/repos/create", self.create),
            ("POST", model + "/preupload/{revision}", self.preupload),
            ("POST", model + "/commit/{revision}", self.commit),
            ("POST", model + "/tag/{revision}", self.tag),
        ]
        return Starlette(
            routes=[Route(path, handler, methods=[method]) for method, path, handler in routes],
            exception_handlers={Refusal: _refused, HTTPException: _refused, ClientDisconnect: _left, OSError: _full},
        )

    async def index(self, request: Request) -> Response:
        names = "".join(f"{name}\n" for name in sorted(self.store.repositories))
        return PlainTextResponse(f"A hub of certified-zoo: HF_ENDPOINT={_base(request)}\n\n{names}", headers=SAFE)

    async def models(self, request: Request) -> Response:
        asked = request.query_params
        names = [
            name
            for name in sorted(self.store.repositories)
            if asked.get("author") in (None, name.partition("/")[0]) and asked.get("search", "").lower() in name.lower()
        ]
        limit = asked.get("limit", "")
        chosen = names[: int(limit)] if limit.isdecimal() and len(limit) < 9 else names
        return JSONResponse([_info(self.store.repositories[name], MAIN) for name in chosen])

    async def info(self, request: Request) -> Response:
        return JSONResponse(_info(self._repository(request), request.path_params.get("revision", MAIN)))

    async def tree(self, request: Request) -> Response:
        _, commit = self._commit(request)
        folder = request.path_params.get("path", "").strip("/")
        recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
        rows = _rows(commit, f"{folder}/" if folder else "", recursive)
        if folder and not rows:
            raise Refusal(404, f"no folder {folder[:80]!r}", "EntryNotFound")
        return JSONResponse(rows)

    async def paths_info(self, request: Request) -> Response:
        _, commit = self._commit(request)
        content = await _body(request, MAX_BODY)
        if request.headers.get("content-type", "").startswith("application/json"):
            paths = _json(content).get("paths", [])
        else:
            paths = parse_qs(content.decode("utf-8", "replace")).get("paths", [])
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise Refusal(400, "paths must be a list of strings")
        return JSONResponse([_row(path, commit.files[path]) for path in dict.fromkeys(paths) if path in commit.files])

    async def refs(self, request: Request) -> Response:
        repository = self._repository(request)
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit} for tag, commit in repository.tags.items()
        ]
        main = {"name": MAIN, "ref": f"refs/heads/{MAIN}", "targetCommit": repository.main}
        return JSONResponse({"branches": [main], "tags": tags, "converts": []})

    async def file(self, request: Request) -> Response:
        """GET and HEAD; Starlette answers Range and If-Range."""
        commit_id, commit = self._commit(request)
        path = request.path_params["path"]
        if path not in commit.files:
            answer = await _refused(request, Refusal(404, f"no file {path[:80]!r}", "EntryNotFound"))
            answer.headers["X-Repo-Commit"] = commit_id  # with it the client remembers that the file is not there
            return answer
        file = commit.files[path]
        headers = {"X-Repo-Commit": commit_id, "ETag": f'"{file.sha256}"', "Content-Disposition": "attachment", **SAFE}
        return FileResponse(self.store.place(file), headers=headers, media_type="application/octet-stream")

    async def whoami(self, request: Request) -> Response:
        self._authorise(request)
        return JSONResponse(
            {"type": "user", "name": ORGANISATION, "orgs": [], "auth": {"accessToken": {"role": "write"}}}
        )

    async def validate(self, request: Request) -> Response:
        await _body(request, MAX_BODY)
        return JSONResponse({"errors": [], "warnings": []})

    async def create(self, request: Request) -> Response:
        self._authorise(request)
        asked = _json(await _body(request, MAX_BODY))
        if asked.get("type", "model") not in (None, "model"):
            raise Refusal(400, "this hub keeps models only")
        name = f"{asked.get('organization') or ORGANISATION}/{_text(asked, 'name')}"
        status = 200
        try:
            await run_in_threadpool(self.store.create, name)
        except Refusal as refusal:
            if refusal.status != 409:
                raise
            status = 409  # with the url, which the client reads if the repository may exist
        return JSONResponse({"name": name, "url": f"{_base(request)}/{name}"}, status)

    async def preupload(self, request: Request) -> Response:
        self._authorise(request)
        self._main(request)
        files = _json(await _body(request, MAX_BODY)).get("files", [])
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise Refusal(400, "files must be a list of objects")
        rows = [{"path": _text(file, "path"), "uploadMode": "regular", "shouldIgnore": False} for file in files]
        return JSONResponse({"files": rows})

    async def commit(self, request: Request) -> Response:
        """Write the whole body to the disk, then make it one commit."""
        self._authorise(request)
        repository = self._main(request)
        if request.query_params.get("create_pr") not in (None, "0", "false"):
            raise Refusal(400, "this hub has no pull requests")
        with self.store.incoming() as body:
            await _receive(request, MAX_COMMIT, body.write)
            body.seek(0)
            repository = await run_in_threadpool(self.store.commit, repository.name, body)
        url = f"{_base(request)}/{repository.name}/commit/{repository.main}"
        return JSONResponse({"success": True, "commitOid": repository.main, "commitUrl": url, "hookOutput": ""})

    async def tag(self, request: Request) -> Response:
        self._authorise(request)
        repository = self._repository(request)
        tag = _text(_json(await _body(request, MAX_BODY)), "tag")
        await run_in_threadpool(self.store.tag, repository.name, request.path_params["revision"], tag)
        return JSONResponse({})

    def _authorise(self, request: Request) -> None:
        """Raise Refusal unless the request bears the token."""
        if self.token is None:
            raise Refusal(403, "this hub is read-only: it was started without --token-file")
        if not bears(request.headers.get("authorization", "").encode(), self.token):
            raise Refusal(401, "Invalid credentials in Authorization header")

    def _repository(self, request: Request) -> Repository:
        return self.store.repository(f"{request.path_params['organisation']}/{request.path_params['model']}")

    def _main(self, request: Request) -> Repository:
        repository = self._repository(request)
        if request.path_params["revision"] != MAIN:
            raise Refusal(404, "this hub has no branch but main", "RevisionNotFound")
        return repository

    def _commit(self, request: Request) -> tuple[str, Commit]:
        repository = self._repository(request)
        commit = repository.resolve(request.path_params["revision"])
        return commit, repository.commits[commit]


def serve_hub(folder: Path, host: str, port: int, token: str | None, started: Callable[[Store, str], None]) -> None:
    """Serves the folder until SIGINT or SIGTERM; `started` gets the store and the address before the first request.

    Raises InputError where it cannot listen there, and as `Store`.
    """
    store = Store(folder, writable=token is not None)
    with listener(host, port, CONNECTIONS) as listening:
        started(store, f"http://{in_url(host)}:{listening.getsockname()[1]}")
        config = uvicorn.Config(
            Hub(store, token).app(),
            http=partial(Connection, seconds=SECONDS),  # type: ignore[arg-type]  a class, to uvicorn
            limit_concurrency=CONNECTIONS,
            server_header=False,
            lifespan="off",
            ws="none",
        )
        uvicorn.Server(config).run([listening])


def _info(repository: Repository, revision: str) -> dict[str, Any]:
    commit = repository.resolve(revision)
    return {
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.name.partition("/")[0],
        "sha": commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": path} for path in repository.commits[commit].files],
    }


def _rows(commit: Commit, prefix: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a prefix, which ends in a slash or is empty."""
    below = {path: file for path, file in commit.files.items() if path.startswith(prefix)}
    folders = {path[: index + len(prefix)] for path in below for index in _slashes(path[len(prefix) :])}
    if not recursive:
        folders = {folder for folder in folders if "/" not in folder[len(prefix) :]}
        below = {path: file for path, file in below.items() if "/" not in path[len(prefix) :]}
    rows = [{"type": "directory", "path": folder, "size": 0, "oid": _sha1(folder)} for folder in sorted(folders)]
    return rows + [_row(path, file) for path, file in below.items()]


def _slashes(path: str) -> list[int]:
    return [index for index, character in enumerate(path) if character == "/"]


def _row(path: str, file: StoredFile) -> dict[str, Any]:
    """A file as git LFS describes it: `oid` is that of its pointer file, `lfs.oid` is the sha256 of its content."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n"
    oid = _sha1(f"blob {len(pointer)}\0{pointer}")
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"type": "file", "path": path, "size": file.size, "oid": oid, "lfs": lfs}


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


async def _body(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(SECONDS):
            await _receive(request, limit, parts.append)
    except TimeoutError as error:
        raise Refusal(408, f"the body did not arrive within {SECONDS:g} s") from error
    return b"".join(parts)


async def _receive(request: Request, limit: int, write: Callable[[bytes], Any]) -> None:
    """Pass the body on in pieces. Raises Refusal as soon as it is known to be larger than the limit."""
    announced = request.headers.get("content-length", "0")
    received = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    if received <= limit:
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                break
            write(chunk)
    if received > limit:
        raise Refusal(413, f"the body is larger than {limit // 2**20} MiB")


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(400, "the body is not a JSON object")
    return value


def _text(value: dict[str, Any], field: str) -> str:
    """The field's text, which can be written in UTF-8. Raises Refusal."""
    text = value.get(field)
    if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refusal(400, f"{field} must be a text")
    return text


async def _refused(request: Request, error: Exception) -> Response:
    """The error as the client reads it: headers for its exceptions, a JSON body for people."""
    status, code = getattr(error, "status", 0), getattr(error, "code", "")
    message = str(error)
    if isinstance(error, HTTPException):
        status, message = error.status_code, error.detail
    shown = "".join(character if " " <= character <= "~" else "?" for character in message)
    headers = {"X-Error-Message": shown, **({"X-Error-Code": code} if code else {}), **SAFE}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse({"error": shown}, status, headers)


async def _left(request: Request, error: Exception) -> Response:
    """The client has gone, so that nobody reads this."""
    return Response(status_code=499)


async def _full(request: Request, error: Exception) -> Response:
    """The commit could not be written, mostly because the disk is full: the repository is as it was."""
    return await _refused(request, Refusal(507, f"the hub cannot store this: {error}"))
