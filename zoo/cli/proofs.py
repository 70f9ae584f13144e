"""The command that proves a certificate again: `zoo verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from zoo.cli.display import pairs, printable, proof_progress
from zoo.cli.shell import FolderArgument, source_of
from zoo.errors import (
    CertificateError,
    IntegrityError,
    UncertifiableLayerError,
    require,
)
from zoo.figures import bound_text
from zoo.hub.client import fetch
from zoo.publication.folder import Folder


def verify(
    name: FolderArgument,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="First check model.sig with this key. Needs the extra sign.")
    ] = None,
) -> int:
    """Prove a certificate again from the weights, and compare.

    Needs the extra export. Checks the sha256 of every file, what the files say of each other, every layer's bound
    and what follows from them. Prints each difference, and exits with 1 if there is one.
    """
    require("export")
    try:
        folder = fetch(source_of(name))
        if public_key is not None:
            from zoo.publication.signing import check_signature

            check_signature(folder, public_key)
    except IntegrityError as error:
        return _differ([str(error)])
    if differences := _recompute(folder):
        return _differ(differences)
    certificate = folder.certificate
    checked = [
        ("folder", str(folder.path)),
        ("files", f"{len(folder.digests)} have the sha256 that SHA256SUMS lists"),
        ("signature", f"by {public_key}" if public_key else "not checked: --public-key FILE does"),
        ("layers", f"{len(certificate.layers)} bounds proved again from the weights"),
        ("body", f"Lipschitz bound {bound_text(certificate.body_lipschitz)}"),
        ("tables", f"sha256 {certificate.tables_sha256[:16]}..., as the certificate says"),
        ("graphs", "written again from the weights, every byte the same"),
        ("not checked", "evaluation.json, labels, card"),
    ]
    Console().print(pairs([*checked, ("verdict", f"VERIFIED: the certificate of {certificate.name} holds")]))
    return 0


def _recompute(folder: Folder) -> list[str]:
    """The differences that `verify` finds, with a progress bar; an error over the certificate is one of them."""
    from zoo.publication.verify import verify as recompute

    with proof_progress() as advance:
        try:
            return recompute(folder, advance)
        except (CertificateError, IntegrityError, UncertifiableLayerError) as error:
            return [str(error)]


def _differ(differences: list[str]) -> int:
    """Prints the differences; the exit code."""
    typer.echo("\n".join(f"differs: {printable(difference)}" for difference in differences))
    return 1
