"""Train a model of the zoo, on whatever there is; everything needed is in the extra [train].

    python -m training RECIPE --output DIR                                     one CPU or one GPU
    accelerate launch --multi_gpu -m training RECIPE --output DIR              all GPUs of a machine
    torchrun --nproc_per_node 2 -m training RECIPE --output DIR                two processes on a CPU
    torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 \
        -m training RECIPE --output DIR                                        the same on each of two machines

A recipe's batch is shared by all processes, so its result is the same up to rounding; --accumulate N passes it in N
pieces where it does not fit. (`accelerate launch --cpu --num_processes 2` starts one process only: use torchrun.)
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from training.recipes import RECIPES, find
from zoo.cli import run
from zoo.errors import InputError


def main(
    recipe: Annotated[
        str | None, typer.Argument(help="The model to train, see --list; or two-moons, a picture.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A new folder for the run.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs; the schedules stretch.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Train on the first images only.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps; --resume goes on.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="Another folder of images, with a subfolder for each class.")
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Pass each batch in so many pieces, to save memory.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    list_recipes: Annotated[bool, typer.Option("--list", help="Show all recipes and exit.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Show the recipe as JSON and exit.")] = False,
) -> None:
    """Train RECIPE into a folder: weights.safetensors, metrics.jsonl, curves.png, recipe.json and checkpoints."""
    if list_recipes:
        for name, entry in RECIPES.items():
            print(f"{name:40} {entry.loss.__name__}, {entry.epochs} epochs. {entry.paper or ''}".rstrip())
        return
    if recipe is None:
        raise InputError("name a recipe: --list shows all")
    if recipe == "two-moons":
        _draw_two_moons(output)
        return
    chosen = find(recipe)
    if epochs is not None:
        chosen = dataclasses.replace(chosen, epochs=epochs)
    if describe:
        print(json.dumps(chosen.describe(), indent=1))
        return
    if output is None:
        raise InputError("say where to write: --output DIR")
    from training.loop import train  # slow to import, and the options above need none of it

    train(chosen, output, seed=seed, limit=limit, steps=steps, resume=resume, images=data, accumulate=accumulate)


def _draw_two_moons(output: Path | None) -> None:
    """A picture instead of a model, see `training.moons`."""
    if output is None or output.suffix != ".png":
        raise InputError("two-moons is a picture: say where to write it, --output FILE.png")
    from training.moons import draw

    for shown in draw(output):
        print(f"{shown.loss:14} epsilon {shown.epsilon:4}: CRA {100 * shown.cra:6.2f} %, K {shown.steepness:6.1f}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "python -m training", "error")
