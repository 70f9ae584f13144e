"""The papers' losses with equal budget, network, optimiser, data and seeds: python -m benchmarks.losses COMPARISON...

Each loss has the radius that its paper trains with, in multiples of epsilon. Rates are measured on the validation
images with the converged estimate of the constants, never on the test split; the smallest network is trained with two
or three seeds. Results: benchmarks/losses.json, where a comparison that is not run again stays as it was; the curves of
those with several seeds: docs/losses-COMPARISON.png.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure

from training.loop import train
from training.losses import cll, emma, fixed_margin, gloro, gloro_trades
from training.recipes import find
from training.recipes.recipe import Recipe
from training.schedules import constant, epsilon_ramp
from zoo.cli.shell import run_script
from zoo.errors import InputError
from zoo.files import replacing, write_whole
from zoo.machine import machine

RESULTS = Path(__file__).with_suffix(".json")
PICTURES = Path(__file__).parents[1] / "docs"


def mnist() -> dict[str, Recipe]:
    """2C2F with MinMax at 1.58, 20 epochs; CLL's p and weight by eight-epoch runs (benchmarks/NOTES.md)."""
    base = replace(find("2c2f-mnist"), epsilon=1.58, epochs=20)
    every = losses(base, trades=1.5, emma_factor=1.5, slack={"p": 1e-3, "weight": 0.1})
    return {name: recipe for name, recipe in every.items() if name != "fixed margin"}


def cifar10_jpeg75() -> dict[str, Recipe]:
    """LiResNet L4W32 at 36/255, four epochs at 2e-3, the losses that differ most."""
    base = replace(find("liresnet-l4w32-cifar10-jpeg75"), epochs=4, learning_rate=2e-3)
    every = losses(base, trades=1.2, emma_factor=1.5, slack={"p": 0.3, "weight": 1e-4})
    return {name: every[name] for name in ("fixed margin", "GloRo-TRADES", "EMMA", "CLL")}


def by_cll() -> dict[str, Recipe]:
    """4C3F at 36/255 as CLL's paper trains it, six epochs: CLL with three settings, and GloRo-TRADES."""
    base = replace(find("4c3f-cll-cifar10-jpeg75"), epochs=6)
    trades = {"loss_options": {"weight": 1.2}, "training_epsilon": epsilon_ramp(base.epsilon, 1.1)}
    return {
        "CLL": base,
        "CLL, p 0.6": replace(base, loss_options={**base.loss_options, "p": 0.6}),
        "CLL, radius 0.25": replace(base, training_epsilon=constant(0.25)),
        "GloRo-TRADES": replace(base, loss=gloro_trades, **trades),
    }


def losses(base: Recipe, trades: float, emma_factor: float, slack: dict[str, float]) -> dict[str, Recipe]:
    """The recipe with each loss in the place of its own: GloRo's radius is 1.1 epsilon, CLL's is constant."""
    ours, theirs = epsilon_ramp(base.epsilon, emma_factor), epsilon_ramp(base.epsilon, 1.1)
    base = replace(base, loss_options={})
    return {
        "fixed margin": replace(base, loss=fixed_margin, training_epsilon=ours),
        "fixed margin, GloRo's radius": replace(base, loss=fixed_margin, training_epsilon=theirs),
        "GloRo": replace(base, loss=gloro, training_epsilon=theirs),
        "GloRo-TRADES": replace(base, loss=gloro_trades, loss_options={"weight": trades}, training_epsilon=theirs),
        "EMMA": replace(base, loss=emma, training_epsilon=ours),
        "CLL": replace(base, loss=cll, loss_options=slack, training_epsilon=constant(base.epsilon)),
    }


def liplt() -> dict[str, Recipe]:
    """CRM for 2C2F with ReLU at 1.58, 20 epochs: with LipLT's constants of pairs, and with the product's."""
    base = replace(find("2c2f-relu-crm-mnist"), epochs=20)
    return {"CRM, LipLT": base, "CRM, product": replace(base, estimate="product")}


