"""Files on disk: whether they are there, their sha256, writing them whole, and locks between processes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.errors import InputError


def exists(path: str | Path) -> bool:
    """Whether there is a file or folder; false where the path is too long, malformed or out of reach."""
    with suppress(OSError, ValueError):
        return Path(path).exists()
    return False


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder; false where the path is too long, malformed or out of reach."""
    with suppress(OSError, ValueError):
        return Path(path).is_dir()
    return False


def check_utf8(path: str | Path) -> None:
    """Raise InputError for a path that is not UTF-8, which no record can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name {str(path)!r} is not UTF-8: rename it") from error


def sha256(*paths: Path) -> str:
    """The hexadecimal sha256 of a file's bytes; of several files, that of their bytes one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def sums_text(digests: Mapping[str, str]) -> str:
    """The lines of a SHA256SUMS, as `sha256sum` reads it, from each file's sha256 by its name."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def partial_path(path: Path) -> Path:
    """A file beside `path` that no other process or thread writes to."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")


@contextmanager
def replacing(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` at the end: `partial`, or a file beside `path`.

    At any time, also after a loss of power, `path` is the old file or the whole new one. It stays the old one if the
    body raises.
    """
    partial = partial or partial_path(path)
    try:
        yield partial
        flush(partial)
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write the file by `replacing`; text as UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, busy: Exception) -> Iterator[int]:
    """Hold the lock of a folder, or of a file, which is made if missing; yields its open descriptor.

    The system takes the lock back when the process ends, however it ends. Raises `busy` if another process holds it.
    """
    import fcntl  # POSIX only

    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        yield descriptor
    finally:
        os.close(descriptor)
