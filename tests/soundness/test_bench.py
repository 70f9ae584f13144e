"""The adversary's bench finds what it looks for: a certificate that claims too much is seen, a true one is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.soundness import attacks, forgeries, pairs, replay, second
from benchmarks.soundness.__main__ import main, proof_sha256
from benchmarks.soundness.page import PAGE, rendered
from benchmarks.soundness.subject import Subject, pictures
from export.cards import shelf
from export.publish import SHELF
from tests import checker
from zoo.publication.folder import read_folder
from zoo.records import Outputs

from .replay import _product, exact

RESULTS = Path(pairs.__file__).parents[1] / "soundness.json"


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.of(read_folder(SHELF / "mlp-two-moons"), 500)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pairs_are_decided_without_rounding(norm: str):
    """Two images a quarter apart may claim a quarter together, and not the next larger number."""
    images = np.array([[0.5, 0.5], [0.5, 0.75]], np.float32).reshape(2, 1, 1, 2)
    labels, inf = np.array([0, 1]), np.inf
    radii = np.array([[inf, 0.125], [0.125, inf]])
    assert pairs.compare(images, labels, radii, norm) == (1, 1.0, [])
    radii[0, 1] = np.nextafter(0.125, 1)
    assert pairs.compare(images, labels, radii, norm).violations == [(0, 1)]


def test_the_nearest_of_many_pairs_is_found():
    random = np.random.default_rng(0)
    images = random.random((60, 1, 3, 3), dtype=np.float32)
    labels, radii = random.integers(0, 3, 60), random.random((60, 3)) / 8
    found = pairs.compare(images, labels, radii, "l2")
    ratios = [
        float(np.linalg.norm(images[i].astype(float) - images[j])) / (radii[i, labels[j]] + radii[j, labels[i]])
        for i in range(60) for j in range(i) if labels[i] != labels[j]
    ]  # fmt: skip
    assert (found.pairs, found.nearest) == (len(ratios), pytest.approx(min(ratios)))


def test_a_constant_that_is_a_tenth_too_small_shows_in_pairs(subject: Subject):
    images = pictures(subject, 300, np.random.default_rng(0))
    outputs = subject.model.outputs(images)
    assert len(set(outputs.label.tolist())) == 2
    assert images.min() >= 0
    assert images.max() <= 1
    assert not pairs.compare(images, outputs.label, outputs.class_radii, "l2").violations
    assert pairs.compare(images, outputs.label, outputs.class_radii / 0.9, "l2").violations


def test_attacks_stay_inside_and_find_a_constant_that_is_too_small(subject: Subject):
    row = attacks.test(subject, 32)
    assert row["violations"] == 0
    assert row["starts"] >= 31  # float32 may end beyond a distance; few do
    assert 0.8 < row["largest share of the allowed drop"] <= 1.0
    subject.proved.margin_lipschitz.mul_(0.9 * row["largest share of the allowed drop"])
    try:
        assert attacks.test(subject, 32)["violations"] > 0
    finally:
        subject.proved.margin_lipschitz.div_(0.9 * row["largest share of the allowed drop"])


def test_a_label_that_falls_inside_its_radius_is_seen(subject: Subject):
    images = subject.images[:2]
    labels = subject.model.outputs(subject.images).label
    other = np.stack([subject.images[np.flatnonzero(labels != labels[row])[0]] for row in range(2)])
    before = subject.model.outputs(images)
    lie = Outputs(before.logits, before.label, before.radius + 9, before.class_radii + 9, before.topk_radius)
    for claim, wrong in ((before, False), (lie, True)):
        assert [one.violated for one in attacks.judge(subject, claim, images, other, 1 - before.label)] == [wrong] * 2


def test_replay_sees_a_radius_above_the_exact_quotient_and_rounding_above_its_share(subject: Subject):
    row = replay.test(subject, 2)
    assert row["violations"] == 0
    assert 0 < row["largest share of T"] < 1
    for table, factor in (
        (subject.proved.margin_lipschitz, 1.001),
        (subject.proved.slack, row["largest share of T"] / 2),
    ):
        kept = table.clone()
        table.mul_(factor)
        assert replay.test(subject, 2)["violations"] > 0
        table.copy_(kept)


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (2, 300)])
def test_the_exact_product_is_the_sum_of_products(rows: int, columns: int):
    """By digits, against fractions one by one: numbers of all sizes, and a denominator that is no power of two."""
    random = np.random.default_rng(columns)
    weight = (random.standard_normal((rows, columns)) * 10.0 ** random.integers(-30, 20, (rows, columns))).astype("f4")
    values = exact(random.standard_normal((columns, 2)) * 2.0 ** random.integers(-80, 80, (columns, 2)))
    values[0, 0] = Fraction(1, 3)
    assert (_product(torch.from_numpy(weight), values) == exact(weight) @ values).all()


@pytest.mark.parametrize(("error", "violations"), [(checker.Failed, 1), (checker.Unchecked, 0)])
def test_what_fails_is_a_violation_and_what_cannot_be_checked_is_none(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, error: type[checker.Failed], violations: int
):
    assert second.test(subject, 1)["holds"]

    def check(folder: Path) -> str:
        raise error("why")

    monkeypatch.setattr(checker, "check", check)
    assert (second.test(subject, 1)["holds"], second.test(subject, 1)["violations"]) == (False, violations)


@pytest.fixture(scope="module")
def original() -> forgeries.Files:
    return {path.name: path.read_bytes() for path in (SHELF / "mlp-two-moons").iterdir()}


def test_a_few_forgeries_are_refused_or_true(original: forgeries.Files):
    found = forgeries.judge_range(SHELF / "mlp-two-moons", 0, 12)
    assert not found["wrong"]
    assert {"refused: read", "refused: verify"} <= set(found["outcomes"])
    assert not forgeries.fuzz(original, 10_000, 10_400)


def test_a_verifier_that_verifies_anything_is_seen(
    original: forgeries.Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    lowered = json.loads(original["certificate.json"])
    lowered["layers"][1]["lipschitz_bound"] *= 0.5
    files = original | {"certificate.json": json.dumps(lowered).encode()}
    forgery = forgeries.Forgery("a number", forgeries.seal(files, original), sealed=True)
    assert forgeries.judge(forgery, original, tmp_path) == "refused: verify"
    monkeypatch.setattr(forgeries, "verify", lambda folder: [])
    assert "WRONG: verified, but" in forgeries.judge(forgery, original, tmp_path)
    monkeypatch.setattr(forgeries, "external_files", lambda content: set())
    assert "which was not named" in str(forgeries._parse("model.onnx", original["model.onnx"]))


@pytest.mark.parametrize(
    ("fault", "told"),
    [(lambda: os._exit(3), "ended with 3"), (lambda: bytearray(2**32), "ended with 1"), (lambda: time.sleep(9), "-14")],
    ids=["crash", "memory", "hang"],
)
def test_a_mutant_that_ends_its_process_is_seen(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: Callable[[], object], told: str
):
    monkeypatch.setattr(forgeries, "SECONDS", 1)
    monkeypatch.setattr(forgeries, "judge", lambda *arguments: fault() and "unchanged")
    assert told in str(forgeries.test(SHELF / "mlp-two-moons", 7, 8)["wrong"])


def test_damage_that_is_read_and_an_error_that_is_none_of_ours_are_seen(
    original: forgeries.Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    damaged = forgeries.Forgery("bytes", original | {"README.md": b"#"}, sealed=False)
    assert forgeries.judge(damaged, original, tmp_path) == "refused: read"
    monkeypatch.setattr(forgeries, "read_folder", lambda place: None)
    assert forgeries.judge(damaged, original, tmp_path) == "WRONG: damage was read"
    monkeypatch.setattr(forgeries, "read_folder", lambda place: 1 / 0)
    assert "WRONG: read raised ZeroDivisionError" in forgeries.judge(damaged, original, tmp_path)


def test_what_was_measured_is_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "soundness.json"
    for lines in (4, 0):
        assert main(["mlp-two-moons"], images=100, starts=8, replays=1, forged=0, output=output) == 0
        assert len(capsys.readouterr().out.splitlines()) == lines
    assert json.loads(output.read_text())["models"]["mlp-two-moons"]["pairs"]["asked"] == 100


def test_every_published_proof_was_asked():
    results = json.loads(RESULTS.read_text())["models"]
    assert {name: row["sha256"] for name, row in results.items()} == {
        folder.config.name: proof_sha256(folder) for folder in shelf()
    }


def test_the_page_has_the_figures_of_the_file():
    assert PAGE.read_text() == rendered(PAGE.read_text(), json.loads(RESULTS.read_text()))
