"""python -m export.cards: write every card in model_cards/ and the README's table again, from the records."""

from __future__ import annotations

import re

import typer

from export.card import render
from export.publish import CHECKOUT, SHELF, pin, seal
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


def main() -> None:
    """Write every card in model_cards/ and the README's table again, from the records."""
    for folder in shelf():
        (folder.path / "README.md").write_text(render(folder.config, folder.certificate, folder.evaluation))
        pin({folder.config.name: seal(folder.path)})
        print(f"rendered {folder.path.relative_to(CHECKOUT)}/README.md")
    README.write_text(MARKS.sub(lambda _: models_table(shelf()), README.read_text()))


if __name__ == "__main__":
    typer.run(main)
