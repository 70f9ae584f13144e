"""Models from a hub by the stock client, in processes of their own: caches, faults, and a server that is not ours."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub import QUIET, TOKEN, HubProcess, finish, start_fetch
from tests.toy import FILES, make_folder

MODEL = "4c3f-mnist"
SOURCE = "hf-hub:certified-zoo/toy"
LARGE = 40 * 2**20


@pytest.fixture
def shelf(toy: Path, tmp_path: Path) -> Path:
    shutil.copytree(toy, tmp_path / "shelf" / "toy")
    return tmp_path / "shelf"


@pytest.fixture(scope="module")
def large_shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf whose `toy` has weights that take several chunks of the client."""
    shelf = tmp_path_factory.mktemp("large") / "shelf"
    make_folder(shelf / "toy", padding=LARGE)
    return shelf


class Wire:
    """A TCP relay to a hub. Once so many bytes have come back it holds everything until `go_on` names another hub."""

    def __init__(self, port: int, hold_after: int):
        self.port, self.left = port, hold_after
        self.held, self.free = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def go_on(self, port: int) -> None:
        self.port = port
        self.free.set()

    def _accept(self) -> None:
        with suppress(OSError):  # of a closed listener
            while True:
                client, _ = self.listener.accept()
                if self.held.is_set():
                    self.free.wait()
                server = socket.create_connection(("127.0.0.1", self.port))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other, one is server), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := one.recv(2**16):
                other.sendall(data)
                self.left -= len(data) * back
                if self.left < 0 and not self.free.is_set():
                    self.held.set()
                    self.free.wait()
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)
        if back:
            one.close()
            other.close()


class TestCaches:
    @pytest.mark.slow
    def test_a_pinned_model_is_asked_for_once_and_outlives_its_hub(self, shelf: Path, tmp_path: Path):
        home = tmp_path / "home"
        with HubProcess(shelf, tmp_path / "log") as hub:
            pinned = f"{SOURCE}@{HfApi(endpoint=hub.address).model_info('certified-zoo/toy').sha}"
            both = [
                start_fetch(hub.address, home, SOURCE, pinned) for _ in range(2)
            ]  # two processes at once, cold cache
            assert [finish(process) for process in both] == [[MODEL, MODEL]] * 2
            downloads = [path for method, path, _ in hub.requests() if method == "GET" and "/resolve/" in path]
            assert len(downloads) == len(set(downloads)) == len(FILES)
            before = len(hub.requests())
            assert finish(start_fetch(hub.address, home, pinned)) == [MODEL]
            assert len(hub.requests()) == before
            hub.kill()
            gone, offline = (
                start_fetch(hub.address, home, SOURCE, pinned),
                start_fetch("", home, pinned, HF_HUB_OFFLINE="1"),
            )
            assert finish(gone) == [MODEL, MODEL]
            assert finish(offline) == [MODEL]
            (answer,) = finish(start_fetch("", tmp_path / "new", pinned, HF_HUB_OFFLINE="1"))
            assert answer.startswith(f"HubError | {pinned}: ")

    def test_a_damaged_cache_says_how_to_be_rid_of_it(self, shelf: Path, tmp_path: Path):
        home = tmp_path / "home"
        with HubProcess(shelf, tmp_path / "log") as hub:
            assert finish(start_fetch(hub.address, home, SOURCE)) == [MODEL]
            (weights,) = home.glob("hub/models--certified-zoo--toy/snapshots/*/model.safetensors")
            body = bytearray(weights.read_bytes())
            body[-1] ^= 1
            weights.resolve().write_bytes(body)
            (answer,) = finish(start_fetch(hub.address, home, SOURCE))
            assert "model.safetensors: its sha256 is not the one in SHA256SUMS" in answer
            repository = answer.rpartition("delete ")[2]
            assert repository == str(home / "hub" / "models--certified-zoo--toy")
            shutil.rmtree(repository)
            assert finish(start_fetch(hub.address, home, SOURCE)) == [MODEL]


