"""What a self-hosted hub keeps: repositories of content-addressed files, with every commit they ever had.

One folder holds two kinds of repository. A published folder FOLDER/NAME is `certified-zoo/NAME` with one commit: it is
checked when the hub starts and never written. Uploaded repositories are in FOLDER/.hub: each file once under its
sha256, and one JSON file for each repository, which is replaced as a whole, so that a commit is there or is not.
No commit is deleted, so that every one stays available. A store that is opened to write deletes the files that belong
to no commit.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import HubError, InputError, IntegrityError, one_line
from zoo.files import is_folder, locked, partial_path, replacing, sha256
from zoo.publication.folder import NAME, SIGNATURE, SUMS, read_folder
from zoo.shelves import ORGANISATION

HOME = ".hub"
MAIN = "main"
MAX_FILES = 1000  # in one repository
MAX_PATH = 255  # characters
TAG = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,94}")
HEX40 = re.compile(r"[0-9a-f]{40}")
HEX64 = re.compile(r"[0-9a-f]{64}")


class Refusal(Exception):
    """A request that the hub refuses: HTTP status, the protocol's error code (or ""), and one line."""

    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class StoredFile:
    """A file's address and size. Raises ValueError for what is none: the address becomes a path."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not HEX64.fullmatch(self.sha256) or type(self.size) is not int or self.size < 0:
            raise ValueError(f"no sha256 and size of a file: {self.sha256[:80]!r}, {self.size!r:.80}")


@dataclass(frozen=True)
class Commit:
    """What a repository held at one time."""

    files: dict[str, StoredFile]
    parent: str | None = None
    title: str = ""

    @property
    def id(self) -> str:
        """40 hexadecimal digits, as git's, of the sha256 of everything that the commit says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:40]


@dataclass
class Repository:
    """A name, its commits, and what `main` and the tags point to; `shelf` is true for a published folder."""

    name: str
    shelf: bool
    main: str
    commits: dict[str, Commit]
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str:
        """The id of the commit that `main`, a tag or a commit's own id names. Raises Refusal."""
        commit = self.main if revision == MAIN else self.tags.get(revision, revision)
        if commit not in self.commits:
            raise Refusal(404, f"{self.name} has no revision {revision[:80]!r}", "RevisionNotFound")
        return commit

    def head(self) -> Commit:
        return self.commits[self.main]