@dataclass(frozen=True)
class Comparison:
    """Recipes by the name of what differs between them, each trained with the seeds 0 to `seeds` - 1."""

    recipes: Callable[[], dict[str, Recipe]]
    seeds: int = 1


COMPARISONS = {
    "mnist": Comparison(mnist, seeds=3),
    "liplt": Comparison(liplt, seeds=3),
    "cifar10-jpeg75": Comparison(cifar10_jpeg75),
    "by-cll": Comparison(by_cll),
}


def result(loss: str, recipe: Recipe, seed: int) -> dict[str, Any]:
    """The validation numbers of a run's last epoch, and its rates by epoch."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, Path(folder) / "run", seed)
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    last = epochs[-1]
    row = {
        "loss": loss,
        "network": recipe.name,
        "epsilon": recipe.epsilon,
        "epochs": recipe.epochs,
        "seed": seed,
        "clean": last["validation_accuracy"],
        "estimated_vra": last["estimated_vra"],
        "K": last["lipschitz_estimate"],
        "cpu_minutes": round((time.process_time() - start) / 60, 2),
        "by_epoch": {
            "clean": [epoch["validation_accuracy"] for epoch in epochs],
            "estimated_vra": [epoch["estimated_vra"] for epoch in epochs],
        },
    }
    print(row, flush=True)
    return row


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Clean accuracy and estimated VRA by epoch: each loss's mean over its seeds, on the band that they span."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    titles = {"clean": "clean accuracy", "estimated_vra": f"estimated VRA at {rows[0]['epsilon']:.4g}"}
    panels = figure.subplots(1, 2)
    for panel, (rate, title) in zip(panels, titles.items(), strict=True):
        for loss in dict.fromkeys(row["loss"] for row in rows):
            curves = 100 * np.array([row["by_epoch"][rate] for row in rows if row["loss"] == loss])
            epochs = range(1, curves.shape[1] + 1)
            (line,) = panel.plot(epochs, curves.mean(axis=0), label=loss)
            panel.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=line.get_color(), alpha=0.2)
        last = [100 * row[rate] for row in rows]
        panel.set(xlabel="epoch", title=f"{title}, %, validation images", ylim=(min(last) - 12, max(last) + 4))
        panel.set_xticks(range(0, rows[0]["epochs"] + 1, 5))
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def main(names: Annotated[list[str] | None, typer.Argument(metavar="COMPARISON")] = None) -> None:
    """Train with the papers' losses at equal budget: all comparisons, or mnist, liplt, cifar10-jpeg75, by-cll."""
    if unknown := sorted(set(names or ()) - set(COMPARISONS)):
        raise InputError(f"no comparison is called {unknown[0]!r}, expected one of {', '.join(COMPARISONS)}")
    for name in names or list(COMPARISONS):
        recipes = COMPARISONS[name].recipes()
        rows = [result(loss, recipes[loss], seed) for loss in recipes for seed in range(COMPARISONS[name].seeds)]
        results = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
        results |= {"machine": machine(), name: rows}
        write_whole(RESULTS, json.dumps(results, indent=1) + "\n")
        if COMPARISONS[name].seeds > 1:
            draw(rows, PICTURES / f"losses-{name}.png")
        for loss in recipes:
            print(f"{loss}: {spread(rows, loss, 'clean')} clean, {spread(rows, loss, 'estimated_vra')} estimated VRA")


def spread(rows: list[dict[str, Any]], loss: str, rate: str) -> str:
    """A loss's mean rate over its seeds in percent, with the smallest and the largest where there are several."""
    rates = [100 * row[rate] for row in rows if row["loss"] == loss]
    mean = f"{fmean(rates):.1f}"
    return mean if len(rates) == 1 else f"{mean} ({min(rates):.1f} to {max(rates):.1f})"


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.losses")
