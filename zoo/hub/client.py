"""Models loaded from, and pushed to, their sources: registered names, `local-dir:PATH`, `hf-hub:ORG/NAME@REVISION`.

A bare `org/name` or path is refused, because a guess might load other weights than were meant. From every source comes
a checked folder, and nothing is unpickled.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

from zoo.errors import (
    CertificateError,
    HubError,
    InputError,
    IntegrityError,
    UnpublishedModelError,
    ZooError,
    near,
    one_line,
    require,
)
from zoo.files import exists, is_folder
from zoo.guard import guard_client
from zoo.publication.folder import PATTERNS, SIGNATURE, SUMS, Folder, read_folder
from zoo.registry import ENTRIES, Entry, find, list_models
from zoo.shelves import ORGANISATION, shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from zoo.certificate.certify import Advance
    from zoo.inference.runtime import Model

LOCAL, HUB = "local-dir:", "hf-hub:"
LOGIN = "`hf auth login`, or set HF_TOKEN"  # how the hub's client gets its token
REPOSITORY = re.compile(r"[^/@.][^/@]*/[^/@.][^/@]*")


@overload
def load(
    name: str,
    backend: str = "onnx",
    precision: str = "float64",
    pretrained: Literal[True] = True,
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
    cache_dir: str | Path | None = None,
    device: str = "cpu",
    providers: Sequence[str] | None = None,
) -> Model | nn.Sequential:
    """The published model of this name or source; each of its files is checked against its sha256 first.

    backend: "onnx" (ONNX Runtime, without torch) or "torch".
    precision: "float64" (proved) or "float32" (fast; its radii are estimates).
    pretrained: False gives the untrained network of a registered name, with backend="torch".
    cache_dir: where files from a hub are kept, by default the Hugging Face cache.
    device, providers: where PyTorch and ONNX Runtime compute; float64 is proved on the CPU only.

    Raises ZooError: UnknownModelError, UnpublishedModelError, IntegrityError, HubError and so on.

    >>> load("2c2f-mnist")
    <zoo.Model 2c2f-mnist, onnx, float64, input (1, 28, 28)>
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
    folder = fetch(name, cache_dir)
    from zoo.inference.runtime import onnx_model, torch_model

    return torch_model(folder, precision, device) if backend == "torch" else onnx_model(folder, precision, providers)


def fetch(source: str, cache_dir: str | Path | None = None) -> Folder:
    """The checked folder of a registered name, of `local-dir:PATH`, or of `hf-hub:ORG/NAME@REVISION`.

    Raises ZooError, see `load`.
    """
    _check_name(source)
    if source.startswith(HUB):
        return _read_snapshot(_download(source.removeprefix(HUB), cache_dir))
    if source.startswith(LOCAL):
        path = os.path.expanduser(source.removeprefix(LOCAL))  # noqa: PTH111  Path's raises for ~nobody
        return read_folder(Path(path))
    if source not in ENTRIES:
        _check_no_path(source)
    entry = find(source)
    if entry.digest is None:
        raise UnpublishedModelError(f"{source} has no published weights{_instead(entry)}")
    return _published(entry, entry.digest, cache_dir)


def pull(source: str, output: str | Path | None = None) -> Path:
    """The path of the checked folder of a name or source, or of a copy of it at `output`.

    If `output` does not exist, it becomes the whole copy at once; if it is an empty folder, it gets the checked files,
    SHA256SUMS last. Raises ZooError, also for any other `output`.

    >>> pull("2c2f-mnist").joinpath("model.onnx").is_file()
    True
    """
    folder = fetch(source)
    if output is None:
        return folder.path
    target = Path(output).absolute()
    if (there := exists(target)) and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} is there already: choose another place, or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target if there else target.parent, prefix=f".{target.name}-") as scratch:
            copy = Path(scratch) / target.name
            copy.mkdir()
            for name, content in contents(folder):
                (copy / name).write_bytes(content)
            read_folder(copy, folder.digest)
            if not there:
                copy.replace(target)
            else:  # the folder itself stays, since it may be somebody's working directory
                for file in sorted(copy.iterdir(), key=lambda file: file.name == SUMS):
                    file.replace(target / file.name)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from error
    return target