class Store:
    """The repositories of one folder. A writable store holds a lock, so that only one process writes at a time."""

    def __init__(self, folder: Path, writable: bool = False):
        """Reads and checks everything. Raises InputError, IntegrityError, CertificateError, HubError."""
        if not is_folder(folder):
            raise InputError(f"{folder} is no folder: name one of published folders, as model_cards/ is")
        if (folder / "certificate.json").is_file():
            raise InputError(f"{folder} is one published folder: name the one it lies in, {folder.resolve().parent}")
        self.home = folder / HOME
        self.repositories: dict[str, Repository] = {}
        self._places: dict[str, tuple[Path, os.stat_result]] = {}  # of the shelf's files, by sha256
        self._writing = threading.Lock()
        _refuse_links(self.home)
        if writable:
            self._incoming.mkdir(parents=True, exist_ok=True)
            busy = HubError(f"another hub writes to {folder}: stop it, or start this one read-only")
            self._lock = ExitStack()  # held as long as the store is there
            self._lock.enter_context(locked(self.home / "lock", busy))
            for left in self._incoming.iterdir():  # behind by a hub that was killed
                if left.is_file():
                    left.unlink()
        for sums in sorted(folder.glob(f"*/{SUMS}")):
            self._add_shelf(sums.parent)
        for record in sorted((self.home / "repositories").glob("*/*.json")):
            self._add_upload(record)
        if writable:
            self._clear()
        if not writable and not self.repositories:
            raise InputError(
                f"{folder} holds no published folder: name a folder of such folders, as model_cards/ is, or give "
                "--token-file to let others push"
            )

    def repository(self, name: str) -> Repository:
        """The repository of this name. Raises Refusal where there is none."""
        if name not in self.repositories:
            raise Refusal(404, f"no repository {name[:200]!r}", "RepoNotFound")
        return self.repositories[name]

    def place(self, file: StoredFile) -> Path:
        """Where the file's bytes are. Raises Refusal where they changed since they were hashed."""
        uploaded = self._object(file.sha256)
        if uploaded.is_file() and not uploaded.is_symlink():
            return uploaded
        if file.sha256 not in self._places:
            raise Refusal(503, f"the hub has lost the file with the sha256 {file.sha256}")
        path, before = self._places[file.sha256]
        now = path.stat() if path.exists() else None
        if now is None or (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise Refusal(503, f"{path.name} was changed since the hub started: start the hub again")
        return path

    def create(self, name: str) -> Repository:
        """A new repository with an empty commit. Raises Refusal."""
        organisation, _, model = name.partition("/")
        if not (NAME.fullmatch(organisation) and NAME.fullmatch(model)):
            raise Refusal(400, f"{name[:200]!r} is not the name of a repository: write ORG/NAME")
        with self._writing:
            if any(name.lower() == other.lower() for other in self.repositories):  # some file systems fold case
                raise Refusal(409, f"{name} exists")
            first = Commit({}, title="initial commit")
            return self._write(Repository(name, False, first.id, {first.id: first}))

    def commit(self, name: str, lines: Iterable[bytes]) -> Repository:
        """The repository with one more commit, from the NDJSON that the client sends. Raises Refusal."""
        if self.repository(name).shelf:
            raise Refusal(403, f"{name} is a published folder of this hub: push to another name")
        header, added, deleted = self._operations(lines)
        with self._writing:
            repository = self.repository(name)
            if header.get("parentCommit") not in (None, repository.main):
                raise Refusal(412, f"main of {name} has moved to {repository.main}: fetch it, then try again")
            before = repository.head().files
            kept = {path: file for path, file in before.items() if not _deleted(path, deleted)}
            if missing := [path for path in deleted if not any(_deleted(other, [path]) for other in before)]:
                raise Refusal(400, f"{missing[0]!r} cannot be deleted: it is not there")
            files = dict(sorted({**kept, **added}.items()))
            _check_tree(files)
            if files == before:
                return repository
            commit = Commit(files, repository.main, str(header.get("summary", ""))[:500])
            commits = {**repository.commits, commit.id: commit}
            return self._write(Repository(name, False, commit.id, commits, repository.tags))

    def tag(self, name: str, revision: str, tag: str) -> None:
        """Give the revision's commit a tag, for good. Raises Refusal."""
        if not TAG.fullmatch(tag) or tag == MAIN or HEX40.fullmatch(tag):
            raise Refusal(400, f"{tag[:80]!r} cannot be a tag")
        if self.repository(name).shelf:
            raise Refusal(403, f"{name} is a published folder of this hub: it has no tags")
        with self._writing:
            repository = self.repository(name)
            commit = repository.resolve(revision)
            if tag in repository.tags:
                raise Refusal(409, f"the tag {tag} of {name} exists")
            self._write(Repository(name, False, repository.main, repository.commits, {**repository.tags, tag: commit}))

    def incoming(self) -> Any:
        """A nameless file on the disk of the store, for a body while it arrives."""
        return tempfile.TemporaryFile(dir=self._incoming)

    @property
    def _incoming(self) -> Path:
        return self.home / "incoming"

    def _object(self, digest: str) -> Path:
        return self.home / "objects" / digest[:2] / digest

    def _add_shelf(self, path: Path) -> None:
        if not NAME.fullmatch(path.name):
            raise InputError(f"{path}: the folder's name cannot be that of a repository")
        folder = read_folder(path)
        digests = {**folder.digests, SUMS: sha256(folder.path / SUMS)}
        if (folder.path / SIGNATURE).is_file():
            digests[SIGNATURE] = sha256(folder.path / SIGNATURE)
        files = {}
        for name in sorted(digests):
            place = path / name
            self._places[digests[name]] = (place, place.stat())
            files[name] = StoredFile(digests[name], place.stat().st_size)
        commit = Commit(files, title=folder.config.name)
        name = f"{ORGANISATION}/{path.name}"
        self.repositories[name] = Repository(name, True, commit.id, {commit.id: commit})

    def _add_upload(self, record: Path) -> None:
        name = f"{record.parent.name}/{record.stem}"
        if name in self.repositories:
            raise InputError(f"{name} is both a folder and an upload ({record}): rename the folder")
        try:
            content = json.loads(record.read_bytes())
            commits = {
                key: Commit(
                    {_checked(path): StoredFile(**file) for path, file in value["files"].items()},
                    value["parent"],
                    value["title"],
                )
                for key, value in content["commits"].items()
            }
            repository = Repository(name, False, content["main"], commits, content["tags"])
            whole = all(key == commit.id for key, commit in commits.items())
            whole = whole and {repository.main, *repository.tags.values()} <= set(commits)
        except (Refusal, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{record}: not what this hub writes: {one_line(error)}") from error
        if not whole:
            raise IntegrityError(f"{record}: a commit is not what its id says")
        self.repositories[name] = repository

    def _clear(self) -> None:
        """Delete the files that no commit has: those of commits that were refused, or never ended."""
        commits = [commit for repository in self.repositories.values() for commit in repository.commits.values()]
        kept = {file.sha256 for commit in commits for file in commit.files.values()}
        for path in (self.home / "objects").glob("*/*"):
            ours = HEX64.fullmatch(path.name) and path == self._object(path.name) and path.is_file()
            if ours and path.name not in kept:
                path.unlink()

    def _write(self, repository: Repository) -> Repository:
        """Write the whole repository to the disk, then put it in memory."""
        content = {"main": repository.main, "tags": repository.tags,
                   "commits": {key: asdict(commit) for key, commit in repository.commits.items()}}  # fmt: skip
        organisation, _, model = repository.name.partition("/")
        path = self.home / "repositories" / organisation / f"{model}.json"
        self._place(json.dumps(content, indent=1).encode(), path)
        self.repositories[repository.name] = repository
        return repository

    def _place(self, content: bytes, path: Path) -> None:
        """Write the content to `path`, as a whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, partial_path(self._incoming / path.name)) as partial:
            partial.write_bytes(content)

    def _operations(self, lines: Iterable[bytes]) -> tuple[dict[str, Any], dict[str, StoredFile], list[str]]:
        """A commit's header, the files that it adds, whose bytes are stored here, and the paths that it deletes.

        The path of a folder ends with a slash. Raises Refusal.
        """
        header: dict[str, Any] = {}
        added: dict[str, StoredFile] = {}
        deleted: list[str] = []
        for line in lines:
            if not line.strip():
                continue
            try:
                operation = json.loads(line)
                key, value = operation["key"], operation["value"]
                if key == "header":
                    header = dict(value)
                elif key == "file":
                    path = _checked(value["path"])
                    added[path] = self._keep(value)
                elif key in ("deletedFile", "deletedFolder"):
                    path = _checked(value["path"].rstrip("/"))
                    deleted.append(path + "/" if key == "deletedFolder" else path)
                else:
                    raise Refusal(400, f"a commit cannot have {str(key)[:80]!r} here: files come as base64")
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise Refusal(400, f"not a commit: {one_line(error)}") from error
            if len(added) > MAX_FILES:
                raise Refusal(413, f"more than {MAX_FILES} files")
        return header, added, deleted

    def _keep(self, value: dict[str, Any]) -> StoredFile:
        if value.get("encoding") != "base64":
            raise Refusal(400, "a file of a commit must be base64")
        try:
            content = base64.b64decode(value["content"], validate=True)
        except binascii.Error as error:
            raise Refusal(400, f"{value['path']!r:.80} is not base64: {error}") from error
        digest = hashlib.sha256(content).hexdigest()
        path = self._object(digest)
        if not path.exists():
            self._place(content, path)
        return StoredFile(digest, len(content))


def _refuse_links(home: Path) -> None:
    """Raise InputError if a hub's folder is a link or holds one, which may lead to files that are not the hub's."""
    if link := next((path for path in itertools.chain([home], home.rglob("*")) if path.is_symlink()), None):
        raise InputError(f"{link} is a link, and a hub makes none: delete it, or leave the whole {HOME} away")


def _checked(path: str) -> str:
    """The path of a file in a repository. Raises Refusal unless it is relative, with parts that are plain names."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or ":" in path or len(path) > MAX_PATH:
        raise Refusal(400, f"{path[:80]!r} cannot be the path of a file")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise Refusal(400, f"{path[:80]!r} cannot be the path of a file")
    return path


def _deleted(path: str, deleted: list[str]) -> bool:
    return any(path == gone or (gone.endswith("/") and path.startswith(gone)) for gone in deleted)


def _check_tree(files: dict[str, StoredFile]) -> None:
    """Raise Refusal if there are too many files, or one of them is also a folder."""
    if len(files) > MAX_FILES:
        raise Refusal(413, f"more than {MAX_FILES} files")
    for path in files:
        parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        if clash := next((parent for parent in parents if parent in files), None):
            raise Refusal(400, f"{clash!r} cannot be a file and a folder")
