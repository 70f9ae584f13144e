"""python -m export RUN_DIR --name NAME: publish the weights of a training run."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.errors import InputError, ZooError


def main(
    run: Annotated[Path, typer.Argument(help="The folder that `python -m training` wrote.")],
    name: Annotated[str | None, typer.Option(help="The registered model's name; the recipe's where not given.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to publish; model_cards/NAME where not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate on the first test images only.")] = None,
    attack_images: Annotated[int, typer.Option(min=0, help="Attack so many test images; 0 for none.")] = 500,
) -> None:
    """Fold, certify, export, evaluate and describe the model of RUN."""
    recipe = run / "recipe.json"
    if not recipe.is_file():
        raise InputError(f"{run} holds no training run: `python -m training NAME --output {run}` makes one")
    name = name or str(json.loads(recipe.read_text()).get("name"))
    from export.publish import SHELF, pin, publish, seal  # brings torch, which --help does not need

    output = output or SHELF / name
    command = f"python -m export {shlex.join(sys.argv[1:])}"
    folder = publish(run, name, output, limit, attack_images, command)
    if output.resolve().parent == SHELF:
        pin({name: seal(output)})
    print(f"published {folder.path}: clean {folder.evaluation.clean_accuracy:.4f}, VRA {folder.evaluation.vra}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app(prog_name="python -m export")
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
