"""The files of a published folder's weights: one safetensors file, or its shards where it would be too large.

Shards and their index are named as on the Hugging Face hub. Loads no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import CertificateError
from zoo.files import sums_text

WEIGHTS = "model.safetensors"
WEIGHT_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
SHARDS = "model-?????-of-?????.safetensors"  # the same for a shell
INDEX = f"{WEIGHTS}.index.json"  # of shards: other libraries read it, the zoo does not need it


def expected_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names that all files of the weights must have, given the number of shards among `names`."""
    count = sum(WEIGHT_SHARD.fullmatch(name) is not None for name in names)
    shards = (f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1))
    return (*shards, INDEX) if count else (WEIGHTS,)


def weight_names(names: Iterable[str]) -> list[str]:
    """The names among these of safetensors files with weights, in order."""
    return sorted(name for name in names if name == WEIGHTS or WEIGHT_SHARD.fullmatch(name))


def read_weights(folder: Path) -> dict[str, bytes]:
    """The bytes of each file of weights in a folder that is being written; `Folder.weights` reads a published one."""
    return {name: (folder / name).read_bytes() for name in weight_names(path.name for path in folder.iterdir())}


def read_headers(folder: Path) -> dict[str, bytes]:
    """Each file of weights in a folder that is being written, up to its first tensor."""
    headers = {}
    for name in weight_names(path.name for path in folder.iterdir()):
        with (folder / name).open("rb") as file:
            size = file.read(8)
            headers[name] = size + file.read(int.from_bytes(size, "little"))
    return headers


def weights_sha256(digests: Mapping[str, str]) -> str:
    """The sha256 by which a certificate names the weights, from that of each file; other files do not count.

    For one file its own; for shards, the sha256 of their lines in SHA256SUMS.
    """
    names = weight_names(digests)
    if names == [WEIGHTS]:
        return digests[WEIGHTS]
    return hashlib.sha256(sums_text({name: digests[name] for name in names}).encode()).hexdigest()


def header(content: bytes) -> dict[str, Any]:
    """Each tensor of a safetensors file, of which the header is enough: its dtype, shape and data_offsets.

    The offsets count from `data_start`.
    Raises CertificateError where a tensor is not described by an object; some readers accept lists as well.
    """
    tensors: dict[str, Any] = json.loads(content[8 : data_start(content)])
    tensors.pop("__metadata__", None)
    for name, entry in tensors.items():
        if not isinstance(entry, dict):
            raise CertificateError(f"the weights' tensor {name[:80]!r} is described by no object in its file's header")
    return tensors


def data_start(content: bytes) -> int:
    """The place of the first tensor's first byte in a safetensors file."""
    return 8 + int.from_bytes(content[:8], "little")


def shard_index(weights: Mapping[str, bytes]) -> bytes:
    """The index of shards: the shard of each tensor, and the bytes of all tensors together."""
    places = {tensor: name for name, content in weights.items() for tensor in header(content)}
    size = sum(len(content) - data_start(content) for content in weights.values())
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}, indent=2)
    return f"{text}\n".encode()
