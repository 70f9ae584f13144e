"""The app in a process of its own, and Debian's Chromium in front of it. What is missing is named by the skip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "space" / "static" / "samples"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a camera that shows a test picture
]
WAIT = 60_000  # milliseconds before a test gives up


@dataclass(frozen=True)
class App:
    url: str
    log: Path


@pytest.fixture(scope="package")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The running app. At the end: what it printed has no traceback through our own functions."""
    pytest.importorskip("gradio", reason="needs the extra [space]")
    pytest.importorskip("matplotlib", reason="needs the extra [space]")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("space") / "log"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GRADIO_TEMP_DIR": str(log.parent / "uploads"),
        "GRADIO_SERVER_PORT": str(port),
    }
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "space.app"],
            cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait_for(f"http://127.0.0.1:{port}/", process, log)
            yield App(f"http://127.0.0.1:{port}/", log)
        finally:
            process.terminate()
            process.wait(30)
    assert f'File "{ROOT / "space"}' not in log.read_text(), log.read_text()


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(1800):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer: {log.read_text()}")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which the extra [dev] brings")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright.expect.set_options(timeout=WAIT)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def context(chromium: Any) -> Iterator[Any]:
    """One for all pages: what it has fetched and compiled of Gradio it does not fetch and compile again."""
    with chromium.new_context() as context:
        yield context


@dataclass(frozen=True)
class Visit:
    """What one page of the browser did besides showing itself."""

    page: Any
    requests: list[str]
    problems: list[str]


@pytest.fixture
def visit(context: Any, app: App) -> Iterator[Any]:
    """Opens pages by size and colour scheme. At the end: no console error, no request to any foreign host."""
    visits: list[Visit] = []

    def open_page(path: str = "", width: int = 1440, height: int = 1000, scheme: str = "light") -> Visit:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(WAIT)
        seen = Visit(page, [], [])
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda line: line.type == "error" and seen.problems.append(line.text))
        page.on("pageerror", lambda error: seen.problems.append(str(error)))
        visits.append(seen)
        page.goto(app.url + path)
        page.wait_for_selector("zoo-verdict .badge")
        return seen

    yield open_page
    for seen in visits:
        seen.page.close()
        foreign = [url for url in seen.requests if not url.startswith((app.url, "data:", "blob:"))]
        assert not foreign, foreign
        assert not seen.problems, seen.problems


@pytest.fixture
def screenshot() -> Any:
    """Saves a PNG into the folder that SPACE_SCREENSHOTS names; does nothing without it."""
    folder = os.environ.get("SPACE_SCREENSHOTS")

    def save(page: Any, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.wait_for_timeout(400)  # for the fading in
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return save
