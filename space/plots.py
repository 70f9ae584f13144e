"""The plots: Matplotlib figures as SVG in the page, so that their ink follows the theme and text stays text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from space.answers import Answer, unit
from zoo.figures import radius_text

if TYPE_CHECKING:
    from space.attack import Point

INK = "#010203"  # stands for the colour of the page's text
BLUE, ORANGE, GREEN, GREY = "#3a96d6", "#e08a00", "#009e73", "#8a8a8a"  # told apart without red against green
NEAREST = 10  # classes in the bar chart

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


def distances(answer: Answer) -> str:
    """How far each other class is, at least: bars in the order of distance, with epsilon as a line that moves."""
    nearest = answer.nearest(NEAREST)
    figure = Figure(figsize=(4.3, 0.9 + 0.28 * len(nearest)), layout="constrained")
    axes = figure.add_subplot()
    texts, radii = [text[:24] for text, _ in nearest], [radius for _, radius in nearest]
    positions = range(len(nearest))
    bars = axes.barh(positions, radii, color=BLUE)
    axes.bar_label(bars, [f" {radius_text(radius)}" for radius in radii], fontsize=9)
    axes.set_yticks(positions, texts)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(*radii, 1e-3))
    figure.supxlabel(f"certified distance ({unit(answer.model.norm)})", fontsize="medium")  # under the names as well
    axes.axvline(0, color=ORANGE, linewidth=2, linestyle=(0, (4, 2)), gid="epsilon")
    title = f"Certified distance from {answer.prediction.name} to each other class"
    return _svg(figure, title, axes)


def margins(answer: Answer, path: Sequence[Point]) -> str:
    """The attack's margin against the size of the perturbation, with the proved floor and the radius."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    radius = answer.prediction.radius
    sizes = [point.size for point in path]
    axes.axvspan(0, radius, color=GREEN, alpha=0.15, linewidth=0, label=f"certified: up to {radius_text(radius)}")
    axes.axvline(radius, color=GREEN, linewidth=1.5)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.plot(sizes, [point.margin for point in path], "o-", color=ORANGE, markersize=4, label="attack")
    inside = [(size, point.floor) for size, point in zip(sizes, path, strict=True) if point.floor >= 0]
    ends = [*inside, (radius, 0.0)] if radius <= max(sizes) else inside
    axes.plot(*zip(*ends, strict=True), "--", color=BLUE, label="proved floor")
    axes.set_xlim(0, max(*sizes, radius) * 1.05 or 1)
    axes.set_xlabel(f"size of the perturbation ({unit(answer.model.norm)})")
    axes.set_ylabel("margin (logits); below 0: changed")
    axes.legend(loc="upper right", fontsize=9)
    return _svg(figure, "Margin along the attack against the size of the perturbation")


def curves(answers: Sequence[Answer]) -> str:
    """Certified accuracy against epsilon for each model, with the radius of this picture marked on its curve."""
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for answer, colour, line in zip(answers, (BLUE, ORANGE), ("-", "--"), strict=True):
        epsilons, rates = np.array(answer.model.evaluation.curve).T
        axes.plot(epsilons, 100 * rates, line, color=colour)
        radius = answer.prediction.radius
        rate = 100 * np.interp(radius, epsilons, rates, right=0)
        label = f"{answer.model.name}\nthis picture: {answer.prediction.name}, {radius_text(radius)}"
        axes.plot([radius], [rate], "oD"[line == "--"], color=colour, markersize=8, label=label)
        axes.vlines(radius, 0, rate, color=colour, linestyle=line, linewidth=1)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    axes.set_xlabel(f"epsilon ({unit(answers[0].model.norm)})")
    axes.set_ylabel("certified accuracy on the test split (%)")
    axes.legend(loc="upper right", fontsize=9)
    return _svg(figure, "Certified accuracy against epsilon")


def _svg(figure: Figure, title: str, moving: Axes | None = None) -> str:
    """The figure as an element of the page; with `moving`, it says where epsilon lies on that x axis."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace("font: ", "font-family: inherit; font: ")
    unit = ""
    if moving is not None:  # an SVG of Matplotlib has 72 units to the inch
        (zero, _), (one, _) = moving.transData.transform([(0, 0), (1, 0)]) * 72 / figure.dpi
        unit = f' data-unit="{one - zero}" data-limit="{moving.get_xlim()[1]}"'
    return f'<zoo-plot role="img" aria-label="{escape(title)}"{unit}>{svg}</zoo-plot>'