class TestRefusals:
    def test_what_is_not_to_be_had(self, toy: Path, tmp_path: Path):
        (tmp_path / "shelf").mkdir()
        flipped, other = tmp_path / "flipped", tmp_path / "other"
        shutil.copytree(toy, flipped)
        body = bytearray((toy / "model.safetensors").read_bytes())
        body[-1] ^= 1
        (flipped / "model.safetensors").write_bytes(body)
        other.mkdir()
        (other / "pytorch_model.bin").write_bytes(b"never asked for")
        (other / "config.json").write_text("{}")
        with HubProcess(tmp_path / "shelf", tmp_path / "log", token=True) as hub:
            api = HfApi(endpoint=hub.address, token=TOKEN)
            for name in ("flipped", "other"):
                api.create_repo(f"me/{name}")
                api.upload_folder(repo_id=f"me/{name}", folder_path=tmp_path / name)
            asked = len(hub.requests())
            sources = ("me/flipped", "me/other", "me/flipped@no-such-tag", "me/missing", "a b/c")
            answers = finish(start_fetch(hub.address, tmp_path / "home", *(f"hf-hub:{source}" for source in sources)))
            assert not [path for _, path, _ in hub.requests()[asked:] if "pytorch_model.bin" in path]
        answers += finish(start_fetch("http://127.0.0.1:9", tmp_path / "new", "hf-hub:me/flipped"))
        for answer, message in zip(
            answers,
            (
                r"IntegrityError \| .*model\.safetensors: its sha256 is not the one in SHA256SUMS",
                r"CertificateError \| .* has no certificate\.json",
                r"HubError \| hf-hub:me/flipped@no-such-tag: no such revision",
                r"HubError \| hf-hub:me/missing: no such repository",
                r"HubError \| hf-hub:a b/c at http://127",
                r"HubError \| hf-hub:me/flipped: cannot reach http://127\.0\.0\.1:9 \(Connection refused\): ",
            ),
            strict=True,
        ):
            assert re.match(message, answer), answer

    def test_who_is_refused_is_told_what_to_do(self, tmp_path: Path):
        """By a hub that answers as the name of the repository says."""

        class Refusing(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, code = self.path.split("/")[4].split("-")
                self.send_response(int(status))
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        names = ["401-x", "403-x", "403-GatedRepo", "401-RepoNotFound"]
        with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}"
            sources, home = [f"hf-hub:me/{name}" for name in names], tmp_path / "home"
            answers = finish(start_fetch(address, home, *sources, HF_TOKEN="hf_x"))
            answers += finish(start_fetch(address, home, sources[0], HF_TOKEN=""))
            server.shutdown()
        login = "`hf auth login`, or set HF_TOKEN"
        refused = f": refused by {address}: "
        lines = [
            f"{refused}it does not know your token (for one that may read: {login})",
            f"{refused}your token lacks the right to read (for one that may read: {login})",
            f" is gated: accept its terms at {address}/me/403-GatedRepo, then {login}",
            f": no such repository, or a private one: for that {login}",
            f"{refused}it asks for a token (for one that may read: {login})",
        ]
        told = [f"HubError | {source}{line}" for source, line in zip([*sources, sources[0]], lines, strict=True)]
        assert answers == told


