"""The command `zoo`. NumPy, onnxruntime and torch are imported inside the commands that need them.

Exit codes: 0 done; 1 a check failed (`verify` found a difference, `doctor` a problem, `predict` could not read some of
the images); 2 a mistake, told in one line.
"""

from __future__ import annotations

from typing import Annotated

import typer

from zoo import __version__
from zoo.cli import comparison, doctor, evaluation, hub, models, proofs, server
from zoo.cli.shell import Command, run

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Image classifiers whose answers come with a proof: no perturbation below the certified radius changes "
        "the label."
    ),
    epilog=(  # \b keeps the line breaks
        "\b\n"
        "NAME     a name from `zoo list`, local-dir:PATH or hf-hub:ORG/NAME@REVISION\n"
        "EPSILON  a number or a fraction, such as 36/255, in pixels of [0, 1]\n"
        "\n\b\n"
        "Exit codes: 0 done; 1 a check failed; 2 a mistake, told in one line."
    ),
)


@app.callback(invoke_without_command=True)
def zoo(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(f"certified-zoo {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("list", cls=Command)(models.list_command)
for _command in (
    models.info,
    comparison.compare,
    models.predict,
    models.samples,
    proofs.verify,
    evaluation.evaluate,
    server.serve,
    doctor.doctor,
    hub.pull,
    hub.push,
    hub.sign,
    hub.hub,
):
    app.command(cls=Command)(_command)


def main() -> None:
    """Runs the command line and exits."""
    run(app, "zoo")
