"""Train a model of the zoo on one processor or many; everything needed is in the extra [train].

    python -m training RECIPE --output DIR                                     one CPU or one GPU
    python -m training NETWORK --data FOLDER --output DIR                      your pictures, a subfolder for each class
    accelerate launch --multi_gpu -m training RECIPE --output DIR              all GPUs of a machine
    torchrun --nproc_per_node 2 -m training RECIPE --output DIR                two processes on a CPU
    torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 \
        -m training RECIPE --output DIR                                        the same on each of two machines

All processes share a recipe's batch, so that its result is the same up to rounding; --accumulate N passes it in N
pieces if it does not fit into memory. (`accelerate launch --cpu --num_processes 2` starts one process only: use
torchrun.) Every process has the whole weights: a launch with FSDP or DeepSpeed is refused, see `training.loop`.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from training import train
from zoo.cli.display import grouped, table
from zoo.cli.shell import run_script
from zoo.errors import InputError, require
from zoo.registry import ENTRIES

if TYPE_CHECKING:
    from training.recipes.recipe import Recipe

TRACKER = "tensorboard"


def main(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe, see --list; with --data also a network, as liresnet-l4w32; or two-moons for a picture."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A new folder for the run.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs; the schedules stretch.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Train on the first images only.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps; --resume goes on.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of weights, order and augmentation.")] = 0,
    data: Annotated[
        str | None,
        typer.Option(help="Your pictures: a folder with a subfolder for each class, parquet, .npz, hf:ORG/NAME."),
    ] = None,
    test: Annotated[str | None, typer.Option(help="Your test pictures, for the export to measure.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of your data set, by default that of its folder.")] = None,
    license: Annotated[
        str | None, typer.Option(help="The licence of your data set and of the model, as cc-by-4.0.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="The side that your pictures are brought to.")] = None,
    init: Annotated[str | None, typer.Option(help="A published model whose weights to start from.")] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="The radius to train a network for on your pictures, as 36/255.")
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Pass each batch in so many pieces, to save memory.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    tracker: Annotated[str, typer.Option(help="Who gets the metrics too: any that Accelerate knows.")] = TRACKER,
    list_recipes: Annotated[bool, typer.Option("--list", help="Show all recipes and exit.")] = False,
    describe: Annotated[
        bool, typer.Option("--describe", help="Show the recipe and what to expect of it as JSON and exit.")
    ] = False,
) -> None:
    """Train RECIPE into a folder: weights.safetensors, metrics.jsonl, curves.png, recipe.json and checkpoints."""
    require("train")
    from training.plan import check_name, plan
    from training.recipes import RECIPES

    if list_recipes:
        Console().print(_table(RECIPES.values()), "\nPercentages are the papers'. All that a recipe sets: --describe.")
        return
    if recipe is None:
        raise InputError("name a recipe: --list shows all")
    if recipe == "two-moons":
        others = (epochs, limit, steps, seed, data, test, name, license, size, init, epsilon, resume, describe)
        if any(others) or accumulate > 1 or tracker != TRACKER:
            raise InputError("two-moons is a picture and takes no option but --output FILE.png")
        _draw_two_moons(output)
        return
    check_name(recipe, data)  # an unknown name is reported before anything else that is missing
    own = {"data": data, "test": test, "name": name, "license": license, "size": size, "init": init, "epsilon": epsilon}
    if describe:
        chosen = plan(recipe, **own, epochs=epochs, limit=limit).recipe
        print(json.dumps({**chosen.describe(), "expected": chosen.expected()}, indent=1))
        return
    if output is None:
        raise InputError("say where to write: --output DIR")
    options = {"seed": seed, "accumulate": accumulate, "resume": resume, "tracker": tracker}
    first = os.environ.get("RANK", "0") == "0"
    done = train(recipe, output, epochs=epochs, limit=limit, steps=steps, **options, **own)
    if not done:
        if first:
            print("stopped and saved: the same command with --resume goes on", file=sys.stderr)
        raise typer.Abort  # exit code 130
    if first:
        print(f"next: python -m export {shlex.quote(str(output))}")


def _table(recipes: Iterable[Recipe]) -> Table:
    """The recipes by data set and norm, with the papers' clean accuracy and VRA in percent."""

    def place(recipe: Recipe) -> str:
        entry = ENTRIES[recipe.name]
        return f"{entry.dataset}, {entry.norm}"

    def cells(recipe: Recipe) -> tuple[str, ...]:
        paper = recipe.row()
        clean = _figure(paper.clean) if paper and paper.clean is not None else ""
        vra, epsilon = (_figure(paper.vra), paper.epsilon) if paper else ("", "")
        return (recipe.name, recipe.loss.__name__.replace("_", " "), str(recipe.epochs), clean, vra, epsilon)

    columns = ("recipe", "loss", "epochs", "clean", "VRA", "at")
    result = table(columns, grouped(recipes, place, cells), ("epochs", "clean", "VRA", "at"), tight=True)
    result.columns[0].no_wrap = True
    return result


def _figure(percent: float) -> str:
    """The rate in at most five characters, which leave room for the names of losses in 80 columns: 64.10, 100.0."""
    return f"{percent:.2f}"[:5]


def _draw_two_moons(output: Path | None) -> None:
    """A picture instead of a model, see `training.moons`."""
    if output is None or output.suffix != ".png":
        raise InputError("two-moons is a picture: say where to write it, --output FILE.png")
    if not output.parent.is_dir():
        raise InputError(f"no folder {output.parent} to write {output.name} in")
    from training.moons import draw

    for shown in draw(output):
        print(f"{shown.loss:14} epsilon {shown.epsilon:4}: VRA {100 * shown.vra:6.2f} %, K {shown.steepness:6.1f}")


if __name__ == "__main__":
    run_script(main, "python -m training")
