"""The hub as the stock client meets it, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import queue
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download

from tests.hostile import hub_requests
from tests.hub import TOKEN, HubProcess
from tests.toy import FILES
from zoo.errors import HubError, InputError, IntegrityError
from zoo.hub.server import serve_hub
from zoo.hub.store import Refusal, Store

NAME = "certified-zoo/toy"


@pytest.fixture(scope="module")
def shelf(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one published folder, `toy`."""
    shelf = tmp_path_factory.mktemp("hub") / "shelf"
    shutil.copytree(toy, shelf / "toy")
    return shelf


@pytest.fixture(scope="module")
def hub(shelf: Path) -> Iterator[HubProcess]:
    hub = HubProcess(shelf, shelf.parent / "hub.log", token=True)
    yield hub
    assert hub.stop() == -signal.SIGTERM


@pytest.fixture
def api(hub: HubProcess) -> HfApi:
    return HfApi(endpoint=hub.address, token=TOKEN)


def ask(hub: HubProcess, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """One request as it is written here, with no client in between that tidies paths."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def commit(hub: HubProcess, repository: str, *operations: tuple[str, dict[str, Any]]) -> tuple[int, str]:
    """A raw commit; the status and the error."""
    body = b"\n".join(json.dumps({"key": key, "value": value}).encode() for key, value in operations)
    status, _, answer = ask(hub, "POST", f"/api/models/{repository}/commit/main", body, Authorization=f"Bearer {TOKEN}")
    return status, str(json.loads(answer).get("error", ""))


def file(path: str, content: bytes = b"x") -> tuple[str, dict[str, Any]]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


class TestReading:
    def test_the_stock_client_lists_and_downloads(self, hub: HubProcess, api: HfApi, shelf: Path, tmp_path: Path):
        assert NAME in [model.id for model in api.list_models(author="certified-zoo", search="TOY")]
        sha = api.model_info(NAME).sha
        assert sorted(api.list_repo_files(NAME, revision=sha)) == sorted(FILES)
        path = Path(snapshot_download(NAME, revision=sha, endpoint=hub.address, cache_dir=tmp_path))
        assert all((path / name).read_bytes() == (shelf / "toy" / name).read_bytes() for name in FILES)
        checked = HfApi(endpoint=hub.address).verify_repo_checksums(NAME, cache_dir=tmp_path)
        assert (checked.checked_count, checked.mismatches) == (len(FILES), [])
        before = len(hub.requests())
        for name in FILES:
            hf_hub_download(NAME, name, revision=sha, endpoint=hub.address, cache_dir=tmp_path)
        snapshot_download(NAME, revision=sha, endpoint=hub.address, cache_dir=tmp_path)
        assert len(hub.requests()) == before

    def test_ranges_and_etags(self, hub: HubProcess, shelf: Path):
        path, content = f"/{NAME}/resolve/main/model.onnx", (shelf / "toy" / "model.onnx").read_bytes()
        status, headers, body = ask(hub, "HEAD", path)
        assert (status, body, headers["Content-Length"]) == (200, b"", str(len(content)))
        etag = headers["ETag"]
        assert etag == f'"{hashlib.sha256(content).hexdigest()}"'
        assert len(headers["X-Repo-Commit"]) == 40
        assert headers["Content-Disposition"] == "attachment"
        status, headers, body = ask(hub, "GET", path, Range="bytes=100-199", If_Range=etag)
        assert (status, body) == (206, content[100:200])
        assert headers["Content-Range"] == f"bytes 100-199/{len(content)}"
        assert ask(hub, "GET", path, Range="bytes=100-", If_Range='"another"')[::2] == (200, content)
        assert ask(hub, "GET", path, Range=f"bytes={len(content)}-")[0] == 416

    def test_what_is_missing_is_told_as_the_client_knows_it(self, api: HfApi, hub: HubProcess):
        with pytest.raises(errors.RepositoryNotFoundError):
            api.model_info("certified-zoo/other")
        with pytest.raises(errors.RevisionNotFoundError):
            api.model_info(NAME, revision="0" * 40)
        with pytest.raises(errors.EntryNotFoundError):
            hf_hub_download(NAME, "pytorch_model.bin", endpoint=hub.address)

    @pytest.mark.parametrize(
        "path", ["../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", ".", "toy/../README.md"]
    )
    def test_no_path_leads_out(self, path: str, hub: HubProcess):
        status, _, body = ask(hub, "GET", f"/{NAME}/resolve/main/{path}")
        assert status == 404
        assert b"root:" not in body

    def test_a_file_changed_on_the_shelf_is_not_served(self, toy: Path, tmp_path: Path):
        shutil.copytree(toy, tmp_path / "toy")
        store = Store(tmp_path)
        files = store.repository(NAME).head().files
        (tmp_path / "toy" / "README.md").write_text("other words\n")
        with pytest.raises(Refusal, match=r"README\.md was changed since"):
            store.place(files["README.md"])
        assert store.place(files["config.json"]) == tmp_path / "toy" / "config.json"
        with pytest.raises(IntegrityError, match=r"README\.md"):
            Store(tmp_path)


class TestWriting:
    def test_create_upload_tag(self, hub: HubProcess, api: HfApi, toy: Path, tmp_path: Path):
        name = "me/uploaded"
        api.create_repo(name)
        api.create_repo(name, exist_ok=True)
        with pytest.raises(errors.HfHubHTTPError, match="409"):
            api.create_repo(name)
        before = len(hub.requests())
        first = api.upload_folder(repo_id=name, folder_path=toy, commit_message="first").oid
        commits = [path for method, path, _ in hub.requests()[before:] if "/commit/" in path]
        assert len(commits) == 1
        assert api.upload_folder(repo_id=name, folder_path=toy).oid == first
        api.create_tag(name, tag="v1")
        second = api.upload_file(path_or_fileobj=b"more", path_in_repo="deep/er/more.txt", repo_id=name).oid
        third = api.delete_folder("deep", name).oid
        assert len({first, second, third}) == 3
        refs = api.list_repo_refs(name)
        assert [(ref.name, ref.target_commit) for ref in refs.tags + refs.branches] == [("v1", first), ("main", third)]
        for revision, more in (("v1", []), (second, ["deep/er/more.txt"]), ("main", [])):
            assert sorted(api.list_repo_files(name, revision=revision)) == sorted([*FILES, *more])
        assert [row.path for row in api.list_repo_tree(name, revision=second) if "deep" in row.path] == ["deep"]
        path = Path(snapshot_download(name, revision="v1", endpoint=hub.address, cache_dir=tmp_path))
        assert all((path / file).read_bytes() == (toy / file).read_bytes() for file in FILES)
        content = hf_hub_download(name, "deep/er/more.txt", revision=second, endpoint=hub.address, cache_dir=tmp_path)
        assert Path(content).read_text() == "more"

    def test_what_was_uploaded_is_there_after_a_restart(self, api: HfApi, shelf: Path):
        name = "me/kept"
        api.create_repo(name)
        oid = api.upload_file(path_or_fileobj=b"kept", path_in_repo="a", repo_id=name).oid
        api.create_tag(name, tag="v1")
        repository = Store(shelf).repository(name)
        assert (repository.main, repository.tags) == (oid, {"v1": oid})
        assert Store(shelf).place(repository.head().files["a"]).read_bytes() == b"kept"

    def test_who_may_not_write(self, hub: HubProcess, api: HfApi, toy: Path, tmp_path: Path):
        for token in ("another-token-of-tests", False):
            for path in ("/api/repos/create", f"/api/models/{NAME}/commit/main", f"/api/models/{NAME}/tag/main"):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                assert ask(hub, "POST", path, b"{}", **headers)[0] == 401
        with pytest.raises(errors.HfHubHTTPError, match="published folder of this hub: push to another name"):
            api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=NAME)
        with pytest.raises(errors.HfHubHTTPError, match="it has no tags"):
            api.create_tag(NAME, tag="v1")
        shutil.copytree(toy, tmp_path / "shelf" / "toy")
        closed = HubProcess(tmp_path / "shelf", tmp_path / "hub.log")
        with pytest.raises(errors.HfHubHTTPError, match="read-only"):
            HfApi(endpoint=closed.address, token=TOKEN).create_repo("me/new")
        assert closed.stop() == -signal.SIGTERM
        assert sorted(path.name for path in (tmp_path / "shelf").iterdir()) == ["toy"]

    def test_a_commit_is_whole_or_is_not(self, hub: HubProcess, api: HfApi):
        name = "me/atomic"
        api.create_repo(name)
        head = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=name).oid
        with pytest.raises(errors.HfHubHTTPError, match="412"):
            api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id=name, parent_commit="0" * 40)
        for operation, message in (
            (("lfsFile", {"path": "b", "algo": "sha256", "oid": "0" * 64, "size": 1}), "files come as base64"),
            (("deletedFile", {"path": "missing"}), "it is not there"),
            (("file", {"path": "b", "content": "%", "encoding": "base64"}), "is not base64"),
            (("file", {"path": "b", "content": "x", "encoding": "utf-8"}), "must be base64"),
            (("file", {"path": 5}), "not a commit"),
            (("file", {}), "not a commit"),
            (file("a/b"), "cannot be a file and a folder"),
        ):
            status, error = commit(hub, name, ("header", {"summary": "s"}), file("good"), operation)
            assert (status, message in error) == (400, True), error
        status, _, _ = ask(hub, "POST", f"/api/models/{name}/commit/main", b'{"key"', Authorization=f"Bearer {TOKEN}")
        assert status == 400
        assert api.model_info(name).sha == head
        assert api.list_repo_files(name) == ["a"]

    @pytest.mark.parametrize(
        "path",
        [
            "",
            ".",
            "..",
            "../x",
            "/etc/x",
            "a//b",
            "a/../b",
            "a/./b",
            ".git/config",
            "a/.GIT/b",
            "a\\b",
            "C:x",
            "a\nb",
            "x" * 256,
        ],
    )
    def test_hostile_paths(self, path: str, hub: HubProcess, api: HfApi):
        api.create_repo("me/hostile", exist_ok=True)
        status, error = commit(hub, "me/hostile", file(path))
        assert (status, "cannot be the path of a file" in error) == (400, True)

    @pytest.mark.parametrize("name", ["..", ".hub", "a/b", "x.git", "a--b", "", "x" * 97, "-a", "a.", "é"])
    def test_hostile_names(self, name: str, hub: HubProcess):
        token = {"Authorization": f"Bearer {TOKEN}"}
        for body in ({"name": name, "organization": "me"}, {"name": "x", "organization": name or "."}):
            status, _, _ = ask(hub, "POST", "/api/repos/create", json.dumps(body).encode(), **token)
            assert status == 400
        status, _, _ = ask(
            hub, "POST", "/api/models/me/uploaded/tag/main", json.dumps({"tag": "../x"}).encode(), **token
        )
        assert status in (400, 404)

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (f"/api/models/{NAME}/paths-info/main", b'{"paths": 5}'),
            (f"/api/models/{NAME}/paths-info/main", b'{"paths": null}'),
            (f"/api/models/{NAME}/paths-info/main", b'{"paths": [["a"], {}]}'),
            ("/api/models/me/typed/preupload/main", b'{"files": [{"path": NaN}]}'),
            ("/api/models/me/typed/preupload/main", b'{"files": [{"path": "\\ud800"}]}'),
            ("/api/models/me/typed/tag/main", b"{}"),
            ("/api/repos/create", b'{"name": null}'),
            ("/api/repos/create", b'{"name": ["a"]}'),
        ],
    )
    def test_json_of_the_wrong_types(self, path: str, body: bytes, hub: HubProcess, api: HfApi):
        api.create_repo("me/typed", exist_ok=True)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/json"}
        assert ask(hub, "POST", path, body, **headers)[0] == 400

    def test_a_path_is_told_once(self, hub: HubProcess):
        body = json.dumps({"paths": ["config.json"] * 1000}).encode()
        path = f"/api/models/{NAME}/paths-info/main"
        status, _, answer = ask(hub, "POST", path, body, Content_Type="application/json")
        assert (status, [row["path"] for row in json.loads(answer)]) == (200, ["config.json"])

    def test_large_bodies(self, hub: HubProcess, api: HfApi):
        api.create_repo("me/large")
        token = {"Authorization": f"Bearer {TOKEN}"}
        for path, length in (("/api/repos/create", 2**20 + 1), ("/api/models/me/large/commit/main", 2**29 + 1)):
            connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
            connection.putrequest("POST", path)
            for header, value in {**token, "Content-Length": str(length)}.items():
                connection.putheader(header, value)
            connection.endheaders()  # refused before a byte of the body
            assert connection.getresponse().status == 413
            connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
        connection.request("POST", "/api/validate-yaml", iter([b"x" * 2**20, b"x"]), encode_chunked=True)
        assert connection.getresponse().status == 413  # no length was announced
        connection.close()


def test_a_client_that_sends_or_reads_nothing_is_let_go(shelf: Path, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a few hundred of them keep all others out."""
    servers: list[uvicorn.Server] = []

    class Noted(uvicorn.Server):
        def __init__(self, config: uvicorn.Config):
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr("zoo.hub.server.uvicorn.Server", Noted)
    monkeypatch.setattr("zoo.hub.server.SECONDS", 0.3, raising=False)
    started: queue.Queue[str] = queue.Queue()
    serving = (shelf, "127.0.0.1", 0, None, lambda store, address: started.put(address))
    thread = threading.Thread(target=serve_hub, args=serving, daemon=True)
    thread.start()
    port = int(started.get(timeout=60).rpartition(":")[2])
    body = b"POST /api/validate-yaml HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    try:
        for sent in (b"", b"GET / HTTP/1.1\r\n", body):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(sent)
                assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect(("127.0.0.1", port))
            connection.sendall(f"GET /{NAME}/resolve/main/model.safetensors HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 500)
            deadline = time.monotonic() + 20
            while servers[0].server_state.connections:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        for server in servers:
            server.should_exit = server.force_exit = True
        thread.join(20)


def test_valid_and_hostile_requests_mixed(hub: HubProcess):
    wrong = []
    for kind, method, path, headers, body, allowed in hub_requests("toy", TOKEN, 200, seed=1):
        status = ask(hub, method, path, body, **headers)[0]
        if status not in allowed:
            wrong.append((kind, status))
    assert wrong == []
    assert hub.process.poll() is None


class TestStore:
    def test_one_hub_writes(self, tmp_path: Path):
        store = Store(tmp_path, writable=True)
        with pytest.raises(HubError, match="another hub writes"):
            Store(tmp_path, writable=True)
        del store

    def test_folders_that_are_no_hub(self, toy: Path, tmp_path: Path):
        for writable in (False, True):
            with pytest.raises(InputError, match="missing is no folder: name one of published folders, as model_cards"):
                Store(tmp_path / "missing", writable)
            with pytest.raises(InputError, match=f"is one published folder: name the one it lies in, {toy.parent}$"):
                Store(toy, writable)
            assert not (toy / ".hub").exists()
        with pytest.raises(InputError, match=r"holds no published folder: name a folder of such .*--token-file"):
            Store(tmp_path)

    def test_a_record_that_was_changed_is_refused(self, tmp_path: Path):
        store = Store(tmp_path, writable=True)
        store.create("me/x")
        record = tmp_path / ".hub" / "repositories" / "me" / "x.json"
        assert Store(tmp_path).repository("me/x").head().files == {}
        for text in ("", "{}", "[]", record.read_text().replace("initial", "another")):
            record.write_text(text)
            with pytest.raises(IntegrityError, match=r"x\.json"):
                Store(tmp_path)

    @pytest.mark.parametrize(
        "link", [".", "incoming", "lock", "objects", "objects/aa", "repositories", "repositories/x"]
    )
    def test_a_link_to_files_of_others_is_refused(self, link: str, tmp_path: Path):
        """A hub that writes would empty the folder behind it."""
        kept = tmp_path / "victim" / "aa" / "kept"
        kept.parent.mkdir(parents=True)
        kept.write_text("mine")
        target, place = kept.parents[link != "objects/aa"], tmp_path / "shelf" / ".hub" / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        for writable in (True, False):
            with pytest.raises(InputError, match=f"{place} is a link, and a hub makes none: delete it"):
                Store(tmp_path / "shelf", writable)
        assert kept.read_text() == "mine"

    def test_only_what_a_hub_writes_is_cleared(self, tmp_path: Path):
        home = tmp_path / ".hub"
        theirs = [
            home / "incoming" / "folder" / "x",
            home / "objects" / "aa" / "x",
            home / "objects" / "aa" / ("b" * 64),
        ]
        for path in theirs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        (home / "objects" / "aa" / ("a" * 64)).write_text("left")
        (home / "incoming" / "x.partial").write_text("left")
        Store(tmp_path, writable=True)
        assert sorted(path for path in home.rglob("?*") if path.is_file()) == sorted([*theirs, home / "lock"])

    @pytest.mark.parametrize(
        ("path", "sha256", "size"),
        [("a", "/etc/hostname", 7), ("a", "../" * 9, 7), ("a", 5, 7), ("a", "0" * 64, -1), ("a", "0" * 64, True),
         ("../a", "0" * 64, 7)],
    )  # fmt: skip
    def test_a_record_with_the_path_of_another_file_is_refused(self, path: str, sha256: Any, size: Any, tmp_path: Path):
        tree = {"files": {path: {"sha256": sha256, "size": size}}, "parent": None, "title": ""}
        key = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:40]
        record = tmp_path / ".hub" / "repositories" / "x" / "y.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"main": key, "tags": {}, "commits": {key: tree}}))
        with pytest.raises(IntegrityError, match=r"y\.json: not what this hub writes"):
            Store(tmp_path)

    def test_a_link_that_came_later_is_not_served(self, tmp_path: Path):
        store = Store(tmp_path, writable=True)
        store.create("me/x")
        lines = [json.dumps({"key": "file", "value": file("a")[1]}).encode()]
        stored = store.commit("me/x", lines).head().files["a"]
        place = store.place(stored)
        place.unlink()
        place.symlink_to(__file__)
        with pytest.raises(Refusal, match="the hub has lost the file"):
            store.place(stored)

    def test_an_upload_that_does_not_fit_on_the_disk_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        store = Store(tmp_path, writable=True)
        store.create("me/x")

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(OSError, match="No space left"):
                store.commit("me/x", [json.dumps({"key": "file", "value": file("a")[1]}).encode()])
        assert list((tmp_path / ".hub" / "incoming").iterdir()) == []
        assert Store(tmp_path).repository("me/x").head().files == {}

    def test_files_of_a_commit_that_was_refused_go_when_the_hub_starts_again(self, tmp_path: Path):
        def line(key: str, value: object) -> bytes:
            return json.dumps({"key": key, "value": value}).encode()

        store = Store(tmp_path, writable=True)
        store.create("me/x")
        store.commit("me/x", [line("file", file("a")[1])])
        store.commit("me/x", [line("deletedFile", {"path": "a"})])
        with pytest.raises(Refusal, match="cannot be deleted"):
            store.commit("me/x", [line("file", file("b", b"other")[1]), line("deletedFile", {"path": "missing"})])
        objects = tmp_path / ".hub" / "objects"
        assert len([*objects.glob("*/*")]) == 2
        del store
        store = Store(tmp_path, writable=True)
        (only,) = objects.glob("*/*")
        before = store.repository("me/x").commits[store.repository("me/x").head().parent]
        assert store.place(before.files["a"]) == only
