"""python -m export.cards [FOLDER]: every card, the leaderboard and the README's table, from the records; or a card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from export.leaderboard import leaderboard_json, leaderboard_markdown
from export.publish import CHECKOUT, SHELF, pin, seal
from zoo.card import render
from zoo.datasets import DATASETS
from zoo.folder import SUMS, Folder, read_folder

README = CHECKOUT / "README.md"
MARKS = re.compile(r"(?<=<!-- models -->\n).*?(?=<!-- /models -->)", re.DOTALL)


def models_table(folders: list[Folder]) -> str:
    """One line for each published model, at the first epsilon of its data set."""
    rows = ["| name | data | clean | VRA | at epsilon | ACR |", "|---|---|---|---|---|---|"]
    for folder in folders:
        name, evaluation = folder.config.name, folder.evaluation
        epsilon, vra = next(iter(evaluation.vra.items()))
        rows.append(
            f"| [{name}](model_cards/{name}/README.md) | {DATASETS[folder.config.dataset].title} "
            f"| {100 * evaluation.clean_accuracy:.2f} % | {100 * vra:.2f} % | {folder.config.norm} {epsilon} "
            f"| {evaluation.acr:.3f} |"
        )
    return "\n".join(rows) + "\n"


def shelf() -> list[Folder]:
    """The folders of model_cards/, checked, by name."""
    return [read_folder(sums.parent) for sums in sorted(SHELF.glob(f"*/{SUMS}"))]


def main(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="One published folder elsewhere.")] = None,
) -> None:
    """Write all of model_cards/ that follows from the records, and the README's table; or one folder's card."""
    if folder is not None:
        write_card(read_folder(folder))
        return
    for published in shelf():
        write_card(published)
        pin(read_folder(published.path))
    from export.pictures import pictures  # brings matplotlib, which one card does not need

    folders = shelf()
    for path, text in pages(folders).items():
        path.write_text(text)
    for name, content in pictures(folders).items():
        (SHELF / name).write_bytes(content)


def pages(folders: list[Folder]) -> dict[Path, str]:
    """What each page that follows from the records of all folders should say."""
    return {
        README: MARKS.sub(lambda _: models_table(folders), README.read_text()),
        SHELF / "README.md": leaderboard_markdown(folders),
        SHELF / "leaderboard.json": leaderboard_json(folders),
    }


def write_card(folder: Folder) -> None:
    """Render the folder's card and seal it."""
    (folder.path / "README.md").write_text(render(folder.config, folder.certificate, folder.evaluation))
    print(f"rendered {folder.path}/README.md")
    seal(folder.path)


if __name__ == "__main__":
    typer.run(main)
