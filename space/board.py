"""The zoo page: which models there are for a data set and a norm, and what they achieve at an epsilon."""

from __future__ import annotations

from typing import Any

import pandas
from pandas.io.formats.style import Styler

from space import answers
from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.registry import ENTRIES, Entry

COLUMNS = ["model", "data", "clean %", "VRA %", "ACR", "the paper's VRA"]
FORMATS: dict[Any, Any] = {"clean %": "{:.2f}", "VRA %": "{:.2f}", "ACR": "{:.4f}"}


def datasets() -> list[tuple[str, str]]:
    """Title and name of each data set that has a model here."""
    found = dict.fromkeys(entry.dataset for entry in _entries())
    return [(DATASETS[name].title, name) for name in DATASETS if name in found]


def norms(dataset: str) -> list[str]:
    return sorted({entry.norm for entry in _entries() if entry.dataset == dataset})


def epsilons(dataset: str, norm: str) -> list[str]:
    """Where the models of this kind were measured, in order of size."""
    return sorted({text for entry in chosen(dataset, norm) for text in entry.vra}, key=parse_epsilon)


def chosen(dataset: str, norm: str) -> list[Entry]:
    return [entry for entry in _entries() if (entry.dataset, entry.norm) == (dataset, norm)]


def rows(dataset: str, norm: str, epsilon: str) -> Styler:
    """A row for each model, the largest VRA first."""
    found = sorted(
        (entry for entry in chosen(dataset, norm) if epsilon in entry.vra), key=lambda row: -row.vra[epsilon]
    )
    styled = pandas.DataFrame([_row(entry, epsilon) for entry in found], columns=pandas.Index(COLUMNS)).style
    styled.format(FORMATS)
    return styled


def _row(entry: Entry, epsilon: str) -> tuple[str | float, ...]:
    folder = answers.folder(entry.name)
    paper = folder.config.recipe.get("paper")
    beside = f"{paper['vra']:.2f} at {paper['epsilon']}, {paper['model']}" if paper else "none published"
    clean, acr = folder.evaluation.clean_accuracy, folder.evaluation.acr
    return entry.name, entry.dataset, 100 * clean, 100 * entry.vra[epsilon], acr, beside


def _entries() -> list[Entry]:
    return [ENTRIES[name] for name in answers.names()]
