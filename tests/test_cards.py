"""How a published folder is changed: as a whole, or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from export import cards, publish
from zoo.cli.shell import run_script
from zoo.publication.card import render
from zoo.publication.folder import SIGNATURE, read_folder
from zoo.publication.publish import move_into_place


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_older_folder_comes_back_where_the_new_one_does_not(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output, new = tmp_path / "out", tmp_path / "scratch" / "out"
    for folder, text in ((output, "old"), (new, "new")):
        folder.mkdir(parents=True)
        (folder / "README.md").write_text(text)
    rename, calls = Path.replace, []

    def interrupted(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        move_into_place(new, output)
    assert (output / "README.md").read_text() == "old"
    move_into_place(new, output)
    assert (output / "README.md").read_text() == "new"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_card_is_written_with_its_sums_or_not_at_all(
    own_toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder, seal = read_folder(own_toy), cards.seal
    (own_toy / SIGNATURE).write_text("of the old files")

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cards, "seal", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cards.renew_card(folder)
    assert read_folder(own_toy) == folder
    assert (own_toy / SIGNATURE).exists()
    monkeypatch.setattr(cards, "seal", seal)
    cards.renew_card(folder)
    assert "model.sig was of other files and is gone" in capsys.readouterr().out
    assert not (own_toy / SIGNATURE).exists()
    written = read_folder(own_toy)
    assert written.read("README.md").decode() == render(folder.config, folder.certificate, folder.evaluation)
    assert list(own_toy.parent.iterdir()) == [own_toy]
    (own_toy / SIGNATURE).write_text("of these files")
    cards.renew_card(written)
    assert "as it was" in capsys.readouterr().out
    assert (own_toy / SIGNATURE).exists()


def test_a_folder_on_the_shelf_is_pinned(own_toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    registry = tmp_path / "published.json"
    registry.write_text("{}")
    monkeypatch.setattr(publish, "REGISTRY", registry)
    cards.main(own_toy)
    assert registry.read_text() == "{}"  # not on the shelf
    monkeypatch.setattr(cards, "SHELF", own_toy.parent)
    cards.main(own_toy)
    assert json.loads(registry.read_text())["4c3f-mnist"] == publish.pinned(read_folder(own_toy))


def test_a_folder_that_is_none_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["cards", "/nonexistent"])
    with pytest.raises(SystemExit) as end:
        run_script(cards.main, "python -m export.cards")
    assert (end.value.code, capsys.readouterr().err) == (2, "error: no folder /nonexistent\n")
