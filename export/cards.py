"""python -m export.cards [FOLDER]: every card in model_cards/ and the README's table, or one card, from the records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

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
    """Write every card in model_cards/ and the README's table again, from the records; or one folder's card."""
    if folder is not None:
        write_card(read_folder(folder))
        return
    for published in shelf():
        pin({published.config.name: write_card(published)})
    README.write_text(MARKS.sub(lambda _: models_table(shelf()), README.read_text()))


def write_card(folder: Folder) -> str:
    """The folder's card, rendered and sealed; the digest of its SHA256SUMS."""
    (folder.path / "README.md").write_text(render(folder.config, folder.certificate, folder.evaluation))
    print(f"rendered {folder.path}/README.md")
    return seal(folder.path)


if __name__ == "__main__":
    typer.run(main)
