"""The folder to push as a Hugging Face Space: `python -m space.folder build/space`, after `make static`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from space.answers import folder, names
from space.words import STATIC
from zoo.cli.shell import run_script
from zoo.errors import InputError

HERE = Path(__file__).parent
START = "from space.app import main\n\nmain()\n"
IGNORED = shutil.ignore_patterns("__pycache__", "embedded", "screenshots", "*.sh")


def write(target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")]) -> None:
    """Write all that the Space needs and its requirements do not bring: app, package, published models, runtime."""
    if not (STATIC / "ort").is_dir():
        raise InputError("space/static/ort is missing: run `make static` first, it needs npm")
    if target.exists():
        raise InputError(f"{target} exists already: remove it, or name another folder")
    shutil.copytree(HERE, target / "space", ignore=IGNORED)
    shutil.copytree(HERE.parent / "zoo", target / "zoo", ignore=IGNORED)
    for name in names():
        shutil.copytree(folder(name).path, target / "zoo" / "embedded" / name)
    for name in ("README.md", "requirements.txt"):
        shutil.move(target / "space" / name, target / name)
    (target / "app.py").write_text(START, encoding="utf-8")


if __name__ == "__main__":
    run_script(write, "python -m space.folder")
