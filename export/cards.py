"""python -m export.cards [FOLDER]: all cards, the leaderboard and the README's table; or the card of one folder."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from export.leaderboard import best_table, leaderboard_json, leaderboard_markdown
from export.publish import CHECKOUT, SHELF, pin
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.publication.card import card_picture, render, write_card
from zoo.publication.folder import SIGNATURE, SUMS, Folder, read_folder
from zoo.publication.picture import PICTURE
from zoo.publication.publish import move_into_place, seal

README = CHECKOUT / "README.md"
MARKS = re.compile(r"(?<=<!-- models -->\n).*?(?=<!-- /models -->)", re.DOTALL)


def shelf() -> list[Folder]:
    """The folders of model_cards/, checked, by name."""
    return [read_folder(sums.parent) for sums in sorted(SHELF.glob(f"*/{SUMS}"))]


def main(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="One published folder elsewhere.")] = None,
) -> None:
    """Write all of model_cards/ that follows from the records, and the README's table; or one folder's card."""
    for published in shelf() if folder is None else [read_folder(folder)]:
        path = renew_card(published)
        if path.parent == SHELF.resolve():
            pin(read_folder(path))
    if folder is not None:
        return
    from export.plots import pictures  # brings matplotlib, which one card does not need

    folders = shelf()
    for path, text in pages(folders).items():
        write_whole(path, text)
    for name, content in pictures(folders).items():
        write_whole(SHELF / name, content)


def pages(folders: list[Folder]) -> dict[Path, str]:
    """The text of each page that follows from the records of all folders."""
    return {
        README: MARKS.sub(lambda _: best_table(folders, "model_cards/"), README.read_text(encoding="utf-8")),
        SHELF / "README.md": leaderboard_markdown(folders),
        SHELF / "leaderboard.json": leaderboard_json(folders),
    }


def renew_card(folder: Folder) -> Path:
    """The folder's path, once it holds the card and picture of its records; otherwise it is replaced as a whole."""
    path, records = folder.path.resolve(), (folder.config, folder.certificate, folder.evaluation)
    picture = folder.read(PICTURE) if PICTURE in folder.digests else None
    if (folder.read("README.md").decode(), picture) == (
        render(*records),
        card_picture(folder.config, folder.evaluation),
    ):
        print(f"{path}/README.md: as it was")
        return path
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        fresh = Path(scratch) / path.name
        shutil.copytree(path, fresh, ignore=shutil.ignore_patterns(SIGNATURE))
        write_card(fresh, *records)
        seal(fresh)
        signed = (path / SIGNATURE).exists()
        move_into_place(fresh, path)
    print(f"{path}/README.md: written" + signed * f"; {SIGNATURE} was of other files and is gone: `zoo sign` it again")
    return path


if __name__ == "__main__":
    run_script(main, "python -m export.cards")
