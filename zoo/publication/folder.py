"""A published folder, checked byte for byte before anything in it is used.

`SHA256SUMS` lists every other file with its sha256, in the format of coreutils, and the registry pins the sha256 of
`SHA256SUMS`. What the three records say about each other and about the weights is compared as well.
"""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.architectures import Architecture, from_description
from zoo.errors import CertificateError, InputError, IntegrityError, one_line
from zoo.files import exists, is_folder, sha256, sums_text
from zoo.publication.picture import PICTURE
from zoo.publication.weights import INDEX, SHARDS, WEIGHTS, expected_names, weight_names, weights_sha256
from zoo.records import NORMS, Certificate, Evaluation, ModelConfig, loads

SUMS = "SHA256SUMS"
NAME = re.compile(r"(?!.*(--|\.\.|\.git$))[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")  # of a model, as on hubs
RECORDS = ("README.md", "certificate.json", "config.json", "evaluation.json", "model.float32.onnx", "model.onnx")
SIGNATURE = "model.sig"  # of all the files, where there is one: see zoo/publication/signing.py
# The names of all files that a folder may have, as a shell's patterns.
PATTERNS = (SUMS, *RECORDS, PICTURE, WEIGHTS, SHARDS, INDEX, SIGNATURE)
GRAPHS = {"float64": "model.onnx", "float32": "model.float32.onnx"}
SUMS_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
MAX_SUMS_BYTES = 2**16  # seven lines take about 600, a shard 100