def push(
    source: str,
    repository: str,
    private: bool = False,
    tag: str | None = None,
    advance: Advance = lambda layer, total: None,
) -> str:
    """Upload the folder's files in one commit; the source `hf-hub:ORG/NAME@COMMIT` by which they load again.

    Nothing is uploaded unless the whole certificate is proved again from the weights, as `zoo verify` does, and the
    card is the one that the records give.
    source: a name or local-dir:PATH. repository: ORG/NAME, made if it is missing, and then private if `private`.
    Raises ZooError.

    >>> push("2c2f-mnist", "my-copy")
    Traceback (most recent call last):
        ...
    zoo.errors.InputError: 'my-copy' is no repository: write ORG/NAME
    """
    repository = repository.removeprefix(HUB)
    if not REPOSITORY.fullmatch(repository):
        raise InputError(f"{repository!r} is no repository: write ORG/NAME")
    folder = fetch(source)
    require("export")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    from zoo.publication.card import render

    if get_token() is None:
        raise HubError(f"a push needs a token of the hub: {LOGIN}")
    if folder.read("README.md").decode("utf-8", "replace") != render(
        folder.config, folder.certificate, folder.evaluation
    ):
        raise IntegrityError(
            f"{folder.path / 'README.md'}: not the card of these records, which "
            f"`python -m export.cards {folder.path}` renders"
        )
    files, api, where = dict(contents(folder)), HfApi(), f"{HUB}{repository}"
    try:
        known = api.repo_exists(repository)  # fails before the long proof if the hub is out of reach
        tags = [ref.name for ref in api.list_repo_refs(repository).tags] if tag and known else []
    except Exception as error:  # as in _download
        raise _failed(where, error, "write") from error
    if tag in tags:
        raise InputError(f"{where} has a tag {tag} already, nothing was uploaded: choose another")
    from zoo.publication.verify import verify

    if differences := verify(folder, advance):
        raise CertificateError(f"{folder.path} does not verify, nothing was uploaded: {differences[0]}")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        there = {name for pattern in PATTERNS for name in fnmatch.filter(api.list_repo_files(repository), pattern)}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, content) for name, content in files.items()),
            *(CommitOperationDelete(name) for name in sorted(there - set(files))),  # a signature, shards of another
        ]
        commit = api.create_commit(repository, operations, commit_message=f"{folder.config.name}, {len(files)} files")
        if tag is not None:
            api.create_tag(repository, tag=tag, revision=commit.oid)
    except Exception as error:  # as in _download
        raise _failed(where, error, "write") from error
    return f"{where}@{commit.oid}"


def contents(folder: Folder) -> Iterator[tuple[str, bytes]]:
    """The name and the checked bytes of each file of the folder, and of its signature if it has one."""
    for name in folder.digests:
        yield name, folder.read(name)
    yield SUMS, folder.sums
    if exists(folder.path / SIGNATURE):
        yield SIGNATURE, (folder.path / SIGNATURE).read_bytes()


def _published(entry: Entry, digest: str, cache_dir: str | Path | None) -> Folder:
    """The folder of a registered model whose bytes the registry pins: shipped with the zoo, or from the hub."""
    if (path := shipped(entry.name)) is not None:
        return _named(entry, read_folder(path, digest))
    repository = f"{ORGANISATION}/{entry.name}"
    with suppress(ZooError):  # pinned bytes do not change, so that the cache needs no question to the hub
        return _named(entry, read_folder(_download(repository, cache_dir, local=True), digest))
    try:
        path = _download(repository, cache_dir)
    except HubError as error:
        raise HubError(
            f"{entry.name} is not in this installation, and {error}; a checkout has it: "
            f"{LOCAL}CHECKOUT/model_cards/{entry.name}"
        ) from error
    return _named(entry, _read_snapshot(path, digest))


def _instead(entry: Entry) -> str:
    """What to do instead of loading a model without weights: train it by its recipe, or load a similar one."""
    name, run = entry.name, f"runs/{entry.name}"
    if entry.has_recipe:
        return (
            f": in a checkout, train it with `python -m training {name} --output {run}`, "
            f"then `python -m export {run}`, and load '{LOCAL}{run}/published'"
        )
    there = map(ENTRIES.__getitem__, list_models(pretrained=True))
    like = [other for other in there if (other.dataset, other.norm) == (entry.dataset, entry.norm)]
    best = sorted(like, key=lambda other: other.vra.get(other.epsilon, 0.0), reverse=True)[:3]
    names = [other.name for other in best] or near(name, list_models(pretrained=True))
    loadable = f"; {', '.join(names)} can be loaded" if names else ""
    return f" and no recipe; zoo.load({name!r}, backend='torch', pretrained=False) builds it untrained{loadable}"


def _named(entry: Entry, folder: Folder) -> Folder:
    if folder.config.name != entry.name:
        raise IntegrityError(
            f"{folder.path / 'config.json'}: name is {folder.config.name!r}, expected {entry.name!r}: install "
            "certified-zoo again, since its registry pins this folder"
        )
    return folder


