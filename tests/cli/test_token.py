"""The token that `zoo serve` and `zoo hub` ask for: where it comes from, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from .command import Zoo

FORM = "at least 16 printable ASCII characters without spaces, such as `openssl rand -hex 16` prints"
TOKEN, OTHER = "a-token-of-the-tests", "another-token-of-tests"


@pytest.fixture
def asked(run: Zoo, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """The token of each command that was started; nothing listens."""
    found: dict[str, str | None] = {}
    monkeypatch.delenv("ZOO_TOKEN", raising=False)
    monkeypatch.setattr("zoo.serve.server.serve_models", lambda *arguments: arguments[4])
    monkeypatch.setattr("zoo.serve.server.run_server", lambda token: found.update(serve=token))
    monkeypatch.setattr("zoo.hub.server.serve_hub", lambda *arguments: found.update(hub=arguments[3]))
    return found


def test_the_token_of_a_file_and_of_the_environment(
    run: Zoo, asked: dict[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    commands = [("serve", "2c2f-mnist"), ("hub", str(tmp_path))]
    assert [run(*command).code for command in commands] == [0, 0]
    assert asked == {"serve": None, "hub": None}
    monkeypatch.setenv("ZOO_TOKEN", OTHER)
    assert [run(*command).code for command in commands] == [0, 0]
    assert asked == {"serve": OTHER, "hub": None}
    assert [run(*command, "--token-file", file).code for command in commands] == [0, 0]
    assert asked == {"serve": TOKEN, "hub": TOKEN}


@pytest.mark.parametrize("command", ["serve", "hub"])
def test_what_is_no_token_is_told_in_one_line(command: str, run: Zoo, asked: dict[str, str | None], tmp_path: Path):
    what = {"serve": "2c2f-mnist", "hub": str(tmp_path)}[command]
    file = tmp_path / "token"
    for content in (
        b"",
        b"short",
        b"two words of a token",
        b"sixteen-and-m\xc3\xb6re",
        b"sixteen-and-\x01-more",
        b"\xff" * 16,
    ):
        file.write_bytes(content)
        assert run.fails(command, what, "--token-file", file) == f"zoo: {file} holds no token: expected {FORM}\n"
    missing = f"zoo: {tmp_path / 'none'}: No such file or directory: expected a file that holds a token, {FORM}\n"
    assert run.fails(command, what, "--token-file", tmp_path / "none") == missing
    assert (
        run.fails(command, what, "--token-file", tmp_path)
        == f"zoo: {tmp_path}: Is a directory: expected a file that holds a token, {FORM}\n"
    )
    assert not asked


@pytest.mark.parametrize("token", ["", "short"])
def test_the_environment_is_held_to_the_same_rule(
    token: str, run: Zoo, asked: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZOO_TOKEN", token)
    assert run.fails("serve", "2c2f-mnist") == f"zoo: ZOO_TOKEN holds no token: expected {FORM}\n"
    assert not asked


def test_no_token_stands_in_a_command_line(run: Zoo):
    assert "No such option: --token" in run.fails("serve", "2c2f-mnist", "--token", TOKEN)
