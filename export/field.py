"""The whole field on one page: every published row that the zoo knows of, beside which its own models are small.

A registered model's row stands in the table of its family (`Reported`). Here are its VRAs at further radii, `MORE`, and
the rows of networks or trainings that are not registered, `OTHERS`. Numbers are the authors' own, in percent.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.registry import ENTRIES

TITLE = """## The field

Published by the authors, not measured by us: rows of papers, of their code's logs and of reviews, in percent, by data
set and norm. Most of the l2 constants behind them are estimates, and none of these numbers accounts for rounding. Names
in `this type` are registered here, in full size. "generated" and "ddpm": with images of a generative model beside the
training split. Kept in the tables of `zoo/architectures/` and in `export/field.py`.
"""


class Row(NamedTuple):
    """A published row: clean accuracy, and VRA by epsilon."""

    network: str
    dataset: str
    norm: str
    clean: float | None
    vra: dict[str, float]
    source: str


def _at(*rates: float) -> dict[str, float]:
    """VRAs at 36/255, 72/255, 108/255 and 1.0, as many as there are."""
    return dict(zip(("36/255", "72/255", "108/255", "1.0"), rates, strict=False))


def _beyond(*rates: float) -> dict[str, float]:
    """VRAs at 72/255, 108/255 and 1.0."""
    return dict(zip(("72/255", "108/255", "1.0"), rates, strict=False))


MORE = {
    "aol-patchwise-l-cifar10": _beyond(56.5, 49.4, 23.8),
    "aol-patchwise-l-cifar100": _beyond(26.3, 20.7),
    "bronet-l12w512-cifar10": _beyond(57.1, 43.0),
    "bronet-l12w512-la-cifar10": _beyond(57.2, 42.5),
    "bronet-l12w512-cifar100": _beyond(28.6, 19.2),
    "bronet-l12w512-la-cifar100": _beyond(29.1, 20.3),
    "bronet-l6w512-tiny-imagenet": _beyond(17.1, 10.1),
    "bronet-l6w512-la-tiny-imagenet": _beyond(19.0, 12.1),
    "bronet-l14w588-imagenet": _beyond(25.8, 17.5),
    "bronet-l14w588-la-imagenet": _beyond(27.9, 19.6),
    "cpl-xl-cifar10": _beyond(48.0, 33.0),
    "cpl-xl-cll-cifar10": _beyond(51.6, 38.1),
    "cpl-xl-cifar100": _beyond(20.9, 12.6),
    "cpl-xl-cll-cifar100": _beyond(28.1, 21.5),
    "lbdn-tiny-imagenet": _beyond(18.1, 13.4),
    "lipconvnet-20-cll-cifar10": _beyond(49.5, 36.7),
    "lipconvnet-20-cifar100": _beyond(23.7, 15.8),
    "lipconvnet-10-tiny-imagenet": _beyond(12.4, 7.5),
    "lipconvnet-20-cll-tiny-imagenet": _beyond(20.2, 15.5),
    "lipnext-l32w1024-cifar10": _beyond(59.2, 45.9),
    "lipnext-l32w2048-cifar10": _beyond(58.8, 43.3),
    "lipnext-l32w2048-cifar100": _beyond(31.9, 22.2),
    "lipnext-l32w2048-tiny-imagenet": _beyond(25.9, 18.0),
    "lipnext-1b-imagenet": {"1.0": 21.1},
    "lipnext-2b-imagenet": {"1.0": 22.4},
    "liresnet-l12w588-imagenet": {"1.0": 14.2},
    "liresnetpp-l12w512-cifar10": _beyond(56.3, 42.9),
    "liresnetpp-l12w512-cifar100": _beyond(28.3, 19.2),
    "liresnetpp-l12w512-tiny-imagenet": _beyond(15.7, 8.9),
    "liresnetpp-l12w588-imagenet": _beyond(25.1, 16.9),
    "liresnetpp-l12w512-generated-cifar10": _beyond(66.6, 53.5),
    "liresnetpp-l12w512-generated-cifar100": _beyond(38.5, 29.0),
    "liresnetpp-l12w512-generated-tiny-imagenet": _beyond(26.8, 18.6),
    "sll-xl-cifar10": _beyond(58.4, 51.3),
    "sll-xl-cifar100": _beyond(29.0, 23.3),
    "sll-xl-cll-cifar100": _beyond(29.0, 23.4),
    "sll-xl-tiny-imagenet": _beyond(16.8, 12.0),
    "4c3f-cll-cifar10": _beyond(44.2, 29.1),
    "6c2f-cll-cifar10": _beyond(43.5, 27.7),
    "8c2f-cll-tiny-imagenet": _beyond(16.5, 10.7),
    "8c2f-cll-epsilon1.0-tiny-imagenet": _beyond(19.0, 13.8),
}
HUANG = "Huang et al. 2021 (Local-Lip), arXiv 2111.01395"
SHIFT = "its authors, 2025; in their code a drop path makes the constants too small"
LOSCH = "Losch et al. 2023, tables 1 and 2"
SORTED = "Zhang et al. 2022 (SortNet), the authors' logs"
COMPARED = "compared with in Zhang et al. 2022 (distance nets; SortNet)"
GENERATED = "OpenReview TFAG9UznPv, with generated images"
LLC = "Prach et al. 2024 (1-Lipschitz layers compared), logs of 24 hours, validation"
BRANCHES = "its authors; verified by branch and bound"
OTHERS = (
    Row("SLL-XL with CLL", "cifar10", "l2", 73.0, _at(65.5, 57.8, 51.0), LOSCH),
    Row("a network of theirs", "cifar10", "l2", None, _at(69.05), GENERATED),
    Row("LipShiFT", "cifar10", "l2", 71.8, _at(63.2), SHIFT),
    Row("6C2F by Local-Lip-B, MaxMin", "cifar10", "l2", 77.4, _at(60.7), HUANG),
    Row("ConvNet-M with SOC", "cifar10", "l2", 76.9, _at(66.3, 53.4, 40.0, 6.7), LLC),
    Row("ConvNet-M with CPL", "cifar10", "l2", 76.7, _at(65.1, 51.5, 38.1, 5.5), LLC),
    Row("ConvNet-S with LOT", "cifar10", "l2", 76.7, _at(64.6, 50.6, 37.5, 4.9), LLC),
    Row("ConvNet-M with SLL", "cifar10", "l2", 75.3, _at(62.8, 48.9, 35.8, 4.8), LLC),
    Row("ConvNet-S with Cayley", "cifar10", "l2", 74.2, _at(61.1, 46.3, 32.8, 3.3), LLC),
    Row("ConvNet-M with AOL", "cifar10", "l2", 73.4, _at(61.0, 47.1, 34.7, 4.9), LLC),
    Row("ConvNet-M with BCOP", "cifar10", "l2", 74.0, _at(60.5, 45.7, 32.2, 3.4), LLC),
    Row("LipConvNet-20 with CLL", "cifar100", "l2", 48.2, _at(35.1, 25.3, 18.3), LOSCH),
    Row("LipShiFT", "cifar100", "l2", 43.3, _at(34.1), SHIFT),
    Row("LipShiFT", "tiny-imagenet", "l2", 36.2, _at(28.1), SHIFT),
    Row("8C2F by Local-Lip-B, MaxMin", "tiny-imagenet", "l2", 36.9, _at(23.4, 12.7, 6.1), HUANG),
    Row("4C3F by Local-Lip", "mnist", "l2", None, {"1.58": 55.8}, HUANG),
    Row("ReLU network by IBP", "mnist", "linf", 98.92, {"0.1": 97.25}, COMPARED),
    Row("ReLU network by CROWN-IBP", "mnist", "linf", None, {"0.3": 93.10}, COMPARED),
    Row("ReLU network by CROWN-IBP", "cifar10", "linf", None, {"2/255": 53.97}, COMPARED),
    Row("ReLU network by SABR", "cifar10", "linf", None, {"2/255": 62.57, "8/255": 35.25}, BRANCHES),
    Row("ReLU network by STAPS", "cifar10", "linf", None, {"2/255": 62.72}, BRANCHES),
    Row("ReLU network by IBP", "cifar10", "linf", None, {"8/255": 35.30}, COMPARED),
    Row("a network of theirs", "cifar10", "linf", None, {"8/255": 41.78}, GENERATED),
    Row("SortNet, wider MLP", "tiny-imagenet", "linf", 25.69, {"1/255": 18.18}, SORTED),
)


def field_markdown() -> str:
    """A table for each data set and norm, the largest VRA at its first radius first."""
    rows = sorted(_rows(), key=lambda row: (list(DATASETS).index(row.dataset), row.norm))
    parts = [TITLE]
    for (dataset, norm), of_kind in groupby(rows, key=lambda row: (row.dataset, row.norm)):
        chosen = list(of_kind)
        epsilons = sorted({text for row in chosen for text in row.vra}, key=parse_epsilon)
        heads = ["network", "clean", *(f"VRA at {text}" for text in epsilons), "published in"]
        lines = [heads, ["---"] * len(heads)]
        order = [*DATASETS[dataset].epsilons[norm], *epsilons]
        for row in sorted(chosen, key=lambda row: [-row.vra.get(text, 0.0) for text in order]):
            rates = [row.clean, *(row.vra.get(text) for text in epsilons)]
            lines.append([row.network, *("" if rate is None else f"{rate:.2f}" for rate in rates), row.source])
        parts.append(f"### {DATASETS[dataset].title}, {norm}: the field\n")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join(parts)


def _rows() -> Iterator[Row]:
    for name, entry in ENTRIES.items():
        if entry.reported is not None:
            network = f"`{name.removesuffix(f'-{entry.dataset}')}`"
            vra = {entry.reported.epsilon: entry.reported.vra, **MORE.get(name, {})}
            yield Row(network, entry.dataset, entry.norm, entry.reported.clean, vra, entry.reported.source)
    yield from OTHERS
