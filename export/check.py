"""python -m export.check: every folder of model_cards/ checked again, which is `make models-check`.

Files against SHA256SUMS and the registry, certificate and graphs proved and exported anew, the card rendered anew,
ONNX Runtime against PyTorch and the stored radii against new ones on the first test images, attacks against VRA; then
the leaderboard and the README's table. Needs the test splits (ZOO_DATA). Exit code 1 where something differs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
import typer

from export.cards import pages, shelf
from export.publish import MAX_FILE, SHELF, pinned
from zoo.card import render
from zoo.cli import run as run_app
from zoo.datasets import load_split
from zoo.evaluate import array_images, evaluate
from zoo.folder import Folder
from zoo.hub import load
from zoo.records import SAMPLE
from zoo.registry import find
from zoo.verify import verify

IMAGES = 500
MAX_SHELF = 200 * 2**20  # bytes of all folders


def main() -> int:
    """Check every published folder again."""
    folders, wrong = shelf(), []
    for folder in folders:
        start = time.perf_counter()
        found = [f"{folder.config.name}: {line}" for line in differences(folder)]
        if folder.evaluation.pgd_images < SAMPLE:
            found.append(f"{folder.config.name}: {folder.evaluation.pgd_images} images attacked, expected {SAMPLE}")
        print(f"{folder.config.name}: {'DIFFERS' if found else 'as published'}, {time.perf_counter() - start:.0f} s")
        wrong += found
    wrong += [
        f"{path}: not what `python -m export.cards` writes"
        for path, text in pages(folders).items()
        if not path.is_file() or path.read_text() != text
    ]
    total = sum(path.stat().st_size for path in SHELF.rglob("*"))
    if total > MAX_SHELF:
        wrong.append(f"{SHELF}: {total:,} bytes, at most {MAX_SHELF:,} are allowed")
    print("\n".join(wrong) if wrong else f"{len(folders)} models, {total / 2**20:.1f} MiB: all as published")
    return 1 if wrong else 0


def differences(folder: Folder) -> Iterator[str]:
    """What of a published folder does not hold."""
    entry = find(folder.config.name)
    if (entry.digest, entry.clean_accuracy, entry.vra) != tuple(pinned(folder).values()):
        yield "published.json: not what `python -m export.cards` writes"
    yield from verify(folder)
    if folder.read("README.md").decode() != render(folder.config, folder.certificate, folder.evaluation):
        yield "README.md: not the card of these records"
    for path in folder.path.iterdir():
        if path.stat().st_size > MAX_FILE:
            yield f"{path.name}: {path.stat().st_size:,} bytes, at most {MAX_FILE:,} are allowed"
    for epsilon, rate in folder.evaluation.pgd_accuracy.items():
        if rate < folder.evaluation.attacked_vra(epsilon):
            yield f"evaluation.json: PGD at {epsilon} leaves fewer images than are certified"
    yield from _answers(folder)


def _answers(folder: Folder) -> Iterator[str]:
    """Where the first images of the test split do not get the stored radii, or another runtime answers otherwise.

    The machine may sum in another order than the one that measured: what rounding explains is no difference.
    """
    stored = folder.evaluation
    expected = np.array(stored.radii[:IMAGES])
    if len(expected) < min(IMAGES, stored.images):
        yield f"evaluation.json: holds {len(expected)} radii, expected {min(IMAGES, stored.images)}"
        return
    split = load_split(stored.dataset, stored.split)
    if split.revision != stored.revision:
        yield f"evaluation.json: measured on data of sha256 {stored.revision[:16]}..., here is {split.revision[:16]}..."
        return
    source = f"local-dir:{folder.path}"
    onnx, pytorch = load(source), load(source, backend="torch")
    slack, constants = pytorch.module.slack, pytorch.module.margin_lipschitz  # type: ignore[union-attr]
    tolerance = float(slack[torch.isfinite(slack)].min() / constants[constants > 0].min())
    images, labels = split.images[: len(expected)], split.labels[: len(expected)]
    data = array_images(stored.dataset, split._replace(images=images, labels=labels))
    for model in (onnx, pytorch):
        radii = np.array(evaluate(model, data, list(stored.vra)).radii)
        gap = np.abs(radii - expected)
        if not gap.max() <= tolerance:  # NaN is a difference
            yield f"evaluation.json: the radius of image {gap.argmax()} is off by {gap.max():.3g} in {model.backend}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, "python -m export.check", "error")
