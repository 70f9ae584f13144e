"""Every published model beside the published row that it stands for: model_cards/README.md and leaderboard.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from export.field import field_markdown
from zoo.architectures import Architecture
from zoo.data.datasets import DATASETS
from zoo.figures import percent
from zoo.publication.card import NO_DIFFERENCE
from zoo.publication.folder import Folder
from zoo.records import aim
from zoo.registry import ENTRIES

INTRODUCTION = """# Published models

Measured with the shipped `model.onnx` on whole test splits (Tiny-ImageNet: its labelled validation split). VRA is the
share of images that are right and have a certified radius > epsilon, which is proved. The papers' Lipschitz constants
are mostly estimates, their radii take no account of rounding, and their data are the original ones: what differs is
named beside each row. Each model is one run with one seed, mostly a short one: differences of less than a point mean
little, between models of different epochs larger ones, too. Rows are sorted by the first VRA, whatever radius the
model was made for. Epochs and hours are those of the model that a run began with, if any, and its own. Hours are of
training steps, on CPUs that did other work as well: up to a factor of two. The page ends in [the field](#the-field),
every published row that we know of.
Written by `python -m export.cards` from the folders' records; `make models-check` checks every folder again.
"""
ORDER = "The largest VRA at each epsilon. `zoo list --dataset D --norm N --epsilon E` has the others in this order.\n"
CAPTIONS = {
    "curves": "Certified accuracy of every {} model against epsilon",
    "scatter": "VRA against clean accuracy of the {} models that were made for an epsilon or more, and of papers' rows",
}


def rows(folders: Sequence[Folder]) -> list[dict[str, Any]]:
    """What leaderboard.json says of each model; rates are fractions, the paper's and the differences percent."""
    return [_row(folder) for folder in sorted(folders, key=_place)]


def leaderboard_json(folders: Sequence[Folder]) -> str:
    return json.dumps({"models": rows(folders)}, indent=1, ensure_ascii=False) + "\n"


def leaderboard_markdown(folders: Sequence[Folder]) -> str:
    parts = [INTRODUCTION, "## Which model should I use?\n", best_table(folders), ORDER]
    for kind, of_kind in groupby(rows(folders), key=lambda row: group(row["dataset"])):
        models, title = list(of_kind), DATASETS[kind].title
        parts.append(f"## {title[0].upper() + title[1:]}\n")
        if len(models) > 1:
            parts += [f"![{caption.format(title)}]({name}-{kind}.png)\n" for name, caption in CAPTIONS.items()]
        for (dataset, norm), group_rows in groupby(models, key=lambda row: (row["dataset"], row["norm"])):
            chosen = list(group_rows)
            parts.append(f"### {DATASETS[dataset].title}, {norm}\n")
            parts.append(_measured(chosen) + "\n")
            parts.append(_beside(chosen) + "\n")
            if otherwise := _trained_otherwise(chosen):
                parts.append(otherwise + "\n")
    return "\n".join([*parts, field_markdown()])


def best_table(folders: Sequence[Folder], shelf: str = "") -> str:
    """The model with the largest VRA for each data set, norm and epsilon; `shelf` leads from the page to the models."""
    heads = ["data", "norm", "epsilon", "use", "VRA", "clean", "parameters"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for (dataset, norm), of_kind in groupby(rows(folders), key=lambda row: (row["dataset"], row["norm"])):
        chosen = list(of_kind)
        for epsilon in chosen[0]["vra"]:
            best = max(chosen, key=lambda row: row["vra"][epsilon])
            link, vra = _link(best["name"], shelf), percent(best["vra"][epsilon])
            cells = [DATASETS[dataset].title, norm, epsilon, link, vra]
            lines.append(_line([*cells, percent(best["clean_accuracy"]), f"{best['parameters']:,}"]))
    return "\n".join(lines) + "\n"


def group(dataset: str) -> str:
    """The data set under whose heading the models of this one stand: CIFAR-10 for its copy of less quality."""
    return DATASETS[dataset].original or dataset


def _place(folder: Folder) -> tuple[int, str, float]:
    """A sort key: by data set and norm, then the largest VRA at the first epsilon first."""
    config = folder.config
    return list(DATASETS).index(config.dataset), config.norm, -next(iter(folder.evaluation.vra.values()))


def _row(folder: Folder) -> dict[str, Any]:
    config, evaluation = folder.config, folder.evaluation
    return {
        "name": config.name,
        "dataset": config.dataset,
        "norm": config.norm,
        "parameters": ENTRIES[config.name].parameters,
        "loss": config.recipe.get("loss"),
        "optimizer": config.recipe.get("optimizer"),
        "batch_size": config.recipe.get("batch_size"),
        "made_for": aim(config, evaluation),
        "epochs": config.took("epochs"),
        "hours": config.took("hours"),
        "hardware": config.recipe.get("hardware"),
        "images": evaluation.images,
        "clean_accuracy": evaluation.clean_accuracy,
        "vra": evaluation.vra,
        "acr": evaluation.acr,
        "pgd_accuracy": evaluation.pgd_accuracy,
        "pgd_images": evaluation.pgd_images,
        "attacked_vra": {text: evaluation.attacked_vra(text) for text in evaluation.pgd_accuracy},
        "paper": _paper(folder),
    }


def _paper(folder: Folder) -> dict[str, Any] | None:
    """The paper's row with how many percent points ours is above it, each None where either is not known."""
    paper = folder.config.recipe.get("paper")
    if not paper:
        return None
    vra = folder.evaluation.vra.get(paper["epsilon"])
    return {
        **paper,
        "clean_difference": _above(folder.evaluation.clean_accuracy, paper["clean"]),
        "vra_difference": _above(vra, paper["vra"]),
    }


def _above(rate: float | None, percent: float | None) -> float | None:
    return None if rate is None or percent is None else round(100 * rate - percent, 2)


def _measured(models: Sequence[dict[str, Any]]) -> str:
    epsilons = list(models[0]["vra"])
    heads = ["model", "loss", "made for", "parameters", "epochs", "hours", "clean"]
    heads += [*(f"VRA at {text}" for text in epsilons), "ACR", "PGD"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for row in models:
        vra = row["attacked_vra"]
        attacked = [f"{percent(rate)} ({percent(vra[text])})" for text, rate in row["pgd_accuracy"].items()]
        pgd = f"{', '.join(attacked)} of {row['pgd_images']:,}" if attacked else "not attacked"
        cells = [_link(row["name"]), _words(row["loss"]), row["made_for"], f"{row['parameters']:,}"]
        hours = "?" if row["hours"] is None else str(row["hours"])
        cells += [str(row["epochs"]), hours, percent(row["clean_accuracy"])]
        cells += [percent(row["vra"][text]) for text in epsilons]
        cells += [f"{row['acr']:.4f}", pgd]
        lines.append(_line(cells))
    what = "points" if DATASETS[models[0]["dataset"]].made else "images"
    return "\n".join(lines) + (
        f"\n\nPercent of {models[0]['images']:,} {what}. PGD: percent that an attack leaves of the first {what}, whose "
        "number stands behind it, by epsilon; in brackets the VRA of the same, which may be harder than all."
    )


def _beside(models: Sequence[dict[str, Any]]) -> str:
    heads = ["model", "stands for", "clean", "VRA", "ours, in points", "what differs"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for row in models:
        paper = row["paper"]
        if paper is None:
            lines.append(_line([_link(row["name"]), "no published row", "", "", "", ""]))
            continue
        clean = "not given" if paper["clean"] is None else f"{paper['clean']:.2f}"
        above = [
            f"{what} {points:+.2f}"
            for what in ("clean", "VRA")
            if (points := paper[f"{what.lower()}_difference"]) is not None
        ]
        source = f"{paper['model']} ({paper['source']})"
        vra = f"{paper['vra']:.2f} at {paper['epsilon']}"
        lines.append(
            _line(
                [
                    _link(row["name"]),
                    source,
                    clean,
                    vra,
                    ", ".join(above) or "not comparable",
                    "; ".join(paper["differences"]) or NO_DIFFERENCE,
                ]
            )
        )
    return "\n".join(lines)


def _trained_otherwise(models: Sequence[dict[str, Any]]) -> str:
    """The models that share their network with another one, side by side; empty if there are none."""
    networks: dict[Architecture, list[dict[str, Any]]] = {}
    for row in models:
        networks.setdefault(ENTRIES[row["name"]].architecture, []).append(row)
    epsilons = list(models[0]["vra"])
    heads = ["model", "loss", "made for", "optimizer", "batch", "epochs", "clean"]
    heads += [*(f"VRA at {text}" for text in epsilons), "ACR"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for row in [row for same in networks.values() if len(same) > 1 for row in same]:
        cells = [_link(row["name"]), _words(row["loss"]), row["made_for"], _words(row["optimizer"])]
        cells += [str(row["batch_size"]), str(row["epochs"])]
        cells += [percent(rate) for rate in (row["clean_accuracy"], *row["vra"].values())]
        lines.append(_line([*cells, f"{row['acr']:.4f}"]))
    title = "The same network, trained otherwise, which is not the loss alone: rates and augmentation are in the cards."
    return f"{title}\n\n" + "\n".join(lines) if len(lines) > 2 else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _link(name: str, shelf: str = "") -> str:
    return f"[{name}]({shelf}{name}/README.md)"


def _words(value: str) -> str:
    return value.replace("_", " ")
