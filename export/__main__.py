"""python -m export RUN_DIR: publish the weights of a training run."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.shell import run_script
from zoo.data.datasets import dataset_of
from zoo.errors import InputError, require
from zoo.figures import percent_text
from zoo.publication.folder import Folder
from zoo.records import SAMPLE


def main(
    run: Annotated[Path, typer.Argument(help="The folder that `python -m training` wrote.")],
    output: Annotated[Path | None, typer.Option(help="Where to publish; RUN/published where not given.")] = None,
    shelf: Annotated[bool, typer.Option("--shelf", help="Publish into this checkout: model_cards/NAME.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate on the first test images only.")] = None,
    attack_images: Annotated[
        int, typer.Option(min=0, max=SAMPLE, help="Attack so many test images; 0 for none.")
    ] = SAMPLE,
) -> None:
    """Certify, export, evaluate and describe the model of RUN."""
    require("export")
    require("train")
    from export.publish import MAX_FILE, SHELF, pin, publish, run_settings, unfinished
    from training.own import read_own

    if shelf and read_own(run):
        raise InputError("--shelf is for registered models, and this run has data of its own: leave out --shelf")
    if shelf and output:
        raise InputError("--shelf says where to publish: leave out --output")
    target = SHELF / run_settings(run)["name"] if shelf else output
    if line := unfinished(run):
        print(line, file=sys.stderr)
    command = f"python -m export {shlex.join(sys.argv[1:])}"
    folder = publish(run, target, limit, attack_images, command, MAX_FILE if shelf else None)
    if shelf:
        pin(folder)
    print(f"published {folder.path}: {_measured(folder)}")
    if not shelf:
        given = "" if dataset_of(folder.config).made else f"; zoo predict local-dir:{folder.path} IMAGE"
        print(f"next: zoo verify {folder.path}{given}")


def _measured(folder: Folder) -> str:
    if not folder.evaluation.measured:
        return "not measured, there was no test set (--test of the training)"
    evaluation = folder.evaluation
    rates = ", ".join(f"{percent_text(rate)} at {epsilon}" for epsilon, rate in evaluation.vra.items())
    measured = f"{evaluation.images:,} images of {evaluation.dataset}, {evaluation.split}"
    return f"on {measured}: clean {percent_text(evaluation.clean_accuracy)}, VRA {rates}"


if __name__ == "__main__":
    run_script(main, "python -m export")
