"""Ask every published model for a counter-example to its certificate: `make soundness`.

    python -m benchmarks.soundness [NAME ...] [--images 900] [--starts 1100] [--replays 2] [--forgeries 100000]

Each part's row of a model is written to benchmarks/soundness.json as soon as it is known; a row that is there for the
same proof and as many is not measured again, but for verdicts of "not checked". docs/soundness.md says what the parts
test. Exit code 1 where something was found.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.soundness import attacks, forgeries, pairs, replay, second
from benchmarks.soundness.page import PAGE, rendered
from benchmarks.soundness.subject import Subject
from export.cards import shelf
from export.publish import SHELF
from zoo.cli.shell import run_script
from zoo.errors import UnknownModelError
from zoo.files import sha256, write_whole
from zoo.machine import machine
from zoo.publication.folder import Folder
from zoo.publication.weights import weight_names

RESULTS = Path(__file__).parents[1] / "soundness.json"
PARTS: dict[str, Callable[[Subject, int], dict[str, Any]]] = {
    "pairs": pairs.test,
    "attacks": attacks.test,
    "replay": replay.test,
    "second verifier": second.test,
}
SMALL, CHUNK = "mlp-two-moons", 1000  # the folder that is forged; mutants of one fork
IMAGES = 2000  # of a test split, at most, that the parts choose from


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Models; all of model_cards/.")] = None,
    images: Annotated[int, typer.Option(min=0, help="Images whose pairs are compared; 0 for none.")] = 900,
    starts: Annotated[int, typer.Option(min=0, help="Attacks on a model.")] = 1100,
    replays: Annotated[int, typer.Option(min=0, help="Images that are evaluated exactly.")] = 2,
    second_verifier: Annotated[bool, typer.Option(help="Check each folder by tests/checker.")] = True,
    forged: Annotated[int, typer.Option("--forgeries", min=0, help="Mutants of a small folder.")] = 100_000,
    output: Annotated[Path, typer.Option(help="The file of results, which is added to.")] = RESULTS,
) -> int:
    """Look for counter-examples to the certificates of published models."""
    folders = {folder.config.name: folder for folder in shelf()}
    if unknown := sorted(set(names or ()) - set(folders)):
        raise UnknownModelError(f"model_cards/ has no {unknown[0]!r}, it has {', '.join(folders)}")
    counts = {"pairs": images, "attacks": starts, "replay": replays, "second verifier": int(second_verifier)}
    results = json.loads(output.read_bytes()) if output.exists() else {"machine": machine(), "models": {}}
    for name in names or folders:
        folder = folders[name]
        known = results["models"].get(name, {})
        proved = proof_sha256(folder)
        row: dict[str, Any] = known if known.get("sha256") == proved else {"sha256": proved}
        subject = None
        for part, count in counts.items():
            if row.get(part, {"asked": 0})["asked"] >= count:
                continue
            subject = subject or Subject.of(folder, IMAGES)
            start = time.process_time()
            found = PARTS[part](subject, count)
            row[part] = {"asked": count, **found, "seconds": round(time.process_time() - start, 1)}
            print(name, part, json.dumps(row[part]), flush=True)
            results["models"] = dict(sorted({**results["models"], name: row}.items()))
            write(results, output)
    _forge(results, forged, output)
    wrong = sum(row[part]["violations"] for row in results["models"].values() for part in PARTS if part in row)
    return 1 if wrong or results["forgeries"]["wrong"] else 0


def proof_sha256(folder: Folder) -> str:
    """Of the certificate, the certified graph and the weights: what cards and measurements do not change."""
    return sha256(*(folder.path / name for name in ("certificate.json", "model.onnx", *weight_names(folder.digests))))


def _forge(results: dict[str, Any], count: int, output: Path) -> None:
    """Mutants up to this number, after those that were judged before; counted together."""
    row = results.setdefault("forgeries", {"folder": SMALL, "mutants": 0, "outcomes": {}, "wrong": [], "MiB": 0})
    while row["mutants"] < count:
        last = min(count, row["mutants"] + CHUNK)
        found = forgeries.test(SHELF / SMALL, row["mutants"], last)
        for outcome, more in found["outcomes"].items():
            row["outcomes"][outcome] = row["outcomes"].get(outcome, 0) + more
        row |= {
            "mutants": last,
            "parsed files": row.get("parsed files", 0) + (last - row["mutants"]) * forgeries.FUZZED,
            "wrong": row["wrong"] + found["wrong"],
            "MiB": max(row["MiB"], found["MiB"]),
        }
        print("forgeries", json.dumps(row), flush=True)
        write(results, output)


def write(results: dict[str, Any], path: Path) -> None:
    """The results, and the page where they are those of the repository."""
    texts = {path: json.dumps(results, indent=1) + "\n"}
    if path == RESULTS:
        texts[PAGE] = rendered(PAGE.read_text(encoding="utf-8"), results)
    for place, text in texts.items():
        write_whole(place, text)


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.soundness")
