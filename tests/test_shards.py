"""Weights in several files: the same answers, the same proof, and nothing that goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

import zoo
from export.publish import publish, weight_files
from export.triton import write_repository
from tests.hub import QUIET, TOKEN, HubProcess
from tests.tiny import make_tiny, sealed
from training.loop import train
from training.recipes import find
from zoo.errors import CertificateError, InputError, IntegrityError
from zoo.hub.client import fetch
from zoo.publication.folder import read_folder
from zoo.publication.network import load_network
from zoo.publication.verify import verify
from zoo.publication.weights import INDEX, WEIGHTS, header, read_weights, weights_sha256

LIMIT = 60_000  # bytes of a file: the tiny network has 86,804 bytes of weights, 51,200 of them in one tensor


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("sharded") / "tiny", LIMIT)


@pytest.fixture
def own(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "own"))


def test_shards_prove_and_answer_what_one_file_does(whole: Path, sharded: Path, tmp_path: Path):
    folder = read_folder(sharded)
    shards = folder.weights()
    assert len(shards) >= 2
    assert all(len(content) <= LIMIT for content in shards.values())
    assert not (sharded / WEIGHTS).exists()
    assert verify(folder) == []
    assert folder.certificate.weights_sha256 != read_folder(whole).certificate.weights_sha256
    images = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    for options in ({}, {"backend": "torch"}, {"precision": "float32"}):
        one, other = (zoo.load(f"local-dir:{path}", **options).outputs(images) for path in (whole, sharded))
        assert all((left == right).all() for left, right in zip(one, other, strict=True))
    (triton := tmp_path / "triton").mkdir()
    write_repository([folder], triton)
    assert read_weights(triton / "tiny" / "1") == shards


def test_the_index_is_that_of_the_hubs_tools(sharded: Path):
    index = json.loads((sharded / INDEX).read_text())
    tensors = {name: set(load_file(sharded / name)) for name in read_weights(sharded)}
    assert index["weight_map"] == {tensor: name for name, inside in tensors.items() for tensor in inside}
    assert index["metadata"]["total_size"] == sum(
        tensor.nbytes for name in tensors for tensor in load_file(sharded / name).values()
    )


def test_every_lost_damaged_or_exchanged_shard_is_refused(own: Path):
    first, second, *_ = sorted(read_weights(own))
    for name in (first, second, INDEX):
        content = (own / name).read_bytes()
        (own / name).unlink()
        with pytest.raises(IntegrityError, match=name):
            read_folder(own)
        (own / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=f"{name}: its sha256"):
            read_folder(own)
        (own / name).write_bytes(content)
    one, other = ((own / name).read_bytes() for name in (first, second))
    (own / first).write_bytes(other)
    (own / second).write_bytes(one)
    with pytest.raises(IntegrityError, match="weights_sha256"):  # whatever SHA256SUMS says
        read_folder(sealed(own))


def test_sums_list_all_shards_or_none(own: Path):
    first, *_, last = sorted(read_weights(own))
    sums = (own / "SHA256SUMS").read_text()
    count = len(read_weights(own))
    for other in (
        sums.replace(last, last.replace(f"{count:05}", f"{count + 1:05}")),  # 2 of 3 beside 1 of 2
        "".join(line for line in sums.splitlines(keepends=True) if INDEX not in line),
        sums.replace(first, WEIGHTS),
        sums + f"{'0' * 64}  {WEIGHTS}\n",
        sums.replace(first, f"../{first}"),
    ):
        (own / "SHA256SUMS").write_text(other)
        with pytest.raises(IntegrityError, match="SHA256SUMS: "):
            read_folder(own)


def test_a_link_in_the_place_of_a_shard_is_refused(own: Path, tmp_path: Path):
    first, *_ = sorted(read_weights(own))
    (own / first).rename(tmp_path / first)
    (own / first).symlink_to(tmp_path / first)
    with pytest.raises(IntegrityError, match="a link out of its folder"):
        read_folder(own)


def test_an_index_of_other_shards_does_not_verify(own: Path):
    (own / INDEX).write_text((own / INDEX).read_text().replace("head.weight", "head.bias "))
    assert any(INDEX in line for line in verify(read_folder(sealed(own))))


def test_a_tensor_in_two_shards_is_refused(own: Path):
    folder = read_folder(own)
    first, second, *_ = folder.weights()
    save_file(load_file(own / second) | load_file(own / first), own / second)
    with pytest.raises(CertificateError, match="not those that the certificate"):
        load_network(read_weights(own), folder.certificate)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in read_weights(own).items()}
    certificate = replace(folder.certificate, weights_sha256=weights_sha256(digests))
    with pytest.raises(CertificateError, match="another shard has as well"):
        load_network(read_weights(own), certificate)


@pytest.mark.slow
def test_a_push_of_shards_takes_the_one_file_away(whole: Path, sharded: Path, tmp_path: Path):
    (tmp_path / "shelf").mkdir()
    with HubProcess(tmp_path / "shelf", tmp_path / "log", token=True) as hub:
        settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, **QUIET}

        def run(*arguments: str) -> None:
            command = [sys.executable, "-m", "zoo", *arguments]
            result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr

        for folder in (whole, sharded):
            run("push", str(folder), "me/tiny")
            files = HfApi(endpoint=hub.address).list_repo_files("me/tiny")
            assert sorted(files) == sorted(fetch(f"local-dir:{folder}").files)
        run("pull", "hf-hub:me/tiny", "--output", str(tmp_path / "copy"))
    assert read_weights(tmp_path / "copy") == read_weights(sharded)


def test_export_writes_shards_where_they_are_asked_for(write_split, tmp_path: Path):
    write_split("mnist", 24)
    write_split("mnist", 24, split="test")
    train(find("2c2f-mnist"), tmp_path / "run", steps=1)
    folder = publish(tmp_path / "run", tmp_path / "out", 8, 0, "test", max_file=640_000)
    assert len(folder.weights()) == 2
    assert INDEX in folder.files


def test_the_shelf_takes_no_tensor_that_git_hosts_would_not():
    with pytest.raises(InputError, match=r"dense\.weight is larger than 100,000 bytes"):
        weight_files({"a": torch.zeros(10), "dense.weight": torch.zeros(200, 200)}, 100_000)


def test_a_tensor_that_only_some_readers_understand_is_refused():
    text = json.dumps({"__metadata__": {"format": "pt"}, "weight": ["F32", [1], [0, 4]]}).encode()
    with pytest.raises(CertificateError, match="'weight' is described by no object"):
        header(len(text).to_bytes(8, "little") + text + bytes(4))
