"""The leaderboard's pictures: certified accuracy against epsilon, and clean accuracy against VRA beside the papers'."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.leaderboard import group
from zoo.datasets import DATASETS
from zoo.folder import Folder

# Okabe and Ito's colours but yellow, told apart with any colour vision; a further model gets another line and mark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES, MARKS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
WIDTH, HEIGHT, LEGEND = 5.2, 4.6, 2.6  # of a panel and of the legend, in inches


def pictures(folders: Sequence[Folder]) -> dict[str, bytes]:
    """PNG files by name: `curves-DATA.png` and `scatter-DATA.png` for each data set with several models."""
    chosen = sorted(folders, key=lambda folder: -next(iter(folder.evaluation.vra.values())))
    drawn = {}
    for kind in dict.fromkeys(group(folder.config.dataset) for folder in chosen):
        models = [folder for folder in chosen if group(folder.config.dataset) == kind]
        if len(models) > 1:
            drawn[f"curves-{kind}.png"] = _curves(kind, models)
            drawn[f"scatter-{kind}.png"] = _scatter(kind, models)
    return drawn


def _curves(kind: str, models: Sequence[Folder]) -> bytes:
    norms = sorted({folder.config.norm for folder in models})
    figure, panels = _figure(len(norms), f"Certified accuracy on {DATASETS[kind].title}")
    for norm, axes in zip(norms, panels, strict=True):
        for folder, style in _styles(models):
            if folder.config.norm == norm:
                epsilons, rates = zip(*folder.evaluation.curve, strict=True)
                rates = [100 * rate for rate in rates]
                axes.plot(epsilons, rates, style["line"], color=style["color"], label=folder.config.name)
        axes.set(xlabel=f"epsilon ({norm}, pixels of [0, 1])", ylabel="right and certified (% of test images)")
        axes.set(xlim=(0, None), ylim=(0, 100))
    return _png(figure, panels)


def _scatter(kind: str, models: Sequence[Folder]) -> bytes:
    """A panel for each norm and each epsilon at which a paper has a row; where none has, the first epsilon."""
    places = []
    for norm in sorted({folder.config.norm for folder in models}):
        mine = [folder for folder in models if folder.config.norm == norm]
        known = list(mine[0].evaluation.vra)
        wanted = {paper["epsilon"] for folder in mine if (paper := folder.config.recipe.get("paper"))}
        places += [(norm, text) for text in known if text in wanted] or [(norm, known[0])]
    figure, panels = _figure(len(places), f"{DATASETS[kind].title}: ours filled, the papers' rows hollow")
    for (norm, epsilon), axes in zip(places, panels, strict=True):
        for folder, style in _styles(models):
            if folder.config.norm != norm or epsilon not in folder.evaluation.vra:
                continue
            look: dict[str, Any] = {"color": style["color"], "marker": style["mark"], "linestyle": "none"}
            ours = 100 * folder.evaluation.clean_accuracy, 100 * folder.evaluation.vra[epsilon]
            axes.plot(*ours, **look, markersize=8, label=folder.config.name)
            paper = folder.config.recipe.get("paper")
            if paper and paper["epsilon"] == epsilon and paper["clean"] is not None:
                theirs = paper["clean"], paper["vra"]
                axes.plot(*theirs, **look, markersize=9, fillstyle="none", markeredgewidth=1.5)
                axes.plot(*zip(ours, theirs, strict=True), color=style["color"], linewidth=0.6, alpha=0.6)
        axes.set(xlabel="clean accuracy (%)", ylabel=f"VRA at {norm} {epsilon} (%)")
    return _png(figure, panels)


def _styles(models: Sequence[Folder]) -> list[tuple[Folder, dict[str, str]]]:
    """Each model with its colour, line and mark, the same in both pictures."""
    looks = ((line, mark, colour) for line, mark in zip(LINES, MARKS, strict=True) for colour in COLOURS)
    return [
        (folder, {"line": line, "mark": mark, "color": colour})
        for folder, (line, mark, colour) in zip(models, itertools.cycle(looks), strict=False)
    ]


def _figure(count: int, title: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH * count + LEGEND, HEIGHT), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    panels[0].set_title(title, loc="left")
    return figure, panels


def _png(figure: Figure, panels: Sequence[Axes]) -> bytes:
    """The finished picture with one legend, and with no date and no version in it."""
    shown: dict[str, Any] = {}
    for axes in panels:
        axes.grid(alpha=0.3)
        lines, names = axes.get_legend_handles_labels()
        shown |= dict(zip(names, lines, strict=True))
    figure.legend(list(shown.values()), list(shown), loc="outside right upper", fontsize=8, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
