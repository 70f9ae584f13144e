"""How a published folder is changed: as a whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from export import publish


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
        publish.move_into_place(new, output)
    assert (output / "README.md").read_text() == "old"
    publish.move_into_place(new, output)
    assert (output / "README.md").read_text() == "new"
    assert list((tmp_path / "scratch").iterdir()) == []
