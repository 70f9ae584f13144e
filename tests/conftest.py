"""Toy folders and an inference server as fixtures; and a test that costs much says so by its mark."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import onnx
import pytest

from tests.parquet import write_split  # noqa: F401  (a fixture)
from tests.serving import CIFAR, MNIST, Server, serving
from tests.toy import make_folder

# Of CPU time: what a test may take by itself, without its fixtures, unless it is marked slow. It is 5 s of an idle
# core; two busy ones that share their units count up to twice as many seconds for the same work.
SECONDS = 10.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that took this process and its children too long, however busy the machine is."""
    began = sum(os.times()[:4])
    result = yield
    if (spent := sum(os.times()[:4]) - began) > SECONDS and not item.get_closest_marker("slow"):
        pytest.fail(f"took {spent:.1f} s of CPU time, more than {SECONDS:.0f} s: make it smaller or mark it slow")
    return result


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey 28 x 28 folder that tests read and never change."""
    folder = make_folder(tmp_path_factory.mktemp("published") / "toy")
    onnx.checker.check_model(folder / "model.onnx")
    return folder


@pytest.fixture(scope="session")
def colour_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colour 32 x 32 folder that tests read and never change."""
    return make_folder(tmp_path_factory.mktemp("published") / "toy", "6c2f-cifar10")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder that `zoo verify` proves; tests read and never change it."""
    from tests.tiny import make_tiny  # loads torch

    return make_tiny(tmp_path_factory.mktemp("whole") / "tiny")


@pytest.fixture
def own_toy(tmp_path: Path) -> Path:
    """A grey folder for one test to damage."""
    return make_folder(tmp_path / "toy")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server of both embedded models, with the limits that it has of itself."""
    with serving(MNIST, CIFAR) as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.short import shorten  # loads torch

    shorten(monkeypatch)
