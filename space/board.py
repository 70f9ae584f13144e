"""The zoo page: which models there are for a data set and a norm, and what they achieve at an epsilon."""

from __future__ import annotations

from typing import Any

import pandas
from pandas.io.formats.style import Styler

from space import answers
from zoo.data.datasets import DATASETS, dataset_of
from zoo.epsilon import parse_epsilon
from zoo.publication.card import paper_of
from zoo.publication.folder import Folder

COLUMNS = ["model", "data", "clean %", "VRA %", "ACR", "the paper's VRA"]
FORMATS: dict[Any, Any] = {"clean %": "{:.2f}", "VRA %": "{:.2f}", "ACR": "{:.4f}"}


def datasets() -> list[tuple[str, str]]:
    """Title and name of each data set that a model here was measured on; first those of the zoo's own data sets."""
    found = {folder.config.dataset: dataset_of(folder.config).title for folder in _measured()}
    return [(found[name], name) for name in dict.fromkeys([*DATASETS, *found]) if name in found]


def norms(dataset: str) -> list[str]:
    return sorted({folder.config.norm for folder in _measured() if folder.config.dataset == dataset})


def epsilons(dataset: str, norm: str) -> list[str]:
    """The epsilons at which the models of this data set and norm were measured, the smallest first."""
    return sorted({text for folder in chosen(dataset, norm) for text in folder.evaluation.vra}, key=parse_epsilon)


def chosen(dataset: str, norm: str) -> list[Folder]:
    return [folder for folder in _measured() if (folder.config.dataset, folder.config.norm) == (dataset, norm)]


def rows(dataset: str, norm: str, epsilon: str) -> Styler:
    """A row for each model, the largest VRA first."""
    found = [folder for folder in chosen(dataset, norm) if epsilon in folder.evaluation.vra]
    found.sort(key=lambda folder: -folder.evaluation.vra[epsilon])
    styled = pandas.DataFrame([_row(folder, epsilon) for folder in found], columns=pandas.Index(COLUMNS)).style
    styled.format(FORMATS)
    return styled


def _row(folder: Folder, epsilon: str) -> tuple[str | float, ...]:
    config, evaluation = folder.config, folder.evaluation
    paper = paper_of(config)
    beside = f"{paper['vra']:.2f} at {paper['epsilon']}, {paper['model']}" if paper else "none published"
    clean, vra = 100 * evaluation.clean_accuracy, 100 * evaluation.vra[epsilon]
    return config.name, config.dataset, clean, vra, evaluation.acr, beside


def _measured() -> list[Folder]:
    folders = map(answers.folder, answers.names())
    return [folder for folder in folders if folder.evaluation.measured]