@dataclass(frozen=True)
class Folder:
    """A published folder whose bytes were those of its SHA256SUMS when it was read."""

    path: Path
    config: ModelConfig
    certificate: Certificate
    evaluation: Evaluation
    digests: dict[str, str]  # sha256 of each listed file

    @property
    def architecture(self) -> Architecture:
        return from_description(self.config.architecture)

    def graph(self, precision: str) -> Path:
        return self.path / GRAPHS[precision]

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all published files."""
        return (SUMS, *self.digests)

    @property
    def sums(self) -> bytes:
        """The bytes of SHA256SUMS."""
        return sums_text(self.digests).encode()

    @property
    def digest(self) -> str:
        """The sha256 of SHA256SUMS, and so of every file that it lists: what the registry pins."""
        return hashlib.sha256(self.sums).hexdigest()

    def weights(self) -> dict[str, bytes]:
        """The bytes of each file of the weights, by its name. Raises IntegrityError."""
        return {name: self.read(name) for name in weight_names(self.digests)}

    def read(self, name: str) -> bytes:
        """The bytes of a listed file, with the listed sha256. Raises IntegrityError."""
        return _listed(self.path / name, self.digests)


def read_folder(path: Path, digest: str | None = None) -> Folder:
    """The folder at `path`, checked; with `digest`, that is also the sha256 of its SHA256SUMS.

    Raises InputError where there is no folder, CertificateError where it has no certificate or a record is not
    readable, IntegrityError naming the file that is missing, differs, or contradicts another.
    """
    if not is_folder(path):
        raise InputError(f"no folder {path}")
    if not exists(path / "certificate.json"):
        written = path / "published" / "certificate.json"
        where = f"{written.parent} has" if exists(written) else "a published model is what `python -m export` writes"
        raise CertificateError(f"{path} has no certificate.json: {where}")
    _check_place(path / SUMS)
    sums = _read(path / SUMS, MAX_SUMS_BYTES)
    if digest is not None and hashlib.sha256(sums).hexdigest() != digest:
        raise IntegrityError(
            f"{path / SUMS}: its sha256 is not the one that the registry pins: fetch the folder again, or load "
            f"local-dir:{path} if it is of another version of the zoo"
        )
    digests = parse_sums(sums, path / SUMS)
    for name, listed in digests.items():
        _check_place(path / name)
        try:
            found = sha256(path / name)
        except OSError as error:
            raise IntegrityError(f"{path / name}: {error.strerror}") from error
        if found != listed:
            raise _damaged(path / name, f"its sha256 is not the one in {SUMS}")
    _check_place(path / SIGNATURE)  # which no sum covers
    folder = Folder(
        path,
        _record(ModelConfig, path / "config.json", digests),
        _record(Certificate, path / "certificate.json", digests),
        _record(Evaluation, path / "evaluation.json", digests),
        digests,
    )
    _agree(folder)
    return folder


def _check_place(path: Path) -> None:
    """Raise IntegrityError unless the path is a regular file of its folder, or of the blobs that a snapshot links to.

    A snapshot is a folder in the Hugging Face cache. What lies elsewhere can change, or be a secret, whatever its
    sha256 is now.
    """
    try:
        real, home = path.resolve(), path.parent.resolve()
        kind = path.stat().st_mode if path.exists() else stat.S_IFREG  # a missing file is named when it is read
    except (OSError, RuntimeError) as error:
        raise IntegrityError(f"{path}: {one_line(error)}") from error
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    if real.parent not in (home, blobs):
        raise IntegrityError(f"{path}: a link out of its folder, to {real}")
    if not stat.S_ISREG(kind):
        raise IntegrityError(f"{path}: not a regular file")


def parse_sums(sums: bytes, path: Path) -> dict[str, str]:
    """The sha256 of each file that `SHA256SUMS` lists. Raises IntegrityError unless it lists a published folder."""
    *lines, end = sums.decode("utf-8", "replace").split("\n")
    if end:
        raise _damaged(path, "its last line has no end")
    matches = [SUMS_LINE.fullmatch(line) for line in lines]
    names = [match[2] if match else "a malformed line" for match in matches]
    expected = (*RECORDS, *expected_names(names), *([PICTURE] if PICTURE in names else []))
    for name in (*expected, *names):
        if name not in names:
            raise _damaged(path, f"does not list {name}")
        if name not in expected or names.count(name) > 1:
            raise _damaged(path, f"lists {name[:80]!r}, expected exactly the records, graphs and weights")
    return {match[2]: match[1] for match in matches if match}


def _agree(folder: Folder) -> None:
    """Raise IntegrityError, naming the file and the field, unless all records speak of one model."""
    config, certificate, architecture = folder.config, folder.certificate, folder.architecture
    evaluation = folder.evaluation
    if not NAME.fullmatch(config.name):
        raise _damaged(folder.path / "config.json", f"name {config.name[:80]!r} is no model's name")
    if config.norm not in NORMS:
        raise _damaged(folder.path / "config.json", f"norm {config.norm[:80]!r} is none of {', '.join(NORMS)}")
    if not certificate.layers:
        raise _damaged(folder.path / "certificate.json", "layers is empty, expected one for each layer")
    claims: list[tuple[str, str, Any, Any]] = [
        ("certificate.json", "name", certificate.name, config.name),
        ("certificate.json", "norm", certificate.norm, config.norm),
        ("certificate.json", "architecture", certificate.architecture, config.architecture),
        ("certificate.json", "weights_sha256", certificate.weights_sha256, weights_sha256(folder.digests)),
        ("config.json", "input_shape", config.input_shape, architecture.input_shape),
        ("config.json", "labels", len(config.labels), architecture.classes),
        ("evaluation.json", "graph_sha256", evaluation.graph_sha256, folder.digests["model.onnx"]),
    ]
    for name, field, found, expected in claims:
        if found != expected:
            raise _damaged(folder.path / name, f"{field} is {found!r}, expected {expected!r}")
    rates = (evaluation.clean_accuracy, *evaluation.vra.values(), *evaluation.pgd_accuracy.values())
    if not all(0 <= rate <= 1 for rate in rates):
        raise _damaged(folder.path / "evaluation.json", "a rate is not between 0 and 1")
    if bool(evaluation.vra) != evaluation.measured:
        raise _damaged(folder.path / "evaluation.json", f"has {len(evaluation.vra)} VRA of {evaluation.images} images")
    if not bool(evaluation.pgd_accuracy) <= evaluation.pgd_images <= len(evaluation.radii):
        attacked = f"pgd_images is {evaluation.pgd_images}, of {len(evaluation.radii)} radii"
        raise _damaged(folder.path / "evaluation.json", attacked)


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path}: {what}; fetch the folder again")


def _record(kind: type, path: Path, digests: dict[str, str]) -> Any:
    return loads(kind, _listed(path, digests), str(path))


def _listed(path: Path, digests: dict[str, str]) -> bytes:
    """The bytes of a listed file, read once: what has the sha256 is what is used."""
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != digests[path.name]:
        raise _damaged(path, f"its sha256 is not the one in {SUMS}")
    return content


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise IntegrityError(f"{path}: {error.strerror}") from error
