"""The plots: Matplotlib figures as SVG in the page, so that their ink follows the theme and text stays text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from space.answers import NORM_NAMES, Answer, unit
from zoo.figures import radius_text

if TYPE_CHECKING:
    from space.attack import Point

INK = "#010203"  # a colour that `_svg` replaces by that of the page's text
BLUE, ORANGE, GREEN, GREY = "#3a96d6", "#e08a00", "#009e73", "#8a8a8a"  # distinct also without red and green

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "text.color": INK,
        "text.parse_math": False,  # a class may be called "$5"
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


def margins(answer: Answer, path: Sequence[Point]) -> str:
    """The attack's margin against the size of the perturbation, with the proved floor and the radius."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
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
    figure.legend(loc="outside upper left", fontsize=9, ncols=3)  # above the axes, so that it hides no line
    return _svg(figure, "Margin along the attack against the size of the perturbation")


def curves(answers: Sequence[Answer]) -> str:
    """Certified accuracy against epsilon for each model, with the radius of this picture marked on its curve."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for answer, colour, line in zip(answers, (BLUE, ORANGE), ("-", "--"), strict=True):
        measured = answer.model.evaluation.curve or ((0.0, 0.0),)  # unmeasured: only the mark of this picture's radius
        epsilons, rates = np.array(measured).T
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
    figure.legend(loc="outside upper left", fontsize=9)
    return _svg(figure, "Certified accuracy against epsilon")


def scatter(rows: Styler, norm: str, epsilon: str) -> str:
    """Clean accuracy and VRA of the models of `space.board.rows`: each point is a button that names it."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    points = rows.data[["model", "clean %", "VRA %"]].to_numpy().tolist()
    for name, clean, vra in points:
        axes.plot([clean], [vra], "o", color=BLUE, markersize=12, alpha=0.75, gid=f"model:{name}", clip_on=False)
    axes.margins(0.1)
    axes.set(xlim=(None, min(100, axes.get_xlim()[1])), ylim=(None, min(100, axes.get_ylim()[1])))
    axes.set_xlabel("clean accuracy (%)")
    axes.set_ylabel(f"VRA at {epsilon} (%), {NORM_NAMES[norm]}")
    svg = _svg(figure, "Clean accuracy and VRA of each model", role="group")
    for name, clean, vra in points:
        said = f"{name}: clean {clean:.2f} %, VRA {vra:.2f} %"
        button = (
            f'<g class="point" role="button" tabindex="0" data-model="{name}" aria-label="{said}"><title>{said}</title>'
        )
        svg = svg.replace(f'<g id="model:{name}">', button)
    return svg


def _svg(figure: Figure, title: str, role: str = "img") -> str:
    """The figure as an element of the page."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace("font: ", "font-family: inherit; font: ")
    return f'<zoo-plot role="{role}" aria-label="{escape(title)}">{svg}</zoo-plot>'
