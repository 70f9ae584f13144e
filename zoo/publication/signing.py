"""Signatures of published folders with a key of one's own, in the format of OpenSSF model-signing, made and checked
offline.

A certificate says what the weights do, a signature who published them. `model.sig` is a Sigstore bundle over the sha256
of each published file, which `model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY` checks
as well.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError, IntegrityError, one_line, require
from zoo.files import replacing
from zoo.publication.folder import SIGNATURE, SUMS, Folder

if TYPE_CHECKING:
    from model_signing import hashing

MAX_KEY_BYTES = 2**16  # a key as PEM takes about 250


def sign(folder: Folder, private_key: Path) -> Path:
    """The folder's `model.sig`, written beside the checked files, over exactly these.

    private_key: an unencrypted elliptic-curve key as PEM. Raises InputError, MissingPackageError.
    """
    require("sign")
    from model_signing import signing

    path = folder.path / SIGNATURE
    _check_key(private_key)
    try:
        config = signing.Config().set_hashing_config(_hashing(folder)).use_elliptic_key_signer(private_key=private_key)
    except Exception as error:  # cryptography's and model-signing's errors share no class
        raise InputError(f"{private_key}: no elliptic-curve private key in PEM, without password") from error
    try:
        with replacing(path) as partial:
            config.sign(folder.path, partial)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def check_signature(folder: Folder, public_key: Path) -> None:
    """Raise IntegrityError unless `model.sig` is a signature by this key over the folder's files as they were read.

    Raises InputError if the key cannot be read, MissingPackageError without the extra `sign`.
    """
    require("sign")
    from model_signing import verifying

    path = folder.path / SIGNATURE
    _check_key(public_key)
    if not path.is_file():
        raise IntegrityError(f"{path}: there is no signature: `zoo sign` makes one")
    try:
        config = (
            verifying.Config().set_hashing_config(_hashing(folder)).use_elliptic_key_verifier(public_key=public_key)
        )
    except Exception as error:  # as above
        raise InputError(f"{public_key}: no elliptic-curve public key in PEM") from error
    try:
        config.verify(folder.path, path)
    except Exception as error:  # whatever is wrong with a file from outside
        raise IntegrityError(f"{path}: not this key's signature of these files: {one_line(error)}") from error


def _hashing(folder: Folder) -> hashing.Config:
    """How model-signing hashes the folder: the published files alone, each with the sha256 with which it was read.

    Links are followed, because a snapshot in the Hugging Face cache consists of them.
    """
    from model_signing import hashing

    class Published(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            manifest = super().hash(model_path, files_to_hash=[Path(model_path) / name for name in folder.files])
            read = {SUMS: folder.digest, **folder.digests}
            for item in manifest.resource_descriptors():
                if item.digest.digest_hex != read[item.identifier]:
                    raise IntegrityError(f"{item.identifier} has changed since it was read")
            return manifest

    config = Published().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=True)
    return config.set_allow_symlinks(True)


def _check_key(path: Path) -> None:
    """Raise InputError unless the path is a file that can be read to an end, soon: a device or a FIFO may have none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file; give the key's file")
        if status.st_size > MAX_KEY_BYTES:
            raise InputError(f"{path}: {status.st_size:,} bytes, expected a key of at most {MAX_KEY_BYTES:,}")
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
