"""python -m export.renew [NAME ...]: published folders again, after a change of certificates, graphs or cards.

In each folder of model_cards/, or in those named, the weights and the recipe stay, and so does what attacks left,
which depends on the weights alone. The certificate is proved anew and the tightest pair looked for, both graphs are
written, model.onnx is evaluated on the whole test split, and the card, SHA256SUMS and the registry follow. Then `python
-m export.cards` writes the pages of all models. Needs the test splits (ZOO_DATA). An older folder stays until the new
one is whole.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated

import typer

from export.publish import SHELF, certified, measured, pin, progress_bars, tightest
from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.data.splits import load_split
from zoo.errors import CertificateError, InputError
from zoo.figures import percent_text
from zoo.publication.card import write_card
from zoo.publication.folder import Folder, read_folder
from zoo.publication.graph import write_graphs
from zoo.publication.publish import new_folder
from zoo.publication.weights import INDEX, weight_names
from zoo.records import Evaluation, ModelConfig, dumps, loads
from zoo.registry import find

ATTACK = ("pgd_accuracy", "pgd_images", "pgd")  # what of an evaluation stays


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all published ones where none is.")] = None,
) -> None:
    """Prove, write and evaluate published models again."""
    for name in names or sorted(path.parent.name for path in SHELF.glob("*/config.json")):
        folder = renew(SHELF / name)
        pin(folder)
        rates = ", ".join(f"{percent_text(rate)} at {epsilon}" for epsilon, rate in folder.evaluation.vra.items())
        print(f"{name}: clean {percent_text(folder.evaluation.clean_accuracy)}, VRA {rates}", flush=True)


def renew(path: Path) -> Folder:
    """The folder, with everything that follows from its weights, its recipe and the test split made again.

    Raises InputError where it is no published folder, CertificateError where an attack that the old evaluation reports
    had success inside a radius.
    """
    try:
        config = loads(ModelConfig, (path / "config.json").read_bytes(), f"{path}/config.json")
        old = loads(Evaluation, (path / "evaluation.json").read_bytes(), f"{path}/evaluation.json")
    except OSError as error:
        raise InputError(f"{path} is no published folder: {error.strerror}") from error
    entry, info = find(config.name), DATASETS[config.dataset]
    split = load_split(info.name, info.test_split)
    with new_folder(path) as folder, progress_bars() as progress:
        for name in (*weight_names(child.name for child in path.iterdir()), "config.json", INDEX):
            if (path / name).exists():
                shutil.copy(path / name, folder / name)
        certificate = certified(folder, entry, info.levels(entry.norm), progress)
        (folder / "certificate.json").write_text(dumps(certificate), encoding="utf-8")
        write_graphs(folder, config, certificate)
        command = f"python -m export.renew {config.name}"
        evaluation = measured(folder, config, certificate, split, info.epsilons[entry.norm], command, progress)[1]
        kept = {field: getattr(old, field) for field in ATTACK}
        searched = tightest(folder, certificate, split) if old.tightness else {}
        evaluation = dataclasses.replace(evaluation, **kept, **searched)
        if broken := evaluation.broken():
            raise CertificateError(f"{config.name}: {broken[0]}")
        (folder / "evaluation.json").write_text(dumps(evaluation), encoding="utf-8")
        write_card(folder, config, certificate, evaluation)
    return read_folder(path)


if __name__ == "__main__":
    run_script(main, "python -m export.renew")
