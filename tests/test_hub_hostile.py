"""A hub that answers with paths where names belong: nothing is written outside the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.hub import QUIET, finish, start_fetch

SHA = "a" * 40
HOSTILE = {  # by the name of the repository: what is answered with a path in it
    "etag": "ETag", "weak": "ETag", "dots": "ETag", "taken-off": "ETag", "linked": "X-Linked-ETag",
    "commit": "X-Repo-Commit", "sha": "sha", "oid": "lfs.oid",
}  # fmt: skip
OTHERS = """
import sys, zoo, huggingface_hub
from huggingface_hub.utils import get_session
from zoo.data.splits import hub_files
from zoo.integrations.mixin import HubModel
make, made = huggingface_hub.utils._http.default_client_factory, []
huggingface_hub.set_client_factory(lambda: made.append(1) or make())
for call in (lambda: hub_files("o/etag", "test"), lambda: HubModel.from_pretrained("o/etag")):
    try:
        call()
    except zoo.ZooError as error:
        print(error)
print(len(made), get_session().follow_redirects)
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[str]:
    """The address of such a hub, whose paths lead to files `evil` in tmp_path."""
    absolute = str(tmp_path / "evil")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            body, headers = b"EVIL", {"ETag": '"x"', "X-Repo-Commit": SHA}
            kind = next(kind for kind in HOSTILE if f"o/{kind}" in self.path)
            if "/api/" in self.path:
                oid = absolute if kind == "oid" else "0" * 64
                lfs = {"oid": oid, "size": 4, "pointerSize": 4}
                names = ["config.json", "test-00000-of-00001.parquet"]
                rows = [
                    {"type": "file", "path": name, "size": 4, "oid": SHA, "lfs": lfs, "xetHash": "b" * 64}
                    if kind == "oid" else {"type": "file", "path": name, "size": 4, "oid": SHA} for name in names
                ]  # fmt: skip
                sha = "../../../../evil" if kind == "sha" else SHA
                info = {"id": f"o/{kind}", "sha": sha, "siblings": [{"rfilename": name} for name in names], "tags": []}
                body = json.dumps(rows if "/tree/" in self.path else info).encode()
            elif kind in ("etag", "weak", "linked", "dots", "taken-off"):
                value = {"dots": '".."', "taken-off": "W..", "weak": 'W/"../../../../evil"'}.get(kind, f'"{absolute}"')
                headers[HOSTILE[kind]] = value
            elif kind == "commit":
                headers["X-Repo-Commit"] = absolute
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_no_answer_of_a_hub_leads_out_of_the_cache(hostile: str, tmp_path: Path):
    answers = finish(start_fetch(hostile, tmp_path / "home", *(f"hf-hub:o/{kind}" for kind in HOSTILE)))
    for (kind, what), answer in zip(HOSTILE.items(), answers, strict=True):
        assert answer.startswith(f"HubError | hf-hub:o/{kind} at {hostile}: the hub's {what} is "), answer
        assert answer.endswith("which could lead out of the cache: use another hub")
    assert not [*tmp_path.rglob("evil*")]


def test_data_sets_the_mixin_and_a_factory_of_the_users_are_guarded(hostile: str, tmp_path: Path):
    pytest.importorskip("torch")
    settings = {"HF_ENDPOINT": hostile, "HF_HOME": str(tmp_path / "home"), **QUIET}
    command = [sys.executable, "-c", OTHERS]
    result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    split, model, made = result.stdout.splitlines()
    assert split.startswith("the hub did not give o/etag (the hub's ETag is ")
    assert model.startswith("the hub's ETag is ")
    assert made == "1 True"
    assert not [*tmp_path.rglob("evil*")]
