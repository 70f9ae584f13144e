"""A file is replaced whole or not at all, and a lock keeps others out."""

from __future__ import annotations

import doctest
import hashlib
import importlib
from pathlib import Path

import pytest

from zoo.errors import InputError
from zoo.files import locked, replacing, sha256, write_whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "a.json"
    with replacing(path) as partial:
        partial.write_text("first")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half of the second")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    write_whole(path, "second, \u03b5")
    assert path.read_bytes() == "second, \u03b5".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_the_sha256_of_files_is_that_of_their_bytes_in_a_row(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"x")
    second.write_bytes(b"z")
    assert sha256(first) == hashlib.sha256(b"x").hexdigest()
    assert sha256(first, second) == hashlib.sha256(b"xz").hexdigest()


@pytest.mark.parametrize("name", [".", "file"])
def test_a_lock_is_held_once(tmp_path: Path, name: str):
    path = tmp_path / name
    with locked(path, InputError("busy")), pytest.raises(InputError, match="busy"), locked(path, InputError("busy")):
        pytest.fail("locked twice")
    with locked(path, InputError("busy")):
        pass


@pytest.mark.parametrize(
    "module",
    [
        "certificate.certify",
        "epsilon",
        "hub.client",
        "inference.runtime",
        "publication.publish",
        "publication.verify",
        "records",
        "registry",
        "integrations.columns",
    ],
)
def test_the_examples_in_docstrings_are_true(module: str):
    failed, tried = doctest.testmod(importlib.import_module(f"zoo.{module}"))
    assert (failed, tried > 0) == (0, True)
