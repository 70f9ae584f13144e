"""The command `zoo doctor`: can this installation run and check the models that it ships?"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from zoo import __version__
from zoo.cli.display import pairs
from zoo.data.datasets import DATASETS
from zoo.errors import ZooError, one_line
from zoo.files import is_folder
from zoo.hub.client import load
from zoo.registry import ENTRIES
from zoo.shelves import shipped

BASE = ("numpy", "pillow", "huggingface-hub", "typer", "rich")
OPTIONAL_PACKAGES = (
    "safetensors",
    "onnx",
    "pyarrow",
    "timm",
    "accelerate",
    "starlette",
    "uvicorn",
    "tritonclient",
    "model-signing",
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `problem` is None if it is as it should be."""

    subject: str
    found: str
    problem: str | None = None


def doctor() -> int:
    """Check this installation and the models that it ships."""
    findings = list(examine())
    problems = [finding for finding in findings if finding.problem]
    console = Console()
    console.print(
        pairs((finding.subject, f"{finding.found}{'  PROBLEM' * bool(finding.problem)}") for finding in findings)
    )
    console.print()
    console.print(pairs((finding.subject, str(finding.problem)) for finding in problems) if problems else "All well.")
    return 1 if problems else 0


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which they are best read."""
    yield Finding("certified-zoo", __version__)
    yield Finding("python", f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    for package in BASE:
        found = _version(package)
        yield Finding(package, found or "not installed", None if found else f"pip install {package}")
    yield _onnxruntime()
    yield _torch()
    for package in OPTIONAL_PACKAGES:
        yield Finding(package, _version(package) or "not installed (optional)")
    yield _data()
    yield Finding("HF_ENDPOINT", os.environ.get("HF_ENDPOINT", "not set"))
    yield Finding("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "not set"))
    for name in (name for name, entry in ENTRIES.items() if entry.digest and shipped(name)):
        yield _model(name)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _onnxruntime() -> Finding:
    found = {package: number for package in ("onnxruntime", "onnxruntime-gpu") if (number := _version(package))}
    if len(found) == 2:
        # Both install the same folder, so that either may be half overwritten, and removing one breaks the other.
        problem = "both are installed: uninstall both, then install one"
        return Finding("onnxruntime", ", ".join(f"{name} {number}" for name, number in found.items()), problem)
    if not found:
        return Finding("onnxruntime", "not installed", "pip install -e '.[onnx]' in a checkout")
    try:
        import onnxruntime

        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    except Exception as error:  # a broken installation may raise anything
        return Finding("onnxruntime", "does not import", one_line(error))
    name, number = next(iter(found.items()))
    return Finding(name, f"{number}, providers {providers}")


def _torch() -> Finding:
    found = _version("torch")
    if found is None:
        return Finding("torch", "not installed (optional: verify, train, export)")
    try:
        import torch
    except Exception as error:  # as above
        return Finding("torch", found, f"does not import: {one_line(error)}")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Finding("torch", f"{found}, {build}, GPU {'yes' if torch.cuda.is_available() else 'no'}")


def _data() -> Finding:
    setting = os.environ.get("ZOO_DATA")
    if not setting:
        return Finding("ZOO_DATA", "not set")
    if not is_folder(setting):
        return Finding("ZOO_DATA", setting, "no such folder")
    present = [name for name in DATASETS if (Path(setting) / name).is_dir()]
    return Finding("ZOO_DATA", f"{setting}: {', '.join(present) or 'none of the known data sets'}")


def _model(name: str) -> Finding:
    """Whether the model loads, with all checks of its files, and answers for one image."""
    try:
        import numpy as np

        model = load(name)
        model.predict(np.zeros(model.input_shape, dtype=np.uint8))
    except (ZooError, ImportError) as error:
        return Finding(name, "does not answer", one_line(error))
    return Finding(name, "loads and answers")
