"""How long a visitor waits for the app and for the page in the browser: `python -m benchmarks.space [OUTPUT]`.

Needs the extra [dev] and Chromium. Each figure is the median of several visits with an empty cache, in seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from playwright.sync_api import sync_playwright

from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.machine import machine

RESULTS = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "space" / "static" / "samples"
VISITS = 5
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main(output: Annotated[Path, typer.Argument(help="Where to write.")] = RESULTS) -> None:
    """Time the demo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    start = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "-m", "space.app"],
        cwd=ROOT, env={**os.environ, "GRADIO_SERVER_PORT": str(port)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not _answers(url):
            time.sleep(0.1)
        figures = {"start of the app": time.perf_counter() - start}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            figures |= _median(lambda: _visit_app(browser, url))
            figures |= _median(lambda: _visit_page(browser, f"{url}browser/"))
            browser.close()
    finally:
        app.terminate()
        app.wait()
    record = {
        "command": "python -m benchmarks.space",
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "visits": VISITS,
        "seconds": {name: round(value, 3) for name, value in figures.items()},
    }
    write_whole(output, json.dumps(record, indent=1) + "\n")
    print(output.read_text(encoding="utf-8"), end="")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except OSError:
        return False


def _median(visit: Callable[[], dict[str, float]]) -> dict[str, float]:
    visits = [visit() for _ in range(VISITS)]
    return {name: statistics.median(seen[name] for seen in visits) for name in visits[0]}


def _visit_app(browser: Any, url: str) -> dict[str, float]:
    context = browser.new_context()
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("zoo-verdict .badge")
    first_view = time.perf_counter() - start
    page.wait_for_load_state("networkidle")
    start = time.perf_counter()
    page.locator("#picture input[type=file]").first.set_input_files(SAMPLES / "ship.png")
    page.locator("zoo-verdict .label", has_text="ship").wait_for()
    verdict = time.perf_counter() - start
    context.close()
    return {"app: first view": first_view, "app: upload to verdict": verdict}


def _visit_page(browser: Any, url: str) -> dict[str, float]:
    context = browser.new_context()
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("zoo-verdict .badge")
    first_verdict = time.perf_counter() - start
    start = time.perf_counter()
    page.locator("#file").set_input_files(SAMPLES / "ship.png")
    page.locator("zoo-verdict .label", has_text="ship").wait_for()
    verdict = time.perf_counter() - start
    context.close()
    return {"browser: first verdict": first_verdict, "browser: file to verdict": verdict}


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.space")