def _read_snapshot(path: Path, digest: str | None = None) -> Folder:
    """The checked folder of a snapshot in the cache. If it is damaged, the error says how to fetch it again."""
    try:
        return read_folder(path, digest)
    except IntegrityError as error:
        raise IntegrityError(f"{error}; where only this copy is damaged, delete {path.parents[1]}") from error


def _check_name(source: object) -> None:
    """Raise InputError unless `source` can be a name or a source."""
    if not isinstance(source, str):
        hint = f": write '{LOCAL}{source}' for a folder" if isinstance(source, Path) else ""
        raise InputError(f"a model is named by a str, got {type(source).__name__}{hint}")
    if not source:
        raise InputError("the name of the model is empty: `zoo list` shows all names")
    if source in (LOCAL, HUB):
        raise InputError(f"{source!r} is empty after the colon: write {LOCAL}PATH or {HUB}ORG/NAME")


def _check_no_path(source: str) -> None:
    """Raise InputError if `source` is a path or a repository that lacks its prefix."""
    if is_folder(source):
        raise InputError(f"{source!r} is a folder: write {LOCAL}{source}")
    if exists(source):
        raise InputError(f"{source!r} is a file: the model comes first, as in `zoo predict 2c2f-mnist {source}`")
    if "/" in source or "\\" in source:
        hub = f", {HUB}{source} for the hub" if REPOSITORY.fullmatch(source) else ""
        raise InputError(f"{source!r} is no registered name: write {LOCAL}{source} for a folder{hub}")


def _untrained(name: str, backend: str) -> nn.Sequential:
    if backend != "torch":
        raise InputError(f"an untrained network needs backend='torch', got {backend!r}")
    require("torch")
    return find(name).architecture.network()


def _download(source: str, cache_dir: str | Path | None, local: bool = False) -> Path:
    """The snapshot of a repository's published files in the Hugging Face cache, by the client's HF_ settings.

    The hub is not asked for a whole commit id that the cache has. With `local`, only the cache is looked at.
    """
    repository, at, revision = source.partition("@")
    if not repository or (at and not revision):
        raise InputError(f"{HUB}{source}: the repository or the revision is empty, write {HUB}ORG/NAME@REVISION")
    if not REPOSITORY.fullmatch(repository):
        raise InputError(f"{HUB}{source}: no repository of a hub, write {HUB}ORG/NAME")
    from huggingface_hub import constants, errors, snapshot_download

    guard_client()
    where = f"{HUB}{source}"
    try:
        path = snapshot_download(
            repository,
            revision=revision or None,
            cache_dir=cache_dir,
            allow_patterns=[*PATTERNS],
            local_files_only=local,
        )
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{where}: no such revision") from error
    except errors.GatedRepoError as error:
        terms = f"accept its terms at {constants.ENDPOINT}/{repository}"
        raise HubError(f"{where} is gated: {terms}, then {LOGIN}") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{where}: no such repository, or a private one: for that {LOGIN}") from error
    except Exception as error:  # the client's other errors come from four libraries and share no class
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise HubError(f"{where}: no space left in {cache_dir or constants.HF_HUB_CACHE}") from error
        raise _failed(where, error, "read") from error
    return Path(path)


def _failed(where: str, error: BaseException, right: str) -> HubError:
    """The error of the hub's client in one line, with what to do if there was no connection, or the hub refused.

    right: what was asked of the hub, to "read" or to "write".
    """
    from huggingface_hub import constants, get_token

    cause = error
    while deeper := cause.__cause__ or cause.__context__:
        cause = deeper
    if isinstance(cause, (socket.gaierror, ConnectionError, TimeoutError)):
        return HubError(
            f"{where}: cannot reach {constants.ENDPOINT} ({cause.strerror or one_line(cause)}): check the network, or "
            f"set HF_ENDPOINT to a hub of yours; {LOCAL}PATH needs none"
        )
    response: Any = getattr(cause, "response", None)
    if (status := getattr(response, "status_code", None)) in (401, 403):
        reason = "it asks for a token" if get_token() is None else "it does not know your token"
        if status == 403:  # of a hub that knows who asks, and mostly says why not
            reason = response.headers.get("X-Error-Message", "")[:200] or f"your token lacks the right to {right}"
        return HubError(f"{where}: refused by {constants.ENDPOINT}: {reason} (for one that may {right}: {LOGIN})")
    return HubError(f"{where} at {constants.ENDPOINT}: {one_line(error)}")
