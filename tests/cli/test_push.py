"""What leaves: `zoo push`, `zoo sign`, `zoo verify --public-key` and the commands around them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import zoo
from tests.hub import QUIET, TOKEN, HubProcess
from tests.tiny import sealed
from tests.toy import FILES
from zoo.errors import CertificateError, HubError, InputError, IntegrityError
from zoo.hub.client import fetch
from zoo.publication.card import render
from zoo.publication.folder import SIGNATURE
from zoo.publication.signing import MAX_KEY_BYTES, check_signature, sign
from zoo.records import dumps

from .command import Zoo


@pytest.fixture
def own(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "own"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of keys: a.pem with a.pub, b.pem with b.pub."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    for name in "ab":
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"{name}.pem").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


class TestPush:
    @pytest.mark.slow
    def test_one_commit_and_back(self, own: Path, keys: Path, tmp_path: Path):
        (tmp_path / "shelf").mkdir()
        (own / "notes.txt").write_text("not published\n")
        sign(fetch(f"local-dir:{own}"), keys / "a.pem")
        with HubProcess(tmp_path / "shelf", tmp_path / "log", token=True) as hub:
            settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, **QUIET}
            command = [sys.executable, "-m", "zoo", "push", str(own), "me/tiny", "--tag", "v1"]
            result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            again = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
            assert again.returncode == 2
            assert "has a tag v1 already, nothing was uploaded: choose another" in again.stderr
            commits = [path for method, path, _ in hub.requests() if method == "POST" and "/commit/" in path]
            assert len(commits) == 1
            api = HfApi(endpoint=hub.address)
            sha = api.model_info("me/tiny", revision="v1").sha
            assert f"hf-hub:me/tiny@{sha}" in result.stdout
            assert sorted(api.list_repo_files("me/tiny")) == sorted([*FILES, SIGNATURE])
            command = [sys.executable, "-m", "zoo", "pull", f"hf-hub:me/tiny@{sha}", "--output", str(tmp_path / "copy")]
            result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
        assert all((tmp_path / "copy" / name).read_bytes() == (own / name).read_bytes() for name in FILES)
        check_signature(fetch(f"local-dir:{tmp_path / 'copy'}"), keys / "a.pub")

    def test_what_cannot_be_pushed_is_refused(self, own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        source = f"local-dir:{own}"
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
        with pytest.raises(HubError, match="needs a token"):
            zoo.push(source, "me/tiny")
        monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)
        for repository in ("tiny", "a/b/c", "me/tiny@main", ""):
            with pytest.raises(InputError, match="write ORG/NAME"):
                zoo.push(source, repository)
        card = (own / "README.md").read_text()
        (own / "README.md").write_text(card + "And better than all others.\n")
        with pytest.raises(IntegrityError, match=r"README\.md: its sha256"):
            zoo.push(source, "me/tiny")
        sealed(own)
        with pytest.raises(IntegrityError, match="not the card of these records"):
            zoo.push(source, "me/tiny")
        (own / "README.md").write_text(card)
        folder = fetch(f"local-dir:{sealed(own)}")
        lower = dataclasses.replace(folder.certificate, body_lipschitz=folder.certificate.body_lipschitz * 0.99)
        (own / "certificate.json").write_text(dumps(lower))
        (own / "README.md").write_text(render(folder.config, lower, folder.evaluation))
        monkeypatch.setattr(HfApi, "repo_exists", lambda self, repository: False)
        with pytest.raises(CertificateError, match="nothing was uploaded"):
            zoo.push(f"local-dir:{sealed(own)}", "me/tiny")

    def test_a_hub_out_of_reach_is_one_line(self, own: Path, tmp_path: Path):
        settings = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, **QUIET}
        command = [sys.executable, "-m", "zoo", "push", str(own), "me/tiny"]
        result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.startswith("zoo: hf-hub:me/tiny: cannot reach http://127.0.0.1:9 (Connection refused): ")
        assert result.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("writable", "line"),
        [
            (True, "it does not know your token (for one that may write: `hf auth login`, or set HF_TOKEN)"),
            (False, "this hub is read-only: it was started without --token-file (for one that may write: "),
        ],
    )
    def test_a_hub_that_refuses_the_token_is_one_line(self, writable: bool, line: str, own: Path, tmp_path: Path):
        shutil.copytree(own, tmp_path / "shelf" / "own")
        with HubProcess(tmp_path / "shelf", tmp_path / "log", token=writable) as hub:
            settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "another", **QUIET}
            command = [sys.executable, "-m", "zoo", "push", str(own), "me/tiny"]
            result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.startswith(f"zoo: hf-hub:me/tiny: refused by {hub.address}: {line}")
        assert result.stderr.count("\n") == 1


class TestSign:
    def test_a_signature_is_of_these_bytes_by_this_key(self, own: Path, keys: Path):
        folder = fetch(f"local-dir:{own}")
        with pytest.raises(IntegrityError, match="there is no signature"):
            check_signature(folder, keys / "a.pub")
        assert sign(folder, keys / "a.pem") == own / SIGNATURE
        (own / "notes.txt").write_text("what is not published is not signed\n")
        check_signature(folder, keys / "a.pub")
        with pytest.raises(IntegrityError, match="not this key's signature"):
            check_signature(folder, keys / "b.pub")
        card = (own / "README.md").read_text()
        for name in FILES:
            body = bytearray((own / name).read_bytes())
            body[len(body) // 2] ^= 1
            (own / name).write_bytes(body)
            with pytest.raises(IntegrityError, match=f"not this key's signature.*{name}"):
                check_signature(folder, keys / "a.pub")
            body[len(body) // 2] ^= 1
            (own / name).write_bytes(body)
        (own / "README.md").write_text(card + "x")
        resealed = fetch(f"local-dir:{sealed(own)}")  # as somebody without the key would
        with pytest.raises(IntegrityError, match="not this key's signature"):
            check_signature(resealed, keys / "a.pub")

    def test_a_signed_folder_put_in_the_place_of_the_one_that_was_read(self, own: Path, keys: Path):
        folder = fetch(f"local-dir:{own}")
        (own / "README.md").write_text((own / "README.md").read_text() + "x")
        other = fetch(f"local-dir:{sealed(own)}")
        with pytest.raises(IntegrityError, match=r"(README\.md|SHA256SUMS) has changed since it was read"):
            sign(folder, keys / "a.pem")
        sign(other, keys / "a.pem")
        check_signature(other, keys / "a.pub")
        with pytest.raises(IntegrityError, match="has changed since it was read"):
            check_signature(folder, keys / "a.pub")

    @pytest.mark.parametrize("content", ["", "{}", "[]", "x" * 100])
    def test_what_is_no_signature(self, content: str, own: Path, keys: Path):
        (own / SIGNATURE).write_text(content)
        with pytest.raises(IntegrityError, match="not this key's signature"):
            check_signature(fetch(f"local-dir:{own}"), keys / "a.pub")

    def test_keys_that_are_none(self, own: Path, keys: Path):
        folder = fetch(f"local-dir:{own}")
        for key in (keys / "a.pub", keys / "missing", own / "README.md", own):
            with pytest.raises(InputError) as mistake:
                sign(folder, key)
            assert "http" not in str(mistake.value)  # where cryptography explains itself
        sign(folder, keys / "a.pem")
        for key in (keys / "a.pem", keys / "missing", own / "README.md", own):
            with pytest.raises(InputError):
                check_signature(folder, key)

    def test_keys_that_may_never_end(self, own: Path, keys: Path, tmp_path: Path):
        folder = fetch(f"local-dir:{own}")
        sign(folder, keys / "a.pem")
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "large").write_bytes((keys / "a.pem").read_bytes().ljust(MAX_KEY_BYTES + 1))
        for key, message in (
            ("/dev/null", "not a regular file"),
            (tmp_path / "fifo", "not a regular file"),
            (tmp_path / "large", "65,537 bytes, expected a key of at most 65,536"),
        ):
            for use in (sign, check_signature):
                with pytest.raises(InputError, match=f"{key}: {message}"):
                    use(folder, Path(key))

    def test_the_tool_that_is_not_ours_agrees(self, own: Path, keys: Path):
        sign(fetch(f"local-dir:{own}"), keys / "a.pem")
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(own), "--signature",
                   str(own / SIGNATURE), "--public_key", str(keys / "a.pub")]  # fmt: skip
        assert subprocess.run(command, capture_output=True).returncode == 0
        (own / "README.md").write_text("x")
        assert subprocess.run(command, capture_output=True).returncode != 0


class TestCommands:
    def test_sign_and_verify(self, run: Zoo, own: Path, keys: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("zoo.cli.proofs._recompute", lambda folder: [])  # the proof itself is tested elsewhere
        result = run("sign", own, "--private-key", keys / "a.pem")
        assert (result.code, SIGNATURE in "".join(result.out.split())) == (0, True)  # 80 columns may fold it
        result = run("verify", own, "--public-key", keys / "a.pub")
        assert (result.code, "VERIFIED" in result.out) == (0, True)
        assert f"signatureby{keys / 'a.pub'}" in "".join(result.out.split())
        result = run("verify", own, "--public-key", keys / "b.pub")
        assert (result.code, "not this key's signature" in result.out) == (1, True)
        assert "No such file" in run.fails("verify", own, "--public-key", keys / "c.pub")
        assert "not checked: --public-key" in run("verify", own).out

    def test_pull(self, run: Zoo, toy: Path, tmp_path: Path):
        result = run("pull", f"local-dir:{toy}", "--output", tmp_path / "copy")
        assert (result.code, "8 checked" in result.out) == (0, True)
        assert "is there already" in run.fails("pull", f"local-dir:{toy}", "--output", tmp_path / "copy")
        assert "write local-dir:org/name" in run.fails("pull", "org/name")

    def test_hub(self, run: Zoo, toy: Path, tmp_path: Path):
        assert "holds no published folder" in run.fails("hub", tmp_path)
        assert "cannot listen" in run.fails("hub", toy.parent, "--host", "192.0.2.1")
