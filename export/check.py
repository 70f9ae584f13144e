"""python -m export.check, which is `make models-check`: check every folder of model_cards/ again.

It compares the files with SHA256SUMS and the registry; certificate, graphs and card with new ones; the stored rates and
radii with new ones over the whole test split (over its first images if the whole would take more than a minute); ONNX
Runtime with PyTorch over the first images; attacks with VRA; then the leaderboard and the README's table. Needs the
test splits (ZOO_DATA). The exit code is 1 if something differs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from export.cards import pages, shelf
from export.publish import MAX_FILE, SHELF, pinned
from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.data.splits import Split, load_split
from zoo.epsilon import parse_epsilon
from zoo.hub.client import load
from zoo.inference.evaluate import array_images, curve_epsilons
from zoo.inference.runtime import Model
from zoo.publication.card import render
from zoo.publication.folder import Folder
from zoo.publication.verify import verify
from zoo.records import SAMPLE, Evaluation
from zoo.registry import find

WHOLE = 60  # seconds: models that were evaluated in less are evaluated again on the whole split,
IMAGES = 500  # and others on its first images
MAX_SHELF = 200 * 2**20  # bytes of all folders together


def main() -> int:
    """Check every published folder again."""
    folders, wrong = shelf(), []
    for folder in folders:
        start = time.perf_counter()
        found = [f"{folder.config.name}: {line}" for line in (*unpinned(folder), *differences(folder))]
        if not folder.evaluation.pgd_images:
            found.append(f"{folder.config.name}: never attacked")
        print(f"{folder.config.name}: {'DIFFERS' if found else 'as published'}, {time.perf_counter() - start:.0f} s")
        wrong += found
    wrong += [
        f"{path}: not what `python -m export.cards` writes"
        for path, text in pages(folders).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    total = sum(path.stat().st_size for path in SHELF.rglob("*"))
    if total > MAX_SHELF:
        wrong.append(f"{SHELF}: {total:,} bytes, at most {MAX_SHELF:,} are allowed")
    print("\n".join(wrong) if wrong else f"{len(folders)} models, {total / 2**20:.1f} MiB: all as published")
    return 1 if wrong else 0


def unpinned(folder: Folder) -> Iterator[str]:
    """A line if the registry pins another folder. Raises UnknownModelError if it has no such model."""
    entry = find(folder.config.name)
    if entry.digest is None:
        yield "published.json: has no such model, `python -m export.cards` enters it"
    elif any(getattr(entry, field) != value for field, value in pinned(folder).items()):
        yield "published.json: not what `python -m export.cards` writes"


def differences(folder: Folder) -> Iterator[str]:
    """A line for each thing in a published folder that does not hold."""
    yield from verify(folder)
    if folder.read("README.md").decode() != render(folder.config, folder.certificate, folder.evaluation):
        yield "README.md: not the card of these records"
    for path in folder.path.iterdir():
        if path.stat().st_size > MAX_FILE:
            yield f"{path.name}: {path.stat().st_size:,} bytes, at most {MAX_FILE:,} are allowed"
    for line in (*folder.evaluation.broken(), *_answers(folder)):
        yield f"evaluation.json: {line}"


def _answers(folder: Folder) -> Iterator[str]:
    """A line for each stored rate or radius that is not that of the test split, or for which PyTorch differs.

    This machine may sum in another order than the one that measured, so what rounding explains is no difference.
    """
    stored, info = folder.evaluation, DATASETS[folder.config.dataset]
    if (stored.dataset, stored.split) != (info.name, info.test_split):
        yield f"of {stored.dataset}, {stored.split}, expected {info.name}, {info.test_split}"
        return
    split = load_split(info.name, info.test_split)
    if split.revision != stored.revision:
        yield f"measured on data of sha256 {stored.revision[:16]}..., here is {split.revision[:16]}..."
        return
    total = len(split.labels)
    if (stored.images, len(stored.radii)) != (total, min(SAMPLE, total)):
        yield f"has {stored.images} images and {len(stored.radii)} radii, expected {total} and {min(SAMPLE, total)}"
        return
    source = f"local-dir:{folder.path}"
    onnx, pytorch = load(source), load(source, backend="torch")
    assert pytorch.module is not None
    slack, constants = pytorch.module.slack, pytorch.module.margin_lipschitz
    tolerance = float(slack[torch.isfinite(slack)].min() / constants[constants > 0].min())
    right, radii = _measured(onnx, split, total if stored.seconds < WHOLE else IMAGES)
    for backend, found in (("onnx", right * radii), ("torch", np.multiply(*_measured(pytorch, split, IMAGES)))):
        count = min(len(found), len(stored.radii))
        gap = np.abs(found[:count] - stored.radii[:count])
        if not gap.max() <= tolerance:  # NaN is a difference
            yield f"the radius of image {gap.argmax()} is off by {gap.max():.3g} in {backend}"
    yield from wrong_rates(stored, curve_epsilons(onnx.norm, onnx.input_shape), right, radii, tolerance)


def _measured(model: Model, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of the first images is right, bool [N], and its radius, float64 [N]."""
    data = array_images(model.config.dataset, split._replace(images=split.images[:count], labels=split.labels[:count]))
    answers = [(model.outputs(images), classes) for images, classes in data.read(data.chunks)]
    right = np.concatenate([outputs.label == classes for outputs, classes in answers])
    return right, np.concatenate([outputs.radius for outputs, _ in answers])


def wrong_rates(
    stored: Evaluation, grid: Sequence[float], right: np.ndarray, radii: np.ndarray, tolerance: float
) -> Iterator[str]:
    """A line for each stored rate that contradicts the first images, of which these are right, with these radii.

    right: bool [N]. radii: float64 [N]. If these are all images, only radii within `tolerance` of an epsilon leave its
    rate some room; otherwise the images that are missing here leave more. grid: the epsilons of a curve that never
    reaches 0.
    """
    others = stored.images - len(right)
    if not right.sum() <= round(stored.clean_accuracy * stored.images, 6) <= right.sum() + others:
        yield f"clean accuracy {stored.clean_accuracy}, {right.mean()} of the first {len(right)} are right"
    known, beyond = grid[: len(stored.curve)], grid[len(stored.curve) :]
    if [epsilon for epsilon, _ in stored.curve] != known:
        yield "the epsilons of its curve are not those of `zoo.inference.evaluate`"
    rates = {f"VRA at {text}": (parse_epsilon(text), rate) for text, rate in stored.vra.items()}
    rates |= {f"the curve at {epsilon}": (epsilon, rate) for epsilon, rate in stored.curve}
    rates |= {f"the curve at {epsilon}": (epsilon, 0.0) for epsilon in beyond[:1]}
    for name, (epsilon, rate) in rates.items():
        fewest, most = ((right & (radii > epsilon + change)).sum() for change in (tolerance, -tolerance))
        if not fewest <= round(rate * stored.images, 6) <= most + others:
            yield f"{name} is {rate}, of the first {len(right)} {fewest / len(right)} are certified"
    total, rounding = float((right * radii).sum()), tolerance * len(right) + 1e-9 * stored.images
    most_each = beyond[0] if beyond else math.inf
    if not total - rounding <= stored.acr * stored.images <= total + rounding + (others and others * most_each):
        yield f"ACR {stored.acr}, of the first {len(right)} it is {total / len(right)}"


if __name__ == "__main__":
    run_script(main, "python -m export.check")