@pytest.mark.slow
class TestFaults:
    def test_a_hub_killed_in_mid_download_is_resumed(self, large_shelf: Path, tmp_path: Path):
        with HubProcess(large_shelf, tmp_path / "first") as hub:
            wire = Wire(hub.port, hold_after=LARGE // 2)  # more is left than sockets hold
            process = start_fetch(wire.url, tmp_path / "home", SOURCE)
            assert wire.held.wait(60)
        with HubProcess(large_shelf, tmp_path / "second") as again:
            wire.go_on(again.port)
            assert finish(process) == [MODEL]
            weights = [(method, status) for method, path, status in again.requests() if "safetensors" in path]
            assert weights == [("GET", 206)]
        wire.listener.close()

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        disk = tmp_path / "disk"
        disk.mkdir()
        size = f"size={LARGE // 2}"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], capture_output=True).returncode:
            pytest.skip("a small tmpfs needs root")
        yield disk
        subprocess.run(["umount", disk], check=True)

    def test_a_full_disk_is_told_and_can_be_mended(self, large_shelf: Path, small_disk: Path, tmp_path: Path):
        with HubProcess(large_shelf, tmp_path / "log") as hub:
            (answer,) = finish(start_fetch(hub.address, small_disk, SOURCE))
            assert answer == f"HubError | {SOURCE}: no space left in {small_disk / 'hub'}"
            subprocess.run(["mount", "-o", f"remount,size={LARGE * 2}", small_disk], check=True)
            assert finish(start_fetch(hub.address, small_disk, SOURCE)) == [MODEL]


REGISTERED = """
import sys, zoo
from pathlib import Path
from dataclasses import replace
from zoo import registry, shelves
from zoo.hub import client as hub
shelves.SHELVES = (Path("nowhere"),)
registry.ENTRIES["4c3f-mnist"] = replace(registry.ENTRIES["4c3f-mnist"], digest=sys.argv[1])
try:
    print(hub.fetch("4c3f-mnist").config.name)
except zoo.ZooError as error:
    print(type(error).__name__, "|", error)
"""


def test_a_registered_name_that_is_not_shipped_comes_from_the_hub(toy: Path, tmp_path: Path):
    shutil.copytree(toy, tmp_path / "shelf" / MODEL)
    digest = hashlib.sha256((toy / "SHA256SUMS").read_bytes()).hexdigest()
    with HubProcess(tmp_path / "shelf", tmp_path / "log") as hub:
        settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), **QUIET}

        def load(digest: str) -> str:
            command = [sys.executable, "-c", REGISTERED, digest]
            result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            return result.stdout.strip()

        assert load(digest) == MODEL
        before = len(hub.requests())
        assert load(digest) == MODEL
        assert len(hub.requests()) == before  # the registry pins it: nothing to ask
        assert "not the one that the registry pins" in load("0" * 64)
    shutil.rmtree(tmp_path / "home")
    told = load(digest)
    assert told.startswith(f"HubError | {MODEL} is not in this installation, and hf-hub:certified-zoo/{MODEL}: ")
    assert told.endswith(f"; a checkout has it: local-dir:CHECKOUT/model_cards/{MODEL}")


@pytest.mark.slow
def test_a_server_that_is_not_ours(toy: Path, tmp_path: Path):
    """olah over a git repository, in an environment of its own: its pins are not ours."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which brings olah, is not installed")
    olah = [uv, "tool", "run", "--quiet", "--from", "olah==0.5.4", "olah-cli"]
    if subprocess.run([*olah, "--help"], capture_output=True).returncode:
        pytest.skip("olah 0.5.4 is not to be had from the package index")
    repository = tmp_path / "mirrors" / "models" / "org" / "toy"
    shutil.copytree(toy, repository)
    git = ["git", "-C", str(repository), "-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], ["commit", "--quiet", "-m", "toy"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "olah.toml").write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {port}\nrepos-path = "{tmp_path}/repos"\nlog-path = "{tmp_path}/logs"\n'
        f'mirrors-path = ["{tmp_path}/mirrors"]\n[accessibility]\noffline = true\n'
    )
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen([*olah, "--config", tmp_path / "olah.toml"], stdout=log, stderr=log, cwd=tmp_path)
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        address, home = f"http://127.0.0.1:{port}", tmp_path / "home"
        assert finish(start_fetch(address, home, "hf-hub:org/toy", f"hf-hub:org/toy@{commit}")) == [MODEL, MODEL]
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()
    assert finish(start_fetch("", home, f"hf-hub:org/toy@{commit}", HF_HUB_OFFLINE="1")) == [MODEL]
