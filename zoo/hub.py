"""From a name to a model: registered names, `local-dir:PATH` and `hf-hub:ORG/NAME@REVISION`.

A bare `org/name` or path is refused: to guess would be to load other weights than were meant.
Every source ends in the same checked folder, and nothing is unpickled on the way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from zoo.errors import HubError, InputError, IntegrityError, UnpublishedModelError, one_line, require
from zoo.folder import FILES, Folder, exists, read_folder
from zoo.registry import ENTRIES, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from zoo.runtime import Model

LOCAL, HUB = "local-dir:", "hf-hub:"
PACKAGE = Path(__file__).parent
SHELVES = (PACKAGE / "embedded", PACKAGE.parent / "model_cards")  # in an installed package; in a checkout


@overload
def load(
    name: str,
    backend: str = "onnx",
    precision: str = "float64",
    pretrained: Literal[True] = True,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    device: str = "cpu",
    providers: Sequence[str] | None = None,
) -> Model: ...
@overload
def load(name: str, backend: str = "onnx", *, pretrained: Literal[False]) -> nn.Sequential: ...
def load(
    name: str,
    backend: str = "onnx",
    precision: str = "float64",
    pretrained: bool = True,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    device: str = "cpu",
    providers: Sequence[str] | None = None,
) -> Model | nn.Sequential:
    """The published model of this name or source; each of its files is checked against its sha256 first.

    backend: "onnx" (ONNX Runtime, without torch) or "torch".
    precision: "float64" (proved) or "float32" (fast; its radii are estimates).
    pretrained: False gives the untrained network of a registered name, with backend="torch".
    revision, cache_dir: for hf-hub, a commit, branch or tag, and where to keep the files.
    device, providers: where PyTorch and ONNX Runtime compute; float64 is proved on the CPU only.

    Raises ZooError: UnknownModelError, UnpublishedModelError, IntegrityError, HubError and so on.
    """
    for option, value, values in (
        ("backend", backend, ("onnx", "torch")),
        ("precision", precision, ("float64", "float32")),
    ):
        if value not in values:
            raise InputError(f"{option} must be {' or '.join(map(repr, values))}, got {value!r}")
    if backend == "onnx" and device != "cpu":
        raise InputError(f"device={device!r} is for backend='torch'; ONNX Runtime computes where providers say")
    if backend == "torch" and providers is not None:
        raise InputError("providers are for backend='onnx'; PyTorch computes on device")
    _check_name(name)
    if not pretrained:
        return _untrained(name, backend)
    folder = fetch(name, revision, cache_dir)
    from zoo.runtime import onnx_model, torch_model

    return torch_model(folder, precision, device) if backend == "torch" else onnx_model(folder, precision, providers)


def fetch(source: str, revision: str | None = None, cache_dir: str | Path | None = None) -> Folder:
    """The checked folder of a registered name, of `local-dir:PATH`, or of `hf-hub:ORG/NAME@REVISION`.

    Raises ZooError, see `load`.
    """
    _check_name(source)
    if source.startswith(HUB):
        return read_folder(_download(source.removeprefix(HUB), revision, cache_dir))
    if revision is not None:
        raise InputError(f"a revision belongs to {HUB}ORG/NAME, got {source!r}")
    if source.startswith(LOCAL):
        path = os.path.expanduser(source.removeprefix(LOCAL))  # noqa: PTH111  Path's raises for ~nobody
        return read_folder(Path(path))
    if source not in ENTRIES and (exists(source) or "/" in source or "\\" in source):
        raise InputError(
            f"{source!r} is no registered name: write {LOCAL}{source} for a folder, {HUB}{source} for the hub"
        )
    entry = find(source)
    if entry.digest is None:
        raise UnpublishedModelError(
            f"{source} has no published weights: train it with `python -m training {source} --output runs/{source}`, "
            f"then `python -m export runs/{source}`"
        )
    for shelf in SHELVES:
        if (shelf / source).is_dir():
            folder = read_folder(shelf / source, entry.digest)
            if folder.config.name != source:
                raise IntegrityError(f"{folder.path / 'config.json'}: name is {folder.config.name!r}")
            return folder
    raise IntegrityError(f"{source} is not in this installation, looked in {' and '.join(map(str, SHELVES))}")


def _check_name(source: object) -> None:
    """Returns where `source` can be a name or a source. Raises InputError."""
    if not isinstance(source, str):
        hint = f": write '{LOCAL}{source}' for a folder" if isinstance(source, Path) else ""
        raise InputError(f"a model is named by a str, got {type(source).__name__}{hint}")
    if not source:
        raise InputError("the name of the model is empty: `zoo list` shows all names")
    if source in (LOCAL, HUB):
        raise InputError(f"{source!r} is empty after the colon: write {LOCAL}PATH or {HUB}ORG/NAME")


def _untrained(name: str, backend: str) -> nn.Sequential:
    if backend != "torch":
        raise InputError(f"an untrained network needs backend='torch', got {backend!r}")
    require("torch", "torch")
    return find(name).architecture.network()


def _download(source: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """The snapshot of the eight files in the Hugging Face cache; HF_ENDPOINT, HF_HUB_OFFLINE and such are obeyed."""
    repository, at, pinned = source.partition("@")
    if not repository or (at and not pinned) or revision == "":
        raise InputError(f"{HUB}{source}: the repository or the revision is empty, write {HUB}ORG/NAME@REVISION")
    if pinned and revision not in (None, pinned):
        raise InputError(f"{HUB}{source} and revision={revision!r} name two revisions")
    from huggingface_hub import constants, errors, snapshot_download

    where = f"{HUB}{repository}" + (f"@{pinned or revision}" if pinned or revision else "")
    try:
        path = snapshot_download(
            repository, revision=pinned or revision, cache_dir=cache_dir, allow_patterns=list(FILES)
        )
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{where}: no such revision") from error
    except errors.GatedRepoError as error:
        raise HubError(f"{where}: access must be asked for on the hub, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{where}: no such repository, or it is private and you are not logged in") from error
    except Exception as error:  # the client's other errors come from four libraries and share no class
        raise HubError(f"{where}: not to be had from {constants.ENDPOINT}: {one_line(error)}") from error
    return Path(path)
