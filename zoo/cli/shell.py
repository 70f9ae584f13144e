"""What all commands share: the form of their help, their arguments, and how they end."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperArgument, TyperCommand

from zoo.cli.display import printable
from zoo.errors import InputError, ZooError
from zoo.files import is_folder
from zoo.hub.client import LOCAL
from zoo.machine import limit_threads
from zoo.registry import ENTRIES

INTERRUPTED = 130  # 128 + SIGINT, as shells count
LATER = 3  # seconds that the other processes of a launch wait, so that the first one can tell a mistake of all
READER_LEFT = 141  # 128 + SIGPIPE
TOKEN_FORM = "at least 16 printable ASCII characters without spaces, such as `openssl rand -hex 16` prints"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name, local-dir:PATH or hf-hub:ORG/NAME.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with exact numbers instead of a table.")]
FolderArgument = Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A name, a source or a folder.")]


class Command(TyperCommand):
    """A command whose help shows its arguments by their metavars alone, and whose mistakes name the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:  # for an option without its value, it does not name the command itself
            error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(name if required else f"[{name}]" for name, required, _ in self._arguments(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments = [(name, text) for name, _, text in self._arguments(ctx)]
        parameters = (parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "option")
        options = [record for parameter in parameters if (record := parameter.get_help_record(ctx))]
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _arguments(self, ctx: Any) -> list[tuple[str, bool, str]]:
        """The name of each argument, whether it must be given, and its help."""
        return [
            (
                f"{parameter.metavar or parameter.name}{'...' * (parameter.nargs != 1)}",
                parameter.required,
                (parameter.get_help_record(ctx) or ("", ""))[1],
            )
            for parameter in self.get_params(ctx)
            if isinstance(parameter, TyperArgument)
        ]


def run(app: typer.Typer, program: str, label: str = "zoo") -> NoReturn:
    """Runs a command line and exits; a mistake is one line on stderr that begins with `label`, and exit code 2."""
    limit_threads()
    try:
        if sys.stdout is None:  # closed by the caller: the answer would go nowhere, unnoticed
            raise InputError("standard output is closed")
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal's encoding lacks a character
        code = app(prog_name=program, standalone_mode=False)
    except typer.TyperException as error:  # an option or argument that does not parse
        context = getattr(error, "ctx", None)
        command = context.command_path if context else program
        message = error.format_message().rstrip(".")
        code = _fail(f"{message}{'' if message.endswith('?') else '.'} See `{command} --help`.", label)
    except ZooError as error:
        code = _fail(str(error), label)
    except OSError as error:  # a full disk, a terminal that is gone
        code = _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), label)
    except typer.Abort:
        code = INTERRUPTED
    except SystemExit:  # how Typer and Rich end where the reader of a pipe has left: commands here return their code
        code = READER_LEFT
    sys.exit(code or 0)


def run_script(main: Callable[..., Any], program: str) -> NoReturn:
    """`run` for a module whose only command is `main`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, program, "error")


def print_json(value: Any) -> int:
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
    return 0


def source_of(name: str) -> str:
    """The name or source that was meant: a folder may be given without `local-dir:`."""
    return LOCAL + name if name not in ENTRIES and is_folder(name) else name


def token_of(file: Path | None, variable: str = "") -> str | None:
    """The token in the file, or else in the environment variable, without white space around it; None without both.

    Raises InputError where the file cannot be read, or where what is there is no token.
    """
    if file is not None:
        where = str(file)
        try:
            token = file.read_bytes().decode("utf-8", "replace").strip()
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}: expected a file that holds a token, {TOKEN_FORM}") from error
    elif variable in os.environ:
        where, token = variable, os.environ[variable].strip()
    else:
        return None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{where} holds no token: expected {TOKEN_FORM}")
    return token


def _fail(message: str, label: str) -> int:
    """Prints the error as one line on stderr; the exit code.

    If torchrun or accelerate started several processes, all of them mostly meet the same mistake. The first one tells
    it and ends, and the launcher ends the others while they wait; one that is still there had a mistake of its own.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(LATER)
    print(f"{label}: {printable(' '.join(message.split()))}", file=sys.stderr)
    return 2
