"""The leaderboard's pictures: certified accuracy against epsilon, and clean accuracy against VRA beside the papers'."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.leaderboard import group
from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.publication.folder import Folder
from zoo.records import aim

# Okabe and Ito's colours without yellow, then distant ones of Tol's; successive models also differ in line and mark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
COLOURS += ("#882255", "#999933", "#332288", "#DD3333")
LINES, MARKS = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))), ("o", "s", "^", "D", "v", "P", "X")
OTHERS: dict[str, Any] = {"color": "#AAAAAA", "label": "others, see the table"}
ABREAST = 2  # panels
WIDTH, HEIGHT, LEGEND, NAME = 5.2, 4.6, 3.3, 0.175  # inches: a panel's sides, the legend's width, its lines' height
FEW = 0.05  # the share of images below which a curve is no longer shown


def pictures(folders: Sequence[Folder]) -> dict[str, bytes]:
    """PNG files by name: `curves-DATA.png` and `scatter-DATA.png` for each data set with several models.

    A model has a colour and its name there if it is `leading`; the others are grey.
    """
    chosen = sorted(folders, key=lambda folder: -next(iter(folder.evaluation.vra.values())))
    drawn = {}
    for kind in dict.fromkeys(group(folder.config.dataset) for folder in chosen):
        models = [folder for folder in chosen if group(folder.config.dataset) == kind]
        if len(models) > 1:
            looks = _looks(leading(models))
            drawn[f"curves-{kind}.png"] = _curves(kind, models, looks)
            drawn[f"scatter-{kind}.png"] = _scatter(models, looks)
    return drawn


def leading(models: Sequence[Folder]) -> list[Folder]:
    """The models with the largest clean accuracy of a norm, or the largest VRA at an epsilon of its curves."""
    best: dict[tuple[str, float], tuple[float, Folder]] = {}
    for folder in models:
        for epsilon, rate in ((0.0, folder.evaluation.clean_accuracy), *folder.evaluation.curve):
            place = folder.config.norm, epsilon
            if rate >= FEW and (place not in best or rate > best[place][0]):
                best[place] = rate, folder
    names = {folder.config.name for _, folder in best.values()}
    return [folder for folder in models if folder.config.name in names]


def _curves(kind: str, models: Sequence[Folder], looks: dict[str, dict[str, Any]]) -> bytes:
    norms = sorted({folder.config.norm for folder in models})
    figure, panels = _figure(len(norms), f"Certified accuracy on {_data(models)}")
    for norm, axes in zip(norms, panels, strict=True):
        shown = [folder for folder in models if folder.config.norm == norm]
        end = max(epsilon for folder in shown for epsilon, rate in folder.evaluation.curve if rate >= FEW)
        for text in DATASETS[kind].epsilons[norm]:
            if (size := parse_epsilon(text)) <= end:
                axes.axvline(size, color="grey", linestyle=":", linewidth=1)
                corner = {"transform": axes.get_xaxis_transform(), "ha": "right", "va": "top", "rotation": 90}
                axes.text(size, 0.98, text, **corner, color="grey", fontsize=8)
        for folder in shown:
            epsilons, rates = zip(*folder.evaluation.curve, strict=True)
            look = looks.get(folder.config.name)
            style: dict[str, Any] = OTHERS | {"linewidth": 0.8} if look is None else {**look, "marker": "", "zorder": 3}
            axes.plot(epsilons, [100 * rate for rate in rates], **style)
        axes.set(xlabel=f"epsilon ({norm}, pixels of [0, 1])", ylabel="right and certified (% of test images)")
        axes.set(xlim=(0, end), ylim=(0, 1.12 * axes.dataLim.y1))  # room for the epsilons
    return _png(figure, panels)


def _scatter(models: Sequence[Folder], looks: dict[str, dict[str, Any]]) -> bytes:
    """A panel for each epsilon that some model was made for, with the models made for it or for a larger one."""
    aims = {(folder.config.norm, aim(folder.config, folder.evaluation)) for folder in models}
    places = sorted((norm, parse_epsilon(text), text) for norm, text in aims)
    papers = dict.fromkeys(DATASETS[group(folder.config.dataset)].title for folder in models)
    where = "" if set(papers) == {_data(models)} else f" on {' and '.join(papers)}"
    figure, panels = _figure(len(places), f"{_data(models)}\nFilled: ours. Hollow: the papers' rows{where}")
    for (norm, size, epsilon), axes in zip(places, panels, strict=True):
        for folder in models:
            if folder.config.norm != norm or parse_epsilon(aim(folder.config, folder.evaluation)) < size:
                continue
            look = {**looks.get(folder.config.name, OTHERS | {"marker": "o"}), "linestyle": "none"}
            ours = 100 * folder.evaluation.clean_accuracy, 100 * folder.evaluation.vra[epsilon]
            axes.plot(*ours, **look, markersize=8 if folder.config.name in looks else 5)
            paper = folder.config.recipe.get("paper")
            if not paper or paper["epsilon"] != epsilon or paper["clean"] is None:
                continue
            row, color = (paper["clean"], paper["vra"]), look["color"]
            hollow = {"color": color, "fillstyle": "none", "linestyle": "none", "markeredgewidth": 1.5}
            axes.plot(*row, marker=look["marker"], markersize=9 if folder.config.name in looks else 5, **hollow)
            axes.plot(*zip(ours, row, strict=True), color=color, linewidth=0.6, alpha=0.6)
        axes.set(xlabel="clean accuracy (%)", ylabel=f"VRA at {norm} {epsilon} (%)")
    return _png(figure, panels)


def _data(models: Sequence[Folder]) -> str:
    """The title of the data that the models were measured on."""
    return " and ".join(dict.fromkeys(DATASETS[folder.config.dataset].title for folder in models))


def _looks(models: Sequence[Folder]) -> dict[str, dict[str, Any]]:
    """For each model by its name: its colour, line and mark, the same in both pictures, and its label."""
    looks = zip(*map(itertools.cycle, (COLOURS, LINES, MARKS)), strict=True)
    return {
        folder.config.name: {"color": colour, "linestyle": line, "marker": mark, "label": folder.config.name}
        for folder, (colour, line, mark) in zip(models, looks, strict=False)
    }


def _figure(count: int, title: str) -> tuple[Figure, list[Axes]]:
    columns, rows = min(count, ABREAST), math.ceil(count / ABREAST)
    figure = Figure(figsize=(WIDTH * columns + LEGEND, HEIGHT * rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _png(figure: Figure, panels: Sequence[Axes]) -> bytes:
    """The finished picture with one legend, and with no date and no version in it."""
    shown: dict[str, Any] = {}
    for axes in panels:
        axes.grid(alpha=0.3)
        lines, names = axes.get_legend_handles_labels()
        shown |= dict(zip(names, lines, strict=True))
    if grey := shown.pop(OTHERS["label"], None):
        shown[OTHERS["label"]] = grey  # the last one
    figure.set_figheight(max(figure.get_figheight(), NAME * (len(shown) + 1)))
    figure.legend(list(shown.values()), list(shown), loc="outside right upper", fontsize=8, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
